/// \file
/// What channels with an order remember.
#pragma once

#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/channel_rules.hpp>
#include <fanfare/core/channel_state.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/history.hpp>
#include <fanfare/core/kept_budget.hpp>
#include <fanfare/core/kept_log.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/retained.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/snapshot.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
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

/// The state of a channel that has an order: a presence channel, a cache channel, one with a rule that keeps events or
/// with a hook that computes snapshots, or one where an event was to be retained.
class ChannelMemory final : public ChannelState {
 public:
  /// Of the times that it is given.
  using Clock = std::chrono::steady_clock;

  /// Of a channel that no rule is for, yet.
  /// \param log    where it outlives the program what the channel keeps, see `KeptOptions::log`; may be null.
  /// \param hook   computes what newcomers are sent instead of what is kept; may be null.
  ChannelMemory(bool caches, Clock::duration cache_ttl, KeptLog* log = nullptr,
                std::shared_ptr<const SubscribeHook> hook = {}) noexcept
      : caches_(caches), cache_ttl_(cache_ttl), log_(log), hook_(std::move(hook)) {}

  /// Follows a rule from now on, instead of the one before: what it does not allow is forgotten.
  /// \param rules     the rules that hold now. What of them is for the channel stays as long as it is followed.
  /// \param last      the channel's last id: what is kept from now on begins behind it.
  /// \param retains   an event is about to be retained, even if there is no rule that keeps any. Events go on to be
  ///                  retained then where they are to be, until a rule has come and gone. They do not outlive the
  ///                  program.
  /// \param hook      the channel's, if it has one now; it comes to hold where nobody is.
  /// \throws          `std::bad_alloc`; nothing is changed then.
  void follow(std::string_view channel, const std::shared_ptr<KeptBudget>& budget, const KeptOptions& options,
              std::shared_ptr<const ChannelRules> rules, EventId last, bool retains,
              std::shared_ptr<const SubscribeHook> hook = {}) {
    const bool hooks_now = hook_ == nullptr && hook != nullptr && !occupied_;
    const ChannelRule* const rule = rules->find(channel);
    const bool has_history = rule != nullptr && rule->history.has_value();
    const bool ruled = keeps_events(rule);
    const bool asked = !ruled && (retains || asked_);
    std::unique_ptr<Logged> logged;
    if (ruled && log_ != nullptr && (kept_ == nullptr || kept_->logged == nullptr)) {
      logged = std::make_unique<Logged>(*log_);
    }
    if (kept_ == nullptr && (ruled || asked || hook_ != nullptr || hooks_now)) {
      kept_ = std::make_unique<Kept>(channel, budget, options, history_of(rule));
      kept_->history.begin(last);
      if (occupied_) kept_->account.occupy();
    } else if (kept_ != nullptr) {
      const Floors before = kept_->floors();
      if (hooks_now && !keeps_history()) kept_->history.clear();  // it has only counted so far
      if (hook_ == nullptr && keeps_history() != has_history) kept_->history.clear();
      const bool retained_by_rule = rule_ != nullptr && rule_->retain && !(rule != nullptr && rule->retain);
      if (retained_by_rule || (!ruled && !asked)) kept_->retained.clear();
      kept_->history.limit(history_of(rule), Clock::now());
      kept_->report();
      kept_->log_floors(before);
    }
    if (hooks_now) hook_ = std::move(hook);
    if (kept_ != nullptr) {
      if (logged != nullptr) logged->start = kept_->history.last().number;
      if (logged != nullptr || !ruled) kept_->logged = std::move(logged);
      if (!ruled && !asked && hook_ == nullptr) kept_.reset();
    }
    asked_ = asked;
    rules_ = std::move(rules);  // what the old rule was part of may end here
    rule_ = rule;
  }

