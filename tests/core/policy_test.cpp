#include <fanfare/core/policy.hpp>

#include <gtest/gtest.h>

#include <type_traits>

namespace fanfare::test {
namespace {

struct Fast {
  static constexpr PolicyKind policy_kind = PolicyKind::hash;
};
struct Slow {
  static constexpr PolicyKind policy_kind = PolicyKind::hash;
};
struct Single {
  static constexpr PolicyKind policy_kind = PolicyKind::threading;
};
struct NoPolicy {};
struct WrongType {
  static constexpr int policy_kind = 2;
};
struct Mutable {
  [[maybe_unused]] static inline PolicyKind policy_kind = PolicyKind::hash;
};

TEST(Policy, IsAnythingWithAConstantKind) {
  static_assert(Policy<Fast> && Policy<Single>);
  static_assert(!Policy<NoPolicy> && !Policy<WrongType> && !Policy<Mutable> && !Policy<int>);
}

TEST(Policy, IsFoundByKindInAnyOrder) {
  using detail::find_policy;
  static_assert(std::is_same_v<find_policy<PolicyKind::hash, Slow, Single, Fast>, Fast>);
  static_assert(std::is_same_v<find_policy<PolicyKind::hash, Slow, Fast, Single>, Fast>);
  static_assert(std::is_same_v<find_policy<PolicyKind::threading, NoPolicy, Fast, Single>, Single>);
}

TEST(Policy, DefaultIsTakenWhereNoneIsGiven) {
  using detail::find_policy;
  static_assert(std::is_same_v<find_policy<PolicyKind::clock, NoPolicy, Fast, Single>, NoPolicy>);
  static_assert(std::is_same_v<find_policy<PolicyKind::clock, NoPolicy>, NoPolicy>);
}

TEST(Policy, AreCountedByKind) {
  static_assert(detail::count_policies<PolicyKind::hash, Fast, Single, Slow> == 2);
  static_assert(detail::count_policies<PolicyKind::clock, Fast, Single, Slow> == 0);
  static_assert(detail::count_policies<PolicyKind::clock> == 0);
}

}  // namespace
}  // namespace fanfare::test
