#include <fanfare/server.hpp>

#define FANFARE_TEST_REPLACES_CLOCK
#include "support/clock.hpp"
#include "support/heap.hpp"
#include "support/polled_server.hpp"
#include "support/threads.hpp"
#include "support/tls_client.hpp"
#include "support/transcript.hpp"

#include <fanfare/transport/listener.hpp>

#include <gtest/gtest.h>

#include <asio/io_context.hpp>

#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using fanfare::test::CertificateFiles;
using fanfare::test::client_frame;
using fanfare::test::close_frame;
using fanfare::test::FromServer;
using fanfare::test::HttpAnswer;
using fanfare::test::PolledServer;
using fanfare::test::ServerFrame;
using fanfare::test::signed_post;
using fanfare::test::SocketClient;
using fanfare::test::test_app;
using fanfare::test::text_frame;
using fanfare::test::TimedServer;
using fanfare::test::TlsLayer;
using fanfare::test::World;
using End = SocketClient::End;
using Clock = std::chrono::steady_clock;

std::string get(std::string_view target, std::string_view fields = {}) {
  std::string request = "GET ";
  return request.append(target).append(" HTTP/1.1\r\nHost: x\r\n").append(fields).append("\r\n");
}

// Answers with what it was asked; `/throw` throws, `/large` is 300 KB, `/none` is left to the server.
std::optional<http::Response> echo(const http::Request& request) {
  if (request.target == "/none") return std::nullopt;
  if (request.target == "/throw") throw std::runtime_error("no");
  if (request.target.starts_with("/large")) return http::text_response(200, request.target + std::string(300'000, '.'));
  return http::text_response(200, request.method + ' ' + request.target + ' ' + request.body);
}

std::string event_text(std::string_view channel, std::string_view data) {
  std::string text = R"({"event":"e","channel":")";
  return text.append(channel).append(R"(","data":")").append(data).append(R"("})");
}

// ---- HTTP

TEST(ServerHttp, KeepsAConnectionAndSaysHowLongEachAnswerIs) {
  PolledServer server({.on_request = echo});
  SocketClient client = server.client();
  for (const char* target : {"/a", "/b?c", "/none", "/throw", "/apps/1/channels"}) {
    client.send(get(target));
    const std::optional<HttpAnswer> answer = client.receive_answer();
    ASSERT_TRUE(answer.has_value()) << target;
    EXPECT_NE(answer->field("content-length"), "") << target;
    EXPECT_EQ(answer->field("connection"), "") << target;
    const unsigned expected = std::string_view(target) == "/none"    ? 404U
                              : std::string_view(target) == "/throw" ? 500U
                              : target[1] == 'a' && target[2] == 'p' ? 401U
                                                                     : 200U;
    EXPECT_EQ(answer->status, expected) << target;
  }
  EXPECT_EQ(server.server.connections(), 1U);
  client.close();
  EXPECT_TRUE(server.run_until([&] { return server.server.connections() == 0; }));
}

TEST(ServerHttp, AnswersPipelinedRequestsInOrder) {
  PolledServer server({.on_request = echo});
  SocketClient client = server.client();
  std::string requests;
  for (int i = 0; i < 500; ++i) requests += get("/" + std::to_string(i));
  client.send(requests);
  for (int i = 0; i < 500; ++i) {
    const std::optional<HttpAnswer> answer = client.receive_answer();
    ASSERT_TRUE(answer.has_value()) << i;
    ASSERT_EQ(answer->body, "GET /" + std::to_string(i) + " \n");
  }
  EXPECT_EQ(client.unread(), "");
}

TEST(ServerHttp, OneWhoAsksFasterThanItReadsLosesNoAnswer) {
  PolledServer server({.on_request = echo});
  SocketClient client = server.client(4096);
  std::string requests;
  for (int i = 0; i < 60; ++i) requests += get("/large" + std::to_string(i));
  client.send(requests);
  server.run();
  for (int i = 0; i < 60; ++i) {
    const std::optional<HttpAnswer> answer = client.receive_answer();
    ASSERT_TRUE(answer.has_value()) << i;
    ASSERT_EQ(answer->status, 200U);
    ASSERT_TRUE(answer->body.starts_with("/large" + std::to_string(i) + ".")) << i;
    ASSERT_EQ(answer->body.size(), 300'001U + std::string_view("/large").size() + std::to_string(i).size());
  }
  client.send(get("/still"));
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /still \n");
}

TEST(ServerHttp, OneWhoStopsReadingButSendsOnIsNotReadEither) {
  PolledServer server({.on_request = echo});
  SocketClient client = server.client(4096);
  client.send(get("/large"));
  std::string requests;
  for (int i = 0; i < 100; ++i) requests += get("/large");
  client.send(requests);
  server.run();  // comes to rest: it does not try again and again
  EXPECT_EQ(server.server.connections(), 1U);
  client.shutdown_write();
  std::size_t answers = 0;
  while (client.receive_answer()) ++answers;
  EXPECT_EQ(answers, 101U);
  EXPECT_EQ(client.end(), End::eof);
}

TEST(ServerHttp, TakesAnUpgradeBehindARequest) {
  PolledServer server({.on_request = echo});
  SocketClient client = server.client();
  client.send(get("/first") + get("/second") + SocketClient::upgrade_request("/app/key?protocol=7") +
              text_frame(R"({"event":"pusher:ping"})") + text_frame(R"({"event":"pusher:ping"})").substr(0, 5));
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /first \n");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /second \n");
  ASSERT_TRUE(client.upgraded());
  EXPECT_NE(client.receive_text().find("connection_established"), std::string::npos);
  EXPECT_NE(client.receive_text().find("pusher:pong"), std::string::npos);
  client.send(text_frame(R"({"event":"pusher:ping"})").substr(5));
  EXPECT_NE(client.receive_text().find("pusher:pong"), std::string::npos);
}

TEST(ServerHttp, TakesAllKindsOfBodies) {
  PolledServer server({.on_request = echo});
  SocketClient client = server.client();
  client.send(
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "POST /c abcdefg\n");
  client.send("POST /d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "POST /d abc\n");
  const std::string large(1024 * 1024, 'x');
  client.send("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(large.size()) + "\r\n\r\n" + large);
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "POST /e " + large + "\n");
}

TEST(ServerHttp, LetsAClientContinue) {
  PolledServer server({.on_request = echo});
  SocketClient client = server.client();
  client.send(get("/before") + "POST /c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /before \n");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).status, 100U);
  client.send("a");
  server.run();
  EXPECT_EQ(client.unread(), "");
  client.send("bc");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "POST /c abc\n");
}

