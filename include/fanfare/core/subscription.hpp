/// \file
/// Being subscribed: by callbacks (`Subscription`) or by polling (`PolledSubscription`).
#pragma once

#include <fanfare/core/channel_state.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/event.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/inbox.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/detail/config.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// Names one binding of a subscription, or says why there is none.
class BindingId {
 public:
  constexpr BindingId() = default;
  /// Whether it names a binding.
  [[nodiscard]] constexpr explicit operator bool() const noexcept { return value_ != 0; }
  /// Why nothing was bound.
  [[nodiscard]] constexpr errc error() const noexcept { return error_; }
  friend constexpr bool operator==(const BindingId&, const BindingId&) = default;

  /// \private
  [[nodiscard]] static constexpr BindingId of(std::uint64_t value) noexcept { return {value, errc::ok}; }
  /// \private
  [[nodiscard]] static constexpr BindingId failed(errc error) noexcept { return {0, error}; }
  /// \private
  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }

 private:
  constexpr BindingId(std::uint64_t value, errc error) noexcept : value_(value), error_(error) {}

  std::uint64_t value_ = 0;
  errc error_ = errc::closed;
};

namespace detail {

/// A slot's function: its context is the callable, or holds the callable's bytes.
using CallbackFunction = void (*)(void* context, const Event& event);

/// One callable bound to one event, or to all.
class Binding : public Garbage {
 public:
  Binding(CallbackFunction function_, void* context_) noexcept : function(function_), context(context_) {}

  const CallbackFunction function;
  void* const context;

  // Under the channel's lock:
  /// The next in the subscription; see `Bindings`. \pre it is not retired.
  [[nodiscard]] Binding* next() const noexcept { return static_cast<Binding*>(link()); }
  void set_next(Binding* binding) noexcept { set_link(binding); }
  /// Its number within the registry. \pre it is not retired.
  [[nodiscard]] std::uint64_t id() const noexcept { return stamp(); }
  void set_id(std::uint64_t id) noexcept { set_stamp(id); }

  void* node = nullptr;        ///< the event's, or the one for all events; null: let go
  std::uint64_t sequence = 0;  ///< in the subscriber list; 0: not entered yet
  std::uint32_t position = 0;  ///< a hint

 protected:
  ~Binding() = default;
};

/// The bindings of one subscription, in order. Only the last is known, and the first is its next one.
class Bindings {
 public:
  void add(Binding& binding) noexcept {
    binding.set_next(last_ == nullptr ? &binding : last_->next());
    if (last_ != nullptr) last_->set_next(&binding);
    last_ = &binding;
  }
  /// Empties it. \returns the first; the last one's next is null.
  [[nodiscard]] Binding* take() noexcept {
    Binding* const last = std::exchange(last_, nullptr);
    if (last == nullptr) return nullptr;
    Binding* const first = last->next();
    last->set_next(nullptr);
    return first;
  }
  /// Calls `f(Binding&)` for each, while it returns true. \returns whether all did.
  template <class F>
  bool each(F f) const {
    if (last_ == nullptr) return true;
    for (Binding* binding = last_->next();; binding = binding->next()) {
      if (!f(*binding)) return false;
      if (binding == last_) return true;
    }
  }

  /// The one that was added last; null if there is none.
  [[nodiscard]] const Binding* last() const noexcept { return last_; }

 private:
  Binding* last_ = nullptr;
};

template <class F>
inline constexpr bool fits_in_slot = sizeof(F) <= sizeof(void*) && std::is_trivially_copyable_v<F> &&
                                     std::is_trivially_destructible_v<F> && std::invocable<const F&, const Event&>;

/// A callable that lives in the slot.
template <class F>
class InlineBinding final : public Binding {
 public:
  explicit InlineBinding(const F& callable) noexcept : Binding(&call, pack(callable)) {}

