// expect: fanfare: ChannelRegistry<.*>: every argument must be a policy
#include <fanfare/fanfare.hpp>

struct Fast {};

fanfare::ChannelRegistry<Fast> channels;
