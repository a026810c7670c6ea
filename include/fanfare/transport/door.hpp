/// \file
/// How events come to a loop from other threads.
#pragma once

#include <fanfare/core/mailbox.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/sink.hpp>
#include <fanfare/detail/config.hpp>

#include <cstddef>
#include <cstdint>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Where other threads knock: a mailbox, and how to wake the loop that reads it. Lives longer than every registry that
/// the loop has joined channels of.
class Door {
 public:
  /// \param most   how many bytes may wait; a trigger beyond that is answered `errc::overloaded`.
  explicit Door(std::size_t most) noexcept : mailbox(most) {}
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  /// Makes the reader come round. Any thread.
  virtual void wake() noexcept = 0;

  Mailbox mailbox;

 protected:
  ~Door() = default;
};

namespace detail {

/// What a message costs beside its bytes.
inline constexpr std::size_t message_overhead = 192;

[[nodiscard]] inline std::size_t mailbox_bytes(const Message& message) noexcept {
  return message_overhead + message.name().size() + message.data().size() + message.frame().size();
}

/// A loop's place in one channel.
class LoopSink {
 public:
  static constexpr bool wire = true;

  LoopSink(Door& door, std::uint64_t tag) noexcept : door_(&door), tag_(tag) {}

  bool push(MessagePtr message, MessageLink& link) noexcept {
    const std::size_t bytes = mailbox_bytes(*message);
    link.tag = tag_;
    link.message = message.release();
    if (door_->mailbox.push(link, bytes)) door_->wake();
    return true;
  }
  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept {
    return door_->mailbox.has_room(message_overhead + 2 * bytes);
  }

 private:
  Door* door_;
  std::uint64_t tag_;
};
static_assert(Sink<LoopSink>);

}  // namespace detail

}  // namespace transport
FANFARE_NAMESPACE_END
