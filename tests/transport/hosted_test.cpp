#include <fanfare/transport/hosted.hpp>

#include "support/host_connection.hpp"
#include "support/transcript.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using transport::FanoutLimits;
using transport::HostedId;
using transport::HostedOptions;
using transport::HostedTransport;
using HostedTexts = std::vector<std::string>;

static_assert(transport::HostConnection<HostHandle>);
static_assert(transport::HostConnection<PlainHandle>);
static_assert(!transport::HostConnection<HostSide>);

// ---- transcripts

class HostedPeer {
 public:
  static bool can(std::string_view /*power*/) { return true; }
  bool open(std::string_view target, const World& world) {
    transport_.reset();
    apps_ = {};
    side_ = {};
    AppOptions options = options_of(world);
    if (world.full) options.max_connections = 1;
    if (world.no_memory) options.limits.channels = 1;
    App* const app = apps_.add(std::move(options));
    held_ = world.no_memory ? app->channel("another") : ChannelHandle{};
    transport_ = std::make_unique<HostedTransport<HostHandle>>(apps_, HostedOptions{.clock = [this] { return now_; }});
    EXPECT_TRUE(!world.full || app->admit());  // by another
    if (world.draining) transport_->drain(10s);
    id_ = transport_->open({&side_}, target,
                           {.origin = world.origin, .tls = world.tls, .over_capacity = world.over_capacity});
    run();
    return true;
  }
  void send(std::string_view text) {
    transport_->receive(id_, text);
    run();
  }
  void pong() { transport_->heard(id_); }
  std::optional<FromServer> receive() { return side_.take(); }
  bool silent() const { return side_.received.empty(); }
  bool advance(std::chrono::milliseconds time) {
    now_ += time;
    run();
    return true;
  }

 private:
  void run() const {
    while (transport_->run()) {
    }
  }

  std::chrono::milliseconds now_{1000};
  HostSide side_;
  pusher::AppList apps_;
  ChannelHandle held_;
  std::unique_ptr<HostedTransport<HostHandle>> transport_;
  HostedId id_;
};
static_assert(Peer<HostedPeer>);

class HostedTranscripts : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(HostedTranscripts, Hold) {
  HostedPeer peer;
  EXPECT_EQ(run(read_transcript(GetParam()), peer), TranscriptResult{});
}

INSTANTIATE_TEST_SUITE_P(All, HostedTranscripts,
                         testing::ValuesIn(find_transcripts(std::filesystem::path(FANFARE_TESTS) /
                                                            "pusher/transcripts")),
                         [](const auto& test) { return test.param.stem().string(); });

// ---- several clients

class HostedTest : public testing::Test {
 protected:
  explicit HostedTest(HostedOptions options = {}, AppOptions app_options = {})
      : app(*apps.add(with_names(std::move(app_options)))) {
    options.clock = [this] { return now; };
    options.wake = [this] { ++wakes; };
    clients.emplace(apps, std::move(options));
    run();
    wakes = 0;
  }
  static AppOptions with_names(AppOptions options) {
    options.id = "1";
    options.key = "key";
    options.secret = "secret";
    return options;
  }

  struct Client {
    HostSide side;
    HostedId id;
  };
  Client& connect(std::initializer_list<std::string_view> channels = {}) {
    Client& client = all.emplace_back();
    client.id = clients->open({&client.side}, "/app/key?protocol=7");
    EXPECT_NE(client.side.take()->text.find("connection_established"), std::string::npos);
    for (const std::string_view channel : channels) {
      EXPECT_TRUE(clients->receive(client.id, subscribe_text(channel)));
      run();
      EXPECT_NE(client.side.take()->text.find("subscription_succeeded"), std::string::npos);
    }
    return client;
  }
  void run() {
    while (clients->run()) {
    }
  }
  void advance(std::chrono::milliseconds time) {
    now += time;
    run();
  }

  std::chrono::milliseconds now{5000};
  unsigned wakes = 0;
  pusher::AppList apps;
  App& app;
  std::deque<Client> all;
  std::optional<HostedTransport<HostHandle>> clients;
};

