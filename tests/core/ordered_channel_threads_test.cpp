// Presence and cache channels: one order that all see.
#include <fanfare/core/channel_registry.hpp>

#include "support/print.hpp"
#include "support/sinks.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

constexpr std::size_t publishers = 4;

/// Wants frames, and counts the messages that came without.
struct FrameSink {
  static constexpr bool wire = true;
  std::atomic<std::size_t> pushed{0};
  std::atomic<std::size_t> without{0};
  bool push(MessagePtr message) noexcept {
    ++pushed;
    if (message->frame().empty()) ++without;
    return true;
  }
};

struct FrameEncoder final : Encoder {
  [[nodiscard]] std::size_t bound(const MessageParts& event) const noexcept override { return event.data.size() + 1; }
  [[nodiscard]] errc encode(const MessageParts& /*event*/, std::span<std::byte> out,
                            std::size_t& written) const noexcept override {
    out[0] = std::byte{'!'};
    written = 1;
    return errc::ok;
  }
};

class ordered_channel_threads : public ::testing::TestWithParam<const char*> {};

TEST_P(ordered_channel_threads, all_queues_see_the_same_order_with_consecutive_ids) {
  ChannelRegistry<> channels;
  const std::size_t each = repetitions(2000);
  PolledSubscription first = channels.subscribe(GetParam(), Inbox{publishers * each});
  PolledSubscription second = channels.subscribe(GetParam(), Inbox{publishers * each});
  std::mutex mutex;
  std::map<std::uint64_t, std::string> answered;  // what `trigger` said
  std::atomic<bool> stop{false};
  Thread churn([&] {
    while (!stop) {
      PolledSubscription guest = channels.subscribe(GetParam(), Inbox{8});
      Subscription other = channels.subscribe(GetParam());
      other.bind("e", [](const Event&) {});
      std::uint64_t last = 0;
      guest.poll([&](const Event& event) {
        if (last != 0) {
          EXPECT_EQ(event.id().number, last + 1);  // from its first on, a guest misses nothing
        }
        last = event.id().number;
      });
    }
  });
  run_together(publishers, [&](std::size_t publisher) {
    std::uint64_t last = 0;
    for (std::size_t i = 0; i < each; ++i) {
      const std::string data = std::to_string(publisher) + ':' + std::to_string(i);
      const TriggerResult result = channels.trigger(GetParam(), "e", data);
      EXPECT_EQ(result.error, errc::ok);
      EXPECT_GT(result.id.number, last);
      last = result.id.number;
      const std::lock_guard lock(mutex);
      answered[last] = data;
    }
  });
  stop = true;
  churn.join();
  std::vector<std::pair<EventId, std::string>> seen[2];
  first.poll([&](const Event& event) { seen[0].emplace_back(event.id(), event.data()); });
  second.poll([&](const Event& event) { seen[1].emplace_back(event.id(), event.data()); });
  ASSERT_EQ(seen[0].size(), publishers * each);
  EXPECT_EQ(seen[0], seen[1]);
  for (std::size_t i = 0; i < seen[0].size(); ++i) {
    ASSERT_EQ(seen[0][i].first.number, i + 1);
    ASSERT_EQ(seen[0][i].first.epoch, seen[0][0].first.epoch);
    ASSERT_EQ(seen[0][i].second, answered[i + 1]);
  }
}

TEST_P(ordered_channel_threads, a_callback_sees_what_is_triggered_after_its_entry_and_no_id_twice) {
  ChannelRegistry<> channels;
  const ChannelHandle keeps_the_channel = channels.channel(GetParam());
  std::atomic<bool> stop{false};
  std::vector<Thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) channels.trigger(GetParam(), "e", "");
    });
  }
  for (std::size_t i = 0; i < repetitions(800); ++i) {
    std::mutex mutex;
    std::vector<std::uint64_t> ids;
    Subscription subscription = channels.subscribe(GetParam(), [&](Subscription& s) {
      s.bind_all([&](const Event& event) {
        const std::lock_guard lock(mutex);
        ids.push_back(event.id().number);
      });
    });
    const std::uint64_t from = channels.trigger(GetParam(), "mark", "").id.number;
    const std::uint64_t to = channels.trigger(GetParam(), "mark", "").id.number;
    subscription.reset();
    std::sort(ids.begin(), ids.end());
    EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end()) << "an event came twice";
    EXPECT_LT(from, to);
    for (const std::uint64_t id : {from, to}) EXPECT_TRUE(std::binary_search(ids.begin(), ids.end(), id));
  }
  stop = true;
}

