/// \file
/// What pusher-js says over HTTP where it gets no WebSocket: its paths, its lines and its answers. Needs Boost.JSON, which
/// is a library to link.
///
/// A client opens one long request, `xhr_streaming` or `xhr`, whose answer is lines, and sends messages with `xhr_send`.
/// Everything here is text in and text out: no socket, no clock, no table of sessions.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/websocket/frame.hpp>

#include <boost/json/array.hpp>
#include <boost/json/error.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport::xhr {

// ---- paths

/// What a request of a session is for.
enum class Kind : std::uint8_t {
  streaming,  ///< `xhr_streaming`: the answer has no end, lines are added to it as they come.
  polling,    ///< `xhr`: the answer ends behind its first lines, and the client asks again.
  send,       ///< `xhr_send`: the body is messages of the client.
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(Kind kind) noexcept {
  switch (kind) {
    case Kind::streaming: return "streaming";
    case Kind::polling: return "polling";
    case Kind::send: return "send";
  }
  return "unknown";
}

/// The most bytes that a key in a path may have. No application's is that long.
inline constexpr std::size_t longest_key = 256;
/// How many bytes the name of a session has.
inline constexpr std::size_t session_size = 8;

/// The parts of a path. A session is known by its key, server and name together; all three are the client's choice.
struct Address {
  std::string_view key;      ///< As it stands in the path: 1 to `longest_key` bytes. Part of the path.
  std::uint16_t server = 0;  ///< 0 to 999.
  std::string_view session;  ///< `session_size` ASCII letters and digits. Part of the path.
  Kind kind = Kind::streaming;

  friend bool operator==(const Address&, const Address&) = default;
};

namespace detail {

/// Cuts off everything up to the first `/`, and that too. \returns nothing where there is none.
[[nodiscard]] constexpr std::optional<std::string_view> take_segment(std::string_view& path) noexcept {
  const std::size_t slash = path.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view segment = path.substr(0, slash);
  path.remove_prefix(slash + 1);
  return segment;
}

[[nodiscard]] constexpr std::optional<std::uint16_t> read_server(std::string_view text) noexcept {
  if (text.empty() || text.size() > 3) return std::nullopt;
  unsigned number = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = 10 * number + static_cast<unsigned>(digit - '0');
  }
  return static_cast<std::uint16_t>(number);
}

[[nodiscard]] constexpr std::optional<Kind> read_kind(std::string_view text) noexcept {
  if (text == "xhr_streaming") return Kind::streaming;
  if (text == "xhr") return Kind::polling;
  if (text == "xhr_send") return Kind::send;
  return std::nullopt;
}

}  // namespace detail

/// Reads `/app/KEY/SERVER/SESSION/KIND` with the prefix in front of it, or with `/pusher`, which is where clients look
/// unless they are told otherwise.
///
/// \param path    what `http::Request::path` returns; the result points into it. Nothing in it is decoded.
/// \param prefix  as `ServerOptions::path_prefix`: empty, or begins with `/` and does not end with it.
/// \returns       nothing for any other path.
/// \complexity    O(size), no allocation.
[[nodiscard]] constexpr std::optional<Address> parse_path(std::string_view path,
                                                          std::string_view prefix = {}) noexcept {
  constexpr std::string_view app = "/app/";
  constexpr std::string_view usual_prefix = "/pusher";
  if (!path.starts_with(prefix) || !path.substr(prefix.size()).starts_with(app)) prefix = usual_prefix;
  if (!path.starts_with(prefix) || !path.substr(prefix.size()).starts_with(app)) return std::nullopt;
  path.remove_prefix(prefix.size() + app.size());

  const auto key = detail::take_segment(path);
  const auto server = detail::take_segment(path);
  const auto session = detail::take_segment(path);
  if (!key || key->empty() || key->size() > longest_key || !server || !session) return std::nullopt;
  if (session->size() != session_size) return std::nullopt;
  for (const char letter : *session) {
    if (!http::detail::is_alphanumeric(letter)) return std::nullopt;
  }
  const auto number = detail::read_server(*server);
  const auto kind = detail::read_kind(path);
  if (!number || !kind) return std::nullopt;
  return Address{*key, *number, *session, *kind};
}

// ---- lines

namespace detail {

/// Takes back what was appended, unless it is told to keep it.
class Undo {
 public:
  explicit Undo(std::string& text) noexcept : text_(&text), size_(text.size()) {}
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    if (text_ != nullptr) text_->resize(size_);  // never larger than it is
  }
  void keep() noexcept { text_ = nullptr; }

