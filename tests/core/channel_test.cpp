#include <fanfare/core/channel.hpp>

#include "support/memory.hpp"
#include "support/registries.hpp"
#include "support/sinks.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

template <class Registry>
class ChannelTest : public ::testing::Test {
 protected:
  LineEncoder encoder;
  Recorder recorder;
  Registry channels{{.encoder = &encoder}};
};
TYPED_TEST_SUITE(ChannelTest, BothThreadings, RegistryNames);

// ---- events by name

TYPED_TEST(ChannelTest, AnEventReachesWhatIsBoundToItWhateverElseComesAndGoes) {
  constexpr std::size_t most = 40;
  Subscription lobby = this->channels.subscribe("lobby");
  std::array<std::vector<BindingId>, most> bound;
  std::size_t called = 0;
  // Names that are equally long, and that begin or end alike.
  const auto name = [](std::size_t i) { return (i % 2 == 0 ? "e" : "event-") + std::to_string(i / 2 + 10); };
  std::minstd_rand random(7);
  for (int round = 0; round < 4000; ++round) {
    const std::size_t i = random() % (round % 1000 < 500 ? most : 2);
    if (random() % 2 == 0) {
      bound[i].push_back(lobby.bind(name(i), [&](const Event&) { ++called; }));
    } else if (!bound[i].empty()) {
      EXPECT_TRUE(lobby.unbind(bound[i].back()));
      bound[i].pop_back();
    }
    if (round % 1000 == 999) {
      for (std::size_t every = 0; every < most; ++every) {
        EXPECT_EQ(lobby.unbind(name(every)), bound[every].size());
        bound[every].clear();
      }
    }
    const std::size_t asked = random() % most;
    for (const std::size_t event : {i, asked}) {
      called = 0;
      ASSERT_EQ(this->channels.trigger("lobby", name(event), "").delivered, bound[event].size()) << round;
      ASSERT_EQ(called, bound[event].size()) << round;
    }
  }
}

// ---- queues before callbacks

TYPED_TEST(ChannelTest, QueuesGetTheQuestionBeforeTheAnswer) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    Subscription callbacks = this->channels.subscribe(name);
    callbacks.bind("question", [&](const Event& event) {
      this->recorder.seen.push_back(text_of(event));
      this->channels.trigger(name, "answer", "42");
    });
    callbacks.bind("answer", this->recorder.callback());
    PolledSubscription inbox = this->channels.subscribe(name, Inbox{});
    EXPECT_EQ(this->channels.trigger(name, "question", "?").delivered, 2U);
    Strings queued;
    inbox.poll([&](const Event& event) { queued.push_back(text_of(event)); });
    EXPECT_EQ(queued, (Strings{"question=?", "answer=42"}));
    EXPECT_EQ(this->recorder.take(), queued);
  }
}

TYPED_TEST(ChannelTest, CallbacksAreDepthFirst) {
  Subscription lobby = this->channels.subscribe("lobby");
  lobby.bind("outer", [&](const Event&) {
    this->recorder.seen.push_back("begin");
    this->channels.trigger("lobby", "inner", "");
    this->recorder.seen.push_back("end");
  });
  lobby.bind("outer", this->recorder.mark("second"));
  lobby.bind("inner", this->recorder.mark("inner"));
  this->channels.trigger("lobby", "outer", "");
  EXPECT_EQ(this->recorder.take(), (Strings{"begin", "inner", "end", "second"}));
}

TYPED_TEST(ChannelTest, SinksOfEveryKindGetTheSameMessage) {
  Queue plain;
  WireQueue wire;
  BoundedQueue bounded;
  const Subscription one = this->channels.attach("lobby", plain);
  const Subscription two = this->channels.attach("lobby", wire);
  const Subscription three = this->channels.attach("lobby", bounded);
  Subscription callbacks = this->channels.subscribe("lobby");
  MessagePtr kept;
  callbacks.bind("e", [&](const Event& event) { kept = event.keep(); });
  EXPECT_EQ(this->channels.trigger("lobby", "e", "data").delivered, 4U);
  ASSERT_EQ(plain.texts(), (Strings{"e=data"}));
  ASSERT_EQ(wire.frames(), (Strings{"<lobby|e|data>"}));
  EXPECT_EQ(plain.messages[0].get(), wire.messages[0].get());
  EXPECT_EQ(plain.messages[0].get(), bounded.messages.at(0).get());
  EXPECT_EQ(plain.messages[0].get(), kept.get());
  EXPECT_EQ(bounded.asked, (std::vector<std::size_t>{5}));
}