TEST(ServerHttp, AnswersAClientThatHasClosedItsHalf) {
  PolledServer server({.on_request = echo});
  {
    SocketClient client = server.client();
    client.send(get("/a") + get("/b"));
    client.shutdown_write();
    EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /a \n");
    EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /b \n");
    EXPECT_EQ(client.end(), End::eof);
  }
  {
    SocketClient client = server.client(4096);
    client.send(get("/large"));
    client.shutdown_write();
    EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body.size(), 300'007U);
    EXPECT_EQ(client.end(), End::eof);
  }
  {
    SocketClient client = server.client();  // in the middle of a request: there is nothing to answer
    client.send("GET / HTTP/1.1\r\nHo");
    client.shutdown_write();
    EXPECT_EQ(client.end(), End::eof);
    EXPECT_EQ(client.unread(), "");
  }
  EXPECT_TRUE(server.run_until([&] { return server.server.connections() == 0; }));
}

TEST(ServerHttp, TakesARequestByteByByte) {
  PolledServer server({.on_request = echo});
  SocketClient client = server.client();
  for (const char byte : "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok" + get("/y")) {
    client.send({&byte, 1});
    server.server.poll();
  }
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "POST /x ok\n");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /y \n");
}

struct BadRequest {
  const char* name;
  std::string bytes;
  unsigned status;
};
class ServerBadRequest : public testing::TestWithParam<BadRequest> {};

TEST_P(ServerBadRequest, IsAnsweredAndEndsTheConnection) {
  PolledServer server({.max_body_bytes = 2000, .on_request = echo});
  SocketClient client = server.client();
  client.send(get("/good") + GetParam().bytes + get("/never"));
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /good \n");
  const std::optional<HttpAnswer> answer = client.receive_answer();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status, GetParam().status);
  EXPECT_EQ(answer->field("connection"), GetParam().status == 426 ? "Upgrade, close" : "close");
  EXPECT_NE(answer->field("content-length"), "");
  EXPECT_EQ(client.end(), End::eof);
  EXPECT_EQ(client.unread(), "");
}

std::string bad_upgrade(const std::string& without, const std::string& with = {}) {
  std::string request = SocketClient::upgrade_request("/app/key?protocol=7");
  return request.replace(request.find(without), without.size(), with);
}

