#include <fanfare/core/name_index.hpp>

#include "support/memory.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

class alignas(name_index_alignment) Named {
 public:
  Named(std::string name, std::uint64_t hash) : name_(std::move(name)), hash_(hash) {}
  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }

 private:
  std::string name_;
  std::uint64_t hash_;
};

struct SameHash {
  static std::uint64_t hash(std::string_view /*name*/, std::uint64_t /*seed*/) noexcept { return 42; }
};
/// Collides under the seed 1, which the tests begin with, and is good under any other.
struct CollidesAtFirst {
  static std::uint64_t hash(std::string_view name, std::uint64_t seed) noexcept {
    return seed == 1 ? 42 : SeededHash::hash(name, seed);
  }
};

template <class Hash>
class NameIndexTest : public ::testing::Test {
 protected:
  using Index = NameIndex<StdAtomics, Hash, Named>;

  ~NameIndexTest() override {
    index_.destroy(memory_);
    collect();
    EXPECT_EQ(log_.live_blocks(), 0U);
    EXPECT_EQ(log_.mistakes(), "");
  }

  Named* insert(const std::string& name) {
    auto node = std::make_unique<Named>(name, Hash::hash(name, 1));
    detail::Garbage* replaced = nullptr;
    if (!index_.insert(*node, memory_, replaced)) return nullptr;
    if (replaced != nullptr) retired_.push(*replaced, 0);
    nodes_.push_back(std::move(node));
    return nodes_.back().get();
  }
  Named* find(const std::string& name) { return index_.find(name, Hash::hash(name, 1)); }
  void erase(const std::string& name) {
    Named* const node = find(name);
    ASSERT_NE(node, nullptr);
    index_.erase(*node);
  }
  std::set<std::string> all() {
    std::set<std::string> names;
    index_.for_each([&](Named& node) { EXPECT_TRUE(names.emplace(node.name()).second); });
    return names;
  }
  void collect() { retired_.destroy_all(memory_); }

  MemoryLog log_;
  CountingMemory memory_{log_};
  Index index_;
  std::vector<std::unique_ptr<Named>> nodes_;
  detail::GarbageQueue retired_;
};
using Hashes = ::testing::Types<SeededHash, SameHash, CollidesAtFirst>;
TYPED_TEST_SUITE(NameIndexTest, Hashes);

TYPED_TEST(NameIndexTest, FindsNothingInNothing) {
  EXPECT_EQ(this->find("a"), nullptr);
  EXPECT_TRUE(this->all().empty());
  EXPECT_EQ(this->index_.size(), 0U);
  EXPECT_EQ(this->log_.allocations(), 0U);
}

TYPED_TEST(NameIndexTest, FindsWhatWasInserted) {
  for (int i = 0; i < 200; ++i) {
    Named* const node = this->insert("name-" + std::to_string(i));
    ASSERT_NE(node, nullptr);
    ASSERT_EQ(this->index_.size(), static_cast<std::size_t>(i) + 1);
  }
  for (int i = 0; i < 200; ++i) {
    const std::string name = "name-" + std::to_string(i);
    ASSERT_NE(this->find(name), nullptr) << name;
    EXPECT_EQ(this->find(name)->name(), name);
  }
  EXPECT_EQ(this->find("name-200"), nullptr);
  EXPECT_EQ(this->find("name-"), nullptr);
  EXPECT_EQ(this->all().size(), 200U);
}

TYPED_TEST(NameIndexTest, KnowsWhetherAnyNameHasBeenThereAndNamesOne) {
  EXPECT_TRUE(this->index_.untouched());
  EXPECT_EQ(this->index_.any(), nullptr);
  const Named* const one = this->insert("one");
  EXPECT_FALSE(this->index_.untouched());
  EXPECT_EQ(this->index_.any(), one);
  const Named* const two = this->insert("two");
  this->erase("one");
  EXPECT_EQ(this->index_.any(), two);
  this->erase("two");
  EXPECT_FALSE(this->index_.untouched());
  EXPECT_EQ(this->index_.any(), nullptr);
}

TYPED_TEST(NameIndexTest, ErasedNamesAreGoneAndTheOthersStay) {
  for (int i = 0; i < 120; ++i) this->insert(std::to_string(i));
  for (int i = 0; i < 120; i += 2) this->erase(std::to_string(i));
  for (int i = 0; i < 120; ++i) EXPECT_EQ(this->find(std::to_string(i)) != nullptr, i % 2 == 1) << i;
  EXPECT_EQ(this->index_.size(), 60U);
  for (int i = 0; i < 120; i += 2) this->insert(std::to_string(i));
  for (int i = 0; i < 120; ++i) EXPECT_NE(this->find(std::to_string(i)), nullptr) << i;
}

