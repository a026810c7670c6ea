// How GoogleTest prints the core's values.
#pragma once

#include <fanfare/core/errc.hpp>
#include <fanfare/core/message.hpp>

#include <ostream>

namespace fanfare {

inline void PrintTo(errc error, std::ostream* out) { *out << to_string(error); }

inline void PrintTo(const EventId& id, std::ostream* out) { *out << id.epoch << '/' << id.number; }

}  // namespace fanfare