INSTANTIATE_TEST_SUITE_P(
    All, ServerBadRequest,
    testing::Values(BadRequest{"line", "GET / HTTX\r\n\r\n", 400}, BadRequest{"host", "GET / HTTP/1.1\r\n\r\n", 400},
                    BadRequest{"version", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
                    BadRequest{"body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2001\r\n\r\n", 413},
                    BadRequest{"target", "GET /" + std::string(5000, 'x') + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
                    BadRequest{"fields", "GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(9000, 'x') + "\r\n\r\n", 431},
                    BadRequest{"method", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 501},
                    BadRequest{"no_key", bad_upgrade("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400},
                    BadRequest{"no_connection", bad_upgrade("Connection: keep-alive, Upgrade\r\n"), 400},
                    BadRequest{"ws_version", bad_upgrade("Version: 13", "Version: 8"), 426},
                    BadRequest{"ws_method", bad_upgrade("GET ", "POST "), 405}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ServerHttp, ClosesWhenItIsAskedTo) {
  PolledServer server({.on_request = echo});
  for (const std::string& request : {get("/x", "Connection: close\r\n"), std::string("GET /x HTTP/1.0\r\n\r\n")}) {
    SocketClient client = server.client();
    client.send(request);
    const HttpAnswer answer = client.receive_answer().value_or(HttpAnswer{});
    EXPECT_EQ(answer.body, "GET /x \n");
    EXPECT_EQ(answer.field("connection"), "close");
    EXPECT_EQ(client.end(), End::eof);
  }
  SocketClient client = server.client();
  client.send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).field("connection"), "keep-alive");
  client.send("HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n" + get("/y"));
  EXPECT_EQ(client.receive_answer(true).value_or(HttpAnswer{}).field("content-length"), "9");
  EXPECT_EQ(client.receive_answer().value_or(HttpAnswer{}).body, "GET /y \n");
}

TEST(ServerHttp, TimesOutNeitherTooEarlyNorNever) {
  PolledServer server({.request_timeout = 1s, .keep_alive_timeout = 1s, .on_request = echo});
  const auto begun = Clock::now();
  SocketClient slow = server.client();
  SocketClient idle = server.client();
  SocketClient silent = server.client();
  SocketClient in_time = server.client();
  idle.send(get("/x"));
  EXPECT_EQ(idle.receive_answer().value_or(HttpAnswer{}).status, 200U);
  slow.send("GET / HTTP/1.1\r\n");
  in_time.send("GET /slow HTTP/1.1\r\n");
  // A request has all of its second.
  EXPECT_FALSE(server.run_until([&] { return Clock::now() - begun > 2s; }, 900ms));
  in_time.send("Host: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(in_time.receive_answer().value_or(HttpAnswer{}).body, "GET /slow \n");
  const HttpAnswer answer = slow.receive_answer().value_or(HttpAnswer{});
  EXPECT_EQ(answer.status, 408U);
  EXPECT_EQ(answer.field("connection"), "close");
  EXPECT_EQ(slow.end(), End::eof);
  EXPECT_EQ(idle.end(), End::eof);
  EXPECT_EQ(silent.end(), End::eof);
  EXPECT_EQ(silent.unread(), "");
  EXPECT_LT(Clock::now() - begun, 5s);
}

// ---- the HTTP API and events of the host

TEST(ServerApi, TriggersBeforeItAnswers) {
  PolledServer server;
  SocketClient listener = server.established();
  ASSERT_TRUE(listener.subscribe("x"));
  SocketClient backend = server.client();
  const std::string body = R"({"name":"e","channels":["x"],"data":"1"})";
  backend.send(signed_post("/apps/1/events", body));
  EXPECT_EQ(backend.receive_answer().value_or(HttpAnswer{}).status, 200U);
  // The answer of a small turn is behind the event, which is there without another turn.
  EXPECT_TRUE(listener.receive_some(0ms));
  EXPECT_EQ(listener.receive_text(), event_text("x", "1"));
}

TEST(ServerApi, SaysWhenItIsOverloaded) {
  PolledServer server({.max_mailbox_bytes = 4000});
  SocketClient listener = server.established();
  ASSERT_TRUE(listener.subscribe("x"));
  SocketClient backend = server.client();
  server.run();
  std::size_t taken = 0;
  TriggerResult result;
  while ((result = server.app.trigger("x", "e", "1"))) ++taken;
  EXPECT_EQ(result.error, errc::overloaded);
  EXPECT_EQ(result.delivered, 0U);
  const std::string body = R"({"name":"e","channels":["x"],"data":"2"})";
  backend.send(signed_post("/apps/1/events", body));
  const HttpAnswer answer = backend.receive_answer().value_or(HttpAnswer{});
  EXPECT_EQ(answer.status, 503U);
  EXPECT_NE(answer.field("retry-after"), "");
  for (std::size_t i = 0; i < taken; ++i) EXPECT_EQ(listener.receive_text(), event_text("x", "1"));
  server.run();
  EXPECT_FALSE(listener.receive_some(0ms));
  backend.send(signed_post("/apps/1/events", body));
  EXPECT_EQ(backend.receive_answer().value_or(HttpAnswer{}).status, 200U);
  EXPECT_EQ(listener.receive_text(), event_text("x", "2"));
}

TEST(ServerApi, ExcludesASocket) {
  PolledServer server;
  SocketClient a = server.client();
  const std::string id = a.establish("/app/key?protocol=7");
  SocketClient b = server.established();
  ASSERT_TRUE(a.subscribe("x"));
  ASSERT_TRUE(b.subscribe("x"));
  server.app.trigger("x", "e", "1", {.except_socket = id});
  server.app.trigger("x", "e", "2");
  EXPECT_EQ(a.receive_text(), event_text("x", "2"));
  EXPECT_EQ(b.receive_text(), event_text("x", "1"));
  EXPECT_EQ(b.receive_text(), event_text("x", "2"));
  // Whoever takes its place is somebody else.
  a.close();
  ASSERT_TRUE(server.run_until([&] { return server.app.connections() == 1; }));
  SocketClient c = server.established();
  ASSERT_TRUE(c.subscribe("x"));
  server.app.trigger("x", "e", "3", {.except_socket = id});
  EXPECT_EQ(c.receive_text(), event_text("x", "3"));
}

// ---- WebSockets

struct BadFrames {
  const char* name;
  std::string bytes;
  unsigned code;
};
class ServerBadFrames : public testing::TestWithParam<BadFrames> {};

TEST_P(ServerBadFrames, AreAnsweredByAClose) {
  PolledServer server({.max_message_bytes = 2000});
  SocketClient client = server.established();
  client.send(text_frame(R"({"event":"pusher:ping"})") + GetParam().bytes + text_frame(R"({"event":"pusher:ping"})"));
  EXPECT_NE(client.receive_text().find("pusher:pong"), std::string::npos);
  const std::optional<ServerFrame> frame = client.receive_frame();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->opcode, 8U);
  EXPECT_EQ(frame->code, GetParam().code);
  EXPECT_EQ(client.end(), End::eof);
  EXPECT_EQ(client.unread(), "");
  EXPECT_EQ(server.app.connections(), 0U);
}

INSTANTIATE_TEST_SUITE_P(All, ServerBadFrames,
                         testing::Values(BadFrames{"not_masked", std::string("\x81\x02hi", 4), 1002},
                                         BadFrames{"reserved_bit", client_frame(0xC1, "hi"), 1002},
                                         BadFrames{"opcode", client_frame(0x83, "hi"), 1002},
                                         BadFrames{"continuation", client_frame(0x80, "hi"), 1002},
                                         BadFrames{"fragmented_ping", client_frame(0x09, "hi"), 1002},
                                         BadFrames{"large_ping", client_frame(0x89, std::string(126, 'x')), 1002},
                                         BadFrames{"not_utf8", text_frame("\xff\xfe"), 1007},
                                         BadFrames{"too_large", text_frame(std::string(2001, 'x')), 1009},
                                         BadFrames{"too_large_together",
                                                   client_frame(0x01, std::string(1500, 'x')) +
                                                       client_frame(0x80, std::string(501, 'x')),
                                                   1009},
                                         BadFrames{"close_of_one_byte", client_frame(0x88, "x"), 1002},
                                         BadFrames{"bad_close_code", close_frame(1005), 1002}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(ServerWebSocket, TakesFragmentsAndControlFramesBetweenThem) {
  PolledServer server;
  SocketClient client = server.established();
  client.send(client_frame(0x01, R"({"event":)") + client_frame(0x89, "are you there") +
              client_frame(0x00, R"("pusher:)") + client_frame(0x8A, "unasked") + client_frame(0x80, R"(ping"})"));
  EXPECT_EQ(client.receive_frame(), (ServerFrame{10, "are you there", 0}));
  EXPECT_NE(client.receive_text().find("pusher:pong"), std::string::npos);
  client.send(client_frame(0x82, "binary is ignored") + client_frame(0x89, ""));
  EXPECT_EQ(client.receive_frame(), (ServerFrame{10, "", 0}));
}

TEST(ServerWebSocket, TakesFramesByteByByte) {
  PolledServer server;
  SocketClient client = server.client();
  for (const char byte : SocketClient::upgrade_request("/app/key?protocol=7") +
                             text_frame(R"({"event":"pusher:ping"})") + close_frame(1000)) {
    client.send({&byte, 1});
    server.server.poll();
  }
  ASSERT_TRUE(client.upgraded());
  EXPECT_NE(client.receive_text().find("connection_established"), std::string::npos);
  EXPECT_NE(client.receive_text().find("pusher:pong"), std::string::npos);
  EXPECT_EQ(client.receive_frame(), (ServerFrame{8, "", 1000}));
  EXPECT_EQ(client.end(), End::eof);
}

TEST(ServerWebSocket, ManyFramesAtOnceAreAllAnswered) {
  PolledServer server;
  SocketClient client = server.established();
  std::string frames;
  for (int i = 0; i < 1000; ++i) frames += client_frame(0x89, std::to_string(i));
  client.send(frames);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(client.receive_frame(), (ServerFrame{10, std::to_string(i), 0}));
}

TEST(ServerWebSocket, AnswersAClose) {
  PolledServer server;
  for (const auto& [bytes, code] :
       {std::pair{close_frame(1000, "bye"), 1000U}, {close_frame(4711), 4711U}, {client_frame(0x88, ""), 0U}}) {
    SocketClient client = server.established();
    ASSERT_TRUE(client.subscribe("x"));
    client.send(bytes + text_frame(R"({"event":"pusher:ping"})"));
    EXPECT_EQ(client.receive_frame(), (ServerFrame{8, "", code}));
    EXPECT_EQ(server.app.connections(), 0U);
    EXPECT_EQ(server.app.subscribers("x"), 0U);
    EXPECT_EQ(client.end(), End::eof);
    client.close();
    EXPECT_TRUE(server.run_until([&] { return server.server.connections() == 0; }));
  }
}

TEST(ServerWebSocket, ClosesAndWaitsForTheClient) {
  PolledServer server;
  SocketClient polite = server.client();
  ASSERT_TRUE(polite.upgrade("/app/unknown?protocol=7"));
  EXPECT_NE(polite.receive_text().find("4001"), std::string::npos);
  EXPECT_EQ(polite.receive_frame().value_or(ServerFrame{}).code, 4001U);
  EXPECT_FALSE(polite.receive_frame(50ms).has_value());
  EXPECT_EQ(polite.end(10ms), End::none);
  polite.send(text_frame(R"({"event":"pusher:ping"})"));
  polite.send(close_frame(4001));
  EXPECT_EQ(polite.end(), End::eof);
  EXPECT_EQ(polite.unread(), "");
  polite.close();

  SocketClient rude = server.client();  // says nothing: it is given up
  ASSERT_TRUE(rude.upgrade("/app/unknown?protocol=7"));
  EXPECT_EQ(rude.end(), End::eof);
  EXPECT_EQ(server.server.connections(), 0U);
}

TEST(ServerWebSocket, TakesAnEndWithoutAClose) {
  PolledServer server;
  for (const bool reset : {false, true}) {
    SocketClient client = server.established();
    ASSERT_TRUE(client.subscribe("x"));
    EXPECT_EQ(server.app.subscribers("x"), 1U);
    client.send(text_frame("half a frame").substr(0, 7));
    server.run();
    reset ? client.reset() : client.close();
    EXPECT_TRUE(server.run_until([&] { return server.server.connections() == 0; }));
    EXPECT_EQ(server.app.subscribers("x"), 0U);
    EXPECT_EQ(server.app.connections(), 0U);
  }
}

TEST(ServerWebSocket, HasAPrefix) {
  PolledServer server({.path_prefix = "/live"});
  SocketClient good = server.client();
  EXPECT_NE(good.establish("/live/app/key?protocol=7"), "");
  for (const char* target : {"/app/key?protocol=7", "/live/app/key/more?protocol=7", "/livex/app/key?protocol=7"}) {
    SocketClient client = server.client();
    ASSERT_TRUE(client.upgrade(target));
    EXPECT_NE(client.receive_text().find("4005"), std::string::npos) << target;
    EXPECT_EQ(client.receive_frame().value_or(ServerFrame{}).code, 4005U) << target;
  }
}

TEST(ServerWebSocket, BoundsConnections) {
  AppOptions options = test_app();
  options.max_connections = 2;
  PolledServer server({.max_connections = 3}, options);
  std::vector<SocketClient> clients;
  for (int i = 0; i < 2; ++i) clients.push_back(server.established());
  SocketClient over_quota = server.client();
  ASSERT_TRUE(over_quota.upgrade("/app/key?protocol=7"));
  EXPECT_NE(over_quota.receive_text().find("4004"), std::string::npos);
  EXPECT_EQ(over_quota.receive_frame().value_or(ServerFrame{}).code, 4004U);
  // It is on its way out, and takes nobody's place; nor do those whom it does not know.
  for (int i = 0; i < 3; ++i) {
    clients.push_back(server.client());
    ASSERT_TRUE(clients.back().upgrade("/app/unknown?protocol=7"));
    EXPECT_EQ(clients.back().receive_text().find("4100"), std::string::npos);
  }
  EXPECT_EQ(server.app.connections(), 2U);
  clients.front().send(close_frame(1000));
  EXPECT_EQ(clients.front().receive_frame().value_or(ServerFrame{}).code, 1000U);
  EXPECT_NE(server.client().establish("/app/key?protocol=7"), "");
}

TEST(ServerWebSocket, BoundsConnectionsOfAllApplications) {
  PolledServer server({.max_connections = 2});
  const SocketClient stays = server.established();
  for (int i = 0; i < 3; ++i) {
    SocketClient leaves = server.established();
    SocketClient refused = server.client();
    ASSERT_TRUE(refused.upgrade("/app/key?protocol=7"));
    EXPECT_NE(refused.receive_text().find("4100"), std::string::npos);
    EXPECT_EQ(refused.receive_frame().value_or(ServerFrame{}).code, 4100U);
    leaves.send(close_frame(1000));
    EXPECT_EQ(leaves.receive_frame().value_or(ServerFrame{}).code, 1000U);
    // Neither of them has gone yet.
    EXPECT_NE(server.client().establish("/app/key?protocol=7"), "");
    ASSERT_TRUE(server.run_until([&] { return server.app.connections() == 1; }));
  }
}

TEST(ServerWebSocket, AsksSilentClientsAndGivesThemUp) {
  AppOptions options = test_app();
  options.activity_timeout = 1s;
  options.pong_timeout = 1s;
  PolledServer server({}, options);
  SocketClient client = server.established();
  EXPECT_EQ(client.receive_frame(), (ServerFrame{9, "", 0}));
  client.send(client_frame(0x8A, ""));
  EXPECT_EQ(client.receive_frame(), (ServerFrame{9, "", 0}));
  EXPECT_NE(client.receive_text().find("4201"), std::string::npos);
  EXPECT_EQ(client.receive_frame().value_or(ServerFrame{}).code, 4201U);
  EXPECT_EQ(server.app.connections(), 0U);
}

// ---- transcripts

class ServerPeer {
 public:
  ~ServerPeer() { leave(); }

  static bool can(std::string_view /*power*/) { return true; }
  bool open(std::string_view target, const World& world) {
    leave();
    AppOptions options = fanfare::test::options_of(world);
    if (world.full) options.max_connections = 1;
    if (world.no_memory) options.limits.channels = 1;
    ServerOptions server_options;
    if (world.over_capacity) server_options.max_connections = 1;
    if (world.tls) {
      files_.emplace();
      server_options.listen_tls = {"127.0.0.1:0"};
      server_options.tls_certificate = files_->certificate;
      server_options.tls_key = files_->key;
    }
    server_ = std::make_unique<TimedServer>(std::move(server_options), std::move(options));
    server_->server().add_app({.id = "2", .key = "other", .secret = "secret"});
    held_ = world.no_memory ? server_->app().channel("another") : ChannelHandle{};
    EXPECT_TRUE(!world.full || server_->app().admit());  // by another
    server_->start();
    if (world.over_capacity) {
      another_.emplace(server_->client());
      EXPECT_NE(another_->establish("/app/other?protocol=7"), "");
    }
    client_.emplace(world.tls ? server_->client(server_->server().tls_endpoints().front()) : server_->client());
    if (world.tls) client_->put_on(std::make_unique<TlsLayer>());
    std::string request =
        SocketClient::upgrade_request(target, world.origin.empty() ? "" : "Origin: " + world.origin + "\r\n");
    if (world.draining) {
      // Somebody who has begun to ask is still answered.
      client_->send(request.substr(0, 10));
      request.erase(0, 10);
      EXPECT_TRUE(server_->run_until([&] { return server_->server().connections() == 1; }));
      server_->server().stop();
      server_->run();
      EXPECT_THROW(static_cast<void>(server_->client()), std::system_error);
    }
    client_->send(request);
    EXPECT_TRUE(client_->upgraded());
    return true;
  }
  void send(std::string_view text) {
    client_->send_text(text);
    heard_ = false;
  }
  void pong() {
    client_->send(client_frame(0x8A, ""));
    heard_ = false;
  }
  std::optional<FromServer> receive() {
    std::optional<ServerFrame> frame = std::exchange(unexpected_, std::nullopt);
    if (!frame && heard_) {
      frame = client_->receive_frame(50ms);
      // The server looks at its clock once a second: what has become due in a part of one comes at the next.
      if (!frame) server_->advance(1s);
    }
    if (!frame) frame = client_->receive_frame();
    if (!frame) return std::nullopt;
    closed_ = closed_ || frame->opcode == 8;
    const auto kind = frame->opcode == 8   ? FromServer::Kind::close
                      : frame->opcode == 9 ? FromServer::Kind::ping
                                           : FromServer::Kind::text;
    return FromServer{kind, frame->payload, frame->code};
  }
  bool silent() {
    if (!client_) return true;
    if (!closed_ && !std::exchange(heard_, true)) {
      // What it has to say to what was sent before comes before the answer to this; which is no other sign of life, as
      // no time has passed since.
      client_->send(client_frame(0x89, "silent?"));
      unexpected_ = client_->receive_frame();
      if (unexpected_ == ServerFrame{10, "silent?", 0}) unexpected_.reset();
    } else {
      server_->run();
      unexpected_ = client_->receive_frame(0ms);
    }
    return !unexpected_;
  }
  bool advance(std::chrono::milliseconds time) {
    server_->advance(time);
    return true;
  }

 private:
  void leave() {
    client_.reset();
    another_.reset();
    held_ = {};
    server_.reset();
    files_.reset();
    unexpected_.reset();
    closed_ = false;
    heard_ = true;
  }

  std::optional<CertificateFiles> files_;
  std::unique_ptr<TimedServer> server_;
  ChannelHandle held_;
  std::optional<SocketClient> another_;
  std::optional<SocketClient> client_;
  std::optional<ServerFrame> unexpected_;
  bool closed_ = false;
  bool heard_ = true;  // whether the server has read all that was sent
};
static_assert(fanfare::test::Peer<ServerPeer>);

class ServerTranscripts : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(ServerTranscripts, Hold) {
  ServerPeer peer;
  EXPECT_EQ(fanfare::test::run(fanfare::test::read_transcript(GetParam()), peer), fanfare::test::TranscriptResult{});
}

INSTANTIATE_TEST_SUITE_P(All, ServerTranscripts,
                         testing::ValuesIn(fanfare::test::find_transcripts(std::filesystem::path(FANFARE_TESTS) /
                                                                           "pusher/transcripts")),
                         [](const auto& test) { return test.param.stem().string(); });

// ---- slow and vanishing readers

TEST(ServerSlowReader, IsClosedBehindAWholeFrameAndDelaysNobody) {
  AppOptions options = test_app();
  options.limits.data = 64 * 1024;
  PolledServer server({}, options);
  SocketClient slow = server.established(4096);
  SocketClient quick = server.established();
  ASSERT_TRUE(slow.subscribe("x"));
  ASSERT_TRUE(quick.subscribe("x"));
  constexpr int count = 300;  // of 60 KB: far more than the kernel and the outbox take
  for (int i = 0; i < count; ++i) {
    const std::string data = std::to_string(i) + std::string(60'000, '.');
    server.app.trigger("x", "e", data);
    ASSERT_EQ(quick.receive_text(), event_text("x", data)) << i;
  }
  EXPECT_EQ(server.app.subscribers("x"), 1U);
  EXPECT_EQ(server.app.connections(), 1U);
  int came = 0;
  std::optional<ServerFrame> frame;
  while ((frame = slow.receive_frame()) && frame->opcode == 1) {
    ASSERT_EQ(frame->payload, event_text("x", std::to_string(came) + std::string(60'000, '.'))) << came;
    ++came;
  }
  ASSERT_TRUE(frame.has_value()) << "no close behind " << came << ", rest " << slow.unread().size();
  EXPECT_EQ(*frame, (ServerFrame{8, "The client reads too slowly", 4100}));
  EXPECT_LT(came, count);
  slow.send(close_frame(4100));
  EXPECT_EQ(slow.end(), End::eof);
  EXPECT_EQ(slow.unread(), "");
}

TEST(ServerSlowReader, LosesNothingWhileItKeepsUp) {
  AppOptions options = test_app();
  options.limits.data = 64 * 1024;
  PolledServer server({}, options);
  SocketClient slow = server.established(4096);
  ASSERT_TRUE(slow.subscribe("x"));
  ASSERT_TRUE(slow.subscribe("y"));
  int next = 0;
  const auto read = [&](std::size_t bytes) {
    while (bytes > 0 && slow.receive_some(0ms, std::min<std::size_t>(bytes, 5000)))
      bytes -= std::min<std::size_t>(bytes, 5000);
    while (const std::optional<ServerFrame> frame = slow.receive_frame(0ms)) {
      ASSERT_EQ(frame->payload, event_text(next % 3 == 0 ? "y" : "x", std::to_string(next) + std::string(20'000, '.')));
      ++next;
    }
  };
  constexpr int count = 600;
  for (int i = 0; i < count && !HasFatalFailure(); ++i) {
    server.app.trigger(i % 3 == 0 ? "y" : "x", "e", std::to_string(i) + std::string(20'000, '.'));
    server.server.poll();
    while (i - next > 30 && !HasFatalFailure()) {  // so far it may lag
      ASSERT_TRUE(slow.receive_some());
      read(25'000);
    }
  }
  while (next < count && !HasFatalFailure()) {
    const int before = next;
    ASSERT_TRUE(slow.receive_some());
    read(100'000);
    ASSERT_TRUE(next > before || !slow.unread().empty());
  }
  EXPECT_EQ(server.app.connections(), 1U);
}

TEST(ServerSlowReader, OneThatPingsWithoutReadingIsClosedToo) {
  AppOptions options = test_app();
  options.snapshots.bytes = 10'000;
  PolledServer server({.max_outbox_bytes = 80'000}, options);
  SocketClient client = server.established(4096);
  std::string pings;
  for (int i = 0; i < 1000; ++i) pings += client_frame(0x89, std::string(125, '.'));
  for (int i = 0; i < 200 && server.app.connections() == 1; ++i) {
    client.send(pings);
    server.run();
  }
  EXPECT_EQ(server.app.connections(), 0U);
  std::optional<ServerFrame> frame;
  while ((frame = client.receive_frame()) && frame->opcode == 10) ASSERT_EQ(frame->payload.size(), 125U);
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->code, 4100U);
}

TEST(Server, PollReturnsHoweverMuchComesIn) {
  PolledServer server;
  std::atomic<bool> stop{false};
  std::vector<fanfare::test::Thread> floods;
  for (int i = 0; i < 3; ++i) {
    floods.emplace_back([&] {
      SocketClient client(server.endpoint());
      EXPECT_NE(client.establish("/app/key?protocol=7"), "");
      std::string frames;
      for (int frame = 0; frame < 20'000; ++frame) frames += client_frame(0x8A, "");
      while (!stop) client.send(frames);
    });
  }
  EXPECT_TRUE(server.run_until([&] { return server.app.connections() == 3; }));
  for (int i = 0; i < 100; ++i) EXPECT_LE(server.server.poll(1ms), 17U);
  stop = true;
  EXPECT_TRUE(server.run_until([&] { return server.app.connections() == 0; }));
}

TEST(Server, PollUntilServesUntilTheTimeHasCome) {
  PolledServer server;
  std::atomic<bool> established{false};
  {
    const fanfare::test::Thread thread([&] {
      SocketClient client(server.endpoint());
      established = !client.establish("/app/key?protocol=7").empty();
    });
    for (int i = 0; i < 400 && !established; ++i) {
      const auto until = Clock::now() + 25ms;
      server.server.poll_until(until);
      EXPECT_GE(Clock::now(), until);
    }
  }
  EXPECT_TRUE(established);
}

TEST(Server, PollUntilATimeThatIsPastServesAllTheSame) {
  PolledServer server;
  SocketClient client(server.endpoint(), [&] { server.server.poll_until(Clock::now() - 1h); });
  EXPECT_NE(client.establish("/app/key?protocol=7"), "");
}

TEST(Server, PollUntilReturnsHoweverMuchIsTriggered) {
  PolledServer server;
  SocketClient client = server.established();
  ASSERT_TRUE(client.subscribe("x"));
  std::atomic<bool> stop{false};
  {
    const fanfare::test::Thread thread([&] {
      while (!stop) server.app.trigger("x", "e", "1");
    });
    for (int i = 0; i < 20; ++i) server.server.poll_until(Clock::now() + 5ms);
    stop = true;
  }
}

TEST(Server, TimePassesInAServerThatHasStopped) {
  PolledServer server;
  server.server.stop();
  ASSERT_TRUE(server.server.stopped());
  for (int i = 0; i < 3; ++i) {
    const auto until = Clock::now() + 10ms;
    server.server.poll_until(until);
    EXPECT_GE(Clock::now(), until);
  }
  Server never;
  EXPECT_EQ(never.poll_until(Clock::now() + 1h), 0U);
}

TEST(Server, ClientsThatVanishInTheMiddleOfEventsDoNoHarm) {
  PolledServer server;
  SocketClient stays = server.established();
  ASSERT_TRUE(stays.subscribe("x"));
  int number = 0;
  for (int round = 0; round < 50; ++round) {
    std::vector<SocketClient> gone;
    for (int i = 0; i < 6; ++i) {
      gone.push_back(server.established());
      ASSERT_TRUE(gone.back().subscribe("x"));
    }
    const int before = number;
    for (int i = 0; i < 5; ++i) server.app.trigger("x", "e", std::to_string(number++));
    for (std::size_t i = 0; i < gone.size(); ++i) i % 2 == 0 ? gone[i].reset() : gone[i].close();
    for (int i = 0; i < 5; ++i) server.app.trigger("x", "e", std::to_string(number++));
    for (int i = before; i < number; ++i) ASSERT_EQ(stays.receive_text(), event_text("x", std::to_string(i)));
    ASSERT_TRUE(server.run_until([&] { return server.app.connections() == 1; }));
    ASSERT_EQ(server.app.subscribers("x"), 1U);
  }
}

// ---- exhausted memory

TEST(Server, ExhaustedMemoryCostsAConnectionAndReachesNobodyElse) {
  using fanfare::test::Heap;
  PolledServer server({.on_request = echo});
  SocketClient witness = server.established();
  ASSERT_TRUE(witness.subscribe("x"));
  bool refused = true;
  std::size_t n = 0;
  for (; refused && n < 400; ++n) {
    SocketClient http = server.client();
    SocketClient socket = server.established();
    server.run();
    http.send(get("/" + std::string(100, 'h')));
    socket.send(text_frame(R"({"event":"pusher:subscribe","data":{"channel":")" + std::string(60, 'c') + "\"}}") +
                client_frame(0x01, R"({"event":"pusher:)") + client_frame(0x80, R"(ping"})"));
    bool escaped = false;
    Heap::fail_after(n);
    try {
      for (int i = 0; i < 3; ++i) server.server.poll();
    } catch (const std::bad_alloc&) {
      escaped = true;
    }
    refused = Heap::succeed() != 0;
    ASSERT_FALSE(escaped) << n;
    // Whoever is still there has what it is owed; whoever is not, nothing that is another's.
    if (const std::optional<HttpAnswer> answer = http.receive_answer(false, 500ms)) {
      EXPECT_TRUE(answer->body == "GET /" + std::string(100, 'h') + " \n" || answer->status >= 500) << answer->body;
    } else {
      EXPECT_NE(http.end(0ms), End::none) << n;
      EXPECT_EQ(http.unread(), "") << n;
    }
    for (const char* expected : {"subscription_", "pusher:pong"}) {
      const std::optional<ServerFrame> frame = socket.receive_frame(500ms);
      if (!frame) break;
      EXPECT_TRUE(frame->payload.find(expected) != std::string::npos || frame->opcode == 8) << n << frame->payload;
      if (frame->opcode == 8) break;
    }
    server.app.trigger("x", "e", std::to_string(n));
    ASSERT_EQ(witness.receive_text(), event_text("x", std::to_string(n))) << n;
  }
  EXPECT_GT(n, 10U);
  EXPECT_LT(n, 400U);
}

// ---- starting and stopping

ServerResult start_with(ServerOptions options, std::vector<AppOptions> apps) {
  Server server(std::move(options));
  for (AppOptions& app : apps) server.add_app(std::move(app));
  return server.start();
}

struct BadStart {
  const char* name;
  ServerOptions options;
  std::vector<AppOptions> apps;
  ServerErrc error;
};
class ServerBadStart : public testing::TestWithParam<BadStart> {};

TEST_P(ServerBadStart, IsRefusedWithAReason) {
  const ServerResult result = start_with(GetParam().options, GetParam().apps);
  EXPECT_EQ(result.error(), GetParam().error) << to_string(result.error());
  EXPECT_FALSE(result);
  EXPECT_NE(result.text(), "");
}

ServerOptions with(void (*change)(ServerOptions&)) {
  ServerOptions options{.listen = {"127.0.0.1:0"}, .threads = 0};
  change(options);
  return options;
}
AppOptions app_with(void (*change)(AppOptions&)) {
  AppOptions options = test_app();
  change(options);
  return options;
}

INSTANTIATE_TEST_SUITE_P(
    All, ServerBadStart,
    testing::Values(
        BadStart{"threads", with([](auto& o) { o.threads = 65; }), {}, ServerErrc::bad_option},
        BadStart{"message_bytes", with([](auto& o) { o.max_message_bytes = 1; }), {}, ServerErrc::bad_option},
        BadStart{"body_bytes", with([](auto& o) { o.max_body_bytes = 1; }), {}, ServerErrc::bad_option},
        BadStart{"body_bytes_many",
                 with([](auto& o) { o.max_body_bytes = std::size_t{1} << 33U; }),
                 {},
                 ServerErrc::bad_option},
        BadStart{"request_timeout", with([](auto& o) { o.request_timeout = 0s; }), {}, ServerErrc::bad_option},
        BadStart{"keep_alive_timeout", with([](auto& o) { o.keep_alive_timeout = -1s; }), {}, ServerErrc::bad_option},
        BadStart{"prefix", with([](auto& o) { o.path_prefix = "x"; }), {}, ServerErrc::bad_option},
        BadStart{"prefix_end", with([](auto& o) { o.path_prefix = "/x/"; }), {}, ServerErrc::bad_option},
        BadStart{"no_id", with([](auto&) {}), {app_with([](auto& a) { a.id = ""; })}, ServerErrc::bad_app},
        BadStart{"id", with([](auto&) {}), {app_with([](auto& a) { a.id = "a/b"; })}, ServerErrc::bad_app},
        BadStart{
            "key", with([](auto&) {}), {app_with([](auto& a) { a.key = std::string(65, 'x'); })}, ServerErrc::bad_app},
        BadStart{"secret", with([](auto&) {}), {app_with([](auto& a) { a.secret = ""; })}, ServerErrc::bad_app},
        BadStart{"timeout", with([](auto&) {}), {app_with([](auto& a) { a.pong_timeout = 0s; })}, ServerErrc::bad_app},
        BadStart{
            "limits", with([](auto&) {}), {app_with([](auto& a) { a.limits.event_name = 0; })}, ServerErrc::bad_app},
        BadStart{"data", with([](auto&) {}), {app_with([](auto& a) { a.limits.data = 1 << 20; })}, ServerErrc::bad_app},
        BadStart{"snapshots",
                 with([](auto&) {}),
                 {app_with([](auto& a) { a.snapshots.bytes = (1 << 20) - (64 << 10) + 1; })},
                 ServerErrc::bad_app},
        BadStart{"snapshots_overflow",
                 with([](auto&) {}),
                 {app_with([](auto& a) { a.snapshots.bytes = SIZE_MAX - 10; })},
                 ServerErrc::bad_app},
        BadStart{"data_overflow",
                 with([](auto&) {}),
                 {app_with([](auto& a) { a.limits.data = SIZE_MAX - 10; })},
                 ServerErrc::bad_app},
        BadStart{
            "second_bad", with([](auto&) {}), {test_app(), app_with([](auto& a) { a.id = ""; })}, ServerErrc::bad_app},
        BadStart{"same_id",
                 with([](auto&) {}),
                 {test_app(), app_with([](auto& a) { a.key = "k2"; })},
                 ServerErrc::duplicate_app},
        BadStart{"same_key",
                 with([](auto&) {}),
                 {test_app(), app_with([](auto& a) { a.id = "2"; })},
                 ServerErrc::duplicate_app},
        BadStart{"own_key_twice",
                 with([](auto&) {}),
                 {{.id = "1", .key = "a", .secret = "s", .more_keys = {{"b", "t"}, {"b", "u"}}}},
                 ServerErrc::duplicate_app},
        BadStart{"address",
                 with(
                     [](auto& o) {
                       o.listen = {"127.0.0.1:0", "nowhere"};
                     }),
                 {},
                 ServerErrc::bad_address},
        BadStart{"not_ours", with([](auto& o) { o.listen = {"192.0.2.1:0"}; }), {}, ServerErrc::cannot_listen}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ServerErrors, HaveNames) {
  for (const auto& [error, name] : {std::pair{ServerErrc::ok, "ok"},
                                    {ServerErrc::already_started, "already_started"},
                                    {ServerErrc::bad_option, "bad_option"},
                                    {ServerErrc::bad_app, "bad_app"},
                                    {ServerErrc::duplicate_app, "duplicate_app"},
                                    {ServerErrc::bad_store, "bad_store"},
                                    {ServerErrc::bad_address, "bad_address"},
                                    {ServerErrc::cannot_listen, "cannot_listen"},
                                    {ServerErrc::system, "system"}}) {
    EXPECT_EQ(to_string(error), name);
  }
}

TEST(Server, StartsOnce) {
  PolledServer server;
  EXPECT_EQ(server.server.start().error(), ServerErrc::already_started);
  server.server.stop();
  EXPECT_TRUE(server.server.stopped());
  EXPECT_EQ(server.server.start().error(), ServerErrc::already_started);
}

// One that could not start holds no address, and can be stopped.
TEST(Server, AFailedStartLeavesNothingBehind) {
  const transport::Listener taken = transport::Listener::open("127.0.0.1:0");
  ASSERT_GE(taken.descriptor, 0);
  for (const unsigned threads : {0U, 2U}) {
    const transport::Listener free = transport::Listener::open("127.0.0.1:0");
    ::close(free.descriptor);
    Server server({.listen = {free.endpoint, taken.endpoint}, .threads = threads});
    EXPECT_EQ(server.start().error(), ServerErrc::cannot_listen);
    EXPECT_TRUE(server.endpoints().empty());
    EXPECT_THROW(SocketClient{free.endpoint}, std::system_error);
    server.stop();
    EXPECT_TRUE(server.stopped());
  }
  ::close(taken.descriptor);
}

TEST(Server, CanBeStoppedAndDestroyedInAnyState) {
  {
    Server never({.listen = {"127.0.0.1:0"}});
    never.stop();
    EXPECT_EQ(never.connections(), 0U);
    EXPECT_EQ(never.poll(), 0U);
  }
  { PolledServer never_polled; }
  {
    PolledServer server;
    SocketClient client = server.established();
    ASSERT_TRUE(client.subscribe("x"));
    server.app.trigger("x", "e", "1");
  }
  {
    Server server(PolledServer::for_tests({}, 3));
    App& app = server.add_app(test_app());
    ASSERT_TRUE(server.start());
    SocketClient client(server.endpoints().front());
    EXPECT_NE(client.establish("/app/key?protocol=7"), "");
    EXPECT_EQ(app.connections(), 1U);
  }
}

TEST(Server, AnApplicationThatIsRefusedCanBeUsedAllTheSame) {
  Server server({.listen = {"127.0.0.1:0"}, .threads = 0});
  App& bad = server.add_app({.id = "no name", .key = "key", .secret = "secret"});
  EXPECT_EQ(bad.trigger("x", "e", "1").error, errc::ok);
  EXPECT_EQ(server.start().error(), ServerErrc::bad_app);
  EXPECT_NE(server.start().text().find("no name"), std::string::npos);
}

TEST(Server, ListensOnSeveralAddresses) {
  Server server({.listen = {"127.0.0.1:0", "localhost:0"}, .threads = 1});
  server.add_app(test_app());
  ASSERT_TRUE(server.start());
  ASSERT_EQ(server.endpoints().size(), 2U);
  for (const std::string& endpoint : server.endpoints()) {
    SocketClient client(endpoint);
    EXPECT_NE(client.establish("/app/key?protocol=7"), "") << endpoint;
  }
}

TEST(Server, DrainsClients) {
  PolledServer server({.drain_timeout = 3000ms, .on_request = echo});
  std::vector<SocketClient> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(server.established());
    ASSERT_TRUE(clients.back().subscribe("x"));
  }
  SocketClient idle = server.client();
  SocketClient asking = server.client();
  asking.send("GET /asked HTTP/1.1\r\n");
  server.run();
  const std::string endpoint = server.endpoint();
  for (SocketClient& client : clients) client.wait_alone();
  asking.wait_alone();
  fanfare::test::Thread friends([&] {
    for (SocketClient& client : clients) {
      SocketClient alone = std::move(client);
      EXPECT_NE(alone.receive_text().find("4100"), std::string::npos);
      EXPECT_EQ(alone.receive_frame().value_or(ServerFrame{}).code, 4100U);
      alone.send(close_frame(4100));
    }
    EXPECT_THROW(SocketClient{endpoint}, std::system_error);
    asking.send("Host: x\r\n\r\n");
    const HttpAnswer answer = asking.receive_answer().value_or(HttpAnswer{});
    EXPECT_EQ(answer.body, "GET /asked \n");
    EXPECT_EQ(answer.field("connection"), "close");
    asking.close();
  });
  const auto begun = Clock::now();
  server.server.stop();
  EXPECT_LT(Clock::now() - begun, 2500ms);
  friends.join();
  EXPECT_TRUE(server.server.stopped());
  EXPECT_EQ(server.server.connections(), 0U);
  EXPECT_EQ(idle.end(), End::eof);
}

TEST(Server, DrainsNoLongerThanItMay) {
  PolledServer server({.drain_timeout = 300ms});
  SocketClient deaf = server.established();
  const auto begun = Clock::now();
  server.server.stop();
  EXPECT_GE(Clock::now() - begun, 300ms);
  EXPECT_LT(Clock::now() - begun, 2500ms);
  EXPECT_NE(deaf.receive_text().find("4100"), std::string::npos);
  EXPECT_EQ(deaf.receive_frame().value_or(ServerFrame{}).code, 4100U);
  EXPECT_NE(deaf.end(), End::none);
  EXPECT_EQ(server.app.trigger("x", "e", "1").error, errc::ok);
}

TEST(Server, RunsOnAHostsContext) {
  asio::io_context context;
  {
    Server server({.listen = {"127.0.0.1:0"}});
    App& app = server.add_app(test_app());
    ASSERT_TRUE(server.start(context));
    EXPECT_EQ(server.poll(), 0U);
    const auto idle = [&] { context.run_one_for(1ms); };
    SocketClient client(server.endpoints().front(), idle);
    EXPECT_NE(client.establish("/app/key?protocol=7"), "");
    EXPECT_TRUE(client.subscribe("x"));
    app.trigger("x", "e", "1");
    EXPECT_EQ(client.receive_text(), event_text("x", "1"));
    server.stop();  // does not wait
    EXPECT_FALSE(server.stopped());
    EXPECT_NE(client.receive_text().find("4100"), std::string::npos);
    client.close();
    for (int i = 0; i < 1000 && !server.stopped(); ++i) context.run_one_for(10ms);
    EXPECT_TRUE(server.stopped());
  }
  {
    Server server({.listen = {"127.0.0.1:0"}});  // never run
    ASSERT_TRUE(server.start(context));
  }
  {
    Server server({.listen = {"127.0.0.1:0"}});  // ends in the middle
    server.add_app(test_app());
    ASSERT_TRUE(server.start(context));
    SocketClient client(server.endpoints().front(), [&] { context.run_one_for(1ms); });
    EXPECT_NE(client.establish("/app/key?protocol=7"), "");
  }
  context.run();  // nothing is left to do, and what is left refers to nothing
}

}  // namespace
