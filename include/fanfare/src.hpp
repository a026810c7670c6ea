/// \file
/// What separate compilation compiles once: exactly one unit of a program includes this file, and nothing of fanfare before
/// it. All units of the program that include `fanfare/server.hpp` define `FANFARE_SEPARATE_COMPILATION`.
#pragma once

#if !defined(FANFARE_SEPARATE_COMPILATION)
#define FANFARE_SEPARATE_COMPILATION
#endif

#include <fanfare/detail/config.hpp>
#include <fanfare/impl/server.hpp>
