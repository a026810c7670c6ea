#include <fanfare/transport/fanout.hpp>

#define FANFARE_TEST_REPLACES_NEW
#include "support/heap.hpp"

#include <fanfare/app.hpp>
#include <fanfare/pusher/socket_id.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using fanfare::test::Heap;
using transport::Fanout;
using transport::FanoutLimits;
using transport::JoinResult;
using Texts = std::vector<std::string>;

// A connection that takes what a test lets it take.
struct TestConnection : transport::Peer {
  std::string wire;                                              // what went out
  std::size_t window = std::numeric_limits<std::size_t>::max();  // so much more is taken
  std::size_t writes = 0;
  bool fails = false;
  unsigned times_broken = 0;
  unsigned times_overflowed = 0;

  std::string id() const { return std::to_string(number + 1) + ".77"; }
};

class TestPort {
 public:
  std::ptrdiff_t write(TestConnection& connection, std::string_view bytes) noexcept {
    ++connection.writes;
    if (connection.fails) return -1;
    const std::size_t taken = std::min(connection.window, bytes.size());
    connection.window -= taken;
    connection.wire.append(bytes.substr(0, taken));
    return static_cast<std::ptrdiff_t>(taken);
  }
  void broken(TestConnection& connection) noexcept { ++connection.times_broken; }
  void overflowed(TestConnection& connection) noexcept { ++connection.times_overflowed; }
  TestConnection* find(std::string_view socket_id) noexcept {
    const auto id = pusher::SocketId::parse(socket_id);
    return id && id->secret == 77 && id->place != 0 ? at(static_cast<std::uint32_t>(id->place - 1)) : nullptr;
  }
  TestConnection* at(std::uint32_t number) noexcept {
    return number < connections.size() ? connections[number].get() : nullptr;
  }

  TestConnection& connect() {
    connections.push_back(std::make_unique<TestConnection>());
    connections.back()->number = static_cast<std::uint32_t>(connections.size() - 1);
    connections.back()->wire.reserve(std::size_t{1} << 20U);  // a write takes no memory
    return *connections.back();
  }

  std::vector<std::unique_ptr<TestConnection>> connections;
};
static_assert(transport::Port<TestPort, TestConnection>);

struct TestDoor final : transport::Door {
  explicit TestDoor(std::size_t most = std::size_t{64} << 20U) : Door(most) {}
  void wake() noexcept override { ++wakes; }
  unsigned wakes = 0;
};

std::string payload_of(std::string_view channel, std::string_view event, std::string_view data) {
  std::string text = R"({"event":")";
  text.append(event).append(R"(","channel":")").append(channel).append(R"(","data":")").append(data).append(R"("})");
  return text;
}

// The payloads of the whole frames in there; what is behind them goes to `rest`.
Texts texts_of(std::string_view wire, std::string* rest = nullptr) {
  Texts texts;
  const auto byte = [&](std::size_t i) { return std::size_t{static_cast<unsigned char>(wire[i])}; };
  while (wire.size() >= 2) {
    std::size_t header = 2;
    std::size_t size = byte(1);
    if (size >= 126) {
      const std::size_t digits = size == 126 ? 2 : 8;
      header += digits;
      if (wire.size() < header) break;
      size = 0;
      for (std::size_t i = 0; i < digits; ++i) size = size << 8U | byte(2 + i);
    }
    if (wire.size() - header < size) break;
    texts.emplace_back(wire.substr(header, size));
    wire.remove_prefix(header + size);
  }
  if (rest != nullptr) *rest = wire;
  return texts;
}

std::size_t frame_size(std::string_view channel, std::string_view event, std::string_view data) {
  const std::size_t payload = payload_of(channel, event, data).size();
  return payload + (payload < 126 ? 2 : payload < 65536 ? 4 : 10);
}

class FanoutTest : public testing::Test {
 protected:
  explicit FanoutTest(const FanoutLimits& limits = {}) : fanout(port, door, limits) {}
  ~FanoutTest() override {
    for (const auto& connection : port.connections) fanout.leave_all(*connection);
    for (const auto& connection : port.connections) connection->backlog.reset();
    fanout.close();
    EXPECT_EQ(fanout.logs().used(), 0U);
    EXPECT_EQ(door.mailbox.bytes(), 0U);
  }

  JoinResult join(std::string_view channel, TestConnection& connection) {
    return fanout.join(app, channel, connection);
  }
  void turn() {
    bool more = true;
    while (more) {
      more = fanout.drain();
      fanout.flush();
    }
  }
  // What has come since it was asked last.
  static Texts take(TestConnection& connection) {
    std::string rest;
    Texts texts = texts_of(connection.wire, &rest);
    connection.wire = rest;
    connection.wire.reserve(std::size_t{1} << 20U);
    return texts;
  }

  TestDoor door;
  App app{{.id = "1", .key = "key", .secret = "secret", .max_channels_per_connection = 5}};
  TestPort port;
  Fanout<TestPort, TestConnection> fanout;
};

TEST_F(FanoutTest, SendsAChannelsEventsInOrderAndOneWrite) {
  TestConnection& a = port.connect();
  TestConnection& b = port.connect();
  TestConnection& c = port.connect();
  EXPECT_EQ(join("x", a), JoinResult::joined);
  EXPECT_EQ(join("x", b), JoinResult::joined);
  EXPECT_EQ(join("y", c), JoinResult::joined);
  EXPECT_EQ(app.trigger("x", "e", "1").delivered, 1U);
  app.trigger("x", "e", "2");
  app.trigger("x", "f", "3");
  EXPECT_EQ(fanout.fan(), 0U);
  EXPECT_FALSE(fanout.drain());
  EXPECT_EQ(fanout.fan(), 2U);
  EXPECT_EQ(a.writes, 0U);
  fanout.flush();
  EXPECT_EQ(fanout.fan(), 0U);
  const Texts expected{payload_of("x", "e", "1"), payload_of("x", "e", "2"), payload_of("x", "f", "3")};
  EXPECT_EQ(take(a), expected);
  EXPECT_EQ(take(b), expected);
  EXPECT_EQ(a.writes, 1U);
  EXPECT_EQ(c.writes, 0U);
}

TEST_F(FanoutTest, MergesChannelsInTheOrderOfTheEvents) {
  TestConnection& both = port.connect();
  TestConnection& other = port.connect();
  TestConnection& only_x = port.connect();
  for (const char* channel : {"x", "y", "z"}) ASSERT_EQ(join(channel, both), JoinResult::joined);
  ASSERT_EQ(join("y", other), JoinResult::joined);
  ASSERT_EQ(join("x", only_x), JoinResult::joined);
  Texts expected;
  Texts of_x;
  for (int i = 0; i < 12; ++i) {
    const char* const channel = i % 3 == 0 ? "x" : "y";
    app.trigger(channel, "e", std::to_string(i));
    expected.push_back(payload_of(channel, "e", std::to_string(i)));
    if (i % 3 == 0) of_x.push_back(expected.back());
  }
  turn();
  EXPECT_EQ(take(both), expected);
  EXPECT_EQ(both.writes, 1U);
  EXPECT_EQ(take(only_x), of_x);
  EXPECT_EQ(take(other).size(), 8U);
  EXPECT_EQ(other.writes, 1U);
}

