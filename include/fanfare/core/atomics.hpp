/// \file
/// The "atomics" policy: everything through which threads can meet, as one replaceable bundle.
///
/// The core takes its atomics, mutexes, shared plain data, thread identity and waiting from here and from nowhere
/// else. So the same code runs with `std::atomic` (`StdAtomics`), without any atomic instruction (`PlainAtomics`), and
/// under a tool that explores interleavings.
#pragma once

#include <fanfare/core/policy.hpp>
#include <fanfare/detail/config.hpp>

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#if defined(__has_builtin) && (defined(__x86_64__) || defined(__aarch64__))
#if __has_builtin(__builtin_thread_pointer)
#define FANFARE_THREAD_POINTER
#endif
#endif

FANFARE_NAMESPACE_BEGIN

/// Data shared between threads whose accesses are ordered by other means. A checking policy can tell a race here.
template <class T>
class PlainCell {
 public:
  constexpr PlainCell() = default;
  /// Begins with a value, before any other thread knows of it.
  constexpr explicit PlainCell(T value) : value_(std::move(value)) {}

  /// The value. \pre no other thread writes.
  [[nodiscard]] const T& read() const noexcept { return value_; }
  /// \pre no other thread reads or writes.
  void write(T value) noexcept { value_ = std::move(value); }

 private:
  T value_{};
};

/// The real thing: for registries that several threads use. The default of `MultiThreaded`.
struct StdAtomics {
  static constexpr PolicyKind policy_kind = PolicyKind::atomics;

  /// What threads share.
  template <class T>
  using atomic = std::atomic<T>;
  /// What they wait for, on paths that may wait.
  using mutex = std::mutex;
  /// What they share, ordered by other means.
  template <class T>
  using plain = PlainCell<T>;

  /// A number that no other running thread has; never 0. Nothing is stored per thread.
  [[nodiscard]] static std::uintptr_t thread_identity() noexcept {
#if defined(FANFARE_THREAD_POINTER)
    return reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
#elif defined(__unix__) || defined(__APPLE__)
    return (std::uintptr_t)pthread_self();  // an integer here, a pointer there; never 0
#else
    return static_cast<std::uintptr_t>(std::hash<std::thread::id>{}(std::this_thread::get_id())) | 1U;
#endif
  }

  /// Returns once `done()` holds. Only for what another thread brings about by itself; used by those who leave, never
  /// by a trigger.
  template <std::predicate Done>
  static void await(Done done) noexcept {
    for (int spins = 0; spins < 64; ++spins) {
      if (done()) return;
    }
    for (int yields = 0; yields < 64; ++yields) {
      if (done()) return;
      std::this_thread::yield();
    }
    // A callback that is awaited may take its time: look less and less often, but every millisecond or so.
    for (auto pause = std::chrono::microseconds{10}; !done();) {
      std::this_thread::sleep_for(pause);
      if (pause < std::chrono::microseconds{1000}) pause *= 2;
    }
  }

  /// Told of every piece of memory after it was allocated.
  static void allocated(const void* /*memory*/, std::size_t /*bytes*/) noexcept {}
  /// Likewise, before it is freed.
  static void freed(const void* /*memory*/, std::size_t /*bytes*/) noexcept {}
};

/// The same shape without an atomic instruction. The default of `SingleThreaded`.
struct PlainAtomics {
  static constexpr PolicyKind policy_kind = PolicyKind::atomics;

  /// The part of `std::atomic`'s interface that the core uses, on an ordinary variable.
  template <class T>
  class atomic {
   public:
    constexpr atomic() = default;
    /// As of `std::atomic`.
    constexpr atomic(T value) noexcept : value_(value) {}  // NOLINT(google-explicit-constructor): as std::atomic

    /// \name As of `std::atomic`
    /// @{

    /// The same result, whatever the order.
    [[nodiscard]] T load(std::memory_order /*order*/) const noexcept { return value_; }
    void store(T value, std::memory_order /*order*/) noexcept { value_ = value; }
    T exchange(T value, std::memory_order /*order*/) noexcept { return std::exchange(value_, value); }
    T fetch_add(T value, std::memory_order /*order*/) noexcept {
      return std::exchange(value_, static_cast<T>(value_ + value));
    }
    T fetch_sub(T value, std::memory_order /*order*/) noexcept {
      return std::exchange(value_, static_cast<T>(value_ - value));
    }
    bool compare_exchange_strong(T& expected, T value, std::memory_order /*success*/,
                                 std::memory_order /*failure*/) noexcept {
      if (value_ != expected) {
        expected = value_;
        return false;
      }
      value_ = value;
      return true;
    }
    bool compare_exchange_weak(T& expected, T value, std::memory_order success, std::memory_order failure) noexcept {
      return compare_exchange_strong(expected, value, success, failure);
    }
    /// @}

   private:
    T value_{};
  };

  /// Locks nothing.
  struct mutex {
    /// \name As of `std::mutex`
    /// @{

    /// Does nothing.
    void lock() noexcept {}
    void unlock() noexcept {}
    /// @}
  };

  /// \name As of `StdAtomics`
  /// @{

  /// For one thread: there is nobody to wait for, and nobody to be told.
  template <class T>
  using plain = PlainCell<T>;

  [[nodiscard]] static std::uintptr_t thread_identity() noexcept { return 1; }

  template <std::predicate Done>
  static void await(Done done) noexcept {
    FANFARE_ASSERT(done(), "a single thread would wait for itself");
    static_cast<void>(done);
  }

  static void allocated(const void* /*memory*/, std::size_t /*bytes*/) noexcept {}
  static void freed(const void* /*memory*/, std::size_t /*bytes*/) noexcept {}
  /// @}
};

/// The requirements on the atomics policy.
template <class A>
concept Atomics =
    Policy<A> && A::policy_kind == PolicyKind::atomics &&
    requires(typename A::template atomic<std::uint64_t>& location, typename A::mutex& mutex,
             typename A::template plain<int>& cell, std::uint64_t value, const void* memory) {
      { location.load(std::memory_order_seq_cst) } noexcept -> std::same_as<std::uint64_t>;
      { location.store(value, std::memory_order_seq_cst) } noexcept;
      { location.exchange(value, std::memory_order_acquire) } noexcept -> std::same_as<std::uint64_t>;
      { location.fetch_sub(value, std::memory_order_acq_rel) } noexcept -> std::same_as<std::uint64_t>;
      {
        location.compare_exchange_weak(value, value, std::memory_order_relaxed, std::memory_order_relaxed)
      } noexcept -> std::same_as<bool>;
      { location.fetch_add(value, std::memory_order_release) } noexcept;
      {
        location.compare_exchange_strong(value, value, std::memory_order_seq_cst, std::memory_order_relaxed)
      } noexcept -> std::same_as<bool>;
      { mutex.lock() };
      { mutex.unlock() };
      { cell.read() } -> std::convertible_to<int>;
      { cell.write(1) };
      { A::thread_identity() } noexcept -> std::same_as<std::uintptr_t>;
      {
        A::await([] { return true; })
      };
      { A::allocated(memory, std::size_t{}) } noexcept;
      { A::freed(memory, std::size_t{}) } noexcept;
    };

static_assert(Atomics<StdAtomics> && Atomics<PlainAtomics>);

FANFARE_NAMESPACE_END

#undef FANFARE_THREAD_POINTER
