#include <fanfare/transport/fanout.hpp>

#include "support/heap.hpp"
#include "support/memory_clients.hpp"
#include "support/resting_port.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using namespace std::chrono_literals;
using transport::MemoryTransport;
using Said = MemoryClient::Said;
using Ids = std::set<std::string>;

constexpr std::string_view succeeded = "pusher_internal:subscription_succeeded ";
constexpr std::string_view added = "pusher_internal:member_added ";
constexpr std::string_view removed = "pusher_internal:member_removed ";
constexpr std::string_view count = "pusher_internal:subscription_count ";
constexpr std::string_view room = "presence-room";

std::string operator+(std::string_view a, std::string_view b) { return std::string(a).append(b); }

/// One application on two loops, in one thread.
class PresenceTest : public testing::Test {
 protected:
  explicit PresenceTest(AppOptions options = open_app()) : app(*apps.add(telling(std::move(options)))) {}
  void TearDown() override { EXPECT_EQ(app.events_dropped(), 0U); }

  AppOptions telling(AppOptions options) {
    options.on_event = [this](const AppEvent& event) { told.push_back(text_of(event)); };
    return options;
  }
  /// Until nothing happens any more.
  void run() {
    for (int i = 0; i < 2; ++i) {
      one.run();
      two.run();
    }
  }
  void tidy() {
    run();
    one.advance({});
    two.advance({});
    run();
  }
  Said take_told() { return std::exchange(told, {}); }
  static Said drop_told(Said events, std::string_view prefix) {
    std::erase_if(events, [&](const std::string& event) { return !event.starts_with(prefix); });
    return events;
  }

  Said told;
  pusher::AppList apps;
  App& app;
  MemoryTransport one{apps};
  MemoryTransport two{apps};
};

// ---- presence

TEST_F(PresenceTest, TheFirstConnectionOfAUserIsAddedAndTheLastRemoved) {
  MemoryClient ada(one);
  ada.subscribe(room, user("ada", R"({"n":1})"));
  run();
  EXPECT_EQ(ada.take(), Said{succeeded + room + R"( {"presence":{"count":1,"ids":["ada"],"hash":{"ada":{"n":1}}}})"});

  MemoryClient bob(two);
  bob.subscribe(room, user("bob"));
  run();
  EXPECT_EQ(ada.take(), Said{added + room + R"( {"user_id":"bob","user_info":null})"});
  PresenceView view{std::string(room), "bob"};
  EXPECT_TRUE(view.apply(bob.take_raw()).empty());
  EXPECT_EQ(view.members(), (Ids{"ada", "bob"}));

  // Other connections of bob's, on either loop: nobody is told, and what the first one said stands.
  MemoryClient bob_again(one);
  MemoryClient bob_too(two);
  bob_again.subscribe(room, user("bob", "7"));
  bob_too.subscribe(room, user("bob", "8"));
  run();
  for (MemoryClient* const client : {&bob_again, &bob_too}) {
    const Said all = client->take();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_NE(all.front().find(R"("bob":null)"), std::string::npos) << all.front();
  }
  EXPECT_EQ(ada.take(), Said{});
  EXPECT_EQ(bob.take(), Said{});
  EXPECT_EQ(app.user_count(room), 2U);
  EXPECT_EQ(app.subscribers(room), 4U);

  bob.close();
  bob_again.unsubscribe(room);
  run();
  EXPECT_EQ(ada.take(), Said{});
  EXPECT_EQ(present(app, room), (Ids{"ada", "bob"}));
  bob_too.close();
  run();
  EXPECT_EQ(ada.take(), Said{removed + room + R"( {"user_id":"bob"})"});
  EXPECT_EQ(bob_again.take(), Said{});  // it is not in there any more
  EXPECT_EQ(present(app, room), Ids{"ada"});
  EXPECT_EQ(take_told(), (Said{"occupied presence-room", "added presence-room ada", "added presence-room bob",
                               "removed presence-room bob"}));
}

TEST_F(PresenceTest, WhoJoinsSeesExactlyTheEventsBehindTheSnapshot) {
  MemoryClient ada(one);
  ada.subscribe(room, user("ada"));
  run();
  ada.take();
  app.trigger(room, "e", "before");
  MemoryClient bob(two);
  bob.subscribe(room, user("bob"));
  app.trigger(room, "e", "before too");  // it has not been read yet
  run();
  app.trigger(room, "e", "behind");
  run();
  PresenceView view{std::string(room), "bob"};
  EXPECT_EQ(view.apply(bob.take_raw()), Said{"behind"});
  // In the same loop and the same turn.
  MemoryClient eve(one);
  app.trigger(room, "e", "before");
  eve.subscribe(room, user("eve"));
  one.run();
  app.trigger(room, "e", "behind");
  run();
  PresenceView eves{std::string(room), "eve"};
  EXPECT_EQ(eves.apply(eve.take_raw()), Said{"behind"});
  EXPECT_EQ(eves.members(), (Ids{"ada", "bob", "eve"}));
}

