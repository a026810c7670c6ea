#include <fanfare/transport/memory.hpp>

#include "support/heap.hpp"
#include "support/transcript.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using fanfare::test::FromServer;
using fanfare::test::World;
using transport::MemoryMessage;
using transport::MemoryTransport;
using websocket::Opcode;
using Texts = std::vector<std::string>;

// ---- transcripts

class MemoryPeer {
 public:
  static bool can(std::string_view /*power*/) { return true; }
  bool open(std::string_view target, const World& world) {
    client_ = nullptr;
    transport_.reset();
    apps_ = {};
    AppOptions options = fanfare::test::options_of(world);
    if (world.full) options.max_connections = 1;
    if (world.no_memory) options.limits.channels = 1;
    App* const app = apps_.add(std::move(options));
    held_ = world.no_memory ? app->channel("another") : ChannelHandle{};
    transport_ = std::make_unique<MemoryTransport>(apps_);
    const bool taken = !world.full || app->admit();  // by another
    if (world.draining) transport_->drain();
    EXPECT_TRUE(taken);
    client_ =
        &transport_->connect(target, {.origin = world.origin, .tls = world.tls, .over_capacity = world.over_capacity});
    return true;
  }
  void send(std::string_view text) {
    client_->send(std::string(text));
    transport_->run();
  }
  void pong() {
    client_->pong();
    transport_->run();
  }
  std::optional<FromServer> receive() {
    const std::optional<MemoryMessage> message = client_->receive();
    if (!message) return std::nullopt;
    switch (message->opcode) {
      case Opcode::text: return FromServer{FromServer::Kind::text, message->text, 0};
      case Opcode::ping: return FromServer{FromServer::Kind::ping, {}, 0};
      default: return FromServer{FromServer::Kind::close, {}, message->code};
    }
  }
  bool silent() const { return client_ == nullptr || client_->unread() == 0; }
  bool advance(std::chrono::milliseconds time) {
    transport_->advance(time);
    return true;
  }

 private:
  pusher::AppList apps_;
  ChannelHandle held_;
  std::unique_ptr<MemoryTransport> transport_;
  MemoryTransport::Client* client_ = nullptr;
};
static_assert(fanfare::test::Peer<MemoryPeer>);

class MemoryTranscripts : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(MemoryTranscripts, Hold) {
  MemoryPeer peer;
  EXPECT_EQ(fanfare::test::run(fanfare::test::read_transcript(GetParam()), peer), fanfare::test::TranscriptResult{});
}

INSTANTIATE_TEST_SUITE_P(All, MemoryTranscripts,
                         testing::ValuesIn(fanfare::test::find_transcripts(std::filesystem::path(FANFARE_TESTS) /
                                                                           "pusher/transcripts")),
                         [](const auto& test) { return test.param.stem().string(); });

// ---- several clients

class MemoryTest : public testing::Test {
 protected:
  explicit MemoryTest(const transport::FanoutLimits& limits = {}, std::size_t mailbox = std::size_t{64} << 20U)
      : app(*apps.add({.id = "1", .key = "key", .secret = "secret"})), transport(apps, limits, mailbox) {}

  MemoryTransport::Client& connect(std::initializer_list<std::string_view> channels = {}) {
    MemoryTransport::Client& client = transport.connect("/app/key?protocol=7");
    EXPECT_NE(text_of(client).find("connection_established"), std::string::npos);
    for (const std::string_view channel : channels) {
      client.send(std::string(R"({"event":"pusher:subscribe","data":{"channel":")").append(channel).append("\"}}"));
      transport.run();
      EXPECT_NE(text_of(client).find("subscription_succeeded"), std::string::npos);
    }
    return client;
  }
  static std::string text_of(MemoryTransport::Client& client) {
    const std::optional<MemoryMessage> message = client.receive();
    return message && message->opcode == Opcode::text ? message->text : std::string();
  }
  static Texts take(MemoryTransport::Client& client) {
    Texts texts;
    while (std::optional<MemoryMessage> message = client.receive()) {
      EXPECT_EQ(message->opcode, Opcode::text);
      texts.push_back(message->text);
    }
    return texts;
  }
  static std::string event(std::string_view data) {
    return std::string(R"({"event":"e","channel":"x","data":")").append(data).append(R"("})");
  }

  pusher::AppList apps;
  App& app;
  MemoryTransport transport;
};

