// The bounds that an application puts on its clients, on real sockets.
#include "support/polled_server.hpp"
#include "support/socket_client.hpp"

#include <fanfare/server.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using test::PolledServer;
using test::ServerFrame;
using test::SocketClient;

AppOptions limited(void (*set)(AppOptions&)) {
  AppOptions options = test::test_app();
  set(options);
  return options;
}

constexpr std::string_view target = "/app/key?protocol=7";
constexpr std::string_view ping = R"({"event":"pusher:ping"})";

TEST(Limits, WhatAClientSendsTooFastWaits) {
  PolledServer server({}, limited([](AppOptions& o) { o.messages_per_second = 5; }));
  SocketClient client = server.established();
  SocketClient other = server.established();
  const auto begin = std::chrono::steady_clock::now();
  std::string all;
  for (int i = 0; i < 12; ++i) all += test::text_frame(ping);
  client.send(all);
  for (int i = 1; i <= 12; ++i) {
    EXPECT_NE(client.receive_text().find("pusher:pong"), std::string::npos) << i;
    const auto time = std::chrono::steady_clock::now() - begin;
    if (i == 6) {
      EXPECT_GE(time, 1s - 1ms);  // the server's clock counts whole milliseconds
      // Nobody else waits.
      other.send_text(ping);
      EXPECT_FALSE(other.receive_text().empty());
      EXPECT_LT(std::chrono::steady_clock::now() - begin - time, 500ms);
    }
    if (i == 11) {
      EXPECT_GE(time, 2s - 2ms);
    }
  }
  EXPECT_EQ(server.server.connections(), 2U);
}

TEST(Limits, AClientThatWaitsMayGo) {
  PolledServer server({}, limited([](AppOptions& o) { o.messages_per_second = 1; }));
  for (const bool resets : {true, false}) {
    SocketClient client = server.established();
    client.send(test::text_frame(ping) + test::text_frame(ping) + test::text_frame(ping));
    EXPECT_FALSE(client.receive_text().empty());
    resets ? client.reset() : client.close();
    EXPECT_TRUE(server.run_until([&] { return server.server.connections() == 0; }));
  }
}

TEST(Limits, WhatAnHttpFallbackSendsTooFastWaits) {
  PolledServer server({}, limited([](AppOptions& o) { o.messages_per_second = 2; }));
  const auto post = [](std::string_view kind, std::string_view body) {
    return "POST /app/key/1/12345678/" + std::string(kind) +
           "?protocol=7 HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           std::string(body);
  };
  SocketClient stream = server.client();
  stream.send(post("xhr_streaming", ""));
  ASSERT_TRUE(server.run_until([&] {
    static_cast<void>(stream.receive_some(1ms));
    return stream.unread().find("connection_established") != std::string::npos;
  }));
  SocketClient sender = server.client();
  const std::string two = R"(["{\"event\":\"pusher:ping\"}","{\"event\":\"pusher:ping\"}"])";
  sender.send(post("xhr_send", two));
  EXPECT_EQ(sender.receive_answer().value().status, 204U);
  const auto begin = std::chrono::steady_clock::now();
  sender.send(post("xhr_send", two));
  SocketClient gives_up = server.client();
  gives_up.send(post("xhr_send", two));
  EXPECT_FALSE(gives_up.receive_some(100ms));
  gives_up.close();
  EXPECT_EQ(sender.receive_answer().value().status, 204U);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 900ms);
  ASSERT_TRUE(server.run_until([&] {
    static_cast<void>(stream.receive_some(1ms));
    std::size_t pongs = 0;
    for (std::size_t at = 0; (at = stream.unread().find("pusher:pong", at)) != std::string::npos; ++at) ++pongs;
    return pongs == 4;
  }));
}

