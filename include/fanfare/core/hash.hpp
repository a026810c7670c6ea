/// \file
/// The hash policy, and the default: a fast hash of short names, keyed by a seed.
#pragma once

#include <fanfare/core/policy.hpp>
#include <fanfare/detail/config.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

FANFARE_NAMESPACE_BEGIN

/// A function from (name, seed) to 64 well-mixed bits. Clients choose names, so the seed must matter.
template <class H>
concept NameHash = requires(std::string_view name, std::uint64_t seed) {
  { H::hash(name, seed) } noexcept -> std::same_as<std::uint64_t>;
};

/// Multiply-and-fold over 16 bytes at a time, in the manner of wyhash (Wang Yi, 2019).
///
/// Not a cryptographic hash: who knows the seed can make collisions. The tables notice long probes and change the
/// seed.
/// \complexity about 2 ns for names up to 16 bytes.
struct SeededHash {
  /// As `NameHash` has it.
  [[nodiscard]] static std::uint64_t hash(std::string_view name, std::uint64_t seed) noexcept {
    const char* bytes = name.data();
    std::size_t size = name.size();
    std::uint64_t state = fold(seed ^ k0, size ^ k1);
    for (; size > 16; size -= 16, bytes += 16) state = fold(read<8>(bytes) ^ k2, read<8>(bytes + 8) ^ state);
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    if (size >= 8) {
      low = read<8>(bytes);
      high = read<8>(bytes + size - 8);
    } else if (size >= 4) {
      low = read<4>(bytes);
      high = read<4>(bytes + size - 4);
    } else if (size > 0) {
      low = (std::uint64_t{static_cast<unsigned char>(bytes[0])} << 16U) |
            (std::uint64_t{static_cast<unsigned char>(bytes[size / 2])} << 8U) |
            std::uint64_t{static_cast<unsigned char>(bytes[size - 1])};
    }
    return fold(low ^ k3, high ^ state);
  }

  /// Mixes two words into one.
  [[nodiscard]] static std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
#if defined(__SIZEOF_INT128__)
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
#else
    const std::uint64_t mask = 0xffffffffU;
    const std::uint64_t ll = (a & mask) * (b & mask);
    const std::uint64_t lh = (a & mask) * (b >> 32U);
    const std::uint64_t hl = (a >> 32U) * (b & mask);
    const std::uint64_t hh = (a >> 32U) * (b >> 32U);
    const std::uint64_t middle = (ll >> 32U) + (lh & mask) + (hl & mask);
    const std::uint64_t low = (middle << 32U) | (ll & mask);
    const std::uint64_t high = hh + (lh >> 32U) + (hl >> 32U) + (middle >> 32U);
    return low ^ high;
#endif
  }

 private:
  // The first 256 bits of the fraction of pi: nothing up the sleeve.
  static constexpr std::uint64_t k0 = 0x243f6a8885a308d3U;
  static constexpr std::uint64_t k1 = 0x13198a2e03707345U;
  static constexpr std::uint64_t k2 = 0xa4093822299f31d1U;
  static constexpr std::uint64_t k3 = 0x082efa98ec4e6c89U;

  template <std::size_t N>
  [[nodiscard]] static std::uint64_t read(const char* bytes) noexcept {
    if constexpr (N == 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes, sizeof word);
      return word;
    } else {
      std::uint32_t word = 0;
      std::memcpy(&word, bytes, sizeof word);
      return word;
    }
  }
};
static_assert(NameHash<SeededHash>);

namespace detail {

/// Half a hash is what a channel keeps of it: the lower half, which is here both. So what tables take from either end of a
/// hash is there, and it is the same for the name and for what keeps the half.
[[nodiscard]] constexpr std::uint64_t whole_hash(std::uint32_t half) noexcept {
  return std::uint64_t{half} << 32U | half;
}

template <class Word>
[[nodiscard]] inline Word word_at(const char* bytes) noexcept {
  Word word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

/// Whether two names of more than 16 bytes are the same between the first 8 and the last 8.
[[nodiscard]] FANFARE_NOINLINE inline bool same_middle(const char* a, const char* b, std::size_t size) noexcept {
  for (std::size_t i = 8; i + 8 < size; i += 8) {
    if (word_at<std::uint64_t>(a + i) != word_at<std::uint64_t>(b + i)) return false;
  }
  return true;
}

/// Whether two names are the same; for short names several times faster than a call of `memcmp`.
[[nodiscard]] FANFARE_ALWAYS_INLINE bool same_name(std::string_view first, std::string_view second) noexcept {
  if (first.size() != second.size()) return false;
  const char* const a = first.data();
  const char* const b = second.data();
  const std::size_t size = first.size();
  if (size >= 8) {
    return word_at<std::uint64_t>(a) == word_at<std::uint64_t>(b) &&
           word_at<std::uint64_t>(a + size - 8) == word_at<std::uint64_t>(b + size - 8) &&
           (size <= 16 || same_middle(a, b, size));
  }
  if (size >= 4) {
    return word_at<std::uint32_t>(a) == word_at<std::uint32_t>(b) &&
           word_at<std::uint32_t>(a + size - 4) == word_at<std::uint32_t>(b + size - 4);
  }
  for (std::size_t i = 0; i < size; ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

}  // namespace detail

/// Policy: hash names with `H`.
template <class H>
struct WithHash {
  static_assert(NameHash<H>, "fanfare: WithHash<H>: H does not satisfy the concept fanfare::NameHash");
  static constexpr PolicyKind policy_kind = PolicyKind::hash;
  /// The hash.
  using type = H;
};

FANFARE_NAMESPACE_END
