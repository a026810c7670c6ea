#include <fanfare/core/subscriber_list.hpp>

#include "support/memory.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace fanfare::test {
namespace {

using Function = void (*)(void* context);
void call(void* /*context*/) {}

template <class A>
class SubscriberListTest : public ::testing::Test {
 protected:
  using List = SubscriberList<A, Function>;
  using Ids = std::vector<std::uint64_t>;

  ~SubscriberListTest() override {
    list_.destroy(memory_);
    collect();
    EXPECT_EQ(log_.live_blocks(), 0U);
    EXPECT_EQ(log_.mistakes(), "");
  }

  struct Added {
    std::uint64_t owner;
    std::uint64_t sequence;
    std::size_t position;
  };

  bool add(std::uint64_t owner) {
    detail::Garbage* replaced = nullptr;
    std::uint64_t sequence = 0;
    if (!list_.add({&call, reinterpret_cast<void*>(owner), owner}, sequence, memory_, replaced)) return false;
    keep(replaced);
    added_.push_back({owner, sequence, list_.last_position()});
    return true;
  }
  void remove(std::size_t index) {
    const Added element = added_[index];
    added_.erase(added_.begin() + static_cast<std::ptrdiff_t>(index));
    list_.remove(element.sequence, element.position);
  }
  void tidy() {
    detail::Garbage* replaced = nullptr;
    list_.tidy(memory_, replaced);
    keep(replaced);
  }
  void keep(detail::Garbage* replaced) {
    if (replaced != nullptr) retired_.push(*replaced, 0);
  }
  /// As after a grace period.
  void collect() {
    detail::GarbageQueue ready;
    retired_.take([](const detail::Garbage&) { return true; }, ready);
    ready.destroy_all(memory_);
  }

  static Ids walk(const typename List::View& view) {
    Ids seen;
    for (const auto& slot : view) {
      if (slot.function() == nullptr) continue;
      EXPECT_EQ(slot.function(), &call);
      EXPECT_EQ(reinterpret_cast<std::uint64_t>(slot.context()), view.owner(slot));
      seen.push_back(view.owner(slot));
    }
    return seen;
  }
  [[nodiscard]] Ids expected() const {
    Ids owners;
    for (const Added& element : added_) owners.push_back(element.owner);
    return owners;
  }

  MemoryLog log_;
  CountingMemory memory_{log_};
  List list_;
  std::vector<Added> added_;
  detail::GarbageQueue retired_;
};
using AtomicsKinds = ::testing::Types<StdAtomics, PlainAtomics>;
TYPED_TEST_SUITE(SubscriberListTest, AtomicsKinds);

TYPED_TEST(SubscriberListTest, IsEmptyAndFreeAtFirst) {
  EXPECT_TRUE(this->list_.view().empty());
  EXPECT_EQ(this->list_.view().size(), 0U);
  EXPECT_EQ(this->list_.size(), 0U);
  EXPECT_EQ(this->list_.last_position(), 0U);
  EXPECT_EQ(this->log_.allocations(), 0U);
  this->list_.clear();
  this->tidy();
}

TYPED_TEST(SubscriberListTest, KeepsTheOrderOfAddingThroughGrowth) {
  for (std::uint64_t i = 1; i <= 1000; ++i) {
    ASSERT_TRUE(this->add(i));
    ASSERT_EQ(this->list_.size(), i);
  }
  EXPECT_EQ(this->walk(this->list_.view()), this->expected());
  EXPECT_LT(this->log_.allocations(), 20U);
}

TYPED_TEST(SubscriberListTest, AWalkSeesTheSlotsOfTheMomentItWasTaken) {
  this->add(1);
  const auto view = this->list_.view();
  for (std::uint64_t i = 2; i < 100; ++i) this->add(i);
  EXPECT_EQ(this->walk(view), (std::vector<std::uint64_t>{1}));
}

TYPED_TEST(SubscriberListTest, NoNumberIsGivenTwice) {
  for (std::uint64_t i = 1; i <= 40; ++i) this->add(i);
  for (const std::size_t left : {std::size_t{3}, std::size_t{0}}) {
    const std::uint64_t last = this->added_.back().sequence;
    const auto* const before = this->list_.view().begin();
    while (this->list_.size() > left) this->remove(this->added_.size() - 1);
    this->tidy();
    EXPECT_NE(this->list_.view().begin(), before);  // the last ones are in no array any more
    ASSERT_TRUE(this->add(100));
    EXPECT_GT(this->added_.back().sequence, last);
    for (std::uint64_t i = 0; i < 40; ++i) this->add(200 + i);
    EXPECT_EQ(this->walk(this->list_.view()), this->expected());
  }
}

TYPED_TEST(SubscriberListTest, RemovalReachesWalksInReplacedArrays) {
  for (std::uint64_t i = 1; i <= 4; ++i) this->add(i);
  const auto old = this->list_.view();
  for (std::uint64_t i = 5; i <= 100; ++i) this->add(i);
  const auto middle = this->list_.view();
  for (std::uint64_t i = 101; i <= 1000; ++i) this->add(i);
  this->remove(2);   // owner 3
  this->remove(49);  // owner 51
  EXPECT_EQ(this->walk(old), (std::vector<std::uint64_t>{1, 2, 4}));
  EXPECT_EQ(this->walk(middle).size(), 98U);
  EXPECT_EQ(this->walk(this->list_.view()), this->expected());
}

TYPED_TEST(SubscriberListTest, RemovalWorksWhenSomeReplacedArraysAreFreed) {
  for (std::uint64_t i = 1; i <= 2; ++i) this->add(i);
  this->collect();
  for (std::uint64_t i = 3; i <= 9; ++i) this->add(i);
  const auto view = this->list_.view();
  detail::GarbageQueue ready;
  // All but the last replaced.
  const std::size_t last = this->retired_.size();
  std::size_t index = 0;
  this->retired_.take([&](const detail::Garbage&) { return ++index < last; }, ready);
  ready.destroy_all(this->memory_);
  this->remove(0);
  this->remove(6);
  EXPECT_EQ(this->walk(view), this->expected());
  EXPECT_EQ(this->walk(this->list_.view()), this->expected());
}

TYPED_TEST(SubscriberListTest, AFreedSlotIsNotFilledAgainAheadOfAWalk) {
  for (std::uint64_t i = 1; i <= 8; ++i) this->add(i);
  const auto view = this->list_.view();
  this->remove(6);
  this->add(100);
  EXPECT_EQ(this->walk(view), (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 8}));
}

