// One channel, one event, one subscriber.
#include <fanfare/fanfare.hpp>

#include <iostream>

int main() {
  fanfare::ChannelRegistry<> channels;

  const auto subscription = channels.subscribe("LOBBY_42", [](fanfare::Subscription& lobby) {
    lobby.bind("PLAYER_JOIN", [](const fanfare::Event& event) { std::cout << "joined: " << event.data() << '\n'; });
  });

  const auto sent = channels.trigger("LOBBY_42", "PLAYER_JOIN", R"({"username":"ann"})");
  return sent.delivered == 1 ? 0 : 1;
}
