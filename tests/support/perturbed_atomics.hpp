// An atomics policy that makes threads yield around every operation, and a memory policy that keeps what was freed.
//
// Together they make the rare interleavings of a test frequent, and a use after the end visible even where the memory
// would not have been handed out again. Which operations are followed by a yield depends on `perturb_from(seed)` only.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/memory.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define FANFARE_TEST_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FANFARE_TEST_ADDRESS_SANITIZER
#endif
#endif
#if defined(FANFARE_TEST_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace fanfare::test {

enum class Operation : std::uint8_t { load, store, read_modify_write, lock, unlock, plain_read, plain_write };

/// `StdAtomics`, with yields.
struct PerturbedAtomics {
  static constexpr PolicyKind policy_kind = PolicyKind::atomics;

  /// Chooses where this thread yields from now on.
  static void perturb_from(std::uint64_t seed) noexcept { mine().random = seed * 2 + 1; }

  /// Before this thread's next operation of this kind, `f` is called once: to stop a thread at an exact place.
  static void before_next(Operation operation, std::function<void()> f) {
    mine().awaited = operation;
    mine().interruption = std::move(f);
  }

  /// Calls `f` once, before this thread's operation number `step` from now (the next is 0).
  static void at_step(std::size_t step, std::function<void()> f) {
    mine().steps = step;
    mine().at_step = std::move(f);
  }
  /// Takes back what `at_step` asked for. \returns whether the thread did not get so far.
  static bool not_reached() noexcept { return std::exchange(mine().at_step, nullptr) != nullptr; }

  /// May yield.
  static void perturb(Operation operation) noexcept {
    State& state = mine();
    if (state.at_step && state.steps-- == 0) std::exchange(state.at_step, nullptr)();
    if (state.interruption && state.awaited == operation) std::exchange(state.interruption, nullptr)();
    perturb();
  }
  static void perturb() noexcept {
    State& state = mine();
    state.random ^= state.random << 13U;
    state.random ^= state.random >> 7U;
    state.random ^= state.random << 17U;
    if ((state.random & 7U) == 0) std::this_thread::yield();
  }

  template <class T>
  class atomic {
   public:
    constexpr atomic() = default;
    constexpr atomic(T value) noexcept : value_(value) {}  // NOLINT(google-explicit-constructor): as std::atomic

    [[nodiscard]] T load(std::memory_order order) const noexcept {
      perturb(Operation::load);
      const T value = value_.load(order);
      perturb();
      return value;
    }
    void store(T value, std::memory_order order) noexcept {
      perturb(Operation::store);
      value_.store(value, order);
      perturb();
    }
    T exchange(T value, std::memory_order order) noexcept {
      return modify([&] { return value_.exchange(value, order); });
    }
    T fetch_add(T value, std::memory_order order) noexcept {
      return modify([&] { return value_.fetch_add(value, order); });
    }
    T fetch_sub(T value, std::memory_order order) noexcept {
      return modify([&] { return value_.fetch_sub(value, order); });
    }
    bool compare_exchange_strong(T& expected, T value, std::memory_order success, std::memory_order failure) noexcept {
      return modify([&] { return value_.compare_exchange_strong(expected, value, success, failure); });
    }
    bool compare_exchange_weak(T& expected, T value, std::memory_order success, std::memory_order failure) noexcept {
      // May fail for no reason; does so now and then.
      if ((mine().random & 15U) == 0) {
        perturb();
        expected = value_.load(failure);
        return false;
      }
      return modify([&] { return value_.compare_exchange_weak(expected, value, success, failure); });
    }

   private:
    template <class F>
    static auto modify(F f) noexcept {
      perturb(Operation::read_modify_write);
      const auto result = f();
      perturb();
      return result;
    }

    std::atomic<T> value_{};
  };

  class mutex {
   public:
    void lock() {
      perturb(Operation::lock);
      mutex_.lock();
      perturb();
    }
    void unlock() {
      perturb(Operation::unlock);
      mutex_.unlock();
      perturb();
    }

