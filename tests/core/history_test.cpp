#include <fanfare/core/history.hpp>

#include "support/memory.hpp"
#include "support/messages.hpp"
#include "support/print.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <new>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace fanfare {

void PrintTo(const Reach& reach, std::ostream* out) { *out << to_string(reach); }

}  // namespace fanfare

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using Numbers = std::vector<std::uint64_t>;
using TestHistory = BasicHistory<CountingMemory>;
using Time = TestHistory::Clock::time_point;

constexpr std::size_t no_bound = std::numeric_limits<std::size_t>::max();
/// What a message named `e` without data counts.
constexpr std::size_t small = kept_message_overhead + 2;

Time at(std::chrono::milliseconds time) { return Time{} + 1h + time; }

struct Kept {
  explicit Kept(const HistoryRule& rule) : history(rule, CountingMemory{rings}) {}

  void push(std::uint64_t number, std::chrono::milliseconds time = 0ms, bool internal = false,
            const std::string& data = {}) {
    history.push(message(number, "e", data), internal, at(time));
  }
  [[nodiscard]] Numbers numbers() const {
    Numbers all;
    history.read(history.floor(), no_bound, [&](const HistoryEntry& entry) { all.push_back(entry.id.number); });
    return all;
  }

  MemoryLog rings;
  MemoryLog log;
  Messages message{log};
  TestHistory history;
};

TEST(History, KnowsNothingAtFirst) {
  const Kept kept{{}};
  EXPECT_TRUE(kept.history.empty());
  EXPECT_EQ(kept.history.size(), 0U);
  EXPECT_EQ(kept.history.bytes(), 0U);
  EXPECT_EQ(kept.history.first(), EventId{});
  EXPECT_EQ(kept.history.last(), EventId{});
  EXPECT_EQ(kept.history.floor(), EventId{});
  EXPECT_EQ(kept.history.reach({1, 0}), Reach::another_epoch);
  const HistoryRead read = kept.history.read({}, no_bound, [](const HistoryEntry&) { FAIL(); });
  EXPECT_TRUE(read.at_end);
  EXPECT_EQ(read.reach, Reach::whole);
  for (const HistoryOrder order : {HistoryOrder::oldest_first, HistoryOrder::newest_first}) {
    EXPECT_FALSE(kept.history.page(order, std::nullopt, 10, [](const HistoryEntry&) { FAIL(); }).more);
  }
  EXPECT_EQ(kept.rings.allocations(), 0U);
}

TEST(History, TakesBackWhatItHeldInAnEarlierLife) {
  Kept kept{{.count = 3}};
  kept.history.begin({7, 100});
  for (const std::uint64_t number : {10U, 20U, 30U, 40U}) kept.history.restore(kept.message(number, "e", ""), at(0ms));
  EXPECT_EQ(kept.numbers(), (Numbers{20, 30, 40}));
  EXPECT_EQ(kept.history.last(), (EventId{7, 100}));
  EXPECT_EQ(kept.history.floor(), (EventId{7, 10}));
  EXPECT_EQ(kept.history.reach({7, 50}), Reach::whole) << "there was nothing between";
  EXPECT_EQ(kept.history.reach({7, 9}), Reach::gap);
  kept.push(101);
  EXPECT_EQ(kept.numbers(), (Numbers{30, 40, 101}));
}

TEST(History, TakesBackOnlyWhatFits) {
  Kept kept{{.bytes = 10 * small}};
  kept.history.begin({7, 100});
  kept.history.restore(kept.message(10, "e", ""), at(0ms));
  kept.history.restore(kept.message(20, "e", std::string(10 * small, 'x')), at(0ms));
  EXPECT_EQ(kept.numbers(), Numbers{});
  kept.history.restore(kept.message(30, "e", ""), at(0ms));
  EXPECT_EQ(kept.numbers(), Numbers{30});
  EXPECT_EQ(kept.history.reach({7, 19}), Reach::gap);
  EXPECT_EQ(kept.history.reach({7, 29}), Reach::whole);
}

