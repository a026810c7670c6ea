#include <fanfare/server.hpp>

#include "support/socket_client.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using fanfare::test::Arrivals;
using fanfare::test::repetitions;
using fanfare::test::ServerFrame;
using fanfare::test::SocketClient;
using fanfare::test::Thread;

// Takes `{"event":"EVENT","channel":"x","data":"NUMBER"}` apart.
struct Numbered {
  std::string event;
  std::size_t number = 0;
};
std::optional<Numbered> read(std::string_view text) {
  constexpr std::string_view begin = R"({"event":")";
  constexpr std::string_view middle = R"(","channel":"x","data":")";
  const std::size_t at = text.find(middle);
  if (!text.starts_with(begin) || at == std::string_view::npos) return std::nullopt;
  return Numbered{std::string(text.substr(begin.size(), at - begin.size())),
                  std::stoul(std::string(text.substr(at + middle.size())))};
}

class ServerThreads : public testing::TestWithParam<unsigned> {
 protected:
  ServerThreads() : app(server.add_app({.id = "1", .key = "key", .secret = "secret"})) {
    const ServerResult started = server.start();
    if (!started) throw std::runtime_error(started.text());
  }

  const std::string& endpoint() const { return server.endpoints().front(); }
  std::unique_ptr<SocketClient> subscriber() {
    auto client = std::make_unique<SocketClient>(endpoint());
    EXPECT_NE(client->establish("/app/key?protocol=7"), "");
    EXPECT_TRUE(client->subscribe("x"));
    return client;
  }

  Server server{{.listen = {"127.0.0.1:0"}, .threads = GetParam(), .drain_timeout = 500ms}};
  App& app;
};

TEST_P(ServerThreads, EachPublishersOrderIsKeptAtEachClient) {
  constexpr std::size_t clients = 6;
  constexpr std::size_t publishers = 3;
  const std::size_t each = repetitions(1000);
  std::vector<std::unique_ptr<SocketClient>> all;
  for (std::size_t i = 0; i < clients; ++i) all.push_back(subscriber());
  ASSERT_EQ(app.subscribers("x"), clients);
  std::vector<Thread> running;
  for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
    running.emplace_back([&, publisher] {
      for (std::size_t i = 0; i < each; ++i) {
        while (app.trigger("x", "p" + std::to_string(publisher), std::to_string(i)).error == errc::overloaded) {
          std::this_thread::sleep_for(1ms);
        }
      }
    });
  }
  for (auto& client : all) {
    running.emplace_back([&] {
      std::vector<std::size_t> next(publishers);
      for (std::size_t i = 0; i < publishers * each; ++i) {
        const std::optional<Numbered> event = read(client->receive_text());
        ASSERT_TRUE(event.has_value());
        ASSERT_EQ(event->number, next.at(static_cast<std::size_t>(event->event[1] - '0'))++);
      }
    });
  }
  running.clear();
}

// Descriptors and slots are used again while events are under way: nobody gets what is another's, and nobody's is lost.
TEST_P(ServerThreads, ClientsComeAndGoWhileEventsRun) {
  std::atomic<bool> stop{false};
  auto stays = subscriber();
  std::vector<Thread> running;
  running.emplace_back([&] {
    for (std::size_t i = 0; !stop; ++i) {
      while (!app.trigger("x", "e", std::to_string(i))) std::this_thread::sleep_for(1ms);
      std::this_thread::sleep_for(200us);
    }
    app.trigger("x", "end", "0");
  });
  running.emplace_back([&] {
    while (!stop) app.trigger("elsewhere", "e", "never here");
  });
  Arrivals done;
  for (int churner = 0; churner < 2; ++churner) {
    running.emplace_back([&, churner] {
      for (std::size_t round = 0; round < repetitions(120); ++round) {
        SocketClient client(endpoint());
        EXPECT_NE(client.establish("/app/key?protocol=7"), "");
        EXPECT_TRUE(client.subscribe("x"));
        std::optional<std::size_t> last;
        for (int i = 0; i < 3; ++i) {
          const std::optional<Numbered> event = read(client.receive_text());
          EXPECT_TRUE(event.has_value());
          if (!event) break;
          EXPECT_EQ(event->number, last ? *last + 1 : event->number);
          last = event->number;
        }
        if ((round + static_cast<std::size_t>(churner)) % 2 == 0) client.reset();
      }
      done.arrive();
    });
  }
  running.emplace_back([&] {
    std::size_t next = 0;
    while (const std::optional<Numbered> event = read(stays->receive_text())) {
      if (event->event == "end") return;
      ASSERT_EQ(event->number, next++);
    }
    FAIL() << "it has not come to the end";
  });
  done.wait_for(2);
  stop = true;
  running.clear();
}

