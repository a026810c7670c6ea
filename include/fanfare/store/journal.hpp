/// \file
/// Writes what channels keep to a store, on a thread of its own.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/store/history_store.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace store {

/// Bounds of a journal.
struct JournalOptions {
  std::size_t changes = std::size_t{1} << 16U;  ///< That may be on their way to the store; at least 1.
  std::size_t bytes = std::size_t{64} << 20U;   ///< Likewise, of their names and data. One that is larger goes alone.
  std::uint64_t reservation = 65'536;           ///< Numbers that are reserved at a time; at least 2.
};

/// Told whether a change is durable. Called once, on the journal's thread or in `Journal::stop`, without a lock. Must not
/// throw, wait, or stop the journal.
using Committed = std::function<void(StoreError)>;

/// Gives events their numbers and brings them to a store, in the order in which they came: all that has come while it
/// wrote is written next, together. Who triggers never waits for it; who wants to know that an event is durable asks for
/// its ticket.
///
/// A number that was given out is never given out again, also in later lives of the program: the store has it reserved
/// before it is used.
///
/// A change that the store refuses is lost to it, and those who wait for it are told; what came later is tried anew. What
/// is kept in memory is not touched.
///
/// \ownership     the store outlives the journal, and belongs to its thread meanwhile.
/// Thread safety: all members from any thread, concurrently; the destructor as usual. Its lock is a leaf: nothing is locked
///                inside of it, so `admit` and `put` may be called under a channel's lock.
template <HistoryStore S>
class Journal {
  struct Entry {
    KeptChange change;
    std::size_t bytes = 0;
  };
  using Entries = std::list<Entry>;  // so that handing one over cannot fail

 public:
  /// \throws `std::bad_alloc`, `std::system_error`: there is no thread.
  explicit Journal(S& store, JournalOptions options = {})
      : store_(store),
        options_{std::max<std::size_t>(options.changes, 1), options.bytes,
                 std::max<std::uint64_t>(options.reservation, 2)},
        epoch_(store.numbers().epoch),
        last_(store.numbers().last),
        reserved_(store.numbers().last) {
    thread_ = std::thread([this] { run(); });
  }
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  ~Journal() { stop(); }