TEST_F(MemoryTest, DeliversEventsInOrderAtTheNextRun) {
  auto& a = connect({"x"});
  auto& b = connect({"x"});
  auto& c = connect();
  app.trigger("x", "e", "1");
  app.trigger("x", "e", "2", {.except_socket = b.socket_id().text().view()});
  EXPECT_EQ(a.unread(), 0U);
  transport.run();
  EXPECT_EQ(take(a), (Texts{event("1"), event("2")}));
  EXPECT_EQ(take(b), Texts{event("1")});
  EXPECT_EQ(take(c), Texts{});
}

TEST_F(MemoryTest, CountsConnectionsAndSubscribers) {
  auto& a = connect({"x"});
  auto& b = connect({"x"});
  EXPECT_EQ(app.connections(), 2U);
  EXPECT_EQ(app.subscribers("x"), 2U);
  a.close();
  transport.run();
  EXPECT_TRUE(a.closed());
  EXPECT_EQ(app.connections(), 1U);
  EXPECT_EQ(app.subscribers("x"), 1U);
  app.trigger("x", "e", "1", {.except_socket = a.socket_id().text().view()});
  transport.run();
  EXPECT_EQ(take(a), Texts{});
  EXPECT_EQ(take(b), Texts{event("1")});
  b.close();
  transport.run();
  EXPECT_EQ(app.connections(), 0U);
  EXPECT_FALSE(app.occupied("x"));
  a.send(R"({"event":"pusher:ping"})");
  transport.run();
  EXPECT_EQ(take(a), Texts{});
}

TEST_F(MemoryTest, SendsAfterTheReplyOfATurnTheEventsOfIt) {
  auto& a = connect();
  a.send(R"({"event":"pusher:subscribe","data":{"channel":"x"}})");
  transport.run();
  app.trigger("x", "e", "1");
  a.send(R"({"event":"pusher:ping"})");
  transport.run();
  const Texts texts = take(a);
  ASSERT_EQ(texts.size(), 3U);
  EXPECT_NE(texts[1].find("pusher:pong"), std::string::npos);
  EXPECT_EQ(texts[2], event("1"));
}

TEST_F(MemoryTest, AClientThatReadsSlowlyLosesNothing) {
  auto& slow = connect({"x"});
  slow.limit_window(30);
  Texts expected;
  Texts came;
  for (int i = 0; i < 200; ++i) {
    app.trigger("x", "e", std::to_string(i));
    expected.push_back(event(std::to_string(i)));
    transport.run();
  }
  EXPECT_GT(slow.unread(), 200U * 40);
  slow.limit_window(100);
  while (came.size() < expected.size()) {
    transport.run();
    const Texts more = take(slow);
    ASSERT_FALSE(more.empty());
    came.insert(came.end(), more.begin(), more.end());
  }
  EXPECT_EQ(came, expected);
  EXPECT_EQ(slow.unread(), 0U);
  EXPECT_FALSE(slow.closed());
}

class SmallMemoryTest : public MemoryTest {
 protected:
  SmallMemoryTest() : MemoryTest({.outbox_bytes = 4000}, 5000) {}
};

