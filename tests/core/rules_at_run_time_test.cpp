// Rules that come and go while channels are in use.
#include <fanfare/app.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Texts = std::vector<std::string>;

ChannelRule history_rule(std::string match, std::size_t count = 100) {
  return {.match = std::move(match), .history = HistoryRule{.count = count}};
}

class RulesAtRunTime : public ::testing::Test {
 protected:
  /// The data of what a history holds; `none` where there is no history.
  [[nodiscard]] Texts history(std::string_view channel) const {
    Texts texts;
    const auto page = app.history(channel, HistoryOrder::oldest_first, std::nullopt, 1000,
                                  [&](const HistoryEntry& entry) { texts.emplace_back(entry.message->data()); });
    return page ? texts : Texts{"none"};
  }
  [[nodiscard]] Texts retained(std::string_view channel) const {
    Texts texts;
    for (const MessagePtr& message : app.retained(channel)) texts.emplace_back(message->data());
    return texts;
  }
  [[nodiscard]] Reach reach(std::string_view channel, const EventId& seen) const {
    Reach reach = Reach::whole;
    EXPECT_TRUE(app.channels().look_at_state(
        channel, [&](ChannelState* state) { reach = static_cast<ChannelMemory*>(state)->reach(seen); }));
    return reach;
  }
  [[nodiscard]] std::size_t entries() const { return app.channels().stats().entries; }
  EventId trigger(std::string_view channel, std::string_view data, const TriggerOptions& options = {}) {
    const TriggerResult result = app.trigger(channel, "e", data, options);
    EXPECT_EQ(result.error, errc::ok);
    return result.id;
  }
  void set(std::vector<ChannelRule> rules) { EXPECT_FALSE(app.set_channel_rules(std::move(rules))); }

  App app{AppOptions{.id = "1", .key = "key", .secret = "secret", .limits = {.data = 1 << 20}}};
};

TEST_F(RulesAtRunTime, AreTakenAsAWholeOrNotAtAll) {
  set({history_rule("a")});
  const RuleProblem problem = app.set_channel_rules({history_rule("b"), history_rule("b c")});
  EXPECT_EQ(problem, (RuleProblem{RuleError::bad_character, 1}));
  ASSERT_EQ(app.channel_rules()->rules().size(), 1U);
  EXPECT_EQ(app.channel_rules()->rules()[0], history_rule("a"));
  EXPECT_TRUE(app.options().channel_rules.empty());  // those of the beginning
  set({});
  EXPECT_TRUE(app.channel_rules()->empty());
}

TEST_F(RulesAtRunTime, ChannelsThatAreMadeLaterFollow) {
  trigger("a", "nobody is there");
  set({history_rule("a*")});
  trigger("a", "1");
  trigger("b", "2");
  EXPECT_EQ(history("a"), Texts{"1"});
  EXPECT_EQ(entries(), 1U);
  set({});
  EXPECT_EQ(entries(), 0U);
  trigger("a", "3");
  EXPECT_EQ(entries(), 0U);
}

TEST_F(RulesAtRunTime, AChannelInUseGetsItsOrder) {
  Texts seen;
  std::vector<EventId> ids;
  const Subscription subscription = app.subscribe("a", [&](Subscription& setup) {
    setup.bind("e", [&](const Event& event) {
      seen.emplace_back(event.data());
      ids.push_back(event.id());
    });
  });
  PolledSubscription inbox = app.subscribe("a", Inbox{8});
  const ChannelHandle handle = app.channel("a");
  EXPECT_FALSE(trigger("a", "1"));
  EXPECT_FALSE(subscription.ordered());
  set({history_rule("a")});
  EXPECT_TRUE(subscription.ordered());
  const EventId second = trigger("a", "2");
  const EventId third = handle.trigger("e", "3").id;
  EXPECT_TRUE(second);
  EXPECT_GT(third, second);
  EXPECT_EQ(seen, (Texts{"1", "2", "3"}));
  EXPECT_EQ(ids, (std::vector<EventId>{{}, second, third}));
  Texts polled;
  inbox.poll([&](const Event& event) { polled.emplace_back(event.data()); });
  EXPECT_EQ(polled, seen);
  EXPECT_EQ(history("a"), (Texts{"2", "3"}));
  EXPECT_EQ(reach("a", second), Reach::whole);
  EXPECT_EQ(reach("a", {second.epoch, 0}), Reach::gap);  // what went before has no place
  EXPECT_EQ(app.channels().stats().channels, 1U);
  EXPECT_EQ(app.subscribers("a"), 2U);
}

