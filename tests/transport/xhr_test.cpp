#include <fanfare/transport/xhr.hpp>

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace http = fanfare::http;
namespace websocket = fanfare::websocket;
namespace xhr = fanfare::transport::xhr;
using namespace std::string_literals;
using namespace std::string_view_literals;
using websocket::Opcode;
using xhr::Converted;
using xhr::SendError;

// ---- paths

struct Path {
  std::string_view prefix;
  std::string_view path;
  std::optional<xhr::Address> address;

  friend void PrintTo(const Path& value, std::ostream* out) { *out << value.prefix << " | " << value.path; }
};

class XhrPath : public testing::TestWithParam<Path> {};

TEST_P(XhrPath, is_read) { EXPECT_EQ(xhr::parse_path(GetParam().path, GetParam().prefix), GetParam().address); }

const std::string longest_key(xhr::longest_key, 'k');
const std::string long_path = "/app/" + longest_key + "/0/abcdefgh/xhr";
const std::string too_long_path = "/app/k" + longest_key + "/0/abcdefgh/xhr";

constexpr xhr::Address streaming{"key", 17, "0a1b2c3v", xhr::Kind::streaming};
INSTANTIATE_TEST_SUITE_P(
    good, XhrPath,
    testing::Values(Path{"", "/app/key/17/0a1b2c3v/xhr_streaming", streaming},
                    Path{"", "/app/key/17/0a1b2c3v/xhr", xhr::Address{"key", 17, "0a1b2c3v", xhr::Kind::polling}},
                    Path{"", "/app/key/17/0a1b2c3v/xhr_send", xhr::Address{"key", 17, "0a1b2c3v", xhr::Kind::send}},
                    Path{"", "/pusher/app/key/17/0a1b2c3v/xhr_streaming", streaming},
                    Path{"/x", "/x/app/key/17/0a1b2c3v/xhr_streaming", streaming},
                    Path{"/x", "/pusher/app/key/17/0a1b2c3v/xhr_streaming", streaming},
                    Path{"/pusher", "/pusher/app/key/17/0a1b2c3v/xhr_streaming", streaming},
                    Path{"/app", "/app/app/key/17/0a1b2c3v/xhr_streaming", streaming},
                    Path{"", "/app/key/0/00000000/xhr", xhr::Address{"key", 0, "00000000", xhr::Kind::polling}},
                    Path{"", "/app/key/007/abcdefgh/xhr", xhr::Address{"key", 7, "abcdefgh", xhr::Kind::polling}},
                    Path{"", "/app/key/999/ABCDEFGH/xhr", xhr::Address{"key", 999, "ABCDEFGH", xhr::Kind::polling}},
                    Path{"", "/app/k%20/1/abcdefgh/xhr", xhr::Address{"k%20", 1, "abcdefgh", xhr::Kind::polling}},
                    Path{"", long_path, xhr::Address{longest_key, 0, "abcdefgh", xhr::Kind::polling}}));
INSTANTIATE_TEST_SUITE_P(
    other, XhrPath,
    testing::Values(Path{"", "", {}}, Path{"", "/", {}}, Path{"", "/app/", {}}, Path{"", "/app/key", {}},
                    Path{"", "/pusher", {}}, Path{"", "/pusherapp/key/17/0a1b2c3v/xhr", {}},
                    Path{"", "/apps/key/17/0a1b2c3v/xhr", {}}, Path{"", "app/key/17/0a1b2c3v/xhr", {}},
                    Path{"/x", "/app/key/17/0a1b2c3v/xhr", {}}, Path{"/x", "/x/pusher/app/key/17/0a1b2c3v/xhr", {}},
                    Path{"", "/x/app/key/17/0a1b2c3v/xhr", {}}, Path{"", "/app//17/0a1b2c3v/xhr", {}},
                    Path{"", "/app/key//0a1b2c3v/xhr", {}}, Path{"", "/app/key/1000/0a1b2c3v/xhr", {}},
                    Path{"", "/app/key/0007/0a1b2c3v/xhr", {}}, Path{"", "/app/key/-1/0a1b2c3v/xhr", {}},
                    Path{"", "/app/key/1a/0a1b2c3v/xhr", {}}, Path{"", "/app/key/17/0a1b2c3/xhr", {}},
                    Path{"", "/app/key/17/0a1b2c3vw/xhr", {}}, Path{"", "/app/key/17/0a1b2c3./xhr", {}},
                    Path{"", "/app/key/17/0a1b2c3\xc3/xhr", {}}, Path{"", "/app/key/17/0a1b2c3v/", {}},
                    Path{"", "/app/key/17/0a1b2c3v", {}}, Path{"", "/app/key/17/0a1b2c3v/xhr/", {}},
                    Path{"", "/app/key/17/0a1b2c3v/XHR", {}}, Path{"", "/app/key/17/0a1b2c3v/xhr_streamin", {}},
                    Path{"", "/app/key/17/0a1b2c3v/websocket", {}}, Path{"", too_long_path, {}}));

