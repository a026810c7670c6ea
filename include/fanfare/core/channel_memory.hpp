/// \file
/// What channels with an order remember.
#pragma once

#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/channel_rules.hpp>
#include <fanfare/core/channel_state.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/history.hpp>
#include <fanfare/core/kept_budget.hpp>
#include <fanfare/core/kept_log.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/retained.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/snapshot.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// What an application's channels keep by default and together.
struct KeptOptions {
  std::chrono::steady_clock::duration cache_ttl = std::chrono::minutes(30);  ///< Of a cache channel's last event.
  RetainedRule retained{};                                                   ///< Bounds of what one channel retains.
  std::size_t bytes = std::size_t{64} << 20U;  ///< All channels together; see `KeptBudget`.
  std::uint64_t seed = 0;                      ///< Keys the hash of event names; see `RegistryOptions::seed`.
  KeptLog* log = nullptr;                      ///< Where it outlives the program; null: nowhere. Outlives the channels.
};

/// The state of a channel that has an order: a presence channel, a cache channel, or one with a rule that keeps events
/// or with a hook that computes snapshots.
class ChannelMemory final : public ChannelState {
 public:
  using Clock = std::chrono::steady_clock;

  /// Of a channel that no rule is for.
  ChannelMemory(bool caches, Clock::duration cache_ttl) noexcept
      : caches_(caches), cache_ttl_(cache_ttl), rule_(nullptr) {}
  /// \param rules   keeps the rule alive. \param rule    of this channel; may be null. \throws `std::bad_alloc`.
  /// \param hook    computes what newcomers are sent instead of what is kept; may be null.
  ChannelMemory(bool caches, std::string_view channel, std::shared_ptr<KeptBudget> budget, const KeptOptions& options,
                std::shared_ptr<const ChannelRules> rules, const ChannelRule* rule,
                std::shared_ptr<const SubscribeHook> hook = {})
      : caches_(caches), cache_ttl_(options.cache_ttl), rules_(std::move(rules)), rule_(rule), hook_(std::move(hook)) {
    if (!rule_keeps() && hook_ == nullptr) return;
    const HistoryRule bounds = keeps_history() ? *rule->history : HistoryRule{};
    kept_ = std::make_unique<Kept>(channel, std::move(budget), options, bounds, rule_keeps() ? options.log : nullptr);
  }

  void begin(EventId last) noexcept override {
    if (kept_ != nullptr) kept_->history.begin(last);
  }
  [[nodiscard]] EventId first_place() noexcept override {
    return kept_ == nullptr || kept_->logged == nullptr ? EventId{} : kept_->logged->log.place();
  }
  [[nodiscard]] std::uint64_t next_number(const MessageParts& event, Retain retain, bool needed) noexcept override {
    Logged& logged = *kept_->logged;  // which gave the first place
    const bool internal = is_internal(event.name);
    logged.admitted = 0;
    if ((keeps_history() && !internal) || changes_retained(internal, event.socket_id(), retain)) {
      const std::size_t bytes = event.size();
      if (const std::uint64_t number = logged.log.admit(bytes); number != 0) {
        logged.admitted = bytes + 1;
        return number;
      }
      if (!needed) return 0;
    }
    return logged.log.number();
  }
  [[nodiscard]] std::uint64_t ticket() const noexcept override {
    return kept_ == nullptr || kept_->logged == nullptr ? 0 : kept_->logged->ticket;
  }
  void restore(const MessagePtr& message, Clock::time_point time, bool history, bool retained) noexcept override {
    if (kept_ == nullptr || kept_->logged == nullptr) return;
    kept_->logged->fresh = false;
    if (history && keeps_history()) kept_->history.restore(message, time);
    if (retained) kept_->retained.store(message, time);
    const Floors before = kept_->floors();
    kept_->report();
    kept_->log_floors(before);
  }
  void on_event(const MessagePtr& message, Retain retain) noexcept override {
    if (!caches_ && kept_ == nullptr) return;
    const bool internal = is_internal(message->name());
    const auto now = Clock::now();
    if (kept_ != nullptr) keep(message, internal, retain, now);
    // Neither what clients say to each other nor what the protocol says about them is the channel's last event.
    if (!caches_ || internal || !message->socket_id().empty()) return;
    cached_ = message;
    missed_ = false;
    cached_until_ = now + cache_ttl_;
  }
  void on_occupied(bool occupied) noexcept override {
    if (kept_ == nullptr) return;
    occupied ? kept_->account.occupy() : kept_->account.vacate();
  }
  [[nodiscard]] bool shows_ids() const noexcept override { return kept_ != nullptr; }
  [[nodiscard]] bool can_keep() const noexcept override { return caches_ || rule_keeps(); }
  /// What is remembered for the sake of a hook alone is of use to those who are there.
  [[nodiscard]] bool keeps() const noexcept override {
    if (cached_) return true;
    if (!rule_keeps()) return false;
    return !kept_->retained.empty() || (keeps_history() && !kept_->history.empty());
  }
  void expire(Clock::time_point now) noexcept override {
    if (now >= cached_until_) cached_ = {};
    if (kept_ == nullptr) return;
    const Floors before = kept_->floors();
    kept_->history.expire(now);
    kept_->retained.expire(now);
    kept_->report();
    kept_->log_floors(before);
  }