TYPED_TEST(ChannelTest, RefusedPushIsNotCounted) {
  for (const std::string_view name : {"lobby", "cache-lobby"}) {
    Queue refusing;
    refusing.refuses = true;
    Queue taking;
    const Subscription one = this->channels.attach(name, refusing);
    const Subscription two = this->channels.attach(name, taking);
    const TriggerResult result = this->channels.trigger(name, "e", "");
    EXPECT_EQ(result.error, errc::ok);
    EXPECT_EQ(result.delivered, 1U);
    EXPECT_EQ(taking.messages.size(), 1U);
  }
}

/// Drops what it is given, and notes whether that was the last of it.
struct DroppingQueue {
  bool push(MessagePtr message) noexcept {
    message = {};
    last = log.live_blocks() == before;
    return true;
  }
  MemoryLog& log;
  std::size_t before = 0;
  bool last = false;
};

TEST(Channel, TheLastQueueGetsTheLastReferenceUnlessACallbackWantsTheMessageToo) {
  MemoryLog log;
  {
    ChannelRegistry<WithMemory<CountingMemory>> channels{{}, CountingMemory{log}};
    for (const std::string_view name : {"lobby", "presence-lobby"}) {
      DroppingQueue first{log};
      DroppingQueue second{log};
      const Subscription one = channels.attach(name, first);
      const Subscription two = channels.attach(name, second);
      first.before = second.before = log.live_blocks();
      EXPECT_EQ(channels.trigger(name, "e", "d").delivered, 2U);
      EXPECT_FALSE(first.last);
      EXPECT_TRUE(second.last);
      EXPECT_EQ(log.live_blocks(), first.before);

      Subscription callbacks = channels.subscribe(name);
      std::string kept;
      callbacks.bind("e", [&](const Event& event) { kept = event.keep()->data(); });
      first.before = second.before = log.live_blocks();
      EXPECT_EQ(channels.trigger(name, "e", "d").delivered, 3U);
      EXPECT_FALSE(second.last);
      EXPECT_EQ(kept, "d");
      EXPECT_EQ(log.live_blocks(), first.before);
    }
  }
  EXPECT_EQ(log.live_blocks(), 0U);
  EXPECT_EQ(log.mistakes(), "");
}

TYPED_TEST(ChannelTest, DetachedSinkGetsNothingMore) {
  Queue queue;
  Subscription subscription = this->channels.attach("lobby", queue);
  this->channels.trigger("lobby", "e", "1");
  subscription.reset();
  this->channels.trigger("lobby", "e", "2");
  EXPECT_EQ(queue.texts(), (Strings{"e=1"}));
}

TYPED_TEST(ChannelTest, AttachedSubscriptionMayBindToo) {
  Queue queue;
  Subscription subscription = this->channels.attach("lobby", queue);
  subscription.bind("e", this->recorder.callback());
  EXPECT_EQ(this->channels.trigger("lobby", "e", "1").delivered, 2U);
  EXPECT_EQ(this->channels.trigger("lobby", "e", "2", {.except = subscription}).delivered, 0U);
  EXPECT_EQ(queue.texts(), (Strings{"e=1"}));
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1"}));
}

TYPED_TEST(ChannelTest, AttachErrorsAreInside) {
  Queue queue;
  EXPECT_EQ(this->channels.attach("a b", queue).error(), errc::bad_character);
}

TYPED_TEST(ChannelTest, ManyQueuesComeAndGo) {
  std::vector<std::unique_ptr<Queue>> queues;
  std::vector<Subscription> subscriptions;
  for (int i = 0; i < 100; ++i) {
    queues.push_back(std::make_unique<Queue>());
    subscriptions.push_back(this->channels.attach("lobby", *queues.back()));
  }
  EXPECT_EQ(this->channels.trigger("lobby", "e", "").delivered, 100U);
  for (std::size_t i = 0; i < 100; i += 3) subscriptions[i].reset();
  EXPECT_EQ(this->channels.trigger("lobby", "e", "").delivered, 66U);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(queues[i]->messages.size(), i % 3 == 0 ? 1U : 2U);
}

// ---- links

