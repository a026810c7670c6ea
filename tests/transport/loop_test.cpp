#include <fanfare/transport/loop.hpp>

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

// What a loop does for its clients is tested through a server: see server_test.cpp.
namespace {

using namespace fanfare;
using transport::Loop;
using transport::LoopGroup;

class LoopTest : public testing::Test {
 protected:
  LoopTest() {
    loop = std::make_shared<Loop>(group, 0U);
    EXPECT_FALSE(loop->open());
    group.loops.push_back(loop);
  }

  // Lets all loops run until they have nothing to do.
  void run() const {
    for (int quiet = 0; quiet < 3; ++quiet) {
      for (const auto& each : group.loops) {
        while (each->turn(std::chrono::milliseconds(1))) quiet = 0;
      }
    }
  }

  pusher::AppList apps;
  LoopGroup group{{}, apps};
  std::shared_ptr<Loop> loop;
};

// \returns the client's end.
int adopt(Loop& loop) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
  loop.adopt(ends[0]);
  return ends[1];
}

TEST_F(LoopTest, ServesASocketThatItIsGiven) {
  const int client = adopt(*loop);
  EXPECT_EQ(loop->load(), 1U);
  constexpr std::string_view request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_EQ(::send(client, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  std::string answer(1000, '\0');
  ssize_t count = -1;
  for (int i = 0; i < 1000 && count <= 0; ++i) {
    run();
    count = ::recv(client, answer.data(), answer.size(), MSG_DONTWAIT);
  }
  ASSERT_GT(count, 0);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 404 "));
  ::close(client);
  run();
  EXPECT_EQ(loop->load(), 0U);
  EXPECT_EQ(group.connections.load(), 0U);
  loop->end();
}

TEST_F(LoopTest, TellsWhenItHasDrained) {
  loop->turn();
  loop->drain(std::chrono::milliseconds(100));
  EXPECT_FALSE(loop->drained());
  EXPECT_FALSE(loop->turn());
  EXPECT_TRUE(loop->drained());
  EXPECT_TRUE(loop->ended());
  EXPECT_FALSE(loop->turn(std::chrono::hours(1))) << "it waits for nothing any more";
  loop->run();
}

TEST_F(LoopTest, IsDueForItsSweepAndReadableWhenItIsWoken) {
  run();
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  EXPECT_GT(loop->due(), now);
  EXPECT_LE(loop->due(), now + std::chrono::seconds(1));
  pollfd readable{loop->descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 0), 0);
  loop->wake();
  EXPECT_EQ(::poll(&readable, 1, 0), 1);
  run();
  EXPECT_EQ(::poll(&readable, 1, 0), 0);
}

// A connection whose request is for a session of another loop goes there, unless it ends on the way.
TEST_F(LoopTest, HandsAConnectionOverOrEndsIt) {
  apps.add({.id = "1", .key = "key", .secret = "secret"});
  group.loops.push_back(std::make_shared<Loop>(group, 1U));
  Loop& other = *group.loops[1];
  ASSERT_FALSE(other.open());
  const auto ask = [](int client, std::string_view kind, std::string_view body) {
    const std::string text = "POST /app/key/1/12345678/" + std::string(kind) + "?protocol=7 HTTP/1.1\r\nHost: x\r\n" +
                             "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
    ASSERT_EQ(::send(client, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  };
  const auto text_from = [this](int client) {
    run();
    std::string text(4096, '\0');
    const ssize_t count = ::recv(client, text.data(), text.size(), MSG_DONTWAIT);
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  };
  const int stream = adopt(*loop);
  ask(stream, "xhr_streaming", "");
  EXPECT_NE(text_from(stream).find("pusher:connection_established"), std::string::npos);

  const int moves = adopt(other);
  ask(moves, "xhr_send", R"(["{\"event\":\"pusher:ping\"}"])");
  EXPECT_TRUE(text_from(moves).starts_with("HTTP/1.1 204 "));
  EXPECT_NE(text_from(stream).find("pusher:pong"), std::string::npos);
  EXPECT_EQ(loop->load(), 2U);
  EXPECT_EQ(other.load(), 0U);

  const int ends = adopt(other);
  ask(ends, "xhr_send", R"(["{\"event\":\"pusher:ping\"}"])");
  ::shutdown(ends, SHUT_WR);
  run();
  ::close(ends);
  ::close(moves);
  ::close(stream);
  run();
  EXPECT_EQ(loop->load(), 0U);
  EXPECT_EQ(other.load(), 0U);
  EXPECT_EQ(group.connections.load(), 0U);
  loop->end();
  other.end();
}

TEST_F(LoopTest, ClosesWhatComesTooLate) {
  const int early = adopt(*loop);
  loop->end();
  const int late = adopt(*loop);
  for (const int client : {early, late}) {
    char byte = 0;
    EXPECT_EQ(::recv(client, &byte, 1, MSG_DONTWAIT), 0);
    ::close(client);
  }
  EXPECT_EQ(loop->load(), 0U);
  EXPECT_EQ(group.connections.load(), 0U);
  EXPECT_FALSE(loop->turn());
}

TEST_F(LoopTest, TakesOverUntilItIsToStop) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  constexpr std::string_view begin = "GET / HTTP/1.1\r\n";
  ASSERT_TRUE(loop->take_over(ends[0], begin));
  EXPECT_EQ(loop->load(), 1U);
  constexpr std::string_view rest = "Host: x\r\n\r\n";
  ASSERT_EQ(::send(ends[1], rest.data(), rest.size(), 0), static_cast<ssize_t>(rest.size()));
  run();
  std::string answer(1000, '\0');
  ASSERT_GT(::recv(ends[1], answer.data(), answer.size(), MSG_DONTWAIT), 0);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 404 "));
  ::close(ends[1]);
  run();

  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  loop->drain(std::chrono::milliseconds(0));
  EXPECT_FALSE(loop->take_over(ends[0], begin));
  run();
  EXPECT_TRUE(loop->ended());
  EXPECT_FALSE(loop->take_over(ends[0], begin));
  EXPECT_EQ(loop->load(), 0U);
  EXPECT_EQ(group.connections.load(), 0U);
  EXPECT_EQ(::close(ends[0]), 0) << "it is the caller's";
  ::close(ends[1]);
}

TEST_F(LoopTest, WhatIsTakenOverAndNeverServedIsClosed) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  ASSERT_TRUE(loop->take_over(ends[0], "GET / HTTP/1.1\r\n"));
  loop->end();
  char byte = 0;
  EXPECT_EQ(::recv(ends[1], &byte, 1, MSG_DONTWAIT), 0);
  EXPECT_EQ(group.connections.load(), 0U);
  ::close(ends[1]);
}

TEST_F(LoopTest, KnowsTheQuietestOfItsGroup) {
  for (std::uint32_t i = 1; i < 3; ++i) group.loops.push_back(std::make_shared<Loop>(group, i));
  for (const auto& each : group.loops) {
    if (each != loop) {
      ASSERT_FALSE(each->open());
    }
    EXPECT_EQ(&each->quietest(), each.get()) << "itself, as all have nothing";
  }
  const int first = adopt(*group.loops[0]);
  EXPECT_EQ(&group.loops[0]->quietest(), group.loops[1].get());
  const int second = adopt(*group.loops[1]);
  EXPECT_EQ(&group.loops[0]->quietest(), group.loops[2].get());
  EXPECT_EQ(&group.loops[2]->quietest(), group.loops[2].get());
  const int third = adopt(*group.loops[2]);
  EXPECT_EQ(&group.loops[1]->quietest(), group.loops[1].get());
  for (const int client : {first, second, third}) ::close(client);
  for (const auto& each : group.loops) each->end();
}

TEST_F(LoopTest, MayEndBeforeItHasBegun) {
  loop->end();
  loop->run();  // nothing waits
  EXPECT_TRUE(loop->drained());
}

}  // namespace
