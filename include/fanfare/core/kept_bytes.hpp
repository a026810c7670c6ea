/// \file
/// What a kept message counts.
#pragma once

#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <cstddef>

FANFARE_NAMESPACE_BEGIN

/// What each kept message counts beside its bytes: about what the object, its places in the queues of four loops, its
/// place among the kept and the allocator need.
inline constexpr std::size_t kept_message_overhead = 256;

/// How many bytes a message counts where it is kept: all of its parts (names, data, where it comes from), its frame,
/// and `kept_message_overhead`. A message that is kept in two places counts in both. \complexity O(1).
[[nodiscard]] inline std::size_t kept_bytes(const Message& message) noexcept {
  return kept_message_overhead + message.channel().size() + message.name().size() + message.data().size() +
         message.user_id().size() + message.socket_id().size() + message.except_socket().size() +
         message.frame().size();
}

FANFARE_NAMESPACE_END
