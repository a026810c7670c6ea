// A small program of someone else's: four threads trigger, one polls.
#include <fanfare/fanfare.hpp>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

int main() {
  constexpr std::size_t threads = 4;
  constexpr std::size_t events = 1000;

  fanfare::ChannelRegistry<> channels;
  std::atomic<std::size_t> called{0};
  auto inbox = channels.subscribe("LOBBY_42", fanfare::Inbox{4096});
  auto lobby = channels.subscribe("LOBBY_42", [&](fanfare::Subscription& s) {
    s.bind("PLAYER_JOIN", [&](const fanfare::Event& e) { called += e.data().empty() ? 0U : 1U; });
  });

  std::vector<std::thread> players;
  for (std::size_t t = 0; t < threads; ++t) {
    players.emplace_back([&channels] {
      for (std::size_t i = 0; i < events; ++i) channels.trigger("LOBBY_42", "PLAYER_JOIN", std::to_string(i));
    });
  }
  for (auto& player : players) player.join();

  std::size_t seen = 0;
  const std::size_t handled = inbox.poll([&](const fanfare::Event& e) { seen += e.name() == "PLAYER_JOIN" ? 1U : 0U; });
  std::printf("fanfare %s: called %zu, polled %zu\n", fanfare::version_string, called.load(), handled);
  return called == threads * events && handled == threads * events && seen == handled ? 0 : 1;
}
