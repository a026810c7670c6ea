/// \file
/// What `trigger` takes and gives.
#pragma once

#include <fanfare/core/errc.hpp>
#include <fanfare/core/kept_log.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

FANFARE_NAMESPACE_BEGIN

class Subscription;
class PolledSubscription;

/// The data of an event: any bytes, empty allowed. A view, read during the call only.
///
/// Subscribers behind sockets need text (UTF-8); their clients parse it as JSON if they can.
class Data {
 public:
  constexpr Data() = default;
  /// A string, or a view of one.
  template <std::convertible_to<std::string_view> Text>
  constexpr Data(const Text& text) noexcept : text_(text) {}  // NOLINT(google-explicit-constructor): an argument
  /// Bytes.
  template <class Bytes>
    requires(std::convertible_to<const Bytes&, std::span<const std::byte>> &&
             !std::convertible_to<const Bytes&, std::string_view>)
  Data(const Bytes& bytes) noexcept : Data(Raw{bytes}) {}  // NOLINT(google-explicit-constructor)

  /// The bytes, whatever they are.
  [[nodiscard]] constexpr std::string_view text() const noexcept { return text_; }

 private:
  struct Raw {
    std::span<const std::byte> bytes;
  };
  explicit Data(Raw raw) noexcept : text_(reinterpret_cast<const char*>(raw.bytes.data()), raw.bytes.size()) {}

  std::string_view text_;
};

/// Names a subscription within its registry. Empty names nobody.
class SubscriptionId {
 public:
  constexpr SubscriptionId() = default;
  /// \name Of a subscription
  /// @{

  /// Empty where the subscription has ended, or the pointer is null.
  SubscriptionId(const Subscription& subscription) noexcept;        // NOLINT(google-explicit-constructor)
  SubscriptionId(const PolledSubscription& subscription) noexcept;  // NOLINT(google-explicit-constructor)
  SubscriptionId(const Subscription* subscription) noexcept;        // NOLINT(google-explicit-constructor)
  SubscriptionId(const PolledSubscription* subscription) noexcept;  // NOLINT(google-explicit-constructor)
  /// @}

  /// Whether it names a subscription.
  [[nodiscard]] constexpr explicit operator bool() const noexcept { return value_ != 0; }
  /// The number itself; 0: nobody's.
  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }
  friend constexpr bool operator==(const SubscriptionId&, const SubscriptionId&) = default;

 private:
  friend class Subscription;
  friend class PolledSubscription;
  constexpr explicit SubscriptionId(std::uint64_t value) noexcept : value_(value) {}

  std::uint64_t value_ = 0;
};

/// A channel that the protocol keeps for itself. Its name is not checked, and events in it may have reserved names; clients
/// and backends cannot name it.
struct ReservedChannel {
  std::string_view name;
};

/// Whether an event is kept for those who come later, as the latest of its name.
enum class Retain : std::uint8_t {
  by_rule,  ///< As the channel's rule says.
  yes,      ///< Even if no rule says so: the first such event in a channel gives it its order; see `ChannelStates`.
  no,       ///< Not; what was kept under the name stays.
  clear,    ///< Not, and what was kept under the name goes.
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(Retain retain) noexcept {
  switch (retain) {
    case Retain::by_rule: return "by_rule";
    case Retain::yes: return "yes";
    case Retain::no: return "no";
    case Retain::clear: return "clear";
  }
  return "unknown";
}

/// How one event differs from an ordinary one.
struct TriggerOptions {
  SubscriptionId except{};           ///< This subscription does not get it: `{.except = lobby}`.
  std::string_view except_socket{};  ///< Nor does the connection with this socket id.
  std::string_view user_id{};        ///< On behalf of this user; see `Event::user_id`.
  std::string_view socket_id{};      ///< On behalf of this connection; see `Event::socket_id`.
  Retain retain = Retain::by_rule;   ///< Whether it is kept for those who come later.
  /// Receives what to wait for until the event outlives the program; see `App::wait_kept`. Several triggers may have the
  /// same. Null: nobody waits.
  KeptTicket* kept = nullptr;
};

/// What became of an event. May be dropped: nobody has to look.
struct TriggerResult {
  errc error = errc::ok;      ///< If not ok, nobody got it; with several channels: somebody did not.
  std::size_t delivered = 0;  ///< Callbacks called plus queues that took it.
  EventId id{};               ///< Its place in the channel's order, on channels that have one.

  /// Whether everybody got it who was to.
  [[nodiscard]] explicit operator bool() const noexcept { return error == errc::ok; }
};

FANFARE_NAMESPACE_END
