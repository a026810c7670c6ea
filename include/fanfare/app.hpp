/// \file
/// One application: its credentials, its rules and its channels. Needs the standard library only, so a translation unit
/// that only triggers pays for nothing else.
#pragma once

#include <fanfare/core/channel_memory.hpp>
#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/held_events.hpp>
#include <fanfare/core/kept_log.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/snapshot.hpp>
#include <fanfare/core/users.hpp>
#include <fanfare/core/wire.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/fanfare.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// A key that clients and backends name, and the secret that signs for it.
struct AppKey {
  std::string key;
  std::string secret;

  friend bool operator==(const AppKey&, const AppKey&) = default;
};

/// A client that asks to be let into a private or presence channel. The views end with the call.
struct Authorization {
  std::string_view socket_id;
  std::string_view channel;
  std::string_view auth;          ///< What the client brought as signature; anything.
  std::string_view channel_data;  ///< JSON of a presence channel's member, or empty.
};

/// An event that a client sends to others. The views end with the call.
struct ClientEvent {
  std::string_view socket_id;
  std::string_view channel;
  std::string_view event;
  std::string_view data;
  std::string_view user_id;  ///< On presence channels; empty elsewhere.
};

/// What becomes of a client's event.
enum class ClientEventVerdict : std::uint8_t {
  relay,   ///< All others in the channel get it.
  drop,    ///< Nobody does, and the client is told nothing: the host has dealt with it.
  refuse,  ///< Nobody does, and the client is told so.
};

/// Whether there is room for a client.
enum class Admission : std::uint8_t {
  admitted,
  app_full,      ///< There are `AppOptions::max_connections` already.
  address_full,  ///< There are `AppOptions::max_connections_per_address` from there already.
};

/// Something that happened in an application.
struct AppEvent {
  /// What it was.
  enum class Kind : std::uint8_t {
    channel_occupied,    ///< The first subscriber came.
    channel_vacated,     ///< The last one left.
    member_added,        ///< A user's first connection entered a presence channel.
    member_removed,      ///< A user's last one left it.
    client_event,        ///< A client sent an event to others.
    cache_miss,          ///< Somebody came to a cache channel that had nothing.
    subscription_count,  ///< The number of a channel's subscribers changed.
    event_held,          ///< An event that was held has gone out, or will not; see `App::trigger_held`.
    store_trouble,  ///< `AppOptions::store` fails, as `data` says, or works again: then that is empty. No webhook's.
  };
  Kind kind = Kind::channel_occupied;
  std::string channel{};
  std::string user_id{};                    ///< Of a member; of a client event on a presence channel.
  std::string event{};                      ///< Of a client event; of one that was held.
  std::string data{};                       ///< Of a client event; of `store_trouble`.
  std::string socket_id{};                  ///< Of a client event.
  std::size_t count = 0;                    ///< Of `subscription_count`.
  HoldOutcome outcome = HoldOutcome::sent;  ///< Of `event_held`.

  friend bool operator==(const AppEvent&, const AppEvent&) = default;
};

/// What an application is made of. The defaults are those of hosted Pusher where it documents one.
struct AppOptions {
  std::string id{};                 ///< Names the application in the HTTP API: 1 to 64 letters, digits, `-` and `_`.
  std::string key{};                ///< Names it to clients: 1 to 64 letters, digits, `-` and `_`.
  std::string secret{};             ///< Signs for the key: 1 to 128 bytes.
  std::vector<AppKey> more_keys{};  ///< That are as good, while keys are exchanged. The first of all signs webhooks.
  bool enabled = true;              ///< Whether clients and backends are let in.
  bool tls_only = false;            ///< Whether clients are let in through TLS alone.

  bool client_events = false;          ///< Whether clients may send events to each other.
  bool subscription_count = false;     ///< Whether clients are told how many subscribers a channel has.
  bool user_authentication = false;    ///< Whether clients may sign in as users.
  bool watchlist = false;              ///< Whether those who sign in may watch who else is there.
  bool preserve_user_id_type = false;  ///< Whether user ids that came as numbers go out as numbers.
  /// Whether a refused subscription is answered as hosted Pusher does, by a bare `pusher:error`.
  bool hosted_subscription_errors = false;

