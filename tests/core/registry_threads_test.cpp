// Channels that come, go and end while other threads use them.
#include <fanfare/core/channel_registry.hpp>

#include "support/memory.hpp"
#include "support/print.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

TEST(registry_threads, a_registry_may_end_while_handles_trigger) {
  for (std::size_t i = 0; i < repetitions(200); ++i) {
    auto channels = std::make_unique<ChannelRegistry<>>();
    // What the callbacks use is freed right behind the registry: none may run then.
    auto object = std::make_unique<std::string>(100, 'x');
    Subscription subscription = channels->subscribe("room", [&](Subscription& s) {
      s.bind("e", [raw = object.get()](const Event&) { EXPECT_EQ(raw->size(), 100U); });
    });
    PolledSubscription inbox = channels->subscribe("room", Inbox{4});
    const ChannelHandle handle = channels->channel("room");
    Arrivals triggered;
    std::vector<Thread> threads;
    for (int k = 0; k < 2; ++k) {
      threads.emplace_back([&] {
        while (handle.trigger("e", "").error == errc::ok) triggered.arrive();
        EXPECT_EQ(handle.trigger("e", "").error, errc::closed);
      });
    }
    triggered.wait_for(2);
    channels.reset();
    object.reset();
    threads.clear();
    EXPECT_EQ(subscription.error(), errc::closed);
    EXPECT_EQ(inbox.error(), errc::closed);
    EXPECT_EQ(handle.error(), errc::closed);
    EXPECT_EQ(subscription.bind("e", [](const Event&) {}).error(), errc::closed);
    EXPECT_GT(inbox.poll([](const Event&) {}), 0U);
  }
}

TEST(registry_threads, the_destructor_waits_for_a_callback_that_is_running) {
  auto channels = std::make_unique<ChannelRegistry<>>();
  Gate running;
  Gate go_on;
  std::atomic<bool> ended{false};
  Subscription subscription = channels->subscribe("room");
  subscription.bind("e", [&](const Event&) {
    running.open();
    go_on.wait();
    ended = true;
  });
  const ChannelHandle handle = channels->channel("room");
  Thread trigger([&] { handle.trigger("e", ""); });
  running.wait();
  Gate ending;
  Thread destroyer([&] {
    ending.open();
    channels.reset();
    EXPECT_TRUE(ended);
  });
  ending.wait();
  go_on.open();
}

TEST(registry_threads, subscriptions_handles_and_bindings_end_while_the_registry_ends) {
  for (std::size_t i = 0; i < repetitions(200); ++i) {
    auto channels = std::make_unique<ChannelRegistry<>>();
    std::vector<Subscription> subscriptions;
    std::vector<PolledSubscription> inboxes;
    std::vector<ChannelHandle> handles;
    for (int k = 0; k < 8; ++k) {
      const std::string name = "room" + std::to_string(k % 3);
      subscriptions.push_back(channels->subscribe(name));
      subscriptions.back().bind("e", [text = std::string(40, 'x')](const Event&) { EXPECT_EQ(text.size(), 40U); });
      inboxes.push_back(channels->subscribe(name, Inbox{2}));
      handles.push_back(channels->channel(name));
    }
    run_together(4, [&](std::size_t thread) {
      switch (thread) {
        case 0: return channels.reset();
        case 1:
          for (Subscription& subscription : subscriptions) {
            static_cast<void>(subscription.bind("f", [](const Event&) {}));
            subscription.unbind("e");
            subscription.reset();
          }
          return;
        case 2:
          for (ChannelHandle& handle : handles) {
            handle.trigger("e", "");
            handle = ChannelHandle{};
          }
          return;
        default:
          for (PolledSubscription& inbox : inboxes) {
            inbox.poll([](const Event&) {});
            inbox.detach();
          }
      }
    });
  }
}

TEST(registry_threads, no_hook_runs_after_the_registry_has_ended) {
  // What hooks refer to may go right behind the registry: usually the object that owns both.
  int calls = 0;
  Subscription subscription;
  PolledSubscription inbox;
  {
    const auto count = [&calls](std::string_view) { ++calls; };
    ChannelRegistry<> channels{{.on_occupied = count, .on_vacated = count}};
    subscription = channels.subscribe("room");
    inbox = channels.subscribe("other", Inbox{2});
    EXPECT_EQ(calls, 2);
  }
  subscription.reset();
  inbox.reset();
  EXPECT_EQ(calls, 2);
}

