#include <fanfare/core/memory_pool.hpp>

#define FANFARE_TEST_REPLACES_NEW
#include "support/heap.hpp"
#include <fanfare/fanfare.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using Bounded = ChannelRegistry<WithMemory<BoundedMemory>>;
using BoundedOfOneThread = ChannelRegistry<SingleThreaded, WithMemory<BasicBoundedMemory<PlainAtomics>>>;

bool is_aligned(const void* address, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(address) % alignment == 0;
}

TEST(MemoryPool, BlocksAreAlignedAndDoNotOverlap) {
  MemoryPool pool{1U << 20U};
  struct Block {
    unsigned char* address;
    std::size_t bytes;
  };
  std::vector<Block> blocks;
  std::uint32_t random = 1;
  const auto below = [&](std::uint32_t bound) {
    random = random * 1664525U + 1013904223U;
    return (random >> 8U) % bound;
  };
  const auto give_back = [&](std::size_t i) {
    const Block block = blocks[i];
    const auto mark = static_cast<unsigned char>(block.bytes);
    EXPECT_TRUE(std::all_of(block.address, block.address + block.bytes, [&](unsigned char c) { return c == mark; }));
    pool.deallocate(block.address, block.bytes, 8);
    blocks[i] = blocks.back();
    blocks.pop_back();
  };
  for (int i = 0; i < 20'000; ++i) {
    const std::size_t bytes = below(below(4) == 0 ? 5000 : 300);
    auto* const address = static_cast<unsigned char*>(pool.allocate(bytes, std::size_t{1} << below(7)));
    if (address == nullptr) {
      ASSERT_FALSE(blocks.empty());
      give_back(below(static_cast<std::uint32_t>(blocks.size())));
      continue;
    }
    EXPECT_TRUE(is_aligned(address, 64));
    std::memset(address, static_cast<int>(bytes & 255U), bytes);
    blocks.push_back({address, bytes});
    if (below(3) == 0) give_back(below(static_cast<std::uint32_t>(blocks.size())));
  }
  EXPECT_LE(pool.used(), pool.capacity());
  while (!blocks.empty()) give_back(blocks.size() - 1);
}

TEST(MemoryPool, WhatWasGivenBackIsHandedOutAgain) {
  MemoryPool pool{1024};
  ASSERT_EQ(pool.capacity(), 1024U);
  std::vector<void*> all;
  while (void* const block = pool.allocate(100, 8)) all.push_back(block);
  EXPECT_EQ(all.size(), 8U);
  EXPECT_EQ(pool.used(), 1024U);
  for (int round = 0; round < 100; ++round) {
    for (void* const block : all) pool.deallocate(block, 100, 8);
    for (void*& block : all) {
      block = pool.allocate(65 + static_cast<std::size_t>(round) % 64, 8);
      EXPECT_NE(block, nullptr);
    }
    EXPECT_EQ(pool.allocate(100, 8), nullptr);
  }
  EXPECT_EQ(pool.used(), 1024U);
}

TEST(MemoryPool, LargerBlocksServeWhereNothingElseIsLeft) {
  MemoryPool pool{1024};
  void* const large = pool.allocate(1024, 64);
  ASSERT_NE(large, nullptr);
  EXPECT_EQ(pool.allocate(1, 1), nullptr);
  pool.deallocate(large, 1024, 64);
  EXPECT_EQ(pool.allocate(1, 1), large);
  EXPECT_EQ(pool.allocate(1, 1), nullptr);
  pool.deallocate(large, 1, 1);
  EXPECT_EQ(pool.allocate(1000, 8), large) << "it has kept its size";
}

TEST(MemoryPool, WhatItCannotGiveIsNull) {
  MemoryPool pool{4096};
  EXPECT_EQ(pool.allocate(8, 128), nullptr);
  EXPECT_EQ(pool.allocate(8192, 8), nullptr);
  EXPECT_EQ(pool.allocate(std::numeric_limits<std::size_t>::max(), 8), nullptr);
  EXPECT_EQ(pool.used(), 0U);
  EXPECT_NE(pool.allocate(0, 1), nullptr);
  for (const std::size_t bytes : {std::size_t{0}, std::numeric_limits<std::size_t>::max()}) {
    MemoryPool none{bytes};
    EXPECT_LE(none.capacity(), 64U);
    EXPECT_EQ(none.allocate(100, 8), nullptr);
  }
}

