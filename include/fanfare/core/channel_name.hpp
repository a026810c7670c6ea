/// \file
/// Channel and event names: what is allowed, and what a channel's prefix says about it.
#pragma once

#include <fanfare/core/errc.hpp>
#include <fanfare/detail/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

FANFARE_NAMESPACE_BEGIN

/// Bounds on what a registry accepts. A longer or larger input gets its own error and changes nothing.
struct Limits {
  std::size_t channel_name = 164;  ///< Bytes, prefix included (Pusher's documented limit; its SDKs allow 200).
  std::size_t event_name = 200;    ///< Bytes.
  std::size_t data = 1 << 20;      ///< Bytes of one event's data.
  std::size_t channels =
      1 << 20;  ///< Channels that exist at one time; a few more where several threads make them at once.
  std::size_t channels_per_trigger = 100;  ///< Channels in one call of `trigger`.
};

/// What a channel's name says about it, by anchored prefix.
///
/// The prefixes are Pusher's. In one's own program anybody may use any of them; sockets are let in by the rules of
/// their kind.
enum class ChannelKind : std::uint8_t {
  public_,                  ///< any other name
  cache,                    ///< `cache-`
  private_,                 ///< `private-`
  private_cache,            ///< `private-cache-`
  private_encrypted,        ///< `private-encrypted-`
  private_encrypted_cache,  ///< `private-encrypted-cache-`
  presence,                 ///< `presence-`
  presence_cache,           ///< `presence-cache-`
  server_to_user,           ///< `#server-to-user-`
};

/// A checked channel name: a view of characters that are known to be valid.
///
/// Allowed are 1 to `limit` characters out of `A-Z a-z 0-9 _ - = @ , . ;`, and `#server-to-user-` followed by a user
/// id of the same characters. This is exactly what Pusher's servers accept, so a name that works in one's own program
/// works when sockets are added.
///
/// \ownership a view; the characters must outlive it.
class ChannelName {
 public:
  /// Checks a name.
  /// \returns `errc::ok`, or why the name is refused.
  /// \complexity O(length).
  [[nodiscard]] static constexpr errc check(std::string_view name, std::size_t limit = Limits{}.channel_name) noexcept {
    if (name.empty()) return errc::empty_name;
    if (name.size() > limit) return errc::name_too_long;
    if (name.front() == '#') {
      if (!name.starts_with(server_to_user) || name.size() == server_to_user.size()) return errc::reserved_name;
      name.remove_prefix(server_to_user.size());
    }
    for (const char character : name) {
      if (!allowed[static_cast<unsigned char>(character)]) return errc::bad_character;
    }
    return errc::ok;
  }

  /// The kind of a valid name.
  /// \complexity O(1).
  [[nodiscard]] static constexpr ChannelKind kind(std::string_view name) noexcept {
    if (name.starts_with("private-encrypted-cache-")) return ChannelKind::private_encrypted_cache;
    if (name.starts_with("private-encrypted-")) return ChannelKind::private_encrypted;
    if (name.starts_with("private-cache-")) return ChannelKind::private_cache;
    if (name.starts_with("private-")) return ChannelKind::private_;
    if (name.starts_with("presence-cache-")) return ChannelKind::presence_cache;
    if (name.starts_with("presence-")) return ChannelKind::presence;
    if (name.starts_with("cache-")) return ChannelKind::cache;
    if (name.starts_with(server_to_user)) return ChannelKind::server_to_user;
    return ChannelKind::public_;
  }

  /// Whether the last event of a channel of this kind is kept for those who come later.
  [[nodiscard]] static constexpr bool caches(ChannelKind kind) noexcept {
    return kind == ChannelKind::cache || kind == ChannelKind::private_cache ||
           kind == ChannelKind::private_encrypted_cache || kind == ChannelKind::presence_cache;
  }
  /// Whether those who are in a channel of this kind know of each other.
  [[nodiscard]] static constexpr bool has_members(ChannelKind kind) noexcept {
    return kind == ChannelKind::presence || kind == ChannelKind::presence_cache;
  }

  /// Whether all subscribers of a channel of this kind see its events in one order, with an id for each.
  ///
  /// True for presence and cache channels: a snapshot handed to a joiner must have an exact place among the events.
  [[nodiscard]] static constexpr bool ordered(ChannelKind kind) noexcept {
    switch (kind) {
      case ChannelKind::cache:
      case ChannelKind::private_cache:
      case ChannelKind::private_encrypted_cache:
      case ChannelKind::presence:
      case ChannelKind::presence_cache: return true;
      case ChannelKind::public_:
      case ChannelKind::private_:
      case ChannelKind::private_encrypted:
      case ChannelKind::server_to_user: return false;
    }
    return false;
  }

 private:
  static constexpr std::string_view server_to_user = "#server-to-user-";
  static constexpr std::array<bool, 256> allowed = [] {
    std::array<bool, 256> table{};
    for (const char character :
         std::string_view{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=@,.;"}) {
      table[static_cast<unsigned char>(character)] = true;
    }
    return table;
  }();
};

namespace detail {

/// Apart from the rest, so that it costs the others no registers.
[[nodiscard]] FANFARE_NOINLINE constexpr bool is_reserved_event(std::string_view name) noexcept {
  return name.starts_with("pusher:") || name.starts_with("pusher_internal:");
}

}  // namespace detail

/// Checks the name of an event that is to be triggered.
/// \returns `errc::ok`, `empty_name`, `event_too_long`, or `reserved_name` for what the protocol itself sends.
[[nodiscard]] constexpr errc check_event_name(std::string_view name, std::size_t limit = Limits{}.event_name) noexcept {
  if (name.empty()) return errc::empty_name;
  if (name.size() > limit) return errc::event_too_long;
  if (name.front() == 'p' && detail::is_reserved_event(name)) return errc::reserved_name;
  return errc::ok;
}

FANFARE_NAMESPACE_END
