/// \file
/// Anything that takes delivered messages into a queue of its own.
#pragma once

#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <concepts>
#include <cstddef>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// A queue that a registry pushes messages into: an inbox, or an io loop on behalf of its connections.
///
/// | expression | type | meaning | thread |
/// |---|---|---|---|
/// | `s.push(MessagePtr)`, or | `bool` | takes the message; false: refused, not counted as delivered | any, concurrently |
/// | `s.push(MessagePtr, MessageLink&)` | `bool` | the same, with a link for an intrusive queue, whose members are the sink's while it holds the message; preferred if there are both | |
/// | `s.has_room(bytes)` | `bool` | optional: false makes `trigger` answer `overloaded` and deliver to nobody; `bytes` are those of the name and the data | any |
/// | `S::wire` | `bool` | optional: true if it wants `Message::frame()` filled by the registry's encoder | |
///
/// None may throw, wait, or call the registry: on ordered channels they run under the channel's lock.
template <class S>
concept Sink = requires(S& sink, MessagePtr message) {
  { sink.push(std::move(message)) } noexcept -> std::same_as<bool>;
} || requires(S& sink, MessagePtr message, MessageLink& link) {
  { sink.push(std::move(message), link) } noexcept -> std::same_as<bool>;
};

namespace detail {

/// A sink's functions.
struct SinkOperations {
  bool (*push)(void* sink, MessagePtr message, MessageLink* link) noexcept;
  bool (*has_room)(void* sink, std::size_t bytes) noexcept;
  bool wire;
  bool linked;  ///< `push` wants a link
};

template <Sink S>
struct OperationsOf {
  static constexpr bool linked = requires(S& sink, MessagePtr message, MessageLink& link) {
    { sink.push(std::move(message), link) } noexcept -> std::same_as<bool>;
  };
  static bool push(void* sink, MessagePtr message, [[maybe_unused]] MessageLink* link) noexcept {
    if constexpr (linked) {
      return static_cast<S*>(sink)->push(std::move(message), *link);
    } else {
      return static_cast<S*>(sink)->push(std::move(message));
    }
  }
  static bool has_room(void* sink, std::size_t bytes) noexcept {
    if constexpr (requires(S& s) {
                    { s.has_room(bytes) } noexcept -> std::same_as<bool>;
                  }) {
      return static_cast<S*>(sink)->has_room(bytes);
    } else {
      return true;
    }
  }
  static constexpr bool wire = [] {
    if constexpr (requires {
                    { S::wire } -> std::convertible_to<bool>;
                  }) {
      return bool{S::wire};
    } else {
      return false;
    }
  }();
  static constexpr SinkOperations value{&push, &has_room, wire, linked};
};

}  // namespace detail

FANFARE_NAMESPACE_END
