/// \file
/// Epoch-based reclamation without thread-locals, registration or fences.
///
/// After: K. Fraser, "Practical lock-freedom", UCAM-CL-TR-579, 2004, with one difference: a reader does not own a
/// record, it claims one for the length of one read. The locked instruction that any announcement needs is the claim.
/// docs/design/memory-orders.md lists every atomic operation with its partner; the numbers are those in the comments.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/policy.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// How deep triggers may nest: a callback that triggers, whose callback triggers, and so on.
inline constexpr std::size_t max_trigger_depth = 64;

/// What a read is for: only triggers count towards their depth.
enum class ReadFor : bool { query, trigger };

/// Decides when memory that readers may still see can be reused.
///
/// A reader pins the domain, looks something up, then names the *scope* that it found and reads only that from there
/// on. Whoever unlinks something asks for a *stamp*; the memory is free once `oldest_reader(scope)` is larger. So a
/// reader that stays long holds back the garbage of its own scope and of nothing else.
///
/// Thread safety: all members from any thread, concurrently.
template <Atomics A, Memory M>
class EpochDomain {
  template <class T>
  using atomic = typename A::template atomic<T>;

  struct Record;

  /// What became of the wish to read. Small enough to be returned in registers: a guard that has no address until it is
  /// whole need not be in memory at all.
  struct Claim {
    Record* record;  // null where there is an error
    errc error = errc::ok;
    bool elsewhere = false;  // the record is not the one hinted at, and counted
  };

 public:
  /// One read. Ends with the object. Reads may nest and may end in any order.
  class [[nodiscard]] Guard {
   public:
    Guard(Guard&& other) noexcept
        : record_(std::exchange(other.record_, nullptr)), elsewhere_(other.elsewhere_), error_(other.error_) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    Guard& operator=(Guard&&) = delete;
    FANFARE_ALWAYS_INLINE ~Guard() {
      if (record_ == nullptr) return;
      record_->scope.store(nullptr, std::memory_order_relaxed);
      record_->owner.store(0, std::memory_order_relaxed);
      if (elsewhere_ != nullptr) elsewhere_->fetch_sub(1, std::memory_order_relaxed);
      record_->epoch.store(0, std::memory_order_release);  // (5) release; pairs with the scan (4) and the claim (1)
    }

    /// `errc::ok`, or why nothing is pinned: `nested_too_deep`, `out_of_memory`.
    [[nodiscard]] errc error() const noexcept { return error_; }

    /// From here on only `scope` is read.
    void enter(const void* scope) noexcept {
      record_->scope.store(scope, std::memory_order_release);  // (9) release; pairs with the acquire in (10)
    }
    /// From here on a user's code may run. What it calls can tell that it is inside (`inside()`).
    void enter_callbacks() noexcept {
      record_->owner.store(A::thread_identity(), std::memory_order_relaxed);  // (11) only ever compared by its writer
    }

   private:
    friend class EpochDomain;
    Guard(const Claim& claim, atomic<std::size_t>& elsewhere) noexcept
        : record_(claim.record), elsewhere_(claim.elsewhere ? &elsewhere : nullptr), error_(claim.error) {}

    Record* record_ = nullptr;
    atomic<std::size_t>* elsewhere_ = nullptr;  // where it is counted, if the record is not the one hinted at
    errc error_ = errc::ok;
  };

  /// \param memory   where records beyond the first 32 come from.
  explicit EpochDomain(const M& memory) noexcept : memory_(memory) {}
  EpochDomain(const EpochDomain&) = delete;
  EpochDomain& operator=(const EpochDomain&) = delete;
  ~EpochDomain() {
    for (RecordBlock* block = first_.next.load(std::memory_order_relaxed); block != nullptr;) {
      RecordBlock* next = block->next.load(std::memory_order_relaxed);
      block->~RecordBlock();
      memory_.deallocate(block, sizeof(RecordBlock), alignof(RecordBlock));
      block = next;
    }
  }

