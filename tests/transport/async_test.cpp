#include <fanfare/async.hpp>

#include <fanfare/app.hpp>
#include <fanfare/fanfare.hpp>

#include <gtest/gtest.h>

#include <asio/bind_allocator.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/experimental/deferred.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/use_future.hpp>

#if defined(ASIO_HAS_CO_AWAIT)
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#endif

#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using fanfare::AsyncInbox;
using fanfare::ChannelRegistry;
using fanfare::errc;
using fanfare::Inbox;
using fanfare::MessagePtr;
using fanfare::Overflow;

/// What one call came to.
struct AsyncOutcome {
  std::optional<std::error_code> error;
  std::string data;

  auto handler() {
    return [this](std::error_code e, MessagePtr message) {
      EXPECT_FALSE(error.has_value()) << "called twice";
      error = e;
      EXPECT_EQ(message.get() == nullptr, static_cast<bool>(e));
      if (message) data = message->data();
    };
  }
  [[nodiscard]] bool is(std::string_view text) const { return error == std::error_code{} && data == text; }
};

class AsyncInboxTest : public testing::Test {
 protected:
  std::size_t run() {
    io.restart();
    return io.poll();
  }
  bool trigger(std::string_view data) { return channels.trigger("LOBBY_42", "said", data).delivered == 1; }

  asio::io_context io;
  ChannelRegistry<> channels;
  AsyncInbox inbox{io.get_executor(), channels, "LOBBY_42", Inbox{4}};
};

TEST_F(AsyncInboxTest, GivesWhatWaitsAndWhatComesInOrder) {
  EXPECT_TRUE(inbox);
  EXPECT_EQ(inbox.channel(), "LOBBY_42");
  EXPECT_TRUE(trigger("1") && trigger("2"));
  EXPECT_EQ(inbox.size(), 2U);
  AsyncOutcome first, second, third;
  inbox.async_next(first.handler());
  EXPECT_FALSE(first.error) << "not from inside the call";
  run();
  EXPECT_TRUE(first.is("1"));
  inbox.async_next(second.handler());
  run();
  EXPECT_TRUE(second.is("2"));
  inbox.async_next(third.handler());
  run();
  EXPECT_FALSE(third.error);
  EXPECT_TRUE(trigger("3"));
  EXPECT_FALSE(third.error) << "not from inside the trigger";
  run();
  EXPECT_TRUE(third.is("3"));
}

TEST_F(AsyncInboxTest, AnEventOwnsItsBytes) {
  MessagePtr kept;
  inbox.async_next([&](std::error_code, MessagePtr message) { kept = std::move(message); });
  {
    std::string data(100, 'x');
    channels.trigger("LOBBY_42", "said", data, {.user_id = "ann"});
  }
  run();
  inbox.reset();
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->channel(), "LOBBY_42");
  EXPECT_EQ(kept->name(), "said");
  EXPECT_EQ(kept->data(), std::string(100, 'x'));
  EXPECT_EQ(kept->user_id(), "ann");
}

TEST_F(AsyncInboxTest, ASecondCallIsRefusedAndTheFirstGoesOn) {
  AsyncOutcome first, second, third;
  inbox.async_next(first.handler());
  inbox.async_next(second.handler());
  run();
  EXPECT_EQ(second.error, asio::error::already_started);
  EXPECT_FALSE(first.error);
  EXPECT_TRUE(trigger("1"));
  run();
  EXPECT_TRUE(first.is("1"));
  inbox.async_next(third.handler());
  EXPECT_TRUE(trigger("2"));
  run();
  EXPECT_TRUE(third.is("2"));
}

