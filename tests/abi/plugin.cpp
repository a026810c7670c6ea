// The library; see loader.cpp.
#include "plugin.hpp"

namespace {

const abi::Plugin plugin{
    .make = [](fanfare::errc error) { return make_error_code(error); },
    .is = [](const std::error_code& error, fanfare::errc expected) { return error == expected; },
    .matches =
        [](const std::error_code& error, fanfare::errc expected) {
          return error == std::error_condition(static_cast<int>(expected), fanfare::error_category());
        },
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const abi::Plugin* abi_plugin() { return &plugin; }
