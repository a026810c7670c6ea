/// \file
/// An HTTP response as a plain value, and its bytes; those of a request too.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

namespace http {

/// What a server answers.
///
/// Thread safety: like a `std::string`.
struct Response {
  unsigned status = 200;                          ///< 100 to 599.
  std::string content_type = "application/json";  ///< Sent with a body only; empty: never.
  std::string body;                               ///< Not sent where the status allows none, and to HEAD.
  /// Further fields. `append` writes Content-Type, Content-Length, Transfer-Encoding and Connection by itself and leaves
  /// out those that stand here; with status 101 alone Connection is the caller's.
  std::vector<Field> fields;
  bool close = false;  ///< Whether the connection ends behind this response.

  friend bool operator==(const Response&, const Response&) = default;
};

/// What a response has to know of its request.
struct ReplyTo {
  unsigned version = 11;    ///< 10 for HTTP/1.0, 11 for HTTP/1.1.
  bool keep_alive = false;  ///< Whether the client can send more on this connection.
  bool head = false;        ///< Whether the method is HEAD: the body's size is announced, and no body follows.

  friend bool operator==(const ReplyTo&, const ReplyTo&) = default;
};

/// What has to be kept of a request until it is answered.
[[nodiscard]] inline ReplyTo reply_to(const Request& request) noexcept {
  return {request.version, request.keep_alive, request.method == "HEAD"};
}

/// What is sent to a client that waits for leave to send its body (RFC 9110 §10.1.1).
inline constexpr std::string_view continue_response = "HTTP/1.1 100 Continue\r\n\r\n";

/// The words for a status (RFC 9110 §15, RFC 6585); empty for a status that has none here.
[[nodiscard]] constexpr std::string_view reason_phrase(unsigned status) noexcept {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 426: return "Upgrade Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "";
  }
}

