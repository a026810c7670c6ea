/// \file
/// The opening handshake of RFC 6455, the server's side: whether a request becomes a WebSocket, and the answer.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/detail/text.hpp>

#include <websocketpp/base64/base64.hpp>
#include <websocketpp/processors/base.hpp>
#include <websocketpp/sha1/sha1.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace websocket {

/// A parsed HTTP request, of whatever library.
///
/// | expression | type | meaning |
/// |---|---|---|
/// | `r.method` | `std::string_view` or what converts to it | as it was sent |
/// | `r.version` | `unsigned` | 10 for HTTP/1.0, 11 for HTTP/1.1 |
/// | `r.fields` | a range | the header fields, repeated ones too |
/// | `f.name`, `f.value` of each of them | as `method` | without white space around them |
template <class R>
concept UpgradeRequest = requires(const R& request) {
  { request.method } -> std::convertible_to<std::string_view>;
  { request.version } -> std::convertible_to<unsigned>;
  { request.fields.begin()->name } -> std::convertible_to<std::string_view>;
  { request.fields.begin()->value } -> std::convertible_to<std::string_view>;
};

/// What a request asks for.
enum class Upgrade : std::uint8_t {
  none,      ///< An ordinary HTTP request.
  accepted,  ///< A WebSocket; the answer is a 101, and frames follow it.
  refused,   ///< A WebSocket, but it cannot be; the answer is an HTTP error.
};

/// The decision on a request. Compares.
struct Handshake {
  Upgrade upgrade = Upgrade::none;
  unsigned status = 0;           ///< 101, 400, 405 or 426; 0 where no upgrade is asked for.
  std::string_view explanation;  ///< A sentence for whoever wrote the client; empty unless refused.
  std::string accept;            ///< `Sec-WebSocket-Accept`; empty unless accepted.

  friend bool operator==(const Handshake&, const Handshake&) = default;

  /// Calls `f(name, value)` for each header field that the answer has because of its status.
  template <std::invocable<std::string_view, std::string_view> F>
  void for_each_field(F&& f) const {
    const auto give = [&f](std::string_view name, std::string_view value) { f(name, value); };
    if (status == 405) give("Allow", "GET");
    if (status == 101 || status == 426) {
      give("Upgrade", "websocket");
      give("Connection", status == 101 ? "Upgrade" : "Upgrade, close");
    } else {
      give("Connection", "close");
    }
    if (status == 101) give("Sec-WebSocket-Accept", accept);
    if (status == 426) give("Sec-WebSocket-Version", "13");
  }
};

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
[[nodiscard]] inline std::string accept_key(std::string_view key) {
  std::string text;
  text.reserve(64);
  text.append(key).append(websocketpp::processor::constants::handshake_guid);
  unsigned char digest[20];
  websocketpp::sha1::calc(text.data(), text.size(), digest);
  return websocketpp::base64_encode(digest, sizeof(digest));
}

namespace detail {

namespace text = fanfare::detail::text;

/// Whether it can be 16 bytes in base64.
[[nodiscard]] inline bool is_key(std::string_view key) noexcept {
  if (key.size() != 24 || !key.ends_with("==")) return false;
  for (const char c : key.substr(0, 22)) {
    if (!websocketpp::is_base64(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

/// What the handshake reads of a request.
struct UpgradeFields {
  bool upgrade = false;     // `Upgrade` names websocket
  bool connection = false;  // `Connection` names upgrade
  unsigned hosts = 0;
  unsigned keys = 0;
  unsigned versions = 0;
  std::string_view key;
  std::string_view version;

  constexpr void add(std::string_view name, std::string_view value) noexcept {
    if (text::same_word(name, "Upgrade")) {
      upgrade = upgrade || text::has_token(value, "websocket");
    } else if (text::same_word(name, "Connection")) {
      connection = connection || text::has_token(value, "upgrade");
    } else if (text::same_word(name, "Host")) {
      ++hosts;
    } else if (text::same_word(name, "Sec-WebSocket-Key")) {
      ++keys;
      key = value;
    } else if (text::same_word(name, "Sec-WebSocket-Version")) {
      ++versions;
      version = value;
    }
  }
};

[[nodiscard]] inline Handshake decide(std::string_view method, unsigned http, const UpgradeFields& fields) {
  const auto refuse = [](unsigned status, std::string_view why) {
    return Handshake{Upgrade::refused, status, why, {}};
  };
  if (!fields.upgrade) return {};
  if (method != "GET") return refuse(405, "a WebSocket is opened with GET");
  if (http < 11) return refuse(400, "a WebSocket needs HTTP/1.1");
  if (!fields.connection) {
    return refuse(400, "\"Upgrade: websocket\" came without \"Connection: upgrade\": does a proxy drop it?");
  }
  if (fields.hosts != 1) return refuse(400, "there must be one Host");
  if (fields.versions != 1 || fields.version != "13") return refuse(426, "Sec-WebSocket-Version must be 13");
  if (fields.keys != 1 || !is_key(fields.key)) {
    return refuse(400, "there must be one Sec-WebSocket-Key, of 16 bytes in base64");
  }
  return {Upgrade::accepted, 101, {}, accept_key(fields.key)};
}

}  // namespace detail

/// Decides on a request. Extensions and subprotocols that it offers are not taken up.
///
/// \returns  what to answer; whether the path and everything else is acceptable is for the caller to know.
/// \throws   `std::bad_alloc`.
template <UpgradeRequest R>
[[nodiscard]] Handshake handshake(const R& request) {
  detail::UpgradeFields fields;
  for (const auto& field : request.fields) fields.add(field.name, field.value);
  return detail::decide(request.method, request.version, fields);
}

/// The whole answer, ready to be sent.
///
/// \pre  the request asks for an upgrade.
/// \throws `std::bad_alloc`.
[[nodiscard]] inline std::string response(const Handshake& handshake) {
  FANFARE_ASSERT(handshake.upgrade != Upgrade::none, "the request asks for no upgrade");
  std::string text;
  text.reserve(256);
  text += "HTTP/1.1 ";
  switch (handshake.status) {
    case 101: text += "101 Switching Protocols\r\n"; break;
    case 405: text += "405 Method Not Allowed\r\n"; break;
    case 426: text += "426 Upgrade Required\r\n"; break;
    default: text += "400 Bad Request\r\n"; break;
  }
  handshake.for_each_field([&text](std::string_view name, std::string_view value) {
    text.append(name).append(": ").append(value).append("\r\n");
  });
  if (handshake.upgrade == Upgrade::refused) {
    text += "Content-Type: text/plain\r\nContent-Length: " + std::to_string(handshake.explanation.size()) + "\r\n\r\n";
    text += handshake.explanation;
  } else {
    text += "\r\n";
  }
  return text;
}

}  // namespace websocket
FANFARE_NAMESPACE_END
