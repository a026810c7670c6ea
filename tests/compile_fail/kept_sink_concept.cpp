// expect: attach: the type does not satisfy the concept fanfare::Sink, or its move may throw
#include <fanfare/fanfare.hpp>

struct Copied {
  Copied() = default;
  Copied(const Copied& other);  // may throw
  bool push(fanfare::MessagePtr message, fanfare::MessageLink& link) noexcept;
};

void attach(fanfare::ChannelRegistry<>& channels) { auto subscription = channels.attach("LOBBY_42", Copied{}); }
