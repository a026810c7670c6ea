#include <fanfare/transport/hosted.hpp>

#include "support/host_connection.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using transport::HostedId;
using transport::HostedTransport;

/// What a host's loop is at least: it waits until it is woken.
class Waker {
 public:
  void wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return woken_; });
    woken_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

// No turn comes from time: an event for which nobody is woken would be waited for for ever.
TEST(HostedThreads, EveryTriggerOfAnyThreadIsServedByAHostThatRunsOnlyWhenItIsWoken) {
  pusher::AppList apps;
  App& app = *apps.add({.id = "1", .key = "key", .secret = "secret"});
  Waker waker;
  HostedTransport<HostHandle> clients(apps, {.wake = [&] { waker.wake(); }});
  HostSide side;
  const HostedId id = clients.open({&side}, "/app/key?protocol=7");
  clients.receive(id, subscribe_text("x"));
  while (clients.run()) {
  }
  side.received.clear();
  const std::size_t each = repetitions(2000);
  std::vector<Thread> publishers;
  for (const char* const name : {"a", "b"}) {
    publishers.emplace_back([&app, name] {
      for (std::size_t i = 0; i < each; ++i) app.trigger("x", name, std::to_string(i));
    });
  }
  std::array<std::size_t, 2> next{0, 0};
  while (next[0] + next[1] < 2 * each) {
    waker.wait();
    while (clients.run()) {
    }
    while (const std::optional<FromServer> message = side.take()) {
      std::size_t& number = next[message->text[10] == 'a' ? 0 : 1];
      ASSERT_NE(message->text.find("\"data\":\"" + std::to_string(number) + '"'), std::string::npos) << message->text;
      ++number;
    }
  }
}

// Triggers that are under way while it ends must not push into what is no more, nor wake who is gone.
TEST(HostedThreads, EndsWhileOthersTrigger) {
  pusher::AppList apps;
  App& app = *apps.add({.id = "1", .key = "key", .secret = "secret"});
  std::atomic<bool> stop{false};
  std::vector<Thread> publishers;
  for (int i = 0; i < 2; ++i) {
    publishers.emplace_back([&] {
      while (!stop) app.trigger("x", "e", "1");
    });
  }
  for (std::size_t round = 0; round < repetitions(400); ++round) {
    const auto wakes = std::make_unique<std::atomic<unsigned>>(0);
    HostSide side;
    HostedTransport<HostHandle> clients(apps, {.wake = [&] { wakes->fetch_add(1, std::memory_order_relaxed); },
                                               .mailbox_bytes = std::size_t{1} << 16U});
    const HostedId id = clients.open({&side}, "/app/key?protocol=7");
    clients.receive(id, subscribe_text("x"));
    for (int turns = 0; turns < 2; ++turns) clients.run();
  }
  stop = true;
}

// The host's threads each have a transport; their clients share channels.
TEST(HostedThreads, ClientsOfSeveralTransportsMeet) {
  pusher::AppList apps;
  AppOptions options{.id = "1", .key = "key", .secret = "secret"};
  options.client_events = true;
  options.client_events_per_second = 1'000'000;
  options.authorize = [](const Authorization&) { return true; };
  App& app = *apps.add(std::move(options));
  const std::size_t each = repetitions(500);
  Arrivals inside;
  std::vector<Thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      Waker waker;
      HostedTransport<HostHandle> clients(apps, {.wake = [&] { waker.wake(); }});
      HostSide side;
      const HostedId id = clients.open({&side}, "/app/key?protocol=7");
      clients.receive(id, subscribe_text("private-x"));
      while (clients.run()) {
      }
      side.received.clear();
      inside.arrive();
      inside.wait_for(2);
      for (std::size_t n = 0; n < each; ++n) {
        clients.receive(id, R"({"event":"client-e","channel":"private-x","data":")" + std::to_string(n) + "\"}");
      }
      std::size_t next = 0;
      while (next < each) {
        waker.wait();
        while (clients.run()) {
        }
        while (const std::optional<FromServer> message = side.take()) {
          ASSERT_NE(message->text.find('"' + std::to_string(next) + '"'), std::string::npos) << message->text;
          ++next;
        }
      }
      inside.arrive();
      inside.wait_for(4);
    });
  }
  threads.clear();
  EXPECT_EQ(app.connections(), 0U);
}

}  // namespace
}  // namespace fanfare::test
