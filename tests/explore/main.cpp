// Explores all programs, or one of them.
//
// usage: fanfare-explore                                 the model's own tests, then all programs
//        fanfare-explore --program NAME                  one program
//        fanfare-explore --program NAME --replay PATH    one execution of it, step by step
//        fanfare-explore --check COUNT                   the model's own tests, with so many random programs
//        fanfare-explore --mutate SITE:ORDER             all programs, with one operation weakened; see mutate.py

#include "explore/explored.hpp"
#include "explore/litmus.hpp"
#include "explore/mutation.hpp"
#include "explore/programs/all.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace fanfare::explore {

void* object_memory() noexcept {
  alignas(64) static std::array<std::byte, object_bytes> memory;
  return memory.data();
}

namespace {

struct Arguments {
  const char* program = nullptr;
  const char* replay = nullptr;
  unsigned check = 0;
  bool mutate = false;
};

bool parse_mutation(const char* text) {
  char* end = nullptr;
  mutation.site = static_cast<int>(std::strtol(text, &end, 10));
  if (end == text || *end != ':') return false;
  const std::string_view order{end + 1};
  if (order == "relaxed") {
    mutation.order = std::memory_order_relaxed;
  } else if (order == "acquire") {
    mutation.order = std::memory_order_acquire;
  } else if (order == "release") {
    mutation.order = std::memory_order_release;
  } else if (order == "acq_rel") {
    mutation.order = std::memory_order_acq_rel;
  } else {
    return order == "skipped";
  }
  return true;
}

bool parse(int count, char** values, Arguments& arguments) {
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view option{values[i]};
    if (option == "--program") {
      arguments.program = values[i + 1];
    } else if (option == "--replay") {
      arguments.replay = values[i + 1];
    } else if (option == "--check") {
      arguments.check = static_cast<unsigned>(std::strtoul(values[i + 1], nullptr, 10));
    } else if (option == "--mutate") {
      arguments.mutate = true;
      if (!parse_mutation(values[i + 1])) return false;
    } else {
      return false;
    }
  }
  return count % 2 == 1 && (arguments.replay == nullptr || arguments.program != nullptr);
}

void print(const Program& program, const Outcome& outcome, double seconds) {
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("%-56s %9llu executions, %7llu repeated, %7llu waiting, %3zu steps, %6.2f s", program.name,
              number(outcome.executions), number(outcome.repeated), number(outcome.waiting), outcome.longest, seconds);
  if (outcome.unremembered != 0) std::printf("; cut: %llu stores forgotten", number(outcome.unremembered));
  if (outcome.stubborn != 0) std::printf("; cut: %llu loads once more the same", number(outcome.stubborn));
  std::printf("\n");
  if (outcome.failed) {
    std::printf("FAILED: %s: %s\n  --program '%s' --replay %s\n", program.name, outcome.reason.c_str(), program.name,
                outcome.path.c_str());
  }
  std::fflush(stdout);
}

int run(const Arguments& arguments) {
  if (arguments.check != 0) return check_model(arguments.check) == 0 ? 0 : 1;
  std::vector<Program> programs;
  for_each_program([&]<template <class> class P>() {
    if (arguments.program == nullptr || std::strcmp(arguments.program, P<Explored>::name) == 0) {
      programs.push_back(explored<P>());
    }
  });
  if (programs.empty()) {
    std::fprintf(stderr, "explore: no program has this name\n");
    return 2;
  }
  if (arguments.replay != nullptr) {
    const Outcome outcome = Explorer{programs.front()}.replay(arguments.replay);
    print(programs.front(), outcome, 0);
    return outcome.failed ? 1 : 0;
  }
  if (arguments.program == nullptr && !arguments.mutate && check_model(3000) != 0) return 1;

  std::uint64_t executions = 0;
  int failed = 0;
  for (const Program& program : programs) {
    const auto begin = std::chrono::steady_clock::now();
    const Outcome outcome = Explorer{program}.run();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    print(program, outcome, time.count());
    executions += outcome.executions;
    if (!outcome.failed) continue;
    ++failed;
    if (arguments.mutate) break;
  }
  std::printf("explore: %zu programs, %llu executions, %d failed\n", programs.size(),
              static_cast<unsigned long long>(executions), failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fanfare::explore

int main(int count, char** values) {
  fanfare::explore::Arguments arguments;
  if (!fanfare::explore::parse(count, values, arguments)) {
    std::fprintf(stderr,
                 "usage: fanfare-explore [--program NAME [--replay PATH]] [--check COUNT] [--mutate SITE:ORDER]\n");
    return 2;
  }
  return fanfare::explore::run(arguments);
}
