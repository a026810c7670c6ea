#include <fanfare/fanfare.hpp>

int main() {
  fanfare::ChannelRegistry<> channels;
  auto inbox = channels.subscribe("LOBBY_42", fanfare::Inbox{16});
  channels.trigger("LOBBY_42", "PLAYER_JOIN", "[]");
  return inbox.poll([](const fanfare::Event&) {}) == 1 ? 0 : 1;
}
