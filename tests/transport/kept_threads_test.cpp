// Whoever comes to a channel with a history while others trigger in it is sent every event once, in order.
#include <fanfare/transport/fanout.hpp>

#include "support/memory_clients.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using namespace std::chrono_literals;
using transport::MemoryTransport;

constexpr std::string_view channel = "history";

/// The text of a member of a frame that has no escapes; empty where there is none.
std::string_view member(std::string_view frame, std::string_view name) {
  const std::string key = '"' + std::string(name) + R"(":")";
  const std::size_t begin = frame.find(key);
  if (begin == std::string_view::npos) return {};
  const std::string_view rest = frame.substr(begin + key.size());
  return rest.substr(0, rest.find('"'));
}

/// Comes, stays for a while, goes, and comes back to where it was.
class Visitor {
 public:
  void visit(MemoryTransport& loop, int turns, std::size_t window) {
    MemoryClient client(loop);
    client.end().limit_window(window);
    client.subscribe(channel, {}, place_);
    std::optional<std::uint64_t> last;
    if (!place_.empty()) last = event_id_from(place_)->number;
    bool replaying = true;
    bool jumped = false;  // while others triggered faster than it was sent what there was
    for (int turn = 0; turn < turns || replaying; ++turn) {
      loop.run();
      for (const std::string& frame : client.take_raw()) {
        const std::string_view event = member(frame, "event");
        const std::string_view id = member(frame, "id");
        if (event == "pusher_internal:subscription_succeeded") {
          if (frame.find(R"("resumed":false)") != std::string::npos) {
            last.reset();
            ++lost;
          }
        } else if (event == "pusher_internal:replayed") {
          ASSERT_TRUE(replaying);
          replaying = false;
          ASSERT_EQ(frame.find(R"(\"gap\":true)") != std::string::npos, jumped) << frame;
          if (last) {
            ASSERT_EQ(event_id_from(id)->number, *last);
          }
          place_ = id;
        } else {
          const auto number = event_id_from(id);
          ASSERT_TRUE(number) << frame;
          if (last && number->number != *last + 1) {
            ASSERT_TRUE(replaying && number->number > *last) << frame;
            jumped = true;
          }
          last = number->number;
          ++events;
          if (!replaying) place_ = id;
        }
      }
      if (client.end().closed()) break;
    }
    client.close();
    loop.run();
  }

  std::uint64_t events = 0;
  std::uint64_t lost = 0;

 private:
  std::string place_;
};

struct Case {
  std::size_t count;
  std::size_t bytes;  // of data in an event
  std::size_t window;
};
class KeptThreads : public testing::TestWithParam<Case> {};

TEST_P(KeptThreads, NobodyMissesAnythingOrGetsItTwice) {
  AppOptions options = open_app();
  options.channel_rules = {{.match = std::string(channel),
                            .history = HistoryRule{.count = GetParam().count, .bytes = std::size_t{64} << 20U}}};
  pusher::AppList apps;
  App& app = *apps.add(std::move(options));
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr int each = 20'000;
#else
  constexpr int each = 200'000;
#endif
  std::atomic<int> triggering{2};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      const std::string data(GetParam().bytes, '.');
      for (int i = 0; i < each;) {
        const TriggerResult result = app.trigger(channel, "e", data);
        if (result) {
          if (++i % 64 == 0) std::this_thread::sleep_for(50us);  // so that the loops come to their clients
        } else {
          EXPECT_EQ(result.error, errc::overloaded);
          std::this_thread::yield();
        }
      }
      --triggering;
    });
  }
  std::atomic<std::uint64_t> seen{0};
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      Visitor steady;
      Visitor hasty;
      while (triggering != 0) {
        MemoryTransport loop(apps);  // it keeps all clients that it ever had
        for (int i = 0; i < 10 && triggering != 0; ++i) {
          hasty.visit(loop, i % 5, std::size_t{1} << 30U);
          steady.visit(loop, 20, GetParam().window);
        }
      }
      seen += steady.events + hasty.events;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(seen, std::uint64_t{each});
}

INSTANTIATE_TEST_SUITE_P(Histories, KeptThreads,
                         testing::Values(Case{100, 10, std::size_t{1} << 30U},      // replayed at once
                                         Case{20'000, 100, std::size_t{1} << 30U},  // in pieces
                                         Case{20'000, 100, 200'000}));              // in pieces, to a slow reader

}  // namespace
