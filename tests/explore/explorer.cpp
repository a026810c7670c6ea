#include "explorer.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace fanfare::explore {
namespace {

// In one execution:
constexpr std::size_t max_stores = 1024;
constexpr std::uint8_t max_repeats = 4;  // of a load that returns the same old store

[[noreturn]] void give_up(const char* why) {
  std::fprintf(stderr, "explore: %s\n", why);
  std::abort();
}

const char* name_of(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed: return "relaxed";
    case std::memory_order_consume: return "consume";
    case std::memory_order_acquire: return "acquire";
    case std::memory_order_release: return "release";
    case std::memory_order_acq_rel: return "acq_rel";
    case std::memory_order_seq_cst: return "seq_cst";
  }
  return "?";
}

}  // namespace

Explorer::Explorer(const Program& program, bool reduce) : program_(program), search_(reduce), stores_(max_stores) {
  if (current_ != nullptr) give_up("two explorations at once");
  if (program.threads > main_thread) give_up("too many threads");
  current_ = this;
}

Explorer::~Explorer() { current_ = nullptr; }

// ---- executions

Outcome Explorer::run() {
  do {
    execute();
  } while (!outcome_.failed && search_.advance());
  return outcome_;
}

Outcome Explorer::replay(std::string_view path) {
  if (!search_.set_path(path)) {
    outcome_.failed = true;
    outcome_.reason = "this is no path";
    return outcome_;
  }
  printing_ = true;
  execute();
  return outcome_;
}

void Explorer::execute() {
  heap_.clear(program_.reuses_memory);
  order_.clear();
  stores_.clear();
  contended_ = 0;
  peeking_ = given_up_ = false;
  for (Thread& thread : threads_) {
    thread.view = {};
    thread.finished = true;
    thread.condition = nullptr;
  }
  next_ = {};
  search_.begin_execution();

  // The main thread sets up and starts the others. Whoever finds that nothing is left to do comes back here.
  Fiber& main = threads_[main_thread].fiber;
  phase_ = Phase::starting;
  current_thread_ = main_thread;
  main.prepare(&enter);
  outside_.suspend_for(main);
  if (phase_ == Phase::running && !outcome_.failed && !given_up_ && ends_well()) {
    phase_ = Phase::ending;
    current_thread_ = main_thread;
    for (std::size_t i = 0; i < program_.threads; ++i) view().join(threads_[i].view);
    main.prepare(&enter);
    outside_.suspend_for(main);
  }
  outcome_.longest = std::max(outcome_.longest, search_.depth());
  if (outcome_.failed) {
    outcome_.path = search_.path();
  } else if (given_up_) {
    ++outcome_.repeated;
  } else if (phase_ == Phase::over) {
    ++outcome_.executions;
  } else {
    ++outcome_.waiting;
  }
}

/// Whether all threads are finished. If some are not, and never will be, the program has failed.
bool Explorer::ends_well() {
  bool all = true;
  bool any_goes_on = false;
  for (std::size_t i = 0; i < program_.threads; ++i) {
    const Thread& thread = threads_[i];
    all = all && thread.finished;
    if (thread.condition == nullptr) continue;
    peeking_ = true;
    any_goes_on = any_goes_on || thread.condition(thread.argument);
    peeking_ = false;
  }
  if (all || any_goes_on) return all;
  outcome_.failed = true;
  outcome_.reason = "threads wait for ever";
  return false;
}

/// What every fiber begins with.
void Explorer::enter() {
  Explorer& self = current();
  const std::size_t me = self.current_thread_;
  Thread& mine = self.threads_[me];
  if (me != main_thread) {
    self.program_.run(self.object_, me);
    mine.finished = true;
  } else if (self.phase_ == Phase::starting) {
    self.object_ = self.program_.begin(self.program_.context);
    for (std::size_t i = 0; i < self.program_.threads; ++i) {
      // Up to its first step, which nobody else can see.
      Thread& thread = self.threads_[i];
      thread.view = mine.view;
      thread.finished = false;
      thread.fiber.prepare(&enter);
      self.current_thread_ = i;
      mine.fiber.suspend_for(thread.fiber);
    }
    self.phase_ = Phase::running;
  } else {
    self.program_.end(self.object_);
    if (self.heap_.live() != 0) self.fail("memory is lost");
    self.phase_ = Phase::over;
    self.leave();
  }
  self.schedule(mine.fiber);
  give_up("a fiber has returned");
}