TYPED_TEST(ChannelTest, EverySinkThatWantsALinkGetsOneOfItsOwn) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    LinkedQueue one;
    Queue plain;
    LinkedQueue two;
    WireQueue wire;
    LinkedQueue three;
    const Subscription subscriptions[] = {this->channels.attach(name, one), this->channels.attach(name, plain),
                                          this->channels.attach(name, two), this->channels.attach(name, wire),
                                          this->channels.attach(name, three)};
    for (int i = 1; i <= 3; ++i) {
      EXPECT_EQ(this->channels.trigger(name, "e", std::to_string(i)).delivered, 5U);
    }
    const Strings expected{"e=1", "e=2", "e=3"};
    for (const LinkedQueue* queue : {&one, &two, &three}) {
      EXPECT_EQ(queue->texts(), expected);
      EXPECT_TRUE(queue->unused);
    }
    EXPECT_EQ(plain.texts(), expected);
    EXPECT_EQ(wire.frames()[0], "<" + std::string(name) + "|e|1>");
    EXPECT_EQ(one.first()->message, plain.messages[0].get());
    EXPECT_EQ(two.first()->message, plain.messages[0].get());
    EXPECT_NE(one.first(), two.first());
    EXPECT_NE(one.first(), three.first());
    EXPECT_NE(two.first(), three.first());
  }
}

TYPED_TEST(ChannelTest, AQueueThatRefusesOrIsLeftOutTakesNobodysLink) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    LinkedQueue refusing;
    refusing.refuses = true;
    LinkedQueue excluded;
    LinkedQueue taking;
    const Subscription one = this->channels.attach(name, refusing);
    const Subscription two = this->channels.attach(name, excluded);
    const Subscription three = this->channels.attach(name, taking);
    EXPECT_EQ(this->channels.trigger(name, "e", "1", {.except = two}).delivered, 1U);
    EXPECT_EQ(this->channels.trigger(name, "e", "2", {.except = three}).delivered, 1U);
    EXPECT_EQ(this->channels.trigger(name, "e", "3").delivered, 2U);
    EXPECT_EQ(excluded.texts(), (Strings{"e=2", "e=3"}));
    EXPECT_EQ(taking.texts(), (Strings{"e=1", "e=3"}));
    EXPECT_TRUE(taking.unused && excluded.unused);
  }
}

TYPED_TEST(ChannelTest, SeveralChannelsHaveMessagesAndLinksOfTheirOwn) {
  LinkedQueue one;
  LinkedQueue two;
  const Subscription subscriptions[] = {this->channels.attach("a", one), this->channels.attach("presence-b", one),
                                        this->channels.attach("presence-b", two), this->channels.attach("c", two)};
  EXPECT_EQ(this->channels.trigger({"a", "presence-b", "nobody", "c", "a"}, "e", "1").delivered, 5U);
  EXPECT_EQ(one.texts(), (Strings{"e=1", "e=1", "e=1"}));
  EXPECT_EQ(two.texts(), (Strings{"e=1", "e=1"}));
  EXPECT_TRUE(one.unused && two.unused);
  const MessageLink* const second = one.first()->next;
  EXPECT_EQ(one.first()->message->channel(), "a");
  EXPECT_EQ(second->message->channel(), "presence-b");
  EXPECT_EQ(second->next->message->channel(), "a");
  EXPECT_NE(second->next->message, one.first()->message);
  EXPECT_EQ(two.first()->message, second->message);
}

TYPED_TEST(ChannelTest, LinkedMessagesOutliveTheirSubscriptionAndTheRegistry) {
  LinkedQueue queue;
  {
    TypeParam other;
    Subscription subscription = other.attach("lobby", queue);
    other.trigger("lobby", "e", "1");
    subscription.reset();
    other.trigger("lobby", "e", "2");
  }
  EXPECT_EQ(queue.texts(), (Strings{"e=1"}));
}

/// Lets something happen between the making of a message and its delivery: encoding runs without a lock.
class InterruptingEncoder final : public Encoder {
 public:
  [[nodiscard]] std::size_t bound(const MessageParts& /*event*/) const noexcept override { return 1; }
  [[nodiscard]] errc encode(const MessageParts& event, std::span<std::byte> /*out*/,
                            std::size_t& /*written*/) const noexcept override {
    ++calls;
    if (interruption) std::exchange(interruption, nullptr)(event.channel);
    return errc::ok;
  }

  mutable std::function<void(std::string_view channel)> interruption;
  mutable int calls = 0;
};

