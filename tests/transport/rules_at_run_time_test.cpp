// Channels with connections begin to keep events, and cease to.
#include <fanfare/transport/fanout.hpp>

#include "support/memory_clients.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using transport::MemoryTransport;
using Said = MemoryClient::Said;

AppOptions options() {
  AppOptions all = open_app();
  all.max_presence_members = 100;
  return all;
}

/// The id that a frame shows; empty where it shows none.
std::string id_of(std::string_view text) {
  const boost::json::object frame = boost::json::parse({text.data(), text.size()}).as_object();
  const boost::json::value* const id = frame.if_contains("id");
  return id == nullptr ? std::string() : std::string(id->as_string());
}

class RulesAtRunTimeTest : public testing::Test {
 protected:
  void trigger(std::string_view channel, std::string_view data, Retain retain = Retain::by_rule) {
    EXPECT_TRUE(app.trigger(channel, "e", data, {.retain = retain}));
  }
  void keep(std::string_view match, std::size_t count = 10'000) {
    EXPECT_FALSE(app.set_channel_rules(
        {{.match = std::string(match), .history = HistoryRule{.count = count, .bytes = 16U << 20U}}}));
  }
  void keep_nothing() { EXPECT_FALSE(app.set_channel_rules({})); }
  /// What somebody is sent who comes back, and whether it is resumed.
  Said come_back(std::string_view channel, std::string_view since) {
    MemoryClient client = come(channel, since);
    Said all;
    for (const std::string& text : client.take_raw()) {
      all.push_back(all.empty() ? (text.find(R"("resumed":true)") != std::string::npos ? "resumed" : "anew")
                                : said(text));
    }
    client.close();
    loop.run();
    return all;
  }
  MemoryClient come(std::string_view channel, std::string_view since = {}) {
    MemoryClient client(loop);
    client.subscribe(channel, channel.starts_with("presence-") ? user("somebody") : "", since);
    loop.run();
    return client;
  }

  pusher::AppList apps;
  App& app = *apps.add(options());
  MemoryTransport loop{apps};
};

TEST_F(RulesAtRunTimeTest, MembersFromBeforeAndAfterGetEverythingOnce) {
  MemoryTransport other{apps};
  std::vector<MemoryClient> before;
  for (int i = 0; i < 9; ++i) before.push_back(come("a"));
  MemoryClient elsewhere(other);
  elsewhere.subscribe("a");
  other.run();
  EXPECT_EQ(elsewhere.take().size(), 1U);
  for (MemoryClient& client : before) EXPECT_EQ(client.take().size(), 1U);

  trigger("a", "1");  // still in the mailboxes
  keep("a");
  trigger("a", "2");
  MemoryClient after = come("a");
  other.run();
  EXPECT_EQ(after.take(),
            (Said{"pusher_internal:subscription_succeeded a {}", "e a 2", "pusher_internal:replayed a {}"}));
  const Said both{"e a 1", "e a 2"};
  for (MemoryClient& client : before) EXPECT_EQ(client.take(), both);
  EXPECT_EQ(elsewhere.take(), both);

  // Members of both kinds leave, so that the array is compacted under both.
  for (std::size_t i = 0; i < 6; ++i) before[i].close();
  MemoryClient third = come("a");
  third.take();
  after.unsubscribe("a");
  loop.run();
  for (const char* const data : {"3", "4"}) {
    trigger("a", data);
    trigger("b", data);
    loop.run();
  }
  other.run();
  const Said more{"e a 3", "e a 4"};
  for (std::size_t i = 6; i < before.size(); ++i) EXPECT_EQ(before[i].take(), more);
  EXPECT_EQ(elsewhere.take(), more);
  EXPECT_EQ(third.take(), more);
  EXPECT_EQ(after.take(), Said{});
  EXPECT_EQ(app.subscribers("a"), 5U);
  before[6].unsubscribe("a");
  third.close();
  loop.run();
  EXPECT_EQ(app.subscribers("a"), 3U);
}

