#include <fanfare/transport/member_array.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

using fanfare::transport::MemberArray;

TEST(MemberArray, NeedsNoMemoryForOne) {
  int a = 0;
  MemberArray<int> members;
  static_assert(sizeof(members) == 16);
  EXPECT_EQ(members.size(), 0U);
  EXPECT_EQ(members.begin(), members.end());
  members.push_back(&a);
  EXPECT_EQ(members.capacity(), 1U);
  EXPECT_EQ(members[0], &a);
  EXPECT_EQ(members.holes(), 0U);
  members.leave(0);
  EXPECT_EQ(*members.begin(), nullptr);
  EXPECT_EQ(members.size(), 1U);
  EXPECT_EQ(members.holes(), 1U);
  members.compact([](int&, std::uint32_t) { FAIL(); });
  EXPECT_EQ(members.size(), 0U);
  EXPECT_EQ(members.holes(), 0U);
  members.push_back(&a);
  members.pop_back();
  EXPECT_EQ(members.size(), 0U);
  EXPECT_EQ(members.holes(), 0U);
  EXPECT_EQ(members.capacity(), 1U);
}

TEST(MemberArray, KeepsTheOrder) {
  std::array<int, 1000> all{};
  MemberArray<int> members;
  for (int& one : all) members.push_back(&one);
  EXPECT_EQ(members.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(members[i], &all[i]);
  members.pop_back();
  EXPECT_EQ(members.size(), all.size() - 1);
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (i != 3 && i != 400) members.leave(i);
  }
  EXPECT_EQ(members.holes(), all.size() - 3);
  std::vector<std::uint32_t> positions;
  members.compact([&](int& one, std::uint32_t position) {
    EXPECT_EQ(&one, positions.empty() ? &all[3] : &all[400]);
    positions.push_back(position);
  });
  EXPECT_EQ(positions, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(members.holes(), 0U);
  EXPECT_EQ(std::vector<int*>(members.begin(), members.end()), (std::vector<int*>{&all[3], &all[400]}));
  members.push_back(&all[7]);
  EXPECT_EQ(members[2], &all[7]);
  members.reset();
  EXPECT_EQ(members.size(), 0U);
  EXPECT_EQ(members.capacity(), 1U);
  members.push_back(&all[3]);
  EXPECT_EQ(members[0], &all[3]);
}

TEST(MemberArray, CountsItsHolesAsItGrows) {
  std::array<int, 100> all{};
  MemberArray<int> members;
  members.push_back(all.data());
  members.leave(0);
  for (std::size_t i = 1; i < all.size(); ++i) {
    members.push_back(&all[i]);
    EXPECT_EQ(members.holes(), (i - 1) / 9 + 1);
    if (i % 9 == 0) members.leave(i);
  }
  EXPECT_EQ(members.size(), all.size());
}

}  // namespace
