// expect: (deleted function|deleted constructor)
#include <fanfare/fanfare.hpp>

void copy(fanfare::ChannelRegistry<>& channels) { auto another = channels; }
