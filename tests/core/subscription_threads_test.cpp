// Leaving while other threads trigger: what a destructor, `reset`, `unbind` and `detach` promise.
#include <fanfare/core/channel_registry.hpp>

#include "support/print.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

/// What a callback refers to by a plain pointer. AddressSanitizer tells if a callback uses it after it was freed.
struct Object {
  std::atomic<int> calls{0};
  std::string state = "a string that does not fit into the object itself, so that it has memory of its own";
  int unsynchronised = 0;  // ThreadSanitizer tells if it is freed without waiting
};

/// A callback that is held at a gate.
struct Held {
  Gate running;
  Gate go_on;
  std::atomic<bool> ended{false};

  auto callback() {
    return [this](const Event& /*event*/) {
      running.open();
      go_on.wait();
      ended = true;
    };
  }
};

TEST(subscription_threads, reset_returns_only_after_a_callback_on_another_thread_has_ended) {
  ChannelRegistry<> channels;
  auto object = std::make_unique<Object>();
  Gate running;
  Gate go_on;
  Subscription subscription = channels.subscribe("room", [&](Subscription& s) {
    s.bind("e", [&running, &go_on, raw = object.get()](const Event&) {
      running.open();
      go_on.wait();
      raw->state += "!";
      raw->unsynchronised = 1;
    });
  });
  Thread trigger([&] { channels.trigger("room", "e", ""); });
  running.wait();
  Gate leaving;
  Thread leaver([&] {
    leaving.open();
    subscription.reset();
    EXPECT_EQ(object->unsynchronised, 1);
    object.reset();
  });
  leaving.wait();
  go_on.open();
}

TEST(subscription_threads, unbind_returns_only_after_a_callback_on_another_thread_has_ended) {
  ChannelRegistry<> channels;
  Held held;
  Subscription subscription = channels.subscribe("room");
  const BindingId binding = subscription.bind("e", held.callback());
  Thread trigger([&] { channels.trigger("room", "e", ""); });
  held.running.wait();
  Gate leaving;
  Thread leaver([&] {
    leaving.open();
    EXPECT_TRUE(subscription.unbind(binding));
    EXPECT_TRUE(held.ended);
  });
  leaving.wait();
  held.go_on.open();
}

TEST(subscription_threads, unbinding_a_name_waits_too) {
  ChannelRegistry<> channels;
  Held held;
  Subscription subscription = channels.subscribe("room");
  subscription.bind("e", held.callback());
  subscription.bind("e", [](const Event&) {});
  Thread trigger([&] { channels.trigger("room", "e", ""); });
  held.running.wait();
  Gate leaving;
  Thread leaver([&] {
    leaving.open();
    EXPECT_EQ(subscription.unbind("e"), 2U);
    EXPECT_TRUE(held.ended);
  });
  leaving.wait();
  held.go_on.open();
}

TEST(subscription_threads, what_a_callback_captured_may_be_freed_after_reset) {
  ChannelRegistry<> channels;
  std::atomic<bool> stop{false};
  std::vector<Thread> triggers;
  for (int i = 0; i < 2; ++i) {
    triggers.emplace_back([&] {
      const ChannelHandle room = channels.channel("room");
      while (!stop) {
        room.trigger("e", "data");
        channels.trigger("room", "e", "data");
      }
    });
  }
  for (std::size_t i = 0; i < repetitions(2000); ++i) {
    auto object = std::make_unique<Object>();
    const auto callback = [raw = object.get()](const Event&) {
      raw->calls.fetch_add(1, std::memory_order_relaxed);
      EXPECT_FALSE(raw->state.empty());
    };
    Subscription subscription = channels.subscribe("room", [&](Subscription& s) {
      s.bind("e", callback);
      s.bind("e", [callback, copy = object->state](const Event& event) {  // does not fit in a slot
        EXPECT_FALSE(copy.empty());
        callback(event);
      });
      s.bind_all(callback);
    });
    if (i % 3 == 0) {
      EXPECT_EQ(subscription.unbind("e"), 2U);
      subscription.reset();
    } else if (i % 3 == 1) {
      subscription.reset();
    } else {
      Subscription destroyed = std::move(subscription);
    }
  }
  stop = true;
}

