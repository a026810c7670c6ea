/// \file
/// Where the page comes from that opens a connection.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// The host in an `Origin` header (RFC 6454 §7): `https://example.com:8080` has `example.com`. What has no scheme is the
/// host itself, `null` too.
/// \complexity  O(size).
[[nodiscard]] constexpr std::string_view origin_host(std::string_view origin) noexcept {
  const std::size_t scheme = origin.find("://");
  if (scheme != std::string_view::npos) origin.remove_prefix(scheme + 3);
  origin = origin.substr(0, origin.find('/'));
  // The colons of an IPv6 address stand in brackets.
  const std::size_t bracket = origin.starts_with('[') ? origin.find(']') : 0;
  if (bracket == std::string_view::npos) return origin;
  return origin.substr(0, origin.find(':', bracket));
}

/// Whether a page may connect.
///
/// \param origin   the `Origin` header; empty where there is none. Who sends none is no browser, and could write into it
///                 what it likes: it is let in.
/// \param allowed  hosts, without regard to case; `*.example.com` are all hosts below `example.com` but not that one, `*`
///                 are all. Empty: all.
/// \complexity     O(size of `allowed`).
[[nodiscard]] inline bool origin_allowed(std::string_view origin, std::span<const std::string> allowed) noexcept {
  if (origin.empty() || allowed.empty()) return true;
  const std::string_view host = origin_host(origin);
  return std::any_of(allowed.begin(), allowed.end(), [host](std::string_view entry) {
    if (entry == "*") return true;
    if (!entry.starts_with("*.")) return http::detail::same_word(host, entry);
    entry.remove_prefix(1);
    return host.size() > entry.size() && http::detail::same_word(host.substr(host.size() - entry.size()), entry);
  });
}

}  // namespace pusher
FANFARE_NAMESPACE_END
