/// \file
/// What a backend has signed about a user: `channel_data` of a presence channel, `user_data` of a sign-in. Needs
/// Boost.JSON, which is a library to link.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/pusher/client_frame.hpp>
#include <fanfare/pusher/json_member.hpp>

#include <boost/json/array.hpp>
#include <boost/json/error.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// Why nothing can be made of what was said of a user.
enum class UserDataError : std::uint8_t {
  none = 0,
  not_an_object,  ///< Not JSON, nested deeper than `ClientFrame::deepest`, or no object.
  bad_user_id,    ///< `user_id` is not there, empty, or neither a string nor a whole number that is exact.
  bad_id,         ///< `id` is not there, empty, or not a string.
  id_too_long,    ///< The id has more than `AppOptions::max_user_id_bytes` bytes.
  too_large,      ///< All of it has more than `AppOptions::max_user_bytes` bytes.
  bad_watchlist,  ///< `watchlist` is not an array of ids.
};

/// What is said of it after "Invalid channel_data:" or "Invalid user_data:", without a full stop.
[[nodiscard]] constexpr std::string_view message(UserDataError error) noexcept {
  switch (error) {
    case UserDataError::none: return "no error";
    case UserDataError::not_an_object: return "it must be a JSON object";
    case UserDataError::bad_user_id: return "user_id must be a string that is not empty, or a whole number";
    case UserDataError::bad_id: return "id must be a string that is not empty";
    case UserDataError::id_too_long: return "the user's id is too long";
    case UserDataError::too_large: return "it is too large";
    case UserDataError::bad_watchlist: return "watchlist must be an array of user ids";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(UserDataError error) noexcept {
  switch (error) {
    case UserDataError::none: return "none";
    case UserDataError::not_an_object: return "not_an_object";
    case UserDataError::bad_user_id: return "bad_user_id";
    case UserDataError::bad_id: return "bad_id";
    case UserDataError::id_too_long: return "id_too_long";
    case UserDataError::too_large: return "too_large";
    case UserDataError::bad_watchlist: return "bad_watchlist";
  }
  return "unknown";
}

namespace detail {

/// A JSON text that has to be an object.
class JsonObject {
 public:
  explicit JsonObject(std::string_view text)
      : text_(text), memory_(buffer_.data(), buffer_.size()), value_(read(text, &memory_)) {}
  JsonObject(const JsonObject&) = delete;
  JsonObject& operator=(const JsonObject&) = delete;

  [[nodiscard]] bool ok() const noexcept { return value_.is_object(); }
  /// Null where there is none. \pre `ok`.
  [[nodiscard]] const boost::json::value* find(std::string_view name) const noexcept {
    return value_.get_object().if_contains({name.data(), name.size()});
  }
  /// As it was written; `null` where there is none. \pre `ok`.
  [[nodiscard]] std::string written(std::string_view name) const {
    return std::string(json_member(text_, name).value_or("null"));
  }

 private:
  static boost::json::value read(std::string_view text, boost::json::storage_ptr memory) {
    boost::json::parse_options options;
    options.max_depth = ClientFrame::deepest;
    boost::json::error_code ignored;  // null is no object either
    return boost::json::parse({text.data(), text.size()}, ignored, std::move(memory), options);
  }

  // In this order: the value lies in the memory, which begins with the buffer.
  const std::string_view text_;
  std::array<unsigned char, 1024> buffer_;
  boost::json::monotonic_resource memory_;
  boost::json::value value_;
};

/// A whole number in decimal digits. One that may not have been read exactly is none: two users would become one.
[[nodiscard]] inline std::optional<std::string> whole_number(const boost::json::value& value) {
  constexpr double most =
      281474976710656.0;  // 2^48: a reader that errs in the last bits still does not reach a neighbour
  if (value.is_int64()) return std::to_string(value.get_int64());
  if (value.is_uint64()) return std::to_string(value.get_uint64());
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double();
  if (!(std::abs(number) < most) || std::trunc(number) != number) return std::nullopt;
  return std::to_string(static_cast<std::int64_t>(number));
}

}  // namespace detail

/// `channel_data`, read.
struct ChannelData {
  UserDataError error = UserDataError::none;
  Member member{};  ///< Means nothing where there is an error.
};

/// Reads `{"user_id":…,"user_info":…}`. An id may be a string or a whole number, which becomes its decimal digits; the
/// info may be any JSON and stays as it was written.
///
/// \complexity  O(size), and O(1) for a text that is too large.
/// \throws      `std::bad_alloc`.
[[nodiscard]] inline ChannelData read_channel_data(std::string_view text, const AppOptions& options) {
  if (text.size() > options.max_user_bytes) return {UserDataError::too_large};
  const detail::JsonObject object(text);
  if (!object.ok()) return {UserDataError::not_an_object};
  const boost::json::value* const id = object.find("user_id");
  if (id == nullptr) return {UserDataError::bad_user_id};
  ChannelData result;
  Member& member = result.member;
  if (id->is_string()) {
    member.user_id = std::string_view(id->get_string());
  } else {
    member.user_id = detail::whole_number(*id).value_or(std::string());
    member.numeric_id = options.preserve_user_id_type;
  }
  if (member.user_id.empty()) return {UserDataError::bad_user_id};
  if (member.user_id.size() > options.max_user_id_bytes) return {UserDataError::id_too_long};
  member.user_info = object.written("user_info");
  return result;
}

/// `user_data`, read.
struct UserData {
  UserDataError error = UserDataError::none;
  std::string id{};                      ///< Means nothing where there is an error, as do the others.
  std::string user_info{};               ///< JSON; `null` where there is none.
  std::vector<std::string> watchlist{};  ///< Each id once.
  bool watchlist_cut = false;            ///< Whether it had more than `AppOptions::max_watchlist` ids.
};

/// Reads `{"id":"…","user_info":…,"watchlist":["…"]}`. Without `AppOptions::watchlist` a watchlist is not looked at.
///
/// \complexity  O(size).
/// \throws      `std::bad_alloc`.
[[nodiscard]] inline UserData read_user_data(std::string_view text, const AppOptions& options) {
  const detail::JsonObject object(text);
  if (!object.ok()) return {UserDataError::not_an_object};
  const boost::json::value* const id = object.find("id");
  if (id == nullptr || !id->is_string() || id->get_string().empty()) return {UserDataError::bad_id};
  if (id->get_string().size() > options.max_user_id_bytes) return {UserDataError::id_too_long};
  UserData result;
  result.id = std::string_view(id->get_string());
  result.user_info = object.written("user_info");

  const boost::json::value* const watchlist = options.watchlist ? object.find("watchlist") : nullptr;
  if (watchlist == nullptr || watchlist->is_null()) return result;
  if (!watchlist->is_array()) return {UserDataError::bad_watchlist};
  std::unordered_set<std::string_view> seen;
  for (const boost::json::value& watched : watchlist->get_array()) {
    if (!watched.is_string()) return {UserDataError::bad_watchlist};
    const std::string_view user = watched.get_string();
    if (user.empty() || user.size() > options.max_user_id_bytes) return {UserDataError::bad_watchlist};
    if (seen.contains(user)) continue;
    if (seen.size() == options.max_watchlist) {
      result.watchlist_cut = true;
      break;
    }
    seen.insert(user);
    result.watchlist.emplace_back(user);
  }
  return result;
}

}  // namespace pusher
FANFARE_NAMESPACE_END