TEST(History, KeepsWhatItIsGiven) {
  Kept kept{{}};
  const MessagePtr message = kept.message(1, "name", "data");
  kept.history.push(message, true, at(5ms));
  kept.push(2, 6ms);
  int visits = 0;
  kept.history.read({7, 0}, no_bound, [&](const HistoryEntry& entry) {
    if (++visits == 2) return;
    EXPECT_EQ(entry.message.get(), message.get());  // not a copy
    EXPECT_EQ(entry.id, (EventId{7, 1}));
    EXPECT_EQ(entry.time, at(5ms));
    EXPECT_TRUE(entry.internal);
  });
  EXPECT_EQ(visits, 2);
  EXPECT_EQ(kept.history.size(), 2U);
  EXPECT_EQ(kept.history.bytes(), kept_bytes(*message) + small);
  EXPECT_EQ(kept.history.first(), (EventId{7, 1}));
  EXPECT_EQ(kept.history.last(), (EventId{7, 2}));
  EXPECT_EQ(kept.history.floor(), (EventId{7, 0}));
}

TEST(History, IsWholeFromBeforeItsFirstEvent) {
  Kept kept{{}};
  kept.push(5);
  EXPECT_EQ(kept.history.floor(), (EventId{7, 4}));
  EXPECT_EQ(kept.history.reach({7, 4}), Reach::whole);
  EXPECT_EQ(kept.history.reach({7, 3}), Reach::gap);
  EXPECT_EQ(kept.history.reach({7, 5}), Reach::whole);
  EXPECT_EQ(kept.history.reach({7, 6}), Reach::ahead);
  EXPECT_EQ(kept.history.reach({8, 5}), Reach::another_epoch);
}

TEST(History, BeginsWhereItIsTold) {
  Kept kept{{}};
  kept.history.begin({7, 3});
  EXPECT_EQ(kept.history.reach({7, 3}), Reach::whole);
  EXPECT_EQ(kept.history.reach({7, 2}), Reach::gap);
  EXPECT_EQ(kept.history.reach({7, 4}), Reach::ahead);
  kept.push(9);
  EXPECT_EQ(kept.history.floor(), (EventId{7, 3}));
  EXPECT_EQ(kept.history.reach({7, 3}), Reach::whole);
  EXPECT_EQ(kept.numbers(), (Numbers{9}));
}

TEST(History, ForgetsTheOldestBeyondItsCount) {
  Kept kept{{.count = 3}};
  for (std::uint64_t i = 1; i <= 3; ++i) kept.push(i);
  EXPECT_EQ(kept.history.floor(), (EventId{7, 0}));
  kept.push(4);
  EXPECT_EQ(kept.numbers(), (Numbers{2, 3, 4}));
  EXPECT_EQ(kept.history.floor(), (EventId{7, 1}));
  EXPECT_EQ(kept.log.live_blocks(), 3U);
  EXPECT_EQ(kept.history.reach({7, 1}), Reach::whole);
  EXPECT_EQ(kept.history.reach({7, 0}), Reach::gap);
}

TEST(History, ForgetsTheOldestBeyondItsBytes) {
  Kept kept{{.bytes = 3 * small}};
  for (std::uint64_t i = 1; i <= 3; ++i) kept.push(i);
  EXPECT_EQ(kept.numbers(), (Numbers{1, 2, 3}));
  kept.push(4, 0ms, false, "x");  // takes the place of two
  EXPECT_EQ(kept.numbers(), (Numbers{3, 4}));
  kept.push(5, 0ms, false, std::string(2 * small, 'x'));
  EXPECT_EQ(kept.numbers(), (Numbers{5}));
  EXPECT_EQ(kept.history.bytes(), 3 * small);
  EXPECT_EQ(kept.history.floor(), (EventId{7, 4}));
}

