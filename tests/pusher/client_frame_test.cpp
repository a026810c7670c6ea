#include <fanfare/pusher/client_frame.hpp>

#include <fanfare/pusher/json_member.hpp>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

void PrintTo(const Parameter& parameter, std::ostream* out) {
  *out << static_cast<int>(parameter.state) << " '" << parameter.text << '\'';
}

}  // namespace pusher
FANFARE_NAMESPACE_END

namespace {

using fanfare::pusher::ClientFrame;
using fanfare::pusher::ClientFrameError;
using fanfare::pusher::Parameter;
using State = Parameter::State;
using namespace std::string_literals;

struct ErrorCase {
  std::string text;
  ClientFrameError error;
};

class ClientFrameErrors : public testing::TestWithParam<ErrorCase> {};

TEST_P(ClientFrameErrors, AreTold) {
  ClientFrame frame(GetParam().text);
  EXPECT_EQ(frame.error(), GetParam().error) << GetParam().text;
  if (frame.error() == ClientFrameError::none) return;
  EXPECT_EQ(frame.event(), "");
  EXPECT_EQ(frame.parameter("channel"), Parameter{});
}

std::string nested(std::size_t deep) { return std::string(deep, '[') + std::string(deep, ']'); }

INSTANTIATE_TEST_SUITE_P(
    All, ClientFrameErrors,
    testing::Values(
        ErrorCase{R"({"event":"x"})", ClientFrameError::none},
        ErrorCase{" \t\r\n{ \"event\" : \"x\" } \n", ClientFrameError::none},
        ErrorCase{R"({"event":""})", ClientFrameError::none},
        ErrorCase{R"({"event":7,"event":"x"})", ClientFrameError::none},
        ErrorCase{R"({"event":"x","data":)" + nested(31) + '}', ClientFrameError::none},
        ErrorCase{R"({"event":"x","data":)" + nested(32) + '}', ClientFrameError::too_deep},
        ErrorCase{nested(32), ClientFrameError::not_an_object},
        ErrorCase{std::string(100'000, '['), ClientFrameError::too_deep}, ErrorCase{"", ClientFrameError::not_json},
        ErrorCase{" ", ClientFrameError::not_json}, ErrorCase{"{", ClientFrameError::not_json},
        ErrorCase{"{}{}", ClientFrameError::not_json}, ErrorCase{"{'event':'x'}", ClientFrameError::not_json},
        ErrorCase{R"({"event":"x",})", ClientFrameError::not_json},
        ErrorCase{R"({"event":"x"}/**/)", ClientFrameError::not_json},
        ErrorCase{R"({"event":NaN})", ClientFrameError::not_json},
        ErrorCase{"\xef\xbb\xbf{\"event\":\"x\"}", ClientFrameError::not_json},
        ErrorCase{"{\"event\":\"\xff\"}", ClientFrameError::not_json},
        ErrorCase{"{\"event\":\"\xed\xa0\x80\"}", ClientFrameError::not_json},
        ErrorCase{"{\"event\":\"\n\"}", ClientFrameError::not_json},
        ErrorCase{"{\"event\":\"x\0\"}"s, ClientFrameError::not_json},
        ErrorCase{R"({"event":"\udc00"})", ClientFrameError::not_json},
        ErrorCase{"null", ClientFrameError::not_an_object}, ErrorCase{"[]", ClientFrameError::not_an_object},
        ErrorCase{R"("event")", ClientFrameError::not_an_object}, ErrorCase{"1e5", ClientFrameError::not_an_object},
        ErrorCase{"{}", ClientFrameError::no_event}, ErrorCase{R"({"Event":"x"})", ClientFrameError::no_event},
        ErrorCase{R"({"event":null})", ClientFrameError::no_event},
        ErrorCase{R"({"event":["x"]})", ClientFrameError::no_event},
        ErrorCase{R"({"event":"x","event":7})", ClientFrameError::no_event}));

TEST(ClientFrame, HasItsEvent) {
  EXPECT_EQ(ClientFrame(R"({"event":"pusher:ping"})").event(), "pusher:ping");
  EXPECT_EQ(ClientFrame(R"({"event":"\u0070\ud83d\ude00\""})").event(), "p😀\"");
  EXPECT_EQ(ClientFrame(R"({"event":"a\u0000b"})").event(), "a\0b"s);
}

struct ParameterCase {
  std::string data;  // what stands behind "data":, or nothing
  Parameter expected;
};

class ClientFrameParameters : public testing::TestWithParam<ParameterCase> {};

TEST_P(ClientFrameParameters, AreMembersOfData) {
  const auto& [data, expected] = GetParam();
  const std::string text = R"({"event":"x","channel":"outside")" + (data.empty() ? "" : ",\"data\":" + data) + '}';
  ClientFrame frame(text);
  ASSERT_EQ(frame.error(), ClientFrameError::none) << data;
  EXPECT_EQ(frame.parameter("channel"), expected) << data;
  EXPECT_EQ(frame.parameter("channel"), expected) << data << ", asked again";
}

INSTANTIATE_TEST_SUITE_P(
    All, ClientFrameParameters,
    testing::Values(ParameterCase{"", {State::absent, {}}}, ParameterCase{"null", {State::absent, {}}},
                    ParameterCase{"{}", {State::absent, {}}}, ParameterCase{R"({"channel":null})", {State::absent, {}}},
                    ParameterCase{R"({"channel":"a"})", {State::text, "a"}},
                    ParameterCase{R"({"channel":"a","channel":"b"})", {State::text, "b"}},
                    ParameterCase{R"({"channel":""})", {State::text, ""}},
                    ParameterCase{R"({"channel":1})", {State::not_text, {}}},
                    ParameterCase{R"({"channel":{"channel":"a"}})", {State::not_text, {}}},
                    ParameterCase{R"("{\"channel\":\"a\\u00e9\"}")", {State::text, "aé"}},
                    ParameterCase{R"("{}")", {State::absent, {}}},
                    ParameterCase{R"("{\"channel\":true}")", {State::not_text, {}}},
                    ParameterCase{R"("")", {State::no_data, {}}}, ParameterCase{R"("null")", {State::no_data, {}}},
                    ParameterCase{R"("\"{}\"")", {State::no_data, {}}}, ParameterCase{"[]", {State::no_data, {}}},
                    ParameterCase{"1", {State::no_data, {}}}, ParameterCase{"false", {State::no_data, {}}},
                    ParameterCase{R"("{\"channel\":\"a\"")", {State::no_data, {}}},
                    ParameterCase{R"("{\"a\":)" + nested(32) + R"(}")", {State::no_data, {}}},
                    ParameterCase{R"("{\"channel\":\"a\",\"a\":)" + nested(31) + R"(}")", {State::text, "a"}}));

struct EventCase {
  std::string rest;  // what stands behind the event
  Parameter channel;
  std::string_view data;
};

class ClientFrameEvents : public testing::TestWithParam<EventCase> {};

TEST_P(ClientFrameEvents, HaveAChannelAndText) {
  const auto& [rest, channel, data] = GetParam();
  const std::string text = R"({"event":"client-x")" + rest + '}';
  const ClientFrame frame(text);
  ASSERT_EQ(frame.error(), ClientFrameError::none) << text;
  EXPECT_EQ(frame.channel(), channel) << text;
  EXPECT_EQ(frame.data_text(), data) << text;
}

INSTANTIATE_TEST_SUITE_P(All, ClientFrameEvents,
                         testing::Values(EventCase{"", {}, "null"},
                                         EventCase{R"(,"channel":"c")", {State::text, "c"}, "null"},
                                         EventCase{R"(,"channel":"")", {State::text, ""}, "null"},
                                         EventCase{R"(,"channel":null,"data":null)", {}, "null"},
                                         EventCase{R"(,"channel":7,"data":7)", {State::not_text, {}}, "7"},
                                         EventCase{R"(,"channel":["c"])", {State::not_text, {}}, "null"},
                                         EventCase{R"(,"data":{"channel":"c"})", {}, R"({"channel":"c"})"},
                                         EventCase{R"(,"data":"{\"channel\":\"c\"}")", {}, R"({"channel":"c"})"},
                                         EventCase{R"(,"data" : [ 1.50 ] )", {}, "[ 1.50 ]"}));

TEST(ClientFrame, HasNoTextWhereThereIsAnError) {
  const ClientFrame frame(R"({"channel":"c","data":"d"})");
  EXPECT_EQ(frame.channel(), Parameter{});
  EXPECT_EQ(frame.data_text(), "");
}

TEST(ClientFrame, TakesALargeMessage) {
  const std::string channel(1'000'000, 'c');
  const std::string text = R"({"event":"x","data":{"channel":")" + channel + R"("}})";
  ClientFrame frame(text);
  EXPECT_EQ(frame.parameter("channel").text, channel);
}

TEST(ClientFrame, UsesStringsWhereTheyStand) {
  const std::string text =
      R"({"event":"pusher:subscribe","data":{"channel":"c","auth":"k:s","channel_data":"{\"a\":1}"}})";
  ClientFrame frame(text);
  const auto inside = [&](std::string_view part) {
    return part.data() >= text.data() && part.data() < text.data() + text.size();
  };
  EXPECT_TRUE(inside(frame.event()));
  EXPECT_TRUE(inside(frame.parameter("channel").text));
  EXPECT_TRUE(inside(frame.parameter("auth").text));
  EXPECT_EQ(frame.parameter("channel_data").text, R"({"a":1})");
  EXPECT_FALSE(inside(frame.parameter("channel_data").text));
}

TEST(ClientFrame, ReadsStringsWithEscapesOfAnyLength) {
  for (const std::size_t length : {1U, 100U, 500U, 512U, 513U, 4095U, 4096U, 4097U, 100'000U}) {
    std::string decoded;
    std::string written;
    for (std::size_t i = 0; i < length; ++i) {
      if (i % 3 == 0) {
        decoded += '"';
        written += "\\\"";
      } else if (i % 7 == 0) {
        decoded += "\xc3\xa9";
        written += "\\u00e9";
      } else {
        decoded += 'x';
        written += 'x';
      }
    }
    const std::string text = R"({"event":"\u0061)" + written + R"(","\u0064ata":{"\u0061uth":")" + written +
                             R"(","channel":")" + written + R"("}})";
    ClientFrame frame(text);
    ASSERT_EQ(frame.error(), ClientFrameError::none) << length;
    ASSERT_EQ(frame.event(), 'a' + decoded) << length;
    ASSERT_EQ(frame.parameter("auth"), (Parameter{State::text, decoded})) << length;
    ASSERT_EQ(frame.parameter("channel"), (Parameter{State::text, decoded})) << length;
    ASSERT_EQ(frame.parameter("user_data"), Parameter{}) << length;
  }
}

// What Boost.JSON's own values say of the same text.
struct AsValues {
  ClientFrameError error = ClientFrameError::none;
  boost::json::value frame;
  boost::json::value data;  // null unless it is an object, or a string that holds one

  explicit AsValues(std::string_view text) {
    boost::json::parse_options options;
    options.max_depth = ClientFrame::deepest;
    boost::json::error_code code;
    frame = boost::json::parse({text.data(), text.size()}, code, {}, options);
    if (code) {
      error = code == boost::json::error::too_deep ? ClientFrameError::too_deep : ClientFrameError::not_json;
      return;
    }
    const auto* const object = frame.if_object();
    if (object == nullptr) {
      error = ClientFrameError::not_an_object;
      return;
    }
    const auto* const event = object->if_contains("event");
    if (event == nullptr || !event->is_string()) error = ClientFrameError::no_event;
    if (const auto* const found = object->if_contains("data")) data = *found;
    if (data.is_string()) {
      const std::string inner(data.get_string());
      data = boost::json::parse(inner, code, {}, options);
    }
  }

  static Parameter member(const boost::json::object& object, std::string_view name) {
    const auto* const found = object.if_contains({name.data(), name.size()});
    if (found == nullptr || found->is_null()) return {};
    if (!found->is_string()) return {State::not_text, {}};
    return {State::text, {found->get_string().data(), found->get_string().size()}};
  }
  [[nodiscard]] Parameter parameter(std::string_view name) const {
    if (error != ClientFrameError::none) return {};
    const auto* const found = frame.get_object().if_contains("data");
    if (found == nullptr || found->is_null()) return {};
    if (!data.is_object()) return {State::no_data, {}};
    return member(data.get_object(), name);
  }
};

/// Text that is almost always JSON, of the names and nestings that matter.
std::string random_value(std::minstd_rand& random, int deep) {
  constexpr std::array<std::string_view, 9> names{"event",     "data",       "channel", "auth",      "channel_data",
                                                  "user_data", "\\u0064ata", "dat",     "\\u0061uth"};
  constexpr std::array<std::string_view, 12> leaves{R"("x")",
                                                    R"("")",
                                                    R"("a\"b\u00e9")",
                                                    "null",
                                                    "true",
                                                    "-1.5e3",
                                                    "[[],{}]",
                                                    "{}",
                                                    R"("{}")",
                                                    "7",
                                                    R"("{\"channel\":\"c\",\"auth\":[\"channel\"]}")",
                                                    "x"};
  if (deep == 0 || random() % 4 == 0) return std::string(leaves[random() % (random() % 20 == 0 ? 12 : 11)]);
  std::string text = "{";
  for (auto count = random() % 6; count != 0; --count) {
    if (text.size() > 1) text += random() % 5 == 0 ? " , " : ",";
    text += '"' + std::string(names[random() % names.size()]) + (random() % 5 == 0 ? "\" : " : "\":");
    text += random() % 8 == 0 ? '[' + random_value(random, deep - 1) + ']' : random_value(random, deep - 1);
  }
  return text + (random() % 100 == 0 ? "" : "}");
}

TEST(ClientFrame, SaysTheSameAsValuesDo) {
  std::minstd_rand random(3);
  int objects = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = random_value(random, 3);
    if (random() % 2 == 0 && text.size() > 2 && text[0] == '{') text.insert(1, R"("event":"x",)");
    const AsValues expected(text);
    ClientFrame frame(text);
    ASSERT_EQ(frame.error(), expected.error) << text;
    if (frame.error() != ClientFrameError::none) continue;
    ++objects;
    const auto& object = expected.frame.get_object();
    ASSERT_EQ(frame.event(), AsValues::member(object, "event").text) << text;
    ASSERT_EQ(frame.channel(), AsValues::member(object, "channel")) << text;
    const auto* const data = object.if_contains("data");
    if (data != nullptr && data->is_string()) {
      ASSERT_EQ(frame.data_text(), std::string_view(data->get_string())) << text;
    } else {
      ASSERT_EQ(frame.data_text(), fanfare::pusher::json_member(text, "data").value_or("null")) << text;
    }
    for (const std::string_view name : {"channel", "auth", "channel_data", "user_data"}) {
      ASSERT_EQ(frame.parameter(name), expected.parameter(name)) << text << ' ' << name;
    }
  }
  EXPECT_GT(objects, 3000);
}

TEST(ClientFrameError, HasWordsForEach) {
  std::set<std::string_view> names, messages;
  for (int i = 0; i <= static_cast<int>(ClientFrameError::no_event); ++i) {
    names.insert(to_string(static_cast<ClientFrameError>(i)));
    messages.insert(message(static_cast<ClientFrameError>(i)));
  }
  EXPECT_EQ(names.size(), 5U);
  EXPECT_EQ(messages.size(), 5U);
  EXPECT_EQ(to_string(static_cast<ClientFrameError>(99)), "unknown");
  EXPECT_EQ(message(static_cast<ClientFrameError>(99)), "unknown error");
}

}  // namespace
