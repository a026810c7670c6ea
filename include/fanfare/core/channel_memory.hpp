/// \file
/// What presence and cache channels remember.
#pragma once

#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/channel_state.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/detail/config.hpp>

#include <chrono>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// The state of a presence channel, a cache channel, or one that is both.
class ChannelMemory final : public ChannelState {
 public:
  using Clock = std::chrono::steady_clock;

  ChannelMemory(bool caches, Clock::duration cache_ttl) noexcept : caches_(caches), cache_ttl_(cache_ttl) {}

  void on_event(const MessagePtr& message) noexcept override {
    // Neither what clients say to each other nor what the protocol says about them is the channel's last event.
    if (!caches_ || !message->socket_id().empty() || message->name().starts_with("pusher_internal:")) return;
    cached_ = message;
    missed_ = false;
    cached_until_ = Clock::now() + cache_ttl_;
  }
  [[nodiscard]] bool can_keep() const noexcept override { return caches_; }
  [[nodiscard]] bool keeps() const noexcept override { return static_cast<bool>(cached_); }
  void expire(Clock::time_point now) noexcept override {
    if (now >= cached_until_) cached_ = {};
  }

  [[nodiscard]] bool caches() const noexcept { return caches_; }
  /// The last event, unless it is too old; null if there is none.
  [[nodiscard]] MessagePtr cached(Clock::time_point now) const noexcept {
    return now < cached_until_ ? cached_ : MessagePtr{};
  }
  /// Somebody came and found nothing. \returns whether it is the first since there was something.
  [[nodiscard]] bool note_miss() noexcept { return !std::exchange(missed_, true); }
  [[nodiscard]] Clock::time_point cached_until() const noexcept { return cached_until_; }

  Roster roster;

 private:
  const bool caches_;
  const Clock::duration cache_ttl_;
  MessagePtr cached_;
  Clock::time_point cached_until_{};
  bool missed_ = false;
};

/// Makes the memories of an application's channels.
class ChannelMemories final : public ChannelStates {
 public:
  explicit ChannelMemories(ChannelMemory::Clock::duration cache_ttl) noexcept : cache_ttl_(cache_ttl) {}

  [[nodiscard]] std::unique_ptr<ChannelState> make(std::string_view channel, bool& failed) noexcept override {
    const ChannelKind kind = ChannelName::kind(channel);
    if (!ChannelName::ordered(kind)) return nullptr;
    auto* const memory = new (std::nothrow) ChannelMemory(ChannelName::caches(kind), cache_ttl_);
    failed = memory == nullptr;
    return std::unique_ptr<ChannelState>(memory);
  }
  [[nodiscard]] bool keeps(std::string_view channel) const noexcept override {
    return ChannelName::caches(ChannelName::kind(channel));
  }

 private:
  const ChannelMemory::Clock::duration cache_ttl_;
};

FANFARE_NAMESPACE_END