void Explorer::leave() {
  threads_[current_thread_].fiber.suspend_for(outside_);
  give_up("an abandoned fiber goes on");
}

void Explorer::fail(const std::string& reason) {
  if (!outcome_.failed) {
    outcome_.failed = true;
    outcome_.reason = reason;
    if (!alone()) outcome_.reason += std::string{" (thread "} + static_cast<char>('a' + current_thread_) + ")";
  }
  leave();
}

// ---- scheduling

Threads Explorer::enabled() const noexcept {
  Threads threads = 0;
  for (std::size_t i = 0; i < program_.threads; ++i) {
    const Thread& thread = threads_[i];
    if (thread.finished || thread.condition != nullptr) continue;
    const Operation& next = next_[i];
    if (next.kind == Operation::Kind::lock && static_cast<const MutexState*>(next.object)->held) continue;
    threads |= static_cast<Threads>(1U << i);
  }
  return threads;
}

void Explorer::schedule(Fiber& here) {
  std::size_t next = main_thread;
  if (phase_ == Phase::running) {
    const Threads threads = enabled();
    if (threads == 0) leave();
    if (search_.depth() == max_steps) fail("it does not end");
    const auto picked = search_.pick(threads, next_, current_thread_);
    if (!picked) {
      given_up_ = true;
      leave();
    }
    next = *picked;
  }
  if (&threads_[next].fiber == &here) return;
  current_thread_ = next;
  here.suspend_for(threads_[next].fiber);
}

void Explorer::begin_step(Operation::Kind kind, Object& object) {
  const std::size_t me = current_thread_;
  if (me != main_thread) {
    next_[me] = {kind, &object};
    schedule(threads_[me].fiber);
  }
  ++view().clock[me];
}

void Explorer::begin_step(Operation::Kind kind, Location& location) {
  begin_step(kind, static_cast<Object&>(location));
  touch(&location);
  if (location.created > view().clock[location.creator]) fail("an atomic is used before its initialisation");
}

void Explorer::await(bool (*condition)(void*), void* argument) {
  if (condition(argument)) return;
  if (alone()) fail("the main thread would wait");
  Thread& mine = threads_[current_thread_];
  mine.condition = condition;
  mine.argument = argument;
  schedule(mine.fiber);
  give_up("a thread that waits goes on");
}

/// A domain takes five bits of the product with 2^64 divided by the golden ratio as its hint: these agree in them.
std::uintptr_t Explorer::identity() const noexcept {
  constexpr std::array<std::uintptr_t, max_threads> agreeing{1, 22, 56, 90};
  return program_.same_hint ? agreeing[current_thread_] : current_thread_ + 1;
}

// ---- memory

void Explorer::touch(const void* address) {
  Heap::Block* const block = heap_.find(address);
  if (block == nullptr) return;
  if (block->freed) fail("freed memory is used");
  block->used[current_thread_] = view().clock[current_thread_];
}

void Explorer::allocated(const void* memory, std::size_t bytes) {
  ++view().clock[current_thread_];
  Heap::Block* const block = heap_.announce(memory, bytes);
  if (block == nullptr) give_up("memory that does not come from the heap");
  block->used[current_thread_] = view().clock[current_thread_];
}

void Explorer::freed(const void* memory) {
  Heap::Block* const block = heap_.find(memory);
  if (block == nullptr) give_up("memory that does not come from the heap");
  if (block->freed) fail("memory is freed twice");
  for (std::size_t i = 0; i < max_threads; ++i) {
    if (i != current_thread_ && block->used[i] > view().clock[i])
      fail("memory is freed that another thread still uses");
  }
  heap_.forget(*block);
}

