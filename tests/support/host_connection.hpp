// A host's connection whose other end is the test.
#pragma once

#include "support/transcript.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {

/// What the host has been told, and what it says.
struct HostSide {
  std::deque<FromServer> received;
  std::size_t buffered = 0;          // what it says of itself
  unsigned closes = 0;               // how often it was told to close
  unsigned resumes = 0;              // likewise, to read on
  bool throws = false;               // from now on
  std::function<void()> on_send{};   // called by each send
  std::function<void()> on_close{};  // and by each close

  [[nodiscard]] std::optional<FromServer> take() {
    if (received.empty()) return std::nullopt;
    FromServer first = std::move(received.front());
    received.pop_front();
    return first;
  }
  [[nodiscard]] std::vector<std::string> take_texts() {
    std::vector<std::string> texts;
    for (FromServer& each : received) texts.push_back(std::move(each.text));
    received.clear();
    return texts;
  }
};

/// Has all that a connection can have.
struct HostHandle {
  HostSide* side;

  bool send(std::string_view text) {
    if (side->throws) throw std::runtime_error("the connection is broken");
    side->received.push_back({FromServer::Kind::text, std::string(text), 0});
    if (side->on_send != nullptr) side->on_send();
    return true;
  }
  void ping() { side->received.push_back({FromServer::Kind::ping, {}, 0}); }
  void close(std::uint16_t code, std::string_view reason) {
    ++side->closes;
    side->received.push_back({FromServer::Kind::close, std::string(reason), code});
    if (side->on_close != nullptr) side->on_close();
  }
  [[nodiscard]] std::size_t buffered() const noexcept { return side->buffered; }
  void resume() { ++side->resumes; }
};

/// And nothing but what it must have.
struct PlainHandle {
  HostSide* side;

  void send(std::string_view text) { side->received.push_back({FromServer::Kind::text, std::string(text), 0}); }
  void close(std::uint16_t code, std::string_view reason) {
    ++side->closes;
    side->received.push_back({FromServer::Kind::close, std::string(reason), code});
  }
};

/// A subscription in the protocol's words.
[[nodiscard]] inline std::string subscribe_text(std::string_view channel) {
  return std::string(R"({"event":"pusher:subscribe","data":{"auth":"key:","channel":")").append(channel).append("\"}}");
}
/// An event of the channel x as clients get it.
[[nodiscard]] inline std::string event_text(std::string_view data) {
  return std::string(R"({"event":"e","channel":"x","data":")").append(data).append(R"("})");
}

}  // namespace fanfare::test