TEST(registry_threads, the_destructor_waits_for_a_hook_that_is_running) {
  Gate running;
  Gate go_on;
  std::atomic<bool> ended{false};
  auto channels = std::make_unique<ChannelRegistry<>>(RegistryOptions{.on_vacated = [&](std::string_view) {
    running.open();
    go_on.wait();
    ended = true;
  }});
  Subscription subscription = channels->subscribe("room");
  Thread leaver([&] { subscription.reset(); });
  running.wait();
  Gate ending;
  Thread destroyer([&] {
    ending.open();
    channels.reset();
    EXPECT_TRUE(ended);
  });
  ending.wait();
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // not waited for by a correct registry; fails others
  go_on.open();
}

TEST(registry_threads, what_is_detached_after_the_end_is_freed_although_it_holds_the_channel) {
  const auto token = std::make_shared<int>(0);
  for (const std::string_view held : {"room", "other"}) {
    Subscription subscription;
    {
      ChannelRegistry<> channels;
      subscription = channels.subscribe("room");
      subscription.bind("e", [token, handle = channels.channel(held)](const Event&) {});
    }
    subscription.detach();
    EXPECT_EQ(token.use_count(), 1) << held;
  }
}

TEST(registry_threads, all_memory_comes_back_whoever_is_last) {
  MemoryLog log;
  using Registry = ChannelRegistry<WithMemory<CountingMemory>>;
  for (std::size_t i = 0; i < repetitions(400); ++i) {
    auto channels = std::make_unique<Registry>(RegistryOptions{}, CountingMemory{log});
    Subscription subscription = channels->subscribe("room");
    subscription.bind("e", [text = std::string(40, 'x')](const Event&) {});
    ChannelHandle handle = channels->channel("room");
    PolledSubscription inbox = channels->subscribe(i % 2 == 0 ? "room" : "other", Inbox{4});
    MessagePtr kept;
    channels->trigger("room", "e", "");
    channels->trigger("other", "e", "");
    inbox.poll([&](const Event& event) { kept = event.keep(); });
    run_together(4, [&](std::size_t thread) {
      if (thread == 0) subscription.reset();
      if (thread == 1) handle = ChannelHandle{};
      if (thread == 2) inbox.reset();
      if (thread == 3) channels.reset();
    });
    EXPECT_EQ(kept->name(), "e");
    kept = MessagePtr{};
    EXPECT_EQ(log.live_blocks(), 0U);
    EXPECT_EQ(log.mistakes(), "");
  }
}

TEST(registry_threads, a_subscriber_who_was_told_ok_is_never_deaf) {
  // One thread makes and unmakes the channel all the time; the other subscribes into whatever it finds.
  ChannelRegistry<> channels;
  std::atomic<bool> stop{false};
  Thread churn([&] {
    while (!stop) {
      Subscription subscription = channels.subscribe("room");
      EXPECT_TRUE(subscription);
    }
  });
  for (std::size_t i = 0; i < repetitions(8000); ++i) {
    int calls = 0;
    Subscription subscription =
        channels.subscribe("room", [&](Subscription& s) { s.bind("e", [&](const Event&) { ++calls; }); });
    ASSERT_TRUE(subscription);
    PolledSubscription inbox = channels.subscribe("room", Inbox{2});
    ASSERT_TRUE(inbox);
    EXPECT_EQ(channels.trigger("room", "e", "").delivered, 2U);
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(inbox.poll([](const Event&) {}), 1U);
  }
  stop = true;
}

TEST(registry_threads, a_handle_always_triggers_into_the_channel_that_subscribers_are_in) {
  ChannelRegistry<> channels;
  std::atomic<bool> stop{false};
  Thread churn([&] {
    while (!stop) {
      const ChannelHandle handle = channels.channel("room");
      EXPECT_TRUE(handle);
      const ChannelHandle copy = handle;
    }
  });
  for (std::size_t i = 0; i < repetitions(8000); ++i) {
    const ChannelHandle handle = channels.channel("room");
    int calls = 0;
    Subscription subscription = channels.subscribe("room");
    subscription.bind("e", [&](const Event&) { ++calls; });
    EXPECT_EQ(handle.trigger("e", "").delivered, 1U);
    EXPECT_EQ(calls, 1);
  }
  stop = true;
}

