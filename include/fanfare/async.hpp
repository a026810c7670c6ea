/// \file
/// Events that an Asio program waits for, with any completion token. Optional; nothing else includes it.
#pragma once

#include <fanfare/core/errc.hpp>
#include <fanfare/core/inbox.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/detail/config.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace detail {

/// The queue of an `AsyncInbox`, shared by its owner, the channel and the operation that waits.
class AsyncQueue {
 public:
  /// A timer that never expires is what is waited for: its cancellation wakes without memory, and reaches whatever the
  /// completion token is.
  explicit AsyncQueue(const asio::any_io_executor& executor)
      : timer_(std::in_place, executor, std::chrono::steady_clock::time_point::max()) {}

  [[nodiscard]] bool reserve(const Inbox& inbox) noexcept { return ring_.reserve(inbox); }
  [[nodiscard]] bool reserved() const noexcept { return ring_.bytes() != 0; }
  [[nodiscard]] const MessageRing<StdAtomics, NewDelete>& ring() const noexcept { return ring_; }

  bool push(MessagePtr message) noexcept {
    if (!ring_.push(std::move(message))) return false;
    // acq_rel; pairs with that in `wait`. Both change one object: who comes second sees what the first has done.
    if (waiting_.exchange(false, std::memory_order_acq_rel)) wake();
    return true;
  }
  [[nodiscard]] MessagePtr pop() noexcept {
    return reserved() ? ring_.pop(std::numeric_limits<std::uint64_t>::max()) : MessagePtr{};
  }

  /// Whoever waits gets nothing more. The channel may hold the queue for longer than its execution context is there, so
  /// nothing of that is left.
  void end() noexcept {
    const std::lock_guard lock(mutex_);
    ended_.store(true, std::memory_order_release);  // release; pairs with the acquire in `ended`
    timer_.reset();
  }
  [[nodiscard]] bool ended() const noexcept {
    return ended_.load(std::memory_order_acquire);  // acquire; pairs with the release in `end`
  }

  /// \returns whether nobody waits yet.
  [[nodiscard]] bool enter() noexcept {
    return !busy_.exchange(true, std::memory_order_acquire);  // acquire; pairs with the release in `leave`
  }
  void leave() noexcept {
    busy_.store(false, std::memory_order_release);  // release; pairs with the acquire in `enter`
  }

  /// Has an operation called again when there may be something; at once, if there is.
  /// \param message   a part of the operation: receives the message that is there.
  template <class Self>
  void wait(Self& self, MessagePtr& message, asio::any_io_executor executor) {
    {
      const std::lock_guard lock(mutex_);  // so that who wakes finds the timer waited for
      // acq_rel; pairs with that in `push`: a message that came before is found now, one that comes later wakes.
      waiting_.exchange(true, std::memory_order_acq_rel);
      message = pop();
      if (!message && timer_) return timer_->async_wait(std::move(self));
    }
    asio::post(executor, std::move(self));
  }

 private:
  void wake() noexcept {
    const std::lock_guard lock(mutex_);
    if (timer_) timer_->cancel();
  }

  MessageRing<StdAtomics, NewDelete> ring_{NewDelete{}};
  std::atomic<bool> waiting_{false};
  std::atomic<bool> busy_{false};
  std::atomic<bool> ended_{false};
  std::mutex mutex_;                         // the timer's; held for a moment
  std::optional<asio::steady_timer> timer_;  // until the end
};

/// What a channel holds of the queue.
struct AsyncSink {
  std::shared_ptr<AsyncQueue> queue;
  bool push(MessagePtr message) noexcept { return queue->push(std::move(message)); }
};

/// The place of the one operation that waits; free again when the operation is done or destroyed.
class AsyncTurn {
 public:
  AsyncTurn() = default;
  AsyncTurn(AsyncTurn&& other) noexcept : queue_(std::exchange(other.queue_, nullptr)) {}
  AsyncTurn& operator=(AsyncTurn&&) = delete;
  ~AsyncTurn() { leave(); }

  [[nodiscard]] bool enter(AsyncQueue& queue) noexcept {
    if (queue.enter()) queue_ = &queue;
    return queue_ != nullptr;
  }
  void leave() noexcept {
    if (queue_ != nullptr) std::exchange(queue_, nullptr)->leave();
  }

 private:
  AsyncQueue* queue_ = nullptr;
};

/// The operation, from one waking to the next.
class AsyncNext {
 public:
  /// \param over   whether nothing will come any more but what is there.
  AsyncNext(std::shared_ptr<AsyncQueue> queue, asio::any_io_executor executor, bool over) noexcept
      : queue_(std::move(queue)), executor_(std::move(executor)), over_(over) {}
  AsyncNext(AsyncNext&&) = default;
  AsyncNext& operator=(AsyncNext&&) = delete;
  /// One that has not begun, as it is kept to be begun later.
  AsyncNext(const AsyncNext& other) noexcept : queue_(other.queue_), executor_(other.executor_), over_(other.over_) {}
  ~AsyncNext() = default;

  template <class Self>
  void operator()(Self& self, std::error_code /*of the timer*/ = {}) {
    if (state_ == State::made) {
      self.reset_cancellation_state(asio::enable_total_cancellation());
      state_ = turn_.enter(*queue_) ? State::begun : State::refused;
      // Never completed from inside the function that begins it.
      if (state_ == State::begun && !over_) return queue_->wait(self, message_, executor_);
      const asio::any_io_executor executor = executor_;  // which is in `self`
      return asio::post(executor, std::move(self));
    }
    if (state_ == State::refused) return self.complete(asio::error::already_started, MessagePtr{});
    if (!message_) {
      if (self.get_cancellation_state().cancelled() != asio::cancellation_type::none || queue_->ended())
        return finish(self);
      message_ = queue_->pop();
      if (!message_ && !over_) return queue_->wait(self, message_, executor_);
    }
    finish(self);
  }

