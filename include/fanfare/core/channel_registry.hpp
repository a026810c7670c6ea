/// \file
/// The channels of one application: subscribe, bind, trigger.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/channel.hpp>
#include <fanfare/core/channel_handle.hpp>
#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/channel_state.hpp>
#include <fanfare/core/epoch.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/event.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/hash.hpp>
#include <fanfare/core/inbox.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/name_index.hpp>
#include <fanfare/core/policy.hpp>
#include <fanfare/core/sink.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/core/walk_depth.hpp>
#include <fanfare/detail/config.hpp>

#if FANFARE_EXCEPTIONS
#include <exception>
#endif
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// Policy: any number of threads (the default).
struct MultiThreaded {
  static constexpr PolicyKind policy_kind = PolicyKind::threading;
  /// The default of the atomics policy.
  using atomics = StdAtomics;
  /// The default of the reclaimer policy.
  using reclaimer = EpochReclaimer;
  static constexpr std::size_t stripes = 64;
};

/// Policy: one thread at a time, and no atomic instruction at all.
struct SingleThreaded {
  static constexpr PolicyKind policy_kind = PolicyKind::threading;
  /// The default of the atomics policy.
  using atomics = PlainAtomics;
  /// The default of the reclaimer policy.
  using reclaimer = WalkDepthReclaimer;
  static constexpr std::size_t stripes = 1;
};

/// A clock in the sense of the standard library. Read when a channel gets its order: by a trigger only with
/// `Retain::yes`.
template <class C>
concept Clock = requires {
  { C::now().time_since_epoch().count() } -> std::integral;
};

/// Policy: take the time from `C`.
template <class C>
struct WithClock {
  static_assert(Clock<C>, "fanfare: WithClock<C>: C does not satisfy the concept fanfare::Clock");
  static constexpr PolicyKind policy_kind = PolicyKind::clock;
  /// The clock.
  using type = C;
};

/// What decides when memory may be reused. `EpochReclaimer` and `WalkDepthReclaimer` are its models; the members of
/// their domains are described at `EpochDomain`.
template <class R>
concept Reclaimer = Policy<R> && R::policy_kind == PolicyKind::reclaimer && requires {
  typename R::template domain<StdAtomics, NewDelete>;
  typename R::template domain<StdAtomics, NewDelete>::Guard;
  typename R::template domain<StdAtomics, NewDelete>::Queue;
};
static_assert(Reclaimer<EpochReclaimer> && Reclaimer<WalkDepthReclaimer>);

/// What a registry is told when it is made.
struct RegistryOptions {
  Limits limits{};
  /// Keys the hash of names. 0: taken from where the registry lies in memory. Give your own random number where
  /// strangers choose channel names and addresses are predictable.
  std::uint64_t seed = 0;
  /// Makes frames for sinks that are `wire`; must outlive the registry. May be null.
  const Encoder* encoder = nullptr;
  /// Makes what ordered channels keep; must outlive the registry. May be null.
  ChannelStates* states = nullptr;
  /// The first subscription of a channel came. Called without a lock, in order per channel, on the thread that
  /// subscribed or one that is just reporting for the same channel. Must not throw.
  std::function<void(std::string_view channel)> on_occupied{};
  /// The last one left; likewise.
  std::function<void(std::string_view channel)> on_vacated{};
};

/// A moment's view of a registry.
struct RegistryStats {
  std::size_t channels = 0;                 ///< Channels with subscribers.
  std::size_t entries = 0;                  ///< Channels that exist: those, and those that only handles hold.
  std::size_t retired_bytes = 0;            ///< Unlinked, and not yet known to be unread.
  std::uint64_t oldest_reader_age = 0;      ///< Removals since the oldest running trigger began.
  std::uint64_t suppressed_exceptions = 0;  ///< Thrown by callbacks after another of the same trigger had thrown.
};

namespace detail {

template <class... Policies>
struct RegistryTraits {
  static_assert((Policy<Policies> && ...),
                "fanfare: ChannelRegistry<…>: every argument must be a policy: SingleThreaded, MultiThreaded, "
                "WithMemory<M>, WithHash<H>, WithClock<C>, a reclaimer or an atomics policy");
  static_assert(count_policies<PolicyKind::threading, Policies...> <= 1 &&
                    count_policies<PolicyKind::reclaimer, Policies...> <= 1 &&
                    count_policies<PolicyKind::hash, Policies...> <= 1 &&
                    count_policies<PolicyKind::allocator, Policies...> <= 1 &&
                    count_policies<PolicyKind::clock, Policies...> <= 1 &&
                    count_policies<PolicyKind::atomics, Policies...> <= 1,
                "fanfare: ChannelRegistry<…>: two policies of the same kind");

  using threading = find_policy<PolicyKind::threading, MultiThreaded, Policies...>;
  using atomics = find_policy<PolicyKind::atomics, typename threading::atomics, Policies...>;
  using reclaimer = find_policy<PolicyKind::reclaimer, typename threading::reclaimer, Policies...>;
  using user_memory = typename find_policy<PolicyKind::allocator, WithMemory<NewDelete>, Policies...>::type;
  using hash = typename find_policy<PolicyKind::hash, WithHash<SeededHash>, Policies...>::type;
  using clock = typename find_policy<PolicyKind::clock, WithClock<std::chrono::steady_clock>, Policies...>::type;
  static_assert(Atomics<atomics>, "fanfare: the atomics policy does not satisfy the concept fanfare::Atomics");
  static_assert(Reclaimer<reclaimer>, "fanfare: the reclaimer policy does not satisfy the concept fanfare::Reclaimer");

  using memory = TrackedMemory<atomics, user_memory>;
  using domain = typename reclaimer::template domain<atomics, memory>;
  using message = MessageBlock<atomics, memory>;
  using ring = MessageRing<atomics, memory>;
};

/// What a registry shares with its subscriptions and handles. Lives until the last of them is gone.
template <class Traits>
class RegistryCore final : public MessageSource {
  using A = typename Traits::atomics;
  using ChannelType = Channel<Traits>;
  using Lock = std::unique_lock<typename A::mutex>;

 public:
  using MemoryType = typename Traits::memory;
  using MessageType = typename Traits::message;

