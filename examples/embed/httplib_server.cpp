// A server made with cpp-httplib: its own pages and the HTTP API on its port, fanfare's sockets on another one.
//
// usage: httplib_server [PORT [SOCKET_PORT]]     0: any free one
#include <fanfare/server.hpp>

#include <httplib.h>

#include <csignal>
#include <iostream>
#include <string>
#include <thread>
#include <utility>

namespace {

// The API signs what was sent, so it wants the target and not the path, which httplib has decoded.
fanfare::http::Request to_fanfare(const httplib::Request& theirs) {
  fanfare::http::Request request;
  request.method = theirs.method;
  request.target = theirs.target;
  for (const auto& [name, value] : theirs.headers) request.fields.push_back({name, value});
  request.body = theirs.body;
  return request;
}

void write(fanfare::http::Response answer, httplib::Response& theirs) {
  theirs.status = static_cast<int>(answer.status);
  for (const auto& field : answer.fields) theirs.set_header(field.name, field.value);
  theirs.set_content(std::move(answer.body), answer.content_type);
}

}  // namespace

int main(int count, char** values) {
  sigset_t signals;  // for sigwait below, on all threads
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  fanfare::Server server{{.listen = {std::string("127.0.0.1:") + (count > 2 ? values[2] : "6001")}}};
  fanfare::App& app = server.add_app({.id = "42", .key = "a-key", .secret = "a-secret"});
  if (const auto started = server.start(); !started) return std::cerr << started.text() << '\n', 1;

  httplib::Server web;
  const auto api = [&](const httplib::Request& request, httplib::Response& answer) {
    // It waits for a store, where there is one: httplib has threads for that.
    if (auto answered = server.handle(to_fanfare(request))) write(std::move(*answered), answer);
  };
  web.Get("/apps/.*", api);
  web.Post("/apps/.*", api);
  web.Get("/", [&](const httplib::Request&, httplib::Response& answer) {
    answer.set_content("a page of the host; sockets are at " + server.endpoints().front() + "\n", "text/plain");
  });
  web.Post("/say", [&](const httplib::Request& request, httplib::Response& answer) {
    const auto sent = app.trigger("LOBBY_42", "said", request.body);  // the host is a publisher like any other
    write(fanfare::http::text_response(sent ? 200 : 400, std::string(message(sent.error))), answer);
  });

  int port = count > 1 ? std::stoi(values[1]) : 8000;
  const bool bound = port == 0 ? (port = web.bind_to_any_port("127.0.0.1")) > 0 : web.bind_to_port("127.0.0.1", port);
  if (!bound) return std::cerr << "the port cannot be had\n", 1;
  std::thread pages([&] { web.listen_after_bind(); });
  std::cout << "listening on http://127.0.0.1:" << port << '\n';
  std::cout << "sockets on http://" << server.endpoints().front() << std::endl;

  int signal = 0;
  sigwait(&signals, &signal);
  web.stop();
  pages.join();
  server.stop();  // tells clients to come back
}
