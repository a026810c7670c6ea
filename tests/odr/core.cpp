// A second translation unit with the headers of the room, for its test program; see odr.cpp.
#include <fanfare/core/channel_rules.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/history.hpp>
#include <fanfare/core/kept_budget.hpp>
#include <fanfare/core/kept_bytes.hpp>
#include <fanfare/core/memory_pool.hpp>
#include <fanfare/core/resource_memory.hpp>
#include <fanfare/core/retained.hpp>
