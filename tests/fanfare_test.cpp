#include <fanfare/fanfare.hpp>

#include "support/registries.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

TEST(Umbrella, HasEverythingThatAProgramNames) {
  ChannelRegistry<> channels;
  std::vector<std::string> log;
  auto inbox = channels.subscribe("LOBBY_42", Inbox{4096});
  auto lobby = channels.subscribe("LOBBY_42", [&](Subscription& subscription) {
    subscription.bind("PLAYER_JOIN", [&](const Event& event) { log.emplace_back(event.data()); });
  });
  const TriggerResult result = channels.trigger("LOBBY_42", "PLAYER_JOIN", R"([{"username":"ann"}])");
  EXPECT_EQ(result.delivered, 2U);
  ChannelHandle handle = channels.channel("LOBBY_42");
  handle.trigger("tick", "1");
  std::vector<std::string> polled;
  EXPECT_EQ(inbox.poll([&](const Event& event) { polled.emplace_back(event.name()); }), 2U);
  EXPECT_EQ(polled, (std::vector<std::string>{"PLAYER_JOIN", "tick"}));
  EXPECT_EQ(log, (std::vector<std::string>{R"([{"username":"ann"}])"}));
}

TEST(Umbrella, CallbacksOfAPollMayBeGeneric) {
  ChannelRegistry<> channels;
  auto inbox = channels.subscribe("lobby", Inbox{});
  channels.trigger("lobby", "a", "");
  channels.trigger("lobby", "b", "");
  std::size_t seen = 0;
  inbox.poll([&](const auto& event) { seen += event.name().size(); }, 1);
  inbox.poll([&](auto&& event) { seen += event.name().size(); }, 1);
  EXPECT_EQ(seen, 2U);
}

template <class Registry>
class OddRegistry : public ::testing::Test {};
TYPED_TEST_SUITE(OddRegistry, OddRegistries, RegistryNames);

TYPED_TEST(OddRegistry, DeliversAndLetsGo) {
  TypeParam channels;
  std::size_t called = 0;
  Subscription second;
  auto first = channels.subscribe("lobby", [&](Subscription& s) {
    s.bind("e", [&](const Event&) {
      ++called;
      second.reset();
    });
  });
  second = channels.subscribe("lobby", [&](Subscription& s) { s.bind("e", [&](const Event&) { called += 100; }); });
  auto inbox = channels.subscribe("lobby", Inbox{2});
  EXPECT_EQ(channels.trigger("lobby", "e", "data").delivered, 2U);
  EXPECT_EQ(called, 1U);
  EXPECT_EQ(inbox.poll([](const Event& event) { EXPECT_EQ(event.data(), "data"); }), 1U);
  first.reset();
  inbox.reset();
  channels.collect();
  EXPECT_EQ(channels.size(), 0U);
  EXPECT_EQ(channels.stats().retired_bytes, 0U);
}

TEST(Umbrella, AGameOwnsItsSubscriptions) {
  class Game {
   public:
    explicit Game(ChannelRegistry<>& channels) : lobby_(channels.subscribe("lobby")) {
      lobby_.bind("join", [this](const Event& event) { players_.emplace_back(event.data()); });
    }
    [[nodiscard]] const std::vector<std::string>& players() const { return players_; }

   private:
    std::vector<std::string> players_;
    Subscription lobby_;
  };
  ChannelRegistry<> channels;
  auto game = std::make_unique<Game>(channels);
  channels.trigger("lobby", "join", "ann");
  EXPECT_EQ(game->players(), (std::vector<std::string>{"ann"}));
  game.reset();
  EXPECT_EQ(channels.trigger("lobby", "join", "bob").delivered, 0U);
}

TEST(Version, IsSaidInThreeWaysThatAgree) {
  EXPECT_EQ(std::string_view{version_string},
            std::to_string(version_major) + '.' + std::to_string(version_minor) + '.' + std::to_string(version_patch));
  static_assert(version_major == FANFARE_VERSION_MAJOR && version_minor == FANFARE_VERSION_MINOR &&
                version_patch == FANFARE_VERSION_PATCH);
  EXPECT_STREQ(version_string, FANFARE_VERSION_STRING);
}

}  // namespace
}  // namespace fanfare::test
