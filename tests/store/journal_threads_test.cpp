#include <fanfare/store/journal.hpp>

#include "support/store.hpp"
#include <fanfare/store/sqlite.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace fanfare::test {
namespace {

using store::Journal;
using store::SqliteStore;
using store::StoreError;

TEST(JournalThreads, ManyMayPutAtOnce) {
  const TemporaryDirectory directory;
  auto [error, opened] = SqliteStore::open(directory.file("kept.db"));
  ASSERT_EQ(error, StoreError::ok);
  constexpr int threads = 4;
  constexpr int each = 500;
  std::atomic<int> told{0};
  {
    Journal journal(*opened, {.changes = 100, .reservation = 128});
    std::vector<std::thread> writers;
    for (int t = 0; t < threads; ++t) {
      writers.emplace_back([&, t] {
        std::uint64_t last = 0;
        for (int i = 0; i < each;) {
          const std::uint64_t number = journal.admit(8);
          if (number == 0) {
            std::this_thread::yield();
            continue;
          }
          EXPECT_GT(number, last);
          last = number;
          if (i % 7 == 3) last = journal.number();  // which nothing is written with
          const std::uint64_t ticket =
              journal.put(keep(kept_message({journal.epoch(), number}, std::to_string(t), "e", std::to_string(i)), true,
                               i % 2 == 0),
                          8);
          if (i % 50 == 0) {
            EXPECT_EQ(journal.wait(ticket), StoreError::ok);
          } else {
            journal.when_settled(ticket, [&](StoreError result) { told += result == StoreError::ok ? 1 : 0; });
          }
          ++i;
        }
      });
    }
    for (std::thread& writer : writers) writer.join();
  }
  EXPECT_EQ(told, threads * (each - each / 50));
  Collect collect;
  ASSERT_EQ(opened->load(collect), StoreError::ok);
  std::vector<int> next(threads);
  for (const Loaded& loaded : collect.all) {
    ASSERT_EQ(loaded.data, std::to_string(next[std::stoul(loaded.channel)]++)) << "in the order of its channel";
  }
  EXPECT_EQ(next, std::vector<int>(threads, each));
}

}  // namespace
}  // namespace fanfare::test
