/// \file
/// WebSocket frames as a server writes them: opcodes, close codes, headers.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/detail/frame_header.hpp>
#include <fanfare/detail/text.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace websocket {

/// What a frame is (RFC 6455 §5.2).
enum class Opcode : std::uint8_t {
  continuation = 0x0,  ///< More of the message that an earlier frame began.
  text = 0x1,          ///< UTF-8.
  binary = 0x2,        ///< Any bytes.
  close = 0x8,         ///< The last frame of this side.
  ping = 0x9,          ///< To be answered by a pong with the same payload.
  pong = 0xA,          ///< The answer to a ping, or unasked.
};

/// Control frames carry at most `max_control_payload` bytes and are never fragmented.
[[nodiscard]] constexpr bool is_control(Opcode opcode) noexcept {
  return (static_cast<std::uint8_t>(opcode) & 0x8U) != 0;
}

/// Why a connection ends (RFC 6455 §7.4). The set is open: applications have 3000 to 4999.
namespace close_code {

inline constexpr std::uint16_t none = 0;                 ///< Not a code: nothing went wrong.
inline constexpr std::uint16_t normal = 1000;            ///< The purpose is fulfilled.
inline constexpr std::uint16_t going_away = 1001;        ///< A server stops, or a page is left.
inline constexpr std::uint16_t protocol_error = 1002;    ///< The peer broke RFC 6455.
inline constexpr std::uint16_t unsupported = 1003;       ///< Data of a kind that is not accepted.
inline constexpr std::uint16_t no_status = 1005;         ///< Never sent: stands for a close frame without a code.
inline constexpr std::uint16_t abnormal = 1006;          ///< Never sent: stands for an end without a close frame.
inline constexpr std::uint16_t invalid_payload = 1007;   ///< Text that is not UTF-8.
inline constexpr std::uint16_t policy_violation = 1008;  ///< Refused for a reason that has no code.
inline constexpr std::uint16_t too_big = 1009;           ///< A message beyond the limits.
inline constexpr std::uint16_t internal_error = 1011;    ///< The sender of the code could not go on.
inline constexpr std::uint16_t service_restart = 1012;   ///< Registered: reconnect after a while.
inline constexpr std::uint16_t try_again_later = 1013;   ///< Registered: overloaded.

}  // namespace close_code

/// Whether a code may stand in a close frame: 1000 to 1003, 1007 to 1014, 3000 to 4999.
[[nodiscard]] constexpr bool is_close_code(std::uint16_t code) noexcept {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/// The most bytes that a control frame carries.
inline constexpr std::size_t max_control_payload = 125;
/// The most bytes of a close frame's reason.
inline constexpr std::size_t max_close_reason = max_control_payload - 2;
/// The longest header that a server writes.
inline constexpr std::size_t max_header_size = fanfare::detail::longest_frame_header;

/// The size of the header that a server writes before so many bytes: 2, 4 or 10.
[[nodiscard]] constexpr std::size_t header_size(std::size_t payload) noexcept {
  return fanfare::detail::frame_header_size(payload);
}

/// Writes the header of a whole, unmasked message, for payloads that are kept elsewhere.
///
/// \param to  room for `header_size(payload)` bytes; `max_header_size` is always enough.
/// \returns   `header_size(payload)`.
/// \pre       a control frame's payload has at most `max_control_payload` bytes.
constexpr std::size_t write_header(char* to, Opcode opcode, std::size_t payload) noexcept {
  FANFARE_ASSERT(!is_control(opcode) || payload <= max_control_payload, "a control frame carries at most 125 bytes");
  return fanfare::detail::write_frame_header(to, static_cast<unsigned>(opcode), payload);
}

/// Appends a whole, unmasked message.
///
/// \pre     the payload is no part of `to`; a control frame has at most `max_control_payload` bytes; text is UTF-8.
/// \throws  what `std::string::append` throws; `to` is then as before.
inline void append_frame(std::string& to, Opcode opcode, std::string_view payload) {
  char header[max_header_size];
  const std::size_t size = write_header(header, opcode, payload.size());
  const std::size_t before = to.size();
  // One growth for both parts. It at least doubles, so one frame after the other does not copy all before it each time.
  to.resize(before + size + payload.size());
  std::char_traits<char>::copy(to.data() + before, header, size);
  payload.copy(to.data() + before + size, payload.size());
}

/// Appends a close frame.
///
/// \param code    one that `is_close_code` allows, or `close_code::no_status` for a frame without code and reason.
/// \param reason  UTF-8; cut to `max_close_reason` bytes between two characters.
/// \throws        what `std::string::append` throws; `to` is then as before.
inline void append_close(std::string& to, std::uint16_t code, std::string_view reason = {}) {
  FANFARE_ASSERT(is_close_code(code) || code == close_code::no_status, "this close code may not be sent");
  if (code == close_code::no_status) return append_frame(to, Opcode::close, {});
  reason = fanfare::detail::text::cut_utf8(reason, max_close_reason);
  char payload[max_control_payload];
  payload[0] = static_cast<char>(code >> 8U);
  payload[1] = static_cast<char>(code & 0xFFU);
  reason.copy(payload + 2, reason.size());
  append_frame(to, Opcode::close, {payload, reason.size() + 2});
}

/// A frame that a server has written, as a client sees it.
struct ServerFrame {
  Opcode opcode = Opcode::text;
  std::string_view payload;               ///< Of a close frame, its reason.
  std::uint16_t code = close_code::none;  ///< Of a close frame; `close_code::no_status` where it has none.
  std::size_t size = 0;                   ///< With its header; 0: it is not there in full.
  bool good = true;                       ///< Whether it is one that a server of this library writes.
};

/// Reads the first frame, which is unmasked and whole.
[[nodiscard]] constexpr ServerFrame read_server_frame(std::string_view bytes) noexcept {
  const auto byte = [bytes](std::size_t i) { return std::uint64_t{static_cast<unsigned char>(bytes[i])}; };
  ServerFrame frame;
  if (bytes.empty()) return frame;
  frame.opcode = static_cast<Opcode>(byte(0) & 0xfU);
  switch (frame.opcode) {
    case Opcode::text:
    case Opcode::close:
    case Opcode::ping:
    case Opcode::pong: frame.good = (byte(0) & 0xf0U) == 0x80U; break;
    default: frame.good = false;
  }
  if (!frame.good || bytes.size() < 2) return frame;
  std::uint64_t size = byte(1);
  frame.good = size < 0x80U && (size <= max_control_payload || !is_control(frame.opcode)) &&
               !(frame.opcode == Opcode::close && size == 1);
  if (!frame.good) return frame;
  std::size_t header = 2;
  if (size > max_control_payload) {
    header = size == 126 ? 4 : 10;
    if (bytes.size() < header) return frame;
    size = 0;
    for (std::size_t i = 2; i < header; ++i) size = size << 8U | byte(i);
  }
  if (bytes.size() - header < size) return frame;
  frame.payload = bytes.substr(header, static_cast<std::size_t>(size));
  frame.size = header + frame.payload.size();
  if (frame.opcode == Opcode::close) {
    frame.code = close_code::no_status;
    if (size != 0) {
      frame.code = static_cast<std::uint16_t>(byte(header) << 8U | byte(header + 1));
      frame.payload.remove_prefix(2);
    }
  }
  return frame;
}

}  // namespace websocket
FANFARE_NAMESPACE_END
