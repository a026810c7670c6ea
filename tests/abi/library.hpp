// What one translation unit of a program offers the other.
#pragma once

#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/errc.hpp>

namespace abi {

/// Takes a type of the library, so that its own name holds the tag of the settings it was compiled with.
fanfare::errc check(const fanfare::Limits& limits);

}  // namespace abi