  [[nodiscard]] bool caches() const noexcept { return caches_; }
  /// The last event, unless it is too old; null if there is none.
  [[nodiscard]] MessagePtr cached(Clock::time_point now) const noexcept {
    return now < cached_until_ ? cached_ : MessagePtr{};
  }
  /// Somebody came and found nothing. \returns whether it is the first since there was something.
  [[nodiscard]] bool note_miss() noexcept { return !std::exchange(missed_, true); }
  [[nodiscard]] Clock::time_point cached_until() const noexcept { return cached_until_; }

  /// The channel's rule; null if it has none.
  [[nodiscard]] const ChannelRule* rule() const noexcept { return rule_; }
  /// What can be said to somebody who has seen everything up to an id.
  [[nodiscard]] Reach reach(const EventId& seen) const noexcept override {
    if (kept_ == nullptr) return Reach::another_epoch;
    const Reach reach = kept_->history.reach(seen);
    // Without a history the events between are not there, but for the latest of each name.
    return reach == Reach::whole && !remembers() && seen != kept_->history.last() ? Reach::gap : reach;
  }
  /// Whether there is a history that can be asked, rather than one that only counts.
  [[nodiscard]] bool keeps_history() const noexcept { return rule_ != nullptr && rule_->history.has_value(); }
  /// Null where the channel keeps no events.
  [[nodiscard]] const History* history() const noexcept { return kept_ == nullptr ? nullptr : &kept_->history; }
  [[nodiscard]] const Retained* retained() const noexcept { return kept_ == nullptr ? nullptr : &kept_->retained; }

  /// What somebody is sent who comes: what the history holds, then what is retained that it does not hold; a first piece.
  /// \param since       the last event that he has seen, if he says so; anything. Who asks for what is not there any more
  ///                    gets everything, as if he had asked for nothing: see `Replay::reach`.
  /// \param max_bytes   of frames in a piece, but for one event that is larger, and for what is retained.
  /// \throws            `std::bad_alloc`. \complexity O(log kept + what is in the piece).
  [[nodiscard]] Replay replay(const std::optional<EventId>& since, std::size_t max_bytes) const {
    Replay replay;
    if (since) replay.reach = reach(*since);
    if (kept_ == nullptr) return replay;
    if (since && replay.reach == Reach::whole) {
      replay.next = *since;
    } else {
      replay.next = keeps_history() ? kept_->history.floor() : kept_->history.last();
      replay.retained = replay.next;
    }
    replay.internal = kept_->history.last();
    go_on(replay, max_bytes);
    return replay;
  }

  /// What computes the state for those who come; null where what is kept is replayed.
  [[nodiscard]] const std::shared_ptr<const SubscribeHook>& hook() const noexcept { return hook_; }
  /// What somebody is sent behind a snapshot: nothing yet, and then the events that the snapshot does not contain.
  /// \param position   where he came. \param as_of   what the snapshot contains; see `Snapshot::as_of`.
  /// \pre             there is a hook.
  [[nodiscard]] Replay replay_behind(EventId position, EventId as_of) const noexcept {
    Replay replay;
    replay.internal = kept_->history.last();
    // It is the host's, but it may be of another life of the channel, in which case it contains none of this one's
    // events.
    const bool known = as_of && as_of <= replay.internal;
    replay.next = known ? as_of : position;
    replay.more = true;
    return replay;
  }

