/// \file
/// The version. CMake, Meson, pkg-config and the packages read the three numbers from this file; script/package/check says
/// who tells another.
#pragma once

/// The version, for the preprocessor: rises with every change of the interface that breaks programs, from 1.0 on.
#define FANFARE_VERSION_MAJOR 0
/// Rises with what is new; before 1.0 the interface may change with it.
#define FANFARE_VERSION_MINOR 1
/// Rises with what is mended.
#define FANFARE_VERSION_PATCH 0

/// Part of `FANFARE_VERSION_STRING`.
#define FANFARE_VERSION_QUOTE(major, minor, patch) #major "." #minor "." #patch
/// Likewise.
#define FANFARE_VERSION_JOIN(major, minor, patch) FANFARE_VERSION_QUOTE(major, minor, patch)
/// The version as text, such as `"0.1.0"`.
#define FANFARE_VERSION_STRING FANFARE_VERSION_JOIN(FANFARE_VERSION_MAJOR, FANFARE_VERSION_MINOR, FANFARE_VERSION_PATCH)

namespace fanfare {

/// `FANFARE_VERSION_MAJOR`.
inline constexpr int version_major = FANFARE_VERSION_MAJOR;
/// `FANFARE_VERSION_MINOR`.
inline constexpr int version_minor = FANFARE_VERSION_MINOR;
/// `FANFARE_VERSION_PATCH`.
inline constexpr int version_patch = FANFARE_VERSION_PATCH;
/// `FANFARE_VERSION_STRING`.
inline constexpr const char* version_string = FANFARE_VERSION_STRING;

}  // namespace fanfare
