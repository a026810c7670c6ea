/// \file
/// One channel: its subscribers, and how an event reaches them.
#pragma once

#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/channel_state.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/event.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/name_index.hpp>
#include <fanfare/core/sink.hpp>
#include <fanfare/core/subscriber_list.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>
#include <utility>

#if FANFARE_EXCEPTIONS
#include <exception>
#endif

FANFARE_NAMESPACE_BEGIN
namespace detail {

template <class Traits>
class RegistryCore;

/// The callables bound to one event name of one channel.
template <class Traits>
class alignas(name_index_alignment) EventNode final : public Garbage {
 public:
  using List = SubscriberList<typename Traits::atomics, CallbackFunction>;
  using MemoryType = typename Traits::memory;

  [[nodiscard]] static EventNode* make(std::string_view name, std::uint64_t hash, MemoryType& memory) noexcept {
    void* const address = memory.allocate(sizeof(EventNode) + name.size(), alignof(EventNode));
    return address == nullptr ? nullptr : ::new (address) EventNode{name, hash};
  }

  [[nodiscard]] std::string_view name() const noexcept { return {reinterpret_cast<const char*>(this + 1), size_}; }
  [[nodiscard]] std::uint64_t hash() const noexcept { return whole_hash(hash_); }

  /// \pre the list's array has been retired or destroyed.
  Block destroy() noexcept override {
    const Block block{this, bytes(), alignof(EventNode)};
    this->~EventNode();
    return block;
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(EventNode) + size_; }

  // Under the channel's lock:
  std::uint32_t bindings : 31 = 0;
  bool indexed : 1 = false;  ///< it can be found in the channel's table

  /// The next of those that have just been let go.
  [[nodiscard]] EventNode* unbound() const noexcept { return static_cast<EventNode*>(link()); }
  void set_unbound(EventNode* next) noexcept { set_link(next); }

 private:
  EventNode(std::string_view name, std::uint64_t hash) noexcept
      : hash_(static_cast<std::uint32_t>(hash)), size_(static_cast<std::uint32_t>(name.size())) {
    std::memcpy(static_cast<void*>(this + 1), name.data(), name.size());
  }
  ~EventNode() = default;

  const std::uint32_t hash_;

 public:
  List list;  ///< here, as a trigger reads it together with the name

 private:
  const std::uint32_t size_;
};

/// Calls what is in views, and keeps what they throw until all were called.
class CallbackWalk {
 public:
  explicit CallbackWalk(const Event& event) noexcept : event_(event) {}

  /// \param excluded   the subscription that is left out; 0: none.
  template <class View>
  void run(const View& view, std::uint64_t excluded) {
    if (excluded == 0) {
      run(view.begin(), view.end());
    } else {
      walk(view.begin(), view.end(), [&](const auto& slot) { return view.owner(slot) == excluded; });
    }
  }
  template <class Slot>
  void run(const Slot* slot, const Slot* end) {
    walk(slot, end, [](const Slot& /*slot*/) { return false; });
  }
#if FANFARE_EXCEPTIONS
  /// Keeps the exception that is being handled.
  FANFARE_NOINLINE void caught() noexcept {
    if (first_ == nullptr) {
      first_ = std::current_exception();
    } else {
      ++suppressed_;
    }
  }
#endif

  [[nodiscard]] std::size_t called() const noexcept { return called_; }
  [[nodiscard]] bool threw() const noexcept {
#if FANFARE_EXCEPTIONS
    return first_ != nullptr;
#else
    return false;
#endif
  }
  /// How many exceptions there were beyond the first.
  [[nodiscard]] std::size_t suppressed() const noexcept { return suppressed_; }
  void rethrow() const {
#if FANFARE_EXCEPTIONS
    if (first_ != nullptr) std::rethrow_exception(first_);
#endif
  }

 private:
  template <class Slot, class Skip>
  void walk(const Slot* slot, const Slot* end, Skip skip) {
    std::size_t called = 0;
    const auto rest = [&] {
      FANFARE_ALIGN_LOOP();
      for (; slot != end; ++slot) {
        const CallbackFunction function = slot->function();
        if (function == nullptr || skip(*slot)) continue;
        ++called;
        function(slot->context(), event_);
      }
    };
#if FANFARE_EXCEPTIONS
    while (slot != end) {
      try {
        rest();
      } catch (...) {
        caught();
        ++slot;
      }
    }
#else
    rest();
#endif
    called_ += called;
  }

#if FANFARE_EXCEPTIONS
  std::exception_ptr first_;
#endif
  const Event& event_;
  std::size_t called_ = 0;
  std::size_t suppressed_ = 0;
};

/// A channel of a registry with these traits.
///
/// Its lock, which it shares with other channels, guards: both kinds of subscriber lists against change, the events'
/// nodes, the subscriptions' states, the garbage, the count, and on ordered channels the order. `references_` is guarded
/// by the stripe that the channel is in.
template <class Traits>
class alignas(name_index_alignment) Channel final : public ChannelFace {
  using A = typename Traits::atomics;
  using Core = RegistryCore<Traits>;
  using Domain = typename Traits::domain;
  using Guard = typename Domain::Guard;
  using MemoryType = typename Traits::memory;
  using MessageType = typename Traits::message;
  using Node = EventNode<Traits>;
  using CallbackList = SubscriberList<A, CallbackFunction>;
  using QueueList = SubscriberList<A, const SinkOperations*>;
  using CallbackView = typename CallbackList::View;
  using Slot = typename CallbackList::Slot;
  using QueueView = typename QueueList::View;
  using Lock = std::unique_lock<typename A::mutex>;

 public:
  [[nodiscard]] static Channel* make(Core& core, std::string_view name, std::uint64_t hash) noexcept {
    void* const address = core.memory.allocate(sizeof(Channel) + name.size(), alignof(Channel));
    if (address == nullptr) return nullptr;
    bool failed = false;
    auto* const channel = ::new (address) Channel{core, name, hash, failed};
    if (!failed) return channel;
    const Block block = channel->destroy();
    core.memory.deallocate(block.address, block.bytes, block.alignment);
    return nullptr;
  }

  [[nodiscard]] std::uint64_t hash() const noexcept { return whole_hash(hash_); }

  // ---- ChannelFace

  [[nodiscard]] std::string_view name() const noexcept override {
    return {reinterpret_cast<const char*>(this + 1), size_};
  }
  [[nodiscard]] bool closed() const noexcept override { return core_.closed(); }
  [[nodiscard]] std::size_t subscribers() const noexcept override {
    return subscribers_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool ordered() const noexcept override { return order() != nullptr; }

  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
    return core_.memory.allocate(bytes, alignment);
  }
  void deallocate(Block block) noexcept override {
    core_.memory.deallocate(block.address, block.bytes, block.alignment);
  }

  [[nodiscard]] errc bind(SubscriptionState& state, std::string_view event, bool all, Binding& binding,
                          std::uint64_t& id) override {
    errc error = errc::ok;
    if (!all && event.empty()) error = errc::empty_name;
    if (!all && event.size() > core_.limits.event_name) error = errc::event_too_long;
    if (error != errc::ok) {
      Setup::note(state.setup(), error);
      return error;
    }
    if (ReplayedState* const replayed = state.replayed(); replayed != nullptr && take_pending(*replayed)) {
      return bind_behind_kept(*replayed, event, all, binding, id);
    }
    GarbageQueue ready;
    {
      const Lock lock(mutex());
      error = bind_locked(state, event, all, binding);
      id = binding.id();
      collect_if_due(ready);
    }
    ready.destroy_all(core_.memory);
    Setup::note(state.setup(), error);
    return error;
  }

  bool unbind(SubscriptionState& state, std::uint64_t id) noexcept override {
    return remove_bindings(state, [&](const Binding& binding) { return binding.id() == id; }) != 0;
  }