  std::size_t max_connections = 0;                 ///< Clients at one time; 0: as many as the server takes.
  std::size_t max_connections_per_address = 0;     ///< Of one IPv4 address, or one IPv6 network (/64); 0: no bound.
  std::size_t max_channels_per_connection = 1000;  ///< Channels that one client holds.
  std::size_t max_presence_members = 100;          ///< Users in one presence channel.
  std::size_t max_user_bytes = 1024;               ///< Of what a client says of its user, as JSON.
  std::size_t max_user_id_bytes = 128;             ///< Of a user's id.
  std::size_t max_watchlist = 100;                 ///< Users that one client watches.
  unsigned client_events_per_second = 10;          ///< Of one client.
  unsigned messages_per_second = 0;                ///< Of one client, of any kind; the rest waits. 0: no bound.
  std::chrono::seconds cache_ttl{1800};            ///< How long a cache channel keeps its last event.
  std::chrono::seconds activity_timeout{120};      ///< A silent client is asked after so long; at least 1 s.
  std::chrono::seconds pong_timeout{30};           ///< And given up when it is silent for so long again; at least 1 s.
  /// A client that has neither signed in nor entered a private or presence channel by then is closed; 0: never.
  std::chrono::seconds authorized_timeout{0};
  /// A client that has been in no channel, and not signed in, for so long is closed; 0: never.
  std::chrono::seconds idle_timeout{0};
  std::vector<std::string> allowed_origins{};  ///< Hosts that pages may come from, `*.` in front allowed; empty: all.
  Limits limits{.data = 10'240};               ///< Of names, data and channels.

  /// Which channels keep what for those who come later; the first that matches a channel holds for it. See `ChannelRules`
  /// for what is refused: rules with a problem are as none. `App::set_channel_rules` has others hold later.
  std::vector<ChannelRule> channel_rules{};
  RetainedRule retained{};                          ///< Bounds of what one channel retains.
  std::size_t kept_bytes = std::size_t{64} << 20U;  ///< What all channels keep together; see `KeptBudget`.
  SnapshotOptions snapshots{};                      ///< Bounds of what `App::on_subscribe` computes.
  HoldLimits held{};                                ///< Bounds of what `App::trigger_held` holds.

  /// Where what channels keep outlives the program; null: nowhere. For one application alone. It is read when the
  /// application is made; see `App::store_trouble`. What `channel_rules` do not keep then is forgotten in it, for good.
  std::shared_ptr<KeptLog> store{};

  std::uint64_t seed = 0;  ///< See `RegistryOptions::seed`; servers choose one.

  /// Decides who may enter private and presence channels, instead of the signature. Called on a loop.
  std::function<bool(const Authorization&)> authorize{};
  /// Sees every event that a client sends before it is relayed. Called on a loop.
  std::function<ClientEventVerdict(const ClientEvent&)> on_client_event{};
  /// Told of what happens: those of one channel in order, one at a time, without a lock, on the thread where it happened
  /// or one that is just telling of something else. Must not throw.
  std::function<void(const AppEvent&)> on_event{};
};

/// An application: what a backend triggers on, and what clients connect to.
///
/// \ownership  subscriptions and handles may outlive it; they answer `errc::closed` then.
/// Thread safety: all members from any thread, concurrently; the constructor and the destructor as usual.
class App {
 public:
  /// Reads what `AppOptions::store` has from earlier lives of the program, if there is one.
  /// \throws `std::bad_alloc`.
  explicit App(AppOptions options)
      : options_(std::move(options)),
        memories_({.cache_ttl = options_.cache_ttl,
                   .retained = options_.retained,
                   .bytes = options_.kept_bytes,
                   .seed = options_.seed,
                   .log = options_.store.get()},
                  ChannelRules(options_.channel_rules, options_.limits.channel_name), options_.limits.channel_name),
        snapshots_(std::make_shared<detail::SnapshotBudget>(options_.snapshots, options_.limits.event_name)),
        channels_({.limits = options_.limits,
                   .seed = options_.seed,
                   .encoder = &encoder_,
                   .states = &memories_,
                   .on_occupied = occupied_hook(AppEvent::Kind::channel_occupied),
                   .on_vacated = occupied_hook(AppEvent::Kind::channel_vacated)}),
        held_(options_.held) {
    if (options_.store != nullptr) load();
  }
  App(const App&) = delete;
  App& operator=(const App&) = delete;
  ~App() {
    for (auto& [channel, events] : held_.close()) {
      for (detail::HeldEvent& held : events) ended(held, HoldOutcome::closed, {.error = errc::closed});
    }
  }

  /// As the options name it.
  [[nodiscard]] const std::string& id() const noexcept { return options_.id; }
  /// The first of its keys.
  [[nodiscard]] const std::string& key() const noexcept { return options_.key; }
  /// What it was made of. Stays as it is.
  [[nodiscard]] const AppOptions& options() const noexcept { return options_; }

  /// What signs for a key; null if the application does not know it.
  [[nodiscard]] const std::string* secret_of(std::string_view key) const noexcept {
    if (key == options_.key) return &options_.secret;
    for (const AppKey& more : options_.more_keys) {
      if (key == more.key) return &more.secret;
    }
    return nullptr;
  }

