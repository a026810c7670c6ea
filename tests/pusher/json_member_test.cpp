#include <fanfare/pusher/json_member.hpp>

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace {

using fanfare::pusher::json_member;

struct MemberCase {
  std::string_view object;
  std::optional<std::string_view> a;  // the member `a`
};

class JsonMembers : public testing::TestWithParam<MemberCase> {};

TEST_P(JsonMembers, AreAsTheyWereWritten) {
  const auto& [object, a] = GetParam();
  ASSERT_TRUE(boost::json::parse({object.data(), object.size()}).is_object());
  EXPECT_EQ(json_member(object, "a"), a) << object;
}

INSTANTIATE_TEST_SUITE_P(
    All, JsonMembers,
    testing::Values(MemberCase{"{}", std::nullopt}, MemberCase{" { } ", std::nullopt},
                    MemberCase{R"({"b":1})", std::nullopt}, MemberCase{R"({"a":1})", "1"},
                    MemberCase{" {\n\"a\"\t:\r 1.50  \n} ", "1.50"}, MemberCase{R"({"a":-0,"b":2})", "-0"},
                    MemberCase{R"({"a":1e2 ,"b":2})", "1e2"}, MemberCase{R"({"b":2,"a":"x"})", R"("x")"},
                    MemberCase{R"({"a":"\"},\\"})", R"("\"},\\")"},
                    MemberCase{R"({"a":{"a":[{},"]}",{"a":2}]}})", R"({"a":[{},"]}",{"a":2}]})"},
                    MemberCase{R"({"b":{"a":1}})", std::nullopt}, MemberCase{R"({"b":["a",{"a":1}],"a":[ ]})", "[ ]"},
                    MemberCase{R"({"b":"a","c":"\"a\":1"})", std::nullopt}, MemberCase{R"({"a":1,"a":2})", "2"},
                    MemberCase{R"({"\u0061":1})", "1"}, MemberCase{R"({"a":1,"\u0061":{}})", "{}"},
                    MemberCase{R"({"\u0062":1,"\"a":3})", std::nullopt},
                    MemberCase{R"({"aa":1,"":2,"A":3})", std::nullopt}, MemberCase{R"({"":null,"a":null})", "null"},
                    MemberCase{R"({"a":123456789012345678901234567890})", "123456789012345678901234567890"}));

TEST(JsonMember, NameMayBeAnything) {
  EXPECT_EQ(json_member(R"({"":1})", ""), "1");
  EXPECT_EQ(json_member(R"({"\"":1})", "\""), "1");
  EXPECT_EQ(json_member(R"({"é€":1})", "é€"), "1");
}

// What is no object does no harm.
TEST(JsonMember, SurvivesAnything) {
  const std::string text = R"( {"a" : {"b":["\\\"",1]} , "\u0061":2, "c":"x"} )";
  for (std::size_t begin = 0; begin <= text.size(); ++begin) {
    for (std::size_t size = 0; size <= text.size() - begin; ++size) {
      const std::string part = text.substr(begin, size);  // its own allocation
      static_cast<void>(json_member(part, "a"));
    }
  }
  for (const std::string_view noise : {"", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\": ", "{\"a\\", "{\"a\":\"\\",
                                       "}}}}", "{,,,", "{]", "{\"a\":]", "{\"a\\u\":1}", "[[["}) {
    static_cast<void>(json_member(std::string(noise), "a"));
  }
}

}  // namespace
