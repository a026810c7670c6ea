/// \file
/// How bytes get into sockets, as a choice.
#pragma once

#include <fanfare/detail/config.hpp>

#include <cstdint>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// How a loop writes to its sockets.
enum class SocketIo : std::uint8_t {
  automatic,  ///< With io_uring where it is there and the loop's thread is always the same, with `send` elsewhere.
  uring,      ///< With io_uring, or the server does not start. Whoever runs the loop must always be the same thread.
              ///< (A loop that then gets no ring of its own, or loses it, goes on with `send`.)
  send,       ///< With `send`.
};

}  // namespace transport
FANFARE_NAMESPACE_END
