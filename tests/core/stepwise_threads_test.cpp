// One thread is stopped before each of its atomic operations in turn, while another runs a whole program. With freed
// memory poisoned, this tries every interleaving of a trigger with one visit by a writer, and the other way round.
#include <fanfare/core/channel_registry.hpp>

#include "support/perturbed_atomics.hpp"
#include "support/print.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fanfare::test {
namespace {

/// All names in one stripe and one row of it.
struct OneRow {
  [[nodiscard]] static std::uint64_t hash(std::string_view name, std::uint64_t seed) noexcept {
    return SeededHash::hash(name, seed) >> 60U;
  }
};

using Registry = ChannelRegistry<PerturbedAtomics, WithHash<OneRow>, WithMemory<PoisoningMemory>>;

/// What one try has: a channel with a subscriber who stays, and one who may leave.
struct World {
  explicit World(Quarantine& quarantine)
      : channels(std::make_unique<Registry>(RegistryOptions{.seed = 7}, PoisoningMemory{quarantine})) {
    stays = channels->subscribe("room", [&](Subscription& s) {
      s.bind("e", [&](const Event& event) {
        EXPECT_EQ(event.channel(), "room");
        ++stays_called;
      });
    });
    leaves = channels->subscribe("room");
    leaves.bind("e", [this, text = std::string(64, 'x')](const Event&) {
      EXPECT_EQ(text.size(), 64U);
      ++leaves_called;
    });
    lonely = channels->subscribe("lonely");
    lonely.bind("e", [text = std::string(64, 'y')](const Event&) { EXPECT_EQ(text.size(), 64U); });
  }
  void collect() {
    channels->collect();
    channels->collect();
  }

