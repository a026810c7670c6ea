// expect: constraints not satisfied
// expect: Sink
#include <fanfare/fanfare.hpp>

struct MayThrow {
  bool push(fanfare::MessagePtr message);
};

void attach(fanfare::ChannelRegistry<>& channels, MayThrow& sink) {
  auto subscription = channels.attach("LOBBY_42", sink);
}
