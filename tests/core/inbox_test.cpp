#include <fanfare/core/inbox.hpp>

#include "support/memory.hpp"
#include "support/registries.hpp"
#include "support/sinks.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

constexpr std::uint64_t everything = std::numeric_limits<std::uint64_t>::max();

// ---- the ring

template <class A>
class MessageRingTest : public ::testing::Test {
 protected:
  using Ring = detail::MessageRing<A, CountingMemory>;

  ~MessageRingTest() override {
    EXPECT_EQ(log_.live_blocks(), 0U);
    EXPECT_EQ(log_.mistakes(), "");
  }
  MessagePtr message(int number) {
    errc error = errc::ok;
    return MessagePtr::adopt(detail::MessageBlock<A, CountingMemory>::make({"c", "e", std::to_string(number)}, false,
                                                                           nullptr, CountingMemory{log_}, error));
  }
  static std::string pop(Ring& ring, std::uint64_t end = everything) {
    const MessagePtr popped = ring.pop(end);
    return popped ? std::string{popped->data()} : "nothing";
  }

  MemoryLog log_;
};
using AtomicsKinds = ::testing::Types<StdAtomics, PlainAtomics>;
TYPED_TEST_SUITE(MessageRingTest, AtomicsKinds);

TYPED_TEST(MessageRingTest, CapacityIsTheNextPowerOfTwo) {
  for (const auto& [wanted, capacity] :
       {std::pair<std::size_t, std::size_t>{0, 2}, {1, 2}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {1000, 1024}}) {
    typename TestFixture::Ring ring{CountingMemory{this->log_}};
    ASSERT_TRUE(ring.reserve({wanted}));
    EXPECT_EQ(ring.capacity(), capacity) << wanted;
    EXPECT_EQ(ring.size(), 0U);
    EXPECT_EQ(ring.bytes(), this->log_.live_bytes());
  }
}

TYPED_TEST(MessageRingTest, ImpossibleSizesAreRefused) {
  typename TestFixture::Ring ring{CountingMemory{this->log_}};
  EXPECT_FALSE(ring.reserve({std::numeric_limits<std::size_t>::max()}));
  EXPECT_FALSE(ring.reserve({std::numeric_limits<std::size_t>::max() / 2 + 1}));
  EXPECT_EQ(this->log_.allocations(), 0U);
  this->log_.fail_after(0);
  EXPECT_FALSE(ring.reserve({8}));
  EXPECT_EQ(ring.bytes(), 0U);
}

TYPED_TEST(MessageRingTest, IsFirstInFirstOutForManyLaps) {
  typename TestFixture::Ring ring{CountingMemory{this->log_}};
  ASSERT_TRUE(ring.reserve({4}));
  int pushed = 0;
  int popped = 0;
  for (int lap = 0; lap < 100; ++lap) {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(ring.push(this->message(pushed++)));
    EXPECT_EQ(ring.size(), 3U);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(this->pop(ring), std::to_string(popped++));
  }
  EXPECT_EQ(this->pop(ring), "nothing");
  EXPECT_EQ(ring.dropped(), 0U);
}

TYPED_TEST(MessageRingTest, FullRingRefusesTheNewest) {
  typename TestFixture::Ring ring{CountingMemory{this->log_}};
  ASSERT_TRUE(ring.reserve({4, Overflow::drop_newest}));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(ring.push(this->message(i)));
  EXPECT_FALSE(ring.push(this->message(4)));
  EXPECT_FALSE(ring.push(this->message(5)));
  EXPECT_EQ(ring.dropped(), 2U);
  EXPECT_EQ(ring.size(), 4U);
  EXPECT_EQ(this->pop(ring), "0");
  EXPECT_TRUE(ring.push(this->message(6)));
  for (const char* const left : {"1", "2", "3", "6", "nothing"}) EXPECT_EQ(this->pop(ring), left);
}

TYPED_TEST(MessageRingTest, FullRingDropsTheOldest) {
  typename TestFixture::Ring ring{CountingMemory{this->log_}};
  ASSERT_TRUE(ring.reserve({4, Overflow::drop_oldest}));
  for (int i = 0; i < 11; ++i) EXPECT_TRUE(ring.push(this->message(i)));
  EXPECT_EQ(ring.dropped(), 7U);
  EXPECT_EQ(ring.size(), 4U);
  for (const char* const left : {"7", "8", "9", "10", "nothing"}) EXPECT_EQ(this->pop(ring), left);
}