TYPED_TEST(ChannelTest, AQueueThatComesAfterTheMessageWasMadeGetsAnotherWithLinksForAll) {
  InterruptingEncoder interrupting;
  TypeParam other{{.encoder = &interrupting}};
  WireQueue wire;
  LinkedQueue first;
  LinkedQueue second;
  const Subscription one = other.attach("presence-x", wire);
  const Subscription two = other.attach("presence-x", first);
  Subscription three;
  interrupting.interruption = [&](std::string_view name) { three = other.attach(name, second); };
  EXPECT_EQ(other.trigger("presence-x", "e", "1").delivered, 3U);
  EXPECT_EQ(interrupting.calls, 2);
  EXPECT_EQ(first.texts(), (Strings{"e=1"}));
  EXPECT_EQ(second.texts(), (Strings{"e=1"}));
  EXPECT_EQ(first.first()->message, second.first()->message);
  EXPECT_TRUE(first.unused && second.unused);
  EXPECT_EQ(first.first()->message->id().number, 1U);

  // One that leaves meanwhile leaves a link over, and that is all.
  interrupting.interruption = [&](std::string_view) { three.detach(); };
  EXPECT_EQ(other.trigger("presence-x", "e", "2").delivered, 2U);
  EXPECT_EQ(interrupting.calls, 3);
  EXPECT_EQ(second.texts(), (Strings{"e=1"}));
}

TYPED_TEST(ChannelTest, AQueueThatComesToTheFirstOfManyChannelsMeanwhileGetsItToo) {
  for (const std::string_view name : {"x", "presence-x"}) {
    InterruptingEncoder interrupting;
    TypeParam other{{.encoder = &interrupting}};
    LinkedQueue there;
    LinkedQueue joins;
    WireQueue last;
    const Subscription one = other.attach(name, there);
    const Subscription two = other.attach("last", last);
    Subscription three;
    interrupting.interruption = [&](std::string_view) { three = other.attach(name, joins); };
    EXPECT_EQ(other.trigger({name, "last"}, "e", "1").delivered, 3U);
    EXPECT_EQ(there.texts(), (Strings{"e=1"}));
    EXPECT_EQ(joins.texts(), (Strings{"e=1"}));
    EXPECT_NE(there.first(), joins.first());
    EXPECT_EQ(there.first()->message, joins.first()->message);
    EXPECT_TRUE(there.unused && joins.unused);
  }
}

// ---- encoding

TYPED_TEST(ChannelTest, EncodesOnceIfThereIsAWireSinkAndElseNever) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    this->encoder.calls = 0;
    Subscription callbacks = this->channels.subscribe(name);
    callbacks.bind_all(this->recorder.callback());
    this->channels.trigger(name, "e", "1");
    PolledSubscription inbox = this->channels.subscribe(name, Inbox{});
    this->channels.trigger(name, "e", "2");
    EXPECT_EQ(this->encoder.calls, 0);
    WireQueue one;
    WireQueue two;
    Subscription first = this->channels.attach(name, one);
    const Subscription second = this->channels.attach(name, two);
    this->channels.trigger(name, "e", "3");
    EXPECT_EQ(this->encoder.calls, 1);
    EXPECT_EQ(one.frames(), (Strings{"<" + std::string(name) + "|e|3>"}));
    EXPECT_EQ(one.messages[0].get(), two.messages[0].get());
    first.reset();
    this->channels.trigger(name, "e", "4", {.except = second});
    EXPECT_EQ(this->encoder.calls, 1);  // the only wire sink is left out
  }
}

TYPED_TEST(ChannelTest, WithoutAnEncoderFramesAreEmpty) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    TypeParam bare;
    WireQueue queue;
    const Subscription subscription = bare.attach(name, queue);
    EXPECT_EQ(bare.trigger(name, "e", "\xff").delivered, 1U);
    EXPECT_EQ(queue.frames(), (Strings{""}));
  }
}

TYPED_TEST(ChannelTest, WhatIsNotTextReachesNobodyIfSomebodyNeedsText) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    Subscription callbacks = this->channels.subscribe(name);
    callbacks.bind("e", this->recorder.callback());
    PolledSubscription inbox = this->channels.subscribe(name, Inbox{});
    EXPECT_EQ(this->channels.trigger(name, "e", "\xff").error, errc::ok);
    WireQueue wire;
    const Subscription subscription = this->channels.attach(name, wire);
    const TriggerResult result = this->channels.trigger(name, "e", "\xff");
    EXPECT_EQ(result.error, errc::not_utf8);
    EXPECT_EQ(result.delivered, 0U);
    EXPECT_FALSE(result.id);
    EXPECT_EQ(inbox.size(), 1U);
    EXPECT_TRUE(wire.messages.empty());
    EXPECT_EQ(this->recorder.take().size(), 1U);
    EXPECT_EQ(this->channels.trigger(name, "e", "\xff", {.except = subscription}).delivered, 2U);
    this->recorder.take();
  }
}

