// The files of web/, as the build has put them into the program.
#pragma once

#include <string_view>

/// The contents of a file of web/; empty where there is no such file. The text lives as long as the program.
[[nodiscard]] std::string_view asset(std::string_view name);
