/// \file
/// How much all channels of an application keep together, and who gives way.
#pragma once

#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

FANFARE_NAMESPACE_BEGIN

class KeptAccount;

/// The bytes that an application's channels keep together (history, retained events), with a bound.
///
/// Beyond the bound, channels without subscribers give way first, the one that has been vacant longest before all
/// others: `take_victim` names it to whoever has time, and holds no lock, to make it forget. Until that is done the sum
/// may be up to an eighth above the bound. Where vacant channels do not hold enough, or the eighth is used up, the
/// channel that has just kept more pays itself, with its oldest events: `KeptAccount::report` says how many bytes. What
/// other occupied channels keep is never touched. So the sum stays within nine eighths of the bound, and one event more
/// for each thread that is just storing one.
///
/// Thread safety: any thread, concurrently.
/// \progress lock-free where no channel begins or ceases to be vacant with something kept; else a mutex is locked for a
///           few instructions, by `take_victim` also to copy a name. It is a leaf: it is taken under a channel's lock,
///           and nothing is taken under it but the heap's own.
class KeptBudget {
 public:
  /// \param bytes   the bound. 0: nothing is kept.
  explicit KeptBudget(std::size_t bytes) noexcept : bound_(bytes) {}
  KeptBudget(const KeptBudget&) = delete;
  KeptBudget& operator=(const KeptBudget&) = delete;
  /// \pre all accounts are gone.
  ~KeptBudget() { FANFARE_ASSERT(oldest_ == nullptr, "a budget ends before its accounts"); }

  /// How many bytes all channels together may keep.
  [[nodiscard]] std::size_t bound() const noexcept { return bound_; }
  /// What all channels keep. A moment's view, as all of these.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  /// What the vacant among them keep.
  [[nodiscard]] std::size_t vacant_bytes() const noexcept { return vacant_bytes_.load(std::memory_order_relaxed); }
  /// Whether they keep more than the bound.
  [[nodiscard]] bool over() const noexcept { return bytes() > bound_; }

  /// The channel that is to forget next: that which has been vacant longest and keeps something, if there is one and
  /// the sum is beyond the bound. It becomes the last in the order, so that another call names another.
  ///
  /// Called without a lock. The caller finds the channel by the name, locks it, and if its account is still `vacant()`,
  /// makes it forget all and reports that. It goes on until there is no victim, but not more often than `victims()`
  /// says in the beginning: a channel that could not be made to forget would be named again.
  /// \param name   receives it; unchanged if there is none.
  /// \throws       `std::bad_alloc`; nothing is changed then. \complexity O(1).
  [[nodiscard]] bool take_victim(std::string& name);

  /// How many vacant channels keep something.
  [[nodiscard]] std::size_t victims() const noexcept {
    const std::lock_guard lock(mutex_);
    return victims_;
  }

 private:
  friend class KeptAccount;

  void link(KeptAccount& account) noexcept;
  void unlink(KeptAccount& account) noexcept;

  const std::size_t bound_;
  // Relaxed: sums alone, by which nothing is published. Each account takes back only what it has added, so neither
  // falls below 0.
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> vacant_bytes_{0};

  mutable std::mutex mutex_;  // of all that follows, and of the accounts' links
  KeptAccount* oldest_ = nullptr;
  KeptAccount* newest_ = nullptr;
  std::size_t victims_ = 0;
};

/// What one channel keeps, as its application's budget sees it. It lies beside what is kept, and ends with it.
///
/// Thread safety: like an `int`. It is used under its channel's lock alone; the budget's lock is taken inside it.
class KeptAccount {
 public:
  /// An account of a channel that is vacant and keeps nothing.
  /// \param budget    must outlive this.
  /// \param channel   its name.
  KeptAccount(KeptBudget& budget, std::string channel) noexcept : budget_(budget), channel_(std::move(channel)) {}
  KeptAccount(const KeptAccount&) = delete;
  KeptAccount& operator=(const KeptAccount&) = delete;
  ~KeptAccount() { static_cast<void>(report(0)); }

  /// Whose account it is.
  [[nodiscard]] std::string_view channel() const noexcept { return channel_; }

  /// The channel now keeps so much.
  /// \returns   how many bytes it has to give back at once, from its oldest events, and report again. Mostly 0; never
  ///            more than it has grown by, so a channel that finds no room goes on with newer events in the place of
  ///            older ones.
  [[nodiscard]] std::size_t report(std::size_t bytes) noexcept {
    const std::size_t before = std::exchange(bytes_, bytes);
    if (vacant_) add(budget_.vacant_bytes_, bytes - before);
    const std::size_t sum = add(budget_.bytes_, bytes - before);
    settle();
    if (sum <= budget_.bound_ || bytes <= before) return 0;
    const std::size_t excess = sum - budget_.bound_;
    const std::size_t others = budget_.vacant_bytes() - (vacant_ ? bytes : 0);  // which vacant channels hold
    if (excess <= others && excess <= budget_.bound_ / 8) return 0;
    return std::min(excess, bytes - before);
  }

  /// The last subscriber has gone.
  void vacate() noexcept {
    if (std::exchange(vacant_, true)) return;
    add(budget_.vacant_bytes_, bytes_);
    settle();
  }
  /// The first one has come.
  void occupy() noexcept {
    if (!std::exchange(vacant_, false)) return;
    add(budget_.vacant_bytes_, std::size_t{0} - bytes_);
    settle();
  }
  /// Whether nobody is subscribed to the channel.
  [[nodiscard]] bool vacant() const noexcept { return vacant_; }
  /// What was reported last.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  friend class KeptBudget;

  /// Adds, or takes away what is below 0 as a signed number. \returns the sum.
  static std::size_t add(std::atomic<std::size_t>& sum, std::size_t change) noexcept {
    return change == 0 ? sum.load(std::memory_order_relaxed)
                       : sum.fetch_add(change, std::memory_order_relaxed) + change;
  }

  /// Stands in the budget's order while it is vacant and keeps something.
  void settle() noexcept {
    const bool wanted = vacant_ && bytes_ != 0;
    if (std::exchange(linked_, wanted) == wanted) return;
    const std::lock_guard lock(budget_.mutex_);
    wanted ? budget_.link(*this) : budget_.unlink(*this);
  }

  KeptBudget& budget_;
  const std::string channel_;
  std::size_t bytes_ = 0;
  bool vacant_ = true;
  bool linked_ = false;
  KeptAccount* older_ = nullptr;  // under the budget's lock
  KeptAccount* newer_ = nullptr;
};

inline bool KeptBudget::take_victim(std::string& name) {
  if (!over()) return false;
  const std::lock_guard lock(mutex_);
  if (oldest_ == nullptr) return false;
  KeptAccount& victim = *oldest_;
  name = victim.channel_;
  unlink(victim);
  link(victim);
  return true;
}

inline void KeptBudget::link(KeptAccount& account) noexcept {
  account.older_ = newest_;
  account.newer_ = nullptr;
  (newest_ == nullptr ? oldest_ : newest_->newer_) = &account;
  newest_ = &account;
  ++victims_;
}

inline void KeptBudget::unlink(KeptAccount& account) noexcept {
  (account.older_ == nullptr ? oldest_ : account.older_->newer_) = account.newer_;
  (account.newer_ == nullptr ? newest_ : account.newer_->older_) = account.older_;
  --victims_;
}

FANFARE_NAMESPACE_END