 private:
  enum class State : std::uint8_t { made, begun, refused };

  template <class Self>
  void finish(Self& self) {
    turn_.leave();  // the handler may wait again
    const std::error_code error = message_ ? std::error_code{} : std::error_code{asio::error::operation_aborted};
    self.complete(error, std::move(message_));
  }

  std::shared_ptr<AsyncQueue> queue_;
  asio::any_io_executor executor_;
  AsyncTurn turn_;  // before the queue's end, as it is destroyed first
  MessagePtr message_;
  bool over_;
  State state_ = State::made;
};

}  // namespace detail

/// A bounded queue of a channel's events, for a program that waits for them on an Asio executor.
///
/// ```
/// fanfare::AsyncInbox lobby{io.get_executor(), channels, "LOBBY_42"};
/// for (;;) {
///   const fanfare::MessagePtr event = co_await lobby.async_next(asio::use_awaitable);
///   show(event->name(), event->data());
/// }
/// ```
///
/// It gets live events alone, not what the channel keeps. Pushing takes no memory but the message's own.
///
/// \ownership  unsubscribes at its end. Events outlive it. The execution context outlives it.
/// Thread safety: events come from any thread. `async_next`, `try_next` and the queries like an `int`; handlers run on
/// their own executor. Cancellation slots are emitted as Asio wants it: not while the operation's handlers may run.
class AsyncInbox {
 public:
  using executor_type = asio::any_io_executor;

  /// Subscribes.
  /// \param target   a `ChannelRegistry`, or an `App`.
  /// \param inbox    how many events may wait, and what becomes of one more.
  /// \throws         `std::bad_alloc`. Other errors are inside: see `error`.
  template <class Target>
  AsyncInbox(executor_type executor, Target& target, std::string_view channel, Inbox inbox = {})
      : executor_(std::move(executor)), queue_(std::make_shared<detail::AsyncQueue>(executor_)) {
    if (!queue_->reserve(inbox)) {
      error_ = errc::out_of_memory;
      return;
    }
    if constexpr (requires { target.channels(); }) {
      subscription_ = target.channels().attach(channel, detail::AsyncSink{queue_});
    } else {
      subscription_ = target.attach(channel, detail::AsyncSink{queue_});
    }
  }
  AsyncInbox(AsyncInbox&&) = default;
  AsyncInbox& operator=(AsyncInbox&& other) noexcept {
    if (this != &other) {
      reset();
      executor_ = std::move(other.executor_);
      queue_ = std::move(other.queue_);
      subscription_ = std::move(other.subscription_);
      error_ = other.error_;
    }
    return *this;
  }
  ~AsyncInbox() { reset(); }

  /// Waits for the next event: at once, if there is one.
  ///
  /// \param token   any completion token for `void(std::error_code, MessagePtr)`. The handler is called on its associated
  ///                executor, by default this inbox's, and never from inside this function; with its associated
  ///                allocator.
  /// \returns       what the token makes of it. The errors, all with a null pointer:
  ///                `asio::error::operation_aborted`: cancelled through the handler's cancellation slot (terminal, partial
  ///                or total), and no event is lost by it: the next call gets it; or the inbox has ended, or there is no
  ///                subscription and nothing left in the queue; see `error`.
  ///                `asio::error::already_started`: another call is still waiting, and goes on doing so.
  /// \pre           it has not been moved from.
  /// \throws        what the token throws, and `std::bad_alloc`.
  template <class Token = asio::default_completion_token_t<executor_type>>
  auto async_next(Token&& token = {}) {
    return asio::async_compose<Token, void(std::error_code, MessagePtr)>(
        detail::AsyncNext{queue_, executor_, error() != errc::ok}, token, executor_);
  }

  /// The next event, if there is one; else null. Not while `async_next` waits. \progress never waits.
  [[nodiscard]] MessagePtr try_next() noexcept { return queue_ == nullptr ? MessagePtr{} : queue_->pop(); }

  /// Unsubscribes; what is in the queue is dropped, and who waits is told `operation_aborted`. Waits as
  /// `Subscription::reset` does.
  void reset() noexcept {
    subscription_.reset();
    error_ = errc::closed;
    if (queue_ == nullptr) return;
    queue_->end();
    while (queue_->pop()) {
    }
  }

  /// As `Subscription::error`: `ok` while events come. Nobody who waits is told of the registry's end: it is the owner who
  /// resets this before, or after. What is in the queue can be taken after it.
  [[nodiscard]] errc error() const noexcept { return error_ != errc::ok ? error_ : subscription_.error(); }
  [[nodiscard]] explicit operator bool() const noexcept { return error() == errc::ok; }
  [[nodiscard]] std::string_view channel() const noexcept { return subscription_.channel(); }
  [[nodiscard]] SubscriptionId id() const noexcept { return subscription_.id(); }
  /// How many events wait; a moment's view.
  [[nodiscard]] std::size_t size() const noexcept { return queue_ == nullptr ? 0 : queue_->ring().size(); }
  /// How many events the queue had no room for.
  [[nodiscard]] std::uint64_t dropped() const noexcept { return queue_ == nullptr ? 0 : queue_->ring().dropped(); }
  /// How many it can hold.
  [[nodiscard]] std::size_t capacity() const noexcept {
    return queue_ == nullptr || !queue_->reserved() ? 0 : queue_->ring().capacity();
  }
  [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

 private:
  executor_type executor_;
  std::shared_ptr<detail::AsyncQueue> queue_;
  Subscription subscription_;
  errc error_ = errc::ok;
};

FANFARE_NAMESPACE_END
