#include <fanfare/core/epoch.hpp>

#include "support/memory.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

template <class A>
class EpochDomainTest : public ::testing::Test {
 protected:
  using Domain = EpochDomain<A, CountingMemory>;

  ~EpochDomainTest() override {
    domain_.reset();
    EXPECT_EQ(log_.live_blocks(), 0U);
    EXPECT_EQ(log_.mistakes(), "");
  }

  MemoryLog log_;
  CountingMemory memory_{log_};
  std::optional<Domain> domain_{std::in_place, memory_};
  int one_ = 0;
  int two_ = 0;
};
using AtomicsKinds = ::testing::Types<StdAtomics, PlainAtomics>;
TYPED_TEST_SUITE(EpochDomainTest, AtomicsKinds);

class Thing final : public detail::Garbage {
 public:
  explicit Thing(int& destroyed) : destroyed_(&destroyed) {}
  detail::Block destroy() noexcept override {
    ++*destroyed_;
    this->~Thing();
    return {this, sizeof(Thing), alignof(Thing)};
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(Thing); }

 private:
  ~Thing() = default;
  int* destroyed_;
};

Thing& make_thing(CountingMemory& memory, int& destroyed) {
  return *::new (memory.allocate(sizeof(Thing), alignof(Thing))) Thing(destroyed);
}

TYPED_TEST(EpochDomainTest, WithoutReadersNothingIsHeldBack) {
  auto& domain = *this->domain_;
  EXPECT_EQ(domain.oldest_reader(&this->one_), domain.none);
  EXPECT_EQ(domain.oldest_reader_age(), 0U);
  EXPECT_FALSE(domain.inside());
  domain.await(&this->one_, domain.advance());
  domain.await_all();
}

TYPED_TEST(EpochDomainTest, StampsGrow) {
  auto& domain = *this->domain_;
  const std::uint64_t first = domain.advance();
  EXPECT_GT(first, 0U);
  EXPECT_EQ(domain.advance(), first + 1);
}

TYPED_TEST(EpochDomainTest, ReaderThatLooksUpHoldsBackEverything) {
  auto& domain = *this->domain_;
  const auto guard = domain.pin();
  ASSERT_EQ(guard.error(), errc::ok);
  const std::uint64_t stamp = domain.advance();
  EXPECT_LE(domain.oldest_reader(&this->one_), stamp);
  EXPECT_LE(domain.oldest_reader(&this->two_), stamp);
  EXPECT_LE(domain.oldest_reader(&domain), stamp);
}

TYPED_TEST(EpochDomainTest, ReaderOfAScopeHoldsBackThatScopeAlone) {
  auto& domain = *this->domain_;
  auto guard = domain.pin();
  guard.enter(&this->one_);
  const std::uint64_t stamp = domain.advance();
  EXPECT_LE(domain.oldest_reader(&this->one_), stamp);
  EXPECT_EQ(domain.oldest_reader(&this->two_), domain.none);
  EXPECT_EQ(domain.oldest_reader(&domain), domain.none);
  domain.await(&this->two_, stamp);
}

TYPED_TEST(EpochDomainTest, ReaderThatBeganLaterHoldsBackNothingOlder) {
  auto& domain = *this->domain_;
  const std::uint64_t stamp = domain.advance();
  auto guard = domain.pin();
  guard.enter(&this->one_);
  EXPECT_GT(domain.oldest_reader(&this->one_), stamp);
  domain.await(&this->one_, stamp);
}

TYPED_TEST(EpochDomainTest, ReadEndsWithItsGuardEvenAfterAMove) {
  auto& domain = *this->domain_;
  {
    auto guard = domain.pin();
    const auto moved = std::move(guard);
    EXPECT_NE(domain.oldest_reader(&this->one_), domain.none);
  }
  EXPECT_EQ(domain.oldest_reader(&this->one_), domain.none);
}

TYPED_TEST(EpochDomainTest, NestedReadsEndInAnyOrder) {
  auto& domain = *this->domain_;
  using Guard = decltype(domain.pin());
  std::optional<Guard> outer{domain.pin()};
  outer->enter(&this->one_);
  const std::uint64_t between = domain.advance();
  std::optional<Guard> inner{domain.pin()};
  inner->enter(&this->one_);
  EXPECT_LE(domain.oldest_reader(&this->one_), between);
  outer.reset();
  EXPECT_GT(domain.oldest_reader(&this->one_), between);
  EXPECT_NE(domain.oldest_reader(&this->one_), domain.none);
  inner.reset();
  EXPECT_EQ(domain.oldest_reader(&this->one_), domain.none);
}

TYPED_TEST(EpochDomainTest, InsideIsWhoeverRunsCallbacks) {
  auto& domain = *this->domain_;
  auto guard = domain.pin();
  EXPECT_FALSE(domain.inside());
  guard.enter_callbacks();
  EXPECT_TRUE(domain.inside());
  {
    auto nested = domain.pin();
    nested.enter_callbacks();
  }
  EXPECT_TRUE(domain.inside());
}

TYPED_TEST(EpochDomainTest, SixtyFourDeepIsDeepEnough) {
  auto& domain = *this->domain_;
  std::vector<decltype(domain.pin())> guards;
  for (std::size_t depth = 0; depth < max_trigger_depth; ++depth) {
    guards.push_back(domain.pin());
    ASSERT_EQ(guards.back().error(), errc::ok) << depth;
    guards.back().enter_callbacks();
  }
  EXPECT_EQ(domain.pin().error(), errc::nested_too_deep);
  guards.pop_back();
  EXPECT_EQ(domain.pin().error(), errc::ok);
}

