/// \file
/// What every connection of a loop has, whatever moves its bytes.
#pragma once

#include <fanfare/core/backlog.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/detail/config.hpp>

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
  std::uint32_t channel;
  std::uint32_t place;  ///< in the channel's array; or, in a channel that has an order, in `OrderedPlaces`

  static constexpr std::uint32_t ordered_bit = 0x80000000U;
  [[nodiscard]] bool ordered() const noexcept { return (place & ordered_bit) != 0; }
};

/// What there is of a place in a channel that has an order.
struct OrderedPlace {
  static constexpr std::uint32_t pending = 0xffffffffU;

  std::uint64_t from = 0;  ///< it is owed the loop's events after this one; while pending, the number of the wish
  MemberPtr member{};      ///< whom it counts as, on presence channels
  std::uint32_t position = pending;  ///< in the channel's array; `pending` until its place in the order has come
};

/// Those of a loop. Most connections have none, so a `Membership` has room for a number alone. They stay where they are.
class OrderedPlaces {
 public:
  /// \returns what `Membership::place` says of it. \throws `std::bad_alloc`; nothing is changed then.
  [[nodiscard]] std::uint32_t add(OrderedPlace place) {
    if (free_.empty()) {
      if (free_.capacity() <= count_) free_.reserve(2 * std::size_t{count_} + 8);  // so that `remove` cannot fail
      if (count_ == chunks_.size() * in_chunk) chunks_.push_back(std::make_unique<OrderedPlace[]>(in_chunk));
      free_.push_back(count_++);
    }
    const std::uint32_t number = free_.back();
    free_.pop_back();
    at(number) = std::move(place);
    return number | Membership::ordered_bit;
  }
  /// \pre it is ordered. The reference is good until `remove`.
  [[nodiscard]] OrderedPlace& operator[](const Membership& membership) noexcept {
    return at(membership.place & ~Membership::ordered_bit);
  }
  void remove(const Membership& membership) noexcept {
    const std::uint32_t number = membership.place & ~Membership::ordered_bit;
    at(number).member.reset();
    free_.push_back(number);  // reserved
  }
  /// How many there are.
  [[nodiscard]] std::size_t size() const noexcept { return count_ - free_.size(); }

 private:
  static constexpr std::size_t in_chunk = 32;

  [[nodiscard]] OrderedPlace& at(std::uint32_t number) noexcept {
    return chunks_[number / in_chunk][number % in_chunk];
  }

  std::vector<std::unique_ptr<OrderedPlace[]>> chunks_;
  std::uint32_t count_ = 0;
  std::vector<std::uint32_t> free_;
};

/// The channels of one connection: most have one or two.
class Memberships {
 public:
  Memberships() noexcept : many_(nullptr) {}
  Memberships(const Memberships&) = delete;
  Memberships& operator=(const Memberships&) = delete;
  ~Memberships() { clear(); }

  [[nodiscard]] std::span<Membership> all() noexcept {
    if (count_ == in_many) return *many_;
    return {few_, count_};
  }
  [[nodiscard]] std::size_t size() const noexcept { return count_ == in_many ? many_->size() : count_; }

  [[nodiscard]] Membership* find(std::uint32_t channel) noexcept {
    for (Membership& membership : all()) {
      if (membership.channel == channel) return &membership;
    }
    return nullptr;
  }
  /// \throws `std::bad_alloc`; nothing is changed then.
  void add(Membership membership) {
    if (count_ < most_of_few) {
      std::construct_at(&few_[count_++], membership);
      return;
    }
    if (count_ != in_many) {
      auto many = std::make_unique<std::vector<Membership>>();
      many->reserve(std::size_t{2} * most_of_few);
      many->assign(few_, few_ + count_);
      many->push_back(membership);
      many_ = many.release();
      count_ = in_many;
      return;
    }
    many_->push_back(membership);
  }
  void remove(std::uint32_t channel) noexcept {
    Membership* const found = find(channel);
    if (found == nullptr) return;
    *found = all().back();
    if (count_ == in_many) {
      many_->pop_back();
    } else {
      --count_;
    }
  }
  void clear() noexcept {
    if (count_ == in_many) delete many_;
    many_ = nullptr;
    count_ = 0;
  }

 private:
  static constexpr std::uint32_t most_of_few = 2;
  static constexpr std::uint32_t in_many = 0xffffffffU;

  union {
    Membership few_[most_of_few];  // the first `count_` of them
    std::vector<Membership>* many_;
  };
  std::uint32_t count_ = 0;
};

}  // namespace detail

/// What every connection of a loop has, whatever moves its bytes.
struct Peer {
  /// How a flush serves a connection.
  enum class Turn : std::uint8_t {
    plain,    ///< With the log of its channel as it is.
    special,  ///< With what is composed for it.
    done,     ///< It has been served.
  };

  std::unique_ptr<Backlog> backlog;                       ///< while it lags
  [[no_unique_address]] detail::Memberships memberships;  // the next one stands in its last bytes
  std::uint32_t number = 0;                               ///< its place in the loop
  std::uint32_t generation = 0;                           ///< tells it from those who had the place before
  std::uint32_t stamp = 0;                                ///< the flush that saw it last
  Turn turn = Turn::plain;                                ///< how that flush serves it
  bool deaf = false;                                      ///< is sent nothing more
  bool signed_in = false;                                 ///< counts as a connection of a user
  std::uint16_t reserved = 0;                             ///< how many of its channels are the protocol's own
};

/// Whether it is in a channel, or on its way into one, that is not the protocol's own.
[[nodiscard]] inline bool in_channel(const Peer& peer) noexcept { return peer.memberships.size() != peer.reserved; }

}  // namespace transport
FANFARE_NAMESPACE_END
