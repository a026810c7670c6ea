#include <fanfare/core/wire.hpp>

#include "support/print.hpp"
#include "support/sinks.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#if defined(__unix__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fanfare::test {
namespace {

struct Frame {
  errc error = errc::ok;
  unsigned first_byte = 0;
  std::string payload{};
};

/// Encodes into an allocation of exactly the size that was asked for, and reads the frame's header back.
Frame encode(const MessageParts& parts) {
  const FrameEncoder encoder;
  std::vector<std::byte> space(encoder.bound(parts));
  std::size_t written = 0;
  Frame frame{.error = encoder.encode(parts, space, written)};
  EXPECT_LE(written, space.size());
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint64_t>(space[i]); };
  frame.first_byte = static_cast<unsigned>(byte(0));
  std::size_t header = 2;
  std::uint64_t length = byte(1);
  if (length >= 126) {
    header = length == 126 ? 4 : 10;
    length = 0;
    for (std::size_t i = 2; i < header; ++i) length = (length << 8U) | byte(i);
    EXPECT_GE(length, header == 4 ? 126U : 65536U);  // the shortest form is the only one allowed
  }
  EXPECT_EQ(header + length, written);
  frame.payload.assign(reinterpret_cast<const char*>(space.data()) + header, written - header);
  return frame;
}

std::string reference_escape(std::string_view text) {
  std::string out;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    switch (character) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (byte < 0x20) {
          std::array<char, 8> code{};
          std::snprintf(code.data(), code.size(), "\\u%04x", byte);
          out += code.data();
        } else {
          out += character;
        }
    }
  }
  return out;
}

using Escape = char* (*)(char* out, std::string_view text, bool& ascii) noexcept;

/// All ways to escape that this processor has.
std::vector<Escape> ways_to_escape() {
  std::vector<Escape> ways{&detail::JsonString::escape};
#if defined(__SSE2__)
  ways.push_back(&detail::JsonString::escape_by_copies);
  if (detail::JsonString::can_shuffle()) ways.push_back(&detail::JsonString::escape_by_shuffles);
#endif
  return ways;
}

/// What the escaping of a text comes to, in an allocation with not a byte more than promised, and read from one.
void expect_escaped(std::string_view text) {
  const std::vector<char> in(text.begin(), text.end());
  const std::string_view exact{in.data(), in.size()};
  const std::string expected = reference_escape(text);
  ASSERT_EQ(detail::JsonString::escaped_size(exact), expected.size());
  const bool all_ascii =
      std::all_of(text.begin(), text.end(), [](char character) { return static_cast<unsigned char>(character) < 128; });
  for (const Escape escape : ways_to_escape()) {
    std::vector<char> out(expected.size() + detail::JsonString::slack);
    bool ascii = true;
    const char* const end = escape(out.data(), exact, ascii);
    ASSERT_EQ(std::string_view(out.data(), static_cast<std::size_t>(end - out.data())), expected);
    ASSERT_EQ(ascii, all_ascii);
  }
}

#if defined(__unix__)
/// Memory behind which there is a page that nobody may touch.
class Guarded {
 public:
  explicit Guarded(std::size_t size) : page_(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE))) {
    size_ = (size + page_ - 1) / page_ * page_;
    begin_ = ::mmap(nullptr, size_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin_ == MAP_FAILED) throw std::bad_alloc();
    if (::mprotect(end(), page_, PROT_NONE) != 0) throw std::bad_alloc();
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { ::munmap(begin_, size_ + page_); }

  [[nodiscard]] char* end() const { return static_cast<char*>(begin_) + size_; }

 private:
  std::size_t page_;
  std::size_t size_ = 0;
  void* begin_ = nullptr;
};
#endif

std::string expected(std::string_view name, std::string_view channel, std::string_view data) {
  return R"({"event":")" + reference_escape(name) + R"(","channel":")" + std::string(channel) + R"(","data":")" +
         reference_escape(data) + R"("})";
}

TEST(FrameEncoder, WritesOneTextFrameOfTheProtocolsJson) {
  const Frame frame = encode({"lobby", "join", R"({"user":"ann"})"});
  EXPECT_EQ(frame.error, errc::ok);
  EXPECT_EQ(frame.first_byte, 0x81U);
  EXPECT_EQ(frame.payload, R"({"event":"join","channel":"lobby","data":"{\"user\":\"ann\"}"})");
}

TEST(FrameEncoder, DataIsAlwaysAString) {
  EXPECT_EQ(encode({"c", "e", ""}).payload, R"({"event":"e","channel":"c","data":""})");
  EXPECT_EQ(encode({"c", "e", "42"}).payload, R"({"event":"e","channel":"c","data":"42"})");
}