  std::size_t unbind(SubscriptionState& state, std::string_view event) noexcept override {
    return remove_bindings(state, [&](const Binding& binding) {
      return binding.node != all() && static_cast<const Node*>(binding.node)->name() == event;
    });
  }

  void add_members(SubscriptionState& state, std::ptrdiff_t by) noexcept override {
    {
      const Lock lock(mutex());
      FANFARE_ASSERT(by >= 0 || state.members >= static_cast<std::size_t>(-by), "fewer than no members");
      state.members = static_cast<std::uint32_t>(state.members + by) & max_members;
      if (state.entered) change_count(by);
    }
    report_transitions();
  }

  [[nodiscard]] Standing standing(SubscriptionState& state) noexcept override {
    const Standing* const place = state.standing();
    if (place == nullptr) return {};
    const Lock lock(mutex());
    return *place;
  }

  void leave(SubscriptionState& state, Leave how) noexcept override {
    if (Setup* const setup = state.setup()) setup->ended = true;
    if (const ReplayedState* const replayed = state.replayed(); replayed != nullptr && replayed->ended != nullptr) {
      *replayed->ended = true;
    }
    bool wait = how == Leave::waiting && !core_.domain.inside();
    Leaving leaving;
    GarbageQueue ready;
    {
      const Lock lock(mutex());
      wait = wait || core_.drained();
      leaving = unlink_locked(state);
      if (wait) {
        leaving.state = &state;
        // Nothing of theirs can be in the queue if nothing is: they go with the bindings, without another lock.
        leaving.collects = !core_.domain.empty(garbage_);
        if (leaving.collects) retire_unbound_nodes(std::exchange(leaving.unbound, nullptr), leaving.stamp);
      } else {
        retire_unbound_nodes(std::exchange(leaving.unbound, nullptr), leaving.stamp);
        retire_state(state, leaving.stamp);
      }
      collect_if_due(ready);
    }
    finish_leaving(ready, leaving);
  }

  void leave_queue(PolledState& state) noexcept override {
    const Lock lock(mutex());
    const Leaving leaving = unlink_locked(state);
    retire_unbound_nodes(leaving.unbound, leaving.stamp);
  }

  void free_left(PolledState& state) noexcept override {
    const bool wait = !core_.domain.inside();
    GarbageQueue ready;
    Leaving leaving;
    {
      const Lock lock(mutex());  // stamps of one queue grow
      leaving.stamp = core_.domain.advance();
      leaving.collects = true;
      if (wait) {
        leaving.state = &state;
      } else {
        retire_state(state, leaving.stamp);
      }
    }
    finish_leaving(ready, leaving);
  }

  TriggerResult trigger(std::string_view event, Data data, const TriggerOptions* options) override {
    if (const errc error = core_.check_event(event, data); error != errc::ok) return {.error = error};
    Guard guard = core_.domain.pin();
    if (guard.error() != errc::ok) return {.error = guard.error()};
    guard.enter(scope());
    return deliver(guard, event, data.text(), options);
  }
  TriggerResult trigger_retained(std::string_view event, Data data, const TriggerOptions& options) override {
    if (const errc error = core_.check_event(event, data); error != errc::ok) return {.error = error};
    if (const errc error = retain(); error != errc::ok) return {.error = error};
    return trigger(event, data, &options);
  }

  TriggerResult step(std::string_view event, Data data, const TriggerOptions& options, OrderedStep& step) override {
    FANFARE_ASSERT(ordered(), "a step in a channel that has no order");
    Guard guard = core_.domain.pin();
    if (guard.error() != errc::ok) return {.error = guard.error()};
    guard.enter(scope());
    if (core_.closed()) return {.error = errc::closed};
    const MessageOrigin origin = origin_of(options);
    Delivery delivery;
    delivery.step = &step;
    guard.enter_callbacks();
    return deliver_through_queues({name(), event, data.text(), &origin}, options.except.value(), delivery);
  }

  void add_handle() noexcept override { core_.add_reference(*this); }
  void drop_handle() noexcept override { core_.drop_reference(*this); }

  // ---- Garbage: the channel itself, when nothing refers to it any more

  Block destroy() noexcept override {
    core_.domain.destroy_all(garbage_, core_.memory);
    each_node([&](Node& node) { free_node(node); });
    queues_.destroy(core_.memory);
    if (Order* const kept = order()) {
      if (kept->before != nullptr) free_extras(*kept->before);  // the table is the order's
      destroy_extras(*kept);
    } else if (Extras* const more = extras_.load(std::memory_order_relaxed)) {
      destroy_extras(*more);
    }
    const Block block{this, bytes(), alignof(Channel)};
    this->~Channel();
    return block;
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(Channel) + size_; }

  // ---- for the registry

  /// Puts a subscription with what it has bound so far, and its queue if it has one, into the channel.
  [[nodiscard]] errc enter(SubscriptionState& state, const SinkOperations* operations, void* sink,
                           errc error = errc::ok) noexcept {
    GarbageQueue ready;
    {
      const Lock lock(mutex());
      error = enter_locked(state, operations, sink, error);
      collect_if_due(ready);
    }
    ready.destroy_all(core_.memory);
    if (error == errc::ok) report_transitions();
    return error;
  }

  /// Puts a subscription with what its setup has bound into the channel, unless something is to be given to it first.
  /// \param keeps   whether it wants what is kept; receives whether that is so: then it has not entered.
  [[nodiscard]] errc enter_behind_setup(CallbackState& state, Setup& setup, bool& keeps) noexcept {
    GarbageQueue ready;
    errc error = errc::ok;
    {
      const Lock lock(mutex());  // under which a channel begins to keep
      keeps = keeps && setup.error == errc::ok && has_state();
      if (keeps) return errc::ok;
      state.running = nullptr;
      setup.entered = true;
      error = enter_locked(state, nullptr, nullptr, setup.error);
      collect_if_due(ready);
    }
    ready.destroy_all(core_.memory);
    if (error == errc::ok) report_transitions();
    return error;
  }

  /// Says what somebody can be given who wants to resume.
  void judge(Standing& place) noexcept {
    if (!place.since.resumes()) return;
    const Lock lock(mutex());
    place.reach = reach_of_kept(place.since.id());
    if (const Order* const kept = order()) {
      place.judged = kept->last_id;
      place.count = kept->count;
    }
  }

  /// Gives a subscription's callables what is kept, on this thread. It enters when there is no more.
  /// \param setup   of the subscription, which may end inside of a callable.
  /// \pre           judged; the caller holds a reference beside that of the subscription.
  /// \throws        what a callable throws; the subscription has not entered then.
  [[nodiscard]] errc enter_behind_kept(CallbackState& state, Standing& place, Setup& setup) {
    const errc error = give_kept(
        place, setup.ended, [&](const Message& message) { give(state, setup, message); },
        [&] {
          state.running = nullptr;  // who triggers may call, and so end it, before this thread goes on
          setup.entered = true;
          return enter_locked(state, nullptr, nullptr, errc::ok);
        });
    if (error == errc::ok && setup.entered) report_transitions();
    return error;
  }

  /// Puts what is kept into a subscription's queue, which enters behind it.
  [[nodiscard]] errc enter_behind_kept(PolledState& state, const SinkOperations& operations, void* sink) noexcept {
    Replay replay = replay_for(state.place);
    for (std::uint64_t given = 0;;) {
      GarbageQueue ready;
      errc error = errc::ok;
      {
        const Lock lock(mutex());
        error = take_kept(state.place, replay);
        given += behind_judgement(state.place, replay);
        if (error == errc::ok && !replay.more) {  // nothing of a user's runs in between: it enters with the last piece
          push_kept(replay, operations, sink);
          note_missed(state.place, given);
          error = enter_locked(state, &operations, sink, errc::ok);
        }
        collect_if_due(ready);
      }
      ready.destroy_all(core_.memory);
      if (error != errc::ok) return error;
      if (!replay.more) break;
      push_kept(replay, operations, sink);
    }
    report_transitions();
    return errc::ok;
  }

