/// \file
/// What a server says in the Pusher protocol, as the JSON text of one message each; and the codes with which it closes.
#pragma once

#include <fanfare/core/event_position.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/wire.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/detail/text.hpp>
#include <fanfare/pusher/socket_id.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// The codes that end a connection (Pusher Channels protocol, "Error codes"). Clients come back at once after 4200 to
/// 4299, after a while from 4100 to 4199, and not at all after 4000 to 4099.
namespace close_code {

inline constexpr std::uint16_t tls_only = 4000;      ///< `AppOptions::tls_only`, and it came without. Clients try TLS.
inline constexpr std::uint16_t unknown_key = 4001;   ///< No application has the key.
inline constexpr std::uint16_t app_disabled = 4003;  ///< `AppOptions::enabled` is false.
inline constexpr std::uint16_t over_quota = 4004;    ///< The application has all connections it may have.
inline constexpr std::uint16_t path_not_found = 4005;        ///< The path is not `/app/KEY`.
inline constexpr std::uint16_t bad_version = 4006;           ///< The client's `version` is malformed.
inline constexpr std::uint16_t unsupported_protocol = 4007;  ///< The `protocol` is not one that is spoken here.
inline constexpr std::uint16_t no_protocol = 4008;           ///< The query has no `protocol`.
inline constexpr std::uint16_t unauthorized = 4009;          ///< The connection is not let in, or no longer.
inline constexpr std::uint16_t over_capacity = 4100;  ///< The server has too much to do; for a slow consumer too.
inline constexpr std::uint16_t reconnect = 4200;      ///< The server stops; another may be there.
inline constexpr std::uint16_t no_pong = 4201;        ///< The client was silent for too long.
inline constexpr std::uint16_t inactive = 4202;       ///< It has been in no channel for too long.

}  // namespace close_code

/// Codes of a `pusher:error` that closes nothing; see `frames::error`.
namespace error_code {

inline constexpr std::uint16_t client_event_rate = 4301;  ///< The client sends more events than it may.
inline constexpr std::uint16_t watchlist_cut = 4302;      ///< Its watchlist is too long: what is beyond is not watched.

}  // namespace error_code

/// The most bytes of a close frame's reason (RFC 6455 §5.5).
inline constexpr std::size_t longest_reason = 123;
/// The most bytes that an answer repeats of one thing that a client sent, before escaping.
inline constexpr std::size_t longest_echo = 256;

/// A part of what a client sent, fit to stand in a sentence: UTF-8 without control characters, whatever came.
///
/// \returns  at most `most` bytes, and `…` behind them where that is not all.
[[nodiscard]] inline std::string excerpt(std::string_view text, std::size_t most = longest_echo) {
  const std::string_view kept = fanfare::detail::text::cut_utf8(text, most);
  std::string result(kept);
  const bool readable = fanfare::detail::is_utf8(kept);
  for (char& character : result) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20U || byte == 0x7fU || (byte >= 0x80U && !readable)) character = '?';
  }
  if (kept.size() < text.size()) result += "…";
  return result;
}

/// Puts the parts of a text together. (Where strings are added to literals, g++ 12 warns of overlaps that there are not.)
[[nodiscard]] inline std::string joined(std::initializer_list<std::string_view> parts) {
  std::size_t size = 0;
  for (const std::string_view part : parts) size += part.size();
  std::string text;
  text.reserve(size);
  for (const std::string_view part : parts) text += part;
  return text;
}

/// Appends a text as a JSON string, in quotes.
/// \pre         the text is UTF-8 and no part of `to`.
/// \complexity  O(size).
/// \throws      `std::bad_alloc`, `std::length_error`; `to` is then as before.
inline void append_json_string(std::string& to, std::string_view text) {
  using fanfare::detail::JsonString;
  const std::size_t begin = to.size() + 1;
  const std::size_t end = begin + JsonString::escaped_size(text);
  to.resize(end + JsonString::slack);
  to[begin - 1] = '"';
  bool ascii = true;
  JsonString::escape(to.data() + begin, text, ascii);
  to[end] = '"';
  to.resize(end + 1);
}

