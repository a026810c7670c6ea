// A game that is its own server: one thread, one loop, 60 ticks a second. Players are browsers with pusher-js. What they
// press comes as client events, where they are goes out as one state per tick, and who they are is a presence channel.
//
//   fanfare-game [--port N] [--seconds N] [--bots N]      N is 0 or more; port 0: one that is free
#include "assets.hpp"
#include "game.hpp"

#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/server.hpp>

#include <boost/json.hpp>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace http = fanfare::http;
namespace json = boost::json;
using Time = std::chrono::steady_clock;

namespace {

constexpr auto tick = std::chrono::duration_cast<Time::duration>(std::chrono::seconds(1)) / 60;
constexpr unsigned max_name = 24;  // bytes

volatile std::sig_atomic_t stop_signal = 0;

/// Lets a player in under a new id: what pusher-js asks for before it enters `presence-arena`.
http::Response admit(const fanfare::App& app, const http::Request& request) {
  static std::uint64_t players = 0;
  std::map<std::string_view, std::string> form;
  std::string_view body = request.body;
  for (http::QueryParameter parameter; http::take_parameter(body, parameter);) {
    form[parameter.name] = http::percent_decode(parameter.value, true).value_or("");
  }
  std::string& name = form["name"];
  if (form["channel_name"] != "presence-arena" || name.empty() || name.size() > max_name) {
    return http::text_response(403, "a name is wanted, and the channel presence-arena");
  }
  const std::string data = json::serialize(
      json::object{{"user_id", "p" + std::to_string(++players)}, {"user_info", json::object{{"name", name}}}});
  const std::string said = form["socket_id"] + ":presence-arena:" + data;
  const std::string signature = fanfare::pusher::hmac_sha256_hex(app.options().secret, said);
  return http::json_response(
      200, json::serialize(json::object{{"auth", app.key() + ":" + signature}, {"channel_data", data}}));
}

http::Response page(std::string_view content_type, std::string_view body) {
  http::Response response = http::text_response(body.empty() ? 404 : 200, std::string(body));
  response.content_type = content_type;
  response.fields = {{"Content-Security-Policy",
                      "default-src 'self'; style-src 'unsafe-inline'; connect-src 'self' ws:; img-src data:"}};
  return response;
}

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Takes `NAME N` off the arguments. \returns false where they do not begin so, or N is no number up to `most`.
bool take(char**& arguments, std::string_view name, std::uint64_t most, std::uint64_t& value) {
  if (*arguments != name || arguments[1] == nullptr) return false;
  const std::string_view text = arguments[1];
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return false;
  arguments += 2;
  return true;
}

}  // namespace

int main(int, char** arguments) {
  std::uint64_t port = 6001, seconds = 0, bots = 0;  // 0 seconds: until a signal comes
  for (++arguments; *arguments != nullptr;) {
    if (!take(arguments, "--port", 65535, port) && !take(arguments, "--seconds", 1U << 20U, seconds) &&
        !take(arguments, "--bots", 1000, bots)) {
      return std::fputs("usage: fanfare-game [--port N] [--seconds N] [--bots N]\n", stderr), 2;
    }
  }
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int which) { stop_signal = which; });
  std::signal(SIGPIPE, SIG_IGN);

  Game game(bots);
  const std::string pusher_js = read_file(FANFARE_EXAMPLE_PUSHER_JS);

  // Nothing below needs a lock: without threads, all that the server calls it calls inside `poll_until`.
  fanfare::App* app = nullptr;
  fanfare::ServerOptions server_options;
  server_options.listen = {"127.0.0.1:" + std::to_string(port)};
  server_options.threads = 0;
  server_options.max_outbox_bytes = 256 * 1024;  // a player who lags is sent the newest state, not seconds of old ones
  server_options.on_request = [&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path() == "/auth" && request.method == "POST") return admit(*app, request);
    if (request.path() == "/") return page("text/html; charset=utf-8", asset("index.html"));
    if (request.path() == "/game.js") return page("text/javascript", asset("game.js"));
    if (request.path() == "/pusher.min.js") return page("text/javascript", pusher_js);
    return std::nullopt;
  };
  fanfare::Server server(std::move(server_options));

  fanfare::AppOptions options;
  options.id = "game";
  options.key = "game-key";
  options.secret = "game-secret";  // everybody knows it; yours comes from where you keep secrets
  options.client_events = true;
  options.client_events_per_second = 60;
  options.limits.data = 64 * 1024;
  options.snapshots.bytes = 64 * 1024;
  options.channel_rules = {{.match = "arena", .retain = true, .overflow = fanfare::SlowConsumer::conflate}};
  options.on_client_event = [&](const fanfare::ClientEvent& event) {
    if (event.event == "client-input") game.steer(event.user_id, event.data);
    return fanfare::ClientEventVerdict::drop;  // the others see what comes of it
  };
  options.on_event = [&](const fanfare::AppEvent& event) {
    if (event.kind == fanfare::AppEvent::Kind::member_added) game.enter(event.user_id);
    if (event.kind == fanfare::AppEvent::Kind::member_removed) game.leave(event.user_id);
  };
  app = &server.add_app(std::move(options));
  if (const auto started = server.start(); !started) {
    return std::fprintf(stderr, "fanfare-game: %s\n", started.text().c_str()), 1;
  }
  std::printf("play at http://%s/\n", server.endpoints().front().c_str());
  std::fflush(stdout);

  Jitter jitter;
  const auto begin = Time::now();
  for (auto due = begin + tick; stop_signal == 0; due += tick) {
    if (seconds != 0 && due > begin + std::chrono::seconds(seconds)) break;
    server.poll_until(due);  // serves the players, and sleeps while none wants anything
    const auto late = Time::now() - due;
    jitter.add(late);
    if (late > 10 * tick) due += late;  // after a standstill the game goes on from now
    game.advance();
    app->trigger("arena", "state", game.state());
  }
  const std::uint64_t skipped = server.slow_consumers().conflated;
  server.stop();
  jitter.print(skipped);
  return 0;
}
