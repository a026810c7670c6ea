// The triggers: signed requests to the HTTP API, over connections that are kept if the server keeps them.
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
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace fanfare::load {

/// An answer to a request.
struct Answer {
  int status = 0;
  bool keeps_connection = true;
  std::size_t size = 0;  ///< of all of it

  /// The answer at the beginning of `bytes`; nothing as long as it is not complete.
  ///
  /// \throws  `Failure` if it is not HTTP.
  [[nodiscard]] static std::optional<Answer> read(std::string_view bytes) {
    const std::size_t end = bytes.find("\r\n\r\n");
    if (end == bytes.npos) return std::nullopt;
    std::string head(bytes.substr(0, end + 2));
    for (char& c : head) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    Answer answer;
    if (head.size() < 12 || !head.starts_with("http/1.") ||
        std::from_chars(head.data() + 9, head.data() + 12, answer.status).ptr != head.data() + 12) {
      throw Failure("the API does not speak HTTP/1.1: " + head.substr(0, 100));
    }
    answer.keeps_connection = head.find("\r\nconnection: close") == head.npos;
    answer.size = end + 4;
    const std::string_view length_field = "\r\ncontent-length:";
    if (head.find("\r\ntransfer-encoding: chunked") != head.npos) {
      return read_chunks(bytes, answer);
    } else if (const std::size_t at = head.find(length_field); at != head.npos) {
      std::string_view value = std::string_view(head).substr(at + length_field.size());
      value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
      std::size_t length = 0;
      std::from_chars(value.data(), value.data() + value.size(), length);
      if (length > most_answer) throw Failure("the API's answer is too large");
      answer.size += length;
    }
    return bytes.size() < answer.size ? std::nullopt : std::optional(answer);
  }

  static constexpr std::size_t most_answer = 256 << 10;

 private:
  static std::optional<Answer> read_chunks(std::string_view bytes, Answer answer) {
    for (;;) {
      const std::size_t line = bytes.find("\r\n", answer.size);
      if (line == bytes.npos) return std::nullopt;
      std::size_t length = 0;
      const auto [rest, error] = std::from_chars(bytes.data() + answer.size, bytes.data() + line, length, 16);
      if (error != std::errc() || length > most_answer) throw Failure("the API sent a wrong chunk");
      answer.size = line + 2 + length + 2;
      if (bytes.size() < answer.size) return std::nullopt;
      if (length == 0) return answer;
    }
  }
};

/// The triggers' side of the load.
///
/// \complexity  memory: 16 bytes for each trigger that waits, and the requests that a socket has not taken.
class Api {
 public:
  Api(const Options& options, const Plan& plan, const Endpoint& endpoint, Poller& poller, Ledger& ledger)
      : options_(options),
        plan_(plan),
        endpoint_(endpoint),
        poller_(poller),
        ledger_(ledger),
        payload_(options.bytes),
        connections_(options.connections),
        buffer_(1 << 16) {}

  /// Takes new connections at the next request. Between measurements servers close those that are idle.
  void renew() {
    for (Connection& connection : connections_) connection.descriptor = {};
  }

  /// Triggers so many events, one channel after the other.
  ///
  /// \param due  when they were to be sent, if not now.
  /// \throws     `Failure`.
  void trigger(std::size_t count, std::optional<std::uint64_t> due) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t trigger = ledger_.issue();
      // A channel's events go over one connection: over several of them their order would not be defined.
      connections_[plan_.target(trigger).channel % connections_.size()].waiting.push_back({trigger, due});
    }
    unanswered_ += count;
    for (std::size_t i = 0; i < connections_.size(); ++i) write(i);
  }

  /// Triggers whose request has no answer yet.
  [[nodiscard]] std::uint64_t unanswered() const { return unanswered_; }
  /// Whether requests follow each other without waiting for answers: if that is wanted, and from the first answer on
  /// that did not end its connection.
  [[nodiscard]] bool pipelines() const { return options_.pipeline && keeps_connections_; }
  /// Triggers that were answered with another status than 200.
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

  /// Something happened on a connection.
  ///
  /// \throws  `Failure`.
  void on_event(std::size_t index, std::uint32_t events) {
    Connection& connection = connections_[index];
    if (!connection.connected) {
      finish_connect(connection.descriptor);
      connection.connected = true;
      poller_.change(connection.descriptor, Kind::api, index, EPOLLIN);
    } else if ((events & ~std::uint32_t{EPOLLOUT}) != 0) {
      read(connection);
    }
    write(index);
  }

 private:
  struct Waiting {
    std::uint64_t trigger;
    std::optional<std::uint64_t> due;
  };
  struct Connection {
    Descriptor descriptor;
    bool connected = false;
    std::deque<Waiting> waiting;
    std::deque<std::size_t> asked;  // how many triggers each request has that is not answered
    std::string out;                // requests that the socket has not taken
    std::string in;
  };

  /// Writes what may be written: the next request, if the one before is answered.
  void write(std::size_t index) {
    Connection& connection = connections_[index];
    if (connection.waiting.empty() && connection.out.empty()) return;
    if (!connection.descriptor.is_open()) {
      connection.descriptor = endpoint_.connect(0);
      connection.connected = false;
      connection.in.clear();
      connection.out.clear();
      poller_.add(connection.descriptor, Kind::api, index, EPOLLOUT);
    }
    if (!connection.connected) return;
    const bool was_blocked = !connection.out.empty();
    while (!connection.waiting.empty() && connection.out.size() < (1 << 16) &&
           (pipelines() || connection.asked.empty())) {
      append_request(connection);
    }
    if (connection.out.empty()) return;
    const ssize_t sent = send(connection.descriptor.get(), connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) fail_with_errno("a request cannot be written");
    if (sent > 0) connection.out.erase(0, static_cast<std::size_t>(sent));
    const bool is_blocked = !connection.out.empty();
    if (is_blocked != was_blocked) {
      poller_.change(connection.descriptor, Kind::api, index, is_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
  }

  void append_request(Connection& connection) {
    std::string body;
    std::size_t count = 0;
    if (options_.via == Via::http) {
      body = R"({"name":"load",)";
      append_event(connection, body, R"("channels":[")", "\"]");
      count = 1;
    } else {
      body = R"({"batch":[)";
      for (; count < options_.batch && !connection.waiting.empty(); ++count) {
        body += count == 0 ? R"({"name":"load",)" : R"(,{"name":"load",)";
        append_event(connection, body, R"("channel":")", "\"");
      }
      body += "]}";
    }
    connection.asked.push_back(count);
    const std::string path = "/apps/" + options_.id + (options_.via == Via::http ? "/events" : "/batch_events");
    const std::string md5 = pusher::md5_hex(body);
    const std::string query = "auth_key=" + options_.key + "&auth_timestamp=" + std::to_string(std::time(nullptr)) +
                              "&auth_version=1.0&body_md5=" + md5;
    const std::string signature = pusher::hmac_sha256_hex(options_.secret, "POST\n" + path + "\n" + query);
    if (md5.empty() || signature.empty()) throw Failure("libcrypto cannot sign");
    connection.out +=
        "POST " + path + "?" + query + "&auth_signature=" + signature + " HTTP/1.1\r\nHost: " + options_.authority() +
        "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  /// The event that waits longest: `BEFORE channel AFTER,"data":"..."}`.
  void append_event(Connection& connection, std::string& body, std::string_view before, std::string_view after) {
    const Waiting next = connection.waiting.front();
    connection.waiting.pop_front();
    body += before;
    body += plan_.name(plan_.target(next.trigger).channel);
    body += after;
    body += R"(,"data":)";
    payload_.append_to(body, next.trigger);
    body += '}';
    ledger_.sent(next.trigger, next.due.value_or(now()));
  }

  void read(Connection& connection) {
    const ssize_t got = recv(connection.descriptor.get(), buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      if (!connection.asked.empty()) throw Failure("the server closed an API connection without an answer");
      connection.descriptor = {};
      return;
    }
    connection.in.append(buffer_.data(), static_cast<std::size_t>(got));
    std::size_t used = 0;
    bool keeps_connection = true;
    while (const auto answer = Answer::read(std::string_view(connection.in).substr(used))) {
      if (connection.asked.empty()) throw Failure("the API answers what was not asked");
      const std::size_t triggers = connection.asked.front();
      connection.asked.pop_front();
      unanswered_ -= triggers;
      if (answer->status != 200) {
        if (refused_ == 0) {
          const std::string text = connection.in.substr(used, std::min<std::size_t>(answer->size, 1'000));
          std::fprintf(stderr, "fanfare-load: a request was refused:\n%s\n", text.c_str());
        }
        refused_ += triggers;
      }
      keeps_connection = keeps_connection && answer->keeps_connection;
      used += answer->size;
    }
    connection.in.erase(0, used);
    if (connection.in.size() > 2 * Answer::most_answer) throw Failure("the API's answer is too large");
    if (used > 0) keeps_connections_ = keeps_connection;
    if (keeps_connection) return;
    if (!connection.asked.empty()) throw Failure("the server closed an API connection without all answers");
    connection.descriptor = {};
  }

  const Options& options_;
  const Plan& plan_;
  const Endpoint& endpoint_;
  Poller& poller_;
  Ledger& ledger_;
  const Payload payload_;
  std::vector<Connection> connections_;
  std::vector<char> buffer_;
  bool keeps_connections_ = false;
  std::uint64_t unanswered_ = 0;
  std::uint64_t refused_ = 0;
};

}  // namespace fanfare::load
