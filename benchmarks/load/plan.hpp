// Who is subscribed to what, and where each trigger goes.
#pragma once

#include "options.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace fanfare::load {

/// The common channels are 0 to C - 1. Client i holds i mod C and the next ones, `--each` in all; with `--own` also
/// channel C + i, which nobody else holds. A client's channels are numbered by slots, in this order.
///
/// Triggers go round the common channels and, in each, round its senders: the API, or members. With `--own` every other
/// trigger goes to an own channel, round all of them. What one sender sends to one channel is a stream: its events have
/// to arrive in order.
class Plan {
 public:
  /// Where a trigger goes: it is number `event` of a stream.
  struct Target {
    std::size_t channel = 0;
    std::size_t sender = 0;
    std::uint64_t event = 0;
  };

  explicit Plan(const Options& options)
      : clients_(options.clients),
        common_(options.channels),
        each_(options.each),
        senders_(options.senders),
        own_(options.own),
        members_send_(options.via == Via::client),
        prefix_(options.channel_prefix) {}

  [[nodiscard]] std::size_t clients() const { return clients_; }
  /// Channels of each client.
  [[nodiscard]] std::size_t slots() const { return each_ + (own_ ? 1 : 0); }
  /// Senders of each channel.
  [[nodiscard]] std::size_t senders() const { return senders_; }

  [[nodiscard]] std::size_t channel(std::size_t client, std::size_t slot) const {
    return slot < each_ ? (client + slot) % common_ : common_ + client;
  }

  /// Where a client has the channel, if it does.
  [[nodiscard]] std::optional<std::size_t> slot(std::size_t client, std::size_t channel) const {
    if (channel >= common_) return channel == common_ + client ? std::optional(each_) : std::nullopt;
    const std::size_t slot = (channel + common_ - client % common_) % common_;
    return slot < each_ ? std::optional(slot) : std::nullopt;
  }

  [[nodiscard]] Target target(std::uint64_t trigger) const {
    const std::uint64_t turn = own_ ? trigger / 2 : trigger;
    if (own_ && trigger % 2 == 1) return {common_ + turn % clients_, 0, turn / clients_};
    return {turn % common_, turn / common_ % senders_, turn / common_ / senders_};
  }

  /// The client that is a channel's sender.
  [[nodiscard]] std::size_t member(std::size_t channel, std::size_t sender) const { return channel + common_ * sender; }

  /// Whether a client would get its own event back.
  [[nodiscard]] bool is_sender(std::size_t client, const Target& target) const {
    return members_send_ && client == member(target.channel, target.sender);
  }

  /// How many clients get an event of the channel.
  [[nodiscard]] std::size_t receivers(std::size_t channel) const {
    if (channel >= common_) return 1;
    std::size_t subscribers = 0;
    for (std::size_t slot = 0; slot < each_; ++slot) {
      const std::size_t first = (channel + common_ - slot) % common_;
      subscribers += (clients_ - first + common_ - 1) / common_;
    }
    return subscribers - (members_send_ ? 1 : 0);
  }

  [[nodiscard]] bool is_private(std::size_t channel) const { return members_send_ || channel >= common_; }
  [[nodiscard]] std::string name(std::size_t channel) const {
    const std::string visible = is_private(channel) ? "private-" + prefix_ : prefix_;
    if (channel < common_) return visible + '-' + std::to_string(channel);
    return visible + "-own-" + std::to_string(channel - common_);
  }

 private:
  std::size_t clients_;
  std::size_t common_;
  std::size_t each_;
  std::size_t senders_;
  bool own_;
  bool members_send_;
  std::string prefix_;
};

}  // namespace fanfare::load