TYPED_TEST(MessageRingTest, SmallestRingWorksToo) {
  for (const auto overflow : {Overflow::drop_newest, Overflow::drop_oldest}) {
    typename TestFixture::Ring ring{CountingMemory{this->log_}};
    ASSERT_TRUE(ring.reserve({0, overflow}));
    for (int i = 0; i < 5; ++i) static_cast<void>(ring.push(this->message(i)));
    EXPECT_EQ(ring.dropped(), 3U);
    EXPECT_EQ(this->pop(ring), overflow == Overflow::drop_newest ? "0" : "3");
    EXPECT_EQ(this->pop(ring), overflow == Overflow::drop_newest ? "1" : "4");
    EXPECT_EQ(this->pop(ring), "nothing");
  }
}

TYPED_TEST(MessageRingTest, PopStopsAtTheEndThatItIsGiven) {
  typename TestFixture::Ring ring{CountingMemory{this->log_}};
  ASSERT_TRUE(ring.reserve({8}));
  for (int i = 0; i < 2; ++i) ring.push(this->message(i));
  const std::uint64_t end = ring.end();
  ring.push(this->message(2));
  EXPECT_EQ(this->pop(ring, end), "0");
  EXPECT_EQ(this->pop(ring, end), "1");
  EXPECT_EQ(this->pop(ring, end), "nothing");
  EXPECT_EQ(this->pop(ring), "2");
}

TYPED_TEST(MessageRingTest, DestructorDropsWhatIsLeft) {
  typename TestFixture::Ring ring{CountingMemory{this->log_}};
  ASSERT_TRUE(ring.reserve({4}));
  for (int i = 0; i < 3; ++i) ring.push(this->message(i));
}

// ---- through a registry

template <class Registry>
class InboxTest : public ::testing::Test {
 protected:
  Strings poll(PolledSubscription& inbox, std::size_t most = std::numeric_limits<std::size_t>::max()) {
    Strings seen;
    inbox.poll([&](const Event& event) { seen.push_back(text_of(event)); }, most);
    return seen;
  }

  Registry channels;
};
TYPED_TEST_SUITE(InboxTest, AllRegistries, RegistryNames);

TYPED_TEST(InboxTest, KeepsEventsUntilTheyArePolled) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{8});
  ASSERT_EQ(inbox.error(), errc::ok);
  EXPECT_EQ(inbox.channel(), "lobby");
  EXPECT_EQ(inbox.capacity(), 8U);
  EXPECT_EQ(this->channels.trigger("lobby", "a", "1").delivered, 1U);
  EXPECT_EQ(this->channels.trigger("lobby", "b", "2").delivered, 1U);
  EXPECT_EQ(inbox.size(), 2U);
  EXPECT_EQ(this->poll(inbox), (Strings{"a=1", "b=2"}));
  EXPECT_EQ(inbox.size(), 0U);
  EXPECT_EQ(this->poll(inbox), Strings{});
}

TYPED_TEST(InboxTest, RefusedEventIsNotDelivered) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{.messages = 2});
  for (int i = 0; i < 2; ++i) this->channels.trigger("lobby", "e", std::to_string(i));
  const TriggerResult refused = this->channels.trigger("lobby", "e", "2");
  EXPECT_EQ(refused.error, errc::ok);
  EXPECT_EQ(refused.delivered, 0U);
  EXPECT_EQ(inbox.dropped(), 1U);
  EXPECT_EQ(this->poll(inbox), (Strings{"e=0", "e=1"}));
}

TYPED_TEST(InboxTest, DroppedOldestAreCounted) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{.messages = 2, .overflow = Overflow::drop_oldest});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(this->channels.trigger("lobby", "e", std::to_string(i)).delivered, 1U);
  EXPECT_EQ(inbox.dropped(), 3U);
  EXPECT_EQ(this->poll(inbox), (Strings{"e=3", "e=4"}));
}

TYPED_TEST(InboxTest, PollHandlesAtMostAsManyAsAsked) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  for (int i = 0; i < 5; ++i) this->channels.trigger("lobby", "e", std::to_string(i));
  EXPECT_EQ(this->poll(inbox, 0), Strings{});
  EXPECT_EQ(this->poll(inbox, 2), (Strings{"e=0", "e=1"}));
  EXPECT_EQ(inbox.size(), 3U);
  EXPECT_EQ(this->poll(inbox, 100), (Strings{"e=2", "e=3", "e=4"}));
}

