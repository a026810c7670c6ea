#include "litmus.hpp"

#include "atomics.hpp"
#include "explorer.hpp"

#include <array>
#include <cstdio>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace fanfare::explore {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto acq_rel = std::memory_order_acq_rel;
constexpr auto seq_cst = std::memory_order_seq_cst;

struct Instruction {
  enum class Kind : std::uint8_t { load, store, add, exchange_if_zero, lock, unlock, plain_read, plain_write, wait };
  Kind kind = Kind::load;
  std::uint8_t location = 0;
  std::memory_order order = relaxed;
  std::uint8_t value = 0;
};
using Code = std::vector<Instruction>;

Instruction load(std::uint8_t location, std::memory_order order) { return {Instruction::Kind::load, location, order}; }
Instruction store(std::uint8_t location, std::uint8_t value, std::memory_order order) {
  return {Instruction::Kind::store, location, order, value};
}
Instruction add(std::uint8_t location, std::uint8_t value, std::memory_order order) {
  return {Instruction::Kind::add, location, order, value};
}
Instruction of(Instruction::Kind kind) { return {kind}; }

/// A program given as a table. Its outcome is what the threads have read and what is there in the end.
struct Table {
  std::vector<Code> threads;
  mutable std::set<std::string> outcomes{};
};

struct Machine {
  explicit Machine(const Table& table_) : table(table_) {}

  void run(std::size_t thread) {
    for (const Instruction& instruction : table.threads[thread]) {
      auto& location = locations[instruction.location];
      switch (instruction.kind) {
        case Instruction::Kind::load:
          results[thread] += static_cast<char>('0' + location.load(instruction.order));
          break;
        case Instruction::Kind::store: location.store(instruction.value, instruction.order); break;
        case Instruction::Kind::add:
          results[thread] += static_cast<char>('0' + location.fetch_add(instruction.value, instruction.order));
          break;
        case Instruction::Kind::exchange_if_zero: {
          unsigned expected = 0;
          location.compare_exchange_strong(expected, instruction.value, instruction.order, relaxed);
          results[thread] += static_cast<char>('0' + expected);
          break;
        }
        case Instruction::Kind::lock: mutex.lock(); break;
        case Instruction::Kind::unlock: mutex.unlock(); break;
        case Instruction::Kind::plain_read: results[thread] += static_cast<char>('0' + cell.read()); break;
        case Instruction::Kind::plain_write: cell.write(1); break;
        case Instruction::Kind::wait:
          ExploredAtomics::await([&] { return location.load(instruction.order) == instruction.value; });
          break;
      }
    }
  }
  void end() {
    std::string outcome;
    for (std::size_t i = 0; i < table.threads.size(); ++i) outcome += results[i] + ' ';
    for (auto& location : locations) outcome += static_cast<char>('0' + location.load(relaxed));
    table.outcomes.insert(outcome);
  }

  const Table& table;
  std::array<ExploredAtomics::atomic<unsigned>, 3> locations;
  ExploredAtomics::mutex mutex;
  ExploredAtomics::plain<int> cell;
  std::array<std::string, main_thread> results;  // short: nothing is lost where an execution is given up
};

alignas(Machine) std::array<std::byte, sizeof(Machine)> machine_memory;

Outcome explore(const Table& table, bool reduce) {
  Program program;
  program.name = "table";
  program.threads = table.threads.size();
  program.context = &table;
  program.begin = [](const void* context) -> void* {
    return ::new (machine_memory.data()) Machine{*static_cast<const Table*>(context)};
  };
  program.run = [](void* object, std::size_t thread) { static_cast<Machine*>(object)->run(thread); };
  program.end = [](void* object) {
    static_cast<Machine*>(object)->end();
    static_cast<Machine*>(object)->~Machine();
  };
  table.outcomes.clear();
  return Explorer{program, reduce}.run();
}

struct Litmus {
  const char* name;
  Table table;
  const char* outcome;  // null: the question is whether it fails
  bool allowed;         // the outcome; or the failure
};

