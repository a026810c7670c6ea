#include <fanfare/websocket/frame.hpp>

#include <gtest/gtest.h>
#include <websocketpp/close.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace fanfare::test {
namespace {

using namespace std::string_literals;
using websocket::append_close;
using websocket::append_frame;
using websocket::Opcode;
namespace close_code = websocket::close_code;

std::string frame(Opcode opcode, std::string_view payload) {
  std::string text;
  append_frame(text, opcode, payload);
  return text;
}
std::string close(std::uint16_t code, std::string_view reason = {}) {
  std::string text;
  append_close(text, code, reason);
  return text;
}

TEST(Frame, ExamplesOfTheRfc) {  // §5.7
  EXPECT_EQ(frame(Opcode::text, "Hello"), "\x81\x05Hello");
  EXPECT_EQ(frame(Opcode::ping, "Hello"), "\x89\x05Hello");
  EXPECT_EQ(frame(Opcode::binary, std::string(256, 'x')), "\x82\x7E\x01\x00"s + std::string(256, 'x'));
  EXPECT_EQ(frame(Opcode::binary, std::string(65536, 'x')),
            "\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00"s + std::string(65536, 'x'));
}

TEST(Frame, LengthsTakeTheShortestForm) {
  const std::initializer_list<std::pair<std::size_t, std::string>> headers{
      {0, "\x81\x00"s},
      {1, "\x81\x01"s},
      {125, "\x81\x7D"s},
      {126, "\x81\x7E\x00\x7E"s},
      {127, "\x81\x7E\x00\x7F"s},
      {65535, "\x81\x7E\xFF\xFF"s},
      {65536, "\x81\x7F\x00\x00\x00\x00\x00\x01\x00\x00"s},
      // As much of it as a size can be.
      {static_cast<std::size_t>(0x1234567890U), sizeof(std::size_t) == 8 ? "\x81\x7F\x00\x00\x00\x12\x34\x56\x78\x90"s
                                                                         : "\x81\x7F\x00\x00\x00\x00\x34\x56\x78\x90"s},
  };
  for (const auto& [size, expected] : headers) {
    char header[websocket::max_header_size];
    const std::size_t written = websocket::write_header(header, Opcode::text, size);
    EXPECT_EQ(std::string_view(header, written), expected) << size;
    EXPECT_EQ(websocket::header_size(size), expected.size()) << size;
  }
}

TEST(Frame, HeadersAreConstantExpressions) {
  constexpr unsigned first = [] {
    char header[websocket::max_header_size]{};
    return websocket::write_header(header, Opcode::pong, 7) == 2 ? static_cast<unsigned char>(header[0]) : 0U;
  }();
  static_assert(first == 0x8A);
  static_assert(noexcept(websocket::write_header(nullptr, Opcode::text, 0)));
}

TEST(Frame, FramesAreAppended) {
  std::string text = "before";
  append_frame(text, Opcode::text, "a");
  append_frame(text, Opcode::pong, "");
  append_close(text, 1000);
  EXPECT_EQ(text, "before\x81\x01"s + "a\x8A\x00\x88\x02\x03\xE8"s);
}

TEST(Frame, AppendingGrowsByMultiplying) {
  std::string text;
  std::size_t growths = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t before = text.capacity();
    append_frame(text, Opcode::text, "0123456789");
    growths += text.capacity() != before ? 1 : 0;
  }
  EXPECT_LT(growths, 40U);
}

TEST(Frame, CloseFramesHaveCodeAndReason) {
  EXPECT_EQ(close(4001, "no such app"), "\x88\x0D\x0F\xA1no such app");
  EXPECT_EQ(close(4200), "\x88\x02\x10\x68"s);
  EXPECT_EQ(close(close_code::no_status), "\x88\x00"s);
  EXPECT_EQ(close(close_code::no_status, "a reason needs a code"), "\x88\x00"s);
}

