// expect: ignoring return value .*nodiscard
#include <fanfare/fanfare.hpp>

void forget(fanfare::ChannelRegistry<>& channels) { channels.subscribe("LOBBY_42"); }