/// All names in one stripe, and in few places of its table.
struct CrowdedHash {
  [[nodiscard]] static std::uint64_t hash(std::string_view name, std::uint64_t seed) noexcept {
    return SeededHash::hash(name, seed) & 0x3U;
  }
};

template <class Registry>
class registry_lookup_threads : public ::testing::Test {};
using Lookups = ::testing::Types<ChannelRegistry<>, ChannelRegistry<WithHash<CrowdedHash>>>;
TYPED_TEST_SUITE(registry_lookup_threads, Lookups);

TYPED_TEST(registry_lookup_threads, a_channel_that_is_there_throughout_is_always_found) {
  TypeParam channels;
  std::vector<Subscription> stay;
  std::vector<std::string> names;
  for (int i = 0; i < 8; ++i) {
    names.push_back("stays" + std::to_string(i));
    stay.push_back(channels.subscribe(names.back()));
    stay.back().bind("e", [](const Event&) {});
    stay.back().bind("f" + names.back(), [](const Event&) {});
  }
  std::atomic<bool> stop{false};
  Thread churn([&] {
    while (!stop) {
      std::vector<Subscription> guests;
      for (int i = 0; i < 150 && !stop; ++i) {
        guests.push_back(channels.subscribe("guest" + std::to_string(i)));
        stay[0].bind("guest" + std::to_string(i), [](const Event&) {});  // the same for the table of events
        if (i % 3 == 0) guests.erase(guests.begin());
      }
      for (int i = 0; i < 150; ++i) stay[0].unbind("guest" + std::to_string(i));
    }
  });
  for (std::size_t i = 0; i < repetitions(8000); ++i) {
    const std::string& name = names[i % names.size()];
    EXPECT_EQ(channels.subscribers(name), 1U);
    EXPECT_EQ(channels.trigger(name, "e", "").delivered, 1U);
    EXPECT_EQ(channels.trigger(name, "f" + name, "").delivered, 1U);
    if (i % 64 == 0) {
      std::size_t found = 0;
      EXPECT_EQ(channels.for_each_channel([&](std::string_view, std::size_t) { ++found; }, "stays"), errc::ok);
      EXPECT_EQ(found, names.size());
    }
  }
  stop = true;
}

TEST(registry_threads, occupied_and_vacated_alternate_for_each_channel) {
  struct Log {
    std::mutex mutex;
    std::map<std::string, std::vector<bool>, std::less<>> changes;
    void add(std::string_view channel, bool occupied) {
      const std::lock_guard lock(mutex);
      changes[std::string{channel}].push_back(occupied);
    }
  } log;
  ChannelRegistry<> channels{{.on_occupied = [&](std::string_view channel) { log.add(channel, true); },
                              .on_vacated = [&](std::string_view channel) { log.add(channel, false); }}};
  run_together(3, [&](std::size_t thread) {
    for (std::size_t i = 0; i < repetitions(2000); ++i) {
      Subscription one = channels.subscribe(i % 2 == 0 ? "a" : "b");
      PolledSubscription two = channels.subscribe(thread == 0 ? "a" : "presence-b", Inbox{2});
      if (i % 5 == 0) channels.trigger("presence-b", "e", "");
      if (i % 7 == 0) two.poll([&](const Event&) { two.reset(); });
    }
  });
  EXPECT_EQ(channels.size(), 0U);
  const std::lock_guard lock(log.mutex);
  EXPECT_EQ(log.changes.size(), 3U);
  for (const auto& [channel, changes] : log.changes) {
    EXPECT_EQ(changes.size() % 2, 0U) << channel;
    for (std::size_t i = 0; i < changes.size(); ++i) ASSERT_EQ(changes[i], i % 2 == 0) << channel << " at " << i;
  }
}

