// The game itself, which knows nothing of who plays it from where; and how steadily it ticks.
#pragma once

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace json = boost::json;
using Time = std::chrono::steady_clock;

/// Of the arena, in the page's pixels; and of how far a player moves in a tick.
inline constexpr double width = 800, height = 500, step = 4;

struct Player {
  double x = width / 2, y = height / 2;
  double dx = 0, dy = 0;  // at most 1 in length
};

/// The one authority: it moves players, who can only say where they want to go.
class Game {
 public:
  explicit Game(std::size_t bots) {
    for (std::size_t i = 0; i < bots; ++i) {
      const auto angle = static_cast<double>(i);
      players_["bot" + std::to_string(i)] = {.dx = std::cos(angle), .dy = std::sin(angle)};
    }
  }
  void enter(const std::string& id) { players_.try_emplace(id); }
  void leave(const std::string& id) { players_.erase(id); }

  /// `{"dx":1,"dy":0}`: what is pressed. A direction that is too long is no faster.
  void steer(std::string_view id, std::string_view data) {
    json::error_code error;
    const json::value input = json::parse(json::string_view(data.data(), data.size()), error);
    const auto player = players_.find(std::string(id));
    if (error || !input.is_object() || player == players_.end()) return;
    const auto number = [&](json::string_view key) {
      const json::value* const value = input.get_object().if_contains(key);
      json::error_code none;
      const auto found = value == nullptr ? 0.0 : value->to_number<double>(none);
      return none ? 0.0 : std::clamp(found, -1.0, 1.0);
    };
    const double dx = number("dx"), dy = number("dy");
    const double length = std::max(1.0, std::hypot(dx, dy));
    player->second.dx = dx / length;
    player->second.dy = dy / length;
  }

  void advance() {
    ++ticks_;
    for (auto& [id, player] : players_) {
      const double x = player.x + player.dx * step, y = player.y + player.dy * step;
      player.x = std::clamp(x, 0.0, width);
      player.y = std::clamp(y, 0.0, height);
      if (!id.starts_with("bot")) continue;
      if (x != player.x) player.dx = -player.dx;
      if (y != player.y) player.dy = -player.dy;
    }
  }

  /// `{"tick":9,"players":{"p1":[400,250]}}`
  [[nodiscard]] std::string state() const {
    json::object at;
    for (const auto& [id, player] : players_) {
      at[id] = json::array{std::lround(player.x), std::lround(player.y)};
    }
    return json::serialize(json::object{{"tick", ticks_}, {"players", std::move(at)}});
  }

 private:
  std::map<std::string, Player> players_;
  std::uint64_t ticks_ = 0;
};

/// How late ticks began, in steps of 10 µs up to a second.
class Jitter {
 public:
  void add(Time::duration late) {
    const auto steps = static_cast<std::size_t>(std::max<Time::rep>(0, late / std::chrono::microseconds(10)));
    ++counts_[std::min(steps, counts_.size() - 1)];
    max_ = std::max(max_, late);
    ++all_;
  }
  void print(std::uint64_t skipped) const {
    std::printf(
        "%llu ticks, late by %.2f ms at p50, %.2f ms at p99, %.2f ms at most; %llu states skipped for readers\n",
        static_cast<unsigned long long>(all_), at(50), at(99), std::chrono::duration<double, std::milli>(max_).count(),
        static_cast<unsigned long long>(skipped));
  }

 private:
  [[nodiscard]] double at(std::uint64_t percent) const {
    std::size_t steps = 0;
    for (std::uint64_t seen = counts_[0]; steps + 1 < counts_.size() && seen * 100 < all_ * percent;) {
      seen += counts_[++steps];
    }
    return static_cast<double>(steps) / 100;
  }

  std::array<std::uint32_t, 100'000> counts_{};
  std::uint64_t all_ = 0;
  Time::duration max_{0};
};