 private:
  std::string* text_;
  std::size_t size_;
};

}  // namespace detail

/// The first line of a session, and of no other answer: a client that reads it twice has lost its session.
inline constexpr std::string_view open_line = "o\n";
/// Asks whether the client is still there. It answers with an `xhr_send` of `[]` when it streams, and with its next
/// request when it polls.
inline constexpr std::string_view heartbeat_line = "h\n";
/// No messages. A client takes it for a sign of life and answers nothing, so it is the answer to the client's own `[]`,
/// which a heartbeat is not: that would be answered again, for ever.
inline constexpr std::string_view activity_line = "a[]\n";

/// Appends `a["…","…"]`, one string for each message; `activity_line` where there is none.
/// \pre         the texts are UTF-8 and no part of `to`.
/// \complexity  O(size).
/// \throws      `std::bad_alloc`, `std::length_error`; `to` is then as before.
inline void append_messages(std::string& to, std::span<const std::string_view> texts) {
  detail::Undo undo{to};
  to += "a[";
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i != 0) to += ',';
    pusher::append_json_string(to, texts[i]);
  }
  to += "]\n";
  undo.keep();
}
/// Appends `a["…"]` likewise.
inline void append_message(std::string& to, std::string_view text) { append_messages(to, {&text, 1}); }

/// Appends `c[code,"reason"]`: the last line of a session. Clients take it for the close frame of a WebSocket.
/// \pre         the reason is UTF-8 and no part of `to`.
/// \complexity  O(size).
/// \throws      `std::bad_alloc`, `std::length_error`; `to` is then as before.
inline void append_close(std::string& to, std::uint16_t code, std::string_view reason = {}) {
  detail::Undo undo{to};
  to += "c[";
  http::detail::append_number(to, code);
  to += ',';
  pusher::append_json_string(to, reason);
  to += "]\n";
  undo.keep();
}

// ---- frames to lines

/// What a WebSocket ping of the server becomes.
enum class PingAs : std::uint8_t {
  heartbeat,  ///< `heartbeat_line`: the client answers, as it answers a ping.
  activity,   ///< `activity_line`: the client knows that the server lives, and answers nothing.
};

/// Why `convert` stopped before the end of what it was given.
enum class ConvertError : std::uint8_t {
  none = 0,
  bad_frame,  ///< Not a frame that a Pusher server sends: masked, in fragments, binary, or with reserved bits.
};

