/// \file
/// The header of a WebSocket frame (RFC 6455 §5.2) as a server writes it: a whole message, unmasked.
#pragma once

#include <fanfare/detail/config.hpp>

#include <cstddef>
#include <cstdint>

FANFARE_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::size_t longest_frame_header = 10;

/// How long it is before so many bytes: 2, 4 or 10.
[[nodiscard]] constexpr std::size_t frame_header_size(std::size_t payload) noexcept {
  return payload < 126 ? 2 : payload < 65536 ? 4 : 10;
}

/// \param to      room for `frame_header_size(payload)` bytes.
/// \param opcode  0x1 for text.
/// \returns       `frame_header_size(payload)`.
constexpr std::size_t write_frame_header(char* to, unsigned opcode, std::size_t payload) noexcept {
  const std::size_t size = frame_header_size(payload);
  to[0] = static_cast<char>(0x80U | opcode);
  if (size == 2) {
    to[1] = static_cast<char>(payload);
  } else {
    to[1] = size == 4 ? char{126} : char{127};
    std::uint64_t rest = payload;
    for (std::size_t i = size; i > 2; rest >>= 8U) to[--i] = static_cast<char>(rest & 0xFFU);
  }
  return size;
}

}  // namespace detail
FANFARE_NAMESPACE_END