  void begin(EventId last) noexcept override {
    if (kept_ != nullptr) kept_->history.begin(last);
  }
  void incomplete() noexcept override { complete_ = false; }
  void complete(EventId last) noexcept override {
    complete_ = true;
    if (kept_ == nullptr) return;
    kept_->history.pass(last);
    kept_->history.clear();  // it is empty, and begins here
  }
  /// With a log all channels have its numbers, as a rule may come at any time.
  [[nodiscard]] EventId first_place() noexcept override { return log_ == nullptr ? EventId{} : log_->place(); }
  [[nodiscard]] std::uint64_t next_number(const MessageParts& event, Retain retain, bool needed) noexcept override {
    if (kept_ == nullptr || kept_->logged == nullptr) return log_->number();
    Logged& logged = *kept_->logged;
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
  /// As `ChannelState` has it: into the history, among what is retained, or both.
  void restore(const MessagePtr& message, Clock::time_point time, bool history, bool retained) noexcept override {
    if (kept_ == nullptr || kept_->logged == nullptr) return;
    if (!message) return kept_->history.clear();  // there was no memory for it: it must not be a hole
    kept_->logged->fresh = false;
    kept_->logged->start = 0;
    if (history && keeps_history()) kept_->history.restore(message, time);
    if (retained) kept_->retained.store(message, time);
    if (caches_ && message->socket_id().empty()) {
      cached_ = message;
      cached_until_ = time + cache_ttl_;
    }
    const Floors before = kept_->floors();
    kept_->report();
    kept_->log_floors(before, message->id().number);
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
    occupied_ = occupied;
    if (kept_ == nullptr) return;
    occupied ? kept_->account.occupy() : kept_->account.vacate();
  }
  [[nodiscard]] bool shows_ids() const noexcept override { return kept_ != nullptr; }
  [[nodiscard]] bool retains() const noexcept override { return outlives(); }
  [[nodiscard]] bool can_keep() const noexcept override { return caches_ || outlives(); }
  /// What is remembered for the sake of a hook alone is of use to those who are there.
  [[nodiscard]] bool keeps() const noexcept override {
    if (cached_) return true;
    if (!outlives()) return false;
    return !kept_->retained.empty() || (keeps_history() && !kept_->history.empty());
  }
  /// As `ChannelState` has it, of all that a channel keeps.
  void expire(Clock::time_point now) noexcept override {
    if (now >= cached_until_) cached_ = {};
    if (kept_ == nullptr) return;
    const Floors before = kept_->floors();
    kept_->history.expire(now);
    kept_->retained.expire(now);
    kept_->report();
    kept_->log_floors(before);
  }

  /// Whether the channel keeps its last event, as `cache-` channels do.
  [[nodiscard]] bool caches() const noexcept { return caches_; }
  /// The last event, unless it is too old; null if there is none.
  [[nodiscard]] MessagePtr cached(Clock::time_point now) const noexcept {
    return now < cached_until_ ? cached_ : MessagePtr{};
  }
  /// Somebody came and found nothing. \returns whether it is the first since there was something.
  [[nodiscard]] bool note_miss() noexcept { return !std::exchange(missed_, true); }
  /// When the last event is too old.
  [[nodiscard]] Clock::time_point cached_until() const noexcept { return cached_until_; }

  /// The channel's rule; null if it has none.
  [[nodiscard]] const ChannelRule* rule() const noexcept { return rule_; }
  /// What can be said to somebody who has seen everything up to an id.
  [[nodiscard]] Reach reach(const EventId& seen) const noexcept override {
    if (kept_ == nullptr || !complete_) return Reach::another_epoch;
    const Reach reach = kept_->history.reach(seen);
    // Without a history the events between are not there, but for the latest of each name.
    return reach == Reach::whole && !remembers() && seen != kept_->history.last() ? Reach::gap : reach;
  }
  /// Whether there is a history that can be asked, rather than one that only counts.
  [[nodiscard]] bool keeps_history() const noexcept { return rule_ != nullptr && rule_->history.has_value(); }
  /// Null where the channel keeps no events.
  [[nodiscard]] const History* history() const noexcept { return kept_ == nullptr ? nullptr : &kept_->history; }
  /// Likewise.
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
    if (kept_ == nullptr) {  // the rule has gone, and with it what there was
      replay.reach = Reach::gap;
      replay.more = false;
      return;
    }
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

  /// Whether an event is among those that are given to somebody who has seen none, or who resumes.
  [[nodiscard]] bool replays(const Message& message, bool resumes = false) const noexcept {
    if (kept_ == nullptr) return false;
    if ((resumes ? remembers() : keeps_history()) && message.id() > kept_->history.floor()) return true;
    const Message* const latest = kept_->retained.find(message.name());
    return latest != nullptr && latest->id() == message.id();
  }

  /// Forgets all that outlives subscribers, if there are none: the budget wants room.
  /// \param most   what of it the log is to forget at most: while a store is read, behind that there is more to come.
  void evict(std::uint64_t most = ~std::uint64_t{0}) noexcept {
    if (kept_ == nullptr || !kept_->account.vacant()) return;
    const Floors before = kept_->floors();
    kept_->history.clear();
    kept_->retained.clear();
    kept_->report();
    kept_->log_floors(before, most);
  }

  Roster roster;
  std::size_t coming = 0;  ///< Clients that count as subscribers, or will, and have no place in the order yet.

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
    std::uint64_t start = 0;   // of the history, what is up to here was not logged
    std::uint64_t ticket = 0;  // of the last event
    std::size_t admitted = 0;  // bytes that the log has room for, plus 1; 0: for no event
    bool fresh = true;         // what the log may know of the channel is of no use any more
  };