TEST_F(RulesAtRunTime, WhatIsBoundStaysBoundAndMoreCanBe) {
  Texts seen;
  const auto note = [&](const Event& event) { seen.emplace_back(event.name()); };
  Subscription subscription = app.subscribe("a");
  std::vector<BindingId> bindings;
  for (const char* const name : {"a", "b", "c", "d"}) bindings.push_back(subscription.bind(name, note));
  const BindingId all = subscription.bind_all(note);
  set({history_rule("a")});
  for (const char* const name : {"e", "f", "g", "h", "i"}) bindings.push_back(subscription.bind(name, note));
  for (const char* const name : {"a", "d", "e", "i", "x"}) app.trigger("a", name, "");
  EXPECT_EQ(seen, (Texts{"a", "a", "d", "d", "e", "e", "i", "i", "x"}));
  seen.clear();
  EXPECT_TRUE(subscription.unbind(all));
  for (const BindingId binding : bindings) EXPECT_TRUE(subscription.unbind(binding));
  for (const char* const name : {"a", "d", "e", "i", "x"}) app.trigger("a", name, "");
  EXPECT_TRUE(seen.empty());
}

TEST_F(RulesAtRunTime, BoundsShrinkAtOnceAndGrowAgain) {
  set({history_rule("a", 50)});
  for (int i = 0; i < 60; ++i) trigger("a", std::to_string(i));
  EXPECT_EQ(history("a").size(), 50U);
  const std::size_t before = app.kept().bytes();
  set({history_rule("a", 3)});
  EXPECT_EQ(history("a"), (Texts{"57", "58", "59"}));
  EXPECT_LT(app.kept().bytes(), before / 10);
  set({history_rule("a", 100)});
  for (int i = 60; i < 200; ++i) trigger("a", std::to_string(i));
  EXPECT_EQ(history("a").size(), 100U);
  EXPECT_EQ(history("a").front(), "100");
  set({{.match = "a", .history = HistoryRule{.count = 100, .bytes = 1}}});
  EXPECT_EQ(history("a"), Texts{"none"});  // nothing fits, so nothing holds the channel
  EXPECT_EQ(entries(), 0U);
}

TEST_F(RulesAtRunTime, OneThatKeepsWhatItKeptIsGoneOnWith) {
  set({history_rule("a"), history_rule("b")});
  const EventId first = trigger("a", "1");
  set({history_rule("*", 10)});
  trigger("a", "2");
  EXPECT_EQ(history("a"), (Texts{"1", "2"}));
  EXPECT_EQ(reach("a", first), Reach::whole);
}

TEST_F(RulesAtRunTime, WhatIsKeptIsDroppedWithTheRule) {
  const Subscription subscription = app.subscribe("a");
  set({{.match = "a", .retain = true, .history = HistoryRule{}}});
  const EventId first = trigger("a", "1");
  EXPECT_EQ(history("a"), Texts{"1"});
  EXPECT_EQ(retained("a"), Texts{"1"});
  set({});
  EXPECT_EQ(history("a"), Texts{"none"});
  EXPECT_TRUE(retained("a").empty());
  EXPECT_EQ(app.kept().bytes(), 0U);
  EXPECT_EQ(reach("a", first), Reach::another_epoch);
  EXPECT_TRUE(subscription.ordered());
  const EventId second = trigger("a", "2");
  EXPECT_GT(second, first);
  set({history_rule("a")});
  EXPECT_EQ(reach("a", first), Reach::gap);  // nobody goes on over the hole
  const EventId third = trigger("a", "3");
  EXPECT_GT(third, second);
  EXPECT_EQ(history("a"), Texts{"3"});
}

