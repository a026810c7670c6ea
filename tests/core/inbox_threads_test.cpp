// Queues that many threads push into: order, accounting, and how long messages live.
#include <fanfare/core/channel_registry.hpp>
#include <fanfare/core/inbox.hpp>

#include "support/memory.hpp"
#include "support/perturbed_atomics.hpp"
#include "support/print.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

constexpr std::size_t publishers = 4;

/// `publisher:number`
struct Stamp {
  std::size_t publisher;
  std::size_t number;
};

std::string text(std::size_t publisher, std::size_t number) {
  return std::to_string(publisher) + ':' + std::to_string(number);
}

Stamp parse(std::string_view data) {
  Stamp stamp{static_cast<std::size_t>(data[0] - '0'), 0};
  std::from_chars(data.data() + 2, data.data() + data.size(), stamp.number);
  return stamp;
}

TEST(inbox_threads, four_publishers_reach_a_poller_completely_and_each_in_order) {
  ChannelRegistry<> channels;
  const std::size_t each = repetitions(4000);
  PolledSubscription inbox = channels.subscribe("room", Inbox{publishers * each});
  std::vector<Thread> threads;
  for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
    threads.emplace_back([&, publisher] {
      const ChannelHandle room = channels.channel("room");
      for (std::size_t i = 0; i < each; ++i) {
        EXPECT_EQ(
            (i % 2 == 0 ? room.trigger("e", text(publisher, i)) : channels.trigger("room", "e", text(publisher, i)))
                .delivered,
            1U);
      }
    });
  }
  std::array<std::size_t, publishers> next{};
  std::size_t polled = 0;
  while (polled < publishers * each) {
    polled += inbox.poll([&](const Event& event) {
      const Stamp stamp = parse(event.data());
      EXPECT_EQ(stamp.number, next[stamp.publisher]++);
    });
    std::this_thread::yield();
  }
  EXPECT_EQ(inbox.dropped(), 0U);
  EXPECT_EQ(inbox.size(), 0U);
}

TEST(inbox_threads, each_publisher_stays_in_order_while_others_subscribe_and_leave) {
  ChannelRegistry<> channels;
  const std::size_t each = repetitions(2000);
  PolledSubscription stays = channels.subscribe("room", Inbox{publishers * each});
  std::atomic<bool> stop{false};
  std::vector<Thread> guests;
  for (int i = 0; i < 2; ++i) {
    guests.emplace_back([&] {
      while (!stop) {
        std::vector<PolledSubscription> inboxes;
        for (int k = 0; k < 6; ++k) inboxes.push_back(channels.subscribe("room", Inbox{8}));
        // Who was told ok sees a publisher's later events without a gap, as long as there is room.
        for (PolledSubscription& inbox : inboxes) {
          std::array<std::size_t, publishers> last{};
          std::array<bool, publishers> any{};
          inbox.poll([&](const Event& event) {
            const Stamp stamp = parse(event.data());
            if (any[stamp.publisher] && inbox.dropped() == 0) {
              EXPECT_EQ(stamp.number, last[stamp.publisher] + 1);
            } else if (any[stamp.publisher]) {
              EXPECT_GT(stamp.number, last[stamp.publisher]);
            }
            any[stamp.publisher] = true;
            last[stamp.publisher] = stamp.number;
          });
        }
        inboxes.erase(inboxes.begin() + 1, inboxes.begin() + 4);
      }
    });
  }
  run_together(publishers, [&](std::size_t publisher) {
    for (std::size_t i = 0; i < each; ++i) EXPECT_GE(channels.trigger("room", "e", text(publisher, i)).delivered, 1U);
  });
  stop = true;
  guests.clear();
  std::array<std::size_t, publishers> next{};
  EXPECT_EQ(stays.poll([&](const Event& event) {
    const Stamp stamp = parse(event.data());
    EXPECT_EQ(stamp.number, next[stamp.publisher]++);
  }),
            publishers * each);
}

class inbox_overflow_threads : public ::testing::TestWithParam<Overflow> {};

TEST_P(inbox_overflow_threads, everything_that_was_pushed_is_polled_or_counted_as_dropped) {
  ChannelRegistry<> channels;
  const std::size_t each = repetitions(8000);
  PolledSubscription inbox = channels.subscribe("room", Inbox{8, GetParam()});
  std::atomic<std::size_t> publishing{publishers};
  std::atomic<std::size_t> taken{0};
  std::vector<Thread> threads;
  for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
    threads.emplace_back([&, publisher] {
      for (std::size_t i = 0; i < each; ++i) taken += channels.trigger("room", "e", text(publisher, i)).delivered;
      --publishing;
    });
  }
  std::array<std::size_t, publishers> next{};
  std::size_t polled = 0;
  const auto poll = [&] {
    polled += inbox.poll([&](const Event& event) {
      const Stamp stamp = parse(event.data());
      EXPECT_GE(stamp.number, next[stamp.publisher]) << "out of order";
      next[stamp.publisher] = stamp.number + 1;
    });
    EXPECT_LE(inbox.size(), inbox.capacity());
  };
  while (publishing != 0) poll();
  threads.clear();
  poll();
  EXPECT_EQ(polled + inbox.dropped(), publishers * each);
  if (GetParam() == Overflow::drop_newest) {
    EXPECT_EQ(polled, taken);
  }
  EXPECT_LE(polled, taken);
}

INSTANTIATE_TEST_SUITE_P(overflow, inbox_overflow_threads,
                         ::testing::Values(Overflow::drop_newest, Overflow::drop_oldest), [](const auto& test) {
                           return test.param == Overflow::drop_newest ? "drop_newest" : "drop_oldest";
                         });