  struct Kept {
    Kept(std::string_view channel, std::shared_ptr<KeptBudget> budget_, const KeptOptions& options,
         const HistoryRule& bounds)
        : history(bounds),
          retained(options.retained, options.seed),
          budget(std::move(budget_)),
          account(*budget, std::string(channel)) {}

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
      return {std::max(history.floor().number, logged->start), oldest ? oldest.number - 1 : history.last().number};
    }
    /// Tells the log what is forgotten, if it is more than before.
    void log_floors(const Floors& before, std::uint64_t most = ~std::uint64_t{0}) noexcept {
      if (logged == nullptr || floors() == before) return;
      KeptChange change;
      change.kind = KeptChange::Kind::forget;
      change.floor = std::min(floors().history, most);
      change.retained_floor = std::min(floors().retained, most);
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
    std::unique_ptr<Logged> logged;  // null where nothing outlives the program
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
        if (before.epoch != 0 && before < kept_->history.floor()) replay.reach = Reach::gap;
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
    if (kept_ == nullptr && replay.internal.epoch != 0) replay.reach = Reach::gap;  // its rule has gone meanwhile
    if (!caches_) return;
    const MessagePtr latest = cached(Clock::now());
    if (!latest || (before.epoch != 0 && !(latest->id() > before)) || replays(*latest, before.epoch != 0)) return;
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
    if (!outlives() || internal || !socket_id.empty() || retain == Retain::no) return false;
    return retain != Retain::by_rule || (rule_ != nullptr && rule_->retain);
  }

  [[nodiscard]] static bool keeps_events(const ChannelRule* rule) noexcept {
    return rule != nullptr && rule->keeps_events();
  }
  [[nodiscard]] static HistoryRule history_of(const ChannelRule* rule) noexcept {
    return rule == nullptr ? HistoryRule{} : rule->history.value_or(HistoryRule{});
  }
  /// Whether something is kept for its own sake, and not for that of a hook.
  [[nodiscard]] bool outlives() const noexcept { return keeps_events(rule_) || asked_; }
  /// Whether the last events are there, be it for a hook alone. \pre something is kept.
  [[nodiscard]] bool remembers() const noexcept { return keeps_history() || hook_ != nullptr; }

