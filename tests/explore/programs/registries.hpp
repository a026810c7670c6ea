// Programs about a whole registry: what its parts only do together.
#pragma once

#include "explore/programs/environment.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace fanfare::explore {

/// An ordered channel asks for the time when it is made.
struct NoTime {
  struct Point {
    struct Span {
      [[nodiscard]] static std::int64_t count() noexcept { return 1; }
    };
    [[nodiscard]] static Span time_since_epoch() noexcept { return {}; }
  };
  [[nodiscard]] static Point now() noexcept { return {}; }
};
static_assert(Clock<NoTime>);

template <class Env>
class RegistryProgram {
 public:
  using Registry = ChannelRegistry<typename Env::atomics, WithMemory<typename Env::user_memory>, WithClock<NoTime>>;
  using Plain = typename Env::atomics::template plain<int>;

  RegistryProgram() { registry.emplace(RegistryOptions{.seed = 7}); }

 protected:
  /// Subscribes with a callback that reads `alive`, as one does that has bound a method.
  Subscription subscribe(std::string_view channel) {
    return registry->subscribe(channel, [this](Subscription& subscription) {
      subscription.bind("event", [this](const Event& event) {
        Env::require(event.data() == "data", "an event has changed");
        Env::require(alive.read() == 1, "a callback is called that has left");
      });
    });
  }
  std::size_t trigger(std::string_view channel) { return registry->trigger(channel, "event", "data").delivered; }

  Plain alive{1};
  std::optional<Registry> registry;
};

template <class Env>
class RegistryLeave : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: trigger | leave";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger("room");
    } else {
      guest.reset();
      this->alive.write(0);  // nobody may be looking
    }
  }
  void end() { Env::require(this->trigger("room") == 0 && this->registry->size() == 0, "who has left is there"); }

 private:
  Subscription guest = this->subscribe("room");
};

/// The last one leaves, so that the channel goes, while another finds it.
template <class Env>
class RegistryLastLeave : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: subscribe | last leave";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      comes = this->subscribe("room");
    } else {
      goes.reset();
    }
  }
  void end() {
    Env::require(this->trigger("room") == 1 && this->registry->size() == 1, "a subscriber is deaf");
    comes.reset();
    this->registry->collect();
    Env::require(this->registry->stats().entries == 0, "a channel without subscribers is left");
  }

 private:
  Subscription goes = this->subscribe("room");
  Subscription comes;
};

template <class Env>
class RegistryTriggerLastLeave : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: trigger | detach the last + collect";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      this->trigger("room");
    } else {
      goes.detach();
      this->registry->collect();
    }
  }
  void end() { Env::require(this->trigger("room") == 0, "who has left is there"); }

 private:
  Subscription goes = this->subscribe("room");
};

/// Somebody who wants all events comes, the first in the channel to do so.
template <class Env>
class RegistryTriggerBindAll : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: trigger | bind to all";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      const std::size_t delivered = this->trigger("room");
      Env::require(delivered == 1 || delivered == 2, "an event has got lost");
    } else {
      guest.bind_all([](const Event& event) { Env::require(event.name() == "event", "an event has changed"); });
    }
  }
  void end() { Env::require(this->trigger("room") == 2, "a subscriber is deaf"); }

 private:
  Subscription guest = this->subscribe("room");
};

/// The registry ends while somebody triggers through a handle: what its destructor has waited for is over.
template <class Env>
class RegistryEnd : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: trigger through a handle | end";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      handle.trigger("event", "data");
    } else {
      this->registry.reset();
      this->alive.write(0);
    }
  }
  void end() {
    Env::require(handle.trigger("event", "data").error == errc::closed, "a registry that has ended answers");
    guest.reset();
    handle = {};
  }

 private:
  Subscription guest = this->subscribe("room");
  ChannelHandle handle = this->registry->channel("room");
};

/// The registry's end and its last subscription's, which reports that the channel is empty: whoever is last frees all.
template <class Env>
class RegistryEndLeave {
 public:
  static constexpr const char* name = "registry: last leave, with a hook | end";
  static constexpr std::size_t threads = 2;
  RegistryEndLeave() {
    RegistryOptions options;
    options.seed = 7;
    options.on_vacated = [this](std::string_view /*channel*/) {
      Env::require(alive.read() == 1, "a hook is called after the registry's end");
    };
    registry.emplace(std::move(options));
    guest = registry->subscribe("room");
  }
  void run(std::size_t thread) {
    if (thread == 0) {
      guest.reset();
    } else {
      registry.reset();
      alive.write(0);
    }
  }
  void end() {}