  std::unique_ptr<Registry> channels;
  int stays_called = 0;
  int leaves_called = 0;
  Subscription stays;
  Subscription leaves;
  Subscription lonely;
  std::vector<Subscription> more;
};

/// Stops `stopped(world)` at every step it has, lets `visitor(world)` run from its beginning to its end, continues, and
/// calls `check(world)`. A visitor must not wait for the stopped thread: it detaches.
/// \returns how many steps there were.
template <class Stopped, class Visitor, class Check>
std::size_t at_every_step(Stopped stopped, Visitor visitor, Check check) {
  for (std::size_t step = 0;; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    Quarantine quarantine;
    bool done = false;
    {
      World world(quarantine);
      PerturbedAtomics::at_step(step, [&] { Thread{[&] { visitor(world); }}; });
      stopped(world);
      done = PerturbedAtomics::not_reached();
      if (!done) check(world);
    }
    EXPECT_EQ(quarantine.live(), 0);
    EXPECT_EQ(quarantine.empty(), 0U);
    if (done || ::testing::Test::HasFailure()) return step;
  }
}

/// Each trigger takes this many steps at least; fewer would mean that the seam leaks.
constexpr std::size_t few = 6;

void trigger_room(World& world) { EXPECT_GE(world.channels->trigger("room", "e", "").delivered, 1U); }

TEST(stepwise_threads, trigger_while_another_removes_and_frees) {
  EXPECT_GT(at_every_step(
                trigger_room,
                [](World& world) {
                  world.leaves.detach();
                  world.collect();
                },
                [](World& world) { EXPECT_EQ(world.stays_called, 1); }),
            few);
}

TEST(stepwise_threads, trigger_while_another_grows_the_list_and_frees) {
  EXPECT_GT(at_every_step(
                trigger_room,
                [](World& world) {
                  for (int i = 0; i < 9; ++i) {
                    world.more.push_back(world.channels->subscribe("room"));
                    world.more.back().bind("e", [](const Event&) {});
                  }
                  for (int i = 0; i < 8; ++i) world.more[static_cast<std::size_t>(i)].detach();
                  world.leaves.detach();
                  world.collect();
                },
                [](World& world) { EXPECT_EQ(world.stays_called, 1); }),
            few);
}

TEST(stepwise_threads, trigger_while_another_replaces_a_subscriber) {
  EXPECT_GT(at_every_step(
                trigger_room,
                [](World& world) {
                  world.leaves.detach();
                  world.collect();
                  world.more.push_back(world.channels->subscribe("room"));
                  world.more.back().bind("e", [text = std::string(64, 'z')](const Event&) { EXPECT_EQ(text[0], 'z'); });
                  world.collect();
                },
                [](World& world) { EXPECT_EQ(world.stays_called, 1); }),
            few);
}

TEST(stepwise_threads, trigger_while_the_last_subscriber_leaves_and_the_channel_is_freed) {
  EXPECT_GT(at_every_step([](World& world) { EXPECT_LE(world.channels->trigger("lonely", "e", "").delivered, 1U); },
                          [](World& world) {
                            world.lonely.detach();
                            world.collect();
                          },
                          [](World& world) { EXPECT_FALSE(world.channels->occupied("lonely")); }),
            few);
}

TEST(stepwise_threads, trigger_while_the_channel_is_unmade_and_made_again) {
  EXPECT_GT(at_every_step([](World& world) { EXPECT_LE(world.channels->trigger("lonely", "e", "").delivered, 1U); },
                          [](World& world) {
                            world.lonely.detach();
                            world.collect();
                            world.lonely = world.channels->subscribe("lonely");
                            world.lonely.bind("e", [](const Event&) {});
                          },
                          [](World& world) { EXPECT_EQ(world.channels->trigger("lonely", "e", "").delivered, 1U); }),
            few);
}

TEST(stepwise_threads, trigger_while_the_tables_of_channels_and_events_are_rebuilt) {
  EXPECT_GT(at_every_step(
                trigger_room,
                [](World& world) {
                  for (int i = 0; i < 20; ++i) {
                    world.more.push_back(world.channels->subscribe("guest" + std::to_string(i)));
                    world.stays.bind("event" + std::to_string(i), [](const Event&) {});
                    if (i % 3 != 0) world.more.back().detach();
                  }
                  world.collect();
                },
                [](World& world) { EXPECT_EQ(world.stays_called, 1); }),
            few);
}

TEST(stepwise_threads, trigger_while_an_event_loses_its_last_binding) {
  EXPECT_GT(at_every_step([](World& world) { EXPECT_LE(world.channels->trigger("lonely", "e", "").delivered, 1U); },
                          [](World& world) {
                            Subscription guest = world.channels->subscribe("lonely");
                            EXPECT_TRUE(guest.bind("f", [](const Event&) {}));
                            world.lonely.detach();
                            guest.detach();
                            world.collect();
                          },
                          [](World& world) { EXPECT_FALSE(world.channels->occupied("lonely")); }),
            few);
}

TEST(stepwise_threads, push_while_the_queue_leaves) {
  // Not freed under the pusher: detached, then looked at by the collector.
  std::optional<PolledSubscription> inbox;
  EXPECT_GT(at_every_step(
                [&](World& world) {
                  inbox.emplace(world.channels->subscribe("queue", Inbox{2, Overflow::drop_oldest}));
                  for (int i = 0; i < 3; ++i) world.channels->trigger("queue", "e", "data");
                  inbox.reset();
                },
                [](World& world) {
                  for (int i = 0; i < 3; ++i) world.channels->trigger("other", "e", "data");
                  world.channels->trigger("room", "e", "data");
                },
                [](World&) {}),
            few);
  EXPECT_GT(at_every_step([&](World& world) { world.channels->trigger("queue", "e", "data"); },
                          [&](World& world) {
                            PolledSubscription mine = world.channels->subscribe("queue", Inbox{2});
                            EXPECT_EQ(world.channels->trigger("queue", "e", "data").delivered, 1U);
                            EXPECT_EQ(mine.poll([](const Event&) {}), 1U);
                            mine.detach();
                            world.collect();
                          },
                          [](World&) {}),
            std::size_t{2});
}

// The other way round: whatever a writer is doing, a trigger on a channel without order needs no lock, and a subscriber
// who is there throughout gets its events.

TEST(stepwise_threads, a_subscriber_who_stays_gets_its_event_at_every_step_of_a_writer) {
  EXPECT_GT(at_every_step(
                [](World& world) {
                  world.leaves.reset();
                  for (int i = 0; i < 4; ++i) {
                    world.more.push_back(world.channels->subscribe("room"));
                    world.more.back().bind("e", [](const Event&) {});
                    world.stays.bind("event" + std::to_string(i), [](const Event&) {});
                    if (i % 3 != 0) world.more.front().reset();
                    world.stays.unbind("event" + std::to_string(i));
                  }
                  world.more.clear();
                },
                trigger_room, [](World& world) { EXPECT_LE(world.stays_called, 1); }),
            std::size_t{100});
}

TEST(stepwise_threads, a_channel_that_stays_is_found_at_every_step_of_a_writer) {
  EXPECT_GT(at_every_step(
                [](World& world) {
                  for (int i = 0; i < 6; ++i) {
                    world.more.push_back(world.channels->subscribe("guest" + std::to_string(i)));
                    if (i % 3 != 0) world.more.erase(world.more.begin());
                  }
                  world.more.clear();
                  world.lonely.reset();
                },
                trigger_room, [](World& world) { EXPECT_LE(world.stays_called, 1); }),
            std::size_t{100});
}

TEST(stepwise_threads, a_handle_reaches_a_subscriber_who_was_told_ok_at_every_step_of_the_last_leave) {
  EXPECT_GT(at_every_step([](World& world) { world.lonely.reset(); },
                          [](World& world) {
                            const TriggerResult result = world.channels->trigger("lonely", "e", "");
                            EXPECT_EQ(result.error, errc::ok);
                            EXPECT_LE(result.delivered, 1U);
                          },
                          [](World& world) {
                            Subscription again = world.channels->subscribe("lonely");
                            again.bind("e", [](const Event&) {});
                            EXPECT_EQ(world.channels->trigger("lonely", "e", "").delivered, 1U);
                            world.collect();
                            EXPECT_EQ(world.channels->stats().entries, 2U);
                          }),
            few);
}

}  // namespace
}  // namespace fanfare::test
