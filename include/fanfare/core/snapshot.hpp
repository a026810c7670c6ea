/// \file
/// A channel's state as the host computes it for one client that comes: how it is asked for, and how it is answered.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/channel_rules.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/kept_bytes.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/wire.hpp>
#include <fanfare/detail/config.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// An event that only the client gets who has come.
struct SnapshotEvent {
  std::string name{};  ///< As a trigger's.
  std::string data{};  ///< Likewise; JSON, for most clients.
};

/// What a host says of a channel's state.
struct Snapshot {
  std::vector<SnapshotEvent> events{};  ///< In the order in which they are sent; none is fine.
  /// The last event of the channel that the state contains, as its trigger returned it (`TriggerResult::id`). The
  /// client is sent every later one behind the snapshot. By default `Subscriber::position`; so it is with an id of
  /// another life of the channel, and with one that no event has had yet.
  EventId as_of{};
};

/// Bounds of snapshots, for one application.
struct SnapshotOptions {
  /// Clients at one time that wait for a snapshot, or for the rest of one. Who comes then is closed, and comes again.
  std::size_t pending = 10'000;
  /// One snapshot, as `kept_bytes` counts its events. An event of it may have as much, so a server wants it to be at
  /// least 64 KiB less than `ServerOptions::max_outbox_bytes`.
  std::size_t bytes = std::size_t{512} << 10U;
  /// All that have been answered and are not sent yet; at least `bytes`, to be of use.
  std::size_t pending_bytes = std::size_t{64} << 20U;
  /// A client whose snapshot has not come by then gets in without one; see `App::on_subscribe`. Looked at once a
  /// second.
  std::chrono::milliseconds timeout{5000};
};

/// A client that has come to a channel. The views end with the call.
struct Subscriber {
  std::string_view channel;
  std::string_view socket_id;
  std::string_view user_id;  ///< Of the member on presence channels, elsewhere of the user who has signed in; or empty.
  /// Its place in the channel's order: all events up to here came before it. Number 0: there was none yet.
  EventId position;
};

class SnapshotReply;

namespace detail {

/// What the snapshots of an application have in common. Outlives it while somebody may still answer.
struct SnapshotBudget {
  SnapshotBudget(const SnapshotOptions& options_, std::size_t event_name_) noexcept
      : options(options_), event_name(event_name_) {}

  /// Adds to one of the numbers below, unless it would be more than `most` then.
  [[nodiscard]] static bool add(std::atomic<std::size_t>& number, std::size_t more, std::size_t most) noexcept {
    std::size_t now = number.load(std::memory_order_relaxed);
    do {
      if (now > most || more > most - now) return false;
    } while (!number.compare_exchange_weak(now, now + more, std::memory_order_relaxed, std::memory_order_relaxed));
    return true;
  }

  const SnapshotOptions options;
  const std::size_t event_name;
  // Numbers and nothing else: relaxed.
  std::atomic<std::size_t> pending{0};
  std::atomic<std::size_t> bytes{0};
};

struct SnapshotRequest;

/// Where a loop's snapshots arrive, from any thread, also after the loop's end: they are dropped then. Its mutex is a
/// leaf.
class SnapshotDesk {
 public:
  using Wake = void (*)(void* loop) noexcept;

  SnapshotDesk(void* loop, Wake wake) noexcept : loop_(loop), wake_(wake) {}
  SnapshotDesk(const SnapshotDesk&) = delete;
  SnapshotDesk& operator=(const SnapshotDesk&) = delete;

  /// Takes what has been answered since the loop began to wait for it: a chain through `SnapshotRequest::next`.
  [[nodiscard]] std::shared_ptr<SnapshotRequest> take() noexcept {
    const std::lock_guard lock(mutex_);
    return std::move(arrived_);
  }

  /// The loop ends: nobody is woken any more.
  void close() noexcept;

 private:
  friend class fanfare::SnapshotReply;
  friend class SnapshotTicket;

  /// \pre under the lock.
  void settle(std::shared_ptr<SnapshotRequest> request) noexcept;

  std::mutex mutex_;
  void* loop_;  // under the mutex, as the next; null: it has ended
  const Wake wake_;
  std::shared_ptr<SnapshotRequest> arrived_;
};

/// One question to a host. What can change is guarded by the desk's mutex.
struct SnapshotRequest {
  enum class State : std::uint8_t {
    open,
    answered,  ///< Or the host has let it be.
    closed,    ///< Nobody waits any more.
  };
  SnapshotRequest(std::shared_ptr<SnapshotDesk> desk_, std::shared_ptr<SnapshotBudget> budget_,
                  std::string_view channel_, std::uint64_t number_)
      : desk(std::move(desk_)), budget(std::move(budget_)), channel(channel_), number(number_) {}