  /// Begins a read.
  /// \progress   lock-free; a memory allocation only where more than 32 reads are under way at once.
  /// \complexity one locked instruction if the record that the thread's identity hints at is free.
  [[nodiscard]] FANFARE_ALWAYS_INLINE Guard pin(ReadFor use = ReadFor::trigger) noexcept {
    Record& hinted = first_.records[hint(A::thread_identity())];
    Claim claimed{&hinted};
    if (!claim(hinted)) [[unlikely]] {
      claimed = pin_elsewhere(use);
    } else if (use == ReadFor::trigger && elsewhere_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      // With no trigger in a record that it was not hinted to, a free hint means that this thread is in no trigger.
      claimed = check_depth(hinted);
    }
    return Guard{claimed, elsewhere_};
  }

  /// The stamp of what has just been unlinked: readers that begin from now on cannot see it.
  [[nodiscard]] std::uint64_t advance() noexcept {
    return epoch_.fetch_add(1, std::memory_order_release);  // (6) release; pairs with the acquire in (7)
  }

  /// Where one owner keeps what it unlinked; guarded by the owner's lock.
  using Queue = detail::GarbageQueue;

  /// Keeps what was unlinked until nobody reads it.
  void retire(Queue& queue, detail::Garbage& garbage, std::uint64_t stamp) noexcept { queue.push(garbage, stamp); }
  /// Moves what nobody can read any more to `out`; every item of the queue has this scope.
  void collect(Queue& queue, const void* scope, detail::GarbageQueue& out) noexcept {
    const std::uint64_t oldest = oldest_reader(scope);
    queue.take_front([&](const detail::Garbage& garbage) { return garbage.stamp() < oldest; }, out);
    queue.postpone();
  }
  /// The same for a queue where each item is the scope of those who can reach it, or is reached only while looking up.
  void collect_each(Queue& queue, detail::GarbageQueue& out) noexcept {
    if (queue.empty()) return queue.postpone();
    // One look at the readers for all that is in the queue; if there are many, another for what the rest might read.
    std::array<Reader, 8> readers;
    std::size_t count = 0;
    std::uint64_t others = none;
    for_each([&](const Record& record) {
      const Reader reader = reader_in(record);
      if (reader.epoch == 0) return;
      if (count < readers.size()) {
        readers[count++] = reader;
      } else {
        others = std::min(others, reader.epoch);
      }
    });
    const auto unread = [&](const detail::Garbage& garbage) {
      if (garbage.stamp() >= others) return garbage.stamp() < oldest_reader(garbage.scope());
      std::uint64_t until = none;
      for (std::size_t i = 0; i < count; ++i) {
        const bool here = readers[i].scope == nullptr || readers[i].scope == garbage.scope();
        if (here && readers[i].epoch < until) until = readers[i].epoch;
      }
      return garbage.stamp() < until;
    };
    queue.take(unread, out);
    queue.postpone();
  }
  /// The same after `await(scope, stamp)`, without looking at the readers again.
  void collect_awaited(Queue& queue, std::uint64_t stamp, detail::GarbageQueue& out) noexcept {
    queue.take_front([&](const detail::Garbage& garbage) { return garbage.stamp() <= stamp; }, out);
    queue.postpone();
  }
  /// Frees all. \pre nobody reads.
  template <Memory AnyMemory>
  void destroy_all(Queue& queue, AnyMemory& memory) noexcept {
    queue.destroy_all(memory);
  }
  /// Whether nothing of the owner's waits to be freed.
  [[nodiscard]] bool empty(const Queue& queue) const noexcept { return queue.empty(); }
  /// How many bytes of it wait.
  [[nodiscard]] std::size_t bytes(const Queue& queue) const noexcept { return queue.bytes(); }
  /// What is retired and in no owner's queue.
  [[nodiscard]] std::size_t unqueued_bytes() const noexcept { return 0; }
  /// Whether enough has gathered to be worth a look at all readers.
  [[nodiscard]] bool due(const Queue& queue) const noexcept { return queue.due(); }

