#include <fanfare/transport/perform.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace fanfare;
using transport::JoinResult;

struct PerformedConnection : transport::Peer {};

// Writes down what it is told.
struct PerformedTransport final : transport::Door {
  PerformedTransport() : Door(1 << 20) {}
  void wake() noexcept override {}

  void send_text(PerformedConnection&, std::string_view text) { done.push_back("text " + std::string(text)); }
  void send_ping(PerformedConnection&) { done.emplace_back("ping"); }
  void close(PerformedConnection&, std::uint16_t code, std::string_view reason) {
    done.push_back("close " + std::to_string(code) + ' ' + std::string(reason));
  }

  std::ptrdiff_t write(PerformedConnection&, std::string_view bytes) noexcept {
    return static_cast<std::ptrdiff_t>(bytes.size());
  }
  void broken(PerformedConnection&) noexcept {}
  void overflowed(PerformedConnection&) noexcept {}
  PerformedConnection* find(std::string_view) noexcept { return nullptr; }
  PerformedConnection* at(std::uint32_t) noexcept { return nullptr; }

  std::vector<std::string> done;
};
static_assert(transport::Driver<PerformedTransport, PerformedConnection>);
static_assert(!transport::Driver<int, PerformedConnection>);
static_assert(!transport::Transport<PerformedTransport, PerformedConnection>);  // it is given no frames

using Done = std::vector<std::string>;

class PerformTest : public testing::Test {
 protected:
  PerformTest() { static_cast<void>(session.open(&app, {.query = "protocol=7"}, {})); }
  ~PerformTest() override {
    fanout.leave_all(connection);
    fanout.close();
  }

  Done perform(pusher::Action action) {
    transport.done.clear();
    transport::perform(transport, fanout, connection, session, std::move(action));
    return transport.done;
  }

  App app{{.id = "1", .key = "key", .secret = "secret", .max_channels_per_connection = 1}};
  PerformedTransport transport;
  PerformedConnection connection;
  transport::Fanout<PerformedTransport, PerformedConnection> fanout{transport, transport, {}};
  pusher::Session session{pusher::SocketId{1, 2}};
};

TEST_F(PerformTest, DoesWhatAnActionSays) {
  EXPECT_EQ(perform(pusher::Nothing{}), Done{});
  EXPECT_EQ(perform(pusher::Send{"x"}), Done{"text x"});
  EXPECT_EQ(perform(pusher::Ping{}), Done{"ping"});
  EXPECT_EQ(perform(pusher::Close{4001, "why", "said"}), (Done{"text said", "close 4001 why"}));
  EXPECT_EQ(perform(pusher::Close{4001, "why", ""}), Done{"close 4001 why"});
}

TEST_F(PerformTest, JoinsAndTellsTheSessionHowItWent) {
  const auto subscribe = [&](std::string channel) { return perform(pusher::Subscribe{std::move(channel)}); };
  const Done joined = subscribe("x");
  ASSERT_EQ(joined.size(), 1U);
  EXPECT_NE(joined[0].find("subscription_succeeded"), std::string::npos);
  EXPECT_EQ(app.subscribers("x"), 1U);
  const Done again = subscribe("x");
  ASSERT_EQ(again.size(), 1U);
  EXPECT_NE(again[0].find("Existing subscription"), std::string::npos);
  const Done beyond = subscribe("y");
  ASSERT_EQ(beyond.size(), 1U);
  EXPECT_NE(beyond[0].find("LimitReached"), std::string::npos);
  EXPECT_EQ(perform(pusher::Unsubscribe{"x"}), Done{});
  EXPECT_EQ(app.subscribers("x"), 0U);
  const Done left = perform(pusher::Unsubscribe{"x"});
  ASSERT_EQ(left.size(), 1U);
  EXPECT_NE(left[0].find("No current subscription"), std::string::npos);
}

TEST(Perform, TranslatesEveryResult) {
  using pusher::SubscribeOutcome;
  EXPECT_EQ(transport::outcome_of(JoinResult::joined), SubscribeOutcome::subscribed);
  EXPECT_EQ(transport::outcome_of(JoinResult::already_joined), SubscribeOutcome::already_subscribed);
  EXPECT_EQ(transport::outcome_of(JoinResult::over_limit), SubscribeOutcome::over_limit);
  EXPECT_EQ(transport::outcome_of(JoinResult::refused), SubscribeOutcome::failed);
}

TEST(Perform, ClientsNameAKeyByTheirPath) {
  EXPECT_EQ(transport::key_in("/app/key"), "key");
  EXPECT_EQ(transport::key_in("/app/"), "");
  EXPECT_EQ(transport::key_in("/app/key/more"), std::nullopt);
  EXPECT_EQ(transport::key_in("/apps/1"), std::nullopt);
  EXPECT_EQ(transport::key_in("/chat/app/key", "/chat"), "key");
  EXPECT_EQ(transport::key_in("/app/key", "/chat"), std::nullopt);
}

}  // namespace