  /// Delivers an event that was found to be valid.
  /// \pre the guard has entered this channel; if the channel has a state, the caller holds a reference.
  FANFARE_ALWAYS_INLINE TriggerResult deliver(Guard& guard, std::string_view event, std::string_view data,
                                              const TriggerOptions* options) {
    guard.enter_callbacks();  // nobody else gets the guard, so it can stay in registers
    if (options != nullptr) [[unlikely]] {
      return deliver_with_options(event, data, *options);
    }
    if (core_.closed()) [[unlikely]] {
      return {.error = errc::closed};
    }
    if (extras() != nullptr || !queues_.view().empty()) return deliver_to_all(event, data);
    const CallbackView named = view_of(find_first(event));
    if (named.empty()) return {};
    // Built once, where callbacks will read it: copying views around costs more than all else here.
    const Event seen{name(), event, data, nullptr, core_};
    return {errc::ok, call_named(seen, named), {}};
  }

  /// The first half of a delivery to several channels: finds out whether it can be done.
  /// \param message   receives what `deliver_prepared` takes over, or null if no queue wants one.
  [[nodiscard]] errc prepare(std::string_view event, std::string_view data, const TriggerOptions& options,
                             MessageType*& message) const noexcept {
    const MessageOrigin origin = origin_of(options);
    const MessageParts parts{name(), event, data, &origin};
    const QueueView queues = queues_.view();
    if (!has_room(queues, parts, options.except.value())) return errc::overloaded;
    return prepare(order(), queues, parts, options.except.value(), message);
  }

  /// The second half.
  TriggerResult deliver_prepared(Guard& guard, std::string_view event, std::string_view data,
                                 const TriggerOptions& options, MessageType* message) {
    const MessageOrigin origin = origin_of(options);
    Delivery delivery;
    delivery.message = message;
    delivery.retain = options.retain;
    delivery.kept = options.kept;
    if (core_.closed()) return {.error = errc::closed};
    guard.enter_callbacks();
    return deliver_through_queues({name(), event, data, &origin}, options.except.value(), delivery);
  }

  /// Whether events may have to outlive the last subscriber.
  [[nodiscard]] bool has_state() const noexcept {
    const Order* const more = order();
    return more != nullptr && more->can_keep.load(std::memory_order_relaxed);  // see `note_state`
  }

  /// Whether it may have something that becomes too old.
  [[nodiscard]] bool ages() const noexcept {
    const Order* const more = order();
    return more != nullptr && (more->can_keep.load(std::memory_order_relaxed) ||
                               more->shows_ids.load(std::memory_order_relaxed));  // see `note_state`
  }

  /// Lets the state hold a reference to the channel, or drops that, as it keeps something or not. Without the lock, by
  /// somebody who holds a reference or is pinned: a channel that has ended meanwhile keeps nothing.
  void settle_state() noexcept {
    if (state() == nullptr) return;
    if (!core_.try_add_reference(*this)) return;  // first, as a stripe is never locked inside of a channel's lock
    int surplus = 1;
    {
      const Lock lock(mutex());
      const bool wanted = state()->keeps() && !cleared_;
      if (wanted != kept_) surplus = wanted ? 0 : 2;
      kept_ = wanted;
      note_state(*order());
    }
    for (; surplus != 0; --surplus) core_.drop_reference(*this);
  }
  /// Gives the state an event of an earlier life. By somebody who holds a reference, and settles the state then.
  void restore(const MessageParts& parts, std::uint64_t number, std::chrono::steady_clock::time_point time,
               bool history, bool retained) noexcept {
    if (state() == nullptr) return;
    errc error = errc::ok;
    MessageType* const message = core_.make(shown(order(), parts), true, error);
    const Lock lock(mutex());
    // Where there is no memory for it, or it cannot be sent, it is as if it had been forgotten.
    if (message == nullptr) return state()->restore({}, time, history, retained);
    core_.place(*message, {order()->last_id.epoch, number});
    state()->restore(MessagePtr::adopt(message), time, history, retained);
  }
  void expire_state(std::chrono::steady_clock::time_point now) noexcept {
    if (state() == nullptr) return;
    const Lock lock(mutex());
    state()->expire(now);
  }

  /// Makes the channel what it is to be now: gives it an order, or lets its state follow. \pre the stripe is locked, or
  /// the caller holds a reference.
  /// \param retains   an event is about to be retained.
  /// \returns         false where there is no memory: nothing is changed then.
  [[nodiscard]] bool review(bool retains) noexcept {
    const Lock lock(mutex());
    if (cleared_) return true;  // what the states are asked of may be gone
    Order* const kept = order();
    if (kept == nullptr) return !(retains || core_.orders(name())) || begin_order(retains);
    if (kept->state == nullptr) return true;
    const bool followed = core_.review_state(name(), *kept->state, kept->last_id, retains);
    note_state(*kept);
    return followed;
  }

  static constexpr std::uint64_t is_complete = ~std::uint64_t{0};
  /// Lets the state know when no trigger is under way any more that began before the channel had its order.
  /// \returns   `is_complete`, or the stamp of the order's beginning. \pre as `review`
  [[nodiscard]] std::uint64_t complete_order() noexcept {
    const Lock lock(mutex());
    Order* const kept = order();
    if (kept == nullptr || kept->complete || cleared_) return is_complete;
    if (!core_.domain.passed(scope(), kept->stamp)) return kept->stamp;
    kept->complete = true;
    EventId place;
    static_cast<void>(next_id({name(), "pusher_internal:complete", {}, nullptr}, Retain::no, true, place));
    if (kept->state != nullptr) kept->state->complete(place);
    return is_complete;
  }

  /// Lets the channel retain events, whatever the rules say; without the lock, by somebody who holds a reference.
  [[nodiscard]] errc retain() noexcept {
    const Order* const kept = order();
    const bool retains = kept != nullptr && kept->retains.load(std::memory_order_relaxed);  // see `note_state`
    return retains || !core_.has_states() || review(true) ? errc::ok : errc::out_of_memory;
  }

  /// Calls `f(ChannelState*)` under the lock.
  template <class F>
  void look_at_state(F f) {
    const Lock lock(mutex());
    f(state());
  }

  /// Empties all lists: the registry ends.
  void clear() noexcept {
    const Lock lock(mutex());
    cleared_ = true;  // what the state keeps is dropped with its reference, later
    queues_.clear();
    each_node([](Node& node) { node.list.clear(); });
  }

  /// Frees what nobody can see any more.
  void collect(GarbageQueue& ready) noexcept {
    const Lock lock(mutex());
    if (core_.drained()) return core_.domain.collect_awaited(garbage_, ~std::uint64_t{0}, ready);
    core_.domain.collect(garbage_, scope(), ready);
  }

  [[nodiscard]] std::size_t retired_bytes() noexcept {
    const Lock lock(mutex());
    return core_.domain.bytes(garbage_);
  }

  std::uint32_t references_ = 0;  ///< subscriptions and handles; under the lock of the channel's stripe

 private:
  Channel(Core& core, std::string_view name, std::uint64_t hash, bool& failed) noexcept
      : hash_(static_cast<std::uint32_t>(hash)), size_(static_cast<std::uint32_t>(name.size())), core_(core) {
    std::memcpy(static_cast<void*>(this + 1), name.data(), name.size());
    if (!core.orders(name)) return;
    Order* const order = make_order();
    failed = order == nullptr;
    if (failed) return;
    extras_.store(order, std::memory_order_relaxed);  // published with the channel
  }
  ~Channel() = default;

  struct Extras;
  struct Order;

  static MessageOrigin origin_of(const TriggerOptions& options) noexcept {
    return {options.user_id, options.socket_id, options.except_socket};
  }

