// What the program has had before fanfare: a websocketpp endpoint. This header is all that the rest of it sees, as
// websocketpp 0.8's server is C++17: nothing of it may be where C++20 is.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

class Endpoint {
 public:
  using Handle = std::weak_ptr<void>;  // what websocketpp calls `connection_hdl`
  struct Answer {
    unsigned status = 404;
    std::string type{};
    std::string body{};
  };

  Endpoint();
  ~Endpoint();
  int listen(int port);  // 0: any free one; says which
  void run();            // returns when it has stopped
  void stop();

  void post(std::function<void()> f);                                       // any thread: calls it in `run`
  void set_timer(std::chrono::milliseconds wait, std::function<void()> f);  // in the place of the one before

  bool send(const Handle& handle, std::string_view text);
  void ping(const Handle& handle);
  void close(const Handle& handle, std::uint16_t code, std::string_view reason);
  std::size_t buffered(const Handle& handle);

  // All are called in `run`.
  std::function<void(const Handle&, const std::string& target, const std::string& origin)> on_open;
  std::function<void(const Handle&, const std::string& text)> on_message;
  std::function<void(const Handle&)> on_pong;
  std::function<void(const Handle&)> on_close;
  std::function<Answer(const std::string& method, const std::string& target, const std::string& body)> on_request;
  std::function<void()> on_signal;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};
