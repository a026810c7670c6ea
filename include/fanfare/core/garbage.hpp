/// \file
/// Things that were unlinked and may still be read: kept in a queue until their grace period is over.
#pragma once

#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace detail {

/// A piece of memory, to be given back to where it came from; at no address, if that has been done.
struct Block {
  void* address;
  std::size_t bytes;
  std::size_t alignment;
};

/// Base of everything whose memory readers may still look at after it was unlinked.
class Garbage {
 public:
  Garbage() = default;
  /// \param number   what `stamp` says until the object is retired: the place is the object's own so long.
  explicit Garbage(std::uint64_t number) noexcept : stamp_(number) {}
  Garbage(const Garbage&) = delete;
  Garbage& operator=(const Garbage&) = delete;

  /// Forgets who else knows this object. Called under the lock that guards the queue.
  virtual void forget() noexcept {}

  /// Ends the object's lifetime; called without a lock, because a user's destructor may run.
  virtual Block destroy() noexcept = 0;

  /// What the object occupies.
  [[nodiscard]] virtual std::size_t bytes() const noexcept = 0;

  /// What a reader names who can reach this object alone and what belongs to it. In a queue of several scopes each item's
  /// is its own.
  [[nodiscard]] const void* scope() const noexcept { return this; }
  [[nodiscard]] std::uint64_t stamp() const noexcept { return stamp_; }

 protected:
  ~Garbage() = default;

  // Until the object is retired the link and the stamp are its own.
  [[nodiscard]] Garbage* link() const noexcept { return next_; }
  void set_link(Garbage* next) noexcept { next_ = next; }
  void set_stamp(std::uint64_t number) noexcept { stamp_ = number; }

 private:
  friend class GarbageQueue;

  Garbage* next_ = nullptr;
  std::uint64_t stamp_ = 0;
};

/// First in, first out; guarded by its owner's lock. Small, as every channel has one.
class GarbageQueue {
 public:
  /// \param stamp   the epoch in which it was unlinked.
  void push(Garbage& garbage, std::uint64_t stamp) noexcept {
    garbage.stamp_ = stamp;
    append(garbage);
    // More than makes it due is not counted.
    if (new_items_ < interval_items) ++new_items_;
    new_bytes_ = static_cast<std::uint16_t>(std::min<std::size_t>(new_bytes_ + garbage.bytes(), interval_bytes));
  }

  /// Moves to `out` what `ready(const Garbage&)` approves of, in order; looks at everything.
  template <class Ready>
  void take(Ready ready, GarbageQueue& out) noexcept {
    const Garbage* const end = last_;
    for (const Garbage* taken = nullptr; taken != end;) {
      Garbage& garbage = pop();
      taken = &garbage;
      if (ready(garbage)) {
        move_to(garbage, out);
      } else {
        append(garbage);
      }
    }
  }

  /// The same for a queue of a single scope: stops at the first that is not ready, as those behind it are younger.
  template <class Ready>
  void take_front(Ready ready, GarbageQueue& out) noexcept {
    while (last_ != nullptr && ready(*last_->next_)) move_to(pop(), out);
  }

  /// Destroys all, in order. Reentrant: a destructor may add to any queue but this.
  template <class MemoryType>
  std::size_t destroy_all(MemoryType& memory) noexcept {
    std::size_t freed = 0;
    while (last_ != nullptr) {
      const Block block = pop().destroy();
      if (block.address == nullptr) continue;
      freed += block.bytes;
      memory.deallocate(block.address, block.bytes, block.alignment);
    }
    postpone();
    return freed;
  }

  /// Whether it has grown enough since the last look at it.
  [[nodiscard]] bool due() const noexcept { return new_items_ >= interval_items || new_bytes_ >= interval_bytes; }
  /// Not due before it has grown by so much.
  void postpone() noexcept { new_items_ = new_bytes_ = 0; }

  [[nodiscard]] bool empty() const noexcept { return last_ == nullptr; }
  /// \complexity O(size).
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t size = 0;
    for_each([&](const Garbage& /*garbage*/) { ++size; });
    return size;
  }
  /// What all of it occupies. \complexity O(size).
  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t bytes = 0;
    for_each([&](const Garbage& garbage) { bytes += garbage.bytes(); });
    return bytes;
  }

  GarbageQueue() = default;
  GarbageQueue(const GarbageQueue&) = delete;
  GarbageQueue& operator=(const GarbageQueue&) = delete;

 private:
  static constexpr std::uint16_t interval_items = 64;
  static constexpr std::uint16_t interval_bytes = 4096;

  void append(Garbage& garbage) noexcept {
    garbage.next_ = last_ == nullptr ? &garbage : std::exchange(last_->next_, &garbage);
    last_ = &garbage;
  }
  /// \pre not empty.
  Garbage& pop() noexcept {
    Garbage& first = *last_->next_;
    if (&first == last_) {
      last_ = nullptr;
    } else {
      last_->next_ = first.next_;
    }
    return first;
  }
  static void move_to(Garbage& garbage, GarbageQueue& out) noexcept {
    garbage.forget();
    out.push(garbage, garbage.stamp_);
  }
  template <class F>
  void for_each(F f) const noexcept {
    if (last_ == nullptr) return;
    const Garbage* garbage = last_;
    do {
      garbage = garbage->next_;
      f(*garbage);
    } while (garbage != last_);
  }

  Garbage* last_ = nullptr;      // its next one is the first
  std::uint16_t new_items_ = 0;  // since the last look
  std::uint16_t new_bytes_ = 0;
};

}  // namespace detail
FANFARE_NAMESPACE_END
