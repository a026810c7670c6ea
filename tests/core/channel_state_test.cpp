#include <fanfare/core/channel_state.hpp>

#include "support/memory.hpp"
#include "support/registries.hpp"
#include "support/sinks.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using Clock = std::chrono::steady_clock;

/// What the states of a test have seen, and what they are to say.
struct StateLog {
  Strings events;
  std::size_t expired = 0;
  int live = 0;
  bool keeps = false;
  bool fails = false;
};

class LoggingState final : public ChannelState {
 public:
  explicit LoggingState(StateLog& log) noexcept : log_(log) { ++log_.live; }
  ~LoggingState() override { --log_.live; }
  void on_event(const MessagePtr& message, Retain /*retain*/) noexcept override {
    log_.events.push_back(std::to_string(message->id().number) + ':' + text_of(*message) +
                          (message->frame().empty() ? "" : "!"));
  }
  [[nodiscard]] bool keeps() const noexcept override { return log_.keeps; }
  void expire(Clock::time_point /*now*/) noexcept override { ++log_.expired; }

 private:
  StateLog& log_;
};

class LoggingStates final : public ChannelStates {
 public:
  explicit LoggingStates(StateLog& log) noexcept : log_(log) {}
  [[nodiscard]] std::unique_ptr<ChannelState> make(std::string_view channel, bool& failed) noexcept override {
    asked.emplace_back(channel);
    if (channel.starts_with("presence-without")) return nullptr;
    if (log_.fails) {
      failed = true;
      return nullptr;
    }
    return std::make_unique<LoggingState>(log_);
  }
  [[nodiscard]] bool keeps(std::string_view channel) const noexcept override { return channel.starts_with("cache-"); }

  Strings asked;

 private:
  StateLog& log_;
};

/// Writes down when it is called.
class LoggingStep final : public OrderedStep {
 public:
  explicit LoggingStep(Strings& log, bool sends = true) noexcept : sends_(sends), log_(log) {}
  [[nodiscard]] bool begin(ChannelState* state) noexcept override {
    log_.emplace_back(state == nullptr ? "begin without" : "begin");
    return sends_;
  }
  void end() noexcept override { log_.emplace_back("end"); }

 private:
  bool sends_;
  Strings& log_;
};

/// A queue that writes into the same log.
class LoggedQueue {
 public:
  explicit LoggedQueue(Strings& log) noexcept : log_(log) {}
  bool push(MessagePtr message) noexcept {
    log_.push_back(std::to_string(message->id().number) + ':' + text_of(*message));
    return true;
  }
  [[nodiscard]] bool has_room(std::size_t /*bytes*/) const noexcept { return room; }
  bool room = true;

 private:
  Strings& log_;
};

template <class Registry>
class ChannelStateTest : public ::testing::Test {
 protected:
  StateLog log;
  LoggingStates states{log};
  LineEncoder encoder;
  std::unique_ptr<Registry> channels =
      std::make_unique<Registry>(RegistryOptions{.encoder = &encoder, .states = &states});
};
TYPED_TEST_SUITE(ChannelStateTest, AllRegistries, RegistryNames);

// ---- states

TYPED_TEST(ChannelStateTest, OrderedChannelsAloneAreAskedOnceInTheirLife) {
  {
    const Subscription a = this->channels->subscribe("cache-a");
    const Subscription b = this->channels->subscribe("cache-a");
    const Subscription c = this->channels->subscribe("x");
    EXPECT_TRUE(a.ordered());
    EXPECT_FALSE(c.ordered());
    EXPECT_EQ(this->log.live, 1);
  }
  static_cast<void>(this->channels->subscribe("presence-without"));
  EXPECT_EQ(this->states.asked, (Strings{"cache-a", "presence-without"}));
  this->channels->collect();
  EXPECT_EQ(this->log.live, 0);
}

TYPED_TEST(ChannelStateTest, SeesEveryEventEncodedWithItsIdBeforeAnyoneElse) {
  Strings order;
  LoggedQueue queue(this->log.events);
  const Subscription attached = this->channels->attach("cache-a", queue);
  EXPECT_EQ(this->channels->trigger("cache-a", "e", "x").delivered, 1U);
  EXPECT_EQ(this->log.events, (Strings{"1:e=x!", "1:e=x"}));
  this->log.events.clear();
  queue.room = false;
  EXPECT_EQ(this->channels->trigger("cache-a", "e", "y").error, errc::overloaded);
  EXPECT_EQ(this->log.events, Strings{});
}

TYPED_TEST(ChannelStateTest, HoldsTheChannelWhileItKeepsSomething) {
  this->log.keeps = true;
  this->channels->trigger("cache-a", "e", "x");  // nobody is there
  EXPECT_EQ(this->log.events, (Strings{"1:e=x!"}));
  this->channels->trigger("cache-a", "e", "y");
  EXPECT_EQ(this->log.events.back(), "2:e=y!");  // the same channel
  this->channels->expire();
  EXPECT_EQ(this->log.expired, 1U);
  EXPECT_EQ(this->log.live, 1);
  this->log.keeps = false;
  this->channels->expire();
  this->channels->collect();
  EXPECT_EQ(this->log.live, 0);
  EXPECT_FALSE(this->channels->look_at_state("cache-a", [](ChannelState*) {}));
}