   private:
    std::mutex mutex_;
  };

  /// Race-checked by ThreadSanitizer; here a yield widens the window.
  template <class T>
  class plain {
   public:
    constexpr plain() = default;
    constexpr explicit plain(T value) : value_(std::move(value)) {}
    [[nodiscard]] const T& read() const noexcept {
      perturb(Operation::plain_read);
      return value_;
    }
    void write(T value) noexcept {
      perturb(Operation::plain_write);
      value_ = std::move(value);
    }

   private:
    T value_{};
  };

  [[nodiscard]] static std::uintptr_t thread_identity() noexcept { return StdAtomics::thread_identity(); }

  template <std::predicate Done>
  static void await(Done done) noexcept {
    while (!done()) std::this_thread::yield();
  }

  static void allocated(const void* /*memory*/, std::size_t /*bytes*/) noexcept { perturb(); }
  static void freed(const void* /*memory*/, std::size_t /*bytes*/) noexcept { perturb(); }

 private:
  struct State {
    std::uint64_t random = 0x9e3779b97f4a7c15U;
    Operation awaited = Operation::load;
    std::function<void()> interruption;
    std::size_t steps = 0;
    std::function<void()> at_step;
  };
  static State& mine() noexcept {
    thread_local State state;
    return state;
  }
};
static_assert(Atomics<PerturbedAtomics>);

/// What was freed: filled with 0xDD and not handed out again, so that whoever still writes to it is found out, and
/// whoever still reads it gets nonsense (and a report from a sanitizer).
class Quarantine {
 public:
  Quarantine() = default;
  Quarantine(const Quarantine&) = delete;
  Quarantine& operator=(const Quarantine&) = delete;
  ~Quarantine() { static_cast<void>(empty()); }

  void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    void* const address = ::operator new(bytes, std::align_val_t{alignment}, std::nothrow);
    if (address != nullptr) live_.fetch_add(1, std::memory_order_relaxed);
    return address;
  }
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    std::memset(address, poison, bytes);
#if defined(FANFARE_TEST_ADDRESS_SANITIZER)
    __asan_poison_memory_region(address, bytes);
#endif
    live_.fetch_sub(1, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    freed_.push_back({address, bytes, alignment});
  }

  /// How many pieces are in use.
  [[nodiscard]] std::ptrdiff_t live() const noexcept { return live_.load(std::memory_order_relaxed); }

  /// Gives back what was freed. \returns in how many pieces somebody wrote after the end.
  [[nodiscard]] std::size_t empty() noexcept {
    const std::lock_guard lock(mutex_);
    std::size_t damaged = 0;
    for (const Piece& piece : freed_) {
#if defined(FANFARE_TEST_ADDRESS_SANITIZER)
      __asan_unpoison_memory_region(piece.address, piece.bytes);
#endif
      const auto* bytes = static_cast<const unsigned char*>(piece.address);
      for (std::size_t i = 0; i < piece.bytes; ++i) {
        if (bytes[i] != poison) {
          ++damaged;
          break;
        }
      }
      ::operator delete(piece.address, std::align_val_t{piece.alignment});
    }
    freed_.clear();
    return damaged;
  }

 private:
  static constexpr unsigned char poison = 0xDD;
  struct Piece {
    void* address;
    std::size_t bytes;
    std::size_t alignment;
  };
  std::mutex mutex_;
  std::vector<Piece> freed_;
  std::atomic<std::ptrdiff_t> live_{0};
};

/// All memory goes to the quarantine when it is freed.
class PoisoningMemory {
 public:
  explicit PoisoningMemory(Quarantine& quarantine) noexcept : quarantine_(&quarantine) {}
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    return quarantine_->allocate(bytes, alignment);
  }
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    quarantine_->deallocate(address, bytes, alignment);
  }

 private:
  Quarantine* quarantine_;
};
static_assert(Memory<PoisoningMemory>);

}  // namespace fanfare::test
