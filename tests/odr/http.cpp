// A second translation unit with the headers of the room, for its test program; see odr.cpp.
#include <fanfare/http/parser.hpp>
