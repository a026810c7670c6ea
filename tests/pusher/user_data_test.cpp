#include <fanfare/pusher/user_data.hpp>

#include "support/actions.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

using fanfare::AppOptions;
using fanfare::Member;
using namespace fanfare::pusher;

struct MemberCase {
  std::string text;
  UserDataError error;
  std::string id{};
  std::string info = "null";
};

class ChannelDataCases : public testing::TestWithParam<MemberCase> {};

TEST_P(ChannelDataCases, AreRead) {
  const auto& [text, error, id, info] = GetParam();
  const ChannelData read = read_channel_data(text, {.max_user_bytes = 200, .max_user_id_bytes = 20});
  EXPECT_EQ(read.error, error) << text;
  if (error != UserDataError::none) return;
  EXPECT_EQ(read.member, (Member{id, info})) << text;
}

const UserDataError ok = UserDataError::none;
const UserDataError bad_user_id = UserDataError::bad_user_id;

std::string nested(std::size_t deep) { return std::string(deep, '[') + std::string(deep, ']'); }

INSTANTIATE_TEST_SUITE_P(
    All, ChannelDataCases,
    testing::Values(MemberCase{R"({"user_id":"1"})", ok, "1"}, MemberCase{R"({"user_id":"é 😀/+"})", ok, "é 😀/+"},
                    MemberCase{R"({"user_id":"a\u0000\n"})", ok, std::string("a\0\n", 3)},
                    MemberCase{R"({"user_id":1,"user_id":"2"})", ok, "2"}, MemberCase{R"({"user_id":"01"})", ok, "01"},
                    MemberCase{R"({"user_id":0})", ok, "0"}, MemberCase{R"({"user_id":-0})", ok, "0"},
                    MemberCase{R"({"user_id":-0.0})", ok, "0"}, MemberCase{R"({"user_id":10.0})", ok, "10"},
                    MemberCase{R"({"user_id":1E3})", ok, "1000"}, MemberCase{R"({"user_id":-42})", ok, "-42"},
                    MemberCase{R"({"user_id":9223372036854775807})", ok, "9223372036854775807"},
                    MemberCase{R"({"user_id":-9223372036854775808})", ok, "-9223372036854775808"},
                    MemberCase{R"({"user_id":18446744073709551615})", ok, "18446744073709551615"},
                    MemberCase{R"({"user_id":18446744073709551616})", bad_user_id},
                    MemberCase{R"({"user_id":281474976710655.0})", ok, "281474976710655"},
                    MemberCase{R"({"user_id":281474976710656.0})", bad_user_id},
                    MemberCase{R"({"user_id":1e300})", bad_user_id}, MemberCase{R"({"user_id":0.5})", bad_user_id},
                    MemberCase{R"({"user_id":""})", bad_user_id}, MemberCase{R"({"user_id":null})", bad_user_id},
                    MemberCase{R"({"user_id":true})", bad_user_id}, MemberCase{R"({"user_id":[1]})", bad_user_id},
                    MemberCase{R"({"id":"1"})", bad_user_id}, MemberCase{"{}", bad_user_id},
                    MemberCase{"", UserDataError::not_an_object}, MemberCase{"1", UserDataError::not_an_object},
                    MemberCase{"null", UserDataError::not_an_object},
                    MemberCase{R"({"user_id":"1")", UserDataError::not_an_object},
                    MemberCase{"{\"user_id\":\"\xff\"}", UserDataError::not_an_object},
                    MemberCase{R"({"user_id":"1","user_info":)" + nested(31) + "}", ok, "1", nested(31)},
                    MemberCase{R"({"user_id":"1","user_info":)" + nested(32) + "}", UserDataError::not_an_object},
                    MemberCase{R"({"user_id":"12345678901234567890"})", ok, "12345678901234567890"},
                    MemberCase{R"({"user_id":"123456789012345678901"})", UserDataError::id_too_long},
                    MemberCase{R"({"user_id":"1","user_info":")" + std::string(170, 'x') + "\"}", ok, "1",
                               '"' + std::string(170, 'x') + '"'},
                    MemberCase{R"({"user_id":"1","user_info":")" + std::string(171, 'x') + "\"}",
                               UserDataError::too_large},
                    MemberCase{std::string(201, ' '), UserDataError::too_large},
                    MemberCase{R"({"user_id":"1","user_info":null})", ok, "1", "null"},
                    MemberCase{R"({"user_id":"1","user_info":{ "b" :1.50,"b":2, "a":"\u0061"} })", ok, "1",
                               R"({ "b" :1.50,"b":2, "a":"\u0061"})"},
                    MemberCase{R"({"user_id":"1","user_info":123456789012345678901234567890})", ok, "1",
                               "123456789012345678901234567890"}));

