// Programs about the subscriber list: a trigger walks it while others come and leave.
#pragma once

#include "explore/programs/environment.hpp"
#include <fanfare/core/epoch.hpp>
#include <fanfare/core/subscriber_list.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace fanfare::explore {

/// One channel: guests that a walk calls.
template <class Env>
class ListProgram : public Parts<Env> {
 public:
  using Base = Parts<Env>;
  using typename Base::Domain;
  using typename Base::Lock;
  using typename Base::Queue;

  ListProgram() = default;
  ~ListProgram() {
    domain.destroy_all(garbage, this->memory);
    for (Member& member : members) {
      if (member.guest != nullptr) this->free(*member.guest);
    }
    list.destroy(this->memory);
  }

 protected:
  static constexpr int max_members = 4;

  /// How often each guest was called by one trigger.
  using Calls = std::array<int, max_members>;
  using Function = void (*)(void* context, Calls& calls);

  struct Member {
    Guest<Env>* guest = nullptr;  // null: is not there, or has been freed
    std::uint64_t sequence = 0;
    std::size_t position = 0;
  };

  template <int Name>
  static void call(void* context, Calls& calls) {
    Env::require(static_cast<Guest<Env>*>(context)->name() == Name, "the function of one has the context of another");
    ++calls[Name];
  }

  void retire(fanfare::detail::Garbage* item) {
    if (item != nullptr) domain.retire(garbage, *item, domain.advance());
  }

  template <int Name>
  void add() {
    Member& member = members[Name];
    member.guest = this->template make<Guest<Env>>(Name);
    const Lock lock(mutex);
    fanfare::detail::Garbage* replaced = nullptr;
    Env::require(list.add({&call<Name>, member.guest, 7 + Name}, member.sequence, this->memory, replaced),
                 "there is no memory");
    member.position = list.last_position();
    retire(replaced);
  }

  /// Leaves as outside of callbacks: waits, and frees at once.
  void leave(int name) {
    Member& member = members[static_cast<std::size_t>(name)];
    std::uint64_t stamp = 0;
    {
      const Lock lock(mutex);
      list.remove(member.sequence, member.position);
      stamp = domain.advance();
    }
    domain.await(&list, stamp);
    this->free(*std::exchange(member.guest, nullptr));
  }
  /// Leaves as inside of callbacks: does not wait.
  void detach(int name) {
    Member& member = members[static_cast<std::size_t>(name)];
    const Lock lock(mutex);
    list.remove(member.sequence, member.position);
    domain.retire(garbage, *std::exchange(member.guest, nullptr), domain.advance());
  }
  void collect() {
    Queue ready;
    {
      const Lock lock(mutex);
      domain.collect(garbage, &list, ready);
    }
    ready.destroy_all(this->memory);
  }

  Calls trigger() {
    Calls calls{};
    auto guard = domain.pin();
    Env::require(guard.error() == errc::ok, "a trigger was refused");
    guard.enter(&list);
    const auto view = list.view();
    guard.enter_callbacks();
    for (const auto& slot : view) {
      if (const Function function = slot.function()) function(slot.context(), calls);
    }
    return calls;
  }

  Domain domain{this->memory};
  SubscriberList<typename Base::A, Function> list;
  typename Base::A::mutex mutex;
  Queue garbage;
  std::array<Member, max_members> members{};
};

template <class Env>
class TriggerLeave : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | leave and wait";
  static constexpr std::size_t threads = 2;
  TriggerLeave() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger();
    } else {
      this->leave(1);
    }
  }
  void end() { Env::require(this->trigger()[1] == 0, "who has left is called"); }
};

template <class Env>
class TriggerDetach : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | remove + free";
  static constexpr std::size_t threads = 2;
  TriggerDetach() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger();
    } else {
      this->detach(1);
      this->collect();
    }
  }
  void end() {
    Env::require(this->trigger()[1] == 0, "who has left is called");
    const auto guard = this->domain.pin();  // began later, so it holds nothing back
    this->collect();
    Env::require(this->domain.bytes(this->garbage) == 0, "what nobody can see is not freed");
  }
};

template <class Env>
class TriggerReplace : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | remove + add";
  static constexpr std::size_t threads = 2;
  TriggerReplace() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      const auto calls = this->trigger();
      Env::require(calls[1] <= 1 && calls[2] <= 1, "one is called twice");
    } else {
      this->detach(1);
      this->template add<2>();
    }
  }
  void end() {
    const auto calls = this->trigger();
    Env::require(calls[1] == 0 && calls[2] == 1, "the list is not what it should be");
  }
};

