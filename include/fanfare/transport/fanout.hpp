/// \file
/// The last step of the fan-out: from what a loop's mailbox holds to what each of its connections is sent.
///
/// There is no socket in it: what moves bytes is a parameter. So the order of events, slow readers and the bounds are the
/// same on TCP, in memory and on a host's own connections.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/backlog.hpp>
#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/channel_rules.hpp>
#include <fanfare/core/hash.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/snapshot.hpp>
#include <fanfare/core/turn_log.hpp>
#include <fanfare/core/wire.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/transport/door.hpp>
#include <fanfare/transport/entrance.hpp>
#include <fanfare/transport/member_array.hpp>
#include <fanfare/transport/peer.hpp>
#include <fanfare/transport/slow_consumer_counts.hpp>
#include <fanfare/websocket/frame.hpp>

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// What moves bytes for a loop, to connections of the type `C`, which derives from `Peer`.
///
/// | expression | type | meaning |
/// |---|---|---|
/// | `p.write(connection, bytes)` | `std::ptrdiff_t` | so many went out, perhaps none; negative: the connection is broken. What did not go out is kept, and `Fanout::writable` is called when more would |
/// | `p.broken(connection)` | | a write failed, or there is no memory: end it, not before the flush is over |
/// | `p.overflowed(connection)` | | it lags beyond the bound: end it, likewise |
/// | `p.find(socket_id)` | `C*` | the connection with that socket id, or null |
/// | `p.at(number)` | `C*` | the connection with that number, or null |
/// | `p.entered(connection, entrance)` | | optional, for channels with an order: it is in the channel now, and is to be told so before it is sent the next event |
/// | `p.now()` | `std::chrono::milliseconds` | optional: the time. Without it, nobody gives up waiting for a snapshot |
/// | `p.socket_id(connection)` | `pusher::SocketId::Text` | optional: what hosts are told of who has come |
/// | `p.user_id(connection)` | `std::string_view` | optional: likewise, of who has signed in |
/// | `p.begin_batch(sends)` | `bool` | optional, and then the next three too: whether so many sends are to be put into batches. A batch is begun, and ended, by each flush |
/// | `p.queue(connection, bytes, tag)` | `bool` | puts a send into the batch, whose tags count from 0; false: this connection has to be written to. `bytes` stay until the batch is submitted |
/// | `p.batch_capacity` | `std::size_t` | how many sends a batch holds |
/// | `p.submit(f, g)` | | sends the batch, and calls `f(tag, sent)`, as `write` would have returned it, for each that did not go out whole, and `g(tag)` for each that has to be written instead |
/// | `p.terminate(connection)` | | optional: end it, because its user is to go; likewise not before the flush is over |
template <class P, class C>
concept Port =
    std::derived_from<C, Peer> && requires(P& port, C& connection, std::string_view text, std::uint32_t number) {
      { port.write(connection, text) } noexcept -> std::same_as<std::ptrdiff_t>;
      { port.broken(connection) } noexcept;
      { port.overflowed(connection) } noexcept;
      { port.find(text) } noexcept -> std::same_as<C*>;
      { port.at(number) } noexcept -> std::same_as<C*>;
    };

/// Bounds of one loop.
struct FanoutLimits {
  /// What may wait for one connection before a turn adds to it; see `SlowConsumer` for what happens beyond. What is not
  /// an event of a channel may bring it to twice as much.
  std::size_t outbox_bytes = std::size_t{1} << 20U;
  std::size_t turn_bytes = std::size_t{1} << 20U;  ///< What a turn takes out of the mailbox before it sends.
  std::size_t turn_events = 1024;                  ///< Likewise, in events.
};

/// The channels of one loop and their connections.
///
/// A turn is: join, leave and reply while input is read; `drain`, which fills the logs; `flush`, which sends them. A
/// reply of a turn is on its way before the turn's events.
///
/// Thread safety: that of its loop.
template <class P, class Connection>
class Fanout {
 public:
  /// \param port, door   outlive it.
  Fanout(P& port, Door& door, const FanoutLimits& limits) : port_(port), door_(door), limits_(limits) {
    static_assert(Port<P, Connection>,
                  "fanfare: Fanout: the type does not satisfy the concept fanfare::transport::Port");
    if constexpr (batches) outgoing_.reserve(P::batch_capacity);
  }
  Fanout(const Fanout&) = delete;
  Fanout& operator=(const Fanout&) = delete;
  /// \pre  no connection is in a channel.
  ~Fanout() {
    if (desk_ != nullptr) desk_->close();
    drop_pending();
  }

  // ---- while input is read

  /// Puts a connection into a channel. Every event that is triggered after this returned reaches it.
  /// \param channel   a valid name.
  /// \param member    whom it counts as, on presence channels.
  /// \param since     the last event of the channel that it has seen, if it says so: it is sent what came then, if that is
  ///                  still there.
  [[nodiscard]] JoinResult join(App& app, std::string_view channel, Connection& connection, MemberPtr member = {},
                                const std::optional<EventId>& since = {}) {
    return join_as(app, channel, channel, connection, std::move(member), since);
  }
  /// The same in a channel of the protocol's own; does not count towards the connection's limit.
  [[nodiscard]] JoinResult join(App& app, ReservedChannel channel, Connection& connection) {
    return join_as(app, channel.name, channel, connection, {}, {});
  }

  /// A connection's place in a channel.
  struct Place {
    std::uint32_t position;  ///< among the connections that the loop has there
    MemberPtr member;        ///< whom it counts as, on presence channels
  };
  /// Its place in a channel that it has entered; nothing if it has not.
  [[nodiscard]] std::optional<Place> membership(const App& app, std::string_view channel,
                                                Connection& connection) noexcept {
    LoopChannel* const known = find(app, channel);
    if (known == nullptr) return std::nullopt;
    const detail::Membership* const found = connection.memberships.find(known->number);
    if (found == nullptr) return std::nullopt;
    if (!found->ordered()) return Place{found->place, {}};
    const detail::OrderedPlace& place = ordered_[*found];
    if (place.position == detail::OrderedPlace::pending) return std::nullopt;
    return Place{place.position, place.member};
  }

  /// Takes it out again. \returns whether it was in there.
  bool leave(App& app, std::string_view channel, Connection& connection) noexcept {
    LoopChannel* const known = find(app, channel);
    if (known == nullptr) return false;
    const detail::Membership* const membership = connection.memberships.find(known->number);
    if (membership == nullptr) return false;
    const detail::Membership left = *membership;
    connection.memberships.remove(known->number);
    forget(*known, connection);
    remove_member(*known, left);
    return true;
  }

  /// Takes it out of those of the protocol's own channels whose names begin so.
  void leave_reserved(Connection& connection, std::string_view prefix) noexcept {
    for (std::size_t i = connection.memberships.size(); i-- != 0;) {
      const detail::Membership left = connection.memberships.all()[i];
      LoopChannel& channel = channels_[left.channel];
      if (!channel.subscription.channel().starts_with(prefix)) continue;
      connection.memberships.remove(left.channel);  // puts one in its place that was looked at already
      --connection.reserved;
      remove_member(channel, left);
    }
  }

  /// Takes it out of all channels.
  void leave_all(Connection& connection) noexcept {
    for (const detail::Membership& membership : connection.memberships.all()) {
      remove_member(channels_[membership.channel], membership);
    }
    connection.memberships.clear();
  }

  /// Sends frames to one connection, behind what it waits for already. None of them is ever dropped.
  /// \param ends   where each of them ends.
  void send(Connection& connection, std::string_view frames, std::span<const std::size_t> ends) noexcept {
    if (connection.deaf || frames.empty()) return;
    if (connection.backlog != nullptr && connection.backlog->bytes() > most_of_protocol()) return overflow(connection);
    put(connection, frames, ends);
  }
  /// The same for one frame.
  void send(Connection& connection, std::string_view frame) noexcept {
    const std::size_t end = frame.size();
    send(connection, frame, {&end, 1});
  }

