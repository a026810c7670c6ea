// A program that has a websocketpp endpoint, with fanfare on its connections: those to /app/KEY are clients of channels,
// the HTTP API is at /apps, and what a client of the program's own says at /shout goes to the lobby.
//
// usage: websocketpp_endpoint [PORT]     0: any free one
#include "endpoint.hpp"

#include <fanfare/pusher/http_api.hpp>
#include <fanfare/transport/hosted.hpp>

#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace transport = fanfare::transport;

// A connection of the endpoint, as fanfare sees it.
struct Socket {
  Endpoint* endpoint;
  Endpoint::Handle handle;

  bool send(std::string_view text) { return endpoint->send(handle, text); }
  void ping() { endpoint->ping(handle); }
  void close(std::uint16_t code, std::string_view reason) { endpoint->close(handle, code, reason); }
  std::size_t buffered() { return endpoint->buffered(handle); }
};

int main(int argc, char** argv) {
  Endpoint endpoint;
  fanfare::pusher::AppList apps;
  fanfare::App& app = *apps.add({.id = "42", .key = "a-key", .secret = "a-secret", .client_events = true});
  const fanfare::pusher::HttpApi<fanfare::pusher::AppList> api(apps);

  std::function<void()> turn;
  transport::HostedTransport<Socket> clients(apps, {.wake = [&] { endpoint.post([&] { turn(); }); }});
  std::map<Endpoint::Handle, transport::HostedId, std::owner_less<>> ids;
  const auto now = [] { return std::chrono::steady_clock::now().time_since_epoch(); };
  turn = [&] {
    if (clients.drained()) return endpoint.stop();
    if (clients.run()) return endpoint.post([&] { turn(); });  // others have their turn meanwhile
    endpoint.set_timer(std::chrono::ceil<std::chrono::milliseconds>(clients.due() - now()), [&] { turn(); });
  };

  endpoint.on_open = [&](const Endpoint::Handle& handle, const std::string& target, const std::string& origin) {
    if (target != "/shout") ids[handle] = clients.open({&endpoint, handle}, target, {.origin = origin});
  };
  endpoint.on_message = [&](const Endpoint::Handle& handle, const std::string& text) {
    const auto known = ids.find(handle);
    if (known == ids.end()) {
      app.trigger("LOBBY_42", "said", text);
    } else {
      clients.receive(known->second, text);
    }
  };
  endpoint.on_pong = [&](const Endpoint::Handle& handle) {
    if (const auto known = ids.find(handle); known != ids.end()) clients.heard(known->second);
  };
  endpoint.on_close = [&](const Endpoint::Handle& handle) {
    if (const auto known = ids.extract(handle)) clients.closed(known.mapped());
  };
  endpoint.on_request = [&](const std::string& method, const std::string& target, const std::string& body) {
    fanfare::http::Request request{.method = method, .target = target, .fields = {}, .body = body};
    if (!api.serves(request)) return Endpoint::Answer{};
    const auto time_of_day = std::chrono::system_clock::now().time_since_epoch();
    fanfare::http::Response answer = api(request, std::chrono::duration_cast<std::chrono::seconds>(time_of_day));
    return Endpoint::Answer{answer.status, answer.content_type, answer.body};
  };
  endpoint.on_signal = [&] { clients.drain(std::chrono::seconds(2)); };

  std::cout << "listening on http://127.0.0.1:" << endpoint.listen(argc > 1 ? std::stoi(argv[1]) : 6001) << std::endl;
  turn();
  endpoint.run();
}