  RegistryCore(RegistryOptions&& options, const MemoryType& memory_) noexcept
      : memory(memory_),
        domain(memory_),
        limits(options.limits),
        encoder_(options.encoder),
        states_(options.states),
        on_occupied_(std::move(options.on_occupied)),
        on_vacated_(std::move(options.on_vacated)),
        seed_(options.seed != 0 ? options.seed : SeededHash::fold(reinterpret_cast<std::uintptr_t>(this), ~0U)) {}
  RegistryCore(const RegistryCore&) = delete;
  RegistryCore& operator=(const RegistryCore&) = delete;

  // ---- what channels use

  MemoryType memory;
  typename Traits::domain domain;
  const Limits limits;

  [[nodiscard]] bool closed() const noexcept {
    // (21) seq_cst; pairs with (22): either a trigger sees that the registry is closed, or the closer sees its pin.
    return closed_.load(std::memory_order_seq_cst);
  }
  /// Whether the registry has ended and nobody reads any more. Nothing is retired from then on: who leaves frees at once,
  /// as there may be nobody to collect later. \pre under a channel's lock
  [[nodiscard]] bool drained() const noexcept { return drained_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t hash(std::string_view name) const noexcept {
    return whole_hash(static_cast<std::uint32_t>(Traits::hash::hash(name, seed_)));
  }

  [[nodiscard]] errc check_event(std::string_view event, Data data) const noexcept {
    if (const errc error = check_event_name(event, limits.event_name); error != errc::ok) return error;
    return data.text().size() > limits.data ? errc::data_too_large : errc::ok;
  }

  [[nodiscard]] MessageType* make(const MessageParts& parts, bool wire, errc& error,
                                  std::uint32_t links = 0) const noexcept {
    return MessageType::make(parts, wire, encoder_, memory, error, links);
  }
  [[nodiscard]] MessagePtr make_message(const MessageParts& parts, EventId id) const noexcept override {
    errc error = errc::ok;
    MessageType* message = make(parts, false, error);
    if (message != nullptr) message->set_id(id);
    return MessagePtr::adopt(message);
  }

  /// Whether a channel has an order.
  [[nodiscard]] bool orders(std::string_view channel) const noexcept {
    return ChannelName::ordered(ChannelName::kind(channel)) || (states_ != nullptr && states_->orders(channel));
  }
  /// Gives a message its place, also in what subscribers are sent.
  void place(MessageType& message, EventId id) const noexcept { message.set_id(id, encoder_); }
  [[nodiscard]] std::unique_ptr<ChannelState> make_state(std::string_view channel, bool& failed) const noexcept {
    return states_ == nullptr ? nullptr : states_->make(channel, failed);
  }
  [[nodiscard]] bool has_states() const noexcept { return states_ != nullptr; }
  /// \pre there are states.
  [[nodiscard]] bool review_state(std::string_view channel, ChannelState& state, EventId last,
                                  bool retains) const noexcept {
    return states_->review(channel, state, last, retains);
  }
  /// A channel has got its order while it was in use; `complete_orders` comes to it.
  void note_incomplete() noexcept { incomplete_.store(true, std::memory_order_relaxed); }
  /// Whether an event is kept for a channel that does not exist.
  [[nodiscard]] bool keeps(std::string_view channel) const noexcept {
    return states_ != nullptr && states_->keeps(channel);
  }

  /// Never the same twice, and larger each time.
  [[nodiscard]] std::uint64_t new_epoch() noexcept {
    const auto ticks = Traits::clock::now().time_since_epoch().count();
    const std::uint64_t now = ticks < 0 ? 0 : static_cast<std::uint64_t>(ticks);
    std::uint64_t last = last_epoch_.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
      next = now > last ? now : last + 1;
    } while (!last_epoch_.compare_exchange_weak(last, next, std::memory_order_relaxed, std::memory_order_relaxed));
    return next;
  }
  /// For subscriptions and bindings. Never 0.
  [[nodiscard]] std::uint64_t new_number() noexcept { return last_number_.fetch_add(1, std::memory_order_relaxed) + 1; }