TEST_F(RulesAtRunTime, ChannelsThatOnlyTheirRuleHeldGoWithIt) {
  set({history_rule("a*")});
  for (const char* const name : {"a1", "a2", "a3"}) trigger(name, "1");
  const Subscription subscription = app.subscribe("a4");
  trigger("a4", "1");
  EXPECT_EQ(entries(), 4U);
  EXPECT_GT(app.kept().vacant_bytes(), 0U);
  EXPECT_EQ(app.kept().victims(), 3U);
  set({history_rule("a2")});
  EXPECT_EQ(entries(), 2U);
  EXPECT_EQ(app.kept().victims(), 1U);
  EXPECT_EQ(history("a2"), Texts{"1"});
}

TEST_F(RulesAtRunTime, AChannelThatBecomesVacantIsHeldByWhatItKeeps) {
  {
    const Subscription subscription = app.subscribe("a");
    set({history_rule("a")});
    trigger("a", "1");
    EXPECT_EQ(app.kept().vacant_bytes(), 0U);
  }
  EXPECT_GT(app.kept().vacant_bytes(), 0U);
  EXPECT_EQ(entries(), 1U);
  EXPECT_EQ(history("a"), Texts{"1"});
}

TEST_F(RulesAtRunTime, RetainingAndHistoryComeAndGoApart) {
  const Subscription subscription = app.subscribe("a");
  set({{.match = "a", .retain = true}});
  const EventId first = trigger("a", "1");
  EXPECT_EQ(retained("a"), Texts{"1"});
  EXPECT_EQ(history("a"), Texts{"none"});
  EXPECT_EQ(reach("a", first), Reach::whole);
  set({{.match = "a", .retain = true, .history = HistoryRule{}}});
  EXPECT_EQ(retained("a"), Texts{"1"});
  EXPECT_TRUE(history("a").empty());
  EXPECT_EQ(reach("a", first), Reach::whole);  // nothing has come since
  trigger("a", "2");
  set({history_rule("a")});
  EXPECT_TRUE(retained("a").empty());
  EXPECT_EQ(history("a"), Texts{"2"});
  set({{.match = "a", .retain = true}});
  EXPECT_EQ(history("a"), Texts{"none"});
  EXPECT_TRUE(retained("a").empty());
}

TEST_F(RulesAtRunTime, PresenceAndCacheChannelsGainAndLoseWhatIsKept) {
  const Subscription presence = app.subscribe("presence-a");
  const Subscription cache = app.subscribe("cache-a");
  const EventId before = trigger("presence-a", "0");
  trigger("cache-a", "0");
  set({history_rule("*-a")});
  const EventId first = trigger("presence-a", "1");
  trigger("cache-a", "1");
  EXPECT_EQ(first.epoch, before.epoch);
  EXPECT_EQ(history("presence-a"), Texts{"1"});
  EXPECT_EQ(history("cache-a"), Texts{"1"});
  EXPECT_EQ(reach("presence-a", before), Reach::whole);
  set({});
  EXPECT_EQ(history("presence-a"), Texts{"none"});
  EXPECT_EQ(app.cached("cache-a")->message->data(), "1");
  EXPECT_EQ(app.kept().bytes(), 0U);
}

TEST_F(RulesAtRunTime, ARuleThatExemptsEndsWhatAnotherKept) {
  set({history_rule("a*")});
  trigger("ab", "1");
  set({{.match = "ab"}, history_rule("a*")});
  EXPECT_EQ(entries(), 0U);
}

TEST_F(RulesAtRunTime, SetInACallbackHoldAtOnceButHistoryWaitsForATick) {
  int called = 0;
  const Subscription subscription = app.subscribe("a", [&](Subscription& setup) {
    setup.bind("e", [&](const Event&) {
      if (++called == 1) set({{.match = "a", .retain = true, .history = HistoryRule{}}});
      if (called == 1) trigger("a", "inside");
    });
  });
  EXPECT_FALSE(trigger("a", "1"));
  EXPECT_EQ(called, 2);
  const EventId second = trigger("a", "2");
  EXPECT_TRUE(second);
  EXPECT_TRUE(history("a").empty());
  EXPECT_EQ(retained("a"), Texts{"2"});
  EXPECT_EQ(reach("a", second), Reach::another_epoch);  // something without a place might come yet
  app.tick();
  EXPECT_EQ(reach("a", second), Reach::gap);
  const EventId third = trigger("a", "3");
  EXPECT_EQ(history("a"), Texts{"3"});
  EXPECT_EQ(reach("a", third), Reach::whole);
}