TEST_F(HostedTest, DeliversEventsInOrderAtTheNextRunAndAsksForItOnce) {
  Client& a = connect({"x"});
  Client& b = connect({"x"});
  Client& c = connect();
  wakes = 0;
  app.trigger("x", "e", "1");
  app.trigger("x", "e", "2", {.except_socket = clients->socket_id(b.id)->text().view()});
  EXPECT_EQ(wakes, 1U);
  EXPECT_TRUE(a.side.received.empty());
  run();
  EXPECT_EQ(a.side.take_texts(), (HostedTexts{event_text("1"), event_text("2")}));
  EXPECT_EQ(b.side.take_texts(), HostedTexts{event_text("1")});
  EXPECT_TRUE(c.side.received.empty());
  EXPECT_EQ(clients->connections(), 3U);
  app.trigger("x", "e", "3");
  EXPECT_EQ(wakes, 2U);
}

TEST_F(HostedTest, WhoIsRefusedIsToldWhyAndClosedOnce) {
  HostSide side;
  const HostedId id = clients->open({&side}, "/app/other?protocol=7");
  ASSERT_EQ(side.received.size(), 2U);
  EXPECT_NE(side.received[0].text.find("4001"), std::string::npos);
  EXPECT_EQ(side.received[1].code, 4001U);
  EXPECT_EQ(side.closes, 1U);
  EXPECT_EQ(clients->connections(), 0U);
  EXPECT_EQ(clients->socket_id(id), std::nullopt);
  EXPECT_FALSE(clients->receive(id, subscribe_text("x")));
  clients->closed(id);
  clients->closed(HostedId{});
  EXPECT_EQ(app.connections(), 0U);
}

TEST_F(HostedTest, AnIdOfAConnectionThatIsOverNamesNobodyElse) {
  Client& a = connect({"x"});
  clients->closed(a.id);
  EXPECT_EQ(app.subscribers("x"), 0U);
  EXPECT_EQ(a.side.closes, 0U);
  Client& b = connect({"x"});
  EXPECT_EQ(a.id.number, b.id.number);
  clients->closed(a.id);
  EXPECT_EQ(app.connections(), 1U);
  EXPECT_FALSE(clients->receive(a.id, R"({"event":"pusher:ping","data":{}})"));
  EXPECT_TRUE(b.side.received.empty());
}

TEST_F(HostedTest, SilentClientsAreAskedAndGivenUpWhenTheDeadlineSaysSo) {
  Client& a = connect({"x"});
  Client& b = connect({"x"});
  for (int i = 0; i < 200 && a.side.received.empty(); ++i) {
    EXPECT_LE(clients->due(), now + 1s);
    now = clients->due();
    run();
  }
  ASSERT_FALSE(a.side.received.empty());
  EXPECT_EQ(a.side.take()->kind, FromServer::Kind::ping);
  EXPECT_EQ(b.side.take()->kind, FromServer::Kind::ping);
  clients->heard(b.id);
  advance(30s);
  EXPECT_EQ(a.side.received.back().code, 4201U);
  EXPECT_EQ(app.subscribers("x"), 1U);
}

TEST_F(HostedTest, OneThatDrainsTellsItsClientsToComeBackLater) {
  Client& a = connect({"x"});
  Client& slow = connect({"x"});
  slow.side.buffered = 1 << 20;
  wakes = 0;
  clients->drain(10s);
  EXPECT_GE(wakes, 1U);
  EXPECT_FALSE(clients->drained());
  run();
  EXPECT_EQ(a.side.received.back().code, 4100U);
  EXPECT_EQ(clients->connections(), 1U);
  HostSide late;
  clients->open({&late}, "/app/key?protocol=7");
  EXPECT_EQ(late.received.back().code, 4200U);
  advance(10s);
  EXPECT_TRUE(clients->drained());
  EXPECT_EQ(slow.side.closes, 1U);
}

