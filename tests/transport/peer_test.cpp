#include <fanfare/transport/peer.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace {

using namespace fanfare;
using transport::detail::Membership;
using transport::detail::Memberships;

std::vector<std::uint32_t> channels(Memberships& memberships) {
  std::vector<std::uint32_t> result;
  for (const Membership& membership : memberships.all()) result.push_back(membership.channel);
  return result;
}

TEST(Memberships, AreKeptHoweverManyThereAre) {
  Memberships memberships;
  static_assert(sizeof(Membership) <= 16);
  static_assert(sizeof(Memberships) <= 40);
  for (std::uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(memberships.find(i), nullptr);
    memberships.add({i, 100 + i});
    EXPECT_EQ(memberships.size(), i + 1);
    for (std::uint32_t j = 0; j <= i; ++j) {
      ASSERT_NE(memberships.find(j), nullptr);
      EXPECT_EQ(memberships.find(j)->position, 100 + j);
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

TEST(Memberships, LetGoOfTheMember) {
  const auto member = std::make_shared<const Member>(Member{"ada", "null"});
  Memberships memberships;
  for (const std::uint32_t count : {2U, 9U}) {  // few, and many
    for (std::uint32_t i = 1; i <= count; ++i) {
      memberships.add({i, 0, std::make_unique<Membership::Ordered>(Membership::Ordered{7, member})});
    }
    EXPECT_EQ(member.use_count(), 1 + count);
    EXPECT_EQ(memberships.find(1)->from(), 7U);
    EXPECT_EQ(memberships.find(1)->member(), member.get());
    memberships.remove(1);
    EXPECT_EQ(memberships.find(1), nullptr);
    EXPECT_NE(memberships.find(2), nullptr);
    EXPECT_EQ(member.use_count(), count);
    memberships.clear();
    EXPECT_EQ(member.use_count(), 1);
  }
  {
    Memberships others;
    others.add({1, 0, std::make_unique<Membership::Ordered>(Membership::Ordered{0, member})});
  }
  EXPECT_EQ(member.use_count(), 1);
}

TEST(Membership, IsOwedEverythingWhereThereIsNoOrder) {
  const Membership membership{1, 0};
  EXPECT_EQ(membership.from(), 0U);
  EXPECT_EQ(membership.member(), nullptr);
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
