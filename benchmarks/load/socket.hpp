// What sockets of either kind need: descriptors, addresses, epoll, and the failure that ends the program.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace fanfare::load {

/// The measurement cannot go on: nobody listens, the server closed a connection, it says an error.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// \throws  `Failure` with the text of `errno`.
[[noreturn]] inline void fail_with_errno(const std::string& what) { throw Failure(what + ": " + std::strerror(errno)); }

/// Closes what it holds.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  [[nodiscard]] int get() const { return number_; }
  [[nodiscard]] bool is_open() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

/// Where the server listens, and where connections come from if that is not left to the kernel.
class Endpoint {
 public:
  /// \param source  an IPv4 address or nothing. Connection `n` comes from the `n / 20,000`th address from it on, as one
  ///                address has no more than some 28,000 ports for one server.
  /// \throws        `Failure` if there is no such host or the source is not an address.
  Endpoint(const std::string& host, const std::string& port, const std::string& source) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
      throw Failure(host + ": " + gai_strerror(error));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
    std::memcpy(&address_, found->ai_addr, found->ai_addrlen);
    size_ = found->ai_addrlen;
    if (source.empty()) return;
    source_.sin_family = AF_INET;
    if (inet_pton(AF_INET, source.c_str(), &source_.sin_addr) != 1) throw Failure(source + ": not an IPv4 address");
    if (address_.ss_family != AF_INET) throw Failure("a source address needs an IPv4 server");
  }

  /// Begins to connect.
  ///
  /// \throws  `Failure`.
  [[nodiscard]] Descriptor connect(std::size_t index) const {
    Descriptor made(socket(address_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!made.is_open()) fail_with_errno("cannot make a socket");
    const int yes = 1;
    setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    // Closed with a reset, so that no port is kept in TIME_WAIT and runs can follow each other at once.
    const linger reset{1, 0};
    setsockopt(made.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (source_.sin_family == AF_INET) {
      setsockopt(made.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
      sockaddr_in from = source_;
      from.sin_addr.s_addr = htonl(ntohl(from.sin_addr.s_addr) + static_cast<std::uint32_t>(index / 20'000));
      if (bind(made.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) fail_with_errno("cannot bind");
    }
    if (::connect(made.get(), reinterpret_cast<const sockaddr*>(&address_), size_) != 0 && errno != EINPROGRESS) {
      fail_with_errno("cannot connect");
    }
    return made;
  }

 private:
  sockaddr_storage address_{};
  socklen_t size_ = 0;
  sockaddr_in source_{};
};

/// Whether a connection stands, now that epoll said something about it.
///
/// \throws  `Failure` if it was refused.
inline void finish_connect(const Descriptor& descriptor) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(descriptor.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return;
  errno = error;
  fail_with_errno("cannot connect");
}

/// Who is meant by an event of epoll.
enum class Kind : std::uint32_t { client, api, signal };

/// An epoll set, level-triggered.
class Poller {
 public:
  Poller() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_.is_open()) fail_with_errno("cannot make an epoll set");
  }
  [[nodiscard]] int descriptor() const { return epoll_.get(); }

  void add(const Descriptor& descriptor, Kind kind, std::size_t index, std::uint32_t events) {
    control(EPOLL_CTL_ADD, descriptor, kind, index, events);
  }
  void change(const Descriptor& descriptor, Kind kind, std::size_t index, std::uint32_t events) {
    control(EPOLL_CTL_MOD, descriptor, kind, index, events);
  }

  /// Calls `handle(kind, index, events)` for what is ready.
  ///
  /// \param timeout_ms  how long to wait for the first; 0: not at all.
  /// \returns           how many there were.
  template <class Handle>
  std::size_t wait(int timeout_ms, const Handle& handle) {
    const int count = epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), timeout_ms);
    if (count < 0 && errno != EINTR) fail_with_errno("epoll_wait");
    const std::size_t ready = count < 0 ? 0 : static_cast<std::size_t>(count);
    for (std::size_t i = 0; i < ready; ++i) {
      const std::uint64_t tag = events_[i].data.u64;
      handle(static_cast<Kind>(tag >> 32), static_cast<std::size_t>(tag & 0xffffffff), events_[i].events);
    }
    return ready;
  }

 private:
  void control(int operation, const Descriptor& descriptor, Kind kind, std::size_t index, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = std::uint64_t{static_cast<std::uint32_t>(kind)} << 32 | index;
    if (epoll_ctl(epoll_.get(), operation, descriptor.get(), &event) != 0) fail_with_errno("epoll_ctl");
  }

  Descriptor epoll_;
  std::array<epoll_event, 512> events_{};
};

/// Lets this process open so many descriptors.
///
/// \throws  `Failure` if that is more than it may have.
inline void allow_descriptors(std::size_t count) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < count) {
    limit.rlim_cur = count;
    if (limit.rlim_max < count) limit.rlim_max = count;  // root may
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
      throw Failure("this process may not open " + std::to_string(count) + " descriptors; see ulimit -n");
    }
  }
}

}  // namespace fanfare::load