TYPED_TEST(ChannelStateTest, ThatNoLongerKeepsAnythingLetsGoAtTheNextEvent) {
  this->log.keeps = true;
  this->channels->trigger("cache-a", "e", "x");
  this->log.keeps = false;
  this->channels->trigger("cache-a", "e", "y");
  this->channels->collect();
  EXPECT_EQ(this->log.live, 0);
}

TYPED_TEST(ChannelStateTest, EndsWithTheRegistryWhateverItKeeps) {
  this->log.keeps = true;
  this->channels->trigger("cache-a", "e", "x");
  ChannelHandle handle = this->channels->channel("cache-b");
  handle.trigger("e", "x");
  Subscription attached = this->channels->subscribe("cache-c");
  EXPECT_EQ(this->log.live, 3);
  this->channels.reset();
  EXPECT_EQ(this->log.live, 2);  // those whose channels somebody holds
  attached.reset();
  handle = {};
  EXPECT_EQ(this->log.live, 0);
}

TYPED_TEST(ChannelStateTest, WithoutMemoryForItThereIsNoChannel) {
  this->log.fails = true;
  EXPECT_EQ(this->channels->subscribe("cache-a").error(), errc::out_of_memory);
  EXPECT_EQ(this->channels->trigger("cache-a", "e").error, errc::out_of_memory);
  EXPECT_EQ(this->channels->channel("presence-a").error(), errc::out_of_memory);
  EXPECT_EQ(this->channels->stats().entries, 0U);
  this->log.fails = false;
  EXPECT_EQ(this->channels->subscribe("cache-a").error(), errc::ok);
}

TYPED_TEST(ChannelStateTest, IsLookedAtWhereThereIsAChannel) {
  const Subscription a = this->channels->subscribe("cache-a");
  const Subscription x = this->channels->subscribe("x");
  int with = 0;
  int without = 0;
  const auto look = [&](ChannelState* state) { ++(state != nullptr ? with : without); };
  EXPECT_TRUE(this->channels->look_at_state("cache-a", look));
  EXPECT_TRUE(this->channels->look_at_state("x", look));
  EXPECT_FALSE(this->channels->look_at_state("cache-b", look));
  EXPECT_EQ(with, 1);
  EXPECT_EQ(without, 1);
}

// ---- steps

TYPED_TEST(ChannelStateTest, AStepIsAtOnePointOfTheOrder) {
  Strings order;
  LoggedQueue queue(order);
  Subscription attached = this->channels->attach("presence-a", queue);
  attached.bind_all(
      [&](const Event& event) { order.push_back("call " + std::to_string(event.id().number) + ':' + text_of(event)); });
  LoggingStep step(order);
  this->channels->trigger("presence-a", "e", "1");
  const TriggerResult result = attached.step(step, "pusher_internal:x", "2");
  this->channels->trigger("presence-a", "e", "3");
  EXPECT_EQ(result.error, errc::ok);
  EXPECT_EQ(result.id.number, 2U);
  EXPECT_EQ(result.delivered, 2U);
  EXPECT_EQ(order, (Strings{"1:e=1", "call 1:e=1", "begin", "2:pusher_internal:x=2", "end",
                            "call 2:pusher_internal:x=2", "3:e=3", "call 3:e=3"}));
  EXPECT_EQ(this->log.events[1], "2:pusher_internal:x=2!");
}

TYPED_TEST(ChannelStateTest, AStepThatSendsNothingTakesNoId) {
  Strings order;
  LoggedQueue queue(order);
  Subscription attached = this->channels->attach("presence-a", queue);
  LoggingStep step(order, false);
  const TriggerResult result = attached.step(step, "pusher_internal:x", "2");
  EXPECT_EQ(result.error, errc::ok);
  EXPECT_EQ(result.delivered, 0U);
  EXPECT_EQ(order, (Strings{"begin", "end"}));
  EXPECT_EQ(this->log.events, Strings{});
  EXPECT_EQ(this->channels->trigger("presence-a", "e", "1").id.number, 1U);
}

TYPED_TEST(ChannelStateTest, AStepNeedsNoRoom) {
  Strings order;
  LoggedQueue queue(order);
  queue.room = false;
  Subscription attached = this->channels->attach("presence-a", queue);
  LoggingStep step(order);
  EXPECT_EQ(attached.step(step, "pusher_internal:x", "2").delivered, 1U);
  EXPECT_EQ(order, (Strings{"begin", "1:pusher_internal:x=2", "end"}));
}

TYPED_TEST(ChannelStateTest, AStepMayBeTakenWhereThereIsNoState) {
  Strings order;
  Subscription one = this->channels->subscribe("presence-without");
  LoggingStep step(order);
  EXPECT_EQ(one.step(step, "pusher_internal:x", "2").error, errc::ok);
  EXPECT_EQ(order, (Strings{"begin without", "end"}));
}

