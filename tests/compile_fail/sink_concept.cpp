// expect: attach: the type does not satisfy the concept fanfare::Sink
// expect: Sink
#include <fanfare/fanfare.hpp>

struct MayThrow {
  bool push(fanfare::MessagePtr message);
};

void attach(fanfare::ChannelRegistry<>& channels, MayThrow& sink) {
  auto subscription = channels.attach("LOBBY_42", sink);
}
