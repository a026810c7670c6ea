#include <fanfare/transport/bytes.hpp>

#include "support/requests.hpp"
#include "support/transcript.hpp"
#include "support/websocket.hpp"
#include <fanfare/store/journal.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using transport::ByteOptions;
using transport::ByteTransport;
using transport::HostedId;

/// The other end of a stream.
struct StreamSide {
  std::string wire;                      // what has come and was not read
  std::size_t room = std::string::npos;  // how much more it takes
  unsigned writes = 0;
  unsigned closes = 0;
  unsigned resumes = 0;
  std::function<void()> on_write{};

  /// Takes the answer to a request: its header and body.
  [[nodiscard]] std::string answer() {
    const std::size_t header = wire.find("\r\n\r\n");
    if (header == wire.npos) return {};
    const std::size_t length = wire.find("Content-Length: ");
    const std::size_t body = length < header ? std::stoul(wire.substr(length + 16)) : 0;
    std::string all = wire.substr(0, header + 4 + body);
    wire.erase(0, all.size());
    return all;
  }
  [[nodiscard]] unsigned status() {
    const std::string all = answer();
    return all.size() < 12 ? 0 : static_cast<unsigned>(std::stoul(all.substr(9)));
  }
  [[nodiscard]] std::optional<FromServer> frame() {
    const websocket::ServerFrame frame = websocket::read_server_frame(wire);
    if (frame.size == 0) return std::nullopt;
    FromServer taken{FromServer::Kind::text, std::string(frame.payload), 0};
    if (frame.opcode == websocket::Opcode::ping) taken.kind = FromServer::Kind::ping;
    if (frame.opcode == websocket::Opcode::close) {
      taken.kind = FromServer::Kind::close;
      taken.code = frame.code;
      taken.text.clear();
    }
    wire.erase(0, frame.size);
    return taken;
  }
};

struct Stream {
  StreamSide* side;

  std::size_t write(std::string_view bytes) {
    const std::size_t taken = std::min(bytes.size(), side->room);
    side->wire.append(bytes.substr(0, taken));
    if (side->room != std::string::npos) side->room -= taken;
    ++side->writes;
    if (side->on_write != nullptr) side->on_write();
    return taken;
  }
  void close() { ++side->closes; }
  void resume() { ++side->resumes; }
};
static_assert(transport::ByteConnection<Stream>);
static_assert(!transport::ByteConnection<StreamSide>);

std::string upgrade(std::string_view target, std::string_view fields = {}) {
  return std::string("GET ")
      .append(target)
      .append(
          " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
      .append(fields)
      .append("\r\n");
}
std::string subscription(std::string_view channel) {
  return text_frame(std::string(R"({"event":"pusher:subscribe","data":{"channel":")").append(channel).append("\"}}"));
}
std::string event(std::string_view data) {
  return std::string(R"({"event":"e","channel":"x","data":")").append(data).append(R"("})");
}

// ---- transcripts

class BytePeer {
 public:
  static bool can(std::string_view /*power*/) { return true; }
  bool open(std::string_view target, const World& world) {
    server_.reset();
    apps_ = {};
    side_ = {};
    AppOptions options = options_of(world);
    if (world.full) options.max_connections = 1;
    if (world.no_memory) options.limits.channels = 1;
    App* const app = apps_.add(std::move(options));
    held_ = world.no_memory ? app->channel("another") : ChannelHandle{};
    server_ = std::make_unique<ByteTransport<Stream>>(apps_, ByteOptions{.hosted = {.clock = [this] { return now_; }}});
    EXPECT_TRUE(!world.full || app->admit());  // by another
    if (world.draining) server_->drain(10s);
    id_ = server_->open({&side_}, {.tls = world.tls, .over_capacity = world.over_capacity});
    give(upgrade(target, world.origin.empty() ? "" : "Origin: " + world.origin + "\r\n"));
    EXPECT_EQ(side_.status(), 101U);
    return true;
  }
  void send(std::string_view text) { give(text_frame(text)); }
  void pong() { give(client_frame(0x8A, "")); }
  std::optional<FromServer> receive() { return side_.frame(); }
  bool silent() const { return side_.wire.empty(); }
  bool advance(std::chrono::milliseconds time) {
    now_ += time;
    run();
    return true;
  }

 private:
  // One byte at a time.
  void give(std::string bytes) {
    for (char& byte : bytes) server_->receive(id_, {&byte, 1});
    run();
  }
  void run() const {
    while (server_->run()) {
    }
  }

