// What every fan-out benchmark does with one delivery, so that all measure the same work.
#pragma once

#include <fanfare/fanfare.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <string_view>
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

inline constexpr std::string_view channel = "LOBBY_42";
inline constexpr std::string_view event = "PLAYER_JOIN";
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

}  // namespace work