TEST_F(AsyncInboxTest, AHandlerMayWaitAgain) {
  std::vector<std::string> got;
  struct Again {
    AsyncInbox& inbox;
    std::vector<std::string>& got;
    void operator()(std::error_code error, const MessagePtr& message) const {
      if (error) return;
      got.emplace_back(message->data());
      inbox.async_next(Again{*this});
    }
  };
  inbox.async_next(Again{inbox, got});
  for (int i = 0; i < 10; ++i) {
    trigger(std::to_string(2 * i));
    trigger(std::to_string(2 * i + 1));
    run();
  }
  ASSERT_EQ(got.size(), 20U);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], std::to_string(i));
}

TEST_F(AsyncInboxTest, HoldsNoMoreThanItMay) {
  for (const char* const data : {"1", "2", "3", "4"}) EXPECT_TRUE(trigger(data));
  EXPECT_FALSE(trigger("5"));
  EXPECT_EQ(inbox.dropped(), 1U);
  EXPECT_EQ(inbox.capacity(), 4U);
  EXPECT_EQ(inbox.try_next()->data(), "1");

  AsyncInbox newest{io.get_executor(), channels, "CHAT_42", Inbox{2, Overflow::drop_oldest}};
  for (const char* const data : {"1", "2", "3"}) channels.trigger("CHAT_42", "said", data);
  EXPECT_EQ(newest.try_next()->data(), "2");
  EXPECT_EQ(newest.try_next()->data(), "3");
  EXPECT_FALSE(newest.try_next());
  EXPECT_EQ(newest.dropped(), 1U);
}

TEST_F(AsyncInboxTest, CancelledItLosesNothing) {
  for (const auto type :
       {asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total}) {
    asio::cancellation_signal signal;
    AsyncOutcome cancelled, next;
    inbox.async_next(asio::bind_cancellation_slot(signal.slot(), cancelled.handler()));
    run();
    signal.emit(type);
    EXPECT_TRUE(trigger("1"));  // between the cancellation and its handler
    run();
    EXPECT_EQ(cancelled.error, asio::error::operation_aborted);
    inbox.async_next(next.handler());
    run();
    EXPECT_TRUE(next.is("1"));
  }
  // Woken first, cancelled then.
  asio::cancellation_signal signal;
  AsyncOutcome woken;
  inbox.async_next(asio::bind_cancellation_slot(signal.slot(), woken.handler()));
  run();
  EXPECT_TRUE(trigger("2"));
  signal.emit(asio::cancellation_type::total);
  run();
  ASSERT_TRUE(woken.error);
  const MessagePtr left = inbox.try_next();
  EXPECT_EQ(woken.is("2"), !left) << "given or left, and never both or neither";
  EXPECT_TRUE(woken.is("2") || left->data() == "2");
}

TEST_F(AsyncInboxTest, ItsEndEndsTheWaiting) {
  AsyncOutcome waiting, later;
  inbox.async_next(waiting.handler());
  run();
  inbox.reset();
  EXPECT_FALSE(waiting.error);
  run();
  EXPECT_EQ(waiting.error, asio::error::operation_aborted);
  EXPECT_EQ(inbox.error(), errc::closed);
  inbox.async_next(later.handler());
  run();
  EXPECT_EQ(later.error, asio::error::operation_aborted);
  EXPECT_EQ(channels.subscribers("LOBBY_42"), 0U);

  AsyncOutcome orphan;
  {
    AsyncInbox other{io.get_executor(), channels, "LOBBY_42"};
    other.async_next(orphan.handler());
  }
  run();
  EXPECT_EQ(orphan.error, asio::error::operation_aborted);
}

TEST_F(AsyncInboxTest, BehindTheRegistrysEndWhatIsLeftCanBeHad) {
  auto other = std::make_unique<ChannelRegistry<>>();
  AsyncInbox last{io.get_executor(), *other, "LOBBY_42"};
  other->trigger("LOBBY_42", "said", "1");
  other.reset();
  EXPECT_EQ(last.error(), errc::closed);
  AsyncOutcome one, none;
  last.async_next(one.handler());
  run();
  EXPECT_TRUE(one.is("1"));
  last.async_next(none.handler());
  run();
  EXPECT_EQ(none.error, asio::error::operation_aborted);
}

