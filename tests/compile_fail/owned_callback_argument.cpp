// expect: fanfare: a callback must be callable with \(const fanfare::Event&\) or \(T&, const fanfare::Event&\)
#include <fanfare/fanfare.hpp>

#include <memory>

struct Game {};

void bind(fanfare::Subscription& lobby, const std::shared_ptr<Game>& game) {
  lobby.bind("PLAYER_JOIN", std::weak_ptr<Game>(game), [](int /*player*/) {});
}