 private:
  typename Env::atomics::template plain<int> alive{1};
  std::optional<typename RegistryProgram<Env>::Registry> registry;
  Subscription guest;
};

/// The end of an ordered channel that keeps something: its events are encoded even if nobody is there, and the encoder
/// need not outlive the registry.
template <class Env>
class RegistryEndEncode {
 public:
  static constexpr const char* name = "registry: ordered trigger with an encoder | end";
  static constexpr std::size_t threads = 2;
  RegistryEndEncode() {
    RegistryOptions options;
    options.seed = 7;
    options.encoder = &encoder;
    options.states = &states;
    registry.emplace(std::move(options));
    handle = registry->channel("cache-room");
  }
  void run(std::size_t thread) {
    if (thread == 0) {
      handle.trigger("event", "data");
    } else {
      registry.reset();
      encoder.alive.write(0);
    }
  }
  void end() {
    Env::require(handle.trigger("event", "data").error == errc::closed, "a registry that has ended answers");
    handle = {};
  }

 private:
  struct ReadingEncoder final : Encoder {
    [[nodiscard]] std::size_t bound(const MessageParts& /*event*/) const noexcept override {
      Env::require(alive.read() == 1, "an encoder is used after the registry's end");
      return 1;
    }
    [[nodiscard]] errc encode(const MessageParts& /*event*/, std::span<std::byte> out,
                              std::size_t& written) const noexcept override {
      out[0] = std::byte{1};
      written = 1;
      return errc::ok;
    }
    typename Env::atomics::template plain<int> alive{1};
  };
  struct State final : ChannelState {
    void on_event(const MessagePtr& /*message*/, Retain /*retain*/) noexcept override {}
    [[nodiscard]] bool keeps() const noexcept override { return false; }
    [[nodiscard]] bool can_keep() const noexcept override { return false; }
    void expire(std::chrono::steady_clock::time_point /*now*/) noexcept override {}
    // Its memory must be the environment's.
    static void* operator new(std::size_t bytes) {
      return typename Env::user_memory{}.allocate(bytes, alignof(std::max_align_t));
    }
    static void operator delete(void* address, std::size_t bytes) {
      typename Env::user_memory{}.deallocate(address, bytes, alignof(std::max_align_t));
    }
  };
  struct States final : ChannelStates {
    [[nodiscard]] std::unique_ptr<ChannelState> make(std::string_view /*channel*/, bool& /*failed*/) noexcept override {
      return std::unique_ptr<ChannelState>{new State};
    }
    [[nodiscard]] bool keeps(std::string_view /*channel*/) const noexcept override { return false; }
  };

  ReadingEncoder encoder;
  States states;
  std::optional<typename RegistryProgram<Env>::Registry> registry;
  ChannelHandle handle;
};

/// A channel that gets its order while it is in use.
template <class Env>
class OrderProgram {
 public:
  using Registry = typename RegistryProgram<Env>::Registry;

  OrderProgram() {
    RegistryOptions options;
    options.seed = 7;
    options.states = &states;
    registry.emplace(std::move(options));
  }

 protected:
  /// What the state has seen of the channel since its order is whole.
  struct State final : ChannelState {
    void incomplete() noexcept override { whole = false; }
    void complete(EventId last) noexcept override {
      whole = true;
      next = last.number + 1;
    }
    void on_event(const MessagePtr& message, Retain /*retain*/) noexcept override {
      if (!whole) return;
      Env::require(message->id().number == next++, "an event of a whole order is missing");
    }
    [[nodiscard]] bool keeps() const noexcept override { return false; }
    [[nodiscard]] bool can_keep() const noexcept override { return false; }
    void expire(std::chrono::steady_clock::time_point /*now*/) noexcept override {}
    static void* operator new(std::size_t bytes) {
      return typename Env::user_memory{}.allocate(bytes, alignof(std::max_align_t));
    }
    static void operator delete(void* address, std::size_t bytes) {
      typename Env::user_memory{}.deallocate(address, bytes, alignof(std::max_align_t));
    }
    bool whole = true;
    std::uint64_t next = 1;
  };
  struct States final : ChannelStates {
    [[nodiscard]] bool orders(std::string_view /*channel*/) const noexcept override { return on; }
    [[nodiscard]] std::unique_ptr<ChannelState> make(std::string_view /*channel*/, bool& /*failed*/) noexcept override {
      return std::unique_ptr<ChannelState>{new State};
    }
    [[nodiscard]] bool keeps(std::string_view /*channel*/) const noexcept override { return false; }
    bool on = false;  // asked by one thread only
  };
  struct Nothing final : detail::Garbage {
    detail::Block destroy() noexcept override { return {nullptr, 0, 1}; }
    [[nodiscard]] std::size_t bytes() const noexcept override { return 0; }
  };