// ---- lines

TEST(XhrLine, of_messages_is_an_array_of_strings) {
  std::string out = "x";
  xhr::append_messages(out, {});
  EXPECT_EQ(out, "x"s + std::string(xhr::activity_line));
  out.clear();
  xhr::append_message(out, R"({"event":"a"})");
  EXPECT_EQ(out, "a[\"{\\\"event\\\":\\\"a\\\"}\"]\n");
  out.clear();
  const std::array texts{"a"sv, ""sv, "b\nc"sv, "\u20ac"sv};
  xhr::append_messages(out, texts);
  EXPECT_EQ(out, "a[\"a\",\"\",\"b\\nc\",\"\u20ac\"]\n") << "what is in a message ends no line";
}

TEST(XhrLine, of_a_close_has_a_code_and_a_reason) {
  std::string out;
  xhr::append_close(out, 4200, "say \"again\"");
  xhr::append_close(out, 1000);
  EXPECT_EQ(out, "c[4200,\"say \\\"again\\\"\"]\nc[1000,\"\"]\n");
}

// ---- frames to lines

std::string frame(Opcode opcode, std::string_view payload = {}) {
  std::string bytes;
  websocket::append_frame(bytes, opcode, payload);
  return bytes;
}

std::string close(std::uint16_t code, std::string_view reason = {}) {
  std::string bytes;
  websocket::append_close(bytes, code, reason);
  return bytes;
}

struct Conversion {
  std::string_view what;
  std::string frames;
  std::string lines;
  std::uint16_t close_code = 0;
  std::size_t left = 0;

  friend void PrintTo(const Conversion& conversion, std::ostream* out) { *out << conversion.what; }
};

class XhrConvert : public testing::TestWithParam<Conversion> {};

TEST_P(XhrConvert, writes_the_lines) {
  const Conversion& wanted = GetParam();
  std::string out = "before\n";
  EXPECT_EQ(xhr::convert(wanted.frames, out),
            (Converted{wanted.frames.size() - wanted.left, wanted.close_code, xhr::ConvertError::none}));
  EXPECT_EQ(out, "before\n" + wanted.lines);
}

INSTANTIATE_TEST_SUITE_P(
    all, XhrConvert,
    testing::Values(
        Conversion{"nothing", "", ""}, Conversion{"one", frame(Opcode::text, "a"), "a[\"a\"]\n"},
        Conversion{"empty", frame(Opcode::text), "a[\"\"]\n"},
        Conversion{"two", frame(Opcode::text, "a") + frame(Opcode::text, "b"), "a[\"a\",\"b\"]\n"},
        Conversion{"ping", frame(Opcode::ping), "h\n"}, Conversion{"pong", frame(Opcode::pong, "x"), "a[]\n"},
        Conversion{"between", frame(Opcode::text, "a") + frame(Opcode::ping) + frame(Opcode::text, "b"),
                   "a[\"a\"]\nh\na[\"b\"]\n"},
        Conversion{"close", frame(Opcode::text, "a") + close(4100, "full"), "a[\"a\"]\nc[4100,\"full\"]\n", 4100},
        Conversion{"close without a code", close(1005), "c[1005,\"\"]\n", 1005},
        Conversion{"behind a close", close(4200) + frame(Opcode::text, "a"), "c[4200,\"\"]\n", 4200, 3},
        Conversion{"half", frame(Opcode::text, "a") + frame(Opcode::text, "bc").substr(0, 3), "a[\"a\"]\n", 0, 3}));

TEST(XhrConvert, makes_no_question_of_a_ping_where_it_is_told_so) {
  std::string out;
  const std::string frames = frame(Opcode::ping);
  EXPECT_EQ(xhr::convert(frames, out, 100, xhr::PingAs::activity).used, frames.size());
  EXPECT_EQ(out, xhr::activity_line);
}

TEST(XhrConvert, stops_where_there_is_no_room) {
  std::string frames;
  for (int i = 0; i < 10; ++i) frames += frame(Opcode::text, "0123456789");
  std::string out;
  EXPECT_EQ(xhr::convert(frames, out, 0), Converted{});
  EXPECT_EQ(out, "");
  EXPECT_EQ(xhr::convert(frames, out, 1).used, 12U) << "at least one";
  EXPECT_EQ(out, "a[\"0123456789\"]\n");
  out.clear();
  EXPECT_EQ(xhr::convert(frames, out, 20).used, 24U);
  EXPECT_EQ(out, "a[\"0123456789\",\"0123456789\"]\n");
}

