/// \file
/// Many sends in one system call: io_uring, where the kernel and the build have it.
///
/// `FANFARE_IO_URING` (0 or 1; by default 0) says whether liburing is there to be linked. It must be the same in all
/// translation units of a program: the build's target `fanfare::server` sees to that.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/transport/socket_io.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

#if !defined(FANFARE_IO_URING)
#define FANFARE_IO_URING 0
#endif

#if FANFARE_IO_URING
#include <liburing.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <optional>
#include <utility>
#include <vector>
#endif

FANFARE_NAMESPACE_BEGIN
namespace transport {

#if FANFARE_IO_URING && defined(IORING_SETUP_DEFER_TASKRUN) && defined(IORING_FEAT_CQE_SKIP)

/// A ring of one thread that sends to sockets without waiting for any.
///
/// No request outlives `submit`: each is done, refused or cut short while the kernel takes it, because none may wait. So
/// the bytes belong to the caller again when `submit` returns. Only sends that were not taken whole are told of.
///
/// A socket may be entered into the ring's own table, which saves the kernel a lookup for each send. It must be taken out
/// before it is closed: the table would keep it open, and its client would see no end.
///
/// Thread safety: everything on the thread that opened it.
class SendRing {
 public:
  static constexpr bool built = true;
  static constexpr unsigned capacity = 512;

  SendRing() = default;
  SendRing(const SendRing&) = delete;
  SendRing& operator=(const SendRing&) = delete;
  ~SendRing() { close(); }

  /// \param sockets   how many the table is to have room for.
  /// \returns         false where the kernel refuses it or lacks what it needs; everything else works without.
  [[nodiscard]] bool open(unsigned sockets) noexcept {
    if (open_) return true;
    io_uring_params parameters{};
    parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL;
    if (io_uring_queue_init_params(capacity, &ring_, &parameters) != 0) return false;
    open_ = true;
    added_ = 0;
    const bool good = (parameters.features & IORING_FEAT_CQE_SKIP) != 0 &&
                      parameters.cq_entries >= parameters.sq_entries && tells_of_short_sends();
    if (!good) {
      close();
      return false;
    }
    // Its descriptor is not registered with the thread: that would keep a ring, and all sockets in its table, for as long
    // as the thread lives, if another one closes it.
    // The kernel refuses a table for more than the process may open.
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < sockets) {
      sockets = static_cast<unsigned>(limit.rlim_cur);
    }
    if (io_uring_register_files_sparse(&ring_, sockets) == 0) sockets_ = sockets;
    return true;
  }
  /// Whether it can be sent with.
  [[nodiscard]] bool is_open() const noexcept { return open_; }

  /// Its sockets' places in the table are gone with it.
  void close() noexcept {
    if (!std::exchange(open_, false)) return;
    io_uring_queue_exit(&ring_);
    sockets_ = 0;
  }

  /// How many places the table has; their numbers are below that.
  [[nodiscard]] unsigned sockets() const noexcept { return open_ ? sockets_ : 0; }

  /// Enters sockets into successive places, which are empty.
  /// \returns how many were, from the first on.
  std::size_t enter(std::uint32_t place, const int* descriptors, std::size_t count) noexcept {
    FANFARE_ASSERT(place + count <= sockets(), "there is no such place in the ring's table");
    const int entered = io_uring_register_files_update(&ring_, place, descriptors, static_cast<unsigned>(count));
    return entered < 0 ? 0 : static_cast<std::size_t>(entered);
  }
  /// Takes a socket out.
  void leave(std::uint32_t place) noexcept {
    if (place >= sockets()) return;
    const int none = -1;
    if (io_uring_register_files_update(&ring_, place, &none, 1) != 1)
      close();  // rather no ring than a socket kept open
  }

  /// Adds a send to the batch.
  /// \param socket     a place in the table, or a descriptor.
  /// \param bytes      stay until `submit` has returned; not empty.
  /// \param tag        names it to `submit`.
  /// \pre  it is open, and the batch has less than `capacity`.
  void add(int socket, bool in_table, std::string_view bytes, std::uint32_t tag) noexcept {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    FANFARE_ASSERT(entry != nullptr, "the ring is full");
    io_uring_prep_send(entry, socket, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL);
    entry->flags |= static_cast<std::uint8_t>(IOSQE_CQE_SKIP_SUCCESS | (in_table ? IOSQE_FIXED_FILE : 0U));
    entry->user_data = tag;
    if (added_ == 0) first_tag_ = tag;
    ++added_;
  }

