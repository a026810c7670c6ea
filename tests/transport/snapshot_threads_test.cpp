// Whoever is given a snapshot while its state changes on other threads ends with the same state as everybody.
#include <fanfare/transport/fanout.hpp>

#include "support/memory_clients.hpp"
#include "support/socket_client.hpp"
#include <fanfare/server.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using transport::MemoryTransport;

constexpr std::string_view channel = "counter";

/// A number that several threads add to, and the id of the event that told of the last addition.
class Counter {
 public:
  explicit Counter(App& app) : app_(app) {}

  [[nodiscard]] bool add() {
    const std::lock_guard lock(mutex_);
    const TriggerResult result = app_.trigger(channel, "value", std::to_string(value_ + 1));
    if (!result) return false;
    ++value_;
    // Without anybody in the channel there is no event, and nobody who could have missed it.
    if (result.id) last_ = result.id;
    return true;
  }
  [[nodiscard]] Snapshot snapshot() {
    const std::lock_guard lock(mutex_);
    return {.events = {{"state", std::to_string(value_)}}, .as_of = last_};
  }
  [[nodiscard]] int value() {
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  App& app_;
  std::mutex mutex_;
  int value_ = 0;
  EventId last_;
};

/// Answers on a thread of its own.
class Clerk {
 public:
  explicit Clerk(Counter& counter) : counter_(counter), thread_([this] { run(); }) {}
  ~Clerk() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  void add(SnapshotReply reply) {
    {
      const std::lock_guard lock(mutex_);
      replies_.push_back(std::move(reply));
    }
    changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return over_ || !replies_.empty(); });
      if (replies_.empty()) return;
      SnapshotReply reply = std::move(replies_.front());
      replies_.pop_front();
      lock.unlock();
      const errc error = reply.answer(counter_.snapshot());
      EXPECT_TRUE(error == errc::ok || error == errc::closed) << to_string(error);
      lock.lock();
    }
  }

  Counter& counter_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SnapshotReply> replies_;
  bool over_ = false;
  std::thread thread_;
};

int number_in(std::string_view frame) {
  constexpr std::string_view before = R"("data":")";
  int number = -1;
  const std::size_t at = frame.find(before);
  if (at != std::string_view::npos) {
    std::from_chars(frame.data() + at + before.size(), frame.data() + frame.size(), number);
  }
  return number;
}

/// One who comes, and follows the counter.
class Follower {
 public:
  explicit Follower(MemoryTransport& loop) : client_(loop) { client_.subscribe(channel); }

  void read() {
    for (const std::string& frame : client_.take_raw()) {
      if (frame.starts_with(R"({"event":"state")")) {
        ASSERT_EQ(value_, -1) << frame;
        value_ = number_in(frame);
        ASSERT_GE(value_, 0) << frame;
      } else if (frame.starts_with(R"({"event":"value")")) {
        ASSERT_GE(value_, 0) << "before the state: " << frame;
        ASSERT_EQ(number_in(frame), value_ + 1);
        ++value_;
        ++changes_;
      }
    }
  }
  [[nodiscard]] int value() const noexcept { return value_; }
  /// How many it has been told of.
  [[nodiscard]] int changes() const noexcept { return changes_; }
  /// Whether it was so slow that it has to come again.
  [[nodiscard]] bool closed() const noexcept { return client_.end().closed(); }
  void leave() { client_.close(); }

 private:
  mutable MemoryClient client_;
  int value_ = -1;
  int changes_ = 0;
};

class SnapshotThreads : public testing::TestWithParam<std::size_t> {};