TEST_F(FanoutTest, ExcludesOneConnectionFromOneEvent) {
  TestConnection& a = port.connect();
  TestConnection& b = port.connect();
  TestConnection& outside = port.connect();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  ASSERT_EQ(join("x", b), JoinResult::joined);
  app.trigger("x", "e", "1");
  app.trigger("x", "e", "2", {.except_socket = a.id()});
  app.trigger("x", "e", "3", {.except_socket = outside.id()});
  app.trigger("x", "e", "4", {.except_socket = "1.78"});
  app.trigger("x", "e", "5", {.except_socket = "nonsense"});
  turn();
  EXPECT_EQ(take(a), (Texts{payload_of("x", "e", "1"), payload_of("x", "e", "3"), payload_of("x", "e", "4"),
                            payload_of("x", "e", "5")}));
  EXPECT_EQ(take(b).size(), 5U);
  EXPECT_EQ(a.writes, 1U);
  // Excluded from everything there is: no write at all; and the next turn is an ordinary one.
  app.trigger("x", "e", "6", {.except_socket = a.id()});
  turn();
  EXPECT_EQ(a.writes, 1U);
  EXPECT_EQ(take(b).size(), 1U);
  app.trigger("x", "e", "7");
  turn();
  EXPECT_EQ(take(a), Texts{payload_of("x", "e", "7")});
}

TEST_F(FanoutTest, TellsWhatCameOfJoiningAndLeaving) {
  TestConnection& a = port.connect();
  EXPECT_FALSE(fanout.leave(app, "x", a));
  EXPECT_EQ(join("x", a), JoinResult::joined);
  EXPECT_EQ(join("x", a), JoinResult::already_joined);
  EXPECT_EQ(join("not a name", a), JoinResult::refused);
  for (const char* channel : {"c1", "c2", "c3", "c4"}) EXPECT_EQ(join(channel, a), JoinResult::joined);
  EXPECT_EQ(join("c5", a), JoinResult::over_limit);
  EXPECT_EQ(join("x", a), JoinResult::already_joined);
  EXPECT_TRUE(fanout.leave(app, "c2", a));
  EXPECT_FALSE(fanout.leave(app, "c2", a));
  EXPECT_EQ(join("c5", a), JoinResult::joined);
  for (const char* channel : {"x", "c1", "c3", "c4", "c5"}) {
    EXPECT_EQ(app.subscribers(channel), 1U) << channel;
    EXPECT_TRUE(fanout.leave(app, channel, a));
    EXPECT_EQ(app.subscribers(channel), 0U) << channel;
  }
}

TEST_F(FanoutTest, KeepsApplicationsApart) {
  App other{{.id = "2", .key = "key2", .secret = "secret"}};
  TestConnection& a = port.connect();
  TestConnection& b = port.connect();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  ASSERT_EQ(fanout.join(other, "x", b), JoinResult::joined);
  app.trigger("x", "e", "1");
  other.trigger("x", "e", "2");
  turn();
  EXPECT_EQ(take(a), Texts{payload_of("x", "e", "1")});
  EXPECT_EQ(take(b), Texts{payload_of("x", "e", "2")});
  EXPECT_FALSE(fanout.leave(other, "x", a));
  EXPECT_TRUE(fanout.leave(other, "x", b));
  fanout.tidy();
}

TEST_F(FanoutTest, CountsMembersAndStaysUntilItIsTidied) {
  TestConnection& a = port.connect();
  TestConnection& b = port.connect();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  ASSERT_EQ(join("x", b), JoinResult::joined);
  EXPECT_EQ(app.subscribers("x"), 2U);
  fanout.leave_all(a);
  EXPECT_EQ(app.subscribers("x"), 1U);
  fanout.leave_all(b);
  EXPECT_EQ(app.subscribers("x"), 0U);
  EXPECT_FALSE(app.occupied("x"));
  EXPECT_EQ(fanout.channels(), 1U);
  // An event for nobody does no harm, and somebody who comes back is there again.
  app.trigger("x", "e", "1");
  turn();
  ASSERT_EQ(join("x", b), JoinResult::joined);
  fanout.tidy();
  EXPECT_EQ(fanout.channels(), 1U);
  app.trigger("x", "e", "2");
  turn();
  EXPECT_EQ(take(b), Texts{payload_of("x", "e", "2")});
  fanout.leave_all(b);
  fanout.tidy();
  EXPECT_EQ(fanout.channels(), 0U);
  EXPECT_EQ(app.trigger("x", "e", "3").delivered, 0U);
}

TEST(FanoutHooks, TellOfAChannelOnceForWhoeverJoins) {
  std::vector<std::string> told;
  App app{{.id = "1", .key = "key", .secret = "secret", .on_event = [&](const AppEvent& event) {
             const bool occupied = event.kind == AppEvent::Kind::channel_occupied;
             told.push_back(std::string(occupied ? "+" : "-").append(event.channel));
           }}};
  TestDoor door;
  TestPort port;
  Fanout<TestPort, TestConnection> fanout(port, door, {});
  TestConnection& a = port.connect();
  TestConnection& b = port.connect();
  ASSERT_EQ(fanout.join(app, "x", a), JoinResult::joined);
  ASSERT_EQ(fanout.join(app, "x", b), JoinResult::joined);
  EXPECT_EQ(told, (Texts{"+x"}));
  fanout.leave_all(a);
  fanout.leave_all(b);
  EXPECT_EQ(told, (Texts{"+x", "-x"}));
  ASSERT_EQ(fanout.join(app, "x", a), JoinResult::joined);
  fanout.leave_all(a);
  fanout.tidy();
  EXPECT_EQ(told, (Texts{"+x", "-x", "+x", "-x"}));
  fanout.close();
}

TEST_F(FanoutTest, DropsEventsOfAnEarlierLifeOfTheChannel) {
  TestConnection& a = port.connect();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  app.trigger("x", "e", "old");
  fanout.leave_all(a);
  fanout.tidy();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  app.trigger("x", "e", "new");
  turn();
  EXPECT_EQ(take(a), Texts{payload_of("x", "e", "new")});
  // And of another channel that has its place now.
  app.trigger("x", "e", "old");
  fanout.leave_all(a);
  fanout.tidy();
  ASSERT_EQ(join("y", a), JoinResult::joined);
  turn();
  EXPECT_EQ(take(a), Texts{});
}

