// What the shared library offers. It and the program each have their own hidden copy of everything in fanfare.hpp.
#pragma once

#include <fanfare/fanfare.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

#define ODR_EXPORT __attribute__((visibility("default")))

namespace odr {

/// An error made in the library, and the library's opinion of one made elsewhere.
ODR_EXPORT std::error_code overloaded_in_library();
ODR_EXPORT bool is_overloaded_in_library(std::error_code error);

/// Both use a registry of the program's. The subscription's callback is the library's code, and appends to `seen`.
ODR_EXPORT fanfare::Subscription subscribe_in_library(fanfare::ChannelRegistry<>& channels, std::string& seen);
ODR_EXPORT fanfare::TriggerResult trigger_in_library(fanfare::ChannelRegistry<>& channels, std::string_view data);

/// In the program's second translation unit.
std::error_code overloaded_in_second();
std::size_t trigger_in_second(fanfare::ChannelRegistry<>& channels, std::string_view data);

}  // namespace odr