  [[nodiscard]] bool has_hooks() const noexcept { return on_occupied_ != nullptr || on_vacated_ != nullptr; }
  void report(std::string_view channel, bool occupied) const {
    const auto& hook = occupied ? on_occupied_ : on_vacated_;
    if (hook != nullptr) hook(channel);
  }
  /// \pre under a channel's lock, and the channel is not cleared
  void report_begins() noexcept { reports_.fetch_add(1, std::memory_order_relaxed); }
  void report_ends() noexcept {
    reports_.fetch_sub(1, std::memory_order_release);  // (26) release; pairs with the acquire in (27)
  }
  void count_occupied(int by) noexcept {
    if (by > 0) {
      occupied_.fetch_add(1, std::memory_order_relaxed);
    } else {
      occupied_.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  void count_suppressed(std::uint64_t by) noexcept { suppressed_.fetch_add(by, std::memory_order_relaxed); }

  /// The lock of a channel with this hash. Other channels have the same: never two are held at once.
  [[nodiscard]] typename A::mutex& channel_mutex(std::uint64_t name_hash) noexcept {
    return stripe(name_hash).channels_mutex;
  }

  void add_reference(ChannelType& channel) noexcept {
    const Lock lock(stripe(channel.hash()).mutex);
    ++channel.references_;
  }

  /// The same of a channel that may have lost its last reference already. \pre pinned
  [[nodiscard]] bool try_add_reference(ChannelType& channel) noexcept {
    const Lock lock(stripe(channel.hash()).mutex);
    if (channel.references_ == 0) return false;
    ++channel.references_;
    return true;
  }

  /// The last reference unmakes the channel, and the last channel of a registry that is gone unmakes the core.
  void drop_reference(ChannelType& channel) noexcept {
    GarbageQueue ready;
    {
      Stripe& home = stripe(channel.hash());
      const Lock lock(home.mutex);
      if (--channel.references_ != 0) return;  // from here on others may end the channel, and the core with it
      home.channels.erase(channel);
      domain.retire(home.garbage, channel, domain.advance());
      entries_.fetch_sub(1, std::memory_order_relaxed);
      if (domain.due(home.garbage)) domain.collect_each(home.garbage, ready);
    }
    ready.destroy_all(memory);
    drop();
  }

  // ---- what the registry uses

  /// Finds a channel. \pre pinned
  [[nodiscard]] ChannelType* find(std::string_view name, std::uint64_t name_hash) noexcept {
    return stripe(name_hash).channels.find(name, name_hash);
  }
  [[nodiscard]] ChannelType* find(std::string_view name) noexcept { return find(name, hash(name)); }

  /// Finds or makes a channel, and adds a reference to it.
  /// \param channel   where it fails, null or as it was.
  [[nodiscard]] errc acquire(std::string_view name, ChannelType*& channel) noexcept {
    if (const errc error = ChannelName::check(name, limits.channel_name); error != errc::ok) return error;
    return acquire(ReservedChannel{name}, channel);
  }
  [[nodiscard]] errc acquire(ReservedChannel reserved, ChannelType*& channel) noexcept {
    const std::string_view name = reserved.name;
    const std::uint64_t name_hash = hash(name);
    Stripe& home = stripe(name_hash);
    GarbageQueue ready;
    errc error = errc::ok;
    {
      const Lock lock(home.mutex);
      error = acquire_locked(home, name, name_hash, channel);
      if (domain.due(home.garbage)) domain.collect_each(home.garbage, ready);
    }
    ready.destroy_all(memory);
    return error;
  }

  template <class F>
  void for_each(F f) {
    for (Stripe& home : stripes_) home.channels.for_each(f);
  }

  [[nodiscard]] std::size_t occupied() const noexcept { return occupied_.load(std::memory_order_relaxed); }

  [[nodiscard]] RegistryStats stats() noexcept {
    RegistryStats stats;
    stats.channels = occupied();
    stats.entries = entries_.load(std::memory_order_relaxed);
    stats.suppressed_exceptions = suppressed_.load(std::memory_order_relaxed);
    stats.oldest_reader_age = domain.oldest_reader_age();
    stats.retired_bytes = domain.unqueued_bytes();
    for (Stripe& home : stripes_) {
      const Lock lock(home.mutex);
      stats.retired_bytes += domain.bytes(home.garbage);
      home.channels.for_each([&](ChannelType& channel) { stats.retired_bytes += channel.retired_bytes(); });
    }
    return stats;
  }

  void collect() noexcept {
    GarbageQueue ready;
    for (Stripe& home : stripes_) {
      {
        const Lock lock(home.mutex);
        home.channels.for_each([&](ChannelType& channel) { channel.collect(ready); });
        domain.collect_each(home.garbage, ready);
      }
      ready.destroy_all(memory);
    }
  }

  /// Lets states forget, and drops the channels that only they held.
  void expire(std::chrono::steady_clock::time_point now) noexcept {
    if (states_ == nullptr) return;
    if (unreviewed_.exchange(false, std::memory_order_relaxed)) review_all();
    if (incomplete_.load(std::memory_order_relaxed)) complete_orders();
    const auto guard = domain.pin(ReadFor::query);
    if (guard.error() != errc::ok) return;
    for_each([&](ChannelType& channel) {
      if (!channel.ages() || !try_add_reference(channel)) return;
      channel.expire_state(now);
      channel.settle_state();
      drop_reference(channel);
    });
  }

  /// Lets all channels be what the states say now.
  void review() noexcept {
    review_all();
    // A read that begins now may have an old epoch and be taken for one of those to wait for: it is, then.
    const std::uint64_t now = domain.advance();
    while (complete_orders() < now && !domain.inside()) domain.await_all();
    settle_states();
  }
  /// The same where they are asked with something else from now on.
  /// \param replaced   what the states were asked with before.
  void review(Garbage& replaced) noexcept {
    Stripe& home = stripes_[0];
    {
      const Lock lock(home.mutex);
      domain.retire(home.garbage, replaced, domain.advance());
    }
    review();
    GarbageQueue ready;
    {
      const Lock lock(home.mutex);
      domain.collect_each(home.garbage, ready);
    }
    ready.destroy_all(memory);
  }

  /// The registry ends: nothing is delivered any more when this returns.
  void close() noexcept {
    FANFARE_ASSERT(!domain.inside(), "a registry was destroyed from inside one of its callbacks");
    closed_.store(true, std::memory_order_seq_cst);  // (22) seq_cst; see (21)
    for (Stripe& home : stripes_) {
      const Lock lock(home.mutex);
      home.channels.for_each([](ChannelType& channel) { channel.clear(); });
    }
    domain.await_all();
    settle_states();  // no trigger runs any more, so no state begins to keep something
    // (27) acquire; pairs with the release in (26). No report begins any more: each channel was cleared under its lock.
    A::await([&] { return reports_.load(std::memory_order_acquire) == 0; });
    drained_.store(true, std::memory_order_relaxed);
    collect();
    drop();
  }

 private:
  struct alignas(64) Stripe {
    typename A::mutex mutex;
    NameIndex<A, typename Traits::hash, ChannelType> channels;
    [[no_unique_address]] typename Traits::domain::Queue garbage;
    alignas(64) typename A::mutex channels_mutex;  // a line of its own: triggers on ordered channels write to it
  };

  /// Calls `f(ChannelType&)` for all channels, those included that are being made: one stripe after the other is
  /// locked.
  template <class F>
  void for_each_locked(F f) {
    for (Stripe& home : stripes_) {
      const Lock lock(home.mutex);
      home.channels.for_each(f);
    }
  }

  /// What finds no memory is tried again by `expire`.
  void review_all() noexcept {
    for_each_locked([&](ChannelType& channel) {
      if (!channel.review(false)) unreviewed_.store(true, std::memory_order_relaxed);
    });
  }

  /// Those that are not complete yet are for `expire`. \returns the lowest stamp of their beginnings.
  std::uint64_t complete_orders() noexcept {
    incomplete_.store(false, std::memory_order_relaxed);
    std::uint64_t lowest = ChannelType::is_complete;
    for_each_locked([&](ChannelType& channel) {
      const std::uint64_t stamp = channel.complete_order();
      if (stamp == ChannelType::is_complete) return;
      lowest = std::min(lowest, stamp);
      note_incomplete();
    });
    return lowest;
  }

  /// Lets channels go that only their states held, and holds those that keep something.
  void settle_states() noexcept {
    if (states_ == nullptr) return;
    const auto guard = domain.pin();
    if (guard.error() != errc::ok && !closed())
      return;  // `expire` comes to them; when all has ended nobody is in the way
    for_each([&](ChannelType& channel) {
      if (!channel.has_state() || !try_add_reference(channel)) return;
      channel.settle_state();
      drop_reference(channel);
    });
  }

  ~RegistryCore() {
    for (Stripe& home : stripes_) {
      domain.destroy_all(home.garbage, memory);
      home.channels.destroy(memory);
    }
  }

  Stripe& stripe(std::uint64_t name_hash) noexcept {
    if constexpr (Traits::threading::stripes == 1) {
      return stripes_[0];
    } else {
      static_assert(Traits::threading::stripes == 64, "the top 6 bits choose");
      return stripes_[static_cast<std::size_t>(name_hash >> 58U)];
    }
  }

  errc acquire_locked(Stripe& home, std::string_view name, std::uint64_t name_hash, ChannelType*& channel) noexcept {
    if (closed()) return errc::closed;
    channel = home.channels.find(name, name_hash);
    if (channel == nullptr) {
      if (entries_.load(std::memory_order_relaxed) >= limits.channels) return errc::too_many_channels;
      channel = ChannelType::make(*this, name, name_hash);
      if (channel == nullptr) return errc::out_of_memory;
      Garbage* replaced = nullptr;
      const bool inserted = home.channels.insert(*channel, memory, replaced);
      if (replaced != nullptr) domain.retire(home.garbage, *replaced, domain.advance());
      if (!inserted) {
        const Block block = std::exchange(channel, nullptr)->destroy();
        memory.deallocate(block.address, block.bytes, block.alignment);
        return errc::out_of_memory;
      }
      entries_.fetch_add(1, std::memory_order_relaxed);
      owners_.fetch_add(1, std::memory_order_relaxed);
    }
    ++channel->references_;
    return errc::ok;
  }

  void drop() noexcept {
    // (23) acq_rel; pairs with itself: whoever is last sees what all others did.
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    MemoryType last = memory;
    this->~RegistryCore();
    last.deallocate(this, sizeof(RegistryCore), alignof(RegistryCore));
  }

  template <class T>
  using atomic = typename A::template atomic<T>;

  const Encoder* encoder_;
  ChannelStates* states_;
  std::function<void(std::string_view)> on_occupied_;
  std::function<void(std::string_view)> on_vacated_;
  const std::uint64_t seed_;
  atomic<bool> closed_{false};
  atomic<bool> drained_{false};
  // Work for `expire`; relaxed, as what it is about is under locks.
  atomic<bool> unreviewed_{false};  // a channel found no memory for what it is to be
  atomic<bool> incomplete_{false};  // a channel has got its order while it was in use
  std::array<Stripe, Traits::threading::stripes> stripes_;
  atomic<std::size_t> owners_{1};  // the registry, and every channel
  atomic<std::size_t> entries_{0};
  atomic<std::size_t> occupied_{0};
  atomic<std::size_t> reports_{0};  // hooks that are running
  atomic<std::uint64_t> suppressed_{0};
  atomic<std::uint64_t> last_epoch_{0};
  atomic<std::uint64_t> last_number_{0};
};

}  // namespace detail

/// Channels by name. Channels are just strings: the first subscriber makes one, the last one leaving unmakes it.
///
/// \tparam Policies   in any order, each at most once:
/// | kind | default | others |
/// |---|---|---|
/// | threading | `MultiThreaded` | `SingleThreaded` |
/// | allocator | `WithMemory<NewDelete>` | `WithMemory<M>`, `M` a `fanfare::Memory` |
/// | hash | `WithHash<SeededHash>` | `WithHash<H>`, `H` a `fanfare::NameHash` |
/// | clock | `WithClock<std::chrono::steady_clock>` | `WithClock<C>`, `C` a `fanfare::Clock` |
/// | reclaimer | that of the threading policy | a `fanfare::Reclaimer` |
/// | atomics | those of the threading policy | a `fanfare::Atomics` |
///
/// \ownership subscriptions, handles and kept messages may outlive the registry; they answer `errc::closed` then. When
///            the destructor returns, no callback runs or will run. It must not be called from inside one.
/// Thread safety: all members from any thread, concurrently; the constructor and the destructor as usual. The
/// destructor locks every stripe and waits for triggers that are under way. Two registries whose callbacks end each
/// other's subscriptions can wait for each other for ever: `detach` there.
template <class... Policies>
class ChannelRegistry {
  using Traits = detail::RegistryTraits<Policies...>;
  using Core = detail::RegistryCore<Traits>;
  using ChannelType = detail::Channel<Traits>;
  using MemoryType = typename Traits::memory;
  using MessageType = typename Traits::message;

