/// \file
/// Writes what channels keep to a store, on a thread of its own.
#pragma once

#include <fanfare/core/kept_log.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/store/history_store.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>
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
  /// Numbers that each life leaves out at its beginning, for what the one before could not reserve: see `Journal::number`.
  std::uint64_t spare = std::uint64_t{1} << 32U;
};

/// Told whether a change is durable. Called once, on the journal's thread or in `Journal::stop`, without a lock. Must not
/// throw, wait, or stop the journal.
using Committed = std::function<void(StoreError)>;

/// Gives events their numbers and brings them to a store, in the order in which they came: all that has come while it
/// wrote is written next, together. Who triggers never waits for it; who wants to know that an event is durable asks for
/// its ticket.
///
/// A number that was given out is never given out again, also in later lives of the program: the store has it reserved
/// before it is used. The first are reserved by the constructor, the next when half of them are used.
///
/// What the store has is always all up to some change, without a hole. So a group that it refuses stays in front of what
/// comes next, and keeps its room: it is tried again with that, at least about once a second, and a last time when the
/// journal stops. Those who wait for one of its changes are told at once that it is not durable. Where the store goes on
/// refusing, the journal fills up and admits nothing more.
///
/// \ownership     the store outlives the journal, and belongs to its thread meanwhile.
/// Thread safety: all members from any thread, concurrently; the destructor as usual. Its lock is a leaf: nothing is locked
///                inside of it, so `admit` and `put` may be called under a channel's lock.
template <HistoryStore S>
class Journal final : public KeptLog {
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
                 std::max<std::uint64_t>(options.reservation, 2), options.spare},
        epoch_(store.numbers().epoch),
        last_(store.numbers().last + (store.numbers().last == 0 ? 0 : options.spare)),
        reserved_(last_) {
    reserve_error_ = store.reserve(last_ + options_.reservation);
    if (reserve_error_ == StoreError::ok) reserved_ = last_ + options_.reservation;
    thread_ = std::thread([this] { run(); });
  }
  ~Journal() override { stop(); }

  /// Of all numbers that it gives out.
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }

  [[nodiscard]] EventId place() const noexcept override {
    const std::lock_guard lock(mutex_);
    return {epoch_, last_};
  }

  /// Has the store give back what it holds. Nothing is written meanwhile. An error too where the first numbers could not be
  /// reserved.
  [[nodiscard]] std::string_view load(KeptVisitor& visitor) override {
    struct Loading {
      explicit Loading(Journal& journal_) : journal(journal_) {
        std::unique_lock lock(journal.mutex_);
        journal.loading_ = true;
        journal.settled_changed_.wait(lock, [this] { return !journal.busy_; });
      }
      Loading(const Loading&) = delete;
      Loading& operator=(const Loading&) = delete;
      ~Loading() {
        const std::lock_guard lock(journal.mutex_);
        journal.loading_ = false;
        journal.wake_.notify_one();
      }
      Journal& journal;
    };
    const Loading loading(*this);
    // What is not reserved in this life, the next one could give out again.
    const StoreError error = reserve_error_ == StoreError::ok ? store_.load(visitor) : reserve_error_;
    return error == StoreError::ok ? std::string_view{} : message(error);
  }

  /// Room for one change, and the number that it has if it is an event.
  /// \param bytes   of its names and data.
  /// \returns       0 where there is no room, no number is reserved yet, or the journal has stopped: a later try may
  ///                succeed, but for the last.
  /// \complexity    O(1). \progress takes the lock, and never waits for the store.
  [[nodiscard]] std::uint64_t admit(std::size_t bytes) noexcept override {
    Entries entry = make_entry();
    const std::lock_guard lock(mutex_);
    if (stopping_) return 0;
    want_numbers();
    if (last_ >= reserved_ || !take_room(entry, bytes)) return 0;
    ++admitted_;
    return ++last_;
  }

  /// A number for an event that is not written. It is above all others; where none is reserved, because the store is slow
  /// or refuses to, it is one of those that the next life leaves out.
  /// \pre `load` has succeeded.
  [[nodiscard]] std::uint64_t number() noexcept override {
    const std::lock_guard lock(mutex_);
    want_numbers();
    return ++last_;
  }

  std::uint64_t put(KeptChange change, std::size_t bytes) noexcept override {
    const std::lock_guard lock(mutex_);
    FANFARE_ASSERT(admitted_ != 0, "a change that was not admitted");
    --admitted_;
    return put_locked(std::move(change), bytes);
  }

  std::uint64_t put_forget(KeptChange change) noexcept override {
    const std::size_t bytes = change.channel.size();
    Entries entry = make_entry();
    const std::lock_guard lock(mutex_);
    if (stopping_ || !take_room(entry, bytes)) return 0;
    return put_locked(std::move(change), bytes);
  }

  [[nodiscard]] KeptOutcome outcome(const KeptTicket& ticket) const noexcept override {
    if (ticket.last > settled()) return KeptOutcome::pending;
    const std::lock_guard lock(mutex_);
    return outcome_locked(ticket);
  }

  KeptOutcome wait(const KeptTicket& ticket) noexcept override {
    std::unique_lock lock(mutex_);
    wait_locked(ticket.last, lock);
    return outcome_locked(ticket);
  }

  void when_settled(const KeptTicket& ticket, std::function<void()> f) override {
    when_settled(ticket.last, [told = std::move(f)](StoreError /*error*/) { told(); });
  }

  [[nodiscard]] std::string_view trouble() const noexcept override {
    const std::lock_guard lock(mutex_);
    if (error_ != StoreError::ok) return message(error_);
    return reserve_error_ == StoreError::ok ? std::string_view{} : message(reserve_error_);
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
      error = refusal_of(ticket);
    }
    waiter.front().f(error);
  }

  /// Waits for what has a ticket. \returns what became of it; of one that settled long ago, and was refused, `io`.
  [[nodiscard]] StoreError wait(std::uint64_t ticket) noexcept {
    std::unique_lock lock(mutex_);
    wait_locked(ticket, lock);
    return refusal_of(ticket);
  }

  /// What the store answered to the last changes.
  [[nodiscard]] StoreError error() const noexcept {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  /// How many changes it has refused at first, be they written since or not.
  [[nodiscard]] std::uint64_t refused() const noexcept {
    const std::lock_guard lock(mutex_);
    return refused_count_;
  }

  /// Writes what has come, and ends the thread. What the store refuses now too is lost. Nothing is admitted any more; again:
  /// nothing happens.
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
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration retry_after = std::chrono::seconds(1);

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

  // ---- with the lock held

  void want_numbers() noexcept {
    if (stopping_ || last_ + options_.reservation / 2 < reserved_) return;
    if (!std::exchange(wants_numbers_, true)) wake_.notify_one();
  }

  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept {
    if (count_ == options_.changes) return false;
    return count_ == 0 || bytes <= options_.bytes - std::min(bytes_, options_.bytes);
  }

  /// One, made without the lock; none where there is no memory.
  [[nodiscard]] static Entries make_entry() noexcept {
    Entries entry;
#if FANFARE_EXCEPTIONS
    try {
#endif
      entry.emplace_back();
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {  // so it stays empty
    }
#endif
    return entry;
  }
  /// Takes room for a change, which is to be put into the entry. \returns false where there is none, or no entry.
  [[nodiscard]] bool take_room(Entries& entry, std::size_t bytes) noexcept {
    if (entry.empty() || !has_room(bytes)) return false;
    ++count_;
    bytes_ += bytes;
    spare_.splice(spare_.end(), entry);
    return true;
  }

  std::uint64_t put_locked(KeptChange&& change, std::size_t bytes) noexcept {
    spare_.front().change = std::move(change);
    spare_.front().bytes = bytes;
    if (waiting_.empty()) wake_.notify_one();
    waiting_.splice(waiting_.end(), spare_, spare_.begin());
    return ++put_;
  }

  void wait_locked(std::uint64_t ticket, std::unique_lock<std::mutex>& lock) noexcept {
    settled_changed_.wait(lock, [&] { return ticket <= settled_.load(std::memory_order_relaxed); });
  }

  [[nodiscard]] StoreError refusal_of(std::uint64_t ticket) const noexcept {
    if (ticket <= forgotten_refusals_) return StoreError::io;
    for (const Refusal& refusal : refusals_) {
      if (refusal.first <= ticket && ticket <= refusal.last) return refusal.error;
    }
    return StoreError::ok;
  }
  /// Of changes of others between them, too: what is said to be durable is.
  [[nodiscard]] KeptOutcome outcome_locked(const KeptTicket& ticket) const noexcept {
    if (!ticket) return KeptOutcome::durable;
    if (ticket.first <= forgotten_refusals_) return KeptOutcome::lost;
    for (const Refusal& refusal : refusals_) {
      if (refusal.first <= ticket.last && ticket.first <= refusal.last) return KeptOutcome::lost;
    }
    return KeptOutcome::durable;
  }

  // ---- the thread

  void run() noexcept {
    Entries unwritten;  // the oldest first; what the store has refused
    std::vector<KeptChange> group;
    Clock::time_point retry_at{};
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto due = [&] {
        if (loading_) return false;
        return (stopping_ && admitted_ == 0) || (wants_numbers_ && !stopping_) || !waiting_.empty();
      };
      if (unwritten.empty()) {
        wake_.wait(lock, due);
      } else if (!wake_.wait_until(lock, retry_at, due) && loading_) {
        retry_at = Clock::now() + retry_after;
        continue;
      }
      busy_ = true;
      if (wants_numbers_ && !stopping_) reserve(lock);
      const bool ends = stopping_ && admitted_ == 0;
      const bool retries = !unwritten.empty() && (ends || Clock::now() >= retry_at);
      if (retries || !waiting_.empty()) {
        write(unwritten, group, lock);
        retry_at = Clock::now() + retry_after;
      }
      busy_ = false;
      if (loading_) settled_changed_.notify_all();
      if (ends) return;
    }
  }

  void reserve(std::unique_lock<std::mutex>& lock) noexcept {
    const std::uint64_t to = std::max(reserved_, last_) + options_.reservation;
    lock.unlock();
    const StoreError error = store_.reserve(to);
    lock.lock();
    wants_numbers_ = false;
    reserve_error_ = error;
    if (error == StoreError::ok) reserved_ = to;
  }

  /// Brings what has come to the store, behind what it has refused so far.
  void write(Entries& unwritten, std::vector<KeptChange>& group, std::unique_lock<std::mutex>& lock) noexcept {
    const std::size_t refused = unwritten.size();  // and settled
    unwritten.splice(unwritten.end(), waiting_);
    const std::size_t all = unwritten.size();
    lock.unlock();
    const StoreError error = commit(unwritten, group);
    std::size_t bytes = 0;
    if (error == StoreError::ok) {
      for (const Entry& entry : unwritten) bytes += entry.bytes;
      unwritten.clear();
    }
    lock.lock();
    error_ = error;
    if (error == StoreError::ok) {
      count_ -= all;
      bytes_ -= bytes;
    }
    if (all != refused) settle(all - refused, error, lock);
  }

  /// What is refused stays in the entries.
  [[nodiscard]] StoreError commit(Entries& entries, std::vector<KeptChange>& group) noexcept {
#if FANFARE_EXCEPTIONS
    try {
#endif
      group.reserve(entries.size());
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {
      return StoreError::out_of_memory;
    }
#endif
    for (Entry& entry : entries) group.push_back(std::move(entry.change));
    const StoreError error = store_.commit(group);
    if (error != StoreError::ok) {
      auto change = group.begin();
      for (Entry& entry : entries) entry.change = std::move(*change++);
    }
    group.clear();
    if (group.capacity() > most_spare) group = {};
    return error;
  }

  /// Tells those who wait, without the lock. \param count   of changes that have been tried for the first time.
  void settle(std::size_t count, StoreError error, std::unique_lock<std::mutex>& lock) noexcept {
    const std::uint64_t first = settled_.load(std::memory_order_relaxed) + 1;
    const std::uint64_t last = first + count - 1;
    if (error != StoreError::ok) {
      refused_count_ += count;
      remember_refusal({first, last, error});
    }
    settled_.store(last, std::memory_order_release);  // pairs with the acquire in `settled`
    settled_changed_.notify_all();
    std::list<Waiter> told;
    for (auto at = waiters_.begin(); at != waiters_.end();) {
      const auto waiter = at++;
      if (waiter->ticket <= last) told.splice(told.end(), waiters_, waiter);
    }
    if (told.empty()) return;
    lock.unlock();
    for (const Waiter& waiter : told) waiter.f(refusal_of(waiter.ticket));  // this thread alone changes the refusals
    told.clear();
    lock.lock();
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
  bool loading_ = false;      // the store is used by somebody else
  bool busy_ = false;         // the thread uses it
  std::size_t admitted_ = 0;  // and not yet put
  std::size_t count_ = 0;     // admitted, waiting, or being written
  std::size_t bytes_ = 0;     // of those
  std::uint64_t put_ = 0;
  Entries spare_;  // one for each that is admitted
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
  StoreError reserve_error_ = StoreError::ok;
  std::atomic<std::uint64_t> settled_{0};  // written under the mutex

  std::thread thread_;
};

/// A journal together with its store, as `AppOptions::store` wants it. \throws as `Journal`.
template <HistoryStore S>
[[nodiscard]] std::shared_ptr<KeptLog> make_log(std::unique_ptr<S> store, JournalOptions options = {}) {
  struct Both {
    Both(std::unique_ptr<S> store_, JournalOptions options_) : store(std::move(store_)), journal(*store, options_) {}
    std::unique_ptr<S> store;  // outlives the journal
    Journal<S> journal;
  };
  auto both = std::make_shared<Both>(std::move(store), options);
  KeptLog* const log = &both->journal;
  return {std::move(both), log};
}

}  // namespace store
FANFARE_NAMESPACE_END
