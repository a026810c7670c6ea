// A server without threads, and clients that let it run while they wait: one step after the other.
#pragma once

#include "support/socket_client.hpp"

#include <fanfare/pusher/auth.hpp>
#include <fanfare/server.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
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

// The bytes of a request of a backend, signed.
inline std::string signed_post(std::string_view path, std::string_view body) {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  std::string query = "auth_key=key&auth_timestamp=" + std::to_string(now.count());
  query.append("&auth_version=1.0&body_md5=").append(pusher::md5_hex(body));
  std::string text = "POST\n";
  text.append(path).append("\n").append(query);
  std::string request = "POST ";
  request.append(path).append("?").append(query).append("&auth_signature=");
  request.append(pusher::hmac_sha256_hex("secret", text)).append(" HTTP/1.1\r\nHost: x\r\nContent-Length: ");
  return request.append(std::to_string(body.size())).append("\r\n\r\n").append(body);
}

}  // namespace fanfare::test
