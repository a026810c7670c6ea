// A pool that many threads take from and give back to, alone and below a registry.
#include <fanfare/core/memory_pool.hpp>

#include "support/threads.hpp"
#include <fanfare/fanfare.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <string>

namespace fanfare::test {
namespace {

constexpr std::size_t threads = 4;

TEST(memory_pool_threads, no_block_is_two_threads_at_once) {
  MemoryPool pool{32 * 64};  // so few that they meet
  const std::size_t each = repetitions(50'000);
  std::atomic<std::size_t> served{0};
  run_together(threads, [&](std::size_t thread) {
    std::array<unsigned char*, 8> mine{};
    std::size_t got = 0;
    for (std::size_t i = 0; i < each; ++i) {
      unsigned char*& block = mine[i % mine.size()];
      const std::size_t bytes = 64 * (1 + i % mine.size() % 3);
      if (block != nullptr) {
        EXPECT_TRUE(std::all_of(block, block + bytes, [&](unsigned char c) { return c == thread; }));
        pool.deallocate(block, bytes, 8);
      }
      block = static_cast<unsigned char*>(pool.allocate(bytes, 8));
      if (block == nullptr) continue;
      std::memset(block, static_cast<int>(thread), bytes);
      ++got;
    }
    for (std::size_t i = 0; i < mine.size(); ++i) {
      if (mine[i] != nullptr) pool.deallocate(mine[i], 64 * (1 + i % 3), 8);
    }
    served += got;
  });
  EXPECT_GT(served, each / 2);
  // All of it is there again, whatever became of it.
  std::size_t free = 0;
  while (pool.allocate(1, 1) != nullptr) ++free;
  EXPECT_GE(free * 3, pool.capacity() / 64);
}

TEST(memory_pool_threads, what_one_thread_allocates_others_give_back) {
  MemoryPool pool{64 * 64};
  std::array<std::atomic<unsigned char*>, 16> shelf{};
  const std::size_t each = repetitions(50'000);
  run_together(threads, [&](std::size_t thread) {
    for (std::size_t i = 0; i < each; ++i) {
      auto* const block = static_cast<unsigned char*>(pool.allocate(100, 8));
      if (block != nullptr) std::memset(block, static_cast<int>(thread), 100);
      // acq_rel; pairs with itself: who takes a block from the shelf has it as its owner left it.
      unsigned char* const other = shelf[(thread + i) % shelf.size()].exchange(block, std::memory_order_acq_rel);
      if (other == nullptr) continue;
      EXPECT_TRUE(std::all_of(other, other + 100, [&](unsigned char c) { return c == other[0]; }));
      pool.deallocate(other, 100, 8);
    }
  });
}

TEST(memory_pool_threads, a_registry_triggers_subscribes_and_ends_in_it) {
  MemoryPool pool{1U << 20U};
  for (int life = 0; life < 3; ++life) {
    ChannelRegistry<WithMemory<BoundedMemory>> channels{{}, BoundedMemory{pool}};
    const std::size_t each = repetitions(5000);
    std::atomic<std::size_t> refused{0};
    auto inbox = channels.subscribe("LOBBY_42", Inbox{64, Overflow::drop_oldest});
    ASSERT_TRUE(inbox);
    run_together(threads, [&](std::size_t thread) {
      const std::string data(40 * thread, '.');
      for (std::size_t i = 0; i < each; ++i) {
        if (thread == 0) {
          inbox.poll([](const Event&) {});
        } else if (thread == 1) {
          const auto visitor = channels.subscribe("LOBBY_42", Inbox{4});
          refused += visitor ? 0U : 1U;
        } else {
          refused += channels.trigger("LOBBY_42", "MOVE", data) ? 0U : 1U;
        }
      }
    });
    EXPECT_EQ(refused, 0U);
  }
}

}  // namespace
}  // namespace fanfare::test
