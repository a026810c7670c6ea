/// \file
/// Events that wait until those are there whom they are for.
#pragma once

#include <fanfare/core/channel_handle.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/kept_bytes.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// What became of an event that was held.
enum class HoldOutcome : std::uint8_t {
  sent,     ///< Those whom it was for were there, and it was triggered.
  expired,  ///< They were not there in time; nobody got it.
  refused,  ///< They were, but the trigger was refused, as its result says; nobody got it.
  closed,   ///< The application ended; nobody got it.
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(HoldOutcome outcome) noexcept {
  switch (outcome) {
    case HoldOutcome::sent: return "sent";
    case HoldOutcome::expired: return "expired";
    case HoldOutcome::refused: return "refused";
    case HoldOutcome::closed: return "closed";
  }
  return "unknown";
}

/// Whom an event waits for, and how long.
struct Hold {
  std::size_t subscribers = 1;           ///< Until the channel has so many; 0 is as 1.
  std::string_view user{};               ///< If not empty: instead, until this user is in the presence channel.
  std::chrono::milliseconds time{5000};  ///< At most so long, to about a second; `longest` if that is less.
  /// Told what became of it, once, if it was held: without a lock, on the thread where that happened, perhaps before the
  /// call that holds the event returns. Must not throw.
  std::function<void(HoldOutcome, const TriggerResult&)> told{};

  static constexpr std::chrono::hours longest{1};
};

/// What became of the wish to hold an event.
struct HoldResult {
  TriggerResult result{};  ///< Of the trigger, if the event was not held; else only that there is no error.
  bool held = false;       ///< Whether it waits: `Hold::told` is told the rest.

  /// Whether it waits, or went to everybody it was for.
  [[nodiscard]] explicit operator bool() const noexcept { return result.error == errc::ok; }
};

/// What all held events of an application may come to.
struct HoldLimits {
  std::size_t events = 1024;      ///< At one time.
  std::size_t bytes = 1U << 20U;  ///< Of names and data, and `kept_message_overhead` for each.
};

namespace detail {

/// An event with all that its trigger needs.
struct HeldEvent {
  using Clock = std::chrono::steady_clock;

  HeldEvent(ChannelHandle channel_, std::string_view event_, std::string_view data_, const TriggerOptions& options,
            Hold&& hold)
      : channel(std::move(channel_)),
        event(event_),
        data(data_),
        except_socket(options.except_socket),
        user_id(options.user_id),
        socket_id(options.socket_id),
        except(options.except),
        retain(options.retain),
        subscribers(std::max<std::size_t>(hold.subscribers, 1)),
        user(hold.user),
        until(Clock::now() +
              std::clamp<std::chrono::milliseconds>(hold.time, std::chrono::milliseconds(0), Hold::longest)),
        told(std::move(hold.told)) {}

  [[nodiscard]] std::size_t bytes() const noexcept {
    return kept_message_overhead + channel.name().size() + event.size() + data.size() + except_socket.size() +
           user_id.size() + socket_id.size() + user.size();
  }
  [[nodiscard]] TriggerResult trigger() const {
    return channel.trigger(event, data,
                           {.except = except,
                            .except_socket = except_socket,
                            .user_id = user_id,
                            .socket_id = socket_id,
                            .retain = retain});
  }

  ChannelHandle channel;  // which exists for as long as something waits for it
  std::string event;
  std::string data;
  std::string except_socket;
  std::string user_id;
  std::string socket_id;
  SubscriptionId except;
  Retain retain;
  std::size_t subscribers;
  std::string user;
  Clock::time_point until;
  std::function<void(HoldOutcome, const TriggerResult&)> told;
};

/// The events that are held, by channel and in the order in which they came.
///
/// Thread safety: all members from any thread, concurrently. What is taken out is destroyed by who took it, without
/// the lock.
class HeldEvents {
 public:
  explicit HeldEvents(HoldLimits limits) noexcept : limits_(limits) {}

  /// Whether nothing is held. Right for who has locked the channel since somebody came to it: see `App::subscribed`.
  [[nodiscard]] bool empty() const noexcept {
    // relaxed: what has to be seen was written before the channel's lock was taken and released.
    return count_.load(std::memory_order_relaxed) == 0;
  }

  /// \returns  `overloaded` where there is no room, `closed` behind `close`; the event is as it was then.
  /// \throws   `std::bad_alloc`; likewise.
  [[nodiscard]] errc add(HeldEvent&& event) {
    const std::size_t bytes = event.bytes();
    const std::lock_guard lock(mutex_);
    if (closed_) return errc::closed;
    const std::size_t count = count_.load(std::memory_order_relaxed);
    if (count >= limits_.events || bytes > limits_.bytes || bytes_ > limits_.bytes - bytes) return errc::overloaded;
    events_[std::string(event.channel.name())].push_back(std::move(event));
    bytes_ += bytes;
    count_.store(count + 1, std::memory_order_relaxed);
    return errc::ok;
  }

  /// Takes what is held for a channel and may go now.
  /// \param ready   `bool(const HeldEvent&)`; called under the lock: it may lock a channel, and no more.
  /// \throws        `std::bad_alloc`; nothing is taken then.
  /// \complexity    O(log channels + held for this one).
  template <std::predicate<const HeldEvent&> Ready>
  [[nodiscard]] std::vector<HeldEvent> take(std::string_view channel, Ready ready) {
    std::vector<HeldEvent> taken;
    const std::lock_guard lock(mutex_);
    const auto found = events_.find(channel);
    if (found == events_.end()) return taken;
    taken.reserve(found->second.size());
    move_if(found->second, taken, ready);
    if (found->second.empty()) events_.erase(found);
    return taken;
  }
  /// The same for all channels. \complexity O(held).
  template <std::predicate<const HeldEvent&> Ready>
  [[nodiscard]] std::vector<HeldEvent> take(Ready ready) {
    std::vector<HeldEvent> taken;
    const std::lock_guard lock(mutex_);
    taken.reserve(count_.load(std::memory_order_relaxed));
    for (auto at = events_.begin(); at != events_.end();) {
      move_if(at->second, taken, ready);
      at = at->second.empty() ? events_.erase(at) : std::next(at);
    }
    return taken;
  }

  /// Takes all of them, and no more are held.
  [[nodiscard]] auto close() noexcept {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    bytes_ = 0;
    count_.store(0, std::memory_order_relaxed);
    return std::exchange(events_, {});
  }

  /// How many are held; a moment's view.
  [[nodiscard]] std::size_t size() const noexcept { return count_.load(std::memory_order_relaxed); }

 private:
  template <class Ready>
  void move_if(std::vector<HeldEvent>& from, std::vector<HeldEvent>& to, Ready& ready) {
    const auto stays = [&](HeldEvent& event) {
      if (!ready(std::as_const(event))) return true;
      bytes_ -= event.bytes();
      count_.store(count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
      to.push_back(std::move(event));  // has room
      return false;
    };
    auto kept = from.begin();
    for (auto at = from.begin(); at != from.end(); ++at) {
      if (!stays(*at)) continue;
      if (kept != at) *kept = std::move(*at);
      ++kept;
    }
    from.erase(kept, from.end());
  }

  const HoldLimits limits_;
  std::mutex mutex_;
  std::map<std::string, std::vector<HeldEvent>, std::less<>> events_;  // under the mutex
  bool closed_ = false;                                                // likewise
  std::size_t bytes_ = 0;                                              // likewise
  std::atomic<std::size_t> count_{0};                                  // written under the mutex
};

}  // namespace detail

FANFARE_NAMESPACE_END
