#include <fanfare/pusher/client_frame.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <ostream>
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
  ClientFrame frame(R"({"event":"x","channel":"outside")" + (data.empty() ? "" : ",\"data\":" + data) + '}');
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
  ClientFrame frame(R"({"event":"x","data":{"channel":")" + channel + R"("}})");
  EXPECT_EQ(frame.parameter("channel").text, channel);
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