  void give_order() {
    states.on = true;
    registry->review(replaced);
  }
  /// Subscribes, where the order is whole. \returns the number of the next event; 0: the order is not whole.
  std::uint64_t join(PolledSubscription& inbox) {
    std::uint64_t next = 0;
    registry->look_at_state("room", [&](ChannelState* state) {
      const auto& seen = static_cast<const State&>(*state);
      next = seen.whole ? seen.next : 0;
    });
    if (next == 0) return 0;
    inbox = registry->subscribe("room", Inbox{.messages = 2});
    return next;
  }
  /// What came to somebody who joined: all with a place, without a gap to the end.
  void look_at(PolledSubscription& inbox, std::uint64_t joined, EventId last) {
    std::uint64_t next = 0;
    inbox.poll([&](const Event& event) {
      Env::require(static_cast<bool>(event.id()), "an event without a place comes when the order is whole");
      Env::require(next == 0 || event.id().number == next, "an event is missing");
      Env::require(event.id().number >= joined, "an event is older than who gets it");
      next = event.id().number + 1;
    });
    Env::require(next == last.number + 1, "the last event is missing");
  }

  States states;
  Nothing replaced;
  std::optional<Registry> registry;
};

/// Whoever comes when the order has been given gets nothing that has no place in it, and misses nothing that has.
template <class Env>
class RegistryTriggerOrder : public OrderProgram<Env> {
 public:
  static constexpr const char* name = "registry: trigger | give an order + subscribe";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      this->registry->trigger("room", "event", "1");
    } else {
      this->give_order();
      joined = this->join(comes);
      Env::require(joined != 0, "the order is not whole");
    }
  }
  void end() {
    const EventId last = this->registry->trigger("room", "event", "2").id;
    Env::require(stays.poll([](const Event&) {}) == 2, "an event is missing, or has come twice");
    this->look_at(comes, joined, last);
    comes.reset();
    stays.reset();
  }

 private:
  PolledSubscription stays = this->registry->subscribe("room", Inbox{.messages = 2});
  PolledSubscription comes;
  std::uint64_t joined = 0;
};

/// The same where nobody waits, and a timer finds out when the order is whole.
template <class Env>
class RegistryTriggerRetain : public OrderProgram<Env> {
 public:
  static constexpr const char* name = "registry: trigger | retain + expire + subscribe";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      this->registry->trigger("room", "event", "1");
    } else {
      handle.trigger("event", "2", {.retain = Retain::yes});
      this->registry->expire({});
      joined = this->join(comes);
    }
  }
  void end() {
    const EventId last = this->registry->trigger("room", "event", "3").id;
    Env::require(stays.poll([](const Event&) {}) == 3, "an event is missing, or has come twice");
    if (joined != 0) this->look_at(comes, joined, last);
    comes.reset();
    other.reset();
    stays.reset();
    handle = {};
  }

 private:
  PolledSubscription stays = this->registry->subscribe("room", Inbox{.messages = 4});
  PolledSubscription other =
      this->registry->subscribe("room", Inbox{.messages = 4});  // one queue would be a shorter path
  ChannelHandle handle = this->registry->channel("room");
  PolledSubscription comes;
  std::uint64_t joined = 0;
};

