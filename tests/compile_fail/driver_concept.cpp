// expect: fanfare: perform: the type does not satisfy the concept fanfare::transport::Driver
#include <fanfare/transport/memory.hpp>

using fanfare::transport::MemoryTransport;

struct Mute {};

void act(Mute& mute, fanfare::transport::Fanout<MemoryTransport, MemoryTransport::Client>& fanout,
         MemoryTransport::Client& client, fanfare::pusher::Session& session) {
  fanfare::transport::perform(mute, fanout, client, session, fanfare::pusher::Ping{});
}
