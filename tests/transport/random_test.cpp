#include <fanfare/transport/random.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <set>

namespace {

TEST(Random, NumbersDoNotRepeatWhereTheyAreFetchedAgain) {
  fanfare::transport::RandomNumbers numbers;
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(seen.insert(numbers.next()).second);
}

}  // namespace
