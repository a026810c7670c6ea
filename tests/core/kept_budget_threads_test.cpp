#include <fanfare/core/kept_budget.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace fanfare::test {
namespace {

/// Channels that keep something, each under a lock of its own, and one housekeeper: as in an application.
TEST(KeptBudgetThreads, TheSumStaysWithinItsBound) {
  constexpr std::size_t bound = 20'000;
  constexpr std::size_t largest = 500;
  constexpr std::size_t threads = 3;
  struct Channel {
    std::mutex mutex;
    std::unique_ptr<KeptAccount> account;
  };
  KeptBudget budget{bound};
  std::array<Channel, 24> channels;
  std::atomic<bool> done{false};

  std::thread housekeeper([&] {
    std::string name;
    while (!done.load(std::memory_order_relaxed)) {
      for (std::size_t most = budget.victims(); most != 0 && budget.take_victim(name); --most) {
        Channel& channel = channels.at(std::stoul(name));
        const std::lock_guard lock(channel.mutex);
        if (channel.account != nullptr && channel.account->vacant()) {
          EXPECT_EQ(channel.account->report(0), 0U);
        }
      }
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> publishers;
  for (std::size_t seed = 0; seed < threads; ++seed) {
    publishers.emplace_back([&, seed] {
      std::mt19937 random(static_cast<unsigned>(seed));
      for (int step = 0; step < 20'000; ++step) {
        const std::size_t number = random() % channels.size();
        Channel& channel = channels.at(number);
        const std::lock_guard lock(channel.mutex);
        if (channel.account == nullptr) {
          channel.account = std::make_unique<KeptAccount>(budget, std::to_string(number));
        }
        KeptAccount& account = *channel.account;
        switch (random() % 20) {
          case 0: account.vacate(); break;
          case 1: account.occupy(); break;
          case 2: channel.account.reset(); break;
          default: {
            const std::size_t bytes = account.bytes() + random() % largest;
            const std::size_t back = account.report(bytes);
            EXPECT_LE(back, bytes);
            if (back != 0) {
              EXPECT_EQ(account.report(bytes - back), 0U);
            }
            break;
          }
        }
        EXPECT_LE(budget.bytes(), bound + bound / 8 + threads * largest);
      }
    });
  }
  for (std::thread& publisher : publishers) publisher.join();
  done = true;
  housekeeper.join();
  std::size_t sum = 0;
  for (Channel& channel : channels) sum += channel.account == nullptr ? 0 : channel.account->bytes();
  EXPECT_EQ(budget.bytes(), sum);
  EXPECT_LE(sum, bound + bound / 8);
  for (Channel& channel : channels) channel.account.reset();
  EXPECT_EQ(budget.bytes(), 0U);
  EXPECT_EQ(budget.vacant_bytes(), 0U);
  EXPECT_EQ(budget.victims(), 0U);
}

}  // namespace
}  // namespace fanfare::test