TYPED_TEST(EpochDomainTest, ReadsWithoutCallbacksMayBeMoreThanTheRecordsOfOneBlock) {
  auto& domain = *this->domain_;
  std::vector<decltype(domain.pin())> guards;
  for (int i = 0; i < 200; ++i) {
    guards.push_back(domain.pin());
    ASSERT_EQ(guards.back().error(), errc::ok) << i;
  }
  const std::uint64_t stamp = domain.advance();
  EXPECT_LE(domain.oldest_reader(&this->one_), stamp);
  const std::size_t blocks = this->log_.live_blocks();
  guards.clear();
  EXPECT_EQ(domain.oldest_reader(&this->one_), domain.none);
  for (int i = 0; i < 200; ++i) guards.push_back(domain.pin());
  EXPECT_EQ(this->log_.live_blocks(), blocks);  // blocks are used again
}

TYPED_TEST(EpochDomainTest, ExhaustedMemoryIsAnErrorOnlyWhereABlockIsNeeded) {
  auto& domain = *this->domain_;
  this->log_.fail_after(0, true);
  std::vector<decltype(domain.pin())> guards;
  for (int i = 0; i < 32; ++i) {
    guards.push_back(domain.pin());
    ASSERT_EQ(guards.back().error(), errc::ok) << i;
  }
  EXPECT_EQ(domain.pin().error(), errc::out_of_memory);
  this->log_.succeed();
  EXPECT_EQ(domain.pin().error(), errc::ok);
}

TYPED_TEST(EpochDomainTest, OldestReaderAgeCountsRemovals) {
  auto& domain = *this->domain_;
  const auto guard = domain.pin();
  EXPECT_EQ(domain.oldest_reader_age(), 0U);
  static_cast<void>(domain.advance());
  static_cast<void>(domain.advance());
  EXPECT_EQ(domain.oldest_reader_age(), 2U);
}

TYPED_TEST(EpochDomainTest, CollectsWhatNobodyReads) {
  auto& domain = *this->domain_;
  typename TestFixture::Domain::Queue queue;
  detail::GarbageQueue out;
  int destroyed = 0;
  const void* const scope = &this->one_;
  domain.retire(queue, make_thing(this->memory_, destroyed), domain.advance());
  {
    auto guard = domain.pin();
    guard.enter(scope);
    domain.retire(queue, make_thing(this->memory_, destroyed), domain.advance());
    EXPECT_EQ(domain.bytes(queue), 2 * sizeof(Thing));
    domain.collect(queue, scope, out);
    EXPECT_EQ(out.size(), 1U);  // the first was gone before the read began
  }
  domain.collect(queue, scope, out);
  EXPECT_EQ(out.size(), 2U);
  EXPECT_EQ(domain.bytes(queue), 0U);
  out.destroy_all(this->memory_);
  EXPECT_EQ(destroyed, 2);
}

TYPED_TEST(EpochDomainTest, CollectsEachByItsOwnScope) {
  auto& domain = *this->domain_;
  typename TestFixture::Domain::Queue queue;
  detail::GarbageQueue out;
  int destroyed = 0;
  {
    auto guard = domain.pin();
    Thing& read = make_thing(this->memory_, destroyed);
    guard.enter(read.scope());
    domain.retire(queue, read, domain.advance());
    domain.retire(queue, make_thing(this->memory_, destroyed), domain.advance());
    domain.collect_each(queue, out);
    EXPECT_EQ(out.size(), 1U);
  }
  domain.collect_each(queue, out);
  EXPECT_EQ(out.size(), 2U);
  out.destroy_all(this->memory_);
}

TYPED_TEST(EpochDomainTest, CollectsEachByItsOwnScopeAmongManyReaders) {
  auto& domain = *this->domain_;
  typename TestFixture::Domain::Queue queue;
  detail::GarbageQueue out;
  int destroyed = 0;
  std::array<Thing*, 40> read{};  // more than a block of records
  {
    std::vector<typename TestFixture::Domain::Guard> guards;
    for (Thing*& thing : read) {
      thing = &make_thing(this->memory_, destroyed);
      guards.push_back(domain.pin(ReadFor::query));
      ASSERT_EQ(guards.back().error(), errc::ok);
      guards.back().enter(thing->scope());
    }
    for (Thing* const thing : read) {
      domain.retire(queue, *thing, domain.advance());
      domain.retire(queue, make_thing(this->memory_, destroyed), domain.advance());
    }
    domain.collect_each(queue, out);
    EXPECT_EQ(out.size(), read.size());  // those that nobody reads
    while (!guards.empty()) {
      guards.pop_back();
      domain.collect_each(queue, out);
      EXPECT_EQ(out.size(), 2 * read.size() - guards.size());
    }
  }
  EXPECT_TRUE(domain.empty(queue));
  out.destroy_all(this->memory_);
  EXPECT_EQ(destroyed, static_cast<int>(2 * read.size()));
}

TYPED_TEST(EpochDomainTest, DestroysAllWithoutALook) {
  auto& domain = *this->domain_;
  typename TestFixture::Domain::Queue queue;
  int destroyed = 0;
  domain.retire(queue, make_thing(this->memory_, destroyed), domain.advance());
  domain.destroy_all(queue, this->memory_);
  EXPECT_EQ(destroyed, 1);
}

TYPED_TEST(EpochDomainTest, TwoDomainsAreStrangers) {
  typename TestFixture::Domain other{this->memory_};
  auto guard = other.pin();
  guard.enter_callbacks();
  EXPECT_FALSE(this->domain_->inside());
  EXPECT_EQ(this->domain_->oldest_reader(&this->one_), other.none);
}

}  // namespace
}  // namespace fanfare::test
