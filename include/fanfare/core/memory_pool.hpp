/// \file
/// Memory that is reserved before anything begins, so that nothing comes from the heap afterwards. Optional; nothing else
/// includes it.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>

FANFARE_NAMESPACE_BEGIN

/// Blocks out of one piece of memory, for any thread.
///
/// A block has one of four sizes for each doubling, from 64 bytes on, so at most a fifth of it is slack above 256 bytes.
/// It is cut from the piece when it is first wanted and keeps its size for ever: what is given back serves the next of its
/// size; when the piece is used up, smaller ones too. Blocks never become one larger block. So what has run once within a
/// pool, in any order of sizes, runs in it again.
///
/// The free blocks of a size are a stack (R. K. Treiber, "Systems Programming: Coping with Parallelism", 1986) whose head
/// carries a count of pops, so that a head that comes back is seen. The links lie beside the blocks, not inside.
///
/// \tparam A    the atomics of the registries that use it.
/// \ownership   outlives all that takes memory from it.
/// Thread safety: all members from any thread, concurrently; the constructor and the destructor as usual.
template <Atomics A>
class BasicMemoryPool {
  template <class T>
  using atomic = typename A::template atomic<T>;

  /// What is known of the block that begins here.
  struct Cell {
    atomic<std::uint32_t> next{0};                        // in the stack: the number of a cell, from 1 on
    typename A::template plain<std::uint8_t> size_class;  // written once, before the block is handed out first
  };

 public:
  /// Every block is a multiple of this, and aligned to it.
  static constexpr std::size_t granule = 64;

  /// How large a buffer must be to hold so many bytes of blocks, wherever it begins.
  [[nodiscard]] static constexpr std::size_t buffer_bytes(std::size_t bytes) noexcept {
    return (bytes / granule + (bytes % granule != 0)) * (granule + sizeof(Cell)) + granule;
  }

  /// Takes the memory from the heap, and has all of it backed by the system. If there is none, the capacity is 0.
  /// \param bytes   of blocks; what is known of them comes on top, an eighth of that. At most 256 GiB.
  explicit BasicMemoryPool(std::size_t bytes) noexcept {
    if (bytes > most_granules * granule) return;
    const std::size_t size = buffer_bytes(bytes);
    own_ = ::operator new(size, std::align_val_t{granule}, std::nothrow);
    if (own_ == nullptr) return;
    std::memset(own_, 0, size);
    use({static_cast<std::byte*>(own_), size});
  }
  /// Uses a buffer of the host's, which outlives the pool.
  explicit BasicMemoryPool(std::span<std::byte> buffer) noexcept { use(buffer); }
  BasicMemoryPool(const BasicMemoryPool&) = delete;
  BasicMemoryPool& operator=(const BasicMemoryPool&) = delete;
  ~BasicMemoryPool() {
    for (std::size_t i = 0; i < granules_; ++i) cells_[i].~Cell();
    ::operator delete(own_, std::align_val_t{granule});
  }