  /// Sends all of the batch, whose tags are successive numbers.
  /// \param cut_short   called as `cut_short(tag, sent)` for each send that was not taken whole: so many bytes went out,
  ///                    perhaps none; negative: the connection is broken.
  /// \param not_tried   called as `not_tried(tag)` for each that has to be sent in another way: the ring has ended.
  /// \post  the batch is empty.
  template <class F, class G>
  void submit(F&& cut_short, G&& not_tried) noexcept {
    if (added_ == 0) return;
    unsigned done = 0;
    while (open_ && done != added_) {
      const int taken = io_uring_submit(&ring_);
      done += taken > 0 ? static_cast<unsigned>(taken) : 0;
      reap(cut_short);
      if (taken == -EINTR || taken > 0) continue;
      break;
    }
    const unsigned rest = std::exchange(added_, 0) - done;
    if (rest == 0) {
      FANFARE_ASSERT(!open_ || io_uring_sq_ready(&ring_) == 0, "a flush leaves nothing in the ring");
      return;
    }
    // What is still in it would go out with the next batch, from bytes that are no more.
    close();
    for (unsigned i = 0; i < rest; ++i) not_tried(first_tag_ + done + i);
  }

 private:
  // More than the smallest buffers take, and less than malloc maps anew: that would change its thresholds.
  static constexpr std::size_t probe_bytes = std::size_t{120} << 10U;

  template <class F>
  void reap(F& f) noexcept {
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) == 0) {
      const auto tag = static_cast<std::uint32_t>(entry->user_data);
      const int result = entry->res;
      io_uring_cqe_seen(&ring_, entry);
      FANFARE_ASSERT(tag - first_tag_ < capacity, "the ring tells of a send that is not in the batch");
      f(tag, to_sent(result));
    }
    FANFARE_ASSERT(!io_uring_cq_has_overflow(&ring_), "the ring has room for what it tells of");
  }

  /// As with `send`: who cannot take anything now is served later.
  static std::ptrdiff_t to_sent(int result) noexcept {
    if (result >= 0) return result;
    const int error = -result;
    const bool later = error == EAGAIN || error == EINTR || error == ENOBUFS || error == ENOMEM;
    return later ? 0 : -1;
  }

  /// Everything rests on it: a send that is cut short must say so, although those that succeed say nothing.
  [[nodiscard]] bool tells_of_short_sends() noexcept {
    const std::optional<std::pair<int, int>> pair = tcp_pair();
    if (!pair) return false;
    bool good = false;
    try {
      const std::vector<char> much(probe_bytes);
      std::array<std::ptrdiff_t, 2> results{-1, -1};
      for (std::uint32_t tag = 0; tag < 2; ++tag) add(pair->first, false, {much.data(), much.size()}, tag);
      submit([&](std::uint32_t tag, std::ptrdiff_t sent) { results[tag] = sent; }, [](std::uint32_t) {});
      const auto was_short = [&](std::ptrdiff_t sent) {
        return sent >= 0 && static_cast<std::size_t>(sent) < much.size();
      };
      good = open_ && was_short(results[0]) && was_short(results[1]);
    } catch (const std::bad_alloc&) {  // so it does not tell
    }
    ::close(pair->first);
    ::close(pair->second);
    return good;
  }

  [[nodiscard]] static std::optional<std::pair<int, int>> tcp_pair() noexcept {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int least = 1;  // the kernel rounds up
    ::setsockopt(client, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    ::setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);  // inherited
    int server = -1;
    if (::bind(listener, any, size) == 0 && ::listen(listener, 1) == 0 && ::getsockname(listener, any, &size) == 0 &&
        ::connect(client, any, size) == 0) {
      server = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    if (listener >= 0) ::close(listener);
    if (server >= 0) return std::pair(server, client);
    if (client >= 0) ::close(client);
    return std::nullopt;
  }

  io_uring ring_{};
  unsigned sockets_ = 0;
  unsigned added_ = 0;
  std::uint32_t first_tag_ = 0;
  bool open_ = false;
};

#else

/// Stands for the ring where there is none.
class SendRing {
 public:
  static constexpr bool built = false;
  static constexpr unsigned capacity = 1;

  [[nodiscard]] static constexpr bool open(unsigned /*sockets*/) noexcept { return false; }
  [[nodiscard]] static constexpr bool is_open() noexcept { return false; }
  static constexpr void close() noexcept {}
  [[nodiscard]] static constexpr unsigned sockets() noexcept { return 0; }
  static constexpr std::size_t enter(std::uint32_t /*place*/, const int* /*descriptors*/,
                                     std::size_t /*count*/) noexcept {
    return 0;
  }
  static constexpr void leave(std::uint32_t /*place*/) noexcept {}
  static constexpr void add(int /*socket*/, bool /*in_table*/, std::string_view /*bytes*/,
                            std::uint32_t /*tag*/) noexcept {}
  template <class F, class G>
  static constexpr void submit(F&& /*cut_short*/, G&& /*not_tried*/) noexcept {}
};

#endif

}  // namespace transport
FANFARE_NAMESPACE_END