/// The data of the protocol's own events, as JSON text. An event's data is sent as a JSON string, so this is escaped once
/// more on its way.
///
/// \pre     texts are UTF-8; `Member::user_info` is JSON.
/// \throws  `std::bad_alloc`.
namespace data {

/// A user's id as a string; as a number where `Member::numeric_id` says so.
inline void append_user_id(std::string& to, const Member& member) {
  if (member.numeric_id) {
    to += member.user_id;
  } else {
    append_json_string(to, member.user_id);
  }
}

/// Of `pusher_internal:member_added`.
[[nodiscard]] inline std::string member_added(const Member& member) {
  std::string text = R"({"user_id":)";
  append_user_id(text, member);
  text += R"(,"user_info":)";
  text += member.user_info;
  text += '}';
  return text;
}

/// Of `pusher_internal:member_removed`.
[[nodiscard]] inline std::string member_removed(const Member& member) {
  std::string text = R"({"user_id":)";
  append_user_id(text, member);
  text += '}';
  return text;
}

/// Of `pusher_internal:subscription_succeeded` on a presence channel: who is there.
/// \param members      none twice; with the one that is told.
/// \complexity         O(their sizes).
[[nodiscard]] inline std::string presence(std::span<const MemberPtr> members) {
  std::size_t size = 64;
  for (const MemberPtr& member : members) size += 2 * member->user_id.size() + member->user_info.size() + 8;
  std::string text;
  text.reserve(size);
  text += R"({"presence":{"count":)";
  text += std::to_string(members.size());
  text += R"(,"ids":[)";
  const char* comma = "";
  for (const MemberPtr& member : members) {
    text += comma;
    append_user_id(text, *member);
    comma = ",";
  }
  text += R"(],"hash":{)";
  comma = "";
  for (const MemberPtr& member : members) {
    text += comma;
    append_json_string(text, member->user_id);  // names are strings, always
    text += ':';
    text += member->user_info;
    comma = ",";
  }
  text += "}}}";
  return text;
}

/// Of `pusher_internal:subscription_count`.
[[nodiscard]] inline std::string subscription_count(std::size_t subscribers) {
  return joined({R"({"subscription_count":)", std::to_string(subscribers), "}"});
}

/// Of `pusher_internal:watchlist_events`: which users have come, and which have gone. Where there are none of either,
/// nothing is said of them.
[[nodiscard]] inline std::string watchlist_events(std::span<const std::string> online,
                                                  std::span<const std::string> offline) {
  std::string text = R"({"events":[)";
  const auto append = [&text](std::string_view name, std::span<const std::string> ids) {
    if (ids.empty()) return;
    if (text.back() == '}') text += ',';
    text += R"({"name":)";
    append_json_string(text, name);
    text += R"(,"user_ids":[)";
    for (const std::string& id : ids) {
      if (&id != ids.data()) text += ',';
      append_json_string(text, id);
    }
    text += "]}";
  };
  append("online", online);
  append("offline", offline);
  text += "]}";
  return text;
}

}  // namespace data

/// Whether a client that comes back to a channel is sent all that it has missed.
enum class Resumed : std::uint8_t {
  not_asked,  ///< It has not said what it saw last.
  yes,
  no,  ///< It is sent what everybody is who comes.
};

/// The messages of a server. All but `error` and `cache_miss` have a JSON string as data, as every client expects.
///
/// \pre     texts are UTF-8.
/// \throws  `std::bad_alloc`.
namespace frames {

/// An event of the protocol, with data that is sent as a JSON string.
/// \param channel  left out where it is empty.
[[nodiscard]] inline std::string event(std::string_view name, std::string_view channel, std::string_view data) {
  std::string text;
  text.reserve(48 + name.size() + channel.size() + data.size() + data.size() / 4);
  text += R"({"event":)";
  append_json_string(text, name);
  if (!channel.empty()) {
    text += R"(,"channel":)";
    append_json_string(text, channel);
  }
  text += R"(,"data":)";
  append_json_string(text, data);
  text += '}';
  return text;
}

/// The first message of a connection that is let in.
/// \param activity_timeout  sent as a number, which clients want to be at least 1.
[[nodiscard]] inline std::string connection_established(const SocketId& id, std::chrono::seconds activity_timeout) {
  std::string data = R"({"socket_id":")";
  data += id.text().view();
  data += R"(","activity_timeout":)";
  data += std::to_string(activity_timeout.count());
  data += '}';
  return event("pusher:connection_established", {}, data);
}

/// `pusher:ping`: asks the other side for a `pong`.
[[nodiscard]] inline std::string ping() { return event("pusher:ping", {}, "{}"); }
/// `pusher:pong`: the answer.
[[nodiscard]] inline std::string pong() { return event("pusher:pong", {}, "{}"); }

/// The answer to a client that is in the channel now.
/// \param resumed  where it was asked for, it stands beside the data; official clients pass over it.
/// \param replays  whether what was kept follows, and `replayed` behind that; likewise.
[[nodiscard]] inline std::string subscription_succeeded(std::string_view channel, std::string_view data = "{}",
                                                        Resumed resumed = Resumed::not_asked, bool replays = false) {
  std::string text = event("pusher_internal:subscription_succeeded", channel, data);
  if (resumed == Resumed::not_asked && !replays) return text;
  text.pop_back();
  if (replays) text += R"(,"replays":true)";
  if (resumed != Resumed::not_asked) text += resumed == Resumed::yes ? R"(,"resumed":true)" : R"(,"resumed":false)";
  text += '}';
  return text;
}

/// What was kept of a channel has been sent; what follows is live. Official clients pass over it.
/// \param id   where the client stands now: what it is to name when it comes back.
/// \param gap  whether some events had gone before they could be sent.
[[nodiscard]] inline std::string replayed(std::string_view channel, EventId id, bool gap) {
  std::string text = event("pusher_internal:replayed", channel, gap ? R"({"gap":true})" : "{}");
  text.replace(text.size() - 1, 1, R"(,"id":")").append(to_text(id).view()).append(R"("})");
  return text;
}

