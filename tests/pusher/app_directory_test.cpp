#include <fanfare/pusher/app_directory.hpp>

#include <fanfare/app.hpp>

#include <string_view>

#include <gtest/gtest.h>

namespace {

using fanfare::App;
using fanfare::pusher::AppDirectory;
using fanfare::pusher::AppList;

// The least that is an AppDirectory.
struct OneApp {
  App* find_by_id(std::string_view id) { return id == app->id() ? app : nullptr; }
  App* find_by_key(std::string_view key) { return key == app->key() ? app : nullptr; }

  App* app;
};
static_assert(AppDirectory<OneApp>);
static_assert(AppDirectory<const AppList>, "finding changes nothing");

struct ByIdAlone {
  App* find_by_id(std::string_view id);
};
static_assert(!AppDirectory<ByIdAlone>);
struct ByValue {
  int find_by_id(std::string_view id);
  int find_by_key(std::string_view key);
};
static_assert(!AppDirectory<ByValue>);

TEST(AppList, finds_what_was_added) {
  AppList apps;
  EXPECT_EQ(apps.find_by_id("1"), nullptr);
  EXPECT_EQ(apps.find_by_key("one"), nullptr);
  App* const one = apps.add({.id = "1", .key = "one", .secret = "s"});
  App* const two = apps.add({.id = "2", .key = "two", .secret = "s"});
  ASSERT_NE(one, nullptr);
  ASSERT_NE(two, nullptr);
  EXPECT_EQ(apps.find_by_id("1"), one);
  EXPECT_EQ(apps.find_by_id("2"), two);
  EXPECT_EQ(apps.find_by_key("one"), one);
  EXPECT_EQ(apps.find_by_key("two"), two);
  EXPECT_EQ(apps.find_by_id("one"), nullptr) << "an id is no key";
  EXPECT_EQ(apps.find_by_key("1"), nullptr);
  EXPECT_EQ(apps.find_by_id(""), nullptr);
  EXPECT_EQ(apps.find_by_id({}), nullptr);
}

TEST(AppList, has_each_id_and_key_once) {
  AppList apps;
  App* const one = apps.add({.id = "1", .key = "one", .secret = "s"});
  EXPECT_EQ(apps.add({.id = "1", .key = "other", .secret = "s"}), nullptr);
  EXPECT_EQ(apps.add({.id = "3", .key = "one", .secret = "s"}), nullptr);
  EXPECT_EQ(apps.find_by_id("1"), one);
  EXPECT_EQ(apps.find_by_id("3"), nullptr);
  EXPECT_EQ(apps.find_by_key("other"), nullptr);
}

TEST(AppList, looks_at_all_keys_of_an_application) {
  AppList apps;
  App* const one = apps.add({.id = "1", .key = "one", .secret = "s", .more_keys = {{"uno", "t"}}});
  EXPECT_EQ(apps.find_by_key("one"), one);
  EXPECT_EQ(apps.find_by_key("uno"), one);
  EXPECT_EQ(apps.add({.id = "2", .key = "uno", .secret = "s"}), nullptr);
  EXPECT_EQ(apps.add({.id = "2", .key = "two", .secret = "s", .more_keys = {{"due", "s"}, {"one", "s"}}}), nullptr);
  EXPECT_EQ(apps.add({.id = "2", .key = "two", .secret = "s", .more_keys = {{"two", "s"}}}), nullptr);
  EXPECT_EQ(apps.add({.id = "2", .key = "two", .secret = "s", .more_keys = {{"due", "s"}, {"due", "t"}}}), nullptr);
  EXPECT_EQ(apps.find_by_key("due"), nullptr);
}

TEST(AppList, keeps_applications_where_they_are) {
  AppList apps;
  App* const one = apps.add({.id = "1", .key = "one", .secret = "s"});
  for (const char* id : {"2", "3", "4", "5", "6", "7", "8", "9"}) apps.add({.id = id, .key = id, .secret = "s"});
  EXPECT_EQ(apps.find_by_id("1"), one);
}

}  // namespace