TEST_P(ordered_channel_threads, who_is_refused_takes_no_id) {
  /// Thread-safe, with room for every other event.
  struct Moody {
    std::mutex mutex;
    std::vector<EventId> ids;
    std::size_t asked = 0;
    bool push(MessagePtr message) noexcept {
      const std::lock_guard lock(mutex);
      ids.push_back(message->id());
      return true;
    }
    bool has_room(std::size_t) noexcept {
      const std::lock_guard lock(mutex);
      return ++asked % 2 == 0;
    }
  } sink;
  ChannelRegistry<> channels;
  Subscription attached = channels.attach(GetParam(), sink);
  std::atomic<std::size_t> overloaded{0};
  const std::size_t each = repetitions(1000);
  run_together(3, [&](std::size_t) {
    for (std::size_t i = 0; i < each; ++i) {
      const TriggerResult result = channels.trigger(GetParam(), "e", "");
      if (result.error == errc::overloaded) {
        ++overloaded;
        EXPECT_FALSE(result.id);
        EXPECT_EQ(result.delivered, 0U);
      } else {
        EXPECT_EQ(result.error, errc::ok);
      }
    }
  });
  EXPECT_EQ(sink.ids.size() + overloaded, 3 * each);
  for (std::size_t i = 0; i < sink.ids.size(); ++i) ASSERT_EQ(sink.ids[i].number, i + 1);
}

TEST_P(ordered_channel_threads, a_queue_that_wants_frames_and_comes_meanwhile_gets_frames) {
  FrameSink sink;
  const FrameEncoder encoder;
  ChannelRegistry<> channels{{.encoder = &encoder}};
  PolledSubscription plain = channels.subscribe(GetParam(), Inbox{4, Overflow::drop_oldest});
  std::atomic<bool> stop{false};
  std::vector<Thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) EXPECT_EQ(channels.trigger(GetParam(), "e", "").error, errc::ok);
    });
  }
  for (std::size_t i = 0; i < repetitions(600); ++i) {
    Subscription attached = channels.attach(GetParam(), sink);
    channels.trigger(GetParam(), "e", "");
  }
  stop = true;
  threads.clear();
  EXPECT_GE(sink.pushed, repetitions(600));
  EXPECT_EQ(sink.without, 0U);
}

INSTANTIATE_TEST_SUITE_P(names, ordered_channel_threads, ::testing::Values("presence-room", "cache-room"),
                         [](const auto& test) { return std::string(test.param, test.param[0] == 'p' ? 8 : 5); });

TEST(ordered_channel_threads, lives_of_a_channel_have_epochs_of_their_own) {
  ChannelRegistry<> channels;
  std::mutex mutex;
  std::map<std::uint64_t, std::vector<std::uint64_t>> numbers;
  run_together(3, [&](std::size_t) {
    for (std::size_t i = 0; i < repetitions(800); ++i) {
      const ChannelHandle handle = channels.channel("cache-room");
      const EventId id = handle.trigger("e", "").id;
      const std::lock_guard lock(mutex);
      numbers[id.epoch].push_back(id.number);
    }
  });
  for (auto& [epoch, list] : numbers) {
    EXPECT_NE(epoch, 0U);
    std::sort(list.begin(), list.end());
    for (std::size_t i = 0; i < list.size(); ++i) ASSERT_EQ(list[i], i + 1) << "in epoch " << epoch;
  }
}

}  // namespace
}  // namespace fanfare::test
