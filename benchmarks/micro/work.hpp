// What the benchmarks have in common: what one delivery does, and how they are checked.
#pragma once

#include <fanfare/core/wire.hpp>
#include <fanfare/fanfare.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace work {

/// One subscriber's own cache line.
struct alignas(64) Context {
  std::uint64_t bytes = 0;
};

/// The callback: reads the event, updates its context.
struct Callback {
  Context* context;
  void operator()(const fanfare::Event& event) const { context->bytes += event.data().size(); }
};

/// The same for those who keep a function and what it is called with.
struct Slot {
  void (*function)(void* context, const fanfare::Event& event);
  void* context;
};
inline Slot slot_of(Callback callback) {
  return {[](void* context, const fanfare::Event& event) { Callback{static_cast<Context*>(context)}(event); },
          callback.context};
}

inline constexpr std::string_view channel = "LOBBY_42";
inline constexpr std::string_view event = "PLAYER_JOIN";
/// JSON to make larger texts of: every sixth character is a quote.
inline constexpr std::string_view json_object = R"({"id":1042,"name":"ann","text":"the quick brown fox jumps"},)";

inline constexpr std::string_view data = R"([{"username":"ann"}])";

/// Contexts in an order that is unrelated to their addresses, as after some hours of coming and going.
class Contexts {
 public:
  explicit Contexts(std::size_t count) : contexts_(count), order_(count) {
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::shuffle(order_.begin(), order_.end(), std::mt19937{42});
  }
  [[nodiscard]] std::size_t size() const { return order_.size(); }
  [[nodiscard]] Callback callback(std::size_t i) { return {&contexts_[order_[i]]}; }

  /// Whether every context was called so many times.
  [[nodiscard]] bool each_called(std::uint64_t times) const {
    return std::all_of(contexts_.begin(), contexts_.end(),
                       [&](const Context& context) { return context.bytes == times * data.size(); });
  }

 private:
  std::vector<Context> contexts_;
  std::vector<std::size_t> order_;
};

/// An event outside of any trigger, for those that are not fanfare.
inline fanfare::MessagePtr make_message() {
  fanfare::ChannelRegistry<> channels;
  fanfare::MessagePtr message;
  const auto subscription = channels.subscribe(
      channel, [&](fanfare::Subscription& s) { s.bind_all([&](const fanfare::Event& e) { message = e.keep(); }); });
  channels.trigger(channel, event, data);
  return message;
}

/// The frame that sockets are sent of an event; empty if there is none.
inline std::string frame_of(const fanfare::MessageParts& parts) {
  const fanfare::FrameEncoder encoder;
  std::string frame(encoder.bound(parts), '\0');
  std::size_t written = 0;
  if (encoder.encode(parts, std::as_writable_bytes(std::span{frame}), written) != fanfare::errc::ok) written = 0;
  frame.resize(written);
  return frame;
}

/// The name of the i-th of many channels. All are equally long.
inline std::string channel_name(std::size_t i) {
  char digits[24];
  std::snprintf(digits, sizeof digits, "%08zu", i);
  return std::string("private-room-") + digits;
}

/// Which of `count` things come next: at random, over and over again.
class Picks {
 public:
  explicit Picks(std::size_t count) : picks_(size) {
    std::mt19937_64 random{42};
    for (std::size_t& pick : picks_) pick = random() % count;
  }
  [[nodiscard]] std::size_t next() { return picks_[at_++ % size]; }

  static constexpr std::size_t size = std::size_t{1} << 14U;

 private:
  std::vector<std::size_t> picks_;
  std::size_t at_ = 0;
};

/// Names of some of `count` channels as they come out of a socket's buffer: one behind the other, so that what a lookup
/// waits for is its own memory.
class Names {
 public:
  explicit Names(std::size_t count) : names_(Picks::size) {
    Picks picks{count};
    for (std::string& name : names_) name = channel_name(picks.next());
  }
  [[nodiscard]] std::string_view next() { return names_[at_++ % Picks::size]; }

 private:
  std::vector<std::string> names_;
  std::size_t at_ = 0;
};

/// A thread that does something over and over again while it lives.
class Companion {
 public:
  explicit Companion(std::function<void()> round)
      : round_(std::move(round)), thread_([this] {
          do {
            round_();
            rounds_.fetch_add(1, std::memory_order_relaxed);
          } while (!stopped_.load(std::memory_order_relaxed));
        }) {
    while (rounds() == 0) std::this_thread::yield();
  }
  Companion(const Companion&) = delete;
  Companion& operator=(const Companion&) = delete;
  ~Companion() { stop(); }

  [[nodiscard]] std::uint64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }
  /// Ends it. What it did is seen when this returns.
  void stop() {
    stopped_.store(true, std::memory_order_relaxed);
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::function<void()> round_;
  std::atomic<std::uint64_t> rounds_{0};
  std::atomic<bool> stopped_{false};
  std::thread thread_;  // last: it uses the others
};

}  // namespace work
