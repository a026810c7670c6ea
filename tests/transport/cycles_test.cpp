// Ten thousand clients come, enter channels of every kind, and go in every way: nothing of them stays.
#include "support/heap.hpp"
#include "support/memory_clients.hpp"
#include "support/polled_server.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <iterator>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using fanfare::test::close_frame;
using fanfare::test::Heap;
using fanfare::test::HttpAnswer;
using fanfare::test::MemoryClient;
using fanfare::test::open_app;
using fanfare::test::SocketClient;
using fanfare::test::text_frame;
using fanfare::test::TimedServer;

constexpr std::size_t clients_at_once = 250;
constexpr int batches = 40;

// ---- what each client does

constexpr std::array<std::string_view, 8> prefixes{
    "",          "cache-",         "private-", "private-cache-", "private-encrypted-", "private-encrypted-cache-",
    "presence-", "presence-cache-"};

std::string user_of(std::size_t number) { return "user" + std::to_string(number); }

bool signs_in(std::size_t number) { return number % 3 == 0; }

// One that it shares with four others or has to itself, and its user's; among sixteen of them every kind of both.
bool shares(std::size_t number) { return number / 8 % 2 == 0; }
std::vector<std::string> channels_of(std::size_t number) {
  const std::string name = shares(number) ? "room" + std::to_string(number / 80) : "own" + std::to_string(number);
  std::vector<std::string> channels{std::string(prefixes[number % 8]) + name};
  if (signs_in(number)) channels.push_back("#server-to-user-" + user_of(number));
  return channels;
}

enum class Leaving { closes, breaks, half_closes, unsubscribes, stays, terminated };
Leaving end_of(std::size_t number) {
  return number % 6 == 0 ? Leaving::terminated : static_cast<Leaving>(number / 3 % 5);
}

std::string channel_data(std::string_view channel, std::size_t number) {
  return channel.starts_with("presence-") ? R"({"user_id":")" + user_of(number) + "\"}" : std::string();
}

// It watches the next one.
std::string user_data(std::size_t number) {
  return R"({"id":")" + user_of(number) + R"(","watchlist":[")" + user_of(number + 1) + "\"]}";
}

// Every channel gets an event, which those that have a memory remember.
void trigger_everywhere(App& app) {
  for (std::size_t number = 0; number < clients_at_once; ++number) {
    if (shares(number) && number % 80 >= 8) continue;  // another has
    for (const std::string& channel : channels_of(number)) {
      EXPECT_EQ(app.trigger(channel, "e", "1").error, errc::ok) << channel;
    }
  }
}

void expect_all(App& app) {
  ASSERT_EQ(app.connections(), clients_at_once);
  ASSERT_EQ(app.users().size(), (clients_at_once + 2) / 3);
  ASSERT_EQ(app.subscribers("cache-room0"), 5U);
  ASSERT_EQ(app.user_count("presence-room0"), 5U);
  ASSERT_EQ(app.user_count("presence-cache-room0"), 5U);
}

std::size_t occurrences(std::string_view word, std::string_view text) {
  std::size_t times = 0;
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string_view::npos; at += word.size()) ++times;
  return times;
}

// What an application and its transport have at rest.
struct Rest {
  std::size_t blocks = 0;       // of memory
  std::size_t descriptors = 0;  // of the process

  static Rest of(App& app) {
    EXPECT_EQ(app.connections(), 0U);
    EXPECT_EQ(app.users().size(), 0U);
    EXPECT_EQ(app.channels().stats().entries, 0U);
    app.channels().collect();  // what is retired is freed at some time else
    EXPECT_EQ(app.channels().stats().retired_bytes, 0U);
    const auto blocks = Heap::live();
    const std::filesystem::directory_iterator descriptors("/proc/self/fd");
    return {blocks, static_cast<std::size_t>(std::distance(begin(descriptors), end(descriptors)))};
  }
  friend bool operator==(const Rest&, const Rest&) = default;
  friend void PrintTo(const Rest& rest, std::ostream* out) {
    *out << rest.blocks << " blocks, " << rest.descriptors << " descriptors";
  }
};

// ---- in memory