/// A response of JSON text.
[[nodiscard]] inline Response json_response(unsigned status, std::string body) {
  Response response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

/// A response of plain text; a line feed is put behind it.
[[nodiscard]] inline Response text_response(unsigned status, std::string text) {
  text.push_back('\n');
  Response response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(text);
  return response;
}

namespace detail {

/// Which characters are ASCII letters, digits or in `others`.
[[nodiscard]] constexpr std::array<bool, 256> characters(std::string_view others) noexcept {
  std::array<bool, 256> set{};
  for (unsigned c = 0; c < 128; ++c) {
    const char character = static_cast<char>(c);
    set[c] = is_alphanumeric(character) || others.find(character) != std::string_view::npos;
  }
  return set;
}

/// Whether it is one of `characters(…)`.
[[nodiscard]] constexpr bool is_among(const std::array<bool, 256>& set, char c) noexcept {
  return set[static_cast<unsigned char>(c)];
}

/// The characters that may be in a token (RFC 9110 §5.6.2).
inline constexpr std::array<bool, 256> token_characters = characters("!#$%&'*+-.^_`|~");

/// How many characters of a text come before its first that may not be in a token.
[[nodiscard]] constexpr std::size_t token_prefix(std::string_view text) noexcept {
  std::size_t size = 0;
  while (size < text.size() && is_among(token_characters, text[size])) ++size;
  return size;
}

/// RFC 9110 §5.6.2.
[[nodiscard]] constexpr bool is_token(std::string_view text) noexcept {
  return !text.empty() && token_prefix(text) == text.size();
}

inline void append_field(std::string& out, std::string_view name, std::string_view value) {
  if (!is_token(name) || std::any_of(value.begin(), value.end(), is_control)) return;
  out.append(name).append(": ").append(value).append("\r\n");
}

inline void append_number(std::string& out, std::size_t number) {
  std::array<char, 20> digits;
  const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

/// A few short lines, put together before they are appended: one by one would cost more.
/// \pre  they are no longer than 192 bytes.
class Line {
 public:
  Line() noexcept {}  // NOLINT(modernize-use-equals-default): the room stays as it is

  Line& add(std::string_view text) noexcept {
    end_ = std::copy(text.begin(), text.end(), end_);
    return *this;
  }
  Line& add(std::size_t number) noexcept {
    end_ = std::to_chars(end_, room_.data() + room_.size(), number).ptr;
    return *this;
  }
  void append_to(std::string& out) {
    out.append(room_.data(), static_cast<std::size_t>(end_ - room_.data()));
    end_ = room_.data();
  }

 private:
  std::array<char, 192> room_;
  char* end_ = room_.data();
};

}  // namespace detail

/// Appends the bytes of a response (RFC 9112 §4, §6, §9.3).
///
/// There is always a Content-Length, but for the statuses that must not or need not have one: 1xx, 204 and 304. A body
/// given with them, or with 205, is not sent. A status outside of 100 to 599 is sent as 500.
///
/// Nothing in a field can end it: a field whose name is not a token, or whose value holds CR, LF, NUL or another control
/// character but the tab, is left out as a whole, `content_type` likewise. No Date is written, as nothing here knows the
/// time; it can stand among the fields.
///
/// \returns     whether the connection stays open behind this response.
/// \complexity  O(size), at most two allocations unless the fields are large.
inline bool append(std::string& out, const Response& response, const ReplyTo& to) {
  const unsigned status = response.status >= 100 && response.status <= 599 ? response.status : 500;
  const bool interim = status < 200;
  const bool open = interim || (to.keep_alive && !response.close);
  const bool has_length = !interim && status != 204 && status != 304;
  const std::string_view body = has_length && status != 205 ? std::string_view(response.body) : std::string_view{};

  // At least doubled: room for exactly this would copy pipelined answers again and again.
  const std::size_t needed = out.size() + body.size() + 256;
  if (needed > out.capacity()) out.reserve(std::max(needed, 2 * out.capacity()));
  detail::Line line;
  line.add("HTTP/1.1 ").add(status).add(" ").add(reason_phrase(status)).add("\r\n");
  if (!body.empty() && !response.content_type.empty()) {
    if (response.content_type == "application/json") {
      line.add("Content-Type: application/json\r\n");
    } else {
      line.append_to(out);
      detail::append_field(out, "Content-Type", response.content_type);
    }
  }
  if (has_length) line.add("Content-Length: ").add(body.size()).add("\r\n");
  if (!open) {
    line.add("Connection: close\r\n");
  } else if (to.version == 10 && !interim) {
    line.add("Connection: keep-alive\r\n");
  }
  line.append_to(out);
  for (const Field& field : response.fields) {
    const bool written_above =
        detail::same_word(field.name, "content-length") || detail::same_word(field.name, "transfer-encoding") ||
        detail::same_word(field.name, "content-type") || (detail::same_word(field.name, "connection") && status != 101);
    if (!written_above) detail::append_field(out, field.name, field.value);
  }
  out.append("\r\n");
  if (!to.head) out.append(body);
  return open;
}

/// Appends the bytes of a request (RFC 9112 §3, §6): for who has it as a value, and hands it on to where bytes are read.
///
/// A body is sent with its Content-Length, not in chunks. Nothing in a field can end it, as in a response. `keep_alive` is
/// not looked at: what the client has said of it stands among the fields.
///
/// \returns     false, and nothing is appended, where the method is not a token, or the target is empty or holds a space or
///              a control character: the bytes would be another request.
/// \complexity  O(size).
[[nodiscard]] inline bool append(std::string& out, const Request& request) {
  const std::string_view target = request.target;
  const bool is_line = detail::is_token(request.method) && !target.empty() && target.find(' ') == target.npos &&
                       std::none_of(target.begin(), target.end(), detail::is_control) &&
                       target.find('\t') == target.npos;
  if (!is_line) return false;
  out.append(request.method).append(" ").append(target);
  out.append(request.version == 10 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  for (const Field& field : request.fields) {
    const bool of_the_body =
        detail::same_word(field.name, "content-length") || detail::same_word(field.name, "transfer-encoding");
    if (!of_the_body) detail::append_field(out, field.name, field.value);
  }
  if (!request.body.empty()) {
    out.append("Content-Length: ");
    detail::append_number(out, request.body.size());
    out.append("\r\n");
  }
  out.append("\r\n").append(request.body);
  return true;
}

}  // namespace http

FANFARE_NAMESPACE_END
