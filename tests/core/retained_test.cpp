#include <fanfare/core/retained.hpp>

#include "support/memory.hpp"
#include "support/messages.hpp"
#include "support/print.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;
using TestRetained = BasicRetained<CountingMemory>;
using Time = TestRetained::Clock::time_point;

constexpr std::size_t no_bound = std::numeric_limits<std::size_t>::max();
/// What a message with a name of one letter and no data counts.
constexpr std::size_t small = kept_message_overhead + 2;

Time at(std::chrono::milliseconds time) { return Time{} + 1h + time; }

struct Kept {
  explicit Kept(const RetainedRule& rule = {}, std::uint64_t seed = 0) : retained(rule, seed, CountingMemory{nodes}) {}

  void store(std::uint64_t number, std::string_view name, std::chrono::milliseconds time = 0ms,
             const std::string& data = {}) {
    retained.store(message(number, name, data), at(time));
  }
  /// `name@number` for each, in order.
  [[nodiscard]] Lines lines() const {
    Lines all;
    retained.for_each([&](const MessagePtr& one) { all.push_back(line(*one)); });
    return all;
  }
  [[nodiscard]] Lines up_to(EventId floor) const {
    Lines all;
    retained.for_each_up_to(floor, [&](const MessagePtr& one) { all.push_back(line(*one)); });
    return all;
  }
  static std::string line(const Message& message) {
    return std::string(message.name()) + '@' + std::to_string(message.id().number);
  }

  MemoryLog nodes;
  MemoryLog log;
  Messages message{log};
  TestRetained retained;
};

TEST(Retained, IsEmptyAtFirst) {
  Kept kept;
  EXPECT_TRUE(kept.retained.empty());
  EXPECT_EQ(kept.retained.size(), 0U);
  EXPECT_EQ(kept.retained.bytes(), 0U);
  EXPECT_EQ(kept.retained.first(), EventId{});
  EXPECT_EQ(kept.retained.find("a"), nullptr);
  EXPECT_FALSE(kept.retained.clear("a"));
  kept.retained.clear();
  kept.retained.expire(at(0s));
  EXPECT_EQ(kept.lines(), Lines{});
  EXPECT_EQ(kept.nodes.allocations(), 0U);
}

TEST(Retained, KeepsTheLatestOfEachNameInTheOrderOfTheirIds) {
  Kept kept;
  kept.store(1, "position");
  kept.store(2, "score");
  kept.store(3, "state");
  EXPECT_EQ(kept.lines(), (Lines{"position@1", "score@2", "state@3"}));
  EXPECT_EQ(kept.retained.first().number, 1U);
  kept.store(4, "score");
  EXPECT_EQ(kept.lines(), (Lines{"position@1", "state@3", "score@4"}));
  kept.store(5, "position");
  kept.store(6, "position");
  EXPECT_EQ(kept.lines(), (Lines{"state@3", "score@4", "position@6"}));
  EXPECT_EQ(kept.retained.first().number, 3U);
  EXPECT_EQ(kept.retained.size(), 3U);
  EXPECT_EQ(kept.log.live_blocks(), 3U);
}

TEST(Retained, FindsByName) {
  Kept kept;
  const MessagePtr message = kept.message(1, "a", "data");
  kept.retained.store(message, at(0s));
  EXPECT_EQ(kept.retained.find("a"), message.get());  // not a copy
  EXPECT_EQ(kept.retained.find("A"), nullptr);
  EXPECT_EQ(kept.retained.find(""), nullptr);
  EXPECT_EQ(kept.retained.find("ab"), nullptr);
  EXPECT_EQ(kept.retained.bytes(), kept_bytes(*message));
}

TEST(Retained, TakesAnyName) {
  Kept kept;
  const std::vector<std::string> names{"", std::string("\0", 1), std::string("\0\0", 2), "\xff", std::string(200, 'x')};
  std::uint64_t number = 0;
  for (const std::string& name : names) kept.store(++number, name);
  EXPECT_EQ(kept.retained.size(), names.size());
  for (const std::string& name : names) {
    ASSERT_NE(kept.retained.find(name), nullptr);
    EXPECT_EQ(kept.retained.find(name)->name(), name);
  }
}