  /// Whom one event has been given to, and will be.
  struct Delivery {
    // Without braces: they would have all of it filled with zeros first.
    CallbackView named;
    CallbackView all;
    TriggerResult result;
    MessageType* message = nullptr;  // owned, if a queue wants one
    OrderedStep* step = nullptr;
    KeptTicket* kept = nullptr;
    Retain retain = Retain::by_rule;
    bool unsettled = false;  // the state keeps something now, or no longer

    [[nodiscard]] bool has_callbacks() const noexcept { return !named.empty() || !all.empty(); }

    Delivery() = default;
    Delivery(const Delivery&) = delete;
    Delivery& operator=(const Delivery&) = delete;
    ~Delivery() {
      if (message != nullptr) message->release();
    }
  };

  FANFARE_NOINLINE TriggerResult deliver_with_options(std::string_view event, std::string_view data,
                                                      const TriggerOptions& options) {
    const MessageOrigin origin = origin_of(options);
    return deliver_from(event, data, &origin, options.except.value(), options.retain, options.kept);
  }

  FANFARE_NOINLINE TriggerResult deliver_from(std::string_view event, std::string_view data,
                                              const MessageOrigin* origin, std::uint64_t excluded,
                                              Retain retain = Retain::by_rule, KeptTicket* kept = nullptr) {
    if (core_.closed()) [[unlikely]] {
      return {.error = errc::closed};
    }
    const Extras* const more = extras();
    if ((more != nullptr && more->ordered) || !queues_.view().empty()) {
      Delivery delivery;
      delivery.retain = retain;
      delivery.kept = kept;
      return deliver_through_queues({name(), event, data, origin}, excluded, delivery);
    }
    const CallbackView named = view_of(find_event(event, more));
    const CallbackView all = view_of(bound_to_all(more));
    if (named.empty() && all.empty()) return {};
    const Event seen{name(), event, data, origin, core_};
    return {errc::ok, call_back(seen, excluded, named, all), {}};
  }

  FANFARE_NOINLINE TriggerResult deliver_to_all(std::string_view event, std::string_view data) {
    const Extras* const more = extras();
    const QueueView queues = queues_.view();
    if (queues.size() == 1) {
      const MessageParts parts{name(), event, data, nullptr};
      if (more != nullptr && more->ordered) return deliver_in_order_to_queue(*queues.begin(), parts);
      if (!has_callbacks(event, more)) return deliver_to_queue(*queues.begin(), parts);
    }
    return deliver_from(event, data, nullptr, 0);
  }

  /// Whether something may be bound to an event.
  FANFARE_ALWAYS_INLINE bool has_callbacks(std::string_view event, const Extras* more) const noexcept {
    return find_first(event) != nullptr || (more != nullptr && more_callbacks(event, *more));
  }
  FANFARE_NOINLINE bool more_callbacks(std::string_view event, const Extras& more) const noexcept {
    return bound_to_all(&more) != nullptr ||
           (!more.events.untouched() && more.events.find(event, core_.hash(event)) != nullptr);
  }

  /// The same where there is one queue, and nothing else.
  FANFARE_ALWAYS_INLINE TriggerResult deliver_to_queue(const typename QueueList::Slot& slot,
                                                       const MessageParts& parts) const noexcept {
    const SinkOperations* const operations = slot.function();
    if (operations == nullptr) return {};
    void* const sink = slot.context();
    TriggerResult result;
    MessageType* const message = core_.make(parts, operations->wire, result.error, operations->linked ? 1 : 0);
    if (message == nullptr) return result;
    if (!operations->has_room(sink, parts.name.size() + parts.data.size())) {
      message->release();
      result.error = errc::overloaded;
      return result;
    }
    MessageLink* const link = operations->linked ? &message->link(0) : nullptr;
    result.delivered = operations->push(sink, MessagePtr::adopt(message), link) ? 1U : 0U;
    return result;
  }

  /// The same in an ordered channel.
  FANFARE_NOINLINE TriggerResult deliver_in_order_to_queue(const typename QueueList::Slot& slot,
                                                           const MessageParts& parts) {
    Delivery delivery;
    if (const SinkOperations* const operations = slot.function()) {
      const bool wire = operations->wire || state() != nullptr;
      delivery.message = core_.make(shown(order(), parts), wire, delivery.result.error, operations->linked ? 1 : 0);
      if (delivery.message == nullptr) return delivery.result;
      if (push_in_order(slot, *operations, parts, delivery)) [[likely]] {
        if (delivery.unsettled) settle_state();
        return delivery.result;
      }
    }
    return deliver_through_queues(parts, 0, delivery);  // uses the message, if that is still what is wanted
  }

  /// Gives the event its place and the message to the one queue.
  /// \returns   false if there may be more subscribers than this one by now, or none: nothing has been done then.
  FANFARE_ALWAYS_INLINE bool push_in_order(const typename QueueList::Slot& slot, const SinkOperations& operations,
                                           const MessageParts& parts, Delivery& delivery) noexcept {
    const Lock lock(mutex());  // who comes or leaves does so under it
    const QueueView now = queues_.view();
    if (now.begin() != &slot || now.size() != 1) return false;
    if (slot.function() != &operations || has_callbacks(parts.name, order())) return false;
    if (delivery.message->numbered() != shows_ids(order())) return false;
    void* const sink = slot.context();
    if (!operations.has_room(sink, parts.name.size() + parts.data.size()) ||
        !next_id(parts, Retain::by_rule, false, delivery.result.id)) {
      delivery.result.error = errc::overloaded;
      return true;
    }
    MessageType* const message = std::exchange(delivery.message, nullptr);
    core_.place(*message, delivery.result.id);
    delivery.unsettled = show_state(*message);
    MessageLink* const link = operations.linked ? &message->link(0) : nullptr;
    delivery.result.delivered = operations.push(sink, MessagePtr::adopt(message), link) ? 1U : 0U;
    return true;
  }

  TriggerResult deliver_through_queues(const MessageParts& parts, std::uint64_t excluded, Delivery& delivery) {
    if (ordered()) {  // decided once: a channel may get its order at any time
      deliver_in_order(parts, excluded, delivery);
      if (delivery.unsettled) settle_state();
    } else {
      const QueueView queues = queues_.view();
      delivery.result.error = prepare(nullptr, queues, parts, excluded, delivery.message);
      if (delivery.message != nullptr && !has_room(queues, parts, excluded)) {
        delivery.result.error = errc::overloaded;
      }
      if (delivery.result.error == errc::ok) {
        take_callbacks(parts.name, delivery);
        if (delivery.message != nullptr) push(queues, excluded, delivery);
      }
    }
    if (delivery.result.error == errc::ok && delivery.has_callbacks()) {
      Event seen{parts.channel, parts.name, parts.data, parts.origin, core_};
      seen.id_ = delivery.result.id;
      seen.shared_ = delivery.message;
      delivery.result.delivered += call_back(seen, excluded, delivery.named, delivery.all);
    }
    return delivery.result;
  }

  /// The channel's first event if it is this one, or null. Most channels have one event.
  FANFARE_ALWAYS_INLINE const Node* find_first(std::string_view event) const noexcept {
    const Node* const first = first_.load(std::memory_order_seq_cst);  // (2); pairs with (8) and (3)
    return first != nullptr && same_name(first->name(), event) ? first : nullptr;
  }
  /// The node of an event that something is bound to, or null.
  const Node* find_event(std::string_view event, const Extras* more) const noexcept {
    const Node* const first = find_first(event);
    if (first != nullptr || more == nullptr || more->events.untouched()) return first;
    return more->events.find(event, core_.hash(event));
  }

  /// \returns how many were called. Rethrows the first exception, after all were.
  FANFARE_ALWAYS_INLINE std::size_t call_back(const Event& event, std::uint64_t excluded, const CallbackView& named,
                                              const CallbackView& all) {
    CallbackWalk walk{event};
    walk.run(named, excluded);
    if (!all.empty()) walk.run(all, excluded);
    return finish(walk);
  }

