// One iteration is one subscriber coming and going, beside N that stay.
#include "work.hpp"

#include <benchmark/benchmark.h>
#include <boost/signals2.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

/// Existing channel, one binding to an event that others are bound to as well.
void fanfare_subscribe(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)) + 1);
  fanfare::ChannelRegistry<> channels;
  std::vector<fanfare::Subscription> subscriptions;
  for (std::size_t i = 0; i + 1 < contexts.size(); ++i) {
    subscriptions.push_back(channels.subscribe(
        work::channel, [&](fanfare::Subscription& s) { s.bind(work::event, contexts.callback(i)); }));
  }
  const work::Callback last = contexts.callback(contexts.size() - 1);
  for (auto _ : state) {
    const auto subscription =
        channels.subscribe(work::channel, [&](fanfare::Subscription& s) { s.bind(work::event, last); });
    benchmark::DoNotOptimize(subscription.id());
  }
  if (channels.subscribers(work::channel) != contexts.size() - 1) state.SkipWithError("a subscriber was left behind");
}

/// The channel is made and unmade each time.
void fanfare_subscribe_new(benchmark::State& state) {
  work::Contexts contexts(1);
  fanfare::ChannelRegistry<> channels;
  const work::Callback callback = contexts.callback(0);
  for (auto _ : state) {
    const auto subscription =
        channels.subscribe(work::channel, [&](fanfare::Subscription& s) { s.bind(work::event, callback); });
    benchmark::DoNotOptimize(subscription.id());
  }
  if (channels.size() != 0) state.SkipWithError("the channel was left behind");
}

/// The list alone, without registry, binding or grace period.
void list_subscribe(benchmark::State& state) {
  using Function = void (*)(void*, const fanfare::Event&);
  using List = fanfare::SubscriberList<fanfare::StdAtomics, Function>;
  fanfare::NewDelete memory;
  fanfare::EpochDomain<fanfare::StdAtomics, fanfare::NewDelete> domain{memory};
  fanfare::detail::GarbageQueue garbage;
  List list;
  const Function function = [](void*, const fanfare::Event&) {};
  const auto add = [&] {
    List::Sequence sequence = 0;
    fanfare::detail::Garbage* replaced = nullptr;
    if (!list.add({function, nullptr, 0}, sequence, memory, replaced)) state.SkipWithError("no memory");
    if (replaced != nullptr) domain.retire(garbage, *replaced, &list, domain.advance());
    return sequence;
  };
  for (std::int64_t i = 0; i < state.range(0); ++i) add();
  for (auto _ : state) {
    const List::Sequence sequence = add();
    fanfare::detail::Garbage* replaced = nullptr;
    list.remove(sequence, list.last_position());
    list.tidy(memory, replaced);
    const std::uint64_t stamp = domain.advance();
    if (replaced != nullptr) domain.retire(garbage, *replaced, &list, stamp);
    if (domain.due(garbage)) {
      fanfare::detail::GarbageQueue ready;
      domain.collect(garbage, &list, ready);
      ready.destroy_all(memory);
    }
  }
  if (list.size() != static_cast<std::size_t>(state.range(0))) state.SkipWithError("an element was left behind");
  garbage.destroy_all(memory);
  list.destroy(memory);
}

void signals2_subscribe(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)) + 1);
  boost::signals2::signal<void(const fanfare::Event&)> signal;
  for (std::size_t i = 0; i + 1 < contexts.size(); ++i) signal.connect(contexts.callback(i));
  const work::Callback last = contexts.callback(contexts.size() - 1);
  for (auto _ : state) {
    const boost::signals2::scoped_connection connection = signal.connect(last);
    benchmark::DoNotOptimize(connection.connected());
  }
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int n : {1, 100, 10000}) b->Arg(n);
}

BENCHMARK(fanfare_subscribe)->Name("subscribe/fanfare")->Apply(sizes);
BENCHMARK(fanfare_subscribe_new)->Name("subscribe/fanfare_new_channel");
BENCHMARK(list_subscribe)->Name("subscribe/list")->Apply(sizes);
BENCHMARK(signals2_subscribe)->Name("subscribe/signals2")->Apply(sizes);

}  // namespace
