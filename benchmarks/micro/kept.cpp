// One iteration is one trigger with N bytes of data, through a handle, in a channel of an application with one sink that
// wants the event as the frame that sockets get.
//
//   no_rules   in an application without rules
//   plain      with rules, but in a channel that none is for
//   retained   in a channel that keeps the latest event of each name
//   history    in one that keeps the last hundred
//   both       in one that does both
#include "work.hpp"

#include <fanfare/app.hpp>
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace {

/// Takes the frame and drops it.
struct Sink {
  static constexpr bool wire = true;
  bool push(fanfare::MessagePtr message) noexcept {
    *bytes += message->frame().size();
    return true;
  }
  std::uint64_t* bytes;
};

void keep(benchmark::State& state, const char* channel, bool rules) {
  fanfare::AppOptions options{.id = "1", .key = "key", .secret = "secret"};
  options.limits.data = 1U << 20U;
  if (rules) {
    options.channel_rules = {{.match = "retained", .retain = true},
                             {.match = "history", .history = fanfare::HistoryRule{}},
                             {.match = "both", .retain = true, .history = fanfare::HistoryRule{}}};
  }
  fanfare::App app(std::move(options));
  std::uint64_t bytes = 0;
  const fanfare::Subscription subscription = app.channels().attach(channel, Sink{&bytes});
  const fanfare::ChannelHandle handle = app.channel(channel);
  const std::string data(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(handle.trigger("message", data));
  if (bytes < static_cast<std::uint64_t>(state.iterations()) * data.size()) state.SkipWithError("events were lost");
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int n : {100, 1000, 10000}) b->Arg(n);
}

BENCHMARK_CAPTURE(keep, no_rules, "plain", false)->Name("kept/no_rules")->Apply(sizes);
BENCHMARK_CAPTURE(keep, plain, "plain", true)->Name("kept/plain")->Apply(sizes);
BENCHMARK_CAPTURE(keep, retained, "retained", true)->Name("kept/retained")->Apply(sizes);
BENCHMARK_CAPTURE(keep, history, "history", true)->Name("kept/history")->Apply(sizes);
BENCHMARK_CAPTURE(keep, both, "both", true)->Name("kept/both")->Apply(sizes);

}  // namespace
