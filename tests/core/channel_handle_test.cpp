#include <fanfare/core/channel_handle.hpp>

#include "support/registries.hpp"
#include "support/sinks.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

template <class Registry>
class ChannelHandleTest : public ::testing::Test {
 protected:
  Recorder recorder;
  Registry channels;
};
TYPED_TEST_SUITE(ChannelHandleTest, AllRegistries, RegistryNames);

TYPED_TEST(ChannelHandleTest, TriggersItsChannel) {
  Subscription lobby = this->channels.subscribe("lobby");
  lobby.bind("e", this->recorder.callback());
  const ChannelHandle handle = this->channels.channel("lobby");
  EXPECT_EQ(handle.error(), errc::ok);
  EXPECT_TRUE(handle);
  EXPECT_EQ(handle.name(), "lobby");
  EXPECT_EQ(handle.subscribers(), 1U);
  EXPECT_EQ(handle.trigger("e", "1").delivered, 1U);
  EXPECT_EQ(handle.trigger("e", "2", {.except = lobby}).delivered, 0U);
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1"}));
}

TYPED_TEST(ChannelHandleTest, ChecksTheEvent) {
  const ChannelHandle handle = this->channels.channel("lobby");
  EXPECT_EQ(handle.trigger("", "").error, errc::empty_name);
  EXPECT_EQ(handle.trigger("pusher:x", "").error, errc::reserved_name);
  EXPECT_EQ(handle.trigger(std::string(201, 'x'), "").error, errc::event_too_long);
  EXPECT_EQ(handle.trigger("e", std::string((1U << 20U) + 1, 'x')).error, errc::data_too_large);
  EXPECT_EQ(handle.trigger("e", std::string(1U << 20U, 'x')).error, errc::ok);
}

TYPED_TEST(ChannelHandleTest, KeepsTheChannelWithoutSubscribers) {
  const ChannelHandle handle = this->channels.channel("lobby");
  EXPECT_EQ(this->channels.stats().entries, 1U);
  EXPECT_EQ(this->channels.size(), 0U);
  EXPECT_FALSE(this->channels.occupied("lobby"));
  EXPECT_EQ(handle.trigger("e", "").delivered, 0U);
  EXPECT_EQ(handle.trigger("e", "").error, errc::ok);
}

TYPED_TEST(ChannelHandleTest, IsNotStaleAfterTheLastSubscriberWasReplaced) {
  const ChannelHandle handle = this->channels.channel("lobby");
  for (int i = 0; i < 3; ++i) {
    Subscription lobby = this->channels.subscribe("lobby");
    lobby.bind("e", this->recorder.callback());
    EXPECT_EQ(handle.trigger("e", std::to_string(i)).delivered, 1U);
  }
  EXPECT_EQ(this->recorder.take(), (Strings{"e=0", "e=1", "e=2"}));
}

TYPED_TEST(ChannelHandleTest, TheLastOneUnmakesTheChannel) {
  ChannelHandle one = this->channels.channel("lobby");
  ChannelHandle two = one;
  ChannelHandle three = std::move(one);
  EXPECT_EQ(one.error(), errc::closed);  // NOLINT(bugprone-use-after-move): it says so
  EXPECT_EQ(one.trigger("e", "").error, errc::closed);
  EXPECT_EQ(one.name(), "");
  EXPECT_EQ(one.subscribers(), 0U);
  one = three;
  two = {};
  three = ChannelHandle{};
  EXPECT_EQ(this->channels.stats().entries, 1U);
  ChannelHandle& self = one;
  one = self;
  one = std::move(self);
  EXPECT_TRUE(one);
  one = {};
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(ChannelHandleTest, MayBeDroppedInACallback) {
  std::optional<ChannelHandle> handle{this->channels.channel("lobby")};
  std::optional<Subscription> lobby{this->channels.subscribe("lobby")};
  lobby->bind("e", [&](const Event& event) {
    handle.reset();
    lobby.reset();
    this->channels.collect();
    this->recorder.seen.push_back(std::string{event.channel()});
  });
  const ChannelHandle& borrowed = *handle;
  EXPECT_EQ(borrowed.trigger("e", "").delivered, 1U);
  EXPECT_EQ(this->recorder.take(), (Strings{"lobby"}));
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(ChannelHandleTest, OutlivesTheRegistry) {
  ChannelHandle handle;
  EXPECT_EQ(handle.error(), errc::closed);
  {
    TypeParam other;
    handle = other.channel("lobby");
    EXPECT_TRUE(handle);
  }
  EXPECT_EQ(handle.error(), errc::closed);
  EXPECT_FALSE(handle);
  EXPECT_EQ(handle.name(), "lobby");
  const TriggerResult result = handle.trigger("e", "");
  EXPECT_EQ(result.error, errc::closed);
  EXPECT_EQ(result.delivered, 0U);
  const ChannelHandle copy = handle;
  handle = {};
  EXPECT_EQ(copy.trigger("e", "").error, errc::closed);
}

TYPED_TEST(ChannelHandleTest, NothingReachesSubscribersAfterTheRegistrysEnd) {
  Queue queue;
  Subscription attached;
  Subscription callbacks;
  ChannelHandle handle;
  {
    TypeParam other;
    handle = other.channel("lobby");
    attached = other.attach("lobby", queue);
    callbacks = other.subscribe("lobby");
    callbacks.bind_all(this->recorder.callback());
  }
  EXPECT_EQ(handle.trigger("e", "").error, errc::closed);
  EXPECT_TRUE(queue.messages.empty());
  EXPECT_EQ(this->recorder.take(), Strings{});
}

TYPED_TEST(ChannelHandleTest, ErrorOfTheNameIsInside) {
  const ChannelHandle refused = this->channels.channel("a/b");
  EXPECT_EQ(refused.error(), errc::bad_character);
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.trigger("e", "").error, errc::bad_character);
  EXPECT_EQ(refused.trigger("e", "", {}).error, errc::bad_character);
  const ChannelHandle copy = refused;
  EXPECT_EQ(copy.error(), errc::bad_character);
}

TEST(ChannelHandleTypes, CopyAndMove) {
  static_assert(std::is_nothrow_copy_constructible_v<ChannelHandle>);
  static_assert(std::is_nothrow_move_constructible_v<ChannelHandle>);
}

}  // namespace
}  // namespace fanfare::test
