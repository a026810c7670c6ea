// What channels keep for those who come later, as clients see it.
#include <fanfare/transport/fanout.hpp>

#include "support/heap.hpp"
#include "support/memory_clients.hpp"
#include "support/resting_port.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using namespace std::chrono_literals;
using transport::MemoryTransport;
using Said = MemoryClient::Said;

AppOptions keeping(std::vector<ChannelRule> rules) {
  AppOptions options = open_app();
  options.channel_rules = std::move(rules);
  options.max_presence_members = 1000;
  return options;
}

/// Three kinds of channels: `retain-*`, `history-*`, and `both-*`; of the first 100 events at most.
AppOptions three_kinds() {
  return keeping({{.match = "retain-*", .retain = true},
                  {.match = "history-*", .history = HistoryRule{}},
                  {.match = "*both-*", .retain = true, .history = HistoryRule{.count = 3}},
                  {.match = "presence-long", .history = HistoryRule{.count = 10'000, .bytes = 16U << 20U}},
                  {.match = "long", .history = HistoryRule{.count = 10'000, .bytes = 16U << 20U}}});
}

class KeptTest : public testing::Test {
 protected:
  explicit KeptTest(AppOptions options = three_kinds()) : app(*apps.add(std::move(options))) {}

  /// What a new client is sent, without what says that it is in the channel.
  Said come(std::string_view channel, std::string_view since = {}) {
    MemoryClient client(loop);
    client.subscribe(channel, channel.starts_with("presence-") ? user("somebody") : "", since);
    Said said = client.run();
    client.close();
    loop.run();
    EXPECT_FALSE(said.empty());
    if (said.empty()) return said;
    EXPECT_TRUE(said.front().starts_with("pusher_internal:subscription_succeeded ")) << said.front();
    said.erase(said.begin());
    return said;
  }
  /// The frames that a new client is sent, as JSON.
  std::vector<boost::json::object> frames(std::string_view channel, std::string_view since = {}) {
    MemoryClient client(loop);
    client.subscribe(channel, {}, since);
    loop.run();
    std::vector<boost::json::object> all;
    for (const std::string& text : client.take_raw()) all.push_back(boost::json::parse(text).as_object());
    client.close();
    loop.run();
    return all;
  }
  std::string place(std::string_view channel) { return std::string(frames(channel).back().at("id").as_string()); }
  void trigger(std::string_view channel, std::string_view event, std::string_view data,
               Retain retain = Retain::by_rule) {
    EXPECT_TRUE(app.trigger(channel, event, data, {.retain = retain}));
  }
  static std::string replayed(std::string_view channel) {
    return "pusher_internal:replayed " + std::string(channel) + " {}";
  }

  pusher::AppList apps;
  App& app;
  MemoryTransport loop{apps};
};

TEST_F(KeptTest, ChannelsWithoutARuleKeepNothingAndShowNoIds) {
  trigger("plain", "e", "1");
  EXPECT_EQ(come("plain"), Said{});
  MemoryClient client(loop);
  client.subscribe("plain");
  loop.run();
  trigger("plain", "e", "2");
  loop.run();
  for (const std::string& text : client.take_raw()) EXPECT_EQ(text.find("\"id\""), std::string::npos) << text;
}

TEST_F(KeptTest, TheLatestEventOfEachNameIsRetained) {
  trigger("retain-1", "score", "1");
  trigger("retain-1", "name", "x");
  trigger("retain-1", "score", "2");
  EXPECT_EQ(come("retain-1"), (Said{"name retain-1 x", "score retain-1 2", replayed("retain-1")}));
}

TEST_F(KeptTest, ATriggerCanOverrideTheRule) {
  trigger("retain-1", "a", "1");
  trigger("retain-1", "a", "2", Retain::no);
  trigger("retain-1", "b", "1");
  trigger("retain-1", "b", "2", Retain::clear);
  trigger("history-1", "c", "1", Retain::yes);
  EXPECT_EQ(come("retain-1"), (Said{"a retain-1 1", replayed("retain-1")}));
  ASSERT_EQ(app.retained("history-1").size(), 1U);
  EXPECT_EQ(app.retained("history-1").front()->name(), "c");
}

TEST_F(KeptTest, WhatClientsSayIsNoState) {
  MemoryClient ada(loop);
  trigger("private-both-1", "e", "1");
  ada.subscribe("private-both-1");
  loop.run();
  ada.trigger("private-both-1", "client-e", "2");
  loop.run();
  EXPECT_EQ(app.retained("private-both-1").size(), 1U);
  EXPECT_EQ(come("private-both-1"),
            (Said{"e private-both-1 1", "client-e private-both-1 2", replayed("private-both-1")}));
}

TEST_F(KeptTest, AHistoryIsReplayedAndThenLiveEventsFollow) {
  trigger("history-1", "e", "1");
  MemoryClient client(loop);
  client.subscribe("history-1");
  trigger("history-1", "e", "2");
  loop.run();
  trigger("history-1", "e", "3");
  loop.run();
  Said said = client.take();
  said.erase(said.begin());
  EXPECT_EQ(said, (Said{"e history-1 1", "e history-1 2", replayed("history-1"), "e history-1 3"}));
}

TEST_F(KeptTest, AnEventComesOnceHistoryFirstThenWhatItNoLongerHolds) {
  trigger("both-1", "old", "1");
  trigger("both-1", "new", "2");
  trigger("both-1", "new", "3");
  trigger("both-1", "other", "4");
  trigger("both-1", "new", "5");
  EXPECT_EQ(come("both-1"),
            (Said{"new both-1 3", "other both-1 4", "new both-1 5", "old both-1 1", replayed("both-1")}));
}

TEST_F(KeptTest, TheCachedEventComesLastUnlessItHasComeAlready) {
  EXPECT_EQ(come("cache-both-1"), (Said{"pusher:cache_miss cache-both-1", replayed("cache-both-1")}));
  trigger("cache-both-1", "a", "1");
  EXPECT_EQ(come("cache-both-1"), (Said{"a cache-both-1 1", replayed("cache-both-1")}));
  trigger("cache-both-1", "a", "2");
  EXPECT_EQ(come("cache-both-1").size(), 3U);
}

TEST_F(KeptTest, ItOutlivesTheLastSubscriberForSomeTime) {
  trigger("history-1", "e", "1");
  EXPECT_EQ(come("history-1").size(), 2U);
  app.tick(std::chrono::steady_clock::now() + 599s);
  EXPECT_EQ(come("history-1").size(), 2U);
  app.tick(std::chrono::steady_clock::now() + 601s);
  EXPECT_EQ(come("history-1"), Said{replayed("history-1")});
  EXPECT_EQ(app.kept().bytes(), 0U);
}

TEST_F(KeptTest, IdsRideInFrames) {
  trigger("history-1", "e", "1");
  const auto all = frames("history-1");
  ASSERT_EQ(all.size(), 3U);
  EXPECT_FALSE(all[0].contains("resumed"));
  EXPECT_EQ(all[0].at("replays"), true);
  EXPECT_EQ(all[1].at("id"), all[2].at("id"));
  const auto id = event_id_from(std::string_view(all[1].at("id").as_string()));
  ASSERT_TRUE(id);
  EXPECT_EQ(id->number, 1U);
}

TEST_F(KeptTest, AChannelThatOutlivesItsApplicationLetsGoOfWhatItKeeps) {
  ChannelHandle handle;
  {
    App other{three_kinds()};
    handle = other.channel("both-1");
    EXPECT_TRUE(handle.trigger("e", "1"));
    EXPECT_EQ(other.retained("both-1").size(), 1U);
    EXPECT_NE(other.kept().bytes(), 0U);
  }
  EXPECT_EQ(handle.trigger("e", "2").error, errc::closed);
}

// ---- coming back

TEST_F(KeptTest, WhoComesBackIsSentWhatItMissed) {
  trigger("history-1", "e", "1");
  const std::string since = place("history-1");
  EXPECT_EQ(come("history-1", since), Said{replayed("history-1")});
  trigger("history-1", "e", "2");
  trigger("history-1", "e", "3");
  EXPECT_EQ(come("history-1", since), (Said{"e history-1 2", "e history-1 3", replayed("history-1")}));
  EXPECT_EQ(frames("history-1", since).front().at("resumed"), true);
}

TEST_F(KeptTest, WhoCannotBeToldWhatItMissedIsToldSoAndSentEverything) {
  trigger("both-1", "e", "1");
  const std::string since = place("both-1");
  for (int i = 0; i < 4; ++i) trigger("both-1", "e", "2");
  EXPECT_EQ(frames("both-1", since).front().at("resumed"), false);
  EXPECT_EQ(come("both-1", since).size(), 4U);
  for (const char* const nothing : {"x", "0-0", "1-00000000001", "zzzzzzzzzzzzz-00000000001"}) {
    EXPECT_EQ(frames("both-1", nothing).front().at("resumed"), false) << nothing;
  }
  EXPECT_EQ(come("long", "zzzzzzzzzzzz-00000000001"), Said{replayed("long")});
  for (int i = 0; i < 100; ++i) trigger("long", "e", std::string(1000, '.'));
  EXPECT_EQ(come("long", "zzzzzzzzzzzz-00000000001").back(), replayed("long")) << "that is no gap";
  EXPECT_EQ(frames("plain", since).front().at("resumed"), false) << "a channel that keeps nothing";
  EXPECT_FALSE(frames("plain", since).front().contains("replays"));
}

TEST_F(KeptTest, WithoutAHistoryNothingIsMissedOnlyWhereNothingCame) {
  trigger("retain-1", "e", "1");
  const std::string since = place("retain-1");
  EXPECT_EQ(frames("retain-1", since).front().at("resumed"), true);
  EXPECT_EQ(come("retain-1", since), Said{replayed("retain-1")});
  trigger("retain-1", "f", "2");
  EXPECT_EQ(frames("retain-1", since).front().at("resumed"), false);
  EXPECT_EQ(come("retain-1", since), (Said{"e retain-1 1", "f retain-1 2", replayed("retain-1")}));
}

TEST_F(KeptTest, ANewChannelHasAPlaceToComeBackTo) {
  const std::string since = place("history-new");
  MemoryClient stays(loop);
  stays.subscribe("history-new");
  loop.run();
  const std::string later = place("history-new");
  trigger("history-new", "e", "1");
  EXPECT_EQ(come("history-new", later), (Said{"e history-new 1", replayed("history-new")}));
  static_cast<void>(since);
}

// ---- long histories

/// Data with a number, of about a kilobyte.
std::string kilobyte(int number) { return std::to_string(number) + " " + std::string(1000, '.'); }
int number_of(const std::string& said) {
  const std::size_t at = said.find(' ', said.find(' ') + 1);
  return std::stoi(said.substr(at + 1));
}

TEST_F(KeptTest, ALongHistoryComesInPiecesWhileItGrows) {
  int last = 0;
  for (; last < 1000; ++last) trigger("long", "e", kilobyte(last));
  MemoryClient client(loop);
  client.end().limit_window(100'000);
  client.subscribe("long");
  std::vector<int> numbers;
  bool live = false;
  for (int round = 0; round < 2000 && numbers.size() < 2000; ++round) {
    if (last < 2000) trigger("long", "e", kilobyte(last++));
    loop.run();
    EXPECT_LE(client.end().unread(), 400'000U);
    for (const std::string& said : client.take()) {
      if (said.starts_with("e long ")) numbers.push_back(number_of(said));
      if (said == replayed("long")) live = true;
    }
  }
  EXPECT_TRUE(live);
  ASSERT_EQ(numbers.size(), 2000U);
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(numbers[static_cast<std::size_t>(i)], i);
}

TEST_F(KeptTest, WhoCatchesUpInAPresenceChannelMissesNobodyWhoCameOrWent) {
  for (int i = 0; i < 500; ++i) trigger("presence-long", "e", kilobyte(i));
  MemoryClient slow(loop);
  slow.end().limit_window(70'000);
  slow.subscribe("presence-long", user("slow"));
  loop.run();
  MemoryClient ada(loop);
  ada.subscribe("presence-long", user("ada"));
  loop.run();
  MemoryClient bob(loop);
  bob.subscribe("presence-long", user("bob"));
  loop.run();
  bob.close();
  loop.run();
  Said people;
  for (int round = 0; round < 100; ++round) {
    for (const std::string& said : slow.run()) {
      if (said.find("member_") != std::string::npos) people.push_back(said.substr(0, said.find("presence") - 1));
      if (said.find("subscription_succeeded") != std::string::npos) {
        EXPECT_NE(said.find(R"("ids":["slow"])"), std::string::npos) << said;
      }
    }
  }
  EXPECT_EQ(people,
            (Said{"pusher_internal:member_added", "pusher_internal:member_added", "pusher_internal:member_removed"}));
  ada.take();
  trigger("presence-long", "e", kilobyte(500));
  EXPECT_EQ(slow.run().size(), 1U);
}

TEST_F(KeptTest, WhoLeavesBeforeItHasCaughtUpIsSentNoMore) {
  for (int i = 0; i < 500; ++i) trigger("long", "e", kilobyte(i));
  MemoryClient client(loop);
  client.end().limit_window(70'000);
  client.subscribe("long");
  loop.run();
  client.unsubscribe("long");
  loop.run();
  client.end().limit_window(10'000'000);
  const std::size_t rest = client.run().size();
  EXPECT_LT(rest, 300U);
  trigger("long", "e", "x");
  EXPECT_EQ(client.run(), Said{});
  EXPECT_EQ(app.subscribers("long"), 0U);
  client.subscribe("long");
  EXPECT_EQ(client.run().size(), 503U);
}

TEST_F(KeptTest, WhoFallsBehindTheHistoryIsToldOfTheGap) {
  for (int i = 0; i < 500; ++i) trigger("long", "e", kilobyte(i));
  MemoryClient client(loop);
  client.end().limit_window(70'000);
  client.subscribe("long");
  loop.run();
  for (int i = 500; i < 11'000; ++i) trigger("long", "e", kilobyte(i));
  client.end().limit_window(100'000'000);
  const Said said = client.run();
  EXPECT_EQ(said.back(), R"(pusher_internal:replayed long {"gap":true})");
  EXPECT_EQ(number_of(said[said.size() - 2]), 10'999);
}

TEST(KeptMemory, WhoCatchesUpWhenMemoryIsExhaustedIsCountedOutInTheEnd) {
  bool failed = true;
  for (std::size_t n = 0; failed; ++n) {
    ASSERT_LT(n, 2000U);
    App app(three_kinds());
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(app.trigger("long", "e", kilobyte(i)));
    RestingPort port;
    RestingDoor door;
    transport::Fanout<RestingPort, transport::Peer> fanout(port, door, {});
    const auto turn = [&] {
      while (fanout.drain()) fanout.flush();
      fanout.flush();
    };
    Heap::fail_after(n, n % 2 == 0);
    static_cast<void>(fanout.join(app, "long", port.peers[0]));
    turn();
    failed = Heap::succeed() != 0;
    EXPECT_TRUE(failed || fanout.membership(app, "long", port.peers[0]));
    fanout.leave_all(port.peers[0]);
    turn();
    EXPECT_FALSE(app.occupied("long")) << n;
    fanout.tidy();
    EXPECT_EQ(fanout.channels(), 0U) << n;
    port.peers[0].backlog.reset();
    fanout.close();
    if (HasFailure()) return;
  }
}

}  // namespace
