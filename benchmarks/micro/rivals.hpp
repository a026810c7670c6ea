// Ways to call many subscribers. All have the same members:
//
//   fill(contexts)      everybody enters, before the clock runs
//   add(callback)       one more enters; returns a token
//   remove(token)       that one leaves
//   trigger()           all are called
#pragma once

#include "work.hpp"

#include <benchmark/benchmark.h>
#include <boost/signals2.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

namespace rivals {

/// How a subscriber of fanfare leaves.
enum class Leaving : bool { waits, detaches };

/// A channel of a registry: one `bind` each, triggered through a handle.
template <Leaving How = Leaving::waits>
class Fanfare {
 public:
  using Token = fanfare::Subscription;

  void fill(work::Contexts& contexts) {
    subscriptions_.reserve(contexts.size());
    for (std::size_t i = 0; i < contexts.size(); ++i) subscriptions_.push_back(add(contexts.callback(i)));
  }
  [[nodiscard]] Token add(work::Callback callback) {
    return channels_.subscribe(work::channel, [&](fanfare::Subscription& s) { s.bind(work::event, callback); });
  }
  void remove(Token& token) {
    if constexpr (How == Leaving::waits) {
      token.reset();
    } else {
      token.detach();
    }
  }
  void trigger() { benchmark::DoNotOptimize(handle_.trigger(work::event, work::data)); }

 private:
  fanfare::ChannelRegistry<> channels_;
  fanfare::ChannelHandle handle_ = channels_.channel(work::channel);
  std::vector<fanfare::Subscription> subscriptions_;
};

/// What all others call their subscribers with.
class Given {
 protected:
  [[nodiscard]] const fanfare::Event& event() const { return event_; }

 private:
  fanfare::MessagePtr message_ = work::make_message();
  fanfare::Event event_{*message_};
};

/// The subscriber list alone: no names, no bindings, nobody waits.
///
/// \tparam Mutex   guards changes.
template <class Mutex>
class List : Given {
  using Function = void (*)(void* context, const fanfare::Event& event);
  using Slots = fanfare::SubscriberList<fanfare::StdAtomics, Function>;

 public:
  struct Token {
    Slots::Sequence sequence;
    std::size_t position;
  };

  List() = default;
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() {
    garbage_.destroy_all(memory_);
    slots_.destroy(memory_);
  }

  void fill(work::Contexts& contexts) {
    for (std::size_t i = 0; i < contexts.size(); ++i) static_cast<void>(add(contexts.callback(i)));
  }
  [[nodiscard]] Token add(work::Callback callback) {
    const work::Slot slot = work::slot_of(callback);
    Token token{};
    fanfare::detail::Garbage* replaced = nullptr;
    const std::lock_guard lock(mutex_);
    // Without memory it stays 0, and the check of who was called fails.
    static_cast<void>(slots_.add({slot.function, slot.context, 0}, token.sequence, memory_, replaced));
    token.position = slots_.last_position();
    if (replaced != nullptr) domain_.retire(garbage_, *replaced, domain_.advance());
    return token;
  }
  void remove(Token token) {
    fanfare::detail::GarbageQueue ready;
    {
      fanfare::detail::Garbage* replaced = nullptr;
      const std::lock_guard lock(mutex_);
      slots_.remove(token.sequence, token.position);
      slots_.tidy(memory_, replaced);
      if (replaced != nullptr) domain_.retire(garbage_, *replaced, domain_.advance());
      if (domain_.due(garbage_)) domain_.collect(garbage_, &slots_, ready);
    }
    ready.destroy_all(memory_);
  }
  void trigger() {
    auto guard = domain_.pin();
    guard.enter(&slots_);
    for (const auto& slot : slots_.view()) {
      if (const Function function = slot.function()) function(slot.context(), event());
    }
  }

 private:
  fanfare::NewDelete memory_;
  fanfare::EpochDomain<fanfare::StdAtomics, fanfare::NewDelete> domain_{memory_};
  Mutex mutex_;
  fanfare::detail::GarbageQueue garbage_;
  Slots slots_;
};

/// The floor: an array, no safety of any kind.
class PlainLoop : Given {
 public:
  void fill(work::Contexts& contexts) {
    for (std::size_t i = 0; i < contexts.size(); ++i) slots_.push_back(work::slot_of(contexts.callback(i)));
  }
  void trigger() {
    for (const work::Slot& slot : slots_) slot.function(slot.context, event());
    benchmark::ClobberMemory();
  }

