// What nearly every test includes, for the build systems to precompile. Tests still include what they use.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>
