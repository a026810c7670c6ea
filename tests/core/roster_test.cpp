#include <fanfare/core/roster.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace fanfare::test {
namespace {

MemberPtr member(std::string id, std::string info = "null") {
  return std::make_shared<const Member>(Member{std::move(id), std::move(info)});
}
std::vector<std::string> ids_of(const Roster& roster) {
  std::vector<std::string> ids;
  for (const MemberPtr& present : roster.members()) ids.push_back(present->user_id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST(Member, Compares) {
  EXPECT_EQ((Member{"1", "{}"}), (Member{"1", "{}"}));
  EXPECT_FALSE((Member{"1", "{}"}) == (Member{"1", "null"}));
  EXPECT_FALSE((Member{"1", "{}", true}) == (Member{"1", "{}", false}));
}

TEST(Roster, CountsAUserOnceAndKeepsWhatTheFirstConnectionSaid) {
  Roster roster;
  MemberPtr first = member("ada", R"({"n":1})");
  MemberPtr second = member("ada", R"({"n":2})");
  EXPECT_EQ(roster.enter(first, 10), Roster::Entry::first);
  EXPECT_EQ(roster.enter(second, 10), Roster::Entry::again);
  EXPECT_EQ(second, first);  // the same object
  EXPECT_EQ(roster.size(), 1U);
  EXPECT_FALSE(roster.leave("ada"));
  EXPECT_TRUE(roster.contains("ada"));
  ASSERT_EQ(roster.members().size(), 1U);
  EXPECT_EQ(roster.members().front()->user_info, R"({"n":1})");
  EXPECT_TRUE(roster.leave("ada"));
  EXPECT_FALSE(roster.contains("ada"));
  EXPECT_EQ(roster.size(), 0U);
  EXPECT_TRUE(roster.members().empty());
}

TEST(Roster, WhoComesBackMaySaySomethingElse) {
  Roster roster;
  MemberPtr one = member("ada", "1");
  roster.enter(one, 10);
  roster.leave("ada");
  MemberPtr other = member("ada", "2");
  EXPECT_EQ(roster.enter(other, 10), Roster::Entry::first);
  EXPECT_EQ(roster.members().front()->user_info, "2");
}

TEST(Roster, IsFullForNewUsersAlone) {
  Roster roster;
  MemberPtr ada = member("ada");
  MemberPtr bob = member("bob");
  MemberPtr eve = member("eve");
  EXPECT_EQ(roster.enter(ada, 2), Roster::Entry::first);
  EXPECT_EQ(roster.enter(bob, 2), Roster::Entry::first);
  const MemberPtr before = eve;
  EXPECT_EQ(roster.enter(eve, 2), Roster::Entry::full);
  EXPECT_EQ(eve, before);
  EXPECT_EQ(ids_of(roster), (std::vector<std::string>{"ada", "bob"}));
  MemberPtr again = member("bob");
  EXPECT_EQ(roster.enter(again, 2), Roster::Entry::again);
  roster.leave("ada");
  EXPECT_EQ(roster.enter(eve, 2), Roster::Entry::first);
  MemberPtr nobody = member("nobody");
  EXPECT_EQ(Roster{}.enter(nobody, 0), Roster::Entry::full);
}

TEST(Roster, MayBeLeftByTheNameOfTheOneWhoLeaves) {
  Roster roster;
  std::weak_ptr<const Member> watched;
  std::string_view name;
  {
    MemberPtr ada = member("a name that is too long to lie in the string itself");
    watched = ada;
    name = ada->user_id;
    roster.enter(ada, 10);
  }
  EXPECT_FALSE(watched.expired());  // the roster keeps it
  EXPECT_TRUE(roster.leave(name));
  EXPECT_TRUE(watched.expired());
}

TEST(Roster, AgreesWithASimpleModel) {
  std::mt19937 random(42);
  Roster roster;
  std::map<std::string, std::size_t> model;
  for (int i = 0; i < 20'000; ++i) {
    const std::string id = std::to_string(random() % 12);
    if (random() % 2 == 0) {
      MemberPtr one = member(id);
      const Roster::Entry entry = roster.enter(one, 8);
      if (model.contains(id)) {
        ASSERT_EQ(entry, Roster::Entry::again);
        ++model[id];
      } else if (model.size() == 8) {
        ASSERT_EQ(entry, Roster::Entry::full);
      } else {
        ASSERT_EQ(entry, Roster::Entry::first);
        model[id] = 1;
      }
    } else if (model.contains(id)) {
      const bool last = --model[id] == 0;
      ASSERT_EQ(roster.leave(id), last);
      if (last) model.erase(id);
    }
    ASSERT_EQ(roster.size(), model.size());
    ASSERT_EQ(roster.contains(id), model.contains(id));
  }
  std::vector<std::string> ids;
  for (const auto& [id, count] : model) ids.push_back(id);
  EXPECT_EQ(ids_of(roster), ids);
}

}  // namespace
}  // namespace fanfare::test
