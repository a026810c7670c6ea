// expect: fanfare: the atomics policy does not satisfy the concept fanfare::Atomics
#include <fanfare/fanfare.hpp>

struct NoMutex {
  static constexpr auto policy_kind = fanfare::PolicyKind::atomics;
  template <class T>
  using atomic = std::atomic<T>;
};

fanfare::ChannelRegistry<NoMutex> channels;