TEST(subscription_threads, two_callbacks_on_two_threads_may_destroy_each_other) {
  ChannelRegistry<> channels;
  Subscription first = channels.subscribe("one");
  Subscription second = channels.subscribe("two");
  Rendezvous both(2);
  first.bind("e", [&](const Event&) {
    both.meet();
    second.reset();
    both.meet();
  });
  second.bind("e", [&](const Event&) {
    both.meet();
    first.reset();
    both.meet();
  });
  run_together(2, [&](std::size_t i) { channels.trigger(i == 0 ? "one" : "two", "e", ""); });
  EXPECT_EQ(channels.size(), 0U);
}

TEST(subscription_threads, two_callbacks_of_one_channel_may_destroy_each_other) {
  ChannelRegistry<> channels;
  Subscription subscriptions[2] = {channels.subscribe("room"), channels.subscribe("room")};
  Rendezvous both(2);
  for (int i = 0; i < 2; ++i) {
    subscriptions[i].bind(i == 0 ? "zero" : "one", [&, i](const Event&) {
      both.meet();
      subscriptions[1 - i].reset();
      both.meet();
    });
  }
  run_together(2, [&](std::size_t i) { channels.trigger("room", i == 0 ? "zero" : "one", ""); });
  EXPECT_EQ(channels.subscribers("room"), 0U);
}

TEST(subscription_threads, a_callback_may_destroy_its_own_subscription_while_others_are_in_it) {
  for (std::size_t i = 0; i < repetitions(200); ++i) {
    ChannelRegistry<> channels;
    auto subscription = std::make_unique<Subscription>(channels.subscribe("room"));
    std::atomic<int> first{0};
    subscription->bind("e", [&, copy = std::string(100, 'x')](const Event&) {
      if (first.fetch_add(1) == 0) subscription.reset();
      EXPECT_EQ(copy.size(), 100U);
    });
    run_together(3, [&](std::size_t) { channels.trigger("room", "e", ""); });
    EXPECT_FALSE(channels.occupied("room"));
    EXPECT_EQ(channels.trigger("room", "e", "").delivered, 0U);
  }
}

TEST(subscription_threads, detach_does_not_wait_and_no_new_call_begins) {
  ChannelRegistry<> channels;
  Held held;
  std::atomic<int> calls{0};
  Subscription subscription = channels.subscribe("room");
  subscription.bind("e", held.callback());
  subscription.bind("e", [&](const Event&) { ++calls; });
  Thread trigger([&] { channels.trigger("room", "e", ""); });
  held.running.wait();
  subscription.detach();
  EXPECT_FALSE(held.ended);
  held.go_on.open();
  trigger.join();
  // Even the walk that was under way skips what has gone: it was behind the callback that blocked.
  EXPECT_EQ(calls, 0);
}

TEST(subscription_threads, no_call_begins_in_an_older_array_that_is_still_walked) {
  ChannelRegistry<> channels;
  Held held;
  std::atomic<int> calls{0};
  Subscription blocker = channels.subscribe("room");
  blocker.bind("e", held.callback());
  Subscription victim = channels.subscribe("room");
  victim.bind("e", [&](const Event&) { ++calls; });
  Thread trigger([&] { channels.trigger("room", "e", ""); });
  held.running.wait();
  std::vector<Subscription> more;  // the list moves to other arrays, several times
  for (int i = 0; i < 100; ++i) {
    more.push_back(channels.subscribe("room"));
    more.back().bind("e", [](const Event&) {});
  }
  for (int i = 0; i < 90; ++i) more[static_cast<std::size_t>(i)].detach();
  victim.detach();
  held.go_on.open();
  trigger.join();
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(channels.trigger("room", "e", "").delivered, 11U);
}

TEST(subscription_threads, a_leaver_of_another_channel_does_not_wait_for_a_blocked_callback) {
  ChannelRegistry<> channels;
  Held held;
  Subscription blocker = channels.subscribe("blocked");
  blocker.bind("e", held.callback());
  Thread trigger([&] { channels.trigger("blocked", "e", ""); });
  held.running.wait();
  {
    Subscription other = channels.subscribe("free");
    other.bind("e", [](const Event&) {});
    channels.trigger("free", "e", "");
    PolledSubscription inbox = channels.subscribe("free", Inbox{4});
    const ChannelHandle handle = channels.channel("free");
  }  // would never return if it waited
  EXPECT_FALSE(held.ended);
  held.go_on.open();
}