  /// \param alignment   at most `granule`.
  /// \returns           a block, or null where none is left that is large enough.
  /// \progress          lock-free. \complexity O(1); where the piece is used up, O(sizes), which are at most 124.
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    if (alignment > granule || bytes > granules_ * granule) return nullptr;
    const unsigned wanted = class_of(std::max<std::size_t>((bytes + granule - 1) / granule, 1));
    void* block = pop(wanted);
    if (block == nullptr) block = cut(wanted);
    for (unsigned larger = wanted + 1; block == nullptr && larger < classes_; ++larger) block = pop(larger);
    return block;
  }

  /// Takes back what `allocate` handed out.
  /// \progress   lock-free. \complexity O(1).
  void deallocate(void* address, std::size_t /*bytes*/, std::size_t /*alignment*/) noexcept {
    const auto at = static_cast<std::size_t>(static_cast<std::byte*>(address) - blocks_) / granule;
    Cell& cell = cells_[at];
    atomic<std::uint64_t>& head = heads_[cell.size_class.read()];
    std::uint64_t first = head.load(std::memory_order_relaxed);
    std::uint64_t pushed = 0;
    do {
      cell.next.store(static_cast<std::uint32_t>(first), std::memory_order_relaxed);
      pushed = (first & ~number_mask) | (at + 1);
      // (38) release; pairs with the acquire in (37): who gets the block next has all that was done with it behind it,
      // and sees the link.
    } while (!head.compare_exchange_weak(first, pushed, std::memory_order_release, std::memory_order_relaxed));
  }

  /// Bytes of blocks, all together.
  [[nodiscard]] std::size_t capacity() const noexcept { return granules_ * granule; }
  /// How many of them have been blocks at some time. What has run up to now runs in a pool of so many bytes.
  [[nodiscard]] std::size_t used() const noexcept {
    return std::size_t{cut_.load(std::memory_order_relaxed)} * granule;
  }

 private:
  static constexpr std::uint64_t number_mask = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint64_t one_pop = number_mask + 1;
  static constexpr std::size_t most_granules =
      static_cast<std::size_t>(std::min<std::uint64_t>(number_mask, std::numeric_limits<std::size_t>::max() / 128));
  static constexpr unsigned class_count = 124;

  /// Sizes 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, …: the first that is not smaller.
  [[nodiscard]] static constexpr unsigned class_of(std::size_t granules) noexcept {
    if (granules <= 4) return static_cast<unsigned>(granules - 1);
    const auto octave = static_cast<unsigned>(std::bit_width(granules - 1));  // below 1 << octave, or just that
    const std::size_t above = granules - 1 - (std::size_t{1} << (octave - 1));
    return 4 * (octave - 2) + static_cast<unsigned>(above >> (octave - 3));
  }
  [[nodiscard]] static constexpr std::uint64_t size_of(unsigned size_class) noexcept {
    if (size_class < 4) return size_class + 1;
    const unsigned octave = size_class / 4 + 2;
    return (std::uint64_t{1} << (octave - 1)) +
           (size_class % 4 + std::uint64_t{1}) * (std::uint64_t{1} << (octave - 3));
  }
  static_assert(class_of(5) == 4 && class_of(8) == 7 && class_of(9) == 8 && class_of(11) == 9 && class_of(17) == 12);
  static_assert(size_of(class_of(5)) == 5 && size_of(class_of(9)) == 10 && size_of(class_of(16)) == 16);
  static_assert(size_of(class_of(33)) == 40 && size_of(class_count - 1) == std::uint64_t{1} << 32U);

  void use(std::span<std::byte> buffer) noexcept {
    void* begin = buffer.data();
    std::size_t size = buffer.size();
    if (begin == nullptr || std::align(granule, granule, begin, size) == nullptr) return;
    granules_ = std::min(size / (granule + sizeof(Cell)), most_granules);
    if (granules_ == 0) return;
    blocks_ = static_cast<std::byte*>(begin);
    cells_ = reinterpret_cast<Cell*>(blocks_ + granules_ * granule);
    for (std::size_t i = 0; i < granules_; ++i) ::new (static_cast<void*>(cells_ + i)) Cell{};
    classes_ = class_of(granules_) + 1;
  }

  [[nodiscard]] void* pop(unsigned size_class) noexcept {
    atomic<std::uint64_t>& head = heads_[size_class];
    for (;;) {
      // (37) acquire; pairs with the release in (38).
      std::uint64_t first = head.load(std::memory_order_acquire);
      if ((first & number_mask) == 0) return nullptr;
      const std::size_t at = static_cast<std::size_t>(first & number_mask) - 1;
      // The block may have been taken meanwhile, and its link be another's: then the pops are more than in `first`.
      const std::uint64_t next = cells_[at].next.load(std::memory_order_relaxed);
      const std::uint64_t popped = ((first & ~number_mask) + one_pop) | next;
      // relaxed: it is what the load has read. It stays in the release sequences of (38).
      if (head.compare_exchange_weak(first, popped, std::memory_order_relaxed, std::memory_order_relaxed)) {
        return blocks_ + at * granule;
      }
    }
  }

  /// Makes a block out of what has never been one.
  [[nodiscard]] void* cut(unsigned size_class) noexcept {
    const std::uint64_t size = size_of(size_class);
    std::uint32_t at = cut_.load(std::memory_order_relaxed);
    do {
      if (size > granules_ - at) return nullptr;
      // relaxed: it only divides the piece; what is in it has been nobody's.
    } while (!cut_.compare_exchange_weak(at, static_cast<std::uint32_t>(at + size), std::memory_order_relaxed,
                                         std::memory_order_relaxed));
    cells_[at].size_class.write(static_cast<std::uint8_t>(size_class));
    return blocks_ + at * granule;
  }

  void* own_ = nullptr;
  std::byte* blocks_ = nullptr;
  Cell* cells_ = nullptr;
  std::size_t granules_ = 0;
  unsigned classes_ = 0;
  atomic<std::uint32_t> cut_{0};  // granules that are blocks, or have been
  // For each size, the number of the first free block's cell, from 1 on, and above it how often one was popped.
  std::array<atomic<std::uint64_t>, class_count> heads_{};
};

/// The pool of programs with threads.
using MemoryPool = BasicMemoryPool<StdAtomics>;

/// The allocator policy that takes all memory from a pool: `WithMemory<BoundedMemory>`.
template <Atomics A>
class BasicBoundedMemory {
 public:
  /// \param pool   outlives all that takes memory from it.
  explicit BasicBoundedMemory(BasicMemoryPool<A>& pool) noexcept : pool_(&pool) {}

  /// As `Memory` has it; null where the pool has none left.
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    return pool_->allocate(bytes, alignment);
  }
  /// As `Memory` has it.
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    pool_->deallocate(address, bytes, alignment);
  }

 private:
  BasicMemoryPool<A>* pool_;
};

/// The memory of programs with threads.
using BoundedMemory = BasicBoundedMemory<StdAtomics>;
static_assert(Memory<BoundedMemory>);

FANFARE_NAMESPACE_END
