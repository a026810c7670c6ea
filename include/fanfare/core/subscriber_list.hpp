/// \file
/// The subscriber list: a flat array of slots that any thread may walk while one thread changes it.
///
/// Slots are only ever appended. A slot is published by its function, emptied by clearing it, and never filled again,
/// so a walk cannot see the function of one subscriber with the context of another, nor one event twice. When an array
/// is full, or more than a fifth of it are holes, the living slots are copied to a new one, in order: amortised O(1).
/// docs/design/subscriber-list.md says why slots are not reused.
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

  struct Array;

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
    [[nodiscard]] const Slot* begin() const noexcept { return array_ == nullptr ? nullptr : array_->slots(); }
    [[nodiscard]] const Slot* end() const noexcept { return begin() + count_; }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    /// Who the slot belongs to. \pre its function was non-null.
    [[nodiscard]] std::uint64_t owner(const Slot& slot) const noexcept {
      return array_->cold()[&slot - array_->slots()].owner.read();
    }

   private:
    friend class SubscriberList;
    const Array* array_ = nullptr;
    std::size_t count_ = 0;
  };

  /// An element to add.
  struct Element {
    Function function;
    void* context;
    std::uint64_t owner;
  };

  SubscriberList() = default;
  SubscriberList(const SubscriberList&) = delete;
  SubscriberList& operator=(const SubscriberList&) = delete;

  /// What to walk now.
  /// \progress wait-free.
  [[nodiscard]] FANFARE_ALWAYS_INLINE View view() const noexcept {
    View view;
    view.array_ = current_.load(std::memory_order_seq_cst);  // (2); pairs with (3)
    // (24) acquire; pairs with the release in (25): a counted slot shows its function, so two walks of one view agree
    // on whom they meet, but for those who leave in between.
    if (view.array_ != nullptr) view.count_ = view.array_->count.load(std::memory_order_acquire);
    return view;
  }

  /// Adds at the end.
  /// \param sequence   receives the name of the element.
  /// \param replaced   receives the array that has been replaced, to be retired, or null.
  /// \returns          false where memory is exhausted; nothing is changed then.
  /// \complexity       amortised O(1).
  template <Memory M>
  [[nodiscard]] bool add(const Element& element, Sequence& sequence, M& memory, detail::Garbage*& replaced) noexcept {
    Array* array = current_.load(std::memory_order_relaxed);
    if (array == nullptr || array->count.load(std::memory_order_relaxed) == array->capacity) {
      if (!rebuild(spare_after(array), memory, replaced)) return false;
      array = current_.load(std::memory_order_relaxed);
    }
    sequence = ++last_sequence_;
    append(*array, element, sequence);
    ++live_;
    return true;
  }

  /// Empties the element's slot, in every array that a walk may still use: no walk of this thread begins a call of it,
  /// even one that was under way in an older array.
  /// \complexity O(1) where the element has not moved since it was added, else O(log n); as much again for each array
  ///             that has been replaced since it was added and is still retired.
  void remove(Sequence sequence, std::size_t position_hint) noexcept {
    for (Array* array = current_.load(std::memory_order_relaxed); array != nullptr; array = array->older) {
      if (array->last() < sequence) break;  // replaced before the element came, as were all older ones
      if (Slot* slot = array->find(sequence, position_hint)) {
        slot->function_.store(nullptr, std::memory_order_seq_cst);  // (3) seq_cst; see (1)
      }
    }
    FANFARE_ASSERT(live_ > 0, "an element was removed twice");
    --live_;
  }

  /// Empties all slots.
  void clear() noexcept {
    for (Array* array = current_.load(std::memory_order_relaxed); array != nullptr; array = array->older) {
      const std::size_t count = array->count.load(std::memory_order_relaxed);
      for (std::size_t i = 0; i < count; ++i) {
        array->slots()[i].function_.store(nullptr, std::memory_order_seq_cst);  // (3)
      }
    }
    live_ = 0;
  }

  /// Copies the living slots where too many are holes. Does nothing where memory is exhausted.
  template <Memory M>
  void tidy(M& memory, detail::Garbage*& replaced) noexcept {
    const Array* array = current_.load(std::memory_order_relaxed);
    if (array == nullptr) return;
    const std::size_t holes = array->count.load(std::memory_order_relaxed) - live_;
    if (holes > live_ / 4 + 8) static_cast<void>(rebuild(live_ / 4 + 8, memory, replaced));
  }

  /// Where an element just added stands: a hint for `remove`.
  [[nodiscard]] std::size_t last_position() const noexcept {
    const Array* array = current_.load(std::memory_order_relaxed);
    return array == nullptr ? 0 : array->count.load(std::memory_order_relaxed) - 1;
  }

  /// How many elements there are.
  [[nodiscard]] std::size_t size() const noexcept { return live_; }

  /// Frees the current array. \pre nobody walks, and nothing that `add` or `tidy` replaced is still retired.
  template <Memory M>
  void destroy(M& memory) noexcept {
    if (Array* array = current_.load(std::memory_order_relaxed)) {
      const detail::Block block = array->destroy();
      memory.deallocate(block.address, block.bytes, block.alignment);
      current_.store(nullptr, std::memory_order_relaxed);
    }
  }

 private:
  /// What belongs to a slot and is not needed to walk.
  struct Cold {
    plain<Sequence> sequence;
    plain<std::uint64_t> owner;
  };

  /// Header, slots, then what walks do not need.
  struct Array final : detail::Garbage {
    explicit Array(SubscriberList& list_, std::size_t capacity_) noexcept : list(&list_), capacity(capacity_) {
      for (std::size_t i = 0; i < capacity; ++i) ::new (static_cast<void*>(slots() + i)) Slot;
      for (std::size_t i = 0; i < capacity; ++i) ::new (static_cast<void*>(cold() + i)) Cold;
    }

    static constexpr std::size_t size_for(std::size_t capacity) noexcept {
      return offset() + capacity * (sizeof(Slot) + sizeof(Cold));
    }
    static constexpr std::size_t offset() noexcept {
      return (sizeof(Array) + alignof(Slot) - 1) / alignof(Slot) * alignof(Slot);
    }
    [[nodiscard]] Slot* slots() noexcept {
      return reinterpret_cast<Slot*>(reinterpret_cast<std::byte*>(this) + offset());
    }
    [[nodiscard]] const Slot* slots() const noexcept { return const_cast<Array*>(this)->slots(); }
    [[nodiscard]] Cold* cold() noexcept { return reinterpret_cast<Cold*>(slots() + capacity); }
    [[nodiscard]] const Cold* cold() const noexcept { return const_cast<Array*>(this)->cold(); }

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

    void forget() noexcept override { list->forget(*this); }
    detail::Block destroy() noexcept override {
      const detail::Block block{this, size_for(capacity), alignof(Array)};
      this->~Array();
      return block;
    }
    [[nodiscard]] std::size_t bytes() const noexcept override { return size_for(capacity); }

    SubscriberList* list;
    std::size_t capacity;
    Array* older = nullptr;        // under the owner's lock
    atomic<std::size_t> count{0};  // last, as the slots stand behind it
  };
  static_assert(alignof(Slot) <= alignof(Array) && alignof(Cold) <= alignof(Slot));

  /// Pure growth doubles; an array that has holes is filled by churn and gets room to breathe.
  [[nodiscard]] std::size_t spare_after(const Array* full) const noexcept {
    if (full == nullptr) return 1;
    return full->capacity == live_ ? std::max<std::size_t>(live_, 1) : live_ / 2 + 8;
  }

  template <Memory M>
  [[nodiscard]] bool rebuild(std::size_t spare, M& memory, detail::Garbage*& replaced) noexcept {
    static constexpr std::size_t most = std::numeric_limits<std::size_t>::max() / (8 * (sizeof(Slot) + sizeof(Cold)));
    if (live_ > most) return false;
    const std::size_t capacity = std::bit_ceil(live_ + spare);
    const std::size_t bytes = Array::size_for(capacity);
    void* const address = memory.allocate(bytes, alignof(Array));
    if (address == nullptr) return false;
    auto* next = ::new (address) Array{*this, capacity};
    Array* const previous = current_.load(std::memory_order_relaxed);
    if (previous != nullptr) {
      const std::size_t count = previous->count.load(std::memory_order_relaxed);
      for (std::size_t i = 0; i < count; ++i) {
        const Slot& slot = previous->slots()[i];
        const Cold& cold = previous->cold()[i];
        if (const Function function = slot.function_.load(std::memory_order_relaxed)) {
          append(*next, {function, slot.context(), cold.owner.read()}, cold.sequence.read());
        }
      }
      next->older = previous;
      replaced = previous;
    }
    current_.store(next, std::memory_order_seq_cst);  // (3) seq_cst; see (1). Also publishes the copies to (2).
    return true;
  }

  static void append(Array& array, const Element& element, Sequence sequence) noexcept {
    const std::size_t position = array.count.load(std::memory_order_relaxed);
    Slot& slot = array.slots()[position];
    Cold& cold = array.cold()[position];
    slot.context_.write(element.context);
    cold.sequence.write(sequence);
    cold.owner.write(element.owner);
    slot.function_.store(element.function, std::memory_order_release);  // (8) release; pairs with (2)
    array.count.store(position + 1, std::memory_order_release);         // (25) release; pairs with the acquire in (24)
  }

  /// An older array is about to be freed.
  void forget(Array& array) noexcept {
    for (Array* newer = current_.load(std::memory_order_relaxed); newer != nullptr; newer = newer->older) {
      if (newer->older == &array) {
        newer->older = array.older;
        return;
      }
    }
  }

  atomic<Array*> current_{nullptr};
  std::size_t live_ = 0;
  Sequence last_sequence_ = 0;
};

FANFARE_NAMESPACE_END
