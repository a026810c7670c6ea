#include <fanfare/transport/entrance.hpp>

#include <gtest/gtest.h>

#include <memory>

// What a loop makes of them is tested with the fan-out: see presence_test.cpp.
namespace {

using namespace fanfare;
using transport::JoinResult;
using transport::detail::Departure;
using transport::detail::Wish;

class EntranceTest : public testing::Test {
 protected:
  // \returns whether others are to be told.
  bool enter(Wish& wish, const char* user) {
    wish.app = &app;
    wish.entrance.channel = "presence-x";
    wish.member = std::make_shared<const Member>(Member{user, "null"});
    return wish.begin(&memory);
  }
  bool leave(const char* user) {
    const Member member{user, "null"};
    Departure departure;
    departure.app = &app;
    departure.channel = "presence-x";
    departure.member = &member;
    const bool last = departure.begin(&memory);
    EXPECT_TRUE(departure.done);
    return last;
  }

  App app{{.id = "1", .key = "k", .secret = "s", .max_presence_members = 2}};
  ChannelMemory memory{false, std::chrono::seconds(60)};
};

TEST_F(EntranceTest, FindsWhoIsThereItselfIncluded) {
  Wish ada;
  EXPECT_TRUE(enter(ada, "ada"));
  EXPECT_EQ(ada.result, JoinResult::pending);
  ASSERT_EQ(ada.entrance.members.size(), 1U);
  Wish again;
  EXPECT_FALSE(enter(again, "ada")) << "the user's second connection";
  Wish bob;
  EXPECT_TRUE(enter(bob, "bob"));
  EXPECT_EQ(bob.entrance.members.size(), 2U);
  EXPECT_FALSE(leave("ada"));
  EXPECT_TRUE(leave("ada")) << "the last one";
}

TEST_F(EntranceTest, HasABound) {
  Wish ada, bob, eve;
  enter(ada, "ada");
  enter(bob, "bob");
  EXPECT_FALSE(enter(eve, "eve"));
  EXPECT_EQ(eve.result, JoinResult::too_many_members);
  EXPECT_TRUE(leave("ada"));
  Wish later;
  EXPECT_TRUE(enter(later, "eve"));
}

}  // namespace
