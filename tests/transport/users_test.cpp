#include <fanfare/transport/perform.hpp>

#include "support/heap.hpp"
#include "support/memory_clients.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
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

constexpr std::string_view watched = "pusher_internal:watchlist_events ";

std::string online(std::string_view id) {
  return std::string(watched).append(R"({"events":[{"name":"online","user_ids":[")").append(id).append("\"]}]}");
}
std::string offline(std::string_view id) {
  return std::string(watched).append(R"({"events":[{"name":"offline","user_ids":[")").append(id).append("\"]}]}");
}

/// One application on two loops, in one thread
class UsersTest : public testing::Test {
 protected:
  explicit UsersTest(const transport::FanoutLimits& limits = {}, AppOptions options = open_app())
      : app(*apps.add(telling(std::move(options)))),
        one(std::make_unique<MemoryTransport>(apps, limits)),
        two(std::make_unique<MemoryTransport>(apps)) {}

  AppOptions telling(AppOptions options) {
    options.on_event = [this](const AppEvent& event) { told.push_back(text_of(event)); };
    return options;
  }
  void run() {
    for (int i = 0; i < 2; ++i) {
      if (one != nullptr) one->run();
      if (two != nullptr) two->run();
    }
  }
  void sign_in(MemoryClient& client, const std::string& data) {
    client.sign_in(data);
    run();
    Said all = client.take();
    ASSERT_FALSE(all.empty());
    EXPECT_TRUE(all.front().starts_with("pusher:signin_success")) << all.front();
  }
  void tick(std::chrono::steady_clock::duration later) {
    app.tick(std::chrono::steady_clock::now() + later);
    run();
  }

  Said told;
  pusher::AppList apps;
  App& app;
  std::unique_ptr<MemoryTransport> one;
  std::unique_ptr<MemoryTransport> two;
};

TEST_F(UsersTest, EventsForAUserReachAllOfTheUsersConnections) {
  MemoryClient ada(*one);
  MemoryClient ada_too(*two);
  MemoryClient bob(*one);
  for (MemoryClient* const client : {&ada, &ada_too}) sign_in(*client, R"({"id":"ada"})");
  sign_in(bob, R"({"id":"bob"})");
  for (MemoryClient* const client : {&ada, &ada_too, &bob}) client->subscribe("#server-to-user-ada");
  run();
  EXPECT_EQ(ada.take(), Said{"pusher_internal:subscription_succeeded #server-to-user-ada {}"});
  EXPECT_EQ(ada_too.take().size(), 1U);
  EXPECT_TRUE(bob.take().front().starts_with("pusher:subscription_error #server-to-user-ada"));
  EXPECT_EQ(app.trigger("#server-to-user-ada", "e", "1").error, errc::ok);
  run();
  EXPECT_EQ(ada.take(), Said{"e #server-to-user-ada 1"});
  EXPECT_EQ(ada_too.take(), Said{"e #server-to-user-ada 1"});
  EXPECT_EQ(bob.take(), Said{});
}

TEST_F(UsersTest, WhoWatchesIsToldWhenAUserComesAndIsGone) {
  MemoryClient ada(*one);
  ada.sign_in(R"({"id":"ada","watchlist":["bob"]})");
  run();
  EXPECT_EQ(ada.take().back(), offline("bob"));
  MemoryClient bob(*two);
  MemoryClient bob_too(*one);
  sign_in(bob, R"({"id":"bob"})");
  EXPECT_EQ(ada.take(), Said{online("bob")});
  sign_in(bob_too, R"({"id":"bob"})");
  EXPECT_EQ(ada.take(), Said{});
  bob.close();
  run();
  tick(1h);
  EXPECT_EQ(ada.take(), Said{});  // there is another connection
  bob_too.close();
  run();
  tick(2s);
  EXPECT_EQ(ada.take(), Said{});
  EXPECT_TRUE(app.users().online("bob"));
  MemoryClient back(*two);
  sign_in(back, R"({"id":"bob"})");  // a page was reloaded
  tick(1h);
  EXPECT_EQ(ada.take(), Said{});
  back.close();
  run();
  tick(4s);
  EXPECT_EQ(ada.take(), Said{offline("bob")});
  EXPECT_FALSE(app.users().online("bob"));
}

