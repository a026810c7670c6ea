// The floor: the system calls without which no server delivers an event, and as little as possible beside them. It
// takes every client for a subscriber of the one channel that there is, every request for events, and checks nothing.
// What another server costs more than this one is its own; what this one costs is the kernel's.
//
// usage: floor-peer PORT
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

struct Connection {
  int descriptor = -1;
  bool websocket = false;
  std::string input{};    // what is no whole message yet
  std::string backlog{};  // what the socket has not taken
};

std::vector<std::unique_ptr<Connection>> connections;  // by their descriptors
std::vector<Connection*> subscribers;

void send_all(Connection& connection, std::string_view bytes) {
  if (connection.backlog.empty()) {
    const ssize_t sent = ::send(connection.descriptor, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    bytes.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
  }
  connection.backlog.append(bytes);
}

void append_frame(std::string& to, std::string_view text) {
  to += '\x81';
  if (text.size() < 126) {
    to += static_cast<char>(text.size());
  } else {
    const int bytes = text.size() < 65'536 ? 2 : 8;
    to += static_cast<char>(bytes == 2 ? 126 : 127);
    for (int i = bytes - 1; i >= 0; --i) to += static_cast<char>(std::uint64_t{text.size()} >> 8 * i & 0xff);
  }
  to += text;
}

/// The text of a member as it stands in the JSON, with where it ends; an end of `npos` if there is none.
std::string_view member(std::string_view json, std::string_view before, std::size_t& end) {
  std::size_t begin = json.find(before, end);
  end = json.npos;
  if (begin == json.npos) return {};
  begin += before.size();
  std::size_t at = begin;
  while (at < json.size() && json[at] != '"') at += json[at] == '\\' ? 2 : 1;
  if (at >= json.size()) return {};
  end = at;
  return json.substr(begin, at - begin);
}

void upgrade(Connection& connection, std::string_view head) {
  constexpr std::string_view field = "Sec-WebSocket-Key: ";
  const std::string key =
      std::string(head.substr(head.find(field) + field.size(), 24)) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[SHA_DIGEST_LENGTH];
  ::SHA1(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest);
  unsigned char accept[32];
  ::EVP_EncodeBlock(accept, digest, sizeof digest);
  std::string answer =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: ";
  answer.append(reinterpret_cast<const char*>(accept), 28).append("\r\n\r\n");
  append_frame(answer, R"({"event":"pusher:connection_established","data":"{\"socket_id\":\"1.)" +
                           std::to_string(connection.descriptor) + R"(\",\"activity_timeout\":120}"})");
  connection.websocket = true;
  send_all(connection, answer);
}

void publish(std::string_view body) {
  std::string frames;
  for (std::size_t end = 0;;) {
    std::size_t at = end;
    const std::string_view name = member(body, R"("name":")", at);
    const std::string_view data = at == body.npos ? std::string_view() : member(body, R"("data":")", at);
    if (at == body.npos) break;
    std::size_t within = end;
    std::string_view channel = member(body, R"("channel":")", within);
    if (within == body.npos) channel = member(body, R"("channels":[")", within = end);
    std::string text = R"({"event":")";
    text.append(name).append(R"(","channel":")").append(channel).append(R"(","data":")").append(data).append(R"("})");
    append_frame(frames, text);
    end = at;
  }
  for (Connection* const subscriber : subscribers) send_all(*subscriber, frames);
}

/// \returns how much of the input was a whole request; 0: none yet.
std::size_t read_request(Connection& connection) {
  const std::string_view input = connection.input;
  const std::size_t head = input.find("\r\n\r\n");
  if (head == input.npos) return 0;
  if (input.starts_with("GET")) {
    upgrade(connection, input.substr(0, head));
    return head + 4;
  }
  constexpr std::string_view field = "Content-Length: ";
  const std::size_t length = std::strtoul(input.data() + input.find(field) + field.size(), nullptr, 10);
  if (input.size() < head + 4 + length) return 0;
  publish(input.substr(head + 4, length));
  send_all(connection, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
  return head + 4 + length;
}

/// \returns how much of the input was a whole frame; 0: none yet.
std::size_t read_frame(Connection& connection) {
  std::string& input = connection.input;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(input[i]); };
  if (input.size() < 2) return 0;
  std::size_t size = byte(1) & 0x7fU;
  std::size_t begin = 6;
  if (size == 126) {
    if (input.size() < 8) return 0;
    size = byte(2) * 256U + byte(3);
    begin = 8;
  }
  if (input.size() < begin + size) return 0;
  for (std::size_t i = 0; i < size; ++i)
    input[begin + i] = static_cast<char>(byte(begin + i) ^ byte(begin - 4 + i % 4));
  const std::string_view text = std::string_view(input).substr(begin, size);
  std::string answer;
  if (text.find("pusher:subscribe") != text.npos) {
    std::size_t end = 0;
    const std::string_view channel = member(text, R"("channel":")", end);
    append_frame(answer, R"({"event":"pusher_internal:subscription_succeeded","channel":")" + std::string(channel) +
                             R"(","data":"{}"})");
    subscribers.push_back(&connection);
  } else if (text.find("pusher:ping") != text.npos) {
    append_frame(answer, R"({"event":"pusher:pong","data":"{}"})");
  }
  if (!answer.empty()) send_all(connection, answer);
  return begin + size;
}

void end(Connection& connection) {
  std::erase(subscribers, &connection);
  ::close(connection.descriptor);
  connections[static_cast<std::size_t>(connection.descriptor)].reset();
}

void read(Connection& connection) {
  static std::vector<char> buffer(1 << 16);
  const ssize_t count = ::recv(connection.descriptor, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count == 0 || (count < 0 && errno != EAGAIN)) return end(connection);
  connection.input.append(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  while (const std::size_t used = connection.websocket ? read_frame(connection) : read_request(connection)) {
    connection.input.erase(0, used);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int port = argc == 2 ? std::atoi(argv[1]) : 0;
  if (port < 1 || port > 65'535) {
    std::fputs("usage: floor-peer PORT\n", stderr);
    return 2;
  }
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const int on = 1;
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // those that it accepts have it too
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 1024) != 0) {
    std::perror("floor-peer");
    return 1;
  }
  const int epoll = ::epoll_create1(0);
  const auto watch = [&](int descriptor, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = descriptor;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
  };
  watch(listener, EPOLLIN);
  std::vector<epoll_event> events(256);
  for (;;) {
    const int ready = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < ready; ++i) {
      const int descriptor = events[static_cast<std::size_t>(i)].data.fd;
      if (descriptor == listener) {
        for (int fresh; (fresh = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
          if (connections.size() <= static_cast<std::size_t>(fresh))
            connections.resize(static_cast<std::size_t>(fresh) + 1);
          connections[static_cast<std::size_t>(fresh)] = std::make_unique<Connection>(Connection{fresh});
          watch(fresh, EPOLLIN | EPOLLOUT | EPOLLET);
        }
        continue;
      }
      Connection* const connection = connections[static_cast<std::size_t>(descriptor)].get();
      if (connection == nullptr) continue;
      if (!connection->backlog.empty()) {
        const std::string waiting = std::exchange(connection->backlog, {});
        send_all(*connection, waiting);
      }
      if ((events[static_cast<std::size_t>(i)].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read(*connection);
    }
  }
}