TEST_F(FanoutTest, LeavesAndRejoinsInOneTurn) {
  TestConnection& a = port.connect();
  TestConnection& b = port.connect();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  ASSERT_EQ(join("x", b), JoinResult::joined);
  EXPECT_TRUE(fanout.leave(app, "x", a));
  EXPECT_EQ(join("x", a), JoinResult::joined);
  app.trigger("x", "e", "1");
  turn();
  EXPECT_EQ(take(a), Texts{payload_of("x", "e", "1")});
  EXPECT_EQ(take(b).size(), 1U);
  EXPECT_EQ(a.writes, 1U);
  EXPECT_EQ(app.subscribers("x"), 2U);
}

TEST_F(FanoutTest, SmallChannelsGoFirst) {
  TestConnection& small = port.connect();
  ASSERT_EQ(join("small", small), JoinResult::joined);
  std::vector<TestConnection*> many;
  for (int i = 0; i < 10; ++i) {
    many.push_back(&port.connect());
    ASSERT_EQ(join("large", *many.back()), JoinResult::joined);
  }
  app.trigger("large", "e", "1");
  app.trigger("small", "e", "2");
  ASSERT_FALSE(fanout.drain());
  EXPECT_EQ(fanout.fan(), 11U);
  fanout.flush();
  EXPECT_EQ(take(small).size(), 1U);
  for (TestConnection* connection : many) EXPECT_EQ(take(*connection).size(), 1U);
}

TEST_F(FanoutTest, ARoomWithoutEventsDoesNotGrowAsClientsComeAndGo) {
  TestConnection& stays = port.connect();
  TestConnection& reloads = port.connect();
  ASSERT_EQ(join("x", stays), JoinResult::joined);
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_EQ(join("x", reloads), JoinResult::joined);
    ASSERT_TRUE(fanout.leave(app, "x", reloads));
  }
  ASSERT_EQ(join("x", reloads), JoinResult::joined);
  EXPECT_LT(reloads.memberships.find(0)->place, 64U);
  app.trigger("x", "e", "1");
  turn();
  EXPECT_EQ(take(stays).size(), 1U);
  EXPECT_EQ(take(reloads).size(), 1U);
}

TEST_F(FanoutTest, RepliesAndEventsKeepTheirOrderBehindALag) {
  TestConnection& a = port.connect();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  a.window = 5;
  app.trigger("x", "e", "1");
  turn();
  ASSERT_NE(a.backlog, nullptr);
  const std::string reply = std::string("\x81\x02", 2) + "hi";
  fanout.send(a, reply);
  app.trigger("x", "e", "2");
  app.trigger("x", "e", "3");
  turn();
  EXPECT_EQ(a.writes, 1U);  // it is not tried again before it is writable
  a.window = 3;
  EXPECT_FALSE(fanout.writable(a));
  a.window = 1 << 20;
  EXPECT_TRUE(fanout.writable(a));
  EXPECT_EQ(a.backlog, nullptr);
  EXPECT_EQ(take(a), (Texts{payload_of("x", "e", "1"), "hi", payload_of("x", "e", "2"), payload_of("x", "e", "3")}));
  app.trigger("x", "e", "4");
  turn();
  EXPECT_EQ(take(a), Texts{payload_of("x", "e", "4")});
}

TEST_F(FanoutTest, LaggardsShareTheLogs) {
  std::vector<TestConnection*> laggards;
  for (int i = 0; i < 100; ++i) {
    laggards.push_back(&port.connect());
    laggards.back()->window = 10;
    ASSERT_EQ(join("x", *laggards.back()), JoinResult::joined);
  }
  app.trigger("x", "e", std::string(8000, 'x'));
  turn();
  EXPECT_EQ(fanout.logs().used(), 1U);
  for (TestConnection* laggard : laggards) {
    ASSERT_NE(laggard->backlog, nullptr);
    laggard->window = 6000;  // less than half is left: now it has its own copy
    EXPECT_FALSE(fanout.writable(*laggard));
  }
  EXPECT_EQ(fanout.logs().used(), 100U);
  for (TestConnection* laggard : laggards) {
    laggard->window = 1 << 20;
    EXPECT_TRUE(fanout.writable(*laggard));
    EXPECT_EQ(take(*laggard).size(), 1U);
  }
  EXPECT_EQ(fanout.logs().used(), 0U);
}

class SmallFanoutTest : public FanoutTest {
 protected:
  SmallFanoutTest() : FanoutTest({.outbox_bytes = 2000, .turn_bytes = 1000, .turn_events = 4}) {}
};

TEST_F(SmallFanoutTest, ATurnIsBounded) {
  TestConnection& a = port.connect();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  for (int i = 0; i < 10; ++i) app.trigger("x", "e", std::to_string(i));
  for (const std::size_t expected : {4U, 4U, 2U}) {
    EXPECT_EQ(fanout.drain(), expected == 4);
    fanout.flush();
    EXPECT_EQ(take(a).size(), expected);
  }
  // By bytes: the event that goes beyond is the turn's last.
  for (int i = 0; i < 4; ++i) app.trigger("x", "e", std::string(600, 'x'));
  for (const bool more : {true, false}) {
    EXPECT_EQ(fanout.drain(), more);
    fanout.flush();
    EXPECT_EQ(take(a).size(), 2U);
  }
  // Nobody's events count as events.
  for (int i = 0; i < 5; ++i) app.trigger("x", "e", std::string(2000, 'x'));
  fanout.leave_all(a);
  fanout.tidy();
  EXPECT_TRUE(fanout.drain());
  EXPECT_FALSE(fanout.drain());
  EXPECT_EQ(fanout.fan(), 0U);
}

TEST_F(SmallFanoutTest, OverflowsOnceAndIsSentNothingMore) {
  TestConnection& slow = port.connect();
  TestConnection& quick = port.connect();
  ASSERT_EQ(join("x", slow), JoinResult::joined);
  ASSERT_EQ(join("x", quick), JoinResult::joined);
  slow.window = 100;
  // The bound is one of what waits before a turn: one large event is no reason.
  app.trigger("x", "e", std::string(5000, 'a'));
  turn();
  EXPECT_EQ(slow.times_overflowed, 0U);
  app.trigger("x", "e", std::string(100, 'b'));
  turn();
  EXPECT_EQ(slow.times_overflowed, 1U);
  app.trigger("x", "e", "c");
  fanout.send(slow, "\x81\x01z");
  turn();
  EXPECT_EQ(slow.times_overflowed, 1U);
  EXPECT_EQ(slow.times_broken, 0U);
  EXPECT_TRUE(slow.deaf);
  EXPECT_EQ(slow.wire.size(), 100U);
  slow.window = 1 << 20;
  EXPECT_FALSE(fanout.writable(slow));
  EXPECT_EQ(slow.wire.size(), 100U);
  EXPECT_EQ(take(quick).size(), 3U);
  EXPECT_EQ(quick.writes, 3U);
}

