/// \file
/// A bounded queue between the threads that trigger and the one that polls.
///
/// The ring is D. Vyukov's bounded MPMC queue: each cell has a sequence number that says whose turn it is.
/// https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/sink.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// What a full queue does with one message more.
enum class Overflow : std::uint8_t {
  drop_newest,  ///< Refuses it.
  drop_oldest,  ///< Drops the oldest to make room.
};

/// Asks `subscribe` for a queue that is read by polling, and says how large it is.
struct Inbox {
  std::size_t messages = 1024;                ///< It keeps at least so many; the next power of two, at least 2.
  Overflow overflow = Overflow::drop_newest;  ///< What happens to one more. Either way `dropped()` counts.
};

namespace detail {

/// What polling needs to know of a queue, whatever its policies are.
class PolledQueue {
 public:
  /// Where the queue ends now.
  [[nodiscard]] virtual std::uint64_t end() const noexcept = 0;
  /// The oldest message, if it was pushed before `end`; else null.
  [[nodiscard]] virtual MessagePtr pop(std::uint64_t end) noexcept = 0;
  [[nodiscard]] virtual std::size_t size() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t dropped() const noexcept = 0;
  [[nodiscard]] virtual std::size_t capacity() const noexcept = 0;

 protected:
  ~PolledQueue() = default;
};

/// \progress `push` and `pop` never wait. A pusher that is preempted between taking a cell and filling it hides what was
///           pushed behind it from `pop` until it continues.
template <Atomics A, Memory M>
class MessageRing final : public PolledQueue {
 public:
  explicit MessageRing(const M& memory) noexcept : memory_(memory) {}
  MessageRing(const MessageRing&) = delete;
  MessageRing& operator=(const MessageRing&) = delete;
  ~MessageRing() {
    if (cells_ == nullptr) return;
    while (pop(std::numeric_limits<std::uint64_t>::max())) {
    }
    for (std::size_t i = 0; i <= mask_; ++i) cells_[i].~Cell();
    memory_.deallocate(cells_, (mask_ + 1) * sizeof(Cell), alignof(Cell));
  }

  /// \returns false where memory is exhausted. \pre called once, before any other member.
  [[nodiscard]] bool reserve(const Inbox& inbox) noexcept {
    static constexpr std::size_t most = std::numeric_limits<std::size_t>::max() / (4 * sizeof(Cell));
    if (inbox.messages > most) return false;
    const std::size_t size = std::bit_ceil(std::max<std::size_t>(inbox.messages, 2));
    void* address = memory_.allocate(size * sizeof(Cell), alignof(Cell));
    if (address == nullptr) return false;
    cells_ = static_cast<Cell*>(address);
    mask_ = size - 1;
    overflow_ = inbox.overflow;
    for (std::size_t i = 0; i < size; ++i) (::new (cells_ + i) Cell)->turn.store(i, std::memory_order_relaxed);
    return true;
  }

  bool push(MessagePtr message) noexcept {
    for (std::uint64_t position = tail_.load(std::memory_order_relaxed);;) {
      Cell& cell = cells_[position & mask_];
      // (16) acquire; pairs with the release in (19): the popper is done with the cell.
      const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == position) {
        // (17) relaxed: it only divides positions among pushers.
        if (tail_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
          cell.message.write(message.release());
          cell.turn.store(position + 1, std::memory_order_release);  // (18) release; pairs with the acquire in (20)
          return true;
        }
      } else if (turn < position) {  // a lap behind: full
        dropped_.fetch_add(1, std::memory_order_relaxed);
        if (overflow_ == Overflow::drop_newest) return false;
        // Only the message in the way. If another thread is just filling or emptying that cell, this event is the price.
        if (!pop(position - mask_)) return false;
        position = tail_.load(std::memory_order_relaxed);
      } else {
        position = tail_.load(std::memory_order_relaxed);
      }
    }
  }

  [[nodiscard]] MessagePtr pop(std::uint64_t end) noexcept override {
    for (std::uint64_t position = head_.load(std::memory_order_relaxed); position < end;) {
      Cell& cell = cells_[position & mask_];
      // (20) acquire; pairs with the release in (18): the message is whole.
      const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == position + 1) {
        if (head_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
          MessagePtr message = MessagePtr::adopt(cell.message.read());
          cell.turn.store(position + mask_ + 1, std::memory_order_release);  // (19) release; pairs with (16)
          return message;
        }
      } else if (turn < position + 1) {
        return {};  // empty, or being filled
      } else {
        position = head_.load(std::memory_order_relaxed);
      }
    }
    return {};
  }

  [[nodiscard]] std::uint64_t end() const noexcept override { return tail_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t size() const noexcept override {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    return tail > head ? std::min(static_cast<std::size_t>(tail - head), mask_ + 1) : 0;
  }
  [[nodiscard]] std::uint64_t dropped() const noexcept override { return dropped_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t capacity() const noexcept override { return mask_ + 1; }
  /// What it has allocated.
  [[nodiscard]] std::size_t bytes() const noexcept { return cells_ == nullptr ? 0 : (mask_ + 1) * sizeof(Cell); }

 private:
  template <class T>
  using atomic = typename A::template atomic<T>;

  struct Cell {
    atomic<std::uint64_t> turn{0};
    typename A::template plain<const Message*> message;
  };

  Cell* cells_ = nullptr;
  std::size_t mask_ = 0;
  Overflow overflow_ = Overflow::drop_newest;
  [[no_unique_address]] M memory_;
  alignas(64) atomic<std::uint64_t> tail_{0};
  alignas(64) atomic<std::uint64_t> head_{0};
  atomic<std::uint64_t> dropped_{0};
};

}  // namespace detail

FANFARE_NAMESPACE_END