TYPED_TEST(ChannelTest, WhatIsNotTextReachesNobodyOfManyChannels) {
  Subscription callbacks = this->channels.subscribe("first");
  callbacks.bind("e", this->recorder.callback());
  PolledSubscription inbox = this->channels.subscribe("first", Inbox{});
  WireQueue wire;
  const Subscription subscription = this->channels.attach("second", wire);
  const TriggerResult result = this->channels.trigger({"first", "second"}, "e", "\xff");
  EXPECT_EQ(result.error, errc::not_utf8);
  EXPECT_EQ(result.delivered, 0U);
  EXPECT_EQ(inbox.size(), 0U);
  EXPECT_EQ(this->recorder.take(), Strings{});
}

// ---- room

TYPED_TEST(ChannelTest, FullQueueThatMayNotLoseMeansNobodyGetsIt) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    Subscription callbacks = this->channels.subscribe(name);
    callbacks.bind("e", this->recorder.callback());
    PolledSubscription inbox = this->channels.subscribe(name, Inbox{});
    BoundedQueue full;
    full.room = 3;
    const Subscription subscription = this->channels.attach(name, full);
    EXPECT_EQ(this->channels.trigger(name, "e", "12").delivered, 3U);
    const TriggerResult result = this->channels.trigger(name, "e", "123");
    EXPECT_EQ(result.error, errc::overloaded);
    EXPECT_EQ(result.delivered, 0U);
    EXPECT_FALSE(result.id);
    EXPECT_EQ(inbox.size(), 1U);
    EXPECT_EQ(full.messages.size(), 1U);
    EXPECT_EQ(this->recorder.take(), (Strings{"e=12"}));
    EXPECT_EQ(this->channels.trigger(name, "e", "123", {.except = subscription}).delivered, 2U);
    this->recorder.take();
  }
}

TYPED_TEST(ChannelTest, FullQueueOfOneChannelMeansNobodyOfManyGetsIt) {
  Subscription callbacks = this->channels.subscribe("first");
  callbacks.bind("e", this->recorder.callback());
  PolledSubscription inbox = this->channels.subscribe("presence-first", Inbox{});
  BoundedQueue full;
  full.room = 0;
  const Subscription subscription = this->channels.attach("second", full);
  const auto result = this->channels.trigger({"first", "presence-first", "nobody", "second"}, "e", "");
  EXPECT_EQ(result.error, errc::overloaded);
  EXPECT_EQ(result.delivered, 0U);
  EXPECT_EQ(inbox.size(), 0U);
  EXPECT_EQ(this->recorder.take(), Strings{});
  const auto without =
      this->channels.trigger({"first", "presence-first", "nobody", "second"}, "e", "", {.except = subscription});
  EXPECT_EQ(without.error, errc::ok);
  EXPECT_EQ(without.delivered, 2U);
}

// ---- leaving out and telling whom

TYPED_TEST(ChannelTest, ExceptLeavesOutOneSubscriptionOfEitherKind) {
  Subscription lobby = this->channels.subscribe("lobby");
  Subscription other = this->channels.subscribe("lobby");
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  lobby.bind("e", this->recorder.mark("lobby"));
  lobby.bind_all(this->recorder.mark("lobby"));
  other.bind("e", this->recorder.mark("other"));
  EXPECT_EQ(this->channels.trigger("lobby", "e", "", {.except = lobby}).delivered, 2U);
  EXPECT_EQ(this->channels.trigger("lobby", "e", "", {.except = &lobby}).delivered, 2U);
  EXPECT_EQ(this->channels.trigger("lobby", "e", "", {.except = lobby.id()}).delivered, 2U);
  EXPECT_EQ(this->recorder.take(), (Strings{"other", "other", "other"}));
  EXPECT_EQ(inbox.size(), 3U);
  EXPECT_EQ(this->channels.trigger("lobby", "e", "", {.except = inbox}).delivered, 3U);
  EXPECT_EQ(this->channels.trigger("lobby", "e", "", {.except = &inbox}).delivered, 3U);
  EXPECT_EQ(inbox.size(), 3U);
  lobby.reset();
  EXPECT_EQ(this->channels.trigger("lobby", "e", "", {.except = lobby}).delivered, 2U);
  EXPECT_EQ(this->channels.trigger("lobby", "e", "", {.except = SubscriptionId{}}).delivered, 2U);
}

