#include <fanfare/core/atomics.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>

namespace fanfare::test {
namespace {

template <class A>
class AtomicsModels : public ::testing::Test {};
using Models = ::testing::Types<StdAtomics, PlainAtomics>;
TYPED_TEST_SUITE(AtomicsModels, Models);

TYPED_TEST(AtomicsModels, DoWhatStdAtomicDoes) {
  typename TypeParam::template atomic<std::uint64_t> number{5};
  EXPECT_EQ(number.load(std::memory_order_seq_cst), 5U);
  number.store(7, std::memory_order_release);
  EXPECT_EQ(number.exchange(8, std::memory_order_acq_rel), 7U);
  EXPECT_EQ(number.fetch_add(2, std::memory_order_relaxed), 8U);
  EXPECT_EQ(number.fetch_sub(1, std::memory_order_relaxed), 10U);
  EXPECT_EQ(number.load(std::memory_order_relaxed), 9U);

  std::uint64_t expected = 3;
  EXPECT_FALSE(number.compare_exchange_strong(expected, 1, std::memory_order_seq_cst, std::memory_order_relaxed));
  EXPECT_EQ(expected, 9U);
  EXPECT_TRUE(number.compare_exchange_strong(expected, 1, std::memory_order_seq_cst, std::memory_order_relaxed));
  EXPECT_EQ(number.load(std::memory_order_relaxed), 1U);
  expected = 1;
  while (!number.compare_exchange_weak(expected, 2, std::memory_order_seq_cst, std::memory_order_relaxed)) {
  }
  EXPECT_EQ(number.load(std::memory_order_relaxed), 2U);
}

TYPED_TEST(AtomicsModels, HoldPointersAndFlags) {
  int value = 0;
  typename TypeParam::template atomic<int*> pointer{nullptr};
  EXPECT_EQ(pointer.load(std::memory_order_relaxed), nullptr);
  pointer.store(&value, std::memory_order_relaxed);
  EXPECT_EQ(pointer.load(std::memory_order_relaxed), &value);
  typename TypeParam::template atomic<bool> flag{false};
  flag.store(true, std::memory_order_relaxed);
  EXPECT_TRUE(flag.load(std::memory_order_relaxed));
  typename TypeParam::template atomic<std::uint32_t> unset;
  EXPECT_EQ(unset.load(std::memory_order_relaxed), 0U);
}

TYPED_TEST(AtomicsModels, SmallIntegersWrapAround) {
  typename TypeParam::template atomic<std::uint8_t> small{255};
  EXPECT_EQ(small.fetch_add(2, std::memory_order_relaxed), 255);
  EXPECT_EQ(small.load(std::memory_order_relaxed), 1);
  EXPECT_EQ(small.fetch_sub(2, std::memory_order_relaxed), 1);
  EXPECT_EQ(small.load(std::memory_order_relaxed), 255);
}

TYPED_TEST(AtomicsModels, IdentityOfAThreadIsNeverZeroAndStaysTheSame) {
  const std::uintptr_t me = TypeParam::thread_identity();
  EXPECT_NE(me, 0U);
  EXPECT_EQ(TypeParam::thread_identity(), me);
}

TYPED_TEST(AtomicsModels, AwaitReturnsAtOnceWhereThereIsNothingToWaitFor) {
  TypeParam::await([] { return true; });
}

TYPED_TEST(AtomicsModels, MutexLocksAndUnlocks) {
  typename TypeParam::mutex mutex;
  for (int i = 0; i < 2; ++i) const std::unique_lock lock(mutex);
}

TEST(StdAtomics, AwaitAsksUntilItHolds) {
  int asked = 0;
  StdAtomics::await([&] { return ++asked == 200; });
  EXPECT_EQ(asked, 200);
}

TEST(StdAtomics, AnotherThreadHasAnotherIdentity) {
  std::uintptr_t other = 0;
  std::thread([&] { other = StdAtomics::thread_identity(); }).join();
  EXPECT_NE(other, 0U);
  EXPECT_NE(other, StdAtomics::thread_identity());
}

TEST(PlainAtomics, AreNoLargerThanTheirValue) {
  static_assert(sizeof(PlainAtomics::atomic<std::uint64_t>) == 8);
  static_assert(sizeof(PlainAtomics::atomic<bool>) == 1);
  static_assert(std::is_trivially_destructible_v<PlainAtomics::mutex>);
}

TEST(PlainCell, HoldsMovableValues) {
  PlainCell<std::string> cell{"one"};
  EXPECT_EQ(cell.read(), "one");
  cell.write("two");
  EXPECT_EQ(cell.read(), "two");
  PlainCell<int> empty;
  EXPECT_EQ(empty.read(), 0);
}

struct NoMutex {
  static constexpr PolicyKind policy_kind = PolicyKind::atomics;
  template <class T>
  using atomic = std::atomic<T>;
};

TEST(Atomics, IsCheckedWhole) {
  static_assert(Atomics<StdAtomics> && Atomics<PlainAtomics>);
  static_assert(!Atomics<NoMutex> && !Atomics<int>);
}

#if FANFARE_ASSERTS && GTEST_HAS_DEATH_TEST
TEST(PlainAtomicsDeathTest, WaitingForItselfIsAMistake) {
  EXPECT_DEATH(PlainAtomics::await([] { return false; }), "a single thread would wait for itself");
}
#endif

}  // namespace
}  // namespace fanfare::test