  /// Calls all, with nobody left out and nothing bound to all events.
  FANFARE_ALWAYS_INLINE std::size_t call_named(const Event& event, const CallbackView& named) {
    if (named.size() != 1) return call_each(event, named.begin(), named.end());
    // What it throws may go through: there is nobody behind it.
    const auto& slot = *named.begin();
    const CallbackFunction function = slot.function();
    if (function == nullptr) [[unlikely]] {
      return 0;
    }
    function(slot.context(), event);
    return 1;
  }

  FANFARE_NOINLINE std::size_t call_each(const Event& event, const Slot* slot, const Slot* end) {
    CallbackWalk walk{event};
    walk.run(slot, end);
    return finish(walk);
  }

  /// Tells how many were called, or throws what was kept.
  FANFARE_ALWAYS_INLINE std::size_t finish(const CallbackWalk& walk) {
    if (walk.threw()) [[unlikely]] {
      core_.count_suppressed(walk.suppressed());
      walk.rethrow();
    }
    return walk.called();
  }

  [[nodiscard]] static FANFARE_ALWAYS_INLINE CallbackView view_of(const Node* node) noexcept {
    return node == nullptr ? CallbackView{} : node->list.view();
  }

  void take_callbacks(std::string_view event, Delivery& delivery) const noexcept {
    const Extras* const more = extras();
    delivery.named = view_of(find_event(event, more));
    delivery.all = view_of(bound_to_all(more));
  }

  /// Calls `f(operations, sink)` for all that get the event, while it returns true.
  template <class F>
  static bool each_queue(const QueueView& queues, std::uint64_t excluded, F f) {
    for (const auto& slot : queues) {
      const SinkOperations* operations = slot.function();
      if (operations == nullptr || (excluded != 0 && queues.owner(slot) == excluded)) continue;
      if (!f(*operations, slot.context())) return false;
    }
    return true;
  }

  /// Gives the event its place: the state sees it, all queues get it, and the callbacks that will be called are those of
  /// this moment.
  void deliver_in_order(const MessageParts& parts, std::uint64_t excluded, Delivery& delivery) noexcept {
    const Order* const kept = order();
    for (;;) {
      delivery.result.error = prepare(kept, queues_.view(), parts, excluded, delivery.message);
      if (delivery.result.error != errc::ok) return;
      const Lock lock(mutex());
      const QueueView queues = queues_.view();
      // A queue may have come that wants more than has been made, or ids be shown: make it without the lock.
      if (!fulfils(delivery.message, wishes(kept, queues, excluded))) continue;
      OrderedStep* const step = delivery.step;
      if (step == nullptr && delivery.message != nullptr && !has_room(queues, parts, excluded)) {
        delivery.result.error = errc::overloaded;
        return;
      }
      if (step == nullptr || step->begin(state())) {
        if (!next_id(parts, delivery.retain, step != nullptr, delivery.result.id)) {
          delivery.result.error = errc::overloaded;
          return;
        }
        take_callbacks(parts.name, delivery);
        if (delivery.message != nullptr) {
          core_.place(*delivery.message, delivery.result.id);
          delivery.unsettled = show_state(*delivery.message, delivery.retain);
          if (delivery.kept != nullptr && state() != nullptr) delivery.kept->add(state()->ticket());
          push(queues, excluded, delivery);
        }
      }
      if (step != nullptr) step->end();
      return;
    }
  }

  /// Whether subscribers see ids now; under the lock, for sure. \param order   null where there is none.
  [[nodiscard]] static bool shows_ids(const Order* order) noexcept {
    return order != nullptr && order->shows_ids.load(std::memory_order_relaxed);  // see `note_state`
  }
  /// With the epoch, if subscribers are to see ids.
  [[nodiscard]] static MessageParts shown(const Order* order, MessageParts parts) noexcept {
    if (shows_ids(order)) parts.epoch = order->last_id.epoch;  // which never changes
    return parts;
  }

  /// \returns false where the event cannot be kept; never if it is `needed`.
  /// \pre under the lock, and the channel is ordered.
  [[nodiscard]] bool next_id(const MessageParts& parts, Retain retain, bool needed, EventId& id) noexcept {
    Order& kept = *order();
    if (kept.numbered_by_state) [[unlikely]] {
      const std::uint64_t number = kept.state->next_number(parts, retain, needed);
      if (number == 0) return false;
      kept.last_id.number = number;
    } else {
      ++kept.last_id.number;
    }
    ++kept.count;
    id = kept.last_id;
    return true;
  }

  /// Lets the state see an event. \returns whether it keeps something now, or no longer. \pre under the lock.
  bool show_state(const MessageType& message, Retain retain = Retain::by_rule) noexcept {
    ChannelState* const kept = state();
    if (kept == nullptr) return false;
    MessagePtr borrowed = MessagePtr::adopt(&message);  // the caller's reference: nothing needs to be counted
    kept->on_event(borrowed, retain);
    static_cast<void>(borrowed.release());
    return kept->keeps() != kept_;
  }

  /// What the queues want of a message.
  struct Wishes {
    bool message = false;
    bool wire = false;
    bool numbered = false;
    std::uint32_t links = 0;
  };

  /// \param order   null where there is none, or the event is to have no place in it.
  static Wishes wishes(const Order* order, const QueueView& queues, std::uint64_t excluded) noexcept {
    Wishes all;
    all.message = all.wire = order != nullptr && order->state != nullptr;
    all.numbered = shows_ids(order);
    each_queue(queues, excluded, [&](const SinkOperations& operations, void* /*sink*/) {
      all.message = true;
      all.wire = all.wire || operations.wire;
      all.links += operations.linked ? 1U : 0U;
      return true;
    });
    return all;
  }

  static bool fulfils(const MessageType* message, const Wishes& wishes) noexcept {
    if (!wishes.message) return true;
    return message != nullptr && (message->encoded() || !wishes.wire) && message->numbered() == wishes.numbered &&
           message->links() >= wishes.links;
  }

  /// Makes the message if a queue wants one, as they want it.
  errc prepare(const Order* order, const QueueView& queues, const MessageParts& parts, std::uint64_t excluded,
               MessageType*& message) const noexcept {
    const Wishes wanted = wishes(order, queues, excluded);
    if (fulfils(message, wanted)) return errc::ok;
    if (message != nullptr) std::exchange(message, nullptr)->release();
    errc error = errc::ok;
    message = core_.make(shown(order, parts), wanted.wire, error, wanted.links);
    return error;
  }

  static bool has_room(const QueueView& queues, const MessageParts& parts, std::uint64_t excluded) noexcept {
    const std::size_t bytes = parts.name.size() + parts.data.size();
    return each_queue(queues, excluded,
                      [&](const SinkOperations& operations, void* sink) { return operations.has_room(sink, bytes); });
  }

  /// Gives the message to all queues: the last one gets the delivery's own reference, unless callbacks need it.
  /// \pre the callbacks are known.
  void push(const QueueView& queues, std::uint64_t excluded, Delivery& delivery) const noexcept {
    MessageType* const message = delivery.message;
    std::uint32_t links = 0;
    const auto give = [&](const SinkOperations& operations, void* sink) {
      MessageLink* const link = operations.linked ? &message->link(links++) : nullptr;
      delivery.result.delivered += operations.push(sink, MessagePtr::adopt(message), link) ? 1U : 0U;
    };
    const SinkOperations* last = nullptr;
    void* last_sink = nullptr;
    each_queue(queues, excluded, [&](const SinkOperations& operations, void* sink) {
      if (last != nullptr) {
        message->retain();
        give(*last, last_sink);
      }
      last = &operations;
      last_sink = sink;
      return true;
    });
    if (last == nullptr) return;
    if (delivery.has_callbacks()) {
      message->retain();
    } else {
      delivery.message = nullptr;
    }
    give(*last, last_sink);
  }

  // ---- what is kept, for subscribers of this program

  static constexpr std::size_t replay_bytes = std::size_t{64} << 10U;  // in a piece