  std::chrono::milliseconds now_{1000};
  StreamSide side_;
  pusher::AppList apps_;
  ChannelHandle held_;
  std::unique_ptr<ByteTransport<Stream>> server_;
  HostedId id_;
};
static_assert(Peer<BytePeer>);

class ByteTranscripts : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(ByteTranscripts, HoldByteByByte) {
  BytePeer peer;
  EXPECT_EQ(run(read_transcript(GetParam()), peer), TranscriptResult{});
}

INSTANTIATE_TEST_SUITE_P(All, ByteTranscripts,
                         testing::ValuesIn(find_transcripts(std::filesystem::path(FANFARE_TESTS) /
                                                            "pusher/transcripts")),
                         [](const auto& test) { return test.param.stem().string(); });

// ---- HTTP

class ByteTest : public testing::Test {
 protected:
  explicit ByteTest(ByteOptions options = {}, AppOptions app_options = {})
      : app(*apps.add(named(std::move(app_options)))) {
    options.hosted.clock = [this] { return now; };
    options.hosted.wake = [this] { ++wakes; };
    server.emplace(apps, std::move(options));
    run();
  }
  static AppOptions named(AppOptions options) {
    options.id = "1";
    options.key = "key";
    options.secret = "secret";
    return options;
  }
  struct Client {
    StreamSide side;
    HostedId id;
  };
  Client& connect() {
    Client& client = all.emplace_back();
    client.id = server->open({&client.side});
    return client;
  }
  Client& websocket(std::initializer_list<std::string_view> channels = {}) {
    Client& client = connect();
    give(client, upgrade("/app/key?protocol=7"));
    EXPECT_EQ(client.side.status(), 101U);
    EXPECT_NE(client.side.frame()->text.find("connection_established"), std::string::npos);
    for (const std::string_view channel : channels) {
      give(client, subscription(channel));
      run();
      EXPECT_NE(client.side.frame()->text.find("subscription_succeeded"), std::string::npos);
    }
    return client;
  }
  bool give(const Client& client, std::string bytes) { return server->receive(client.id, bytes); }
  void run() {
    while (server->run()) {
    }
  }
  void advance(std::chrono::milliseconds time) {
    now += time;
    run();
  }
  static std::string get(std::string_view target) {
    return std::string("GET ").append(target).append(" HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  static std::string post(std::string_view channel, std::string_view data) {
    return signed_post(
        "/apps/1/events",
        std::string(R"({"name":"e","data":")").append(data).append(R"(","channel":")").append(channel).append("\"}"));
  }

  std::chrono::milliseconds now{5000};
  unsigned wakes = 0;
  pusher::AppList apps;
  App& app;
  std::deque<Client> all;
  std::optional<ByteTransport<Stream>> server;
};

TEST_F(ByteTest, ServesTheHttpApiAndKeepsTheConnection) {
  Client& page = websocket({"x"});
  Client& backend = connect();
  EXPECT_TRUE(give(backend, post("x", "1") + post("x", "2")));
  EXPECT_EQ(backend.side.status(), 200U);
  EXPECT_EQ(backend.side.status(), 200U);
  EXPECT_TRUE(give(backend, get("/apps/1/channels")));
  EXPECT_EQ(backend.side.status(), 401U);
  run();
  EXPECT_EQ(page.side.frame()->text, event("1"));
  EXPECT_EQ(page.side.frame()->text, event("2"));
  EXPECT_EQ(backend.side.closes, 0U);
}

TEST_F(ByteTest, AnswersRequestsByteByByte) {
  Client& backend = connect();
  for (char byte : post("x", "1") + get("/none")) EXPECT_TRUE(server->receive(backend.id, {&byte, 1}));
  EXPECT_EQ(backend.side.status(), 200U);
  EXPECT_EQ(backend.side.status(), 404U);
}

class ByteRequestTest : public ByteTest {
 protected:
  ByteRequestTest()
      : ByteTest({.on_request = [](const http::Request& request) -> std::optional<http::Response> {
          if (request.path() == "/throws") throw std::runtime_error("no");
          if (request.path() != "/page") return std::nullopt;
          return http::text_response(200, "a page");
        }}) {}
};

TEST_F(ByteRequestTest, GivesTheHostWhatIsItsOwn) {
  Client& client = connect();
  give(client, get("/page") + get("/other") + get("/throws"));
  EXPECT_NE(client.side.answer().find("a page"), std::string::npos);
  EXPECT_EQ(client.side.status(), 404U);
  EXPECT_EQ(client.side.status(), 500U);
}