  /// Goes on with what waits. \returns whether nothing waits any more.
  bool writable(Connection& connection) noexcept {
    while (connection.backlog != nullptr && !connection.deaf) {
      const std::string_view part = connection.backlog->front();
      const std::size_t sent = write(connection, part);
      if (connection.deaf) break;
      if (sent != 0) connection.backlog->consume(sent);
      if (connection.backlog->empty()) connection.backlog.reset();
      if (sent < part.size()) break;
    }
    return connection.backlog == nullptr;
  }

  // ---- drain

  /// Moves events out of the mailbox into the logs of their channels.
  /// \returns whether there may be more: flush, and drain again in the next turn.
  [[nodiscard]] bool drain() noexcept {
    std::size_t events = 0;
    std::size_t bytes = 0;
    if (!waiting_.empty()) take_snapshots();
    bool more = !catching_up_.empty() && catch_up();
    for (;;) {
      if (pending_ == nullptr) pending_ = door_.mailbox.take();
      if (pending_ == nullptr) return more;
      while (pending_ != nullptr) {
        if (events == limits_.turn_events || bytes >= limits_.turn_bytes) return true;
        MessageLink& link = *pending_;
        pending_ = link.next;
        ++events;
        if (link.message == nullptr) {
          const std::size_t before = catching_up_.size();
          enter(std::unique_ptr<detail::Wish>(static_cast<detail::Wish*>(&link)));
          more = more || catching_up_.size() != before;
          continue;
        }
        const std::uint64_t tag = link.tag;
        const MessagePtr message = MessagePtr::adopt(link.message);
        door_.mailbox.release(detail::mailbox_bytes(*message));
        bytes += take(tag, *message);
      }
    }
  }

  /// To how many connections `flush` will send, counted per channel.
  [[nodiscard]] std::size_t fan() const noexcept {
    std::size_t sum = 0;
    for (const std::uint32_t number : dirty_) sum += channels_[number].size();
    return sum;
  }

  // ---- flush

