// A small program of someone else's: a server on a port of the system's choice, and a trigger.
#include <fanfare/server.hpp>

#include <cstdio>

int main() {
  fanfare::Server server{{.listen = {"127.0.0.1:0"}}};
  fanfare::App& app = server.add_app({.id = "42", .key = "key", .secret = "secret"});
  if (const auto started = server.start(); !started) {
    std::fprintf(stderr, "%s\n", started.text().c_str());
    return 1;
  }
  const bool listens = server.endpoints().size() == 1;
  const bool sent = static_cast<bool>(app.trigger("LOBBY_42", "PLAYER_JOIN", "[]"));
  server.stop();
  std::printf("fanfare %s: server\n", fanfare::version_string);
  return listens && sent ? 0 : 1;
}