TEST(ChannelDataIds, MayStayNumbers) {
  const AppOptions options{.preserve_user_id_type = true};
  EXPECT_EQ(read_channel_data(R"({"user_id":10})", options).member, (Member{"10", "null", true}));
  EXPECT_EQ(read_channel_data(R"({"user_id":1e1})", options).member, (Member{"10", "null", true}));
  EXPECT_EQ(read_channel_data(R"({"user_id":"10"})", options).member, (Member{"10", "null", false}));
}

struct UserCase {
  std::string text;
  UserDataError error;
  std::string id{};
  std::string info = "null";
  std::vector<std::string> watchlist{};
  bool cut = false;
};

class UserDataCases : public testing::TestWithParam<UserCase> {};

TEST_P(UserDataCases, AreRead) {
  const UserCase& expected = GetParam();
  AppOptions options{.watchlist = true, .max_user_bytes = 10, .max_user_id_bytes = 20, .max_watchlist = 2};
  for (const bool watching : {true, false}) {
    options.watchlist = watching;
    const UserData read = read_user_data(expected.text, options);
    const bool ignored = !watching && expected.error == UserDataError::bad_watchlist;
    EXPECT_EQ(read.error, ignored ? ok : expected.error) << expected.text;
    if (read.error != ok || expected.error != ok) continue;
    EXPECT_EQ(read.id, expected.id) << expected.text;
    EXPECT_EQ(read.user_info, expected.info) << expected.text;
    EXPECT_EQ(read.watchlist, watching ? expected.watchlist : std::vector<std::string>{}) << expected.text;
    EXPECT_EQ(read.watchlist_cut, watching && expected.cut) << expected.text;
  }
}

const UserDataError bad_id = UserDataError::bad_id;
const UserDataError bad_watchlist = UserDataError::bad_watchlist;
using List = std::vector<std::string>;

INSTANTIATE_TEST_SUITE_P(
    All, UserDataCases,
    testing::Values(
        UserCase{R"({"id":"ada"})", ok, "ada"},
        UserCase{R"({ "user_info" : {"name": "Ada"}, "id" : "ada" , "more":[] })", ok, "ada", R"({"name": "Ada"})"},
        UserCase{R"({"id":7})", bad_id}, UserCase{R"({"id":""})", bad_id}, UserCase{R"({"id":null})", bad_id},
        UserCase{"{}", bad_id}, UserCase{R"({"user_id":"ada"})", bad_id}, UserCase{"[]", UserDataError::not_an_object},
        UserCase{"ada", UserDataError::not_an_object}, UserCase{"", UserDataError::not_an_object},
        UserCase{R"({"id":"12345678901234567890"})", ok, "12345678901234567890"},
        UserCase{R"({"id":"123456789012345678901"})", UserDataError::id_too_long},
        UserCase{R"({"id":"ada","watchlist":[]})", ok, "ada"}, UserCase{R"({"id":"ada","watchlist":null})", ok, "ada"},
        UserCase{R"({"id":"ada","watchlist":["b","a"]})", ok, "ada", "null", List{"b", "a"}},
        UserCase{R"({"id":"ada","watchlist":["b","b","a","b","a"]})", ok, "ada", "null", List{"b", "a"}},
        UserCase{R"({"id":"ada","watchlist":["b","c","a"]})", ok, "ada", "null", List{"b", "c"}, true},
        UserCase{R"({"id":"ada","watchlist":{}})", bad_watchlist},
        UserCase{R"({"id":"ada","watchlist":"b"})", bad_watchlist},
        UserCase{R"({"id":"ada","watchlist":["b",1]})", bad_watchlist},
        UserCase{R"({"id":"ada","watchlist":[""]})", bad_watchlist},
        UserCase{R"({"id":"ada","watchlist":["123456789012345678901"]})", bad_watchlist}));

TEST(UserDataErrors, HaveWordsForEach) {
  std::set<std::string_view> names, messages;
  for (int i = 0; i <= static_cast<int>(UserDataError::bad_watchlist); ++i) {
    names.insert(to_string(static_cast<UserDataError>(i)));
    messages.insert(message(static_cast<UserDataError>(i)));
  }
  EXPECT_EQ(names.size(), 7U);
  EXPECT_EQ(messages.size(), 7U);
  EXPECT_EQ(to_string(static_cast<UserDataError>(99)), "unknown");
  EXPECT_EQ(message(static_cast<UserDataError>(99)), "unknown error");
}

}  // namespace