  void keep(const MessagePtr& message, bool internal, Retain retain, Clock::time_point now) noexcept {
    Kept& kept = *kept_;
    const std::size_t before = kept.bytes();
    if (remembers() && complete_) {
      kept.history.push(message, internal, now);
    } else {
      kept.history.pass(message->id());
      if (!complete_) kept.history.clear();  // it is empty, and what is retained is behind its floor
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
  bool occupied_ = false;
  bool complete_ = true;  // every event that goes out has a place
  bool asked_ = false;    // events are retained although no rule keeps any
  const Clock::duration cache_ttl_;
  MessagePtr cached_;
  Clock::time_point cached_until_{};
  KeptLog* const log_;
  std::shared_ptr<const ChannelRules> rules_;
  const ChannelRule* rule_ = nullptr;  // of those
  std::shared_ptr<const SubscribeHook> hook_;
  std::unique_ptr<Kept> kept_;  // null where nobody wants it
};

/// Makes the memories of an application's channels, and has the rules by which they are made.
///
/// Thread safety: all members from any thread, concurrently.
class ChannelMemories final : public ChannelStates {
 public:
  /// \param rules        valid ones.
  /// \param name_limit   bytes that a channel's name may have.
  /// \throws              `std::bad_alloc`.
  explicit ChannelMemories(const KeptOptions& options, ChannelRules rules = {},
                           std::size_t name_limit = Limits{}.channel_name)
      : options_(options),
        hooks_(name_limit),
        budget_(std::make_shared<KeptBudget>(options.bytes)),
        rules_(std::make_shared<const ChannelRules>(std::move(rules))),
        ruled_(!rules_->empty()),
        current_(new RuleList(rules_)) {}
  ChannelMemories(const ChannelMemories&) = delete;
  ChannelMemories& operator=(const ChannelMemories&) = delete;
  ~ChannelMemories() { delete current_.load(std::memory_order_relaxed); }

  [[nodiscard]] std::unique_ptr<ChannelState> make(std::string_view channel,
                                                   [[maybe_unused]] bool& failed) noexcept override {
#if FANFARE_EXCEPTIONS
    try {
#endif
      const bool caches = ChannelName::caches(ChannelName::kind(channel));
      auto memory = std::make_unique<ChannelMemory>(caches, options_.cache_ttl, options_.log, hooks_.find(channel));
      memory->follow(channel, budget_, options_, rules(), {}, false);
      return memory;
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {
      failed = true;
      return nullptr;
    }
#endif
  }
  [[nodiscard]] bool review(std::string_view channel, ChannelState& state, EventId last,
                            bool retains) noexcept override {
#if FANFARE_EXCEPTIONS
    try {
#endif
      static_cast<ChannelMemory&>(state).follow(channel, budget_, options_, rules(), last, retains,
                                                hooks_.find(channel));
      return true;
#if FANFARE_EXCEPTIONS
    } catch (const std::bad_alloc&) {
      return false;
    }
#endif
  }
  [[nodiscard]] bool orders(std::string_view channel) const noexcept override {
    return (ruled_.load(std::memory_order_relaxed) && orders(*rules(), channel)) || hooks_.find(channel) != nullptr;
  }
  [[nodiscard]] bool keeps(std::string_view channel) const noexcept override {
    if (ChannelName::caches(ChannelName::kind(channel))) return true;
    // (35) seq_cst; pairs with (36) as (2) does with (3): whoever does not see the new list is waited for.
    return orders(*current_.load(std::memory_order_seq_cst)->rules, channel);
  }

  /// The rules that hold.
  [[nodiscard]] std::shared_ptr<const ChannelRules> rules() const noexcept {
    const std::lock_guard lock(mutex_);
    return rules_;
  }
  /// How often other rules have come to hold. Who remembers what a rule said looks again where this has changed.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_.load(std::memory_order_relaxed); }
  /// Has other rules hold. `ChannelRegistry::review` lets the channels follow that exist, and ends what is returned.
  /// \param rules   valid ones. \throws `std::bad_alloc`; nothing is changed then.
  [[nodiscard]] detail::Garbage& replace(ChannelRules rules) {
    auto list = std::make_unique<RuleList>(std::make_shared<const ChannelRules>(std::move(rules)));
    const std::lock_guard lock(mutex_);
    rules_ = list->rules;
    ruled_.store(!rules_->empty(), std::memory_order_relaxed);
    version_.fetch_add(1, std::memory_order_relaxed);
    // (36) seq_cst; see (35). Also publishes the list.
    return *current_.exchange(list.release(), std::memory_order_seq_cst);
  }

  /// Of channels that are made from now on, and of those that `review` finds without subscribers.
  [[nodiscard]] SubscribeHooks& hooks() noexcept { return hooks_; }

  /// What becomes of slow subscribers of a channel.
  [[nodiscard]] SlowConsumer overflow(std::string_view channel) const noexcept {
    return ruled(channel, &ChannelRule::overflow);
  }

  /// How many subscribers a channel may have; 0: no bound.
  [[nodiscard]] std::size_t max_subscribers(std::string_view channel) const noexcept {
    return ruled(channel, &ChannelRule::max_subscribers);
  }

  /// What all its channels keep together.
  [[nodiscard]] KeptBudget& budget() noexcept { return *budget_; }
  /// The same for reading.
  [[nodiscard]] const KeptBudget& budget() const noexcept { return *budget_; }

 private:
  /// Rules as triggers find them, without a lock.
  struct RuleList final : detail::Garbage {
    explicit RuleList(std::shared_ptr<const ChannelRules> rules_) noexcept : rules(std::move(rules_)) {}
    detail::Block destroy() noexcept override {
      delete this;
      return {nullptr, 0, 1};
    }
    [[nodiscard]] std::size_t bytes() const noexcept override {
      return sizeof(RuleList) + rules->rules().size() * sizeof(ChannelRule);
    }
    const std::shared_ptr<const ChannelRules> rules;
  };

  /// What the rule of a channel says; where there is none, what one says that does not mention it.
  template <class T>
  [[nodiscard]] T ruled(std::string_view channel, T ChannelRule::*what) const noexcept {
    if (!ruled_.load(std::memory_order_relaxed)) return ChannelRule{}.*what;
    const auto rules = this->rules();
    const ChannelRule* const rule = rules->find(channel);
    return rule == nullptr ? ChannelRule{}.*what : rule->*what;
  }
  [[nodiscard]] static bool orders(const ChannelRules& rules, std::string_view channel) noexcept {
    const ChannelRule* const rule = rules.find(channel);
    return rule != nullptr && rule->keeps_events();
  }

  const KeptOptions options_;
  SubscribeHooks hooks_;
  const std::shared_ptr<KeptBudget> budget_;
  mutable std::mutex mutex_;                   // a leaf: locked under a stripe's lock and a channel's, for a pointer
  std::shared_ptr<const ChannelRules> rules_;  // under the mutex
  // Whether there are any: channels are made under the lock of a stripe that `review` takes afterwards, so a channel
  // whose maker does not see them yet is reviewed. Relaxed: `rules_` is behind the mutex.
  std::atomic<bool> ruled_;
  std::atomic<std::uint64_t> version_{0};  // relaxed: whoever sees it late looks again a little later
  std::atomic<RuleList*> current_;         // the list of them
};

FANFARE_NAMESPACE_END
