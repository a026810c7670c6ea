/// \file
/// What a client is sent: an event as a WebSocket text frame with the Pusher protocol's JSON inside.
///
/// The core holds bytes and frames nothing by itself: a registry whose events go to sockets is given a `FrameEncoder`.
#pragma once

#include <fanfare/core/errc.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/detail/frame_header.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#if defined(__SSE2__)
#include <smmintrin.h>
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
#if defined(__SSE2__)
    for (; text.size() > longest_run; text.remove_prefix(longest_run)) size += growth(text.substr(0, longest_run));
    size += growth(text);
#else
    for (const char character : text) size += growth(static_cast<unsigned char>(character));
#endif
    return size;
  }

  /// Writes a text with its quotes, backslashes and control characters escaped.
  /// \param ascii   cleared if a byte is not ASCII.
  /// \returns       the end of what was written.
  static char* escape(char* out, std::string_view text, bool& ascii) noexcept {
#if defined(__SSE2__)
    const bool shuffles = text.size() >= 16 && can_shuffle();
    return shuffles ? escape_by_shuffles(out, text, ascii) : escape_by_copies(out, text, ascii);
#else
    for (const char character : text) {
      const auto byte = static_cast<unsigned char>(character);
      if (byte >= 0x80U) ascii = false;
      if (growth(byte) == 0) {
        *out++ = character;
      } else {
        out = escape_one(out, byte);
      }
    }
    return out;
#endif
  }

#if defined(__SSE2__)
  /// Whether `escape_by_shuffles` can be called here. What this reads is set before `main`.
  [[nodiscard]] static bool can_shuffle() noexcept {
    return __builtin_cpu_supports("avx") && __builtin_cpu_supports("popcnt");
  }

  /// `escape`, for any processor: what is behind an escape is copied from there on.
  static char* escape_by_copies(char* out, std::string_view text, bool& ascii) noexcept {
    const char* in = text.data();
    const char* const end = in + text.size();
    __m128i seen = _mm_setzero_si128();
    for (; end - in >= 32; in += 16) out = escape_block(out, load(in), in, seen);
    while (in != end) {  // nothing behind these bytes may be read
      const std::size_t rest = std::min<std::size_t>(static_cast<std::size_t>(end - in), 16);
      const __m128i bytes = rest == 16 ? load(in) : load_below_16(in, rest);
      seen = _mm_or_si128(seen, bytes);
      store(out, bytes);
      out = (any(special(bytes)) ? escape_rest(out, bytes) : out) + rest;
      in += rest;
    }
    if (mask(seen) != 0) ascii = false;
    return out;
  }

  /// `escape`, for most processors: quotes cost the same however many there are. Of AVX it uses no wide registers: its
  /// encoding saves the moves between narrow ones.
  /// \pre `can_shuffle()`
  __attribute__((target("avx,popcnt"))) static char* escape_by_shuffles(char* out, std::string_view text,
                                                                        bool& ascii) noexcept {
    const char* in = text.data();
    const char* const end = in + text.size();
    __m128i seen = _mm_setzero_si128();
    for (; end - in >= 32; in += 32) {
      const __m128i first = load(in);
      const __m128i second = load(in + 16);
      seen = _mm_or_si128(seen, _mm_or_si128(first, second));
      if (any(controls(_mm_min_epu8(first, second)))) [[unlikely]] {
        store(out, first);
        out = escape_rest(out, first) + 16;
        store(out, second);
        out = escape_rest(out, second) + 16;
      } else {
        out = shuffle(shuffle(out, first, 16), second, 16);
      }
    }
    while (in != end) {  // nothing behind these bytes may be read
      const std::size_t rest = std::min<std::size_t>(static_cast<std::size_t>(end - in), 16);
      const __m128i bytes = rest == 16 ? load(in) : load_below_16(in, rest);
      seen = _mm_or_si128(seen, bytes);
      if (any(controls(bytes))) [[unlikely]] {
        store(out, bytes);
        out = escape_rest(out, bytes) + rest;
      } else {
        out = shuffle(out, bytes, rest);
      }
      in += rest;
    }
    if (mask(seen) != 0) ascii = false;
    return out;
  }
