/// \file
/// What became of connections that read too slowly, in numbers.
#pragma once

#include <fanfare/detail/config.hpp>

#include <cstdint>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// What became of connections that lagged beyond their bound, since the beginning.
struct SlowConsumerCounts {
  std::uint64_t closed = 0;          ///< Connections that were closed.
  std::uint64_t dropped_oldest = 0;  ///< Events that one connection was not sent, by `SlowConsumer::drop_oldest`.
  std::uint64_t dropped_newest = 0;  ///< Likewise, by `SlowConsumer::drop_newest`.
  std::uint64_t conflated = 0;       ///< Likewise, by `SlowConsumer::conflate`.

  /// Adds each count.
  SlowConsumerCounts& operator+=(const SlowConsumerCounts& other) noexcept {
    closed += other.closed;
    dropped_oldest += other.dropped_oldest;
    dropped_newest += other.dropped_newest;
    conflated += other.conflated;
    return *this;
  }
  friend bool operator==(const SlowConsumerCounts&, const SlowConsumerCounts&) = default;
};

}  // namespace transport
FANFARE_NAMESPACE_END
