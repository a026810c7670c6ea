#include <fanfare/core/walk_depth.hpp>

#include "support/memory.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <new>
#include <optional>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

class Remains final : public detail::Garbage {
 public:
  explicit Remains(int& destroyed) : destroyed_(&destroyed) {}
  detail::Block destroy() noexcept override {
    ++*destroyed_;
    this->~Remains();
    return {this, sizeof(Remains), alignof(Remains)};
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(Remains); }

 private:
  ~Remains() = default;
  int* destroyed_;
};

class WalkDepthDomainTest : public ::testing::Test {
 protected:
  using Domain = WalkDepthDomain<PlainAtomics, CountingMemory>;
  ~WalkDepthDomainTest() override {
    domain_.reset();
    EXPECT_EQ(log_.live_blocks(), 0U);
    EXPECT_EQ(log_.mistakes(), "");
  }
  void retire() {
    auto& remains = *::new (memory_.allocate(sizeof(Remains), alignof(Remains))) Remains(destroyed_);
    domain_->retire(queue_, remains, domain_->advance());
  }

  MemoryLog log_;
  CountingMemory memory_{log_};
  std::optional<Domain> domain_{std::in_place, memory_};
  Domain::Queue queue_;
  int destroyed_ = 0;
};

TEST_F(WalkDepthDomainTest, InsideMeansThatAWalkIsUnderWay) {
  EXPECT_FALSE(domain_->inside());
  {
    const auto guard = domain_->pin();
    EXPECT_EQ(guard.error(), errc::ok);
    EXPECT_TRUE(domain_->inside());
  }
  EXPECT_FALSE(domain_->inside());
}

TEST_F(WalkDepthDomainTest, WhatIsRetiredInAWalkIsFreedWhenTheOutermostEnds) {
  {
    const auto outer = domain_->pin();
    {
      const auto inner = domain_->pin();
      retire();
    }
    EXPECT_EQ(destroyed_, 0);
    detail::GarbageQueue out;
    domain_->collect(queue_, this, out);
    domain_->collect_each(queue_, out);
    EXPECT_TRUE(out.empty());
    EXPECT_FALSE(domain_->due(queue_));
    EXPECT_EQ(domain_->unqueued_bytes(), sizeof(Remains));
  }
  EXPECT_EQ(destroyed_, 1);
  EXPECT_EQ(domain_->unqueued_bytes(), 0U);
}

TEST_F(WalkDepthDomainTest, OutsideOfWalksItIsDueAtOnce) {
  EXPECT_FALSE(domain_->due(queue_));
  retire();
  EXPECT_TRUE(domain_->due(queue_));
  detail::GarbageQueue out;
  domain_->collect(queue_, this, out);
  EXPECT_EQ(out.size(), 1U);
  out.destroy_all(memory_);
  EXPECT_EQ(destroyed_, 1);
}

TEST_F(WalkDepthDomainTest, GuardMayMove) {
  {
    auto guard = domain_->pin();
    const auto moved = std::move(guard);
    EXPECT_TRUE(domain_->inside());
  }
  EXPECT_FALSE(domain_->inside());
}

TEST_F(WalkDepthDomainTest, SixtyFourDeepIsDeepEnough) {
  std::vector<Domain::Guard> guards;
  for (std::size_t depth = 0; depth < max_trigger_depth; ++depth) {
    guards.push_back(domain_->pin());
    ASSERT_EQ(guards.back().error(), errc::ok);
  }
  EXPECT_EQ(domain_->pin().error(), errc::nested_too_deep);
  guards.pop_back();
  EXPECT_EQ(domain_->pin().error(), errc::ok);
}

TEST_F(WalkDepthDomainTest, RefusedWalkDoesNotCount) {
  {
    std::vector<Domain::Guard> guards;
    for (std::size_t depth = 0; depth < max_trigger_depth; ++depth) guards.push_back(domain_->pin());
    EXPECT_EQ(domain_->pin().error(), errc::nested_too_deep);
    retire();
    EXPECT_EQ(destroyed_, 0);
  }
  EXPECT_FALSE(domain_->inside());
  EXPECT_EQ(destroyed_, 1);
}

TEST_F(WalkDepthDomainTest, TheDomainsEndFreesTheRest) {
  retire();
  domain_.reset();
  EXPECT_EQ(destroyed_, 1);
}

}  // namespace
}  // namespace fanfare::test
