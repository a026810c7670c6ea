// What an event's data is: JSON of a given size that carries the trigger's number.
#pragma once

#include "options.hpp"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fanfare::load {

/// A trigger's number as it stands in an event's data: two signs that JSON does not escape and that are in no other
/// text of ours, and eight hexadecimal digits.
struct Marker {
  static constexpr std::string_view sign = "@@";
  static constexpr std::size_t size = 2 + 8;
  /// There are no more triggers in a run.
  static constexpr std::uint64_t end = std::uint64_t{1} << 32;

  static void append(std::string& text, std::uint64_t trigger) {
    text += sign;
    for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[trigger >> shift & 15];
  }

  /// The number in the marker at the beginning of the text, if there is one.
  [[nodiscard]] static std::optional<std::uint64_t> read(std::string_view text) {
    std::uint64_t trigger = 0;
    const bool there = text.size() >= size && text.starts_with(sign) &&
                       std::from_chars(text.data() + 2, text.data() + size, trigger, 16).ptr == text.data() + size;
    return there ? std::optional(trigger) : std::nullopt;
  }
};
static_assert(Marker::size == least_bytes);

/// An event's data of `bytes` bytes: a JSON object with quotes for the server to escape, as applications send it. What
/// is too short for that is plain text.
class Payload {
 public:
  explicit Payload(std::size_t bytes) {
    constexpr std::size_t around = 6 + Marker::size + 7 + 2;
    if (bytes < around) {
      after_.assign(bytes - Marker::size, 'x');
      return;
    }
    constexpr std::string_view words = R"(the quick brown fox","n":12345,"q":"jumps over the lazy dog","z":")";
    std::string filler;
    std::size_t left = bytes - around;
    for (; left >= words.size(); left -= words.size()) filler += words;
    filler.append(left, 'x');
    before_ = quoted(R"({"m":")");
    after_ = quoted(R"(","p":")" + filler + R"("})");
  }

  /// Appends it as a JSON string, with its quotes.
  void append_to(std::string& text, std::uint64_t trigger) const {
    text += '"';
    text += before_;
    Marker::append(text, trigger);
    text += after_;
    text += '"';
  }

 private:
  static std::string quoted(std::string_view text) {
    std::string escaped;
    for (const char c : text) {
      if (c == '"') escaped += '\\';
      escaped += c;
    }
    return escaped;
  }

  std::string before_;
  std::string after_;
};

}  // namespace fanfare::load