TEST(registry_threads, hooks_may_use_the_registry) {
  ChannelRegistry<>* registry = nullptr;
  std::atomic<int> delivered{0};
  const auto hook = [&](std::string_view channel) {
    if (channel == "lobby") return;
    delivered += static_cast<int>(registry->trigger("lobby", "changed", channel).delivered);
    Subscription watcher = registry->subscribe("lobby");
    static_cast<void>(registry->subscribers(channel));
  };
  ChannelRegistry<> channels{{.on_occupied = hook, .on_vacated = hook}};
  registry = &channels;
  Subscription lobby = channels.subscribe("lobby");
  lobby.bind("changed", [](const Event&) {});
  run_together(3, [&](std::size_t) {
    for (std::size_t i = 0; i < repetitions(800); ++i) Subscription guest = channels.subscribe("room");
  });
  EXPECT_GT(delivered, 0);
}

TEST(registry_threads, a_query_may_leave_channels_while_others_come_and_go) {
  ChannelRegistry<> channels;
  std::atomic<bool> stop{false};
  Thread churn([&] {
    while (!stop) {
      Subscription subscription = channels.subscribe("guest");
      subscription.bind("e", [](const Event&) {});
      channels.trigger("guest", "e", "");
    }
  });
  for (std::size_t i = 0; i < repetitions(1000); ++i) {
    std::vector<Subscription> mine;
    for (int k = 0; k < 4; ++k) mine.push_back(channels.subscribe("mine" + std::to_string(k)));
    EXPECT_EQ(channels.for_each_channel([&](std::string_view name, std::size_t subscribers) {
      EXPECT_GT(subscribers, 0U);
      EXPECT_FALSE(name.empty());
      if (!mine.empty()) mine.pop_back();  // does not wait for the query that it is in
      channels.collect();
      static_cast<void>(channels.stats());
    }),
              errc::ok);
  }
  stop = true;
}

TEST(registry_threads, what_was_retired_is_freed_by_collect_when_nobody_reads) {
  MemoryLog log;
  ChannelRegistry<WithMemory<CountingMemory>> channels{{}, CountingMemory{log}};
  channels.subscribe("warm").reset();
  channels.collect();
  const std::size_t blocks = log.live_blocks();
  run_together(3, [&](std::size_t thread) {
    for (std::size_t i = 0; i < repetitions(1500); ++i) {
      const std::string name = (i % 2 == 0 ? "room" : "presence-room") + std::to_string(i % 5);
      auto subscription = std::make_unique<Subscription>(channels.subscribe(name));
      subscription->bind("e", [&subscription, text = std::string(40, 'x')](const Event&) {
        if (subscription != nullptr) subscription->reset();  // from inside: retires instead of waiting
      });
      PolledSubscription inbox = channels.subscribe(name, Inbox{2, Overflow::drop_oldest});
      if (thread == 0) channels.trigger(name, "f", "");
      static_cast<void>(channels.channel(name).trigger("f", ""));
      if (i % 4 == 0) subscription->detach();
    }
  });
  channels.collect();
  channels.collect();
  EXPECT_EQ(channels.stats().retired_bytes, 0U);
  EXPECT_EQ(channels.stats().entries, 0U);
  // Beyond what there was: at most one table of names for each of the 10 stripes used, and blocks of pins.
  EXPECT_LE(log.live_blocks(), blocks + 10 + 2);
  EXPECT_EQ(log.mistakes(), "");
}

TEST(registry_threads, two_registries_in_one_process_are_strangers) {
  ChannelRegistry<> first;
  ChannelRegistry<> second;
  Gate running;
  Gate go_on;
  Subscription blocker = first.subscribe("room");
  blocker.bind("e", [&](const Event&) {
    running.open();
    go_on.wait();
  });
  Thread trigger([&] { first.trigger("room", "e", ""); });
  running.wait();
  for (int i = 0; i < 100; ++i) {
    Subscription subscription = second.subscribe("room");
    subscription.bind("e", [](const Event&) {});
    EXPECT_EQ(second.trigger("room", "e", "").delivered, 1U);
  }
  second.collect();
  EXPECT_EQ(second.stats().retired_bytes, 0U);
  go_on.open();
}

}  // namespace
}  // namespace fanfare::test
