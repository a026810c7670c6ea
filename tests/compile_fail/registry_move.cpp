// expect: (deleted function|deleted constructor)
#include <fanfare/fanfare.hpp>

#include <utility>

void move(fanfare::ChannelRegistry<>& channels) { auto another = std::move(channels); }
