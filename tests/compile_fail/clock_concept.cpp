// expect: fanfare: WithClock<C>: C does not satisfy the concept fanfare::Clock
#include <fanfare/fanfare.hpp>

struct Sundial {};

fanfare::ChannelRegistry<fanfare::WithClock<Sundial>> channels;