  /// The next piece, in the place of the one before.
  void go_on(Replay& replay, std::size_t max_bytes) const {
    replay.events.clear();
    read_history(replay, max_bytes);
    if (replay.more || !replay.retained) return;
    kept_->retained.for_each_up_to(replay.retained,
                                   [&](const MessagePtr& message) { replay.events.push_back(message); });
  }

  /// For a subscriber of this program: all in the order of ids, so that the last one is where it stands. It is told of
  /// no members, so it gets the protocol's own events too, as it does live.
  [[nodiscard]] bool take(Replay& replay, std::size_t max_bytes) const noexcept override {
#if FANFARE_EXCEPTIONS
    try {
#endif
      take_piece(replay, max_bytes);
      return true;
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {
      return false;
    }
#endif
  }

  /// Whether an event is among those that `replay` gives to somebody who has seen none.
  [[nodiscard]] bool replays(const Message& message) const noexcept {
    if (kept_ == nullptr) return false;
    if (keeps_history() && message.id() > kept_->history.floor()) return true;
    const Message* const latest = kept_->retained.find(message.name());
    return latest != nullptr && latest->id() == message.id();
  }

  /// Forgets all that outlives subscribers, if there are none: the budget wants room.
  void evict() noexcept {
    if (kept_ == nullptr || !kept_->account.vacant()) return;
    const Floors before = kept_->floors();
    kept_->history.clear();
    kept_->retained.clear();
    kept_->report();
    kept_->log_floors(before);
  }

  Roster roster;

 private:
  /// Up to where all is gone.
  struct Floors {
    std::uint64_t history = 0;
    std::uint64_t retained = 0;
    friend bool operator==(const Floors&, const Floors&) = default;
  };

  /// What has to be known of a channel that is logged.
  struct Logged {
    explicit Logged(KeptLog& log_) noexcept : log(log_) {}

    KeptLog& log;
    std::uint64_t floor = 0;   // of the history, as the log knows it
    std::uint64_t ticket = 0;  // of the last event
    std::size_t admitted = 0;  // bytes that the log has room for, plus 1; 0: for no event
    bool fresh = true;         // what the log may know of the channel is of no use any more
  };

  struct Kept {
    Kept(std::string_view channel, std::shared_ptr<KeptBudget> budget_, const KeptOptions& options,
         const HistoryRule& bounds, KeptLog* log)
        : history(bounds),
          retained(options.retained, options.seed),
          budget(std::move(budget_)),
          account(*budget, std::string(channel)),
          logged(log == nullptr ? nullptr : std::make_unique<Logged>(*log)) {}

    [[nodiscard]] std::size_t bytes() const noexcept { return history.bytes() + retained.bytes(); }
    void report() noexcept {
      std::size_t back = account.report(bytes());
      if (back == 0) return;
      const std::size_t of_history = std::min(back, history.bytes());
      history.shrink_to(history.bytes() - of_history);
      back -= of_history;
      retained.shrink_to(retained.bytes() - std::min(back, retained.bytes()));
      static_cast<void>(account.report(bytes()));
    }

    /// What a log has to know of. Where nothing is retained, nothing ever retained is of use.
    [[nodiscard]] Floors floors() const noexcept {
      if (logged == nullptr) return {};
      const EventId oldest = retained.first();
      return {history.floor().number, oldest ? oldest.number - 1 : history.last().number};
    }
    /// Tells the log what is forgotten, if it is more than before.
    void log_floors(const Floors& before) noexcept {
      if (logged == nullptr || floors() == before) return;
      KeptChange change;
      change.kind = KeptChange::Kind::forget;
      change.floor = floors().history;
      change.retained_floor = floors().retained;
#if FANFARE_EXCEPTIONS
      try {
#endif
        change.channel = account.channel();
#if FANFARE_EXCEPTIONS
      } catch (const std::bad_alloc&) {
        return;  // as if there were no room in the log
      }
#endif
      logged->log.put_forget(std::move(change));
    }

    History history;
    Retained retained;
    std::shared_ptr<KeptBudget> budget;  // a channel may outlive its application
    KeptAccount account;
    const std::unique_ptr<Logged> logged;  // null where nothing outlives the program
  };

  /// What the history has behind `next`.
  void read_history(Replay& replay, std::size_t max_bytes) const {
    const History& history = kept_->history;
    if (const EventId floor = history.floor(); replay.next < floor) {
      // Some have been forgotten before they could be sent. Of those, what is retained is there yet.
      replay.reach = Reach::gap;
      kept_->retained.for_each_up_to(floor, [&](const MessagePtr& message) {
        if (message->id() > replay.next) replay.events.push_back(message);
      });
    }
    const HistoryRead read = history.read(replay.next, max_bytes, [&](const HistoryEntry& entry) {
      if (!entry.internal || entry.id > replay.internal) replay.events.push_back(entry.message);
    });
    replay.next = read.next;
    replay.more = !read.at_end;
  }

  void take_piece(Replay& replay, std::size_t max_bytes) const {
    replay.events.clear();
    replay.more = false;
    const EventId before = replay.next;  // epoch 0: it is the first piece for somebody who has seen nothing
    const auto add_newer = [&](const MessagePtr& message) {
      if (before.epoch == 0 || message->id() > before) replay.events.push_back(message);
    };
    if (kept_ != nullptr) {
      const EventId last = kept_->history.last();
      replay.internal = {last.epoch, 0};  // as they come live
      if (before.epoch == 0 ? !keeps_history() : !remembers()) {
        kept_->retained.for_each(add_newer);
        replay.next = last;
      } else {
        if (before.epoch == 0) {
          replay.next = kept_->history.floor();
          kept_->retained.for_each_up_to(replay.next, add_newer);
        }
        read_history(replay, max_bytes);
      }
    }
    if (!caches_) return;
    const MessagePtr latest = cached(Clock::now());
    if (!latest || (before.epoch != 0 && !(latest->id() > before)) || replays(*latest)) return;
    // It is not in the history, so it is from before what comes of that.
    const auto place = std::ranges::upper_bound(replay.events, latest->id().number, {},
                                                [](const MessagePtr& message) { return message->id().number; });
    replay.events.insert(place, latest);
    if (kept_ == nullptr) replay.next = latest->id();
  }

  [[nodiscard]] static bool is_internal(std::string_view event) noexcept {
    return event.starts_with("pusher_internal:");
  }
  /// Clients are not who says what a channel's state is.
  [[nodiscard]] bool changes_retained(bool internal, std::string_view socket_id, Retain retain) const noexcept {
    if (!rule_keeps() || internal || !socket_id.empty() || retain == Retain::no) return false;
    return retain != Retain::by_rule || rule_->retain;
  }

  /// Whether the rule says that something is kept.
  [[nodiscard]] bool rule_keeps() const noexcept { return rule_ != nullptr && (rule_->retain || rule_->history); }
  /// Whether the last events are there, be it for a hook alone. \pre something is kept.
  [[nodiscard]] bool remembers() const noexcept { return keeps_history() || hook_ != nullptr; }

  void keep(const MessagePtr& message, bool internal, Retain retain, Clock::time_point now) noexcept {
    Kept& kept = *kept_;
    const std::size_t before = kept.bytes();
    if (remembers()) {
      kept.history.push(message, internal, now);
    } else {
      kept.history.pass(message->id());
    }
    const bool retains = changes_retained(internal, message->socket_id(), retain);
    std::size_t names = kept.retained.size();
    if (retains) {
      if (kept.logged != nullptr && kept.retained.find(message->name()) != nullptr) --names;
      if (retain == Retain::clear) {
        kept.retained.clear(message->name());
      } else {
        kept.retained.store(message, now);
      }
    }
    if (kept.bytes() != before) kept.report();
    if (kept.logged != nullptr) log_event(message, retains, names);
  }

  /// \param names   how many other names were retained before.
  void log_event(const MessagePtr& message, bool retains, std::size_t names) noexcept {
    const Kept& kept = *kept_;
    Logged& logged = *kept.logged;
    logged.ticket = 0;
    const std::size_t admitted = std::exchange(logged.admitted, 0);
    if (admitted == 0) return;
    const Message* const latest = retains ? kept.retained.find(message->name()) : nullptr;
    const Floors floors = kept.floors();
    KeptChange change;
    change.time = KeptChange::Clock::now();
    change.history = keeps_history() && !kept.history.empty() && message->id() > kept.history.floor();
    change.retained = latest != nullptr && latest->id() == message->id();
    change.clears = retains && !change.retained;
    // Most events move neither: then there is nothing to look for in the log.
    if (std::exchange(logged.floor, floors.history) != floors.history) change.floor = floors.history;
    const bool fewer = kept.retained.size() != names + (change.retained ? 1 : 0);
    if (std::exchange(logged.fresh, false) || fewer) change.retained_floor = floors.retained;
    change.message = message;
    logged.ticket = logged.log.put(std::move(change), admitted - 1);
  }

  const bool caches_;
  bool missed_ = false;
  const Clock::duration cache_ttl_;
  MessagePtr cached_;
  Clock::time_point cached_until_{};
  std::shared_ptr<const ChannelRules> rules_;
  const ChannelRule* rule_;
  const std::shared_ptr<const SubscribeHook> hook_{};
  std::unique_ptr<Kept> kept_;  // null where neither a rule nor a hook wants it
};

/// Makes the memories of an application's channels, and has the rules by which they are made.
///
/// Thread safety: all members from any thread, concurrently.
class ChannelMemories final : public ChannelStates {
 public:
  /// \param rules        valid ones.
  /// \param name_limit   bytes that a channel's name may have.
  explicit ChannelMemories(const KeptOptions& options, ChannelRules rules = {},
                           std::size_t name_limit = Limits{}.channel_name)
      : options_(options),
        hooks_(name_limit),
        budget_(std::make_shared<KeptBudget>(options.bytes)),
        rules_(std::make_shared<const ChannelRules>(std::move(rules))) {}

