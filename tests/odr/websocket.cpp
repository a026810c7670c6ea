// A second translation unit with the headers of the room, for its test program; see odr.cpp.
#include <fanfare/websocket/frame.hpp>
#include <fanfare/websocket/handshake.hpp>
#include <fanfare/websocket/processor.hpp>
#include <fanfare/websocket/receiver.hpp>
