/// \file
/// From a name to its node: an open-addressing table that any thread may search while one thread changes it.
///
/// An entry never moves inside a table that can be searched: erasing leaves a tombstone, and a table that is five eighths
/// full of entries and tombstones is copied into a new one. (Moving entries back on erase makes a search miss a name
/// that was there all the time.) Names come from clients, so positions depend on a seed, and a long probe changes it.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/hash.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>

FANFARE_NAMESPACE_BEGIN

/// What a node of a `NameIndex` is aligned to, at least: the low bits of its address are free then, also where nothing else
/// would have them so.
inline constexpr std::size_t name_index_alignment = 8;

/// \tparam Node   has `std::string_view name() const` and `std::uint64_t hash() const`; neither changes while the node
///                is in the index. Aligned to `name_index_alignment`.
///
/// Thread safety: `find` and `for_each` from any thread inside a pin of the owner's domain; the rest under the owner's
/// lock.
template <Atomics A, NameHash H, class Node>
class NameIndex {
  template <class T>
  using atomic = typename A::template atomic<T>;

 public:
  NameIndex() = default;
  NameIndex(const NameIndex&) = delete;
  NameIndex& operator=(const NameIndex&) = delete;

  /// \param hash   the name's hash under the registry's seed.
  /// \returns      the node, or null. Never misses a name that was there from before the call to its end.
  /// \progress     lock-free; at most as many steps as the table has entries.
  [[nodiscard]] Node* find(std::string_view name, std::uint64_t hash) const noexcept {
    const Table* table = table_.load(std::memory_order_seq_cst);  // (2); pairs with (3)
    if (table == nullptr) return nullptr;
    for (std::size_t i = table->seed == 0 ? static_cast<std::size_t>(hash) : table->start(name, hash);; ++i) {
      const Word word = table->at(i).load(std::memory_order_seq_cst);  // (2); pairs with (8) and (3)
      if (word == 0) return nullptr;
      if ((word & tags) != tag_of(hash)) continue;
      Node* const node = node_of(word);
      if (node != nullptr && detail::same_name(node->name(), name)) return node;
    }
  }

