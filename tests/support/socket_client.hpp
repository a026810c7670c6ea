// A client on a TCP socket that blocks, for HTTP and WebSockets; while it waits, it lets a polled server run.
#pragma once

#include "support/websocket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace fanfare::test {

// An answer to an HTTP request; the names of fields in small letters.
struct HttpAnswer {
  unsigned status = 0;
  std::map<std::string, std::string> fields;
  std::string body;

  std::string field(const std::string& name) const {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string() : found->second;
  }
};

// A frame that a server sent.
struct ServerFrame {
  unsigned opcode = 0;  // 1 text, 8 close, 9 ping, 10 pong
  std::string payload;  // without the code of a close
  unsigned code = 0;    // of a close

  friend bool operator==(const ServerFrame&, const ServerFrame&) = default;
  friend void PrintTo(const ServerFrame& frame, std::ostream* out) {
    *out << "opcode " << frame.opcode << ", code " << frame.code << ": " << frame.payload.substr(0, 200);
  }
};

// What stands between a client and its socket: TLS, for instance. What either function returns is to be sent.
class SocketLayer {
 public:
  virtual ~SocketLayer() = default;
  virtual std::string seal(std::string_view text) = 0;
  // Appends the text in what came.
  virtual std::string open(std::string_view bytes, std::string& text) = 0;
};

class SocketClient {
 public:
  enum class End { none, eof, reset };
  static constexpr std::chrono::seconds patience{20};

  // Connects to HOST:PORT. `idle` is called again and again while it waits.
  explicit SocketClient(const std::string& endpoint, std::function<void()> idle = {}, int receive_buffer = 0)
      : idle_(std::move(idle)) {
    const std::size_t colon = endpoint.rfind(':');
    const std::string host = endpoint.substr(0, colon);
    const auto port = static_cast<std::uint16_t>(std::stoul(endpoint.substr(colon + 1)));
    const bool v6 = host.front() == '[';
    descriptor_ = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer != 0) {
      ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    const int on = 1;
    ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int failed = 0;
    if (v6) {
      sockaddr_in6 address{};
      address.sin6_family = AF_INET6;
      address.sin6_port = htons(port);
      ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &address.sin6_addr);
      failed = ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    } else {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(port);
      ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
      failed = ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
    if (failed != 0) {
      const int error = errno;
      close();
      throw std::system_error(error, std::system_category(), "connect");
    }
  }
  SocketClient(SocketClient&& other) noexcept
      : idle_(std::move(other.idle_)),
        layer_(std::move(other.layer_)),
        descriptor_(std::exchange(other.descriptor_, -1)),
        input_(std::move(other.input_)),
        end_(other.end_) {}
  SocketClient& operator=(SocketClient&&) = delete;
  ~SocketClient() { close(); }

  // From here on somebody else lets the server run.
  void wait_alone() { idle_ = {}; }
  // Before the first byte.
  void put_on(std::unique_ptr<SocketLayer> layer) { layer_ = std::move(layer); }

  // ---- bytes