class HostedUsersTest : public HostedTest {
 protected:
  HostedUsersTest() : HostedTest({}, users()) {}
  static AppOptions users() {
    AppOptions options;
    options.user_authentication = true;
    return options;
  }
  void sign_in(const Client& client, std::string_view user) {
    const std::string data = R"({"id":")" + std::string(user) + R"("})";
    const std::string signed_text = std::string(clients->socket_id(client.id)->text().view()) + "::user::" + data;
    clients->receive(client.id, R"({"event":"pusher:signin","data":{"auth":"key:)" +
                                    pusher::hmac_sha256_hex("secret", signed_text) + R"(","user_data":"{\"id\":\")" +
                                    std::string(user) + R"(\"}"}})");
  }
};

TEST_F(HostedUsersTest, EndsThoseOfAUserWhoIsToGo) {
  Client& ann = connect({"x"});
  Client& bob = connect({"x"});
  sign_in(ann, "ann");
  sign_in(bob, "bob");
  EXPECT_NE(ann.side.take()->text.find("signin_success"), std::string::npos);
  app.terminate("ann");
  run();
  EXPECT_EQ(ann.side.received.back().code, 4009U);
  EXPECT_EQ(ann.side.closes, 1U);
  EXPECT_EQ(bob.side.closes, 0U);
  EXPECT_EQ(app.connections(), 1U);
}

TEST_F(HostedTest, AMessageThatIsTooLargeEndsItsConnection) {
  Client& a = connect();
  EXPECT_FALSE(clients->receive(a.id, std::string(64 * 1024 + 1, ' ')));
  EXPECT_EQ(a.side.received.back().code, 1009U);
  EXPECT_EQ(clients->connections(), 0U);
}

// ---- hosts that answer from inside

TEST_F(HostedTest, AConnectionMayEndInsideOfASend) {
  Client& a = connect({"x"});
  Client& b = connect({"x"});
  a.side.on_send = [&] { clients->closed(a.id); };
  app.trigger("x", "e", "1");
  app.trigger("x", "e", "2");
  run();
  EXPECT_LE(a.side.received.size(), 2U);
  EXPECT_EQ(a.side.closes, 0U);
  EXPECT_EQ(b.side.take_texts(), (HostedTexts{event_text("1"), event_text("2")}));
  EXPECT_EQ(app.subscribers("x"), 1U);
  EXPECT_EQ(clients->connections(), 1U);
  // And in the middle of an answer.
  b.side.on_send = [&] { clients->closed(b.id); };
  EXPECT_FALSE(clients->receive(b.id, subscribe_text("y")));
  EXPECT_EQ(clients->connections(), 0U);
  run();
  EXPECT_FALSE(app.occupied("y"));
}

TEST_F(HostedTest, WhatComesInsideOfASendIsActedOnAfterwards) {
  Client& a = connect({"x"});
  bool asked = false;
  a.side.on_send = [&] {
    if (std::exchange(asked, true)) return;
    EXPECT_FALSE(clients->run());
    EXPECT_FALSE(clients->receive(a.id, subscribe_text("y")));
    clients->writable(a.id);
    clients->heard(a.id);
  };
  app.trigger("x", "e", "1");
  run();
  ASSERT_EQ(a.side.received.size(), 2U);
  EXPECT_NE(a.side.received[1].text.find("subscription_succeeded"), std::string::npos);
  EXPECT_EQ(a.side.resumes, 1U);
  EXPECT_TRUE(app.occupied("y"));
}

TEST_F(HostedTest, WhatComesInsideOfAnAnswerWakesTheHost) {
  Client& a = connect();
  bool asked = false;
  a.side.on_send = [&] {
    if (!std::exchange(asked, true)) clients->receive(a.id, R"({"event":"pusher:ping","data":{}})");
  };
  wakes = 0;
  clients->receive(a.id, R"({"event":"pusher:ping","data":{}})");
  EXPECT_EQ(a.side.received.size(), 1U);
  EXPECT_EQ(wakes, 1U);
  run();
  EXPECT_EQ(a.side.received.size(), 2U);
}

