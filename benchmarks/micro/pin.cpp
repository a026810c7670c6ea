// One iteration is one call of one callback.
//
//   none      nothing protects it
//   fanfare   inside a read of the registry's reclaimer, which names what it reads
//   locked    between one locked instruction and one plain store on a cache line of its own: the least that a read which
//             others can see costs on this processor
#include "work.hpp"

#include <fanfare/core/epoch.hpp>

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>

namespace {

struct None {
  template <class F>
  static void read(F f) {
    f();
  }
};

class Domain {
 public:
  template <class F>
  void read(F f) {
    auto guard = domain_.pin();
    guard.enter(this);
    guard.enter_callbacks();
    f();
  }

 private:
  fanfare::EpochDomain<fanfare::StdAtomics, fanfare::NewDelete> domain_{fanfare::NewDelete{}};
};

class Locked {
 public:
  template <class F>
  void read(F f) {
    std::uint64_t idle = 0;
    if (!line_.compare_exchange_strong(idle, 1, std::memory_order_seq_cst, std::memory_order_relaxed)) return;
    f();
    line_.store(0, std::memory_order_release);  // its only partner is the next read of this thread
  }

 private:
  alignas(64) std::atomic<std::uint64_t> line_{0};
};

template <class Reader>
void pin(benchmark::State& state) {
  work::Contexts contexts(1);
  work::Slot slot = work::slot_of(contexts.callback(0));
  const fanfare::MessagePtr message = work::make_message();
  const fanfare::Event seen{*message};
  Reader reader;
  for (auto _ : state) {
    benchmark::DoNotOptimize(slot);
    reader.read([&] { slot.function(slot.context, seen); });
  }
  if (!contexts.each_called(static_cast<std::uint64_t>(state.iterations()))) state.SkipWithError("calls were lost");
}

BENCHMARK(pin<None>)->Name("pin/none");
BENCHMARK(pin<Domain>)->Name("pin/fanfare");
BENCHMARK(pin<Locked>)->Name("pin/locked");

}  // namespace
