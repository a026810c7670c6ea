#include <fanfare/core/kept_budget.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace fanfare::test {
namespace {

/// Makes room at once, as a channel does under its lock. \returns how much it keeps then.
std::size_t keep(KeptAccount& account, std::size_t bytes) {
  if (const std::size_t back = account.report(bytes)) {
    EXPECT_LE(back, bytes);
    EXPECT_EQ(account.report(bytes - back), 0U);
  }
  return account.bytes();
}
/// Empty if there is none.
std::string victim(KeptBudget& budget) {
  std::string name;
  const bool taken = budget.take_victim(name);
  EXPECT_EQ(taken, !name.empty());
  return name;
}

TEST(KeptBudget, IsTheSumOfItsAccounts) {
  KeptBudget budget{1000};
  EXPECT_EQ(budget.bound(), 1000U);
  {
    KeptAccount first{budget, "first"};
    KeptAccount second{budget, "second"};
    EXPECT_EQ(first.channel(), "first");
    EXPECT_EQ(first.report(300), 0U);
    EXPECT_EQ(second.report(400), 0U);
    EXPECT_EQ(budget.bytes(), 700U);
    EXPECT_EQ(first.report(100), 0U);
    EXPECT_EQ(budget.bytes(), 500U);
    EXPECT_EQ(first.bytes(), 100U);
    EXPECT_FALSE(budget.over());
  }
  EXPECT_EQ(budget.bytes(), 0U);
  EXPECT_EQ(budget.vacant_bytes(), 0U);
}

TEST(KeptBudget, MayBeUsedUpToItsBound) {
  KeptBudget budget{1000};
  KeptAccount account{budget, "a"};
  account.occupy();
  EXPECT_EQ(account.report(1000), 0U);
  EXPECT_FALSE(budget.over());
  EXPECT_EQ(account.report(1001), 1U);
  EXPECT_TRUE(budget.over());
}

TEST(KeptBudget, WithoutVacantChannelsWhoGrowsPays) {
  KeptBudget budget{1000};
  KeptAccount large{budget, "large"};
  KeptAccount small{budget, "small"};
  large.occupy();
  small.occupy();
  EXPECT_EQ(keep(large, 900), 900U);
  EXPECT_EQ(keep(small, 150), 100U);
  EXPECT_EQ(large.bytes(), 900U);  // never touched
  EXPECT_EQ(keep(small, 120), 100U);
  EXPECT_EQ(victim(budget), "");
  EXPECT_EQ(keep(large, 800), 800U);
  EXPECT_EQ(keep(small, 200), 200U);
}

TEST(KeptBudget, NobodyPaysMoreThanItGrew) {
  KeptBudget budget{1000};
  KeptAccount idle{budget, "idle"};
  KeptAccount busy{budget, "busy"};
  busy.occupy();
  EXPECT_EQ(keep(idle, 500), 500U);
  EXPECT_EQ(keep(busy, 600), 600U);  // 100 too much, which the vacant one is to give
  idle.occupy();                     // and no longer has to
  EXPECT_EQ(budget.bytes(), 1100U);
  EXPECT_EQ(busy.report(610), 10U);
  EXPECT_EQ(busy.report(600), 0U);
  EXPECT_EQ(busy.report(590), 0U);
}

TEST(KeptBudget, VacantChannelsGiveWayFirst) {
  KeptBudget budget{1000};
  KeptAccount vacant{budget, "vacant"};
  KeptAccount busy{budget, "busy"};
  busy.occupy();
  EXPECT_EQ(keep(vacant, 500), 500U);
  EXPECT_EQ(victim(budget), "");  // there is room yet
  EXPECT_EQ(busy.report(600), 0U);
  EXPECT_TRUE(budget.over());
  EXPECT_EQ(victim(budget), "vacant");
  EXPECT_EQ(vacant.report(0), 0U);
  EXPECT_EQ(victim(budget), "");
  EXPECT_EQ(budget.victims(), 0U);
}

TEST(KeptBudget, IsExceededByAnEighthAtMost) {
  KeptBudget budget{1000};
  KeptAccount vacant{budget, "vacant"};
  KeptAccount busy{budget, "busy"};
  busy.occupy();
  EXPECT_EQ(keep(vacant, 800), 800U);
  EXPECT_EQ(keep(busy, 325), 325U);
  EXPECT_EQ(budget.bytes(), 1125U);
  EXPECT_EQ(keep(busy, 326), 325U);
}

TEST(KeptBudget, IsNotExceededByMoreThanTheVacantHold) {
  KeptBudget budget{1000};
  KeptAccount vacant{budget, "vacant"};
  KeptAccount busy{budget, "busy"};
  busy.occupy();
  EXPECT_EQ(keep(vacant, 50), 50U);
  EXPECT_EQ(keep(busy, 1000), 1000U);
  EXPECT_EQ(busy.report(1001), 1U);
}

TEST(KeptBudget, AVacantChannelDoesNotPayForItselfByLosingAll) {
  KeptBudget budget{1000};
  KeptAccount vacant{budget, "vacant"};
  EXPECT_EQ(vacant.report(1000), 0U);
  EXPECT_EQ(vacant.report(1010), 10U);
}

TEST(KeptBudget, OfNothingKeepsNothing) {
  KeptBudget budget{0};
  KeptAccount account{budget, "a"};
  EXPECT_EQ(account.report(10), 10U);
  EXPECT_EQ(account.report(0), 0U);
}

TEST(KeptBudget, VictimsComeInTheOrderInWhichTheyWereVacated) {
  KeptBudget budget{10};
  KeptAccount a{budget, "a"};
  KeptAccount b{budget, "b"};
  KeptAccount c{budget, "c"};
  for (KeptAccount* const one : {&a, &b, &c}) {
    one->occupy();
    static_cast<void>(one->report(10));
  }
  EXPECT_EQ(victim(budget), "");
  b.vacate();
  a.vacate();
  c.vacate();
  b.vacate();  // it is
  EXPECT_EQ(budget.victims(), 3U);
  EXPECT_EQ(budget.vacant_bytes(), 30U);
  EXPECT_EQ(victim(budget), "b");
  EXPECT_EQ(victim(budget), "a");
  EXPECT_EQ(victim(budget), "c");
  EXPECT_EQ(victim(budget), "b");  // nobody has forgotten anything
  a.occupy();
  a.occupy();
  EXPECT_EQ(victim(budget), "c");
  a.vacate();
  EXPECT_EQ(victim(budget), "b");
  EXPECT_EQ(victim(budget), "c");
  EXPECT_EQ(victim(budget), "a");
}

TEST(KeptBudget, OnlyWhoKeepsSomethingIsAVictim) {
  KeptBudget budget{10};
  KeptAccount first{budget, "first"};
  auto second = std::make_unique<KeptAccount>(budget, "second");
  EXPECT_TRUE(first.vacant());
  EXPECT_EQ(budget.victims(), 0U);
  static_cast<void>(first.report(20));
  static_cast<void>(second->report(20));
  EXPECT_EQ(budget.victims(), 2U);
  static_cast<void>(first.report(0));
  EXPECT_EQ(budget.victims(), 1U);
  EXPECT_EQ(victim(budget), "second");
  static_cast<void>(first.report(5));
  second.reset();
  EXPECT_EQ(budget.victims(), 1U);
  EXPECT_EQ(budget.bytes(), 5U);
  EXPECT_EQ(victim(budget), "");
}

TEST(KeptBudget, AgreesWithASimpleModel) {
  struct One {
    std::unique_ptr<KeptAccount> account;
    bool vacant = true;
    std::size_t bytes = 0;
    std::size_t since = 0;  // its place in the order
  };
  constexpr std::size_t bound = 10'000;
  std::mt19937 random(9);
  const auto below = [&](std::size_t end) { return static_cast<std::size_t>(random() % end); };
  KeptBudget budget{bound};
  std::vector<One> all;
  std::size_t time = 0;
  std::size_t evicted = 0;
  std::size_t paid = 0;
  for (std::size_t step = 0; step < 50'000; ++step) {
    if (all.size() < 20 && below(10) == 0) {
      all.push_back({std::make_unique<KeptAccount>(budget, std::to_string(step))});
      continue;
    }
    if (all.empty()) continue;
    One& one = all[below(all.size())];
    const auto in_order = [](const One& other) { return other.vacant && other.bytes != 0; };
    const bool was_in_order = in_order(one);
    switch (below(10)) {
      case 0:
        std::swap(one, all.back());
        all.pop_back();
        break;
      case 1:
      case 2:
        one.vacant = !one.vacant;
        one.vacant ? one.account->vacate() : one.account->occupy();
        if (!was_in_order && in_order(one)) one.since = ++time;
        break;
      case 3: {
        const auto oldest = std::min_element(all.begin(), all.end(), [&](const One& a, const One& b) {
          return in_order(a) != in_order(b) ? in_order(a) : a.since < b.since;
        });
        std::string name;
        const bool expected = budget.over() && in_order(*oldest);
        ASSERT_EQ(budget.take_victim(name), expected);
        if (!expected) break;
        ASSERT_EQ(name, oldest->account->channel());
        oldest->since = ++time;
        if (below(4) == 0) break;  // it was not to be found
        ASSERT_EQ(oldest->account->report(0), 0U);
        oldest->bytes = 0;
        ++evicted;
        break;
      }
      default: {
        const std::size_t before = one.bytes;
        one.bytes = below(4) == 0 ? below(before + 1) : before + below(600);
        std::size_t back = one.account->report(one.bytes);
        ASSERT_LE(back, one.bytes - std::min(before, one.bytes));
        if (back != 0) {
          ++paid;
          one.bytes -= back;
          back = one.account->report(one.bytes);
          ASSERT_EQ(back, 0U);
        }
        if (!was_in_order && in_order(one)) one.since = ++time;
        break;
      }
    }
    std::size_t bytes = 0;
    std::size_t vacant = 0;
    std::size_t victims = 0;
    for (const One& other : all) {
      ASSERT_EQ(other.account->vacant(), other.vacant);
      ASSERT_EQ(other.account->bytes(), other.bytes);
      bytes += other.bytes;
      vacant += other.vacant ? other.bytes : 0;
      victims += in_order(other) ? 1 : 0;
    }
    ASSERT_EQ(budget.bytes(), bytes);
    ASSERT_EQ(budget.vacant_bytes(), vacant);
    ASSERT_EQ(budget.victims(), victims);
    ASSERT_LE(bytes, bound + bound / 8);
  }
  EXPECT_GT(evicted, 100U);
  EXPECT_GT(paid, 100U);
}

}  // namespace
}  // namespace fanfare::test