  /// Of all numbers that it gives out.
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }

  /// Room for one change, and the number that it has if it is an event. Gives the room back unless it is `put`; the number
  /// is not used again. Must not outlive the journal.
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept
        : journal_(std::exchange(other.journal_, nullptr)), entry_(std::move(other.entry_)), number_(other.number_) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (journal_ != nullptr) journal_->withdraw(*this);
    }

    /// Whether there is room.
    [[nodiscard]] explicit operator bool() const noexcept { return journal_ != nullptr; }
    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
    /// What is to be put. \pre there is room.
    [[nodiscard]] KeptChange& change() noexcept { return entry_.front().change; }

   private:
    friend Journal;
    Journal* journal_ = nullptr;
    Entries entry_;
    std::uint64_t number_ = 0;
  };

  /// Makes room for one change.
  /// \param bytes   of its names and data.
  /// \returns       nothing where there is no room, no number is reserved yet, or the journal has stopped: a later try may
  ///                succeed, but for the last.
  /// \complexity    O(1). \progress takes the lock, and never waits for the store.
  [[nodiscard]] Place admit(std::size_t bytes) noexcept {
    Place place;
    try {
      place.entry_.emplace_back().bytes = bytes;
    } catch (const std::bad_alloc&) {
      return place;
    }
    const std::lock_guard lock(mutex_);
    if (stopping_) return place;
    if (reserved_ - last_ <= options_.reservation / 2 && !std::exchange(wants_numbers_, true)) wake_.notify_one();
    if (last_ == reserved_ || count_ == options_.changes) return place;
    if (count_ != 0 && bytes > options_.bytes - std::min(bytes_, options_.bytes)) return place;
    ++admitted_;
    ++count_;
    bytes_ += bytes;
    place.number_ = ++last_;
    place.journal_ = this;
    return place;
  }

  /// Hands over a change. Those of one channel are put in the order of their numbers.
  /// \param place   with the change in it. \pre there is room.
  /// \returns       its ticket.
  std::uint64_t put(Place place) noexcept {
    const std::lock_guard lock(mutex_);
    FANFARE_ASSERT(place.journal_ == this, "a change that was not admitted");
    place.journal_ = nullptr;
    --admitted_;
    if (waiting_.empty()) wake_.notify_one();
    waiting_.splice(waiting_.end(), place.entry_);
    return ++put_;
  }

  /// Up to which ticket all has been brought to the store, or refused by it.
  [[nodiscard]] std::uint64_t settled() const noexcept {
    return settled_.load(std::memory_order_acquire);  // pairs with the release in `settle`
  }

  /// Calls `f` when what has a ticket is durable or refused: at once if it is already.
  /// \throws `std::bad_alloc`; `f` is not called then.
  void when_settled(std::uint64_t ticket, Committed f) {
    StoreError error = StoreError::ok;
    std::list<Waiter> waiter;
    waiter.push_back({ticket, std::move(f)});
    {
      const std::lock_guard lock(mutex_);
      if (ticket > settled_.load(std::memory_order_relaxed)) {
        waiters_.splice(waiters_.end(), waiter);
        return;
      }
      error = outcome(ticket);
    }
    waiter.front().f(error);
  }

  /// Waits for what has a ticket. \returns what became of it; of one that settled long ago, and was refused, `io`.
  [[nodiscard]] StoreError wait(std::uint64_t ticket) noexcept {
    std::unique_lock lock(mutex_);
    settled_changed_.wait(lock, [&] { return ticket <= settled_.load(std::memory_order_relaxed); });
    return outcome(ticket);
  }

  /// What the store answered last.
  [[nodiscard]] StoreError error() const noexcept {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  /// How many changes it has refused.
  [[nodiscard]] std::uint64_t refused() const noexcept {
    const std::lock_guard lock(mutex_);
    return refused_count_;
  }

  /// Writes what has come, and ends the thread. Nothing is admitted any more; again: nothing happens.
  void stop() noexcept {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      wake_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
  }

 private:
  static constexpr std::size_t remembered_refusals = 64;
  static constexpr std::size_t most_spare = 4096;

  struct Waiter {
    std::uint64_t ticket;
    Committed f;
  };
  /// Tickets that the store has refused, from and to.
  struct Refusal {
    std::uint64_t first;
    std::uint64_t last;
    StoreError error;
  };

  void withdraw(Place& place) noexcept {
    const std::lock_guard lock(mutex_);
    --admitted_;
    --count_;
    bytes_ -= place.entry_.front().bytes;
    if (stopping_) wake_.notify_one();
  }

  [[nodiscard]] StoreError outcome(std::uint64_t ticket) const noexcept {
    if (ticket <= forgotten_refusals_) return StoreError::io;
    for (const Refusal& refusal : refusals_) {
      if (refusal.first <= ticket && ticket <= refusal.last) return refusal.error;
    }
    return StoreError::ok;
  }

  void run() noexcept {
    Entries entries;
    std::vector<KeptChange> group;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock,
                 [&] { return (stopping_ && admitted_ == 0) || (wants_numbers_ && !stopping_) || !waiting_.empty(); });
      if (wants_numbers_ && !stopping_) reserve(lock);
      if (waiting_.empty()) {
        if (stopping_ && admitted_ == 0) return;
        continue;
      }
      entries.swap(waiting_);
      lock.unlock();
      const StoreError error = commit(entries, group);
      lock.lock();
      settle(entries, error, lock);
    }
  }

  void reserve(std::unique_lock<std::mutex>& lock) noexcept {
    const std::uint64_t to = reserved_ + options_.reservation;
    lock.unlock();
    const StoreError error = store_.reserve(to);
    lock.lock();
    wants_numbers_ = false;
    error_ = error;
    if (error == StoreError::ok) reserved_ = to;
  }

  [[nodiscard]] StoreError commit(Entries& entries, std::vector<KeptChange>& group) noexcept {
    try {
      group.reserve(entries.size());
      for (Entry& entry : entries) group.push_back(std::move(entry.change));
    } catch (const std::bad_alloc&) {
      return StoreError::out_of_memory;
    }
    const StoreError error = store_.commit(group);
    group.clear();
    if (group.capacity() > most_spare) group = {};
    return error;
  }

  /// Tells those who wait, without the lock.
  void settle(Entries& entries, StoreError error, std::unique_lock<std::mutex>& lock) noexcept {
    const std::uint64_t first = settled_.load(std::memory_order_relaxed) + 1;
    const std::uint64_t last = first + entries.size() - 1;
    error_ = error;
    if (error != StoreError::ok) {
      refused_count_ += entries.size();
      remember_refusal({first, last, error});
    }
    count_ -= entries.size();
    for (const Entry& entry : entries) bytes_ -= entry.bytes;
    entries.clear();
    settled_.store(last, std::memory_order_release);  // pairs with the acquire in `settled`
    settled_changed_.notify_all();
    std::list<Waiter> told;
    for (auto at = waiters_.begin(); at != waiters_.end();) {
      const auto waiter = at++;
      if (waiter->ticket <= last) told.splice(told.end(), waiters_, waiter);
    }
    for (const Waiter& waiter : told) {
      const StoreError of_waiter = outcome(waiter.ticket);
      lock.unlock();
      waiter.f(of_waiter);
      lock.lock();
    }
  }

  void remember_refusal(const Refusal& refusal) noexcept {
    if (!refusals_.empty() && refusals_.back().error == refusal.error && refusals_.back().last + 1 == refusal.first) {
      refusals_.back().last = refusal.last;
      return;
    }
    if (refusals_.size() == remembered_refusals) {
      forgotten_refusals_ = refusals_.front().last;
      refusals_.erase(refusals_.begin());
    }
    refusals_.push_back(refusal);  // reserved
  }

  S& store_;
  const JournalOptions options_;
  const std::uint64_t epoch_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable settled_changed_;
  // Under the mutex:
  std::uint64_t last_;
  std::uint64_t reserved_;
  bool wants_numbers_ = false;
  bool stopping_ = false;
  std::size_t admitted_ = 0;  // and not yet put
  std::size_t count_ = 0;     // admitted, waiting, or being written
  std::size_t bytes_ = 0;     // of those
  std::uint64_t put_ = 0;
  Entries waiting_;
  std::list<Waiter> waiters_;
  std::vector<Refusal> refusals_ = [] {
    std::vector<Refusal> refusals;
    refusals.reserve(remembered_refusals);
    return refusals;
  }();
  std::uint64_t forgotten_refusals_ = 0;
  std::uint64_t refused_count_ = 0;
  StoreError error_ = StoreError::ok;
  std::atomic<std::uint64_t> settled_{0};  // written under the mutex

  std::thread thread_;
};

}  // namespace store
FANFARE_NAMESPACE_END
