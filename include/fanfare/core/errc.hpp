/// \file
/// Errors of the core, as values.
#pragma once

#include <fanfare/detail/config.hpp>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

FANFARE_NAMESPACE_BEGIN

/// Everything that can go wrong in the core. Compares with and converts to `std::error_code`.
enum class errc : std::uint8_t {
  ok = 0,             ///< No error.
  empty_name,         ///< A channel or event name is empty.
  name_too_long,      ///< A channel name is longer than `Limits::channel_name`.
  bad_character,      ///< A channel name holds something other than `A-Z a-z 0-9 _ - = @ , . ;`.
  reserved_name,      ///< `#…` channels other than `#server-to-user-<id>`; `pusher:` and `pusher_internal:` events.
  event_too_long,     ///< An event name is longer than `Limits::event_name`.
  data_too_large,     ///< The data is larger than `Limits::data`.
  too_many_channels,  ///< More channels exist, or stand in one trigger, than the limits allow.
  nested_too_deep,    ///< A trigger from inside a callback from inside … more than 64 deep.
  not_utf8,           ///< A subscriber needs text, and the names or data are not UTF-8. Nobody got the event.
  /// A queue that may not lose messages is full: a subscriber's, or that of the store. Nobody got the event; try again
  /// later.
  overloaded,
  closed,         ///< The registry is gone, or the object was moved from or reset.
  out_of_memory,  ///< The allocator refused. Nothing was changed.
};

/// One English sentence without a full stop.
[[nodiscard]] constexpr std::string_view message(errc error) noexcept {
  switch (error) {
    case errc::ok: return "no error";
    case errc::empty_name: return "the name is empty";
    case errc::name_too_long: return "the channel name is too long";
    case errc::bad_character: return "the channel name holds a character that is not allowed";
    case errc::reserved_name: return "the name is reserved";
    case errc::event_too_long: return "the event name is too long";
    case errc::data_too_large: return "the data is too large";
    case errc::too_many_channels: return "there are too many channels";
    case errc::nested_too_deep: return "triggers are nested too deep";
    case errc::not_utf8: return "the event is not valid UTF-8";
    case errc::overloaded: return "a queue is full";
    case errc::closed: return "the registry is closed";
    case errc::out_of_memory: return "memory is exhausted";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(errc error) noexcept {
  switch (error) {
    case errc::ok: return "ok";
    case errc::empty_name: return "empty_name";
    case errc::name_too_long: return "name_too_long";
    case errc::bad_character: return "bad_character";
    case errc::reserved_name: return "reserved_name";
    case errc::event_too_long: return "event_too_long";
    case errc::data_too_large: return "data_too_large";
    case errc::too_many_channels: return "too_many_channels";
    case errc::nested_too_deep: return "nested_too_deep";
    case errc::not_utf8: return "not_utf8";
    case errc::overloaded: return "overloaded";
    case errc::closed: return "closed";
    case errc::out_of_memory: return "out_of_memory";
  }
  return "unknown";
}

/// Where the documentation explains the error: a path below the documentation's root.
[[nodiscard]] inline std::string docs_anchor(errc error) {
  return "reference/errors.md#" + std::string(to_string(error));
}

/// \private
class ErrorCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "fanfare"; }
  [[nodiscard]] std::string message(int value) const override {
    const auto error = static_cast<errc>(value);
    // A number that is none of these must not be cut to one.
    return static_cast<int>(error) == value ? std::string(fanfare::message(error)) : "unknown error";
  }
  // The standard compares categories by address. Two shared libraries with hidden visibility may each have one,
  // so a condition made in one must still match a code made in the other: compare by name.
  [[nodiscard]] bool equivalent(const std::error_code& code, int condition) const noexcept override {
    return code.value() == condition && std::strcmp(code.category().name(), name()) == 0;
  }
};

/// The category of `errc`. Its name is "fanfare".
FANFARE_PUBLIC inline const std::error_category& error_category() noexcept {
  static const ErrorCategory category;
  return category;
}

/// Makes an `errc` a `std::error_code`, as the standard library does by itself where one is wanted.
inline std::error_code make_error_code(errc error) noexcept { return {static_cast<int>(error), error_category()}; }

/// Whether a code is this error, even if it was made in a shared library with a category of its own. (The standard's
/// comparison of two codes goes by the categories' addresses.)
[[nodiscard]] inline bool operator==(const std::error_code& code, errc error) noexcept {
  return error_category().equivalent(code, static_cast<int>(error));
}

FANFARE_NAMESPACE_END

template <>
struct std::is_error_code_enum<fanfare::errc> : std::true_type {};