  Block destroy() noexcept override {
    this->~InlineBinding();
    return {this, sizeof(InlineBinding), alignof(InlineBinding)};
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(InlineBinding); }

 private:
  ~InlineBinding() = default;

  static void* pack(const F& callable) noexcept {
    void* context = nullptr;
    std::memcpy(&context, &callable, sizeof callable);
    return context;
  }
  static void call(void* context, const Event& event) {
    // Trivially copyable: the bytes are the object.
    alignas(F) std::byte bytes[sizeof(F)];
    std::memcpy(bytes, &context, sizeof(F));
    static_cast<void>((*std::launder(reinterpret_cast<const F*>(bytes)))(event));
  }
};

/// A callable of any other kind.
template <class F>
class OwningBinding final : public Binding {
 public:
  template <class From>
  explicit OwningBinding(From&& callable) : Binding(&call, &callable_), callable_(std::forward<From>(callable)) {}

  Block destroy() noexcept override {
    this->~OwningBinding();
    return {this, sizeof(OwningBinding), alignof(OwningBinding)};
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(OwningBinding); }

 private:
  ~OwningBinding() = default;

  static void call(void* context, const Event& event) { static_cast<void>((*static_cast<F*>(context))(event)); }

  F callable_;
};

/// Calls `f` as long as the owner lives.
template <class T, class F>
class OwnedCallable {
 public:
  template <class From>
  OwnedCallable(std::weak_ptr<T> owner, From&& f) : owner_(std::move(owner)), f_(std::forward<From>(f)) {}

  void operator()(const Event& event) {
    if (const std::shared_ptr<T> owner = owner_.lock()) {
      if constexpr (std::invocable<F&, T&, const Event&>) {
        static_cast<void>(f_(*owner, event));
      } else {
        static_cast<void>(f_(event));
      }
    }
  }

 private:
  std::weak_ptr<T> owner_;
  F f_;
};

class ChannelFace;
class ReplayedState;

/// What came of a wish to be given what a channel keeps. Under the channel's lock.
struct Standing {
  Since since{};
  Reach reach = Reach::whole;
  EventId judged{};         ///< the channel's last event when the reach was judged
  std::uint64_t count = 0;  ///< how many events the channel had had by then

  [[nodiscard]] bool resumed() const noexcept { return since.resumes() && reach == Reach::whole; }
};

/// What becomes of a subscription while its setup runs. Used by the thread that subscribes.
struct Setup {
  bool ended = false;     ///< the subscription has ended inside its own setup
  bool entered = false;   ///< it has entered since, and may end on any thread
  errc error = errc::ok;  ///< the first that a `bind` met

  /// An error of a `bind` inside a setup is the subscription's error.
  static void note(Setup* setup, errc error) noexcept {
    if (setup != nullptr && setup->error == errc::ok) setup->error = error;
  }
};

/// What a channel knows of one subscription. A server has one for each channel of each loop: it has no more than all need.
class SubscriptionState : public Garbage {
 public:
  SubscriptionState(ChannelFace& channel_, std::uint64_t id) noexcept : Garbage(id), channel(&channel_) {}

  ChannelFace* const channel;

  /// \pre it is not retired.
  [[nodiscard]] std::uint64_t id() const noexcept { return stamp(); }
  /// While it runs, else null.
  [[nodiscard]] virtual Setup* setup() const noexcept { return nullptr; }
  /// Null where nothing was kept and nothing was asked for.
  [[nodiscard]] virtual Standing* standing() noexcept { return nullptr; }
  /// Itself, if callables are given something before they enter.
  [[nodiscard]] virtual ReplayedState* replayed() noexcept { return nullptr; }

  // Under the channel's lock:
  Bindings bindings;
  std::uint64_t queue_sequence = 0;  ///< of its sink in the list of queues; 0: none
  std::uint32_t queue_position = 0;
  std::uint32_t members : 31 = 1;  ///< how many subscribers it counts as
  bool entered : 1 = false;