 public:
  /// Where the allocator policy takes its memory from.
  using memory_type = typename Traits::user_memory;

  /// \throws nothing; where memory is exhausted, all members answer `errc::out_of_memory`.
  explicit ChannelRegistry(RegistryOptions options = {}, const memory_type& memory = memory_type()) noexcept {
    MemoryType tracked{memory};
    if (void* const address = tracked.allocate(sizeof(Core), alignof(Core))) {
      core_ = ::new (address) Core{std::move(options), tracked};
    }
  }
  ChannelRegistry(const ChannelRegistry&) = delete;
  ChannelRegistry& operator=(const ChannelRegistry&) = delete;
  ~ChannelRegistry() {
    if (core_ != nullptr) core_->close();
  }

  /// Subscribes; bind to the result.
  ///
  /// An event triggered between the two is not seen, unless the channel keeps it: with `setup` there is no such gap.
  /// What it keeps is given to the first binding; see `Subscription::bind`.
  /// \param since   as below.
  /// \returns    the subscription; the error, if any, is inside: that of the name, `too_many_channels`, `closed`,
  ///             `out_of_memory`.
  /// \progress   locks one stripe, then the channel. \complexity amortised O(1).
  [[nodiscard]] Subscription subscribe(std::string_view channel, Since since = {}) {
    ChannelType* found = nullptr;
    if (const errc error = acquire(channel, found); error != errc::ok) return Subscription{error};
    if (!replays(*found, since)) {
      return enter(*found, make_subscription<detail::CallbackState>(*found), nullptr, nullptr);
    }
    Subscription subscription = make_subscription<detail::ReplayedState>(*found, since);
    if (auto* const state = static_cast<detail::ReplayedState*>(subscription.state())) {
      found->judge(state->place);
      state->pending = true;
    }
    return enter(*found, std::move(subscription), nullptr, nullptr);
  }

