// expect: (deleted function|deleted constructor)
#include <fanfare/fanfare.hpp>

fanfare::Event copy(const fanfare::Event& event) { return event; }
