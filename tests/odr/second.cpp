#include "library.hpp"

namespace odr {

std::error_code overloaded_in_second() { return make_error_code(fanfare::errc::overloaded); }

std::size_t trigger_in_second(fanfare::ChannelRegistry<>& channels, std::string_view data) {
  return channels.trigger("odr", "letter", data).delivered;
}

}  // namespace odr
