// A game that handles its events in its own tick: 60 times a second it polls an inbox, and nothing of it ever runs on
// the threads that trigger. Here two of them do, as a network and a matchmaker would.
//
//   game_loop [SECONDS]      plays for so long (default 2) and prints what it saw and how steady the tick was
#include <fanfare/fanfare.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Time = std::chrono::steady_clock;
using namespace std::chrono_literals;

struct World {
  int players = 0;
  std::size_t moves = 0;
  std::size_t ticks = 0;

  void handle(const fanfare::Event& event) {
    if (event.name() == "PLAYER_JOIN") ++players;
    if (event.name() == "PLAYER_LEFT") --players;
    if (event.name() == "MOVE") ++moves;
  }
  void step() { ++ticks; }
};

/// Triggers as fast as a busy connection would, until told to stop.
std::size_t send_moves(fanfare::ChannelRegistry<>& channels, const std::atomic<bool>& stop) {
  const fanfare::ChannelHandle lobby = channels.channel("LOBBY_42");
  std::size_t sent = 0;
  for (; !stop.load(std::memory_order_relaxed); std::this_thread::sleep_for(100us)) {
    if (lobby.trigger("MOVE", R"({"x":1,"y":2})")) ++sent;
  }
  return sent;
}

std::size_t send_joins(fanfare::ChannelRegistry<>& channels, const std::atomic<bool>& stop) {
  std::size_t sent = 0;
  for (; !stop.load(std::memory_order_relaxed); std::this_thread::sleep_for(50ms)) {
    const std::string player = R"({"username":"player)" + std::to_string(sent) + R"("})";
    if (channels.trigger("LOBBY_42", "PLAYER_JOIN", player)) ++sent;
  }
  return sent;
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 2;
  if (argc > 2) return std::fprintf(stderr, "usage: game_loop [SECONDS]\n"), 2;
  if (argc == 2) {
    const char* end = argv[1] + std::strlen(argv[1]);
    const auto [rest, error] = std::from_chars(argv[1], end, seconds);
    if (error != std::errc{} || rest != end || seconds < 1 || seconds > 3600) {
      return std::fprintf(stderr, "game_loop: SECONDS is a number from 1 to 3600\n"), 2;
    }
  }

  fanfare::ChannelRegistry<> channels;
  auto inbox = channels.subscribe("LOBBY_42", fanfare::Inbox{4096});

  std::atomic<bool> stop{false};
  std::size_t moves = 0;
  std::size_t joins = 0;
  std::thread network([&] { moves = send_moves(channels, stop); });
  std::thread matchmaker([&] { joins = send_joins(channels, stop); });

  constexpr auto tick = std::chrono::duration_cast<Time::duration>(1s) / 60;
  World world;
  std::vector<Time::duration> late;
  const auto begin = Time::now();
  for (auto due = begin + tick; due < begin + std::chrono::seconds(seconds); due += tick) {
    std::this_thread::sleep_until(due);
    late.push_back(Time::now() - due);
    inbox.poll([&](const fanfare::Event& event) { world.handle(event); });
    world.step();
  }

  stop = true;
  network.join();
  matchmaker.join();
  inbox.poll([&](const fanfare::Event& event) { world.handle(event); });

  std::sort(late.begin(), late.end());
  const auto p99 = std::chrono::duration<double, std::milli>(late[late.size() * 99 / 100]);
  std::printf("%zu ticks, %d players, %zu moves, %llu dropped, tick late by %.3f ms at p99\n", world.ticks,
              world.players, world.moves, static_cast<unsigned long long>(inbox.dropped()), p99.count());
  const bool all_seen = world.moves == moves && static_cast<std::size_t>(world.players) == joins;
  return all_seen && inbox.dropped() == 0 ? 0 : 1;
}
