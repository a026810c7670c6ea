#include <fanfare/core/channel_name.hpp>

#include "support/print.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace fanfare::test {
namespace {

constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=@,.;";

TEST(ChannelName, EveryByteIsAllowedOrRefusedInEveryPlace) {
  for (int value = 0; value < 256; ++value) {
    const char character = static_cast<char>(value);
    const bool good = allowed.find(character) != std::string_view::npos;
    for (const std::size_t place : {0U, 2U, 4U}) {
      if (place == 0 && character == '#') continue;
      std::string name = "abcde";
      name[place] = character;
      EXPECT_EQ(ChannelName::check(name), good ? errc::ok : errc::bad_character) << value << " at " << place;
    }
    const std::string alone(1, character);
    const errc expected = good ? errc::ok : character == '#' ? errc::reserved_name : errc::bad_character;
    EXPECT_EQ(ChannelName::check(alone), expected) << value;
  }
}

TEST(ChannelName, EmptyNameIsRefused) { EXPECT_EQ(ChannelName::check(""), errc::empty_name); }

TEST(ChannelName, LengthIsLimitedTo164OrToWhatIsAskedFor) {
  EXPECT_EQ(ChannelName::check(std::string(164, 'x')), errc::ok);
  EXPECT_EQ(ChannelName::check(std::string(165, 'x')), errc::name_too_long);
  EXPECT_EQ(ChannelName::check(std::string(200, 'x'), 200), errc::ok);
  EXPECT_EQ(ChannelName::check(std::string(201, 'x'), 200), errc::name_too_long);
  EXPECT_EQ(ChannelName::check("ab", 1), errc::name_too_long);
  // A longest user id (128 characters) fits.
  EXPECT_EQ(ChannelName::check("#server-to-user-" + std::string(128, 'u')), errc::ok);
}

TEST(ChannelName, HashIsReservedForUsers) {
  EXPECT_EQ(ChannelName::check("#"), errc::reserved_name);
  EXPECT_EQ(ChannelName::check("#x"), errc::reserved_name);
  EXPECT_EQ(ChannelName::check("#server-to-user"), errc::reserved_name);
  EXPECT_EQ(ChannelName::check("#server-to-user-"), errc::reserved_name);
  EXPECT_EQ(ChannelName::check("#Server-to-user-1"), errc::reserved_name);
  EXPECT_EQ(ChannelName::check("#server-to-user-1"), errc::ok);
  EXPECT_EQ(ChannelName::check("#server-to-user-a.b@c=d"), errc::ok);
  EXPECT_EQ(ChannelName::check("#server-to-user-a b"), errc::bad_character);
  EXPECT_EQ(ChannelName::check("#server-to-user-#"), errc::bad_character);
  EXPECT_EQ(ChannelName::check("a#server-to-user-1"), errc::bad_character);
}

TEST(ChannelName, KindIsTheAnchoredPrefix) {
  static_assert(ChannelName::kind("lobby") == ChannelKind::public_);
  static_assert(ChannelName::kind("private-a") == ChannelKind::private_);
  static_assert(ChannelName::kind("private-cache-a") == ChannelKind::private_cache);
  static_assert(ChannelName::kind("private-encrypted-a") == ChannelKind::private_encrypted);
  static_assert(ChannelName::kind("private-encrypted-cache-a") == ChannelKind::private_encrypted_cache);
  static_assert(ChannelName::kind("presence-a") == ChannelKind::presence);
  static_assert(ChannelName::kind("presence-cache-a") == ChannelKind::presence_cache);
  static_assert(ChannelName::kind("cache-a") == ChannelKind::cache);
  static_assert(ChannelName::kind("#server-to-user-a") == ChannelKind::server_to_user);
  for (const std::string_view name : {"", "p", "private", "presence", "cache", "my-private-a", "Private-a", "cached-a",
                                      "xcache-a", "presence_a", "privatecache-a"}) {
    EXPECT_EQ(ChannelName::kind(name), ChannelKind::public_) << name;
  }
  EXPECT_EQ(ChannelName::kind("private-"), ChannelKind::private_);
  EXPECT_EQ(ChannelName::kind("private-cache"), ChannelKind::private_);
  EXPECT_EQ(ChannelName::kind("private-presence-a"), ChannelKind::private_);
  EXPECT_EQ(ChannelName::kind("private-encrypted"), ChannelKind::private_);
  EXPECT_EQ(ChannelName::kind("private-encrypted-cache"), ChannelKind::private_encrypted);
  EXPECT_EQ(ChannelName::kind("presence-cache"), ChannelKind::presence);
}

TEST(ChannelName, PresenceAndCacheChannelsAreOrdered) {
  for (const auto kind : {ChannelKind::cache, ChannelKind::private_cache, ChannelKind::private_encrypted_cache,
                          ChannelKind::presence, ChannelKind::presence_cache}) {
    EXPECT_TRUE(ChannelName::ordered(kind));
  }
  for (const auto kind :
       {ChannelKind::public_, ChannelKind::private_, ChannelKind::private_encrypted, ChannelKind::server_to_user}) {
    EXPECT_FALSE(ChannelName::ordered(kind));
  }
}

TEST(EventName, AnyBytesAreAllowed) {
  for (int value = 0; value < 256; ++value) {
    EXPECT_EQ(check_event_name(std::string(1, static_cast<char>(value))), errc::ok) << value;
  }
  EXPECT_EQ(check_event_name("client-typing"), errc::ok);
}

TEST(EventName, EmptyNameIsRefused) { EXPECT_EQ(check_event_name(""), errc::empty_name); }

TEST(EventName, LengthIsLimitedTo200OrToWhatIsAskedFor) {
  EXPECT_EQ(check_event_name(std::string(200, 'x')), errc::ok);
  EXPECT_EQ(check_event_name(std::string(201, 'x')), errc::event_too_long);
  EXPECT_EQ(check_event_name("ab", 1), errc::event_too_long);
}

TEST(EventName, WhatTheProtocolSendsIsReserved) {
  for (const std::string_view name : {"pusher:", "pusher:ping", "pusher_internal:", "pusher_internal:member_added"}) {
    EXPECT_EQ(check_event_name(name), errc::reserved_name) << name;
  }
  for (const std::string_view name : {"pusher", "pusher_internal", "pusher-x", "Pusher:x", "xpusher:x", "p"}) {
    EXPECT_EQ(check_event_name(name), errc::ok) << name;
  }
}

}  // namespace
}  // namespace fanfare::test
