// What ordered channels remember, while others trigger, come, go and let time pass.
#include <fanfare/core/channel_memory.hpp>

#include "support/perturbed_atomics.hpp"
#include "support/print.hpp"
#include "support/sinks.hpp"
#include "support/threads.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using Clock = ChannelMemory::Clock;

template <class Registry>
std::string cached_in(const Registry& channels, std::string_view channel) {
  std::string text = "no channel";
  channels.look_at_state(channel, [&](ChannelState* state) {
    const MessagePtr message =
        state == nullptr ? MessagePtr{} : static_cast<ChannelMemory*>(state)->cached(Clock::now());
    text = message ? text_of(*message) : std::string("nothing");
  });
  return text;
}

using PerturbedRegistry = ChannelRegistry<PerturbedAtomics, WithMemory<PoisoningMemory>>;

class ordered_state_threads : public ::testing::TestWithParam<bool> {
 protected:
  ~ordered_state_threads() override {
    channels.reset();
    EXPECT_EQ(quarantine.live(), 0);
    EXPECT_EQ(quarantine.empty(), 0U);
  }
  void trigger(std::string_view data) {
    const TriggerResult result =
        GetParam() ? channels->trigger({"cache-a", "x"}, "e", data) : channels->trigger("cache-a", "e", data);
    EXPECT_EQ(result.error, errc::ok);
  }
  [[nodiscard]] std::size_t entries() const { return channels->stats().entries; }

  ChannelMemories memories{KeptOptions{.cache_ttl = 1h}};
  Quarantine quarantine;
  std::unique_ptr<PerturbedRegistry> channels =
      std::make_unique<PerturbedRegistry>(RegistryOptions{.seed = 7, .states = &memories}, PoisoningMemory{quarantine});
};
INSTANTIATE_TEST_SUITE_P(OneOrMany, ordered_state_threads, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Many" : "One"; });

TEST_P(ordered_state_threads, the_last_event_survives_the_last_subscriber_who_leaves_meanwhile) {
  Subscription leaves;
  run_rounds(
      repetitions(400),
      [&](std::size_t round) {
        channels->expire(Clock::now() + 2h);
        ASSERT_EQ(entries(), 0U) << round;
        leaves = channels->subscribe("cache-a");
      },
      [&](std::size_t round) {
        EXPECT_EQ(cached_in(*channels, "cache-a"), "e=" + std::to_string(round));
        EXPECT_EQ(entries(), 1U);
        EXPECT_EQ(quarantine.empty(), 0U);
      },
      [&](std::size_t round) {
        PerturbedAtomics::perturb_from(3 * round);
        trigger(std::to_string(round));
      },
      [&](std::size_t round) {
        PerturbedAtomics::perturb_from(3 * round + 1);
        leaves.detach();
      },
      [&](std::size_t round) {
        PerturbedAtomics::perturb_from(3 * round + 2);
        channels->expire();  // nothing is too old
      });
}

TEST_P(ordered_state_threads, a_state_that_expires_beside_triggers_keeps_what_came_later_or_nothing) {
  run_rounds(
      repetitions(400), [&](std::size_t /*round*/) { trigger("old"); },
      [&](std::size_t round) {
        const std::string kept = cached_in(*channels, "cache-a");
        // It was forgotten before or behind the event. If before, it is there, and so is its channel.
        const std::string text = "e=" + std::to_string(round);
        EXPECT_TRUE(kept == text || kept == "no channel") << kept;
        EXPECT_EQ(entries(), kept == text ? 1U : 0U);
        channels->expire(Clock::now() + 2h);
        EXPECT_EQ(entries(), 0U);
        EXPECT_EQ(quarantine.empty(), 0U);
      },
      [&](std::size_t round) {
        PerturbedAtomics::perturb_from(3 * round);
        trigger(std::to_string(round));
      },
      [&](std::size_t round) {
        PerturbedAtomics::perturb_from(3 * round + 1);
        channels->expire(Clock::now() + 2h);
      },
      [&](std::size_t round) {
        PerturbedAtomics::perturb_from(3 * round + 2);
        static_cast<void>(channels->subscribe("cache-a"));
      });
}

TEST_P(ordered_state_threads, everything_at_once) {
  std::atomic<bool> stop{false};
  std::vector<Thread> threads;
  for (std::uint64_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      PerturbedAtomics::perturb_from(i);
      for (std::size_t n = 0; !stop; ++n) trigger(std::to_string(n));
    });
  }
  threads.emplace_back([&] {
    PerturbedAtomics::perturb_from(17);
    for (std::size_t n = 0; !stop; ++n) channels->expire(Clock::now() + (n % 3 == 0 ? 2h : 0h));
  });
  for (std::size_t i = 0; i < repetitions(600); ++i) {
    Queue queue;
    const Subscription attached = channels->attach("cache-a", queue);
    const ChannelHandle handle = channels->channel("cache-a");
    EXPECT_EQ(handle.trigger("e", "mine").error, errc::ok);
    EXPECT_FALSE(cached_in(*channels, "cache-a").empty());
  }
  stop = true;
  threads.clear();
  trigger("last");
  EXPECT_EQ(cached_in(*channels, "cache-a"), "e=last");
  channels->expire(Clock::now() + 2h);
  EXPECT_EQ(entries(), 0U);
}