// ---- an event that is to be retained where no rule says so

TEST_F(RulesAtRunTime, AnEventIsRetainedWithoutARule) {
  trigger("a", "1", {.retain = Retain::yes});
  EXPECT_EQ(entries(), 1U);
  EXPECT_EQ(retained("a"), Texts{"1"});
  EXPECT_EQ(history("a"), Texts{"none"});
  trigger("a", "2");
  EXPECT_EQ(retained("a"), Texts{"1"});  // the trigger says which, as no rule does
  trigger("a", "3", {.retain = Retain::no});
  EXPECT_EQ(retained("a"), Texts{"1"});
  trigger("a", "4", {.retain = Retain::yes});
  EXPECT_EQ(retained("a"), Texts{"4"});
  app.trigger("a", "f", "5", {.retain = Retain::yes});
  EXPECT_EQ(retained("a"), (Texts{"4", "5"}));
  EXPECT_GT(app.kept().vacant_bytes(), 0U);
  trigger("a", "", {.retain = Retain::clear});
  EXPECT_EQ(retained("a"), Texts{"5"});
  app.tick(Clock::now() + 24h);
  EXPECT_EQ(entries(), 0U);
  EXPECT_EQ(app.kept().bytes(), 0U);
}

TEST_F(RulesAtRunTime, AnEventIsRetainedInAChannelThatIsInUse) {
  Texts seen;
  const Subscription subscription = app.subscribe(
      "a", [&](Subscription& setup) { setup.bind("e", [&](const Event& event) { seen.emplace_back(event.data()); }); });
  const ChannelHandle handle = app.channel("a");
  EXPECT_FALSE(trigger("a", "1"));
  EXPECT_TRUE(handle.trigger("e", "2", {.retain = Retain::yes}).id);
  EXPECT_TRUE(trigger("a", "3"));
  EXPECT_EQ(seen, (Texts{"1", "2", "3"}));
  EXPECT_EQ(retained("a"), Texts{"2"});
  app.tick();
  const EventId last = trigger("a", "4");
  trigger("a", "5", {.retain = Retain::yes});
  EXPECT_EQ(reach("a", last), Reach::gap);
  EXPECT_EQ(app.subscribers("a"), 1U);
}

TEST_F(RulesAtRunTime, AnEventIsRetainedInSeveralChannels) {
  const Subscription subscription = app.subscribe("a");
  const TriggerResult result = app.trigger({"a", "b"}, "e", "1", {.retain = Retain::yes});
  EXPECT_EQ(result.error, errc::ok);
  EXPECT_EQ(retained("a"), Texts{"1"});
  EXPECT_EQ(retained("b"), Texts{"1"});
}

TEST_F(RulesAtRunTime, AnEventIsRetainedFromInsideACallback) {
  const Subscription subscription = app.subscribe("a", [&](Subscription& setup) {
    setup.bind("question", [&](const Event&) { trigger("a", "answer", {.retain = Retain::yes}); });
  });
  app.trigger("a", "question", "");
  EXPECT_EQ(retained("a"), Texts{"answer"});
}

TEST_F(RulesAtRunTime, AnEventThatIsRefusedChangesNoChannel) {
  EXPECT_EQ(app.trigger("a", "", "1", {.retain = Retain::yes}).error, errc::empty_name);
  EXPECT_EQ(app.trigger("b c", "e", "1", {.retain = Retain::yes}).error, errc::bad_character);
  EXPECT_EQ(app.channel("a").trigger("", "1", {.retain = Retain::yes}).error, errc::empty_name);
  EXPECT_EQ(entries(), 0U);
  const Subscription subscription = app.subscribe("a");
  EXPECT_EQ(app.trigger("a", "pusher:e", "1", {.retain = Retain::yes}).error, errc::reserved_name);
  EXPECT_FALSE(subscription.ordered());
  trigger("a", "1", {.retain = Retain::clear});
  trigger("a", "1", {.retain = Retain::no});
  EXPECT_FALSE(subscription.ordered());
}