class MemoryCycles : public testing::Test {
 protected:
  // Clients of a transport come and go.
  void visit(transport::MemoryTransport& transport) {
    std::deque<MemoryClient> clients;
    for (std::size_t number = 0; number < clients_at_once; ++number) {
      MemoryClient& client = clients.emplace_back(transport);
      if (signs_in(number)) client.sign_in(user_data(number));
      for (const std::string& channel : channels_of(number)) client.subscribe(channel, channel_data(channel, number));
    }
    transport.run();
    expect_all(app);
    trigger_everywhere(app);
    transport.run();
    std::size_t staying = 0;
    for (std::size_t number = 0; number < clients_at_once; ++number) {
      MemoryClient& client = clients[number];
      std::string all;
      for (const std::string& text : client.take_raw()) all += text;
      ASSERT_EQ(occurrences("subscription_succeeded", all), channels_of(number).size());
      ASSERT_EQ(occurrences("signin_success", all), signs_in(number) ? 1U : 0U);
      ASSERT_EQ(occurrences("error", all), 0U) << all;
      switch (end_of(number)) {
        case Leaving::terminated: app.terminate(user_of(number)); break;
        case Leaving::stays: ++staying; break;
        case Leaving::unsubscribes:
          for (const std::string& channel : channels_of(number)) client.unsubscribe(channel);
          [[fallthrough]];
        default: client.close();
      }
    }
    transport.run();
    ASSERT_EQ(app.connections(), staying);
  }
  // Time enough passes for everything to be forgotten.
  void forget() { app.tick(std::chrono::steady_clock::now() + 24h); }

  pusher::AppList apps;
  App& app = *apps.add(open_app());
};

TEST_F(MemoryCycles, LeaveNothingInAnApplication) {
  std::optional<Rest> rest;
  for (int batch = 0; batch < batches && !HasFatalFailure(); ++batch) {
    {
      transport::MemoryTransport transport(apps);
      visit(transport);
    }
    forget();
    if (batch == 1) rest = Rest::of(app);
  }
  EXPECT_EQ(Rest::of(app), rest);
}

// The transport keeps the object that it has returned, and what that holds.
TEST_F(MemoryCycles, LeaveInATransportNoMoreThanTheirEnds) {
  transport::MemoryTransport transport(apps);
  std::vector<Rest> rests;
  for (int batch = 0; batch < 4 && !HasFatalFailure(); ++batch) {
    visit(transport);
    transport.advance(120s);
    transport.advance(30s);
    transport.advance(0s);  // leaves the channels of those who were given up
    forget();
    rests.push_back(Rest::of(app));
  }
  ASSERT_EQ(rests.size(), 4U);
  const std::size_t each_time = rests[2].blocks - rests[1].blocks;
  EXPECT_LE(each_time, 5 * clients_at_once);  // itself, its queue's two, its text, as whom it had signed in
  EXPECT_EQ(rests[3].blocks - rests[2].blocks, each_time);
}

// ---- over sockets

enum class Way { websocket, streaming, polling };

// A client that looks at nothing but how often a word has come.
class Visitor {
 public:
  Visitor(TimedServer& server, Way way, std::size_t number)
      : server_(&server), way_(way), number_(number), main_(server.client()) {
    if (way_ == Way::websocket) {
      main_.send(SocketClient::upgrade_request("/app/key?protocol=7"));
    } else {
      ask();
      sender_.emplace(server.client());
    }
  }

  // Until a word has come so often. False if it does not in time.
  [[nodiscard]] bool await(std::string_view word, std::size_t times) {
    std::size_t at = 0;
    while (times > 0) {
      const std::size_t found = text().find(word, at);
      if (found != std::string::npos) {
        at = found + word.size();
        --times;
      } else if (!receive()) {
        return false;
      }
    }
    return true;
  }
  void enter() {
    const std::size_t key = text().find("socket_id");
    const std::size_t begin = text().find_first_of("0123456789", key);
    const std::string id = text().substr(begin, text().find_first_not_of("0123456789.", begin) - begin);
    std::vector<std::string> texts;
    if (signs_in(number_)) {
      const std::string data = user_data(number_);
      const std::string auth = "key:" + pusher::hmac_sha256_hex("secret", id + "::user::" + data);
      texts.push_back(boost::json::serialize(
          boost::json::value{{"event", "pusher:signin"}, {"data", {{"auth", auth}, {"user_data", data}}}}));
    }
    for (const std::string& channel : channels_of(number_)) {
      boost::json::object asked{{"auth", "key:"}, {"channel", channel}};
      if (const std::string member = channel_data(channel, number_); !member.empty()) asked["channel_data"] = member;
      texts.push_back(boost::json::serialize(boost::json::value{{"event", "pusher:subscribe"}, {"data", asked}}));
    }
    say(texts);
  }
  void leave_channels() {
    std::vector<std::string> texts;
    for (const std::string& channel : channels_of(number_)) {
      texts.push_back(boost::json::serialize(
          boost::json::value{{"event", "pusher:unsubscribe"}, {"data", {{"channel", channel}}}}));
    }
    say(texts);
  }
  [[nodiscard]] SocketClient& socket() noexcept { return main_; }

