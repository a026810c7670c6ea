// What a library offers that a program loads while it runs. Each has a copy of its own of everything in fanfare.hpp.
#pragma once

#include <fanfare/core/errc.hpp>

#include <system_error>

namespace abi {

/// Found by the name `abi_plugin`.
struct Plugin {
  std::error_code (*make)(fanfare::errc);                  ///< An error made in the library.
  bool (*is)(const std::error_code&, fanfare::errc);       ///< The library's opinion of one made elsewhere.
  bool (*matches)(const std::error_code&, fanfare::errc);  ///< Likewise, with an `error_condition` of its own.
};

}  // namespace abi
