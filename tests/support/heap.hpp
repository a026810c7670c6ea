// The heap of a test program, counted and made to fail. One translation unit of the program defines
// FANFARE_TEST_REPLACES_NEW before it includes this; all others only look.
#pragma once

#include <malloc.h>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>

namespace fanfare::test {

class Heap {
 public:
  static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

  /// How many blocks are out.
  [[nodiscard]] static std::size_t live() { return live_.load(); }
  /// How many bytes they can hold.
  [[nodiscard]] static std::size_t live_bytes() { return live_bytes_.load(); }

  /// Lets so many allocations succeed and the next one fail, of any thread; `all`: those behind it too.
  static void fail_after(std::size_t successes, bool all = false) {
    refused_ = 0;
    fail_all_ = all;
    until_failure_ = successes;
  }
  /// \returns how many were refused since `fail_after`.
  static std::size_t succeed() {
    until_failure_ = never;
    return refused_;
  }

  static void* allocate(std::size_t size, std::align_val_t to = std::align_val_t{alignof(std::max_align_t)}) {
    if (until_failure_.load(std::memory_order_relaxed) != never && refuses()) throw std::bad_alloc();
    const auto alignment = static_cast<std::size_t>(to);
    const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
    // Not larger than asked for where that is possible, so that a read beyond it is seen.
    void* const address = alignment <= alignof(std::max_align_t) ? std::malloc(size == 0 ? 1 : size)
                                                                 : std::aligned_alloc(alignment, rounded);
    if (address == nullptr) throw std::bad_alloc();
    live_.fetch_add(1, std::memory_order_relaxed);
    live_bytes_.fetch_add(::malloc_usable_size(address), std::memory_order_relaxed);
    return address;
  }
  static void free(void* address) noexcept {
    if (address == nullptr) return;
    live_.fetch_sub(1, std::memory_order_relaxed);
    live_bytes_.fetch_sub(::malloc_usable_size(address), std::memory_order_relaxed);
    std::free(address);
  }

 private:
  static bool refuses() {
    if (until_failure_ == 0) {
      if (!fail_all_) until_failure_ = never;
      ++refused_;
      return true;
    }
    --until_failure_;
    return false;
  }

  static inline std::atomic<std::size_t> live_{0};
  static inline std::atomic<std::size_t> live_bytes_{0};
  static inline std::atomic<std::size_t> until_failure_{never};
  static inline std::atomic<std::size_t> refused_{0};
  static inline std::atomic<bool> fail_all_{false};
};

}  // namespace fanfare::test

#ifdef FANFARE_TEST_REPLACES_NEW
// All forms: a sanitizer has its own for those that are left out, and sees them mixed.
void* operator new(std::size_t size) { return fanfare::test::Heap::allocate(size); }
void* operator new[](std::size_t size) { return fanfare::test::Heap::allocate(size); }
void* operator new(std::size_t size, std::align_val_t to) { return fanfare::test::Heap::allocate(size, to); }
void* operator new[](std::size_t size, std::align_val_t to) { return fanfare::test::Heap::allocate(size, to); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return fanfare::test::Heap::allocate(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
void* operator new(std::size_t size, std::align_val_t to, const std::nothrow_t&) noexcept {
  try {
    return fanfare::test::Heap::allocate(size, to);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, std::align_val_t to, const std::nothrow_t& tag) noexcept {
  return operator new(size, to, tag);
}
void operator delete(void* address) noexcept { fanfare::test::Heap::free(address); }
void operator delete[](void* address) noexcept { fanfare::test::Heap::free(address); }
void operator delete(void* address, std::size_t) noexcept { fanfare::test::Heap::free(address); }
void operator delete[](void* address, std::size_t) noexcept { fanfare::test::Heap::free(address); }
void operator delete(void* address, const std::nothrow_t&) noexcept { fanfare::test::Heap::free(address); }
void operator delete[](void* address, const std::nothrow_t&) noexcept { fanfare::test::Heap::free(address); }
void operator delete(void* address, std::align_val_t) noexcept { fanfare::test::Heap::free(address); }
void operator delete[](void* address, std::align_val_t) noexcept { fanfare::test::Heap::free(address); }
void operator delete(void* address, std::size_t, std::align_val_t) noexcept { fanfare::test::Heap::free(address); }
void operator delete[](void* address, std::size_t, std::align_val_t) noexcept { fanfare::test::Heap::free(address); }
void operator delete(void* address, std::align_val_t, const std::nothrow_t&) noexcept {
  fanfare::test::Heap::free(address);
}
void operator delete[](void* address, std::align_val_t, const std::nothrow_t&) noexcept {
  fanfare::test::Heap::free(address);
}
#endif
