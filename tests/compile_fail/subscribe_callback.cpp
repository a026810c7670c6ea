// expect: the second argument of subscribe is a function of .fanfare::Subscription&. that binds callbacks
#include <fanfare/fanfare.hpp>

// What is given to `subscribe` sets the subscription up; callbacks are bound in it.
void subscribe(fanfare::ChannelRegistry<>& channels) {
  auto lobby = channels.subscribe("LOBBY_42", [](const fanfare::Event& /*event*/) {});
}
