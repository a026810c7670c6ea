/// \file
/// How a connection enters a channel that has an order, and leaves it.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/channel_memory.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/snapshot.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/transport/door.hpp>

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
namespace transport {

/// What came of a wish to join.
enum class JoinResult : std::uint8_t {
  joined,
  already_joined,
  over_limit,            ///< the connection holds as many channels as it may
  refused,               ///< by the registry: too many channels, or no memory
  pending,               ///< it will be told by `Port::entered`, at its place in the channel's order
  too_many_members,      ///< the presence channel has all users that it may have
  too_many_subscribers,  ///< the channel has all subscribers that its rule allows
};

/// What somebody finds who enters a channel that has an order.
struct Entrance {
  std::string_view channel;
  bool has_members = false;
  std::vector<MemberPtr> members{};  ///< Who is there, itself included; on presence channels.
  bool caches = false;
  MessagePtr cached{};             ///< The last event; null if there is none.
  std::optional<EventId> since{};  ///< The last event that it has seen, if it said so.
  bool shows_ids = false;          ///< Whether it is told the ids of events.
  bool resumed = false;            ///< Whether it misses nothing behind `since`.
  bool again = false;              ///< It has been welcomed already, and this is what comes next.
  Replay replay{};  ///< What the channel has kept for it. Where there is more, it is not among the members yet.
};

namespace detail {

/// A wish to enter a channel that has an order, on its way through the mailbox to its place there.
struct Wish final : MessageLink, OrderedStep {
  // Set by who wishes:
  Door* door = nullptr;
  App* app = nullptr;
  std::uint32_t connection = 0;
  std::uint32_t generation = 0;
  std::uint64_t number = 0;
  MemberPtr member;
  Entrance entrance;
  bool coming = false;  // it is noted as such, see `App::note_coming`, until it has its place
  static constexpr std::size_t replay_bytes = std::size_t{64} << 10U;  // in a piece
  // What came of it, under the channel's lock:
  JoinResult result = JoinResult::refused;
  bool sent = false;
  bool hooked = false;  // the channel has a hook, so nobody stays in it who has missed something
  // Where it waits for a snapshot:
  std::shared_ptr<const SubscribeHook> hook;  // null: it does not
  EventId position;
  fanfare::detail::SnapshotTicket ticket;
  std::chrono::milliseconds asked{0};
  bool settled = false;  // it has been told that it is in the channel
  std::vector<MessagePtr> snapshot;
  EventId as_of;          // of the snapshot
  std::size_t given = 0;  // of its events

  [[nodiscard]] bool begin(ChannelState* state) noexcept override {
    auto* const memory = static_cast<ChannelMemory*>(state);
    memory_ = memory;
    try {
      result = JoinResult::pending;
      if (memory == nullptr) return false;
      bool first = false;
      if (member != nullptr) {
        const Roster::Entry entry = memory->roster.enter(member, app->options().max_presence_members);
        if (entry == Roster::Entry::full) {
          result = JoinResult::too_many_members;
          return false;
        }
        counted = true;
        first = entry == Roster::Entry::first;
      }
      entrance.shows_ids = memory->shows_ids();
      hooked = memory->hook() != nullptr;
      if (hooked && !(entrance.since && memory->reach(*entrance.since) == Reach::whole)) {
        hook = memory->hook();
        position = memory->history()->last();
        entrance.replay.more = true;  // who is present, and what has come, it finds when the snapshot is there
      } else {
        if (member != nullptr) entrance.members = memory->roster.members();
        entrance.replay = memory->replay(entrance.since, replay_bytes);
        entrance.resumed = entrance.since && entrance.replay.reach == Reach::whole;
        entrance.replay.reach = Reach::whole;          // from here on: whether something goes before it could be sent
        if (first) ++entrance.replay.internal.number;  // it is not told of itself
      }
      AppEvent miss{.kind = AppEvent::Kind::cache_miss};
      AppEvent added{.kind = AppEvent::Kind::member_added};
      if (memory->caches()) miss.channel = entrance.channel;
      if (first) {
        added.channel = entrance.channel;
        added.user_id = member->user_id;
      }
      // Nothing fails from here on, so what is told has happened.
      if (first) app->note(std::move(added));
      take_cached(*memory, std::move(miss));
      return first;
    } catch (const std::bad_alloc&) {
      if (counted) memory->roster.leave(member->user_id);
      result = JoinResult::refused;
      return false;
    }
  }
  /// The snapshot is there, or will not come: what follows it is what it does not contain. \throws `std::bad_alloc`.
  void settle(const ChannelMemory& memory) {
    if (member != nullptr) entrance.members = memory.roster.members();
    entrance.replay = memory.replay_behind(position, as_of);
    settled = true;
  }
  /// The next piece of the snapshot. \throws `std::bad_alloc`.
  void take_snapshot() {
    entrance.replay.events.clear();
    for (std::size_t bytes = 0; given < snapshot.size(); ++given) {
      bytes += snapshot[given]->frame().size();
      if (bytes > replay_bytes && !entrance.replay.events.empty()) return;
      entrance.replay.events.push_back(std::move(snapshot[given]));
    }
    snapshot.clear();
    given = 0;
  }
  /// The next piece of what it has missed. \throws `std::bad_alloc`; it cannot be gone on with then.
  void go_on(ChannelMemory& memory) {
    AppEvent miss{.kind = AppEvent::Kind::cache_miss};
    if (memory.caches()) miss.channel = entrance.channel;
    memory.go_on(entrance.replay, replay_bytes);
    entrance.again = true;
    take_cached(memory, std::move(miss));
  }
  void end() noexcept override {
    if (result != JoinResult::pending) return;
    sent = true;
    if (std::exchange(coming, false)) --memory_->coming;
    if (door->mailbox.push(*this, 0)) door->wake();
  }

