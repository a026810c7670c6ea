// expect: fanfare: a callback must be callable with \(const fanfare::Event&\)
#include <fanfare/fanfare.hpp>

void bind(fanfare::Subscription& lobby) {
  lobby.bind("PLAYER_JOIN", [](int /*player*/) {});
}