  /// Sends the logs: one write per connection.
  void flush() noexcept {
    log_counts();
    if (dirty_.empty()) {
      entered_.clear();
      return;
    }
    // A small room does not wait for a large one.
    std::sort(dirty_.begin(), dirty_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return channels_[a].size() < channels_[b].size(); });
    if (++stamp_ == 0) ++stamp_;
    const bool specials = dirty_.size() > 1 || excluded_ || !entered_.empty();
    if (specials) mark_specials();
    if constexpr (batches) batching_ = port_.begin_batch(fan());
    for (const std::uint32_t number : dirty_) flush(channels_[number], specials);
    if constexpr (batches) {
      if (std::exchange(batching_, false)) submit();
    }
    for (const std::uint32_t number : dirty_) {
      LoopChannel& channel = channels_[number];
      channel.log = 0;
      if (channel.members.holes() * 4 > channel.members.size()) compact(channel);
    }
    dirty_.clear();
    turn_logs_.clear();
    entered_.clear();
    excluded_ = false;
  }

  /// Does what time brings; about once a second. Leaves the channels that have been without connections since the last
  /// call, so that a page that reloads does not make and unmake its channel. Lets in who has waited for a snapshot for
  /// too long, and does by other rules what they say of channels that are there.
  void tidy() noexcept {
    if (!waiting_.empty()) stop_waiting();
    follow_rules();
    for (const std::uint32_t number : vacated_) {
      LoopChannel& channel = channels_[number];
      channel.listed = false;
      if (channel.empty() && channel.subscription.state() != nullptr) detach(channel);
    }
    vacated_.clear();
  }

  /// Leaves all channels. What is still in the mailbox is dropped.
  /// \param wait   whether to wait for triggers that are under way, which may still push, as `Subscription::reset` does.
  void close(bool wait = false) noexcept {
    dirty_.clear();
    turn_logs_.clear();
    vacated_.clear();
    recount_.clear();
    entered_.clear();
    waiting_.clear();
    catching_up_.clear();
    ruled_.clear();
    if (desk_ != nullptr) desk_->close();
    for (std::size_t number = 0; number < channels_.size(); ++number) {
      LoopChannel& channel = channels_[number];
      channel.log = 0;
      channel.listed = channel.recounted = false;
      if (channel.subscription.state() != nullptr) detach(channel, wait);
    }
    drop_pending();
  }

  /// What became of connections that lagged too much. Any thread; each number by itself is right.
  [[nodiscard]] SlowConsumerCounts slow_consumers() const noexcept {
    const auto count = [&](SlowConsumer policy) {
      return slow_consumers_[static_cast<std::size_t>(policy)].load(std::memory_order_relaxed);
    };
    return {.closed = count(SlowConsumer::close),
            .dropped_oldest = count(SlowConsumer::drop_oldest),
            .dropped_newest = count(SlowConsumer::drop_newest),
            .conflated = count(SlowConsumer::conflate)};
  }

  /// Where its logs come from; backlogs may hold them beyond a turn.
  [[nodiscard]] LogPool& logs() noexcept { return logs_; }
  /// How many channels the loop is in.
  [[nodiscard]] std::size_t channels() const noexcept { return by_name_.size(); }

 private:
  /// Of more subscribers than this the number is told less often.
  static constexpr std::size_t many = 100;
  using Milliseconds = std::uint32_t;  // of the steady clock, its lower half: differences are right
  static constexpr Milliseconds count_rest = 5000;
  static Milliseconds now() noexcept {
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<Milliseconds>(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
  }

  // There may be as many as connections: the order leaves no gaps.
  struct LoopChannel {
    [[no_unique_address]] Subscription subscription;  // the next ones stand in its last bytes
    bool listed : 1 = false;                          // in `vacated_`
    bool recounted : 1 = false;                       // in `recount_`
    bool commands : 1 = false;                        // its events are for the loop, not for the connections
    bool counts : 1 = false;                          // its subscribers are told how many they are
    bool has_members : 1 = false;
    bool noting : 1 = false;  // the host has still to be told how many they are
    SlowConsumer overflow : 2 = SlowConsumer::close;
    bool limited : 1 = false;  // its rule says how many subscribers it may have
    std::uint32_t number = 0;
    App* app = nullptr;
    [[no_unique_address]] MemberArray<Connection> members;  // likewise
    std::uint32_t wishes = 0;                               // of connections that are not among the members yet
    std::uint32_t generation = 0;
    std::uint32_t log = 0;  // of this turn: its place in `turn_logs_`, counted from 1; 0: none

    [[nodiscard]] bool empty() const noexcept { return size() == 0 && wishes == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return members.size() - members.holes(); }
  };
  static_assert(sizeof(LoopChannel) <= 48, "there are many of them");

  /// The channels, which stay where they are.
  class LoopChannels {
   public:
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] LoopChannel& operator[](std::size_t number) const noexcept {
      return chunks_[number / in_chunk][number % in_chunk];
    }
    /// \throws `std::bad_alloc`; nothing is changed then.
    void add() {
      if (size_ == chunks_.size() * in_chunk) chunks_.push_back(std::make_unique<LoopChannel[]>(in_chunk));
      (*this)[size_].number = static_cast<std::uint32_t>(size_);
      ++size_;
    }

   private:
    static constexpr std::size_t in_chunk = 32;
    std::vector<std::unique_ptr<LoopChannel[]>> chunks_;
    std::size_t size_ = 0;
  };

  /// When it was last told how many subscribers a channel has.
  struct CountTimes {
    Milliseconds told;   // to them
    Milliseconds noted;  // to the host
  };

  /// An application that the loop has been in channels of, and the rules of which it knows.
  struct Ruled {
    App* app;
    std::uint64_t version;
  };

  struct Name {
    const App* app;
    std::string_view channel;
    friend bool operator==(const Name&, const Name&) = default;
  };
  /// The index holds numbers alone: the names are those of the subscriptions.
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(const Name& name) const noexcept {
      // Clients choose names: with the application's seed they cannot choose collisions.
      return SeededHash::hash(name.channel, name.app->options().seed);
    }
    std::size_t operator()(std::uint32_t number) const noexcept { return (*this)(fanout->name(number)); }
    const Fanout* fanout;
  };
  struct NameEqual {
    using is_transparent = void;
    bool operator()(const Name& a, std::uint32_t b) const noexcept { return a == fanout->name(b); }
    bool operator()(std::uint32_t a, const Name& b) const noexcept { return b == fanout->name(a); }
    bool operator()(std::uint32_t a, std::uint32_t b) const noexcept { return a == b; }
    const Fanout* fanout;
  };
  [[nodiscard]] Name name(std::uint32_t number) const noexcept {
    return {channels_[number].app, channels_[number].subscription.channel()};
  }

  [[nodiscard]] LoopChannel* find(const App& app, std::string_view channel) noexcept {
    const auto found = by_name_.find(Name{&app, channel});
    return found == by_name_.end() ? nullptr : &channels_[*found];
  }

  /// A send in the batch.
  struct Outgoing {
    Connection* connection;
    std::string_view bytes;
    std::span<const LogFrame> index;  // of the frames, where they were composed
    std::uint32_t channel;            // whose log it is; `composed`: none's
  };
  static constexpr std::uint32_t composed = 0xffffffffU;

  /// A client on its way into a channel that has an order: it counts as a subscriber before it has its place, and what
  /// is triggered in between does not reach it.
  struct Coming {
    Coming(App& app_, std::string_view channel_) noexcept : app(app_), channel(channel_) {}
    Coming(const Coming&) = delete;
    Coming& operator=(const Coming&) = delete;
    ~Coming() {
      if (noted) app.note_coming(channel, -1);
    }
    /// \param subscription   of the loop; null: it has none yet, so it is not sure that the channel exists.
    void note(const Subscription* subscription) noexcept {
      if (subscription != nullptr && !subscription->ordered()) return;
      if (subscription == nullptr) exists = app.channels().channel(channel);
      noted = app.note_coming(channel, +1);
    }

    App& app;
    const std::string_view channel;
    ChannelHandle exists;
    bool noted = false;
  };

  template <class Key>
  [[nodiscard]] JoinResult join_as(App& app, std::string_view name, Key key, Connection& connection, MemberPtr member,
                                   const std::optional<EventId>& since) {
    constexpr bool reserved = std::same_as<Key, ReservedChannel>;
    LoopChannel* const known = find(app, name);
    if (known != nullptr && connection.memberships.find(known->number) != nullptr) return JoinResult::already_joined;
    if (!reserved && connection.memberships.size() - connection.reserved >= app.options().max_channels_per_connection) {
      return JoinResult::over_limit;
    }
    // Its rule may have changed since the loop has looked at it: 0 is no bound.
    const std::size_t most = known == nullptr || known->limited ? app.max_subscribers(name) : 0;
    // Without counting it: a number that does not change is told nobody.
    if (most != 0 && (known != nullptr ? known->subscription.subscribers() : app.subscribers(name)) >= most) {
      return JoinResult::too_many_subscribers;
    }
    Coming coming(app, name);
    if constexpr (!reserved) coming.note(known == nullptr ? nullptr : &known->subscription);
    try {
      LoopChannel* const entered = known != nullptr ? known : attach(app, key);
      if (entered == nullptr) return JoinResult::refused;
      bool counted = known == nullptr;
      if (most != 0) {
        // Counted first: of several loops none lets one in too many.
        if (!counted) entered->subscription.add_members(+1);
        counted = true;
        if (entered->subscription.subscribers() > most) {
          entered->subscription.add_members(-1);
          tell_count(*entered);
          note_vacated(*entered);
          return JoinResult::too_many_subscribers;
        }
      }
      if (entered->subscription.ordered()) return wish(*entered, connection, std::move(member), since, counted, coming);
      add_member(*entered, connection, counted);
      if (reserved) ++connection.reserved;
      tell_count(*entered);
    } catch (const std::bad_alloc&) {
      return JoinResult::refused;
    }
    app.subscribed(name);
    return JoinResult::joined;
  }

  /// Takes a place in the channel's order, under its lock; the connection enters when the mailbox has come so far.
  JoinResult wish(LoopChannel& channel, Connection& connection, MemberPtr member, const std::optional<EventId>& since,
                  bool counted, Coming& coming) {
    std::unique_ptr<detail::Wish> made;
    std::string data;
    try {
      made = std::make_unique<detail::Wish>();
      made->member = channel.has_members ? std::move(member) : MemberPtr{};
      if (made->member != nullptr) data = pusher::data::member_added(*made->member);
      const detail::Membership membership{channel.number, ordered_.add({.from = ++wishes_, .member = made->member})};
      try {
        connection.memberships.add(membership);
      } catch (...) {
        ordered_.remove(membership);
        throw;
      }
    } catch (...) {
      if (counted) channel.subscription.add_members(-1);
      note_vacated(channel);
      throw;
    }
    detail::Wish& wish = *made;
    wish.tag = tag(channel);
    wish.door = &door_;
    wish.app = channel.app;
    wish.connection = connection.number;
    wish.generation = connection.generation;
    wish.number = wishes_;
    wish.entrance.channel = channel.subscription.channel();
    wish.entrance.has_members = channel.has_members;
    wish.entrance.since = since;
    wish.coming = coming.noted;
    if (!counted) channel.subscription.add_members(+1);
    ++channel.wishes;

    TriggerResult result = step(channel, wish, "pusher_internal:member_added", data);
    App& app = *channel.app;
    coming.noted = wish.coming;
    if (wish.sent) {
      // As the user's first connection said it, so that who goes is who came.
      ordered_[*connection.memberships.find(channel.number)].member = wish.member;
      static_cast<void>(made.release());  // the mailbox's
    } else {
      if (result.error != errc::ok) wish.result = JoinResult::refused;
      ordered_.remove(*connection.memberships.find(channel.number));
      connection.memberships.remove(channel.number);
      --channel.wishes;
      channel.subscription.add_members(-1);
      note_vacated(channel);
    }
    app.tell();
    const JoinResult outcome = made != nullptr ? made->result : JoinResult::pending;
    if (outcome == JoinResult::pending) {
      tell_count(channel);
      if (wish.hook != nullptr) ask(channel, connection, wish);  // the mailbox's still: it is this thread that reads it
      app.subscribed(channel.subscription.channel());
    }
    return outcome;
  }

  /// Asks the host for a snapshot.
  void ask(LoopChannel& channel, Connection& connection, detail::Wish& wish) noexcept {
    const std::shared_ptr<fanfare::detail::SnapshotBudget>& budget = channel.app->snapshots();
    try {
      if (desk_ == nullptr) {
        desk_ = std::make_shared<fanfare::detail::SnapshotDesk>(
            &door_, [](void* door) noexcept { static_cast<Door*>(door)->wake(); });
      }
      wish.ticket = fanfare::detail::SnapshotTicket::make(desk_, budget, wish.entrance.channel, wish.number);
    } catch (const std::bad_alloc&) {  // there is none then
    }
    if (!wish.ticket) return fail(connection);
    Subscriber who{wish.entrance.channel, {}, {}, wish.position};
    if constexpr (requires { port_.now(); }) wish.asked = port_.now();
    if constexpr (requires { port_.user_id(connection); }) who.user_id = port_.user_id(connection);
    if (wish.member != nullptr) who.user_id = wish.member->user_id;
    const auto call = [&] {
      try {
        (*wish.hook)(who, SnapshotReply(wish.ticket.request()));
      } catch (...) {  // as if it had let go of the reply, which it has
      }
    };
    if constexpr (requires { port_.socket_id(connection); }) {
      const auto socket_id = port_.socket_id(connection);
      who.socket_id = socket_id.view();
      call();
    } else {
      call();
    }
  }

  /// \returns what the step did; `out_of_memory` also where a callback had none.
  TriggerResult step(LoopChannel& channel, OrderedStep& what, std::string_view event, std::string_view data) noexcept {
    try {
      return channel.subscription.step(what, event, data);
    } catch (...) {
      return {.error = errc::ok};  // a callback of the host threw; everything else has been done
    }
  }

  /// Who waits for what it has wished, and the place that it is to have.
  struct Wisher {
    Connection* connection = nullptr;
    detail::OrderedPlace* place = nullptr;
  };
  /// \returns   nobody if it has gone, has left the channel again, or has even wished again.
  [[nodiscard]] Wisher wisher(const detail::Wish& wish) noexcept {
    Connection* const connection = port_.at(wish.connection);
    if (connection == nullptr || connection->generation != wish.generation) return {};
    const detail::Membership* const membership = connection->memberships.find(static_cast<std::uint32_t>(wish.tag));
    if (membership == nullptr) return {};
    detail::OrderedPlace& place = ordered_[*membership];
    if (place.position != detail::OrderedPlace::pending || place.from != wish.number) return {};
    return {connection, &place};
  }

  /// The mailbox has come to the place of a wish.
  void enter(std::unique_ptr<detail::Wish> wish) noexcept {
    const auto number = static_cast<std::uint32_t>(wish->tag);
    LoopChannel& channel = channels_[number];
    if (channel.generation != wish->tag >> 32U) return;
    --channel.wishes;
    const Wisher found = wisher(*wish);
    Connection* const connection = found.connection;
    detail::OrderedPlace* const place = found.place;
    if (connection == nullptr) return note_vacated(channel);
    if (wish->hook != nullptr && !wish->settled) return begin_to_wait(channel, *connection, std::move(wish));
    if (wish->entrance.replay.more) return begin_to_catch_up(channel, *connection, std::move(wish));
    try {
      entered_.reserve(entered_.size() + 1);
      make_room(channel);
      const std::size_t before = channel.members.size();
      channel.members.push_back(connection);
      place->position = static_cast<std::uint32_t>(before);
      place->from = sequence_;
      entered_.push_back(connection);
    } catch (const std::bad_alloc&) {
      return fail(*connection);
    }
    if constexpr (requires { port_.entered(*connection, wish->entrance); }) {
      port_.entered(*connection, wish->entrance);
    }
  }

  /// It has been promised more than goes out at once.
  void begin_to_catch_up(LoopChannel& channel, Connection& connection, std::unique_ptr<detail::Wish> wish) noexcept {
    if constexpr (requires { port_.entered(connection, wish->entrance); }) {
      port_.entered(connection, wish->entrance);
    }
    ++channel.wishes;
    wish->sent = false;
    wish->entrance.members.clear();
    try {
      catching_up_.push_back(std::move(wish));
    } catch (const std::bad_alloc&) {
      --channel.wishes;
      note_vacated(channel);
      fail(connection);
    }
  }

  /// It is told that it is in the channel when the host has said what there is.
  void begin_to_wait(LoopChannel& channel, Connection& connection, std::unique_ptr<detail::Wish> wish) noexcept {
    if (!wish->ticket) return note_vacated(channel);  // the host could not be asked: the connection is on its way out
    ++channel.wishes;
    wish->sent = false;
    try {
      if (wish->ticket.wait()) {
        waiting_.emplace(wish->number, std::move(wish));
      } else {
        catching_up_.push_back(std::move(wish));
      }
    } catch (const std::bad_alloc&) {
      --channel.wishes;
      note_vacated(channel);
      fail(connection);
    }
  }

  using Waiting = boost::unordered_flat_map<std::uint64_t, std::unique_ptr<detail::Wish>>;

  void stop_waiting(typename Waiting::iterator where) noexcept {
    std::unique_ptr<detail::Wish> wish = std::move(where->second);
    waiting_.erase(where);
    try {
      catching_up_.push_back(std::move(wish));
    } catch (const std::bad_alloc&) {
      LoopChannel& channel = channels_[static_cast<std::uint32_t>(wish->tag)];  // there, as it has a wish
      --channel.wishes;
      note_vacated(channel);
      if (Connection* const connection = wisher(*wish).connection) fail(*connection);
    }
  }

  /// Those whose snapshots have come go on.
  void take_snapshots() noexcept {
    std::shared_ptr<fanfare::detail::SnapshotRequest> request = desk_->take();
    while (request != nullptr) {
      if (const auto known = waiting_.find(request->number); known != waiting_.end()) stop_waiting(known);
      request = std::move(request->next);
    }
  }

  /// And those who have waited for too long.
  void stop_waiting() noexcept {
    if constexpr (requires { port_.now(); }) {
      const std::chrono::milliseconds now = port_.now();
      for (auto at = waiting_.begin(); at != waiting_.end();) {
        const auto which = at++;
        const detail::Wish& wish = *which->second;
        if (now - wish.asked >= wish.ticket.request()->budget->options.timeout) stop_waiting(which);
      }
    }
  }

  /// Tells who has a snapshot, or is to have none, that it is in the channel, and the next piece of it.
  void give_snapshot(LoopChannel& channel, Connection& connection, detail::Wish& wish) noexcept {
    wish.entrance.again = wish.settled;
    if (!wish.settled) {
      wish.snapshot = wish.ticket.take(wish.as_of);
      detail::Settlement what(wish);
      static_cast<void>(step(channel, what, "pusher_internal:member_added", {}));
      if (!what.done) return fail(connection);
    }
    try {
      wish.take_snapshot();
    } catch (const std::bad_alloc&) {
      return fail(connection);
    }
    if (wish.snapshot.empty()) wish.ticket.reset();
    if constexpr (requires { port_.entered(connection, wish.entrance); }) {
      port_.entered(connection, wish.entrance);
    }
    wish.entrance.members.clear();
  }

  /// Sends those who come to channels with a long history the next piece of it, as far as they take it.
  /// \returns   whether somebody could be sent more at once.
  [[nodiscard]] bool catch_up() noexcept {
    bool again = false;
    for (std::size_t i = 0; i < catching_up_.size();) {
      switch (catch_up(catching_up_[i])) {
        case Progress::more: again = true; [[fallthrough]];
        case Progress::waits: ++i; break;
        case Progress::over:
          if (i + 1 != catching_up_.size()) catching_up_[i] = std::move(catching_up_.back());
          catching_up_.pop_back();
          break;
      }
    }
    return again;
  }

  enum class Progress : std::uint8_t { more, waits, over };

  [[nodiscard]] Progress catch_up(std::unique_ptr<detail::Wish>& wish) noexcept {
    LoopChannel& channel = channels_[static_cast<std::uint32_t>(wish->tag)];
    if (channel.generation != wish->tag >> 32U) return Progress::over;
    Connection* const connection = wisher(*wish).connection;
    const auto leave = [&] {
      --channel.wishes;
      note_vacated(channel);
      return Progress::over;
    };
    if (connection == nullptr || connection->deaf) return leave();
    if (connection->backlog != nullptr && connection->backlog->bytes() > detail::Wish::replay_bytes) {
      return Progress::waits;
    }
    if (wish->hook != nullptr && (!wish->settled || !wish->snapshot.empty())) {
      give_snapshot(channel, *connection, *wish);
      return connection->deaf ? leave() : Progress::more;
    }
    detail::CatchUp what(*wish);
    static_cast<void>(step(channel, what, "pusher_internal:member_added", {}));
    // Who is present cannot be told to somebody who has missed who came and went; nor what has changed, behind a
    // snapshot.
    const bool lost = (wish->entrance.has_members || wish->hooked) && wish->entrance.replay.reach == Reach::gap;
    if (!what.done || lost) fail(*connection);
    if (wish->sent) {
      static_cast<void>(wish.release());  // the mailbox's: it enters there
      return Progress::over;
    }
    if (connection->deaf) return leave();
    if constexpr (requires { port_.entered(*connection, wish->entrance); }) {
      port_.entered(*connection, wish->entrance);
    }
    return Progress::more;
  }

  /// Tells all loops that the number of a channel's subscribers has changed. Each sends the number that it then finds, so
  /// the last one sent is right.
  void tell_count(LoopChannel& channel) noexcept {
    if (!channel.counts) return;
    App& app = *channel.app;
    const std::size_t count = channel.subscription.subscribers();
    try {
      const std::string data = pusher::data::subscription_count(count);
      if (channel.subscription.ordered()) {
        detail::Notice notice;
        step(channel, notice, "pusher_internal:subscription_count", data);
      } else {
        app.channels().trigger(ReservedChannel{channel.subscription.channel()}, "pusher_internal:subscription_count",
                               data);
      }
      const Milliseconds now = Fanout::now();
      // Later ones are noted where the subscribers are told.
      channel.noting = count > many && !rested(channel, &CountTimes::noted, now);
      if (!channel.noting) note_count(channel, now);
    } catch (...) {  // no memory, or a callback of the host threw: the next change tells
    }
    app.tell();
  }

  /// Of several loops that note the same channel's number, the last one notes the last number.
  void note_count(LoopChannel& channel, Milliseconds now) {
    count_times(channel, now).noted = now;
    channel.noting = false;
    channel.app->note(
        {.kind = AppEvent::Kind::subscription_count, .channel = std::string(channel.subscription.channel())},
        [&](AppEvent& event) { event.count = channel.subscription.subscribers(); });
  }

  /// Whether it is so long ago that the number was told that it may be told again.
  [[nodiscard]] bool rested(const LoopChannel& channel, Milliseconds CountTimes::*when,
                            Milliseconds now) const noexcept {
    const auto known = count_times_.find(channel.number);
    return known == count_times_.end() || now - known->second.*when >= count_rest;
  }
  /// \throws `std::bad_alloc`.
  [[nodiscard]] CountTimes& count_times(const LoopChannel& channel, Milliseconds now) {
    const Milliseconds before = now - count_rest;
    return count_times_.try_emplace(channel.number, CountTimes{before, before}).first->second;
  }

  /// Puts the numbers of subscribers into the logs: of large channels not more often than every five seconds.
  void log_counts() noexcept {
    if (recount_.empty()) return;
    const Milliseconds now = Fanout::now();
    std::size_t kept = 0;
    for (const std::uint32_t number : recount_) {
      LoopChannel& channel = channels_[number];
      if (channel.size() != 0) {
        const std::size_t count = channel.subscription.subscribers();
        if (count > many && !rested(channel, &CountTimes::told, now)) {
          recount_[kept++] = number;
          continue;
        }
        try {
          count_times(channel, now).told = now;
          if (channel.noting) note_count(channel, now);
          std::string frame;
          websocket::append_frame(
              frame, websocket::Opcode::text,
              pusher::frames::event("pusher_internal:subscription_count", channel.subscription.channel(),
                                    pusher::data::subscription_count(count)));
          log(channel, frame, {.end = 0, .protocol = true});
        } catch (const std::bad_alloc&) {  // the next change tells
        }
      }
      channel.recounted = false;
    }
    recount_.resize(kept);
  }

  [[nodiscard]] static std::uint64_t tag(const LoopChannel& channel) noexcept {
    return std::uint64_t{channel.generation} << 32U | channel.number;
  }

  void obey_rule(LoopChannel& channel) const noexcept {
    const std::string_view name = channel.subscription.channel();
    channel.overflow = channel.app->overflow(name);
    channel.limited = channel.app->max_subscribers(name) != 0;
  }
  /// Looks at the rules again of applications that have got others.
  void follow_rules() noexcept {
    for (Ruled& ruled : ruled_) {
      const std::uint64_t version = ruled.app->rules_version();
      if (std::exchange(ruled.version, version) == version) continue;
      for (std::size_t number = 0; number < channels_.size(); ++number) {
        if (channels_[number].app == ruled.app) obey_rule(channels_[number]);
      }
    }
  }

  /// Makes the loop a subscriber, which counts as the one connection that it is about to have.
  /// \returns null where the registry refuses.
  template <class Key>
  LoopChannel* attach(App& app, Key name) {
    if (free_.empty()) {
      // So that leaving a channel, and an event for it, cannot fail.
      for (std::vector<std::uint32_t>* const numbers : {&free_, &vacated_, &dirty_, &recount_}) {
        if (numbers->capacity() <= channels_.size()) numbers->reserve(2 * channels_.size() + 8);
      }
      channels_.add();
      free_.push_back(static_cast<std::uint32_t>(channels_.size() - 1));
    }
    if (std::none_of(ruled_.begin(), ruled_.end(), [&](const Ruled& each) { return each.app == &app; })) {
      ruled_.push_back({&app, app.rules_version()});
    }
    LoopChannel& channel = channels_[free_.back()];
    channel.subscription = app.channels().attach(name, detail::LoopSink{door_, tag(channel)});
    if (!channel.subscription) return nullptr;
    channel.app = &app;
    const ChannelKind kind = ChannelName::kind(channel.subscription.channel());
    channel.has_members = ChannelName::has_members(kind);
    obey_rule(channel);
    channel.commands = channel.subscription.channel().starts_with(App::user_channel);
    channel.counts =
        app.options().subscription_count && !channel.has_members && !channel.subscription.channel().starts_with('#');
    try {
      by_name_.insert(channel.number);
    } catch (...) {
      channel.subscription.detach();
      ++channel.generation;
      throw;
    }
    free_.pop_back();
    return &channel;
  }

  void detach(LoopChannel& channel, bool wait = false) noexcept {
    by_name_.erase(channel.number);
    if (wait) {
      channel.subscription.reset();
    } else {
      channel.subscription.detach();
    }
    ++channel.generation;  // what is on its way here is owed to nobody
    channel.app = nullptr;
    channel.members.reset();
    channel.wishes = 0;
    if (channel.counts) count_times_.erase(channel.number);
    if (channel.recounted) std::erase(recount_, channel.number);
    channel.recounted = false;
    free_.push_back(channel.number);
  }

  /// \param counted   whether the subscription counts it already.
  void add_member(LoopChannel& channel, Connection& connection, bool counted) {
    make_room(channel);
    const std::size_t before = channel.members.size();
    try {
      channel.members.push_back(&connection);
      try {
        connection.memberships.add({channel.number, static_cast<std::uint32_t>(before)});
      } catch (...) {
        channel.members.pop_back();
        throw;
      }
    } catch (...) {
      if (counted) channel.subscription.add_members(-1);
      note_vacated(channel);
      throw;
    }
    if (!counted) channel.subscription.add_members(+1);
  }

  /// \pre the connection has no such membership any more, or is about to lose all.
  void remove_member(LoopChannel& channel, const detail::Membership& membership) noexcept {
    detail::OrderedPlace ordered;
    if (membership.ordered()) {
      ordered = std::move(ordered_[membership]);
      ordered_.remove(membership);
    } else {
      ordered.position = membership.place;
    }
    if (ordered.position != detail::OrderedPlace::pending) {
      channel.members.leave(ordered.position);
    } else if (!waiting_.empty() && waiting_.erase(ordered.from) != 0) {
      --channel.wishes;
    }
    if (const Member* const member = ordered.member.get()) {
      detail::Departure departure;
      departure.app = channel.app;
      departure.channel = channel.subscription.channel();
      departure.member = member;
      try {
        step(channel, departure, "pusher_internal:member_removed", pusher::data::member_removed(*member));
      } catch (const std::bad_alloc&) {
        step(channel, departure, "pusher_internal:member_removed", {});
      }
      // Without memory for the event nobody is told, but nobody counts as present for ever.
      if (!departure.done) {
        channel.app->channels().look_at_state(departure.channel, [&](ChannelState* state) {
          if (state != nullptr) static_cast<void>(departure.begin(state));
        });
      }
      channel.app->tell();
    }
    channel.subscription.add_members(-1);
    tell_count(channel);
    note_vacated(channel);
  }

  void note_vacated(LoopChannel& channel) noexcept {
    if (!channel.empty() || channel.listed) return;
    channel.listed = true;
    vacated_.push_back(channel.number);
  }

  /// A channel without events is not flushed, so nothing else takes its holes away.
  void make_room(LoopChannel& channel) noexcept {
    if (channel.members.size() == channel.members.capacity() && channel.members.holes() * 4 > channel.members.size()) {
      compact(channel);
    }
  }

  /// Keeps the order, in which the kernel's memory is walked best.
  void compact(LoopChannel& channel) noexcept {
    channel.members.compact([&](Connection& connection, std::uint32_t position) {
      detail::Membership& membership = *connection.memberships.find(channel.number);
      (membership.ordered() ? ordered_[membership].position : membership.place) = position;
    });
  }

  /// \returns how many bytes it added to a log.
  std::size_t take(std::uint64_t tag, const Message& message) noexcept {
    LoopChannel& channel = channels_[static_cast<std::uint32_t>(tag)];
    if (channel.generation != tag >> 32U) return 0;
    if (channel.commands) return terminate(channel);
    if (channel.counts && message.name() == "pusher_internal:subscription_count") {
      if (!channel.recounted) recount_.push_back(channel.number);
      channel.recounted = true;
      return 0;
    }
    const auto* const bytes = reinterpret_cast<const char*>(message.frame().data());
    const std::string_view frame{bytes, message.frame().size()};
    LogFrame about{};
    if (!message.except_socket().empty()) {
      if (const Connection* const excluded = port_.find(message.except_socket())) {
        about.except = excluded->number;
        excluded_ = true;
      }
    }
    about.protocol = is_protocols(message.name());
    // Where there are ids, events are marked whatever the rule says now: a later one may drop them, and what says so has
    // to stand in front of all that came behind them.
    const bool droppable = channel.overflow != SlowConsumer::close || channel.subscription.ordered();
    if (droppable && !about.protocol) about.channel = tag;
    return log(channel, frame, about);
  }

  [[nodiscard]] static bool is_protocols(std::string_view event) noexcept {
    return event.starts_with("pusher:") || event.starts_with("pusher_internal:");
  }

  std::size_t terminate(LoopChannel& channel) noexcept {
    for (Connection* const connection : channel.members) {
      if (connection == nullptr) continue;
      if constexpr (requires { port_.terminate(*connection); }) port_.terminate(*connection);
    }
    return 0;
  }

  /// \pre there is one.
  [[nodiscard]] const LogPtr& log_of(const LoopChannel& channel) const noexcept { return turn_logs_[channel.log - 1]; }

  std::size_t log(LoopChannel& channel, std::string_view frame, LogFrame about) noexcept {
    try {
      if (channel.log == 0) {
        turn_logs_.push_back(logs_.take());
        channel.log = static_cast<std::uint32_t>(turn_logs_.size());
        dirty_.push_back(channel.number);
      }
      about.sequence = ++sequence_;
      log_of(channel)->append(frame, about);
    } catch (const std::bad_alloc&) {
      // The subscribers of this channel cannot be sent what they are owed.
      for (Connection* const connection : channel.members) {
        if (connection != nullptr) fail(*connection);
      }
      return 0;
    }
    return frame.size();
  }

  /// Finds those who are not simply sent one whole log.
  void mark_specials() noexcept {
    for (const std::uint32_t number : dirty_) {
      for (Connection* const connection : channels_[number].members) {
        if (connection == nullptr) continue;
        connection->turn = connection->stamp == stamp_ ? Peer::Turn::special : Peer::Turn::plain;
        connection->stamp = stamp_;
      }
    }
    for (Connection* const connection : entered_) {
      connection->turn = Peer::Turn::special;
      connection->stamp = stamp_;
    }
    if (!excluded_) return;
    for (const std::uint32_t number : dirty_) {
      for (const LogFrame& frame : log_of(channels_[number])->frames()) {
        if (frame.except == LogFrame::nobody) continue;
        if (Connection* const connection = port_.at(frame.except)) {
          connection->turn = Peer::Turn::special;
          connection->stamp = stamp_;
        }
      }
    }
  }

  void flush(LoopChannel& channel, bool specials) noexcept {
    const LogPtr& log = log_of(channel);
    if (log->empty()) return;
    const std::string_view bytes = log->bytes();
    for (Connection* const connection : channel.members) {
      if (connection == nullptr || connection->deaf) continue;
      if (specials && connection->turn != Peer::Turn::plain) {
        if (connection->turn == Peer::Turn::special) send_composed(*connection);
        connection->turn = Peer::Turn::done;
        continue;
      }
      std::size_t sent = 0;
      if (connection->backlog == nullptr) {
        if (queue(*connection, channel.number, bytes, {})) continue;
        sent = write(*connection, bytes);
        if (sent == bytes.size() || connection->deaf) continue;
      }
      lag(*connection, channel, log, sent);
    }
  }

  FANFARE_NOINLINE void lag(Connection& connection, LoopChannel& channel, const LogPtr& log,
                            std::size_t sent) noexcept {
    try {
      if (connection.backlog == nullptr) {
        make_backlog(connection).append(log, sent);
      } else if (!lags_too_much(connection)) {
        connection.backlog->append(log, 0);
      } else {
        pieces_.clear();
        for (std::size_t i = 0; i < log->frames().size(); ++i) add_piece(channel, *log, i);
        if (squeeze(connection)) connection.backlog->append(log, 0);
      }
    } catch (const std::bad_alloc&) {
      fail(connection);
    }
  }

  /// Whether more waits for it than may, so that somebody has to decide.
  /// \pre it has a backlog.
  [[nodiscard]] bool lags_too_much(const Connection& connection) const noexcept {
    return connection.backlog->bytes() > limits_.outbox_bytes;
  }
  /// Beyond this not even what may not be dropped is added.
  [[nodiscard]] std::size_t most_of_protocol() const noexcept { return 2 * limits_.outbox_bytes; }

  // ---- slow connections

  /// What a turn has for a connection.
  struct Piece {
    std::uint64_t sequence;
    std::string_view frame;
    LoopChannel* channel;
    bool event;             // may be dropped
    bool protocol;          // may not, and has twice the room
    bool dropped = false;   // is not sent
    bool replaced = false;  // likewise, but a later one of its name is
  };

  void add_piece(LoopChannel& channel, const TurnLog& log, std::size_t i) {
    const LogFrame& frame = log.frames()[i];
    pieces_.push_back({frame.sequence, log.frame(i), &channel, frame.channel != LogFrame::no_channel, frame.protocol});
  }

  /// More waits for a connection than may: makes room for `pieces_`, or drops some of them, as their channels' rules say.
  /// \returns   whether all of them are to be added, which is left to the caller. Else what there is to do has been done.
  /// \throws    `std::bad_alloc`: what the connection is owed is not known then.
  [[nodiscard]] bool squeeze(Connection& connection) {
    Backlog& backlog = *connection.backlog;
    for (std::size_t i = 0; i < pieces_.size() && lags_too_much(connection); ++i) {
      LoopChannel& channel = *pieces_[i].channel;
      const bool closes = channel.overflow == SlowConsumer::close && !pieces_[i].protocol;
      if (closes || (!pieces_[i].event && backlog.bytes() > most_of_protocol())) {
        overflow(connection);
        return false;
      }
      const auto before = pieces_.begin() + static_cast<std::ptrdiff_t>(i);
      const bool first = std::none_of(pieces_.begin(), before,
                                      [&](const Piece& piece) { return piece.event && piece.channel == &channel; });
      if (pieces_[i].event && first) relieve(channel, backlog);
    }
    const auto lost = [](const Piece& piece) { return piece.dropped || piece.replaced; };
    if (std::none_of(pieces_.begin(), pieces_.end(), lost)) return true;
    put_pieces(backlog);
    return false;
  }

  /// What waits of a channel that it has left is not sent: it could not be told from what comes if it comes back. No
  /// gap stands in its place.
  void forget(const LoopChannel& channel, Connection& connection) noexcept {
    if (connection.backlog == nullptr || connection.deaf) return;
    try {
      connection.backlog->sift(tag(channel), [](const LogFrame* about, std::string_view, std::string&) {
        return about != nullptr ? Backlog::Fate::drop : Backlog::Fate::stop;
      });
    } catch (const std::bad_alloc&) {
      return fail(connection);
    }
    if (connection.backlog->empty()) connection.backlog.reset();
  }

  /// Lets one channel's rule decide. What it drops of what waits is gone behind that, what it drops of `pieces_` is marked.
  void relieve(const LoopChannel& channel, Backlog& backlog) {
    std::size_t room = 0;
    std::size_t count = 0;
    if (channel.overflow != SlowConsumer::drop_newest) {
      if (channel.overflow == SlowConsumer::conflate) count += conflate(channel, backlog);
      room = drop_oldest(channel, backlog, count);
    }
    // Where that was not enough, what the channel gave up is room for what is new: for the newest first.
    if (backlog.bytes() > limits_.outbox_bytes) {
      for (std::size_t i = pieces_.size(); i-- != 0;) {
        Piece& piece = pieces_[i];
        if (piece.channel != &channel || !piece.event || piece.replaced) continue;
        piece.dropped = piece.frame.size() > room;
        room = piece.dropped ? 0 : room - piece.frame.size();
        count += piece.dropped ? 1U : 0U;
      }
    }
    note_slow(channel.overflow, count);
  }

  /// Events of a channel that are dropped side by side.
  struct Hole {
    explicit Hole(const LoopChannel& channel_) noexcept : channel(&channel_) {}

    void add(std::string_view event) noexcept {
      if (const std::optional<EventId> id = FrameEncoder::id_in(event)) add({*id, *id});
    }
    void add_gap(std::string_view gap) noexcept {
      if (const std::optional<pusher::frames::Gap> more = pusher::frames::read_gap(gap)) add(*more);
    }
    /// The frame in their place; none where the channel shows no ids. Empties it.
    void take(std::string& to) {
      if (!range) return;
      websocket::append_frame(to, websocket::Opcode::text,
                              pusher::frames::gap(channel->subscription.channel(), range->from, range->to));
      range.reset();
    }
    /// What that takes at most.
    [[nodiscard]] std::size_t bytes() const noexcept {
      return range ? 160 + channel->subscription.channel().size() : 0;
    }

    const LoopChannel* channel;
    std::optional<pusher::frames::Gap> range{};

   private:
    void add(const pusher::frames::Gap& more) noexcept { range = {range ? range->from : more.from, more.to}; }
  };

  /// Drops a channel's oldest events until no more waits than may.
  /// \returns   how many bytes that has freed.
  std::size_t drop_oldest(const LoopChannel& channel, Backlog& backlog, std::size_t& count) {
    const std::size_t before = backlog.bytes();
    if (before <= limits_.outbox_bytes) return 0;
    std::size_t left = before;
    Hole hole(channel);
    backlog.sift(tag(channel), [&](const LogFrame* about, std::string_view frame, std::string& gap) {
      if (about != nullptr && about->gap) {
        hole.add_gap(frame);
      } else if (about == nullptr || left + hole.bytes() <= limits_.outbox_bytes) {
        hole.take(gap);
        return Backlog::Fate::stop;
      } else {
        hole.add(frame);
        ++count;
      }
      left -= frame.size();
      return Backlog::Fate::drop;
    });
    return before - std::min(before, backlog.bytes());
  }

  /// Of a channel's events, and of what is new of it, lets the latest of each name be. The others are no gap: what they
  /// said does not hold any more.
  /// \returns   how many they are.
  std::size_t conflate(const LoopChannel& channel, Backlog& backlog) {
    struct Hash {
      std::size_t operator()(std::string_view name) const noexcept { return SeededHash::hash(name, seed); }
      std::uint64_t seed;
    };
    boost::unordered_flat_map<std::string_view, std::size_t, Hash> latest{0, Hash{channel.app->options().seed}};
    std::vector<bool> stays;
    std::size_t replaced = 0;
    const auto see = [&](std::string_view frame) {
      const auto [known, is_new] = latest.try_emplace(FrameEncoder::name_in(frame), stays.size());
      if (!is_new) {
        stays[std::exchange(known->second, stays.size())] = false;
        ++replaced;
      }
      stays.push_back(true);
    };
    backlog.sift(tag(channel), [&](const LogFrame* about, std::string_view frame, std::string& /*gap*/) {
      if (about != nullptr && !about->gap) see(frame);
      return Backlog::Fate::keep;
    });
    std::size_t at = stays.size();
    const auto concerns = [&](const Piece& piece) { return piece.event && piece.channel == &channel; };
    for (const Piece& piece : pieces_) {
      if (concerns(piece)) see(piece.frame);
    }
    if (replaced == 0) return 0;
    for (Piece& piece : pieces_) {
      if (concerns(piece)) piece.replaced = !stays[at++];
    }
    at = 0;
    Hole hole(channel);  // between two gaps nothing may be left
    backlog.sift(tag(channel), [&](const LogFrame* about, std::string_view frame, std::string& gap) {
      if (about != nullptr && about->gap) {
        hole.add_gap(frame);
        return Backlog::Fate::drop;
      }
      if (about != nullptr && !stays[at++]) return Backlog::Fate::drop;
      hole.take(gap);
      return Backlog::Fate::keep;
    });
    return replaced;
  }

  /// Adds what is not dropped of `pieces_`, and what says what is.
  void put_pieces(Backlog& backlog) {
    std::string frames;
    std::vector<LogFrame> index;
    std::vector<Hole> holes;
    const auto hole_of = [&](const LoopChannel& channel) {
      return std::find_if(holes.begin(), holes.end(), [&](const Hole& hole) { return hole.channel == &channel; });
    };
    const auto close_hole = [&](Hole& hole) {
      const std::size_t before = frames.size();
      hole.take(frames);
      if (frames.size() == before) return;
      index.push_back({.end = frames.size(), .gap = true, .channel = tag(*hole.channel)});
    };
    for (const Piece& piece : pieces_) {
      if (piece.replaced) continue;
      auto hole = hole_of(*piece.channel);
      if (piece.dropped) {
        if (!FrameEncoder::id_in(piece.frame)) continue;
        if (hole == holes.end()) {
          hole = holes.insert(hole, Hole(*piece.channel));
          hole->add_gap(backlog.take_last_gap(tag(*piece.channel)));
        }
        hole->add(piece.frame);
        continue;
      }
      if (hole != holes.end()) close_hole(*hole);
      frames.append(piece.frame);
      index.push_back({.end = frames.size(), .channel = piece.event ? tag(*piece.channel) : LogFrame::no_channel});
    }
    for (Hole& hole : holes) close_hole(hole);
    backlog.append(frames, index);
  }

  void note_slow(SlowConsumer policy, std::size_t count) noexcept {
    slow_consumers_[static_cast<std::size_t>(policy)].fetch_add(count, std::memory_order_relaxed);
  }

  /// Sends what several channels have for a connection, and what it may see of them, in the order of the events.
  void send_composed(Connection& connection) noexcept {
    try {
      pieces_.clear();
      for (const detail::Membership& membership : connection.memberships.all()) {
        LoopChannel& channel = channels_[membership.channel];
        if (channel.log == 0) continue;
        std::uint64_t from = 0;
        if (membership.ordered()) {
          const detail::OrderedPlace& place = ordered_[membership];
          if (place.position == detail::OrderedPlace::pending) continue;
          from = place.from;
        }
        const LogPtr& log = log_of(channel);
        for (std::size_t i = 0; i < log->frames().size(); ++i) {
          const LogFrame& frame = log->frames()[i];
          if (frame.sequence > from && frame.except != connection.number) add_piece(channel, *log, i);
        }
      }
      std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.sequence < b.sequence; });
      if (connection.backlog != nullptr && lags_too_much(connection) && !squeeze(connection)) return;
      std::size_t size = 0;
      for (const Piece& piece : pieces_) size += piece.frame.size();
      if (outgoing_.empty()) {
        arena_.clear();
        index_.clear();
        arena_.reserve(arena_bytes);
        index_.reserve(arena_frames);
      }
      // What is in a batch must not move.
      if (arena_.capacity() - arena_.size() < size || index_.capacity() - index_.size() < pieces_.size()) submit();
      const std::size_t before = arena_.size();
      const std::size_t index_before = index_.size();
      index_.reserve(index_.size() + pieces_.size());
      for (const Piece& piece : pieces_) {
        arena_.append(piece.frame);
        index_.push_back(
            {.end = arena_.size() - before, .channel = piece.event ? tag(*piece.channel) : LogFrame::no_channel});
      }
      const std::string_view frames = std::string_view(arena_).substr(before);
      const std::span<const LogFrame> index = std::span<const LogFrame>(index_).subspan(index_before);
      if (connection.backlog != nullptr || frames.empty() || !queue(connection, composed, frames, index)) {
        put(connection, frames, index);
        if (!outgoing_.empty()) {
          arena_.resize(before);
          index_.resize(index_before);
        }
      }
    } catch (const std::bad_alloc&) {
      fail(connection);
    }
  }

  /// Puts a send into the batch. \returns false if it has to be written instead.
  [[nodiscard]] bool queue(Connection& connection, std::uint32_t channel, std::string_view bytes,
                           std::span<const LogFrame> index) noexcept {
    if constexpr (batches) {
      if (!batching_ || !port_.queue(connection, bytes, static_cast<std::uint32_t>(outgoing_.size()))) return false;
      outgoing_.push_back({&connection, bytes, index, channel});  // reserved
      if (outgoing_.size() == P::batch_capacity) submit();
      return true;
    } else {
      return false;
    }
  }

  /// What did not go out begins a backlog.
  void settle(const Outgoing& out, std::ptrdiff_t sent) noexcept {
    if (sent < 0) return fail(*out.connection);
    const auto taken = static_cast<std::size_t>(sent);
    if (taken == out.bytes.size()) return;
    if (out.channel != composed) {
      LoopChannel& channel = channels_[out.channel];
      return lag(*out.connection, channel, log_of(channel), taken);
    }
    try {
      make_backlog(*out.connection).append(out.bytes, out.index, taken);
    } catch (const std::bad_alloc&) {
      fail(*out.connection);
    }
  }

  /// Sends the batch.
  void submit() noexcept {
    if constexpr (batches) {
      if (outgoing_.empty()) return;
      port_.submit([this](std::uint32_t tag, std::ptrdiff_t sent) noexcept { settle(outgoing_[tag], sent); },
                   [this](std::uint32_t tag) noexcept {
                     const Outgoing& out = outgoing_[tag];
                     settle(out, port_.write(*out.connection, out.bytes));
                   });
      outgoing_.clear();
    }
    arena_.clear();
    index_.clear();
  }

  /// Writes frames, or adds them to what waits.
  /// \param index   where each of them ends, at least.
  template <class Index>
  void put(Connection& connection, std::string_view frames, std::span<const Index> index) noexcept {
    if (connection.deaf || frames.empty()) return;
    try {
      if (connection.backlog != nullptr) return connection.backlog->append(frames, index);
      const std::size_t sent = write(connection, frames);
      if (!connection.deaf && sent != frames.size()) make_backlog(connection).append(frames, index, sent);
    } catch (const std::bad_alloc&) {
      fail(connection);
    }
  }

  [[nodiscard]] std::size_t write(Connection& connection, std::string_view bytes) noexcept {
    const std::ptrdiff_t sent = port_.write(connection, bytes);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    fail(connection);
    return 0;
  }

  Backlog& make_backlog(Connection& connection) {
    connection.backlog = std::make_unique<Backlog>(logs_);
    return *connection.backlog;
  }

  void fail(Connection& connection) noexcept {
    if (std::exchange(connection.deaf, true)) return;
    port_.broken(connection);
  }
  void overflow(Connection& connection) noexcept {
    if (std::exchange(connection.deaf, true)) return;
    note_slow(SlowConsumer::close, 1);
    port_.overflowed(connection);
  }

  void drop_pending() noexcept {
    for (;;) {
      if (pending_ == nullptr) pending_ = door_.mailbox.take();
      if (pending_ == nullptr) return;
      MessageLink& link = *pending_;
      pending_ = link.next;
      if (link.message == nullptr) {
        delete static_cast<detail::Wish*>(&link);
        continue;
      }
      const MessagePtr message = MessagePtr::adopt(link.message);
      door_.mailbox.release(detail::mailbox_bytes(*message));
    }
  }

  static constexpr std::size_t arena_bytes = std::size_t{256} << 10U;
  static constexpr std::size_t arena_frames = 4096;
  static constexpr bool batches = requires(P& port, Connection& connection) {
    { port.begin_batch(std::size_t{}) } noexcept -> std::same_as<bool>;
    { port.queue(connection, std::string_view{}, std::uint32_t{}) } noexcept -> std::same_as<bool>;
    { P::batch_capacity } -> std::convertible_to<std::size_t>;
  };

  P& port_;
  Door& door_;
  const FanoutLimits limits_;
  LogPool logs_;
  LoopChannels channels_;
  boost::unordered_flat_set<std::uint32_t, NameHash, NameEqual> by_name_{0, NameHash{this}, NameEqual{this}};
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> dirty_;
  std::vector<LogPtr> turn_logs_;  // of those
  std::vector<std::uint32_t> vacated_;
  std::vector<Ruled> ruled_;
  std::vector<std::uint32_t> recount_;  // channels whose number of subscribers is to be sent
  boost::unordered_flat_map<std::uint32_t, CountTimes> count_times_;  // of channels that `counts`
  std::vector<std::unique_ptr<detail::Wish>> catching_up_;            // into channels with a long history
  Waiting waiting_;                                                   // for snapshots; by the numbers of their wishes
  std::shared_ptr<fanfare::detail::SnapshotDesk> desk_;               // null until the first of those
  std::vector<Connection*> entered_;                                  // in this turn, into channels that have an order
  detail::OrderedPlaces ordered_;
  std::uint64_t wishes_ = 0;
  MessageLink* pending_ = nullptr;
  std::uint64_t sequence_ = 0;
  std::uint32_t stamp_ = 0;
  bool excluded_ = false;
  bool batching_ = false;
  std::vector<Outgoing> outgoing_;  // the batch
  std::vector<Piece> pieces_;       // scratch
  std::string arena_;               // composed frames; does not grow while some of it is in the batch
  std::vector<LogFrame> index_;     // likewise
  // By policy. Numbers and nothing else: relaxed. The loop adds, others read.
  std::array<std::atomic<std::uint64_t>, 4> slow_consumers_{};
};

}  // namespace transport
FANFARE_NAMESPACE_END
