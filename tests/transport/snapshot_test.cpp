// Snapshots that the host computes for those who come, as clients see them.
#include <fanfare/transport/fanout.hpp>

#include "support/heap.hpp"
#include "support/memory_clients.hpp"
#include "support/resting_port.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <stdexcept>
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

/// A client that has come, and whose snapshot has not been given yet.
struct Asked {
  std::string channel;
  std::string socket_id;
  std::string user_id;
  EventId position;
  SnapshotReply reply;
};

Snapshot state(std::string_view data, EventId as_of = {}) {
  return {.events = {{.name = "state", .data = std::string(data)}}, .as_of = as_of};
}

class SnapshotTest : public testing::Test {
 protected:
  explicit SnapshotTest(AppOptions options = open_app()) : app(*apps.add(std::move(options))) {}

  /// Answers are given later, by the test.
  void ask_later(std::string pattern = "room") {
    ASSERT_EQ(app.on_subscribe(std::move(pattern),
                               [this](const Subscriber& who, SnapshotReply reply) {
                                 asked.push_back({std::string(who.channel), std::string(who.socket_id),
                                                  std::string(who.user_id), who.position, std::move(reply)});
                               }),
              RuleError::ok);
  }
  void answer_at_once(Snapshot snapshot, std::string pattern = "room") {
    ASSERT_EQ(app.on_subscribe(std::move(pattern),
                               [snapshot = std::move(snapshot)](const Subscriber& /*who*/, SnapshotReply reply) {
                                 EXPECT_EQ(reply.answer(snapshot), errc::ok);
                               }),
              RuleError::ok);
  }
  EventId trigger(std::string_view data, std::string_view channel = "room") {
    const TriggerResult result = app.trigger(channel, "e", data);
    EXPECT_TRUE(result);
    return result.id;
  }
  static std::string succeeded(std::string_view channel = "room") {
    return "pusher_internal:subscription_succeeded " + std::string(channel) + " {}";
  }
  static std::string replayed(std::string_view channel = "room") {
    return "pusher_internal:replayed " + std::string(channel) + " {}";
  }
  [[nodiscard]] std::size_t pending() const { return app.snapshots()->pending; }
  [[nodiscard]] std::size_t pending_bytes() const { return app.snapshots()->bytes; }

  pusher::AppList apps;
  App& app;
  std::vector<Asked> asked;
  MemoryTransport loop{apps};
};

TEST_F(SnapshotTest, IsSentFirstAndThenWhatComes) {
  answer_at_once({.events = {{"players", R"(["ann"])"}, {"score", "3"}}});
  MemoryClient client(loop);
  client.subscribe("room");
  EXPECT_EQ(client.run(), (Said{succeeded(), R"(players room ["ann"])", "score room 3", replayed()}));
  trigger("1");
  EXPECT_EQ(client.run(), Said{"e room 1"});
  EXPECT_EQ(pending(), 0U);
  EXPECT_EQ(pending_bytes(), 0U);
}

TEST_F(SnapshotTest, ItsEventsHaveNoIdsAndThoseOfTheChannelDo) {
  answer_at_once(state("x"));
  MemoryClient client(loop);
  client.subscribe("room");
  loop.run();
  trigger("1");
  loop.run();
  const std::vector<std::string> frames = client.take_raw();
  ASSERT_EQ(frames.size(), 4U);
  EXPECT_EQ(frames[1], R"({"event":"state","channel":"room","data":"x"})");
  EXPECT_TRUE(boost::json::parse(frames[2]).as_object().contains("id"));
  EXPECT_TRUE(boost::json::parse(frames[3]).as_object().contains("id"));
}

TEST_F(SnapshotTest, MayBeEmpty) {
  answer_at_once({});
  MemoryClient client(loop);
  client.subscribe("room");
  EXPECT_EQ(client.run(), (Said{succeeded(), replayed()}));
}

