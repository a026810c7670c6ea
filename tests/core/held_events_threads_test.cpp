#include <fanfare/core/held_events.hpp>

#include <fanfare/app.hpp>

#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <string>

namespace fanfare::test {
namespace {

AppOptions options() { return {.id = "1", .key = "key", .secret = "secret"}; }

// One of the two sees the other, without a tick.
TEST(HeldEventsThreads, AnEventAndWhoItIsForDoNotMissEachOther) {
  App app(options());
  std::string channel;
  Subscription subscription;
  HoldResult result;
  std::atomic<std::size_t> got{0};
  std::atomic<std::size_t> sent{0};
  run_rounds(
      repetitions(4000),
      [&](std::size_t round) {
        channel = "c" + std::to_string(round % 7);
        got.store(0);
        sent.store(0);
      },
      [&](std::size_t) {
        ASSERT_TRUE(result);
        ASSERT_EQ(got.load(), 1U);
        ASSERT_EQ(sent.load(), result.held ? 1U : 0U);
        ASSERT_EQ(app.held(), 0U);
        subscription.reset();
      },
      [&](std::size_t) {
        result = app.trigger_held(channel, "e", "d", {.told = [&](HoldOutcome outcome, const TriggerResult&) {
                                    if (outcome == HoldOutcome::sent) sent.fetch_add(1);
                                  }});
      },
      [&](std::size_t) {
        subscription = app.subscribe(
            channel, [&](Subscription& made) { made.bind("e", [&](const Event&) { got.fetch_add(1); }); });
      });
}

// The one who completes them sends it, and nobody sends it twice.
TEST(HeldEventsThreads, OfSeveralWhoComeOneSendsIt) {
  App app(options());
  Subscription one;
  Subscription two;
  std::atomic<std::size_t> got{0};
  std::atomic<std::size_t> sent{0};
  const auto come = [&](Subscription& mine) {
    mine = app.subscribe("c", [&](Subscription& made) { made.bind("e", [&](const Event&) { got.fetch_add(1); }); });
  };
  run_rounds(
      repetitions(4000),
      [&](std::size_t) {
        got.store(0);
        sent.store(0);
        Hold both{.subscribers = 2};
        both.told = [&](HoldOutcome outcome, const TriggerResult&) {
          if (outcome == HoldOutcome::sent) sent.fetch_add(1);
        };
        ASSERT_TRUE(app.trigger_held("c", "e", {}, both).held);
      },
      [&](std::size_t) {
        ASSERT_EQ(got.load(), 2U);
        ASSERT_EQ(sent.load(), 1U);
        ASSERT_EQ(app.held(), 0U);
        one.reset();
        two.reset();
      },
      [&](std::size_t) { come(one); }, [&](std::size_t) { come(two); });
}

}  // namespace
}  // namespace fanfare::test
