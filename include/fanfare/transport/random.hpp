/// \file
/// Random numbers that nobody can guess, out of the kernel.
#pragma once

#include <fanfare/detail/config.hpp>

#include <sys/random.h>
#include <sys/types.h>
#include <array>
#include <cstddef>
#include <cstdint>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Fills memory with random bytes. Any thread; waits only while the machine is starting.
inline void fill_random(void* bytes, std::size_t size) noexcept {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count = ::getrandom(static_cast<char*>(bytes) + done, size - done, 0);
    if (count > 0) done += static_cast<std::size_t>(count);
  }
}

/// Random numbers one by one, fetched many at a time.
///
/// Thread safety: like an `int`.
class RandomNumbers {
 public:
  /// The next one, each as likely as any other.
  [[nodiscard]] std::uint64_t next() noexcept {
    if (left_ == 0) {
      fill_random(numbers_.data(), sizeof numbers_);
      left_ = numbers_.size();
    }
    return numbers_[--left_];
  }

 private:
  std::array<std::uint64_t, 64> numbers_{};
  std::size_t left_ = 0;
};

}  // namespace transport
FANFARE_NAMESPACE_END
