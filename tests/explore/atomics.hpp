// The atomics policy under which the core's code is explored.
#pragma once

#include "explorer.hpp"
#include <fanfare/core/atomics.hpp>
#include <fanfare/core/memory.hpp>

#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace fanfare::explore {

/// Every operation is a step of the exploration.
struct ExploredAtomics {
  static constexpr PolicyKind policy_kind = PolicyKind::atomics;

  template <class T>
  class atomic {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));

   public:
    atomic() noexcept : atomic(T{}) {}
    atomic(T value) noexcept {  // NOLINT(google-explicit-constructor): as std::atomic
      Explorer::current().initialise(location_, to_bits(value));
    }
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    [[nodiscard]] T load(std::memory_order order) const noexcept {
      return from_bits(Explorer::current().load(location_, order));
    }
    void store(T desired, std::memory_order order) noexcept {
      Explorer::current().store(location_, to_bits(desired), order);
    }
    T exchange(T desired, std::memory_order order) noexcept {
      return modify(order, [&](T /*old*/) { return desired; });
    }
    T fetch_add(T by, std::memory_order order) noexcept {
      return modify(order, [&](T old) { return static_cast<T>(old + by); });
    }
    T fetch_sub(T by, std::memory_order order) noexcept {
      return modify(order, [&](T old) { return static_cast<T>(old - by); });
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                                 std::memory_order failure) noexcept {
      std::uint64_t found = to_bits(expected);
      const bool done = Explorer::current().compare_exchange(location_, found, to_bits(desired), success, failure);
      expected = from_bits(found);
      return done;
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure) noexcept {
      return compare_exchange_strong(expected, desired, success, failure);
    }

   private:
    static std::uint64_t to_bits(T value) noexcept {
      std::uint64_t bits = 0;
      std::memcpy(&bits, &value, sizeof value);
      return bits;
    }
    static T from_bits(std::uint64_t bits) noexcept {
      T value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    template <class Change>
    T modify(std::memory_order order, Change change) noexcept {
      return from_bits(Explorer::current().modify(location_, order,
                                                  [&](std::uint64_t old) { return to_bits(change(from_bits(old))); }));
    }

    mutable Location location_;
  };

  class mutex {
   public:
    void lock() { Explorer::current().lock(state_); }
    void unlock() { Explorer::current().unlock(state_); }

   private:
    MutexState state_;
  };

  template <class T>
  class plain {
   public:
    plain() : plain(T{}) {}
    explicit plain(T value) : value_(std::move(value)) { Explorer::current().initialise(state_); }
    plain(const plain&) = delete;
    plain& operator=(const plain&) = delete;

    [[nodiscard]] const T& read() const {
      Explorer::current().read(state_, this);
      return value_;
    }
    void write(T value) {
      Explorer::current().write(state_, this);
      value_ = std::move(value);
    }

   private:
    mutable PlainState state_;
    T value_;
  };

  [[nodiscard]] static std::uintptr_t thread_identity() noexcept { return Explorer::current().identity(); }

  template <std::predicate Done>
  static void await(Done done) noexcept {
    Explorer::current().await([](void* argument) { return static_cast<bool>((*static_cast<Done*>(argument))()); },
                              &done);
  }

  static void allocated(const void* memory, std::size_t bytes) noexcept {
    Explorer::current().allocated(memory, bytes);
  }
  static void freed(const void* memory, std::size_t /*bytes*/) noexcept { Explorer::current().freed(memory); }
};
static_assert(Atomics<ExploredAtomics>);

/// The heap of the exploration.
struct ExploredMemory {
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t /*alignment*/) noexcept {
    return Explorer::current().heap().allocate(bytes);
  }
  void deallocate(void* address, std::size_t bytes, std::size_t /*alignment*/) noexcept {
    Explorer::current().heap().deallocate(address, bytes);
  }
};
static_assert(Memory<ExploredMemory>);

}  // namespace fanfare::explore
