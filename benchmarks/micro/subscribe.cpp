// One iteration is one subscriber coming and going, beside N that stay.
//
//   fanfare               a registry: the channel is there, one binding to an event that others are bound to as well
//   fanfare_detach        the same, leaving without a wait
//   fanfare_new_channel   the channel is made and unmade each time, beside N other channels
//   list                  the subscriber list alone, without a lock
//   signals2, mutex, …    as in fanout.cpp
#include "rivals.hpp"
#include "work.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

template <class Rival>
void subscribe(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)));
  work::Contexts guest(1);
  Rival rival;
  rival.fill(contexts);
  for (auto _ : state) {
    auto token = rival.add(guest.callback(0));
    benchmark::ClobberMemory();
    rival.remove(token);
  }
  // A guest who enters is called, and one who has left is not.
  auto token = rival.add(guest.callback(0));
  rival.trigger();
  rival.remove(token);
  rival.trigger();
  if (!contexts.each_called(2) || !guest.each_called(1)) state.SkipWithError("somebody was left behind, or lost");
}

void new_channel(benchmark::State& state) {
  const auto others = static_cast<std::size_t>(state.range(0));
  work::Contexts contexts(1);
  fanfare::ChannelRegistry<> channels;
  std::vector<fanfare::Subscription> subscriptions;
  subscriptions.reserve(others);
  for (std::size_t i = 0; i < others; ++i) subscriptions.push_back(channels.subscribe(work::channel_name(i)));
  const work::Callback callback = contexts.callback(0);
  for (auto _ : state) {
    const auto subscription =
        channels.subscribe(work::channel, [&](fanfare::Subscription& s) { s.bind(work::event, callback); });
    benchmark::DoNotOptimize(subscription.id());
  }
  if (channels.size() != others) state.SkipWithError("the channel was left behind");
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int n : {1, 100, 10000}) b->Arg(n);
}

BENCHMARK(subscribe<rivals::Fanfare<>>)->Name("subscribe/fanfare")->Apply(sizes);
BENCHMARK(subscribe<rivals::Fanfare<rivals::Leaving::detaches>>)->Name("subscribe/fanfare_detach")->Apply(sizes);
BENCHMARK(new_channel)->Name("subscribe/fanfare_new_channel")->Apply(sizes);
BENCHMARK(subscribe<rivals::List<fanfare::PlainAtomics::mutex>>)->Name("subscribe/list")->Apply(sizes);
BENCHMARK(subscribe<rivals::Signals2<boost::signals2::mutex>>)->Name("subscribe/signals2")->Apply(sizes);
BENCHMARK(subscribe<rivals::MutexVector>)->Name("subscribe/mutex")->Apply(sizes);
BENCHMARK(subscribe<rivals::SharedMutexVector>)->Name("subscribe/shared_mutex")->Apply(sizes);
BENCHMARK(subscribe<rivals::CopyOnWrite>)->Name("subscribe/cow")->Apply(sizes);

}  // namespace