TEST_F(SnapshotTest, NothingIsSaidUntilItIsThereAndNothingIsMissed) {
  ask_later();
  MemoryClient client(loop);
  client.subscribe("room");
  EXPECT_EQ(client.run(), Said{});
  trigger("1");
  trigger("2");
  EXPECT_EQ(client.run(), Said{});
  ASSERT_EQ(asked.size(), 1U);
  EXPECT_EQ(pending(), 1U);
  EXPECT_TRUE(asked[0].reply.wanted());
  EXPECT_EQ(asked[0].reply.answer(state("0")), errc::ok);
  EXPECT_FALSE(asked[0].reply.wanted());
  trigger("3");
  EXPECT_EQ(client.run(), (Said{succeeded(), "state room 0", "e room 1", "e room 2", "e room 3", replayed()}));
  trigger("4");
  EXPECT_EQ(client.run(), Said{"e room 4"});
}

TEST_F(SnapshotTest, TheHostIsToldWhoHasComeAndWhere) {
  ask_later("*room");
  MemoryClient ada(loop);
  ada.subscribe("room");
  MemoryClient bob(loop);
  bob.sign_in(R"({"id":"bob"})");
  loop.run();
  const EventId first = trigger("1");
  bob.subscribe("room");
  loop.run();
  MemoryClient eve(loop);
  eve.subscribe("presence-room", user("eve"));
  loop.run();
  ASSERT_EQ(asked.size(), 3U);
  EXPECT_EQ(asked[0].channel, "room");
  EXPECT_EQ(asked[0].socket_id, ada.id());
  EXPECT_EQ(asked[0].user_id, "");
  EXPECT_EQ(asked[0].position.number, 0U);
  EXPECT_EQ(asked[0].position.epoch, first.epoch);
  EXPECT_EQ(asked[1].user_id, "bob");
  EXPECT_EQ(asked[1].position, first);
  EXPECT_EQ(asked[2].channel, "presence-room");
  EXPECT_EQ(asked[2].user_id, "eve");
}

TEST_F(SnapshotTest, CanBeOfAnEarlierTimeThanThatOfTheClient) {
  ask_later();
  MemoryClient there(loop);
  there.subscribe("room");
  loop.run();
  const EventId one = trigger("1");
  trigger("2");
  MemoryClient client(loop);
  client.subscribe("room");
  loop.run();
  trigger("3");
  EXPECT_EQ(asked[1].reply.answer(state("1", one)), errc::ok);
  EXPECT_EQ(client.run(), (Said{succeeded(), "state room 1", "e room 2", "e room 3", replayed()}));
}

TEST_F(SnapshotTest, CanBeOfALaterTimeThanThatOfTheClient) {
  ask_later();
  MemoryClient client(loop);
  client.subscribe("room");
  loop.run();
  trigger("1");
  const EventId two = trigger("2");
  trigger("3");
  EXPECT_EQ(asked[0].reply.answer(state("2", two)), errc::ok);
  EXPECT_EQ(client.run(), (Said{succeeded(), "state room 2", "e room 3", replayed()}));
}

TEST_F(SnapshotTest, OfAnotherLifeOfTheChannelOrOfNoneContainsNothingOfThisOne) {
  ask_later();
  for (const EventId as_of : {EventId{1, 1000}, EventId{}}) {
    MemoryClient client(loop);
    client.subscribe("room");
    loop.run();
    trigger("1");
    EXPECT_EQ(asked.back().reply.answer(state("x", as_of)), errc::ok);
    EXPECT_EQ(client.run(), (Said{succeeded(), "state room x", "e room 1", replayed()}));
    client.close();
    loop.run();
  }
}

TEST_F(SnapshotTest, ComesFromAnotherThread) {
  ask_later();
  MemoryClient client(loop);
  client.subscribe("room");
  loop.run();
  std::thread([this] { EXPECT_EQ(asked[0].reply.answer(state("x")), errc::ok); }).join();
  EXPECT_EQ(client.run(), (Said{succeeded(), "state room x", replayed()}));
}

TEST_F(SnapshotTest, WhoseReplyIsLetGoOfGetsInWithoutOne) {
  ask_later();
  trigger("0");
  MemoryClient client(loop);
  client.subscribe("room");
  loop.run();
  trigger("1");
  asked.clear();
  EXPECT_EQ(client.run(), (Said{succeeded(), "e room 1", replayed()}));
  EXPECT_EQ(pending(), 0U);
}

TEST_F(SnapshotTest, WhoseHookThrowsGetsInWithoutOne) {
  ASSERT_EQ(app.on_subscribe("room", [](const Subscriber&, const SnapshotReply&) { throw std::runtime_error("no"); }),
            RuleError::ok);
  MemoryClient client(loop);
  client.subscribe("room");
  EXPECT_EQ(client.run(), (Said{succeeded(), replayed()}));
}