/// The table of events goes over to the order, and another one comes in its place.
template <class Env>
class RegistryTriggerOrderBind : public OrderProgram<Env> {
 public:
  static constexpr const char* name = "registry: trigger | retain | bind more + collect";
  static constexpr std::size_t threads = 3;
  RegistryTriggerOrderBind() {
    for (const char* const event : {"one", "two"}) guest.bind(event, [](const Event& /*event*/) {});
  }
  void run(std::size_t thread) {
    if (thread == 0) {
      Env::require(this->registry->trigger("room", "two", "data").delivered == 1, "an event has got lost");
    } else if (thread == 1) {
      handle.trigger("nothing", "data", {.retain = Retain::yes});
    } else {
      guest.bind("three", [](const Event& /*event*/) {});
      this->registry->collect();
    }
  }
  void end() {
    for (const char* const event : {"one", "two", "three"}) {
      Env::require(this->registry->trigger("room", event, "data").delivered == 1, "a binding is gone");
    }
    guest.reset();
    handle = {};
  }

 private:
  Subscription guest = this->registry->subscribe("room");
  ChannelHandle handle = this->registry->channel("room");
};

/// Three who meet in one channel.
template <class Env>
class RegistryTriggerSubscribeLeave : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: trigger | subscribe | last leave";
  static constexpr std::size_t threads = 3;
  void run(std::size_t thread) {
    if (thread == 0) {
      Env::require(this->trigger("room") <= 2, "more are called than there are");
    } else if (thread == 1) {
      comes = this->subscribe("room");
    } else {
      goes.reset();
    }
  }
  void end() {
    Env::require(this->trigger("room") == 1 && this->registry->size() == 1, "a subscriber is deaf");
    comes.reset();
  }

 private:
  Subscription goes = this->subscribe("room");
  Subscription comes;
};

/// Someone joins an ordered channel between two events: from the first that arrives, none is missing.
template <class Env>
class RegistryJoinOrdered : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: join | ordered trigger twice";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      comes = this->registry->subscribe("presence-room", Inbox{.messages = 2});
    } else {
      last = this->registry->trigger("presence-room", "event", "1").id;
      last = this->registry->trigger("presence-room", "event", "2").id;
    }
  }
  void end() {
    EventId before;
    comes.poll([&](const Event& event) {
      if (before) Env::require(event.id().number == before.number + 1, "an event is missing");
      before = event.id();
    });
    Env::require(!before || before == last, "the last event is missing");
    comes.reset();
    stays.reset();
  }

 private:
  PolledSubscription stays = this->registry->subscribe("presence-room", Inbox{.messages = 2});
  PolledSubscription comes;
  EventId last;
};

/// Two events at once, and someone who joins meanwhile.
template <class Env>
class RegistryJoinTwoOrdered : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: join | ordered trigger | ordered trigger";
  static constexpr std::size_t threads = 3;
  void run(std::size_t thread) {
    if (thread == 0) {
      comes = this->registry->subscribe("presence-room", Inbox{.messages = 2});
    } else {
      this->registry->trigger("presence-room", "event", thread == 1 ? "1" : "2");
    }
  }
  void end() {
    std::uint64_t before = 0;
    std::size_t count = stays.poll(
        [&](const Event& event) { Env::require(event.id().number == ++before, "an inbox is out of order"); });
    Env::require(count == 2, "an event is missing");
    before = 2 - comes.size();
    comes.poll([&](const Event& event) { Env::require(event.id().number == ++before, "the last events are missing"); });
    comes.reset();
    stays.reset();
  }

 private:
  PolledSubscription stays = this->registry->subscribe("presence-room", Inbox{.messages = 2});
  PolledSubscription comes;
};

/// Two events at once: both inboxes have them in the order of their ids.
template <class Env>
class RegistryTwoOrdered : public RegistryProgram<Env> {
 public:
  static constexpr const char* name = "registry: ordered trigger | ordered trigger";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    ids[thread] = this->registry->trigger("presence-room", "event", thread == 0 ? "0" : "1").id.number;
  }
  void end() {
    for (PolledSubscription* inbox : {&first, &second}) {
      std::uint64_t before = 0;
      std::size_t count = 0;
      inbox->poll([&](const Event& event) {
        Env::require(event.id().number == ++before, "an inbox is out of order");
        Env::require(ids[event.data() == "0" ? 0 : 1] == before, "an event has another's id");
        ++count;
      });
      Env::require(count == 2, "an event is missing");
    }
    first.reset();
    second.reset();
  }

 private:
  PolledSubscription first = this->registry->subscribe("presence-room", Inbox{.messages = 2});
  PolledSubscription second = this->registry->subscribe("presence-room", Inbox{.messages = 2});
  std::array<std::uint64_t, 2> ids{};
};

}  // namespace fanfare::explore