TEST_F(SmallFanoutTest, RepliesOverflowAtTwiceTheBound) {
  TestConnection& slow = port.connect();
  slow.window = 0;
  const std::string reply = std::string("\x81\x7e\x05\x78", 4) + std::string(1400, 'x');
  fanout.send(slow, reply);
  fanout.send(slow, reply);
  fanout.send(slow, reply);
  EXPECT_EQ(slow.times_overflowed, 0U);
  fanout.send(slow, reply);
  EXPECT_EQ(slow.times_overflowed, 1U);
}

TEST_F(FanoutTest, AFailedWriteIsToldOnce) {
  TestConnection& bad = port.connect();
  TestConnection& good = port.connect();
  ASSERT_EQ(join("x", bad), JoinResult::joined);
  ASSERT_EQ(join("y", bad), JoinResult::joined);
  ASSERT_EQ(join("x", good), JoinResult::joined);
  bad.fails = true;
  app.trigger("x", "e", "1");
  app.trigger("y", "e", "2");
  turn();
  EXPECT_EQ(bad.times_broken, 1U);
  app.trigger("x", "e", "3");
  fanout.send(bad, "x");
  turn();
  EXPECT_EQ(bad.times_broken, 1U);
  EXPECT_EQ(bad.times_overflowed, 0U);
  EXPECT_EQ(bad.writes, 1U);
  EXPECT_EQ(take(good).size(), 2U);
  // While it goes on with what waits, too.
  good.window = 1;
  app.trigger("x", "e", "4");
  turn();
  good.fails = true;
  EXPECT_FALSE(fanout.writable(good));
  EXPECT_EQ(good.times_broken, 1U);
}

TEST_F(FanoutTest, ClosesWhileEventsAreUnderWay) {
  TestConnection& a = port.connect();
  ASSERT_EQ(join("x", a), JoinResult::joined);
  app.trigger("x", "e", "1");
  ASSERT_FALSE(fanout.drain());
  app.trigger("x", "e", "2");
  EXPECT_NE(door.mailbox.bytes(), 0U);
  fanout.leave_all(a);
  fanout.close();
  EXPECT_EQ(door.mailbox.bytes(), 0U);
  EXPECT_EQ(fanout.channels(), 0U);
  EXPECT_EQ(fanout.fan(), 0U);
  EXPECT_EQ(app.trigger("x", "e", "3").delivered, 0U);
  fanout.flush();
  EXPECT_EQ(a.writes, 0U);
}

TEST(FanoutOverload, IsAnsweredAndDeliversNothing) {
  App app{{.id = "1", .key = "key", .secret = "secret"}};
  TestDoor door(3000);
  TestPort port;
  Fanout<TestPort, TestConnection> fanout(port, door, {});
  TestConnection& a = port.connect();
  ASSERT_EQ(fanout.join(app, "x", a), JoinResult::joined);
  std::size_t taken = 0;
  TriggerResult result;
  while ((result = app.trigger("x", "e", std::string(100, 'x'))).error == errc::ok) ++taken;
  EXPECT_EQ(result.error, errc::overloaded);
  EXPECT_EQ(result.delivered, 0U);
  EXPECT_GE(taken, 3U);
  EXPECT_LT(taken, 10U);
  EXPECT_FALSE(fanout.drain());
  EXPECT_EQ(door.mailbox.bytes(), 0U);
  fanout.flush();
  EXPECT_EQ(texts_of(a.wire).size(), taken);
  EXPECT_EQ(app.trigger("x", "e", "1").error, errc::ok);
  fanout.leave_all(a);
  fanout.close();
}

TEST(FanoutWake, RingsOnceForAReaderThatSleeps) {
  App app{{.id = "1", .key = "key", .secret = "secret"}};
  TestDoor door;
  TestPort port;
  Fanout<TestPort, TestConnection> fanout(port, door, {});
  TestConnection& a = port.connect();
  ASSERT_EQ(fanout.join(app, "x", a), JoinResult::joined);
  app.trigger("x", "e", "1");
  EXPECT_EQ(door.wakes, 0U);
  EXPECT_FALSE(door.mailbox.sleep());
  EXPECT_FALSE(fanout.drain());
  EXPECT_TRUE(door.mailbox.sleep());
  app.trigger("x", "e", "2");
  app.trigger("x", "e", "3");
  EXPECT_EQ(door.wakes, 1U);
  door.mailbox.awake();
  EXPECT_FALSE(fanout.drain());
  fanout.flush();
  EXPECT_EQ(texts_of(a.wire).size(), 3U);
  fanout.leave_all(a);
  fanout.close();
}

// ---- exhausted memory

// Whatever allocation fails, each connection has received everything, or is told to be broken and has a beginning of it.
TEST(FanoutMemory, ExhaustedAnywhereBreaksConnectionsButNothingElse) {
  bool refused = true;
  for (std::size_t n = 0; refused; ++n) {
    ASSERT_LT(n, 500U);
    App app{{.id = "1", .key = "key", .secret = "secret"}};
    TestDoor door;
    TestPort port;
    Fanout<TestPort, TestConnection> fanout(port, door, {});
    std::vector<TestConnection*> all;
    for (int i = 0; i < 4; ++i) all.push_back(&port.connect());
    all[1]->window = 10;
    all[2]->window = 40;
    const std::string excluded = all[3]->id();
    const std::string names[] = {"x", "y", "z", "w"};
    const std::string data = "a datum that is too long to be kept inside a string object";
    std::vector<Texts> owed(4);
    std::vector<std::vector<bool>> in(4, std::vector<bool>(4));
    std::vector<std::vector<JoinResult>> joined(4, std::vector<JoinResult>(4, JoinResult::refused));
    std::vector<bool> sent(4);

    Heap::fail_after(n);
    for (std::size_t c = 0; c < 4; ++c) {
      for (std::size_t i = 0; i < 4; ++i) joined[c][i] = fanout.join(app, names[c], *all[i]);
    }
    for (std::size_t c = 0; c < 4; ++c) {
      sent[c] = app.trigger(names[c], "event", data, {.except_socket = excluded}).error == errc::ok;
    }
    const bool more = fanout.drain();
    fanout.flush();
    for (TestConnection* connection : all) {
      connection->window = 1 << 20;
      fanout.writable(*connection);
    }
    refused = Heap::succeed() != 0;

    EXPECT_FALSE(more);
    for (std::size_t i = 0; i < 4; ++i) {
      for (std::size_t c = 0; c < 4; ++c) {
        in[c][i] = joined[c][i] == JoinResult::joined;
        if (in[c][i] && sent[c] && i != 3) owed[i].push_back(payload_of(names[c], "event", data));
      }
      std::string rest;
      const Texts came = texts_of(all[i]->wire, &rest);
      if (all[i]->deaf) {
        EXPECT_EQ(all[i]->times_broken, 1U);
        ASSERT_LE(came.size(), owed[i].size()) << n;
        EXPECT_TRUE(std::equal(came.begin(), came.end(), owed[i].begin())) << n;
      } else {
        EXPECT_EQ(came, owed[i]) << n << ' ' << i;
        EXPECT_EQ(rest, "") << n;
      }
    }
    for (std::size_t c = 0; c < 4; ++c) {
      EXPECT_EQ(app.subscribers(names[c]), static_cast<std::size_t>(std::count(in[c].begin(), in[c].end(), true)))
          << n << ' ' << names[c];
    }
    for (TestConnection* connection : all) fanout.leave_all(*connection);
    fanout.tidy();
    EXPECT_EQ(fanout.channels(), 0U) << n;
    // It goes on when there is memory again.
    TestConnection& fresh = port.connect();
    EXPECT_EQ(fanout.join(app, "x", fresh), JoinResult::joined);
    EXPECT_EQ(app.trigger("x", "e", "1").error, errc::ok);
    EXPECT_FALSE(fanout.drain());
    fanout.flush();
    EXPECT_EQ(texts_of(fresh.wire), Texts{payload_of("x", "e", "1")}) << n;
    fanout.leave_all(fresh);
    for (const auto& connection : port.connections) connection->backlog.reset();
    fanout.close();
  }
}

