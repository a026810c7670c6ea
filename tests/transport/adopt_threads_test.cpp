// A host that hands connections over from its own threads.
#include <fanfare/server.hpp>

#include "support/host_listener.hpp"
#include "support/polled_server.hpp"
#include "support/socket_client.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;

TEST(AdoptThreads, HostsThreadsHandOverWhileEventsRun) {
  const std::size_t each = repetitions(60);
  Server server({.listen = {}, .threads = 2, .drain_timeout = 500ms});
  App& app = server.add_app(test_app());
  ASSERT_TRUE(server.start());
  const HostListener host;
  const std::string request = SocketClient::upgrade_request("/app/key?protocol=7");
  std::atomic<bool> stop{false};
  std::vector<Thread> running;
  running.emplace_back([&] {
    while (!stop) {
      app.trigger("x", "e", "1");
      std::this_thread::sleep_for(200us);
    }
  });
  {
    std::vector<Thread> others;
    for (int i = 0; i < 2; ++i) {
      others.emplace_back([&] {
        for (std::size_t n = 0; n < each; ++n) {
          const int socket = host.accept();
          const AdoptErrc error = server.adopt(socket, HostListener::read(socket, n % (request.size() + 1)));
          ASSERT_EQ(error, AdoptErrc::ok) << to_string(error);
        }
      });
      others.emplace_back([&] {
        for (std::size_t n = 0; n < each; ++n) {
          SocketClient page(host.endpoint());
          ASSERT_NE(page.establish("/app/key?protocol=7"), "");
          ASSERT_TRUE(page.subscribe("x"));
          ASSERT_NE(page.receive_text().find(R"("event":"e")"), std::string::npos);
        }
      });
    }
  }
  stop = true;
  running.clear();
  server.stop();
  EXPECT_EQ(server.connections(), 0U);
}

// Whoever is handed over while the server stops is its own, and is ended, or stays the host's. Nobody is neither.
TEST(AdoptThreads, HandsOverWhileTheServerStops) {
  for (std::size_t round = 0; round < repetitions(30); ++round) {
    auto server = std::make_unique<Server>(ServerOptions{.listen = {}, .threads = 2, .drain_timeout = 0ms});
    server->add_app(test_app());
    ASSERT_TRUE(server->start());
    std::atomic<bool> begun{false};
    std::vector<Thread> hosts;
    for (int i = 0; i < 2; ++i) {
      hosts.emplace_back([&] {
        for (bool refused = false; !refused;) {
          std::array<int, 2> ends{};
          ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
          const AdoptErrc error = server->adopt(ends[0], "GET / HTTP/1.1\r\n");
          begun = true;
          refused = error == AdoptErrc::not_running;
          if (refused) {
            EXPECT_EQ(::close(ends[0]), 0);
          } else {
            ASSERT_EQ(error, AdoptErrc::ok) << to_string(error);
          }
          ::close(ends[1]);
        }
      });
    }
    while (!begun) {
    }
    server->stop();
    hosts.clear();
    EXPECT_EQ(server->connections(), 0U);
  }
}

}  // namespace
}  // namespace fanfare::test
