// expect: the second argument of subscribe is a function of .fanfare::Subscription&. that binds callbacks
#include <fanfare/fanfare.hpp>

// The name of an event is bound, not subscribed to; the text of an id says `Since`.
void subscribe(fanfare::ChannelRegistry<>& channels) { auto lobby = channels.subscribe("LOBBY_42", "PLAYER_JOIN"); }
