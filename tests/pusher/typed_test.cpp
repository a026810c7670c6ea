// Events that carry values.
#include <fanfare/typed.hpp>

#include <fanfare/app.hpp>

#include <boost/describe.hpp>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace game {

struct Move {
  int x = 0;
  int y = 0;
  std::string by{};
  friend bool operator==(const Move&, const Move&) = default;
};
BOOST_DESCRIBE_STRUCT(Move, (), (x, y, by))

struct Celsius {
  double degrees = 0;
};
void tag_invoke(boost::json::value_from_tag, boost::json::value& value, const Celsius& celsius) {
  value = {{"celsius", celsius.degrees}};
}
boost::json::result<Celsius> tag_invoke(boost::json::try_value_to_tag<Celsius>, const boost::json::value& value) {
  const auto* const object = value.if_object();
  const auto* const degrees = object == nullptr ? nullptr : object->if_contains("celsius");
  if (degrees == nullptr || !degrees->is_double()) return boost::json::error::not_number;
  return Celsius{degrees->as_double()};
}

}  // namespace game

namespace {

using namespace fanfare;
using game::Celsius;
using game::Move;

TEST(Typed, WhatIsWrittenIsRead) {
  const Move move{3, -4, "ann \"the\" \n✓"};
  EXPECT_EQ(typed::read<Move>(typed::write(move)).value(), move);
  EXPECT_EQ(typed::write(Move{1, 2, "x"}), R"({"x":1,"y":2,"by":"x"})");
  EXPECT_EQ(typed::write(std::vector<int>{1, 2}), "[1,2]");
  EXPECT_EQ(typed::write(std::string("text")), R"("text")");
  EXPECT_EQ(typed::read<std::string>(R"("text")").value(), "text");
  const std::map<std::string, std::vector<Move>> many{{"a", std::vector<Move>(200, move)}, {"b", {}}};
  EXPECT_EQ((typed::read<std::map<std::string, std::vector<Move>>>(typed::write(many)).value()), many);
  EXPECT_DOUBLE_EQ(typed::read<Celsius>(typed::write(Celsius{21.5})).value().degrees, 21.5);
}

TEST(Typed, WhatIsNoneIsAnError) {
  for (const std::string_view data :
       {"", "{", "nonsense", R"({"x":1})", R"({"x":1,"y":"2","by":""})", "[1,2]", "null"}) {
    const typed::Result<Move> result = typed::read<Move>(data);
    EXPECT_FALSE(result) << data;
    EXPECT_TRUE(result.error()) << data;
  }
  EXPECT_EQ(typed::read<Celsius>("{}").error(), boost::json::error::not_number);
  const std::string deep = std::string(40, '[') + std::string(40, ']');
  EXPECT_EQ(typed::read<boost::json::value>(deep).error(), boost::json::error::too_deep);
}

TEST(Typed, ABoundFunctionGetsValuesAndErrors) {
  ChannelRegistry<> channels;
  std::vector<Move> moves;
  std::vector<std::string> wrong;
  auto room = channels.subscribe("room", [&](Subscription& s) {
    EXPECT_TRUE(typed::bind<Move>(s, "move", [&](typed::Result<Move> move, const Event& e) {
      if (move) {
        moves.push_back(*move);
      } else {
        wrong.emplace_back(e.data());
      }
    }));
  });
  EXPECT_EQ(typed::trigger(channels, "room", "move", Move{1, 2, "ann"}).delivered, 1U);
  EXPECT_TRUE(channels.trigger("room", "move", "left"));
  EXPECT_TRUE(channels.trigger("room", "other", "left"));
  EXPECT_EQ(moves, (std::vector<Move>{{1, 2, "ann"}}));
  EXPECT_EQ(wrong, std::vector<std::string>{"left"});
}

TEST(Typed, ValuesAndErrorsMayGoToDifferentFunctions) {
  App app({.id = "1", .key = "key", .secret = "secret"});
  int sum = 0;
  std::optional<boost::system::error_code> error;
  auto room = app.subscribe("room", [&](Subscription& s) {
    const auto failed = [&](boost::system::error_code code, const Event&) { error = code; };
    typed::bind<int>(
        s, "add", [&](int n) { sum += n; }, failed);
    typed::bind<int>(
        s, "twice", [&](int n, const Event& e) { sum += e.name() == "twice" ? 2 * n : 0; }, failed);
  });
  auto handle = app.channel("room");
  EXPECT_TRUE(typed::trigger(app, "room", "add", 5));
  EXPECT_TRUE(typed::trigger(handle, "twice", 10));
  EXPECT_EQ(sum, 25);
  EXPECT_FALSE(error);
  EXPECT_TRUE(typed::trigger(app, "room", "add", "five"));
  EXPECT_TRUE(error);
  EXPECT_EQ(sum, 25);
}

TEST(Typed, WhatATriggerRefusesIsRefused) {
  App app({.id = "1", .key = "key", .secret = "secret"});
  auto room = app.subscribe("room");
  EXPECT_EQ(typed::trigger(app, "room", "", 5).error, errc::empty_name);
  EXPECT_EQ(typed::trigger(app, "room", "e", std::string(20'000, 'x')).error, errc::data_too_large);
  EXPECT_TRUE(typed::trigger(app, "room", "e", 5, {.except = room}));
}

TEST(Typed, AnInboxIsReadLikewise) {
  ChannelRegistry<> channels;
  auto inbox = channels.subscribe("room", Inbox{16});
  typed::trigger(channels, "room", "move", Move{7, 8, "bob"});
  std::vector<Move> moves;
  inbox.poll([&](const Event& e) { moves.push_back(typed::read<Move>(e).value()); });
  EXPECT_EQ(moves, (std::vector<Move>{{7, 8, "bob"}}));
}

}  // namespace