TEST_F(PresenceTest, ComesAndGoesInOneTurn) {
  MemoryClient ada(one);
  ada.subscribe(room, user("ada"));
  run();
  ada.take();
  MemoryClient bob(two);
  bob.subscribe(room, user("bob"));
  bob.unsubscribe(room);
  run();
  EXPECT_EQ(bob.take(), Said{});  // a later unsubscribe wins
  EXPECT_EQ(ada.take(),
            (Said{added + room + R"( {"user_id":"bob","user_info":null})", removed + room + R"( {"user_id":"bob"})"}));
  EXPECT_EQ(app.subscribers(room), 1U);
  // And comes again at once, as somebody else.
  bob.subscribe(room, user("bob"));
  bob.unsubscribe(room);
  bob.subscribe(room, user("eve"));
  bob.subscribe(room, user("eve"));  // once more than needed
  run();
  PresenceView view{std::string(room), "eve"};
  const std::vector<std::string> raw = bob.take_raw();
  ASSERT_EQ(raw.size(), 2U);
  EXPECT_NE(raw[0].find("Existing subscription"), std::string::npos);
  EXPECT_TRUE(view.apply(raw).empty());
  EXPECT_EQ(view.members(), (Ids{"ada", "eve"}));
  EXPECT_EQ(app.subscribers(room), 2U);
  app.trigger(room, "e", "1");
  run();
  EXPECT_EQ(bob.take(), Said{"e presence-room 1"});  // once
}

TEST_F(PresenceTest, HangsUpBeforeItHasEntered) {
  MemoryClient ada(one);
  ada.subscribe(room, user("ada"));
  ada.close();
  run();
  EXPECT_EQ(ada.take(), Said{});
  EXPECT_EQ(present(app, room), Ids{});
  EXPECT_FALSE(app.occupied(room));
  tidy();
  EXPECT_EQ(app.channels().stats().entries, 0U);
  EXPECT_EQ(take_told(), (Said{"occupied presence-room", "added presence-room ada", "removed presence-room ada",
                               "vacated presence-room"}));
}

TEST_F(PresenceTest, TheChannelIsLeftByTheLoopWhileAWishIsUnderWay) {
  // It vacates and is tidied; what is still in the mailbox belongs to an earlier life.
  for (int i = 0; i < 3; ++i) {
    MemoryClient ada(one);
    ada.subscribe(room, user("ada"));
    run();
    EXPECT_EQ(ada.take().size(), 1U);
    ada.unsubscribe(room);
    run();
    MemoryClient bob(one);
    bob.subscribe(room, user("bob"));
    bob.unsubscribe(room);
    tidy();
    bob.subscribe(room, user("bob"));
    tidy();
    EXPECT_EQ(bob.take().size(), 1U);
    app.trigger(room, "e", "1");
    run();
    EXPECT_EQ(bob.take(), Said{"e presence-room 1"});
    EXPECT_EQ(ada.take(), Said{});
    bob.close();
    ada.close();
    tidy();
    tidy();
    EXPECT_EQ(app.channels().stats().entries, 0U);
  }
}

TEST_F(PresenceTest, OneTransportEndsWithItsMembers) {
  MemoryClient ada(one);
  ada.subscribe(room, user("ada"));
  run();
  ada.take();
  {
    MemoryTransport third(apps);
    MemoryClient bob(third);
    MemoryClient eve(third);
    bob.subscribe(room, user("bob"));
    third.run();
    eve.subscribe(room, user("eve"));
  }
  run();
  PresenceView view{std::string(room), "ada"};
  EXPECT_EQ(ada.take(),
            (Said{added + room + R"( {"user_id":"bob","user_info":null})", removed + room + R"( {"user_id":"bob"})"}));
  EXPECT_EQ(present(app, room), Ids{"ada"});
  EXPECT_EQ(app.subscribers(room), 1U);
}

AppOptions few_members() {
  AppOptions options = open_app();
  options.max_presence_members = 2;
  options.limits.channels = 3;
  options.max_channels_per_connection = 2;
  return options;
}
class PresenceLimits : public PresenceTest {
 protected:
  PresenceLimits() : PresenceTest(few_members()) {}
};

