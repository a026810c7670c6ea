// The subscribers: WebSocket clients that subscribe to one channel each and hand what arrives to the ledger.
#pragma once

#include "measure.hpp"
#include "options.hpp"
#include "socket.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::load {

/// A trigger's number and the time it was sent, as they stand in the event's data: two signs that JSON does not escape
/// and that are in no other text of ours, and 16 hexadecimal digits for each.
struct Marker {
  static constexpr std::string_view sign = "@@";
  static constexpr std::size_t size = 2 + 16 + 16;

  std::uint64_t trigger = 0;
  std::uint64_t sent = 0;

  void append_to(std::string& text) const {
    text += sign;
    append_digits(text, trigger);
    append_digits(text, sent);
  }

  /// The marker at the beginning of the text, if there is one.
  [[nodiscard]] static std::optional<Marker> read(std::string_view text) {
    Marker marker;
    if (text.size() < size || !text.starts_with(sign) || !read_digits(text.substr(2, 16), marker.trigger) ||
        !read_digits(text.substr(18, 16), marker.sent)) {
      return std::nullopt;
    }
    return marker;
  }

 private:
  static void append_digits(std::string& text, std::uint64_t value) {
    for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[value >> shift & 15];
  }
  static bool read_digits(std::string_view text, std::uint64_t& value) {
    const char* const end = text.data() + text.size();
    return std::from_chars(text.data(), end, value, 16).ptr == end;
  }
};

/// N connections. Any failure of one of them ends the program: what a server does not keep up is a result.
///
/// \complexity  memory: at most `most_frame` bytes for each connection, and next to none between frames.
class Clients {
 public:
  Clients(const Options& options, const Endpoint& endpoint, Poller& poller, Ledger& ledger)
      : options_(options),
        endpoint_(endpoint),
        poller_(poller),
        ledger_(ledger),
        clients_(options.clients),
        buffer_(most_frame + 16 + (1 << 16)) {}

  [[nodiscard]] std::size_t subscribed() const { return subscribed_; }
  [[nodiscard]] bool all_subscribed() const { return subscribed_ == clients_.size(); }

  /// Begins to connect some more, never more than a listener's queue holds at once.
  ///
  /// \throws  `Failure`.
  void connect_more() {
    while (begun_ < clients_.size() && begun_ - subscribed_ < 128) {
      Client& client = clients_[begun_];
      client.descriptor = endpoint_.connect(begun_);
      poller_.add(client.descriptor, Kind::client, begun_, EPOLLOUT);
      ++begun_;
    }
  }

