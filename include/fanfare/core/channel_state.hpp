/// \file
/// What an ordered channel keeps beside its subscribers, such as the last event or the list of those who are present.
#pragma once

#include <fanfare/core/event_position.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/detail/config.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// What there is for somebody who comes to a channel, in pieces. Each piece is taken under the channel's lock; what is
/// taken of all of them together is each event once, in an order that ends where live events begin.
struct Replay {
  std::vector<MessagePtr> events{};  ///< The piece, in the order in which it is to be sent.
  Reach reach = Reach::whole;        ///< Whether everything was there that was asked for.
  bool more = false;                 ///< Whether there is another piece.
  EventId next{};                    ///< All up to here has been in a piece, or is gone.
  EventId retained{};                ///< What is retained up to here comes behind the history.
  EventId internal{};                ///< Behind here the protocol's own events are in the pieces too.
};

/// The state of one ordered channel. All of it is used under the channel's lock alone: it must not wait, run a user's
/// code, or call the registry.
class ChannelState {
 public:
  ChannelState() = default;
  ChannelState(const ChannelState&) = delete;
  ChannelState& operator=(const ChannelState&) = delete;
  virtual ~ChannelState() = default;

  /// The place that the channel begins with: the epoch, and no number yet.
  virtual void begin(EventId /*last*/) noexcept {}

  /// The place that the channel begins with, where the state gives events their numbers. Empty: the channel counts them.
  [[nodiscard]] virtual EventId first_place() noexcept { return {}; }
  /// Where it gives them: the number of the next event, above all before. `on_event` follows.
  /// \param needed   whether the event goes out in any case.
  /// \returns        0 where it cannot be kept as it is to be; never if it is `needed`.
  [[nodiscard]] virtual std::uint64_t next_number(const MessageParts& /*event*/, Retain /*retain*/,
                                                  bool /*needed*/) noexcept {
    return 0;
  }
  /// The ticket of what `on_event` has just kept, see `KeptLog::put`; 0: there is none.
  [[nodiscard]] virtual std::uint64_t ticket() const noexcept { return 0; }

  /// An event of an earlier life of the program comes back, with an id below that which the channel began with. Those of
  /// one channel come in their order.
  /// \param time       when it got its place.
  /// \param history    whether it was one of the last events.
  /// \param retained   whether it was the latest of its name.
  virtual void restore(const MessagePtr& /*message*/, std::chrono::steady_clock::time_point /*time*/, bool /*history*/,
                       bool /*retained*/) noexcept {}

  /// The channel has got its order while it was in use: triggers that began before may be under way yet, and what they
  /// send has no place in the order. Until `complete`, nobody can be told that he has missed nothing.
  virtual void incomplete() noexcept {}
  /// From here on all events have a place behind `last`, which is no event's.
  virtual void complete(EventId /*last*/) noexcept {}

  /// An event has got its place in the order; it is in no queue yet.
  /// \param message   encoded if the registry has an encoder.
  /// \param retain    what the trigger says of keeping it.
  virtual void on_event(const MessagePtr& message, Retain retain) noexcept = 0;

  /// The first subscriber has come, or the last one has gone.
  virtual void on_occupied(bool /*occupied*/) noexcept {}

  /// Whether subscribers see the ids of events. May change where `ChannelStates::review` is called, and nowhere else.
  [[nodiscard]] virtual bool shows_ids() const noexcept { return false; }

  /// Whether events are retained that ask for it. May change likewise.
  [[nodiscard]] virtual bool retains() const noexcept { return false; }

  /// Whether there is something that is to survive the last subscriber.
  [[nodiscard]] virtual bool keeps() const noexcept = 0;

  /// Whether `keeps` can be true. May change likewise.
  [[nodiscard]] virtual bool can_keep() const noexcept { return true; }

  /// What can be said to somebody who has seen everything up to an id.
  /// \pre an id that the channel has given, or the place before the first.
  [[nodiscard]] virtual Reach reach(const EventId& /*seen*/) const noexcept { return Reach::gap; }

  /// The next piece of what there is for a subscriber of this program, in the order of ids. Between two pieces others
  /// may trigger: who gets an empty one, with no `more`, has all there is.
  /// \param replay      at first with the last event that it has seen in `next`, or nothing there; then as the piece
  ///                    before has left it.
  /// \param max_bytes   of frames in a piece, but for one event that is larger, and for what is retained.
  /// \returns           false where there is no memory.
  [[nodiscard]] virtual bool take(Replay& replay, std::size_t /*max_bytes*/) const noexcept {
    replay.events.clear();
    return true;
  }

  /// Forgets what is too old.
  virtual void expire(std::chrono::steady_clock::time_point now) noexcept = 0;
};

/// Makes the states of a registry's channels. Called on any thread, concurrently.
class ChannelStates {
 public:
  /// Whether a channel of that name has an order although its kind has none. Asked when it is made and when the answers
  /// may have changed (`ChannelRegistry::review`), under a lock. A channel that has an order keeps it.
  [[nodiscard]] virtual bool orders(std::string_view /*channel*/) const noexcept { return false; }

  /// What a channel of that name begins with; null if it has no state. Asked of ordered channels only, under a lock.
  /// \param failed   set where there is no memory.
  [[nodiscard]] virtual std::unique_ptr<ChannelState> make(std::string_view channel, bool& failed) noexcept = 0;

  /// Lets a state follow what holds for its channel now. Under the channel's lock.
  /// \param last      the last id of the channel.
  /// \param retains   an event is about to be retained there, even if nothing else is.
  /// \returns         false where there is no memory; it is tried again later then.
  [[nodiscard]] virtual bool review(std::string_view /*channel*/, ChannelState& /*state*/, EventId /*last*/,
                                    bool /*retains*/) noexcept {
    return true;
  }

  /// Whether an event for a channel of that name is kept although nobody is there. Asked by triggers, while they look
  /// channels up: what `ChannelRegistry::review` is given to be ended is there so long.
  [[nodiscard]] virtual bool keeps(std::string_view channel) const noexcept = 0;

 protected:
  ~ChannelStates() = default;
};

/// Something that happens at one point of a channel's order, perhaps together with an event. Both functions run under the
/// channel's lock, once each, if the channel is not closed.
class OrderedStep {
 public:
  /// \param state   the channel's; null if it has none.
  /// \returns       whether the event goes out.
  [[nodiscard]] virtual bool begin(ChannelState* state) noexcept = 0;
  /// The event, if it goes out, is in every queue; nothing else has come in between.
  virtual void end() noexcept = 0;

 protected:
  ~OrderedStep() = default;
};

FANFARE_NAMESPACE_END
