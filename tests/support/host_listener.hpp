// The part of a host that accepts connections, for tests that hand them over.
#pragma once

#include "support/socket_client.hpp"

#include <fanfare/transport/listener.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <stdexcept>
#include <string>
#include <utility>

namespace fanfare::test {

class HostListener {
 public:
  HostListener() : listener_(transport::Listener::open("127.0.0.1:0")) {
    if (listener_.descriptor < 0) throw std::runtime_error("no listener");
  }
  HostListener(const HostListener&) = delete;
  HostListener& operator=(const HostListener&) = delete;
  ~HostListener() { ::close(listener_.descriptor); }

  [[nodiscard]] const std::string& endpoint() const { return listener_.endpoint; }
  [[nodiscard]] int descriptor() const { return listener_.descriptor; }

  // The socket of the client that connected first, as hosts have them: it blocks, and delays what is small.
  [[nodiscard]] int accept() const {
    pollfd wanted{listener_.descriptor, POLLIN, 0};
    int accepted = -1;
    // Another thread of the host may take the one that this one was woken for.
    while (accepted < 0 && ::poll(&wanted, 1, 20'000) > 0) accepted = ::accept(listener_.descriptor, nullptr, nullptr);
    if (accepted < 0) throw std::runtime_error("nobody has connected");
    return accepted;
  }
  // Reads that many bytes.
  [[nodiscard]] static std::string read(int socket, std::size_t size) {
    std::string bytes(size, '\0');
    std::size_t done = 0;
    while (done < size) {
      const ssize_t count = ::recv(socket, bytes.data() + done, size - done, 0);
      if (count <= 0) throw std::runtime_error("the client has sent too little");
      done += static_cast<std::size_t>(count);
    }
    return bytes;
  }

 private:
  transport::Listener listener_;
};

}  // namespace fanfare::test
