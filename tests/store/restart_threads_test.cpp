// What channels keep, where several threads trigger at once while the store writes.
#include <fanfare/app.hpp>

#include "support/store.hpp"
#include <fanfare/store/journal.hpp>
#include <fanfare/store/sqlite.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using store::SqliteStore;
using store::StoreError;

TEST(RestartThreads, ChannelsComeBackInTheOrderThatTheyHad) {
  constexpr int threads = 3;
  constexpr int each = 300;
  const std::array<std::string, 2> channels{"history-1", "history-2"};
  const TemporaryDirectory directory;
  const auto live = [&] {
    auto [error, opened] = SqliteStore::open(directory.file("kept.db"));
    EXPECT_EQ(error, StoreError::ok);
    return std::make_unique<App>(
        AppOptions{.id = "1",
                   .key = "k",
                   .secret = "s",
                   .channel_rules = {{.match = "history-*", .retain = true, .history = HistoryRule{.count = 10'000}}},
                   .store = store::make_log(std::move(opened), {.changes = 64, .reservation = 100})});
  };
  const auto read = [&](const App& app, const std::string& channel) {
    std::vector<std::pair<std::uint64_t, std::string>> all;
    app.history(channel, HistoryOrder::oldest_first, {}, 10'000, [&](const HistoryEntry& entry) {
      all.emplace_back(entry.id.number, std::string(entry.message->data()));
    });
    return all;
  };

  std::map<std::string, std::vector<std::pair<std::uint64_t, std::string>>> before;
  {
    const std::unique_ptr<App> app = live();
    std::vector<std::thread> writers;
    for (int t = 0; t < threads; ++t) {
      writers.emplace_back([&, t] {
        KeptTicket ticket;
        for (int i = 0; i < each;) {
          const std::string data = std::to_string(t) + "-" + std::to_string(i);
          const std::string& channel = channels[static_cast<std::size_t>(i) % channels.size()];
          const TriggerResult result = app->trigger(channel, std::to_string(t), data, {.kept = &ticket});
          if (result.error == errc::overloaded) {
            std::this_thread::yield();
            continue;
          }
          ASSERT_TRUE(result);
          if (++i % 50 != 0) continue;
          EXPECT_EQ(app->wait_kept(std::exchange(ticket, {})), KeptOutcome::durable);
        }
        EXPECT_EQ(app->wait_kept(ticket), KeptOutcome::durable);
      });
    }
    std::thread ticker([&] {
      for (int i = 0; i < 20; ++i) {
        app->tick();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    for (std::thread& writer : writers) writer.join();
    ticker.join();
    for (const std::string& channel : channels) before[channel] = read(*app, channel);
  }
  const std::unique_ptr<App> app = live();
  for (const std::string& channel : channels) {
    EXPECT_EQ(before[channel].size(), std::size_t{threads * each / 2});
    EXPECT_EQ(read(*app, channel), before[channel]);
    EXPECT_EQ(app->retained(channel).size(), std::size_t{threads});
  }
}

}  // namespace
}  // namespace fanfare::test