TYPED_TEST(SubscriberListTest, AWrongHintIsOnlySlower) {
  for (std::uint64_t i = 1; i <= 50; ++i) this->add(i);
  for (auto& element : this->added_) element.position = (element.position * 7 + 3) % 100;
  while (!this->added_.empty()) this->remove(this->added_.size() / 2);
  EXPECT_TRUE(this->walk(this->list_.view()).empty());
  EXPECT_EQ(this->list_.size(), 0U);
}

TYPED_TEST(SubscriberListTest, ClearEmptiesAllArrays) {
  for (std::uint64_t i = 1; i <= 4; ++i) this->add(i);
  const auto old = this->list_.view();
  for (std::uint64_t i = 5; i <= 20; ++i) this->add(i);
  this->list_.clear();
  EXPECT_TRUE(this->walk(old).empty());
  EXPECT_TRUE(this->walk(this->list_.view()).empty());
  EXPECT_EQ(this->list_.size(), 0U);
}

TYPED_TEST(SubscriberListTest, ManyHolesAreTidiedAway) {
  for (std::uint64_t i = 1; i <= 1000; ++i) this->add(i);
  while (this->added_.size() > 10) this->remove(0);
  const std::size_t before = this->log_.live_bytes();
  this->tidy();
  this->collect();
  EXPECT_LT(this->log_.live_bytes(), before / 10);
  EXPECT_LE(this->list_.view().size(), 32U);
  EXPECT_EQ(this->walk(this->list_.view()), this->expected());
}

TYPED_TEST(SubscriberListTest, FewHolesAreLeftAlone) {
  for (std::uint64_t i = 1; i <= 100; ++i) this->add(i);
  for (int i = 0; i < 20; ++i) this->remove(0);
  const std::size_t before = this->log_.allocations();
  this->tidy();
  EXPECT_EQ(this->log_.allocations(), before);
}

TYPED_TEST(SubscriberListTest, ExhaustedMemoryChangesNothing) {
  for (std::uint64_t i = 1; i <= 64; ++i) ASSERT_TRUE(this->add(i));
  this->log_.fail_after(0);
  EXPECT_FALSE(this->add(65));
  EXPECT_EQ(this->list_.size(), 64U);
  EXPECT_EQ(this->walk(this->list_.view()), this->expected());
  EXPECT_TRUE(this->add(66));
  EXPECT_EQ(this->walk(this->list_.view()), this->expected());
  while (this->added_.size() > 1) this->remove(0);
  this->log_.fail_after(0);
  this->tidy();
  EXPECT_EQ(this->walk(this->list_.view()), this->expected());
}

TYPED_TEST(SubscriberListTest, ChurnKeepsMemoryBounded) {
  for (std::uint64_t i = 1; i <= 10; ++i) this->add(i);
  std::size_t most = 0;
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(this->add(100 + i));
    this->remove(0);
    this->tidy();
    this->collect();
    most = std::max(most, this->log_.live_bytes());
  }
  EXPECT_LT(most, 5000U);
  EXPECT_EQ(this->walk(this->list_.view()), this->expected());
}

TYPED_TEST(SubscriberListTest, RandomChangesMatchAModelInOldAndNewViews) {
  std::minstd_rand random(7);
  std::uint64_t next_owner = 1;
  using SomeList = typename TestFixture::List;
  struct Snapshot {
    typename SomeList::View view;
    std::vector<std::uint64_t> owners;
  };
  for (int round = 0; round < 40; ++round) {
    std::vector<Snapshot> snapshots;
    for (int step = 0; step < 120; ++step) {
      const auto choice = random() % 10;
      if (choice < 5) {
        ASSERT_TRUE(this->add(next_owner++));
      } else if (choice < 9 && !this->added_.empty()) {
        const std::size_t index = random() % this->added_.size();
        const std::uint64_t owner = this->added_[index].owner;
        this->remove(index);
        for (Snapshot& snapshot : snapshots) std::erase(snapshot.owners, owner);
        this->tidy();
      } else if (snapshots.size() < 8) {
        snapshots.push_back({this->list_.view(), this->expected()});
      }
    }
    for (const Snapshot& snapshot : snapshots) ASSERT_EQ(this->walk(snapshot.view), snapshot.owners);
    ASSERT_EQ(this->walk(this->list_.view()), this->expected());
    snapshots.clear();
    this->collect();
  }
}

}  // namespace
}  // namespace fanfare::test
