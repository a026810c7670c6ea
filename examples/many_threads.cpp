// Four threads trigger; callbacks run on theirs, an inbox is read on ours, and a subscriber leaves in the middle of it.
#include <fanfare/fanfare.hpp>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

int main() {
  constexpr std::size_t threads = 4;
  constexpr std::size_t events = 1000;
  fanfare::ChannelRegistry<> channels;

  // Runs on all four threads at once: what it touches must be ready for that.
  std::atomic<std::size_t> called{0};
  const auto counter = channels.subscribe("CHAT_42", [&](fanfare::Subscription& chat) {
    chat.bind("message", [&](const fanfare::Event&) { called.fetch_add(1, std::memory_order_relaxed); });
  });

  // Leaves while they trigger. When reset() returns, its callback runs nowhere and never will: `mine` may go.
  auto mine = std::make_unique<std::atomic<std::size_t>>(0);
  auto visitor = channels.subscribe("CHAT_42", [&](fanfare::Subscription& chat) {
    chat.bind("message", [&](const fanfare::Event&) { mine->fetch_add(1, std::memory_order_relaxed); });
  });

  // Needs no care: everything arrives on the thread that polls.
  auto inbox = channels.subscribe("CHAT_42", fanfare::Inbox{threads * events});

  std::vector<std::thread> senders;
  for (std::size_t sender = 0; sender < threads; ++sender) {
    senders.emplace_back([&, sender] {
      const auto chat = channels.channel("CHAT_42");
      for (std::size_t i = 0; i < events; ++i) chat.trigger("message", std::to_string(sender * events + i));
    });
  }
  visitor.reset();
  mine.reset();
  for (std::thread& sender : senders) sender.join();

  // What one thread triggers arrives in its order.
  std::vector<std::size_t> next(threads, 0);
  bool in_order = true;
  const std::size_t polled = inbox.poll([&](const fanfare::Event& event) {
    const std::size_t number = std::stoul(std::string(event.data()));
    in_order = in_order && number % events == next[number / events]++;
  });

  std::printf("%zu calls, %zu polled, %s\n", called.load(), polled, in_order ? "in order" : "out of order");
  return called == threads * events && polled == threads * events && in_order ? 0 : 1;
}
