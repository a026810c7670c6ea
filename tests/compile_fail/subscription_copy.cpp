// expect: (deleted function|deleted constructor|implicitly deleted|implicitly-deleted)
#include <fanfare/fanfare.hpp>

void copy(fanfare::Subscription& lobby) { auto another = lobby; }
