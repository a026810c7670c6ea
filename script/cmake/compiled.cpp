// All that fanfare compiles where it is compiled separately.
#include <fanfare/src.hpp>
