/// \file
/// The subscriber list: a flat array of slots that any thread may walk while one thread changes it.
///
/// Slots are only ever appended. A slot is published by its function, emptied by clearing it, and never filled again,
/// so a walk cannot see the function of one subscriber with the context of another, nor one event twice. When an array
/// is full, or more than a fifth of it are holes, the living slots are copied to a new one, in order: amortised O(1).
/// The first element of all has its slot in the list itself. docs/design/subscriber-list.md says why slots are not reused.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>

FANFARE_NAMESPACE_BEGIN

/// One list. Changes are made under a lock of its owner; walks need none, but a pinned domain.
///
/// \tparam Function   a pointer; null means an empty slot.
///
/// Thread safety: `view` and walks from any thread inside a pin of the owner's domain; the rest under the owner's lock.
template <Atomics A, class Function>
class SubscriberList {
  template <class T>
  using atomic = typename A::template atomic<T>;
  template <class T>
  using plain = typename A::template plain<T>;

  struct Run;

 public:
  /// Identifies an element for as long as the list lives. Grows from element to element.
  using Sequence = std::uint64_t;

  /// What a walk may look at.
  class Slot {
   public:
    /// The function, or null if the slot is empty.
    [[nodiscard]] Function function() const noexcept {
      // (2) seq_cst; pairs with the release in (8), and with (3) by the argument at (1).
      return function_.load(std::memory_order_seq_cst);
    }
    /// \pre function() returned non-null
    [[nodiscard]] void* context() const noexcept { return context_.read(); }

   private:
    friend class SubscriberList;
    atomic<Function> function_{nullptr};
    plain<void*> context_;  // written before (8), never again
  };

  /// A position in time: the slots that existed when it was taken.
  class View {
   public:
    [[nodiscard]] const Slot* begin() const noexcept { return slots_; }
    [[nodiscard]] const Slot* end() const noexcept { return slots_ + count_; }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    /// Who the slot belongs to. \pre its function was non-null.
    [[nodiscard]] std::uint64_t owner(const Slot& slot) const noexcept {
      const Run& run = reinterpret_cast<const Run*>(slots_)[-1];  // the slots stand behind it
      return run.cold()[&slot - slots_].owner.read();
    }

   private:
    friend class SubscriberList;
    const Slot* slots_ = nullptr;
    std::size_t count_ = 0;
  };

  /// An element to add.
  struct Element {
    Function function;
    void* context;
    std::uint64_t owner;
  };

  SubscriberList() noexcept = default;
  SubscriberList(const SubscriberList&) = delete;
  SubscriberList& operator=(const SubscriberList&) = delete;

  /// What to walk now.
  /// \progress wait-free.
  [[nodiscard]] FANFARE_ALWAYS_INLINE View view() const noexcept {
    const Run* const run = current_.load(std::memory_order_seq_cst);  // (2); pairs with (3)
    View view;
    view.slots_ = run->slots();
    // (24) acquire; pairs with the release in (25): a counted slot shows its function, so two walks of one view agree
    // on whom they meet, but for those who leave in between.
    view.count_ = run->count.load(std::memory_order_acquire);
    return view;
  }

  /// Adds at the end.
  /// \param sequence   receives the name of the element.
  /// \param replaced   receives the array that has been replaced, to be retired, or null.
  /// \returns          false where memory is exhausted; nothing is changed then.
  /// \complexity       amortised O(1).
  template <Memory M>
  [[nodiscard]] bool add(const Element& element, Sequence& sequence, M& memory, detail::Garbage*& replaced) noexcept {
    Run* run = current_.load(std::memory_order_relaxed);
    if (run->count.load(std::memory_order_relaxed) == run->capacity) {
      if (!rebuild(spare_after(*run), memory, replaced)) return false;
      run = current_.load(std::memory_order_relaxed);
    }
    sequence = ++last_sequence_;
    append(*run, element, sequence);
    ++live_;
    return true;
  }