TEST(subscription_threads, a_blocked_callback_holds_back_the_memory_of_its_own_channel_only) {
  ChannelRegistry<> channels;
  Held held;
  Subscription blocker = channels.subscribe("blocked");
  blocker.bind("e", held.callback());
  Thread trigger([&] { channels.trigger("blocked", "e", ""); });
  held.running.wait();
  const auto churn = [&](const std::string& name) {
    for (int i = 0; i < 200; ++i) {
      Subscription subscription = channels.subscribe(name);
      subscription.bind("e", [](const Event&) {});
      subscription.detach();
    }
    channels.collect();
    channels.collect();  // what the first freed may have been the last to hold a channel
    return channels.stats().retired_bytes;
  };
  EXPECT_EQ(churn("free"), 0U);
  EXPECT_GT(churn("blocked"), 0U);
  EXPECT_GT(channels.stats().oldest_reader_age, 0U);
  held.go_on.open();
  trigger.join();
  channels.collect();
  EXPECT_EQ(channels.stats().retired_bytes, 0U);
  EXPECT_EQ(channels.stats().oldest_reader_age, 0U);
}

TEST(subscription_threads, what_is_retired_is_looked_at_again_soon_after_much_was_held_back) {
  ChannelRegistry<> channels;
  Held held;
  Subscription blocker = channels.subscribe("room");
  blocker.bind("block", held.callback());
  Thread trigger([&] { channels.trigger("room", "block", ""); });
  held.running.wait();
  std::size_t most = 0;
  const auto churn = [&] {
    most = 0;
    for (int i = 0; i < 2000; ++i) {
      Subscription subscription = channels.subscribe("room");
      subscription.bind("e", [](const Event&) {});
      subscription.detach();
      most = std::max(most, channels.stats().retired_bytes);
    }
  };
  churn();
  held.go_on.open();
  trigger.join();
  channels.subscribe("room").reset();  // a leaver who waits takes all that with him
  EXPECT_EQ(channels.stats().retired_bytes, 0U);
  churn();
  EXPECT_LT(most, 64U * 1024U);  // nobody reads: no more than what is looked at in one go
}

TEST(subscription_threads, bindings_come_and_go_while_others_walk_and_one_that_stays_misses_nothing) {
  ChannelRegistry<> channels;
  std::atomic<std::size_t> seen{0};
  std::atomic<std::size_t> seen_by_all{0};
  Subscription stays = channels.subscribe("room", [&](Subscription& s) {
    s.bind("e", [&](const Event&) { ++seen; });
    s.bind_all([&](const Event&) { ++seen_by_all; });
  });
  const std::size_t triggers = repetitions(4000);
  std::atomic<bool> stop{false};
  std::vector<Thread> binders;
  for (int i = 0; i < 2; ++i) {
    binders.emplace_back([&] {
      Subscription mine = channels.subscribe("room");
      std::vector<BindingId> bindings;
      while (!stop) {
        for (int k = 0; k < 20; ++k) {
          bindings.push_back(mine.bind("e", [text = std::string(40, 'a')](const Event&) { EXPECT_EQ(text[39], 'a'); }));
          bindings.push_back(stays.bind("e", [](const Event&) {}));  // one subscription, several threads
        }
        for (std::size_t k = 0; k < bindings.size(); ++k) {
          EXPECT_TRUE((k % 2 == 0 ? mine : stays).unbind(bindings[k]));
        }
        bindings.clear();
      }
    });
  }
  run_together(2, [&](std::size_t) {
    for (std::size_t i = 0; i < triggers; ++i) EXPECT_GE(channels.trigger("room", "e", "").delivered, 2U);
  });
  stop = true;
  binders.clear();
  EXPECT_EQ(seen, 2 * triggers);
  EXPECT_EQ(seen_by_all, 2 * triggers);
}

