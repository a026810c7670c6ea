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
    /// The slots as a range; those whose function is null are nobody's.
    [[nodiscard]] const Slot* begin() const noexcept { return slots_; }
    /// Behind the last of them.
    [[nodiscard]] const Slot* end() const noexcept { return slots_ + count_; }
    /// How many there are, nobody's included.
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    /// Whether there are none.
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    /// Who the slot belongs to. \pre its function was non-null.
    [[nodiscard]] std::uint64_t owner(const Slot& slot) const noexcept {
      const Run& run = reinterpret_cast<const Run*>(slots_)[-1];  // the slots stand behind it
      return run.owners()[&slot - slots_].read();
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
    sequence = last_sequence(*run) + 1;
    append(*run, element, sequence);
    if (run != &own_) ++static_cast<Array*>(run)->live;
    return true;
  }

  /// Empties the element's slot, in every array that a walk may still use: no walk of this thread begins a call of it,
  /// even one that was under way in an older array.
  /// \complexity O(1) where the element has not moved since it was added, else O(log n); as much again for each array
  ///             that has been replaced since it was added and is still retired.
  void remove(Sequence sequence, std::size_t position_hint) noexcept {
    FANFARE_ASSERT(size() > 0, "an element was removed twice");
    for (Run* run = current_.load(std::memory_order_relaxed); run != nullptr; run = older(*run)) {
      if (run->last() < sequence) break;  // replaced before the element came, as were all older ones
      if (Slot* slot = run->find(sequence, position_hint)) {
        slot->function_.store(nullptr, std::memory_order_seq_cst);  // (3) seq_cst; see (1)
      }
    }
    if (Array* const array = current_array()) --array->live;
  }

  /// Empties all slots.
  void clear() noexcept {
    for (Run* run = current_.load(std::memory_order_relaxed); run != nullptr; run = older(*run)) {
      const std::size_t count = run->count.load(std::memory_order_relaxed);
      for (std::size_t i = 0; i < count; ++i) {
        run->slots()[i].function_.store(nullptr, std::memory_order_seq_cst);  // (3)
      }
    }
    if (Array* const array = current_array()) array->live = 0;
  }

  /// Copies the living slots where too many are holes. Does nothing where memory is exhausted.
  template <Memory M>
  void tidy(M& memory, detail::Garbage*& replaced) noexcept {
    const Run* const run = current_.load(std::memory_order_relaxed);
    const std::size_t live = size();
    const std::size_t holes = run->count.load(std::memory_order_relaxed) - live;
    if (holes > live / 4 + 8) static_cast<void>(rebuild(live / 4 + 8, memory, replaced));
  }

  /// Where an element just added stands: a hint for `remove`.
  [[nodiscard]] std::uint32_t last_position() const noexcept {
    const std::uint32_t count = current_.load(std::memory_order_relaxed)->count.load(std::memory_order_relaxed);
    return count == 0 ? 0 : count - 1;
  }

  /// How many elements there are.
  [[nodiscard]] std::size_t size() const noexcept {
    if (const Array* const array = current_array()) return array->live;
    return own_.slot.function_.load(std::memory_order_relaxed) == nullptr ? 0 : 1;
  }

  /// The current array, for an owner that is itself retired: to be retired before the owner is. Null where there is none.
  [[nodiscard]] detail::Garbage* array() noexcept { return current_array(); }

  /// Frees the current array. \pre nobody walks, and nothing that `add` or `tidy` replaced is still retired.
  template <Memory M>
  void destroy(M& memory) noexcept {
    Array* const array = current_array();
    if (array == nullptr) return;
    const detail::Block block = array->destroy();
    memory.deallocate(block.address, block.bytes, block.alignment);
    current_.store(&own_, std::memory_order_relaxed);
  }

 private:
  using Owner = plain<std::uint64_t>;
  using Number = plain<Sequence>;
  static_assert(alignof(Owner) <= alignof(Slot) && alignof(Number) <= alignof(Owner));

  /// The beginning of some slots and, behind them, what walks do not need: the owner of each, and its sequence number. With
  /// room for one it is the list's own, and the numbers are not there: that slot is filled by the first element of all.
  struct alignas(Slot) Run {
    explicit Run(std::uint32_t capacity_) noexcept : capacity(capacity_) {}

    [[nodiscard]] Slot* slots() noexcept { return reinterpret_cast<Slot*>(this + 1); }
    [[nodiscard]] const Slot* slots() const noexcept { return reinterpret_cast<const Slot*>(this + 1); }
    [[nodiscard]] Owner* owners() noexcept { return reinterpret_cast<Owner*>(slots() + capacity); }
    [[nodiscard]] const Owner* owners() const noexcept { return const_cast<Run*>(this)->owners(); }
    [[nodiscard]] Number* numbers() noexcept { return reinterpret_cast<Number*>(owners() + capacity); }
    [[nodiscard]] const Number* numbers() const noexcept { return const_cast<Run*>(this)->numbers(); }
    [[nodiscard]] bool own() const noexcept { return capacity == 1; }

    [[nodiscard]] Sequence sequence(std::size_t i) const noexcept { return own() ? 1 : numbers()[i].read(); }
    [[nodiscard]] Sequence last() const noexcept {
      const std::size_t size = count.load(std::memory_order_relaxed);
      return size == 0 ? 0 : sequence(size - 1);
    }
    /// Elements stand in the order of their sequence numbers and only ever move towards the front.
    [[nodiscard]] Slot* find(Sequence wanted, std::size_t hint) noexcept {
      const std::size_t size = count.load(std::memory_order_relaxed);
      if (own()) return size == 1 && wanted == 1 ? slots() : nullptr;
      if (hint < size && numbers()[hint].read() == wanted) return slots() + hint;
      const Number* const begin = numbers();
      const Number* const end = begin + size;
      const Number* const found = std::lower_bound(
          begin, end, wanted, [](const Number& number, Sequence than) { return number.read() < than; });
      return found != end && found->read() == wanted ? slots() + (found - begin) : nullptr;
    }

    atomic<std::uint32_t> count{0};
    const std::uint32_t capacity;
  };

  /// The slot that is in the list.
  struct OwnRun final : Run {
    OwnRun() noexcept : Run(1) {}
    Slot slot;
    Owner owner;
  };

  struct ArrayHead : detail::Garbage {
    explicit ArrayHead(SubscriberList& list_) noexcept : list(&list_) {}
    SubscriberList* list;
    // Under the owner's lock:
    Run* older = nullptr;
    Sequence last_given = 0;  // before this array was made
    std::size_t live = 0;
  };

  /// Slots in memory of their own: they stand behind it.
  struct Array final : ArrayHead, Run {
    Array(SubscriberList& list_, std::uint32_t capacity_) noexcept : ArrayHead(list_), Run(capacity_) {
      for (std::size_t i = 0; i < this->capacity; ++i) ::new (static_cast<void*>(this->slots() + i)) Slot;
      for (std::size_t i = 0; i < this->capacity; ++i) ::new (static_cast<void*>(this->owners() + i)) Owner;
      for (std::size_t i = 0; i < this->capacity; ++i) ::new (static_cast<void*>(this->numbers() + i)) Number;
    }
    static constexpr std::size_t size_for(std::size_t capacity) noexcept {
      return sizeof(Array) + capacity * (sizeof(Slot) + sizeof(Owner) + sizeof(Number));
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
  static_assert(sizeof(OwnRun) == sizeof(Run) + sizeof(Slot) + sizeof(Owner), "the slots stand behind the run");

  /// The one that a run has replaced and that may still be walked.
  [[nodiscard]] Run* older(Run& run) noexcept { return &run == &own_ ? nullptr : static_cast<Array&>(run).older; }

  /// Pure growth doubles; an array that has holes is filled by churn and gets room to breathe.
  [[nodiscard]] std::size_t spare_after(const Run& full) const noexcept {
    const std::size_t live = size();
    return full.capacity == live ? live : live / 2 + 8;
  }

  /// Null where the current run is the list's own.
  [[nodiscard]] Array* current_array() const noexcept {
    Run* const run = current_.load(std::memory_order_relaxed);
    return run == &own_ ? nullptr : static_cast<Array*>(run);
  }

  /// The last number that an element was given. \param run   the current one.
  [[nodiscard]] Sequence last_sequence(const Run& run) const noexcept {
    const Sequence last = run.last();
    return run.own() ? last : std::max(last, static_cast<const Array&>(run).last_given);
  }

  template <Memory M>
  [[nodiscard]] bool rebuild(std::size_t spare, M& memory, detail::Garbage*& replaced) noexcept {
    static constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max() / 8;
    const std::size_t live = size();
    if (live > most) return false;
    const std::size_t capacity = std::bit_ceil(std::max<std::size_t>(live + spare, 2));
    const std::size_t bytes = Array::size_for(capacity);
    void* const address = memory.allocate(bytes, alignof(Array));
    if (address == nullptr) return false;
    auto* next = ::new (address) Array{*this, static_cast<std::uint32_t>(capacity)};
    Run* const previous = current_.load(std::memory_order_relaxed);
    const std::size_t count = previous->count.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < count; ++i) {
      const Slot& slot = previous->slots()[i];
      if (const Function function = slot.function_.load(std::memory_order_relaxed)) {
        append(*next, {function, slot.context(), previous->owners()[i].read()}, previous->sequence(i));
      }
    }
    next->older = previous;
    next->last_given = last_sequence(*previous);
    next->live = live;
    replaced = previous == &own_ ? nullptr : static_cast<Array*>(previous);
    current_.store(next, std::memory_order_seq_cst);  // (3) seq_cst; see (1). Also publishes the copies to (2).
    return true;
  }

  static void append(Run& run, const Element& element, Sequence sequence) noexcept {
    const std::uint32_t position = run.count.load(std::memory_order_relaxed);
    Slot& slot = run.slots()[position];
    slot.context_.write(element.context);
    run.owners()[position].write(element.owner);
    if (!run.own()) run.numbers()[position].write(sequence);
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

  atomic<Run*> current_{&own_};
  OwnRun own_;
};

FANFARE_NAMESPACE_END