TEST_F(SnapshotTest, WhoHasWaitedForTooLongGetsInWithoutOne) {
  ask_later();
  MemoryClient client(loop);
  client.subscribe("room");
  loop.run();
  trigger("1");
  loop.advance(4999ms);
  EXPECT_EQ(client.take(), Said{});
  loop.advance(1ms);
  EXPECT_EQ(client.take(), (Said{succeeded(), "e room 1", replayed()}));
  EXPECT_FALSE(asked[0].reply.wanted());
  EXPECT_EQ(asked[0].reply.answer(state("x")), errc::closed);
  EXPECT_EQ(client.run(), Said{});
}

TEST_F(SnapshotTest, IsNotWantedByThoseWhoHaveGoneOrLeft) {
  ask_later();
  MemoryClient gone(loop);
  gone.subscribe("room");
  MemoryClient left(loop);
  left.subscribe("room");
  loop.run();
  gone.close();
  left.unsubscribe("room");
  loop.run();
  for (Asked& each : asked) EXPECT_EQ(each.reply.answer(state("x")), errc::closed);
  EXPECT_EQ(left.run(), Said{});
  EXPECT_EQ(pending(), 0U);
  EXPECT_FALSE(app.occupied("room"));

  left.subscribe("room");
  loop.run();
  ASSERT_EQ(asked.size(), 3U);
  EXPECT_EQ(asked[0].reply.answer(state("late")), errc::closed);
  EXPECT_EQ(asked[2].reply.answer(state("x")), errc::ok);
  EXPECT_EQ(left.run(), (Said{succeeded(), "state room x", replayed()}));
}

TEST_F(SnapshotTest, WhoLeavesBeforeItIsSentIsSentNothing) {
  ask_later();
  MemoryClient client(loop);
  client.subscribe("room");
  loop.run();
  EXPECT_EQ(asked[0].reply.answer(state("x")), errc::ok);
  client.unsubscribe("room");
  client.subscribe("room");
  EXPECT_EQ(client.run(), Said{});
  EXPECT_EQ(asked[1].reply.answer(state("y")), errc::ok);
  EXPECT_EQ(client.run(), (Said{succeeded(), "state room y", replayed()}));
  EXPECT_EQ(pending_bytes(), 0U);
}

TEST_F(SnapshotTest, OutlivesTheServerAndTheApplication) {
  Asked kept;
  {
    pusher::AppList other;
    App& short_lived = *other.add(open_app());
    ASSERT_EQ(short_lived.on_subscribe("room",
                                       [&](const Subscriber&, SnapshotReply reply) { kept.reply = std::move(reply); }),
              RuleError::ok);
    MemoryTransport ends(other);
    MemoryClient client(ends);
    client.subscribe("room");
    ends.run();
    EXPECT_TRUE(kept.reply.wanted());
  }
  EXPECT_FALSE(kept.reply.wanted());
  EXPECT_EQ(kept.reply.answer(state("x")), errc::closed);
}

// ---- beside what the channel keeps

class SnapshotAndRules : public SnapshotTest {
 protected:
  static AppOptions rules() {
    AppOptions options = open_app();
    options.channel_rules = {{.match = "both", .retain = true, .history = HistoryRule{.count = 3}},
                             {.match = "retain", .retain = true},
                             {.match = "*busy", .history = HistoryRule{.count = 3}}};
    return options;
  }
  SnapshotAndRules() : SnapshotTest(rules()) {}
};

TEST_F(SnapshotAndRules, StandsInThePlaceOfHistoryRetainedAndCachedEvents) {
  answer_at_once(state("x"), "*");
  for (const char* const channel : {"both", "retain", "cache-room"}) {
    trigger("1", channel);
    MemoryClient client(loop);
    client.subscribe(channel);
    EXPECT_EQ(client.run(), (Said{succeeded(channel), "state " + std::string(channel) + " x", replayed(channel)}));
  }
  EXPECT_EQ(app.retained("both").size(), 1U) << "who asks for it gets it";
}

