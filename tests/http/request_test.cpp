#include <fanfare/http/request.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using fanfare::http::percent_decode;
using fanfare::http::query_parameters;
using fanfare::http::QueryParameter;
using fanfare::http::Request;
using namespace std::string_literals;

Request to(std::string target) {
  Request request;
  request.target = std::move(target);
  return request;
}

TEST(Request, splits_the_target_at_the_first_question_mark) {
  EXPECT_EQ(to("/apps/42/events").path(), "/apps/42/events");
  EXPECT_EQ(to("/apps/42/events").query(), "");
  EXPECT_EQ(to("/a?b=c?d&e").path(), "/a");
  EXPECT_EQ(to("/a?b=c?d&e").query(), "b=c?d&e");
  EXPECT_EQ(to("/a?").path(), "/a");
  EXPECT_EQ(to("/a?").query(), "");
  EXPECT_EQ(to("").path(), "");
  EXPECT_EQ(to("/%3f?x").path(), "/%3f") << "nothing is decoded";
}

TEST(Request, finds_the_first_field_of_a_name_in_any_case) {
  Request request;
  request.fields = {{"Host", "a"}, {"X-One", "1"}, {"x-one", "2"}, {"X-Empty", ""}};
  EXPECT_EQ(request.field("HOST"), "a");
  EXPECT_EQ(request.field("X-ONE"), "1");
  EXPECT_EQ(request.field("X-On"), "");
  ASSERT_NE(request.find("x-empty"), nullptr);
  EXPECT_EQ(*request.find("x-empty"), "");
  EXPECT_EQ(request.find("x-none"), nullptr);
}

TEST(Request, case_is_that_of_ascii_alone) {
  Request request;
  request.fields = {{"X[", "1"}, {"X@", "2"}};
  EXPECT_EQ(request.field("x{"), "") << "only letters have a case";
  EXPECT_EQ(request.field("x`"), "");
}

TEST(Request, has_the_tokens_of_all_comma_lists_of_a_name) {
  Request request;
  request.fields = {{"Connection", "keep-alive,\t Upgrade ,,"}, {"connection", "close"}, {"Upgrade", "websocket"}};
  EXPECT_TRUE(request.has_token("Connection", "upgrade"));
  EXPECT_TRUE(request.has_token("CONNECTION", "Keep-Alive"));
  EXPECT_TRUE(request.has_token("connection", "close"));
  EXPECT_TRUE(request.has_token("upgrade", "WebSocket"));
  EXPECT_FALSE(request.has_token("connection", "keep"));
  EXPECT_FALSE(request.has_token("connection", "websocket"));
  EXPECT_FALSE(request.has_token("x", "y"));
}

TEST(Request, compares) {
  Request a = to("/a");
  Request b = to("/a");
  EXPECT_EQ(a, b);
  b.fields.push_back({"x", "y"});
  EXPECT_NE(a, b);
}

TEST(PercentDecode, decodes_every_byte_in_both_cases) {
  for (int byte = 0; byte < 256; ++byte) {
    for (const std::string_view digits : {"0123456789abcdef", "0123456789ABCDEF"}) {
      const std::string text{'%', digits[static_cast<std::size_t>(byte / 16)],
                             digits[static_cast<std::size_t>(byte % 16)]};
      EXPECT_EQ(percent_decode(text, false), std::string(1, static_cast<char>(byte))) << text;
    }
  }
}

TEST(PercentDecode, leaves_the_rest_as_it_is) {
  EXPECT_EQ(percent_decode("", false), "");
  EXPECT_EQ(percent_decode("a+b", false), "a+b");
  EXPECT_EQ(percent_decode("a+b%2B", true), "a b+");
  EXPECT_EQ(percent_decode("%2525", false), "%25") << "once";
  EXPECT_EQ(percent_decode("a\0b"s, false), "a\0b"s);
  EXPECT_EQ(percent_decode("\xc3\xbc", false), "\xc3\xbc");
}

TEST(PercentDecode, refuses_what_is_malformed) {
  for (const std::string_view text :
       {"%", "%4", "a%", "a%4", "%zz", "%4g", "%g4", "%%41", "% 41", "%+4", "%-1", "%0x"}) {
    EXPECT_EQ(percent_decode(text, false), std::nullopt) << text;
    EXPECT_EQ(percent_decode(text, true), std::nullopt) << text;
  }
}

using Parameters = std::vector<QueryParameter>;

TEST(QueryParameters, are_raw_and_in_order) {
  EXPECT_EQ(query_parameters("b=2&a=1&b=3"), (Parameters{{"b", "2"}, {"a", "1"}, {"b", "3"}}));
  EXPECT_EQ(query_parameters("info=a%2Cb+c&x==&y=1=2"), (Parameters{{"info", "a%2Cb+c"}, {"x", "="}, {"y", "1=2"}}));
}

TEST(QueryParameters, without_name_or_value) {
  EXPECT_EQ(query_parameters(""), Parameters{});
  EXPECT_EQ(query_parameters("&&"), Parameters{});
  EXPECT_EQ(query_parameters("a&=&b="), (Parameters{{"a", ""}, {"", ""}, {"b", ""}}));
  EXPECT_EQ(query_parameters("&a=1&&b=2&"), (Parameters{{"a", "1"}, {"b", "2"}}));
}

TEST(QueryParameters, are_bounded) {
  EXPECT_EQ(query_parameters("a&b", 2), (Parameters{{"a", ""}, {"b", ""}}));
  EXPECT_EQ(query_parameters("a&b&c", 2), std::nullopt);
  EXPECT_EQ(query_parameters("a&&&&&b&&&", 2), (Parameters{{"a", ""}, {"b", ""}})) << "empty parts do not count";
  EXPECT_EQ(query_parameters("", 0), Parameters{});
  EXPECT_EQ(query_parameters("a", 0), std::nullopt);
}

}  // namespace