  /// The epoch of the oldest read that looks something up or is in `scope`; `none` if there is no such read.
  [[nodiscard]] std::uint64_t oldest_reader(const void* scope) const noexcept {
    std::uint64_t oldest = none;
    for_each([&](const Record& record) {
      if (const std::uint64_t epoch = blocks(record, scope); epoch != 0 && epoch < oldest) oldest = epoch;
    });
    return oldest;
  }
  static constexpr std::uint64_t none = std::numeric_limits<std::uint64_t>::max();

  /// Whether the calling thread is inside a callback of this domain.
  [[nodiscard]] bool inside() const noexcept {
    // With nobody in a record that he was not hinted to, there is one record where this thread can be.
    const std::uintptr_t me = A::thread_identity();
    if (first_.records[hint(me)].owner.load(std::memory_order_relaxed) == me) return true;
    return elsewhere_.load(std::memory_order_relaxed) != 0 && depth() != 0;
  }

  /// Returns when nobody who could have seen what was unlinked at `stamp` in `scope` is still reading.
  /// \pre !inside()
  void await(const void* scope, std::uint64_t stamp) const noexcept {
    for_each([&](const Record& record) {
      A::await([&] {
        const std::uint64_t epoch = blocks(record, scope);
        return epoch == 0 || epoch > stamp;
      });
    });
  }

  /// Whether `await` would return at once: nobody who could have seen what was unlinked at `stamp` in `scope` is still
  /// reading.
  [[nodiscard]] bool passed(const void* scope, std::uint64_t stamp) const noexcept {
    return oldest_reader(scope) > stamp;
  }

  /// Returns when no read that began before now is under way. \pre !inside()
  void await_all() noexcept {
    const std::uint64_t stamp = advance();
    for_each([&](const Record& record) {
      A::await([&] {
        const std::uint64_t epoch = record.epoch.load(std::memory_order_seq_cst);  // (4)
        return epoch == 0 || epoch > stamp;
      });
    });
  }

  /// How many times `advance` was called since the oldest running read began; 0 if none runs.
  [[nodiscard]] std::uint64_t oldest_reader_age() const noexcept {
    std::uint64_t oldest = none;
    for_each([&](const Record& record) {
      const std::uint64_t epoch = record.epoch.load(std::memory_order_seq_cst);  // (4)
      if (epoch != 0 && epoch < oldest) oldest = epoch;
    });
    return oldest == none ? 0 : epoch_.load(std::memory_order_relaxed) - oldest;
  }

 private:
  struct alignas(64) Record {
    atomic<std::uint64_t> epoch{0};      // 0: free
    atomic<std::uintptr_t> owner{0};     // the thread, while it may run callbacks
    atomic<const void*> scope{nullptr};  // nullptr: still looking up
  };

  static constexpr std::size_t records_per_block = 32;
  struct RecordBlock {
    std::array<Record, records_per_block> records;
    atomic<RecordBlock*> next{nullptr};
  };

  static std::size_t hint(std::uintptr_t thread) noexcept {
    return static_cast<std::size_t>((static_cast<std::uint64_t>(thread) * 0x9e3779b97f4a7c15U) >> 59U);
  }
  static_assert(records_per_block == 32, "hint() takes 5 bits");

  FANFARE_ALWAYS_INLINE bool claim(Record& record) noexcept {
    // (7) acquire; pairs with the release in (6): an epoch read here is not newer than what is then seen.
    const std::uint64_t now = epoch_.load(std::memory_order_acquire);
    std::uint64_t free = 0;
    // (1) seq_cst: either the scan (4) sees this claim, or the loads (2) that follow see what was unlinked (3).
    return record.epoch.compare_exchange_strong(free, now, std::memory_order_seq_cst, std::memory_order_relaxed);
  }

  FANFARE_NOINLINE Claim check_depth(Record& claimed) noexcept {
    if (depth() < max_trigger_depth) return {&claimed};
    const Guard ended{{&claimed}, elsewhere_};
    return {nullptr, errc::nested_too_deep};
  }