/// In the place of events that a client is not sent, because it reads too slowly. Official clients pass over it.
/// \param from  the id of the first of them. \param to  that of the last.
[[nodiscard]] inline std::string gap(std::string_view channel, EventId from, EventId to) {
  std::string data = R"({"from":")";
  data.append(to_text(from).view()).append(R"(","to":")").append(to_text(to).view()).append(R"("})");
  return event("pusher_internal:gap", channel, data);
}

/// What a `gap` stands for.
struct Gap {
  EventId from;
  EventId to;
  friend bool operator==(const Gap&, const Gap&) = default;
};
/// Reads it back. \param text  what `gap` made, and what is before that; nothing for anything else.
[[nodiscard]] inline std::optional<Gap> read_gap(std::string_view text) noexcept {
  const auto id_behind = [text](std::string_view key) {
    const std::size_t at = text.rfind(key);
    if (at == std::string_view::npos) return std::optional<EventId>{};
    const std::string_view rest = text.substr(at + key.size());
    return event_id_from(rest.substr(0, rest.find('\\')));
  };
  const std::optional<EventId> from = id_behind(R"(\"from\":\")");
  const std::optional<EventId> to = id_behind(R"(\"to\":\")");
  if (!from || !to) return std::nullopt;
  return Gap{*from, *to};
}

/// The answer to a client that is not let into a channel.
/// \param channel  of which at most `longest_echo` bytes are sent.
/// \param type     what kind of error it is, in one word.
/// \param status   one of HTTP, or a code of the protocol.
[[nodiscard]] inline std::string subscription_error(std::string_view channel, std::string_view type,
                                                    std::string_view message, unsigned status) {
  std::string data = R"({"type":)";
  append_json_string(data, type);
  data += R"(,"error":)";
  append_json_string(data, message);
  data += R"(,"status":)";
  data += std::to_string(status);
  data += '}';
  return event("pusher:subscription_error", fanfare::detail::text::cut_utf8(channel, longest_echo), data);
}

/// An error of no channel. Its data is a JSON object: clients read no other.
/// \param code  what the connection is closed with, or one of 4300 to 4399, or 4009 for a sign-in; nothing for all else,
///              which may be said only to a connection that is established.
[[nodiscard]] inline std::string error(std::optional<std::uint16_t> code, std::string_view message) {
  std::string text = R"({"event":"pusher:error","data":{"code":)";
  text += code ? std::to_string(*code) : "null";
  text += R"(,"message":)";
  append_json_string(text, message);
  text += "}}";
  return text;
}

/// To a client whose event is dropped because it was one too many. The connection stays.
[[nodiscard]] inline std::string client_event_rate(unsigned most) {
  return error(error_code::client_event_rate,
               joined({"The client event is dropped: a connection may send ", std::to_string(most), " in a second"}));
}

/// To a client that has signed in with a watchlist of more than `most` users.
[[nodiscard]] inline std::string watchlist_cut(std::size_t most) {
  return error(error_code::watchlist_cut,
               joined({"The watchlist is too long: its first ", std::to_string(most), " users are watched"}));
}

/// To the others in a presence channel when a user comes.
[[nodiscard]] inline std::string member_added(std::string_view channel, const Member& member) {
  return event("pusher_internal:member_added", channel, data::member_added(member));
}

/// To the others in a presence channel when a user has gone.
[[nodiscard]] inline std::string member_removed(std::string_view channel, const Member& member) {
  return event("pusher_internal:member_removed", channel, data::member_removed(member));
}

/// `pusher_internal:subscription_count`: how many are subscribed to a channel.
[[nodiscard]] inline std::string subscription_count(std::string_view channel, std::size_t subscribers) {
  return event("pusher_internal:subscription_count", channel, data::subscription_count(subscribers));
}

/// To a client that has come to a cache channel which has nothing. It has no data.
[[nodiscard]] inline std::string cache_miss(std::string_view channel) {
  std::string text = R"({"event":"pusher:cache_miss","channel":)";
  append_json_string(text, channel);
  text += '}';
  return text;
}

/// To a client that is signed in now.
/// \param user_data  exactly as the client sent it: it is a string inside a string.
[[nodiscard]] inline std::string signin_success(std::string_view user_data) {
  std::string text = R"({"user_data":)";
  append_json_string(text, user_data);
  text += '}';
  return event("pusher:signin_success", {}, text);
}

/// To a client about the users that it watches; see `data::watchlist_events`.
[[nodiscard]] inline std::string watchlist_events(std::span<const std::string> online,
                                                  std::span<const std::string> offline) {
  return event("pusher_internal:watchlist_events", {}, data::watchlist_events(online, offline));
}

}  // namespace frames
}  // namespace pusher
FANFARE_NAMESPACE_END
