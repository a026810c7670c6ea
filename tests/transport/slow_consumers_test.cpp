// What becomes of clients that lag, by the rules of their channels.
#include <fanfare/transport/fanout.hpp>

#include "support/heap.hpp"
#include "support/memory_clients.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using namespace std::chrono_literals;
using transport::MemoryTransport;
using transport::SlowConsumerCounts;
using Said = MemoryClient::Said;

constexpr std::size_t bound = 4000;
constexpr std::size_t open_window = std::size_t{1} << 30U;

AppOptions all_policies() {
  AppOptions options = open_app();
  options.channel_rules = {
      {.match = "*oldest-history*", .history = HistoryRule{.count = 10'000}, .overflow = SlowConsumer::drop_oldest},
      {.match = "*newest-history*", .history = HistoryRule{.count = 10'000}, .overflow = SlowConsumer::drop_newest},
      {.match = "conflate-retain*", .retain = true, .overflow = SlowConsumer::conflate},
      {.match = "*oldest*", .overflow = SlowConsumer::drop_oldest},
      {.match = "*newest*", .overflow = SlowConsumer::drop_newest},
      {.match = "*conflate*", .overflow = SlowConsumer::conflate},
  };
  return options;
}

std::string padded(int i, std::size_t size = 60) {
  std::string text = std::to_string(i) + ':';
  text.resize(std::max(size, text.size()), '.');
  return text;
}

/// What a client has been sent of one channel's events.
struct Event {
  std::string channel;
  std::string name;
  int number = -1;  // of an event
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  std::uint64_t id = 0;
};

Event event_of(std::string_view text) {
  const boost::json::object frame = boost::json::parse(text).as_object();
  Event event;
  event.name = frame.at("event").as_string();
  if (const auto* const channel = frame.if_contains("channel")) event.channel = channel->as_string();
  const auto number_of = [](const boost::json::value& id) {
    return event_id_from(std::string_view(id.as_string())).value_or(EventId{}).number;
  };
  if (event.name == "pusher_internal:gap") {
    const boost::json::value data = boost::json::parse(frame.at("data").as_string());
    event.from = number_of(data.at("from"));
    event.to = number_of(data.at("to"));
  } else if (!event.name.starts_with("pusher")) {
    event.number = std::stoi(std::string(frame.at("data").as_string()));
    if (const auto* const id = frame.if_contains("id")) event.id = number_of(*id);
  }
  return event;
}

class SlowConsumers : public testing::Test {
 protected:
  /// A client that is in some channels, and takes so many bytes more than that.
  MemoryClient slow(const std::vector<std::string>& channels, std::size_t window = 0) {
    MemoryClient client(loop);
    for (const std::string& channel : channels) client.subscribe(channel, user("slow"));
    client.run();
    client.end().limit_window(window);
    return client;
  }
  /// Each event in a turn of its own.
  void trigger(std::string_view channel, std::string_view event, int number, std::size_t size = 60) {
    ASSERT_TRUE(app.trigger(channel, event, padded(number, size)));
    loop.run();
  }
  /// Lets it read everything that waits. \returns the events and gaps among that.
  std::vector<Event> read_all(MemoryClient& client) {
    client.end().limit_window(open_window);
    loop.run();
    std::vector<Event> events;
    for (const std::string& text : client.take_raw()) {
      Event event = event_of(text);
      if (event.number >= 0 || event.name == "pusher_internal:gap") events.push_back(std::move(event));
    }
    return events;
  }
  static std::vector<int> numbers(const std::vector<Event>& events, std::string_view channel = {}) {
    std::vector<int> all;
    for (const Event& event : events) {
      if (event.number >= 0 && (channel.empty() || event.channel == channel)) all.push_back(event.number);
    }
    return all;
  }
  static std::vector<int> range(int from, int to) {
    std::vector<int> all;
    for (int i = from; i < to; ++i) all.push_back(i);
    return all;
  }

  pusher::AppList apps;
  App& app = *apps.add(all_policies());
  MemoryTransport loop{apps, {.outbox_bytes = bound, .turn_bytes = 3000, .turn_events = 50}};
};

TEST_F(SlowConsumers, AreClosedByDefault) {
  MemoryClient client = slow({"plain"}, 10);
  MemoryClient quick = slow({"plain"}, open_window);
  for (int i = 0; i < 60; ++i) trigger("plain", "e", i);
  EXPECT_TRUE(client.end().closed());
  EXPECT_EQ(numbers(read_all(client)), range(0, 1));  // what had begun
  EXPECT_EQ(client.closed_with, 4100U);
  EXPECT_EQ(numbers(read_all(quick)), range(0, 60));
  EXPECT_EQ(loop.slow_consumers(), (SlowConsumerCounts{.closed = 1}));
}

TEST_F(SlowConsumers, DropTheOldestBehindTheFrameThatIsOnTheWire) {
  MemoryClient client = slow({"oldest"}, 10);
  MemoryClient quick = slow({"oldest"}, open_window);
  for (int i = 0; i < 500; ++i) {
    trigger("oldest", "e", i);
    EXPECT_LT(client.end().unread(), bound + 300);
    if (i % 50 == 0) {
      EXPECT_EQ(numbers(read_all(quick)).back(), i);
    }
  }
  EXPECT_GT(client.end().unread(), bound);
  std::vector<int> got = numbers(read_all(client));
  ASSERT_GT(got.size(), bound / 130);
  EXPECT_EQ(got.front(), 0);
  got.erase(got.begin());
  EXPECT_EQ(got, range(got.front(), 500));  // no more than had to go
  EXPECT_EQ(loop.slow_consumers(), (SlowConsumerCounts{.dropped_oldest = static_cast<std::size_t>(got.front()) - 1}));
  EXPECT_EQ(client.closed_with, 0U);
  trigger("oldest", "e", 500);
  EXPECT_EQ(numbers(read_all(client)), range(500, 501));
}

TEST_F(SlowConsumers, DropTheNewestUntilThereIsRoom) {
  MemoryClient client = slow({"newest"}, 10);
  for (int i = 0; i < 500; ++i) {
    trigger("newest", "e", i);
    EXPECT_LT(client.end().unread(), bound + 300);
  }
  const std::vector<int> got = numbers(read_all(client));
  ASSERT_GT(got.size(), bound / 130);
  EXPECT_EQ(got, range(0, static_cast<int>(got.size())));
  EXPECT_EQ(loop.slow_consumers(), (SlowConsumerCounts{.dropped_newest = 500 - got.size()}));
  trigger("newest", "e", 500);
  EXPECT_EQ(numbers(read_all(client)), range(500, 501));
}

TEST_F(SlowConsumers, ConflateToTheLatestOfEachName) {
  MemoryClient client = slow({"conflate"}, 10);
  const auto name = [](int i) { return "price-" + std::to_string(i % 7); };
  trigger("conflate", "seldom", 1000);
  for (int i = 0; i < 500; ++i) {
    trigger("conflate", name(i), i);
    EXPECT_LT(client.end().unread(), bound + 300);
  }
  const std::vector<Event> got = read_all(client);
  std::map<std::string, int> latest;
  std::size_t seldom = 0;
  for (const Event& event : got) {
    if (event.name == "seldom") {
      ++seldom;
      continue;
    }
    EXPECT_TRUE(!latest.contains(event.name) || latest[event.name] < event.number);
    latest[event.name] = event.number;
  }
  EXPECT_EQ(seldom, 1U);
  ASSERT_EQ(latest.size(), 7U);
  for (int i = 493; i < 500; ++i) EXPECT_EQ(latest[name(i)], i);
  const std::vector<int> order = numbers(got);
  EXPECT_TRUE(std::is_sorted(order.begin() + 1, order.end()));
  EXPECT_EQ(loop.slow_consumers(), (SlowConsumerCounts{.conflated = 501 - got.size()}));
}

TEST_F(SlowConsumers, NamesThatOnlyLookAlikeAreNotConflated) {
  MemoryClient client = slow({"conflate"}, 10);
  const std::vector<std::string> names{"a", "a\"", "a\\", "a\\\"", "aa", "A", "\xc3\xa4"};
  for (int i = 0; i < 20; ++i) trigger("conflate", "filler", i, 300);
  for (std::size_t i = 0; i < names.size(); ++i) trigger("conflate", names[i], 100 + static_cast<int>(i));
  for (int i = 20; i < 40; ++i) trigger("conflate", "filler", i, 300);
  std::vector<int> got = numbers(read_all(client));
  std::erase_if(got, [](int number) { return number < 100; });
  EXPECT_EQ(got, range(100, 107));
}

TEST_F(SlowConsumers, MoreNamesThanFitAreDroppedFromTheOldestOn) {
  MemoryClient client = slow({"conflate"}, 10);
  for (int i = 0; i < 500; ++i) {
    trigger("conflate", "name-" + std::to_string(i), i);
    EXPECT_LT(client.end().unread(), bound + 300);
  }
  std::vector<int> got = numbers(read_all(client));
  ASSERT_GT(got.size(), bound / 150);
  EXPECT_EQ(got.front(), 0);
  got.erase(got.begin());
  EXPECT_EQ(got, range(got.front(), 500));
}

TEST_F(SlowConsumers, OneBurstDropsNothing) {
  for (const char* const channel : {"oldest", "newest", "conflate"}) {
    MemoryClient client = slow({channel}, 10);
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(app.trigger(channel, "e", padded(i, 10)));
    loop.run();
    EXPECT_EQ(numbers(read_all(client)), range(0, 50)) << channel;
    client.close();
  }
  loop.run();
  EXPECT_EQ(loop.slow_consumers(), SlowConsumerCounts{});
}

TEST_F(SlowConsumers, InATurnOfSeveralEventsTheNewestFindRoom) {
  MemoryClient client = slow({"oldest", "newest"});
  for (int i = 0; i < 45; ++i) trigger("newest", "e", i);
  // All that waits is another channel's, but for 100 bytes or so; what is new may take their place and no more.
  trigger("oldest", "e", 0);
  EXPECT_EQ(loop.slow_consumers().dropped_oldest, 1U);
  const std::size_t before = client.end().unread();
  for (int i = 1; i < 10; ++i) EXPECT_TRUE(app.trigger("oldest", "e", padded(i)));
  loop.run();
  EXPECT_EQ(client.end().unread(), before);
  EXPECT_EQ(loop.slow_consumers().dropped_oldest, 10U);
  EXPECT_EQ(numbers(read_all(client), "oldest"), (std::vector<int>{}));

  MemoryClient other = slow({"oldest", "plain"});
  trigger("oldest", "e", 0);
  for (int i = 0; i < 40 && !other.end().closed(); ++i) {
    if (other.end().unread() <= bound) trigger("plain", "e", i);
  }
  for (int i = 1; i < 10; ++i) trigger("oldest", "e", i);
  EXPECT_EQ(numbers(read_all(other), "oldest"), (std::vector<int>{9}));  // the latest, in the place of the first
  EXPECT_FALSE(other.end().closed());
}

TEST_F(SlowConsumers, EachChannelDecidesForItsOwnEvents) {
  MemoryClient client = slow({"oldest", "plain", "newest"}, 10);
  for (int i = 0; i < 200; ++i) trigger("oldest", "e", i);
  // What another channel has to say takes the room of what may be dropped only where that is told to make room.
  trigger("newest", "e", 0);
  EXPECT_EQ(loop.slow_consumers().dropped_newest, 1U);
  EXPECT_FALSE(client.end().closed());
  trigger("plain", "e", 0);
  EXPECT_TRUE(client.end().closed());
  EXPECT_EQ(loop.slow_consumers().closed, 1U);
}

TEST_F(SlowConsumers, WhatIsNotOfTheChannelStays) {
  MemoryClient client = slow({"oldest", "plain", "#server-to-user-slow"}, 10);
  for (int i = 0; i < 10; ++i) {
    trigger("plain", "e", i);
    trigger("oldest", "e", i);
  }
  for (int i = 10; i < 200; ++i) trigger("oldest", "e", i);
  const std::vector<Event> got = read_all(client);
  EXPECT_EQ(numbers(got, "plain"), range(0, 10));
  const std::vector<int> lossy = numbers(got, "oldest");
  EXPECT_EQ(lossy, range(lossy.front(), 200));
  EXPECT_GT(lossy.front(), 10);
}

TEST_F(SlowConsumers, WhatSeveralChannelsHaveInOneTurnIsDroppedByItsChannel) {
  MemoryClient client = slow({"oldest", "newest", "conflate"}, 10);
  for (int i = 0; i < 300; ++i) {
    for (const char* const channel : {"newest", "oldest", "conflate"}) {
      EXPECT_TRUE(app.trigger(channel, "e", padded(i)));
    }
    loop.run();
    EXPECT_LT(client.end().unread(), bound + 600);
  }
  const std::vector<Event> got = read_all(client);
  const std::vector<int> newest = numbers(got, "newest");
  EXPECT_EQ(newest.front(), 0);
  EXPECT_TRUE(std::is_sorted(newest.begin(), newest.end()));
  EXPECT_EQ(numbers(got, "oldest").back(), 299);
  EXPECT_EQ(numbers(got, "conflate").back(), 299);
  const SlowConsumerCounts counts = loop.slow_consumers();
  EXPECT_EQ(counts.closed, 0U);
  EXPECT_EQ(counts.dropped_newest, 300 - newest.size());
  EXPECT_EQ(counts.dropped_oldest, 300 - numbers(got, "oldest").size());
  EXPECT_EQ(counts.conflated, 300 - numbers(got, "conflate").size());
}

TEST_F(SlowConsumers, EventsOfAChannelThatWasLeftAreNotThoseOfTheNextOne) {
  MemoryClient client = slow({"oldest-1"}, 10);
  for (int i = 0; i < 10; ++i) trigger("oldest-1", "e", i);
  client.unsubscribe("oldest-1");
  loop.run();
  loop.advance(1s);  // the loop has left it, and gives its place to another
  client.subscribe("oldest-2");
  loop.run();
  for (int i = 0; i < 200; ++i) trigger("oldest-2", "e", i);
  const std::vector<Event> got = read_all(client);
  EXPECT_EQ(numbers(got, "oldest-1"), range(0, 1)) << "what had begun";
  EXPECT_EQ(numbers(got, "oldest-2").back(), 199);
}

TEST_F(SlowConsumers, WhoLeavesAndComesBackIsSentNothingOfTheFirstTime) {
  const std::string channel = "oldest-history";
  for (const int more : {3, 80}) {
    MemoryClient client = slow({channel});
    const EventId seen = app.trigger(channel, "e", padded(0)).id;
    loop.run();
    for (int i = 1; i < 6; ++i) trigger(channel, "e", i);
    client.unsubscribe(channel);
    client.subscribe(channel, "", to_text(seen).view());
    loop.run();
    for (int i = 6; i < 6 + more; ++i) trigger(channel, "e", i);
    client.end().limit_window(open_window);
    loop.run();
    int next = -1;  // before it has come back nothing is right, neither an event nor a gap
    for (const std::string& text : client.take_raw()) {
      if (text.find(R"("resumed":true)") != std::string::npos) next = 1;
      const Event event = event_of(text);
      if (event.number < 0 && event.from == 0) continue;
      ASSERT_EQ(event.number, next) << text;
      if (++next == 6) break;  // what has come since may have been dropped
    }
    EXPECT_EQ(next, 6);
    client.close();
    loop.run();
  }
}

TEST_F(SlowConsumers, WhoLeavesWhenNothingElseWaitsIsSentWhatComesThen) {
  MemoryClient client = slow({"oldest", "plain"});
  for (int i = 0; i < 10; ++i) trigger("oldest", "e", i);
  client.unsubscribe("oldest");
  loop.run();
  trigger("plain", "e", 10);
  EXPECT_EQ(numbers(read_all(client)), range(10, 11));
}

TEST_F(SlowConsumers, ClientsEventsAreNotSentBackWhenTheyAreDropped) {
  MemoryClient client = slow({"private-oldest"}, 10);
  MemoryClient other = slow({"private-oldest"}, open_window);
  for (int i = 0; i < 200; ++i) {
    trigger("private-oldest", "e", i);
    other.trigger("private-oldest", "client-e", padded(1000 + i));
    other.end().limit_window(open_window);
    loop.advance(150ms);
  }
  for (const int number : numbers(read_all(other))) EXPECT_LT(number, 1000);
  const std::vector<int> got = numbers(read_all(client));
  EXPECT_EQ(got.back(), 1199);
}

// ---- what may not be dropped

TEST_F(SlowConsumers, WhatTheProtocolSaysIsNeverDropped) {
  const std::string channel = "presence-oldest";
  MemoryClient client = slow({channel}, 10);
  std::size_t came = 0;
  std::vector<std::unique_ptr<MemoryClient>> others;
  for (int i = 0; i < 300; ++i) {
    trigger(channel, "e", i);
    if (i % 30 != 0) continue;
    others.push_back(std::make_unique<MemoryClient>(loop));
    others.back()->subscribe(channel, user("user-" + std::to_string(++came)));
    loop.run();
  }
  EXPECT_GT(loop.slow_consumers().dropped_oldest, 100U);
  client.end().limit_window(open_window);
  std::size_t added = 0;
  for (const std::string& said : client.run()) added += said.starts_with("pusher_internal:member_added") ? 1U : 0U;
  EXPECT_EQ(added, came);
}

TEST_F(SlowConsumers, WhatMayNotBeDroppedHasTwiceTheRoomAndThenCloses) {
  MemoryClient client = slow({"oldest"});
  for (int i = 0; i < 60; ++i) trigger("oldest", "e", i);
  std::size_t answers = 0;
  while (!client.end().closed()) {
    client.subscribe("x" + std::to_string(answers % 2));
    client.unsubscribe("x" + std::to_string(answers % 2));
    loop.run();
    ASSERT_LT(++answers, 1000U);
    ASSERT_LT(client.end().unread(), 2 * bound + 500);
  }
  EXPECT_GT(answers, bound / 200);
  EXPECT_EQ(loop.slow_consumers().closed, 1U);

  const std::string channel = "presence-newest";
  MemoryClient other = slow({channel});
  for (int i = 0; i < 60; ++i) trigger(channel, "e", i);
  std::vector<std::unique_ptr<MemoryClient>> others;
  for (int i = 0; i < 90 && !other.end().closed(); ++i) {
    others.push_back(std::make_unique<MemoryClient>(loop));
    others.back()->subscribe(channel, user("user-" + std::to_string(i), '"' + std::string(200, 'x') + '"'));
    loop.run();
  }
  EXPECT_TRUE(other.end().closed());
  EXPECT_GT(others.size(), 10U);
}

TEST_F(SlowConsumers, WhatTheProtocolSaysHasTwiceTheRoomInChannelsThatCloseToo) {
  const std::string channel = "presence-plain";
  MemoryClient client = slow({"oldest", channel});
  for (int i = 0; i < 60; ++i) trigger("oldest", "e", i);
  EXPECT_GT(client.end().unread(), bound);
  std::vector<std::unique_ptr<MemoryClient>> others;
  const auto come = [&] {
    others.push_back(std::make_unique<MemoryClient>(loop));
    others.back()->subscribe(channel, user("user-" + std::to_string(others.size()), '"' + std::string(200, 'x') + '"'));
    loop.run();
  };
  for (int i = 0; i < 5; ++i) come();
  EXPECT_FALSE(client.end().closed());
  trigger(channel, "e", 0);
  EXPECT_TRUE(client.end().closed()) << "an event of the channel has no more room than the bound";

  MemoryClient other = slow({"oldest", channel});
  for (int i = 0; i < 60; ++i) trigger("oldest", "e", i);
  while (!other.end().closed() && others.size() < 90) come();
  EXPECT_TRUE(other.end().closed());
  EXPECT_LT(other.end().unread(), 2 * bound + 500);
}

// ---- gaps

/// Every number is there, once, as an event or in a gap, in its place.
void expect_no_hole(const std::vector<Event>& events, std::string_view channel, std::uint64_t last) {
  std::uint64_t next = 1;
  for (const Event& event : events) {
    if (event.channel != channel) continue;
    if (event.number >= 0) {
      ASSERT_EQ(event.id, next);
      next = event.id + 1;
    } else {
      ASSERT_EQ(event.from, next);
      ASSERT_GE(event.to, event.from);
      next = event.to + 1;
    }
  }
  EXPECT_EQ(next, last + 1);
}

TEST_F(SlowConsumers, FollowARuleThatComesLater) {
  MemoryClient client = slow({"open"});
  ASSERT_FALSE(app.set_channel_rules({{.match = "open", .overflow = SlowConsumer::drop_newest}}));
  loop.advance(1s);
  for (int i = 0; i < 200; ++i) trigger("open", "e", i);
  const std::vector<int> got = numbers(read_all(client));
  EXPECT_LT(got.size(), 200U);
  ASSERT_FALSE(got.empty());
  EXPECT_EQ(got.back(), static_cast<int>(got.size()) - 1) << "the oldest stayed";
  EXPECT_EQ(loop.slow_consumers().closed, 0U);
}

TEST_F(SlowConsumers, WhoSeesIdsIsToldWhatItDoesNotGet) {
  for (const std::string channel : {"oldest-history", "newest-history"}) {
    MemoryClient client = slow({channel}, 10);
    for (int i = 0; i < 300; ++i) {
      trigger(channel, "e", i);
      ASSERT_LT(client.end().unread(), bound + 600);
    }
    std::vector<Event> got = read_all(client);
    expect_no_hole(got, channel, 300);
    EXPECT_EQ(std::count_if(got.begin(), got.end(), [](const Event& event) { return event.from != 0; }), 1);
    // In pieces.
    client.end().limit_window(0);
    for (int i = 300; i < 900; ++i) {
      if (i % 90 == 0) client.end().limit_window(1500);
      trigger(channel, "e", i);
      client.end().limit_window(0);
    }
    client.end().limit_window(open_window);
    loop.run();
    for (const std::string& text : client.take_raw()) {
      if (Event event = event_of(text); event.number >= 0 || event.from != 0) got.push_back(std::move(event));
    }
    expect_no_hole(got, channel, 900);
    client.close();
  }
}

TEST_F(SlowConsumers, GapsStandInFrontOfWhatCameWhileTheRuleSaidToClose) {
  const auto follow = [&](SlowConsumer overflow) {
    ASSERT_FALSE(app.set_channel_rules({{.match = "x", .history = HistoryRule{.count = 1000}, .overflow = overflow}}));
    loop.advance(1s);
  };
  follow(SlowConsumer::drop_oldest);
  MemoryClient client = slow({"x"});
  for (int i = 0; i < 6; ++i) trigger("x", "e", i);
  follow(SlowConsumer::close);
  for (int i = 6; i < 12; ++i) trigger("x", "e", i);
  follow(SlowConsumer::drop_oldest);
  for (int i = 12; i < 60; ++i) trigger("x", "e", i);
  expect_no_hole(read_all(client), "x", 60);
  EXPECT_EQ(loop.slow_consumers().closed, 0U);
}

TEST_F(SlowConsumers, AChannelWithIdsThatClosesStillCloses) {
  ASSERT_FALSE(app.set_channel_rules({{.match = "x", .history = HistoryRule{.count = 1000}}}));
  MemoryClient client = slow({"x"});
  for (int i = 0; i < 60; ++i) trigger("x", "e", i);
  EXPECT_TRUE(client.end().closed());
  EXPECT_EQ(loop.slow_consumers(), (SlowConsumerCounts{.closed = 1}));
}

TEST_F(SlowConsumers, ChannelsWithoutIdsHaveNoGaps) {
  MemoryClient client = slow({"oldest", "newest"}, 10);
  for (int i = 0; i < 300; ++i) trigger(i % 2 == 0 ? "oldest" : "newest", "e", i);
  client.end().limit_window(open_window);
  for (const std::string& said : client.run()) EXPECT_EQ(said.find("gap"), std::string::npos) << said;
}

TEST_F(SlowConsumers, WhatIsReplacedByALaterOneIsNoGap) {
  MemoryClient client = slow({"conflate-retain"}, 10);
  for (int i = 0; i < 300; ++i) trigger("conflate-retain", "e" + std::to_string(i % 3), i);
  std::vector<Event> got = read_all(client);
  for (const Event& event : got) EXPECT_EQ(event.from, 0U);
  EXPECT_EQ(numbers(got).back(), 299);
  // But what is dropped for want of room is one.
  client.end().limit_window(0);
  for (int i = 300; i < 600; ++i) trigger("conflate-retain", "n" + std::to_string(i), i);
  got = read_all(client);
  EXPECT_EQ(std::count_if(got.begin(), got.end(), [](const Event& event) { return event.from != 0; }), 1);
  EXPECT_EQ(numbers(got).back(), 599);
}

// ---- all at once

/// Random channels, turns and windows.
class RandomSlowConsumers : public SlowConsumers, public testing::WithParamInterface<unsigned> {};

TEST_P(RandomSlowConsumers, LoseWhatTheirRulesSayAndNothingElse) {
  std::mt19937 random(GetParam());
  const auto below = [&](unsigned most) { return static_cast<unsigned>(random() % most); };
  const std::vector<std::string> channels{"oldest",         "newest",         "conflate",
                                          "oldest-history", "newest-history", "conflate-retain"};
  struct Reader {
    MemoryClient client;
    std::set<std::string> channels;
    std::vector<Event> events;
  };
  std::vector<Reader> readers;
  for (int i = 0; i < 6; ++i) {
    Reader reader{MemoryClient(loop), {}, {}};
    for (const std::string& channel : channels) {
      if (i == 0 || below(2) == 0) reader.channels.insert(channel);
    }
    for (const std::string& channel : reader.channels) reader.client.subscribe(channel);
    readers.push_back(std::move(reader));
  }
  loop.run();
  const auto take = [](Reader& reader) {
    for (const std::string& text : reader.client.take_raw()) {
      if (Event event = event_of(text); event.number >= 0 || event.from != 0) reader.events.push_back(std::move(event));
    }
  };
  for (Reader& reader : readers) take(reader);
  std::map<std::string, std::vector<std::string>> said;  // the names, in order
  for (int turn = 0; turn < 400; ++turn) {
    for (std::size_t i = 1; i < readers.size(); ++i) {
      readers[i].client.end().limit_window(below(8) == 0 ? below(3000) : 0);
    }
    for (unsigned n = below(8); n != 0; --n) {
      const std::string& channel = channels[below(static_cast<unsigned>(channels.size()))];
      const std::string name = "e" + std::to_string(below(below(2) == 0 ? 3 : 40));
      ASSERT_TRUE(app.trigger(channel, name, padded(static_cast<int>(said[channel].size()), below(200))));
      said[channel].push_back(name);
    }
    loop.run();
    for (Reader& reader : readers) {
      take(reader);
      ASSERT_LT(reader.client.end().unread(), bound + 3000 + 6 * 300);
      ASSERT_FALSE(reader.client.end().closed());
    }
  }
  for (Reader& reader : readers) {
    reader.client.end().limit_window(open_window);
    loop.run();
    take(reader);
    for (const std::string& channel : reader.channels) {
      SCOPED_TRACE(channel);
      const std::vector<std::string>& names = said[channel];
      const std::vector<int> got = numbers(reader.events, channel);
      EXPECT_TRUE(std::is_sorted(got.begin(), got.end(), std::less_equal<>()));  // none twice
      for (const Event& event : reader.events) {
        if (event.channel == channel && event.number >= 0) {
          ASSERT_EQ(event.name, names.at(static_cast<std::size_t>(event.number)));
        }
      }
      if (channel.find("history") != std::string::npos) expect_no_hole(reader.events, channel, names.size());
      if (&reader == &readers.front()) {
        EXPECT_EQ(got.size(), names.size());
      }
    }
  }
  const SlowConsumerCounts counts = loop.slow_consumers();
  EXPECT_GT(counts.dropped_oldest, 0U);
  EXPECT_GT(counts.dropped_newest, 0U);
  EXPECT_GT(counts.conflated, 0U);
  EXPECT_EQ(counts.closed, 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomSlowConsumers, testing::Range(1U, 9U));

// ---- exhausted memory

TEST(SlowConsumersMemory, WhoCannotBeServedIsClosedAndNothingIsLost) {
  for (const char* const channel : {"oldest-history", "newest-history", "conflate", "oldest"}) {
    bool failed = true;
    for (std::size_t n = 0; failed; ++n) {
      ASSERT_LT(n, 5000U);
      pusher::AppList apps;
      App& app = *apps.add(all_policies());
      MemoryTransport loop{apps, {.outbox_bytes = bound, .turn_bytes = 3000, .turn_events = 50}};
      MemoryClient client(loop);
      client.subscribe(channel);
      client.subscribe("oldest-2");
      client.run();
      client.end().limit_window(10);
      for (int i = 0; i < 45; ++i) ASSERT_TRUE(app.trigger(channel, i % 2 == 0 ? "e" : "f", padded(i)));
      loop.run();
      std::vector<bool> triggered;
      Heap::fail_after(n, n % 2 == 0);
      try {
        for (int i = 0; i < 6; ++i) {
          triggered.push_back(static_cast<bool>(app.trigger(channel, "e", "1")));
          triggered.push_back(static_cast<bool>(app.trigger("oldest-2", "e", "1")));
          loop.run();
        }
      } catch (const std::bad_alloc&) {  // what is no part of the fan-out
      }
      failed = Heap::succeed() != 0;
      loop.run();
      client.end().limit_window(open_window);
      loop.run();
      // Whole frames, whatever happened.
      for (const std::string& text : client.take_raw()) EXPECT_NO_THROW(event_of(text)) << text;
      if (HasFailure()) return;
    }
  }
}

}  // namespace
