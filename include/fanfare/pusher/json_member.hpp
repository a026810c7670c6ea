/// \file
/// Members of a JSON object as they were written. Needs Boost.JSON, which is a library to link.
#pragma once

#include <fanfare/detail/config.hpp>

#include <boost/json/error.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

namespace detail {

inline constexpr std::string_view json_space = " \t\r\n";

/// Behind the string that begins at `at`, with its quote; or the end of the text.
[[nodiscard]] inline std::size_t behind_string(std::string_view text, std::size_t at) noexcept {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '"') return at + 1;
    if (text[at] == '\\') ++at;
  }
  return text.size();
}

/// Where the value begins whose name ends before `behind_name`; or the end of the text.
[[nodiscard]] inline std::size_t value_begin(std::string_view text, std::size_t behind_name) noexcept {
  const std::size_t colon = text.find(':', behind_name);
  if (colon == std::string_view::npos) return text.size();
  return std::min(text.find_first_not_of(json_space, colon + 1), text.size());
}

/// Behind the value that begins at `at` inside an object, and behind the space that follows it.
[[nodiscard]] inline std::size_t behind_value(std::string_view text, std::size_t at) noexcept {
  for (std::size_t depth = 0; at < text.size();) {
    switch (text[at]) {
      case '"': at = behind_string(text, at); continue;
      case '{':
      case '[': ++depth; break;
      case '}':
      case ']':
        if (depth == 0) return at;
        --depth;
        break;
      case ',':
        if (depth == 0) return at;
        break;
      default: break;
    }
    ++at;
  }
  return at;
}

[[nodiscard]] inline std::string_view without_space_behind(std::string_view text) noexcept {
  return text.substr(0, text.find_last_not_of(json_space) + 1);
}

/// \param quoted  a JSON string in its quotes.
[[nodiscard]] inline bool is_name(std::string_view quoted, std::string_view name) {
  if (quoted.find('\\') == std::string_view::npos)
    return quoted.size() > 1 && quoted.substr(1, quoted.size() - 2) == name;
  boost::json::error_code error;
  const boost::json::value value = boost::json::parse({quoted.data(), quoted.size()}, error);
  return !error && value.is_string() && std::string_view(value.get_string()) == name;
}

}  // namespace detail

/// The value of a member, exactly as it stands in the text: what a reader makes of a number or writes back in its own way
/// stays what it was. Of a member that stands there twice the last counts.
///
/// \param object  JSON that a reader has taken for an object. What else it may be does no harm, but then the result means
///                nothing.
/// \returns       a part of the text, without the space around it; nothing if there is no such member.
/// \complexity    O(size).
/// \throws        `std::bad_alloc`.
[[nodiscard]] inline std::optional<std::string_view> json_member(std::string_view object, std::string_view name) {
  std::optional<std::string_view> found;
  std::size_t at = object.find('{');
  while (at < object.size()) {
    at = object.find_first_not_of(detail::json_space, at + 1);  // behind the brace or a comma
    if (at >= object.size() || object[at] != '"') break;
    const std::size_t behind_name = detail::behind_string(object, at);
    const std::string_view quoted = object.substr(at, behind_name - at);
    const std::size_t begin = detail::value_begin(object, behind_name);
    if (begin == object.size()) break;
    at = detail::behind_value(object, begin);
    if (detail::is_name(quoted, name)) found = detail::without_space_behind(object.substr(begin, at - begin));
  }
  return found;
}

}  // namespace pusher
FANFARE_NAMESPACE_END
