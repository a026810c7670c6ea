#include <fanfare/core/turn_log.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

void fill(TurnLog& log, const std::vector<std::string>& frames) {
  std::uint64_t sequence = 0;
  for (const std::string& frame : frames) log.append(frame, ++sequence);
}

TEST(TurnLog, HoldsFramesInARow) {
  TurnLog log;
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(log.bytes(), "");
  log.append("one", 7);
  log.append("three", 9, 3);
  log.append("x", 12);
  EXPECT_FALSE(log.empty());
  EXPECT_EQ(log.bytes(), "onethreex");
  ASSERT_EQ(log.frames().size(), 3U);
  EXPECT_EQ(log.frame(0), "one");
  EXPECT_EQ(log.frame(1), "three");
  EXPECT_EQ(log.frame(2), "x");
  EXPECT_EQ(log.frames()[0].end, 3U);
  EXPECT_EQ(log.frames()[1].end, 8U);
  EXPECT_EQ(log.frames()[2].end, 9U);
  EXPECT_EQ(log.frames()[0].sequence, 7U);
  EXPECT_EQ(log.frames()[1].sequence, 9U);
  EXPECT_EQ(log.frames()[0].except, LogFrame::nobody);
  EXPECT_EQ(log.frames()[1].except, 3U);
}

TEST(TurnLog, SaysWhoseAFrameIs) {
  TurnLog log;
  log.append("one", 7);
  log.append("two", 8, 3, 99);
  log.append("gap", LogFrame{.end = 1000, .gap = true, .channel = 5});
  EXPECT_EQ(log.frames()[0].channel, LogFrame::no_channel);
  EXPECT_EQ(log.frames()[1].channel, 99U);
  EXPECT_FALSE(log.frames()[1].gap);
  EXPECT_TRUE(log.frames()[2].gap);
  EXPECT_EQ(log.frames()[2].end, 9U);
  for (std::size_t offset = 0; offset < 9; ++offset) EXPECT_EQ(log.frame_at(offset), offset / 3);
  EXPECT_EQ(log.frame_at(9), 3U);
  EXPECT_EQ(TurnLog{}.frame_at(0), 0U);
}

struct Rest {
  std::vector<std::string> frames;
  std::size_t offset;
  std::size_t expected;
};
class RestOfFrame : public ::testing::TestWithParam<Rest> {};

