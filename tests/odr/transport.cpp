// A second translation unit with the headers of the room, for its test program; see odr.cpp.
#include <fanfare/async.hpp>
#include <fanfare/server.hpp>
#include <fanfare/transport/bytes.hpp>
#include <fanfare/transport/fanout.hpp>
#include <fanfare/transport/hosted.hpp>
#include <fanfare/transport/listener.hpp>
#include <fanfare/transport/loop.hpp>
#include <fanfare/transport/memory.hpp>
#include <fanfare/transport/perform.hpp>
