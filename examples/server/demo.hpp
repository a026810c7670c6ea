// The demo: a lobby and a chat room in the browser, live through pusher-js.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

/// Serves the page and takes what its visitors do. It is a backend like any other: it keeps its own state, and tells
/// everybody by `App::trigger`.
///
///   GET  /                the page, and its parts
///   GET  /demo/state      {key, path, players, messages}: where a page connects; and, for who does not, what there is
///   POST /demo/join       {username} or {username, player}: LOBBY_42 gets PLAYER_JOIN with all players;
///                         answers {username, player}, where `player` is what the others ask for
///   POST /demo/chat       {player, message}: CHAT_42 gets message {id, username, message, timestamp}
///   POST /demo/leave      {player}: LOBBY_42 gets PLAYER_LEAVE with all players
///
/// Thread safety: `handle` from any thread, concurrently.
class Demo {
 public:
  static constexpr std::size_t max_players = 64;   ///< One more, and the player who was silent longest has to go.
  static constexpr std::size_t max_messages = 50;  ///< Those that a new page shows.
  static constexpr std::size_t max_username = 24;  ///< Characters.
  static constexpr std::size_t max_message = 500;  ///< Characters.

  /// \param pusher_js  the text of pusher.min.js; empty where it is not there.
  /// \param path       `ServerOptions::path_prefix`: where clients find the server. The demo itself stays at the top.
  Demo(fanfare::App& app, std::string pusher_js, std::string path = {});

  /// Answers a request; nothing where it is not for the demo.
  [[nodiscard]] std::optional<fanfare::http::Response> handle(const fanfare::http::Request& request);

 private:
  struct Player {
    std::string id;  ///< A secret between the player's page and us.
    std::string username;
    std::uint64_t last_seen = 0;
  };
  struct Line {
    std::uint64_t id = 0;
    std::string username;
    std::string message;
    std::string timestamp;
  };

  fanfare::http::Response state();
  fanfare::http::Response join(std::string_view username, std::string_view player);
  fanfare::http::Response chat(std::string_view player, std::string_view message);
  fanfare::http::Response leave(std::string_view player);
  Player* find(std::string_view player);
  void announce(std::string_view event);
  std::string new_id();

  fanfare::App& app_;
  const std::string pusher_js_;
  const std::string path_;
  // Held while triggering too, so that events leave in the order of the changes they tell of.
  std::mutex mutex_;
  std::vector<Player> players_;  // in the order in which they joined
  std::deque<Line> lines_;
  std::uint64_t last_line_ = 0;
  std::uint64_t steps_ = 0;  // counts what players do
  std::random_device random_;
};