  /// Sends one event to every subscriber of a channel, those behind sockets included; see `ChannelRegistry::trigger`.
  TriggerResult trigger(std::string_view channel, std::string_view event, Data data = {}) {
    return channels_.trigger(channel, event, data);
  }
  /// The same for an event that differs from an ordinary one.
  TriggerResult trigger(std::string_view channel, std::string_view event, Data data, const TriggerOptions& options) {
    return channels_.trigger(channel, event, data, options);
  }
  /// The same for several channels.
  TriggerResult trigger(std::span<const std::string_view> channels, std::string_view event, Data data,
                        const TriggerOptions& options = {}) {
    return channels_.trigger(channels, event, data, options);
  }
  /// The same for a list in braces.
  TriggerResult trigger(std::initializer_list<std::string_view> channels, std::string_view event, Data data,
                        const TriggerOptions& options = {}) {
    return channels_.trigger(channels, event, data, options);
  }

  /// Sends an event when those are there whom it is for: at once if they are, else as soon as they have come, to them
  /// and all who are there then. Later events do not wait for it. For an event that tells of a change, and means nothing
  /// to who comes much later; for a state, see `ChannelRule::retain`.
  ///
  /// What is held is not kept for anybody: it counts as triggered when it goes out. It is lost with the program. Clients and
  /// who subscribes with a setup or an inbox are noticed at once; who comes through `App::channels`, or subscribes first and
  /// binds then, by the next `tick`, within a second: who counts and has nothing bound yet when the event goes out does not
  /// get it. `TriggerOptions::kept` is filled only where it goes out at once. If the trigger is refused when they are
  /// there as `overloaded`, `out_of_memory` or `nested_too_deep`, it is tried again until the time is up. What callbacks
  /// throw then stays inside.
  ///
  /// \returns    errors as those of `trigger`, of which `not_utf8` comes only when the event goes out; and `overloaded` where
  ///             `AppOptions::held` leaves no room. Nobody got it then.
  /// \throws     what callbacks throw, if the event goes out at once.
  /// \progress   locks the channel. \complexity that of a trigger, and O(log channels + held for this one).
  HoldResult trigger_held(std::string_view channel, std::string_view event, Data data, Hold hold = {},
                          const TriggerOptions& options = {}) {
    ChannelHandle handle = channels_.channel(channel);
    if (const errc error = handle.error(); error != errc::ok) return {.result = {.error = error}};
    if (const errc error = check_event_name(event, options_.limits.event_name); error != errc::ok) {
      return {.result = {.error = error}};
    }
    if (data.text().size() > options_.limits.data) return {.result = {.error = errc::data_too_large}};
    std::optional<detail::HeldEvent> held;
#if FANFARE_EXCEPTIONS
    try {
#endif
      held.emplace(std::move(handle), event, data.text(), options, std::move(hold));
      if (!those_are_there(*held)) {
        if (const errc error = held_.add(*std::move(held)); error != errc::ok) return {.result = {.error = error}};
        held.reset();
      }
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {
      return {.result = {.error = errc::out_of_memory}};
    }
#endif
    if (held) return {.result = held->channel.trigger(event, data, options)};
    // Who came in between has not seen it, and is seen now.
    subscribed(channel);
    return {.held = true};
  }
  /// How many events are held; a moment's view.
  [[nodiscard]] std::size_t held() const noexcept { return held_.size(); }

  /// What is wrong with the store, as an English sentence without a full stop; empty: nothing, or there is none. If it
  /// could not be read at first, that stays: nothing is to be triggered then on channels that keep something.
  [[nodiscard]] std::string_view store_trouble() const noexcept {
    if (options_.store == nullptr || !not_loaded_.empty()) return not_loaded_;
    return options_.store->trouble();
  }
  /// Whether the events outlive the program that a trigger has put into `TriggerOptions::kept`; a moment's view.
  [[nodiscard]] KeptOutcome kept_outcome(const KeptTicket& ticket) const noexcept {
    return ticket ? options_.store->outcome(ticket) : KeptOutcome::durable;
  }
  /// Waits until they do, or are lost to the store. Subscribers get events without that. Not on a loop, nor in a callback.
  KeptOutcome wait_kept(const KeptTicket& ticket) const noexcept {
    return ticket ? options_.store->wait(ticket) : KeptOutcome::durable;
  }

  /// Subscribes within this program; see `ChannelRegistry::subscribe`.
  [[nodiscard]] Subscription subscribe(std::string_view channel, Since since = {}) {
    return channels_.subscribe(channel, since);
  }
  /// \param since   from where on what the channel keeps is wanted; by default all of it, as clients get it who come.
  template <class Setup>
    requires(!detail::NamesPlace<Setup>)
  [[nodiscard]] Subscription subscribe(std::string_view channel, Setup&& setup, Since since = {}) {
    return noticed(channel, channels_.subscribe(channel, std::forward<Setup>(setup), since));
  }
  /// Subscribes a queue that is read by polling.
  [[nodiscard]] PolledSubscription subscribe(std::string_view channel, Inbox inbox, Since since = {}) {
    return noticed(channel, channels_.subscribe(channel, inbox, since));
  }

  /// Lets the host compute what a client is sent that comes to a channel: its state, for this one client.
  ///
  /// The client is sent `subscription_succeeded`, the events of the snapshot, and then each event of the channel behind
  /// `Snapshot::as_of`, once and in order. This stands in the place of what the channel keeps: its history and what it
  /// retains are not replayed as well, nor its last event as a cache channel. A channel with a hook has an order and
  /// shows ids, as if it had a rule, and remembers its last events for those who wait: as many as its rule says, or
  /// else as `HistoryRule` does.
  ///
  /// A client that comes back (`since`) and can be sent all that it has missed is sent that, and the hook is not
  /// called. Nor is it for subscribers of this program.
  ///
  /// Who gets no snapshot gets in without, and is sent what comes behind `Subscriber::position`: where the reply is let
  /// go of without an answer, or `SnapshotOptions::timeout` is over. A client is closed, so that it comes again, where
  /// the events that it is to be sent are not remembered any more, or `SnapshotOptions::pending` clients wait already.
  ///
  /// \param pattern   a channel's name, or a pattern with `*` and `?`; see `ChannelRule::match`. The first hook that
  ///                  matches a channel is its hook.
  /// \param hook      called on the client's loop, without a lock, on several loops at a time. It must not wait and
  ///                  must not throw (if it does, that is as if it let go of the reply): it answers at once, or moves
  ///                  the reply to where the answer can be given later. Where the state changes on other threads, it
  ///                  and the id of the last event that told of a change have to be read together, under the mutex that
  ///                  is held for a change and its trigger.
  ///                  It is called until the server has stopped, so what it refers to lives longer than that.
  /// \returns         `RuleError::ok`, or why the pattern is refused; `duplicate_match` if it has a hook already.
  /// \pre             set before clients come: it does not hold for ordered channels that have subscribers already.
  /// \throws          `std::bad_alloc`.
  [[nodiscard]] RuleError on_subscribe(std::string pattern, SubscribeHook hook) {
    const RuleError error = memories_.hooks().add(std::move(pattern), std::move(hook));
    if (error == RuleError::ok) channels_.review();  // what the store gave back is there already
    return error;
  }

  /// Holds a channel that is triggered often; see `ChannelRegistry::channel`.
  [[nodiscard]] ChannelHandle channel(std::string_view name) { return channels_.channel(name); }

  /// Whether the channel has subscribers: clients and those of this program. A moment's view, as all queries.
  [[nodiscard]] bool occupied(std::string_view channel) const noexcept { return channels_.occupied(channel); }
  /// How many they are.
  [[nodiscard]] std::size_t subscribers(std::string_view channel) const noexcept {
    return channels_.subscribers(channel);
  }
  /// Calls `f(std::string_view name, std::size_t subscribers)` for every occupied channel whose name begins so; see
  /// `ChannelRegistry::for_each_channel`. Those of single users and of the protocol itself, which begin with `#`, are left
  /// out.
  template <std::invocable<std::string_view, std::size_t> F>
  errc for_each_channel(F&& f, std::string_view prefix = {}) const {
    return channels_.for_each_channel(
        [&](std::string_view name, std::size_t subscribers) {
          if (!name.starts_with('#')) f(name, subscribers);
        },
        prefix);
  }

  /// Who is present in a presence channel, in no order. \throws `std::bad_alloc`. \progress locks the channel.
  [[nodiscard]] std::vector<MemberPtr> members(std::string_view channel) const {
    std::vector<MemberPtr> members;
    with_memory(channel, [&](const ChannelMemory& memory) { members = memory.roster.members(); });
    return members;
  }
  /// How many users they are.
  [[nodiscard]] std::size_t user_count(std::string_view channel) const noexcept {
    std::size_t count = 0;
    with_memory(channel, [&](const ChannelMemory& memory) { count = memory.roster.size(); });
    return count;
  }

  /// The last event of a cache channel.
  struct Cached {
    MessagePtr message;
    std::chrono::seconds ttl{0};  ///< How long it is kept yet.
  };
  /// \returns nothing if there is none. \progress locks the channel.
  [[nodiscard]] std::optional<Cached> cached(std::string_view channel) const noexcept {
    std::optional<Cached> result;
    with_memory(channel, [&](const ChannelMemory& memory) {
      const auto now = ChannelMemory::Clock::now();
      if (MessagePtr message = memory.cached(now)) {
        result = Cached{std::move(message), std::chrono::ceil<std::chrono::seconds>(memory.cached_until() - now)};
      }
    });
    return result;
  }

  /// Visits the events that a channel with a history keeps, for a query; see `History::page`.
  /// \param f    called with `const HistoryEntry&`, under the channel's lock: it takes what it needs, and no more.
  /// \returns    nothing where the channel keeps no history. \progress locks the channel.
  template <std::invocable<const HistoryEntry&> F>
  std::optional<HistoryPage> history(std::string_view channel, HistoryOrder order, const std::optional<EventId>& from,
                                     std::size_t limit, F&& f) const {
    std::optional<HistoryPage> page;
    with_memory(channel, [&](const ChannelMemory& memory) {
      if (memory.keeps_history()) page = memory.history()->page(order, from, limit, f);
    });
    return page;
  }
  /// The latest event of each name that a channel retains, in the order of their ids. \throws `std::bad_alloc`.
  /// \progress locks the channel.
  [[nodiscard]] std::vector<MessagePtr> retained(std::string_view channel) const {
    std::vector<MessagePtr> events;
    with_memory(channel, [&](const ChannelMemory& memory) {
      if (memory.retained() == nullptr) return;
      memory.retained()->for_each([&](const MessagePtr& message) { events.push_back(message); });
    });
    return events;
  }
  /// Has other rules hold, all of them or, if one is refused, none. Channels that exist follow at once: what a rule no
  /// longer allows is forgotten, and all that is kept where no rule is any more. A channel that begins to keep events
  /// gets an order while it is in use: nobody loses an event, and whoever subscribes after this returned misses none.
  /// Nobody can go on, when another rule comes, over events that came without one. What is done with slow clients, and how
  /// many subscribers there may be, follows within a second.
  ///
  /// \returns    why the rules are refused, and which; see `ChannelRules`.
  /// \throws     `std::bad_alloc`; nothing is changed then. A channel that finds no memory follows in a later `tick`.
  /// \progress   locks all channels one after the other. If one gets its order now, waits for all triggers that are
  ///             under way, as `Subscription::reset` does; from inside a callback it does not wait, and the history of
  ///             such a channel begins with a later `tick`.
  /// \complexity O(channels + rules · log rules).
  RuleProblem set_channel_rules(std::vector<ChannelRule> rules) {
    ChannelRules made(std::move(rules), options_.limits.channel_name);
    const RuleProblem problem = made.problem();
    if (!problem) channels_.review(memories_.replace(std::move(made)));
    return problem;
  }
  /// The rules that hold: `rules()` of it lists them, `find` says which is a channel's.
  [[nodiscard]] std::shared_ptr<const ChannelRules> channel_rules() const noexcept { return memories_.rules(); }

  /// What all channels keep together.
  [[nodiscard]] const KeptBudget& kept() const noexcept { return memories_.budget(); }

  /// The channels themselves.
  [[nodiscard]] ChannelRegistry<>& channels() noexcept { return channels_; }
  /// The same for reading.
  [[nodiscard]] const ChannelRegistry<>& channels() const noexcept { return channels_; }

  /// How many clients are connected.
  [[nodiscard]] std::size_t connections() const noexcept { return connections_.load(std::memory_order_relaxed); }

  /// Closes every connection of a user who has signed in, on whatever loop it is.
  void terminate(std::string_view user_id) {
    std::string channel(user_channel);
    channel += user_id;
    channels_.trigger(ReservedChannel{channel}, "pusher_internal:terminate", {});
  }

  // ---- for transports

  /// What stands before a user's id in the names of the protocol's own channels: that of the user's connections, in which
  /// every event ends them, and that of those who watch the user.
  static constexpr std::string_view user_channel = "#user-";
  static constexpr std::string_view watch_channel = "#watch-";

  /// Counts a connection of a user in, and tells those who watch. \throws `std::bad_alloc`.
  void sign_in(std::string_view user_id) {
    const std::lock_guard lock(announcing_);
    if (!users_.sign_in(user_id)) return;
#if FANFARE_EXCEPTIONS
    try {
      announce(user_id, "online");
    } catch (...) {
      users_.sign_out(user_id);
      throw;
    }
#else
    announce(user_id, "online");
#endif
  }
  /// Counts it out. Those who watch are told by a later `tick`.
  void sign_out(std::string_view user_id) noexcept { users_.sign_out(user_id); }
  /// Who has signed in.
  [[nodiscard]] const Users& users() const noexcept { return users_; }

  /// What bounds snapshots, and counts them.
  [[nodiscard]] const std::shared_ptr<detail::SnapshotBudget>& snapshots() const noexcept { return snapshots_; }

  /// Does what time brings; about once a second. \throws `std::bad_alloc`.
  void tick(std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now()) {
    {
      const std::lock_guard lock(announcing_);
      for (const std::string& user_id : users_.departed(now)) announce(user_id, "offline");
    }
    evict();
    channels_.expire(now);
    if (!held_.empty()) {
      const auto due = [&](const detail::HeldEvent& held) { return held.until <= now || those_are_there(held); };
      release(held_.take(due), now);
    }
    tell_of_store();
    tell();  // what was noted where nobody may be told
  }

  /// Notes that a client is going to count as a subscriber before it has its place in the channel's order, or (`by` -1)
  /// that it does not any more without having had one. With its place, `ChannelMemory::coming` is lowered.
  /// \returns   whether the channel exists and has an order; else nothing is noted.
  bool note_coming(std::string_view channel, int by) noexcept {
    bool noted = false;
    channels_.look_at_state(channel, [&](ChannelState* state) {
      noted = state != nullptr;
      if (noted) static_cast<ChannelMemory*>(state)->coming += static_cast<std::size_t>(by);
    });
    return noted;
  }

  /// Sends what was held for somebody who has just come to a channel. For who counts subscribers in without
  /// `App::subscribe`: behind that, and where an event that is triggered now reaches them.
  void subscribed(std::string_view channel) noexcept {
    if (held_.empty()) return;
#if FANFARE_EXCEPTIONS
    try {
#endif
      release(held_.take(channel, [&](const detail::HeldEvent& held) { return those_are_there(held); }));
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {  // a later `tick` finds it
    }
#endif
  }

  /// Counts a client in, unless there are `AppOptions::max_connections` already.
  [[nodiscard]] bool admit() noexcept {
    std::size_t count = connections_.load(std::memory_order_relaxed);
    do {
      if (options_.max_connections != 0 && count >= options_.max_connections) return false;
    } while (
        !connections_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed, std::memory_order_relaxed));
    return true;
  }
  /// Counts a client out that was admitted.
  void dismiss() noexcept { connections_.fetch_sub(1, std::memory_order_relaxed); }

  /// Counts a client in, if there is room for it and for its address.
  /// \param address   where it comes from, as a number; 0: not known, and not counted.
  /// \throws          `std::bad_alloc`.
  [[nodiscard]] Admission admit_from(std::uint64_t address) {
    if (!admit()) return Admission::app_full;
    if (!counts_addresses() || address == 0) return Admission::admitted;
    struct Undo {
      App* app;
      ~Undo() {
        if (app != nullptr) app->dismiss();
      }
    } undo{this};
    const std::lock_guard lock(addresses_mutex_);
    std::size_t& of_address = addresses_[address];
    if (of_address >= options_.max_connections_per_address) return Admission::address_full;
    ++of_address;
    undo.app = nullptr;
    return Admission::admitted;
  }
  /// Counts a client out that `admit_from` has let in, with the same address.
  void dismiss_from(std::uint64_t address) noexcept {
    dismiss();
    if (!counts_addresses() || address == 0) return;
    const std::lock_guard lock(addresses_mutex_);
    const auto found = addresses_.find(address);
    if (--found->second == 0) addresses_.erase(found);
  }
  /// Whether `admit_from` wants to know where a client comes from.
  [[nodiscard]] bool counts_addresses() const noexcept { return options_.max_connections_per_address != 0; }

  /// How often `set_channel_rules` has had other rules hold.
  [[nodiscard]] std::uint64_t rules_version() const noexcept { return memories_.version(); }
  /// What becomes of those who read a channel's events too slowly. \complexity that of `ChannelRules::find`.
  [[nodiscard]] SlowConsumer overflow(std::string_view channel) const noexcept { return memories_.overflow(channel); }

  /// How many subscribers a channel may have; 0: no bound. \complexity likewise.
  [[nodiscard]] std::size_t max_subscribers(std::string_view channel) const noexcept {
    return memories_.max_subscribers(channel);
  }

  /// Whether anybody wants to be told of what happens.
  [[nodiscard]] bool tells() const noexcept { return options_.on_event != nullptr; }

  /// Puts an event in line for `AppOptions::on_event`. May be called under a channel's lock, which gives it its order;
  /// `tell` follows when the lock is released. One that finds no room is dropped and counted.
  void note(AppEvent event) noexcept {
    note(std::move(event), [](AppEvent& /*event*/) {});
  }
  /// The same with something that is read when the event gets its place in the line: `complete(AppEvent&)`.
  template <std::invocable<AppEvent&> F>
  void note(AppEvent event, F complete) noexcept {
    if (!tells()) return;
    const std::lock_guard lock(events_mutex_);
#if FANFARE_EXCEPTIONS
    try {
      complete(event);
      if (events_.size() < most_events) return events_.push_back(std::move(event));
    } catch (const std::bad_alloc&) {  // as if there were no room
    }
#else
    complete(event);
    if (events_.size() < most_events) return events_.push_back(std::move(event));
#endif
    ++events_dropped_;
  }
  /// Tells what is in line, unless another thread is at it. Without a lock.
  void tell() noexcept {
    if (!tells()) return;
    std::unique_lock lock(events_mutex_);
    if (std::exchange(telling_, true)) return;
    while (!events_.empty()) {
      const AppEvent event = std::move(events_.front());
      events_.pop_front();
      lock.unlock();
      options_.on_event(event);
      lock.lock();
    }
    telling_ = false;
  }
  /// How many events found no room because `on_event` was too slow.
  [[nodiscard]] std::size_t events_dropped() const noexcept {
    const std::lock_guard lock(events_mutex_);
    return events_dropped_;
  }

 private:
  static constexpr std::size_t most_events = 1U << 16U;

  template <class S>
  [[nodiscard]] S noticed(std::string_view channel, S subscription) {
    if (subscription) subscribed(channel);
    return subscription;
  }

  /// Whether those are in the channel whom the event is for. Locks the channel: who is not seen, and has not seen that
  /// something is held, does so behind that lock.
  [[nodiscard]] bool those_are_there(const detail::HeldEvent& held) const noexcept {
    bool there = false;
    channels_.look_at_state(held.channel.name(), [&](ChannelState* state) {
      const auto* const memory = static_cast<const ChannelMemory*>(state);
      if (held.user.empty()) {
        // Who has no place in the order yet would not get what goes out now.
        there = held.channel.subscribers() >= held.subscribers + (memory == nullptr ? 0 : memory->coming);
      } else if (memory != nullptr) {
        there = memory->roster.contains(held.user);
      }
    });
    return there;
  }

  void release(std::vector<detail::HeldEvent> events,
               detail::HeldEvent::Clock::time_point now = detail::HeldEvent::Clock::now()) noexcept {
    for (detail::HeldEvent& held : events) {
      TriggerResult result;
      if (held.until <= now && !those_are_there(held)) {
        ended(held, HoldOutcome::expired, result);
        continue;
      }
#if FANFARE_EXCEPTIONS
      try {
#endif
        result = held.trigger();
        const bool again = result.error == errc::overloaded || result.error == errc::out_of_memory ||
                           result.error == errc::nested_too_deep;
        if (again && now < held.until && held_.add(std::move(held)) == errc::ok) continue;
#if FANFARE_EXCEPTIONS
      } catch (...) {  // of a callback: all others have got it
      }
#endif
      ended(held, result ? HoldOutcome::sent : HoldOutcome::refused, result);
    }
  }

  void ended(detail::HeldEvent& held, HoldOutcome outcome, const TriggerResult& result) noexcept {
    if (held.told) held.told(outcome, result);
    if (!tells() || outcome == HoldOutcome::closed) return;
    AppEvent event{.kind = AppEvent::Kind::event_held};
    event.event = std::move(held.event);
    event.outcome = outcome;
    note(std::move(event), [&](AppEvent& noted) { noted.channel = held.channel.name(); });
    tell();
  }

  void announce(std::string_view user_id, std::string_view what) {
    std::string channel(watch_channel);
    channel += user_id;
    std::string data = R"({"events":[{"name":")";
    data += what;
    data += R"(","user_ids":[")";
    bool ascii = true;
    const std::size_t begin = data.size();
    const std::size_t size = detail::JsonString::escaped_size(user_id);
    data.resize(begin + size + detail::JsonString::slack);
    detail::JsonString::escape(data.data() + begin, user_id, ascii);
    data.resize(begin + size);
    data += R"("]}]})";
    channels_.trigger(ReservedChannel{channel}, "pusher_internal:watchlist_events", data);
  }

  /// Fills the channels with what they kept in earlier lives, as far as the rules and bounds of this life allow it.
  void load() {
    struct Loader final : KeptVisitor {
      explicit Loader(App& app_) : app(app_), rules(app_.memories_.rules()) {}
      void visit(const KeptEvent& event) override {
        const ChannelRule* const rule = rules->find(event.channel);
        const bool has_history = rule != nullptr && rule->history.has_value();
        const bool ruled = rule != nullptr && rule->keeps_events();
        if (!ruled || (event.history && !has_history)) forgotten[std::string(event.channel)] = !ruled;
        if (!ruled) return;
        const auto age = std::max(wall_now - event.time, KeptChange::Clock::duration::zero());
        const MessageOrigin origin{.user_id = event.user_id, .socket_id = event.socket_id};
        const errc error = app.channels_.restore({event.channel, event.event, event.data, &origin}, event.number,
                                                 now - age, event.history, event.retained);
        if (error == errc::out_of_memory) {
#if FANFARE_EXCEPTIONS
          throw std::bad_alloc();
#else
          std::abort();  // as where it is the standard library that finds none
#endif
        }
        if (app.memories_.budget().over()) app.evict(event.number);
      }
      App& app;
      const std::shared_ptr<const ChannelRules> rules;
      const KeptChange::Clock::time_point wall_now = KeptChange::Clock::now();
      const std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now();
      std::map<std::string, bool>
          forgotten;  // channels whose history no rule is for, and whether nothing else is either
    } loader(*this);
    not_loaded_ = options_.store->load(loader);
    if (not_loaded_.empty()) forget(loader.forgotten);
    channels_.expire(loader.now);
    evict();
  }

  /// What no rule keeps in this life gets events that the store does not see. So it is forgotten, as where a rule goes: in
  /// the next life with a rule it would have a hole.
  void forget(const std::map<std::string, bool>& channels) {
    KeptLog& log = *options_.store;
    std::uint64_t ticket = 0;  // of the one before
    for (const auto& [channel, all] : channels) {
      const auto put = [&, &name = channel, &retained_too = all] {
        KeptChange change;
        change.kind = KeptChange::Kind::forget;
        change.channel = name;
        change.floor = log.place().number;
        if (retained_too) change.retained_floor = change.floor;
        return log.put_forget(std::move(change));
      };
      std::uint64_t put_now = put();
      if (put_now == 0 && ticket != 0) {
        log.wait({ticket, ticket});  // then there is room, unless the store refuses
        put_now = put();
      }
      if (put_now == 0) {
        not_loaded_ = "the store has no room for what is to be forgotten";
        return;
      }
      ticket = put_now;
    }
  }

  void tell_of_store() {
    if (!tells() || options_.store == nullptr) return;
    const std::string_view trouble = store_trouble();
    const std::lock_guard lock(announcing_);
    if (trouble == told_trouble_) return;
    AppEvent event{.kind = AppEvent::Kind::store_trouble, .data = std::string(trouble)};
    told_trouble_ = trouble;
    note(std::move(event));
  }

  /// Channels without subscribers give way where all of them keep too much.
  void evict(std::uint64_t most = ~std::uint64_t{0}) {
    std::string channel;
    KeptBudget& budget = memories_.budget();
    for (std::size_t victims = budget.victims(); victims != 0 && budget.take_victim(channel); --victims) {
      channels_.look_at_state(channel, [most](ChannelState* state) {
        if (state != nullptr) static_cast<ChannelMemory*>(state)->evict(most);
      });
    }
  }

  template <class F>
  void with_memory(std::string_view channel, F f) const {
    channels_.look_at_state(channel, [&](ChannelState* state) {
      if (state != nullptr) f(static_cast<const ChannelMemory&>(*state));
    });
  }

  std::function<void(std::string_view)> occupied_hook(AppEvent::Kind kind) {
    if (!tells()) return {};
    return [this, kind](std::string_view channel) {
      if (channel.starts_with('#')) return;  // the protocol's own
      note({.kind = kind, .channel = std::string(channel)});
      tell();
    };
  }

  const AppOptions options_;
  const FrameEncoder encoder_{};
  ChannelMemories memories_;
  const std::shared_ptr<detail::SnapshotBudget> snapshots_;
  Users users_;
  std::string_view not_loaded_;      // why the store could not be read; set by the constructor
  std::mutex announcing_;            // who comes and goes is announced in the order in which it happens
  std::string_view told_trouble_;    // under that mutex
  mutable std::mutex events_mutex_;  // a leaf: nothing is locked inside it
  std::deque<AppEvent> events_;      // under the mutex, as the next two
  bool telling_ = false;
  std::size_t events_dropped_ = 0;
  std::atomic<std::size_t> connections_{0};  // a number and nothing else: relaxed
  std::mutex addresses_mutex_;
  std::unordered_map<std::uint64_t, std::size_t> addresses_;  // under the mutex: connections of each
  ChannelRegistry<> channels_;                                // its hooks use the others until it has ended
  detail::HeldEvents held_;                                   // after the channels that it holds
};

FANFARE_NAMESPACE_END