#endif

 private:
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
  using Shuffle = std::array<char, 16>;

  /// For each set of eight bytes that are to be escaped: where to each of them goes.
  static constexpr std::array<Shuffle, 256> make_spread() noexcept {
    std::array<Shuffle, 256> all{};
    for (unsigned set = 0; set < all.size(); ++set) {
      std::size_t to = 0;
      for (unsigned from = 0; from < 8; ++from) {
        if ((set >> from & 1U) != 0) all[set][to++] = static_cast<char>(0x80);
        all[set][to++] = static_cast<char>(from);
      }
    }
    return all;
  }
  static const std::array<Shuffle, 256> spread;

  /// Escapes the first `size` of 16 bytes. \pre there are no control characters, and spaces behind the first.
  __attribute__((target("avx,popcnt"))) FANFARE_ALWAYS_INLINE static char* shuffle(char* out, __m128i bytes,
                                                                                   std::size_t size) noexcept {
    const unsigned left = mask(quotes(bytes));
    if (left == 0) {
      store(out, bytes);
      return out + size;
    }
    // Eight bytes at a time. What the shuffle leaves free is marked by the highest bit.
    const __m128i backslashes = _mm_set1_epi8('\\');
    const __m128i low = load(spread[left & 255U].data());
    store(out, _mm_blendv_epi8(_mm_shuffle_epi8(bytes, low), backslashes, low));
    if (size > 8) {  // or there would not be room for what nobody wants
      const __m128i high = load(spread[left >> 8U].data());
      store(out + 8 + static_cast<unsigned>(_mm_popcnt_u32(left & 255U)),
            _mm_blendv_epi8(_mm_shuffle_epi8(_mm_srli_si128(bytes, 8), high), backslashes, high));
    }
    return out + size + static_cast<unsigned>(_mm_popcnt_u32(left));
  }

  static __m128i load(const char* from) noexcept { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
  static void store(char* to, __m128i bytes) noexcept { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes); }

  template <class Word>
  static std::uint64_t word(const char* from) noexcept {
    Word word = 0;
    std::memcpy(&word, from, sizeof word);
    return word;
  }

  /// 1 to 15 bytes, and spaces behind them. By way of registers: a copy in memory that is written in parts and read as a
  /// whole stalls the processor.
  static __m128i load_below_16(const char* from, std::size_t size) noexcept {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    if (size >= 8) {
      low = word<std::uint64_t>(from);
      if (size > 8) high = word<std::uint64_t>(from + size - 8) >> (8 * (16 - size));
    } else if (size >= 4) {
      low = word<std::uint32_t>(from) | word<std::uint32_t>(from + size - 4) << (8 * (size - 4));
    } else {
      low = word<std::uint8_t>(from) | word<std::uint8_t>(from + size / 2) << (8 * (size / 2)) |
            word<std::uint8_t>(from + size - 1) << (8 * (size - 1));
    }
    static constexpr char padding[] = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0                ";
    return _mm_or_si128(_mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low)),
                        load(padding + 16 - size));
  }

  // Each of these has all bits of a byte set where it applies.
  static __m128i quotes(__m128i bytes) noexcept {
    return _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
  }
  static __m128i at_most(__m128i bytes, char most) noexcept {
    return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(most)), bytes);
  }
  static __m128i controls(__m128i bytes) noexcept { return at_most(bytes, 0x1f); }
  static __m128i special(__m128i bytes) noexcept { return _mm_or_si128(quotes(bytes), controls(bytes)); }
  static __m128i short_controls(__m128i bytes) noexcept {  // 8 to 13 but for 11
    return _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(11)),
                            at_most(_mm_sub_epi8(bytes, _mm_set1_epi8(8)), 5));
  }

  static unsigned mask(__m128i bytes) noexcept { return static_cast<unsigned>(_mm_movemask_epi8(bytes)); }
  static bool any(__m128i bytes) noexcept { return mask(bytes) != 0; }

  static std::size_t sum(__m128i bytes) noexcept {
    const __m128i halves = _mm_sad_epu8(bytes, _mm_setzero_si128());
    return static_cast<std::size_t>(_mm_cvtsi128_si32(halves)) + static_cast<std::size_t>(_mm_extract_epi16(halves, 4));
  }

  static constexpr std::size_t longest_run =
      std::size_t{254} * 16;  // a byte can count 255 blocks, and one of them is not whole

  /// By how much a text grows. \pre it is no longer than a run.
  static std::size_t growth(std::string_view text) noexcept {
    const std::size_t rest = text.size() % 16;
    const char* const end = text.data() + text.size() - rest;
    const __m128i last = rest == 0 ? _mm_set1_epi8(' ') : load_below_16(end, rest);
    __m128i counts = _mm_sub_epi8(_mm_setzero_si128(), quotes(last));
    __m128i smallest = last;
    for (const char* at = text.data(); at != end; at += 16) {
      const __m128i bytes = load(at);
      counts = _mm_sub_epi8(counts, quotes(bytes));
      smallest = _mm_min_epu8(smallest, bytes);
    }
    std::size_t size = sum(counts);
    if (any(controls(smallest))) [[unlikely]] {
      size += growth_of_controls(last);
      for (const char* at = text.data(); at != end; at += 16) size += growth_of_controls(load(at));
    }
    return size;
  }

  static std::size_t growth_of_controls(__m128i bytes) noexcept {
    const __m128i as_code = _mm_and_si128(controls(bytes), _mm_set1_epi8(5));
    const __m128i less = _mm_and_si128(short_controls(bytes), _mm_set1_epi8(4));
    return sum(_mm_sub_epi8(as_code, less));
  }

  /// Escapes 16 bytes.
  /// \param in     where the bytes are, and 16 more that may be read.
  /// \param seen   receives the bytes, one upon the other.
  FANFARE_ALWAYS_INLINE static char* escape_block(char* out, __m128i bytes, const char* in, __m128i& seen) noexcept {
    seen = _mm_or_si128(seen, bytes);
    store(out, bytes);
    if (any(controls(bytes))) [[unlikely]]
      return escape_stored(out, bytes, in) + 16;
    for (unsigned left = mask(quotes(bytes)); left != 0; left &= left - 1) {
      // What is behind an escape is copied once more, from there on: cheaper than to find out how far.
      const auto at = static_cast<unsigned>(std::countr_zero(left));
      out[at] = '\\';
      store(out + at + 1, load(in + at));
      ++out;
    }
    return out + 16;
  }

  /// The same for bytes of any kind that have been stored as they are.
  /// \returns   where they would have begun, had nothing been escaped.
  FANFARE_NOINLINE static char* escape_stored(char* out, __m128i bytes, const char* in) noexcept {
    for (unsigned left = mask(special(bytes)); left != 0; left &= left - 1) {
      const auto at = static_cast<unsigned>(std::countr_zero(left));
      char* const behind = escape_one(out + at, static_cast<unsigned char>(in[at]));
      store(behind, load(in + at + 1));
      out = behind - (at + 1);
    }
    return out;
  }

  /// The same for bytes that have nothing behind them that may be read.
  /// \returns   as `escape_stored`.
  FANFARE_NOINLINE static char* escape_rest(char* out, __m128i bytes) noexcept {
    alignas(16) std::array<char, 32> copy;
    store(copy.data(), bytes);
    store(copy.data() + 16, _mm_setzero_si128());
    return escape_stored(out, bytes, copy.data());
  }