  /// Calls `give(const Message&)` for what is kept, as a trigger calls; then, in the critical section that has found no
  /// more, `enter()`.
  /// \param ended   whether the subscription has ended in `give`: then nothing of it is touched any more.
  template <class Give, class Enter>
  [[nodiscard]] errc give_kept(Standing& place, const bool& ended, Give give, Enter enter) {
    Replay replay = replay_for(place);
    for (std::uint64_t given = 0;;) {
      GarbageQueue ready;
      errc error = errc::ok;
      bool complete = false;
      {
        const Lock lock(mutex());
        error = take_kept(place, replay);
        if (error == errc::ok && replay.events.empty() && !replay.more) {
          complete = true;
          note_missed(place, given);
          error = enter();
        }
        collect_if_due(ready);
      }
      ready.destroy_all(core_.memory);
      if (error != errc::ok || complete) return error;
      // Pinned for a piece, as a trigger is for an event: so long nothing that the callables take away is freed.
      Guard guard = core_.domain.pin();
      if (guard.error() != errc::ok) return guard.error();
      guard.enter(scope());
      if (core_.closed()) return errc::closed;
      guard.enter_callbacks();
      given += behind_judgement(place, replay);
      for (const MessagePtr& message : replay.events) {
        give(*message);
        if (ended) return errc::ok;
      }
      replay.events.clear();
    }
  }

  /// Whether the next binding is the first, to which what is kept is given.
  [[nodiscard]] bool take_pending(ReplayedState& state) noexcept {
    const Lock lock(mutex());
    return std::exchange(state.pending, false);
  }

  /// Gives what is kept to a binding of a subscription that has entered; then it is bound. Where that fails, another
  /// one will be the first.
  errc bind_behind_kept(ReplayedState& state, std::string_view event, bool all, Binding& binding, std::uint64_t& id) {
    struct Attempt {
      Channel& channel;
      ReplayedState& state;
      bool ended = false;
      bool bound = false;
      ~Attempt() {
        if (ended || bound) return;
        state.ended = nullptr;
        const Lock lock(channel.mutex());
        state.pending = true;
      }
    } attempt{*this, state};
    state.ended = &attempt.ended;
    const errc error = give_kept(
        state.place, attempt.ended,
        [&](const Message& message) {
          if (all || same_name(message.name(), event)) binding.function(binding.context, Event{message});
        },
        [&] {
          state.ended = nullptr;  // who triggers may call it, and so end the subscription, before this thread goes on
          const errc entered = bind_locked(state, event, all, binding);
          attempt.bound = entered == errc::ok;
          id = binding.id();
          return entered;
        });
    return attempt.ended ? errc::closed : error;
  }

  static Replay replay_for(const Standing& place) noexcept {
    Replay replay;
    if (place.resumed()) replay.next = place.since.id();
    return replay;
  }

  /// Takes the next piece. \pre under the lock.
  [[nodiscard]] errc take_kept(Standing& place, Replay& replay) const noexcept {
    if (core_.closed()) return errc::closed;
    if (const ChannelState* const kept = state(); kept != nullptr && !kept->take(replay, replay_bytes)) {
      return errc::out_of_memory;
    }
    if (replay.reach != Reach::whole && place.reach == Reach::whole) place.reach = replay.reach;
    return errc::ok;
  }

  /// How many events of a piece came behind what was judged.
  [[nodiscard]] static std::uint64_t behind_judgement(const Standing& place, const Replay& replay) noexcept {
    return static_cast<std::uint64_t>(
        std::ranges::count_if(replay.events, [&](const MessagePtr& message) { return message->id() > place.judged; }));
  }
  /// Where not every event is kept, one who resumes has missed those that it was not given since it was judged: what came
  /// before that is known. Numbers do not tell, as those of a log have holes. \pre under the lock.
  void note_missed(Standing& place, std::uint64_t given) const noexcept {
    if (!place.resumed()) return;
    if (order()->count - place.count != given) place.reach = reach_of_kept(place.since.id());
  }

  /// \pre under the lock.
  [[nodiscard]] Reach reach_of_kept(const EventId& seen) const noexcept {
    const Order* const kept = order();
    if (kept == nullptr || !kept->complete) return Reach::another_epoch;
    const Reach reach = reach_of(seen, kept->last_id, kept->last_id);
    const bool all_kept = reach == Reach::gap && kept->state != nullptr && kept->state->reach(seen) == Reach::whole;
    return all_kept ? Reach::whole : reach;
  }

  /// Calls what a subscription has bound that is in no list yet, in the order in which a trigger does. Only this thread
  /// changes it, from inside of what is called: so each is looked for when the one before has returned.
  static void give(const SubscriptionState& state, const Setup& setup, const Message& message) {
    const Binding* const last = state.bindings.last();
    if (last == nullptr) return;
    const Event event{message};
    const std::uint64_t newest = last->id();  // what is bound meanwhile gets what comes later
    for (const bool to_all : {false, true}) {
      for (std::uint64_t before = 0; !setup.ended;) {
        const Binding* next = nullptr;
        state.bindings.each([&](const Binding& binding) {
          const std::string_view name = static_cast<const Node*>(binding.node)->name();
          if (binding.id() <= before || binding.id() > newest) return true;
          if (name.empty() != to_all || !(to_all || same_name(name, event.name()))) return true;
          next = &binding;
          return false;
        });
        if (next == nullptr) break;
        before = next->id();
        next->function(next->context, event);
      }
    }
  }

  static void push_kept(Replay& replay, const SinkOperations& operations, void* sink) noexcept {
    for (MessagePtr& message : replay.events) static_cast<void>(operations.push(sink, std::move(message), nullptr));
    replay.events.clear();
  }

  // ---- with the lock held

  errc bind_locked(SubscriptionState& state, std::string_view event, bool all, Binding& binding) noexcept {
    if (core_.closed()) return errc::closed;
    Node* const node = all ? make_all() : find_or_add(event);
    if (node == nullptr) return errc::out_of_memory;
    binding.node = node;
    ++node->bindings;
    if (state.entered && !publish(binding, state.id())) {
      Node* unbound = nullptr;
      release_node(binding, unbound);
      retire_unbound_nodes(unbound, core_.domain.advance());
      return errc::out_of_memory;
    }
    binding.set_id(core_.new_number());
    state.bindings.add(binding);
    return errc::ok;
  }

  errc enter_locked(SubscriptionState& state, const SinkOperations* operations, void* sink, errc setup_error) noexcept {
    if (core_.closed()) return errc::closed;
    if (setup_error != errc::ok) return setup_error;
    if (!state.bindings.each([&](Binding& binding) { return publish(binding, state.id()); })) {
      unpublish_all(state);
      return errc::out_of_memory;
    }
    if (operations != nullptr) {
      Garbage* replaced = nullptr;
      const bool added = queues_.add({operations, sink, state.id()}, state.queue_sequence, core_.memory, replaced);
      retire_replaced(replaced);
      if (!added) return errc::out_of_memory;
      state.queue_position = queues_.last_position();
    }
    state.entered = true;
    change_count(state.members);
    return errc::ok;
  }

  /// What is left to do for a subscription that is in no list any more.
  struct Leaving {
    std::uint64_t stamp = 0;             // to wait for
    Node* unbound = nullptr;             // events that nothing is bound to any more, neither retired nor freed
    SubscriptionState* state = nullptr;  // to be freed after the wait; null: there is none
    bool collects = false;               // there may be garbage that the wait makes free
  };

  /// Takes a subscription and its bindings out of all lists.
  Leaving unlink_locked(SubscriptionState& state) noexcept {
    Node* unbound = nullptr;
    state.bindings.each([&](Binding& binding) { return unlink(binding, unbound); });
    if (state.queue_sequence != 0 && !cleared_) {
      queues_.remove(state.queue_sequence, state.queue_position);
      Garbage* replaced = nullptr;
      queues_.tidy(core_.memory, replaced);
      retire_replaced(replaced);
    }
    const std::uint64_t stamp = core_.domain.advance();
    if (state.entered) change_count(-static_cast<std::ptrdiff_t>(state.members));
    state.entered = false;
    return {.stamp = stamp, .unbound = unbound};
  }