TYPED_TEST(InboxTest, WhatAPollTriggersIsForTheNextPoll) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{4});
  this->channels.trigger("lobby", "e", "1");
  Strings seen;
  const auto again = [&](const Event& event) {
    seen.push_back(text_of(event));
    this->channels.trigger("lobby", "e", "again");
  };
  EXPECT_EQ(inbox.poll(again), 1U);
  EXPECT_EQ(inbox.poll(again), 1U);
  EXPECT_EQ(seen, (Strings{"e=1", "e=again"}));
  EXPECT_EQ(inbox.size(), 1U);
}

TYPED_TEST(InboxTest, PollThatTriggersIntoAFullQueueEnds) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{.messages = 2, .overflow = Overflow::drop_oldest});
  for (int i = 0; i < 2; ++i) this->channels.trigger("lobby", "e", "first");
  std::size_t calls = 0;
  const std::size_t handled = inbox.poll([&](const Event&) {
    ++calls;
    for (int i = 0; i < 5; ++i) this->channels.trigger("lobby", "e", "more");
  });
  EXPECT_EQ(handled, calls);
  EXPECT_LE(calls, 2U);
  EXPECT_EQ(inbox.size(), 2U);
}

TYPED_TEST(InboxTest, ThrowLosesOneEventAndKeepsTheRest) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  for (int i = 0; i < 3; ++i) this->channels.trigger("lobby", "e", std::to_string(i));
  EXPECT_THROW(inbox.poll([](const Event& event) {
    if (event.data() == "1") throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_EQ(this->poll(inbox), (Strings{"e=2"}));
}

TYPED_TEST(InboxTest, ResetInsideAPollEndsThePoll) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  for (int i = 0; i < 3; ++i) this->channels.trigger("lobby", "e", std::to_string(i));
  Strings seen;
  EXPECT_EQ(inbox.poll([&](const Event& event) {
    inbox.reset();
    seen.push_back(text_of(event));  // the event outlives its queue
  }),
            1U);
  EXPECT_EQ(seen, (Strings{"e=0"}));
  EXPECT_EQ(inbox.error(), errc::closed);
  EXPECT_EQ(inbox.size(), 0U);
  EXPECT_FALSE(this->channels.occupied("lobby"));
  EXPECT_EQ(this->channels.trigger("lobby", "e", "x").delivered, 0U);
}

TYPED_TEST(InboxTest, ResetAndThrowInsideAPoll) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  for (int i = 0; i < 3; ++i) this->channels.trigger("lobby", "e", std::to_string(i));
  EXPECT_THROW(inbox.poll([&](const Event&) {
    inbox.detach();
    throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_EQ(inbox.poll([](const Event&) {}), 0U);
}

TYPED_TEST(InboxTest, DestroyedAndReplacedInsideAPoll) {
  std::optional<PolledSubscription> inbox{this->channels.subscribe("lobby", Inbox{})};
  for (int i = 0; i < 2; ++i) this->channels.trigger("lobby", "e", std::to_string(i));
  inbox->poll([&](const Event&) { inbox.reset(); });
  EXPECT_FALSE(inbox.has_value());

  PolledSubscription other = this->channels.subscribe("lobby", Inbox{});
  for (int i = 0; i < 2; ++i) this->channels.trigger("lobby", "e", std::to_string(i));
  EXPECT_EQ(other.poll([&](const Event&) { other = this->channels.subscribe("elsewhere", Inbox{2}); }), 1U);
  EXPECT_EQ(other.channel(), "elsewhere");
  EXPECT_EQ(this->channels.subscribers("lobby"), 0U);
  this->channels.trigger("elsewhere", "e", "new");
  EXPECT_EQ(this->poll(other), (Strings{"e=new"}));
}

TYPED_TEST(InboxTest, MovedInsideAPollGoesOn) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  for (int i = 0; i < 3; ++i) this->channels.trigger("lobby", "e", std::to_string(i));
  PolledSubscription other;
  EXPECT_EQ(inbox.poll([&](const Event&) {
    if (!other) other = std::move(inbox);
  }),
            3U);
  EXPECT_EQ(inbox.error(), errc::closed);
  EXPECT_EQ(other.error(), errc::ok);
  this->channels.trigger("lobby", "e", "later");
  EXPECT_EQ(this->poll(other), (Strings{"e=later"}));
}

TYPED_TEST(InboxTest, ResetFromACallbackInsideAPoll) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  Subscription callbacks = this->channels.subscribe("lobby");
  callbacks.bind("go", [&](const Event&) { inbox.reset(); });
  this->channels.trigger("lobby", "e", "1");
  this->channels.trigger("lobby", "e", "2");
  EXPECT_EQ(inbox.poll([&](const Event&) { this->channels.trigger("lobby", "go", ""); }), 1U);
  EXPECT_EQ(inbox.error(), errc::closed);
}

TYPED_TEST(InboxTest, PolledInsideACallback) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  Subscription callbacks = this->channels.subscribe("lobby");
  Strings seen;
  callbacks.bind("e", [&](const Event&) {
    inbox.poll([&](const Event& event) {
      seen.push_back(text_of(event));
      inbox.reset();
    });
  });
  this->channels.trigger("lobby", "e", "1");
  EXPECT_EQ(seen, (Strings{"e=1"}));
  EXPECT_EQ(this->channels.subscribers("lobby"), 1U);
}

