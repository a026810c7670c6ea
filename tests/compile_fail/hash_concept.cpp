// expect: fanfare: WithHash<H>: H does not satisfy the concept fanfare::NameHash
#include <fanfare/fanfare.hpp>

struct Unseeded {
  static std::uint64_t hash(std::string_view name) noexcept;
};

fanfare::ChannelRegistry<fanfare::WithHash<Unseeded>> channels;