TEST_F(SnapshotAndRules, WhoCanBeSentAllThatItMissedNeedsNone) {
  ask_later("*");
  for (const char* const channel : {"room", "both"}) {
    MemoryClient stays(loop);
    stays.subscribe(channel);
    loop.run();
    ASSERT_EQ(asked.back().reply.answer({}), errc::ok);
    const std::string since(to_text(trigger("1", channel)).view());
    trigger("2", channel);
    const std::size_t before = asked.size();
    MemoryClient client(loop);
    client.subscribe(channel, {}, since);
    EXPECT_EQ(client.run(), (Said{succeeded(channel), "e " + std::string(channel) + " 2", replayed(channel)}));
    EXPECT_EQ(asked.size(), before);
    for (int i = 0; i < 200; ++i) trigger("3", channel);
    MemoryClient late(loop);
    late.subscribe(channel, {}, since);
    loop.run();
    ASSERT_EQ(asked.size(), before + 1);
    EXPECT_EQ(asked.back().reply.answer(state("x")), errc::ok);
    loop.run();
    const std::vector<std::string> frames = late.take_raw();
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(boost::json::parse(frames[0]).as_object().at("resumed"), false);
  }
}

TEST_F(SnapshotAndRules, WhoIsToBeSentWhatIsNotRememberedAnyMoreIsClosed) {
  ask_later("*busy");
  MemoryClient in_time(loop);
  MemoryClient too_late(loop);
  in_time.subscribe("busy");
  too_late.subscribe("busy");
  loop.run();
  EventId last;
  for (int i = 0; i < 10; ++i) last = trigger(std::to_string(i), "busy");
  EXPECT_EQ(asked[0].reply.answer(state("9", last)), errc::ok);
  EXPECT_EQ(asked[1].reply.answer(state("before")), errc::ok);
  EXPECT_EQ(in_time.run(), (Said{succeeded("busy"), "state busy 9", replayed("busy")}));
  EXPECT_TRUE(too_late.end().closed());
  EXPECT_FALSE(in_time.end().closed());
}

TEST_F(SnapshotTest, ChannelsThatNoHookIsForAreAsTheyWere) {
  ask_later("room");
  MemoryClient client(loop);
  client.subscribe("other");
  EXPECT_EQ(client.run(), Said{succeeded("other")});
  EXPECT_FALSE(trigger("1", "other")) << "it has no order";
  EXPECT_TRUE(asked.empty());
  EXPECT_FALSE(app.history("room", HistoryOrder::oldest_first, {}, 10, [](const HistoryEntry&) {}));
}

TEST_F(SnapshotTest, TheFirstHookThatMatchesIsAsked) {
  answer_at_once(state("one"), "room-1");
  answer_at_once(state("any"), "room-*");
  for (const auto& [channel, expected] : {std::pair{"room-1", "one"}, std::pair{"room-2", "any"}}) {
    MemoryClient client(loop);
    client.subscribe(channel);
    const Said said = client.run();
    ASSERT_EQ(said.size(), 3U);
    EXPECT_EQ(said[1], "state " + std::string(channel) + ' ' + expected);
  }
  const auto nothing = [](const Subscriber&, const SnapshotReply&) {};
  EXPECT_EQ(app.on_subscribe("room-1", nothing), RuleError::duplicate_match);
  EXPECT_EQ(app.on_subscribe("a b", nothing), RuleError::bad_character);
  EXPECT_EQ(app.on_subscribe("", nothing), RuleError::empty_match);
}

TEST_F(SnapshotTest, AChannelWithAHookKeepsNothingWhenTheLastSubscriberHasGone) {
  answer_at_once(state("x"));
  {
    MemoryClient client(loop);
    client.subscribe("room");
    loop.run();
    trigger("1");
    EXPECT_NE(app.kept().bytes(), 0U);
    client.close();
    loop.run();
  }
  loop.advance(1s);
  loop.advance(1s);
  EXPECT_FALSE(trigger("2")) << "there is no such channel";
  app.channels().collect();
  EXPECT_EQ(app.kept().bytes(), 0U);
}

// ---- presence

