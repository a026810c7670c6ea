/// \file
/// Things that were unlinked and may still be read: kept in a queue until their grace period is over.
#pragma once

#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

FANFARE_NAMESPACE_BEGIN
namespace detail {

/// A piece of memory, to be given back to where it came from.
struct Block {
  void* address;
  std::size_t bytes;
  std::size_t alignment;
};

/// Base of everything whose memory readers may still look at after it was unlinked.
class Garbage {
 public:
  Garbage() = default;
  Garbage(const Garbage&) = delete;
  Garbage& operator=(const Garbage&) = delete;

  /// Forgets who else knows this object. Called under the lock that guards the queue.
  virtual void forget() noexcept {}

  /// Ends the object's lifetime; called without a lock, because a user's destructor may run.
  virtual Block destroy() noexcept = 0;

  /// What the object occupies.
  [[nodiscard]] virtual std::size_t bytes() const noexcept = 0;

  /// What a reader that names another scope than this cannot reach.
  [[nodiscard]] const void* scope() const noexcept { return scope_; }
  [[nodiscard]] std::uint64_t stamp() const noexcept { return stamp_; }

 protected:
  ~Garbage() = default;

 private:
  friend class GarbageQueue;

  Garbage* next_ = nullptr;
  const void* scope_ = nullptr;
  std::uint64_t stamp_ = 0;
};

/// First in, first out; guarded by its owner's lock. Small, as every channel has one.
class GarbageQueue {
 public:
  /// \param scope   whose readers can reach the object.
  /// \param stamp   the epoch in which it was unlinked.
  void push(Garbage& garbage, const void* scope, std::uint64_t stamp) noexcept {
    garbage.scope_ = scope;
    garbage.stamp_ = stamp;
    garbage.next_ = nullptr;
    *tail_ = &garbage;
    tail_ = &garbage.next_;
    ++new_items_;
    new_bytes_ += static_cast<std::uint32_t>(std::min<std::size_t>(garbage.bytes(), interval_bytes));
    if (new_bytes_ > interval_bytes) new_bytes_ = interval_bytes;  // more is not counted
  }

  /// Moves to `out` what `ready(const Garbage&)` approves of, in order; looks at everything.
  template <class Ready>
  void take(Ready ready, GarbageQueue& out) noexcept {
    Garbage** link = &first_;
    while (*link != nullptr) {
      if (ready(**link)) {
        move_to(link, out);
      } else {
        link = &(*link)->next_;
      }
    }
    tail_ = link;
  }

  /// The same for a queue of a single scope: stops at the first that is not ready, as those behind it are younger.
  template <class Ready>
  void take_front(Ready ready, GarbageQueue& out) noexcept {
    while (first_ != nullptr && ready(*first_)) move_to(&first_, out);
    if (first_ == nullptr) tail_ = &first_;
  }

  /// Destroys all, in order. Reentrant: a destructor may add to any queue but this.
  template <class MemoryType>
  std::size_t destroy_all(MemoryType& memory) noexcept {
    std::size_t freed = 0;
    while (Garbage* garbage = first_) {
      first_ = garbage->next_;
      const Block block = garbage->destroy();
      freed += block.bytes;
      memory.deallocate(block.address, block.bytes, block.alignment);
    }
    tail_ = &first_;
    postpone();
    return freed;
  }

  /// Whether it has grown enough since the last look at it.
  [[nodiscard]] bool due() const noexcept { return new_items_ >= interval_items || new_bytes_ >= interval_bytes; }
  /// Not due before it has grown by so much.
  void postpone() noexcept { new_items_ = new_bytes_ = 0; }

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  /// \complexity O(size).
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t size = 0;
    for (const Garbage* garbage = first_; garbage != nullptr; garbage = garbage->next_) ++size;
    return size;
  }
  /// What all of it occupies. \complexity O(size).
  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t bytes = 0;
    for (const Garbage* garbage = first_; garbage != nullptr; garbage = garbage->next_) bytes += garbage->bytes();
    return bytes;
  }

  GarbageQueue() = default;
  GarbageQueue(const GarbageQueue&) = delete;
  GarbageQueue& operator=(const GarbageQueue&) = delete;

 private:
  static constexpr std::uint32_t interval_items = 64;
  static constexpr std::uint32_t interval_bytes = 4096;

  void move_to(Garbage** link, GarbageQueue& out) noexcept {
    Garbage& garbage = **link;
    *link = garbage.next_;
    garbage.forget();
    out.push(garbage, garbage.scope_, garbage.stamp_);
  }

  Garbage* first_ = nullptr;
  Garbage** tail_ = &first_;
  std::uint32_t new_items_ = 0;  // since the last look
  std::uint32_t new_bytes_ = 0;
};

}  // namespace detail
FANFARE_NAMESPACE_END
