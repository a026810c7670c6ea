// One iteration fills an empty registry with 10,000 channels or subscribers. What counts is not the time but the
// counter: what was asked of the allocator for each, without the name itself. What tables and arrays keep free is in
// it.
//
//   memory/channel/handle         a channel that nothing but a handle holds
//   memory/channel/sink           with one sink, as a loop with connections has it
//   memory/channel/callback       with one subscription that has bound one event
//   memory/subscription/callback  one more subscription of the same channel, bound to the same event
#include "work.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace {

/// Counts what it has handed out.
class Counting {
 public:
  explicit Counting(std::size_t& bytes) noexcept : bytes_(&bytes) {}
  void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    void* const address = memory_.allocate(bytes, alignment);
    if (address != nullptr) *bytes_ += bytes;
    return address;
  }
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    *bytes_ -= bytes;
    memory_.deallocate(address, bytes, alignment);
  }

 private:
  std::size_t* bytes_;
  fanfare::NewDelete memory_;
};

using Registry = fanfare::ChannelRegistry<fanfare::WithMemory<Counting>>;

/// As large as a loop's.
class Sink {
 public:
  bool push(const fanfare::MessagePtr& /*message*/) noexcept { return true; }

 private:
  [[maybe_unused]] const void* door_ = nullptr;
  [[maybe_unused]] std::uint64_t tag_ = 0;
};

struct ChannelHandles {
  static fanfare::ChannelHandle make(Registry& channels, const std::string& name) { return channels.channel(name); }
};
struct Sinks {
  static fanfare::Subscription make(Registry& channels, const std::string& name) {
    return channels.attach(name, Sink{});
  }
};
struct Callbacks {
  static fanfare::Subscription make(Registry& channels, const std::string& name) {
    return channels.subscribe(
        name, [](fanfare::Subscription& s) { s.bind(work::event, [](const fanfare::Event& /*event*/) {}); });
  }
};

/// \tparam Separate   whether each is in a channel of its own.
template <class Makes, bool Separate>
void memory(benchmark::State& state) {
  static constexpr std::size_t count = 10000;
  std::size_t bytes = 0;
  std::size_t used = 0;
  for (auto _ : state) {
    Registry channels{{}, Counting{bytes}};
    const std::string same = work::channel_name(0);
    auto first = Makes::make(channels, same);
    channels.collect();
    const std::size_t before = bytes;
    std::size_t names = 0;
    std::vector<decltype(first)> made;
    made.reserve(count);
    bool ok = true;
    for (std::size_t i = 1; i <= count; ++i) {
      const std::string name = Separate ? work::channel_name(i) : same;
      made.push_back(Makes::make(channels, name));
      ok = ok && made.back();
      names += Separate ? name.size() : 0;
    }
    channels.collect();
    used = bytes - before - names;
    if (!ok) state.SkipWithError("not all of them were made");
  }
  if (bytes != 0) state.SkipWithError("memory was not given back");
  state.counters["bytes"] = static_cast<double>(used) / static_cast<double>(count);
}

BENCHMARK(memory<ChannelHandles, true>)->Name("memory/channel/handle")->Iterations(1);
BENCHMARK(memory<Sinks, true>)->Name("memory/channel/sink")->Iterations(1);
BENCHMARK(memory<Callbacks, true>)->Name("memory/channel/callback")->Iterations(1);
BENCHMARK(memory<Callbacks, false>)->Name("memory/subscription/callback")->Iterations(1);

}  // namespace