TEST_F(SnapshotTest, InAPresenceChannelWhoIsThereStandsInFront) {
  ask_later("presence-room");
  const std::string room = "presence-room";
  MemoryClient ada(loop);
  ada.subscribe(room, user("ada"));
  loop.run();
  MemoryClient bob(loop);
  bob.subscribe(room, user("bob"));
  loop.run();
  trigger("1", room);
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[0].reply.answer(state("x")), errc::ok);
  Said said = ada.run();
  ASSERT_FALSE(said.empty());
  EXPECT_NE(said[0].find(R"({"presence":{"count":2,)"), std::string::npos) << said[0];
  said.erase(said.begin());
  EXPECT_EQ(said, (Said{"state " + room + " x", "e " + room + " 1", replayed(room)}));
  EXPECT_EQ(bob.take(), Said{});
}

TEST_F(SnapshotTest, InAPresenceChannelTheMembersAreThoseOfTheTimeOfTheAnswer) {
  ask_later("presence-*");
  const std::string room = "presence-room";
  PresenceView view(room, "ada");
  MemoryClient ada(loop);
  ada.subscribe(room, user("ada"));
  MemoryClient bob(loop);
  bob.subscribe(room, user("bob"));
  loop.run();
  MemoryClient eve(loop);
  eve.subscribe(room, user("eve"));
  loop.run();
  bob.close();
  loop.run();
  for (int i = 0; i < 500; ++i) trigger(".", room);  // more than is remembered
  EXPECT_EQ(asked[0].reply.answer(state("x", trigger("last", room))), errc::ok);
  loop.run();
  static_cast<void>(view.apply(ada.take_raw()));
  EXPECT_TRUE(view.inside());
  EXPECT_EQ(view.members(), (std::set<std::string>{"ada", "eve"}));
  EXPECT_EQ(view.members(), present(app, room));
  MemoryClient tom(loop);
  tom.subscribe(room, user("tom"));
  loop.run();
  eve.close();
  loop.run();
  static_cast<void>(view.apply(ada.take_raw()));
  EXPECT_EQ(view.members(), present(app, room));
}

// ---- bounds

class SnapshotBounds : public SnapshotTest {
 protected:
  static AppOptions bounds() {
    AppOptions options = open_app();
    options.snapshots = {.pending = 2, .bytes = 300'000, .pending_bytes = 500'000, .timeout = 1s};
    return options;
  }
  SnapshotBounds() : SnapshotTest(bounds()) {}
};

