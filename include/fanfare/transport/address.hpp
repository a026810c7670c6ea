/// \file
/// Where a connection comes from, as a number to count by.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/detail/text.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Names an IPv4 address, or the /64 network of an IPv6 address: whoever has one IPv6 address has them all.
/// Two are the same if and only if their numbers are; 0 names nothing.
using AddressNumber = std::uint64_t;

namespace detail {

[[nodiscard]] inline AddressNumber address_number(const in_addr& address) noexcept {
  // The first half of such an IPv6 address would be in ::/16, where there are no networks.
  return std::uint64_t{1} << 32U | ntohl(address.s_addr);
}

[[nodiscard]] inline AddressNumber address_number(const in6_addr& address) noexcept {
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    in_addr inner{};
    std::memcpy(&inner, &address.s6_addr[12], sizeof inner);
    return address_number(inner);
  }
  AddressNumber network = 0;
  for (std::size_t i = 0; i < 8; ++i) network = network << 8U | address.s6_addr[i];
  return network == 0 ? 1 : network;  // ::1
}

}  // namespace detail

/// The address at the other end of a socket. 0: it has none, or is not connected any more.
[[nodiscard]] inline AddressNumber peer_address(int descriptor) noexcept {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getpeername(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return 0;
  if (storage.ss_family == AF_INET) {
    sockaddr_in address{};
    std::memcpy(&address, &storage, sizeof address);
    return detail::address_number(address.sin_addr);
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 address{};
    std::memcpy(&address, &storage, sizeof address);
    return detail::address_number(address.sin6_addr);
  }
  return 0;
}

/// The last address of an `X-Forwarded-For`: the one that the nearest proxy has seen. What stands before it anybody may
/// have written. 0: it is none.
[[nodiscard]] inline AddressNumber forwarded_address(std::string_view list) noexcept {
  const std::size_t comma = list.rfind(',');
  std::string_view last = fanfare::detail::text::trim(comma == list.npos ? list : list.substr(comma + 1));
  if (last.size() > 2 && last.front() == '[') last = last.substr(1, last.find(']') - 1);  // with a port behind it
  std::array<char, INET6_ADDRSTRLEN> text{};
  const auto parse = [&](std::string_view address) -> AddressNumber {
    if (address.size() >= text.size() || address.find('\0') != address.npos) return 0;
    *std::copy(address.begin(), address.end(), text.begin()) = '\0';
    in_addr four{};
    if (::inet_pton(AF_INET, text.data(), &four) == 1) return detail::address_number(four);
    in6_addr six{};
    if (::inet_pton(AF_INET6, text.data(), &six) == 1) return detail::address_number(six);
    return 0;
  };
  const AddressNumber whole = parse(last);
  return whole != 0 ? whole : parse(last.substr(0, last.find(':')));
}

}  // namespace transport
FANFARE_NAMESPACE_END
