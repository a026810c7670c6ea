#include <fanfare/server.hpp>

#include "support/io_uring.hpp"
#include "support/socket_client.hpp"
#include "support/threads.hpp"

#include <fanfare/transport/send_ring.hpp>
#include <fanfare/transport/socket_io.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

// Several loops, each with a ring of its own, and several threads that trigger.
namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using fanfare::test::repetitions;
using fanfare::test::SocketClient;
using fanfare::test::Thread;
using transport::SendRing;
using transport::SocketIo;

constexpr unsigned loops = 2;
constexpr std::size_t publishers = 3;

// `{"event":"pPUBLISHER","channel":"CHANNEL","data":"NUMBER"}`
struct Event {
  std::size_t publisher = publishers;
  std::size_t number = 0;
};
std::optional<Event> read(std::string_view text, std::string_view channel) {
  constexpr std::string_view begin = R"({"event":"p)";
  const std::string middle = R"(","channel":")" + std::string(channel) + R"(","data":")";
  if (!text.starts_with(begin) || text.substr(begin.size() + 1, middle.size()) != middle) return std::nullopt;
  return Event{static_cast<std::size_t>(text[begin.size()] - '0'),
               std::stoul(std::string(text.substr(begin.size() + 1 + middle.size())))};
}

class RingThreads : public testing::Test {
 protected:
  void SetUp() override {
    if (!SendRing::built || !fanfare::test::kernel_has_io_uring()) GTEST_SKIP() << "there is no io_uring";
    const ServerResult started = server.start();
    ASSERT_TRUE(started) << started.text();
  }

  std::unique_ptr<SocketClient> client(std::string_view channel) {
    auto made = std::make_unique<SocketClient>(server.endpoints().front());
    if (made->establish("/app/key?protocol=7").empty() || !made->subscribe(channel)) return nullptr;
    return made;
  }
  void publish(std::string_view channel, std::size_t publisher, std::size_t number) {
    const std::string event = "p" + std::to_string(publisher);
    while (app.trigger(channel, event, std::to_string(number)).error == errc::overloaded) {
      std::this_thread::sleep_for(1ms);
    }
  }

  Server server{{.listen = {"127.0.0.1:0"},
                 .threads = loops,
                 .max_outbox_bytes = std::size_t{16} << 20U,
                 .drain_timeout = 200ms,
                 .io = SocketIo::uring}};
  App& app = server.add_app({.id = "1", .key = "key", .secret = "secret"});
};

TEST_F(RingThreads, EachPublishersOrderIsKeptAtEachClient) {
  constexpr std::size_t clients = 40;
  const std::size_t each = repetitions(1000);
  std::vector<std::unique_ptr<SocketClient>> all;
  for (std::size_t i = 0; i < clients; ++i) {
    all.push_back(client(i % 2 == 0 ? "x" : "y"));
    ASSERT_NE(all.back(), nullptr);
  }
  ASSERT_TRUE(server.uses_io_uring());
  std::vector<Thread> running;
  for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
    running.emplace_back([&, publisher] {
      for (std::size_t i = 0; i < each; ++i) {
        publish("x", publisher, i);
        publish("y", publisher, i);
      }
    });
  }
  for (std::size_t i = 0; i < clients; ++i) {
    std::array<std::size_t, publishers> next{};
    for (std::size_t count = 0; count < publishers * each; ++count) {
      const std::string text = all[i]->receive_text();
      const std::optional<Event> event = read(text, i % 2 == 0 ? "x" : "y");
      ASSERT_TRUE(event) << text;
      ASSERT_LT(event->publisher, publishers);
      ASSERT_EQ(event->number, next.at(event->publisher)++) << i;
    }
  }
  EXPECT_TRUE(server.uses_io_uring());
}

// Descriptors wander from loop to loop, and their numbers are used again at once.
TEST_F(RingThreads, ClientsComeAndGoWhileOthersAreServed) {
  const std::size_t visits = repetitions(40);
  std::vector<std::unique_ptr<SocketClient>> steady;
  for (int i = 0; i < 20; ++i) {
    steady.push_back(client("x"));
    ASSERT_NE(steady.back(), nullptr);
  }
  std::atomic<bool> done{false};
  std::size_t published = 0;
  Thread publisher([&] {
    for (; !done.load(); ++published) {
      publish("x", 0, published);
      if (published % 64 == 0) std::this_thread::sleep_for(1ms);
    }
  });
  const auto visit = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (std::size_t i = 0; i < visits; ++i) {
      std::vector<std::unique_ptr<SocketClient>> visitors;
      for (int k = 0; k < 6; ++k) {
        visitors.push_back(client("x"));
        ASSERT_NE(visitors.back(), nullptr);
      }
      for (const auto& visitor : visitors) {
        std::optional<std::size_t> last;
        for (std::size_t events = random() % 50; events != 0; --events) {
          const std::string text = visitor->receive_text();
          const std::optional<Event> event = read(text, "x");
          ASSERT_TRUE(event) << text;
          ASSERT_TRUE(!last || event->number == *last + 1) << event->number << " after " << *last;
          last = event->number;
        }
        if (random() % 2 == 0) visitor->reset();
      }
    }
  };
  Thread first([&] { visit(1); });
  Thread second([&] { visit(2); });
  Thread reader([&] {
    // So that none of them lags too much.
    std::vector<std::size_t> next(steady.size());
    for (bool last = false; !last;) {
      last = done.load();
      for (std::size_t i = 0; i < steady.size(); ++i) {
        for (std::string text = steady[i]->receive_text(1ms); !text.empty(); text = steady[i]->receive_text(1ms)) {
          const std::optional<Event> event = read(text, "x");
          ASSERT_TRUE(event) << text;
          ASSERT_EQ(event->number, next[i]++) << i;
        }
      }
    }
  });
  first.join();
  second.join();
  done = true;
  publisher.join();
  reader.join();
  EXPECT_GT(published, 0U);
  EXPECT_TRUE(server.uses_io_uring());
}

TEST_F(RingThreads, StopsWhileEventsGoOut) {
  std::vector<std::unique_ptr<SocketClient>> all;
  for (int i = 0; i < 30; ++i) {
    all.push_back(client("x"));
    ASSERT_NE(all.back(), nullptr);
  }
  std::atomic<bool> done{false};
  std::vector<Thread> running;
  for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
    running.emplace_back([&, publisher] {
      for (std::size_t i = 0; !done.load(); ++i) {
        publish("x", publisher, i);
        if (i % 32 == 0) std::this_thread::sleep_for(1ms);
      }
    });
  }
  std::this_thread::sleep_for(20ms);
  server.stop();
  done = true;
  running.clear();
  for (const auto& one : all) EXPECT_NE(one->end(), SocketClient::End::none);
}

}  // namespace