TEST_F(SnapshotBounds, OneIsNotTooLargeAndAllTogetherAreNotEither) {
  ask_later();
  MemoryClient ada(loop);
  MemoryClient bob(loop);
  ada.end().limit_window(1000);
  ada.subscribe("room");
  bob.subscribe("room");
  loop.run();
  ASSERT_EQ(asked.size(), 2U);
  SnapshotReply& first = asked[0].reply;
  EXPECT_EQ(first.answer(state(std::string(300'000, '.'))), errc::data_too_large);
  EXPECT_EQ(first.answer({.events = std::vector<SnapshotEvent>(2000, {"e", ""})}), errc::data_too_large);
  EXPECT_EQ(first.answer({.events = {{"", "x"}}}), errc::empty_name);
  EXPECT_EQ(first.answer({.events = {{"pusher:error", "x"}}}), errc::reserved_name);
  EXPECT_EQ(first.answer({.events = {{std::string(1000, 'e'), "x"}}}), errc::event_too_long);
  EXPECT_EQ(first.answer({.events = {{"e", "\xff"}}}), errc::not_utf8);
  EXPECT_TRUE(first.wanted());
  EXPECT_EQ(pending_bytes(), 0U);
  EXPECT_EQ(first.answer(state(std::string(140'000, '.'))), errc::ok);
  EXPECT_EQ(asked[1].reply.answer(state(std::string(140'000, '.'))), errc::overloaded);
  EXPECT_EQ(asked[1].reply.answer(state("x")), errc::ok);
  EXPECT_EQ(bob.run(), (Said{succeeded(), "state room x", replayed()}));
}

TEST_F(SnapshotBounds, WhoComesWhenTooManyWaitIsClosedAndMayComeAgain) {
  ask_later();
  MemoryClient a(loop);
  MemoryClient b(loop);
  MemoryClient c(loop);
  for (MemoryClient* const client : {&a, &b, &c}) client->subscribe("room");
  loop.run();
  EXPECT_EQ(asked.size(), 2U);
  EXPECT_EQ(pending(), 2U);
  EXPECT_FALSE(a.end().closed());
  EXPECT_TRUE(c.end().closed());
  EXPECT_EQ(app.subscribers("room"), 2U);
  EXPECT_EQ(asked[0].reply.answer(state("x")), errc::ok);
  EXPECT_EQ(a.run().size(), 3U);
  MemoryClient again(loop);
  again.subscribe("room");
  loop.run();
  ASSERT_EQ(asked.size(), 3U);
  EXPECT_EQ(asked[2].reply.answer(state("x")), errc::ok);
  EXPECT_EQ(again.run().size(), 3U);
}

class LargeSnapshots : public SnapshotTest {
 protected:
  LargeSnapshots() : SnapshotTest(large()) {}
  static AppOptions large() {
    AppOptions options = open_app();
    options.snapshots.bytes = std::size_t{2} << 20U;
    return options;
  }
};

TEST_F(LargeSnapshots, ALargeOneComesInPiecesAsItIsRead) {
  Snapshot large;
  for (int i = 0; i < 400; ++i) large.events.push_back({"part", std::to_string(i) + ' ' + std::string(1000, '.')});
  answer_at_once(std::move(large));
  MemoryClient client(loop);
  client.end().limit_window(50'000);
  client.subscribe("room");
  int parts = 0;
  for (int round = 0; round < 1000 && parts < 400; ++round) {
    loop.run();
    EXPECT_LE(client.end().unread(), 250'000U);
    for (const std::string& said : client.take()) {
      if (!said.starts_with("part ")) continue;
      ASSERT_TRUE(said.starts_with("part room " + std::to_string(parts) + ' ')) << said.substr(0, 30);
      ++parts;
    }
    trigger("live");
  }
  EXPECT_EQ(parts, 400);
  EXPECT_EQ(pending_bytes(), 0U);
}

// ---- exhausted memory

class SnapshotMemory : public testing::TestWithParam<std::pair<bool, bool>> {};

TEST_P(SnapshotMemory, WhoWaitsWhenItIsExhaustedIsCountedOutInTheEnd) {
  const bool later = GetParam().first;
  const bool for_good = GetParam().second;
  const std::string channel = "presence-room";
  const auto ada = std::make_shared<const Member>(Member{.user_id = "ada", .user_info = "{}"});
  const Snapshot snapshot = state("x");
  bool failed = true;
  for (std::size_t n = 0; failed; ++n) {
    ASSERT_LT(n, 500U);
    App app(open_app());
    SnapshotReply kept;
    ASSERT_EQ(app.on_subscribe("*room",
                               [&](const Subscriber&, SnapshotReply reply) {
                                 if (!later) static_cast<void>(reply.answer(snapshot));
                                 kept = std::move(reply);
                               }),
              RuleError::ok);
    RestingPort port;
    RestingDoor door;
    transport::Fanout<RestingPort, transport::Peer> fanout(port, door, {});
    const auto turn = [&] {
      while (fanout.drain()) fanout.flush();
      fanout.flush();
    };
    Heap::fail_after(n, for_good);
    static_cast<void>(fanout.join(app, channel, port.peers[0], ada));
    turn();
    static_cast<void>(kept.answer(snapshot));
    turn();
    kept = {};
    turn();
    failed = Heap::succeed() != 0;
    const bool entered = fanout.membership(app, channel, port.peers[0]).has_value();
    EXPECT_TRUE(failed || entered) << n;
    EXPECT_TRUE(entered || port.peers[0].deaf || !app.occupied(channel)) << n << ": it would wait for ever";
    fanout.leave_all(port.peers[0]);
    turn();
    EXPECT_FALSE(app.occupied(channel)) << n;
    EXPECT_EQ(app.user_count(channel), 0U) << n;
    EXPECT_EQ(app.snapshots()->pending, 0U) << n;
    EXPECT_EQ(app.snapshots()->bytes, 0U) << n;
    fanout.tidy();
    EXPECT_EQ(fanout.channels(), 0U) << n;
    port.peers[0].backlog.reset();
    fanout.close();
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(All, SnapshotMemory,
                         testing::Values(std::pair{false, false}, std::pair{false, true}, std::pair{true, false},
                                         std::pair{true, true}));

}  // namespace
