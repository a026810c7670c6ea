#include <fanfare/core/trigger.hpp>

#include "support/print.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace fanfare::test {
namespace {

TEST(Data, IsTextOfAnyKind) {
  const std::string text = "text";
  EXPECT_EQ(Data("text").text(), "text");
  EXPECT_EQ(Data(text).text(), "text");
  EXPECT_EQ(Data(std::string_view{text}).text(), "text");
  EXPECT_EQ(Data(text.c_str()).text(), "text");
  EXPECT_EQ(Data().text(), "");
  EXPECT_EQ(Data("").text(), "");
  static_assert(Data(std::string_view{"constant"}).text() == "constant");
}

TEST(Data, IsBytesOfAnyKind) {
  const std::array bytes{std::byte{0}, std::byte{0xff}, std::byte{'a'}};
  EXPECT_EQ(Data(std::span<const std::byte>{bytes}).text(), (std::string_view{"\0\xff"
                                                                              "a",
                                                                              3}));
  EXPECT_EQ(Data(std::span<const std::byte>{}).text(), "");
  static_assert(std::is_convertible_v<std::span<const std::byte>, Data>);
  static_assert(!std::is_convertible_v<int, Data>);
}

TEST(Data, KeepsBytesBehindAZero) { EXPECT_EQ(Data(std::string("a\0b", 3)).text().size(), 3U); }

TEST(SubscriptionId, IsThatOfASubscriptionByReferenceOrPointer) {
  ChannelRegistry<> channels;
  const Subscription callbacks = channels.subscribe("lobby");
  const PolledSubscription inbox = channels.subscribe("lobby", Inbox{});
  EXPECT_TRUE(callbacks.id());
  EXPECT_TRUE(inbox.id());
  EXPECT_FALSE(callbacks.id() == inbox.id());
  EXPECT_EQ(SubscriptionId(callbacks), callbacks.id());
  EXPECT_EQ(SubscriptionId(&callbacks), callbacks.id());
  EXPECT_EQ(SubscriptionId(inbox), inbox.id());
  EXPECT_EQ(SubscriptionId(&inbox), inbox.id());
}

TEST(SubscriptionId, OfNobodyIsEmpty) {
  const Subscription none;
  const PolledSubscription no_inbox;
  const Subscription* const null = nullptr;
  const PolledSubscription* const no_pointer = nullptr;
  EXPECT_FALSE(SubscriptionId{});
  EXPECT_FALSE(SubscriptionId(none));
  EXPECT_FALSE(SubscriptionId(no_inbox));
  EXPECT_FALSE(SubscriptionId(null));
  EXPECT_FALSE(SubscriptionId(no_pointer));
  EXPECT_EQ(SubscriptionId{}.value(), 0U);
}

TEST(SubscriptionId, IsNotGivenTwice) {
  ChannelRegistry<> channels;
  const SubscriptionId first = channels.subscribe("lobby").id();
  const SubscriptionId second = channels.subscribe("lobby").id();
  EXPECT_FALSE(first == second);
}

TEST(TriggerResult, IsTrueWithoutAnError) {
  EXPECT_TRUE(TriggerResult{});
  EXPECT_TRUE((TriggerResult{.delivered = 3}));
  EXPECT_FALSE((TriggerResult{.error = errc::overloaded}));
}

}  // namespace
}  // namespace fanfare::test
