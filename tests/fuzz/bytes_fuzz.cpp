// Some streams of bytes of a host that does anything: takes little, ends them in the middle of a write, gives them bytes
// there, lets time pass. Each is closed at most once, and is not called behind that or behind its end; nobody counts as
// connected in the end.
//
// Two bytes are a step: what is done, in its upper half to which stream, and how much of it.
#include <fanfare/transport/bytes.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace fanfare;
using transport::HostedId;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "bytes_fuzz: %s\n", what);
  std::abort();
}

class Host;

struct Side {
  std::optional<HostedId> id;
  std::size_t room = std::string::npos;
  bool over = true;
  bool ends_in_write = false;
  std::string given_in_write;
};

struct Stream {
  Host* host;
  Side* side;
  std::size_t write(std::string_view bytes);
  void close() const;
};

class Host {
 public:
  Host()
      : app_(*apps_.add(
            {.id = "1", .key = "key", .secret = "secret", .client_events = true, .messages_per_second = 50})) {
    server_.emplace(apps_, transport::ByteOptions{.hosted = {.fanout = {.outbox_bytes = 4000},
                                                             .max_input_bytes = 2000,
                                                             .clock = [this] { return now_; }},
                                                  .http = {.header_bytes = 1000, .body_bytes = 1000},
                                                  .messages = {.bytes = 1000}});
  }

  void step(std::uint8_t what, std::uint8_t many, std::string_view& bytes) {
    Side& side = sides_[(what >> 4U) % sides_.size()];
    if (side.over && what % 16 != 9) open(side);
    switch (what % 16) {
      case 0:
        give(side,
             "GET /app/key?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        break;
      case 1: give(side, frame(R"({"event":"pusher:subscribe","data":{"channel":"x"}})")); break;
      case 2: give(side, frame(take(bytes, many))); break;
      case 3:
      case 4: give(side, std::string(take(bytes, many))); break;
      case 5: side.room = many; break;
      case 6: side.room = std::string::npos; break;
      case 7: server_->writable(*side.id); break;
      case 8: side.ends_in_write = true; break;
      case 9: end(side); break;
      case 10: side.given_in_write = take(bytes, many); break;
      case 11: app_.trigger("x", "e", std::string(many, '.')); break;
      case 12: now_ += std::chrono::milliseconds(many * many); break;
      case 13: give(side, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n"); break;
      case 14:
        if (many == 255) server_->drain(std::chrono::seconds(1));
        break;
      default: break;
    }
    for (int turns = 0; turns < 100 && server_->run(); ++turns) {
    }
  }

  std::size_t wrote(Side& side, std::size_t size) {
    expect(!side.over, "written behind the end");
    const std::size_t taken = std::min(size, side.room);
    if (side.room != std::string::npos) side.room -= taken;
    if (std::string given = std::exchange(side.given_in_write, {}); !given.empty()) give(side, std::move(given));
    if (std::exchange(side.ends_in_write, false)) end(side);
    return taken;
  }
  static void closed(Side& side) {
    expect(!side.over, "closed twice, or behind the end");
    side.over = true;
  }
  void stop() {
    server_.reset();
    expect(app_.connections() == 0, "somebody is connected in the end");
    expect(!app_.occupied("x"), "somebody is subscribed in the end");
  }

 private:
  void open(Side& side) {
    side = {};
    side.over = false;
    side.id = server_->open({this, &side});
  }
  void end(Side& side) {
    if (!side.id || side.over) return;
    side.over = true;
    server_->closed(*side.id);
  }
  void give(const Side& side, std::string bytes) { server_->receive(*side.id, bytes); }
  static std::string_view take(std::string_view& bytes, std::size_t many) {
    const std::string_view taken = bytes.substr(0, many);
    bytes.remove_prefix(taken.size());
    return taken;
  }
  // Masked with zeros: the fuzzer sees through it.
  static std::string frame(std::string_view text) {
    std::string all{'\x81'};
    if (text.size() < 126) {
      all += static_cast<char>(0x80U | text.size());
    } else {
      all += '\xFE';
      all += static_cast<char>(text.size() >> 8U);
      all += static_cast<char>(text.size() & 0xFFU);
    }
    return all.append(4, '\0').append(text);
  }

  std::chrono::milliseconds now_{1000};
  pusher::AppList apps_;
  App& app_;
  std::array<Side, 4> sides_;
  std::optional<transport::ByteTransport<Stream>> server_;
};

std::size_t Stream::write(std::string_view bytes) { return host->wrote(*side, bytes.size()); }
void Stream::close() const { Host::closed(*side); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Host host;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  while (bytes.size() > 1) {
    const auto what = static_cast<std::uint8_t>(bytes[0]);
    const auto many = static_cast<std::uint8_t>(bytes[1]);
    bytes.remove_prefix(2);
    host.step(what, many, bytes);
  }
  host.stop();
  return 0;
}