TEST_F(AsyncInboxTest, WithoutASubscriptionItSaysSo) {
  AsyncInbox bad{io.get_executor(), channels, ""};
  EXPECT_EQ(bad.error(), errc::empty_name);
  AsyncOutcome outcome;
  bad.async_next(outcome.handler());
  run();
  EXPECT_EQ(outcome.error, asio::error::operation_aborted);
  EXPECT_EQ((AsyncInbox{io.get_executor(), channels, "x", Inbox{~std::size_t{0}}}.error()), errc::out_of_memory);
}

TEST_F(AsyncInboxTest, CanBeMovedWhileSomebodyWaits) {
  AsyncOutcome outcome;
  inbox.async_next(outcome.handler());
  AsyncInbox moved = std::move(inbox);
  EXPECT_FALSE(inbox);  // NOLINT(bugprone-use-after-move): what is promised of it
  EXPECT_TRUE(trigger("1"));
  run();
  EXPECT_TRUE(outcome.is("1"));
  inbox = std::move(moved);
  EXPECT_TRUE(inbox && trigger("2"));
  EXPECT_EQ(inbox.try_next()->data(), "2");
}

TEST_F(AsyncInboxTest, AContextThatEndsTakesWhoWaitsWithIt) {
  auto destroyed = std::make_shared<int>();
  auto other = std::make_unique<asio::io_context>();
  auto last = std::make_unique<AsyncInbox>(other->get_executor(), channels, "LOBBY_42");
  last->async_next([destroyed](std::error_code, const MessagePtr&) { FAIL(); });
  last.reset();
  EXPECT_EQ(destroyed.use_count(), 2);
  other.reset();
  EXPECT_EQ(destroyed.use_count(), 1);
}

TEST_F(AsyncInboxTest, EndedInACallbackItNeedsNoContextAnyMore) {
  auto other = std::make_unique<asio::io_context>();
  std::optional<AsyncInbox> last(std::in_place, asio::make_strand(*other), channels, "LOBBY_42");
  auto lobby = channels.subscribe("LOBBY_42");
  lobby.bind("said", [&](const fanfare::Event&) {
    last.reset();  // the channel lets go of the queue later
    other.reset();
  });
  channels.trigger("LOBBY_42", "said", "1");
  lobby.reset();
  EXPECT_EQ(channels.trigger("LOBBY_42", "said", "1").delivered, 1U) << "the fixture's";
}

TEST_F(AsyncInboxTest, CallsOnTheHandlersExecutor) {
  asio::io_context other;
  const auto strand = asio::make_strand(other);
  AsyncOutcome outcome;
  inbox.async_next(asio::bind_executor(strand, outcome.handler()));
  EXPECT_TRUE(trigger("1"));
  for (int i = 0; i < 3; ++i) run();
  EXPECT_FALSE(outcome.error);
  for (int i = 0; i < 3 && !outcome.error; ++i) {
    other.restart();
    other.poll();
    run();
  }
  EXPECT_TRUE(outcome.is("1"));
}

/// Counts what is taken through it.
template <class T>
struct AsyncAllocator {
  using value_type = T;
  explicit AsyncAllocator(std::size_t& taken_) : taken(&taken_) {}
  template <class U>
  AsyncAllocator(const AsyncAllocator<U>& other) : taken(other.taken) {}  // NOLINT(google-explicit-constructor)
  T* allocate(std::size_t count) {
    ++*taken;
    return std::allocator<T>{}.allocate(count);
  }
  void deallocate(T* address, std::size_t count) { std::allocator<T>{}.deallocate(address, count); }
  template <class U>
  bool operator==(const AsyncAllocator<U>& other) const {
    return taken == other.taken;
  }
  std::size_t* taken;
};

