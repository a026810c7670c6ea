/// \file
/// What a client is sent: an event as a WebSocket text frame with the Pusher protocol's JSON inside.
///
/// The core holds bytes and frames nothing by itself: a registry whose events go to sockets is given a `FrameEncoder`.
#pragma once

#include <fanfare/core/errc.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/detail/frame_header.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

FANFARE_NAMESPACE_BEGIN
namespace detail {

/// Strings inside JSON (RFC 8259 §7).
class JsonString {
 public:
  /// `escape` may write so many bytes behind what it returns.
  static constexpr std::size_t slack = 16;

  /// How long a text is after escaping.
  [[nodiscard]] static std::size_t escaped_size(std::string_view text) noexcept {
    std::size_t size = text.size();
    each_special(text, [&](unsigned char character) { size += short_form(character) != 0 ? 1U : 5U; });
    return size;
  }

  /// Writes a text with its quotes, backslashes and control characters escaped.
  /// \param ascii   cleared if a byte is not ASCII.
  /// \returns       the end of what was written.
  static char* escape(char* out, std::string_view text, bool& ascii) noexcept {
    const char* in = text.data();
    const char* const end = in + text.size();
#if defined(__SSE2__)
    int not_ascii = 0;
    while (end - in >= 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
      not_ascii |= _mm_movemask_epi8(bytes);
      const unsigned special = special_mask(bytes);
      if (special == 0) {
        in += 16;
        out += 16;
        continue;
      }
      const int plain = std::countr_zero(special);
      in += plain;
      out = escape_one(out + plain, static_cast<unsigned char>(*in++));
    }
    if (not_ascii != 0) ascii = false;
#endif
    for (; in != end; ++in) {
      const auto character = static_cast<unsigned char>(*in);
      if (character >= 0x80U) ascii = false;
      if (is_special(character)) {
        out = escape_one(out, character);
      } else {
        *out++ = *in;
      }
    }
    return out;
  }

 private:
  static constexpr bool is_special(unsigned char character) noexcept {
    return character < 0x20U || character == '"' || character == '\\';
  }

  static constexpr char short_form(unsigned char character) noexcept {
    switch (character) {
      case '"': return '"';
      case '\\': return '\\';
      case '\b': return 'b';
      case '\f': return 'f';
      case '\n': return 'n';
      case '\r': return 'r';
      case '\t': return 't';
      default: return 0;
    }
  }

  static char* escape_one(char* out, unsigned char character) noexcept {
    *out++ = '\\';
    if (const char letter = short_form(character)) {
      *out++ = letter;
      return out;
    }
    static constexpr char digits[] = "0123456789abcdef";
    const char code[] = {'u', '0', '0', digits[character >> 4U], digits[character & 15U]};
    std::memcpy(out, code, sizeof code);
    return out + sizeof code;
  }

#if defined(__SSE2__)
  static unsigned special_mask(__m128i bytes) noexcept {
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    const __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash))));
  }
#endif

  template <class F>
  static void each_special(std::string_view text, F f) noexcept {
    std::size_t i = 0;
#if defined(__SSE2__)
    for (; i + 16 <= text.size(); i += 16) {
      unsigned special = special_mask(_mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + i)));
      for (; special != 0; special &= special - 1) {
        f(static_cast<unsigned char>(text[i + static_cast<std::size_t>(std::countr_zero(special))]));
      }
    }
#endif
    for (; i < text.size(); ++i) {
      if (is_special(static_cast<unsigned char>(text[i]))) f(static_cast<unsigned char>(text[i]));
    }
  }
};

