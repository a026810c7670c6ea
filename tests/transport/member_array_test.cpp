#include <fanfare/transport/member_array.hpp>

#include <gtest/gtest.h>

#include <array>
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
  members[0] = nullptr;
  EXPECT_EQ(*members.begin(), nullptr);
}

TEST(MemberArray, KeepsTheOrder) {
  std::array<int, 1000> all{};
  MemberArray<int> members;
  for (int& one : all) members.push_back(&one);
  EXPECT_EQ(members.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(members[i], &all[i]);
  members.truncate(2);
  EXPECT_EQ(std::vector<int*>(members.begin(), members.end()), (std::vector<int*>{all.data(), &all[1]}));
  members.push_back(&all[7]);
  EXPECT_EQ(members[2], &all[7]);
  members.reset();
  EXPECT_EQ(members.size(), 0U);
  EXPECT_EQ(members.capacity(), 1U);
  members.push_back(&all[3]);
  EXPECT_EQ(members[0], &all[3]);
}

}  // namespace
