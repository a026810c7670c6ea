// Triggers inside triggers, on many threads; and more pins at once than the first block of records has.
#include <fanfare/core/channel_registry.hpp>

#include "support/memory.hpp"
#include "support/print.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fanfare::test {
namespace {

TEST(nesting_threads, every_thread_may_nest_64_deep_at_once) {
  static constexpr std::size_t threads = 4;
  ChannelRegistry<> channels;
  Rendezvous deepest(threads);
  std::vector<Subscription> subscriptions;
  std::vector<std::size_t> depth(threads, 0);
  for (std::size_t thread = 0; thread < threads; ++thread) {
    const std::string name = "room" + std::to_string(thread);
    subscriptions.push_back(channels.subscribe(name));
    subscriptions.back().bind("e", [&channels, &deepest, name, &mine = depth[thread]](const Event&) {
      if (++mine == 64) deepest.meet();  // all threads are 64 deep now: 256 pins
      const TriggerResult result = channels.trigger(name, "e", "");
      if (mine == 64) {
        EXPECT_EQ(result.error, errc::nested_too_deep);
        EXPECT_EQ(result.delivered, 0U);
        mine = 1000;
      } else {
        EXPECT_EQ(result.error, errc::ok);
      }
    });
  }
  run_together(threads, [&](std::size_t thread) {
    EXPECT_EQ(channels.trigger("room" + std::to_string(thread), "e", "").error, errc::ok);
    EXPECT_EQ(depth[thread], 1000U);
  });
  channels.collect();
  EXPECT_EQ(channels.stats().oldest_reader_age, 0U);
}

/// Threads say themselves who they are, so that two of them begin their search for a record at the same place.
struct ChosenIdentity : StdAtomics {
  static std::uintptr_t& mine() {
    thread_local std::uintptr_t identity = 1;
    return identity;
  }
  static std::uintptr_t thread_identity() noexcept { return mine(); }
};

TEST(nesting_threads, the_limit_is_the_same_where_another_thread_stood_in_the_way) {
  ChannelRegistry<ChosenIdentity> channels;
  Gate running;
  Gate go_on;
  Subscription blocker = channels.subscribe("blocked");
  blocker.bind("e", [&](const Event&) {
    running.open();
    go_on.wait();
  });
  std::size_t depth = 0;
  std::size_t most = 0;
  Subscription nested = channels.subscribe("nested");
  Thread other;
  nested.bind("e", [&](const Event&) {
    most = std::max(most, ++depth);
    if (depth == 64) {  // the place that this thread looks at first becomes free only now
      go_on.open();
      other.join();
    }
    channels.trigger("nested", "e", "");
    --depth;
  });
  // Some of these identities share their place with that of this thread.
  for (std::uintptr_t identity = 2; identity < 66; ++identity) {
    if (((identity * 0x9e3779b97f4a7c15U) >> 59U) != (std::uint64_t{0x9e3779b97f4a7c15U} >> 59U)) continue;
    other = Thread([&channels, identity] {
      ChosenIdentity::mine() = identity;
      channels.trigger("blocked", "e", "");
    });
    break;
  }
  running.wait();
  channels.trigger("nested", "e", "");
  EXPECT_EQ(most, 64U);
}

TEST(nesting_threads, queries_answer_at_any_depth) {
  ChannelRegistry<> channels;
  std::size_t depth = 0;
  std::size_t answer = 0;
  Subscription subscription = channels.subscribe("room");
  subscription.bind("e", [&](const Event&) {
    if (++depth == 64) answer = channels.subscribers("room");
    channels.trigger("room", "e", "");
  });
  channels.trigger("room", "e", "");
  EXPECT_EQ(depth, 64U);
  EXPECT_EQ(answer, 1U);
}

TEST(nesting_threads, triggers_cross_between_threads) {
  // Each channel's callback triggers the other one: every thread is inside both channels, several times.
  ChannelRegistry<> channels;
  std::atomic<std::size_t> calls{0};
  Subscription ping = channels.subscribe("ping");
  Subscription pong = channels.subscribe("pong");
  const auto pass_to = [&](const char* next) {
    return [&channels, &calls, next](const Event& event) {
      ++calls;
      if (event.data().empty()) return;
      EXPECT_EQ(channels.trigger(next, "e", event.data().substr(1)).delivered, 1U);
    };
  };
  ping.bind("e", pass_to("pong"));
  pong.bind("e", pass_to("ping"));
  const std::size_t rounds = repetitions(400);
  std::atomic<bool> stop{false};
  Thread churn([&] {
    while (!stop) {
      Subscription guest = channels.subscribe("ping");
      guest.bind("f", [](const Event&) {});
    }
  });
  run_together(3, [&](std::size_t thread) {
    for (std::size_t i = 0; i < rounds; ++i) channels.trigger(thread % 2 == 0 ? "ping" : "pong", "e", "123456789");
  });
  stop = true;
  EXPECT_EQ(calls, 3 * rounds * 10);
}

TEST(nesting_threads, forty_threads_may_be_inside_callbacks_at_once) {
  static constexpr std::size_t threads = 40;  // more than one block of records
  MemoryLog log;
  {
    ChannelRegistry<WithMemory<CountingMemory>> channels{{}, CountingMemory{log}};
    Arrivals inside;
    Gate go_on;
    std::atomic<std::size_t> calls{0};
    Subscription subscription = channels.subscribe("room");
    subscription.bind("e", [&](const Event&) {
      inside.arrive();
      go_on.wait();
      ++calls;
    });
    Subscription victim = channels.subscribe("room");
    victim.bind("e", [&](const Event&) { ADD_FAILURE() << "called although it had left"; });
    std::vector<Thread> triggers;
    for (std::size_t i = 0; i < threads; ++i) triggers.emplace_back([&] { channels.trigger("room", "e", ""); });
    inside.wait_for(threads);
    victim.detach();
    EXPECT_GT(channels.stats().retired_bytes, 0U);
    channels.collect();
    EXPECT_GT(channels.stats().retired_bytes, 0U);  // all 40 are seen
    Gate leaving;
    Thread leaver([&] {
      leaving.open();
      subscription.reset();
      EXPECT_EQ(calls, threads);  // and all 40 are waited for
    });
    leaving.wait();
    go_on.open();
    leaver.join();
    triggers.clear();
    channels.collect();
    EXPECT_EQ(channels.stats().retired_bytes, 0U);
  }
  EXPECT_EQ(log.live_blocks(), 0U);
  EXPECT_EQ(log.mistakes(), "");
}

TEST(nesting_threads, a_leaver_sees_readers_that_have_just_been_given_further_records) {
  // Threads fill the first records and nest, so that triggers end up in blocks that are added meanwhile.
  for (std::size_t round = 0; round < repetitions(40); ++round) {
    ChannelRegistry<> channels;
    Arrivals inside;
    Gate go_on;
    Subscription filler = channels.subscribe("filler");
    filler.bind("e", [&](const Event& event) {
      if (event.data().size() < 16) {
        channels.trigger("filler", "e", std::string(event.data()) + "x");
        return;
      }
      inside.arrive();
      go_on.wait();
    });
    std::vector<Thread> fillers;
    for (int i = 0; i < 2; ++i) fillers.emplace_back([&] { channels.trigger("filler", "e", ""); });
    inside.wait_for(2);  // 34 pins
    auto object = std::make_unique<std::string>(100, 'x');
    Subscription subscription = channels.subscribe("room", [&](Subscription& s) {
      s.bind("e", [raw = object.get()](const Event&) { EXPECT_EQ(raw->size(), 100U); });
    });
    run_together(3, [&](std::size_t thread) {
      if (thread == 0) {
        subscription.reset();
        object.reset();
      } else {
        for (int i = 0; i < 10; ++i) channels.trigger("room", "e", "");
      }
    });
    go_on.open();
  }
}

TEST(nesting_threads, a_queue_gets_the_question_before_the_answer) {
  ChannelRegistry<> channels;
  PolledSubscription inbox = channels.subscribe("room", Inbox{1 << 14});
  Subscription listener = channels.subscribe("room");
  listener.bind("question", [&](const Event& event) { channels.trigger("room", "answer", event.data()); });
  const std::size_t rounds = repetitions(2000);
  run_together(3, [&](std::size_t thread) {
    for (std::size_t i = 0; i < rounds; ++i) channels.trigger("room", "question", std::to_string(thread));
  });
  std::vector<int> open(3, 0);
  EXPECT_EQ(inbox.poll([&](const Event& event) {
    int& mine = open[static_cast<std::size_t>(event.data()[0] - '0')];
    mine += event.name() == "question" ? 1 : -1;
    EXPECT_TRUE(mine == 0 || mine == 1) << "an answer came before its question";
  }),
            6 * rounds);
}

}  // namespace
}  // namespace fanfare::test