TEST_F(UsersTest, WhatIsSaidLastOfWhomToWatchStands) {
  MemoryClient ada(*one);
  sign_in(ada, R"({"id":"ada","watchlist":["bob","eve"]})");
  sign_in(ada, R"({"id":"ada","watchlist":["eve","joe"]})");
  EXPECT_EQ(app.users().size(), 1U);
  ada.take();
  MemoryClient bob(*two);
  MemoryClient eve(*two);
  MemoryClient joe(*one);
  sign_in(bob, R"({"id":"bob"})");
  EXPECT_EQ(ada.take(), Said{});
  sign_in(eve, R"({"id":"eve"})");
  EXPECT_EQ(ada.take(), Said{online("eve")});
  sign_in(joe, R"({"id":"joe"})");
  EXPECT_EQ(ada.take(), Said{online("joe")});
  sign_in(ada, R"({"id":"ada"})");
  eve.close();
  run();
  tick(1h);
  EXPECT_EQ(ada.take(), Said{});
}

TEST_F(UsersTest, TerminatingClosesTheUsersConnectionsAndNobodyElses) {
  MemoryClient ada(*one);
  MemoryClient ada_too(*two);
  MemoryClient bob(*one);
  MemoryClient nobody(*two);
  for (MemoryClient* const client : {&ada, &ada_too}) sign_in(*client, R"({"id":"ada"})");
  sign_in(bob, R"({"id":"bob","watchlist":["ada"]})");
  nobody.subscribe("presence-room", user("ada"));  // present as ada, but not signed in
  run();
  nobody.take();
  app.terminate("ada");
  app.terminate("unknown");
  app.terminate("");
  run();
  for (MemoryClient* const client : {&ada, &ada_too}) {
    client->take();
    EXPECT_EQ(client->closed_with, 4009U);
    EXPECT_TRUE(client->end().closed());
  }
  for (MemoryClient* const client : {&bob, &nobody}) {
    EXPECT_EQ(client->take(), Said{});
    EXPECT_FALSE(client->end().closed());
  }
  EXPECT_EQ(app.connections(), 2U);
  tick(4s);
  EXPECT_EQ(bob.take(), Said{offline("ada")});
  app.terminate("ada");  // nobody's
  run();
  MemoryClient back(*one);
  sign_in(back, R"({"id":"ada"})");
  EXPECT_FALSE(back.end().closed());
}

TEST_F(UsersTest, ATriggerMayNotReachTheProtocolsOwnChannels) {
  MemoryClient ada(*one);
  sign_in(ada, R"({"id":"ada","watchlist":["ada"]})");
  for (const std::string_view channel : {"#user-ada", "#watch-ada"}) {
    EXPECT_EQ(app.trigger(channel, "e", "1").error, errc::reserved_name) << channel;
    EXPECT_EQ(app.trigger({channel}, "e", "1").error, errc::reserved_name) << channel;
    EXPECT_EQ(app.subscribe(channel).error(), errc::reserved_name) << channel;
    EXPECT_EQ(app.channel(channel).error(), errc::reserved_name) << channel;
    ada.subscribe(channel);
    ada.unsubscribe(channel);
    ada.trigger(channel, "client-e", "1");
  }
  run();
  const Said all = ada.take();
  EXPECT_EQ(all.size(), 6U);
  for (const std::string& what : all) EXPECT_EQ(what.find("succeeded"), std::string::npos) << what;
  EXPECT_FALSE(ada.end().closed());
  EXPECT_EQ(app.users().size(), 1U);
}

TEST_F(UsersTest, TheProtocolsOwnChannelsAreInNoListingAndNobodyIsToldOfThem) {
  {
    MemoryClient ada(*one);
    sign_in(ada, R"({"id":"ada","watchlist":["bob"]})");
    ada.subscribe("#server-to-user-ada");
    ada.subscribe("a");
    run();
    Said listed;
    const auto list = [&](std::string_view name, std::size_t) { listed.emplace_back(name); };
    EXPECT_EQ(app.for_each_channel(list), errc::ok);
    EXPECT_EQ(listed, Said{"a"});
    listed.clear();
    EXPECT_EQ(app.for_each_channel(list, "#"), errc::ok);
    EXPECT_EQ(listed, Said{});
    EXPECT_TRUE(app.occupied("#server-to-user-ada"));  // who asks by name knows it
    ada.close();
    one->advance({});
    one->advance({});
  }
  EXPECT_EQ(told, (Said{"occupied a", "vacated a"}));
  EXPECT_EQ(app.channels().stats().entries, 0U);
}

AppOptions few_channels() {
  AppOptions options = open_app();
  options.max_channels_per_connection = 2;
  options.max_watchlist = 50;
  return options;
}
class UsersLimits : public UsersTest {
 protected:
  UsersLimits() : UsersTest({}, few_channels()) {}
};