TEST(History, AnEventThatIsTooLargeLeavesNothing) {
  Kept kept{{.bytes = 3 * small}};
  kept.push(1);
  kept.push(2, 0ms, false, std::string(2 * small + 1, 'x'));
  EXPECT_TRUE(kept.history.empty());
  EXPECT_EQ(kept.history.floor(), (EventId{7, 2}));
  EXPECT_EQ(kept.history.last(), (EventId{7, 2}));
  EXPECT_EQ(kept.history.reach({7, 1}), Reach::gap);
  EXPECT_EQ(kept.history.reach({7, 2}), Reach::whole);
  EXPECT_EQ(kept.log.live_blocks(), 0U);
  kept.push(3);
  EXPECT_EQ(kept.numbers(), (Numbers{3}));
}

TEST(History, ForgetsWhatIsTooOld) {
  Kept kept{{.age = 10s}};
  kept.push(1, 0s);
  kept.push(2, 4s);
  kept.history.expire(at(9'999ms));
  EXPECT_EQ(kept.numbers(), (Numbers{1, 2}));
  kept.history.expire(at(10s));
  EXPECT_EQ(kept.numbers(), (Numbers{2}));
  kept.push(3, 14s);  // so does a push
  EXPECT_EQ(kept.numbers(), (Numbers{3}));
  kept.history.expire(at(24s));
  EXPECT_TRUE(kept.history.empty());
  EXPECT_EQ(kept.history.floor(), (EventId{7, 3}));
  EXPECT_EQ(kept.history.first(), EventId{});
  EXPECT_EQ(kept.rings.live_blocks(), 0U);
}

TEST(History, AClockThatGoesBackChangesNoOrder) {
  Kept kept{{.age = 10s}};
  kept.push(1, 5s);
  kept.push(2, 1s);  // counts as 5 s
  kept.history.read({7, 1}, no_bound, [](const HistoryEntry& entry) { EXPECT_EQ(entry.time, at(5s)); });
  kept.history.expire(at(14s));
  EXPECT_EQ(kept.numbers(), (Numbers{1, 2}));
  kept.history.expire(at(15s));
  EXPECT_TRUE(kept.history.empty());
}

TEST(History, ReadsRulesOutOfBoundsAsTheNearest) {
  Kept none{{.count = 0, .age = -5s, .bytes = 0}};
  none.push(1);
  EXPECT_TRUE(none.history.empty());  // no event has 1 byte
  Kept one{{.count = 0}};
  one.push(1);
  one.push(2);
  EXPECT_EQ(one.numbers(), (Numbers{2}));
  Kept all{{.count = no_bound, .age = std::chrono::seconds::max(), .bytes = no_bound}};
  for (std::uint64_t i = 1; i <= 100; ++i) all.push(i, 1h * i);
  EXPECT_EQ(all.history.size(), 100U);
}

TEST(History, WhatWentByIsNotMissed) {
  Kept kept{{.count = 2}};
  kept.push(1);
  kept.history.pass({7, 2});
  EXPECT_EQ(kept.history.last(), (EventId{7, 2}));
  EXPECT_EQ(kept.history.reach({7, 2}), Reach::whole);
  const HistoryRead read = kept.history.read({7, 0}, no_bound, [](const HistoryEntry&) {});
  EXPECT_TRUE(read.at_end);
  EXPECT_EQ(read.next, (EventId{7, 2}));
  kept.push(3);
  kept.history.pass({7, 4});
  kept.push(5);
  EXPECT_EQ(kept.numbers(), (Numbers{3, 5}));
  EXPECT_EQ(kept.history.floor(), (EventId{7, 1}));
  EXPECT_EQ(kept.history.reach({7, 1}), Reach::whole);
  Kept from{{}};
  from.history.pass({7, 9});
  EXPECT_EQ(from.history.floor(), (EventId{7, 8}));
}

TEST(History, AnotherEpochBeginsAnew) {
  Kept kept{{}};
  kept.push(1);
  kept.push(2);
  kept.history.push(kept.message({9, 1}), false, at(0s));
  EXPECT_EQ(kept.history.size(), 1U);
  EXPECT_EQ(kept.history.floor(), (EventId{9, 0}));
  EXPECT_EQ(kept.history.reach({7, 2}), Reach::another_epoch);
  EXPECT_EQ(kept.log.live_blocks(), 1U);
}

TEST(History, ShrinksAndIsCleared) {
  Kept kept{{}};
  for (std::uint64_t i = 1; i <= 10; ++i) kept.push(i);
  kept.history.shrink_to(10 * small);
  EXPECT_EQ(kept.history.size(), 10U);
  kept.history.shrink_to(10 * small - 1);
  EXPECT_EQ(kept.history.size(), 9U);
  kept.history.shrink_to(2 * small);
  EXPECT_EQ(kept.numbers(), (Numbers{9, 10}));
  EXPECT_EQ(kept.history.floor(), (EventId{7, 8}));
  kept.history.clear();
  EXPECT_TRUE(kept.history.empty());
  EXPECT_EQ(kept.history.floor(), (EventId{7, 10}));
  EXPECT_EQ(kept.history.bytes(), 0U);
  EXPECT_EQ(kept.rings.live_blocks(), 0U);
  EXPECT_EQ(kept.log.live_blocks(), 0U);
  kept.push(11);
  EXPECT_EQ(kept.numbers(), (Numbers{11}));
}

TEST(History, TheRingGrowsNoFurtherThanItsRuleAllows) {
  Kept kept{{.count = 20}};
  for (std::uint64_t i = 1; i <= 20; ++i) kept.push(i);
  const std::size_t allocations = kept.rings.allocations();
  EXPECT_EQ(kept.rings.live_bytes(), 20 * sizeof(HistoryEntry));
  for (std::uint64_t i = 21; i <= 200; ++i) kept.push(i);
  EXPECT_EQ(kept.rings.allocations(), allocations);
  EXPECT_EQ(kept.history.size(), 20U);
  Kept one{{.count = 1}};
  for (std::uint64_t i = 1; i <= 20; ++i) one.push(i);
  EXPECT_EQ(one.rings.allocations(), 1U);
  EXPECT_EQ(one.rings.live_bytes(), sizeof(HistoryEntry));
}

// ---- reading

TEST(History, FollowsOtherBoundsAndGivesPlacesBack) {
  Kept kept{{.count = 64}};
  for (std::uint64_t i = 1; i <= 64; ++i) kept.push(i, 1ms * i);
  kept.history.limit({.count = 3}, at(64ms));
  EXPECT_EQ(kept.numbers(), (Numbers{62, 63, 64}));
  EXPECT_EQ(kept.history.floor().number, 61U);
  EXPECT_EQ(kept.rings.live_bytes(), 3 * sizeof(HistoryEntry));
  kept.history.limit({.count = 5}, at(64ms));
  for (std::uint64_t i = 65; i <= 70; ++i) kept.push(i, 1ms * i);
  EXPECT_EQ(kept.numbers(), (Numbers{66, 67, 68, 69, 70}));
  kept.history.limit({.count = 5, .bytes = 2 * small}, at(70ms));
  EXPECT_EQ(kept.numbers(), (Numbers{69, 70}));
  kept.history.limit({.count = 5, .age = 1s}, at(1069ms));
  EXPECT_EQ(kept.numbers(), Numbers{70});
  kept.history.limit({.count = 5, .age = 1s}, at(2s));
  EXPECT_TRUE(kept.history.empty());
  EXPECT_EQ(kept.history.floor().number, 70U);
}

TEST(HistoryReading, GoesInPieces) {
  Kept kept{{}};
  for (std::uint64_t i = 1; i <= 5; ++i) kept.history.push(kept.message({7, i}, "e", "12345", true), false, at(0s));
  Numbers seen;
  const auto read = [&](EventId after, std::size_t bytes) {
    seen.clear();
    return kept.history.read(after, bytes, [&](const HistoryEntry& entry) { seen.push_back(entry.id.number); });
  };
  HistoryRead piece = read({7, 0}, 10);
  EXPECT_EQ(seen, (Numbers{1, 2}));
  EXPECT_EQ(piece.next, (EventId{7, 2}));
  EXPECT_FALSE(piece.at_end);
  piece = read(piece.next, 14);
  EXPECT_EQ(seen, (Numbers{3, 4}));
  piece = read(piece.next, 15);
  EXPECT_EQ(seen, (Numbers{5}));
  EXPECT_TRUE(piece.at_end);
  piece = read(piece.next, 15);
  EXPECT_EQ(seen, Numbers{});
  EXPECT_TRUE(piece.at_end);
  EXPECT_EQ(piece.next, (EventId{7, 5}));
  piece = read({7, 1}, 0);  // at least one
  EXPECT_EQ(seen, (Numbers{2}));
  EXPECT_FALSE(piece.at_end);
}

TEST(HistoryReading, CountsNameAndDataWhereThereIsNoFrame) {
  Kept kept{{}};
  for (std::uint64_t i = 1; i <= 3; ++i) kept.push(i, 0s, false, "1234");
  Numbers seen;
  kept.history.read({7, 0}, 10, [&](const HistoryEntry& entry) { seen.push_back(entry.id.number); });
  EXPECT_EQ(seen, (Numbers{1, 2}));
}

TEST(HistoryReading, TellsAGapAndGoesOnBehindIt) {
  Kept kept{{.count = 3}};
  for (std::uint64_t i = 1; i <= 10; ++i) kept.push(i);
  Numbers seen;
  const auto visit = [&](const HistoryEntry& entry) { seen.push_back(entry.id.number); };
  HistoryRead read = kept.history.read({7, 2}, no_bound, visit);
  EXPECT_EQ(read.reach, Reach::gap);
  EXPECT_EQ(seen, (Numbers{8, 9, 10}));
  seen.clear();
  EXPECT_EQ(kept.history.read({7, 7}, no_bound, visit).reach, Reach::whole);
  EXPECT_EQ(seen, (Numbers{8, 9, 10}));
  for (const auto& [after, reach] : {std::pair{EventId{6, 8}, Reach::another_epoch}, {EventId{7, 11}, Reach::ahead}}) {
    seen.clear();
    read = kept.history.read(after, no_bound, visit);
    EXPECT_EQ(read.reach, reach);
    EXPECT_EQ(read.next, after);
    EXPECT_FALSE(read.at_end);
    EXPECT_EQ(seen, Numbers{});
  }
}

TEST(HistoryReading, IsOverAtTheEndThoughAllIsGone) {
  Kept kept{{.age = 1s}};
  kept.push(1);
  kept.push(2);
  kept.history.expire(at(1s));
  const HistoryRead read = kept.history.read({7, 1}, no_bound, [](const HistoryEntry&) { FAIL(); });
  EXPECT_EQ(read.reach, Reach::gap);
  EXPECT_TRUE(read.at_end);
  EXPECT_EQ(read.next, (EventId{7, 2}));
}

TEST(HistoryReading, MayThrowOutOfItsVisitor) {
  Kept kept{{}};
  kept.push(1);
  kept.push(2);
  const auto fail = [](const HistoryEntry&) { throw std::bad_alloc(); };
  EXPECT_THROW(kept.history.read({7, 0}, no_bound, fail), std::bad_alloc);
  EXPECT_THROW(kept.history.page(HistoryOrder::newest_first, std::nullopt, 3, fail), std::bad_alloc);
  EXPECT_EQ(kept.numbers(), (Numbers{1, 2}));
  const auto quiet = [](const HistoryEntry&) noexcept {};
  static_assert(noexcept(kept.history.read({7, 0}, no_bound, quiet)));
  static_assert(!noexcept(kept.history.read({7, 0}, no_bound, fail)));
  static_assert(noexcept(kept.history.page(HistoryOrder::oldest_first, std::nullopt, 3, quiet)));
}

// ---- pages

struct Page {
  Numbers numbers;
  HistoryPage result;
};
Page page(const Kept& kept, HistoryOrder order, std::optional<EventId> from, std::size_t limit) {
  Page page;
  page.result = kept.history.page(order, from, limit,
                                  [&](const HistoryEntry& entry) { page.numbers.push_back(entry.id.number); });
  return page;
}

TEST(HistoryPages, GoBothWaysAndLeaveOutTheProtocolsOwn) {
  Kept kept{{}};
  for (std::uint64_t i = 1; i <= 9; ++i) kept.push(i, 0s, i % 3 == 0);  // 3, 6 and 9 are
  Page one = page(kept, HistoryOrder::oldest_first, std::nullopt, 2);
  EXPECT_EQ(one.numbers, (Numbers{1, 2}));
  EXPECT_TRUE(one.result.more);
  EXPECT_EQ(one.result.next, (EventId{7, 3}));
  one = page(kept, HistoryOrder::oldest_first, one.result.next, 3);
  EXPECT_EQ(one.numbers, (Numbers{4, 5, 7}));
  one = page(kept, HistoryOrder::oldest_first, one.result.next, 1);
  EXPECT_EQ(one.numbers, (Numbers{8}));
  EXPECT_FALSE(one.result.more);  // what follows is the protocol's own
  one = page(kept, HistoryOrder::newest_first, std::nullopt, 3);
  EXPECT_EQ(one.numbers, (Numbers{8, 7, 5}));
  EXPECT_TRUE(one.result.more);
  one = page(kept, HistoryOrder::newest_first, one.result.next, 10);
  EXPECT_EQ(one.numbers, (Numbers{4, 2, 1}));
  EXPECT_FALSE(one.result.more);
  EXPECT_EQ(page(kept, HistoryOrder::newest_first, EventId{7, 4}, 10).numbers, (Numbers{2, 1}));
  EXPECT_EQ(page(kept, HistoryOrder::newest_first, EventId{7, 1}, 10).numbers, Numbers{});
  EXPECT_EQ(page(kept, HistoryOrder::oldest_first, EventId{7, 9}, 10).numbers, Numbers{});
  EXPECT_EQ(page(kept, HistoryOrder::oldest_first, std::nullopt, 0).numbers, (Numbers{1}));
}

TEST(HistoryPages, SayWhatIsMissing) {
  Kept kept{{.count = 3}};
  for (std::uint64_t i = 1; i <= 10; ++i) kept.push(i);
  Page one = page(kept, HistoryOrder::oldest_first, EventId{7, 2}, 2);
  EXPECT_EQ(one.result.reach, Reach::gap);
  EXPECT_EQ(one.numbers, (Numbers{8, 9}));
  one = page(kept, HistoryOrder::newest_first, EventId{7, 8}, 2);  // where the page before ended
  EXPECT_EQ(one.result.reach, Reach::whole);
  EXPECT_EQ(one.numbers, Numbers{});
  EXPECT_FALSE(one.result.more);
  one = page(kept, HistoryOrder::newest_first, EventId{7, 5}, 2);
  EXPECT_EQ(one.result.reach, Reach::gap);
  EXPECT_FALSE(one.result.more);
  for (const HistoryOrder order : {HistoryOrder::oldest_first, HistoryOrder::newest_first}) {
    EXPECT_EQ(page(kept, order, EventId{7, 11}, 2).result.reach, Reach::ahead);
    EXPECT_EQ(page(kept, order, EventId{8, 9}, 2).result.reach, Reach::another_epoch);
    EXPECT_EQ(page(kept, order, EventId{8, 9}, 2).numbers, Numbers{});
  }
}

TEST(HistoryPages, LookAtABoundedNumberOfEvents) {
  Kept kept{{.count = 2 * TestHistory::max_scan, .bytes = no_bound}};
  kept.push(1);
  for (std::uint64_t i = 2; i <= TestHistory::max_scan + 10; ++i) kept.push(i, 0s, true);
  kept.push(TestHistory::max_scan + 11);
  for (const HistoryOrder order : {HistoryOrder::oldest_first, HistoryOrder::newest_first}) {
    std::optional<EventId> from;
    Numbers all;
    int pages = 0;
    for (bool more = true; more; ++pages) {
      const Page one = page(kept, order, from, 5);
      all.insert(all.end(), one.numbers.begin(), one.numbers.end());
      from = one.result.next;
      more = one.result.more;
    }
    EXPECT_EQ(pages, 2);
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, (Numbers{1, TestHistory::max_scan + 11}));
  }
}

// ---- without memory

TEST(HistoryWithoutMemory, KeepsNothingAndSaysSo) {
  Kept kept{{}};
  kept.rings.fail_after(0, true);
  kept.push(1);
  kept.push(2);
  EXPECT_TRUE(kept.history.empty());
  EXPECT_EQ(kept.history.floor(), (EventId{7, 2}));
  EXPECT_EQ(kept.history.reach({7, 1}), Reach::gap);
  kept.rings.succeed();
  kept.push(3);
  EXPECT_EQ(kept.numbers(), (Numbers{3}));
}

TEST(HistoryWithoutMemory, ForgetsTheOldestInsteadOfGrowing) {
  Kept kept{{}};
  for (std::uint64_t i = 1; i <= 8; ++i) kept.push(i);
  kept.rings.fail_after(0, true);
  for (std::uint64_t i = 9; i <= 30; ++i) kept.push(i);
  EXPECT_EQ(kept.numbers(), (Numbers{23, 24, 25, 26, 27, 28, 29, 30}));
  EXPECT_EQ(kept.history.floor(), (EventId{7, 22}));
  EXPECT_EQ(kept.log.live_blocks(), 8U);
  EXPECT_EQ(kept.history.bytes(), 8 * small);
  kept.rings.succeed();
  kept.push(31);
  EXPECT_EQ(kept.history.size(), 9U);
  EXPECT_EQ(kept.numbers().back(), 31U);
}

// ---- against a model

/// A deque of all that was kept, with every bound applied by looking at all of it.
struct Model {
  struct Entry {
    EventId id;
    Time time;
    std::size_t bytes;
    bool internal;
  };
  HistoryRule rule;
  std::deque<Entry> entries{};
  EventId floor{};
  EventId last{};

  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Entry& entry : entries) sum += entry.bytes;
    return sum;
  }
  void forget() {
    floor = entries.front().id;
    entries.pop_front();
  }
  void note(EventId id) {
    if (id.epoch != last.epoch) {
      entries.clear();
      floor = {id.epoch, id.number - 1};
    }
    last = id;
  }
  void expire(Time now) {
    while (!entries.empty() && now - entries.front().time >= rule.age) forget();
  }
  void push(EventId id, Time now, std::size_t bytes_, bool internal) {
    note(id);
    entries.push_back({id, now, bytes_, internal});
    expire(now);
    while (entries.size() > rule.count || bytes() > rule.bytes) forget();
  }
  [[nodiscard]] Reach reach(EventId seen) const {
    if (seen.epoch != last.epoch) return Reach::another_epoch;
    if (seen.number > last.number) return Reach::ahead;
    for (std::uint64_t number = seen.number + 1; number <= last.number; ++number) {
      if (number <= floor.number) return Reach::gap;
    }
    return Reach::whole;
  }
};

