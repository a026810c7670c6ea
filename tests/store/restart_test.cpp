// What channels keep, over several lives of a program: an application is made, ends, and is made again.
#include <fanfare/app.hpp>

#include "support/store.hpp"
#include <fanfare/core/channel_memory.hpp>
#include <fanfare/core/channel_rules.hpp>
#include <fanfare/store/journal.hpp>
#include <fanfare/store/sqlite.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using store::JournalOptions;
using store::SqliteStore;
using store::StoreError;

/// What is kept outlives the store's user, and changes can be held back or refused.
class Memory {
 public:
  [[nodiscard]] store::KeptNumbers numbers() const noexcept { return sqlite->numbers(); }
  [[nodiscard]] StoreError reserve(std::uint64_t last) noexcept {
    return refuses ? StoreError::full : sqlite->reserve(last);
  }
  [[nodiscard]] StoreError load(KeptVisitor& visitor) {
    return unreadable ? StoreError::corrupt : sqlite->load(visitor);
  }
  [[nodiscard]] StoreError commit(std::span<const KeptChange> changes) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !held_; });
    return refuses ? StoreError::full : sqlite->commit(changes);
  }
  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }

  std::unique_ptr<SqliteStore> sqlite;
  std::atomic<bool> refuses{false};
  bool unreadable = false;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
};

class RestartTest : public ::testing::Test {
 protected:
  /// The next life. \param options   those of the application; by default as in the last life.
  App& live(std::optional<AppOptions> changed = {}, JournalOptions journal = {}) {
    if (changed) options = *std::move(changed);
    end();
    auto memory_store = std::make_unique<Memory>();
    memory = memory_store.get();
    auto [error, opened] = SqliteStore::open(path);
    EXPECT_EQ(error, StoreError::ok);
    memory->sqlite = std::move(opened);
    memory->unreadable = unreadable;
    AppOptions now = options;
    now.store = store::make_log(std::move(memory_store), journal);
    return app.emplace(std::move(now));
  }
  void end() {
    if (memory != nullptr) memory->hold(false);
    memory = nullptr;
    app.reset();
  }

  [[nodiscard]] static AppOptions keeping() {
    return {.id = "1",
            .key = "k",
            .secret = "s",
            .channel_rules = {{.match = "history-*", .history = HistoryRule{.count = 5}},
                              {.match = "retain-*", .retain = true},
                              {.match = "both-*", .retain = true, .history = HistoryRule{.count = 3}}}};
  }
  EventId trigger(std::string_view channel, std::string_view event, std::string_view data, TriggerOptions how = {}) {
    KeptTicket ticket;
    how.kept = &ticket;
    const TriggerResult result = app->trigger(channel, event, data, how);
    EXPECT_TRUE(result);
    EXPECT_EQ(app->wait_kept(ticket), KeptOutcome::durable);
    return result.id;
  }
  /// `event=data` of all that is in the history.
  [[nodiscard]] std::vector<std::string> history(std::string_view channel) const {
    std::vector<std::string> all;
    app->history(channel, HistoryOrder::oldest_first, {}, 1000, [&](const HistoryEntry& entry) {
      all.push_back(std::string(entry.message->name()) + "=" + std::string(entry.message->data()));
    });
    return all;
  }
  [[nodiscard]] std::vector<std::string> retained(std::string_view channel) const {
    std::vector<std::string> all;
    for (const MessagePtr& message : app->retained(channel)) {
      all.push_back(std::string(message->name()) + "=" + std::string(message->data()));
    }
    return all;
  }
  [[nodiscard]] std::size_t rows() const {
    Collect collect;
    auto [error, opened] = SqliteStore::open(path);
    EXPECT_EQ(error, StoreError::ok);
    EXPECT_EQ(opened->load(collect), StoreError::ok);
    return collect.all.size();
  }
  [[nodiscard]] Reach reach(std::string_view channel, const EventId& id) const {
    const auto page = app->history(channel, HistoryOrder::oldest_first, id, 1, [](const HistoryEntry&) {});
    return page ? page->reach : Reach::another_epoch;
  }

  using Texts = std::vector<std::string>;
  TemporaryDirectory directory;
  std::string path = directory.file("kept.db");
  AppOptions options = keeping();
  Memory* memory = nullptr;
  bool unreadable = false;
  std::optional<App> app;
};

