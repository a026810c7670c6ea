/// \file
/// The last events of one ordered channel.
#pragma once

#include <fanfare/core/channel_rules.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/kept_bytes.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// One event that a channel remembers.
struct HistoryEntry {
  MessagePtr message;  ///< Shared with all who were sent it.
  EventId id;
  std::chrono::steady_clock::time_point time;  ///< When it got its place; never before that of an earlier one.
  /// Whether the protocol itself sent it (`pusher_internal:…`). Who catches up needs it; who asks what was said does
  /// not.
  bool internal = false;
};

/// Which way a query goes through a history.
enum class HistoryOrder : std::uint8_t { oldest_first, newest_first };

/// What came of reading a piece of a history.
struct HistoryRead {
  /// What the place that the reader named is to what is kept. Where it cannot be answered, nothing was read.
  Reach reach = Reach::whole;
  EventId next{};       ///< Where to go on: the last id that was read, or the place that was named.
  bool at_end = false;  ///< Whether nothing newer is kept. Stays true only while the channel's lock is held.
};

/// What came of a query.
struct HistoryPage {
  /// What the place that was named is to what is kept. Where it cannot be answered, the page is empty.
  Reach reach = Reach::whole;
  EventId next{};     ///< Where the next page begins: the last id that was looked at.
  bool more = false;  ///< Whether there may be a next page.
};

/// The last events of one ordered channel, in their order. Bounded by number, age and bytes: what exceeds a bound is
/// forgotten from the oldest on, at the next `push` or `expire`. So what is kept is always all that was pushed behind
/// `floor()`: a reader who has seen the event at the floor, or a later one, has missed nothing.
///
/// Numbers of events may leave some out: those were no events, or passed by (`pass`), and nobody misses them.
///
/// A push whose own event exceeds the bytes leaves nothing, as does one that finds no memory at all; where a larger
/// ring is refused, the oldest events make room. The floor moves with each of these, so a reader always learns of it.
///
/// \tparam M   where the ring's memory comes from.
/// Thread safety: like an `int`. It is used under its channel's lock alone, and runs no code but the visitors it is
/// given.
template <Memory M = NewDelete>
class BasicHistory {
 public:
  /// Of the times that it is given.
  using Clock = std::chrono::steady_clock;

  /// A page looks at no more events than this, those included that it leaves out.
  static constexpr std::size_t max_scan = 4096;

  /// \param rule   what is outside of its bounds is taken to be at the nearer one.
  explicit BasicHistory(const HistoryRule& rule, M memory = M{}) noexcept
      : memory_(std::move(memory)),
        count_bound_(count_bound(rule)),
        byte_bound_(byte_bound(rule)),
        age_bound_(age_bound(rule)) {}
  BasicHistory(const BasicHistory&) = delete;
  BasicHistory& operator=(const BasicHistory&) = delete;
  ~BasicHistory() { clear(); }

  /// Declares that nothing is missing behind an id, which is the channel's last one, or its epoch with number 0.
  /// Without it, that is so from before the first event that is pushed. \pre nothing was pushed.
  void begin(EventId last) noexcept {
    FANFARE_ASSERT(last_.epoch == 0, "a history begins once");
    floor_ = last_ = last;
  }

  /// Remembers an event, and forgets what is now beyond the bounds.
  /// \param message    with an id. \pre above `last()`, or of another epoch: then all others are forgotten.
  /// \param internal   see `HistoryEntry`.
  /// \param now        an earlier time than the last one counts as that.
  /// \complexity       amortised O(1); allocates where the ring grows, never beyond the rule's count.
  void push(MessagePtr message, bool internal, Clock::time_point now) noexcept {
    note(message->id());
    add(std::move(message), internal, now);
  }

  /// Remembers an event of an earlier life, which the place that the history began with is behind.
  /// \param message   its id is above that of those before. \pre `begin`, and no `push` yet.
  /// \param time      as in `push`.
  void restore(MessagePtr message, Clock::time_point time) noexcept {
    FANFARE_ASSERT(message->id() <= last_, "an event comes back that is newer than all");
    if (size_ == 0) floor_ = {message->id().epoch, message->id().number - 1};
    add(std::move(message), false, time);
  }

  /// An event went by that is not to be remembered, and not to be missed. \pre as `push`.
  void pass(EventId id) noexcept { note(id); }

  /// Changes the bounds, and forgets what is beyond them now.
  /// \param rule    as the constructor's. \complexity O(kept), where there are fewer places now.
  void limit(const HistoryRule& rule, Clock::time_point now) noexcept {
    count_bound_ = count_bound(rule);
    byte_bound_ = byte_bound(rule);
    age_bound_ = age_bound(rule);
    while (size_ > count_bound_) pop();
    shrink_to(byte_bound_);
    expire(now);
    if (capacity_ > count_bound_) move_to(std::max(size_, std::min(first_capacity, count_bound_)));
  }