TEST_P(ordered_state_threads, the_registry_ends_beside_triggers) {
  for (std::size_t round = 0; round < repetitions(200); ++round) {
    auto registry = std::make_unique<PerturbedRegistry>(RegistryOptions{.seed = 7, .states = &memories},
                                                        PoisoningMemory{quarantine});
    const ChannelHandle handle = registry->channel("cache-a");
    Subscription other = registry->subscribe("presence-b");
    Gate gate;
    Thread triggers([&] {
      PerturbedAtomics::perturb_from(round);
      gate.open();
      while (handle.trigger("e", "1")) {
      }
    });
    Thread leaves([&, subscription = std::move(other)]() mutable {
      PerturbedAtomics::perturb_from(round + 1);
      gate.wait();
      subscription.reset();
    });
    gate.wait();
    registry.reset();
  }
  EXPECT_EQ(quarantine.empty(), 0U);
}

// ---- one thread stopped at each of its steps

TEST(ordered_state_steps_threads, what_is_kept_is_kept_whenever_the_last_subscriber_leaves) {
  for (std::size_t step = 0;; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    ChannelMemories memories{KeptOptions{.cache_ttl = 1h}};
    Quarantine quarantine;
    bool done = false;
    {
      PerturbedRegistry channels{{.seed = 7, .states = &memories}, PoisoningMemory{quarantine}};
      Subscription leaves = channels.subscribe("cache-a");
      Arrivals tried;
      Thread visitor;
      PerturbedAtomics::at_step(step, [&] {
        visitor = Thread{[&leaves, &tried] {
          PerturbedAtomics::before_next(Operation::lock, [&] { tried.arrive(); });
          leaves.detach();
        }};
        tried.wait_for(1);
        for (int i = 0; i < 5; ++i) std::this_thread::yield();
      });
      channels.trigger("cache-a", "e", "1");
      done = PerturbedAtomics::not_reached();
      visitor.join();
      if (!done) {
        EXPECT_EQ(cached_in(channels, "cache-a"), "e=1");
        EXPECT_EQ(channels.stats().entries, 1U);
        channels.expire(Clock::now() + 2h);
        EXPECT_EQ(channels.stats().entries, 0U);
      }
    }
    EXPECT_EQ(quarantine.live(), 0);
    EXPECT_EQ(quarantine.empty(), 0U);
    if (done || ::testing::Test::HasFailure()) {
      EXPECT_GT(step, 6U);
      return;
    }
  }
}

// ---- steps

/// Counts up in its state, and writes down where in the order it was.
struct CountingStep final : OrderedStep {
  [[nodiscard]] bool begin(ChannelState* state) noexcept override {
    EXPECT_FALSE(inside->exchange(true));
    EXPECT_NE(state, nullptr);
    ++begun;
    return sends;
  }
  void end() noexcept override {
    EXPECT_TRUE(inside->exchange(false));
    ++ended;
  }
  std::atomic<bool>* inside = nullptr;
  bool sends = true;
  std::size_t begun = 0;
  std::size_t ended = 0;
};

TEST(ordered_steps_threads, each_is_alone_at_its_point_of_the_order) {
  ChannelMemories memories{KeptOptions{.cache_ttl = 1h}};
  ChannelRegistry<> channels{{.states = &memories}};
  constexpr std::size_t threads = 3;
  const std::size_t each = repetitions(4000);
  PolledSubscription inbox = channels.subscribe("presence-a", Inbox{2 * threads * each});
  std::atomic<bool> inside{false};
  std::atomic<std::size_t> sent{0};
  run_together(threads, [&](std::size_t thread) {
    Subscription mine = channels.subscribe("presence-a");
    std::uint64_t last = 0;
    for (std::size_t i = 0; i < each; ++i) {
      CountingStep step;
      step.inside = &inside;
      step.sends = i % 3 != 0;
      const std::string data = std::to_string(thread) + ':' + std::to_string(i);
      const TriggerResult result = mine.step(step, "pusher_internal:step", data);
      EXPECT_EQ(result.error, errc::ok);
      EXPECT_EQ(step.begun, 1U);
      EXPECT_EQ(step.ended, 1U);
      if (step.sends) {
        EXPECT_GT(result.id.number, last);
        last = result.id.number;
        ++sent;
      }
      if (i % 5 == 0) {
        EXPECT_TRUE(channels.trigger("presence-a", "e", data));
        ++sent;
      }
    }
  });
  std::uint64_t next = 1;
  inbox.poll([&](const Event& event) { EXPECT_EQ(event.id().number, next++); });
  EXPECT_EQ(next, sent + 1);
}

TEST(ordered_steps_threads, one_that_is_refused_because_the_registry_ends_has_not_begun) {
  ChannelMemories memories{KeptOptions{.cache_ttl = 1h}};
  for (std::size_t round = 0; round < repetitions(300); ++round) {
    auto channels = std::make_unique<ChannelRegistry<>>(RegistryOptions{.states = &memories});
    Subscription subscription = channels->subscribe("presence-a");
    Gate gate;
    Thread steps([&] {
      std::atomic<bool> inside{false};
      gate.open();
      for (bool closed = false; !closed;) {
        CountingStep step;
        step.inside = &inside;
        const TriggerResult result = subscription.step(step, "pusher_internal:step", {});
        closed = result.error == errc::closed;
        EXPECT_EQ(step.begun, closed ? 0U : 1U);
        EXPECT_EQ(step.ended, step.begun);
      }
    });
    gate.wait();
    channels.reset();
  }
}

}  // namespace
}  // namespace fanfare::test
