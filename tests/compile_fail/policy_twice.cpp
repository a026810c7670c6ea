// expect: fanfare: ChannelRegistry<.*>: two policies of the same kind
#include <fanfare/fanfare.hpp>

fanfare::ChannelRegistry<fanfare::SingleThreaded, fanfare::MultiThreaded> channels;
