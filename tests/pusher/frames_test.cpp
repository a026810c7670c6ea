#include <fanfare/pusher/frames.hpp>

#include <fanfare/core/wire.hpp>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare::pusher;
using fanfare::Member;
using fanfare::MemberPtr;
using namespace std::string_view_literals;

// As the bytes that go out: clients are particular about strings and objects.
TEST(Frames, AreTheseBytes) {
  using namespace std::chrono_literals;
  EXPECT_EQ(
      frames::connection_established({218, 48}, 120s),
      R"({"event":"pusher:connection_established","data":"{\"socket_id\":\"218.48\",\"activity_timeout\":120}"})");
  EXPECT_EQ(frames::ping(), R"({"event":"pusher:ping","data":"{}"})");
  EXPECT_EQ(frames::pong(), R"({"event":"pusher:pong","data":"{}"})");
  EXPECT_EQ(frames::subscription_succeeded("x"),
            R"({"event":"pusher_internal:subscription_succeeded","channel":"x","data":"{}"})");
  EXPECT_EQ(frames::subscription_succeeded("x", R"({"presence":{}})"),
            R"({"event":"pusher_internal:subscription_succeeded","channel":"x","data":"{\"presence\":{}}"})");
  EXPECT_EQ(frames::subscription_succeeded("x", "{}", Resumed::not_asked, true),
            R"({"event":"pusher_internal:subscription_succeeded","channel":"x","data":"{}","replays":true})");
  EXPECT_EQ(
      frames::subscription_succeeded("x", "{}", Resumed::yes, true),
      R"({"event":"pusher_internal:subscription_succeeded","channel":"x","data":"{}","replays":true,"resumed":true})");
  EXPECT_EQ(frames::subscription_succeeded("x", "{}", Resumed::no),
            R"({"event":"pusher_internal:subscription_succeeded","channel":"x","data":"{}","resumed":false})");
  EXPECT_EQ(
      frames::subscription_error("x", "AuthError", "no \"no\"", 401),
      R"({"event":"pusher:subscription_error","channel":"x","data":"{\"type\":\"AuthError\",\"error\":\"no \\\"no\\\"\",\"status\":401}"})");
  EXPECT_EQ(frames::error(4001, "gone"), R"({"event":"pusher:error","data":{"code":4001,"message":"gone"}})");
  EXPECT_EQ(frames::error(std::nullopt, "a\nb"), R"({"event":"pusher:error","data":{"code":null,"message":"a\nb"}})");
  EXPECT_EQ(
      frames::client_event_rate(10),
      R"({"event":"pusher:error","data":{"code":4301,"message":"The client event is dropped: a connection may send 10 in a second"}})");
  EXPECT_EQ(
      frames::watchlist_cut(100),
      R"({"event":"pusher:error","data":{"code":4302,"message":"The watchlist is too long: its first 100 users are watched"}})");
  EXPECT_EQ(
      frames::member_added("presence-x", {"1", R"({"a":"b"})"}),
      R"({"event":"pusher_internal:member_added","channel":"presence-x","data":"{\"user_id\":\"1\",\"user_info\":{\"a\":\"b\"}}"})");
  EXPECT_EQ(frames::member_removed("presence-x", {"1", "null"}),
            R"({"event":"pusher_internal:member_removed","channel":"presence-x","data":"{\"user_id\":\"1\"}"})");
  EXPECT_EQ(frames::subscription_count("x", 7),
            R"({"event":"pusher_internal:subscription_count","channel":"x","data":"{\"subscription_count\":7}"})");
  EXPECT_EQ(frames::cache_miss("cache-x"), R"({"event":"pusher:cache_miss","channel":"cache-x"})");
  // A string in a string in a string.
  EXPECT_EQ(frames::signin_success(R"({"id":"1"})"),
            R"({"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"1\\\"}\"}"})");
  const std::vector<std::string> ids{"a"};
  EXPECT_EQ(
      frames::watchlist_events(ids, {}),
      R"({"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"a\"]}]}"})");
}

TEST(Frames, AGapIsReadBack) {
  const fanfare::EventId from{77, 1};
  const fanfare::EventId to{77, 999};
  const std::string text = frames::gap("history-1", from, to);
  EXPECT_EQ(text, R"({"event":"pusher_internal:gap","channel":"history-1","data":"{\"from\":\"25-00000000001\",)"
                  R"(\"to\":\"25-000000000rr\"}"})");
  EXPECT_EQ(frames::read_gap(text), (frames::Gap{from, to}));
  EXPECT_EQ(frames::read_gap("\x81\x7e" + text), (frames::Gap{from, to}));
  for (const std::string_view other : {"", "{}", R"(\"from\":\"25-00000000001\")", R"(\"from\":\"x\",\"to\":\"y\")"}) {
    EXPECT_EQ(frames::read_gap(other), std::nullopt) << other;
  }
}