  Block destroy() noexcept override {
    this->SubscriptionState::~SubscriptionState();
    return {this, sizeof(SubscriptionState), alignof(SubscriptionState)};
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(SubscriptionState); }
};

/// A subscription that callbacks are bound to.
class CallbackState : public SubscriptionState {
 public:
  using SubscriptionState::SubscriptionState;

  Setup* running = nullptr;  ///< its setup

  [[nodiscard]] Setup* setup() const noexcept override { return running; }
  Block destroy() noexcept override {
    this->CallbackState::~CallbackState();
    return {this, sizeof(CallbackState), alignof(CallbackState)};
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(CallbackState); }
};

/// The same where there may be something to be given at first.
class ReplayedState final : public CallbackState {
 public:
  ReplayedState(ChannelFace& channel_, std::uint64_t id, const Since& since) noexcept
      : CallbackState(channel_, id), place{.since = since} {}

  Standing place;
  bool pending = false;   ///< it has entered, and its first binding is given what is kept; under the channel's lock
  bool* ended = nullptr;  ///< set where it ends while that happens; of the thread that binds

  [[nodiscard]] Standing* standing() noexcept override { return &place; }
  [[nodiscard]] ReplayedState* replayed() noexcept override { return this; }
  Block destroy() noexcept override {
    this->~ReplayedState();
    return {this, sizeof(ReplayedState), alignof(ReplayedState)};
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(ReplayedState); }
};

/// A subscription that is read by polling.
class PolledState : public SubscriptionState {
 public:
  using SubscriptionState::SubscriptionState;

  PolledQueue* queue = nullptr;
  Standing place;

  [[nodiscard]] Standing* standing() noexcept override { return &place; }

  // The polling thread's:
  bool polling = false;
  bool abandoned = false;  ///< reset from inside a poll, which then frees it
};

/// Whether those who leave wait until none of their callbacks runs.
enum class Leave : bool { at_once, waiting };

/// A channel as objects see it that do not know its registry's policies. Called rarely: on control paths, and once per
/// trigger through a handle.
class ChannelFace : public Garbage {
 public:
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual bool closed() const noexcept = 0;
  [[nodiscard]] virtual std::size_t subscribers() const noexcept = 0;
  [[nodiscard]] virtual bool ordered() const noexcept = 0;

  [[nodiscard]] virtual void* allocate(std::size_t bytes, std::size_t alignment) noexcept = 0;
  virtual void deallocate(Block block) noexcept = 0;

  /// \param all   to all events; the name is not looked at.
  /// Takes the binding over unless there is an error.
  /// \throws      what the callable throws, if it is given what the channel keeps; the binding is not taken over then.
  [[nodiscard]] virtual errc bind(SubscriptionState& state, std::string_view event, bool all, Binding& binding,
                                  std::uint64_t& id) = 0;
  virtual bool unbind(SubscriptionState& state, std::uint64_t id) noexcept = 0;
  virtual std::size_t unbind(SubscriptionState& state, std::string_view event) noexcept = 0;
  virtual void add_members(SubscriptionState& state, std::ptrdiff_t by) noexcept = 0;
  [[nodiscard]] virtual Standing standing(SubscriptionState& state) noexcept = 0;
  /// Ends the subscription and frees its state.
  virtual void leave(SubscriptionState& state, Leave how) noexcept = 0;
  /// Ends it, but its queue is still being read: `free_left` frees it.
  virtual void leave_queue(PolledState& state) noexcept = 0;
  virtual void free_left(PolledState& state) noexcept = 0;

  virtual TriggerResult trigger(std::string_view event, Data data, const TriggerOptions* options) = 0;
  /// The same with `Retain::yes`, in a channel that may have no order yet.
  virtual TriggerResult trigger_retained(std::string_view event, Data data, const TriggerOptions& options) = 0;
  /// \pre the channel is ordered.
  virtual TriggerResult step(std::string_view event, Data data, const TriggerOptions& options, OrderedStep& step) = 0;