TEST_F(RulesAtRunTime, RetainedWithoutARuleIsBoundedAsAllElse) {
  App small{AppOptions{.retained = {.names = 2}, .kept_bytes = 4000}};
  for (const char* const name : {"e", "f", "g"}) small.trigger("a", name, "1", {.retain = Retain::yes});
  EXPECT_EQ(small.retained("a").size(), 2U);
  for (int i = 0; i < 100; ++i) {
    small.trigger("b" + std::to_string(i), "e", std::string(100, 'x'), {.retain = Retain::yes});
  }
  EXPECT_LE(small.kept().bytes(), 5000U);
  small.tick();
  EXPECT_LE(small.kept().bytes(), 4000U);
  EXPECT_LT(small.channels().stats().entries, 20U);
}

TEST_F(RulesAtRunTime, ARuleTakesOverWhatWasRetainedAndTakesItAlong) {
  trigger("a", "1", {.retain = Retain::yes});
  set({{.match = "b", .retain = true}});
  EXPECT_EQ(retained("a"), Texts{"1"});  // no rule for it came or went
  set({{.match = "a", .retain = true}});
  EXPECT_EQ(retained("a"), Texts{"1"});
  trigger("a", "2");
  EXPECT_EQ(retained("a"), Texts{"2"});
  set({});
  EXPECT_TRUE(retained("a").empty());
  EXPECT_EQ(entries(), 0U);
}

// ---- while somebody is setting up

TEST_F(RulesAtRunTime, WhatBeginsToBeKeptWhileSomebodySetsUpIsGivenToHim) {
  Texts seen;
  const Subscription retaining = app.subscribe("a", [&](Subscription& s) {
    s.bind_all([&](const Event& event) { seen.emplace_back(event.data()); });
    trigger("a", "1", {.retain = Retain::yes});
  });
  EXPECT_EQ(seen, Texts{"1"});
  trigger("a", "2");
  EXPECT_EQ(seen, (Texts{"1", "2"}));
  seen.clear();
  Subscription elsewhere;
  const Subscription empty = app.subscribe("b", [&](Subscription& s) {
    s.bind_all([&](const Event& event) { seen.emplace_back(event.data()); });
    elsewhere = std::move(s);
    set({history_rule("b")});
    trigger("b", "1");
    trigger("b", "2");
  });
  EXPECT_EQ(seen, (Texts{"1", "2"}));
  trigger("b", "3");
  EXPECT_EQ(seen.size(), 3U);
  seen.clear();
  const Subscription from_now_on = app.subscribe(
      "c",
      [&](Subscription& s) {
        s.bind_all([&](const Event& event) { seen.emplace_back(event.data()); });
        trigger("c", "1", {.retain = Retain::yes});
      },
      Since::now());
  EXPECT_EQ(seen, Texts{});
}

TEST_F(RulesAtRunTime, WhoIsGivenWhatBeganToBeKeptMayEndThereAndThen) {
  int seen = 0;
  Subscription subscription;
  static_cast<void>(app.subscribe("a", [&](Subscription& s) {
    s.bind_all([&](const Event&) {
      ++seen;
      subscription.reset();
    });
    subscription = std::move(s);
    trigger("a", "1", {.retain = Retain::yes});
    EXPECT_TRUE(app.trigger("a", "other", "2", {.retain = Retain::yes}));
  }));
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(app.subscribers("a"), 0U);
  EXPECT_THROW(static_cast<void>(app.subscribe("b",
                                               [&](Subscription& s) {
                                                 s.bind_all([](const Event&) { throw 1; });
                                                 trigger("b", "1", {.retain = Retain::yes});
                                               })),
               int);
  EXPECT_EQ(app.subscribers("b"), 0U);
}

// ---- where there is a hook

