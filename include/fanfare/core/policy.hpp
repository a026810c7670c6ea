/// \file
/// How the policies of a class template are found by name.
#pragma once

#include <fanfare/detail/config.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>

FANFARE_NAMESPACE_BEGIN

/// The knobs of `ChannelRegistry`.
enum class PolicyKind {
  threading,  ///< `MultiThreaded` (default) or `SingleThreaded`.
  reclaimer,  ///< How memory that readers may still use is handed back. Default: that of the threading policy.
  hash,       ///< `WithHash<H>`; default `WithHash<SeededHash>`.
  allocator,  ///< `WithMemory<M>`; default `WithMemory<NewDelete>`.
  clock,      ///< `WithClock<C>`; default `WithClock<std::chrono::steady_clock>`.
  atomics,    ///< The atomic types themselves. Default: those of the threading policy.
};

/// A type that says which knob it sets: it has a constant `policy_kind`.
template <class P>
concept Policy = requires {
  { P::policy_kind } -> std::same_as<const PolicyKind&>;
};

namespace detail {

template <PolicyKind Kind, class Default, class... Policies>
struct FindPolicy {
  using type = Default;
};

template <PolicyKind Kind, class Default, class First, class... Rest>
struct FindPolicy<Kind, Default, First, Rest...>
    : std::conditional_t<First::policy_kind == Kind, std::type_identity<First>, FindPolicy<Kind, Default, Rest...>> {};

template <PolicyKind Kind, class Default, class... Policies>
using find_policy = typename FindPolicy<Kind, Default, Policies...>::type;

template <PolicyKind Kind, class... Policies>
inline constexpr std::size_t count_policies = (std::size_t{0} + ... + std::size_t{Policies::policy_kind == Kind});

}  // namespace detail

FANFARE_NAMESPACE_END