  static CallbackList& list_of(const Binding& binding) noexcept { return static_cast<Node*>(binding.node)->list; }

  bool publish(Binding& binding, std::uint64_t owner) noexcept {
    CallbackList& list = list_of(binding);
    Garbage* replaced = nullptr;
    const bool added = list.add({binding.function, binding.context, owner}, binding.sequence, core_.memory, replaced);
    retire_replaced(replaced);
    if (added) binding.position = list.last_position();
    return added;
  }

  void unpublish(Binding& binding) noexcept {
    if (binding.sequence == 0) return;
    if (!cleared_) {
      CallbackList& list = list_of(binding);
      list.remove(binding.sequence, binding.position);
      Garbage* replaced = nullptr;
      list.tidy(core_.memory, replaced);
      retire_replaced(replaced);
    }
    binding.sequence = 0;
  }
  void unpublish_all(SubscriptionState& state) noexcept {
    state.bindings.each([&](Binding& binding) {
      unpublish(binding);
      return true;
    });
  }

  /// Takes a binding out of its list and lets go of its event.
  /// \param unbound   receives the node if nothing is bound to it any more.
  bool unlink(Binding& binding, Node*& unbound) noexcept {
    unpublish(binding);
    release_node(binding, unbound);
    return true;
  }

  void release_node(Binding& binding, Node*& unbound) noexcept {
    Node* const node = static_cast<Node*>(std::exchange(binding.node, nullptr));
    if (node == nullptr || --node->bindings != 0 || node == all()) return;
    Extras* const more = extras_.load(std::memory_order_relaxed);
    if (node->indexed) more->events.erase(*node);
    if (first_.load(std::memory_order_relaxed) == node) {
      Node* const other = more == nullptr ? nullptr : more->events.any();
      first_.store(other, std::memory_order_seq_cst);  // (3) seq_cst; see (1). Also publishes the next one.
    }
    node->set_unbound(std::exchange(unbound, node));
  }

  /// Nodes are retired after the stamp was taken that their unlinking needs.
  void retire_unbound_nodes(Node* unbound, std::uint64_t stamp) noexcept {
    while (unbound != nullptr) {
      Node* const next = unbound->unbound();
      // Before the node, which it is to forget.
      if (Garbage* const array = unbound->list.array()) core_.domain.retire(garbage_, *array, stamp);
      core_.domain.retire(garbage_, *unbound, stamp);
      unbound = next;
    }
  }

  void retire_replaced(Garbage* replaced) noexcept {
    if (replaced != nullptr) core_.domain.retire(garbage_, *replaced, core_.domain.advance());
  }

  void retire_state(SubscriptionState& state, std::uint64_t stamp) noexcept {
    retire_bindings(state.bindings.take(), stamp);
    core_.domain.retire(garbage_, state, stamp);
  }

  void retire_bindings(Binding* first, std::uint64_t stamp) noexcept {
    while (first != nullptr) {
      Binding* next = first->next();
      core_.domain.retire(garbage_, *first, stamp);
      first = next;
    }
  }

  /// What is bound to all events has a node without a name, which stays as long as the channel.
  Node* make_all() noexcept {
    Extras* const more = make_extras<Extras>();
    if (more == nullptr) return nullptr;
    Node* node = more->all.load(std::memory_order_relaxed);
    if (node != nullptr || (node = Node::make("", 0, core_.memory)) == nullptr) return node;
    more->all.store(node, std::memory_order_release);  // (31) release; pairs with the acquire in (30)
    return node;
  }

  Node* find_or_add(std::string_view event) noexcept {
    Node* const first = first_.load(std::memory_order_relaxed);
    if (first != nullptr && same_name(first->name(), event)) return first;
    const std::uint64_t hash = core_.hash(event);
    Extras* more = extras_.load(std::memory_order_relaxed);
    if (more != nullptr) {
      if (Node* const node = more->events.find(event, hash)) return node;
    }
    if (first != nullptr && (more = make_extras<Extras>()) == nullptr) return nullptr;
    Node* const node = Node::make(event, hash, core_.memory);
    if (node == nullptr) return nullptr;
    if (first == nullptr) {
      first_.store(node, std::memory_order_release);  // (8) release; pairs with (2)
      return node;
    }
    Garbage* replaced = nullptr;
    node->indexed = more->events.insert(*node, core_.memory, replaced);
    retire_replaced(replaced);
    if (node->indexed) return node;
    free_node(*node);
    return nullptr;
  }

  /// Frees a node that nobody reads.
  void free_node(Node& node) noexcept {
    node.list.destroy(core_.memory);
    deallocate(node.destroy());
  }

  /// Calls `f(Node&)` for all events, and for what is bound to all of them.
  template <class F>
  void each_node(F f) {
    Node* const first = first_.load(std::memory_order_relaxed);
    const bool alone = first != nullptr && !first->indexed;  // cannot be asked when it has ended
    if (Extras* const more = extras_.load(std::memory_order_relaxed)) {
      more->events.for_each(f);
      if (Node* const node = more->all.load(std::memory_order_relaxed)) f(*node);
    }
    if (alone) f(*first);
  }

  void collect_if_due(GarbageQueue& ready) noexcept {
    if (core_.domain.due(garbage_)) core_.domain.collect(garbage_, scope(), ready);
  }

  void change_count(std::ptrdiff_t by) noexcept {
    const std::uint32_t before = subscribers_.load(std::memory_order_relaxed);
    const auto after = static_cast<std::uint32_t>(before + by);
    subscribers_.store(after, std::memory_order_relaxed);
    if ((before == 0) == (after == 0)) return;
    core_.count_occupied(after != 0 ? 1 : -1);
    if (state() != nullptr) state()->on_occupied(after != 0);
    transitions_ = (transitions_ + 1) & max_transitions;
  }

  // ---- without the lock

  template <class Matches>
  std::size_t remove_bindings(SubscriptionState& state, Matches matches) noexcept {
    const bool wait = !core_.domain.inside();
    std::uint64_t stamp = 0;
    std::size_t count = 0;
    Bindings matching;
    Binding* removed = nullptr;
    GarbageQueue ready;
    {
      const Lock lock(mutex());
      for (Binding* binding = state.bindings.take(); binding != nullptr;) {
        Binding* const next = binding->next();
        if (matches(*binding)) {
          ++count;
          matching.add(*binding);
        } else {
          state.bindings.add(*binding);
        }
        binding = next;
      }
      if (count == 0) return 0;
      Node* unbound = nullptr;
      removed = matching.take();
      for (Binding* binding = removed; binding != nullptr; binding = binding->next()) unlink(*binding, unbound);
      stamp = core_.domain.advance();
      retire_unbound_nodes(unbound, stamp);
      if (!wait) retire_bindings(removed, stamp);
      collect_if_due(ready);
    }
    if (wait) {
      core_.domain.await(scope(), stamp);
      destroy_bindings(removed);
    }
    ready.destroy_all(core_.memory);
    return count;
  }

  void finish_leaving(GarbageQueue& ready, const Leaving& leaving) noexcept {
    report_transitions();
    if (leaving.state != nullptr) {
      core_.domain.await(scope(), leaving.stamp);
      if (leaving.collects) {
        const Lock lock(mutex());
        core_.domain.collect_awaited(garbage_, leaving.stamp, ready);
      }
      destroy_state(*leaving.state);
      for (Node* node = leaving.unbound; node != nullptr;) {
        Node* const next = node->unbound();
        free_node(*node);
        node = next;
      }
    }
    ready.destroy_all(core_.memory);
    core_.drop_reference(*this);
  }