// ---- against a model

struct Model {
  struct Member {
    Texts owed;
    std::vector<bool> in;
    bool gone = false;
  };
  struct Event {
    std::size_t channel;
    unsigned life;
    std::string text;
    std::size_t bytes;
    std::size_t except;
  };
  struct Channel {
    bool attached = false;
    unsigned life = 0;
  };
};

class FanoutModel : public testing::TestWithParam<unsigned> {};

TEST_P(FanoutModel, EveryoneReceivesWhatIsOwed) {
  std::mt19937 random(GetParam());
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
  };
  constexpr std::size_t channels = 6;
  const FanoutLimits limits{.outbox_bytes = 3000, .turn_bytes = 2500, .turn_events = 12};
  App app{{.id = "1", .key = "key", .secret = "secret", .max_channels_per_connection = 4}};
  TestDoor door;
  TestPort port;
  Fanout<TestPort, TestConnection> fanout(port, door, limits);
  std::deque<Model::Member> members;
  std::vector<Model::Channel> lives(channels);
  std::deque<Model::Event> under_way;
  const auto name = [](std::size_t channel) { return "channel-" + std::to_string(channel); };
  const auto connect = [&] {
    port.connect().window = below(3) == 0 ? below(2000) : 1 << 20;
    members.push_back({{}, std::vector<bool>(channels), false});
  };
  const auto size_of = [&](std::size_t channel) {
    return static_cast<std::size_t>(
        std::count_if(members.begin(), members.end(), [&](const Model::Member& member) { return member.in[channel]; }));
  };
  const auto leave_all = [&](std::size_t i) {
    fanout.leave_all(*port.connections[i]);
    members[i].in.assign(channels, false);
  };
  const auto end_failed = [&] {
    for (std::size_t i = 0; i < members.size(); ++i) {
      TestConnection& connection = *port.connections[i];
      if (!connection.deaf || members[i].gone) continue;
      ASSERT_EQ(connection.times_broken + connection.times_overflowed, 1U);
      members[i].gone = true;
      leave_all(i);
      // It has a beginning of what it was owed, perhaps with a part of a frame behind that.
      std::string rest;
      const Texts came = texts_of(connection.wire, &rest);
      ASSERT_LE(came.size(), members[i].owed.size());
      ASSERT_TRUE(std::equal(came.begin(), came.end(), members[i].owed.begin()));
    }
  };
  const auto turn = [&] {
    std::size_t events = 0;
    std::size_t bytes = 0;
    while (!under_way.empty() && events < limits.turn_events && bytes < limits.turn_bytes) {
      const Model::Event event = under_way.front();
      under_way.pop_front();
      ++events;
      if (!lives[event.channel].attached || lives[event.channel].life != event.life) continue;
      bytes += event.bytes;
      for (std::size_t i = 0; i < members.size(); ++i) {
        if (members[i].in[event.channel] && i != event.except) members[i].owed.push_back(event.text);
      }
    }
    const bool more = fanout.drain();
    if (more) {
      ASSERT_TRUE(events == limits.turn_events || bytes >= limits.turn_bytes);
    } else {
      ASSERT_TRUE(under_way.empty());
    }
    fanout.flush();
    end_failed();
  };

  for (int i = 0; i < 12; ++i) connect();
  for (int step = 0; step < 4000 && !HasFatalFailure(); ++step) {
    const std::size_t i = below(members.size());
    const std::size_t channel = below(channels);
    TestConnection& connection = *port.connections[i];
    Model::Member& member = members[i];
    switch (below(12)) {
      case 0:
      case 1:
      case 2: {
        if (member.gone) break;
        const auto held = static_cast<std::size_t>(std::count(member.in.begin(), member.in.end(), true));
        const JoinResult expected = member.in[channel] ? JoinResult::already_joined
                                    : held == 4        ? JoinResult::over_limit
                                                       : JoinResult::joined;
        ASSERT_EQ(fanout.join(app, name(channel), connection), expected);
        if (expected == JoinResult::joined) {
          member.in[channel] = true;
          lives[channel].attached = true;
        }
        break;
      }
      case 3:
        ASSERT_EQ(fanout.leave(app, name(channel), connection), member.in[channel]);
        member.in[channel] = false;
        break;
      case 4:
      case 5:
      case 6:
      case 7: {
        const std::string data = std::to_string(step) + std::string(below(10) == 0 ? below(1500) : below(60), '.');
        const std::size_t except = below(3) == 0 ? i : std::numeric_limits<std::size_t>::max();
        const std::string id = except == i ? connection.id() : std::string();
        const TriggerResult result = app.trigger(name(channel), "e", data, {.except_socket = id});
        ASSERT_EQ(result.delivered, lives[channel].attached ? 1U : 0U);
        if (lives[channel].attached) {
          under_way.push_back({channel, lives[channel].life, payload_of(name(channel), "e", data),
                               frame_size(name(channel), "e", data), except});
        }
        break;
      }
      case 8: turn(); break;
      case 9:
        if (member.gone) break;
        connection.window += below(2) == 0 ? below(300) : below(5000);
        fanout.writable(connection);
        end_failed();
        break;
      case 10:
        if (below(40) == 0) connection.fails = true;
        if (below(20) == 0) connect();
        if (!member.gone && below(10) == 0) {
          fanout.send(connection, "\x81\x02hi");
          member.owed.push_back("hi");
          end_failed();
        }
        break;
      default:
        if (below(8) == 0) {
          fanout.tidy();
          for (std::size_t c = 0; c < channels; ++c) {
            if (!lives[c].attached || size_of(c) != 0) continue;
            lives[c].attached = false;
            ++lives[c].life;
          }
        } else if (below(12) == 0) {
          leave_all(i);
        }
        break;
    }
    ASSERT_EQ(app.subscribers(name(channel)), size_of(channel));
  }
  while (!under_way.empty() && !HasFatalFailure()) turn();
  turn();
  std::size_t served = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    TestConnection& connection = *port.connections[i];
    if (members[i].gone) continue;
    connection.window = 1 << 30;
    fanout.writable(connection);
    if (connection.deaf) continue;
    std::string rest;
    EXPECT_EQ(texts_of(connection.wire, &rest), members[i].owed) << i;
    EXPECT_EQ(rest, "") << i;
    EXPECT_EQ(connection.backlog, nullptr);
    ++served;
  }
  EXPECT_GT(served, 0U);
  for (const auto& connection : port.connections) fanout.leave_all(*connection);
  for (const auto& connection : port.connections) connection->backlog.reset();
  fanout.tidy();
  fanout.close();
  EXPECT_EQ(fanout.logs().used(), 0U);
  EXPECT_EQ(door.mailbox.bytes(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FanoutModel, testing::Range(1U, 21U));

// ---- batches

std::uint64_t hash_of(std::string_view bytes) {
  std::uint64_t hash = 14695981039346656037U;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
  return hash;
}

// Puts sends into batches. What becomes of each is the connection's matter, as with `write`; how it is told, the test's.
template <std::size_t Capacity>
class BatchPort : public TestPort {
 public:
  static constexpr std::size_t batch_capacity = Capacity;

  BatchPort() { batch_.reserve(Capacity); }

  bool begin_batch(std::size_t sends) noexcept {
    EXPECT_TRUE(batch_.empty());
    begun.push_back(sends);
    return alive;
  }
  bool queue(TestConnection& connection, std::string_view bytes, std::uint32_t tag) noexcept {
    if (!alive || draw(unbatched)) return false;
    EXPECT_LT(batch_.size(), Capacity);
    EXPECT_EQ(tag, batch_.size());
    EXPECT_FALSE(bytes.empty());
    EXPECT_FALSE(connection.deaf);
    EXPECT_EQ(connection.backlog, nullptr);
    for (const Queued& other : batch_) EXPECT_NE(other.connection, &connection);
    batch_.push_back({&connection, bytes, hash_of(bytes)});
    ++queued;
    return true;
  }
  template <class F, class G>
  void submit(F&& cut_short, G&& not_tried) noexcept {
    EXPECT_FALSE(batch_.empty());
    ++submitted;
    for (std::uint32_t tag = 0; tag < batch_.size(); ++tag) {
      const Queued& send = batch_[tag];
      EXPECT_EQ(hash_of(send.bytes), send.hash);  // neither moved nor written over
      if (draw(dies) || left-- == 0) alive = false;
      if (!alive) {
        not_tried(tag);
        continue;
      }
      const std::ptrdiff_t sent = write(*send.connection, send.bytes);
      if (sent != static_cast<std::ptrdiff_t>(send.bytes.size()) || draw(tells_all)) cut_short(tag, sent);
    }
    batch_.clear();
  }

  // How often, in percent.
  unsigned unbatched = 0;                                      // a connection has to be written to
  unsigned dies = 0;                                           // there are no batches from here on
  unsigned tells_all = 0;                                      // of a send that went out whole, too
  std::size_t left = std::numeric_limits<std::size_t>::max();  // so many sends more, and there are no batches
  std::mt19937 random{1};
  bool alive = true;
  std::vector<std::size_t> begun;
  std::size_t queued = 0;
  std::size_t submitted = 0;

 private:
  struct Queued {
    TestConnection* connection;
    std::string_view bytes;
    std::uint64_t hash;
  };

  bool draw(unsigned percent) { return percent != 0 && random() % 100 < percent; }

  std::vector<Queued> batch_;
};
static_assert(transport::Port<BatchPort<3>, TestConnection>);

template <class P>
struct Batched {
  explicit Batched(const FanoutLimits& limits = {}) : fanout(port, door, limits) {}
  ~Batched() {
    for (const auto& connection : port.connections) fanout.leave_all(*connection);
    for (const auto& connection : port.connections) connection->backlog.reset();
    fanout.close();
    EXPECT_EQ(fanout.logs().used(), 0U);
    EXPECT_EQ(door.mailbox.bytes(), 0U);
  }
  TestConnection& member(std::initializer_list<const char*> channels) {
    TestConnection& made = port.connect();
    for (const char* const channel : channels) EXPECT_EQ(fanout.join(app, channel, made), JoinResult::joined);
    return made;
  }
  void turn() {
    bool more = true;
    while (more) {
      more = fanout.drain();
      fanout.flush();
    }
  }

  TestDoor door;
  App app{{.id = "1", .key = "key", .secret = "secret"}};
  P port;
  Fanout<P, TestConnection> fanout;
};

TEST(FanoutBatches, HoldAsManySendsAsThePortSays) {
  Batched<BatchPort<3>> all;
  std::vector<TestConnection*> members;
  for (int i = 0; i < 8; ++i) members.push_back(&all.member({"x"}));
  all.turn();
  EXPECT_TRUE(all.port.begun.empty());
  all.app.trigger("x", "e", "1");
  all.app.trigger("x", "e", "2");
  all.turn();
  EXPECT_EQ(all.port.begun, std::vector<std::size_t>{8});
  EXPECT_EQ(all.port.queued, 8U);
  EXPECT_EQ(all.port.submitted, 3U);
  for (const TestConnection* member : members) {
    EXPECT_EQ(texts_of(member->wire), (Texts{payload_of("x", "e", "1"), payload_of("x", "e", "2")}));
    EXPECT_EQ(member->writes, 1U);
  }
  // Exactly full, and without batches.
  all.fanout.leave_all(*members[0]);
  all.fanout.leave_all(*members[1]);
  all.app.trigger("x", "e", "3");
  all.turn();
  EXPECT_EQ(all.port.submitted, 5U);
  all.port.alive = false;
  all.app.trigger("x", "e", "4");
  all.turn();
  EXPECT_EQ(all.port.queued, 14U);
  EXPECT_EQ(all.port.submitted, 5U);
  for (int i = 2; i < 8; ++i) EXPECT_EQ(texts_of(members[static_cast<std::size_t>(i)]->wire).size(), 4U);
}

TEST(FanoutBatches, LeaveOutWhoLagsIsDeafOrIsOwedNothing) {
  Batched<BatchPort<64>> all;
  TestConnection& quick = all.member({"x"});
  TestConnection& lags = all.member({"x"});
  TestConnection& broken = all.member({"x"});
  TestConnection& sender = all.member({"x"});
  lags.window = 3;
  broken.fails = true;
  all.app.trigger("x", "e", "1", {.except_socket = sender.id()});
  all.turn();
  EXPECT_EQ(all.port.queued, 3U);
  EXPECT_EQ(broken.times_broken, 1U);
  EXPECT_NE(lags.backlog, nullptr);
  all.app.trigger("x", "e", "2", {.except_socket = sender.id()});
  all.turn();
  EXPECT_EQ(all.port.queued, 4U);
  EXPECT_EQ(sender.writes, 0U);
  lags.window = 1000;
  EXPECT_TRUE(all.fanout.writable(lags));
  EXPECT_EQ(texts_of(lags.wire), texts_of(quick.wire));
  EXPECT_EQ(texts_of(quick.wire).size(), 2U);
  EXPECT_EQ(broken.times_broken, 1U);
}

// Cut off at each byte, whether all of a log was owed, or what was composed: what follows is what would have followed.
TEST(FanoutBatches, GoOnWhereASendWasCutShort) {
  bool whole = false;
  for (std::size_t cut = 0; !whole; ++cut) {
    ASSERT_LT(cut, 1000U);
    Batched<BatchPort<3>> all;
    TestConnection& plain = all.member({"x"});
    TestConnection& merged = all.member({"y", "x"});
    TestConnection& excluded = all.member({"x"});
    TestConnection& quick = all.member({"x", "y"});
    std::vector<Texts> owed(2);
    for (int i = 0; i < 4; ++i) {
      const std::string number = std::to_string(i);
      all.app.trigger("x", "e", number, {.except_socket = i == 1 ? excluded.id() : std::string()});
      all.app.trigger("y", "e", number);
      owed[0].push_back(payload_of("x", "e", number));
      owed[1].push_back(owed[0].back());
      owed[1].push_back(payload_of("y", "e", number));
    }
    Texts owed_excluded = owed[0];
    owed_excluded.erase(owed_excluded.begin() + 1);
    for (TestConnection* connection : {&plain, &merged, &excluded}) connection->window = cut;
    all.turn();
    EXPECT_EQ(all.port.queued, 4U);
    EXPECT_EQ(texts_of(quick.wire), owed[1]);
    whole = merged.backlog == nullptr;
    for (TestConnection* connection : {&plain, &merged, &excluded}) {
      EXPECT_LE(connection->wire.size(), cut);
    }
    // An answer, and the next turn, come behind it.
    for (TestConnection* connection : {&plain, &merged, &excluded}) all.fanout.send(*connection, "\x81\x02hi");
    all.app.trigger("x", "e", "last");
    all.turn();
    for (TestConnection* connection : {&plain, &merged, &excluded}) {
      connection->window = 1 << 20;
      EXPECT_TRUE(all.fanout.writable(*connection));
    }
    for (Texts* texts : {&owed[0], &owed[1], &owed_excluded}) {
      texts->push_back("hi");
      texts->push_back(payload_of("x", "e", "last"));
    }
    EXPECT_EQ(texts_of(plain.wire), owed[0]) << cut;
    EXPECT_EQ(texts_of(merged.wire), owed[1]) << cut;
    EXPECT_EQ(texts_of(excluded.wire), owed_excluded) << cut;
  }
}

// From each send on, there is no batch any more.
TEST(FanoutBatches, AreWrittenWhereTheyWereNotTried) {
  for (std::size_t tried = 0; tried < 7; ++tried) {
    Batched<BatchPort<4>> all;
    all.port.left = tried;
    std::vector<TestConnection*> members;
    for (int i = 0; i < 3; ++i) members.push_back(&all.member({"x"}));
    for (int i = 0; i < 3; ++i) members.push_back(&all.member({"x", "y"}));
    members[1]->window = 7;
    members[2]->fails = true;
    members[4]->window = 7;
    members[5]->fails = true;
    all.app.trigger("x", "e", "1");
    all.app.trigger("y", "e", "2");
    all.turn();
    all.app.trigger("x", "e", "3");
    all.turn();
    for (const std::size_t i : {1U, 4U}) {
      members[i]->window = 1000;
      EXPECT_TRUE(all.fanout.writable(*members[i]));
    }
    const Texts of_x{payload_of("x", "e", "1"), payload_of("x", "e", "3")};
    const Texts of_both{payload_of("x", "e", "1"), payload_of("y", "e", "2"), payload_of("x", "e", "3")};
    EXPECT_EQ(texts_of(members[0]->wire), of_x);
    EXPECT_EQ(texts_of(members[1]->wire), of_x);
    EXPECT_EQ(texts_of(members[3]->wire), of_both);
    EXPECT_EQ(texts_of(members[4]->wire), of_both);
    for (const std::size_t i : {2U, 5U}) {
      EXPECT_EQ(members[i]->times_broken, 1U);
      EXPECT_EQ(members[i]->writes, 1U);
    }
  }
}

// What was composed for several connections is more than there is room for, in bytes or in frames; or even for one.
class FanoutArena : public testing::TestWithParam<std::pair<std::size_t, std::size_t>> {};

TEST_P(FanoutArena, IsSentBeforeItWouldMove) {
  const auto [events, size] = GetParam();
  Batched<BatchPort<64>> all({.turn_bytes = std::size_t{8} << 20U, .turn_events = 100'000});
  std::vector<TestConnection*> members;
  for (int i = 0; i < 20; ++i) members.push_back(&all.member({"x", "y"}));
  TestConnection& only = all.member({"x"});
  for (const std::size_t i : {0U, 7U}) members[i]->window = size / 2;
  for (const std::size_t i : {1U, 8U}) members[i]->window = 0;
  members[9]->fails = true;
  Texts owed;
  Texts of_x;
  for (std::size_t i = 0; i < events; ++i) {
    const std::string data = std::string(size, 'x') + std::to_string(i);
    const char* const channel = i % 2 == 0 ? "x" : "y";
    ASSERT_TRUE(all.app.trigger(channel, "e", data));
    owed.push_back(payload_of(channel, "e", data));
    if (i % 2 == 0) of_x.push_back(owed.back());
  }
  ASSERT_FALSE(all.fanout.drain());
  all.fanout.flush();
  EXPECT_EQ(all.port.queued, 21U);
  EXPECT_GT(all.port.submitted, 1U);
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (i == 9) continue;
    members[i]->window = std::numeric_limits<std::size_t>::max();
    EXPECT_TRUE(all.fanout.writable(*members[i]));
    ASSERT_TRUE(texts_of(members[i]->wire) == owed) << i;
  }
  EXPECT_TRUE(texts_of(only.wire) == of_x);
  EXPECT_EQ(members[9]->times_broken, 1U);
}

INSTANTIATE_TEST_SUITE_P(Bounds, FanoutArena,
                         testing::Values(std::pair<std::size_t, std::size_t>{6, 5000},    // several fit
                                         std::pair<std::size_t, std::size_t>{60, 5000},   // one does not
                                         std::pair<std::size_t, std::size_t>{1000, 1},    // frames
                                         std::pair<std::size_t, std::size_t>{5000, 1}));  // of one

// A random script, of which nobody may be able to tell whether there were batches.
class FanoutBatchModel : public testing::TestWithParam<unsigned> {
 protected:
  template <class P>
  std::string run(P& port) {
    std::mt19937 random(GetParam());
    const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
    constexpr std::size_t channels = 5;
    App app{{.id = "1", .key = "key", .secret = "secret", .max_channels_per_connection = 4}};
    TestDoor door;
    Fanout<P, TestConnection> fanout(port, door, {.outbox_bytes = 4000, .turn_bytes = 3000, .turn_events = 12});
    std::string report;
    const auto name = [](std::size_t channel) { return "channel-" + std::to_string(channel); };
    const auto turn = [&] {
      const bool more = fanout.drain();
      fanout.flush();
      for (const auto& connection : port.connections) {
        if (connection->deaf) fanout.leave_all(*connection);
        report += std::to_string(connection->wire.size()) + '/' +
                  std::to_string(connection->backlog == nullptr ? 0 : connection->backlog->bytes()) +
                  (connection->deaf ? "! " : " ");
      }
      report += '\n';
      return more;
    };
    for (int step = 0; step < 2500; ++step) {
      if (port.connections.size() < 12 || below(150) == 0) {
        port.connect().window = below(3) == 0 ? below(2000) : 1 << 20;
      }
      TestConnection& connection = *port.connections[below(port.connections.size())];
      const std::size_t channel = below(channels);
      switch (below(10)) {
        case 0:
        case 1:
          if (!connection.deaf) static_cast<void>(fanout.join(app, name(channel), connection));
          break;
        case 2: fanout.leave(app, name(channel), connection); break;
        case 3:
        case 4:
        case 5:
        case 6: {
          const std::string data = std::to_string(step) + std::string(below(10) == 0 ? below(1500) : below(60), '.');
          const std::string except = below(3) == 0 ? connection.id() : std::string();
          app.trigger(name(channel), "e", data, {.except_socket = except});
          break;
        }
        case 7: turn(); break;
        case 8:
          connection.window += below(2) == 0 ? below(300) : below(5000);
          fanout.writable(connection);
          break;
        default:
          if (below(30) == 0) connection.fails = true;
          if (below(5) == 0) fanout.send(connection, "\x81\x02hi");
          if (below(30) == 0) fanout.tidy();
          break;
      }
    }
    while (turn()) {
    }
    for (const auto& connection : port.connections) {
      connection->window = std::numeric_limits<std::size_t>::max();
      fanout.writable(*connection);
      report += connection->wire + ' ' + std::to_string(connection->times_broken) + ' ' +
                std::to_string(connection->times_overflowed) + '\n';
      fanout.leave_all(*connection);
      connection->backlog.reset();
    }
    fanout.close();
    EXPECT_EQ(fanout.logs().used(), 0U);
    EXPECT_EQ(door.mailbox.bytes(), 0U);
    return report;
  }
};

TEST_P(FanoutBatchModel, NobodyCanTell) {
  TestPort without;
  const std::string expected = run(without);
  EXPECT_NE(expected.find('!'), std::string::npos);
  const auto check = [&](auto port, unsigned unbatched, unsigned dies, unsigned tells_all) {
    port.unbatched = unbatched;
    port.dies = dies;
    port.tells_all = tells_all;
    port.random.seed(GetParam());
    EXPECT_TRUE(run(port) == expected) << port.batch_capacity << ' ' << unbatched << ' ' << dies;
    EXPECT_GT(port.queued, 0U);
  };
  check(BatchPort<1>(), 0, 0, 0);
  check(BatchPort<3>(), 0, 0, 0);
  check(BatchPort<64>(), 0, 0, 0);
  check(BatchPort<2>(), 20, 0, 20);
  check(BatchPort<64>(), 30, 0, 100);
  check(BatchPort<3>(), 0, 1, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FanoutBatchModel, testing::Range(1U, 9U));

// As without batches: whatever allocation fails, everybody has received everything, or is broken and has a beginning of it.
TEST(FanoutMemory, ExhaustedInABatchBreaksConnectionsButNothingElse) {
  bool refused = true;
  for (std::size_t n = 0; refused; ++n) {
    ASSERT_LT(n, 500U);
    Batched<BatchPort<3>> all;
    std::vector<TestConnection*> members;
    for (int i = 0; i < 3; ++i) members.push_back(&all.member({"x"}));
    for (int i = 0; i < 3; ++i) members.push_back(&all.member({"x", "y"}));
    members[1]->window = 10;
    members[4]->window = 40;
    const Texts of_x{payload_of("x", "event", "1"), payload_of("x", "event", "3")};
    const Texts of_both{of_x[0], payload_of("y", "event", "2"), of_x[1]};
    ASSERT_TRUE(all.app.trigger("x", "event", "1"));
    ASSERT_TRUE(all.app.trigger("y", "event", "2"));
    ASSERT_TRUE(all.app.trigger("x", "event", "3"));
    all.port.begun.reserve(1);
    Heap::fail_after(n);
    const bool more = all.fanout.drain();
    all.fanout.flush();
    refused = Heap::succeed() != 0;
    EXPECT_FALSE(more);
    for (std::size_t i = 0; i < members.size(); ++i) {
      members[i]->window = 1 << 20;
      all.fanout.writable(*members[i]);
      const Texts& owed = i < 3 ? of_x : of_both;
      std::string rest;
      const Texts came = texts_of(members[i]->wire, &rest);
      if (members[i]->deaf) {
        EXPECT_EQ(members[i]->times_broken, 1U);
        ASSERT_LE(came.size(), owed.size());
        EXPECT_TRUE(std::equal(came.begin(), came.end(), owed.begin()));
      } else {
        EXPECT_EQ(came, owed) << n << ' ' << i;
        EXPECT_EQ(rest, "");
      }
    }
    TestConnection& fresh = all.member({"z", "w"});
    all.app.trigger("z", "event", "4");
    all.app.trigger("w", "event", "5");
    all.turn();
    EXPECT_EQ(texts_of(fresh.wire).size(), 2U) << n;
  }
}

}  // namespace
