// The one that calls; see check.py.
#include "library.hpp"

int main() {
  const bool fits = abi::check({.channel_name = 3}) == fanfare::errc::ok;
  const bool does_not = abi::check({.channel_name = 2}) == fanfare::errc::name_too_long;
  return fits && does_not ? 0 : 1;
}