TEST_F(UsersLimits, TheProtocolsOwnChannelsDoNotCount) {
  MemoryClient ada(*one);
  std::string watchlist;
  for (int i = 0; i < 50; ++i) watchlist += (i == 0 ? "\"" : ",\"") + std::to_string(i) + '"';
  for (int i = 0; i < 3; ++i) sign_in(ada, R"({"id":"ada","watchlist":[)" + watchlist + "]}");
  ada.subscribe("a");
  ada.subscribe("b");
  ada.subscribe("c");
  run();
  const Said all = ada.take();
  ASSERT_EQ(all.size(), 3U);
  EXPECT_NE(all[1].find("succeeded"), std::string::npos);
  EXPECT_NE(all[2].find("LimitReached"), std::string::npos);
  sign_in(ada, R"({"id":"ada"})");
  ada.subscribe("c");
  run();
  EXPECT_NE(ada.take().front().find("LimitReached"), std::string::npos);
}

// ---- every way out

class UsersWaysOut : public UsersTest {
 protected:
  UsersWaysOut() : UsersTest({.outbox_bytes = 2000}) {}
};

TEST_F(UsersWaysOut, EachSignsOutOnce) {
  const auto all_gone = [&] {
    EXPECT_EQ(app.users().size(), 1U);  // for the time of grace
    tick(4s);
    EXPECT_EQ(app.users().size(), 0U);
  };
  {
    SCOPED_TRACE("it hangs up");
    MemoryClient ada(*one);
    sign_in(ada, R"({"id":"ada"})");
    sign_in(ada, R"({"id":"ada"})");  // twice is once
    ada.close();
    run();
    ada.close();
    run();
    all_gone();
  }
  {
    SCOPED_TRACE("terminated, twice");
    MemoryClient ada(*one);
    sign_in(ada, R"({"id":"ada"})");
    app.terminate("ada");
    app.terminate("ada");
    ada.close();
    run();
    all_gone();
  }
  {
    SCOPED_TRACE("it does not read");
    MemoryClient ada(*one);
    sign_in(ada, R"({"id":"ada"})");
    ada.subscribe("a");
    run();
    ada.take();
    ada.end().limit_window(100);
    for (int i = 0; i < 10; ++i) {
      app.trigger("a", "e", std::string(1000, '.'));
      run();
    }
    EXPECT_TRUE(ada.end().closed());
    all_gone();
  }
  {
    SCOPED_TRACE("it does not read and is terminated");
    MemoryClient ada(*one);
    sign_in(ada, R"({"id":"ada"})");
    ada.subscribe("a");
    run();
    ada.take();
    ada.end().limit_window(100);
    for (int i = 0; i < 5; ++i) app.trigger("a", "e", std::string(1000, '.'));
    app.terminate("ada");
    for (int i = 0; i < 5; ++i) app.trigger("a", "e", std::string(1000, '.'));
    run();
    EXPECT_TRUE(ada.end().closed());
    all_gone();
  }
  {
    SCOPED_TRACE("it is silent");
    MemoryClient ada(*one);
    sign_in(ada, R"({"id":"ada"})");
    one->advance(120s);
    one->advance(30s);
    EXPECT_TRUE(ada.end().closed());
    all_gone();
  }
  {
    SCOPED_TRACE("the loop ends");
    MemoryClient ada(*two);
    MemoryClient ada_too(*two);
    sign_in(ada, R"({"id":"ada"})");
    sign_in(ada_too, R"({"id":"ada"})");
    app.terminate("ada");
    two.reset();
    all_gone();
  }
  EXPECT_EQ(app.connections(), 0U);
  one.reset();
  app.channels().collect();
  EXPECT_EQ(app.channels().stats().entries, 0U);
}

TEST(UsersMemory, ExhaustedAnywhereNobodyStaysSignedIn) {
  pusher::AppList apps;
  AppOptions options = open_app();
  App& app = *apps.add(options);
  bool failed = true;
  for (std::size_t n = 0; failed; ++n) {
    ASSERT_LT(n, 2000U);
    {
      MemoryTransport transport(apps);
      MemoryClient ada(transport);
      ada.sign_in(R"({"id":"ada","watchlist":["bob","ada"]})");
      bool threw = false;
      Heap::fail_after(n);
      try {
        transport.run();
      } catch (const std::bad_alloc&) {
        threw = true;
      }
      failed = Heap::succeed() != 0;
      if (threw) {  // it is tried again
        ada.sign_in(R"({"id":"ada","watchlist":["bob","ada"]})");
        transport.run();
        EXPECT_EQ(app.users().size(), 1U) << n;
      }
    }
    app.tick(std::chrono::steady_clock::now() + 1h);
    EXPECT_EQ(app.users().size(), 0U) << n;
    app.channels().collect();
    EXPECT_EQ(app.channels().stats().entries, 0U) << n;
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
