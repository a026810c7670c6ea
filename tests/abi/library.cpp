// The one that is called; see check.py.
#include "library.hpp"

namespace abi {

fanfare::errc check(const fanfare::Limits& limits) { return fanfare::ChannelName::check("abi", limits.channel_name); }

}  // namespace abi