  virtual void add_handle() noexcept = 0;
  virtual void drop_handle() noexcept = 0;

 protected:
  ~ChannelFace() = default;
};

}  // namespace detail

/// One subscriber of one channel, in this process: a set of callables bound to events.
///
/// Callables run inside `trigger`, on the triggering thread, on as many threads at once as trigger. Those bound to the
/// event's name are called first, in the order in which they entered the channel, then those bound to all events.
///
/// \ownership owns its bindings. When the destructor, `reset` or `unbind` returns outside of any callback of the
///            registry, no callable of it runs or will run, and the callables are destroyed: the leaver waits for
///            triggers of this channel that are under way, a trigger never waits. From inside a callback they do not
///            wait (two that destroyed each other would wait for ever): calls on other threads may still be running, or
///            be just about to begin; the callables are destroyed later.
/// Thread safety: `bind`, `bind_all`, `unbind`, `channel`, `id`, `error`, `reach`, `resumed` from any thread; the rest
/// like an `int`.
class Subscription {
 public:
  Subscription() = default;
  Subscription(Subscription&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)), error_(std::exchange(other.error_, errc::closed)) {}
  Subscription& operator=(Subscription&& other) noexcept {
    if (this != &other) {
      reset();
      state_ = std::exchange(other.state_, nullptr);
      error_ = std::exchange(other.error_, errc::closed);
    }
    return *this;
  }
  ~Subscription() { reset(); }

  /// Calls `f` with every later event of that name.
  ///
  /// The first `bind` or `bind_all` on what `subscribe` has returned without a setup is given first what the channel
  /// keeps for it, on this thread and before this returns, as `ChannelRegistry::subscribe` describes; later ones are
  /// not.
  /// \returns    the binding, or why there is none: `empty_name`, `event_too_long`, `closed`, `out_of_memory`;
  ///             `nested_too_deep` where it cannot be called with what is kept.
  /// \throws     what copying or moving `f` throws, and `f` itself if it is given what is kept; it is not bound then.
  /// \progress   locks the channel. \complexity amortised O(1).
  template <class F>
  BindingId bind(std::string_view event, F&& f) {
    return add(event, false, std::forward<F>(f));
  }

  /// The same while `owner` lives: each call holds a `shared_ptr` to it. `f` is called with the owner too if it can be.
  template <class T, class F>
  BindingId bind(std::string_view event, std::weak_ptr<T> owner, F&& f) {
    static_assert(std::invocable<std::decay_t<F>&, const Event&> || std::invocable<std::decay_t<F>&, T&, const Event&>,
                  "fanfare: a callback must be callable with (const fanfare::Event&) or (T&, const fanfare::Event&)");
    return add(event, false, detail::OwnedCallable<T, std::decay_t<F>>{std::move(owner), std::forward<F>(f)});
  }

  /// \copydoc bind(std::string_view, std::weak_ptr<T>, F&&)
  template <class T, class F>
  BindingId bind(std::string_view event, const std::shared_ptr<T>& owner, F&& f) {
    return bind(event, std::weak_ptr<T>{owner}, std::forward<F>(f));
  }

  /// Calls `f` with every later event, whatever its name. All else is as of `bind`.
  template <class F>
  BindingId bind_all(F&& f) {
    return add({}, true, std::forward<F>(f));
  }

  /// Ends one binding; waits as the class comment says.
  /// \returns    whether there was one. \progress locks the channel. \complexity O(bindings of this subscription).
  bool unbind(BindingId binding) {
    return state_ != nullptr && binding && state_->channel->unbind(*state_, binding.value());
  }

  /// Ends all bindings to this name; likewise. \returns how many there were.
  std::size_t unbind(std::string_view event) { return state_ == nullptr ? 0 : state_->channel->unbind(*state_, event); }

  /// For a sink that stands for others, such as the connections of a loop: changes how many subscribers it counts as. A
  /// subscription begins as one. At none, the channel is vacated as far as this subscription goes; events still come.
  /// \pre        the sum stays above or at 0.
  /// \progress   locks the channel. \complexity O(1).
  void add_members(std::ptrdiff_t by) noexcept {
    if (state_ != nullptr && by != 0) state_->channel->add_members(*state_, by);
  }

  /// Whether the channel has one order, with an id for each event.
  [[nodiscard]] bool ordered() const noexcept { return state_ != nullptr && state_->channel->ordered(); }

  /// For those who keep the state of an ordered channel: does something at one point of its order, and sends an event at
  /// that point if `step` says so. The names that the protocol reserves are allowed, and queues are not asked for room.
  /// \returns    as `trigger`; `closed` if the registry has ended, and then nothing of `step` was called.
  /// \throws     as `trigger`. \pre the channel is ordered.
  /// \progress   locks the channel.
  TriggerResult step(OrderedStep& step, std::string_view event, Data data, const TriggerOptions& options = {}) {
    if (state_ == nullptr) return {.error = error_};
    return state_->channel->step(event, data, options, step);
  }

  /// Unsubscribes, and waits as the class comment says.
  /// \progress   locks the channel, then its stripe. \complexity O(bindings).
  void reset() noexcept { leave(detail::Leave::waiting); }

  /// Unsubscribes and never waits: what the class comment says of callbacks holds everywhere.
  void detach() noexcept { leave(detail::Leave::at_once); }

  /// `ok`; or why `subscribe` failed; or `closed` after a move, a `reset`, or the registry's end.
  [[nodiscard]] errc error() const noexcept {
    if (state_ == nullptr) return error_;
    return state_->channel->closed() ? errc::closed : errc::ok;
  }
  /// Whether it is subscribed.
  [[nodiscard]] explicit operator bool() const noexcept { return error() == errc::ok; }

  /// The channel's name; empty where there is no subscription.
  [[nodiscard]] std::string_view channel() const noexcept {
    return state_ == nullptr ? std::string_view{} : state_->channel->name();
  }
  /// Names it to `TriggerOptions::except`; empty once it has ended.
  [[nodiscard]] SubscriptionId id() const noexcept {
    return state_ == nullptr ? SubscriptionId{} : SubscriptionId{state_->id()};
  }
  /// How many subscribers the channel has; a moment's view.
  [[nodiscard]] std::size_t subscribers() const noexcept {
    return state_ == nullptr ? 0 : state_->channel->subscribers();
  }

  /// What came of a `Since` that names an event; see `ChannelRegistry::subscribe`. `whole` where none was named, as
  /// long as nothing was forgotten before it could be delivered. `another_epoch` where there is no subscription.
  /// \progress locks the channel if it may keep something.
  [[nodiscard]] Reach reach() const noexcept {
    return state_ == nullptr ? Reach::another_epoch : state_->channel->standing(*state_).reach;
  }
  /// Whether a `Since` named an event, and nothing behind it is missed. \progress as `reach`.
  [[nodiscard]] bool resumed() const noexcept {
    return state_ != nullptr && state_->channel->standing(*state_).resumed();
  }

  /// \private
  explicit Subscription(errc error) noexcept : error_(error) {}
  /// \private
  explicit Subscription(detail::SubscriptionState& state) noexcept : state_(&state), error_(errc::closed) {}
  /// \private
  [[nodiscard]] detail::SubscriptionState* state() const noexcept { return state_; }

 private:
  template <class F>
  BindingId add(std::string_view event, bool all, F&& f) {
    using Callable = std::decay_t<F>;
    static_assert(EventCallback<Callable>, "fanfare: a callback must be callable with (const fanfare::Event&)");
    using Binding = std::conditional_t<detail::fits_in_slot<Callable>, detail::InlineBinding<Callable>,
                                       detail::OwningBinding<Callable>>;
    if (state_ == nullptr) return BindingId::failed(error_);
    detail::ChannelFace& channel = *state_->channel;
    void* const memory = channel.allocate(sizeof(Binding), alignof(Binding));
    if (memory == nullptr) {
      detail::Setup::note(state_->setup(), errc::out_of_memory);
      return BindingId::failed(errc::out_of_memory);
    }
    // What it is given at once may end the subscription, and so the channel.
    const Held held{state_->replayed() == nullptr ? nullptr : &channel};
    ReturnOnThrow unused{channel, {memory, sizeof(Binding), alignof(Binding)}};
    Unbound unbound{channel, ::new (memory) Binding(std::forward<F>(f))};
    unused.block.address = nullptr;
    std::uint64_t id = 0;
    if (const errc error = channel.bind(*state_, event, all, *unbound.binding, id); error != errc::ok) {
      return BindingId::failed(error);
    }
    unbound.binding = nullptr;
    return BindingId::of(id);
  }

  struct Held {
    explicit Held(detail::ChannelFace* channel_) noexcept : channel(channel_) {
      if (channel != nullptr) channel->add_handle();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
      if (channel != nullptr) channel->drop_handle();
    }
    detail::ChannelFace* const channel;
  };

  struct Unbound {
    detail::ChannelFace& channel;
    detail::Binding* binding;
    ~Unbound() {
      if (binding != nullptr) channel.deallocate(binding->destroy());
    }
  };

  struct ReturnOnThrow {
    detail::ChannelFace& channel;
    detail::Block block;
    ~ReturnOnThrow() {
      if (block.address != nullptr) channel.deallocate(block);
    }
  };

  void leave(detail::Leave how) noexcept {
    error_ = errc::closed;
    if (detail::SubscriptionState* state = std::exchange(state_, nullptr)) state->channel->leave(*state, how);
  }

  detail::SubscriptionState* state_ = nullptr;
  errc error_ = errc::closed;
};