  FANFARE_NOINLINE Claim pin_elsewhere(ReadFor use) noexcept {
    if (use == ReadFor::trigger && depth() >= max_trigger_depth) return {nullptr, errc::nested_too_deep};
    const std::size_t start = hint(A::thread_identity());
    for (RecordBlock* block = &first_;;) {
      for (std::size_t i = 0; i < records_per_block; ++i) {
        Record& record = block->records[(start + i) % records_per_block];
        if (record.epoch.load(std::memory_order_relaxed) == 0 && claim(record)) {
          elsewhere_.fetch_add(1, std::memory_order_relaxed);  // only read by its own thread in a way that matters
          return {&record, errc::ok, true};
        }
      }
      RecordBlock* next = block->next.load(std::memory_order_seq_cst);  // (12) seq_cst; pairs with (13)
      if (next == nullptr && (next = append(*block)) == nullptr) return {nullptr, errc::out_of_memory};
      block = next;
    }
  }

  RecordBlock* append(RecordBlock& last) noexcept {
    void* memory = memory_.allocate(sizeof(RecordBlock), alignof(RecordBlock));
    if (memory == nullptr) return nullptr;
    auto* block = ::new (memory) RecordBlock;
    RecordBlock* expected = nullptr;
    // (13) seq_cst; pairs with (12). In the order of (1) to (4): a scan that does not see a block comes before its
    // linking, and so before every load by a reader in it.
    if (last.next.compare_exchange_strong(expected, block, std::memory_order_seq_cst, std::memory_order_seq_cst)) {
      return block;
    }
    block->~RecordBlock();
    memory_.deallocate(memory, sizeof(RecordBlock), alignof(RecordBlock));
    return expected;
  }

  /// What is known of a read. Epoch 0: there is none; scope null: it is still looking up.
  struct Reader {
    std::uint64_t epoch;
    const void* scope;
  };
  [[nodiscard]] FANFARE_ALWAYS_INLINE static Reader reader_in(const Record& record) noexcept {
    const std::uint64_t epoch = record.epoch.load(std::memory_order_seq_cst);  // (4) seq_cst; see (1)
    if (epoch == 0) return {0, nullptr};
    // (10) acquire; pairs with the release in (9). Never older than the claim: (5) cleared it before, and (4) saw the
    // claim. If it is of a later claim, the one seen in (4) is over.
    return {epoch, record.scope.load(std::memory_order_acquire)};
  }

  /// The record's epoch if its reader may see `scope`, else 0.
  [[nodiscard]] std::uint64_t blocks(const Record& record, const void* scope) const noexcept {
    const auto [epoch, reading] = reader_in(record);
    if (epoch == 0) return 0;
    return reading == nullptr || reading == scope ? epoch : 0;
  }

  /// How many reads the calling thread has under way that may run callbacks.
  [[nodiscard]] std::size_t depth() const noexcept {
    const std::uintptr_t me = A::thread_identity();
    std::size_t mine = 0;
    for_each([&](const Record& record) { mine += record.owner.load(std::memory_order_relaxed) == me ? 1U : 0U; });
    return mine;
  }

  template <class F>
  void for_each(F f) const noexcept {
    for (const RecordBlock* block = &first_; block != nullptr;
         block = block->next.load(std::memory_order_seq_cst)) {  // (12)
      for (const Record& record : block->records) f(record);
    }
  }

  alignas(64) atomic<std::uint64_t> epoch_{1};
  alignas(64) atomic<std::size_t> elsewhere_{0};  // reads in records that they were not hinted to
  RecordBlock first_;
  [[no_unique_address]] M memory_;
};

/// Policy: epoch-based reclamation. The default of `MultiThreaded`.
struct EpochReclaimer {
  static constexpr PolicyKind policy_kind = PolicyKind::reclaimer;
  /// What a registry keeps of it.
  template <class A, class M>
  using domain = EpochDomain<A, M>;
};

FANFARE_NAMESPACE_END
