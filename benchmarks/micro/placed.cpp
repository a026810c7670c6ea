// The same as fanout/fanfare and fanout/plain_loop, each compiled eight times with a different number of bytes in
// front of its loop, or in the functions before it. Where a loop happens to lie moves identical code by a fifth; the
// best of the eight of one against the best of the eight of the other says what the code itself costs.
//
// One iteration is one trigger to N subscribers.
#include "work.hpp"

#include <benchmark/benchmark.h>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t places = 8;

/// Moves what the compiler puts behind this; jumped over.
template <std::size_t Place>
FANFARE_ALWAYS_INLINE void shift() {
#if defined(__x86_64__)
  asm volatile("jmp 1f\n\t.skip %c0, 0x90\n1:" ::"i"(Place * 11 + 1));
#endif
}

/// Makes the walk of the subscribers a type of this place's own, and of a size of its own, so that each lies elsewhere.
template <std::size_t Place>
struct OwnAtomics : fanfare::StdAtomics {
  template <class T>
  struct atomic : std::atomic<T> {
    using std::atomic<T>::atomic;
    using std::atomic<T>::operator=;
    T fetch_add(T value, std::memory_order order) noexcept
      requires std::integral<T>
    {
      shift<Place>();  // how often callbacks threw is counted behind the loop
      return std::atomic<T>::fetch_add(value, order);
    }
  };
};

template <std::size_t Place>
struct PlacedCallback {
  work::Callback callback;
  void operator()(const fanfare::Event& event) const { callback(event); }
};

void check(benchmark::State& state, const work::Contexts& contexts) {
  if (!contexts.each_called(static_cast<std::uint64_t>(state.iterations()))) {
    state.SkipWithError("not every subscriber got every event");
  }
}

template <std::size_t Place>
void placed_fanfare(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)));
  fanfare::ChannelRegistry<OwnAtomics<Place>> channels;
  std::vector<fanfare::Subscription> subscriptions;
  subscriptions.reserve(contexts.size());
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    subscriptions.push_back(channels.subscribe(work::channel, [&](fanfare::Subscription& s) {
      s.bind(work::event, PlacedCallback<Place>{contexts.callback(i)});
    }));
  }
  const fanfare::ChannelHandle handle = channels.channel(work::channel);
  for (auto _ : state) benchmark::DoNotOptimize(handle.trigger(work::event, work::data));
  check(state, contexts);
}

template <std::size_t Place>
FANFARE_NOINLINE void plain_loop(const std::vector<work::Slot>& slots, const fanfare::Event& event) {
  shift<Place>();
  for (const work::Slot& slot : slots) slot.function(slot.context, event);
}

template <std::size_t Place>
void placed_plain_loop(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)));
  std::vector<work::Slot> slots;
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    slots.push_back({[](void* context, const fanfare::Event& event) {
                       PlacedCallback<Place>{{static_cast<work::Context*>(context)}}(event);
                     },
                     contexts.callback(i).context});
  }
  const fanfare::MessagePtr message = work::make_message();
  const fanfare::Event event{*message};
  for (auto _ : state) plain_loop<Place>(slots, event);
  check(state, contexts);
}

template <std::size_t... Place>
bool register_all(std::index_sequence<Place...> /*places*/) {
  const auto add = [](const std::string& rival, std::size_t place, void (*run)(benchmark::State&)) {
    benchmark::RegisterBenchmark(("fanout_placed/" + rival + "/" + std::to_string(place)).c_str(), run)
        ->Arg(100)
        ->Arg(1000)
        ->Arg(10000);
  };
  (add("fanfare", Place, &placed_fanfare<Place>), ...);
  (add("plain_loop", Place, &placed_plain_loop<Place>), ...);
  return true;
}
[[maybe_unused]] const bool registered = register_all(std::make_index_sequence<places>{});

}  // namespace
