// Uses all of `ChannelRegistry<SingleThreaded>`. check.py looks at what the compiler makes of it; nobody runs it.
// With MULTI_THREADED it uses the default policies, to prove that the look sees something.
#include <fanfare/fanfare.hpp>

#include <cstddef>
#include <string_view>

#if defined(MULTI_THREADED)
using Registry = fanfare::ChannelRegistry<>;
#else
using Registry = fanfare::ChannelRegistry<fanfare::SingleThreaded>;
#endif

struct Queue {
  static constexpr bool wire = true;
  bool push(fanfare::MessagePtr message) noexcept {
    last = message;
    return true;
  }
  bool has_room(std::size_t bytes) noexcept { return bytes < 100; }
  fanfare::MessagePtr last;
};

void sink(std::string_view data) noexcept;
fanfare::RegistryOptions options();

std::size_t use_everything(Queue& queue) {
  Registry channels{options()};
  auto lobby = channels.subscribe("lobby", [](fanfare::Subscription& subscription) {
    subscription.bind("join", [](const fanfare::Event& event) { sink(event.data()); });
    subscription.bind_all([](const fanfare::Event& event) { sink(event.keep()->data()); });
  });
  auto ordered = channels.subscribe("presence-lobby", fanfare::Inbox{.overflow = fanfare::Overflow::drop_oldest});
  auto attached = channels.attach("lobby", queue);
  const auto handle = channels.channel("lobby");
  auto copy = handle;
  auto delivered = channels.trigger("lobby", "join", "ann").delivered;
  delivered += channels.trigger({"lobby", "presence-lobby"}, "join", "ann", {.except = attached}).delivered;
  delivered += copy.trigger("join", "bob").delivered;
  delivered += ordered.poll([](const fanfare::Event& event) { sink(event.data()); });
  delivered += lobby.unbind("join");
  attached.detach();
  channels.for_each_channel([](std::string_view name, std::size_t) { sink(name); });
  channels.collect();
  const auto stats = channels.stats();
  return delivered + stats.retired_bytes + channels.subscribers("lobby") + channels.size();
}