TEST(Retained, ForgetsOneOrAll) {
  Kept kept;
  for (std::uint64_t i = 1; i <= 3; ++i) kept.store(i, std::string(1, static_cast<char>('a' + i - 1)));
  EXPECT_TRUE(kept.retained.clear("b"));
  EXPECT_FALSE(kept.retained.clear("b"));
  EXPECT_EQ(kept.lines(), (Lines{"a@1", "c@3"}));
  EXPECT_EQ(kept.retained.bytes(), 2 * small);
  EXPECT_TRUE(kept.retained.clear(kept.retained.find("a")->name()));  // which ends with it
  EXPECT_TRUE(kept.retained.clear("c"));
  EXPECT_TRUE(kept.retained.empty());
  EXPECT_EQ(kept.nodes.live_blocks(), 0U);
  kept.store(4, "b");
  kept.retained.clear();
  EXPECT_EQ(kept.lines(), Lines{});
  EXPECT_EQ(kept.nodes.live_blocks(), 0U);
  EXPECT_EQ(kept.log.live_blocks(), 0U);
}

TEST(Retained, ForgetsTheOldestNamesBeyondTheirNumber) {
  Kept kept{{.names = 2}};
  kept.store(1, "a");
  kept.store(2, "b");
  kept.store(3, "a");  // a name that is there needs no room
  EXPECT_EQ(kept.lines(), (Lines{"b@2", "a@3"}));
  kept.store(4, "c");
  EXPECT_EQ(kept.lines(), (Lines{"a@3", "c@4"}));
}

TEST(Retained, ForgetsTheOldestBeyondItsBytes) {
  Kept kept{{.bytes = 3 * small}};
  kept.store(1, "a");
  kept.store(2, "b");
  kept.store(3, "c");
  EXPECT_EQ(kept.retained.bytes(), 3 * small);
  kept.store(4, "c", 0s, "x");
  EXPECT_EQ(kept.lines(), (Lines{"b@2", "c@4"}));
  kept.store(5, "d", 0s, std::string(2 * small, 'x'));
  EXPECT_EQ(kept.lines(), (Lines{"d@5"}));
  EXPECT_EQ(kept.retained.bytes(), 3 * small);
}

TEST(Retained, AnEventThatIsTooLargeReplacesItsNameByNothing) {
  Kept kept{{.bytes = 3 * small}};
  kept.store(1, "a");
  kept.store(2, "b");
  kept.store(3, "a", 0s, std::string(3 * small, 'x'));
  EXPECT_EQ(kept.lines(), (Lines{"b@2"}));
  kept.store(4, "c", 0s, std::string(3 * small, 'x'));
  EXPECT_EQ(kept.lines(), (Lines{"b@2"}));
  EXPECT_EQ(kept.log.live_blocks(), 1U);
}

