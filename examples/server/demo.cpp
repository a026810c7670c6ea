#include "demo.hpp"

#include "assets.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <utility>

namespace http = fanfare::http;
namespace json = boost::json;

namespace {

// Names are just strings; these are the lobby and the chat of the game with the id 42.
constexpr std::string_view lobby = "LOBBY_42";
constexpr std::string_view chat_room = "CHAT_42";

http::Response answer(unsigned status, const json::value& value) {
  auto response = http::json_response(status, json::serialize(value));
  response.fields.push_back({"Cache-Control", "no-store"});
  return response;
}

http::Response refuse(unsigned status, std::string_view why) {
  return answer(status, {{"error", json::string_view(why.data(), why.size())}});
}

http::Response file(std::string_view content_type, std::string_view body) {
  http::Response response;
  response.content_type = content_type;
  response.body = body;
  response.fields = {
      {"Cache-Control", "no-cache"},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Content-Security-Policy",
       "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' ws: wss:; "
       "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
  };
  return response;
}

/// Now, as RFC 3339 writes it.
std::string timestamp() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 32> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

/// The characters of a text that is known to be UTF-8.
std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

bool has_control(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return true;
    // U+0080 to U+009F
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) return true;
  }
  return false;
}

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// A member that is a string; empty where there is none.
std::string_view text_of(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(json::string_view(key.data(), key.size()));
  if (value == nullptr || !value->is_string()) return {};
  return {value->get_string().data(), value->get_string().size()};
}

}  // namespace

Demo::Demo(fanfare::App& app, std::string pusher_js, std::string path)
    : app_(app), pusher_js_(std::move(pusher_js)), path_(std::move(path)) {}

std::optional<http::Response> Demo::handle(const http::Request& request) {
  const std::string_view path = request.path();

  struct Page {
    std::string_view path;
    std::string_view content_type;
    std::string_view body;
  };
  const Page pages[] = {
      {"/", "text/html; charset=utf-8", asset("index.html")},
      {"/demo.css", "text/css; charset=utf-8", asset("demo.css")},
      {"/demo.js", "text/javascript; charset=utf-8", asset("demo.js")},
      {"/resume.js", "text/javascript; charset=utf-8", asset("resume.js")},
      {"/pusher.min.js", "text/javascript; charset=utf-8", pusher_js_},
  };
  const auto* const page =
      std::find_if(std::begin(pages), std::end(pages), [&](const Page& p) { return p.path == path; });
  const bool is_page = page != std::end(pages);
  const bool is_post = path == "/demo/join" || path == "/demo/chat" || path == "/demo/leave";
  if (!is_page && !is_post && path != "/demo/state") return std::nullopt;

  if (!is_post) {
    if (request.method != "GET" && request.method != "HEAD") {
      auto response = refuse(405, "expected GET");
      response.fields.push_back({"Allow", "GET, HEAD"});
      return response;
    }
    if (!is_page) return state();
    if (page->body.empty()) return http::text_response(404, "pusher-js is not here; script/server fetches it");
    return file(page->content_type, page->body);
  }

  if (request.method != "POST") {
    auto response = refuse(405, "expected POST");
    response.fields.push_back({"Allow", "POST"});
    return response;
  }
  // Other sites' forms cannot send this type, so they cannot speak for a visitor.
  const std::string_view type = request.field("content-type");
  if (!http::detail::same_word(http::detail::trim(type.substr(0, type.find(';'))), "application/json")) {
    return refuse(415, "expected application/json");
  }
  json::error_code error;
  const json::value body = json::parse(json::string_view(request.body.data(), request.body.size()), error);
  if (error || !body.is_object()) return refuse(400, "expected a JSON object");
  const json::object& members = body.get_object();
  const std::string_view player = text_of(members, "player");
  if (path == "/demo/join") return join(trim(text_of(members, "username")), player);
  if (path == "/demo/chat") return chat(player, trim(text_of(members, "message")));
  return leave(player);
}

http::Response Demo::state() {
  const std::lock_guard lock(mutex_);
  json::array players;
  for (const Player& player : players_) players.emplace_back(json::object{{"username", player.username}});
  json::array messages;
  for (const Line& line : lines_) {
    messages.push_back(
        {{"id", line.id}, {"username", line.username}, {"message", line.message}, {"timestamp", line.timestamp}});
  }
  return answer(
      200, {{"key", app_.key()}, {"path", path_}, {"players", std::move(players)}, {"messages", std::move(messages)}});
}

http::Response Demo::join(std::string_view username, std::string_view id) {
  if (username.empty() || characters(username) > max_username || has_control(username)) {
    return refuse(422, "A name has 1 to " + std::to_string(max_username) + " characters.");
  }
  const std::lock_guard lock(mutex_);
  Player* player = id.empty() ? nullptr : find(id);
  for (const Player& other : players_) {
    if (&other != player && other.username == username) return refuse(409, "Somebody here has that name already.");
  }
  if (player == nullptr) {
    if (players_.size() == max_players) {
      players_.erase(std::min_element(players_.begin(), players_.end(),
                                      [](const Player& a, const Player& b) { return a.last_seen < b.last_seen; }));
    }
    player = &players_.emplace_back(Player{new_id(), {}, ++steps_});
  }
  player->username = username;
  announce("PLAYER_JOIN");
  return answer(200, {{"username", player->username}, {"player", player->id}});
}

http::Response Demo::chat(std::string_view id, std::string_view message) {
  if (message.empty() || characters(message) > max_message || has_control(message)) {
    return refuse(422, "A message has 1 to " + std::to_string(max_message) + " characters on one line.");
  }
  const std::lock_guard lock(mutex_);
  const Player* const player = find(id);
  if (player == nullptr) return refuse(403, "Join first.");
  const Line& line = lines_.emplace_back(Line{++last_line_, player->username, std::string(message), timestamp()});
  const json::value data{
      {"id", line.id}, {"username", line.username}, {"message", line.message}, {"timestamp", line.timestamp}};
  const auto sent = app_.trigger(chat_room, "message", json::serialize(data));
  if (!sent) {
    lines_.pop_back();
    return refuse(503, fanfare::message(sent.error));
  }
  if (lines_.size() > max_messages) lines_.pop_front();
  return answer(200, json::object{});
}

http::Response Demo::leave(std::string_view id) {
  const std::lock_guard lock(mutex_);
  if (const Player* const player = find(id); player != nullptr) {
    players_.erase(players_.begin() + (player - players_.data()));
    announce("PLAYER_LEAVE");
  }
  return answer(200, json::object{});
}

Demo::Player* Demo::find(std::string_view id) {
  const auto found = std::find_if(players_.begin(), players_.end(), [&](const Player& p) { return p.id == id; });
  if (found == players_.end()) return nullptr;
  found->last_seen = ++steps_;
  return &*found;
}

void Demo::announce(std::string_view event) {
  json::array players;
  for (const Player& player : players_) players.emplace_back(json::object{{"username", player.username}});
  // Each of these events holds the whole list, so the last one is all that somebody needs who comes late.
  app_.trigger(lobby, event, json::serialize(players));
}

std::string Demo::new_id() {
  std::array<char, 33> text;
  std::snprintf(text.data(), text.size(), "%08x%08x%08x%08x", random_(), random_(), random_(), random_());
  return text.data();
}