TEST_F(AsyncInboxTest, TakesTheHandlersMemory) {
  std::size_t taken = 0;
  AsyncOutcome outcome;
  inbox.async_next(asio::bind_allocator(AsyncAllocator<int>{taken}, outcome.handler()));
  EXPECT_GT(taken, 0U);
  EXPECT_TRUE(trigger("1"));
  run();
  EXPECT_TRUE(outcome.is("1"));
}

TEST_F(AsyncInboxTest, AFutureHasTheEvent) {
  std::future<MessagePtr> event = inbox.async_next(asio::use_future);
  EXPECT_TRUE(trigger("1"));
  run();
  ASSERT_EQ(event.wait_for(0s), std::future_status::ready);
  EXPECT_EQ(event.get()->data(), "1");
  std::future<MessagePtr> none = inbox.async_next(asio::use_future);
  inbox.reset();
  run();
  EXPECT_THROW(none.get(), std::system_error);
}

TEST_F(AsyncInboxTest, ATupleHasErrorAndEvent) {
  std::string got;
  inbox.async_next(asio::experimental::as_tuple([&](std::tuple<std::error_code, MessagePtr> outcome) {
    EXPECT_FALSE(std::get<0>(outcome));
    got = std::get<1>(outcome)->data();
  }));
  EXPECT_TRUE(trigger("1"));
  run();
  EXPECT_EQ(got, "1");
}

TEST_F(AsyncInboxTest, WhatIsDeferredBeginsLater) {
  auto operation = inbox.async_next(asio::experimental::deferred);
  AsyncOutcome direct, deferred;
  inbox.async_next(direct.handler());
  EXPECT_TRUE(trigger("1"));
  run();
  EXPECT_TRUE(direct.is("1")) << "what has not begun takes no place";
  std::move(operation)(deferred.handler());
  EXPECT_TRUE(trigger("2"));
  run();
  EXPECT_TRUE(deferred.is("2"));
}

#if defined(ASIO_HAS_CO_AWAIT)

TEST_F(AsyncInboxTest, ACoroutineAwaitsOneEventAfterTheOther) {
  std::vector<std::string> got;
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        while (got.size() < 3) got.emplace_back((co_await inbox.async_next(asio::use_awaitable))->data());
        auto [error, event] = co_await inbox.async_next(asio::experimental::as_tuple(asio::use_awaitable));
        EXPECT_EQ(error, asio::error::operation_aborted);
        EXPECT_FALSE(event);
        got.emplace_back("end");
      },
      asio::detached);
  run();
  for (const char* const data : {"1", "2", "3"}) {
    EXPECT_TRUE(trigger(data));
    run();
  }
  inbox.reset();
  run();
  EXPECT_EQ(got, (std::vector<std::string>{"1", "2", "3", "end"}));
}

TEST_F(AsyncInboxTest, ACoroutineWaitsNoLongerThanItWants) {
  using namespace asio::experimental::awaitable_operators;
  bool late = false;
  std::string got;
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        asio::steady_timer timer(io, 1ms);
        const auto first = co_await (inbox.async_next(asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
        late = first.index() == 1;
        got = (co_await inbox.async_next(asio::use_awaitable))->data();
      },
      asio::detached);
  io.run_for(20ms);
  EXPECT_TRUE(late);
  EXPECT_TRUE(trigger("1"));
  run();
  EXPECT_EQ(got, "1");
}

#endif

TEST(AsyncInboxOfAnApp, GetsWhatClientsOfItDo) {
  asio::io_context io;
  fanfare::App app{{.id = "1", .key = "key", .secret = "secret"}};
  AsyncInbox inbox{io.get_executor(), app, "LOBBY_42"};
  AsyncOutcome outcome;
  inbox.async_next(outcome.handler());
  app.trigger("LOBBY_42", "said", "1");
  io.poll();
  EXPECT_TRUE(outcome.is("1"));
}

}  // namespace
