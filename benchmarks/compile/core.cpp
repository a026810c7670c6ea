// A small program with the core alone.
#include <fanfare/fanfare.hpp>

#include <cstdio>

int main() {
  fanfare::ChannelRegistry<> channels;
  const auto subscription = channels.subscribe("LOBBY_42", [](fanfare::Subscription& lobby) {
    lobby.bind("PLAYER_JOIN", [](const fanfare::Event& event) {
      std::printf("joined: %.*s\n", static_cast<int>(event.data().size()), event.data().data());
    });
  });
  return channels.trigger("LOBBY_42", "PLAYER_JOIN", R"({"username":"ann"})").delivered == 1 ? 0 : 1;
}
