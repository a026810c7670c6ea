// Connections that a host has accepted, and its way to the HTTP API.
#include <fanfare/server.hpp>

#include "support/heap.hpp"
#include "support/host_listener.hpp"
#include "support/polled_server.hpp"
#include "support/socket_client.hpp"
#include <fanfare/http/parser.hpp>
#include <fanfare/pusher/http_api.hpp>

#include <gtest/gtest.h>

#include <asio/io_context.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using End = SocketClient::End;

const std::string ping_bytes = text_frame(R"({"event":"pusher:ping"})");

std::string app_request(std::string_view fields = {}) {
  return SocketClient::upgrade_request("/app/key?protocol=7", fields);
}

http::Request parsed(std::string_view bytes) {
  http::Parser parser;
  const http::FeedResult result = parser.feed(bytes);
  EXPECT_EQ(result.state, http::ParserState::complete);
  return parser.take();
}

// A server without a port of its own, and the host that has one.
class Adopting : public testing::Test {
 protected:
  explicit Adopting(ServerOptions options = {}, AppOptions app_options = test_app())
      : server(without_port(std::move(options))), app(server.add_app(std::move(app_options))) {
    if (const ServerResult started = server.start(); !started) throw std::runtime_error(started.text());
  }
  static ServerOptions without_port(ServerOptions options) {
    options.listen = {};
    options.threads = 0;
    return options;
  }

  [[nodiscard]] SocketClient client() {
    return SocketClient(host.endpoint(), [this] { server.poll(1ms); });
  }
  void run() {
    for (int quiet = 0; quiet < 3;) quiet = server.poll(1ms) == 0 ? quiet + 1 : 0;
  }
  // A client whose request the host has read whole.
  [[nodiscard]] SocketClient adopted(const std::string& request) {
    SocketClient made = client();
    made.send(request);
    const int socket = host.accept();
    const AdoptErrc error = server.adopt(socket, HostListener::read(socket, request.size()));
    EXPECT_EQ(error, AdoptErrc::ok) << to_string(error);
    return made;
  }

  HostListener host;
  Server server;
  App& app;
};

TEST_F(Adopting, AServerNeedsNoPortOfItsOwn) {
  EXPECT_TRUE(server.endpoints().empty());
  SocketClient page = client();
  const int socket = host.accept();
  EXPECT_EQ(server.adopt(socket), AdoptErrc::ok);
  EXPECT_EQ(server.connections(), 1U);
  EXPECT_NE(page.establish("/app/key?protocol=7"), "") << "the server reads the request itself";
  EXPECT_TRUE(page.subscribe("x"));
  EXPECT_EQ(app.connections(), 1U);
  app.trigger("x", "e", "1");
  EXPECT_EQ(page.receive_text(), R"({"event":"e","channel":"x","data":"1"})");
  page.close();
  run();
  EXPECT_EQ(server.connections(), 0U);
  EXPECT_EQ(::fcntl(socket, F_GETFD), -1) << "the socket was the server's to close";
}

