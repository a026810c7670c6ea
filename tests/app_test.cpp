#include <fanfare/app.hpp>

#include "support/print.hpp"
#include "support/sinks.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

AppOptions options() {
  AppOptions options;
  options.id = "7";
  options.key = "278d425bdf160c739803";
  options.secret = "7ad3773142a6692b25b8";
  return options;
}

TEST(App, SaysWhatItIsMadeOf) {
  AppOptions mine = options();
  mine.max_connections = 5;
  mine.activity_timeout = std::chrono::seconds{10};
  const App app{mine};
  EXPECT_EQ(app.id(), "7");
  EXPECT_EQ(app.key(), "278d425bdf160c739803");
  EXPECT_EQ(app.options().secret, "7ad3773142a6692b25b8");
  EXPECT_EQ(app.options().max_connections, 5U);
  EXPECT_EQ(app.options().activity_timeout.count(), 10);
  EXPECT_EQ(app.channels().error(), errc::ok);
  static_assert(!std::is_copy_constructible_v<App> && !std::is_move_constructible_v<App>);
}

TEST(App, DefaultsAreThoseOfHostedPusher) {
  const AppOptions defaults;
  EXPECT_TRUE(defaults.enabled);
  EXPECT_EQ(defaults.max_connections, 0U);
  EXPECT_EQ(defaults.activity_timeout.count(), 120);
  EXPECT_EQ(defaults.pong_timeout.count(), 30);
  EXPECT_EQ(defaults.limits.data, 10'240U);
  EXPECT_EQ(defaults.limits.event_name, 200U);
  EXPECT_EQ(defaults.limits.channel_name, 164U);
  EXPECT_EQ(defaults.limits.channels_per_trigger, 100U);
}

TEST(App, KnowsTheSecretsOfItsKeysAlone) {
  const App app{options()};
  const std::string* const secret = app.secret_of("278d425bdf160c739803");
  ASSERT_NE(secret, nullptr);
  EXPECT_EQ(*secret, "7ad3773142a6692b25b8");
  for (const std::string_view other :
       {"", "7", "278d425bdf160c73980", "278d425bdf160c7398033", "278D425BDF160C739803"}) {
    EXPECT_EQ(app.secret_of(other), nullptr) << other;
  }
}

TEST(AppKey, Compares) {
  const AppKey key{"key", "secret"};
  EXPECT_EQ(key, (AppKey{"key", "secret"}));
  EXPECT_FALSE(key == (AppKey{"key", "other"}));
  EXPECT_FALSE(key == (AppKey{"other", "secret"}));
}

TEST(App, TriggersReachSubscribersOfEveryKind) {
  App app{options()};
  Recorder recorder;
  Subscription plain = app.subscribe("lobby");
  plain.bind("e", recorder.callback("plain"));
  const Subscription set_up =
      app.subscribe("lobby", [&](Subscription& subscription) { subscription.bind_all(recorder.callback("all")); });
  PolledSubscription inbox = app.subscribe("lobby", Inbox{8});
  const ChannelHandle handle = app.channel("lobby");

  EXPECT_EQ(app.trigger("lobby", "e", "1").delivered, 3U);
  EXPECT_EQ(app.trigger("lobby", "e").delivered, 3U);
  EXPECT_EQ(app.trigger("lobby", "e", "2", {.except = plain}).delivered, 2U);
  EXPECT_EQ(app.trigger({"lobby", "nobody"}, "e", "3").delivered, 3U);
  EXPECT_EQ(app.trigger({"lobby"}, "e", "4", {.except = inbox}).delivered, 2U);
  const std::vector<std::string_view> names{"nobody", "lobby"};
  EXPECT_EQ(app.trigger(std::span<const std::string_view>{names}, "e", "5").delivered, 3U);
  EXPECT_EQ(handle.trigger("e", "6").delivered, 3U);

  Strings polled;
  inbox.poll([&](const Event& event) { polled.push_back(text_of(event)); });
  EXPECT_EQ(polled, (Strings{"e=1", "e=", "e=2", "e=3", "e=5", "e=6"}));
  EXPECT_EQ(std::count(recorder.seen.begin(), recorder.seen.end(), "plain:e=4"), 1);
  EXPECT_EQ(std::count(recorder.seen.begin(), recorder.seen.end(), "plain:e=2"), 0);
  EXPECT_EQ(recorder.seen.size(), 6U + 7U);
}

TEST(App, EncodesFramesForThoseBehindSockets) {
  App app{options()};
  WireQueue wire;
  const Subscription attached = app.channels().attach("lobby", wire);
  EXPECT_EQ(app.trigger("lobby", "e", "1").delivered, 1U);
  const std::string json = R"({"event":"e","channel":"lobby","data":"1"})";
  EXPECT_EQ(wire.frames(), (Strings{std::string{'\x81', static_cast<char>(json.size())} + json}));
  EXPECT_EQ(app.trigger("lobby", "e", "\xff").error, errc::not_utf8);
}

TEST(App, ItsLimitsAndSeedAreThoseOfItsOptions) {
  App app{options()};
  EXPECT_EQ(app.trigger("lobby", "e", std::string(10'240, 'x')).error, errc::ok);
  EXPECT_EQ(app.trigger("lobby", "e", std::string(10'241, 'x')).error, errc::data_too_large);
  AppOptions strict = options();
  strict.limits = {.channel_name = 5, .channels = 1};
  strict.seed = 42;
  App other{strict};
  EXPECT_EQ(other.subscribe("123456").error(), errc::name_too_long);
  const Subscription one = other.subscribe("12345");
  EXPECT_EQ(other.subscribe("other").error(), errc::too_many_channels);
}

TEST(App, AnswersQueries) {
  App app{options()};
  const Subscription one = app.subscribe("presence-a");
  const Subscription two = app.subscribe("presence-a");
  const Subscription three = app.subscribe("b");
  EXPECT_TRUE(app.occupied("presence-a"));
  EXPECT_FALSE(app.occupied("c"));
  EXPECT_EQ(app.subscribers("presence-a"), 2U);
  std::map<std::string, std::size_t> all;
  const auto list = [&](std::string_view name, std::size_t count) { all[std::string(name)] = count; };
  EXPECT_EQ(app.for_each_channel(list), errc::ok);
  EXPECT_EQ(all, (std::map<std::string, std::size_t>{{"presence-a", 2}, {"b", 1}}));
  all.clear();
  EXPECT_EQ(app.for_each_channel(list, "presence-"), errc::ok);
  EXPECT_EQ(all, (std::map<std::string, std::size_t>{{"presence-a", 2}}));
}

// ---- what it tells

TEST(App, TellsWhenAChannelIsOccupiedAndVacated) {
  std::vector<AppEvent> told;
  AppOptions telling = options();
  telling.on_event = [&](const AppEvent& event) { told.push_back(event); };
  {
    App app{telling};
    EXPECT_TRUE(app.tells());
    {
      const Subscription one = app.subscribe("presence-a");
      const Subscription two = app.subscribe("presence-a");
      const Subscription three = app.subscribe("b");
    }
    const std::vector<AppEvent> expected{{.kind = AppEvent::Kind::channel_occupied, .channel = "presence-a"},
                                         {.kind = AppEvent::Kind::channel_occupied, .channel = "b"},
                                         {.kind = AppEvent::Kind::channel_vacated, .channel = "b"},
                                         {.kind = AppEvent::Kind::channel_vacated, .channel = "presence-a"}};
    EXPECT_EQ(told, expected);
    EXPECT_EQ(app.events_dropped(), 0U);
  }
  EXPECT_EQ(told.size(), 4U);
}

TEST(App, WhatHappensWhileItTellsIsToldNext) {
  App* app = nullptr;
  std::vector<std::string> told;
  bool inside = false;
  AppOptions telling = options();
  telling.on_event = [&](const AppEvent& event) {
    EXPECT_FALSE(inside);  // one at a time
    inside = true;
    told.push_back((event.kind == AppEvent::Kind::channel_occupied ? "+" : "-") + event.channel);
    if (event.channel == "a") static_cast<void>(app->subscribe("b"));
    inside = false;
  };
  App made{telling};
  app = &made;
  static_cast<void>(made.subscribe("a"));
  EXPECT_EQ(told, (Strings{"+a", "+b", "-b", "-a", "+b", "-b"}));
}

TEST(App, WhatItIsToNoteIsToldInOrder) {
  std::vector<std::string> told;
  AppOptions telling = options();
  telling.on_event = [&](const AppEvent& event) { told.push_back(event.user_id); };
  App app{telling};
  app.note({.kind = AppEvent::Kind::member_added, .channel = "presence-a", .user_id = "1"});
  app.note({.kind = AppEvent::Kind::member_removed, .channel = "presence-a", .user_id = "2"});
  EXPECT_EQ(told, Strings{});
  app.tell();
  app.tell();
  EXPECT_EQ(told, (Strings{"1", "2"}));
}

TEST(App, WhatNobodyWantsToKnowIsNotKept) {
  App app{options()};
  EXPECT_FALSE(app.tells());
  app.note({.channel = "a"});
  app.tell();
  EXPECT_EQ(app.events_dropped(), 0U);
}

TEST(App, KeepsNoMoreThanSoManyEventsThatItCannotTell) {
  std::size_t told = 0;
  AppOptions telling = options();
  telling.on_event = [&](const AppEvent&) { ++told; };
  App app{telling};
  constexpr std::size_t many = (1U << 16U) + 10;
  for (std::size_t i = 0; i < many; ++i) app.note({});
  EXPECT_EQ(app.events_dropped(), 10U);
  app.tell();
  EXPECT_EQ(told, many - 10);
  app.note({});
  app.tell();
  EXPECT_EQ(told, many - 9);
}

TEST(App, WhatOutlivesItSaysClosed) {
  Subscription subscription;
  PolledSubscription inbox;
  ChannelHandle handle;
  {
    App app{options()};
    subscription = app.subscribe("lobby");
    inbox = app.subscribe("lobby", Inbox{2});
    handle = app.channel("lobby");
    app.trigger("lobby", "e", "1");
  }
  EXPECT_EQ(subscription.error(), errc::closed);
  EXPECT_EQ(handle.trigger("e", "2").error, errc::closed);
  EXPECT_EQ(inbox.poll([](const Event& event) { EXPECT_EQ(event.data(), "1"); }), 1U);
}

// ---- what channels remember

TEST(App, KeepsTheLastEventOfACacheChannel) {
  AppOptions mine = options();
  mine.cache_ttl = std::chrono::seconds{60};
  App app{mine};
  EXPECT_FALSE(app.cached("cache-a").has_value());
  EXPECT_EQ(app.trigger("cache-a", "e", "1").error, errc::ok);
  const ChannelHandle handle = app.channel("private-cache-b");
  EXPECT_EQ(handle.trigger("e", "2").error, errc::ok);
  EXPECT_EQ(app.trigger({"x", "presence-x"}, "e", "3").error, errc::ok);
  const auto cached = app.cached("cache-a");
  ASSERT_TRUE(cached.has_value());
  EXPECT_EQ(text_of(*cached->message), "e=1");
  EXPECT_FALSE(cached->message->frame().empty());
  EXPECT_LE(cached->ttl.count(), 60);
  EXPECT_GT(cached->ttl.count(), 50);
  EXPECT_EQ(text_of(*app.cached("private-cache-b")->message), "e=2");
  EXPECT_FALSE(app.cached("x").has_value());
  EXPECT_FALSE(app.cached("presence-x").has_value());
  EXPECT_FALSE(app.occupied("cache-a"));
  app.tick();
  EXPECT_TRUE(app.cached("cache-a").has_value());
  app.tick(std::chrono::steady_clock::now() + std::chrono::seconds{61});
  EXPECT_FALSE(app.cached("cache-a").has_value());
  EXPECT_EQ(cached->message->data(), "1");  // who has it keeps it
}

TEST(App, KeepsNothingAtAllWithoutTime) {
  AppOptions mine = options();
  mine.cache_ttl = std::chrono::seconds{0};
  App app{mine};
  app.trigger("cache-a", "e", "1");
  EXPECT_FALSE(app.cached("cache-a").has_value());
  app.tick();
  EXPECT_EQ(app.channels().stats().entries, 0U);
}

TEST(App, GivesSubscribersOfThisProgramWhatAChannelKeeps) {
  AppOptions mine = options();
  mine.channel_rules = {{.match = "board", .retain = true}, {.match = "chat", .history = HistoryRule{}}};
  App app{mine};
  for (const std::string_view data : {"1", "2"}) {
    EXPECT_TRUE(app.trigger({"board", "chat", "cache-a", "x"}, "e", data));
  }
  Recorder recorder;
  std::vector<Subscription> all;
  for (const std::string_view name : {"board", "chat", "cache-a", "x"}) {
    all.push_back(app.subscribe(name, [&](Subscription& s) { s.bind("e", recorder.callback(std::string(name))); }));
  }
  EXPECT_EQ(recorder.take(), (Strings{"board:e=2", "chat:e=1", "chat:e=2", "cache-a:e=2"}));
  PolledSubscription none = app.subscribe("chat", Inbox{}, Since::now());
  EXPECT_EQ(none.size(), 0U);
}

TEST(App, GoesOnWhereASubscriberOfThisProgramStopped) {
  AppOptions mine = options();
  mine.channel_rules = {{.match = "chat", .history = HistoryRule{}}};
  App app{mine};
  std::string last;  // as a file keeps it
  Recorder recorder;
  for (const std::string_view expected : {"e=1", "e=2", "e=3"}) {
    EXPECT_TRUE(app.trigger("chat", "e", expected.substr(2)));
    const bool first = last.empty();
    const Subscription one = app.subscribe(
        "chat",
        [&](Subscription& s) {
          s.bind("e", [&](const Event& event) {
            recorder.seen.push_back(text_of(event));
            last = to_text(event.id()).view();
          });
        },
        std::string(last));
    EXPECT_EQ(recorder.take(), Strings{std::string(expected)});
    EXPECT_EQ(one.resumed(), !first);
  }
}

TEST(App, SubscribersOfThisProgramAreNoMembers) {
  App app{options()};
  const Subscription one = app.subscribe("presence-a");
  EXPECT_EQ(app.subscribers("presence-a"), 1U);
  EXPECT_EQ(app.user_count("presence-a"), 0U);
  EXPECT_TRUE(app.members("presence-a").empty());
  EXPECT_TRUE(app.members("a").empty());
  EXPECT_TRUE(app.members("presence-none").empty());
  EXPECT_EQ(app.user_count("not a name"), 0U);
}

// ---- users

TEST(App, AnnouncesUsersToThoseWhoWatch) {
  App app{options()};
  KeptLog log;
  const Subscription watches = app.channels().attach(ReservedChannel{"#watch-ada"}, KeptSink{log});
  app.sign_in("ada");
  app.sign_in("ada");
  app.sign_in("bob");
  EXPECT_EQ(log.pushed,
            Strings{R"(pusher_internal:watchlist_events={"events":[{"name":"online","user_ids":["ada"]}]})"});
  log.pushed.clear();
  app.sign_out("ada");
  app.tick(std::chrono::steady_clock::now() + std::chrono::hours{1});
  EXPECT_EQ(log.pushed, Strings{});
  app.sign_out("ada");
  app.tick();
  EXPECT_TRUE(app.users().online("ada"));
  app.tick(std::chrono::steady_clock::now() + std::chrono::seconds{3});
  EXPECT_EQ(log.pushed,
            Strings{R"(pusher_internal:watchlist_events={"events":[{"name":"offline","user_ids":["ada"]}]})"});
  EXPECT_FALSE(app.users().online("ada"));
  EXPECT_EQ(app.users().size(), 1U);
  app.sign_out("bob");
}

TEST(App, AUsersNameIsPutIntoJsonAsItMust) {
  App app{options()};
  KeptLog log;
  const std::string odd = "a\"\\\n\xc3\xa9";
  const std::string channel = "#watch-" + odd;
  const Subscription watches = app.channels().attach(ReservedChannel{channel}, KeptSink{log});
  app.sign_in(odd);
  ASSERT_EQ(log.pushed.size(), 1U);
  EXPECT_NE(log.pushed[0].find(R"(["a\"\\\n)"), std::string::npos) << log.pushed[0];
  app.sign_out(odd);
}

TEST(App, ReservedChannelsAreOutOfReachAndOutOfSight) {
  std::vector<AppEvent> told;
  AppOptions telling = options();
  telling.on_event = [&](const AppEvent& event) { told.push_back(event); };
  App app{telling};
  KeptLog log;
  {
    const Subscription own = app.channels().attach(ReservedChannel{"#user-ada"}, KeptSink{log});
    const Subscription users = app.subscribe("#server-to-user-ada");
    EXPECT_EQ(users.error(), errc::ok);
    EXPECT_EQ(app.trigger("#user-ada", "e").error, errc::reserved_name);
    EXPECT_EQ(app.trigger({"#user-ada"}, "e", {}).error, errc::reserved_name);
    EXPECT_EQ(app.trigger("#server-to-user-ada", "e").delivered, 0U);  // nothing is bound
    EXPECT_EQ(app.for_each_channel([](std::string_view name, std::size_t) { ADD_FAILURE() << name; }), errc::ok);
    app.terminate("ada");
  }
  EXPECT_EQ(log.pushed, Strings{"pusher_internal:terminate="});
  EXPECT_TRUE(told.empty());
}

// ---- connections

TEST(App, AdmitsAsManyClientsAsItMay) {
  AppOptions few = options();
  few.max_connections = 2;
  App app{few};
  EXPECT_TRUE(app.admit());
  EXPECT_TRUE(app.admit());
  EXPECT_EQ(app.connections(), 2U);
  EXPECT_FALSE(app.admit());
  EXPECT_EQ(app.connections(), 2U);
  app.dismiss();
  EXPECT_EQ(app.connections(), 1U);
  EXPECT_TRUE(app.admit());
  EXPECT_FALSE(app.admit());
}

TEST(App, AdmitsAsManyOfAnAddressAsItMay) {
  AppOptions few = options();
  few.max_connections = 4;
  few.max_connections_per_address = 2;
  App app{few};
  EXPECT_TRUE(app.counts_addresses());
  EXPECT_EQ(app.admit_from(7), Admission::admitted);
  EXPECT_EQ(app.admit_from(7), Admission::admitted);
  EXPECT_EQ(app.admit_from(7), Admission::address_full);
  EXPECT_EQ(app.connections(), 2U);
  EXPECT_EQ(app.admit_from(8), Admission::admitted);
  EXPECT_EQ(app.admit_from(0), Admission::admitted) << "not known where from";
  EXPECT_EQ(app.admit_from(9), Admission::app_full);
  app.dismiss_from(7);
  app.dismiss_from(0);
  EXPECT_EQ(app.admit_from(7), Admission::admitted);
  EXPECT_EQ(app.admit_from(7), Admission::address_full);
  EXPECT_EQ(app.connections(), 3U);
}

TEST(App, WithoutABoundItAdmitsEverybody) {
  App app{options()};
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(app.admit());
  EXPECT_EQ(app.connections(), 1000U);
  for (int i = 0; i < 1000; ++i) app.dismiss();
  EXPECT_EQ(app.connections(), 0U);
}

TEST(App, SeveralThreadsAdmitNoMoreThanAllowedAndRefuseNobodyThereIsRoomFor) {
  AppOptions few = options();
  few.max_connections = 3;
  App app{few};
  std::atomic<std::size_t> inside{0};
  run_together(3, [&](std::size_t) {  // as many as there is room for
    for (std::size_t i = 0; i < repetitions(4000); ++i) {
      EXPECT_TRUE(app.admit());
      EXPECT_LE(++inside, 3U);
      EXPECT_LE(app.connections(), 3U);
      --inside;
      app.dismiss();
    }
  });
  EXPECT_EQ(app.connections(), 0U);
}

}  // namespace
}  // namespace fanfare::test
