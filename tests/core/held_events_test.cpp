#include <fanfare/core/held_events.hpp>

#include <fanfare/app.hpp>

#include "support/print.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using Texts = std::vector<std::string>;

constexpr std::string_view lobby = "LOBBY_42";

AppOptions options() { return {.id = "1", .key = "key", .secret = "secret"}; }

class HeldEventsTest : public testing::Test {
 protected:
  explicit HeldEventsTest(AppOptions made = options()) : app(telling(std::move(made))) {}

  AppOptions telling(AppOptions made) {
    made.on_event = [this](const AppEvent& event) {
      if (event.kind != AppEvent::Kind::event_held) return;
      told.push_back(event.channel + ' ' + event.event + ' ' + std::string(to_string(event.outcome)));
    };
    return made;
  }
  /// Binds all events.
  auto listening() {
    return [this](Subscription& subscription) {
      subscription.bind_all(
          [this](const Event& event) { got.push_back(std::string(event.name()) + ' ' + std::string(event.data())); });
    };
  }
  /// Holds, and notes the outcome.
  HoldResult hold(std::string_view event, Hold wish = {}, const TriggerOptions& more = {}) {
    wish.told = [this, name = std::string(event)](HoldOutcome outcome, const TriggerResult& result) {
      outcomes.push_back(name + ' ' + std::string(to_string(outcome)) + ' ' + std::string(to_string(result.error)));
    };
    return app.trigger_held(lobby, event, "data", std::move(wish), more);
  }
  static auto after(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

  Texts got;
  Texts told;
  Texts outcomes;
  App app;
};

TEST_F(HeldEventsTest, WhoIsThereGetsItAtOnce) {
  const Subscription ann = app.subscribe(lobby, listening());
  const HoldResult result = hold("JOIN");
  EXPECT_TRUE(result);
  EXPECT_FALSE(result.held);
  EXPECT_EQ(result.result.delivered, 1U);
  EXPECT_EQ(got, Texts{"JOIN data"});
  EXPECT_EQ(outcomes, Texts{});
  EXPECT_EQ(told, Texts{});
  EXPECT_EQ(app.held(), 0U);
}

TEST_F(HeldEventsTest, WhoComesLaterGetsItBeforeSubscribeReturnsAndNobodyGetsItTwice) {
  EXPECT_TRUE(hold("JOIN").held);
  EXPECT_EQ(app.held(), 1U);
  EXPECT_FALSE(app.occupied(lobby));
  const Subscription ann = app.subscribe(lobby, listening());
  EXPECT_EQ(got, Texts{"JOIN data"});
  EXPECT_EQ(outcomes, Texts{"JOIN sent ok"});
  EXPECT_EQ(told, Texts{"LOBBY_42 JOIN sent"});
  EXPECT_EQ(app.held(), 0U);
  const Subscription bob = app.subscribe(lobby, listening());
  app.tick(after(1h));
  EXPECT_EQ(got.size(), 1U);
  EXPECT_EQ(outcomes.size(), 1U);
}

TEST_F(HeldEventsTest, ItWaitsForAsManyAsAreAskedFor) {
  EXPECT_TRUE(hold("START", {.subscribers = 3}).held);
  const Subscription ann = app.subscribe(lobby, listening());
  const PolledSubscription bob = app.subscribe(lobby, Inbox{});
  EXPECT_EQ(outcomes, Texts{});
  const Subscription cleo = app.subscribe(lobby, listening());
  EXPECT_EQ(got, (Texts{"START data", "START data"}));
  EXPECT_EQ(bob.size(), 1U);
}

TEST_F(HeldEventsTest, LaterEventsDoNotWait) {
  const Subscription ann = app.subscribe(lobby, listening());
  EXPECT_TRUE(hold("START", {.subscribers = 2}).held);
  app.trigger(lobby, "CHAT", "hello");
  EXPECT_EQ(got, Texts{"CHAT hello"});
  const PolledSubscription bob = app.subscribe(lobby, Inbox{});
  EXPECT_EQ(got, (Texts{"CHAT hello", "START data"}));
}

TEST_F(HeldEventsTest, TheyGoOutInTheOrderInWhichTheyWereHeld) {
  for (const std::string_view event : {"1", "2", "3"}) EXPECT_TRUE(hold(event).held);
  const Subscription ann = app.subscribe(lobby, listening());
  EXPECT_EQ(got, (Texts{"1 data", "2 data", "3 data"}));
}

TEST_F(HeldEventsTest, OthersChannelsAreNotItsBusiness) {
  EXPECT_TRUE(hold("JOIN").held);
  const Subscription ann = app.subscribe("LOBBY_43", listening());
  EXPECT_EQ(got, Texts{});
  EXPECT_EQ(app.held(), 1U);
}

TEST_F(HeldEventsTest, WhenTheTimeIsUpNobodyGetsIt) {
  EXPECT_TRUE(hold("JOIN", {.time = 2s}).held);
  app.tick(after(1s));
  EXPECT_EQ(outcomes, Texts{});
  app.tick(after(3s));
  EXPECT_EQ(outcomes, Texts{"JOIN expired ok"});
  EXPECT_EQ(told, Texts{"LOBBY_42 JOIN expired"});
  const Subscription ann = app.subscribe(lobby, listening());
  EXPECT_EQ(got, Texts{});
  EXPECT_EQ(app.channels().stats().entries, 1U);  // ann's alone
}

TEST_F(HeldEventsTest, AnHourIsTheLongest) {
  EXPECT_TRUE(hold("JOIN", {.time = std::chrono::hours(48)}).held);
  app.tick(after(59min));
  EXPECT_EQ(app.held(), 1U);
  app.tick(after(61min));
  EXPECT_EQ(outcomes, Texts{"JOIN expired ok"});
}

TEST_F(HeldEventsTest, WhoComesByAnotherDoorIsNoticedByTheNextTick) {
  EXPECT_TRUE(hold("JOIN").held);
  const Subscription ann = app.channels().subscribe(lobby, listening());
  EXPECT_EQ(got, Texts{});
  app.tick();
  EXPECT_EQ(got, Texts{"JOIN data"});
}

TEST_F(HeldEventsTest, WhoBindsLaterHasTimeToDoSo) {
  EXPECT_TRUE(hold("JOIN").held);
  Subscription ann = app.subscribe(lobby);
  ann.bind("JOIN", [this](const Event& event) { got.emplace_back(event.name()); });
  app.tick();
  EXPECT_EQ(got, Texts{"JOIN"});
}

TEST_F(HeldEventsTest, WhatATriggerSaysOfAnEventHoldsWhenItGoesOut) {
  const Subscription ann = app.subscribe(lobby, listening());
  EXPECT_TRUE(hold("JOIN", {.subscribers = 2}, {.except = ann, .user_id = "cleo", .socket_id = "1.2"}).held);
  Texts seen;
  const Subscription bob = app.subscribe(lobby, [&](Subscription& subscription) {
    subscription.bind("JOIN", [&](const Event& event) {
      seen.push_back(std::string(event.user_id()) + ' ' + std::string(event.socket_id()));
    });
  });
  EXPECT_EQ(got, Texts{});
  EXPECT_EQ(seen, Texts{"cleo 1.2"});
}

TEST_F(HeldEventsTest, WhatIsWrongWithAnEventIsSaidAtOnce) {
  const Limits limits;
  EXPECT_EQ(app.trigger_held("no spaces", "e", {}).result.error, errc::bad_character);
  EXPECT_EQ(app.trigger_held("#mine", "e", {}).result.error, errc::reserved_name);
  EXPECT_EQ(app.trigger_held(lobby, "", {}).result.error, errc::empty_name);
  EXPECT_EQ(app.trigger_held(lobby, "pusher:e", {}).result.error, errc::reserved_name);
  EXPECT_EQ(app.trigger_held(lobby, std::string(limits.event_name + 1, 'e'), {}).result.error, errc::event_too_long);
  EXPECT_EQ(app.trigger_held(lobby, "e", std::string(app.options().limits.data + 1, 'd')).result.error,
            errc::data_too_large);
  EXPECT_EQ(app.held(), 0U);
  EXPECT_EQ(app.channels().stats().entries, 0U);
}

TEST_F(HeldEventsTest, WhatCallbacksThrowStaysInsideAndTheOthersGetIt) {
  EXPECT_TRUE(hold("JOIN", {.subscribers = 2}).held);
  const Subscription ann = app.subscribe(lobby, [](Subscription& subscription) {
    subscription.bind_all([](const Event&) { throw std::runtime_error("ann"); });
  });
  const Subscription bob = app.subscribe(lobby, listening());
  EXPECT_EQ(got, Texts{"JOIN data"});
  EXPECT_EQ(outcomes, Texts{"JOIN sent ok"});
}

TEST_F(HeldEventsTest, ACallbackMaySubscribeAndHold) {
  std::vector<Subscription> more;
  EXPECT_TRUE(hold("1").held);
  EXPECT_TRUE(hold("2", {.subscribers = 2}).held);
  const Subscription ann = app.subscribe(lobby, [&](Subscription& subscription) {
    subscription.bind("1", [&](const Event&) {
      more.push_back(app.subscribe(lobby, listening()));
      EXPECT_TRUE(hold("3", {.subscribers = 3}).held);
    });
  });
  EXPECT_EQ(got, Texts{"2 data"});
  EXPECT_EQ(app.held(), 1U);
}

TEST_F(HeldEventsTest, AnApplicationThatEndsSaysSo) {
  Texts ended;
  {
    App short_lived(options());
    EXPECT_TRUE(short_lived
                    .trigger_held(lobby, "JOIN", {},
                                  {.told =
                                       [&](HoldOutcome outcome, const TriggerResult& result) {
                                         ended.push_back(std::string(to_string(outcome)) + ' ' +
                                                         std::string(to_string(result.error)));
                                       }})
                    .held);
  }
  EXPECT_EQ(ended, Texts{"closed closed"});
}

TEST_F(HeldEventsTest, NothingIsHeldByAnApplicationThatEnds) {
  std::vector<errc> again;
  {
    App short_lived(options());
    Hold wish;
    wish.told = [&](HoldOutcome, const TriggerResult&) {
      again.push_back(short_lived.trigger_held(lobby, "JOIN", {}).result.error);
    };
    EXPECT_TRUE(short_lived.trigger_held(lobby, "JOIN", {}, wish).held);
  }
  EXPECT_EQ(again, std::vector{errc::closed});
}

TEST_F(HeldEventsTest, ATimeBelowZeroIsOver) {
  EXPECT_TRUE(hold("JOIN", {.time = std::chrono::milliseconds::min()}).held);
  app.tick();
  EXPECT_EQ(outcomes, Texts{"JOIN expired ok"});
}

TEST_F(HeldEventsTest, TriggersThatAreOverloadedAreTriedAgain) {
  struct Full {
    bool* full;
    std::size_t* pushed;
    bool push(const MessagePtr&) noexcept {
      ++*pushed;
      return true;
    }
    [[nodiscard]] bool has_room(std::size_t) const noexcept { return !*full; }
  };
  bool full = true;
  std::size_t pushed = 0;
  EXPECT_TRUE(hold("JOIN", {.time = 2s}).held);
  const Subscription sink = app.channels().attach(lobby, Full{&full, &pushed});
  app.tick();
  EXPECT_EQ(app.held(), 1U);
  full = false;
  app.tick();
  EXPECT_EQ(pushed, 1U);
  EXPECT_EQ(outcomes, Texts{"JOIN sent ok"});

  full = true;
  EXPECT_TRUE(hold("LATE", {.subscribers = 2, .time = 2s}).held);
  const Subscription another = app.channels().attach(lobby, Full{&full, &pushed});
  app.tick(after(3s));
  EXPECT_EQ(outcomes.back(), "LATE refused overloaded");
}

class BoundedHeldEventsTest : public HeldEventsTest {
 protected:
  BoundedHeldEventsTest() : HeldEventsTest(bounded()) {}
  static AppOptions bounded() {
    AppOptions made = options();
    made.held = {.events = 2, .bytes = 2000};
    made.limits.data = 4000;
    return made;
  }
};

TEST_F(BoundedHeldEventsTest, ThereIsRoomForSoManyAndSoMuch) {
  EXPECT_EQ(app.trigger_held(lobby, "large", std::string(1900, 'd')).result.error, errc::overloaded);
  EXPECT_TRUE(hold("1").held);
  EXPECT_TRUE(hold("2").held);
  EXPECT_EQ(hold("3").result.error, errc::overloaded);
  const Subscription ann = app.subscribe(lobby, listening());
  EXPECT_EQ(got, (Texts{"1 data", "2 data"}));
  EXPECT_TRUE(app.trigger_held("LOBBY_43", "large", std::string(1600, 'd')).held);  // the room is there again
}

}  // namespace
}  // namespace fanfare::test
