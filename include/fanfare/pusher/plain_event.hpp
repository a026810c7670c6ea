/// \file
/// One event as SDKs write it, read: the usual body of a request to the HTTP API.
#pragma once

#include <fanfare/core/wire.hpp>
#include <fanfare/detail/config.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// The members of an event that are strings.
enum class EventMember : std::uint8_t { name, data, channel, socket_id, info, retain };

/// The member's own name.
[[nodiscard]] constexpr std::string_view to_string(EventMember member) noexcept {
  switch (member) {
    case EventMember::name: return "name";
    case EventMember::data: return "data";
    case EventMember::channel: return "channel";
    case EventMember::socket_id: return "socket_id";
    case EventMember::info: return "info";
    case EventMember::retain: return "retain";
  }
  return "unknown";
}

namespace detail {

/// Some names, of which the first few need no allocation.
class NameList {
 public:
  /// \throws  `std::bad_alloc`.
  void push_back(std::string_view name) {
    if (size_ < few_.size()) {
      few_[size_] = name;
    } else {
      if (many_.empty()) many_.assign(few_.begin(), few_.end());
      many_.push_back(name);
    }
    ++size_;
  }
  /// Until the next call of `push_back`.
  [[nodiscard]] std::span<const std::string_view> all() const noexcept {
    return many_.empty() ? std::span(few_).first(size_) : std::span<const std::string_view>(many_);
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  std::array<std::string_view, 4> few_{};
  std::size_t size_ = 0;
  std::vector<std::string_view> many_;
};

}  // namespace detail

/// An event whose body is as most are: one JSON object, whose members are strings, or lists of strings in `channels`; none of
/// them is there twice, and no string has an escape of a character's number. Everything else, right or wrong, is for a
/// reader of JSON: what is taken here is what that would find.
///
/// Strings are used where they stand; those with escapes are copied, for which there is an allocation where the body has
/// more than a thousand bytes.
///
/// \ownership  the body must outlive it. What it returns points into either.
/// Thread safety: distinct objects only.
class PlainEvent {
 public:
  PlainEvent() noexcept {}  // NOLINT(modernize-use-equals-default): the room for copies stays as it is
  PlainEvent(const PlainEvent&) = delete;
  PlainEvent& operator=(const PlainEvent&) = delete;

  /// Reads a body; once.
  /// \returns     whether it is such an event; nothing else may be asked for otherwise.
  /// \complexity  O(size).
  /// \throws      `std::bad_alloc`.
  [[nodiscard]] bool read(std::string_view body) {
    at_ = body.data();
    end_ = at_ + body.size();
    size_ = body.size();
    return take_object() && (seen_ == 0 || fanfare::detail::is_utf8(body));
  }

  /// Nothing where there is no such member.
  [[nodiscard]] const std::optional<std::string_view>& text(EventMember member) const noexcept {
    return texts_[static_cast<std::size_t>(member)];
  }
  /// Null where there is no member `channels`.
  [[nodiscard]] const detail::NameList* channels() const noexcept { return has_channels_ ? &channels_ : nullptr; }

 private:
  static constexpr std::size_t small = 1024;
  static constexpr std::size_t slack = 16;  // may be written behind what is copied

  [[nodiscard]] static constexpr bool special(char c) noexcept {
    return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
  }

  [[nodiscard]] bool take_object() {
    if (!take('{')) return false;
    if (take('}')) return ended();
    do {
      std::string_view name;
      skip_space();
      if (!take_string(name) || !take(':')) return false;
      skip_space();
      if (!take_member(name)) return false;
    } while (take(','));
    return take('}') && ended();
  }

  [[nodiscard]] bool take_member(std::string_view name) {
    switch (name.size()) {
      case 4:
        if (is(name, "name")) return take_text(EventMember::name);
        if (is(name, "data")) return take_text(EventMember::data);
        if (is(name, "info")) return take_text(EventMember::info);
        break;
      case 6:
        if (is(name, "retain")) return take_text(EventMember::retain);
        break;
      case 7:
        if (is(name, "channel")) return take_text(EventMember::channel);
        break;
      case 8:
        if (is(name, "channels")) return !has_channels_ && take_channels();
        break;
      case 9:
        if (is(name, "socket_id")) return take_text(EventMember::socket_id);
        break;
      default: break;
    }
    std::string_view ignored;
    return take_string(ignored);
  }
  /// \pre  it has the size of the word.
  template <std::size_t N>
  [[nodiscard]] static bool is(std::string_view name, const char (&word)[N]) noexcept {
    return std::memcmp(name.data(), word, N - 1) == 0;  // of a fixed size: no call
  }

