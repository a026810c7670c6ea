// One iteration is one trigger to N subscribers in this process. `ns/delivery` is the time divided by N (never mind
// the unit that Google Benchmark prints behind it).
//
//   fanfare         a channel, through the public API
//   list            the subscriber list alone
//   plain_loop      the floor: an array of {function, context}, no safety of any kind
//   signals2        boost::signals2; _dummy: without its mutex, for one thread
//   mutex           vector of std::function under a mutex
//   shared_mutex    vector of {function, context} under a shared mutex
//   cow             atomic shared_ptr to a vector that is copied to be changed
//
// Code placement alone moves all of them by a fifth: compare medians of many interleaved repetitions, and for the
// last per cent see placed.cpp.
#include "rivals.hpp"
#include "work.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace {

template <class Rival>
void fanout(benchmark::State& state) {
  work::Contexts contexts(static_cast<std::size_t>(state.range(0)));
  Rival rival;
  rival.fill(contexts);
  for (auto _ : state) rival.trigger();
  if (!contexts.each_called(static_cast<std::uint64_t>(state.iterations()))) {
    state.SkipWithError("not every subscriber got every event");
  }
  state.counters["ns/delivery"] =
      benchmark::Counter(static_cast<double>(contexts.size()) * 1e-9,
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int n : {1, 10, 100, 1000, 10000, 100000}) b->Arg(n);
}

BENCHMARK(fanout<rivals::Fanfare<>>)->Name("fanout/fanfare")->Apply(sizes);
BENCHMARK(fanout<rivals::List<std::mutex>>)->Name("fanout/list")->Apply(sizes);
BENCHMARK(fanout<rivals::PlainLoop>)->Name("fanout/plain_loop")->Apply(sizes);
BENCHMARK(fanout<rivals::Signals2<boost::signals2::mutex>>)->Name("fanout/signals2")->Apply(sizes);
BENCHMARK(fanout<rivals::Signals2<boost::signals2::dummy_mutex>>)->Name("fanout/signals2_dummy")->Apply(sizes);
BENCHMARK(fanout<rivals::MutexVector>)->Name("fanout/mutex")->Apply(sizes);
BENCHMARK(fanout<rivals::SharedMutexVector>)->Name("fanout/shared_mutex")->Apply(sizes);
BENCHMARK(fanout<rivals::CopyOnWrite>)->Name("fanout/cow")->Apply(sizes);

}  // namespace