  /// Forgets what is too old, and gives the ring back if it is empty.
  /// \complexity O(what is forgotten).
  void expire(Clock::time_point now) noexcept {
    expire_only(now);
    if (size_ == 0) free_ring();
  }

  /// Forgets the oldest events until at most so many bytes are kept; see `KeptAccount`.
  void shrink_to(std::size_t bytes) noexcept {
    while (bytes_ > bytes) pop();
    if (size_ == 0) free_ring();
  }

  /// Forgets all. The last id stays known.
  void clear() noexcept {
    shrink_to(0);
    floor_ = last_;
  }

  /// Whether nothing is kept.
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// How many events are kept, those of the protocol included.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// How many bytes they count.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

  /// The id of the oldest event that is kept; empty if there is none.
  [[nodiscard]] EventId first() const noexcept { return size_ == 0 ? EventId{} : ring_[slot(0)].id; }
  /// The newest id, kept or not; empty, with epoch 0, if there is none.
  [[nodiscard]] EventId last() const noexcept { return last_; }
  /// The highest id that is known to be gone, or the place before the first event: all behind it is kept.
  [[nodiscard]] EventId floor() const noexcept { return floor_; }
  /// What a reader can be given who has seen all up to `seen`, which may be anything a client sent.
  [[nodiscard]] Reach reach(const EventId& seen) const noexcept { return reach_of(seen, floor_, last_); }

  /// Visits the events behind an id in order, as many as have `max_bytes` in their frames (where there is no frame, in
  /// name and data), but at least one if there is any. Behind a gap it begins with the first that is kept.
  /// \param f   called with `const HistoryEntry&`; must not use this history. What it throws ends the reading.
  /// \complexity O(log kept + visited).
  template <class F>
  HistoryRead read(const EventId& after, std::size_t max_bytes, F&& f) const
      noexcept(noexcept(f(std::declval<const HistoryEntry&>()))) {
    HistoryRead result{.reach = reach(after), .next = after};
    if (result.reach != Reach::whole && result.reach != Reach::gap) return result;
    std::size_t i = upper_bound(after.number);
    std::size_t bytes = 0;
    for (bool any = false; i < size_; ++i, any = true) {
      const HistoryEntry& entry = ring_[slot(i)];
      const std::size_t more = wire_bytes(*entry.message);
      if (any && (bytes > max_bytes || more > max_bytes - bytes)) break;
      bytes += more;
      f(entry);
      result.next = entry.id;
    }
    result.at_end = i == size_;
    if (result.at_end) result.next = last_;  // also past those that went by
    return result;
  }

  /// Visits events that are not the protocol's own, for a query.
  /// \param from    only those behind it, or when the newest come first, before it; by default from the end that the
  ///                order begins with.
  /// \param limit   how many; 0 counts as 1. A page may have fewer, even none, although there is `more`: it looks at
  ///                `max_scan` events at most.
  /// \param f       as in `read`.
  /// \complexity    O(log kept + looked at).
  template <class F>
  HistoryPage page(HistoryOrder order, const std::optional<EventId>& from, std::size_t limit, F&& f) const
      noexcept(noexcept(f(std::declval<const HistoryEntry&>()))) {
    const bool forward = order == HistoryOrder::oldest_first;
    HistoryPage result{.next = from.value_or(forward ? floor_ : last_)};
    if (from) result.reach = reach(*from);
    if (result.reach != Reach::whole && result.reach != Reach::gap) return result;
    // What is looked at: forward from `i` on, else backward from before `i` on.
    std::size_t i = !from ? (forward ? 0 : size_) : forward ? upper_bound(from->number) : lower_bound(from->number);
    limit = std::max(limit, std::size_t{1});
    for (std::size_t scanned = 0;; ++scanned) {
      result.more = forward ? i < size_ : i > 0;
      if (!result.more || scanned == max_scan) return result;
      const HistoryEntry& entry = ring_[slot(forward ? i : i - 1)];
      if (!entry.internal) {
        if (limit == 0) return result;
        --limit;
        f(entry);
      }
      result.next = entry.id;
      i = forward ? i + 1 : i - 1;
    }
  }

 private:
  static constexpr std::size_t first_capacity = 8;