  [[nodiscard]] std::unique_ptr<ChannelState> make(std::string_view channel,
                                                   [[maybe_unused]] bool& failed) noexcept override {
    const ChannelKind kind = ChannelName::kind(channel);
    const ChannelRule* const rule = rules_->find(channel);
    std::shared_ptr<const SubscribeHook> hook = hooks_.find(channel);
    if (!ChannelName::ordered(kind) && !orders(rule) && hook == nullptr) return nullptr;
#if FANFARE_EXCEPTIONS
    try {
#endif
      return std::make_unique<ChannelMemory>(ChannelName::caches(kind), channel, budget_, options_, rules_, rule,
                                             std::move(hook));
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {
      failed = true;
      return nullptr;
    }
#endif
  }
  [[nodiscard]] bool orders(std::string_view channel) const noexcept override {
    return orders(rules_->find(channel)) || hooks_.find(channel) != nullptr;
  }
  [[nodiscard]] bool keeps(std::string_view channel) const noexcept override {
    return ChannelName::caches(ChannelName::kind(channel)) || orders(rules_->find(channel));
  }

  /// Of channels that are made from now on.
  [[nodiscard]] SubscribeHooks& hooks() noexcept { return hooks_; }

  /// What becomes of slow subscribers of a channel.
  [[nodiscard]] SlowConsumer overflow(std::string_view channel) const noexcept {
    const ChannelRule* const rule = rules_->find(channel);
    return rule == nullptr ? SlowConsumer::close : rule->overflow;
  }

  /// How many subscribers a channel may have; 0: no bound.
  [[nodiscard]] std::size_t max_subscribers(std::string_view channel) const noexcept {
    const ChannelRule* const rule = rules_->find(channel);
    return rule == nullptr ? 0 : rule->max_subscribers;
  }

  [[nodiscard]] KeptBudget& budget() noexcept { return *budget_; }
  [[nodiscard]] const KeptBudget& budget() const noexcept { return *budget_; }

 private:
  [[nodiscard]] static bool orders(const ChannelRule* rule) noexcept {
    return rule != nullptr && (rule->retain || rule->history);
  }

  const KeptOptions options_;
  SubscribeHooks hooks_;
  const std::shared_ptr<KeptBudget> budget_;
  const std::shared_ptr<const ChannelRules> rules_;
};

FANFARE_NAMESPACE_END