  /// Subscribes with bindings that miss nothing: `setup(Subscription&)` runs before the subscription enters the channel.
  /// Until this has returned, the subscription is this thread's alone, wherever the setup has moved it.
  ///
  /// What the channel keeps is given to the bindings first, on this thread and before this returns: each event once, in
  /// the order of ids, as if it were triggered now; then the subscription enters, where nothing is missed between the
  /// two. Events that come meanwhile are given the same way, so this returns when the callbacks have caught up with
  /// those who trigger. What the channel forgets before it can be given is skipped, and `Subscription::reach` says so.
  /// A callback may end the subscription, and with it the rest. `TriggerOptions::except` is not kept with an event.
  ///
  /// \param since   from where on what is kept is wanted; by default all of it. Whoever names the last event that it
  ///                has seen gets what came behind it, and `Subscription::resumed` is true. If that cannot be given, it
  ///                is false, and all that is kept comes as by default: `setup` can ask already, and drop what it
  ///                believed so far. An event that is forgotten between `setup` and its turn is a gap; the others come.
  /// \returns       as above, and `nested_too_deep` where callbacks cannot be called. Where memory runs out in between,
  ///                callbacks may have been called.
  /// \throws        what `setup` throws, or a callback that is given what is kept; nothing is left behind then.
  /// \progress      locks one stripe, then the channel, once for 64 KiB of what is kept.
  /// \complexity    amortised O(1) and what is kept, by the bindings.
  template <class Setup>
    requires(!detail::NamesPlace<Setup>)
  [[nodiscard]] Subscription subscribe(std::string_view channel, Setup&& setup, Since since = {}) {
    static_assert(std::invocable<Setup, Subscription&>,
                  "fanfare: the second argument of subscribe is a function of (fanfare::Subscription&) that binds "
                  "callbacks to it, an Inbox or a Since");
    ChannelType* found = nullptr;
    if (const errc error = acquire(channel, found); error != errc::ok) return Subscription{error};
    const bool replayed = replays(*found, since);
    Subscription subscription = replayed ? make_subscription<detail::ReplayedState>(*found, since)
                                         : make_subscription<detail::CallbackState>(*found);
    auto* const state = static_cast<detail::CallbackState*>(subscription.state());
    if (state == nullptr) return subscription;
    if (replayed) return enter_behind_kept(*found, std::move(subscription), std::forward<Setup>(setup));
    ChannelHandle held;
    const auto hold = [&] {
      found->add_handle();
      held = ChannelHandle{*found};
    };
    errc error = errc::ok;
    {
      SetupScope scope{*state};
      std::forward<Setup>(setup)(subscription);
      if (scope.setup.ended) return subscription;
      // Moved elsewhere: it may end as soon as it has entered, and would take the channel with it. It enters whoever
      // holds it now.
      const bool moved = subscription.state() == nullptr;
      if (moved) hold();
      bool keeps = since.replays();
      error = found->enter_behind_setup(*state, scope.setup, keeps);
      if (keeps) {           // since the setup began
        if (!moved) hold();  // a callback may end it
        detail::Standing place;
        error = found->enter_behind_kept(*state, place, scope.setup);
      }
    }
    if (error == errc::ok) return subscription;
    subscription.reset();
    return Subscription{error};
  }

  /// Subscribes a queue that is read by polling. What the channel keeps is in it when this returns; live events come
  /// behind. Its bound holds for both: see `Inbox::overflow` for which of them stay.
  /// \param since   as above.
  /// \returns       as above; `out_of_memory` also where there is none for the queue.
  /// \progress      locks one stripe, then the channel, once for 64 KiB of what is kept.
  /// \complexity    O(size of the queue + what is kept).
  [[nodiscard]] PolledSubscription subscribe(std::string_view channel, Inbox inbox, Since since = {}) {
    ChannelType* found = nullptr;
    if (const errc error = acquire(channel, found); error != errc::ok) return PolledSubscription{error};
    void* const address = found->allocate(sizeof(RingState), alignof(RingState));
    if (address == nullptr) {
      core_->drop_reference(*found);
      return PolledSubscription{errc::out_of_memory};
    }
    auto* const state = ::new (address) RingState{*found, core_->new_number(), core_->memory};
    errc error = state->ring.reserve(inbox) ? errc::ok : errc::out_of_memory;
    if (error == errc::ok) {
      const detail::SinkOperations& operations = detail::OperationsOf<Ring>::value;
      if (replays(*found, since)) {
        state->place.since = since;
        found->judge(state->place);
        error = found->enter_behind_kept(*state, operations, &state->ring);
      } else {
        error = found->enter(*state, &operations, &state->ring);
      }
    }
    if (error != errc::ok) {
      found->leave(*state, detail::Leave::waiting);
      return PolledSubscription{error};
    }
    return PolledSubscription{*state};
  }

  /// Subscribes a queue of the caller's, to live events alone: what the channel keeps is not pushed. It must live until
  /// `reset` or the destructor of the subscription has returned, outside of any callback: until then, and after
  /// `detach`, triggers that are under way may still push.
  /// \progress   locks one stripe, then the channel. \complexity amortised O(1).
  template <class S>
  [[nodiscard]] Subscription attach(std::string_view channel, S& sink) {
    static_assert(Sink<S>, "fanfare: attach: the type does not satisfy the concept fanfare::Sink");
    ChannelType* found = nullptr;
    if (const errc error = acquire(channel, found); error != errc::ok) return Subscription{error};
    return enter(*found, make_subscription<detail::SubscriptionState>(*found), &detail::OperationsOf<S>::value, &sink);
  }

  /// The same with a sink that the subscription keeps, which is usually a small handle of a queue: it is destroyed when
  /// no trigger can push into it any more, so `detach` is all it takes to leave. What it refers to must live so long.
  template <class S>
    requires(!std::is_lvalue_reference_v<S>)
  [[nodiscard]] Subscription attach(std::string_view channel, S&& sink) {
    if (const errc error =
            core_ == nullptr ? errc::out_of_memory : ChannelName::check(channel, core_->limits.channel_name);
        error != errc::ok) {
      return Subscription{error};
    }
    return attach(ReservedChannel{channel}, std::forward<S>(sink));
  }
  /// The same in a channel of the protocol's own.
  template <class S>
    requires(!std::is_lvalue_reference_v<S>)
  [[nodiscard]] Subscription attach(ReservedChannel channel, S&& sink) {
    static_assert(Sink<S> && std::is_nothrow_move_constructible_v<S>,
                  "fanfare: attach: the type does not satisfy the concept fanfare::Sink, or its move may throw");
    ChannelType* found = nullptr;
    if (const errc error = acquire(channel, found); error != errc::ok) return Subscription{error};
    Subscription subscription = make_subscription<SinkState<S>>(*found, std::forward<S>(sink));
    void* const kept =
        subscription.state() == nullptr ? nullptr : &static_cast<SinkState<S>*>(subscription.state())->sink;
    return enter(*found, std::move(subscription), &detail::OperationsOf<S>::value, kept);
  }