TEST_F(RestartTest, HistoriesAndWhatIsRetainedAreThereAgain) {
  live();
  EXPECT_EQ(app->store_trouble(), "");
  trigger("history-1", "a", "1", {.user_id = "u", .socket_id = "1.2"});
  trigger("history-1", "b", "2");
  trigger("retain-1", "x", "old");
  trigger("retain-1", "y", "1");
  trigger("retain-1", "x", "new");
  trigger("plain", "e", "1");
  for (int life = 0; life < 3; ++life) {
    live();
    EXPECT_EQ(history("history-1"), (Texts{"a=1", "b=2"}));
    EXPECT_EQ(retained("retain-1"), (Texts{"y=1", "x=new"}));
    EXPECT_NE(app->kept().bytes(), 0U);
  }
  app->history("history-1", HistoryOrder::oldest_first, {}, 1, [](const HistoryEntry& entry) {
    EXPECT_EQ(entry.message->user_id(), "u");
    EXPECT_EQ(entry.message->socket_id(), "1.2");
  });
}

TEST_F(RestartTest, IdsGoOnAndAreNeverGivenOutAgain) {
  live();
  EventId last = trigger("history-1", "e", "0");
  for (int i = 1; i < 4; ++i) {
    const EventId before = last;
    live();
    EXPECT_EQ(reach("history-1", before), Reach::whole) << "who has seen all has missed nothing";
    last = trigger("history-1", "e", std::to_string(i));
    EXPECT_EQ(last.epoch, before.epoch);
    EXPECT_GT(last.number, before.number);
    const EventId other = trigger("history-2", "e", "x");
    EXPECT_GT(other.number, last.number) << "all channels have numbers of one kind";
  }
  EXPECT_EQ(history("history-1").size(), 4U);
}

TEST_F(RestartTest, WhoSawWhatTheProgramCouldNotWriteAnyMoreMissesNothing) {
  live();
  const EventId first = trigger("history-1", "e", "1");
  memory->refuses = true;
  const TriggerResult lost = app->trigger("history-1", "e", "2");
  ASSERT_TRUE(lost);
  live();
  EXPECT_EQ(history("history-1"), Texts{"e=1"});
  EXPECT_EQ(reach("history-1", first), Reach::whole);
  EXPECT_EQ(reach("history-1", lost.id), Reach::whole);
  EXPECT_GT(trigger("history-1", "e", "3").number, lost.id.number);
}

TEST_F(RestartTest, WhatWasForgottenStaysForgotten) {
  live();
  EventId first;
  for (int i = 0; i < 9; ++i) {
    const EventId id = trigger("history-1", "e", std::to_string(i));
    if (i == 0) first = id;
  }
  trigger("retain-1", "a", "1");
  trigger("retain-1", "b", "1");
  trigger("retain-1", "a", "2", {.retain = Retain::clear});
  live();
  EXPECT_EQ(history("history-1"), (Texts{"e=4", "e=5", "e=6", "e=7", "e=8"}));
  EXPECT_EQ(reach("history-1", first), Reach::gap);
  EXPECT_EQ(retained("retain-1"), Texts{"b=1"});
  end();
  EXPECT_EQ(rows(), 6U) << "in the file, too";
}

TEST_F(RestartTest, WhatIsTooOldIsGoneAlsoFromTheFile) {
  live();
  trigger("history-1", "e", "1");
  trigger("retain-1", "e", "1");
  app->tick(std::chrono::steady_clock::now() + 2h);
  EXPECT_EQ(app->kept().bytes(), 0U);
  end();
  EXPECT_EQ(rows(), 0U);
}

TEST_F(RestartTest, EventsKeepTheirAgeWhileNoProgramRuns) {
  {
    auto [error, opened] = SqliteStore::open(path);
    ASSERT_EQ(error, StoreError::ok);
    ASSERT_EQ(opened->reserve(10), StoreError::ok);
    std::vector<KeptChange> changes;
    for (const std::uint64_t number : {1U, 2U}) {
      const EventId id{opened->numbers().epoch, number};
      changes.push_back(keep(kept_message(id, "history-1", "e", std::to_string(number)), true, true));
      changes.back().time = KeptChange::Clock::now() - (number == 1 ? 11min : 9min);
    }
    ASSERT_EQ(opened->commit(changes), StoreError::ok);
  }
  live();
  EXPECT_EQ(history("history-1"), Texts{"e=2"});
  app->tick(std::chrono::steady_clock::now() + 2min);
  EXPECT_EQ(history("history-1"), Texts{});
}