TEST(FrameEncoder, EveryLengthHasTheShortestHeader) {
  for (std::size_t length = 0; length < 400; ++length) {
    const std::string data(length, 'x');
    ASSERT_EQ(encode({"c", "e", data}).payload, expected("e", "c", data)) << length;
  }
  for (std::size_t length = 65'536 - 60; length < 65'536 + 20; ++length) {
    const std::string data(length, 'x');
    ASSERT_EQ(encode({"c", "e", data}).payload, expected("e", "c", data)) << length;
  }
}

TEST(FrameEncoder, EscapesEveryByteInEveryPlace) {
  for (int value = 0; value < 128; ++value) {
    for (std::size_t place = 0; place < 40; ++place) {
      std::string data(40, 'x');
      data[place] = static_cast<char>(value);
      const Frame frame = encode({"c", "e", data});
      ASSERT_EQ(frame.error, errc::ok);
      ASSERT_EQ(frame.payload, expected("e", "c", data)) << value << ' ' << place;
    }
  }
}

TEST(FrameEncoder, EscapesRandomText) {
  std::minstd_rand random(5);
  constexpr std::string_view letters = "abc\"\\\n\x01 \xc3\xa9";
  for (int round = 0; round < 2000; ++round) {
    std::string name;
    std::string data;
    for (std::size_t i = random() % 20; i > 0; --i) name += letters[random() % 8];
    for (std::size_t i = random() % 100; i > 0; --i) data += letters[random() % 8];
    name += "e";
    data += "\xc3\xa9";
    const Frame frame = encode({"c", name, data});
    ASSERT_EQ(frame.error, errc::ok);
    ASSERT_EQ(frame.payload, expected(name, "c", data));
  }
}

TEST(JsonString, EscapesEachByteInTextsOfEachLength) {
  std::string text;
  for (std::size_t length = 0; length <= 70; ++length) {
    ASSERT_NO_FATAL_FAILURE(expect_escaped(std::string(length, 'x')));
    for (std::size_t value = 0; value < 256; ++value) {
      for (const std::size_t place : {std::size_t{0}, length / 2, length - 1, value % (length + 1)}) {
        if (place >= length) continue;
        text.assign(length, 'x');
        text[place] = static_cast<char>(value);
        ASSERT_NO_FATAL_FAILURE(expect_escaped(text)) << length << ' ' << place << ' ' << value;
      }
    }
  }
}

/// Texts of bytes below `bytes`, of which one in `rare` is special.
struct TextKind {
  const char* name;
  unsigned bytes;
  unsigned rare;
};

class JsonStrings : public testing::TestWithParam<TextKind> {};

TEST_P(JsonStrings, AreEscapedAsTheRuleSays) {
  std::minstd_rand random(11);
  constexpr std::string_view specials = "\"\"\"\\\\\n\t\b\f\r\v\x01\x1f";
  std::string text;
  for (int round = 0; round < 4000; ++round) {
    // Now and then longer than what is counted at once.
    const std::size_t length = round % 100 == 0 ? 4000 + random() % 5000 : random() % 71;
    text.clear();
    while (text.size() < length) {
      text += random() % GetParam().rare == 0 ? specials[random() % specials.size()]
                                              : static_cast<char>(random() % GetParam().bytes);
    }
    ASSERT_NO_FATAL_FAILURE(expect_escaped(text)) << round;
  }
}

INSTANTIATE_TEST_SUITE_P(All, JsonStrings,
                         testing::Values(TextKind{"any", 256, 1000}, TextKind{"dense", 128, 2},
                                         TextKind{"special", 128, 1}, TextKind{"ascii", 128, 10}),
                         [](const auto& kind) { return std::string(kind.param.name); });

#if defined(__unix__)
TEST(JsonString, TouchesNothingBehindTheTextAndTheSlack) {
  const Guarded source(256);
  const Guarded target(2048);
  std::minstd_rand random(3);
  const std::vector<Escape> ways = ways_to_escape();
  for (std::size_t length = 0; length <= 200; ++length) {
    for (unsigned round = 0; round < 64; ++round) {
      // All texts end at the page's end, so the length is the alignment too; now and then they end earlier.
      const std::size_t distance = round % 4 == 0 ? random() % 17 : 0;
      char* const text = source.end() - length - distance;
      for (std::size_t i = 0; i < length; ++i) {
        const unsigned kind = random() % 8;
        text[i] = static_cast<char>(kind < round / 8 ? (kind % 2 == 0 ? '"' : '\\')
                                    : round % 8 == 7 ? random() % 256
                                                     : 'a' + random() % 26);
      }
      const std::string expected = reference_escape({text, length});
      for (const Escape escape : ways) {
        char* const out = target.end() - detail::JsonString::slack - expected.size();
        bool ascii = true;
        const char* const end = escape(out, {text, length}, ascii);
        ASSERT_EQ(std::string_view(out, static_cast<std::size_t>(end - out)), expected) << length << ' ' << round;
      }
      ASSERT_EQ(detail::JsonString::escaped_size({text, length}), expected.size());
    }
  }
}
#endif