  /// Holds a channel, so that triggering it needs no lookup. The channel exists as long as the handle does.
  /// \returns    the handle; the error, if any, is inside, as for `subscribe`.
  /// \progress   locks one stripe. \complexity amortised O(1).
  [[nodiscard]] ChannelHandle channel(std::string_view name) {
    ChannelType* found = nullptr;
    if (const errc error = acquire(name, found); error != errc::ok) return ChannelHandle{error};
    return ChannelHandle{*found};
  }

  /// Sends one event to every subscriber of a channel: first into queues, then to callbacks, on this thread.
  ///
  /// \param event   1 to `Limits::event_name` bytes, not beginning with `pusher:` or `pusher_internal:`.
  /// \param data    up to `Limits::data` bytes.
  /// \returns       how many got it, or why nobody did. A valid name without subscribers is no error.
  /// \throws        the first exception that a callback threw, after all were called.
  /// \progress      lock-free; on ordered channels (presence, cache, and those that keep events) it locks the channel
  ///                while it pushes, and its stripe where it begins to keep something. One allocation if there is a
  ///                queue, none otherwise.
  /// \complexity    O(queues + callbacks bound to this event or to all).
  TriggerResult trigger(std::string_view channel, std::string_view event, Data data = {}) {
    return trigger_one(channel, event, data, nullptr);
  }
  /// The same for an event that differs from an ordinary one.
  TriggerResult trigger(std::string_view channel, std::string_view event, Data data, const TriggerOptions& options) {
    if (options.retain == Retain::yes) [[unlikely]] {
      return trigger_retained(channel, event, data, options);
    }
    return trigger_one(channel, event, data, &options);
  }

  /// The same in a channel of the protocol's own, or an event of the protocol's own in any channel.
  TriggerResult trigger(ReservedChannel channel, std::string_view event, Data data,
                        const TriggerOptions& options = {}) {
    if (core_ == nullptr) return {.error = errc::out_of_memory};
    auto guard = core_->domain.pin();
    if (guard.error() != errc::ok) return {.error = guard.error()};
    ChannelType* const found = core_->find(channel.name);
    if (found == nullptr) return {};
    guard.enter(found->scope());
    return found->deliver(guard, event, data.text(), &options);
  }

  /// The same for several channels. All names are checked, all queues are asked for room and everything is encoded before
  /// the first delivery. A channel that is named twice gets the event twice.
  ///
  /// \returns    as for one channel, or `too_many_channels` for more than `Limits::channels_per_trigger`; `delivered` is
  ///             the sum. If a subscriber comes or a queue fills up between the look and a channel's turn, `error` can
  ///             say so although other channels got the event.
  /// \throws     as for one channel: those behind a callback that throws still get the event.
  /// \progress   as for one channel, with one allocation more.
  TriggerResult trigger(std::span<const std::string_view> channels, std::string_view event, Data data,
                        const TriggerOptions& options = {}) {
    return trigger_many(channels, event, data, options);
  }
  /// The same for a list in braces.
  TriggerResult trigger(std::initializer_list<std::string_view> channels, std::string_view event, Data data,
                        const TriggerOptions& options = {}) {
    return trigger_many({channels.begin(), channels.size()}, event, data, options);
  }

  /// Whether the channel has a subscription; a moment's view, as all queries. False also where there is no memory to
  /// ask: with more than 32 reads under way at once a query may need some.
  /// \progress lock-free.
  [[nodiscard]] bool occupied(std::string_view channel) const noexcept { return subscribers(channel) != 0; }

  /// How many subscriptions the channel has; 0 as for `occupied`.
  /// \progress lock-free.
  [[nodiscard]] std::size_t subscribers(std::string_view channel) const noexcept {
    if (core_ == nullptr) return 0;
    const auto guard = core_->domain.pin(ReadFor::query);
    if (guard.error() != errc::ok) return 0;
    const ChannelType* found = core_->find(channel);
    return found == nullptr ? 0 : found->subscribers();
  }

  /// How many channels have subscriptions.
  /// \progress wait-free.
  [[nodiscard]] std::size_t size() const noexcept { return core_ == nullptr ? 0 : core_->occupied(); }

  /// Calls `f(std::string_view name, std::size_t subscribers)` for every occupied channel whose name begins with
  /// `prefix`. Channels that come or go meanwhile may be missed. `f` counts as a callback of every channel: while it
  /// runs, no memory of the registry is reused, and whoever leaves any channel waits.
  /// \returns `errc::ok` or `out_of_memory`, as for `occupied`.
  /// \progress lock-free. \complexity O(channels).
  template <std::invocable<std::string_view, std::size_t> F>
  errc for_each_channel(F&& f, std::string_view prefix = {}) const {
    if (core_ == nullptr) return errc::out_of_memory;
    auto guard = core_->domain.pin(ReadFor::query);
    if (guard.error() != errc::ok) return guard.error();
    guard.enter_callbacks();
    core_->for_each([&](const ChannelType& channel) {
      const std::size_t count = channel.subscribers();
      if (count != 0 && channel.name().starts_with(prefix)) f(channel.name(), count);
    });
    return errc::ok;
  }

  /// \progress locks one stripe after the other, and each of its channels. \complexity O(channels).
  [[nodiscard]] RegistryStats stats() const noexcept { return core_ == nullptr ? RegistryStats{} : core_->stats(); }

  /// Frees what has been unlinked and is read by nobody any more. Subscribing and unsubscribing do this by the way.
  /// \progress locks one stripe after the other, and each of its channels. \complexity O(channels + what is freed).
  void collect() noexcept {
    if (core_ != nullptr) core_->collect();
  }