  /// Empties the element's slot, in every array that a walk may still use: no walk of this thread begins a call of it,
  /// even one that was under way in an older array.
  /// \complexity O(1) where the element has not moved since it was added, else O(log n); as much again for each array
  ///             that has been replaced since it was added and is still retired.
  void remove(Sequence sequence, std::size_t position_hint) noexcept {
    for (Run* run = current_.load(std::memory_order_relaxed); run != nullptr; run = older(*run)) {
      if (run->last() < sequence) break;  // replaced before the element came, as were all older ones
      if (Slot* slot = run->find(sequence, position_hint)) {
        slot->function_.store(nullptr, std::memory_order_seq_cst);  // (3) seq_cst; see (1)
      }
    }
    FANFARE_ASSERT(live_ > 0, "an element was removed twice");
    --live_;
  }

  /// Empties all slots.
  void clear() noexcept {
    for (Run* run = current_.load(std::memory_order_relaxed); run != nullptr; run = older(*run)) {
      const std::size_t count = run->count.load(std::memory_order_relaxed);
      for (std::size_t i = 0; i < count; ++i) {
        run->slots()[i].function_.store(nullptr, std::memory_order_seq_cst);  // (3)
      }
    }
    live_ = 0;
  }

  /// Copies the living slots where too many are holes. Does nothing where memory is exhausted.
  template <Memory M>
  void tidy(M& memory, detail::Garbage*& replaced) noexcept {
    const Run* const run = current_.load(std::memory_order_relaxed);
    const std::size_t holes = run->count.load(std::memory_order_relaxed) - live_;
    if (holes > live_ / 4 + 8) static_cast<void>(rebuild(live_ / 4 + 8, memory, replaced));
  }

  /// Where an element just added stands: a hint for `remove`.
  [[nodiscard]] std::uint32_t last_position() const noexcept {
    const std::uint32_t count = current_.load(std::memory_order_relaxed)->count.load(std::memory_order_relaxed);
    return count == 0 ? 0 : count - 1;
  }

  /// How many elements there are.
  [[nodiscard]] std::size_t size() const noexcept { return live_; }

  /// Frees the current array. \pre nobody walks, and nothing that `add` or `tidy` replaced is still retired.
  template <Memory M>
  void destroy(M& memory) noexcept {
    Run* const run = current_.load(std::memory_order_relaxed);
    if (run == &own_) return;
    const detail::Block block = static_cast<Array*>(run)->destroy();
    memory.deallocate(block.address, block.bytes, block.alignment);
    current_.store(&own_, std::memory_order_relaxed);
  }

 private:
  /// What belongs to a slot and is not needed to walk.
  struct Cold {
    plain<Sequence> sequence;
    plain<std::uint64_t> owner;
  };
  static_assert(alignof(Cold) <= alignof(Slot));

  /// The beginning of some slots and, behind them, what walks do not need.
  struct alignas(Slot) Run {
    explicit Run(std::uint32_t capacity_) noexcept : capacity(capacity_) {}

    [[nodiscard]] Slot* slots() noexcept { return reinterpret_cast<Slot*>(this + 1); }
    [[nodiscard]] const Slot* slots() const noexcept { return reinterpret_cast<const Slot*>(this + 1); }
    [[nodiscard]] Cold* cold() noexcept { return reinterpret_cast<Cold*>(slots() + capacity); }
    [[nodiscard]] const Cold* cold() const noexcept { return const_cast<Run*>(this)->cold(); }

    [[nodiscard]] Sequence last() const noexcept {
      const std::size_t size = count.load(std::memory_order_relaxed);
      return size == 0 ? 0 : cold()[size - 1].sequence.read();
    }
    /// Elements stand in the order of their sequence numbers and only ever move towards the front.
    [[nodiscard]] Slot* find(Sequence sequence, std::size_t hint) noexcept {
      const std::size_t size = count.load(std::memory_order_relaxed);
      if (hint < size && cold()[hint].sequence.read() == sequence) return slots() + hint;
      const Cold* begin = cold();
      const Cold* end = begin + size;
      const Cold* found = std::lower_bound(
          begin, end, sequence, [](const Cold& cold, Sequence wanted) { return cold.sequence.read() < wanted; });
      return found != end && found->sequence.read() == sequence ? slots() + (found - begin) : nullptr;
    }

    atomic<std::uint32_t> count{0};
    const std::uint32_t capacity;
  };

  /// The slot that is in the list.
  struct OwnRun final : Run {
    OwnRun() noexcept : Run(1) {}
    Slot slot;
    Cold cold;
  };