#if FANFARE_EXCEPTIONS
TEST(subscription_threads, a_callback_that_throws_takes_the_event_from_nobody_while_others_trigger) {
  ChannelRegistry<> channels;
  std::atomic<std::size_t> before{0};
  std::atomic<std::size_t> behind{0};
  Subscription first = channels.subscribe("room");
  first.bind("e", [&](const Event&) { ++before; });
  Subscription thrower = channels.subscribe("room");
  thrower.bind("e", [](const Event& event) { throw std::runtime_error(std::string{event.data()}); });
  Subscription last = channels.subscribe("room");
  last.bind("e", [&](const Event&) { ++behind; });
  last.bind_all([](const Event&) { throw 1; });
  const std::size_t each = repetitions(500);
  std::atomic<bool> stop{false};
  Thread churn([&] {
    while (!stop) {
      Subscription subscription = channels.subscribe("room");
      subscription.bind("e", [](const Event&) { throw 2; });
    }
  });
  run_together(3, [&](std::size_t thread) {
    const std::string mine = std::to_string(thread);
    for (std::size_t i = 0; i < each; ++i) {
      try {
        channels.trigger("room", "e", mine);
        ADD_FAILURE() << "the exception was lost";
      } catch (const std::runtime_error& error) {
        EXPECT_EQ(error.what(), mine);  // its own trigger's first
      }
    }
  });
  stop = true;
  churn.join();
  EXPECT_EQ(before, 3 * each);
  EXPECT_EQ(behind, 3 * each);
  EXPECT_GE(channels.stats().suppressed_exceptions, 3 * each);
}
#endif

TEST(subscription_threads, an_owner_is_kept_alive_through_a_call) {
  ChannelRegistry<> channels;
  for (std::size_t i = 0; i < repetitions(200); ++i) {
    Subscription subscription = channels.subscribe("room");
    auto owner = std::make_shared<Object>();
    subscription.bind("e", std::weak_ptr<Object>(owner), [](Object& object, const Event&) {
      object.calls.fetch_add(1, std::memory_order_relaxed);
      EXPECT_FALSE(object.state.empty());
    });
    run_together(2, [&](std::size_t thread) {
      if (thread == 0) return owner.reset();
      channels.trigger("room", "e", "");
    });
    EXPECT_EQ(owner, nullptr);
  }
}

TEST(subscription_threads, a_subscription_that_its_setup_moved_away_may_end_as_soon_as_it_has_entered) {
  ChannelRegistry<> channels;
  std::atomic<bool> stop{false};
  Thread trigger([&] {
    while (!stop) {
      channels.trigger("room", "e", "");
      channels.collect();
    }
  });
  for (std::size_t i = 0; i < repetitions(2000); ++i) {
    Subscription mine;
    Gate called;
    static_cast<void>(channels.subscribe("room", [&](Subscription& s) {
      // Ends at the first event, which may come before `subscribe` has returned.
      s.bind("e", [&](const Event&) {
        mine.reset();
        called.open();
      });
      mine = std::move(s);
    }));
    called.wait();
  }
  stop = true;
}

