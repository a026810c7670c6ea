/// \file
/// A channel held by whoever triggers it often.
#pragma once

#include <fanfare/core/errc.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/detail/config.hpp>

#include <cstddef>
#include <string_view>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// Skips the lookup. The channel stays the same one for as long as the handle lives, with and without subscribers.
///
/// \ownership shares the channel; may outlive the registry, and answers `errc::closed` then.
/// Thread safety: `trigger` and the queries from any thread, concurrently; the rest like an `int`. Copying and destroying
/// lock a stripe.
class ChannelHandle {
 public:
  ChannelHandle() = default;
  ChannelHandle(const ChannelHandle& other) noexcept : channel_(other.channel_), error_(other.error_) {
    if (channel_ != nullptr) channel_->add_handle();
  }
  ChannelHandle(ChannelHandle&& other) noexcept
      : channel_(std::exchange(other.channel_, nullptr)), error_(std::exchange(other.error_, errc::closed)) {}
  ChannelHandle& operator=(const ChannelHandle& other) noexcept {
    ChannelHandle copy{other};
    swap(copy);
    return *this;
  }
  ChannelHandle& operator=(ChannelHandle&& other) noexcept {
    ChannelHandle moved{std::move(other)};
    swap(moved);
    return *this;
  }
  ~ChannelHandle() {
    if (channel_ != nullptr) channel_->drop_handle();
  }

  /// As `ChannelRegistry::trigger`.
  TriggerResult trigger(std::string_view event, Data data = {}) const {
    if (channel_ == nullptr) return {.error = error_};
    return channel_->trigger(event, data, nullptr);
  }
  /// The same for an event that differs from an ordinary one.
  TriggerResult trigger(std::string_view event, Data data, const TriggerOptions& options) const {
    if (channel_ == nullptr) return {.error = error_};
    if (options.retain == Retain::yes) return channel_->trigger_retained(event, data, options);
    return channel_->trigger(event, data, &options);
  }

  /// The channel's name; empty where there is none.
  [[nodiscard]] std::string_view name() const noexcept {
    return channel_ == nullptr ? std::string_view{} : channel_->name();
  }
  /// How many subscriptions the channel has; a moment's view.
  [[nodiscard]] std::size_t subscribers() const noexcept { return channel_ == nullptr ? 0 : channel_->subscribers(); }

  /// `ok`; or why `channel` failed; or `closed`.
  [[nodiscard]] errc error() const noexcept {
    if (channel_ == nullptr) return error_;
    return channel_->closed() ? errc::closed : errc::ok;
  }
  /// Whether it holds a channel.
  [[nodiscard]] explicit operator bool() const noexcept { return error() == errc::ok; }

  /// \private
  explicit ChannelHandle(errc error) noexcept : error_(error) {}
  /// \private Takes over one reference.
  explicit ChannelHandle(detail::ChannelFace& channel) noexcept : channel_(&channel) {}

 private:
  void swap(ChannelHandle& other) noexcept {
    std::swap(channel_, other.channel_);
    std::swap(error_, other.error_);
  }

  detail::ChannelFace* channel_ = nullptr;
  errc error_ = errc::closed;
};

FANFARE_NAMESPACE_END
