// What a Fanout needs around it where nothing is to be sent anywhere.
#pragma once

#include <fanfare/transport/door.hpp>
#include <fanfare/transport/peer.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fanfare::test {

/// Two connections that take everything at once.
struct RestingPort {
  RestingPort() { peers[1].number = 1; }
  std::ptrdiff_t write(transport::Peer&, std::string_view bytes) noexcept {
    return static_cast<std::ptrdiff_t>(bytes.size());
  }
  void broken(transport::Peer&) noexcept {}
  void overflowed(transport::Peer&) noexcept {}
  transport::Peer* find(std::string_view) noexcept { return nullptr; }
  transport::Peer* at(std::uint32_t number) noexcept { return number < 2 ? &peers[number] : nullptr; }
  transport::Peer peers[2];
};

struct RestingDoor final : transport::Door {
  RestingDoor() : Door(1 << 20) {}
  void wake() noexcept override {}
};

}  // namespace fanfare::test
