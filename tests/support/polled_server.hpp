// A server without threads, and clients that let it run while they wait: one step after the other.
#pragma once

#include "support/clock.hpp"
#include "support/requests.hpp"
#include "support/socket_client.hpp"

#include <fanfare/server.hpp>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace fanfare::test {

inline AppOptions test_app() { return {.id = "1", .key = "key", .secret = "secret"}; }

class PolledServer {
 public:
  explicit PolledServer(ServerOptions options = {}, AppOptions app_options = test_app())
      : server(for_tests(std::move(options))), app(server.add_app(std::move(app_options))) {
    if (const ServerResult started = server.start(); !started) throw std::runtime_error(started.text());
  }

  static ServerOptions for_tests(ServerOptions options, unsigned threads = 0) {
    options.listen = {"127.0.0.1:0"};
    options.threads = threads;
    return options;
  }

  [[nodiscard]] const std::string& endpoint() const { return server.endpoints().front(); }
  [[nodiscard]] SocketClient client(int receive_buffer = 0) {
    return SocketClient(
        endpoint(), [this] { server.poll(std::chrono::milliseconds(1)); }, receive_buffer);
  }
  // A client of the application; not for what follows is asked.
  [[nodiscard]] SocketClient established(int receive_buffer = 0) {
    SocketClient made = client(receive_buffer);
    if (made.establish("/app/key?protocol=7").empty()) throw std::runtime_error("the client was not let in");
    return made;
  }
  // Until nothing is left to do.
  void run() {
    for (int quiet = 0; quiet < 3;) quiet = server.poll(std::chrono::milliseconds(1)) == 0 ? quiet + 1 : 0;
  }
  // Until `done` says so. False if it does not in time.
  template <class F>
  [[nodiscard]] bool run_until(F done, std::chrono::milliseconds time = SocketClient::patience) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (!done()) {
      if (std::chrono::steady_clock::now() > until) return false;
      server.poll(std::chrono::milliseconds(1));
    }
    return true;
  }

  Server server;
  App& app;
};

// Likewise, with a clock of its own, which stands still until the test moves it. One translation unit of the program
// replaces the clock; see support/clock.hpp.
class TimedServer {
 public:
  explicit TimedServer(ServerOptions options = {}, AppOptions app_options = test_app()) {
    const ClockShows shown(now_);
    server_ = std::make_unique<Server>(PolledServer::for_tests(std::move(options)));
    app_ = &server_->add_app(std::move(app_options));
  }
  TimedServer(const TimedServer&) = delete;
  TimedServer& operator=(const TimedServer&) = delete;
  ~TimedServer() {
    const ClockShows shown(now_);
    server_.reset();
    context_.poll();  // what is left refers to nothing
  }

  // Before the start there may be more applications.
  void start() {
    const ClockShows shown(now_);
    if (const ServerResult started = server_->start(context_); !started) throw std::runtime_error(started.text());
    run();
  }

  [[nodiscard]] Server& server() noexcept { return *server_; }
  [[nodiscard]] App& app() noexcept { return *app_; }
  [[nodiscard]] SocketClient client() { return client(server_->endpoints().front()); }
  [[nodiscard]] SocketClient client(const std::string& endpoint) {
    return SocketClient(endpoint, [this] { run_or_rest(); });
  }

  // Until nothing is left to do. \returns how much was done.
  std::size_t run() {
    const ClockShows shown(now_);
    context_.restart();  // it stops when a server has ended
    std::size_t done = 0;
    while (const std::size_t more = context_.poll()) done += more;
    return done;
  }
  // Lets time pass; what has become due then happens. The server looks at its clock once a second.
  void advance(std::chrono::milliseconds time) {
    run();
    now_ += time;
    const ClockShows shown(now_);
    // Asio waits for a descriptor of the kernel, whose clock is another. One that is late makes it look at the others.
    asio::steady_timer late(context_, std::chrono::steady_clock::time_point{});
    bool looked = false;
    late.async_wait([&looked](std::error_code) { looked = true; });
    context_.restart();
    while (!looked) context_.poll();
    run();
  }
  // Until `done` says so, while the clock stands still. False if it does not in time.
  template <class F>
  [[nodiscard]] bool run_until(F done, std::chrono::milliseconds time = SocketClient::patience) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (!done()) {
      if (std::chrono::steady_clock::now() > until) return false;
      run_or_rest();
    }
    return true;
  }

 private:
  void run_or_rest() {
    if (run() == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

  // Begins at the real time, which is what triggers of the test itself see.
  std::chrono::steady_clock::time_point now_ = std::chrono::steady_clock::now();
  asio::io_context context_{1};
  std::unique_ptr<Server> server_;
  App* app_ = nullptr;
};

}  // namespace fanfare::test