TYPED_TEST(ChannelTest, ExceptWorksInManyChannelsAndThroughHandles) {
  Subscription one = this->channels.subscribe("one");
  Subscription two = this->channels.subscribe("two");
  one.bind("e", this->recorder.mark("one"));
  two.bind("e", this->recorder.mark("two"));
  EXPECT_EQ(this->channels.trigger({"one", "two"}, "e", "", {.except = one}).delivered, 1U);
  EXPECT_EQ(this->channels.channel("two").trigger("e", "", {.except = two}).delivered, 0U);
  EXPECT_EQ(this->recorder.take(), (Strings{"two"}));
}

TYPED_TEST(ChannelTest, ExceptionSkipsTheExcludedToo) {
  Subscription lobby = this->channels.subscribe("lobby");
  Subscription other = this->channels.subscribe("lobby");
  lobby.bind("e", [](const Event&) { throw std::runtime_error("1"); });
  other.bind("e", [](const Event&) { throw std::logic_error("2"); });
  lobby.bind("e", this->recorder.mark("3"));
  EXPECT_THROW(this->channels.trigger("lobby", "e", "", {.except = other}), std::runtime_error);
  EXPECT_THROW(this->channels.trigger("lobby", "e", "", {.except = lobby}), std::logic_error);
  EXPECT_EQ(this->recorder.take(), (Strings{"3"}));
  EXPECT_EQ(this->channels.stats().suppressed_exceptions, 0U);
}

TYPED_TEST(ChannelTest, OriginIsVisibleToCallbacksAndQueues) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    Queue queue;
    const TriggerOptions options{.except_socket = "3.4", .user_id = "7", .socket_id = "1.2"};
    Subscription callbacks = this->channels.subscribe(name);
    MessagePtr kept;
    callbacks.bind("e", [&](const Event& event) {
      EXPECT_EQ(event.channel(), name);
      EXPECT_EQ(event.name(), "e");
      EXPECT_EQ(event.data(), "data");
      EXPECT_EQ(event.user_id(), "7");
      EXPECT_EQ(event.socket_id(), "1.2");
      kept = event.keep();
      EXPECT_EQ(event.user_id(), "7");
    });
    EXPECT_EQ(this->channels.trigger(name, "e", "data", options).delivered, 1U);
    ASSERT_TRUE(kept);
    EXPECT_EQ(kept->except_socket(), "3.4");
    const Subscription attached = this->channels.attach(name, queue);
    EXPECT_EQ(this->channels.trigger(name, "e", "data", options).delivered, 2U);
    const Message& message = *queue.messages.at(0);
    EXPECT_EQ(message.user_id(), "7");
    EXPECT_EQ(message.socket_id(), "1.2");
    EXPECT_EQ(message.except_socket(), "3.4");
    EXPECT_EQ(message.channel(), name);
  }
}

// ---- keeping

TYPED_TEST(ChannelTest, KeptEventIsOneCopyThatOutlivesCallbackAndRegistry) {
  MessagePtr one;
  MessagePtr two;
  EventId id;
  {
    TypeParam other;
    Subscription lobby = other.subscribe("presence-lobby");
    lobby.bind("e", [&](const Event& event) { one = event.keep(); });
    lobby.bind("e", [&](const Event& event) { two = event.keep(); });
    std::string data = "will be overwritten";
    id = other.trigger("presence-lobby", "e", data, {.user_id = "7"}).id;
    data.assign(data.size(), '?');
  }
  ASSERT_TRUE(one);
  EXPECT_EQ(one.get(), two.get());
  EXPECT_EQ(one->channel(), "presence-lobby");
  EXPECT_EQ(one->data(), "will be overwritten");
  EXPECT_EQ(one->user_id(), "7");
  EXPECT_EQ(one->id(), id);
  EXPECT_TRUE(one->frame().empty());
}

// ---- ordered channels

TYPED_TEST(ChannelTest, OrderedChannelsNumberTheirEvents) {
  for (const std::string_view name :
       {"presence-x", "cache-x", "private-cache-x", "private-encrypted-cache-x", "presence-cache-x"}) {
    Subscription callbacks = this->channels.subscribe(name);
    PolledSubscription inbox = this->channels.subscribe(name, Inbox{});
    std::vector<EventId> called;
    std::vector<EventId> queued;
    std::vector<EventId> returned;
    callbacks.bind_all([&](const Event& event) { called.push_back(event.id()); });
    for (int i = 0; i < 5; ++i) returned.push_back(this->channels.trigger(name, "e", "").id);
    inbox.poll([&](const Event& event) { queued.push_back(event.id()); });
    EXPECT_EQ(called, returned);
    EXPECT_EQ(queued, returned);
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(returned[i].number, i + 1);
      EXPECT_EQ(returned[i].epoch, returned[0].epoch);
    }
  }
}

