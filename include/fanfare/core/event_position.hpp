/// \file
/// Ids of events as text that clients see and send back, and what can be told to whom who names one.
#pragma once

#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>

FANFARE_NAMESPACE_BEGIN

/// An id as text: the epoch and the number in base 36, lower case, with a `-` between them, such as
/// `2n9c8kq4m1x0-0000000001a`. The number has 11 digits, so that it can be written where its place was left open. Nothing of
/// it needs an escape in a URL or in JSON. To clients it is opaque: it compares for being the same, not for order.
class EventIdText {
 public:
  /// No text is longer, whatever the id.
  static constexpr std::size_t max_size = 27;
  /// Digits of a number, as long as it is below 36¹¹, which takes a channel with a billion events a second four years.
  static constexpr std::size_t number_digits = 11;

  /// Ends with this object.
  [[nodiscard]] std::string_view view() const noexcept { return {characters_.data(), size_}; }

 private:
  friend EventIdText to_text(EventId id) noexcept;

  std::array<char, max_size> characters_{};
  std::uint8_t size_ = 0;
};

namespace detail {

/// Writes an event's number, with zeros in front. \returns the end. \pre there is room for 13 digits.
inline char* write_event_number(char* at, char* end, std::uint64_t number) noexcept {
  char* const behind = std::to_chars(at, end, number, 36).ptr;
  const auto digits = static_cast<std::size_t>(behind - at);
  if (digits >= EventIdText::number_digits) return behind;
  const std::size_t zeros = EventIdText::number_digits - digits;
  std::copy_backward(at, behind, at + EventIdText::number_digits);
  std::fill_n(at, zeros, '0');
  return at + EventIdText::number_digits;
}

}  // namespace detail

/// \complexity O(1). No allocation.
[[nodiscard]] inline EventIdText to_text(EventId id) noexcept {
  EventIdText text;
  char* const begin = text.characters_.data();
  char* const end = begin + EventIdText::max_size;
  char* at = std::to_chars(begin, end, id.epoch, 36).ptr;
  *at++ = '-';
  at = detail::write_event_number(at, end, id.number);
  text.size_ = static_cast<std::uint8_t>(at - begin);
  return text;
}

/// The id that `to_text` makes this text of; nothing if it makes it of none, or of one with epoch 0, which no channel
/// has. The number may be 0: that is the place before a channel's first event.
/// \complexity O(1), however long the text.
[[nodiscard]] inline std::optional<EventId> event_id_from(std::string_view text) noexcept {
  if (text.size() > EventIdText::max_size) return std::nullopt;
  EventId id;
  const char* const end = text.data() + text.size();
  const auto [dash, epoch_error] = std::from_chars(text.data(), end, id.epoch, 36);
  if (epoch_error != std::errc{} || dash == end || *dash != '-' || id.epoch == 0) return std::nullopt;
  const auto [last, number_error] = std::from_chars(dash + 1, end, id.number, 36);
  if (number_error != std::errc{} || last != end) return std::nullopt;
  // Other zeros in front and upper case are the same number, but not the same text.
  if (to_text(id).view() != text) return std::nullopt;
  return id;
}

/// From where on a subscriber within the program wants what a channel keeps. Implicitly made of an id, of its text, or
/// of nothing.
class Since {
 public:
  /// All that is kept, as everybody gets it who comes for the first time.
  constexpr Since() noexcept = default;
  /// What came behind the last event that was seen: its `Event::id()`. Number 0 stands before the channel's first
  /// event. An id with epoch 0, which no event has, names none: all that is kept.
  constexpr Since(const EventId& seen) noexcept  // NOLINT(google-explicit-constructor): an argument
      : kind_(seen.epoch == 0 ? Kind::everything : Kind::behind), id_(seen) {}
  /// The same by an id's text. One that is no id's counts as that of another epoch; an empty one names none.
  template <std::convertible_to<std::string_view> Text>
  Since(const Text& seen) noexcept  // NOLINT(google-explicit-constructor): an argument
      : Since(std::string_view(seen), 0) {}
  /// Nothing that is kept: live events alone.
  [[nodiscard]] static constexpr Since now() noexcept {
    Since since;
    since.kind_ = Kind::now;
    return since;
  }

  /// Whether it stands behind an event, or behind something that was to be one.
  [[nodiscard]] constexpr bool resumes() const noexcept { return kind_ == Kind::behind; }
  /// Whether what is kept is wanted at all.
  [[nodiscard]] constexpr bool replays() const noexcept { return kind_ != Kind::now; }
  /// The event that it stands behind; with epoch 0 if there is none.
  [[nodiscard]] constexpr const EventId& id() const noexcept { return id_; }
  friend constexpr bool operator==(const Since&, const Since&) = default;

 private:
  enum class Kind : std::uint8_t { everything, behind, now };

  Since(std::string_view seen, int /*text*/) noexcept
      : kind_(seen.empty() ? Kind::everything : Kind::behind), id_(event_id_from(seen).value_or(EventId{})) {}

  Kind kind_ = Kind::everything;
  EventId id_{};
};

namespace detail {

/// What is taken for a `Since` where a setup may stand too. A text is not: it might be meant for the name of an event.
template <class T>
concept NamesPlace = std::same_as<std::remove_cvref_t<T>, Since> || std::same_as<std::remove_cvref_t<T>, EventId>;

}  // namespace detail

/// What a reader can be given who has seen a channel's events up to an id.
enum class Reach : std::uint8_t {
  whole,          ///< All that it has not seen.
  gap,            ///< The events behind a gap: some that it has not seen are gone.
  another_epoch,  ///< Cannot be answered: the id is of another life of the channel.
  ahead,          ///< Cannot be answered: no event has had that id yet.
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(Reach reach) noexcept {
  switch (reach) {
    case Reach::whole: return "whole";
    case Reach::gap: return "gap";
    case Reach::another_epoch: return "another_epoch";
    case Reach::ahead: return "ahead";
  }
  return "unknown";
}

/// Judges where a reader stands towards who keeps the events behind `floor` up to `last`.
/// \param seen    the last id that the reader knows; may be anything a client sent.
/// \param floor   the highest id that is known to be gone, or from before the first.
/// \param last    the newest id. \pre of the same epoch as `floor`, and not below it.
[[nodiscard]] constexpr Reach reach_of(const EventId& seen, const EventId& floor, const EventId& last) noexcept {
  if (seen.epoch != last.epoch) return Reach::another_epoch;
  if (seen.number > last.number) return Reach::ahead;
  return seen.number < floor.number ? Reach::gap : Reach::whole;
}

FANFARE_NAMESPACE_END