  const std::shared_ptr<SnapshotDesk> desk;
  const std::shared_ptr<SnapshotBudget> budget;
  const std::string channel;
  const std::uint64_t number;  ///< Names who waits, among those of the loop.
  State state = State::open;
  bool awaited = false;  ///< The loop has come to it, and does not look again before it is told.
  std::vector<MessagePtr> events{};
  EventId as_of{};
  std::size_t bytes = 0;  ///< That `budget` has counted.
  std::shared_ptr<SnapshotRequest> next{};
};

inline void SnapshotDesk::close() noexcept {
  std::shared_ptr<SnapshotRequest> arrived;
  {
    const std::lock_guard lock(mutex_);
    loop_ = nullptr;
    arrived = std::move(arrived_);
  }
  while (arrived != nullptr) arrived = std::move(arrived->next);  // one by one: the chain may be long
}

inline void SnapshotDesk::settle(std::shared_ptr<SnapshotRequest> request) noexcept {
  request->state = SnapshotRequest::State::answered;
  if (!request->awaited || loop_ == nullptr) return;
  request->next = std::move(arrived_);
  arrived_ = std::move(request);
  wake_(loop_);
}

/// The loop's end of a question. Who lets go of it does not want the answer any more.
class SnapshotTicket {
 public:
  SnapshotTicket() = default;
  SnapshotTicket(SnapshotTicket&& other) noexcept : request_(std::move(other.request_)) {}
  SnapshotTicket& operator=(SnapshotTicket&& other) noexcept {
    if (this == &other) return *this;
    reset();
    request_ = std::move(other.request_);
    return *this;
  }
  ~SnapshotTicket() { reset(); }

  /// \returns a null one where there are `SnapshotOptions::pending` already. \throws `std::bad_alloc`.
  [[nodiscard]] static SnapshotTicket make(const std::shared_ptr<SnapshotDesk>& desk,
                                           const std::shared_ptr<SnapshotBudget>& budget, std::string_view channel,
                                           std::uint64_t number) {
    SnapshotTicket ticket;
    auto request = std::make_shared<SnapshotRequest>(desk, budget, channel, number);
    if (SnapshotBudget::add(budget->pending, 1, budget->options.pending)) ticket.request_ = std::move(request);
    return ticket;
  }

  [[nodiscard]] explicit operator bool() const noexcept { return request_ != nullptr; }
  [[nodiscard]] const std::shared_ptr<SnapshotRequest>& request() const noexcept { return request_; }

  /// Whether there is no answer yet; then the desk has it when it comes.
  [[nodiscard]] bool wait() noexcept {
    const std::lock_guard lock(request_->desk->mutex_);
    return request_->awaited = request_->state == SnapshotRequest::State::open;
  }

  /// Takes the answer; empty where there is none. It counts as on its way until `reset`.
  [[nodiscard]] std::vector<MessagePtr> take(EventId& as_of) noexcept {
    const std::lock_guard lock(request_->desk->mutex_);
    request_->state = SnapshotRequest::State::closed;
    as_of = request_->as_of;
    return std::move(request_->events);
  }

  void reset() noexcept {
    if (request_ == nullptr) return;
    std::vector<MessagePtr> events;
    {
      const std::lock_guard lock(request_->desk->mutex_);
      request_->state = SnapshotRequest::State::closed;
      events = std::move(request_->events);
    }
    request_->budget->bytes.fetch_sub(request_->bytes, std::memory_order_relaxed);
    request_->budget->pending.fetch_sub(1, std::memory_order_relaxed);
    request_.reset();
  }

 private:
  std::shared_ptr<SnapshotRequest> request_;
};

}  // namespace detail

/// Takes the snapshot for one client. Letting go of it without an answer lets the client in without a snapshot.
///
/// \ownership   holds nothing of the application or the server, and may outlive both.
/// Thread safety: like a `std::unique_ptr`; may be moved to, answered and destroyed on any thread.
class SnapshotReply {
 public:
  /// Belongs to nobody.
  SnapshotReply() = default;
  /// \private
  explicit SnapshotReply(std::shared_ptr<detail::SnapshotRequest> request) noexcept : request_(std::move(request)) {}
  SnapshotReply(SnapshotReply&& other) noexcept : request_(std::move(other.request_)) {}
  SnapshotReply& operator=(SnapshotReply&& other) noexcept {
    if (this == &other) return *this;
    decline();
    request_ = std::move(other.request_);
    return *this;
  }
  ~SnapshotReply() { decline(); }

  /// Gives the snapshot. It is encoded here, and copied.
  /// \returns     `errc::ok`; `errc::closed` if nobody waits any more: the client has gone or left, the time is over,
  ///              the server has ended, or it has been answered. With every other error nothing is changed, and another
  ///              answer may be given: `empty_name`, `event_too_long` and `reserved_name` for events' names;
  ///              `not_utf8`; `data_too_large` beyond `SnapshotOptions::bytes`; `overloaded` beyond
  ///              `SnapshotOptions::pending_bytes`; `out_of_memory`.
  /// \progress    locks a mutex that the loop holds for moments. \complexity O(bytes).
  errc answer(const Snapshot& snapshot) {
    using State = detail::SnapshotRequest::State;
    if (!wanted()) return errc::closed;
    std::vector<MessagePtr> events;
    std::size_t bytes = 0;
    if (const errc error = encode(snapshot, events, bytes); error != errc::ok) return error;
    const std::shared_ptr<detail::SnapshotBudget> budget = request_->budget;
    if (!detail::SnapshotBudget::add(budget->bytes, bytes, budget->options.pending_bytes)) return errc::overloaded;
    bool taken = false;
    {
      const std::lock_guard lock(request_->desk->mutex_);
      taken = request_->state == State::open && request_->desk->loop_ != nullptr;
      if (taken) {
        request_->events = std::move(events);
        request_->as_of = snapshot.as_of;
        request_->bytes = bytes;
        request_->desk->settle(request_);
      }
    }
    request_.reset();
    if (taken) return errc::ok;
    budget->bytes.fetch_sub(bytes, std::memory_order_relaxed);
    return errc::closed;
  }

