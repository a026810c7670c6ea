// A second translation unit with the headers of the room, for its test program; see odr.cpp.
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/client_frame.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/pusher/http_api.hpp>
#include <fanfare/pusher/session.hpp>
#include <fanfare/pusher/socket_id.hpp>
