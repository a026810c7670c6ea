#include <fanfare/pusher/plain_event.hpp>

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using fanfare::pusher::EventMember;
using fanfare::pusher::PlainEvent;

constexpr std::array members{EventMember::name, EventMember::data, EventMember::channel, EventMember::socket_id,
                             EventMember::info};

/// A text in an allocation of just its size, so that nothing around it can be read unseen.
class Exact {
 public:
  explicit Exact(std::string_view text) : size_(text.size()), bytes_(new char[text.size()]) {
    std::copy(text.begin(), text.end(), bytes_.get());
  }
  [[nodiscard]] std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<char[]> bytes_;
};

/// Reads a body, and compares what was found with what Boost.JSON finds.
/// \returns  whether it was taken.
bool read(std::string_view text) {
  const Exact body(text);
  const auto plain = std::make_unique<PlainEvent>();
  if (!plain->read(body.view())) return false;

  boost::json::error_code error;
  const boost::json::value value = boost::json::parse({text.data(), text.size()}, error);
  EXPECT_FALSE(error) << text;
  if (error || !value.is_object()) {
    ADD_FAILURE() << text;
    return true;
  }
  const auto as_text = [&](const boost::json::value& string) {
    return std::string(string.as_string().data(), string.as_string().size());
  };
  for (const EventMember member : members) {
    const std::string_view name = to_string(member);
    const boost::json::value* const found = value.get_object().if_contains({name.data(), name.size()});
    const std::optional<std::string_view>& got = plain->text(member);
    EXPECT_EQ(got.has_value(), found != nullptr) << text << ' ' << name;
    if (got && found != nullptr) {
      EXPECT_EQ(*got, as_text(*found)) << text;
    }
  }
  const boost::json::value* const channels = value.get_object().if_contains("channels");
  EXPECT_EQ(plain->channels() != nullptr, channels != nullptr) << text;
  if (plain->channels() != nullptr && channels != nullptr) {
    std::vector<std::string> names;
    for (const boost::json::value& name : channels->as_array()) names.push_back(as_text(name));
    const auto all = plain->channels()->all();
    EXPECT_EQ(std::vector<std::string>(all.begin(), all.end()), names) << text;
    EXPECT_EQ(plain->channels()->size(), names.size());
  }
  return true;
}

class PlainEvents : public testing::TestWithParam<std::string_view> {};

TEST_P(PlainEvents, AreTaken) { EXPECT_TRUE(read(GetParam())); }

INSTANTIATE_TEST_SUITE_P(
    All, PlainEvents,
    testing::Values("{}", " \t\r\n{ \n} ", R"({"name":"a","channels":["b"],"data":"c"})",
                    R"({"name":"a","channel":"b","data":"{\"a\":[1,\"x\\n\"]}","socket_id":"1.2","info":"user_count"})",
                    R"( { "data" : "" , "name" : "" , "channels" : [ ] } )",
                    R"({"channels":["","\"",  "a" , "b","c","d"]})", R"({"name":"\"\\\/\b\f\n\r\t"})",
                    R"({"data":"\n0123456789abcdefghijklmnopqrstuvwxyz"})",
                    R"({"data":"0123456789abcdefghijklmnopqrstuvwxyz\n"})",
                    R"({"data":"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"})", R"({"name":"é€😀","data":"\té€😀\t"})",
                    R"({"n\/ame":"a","other":"b","other":"c","nama":"d"})",
                    R"({"na\\me":"a","data":")"
                    "\x7f"
                    R"("})"));

class OtherEvents : public testing::TestWithParam<std::string_view> {};

TEST_P(OtherEvents, AreLeft) { EXPECT_FALSE(read(GetParam())); }

INSTANTIATE_TEST_SUITE_P(All, OtherEvents,
                         testing::Values("", " ", "{", "}", "[]", "null", "\"a\"", "{}x", "{}{}", "{,}", "{\"name\"}",
                                         "{\"name\":}", "{\"name\":\"a\",}", "{\"name\":\"a\" \"data\":\"b\"}",
                                         "{name:\"a\"}", "{'name':'a'}", "{\"name\":\"a}", "{\"name\":\"a\\",
                                         "{\"name\":\"a\\\"}", "{\"name\":\"\\x\"}", "{\"name\":\"\\u0041\"}",
                                         "{\"\\u006eame\":\"a\"}", "{\"name\":\"a\nb\"}",
                                         "{\"data\":\"0123456789abcdef0123\x1f\"}", "{\"name\":\"\xff\"}",
                                         "{\"other\":\"\xc3\"}", "{\"data\":\"0123456789abcdef\xed\xa0\x80\"}",
                                         "{\"name\":null}", "{\"data\":{}}", "{\"data\":1}", "{\"other\":true}",
                                         "{\"channels\":\"a\"}", "{\"channels\":[1]}", "{\"channels\":[\"a\",]}",
                                         "{\"channels\":[\"a\"", "{\"channels\":[\"a\" \"b\"]}",
                                         "{\"channels\":[[\"a\"]]}", "{\"name\":\"a\",\"name\":\"b\"}",
                                         "{\"channels\":[],\"channels\":[]}", "/**/{}", "\xef\xbb\xbf{}"));

TEST(PlainEvent, HasStringsOfAnySizeWithEscapesAnywhere) {
  for (std::size_t size = 0; size < 70; ++size) {
    for (std::size_t at = 0; at <= size; ++at) {
      std::string data(size, 'x');
      data.insert(at, "\\\"");
      EXPECT_TRUE(read("{\"data\":\"" + data + "\"}"));
      EXPECT_TRUE(read("{\"data\":\"" + data + "\\n\",\"name\":\"" + data + "\"}"));
    }
  }
  for (const std::size_t size : {900U, 1000U, 1008U, 1009U, 1024U, 5000U, 100'000U}) {
    std::string data;
    while (data.size() < size) data += data.size() % 7 == 0 ? "\\\\" : "abc";
    EXPECT_TRUE(read("{\"name\":\"\\t\",\"data\":\"" + data + "\",\"info\":\"\\/\"}"));
    EXPECT_TRUE(read("{\"data\":\"" + std::string(size, 'x') + "\",\"info\":\"\\/\"}"));
  }
}

// Whatever is in a body is taken as Boost.JSON understands it, or not at all.
TEST(PlainEvent, AgreesWithBoostWhateverIsChanged) {
  const std::string body = R"({"name":"a\"b","channels":["c","é"],"data":"{\"m\":[1,2,\"\\n\"]}", "socket_id":"1.2"})";
  ASSERT_TRUE(read(body));
  for (std::size_t at = 0; at <= body.size(); ++at) {
    EXPECT_EQ(read(body.substr(0, at)), at == body.size());
    EXPECT_FALSE(at != 0 && read(body.substr(at)));
    for (const char c : {'"', '\\', '{', '}', '[', ']', ',', ':', ' ', '\n', '\0', 'n', 'u', '1', '\x80', '\xe9'}) {
      std::string other = body;
      static_cast<void>(read(other.insert(at, 1, c)));
      if (at == body.size()) continue;
      other = body;
      other[at] = c;
      static_cast<void>(read(other));
    }
  }
}

TEST(PlainEvent, NamesItsMembers) {
  EXPECT_EQ(to_string(EventMember::name), "name");
  EXPECT_EQ(to_string(EventMember::socket_id), "socket_id");
  EXPECT_EQ(to_string(static_cast<EventMember>(99)), "unknown");
}

}  // namespace
