// A stack of its own for each thread of a program, all of them on one thread of the machine.
#pragma once

#include <cstddef>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace fanfare::explore {

/// Where a fiber continues. `resume` on one fiber suspends the other; a fiber that is never resumed is simply forgotten.
class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next `resume` calls `entry`, which must not return.
  void prepare(void (*entry)());

  /// Continues `to`, and returns when somebody resumes this one.
  void suspend_for(Fiber& to);

 private:
  static constexpr std::size_t stack_bytes = std::size_t{256} << 10U;
  std::unique_ptr<std::byte[]> stack_;
#if defined(__x86_64__)
  void* top_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

}  // namespace fanfare::explore
