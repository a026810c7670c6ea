#include <fanfare/core/memory.hpp>

#include "support/memory.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

TEST(NewDelete, GivesAlignedMemory) {
  NewDelete memory;
  for (const std::size_t alignment : {1U, 2U, 8U, 16U, 32U, 64U, 256U}) {
    void* const address = memory.allocate(100, alignment);
    ASSERT_NE(address, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(address) % alignment, 0U);
    std::memset(address, 1, 100);
    memory.deallocate(address, 100, alignment);
  }
}

struct Throwing {
  void* allocate(std::size_t bytes, std::size_t alignment);
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept;
};
struct NoDeallocate {
  void* allocate(std::size_t bytes, std::size_t alignment) noexcept;
};
struct CopyThrows : NewDelete {
  CopyThrows(const CopyThrows&) noexcept(false);
};

TEST(Memory, IsCheckedWhole) {
  static_assert(Memory<NewDelete> && Memory<CountingMemory>);
  static_assert(!Memory<Throwing> && !Memory<NoDeallocate> && !Memory<CopyThrows> && !Memory<int>);
  static_assert(WithMemory<NewDelete>::policy_kind == PolicyKind::allocator);
}

struct Announcing : StdAtomics {
  static inline std::vector<std::pair<const void*, std::size_t>> calls;
  static void allocated(const void* memory, std::size_t bytes) noexcept { calls.emplace_back(memory, bytes); }
  static void freed(const void* memory, std::size_t bytes) noexcept { calls.emplace_back(memory, bytes); }
};

TEST(TrackedMemory, AnnouncesWhatItHandsOutAndTakesBack) {
  MemoryLog log;
  detail::TrackedMemory<Announcing, CountingMemory> memory{CountingMemory{log}};
  Announcing::calls.clear();
  void* const address = memory.allocate(24, 8);
  memory.deallocate(address, 24, 8);
  log.fail_after(0);
  EXPECT_EQ(memory.allocate(24, 8), nullptr);
  ASSERT_EQ(Announcing::calls.size(), 2U);
  EXPECT_EQ(Announcing::calls[0], (std::pair<const void*, std::size_t>{address, 24}));
  EXPECT_EQ(Announcing::calls[1], Announcing::calls[0]);
  EXPECT_EQ(log.live_blocks(), 0U);
  static_assert(sizeof(detail::TrackedMemory<StdAtomics, NewDelete>) == 1);
}

TEST(CountingMemory, CopiesShareTheLog) {
  MemoryLog log;
  CountingMemory one{log};
  CountingMemory two = one;
  void* const address = one.allocate(10, 2);
  EXPECT_EQ(log.live_bytes(), 10U);
  two.deallocate(address, 10, 2);
  EXPECT_EQ(log.live_bytes(), 0U);
  EXPECT_EQ(log.peak_bytes(), 10U);
  EXPECT_EQ(log.mistakes(), "");
}

TEST(CountingMemory, FailsWhenItIsTold) {
  MemoryLog log;
  CountingMemory memory{log};
  log.fail_after(1);
  void* const first = memory.allocate(8, 8);
  EXPECT_NE(first, nullptr);
  EXPECT_EQ(memory.allocate(8, 8), nullptr);
  void* const third = memory.allocate(8, 8);
  EXPECT_NE(third, nullptr);
  EXPECT_EQ(log.refused(), 1U);
  log.fail_after(0, true);
  EXPECT_EQ(memory.allocate(8, 8), nullptr);
  EXPECT_EQ(memory.allocate(8, 8), nullptr);
  memory.deallocate(first, 8, 8);
  memory.deallocate(third, 16, 8);
  EXPECT_EQ(log.mistakes(), "other size; ");
}

}  // namespace
}  // namespace fanfare::test
