#include <fanfare/transport/fanout.hpp>

#include "support/memory_clients.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using namespace std::chrono_literals;
using Said = MemoryClient::Said;

constexpr std::string_view hall = "presence-hall";

/// Two loops in one thread, and what is told of held events.
class HeldForClientsTest : public testing::Test {
 protected:
  explicit HeldForClientsTest(AppOptions options = open_app()) : app(*apps.add(telling(std::move(options)))) {}

  AppOptions telling(AppOptions options) {
    options.on_event = [this](const AppEvent& event) {
      if (event.kind == AppEvent::Kind::channel_occupied && when_occupied) when_occupied();
      if (event.kind == AppEvent::Kind::event_held) told.push_back(text_of(event));
    };
    return options;
  }
  void run() {
    for (int i = 0; i < 2; ++i) {
      one.run();
      two.run();
    }
  }
  static std::string succeeded(std::string_view channel, std::string_view data = "{}") {
    return "pusher_internal:subscription_succeeded " + std::string(channel) + ' ' + std::string(data);
  }

  Said told;
  std::function<void()> when_occupied;
  pusher::AppList apps;
  App& app;
  transport::MemoryTransport one{apps};
  transport::MemoryTransport two{apps};
};

TEST_F(HeldForClientsTest, AClientThatComesGetsItBehindItsSubscription) {
  EXPECT_TRUE(app.trigger_held("LOBBY_42", "PLAYER_JOIN", R"(["ann"])").held);
  MemoryClient ann(one);
  ann.subscribe("LOBBY_42");
  run();
  EXPECT_EQ(ann.take(), (Said{succeeded("LOBBY_42"), R"(PLAYER_JOIN LOBBY_42 ["ann"])"}));
  EXPECT_EQ(told, Said{"held LOBBY_42 PLAYER_JOIN sent"});
  MemoryClient bob(two);
  bob.subscribe("LOBBY_42");
  run();
  EXPECT_EQ(bob.take(), Said{succeeded("LOBBY_42")});
  EXPECT_EQ(ann.take(), Said{});
}

TEST_F(HeldForClientsTest, ClientsOfAllLoopsAreCounted) {
  EXPECT_TRUE(app.trigger_held("LOBBY_42", "START", {}, {.subscribers = 3}).held);
  MemoryClient ann(one);
  MemoryClient bob(two);
  MemoryClient cleo(one);
  ann.subscribe("LOBBY_42");
  bob.subscribe("LOBBY_42");
  run();
  EXPECT_EQ(ann.take(), Said{succeeded("LOBBY_42")});
  EXPECT_EQ(bob.take(), Said{succeeded("LOBBY_42")});
  cleo.subscribe("LOBBY_42");
  run();
  for (MemoryClient* const client : {&ann, &bob}) EXPECT_EQ(client->take(), Said{"START LOBBY_42 "});
  EXPECT_EQ(cleo.take(), (Said{succeeded("LOBBY_42"), "START LOBBY_42 "}));
}

TEST_F(HeldForClientsTest, ItWaitsForAUserOfAPresenceChannel) {
  EXPECT_TRUE(app.trigger_held(hall, "YOUR_TURN", "1", {.user = "bob"}).held);
  MemoryClient ann(one);
  ann.subscribe(hall, user("ann"));
  run();
  EXPECT_EQ(ann.take().size(), 1U);
  EXPECT_EQ(app.held(), 1U);
  MemoryClient bob(two);
  bob.subscribe(hall, user("bob"));
  run();
  EXPECT_EQ(ann.take(), (Said{R"(pusher_internal:member_added presence-hall {"user_id":"bob","user_info":null})",
                              "YOUR_TURN presence-hall 1"}));
  const Said all = bob.take();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_TRUE(all[0].starts_with("pusher_internal:subscription_succeeded presence-hall")) << all[0];
  EXPECT_EQ(all[1], "YOUR_TURN presence-hall 1");
}

TEST_F(HeldForClientsTest, NobodyIsAUserInAChannelWithoutMembers) {
  EXPECT_TRUE(app.trigger_held("LOBBY_42", "e", {}, {.user = "bob", .time = 1s}).held);
  MemoryClient bob(one);
  bob.sign_in(user("bob"));
  bob.subscribe("LOBBY_42");
  run();
  app.tick(std::chrono::steady_clock::now() + 2s);
  EXPECT_EQ(told, Said{"held LOBBY_42 e expired"});
}

TEST_F(HeldForClientsTest, AUsersOwnChannelIsWaitedForAsAnyOther) {
  EXPECT_TRUE(app.trigger_held("#server-to-user-bob", "invited", "7").held);
  MemoryClient bob(one);
  run();
  bob.take();
  bob.sign_in(R"({"id":"bob"})");
  bob.subscribe("#server-to-user-bob");  // as pusher-js does
  run();
  const Said all = bob.take();
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[1], succeeded("#server-to-user-bob"));
  EXPECT_EQ(all[2], "invited #server-to-user-bob 7");
}