 private:
  /// An event goes out once: not again as the cached one.
  void take_cached(ChannelMemory& memory, AppEvent miss) noexcept {
    entrance.caches = memory.caches() && hook == nullptr;
    if (!entrance.caches || entrance.replay.more) return;
    MessagePtr cached = memory.cached(ChannelMemory::Clock::now());
    if (!cached) {
      if (memory.note_miss()) app->note(std::move(miss));
      return;
    }
    const bool seen = entrance.resumed && !(cached->id() > *entrance.since);
    if (seen || memory.replays(*cached, entrance.resumed)) {
      entrance.caches = false;
    } else {
      entrance.cached = std::move(cached);
    }
  }

  ChannelMemory* memory_ = nullptr;  // from its beginning to its end
  bool counted = false;
};

/// What a connection has missed of a channel that it is on its way into, piece by piece. With the last one it enters, where
/// it is then.
struct CatchUp final : OrderedStep {
  explicit CatchUp(Wish& wish) noexcept : wish_(wish) {}

  [[nodiscard]] bool begin(ChannelState* state) noexcept override {
    try {
      wish_.go_on(*static_cast<ChannelMemory*>(state));
      done = true;
    } catch (const std::bad_alloc&) {
    }
    return false;
  }
  void end() noexcept override {
    if (done && !wish_.entrance.replay.more) wish_.end();
  }

  bool done = false;

 private:
  Wish& wish_;
};

/// Who has waited for a snapshot finds who is present now, and from where on it is sent what came.
struct Settlement final : OrderedStep {
  explicit Settlement(Wish& wish) noexcept : wish_(wish) {}

  [[nodiscard]] bool begin(ChannelState* state) noexcept override {
    try {
      wish_.settle(*static_cast<const ChannelMemory*>(state));
      done = true;
    } catch (const std::bad_alloc&) {
    }
    return false;
  }
  void end() noexcept override {}

  bool done = false;

 private:
  Wish& wish_;
};

/// A member's connection leaves.
struct Departure final : OrderedStep {
  App* app = nullptr;
  std::string_view channel;
  const Member* member = nullptr;
  bool done = false;

  [[nodiscard]] bool begin(ChannelState* state) noexcept override {
    done = true;
    if (!static_cast<ChannelMemory*>(state)->roster.leave(member->user_id)) return false;
    try {
      app->note({.kind = AppEvent::Kind::member_removed, .channel = std::string(channel), .user_id = member->user_id});
    } catch (const std::bad_alloc&) {  // as if there were no room for it
    }
    return true;
  }
  void end() noexcept override {}
};

/// An event of the protocol in a channel that has an order.
struct Notice final : OrderedStep {
  [[nodiscard]] bool begin(ChannelState* /*state*/) noexcept override { return true; }
  void end() noexcept override {}
};

}  // namespace detail

}  // namespace transport
FANFARE_NAMESPACE_END
