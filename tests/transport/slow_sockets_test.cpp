// Clients that stop to read for a while, on real sockets. With FANFARE_STALL_SECONDS in the environment they do so again and
// again for that long; else once.
#include <fanfare/server.hpp>

#include "support/polled_server.hpp"
#include "support/socket_client.hpp"
#include "support/tls_client.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using fanfare::test::CertificateFiles;
using fanfare::test::PolledServer;
using fanfare::test::SocketClient;
using fanfare::test::TlsLayer;

enum class Line : std::uint8_t { tcp, tls, polling };

struct Case {
  Line way;
  SlowConsumer overflow;
  friend void PrintTo(const Case& c, std::ostream* out) {
    *out << (c.way == Line::tcp ? "tcp " : c.way == Line::tls ? "tls " : "polling ") << to_string(c.overflow);
  }
};

/// An event of the channel that a slow client has got.
struct Got {
  std::string name;
  int number;
};

/// A client that reads when it is told to.
class SlowClient {
 public:
  SlowClient(PolledServer& server, Line way) : way_(way), server_(&server) {
    if (way == Line::polling) {
      poll_.emplace(server.client());
      ask_.emplace(server.client());
      EXPECT_TRUE(poll().starts_with("o\n"));
    } else if (way == Line::tls) {
      ask_.emplace(
          server.server.tls_endpoints().front(), [&server] { server.server.poll(1ms); }, 4096);
      ask_->put_on(std::make_unique<TlsLayer>());
      EXPECT_NE(ask_->establish("/app/key?protocol=7"), "");
    } else {
      ask_.emplace(server.established(4096));
    }
    say(R"({"event":"pusher:subscribe","data":{"channel":"x"}})");
    read_until("subscription_succeeded");
  }

  /// Reads all that waits, up to the answer to a ping that it sends now.
  std::vector<Got> read_all() {
    say(R"({"event":"pusher:ping","data":{}})");
    std::vector<Got> got;
    for (const std::string& text : read_until("pusher:pong")) {
      const boost::json::object frame = boost::json::parse(text).as_object();
      if (!frame.contains("channel")) continue;
      got.push_back({std::string(frame.at("event").as_string()), std::stoi(std::string(frame.at("data").as_string()))});
    }
    return got;
  }

 private:
  static std::string request(std::string_view kind, std::string_view body) {
    return "POST /app/key/1/12345678/" + std::string(kind) +
           "?protocol=7 HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           std::string(body);
  }
  void say(const std::string& text) {
    if (way_ != Line::polling) return ask_->send_text(text);
    ask_->send(request("xhr_send", boost::json::serialize(boost::json::array{boost::json::value(text)})));
    const auto answer = ask_->receive_answer();
    ASSERT_TRUE(answer && answer->status == 204U);
  }
  std::string poll() {
    poll_->send(request("xhr", {}));
    const auto answer = poll_->receive_answer();
    EXPECT_TRUE(answer && answer->status == 200U);
    return answer ? answer->body : std::string();
  }
  /// The messages up to one that holds that text.
  std::vector<std::string> read_until(std::string_view text) {
    std::vector<std::string> all;
    const auto found = [&] { return !all.empty() && all.back().find(text) != std::string::npos; };
    while (!found() && !testing::Test::HasFailure()) {
      if (way_ != Line::polling) {
        all.push_back(ask_->receive_text());
        EXPECT_NE(all.back(), "");
        continue;
      }
      const std::string lines = poll();
      for (std::size_t at = 0, end = 0; at < lines.size() && !found(); at = end + 1) {
        end = lines.find('\n', at);
        EXPECT_NE(end, std::string::npos);
        if (lines[at] != 'a') continue;
        const boost::json::value line = boost::json::parse(std::string_view(lines).substr(at + 1, end - at - 1));
        for (const auto& message : line.as_array()) all.emplace_back(message.as_string());
      }
    }
    return all;
  }

  Line way_;
  PolledServer* server_;
  std::optional<SocketClient> ask_;
  std::optional<SocketClient> poll_;
};

