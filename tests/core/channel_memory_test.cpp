#include <fanfare/core/channel_memory.hpp>

#include "support/memory.hpp"
#include "support/registries.hpp"
#include "support/sinks.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using Clock = ChannelMemory::Clock;

struct Kind {
  std::string_view channel;
  bool has_order;
  bool caches;
};
class ChannelMemoryKinds : public ::testing::TestWithParam<Kind> {};

TEST_P(ChannelMemoryKinds, SayWhatIsRemembered) {
  ChannelMemories memories{KeptOptions{.cache_ttl = 1h}};
  EXPECT_EQ(memories.keeps(GetParam().channel), GetParam().caches);
  bool failed = false;
  const std::unique_ptr<ChannelState> state = memories.make(GetParam().channel, failed);
  EXPECT_FALSE(failed);
  ASSERT_NE(state, nullptr);  // of those that have an order, or get one
  EXPECT_EQ(ChannelName::ordered(ChannelName::kind(GetParam().channel)), GetParam().has_order);
  EXPECT_FALSE(memories.orders(GetParam().channel));
  const auto& memory = static_cast<const ChannelMemory&>(*state);
  EXPECT_EQ(memory.caches(), GetParam().caches);
  EXPECT_EQ(memory.roster.size(), 0U);
  EXPECT_FALSE(memory.keeps());
  EXPECT_FALSE(memory.cached(Clock::now()));
}

INSTANTIATE_TEST_SUITE_P(All, ChannelMemoryKinds,
                         ::testing::Values(Kind{"x", false, false}, Kind{"private-x", false, false},
                                           Kind{"private-encrypted-x", false, false},
                                           Kind{"#server-to-user-x", false, false}, Kind{"my-cache-x", false, false},
                                           Kind{"cache", false, false}, Kind{"presence-x", true, false},
                                           Kind{"cache-x", true, true}, Kind{"private-cache-x", true, true},
                                           Kind{"private-encrypted-cache-x", true, true},
                                           Kind{"presence-cache-x", true, true}));

// ---- the memory by itself, fed by a registry that has none

class ChannelMemoryTest : public ::testing::Test {
 protected:
  MessagePtr event(std::string_view name, std::string_view data, const TriggerOptions& options = {}) {
    channels.trigger("a", name, data, options);
    return queue.messages.back();
  }
  static std::string cached(const ChannelMemory& memory, Clock::time_point now = Clock::now()) {
    const MessagePtr message = memory.cached(now);
    return message ? text_of(*message) : std::string();
  }

  ChannelRegistry<> channels;
  Queue queue;
  const Subscription attached = channels.attach("a", queue);
};

TEST_F(ChannelMemoryTest, KeepsTheLastEventForItsTime) {
  ChannelMemory memory(true, 1h);
  memory.on_event(event("e", "1"), Retain::by_rule);
  memory.on_event(event("e", "2"), Retain::by_rule);
  EXPECT_TRUE(memory.keeps());
  EXPECT_EQ(cached(memory), "e=2");
  const Clock::time_point until = memory.cached_until();
  EXPECT_GT(until, Clock::now() + 59min);
  EXPECT_LE(until, Clock::now() + 1h);
  memory.expire(until - 1ns);
  EXPECT_EQ(cached(memory, until - 1ns), "e=2");
  EXPECT_EQ(cached(memory, until), "");
  EXPECT_TRUE(memory.keeps());
  memory.expire(until);
  EXPECT_FALSE(memory.keeps());
  EXPECT_EQ(cached(memory, until - 1ns), "");
}

TEST_F(ChannelMemoryTest, DoesNotKeepWhatClientsAndTheProtocolSay) {
  ChannelMemory memory(true, 1h);
  memory.on_event(event("client-e", "1", {.socket_id = "1.1"}), Retain::by_rule);
  EXPECT_FALSE(memory.keeps());
  memory.on_event(event("e", "2", {.except_socket = "1.1"}), Retain::by_rule);  // a backend's, for all but one
  memory.on_event(event("client-e", "3", {.socket_id = "1.1"}), Retain::by_rule);
  EXPECT_EQ(cached(memory), "e=2");
}

TEST_F(ChannelMemoryTest, ThatDoesNotCacheKeepsNothing) {
  ChannelMemory memory(false, 1h);
  memory.on_event(event("e", "1"), Retain::by_rule);
  EXPECT_FALSE(memory.keeps());
  EXPECT_FALSE(memory.cached(Clock::now()));
}

TEST_F(ChannelMemoryTest, AMissIsNotedOnceUntilThereIsSomething) {
  ChannelMemory memory(true, 1h);
  EXPECT_TRUE(memory.note_miss());
  EXPECT_FALSE(memory.note_miss());
  EXPECT_FALSE(memory.note_miss());
  memory.on_event(event("e", "1"), Retain::by_rule);
  memory.expire(memory.cached_until());
  EXPECT_TRUE(memory.note_miss());
  EXPECT_FALSE(memory.note_miss());
}

// ---- in a registry