  /// Whether somebody still waits for it; a moment's view. Saves the computing.
  [[nodiscard]] bool wanted() const noexcept {
    if (request_ == nullptr) return false;
    const std::lock_guard lock(request_->desk->mutex_);
    return request_->state == detail::SnapshotRequest::State::open && request_->desk->loop_ != nullptr;
  }

 private:
  void decline() noexcept {
    if (request_ == nullptr) return;
    {
      const std::lock_guard lock(request_->desk->mutex_);
      if (request_->state == detail::SnapshotRequest::State::open) request_->desk->settle(request_);
    }
    request_.reset();
  }

  [[nodiscard]] errc encode(const Snapshot& snapshot, std::vector<MessagePtr>& events, std::size_t& bytes) const {
    const FrameEncoder encoder;
    const detail::SnapshotBudget& budget = *request_->budget;
#if FANFARE_EXCEPTIONS
    try {
#endif
      events.reserve(snapshot.events.size());
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {
      return errc::out_of_memory;
    }
#endif
    for (const SnapshotEvent& event : snapshot.events) {
      errc error = check_event_name(event.name, budget.event_name);
      if (error != errc::ok) return error;
      const std::size_t left = budget.options.bytes - bytes;
      if (event.data.size() > left) return errc::data_too_large;
      const MessageParts parts{.channel = request_->channel, .name = event.name, .data = event.data};
      const Message* const message =
          detail::MessageBlock<StdAtomics, NewDelete>::make(parts, true, &encoder, NewDelete{}, error);
      if (message == nullptr) return error;
      events.push_back(MessagePtr::adopt(message));
      const std::size_t size = kept_bytes(*message);
      if (size > left) return errc::data_too_large;
      bytes += size;
    }
    return errc::ok;
  }

  std::shared_ptr<detail::SnapshotRequest> request_;
};

/// Computes the state of a channel for one client; see `App::on_subscribe`.
using SubscribeHook = std::function<void(const Subscriber&, SnapshotReply)>;

/// The hooks of an application, found by a channel's name. They are added and never taken away.
///
/// Thread safety: all members from any thread, concurrently; `find` also under a lock.
class SubscribeHooks {
 public:
  /// \param name_limit   bytes that a channel's name may have.
  explicit SubscribeHooks(std::size_t name_limit = Limits{}.channel_name) noexcept : name_limit_(name_limit) {}
  SubscribeHooks(const SubscribeHooks&) = delete;
  SubscribeHooks& operator=(const SubscribeHooks&) = delete;

  /// Adds one behind the others. \returns why the pattern is refused. \throws `std::bad_alloc`; nothing is changed
  /// then.
  RuleError add(std::string pattern, SubscribeHook hook) {
    const std::lock_guard lock(mutex_);
    std::vector<ChannelRule> rules;
    Table table;
    if (table_ != nullptr) {
      rules.assign(table_->rules.rules().begin(), table_->rules.rules().end());
      table.hooks = table_->hooks;
    }
    rules.push_back({.match = std::move(pattern)});
    table.hooks.push_back(std::make_shared<const SubscribeHook>(std::move(hook)));
    table.rules = ChannelRules(std::move(rules), name_limit_);
    if (table.rules.problem()) return table.rules.problem().error;
    table_ = std::make_unique<const Table>(std::move(table));
    any_.store(true, std::memory_order_relaxed);  // what it tells of is read under the mutex
    return RuleError::ok;
  }

  /// The first whose pattern matches; null if there is none. \progress lock-free where there are no hooks at all.
  [[nodiscard]] std::shared_ptr<const SubscribeHook> find(std::string_view channel) const noexcept {
    if (!any_.load(std::memory_order_relaxed)) return {};
    const std::lock_guard lock(mutex_);
    const ChannelRule* const rule = table_->rules.find(channel);
    return rule == nullptr ? nullptr : table_->hooks[static_cast<std::size_t>(rule - table_->rules.rules().data())];
  }

 private:
  struct Table {
    ChannelRules rules;
    std::vector<std::shared_ptr<const SubscribeHook>> hooks;  // of the rules, in their order
  };

  const std::size_t name_limit_;
  mutable std::mutex mutex_;  // a leaf
  std::unique_ptr<const Table> table_;
  std::atomic<bool> any_{false};
};

FANFARE_NAMESPACE_END