  /// Something happened on a connection.
  ///
  /// \throws  `Failure` if it was closed, the server says an error, or speaks another protocol.
  void on_event(std::size_t index) {
    Client& client = clients_[index];
    if (client.stage == Stage::connecting) {
      finish_connect(client.descriptor);
      poller_.change(client.descriptor, Kind::client, index, EPOLLIN);
      send(client, "GET /app/" + options_.key +
                       "?protocol=7&client=fanfare-load&version=1.0 HTTP/1.1\r\nHost: " + options_.authority() +
                       "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
      client.stage = Stage::upgrading;
      return;
    }
    const std::size_t kept = client.partial.size();
    std::memcpy(buffer_.data(), client.partial.data(), kept);
    const ssize_t got = recv(client.descriptor.get(), buffer_.data() + kept, buffer_.size() - kept, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0) fail_with_errno("a client cannot read");
    if (got == 0) throw Failure("the server closed a connection");
    received_at_ = now();
    const std::size_t size = kept + static_cast<std::size_t>(got);
    const std::size_t used = consume(index, std::string_view(buffer_.data(), size));
    client.partial.assign(buffer_.data() + used, size - used);
    if (client.partial.empty()) client.partial.shrink_to_fit();
  }

  /// Sends a `pusher:ping` from those clients whose turn it is: each once in `--keepalive` seconds, spread evenly.
  void keep_alive() {
    if (options_.keepalive <= 0) return;
    const std::uint64_t time = now();
    const std::uint64_t interval = nanoseconds(options_.keepalive) / clients_.size() + 1;
    if (next_ping_ == 0) next_ping_ = time + interval;
    for (; next_ping_ <= time; next_ping_ += interval) {
      send_text(clients_[next_pinged_], R"({"event":"pusher:ping","data":{}})");
      next_pinged_ = (next_pinged_ + 1) % clients_.size();
    }
  }

 private:
  static constexpr std::size_t most_frame = 256 << 10;
  enum class Stage : std::uint8_t { connecting, upgrading, opening, subscribing, subscribed };
  enum Opcode : unsigned char { continuation = 0, text = 1, close = 8, ping = 9, pong = 10 };

  struct Client {
    Descriptor descriptor;
    Stage stage = Stage::connecting;
    bool fragmented = false;
    std::string partial;    // the beginning of a frame, or of the answer to the handshake
    std::string fragments;  // the beginning of a message
  };

  /// What this client sends is far smaller than a socket's buffer, so a socket that does not take it belongs to a
  /// server that does not read.
  static void send(Client& client, std::string_view bytes) {
    const ssize_t sent = ::send(client.descriptor.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) fail_with_errno("a client cannot write");
    if (sent != static_cast<ssize_t>(bytes.size())) throw Failure("the server does not read what clients send");
  }

  static void send_text(Client& client, std::string_view message) { send_frame(client, text, message); }

  /// The mask is a constant: it protects proxies from browsers' pages, and here are neither.
  static void send_frame(Client& client, Opcode opcode, std::string_view payload) {
    constexpr std::array<char, 4> mask{0x37, 0x7a, 0x21, 0x3d};
    std::string frame(1, static_cast<char>(0x80 | opcode));
    if (payload.size() < 126) {
      frame += static_cast<char>(0x80 | payload.size());
    } else {
      frame += static_cast<char>(0x80 | 126);
      frame += static_cast<char>(payload.size() >> 8 & 0xff);
      frame += static_cast<char>(payload.size() & 0xff);
    }
    frame.append(mask.data(), mask.size());
    for (std::size_t i = 0; i < payload.size(); ++i) frame += static_cast<char>(payload[i] ^ mask[i % 4]);
    send(client, frame);
  }

  /// Takes what is complete. Returns how many bytes that was.
  std::size_t consume(std::size_t index, std::string_view bytes) {
    Client& client = clients_[index];
    std::size_t used = 0;
    if (client.stage == Stage::upgrading) {
      const std::size_t end = bytes.find("\r\n\r\n");
      if (end == bytes.npos && bytes.size() < 16'384) return 0;
      const std::string_view head = bytes.substr(0, end);
      if (end == bytes.npos || !head.starts_with("HTTP/1.1 101") ||
          head.find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == head.npos) {  // RFC 6455's own example of a key
        throw Failure("the server refuses the handshake: " + std::string(bytes.substr(0, 500)));
      }
      client.stage = Stage::opening;
      used = end + 4;
    }
    for (;;) {
      const std::size_t size = take_frame(client, index, bytes.substr(used));
      if (size == 0) return used;
      used += size;
    }
  }

  /// Takes one frame. Returns its size; 0 if it is not complete.
  std::size_t take_frame(Client& client, std::size_t index, std::string_view bytes) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    if (bytes.size() < 2) return 0;
    std::size_t head = 2;
    std::uint64_t size = byte(1);  // with the bit that says that it is masked, which no server may set
    if (size == 126 || size == 127) {
      head += size == 126 ? 2 : 8;
      if (bytes.size() < head) return 0;
      size = 0;
      for (std::size_t i = 2; i < head; ++i) size = size << 8 | byte(i);
    } else if (size > 127) {
      throw Failure("the server sent a masked frame");
    }
    if (size > most_frame) throw Failure("the server sent a frame of " + std::to_string(size) + " bytes");
    if (bytes.size() < head + size) return 0;
    on_frame(client, index, byte(0), bytes.substr(head, static_cast<std::size_t>(size)));
    return head + static_cast<std::size_t>(size);
  }

  void on_frame(Client& client, std::size_t index, unsigned first, std::string_view payload) {
    const bool last = (first & 0x80) != 0;
    const unsigned opcode = first & 0x0f;
    if ((first & 0x70) != 0) throw Failure("the server uses an extension that was not agreed on");
    if (opcode >= close && payload.size() > 125) throw Failure("the server sent a control frame that is too long");
    if (opcode == text && last && !client.fragmented) {
      on_text(client, index, payload);
    } else if (opcode == ping) {
      send_frame(client, pong, payload);
    } else if (opcode == close) {
      const std::string_view reason = payload.substr(std::min<std::size_t>(2, payload.size()));
      const unsigned code = payload.size() < 2 ? 1005
                                               : static_cast<unsigned>(static_cast<unsigned char>(payload[0])) << 8 |
                                                     static_cast<unsigned char>(payload[1]);
      throw Failure("the server closed a connection with code " + std::to_string(code) + " " + std::string(reason));
    } else if (opcode == (client.fragmented ? continuation : text)) {
      client.fragmented = !last;
      client.fragments += payload;
      if (client.fragments.size() > most_frame) throw Failure("the server sent a message that is too large");
      if (last) on_text(client, index, std::exchange(client.fragments, {}));
    } else if (opcode != pong) {
      throw Failure("the server sent a frame with opcode " + std::to_string(opcode));
    }
  }

  void on_text(Client& client, std::size_t index, std::string_view message) {
    // Servers write their frames alike, so the marker is where it was the last time; unless it is not.
    std::optional<Marker> marker = Marker::read(message.substr(std::min(marker_at_, message.size())));
    if (!marker) {
      if (const std::size_t found = message.find(Marker::sign); found != message.npos) {
        marker = Marker::read(message.substr(found));
        if (marker) marker_at_ = found;
      }
    }
    if (marker) return ledger_.arrive(index, marker->trigger, received_at_ - std::min(received_at_, marker->sent));
    const auto says = [&](std::string_view words) { return message.find(words) != message.npos; };
    if (says("pusher:connection_established")) {
      if (client.stage != Stage::opening) throw Failure("the server opened a connection twice");
      send_text(client, R"({"event":"pusher:subscribe","data":{"channel":")" +
                            options_.channel(index % options_.channels) + R"("}})");
      client.stage = Stage::subscribing;
    } else if (says("pusher_internal:subscription_succeeded")) {
      if (client.stage != Stage::subscribing) throw Failure("the server subscribed a client twice");
      client.stage = Stage::subscribed;
      ++subscribed_;
    } else if (says("\"pusher:ping\"")) {
      send_text(client, R"({"event":"pusher:pong","data":{}})");
    } else if (says("pusher:error") || says("pusher:subscription_error")) {
      throw Failure("the server says " + std::string(message.substr(0, 500)));
    }
  }

  const Options& options_;
  const Endpoint& endpoint_;
  Poller& poller_;
  Ledger& ledger_;
  std::vector<Client> clients_;
  std::vector<char> buffer_;
  std::size_t begun_ = 0;
  std::size_t subscribed_ = 0;
  std::size_t marker_at_ = 0;
  std::uint64_t received_at_ = 0;
  std::uint64_t next_ping_ = 0;
  std::size_t next_pinged_ = 0;
};

}  // namespace fanfare::load
