// The short programs in which lock-free lists and tables go wrong, run many times with yields around every operation
// and with all freed memory poisoned. They take all atomics, locks and memory from policies, so they also show that the
// policies are complete: nothing of a registry is allocated elsewhere.
#include <fanfare/core/channel_registry.hpp>

#include "support/perturbed_atomics.hpp"
#include "support/print.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using Registry = ChannelRegistry<PerturbedAtomics, WithMemory<PoisoningMemory>>;

/// One registry for all rounds; at the end nothing was written to after it was freed, and all memory is back.
class perturbed_threads : public ::testing::Test {
 protected:
  perturbed_threads() : channels_(std::make_unique<Registry>(RegistryOptions{}, PoisoningMemory{quarantine_})) {}

  Registry& channels() { return *channels_; }

  void TearDown() override {
    channels_->collect();
    channels_->collect();
    EXPECT_EQ(channels_->stats().retired_bytes, 0U);
    channels_.reset();
    EXPECT_EQ(quarantine_.live(), 0);
    EXPECT_EQ(quarantine_.empty(), 0U);
  }

  /// As `run_rounds`, with each thread yielding at places of its own in each round.
  template <class Before, class After, class... Programs>
  void run(std::size_t rounds, Before before, After after, Programs... programs) {
    std::uint64_t thread = 0;
    const auto perturbed = [&thread](auto program) {
      return [number = ++thread, program](std::size_t round) mutable {
        PerturbedAtomics::perturb_from(round * 16 + number);
        program(round);
      };
    };
    run_rounds(
        rounds, before,
        [&](std::size_t round) {
          after(round);
          if (round % 64 == 0) {
            EXPECT_EQ(quarantine_.empty(), 0U);
          }
        },
        perturbed(programs)...);
  }

  static constexpr std::size_t rounds() { return repetitions(1600); }

 private:
  Quarantine quarantine_;
  std::unique_ptr<Registry> channels_;
};

/// What a callback refers to: freed by the thread that has left.
struct Target {
  std::string text = std::string(64, 'x');
  std::atomic<int> calls{0};
};

auto callback_for(Target* target) {
  return [target](const Event&) {
    EXPECT_EQ(target->text.size(), 64U);
    ++target->calls;
  };
}

TEST_F(perturbed_threads, trigger_beside_remove_and_free) {
  std::unique_ptr<Target> target;
  Subscription subscription;
  Subscription stays = channels().subscribe("room");
  stays.bind("e", [](const Event&) {});
  run(
      rounds(),
      [&](std::size_t) {
        target = std::make_unique<Target>();
        subscription = channels().subscribe("room");
        subscription.bind("e", callback_for(target.get()));
      },
      [&](std::size_t) { EXPECT_EQ(channels().subscribers("room"), 1U); },
      [&](std::size_t) { EXPECT_GE(channels().trigger("room", "e", "").delivered, 1U); },
      [&](std::size_t) {
        subscription.reset();
        target.reset();
      });
}

TEST_F(perturbed_threads, trigger_beside_remove_and_add) {
  std::unique_ptr<Target> target;
  std::unique_ptr<Target> successor;
  Subscription subscription;
  run(
      rounds(),
      [&](std::size_t) {
        target = std::make_unique<Target>();
        successor = std::make_unique<Target>();
        subscription = channels().subscribe("room");
        subscription.bind("e", callback_for(target.get()));
      },
      [&](std::size_t) {
        EXPECT_LE(successor->calls, 1);
        subscription.reset();
      },
      [&](std::size_t) { EXPECT_LE(channels().trigger("room", "e", "").delivered, 2U); },
      [&](std::size_t) {
        subscription.reset();
        target.reset();
        subscription = channels().subscribe("room");
        subscription.bind("e", callback_for(successor.get()));
      });
}

TEST_F(perturbed_threads, trigger_beside_adds_that_grow_and_free) {
  std::vector<Subscription> added;
  Target target;
  Subscription stays = channels().subscribe("room");
  stays.bind("e", callback_for(&target));
  std::size_t triggered = 0;
  run(
      rounds(), [&](std::size_t) { added.clear(); },
      [&](std::size_t) { EXPECT_EQ(target.calls, static_cast<int>(triggered)); },
      [&](std::size_t) {
        for (int i = 0; i < 2; ++i) EXPECT_GE(channels().trigger("room", "e", "").delivered, 1U);
        triggered += 2;
      },
      [&](std::size_t) {
        for (int i = 0; i < 3; ++i) {  // 1, 2, 4: each makes a new array
          added.push_back(channels().subscribe("room"));
          added.back().bind("e", [](const Event&) {});
        }
        channels().collect();
      });
  added.clear();
}