TEST_F(RulesAtRunTimeTest, AMemberFromBeforeSeesIdsAndComesBackWithThem) {
  MemoryClient client = come("a");
  client.take();
  trigger("a", "1");
  loop.run();
  EXPECT_EQ(id_of(client.take_raw().at(0)), "");
  keep("a");
  trigger("a", "2");
  loop.run();
  const std::string seen = id_of(client.take_raw().at(0));
  ASSERT_NE(seen, "");
  client.close();
  loop.run();
  trigger("a", "3");
  EXPECT_EQ(come_back("a", seen), (Said{"resumed", "e a 3", "pusher_internal:replayed a {}"}));
  keep_nothing();
  trigger("a", "4");
  EXPECT_EQ(come_back("a", seen), Said{"anew"});
  MemoryClient without = come("a");
  without.take();
  trigger("a", "5");
  loop.run();
  EXPECT_EQ(id_of(without.take_raw().at(0)), "");
  keep("a");
  trigger("a", "6");
  EXPECT_EQ(come_back("a", seen), (Said{"anew", "e a 6", "pusher_internal:replayed a {}"}));
}

TEST_F(RulesAtRunTimeTest, WhoIsExcludedIsExcludedOnBothSides) {
  MemoryClient before = come("private-a");
  keep("private-a");
  MemoryClient after = come("private-a");
  before.take();
  after.take();
  before.trigger("private-a", "client-e", "1");
  after.trigger("private-a", "client-e", "2");
  loop.run();
  EXPECT_EQ(before.take(), Said{"client-e private-a 2"});
  EXPECT_EQ(after.take(), Said{"client-e private-a 1"});
}

TEST_F(RulesAtRunTimeTest, PresenceChannelsLoseAndGainTheirHistory) {
  MemoryClient ada(loop);
  ada.subscribe("presence-a", user("ada"));
  loop.run();
  keep("presence-*");
  trigger("presence-a", "1");
  MemoryClient bob(loop);
  bob.subscribe("presence-a", user("bob"));
  loop.run();
  const Said said = bob.take();
  ASSERT_EQ(said.size(), 3U);
  EXPECT_EQ(said[1], "e presence-a 1");
  keep_nothing();
  bob.close();
  loop.run();
  ada.take();
  MemoryClient eve(loop);
  eve.subscribe("presence-a", user("eve"));
  loop.run();
  EXPECT_EQ(eve.take().size(), 1U);
  EXPECT_EQ(ada.take(), Said{R"(pusher_internal:member_added presence-a {"user_id":"eve","user_info":null})"});
}