class HistoryModel : public ::testing::TestWithParam<unsigned> {};

TEST_P(HistoryModel, Agrees) {
  std::mt19937 random(GetParam());
  const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  const HistoryRule rule{
      .count = 1 + below(40), .age = std::chrono::seconds(1 + below(30)), .bytes = 1 + below(30) * small};
  Kept kept{rule};
  Model model{.rule = rule};
  Time now = at(0s);
  EventId id{7, below(3)};
  for (int step = 0; step < 3'000; ++step) {
    now += std::chrono::milliseconds(below(8) == 0 ? below(5'000) : below(500));
    switch (below(200)) {
      case 0: id = {id.epoch + 1, below(3)}; break;
      case 1:
        kept.history.clear();
        model.entries.clear();
        model.floor = model.last;
        break;
      case 2: {
        const std::size_t bytes = below(20 * small);
        kept.history.shrink_to(bytes);
        while (model.bytes() > bytes) model.forget();
        break;
      }
      default: break;
    }
    if (below(5) == 0) {
      kept.history.expire(now);
      model.expire(now);
    }
    id.number += 1 + (below(10) == 0 ? below(5) : 0);
    if (below(20) == 0) {
      kept.history.pass(id);
      model.note(id);
    } else {
      const bool internal = below(4) == 0;
      const std::size_t size = below(20) == 0 ? below(20 * small) : below(60);
      const MessagePtr message = kept.message(id, "e", std::string(size, 'x'));
      kept.history.push(message, internal, now);
      model.push(id, now, kept_bytes(*message), internal);
    }

    ASSERT_EQ(kept.history.size(), model.entries.size());
    ASSERT_EQ(kept.history.bytes(), model.bytes());
    ASSERT_EQ(kept.history.last(), model.last);
    ASSERT_EQ(kept.history.floor(), model.floor);
    ASSERT_EQ(kept.history.first(), model.entries.empty() ? EventId{} : model.entries.front().id);
    ASSERT_EQ(kept.log.live_blocks(), model.entries.size());
    ASSERT_LE(kept.rings.live_bytes(), std::max<std::size_t>(8, rule.count) * sizeof(HistoryEntry));

    // A reader, from anywhere, in pieces of any size.
    const auto number = static_cast<std::size_t>(id.number);
    const EventId from{id.epoch + (below(20) == 0 ? 1 : 0),
                       below(2) == 0 ? below(number + 3) : number - below(std::min<std::size_t>(number, 30))};
    ASSERT_EQ(kept.history.reach(from), model.reach(from));
    if (step % 10 != 0) continue;
    std::vector<EventId> expected;
    const bool answered = model.reach(from) == Reach::whole || model.reach(from) == Reach::gap;
    for (const Model::Entry& entry : model.entries) {
      if (answered && entry.id.number > from.number) expected.push_back(entry.id);
    }
    std::vector<EventId> read;
    HistoryRead piece{.next = from};
    for (int pieces = 0; !piece.at_end; ++pieces) {
      ASSERT_LT(pieces, 100);
      piece = kept.history.read(piece.next, below(400), [&](const HistoryEntry& entry) { read.push_back(entry.id); });
      ASSERT_EQ(piece.reach, pieces == 0 ? model.reach(from) : Reach::whole);
      if (!answered) break;
    }
    ASSERT_EQ(read, expected);
    ASSERT_EQ(piece.next, answered ? model.last : from);

    // Somebody who asks, in both orders, page by page.
    for (const HistoryOrder order : {HistoryOrder::oldest_first, HistoryOrder::newest_first}) {
      std::vector<EventId> said;
      for (const Model::Entry& entry : model.entries) {
        if (!entry.internal) said.push_back(entry.id);
      }
      if (order == HistoryOrder::newest_first) std::reverse(said.begin(), said.end());
      std::vector<EventId> pages;
      std::optional<EventId> place;
      HistoryPage one{.more = true};
      while (one.more) {
        const std::size_t limit = 1 + below(7);
        const std::size_t before = pages.size();
        one = kept.history.page(order, place, limit, [&](const HistoryEntry& entry) { pages.push_back(entry.id); });
        ASSERT_EQ(one.reach, Reach::whole);
        ASSERT_TRUE(pages.size() == before + limit || !one.more);
        place = one.next;
      }
      ASSERT_EQ(pages, said);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, HistoryModel, ::testing::Range(1U, 21U));

}  // namespace
}  // namespace fanfare::test