TYPED_TEST(ChannelTest, OtherChannelsDoNotNumberTheirEvents) {
  for (const std::string_view name : {"x", "private-x", "private-encrypted-x", "#server-to-user-x"}) {
    PolledSubscription inbox = this->channels.subscribe(name, Inbox{});
    EXPECT_FALSE(this->channels.trigger(name, "e", "").id);
    inbox.poll([&](const Event& event) { EXPECT_FALSE(event.id()); });
  }
}

TYPED_TEST(ChannelTest, NestedTriggersOfAnOrderedChannelAreNumberedAsTheyAreQueued) {
  Subscription callbacks = this->channels.subscribe("presence-x");
  PolledSubscription inbox = this->channels.subscribe("presence-x", Inbox{});
  EventId inner;
  callbacks.bind("outer", [&](const Event&) { inner = this->channels.trigger("presence-x", "inner", "").id; });
  const EventId outer = this->channels.trigger("presence-x", "outer", "").id;
  EXPECT_TRUE(outer < inner);
  std::vector<std::uint64_t> numbers;
  inbox.poll([&](const Event& event) { numbers.push_back(event.id().number); });
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{1, 2}));
}

TYPED_TEST(ChannelTest, NumbersCountEventsWithoutSubscribersButNotRefusedOnes) {
  const ChannelHandle handle = this->channels.channel("cache-x");
  EXPECT_EQ(handle.trigger("e", "").id.number, 1U);
  BoundedQueue full;
  full.room = 0;
  Subscription subscription = this->channels.attach("cache-x", full);
  EXPECT_EQ(handle.trigger("e", "").error, errc::overloaded);
  subscription.reset();
  EXPECT_EQ(handle.trigger("e", "").id.number, 2U);
}

TYPED_TEST(ChannelTest, AnUnmadeChannelBeginsANewEpoch) {
  EXPECT_FALSE(this->channels.trigger("cache-x", "e", "").id);  // there is none
  Subscription first = this->channels.subscribe("cache-x");
  const EventId before = this->channels.trigger("cache-x", "e", "").id;
  first.reset();
  const Subscription second = this->channels.subscribe("cache-x");
  const EventId after = this->channels.trigger("cache-x", "e", "").id;
  EXPECT_EQ(after.number, 1U);
  EXPECT_GT(after.epoch, before.epoch);
  EXPECT_FALSE(before < after);
}

TYPED_TEST(ChannelTest, AHandleKeepsTheEpoch) {
  const ChannelHandle handle = this->channels.channel("cache-x");
  Subscription first = this->channels.subscribe("cache-x");
  const EventId before = this->channels.trigger("cache-x", "e", "").id;
  first.reset();
  const EventId after = handle.trigger("e", "").id;
  EXPECT_TRUE(before < after);
  EXPECT_EQ(after.number, 2U);
}

struct StoppedClock {
  using Point = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;
  static Point now() noexcept { return Point{}; }
};

TEST(Channel, EpochsDifferThoughTheClockStands) {
  ChannelRegistry<WithClock<StoppedClock>> channels;
  std::vector<std::uint64_t> epochs;
  for (int i = 0; i < 3; ++i) {
    const Subscription subscription = channels.subscribe("cache-x");
    epochs.push_back(channels.trigger("cache-x", "e", "").id.epoch);
  }
  EXPECT_LT(epochs[0], epochs[1]);
  EXPECT_LT(epochs[1], epochs[2]);
  EXPECT_NE(epochs[0], 0U);
}

// ---- depth

TYPED_TEST(ChannelTest, SixtyFourNestedTriggersSucceedAndOneMoreIsRefused) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    Subscription lobby = this->channels.subscribe(name);
    std::size_t depth = 0;
    std::vector<TriggerResult> results;
    lobby.bind("e", [&](const Event&) {
      ++depth;
      results.push_back(this->channels.trigger(name, "e", ""));
    });
    const TriggerResult outermost = this->channels.trigger(name, "e", "");
    EXPECT_EQ(depth, 64U);
    EXPECT_EQ(outermost.error, errc::ok);
    ASSERT_EQ(results.size(), 64U);
    EXPECT_EQ(results[0].error, errc::nested_too_deep);
    EXPECT_EQ(results[0].delivered, 0U);
    for (std::size_t i = 1; i < 64; ++i) EXPECT_EQ(results[i].error, errc::ok) << i;
    depth = 0;
    results.clear();
    this->channels.trigger(name, "e", "");
    EXPECT_EQ(depth, 64U);
  }
}