TEST(MemoryPool, UsesABufferWhereverItBegins) {
  std::vector<std::byte> buffer(MemoryPool::buffer_bytes(1024) + 64);
  for (std::size_t at = 0; at < 64; ++at) {
    MemoryPool pool{std::span(buffer).subspan(at, MemoryPool::buffer_bytes(1024))};
    EXPECT_GE(pool.capacity(), 1024U);
    void* const block = pool.allocate(1024, 64);
    ASSERT_NE(block, nullptr);
    std::memset(block, 1, 1024);
  }
  for (std::size_t size = 0; size < 64; ++size) {
    EXPECT_EQ(MemoryPool{std::span(buffer).first(size)}.capacity(), 0U);
  }
  EXPECT_EQ(MemoryPool{std::span<std::byte>{}}.allocate(1, 1), nullptr);
}

/// What a program does between two ticks.
template <class Registry, class Inboxes>
std::size_t trigger_and_poll(Registry& channels, const ChannelHandle& lobby, Inboxes& inboxes, std::size_t i) {
  static const std::string data(2000, '.');
  const std::string_view some = std::string_view(data).substr(0, i * 7 % data.size());
  std::size_t delivered = lobby.trigger("MOVE", some).delivered;
  delivered += channels.trigger("LOBBY_42", "CHAT", some, {.user_id = "ann"}).delivered;
  delivered += channels.trigger({"LOBBY_42", "CHAT_42"}, "BOTH", some, {}).delivered;
  for (auto& inbox : inboxes) delivered -= inbox.poll([](const Event&) {});
  return delivered;
}