// A client counts before it has its place in the order of a presence channel.
TEST_F(HeldForClientsTest, WhoIsOnTheWayIntoAChannelIsNotThereYet) {
  when_occupied = [this] { app.tick(); };
  EXPECT_TRUE(app.trigger_held(hall, "START", "1").held);
  MemoryClient ann(one);
  ann.subscribe(hall, user("ann"));
  run();
  Said all = ann.take();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1], "START presence-hall 1");
  EXPECT_EQ(told, Said{"held presence-hall START sent"});
}

TEST_F(HeldForClientsTest, AnEventThatIsHeldForWhoIsOnTheWayWaits) {
  when_occupied = [this] { EXPECT_TRUE(app.trigger_held(hall, "START", "1").held); };
  MemoryClient ann(one);
  ann.subscribe(hall, user("ann"));
  run();
  Said all = ann.take();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1], "START presence-hall 1");
}

TEST_F(HeldForClientsTest, WhoIsRefusedOnTheWayIsNotWaitedWith) {
  when_occupied = [this] { app.tick(); };
  EXPECT_TRUE(app.trigger_held(hall, "START", {}, {.subscribers = app.options().max_presence_members + 1}).held);
  std::vector<std::unique_ptr<MemoryClient>> clients;
  for (std::size_t i = 0; i <= app.options().max_presence_members; ++i) {
    clients.push_back(std::make_unique<MemoryClient>(i % 2 == 0 ? one : two));
    clients.back()->subscribe(hall, user("user" + std::to_string(i)));
    run();
  }
  EXPECT_EQ(app.subscribers(hall), app.options().max_presence_members);
  EXPECT_EQ(app.held(), 1U);
  EXPECT_TRUE(app.trigger_held(hall, "FULL", {}, {.subscribers = app.options().max_presence_members}));
  EXPECT_EQ(app.held(), 1U) << "nobody is on the way any more";
}

class HeldInOrderTest : public HeldForClientsTest {
 protected:
  HeldInOrderTest() : HeldForClientsTest(keeping()) {}
  static AppOptions keeping() {
    AppOptions options = open_app();
    options.channel_rules = {{.match = "CHAT_*", .history = HistoryRule{.count = 10}},
                             {.match = "LOBBY_*", .retain = true}};
    return options;
  }
};

TEST_F(HeldInOrderTest, ItComesBehindWhatTheChannelKeepsAndOnce) {
  app.trigger("CHAT_1", "message", "1");
  EXPECT_TRUE(app.trigger_held("CHAT_1", "message", "held").held);
  app.trigger("CHAT_1", "message", "2");
  MemoryClient ann(one);
  ann.subscribe("CHAT_1");
  run();
  Said all = ann.take();
  std::erase_if(all, [](const std::string& text) { return text.starts_with("pusher_internal:replayed"); });
  EXPECT_EQ(all, (Said{succeeded("CHAT_1"), "message CHAT_1 1", "message CHAT_1 2", "message CHAT_1 held"}));
  // It has become part of what the channel keeps when it went out.
  MemoryClient bob(two);
  bob.subscribe("CHAT_1");
  run();
  all = bob.take();
  std::erase_if(all, [](const std::string& text) { return text.starts_with("pusher_internal:replayed"); });
  EXPECT_EQ(all, (Said{succeeded("CHAT_1"), "message CHAT_1 1", "message CHAT_1 2", "message CHAT_1 held"}));
}

TEST_F(HeldInOrderTest, ItIsRetainedWhenItGoesOutAndNotBefore) {
  EXPECT_TRUE(app.trigger_held("LOBBY_1", "STATE", "1", {.subscribers = 2}).held);
  EXPECT_TRUE(app.retained("LOBBY_1").empty());
  MemoryClient ann(one);
  MemoryClient bob(one);
  ann.subscribe("LOBBY_1");
  bob.subscribe("LOBBY_1");
  run();
  EXPECT_EQ(app.retained("LOBBY_1").size(), 1U);
  for (MemoryClient* const client : {&ann, &bob}) {
    Said all = client->take();
    std::erase_if(all, [](const std::string& text) { return text.starts_with("pusher_internal:replayed"); });
    EXPECT_EQ(all, (Said{succeeded("LOBBY_1"), "STATE LOBBY_1 1"}));
  }
}

TEST_F(HeldInOrderTest, WhoWaitsForASnapshotGetsItBehindThat) {
  SnapshotReply waiting;
  ASSERT_EQ(app.on_subscribe("GAME_1", [&](const Subscriber&, SnapshotReply reply) { waiting = std::move(reply); }),
            RuleError::ok);
  EXPECT_TRUE(app.trigger_held("GAME_1", "MOVE", "held").held);
  MemoryClient ann(one);
  ann.subscribe("GAME_1");
  run();
  EXPECT_EQ(ann.take(), Said{});
  EXPECT_EQ(told, Said{"held GAME_1 MOVE sent"});
  Snapshot snapshot;
  snapshot.events.push_back({"BOARD", "b"});
  waiting.answer(snapshot);
  run();
  Said all = ann.take();
  std::erase_if(all, [](const std::string& text) { return text.starts_with("pusher_internal:replayed"); });
  EXPECT_EQ(all, (Said{succeeded("GAME_1"), "BOARD GAME_1 b", "MOVE GAME_1 held"}));
}

}  // namespace
