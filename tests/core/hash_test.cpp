#include <fanfare/core/hash.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fanfare::test {
namespace {

TEST(SeededHash, IsAFunctionOfNameAndSeed) {
  const std::string one = "lobby";
  const std::string same = "lobby";
  EXPECT_EQ(SeededHash::hash(one, 1), SeededHash::hash(same, 1));
  EXPECT_NE(SeededHash::hash("lobby", 1), SeededHash::hash("lobby", 2));
  EXPECT_NE(SeededHash::hash("lobby", 1), SeededHash::hash("lobbz", 1));
}

TEST(SeededHash, EveryBitOfEveryLengthCounts) {
  for (std::size_t length = 1; length <= 70; ++length) {
    // Its own allocation of the exact size: reading past its end is then seen by the sanitizer.
    std::vector<char> bytes(length, 'a');
    const std::string_view name{bytes.data(), bytes.size()};
    const std::uint64_t before = SeededHash::hash(name, 7);
    for (std::size_t bit = 0; bit < 8 * length; ++bit) {
      const auto mask = static_cast<unsigned>(1U << (bit % 8));
      const char old = bytes[bit / 8];
      bytes[bit / 8] = static_cast<char>(static_cast<unsigned char>(old) ^ mask);
      EXPECT_NE(SeededHash::hash(name, 7), before) << length << ' ' << bit;
      bytes[bit / 8] = old;
    }
  }
}

TEST(SeededHash, TheLengthCounts) {
  std::set<std::uint64_t> seen;
  const std::string zeros(100, '\0');
  for (std::size_t length = 0; length <= 100; ++length) {
    EXPECT_TRUE(seen.insert(SeededHash::hash({zeros.data(), length}, 3)).second) << length;
  }
}

TEST(SeededHash, SeedsDifferInAllBitsOnAverage) {
  std::size_t differing = 0;
  constexpr std::size_t rounds = 256;
  for (std::uint64_t seed = 0; seed < rounds; ++seed) {
    differing += static_cast<std::size_t>(
        std::popcount(SeededHash::hash("LOBBY_42", seed) ^ SeededHash::hash("LOBBY_42", seed + 1)));
  }
  EXPECT_GT(differing, rounds * 28);
  EXPECT_LT(differing, rounds * 36);
}

TEST(SeededHash, NumberedNamesSpreadOverLowAndHighBits) {
  constexpr std::size_t names = 6400;
  std::array<std::size_t, 64> low{};
  std::array<std::size_t, 64> high{};
  for (std::size_t i = 0; i < names; ++i) {
    const std::uint64_t hash = SeededHash::hash("room-" + std::to_string(i), 99);
    ++low[static_cast<std::size_t>(hash & 63U)];
    ++high[static_cast<std::size_t>(hash >> 58U)];
  }
  for (const auto& buckets : {low, high}) {
    EXPECT_GT(*std::min_element(buckets.begin(), buckets.end()), 50U);
    EXPECT_LT(*std::max_element(buckets.begin(), buckets.end()), 160U);
  }
}

TEST(SeededHash, FoldsTheWholeProduct) {
  EXPECT_EQ(SeededHash::fold(0, 5), 0U);
  EXPECT_EQ(SeededHash::fold(3, 5), 15U);
  EXPECT_EQ(SeededHash::fold(std::uint64_t{1} << 32U, std::uint64_t{1} << 32U), 1U);
  // (2^64 - 1)^2 = 2^128 - 2^65 + 1
  EXPECT_EQ(SeededHash::fold(~std::uint64_t{0}, ~std::uint64_t{0}), 0xfffffffffffffffeU ^ 1U);
}

TEST(SameName, LooksAtEachByteOfEachLength) {
  for (std::size_t length = 0; length <= 40; ++length) {
    const std::string name(length, 'n');
    EXPECT_TRUE(detail::same_name(name, std::string(length, 'n'))) << length;
    EXPECT_FALSE(detail::same_name(name, std::string(length + 1, 'n'))) << length;
    for (std::size_t place = 0; place < length; ++place) {
      std::string other = name;
      other[place] = 'm';
      EXPECT_FALSE(detail::same_name(name, other)) << length << ' ' << place;
      EXPECT_FALSE(detail::same_name(other, name)) << length << ' ' << place;
    }
  }
}

struct NoSeed {
  static std::uint64_t hash(std::string_view name) noexcept;
};
struct ThrowingHash {
  static std::uint64_t hash(std::string_view name, std::uint64_t seed);
};

TEST(NameHash, IsCheckedWhole) {
  static_assert(NameHash<SeededHash>);
  static_assert(!NameHash<NoSeed> && !NameHash<ThrowingHash> && !NameHash<int>);
  static_assert(WithHash<SeededHash>::policy_kind == PolicyKind::hash);
}

}  // namespace
}  // namespace fanfare::test