TYPED_TEST(NameIndexTest, ComingAndGoingKeepsTheTableSmall) {
  for (int i = 0; i < 8; ++i) this->insert("stays-" + std::to_string(i));
  std::size_t most = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::string name = "comes-" + std::to_string(i);
    ASSERT_NE(this->insert(name), nullptr);
    this->erase(name);
    this->collect();
    most = std::max(most, this->log_.live_bytes());
  }
  EXPECT_LT(most, 2500U);
  EXPECT_EQ(this->all().size(), 8U);
}

TYPED_TEST(NameIndexTest, AGrownTableShrinksAgain) {
  for (int i = 0; i < 300; ++i) this->insert(std::to_string(i));
  this->collect();
  const std::size_t large = this->log_.live_bytes();
  for (int i = 0; i < 299; ++i) this->erase(std::to_string(i));
  for (int i = 0; i < 1000; ++i) {
    this->insert("x");
    this->erase("x");
  }
  this->collect();
  EXPECT_LT(this->log_.live_bytes(), large / 10);
  EXPECT_NE(this->find("299"), nullptr);
}

TYPED_TEST(NameIndexTest, ExhaustedMemoryChangesNothing) {
  this->log_.fail_after(0);
  EXPECT_EQ(this->insert("first"), nullptr);
  EXPECT_EQ(this->find("first"), nullptr);
  EXPECT_EQ(this->index_.size(), 0U);
  std::set<std::string> names;
  for (int i = 0; i < 60; ++i) {
    const std::string name = std::to_string(i);
    this->log_.fail_after(0);
    if (this->insert(name) == nullptr) {
      ASSERT_EQ(this->find(name), nullptr);
      ASSERT_EQ(this->all(), names);
      ASSERT_EQ(this->index_.size(), names.size());
      this->log_.succeed();
      ASSERT_NE(this->insert(name), nullptr);
    }
    names.insert(name);
    ASSERT_EQ(this->all(), names);
  }
}

TYPED_TEST(NameIndexTest, WithoutMemoryForANewSeedCollidingNamesAreStillFound) {
  for (int i = 0; i < 150; ++i) {
    // The first table of 65 colliding names and more would like another seed.
    detail::Garbage* replaced = nullptr;
    const std::string name = std::to_string(i);
    auto node = std::make_unique<Named>(name, TypeParam::hash(name, 1));
    this->log_.fail_after(1, true);  // enough for growth, too little for both
    const bool inserted = this->index_.insert(*node, this->memory_, replaced);
    this->log_.succeed();
    ASSERT_TRUE(inserted);
    if (replaced != nullptr) this->retired_.push(*replaced, 0);
    this->nodes_.push_back(std::move(node));
  }
  for (int i = 0; i < 150; ++i) EXPECT_NE(this->find(std::to_string(i)), nullptr);
}

TYPED_TEST(NameIndexTest, RandomChangesMatchAModel) {
  std::minstd_rand random(3);
  std::set<std::string> model;
  for (int step = 0; step < 4000; ++step) {
    const std::string name = std::to_string(random() % 150);
    if (model.contains(name)) {
      if (random() % 2 == 0) {
        this->erase(name);
        model.erase(name);
      }
    } else {
      ASSERT_EQ(this->find(name), nullptr);
      if (random() % 2 == 0) {
        ASSERT_NE(this->insert(name), nullptr);
        model.insert(name);
      }
    }
    ASSERT_EQ(this->find(name) != nullptr, model.contains(name));
    if (step % 100 == 0) {
      ASSERT_EQ(this->all(), model);
    }
    if (step % 64 == 0) this->collect();
  }
}

TEST(NameIndex, LongProbesChangeTheSeed) {
  MemoryLog log;
  CountingMemory memory{log};
  NameIndex<StdAtomics, CollidesAtFirst, Named> index;
  std::vector<std::unique_ptr<Named>> nodes;
  detail::GarbageQueue retired;
  std::size_t replacements = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = std::to_string(i);
    nodes.push_back(std::make_unique<Named>(name, CollidesAtFirst::hash(name, 1)));
    detail::Garbage* replaced = nullptr;
    ASSERT_TRUE(index.insert(*nodes.back(), memory, replaced));
    if (replaced != nullptr) {
      ++replacements;
      retired.push(*replaced, 0);
    }
  }
  // Growth alone takes about ten; with the first seed kept, every insertion would have tried another table.
  EXPECT_LT(replacements, 20U);
  for (const auto& node : nodes) EXPECT_EQ(index.find(node->name(), node->hash()), node.get());
  index.destroy(memory);
  retired.destroy_all(memory);
  EXPECT_EQ(log.live_blocks(), 0U);
}

}  // namespace
}  // namespace fanfare::test