TEST_F(HostedTest, ANewConnectionMayComeInsideOfASend) {
  Client& a = connect({"x"});
  Client* b = nullptr;
  a.side.on_send = [&] {
    if (b == nullptr) b = &connect();
    HostSide refused;
    clients->open({&refused}, "/app/other?protocol=7");
    EXPECT_EQ(refused.closes, 1U);
  };
  for (int i = 0; i < 50; ++i) app.trigger("x", "e", "1");
  run();
  EXPECT_EQ(a.side.received.size(), 50U);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(clients->connections(), 2U);
}

TEST_F(HostedTest, AHostThatThrowsLosesThatConnectionAlone) {
  Client& a = connect({"x"});
  Client& b = connect({"x"});
  a.side.throws = true;
  app.trigger("x", "e", "1");
  run();
  EXPECT_EQ(a.side.closes, 1U);
  EXPECT_EQ(a.side.received.back().code, 1011U);
  EXPECT_EQ(b.side.take_texts(), HostedTexts{event_text("1")});
  EXPECT_EQ(clients->connections(), 1U);
}

TEST(Hosted, WithoutPingsClientsAreAskedByAMessage) {
  pusher::AppList apps;
  apps.add({.id = "1", .key = "key", .secret = "secret"});
  std::chrono::milliseconds now{0};
  HostSide side;
  HostedTransport<PlainHandle> clients(apps, {.clock = [&] { return now; }});
  const HostedId id = clients.open({&side}, "/app/key?protocol=7");
  now += 121s;
  while (clients.run()) {
  }
  ASSERT_EQ(side.received.size(), 2U);
  EXPECT_NE(side.received[1].text.find("pusher:ping"), std::string::npos);
  clients.receive(id, R"({"event":"pusher:pong","data":{}})");
  now += 31s;
  while (clients.run()) {
  }
  EXPECT_EQ(side.closes, 0U);
}

// ---- slow readers

class SlowHostedTest : public HostedTest {
 protected:
  SlowHostedTest() : HostedTest({.fanout = {.outbox_bytes = 2000}, .max_buffered_bytes = 100}, rules()) {}
  static AppOptions rules() {
    AppOptions options;
    options.channel_rules = {{.match = "newest", .overflow = SlowConsumer::conflate},
                             {.match = "oldest", .overflow = SlowConsumer::drop_oldest}};
    return options;
  }
  void fill(std::string_view channel, int count) {
    for (int i = 0; i < count; ++i) {
      app.trigger(channel, "e", std::to_string(i) + std::string(100, '.'));
      run();
    }
  }
};

TEST_F(SlowHostedTest, WhatTheHostCannotSendWaitsAndGoesOutInOrder) {
  Client& slow = connect({"x"});
  slow.side.buffered = 100;
  fill("x", 10);
  EXPECT_TRUE(slow.side.received.empty());
  EXPECT_LE(clients->due(), now + 50ms);  // it is looked at again soon
  slow.side.buffered = 99;
  now = clients->due();
  run();
  EXPECT_EQ(slow.side.received.size(), 10U);
  EXPECT_EQ(slow.side.received.front().text, event_text("0" + std::string(100, '.')));
  slow.side.received.clear();
  slow.side.buffered = 100;
  fill("x", 2);
  slow.side.buffered = 0;
  clients->writable(slow.id);  // at once
  EXPECT_EQ(slow.side.received.size(), 2U);
}

TEST_F(SlowHostedTest, AClientThatLagsTooMuchIsClosed) {
  Client& slow = connect({"x"});
  Client& quick = connect({"x"});
  slow.side.buffered = 100;
  fill("x", 30);
  EXPECT_EQ(app.subscribers("x"), 1U);
  EXPECT_EQ(quick.side.received.size(), 30U);
  EXPECT_EQ(clients->slow_consumers().closed, 1U);
  EXPECT_EQ(slow.side.closes, 0U);
  slow.side.buffered = 0;
  clients->writable(slow.id);
  ASSERT_EQ(slow.side.closes, 1U);
  EXPECT_EQ(slow.side.received.size(), 1U);  // no frame of what it was owed had begun
  EXPECT_EQ(slow.side.received.back().code, 4100U);
  EXPECT_EQ(clients->connections(), 1U);
}

