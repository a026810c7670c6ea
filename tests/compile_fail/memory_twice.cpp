// expect: fanfare: ChannelRegistry<.*>: two policies of the same kind
#include <fanfare/fanfare.hpp>

fanfare::ChannelRegistry<fanfare::WithMemory<fanfare::NewDelete>, fanfare::WithMemory<fanfare::NewDelete>> channels;
