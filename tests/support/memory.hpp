// A Memory policy that knows what is out, checks what comes back, and fails on demand.
#pragma once

#include "support/print.hpp"
#include <fanfare/core/memory.hpp>

#include <cstddef>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <string>

namespace fanfare::test {

/// What all copies of a `CountingMemory` share.
class MemoryLog {
 public:
  static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

  /// Refuses the allocation after `successes` more, and with `all` those behind it too.
  void fail_after(std::size_t successes, bool all = false) {
    const std::lock_guard lock(mutex_);
    until_failure_ = successes;
    fail_all_ = all;
    refused_ = 0;
  }
  void succeed() {
    const std::lock_guard lock(mutex_);
    until_failure_ = never;
  }
  /// How many allocations were refused since `fail_after`.
  [[nodiscard]] std::size_t refused() const { return read(refused_); }

  [[nodiscard]] std::size_t live_blocks() const {
    const std::lock_guard lock(mutex_);
    return blocks_.size();
  }
  [[nodiscard]] std::size_t live_bytes() const { return read(bytes_); }
  [[nodiscard]] std::size_t peak_bytes() const { return read(peak_); }
  void forget_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = bytes_;
  }
  [[nodiscard]] std::size_t allocations() const { return read(allocations_); }
  /// What was given back wrongly: never handed out, handed out twice, other numbers. Empty if all is well.
  [[nodiscard]] std::string mistakes() const {
    const std::lock_guard lock(mutex_);
    return mistakes_;
  }

  void* allocate(std::size_t bytes, std::size_t alignment) {
    const std::lock_guard lock(mutex_);
    if (until_failure_ == 0) {
      if (!fail_all_) until_failure_ = never;
      ++refused_;
      return nullptr;
    }
    if (until_failure_ != never) --until_failure_;
    // Always the aligned form, so that the address is aligned for the reader and no more than was asked for.
    void* const address = ::operator new(bytes, std::align_val_t{alignment});
    blocks_[address] = {bytes, alignment};
    ++allocations_;
    bytes_ += bytes;
    if (bytes_ > peak_) peak_ = bytes_;
    return address;
  }

  void deallocate(void* address, std::size_t bytes, std::size_t alignment) {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(address);
    if (found == blocks_.end()) {
      mistakes_ += "not mine; ";
      return;
    }
    if (found->second.bytes != bytes) mistakes_ += "other size; ";
    if (found->second.alignment != alignment) mistakes_ += "other alignment; ";
    bytes_ -= found->second.bytes;
    ::operator delete(address, std::align_val_t{found->second.alignment});
    blocks_.erase(found);
  }

 private:
  struct Allocation {
    std::size_t bytes;
    std::size_t alignment;
  };

  [[nodiscard]] std::size_t read(const std::size_t& value) const {
    const std::lock_guard lock(mutex_);
    return value;
  }

  mutable std::mutex mutex_;
  std::map<void*, Allocation> blocks_;
  std::string mistakes_;
  std::size_t until_failure_ = never;
  std::size_t refused_ = 0;
  std::size_t bytes_ = 0;
  std::size_t peak_ = 0;
  std::size_t allocations_ = 0;
  bool fail_all_ = false;
};

/// Without a log it is the ordinary heap.
class CountingMemory {
 public:
  CountingMemory() = default;
  explicit CountingMemory(MemoryLog& log) noexcept : log_(&log) {}

  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    return log_ == nullptr ? NewDelete{}.allocate(bytes, alignment) : log_->allocate(bytes, alignment);
  }
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    if (log_ == nullptr) return NewDelete{}.deallocate(address, bytes, alignment);
    log_->deallocate(address, bytes, alignment);
  }

 private:
  MemoryLog* log_ = nullptr;
};
static_assert(Memory<CountingMemory>);

}  // namespace fanfare::test