TEST(XhrConvert, stops_before_what_is_no_frame_of_a_server) {
  const std::string good = frame(Opcode::text, "a");
  const std::array bad{
      frame(Opcode::binary, "a"),  // a Pusher server sends text
      "\x01\x01x"s,                // the beginning of a fragmented message
      "\x80\x01x"s,                // and its end
      "\x81\x81keys_"s,            // masked
      "\xc1\x01x"s,                // reserved bits
      "\x83\x01x"s,                // a reserved opcode
      "\x89\x7e\x00\x80"s,         // a control frame that is too large
      "\x88\x01x"s,                // half a close code
      "GET / HTTP/1.1"s,
  };
  for (const std::string& bytes : bad) {
    std::string out;
    EXPECT_EQ(xhr::convert(good + bytes, out), (Converted{good.size(), 0, xhr::ConvertError::bad_frame})) << bytes;
    EXPECT_EQ(out, "a[\"a\"]\n");
  }
}

TEST(XhrConvert, takes_a_length_beyond_all_bounds_for_one_that_has_not_come_yet) {
  std::string out;
  EXPECT_EQ(xhr::convert("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff text"sv, out), Converted{});
  EXPECT_EQ(out, "");
}

/// What a client makes of lines; nothing where one is malformed.
std::optional<std::vector<std::string>> messages(std::string_view lines) {
  std::vector<std::string> texts;
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    if (end == std::string_view::npos || end < 2 || lines[0] != 'a') return std::nullopt;
    boost::json::error_code error;
    const boost::json::value array = boost::json::parse({lines.data() + 1, end - 1}, error);
    if (error || !array.is_array()) return std::nullopt;
    for (const auto& element : array.get_array()) {
      if (!element.is_string()) return std::nullopt;
      texts.emplace_back(element.get_string());
    }
    lines.remove_prefix(end + 1);
  }
  return texts;
}

TEST(XhrConvert, gives_exactly_the_messages_wherever_the_frames_are_split) {
  std::mt19937 random{20'240'601};
  const std::array characters{"a"sv, "\""sv, "\\"sv, "\n"sv, "\0"sv, "\x1f"sv, "\u00e9"sv, "\u20ac"sv, "\U0001f600"sv};
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> texts(random() % 6);
    std::string frames;
    for (std::string& text : texts) {
      const std::array<std::size_t, 4> sizes{0, 5, 125, 126};
      for (std::size_t size = sizes[random() % sizes.size()]; size != 0; --size) {
        text += characters[random() % characters.size()];
      }
      websocket::append_frame(frames, Opcode::text, text);
    }
    for (std::size_t split = 0; split <= frames.size(); ++split) {
      std::string out;
      const Converted first = xhr::convert(std::string_view(frames).substr(0, split), out);
      ASSERT_LE(first.used, split);
      const Converted rest = xhr::convert(std::string_view(frames).substr(first.used), out);
      ASSERT_EQ(first.used + rest.used, frames.size());
      ASSERT_EQ(messages(out), texts) << "split at " << split;
    }
  }
}

