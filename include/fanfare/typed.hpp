/// \file
/// Values instead of text: what events carry, read and written as JSON by Boost.JSON's conversions. Optional; nothing else
/// includes it.
///
/// A type takes part as Boost.JSON says: containers, strings and numbers by themselves, described structs through
/// Boost.Describe, all others through `tag_invoke` for `boost::json::value_from` and `boost::json::value_to`. Pages get
/// the value itself: pusher-js parses what is JSON.
#pragma once

#include <fanfare/core/errc.hpp>
#include <fanfare/core/event.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/detail/config.hpp>

#include <boost/json/conversion.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/system_error.hpp>
#include <boost/json/value.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace typed {

/// What an event carries as a `T`, or why it carries none: what Boost.JSON says of text that is no JSON, or of JSON that is
/// no `T`.
template <class T>
using Result = boost::json::result<T>;

namespace detail {

inline constexpr std::size_t scratch_bytes = 2048;  // of a value's tree; larger ones take memory

}  // namespace detail

/// Reads data.
/// \throws     `std::bad_alloc`, and what a conversion of `T`'s own throws beyond `boost::system::system_error`.
/// \complexity O(size). JSON that is nested more than 32 deep is refused.
template <class T>
[[nodiscard]] Result<T> read(std::string_view data) {
  unsigned char scratch[detail::scratch_bytes];
  boost::json::monotonic_resource memory(scratch, sizeof scratch);
  boost::system::error_code error;
  const boost::json::value value =
      boost::json::parse(boost::json::string_view(data.data(), data.size()), error, &memory);
  if (error) return error;
  return boost::json::try_value_to<T>(value);
}
/// Reads what an event carries, in a callback or out of an inbox.
template <class T>
[[nodiscard]] Result<T> read(const Event& event) {
  return read<T>(event.data());
}

/// Writes data. \throws `std::bad_alloc`, and what a conversion of `T`'s own throws. \complexity O(size).
template <class T>
[[nodiscard]] std::string write(const T& value) {
  unsigned char scratch[detail::scratch_bytes];
  boost::json::monotonic_resource memory(scratch, sizeof scratch);
  return boost::json::serialize(boost::json::value_from(value, boost::json::storage_ptr(&memory)));
}

/// Binds a function to an event that carries a `T`.
/// \param f   called with `(Result<T>)`, or with `(Result<T>, const Event&)`: what is no `T` comes as an error.
/// \returns   as `Subscription::bind`. \throws what copying or moving `f` throws; `trigger` what `read` throws.
template <class T, class F>
  requires std::invocable<F&, Result<T>> || std::invocable<F&, Result<T>, const Event&>
BindingId bind(Subscription& subscription, std::string_view event, F&& f) {
  return subscription.bind(event, [f = std::decay_t<F>(std::forward<F>(f))](const Event& e) mutable {
    if constexpr (std::invocable<F&, Result<T>, const Event&>) {
      static_cast<void>(f(read<T>(e), e));
    } else {
      static_cast<void>(f(read<T>(e)));
    }
  });
}

/// The same with a function for values and one for the rest.
/// \param f          called with `(T)`, or with `(T, const Event&)`.
/// \param on_error   called with `(boost::system::error_code, const Event&)`.
template <class T, class F, std::invocable<boost::system::error_code, const Event&> OnError>
  requires std::invocable<F&, T> || std::invocable<F&, T, const Event&>
BindingId bind(Subscription& subscription, std::string_view event, F&& f, OnError&& on_error) {
  return bind<T>(
      subscription, event,
      [f = std::decay_t<F>(std::forward<F>(f)), on_error = std::decay_t<OnError>(std::forward<OnError>(on_error))](
          Result<T> result, const Event& e) mutable {
        if (!result) {
          static_cast<void>(on_error(result.error(), e));
        } else if constexpr (std::invocable<F&, T, const Event&>) {
          static_cast<void>(f(std::move(*result), e));
        } else {
          static_cast<void>(f(std::move(*result)));
        }
      });
}

/// Sends a value to every subscriber of a channel.
/// \param target   an `App` or a `ChannelRegistry`.
/// \returns        as its `trigger`. \throws what `write` and that throw; nobody has been sent anything then if it was `write`.
template <class Target, class T>
  requires requires(Target& target, std::string_view text, const TriggerOptions& options) {
    { target.trigger(text, text, Data(text), options) } -> std::same_as<TriggerResult>;
  }
TriggerResult trigger(Target& target, std::string_view channel, std::string_view event, const T& value,
                      const TriggerOptions& options = {}) {
  return target.trigger(channel, event, write(value), options);
}

/// The same through a handle, which has its channel.
template <class Handle, class T>
  requires requires(Handle& handle, std::string_view text, const TriggerOptions& options) {
    { handle.trigger(text, Data(text), options) } -> std::same_as<TriggerResult>;
  }
TriggerResult trigger(Handle& handle, std::string_view event, const T& value, const TriggerOptions& options = {}) {
  return handle.trigger(event, write(value), options);
}

}  // namespace typed
FANFARE_NAMESPACE_END