  /// Calls `f(ChannelState*)` for a channel that exists, under the channel's lock; see `ChannelState` for what `f` may do.
  /// \returns    whether the channel exists. \progress locks the channel.
  template <std::invocable<ChannelState*> F>
  bool look_at_state(std::string_view channel, F&& f) const {
    if (core_ == nullptr) return false;
    const auto guard = core_->domain.pin(ReadFor::query);
    if (guard.error() != errc::ok) return false;
    ChannelType* const found = core_->find(channel);
    if (found == nullptr) return false;
    found->look_at_state(std::forward<F>(f));
    return true;
  }

  /// Gives the state of a channel an event of an earlier life of the program; see `ChannelState::restore`. The channel
  /// exists then for as long as its state keeps something.
  /// \param number   of the event, in the epoch that the state says.
  /// \returns        that of the name, `too_many_channels`, `out_of_memory`, or `ok`: the state decides what it keeps.
  errc restore(const MessageParts& event, std::uint64_t number, std::chrono::steady_clock::time_point time,
               bool history, bool retained) noexcept {
    ChannelType* found = nullptr;
    if (const errc error = acquire(event.channel, found); error != errc::ok) return error;
    found->restore(event, number, time, history, retained);
    found->settle_state();
    core_->drop_reference(*found);
    return errc::ok;
  }

  /// Lets the states of channels forget what is too old; for a timer.
  /// \progress   locks one stripe and one channel after the other. \complexity O(channels).
  void expire(std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now()) noexcept {
    if (core_ != nullptr) core_->expire(now);
  }

  /// Lets the channels that exist be what `RegistryOptions::states` say now. Those that get an order go on meanwhile:
  /// nobody loses an event, and when this returns, all events of triggers that begin have a place. From inside a
  /// callback it does not wait, and `expire` finds out later when that is so. A channel that finds no memory is tried
  /// again by `expire`.
  /// \param replaced   what the states were asked with before: ended when nobody reads it any more.
  /// \progress         locks one stripe after the other, and each of its channels; if a channel has got an order, waits
  ///                   for all triggers that are under way, outside of callbacks. \complexity O(channels).
  /// \private
  void review(detail::Garbage& replaced) noexcept {
    if (core_ != nullptr) return core_->review(replaced);
    static_cast<void>(replaced.destroy());
  }
  /// The same where nothing is replaced.
  /// \private
  void review() noexcept {
    if (core_ != nullptr) core_->review();
  }

  /// `ok`, or `out_of_memory` if there was none for the registry itself.
  [[nodiscard]] errc error() const noexcept { return core_ == nullptr ? errc::out_of_memory : errc::ok; }

 private:
  using Ring = typename Traits::ring;

  /// While a setup runs: notices whether the subscription ends in it.
  struct SetupScope {
    explicit SetupScope(detail::CallbackState& state_) noexcept : state(state_) { state.running = &setup; }
    SetupScope(const SetupScope&) = delete;
    SetupScope& operator=(const SetupScope&) = delete;
    ~SetupScope() {
      if (!setup.ended && !setup.entered) state.running = nullptr;
    }
    detail::CallbackState& state;
    detail::Setup setup;
  };

  struct RingState final : detail::PolledState {
    RingState(detail::ChannelFace& channel_, std::uint64_t id_, const MemoryType& memory) noexcept
        : PolledState(channel_, id_), ring(memory) {
      queue = &ring;
    }
    detail::Block destroy() noexcept override {
      this->~RingState();
      return {this, sizeof(RingState), alignof(RingState)};
    }
    [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(RingState) + ring.bytes(); }
    Ring ring;
  };

  /// A subscription with the sink that it keeps.
  template <class S>
  struct SinkState final : detail::SubscriptionState {
    SinkState(detail::ChannelFace& channel_, std::uint64_t id_, S&& sink_) noexcept
        : SubscriptionState(channel_, id_), sink(std::move(sink_)) {}
    detail::Block destroy() noexcept override {
      this->~SinkState();
      return {this, sizeof(SinkState), alignof(SinkState)};
    }
    [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(SinkState); }
    S sink;
  };

  template <class Name>
  errc acquire(Name channel, ChannelType*& found) noexcept {
    return core_ == nullptr ? errc::out_of_memory : core_->acquire(channel, found);
  }

  template <class State, class... Args>
  Subscription make_subscription(ChannelType& channel, Args&&... args) noexcept {
    if (void* const address = channel.allocate(sizeof(State), alignof(State))) {
      return Subscription{*::new (address) State{channel, core_->new_number(), std::forward<Args>(args)...}};
    }
    core_->drop_reference(channel);
    return Subscription{errc::out_of_memory};
  }

  /// Whether something may have to be given to who comes, or at least said.
  static bool replays(const ChannelType& channel, const Since& since) noexcept {
    return since.resumes() || (since.replays() && channel.has_state());
  }

  /// Runs the setup, and gives what it binds what the channel keeps.
  template <class Setup>
  static Subscription enter_behind_kept(ChannelType& channel, Subscription subscription, Setup&& setup) {
    // A callback may end the subscription, which would take the channel with it.
    channel.add_handle();
    const ChannelHandle held{channel};
    auto& state = static_cast<detail::ReplayedState&>(*subscription.state());
    channel.judge(state.place);
    SetupScope scope{state};
    std::forward<Setup>(setup)(subscription);
    if (scope.setup.ended) return subscription;
    errc error = scope.setup.error;
    if (error == errc::ok) error = channel.enter_behind_kept(state, state.place, scope.setup);
    if (error == errc::ok) return subscription;
    subscription.reset();
    return Subscription{error};
  }

  static Subscription enter(ChannelType& channel, Subscription subscription, const detail::SinkOperations* operations,
                            void* sink) noexcept {
    if (subscription.state() == nullptr) return subscription;
    const errc error = channel.enter(*subscription.state(), operations, sink);
    if (error == errc::ok) return subscription;
    subscription.reset();
    return Subscription{error};
  }

  TriggerResult trigger_one(std::string_view channel, std::string_view event, Data data,
                            const TriggerOptions* options) {
    if (core_ == nullptr) return {.error = errc::out_of_memory};
    if (const errc error = core_->check_event(event, data); error != errc::ok) return {.error = error};
    const std::uint64_t hash = core_->hash(channel);  // before the pin, which waits for all that came before it
    auto guard = core_->domain.pin();
    if (guard.error() != errc::ok) return {.error = guard.error()};
    ChannelType* const found = core_->find(channel, hash);
    // A channel that exists has a valid name, or it is one of the protocol's own.
    if (found == nullptr || found->has_state() || channel.front() == '#') [[unlikely]] {
      return trigger_unusual(found, channel, event, data, options);
    }
    guard.enter(found->scope());
    return found->deliver(guard, event, data.text(), options);
  }