TEST(BoundedMemory, AMillionTriggersTakeNothingFromTheHeapNorMoreOfThePool) {
  MemoryPool pool{256 * 1024};
  Bounded channels{{}, BoundedMemory{pool}};
  std::size_t calls = 0;
  MessagePtr kept;
  auto lobby = channels.subscribe("LOBBY_42", [&](Subscription& s) {
    s.bind("MOVE", [&](const Event&) { ++calls; });
    s.bind_all([&](const Event& event) { kept = event.keep(); });
  });
  std::vector<PolledSubscription> inboxes;
  inboxes.push_back(channels.subscribe("LOBBY_42", Inbox{16}));
  inboxes.push_back(channels.subscribe("CHAT_42", Inbox{16}));
  const ChannelHandle handle = channels.channel("LOBBY_42");
  ASSERT_TRUE(lobby && inboxes[0] && inboxes[1] && handle);
  std::size_t i = 0;
  for (; i < 2000; ++i) trigger_and_poll(channels, handle, inboxes, i);
  const std::size_t used = pool.used();
  const std::size_t live = Heap::live();
  Heap::fail_after(0, true);  // whoever asks the heap now gets nothing
  std::size_t callbacks = 0;
  for (const std::size_t end = i + 250'000; i < end; ++i) callbacks += trigger_and_poll(channels, handle, inboxes, i);
  EXPECT_EQ(Heap::succeed(), 0U);
  EXPECT_EQ(Heap::live(), live);
  EXPECT_EQ(pool.used(), used);
  EXPECT_EQ(calls, 252'000U);
  EXPECT_EQ(callbacks, 4 * 250'000U);  // MOVE is called twice, by its binding and by that for all
}

TEST(BoundedMemory, ComingAndGoingTakesNothingFromTheHeap) {
  MemoryPool pool{256 * 1024};
  Bounded channels{{}, BoundedMemory{pool}};
  std::size_t used = 0;
  for (int i = 0; i < 3000; ++i) {
    if (i == 1000) {
      used = pool.used();
      Heap::fail_after(0, true);
    }
    auto inbox = channels.subscribe("LOBBY_42", Inbox{64});
    auto lobby = channels.subscribe("LOBBY_42");
    lobby.bind("MOVE", [&channels](const Event&) { channels.trigger("CHAT_42", "said"); });
    EXPECT_EQ(channels.trigger("LOBBY_42", "MOVE", "1").delivered, 2U);
  }
  EXPECT_EQ(Heap::succeed(), 0U);
  EXPECT_EQ(pool.used(), used);
}

TEST(BoundedMemory, OfASingleThreadNeedsNoHeapEither) {
  BasicMemoryPool<PlainAtomics> pool{64 * 1024};
  BoundedOfOneThread channels{{}, BasicBoundedMemory<PlainAtomics>{pool}};
  auto inbox = channels.subscribe("LOBBY_42", Inbox{16});
  ASSERT_TRUE(inbox);
  Heap::fail_after(0, true);
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_EQ(channels.trigger("LOBBY_42", "MOVE", "1").delivered, 1U);
    EXPECT_EQ(inbox.poll([](const Event&) {}), 1U);
  }
  EXPECT_EQ(Heap::succeed(), 0U);
}

TEST(BoundedMemory, ExhaustedTheRegistrySaysSoAndLosesNothing) {
  MemoryPool pool{32 * 1024};
  Bounded channels{{}, BoundedMemory{pool}};
  auto inbox = channels.subscribe("LOBBY_42", Inbox{4096 / 16});
  ASSERT_TRUE(inbox) << to_string(inbox.error());
  for (int round = 0; round < 20; ++round) {
    std::size_t sent = 0;
    std::string text = "0";
    TriggerResult result;
    while ((result = channels.trigger("LOBBY_42", "MOVE", text))) text = std::to_string(++sent);
    EXPECT_EQ(result.error, errc::out_of_memory);
    EXPECT_EQ(result.delivered, 0U);
    EXPECT_GT(sent, 10U);
    EXPECT_EQ(channels.subscribe("LOBBY_42", Inbox{4096}).error(), errc::out_of_memory);
    std::size_t got = 0;
    inbox.poll([&](const Event& event) { EXPECT_EQ(event.data(), std::to_string(got++)); });
    EXPECT_EQ(got, sent);
    EXPECT_EQ(inbox.dropped(), 0U);
  }
}

TEST(BoundedMemory, WhatSubscribersCannotBeGivenTheyAreToldOf) {
  MemoryPool pool{32 * 1024};
  Bounded channels{{}, BoundedMemory{pool}};
  std::vector<Subscription> subscriptions;
  errc error = errc::ok;
  while (error == errc::ok) {
    auto subscription = channels.subscribe("CHAT_" + std::to_string(subscriptions.size()));
    // A binding that fails leaves its subscription as it was: it has an error of its own.
    error = subscription ? subscription.bind("said", [](const Event&) {}).error() : subscription.error();
    if (error == errc::ok) subscriptions.push_back(std::move(subscription));
    if (!subscriptions.empty() && subscriptions.size() > 1000) break;
  }
  const std::size_t count = subscriptions.size();
  EXPECT_GT(count, 5U);
  EXPECT_LT(count, 1000U);
  for (std::size_t i = 0; i < count; ++i) {
    EXPECT_EQ(channels.trigger("CHAT_" + std::to_string(i), "said").delivered, 1U);
  }
  subscriptions.erase(subscriptions.begin(), subscriptions.begin() + static_cast<std::ptrdiff_t>(count / 2));
  channels.collect();  // what leaves is freed when enough of it has gathered, which depends on its size
  EXPECT_TRUE(channels.subscribe("CHAT_0")) << "who leaves makes room";
}

TEST(BoundedMemory, ARegistryAfterTheOtherFindsAllOfItAgain) {
  MemoryPool pool{64 * 1024};
  std::size_t used = 0;
  for (int life = 0; life < 50; ++life) {
    Bounded channels{{}, BoundedMemory{pool}};
    const auto inbox = channels.subscribe("LOBBY_42", Inbox{64});
    for (int i = 0; i < 50; ++i) EXPECT_EQ(channels.trigger("LOBBY_42", "MOVE", "1").delivered, 1U);
    if (life == 0) used = pool.used();
    EXPECT_EQ(pool.used(), used);
  }
}

TEST(BoundedMemory, WithoutRoomForTheRegistryEverythingSaysSo) {
  MemoryPool pool{256};
  Bounded channels{{}, BoundedMemory{pool}};
  EXPECT_EQ(channels.subscribe("LOBBY_42").error(), errc::out_of_memory);
  EXPECT_EQ(channels.trigger("LOBBY_42", "MOVE").error, errc::out_of_memory);
}

}  // namespace
}  // namespace fanfare::test
