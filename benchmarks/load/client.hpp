// The subscribers: WebSocket clients that subscribe to their channels and hand what arrives to the ledger.
#pragma once

#include <fanfare/pusher/auth.hpp>

#include "measure.hpp"
#include "options.hpp"
#include "payload.hpp"
#include "plan.hpp"
#include "socket.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::load {

/// N connections. Any failure of one of them ends the program: what a server does not keep up is a result.
///
/// \complexity  memory: at most `most_frame` bytes of input and `most_unsent` of output for each connection, and next
///              to none in between.
class Clients {
 public:
  Clients(const Options& options, const Plan& plan, const Endpoint& endpoint, Poller& poller, Ledger& ledger)
      : options_(options),
        plan_(plan),
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
  void on_event(std::size_t index, std::uint32_t events) {
    Client& client = clients_[index];
    if (client.stage == Stage::connecting) {
      finish_connect(client.descriptor);
      poller_.change(client.descriptor, Kind::client, index, EPOLLIN);
      client.out = "GET /app/" + options_.key +
                   "?protocol=7&client=fanfare-load&version=1.0 HTTP/1.1\r\nHost: " + options_.authority() +
                   "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
      flush(index);
      client.stage = Stage::upgrading;
      return;
    }
    if ((events & EPOLLOUT) != 0) flush(index);
    if ((events & ~std::uint32_t{EPOLLOUT}) == 0) return;
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

  /// Makes a message of the client ready to be sent by `flush`.
  void queue(std::size_t index, std::string_view message) { append_frame(clients_[index].out, text, message); }

  /// Sends what is ready; what the socket does not take follows when it does.
  ///
  /// \throws  `Failure` if the server closed the connection or does not read from it.
  void flush(std::size_t index) {
    Client& client = clients_[index];
    if (client.out.empty()) return;
    const ssize_t sent = send(client.descriptor.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) fail_with_errno("a client cannot write");
    if (sent > 0) client.out.erase(0, static_cast<std::size_t>(sent));
    if (client.out.size() > most_unsent) throw Failure("the server does not read what clients send");
    if (client.out.empty()) std::string().swap(client.out);
    const bool is_blocked = !client.out.empty();
    if (is_blocked == client.blocked) return;
    client.blocked = is_blocked;
    poller_.change(client.descriptor, Kind::client, index, is_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }

  /// Sends a `pusher:ping` from those clients whose turn it is: each once in `--keepalive` seconds, spread evenly.
  void keep_alive() {
    if (options_.keepalive <= 0) return;
    const std::uint64_t time = now();
    const std::uint64_t interval = nanoseconds(options_.keepalive) / clients_.size() + 1;
    if (next_ping_ == 0) next_ping_ = time + interval;
    for (; next_ping_ <= time; next_ping_ += interval) {
      send_text(next_pinged_, R"({"event":"pusher:ping","data":{}})");
      next_pinged_ = (next_pinged_ + 1) % clients_.size();
    }
  }

 private:
  static constexpr std::size_t most_frame = 256 << 10;
  static constexpr std::size_t most_unsent = 64 << 20;
  enum class Stage : std::uint8_t { connecting, upgrading, opening, subscribing, subscribed };
  enum Opcode : unsigned char { continuation = 0, text = 1, close = 8, ping = 9, pong = 10 };

  struct Client {
    Descriptor descriptor;
    Stage stage = Stage::connecting;
    bool fragmented = false;
    bool blocked = false;       // the socket does not take more
    std::uint16_t awaited = 0;  // subscriptions that the server has not confirmed
    std::string out;            // what the socket has not taken
    std::string partial;        // the beginning of a frame, or of the answer to the handshake
    std::string fragments;      // the beginning of a message
  };

  void send_text(std::size_t index, std::string_view message) {
    queue(index, message);
    flush(index);
  }

  /// The mask is a constant: it protects proxies from browsers' pages, and here are neither.
  static void append_frame(std::string& out, Opcode opcode, std::string_view payload) {
    constexpr std::array<char, 4> mask{0x37, 0x7a, 0x21, 0x3d};
    const std::size_t size = payload.size();
    const std::size_t length_bytes = size < 126 ? 0 : size < 65'536 ? 2 : 8;
    out += static_cast<char>(0x80 | opcode);
    out += static_cast<char>(0x80 | (length_bytes == 0 ? size : length_bytes == 2 ? 126 : 127));
    for (std::size_t i = length_bytes; i > 0; --i) out += static_cast<char>(size >> 8 * (i - 1) & 0xff);
    out.append(mask.data(), mask.size());
    for (std::size_t i = 0; i < size; ++i) out += static_cast<char>(payload[i] ^ mask[i % 4]);
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
      append_frame(client.out, pong, payload);
      flush(index);
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
    std::optional<std::uint64_t> trigger = Marker::read(message.substr(std::min(marker_at_, message.size())));
    if (!trigger) {
      if (const std::size_t found = message.find(Marker::sign); found != message.npos) {
        trigger = Marker::read(message.substr(found));
        if (trigger) marker_at_ = found;
      }
    }
    if (trigger) return ledger_.arrive(index, *trigger, received_at_);
    const auto says = [&](std::string_view words) { return message.find(words) != message.npos; };
    if (says("pusher:connection_established")) {
      if (client.stage != Stage::opening) throw Failure("the server opened a connection twice");
      client.stage = Stage::subscribing;
      subscribe(index, message);
    } else if (says("pusher_internal:subscription_succeeded")) {
      if (client.awaited == 0) throw Failure("the server subscribed a client twice");
      if (--client.awaited > 0) return;
      client.stage = Stage::subscribed;
      ++subscribed_;
    } else if (says("\"pusher:ping\"")) {
      send_text(index, R"({"event":"pusher:pong","data":{}})");
    } else if (says("pusher:error") || says("pusher:subscription_error")) {
      throw Failure("the server says " + std::string(message.substr(0, 500)));
    }
  }

  /// Asks for all channels at once, as pusher-js does.
  void subscribe(std::size_t index, std::string_view established) {
    for (std::size_t slot = 0; slot < plan_.slots(); ++slot) {
      const std::size_t channel = plan_.channel(index, slot);
      const std::string name = plan_.name(channel);
      std::string message = R"({"event":"pusher:subscribe","data":{)";
      if (plan_.is_private(channel)) {
        const std::string signed_text = std::string(socket_id(established)) + ':' + name;
        const std::string signature = pusher::hmac_sha256_hex(options_.secret, signed_text);
        if (signature.empty()) throw Failure("libcrypto cannot sign");
        message += R"("auth":")" + options_.key + ':' + signature + R"(",)";
      }
      queue(index, message + R"("channel":")" + name + R"("}})");
    }
    clients_[index].awaited = static_cast<std::uint16_t>(plan_.slots());
    flush(index);
  }

  static std::string_view socket_id(std::string_view established) {
    const std::string_view field = "socket_id";
    constexpr std::string_view signs = "0123456789.";
    const std::size_t at = established.find(field);
    const std::size_t begin = established.find_first_of(signs, std::min(at, established.size()));
    if (begin == established.npos) throw Failure("the server names no socket_id");
    return established.substr(begin, established.find_first_not_of(signs, begin) - begin);
  }

  const Options& options_;
  const Plan& plan_;
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