  [[nodiscard]] static std::size_t count_bound(const HistoryRule& rule) noexcept {
    return std::clamp(rule.count, std::size_t{1}, HistoryRule::max_count);
  }
  [[nodiscard]] static std::size_t byte_bound(const HistoryRule& rule) noexcept {
    return std::max(rule.bytes, std::size_t{1});
  }
  [[nodiscard]] static std::chrono::seconds age_bound(const HistoryRule& rule) noexcept {
    return std::clamp(rule.age, std::chrono::seconds{1}, HistoryRule::max_age);
  }

  [[nodiscard]] static std::size_t wire_bytes(const Message& message) noexcept {
    return message.frame().empty() ? message.name().size() + message.data().size() : message.frame().size();
  }

  /// Where the i-th oldest event lies. \pre `i` is at most the capacity.
  [[nodiscard]] std::size_t slot(std::size_t i) const noexcept {
    const std::size_t to_end = capacity_ - head_;
    return i < to_end ? head_ + i : i - to_end;
  }
  [[nodiscard]] const HistoryEntry& newest() const noexcept { return ring_[slot(size_ - 1)]; }

  /// How many events have a number that is at most so high.
  [[nodiscard]] std::size_t upper_bound(std::uint64_t number) const noexcept {
    std::size_t low = 0;
    for (std::size_t high = size_; low < high;) {
      const std::size_t middle = low + (high - low) / 2;
      if (ring_[slot(middle)].id.number <= number) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
  /// How many have a lower one.
  [[nodiscard]] std::size_t lower_bound(std::uint64_t number) const noexcept {
    return number == 0 ? 0 : upper_bound(number - 1);
  }

  void add(MessagePtr message, bool internal, Clock::time_point now) noexcept {
    const EventId id = message->id();
    if (!empty()) now = std::max(now, newest().time);
    expire_only(now);
    const std::size_t bytes = kept_bytes(*message);
    if (bytes > byte_bound_) return clear();
    while (size_ != 0 && (size_ >= count_bound_ || bytes_ > byte_bound_ - bytes)) pop();
    if (size_ == capacity_) grow();
    if (size_ == capacity_) {  // it did not
      if (size_ == 0) return clear();
      pop();
    }
    ::new (static_cast<void*>(ring_ + slot(size_))) HistoryEntry{std::move(message), id, now, internal};
    ++size_;
    bytes_ += bytes;
  }

  void note(EventId id) noexcept {
    FANFARE_ASSERT(static_cast<bool>(id), "an event of an ordered channel without an id");
    if (id.epoch != last_.epoch) {
      shrink_to(0);
      floor_ = {id.epoch, id.number - 1};
    } else {
      FANFARE_ASSERT(id.number > last_.number, "events come in the order of their ids");
    }
    last_ = id;
  }

  void pop() noexcept {
    HistoryEntry& oldest = ring_[head_];
    floor_ = oldest.id;
    bytes_ -= kept_bytes(*oldest.message);
    std::destroy_at(&oldest);
    head_ = head_ + 1 == capacity_ ? 0 : head_ + 1;
    --size_;
  }

  void expire_only(Clock::time_point now) noexcept {
    while (size_ != 0 && now - ring_[head_].time >= age_bound_) pop();
  }

  /// If there is memory, and the rule allows it.
  void grow() noexcept {
    const std::size_t capacity = std::min(std::max(first_capacity, 2 * capacity_), count_bound_);
    if (capacity != capacity_) move_to(capacity);
  }

  /// Moves what is kept to a ring with so many places, if there is memory. \pre it has room there.
  void move_to(std::size_t capacity) noexcept {
    void* const address = memory_.allocate(capacity * sizeof(HistoryEntry), alignof(HistoryEntry));
    if (address == nullptr) return;
    auto* const ring = static_cast<HistoryEntry*>(address);
    for (std::size_t i = 0; i < size_; ++i) {
      HistoryEntry& entry = ring_[slot(i)];
      ::new (static_cast<void*>(ring + i)) HistoryEntry(std::move(entry));
      std::destroy_at(&entry);
    }
    free_ring();
    ring_ = ring;
    capacity_ = capacity;
  }

  /// \pre what was in it is gone or moved.
  void free_ring() noexcept {
    if (ring_ != nullptr) memory_.deallocate(ring_, capacity_ * sizeof(HistoryEntry), alignof(HistoryEntry));
    ring_ = nullptr;
    capacity_ = head_ = 0;
  }

  [[no_unique_address]] M memory_;
  std::size_t count_bound_;
  std::size_t byte_bound_;
  std::chrono::seconds age_bound_;
  HistoryEntry* ring_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
  EventId floor_;
  EventId last_;
};

/// With the ordinary heap.
using History = BasicHistory<>;

FANFARE_NAMESPACE_END