TEST_F(RulesAtRunTimeTest, WhoeverCatchesUpWhenTheRuleGoesIsToldOfAGapAndEnters) {
  for (const std::string channel : {"a", "presence-a"}) {
    keep("*a");
    for (int i = 0; i < 3000; ++i) trigger(channel, std::string(100, '.'));
    MemoryClient slow(loop);
    slow.end().limit_window(100'000);
    slow.subscribe(channel, channel == "a" ? "" : user("somebody"));
    loop.run();
    EXPECT_GT(slow.take().size(), 100U);
    keep_nothing();
    trigger(channel, "live");
    std::vector<std::string> texts;
    for (int i = 0; i < 100 && !slow.end().closed(); ++i) {
      loop.run();
      for (std::string& text : slow.take_raw()) texts.push_back(std::move(text));
    }
    if (channel != "a") {
      EXPECT_TRUE(slow.end().closed());  // nobody could tell it who is there
      continue;
    }
    ASSERT_FALSE(texts.empty());
    EXPECT_EQ(said(texts.back()), R"(pusher_internal:replayed a {"gap":true})");
    trigger(channel, "later");
    loop.run();
    EXPECT_EQ(slow.take(), Said{"e a later"});
    slow.close();
    loop.run();
  }
}

TEST_F(RulesAtRunTimeTest, AnEventIsRetainedInAPlainChannelWithMembers) {
  MemoryClient before = come("a");
  before.take();
  trigger("a", "1");
  trigger("a", "2", Retain::yes);
  trigger("a", "3");
  loop.run();
  EXPECT_EQ(before.take(), (Said{"e a 1", "e a 2", "e a 3"}));
  MemoryClient after = come("a");
  EXPECT_EQ(after.take(),
            (Said{"pusher_internal:subscription_succeeded a {}", "e a 2", "pusher_internal:replayed a {}"}));
  trigger("a", "4");
  loop.run();
  EXPECT_EQ(before.take(), Said{"e a 4"});
  EXPECT_EQ(after.take(), Said{"e a 4"});
}

TEST_F(RulesAtRunTimeTest, AnEventIsRetainedWhereNobodyIs) {
  trigger("a", "1", Retain::yes);
  app.tick();
  EXPECT_EQ(come("a").take(),
            (Said{"pusher_internal:subscription_succeeded a {}", "e a 1", "pusher_internal:replayed a {}"}));
}

TEST(RulesAtRunTimeCounts, NumbersOfSubscribersAreToldOnBothSides) {
  AppOptions counting = options();
  counting.subscription_count = true;
  pusher::AppList apps;
  App& app = *apps.add(std::move(counting));
  MemoryTransport loop(apps);
  MemoryClient before(loop);
  before.subscribe("a");
  loop.run();
  before.take();
  EXPECT_FALSE(app.set_channel_rules({{.match = "a", .history = HistoryRule{}}}));
  MemoryClient after(loop);
  after.subscribe("a");
  loop.run();
  const std::string two = R"(pusher_internal:subscription_count a {"subscription_count":2})";
  EXPECT_EQ(before.take(), Said{two});
  Said said = after.take();
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said.back(), two);
  after.close();
  loop.run();
  EXPECT_EQ(before.take(), Said{R"(pusher_internal:subscription_count a {"subscription_count":1})"});
}

TEST(RulesAtRunTimeLimits, ALimitThatIsLiftedRefusesNobody) {
  for (const std::string channel : {"a", "cache-a"}) {
    pusher::AppList apps;
    App& app = *apps.add(options());
    EXPECT_FALSE(app.set_channel_rules({{.match = "*a", .max_subscribers = 1}}));
    MemoryTransport loop(apps);
    MemoryClient first(loop);
    first.subscribe(channel);
    EXPECT_TRUE(first.run().front().starts_with("pusher_internal:subscription_succeeded"));
    MemoryClient second(loop);
    second.subscribe(channel);
    EXPECT_TRUE(second.run().front().starts_with("pusher:subscription_error"));
    EXPECT_FALSE(app.set_channel_rules({}));
    second.subscribe(channel);
    EXPECT_TRUE(second.run().front().starts_with("pusher_internal:subscription_succeeded")) << channel;
    EXPECT_EQ(app.subscribers(channel), 2U);
  }
}

TEST(RulesAtRunTimeLimits, WhoIsRefusedChangesNoNumberThatOthersAreTold) {
  AppOptions counting = options();
  counting.subscription_count = true;
  counting.channel_rules = {{.match = "*a", .max_subscribers = 2}};
  pusher::AppList apps;
  App& app = *apps.add(std::move(counting));
  MemoryTransport loop(apps);
  MemoryTransport elsewhere(apps);
  for (const std::string channel : {"a", "cache-a"}) {
    MemoryClient first(loop);
    MemoryClient second(loop);
    for (MemoryClient* const client : {&first, &second}) client->subscribe(channel);
    loop.run();
    EXPECT_EQ(first.take().back(), "pusher_internal:subscription_count " + channel + R"( {"subscription_count":2})");
    // In a loop that is in the channel, and in one that is not.
    for (MemoryTransport* const where : {&loop, &elsewhere}) {
      MemoryClient third(*where);
      for (int i = 0; i < 3; ++i) {
        third.subscribe(channel);
        where->run();
        EXPECT_EQ(third.take().size(), 1U);
        loop.run();
      }
      EXPECT_EQ(first.take(), Said{}) << channel;
    }
    EXPECT_EQ(app.subscribers(channel), 2U);
  }
}

}  // namespace
