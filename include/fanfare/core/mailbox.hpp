/// \file
/// The door into a loop: a queue that any thread pushes into and one thread empties, with no memory of its own.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <atomic>
#include <cstddef>

FANFARE_NAMESPACE_BEGIN

/// Links pushed by any thread, taken all at once by one. Per pushing thread the order is kept.
///
/// It is a stack whose reader turns it round (R. K. Treiber, "Systems Programming: Coping with Parallelism", 1986).
/// Nothing is popped singly, so an address that comes back does no harm. A reader that goes to sleep leaves a mark in
/// the same word that the next push replaces: one atomic object decides both, so no wake-up can be lost.
///
/// \ownership holds the links, which their messages' references keep alive; `take` hands them over.
template <Atomics A>
class BasicMailbox {
 public:
  /// \param most   how many bytes may wait.
  explicit BasicMailbox(std::size_t most) noexcept : most_(most) {}
  BasicMailbox(const BasicMailbox&) = delete;
  BasicMailbox& operator=(const BasicMailbox&) = delete;

  /// Whether so many bytes more would be within the bound. Each of several threads that ask at the same time may be told
  /// so: the bound is overshot by one message per pushing thread at most.
  /// \progress wait-free. Any thread.
  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept {
    const std::size_t held = bytes_.load(std::memory_order_relaxed);
    return held <= most_ && bytes <= most_ - held;
  }

  /// Puts a link in.
  /// \param bytes   what counts towards the bound until `release`.
  /// \returns       whether the reader sleeps and must be woken; only one push after each `sleep` says so.
  /// \progress      lock-free. Any thread.
  [[nodiscard]] bool push(MessageLink& link, std::size_t bytes) noexcept {
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    MessageLink* head = head_.load(std::memory_order_relaxed);
    do {
      link.next = head == asleep() ? nullptr : head;
      // (28) release; pairs with the acquire in (29): the reader sees the link and the message.
    } while (!head_.compare_exchange_weak(head, &link, std::memory_order_release, std::memory_order_relaxed));
    return head == asleep();
  }

  /// Takes everything, oldest first; null if there is nothing. Follow `next` before the message is dropped.
  /// \progress wait-free, O(links). The reader alone.
  [[nodiscard]] MessageLink* take() noexcept {
    MessageLink* newest = head_.load(std::memory_order_relaxed);
    if (newest == nullptr || newest == asleep()) return nullptr;
    newest = head_.exchange(nullptr, std::memory_order_acquire);  // (29) acquire; pairs with the release in (28)
    MessageLink* oldest = nullptr;
    while (newest != nullptr) {
      MessageLink* const older = newest->next;
      newest->next = oldest;
      oldest = newest;
      newest = older;
    }
    return oldest;
  }

  /// Gives bytes back when their message has been dealt with.
  void release(std::size_t bytes) noexcept { bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  /// Announces that the reader is about to wait.
  /// \returns false if there is something to take instead.
  /// \progress wait-free. The reader alone.
  [[nodiscard]] bool sleep() noexcept {
    MessageLink* head = nullptr;
    // relaxed: what it would order is taken by (29), or pushed after it.
    return head_.compare_exchange_strong(head, asleep(), std::memory_order_relaxed, std::memory_order_relaxed) ||
           head == asleep();
  }

  /// Says that the reader is up, so that pushes do not wake it.
  void awake() noexcept {
    MessageLink* head = asleep();
    head_.compare_exchange_strong(head, nullptr, std::memory_order_relaxed, std::memory_order_relaxed);
  }

  /// How many bytes wait; a moment's view.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }

 private:
  /// Never followed; an address that no link has.
  [[nodiscard]] MessageLink* asleep() noexcept { return &asleep_; }

  const std::size_t most_;
  MessageLink asleep_;
  // By itself: every push writes here.
  alignas(64) typename A::template atomic<MessageLink*> head_{nullptr};
  typename A::template atomic<std::size_t> bytes_{0};
};

/// The mailbox of programs with threads.
using Mailbox = BasicMailbox<StdAtomics>;

FANFARE_NAMESPACE_END
