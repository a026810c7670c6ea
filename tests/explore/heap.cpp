#include "heap.hpp"

#include <algorithm>

namespace fanfare::explore {

Heap::Heap() : memory_(std::make_unique<std::byte[]>(capacity + granule)) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
  begin_ = memory_.get() + (granule - address % granule) % granule;
  blocks_.reserve(256);
}

void Heap::clear(bool reuse) noexcept {
  std::fill_n(block_at_.begin(), used_ / granule, std::uint16_t{0});
  used_ = live_ = 0;
  reuse_ = reuse;
  blocks_.clear();
  free_.clear();
}

void* Heap::allocate(std::size_t bytes) noexcept {
  const std::size_t whole = (bytes + granule - 1) / granule * granule;
  for (auto free = free_.rbegin(); free != free_.rend(); ++free) {
    if (free->first != whole) continue;
    void* const address = free->second;
    free_.erase(std::next(free).base());
    return address;
  }
  if (whole > capacity - used_) return nullptr;
  void* const address = begin_ + used_;
  used_ += whole;
  return address;
}

void Heap::deallocate(void* address, std::size_t bytes) {
  if (reuse_) free_.emplace_back((bytes + granule - 1) / granule * granule, address);
}

Heap::Block* Heap::find(const void* address) noexcept {
  const std::size_t at = offset(address);
  if (at >= used_) return nullptr;
  const std::uint16_t block = block_at_[at / granule];
  return block == 0 ? nullptr : &blocks_[block - 1U];
}

Heap::Block* Heap::announce(const void* address, std::size_t bytes) {
  const std::size_t at = offset(address);
  if (at >= used_) return nullptr;
  blocks_.push_back({.bytes = bytes});
  std::fill_n(block_at_.begin() + static_cast<std::ptrdiff_t>(at / granule), (bytes + granule - 1) / granule,
              static_cast<std::uint16_t>(blocks_.size()));
  ++live_;
  return &blocks_.back();
}

}  // namespace fanfare::explore