 private:
  std::vector<work::Slot> slots_;
};

/// boost::signals2.
template <class Mutex>
class Signals2 : Given {
 public:
  using Token = boost::signals2::connection;

  void fill(work::Contexts& contexts) {
    for (std::size_t i = 0; i < contexts.size(); ++i) static_cast<void>(add(contexts.callback(i)));
  }
  [[nodiscard]] Token add(work::Callback callback) { return signal_.connect(callback); }
  void remove(const Token& token) { token.disconnect(); }
  void trigger() {
    signal_(event());
    benchmark::ClobberMemory();
  }

 private:
  typename boost::signals2::signal_type<void(const fanfare::Event&), boost::signals2::keywords::mutex_type<Mutex>>::type
      signal_;
};

/// What most programs have: functions in a vector, called under a mutex.
class MutexVector : Given {
 public:
  using Token = std::uint64_t;

  void fill(work::Contexts& contexts) {
    for (std::size_t i = 0; i < contexts.size(); ++i) static_cast<void>(add(contexts.callback(i)));
  }
  [[nodiscard]] Token add(work::Callback callback) {
    const std::lock_guard lock(mutex_);
    functions_.push_back({++last_, callback});
    return last_;
  }
  void remove(Token token) {
    const std::lock_guard lock(mutex_);
    functions_.erase(
        std::find_if(functions_.begin(), functions_.end(), [&](const Entry& entry) { return entry.id == token; }));
  }
  void trigger() {
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : functions_) entry.function(event());
    benchmark::ClobberMemory();
  }

 private:
  struct Entry {
    Token id;
    std::function<void(const fanfare::Event&)> function;
  };
  std::mutex mutex_;
  std::vector<Entry> functions_;
  Token last_ = 0;
};

using Slots = std::vector<work::Slot>;

/// A context belongs to one subscriber, so it is what a slot is found by.
inline void erase(Slots& slots, const void* context) {
  slots.erase(
      std::find_if(slots.begin(), slots.end(), [&](const work::Slot& slot) { return slot.context == context; }));
}

/// Slots in a vector, called under a lock that callers share.
class SharedMutexVector : Given {
 public:
  using Token = const void*;

  void fill(work::Contexts& contexts) {
    for (std::size_t i = 0; i < contexts.size(); ++i) static_cast<void>(add(contexts.callback(i)));
  }
  [[nodiscard]] Token add(work::Callback callback) {
    const std::lock_guard lock(mutex_);
    slots_.push_back(work::slot_of(callback));
    return callback.context;
  }
  void remove(Token token) {
    const std::lock_guard lock(mutex_);
    erase(slots_, token);
  }
  void trigger() {
    const std::shared_lock lock(mutex_);
    for (const work::Slot& slot : slots_) slot.function(slot.context, event());
    benchmark::ClobberMemory();
  }

 private:
  std::shared_mutex mutex_;
  Slots slots_;
};

/// A vector that never changes; a change puts a changed copy in its place.
class CopyOnWrite : Given {
 public:
  using Token = const void*;

  void fill(work::Contexts& contexts) {
    auto slots = std::make_shared<Slots>();
    for (std::size_t i = 0; i < contexts.size(); ++i) slots->push_back(work::slot_of(contexts.callback(i)));
    slots_.store(std::move(slots));
  }
  [[nodiscard]] Token add(work::Callback callback) {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<const Slots> before = slots_.load();
    auto slots = std::make_shared<Slots>();
    slots->reserve(before->size() + 1);
    slots->assign(before->begin(), before->end());
    slots->push_back(work::slot_of(callback));
    slots_.store(std::move(slots));
    return callback.context;
  }
  void remove(Token token) {
    const std::lock_guard lock(mutex_);
    auto slots = std::make_shared<Slots>(*slots_.load());
    erase(*slots, token);
    slots_.store(std::move(slots));
  }
  void trigger() {
    const std::shared_ptr<const Slots> slots = slots_.load();
    for (const work::Slot& slot : *slots) slot.function(slot.context, event());
    benchmark::ClobberMemory();
  }

 private:
  std::mutex mutex_;  // of those who change
  std::atomic<std::shared_ptr<const Slots>> slots_{std::make_shared<const Slots>()};
};

}  // namespace rivals