TEST_F(PresenceLimits, OneTooManyIsRefusedAndLeavesNothingBehind) {
  MemoryClient ada(one);
  MemoryClient bob(two);
  ada.subscribe(room, user("ada"));
  bob.subscribe(room, user("bob"));
  run();
  ada.take();
  bob.take();
  take_told();
  for (MemoryTransport* const transport : {&one, &two}) {
    MemoryClient eve(*transport);
    eve.subscribe(room, user("eve"));
    run();
    const Said all = eve.take();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_TRUE(all.front().starts_with("pusher:subscription_error presence-room")) << all.front();
    EXPECT_NE(all.front().find(R"("status":4100)"), std::string::npos) << all.front();
    eve.trigger(room, "client-e", "1");
    app.trigger(room, "e", "1");
    run();
    EXPECT_EQ(eve.take().size(), 1U);  // she is not in there
    EXPECT_EQ(ada.take(), Said{"e presence-room 1"});
    EXPECT_EQ(bob.take(), Said{"e presence-room 1"});
    EXPECT_EQ(app.subscribers(room), 2U);
    EXPECT_EQ(present(app, room), (Ids{"ada", "bob"}));
    // Another connection of one who is there is welcome, and when there is room so is she.
    MemoryClient again(*transport);
    again.subscribe(room, user("ada"));
    run();
    EXPECT_TRUE(again.take().front().starts_with(succeeded));
    again.close();
    run();
  }
  EXPECT_EQ(take_told(), Said{});
  bob.unsubscribe(room);
  MemoryClient eve(two);
  eve.subscribe(room, user("eve"));
  run();
  EXPECT_EQ(eve.take().size(), 1U);
  EXPECT_EQ(present(app, room), (Ids{"ada", "eve"}));
}

TEST_F(PresenceLimits, ARefusedWishOfALoopsOwnDoesNotKeepTheChannel) {
  {
    const ChannelHandle a = app.channel("a");
    const ChannelHandle b = app.channel("b");
    const ChannelHandle c = app.channel("c");
    MemoryClient ada(one);
    ada.subscribe(room, user("ada"));
    run();
    EXPECT_NE(ada.take().front().find("ServerError"), std::string::npos);
  }
  EXPECT_EQ(app.channels().stats().entries, 0U);
  MemoryClient ada(one);
  for (const char* const name : {"presence-1", "presence-2", "presence-3"}) ada.subscribe(name, user("ada"));
  run();
  const Said all = ada.take();
  ASSERT_EQ(all.size(), 3U);
  EXPECT_NE(std::count_if(all.begin(), all.end(), [](const auto& text) { return text.find("4100") != text.npos; }), 0);
  ada.close();
  tidy();
  EXPECT_EQ(app.channels().stats().entries, 0U);
}

AppOptions numeric() {
  AppOptions options = open_app();
  options.preserve_user_id_type = true;
  return options;
}
class PresenceTypes : public PresenceTest {
 protected:
  PresenceTypes() : PresenceTest(numeric()) {}
};

TEST_F(PresenceTypes, WhoGoesIsWhoCame) {
  MemoryClient ada(one);
  MemoryClient as_number(one);
  MemoryClient as_text(two);
  ada.subscribe(room, user("ada"));
  run();
  as_number.subscribe(room, R"({"user_id":10})");
  run();
  as_text.subscribe(room, R"({"user_id":"10"})");
  run();
  as_number.close();
  as_text.close();
  run();
  ada.take();
  EXPECT_EQ(present(app, room), Ids{"ada"});
  as_text = MemoryClient(two);
  as_text.subscribe(room, R"({"user_id":10})");
  run();
  MemoryClient last(two);
  last.subscribe(room, R"({"user_id":"10"})");
  run();
  as_text.close();
  run();
  last.close();
  run();
  EXPECT_EQ(ada.take(),
            (Said{added + room + R"( {"user_id":10,"user_info":null})", removed + room + R"( {"user_id":10})"}));
}

// What anybody does at random, the views agree.
class PresenceModel : public testing::TestWithParam<unsigned> {};