TEST_F(RulesAtRunTime, AnEventIsRetainedWhereThereIsAHookAndNoRule) {
  for (const bool occupied : {true, false}) {
    const std::string name = occupied ? "occupied" : "vacant";
    ASSERT_EQ(app.on_subscribe(name, [](const Subscriber&, const SnapshotReply&) {}), RuleError::ok);
    Subscription somebody;
    if (occupied) somebody = app.subscribe(name);
    trigger(name, "1", {.retain = Retain::yes});
    EXPECT_EQ(retained(name), Texts{"1"}) << name;
  }
}

TEST_F(RulesAtRunTime, ARuleThatGoesTakesAlongWhatIsRetainedWhereAHookStays) {
  ASSERT_EQ(app.on_subscribe("a", [](const Subscriber&, const SnapshotReply&) {}), RuleError::ok);
  set({history_rule("a")});
  const Subscription somebody = app.subscribe("a");
  trigger("a", "1", {.retain = Retain::yes});
  EXPECT_EQ(retained("a"), Texts{"1"});
  set({});
  EXPECT_EQ(retained("a"), Texts{});
}

TEST_F(RulesAtRunTime, TheLastEventOfACacheChannelComesOnceThoughAHookRemembersIt) {
  ASSERT_EQ(app.on_subscribe("cache-a", [](const Subscriber&, const SnapshotReply&) {}), RuleError::ok);
  const Subscription somebody = app.subscribe("cache-a");
  const EventId one = trigger("cache-a", "1");
  trigger("cache-a", "2");
  const auto collect_into = [](Texts& texts) {
    return [&texts](Subscription& subscription) {
      subscription.bind_all([&texts](const Event& event) { texts.emplace_back(event.data()); });
    };
  };
  Texts resumed;
  const Subscription again = app.subscribe("cache-a", collect_into(resumed), one);
  EXPECT_TRUE(again.resumed());
  EXPECT_EQ(resumed, Texts{"2"});
  Texts fresh;
  const Subscription newcomer = app.subscribe("cache-a", collect_into(fresh));
  EXPECT_EQ(fresh, Texts{"2"});
}

// ---- while somebody is given what is kept

TEST_F(RulesAtRunTime, WhoIsBeingGivenAHistoryThatGoesIsToldOfAGap) {
  for (const bool all : {true, false}) {
    const std::string name = all ? "all" : "history";
    set({history_rule(name)});
    for (int i = 0; i < 3; ++i) trigger(name, std::string(50'000, 'x'));
    int seen = 0;
    const auto change = [&](const Event&) {
      if (++seen != 1) return;
      set(all ? std::vector<ChannelRule>{} : std::vector<ChannelRule>{{.match = name, .retain = true}});
    };
    const Subscription subscription = app.subscribe(name, [&](Subscription& s) { s.bind_all(change); });
    EXPECT_EQ(seen, 1) << name << ": the piece that it had";
    EXPECT_EQ(subscription.reach(), Reach::gap) << name;
  }
}

TEST_F(RulesAtRunTime, WhileAnOrderIsIncompleteWhatIsRetainedIsGivenAndNobodyResumes) {
  bool resumed = true;
  Texts seen;
  const Subscription subscription = app.subscribe("a", [&](Subscription& s) {
    s.bind("go", [&](const Event&) {  // inside a callback, nobody is waited for
      set({{.match = "a", .retain = true, .history = HistoryRule{}}});
      const EventId one = trigger("a", "1");
      const Subscription late = app.subscribe("a", [&](Subscription& other) {
        other.bind_all([&](const Event& event) { seen.emplace_back(event.data()); });
      });
      const Subscription again = app.subscribe("a", one);
      resumed = again.resumed();
      EXPECT_EQ(reach("a", one), Reach::another_epoch);
      app.channels().look_at_state("a", [&](ChannelState* state) {
        EXPECT_EQ(static_cast<ChannelMemory*>(state)->replay({}, 1000).events.size(), 1U) << "to a client, too";
      });
    });
  });
  EXPECT_TRUE(app.trigger("a", "go"));
  EXPECT_EQ(retained("a"), Texts{"1"});
  EXPECT_EQ(seen, Texts{"1"});
  EXPECT_FALSE(resumed);
}

}  // namespace
}  // namespace fanfare::test