class SlowSockets : public testing::TestWithParam<Case> {};

TEST_P(SlowSockets, LoseWhatTheirChannelsRuleSaysAndDelayNobody) {
  const auto [way, overflow] = GetParam();
  const CertificateFiles files;
  AppOptions options = test::test_app();
  options.limits.data = 64 * 1024;
  options.snapshots.bytes = 64 * 1024;
  options.channel_rules = {{.match = "x", .overflow = overflow}};
  PolledServer server({.listen_tls = {"127.0.0.1:0"},
                       .tls_certificate = files.certificate,
                       .tls_key = files.key,
                       .max_outbox_bytes = 300'000},
                      options);
  SocketClient quick = server.established();
  ASSERT_TRUE(quick.subscribe("x"));
  SlowClient slow(server, way);
  const char* const seconds = std::getenv("FANFARE_STALL_SECONDS");
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::seconds(seconds == nullptr ? 0 : std::atoi(seconds));
  std::uint64_t lost = 0;
  int number = 0;
  do {
    constexpr int count = 250;  // of 60 KB: far more than the kernel and the outbox take
    const int first = number;
    const auto name_of = [&](int i) { return "e" + std::to_string((i - first) % 3); };
    for (; number < first + count; ++number) {
      const std::string data = std::to_string(number) + std::string(60'000, '.');
      ASSERT_TRUE(server.app.trigger("x", name_of(number), data));
      ASSERT_NE(quick.receive_text().find(data), std::string::npos) << number;  // before the next one comes
    }
    const std::vector<Got> got = slow.read_all();
    ASSERT_FALSE(HasFailure());
    ASSERT_FALSE(got.empty());
    lost += count - got.size();
    ASSERT_LT(got.size(), static_cast<std::size_t>(count));
    // Between two polls nothing is on the wire, and the first can be dropped as any other.
    const bool first_may_go = way == Line::polling && overflow != SlowConsumer::drop_newest;
    ASSERT_EQ(got.front().number == first, !first_may_go);
    ASSERT_TRUE(
        std::is_sorted(got.begin(), got.end(), [](const Got& a, const Got& b) { return a.number <= b.number; }));
    for (const Got& event : got) ASSERT_EQ(event.name, name_of(event.number));
    std::size_t holes = 0;
    for (std::size_t i = 1; i < got.size(); ++i) holes += got[i].number != got[i - 1].number + 1 ? 1U : 0U;
    if (overflow == SlowConsumer::drop_newest) {
      EXPECT_EQ(got.back().number, first + static_cast<int>(got.size()) - 1);
    } else {
      EXPECT_EQ(got.back().number, number - 1);
      EXPECT_EQ(got[got.size() - 2].number, number - 2);
      EXPECT_EQ(got[got.size() - 3].number, number - 3);
      EXPECT_EQ(holes, first_may_go ? 0U : 1U);
    }
    // It is as good as new.
    ASSERT_TRUE(server.app.trigger("x", name_of(number), std::to_string(number)));
    ASSERT_NE(quick.receive_text(), "");
    const std::vector<Got> next = slow.read_all();
    ASSERT_EQ(next.size(), 1U);
    EXPECT_EQ(next.front().number, number++);
  } while (std::chrono::steady_clock::now() < until && !HasFailure());
  transport::SlowConsumerCounts counts;
  if (overflow == SlowConsumer::drop_oldest) counts.dropped_oldest = lost;
  if (overflow == SlowConsumer::drop_newest) counts.dropped_newest = lost;
  if (overflow == SlowConsumer::conflate) counts.conflated = lost;
  EXPECT_EQ(server.server.slow_consumers(), counts);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Line way : {Line::tcp, Line::tls, Line::polling}) {
    for (const SlowConsumer overflow : {SlowConsumer::drop_oldest, SlowConsumer::drop_newest, SlowConsumer::conflate}) {
      all.push_back({way, overflow});
    }
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, SlowSockets, testing::ValuesIn(cases()));

}  // namespace