TEST_F(SmallMemoryTest, AClientThatDoesNotReadIsClosedBehindAWholeFrame) {
  auto& slow = connect({"x"});
  auto& quick = connect({"x"});
  slow.limit_window(1000);
  Texts all;
  for (int i = 0; i < 40; ++i) {
    const std::string data = std::to_string(i) + std::string(200, '.');
    app.trigger("x", "e", data);
    transport.run();
    EXPECT_EQ(take(quick), Texts{event(data)});
    all.push_back(event(data));
    EXPECT_LE(slow.unread(), 1000U + 4000 + 300);
  }
  EXPECT_TRUE(slow.closed());
  EXPECT_FALSE(quick.closed());
  EXPECT_EQ(app.subscribers("x"), 1U);
  EXPECT_EQ(app.connections(), 1U);
  Texts came;
  std::optional<MemoryMessage> close;
  slow.limit_window(1 << 20);
  transport.run();
  while (std::optional<MemoryMessage> message = slow.receive()) {
    ASSERT_FALSE(close.has_value());
    if (message->opcode == Opcode::text) {
      came.push_back(message->text);
    } else {
      close = message;
    }
  }
  ASSERT_TRUE(close.has_value());
  EXPECT_EQ(*close, (MemoryMessage{Opcode::close, "The client reads too slowly", 4100}));
  ASSERT_GE(came.size(), 4U);
  all.resize(came.size());
  EXPECT_EQ(came, all);
  EXPECT_EQ(slow.unread(), 0U);
}

TEST_F(SmallMemoryTest, IsOverloadedUntilItRuns) {
  auto& a = connect({"x"});
  std::size_t taken = 0;
  TriggerResult result;
  while ((result = app.trigger("x", "e", std::string(300, '.')))) ++taken;
  EXPECT_EQ(result.error, errc::overloaded);
  transport.run();
  EXPECT_EQ(take(a).size(), taken);
  EXPECT_TRUE(app.trigger("x", "e", "1"));
}

TEST_F(MemoryTest, SilentClientsAreAskedAndGivenUp) {
  auto& a = connect({"x"});
  auto& b = connect({"x"});
  transport.advance(120s);
  for (auto* client : {&a, &b}) {
    const std::optional<MemoryMessage> message = client->receive();
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->opcode, Opcode::ping);
  }
  b.pong();
  transport.advance(29s);
  transport.advance(1s);
  EXPECT_TRUE(a.closed());
  EXPECT_FALSE(b.closed());
  EXPECT_EQ(app.subscribers("x"), 1U);
}

TEST_F(MemoryTest, OneThatDrainsTurnsNewClientsAway) {
  auto& a = connect({"x"});
  transport.drain();
  auto& late = transport.connect("/app/key?protocol=7");
  EXPECT_NE(text_of(late).find("4200"), std::string::npos);
  const std::optional<MemoryMessage> close = late.receive();
  ASSERT_TRUE(close.has_value());
  EXPECT_EQ(close->code, 4200);
  EXPECT_EQ(app.connections(), 1U);
  app.trigger("x", "e", "1");
  transport.run();
  EXPECT_EQ(take(a), Texts{event("1")});
}

TEST(Memory, WhoIsRefusedTakesNoPlace) {
  pusher::AppList apps;
  App* const app =
      apps.add({.id = "1", .key = "key", .secret = "secret", .max_connections = 1, .allowed_origins = {"example.com"}});
  MemoryTransport transport(apps);
  transport.connect("/app/key?protocol=7", {.origin = "https://example.org"});
  EXPECT_EQ(app->connections(), 0U);
  transport.connect("/app/key?protocol=7", {.origin = "https://example.com"});
  EXPECT_EQ(app->connections(), 1U);
  transport.run();
  EXPECT_EQ(app->connections(), 1U);
}

TEST(Memory, MayEndBeforeItsApplications) {
  pusher::AppList apps;
  App& app = *apps.add({.id = "1", .key = "key", .secret = "secret"});
  {
    MemoryTransport transport(apps);
    auto& client = transport.connect("/app/key?protocol=7");
    client.limit_window(1);
    client.send(R"({"event":"pusher:subscribe","data":{"channel":"x"}})");
    transport.run();
    EXPECT_EQ(app.subscribers("x"), 1U);
    app.trigger("x", "e", std::string(1000, '.'));
    transport.run();
    app.trigger("x", "e", "never sent");
  }
  EXPECT_EQ(app.subscribers("x"), 0U);
  EXPECT_EQ(app.connections(), 0U);
  EXPECT_EQ(app.trigger("x", "e", "1").delivered, 0U);
}

}  // namespace
