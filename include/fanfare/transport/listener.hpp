/// \file
/// Sockets to listen on.
#pragma once

#include <fanfare/detail/config.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>

#include <fcntl.h>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Why an address cannot be listened on.
enum class ListenError : std::uint8_t {
  none,
  bad_address,  ///< It is not `HOST:PORT`, or the host has no address.
  system,       ///< `Listener::system` says why.
};

/// A listening socket, which is the caller's to close.
struct Listener {
  int descriptor = -1;
  std::string endpoint;  ///< `HOST:PORT` with the port that it really has.
  ListenError error = ListenError::none;
  std::error_code system;

  /// Listens.
  /// \param address   `HOST:PORT`, `[IPV6]:PORT`; a name is looked up, and its first address taken; port 0: a free one.
  [[nodiscard]] static Listener open(std::string_view address) {
    using asio::ip::tcp;
    asio::io_context context;
    const std::optional<tcp::endpoint> endpoint = parse(context, address);
    if (!endpoint) return failed(ListenError::bad_address, {});
    std::error_code error;
    tcp::acceptor acceptor(context);
    acceptor.open(endpoint->protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.non_blocking(true, error);
    if (!error) acceptor.bind(*endpoint, error);
    if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
    if (error) return failed(ListenError::system, error);
    Listener listener;
    const tcp::endpoint bound = acceptor.local_endpoint(error);
    if (!error) listener.descriptor = acceptor.release(error);
    if (error) return failed(ListenError::system, error);
    ::fcntl(listener.descriptor, F_SETFD, FD_CLOEXEC);  // programs that the host starts have no business with it
    const std::string host = bound.address().to_string();
    listener.endpoint = (bound.address().is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(bound.port());
    return listener;
  }

 private:
  static Listener failed(ListenError error, std::error_code system) {
    Listener listener;
    listener.error = error;
    // Asio has a category of its own, whose codes do not compare with `std::errc`.
    if (system) listener.system = {system.value(), std::system_category()};
    return listener;
  }

  static std::optional<asio::ip::tcp::endpoint> parse(asio::io_context& context, std::string_view address) {
    const std::size_t colon = address.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    std::string_view host = address.substr(0, colon);
    const std::string_view digits = address.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (bad != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    if (host.starts_with('[') && host.ends_with(']') && host.size() > 2) {
      host = host.substr(1, host.size() - 2);
    } else if (host.empty() || host.find(':') != std::string_view::npos) {
      return std::nullopt;
    }
    std::error_code error;
    const asio::ip::address numeric = asio::ip::make_address(std::string(host), error);
    if (!error) return asio::ip::tcp::endpoint(numeric, port);
    asio::ip::tcp::resolver resolver(context);
    const auto found =
        resolver.resolve(std::string(host), std::string(digits), asio::ip::tcp::resolver::passive, error);
    if (error || found.empty()) return std::nullopt;
    return found.begin()->endpoint();
  }
};

}  // namespace transport
FANFARE_NAMESPACE_END