TEST_F(perturbed_threads, two_triggers_beside_remove_add_and_free) {
  std::unique_ptr<Target> target;
  Subscription subscription;
  Subscription successor;
  run(
      rounds(),
      [&](std::size_t) {
        target = std::make_unique<Target>();
        subscription = channels().subscribe("room");
        subscription.bind("e", callback_for(target.get()));
      },
      [&](std::size_t) { EXPECT_EQ(channels().trigger("room", "e", "").delivered, 1U); },
      [&](std::size_t) { channels().trigger("room", "e", ""); },
      [&](std::size_t) { channels().trigger("room", "e", ""); },
      [&](std::size_t) {
        subscription.reset();
        target.reset();
        successor = channels().subscribe("room");
        successor.bind("e", [text = std::string(64, 'y')](const Event&) { EXPECT_EQ(text.size(), 64U); });
        channels().collect();
      });
  successor.reset();
}

TEST_F(perturbed_threads, trigger_beside_a_queue_that_leaves) {
  PolledSubscription inbox;
  run(
      rounds(),
      [&](std::size_t) {
        inbox = channels().subscribe("presence-room", Inbox{2, Overflow::drop_oldest});
      },
      [](std::size_t) {},
      [&](std::size_t) {
        for (int i = 0; i < 4; ++i) channels().trigger("presence-room", "e", "data");
      },
      [&](std::size_t round) {
        inbox.poll([&](const Event& event) {
          EXPECT_EQ(event.data(), "data");
          if (round % 2 == 0) inbox.reset();
        });
        inbox.reset();
      });
}

TEST_F(perturbed_threads, pushers_beside_a_poller) {
  PolledSubscription inbox = channels().subscribe("room", Inbox{2, Overflow::drop_oldest});
  std::size_t polled = 0;
  run(
      rounds(), [](std::size_t) {},
      [&](std::size_t round) {
        polled += inbox.poll([](const Event&) {});
        EXPECT_EQ(polled + inbox.dropped(), (round + 1) * 6);
      },
      [&](std::size_t) {
        for (int i = 0; i < 3; ++i) channels().trigger("room", "e", "");
      },
      [&](std::size_t) {
        for (int i = 0; i < 3; ++i) channels().trigger("room", "e", "");
      },
      [&](std::size_t) {
        for (int i = 0; i < 3; ++i) polled += inbox.poll([](const Event&) {});
      });
}

TEST_F(perturbed_threads, lookup_beside_erase) {
  // The guest shares its table, and often its neighbourhood, with the one that stays.
  Subscription stays = channels().subscribe("stays");
  stays.bind("e", [](const Event&) {});
  std::vector<Subscription> guests;
  run(
      rounds(),
      [&](std::size_t) {
        for (int i = 0; i < 4; ++i) {
          guests.push_back(channels().subscribe("guest" + std::to_string(i)));
          stays.bind("event" + std::to_string(i), [](const Event&) {});
        }
      },
      [](std::size_t) {},
      [&](std::size_t) {
        EXPECT_EQ(channels().trigger("stays", "e", "").delivered, 1U);
        EXPECT_LE(channels().trigger("guest2", "e", "").delivered, 1U);
        EXPECT_LE(channels().trigger("stays", "event2", "").delivered, 1U);
      },
      [&](std::size_t) {
        for (int i = 0; i < 4; ++i) stays.unbind("event" + std::to_string(i));
        guests.clear();
      });
}

/// All names in one stripe and one row.
struct OneRow {
  [[nodiscard]] static std::uint64_t hash(std::string_view name, std::uint64_t seed) noexcept {
    return SeededHash::hash(name, seed) >> 60U;
  }
};