TEST_F(RestartTest, TheBoundsAreThoseOfThisLife) {
  live();
  for (int i = 0; i < 5; ++i) trigger("history-1", "e", std::to_string(i));
  AppOptions narrower = keeping();
  narrower.channel_rules.front().history->count = 2;
  live(narrower);
  EXPECT_EQ(history("history-1"), (Texts{"e=3", "e=4"}));
  trigger("history-1", "e", "5");
  end();
  EXPECT_EQ(rows(), 2U);
}

TEST_F(RestartTest, TheBudgetHoldsWhenTheStoreIsRead) {
  live();
  for (int i = 0; i < 40; ++i) trigger("history-" + std::to_string(i), "e", std::string(100, 'x'));
  AppOptions narrower = keeping();
  narrower.kept_bytes = 10'000;
  live(narrower);
  EXPECT_LE(app->kept().bytes(), 10'000U);
  EXPECT_GT(app->kept().bytes(), 5'000U);
  EXPECT_EQ(history("history-39").size(), 1U) << "the newest are the last to go";
  end();
  EXPECT_LT(rows(), 30U);
}

TEST_F(RestartTest, WhatIsEvictedDoesNotComeBack) {
  AppOptions narrow = keeping();
  narrow.kept_bytes = 10'000;
  live(narrow);
  for (int i = 0; i < 40; ++i) {
    trigger("history-" + std::to_string(i), "e", std::string(1000, 'x'));
    app->tick();
  }
  const std::size_t bytes = app->kept().bytes();
  live();
  EXPECT_EQ(app->kept().bytes(), bytes);
}

TEST_F(RestartTest, WhatNoRuleIsForWhenTheProgramStartsIsForgotten) {
  live();
  const EventId seen = trigger("history-1", "e", "1");
  trigger("retain-1", "e", "1");
  trigger("both-1", "e", "1");
  AppOptions fewer = keeping();
  fewer.channel_rules = {{.match = "both-*", .retain = true, .history = HistoryRule{}}};
  live(fewer);
  EXPECT_EQ(app->store_trouble(), "");
  const Subscription somebody = app->subscribe("history-1");
  EXPECT_TRUE(app->trigger("history-1", "e", "2")) << "the store sees nothing of it";
  live(keeping());
  EXPECT_EQ(history("history-1"), Texts{});
  EXPECT_EQ(retained("retain-1"), Texts{});
  EXPECT_EQ(history("both-1"), Texts{"e=1"});
  EXPECT_FALSE(app->subscribe("history-1", seen).resumed()) << "2 was missed";
  end();
  EXPECT_EQ(rows(), 1U);
}

TEST_F(RestartTest, AHistoryThatItsRuleDoesNotWantForALifeIsForgotten) {
  live();
  const EventId seen = trigger("both-1", "e", "1");
  AppOptions retaining = keeping();
  retaining.channel_rules = {{.match = "both-*", .retain = true}};
  live(retaining);
  EXPECT_EQ(retained("both-1"), Texts{"e=1"});
  EXPECT_TRUE(app->trigger("both-1", "e", "2", {.retain = Retain::no}));
  live(keeping());
  EXPECT_EQ(history("both-1"), Texts{});
  EXPECT_EQ(retained("both-1"), Texts{"e=1"});
  EXPECT_FALSE(app->subscribe("both-1", seen).resumed()) << "2 was missed";
}

TEST_F(RestartTest, ManyChannelsAreForgottenThoughTheJournalHasRoomForFew) {
  live();
  for (int i = 0; i < 20; ++i) trigger("history-" + std::to_string(i), "e", "1");
  AppOptions none = keeping();
  none.channel_rules.clear();
  live(none, {.changes = 2});
  EXPECT_EQ(app->store_trouble(), "");
  end();
  EXPECT_EQ(rows(), 0U);
}

TEST_F(RestartTest, TheBudgetForgetsNothingInTheFileThatIsYetToComeBack) {
  live();
  const std::string large(900, 'x');
  for (int i = 0; i < 4; ++i) trigger("history-a", "e", large);
  for (int i = 0; i < 5; ++i) {
    trigger("history-b", "e", large);
    trigger("history-a", "e", large);
  }
  AppOptions narrower = keeping();
  narrower.kept_bytes = 16'000;
  live(narrower);
  const std::size_t of_a = history("history-a").size();
  const std::size_t of_b = history("history-b").size();
  EXPECT_GT(of_a, 1U);
  live(narrower);
  EXPECT_EQ(history("history-a").size(), of_a);
  EXPECT_EQ(history("history-b").size(), of_b);
}

TEST_F(RestartTest, AChannelThatCameBackGetsItsHookWhereNobodyIs) {
  live();
  const EventId seen = trigger("both-1", "e", "1");
  live();
  ASSERT_EQ(app->on_subscribe("both-*", [](const Subscriber&, const SnapshotReply&) {}), RuleError::ok);
  const bool looked = app->channels().look_at_state(
      "both-1", [](ChannelState* state) { EXPECT_NE(static_cast<const ChannelMemory*>(state)->hook(), nullptr); });
  EXPECT_TRUE(looked);
  EXPECT_EQ(history("both-1"), Texts{"e=1"}) << "what is kept stays";
  EXPECT_EQ(reach("both-1", seen), Reach::whole);
}

TEST_F(RestartTest, ACacheChannelThatHasARuleHasItsLastEventAgain) {
  AppOptions cache = keeping();
  cache.channel_rules = {{.match = "cache-*", .history = HistoryRule{}}};
  live(cache);
  trigger("cache-1", "e", "1");
  trigger("cache-1", "e", "2");
  trigger("cache-1", "client-e", "3", {.socket_id = "1.2"});
  live();
  const auto cached = app->cached("cache-1");
  ASSERT_TRUE(cached);
  EXPECT_EQ(cached->message->data(), "2") << "what clients say is not it";
}

TEST_F(RestartTest, WhatAHookRemembersWhileThereIsNoRuleIsNotPassedOverInTheNextLife) {
  live();
  ASSERT_EQ(app->on_subscribe("history-*", [](const Subscriber&, const SnapshotReply&) {}), RuleError::ok);
  Subscription somebody = app->subscribe("history-1");
  const EventId seen = trigger("history-1", "e", "1");
  EXPECT_FALSE(app->set_channel_rules({}));
  EXPECT_TRUE(app->trigger("history-1", "e", "2"));
  EXPECT_FALSE(app->set_channel_rules(options.channel_rules));
  trigger("history-1", "e", "3");
  somebody.reset();
  live();
  EXPECT_EQ(history("history-1"), Texts{"e=3"});
  EXPECT_EQ(reach("history-1", seen), Reach::gap);
}

TEST_F(RestartTest, ARuleThatGoesTakesAlongWhatWasRetainedByWish) {
  live();
  trigger("history-1", "e", "1", {.retain = Retain::yes});
  EXPECT_EQ(retained("history-1"), Texts{"e=1"});
  EXPECT_FALSE(app->set_channel_rules({}));
  live();
  EXPECT_EQ(history("history-1"), Texts{});
  EXPECT_EQ(retained("history-1"), Texts{});
}

TEST_F(RestartTest, NumbersThatOtherChannelsHaveAreNotMissed) {
  live();
  const Subscription somebody = app->subscribe("retain-1");
  const EventId seen = trigger("retain-1", "e", "1");
  for (const bool misses : {false, true}) {
    Texts given;
    bool resumed = false;
    const Subscription subscription = app->subscribe(
        "retain-1",
        [&](Subscription& s) {
          s.bind_all([&](const Event& event) { given.emplace_back(event.data()); });
          resumed = s.resumed();
          trigger("history-1", "e", "x");
          trigger("retain-1", "e", "2");
          if (misses) trigger("retain-1", "e", "3");
        },
        misses ? app->retained("retain-1").front()->id() : seen);
    EXPECT_TRUE(resumed);
    EXPECT_EQ(given, Texts{misses ? "3" : "2"});
    EXPECT_EQ(subscription.resumed(), !misses) << "it was not given the first of two";
  }
}

TEST_F(RestartTest, SubscribersNeedNotWaitForTheStoreButWhoAcknowledgesDoes) {
  live();
  int seen = 0;
  const Subscription subscription =
      app->subscribe("history-1", [&](Subscription& s) { s.bind("e", [&](const Event&) { ++seen; }); });
  memory->hold(true);
  KeptTicket ticket;
  EXPECT_TRUE(app->trigger("history-1", "e", "1", {.kept = &ticket}));
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(history("history-1").size(), 1U);
  EXPECT_EQ(app->kept_outcome(ticket), KeptOutcome::pending);
  memory->hold(false);
  EXPECT_EQ(app->wait_kept(ticket), KeptOutcome::durable);
  EXPECT_EQ(app->kept_outcome(ticket), KeptOutcome::durable);
}

TEST_F(RestartTest, ATicketIsOfAllChannelsOfATrigger) {
  live();
  KeptTicket ticket;
  EXPECT_TRUE(app->trigger({"history-1", "plain", "retain-1"}, "e", "1", {.kept = &ticket}));
  EXPECT_EQ(ticket.last - ticket.first, 1U);
  EXPECT_EQ(app->wait_kept(ticket), KeptOutcome::durable);
  KeptTicket nothing;
  EXPECT_TRUE(app->trigger("plain", "e", "1", {.kept = &nothing}));
  EXPECT_TRUE(app->trigger("retain-1", "e", "1", {.retain = Retain::no, .kept = &nothing}));
  EXPECT_FALSE(nothing) << "nothing is kept";
  EXPECT_EQ(app->wait_kept(nothing), KeptOutcome::durable);
}

TEST_F(RestartTest, AStoreThatRefusesIsToldOfAndStopsNothing) {
  std::vector<std::string> told;
  options.on_event = [&](const AppEvent& event) {
    if (event.kind == AppEvent::Kind::store_trouble) told.push_back(event.data);
  };
  live();
  memory->refuses = true;
  KeptTicket ticket;
  EXPECT_TRUE(app->trigger("history-1", "e", "1", {.kept = &ticket}));
  EXPECT_EQ(app->wait_kept(ticket), KeptOutcome::lost);
  EXPECT_EQ(app->store_trouble(), message(StoreError::full));
  EXPECT_EQ(history("history-1").size(), 1U);
  app->tick();
  app->tick();
  memory->refuses = false;
  trigger("history-1", "e", "2");
  app->tick();
  EXPECT_EQ(told, (std::vector<std::string>{std::string(message(StoreError::full)), ""}));
}

TEST_F(RestartTest, WhatTheStoreRefusedForAWhileIsNoHoleInTheNextLife) {
  live();
  const EventId seen = trigger("both-1", "state", "1");
  memory->refuses = true;
  KeptTicket ticket;
  EXPECT_TRUE(app->trigger("both-1", "state", "2", {.kept = &ticket}));
  EXPECT_EQ(app->wait_kept(ticket), KeptOutcome::lost);
  memory->refuses = false;
  trigger("both-1", "other", "3");
  live();
  EXPECT_EQ(history("both-1"), (Texts{"state=1", "state=2", "other=3"}));
  EXPECT_EQ(retained("both-1"), (Texts{"state=2", "other=3"}));
  EXPECT_EQ(reach("both-1", seen), Reach::whole);
}

TEST_F(RestartTest, AStoreThatGoesOnRefusingHasAllUpToSomeEvent) {
  live({}, {.changes = 3});
  const EventId seen = trigger("both-1", "state", "1");
  memory->refuses = true;
  for (int i = 2; i < 5; ++i) {
    KeptTicket ticket;
    EXPECT_TRUE(app->trigger("both-1", "state", std::to_string(i), {.kept = &ticket}));
    EXPECT_EQ(app->wait_kept(ticket), KeptOutcome::lost);
  }
  EXPECT_EQ(app->trigger("both-1", "state", "5").error, errc::overloaded);
  EXPECT_TRUE(app->trigger("plain", "e", "1"));
  live();
  EXPECT_EQ(history("both-1"), Texts{"state=1"});
  EXPECT_EQ(retained("both-1"), Texts{"state=1"});
  EXPECT_EQ(reach("both-1", seen), Reach::whole) << "as where the program had ended then";
}

TEST_F(RestartTest, WhereTheStoreIsFarBehindTriggersAreRefusedButOnlyOfWhatIsKept) {
  live({}, {.changes = 2});
  memory->hold(true);
  EXPECT_TRUE(app->trigger("history-1", "e", "1"));
  EXPECT_TRUE(app->trigger("history-1", "e", "2"));
  EXPECT_EQ(app->trigger("history-1", "e", "3").error, errc::overloaded);
  EXPECT_EQ(history("history-1").size(), 2U) << "it has no place, and nobody got it";
  const PolledSubscription queue = app->subscribe("history-1", Inbox{.messages = 4}, Since::now());
  EXPECT_EQ(app->trigger("history-1", "e", "3").error, errc::overloaded);
  EXPECT_EQ(app->trigger("history-1", "e", "3", {.user_id = "u"}).error, errc::overloaded);
  EXPECT_EQ(queue.size(), 0U);
  EXPECT_TRUE(app->trigger("plain", "e", "1"));
  EXPECT_TRUE(app->trigger("presence-1", "e", "1"));
  EXPECT_TRUE(app->trigger("retain-1", "e", "1", {.retain = Retain::no}));
  end();
}

TEST_F(RestartTest, AStoreThatCannotBeReadIsTroubleFromTheBeginning) {
  unreadable = true;
  live();
  EXPECT_EQ(app->store_trouble(), message(StoreError::corrupt));
}

}  // namespace
}  // namespace fanfare::test