TEST_P(PresenceModel, EveryViewIsRightAtEveryPoint) {
  std::mt19937 random(GetParam());
  pusher::AppList apps;
  AppOptions options = open_app();
  options.max_presence_members = 5;
  App& app = *apps.add(options);
  MemoryTransport loops[2]{MemoryTransport(apps), MemoryTransport(apps, {.turn_bytes = 300, .turn_events = 3})};
  struct One {
    std::optional<MemoryClient> client;
    std::string user;
    PresenceView view{std::string(room), ""};
    bool asked = false;
    int next = -1;
  };
  std::vector<One> all(12);
  int triggered = 0;
  const auto look = [&](One& one) {
    if (!one.client) return;
    for (const std::string& data : one.view.apply(one.client->take_raw())) {
      const int number = std::stoi(data);
      EXPECT_TRUE(one.next < 0 || number == one.next) << number;  // no gap and nothing twice
      one.next = number + 1;
    }
  };
  const auto settle = [&](One& one) {  // all that was asked for has happened
    for (int i = 0; i < 2; ++i) {
      for (MemoryTransport& loop : loops) loop.run();
    }
    look(one);
  };
  for (int step = 0; step < 1500; ++step) {
    One& one = all[random() % all.size()];
    switch (random() % 8) {
      case 0:
      case 1:
        if (!one.client) {
          one.client.emplace(loops[random() % 2]);
          one.user = std::to_string(random() % 7);
          one.asked = false;
        }
        if (!one.asked) {
          one.view = PresenceView(std::string(room), one.user);
          one.next = -1;
          one.client->subscribe(room, user(one.user));
          one.asked = true;
        }
        break;
      case 2:
        if (one.asked) {
          settle(one);
          one.asked = false;
          one.view.left();
          one.client->unsubscribe(room);
          settle(one);
        }
        break;
      case 3:
        if (one.client) {
          look(one);
          one.client->close();
          one.client.reset();
          one.asked = false;
        }
        break;
      case 4:
      case 5: app.trigger(room, "e", std::to_string(triggered++)); break;
      case 6: loops[random() % 2].run(); break;
      default: loops[random() % 2].advance({}); break;
    }
    if (one.view.refused()) {
      one.asked = false;
      one.view.left();
    }
    look(one);
  }
  for (int i = 0; i < 3; ++i) {
    for (MemoryTransport& loop : loops) loop.run();
  }
  std::size_t connections = 0;
  Ids users;
  for (One& one : all) {
    look(one);
    if (!one.client || !one.view.inside()) continue;
    ++connections;
    users.insert(one.user);
    EXPECT_EQ(one.view.members(), present(app, room));
    EXPECT_TRUE(one.next < 0 || one.next == triggered) << one.next;
  }
  EXPECT_EQ(present(app, room), users);
  EXPECT_EQ(app.subscribers(room), connections);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PresenceModel, testing::Range(0U, 12U));

// ---- cache

class CacheChannels : public PresenceTest, public testing::WithParamInterface<std::string_view> {
 protected:
  std::string succeeded_text(std::string_view id) const {
    if (!GetParam().starts_with("presence-")) return succeeded + GetParam() + " {}";
    return succeeded + GetParam() + R"( {"presence":{"count":1,"ids":[")" + id + R"("],"hash":{")" + id + "\":null}}}";
  }
};

TEST_P(CacheChannels, SucceededIsFollowedByTheLastEventOrAMiss) {
  const std::string channel(GetParam());
  MemoryClient ada(one);
  ada.subscribe(channel, user("ada"));
  run();
  EXPECT_EQ(ada.take(), (Said{succeeded_text("ada"), "pusher:cache_miss " + channel}));
  ada.unsubscribe(channel);
  MemoryClient bob(two);
  run();
  bob.subscribe(channel, user("bob"));
  run();
  EXPECT_EQ(bob.take(), (Said{succeeded_text("bob"), "pusher:cache_miss " + channel}));
  bob.unsubscribe(channel);
  run();
  EXPECT_EQ(drop_told(take_told(), "miss"), Said{"miss " + channel});  // both found the same nothing

  app.trigger(channel, "e", "1", {.except_socket = ada.id()});
  ada.subscribe(channel, user("ada"));
  run();
  EXPECT_EQ(ada.take(), (Said{succeeded_text("ada"), "e " + channel + " 1"}));
  app.trigger(channel, "e", "2");
  run();
  EXPECT_EQ(ada.take(), Said{"e " + channel + " 2"});
  ada.close();
  tidy();
  tidy();
  EXPECT_FALSE(app.occupied(channel));
  ASSERT_TRUE(app.cached(channel).has_value());  // it survives all of them
  EXPECT_EQ(app.cached(channel)->message->data(), "2");
  bob.subscribe(channel, user("bob"));
  run();
  EXPECT_EQ(bob.take(), (Said{succeeded_text("bob"), "e " + channel + " 2"}));
  bob.close();
  tidy();
  app.tick(std::chrono::steady_clock::now() + 1h);
  EXPECT_FALSE(app.cached(channel).has_value());
  EXPECT_EQ(app.channels().stats().entries, 0U);
}