TEST(EventData, SaysWhoIsThere) {
  const auto member = [](std::string id, std::string info, bool numeric = false) {
    return std::make_shared<const Member>(Member{std::move(id), std::move(info), numeric});
  };
  EXPECT_EQ(data::presence({}), R"({"presence":{"count":0,"ids":[],"hash":{}}})");
  EXPECT_EQ(data::presence(std::vector<MemberPtr>{member("a\"", R"({"n": 1.50})"), member("10", "null")}),
            R"({"presence":{"count":2,"ids":["a\"","10"],"hash":{"a\"":{"n": 1.50},"10":null}}})");
  // As a number, but for the name in an object.
  EXPECT_EQ(data::presence(std::vector<MemberPtr>{member("10", "[]", true), member("-1", "1", true)}),
            R"({"presence":{"count":2,"ids":[10,-1],"hash":{"10":[],"-1":1}}})");
}

TEST(EventData, SaysWhoComesAndGoes) {
  EXPECT_EQ(data::member_added({"a\n", R"({"a":1})"}), R"({"user_id":"a\n","user_info":{"a":1}})");
  EXPECT_EQ(data::member_added({"10", "null", true}), R"({"user_id":10,"user_info":null})");
  EXPECT_EQ(data::member_removed({"a\n", R"({"a":1})"}), R"({"user_id":"a\n"})");
  EXPECT_EQ(data::member_removed({"10", "null", true}), R"({"user_id":10})");
}

TEST(EventData, SaysHowManyAndWhoIsWatched) {
  EXPECT_EQ(data::subscription_count(0), R"({"subscription_count":0})");
  const std::vector<std::string> two{"a", "b\""};
  const std::vector<std::string> one{"c"};
  EXPECT_EQ(data::watchlist_events({}, {}), R"({"events":[]})");
  EXPECT_EQ(data::watchlist_events(two, {}), R"({"events":[{"name":"online","user_ids":["a","b\""]}]})");
  EXPECT_EQ(data::watchlist_events({}, one), R"({"events":[{"name":"offline","user_ids":["c"]}]})");
  EXPECT_EQ(data::watchlist_events(two, one),
            R"({"events":[{"name":"online","user_ids":["a","b\""]},{"name":"offline","user_ids":["c"]}]})");
}

TEST(Frames, HoldTheLongestId) {
  constexpr auto most = (std::numeric_limits<std::uint64_t>::max)();
  const std::string text = frames::connection_established({most, most}, std::chrono::seconds{1});
  EXPECT_NE(text.find("18446744073709551615.18446744073709551615"), std::string::npos);
}

TEST(Frames, BoundTheChannelOfAnError) {
  const std::string text = frames::subscription_error(std::string(100'000, 'x'), "T", "m", 400);
  EXPECT_LT(text.size(), 400U);
  EXPECT_EQ(boost::json::parse(text).at("channel").as_string().size(), longest_echo);
}

TEST(JsonString, IsReadBackAsItWas) {
  for (std::size_t length : {0U, 1U, 15U, 16U, 17U, 100U}) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += static_cast<char>(i % 0x60U);
    text += "\"\\/é€😀";
    std::string to = "before ";
    append_json_string(to, text);
    ASSERT_TRUE(to.starts_with("before \""));
    EXPECT_EQ(boost::json::parse(to.substr(7)).as_string(), text);
  }
}

TEST(Excerpt, IsFitForASentence) {
  EXPECT_EQ(excerpt("plain é"), "plain é");
  EXPECT_EQ(excerpt("a\nb\0c\x7f"sv), "a?b?c?");
  EXPECT_EQ(excerpt("a\xff\xc3"), "a??");
  EXPECT_EQ(excerpt("abcdef", 3), "abc…");
  EXPECT_EQ(excerpt("aéb", 2), "a…");
  EXPECT_EQ(excerpt("", 3), "");
  EXPECT_EQ(excerpt("x", 0), "…");
  // Whatever comes, UTF-8 goes.
  for (unsigned first = 0; first < 256; ++first) {
    for (unsigned second = 0; second < 256; ++second) {
      const std::string bytes{static_cast<char>(first), static_cast<char>(second), 'x', 'y'};
      for (std::size_t most = 0; most < 5; ++most) {
        const std::string text = excerpt(bytes, most);
        ASSERT_TRUE(fanfare::detail::is_utf8(text)) << first << ' ' << second << ' ' << most;
        ASSERT_LE(text.size(), most + 3);
      }
    }
  }
}

TEST(Joined, TakesAnyNumberOfParts) {
  EXPECT_EQ(joined({}), "");
  EXPECT_EQ(joined({"a", "", "bc"}), "abc");
}

}  // namespace
