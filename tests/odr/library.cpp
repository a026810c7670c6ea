#include "library.hpp"

namespace odr {

std::error_code overloaded_in_library() { return make_error_code(fanfare::errc::overloaded); }

bool is_overloaded_in_library(std::error_code error) { return error == fanfare::errc::overloaded; }

fanfare::Subscription subscribe_in_library(fanfare::ChannelRegistry<>& channels, std::string& seen) {
  return channels.subscribe("odr", [&seen](fanfare::Subscription& subscription) {
    subscription.bind_all([&seen](const fanfare::Event& event) { seen += event.data(); });
  });
}

fanfare::TriggerResult trigger_in_library(fanfare::ChannelRegistry<>& channels, std::string_view data) {
  return channels.trigger("odr", "letter", data);
}

}  // namespace odr