INSTANTIATE_TEST_SUITE_P(Kinds, CacheChannels,
                         testing::Values("cache-a", "private-cache-a", "private-encrypted-cache-a", "presence-cache-a"),
                         [](const auto& test) {
                           std::string name(test.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_F(PresenceTest, TheCachedEventAndThoseBehindItComeOnceAndInOrder) {
  app.trigger("cache-a", "e", "1");
  MemoryClient ada(one);
  ada.subscribe("cache-a");
  one.run();
  EXPECT_EQ(ada.take(), (Said{succeeded + "cache-a {}", "e cache-a 1"}));
  app.trigger("cache-a", "e", "2");
  MemoryClient bob(one);
  bob.subscribe("cache-a");
  one.run();
  app.trigger("cache-a", "e", "3");
  one.run();
  EXPECT_EQ(ada.take(), (Said{"e cache-a 2", "e cache-a 3"}));
  EXPECT_EQ(bob.take(), (Said{succeeded + "cache-a {}", "e cache-a 2", "e cache-a 3"}));
}

TEST_F(PresenceTest, WhatClientsSayIsNotCached) {
  app.trigger("private-cache-a", "e", "1");
  MemoryClient ada(one);
  ada.subscribe("private-cache-a");
  run();
  ada.trigger("private-cache-a", "client-e", "2");
  run();
  EXPECT_EQ(app.cached("private-cache-a")->message->data(), "1");
  ada.take();
  // Nor that somebody has come.
  MemoryClient bob(two);
  ada.subscribe("presence-cache-a", user("ada"));
  bob.subscribe("presence-cache-a", user("bob"));
  run();
  EXPECT_FALSE(app.cached("presence-cache-a").has_value());
}

TEST_F(PresenceLimits, WhoIsRefusedHasMissedNothing) {
  MemoryClient ada(one);
  MemoryClient bob(two);
  MemoryClient eve(two);
  app.trigger("presence-cache-a", "e", "1");
  ada.subscribe("presence-cache-a", user("ada"));
  bob.subscribe("presence-cache-a", user("bob"));
  run();
  app.tick(std::chrono::steady_clock::now() + 1h);
  take_told();
  eve.subscribe("presence-cache-a", user("eve"));
  run();
  EXPECT_EQ(eve.take().size(), 1U);
  EXPECT_EQ(take_told(), Said{});
}

// ---- without anything that moves bytes

TEST(OrderedFanout, ARoomWithoutEventsDoesNotGrowAsClientsComeAndGo) {
  App app(open_app());
  RestingPort port;
  RestingDoor door;
  transport::Fanout<RestingPort, transport::Peer> fanout(port, door, {});
  auto& [stays, reloads] = port.peers;
  const auto ada = std::make_shared<const Member>(Member{"ada", "null"});
  for (const char* const channel : {"cache-a", "presence-a"}) {
    EXPECT_EQ(fanout.join(app, channel, stays, ada), transport::JoinResult::pending);
    EXPECT_FALSE(fanout.drain());
    fanout.flush();
    for (int i = 0; i < 10'000; ++i) {
      ASSERT_EQ(fanout.join(app, channel, reloads, ada), transport::JoinResult::pending);
      EXPECT_FALSE(fanout.membership(app, channel, reloads));
      ASSERT_FALSE(fanout.drain());
      fanout.flush();
      const auto place = fanout.membership(app, channel, reloads);
      ASSERT_TRUE(place);
      ASSERT_LT(place->position, 64U) << i;
      ASSERT_TRUE(fanout.leave(app, channel, reloads));
    }
  }
  fanout.leave_all(stays);
  fanout.close();
}

// ---- numbers of subscribers

AppOptions counting() {
  AppOptions options = open_app();
  options.subscription_count = true;
  options.limits.channels = 1000;
  return options;
}
class CountTest : public PresenceTest {
 protected:
  CountTest() : PresenceTest(counting()) {}
  static std::string text(std::string_view channel, std::size_t number) {
    return count + channel + " {\"subscription_count\":" + std::to_string(number) + '}';
  }
};

class CountChannels : public CountTest, public testing::WithParamInterface<std::string_view> {};

TEST_P(CountChannels, EveryChangeIsToldOnAllLoopsBehindSucceeded) {
  const std::string channel(GetParam());
  MemoryClient ada(one);
  ada.subscribe(channel);
  run();
  Said all = ada.take();
  ASSERT_GE(all.size(), 2U);
  EXPECT_EQ(all.front(), succeeded + channel + " {}");
  EXPECT_EQ(all.back(), text(channel, 1));
  MemoryClient bob(two);
  MemoryClient eve(two);
  bob.subscribe(channel);
  run();
  EXPECT_EQ(ada.take(), Said{text(channel, 2)});
  EXPECT_EQ(bob.take().back(), text(channel, 2));
  eve.subscribe(channel);
  run();
  for (MemoryClient* const client : {&ada, &bob, &eve}) EXPECT_EQ(client->take().back(), text(channel, 3));
  bob.unsubscribe(channel);
  run();
  EXPECT_EQ(bob.take(), Said{});
  EXPECT_EQ(ada.take(), Said{text(channel, 2)});
  EXPECT_EQ(eve.take(), Said{text(channel, 2)});
  eve.close();
  run();
  EXPECT_EQ(ada.take(), Said{text(channel, 1)});
  ada.close();
  run();
  EXPECT_EQ(drop_told(take_told(), "count"),
            (Said{"count " + channel + " 1", "count " + channel + " 2", "count " + channel + " 3",
                  "count " + channel + " 2", "count " + channel + " 1", "count " + channel + " 0"}));
}

INSTANTIATE_TEST_SUITE_P(Kinds, CountChannels, testing::Values("a", "private-a", "cache-a", "private-cache-a"),
                         [](const auto& test) {
                           std::string name(test.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_F(CountTest, SeveralChangesInATurnAreToldOnce) {
  MemoryClient ada(one);
  ada.subscribe("a");
  run();
  ada.take();
  std::vector<MemoryClient> many;
  for (int i = 0; i < 5; ++i) many.emplace_back(two).subscribe("a");
  two.run();
  one.run();
  EXPECT_EQ(ada.take(), Said{text("a", 6)});
}

TEST_F(CountTest, PresenceChannelsAndThoseOfUsersAreNotCounted) {
  MemoryClient ada(one);
  ada.sign_in(R"({"id":"ada","watchlist":["ada"]})");
  ada.subscribe(room, user("ada"));
  ada.subscribe("presence-cache-a", user("ada"));
  ada.subscribe("#server-to-user-ada");
  run();
  for (const std::string& what : ada.take()) EXPECT_FALSE(what.starts_with(count)) << what;
  EXPECT_EQ(drop_told(take_told(), "count"), Said{});
}

TEST_F(PresenceTest, WithoutTheOptionNothingIsCounted) {
  MemoryClient ada(one);
  for (const char* const channel : {"a", "cache-a"}) ada.subscribe(channel);
  run();
  ada.unsubscribe("a");
  run();
  for (const std::string& what : ada.take()) EXPECT_FALSE(what.starts_with(count)) << what;
  EXPECT_EQ(drop_told(take_told(), "count"), Said{});
}

TEST_F(CountTest, OfALargeChannelItIsToldNotMoreThanEveryFiveSeconds) {
  std::vector<MemoryClient> many;
  for (int i = 0; i < 100; ++i) many.emplace_back(i % 2 == 0 ? one : two).subscribe("a");
  run();
  MemoryClient& ada = many.front();
  EXPECT_EQ(ada.take().back(), text("a", 100));
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) {
    many.emplace_back(two).subscribe("a");
    run();
  }
  Said all = ada.take();
  EXPECT_TRUE(all.empty() || std::chrono::steady_clock::now() - begin > 4s);
  // When there are few again, at once.
  for (int i = 0; i < 20; ++i) many[many.size() - 1 - static_cast<std::size_t>(i)].close();
  run();
  EXPECT_EQ(ada.take().back(), text("a", 100));
  many.emplace_back(one).subscribe("a");
  // And the last number in the end.
  while (all.empty() || all.back() != text("a", 101)) {
    ASSERT_LT(std::chrono::steady_clock::now() - begin, 60s);
    std::this_thread::sleep_for(100ms);
    run();
    for (std::string& what : ada.take()) all.push_back(std::move(what));
  }
  EXPECT_LE(all.size(), 3U);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 5s);
}

TEST_F(CountTest, ANumberThatWaitsIsNotToldToTheNextChannelInItsPlace) {
  std::vector<MemoryClient> many;
  for (int i = 0; i < 120; ++i) many.emplace_back(one).subscribe("a");
  run();
  many.back().unsubscribe("a");
  run();  // it is too soon to tell
  one.advance(119s);
  MemoryClient ada(one);
  one.advance(1s);   // asks all of them
  one.advance(30s);  // nobody answers: all go, and the channel with them
  EXPECT_FALSE(app.occupied("a"));
  EXPECT_FALSE(ada.end().closed());
  ada.subscribe(room, user("ada"));
  run();
  ada.take_raw();
  ada.subscribe("b");
  run();
  EXPECT_EQ(ada.take(), (Said{succeeded + "b {}", text("b", 1)}));  // and what is large enough to wait is its own
}

// ---- client events

TEST_F(PresenceTest, AClientsEventReachesAllOthers) {
  MemoryClient ada(one);
  MemoryClient bob(one);
  MemoryClient eve(two);
  for (MemoryClient* const client : {&ada, &bob, &eve}) client->subscribe("private-a");
  ada.subscribe(room, user("ada"));
  bob.subscribe(room, user("bob"));
  run();
  for (MemoryClient* const client : {&ada, &bob, &eve}) client->take();
  take_told();
  ada.trigger("private-a", "client-e", "1");
  ada.trigger(room, "client-e", "2");
  run();
  EXPECT_EQ(ada.take(), Said{});
  EXPECT_EQ(bob.take(), (Said{"client-e private-a 1", "client-e presence-room 2(ada)"}));
  EXPECT_EQ(eve.take(), Said{"client-e private-a 1"});
  EXPECT_EQ(take_told(), (Said{"client private-a client-e 1()", "client presence-room client-e 2(ada)"}));
  eve.trigger(room, "client-e", "3");  // she is not in there
  eve.unsubscribe("private-a");
  eve.trigger("private-a", "client-e", "4");
  run();
  EXPECT_EQ(eve.take().size(), 2U);
  EXPECT_EQ(ada.take(), Said{});
  EXPECT_EQ(take_told(), Said{});
}

TEST_F(PresenceTest, AClientMaySpeakAsSoonAsItIsIn) {
  MemoryClient ada(one);
  MemoryClient bob(two);
  ada.subscribe(room, user("ada"));
  run();
  bob.subscribe(room, user("bob"));
  bob.trigger(room, "client-e", "too early");
  run();
  ada.take();
  const Said all = bob.take();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_NE(all.front().find("not subscribed"), std::string::npos);
  bob.trigger(room, "client-e", "1");
  run();
  EXPECT_EQ(ada.take(), Said{"client-e presence-room 1(bob)"});
}

TEST_F(PresenceTest, ManyAreTooMany) {
  MemoryClient ada(one);
  MemoryClient bob(two);
  for (MemoryClient* const client : {&ada, &bob}) client->subscribe("private-a");
  run();
  ada.take();
  bob.take();
  for (int i = 0; i < 11; ++i) ada.trigger("private-a", "client-e", std::to_string(i));
  run();
  const Said all = ada.take();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_NE(all.front().find("4301"), std::string::npos);
  EXPECT_EQ(bob.take().size(), 10U);
  one.advance(1s);
  ada.trigger("private-a", "client-e", "again");
  run();
  EXPECT_EQ(bob.take(), Said{"client-e private-a again"});
}

TEST(ClientEvents, TheHostDecides) {
  pusher::AppList apps;
  std::vector<ClientEvent> judged;
  Said told;
  std::string from;
  ClientEventVerdict verdict = ClientEventVerdict::relay;
  AppOptions options = open_app();
  options.on_event = [&](const AppEvent& event) { told.push_back(text_of(event)); };
  options.on_client_event = [&](const ClientEvent& event) {
    EXPECT_EQ(event.channel, "presence-a");
    EXPECT_EQ(event.event, "client-e");
    EXPECT_EQ(event.data, "1");
    EXPECT_EQ(event.user_id, "ada");
    EXPECT_EQ(event.socket_id, from);
    return verdict;
  };
  App& app = *apps.add(options);
  MemoryTransport transport(apps);
  MemoryClient ada(transport);
  MemoryClient bob(transport);
  from = ada.id();
  ada.subscribe("presence-a", user("ada"));
  bob.subscribe("presence-a", user("bob"));
  transport.run();
  ada.take();
  bob.take();
  told.clear();
  struct Case {
    ClientEventVerdict verdict;
    std::size_t bob_gets;
    std::size_t ada_is_told;
  };
  for (const Case& now : {Case{ClientEventVerdict::relay, 1, 0}, Case{ClientEventVerdict::drop, 0, 0},
                          Case{ClientEventVerdict::refuse, 0, 1}}) {
    verdict = now.verdict;
    ada.trigger("presence-a", "client-e", "1");
    transport.run();
    EXPECT_EQ(bob.take().size(), now.bob_gets);
    EXPECT_EQ(ada.take().size(), now.ada_is_told);
    EXPECT_EQ(std::exchange(told, {}).size(), now.bob_gets);
  }
  EXPECT_EQ(app.connections(), 2U);
}

// ---- memory

TEST(PresenceMemory, ComingAndGoingLeavesNothingBehind) {
  pusher::AppList apps;
  AppOptions options = open_app();
  options.subscription_count = true;
  App& app = *apps.add(options);
  std::size_t before = 0;
  for (int round = 0; round < 104; ++round) {
    if (round == 4) before = Heap::live();  // what is made once has been made
    {
      MemoryTransport transport(apps);
      for (int i = 0; i < 100; ++i) {
        MemoryClient client(transport);
        const std::string name = std::to_string(i % 7);
        if (i % 2 == 0) {
          client.sign_in(R"({"id":")" + name + R"(","watchlist":["0","9"]})");
          client.subscribe("#server-to-user-" + name);
        }
        int number = i;
        for (const char* const kind : {"x", "private-x", "presence-", "cache-", "private-cache-", "presence-cache-"}) {
          if (++number % 3 == 0) client.subscribe(kind + name, user(name));
        }
        client.subscribe("presence-all", user(name));
        if (i % 3 != 0) transport.run();
        if (i % 5 == 0) client.unsubscribe("presence-all");
        client.take_raw();
        client.close();
        transport.run();
        client.take_raw();
        if (i % 10 == 0) transport.advance({});
        if (i % 50 == 0) {
          app.trigger("cache-" + name, "e", "1");
          app.tick(std::chrono::steady_clock::now() + 1h);
        }
      }
      EXPECT_EQ(app.connections(), 0U);
    }
    app.tick(std::chrono::steady_clock::now() + 1h);
    app.channels().collect();
    EXPECT_EQ(app.channels().stats().entries, 0U);
    EXPECT_EQ(app.channels().size(), 0U);
    EXPECT_EQ(app.users().size(), 0U);
  }
  EXPECT_LE(Heap::live(), before + 8);
}

TEST(PresenceMemory, ExhaustedAnywhereTheRosterIsRightInTheEnd) {
  bool failed = true;
  for (std::size_t n = 0; failed; ++n) {
    ASSERT_LT(n, 2000U);
    pusher::AppList apps;
    App& app = *apps.add(open_app());
    {
      RestingPort port;
      RestingDoor door;
      transport::Fanout<RestingPort, transport::Peer> fanout(port, door, {});
      const auto members = [](const char* id) { return std::make_shared<const Member>(Member{id, "null"}); };
      const MemberPtr ada = members("ada");
      const MemberPtr bob = members("bob");
      const auto turn = [&] {
        while (fanout.drain()) fanout.flush();
        fanout.flush();
      };
      Heap::fail_after(n, n % 2 == 0);
      const auto first = fanout.join(app, "presence-cache-a", port.peers[0], ada);
      turn();
      const auto second = fanout.join(app, "presence-cache-a", port.peers[1], bob);
      const auto third = fanout.join(app, "cache-b", port.peers[1]);
      turn();
      static_cast<void>(fanout.leave(app, "presence-cache-a", port.peers[1]));
      turn();
      failed = Heap::succeed() != 0;
      EXPECT_EQ(app.user_count("presence-cache-a"), first == transport::JoinResult::pending ? 1U : 0U) << n;
      if (!failed) {
        EXPECT_EQ(second, transport::JoinResult::pending);
        EXPECT_EQ(third, transport::JoinResult::pending);
      }
      fanout.leave_all(port.peers[0]);
      fanout.leave_all(port.peers[1]);
      turn();
      EXPECT_EQ(app.user_count("presence-cache-a"), 0U) << n;
      EXPECT_FALSE(app.occupied("presence-cache-a")) << n;
      EXPECT_FALSE(app.occupied("cache-b")) << n;
      fanout.tidy();
      fanout.tidy();
      EXPECT_EQ(fanout.channels(), 0U) << n;
      for (transport::Peer& peer : port.peers) peer.backlog.reset();
      fanout.close();
    }
    app.channels().collect();
    EXPECT_EQ(app.channels().stats().entries, 0U) << n;
    if (HasFailure()) return;
  }
}

}  // namespace
