// Memory whose use is watched: every execution gets the same addresses, and what was freed is known to be so.
#pragma once

#include "model.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace fanfare::explore {

/// Hands out memory from the beginning of one large piece. Freed memory is not handed out again, unless asked for.
class Heap {
 public:
  /// A piece that was handed out.
  struct Block {
    std::size_t bytes = 0;
    bool freed = false;
    Counts used{};  ///< when each thread used it last
  };

  Heap();
  void clear(bool reuse) noexcept;

  [[nodiscard]] void* allocate(std::size_t bytes) noexcept;
  void deallocate(void* address, std::size_t bytes);

  /// The piece that an address lies in; null for what did not come from here.
  [[nodiscard]] Block* find(const void* address) noexcept;
  /// From now on the memory is a piece.
  Block* announce(const void* address, std::size_t bytes);
  [[nodiscard]] const void* begin() const noexcept { return begin_; }
  /// How many pieces are in use.
  [[nodiscard]] std::size_t live() const noexcept { return live_; }
  void forget(Block& block) noexcept {
    block.freed = true;
    --live_;
  }

 private:
  static constexpr std::size_t capacity = std::size_t{1} << 20U;
  static constexpr std::size_t granule = 64;  // also the largest alignment

  [[nodiscard]] std::size_t offset(const void* address) const noexcept {
    return static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(address) -
                                    reinterpret_cast<std::uintptr_t>(begin_));
  }

  std::unique_ptr<std::byte[]> memory_;
  std::byte* begin_ = nullptr;
  std::size_t used_ = 0;
  std::size_t live_ = 0;
  bool reuse_ = false;
  std::vector<Block> blocks_;
  std::array<std::uint16_t, capacity / granule> block_at_{};  // 1 + index
  std::vector<std::pair<std::size_t, void*>> free_;
};

}  // namespace fanfare::explore