  /// Takes over the table of an index that is changed no more; searches in that one may be under way.
  /// \pre this one is empty, and nobody searches it.
  void adopt(const NameIndex& other) noexcept {
    table_.store(other.table_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }

  /// Whether no name has been in the index yet: nothing needs to be hashed for a search then.
  [[nodiscard]] bool untouched() const noexcept { return table_.load(std::memory_order_relaxed) == nullptr; }

  /// Any node, or null where there is none among the first entries.
  /// \pre        under the owner's lock.
  /// \complexity O(1).
  [[nodiscard]] Node* any() const noexcept {
    const Table* const table = table_.load(std::memory_order_relaxed);
    if (table == nullptr || table->live == 0) return nullptr;
    for (std::size_t i = 0; i < std::min<std::size_t>(table->size(), 16); ++i) {
      if (Node* const node = node_of(table->at(i).load(std::memory_order_relaxed))) return node;
    }
    return nullptr;
  }

  /// Adds a node whose name is not in the index.
  /// \param replaced   receives the table that has been replaced, to be retired, or null.
  /// \returns          false where memory is exhausted; nothing is changed then.
  template <Memory M>
  [[nodiscard]] bool insert(Node& node, M& memory, detail::Garbage*& replaced) noexcept {
    Table* table = table_.load(std::memory_order_relaxed);
    if (table == nullptr || 8 * (table->used + 1) > 5 * table->size()) {
      if (!rebuild(table == nullptr ? 0 : table->seed, memory, replaced)) return false;
      table = table_.load(std::memory_order_relaxed);
    }
    if (table->put(node) > longest_probe && replaced == nullptr) {
      // Somebody may be choosing names that collide. If there is no memory for a new seed, searches are slow, not wrong.
      const std::uint64_t seed = SeededHash::fold(table->seed ^ reinterpret_cast<std::uintptr_t>(table), node.hash());
      static_cast<void>(rebuild(seed | 1U, memory, replaced));
    }
    return true;
  }

  /// Removes a node. It may be found by searches that are under way.
  void erase(const Node& node) noexcept {
    Table* table = table_.load(std::memory_order_relaxed);
    for (std::size_t i = table->start(node.name(), node.hash());; ++i) {
      Entry& entry = table->at(i);
      const Word word = entry.load(std::memory_order_relaxed);
      if (node_of(word) == &node) {
        entry.store(tombstone, std::memory_order_seq_cst);  // (3) seq_cst; see (1)
        --table->live;
        return;
      }
      FANFARE_ASSERT(word != 0, "an erased name is not in the index");
    }
  }

  /// Calls `f(Node&)` for all that are there throughout; others may or may not be among them.
  template <class F>
  void for_each(F f) const {
    const Table* table = table_.load(std::memory_order_seq_cst);  // (2)
    if (table == nullptr) return;
    for (std::size_t i = 0; i < table->size(); ++i) {
      Node* const node = node_of(table->at(i).load(std::memory_order_seq_cst));  // (2)
      if (node != nullptr) f(*node);
    }
  }

  /// \pre under the owner's lock.
  [[nodiscard]] std::size_t size() const noexcept {
    const Table* const table = table_.load(std::memory_order_relaxed);
    return table == nullptr ? 0 : table->live;
  }

  /// Frees the table. \pre nobody searches.
  template <Memory M>
  void destroy(M& memory) noexcept {
    if (Table* table = table_.load(std::memory_order_relaxed)) {
      const detail::Block block = table->destroy();
      memory.deallocate(block.address, block.bytes, block.alignment);
      table_.store(nullptr, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr std::size_t longest_probe = 64;

  /// A node's address, with a few bits of its hash where the address has none: most others are told apart without a look
  /// at them. 0: free; a tag without an address: a tombstone.
  using Word = std::uintptr_t;
  using Entry = atomic<Word>;
  static constexpr Word tags = name_index_alignment - 1;
  static constexpr Word tombstone = 1;
  [[nodiscard]] static Word tag_of(std::uint64_t hash) noexcept {
    // Neither what chooses a stripe nor, in tables of a size that occurs, the position.
    return static_cast<Word>(hash >> 52U) & tags;
  }
  [[nodiscard]] static Node* node_of(Word word) noexcept {
    return reinterpret_cast<Node*>(word & ~tags);  // NOLINT(performance-no-int-to-ptr): an address and a tag
  }
  [[nodiscard]] static Word word_of(Node& node) noexcept {
    static_assert(alignof(Node) >= name_index_alignment);
    return reinterpret_cast<Word>(&node) | tag_of(node.hash());
  }

  struct Table final : detail::Garbage {
    Table(std::size_t size, std::uint64_t seed_) noexcept : mask(size - 1), seed(seed_) {
      for (std::size_t i = 0; i < size; ++i) ::new (static_cast<void*>(entries() + i)) Entry;
    }
    static constexpr std::size_t bytes_for(std::size_t size) noexcept { return sizeof(Table) + size * sizeof(Entry); }
    [[nodiscard]] Entry* entries() noexcept { return reinterpret_cast<Entry*>(this + 1); }
    [[nodiscard]] Entry& at(std::size_t i) noexcept { return entries()[i & mask]; }
    [[nodiscard]] const Entry& at(std::size_t i) const noexcept { return const_cast<Table*>(this)->at(i); }
    [[nodiscard]] std::size_t size() const noexcept { return mask + 1; }
    [[nodiscard]] FANFARE_NOINLINE std::size_t start(std::string_view name, std::uint64_t hash) const noexcept {
      return static_cast<std::size_t>(seed == 0 ? hash : H::hash(name, seed));
    }

    /// \returns how many entries were looked at.
    std::size_t put(Node& node) noexcept {
      const std::size_t first = start(node.name(), node.hash());
      std::size_t i = first;
      while (at(i).load(std::memory_order_relaxed) != 0) ++i;
      at(i).store(word_of(node), std::memory_order_release);  // (8) release; pairs with (2)
      ++used;
      ++live;
      return i - first;
    }

    detail::Block destroy() noexcept override {
      const detail::Block block{this, bytes_for(size()), alignof(Table)};
      this->~Table();
      return block;
    }
    [[nodiscard]] std::size_t bytes() const noexcept override { return bytes_for(size()); }

    std::size_t mask;
    std::uint64_t seed;    // 0: positions come from the registry's hash
    std::size_t used = 0;  // entries and tombstones
    std::size_t live = 0;  // entries
  };
  static_assert(alignof(Entry) <= alignof(Table) && sizeof(Table) % alignof(Entry) == 0);

  /// Copies the living entries to a table of the right size: at most a third full, so that almost as many again fit in.
  template <Memory M>
  [[nodiscard]] bool rebuild(std::uint64_t seed, M& memory, detail::Garbage*& replaced) noexcept {
    Table* const previous = table_.load(std::memory_order_relaxed);
    const std::size_t size = previous == nullptr ? 2 : std::bit_ceil(std::max<std::size_t>(3 * previous->live, 2));
    const std::size_t bytes = Table::bytes_for(size);
    void* const address = memory.allocate(bytes, alignof(Table));
    if (address == nullptr) return false;
    auto* next = ::new (address) Table{size, seed};
    if (previous != nullptr) {
      for (std::size_t i = 0; i < previous->size(); ++i) {
        if (Node* const node = node_of(previous->at(i).load(std::memory_order_relaxed))) next->put(*node);
      }
      replaced = previous;
    }
    table_.store(next, std::memory_order_seq_cst);  // (3) seq_cst; see (1). Also publishes the copies to (2).
    return true;
  }

  atomic<Table*> table_{nullptr};
};

FANFARE_NAMESPACE_END
