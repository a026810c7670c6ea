/// \file
/// One event as a callback or a poll sees it.
#pragma once

#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <concepts>
#include <string_view>

FANFARE_NAMESPACE_BEGIN

namespace detail {

template <class Traits>
class Channel;

/// Makes messages with a registry's memory.
class MessageSource {
 public:
  [[nodiscard]] virtual MessagePtr make_message(const MessageParts& parts, EventId id) const noexcept = 0;

 protected:
  ~MessageSource() = default;
};

}  // namespace detail

/// What subscribers are given.
///
/// \ownership the views end with the callback; what `keep` returns does not.
/// Thread safety: used by the thread that it was handed to.
class Event {
 public:
  /// An event that is already a message.
  explicit Event(const Message& message) noexcept
      : parts_{message.channel(), message.name(), message.data(), nullptr}, id_(message.id()), shared_(&message) {}

  /// \private
  Event(std::string_view channel, std::string_view name, std::string_view data, const MessageOrigin* origin,
        const detail::MessageSource& source) noexcept
      : parts_{channel, name, data, origin}, source_(&source) {}

  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  /// The channel that it was triggered on.
  [[nodiscard]] std::string_view channel() const noexcept { return parts_.channel; }
  /// What it is called.
  [[nodiscard]] std::string_view name() const noexcept { return parts_.name; }
  /// The publisher's bytes, unchanged.
  [[nodiscard]] std::string_view data() const noexcept { return parts_.data; }
  /// Who sent it, if a client did and is known; else empty.
  [[nodiscard]] std::string_view user_id() const noexcept {
    return shared_ == nullptr ? parts_.user_id() : shared_->user_id();
  }
  /// The connection that sent it, if a client did; else empty.
  [[nodiscard]] std::string_view socket_id() const noexcept {
    return shared_ == nullptr ? parts_.socket_id() : shared_->socket_id();
  }
  /// Its place in the channel's order; empty on channels that have none.
  [[nodiscard]] EventId id() const noexcept { return id_; }

  /// The event as an object that outlives the callback. All who keep one event share one copy.
  /// \returns    null where memory is exhausted.
  /// \complexity O(1) if the event was queued for somebody or kept before, else one allocation and copy.
  [[nodiscard]] MessagePtr keep() const noexcept {
    if (shared_ == nullptr) {
      kept_ = source_->make_message(parts_, id_);
      shared_ = kept_.get();
      return kept_;
    }
    return MessagePtr::share(*shared_);
  }

 private:
  template <class Traits>
  friend class detail::Channel;

  MessageParts parts_;
  EventId id_;
  mutable const Message* shared_ = nullptr;
  mutable MessagePtr kept_;
  const detail::MessageSource* source_ = nullptr;
};

/// What can be bound to an event: callable with a `const Event&`. What it returns is ignored.
///
/// Callables no larger than a pointer that are trivially copyable and callable as `const` (a lambda that captures
/// `this`, one reference or nothing) are stored inside the subscriber list and called as copies.
template <class F>
concept EventCallback = std::invocable<F&, const Event&>;

FANFARE_NAMESPACE_END
