// Where a program runs: under the explorer, or on real threads.
#pragma once

#include "explore/atomics.hpp"
#include <fanfare/core/atomics.hpp>
#include <fanfare/core/epoch.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/memory.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

namespace fanfare::explore {

// A program is a class template over its environment:
//
//   static constexpr std::size_t threads     how many there are
//   P()                                      sets up
//   void run(std::size_t thread)             what each of them does
//   void end()                               looks at the result; the destructor frees everything that is left
//
// It has no memory but the environment's: an execution that is given up is not cleaned up.

struct Explored {
  using atomics = ExploredAtomics;
  using user_memory = ExploredMemory;

  static void require(bool condition, const char* otherwise) { explore::require(condition, otherwise); }
};

struct Threaded {
  using atomics = StdAtomics;
  using user_memory = NewDelete;

  static void require(bool condition, const char* otherwise) {
    if (condition) return;
    std::fprintf(stderr, "explore: %s\n", otherwise);
    std::abort();
  }
};

/// What most programs use.
template <class Env>
class Parts {
 public:
  using A = typename Env::atomics;
  using M = fanfare::detail::TrackedMemory<A, typename Env::user_memory>;
  using Domain = EpochDomain<A, M>;
  using Queue = fanfare::detail::GarbageQueue;
  using Garbage = fanfare::detail::Garbage;
  using Lock = std::unique_lock<typename A::mutex>;
  template <class T>
  using Atomic = typename A::template atomic<T>;
  template <class T>
  using Plain = typename A::template plain<T>;

 protected:
  template <class T, class... Args>
  T* make(Args&&... args) {
    void* const address = memory.allocate(sizeof(T), alignof(T));
    Env::require(address != nullptr, "there is no memory");
    return ::new (address) T{std::forward<Args>(args)...};
  }
  void free(Garbage& garbage) {
    const fanfare::detail::Block block = garbage.destroy();
    memory.deallocate(block.address, block.bytes, block.alignment);
  }

  M memory{typename Env::user_memory{}};
};

/// What a reader finds, and must find alive.
template <class Env>
class Guest final : public fanfare::detail::Garbage {
 public:
  explicit Guest(int name) : name_(name) {}

  /// Told by its name, which is not an atomic: whoever reads it must be ordered with who wrote it, and who ends it.
  [[nodiscard]] int name() const { return name_.read(); }

  fanfare::detail::Block destroy() noexcept override {
    name_.write(-1);
    const fanfare::detail::Block block{this, sizeof(Guest), alignof(Guest)};
    this->~Guest();
    return block;
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(Guest); }

 private:
  ~Guest() = default;
  typename Env::atomics::template plain<int> name_;
};

}  // namespace fanfare::explore