std::string cached_in(const auto& channels, std::string_view channel) {
  std::string text = "no channel";
  channels.look_at_state(channel, [&](ChannelState* state) {
    const MessagePtr message =
        state == nullptr ? MessagePtr{} : static_cast<ChannelMemory*>(state)->cached(Clock::now());
    text = message ? text_of(*message) : std::string("nothing");
  });
  return text;
}

template <class Registry>
class ChannelMemoryIn : public ::testing::Test {
 protected:
  ChannelMemories memories{KeptOptions{.cache_ttl = 1h}};
  LineEncoder encoder;
  Registry registry{RegistryOptions{.limits = {.channels = 3}, .encoder = &encoder, .states = &memories}};
};
TYPED_TEST_SUITE(ChannelMemoryIn, AllRegistries, RegistryNames);

TYPED_TEST(ChannelMemoryIn, AnEventSurvivesTheLastSubscriberUntilItsTimeIsOver) {
  auto& channels = this->registry;
  {
    const Subscription one = channels.subscribe("cache-a");
    channels.trigger("cache-a", "e", "1");
  }
  EXPECT_EQ(cached_in(channels, "cache-a"), "e=1");
  EXPECT_EQ(channels.size(), 0U);
  EXPECT_EQ(channels.stats().entries, 1U);
  EXPECT_FALSE(channels.occupied("cache-a"));
  channels.expire();
  EXPECT_EQ(cached_in(channels, "cache-a"), "e=1");
  channels.expire(Clock::now() + 2h);
  EXPECT_EQ(cached_in(channels, "cache-a"), "no channel");
  EXPECT_EQ(channels.stats().entries, 0U);
  channels.expire(Clock::now() + 2h);
  EXPECT_EQ(channels.stats().entries, 0U);
}

TYPED_TEST(ChannelMemoryIn, ASubscribersChannelForgetsAndStays) {
  auto& channels = this->registry;
  const Subscription one = channels.subscribe("cache-a");
  channels.trigger("cache-a", "e", "1");
  channels.expire(Clock::now() + 2h);
  EXPECT_EQ(cached_in(channels, "cache-a"), "nothing");
  channels.trigger("cache-a", "e", "2");
  EXPECT_EQ(cached_in(channels, "cache-a"), "e=2");
}

TYPED_TEST(ChannelMemoryIn, KeepsAnEventThatNobodyWasThereFor) {
  auto& channels = this->registry;
  EXPECT_EQ(channels.trigger("cache-a", "e", "1").error, errc::ok);
  EXPECT_EQ(cached_in(channels, "cache-a"), "e=1");
  EXPECT_EQ(this->encoder.calls, 1);  // it has its frame
  EXPECT_EQ(channels.trigger("presence-a", "e", "1").error, errc::ok);
  EXPECT_EQ(channels.trigger("x", "e", "1").error, errc::ok);
  EXPECT_EQ(channels.stats().entries, 1U);
}

TYPED_TEST(ChannelMemoryIn, KeepsWhatComesByEveryWay) {
  auto& channels = this->registry;
  {
    const ChannelHandle handle = channels.channel("cache-a");
    handle.trigger("e", "1");
  }
  EXPECT_EQ(cached_in(channels, "cache-a"), "e=1");
  EXPECT_EQ(channels.trigger({"cache-a", "x", "presence-b", "private-cache-c"}, "e", "2").error, errc::ok);
  EXPECT_EQ(cached_in(channels, "cache-a"), "e=2");
  EXPECT_EQ(cached_in(channels, "private-cache-c"), "e=2");
  EXPECT_EQ(channels.stats().entries, 2U);
  EXPECT_EQ(channels.trigger({"cache-a", "cache-a"}, "e", "3").error, errc::ok);
  EXPECT_EQ(cached_in(channels, "cache-a"), "e=3");
}

TYPED_TEST(ChannelMemoryIn, WhatFindsNoRoomSaysSoAndLeavesNothing) {
  auto& channels = this->registry;
  for (const std::string_view name : {"cache-a", "cache-b", "cache-c"}) channels.trigger(name, "e", "1");
  EXPECT_EQ(channels.trigger("cache-d", "e", "1").error, errc::too_many_channels);
  EXPECT_EQ(channels.trigger({"cache-a", "cache-d"}, "e", "2").error, errc::too_many_channels);
  EXPECT_EQ(cached_in(channels, "cache-a"), "e=1");  // all or nothing
  EXPECT_EQ(channels.trigger("cache-a", "e", "3").error, errc::ok);
  channels.expire(Clock::now() + 2h);
  EXPECT_EQ(channels.trigger("cache-d", "e", "1").error, errc::ok);
}

TYPED_TEST(ChannelMemoryIn, ABadEventIsNotKept) {
  auto& channels = this->registry;
  EXPECT_EQ(channels.trigger("cache-a", "pusher:e", "1").error, errc::reserved_name);
  EXPECT_EQ(channels.trigger("cache-a", "e", "\xff").error, errc::not_utf8);
  EXPECT_EQ(channels.trigger("cache-a b", "e", "1").error, errc::bad_character);
  EXPECT_EQ(channels.stats().entries, 0U);
}