std::vector<Litmus> litmus_tests() {
  using Kind = Instruction::Kind;
  const std::uint8_t x = 0;
  const std::uint8_t y = 1;
  std::vector<Litmus> tests;
  const auto add_test = [&](const char* name, std::vector<Code> threads, const char* outcome, bool allowed) {
    tests.push_back({name, {std::move(threads)}, outcome, allowed});
  };
  add_test("store buffering, seq_cst",
           {{store(x, 1, seq_cst), load(y, seq_cst)}, {store(y, 1, seq_cst), load(x, seq_cst)}}, "0 0 110", false);
  add_test("store buffering, one load acquire",
           {{store(x, 1, seq_cst), load(y, acquire)}, {store(y, 1, seq_cst), load(x, seq_cst)}}, "0 0 110", true);
  add_test("store buffering, one store release",
           {{store(x, 1, release), load(y, seq_cst)}, {store(y, 1, seq_cst), load(x, seq_cst)}}, "0 0 110", true);
  add_test("store buffering, read-modify-writes seq_cst",
           {{add(x, 1, seq_cst), load(y, seq_cst)}, {add(y, 1, seq_cst), load(x, seq_cst)}}, "00 00 110", false);
  add_test("store buffering, read-modify-writes acq_rel",
           {{add(x, 1, acq_rel), load(y, seq_cst)}, {add(y, 1, seq_cst), load(x, seq_cst)}}, "00 00 110", true);
  add_test("message passing", {{store(x, 1, relaxed), store(y, 1, release)}, {load(y, acquire), load(x, relaxed)}},
           " 10 110", false);
  add_test("message passing, relaxed store",
           {{store(x, 1, relaxed), store(y, 1, relaxed)}, {load(y, acquire), load(x, relaxed)}}, " 10 110", true);
  add_test("message passing, relaxed load",
           {{store(x, 1, relaxed), store(y, 1, release)}, {load(y, relaxed), load(x, relaxed)}}, " 10 110", true);
  add_test("message passing, seq_cst store, relaxed load, seq_cst load",
           {{store(x, 1, seq_cst), store(y, 1, relaxed)}, {load(y, relaxed), load(x, seq_cst)}}, " 10 110", true);
  add_test("load buffering", {{load(x, relaxed), store(y, 1, relaxed)}, {load(y, relaxed), store(x, 1, relaxed)}},
           "1 1 110", false);
  add_test("coherence of reads", {{store(x, 1, relaxed), store(x, 2, relaxed)}, {load(x, relaxed), load(x, relaxed)}},
           " 21 200", false);
  add_test("a stale read", {{store(x, 1, relaxed), store(x, 2, relaxed)}, {load(x, relaxed), load(x, relaxed)}},
           " 01 200", true);
  add_test("independent reads, seq_cst",
           {{store(x, 1, seq_cst), store(y, 1, seq_cst)},
            {load(x, seq_cst), load(y, seq_cst)},
            {load(y, seq_cst), load(x, seq_cst)}},
           " 01 10 110", false);
  add_test("release sequence through a read-modify-write",
           {{store(x, 1, relaxed), store(y, 1, release)}, {add(y, 1, relaxed)}, {load(y, acquire), load(x, relaxed)}},
           " 1 20 120", false);
  add_test("a store ends a release sequence",
           {{store(x, 1, relaxed), store(y, 1, release)},
            {load(y, relaxed), store(y, 2, relaxed)},
            {load(y, acquire), load(x, relaxed)}},
           " 1 20 120", true);
  add_test("causality through a third thread",
           {{store(x, 1, release)}, {load(x, acquire), store(y, 1, release)}, {load(y, acquire), load(x, relaxed)}},
           " 1 10 110", false);
  // The example of P0668: since C++20, happening before is not enough for a place in S, it has to be strongly.
  add_test("seq_cst and release-acquire do not add up",
           {{store(x, 1, seq_cst), store(y, 1, release)},
            {add(y, 1, seq_cst), load(y, relaxed)},
            {store(y, 3, seq_cst), load(x, seq_cst)}},
           " 13 0 130", true);
  add_test("a mutex orders",
           {{of(Kind::lock), of(Kind::plain_write), of(Kind::unlock)},
            {of(Kind::lock), of(Kind::plain_read), of(Kind::unlock)}},
           nullptr, false);
  add_test("a race", {{of(Kind::plain_write)}, {of(Kind::plain_read)}}, nullptr, true);
  add_test("publication",
           {{of(Kind::plain_write), store(x, 1, release)}, {{Kind::wait, x, acquire, 1}, of(Kind::plain_read)}},
           nullptr, false);
  add_test("publication, relaxed store",
           {{of(Kind::plain_write), store(x, 1, relaxed)}, {{Kind::wait, x, acquire, 1}, of(Kind::plain_read)}},
           nullptr, true);
  add_test("publication, relaxed load",
           {{of(Kind::plain_write), store(x, 1, release)}, {{Kind::wait, x, relaxed, 1}, of(Kind::plain_read)}},
           nullptr, true);
  add_test("a wait for what does not come", {{store(x, 2, release)}, {{Kind::wait, x, acquire, 1}}}, nullptr, true);
  return tests;
}

