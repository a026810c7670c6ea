// What threads may see of each other: the memory model, without any scheduling.
//
// Stores to one location stand in the order in which they are executed. What a thread may still read is bounded from
// below by its view; acquiring joins the view that a release left with its store. docs/design/exploration.md says what
// that covers of the C++ memory model and what it does not.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fanfare::explore {

/// Threads of one program; the last is the one that sets it up and looks at it in the end.
inline constexpr std::size_t max_threads = 4;
inline constexpr std::size_t main_thread = max_threads - 1;

/// How many locations may be stored to after their initialisation in one execution.
inline constexpr std::size_t max_contended = 96;
/// How many sequentially consistent operations one execution may have.
inline constexpr std::size_t max_ordered = 512;
/// A load returns one of so many last stores.
inline constexpr std::size_t remembered_stores = 8;

/// A number for each thread.
using Counts = std::array<std::uint16_t, max_threads>;
void join(Counts& clock, const Counts& other) noexcept;

/// What happens before.
struct View {
  /// For each contended location: the oldest store that may still be read.
  std::array<std::uint8_t, max_contended> oldest{};
  /// For each thread: up to which of its accesses all happen before.
  Counts clock{};
  /// For each thread: its last sequentially consistent operation that comes before, whatever S is; 0 if none does.
  Counts ordered{};

  void join(const View& other) noexcept;
};

/// One store to a location.
struct Store {
  std::uint64_t value = 0;
  std::uint16_t index = 0;       ///< in the location's modification order; 0 is the initialisation
  const Store* older = nullptr;  ///< null: the initialisation, which is in the location itself
  View released;                 ///< what whoever acquires this store learns
};

/// What scheduling knows of a location or mutex.
struct Object {
  std::uint32_t last_step = 0;  ///< 1 + the last step that used it; 0 if none did
};

/// An atomic object.
struct Location : Object {
  std::uint64_t initial = 0;
  const Store* newest = nullptr;
  std::uint16_t last_ordered = 0;  ///< the last sequentially consistent operation on it; 0 if there is none
  std::uint16_t created = 0;       ///< when its creator initialised it
  std::uint8_t creator = 0;
  std::uint8_t contended = 0;  ///< its place in `View::oldest` + 1; 0 while there is only the initialisation
  std::array<std::uint8_t, max_threads> last_read{};  ///< the index that each thread read last, and how often in a row
  std::array<std::uint8_t, max_threads> repeated{};

  [[nodiscard]] std::uint16_t newest_index() const noexcept { return newest == nullptr ? 0 : newest->index; }
};

/// A mutex: what its last owner leaves to the next.
struct MutexState : Object {
  bool held = false;
  View released;
  Counts released_steps{};
};

/// Who has used a plain cell, and when.
struct PlainState {
  std::uint8_t writer = 0;
  std::uint16_t written = 0;
  Counts read{};
};

/// Whether there is a total order S of the sequentially consistent operations.
///
/// Two of them are ordered if one happens strongly before the other (C++20, [atomics.order], 4), or if they are on one
/// object and one is coherence-ordered before the other. As long as these have no cycle, there is an S that agrees.
class TotalOrder {
 public:
  struct Set {
    std::array<std::uint64_t, max_ordered / 64> words{};
    void insert(std::size_t i) noexcept { words[i / 64] |= std::uint64_t{1} << (i % 64); }
    [[nodiscard]] bool contains(std::size_t i) const noexcept { return (words[i / 64] >> (i % 64) & 1U) != 0; }
  };

  void clear() noexcept { size_ = 1; }  // 0 means none
  [[nodiscard]] bool full() const noexcept { return size_ == max_ordered; }

  /// Whether a load of `location` could return the store with this index.
  /// \param ordered   the `View::ordered` of its thread, before it acquires anything.
  [[nodiscard]] bool admits(const Location& location, const Counts& ordered, std::uint16_t index) const noexcept;
  /// Adds an operation that reads (`writes` is false) or is the store with this index. \returns its name.
  std::uint16_t add(Location& location, const Counts& ordered, std::uint16_t index, bool writes) noexcept;

 private:
  struct Operation {
    Set before;
    std::uint16_t previous_on_location = 0;
    std::uint16_t index = 0;
    bool writes = false;
  };

  void neighbours(const Location& location, const Counts& ordered, std::uint16_t index, bool writes, Set& before,
                  Set& after) const noexcept;
  void include(Set& set, std::size_t operation) const noexcept;
  [[nodiscard]] std::size_t words() const noexcept { return (size_ + 63U) / 64; }
  [[nodiscard]] bool intersect(const Set& a, const Set& b) const noexcept;

  std::array<Operation, max_ordered> operations_;
  std::size_t size_ = 1;
};

[[nodiscard]] constexpr bool acquires(std::memory_order order) noexcept {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
[[nodiscard]] constexpr bool releases(std::memory_order order) noexcept {
  return order == std::memory_order_release || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}

/// The order of a read-modify-write's first half: its place in the total order comes with the second.
[[nodiscard]] constexpr std::memory_order without_total_order(std::memory_order order) noexcept {
  return order == std::memory_order_seq_cst ? std::memory_order_acq_rel : order;
}

}  // namespace fanfare::explore