TEST(Retained, ForgetsWhatIsTooOld) {
  Kept kept{{.age = 10s}};
  kept.store(1, "a", 0s);
  kept.store(2, "b", 4s);
  kept.store(3, "a", 6s);
  kept.retained.expire(at(13'999ms));
  EXPECT_EQ(kept.lines(), (Lines{"b@2", "a@3"}));
  kept.retained.expire(at(14s));
  EXPECT_EQ(kept.lines(), (Lines{"a@3"}));
  kept.store(4, "c", 16s);  // so does storing
  EXPECT_EQ(kept.lines(), (Lines{"c@4"}));
  kept.store(5, "d", 1s);  // counts as 16 s
  EXPECT_TRUE(kept.retained.clear("c"));
  kept.retained.expire(at(25'999ms));
  EXPECT_EQ(kept.lines(), (Lines{"d@5"}));
  kept.retained.expire(at(26s));
  EXPECT_TRUE(kept.retained.empty());
  EXPECT_EQ(kept.nodes.live_blocks(), 0U);
}

TEST(Retained, Shrinks) {
  Kept kept;
  kept.store(1, "a");
  kept.store(2, "b");
  kept.store(3, "c");
  kept.retained.shrink_to(3 * small);
  EXPECT_EQ(kept.retained.size(), 3U);
  kept.retained.shrink_to(3 * small - 1);
  EXPECT_EQ(kept.lines(), (Lines{"b@2", "c@3"}));
  kept.retained.shrink_to(0);
  EXPECT_TRUE(kept.retained.empty());
}

TEST(Retained, GivesWhatAHistoryNoLongerHolds) {
  Kept kept;
  kept.store(2, "a");
  kept.store(5, "b");
  kept.store(9, "c");
  EXPECT_EQ(kept.up_to({7, 1}), Lines{});
  EXPECT_EQ(kept.up_to({7, 4}), (Lines{"a@2"}));
  EXPECT_EQ(kept.up_to({7, 5}), (Lines{"a@2", "b@5"}));
  EXPECT_EQ(kept.up_to({7, 100}), (Lines{"a@2", "b@5", "c@9"}));
  EXPECT_EQ(kept.up_to({8, 0}), (Lines{"a@2", "b@5", "c@9"}));  // of an earlier life: no history has them
  EXPECT_EQ(kept.up_to({}), (Lines{"a@2", "b@5", "c@9"}));
  kept.retained.store(kept.message({8, 1}, "d"), at(0s));
  kept.retained.store(kept.message({8, 2}, "a"), at(0s));
  EXPECT_EQ(kept.up_to({8, 1}), (Lines{"b@5", "c@9", "d@1"}));
}

TEST(Retained, ReadsRulesOutOfBoundsAsTheNearest) {
  Kept none{{.names = 0, .bytes = 0, .age = -1s}};
  none.store(1, "a");
  EXPECT_TRUE(none.retained.empty());  // no event has 1 byte
  Kept one{{.names = 0}};
  one.store(1, "a");
  one.store(2, "b");
  EXPECT_EQ(one.lines(), (Lines{"b@2"}));
  Kept all{{.names = no_bound, .bytes = no_bound, .age = std::chrono::seconds::max()}};
  for (std::uint64_t i = 1; i <= 100; ++i) all.store(i, std::to_string(i), 1h * i);
  EXPECT_EQ(all.retained.size(), 100U);
}

TEST(Retained, VisitorsMayThrow) {
  Kept kept;
  kept.store(1, "a");
  const auto fail = [](const MessagePtr&) { throw std::bad_alloc(); };
  EXPECT_THROW(kept.retained.for_each(fail), std::bad_alloc);
  EXPECT_THROW(kept.retained.for_each_up_to({7, 1}, fail), std::bad_alloc);
  EXPECT_EQ(kept.lines(), (Lines{"a@1"}));
  const auto quiet = [](const MessagePtr&) noexcept {};
  static_assert(noexcept(kept.retained.for_each(quiet)));
  static_assert(!noexcept(kept.retained.for_each(fail)));
}

// ---- without memory

TEST(RetainedWithoutMemory, KeepsNothing) {
  Kept kept;
  kept.nodes.fail_after(0, true);
  kept.store(1, "a");
  EXPECT_TRUE(kept.retained.empty());
  kept.nodes.fail_after(1, true);  // a node, but no table
  kept.store(2, "a");
  EXPECT_TRUE(kept.retained.empty());
  EXPECT_EQ(kept.nodes.live_blocks(), 0U);
  EXPECT_EQ(kept.log.live_blocks(), 0U);
  kept.nodes.succeed();
  kept.store(3, "a");
  EXPECT_EQ(kept.lines(), (Lines{"a@3"}));
}

TEST(RetainedWithoutMemory, ForgetsTheOldestName) {
  Kept kept;
  kept.store(1, "a");
  kept.store(2, "b");
  kept.nodes.fail_after(0, true);
  kept.store(3, "c");
  EXPECT_EQ(kept.lines(), (Lines{"b@2", "c@3"}));
  kept.store(4, "b");  // needs none
  EXPECT_EQ(kept.lines(), (Lines{"c@3", "b@4"}));
}

TEST(RetainedWithoutMemory, KeepsASmallTable) {
  Kept kept;
  std::uint64_t number = 0;
  for (; number < 8; ++number) kept.store(number + 1, std::to_string(number));
  for (; number < 100; ++number) {
    kept.nodes.fail_after(1);  // a node, but no larger table
    kept.store(number + 1, std::to_string(number));
    ASSERT_EQ(kept.nodes.refused(), 1U);
  }
  kept.nodes.succeed();
  EXPECT_EQ(kept.retained.size(), 100U);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const Message* const message = kept.retained.find(std::to_string(i));
    ASSERT_NE(message, nullptr);
    EXPECT_EQ(message->id().number, i + 1);
  }
}

// ---- against a model

struct Model {
  struct Entry {
    std::string name;
    std::uint64_t number;
    Time time;
    std::size_t bytes;
  };
  RetainedRule rule;
  std::vector<Entry> entries{};

  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Entry& entry : entries) sum += entry.bytes;
    return sum;
  }
  bool clear(std::string_view name) {
    return std::erase_if(entries, [&](const Entry& entry) { return entry.name == name; }) != 0;
  }
  void expire(Time now) {
    std::erase_if(entries, [&](const Entry& entry) { return now - entry.time >= rule.age; });
  }
  void store(const std::string& name, std::uint64_t number, Time now, std::size_t bytes_) {
    expire(now);
    clear(name);
    if (bytes_ > rule.bytes) return;
    entries.push_back({name, number, now, bytes_});
    while (entries.size() > rule.names || bytes() > rule.bytes) entries.erase(entries.begin());
  }
};

class RetainedModel : public ::testing::TestWithParam<unsigned> {};

TEST_P(RetainedModel, Agrees) {
  std::mt19937 random(GetParam());
  const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  const RetainedRule rule{
      .names = 1 + below(40), .bytes = 1 + below(40) * small, .age = std::chrono::seconds(1 + below(30))};
  Kept kept{rule, random()};
  Model model{rule};
  Time now = at(0s);
  std::uint64_t number = 0;
  for (int step = 0; step < 2'000; ++step) {
    now += std::chrono::milliseconds(below(8) == 0 ? below(5'000) : below(500));
    const std::string name = std::to_string(below(50));
    number += 1 + below(3);
    const std::size_t choice = below(100);
    if (choice == 0) {
      kept.retained.clear();
      model.entries.clear();
    } else if (choice == 1) {
      const std::size_t bytes = below(30 * small);
      kept.retained.shrink_to(bytes);
      while (model.bytes() > bytes) model.entries.erase(model.entries.begin());
    } else if (choice < 10) {
      ASSERT_EQ(kept.retained.clear(name), model.clear(name));
    } else if (choice < 20) {
      kept.retained.expire(now);
      model.expire(now);
    } else {
      const MessagePtr message = kept.message(number, name, std::string(below(20) == 0 ? below(20 * small) : 9, 'x'));
      kept.retained.store(message, now);
      model.store(name, number, now, kept_bytes(*message));
    }
    ASSERT_EQ(kept.retained.size(), model.entries.size());
    ASSERT_EQ(kept.retained.bytes(), model.bytes());
    ASSERT_EQ(kept.retained.empty(), model.entries.empty());
    ASSERT_EQ(kept.log.live_blocks(), model.entries.size());
    const auto known = std::find_if(model.entries.begin(), model.entries.end(),
                                    [&](const Model::Entry& entry) { return entry.name == name; });
    const Message* const found = kept.retained.find(name);
    ASSERT_EQ(found != nullptr, known != model.entries.end());
    if (found != nullptr) {
      ASSERT_EQ(found->id().number, known->number);
    }
    Lines expected;
    Lines expected_up_to;
    const std::uint64_t floor = number - std::min<std::uint64_t>(number, below(60));
    for (const Model::Entry& entry : model.entries) {
      expected.push_back(entry.name + '@' + std::to_string(entry.number));
      if (entry.number <= floor) expected_up_to.push_back(expected.back());
    }
    ASSERT_EQ(kept.lines(), expected);
    ASSERT_EQ(kept.up_to({7, floor}), expected_up_to);
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, RetainedModel, ::testing::Range(1U, 11U));

}  // namespace
}  // namespace fanfare::test