TEST_F(Adopting, TheSocketIsPutIntoTheServersMode) {
  const SocketClient page = client();
  const int socket = host.accept();
  ASSERT_EQ(server.adopt(socket), AdoptErrc::ok);
  run();
  EXPECT_NE(::fcntl(socket, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(socket, F_GETFD) & FD_CLOEXEC, 0);
  int on = 0;
  socklen_t size = sizeof on;
  ASSERT_EQ(::getsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
  EXPECT_NE(on, 0);
}

// Wherever the host has stopped to read, within the request or in the frames behind it.
TEST_F(Adopting, GoesOnWhereTheHostHasStoppedToRead) {
  const std::string request = app_request();
  const std::string all = request + ping_bytes + ping_bytes;
  for (std::size_t read = 0; read <= all.size(); ++read) {
    SocketClient page = client();
    page.send(all);
    const int socket = host.accept();
    ASSERT_EQ(server.adopt(socket, HostListener::read(socket, read)), AdoptErrc::ok) << read;
    ASSERT_TRUE(page.upgraded()) << read;
    ASSERT_NE(page.receive_text().find("connection_established"), std::string::npos) << read;
    ASSERT_NE(page.receive_text().find("pusher:pong"), std::string::npos) << read;
    ASSERT_NE(page.receive_text().find("pusher:pong"), std::string::npos) << read;
    page.send(ping_bytes);
    ASSERT_NE(page.receive_text().find("pusher:pong"), std::string::npos) << read;
  }
}

TEST_F(Adopting, TakesARequestThatTheHostHasAsAValue) {
  SocketClient page = client();
  page.send(app_request() + ping_bytes);
  const int socket = host.accept();
  const std::string request = HostListener::read(socket, app_request().size());
  ASSERT_EQ(server.adopt(socket, parsed(request), HostListener::read(socket, ping_bytes.size())), AdoptErrc::ok);
  ASSERT_TRUE(page.upgraded());
  EXPECT_NE(page.receive_text().find("connection_established"), std::string::npos);
  EXPECT_NE(page.receive_text().find("pusher:pong"), std::string::npos);
}

TEST_F(Adopting, MoreThanATurnsWorkThatWasReadIsAllServed) {
  std::string frames;
  for (int i = 0; i < 500; ++i) frames += ping_bytes;
  SocketClient page = adopted(app_request() + frames);
  ASSERT_TRUE(page.upgraded());
  EXPECT_NE(page.receive_text().find("connection_established"), std::string::npos);
  for (int i = 0; i < 500; ++i) ASSERT_NE(page.receive_text().find("pusher:pong"), std::string::npos) << i;
}

class AdoptingAHost : public Adopting {
 protected:
  AdoptingAHost()
      : Adopting({.request_timeout = 1s, .on_request = [](const http::Request& request) {
                    return std::optional(http::text_response(200, request.method + ' ' + request.target));
                  }}) {}
};

TEST_F(AdoptingAHost, ServesWhateverComesOnTheConnection) {
  SocketClient other = adopted("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HT");
  EXPECT_EQ(other.receive_answer().value_or(HttpAnswer{}).body, "GET /a\n");
  other.send("TP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(other.receive_answer().value_or(HttpAnswer{}).body, "GET /b\n");

  SocketClient backend = adopted(signed_post("/apps/1/events", R"({"name":"e","channels":["x"],"data":"1"})"));
  EXPECT_EQ(backend.receive_answer().value_or(HttpAnswer{}).status, 200U);

  SocketClient fallback = adopted(
      "POST /pusher/app/key/1/12345678/xhr_streaming?protocol=7 HTTP/1.1\r\nHost: x\r\n"
      "Content-Length: 0\r\n\r\n");
  EXPECT_TRUE(fallback.receive_some());

  SocketClient bad = adopted("GET / HTTX\r\n\r\n");
  EXPECT_EQ(bad.receive_answer().value_or(HttpAnswer{}).status, 400U);
  EXPECT_EQ(bad.end(), End::eof);
}

TEST_F(AdoptingAHost, AClientThatHasClosedItsHalfIsAnswered) {
  SocketClient other = client();
  other.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  other.shutdown_write();
  const int socket = host.accept();
  ASSERT_EQ(server.adopt(socket, HostListener::read(socket, 28)), AdoptErrc::ok);
  EXPECT_EQ(other.receive_answer().value_or(HttpAnswer{}).body, "GET /a\n");
  EXPECT_EQ(other.end(), End::eof);
}

TEST_F(AdoptingAHost, ARequestThatWasBegunMustBecomeWholeInTime) {
  SocketClient slow = adopted("GET / HTTP/1.1\r\nHo");
  EXPECT_EQ(slow.receive_answer().value_or(HttpAnswer{}).status, 408U);
  EXPECT_EQ(slow.end(), End::eof);
}

// ---- limits

class AdoptingWithLimits : public Adopting {
 protected:
  AdoptingWithLimits() : Adopting({.max_connections = 3}, with_limits()) {}
  static AppOptions with_limits() {
    AppOptions options = test_app();
    options.max_connections_per_address = 2;
    return options;
  }
  // The close's code, or 0 where it is let in.
  static unsigned refusal(SocketClient& page) {
    EXPECT_TRUE(page.upgraded());
    if (page.receive_text().find("connection_established") != std::string::npos) return 0;
    return page.receive_frame().value_or(ServerFrame{}).code;
  }
};

TEST_F(AdoptingWithLimits, CountsThemAsThoseThatItHasAccepted) {
  SocketClient first = adopted(app_request());
  SocketClient second = adopted(app_request());
  EXPECT_EQ(refusal(first), 0U);
  EXPECT_EQ(refusal(second), 0U);
  EXPECT_EQ(app.connections(), 2U);
  SocketClient third = adopted(app_request());
  EXPECT_NE(refusal(third), 0U) << "there are as many from this address as may be";
  first.close();
  run();
  SocketClient fourth = adopted(app_request());
  EXPECT_EQ(refusal(fourth), 0U);
}

TEST(Adopt, NoMoreThanThereAreDescriptorsFor) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit few{140, 140};
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0) ::_exit(1);
    Server server({.listen = {}, .threads = 0});
    server.add_app(test_app());
    if (!server.start()) ::_exit(2);
    const HostListener host;
    for (std::size_t i = 0; i < 140; ++i) {
      {
        const SocketClient comes_and_goes(host.endpoint());
      }
      const int socket = host.accept();
      const AdoptErrc error = server.adopt(socket);
      if (error == AdoptErrc::ok) continue;
      if (error != AdoptErrc::too_many_connections || server.connections() != i) ::_exit(3);
      ::_exit(i == 140 - 64 && ::fcntl(socket, F_GETFD) != -1 ? 0 : 4);
    }
    ::_exit(5);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// ---- errors

TEST_F(Adopting, WhatIsNoConnectedSocketStaysTheCallers) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const int datagrams = ::socket(AF_INET, SOCK_DGRAM, 0);
  const int unconnected = ::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(server.adopt(-1), AdoptErrc::not_a_socket);
  EXPECT_EQ(server.adopt(pipe[0]), AdoptErrc::not_a_socket);
  EXPECT_EQ(server.adopt(datagrams), AdoptErrc::not_a_socket);
  EXPECT_EQ(server.adopt(unconnected), AdoptErrc::not_connected);
  EXPECT_EQ(server.adopt(host.descriptor()), AdoptErrc::not_connected);
  for (const int descriptor : {pipe[0], pipe[1], datagrams, unconnected}) EXPECT_EQ(::close(descriptor), 0);
  EXPECT_EQ(server.connections(), 0U);

  SocketClient gone = client();
  const int socket = host.accept();
  gone.reset();
  AdoptErrc error = AdoptErrc::ok;
  for (int i = 0; i < 1000 && error == AdoptErrc::ok; ++i) {
    char byte = 0;
    if (::recv(socket, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
      ::usleep(1000);
      continue;
    }
    error = server.adopt(socket);
  }
  EXPECT_EQ(error, AdoptErrc::not_connected);
  EXPECT_EQ(::close(socket), 0);
}

TEST_F(Adopting, WhatIsRefusedIsAsItWas) {
  SocketClient page = client();
  const int socket = host.accept();
  const int mode = ::fcntl(socket, F_GETFL);
  const std::size_t most = ServerOptions{}.max_body_bytes + 64 * 1024;
  EXPECT_EQ(server.adopt(socket, std::string(most + 1, 'x')), AdoptErrc::too_much_read);
  http::Request request = parsed(app_request());
  for (const char* const target : {"", "/a b", "/a\r\nb"}) {
    request.target = target;
    EXPECT_EQ(server.adopt(socket, request), AdoptErrc::bad_request);
  }
  request.target = "/app/key?protocol=7";
  request.method = "GET /x";
  EXPECT_EQ(server.adopt(socket, request), AdoptErrc::bad_request);
  EXPECT_EQ(server.connections(), 0U);
  EXPECT_EQ(::fcntl(socket, F_GETFL), mode);
  EXPECT_EQ(server.adopt(socket), AdoptErrc::ok) << "it can be handed over still";
  EXPECT_NE(page.establish("/app/key?protocol=7"), "");
}

TEST(Adopt, AServerTakesNothingBeforeItRunsOrAfterwards) {
  const HostListener host;
  SocketClient page(host.endpoint());
  const int socket = host.accept();
  Server server({.listen = {}, .threads = 1, .drain_timeout = 100ms});
  server.add_app(test_app());
  EXPECT_EQ(server.adopt(socket), AdoptErrc::not_running);
  ASSERT_TRUE(server.start());
  server.stop();
  EXPECT_EQ(server.adopt(socket), AdoptErrc::not_running);
  EXPECT_EQ(server.connections(), 0U);

  Server failed({.listen = {"192.0.2.1:0"}});
  EXPECT_FALSE(failed.start());
  EXPECT_EQ(failed.adopt(socket), AdoptErrc::not_running);
  EXPECT_EQ(::close(socket), 0);
}

TEST_F(Adopting, TakesNoneFromTheMomentOnThatItIsToStop) {
  asio::io_context context;
  Server hosted({.listen = {}});
  ASSERT_TRUE(hosted.start(context));
  SocketClient early = client();
  ASSERT_EQ(hosted.adopt(host.accept()), AdoptErrc::ok);
  SocketClient late = client();
  const int socket = host.accept();
  hosted.stop();  // which nobody has begun to do
  EXPECT_EQ(hosted.adopt(socket), AdoptErrc::not_running);
  EXPECT_EQ(::close(socket), 0);
  for (int i = 0; i < 100 && !hosted.stopped(); ++i) context.run_one_for(10ms);
  EXPECT_TRUE(hosted.stopped());
  EXPECT_NE(early.end(), End::none);
}

TEST_F(Adopting, ExhaustedMemoryLeavesTheSocketToTheCaller) {
  bool refused = true;
  std::size_t n = 0;
  const http::Request request = parsed(app_request());
  for (; refused && n < 100; ++n) {
    SocketClient page = client();
    const int socket = host.accept();
    Heap::fail_after(n);
    const AdoptErrc error = server.adopt(socket, request, ping_bytes);
    refused = Heap::succeed() != 0;
    ASSERT_EQ(error, refused ? AdoptErrc::out_of_memory : AdoptErrc::ok);
    ASSERT_EQ(server.connections(), refused ? 0U : 1U);
    if (refused) {
      ASSERT_EQ(::close(socket), 0);
      continue;
    }
    EXPECT_TRUE(page.upgraded());
  }
  EXPECT_GE(n, 2U);
  EXPECT_LT(n, 100U);
}

TEST(AdoptErrors, HaveNames) {
  for (const auto& [error, name] : {std::pair{AdoptErrc::ok, "ok"},
                                    {AdoptErrc::not_running, "not_running"},
                                    {AdoptErrc::not_a_socket, "not_a_socket"},
                                    {AdoptErrc::not_connected, "not_connected"},
                                    {AdoptErrc::bad_request, "bad_request"},
                                    {AdoptErrc::too_much_read, "too_much_read"},
                                    {AdoptErrc::too_many_connections, "too_many_connections"},
                                    {AdoptErrc::out_of_memory, "out_of_memory"}}) {
    EXPECT_EQ(to_string(error), name);
  }
}

// ---- who runs the server

TEST(Adopt, OnAHostsContext) {
  asio::io_context context;
  Server server({.listen = {}});
  App& app = server.add_app(test_app());
  ASSERT_TRUE(server.start(context));
  const HostListener host;
  SocketClient page(host.endpoint(), [&] { context.run_one_for(1ms); });
  page.send(app_request());
  const int socket = host.accept();
  ASSERT_EQ(server.adopt(socket, HostListener::read(socket, app_request().size())), AdoptErrc::ok);
  ASSERT_TRUE(page.upgraded());
  EXPECT_NE(page.receive_text().find("connection_established"), std::string::npos);
  EXPECT_TRUE(page.subscribe("x"));
  app.trigger("x", "e", "1");
  EXPECT_EQ(page.receive_text(), R"({"event":"e","channel":"x","data":"1"})");
}

TEST(Adopt, OnThreadsOfTheServersOwn) {
  Server server({.listen = {}, .threads = 3});
  App& app = server.add_app(test_app());
  ASSERT_TRUE(server.start());
  const HostListener host;
  std::vector<SocketClient> pages;
  for (int i = 0; i < 6; ++i) {
    SocketClient& page = pages.emplace_back(host.endpoint());
    page.send(app_request());
    const int socket = host.accept();
    ASSERT_EQ(server.adopt(socket, HostListener::read(socket, app_request().size())), AdoptErrc::ok);
  }
  for (SocketClient& page : pages) {
    ASSERT_TRUE(page.upgraded());
    EXPECT_NE(page.receive_text().find("connection_established"), std::string::npos);
    EXPECT_TRUE(page.subscribe("x"));
  }
  app.trigger("x", "e", "1");
  for (SocketClient& page : pages) EXPECT_EQ(page.receive_text(), R"({"event":"e","channel":"x","data":"1"})");
}

// From within a request that the server itself serves, where the loop is in the middle of its turn.
TEST(Adopt, OnALoop) {
  const HostListener host;
  std::optional<AdoptErrc> error;
  Server* self = nullptr;
  PolledServer server({.on_request = [&](const http::Request& /*request*/) {
    error = self->adopt(host.accept());
    return std::optional(http::text_response(200, "done"));
  }});
  self = &server.server;
  SocketClient page(host.endpoint(), [&] { server.server.poll(1ms); });
  SocketClient asks = server.client();
  asks.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(asks.receive_answer().value_or(HttpAnswer{}).status, 200U);
  EXPECT_EQ(error, AdoptErrc::ok);
  EXPECT_NE(page.establish("/app/key?protocol=7"), "");
}

// ---- the HTTP API

TEST_F(Adopting, TheHostAsksTheApiItself) {
  SocketClient page = adopted(app_request());
  ASSERT_TRUE(page.upgraded());
  page.receive_text();
  ASSERT_TRUE(page.subscribe("x"));
  const http::Request request = parsed(signed_post("/apps/1/events", R"({"name":"e","channels":["x"],"data":"1"})"));
  const std::optional<http::Response> response = server.handle(request);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200U);
  EXPECT_EQ(response->body, "{}");
  EXPECT_EQ(page.receive_text(), R"({"event":"e","channel":"x","data":"1"})");

  http::Request other;
  other.method = "GET";
  other.target = "/apps/1/channels";
  EXPECT_EQ(server.handle(other).value_or(http::Response{}).status, 401U) << "it is not signed";
  other.target = "/apps/2/channels";
  EXPECT_EQ(server.handle(other).value_or(http::Response{}).status, 404U);
  for (const char* const target : {"/", "/apps", "/app/key", "/index.html?/apps/1/events", ""}) {
    other.target = target;
    EXPECT_FALSE(server.handle(other).has_value()) << target;
    EXPECT_FALSE(server.api().serves(other)) << target;
  }
}

TEST(ServerHandle, KnowsThePrefixAndNeedsNoRunningServer) {
  Server server({.listen = {}, .threads = 0, .path_prefix = "/realtime"});
  App& app = server.add_app(test_app());
  auto inbox = app.subscribe("x", Inbox{16});
  http::Request request = parsed(signed_post("/apps/1/events", R"({"name":"e","channels":["x"],"data":"1"})"));
  EXPECT_FALSE(server.handle(request).has_value());
  request.target.insert(0, "/realtime");
  EXPECT_EQ(server.handle(request).value_or(http::Response{}).status, 200U);
  ASSERT_TRUE(server.start());
  EXPECT_EQ(server.handle(request).value_or(http::Response{}).status, 200U);
  server.stop();
  EXPECT_EQ(server.handle(request).value_or(http::Response{}).status, 200U);
  EXPECT_EQ(inbox.poll([](const Event&) {}), 3U);
}

}  // namespace
}  // namespace fanfare::test
