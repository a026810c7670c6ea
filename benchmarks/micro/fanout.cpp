// One iteration is one trigger to N subscribers in this process. `ns/delivery` is the time divided by N.
//
// plain_loop is the floor: an array of {function, context}, no safety of any kind. Code placement alone moves it, and
// everything else, by a fifth: compare medians of many interleaved repetitions
// (--benchmark_enable_random_interleaving=true --benchmark_repetitions=15).
#include "work.hpp"

#include <benchmark/benchmark.h>
#include <boost/signals2.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

void report(benchmark::State& state, const work::Contexts& contexts) {
  if (!contexts.each_called(static_cast<std::uint64_t>(state.iterations()))) {
    state.SkipWithError("not every subscriber got every event");
  }
  state.counters["ns/delivery"] =
      benchmark::Counter(static_cast<double>(contexts.size()) * 1e-9,
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void fanfare_fanout(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)));
  fanfare::ChannelRegistry<> channels;
  std::vector<fanfare::Subscription> subscriptions;
  subscriptions.reserve(contexts.size());
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    subscriptions.push_back(channels.subscribe(
        work::channel, [&](fanfare::Subscription& s) { s.bind(work::event, contexts.callback(i)); }));
  }
  const fanfare::ChannelHandle handle = channels.channel(work::channel);
  for (auto _ : state) {
    benchmark::DoNotOptimize(handle.trigger(work::event, work::data));
  }
  report(state, contexts);
}

void plain_loop_fanout(benchmark::State& state) {
  struct Slot {
    void (*function)(void* context, const fanfare::Event& event);
    void* context;
  };
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)));
  std::vector<Slot> slots;
  slots.reserve(contexts.size());
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    slots.push_back({[](void* context, const fanfare::Event& event) {
                       work::Callback{static_cast<work::Context*>(context)}(event);
                     },
                     contexts.callback(i).context});
  }
  const fanfare::MessagePtr message = work::make_message();
  const fanfare::Event event{*message};
  for (auto _ : state) {
    for (const Slot& slot : slots) slot.function(slot.context, event);
    benchmark::ClobberMemory();
  }
  report(state, contexts);
}

void signals2_fanout(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)));
  boost::signals2::signal<void(const fanfare::Event&)> signal;
  for (std::size_t i = 0; i < contexts.size(); ++i) signal.connect(contexts.callback(i));
  const fanfare::MessagePtr message = work::make_message();
  const fanfare::Event event{*message};
  for (auto _ : state) {
    signal(event);
    benchmark::ClobberMemory();
  }
  report(state, contexts);
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int n : {1, 10, 100, 1000, 10000}) b->Arg(n);
}

BENCHMARK(fanfare_fanout)->Name("fanout/fanfare")->Apply(sizes);
BENCHMARK(plain_loop_fanout)->Name("fanout/plain_loop")->Apply(sizes);
BENCHMARK(signals2_fanout)->Name("fanout/signals2")->Apply(sizes);

}  // namespace
