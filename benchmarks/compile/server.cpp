// A small program with a server.
#include <fanfare/server.hpp>

#include <cstdio>

int main() {
  fanfare::Server server{{.listen = {"127.0.0.1:0"}}};
  fanfare::App& app = server.add_app({.id = "42", .key = "a-key", .secret = "a-secret"});
  if (const auto started = server.start(); !started) {
    std::printf("%s\n", started.text().c_str());
    return 1;
  }
  const auto sent = app.trigger("CHAT_42", "message", R"({"username":"ann"})");
  server.stop();
  return sent ? 0 : 1;
}
