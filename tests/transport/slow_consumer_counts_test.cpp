#include <fanfare/transport/slow_consumer_counts.hpp>

#include <gtest/gtest.h>

namespace fanfare::test {
namespace {

TEST(SlowConsumerCounts, AddUpEachByItself) {
  transport::SlowConsumerCounts sum{.closed = 1, .dropped_oldest = 2, .dropped_newest = 3, .conflated = 4};
  const transport::SlowConsumerCounts more{.closed = 10, .dropped_oldest = 20, .dropped_newest = 30, .conflated = 40};
  const transport::SlowConsumerCounts all{.closed = 11, .dropped_oldest = 22, .dropped_newest = 33, .conflated = 44};
  EXPECT_EQ(sum += more, all);
  EXPECT_EQ(sum, all);
}

}  // namespace
}  // namespace fanfare::test
