// Subscribers that are given what a channel keeps, while others trigger, come and go.
#include <fanfare/core/channel_memory.hpp>

#include "support/perturbed_atomics.hpp"
#include "support/print.hpp"
#include "support/threads.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using Numbers = std::vector<std::uint64_t>;

constexpr std::size_t triggering = 2;

/// How many are missing between the first and the last, where none came twice.
std::uint64_t holes(Numbers numbers) {
  if (numbers.empty()) return 0;
  std::ranges::sort(numbers);
  EXPECT_EQ(std::ranges::adjacent_find(numbers), numbers.end()) << "one came twice";
  return numbers.back() - numbers.front() + 1 - numbers.size();
}

/// The registry that people use, with many events, and one whose steps are shuffled and whose memory is watched, with fewer.
struct Plain {
  using Channels = ChannelRegistry<>;
  static constexpr std::size_t events = repetitions(100'000);
  explicit Plain(ChannelMemories& memories) : channels(new Channels(RegistryOptions{.states = &memories})) {}
  std::unique_ptr<Channels> channels;
};
struct Perturbed {
  using Channels = ChannelRegistry<PerturbedAtomics, WithMemory<PoisoningMemory>>;
  static constexpr std::size_t events = repetitions(4'000);
  explicit Perturbed(ChannelMemories& memories)
      : channels(new Channels(RegistryOptions{.seed = 7, .states = &memories}, PoisoningMemory{quarantine})) {}
  Quarantine quarantine;
  std::unique_ptr<Channels> channels;
};

template <class Registry>
class kept_subscription_threads : public ::testing::Test {
 protected:
  static std::vector<ChannelRule> rules() {
    return {{.match = "history", .history = HistoryRule{.count = 20'000, .bytes = 32U << 20U}},
            {.match = "short", .history = HistoryRule{.count = 10}},
            {.match = "retained", .retain = true}};
  }

  /// Two threads trigger, and two run `comes(thread)` again and again meanwhile, and once more at the end.
  template <class F>
  void run(std::string_view channel, F comes) {
    std::vector<Thread> others;
    {
      std::vector<Thread> threads;
      for (std::size_t i = 0; i < triggering; ++i) {
        threads.emplace_back([this, channel, i] {
          PerturbedAtomics::perturb_from(i);
          for (std::size_t n = 0; n < Registry::events; ++n) {
            EXPECT_EQ(channels.trigger(channel, "e", "x").error, errc::ok);
          }
          if (++ended == triggering) over = true;
        });
      }
      for (std::size_t i = 0; i < 2; ++i) {
        others.emplace_back([this, comes, i] {
          PerturbedAtomics::perturb_from(triggering + i);
          for (bool last = false; !last;) {
            last = over;
            comes(i);
          }
        });
      }
    }
  }

  ChannelMemories memories{KeptOptions{}, ChannelRules{rules()}};
  std::unique_ptr<Registry> registry = std::make_unique<Registry>(memories);
  typename Registry::Channels& channels = *registry->channels;
  std::atomic<std::size_t> ended{0};
  std::atomic<bool> over{false};
};
struct Names {
  template <class Registry>
  static std::string GetName(int /*index*/) {
    return std::is_same_v<Registry, Plain> ? "plain" : "perturbed";
  }
};
using Registries = ::testing::Types<Plain, Perturbed>;
TYPED_TEST_SUITE(kept_subscription_threads, Registries, Names);

/// What one subscriber sees, on several threads.
struct Log {
  std::mutex mutex;
  Numbers numbers;
  EventId last{};

  void add(const Event& event) {
    const std::lock_guard lock(mutex);
    numbers.push_back(event.id().number);
    if (last.epoch == 0 || event.id() > last) last = event.id();
  }
  [[nodiscard]] std::size_t size() {
    const std::lock_guard lock(mutex);
    return numbers.size();
  }
};

TYPED_TEST(kept_subscription_threads, callbacks_see_all_from_where_they_come_until_they_leave) {
  EventId seen[2];
  std::atomic<std::size_t> resumed{0};
  const Subscription keeps = this->channels.subscribe("history");  // or its epoch would end with its last event
  this->run("history", [&](std::size_t i) {
    const bool last = this->over;
    Log log;
    const auto add = [&log](const Event& event) { log.add(event); };
    Subscription one;
    if (i == 0) {
      one = this->channels.subscribe(
          "history", [&](Subscription& s) { s.bind("e", add); }, seen[i]);
    } else {
      one = this->channels.subscribe("history", seen[i]);
      EXPECT_TRUE(one.bind("e", add));
    }
    ASSERT_EQ(one.error(), errc::ok);
    const std::size_t replayed = log.size();
    while (!this->over && log.size() < replayed + 20) std::this_thread::yield();
    const Reach reach = one.reach();
    const bool resumes = one.resumed();
    one.reset();
    if (resumes) ++resumed;
    // Who leaves beside a trigger may miss the event that is on its way, of each thread, and see a later one.
    const std::uint64_t missing = holes(log.numbers);
    EXPECT_TRUE(reach != Reach::whole || missing <= (last ? 0 : triggering)) << missing;
    if (resumes && !log.numbers.empty()) {
      EXPECT_LE(*std::ranges::min_element(log.numbers), seen[i].number + 1 + triggering);
      EXPECT_GT(*std::ranges::min_element(log.numbers), seen[i].number);
    }
    if (!log.numbers.empty()) seen[i] = log.last;
  });
  EXPECT_GT(resumed.load(), 0U);
}

TYPED_TEST(kept_subscription_threads, who_stays_until_the_end_has_seen_everything_once) {
  std::vector<std::unique_ptr<Log>> logs;
  std::vector<Subscription> subscriptions;
  std::mutex mutex;
  this->run("history", [&](std::size_t /*i*/) {
    {
      const std::lock_guard lock(mutex);
      if (subscriptions.size() >= 20) return std::this_thread::yield();
    }
    auto log = std::make_unique<Log>();
    Subscription one = this->channels.subscribe(
        "history", [&](Subscription& s) { s.bind_all([&log = *log](const Event& event) { log.add(event); }); });
    const std::lock_guard lock(mutex);
    subscriptions.push_back(std::move(one));
    logs.push_back(std::move(log));
  });
  ASSERT_GE(subscriptions.size(), 2U);
  const std::uint64_t last = triggering * TypeParam::events;
  for (std::size_t i = 0; i < subscriptions.size(); ++i) {
    ASSERT_FALSE(logs[i]->numbers.empty());
    const std::uint64_t missing = holes(logs[i]->numbers);
    EXPECT_TRUE(subscriptions[i].reach() != Reach::whole || missing == 0) << missing;
    EXPECT_EQ(logs[i]->last.number, last) << i;
  }
}

/// Ends at the first event that another thread brings.
struct OneShot {
  Subscription subscription;
  std::atomic<bool> ended{false};
  std::atomic<bool> done{false};

  void end() {
    if (ended.exchange(true)) return;
    subscription.reset();
    done = true;
  }
};

TYPED_TEST(kept_subscription_threads, a_callback_may_end_it_as_soon_as_it_has_entered) {
  this->run("short", [&](std::size_t i) {
    const auto shot = std::make_shared<OneShot>();
    const auto end = [shot, mine = std::this_thread::get_id()](const Event&) {
      if (std::this_thread::get_id() != mine) shot->end();
    };
    const Subscription left = this->channels.subscribe("short", [&](Subscription& s) {
      s.bind("e", end);
      if (i == 0) s.bind_all([](const Event&) {});
      shot->subscription = std::move(s);
    });
    while (!this->over && !shot->done) std::this_thread::yield();
    shot->end();
    while (!shot->done) std::this_thread::yield();
  });
  EXPECT_EQ(this->channels.subscribers("short"), 0U);
}

TYPED_TEST(kept_subscription_threads, inboxes_have_one_run_in_order) {
  EventId seen[2];
  std::atomic<std::size_t> resumed{0};
  const Subscription keeps = this->channels.subscribe("history");
  this->run("history", [&](std::size_t i) {
    PolledSubscription inbox =
        this->channels.subscribe("history", Inbox{20'000 + triggering * TypeParam::events}, seen[i]);
    ASSERT_EQ(inbox.error(), errc::ok);
    const bool resumes = inbox.resumed();
    EventId at = resumes ? seen[i] : EventId{};
    const auto next = [&](const Event& event) {
      EXPECT_TRUE(at.epoch == 0 || event.id().number == at.number + 1) << event.id().number << " behind " << at.number;
      at = event.id();
    };
    std::size_t polled = inbox.poll(next);
    const std::size_t replayed = polled;
    while (!this->over && polled < replayed + 50) polled += inbox.poll(next);
    EXPECT_EQ(inbox.dropped(), 0U);
    EXPECT_EQ(inbox.reach() == Reach::whole, resumes || seen[i].epoch == 0);
    if (resumes) ++resumed;
    if (at.epoch != 0) seen[i] = at;
  });
  EXPECT_GT(resumed.load(), 0U);
}

TYPED_TEST(kept_subscription_threads, of_what_is_retained_the_latest_is_never_missed) {
  this->run("retained", [&](std::size_t i) {
    Log log;
    const EventId kept = this->channels.trigger("retained", i == 0 ? "a" : "b", "x").id;
    Subscription one = this->channels.subscribe(
        "retained", [&](Subscription& s) { s.bind_all([&log](const Event& event) { log.add(event); }); });
    const EventId live = this->channels.trigger("retained", "c", "x").id;
    one.reset();
    static_cast<void>(holes(log.numbers));
    EXPECT_EQ(std::ranges::count(log.numbers, kept.number), 1);
    EXPECT_EQ(std::ranges::count(log.numbers, live.number), 1);
  });
}

TYPED_TEST(kept_subscription_threads, the_registry_ends_beside_one_who_is_given_what_is_kept) {
  for (std::size_t round = 0; round < repetitions(100); ++round) {
    auto mine = std::make_unique<TypeParam>(this->memories);
    for (int i = 0; i < 500; ++i) mine->channels->trigger("history", "e", std::string(1000, 'x'));
    std::atomic<bool> gone{false};
    Gate begun;
    Subscription one;
    {
      Thread comes([&, &channels = *mine->channels] {
        PerturbedAtomics::perturb_from(round);
        one = channels.subscribe("history", [&](Subscription& s) {
          s.bind("e", [&](const Event&) {
            EXPECT_FALSE(gone);
            begun.open();
          });
        });
      });
      begun.wait();
      mine->channels.reset();
      gone = true;
    }
    EXPECT_EQ(one.error(), errc::closed);
  }
}

}  // namespace
}  // namespace fanfare::test