TEST_P(ServerThreads, StopsWhileEventsAndClientsRun) {
  std::atomic<bool> stop{false};
  std::vector<Thread> running;
  for (int i = 0; i < 2; ++i) {
    running.emplace_back([&] {
      while (!stop) app.trigger("x", "e", "1");
    });
  }
  Arrivals connected;
  std::atomic<int> told{0};
  for (int i = 0; i < 4; ++i) {
    running.emplace_back([&, i] {
      auto client = subscriber();
      connected.arrive();
      std::optional<ServerFrame> frame;
      while ((frame = client->receive_frame()) && frame->opcode != 8) {
      }
      if (frame && (frame->code == 4200 || frame->code == 4100)) ++told;
      if (i % 2 == 0) client->send(fanfare::test::close_frame(4200));
      client->end();
    });
  }
  running.emplace_back([&] {
    while (!stop) {
      try {
        SocketClient client(endpoint());
        client.establish("/app/key?protocol=7");
      } catch (const std::system_error&) {
        return;
      }
    }
  });
  connected.wait_for(4);
  const auto begun = std::chrono::steady_clock::now();
  server.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 10s);
  EXPECT_TRUE(server.stopped());
  EXPECT_EQ(server.connections(), 0U);
  EXPECT_THROW(SocketClient{endpoint()}, std::system_error);
  stop = true;
  running.clear();
  EXPECT_GE(told, 1);
  EXPECT_EQ(app.connections(), 0U);
  server.stop();
}

INSTANTIATE_TEST_SUITE_P(Threads, ServerThreads, testing::Values(1U, 2U, 4U));

TEST(ServerLifetime, EndsWhileClientsAreConnected) {
  for (std::size_t round = 0; round < repetitions(20); ++round) {
    auto server = std::make_unique<Server>(ServerOptions{.listen = {"127.0.0.1:0"}, .threads = 3});
    App& app = server->add_app({.id = "1", .key = "key", .secret = "secret"});
    ASSERT_TRUE(server->start());
    const std::string endpoint = server->endpoints().front();
    std::vector<Thread> running;
    Arrivals connected;
    for (int i = 0; i < 3; ++i) {
      running.emplace_back([&] {
        SocketClient client(endpoint);
        EXPECT_NE(client.establish("/app/key?protocol=7"), "");
        EXPECT_TRUE(client.subscribe("x"));
        connected.arrive();
        EXPECT_NE(client.end(), SocketClient::End::none);
      });
    }
    connected.wait_for(3);
    app.trigger("x", "e", "1");
    server.reset();
  }
}

TEST(ServerLifetime, RunsOnAHostsContextWithSeveralThreads) {
  asio::io_context context;
  Server server({.listen = {"127.0.0.1:0"}});
  App& app = server.add_app({.id = "1", .key = "key", .secret = "secret"});
  ASSERT_TRUE(server.start(context));
  std::vector<Thread> running;
  for (int i = 0; i < 3; ++i) running.emplace_back([&] { context.run(); });
  SocketClient client(server.endpoints().front());
  EXPECT_NE(client.establish("/app/key?protocol=7"), "");
  EXPECT_TRUE(client.subscribe("x"));
  for (std::size_t i = 0; i < repetitions(400); ++i) {
    app.trigger("x", "e", std::to_string(i));
    const std::optional<Numbered> event = read(client.receive_text());
    ASSERT_TRUE(event.has_value());
    ASSERT_EQ(event->number, i);
  }
  client.close();
  server.stop();
  running.clear();  // the context has nothing left to do
  EXPECT_TRUE(server.stopped());
}

}  // namespace
