/// \file
/// The version, stated here alone: CMake, Meson and pkg-config read the three numbers from this file.
#pragma once

#define FANFARE_VERSION_MAJOR 0
#define FANFARE_VERSION_MINOR 1
#define FANFARE_VERSION_PATCH 0

#define FANFARE_VERSION_QUOTE(major, minor, patch) #major "." #minor "." #patch
#define FANFARE_VERSION_JOIN(major, minor, patch) FANFARE_VERSION_QUOTE(major, minor, patch)
#define FANFARE_VERSION_STRING FANFARE_VERSION_JOIN(FANFARE_VERSION_MAJOR, FANFARE_VERSION_MINOR, FANFARE_VERSION_PATCH)

namespace fanfare {

inline constexpr int version_major = FANFARE_VERSION_MAJOR;
inline constexpr int version_minor = FANFARE_VERSION_MINOR;
inline constexpr int version_patch = FANFARE_VERSION_PATCH;
inline constexpr const char* version_string = FANFARE_VERSION_STRING;

}  // namespace fanfare