TEST(Limits, AChannelHasSoManySubscribers) {
  for (const std::string channel : {"few", "cache-few", "kept-few"}) {
    PolledServer server({}, limited([](AppOptions& o) {
                          o.subscription_count = true;
                          o.channel_rules = {{.match = "kept-*", .retain = true, .max_subscribers = 2},
                                             {.match = "*few", .max_subscribers = 2}};
                        }));
    Subscription own = server.app.subscribe(channel);  // counts as well
    SocketClient first = server.established();
    EXPECT_TRUE(first.subscribe(channel));
    SocketClient second = server.established();
    const auto refused = [&] {
      second.send_text(R"({"event":"pusher:subscribe","data":{"channel":")" + channel + "\"}}");
      const std::string answer = second.receive_text();
      return answer.find("pusher:subscription_error") != std::string::npos &&
             answer.find(R"(\"type\":\"LimitReached\")") != std::string::npos &&
             answer.find(R"(\"status\":4100)") != std::string::npos;
    };
    EXPECT_TRUE(refused()) << channel;
    EXPECT_TRUE(refused()) << channel;
    EXPECT_EQ(server.app.subscribers(channel), 2U);
    own.reset();
    EXPECT_TRUE(second.subscribe(channel)) << channel;
    EXPECT_EQ(server.app.subscribers(channel), 2U);
    first.close();
    second.close();
    EXPECT_TRUE(server.run_until([&] { return server.app.subscribers(channel) == 0; }));
  }
}

TEST(Limits, AnAddressHasSoManyConnections) {
  PolledServer server({}, limited([](AppOptions& o) { o.max_connections_per_address = 2; }));
  SocketClient first = server.established();
  std::optional<SocketClient> second = server.established();
  const auto refused = [&] {
    SocketClient third = server.client();
    if (!third.upgrade(target)) return false;
    EXPECT_NE(third.receive_text().find(R"("code":4100)"), std::string::npos);
    const std::optional<ServerFrame> close = third.receive_frame();
    return close && close->opcode == 8 && close->code == 4100;
  };
  EXPECT_TRUE(refused());
  EXPECT_TRUE(refused()) << "who was refused does not count";
  EXPECT_EQ(server.app.connections(), 2U);
  second.reset();
  ASSERT_TRUE(server.run_until([&] { return server.app.connections() == 1; }));
  second.emplace(server.established());
  EXPECT_TRUE(refused());
}

TEST(Limits, AProxySaysWhereClientsComeFrom) {
  PolledServer server({.forwarded_for = true}, limited([](AppOptions& o) { o.max_connections_per_address = 1; }));
  const auto comes_from = [&](std::string_view list) {
    SocketClient client = server.client();
    client.send(SocketClient::upgrade_request(target, "X-Forwarded-For: " + std::string(list) + "\r\n"));
    EXPECT_TRUE(client.upgraded());
    return std::pair(client.receive_text().find("connection_established") != std::string::npos, std::move(client));
  };
  const auto ada = comes_from("198.51.100.9, 192.0.2.1");
  const auto bob = comes_from("198.51.100.9, 192.0.2.2");
  EXPECT_TRUE(ada.first);
  EXPECT_TRUE(bob.first);
  EXPECT_FALSE(comes_from("198.51.100.7,192.0.2.1").first) << "what stands in front anybody may have written";
  EXPECT_TRUE(comes_from("198.51.100.9").first);
}

TEST(Limits, WhoIsInNoChannelIsSentAway) {
  PolledServer server({}, limited([](AppOptions& o) { o.idle_timeout = 1s; }));
  SocketClient stays = server.established();
  ASSERT_TRUE(stays.subscribe("lobby"));
  SocketClient goes = server.established();
  EXPECT_NE(goes.receive_text().find(R"("code":4202)"), std::string::npos);
  EXPECT_EQ(goes.receive_frame().value().code, 4202U);
  goes.close();
  stays.send_text(R"({"event":"pusher:unsubscribe","data":{"channel":"lobby"}})");
  EXPECT_NE(stays.receive_text().find(R"("code":4202)"), std::string::npos);
}

}  // namespace
