#include <fanfare/core/garbage.hpp>

#include "support/memory.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace fanfare::test {
namespace {

using detail::Block;
using detail::Garbage;
using detail::GarbageQueue;

struct Journal {
  std::vector<int> forgotten;
  std::vector<int> destroyed;
};

class Item final : public Garbage {
 public:
  Item(int number, Journal& journal) : number_(number), journal_(&journal) {}

  void forget() noexcept override { journal_->forgotten.push_back(number_); }
  Block destroy() noexcept override {
    journal_->destroyed.push_back(number_);
    if (next_queue != nullptr) next_queue->push(*next_item, 0);
    this->~Item();
    return {this, sizeof(Item), alignof(Item)};
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(Item); }

  GarbageQueue* next_queue = nullptr;
  Item* next_item = nullptr;

 private:
  ~Item() = default;

  int number_;
  Journal* journal_;
};

class GarbageTest : public ::testing::Test {
 protected:
  ~GarbageTest() override {
    EXPECT_EQ(log_.live_blocks(), 0U);
    EXPECT_EQ(log_.mistakes(), "");
  }
  Item& make(int number) { return *::new (memory_.allocate(sizeof(Item), alignof(Item))) Item(number, journal_); }
  void push(int number, std::uint64_t stamp) { queue_.push(make(number), stamp); }

  MemoryLog log_;
  CountingMemory memory_{log_};
  Journal journal_;
  GarbageQueue queue_;
};

using Numbers = std::vector<int>;

TEST_F(GarbageTest, IsDestroyedInTheOrderInWhichItCame) {
  for (int i = 0; i < 5; ++i) push(i, 1);
  EXPECT_EQ(queue_.size(), 5U);
  EXPECT_EQ(queue_.bytes(), 5 * sizeof(Item));
  EXPECT_EQ(queue_.destroy_all(memory_), 5 * sizeof(Item));
  EXPECT_EQ(journal_.destroyed, (Numbers{0, 1, 2, 3, 4}));
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.size(), 0U);
  EXPECT_EQ(queue_.bytes(), 0U);
  push(5, 1);
  queue_.destroy_all(memory_);
  EXPECT_EQ(journal_.destroyed.size(), 6U);
}

TEST_F(GarbageTest, IsItsOwnScopeAndKeepsItsStampOnItsWay) {
  Item& item = make(1);
  queue_.push(item, 17);
  GarbageQueue out;
  queue_.take([](const Garbage&) { return true; }, out);
  EXPECT_EQ(item.scope(), &item);
  EXPECT_EQ(item.stamp(), 17U);
  out.destroy_all(memory_);
}

TEST_F(GarbageTest, TakeLooksAtEverythingAndForgetsWhatItTakes) {
  for (int i = 0; i < 6; ++i) push(i, static_cast<std::uint64_t>(i));
  GarbageQueue out;
  queue_.take([](const Garbage& garbage) { return garbage.stamp() % 2 == 1; }, out);
  EXPECT_EQ(journal_.forgotten, (Numbers{1, 3, 5}));
  EXPECT_EQ(queue_.size(), 3U);
  EXPECT_EQ(out.size(), 3U);
  push(6, 6);  // the end is where it belongs, although the last was taken
  out.destroy_all(memory_);
  queue_.destroy_all(memory_);
  EXPECT_EQ(journal_.destroyed, (Numbers{1, 3, 5, 0, 2, 4, 6}));
}

TEST_F(GarbageTest, TakeFrontStopsAtTheFirstThatIsNotReady) {
  for (const int i : {1, 2, 5, 3}) push(i, static_cast<std::uint64_t>(i));
  GarbageQueue out;
  queue_.take_front([](const Garbage& garbage) { return garbage.stamp() < 4; }, out);
  EXPECT_EQ(journal_.forgotten, (Numbers{1, 2}));
  EXPECT_EQ(queue_.size(), 2U);
  queue_.take_front([](const Garbage&) { return true; }, out);
  EXPECT_TRUE(queue_.empty());
  push(7, 7);
  queue_.take_front([](const Garbage&) { return true; }, out);
  out.destroy_all(memory_);
  EXPECT_EQ(journal_.destroyed, (Numbers{1, 2, 5, 3, 7}));
}

TEST_F(GarbageTest, TakingFromAnEmptyQueueDoesNothing) {
  GarbageQueue out;
  queue_.take([](const Garbage&) { return true; }, out);
  queue_.take_front([](const Garbage&) { return true; }, out);
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(queue_.destroy_all(memory_), 0U);
}

TEST_F(GarbageTest, IsDueWhenItHasGrownBy64) {
  static_assert(64 * sizeof(Item) <= 4096);
  for (int i = 0; i < 63; ++i) push(i, 0);
  EXPECT_FALSE(queue_.due());
  push(63, 0);
  EXPECT_TRUE(queue_.due());
  queue_.postpone();
  EXPECT_FALSE(queue_.due());
  for (int i = 64; i < 127; ++i) push(i, 0);
  EXPECT_FALSE(queue_.due());
  push(127, 0);
  EXPECT_TRUE(queue_.due());
  queue_.destroy_all(memory_);
}

class Large final : public Garbage {
 public:
  Block destroy() noexcept override { return {this, sizeof(Large), alignof(Large)}; }
  [[nodiscard]] std::size_t bytes() const noexcept override { return 5000; }
};

TEST_F(GarbageTest, IsDueWhenItHasGrownByMuchMemory) {
  Large one;
  Large two;
  queue_.push(one, 0);
  EXPECT_TRUE(queue_.due());
  queue_.postpone();
  EXPECT_FALSE(queue_.due());
  queue_.push(two, 0);
  EXPECT_TRUE(queue_.due());
}

TEST_F(GarbageTest, DestructorMayAddToAnotherQueue) {
  GarbageQueue other;
  Item& first = make(1);
  first.next_queue = &other;
  first.next_item = &make(2);
  queue_.push(first, 0);
  queue_.destroy_all(memory_);
  EXPECT_EQ(other.size(), 1U);
  other.destroy_all(memory_);
  EXPECT_EQ(journal_.destroyed, (Numbers{1, 2}));
}

}  // namespace
}  // namespace fanfare::test