TEST(perturbed_row_threads, lookup_beside_rebuild) {
  Quarantine quarantine;
  {
    ChannelRegistry<PerturbedAtomics, WithHash<OneRow>, WithMemory<PoisoningMemory>> channels{
        RegistryOptions{.seed = 7}, PoisoningMemory{quarantine}};
    Subscription stays = channels.subscribe("stays");
    stays.bind("e", [](const Event&) {});
    std::vector<Subscription> guests;
    run_rounds(
        repetitions(400), [&](std::size_t) { guests.clear(); }, [&](std::size_t) { EXPECT_EQ(quarantine.empty(), 0U); },
        [&](std::size_t round) {
          PerturbedAtomics::perturb_from(round * 2);
          for (int i = 0; i < 4; ++i) EXPECT_EQ(channels.trigger("stays", "e", "").delivered, 1U);
          EXPECT_EQ(channels.subscribers("stays"), 1U);
        },
        [&](std::size_t round) {
          PerturbedAtomics::perturb_from(round * 2 + 1);
          for (int i = 0; i < 12; ++i)
            guests.push_back(channels.subscribe(std::to_string(round) + '-' + std::to_string(i)));
          channels.collect();
        });
  }
  EXPECT_EQ(quarantine.empty(), 0U);
  EXPECT_EQ(quarantine.live(), 0);
}

TEST_F(perturbed_threads, subscribe_beside_the_last_leave) {
  Subscription last;
  Subscription next;
  std::unique_ptr<Target> target;
  run(
      rounds(),
      [&](std::size_t) {
        target = std::make_unique<Target>();
        next.reset();
        last = channels().subscribe("room");
      },
      [&](std::size_t) {
        EXPECT_EQ(channels().trigger("room", "e", "").delivered, 1U);
        EXPECT_EQ(target->calls, 2);
      },
      [&](std::size_t) {
        next = channels().subscribe("room", [&](Subscription& s) { s.bind("e", callback_for(target.get())); });
        EXPECT_EQ(channels().trigger("room", "e", "").delivered, 1U);
      },
      [&](std::size_t) { last.reset(); });
  next.reset();
}

TEST_F(perturbed_threads, handle_beside_the_last_leave) {
  Subscription last;
  run(
      rounds(),
      [&](std::size_t) {
        last = channels().subscribe("room");
        last.bind("e", [](const Event&) {});
      },
      [&](std::size_t) { EXPECT_EQ(channels().stats().entries, 0U); },
      [&](std::size_t) {
        const auto handle = channels().channel("room");
        EXPECT_TRUE(handle);
        EXPECT_LE(handle.trigger("e", "").delivered, 1U);
      },
      [&](std::size_t) { last.reset(); });
}

TEST_F(perturbed_threads, mutual_destruction) {
  Subscription first;
  Subscription second;
  run(
      rounds() / 2,
      [&](std::size_t) {
        first = channels().subscribe("one");
        second = channels().subscribe("two");
        // Each subscription is ended by the other's callback only.
        first.bind("e", [&](const Event&) { second.reset(); });
        second.bind("e", [&](const Event&) { first.reset(); });
      },
      [&](std::size_t) {
        first.reset();
        second.reset();
      },
      [&](std::size_t) { channels().trigger("one", "e", ""); },
      [&](std::size_t) { channels().trigger("two", "e", ""); });
}

TEST(perturbed_end_threads, registry_ends_beside_trigger_leave_and_bind) {
  for (std::size_t round = 0; round < repetitions(240); ++round) {
    Quarantine quarantine;
    {
      auto channels = std::make_unique<Registry>(RegistryOptions{}, PoisoningMemory{quarantine});
      auto target = std::make_unique<Target>();
      Subscription leaves = channels->subscribe("room");
      leaves.bind("e", callback_for(target.get()));
      Subscription stays = channels->subscribe("room");
      stays.bind("e", callback_for(target.get()));
      ChannelHandle handle = channels->channel("room");
      run_together(4, [&](std::size_t thread) {
        PerturbedAtomics::perturb_from(round * 4 + thread);
        if (thread == 0) {
          channels.reset();
          target.reset();  // no callback runs any more
        } else if (thread == 1) {
          handle.trigger("e", "");
          handle = ChannelHandle{};
        } else if (thread == 2) {
          round % 2 == 0 ? leaves.reset() : leaves.detach();
        } else {
          static_cast<void>(stays.bind("f", [](const Event&) {}));
          stays.unbind("e");
        }
      });
    }
    EXPECT_EQ(quarantine.live(), 0);
    EXPECT_EQ(quarantine.empty(), 0U);
  }
}

}  // namespace
}  // namespace fanfare::test