Table random_table(std::mt19937& random) {
  const auto below = [&](unsigned bound) { return static_cast<std::uint8_t>(random() % bound); };
  Table table;
  const bool three = below(4) == 0;
  const bool special = below(3) == 0;
  table.threads.resize(three ? 3 : 2);
  for (Code& code : table.threads) {
    const unsigned length = three ? 1U + below(3) : 2U + below(3);
    for (unsigned i = 0; i < length; ++i) {
      Instruction instruction;
      instruction.location = below(2);
      instruction.value = static_cast<std::uint8_t>(1 + below(3));
      switch (below(special ? 11 : 8)) {
        case 0:
          instruction.kind = Instruction::Kind::add;
          instruction.order = std::array{relaxed, acq_rel, seq_cst}[below(3)];
          break;
        case 1:
          instruction.kind = Instruction::Kind::exchange_if_zero;
          instruction.order = std::array{relaxed, acq_rel, seq_cst}[below(3)];
          break;
        case 2:
        case 3:
        case 4:
          instruction.kind = Instruction::Kind::store;
          instruction.order = std::array{relaxed, release, seq_cst}[below(3)];
          break;
        case 8: instruction.kind = Instruction::Kind::plain_read; break;
        case 9: instruction.kind = Instruction::Kind::plain_write; break;
        case 10:
          instruction.kind = Instruction::Kind::wait;
          instruction.order = std::array{relaxed, acquire, seq_cst}[below(3)];
          break;
        default:
          instruction.kind = Instruction::Kind::load;
          instruction.order = std::array{relaxed, acquire, seq_cst}[below(3)];
          break;
      }
      code.push_back(instruction);
    }
    if (below(4) == 0) {
      code.insert(code.begin() + below(static_cast<unsigned>(code.size())), of(Instruction::Kind::lock));
      code.push_back(of(Instruction::Kind::unlock));
    }
  }
  return table;
}

}  // namespace

int check_model(unsigned random_count) {
  int wrong = 0;
  std::size_t count = 0;
  for (const Litmus& test : litmus_tests()) {
    for (const bool reduce : {true, false}) {
      ++count;
      const Outcome outcome = explore(test.table, reduce);
      const bool found = test.outcome == nullptr ? outcome.failed : test.table.outcomes.contains(test.outcome);
      if (found == test.allowed && (test.outcome == nullptr || !outcome.failed)) continue;
      ++wrong;
      std::printf("litmus: %s%s: %s\n", test.name, reduce ? "" : ", without reduction",
                  found ? "must not be" : "was not found");
      for (const std::string& other : test.table.outcomes) std::printf("  %s\n", other.c_str());
    }
  }
  std::mt19937 random{1};
  std::uint64_t reduced = 0;
  std::uint64_t all = 0;
  for (unsigned i = 0; i < random_count; ++i) {
    ++count;
    const Table table = random_table(random);
    const Outcome with = explore(table, true);
    const std::set<std::string> outcomes = table.outcomes;
    const Outcome without = explore(table, false);
    reduced += with.executions + with.repeated;
    all += without.executions;
    if (with.failed != without.failed || (!with.failed && outcomes != table.outcomes)) {
      ++wrong;
      std::printf("litmus: random program %u: %zu outcomes of %zu %s %s\n", i, outcomes.size(), table.outcomes.size(),
                  with.reason.c_str(), without.reason.c_str());
    }
  }
  std::printf("litmus: %zu programs, %d wrong; %llu executions instead of %llu\n", count, wrong,
              static_cast<unsigned long long>(reduced), static_cast<unsigned long long>(all));
  return wrong;
}

}  // namespace fanfare::explore
