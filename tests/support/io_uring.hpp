// What tests of io_uring need: whether the kernel has it, TCP connections, and a process that may not use it.
#pragma once

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace fanfare::test {

// Whether the kernel lets this process make a ring such as `SendRing` wants, asked without it.
[[nodiscard]] inline bool kernel_has_io_uring() {
  // What <linux/io_uring.h> calls `io_uring_params`, whose third word is the flags.
  std::array<std::uint32_t, 30> parameters{};
  constexpr std::uint32_t single_issuer = 1U << 12U;
  constexpr std::uint32_t defer_taskrun = 1U << 13U;
  parameters[2] = single_issuer | defer_taskrun;
  const auto descriptor = static_cast<int>(::syscall(SYS_io_uring_setup, 8, parameters.data()));
  if (descriptor < 0) return false;
  ::close(descriptor);
  return true;
}

// Runs `f`, which returns a number below 100, in a process whose calls of io_uring_setup fail with `error`.
// \returns what it returned; 100 where the kernel has no such filters; more if it ended in another way.
template <class F>
[[nodiscard]] int without_io_uring(int error, F f) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::array<sock_filter, 4> filter{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    const bool filtered =
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
    ::_exit(filtered ? f() : 100);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// Sets how many descriptors the process may open, as long as it lives.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t most) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit lower = before_;
    lower.rlim_cur = most;
    if (::setrlimit(RLIMIT_NOFILE, &lower) != 0) throw std::runtime_error("setrlimit");
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

// A connection over the loopback: one end as a server has it, the other one a client's; neither waits.
class TcpPair {
 public:
  // \param buffer   of either end, in bytes; 0: what the kernel likes.
  explicit TcpPair(int buffer = 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    client_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (buffer != 0) ::setsockopt(client_, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (::bind(listener, any, size) == 0 && ::listen(listener, 1) == 0 && ::getsockname(listener, any, &size) == 0 &&
        ::connect(client_, any, size) == 0) {
      server_ = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    ::close(listener);
    if (server_ < 0) throw std::runtime_error("no TCP connection over the loopback");
    if (buffer != 0) ::setsockopt(server_, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    const int on = 1;
    ::setsockopt(server_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  TcpPair(TcpPair&& other) noexcept
      : server_(std::exchange(other.server_, -1)), client_(std::exchange(other.client_, -1)) {}
  TcpPair& operator=(TcpPair&& other) noexcept {
    std::swap(server_, other.server_);
    std::swap(client_, other.client_);
    return *this;
  }
  ~TcpPair() {
    close_server();
    close_client();
  }

  [[nodiscard]] int server() const noexcept { return server_; }
  [[nodiscard]] int client() const noexcept { return client_; }
  void close_server() noexcept {
    if (server_ >= 0) ::close(std::exchange(server_, -1));
  }
  void close_client() noexcept {
    if (client_ >= 0) ::close(std::exchange(client_, -1));
  }
  // The client ends with an RST.
  void reset() noexcept {
    const linger now{1, 0};
    ::setsockopt(client_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close_client();
  }
  // What has come to the client.
  std::string receive(std::size_t most = std::size_t{1} << 24U) {
    std::string bytes;
    std::array<char, 65536> part{};
    while (bytes.size() < most) {
      const ssize_t count = ::recv(client_, part.data(), std::min(part.size(), most - bytes.size()), MSG_DONTWAIT);
      if (count <= 0) break;
      bytes.append(part.data(), static_cast<std::size_t>(count));
    }
    return bytes;
  }
  // So many bytes, or fewer if they do not come.
  std::string receive_all(std::size_t size) {
    std::string bytes;
    while (bytes.size() < size && readable()) {
      const std::string more = receive(size - bytes.size());
      if (more.empty()) break;
      bytes += more;
    }
    return bytes;
  }
  // Whether the client sees the server's end, with nothing in front of it.
  [[nodiscard]] bool ends() {
    char byte = 0;
    return readable() && ::recv(client_, &byte, 1, MSG_DONTWAIT) == 0;
  }
  [[nodiscard]] bool readable(std::chrono::milliseconds time = std::chrono::seconds(20)) const {
    pollfd wanted{client_, POLLIN, 0};
    return ::poll(&wanted, 1, static_cast<int>(time.count())) == 1;
  }

 private:
  int server_ = -1;
  int client_ = -1;
};

}  // namespace fanfare::test