void Explorer::initialise(Location& location, std::uint64_t value) noexcept {
  location = {};
  location.initial = value;
  location.creator = static_cast<std::uint8_t>(current_thread_);
  location.created = ++view().clock[current_thread_];
}

template <class Wanted>
std::size_t Explorer::candidates(const Location& location, std::memory_order order, Wanted wanted) {
  const std::size_t me = current_thread_;
  const std::uint16_t newest = location.newest_index();
  std::uint16_t oldest = location.contended == 0 ? std::uint16_t{0} : view().oldest[location.contended - 1U];
  if (!alone()) oldest = std::max(oldest, search_.no_older_than());
  std::size_t count = 0;
  const Store* store = location.newest;
  for (std::uint16_t index = newest;; --index, store = store->older) {
    if (newest - index >= static_cast<int>(remembered_stores)) {
      ++outcome_.unremembered;
      break;
    }
    const bool stubborn = index != newest && location.last_read[me] == index && location.repeated[me] >= max_repeats;
    if (stubborn) ++outcome_.stubborn;
    if (!stubborn && wanted(store == nullptr ? location.initial : store->value) &&
        (order != std::memory_order_seq_cst || alone() || order_.admits(location, view().ordered, index))) {
      found_[count++] = store;
    }
    if (index == oldest) break;
  }
  return count;
}

std::uint64_t Explorer::take(Location& location, const Store* store, std::memory_order order) {
  const std::size_t me = current_thread_;
  const std::uint16_t index = store == nullptr ? std::uint16_t{0} : store->index;
  View& mine = view();
  const auto short_index = static_cast<std::uint8_t>(index);
  location.repeated[me] = location.last_read[me] == short_index
                              ? static_cast<std::uint8_t>(std::min(location.repeated[me] + 1, 255))
                              : std::uint8_t{1};
  location.last_read[me] = short_index;
  if (location.contended != 0) mine.oldest[location.contended - 1U] = short_index;
  if (order == std::memory_order_seq_cst && !alone()) {
    if (order_.full()) give_up("too many sequentially consistent operations");
    mine.ordered[me] = order_.add(location, mine.ordered, index, false);
  }
  if (store != nullptr && acquires(order)) mine.join(store->released);
  return store == nullptr ? location.initial : store->value;
}

void Explorer::write(Location& location, std::uint64_t value, std::memory_order order, bool continues,
                     const Counts& ordered) {
  View& mine = view();
  if (alone()) {
    // Before the others begin or after they have ended: there is no other store to be seen.
    const Object links = location;
    initialise(location, value);
    static_cast<Object&>(location) = links;
    return;
  }
  if (location.contended == 0) {
    if (contended_ == max_contended) give_up("too many locations are stored to");
    location.contended = static_cast<std::uint8_t>(++contended_);
  }
  const std::uint16_t index = static_cast<std::uint16_t>(location.newest_index() + 1U);
  if (stores_.size() == max_stores || index > 255) give_up("too many stores");
  mine.oldest[location.contended - 1U] = static_cast<std::uint8_t>(index);
  Store& store = stores_.emplace_back();
  store.value = value;
  store.index = index;
  store.older = location.newest;
  if (releases(order)) store.released = mine;
  if (continues && location.newest != nullptr) store.released.join(location.newest->released);
  location.newest = &store;
  if (order == std::memory_order_seq_cst) {
    if (order_.full()) give_up("too many sequentially consistent operations");
    mine.ordered[current_thread_] = order_.add(location, ordered, index, true);
  }
  search_.done(index);
}