#else
  static constexpr std::size_t growth(unsigned char character) noexcept {
    if (character >= 0x20U && character != '"' && character != '\\') return 0;
    return short_form(character) != 0 ? 1 : 5;
  }
#endif
};

#if defined(__SSE2__)
inline constexpr std::array<JsonString::Shuffle, 256> JsonString::spread = JsonString::make_spread();
#endif

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
/// it a second time if they can. A sender's user id is added on presence channels, and the event's id where the channel
/// shows ids: official clients pass over that.
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
    if (event.epoch != 0) {
      at = copy(at, before_id);
      at = copy(at, to_text({event.epoch, 0}).view());
    }
    at = copy(at, end);
    written = static_cast<std::size_t>(at - begin);
    if (!ascii && !(detail::is_utf8(event.name) && detail::is_utf8(event.data) && detail::is_utf8(user))) {
      return errc::not_utf8;
    }
    return errc::ok;
  }

  void number(std::span<std::byte> frame, std::uint64_t number) const noexcept override {
    std::array<char, EventIdText::max_size> digits{};
    detail::write_event_number(digits.data(), digits.data() + digits.size(), number);
    std::memcpy(frame.data() + frame.size() - end.size() - EventIdText::number_digits, digits.data(),
                EventIdText::number_digits);
  }

  /// The event's name in a frame that was made by `encode`, escaped as it stands there: equal names are equal texts. Empty
  /// for other bytes. \complexity O(name).
  [[nodiscard]] static std::string_view name_in(std::string_view frame) noexcept {
    const std::size_t header = frame.size() <= 127 ? 2 : frame.size() <= 65539 ? 4 : 10;
    if (frame.size() < header) return {};
    frame.remove_prefix(header);
    if (!frame.starts_with(before_event)) return {};
    frame.remove_prefix(before_event.size());
    for (std::size_t i = 0; i < frame.size(); ++i) {
      if (frame[i] == '"') return frame.substr(0, i);
      if (frame[i] == '\\') ++i;
    }
    return {};
  }
  /// The event's id in such a frame; nothing where it shows none. \complexity O(1).
  [[nodiscard]] static std::optional<EventId> id_in(std::string_view frame) noexcept {
    if (!frame.ends_with(end)) return std::nullopt;
    frame.remove_suffix(end.size());
    const std::size_t longest = before_id.size() + EventIdText::max_size;
    const std::string_view tail = frame.substr(frame.size() - std::min(frame.size(), longest));
    const std::size_t quote = tail.rfind('"');
    if (quote == std::string_view::npos || !tail.substr(0, quote + 1).ends_with(before_id)) return std::nullopt;
    return event_id_from(tail.substr(quote + 1));
  }

 private:
  static constexpr std::string_view before_event = R"({"event":")";
  static constexpr std::string_view before_channel = R"(","channel":")";
  static constexpr std::string_view before_data = R"(","data":")";
  static constexpr std::string_view before_user = R"(","user_id":")";
  static constexpr std::string_view before_id = R"(","id":")";
  static constexpr std::string_view end = R"("})";

  /// What the protocol says to a user in a channel of its own has no channel for the client.
  static bool has_channel(const MessageParts& event) noexcept {
    return !event.channel.starts_with('#') || event.channel.starts_with("#server-to-user-");
  }

  static std::string_view sender(const MessageParts& event) noexcept {
    const std::string_view user = event.user_id();
    return !user.empty() && event.channel.starts_with("presence-") ? user : std::string_view{};
  }

  static std::size_t payload_size(const MessageParts& event) noexcept {
    std::size_t size = before_event.size() + detail::JsonString::escaped_size(event.name) +
                       (has_channel(event) ? before_channel.size() + event.channel.size() : 0) + before_data.size() +
                       detail::JsonString::escaped_size(event.data) + end.size();
    const std::string_view user = sender(event);
    if (!user.empty()) size += before_user.size() + detail::JsonString::escaped_size(user);
    if (event.epoch != 0) size += before_id.size() + to_text({event.epoch, 0}).view().size();
    return size;
  }

  static char* copy(char* out, std::string_view text) noexcept {
    std::memcpy(out, text.data(), text.size());
    return out + text.size();
  }
};

FANFARE_NAMESPACE_END