/// A sink with memory of its own, which is freed with it.
class OwningSink {
 public:
  explicit OwningSink(std::atomic<std::size_t>& destroyed)
      : object_(std::make_unique<Object>()), destroyed_(&destroyed) {}
  OwningSink(OwningSink&&) noexcept = default;
  ~OwningSink() {
    if (object_ == nullptr) return;
    object_->unsynchronised = 1;
    ++*destroyed_;
  }
  bool push(MessagePtr message, MessageLink& link) noexcept {
    EXPECT_FALSE(object_->state.empty());
    EXPECT_EQ(object_->unsynchronised, 0);
    EXPECT_EQ(link.message, nullptr);  // nobody else's
    link.message = message.get();
    object_->calls.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

 private:
  std::unique_ptr<Object> object_;
  std::atomic<std::size_t>* destroyed_;
};

TEST(subscription_threads, a_kept_sink_is_destroyed_once_when_nobody_can_push_into_it_any_more) {
  std::atomic<std::size_t> destroyed{0};
  const std::size_t each = repetitions(1000);
  {
    ChannelRegistry<> channels;
    const Subscription stays[] = {channels.attach("room", OwningSink{destroyed}),
                                  channels.attach("presence-room", OwningSink{destroyed})};
    std::atomic<bool> stop{false};
    std::vector<Thread> triggers;
    for (int i = 0; i < 2; ++i) {
      triggers.emplace_back([&, i] {
        while (!stop) {
          channels.trigger("room", "e", "data");
          channels.trigger("presence-room", "e", "data");
          if (i == 0) channels.trigger({"room", "presence-room"}, "e", "data");
        }
      });
    }
    run_together(2, [&](std::size_t thread) {
      for (std::size_t i = 0; i < each; ++i) {
        Subscription subscription =
            channels.attach((i + thread) % 2 == 0 ? "room" : "presence-room", OwningSink{destroyed});
        EXPECT_TRUE(subscription);
        if (i % 2 == 0) channels.trigger("room", "e", "data");
        if (i % 3 == 0) subscription.detach();
        if (i % 3 == 1) subscription.reset();
      }
    });
    stop = true;
    triggers.clear();
    channels.collect();
    EXPECT_EQ(destroyed, 2 * each);
  }
  EXPECT_EQ(destroyed, 2 * each + 2);
}

TEST(subscription_threads, a_sink_outlives_a_push_that_is_under_way) {
  // The pusher is held inside of `push` while another thread detaches and collects.
  struct HeldSink {
    Held* held;
    std::unique_ptr<std::atomic<int>> pushed = std::make_unique<std::atomic<int>>(0);
    bool push(MessagePtr /*message*/) noexcept {
      held->running.open();
      held->go_on.wait();
      ++*pushed;
      return true;
    }
  };
  ChannelRegistry<> channels;
  Held held;
  Subscription subscription = channels.attach("room", HeldSink{&held});
  Thread trigger([&] { EXPECT_EQ(channels.trigger("room", "e", "").delivered, 1U); });
  held.running.wait();
  subscription.detach();
  channels.collect();
  EXPECT_GT(channels.stats().retired_bytes, 0U);
  held.go_on.open();
  trigger.join();
  channels.collect();
  EXPECT_EQ(channels.stats().retired_bytes, 0U);
}

TEST(subscription_threads, members_of_several_loops_add_up_and_hooks_alternate) {
  std::mutex mutex;
  std::string told;
  const auto tell = [&](char what) {
    const std::lock_guard lock(mutex);
    told += what;
  };
  ChannelRegistry<> channels{
      {.on_occupied = [&](std::string_view) { tell('+'); }, .on_vacated = [&](std::string_view) { tell('-'); }}};
  constexpr std::size_t loops = 3;
  std::vector<Subscription> places;
  for (std::size_t i = 0; i < loops; ++i) {
    places.push_back(channels.subscribe("room"));
    places.back().add_members(-1);
  }
  run_together(loops, [&](std::size_t loop) {
    for (std::size_t i = 0; i < repetitions(2000); ++i) {
      const auto by = static_cast<std::ptrdiff_t>(1 + i % 3);
      places[loop].add_members(by);
      EXPECT_GE(channels.subscribers("room"), static_cast<std::size_t>(by));
      places[loop].add_members(-by);
      EXPECT_LE(channels.subscribers("room"), 3 * loops);
    }
    places[loop].add_members(static_cast<std::ptrdiff_t>(loop + 1));
  });
  EXPECT_EQ(channels.subscribers("room"), 1U + 2U + 3U);
  run_together(loops, [&](std::size_t loop) { places[loop].reset(); });
  EXPECT_EQ(channels.subscribers("room"), 0U);
  ASSERT_EQ(told.size() % 2, 0U);
  for (std::size_t i = 0; i < told.size(); ++i) ASSERT_EQ(told[i], i % 2 == 0 ? '+' : '-') << i;
}

TEST(subscription_threads, callables_are_destroyed_without_a_lock) {
  // Its destructor uses the registry in every way that takes a lock.
  struct Reentrant {
    ChannelRegistry<>* channels;
    std::unique_ptr<int> movable = std::make_unique<int>(0);
    Reentrant(ChannelRegistry<>* channels_) : channels(channels_) {}
    Reentrant(Reentrant&&) = default;
    ~Reentrant() {
      if (movable == nullptr) return;
      Subscription same = channels->subscribe("room");
      same.bind("e", [](const Event&) {});
      channels->trigger("presence-room", "e", "");
      channels->collect();
      static_cast<void>(channels->stats());
    }
    void operator()(const Event&) const {}
  };
  ChannelRegistry<> channels;
  run_together(2, [&](std::size_t) {
    for (std::size_t i = 0; i < repetitions(300); ++i) {
      Subscription subscription = channels.subscribe("room");
      const BindingId binding = subscription.bind("e", Reentrant{&channels});
      channels.trigger("room", "e", "");
      if (i % 3 == 0) subscription.unbind(binding);
      if (i % 3 == 1) subscription.detach();
    }
  });
  channels.collect();
}

}  // namespace
}  // namespace fanfare::test