  void destroy_state(SubscriptionState& state) noexcept {
    destroy_bindings(state.bindings.take());
    deallocate(state.destroy());
  }

  void destroy_bindings(Binding* first) noexcept {
    while (first != nullptr) {
      Binding* next = first->next();
      deallocate(first->destroy());
      first = next;
    }
  }

  /// Calls the hooks for every change between empty and occupied: in order, one at a time, without the lock. Whoever
  /// finds another thread at it leaves the rest to that thread.
  void report_transitions() noexcept {
    if (!core_.has_hooks()) return;
    Lock lock(mutex());
    if (reporting_) return;
    reporting_ = true;
    for (; transitions_ != 0 && !cleared_; --transitions_) {
      const bool occupied = !reported_occupied_;
      reported_occupied_ = occupied;
      core_.report_begins();
      lock.unlock();
      core_.report(name(), occupied);  // without the lock none of the flags is read: they share a word
      core_.report_ends();
      lock.lock();
    }
    reporting_ = false;
  }

  /// What channels have that are ordered, that have had a second event, or where something is bound to all events.
  struct Extras {
    explicit Extras(bool ordered_ = false) noexcept : ordered(ordered_) {}
    NameIndex<A, typename Traits::hash, Node> events;  // all but, mostly, the first
    typename A::template atomic<Node*> all{nullptr};
    const bool ordered;
  };
  struct Order final : Extras {
    Order() noexcept : Extras(true) {}
    bool numbered_by_state = false;  // never changes
    // Of the state, for those without the lock; see `note_state`.
    typename A::template atomic<bool> shows_ids{false};
    typename A::template atomic<bool> retains{false};
    typename A::template atomic<bool> can_keep{false};
    bool complete = true;  // no event goes out without a place; under the lock
    EventId last_id{};
    std::uint64_t count = 0;                // of the events that were given an id
    std::unique_ptr<ChannelState> state{};  // set once; what it holds is under the lock
    Extras* before = nullptr;               // what the channel had when it had no order, as somebody may look there yet
    std::uint64_t stamp = 0;                // of its beginning, until it is complete
  };

  static constexpr std::uint32_t max_members = 0x7fffffffU;
  static constexpr std::uint32_t max_transitions = 0x0fffffffU;

  [[nodiscard]] typename A::mutex& mutex() const noexcept { return core_.channel_mutex(hash()); }

  /// Null where there are none. Once made they stay; with an order others come in their place.
  [[nodiscard]] Extras* extras() const noexcept {
    // (32) seq_cst; pairs with the release in (33), and with (34) as (2) does with (3): what is retired from the table
    // of an order is not found through what was there before by anybody who is not waited for.
    return extras_.load(std::memory_order_seq_cst);
  }
  /// Null while the channel has no order. Once made it stays.
  [[nodiscard]] Order* order() const noexcept {
    Extras* const more = extras();
    return more == nullptr || !more->ordered ? nullptr : static_cast<Order*>(more);
  }
  [[nodiscard]] ChannelState* state() const noexcept {
    const Order* const kept = order();
    return kept == nullptr ? nullptr : kept->state.get();
  }
  [[nodiscard]] static const Node* bound_to_all(const Extras* more) noexcept {
    if (more == nullptr) return nullptr;
    return more->all.load(std::memory_order_acquire);  // (30) acquire; pairs with the release in (31)
  }

  /// The node of what is bound to all events, under the lock; null where nothing was yet.
  [[nodiscard]] const Node* all() const noexcept {
    const Extras* const more = extras_.load(std::memory_order_relaxed);
    return more == nullptr ? nullptr : more->all.load(std::memory_order_relaxed);
  }

  /// The extras, made where there are none yet; null where memory is exhausted. \pre under the lock, or in the constructor.
  template <class Kind>
  [[nodiscard]] Kind* make_extras() noexcept {
    if (Extras* const more = extras_.load(std::memory_order_relaxed)) return static_cast<Kind*>(more);
    void* const address = core_.memory.allocate(sizeof(Kind), alignof(Kind));
    if (address == nullptr) return nullptr;
    Kind* const made = ::new (address) Kind;
    extras_.store(made, std::memory_order_release);  // (33) release; pairs with (32)
    return made;
  }

  /// An order that is not the channel's yet, with its state; null where memory is exhausted. \pre as `make_extras`.
  [[nodiscard]] Order* make_order() noexcept {
    void* const address = core_.memory.allocate(sizeof(Order), alignof(Order));
    if (address == nullptr) return nullptr;
    Order* const made = ::new (address) Order;
    made->last_id.epoch = core_.new_epoch();
    bool failed = false;
    made->state = core_.make_state(name(), failed);
    if (failed) {
      free_extras(*made);
      return nullptr;
    }
    if (made->state != nullptr) {
      if (const EventId place = made->state->first_place(); place.epoch != 0) {
        made->last_id = place;
        made->numbered_by_state = true;
      }
      made->state->begin(made->last_id);
    }
    note_state(*made);
    return made;
  }

  /// Gives the channel an order while it is in use. Triggers that are under way may not see it: they push without the
  /// lock, and what they push has no id. \pre under the lock. \returns false where memory is exhausted.
  [[nodiscard]] bool begin_order(bool retains) noexcept {
    Order* const made = make_order();
    if (made == nullptr) return false;
    if (retains && made->state != nullptr && !core_.review_state(name(), *made->state, made->last_id, true)) {
      free_extras(*made);
      return false;
    }
    if (made->state != nullptr) {
      made->state->incomplete();
      if (subscribers_.load(std::memory_order_relaxed) != 0) made->state->on_occupied(true);
    }
    note_state(*made);
    if (Extras* const plain = extras_.load(std::memory_order_relaxed)) {
      made->events.adopt(plain->events);
      made->all.store(plain->all.load(std::memory_order_relaxed), std::memory_order_relaxed);
      made->before = plain;
    }
    made->complete = false;
    extras_.store(made, std::memory_order_seq_cst);  // (34) seq_cst; see (32). Also publishes the order.
    made->stamp = core_.domain.advance();
    core_.note_incomplete();
    return true;
  }

  /// Says for those without the lock what the state says; under the lock. Relaxed, as neither publishes anything: a
  /// message is looked at again under the lock, and who keeps no reference because he does not know better settles that
  /// (see `settle_state`). Whoever comes after the change knows it.
  void note_state(Order& order) const noexcept {
    if (order.state == nullptr) return;
    order.shows_ids.store(order.state->shows_ids(), std::memory_order_relaxed);
    order.retains.store(order.state->retains(), std::memory_order_relaxed);
    order.can_keep.store(order.state->can_keep() || kept_, std::memory_order_relaxed);
  }
  /// \pre nobody reads, and all nodes are freed.
  template <class Kind>
  void destroy_extras(Kind& kind) noexcept {
    kind.events.destroy(core_.memory);
    free_extras(kind);
  }
  /// Without the table.
  template <class Kind>
  void free_extras(Kind& kind) noexcept {
    kind.~Kind();
    core_.memory.deallocate(&kind, sizeof(Kind), alignof(Kind));
  }

  // What is seldom needed comes first; what a trigger by name reads comes last, and the name stands behind it.
  std::uint32_t transitions_ : 28 = 0;
  bool reporting_ : 1 = false;
  bool reported_occupied_ : 1 = false;
  bool cleared_ : 1 = false;
  bool kept_ : 1 = false;  // the state holds a reference
  typename A::template atomic<std::uint32_t> subscribers_{0};
  const std::uint32_t hash_;
  [[no_unique_address]] typename Domain::Queue garbage_;  // its last bytes are free for the next member
  const std::uint32_t size_;
  Core& core_;
  typename A::template atomic<Extras*> extras_{nullptr};  // null: the channel has none
  typename A::template atomic<Node*> first_{
      nullptr};  // to be looked at before the other events, where it need not be; or null
  QueueList queues_;
};

}  // namespace detail
FANFARE_NAMESPACE_END
