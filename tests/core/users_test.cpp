#include <fanfare/core/users.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using Names = std::vector<std::string>;
constexpr Users::Clock::time_point start{100h};

TEST(Users, AUserIsThereWithTheFirstConnectionAndForAWhileAfterTheLast) {
  Users users;
  EXPECT_FALSE(users.online("ada"));
  EXPECT_TRUE(users.sign_in("ada"));
  EXPECT_FALSE(users.sign_in("ada"));
  EXPECT_TRUE(users.sign_in("bob"));
  EXPECT_EQ(users.size(), 2U);
  users.sign_out("ada", start);
  EXPECT_EQ(users.departed(start + 1h), Names{});  // there is another connection
  users.sign_out("ada", start);
  EXPECT_TRUE(users.online("ada"));
  EXPECT_EQ(users.departed(start + 3s - 1ns), Names{});
  EXPECT_TRUE(users.online("ada"));
  EXPECT_EQ(users.departed(start + 3s), Names{"ada"});
  EXPECT_FALSE(users.online("ada"));
  EXPECT_EQ(users.departed(start + 1h), Names{});  // once
  EXPECT_EQ(users.size(), 1U);
  EXPECT_TRUE(users.online("bob"));
}

TEST(Users, OneWhoIsBackInTimeIsNoNews) {
  Users users(10s);
  EXPECT_TRUE(users.sign_in("ada"));
  users.sign_out("ada", start);
  EXPECT_FALSE(users.sign_in("ada"));
  EXPECT_EQ(users.departed(start + 1h), Names{});
  users.sign_out("ada", start + 1h);
  EXPECT_EQ(users.departed(start + 1h + 10s), Names{"ada"});
  EXPECT_TRUE(users.sign_in("ada"));
}

TEST(Users, TheGraceBeginsWithTheLastDeparture) {
  Users users(10s);
  users.sign_in("ada");
  users.sign_out("ada", start);
  users.sign_in("ada");
  users.sign_out("ada", start + 8s);
  EXPECT_EQ(users.departed(start + 10s), Names{});
  EXPECT_TRUE(users.online("ada"));
  EXPECT_EQ(users.departed(start + 17s), Names{});
  EXPECT_EQ(users.departed(start + 18s), Names{"ada"});
}

TEST(Users, SeveralWhoHaveGoneAreToldInTheOrderOfTheirTime) {
  Users users(1s);
  for (const char* const name : {"a", "b", "c"}) users.sign_in(name);
  users.sign_out("b", start);
  users.sign_out("c", start + 1s);
  users.sign_out("a", start + 2s);
  EXPECT_EQ(users.departed(start + 2s), (Names{"b", "c"}));
  EXPECT_EQ(users.departed(start + 3s), Names{"a"});
  EXPECT_EQ(users.size(), 0U);
}

TEST(Users, WithoutAGraceTheyAreGoneAtOnce) {
  Users users(0s);
  users.sign_in("ada");
  users.sign_out("ada", start);
  EXPECT_EQ(users.departed(start), Names{"ada"});
}

TEST(Users, AnyBytesAreAName) {
  Users users;
  const std::string odd("a\0\"\xff", 4);
  EXPECT_TRUE(users.sign_in(odd));
  EXPECT_TRUE(users.online(odd));
  EXPECT_FALSE(users.online("a"));
  users.sign_out(odd, start);
  EXPECT_EQ(users.departed(start + 3s), Names{odd});
}

}  // namespace
}  // namespace fanfare::test
