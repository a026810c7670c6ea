// expect: fanfare: the reclaimer policy does not satisfy the concept fanfare::Reclaimer
#include <fanfare/fanfare.hpp>

struct Never {
  static constexpr auto policy_kind = fanfare::PolicyKind::reclaimer;
  template <class A, class M>
  struct domain {};
};

fanfare::ChannelRegistry<Never> channels;