TEST(ChannelMemoryRegistry, EndsWithWhatItKeepsAndWithHandlesThatOutliveIt) {
  ChannelMemories memories{KeptOptions{.cache_ttl = 1h}};
  MemoryLog log;
  {
    ChannelHandle outlives;
    Subscription also;
    {
      CountingRegistry channels{{.states = &memories}, CountingMemory{log}};
      for (int i = 0; i < 20; ++i) channels.trigger("cache-" + std::to_string(i), "e", "1");
      outlives = channels.channel("cache-0");
      also = channels.subscribe("cache-1");
    }
    EXPECT_EQ(outlives.trigger("e", "2").error, errc::closed);
    EXPECT_EQ(also.error(), errc::closed);
  }
  EXPECT_EQ(log.live_blocks(), 0U);
}

TEST(ChannelMemoryRegistry, ExhaustedMemoryKeepsTheOldOrTheNewAndLeaksNothing) {
  ChannelMemories memories{KeptOptions{.cache_ttl = 1h}};
  MemoryLog log;
  {
    CountingRegistry channels{{.states = &memories}, CountingMemory{log}};
    channels.trigger("cache-a", "e", "old");
    bool failed = true;
    for (std::size_t n = 0; failed; ++n) {
      ASSERT_LT(n, 100U);
      log.fail_after(n);
      const TriggerResult one = channels.trigger("cache-a", "e", "new");
      const TriggerResult many = channels.trigger({"cache-a", "cache-new"}, "e", "newer");
      log.succeed();
      failed = !one || !many;
      const std::string kept = cached_in(channels, "cache-a");
      EXPECT_EQ(kept, many ? "e=newer" : one ? "e=new" : "e=old") << n;
      if (!many) {
        EXPECT_EQ(many.error, errc::out_of_memory);
        EXPECT_EQ(cached_in(channels, "cache-new"), "no channel");
      }
      channels.expire(Clock::now() + 2h);
      channels.trigger("cache-a", "e", "old");
    }
  }
  EXPECT_EQ(log.live_blocks(), 0U);
}

// ---- with a hook

TEST(ChannelMemoriesWithAHook, RememberForThoseWhoWaitAndKeepWhatIsToBeRetained) {
  ChannelMemories memories{KeptOptions{}};
  EXPECT_FALSE(memories.orders("room-1"));
  ASSERT_EQ(memories.hooks().add("room-*", [](const Subscriber&, const SnapshotReply&) {}), RuleError::ok);
  EXPECT_TRUE(memories.orders("room-1"));
  EXPECT_FALSE(memories.keeps("room-1"));
  EXPECT_FALSE(memories.orders("other"));
  ChannelRegistry<> channels{RegistryOptions{.states = &memories}};
  Queue queue;
  const Subscription attached = channels.attach("room-1", queue);
  const EventId first = channels.trigger("room-1", "e", "1").id;
  bool seen = false;
  channels.look_at_state("room-1", [&](ChannelState* state) {
    EXPECT_FALSE(state->retains());
    EXPECT_FALSE(state->can_keep());
    EXPECT_FALSE(state->keeps());
    EXPECT_EQ(static_cast<const ChannelMemory*>(state)->replay({}, 1000).events.size(), 0U)
        << "nothing is replayed by itself";
  });
  const EventId last = channels.trigger("room-1", "e", "2", {.retain = Retain::yes}).id;
  ASSERT_TRUE(last);
  channels.look_at_state("room-1", [&](ChannelState* state) {
    ASSERT_NE(state, nullptr);
    seen = true;
    const auto& memory = static_cast<const ChannelMemory&>(*state);
    EXPECT_NE(memory.hook(), nullptr);
    EXPECT_TRUE(memory.shows_ids());
    EXPECT_TRUE(memory.retains()) << "that was asked for, rule or not";
    EXPECT_TRUE(memory.keeps());
    EXPECT_FALSE(memory.keeps_history());
    EXPECT_EQ(memory.retained()->size(), 1U);
    EXPECT_EQ(memory.reach(first), Reach::whole);
    EXPECT_EQ(memory.replay(first, 1000).events.size(), 1U);
    const EventId another{first.epoch + 1, 1};
    for (const auto& [as_of, events] : {std::pair{EventId{}, 1U}, std::pair{last, 0U}, std::pair{another, 1U},
                                        std::pair{EventId{last.epoch, last.number + 1}, 1U}}) {
      Replay replay = memory.replay_behind(first, as_of);
      EXPECT_TRUE(replay.more);
      memory.go_on(replay, 1000);
      EXPECT_EQ(replay.events.size(), events) << as_of.number;
      EXPECT_EQ(replay.next, last);
    }
  });
  EXPECT_TRUE(seen);
  EXPECT_NE(memories.budget().bytes(), 0U);
}

}  // namespace
}  // namespace fanfare::test