/// One English sentence without a full stop.
[[nodiscard]] constexpr std::string_view message(ConvertError error) noexcept {
  switch (error) {
    case ConvertError::none: return "no error";
    case ConvertError::bad_frame: return "the frame is not a whole text or control frame of a server";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(ConvertError error) noexcept {
  switch (error) {
    case ConvertError::none: return "none";
    case ConvertError::bad_frame: return "bad_frame";
  }
  return "unknown";
}

/// How far `convert` came.
struct Converted {
  std::size_t used = 0;  ///< Bytes of whole frames that stand in the lines now.
  /// The code of the close frame that was the last; `close_code::no_status` (1005) where it had none;
  /// `close_code::none` where there was no close frame.
  std::uint16_t close_code = websocket::close_code::none;
  ConvertError error = ConvertError::none;

  friend bool operator==(const Converted&, const Converted&) = default;
};

/// Turns frames that were made for a WebSocket into lines, for a session that is none.
///
/// | frames | line |
/// |---|---|
/// | text, one or several in a row | `a["…","…"]` |
/// | ping | `h`, or `a[]`: see `PingAs` |
/// | pong | `a[]` |
/// | close | `c[code,"reason"]`; nothing behind it is looked at |
///
/// How frames are spread over calls makes no difference to the messages, only to how many stand in one line.
///
/// \param frames  whole frames of a server, unmasked; the last may be cut, and is left.
/// \param out     what is appended to; always whole lines, none of them empty. \pre `frames` is no part of it.
/// \param room    stops behind the first frame with which so many bytes have been appended; 0: takes nothing. One
///                frame may have more: escaping makes up to six bytes of one.
/// \param pings   what pings become.
/// \returns       how far it came. With an error, what stands before the bad frame has been converted.
/// \complexity    O(size of what is used).
/// \throws        `std::bad_alloc`, `std::length_error`; `out` is then as before.
inline Converted convert(std::string_view frames, std::string& out, std::size_t room = std::size_t{64} * 1024,
                         PingAs pings = PingAs::heartbeat) {
  detail::Undo undo{out};
  const std::size_t before = out.size();
  Converted result;
  bool in_array = false;
  while (out.size() - before < room && result.close_code == websocket::close_code::none) {
    const websocket::ServerFrame frame = websocket::read_server_frame(frames.substr(result.used));
    if (!frame.good) result.error = ConvertError::bad_frame;
    if (!frame.good || frame.size == 0) break;
    result.used += frame.size;
    if (frame.opcode == websocket::Opcode::text) {
      out += in_array ? "," : "a[";
      pusher::append_json_string(out, frame.payload);
      in_array = true;
      continue;
    }
    if (std::exchange(in_array, false)) out += "]\n";
    if (frame.opcode == websocket::Opcode::close) {
      append_close(out, frame.code, frame.payload);
      result.close_code = frame.code;
    } else {
      const bool asks = frame.opcode == websocket::Opcode::ping && pings == PingAs::heartbeat;
      out += asks ? heartbeat_line : activity_line;
    }
  }
  if (in_array) out += "]\n";
  undo.keep();
  return result;
}

// ---- what a client sends

/// How much one `xhr_send` may hold. What has exactly the limit is accepted.
struct SendLimits {
  std::size_t body_bytes = std::size_t{256} * 1024;    ///< Of the body, with its escapes.
  std::size_t messages = 64;                           ///< In one body.
  std::size_t message_bytes = std::size_t{64} * 1024;  ///< Of one message, without escapes.

  friend bool operator==(const SendLimits&, const SendLimits&) = default;
};

/// Why a body is refused. Nothing of it counts then.
enum class SendError : std::uint8_t {
  none = 0,
  body_too_large,     ///< 413: more than `SendLimits::body_bytes`.
  not_json,           ///< 400: not one JSON text in UTF-8 (RFC 8259).
  not_strings,        ///< 400: JSON, but not an array of strings alone.
  too_many_messages,  ///< 413: more than `SendLimits::messages`.
  message_too_large,  ///< 413: a message of more than `SendLimits::message_bytes`.
};

/// One English sentence without a full stop, fit to be sent.
[[nodiscard]] constexpr std::string_view message(SendError error) noexcept {
  switch (error) {
    case SendError::none: return "no error";
    case SendError::body_too_large: return "The body is too large";
    case SendError::not_json: return "The body is not valid JSON";
    case SendError::not_strings: return "The body is not a JSON array of strings";
    case SendError::too_many_messages: return "The body holds too many messages";
    case SendError::message_too_large: return "A message is too large";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(SendError error) noexcept {
  switch (error) {
    case SendError::none: return "none";
    case SendError::body_too_large: return "body_too_large";
    case SendError::not_json: return "not_json";
    case SendError::not_strings: return "not_strings";
    case SendError::too_many_messages: return "too_many_messages";
    case SendError::message_too_large: return "message_too_large";
  }
  return "unknown";
}

/// The status to answer with; 204 for `none`.
[[nodiscard]] constexpr unsigned http_status(SendError error) noexcept {
  switch (error) {
    case SendError::none: return 204;
    case SendError::body_too_large:
    case SendError::too_many_messages:
    case SendError::message_too_large: return 413;
    default: return 400;
  }
}

/// The messages of one body, in their order.
struct Sent {
  SendError error = SendError::none;
  std::vector<std::string> texts;  ///< UTF-8. None: the body is `[]`, a client's ping; or there is an error.

  friend bool operator==(const Sent&, const Sent&) = default;
};

/// Reads the body of an `xhr_send`.
///
/// \returns     all messages, or an error and none.
/// \complexity  O(size). While it runs it takes up to about 12 bytes for each byte of a body that is made for it.
/// \throws      `std::bad_alloc`.
[[nodiscard]] inline Sent decode(std::string_view body, const SendLimits& limits = {}) {
  if (body.size() > limits.body_bytes) return {SendError::body_too_large, {}};
  std::array<unsigned char, 2048> buffer;
  boost::json::monotonic_resource memory(buffer.data(), buffer.size());
  boost::json::parse_options options;
  options.max_depth = 1;
  boost::json::error_code code;
  const boost::json::value value = boost::json::parse({body.data(), body.size()}, code, &memory, options);
  if (code) return {code == boost::json::error::too_deep ? SendError::not_strings : SendError::not_json, {}};
  const boost::json::array* const array = value.if_array();
  if (array == nullptr) return {SendError::not_strings, {}};
  for (const boost::json::value& element : *array) {
    if (!element.is_string()) return {SendError::not_strings, {}};
  }
  if (array->size() > limits.messages) return {SendError::too_many_messages, {}};
  Sent sent;
  sent.texts.reserve(array->size());
  for (const boost::json::value& element : *array) {
    const boost::json::string& text = element.get_string();
    if (text.size() > limits.message_bytes) return {SendError::message_too_large, {}};
    sent.texts.emplace_back(text.data(), text.size());
  }
  return sent;
}

// ---- answers

/// What a body of lines is. Browsers must know that it is UTF-8, and show it before its end.
inline constexpr std::string_view lines_type = "application/javascript; charset=UTF-8";

/// Beside the type: nothing on the way may keep an answer or hold it back, and a page of any origin may read it, as it is
/// sent without credentials. Which origins may use an application is for its session to judge.
/// \throws  `std::bad_alloc`.
[[nodiscard]] inline std::vector<http::Field> response_fields() {
  return {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}, {"Access-Control-Allow-Origin", "*"}};
}

/// Answers a poll. It ends behind these lines, and the client asks again at once.
/// \param lines  at least one.
/// \throws       `std::bad_alloc`.
[[nodiscard]] inline http::Response poll_response(std::string lines) {
  http::Response response;
  response.content_type = lines_type;
  response.body = std::move(lines);
  response.fields = response_fields();
  return response;
}

/// Answers an `xhr_send` that was understood: 204.
/// \throws  `std::bad_alloc`.
[[nodiscard]] inline http::Response sent_response() {
  http::Response response;
  response.status = 204;
  response.fields = response_fields();
  return response;
}

/// Refuses a request of any kind, in a way that pages may read. 404 is for an `xhr_send` without a session.
/// \throws  `std::bad_alloc`.
[[nodiscard]] inline http::Response refusal(unsigned status, std::string text) {
  http::Response response = http::text_response(status, std::move(text));
  response.fields = response_fields();
  return response;
}
/// Refuses a body that could not be read. \pre `error` is not `none`.
[[nodiscard]] inline http::Response refusal(SendError error) {
  return refusal(http_status(error), std::string(message(error)));
}

/// Answers the OPTIONS that a browser sends first when the page is of another origin (Fetch §3.2): 204.
/// \throws  `std::bad_alloc`.
[[nodiscard]] inline http::Response preflight_response() {
  http::Response response = sent_response();
  response.fields.push_back({"Access-Control-Allow-Methods", "POST"});
  response.fields.push_back({"Access-Control-Allow-Headers", "content-type"});
  response.fields.push_back({"Access-Control-Max-Age", "86400"});
  return response;
}

/// Appends the head of an answer without a known end. The connection is closed behind it.
///
/// \param version  as `http::Request::version`.
/// \returns        whether what follows must be in chunks, with `append_chunk`, and end with `last_chunk`. HTTP/1.0 has
///                 none: there it is the bytes as they are.
/// \throws         `std::bad_alloc`; `out` is then as before.
[[nodiscard]] inline bool append_stream_head(std::string& out, unsigned version) {
  detail::Undo undo{out};
  const bool chunked = version >= 11;
  out.append("HTTP/1.1 200 OK\r\nContent-Type: ").append(lines_type).append("\r\n");
  if (chunked) out += "Transfer-Encoding: chunked\r\n";
  out += "Connection: close\r\n";
  for (const http::Field& field : response_fields()) http::detail::append_field(out, field.name, field.value);
  out += "\r\n";
  undo.keep();
  return chunked;
}

/// Appends a piece of a body as one chunk (RFC 9112 §7.1); nothing for no bytes, as that would be the end.
/// \pre     the bytes are no part of `out`.
/// \throws  `std::bad_alloc`, `std::length_error`; `out` is then as before.
inline void append_chunk(std::string& out, std::string_view bytes) {
  if (bytes.empty()) return;
  std::array<char, 16> digits;
  const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), bytes.size(), 16).ptr;
  detail::Undo undo{out};
  out.append(digits.data(), static_cast<std::size_t>(end - digits.data())).append("\r\n");
  out.append(bytes).append("\r\n");
  undo.keep();
}

/// The end of a body in chunks.
inline constexpr std::string_view last_chunk = "0\r\n\r\n";

}  // namespace transport::xhr
FANFARE_NAMESPACE_END
