// Events that are waited for on an executor while many threads trigger: none is lost, whatever is cancelled.
#include <fanfare/async.hpp>

#include "support/threads.hpp"
#include <fanfare/fanfare.hpp>

#include <gtest/gtest.h>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>

#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using fanfare::AsyncInbox;
using fanfare::ChannelRegistry;
using fanfare::Inbox;
using fanfare::MessagePtr;
using fanfare::test::repetitions;
using fanfare::test::run_together;

constexpr std::size_t async_publishers = 3;

/// Waits again and again, and every so often cancels.
class AsyncReader {
 public:
  AsyncReader(AsyncInbox& inbox, std::size_t all, bool cancels) : inbox_(inbox), all_(all), cancels_(cancels) {}

  void wait() {
    inbox_.async_next(asio::bind_cancellation_slot(
        signal_.slot(), [this](std::error_code error, const MessagePtr& message) { take(error, message); }));
    if (cancels_ && ++calls_ % 3 == 0) {
      asio::post(inbox_.get_executor(), [this] { signal_.emit(asio::cancellation_type::total); });
    }
  }
  [[nodiscard]] std::size_t got() const { return got_; }

 private:
  void take(std::error_code error, const MessagePtr& message) {
    if (!error) {
      const std::string_view data = message->data();
      const auto publisher = static_cast<std::size_t>(data[0] - '0');
      std::size_t number = 0;
      std::from_chars(data.data() + 2, data.data() + data.size(), number);
      EXPECT_EQ(number, next_[publisher]++);
      ++got_;
    } else {
      EXPECT_EQ(error, asio::error::operation_aborted);
    }
    if (got_ < all_) wait();
  }

  AsyncInbox& inbox_;
  asio::cancellation_signal signal_;
  const std::size_t all_;
  const bool cancels_;
  std::size_t calls_ = 0;
  std::size_t got_ = 0;
  std::array<std::size_t, async_publishers> next_{};
};

void publish(ChannelRegistry<>& channels, std::size_t publisher, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::string data = std::to_string(publisher) + ':' + std::to_string(i);
    EXPECT_EQ(channels.trigger("LOBBY_42", "said", data).delivered, 1U);
  }
}

TEST(async_threads, no_event_is_lost_nor_any_waking) {
  for (const bool cancels : {false, true}) {
    const std::size_t each = repetitions(5000);
    ChannelRegistry<> channels;
    asio::io_context io;
    AsyncInbox inbox{io.get_executor(), channels, "LOBBY_42", Inbox{async_publishers * each}};
    AsyncReader reader(inbox, async_publishers * each, cancels);
    reader.wait();
    run_together(async_publishers + 1, [&](std::size_t thread) {
      if (thread < async_publishers) return publish(channels, thread, each);
      io.run();  // until there is nothing to wait for
    });
    EXPECT_EQ(reader.got(), async_publishers * each);
  }
}

TEST(async_threads, a_strand_is_enough_where_many_threads_run_the_context) {
  const std::size_t each = repetitions(3000);
  ChannelRegistry<> channels;
  asio::io_context io;
  AsyncInbox inbox{asio::make_strand(io), channels, "LOBBY_42", Inbox{async_publishers * each}};
  AsyncReader reader(inbox, async_publishers * each, true);
  asio::post(inbox.get_executor(), [&] { reader.wait(); });
  run_together(async_publishers + 2, [&](std::size_t thread) {
    if (thread < async_publishers) return publish(channels, thread, each);
    io.run();
  });
  EXPECT_EQ(reader.got(), async_publishers * each);
}

TEST(async_threads, it_ends_while_others_trigger) {
  for (std::size_t round = 0; round < repetitions(200); ++round) {
    ChannelRegistry<> channels;
    asio::io_context io;
    std::atomic<std::size_t> calls{0};
    std::optional<AsyncInbox> inbox(std::in_place, io.get_executor(), channels, "LOBBY_42");
    inbox->async_next([&](std::error_code, const MessagePtr&) { ++calls; });
    run_together(3, [&](std::size_t thread) {
      if (thread == 0) return inbox.reset();
      if (thread == 1) return static_cast<void>(io.run());
      for (int i = 0; i < 5; ++i) channels.trigger("LOBBY_42", "said", "1");
    });
    EXPECT_EQ(calls, 1U);
  }
}

}  // namespace