TEST(JsonString, EscapesEachByteInLongerTexts) {
  std::string text;
  for (std::size_t length = 71; length <= 200; ++length) {
    for (std::size_t value = 0; value < 256; ++value) {
      text.assign(length, value % 2 == 0 ? 'x' : '"');
      text[(value * 31 + length) % length] = static_cast<char>(value);
      ASSERT_NO_FATAL_FAILURE(expect_escaped(text)) << length << ' ' << value;
    }
  }
}

TEST(JsonString, GrowsByAsMuchAsItMay) {
  for (const std::size_t length : {4079U, 4080U, 4081U, 8160U, 70'000U}) {
    ASSERT_NO_FATAL_FAILURE(expect_escaped(std::string(length, '"')));
    ASSERT_NO_FATAL_FAILURE(expect_escaped(std::string(length, '\x01')));
    ASSERT_NO_FATAL_FAILURE(expect_escaped(std::string(length, '\n')));
  }
}

TEST(FrameEncoder, TheSenderIsNamedOnPresenceChannels) {
  const MessageOrigin origin{.user_id = "7\"", .socket_id = "1.2"};
  EXPECT_EQ(encode({"presence-c", "e", "d", &origin}).payload,
            R"({"event":"e","channel":"presence-c","data":"d","user_id":"7\""})");
  EXPECT_EQ(encode({"private-c", "e", "d", &origin}).payload, R"({"event":"e","channel":"private-c","data":"d"})");
}

TEST(FrameEncoder, FramesSayTheirNamesAndIds) {
  const FrameEncoder encoder;
  for (const std::size_t size : {0U, 20U, 50U, 51U, 52U, 70U, 80U, 1000U, 65'400U, 65'450U, 65'500U, 70'000U}) {
    for (const std::string_view name : {"e", "with \"quotes\" and \\", "\\", "tab\tand \xc3\xa9"}) {
      for (const std::uint64_t epoch : {std::uint64_t{0}, std::uint64_t{36}, ~std::uint64_t{0}}) {
        const std::string data(size, '"');
        const MessageOrigin from{.user_id = R"(","id":"1-00000000001)"};
        const MessageParts parts{.channel = "presence-x", .name = name, .data = data, .origin = &from, .epoch = epoch};
        std::vector<std::byte> out(encoder.bound(parts));
        std::size_t written = 0;
        ASSERT_EQ(encoder.encode(parts, out, written), errc::ok);
        if (epoch != 0) encoder.number(std::span(out).first(written), 123);
        const std::string_view frame(reinterpret_cast<const char*>(out.data()), written);
        std::string escaped(2 * name.size() + detail::JsonString::slack, ' ');
        bool ascii = true;
        escaped.resize(
            static_cast<std::size_t>(detail::JsonString::escape(escaped.data(), name, ascii) - escaped.data()));
        EXPECT_EQ(FrameEncoder::name_in(frame), escaped) << size;
        const auto id = epoch == 0 ? std::optional<EventId>{} : EventId{epoch, 123};
        EXPECT_EQ(FrameEncoder::id_in(frame), id) << size;
      }
    }
  }
  for (const std::string_view other :
       {"", "\x81", "\x81\x02hi", "\x81\x09{\"event\":", "\x81\x0b{\"event\":\"a\\\"", "\"}"}) {
    EXPECT_EQ(FrameEncoder::name_in(other), "");
    EXPECT_EQ(FrameEncoder::id_in(other), std::nullopt);
  }
}

TEST(FrameEncoder, RefusesWhatIsNotUtf8) {
  for (const std::string_view bad :
       {"\x80", "\xff", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
        "\xe2\x82", "\xf0\x9f\x98", "a\xc3(", "0123456789abcdef\xff",
        "\xff"
        "0123456789abcdef"}) {
    EXPECT_EQ(encode({"c", "e", bad}).error, errc::not_utf8) << bad;
    EXPECT_EQ(encode({"c", bad, "d"}).error, errc::not_utf8) << bad;
    const MessageOrigin origin{.user_id = bad};
    EXPECT_EQ(encode({"presence-c", "e", "d", &origin}).error, errc::not_utf8) << bad;
  }
  for (const std::string_view good : {"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                      "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "gr\xc3\xbc\xc3\x9f"}) {
    EXPECT_EQ(encode({"c", "e", good}).error, errc::ok);
  }
}

TEST(FrameEncoder, GivesARegistryItsFrames) {
  const FrameEncoder encoder;
  ChannelRegistry<> channels{{.encoder = &encoder}};
  WireQueue queue;
  const Subscription subscription = channels.attach("lobby", queue);
  EXPECT_EQ(channels.trigger("lobby", "e", "d").delivered, 1U);
  EXPECT_EQ(channels.trigger("lobby", "e", "\xff").error, errc::not_utf8);
  ASSERT_EQ(queue.frames().size(), 1U);
  EXPECT_EQ(queue.frames()[0].substr(2), R"({"event":"e","channel":"lobby","data":"d"})");
}

}  // namespace
}  // namespace fanfare::test