 private:
  [[nodiscard]] std::string path(std::string_view kind) const {
    const std::string number = std::to_string(number_);
    return "/app/key/1/" + std::string(8 - number.size(), 'x').append(number).append("/").append(kind);
  }
  static std::string post(const std::string& target, const std::string& body) {
    return "POST " + target + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           body;
  }
  void ask() { main_.send(post(path(way_ == Way::polling ? "xhr" : "xhr_streaming") + "?protocol=7", {})); }
  void say(const std::vector<std::string>& texts) {
    if (way_ == Way::websocket) {
      std::string frames;
      for (const std::string& text : texts) frames += text_frame(text);
      return main_.send(frames);
    }
    sender_->send(post(path("xhr_send"), boost::json::serialize(boost::json::value_from(texts))));
    EXPECT_EQ(sender_->receive_answer().value_or(HttpAnswer{}).status, 204U);
  }
  [[nodiscard]] const std::string& text() const { return way_ == Way::polling ? polled_ : main_.unread(); }
  bool receive() {
    if (way_ != Way::polling) return main_.receive_some();
    const std::optional<HttpAnswer> answer = main_.receive_answer();
    if (!answer) return false;
    polled_ += answer->body;
    ask();
    return true;
  }

  TimedServer* server_;
  Way way_;
  std::size_t number_;
  SocketClient main_;
  std::optional<SocketClient> sender_;
  std::string polled_;
};

TEST(SocketCycles, LeaveNothingInAServer) {
  AppOptions options = open_app();
  TimedServer server({}, std::move(options));
  server.start();
  App& app = server.app();
  // One in ten is a session of an HTTP fallback.
  const auto way = [](std::size_t number) {
    return number % 20 == 7 ? Way::streaming : number % 20 == 17 ? Way::polling : Way::websocket;
  };
  const auto visit = [&] {
    std::deque<Visitor> visitors;
    for (std::size_t number = 0; number < clients_at_once; ++number) visitors.emplace_back(server, way(number), number);
    for (Visitor& visitor : visitors) {
      ASSERT_TRUE(visitor.await("connection_established", 1));
      visitor.enter();
    }
    for (std::size_t number = 0; number < visitors.size(); ++number) {
      ASSERT_TRUE(visitors[number].await("signin_success", signs_in(number) ? 1 : 0));
      ASSERT_TRUE(visitors[number].await("subscription_succeeded", channels_of(number).size()));
    }
    expect_all(app);
    trigger_everywhere(app);
    server.run();
    for (std::size_t number = 0; number < visitors.size(); ++number) {
      Visitor& visitor = visitors[number];
      switch (end_of(number)) {
        case Leaving::closes:
          if (way(number) == Way::websocket) visitor.socket().send(close_frame(1000));
          break;
        case Leaving::breaks: visitor.socket().reset(); break;
        case Leaving::half_closes: visitor.socket().shutdown_write(); break;
        case Leaving::unsubscribes: visitor.leave_channels(); break;
        case Leaving::terminated: app.terminate(user_of(number)); break;
        case Leaving::stays: break;  // until its socket is closed
      }
    }
    server.run();
    visitors.clear();
    ASSERT_TRUE(server.run_until([&] { return server.server().connections() == 0; }));
    // A session of an HTTP fallback waits for ten seconds for a request to carry it, if nobody has ended it.
    server.advance(9s);
    ASSERT_GT(app.connections(), clients_at_once / 40);
    server.advance(2s);
    ASSERT_EQ(app.connections(), 0U);
  };
  const auto rest = [&] {
    server.advance(24h);  // what is remembered is forgotten
    server.advance(1s);   // and the channels left that were empty then
    return Rest::of(app);
  };
  visit();
  visit();
  const Rest before = rest();
  for (int batch = 2; batch < batches && !HasFatalFailure(); ++batch) visit();
  EXPECT_EQ(rest(), before);
}

}  // namespace