std::uint64_t Explorer::load(Location& location, std::memory_order order) {
  if (peeking_) return location.newest == nullptr ? location.initial : location.newest->value;
  begin_step(Operation::Kind::load, location);
  const std::size_t count = candidates(location, order, [](std::uint64_t) { return true; });
  const std::uint64_t value = take(location, found_[alone() ? 0 : search_.choose(count)], order);
  note("load", location, order, value);
  return value;
}

void Explorer::store(Location& location, std::uint64_t value, std::memory_order order) {
  begin_step(Operation::Kind::store, location);
  write(location, value, order, false, view().ordered);
  note("store", location, order, value);
}

bool Explorer::compare_exchange(Location& location, std::uint64_t& expected, std::uint64_t value,
                                std::memory_order success, std::memory_order failure) {
  begin_step(Operation::Kind::modify, location);
  const std::uint64_t newest = location.newest == nullptr ? location.initial : location.newest->value;
  const bool may_succeed = newest == expected;
  // Where it fails it is a load like any other. For no reason at all it never fails, not even the weak one.
  const std::size_t failures =
      alone() && may_succeed ? 0
                             : candidates(location, failure, [&](std::uint64_t other) { return other != expected; });
  std::size_t choice = alone() ? 0 : search_.choose(failures + (may_succeed ? 1 : 0));
  if (may_succeed && choice-- == 0) {
    const Counts ordered = view().ordered;
    take(location, location.newest, without_total_order(success));
    write(location, value, success, true, ordered);
    note("exchange", location, success, value);
    return true;
  }
  expected = take(location, found_[choice], failure);
  note("compare", location, failure, expected);
  return false;
}

void Explorer::lock(MutexState& mutex) {
  begin_step(Operation::Kind::lock, mutex);
  touch(&mutex);
  if (mutex.held) give_up("the main thread would wait for a mutex");
  mutex.held = true;
  view().join(mutex.released);
  note("lock", mutex, std::memory_order_acquire, 0);
}

/// Is no step: whatever could come before it could come before the unlocking thread's next step just as well.
void Explorer::unlock(MutexState& mutex) {
  ++view().clock[current_thread_];
  touch(&mutex);
  mutex.held = false;
  mutex.released = view();
  if (!alone()) mutex.released_steps = search_.steps_before(current_thread_);
}

void Explorer::initialise(PlainState& cell) noexcept {
  cell = {};
  cell.writer = static_cast<std::uint8_t>(current_thread_);
  cell.written = ++view().clock[current_thread_];
}

void Explorer::read(PlainState& cell, const void* address) {
  if (peeking_) return;
  ++view().clock[current_thread_];
  touch(address);
  if (cell.written > view().clock[cell.writer]) fail("plain data is read while another thread writes it");
  cell.read[current_thread_] = view().clock[current_thread_];
}

void Explorer::write(PlainState& cell, const void* address) {
  ++view().clock[current_thread_];
  touch(address);
  if (cell.written > view().clock[cell.writer]) fail("two threads write plain data");
  for (std::size_t i = 0; i < max_threads; ++i) {
    if (i != current_thread_ && cell.read[i] > view().clock[i])
      fail("plain data is written while another thread reads it");
  }
  cell.writer = static_cast<std::uint8_t>(current_thread_);
  cell.written = view().clock[current_thread_];
}

void Explorer::note(const char* what, const Object& object, std::memory_order order, std::uint64_t value) {
  if (!printing_ || alone()) return;
  // Addresses differ from run to run, distances do not.
  const Heap::Block* const block = heap_.find(&object);
  const void* const origin = block == nullptr ? object_ : heap_.begin();
  const auto distance = reinterpret_cast<std::intptr_t>(&object) - reinterpret_cast<std::intptr_t>(origin);
  std::printf("%4zu  %c  %-8s  %s + %#-7llx  %-7s  %#llx\n", search_.depth(), static_cast<char>('a' + current_thread_),
              what, block == nullptr ? "object" : "heap  ", static_cast<unsigned long long>(distance), name_of(order),
              static_cast<unsigned long long>(value));
}

}  // namespace fanfare::explore