TYPED_TEST(ChannelTest, DepthCountsThroughHandlesAndManyChannels) {
  Subscription lobby = this->channels.subscribe("lobby");
  const ChannelHandle handle = this->channels.channel("lobby");
  std::size_t depth = 0;
  errc last = errc::ok;
  lobby.bind("e", [&](const Event&) {
    const TriggerResult result =
        ++depth % 2 == 0 ? handle.trigger("e", "") : this->channels.trigger({"lobby"}, "e", "");
    if (!result) last = result.error;
  });
  EXPECT_TRUE(handle.trigger("e", ""));
  EXPECT_EQ(depth, 64U);
  EXPECT_EQ(last, errc::nested_too_deep);
}

TYPED_TEST(ChannelTest, QueriesAndChangesWorkAtTheDeepestLevel) {
  Subscription lobby = this->channels.subscribe("lobby");
  std::size_t depth = 0;
  lobby.bind("e", [&](const Event&) {
    ++depth;
    if (this->channels.trigger("lobby", "e", "")) return;
    EXPECT_EQ(this->channels.size(), 1U);
    EXPECT_EQ(this->channels.subscribers("lobby"), 1U);
    EXPECT_TRUE(this->channels.occupied("lobby"));
    Subscription other = this->channels.subscribe("lobby");
    EXPECT_EQ(other.error(), errc::ok);
    EXPECT_TRUE(other.bind("x", this->recorder.callback()));
    EXPECT_EQ(other.unbind("x"), 1U);
    EXPECT_EQ(this->channels.for_each_channel([](std::string_view, std::size_t) {}), errc::ok);
  });
  this->channels.trigger("lobby", "e", "");
  EXPECT_EQ(depth, 64U);
}

TYPED_TEST(ChannelTest, TwoRegistriesCountTheirDepthApart) {
  TypeParam other;
  Subscription here = this->channels.subscribe("lobby");
  Subscription there = other.subscribe("lobby");
  std::size_t depth = 0;
  here.bind("e", [&](const Event&) {
    ++depth;
    other.trigger("lobby", "e", "");
  });
  there.bind("e", [&](const Event&) {
    ++depth;
    this->channels.trigger("lobby", "e", "");
  });
  this->channels.trigger("lobby", "e", "");
  EXPECT_EQ(depth, 128U);
}

// ---- the walk by itself

using List = SubscriberList<PlainAtomics, detail::CallbackFunction>;

TEST(CallbackWalk, CountsCallsAndExceptionsBeyondTheFirst) {
  NewDelete memory;
  List list;
  detail::Garbage* replaced = nullptr;
  detail::GarbageQueue retired;
  std::uint64_t sequence = 0;
  static int calls;
  calls = 0;
  const std::array<detail::CallbackFunction, 2> functions{
      [](void*, const Event&) { ++calls; },
      [](void* context, const Event&) { throw reinterpret_cast<std::uintptr_t>(context); }};
  for (std::uintptr_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(list.add({functions[i % 2], reinterpret_cast<void*>(i), i + 1}, sequence, memory, replaced));
    if (replaced != nullptr) retired.push(*std::exchange(replaced, nullptr), 0);
  }
  errc error = errc::ok;
  const MessagePtr message = MessagePtr::adopt(
      detail::MessageBlock<PlainAtomics, NewDelete>::make({"c", "e", "d"}, false, nullptr, memory, error));
  const Event event{*message};
  detail::CallbackWalk walk{event};
  walk.run(list.view(), 0);
  EXPECT_EQ(walk.called(), 6U);
  EXPECT_EQ(walk.suppressed(), 2U);
  EXPECT_EQ(calls, 3);
  EXPECT_THROW(walk.rethrow(), std::uintptr_t);

  detail::CallbackWalk without{event};
  without.run(list.view(), 2);
  EXPECT_EQ(without.called(), 5U);
  EXPECT_EQ(without.suppressed(), 1U);

  detail::CallbackWalk none{event};
  none.run(List::View{}, 0);
  none.rethrow();
  EXPECT_EQ(none.called(), 0U);
  detail::GarbageQueue ready;
  retired.take([](const detail::Garbage&) { return true; }, ready);
  ready.destroy_all(memory);
  list.destroy(memory);
}

}  // namespace
}  // namespace fanfare::test