  /// A channel that is to retain an event is held meanwhile, and made if there is none.
  FANFARE_NOINLINE TriggerResult trigger_retained(std::string_view channel, std::string_view event, Data data,
                                                  const TriggerOptions& options) {
    if (core_ == nullptr) return {.error = errc::out_of_memory};
    if (!core_->has_states()) return trigger_one(channel, event, data, &options);
    if (const errc error = core_->check_event(event, data); error != errc::ok) return {.error = error};
    const ChannelHandle held = this->channel(channel);
    return held.trigger(event, data, options);
  }

  /// \pre pinned.
  FANFARE_NOINLINE TriggerResult trigger_unusual(const ChannelType* found, std::string_view channel,
                                                 std::string_view event, Data data, const TriggerOptions* options) {
    const errc error = ChannelName::check(channel, core_->limits.channel_name);
    if (error != errc::ok || (found == nullptr && !core_->keeps(channel))) return {.error = error};
    const ChannelHandle held = this->channel(channel);
    return options == nullptr ? held.trigger(event, data) : held.trigger(event, data, *options);
  }

  TriggerResult trigger_many(std::span<const std::string_view> channels, std::string_view event, Data data,
                             const TriggerOptions& options) {
    if (core_ == nullptr) return {.error = errc::out_of_memory};
    if (const errc error = core_->check_event(event, data); error != errc::ok) return {.error = error};
    if (channels.size() > core_->limits.channels_per_trigger) return {.error = errc::too_many_channels};
    for (const std::string_view channel : channels) {
      if (const errc error = ChannelName::check(channel, core_->limits.channel_name); error != errc::ok) {
        return {.error = error};
      }
    }
    PreparedMessages prepared{*core_, channels.size()};
    if (!prepared) return {.error = errc::out_of_memory};
    for (std::size_t i = 0; i < channels.size(); ++i) {
      auto guard = core_->domain.pin();
      if (guard.error() != errc::ok) return {.error = guard.error()};
      ChannelType* found = core_->find(channels[i]);
      const bool retains = options.retain == Retain::yes && core_->has_states();
      if (retains || (found == nullptr ? core_->keeps(channels[i]) : found->has_state())) {
        if (const errc error = core_->acquire(channels[i], prepared.held(i)); error != errc::ok)
          return {.error = error};
        found = prepared.held(i);
      }
      if (retains) {
        if (const errc error = found->retain(); error != errc::ok) return {.error = error};
      }
      if (found == nullptr) continue;
      guard.enter(found->scope());
      const errc error = found->prepare(event, data.text(), options, prepared[i]);
      if (error != errc::ok) return {.error = error};
    }

    TriggerResult total;
#if FANFARE_EXCEPTIONS
    std::exception_ptr first;
#endif
    for (std::size_t i = 0; i < channels.size(); ++i) {
#if FANFARE_EXCEPTIONS
      try {
        add(total, trigger_prepared(channels[i], event, data, options, prepared, i));
      } catch (...) {
        if (first == nullptr) {
          first = std::current_exception();
        } else {
          core_->count_suppressed(1);
        }
      }
#else
      add(total, trigger_prepared(channels[i], event, data, options, prepared, i));
#endif
    }
#if FANFARE_EXCEPTIONS
    if (first != nullptr) std::rethrow_exception(first);
#endif
    if (channels.size() != 1) total.id = {};
    return total;
  }

  class PreparedMessages;

  TriggerResult trigger_prepared(std::string_view channel, std::string_view event, Data data,
                                 const TriggerOptions& options, PreparedMessages& prepared, std::size_t i) {
    auto guard = core_->domain.pin();
    if (guard.error() != errc::ok) return {.error = guard.error()};
    ChannelType* const found = prepared.held(i) != nullptr ? prepared.held(i) : core_->find(channel);
    if (found == nullptr) return {};
    if (prepared.held(i) == nullptr && found->has_state()) {
      // It has come meanwhile, and must be held.
      const ChannelHandle held = this->channel(channel);
      return held.trigger(event, data, options);
    }
    guard.enter(found->scope());
    return found->deliver_prepared(guard, event, data.text(), options, std::exchange(prepared[i], nullptr));
  }

  /// A message for each channel of a trigger, where one is wanted, and the channels that must not end meanwhile.
  class PreparedMessages {
   public:
    PreparedMessages(Core& core, std::size_t count) noexcept
        : core_(core), count_(count), entries_(static_cast<Entry*>(core.memory.allocate(bytes(), alignof(Entry)))) {
      for (std::size_t i = 0; entries_ != nullptr && i < count; ++i) ::new (static_cast<void*>(&entries_[i])) Entry{};
    }
    PreparedMessages(const PreparedMessages&) = delete;
    PreparedMessages& operator=(const PreparedMessages&) = delete;
    ~PreparedMessages() {
      if (entries_ == nullptr) return;
      for (std::size_t i = 0; i < count_; ++i) {
        if (entries_[i].message != nullptr) entries_[i].message->release();
        if (entries_[i].held != nullptr) core_.drop_reference(*entries_[i].held);
      }
      core_.memory.deallocate(entries_, bytes(), alignof(Entry));
    }
    explicit operator bool() const noexcept { return entries_ != nullptr; }
    MessageType*& operator[](std::size_t i) noexcept { return entries_[i].message; }
    ChannelType*& held(std::size_t i) noexcept { return entries_[i].held; }

   private:
    struct Entry {
      MessageType* message = nullptr;
      ChannelType* held = nullptr;
    };

    [[nodiscard]] std::size_t bytes() const noexcept { return (count_ + 1) * sizeof(Entry); }

    Core& core_;
    const std::size_t count_;
    Entry* const entries_;
  };

  static void add(TriggerResult& total, const TriggerResult& one) noexcept {
    if (total.error == errc::ok) total.error = one.error;
    total.delivered += one.delivered;
    total.id = one.id;
  }

  detail::RegistryCore<Traits>* core_ = nullptr;
};

FANFARE_NAMESPACE_END