/// Whether a text is well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
[[nodiscard]] constexpr bool is_utf8(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i) { return i < text.size() && (byte(i) & 0xc0U) == 0x80U; };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char lead = byte(i);
    if (lead < 0x80U) {
      ++i;
    } else if (lead < 0xc2U || lead > 0xf4U || !continues(i + 1)) {
      return false;
    } else if (lead < 0xe0U) {
      i += 2;
    } else if (lead < 0xf0U) {
      const unsigned char next = byte(i + 1);
      if ((lead == 0xe0U && next < 0xa0U) || (lead == 0xedU && next > 0x9fU) || !continues(i + 2)) return false;
      i += 3;
    } else {
      const unsigned char next = byte(i + 1);
      if ((lead == 0xf0U && next < 0x90U) || (lead == 0xf4U && next > 0x8fU)) return false;
      if (!continues(i + 2) || !continues(i + 3)) return false;
      i += 4;
    }
  }
  return true;
}

}  // namespace detail

/// Encodes `{"event":…,"channel":…,"data":"…"}` as one WebSocket text frame. `data` is always a JSON string: clients parse
/// it a second time if they can. A sender's user id is added on presence channels.
///
/// The result is `errc::not_utf8` if a name or the data is not UTF-8: clients would drop the connection.
/// Thread safety: any thread; it has no state.
class FrameEncoder final : public Encoder {
 public:
  [[nodiscard]] std::size_t bound(const MessageParts& event) const noexcept override {
    const std::size_t payload = payload_size(event);
    return detail::frame_header_size(payload) + payload + detail::JsonString::slack;
  }

  [[nodiscard]] errc encode(const MessageParts& event, std::span<std::byte> out,
                            std::size_t& written) const noexcept override {
    // The space is as large as bound() said, so the payload need not be measured again.
    const std::size_t frame = out.size() - detail::JsonString::slack;
    const std::size_t payload = frame <= 127 ? frame - 2 : frame <= 65539 ? frame - 4 : frame - 10;
    char* const begin = reinterpret_cast<char*>(out.data());
    bool ascii = true;
    char* at = begin + detail::write_frame_header(begin, 0x1, payload);
    at = copy(at, before_event);
    at = detail::JsonString::escape(at, event.name, ascii);
    if (has_channel(event)) {
      at = copy(at, before_channel);
      at = copy(at, event.channel);  // its characters need no escape
    }
    at = copy(at, before_data);
    at = detail::JsonString::escape(at, event.data, ascii);
    const std::string_view user = sender(event);
    if (!user.empty()) {
      at = copy(at, before_user);
      at = detail::JsonString::escape(at, user, ascii);
    }
    at = copy(at, end);
    written = static_cast<std::size_t>(at - begin);
    if (!ascii && !(detail::is_utf8(event.name) && detail::is_utf8(event.data) && detail::is_utf8(user))) {
      return errc::not_utf8;
    }
    return errc::ok;
  }

 private:
  static constexpr std::string_view before_event = R"({"event":")";
  static constexpr std::string_view before_channel = R"(","channel":")";
  static constexpr std::string_view before_data = R"(","data":")";
  static constexpr std::string_view before_user = R"(","user_id":")";
  static constexpr std::string_view end = R"("})";

  /// What the protocol says to a user in a channel of its own has no channel for the client.
  static bool has_channel(const MessageParts& event) noexcept {
    return !event.channel.starts_with('#') || event.channel.starts_with("#server-to-user-");
  }

  static std::string_view sender(const MessageParts& event) noexcept {
    return event.channel.starts_with("presence-") ? event.user_id() : std::string_view{};
  }

  static std::size_t payload_size(const MessageParts& event) noexcept {
    std::size_t size = before_event.size() + detail::JsonString::escaped_size(event.name) +
                       (has_channel(event) ? before_channel.size() + event.channel.size() : 0) + before_data.size() +
                       detail::JsonString::escaped_size(event.data) + end.size();
    const std::string_view user = sender(event);
    if (!user.empty()) size += before_user.size() + detail::JsonString::escaped_size(user);
    return size;
  }

  static char* copy(char* out, std::string_view text) noexcept {
    std::memcpy(out, text.data(), text.size());
    return out + text.size();
  }
};

FANFARE_NAMESPACE_END
