// The steady clock of a test program, which can be made to show something else. One translation unit of the program
// defines FANFARE_TEST_REPLACES_CLOCK before it includes this; all others only set it.
#pragma once

#include <chrono>
#include <optional>
#include <utility>

namespace fanfare::test {

/// While one lives, the clock shows this thread one and the same time.
class ClockShows {
 public:
  explicit ClockShows(std::chrono::steady_clock::time_point time) noexcept : before_(std::exchange(shown_, time)) {}
  ClockShows(const ClockShows&) = delete;
  ClockShows& operator=(const ClockShows&) = delete;
  ~ClockShows() { shown_ = before_; }

  [[nodiscard]] static const std::optional<std::chrono::steady_clock::time_point>& shown() noexcept { return shown_; }

 private:
  static inline thread_local std::optional<std::chrono::steady_clock::time_point> shown_;

  std::optional<std::chrono::steady_clock::time_point> before_;
};

}  // namespace fanfare::test

#ifdef FANFARE_TEST_REPLACES_CLOCK
#include <time.h>

// In the place of the standard library's, which is in a shared library: the program's own comes first.
std::chrono::steady_clock::time_point std::chrono::steady_clock::now() noexcept {
  if (const auto& shown = fanfare::test::ClockShows::shown()) return *shown;
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time_point(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}
#endif