TEST(Frame, ReasonsAreCutBetweenCharacters) {
  const auto reason_of = [](std::string_view reason) { return close(1000, reason).substr(4); };
  EXPECT_EQ(reason_of(std::string(123, 'a')), std::string(123, 'a'));
  EXPECT_EQ(reason_of(std::string(124, 'a')), std::string(123, 'a'));
  EXPECT_EQ(close(1000, std::string(500, 'a')).size(), 127U);
  // é € 😀: two, three and four bytes, across each place where the cut can fall
  for (const std::string& character : {"\xC3\xA9"s, "\xE2\x82\xAC"s, "\xF0\x9F\x98\x80"s}) {
    for (std::size_t before = 118; before <= 124; ++before) {
      const std::string reason = std::string(before, 'a') + character + "tail";
      const std::string cut = reason_of(reason);
      EXPECT_EQ(reason.substr(0, cut.size()), cut);
      EXPECT_TRUE(websocketpp::utf8_validator::validate(cut)) << before;
      EXPECT_LE(cut.size(), 123U);
      EXPECT_GE(cut.size(), 120U);
    }
  }
  // Not UTF-8: cut somewhere, near enough.
  EXPECT_GE(reason_of(std::string(200, '\x80')).size(), 120U);
}

TEST(Frame, CloseCodesAreTheRfcs) {
  for (unsigned code = 0; code <= 0xFFFF; ++code) {
    const auto value = static_cast<std::uint16_t>(code);
    const bool valid = !websocketpp::close::status::invalid(value) && !websocketpp::close::status::reserved(value);
    EXPECT_EQ(websocket::is_close_code(value), valid) << code;
  }
}

#if FANFARE_ASSERTS
TEST(FrameDeathTest, WrongUsesAreOurMistakes) {
  EXPECT_DEATH(frame(Opcode::ping, std::string(126, 'a')), "125 bytes");
  EXPECT_DEATH(close(1006), "may not be sent");
  EXPECT_DEATH(close(999), "may not be sent");
}
#endif

}  // namespace
TEST(Frame, IsReadAsAClientReadsIt) {
  std::string bytes;
  websocket::append_frame(bytes, Opcode::text, "hello");
  websocket::append_frame(bytes, Opcode::text, std::string(70000, 'x'));
  websocket::append_close(bytes, 4001, "why");
  websocket::append_close(bytes, websocket::close_code::no_status);
  std::string_view rest = bytes;
  websocket::ServerFrame frame = websocket::read_server_frame(rest);
  EXPECT_EQ(frame.payload, "hello");
  EXPECT_EQ(frame.code, websocket::close_code::none);
  rest.remove_prefix(frame.size);
  for (const std::size_t part : {0U, 1U, 9U, 10U, 70009U}) {
    const websocket::ServerFrame early = websocket::read_server_frame(rest.substr(0, part));
    EXPECT_TRUE(early.good) << part;
    EXPECT_EQ(early.size, 0U) << part;
  }
  frame = websocket::read_server_frame(rest);
  EXPECT_EQ(frame.payload.size(), 70000U);
  rest.remove_prefix(frame.size);
  frame = websocket::read_server_frame(rest);
  EXPECT_EQ(frame.opcode, Opcode::close);
  EXPECT_EQ(frame.code, 4001);
  EXPECT_EQ(frame.payload, "why");
  rest.remove_prefix(frame.size);
  frame = websocket::read_server_frame(rest);
  EXPECT_EQ(frame.code, websocket::close_code::no_status);
  EXPECT_EQ(frame.size, rest.size());
}

TEST(Frame, NoServerWritesThese) {
  using namespace std::string_literals;
  for (const std::string& bytes :
       {"\x01\x00"s, "\x00\x00"s, "\xC1\x00"s, "\x83\x00"s, "\x81\x80"s, "\x89\x7E"s, "\x88\x01x"s}) {
    EXPECT_FALSE(websocket::read_server_frame(bytes).good) << testing::PrintToString(bytes);
  }
}

}  // namespace fanfare::test