  struct ArrayHead : detail::Garbage {
    explicit ArrayHead(SubscriberList& list_) noexcept : list(&list_) {}
    SubscriberList* list;
    Run* older = nullptr;  // under the owner's lock
  };

  /// Slots in memory of their own: they stand behind it.
  struct Array final : ArrayHead, Run {
    Array(SubscriberList& list_, std::uint32_t capacity_) noexcept : ArrayHead(list_), Run(capacity_) {
      for (std::size_t i = 0; i < this->capacity; ++i) ::new (static_cast<void*>(this->slots() + i)) Slot;
      for (std::size_t i = 0; i < this->capacity; ++i) ::new (static_cast<void*>(this->cold() + i)) Cold;
    }
    static constexpr std::size_t size_for(std::size_t capacity) noexcept {
      return sizeof(Array) + capacity * (sizeof(Slot) + sizeof(Cold));
    }

    void forget() noexcept override { this->list->forget(*this); }
    detail::Block destroy() noexcept override {
      const detail::Block block{this, size_for(this->capacity), alignof(Array)};
      this->~Array();
      return block;
    }
    [[nodiscard]] std::size_t bytes() const noexcept override { return size_for(this->capacity); }
  };
  static_assert(sizeof(Array) == sizeof(ArrayHead) + sizeof(Run), "the slots stand behind the run");
  static_assert(sizeof(OwnRun) == sizeof(Run) + sizeof(Slot) + sizeof(Cold), "the slots stand behind the run");

  /// The one that a run has replaced and that may still be walked.
  [[nodiscard]] Run* older(Run& run) noexcept { return &run == &own_ ? nullptr : static_cast<Array&>(run).older; }

  /// Pure growth doubles; an array that has holes is filled by churn and gets room to breathe.
  [[nodiscard]] std::size_t spare_after(const Run& full) const noexcept {
    return full.capacity == live_ ? live_ : live_ / 2 + 8;
  }

  template <Memory M>
  [[nodiscard]] bool rebuild(std::size_t spare, M& memory, detail::Garbage*& replaced) noexcept {
    static constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max() / 8;
    if (live_ > most) return false;
    const std::size_t capacity = std::bit_ceil(live_ + spare);
    const std::size_t bytes = Array::size_for(capacity);
    void* const address = memory.allocate(bytes, alignof(Array));
    if (address == nullptr) return false;
    auto* next = ::new (address) Array{*this, static_cast<std::uint32_t>(capacity)};
    Run* const previous = current_.load(std::memory_order_relaxed);
    const std::size_t count = previous->count.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < count; ++i) {
      const Slot& slot = previous->slots()[i];
      const Cold& cold = previous->cold()[i];
      if (const Function function = slot.function_.load(std::memory_order_relaxed)) {
        append(*next, {function, slot.context(), cold.owner.read()}, cold.sequence.read());
      }
    }
    next->older = previous;
    replaced = previous == &own_ ? nullptr : static_cast<Array*>(previous);
    current_.store(next, std::memory_order_seq_cst);  // (3) seq_cst; see (1). Also publishes the copies to (2).
    return true;
  }

  static void append(Run& run, const Element& element, Sequence sequence) noexcept {
    const std::uint32_t position = run.count.load(std::memory_order_relaxed);
    Slot& slot = run.slots()[position];
    Cold& cold = run.cold()[position];
    slot.context_.write(element.context);
    cold.sequence.write(sequence);
    cold.owner.write(element.owner);
    slot.function_.store(element.function, std::memory_order_release);  // (8) release; pairs with (2)
    run.count.store(position + 1, std::memory_order_release);           // (25) release; pairs with the acquire in (24)
  }

  /// An older array is about to be freed.
  void forget(Array& array) noexcept {
    for (Run* newer = current_.load(std::memory_order_relaxed); newer != &own_;) {
      Run*& next = static_cast<Array*>(newer)->older;
      if (next == &array) {
        next = array.older;
        return;
      }
      newer = next;
    }
  }

  Sequence last_sequence_ = 0;
  std::uint32_t live_ = 0;
  atomic<Run*> current_{&own_};
  OwnRun own_;
};

FANFARE_NAMESPACE_END