TEST_P(RestOfFrame, EndsWhereTheFrameEndsThatTheOffsetIsInsideOf) {
  TurnLog log;
  fill(log, GetParam().frames);
  EXPECT_EQ(log.rest_of_frame(GetParam().offset), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Table, RestOfFrame,
                         ::testing::Values(Rest{{}, 0, 0},                         // an empty log
                                           Rest{{"abc"}, 0, 0},                    // a frame begins
                                           Rest{{"abc"}, 1, 3},                    // inside
                                           Rest{{"abc"}, 2, 3},                    // its last byte
                                           Rest{{"abc"}, 3, 3},                    // the end of the log
                                           Rest{{"abc", "de", "f"}, 3, 3},         // the second begins
                                           Rest{{"abc", "de", "f"}, 4, 5},         // inside of it
                                           Rest{{"abc", "de", "f"}, 5, 5},         // the third begins
                                           Rest{{"abc", "de", "f"}, 6, 6},         // the end
                                           Rest{{"a", "b", "c", "d", "e"}, 3, 3},  // all of one byte
                                           Rest{{std::string(1000, 'x'), "y"}, 999, 1000}));

TEST(TurnLog, RestOfFrameAgreesWithALinearSearchAtEveryOffset) {
  TurnLog log;
  for (std::size_t i = 0; i < 60; ++i) log.append(std::string(1 + i * 7 % 13, 'x'), i);
  std::size_t begin = 0;
  for (const LogFrame& frame : log.frames()) {
    EXPECT_EQ(log.rest_of_frame(begin), begin);
    for (std::size_t at = begin + 1; at < frame.end; ++at) EXPECT_EQ(log.rest_of_frame(at), frame.end) << at;
    begin = frame.end;
  }
}

TEST(TurnLog, IsEmptyAfterClear) {
  for (const std::size_t keep : {std::size_t{0}, std::size_t{1} << 20U}) {
    TurnLog log;
    fill(log, {"one", std::string(1000, 'x'), "three"});
    log.clear(keep);
    EXPECT_TRUE(log.empty());
    EXPECT_EQ(log.bytes(), "");
    log.append("again", 1);
    EXPECT_EQ(log.frame(0), "again");
    EXPECT_EQ(log.frames()[0].end, 5U);
  }
}

TEST(TurnLog, IsNotCopied) {
  static_assert(!std::is_copy_constructible_v<TurnLog> && !std::is_copy_assignable_v<TurnLog>);
  static_assert(!std::is_copy_constructible_v<LogPool> && !std::is_move_constructible_v<LogPool>);
}

// ---- the pool

TEST(LogPool, CountsTheLogsThatSomebodyRefersTo) {
  LogPool pool;
  EXPECT_EQ(pool.used(), 0U);
  std::optional<LogPtr> one{pool.take()};
  EXPECT_EQ(pool.used(), 1U);
  LogPtr two = pool.take_small(100);
  EXPECT_EQ(pool.used(), 2U);
  LogPtr same = *one;
  EXPECT_EQ(pool.used(), 2U);
  one.reset();
  EXPECT_EQ(pool.used(), 2U);
  same = {};
  EXPECT_EQ(pool.used(), 1U);
  two = pool.take();
  EXPECT_EQ(pool.used(), 1U);
}

TEST(LogPool, GivesAnEmptyLogEachTime) {
  LogPool pool;
  const TurnLog* first = nullptr;
  {
    const LogPtr log = pool.take();
    first = log.get();
    log->append("left over", 1);
  }
  const LogPtr again = pool.take();
  EXPECT_EQ(again.get(), first);  // it was kept
  EXPECT_TRUE(again->empty());
  EXPECT_EQ(again->bytes(), "");
  const LogPtr small = pool.take_small(10);
  EXPECT_NE(small.get(), first);
  EXPECT_TRUE(small->empty());
}

TEST(LogPool, KeepsNoMoreThanAllowed) {
  // What is not kept is freed: the sanitizers look for what is not.
  for (const std::size_t keep : {0U, 1U, 3U}) {
    LogPool pool{keep};
    for (int round = 0; round < 3; ++round) {
      std::vector<LogPtr> logs;
      for (int i = 0; i < 5; ++i) {
        logs.push_back(pool.take());
        EXPECT_TRUE(logs.back()->empty());
        logs.back()->append(std::string(100, 'x'), 1);
      }
      EXPECT_EQ(pool.used(), 5U);
      logs.clear();
      EXPECT_EQ(pool.used(), 0U);
    }
  }
}

TEST(LogPtr, SharesCopiesAndMoves) {
  LogPool pool;
  LogPtr none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.get(), nullptr);
  const LogPtr copy_of_none = none;
  EXPECT_FALSE(copy_of_none);
  LogPtr log = pool.take();
  EXPECT_TRUE(log);
  (*log).append("frame", 1);
  LogPtr copy = log;
  EXPECT_EQ(copy.get(), log.get());
  LogPtr moved = std::move(log);
  EXPECT_FALSE(log);  // NOLINT(bugprone-use-after-move): moved-from is empty
  LogPtr& self = moved;
  moved = self;
  EXPECT_EQ(moved->bytes(), "frame");
  moved = std::move(self);
  EXPECT_EQ(moved->bytes(), "frame");
  copy = {};
  EXPECT_EQ(pool.used(), 1U);
  moved = std::move(none);
  EXPECT_EQ(pool.used(), 0U);
  static_assert(std::is_nothrow_move_constructible_v<LogPtr> && std::is_nothrow_copy_constructible_v<LogPtr>);
}

#if FANFARE_ASSERTS && GTEST_HAS_DEATH_TEST
TEST(LogPoolDeathTest, ALogThatOutlivesItsPoolIsAMistake) {
  EXPECT_DEATH(
      {
        LogPtr log;
        LogPool pool;
        log = pool.take();
      },
      "a log outlives its pool");
}
#endif

}  // namespace
}  // namespace fanfare::test