TYPED_TEST(InboxTest, CanBePolledAfterTheRegistrysEnd) {
  PolledSubscription inbox;
  EXPECT_EQ(inbox.error(), errc::closed);
  EXPECT_EQ(this->poll(inbox), Strings{});
  EXPECT_EQ(inbox.capacity(), 0U);
  {
    TypeParam other;
    inbox = other.subscribe("lobby", Inbox{});
    other.trigger("lobby", "e", "1");
    other.trigger("lobby", "e", "2");
  }
  EXPECT_EQ(inbox.error(), errc::closed);
  EXPECT_EQ(inbox.channel(), "lobby");
  EXPECT_EQ(this->poll(inbox, 1), (Strings{"e=1"}));
  EXPECT_EQ(inbox.poll([&](const Event&) { inbox.reset(); }), 1U);
}

TYPED_TEST(InboxTest, KeptEventIsTheQueuedMessageAndOutlivesTheQueue) {
  MessagePtr kept;
  {
    PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
    this->channels.trigger("lobby", "e", "1");
    inbox.poll([&](const Event& event) { kept = event.keep(); });
  }
  EXPECT_EQ(text_of(*kept), "e=1");
}

TYPED_TEST(InboxTest, MoveLeavesAClosedOne) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  const SubscriptionId id = inbox.id();
  PolledSubscription moved = std::move(inbox);
  EXPECT_EQ(inbox.error(), errc::closed);  // NOLINT(bugprone-use-after-move): it says so
  EXPECT_FALSE(inbox);
  EXPECT_FALSE(inbox.id());
  EXPECT_EQ(inbox.channel(), "");
  EXPECT_EQ(moved.id(), id);
  EXPECT_TRUE(moved);
}

TYPED_TEST(InboxTest, BadNameIsAnErrorInside) {
  PolledSubscription inbox = this->channels.subscribe("no spaces", Inbox{});
  EXPECT_EQ(inbox.error(), errc::bad_character);
  EXPECT_EQ(this->poll(inbox), Strings{});
}

TYPED_TEST(InboxTest, ImpossibleSizeIsAnErrorInsideAndLeavesNothing) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{std::numeric_limits<std::size_t>::max()});
  EXPECT_EQ(inbox.error(), errc::out_of_memory);
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(InboxTest, SharesOneMessageBetweenAllQueues) {
  PolledSubscription one = this->channels.subscribe("lobby", Inbox{});
  PolledSubscription two = this->channels.subscribe("lobby", Inbox{});
  EXPECT_EQ(this->channels.trigger("lobby", "e", "1").delivered, 2U);
  MessagePtr first;
  MessagePtr second;
  one.poll([&](const Event& event) { first = event.keep(); });
  two.poll([&](const Event& event) { second = event.keep(); });
  EXPECT_EQ(first.get(), second.get());
}

TYPED_TEST(InboxTest, ShowsWhereTheEventComesFrom) {
  PolledSubscription inbox = this->channels.subscribe("presence-x", Inbox{});
  this->channels.trigger("presence-x", "e", "1", {.user_id = "7", .socket_id = "1.2"});
  EventId id;
  std::string from;
  inbox.poll([&](const Event& event) {
    id = event.id();
    from = std::string{event.user_id()} + '/' + std::string{event.socket_id()} + '/' + std::string{event.channel()};
  });
  EXPECT_TRUE(id);
  EXPECT_EQ(from, "7/1.2/presence-x");
}

#if FANFARE_ASSERTS && GTEST_HAS_DEATH_TEST
TEST(InboxDeathTest, PollInsideItsOwnPollIsAMistake) {
  ChannelRegistry<> channels;
  PolledSubscription inbox = channels.subscribe("lobby", Inbox{});
  channels.trigger("lobby", "e", "1");
  EXPECT_DEATH(inbox.poll([&](const Event&) { inbox.poll([](const Event&) {}); }), "poll was called from inside");
}
#endif

}  // namespace
}  // namespace fanfare::test