TEST(inbox_threads, drop_oldest_keeps_the_latest_of_a_publisher_who_is_alone) {
  ChannelRegistry<> channels;
  PolledSubscription inbox = channels.subscribe("room", Inbox{8, Overflow::drop_oldest});
  run_together(publishers, [&](std::size_t publisher) {
    for (std::size_t i = 0; i < repetitions(4000); ++i) channels.trigger("room", "e", text(publisher, i));
  });
  for (std::size_t i = 0; i < 8; ++i) channels.trigger("room", "e", text(9, i));
  std::size_t next = 0;
  EXPECT_EQ(inbox.poll([&](const Event& event) {
    EXPECT_EQ(event.data(), text(9, next));
    ++next;
  }),
            8U);
}

TEST(inbox_threads, drop_oldest_drops_one_message_for_one_even_while_the_poller_is_held_up) {
  ChannelRegistry<PerturbedAtomics> channels;
  PolledSubscription inbox = channels.subscribe("room", Inbox{8, Overflow::drop_oldest});
  for (std::size_t i = 0; i < 8; ++i) channels.trigger("room", "e", text(0, i));
  Gate taken;
  Gate go_on;
  std::size_t polled = 0;
  Thread poller([&] {
    // It has taken the oldest message's position, and is stopped before it has emptied the cell.
    PerturbedAtomics::before_next(Operation::plain_read, [&] {
      taken.open();
      go_on.wait();
    });
    polled += inbox.poll([](const Event&) {}, 1);
  });
  taken.wait();
  channels.trigger("room", "e", text(0, 8));
  EXPECT_LE(inbox.dropped(), 1U);
  go_on.open();
  poller.join();
  polled += inbox.poll([](const Event&) {});
  EXPECT_EQ(polled + inbox.dropped(), 9U);
  EXPECT_GE(polled, 8U);
}

TEST(inbox_threads, the_size_is_never_more_than_the_capacity) {
  ChannelRegistry<PerturbedAtomics> channels;
  PolledSubscription inbox = channels.subscribe("room", Inbox{4});
  Thread reader([&] {
    // Stopped between its two loads.
    PerturbedAtomics::before_next(Operation::load, [&] {
      PerturbedAtomics::before_next(Operation::load, [&] {
        for (std::size_t i = 0; i < 32; ++i) {
          channels.trigger("room", "e", "");
          if (i > 2) inbox.poll([](const Event&) {}, 1);
        }
      });
    });
    EXPECT_LE(inbox.size(), inbox.capacity());
  });
}

TEST(inbox_threads, reset_inside_a_poll_while_others_push) {
  MemoryLog log;
  {
    ChannelRegistry<WithMemory<CountingMemory>> channels{{}, CountingMemory{log}};
    std::atomic<bool> stop{false};
    std::vector<Thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (!stop) channels.trigger("room", "e", "data");
      });
    }
    for (std::size_t i = 0; i < repetitions(1000); ++i) {
      PolledSubscription inbox =
          channels.subscribe("room", Inbox{4, i % 2 == 0 ? Overflow::drop_newest : Overflow::drop_oldest});
      channels.trigger("room", "e", "data");
      std::size_t calls = 0;
      while (calls == 0) {  // a pusher that is held up may hide the one above
        inbox.poll([&](const Event& event) {
          ++calls;
          if (i % 3 == 0) inbox.reset();
          if (i % 3 == 1) inbox = channels.subscribe("room", Inbox{2});
          if (i % 3 == 2) inbox.detach();
          EXPECT_EQ(event.data(), "data");
        });
      }
      EXPECT_EQ(calls, 1U);
    }
    stop = true;
  }
  EXPECT_EQ(log.live_blocks(), 0U);
  EXPECT_EQ(log.mistakes(), "");
}

TEST(inbox_threads, messages_are_kept_beyond_everything_on_any_thread) {
  MemoryLog log;
  {
    std::vector<MessagePtr> kept;
    std::mutex mutex;
    {
      ChannelRegistry<WithMemory<CountingMemory>> channels{{}, CountingMemory{log}};
      PolledSubscription inbox = channels.subscribe("room", Inbox{1 << 12});
      Subscription subscription = channels.subscribe("room");
      subscription.bind("e", [&](const Event& event) {
        MessagePtr message = event.keep();
        const std::lock_guard lock(mutex);
        kept.push_back(std::move(message));
      });
      Subscription lonely = channels.subscribe("callbacks");  // no queue: the message is made when it is kept
      lonely.bind("e", [&](const Event& event) {
        const MessagePtr first = event.keep();
        EXPECT_EQ(event.keep().get(), first.get());
        const std::lock_guard lock(mutex);
        kept.push_back(first);
      });
      run_together(3, [&](std::size_t publisher) {
        for (std::size_t i = 0; i < repetitions(800); ++i) {
          channels.trigger(i % 2 == 0 ? "room" : "callbacks", "e", text(publisher, i));
        }
      });
      inbox.poll([&](const Event& event) { kept.push_back(event.keep()); });
    }
    run_together(3, [&](std::size_t) {
      const std::vector<MessagePtr> mine = kept;  // copies, read and dropped on several threads
      for (const MessagePtr& message : mine) EXPECT_EQ(message->name(), "e");
    });
  }
  EXPECT_EQ(log.live_blocks(), 0U);
  EXPECT_EQ(log.mistakes(), "");
}

}  // namespace
}  // namespace fanfare::test