/// A subscriber that reads its events when it likes: a game's first choice, handled in its own tick.
///
/// Any number of threads trigger into it; nothing of the user's runs on their threads.
///
/// \ownership owns the queue and the messages in it.
/// Thread safety: one thread polls at a time; `size`, `dropped`, `capacity`, `channel`, `id`, `error`, `reach`,
/// `resumed` from any thread; the rest like an `int`.
class PolledSubscription {
 public:
  PolledSubscription() = default;
  PolledSubscription(PolledSubscription&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)), error_(std::exchange(other.error_, errc::closed)) {}
  PolledSubscription& operator=(PolledSubscription&& other) noexcept {
    if (this != &other) {
      reset();
      state_ = std::exchange(other.state_, nullptr);
      error_ = std::exchange(other.error_, errc::closed);
    }
    return *this;
  }
  ~PolledSubscription() { reset(); }

  /// Calls `f(const Event&)` for what was in the queue when it began, oldest first, but for at most `most` events.
  ///
  /// `f` may trigger, subscribe, and reset this subscription; it may not poll it.
  /// \returns    how many events were handled.
  /// \throws     what `f` throws; that event is gone, those behind it stay.
  /// \progress   never waits. \complexity O(events).
  template <class F>
  std::size_t poll(F&& f, std::size_t most = std::numeric_limits<std::size_t>::max()) {
    static_assert(EventCallback<std::remove_reference_t<F>>,
                  "fanfare: a callback must be callable with (const fanfare::Event&)");
    if (state_ == nullptr) return 0;
    Polling polling{*state_};
    const std::uint64_t end = state_->queue->end();
    std::size_t handled = 0;
    while (handled < most && !polling.state.abandoned) {
      const MessagePtr message = polling.state.queue->pop(end);
      if (!message) break;
      ++handled;
      const Event event{*message};
      static_cast<void>(f(event));
    }
    return handled;
  }

  /// How many events wait; a moment's view.
  [[nodiscard]] std::size_t size() const noexcept { return state_ == nullptr ? 0 : state_->queue->size(); }
  /// How many events the queue had no room for.
  [[nodiscard]] std::uint64_t dropped() const noexcept { return state_ == nullptr ? 0 : state_->queue->dropped(); }
  /// How many it can hold.
  [[nodiscard]] std::size_t capacity() const noexcept { return state_ == nullptr ? 0 : state_->queue->capacity(); }

  /// Unsubscribes; what is still in the queue is dropped. Outside of any callback it waits, as `Subscription::reset` does,
  /// for triggers of this channel that are under way, and so for their callbacks.
  void reset() noexcept { leave(detail::Leave::waiting); }
  /// Unsubscribes and never waits for a trigger that is just pushing.
  void detach() noexcept { leave(detail::Leave::at_once); }

  /// As `Subscription::error`. What is in the queue can be polled after the registry's end.
  [[nodiscard]] errc error() const noexcept {
    if (state_ == nullptr) return error_;
    return state_->channel->closed() ? errc::closed : errc::ok;
  }
  /// Whether it is subscribed.
  [[nodiscard]] explicit operator bool() const noexcept { return error() == errc::ok; }
  /// The channel's name, while it is subscribed; empty afterwards.
  [[nodiscard]] std::string_view channel() const noexcept {
    return state_ == nullptr ? std::string_view{} : state_->channel->name();
  }
  /// Names it to `TriggerOptions::except`; empty once it has ended.
  [[nodiscard]] SubscriptionId id() const noexcept {
    return state_ == nullptr ? SubscriptionId{} : SubscriptionId{state_->id()};
  }

  /// What came of a `Since` that names an event; as `Subscription::reach`.
  /// \progress locks the channel if it may keep something.
  [[nodiscard]] Reach reach() const noexcept {
    return state_ == nullptr ? Reach::another_epoch : state_->channel->standing(*state_).reach;
  }
  /// Whether a `Since` named an event, and nothing behind it is missed. \progress as `reach`.
  [[nodiscard]] bool resumed() const noexcept {
    return state_ != nullptr && state_->channel->standing(*state_).resumed();
  }

  /// \private
  explicit PolledSubscription(errc error) noexcept : error_(error) {}
  /// \private
  explicit PolledSubscription(detail::PolledState& state) noexcept : state_(&state) {}

 private:
  struct Polling {
    explicit Polling(detail::PolledState& state_) noexcept : state(state_) {
      FANFARE_ASSERT(!state.polling, "poll was called from inside its own callback, or by two threads");
      state.polling = true;
    }
    Polling(const Polling&) = delete;
    Polling& operator=(const Polling&) = delete;
    ~Polling() {
      state.polling = false;
      if (state.abandoned) state.channel->free_left(state);
    }
    detail::PolledState& state;
  };

  void leave(detail::Leave how) noexcept {
    error_ = errc::closed;
    detail::PolledState* const state = std::exchange(state_, nullptr);
    if (state == nullptr) return;
    if (!state->polling) return state->channel->leave(*state, how);
    state->channel->leave_queue(*state);
    state->abandoned = true;
  }

  detail::PolledState* state_ = nullptr;
  errc error_ = errc::closed;
};

inline SubscriptionId::SubscriptionId(const Subscription& subscription) noexcept : SubscriptionId(subscription.id()) {}
inline SubscriptionId::SubscriptionId(const PolledSubscription& subscription) noexcept
    : SubscriptionId(subscription.id()) {}
inline SubscriptionId::SubscriptionId(const Subscription* subscription) noexcept
    : SubscriptionId(subscription == nullptr ? SubscriptionId{} : subscription->id()) {}
inline SubscriptionId::SubscriptionId(const PolledSubscription* subscription) noexcept
    : SubscriptionId(subscription == nullptr ? SubscriptionId{} : subscription->id()) {}

FANFARE_NAMESPACE_END