/// The new one lies where the old one lay.
template <class Env>
class TriggerReuse : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | leave and wait + add in the same memory";
  static constexpr std::size_t threads = 2;
  static constexpr bool reuses_memory = true;
  TriggerReuse() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger();
    } else {
      this->leave(1);
      this->template add<2>();
    }
  }
  void end() {
    const auto calls = this->trigger();
    Env::require(calls[1] == 0 && calls[2] == 1, "the list is not what it should be");
  }
};

/// The first array takes the place of the slot in the list, which is never freed; this is about an array that is.
template <class Env>
class TriggerGrowArray : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | grow an array + free";
  static constexpr std::size_t threads = 2;
  TriggerGrowArray() {
    this->template add<0>();
    this->template add<1>();  // fills an array of two
  }
  void run(std::size_t thread) {
    if (thread == 0) {
      const auto calls = this->trigger();
      Env::require(calls[0] == 1 && calls[1] == 1, "one who was there all the time is not called once");
      Env::require(calls[2] <= 1, "one is called twice");
    } else {
      this->template add<2>();
      this->collect();
    }
  }
  void end() {
    const auto calls = this->trigger();
    Env::require(calls[0] == 1 && calls[1] == 1 && calls[2] == 1, "the list is not what it should be");
  }
};

template <class Env>
class TriggerGrow : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | grow + free";
  static constexpr std::size_t threads = 2;
  TriggerGrow() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      const auto calls = this->trigger();
      Env::require(calls[1] == 1, "one who was there all the time is not called once");
      Env::require(calls[2] <= 1, "one is called twice");
    } else {
      this->template add<2>();
      this->collect();
    }
  }
  void end() {
    const auto calls = this->trigger();
    Env::require(calls[1] == 1 && calls[2] == 1, "the list is not what it should be");
  }
};

/// Leaves both from the current array and from one that is still retired.
template <class Env>
class TriggerGrowLeave : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | grow + leave and wait";
  static constexpr std::size_t threads = 2;
  TriggerGrowLeave() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger();
    } else {
      this->template add<2>();
      this->leave(1);
    }
  }
  void end() {
    const auto calls = this->trigger();
    Env::require(calls[1] == 0 && calls[2] == 1, "the list is not what it should be");
  }
};

template <class Env>
class TwoTriggersReplace : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | trigger | remove + add + free";
  static constexpr std::size_t threads = 3;
  TwoTriggersReplace() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread < 2) {
      const auto calls = this->trigger();
      Env::require(calls[1] <= 1 && calls[2] <= 1, "one is called twice");
    } else {
      this->detach(1);
      this->template add<2>();
      this->collect();
    }
  }
  void end() {
    const auto calls = this->trigger();
    Env::require(calls[1] == 0 && calls[2] == 1, "the list is not what it should be");
  }
};

/// Both triggers have the same record as their hint.
template <class Env>
class TwoTriggersOneHint : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | trigger with the same hint | leave and wait";
  static constexpr std::size_t threads = 3;
  static constexpr bool same_hint = true;
  TwoTriggersOneHint() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread < 2) {
      this->trigger();
    } else {
      this->leave(1);
    }
  }
  void end() { Env::require(this->trigger()[1] == 0, "who has left is called"); }
};

template <class Env>
class TwoTriggersLeave : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | trigger | leave and wait";
  static constexpr std::size_t threads = 3;
  TwoTriggersLeave() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread < 2) {
      this->trigger();
    } else {
      this->leave(1);
    }
  }
  void end() { Env::require(this->trigger()[1] == 0, "who has left is called"); }
};

/// Two who change the list, each under the lock, and one who walks it.
template <class Env>
class TriggerTwoWriters : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | grow | leave and wait";
  static constexpr std::size_t threads = 3;
  TriggerTwoWriters() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger();
    } else if (thread == 1) {
      this->template add<2>();
    } else {
      this->leave(1);
    }
  }
  void end() {
    const auto calls = this->trigger();
    Env::require(calls[1] == 0 && calls[2] == 1, "the list is not what it should be");
  }
};

/// Walks one view twice, as a trigger does with its queues.
template <class Env>
class WalkTwice : public ListProgram<Env> {
 public:
  static constexpr const char* name = "two walks of one view | add";
  static constexpr std::size_t threads = 2;
  WalkTwice() {
    this->template add<0>();
    this->template add<1>();
    this->template add<2>();  // leaves room for one more
  }
  void run(std::size_t thread) {
    if (thread == 0) {
      auto guard = this->domain.pin();
      guard.enter(&this->list);
      const auto view = this->list.view();
      std::array<int, 2> met{};
      for (int& count : met) {
        for (const auto& slot : view) count += slot.function() != nullptr ? 1 : 0;
      }
      Env::require(met[0] == met[1], "two walks of one view meet different ones");
    } else {
      this->template add<3>();
    }
  }
  void end() {}
};

