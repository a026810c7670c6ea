/// \file
/// What every connection of a loop has, whatever moves its bytes.
#pragma once

#include <fanfare/core/backlog.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/detail/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

namespace detail {

/// A connection's place in one channel of its loop.
struct Membership {
  static constexpr std::uint32_t pending = 0xffffffffU;

  std::uint32_t channel;
  std::uint32_t position;  ///< in the channel's array; `pending` until its place in the channel's order has come
  std::uint64_t from = 0;  ///< it is owed the loop's events after this one; while pending, the number of the wish
  MemberPtr member{};      ///< whom it counts as, on presence channels
};

/// The channels of one connection: most have one or two.
class Memberships {
 public:
  [[nodiscard]] std::span<Membership> all() noexcept {
    if (more_ != nullptr) return *more_;
    return {few_.data(), count_};
  }
  [[nodiscard]] std::size_t size() const noexcept { return more_ != nullptr ? more_->size() : count_; }

  [[nodiscard]] Membership* find(std::uint32_t channel) noexcept {
    for (Membership& membership : all()) {
      if (membership.channel == channel) return &membership;
    }
    return nullptr;
  }
  void add(Membership membership) {
    if (more_ == nullptr && count_ < few_.size()) {
      few_[count_++] = membership;
      return;
    }
    if (more_ == nullptr) {
      auto more = std::make_unique<std::vector<Membership>>();
      more->reserve(2 * few_.size());
      more->assign(few_.begin(), few_.end());
      more_ = std::move(more);
    }
    more_->push_back(membership);
  }
  void remove(std::uint32_t channel) noexcept {
    Membership* const found = find(channel);
    if (found == nullptr) return;
    *found = std::move(all().back());
    if (more_ != nullptr) {
      more_->pop_back();
    } else {
      few_[--count_] = {};
    }
  }
  void clear() noexcept {
    more_.reset();
    few_ = {};
    count_ = 0;
  }

 private:
  std::array<Membership, 2> few_{};
  std::unique_ptr<std::vector<Membership>> more_;
  std::uint32_t count_ = 0;
};

}  // namespace detail

/// What every connection of a loop has, whatever moves its bytes.
struct Peer {
  enum class Turn : std::uint8_t { plain, special, done };

  std::unique_ptr<Backlog> backlog;  ///< while it lags
  detail::Memberships memberships;
  std::uint32_t number = 0;      ///< its place in the loop
  std::uint32_t generation = 0;  ///< tells it from those who had the place before
  std::uint32_t stamp = 0;       ///< the flush that saw it last
  Turn turn = Turn::plain;       ///< how that flush serves it
  bool deaf = false;             ///< is sent nothing more
  bool signed_in = false;        ///< counts as a connection of a user
  std::uint16_t reserved = 0;    ///< how many of its channels are the protocol's own
};

/// Whether it is in a channel, or on its way into one, that is not the protocol's own.
[[nodiscard]] inline bool in_channel(const Peer& peer) noexcept { return peer.memberships.size() != peer.reserved; }

}  // namespace transport
FANFARE_NAMESPACE_END