  [[nodiscard]] bool take_text(EventMember member) {
    std::optional<std::string_view>& text = texts_[static_cast<std::size_t>(member)];
    return !text && take_string(text.emplace());
  }

  [[nodiscard]] bool take_channels() {
    has_channels_ = true;
    if (!take('[')) return false;
    if (take(']')) return true;
    do {
      std::string_view name;
      skip_space();
      if (!take_string(name)) return false;
      channels_.push_back(name);
    } while (take(','));
    return take(']');
  }

  void skip_space() noexcept {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }
  /// Takes a character, if it is the next one behind any space.
  [[nodiscard]] bool take(char c) noexcept {
    skip_space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  [[nodiscard]] bool ended() noexcept {
    skip_space();
    return at_ == end_;
  }

  [[nodiscard]] bool take_string(std::string_view& text) {
    if (at_ == end_ || *at_ != '"') return false;
    const char* const begin = ++at_;
    take_run<false>();
    if (at_ == end_) return false;
    if (*at_ != '"') return take_escaped(begin, text);
    text = {begin, static_cast<std::size_t>(at_ - begin)};
    ++at_;
    return true;
  }

  /// Takes a string in which something has to be replaced, from there on.
  [[nodiscard]] bool take_escaped(const char* begin, std::string_view& text) {
    if (out_ == nullptr) make_room();
    const char* const start = out_;
    std::memcpy(out_, begin, static_cast<std::size_t>(at_ - begin));
    out_ += at_ - begin;
    while (end_ - at_ >= 2 && *at_ == '\\') {
      const char c = unescaped(at_[1]);
      if (c == 0) return false;
      *out_++ = c;
      at_ += 2;
      take_run<true>();
    }
    if (at_ == end_ || *at_ != '"') return false;
    text = {start, static_cast<std::size_t>(out_ - start)};
    ++at_;
    return true;
  }

  /// What an escape of two characters means (RFC 8259 §7); 0 where it is none.
  [[nodiscard]] static constexpr char unescaped(char c) noexcept {
    switch (c) {
      case '"':
      case '\\':
      case '/': return c;
      case 'b': return '\b';
      case 'f': return '\f';
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      default: return 0;
    }
  }

  /// Takes what stands for itself, up to the first byte that does not, or the end.
  template <bool Copy>
  void take_run() noexcept {
    // What is behind the run is copied too, and overwritten by what comes next.
#if defined(__SSE2__)
    while (end_ - at_ >= std::ptrdiff_t{sizeof(__m128i)}) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at_));
      if constexpr (Copy) _mm_storeu_si128(reinterpret_cast<__m128i*>(out_), bytes);
      seen_ |= static_cast<unsigned>(_mm_movemask_epi8(bytes));
      const __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
      const __m128i quotes =
          _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
      const auto found = static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(quotes, controls)));
      const auto plain = found == 0 ? std::ptrdiff_t{sizeof bytes} : std::countr_zero(found);
      at_ += plain;
      if constexpr (Copy) out_ += plain;
      if (found != 0) return;
    }
#endif
    for (; at_ != end_ && !special(*at_); ++at_) {
      seen_ |= static_cast<unsigned>(static_cast<unsigned char>(*at_)) & 0x80U;
      if constexpr (Copy) *out_++ = *at_;
    }
  }

  /// For all strings together: none becomes longer than it is in the body.
  void make_room() {
    const std::size_t room = size_ + slack;
    if (room <= small) {
      out_ = small_.data();
    } else {
      large_ = std::make_unique_for_overwrite<char[]>(room);
      out_ = large_.get();
    }
  }

  const char* at_ = nullptr;
  const char* end_ = nullptr;
  char* out_ = nullptr;  // behind the last copy
  std::size_t size_ = 0;
  unsigned seen_ = 0;  // not 0 where a string has a byte that is not ASCII
  bool has_channels_ = false;
  std::array<std::optional<std::string_view>, 6> texts_{};
  detail::NameList channels_;
  std::unique_ptr<char[]> large_;
  std::array<char, small> small_;
};

}  // namespace pusher
FANFARE_NAMESPACE_END