TEST_P(SnapshotThreads, NobodyMissesAChangeOrCountsItTwice) {
  AppOptions options = open_app();
  if (GetParam() != 0) {
    options.channel_rules = {{.match = std::string(channel), .history = HistoryRule{.count = GetParam()}}};
  }
  pusher::AppList apps;
  App& app = *apps.add(std::move(options));
  Counter counter(app);
  Clerk clerk(counter);
  std::atomic<unsigned> asked{0};
  ASSERT_EQ(app.on_subscribe(std::string(channel),
                             [&](const Subscriber& /*who*/, SnapshotReply reply) {
                               if (asked.fetch_add(1) % 2 == 0) return clerk.add(std::move(reply));
                               EXPECT_EQ(reply.answer(counter.snapshot()), errc::ok);
                             }),
            RuleError::ok);
  constexpr int each = 200;
  // Neither those who add nor those who come leave the others behind.
  constexpr int in_a_turn = 32;
  std::atomic<int> allowed{0};
  std::atomic<int> coming{2};
  std::atomic<int> adding{2};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      while (coming != 0) {
        if (counter.value() >= allowed || !counter.add()) std::this_thread::yield();
      }
      --adding;
    });
  }
  std::atomic<int> changes{0};
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      {
        MemoryTransport loop(apps);
        std::vector<std::unique_ptr<Follower>> followers;
        for (int i = 0; i < each && !testing::Test::HasFatalFailure(); ++i) {
          followers.push_back(std::make_unique<Follower>(loop));
          if (followers.size() > 10) followers[followers.size() - 10]->leave();
          allowed += in_a_turn;
          while (counter.value() < allowed - 4 * in_a_turn) std::this_thread::yield();
          loop.run();
          for (const auto& follower : followers) follower->read();
        }
        for (const auto& follower : followers) {
          changes += follower->changes();
          follower->leave();
        }
        loop.run();
      }
      --coming;
      while (adding != 0) std::this_thread::yield();
      // Those who come at the end come to the same.
      MemoryTransport loop(apps);
      for (int i = 0; i < 20; ++i) {
        Follower last(loop);
        while (last.value() != counter.value() && !last.closed() && !testing::Test::HasFatalFailure()) {
          loop.run();
          last.read();
          std::this_thread::yield();
        }
        EXPECT_FALSE(last.closed());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(asked, 2U * (each + 20));
  EXPECT_GT(changes, each);
  EXPECT_EQ(app.snapshots()->pending, 0U);
  EXPECT_EQ(app.snapshots()->bytes, 0U);
}

INSTANTIATE_TEST_SUITE_P(Histories, SnapshotThreads,
                         testing::Values(std::size_t{0},         // what is remembered without a rule
                                         std::size_t{20'000}));  // more than anybody can lag behind

// ---- through sockets

class SnapshotServer : public testing::Test {
 protected:
  SnapshotServer()
      : app(server.add_app({.id = "1", .key = "key", .secret = "secret", .snapshots = {.timeout = timeout}})) {
    EXPECT_EQ(app.on_subscribe(std::string(channel),
                               [this](const Subscriber& who, SnapshotReply reply) {
                                 const std::lock_guard lock(mutex);
                                 socket_id = who.socket_id;
                                 replies.push_back(std::move(reply));
                                 changed.notify_one();
                               }),
              RuleError::ok);
    EXPECT_TRUE(server.start());
  }
  std::unique_ptr<SocketClient> come() {
    auto client = std::make_unique<SocketClient>(server.endpoints().front());
    EXPECT_NE(client->establish("/app/key?protocol=7"), "");
    client->send_text(R"({"event":"pusher:subscribe","data":{"channel":")" + std::string(channel) + "\"}}");
    return client;
  }
  SnapshotReply asked() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return !replies.empty(); });
    SnapshotReply reply = std::move(replies.front());
    replies.pop_front();
    return reply;
  }
  static std::string event(SocketClient& client) {
    const std::string text = client.receive_text();
    constexpr std::string_view before = R"({"event":")";
    return text.size() < before.size() ? text
                                       : text.substr(before.size(), text.find('"', before.size()) - before.size());
  }

  static constexpr std::chrono::milliseconds timeout{1500};
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<SnapshotReply> replies;
  std::string socket_id;
  Server server{{.listen = {"127.0.0.1:0"}, .threads = 2, .drain_timeout = std::chrono::milliseconds(500)}};
  App& app;
};

TEST_F(SnapshotServer, AnAnswerWakesALoopThatSleeps) {
  const auto client = come();
  SnapshotReply reply = asked();
  EXPECT_NE(socket_id, "");
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // so that it mostly does
  EXPECT_EQ(reply.answer({.events = {{"state", "1"}}}), errc::ok);
  EXPECT_EQ(event(*client), "pusher_internal:subscription_succeeded");
  EXPECT_EQ(event(*client), "state");
  EXPECT_EQ(event(*client), "pusher_internal:replayed");
}

TEST_F(SnapshotServer, WithoutAnAnswerTheClientGetsInWhenTheTimeIsOver) {
  const auto client = come();
  const SnapshotReply reply = asked();
  EXPECT_EQ(event(*client), "pusher_internal:subscription_succeeded");
  EXPECT_EQ(event(*client), "pusher_internal:replayed");
  EXPECT_FALSE(reply.wanted());
}

TEST_F(SnapshotServer, AnAnswerAfterItsEndIsDropped) {
  const auto client = come();
  SnapshotReply reply = asked();
  server.stop();
  EXPECT_EQ(reply.answer({}), errc::closed);
}

}  // namespace