/// All records of the first block are taken, by readers of something else.
template <class Env>
class TriggerInNewBlock : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger in a new block of records | leave and wait";
  static constexpr std::size_t threads = 2;
  TriggerInNewBlock() {
    this->template add<1>();
    for (auto& guard : others) {
      guard.emplace(this->domain.pin(ReadFor::query));
      guard->enter(this);
    }
  }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger();
    } else {
      this->leave(1);
    }
  }
  void end() { Env::require(this->trigger()[1] == 0, "who has left is called"); }

 private:
  std::array<std::optional<typename ListProgram<Env>::Domain::Guard>, 32> others;
};

/// The same with two readers. One of them links the block, the other one finds it; or both try.
template <class Env>
class TwoReadersInNewBlock : public TriggerInNewBlock<Env> {
 public:
  static constexpr const char* name = "read in a new block | read in a new block | leave and wait";
  static constexpr std::size_t threads = 3;
  void run(std::size_t thread) {
    if (thread == 2) return this->leave(1);
    const auto guard = this->domain.pin(ReadFor::query);
    for (const auto& slot : this->list.view()) {
      if (slot.function() == nullptr) continue;
      Env::require(static_cast<Guest<Env>*>(slot.context())->name() == 1, "a reader sees what is freed");
    }
  }
};

/// A callback changes the list that is being walked, so that the walk is in an older array: who has left is not called.
template <class Env>
class ChangeInCallback : public ListProgram<Env> {
 public:
  static constexpr const char* name = "a callback that grows the list and removes | trigger";
  static constexpr std::size_t threads = 2;
  ChangeInCallback() {
    this->template add<0>();
    this->template add<1>();
  }
  void run(std::size_t thread) {
    if (thread != 0) {
      this->trigger();
      return;
    }
    typename ListProgram<Env>::Calls calls{};
    auto guard = this->domain.pin();
    guard.enter(&this->list);
    const auto view = this->list.view();
    guard.enter_callbacks();
    for (const auto& slot : view) {
      const auto function = slot.function();
      if (function == nullptr) continue;
      function(slot.context(), calls);
      if (calls[1] != 0) continue;
      this->template add<2>();
      this->detach(1);
    }
    Env::require(calls[0] == 1 && calls[1] == 0 && calls[2] == 0, "a walk goes on with who has left");
  }
  void end() { Env::require(this->trigger()[1] == 0, "who has left is called"); }
};

/// The age of the oldest reader is for display, but it is a number and not nonsense.
template <class Env>
class TriggerAge : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | remove + age of the oldest reader";
  static constexpr std::size_t threads = 2;
  TriggerAge() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger();
      this->trigger();
    } else {
      this->detach(1);
      Env::require(this->domain.oldest_reader_age() <= 1, "a reader is older than all removals");
    }
  }
  void end() {}
};

/// A callback triggers, so the trigger inside takes another record.
template <class Env>
class NestedTrigger : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger in a trigger | leave and wait";
  static constexpr std::size_t threads = 2;
  NestedTrigger() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      {
        auto guard = this->domain.pin();
        guard.enter(&this->list);
        guard.enter_callbacks();
        Env::require(this->domain.inside(), "a callback does not know that it is one");
        this->trigger();
      }
      Env::require(!this->domain.inside(), "a trigger does not end");
    } else {
      Env::require(!this->domain.inside(), "who is in no callback believes to be in one");
      this->leave(1);
    }
  }
  void end() {}
};

/// `for_each` of all lists at the end of a registry: empties, then waits for all.
template <class Env>
class TriggerClear : public ListProgram<Env> {
 public:
  static constexpr const char* name = "trigger | clear + wait for all";
  static constexpr std::size_t threads = 2;
  TriggerClear() { this->template add<1>(); }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger();
    } else {
      {
        const typename ListProgram<Env>::Lock lock(this->mutex);
        this->list.clear();
      }
      this->domain.await_all();
      this->free(*std::exchange(this->members[1].guest, nullptr));
    }
  }
  void end() { Env::require(this->trigger()[1] == 0, "who has left is called"); }
};

}  // namespace fanfare::explore