TYPED_TEST(ChannelStateTest, AStepThatIsRefusedHasNotBegun) {
  Strings order;
  LoggingStep step(order);
  Subscription none;
  EXPECT_FALSE(none.step(step, "pusher_internal:x", {}));
  Subscription one = this->channels->subscribe("presence-a");
  EXPECT_EQ(one.step(step, "pusher_internal:x", "\xff").error, errc::not_utf8);
  this->channels.reset();
  EXPECT_EQ(one.step(step, "pusher_internal:x", {}).error, errc::closed);
  EXPECT_EQ(order, Strings{});
}

#if FANFARE_EXCEPTIONS
TYPED_TEST(ChannelStateTest, AStepIsDoneBeforeACallbackCanThrow) {
  Strings order;
  Subscription one = this->channels->subscribe("presence-a");
  one.bind_all([](const Event&) { throw 42; });
  LoggingStep step(order);
  EXPECT_THROW(one.step(step, "pusher_internal:x", {}), int);
  EXPECT_EQ(order, (Strings{"begin", "end"}));
}
#endif

/// Attaches a linked queue the first time that an event is encoded: it comes between the making of the message, which is
/// without the lock, and its place in the order.
class AttachingEncoder final : public Encoder {
 public:
  [[nodiscard]] std::size_t bound(const MessageParts& event) const noexcept override { return event.data.size(); }
  [[nodiscard]] errc encode(const MessageParts&, std::span<std::byte>, std::size_t& written) const noexcept override {
    written = 0;
    ++calls;
    if (attach) std::exchange(attach, nullptr)();
    return errc::ok;
  }
  mutable int calls = 0;
  mutable std::function<void()> attach;
};

TEST(OrderedStepQueues, OneThatComesBetweenMakingAndPlacingGetsTheEventToo) {
  StateLog log;
  LoggingStates states{log};
  AttachingEncoder encoder;
  LinkedQueue late;
  Strings order;
  ChannelRegistry<> channels{{.encoder = &encoder, .states = &states}};
  Subscription one = channels.subscribe("presence-a");
  Subscription other;
  encoder.attach = [&] { other = channels.attach("presence-a", late); };
  LoggingStep step(order);
  EXPECT_EQ(one.step(step, "pusher_internal:x", "1").delivered, 1U);
  EXPECT_EQ(order, (Strings{"begin", "end"}));
  EXPECT_EQ(late.texts(), Strings{"pusher_internal:x=1"});
  EXPECT_TRUE(late.unused);
  EXPECT_EQ(encoder.calls, 2);  // made again, with a link
  EXPECT_EQ(log.events.size(), 1U);
  late.clear();
}

// ---- members

TYPED_TEST(ChannelStateTest, ASubscriptionMayCountAsAnyNumber) {
  Strings told;
  RegistryOptions options;
  options.on_occupied = [&](std::string_view name) { told.push_back("+" + std::string(name)); };
  options.on_vacated = [&](std::string_view name) { told.push_back("-" + std::string(name)); };
  TypeParam registry{std::move(options)};
  Queue queue;
  {
    Subscription attached = registry.attach("a", queue);
    EXPECT_EQ(attached.subscribers(), 1U);
    attached.add_members(+4);
    EXPECT_EQ(registry.subscribers("a"), 5U);
    attached.add_members(-5);
    EXPECT_EQ(registry.subscribers("a"), 0U);
    EXPECT_FALSE(registry.occupied("a"));
    EXPECT_EQ(registry.trigger("a", "e", "1").delivered, 1U);  // it still listens
    attached.add_members(0);
    attached.add_members(+2);
    const Subscription other = registry.subscribe("a");
    EXPECT_EQ(other.subscribers(), 3U);
  }
  EXPECT_EQ(told, (Strings{"+a", "-a", "+a", "-a"}));
  EXPECT_EQ(queue.texts(), Strings{"e=1"});
}

// ---- channels of the protocol's own

TYPED_TEST(ChannelStateTest, ReservedChannelsAreEnteredByThoseWhoSaySo) {
  KeptLog kept;
  {
    const Subscription attached = this->channels->attach(ReservedChannel{"#any bytes"}, KeptSink{kept});
    EXPECT_EQ(attached.error(), errc::ok);
    EXPECT_EQ(this->channels->attach("#any bytes", KeptSink{kept}).error(), errc::reserved_name);
    EXPECT_EQ(this->channels->subscribe("#any bytes").error(), errc::reserved_name);
    EXPECT_EQ(this->channels->trigger("#any bytes", "e", "1").error, errc::reserved_name);
    EXPECT_EQ(this->channels->trigger({"#any bytes"}, "e", "1").error, errc::reserved_name);
    EXPECT_EQ(this->channels->trigger(ReservedChannel{"#any bytes"}, "pusher_internal:e", "2").delivered, 1U);
    EXPECT_EQ(this->channels->trigger(ReservedChannel{"#nobody"}, "pusher_internal:e", "3").delivered, 0U);
    EXPECT_EQ(this->channels->stats().entries, 1U);
  }
  EXPECT_EQ(kept.pushed, Strings{"pusher_internal:e=2"});
}

}  // namespace
}  // namespace fanfare::test
