// Runs a program again and again, until each of its executions has been seen or one has failed.
#pragma once

#include "fiber.hpp"
#include "heap.hpp"
#include "model.hpp"
#include "search.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fanfare::explore {

/// What is explored: some threads that share an object.
struct Program {
  const char* name = nullptr;
  std::size_t threads = 2;
  bool reuses_memory = false;
  bool same_hint = false;  ///< all threads have identities that hint at the same record of a domain
  const void* context = nullptr;
  void* (*begin)(const void* context) = nullptr;            ///< makes the object; nothing is explored meanwhile
  void (*run)(void* object, std::size_t thread) = nullptr;  ///< one thread
  void (*end)(void* object) = nullptr;                      ///< looks at what has become of it, and destroys it
};

struct Outcome {
  bool failed = false;
  std::string reason;
  std::string path;                ///< of the execution that failed
  std::uint64_t executions = 0;    ///< ran to their end
  std::uint64_t repeated = 0;      ///< were given up, because what could follow had been seen
  std::uint64_t waiting = 0;       ///< ended in a wait whose condition came true after it was looked at
  std::uint64_t unremembered = 0;  ///< loads that could have returned a store that is too long ago
  std::uint64_t stubborn = 0;      ///< loads that could have returned the same old store once more
  std::size_t longest = 0;         ///< steps of the longest execution
};

/// One exploration. What the atomics policy does comes here.
class Explorer {
 public:
  /// \param reduce   false: also executions that differ in the order of independent steps alone.
  explicit Explorer(const Program& program, bool reduce = true);
  Explorer(const Explorer&) = delete;
  Explorer& operator=(const Explorer&) = delete;
  ~Explorer();

  [[nodiscard]] Outcome run();
  /// Runs one execution and prints its steps.
  [[nodiscard]] Outcome replay(std::string_view path);

  /// The exploration that is going on.
  [[nodiscard]] static Explorer& current() noexcept { return *current_; }

  // ---- what a running program does

  void initialise(Location& location, std::uint64_t value) noexcept;
  [[nodiscard]] std::uint64_t load(Location& location, std::memory_order order);
  void store(Location& location, std::uint64_t value, std::memory_order order);
  /// `change(old)` is the new value.
  template <class Change>
  std::uint64_t modify(Location& location, std::memory_order order, Change change) {
    begin_step(Operation::Kind::modify, location);
    const Counts ordered = view().ordered;
    const std::uint64_t old = take(location, location.newest, without_total_order(order));
    write(location, change(old), order, true, ordered);
    note("modify", location, order, old);
    return old;
  }
  bool compare_exchange(Location& location, std::uint64_t& expected, std::uint64_t value, std::memory_order success,
                        std::memory_order failure);
  void lock(MutexState& mutex);
  void unlock(MutexState& mutex);
  void initialise(PlainState& cell) noexcept;
  void read(PlainState& cell, const void* address);
  void write(PlainState& cell, const void* address);
  void allocated(const void* memory, std::size_t bytes);
  void freed(const void* memory);
  /// Returns once the condition holds; if it does not, the thread stays where it is.
  void await(bool (*condition)(void*), void* argument);
  [[nodiscard]] std::uintptr_t identity() const noexcept;
  [[nodiscard]] Heap& heap() noexcept { return heap_; }

  /// Ends the exploration: the program has done what it must not do.
  void fail(const std::string& reason);

 private:
  struct Thread {
    Fiber fiber;
    View view;
    bool finished = true;
    bool (*condition)(void*) = nullptr;  // it waits for this; null: it does not
    void* argument = nullptr;
  };

  enum class Phase : std::uint8_t { starting, running, ending, over };

  static void enter();
  void execute();
  [[nodiscard]] bool ends_well();
  /// Leaves all fibers as they are.
  [[noreturn]] void leave();
  [[nodiscard]] Threads enabled() const noexcept;
  /// Lets the next thread go on. \param here   the fiber that calls this.
  void schedule(Fiber& here);

  View& view() noexcept { return threads_[current_thread_].view; }
  /// Whether nothing is explored: the main thread is at work.
  [[nodiscard]] bool alone() const noexcept { return current_thread_ == main_thread; }
  void touch(const void* address);
  void begin_step(Operation::Kind kind, Object& object);
  void begin_step(Operation::Kind kind, Location& location);
  /// What a load could return, newest first: null is the initialisation.
  template <class Wanted>
  std::size_t candidates(const Location& location, std::memory_order order, Wanted wanted);
  std::uint64_t take(Location& location, const Store* store, std::memory_order order);
  /// \param continues   it is the second half of a read-modify-write.
  void write(Location& location, std::uint64_t value, std::memory_order order, bool continues, const Counts& ordered);
  void note(const char* what, const Object& object, std::memory_order order, std::uint64_t value);

  inline static Explorer* current_ = nullptr;

  const Program program_;
  Search search_;
  Heap heap_;
  TotalOrder order_;
  std::vector<Store> stores_;
  std::size_t contended_ = 0;
  std::array<Thread, max_threads> threads_;
  std::array<Operation, max_threads> next_{};
  Fiber outside_;
  std::size_t current_thread_ = main_thread;
  void* object_ = nullptr;
  std::array<const Store*, remembered_stores> found_{};
  Phase phase_ = Phase::over;
  bool peeking_ = false;  // a condition is looked at once more: nothing is recorded
  bool given_up_ = false;
  bool printing_ = false;
  Outcome outcome_;
};

/// Fails the execution unless `condition` holds.
inline void require(bool condition, const char* otherwise) {
  if (!condition) Explorer::current().fail(otherwise);
}

}  // namespace fanfare::explore