TEST_F(SlowHostedTest, OneThatTakesNothingMoreIsClosedWhenItsTimeIsOver) {
  Client& slow = connect({"x"});
  slow.side.buffered = 100;
  fill("x", 30);
  advance(4s);
  EXPECT_EQ(slow.side.closes, 0U);
  advance(2s);
  EXPECT_EQ(slow.side.closes, 1U);
  EXPECT_EQ(clients->connections(), 0U);
}

TEST_F(SlowHostedTest, RulesSayWhatBecomesOfClientsThatLag) {
  Client& slow = connect({"newest", "oldest"});
  slow.side.buffered = 100;
  fill("newest", 40);
  fill("oldest", 40);
  EXPECT_EQ(clients->slow_consumers().closed, 0U);
  EXPECT_GT(clients->slow_consumers().conflated, 0U);
  EXPECT_GT(clients->slow_consumers().dropped_oldest, 0U);
  slow.side.buffered = 0;
  clients->writable(slow.id);
  EXPECT_NE(slow.side.received.back().text.find("39."), std::string::npos);
  EXPECT_EQ(slow.side.closes, 0U);
}

// ---- clients that send too much

class PacedHostedTest : public HostedTest {
 protected:
  PacedHostedTest() : HostedTest({.max_input_bytes = 1000}, paced()) {}
  static AppOptions paced() {
    AppOptions options;
    options.messages_per_second = 3;
    return options;
  }
  static constexpr std::string_view ping = R"({"event":"pusher:ping","data":{}})";
};

TEST_F(PacedHostedTest, WhatIsTooMuchForASecondWaitsForTheNext) {
  Client& a = connect();
  wakes = 0;
  EXPECT_TRUE(clients->receive(a.id, ping));
  EXPECT_TRUE(clients->receive(a.id, ping));
  EXPECT_FALSE(clients->receive(a.id, ping));
  EXPECT_EQ(wakes, 1U);  // as the next turn is earlier than it was told
  EXPECT_FALSE(clients->receive(a.id, ping));
  run();
  EXPECT_EQ(a.side.received.size(), 3U);
  EXPECT_LE(clients->due(), now + 100ms);
  EXPECT_EQ(a.side.resumes, 0U);
  advance(1100ms);
  EXPECT_EQ(a.side.received.size(), 4U);
  EXPECT_EQ(a.side.resumes, 1U);
  EXPECT_TRUE(clients->receive(a.id, ping));
}

TEST_F(PacedHostedTest, WhoDoesNotWaitIsClosed) {
  Client& a = connect();
  for (int i = 0; i < 30; ++i) clients->receive(a.id, ping);
  run();
  EXPECT_EQ(a.side.closes, 1U);
  EXPECT_EQ(a.side.received.back().code, 4100U);
  EXPECT_EQ(clients->connections(), 0U);
}

// ---- ends

TEST_F(HostedTest, MayEndBeforeItsApplicationsAndWhileClientsLag) {
  Client& slow = connect({"x"});
  slow.side.buffered = 1 << 20;
  app.trigger("x", "e", "1");
  run();
  app.trigger("x", "e", "never sent");
  wakes = 0;
  clients.reset();
  EXPECT_EQ(wakes, 0U);
  EXPECT_EQ(slow.side.closes, 0U);
  EXPECT_EQ(app.connections(), 0U);
  EXPECT_EQ(app.trigger("x", "e", "1").delivered, 0U);
}

TEST_F(HostedTest, PlacesAreUsedAgainAndAgain) {
  for (int round = 0; round < 100; ++round) {
    std::vector<Client*> some;
    for (int i = 0; i < 40; ++i) some.push_back(&connect({"x"}));
    app.trigger("x", "e", "1");
    for (std::size_t i = 0; i < some.size(); i += 2) clients->closed(some[i]->id);
    run();
    for (std::size_t i = 1; i < some.size(); i += 2) {
      EXPECT_EQ(some[i]->side.take_texts(), HostedTexts{event_text("1")});
      clients->closed(some[i]->id);
    }
    ASSERT_EQ(clients->connections(), 0U);
    all.clear();
  }
}

}  // namespace
}  // namespace fanfare::test
