// The same programs on real threads with std::atomic: for ThreadSanitizer, and for machines with a weaker memory model.
//
// usage: fanfare-explore-threads [ROUNDS]

#include "explore/programs/all.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

namespace fanfare::explore {
namespace {

/// Where the threads of a program wait for each other: before the first and after the last of them.
class Gate {
 public:
  explicit Gate(std::size_t threads) noexcept : threads_(threads) {}

  void pass() noexcept {
    const std::size_t mine = arrived_.fetch_add(1, std::memory_order_acq_rel) / threads_;
    while (arrived_.load(std::memory_order_acquire) / threads_ == mine) std::this_thread::yield();
  }

 private:
  const std::size_t threads_;
  std::atomic<std::size_t> arrived_{0};
};

template <template <class> class P>
void run(std::size_t rounds) {
  using Subject = P<Threaded>;
  Gate gate{Subject::threads + 1};
  std::optional<Subject> subject;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < Subject::threads; ++i) {
    threads.emplace_back([&, i] {
      for (std::size_t round = 0; round < rounds; ++round) {
        gate.pass();
        subject->run(i);
        gate.pass();
      }
    });
  }
  for (std::size_t round = 0; round < rounds; ++round) {
    subject.emplace();
    gate.pass();
    gate.pass();
    subject->end();
    subject.reset();
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fanfare::explore

int main(int count, char** values) {
  const std::size_t rounds = count > 1 ? std::strtoul(values[1], nullptr, 10) : 500;
  std::size_t programs = 0;
  fanfare::explore::for_each_program([&]<template <class> class P>() {
    fanfare::explore::run<P>(rounds);
    ++programs;
  });
  std::printf("explore: %zu programs, %zu rounds each on real threads\n", programs, rounds);
  return rounds == 0 ? 1 : 0;
}