TEST_F(ByteTest, WhatIsNoHttpIsAnsweredAndClosed) {
  Client& client = connect();
  EXPECT_FALSE(give(client, "\x16\x03\x01\r\n\r\n"));
  EXPECT_EQ(client.side.status(), 400U);
  EXPECT_EQ(client.side.closes, 1U);
  EXPECT_FALSE(give(client, get("/")));
  EXPECT_TRUE(client.side.wire.empty());
  EXPECT_EQ(server->connections(), 0U);
}

TEST_F(ByteTest, ARefusedUpgradeIsAnHttpError) {
  Client& client = connect();
  give(client, "GET /app/key?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
  EXPECT_EQ(client.side.status(), 426U);
  EXPECT_EQ(client.side.closes, 1U);
}

TEST_F(ByteTest, WhoMayGoOnIsToldSo) {
  Client& client = connect();
  give(client, "POST /none HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.side.wire, "HTTP/1.1 100 Continue\r\n\r\n");
  client.side.wire.clear();
  give(client, "ab");
  EXPECT_EQ(client.side.status(), 404U);
}

TEST_F(ByteTest, RequestsAndConnectionsHaveTheirTime) {
  Client& begun = connect();
  Client& idle = connect();
  give(begun, "GET / HT");
  advance(29s);
  EXPECT_EQ(server->connections(), 2U);
  advance(2s);
  EXPECT_EQ(begun.side.status(), 408U);
  EXPECT_EQ(begun.side.closes, 1U);
  EXPECT_TRUE(idle.side.wire.empty());
  EXPECT_EQ(idle.side.closes, 1U);
  Client& kept = connect();
  give(kept, get("/"));
  EXPECT_EQ(kept.side.status(), 404U);
  advance(119s);
  EXPECT_EQ(kept.side.closes, 0U);
  advance(2s);
  EXPECT_EQ(kept.side.closes, 1U);
}

TEST_F(ByteTest, WhoDoesNotReadItsAnswersIsNotAnsweredMore) {
  Client& client = connect();
  client.side.room = 100;
  std::string many;
  for (int i = 0; i < 200; ++i) many += get("/");
  EXPECT_FALSE(give(client, many));
  EXPECT_EQ(client.side.wire.size(), 100U);
  run();
  EXPECT_FALSE(give(client, get("/last")));
  client.side.room = std::string::npos;
  server->writable(client.id);
  run();
  unsigned answers = 0;
  while (client.side.status() == 404U) ++answers;
  EXPECT_EQ(answers, 201U);
  EXPECT_EQ(client.side.resumes, 1U);
  EXPECT_TRUE(give(client, get("/")));
}

TEST_F(ByteTest, WhoAsksOnAndOnWithoutReadingIsClosed) {
  Client& client = connect();
  client.side.room = 100;
  for (int i = 0; i < 20'000; ++i) give(client, get("/"));
  run();
  EXPECT_EQ(client.side.closes, 1U);
  EXPECT_EQ(server->connections(), 0U);
}

// ---- WebSockets

TEST_F(ByteTest, TheUpgradeMayHaveFramesBehindIt) {
  Client& client = connect();
  give(client,
       get("/") + upgrade("/app/key?protocol=7") + subscription("x") + text_frame(R"({"event":"pusher:ping"})"));
  EXPECT_EQ(client.side.status(), 404U);
  EXPECT_EQ(client.side.status(), 101U);
  EXPECT_NE(client.side.frame()->text.find("established"), std::string::npos);
  EXPECT_NE(client.side.frame()->text.find("succeeded"), std::string::npos);
  EXPECT_NE(client.side.frame()->text.find("pong"), std::string::npos);
  EXPECT_TRUE(app.occupied("x"));
}

TEST_F(ByteTest, EventsOfATurnAreOneWrite) {
  Client& client = websocket({"x", "y"});
  client.side.writes = 0;
  for (int i = 0; i < 100; ++i) app.trigger(i % 2 == 0 ? "x" : "y", "e", std::to_string(i));
  run();
  EXPECT_EQ(client.side.writes, 1U);
  for (int i = 0; i < 100; ++i)
    EXPECT_NE(client.side.frame()->text.find('"' + std::to_string(i) + '"'), std::string::npos);
}

TEST_F(ByteTest, AnswersPingsAndCloses) {
  Client& client = websocket();
  give(client, ping_frame("are you there"));
  EXPECT_EQ(client.side.wire, std::string("\x8A\x0D") + "are you there");
  client.side.wire.clear();
  EXPECT_FALSE(give(client, close_frame(1000) + subscription("x")));
  EXPECT_EQ(client.side.frame()->code, 1000U);
  EXPECT_EQ(client.side.closes, 1U);
  EXPECT_FALSE(app.occupied("x"));
  EXPECT_EQ(app.connections(), 0U);
}

TEST_F(ByteTest, WhoBreaksTheRulesIsToldWhich) {
  Client& unmasked = websocket();
  give(unmasked, std::string("\x81\x02hi"));
  EXPECT_EQ(unmasked.side.frame()->code, 1002U);
  EXPECT_EQ(unmasked.side.closes, 1U);
  Client& large = websocket();
  give(large, text_frame(std::string(65'537, ' ')));
  EXPECT_EQ(large.side.frame()->code, 1009U);
  EXPECT_EQ(server->connections(), 0U);
}

class SlowByteTest : public ByteTest {
 protected:
  SlowByteTest() : ByteTest({.hosted = {.fanout = {.outbox_bytes = 4000}}}) {}
};

TEST_F(SlowByteTest, AClientThatReadsByteByByteLosesNothing) {
  Client& slow = websocket({"x"});
  slow.side.room = 0;
  for (int i = 0; i < 30; ++i) {
    app.trigger("x", "e", std::to_string(i));
    run();
  }
  EXPECT_TRUE(slow.side.wire.empty());
  std::string came;
  for (int i = 0; i < 3000; ++i) {
    slow.side.room = 1;
    server->writable(slow.id);
    came += std::exchange(slow.side.wire, {});
  }
  slow.side.wire = came;
  for (int i = 0; i < 30; ++i) EXPECT_EQ(slow.side.frame()->text, event(std::to_string(i)));
  EXPECT_EQ(slow.side.closes, 0U);
}

TEST_F(SlowByteTest, AClientThatDoesNotReadIsClosedBehindAWholeFrame) {
  Client& slow = websocket({"x"});
  slow.side.room = 150;
  for (int i = 0; i < 60; ++i) {
    app.trigger("x", "e", std::to_string(i) + std::string(100, '.'));
    run();
  }
  EXPECT_EQ(server->slow_consumers().closed, 1U);
  EXPECT_EQ(app.subscribers("x"), 0U);
  slow.side.room = std::string::npos;
  server->writable(slow.id);
  EXPECT_EQ(slow.side.frame()->text, event("0" + std::string(100, '.')));
  std::optional<FromServer> last = slow.side.frame();
  if (last && last->kind == FromServer::Kind::text) last = slow.side.frame();  // the one that it was in the middle of
  EXPECT_EQ(last->code, 4100U);
  EXPECT_EQ(slow.side.closes, 1U);
}

class PacedByteTest : public ByteTest {
 protected:
  PacedByteTest() : ByteTest({}, paced()) {}
  static AppOptions paced() {
    AppOptions options;
    options.messages_per_second = 3;
    return options;
  }
};

TEST_F(PacedByteTest, WhatIsTooMuchForASecondWaitsForTheNext) {
  Client& client = websocket();
  std::string many;
  for (int i = 0; i < 7; ++i) many += text_frame(R"({"event":"pusher:ping"})");
  EXPECT_FALSE(give(client, many));
  run();
  unsigned pongs = 0;
  while (client.side.frame()) ++pongs;
  EXPECT_EQ(pongs, 3U);
  for (int i = 0; i < 20; ++i) advance(100ms);
  while (client.side.frame()) ++pongs;
  EXPECT_EQ(pongs, 7U);
  advance(1100ms);
  EXPECT_EQ(client.side.resumes, 1U);
}

class ForwardedByteTest : public ByteTest {
 protected:
  ForwardedByteTest() : ByteTest({.forwarded_for = true}, one_each()) {}
  static AppOptions one_each() {
    AppOptions options;
    options.max_connections_per_address = 1;
    return options;
  }
};

TEST_F(ForwardedByteTest, CountsTheAddressesThatAProxyHasSeen) {
  for (const auto& [address, code] : {std::pair{"192.0.2.1", 0U}, {"192.0.2.2", 0U}, {"192.0.2.1", 4100U}}) {
    Client& client = connect();
    give(client, upgrade("/app/key?protocol=7", std::string("X-Forwarded-For: ").append(address).append("\r\n")));
    EXPECT_EQ(client.side.status(), 101U);
    const bool refused = client.side.frame()->text.find("established") == std::string::npos;
    EXPECT_EQ(refused, code != 0);
    if (refused) {
      EXPECT_EQ(client.side.frame()->code, code);
    }
  }
  server->closed(all.front().id);
  EXPECT_EQ(app.connections(), 1U);
}

// ---- streams that answer from inside, and ends

TEST_F(ByteTest, AStreamMayEndInsideOfAWrite) {
  Client& page = websocket({"x"});
  Client& other = websocket({"x"});
  page.side.on_write = [&] { server->closed(page.id); };
  app.trigger("x", "e", "1");
  run();
  EXPECT_EQ(page.side.closes, 0U);
  EXPECT_EQ(other.side.frame()->text, event("1"));
  Client& backend = connect();
  backend.side.on_write = [&] { server->closed(backend.id); };
  EXPECT_FALSE(give(backend, get("/") + get("/")));
  EXPECT_EQ(backend.side.closes, 0U);
  EXPECT_EQ(server->connections(), 1U);
}

TEST_F(ByteTest, WhatComesInsideOfAWriteIsActedOnAfterwards) {
  Client& client = connect();
  bool asked = false;
  client.side.on_write = [&] {
    if (!std::exchange(asked, true)) {
      EXPECT_FALSE(give(client, get("/apps/second")));
    }
  };
  give(client, get("/first"));
  run();
  EXPECT_EQ(client.side.status(), 404U);
  EXPECT_NE(client.side.status(), 0U);
  EXPECT_TRUE(client.side.wire.empty());
}

TEST_F(ByteTest, OneThatDrainsAnswersWhatHasBegun) {
  Client& page = websocket({"x"});
  Client& idle = connect();
  Client& begun = connect();
  give(begun, "GET / HTTP/1.1\r\n");
  server->drain(10s);
  run();
  EXPECT_EQ(idle.side.closes, 1U);
  EXPECT_NE(page.side.frame()->text.find("4100"), std::string::npos);
  EXPECT_EQ(page.side.frame()->code, 4100U);
  EXPECT_FALSE(server->drained());
  give(begun, "Host: x\r\n\r\n");
  EXPECT_NE(begun.side.answer().find("Connection: close"), std::string::npos);
  EXPECT_EQ(begun.side.closes, 1U);
  EXPECT_TRUE(server->drained());
}

TEST_F(ByteTest, MayEndInTheMiddleOfEverything) {
  Client& page = websocket({"x"});
  give(page, subscription("y").substr(0, 5));  // holds a processor
  Client& slow = websocket({"x"});
  slow.side.room = 1;
  Client& backend = connect();
  give(backend, "POST / HT");
  app.trigger("x", "e", "1");
  run();
  app.trigger("x", "e", "2");
  server.reset();
  EXPECT_EQ(page.side.closes + slow.side.closes + backend.side.closes, 0U);
  EXPECT_EQ(app.connections(), 0U);
}

// ---- answers that wait for a store

/// Writes nowhere, when it is let.
class Gated {
 public:
  [[nodiscard]] store::KeptNumbers numbers() const noexcept { return {5, 0}; }
  [[nodiscard]] store::StoreError reserve(std::uint64_t /*last*/) noexcept { return store::StoreError::ok; }
  [[nodiscard]] store::StoreError load(KeptVisitor& /*visitor*/) { return store::StoreError::ok; }
  [[nodiscard]] store::StoreError commit(std::span<const KeptChange> /*changes*/) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !held_; });
    return store::StoreError::ok;
  }
  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
};

TEST(ByteStore, AnswersWhenTheStoreHasTheEvent) {
  std::mutex mutex;
  std::condition_variable changed;
  unsigned wakes = 0;
  auto made = std::make_unique<Gated>();
  Gated* const gate = made.get();
  AppOptions options{.id = "1", .key = "key", .secret = "secret"};
  options.channel_rules = {{.match = "kept-*", .history = HistoryRule{}}};
  options.store = store::make_log(std::move(made));
  pusher::AppList apps;
  apps.add(std::move(options));
  StreamSide side;
  ByteTransport<Stream> server(apps, {.hosted = {.wake = [&] {
                                        const std::lock_guard lock(mutex);
                                        ++wakes;
                                        changed.notify_all();
                                      }}});
  const HostedId id = server.open({&side});
  gate->hold(true);
  std::string request = signed_post("/apps/1/events", R"({"name":"e","data":"1","channel":"kept-x"})") +
                        "GET /none HTTP/1.1\r\nHost: x\r\n\r\n";
  EXPECT_FALSE(server.receive(id, request));
  while (server.run()) {
  }
  EXPECT_TRUE(side.wire.empty());
  {
    const std::lock_guard lock(mutex);
    wakes = 0;
  }
  gate->hold(false);
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return wakes != 0; });
  }
  while (server.run()) {
  }
  EXPECT_EQ(side.status(), 200U);
  EXPECT_EQ(side.status(), 404U);
  EXPECT_EQ(side.resumes, 1U);
}

}  // namespace
}  // namespace fanfare::test
