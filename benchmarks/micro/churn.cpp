// One iteration is one trigger to N subscribers who stay, while a second thread lets one more come and go all the
// time. `ns/delivery` is the time divided by N (never mind the unit that Google Benchmark prints behind it),
// `pairs/s` how often the other one came and went. Wants two cores.
//
// The subscribers are those of subscribe.cpp. One who leaves fanfare without `detach` waits for the trigger that is
// under way, so there it is the triggers that say how often one comes and goes.
#include "rivals.hpp"
#include "work.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace {

template <class Rival>
void churn(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)));
  work::Contexts guest(1);
  Rival rival;
  rival.fill(contexts);
  work::Companion other{[&] {
    auto token = rival.add(guest.callback(0));
    rival.remove(token);
  }};
  const std::uint64_t before = other.rounds();
  for (auto _ : state) rival.trigger();
  const std::uint64_t pairs = other.rounds() - before;
  other.stop();
  if (!contexts.each_called(static_cast<std::uint64_t>(state.iterations()))) {
    state.SkipWithError("not every subscriber got every event");
  }
  state.counters["ns/delivery"] =
      benchmark::Counter(static_cast<double>(contexts.size()) * 1e-9,
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["pairs/s"] = benchmark::Counter(static_cast<double>(pairs), benchmark::Counter::kIsRate);
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int n : {100, 1000, 10000}) b->Arg(n);
  b->UseRealTime();
}

BENCHMARK(churn<rivals::Fanfare<>>)->Name("churn/fanfare")->Apply(sizes);
BENCHMARK(churn<rivals::Fanfare<rivals::Leaving::detaches>>)->Name("churn/fanfare_detach")->Apply(sizes);
BENCHMARK(churn<rivals::List<std::mutex>>)->Name("churn/list")->Apply(sizes);
BENCHMARK(churn<rivals::Signals2<boost::signals2::mutex>>)->Name("churn/signals2")->Apply(sizes);
BENCHMARK(churn<rivals::MutexVector>)->Name("churn/mutex")->Apply(sizes);
BENCHMARK(churn<rivals::SharedMutexVector>)->Name("churn/shared_mutex")->Apply(sizes);
BENCHMARK(churn<rivals::CopyOnWrite>)->Name("churn/cow")->Apply(sizes);

}  // namespace