  // Stops early where the server has gone.
  void send(std::string_view text) {
    if (layer_ != nullptr) return send_bytes(layer_->seal(text));
    send_bytes(text);
  }
  // Reads what is there, or the first that comes. False at the end, and when nothing comes for `time`.
  bool receive_some(std::chrono::milliseconds time = patience, std::size_t most = 65536) {
    const auto until = std::chrono::steady_clock::now() + time;
    std::string part(most, '\0');
    while (end_ == End::none) {
      const ssize_t count = ::recv(descriptor_, part.data(), part.size(), MSG_DONTWAIT);
      if (count > 0) {
        if (take({part.data(), static_cast<std::size_t>(count)})) return true;
      } else if (count == 0) {
        end_ = End::eof;
      } else if (errno != EAGAIN && errno != EINTR) {
        end_ = End::reset;
      } else if (std::chrono::steady_clock::now() >= until) {
        return false;
      } else {
        wait(POLLIN);
      }
    }
    return false;
  }
  // Everything up to the server's end, or until nothing more comes.
  std::string receive_rest(std::chrono::milliseconds time = patience) {
    while (receive_some(time)) {
    }
    return std::exchange(input_, {});
  }
  // How the server has ended the connection; `none` if it does not within `time`. What comes before stays readable.
  End end(std::chrono::milliseconds time = patience) {
    while (receive_some(time)) {
    }
    return end_;
  }
  void shutdown_write() { ::shutdown(descriptor_, SHUT_WR); }
  void close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }
  // Ends with an RST.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  const std::string& unread() const { return input_; }

  // ---- HTTP

  // Nothing where the server ends first.
  std::optional<HttpAnswer> receive_answer(bool to_head = false, std::chrono::milliseconds time = patience) {
    std::size_t header_end = 0;
    while ((header_end = input_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive_some(time)) return std::nullopt;
    }
    HttpAnswer answer;
    std::string_view header = std::string_view(input_).substr(0, header_end + 2);
    std::from_chars(header.data() + 9, header.data() + 12, answer.status);
    header.remove_prefix(header.find("\r\n") + 2);
    while (!header.empty()) {
      const std::string_view line = header.substr(0, header.find("\r\n"));
      header.remove_prefix(line.size() + 2);
      std::string name(line.substr(0, line.find(':')));
      std::transform(name.begin(), name.end(), name.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
      answer.fields[name] = std::string(line.substr(std::min(line.find(": ") + 2, line.size())));
    }
    std::size_t size = 0;
    const std::string length = answer.field("content-length");
    std::from_chars(length.data(), length.data() + length.size(), size);
    if (to_head || answer.status < 200) size = 0;
    const std::size_t whole = header_end + 4 + size;
    while (input_.size() < whole) {
      if (!receive_some(time)) return std::nullopt;
    }
    answer.body = input_.substr(header_end + 4, size);
    input_.erase(0, whole);
    return answer;
  }

  // ---- WebSocket

  static std::string upgrade_request(std::string_view target, std::string_view fields = {}) {
    std::string request = "GET ";
    return request.append(target)
        .append(" HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n")
        .append("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
        .append(fields)
        .append("\r\n");
  }
  // Whether it has become a WebSocket.
  bool upgrade(std::string_view target) {
    send(upgrade_request(target));
    return upgraded();
  }
  bool upgraded() {
    const auto answer = receive_answer();
    return answer && answer->status == 101 && answer->field("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
  }
  void send_text(std::string_view text) { send(text_frame(text)); }

  // The next frame; nothing at the end, if nothing comes, and where what comes is no frame of a server.
  std::optional<ServerFrame> receive_frame(std::chrono::milliseconds time = patience) {
    while (true) {
      if (std::optional<ServerFrame> frame = decode()) return frame;
      if (malformed_ || !receive_some(time)) return std::nullopt;
    }
  }
  // The next text; empty where something else comes.
  std::string receive_text(std::chrono::milliseconds time = patience) {
    const std::optional<ServerFrame> frame = receive_frame(time);
    return frame && frame->opcode == 1 ? frame->payload : std::string();
  }
  bool malformed() const { return malformed_; }

  // Connects to an application, and says as whom. Empty where it is not let in.
  std::string establish(std::string_view target) {
    if (!upgrade(target)) return {};
    const std::string text = receive_text();
    const std::size_t begin = text.find(R"(socket_id\":\")");
    if (text.find("connection_established") == std::string::npos || begin == std::string::npos) return {};
    return text.substr(begin + 14, text.find('\\', begin + 14) - begin - 14);
  }
  // Whether it is in the channel then.
  bool subscribe(std::string_view channel) {
    send_text(std::string(R"({"event":"pusher:subscribe","data":{"channel":")").append(channel).append("\"}}"));
    return receive_text().find("subscription_succeeded") != std::string::npos;
  }

 private:
  void wait(short events) {
    if (idle_ != nullptr) return idle_();
    pollfd wanted{descriptor_, events, 0};
    ::poll(&wanted, 1, 20);
  }
  void send_bytes(std::string_view bytes) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!bytes.empty() && std::chrono::steady_clock::now() < until) {
      const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN || errno == EINTR) {
        wait(POLLOUT);
      } else {
        return;
      }
    }
  }
  // Whether there was text in it.
  bool take(std::string_view bytes) {
    const std::size_t before = input_.size();
    if (layer_ == nullptr) {
      input_.append(bytes);
    } else {
      send_bytes(layer_->open(bytes, input_));
    }
    return input_.size() != before;
  }

  std::optional<ServerFrame> decode() {
    const std::string_view bytes = input_;
    const auto byte = [&](std::size_t i) { return std::size_t{static_cast<unsigned char>(bytes[i])}; };
    if (bytes.size() < 2) return std::nullopt;
    const std::size_t opcode = byte(0) & 0xfU;
    malformed_ = malformed_ || (byte(0) & 0xf0U) != 0x80 || (byte(1) & 0x80U) != 0 ||
                 (opcode != 1 && opcode != 8 && opcode != 9 && opcode != 10);
    if (malformed_) return std::nullopt;
    std::size_t header = 2;
    std::size_t size = byte(1);
    if (size >= 126) {
      const std::size_t digits = size == 126 ? 2 : 8;
      header += digits;
      if (bytes.size() < header) return std::nullopt;
      size = 0;
      for (std::size_t i = 0; i < digits; ++i) size = size << 8U | byte(2 + i);
    }
    if (bytes.size() - header < size) return std::nullopt;
    ServerFrame frame{static_cast<unsigned>(opcode), std::string(bytes.substr(header, size)), 0};
    if (opcode == 8 && size >= 2) {
      frame.code = static_cast<unsigned>(byte(header) << 8U | byte(header + 1));
      frame.payload.erase(0, 2);
    }
    input_.erase(0, header + size);
    return frame;
  }

  std::function<void()> idle_;
  std::unique_ptr<SocketLayer> layer_;
  int descriptor_ = -1;
  std::string input_;
  End end_ = End::none;
  bool malformed_ = false;
};

}  // namespace fanfare::test