TEST(XhrConvert, takes_long_messages) {
  const std::string text(70'000, 'x');
  std::string out;
  EXPECT_EQ(xhr::convert(frame(Opcode::text, text), out).used, text.size() + 10);
  EXPECT_EQ(messages(out), std::vector{text});
}

// ---- what a client sends

struct Body {
  std::string_view body;
  SendError error;
  std::vector<std::string> texts;

  friend void PrintTo(const Body& value, std::ostream* out) { *out << value.body; }
};

class XhrBody : public testing::TestWithParam<Body> {};

TEST_P(XhrBody, is_read) {
  constexpr xhr::SendLimits limits{.body_bytes = 40, .messages = 3, .message_bytes = 8};
  const xhr::Sent sent = xhr::decode(GetParam().body, limits);
  EXPECT_EQ(to_string(sent.error), to_string(GetParam().error));
  EXPECT_EQ(sent.texts, GetParam().texts);
}

INSTANTIATE_TEST_SUITE_P(
    all, XhrBody,
    testing::Values(Body{"[]", SendError::none, {}}, Body{R"(["a"])", SendError::none, {"a"}},
                    Body{R"( [ "a" , "", "{\"a\":1}" ] )", SendError::none, {"a", "", R"({"a":1})"}},
                    Body{R"(["\u0000\u20ac\ud83d\ude00"])", SendError::none, {"\0\u20ac\U0001f600"s}},
                    Body{R"(["12345678"])", SendError::none, {"12345678"}},
                    Body{R"(["a","123456789"])", SendError::message_too_large, {}},
                    Body{R"(["","","",""])", SendError::too_many_messages, {}},
                    Body{R"(["34567890123456789012345678901234567890"])", SendError::body_too_large, {}},
                    Body{"", SendError::not_json, {}}, Body{"[", SendError::not_json, {}},
                    Body{R"(["a"] x)", SendError::not_json, {}}, Body{R"(["a",])", SendError::not_json, {}},
                    Body{R"(["\ud83d"])", SendError::not_json, {}}, Body{"[\"\xff\"]", SendError::not_json, {}},
                    Body{"[\"a\nb\"]", SendError::not_json, {}}, Body{"\"a\"", SendError::not_strings, {}},
                    Body{"{}", SendError::not_strings, {}}, Body{"null", SendError::not_strings, {}},
                    Body{R"(["a",1])", SendError::not_strings, {}}, Body{R"(["a",null])", SendError::not_strings, {}},
                    Body{"[[\"a\"]]", SendError::not_strings, {}},
                    Body{"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", SendError::not_strings, {}}));

TEST(XhrBody, may_hold_the_largest_message_of_a_websocket_by_default) {
  const std::string text(64 * 1024, '"');
  std::string line;
  xhr::append_message(line, text);
  EXPECT_EQ(xhr::decode(std::string_view(line).substr(1)), (xhr::Sent{SendError::none, {text}}));
}

TEST(XhrError, has_a_name_a_sentence_and_a_status) {
  for (unsigned i = 0; i <= static_cast<unsigned>(SendError::message_too_large); ++i) {
    const auto error = static_cast<SendError>(i);
    EXPECT_NE(to_string(error), "unknown");
    EXPECT_NE(message(error), "unknown error");
    EXPECT_EQ(http_status(error), i == 0 ? 204U : i == 2 || i == 3 ? 400U : 413U);
  }
  EXPECT_EQ(to_string(xhr::ConvertError::bad_frame), "bad_frame");
  EXPECT_EQ(message(xhr::ConvertError::none), "no error");
  EXPECT_EQ(to_string(xhr::Kind::streaming), "streaming");
  EXPECT_EQ(to_string(xhr::Kind::polling), "polling");
  EXPECT_EQ(to_string(xhr::Kind::send), "send");
}

// ---- answers

std::string bytes(const http::Response& response) {
  std::string out;
  http::append(out, response, {11, true, false});
  return out;
}

const std::string common_fields =
    "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\nAccess-Control-Allow-Origin: *\r\n";

TEST(XhrResponse, to_a_poll_is_lines) {
  EXPECT_EQ(bytes(xhr::poll_response("o\n")),
            "HTTP/1.1 200 OK\r\nContent-Type: application/javascript; charset=UTF-8\r\nContent-Length: 2\r\n" +
                common_fields + "\r\no\n");
}

TEST(XhrResponse, to_messages_has_no_body) {
  EXPECT_EQ(bytes(xhr::sent_response()), "HTTP/1.1 204 No Content\r\n" + common_fields + "\r\n");
}

TEST(XhrResponse, that_refuses_may_be_read_by_pages) {
  EXPECT_EQ(bytes(xhr::refusal(SendError::not_json)),
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 27\r\n" +
                common_fields + "\r\nThe body is not valid JSON\n");
  EXPECT_EQ(xhr::refusal(404, "There is no such session").status, 404U);
}

TEST(XhrResponse, to_a_preflight_allows_what_clients_send) {
  EXPECT_EQ(bytes(xhr::preflight_response()),
            "HTTP/1.1 204 No Content\r\n" + common_fields +
                "Access-Control-Allow-Methods: POST\r\nAccess-Control-Allow-Headers: content-type\r\n"
                "Access-Control-Max-Age: 86400\r\n\r\n");
}

TEST(XhrStream, comes_in_chunks) {
  std::string out;
  EXPECT_TRUE(xhr::append_stream_head(out, 11));
  EXPECT_EQ(out,
            "HTTP/1.1 200 OK\r\nContent-Type: application/javascript; charset=UTF-8\r\nTransfer-Encoding: chunked\r\n"
            "Connection: close\r\n" +
                common_fields + "\r\n");
  out.clear();
  xhr::append_chunk(out, xhr::open_line);
  xhr::append_chunk(out, "");
  xhr::append_chunk(out, std::string(26, 'x'));
  out += xhr::last_chunk;
  EXPECT_EQ(out, "2\r\no\n\r\n1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
}

TEST(XhrStream, has_no_chunks_in_http_1_0) {
  std::string out;
  EXPECT_FALSE(xhr::append_stream_head(out, 10));
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nContent-Type: application/javascript; charset=UTF-8\r\nConnection: close\r\n" +
                     common_fields + "\r\n");
}

}  // namespace
