#include <fanfare/transport/peer.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace {

using namespace fanfare;
using transport::detail::Membership;
using transport::detail::Memberships;
using transport::detail::OrderedPlace;
using transport::detail::OrderedPlaces;

std::vector<std::uint32_t> channels(Memberships& memberships) {
  std::vector<std::uint32_t> result;
  for (const Membership& membership : memberships.all()) result.push_back(membership.channel);
  return result;
}

TEST(Memberships, AreKeptHoweverManyThereAre) {
  Memberships memberships;
  static_assert(sizeof(Membership) <= 8);
  static_assert(sizeof(Memberships) <= 24);
  for (std::uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(memberships.find(i), nullptr);
    memberships.add({i, 100 + i});
    EXPECT_EQ(memberships.size(), i + 1);
    for (std::uint32_t j = 0; j <= i; ++j) {
      ASSERT_NE(memberships.find(j), nullptr);
      EXPECT_EQ(memberships.find(j)->place, 100 + j);
    }
  }
  memberships.remove(3);
  memberships.remove(77);
  EXPECT_EQ(memberships.size(), 9U);
  EXPECT_EQ(memberships.find(3), nullptr);
  for (const std::uint32_t other : {0U, 1U, 2U, 4U, 9U}) EXPECT_NE(memberships.find(other), nullptr);
  memberships.clear();
  EXPECT_EQ(memberships.size(), 0U);
  memberships.add({5, 0});
  EXPECT_EQ(channels(memberships), std::vector<std::uint32_t>{5});
}

TEST(OrderedPlaces, LetGoOfTheMember) {
  const auto member = std::make_shared<const Member>(Member{"ada", "null"});
  {
    OrderedPlaces places;
    std::vector<Membership> memberships;
    for (int round = 0; round < 3; ++round) {
      for (std::uint32_t i = 0; i < 100; ++i) memberships.push_back({i, places.add({.from = i, .member = member})});
      EXPECT_EQ(places.size(), 100U);
      EXPECT_EQ(member.use_count(), 101);
      for (const Membership& membership : memberships) {
        EXPECT_TRUE(membership.ordered());
        EXPECT_EQ(places[membership].from, membership.channel);
        EXPECT_EQ(places[membership].member, member);
        EXPECT_EQ(places[membership].position, OrderedPlace::pending);
        places[membership].position = membership.channel;
      }
      if (round == 2) break;
      for (const Membership& membership : memberships) places.remove(membership);
      memberships.clear();
      EXPECT_EQ(places.size(), 0U);
      EXPECT_EQ(member.use_count(), 1);
    }
  }
  EXPECT_EQ(member.use_count(), 1);
}

TEST(Membership, HasNoOrderWhereItHasAPosition) {
  const Membership membership{1, 0};
  EXPECT_FALSE(membership.ordered());
}

TEST(Peer, IsInAChannelThatIsNotTheProtocolsOwn) {
  transport::Peer peer;
  EXPECT_FALSE(transport::in_channel(peer));
  peer.memberships.add({1, 0});
  EXPECT_TRUE(transport::in_channel(peer));
  peer.reserved = 1;
  EXPECT_FALSE(transport::in_channel(peer));
  peer.memberships.add({2, 0});
  EXPECT_TRUE(transport::in_channel(peer));
}

}  // namespace
