#include <fanfare/websocket/receiver.hpp>

#include "support/websocket.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::string_literals;
using websocket::FeedResult;
using websocket::MessageLimits;
using websocket::Opcode;
using websocket::ProcessorPool;
using websocket::Receiver;

constexpr std::string_view euro = "\xE2\x82\xAC";

static_assert(sizeof(Receiver) <= 16);
static_assert(std::is_nothrow_default_constructible_v<Receiver> && std::is_nothrow_move_constructible_v<Receiver> &&
              std::is_nothrow_move_assignable_v<Receiver> && !std::is_copy_constructible_v<Receiver>);

/// The least that takes messages.
struct Exemplar {
  bool on_text(std::string_view) noexcept { return true; }
  bool on_binary(std::string_view) noexcept { return true; }
  bool on_ping(std::string_view) noexcept { return true; }
  bool on_pong(std::string_view) noexcept { return true; }
  void on_close(std::uint16_t, std::string_view) noexcept {}
};
static_assert(websocket::MessageHandler<Exemplar>);
struct WithoutPong : Exemplar {
  bool on_pong() noexcept;
};
struct MayThrow : Exemplar {
  bool on_text(std::string_view);
};
static_assert(!websocket::MessageHandler<WithoutPong> && !websocket::MessageHandler<MayThrow> &&
              !websocket::MessageHandler<const Exemplar>);

class ReceiverTest : public ::testing::Test {
 protected:
  ~ReceiverTest() override { EXPECT_EQ(pool_.attached(), 0U); }

  /// The outcome at once, byte by byte, and in every two pieces (of long streams, some), which must be the same.
  Outcome outcome(const std::string& stream) {
    const Outcome result = receive(pool_, stream);
    EXPECT_EQ(receive_bytewise(pool_, stream), result);
    const std::size_t step = stream.size() / 100 + 1;
    for (std::size_t at = 1; at < stream.size(); at += step) {
      EXPECT_EQ(receive(pool_, stream, [&](std::size_t left) { return left == stream.size() ? at : left; }), result)
          << "in two at " << at;
    }
    return result;
  }
  Outcome fails(std::uint16_t code, Events before = {}) { return {std::move(before), code}; }
  Outcome gives(Events events) { return {std::move(events), 0}; }

  ProcessorPool pool_;
};

TEST_F(ReceiverTest, ExamplesOfTheRfc) {  // §5.7
  EXPECT_EQ(outcome("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"s), gives({"text:Hello"}));
  EXPECT_EQ(outcome("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"s), gives({"pong:Hello"}));
  EXPECT_EQ(outcome("\x81\x05Hello"s), fails(1002));  // unmasked is for servers
  EXPECT_EQ(outcome(fragments(1, {"Hel", "lo"})), gives({"text:Hello"}));
}

TEST_F(ReceiverTest, EveryKindOfMessageArrives) {
  EXPECT_EQ(outcome(text_frame("") + client_frame(0x82, "\x00\xFF"s) + ping_frame("p") + client_frame(0x8A, "") +
                    text_frame(euro) + close_frame(4001, "bye")),
            gives({"text:", "binary:\x00\xFF"s, "ping:p", "pong:", "text:" + std::string(euro), "close 4001:bye"}));
}

TEST_F(ReceiverTest, LengthsOfEveryForm) {
  for (const std::size_t size :
       {0U, 1U, 4U, 7U, 8U, 9U, 124U, 125U, 126U, 127U, 128U, 1000U, 65'534U, 65'535U, 65'536U}) {
    const std::string text(size, 'a');
    EXPECT_EQ(outcome(text_frame(text)), gives({"text:" + text})) << size;
  }
}

TEST_F(ReceiverTest, EveryKeyUnmasks) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string key(4, '\0');
    for (char& c : key) c = static_cast<char>(random());
    std::string payload(random() % 40, '\0');
    for (char& c : payload) c = static_cast<char>(random());
    EXPECT_EQ(outcome(client_frame(0x82, payload, key)), gives({"binary:" + payload}));
  }
}

TEST_F(ReceiverTest, FragmentsAreJoined) {
  EXPECT_EQ(outcome(fragments(1, {"a", "b", "", "c"})), gives({"text:abc"}));
  EXPECT_EQ(outcome(fragments(2, {"", "", ""})), gives({"binary:"}));
  EXPECT_EQ(outcome(fragments(1, {"a", "b"}) + fragments(2, {"c", "d"}) + text_frame("e")),
            gives({"text:ab", "binary:cd", "text:e"}));
  EXPECT_EQ(outcome(client_frame(0x01, std::string(300, 'a')) + client_frame(0x80, std::string(70'000 - 65'536, 'b'))),
            gives({"text:" + std::string(300, 'a') + std::string(70'000 - 65'536, 'b')}));
}

TEST_F(ReceiverTest, ControlFramesMayStandBetweenFragments) {
  EXPECT_EQ(outcome(client_frame(0x01, "a") + ping_frame("1") + client_frame(0x00, "b") + client_frame(0x8A, "2") +
                    ping_frame("") + client_frame(0x80, "c")),
            gives({"ping:1", "pong:2", "ping:", "text:abc"}));
  EXPECT_EQ(outcome(client_frame(0x01, "a") + close_frame(1000) + client_frame(0x80, "c")), gives({"close 1000:"}));
}

TEST_F(ReceiverTest, FramesOutOfOrderAreRefused) {
  EXPECT_EQ(outcome(client_frame(0x80, "a")), fails(1002));
  EXPECT_EQ(outcome(client_frame(0x00, "a")), fails(1002));
  EXPECT_EQ(outcome(text_frame("a") + client_frame(0x80, "b")), fails(1002, {"text:a"}));
  EXPECT_EQ(outcome(client_frame(0x01, "a") + text_frame("b")), fails(1002));
  EXPECT_EQ(outcome(client_frame(0x01, "a") + client_frame(0x02, "b")), fails(1002));
}

TEST_F(ReceiverTest, EveryFirstByteIsJudged) {
  for (unsigned first = 0; first <= 0xFF; ++first) {
    const unsigned opcode = first & 0x0FU;
    const bool whole = (first & 0x80U) != 0;
    const bool reserved = (first & 0x70U) != 0 || (opcode > 2 && opcode < 8) || opcode > 10;
    const bool wrong = reserved || opcode == 0 || (opcode >= 8 && !whole);
    const Outcome result = outcome(client_frame(first, ""));
    EXPECT_EQ(result.failure, wrong ? 1002 : 0) << first;
    EXPECT_EQ(result.events.size(), !wrong && whole ? 1U : 0U) << first;
  }
}

TEST_F(ReceiverTest, UnmaskedFramesAreRefused) {
  for (const unsigned first : {0x81U, 0x82U, 0x88U, 0x89U, 0x8AU, 0x01U}) {
    for (const std::uint64_t size : {0U, 1U, 125U, 126U, 70'000U}) {
      EXPECT_EQ(outcome(frame_header(first, false, size) + std::string(10, 'a')), fails(1002)) << first << ' ' << size;
    }
  }
}

TEST_F(ReceiverTest, ControlFramesAreShort) {
  for (const unsigned first : {0x88U, 0x89U, 0x8AU}) {
    const std::string longest = first == 0x88U ? "\x03\xE8"s + std::string(123, 'a') : std::string(125, 'a');
    EXPECT_EQ(outcome(client_frame(first, longest)).events.size(), 1U);
    EXPECT_EQ(outcome(client_frame(first, std::string(126, 'a'))), fails(1002));
    EXPECT_EQ(outcome(frame_header(first, true, 70'000)), fails(1002));
    EXPECT_EQ(outcome(client_frame(first, "", default_key, 2)), fails(1002));
  }
}

TEST_F(ReceiverTest, LengthsInTooManyBytesAreRefused) {
  for (const std::size_t size : {0U, 5U, 125U}) {
    EXPECT_EQ(outcome(client_frame(0x81, std::string(size, 'a'), default_key, 2)), fails(1002)) << size;
    EXPECT_EQ(outcome(client_frame(0x81, std::string(size, 'a'), default_key, 8)), fails(1002)) << size;
  }
  EXPECT_EQ(outcome(client_frame(0x81, std::string(126, 'a'), default_key, 8)), fails(1002));
  EXPECT_EQ(outcome(client_frame(0x81, std::string(65'535, 'a'), default_key, 8)), fails(1002));
}

TEST_F(ReceiverTest, LongMessagesAreRefusedByTheirHeader) {
  for (const std::uint64_t size : {std::uint64_t{65'537}, std::uint64_t{1} << 32U, std::uint64_t{1} << 62U,
                                   std::uint64_t{1} << 63U, std::numeric_limits<std::uint64_t>::max()}) {
    EXPECT_EQ(outcome(frame_header(0x81, true, size) + "keys"), fails(1009)) << size;
    EXPECT_EQ(outcome(client_frame(0x01, "0123456789") + frame_header(0x80, true, size) + "keys"), fails(1009)) << size;
  }
  // Added to what is there already, this is 5 again.
  EXPECT_EQ(outcome(client_frame(0x02, "0123456789") +
                    frame_header(0x80, true, std::numeric_limits<std::uint64_t>::max() - 4) + "keys" +
                    std::string(1'000, 'a')),
            fails(1009));
}

TEST(ReceiverLimits, BytesAreThoseOfTheMessage) {
  ProcessorPool pool({10, 100});
  for (const unsigned opcode : {1U, 2U}) {
    const std::string kind = opcode == 1 ? "text:" : "binary:";
    const auto outcome = [&](const std::string& stream) {
      const Outcome result = receive(pool, stream);
      EXPECT_EQ(receive_bytewise(pool, stream), result);
      return result;
    };
    EXPECT_EQ(outcome(client_frame(0x80 | opcode, "0123456789")), (Outcome{{kind + "0123456789"}, 0}));
    EXPECT_EQ(outcome(client_frame(0x80 | opcode, "0123456789a")), (Outcome{{}, 1009}));
    EXPECT_EQ(outcome(fragments(opcode, {"01234", "56789"})), (Outcome{{kind + "0123456789"}, 0}));
    EXPECT_EQ(outcome(fragments(opcode, {"0123456789", "", ""})), (Outcome{{kind + "0123456789"}, 0}));
    EXPECT_EQ(outcome(fragments(opcode, {"01234", "56789a"})), (Outcome{{}, 1009}));
    EXPECT_EQ(outcome(fragments(opcode, {"0123456789", "a"})), (Outcome{{}, 1009}));
    // The next message begins anew; control frames are not part of it.
    EXPECT_EQ(outcome(fragments(opcode, {"01234", "56789"}) + client_frame(0x80 | opcode, "0123456789")).failure, 0);
    EXPECT_EQ(outcome(client_frame(opcode, "01234") + ping_frame("0123456789ab") + client_frame(0x80, "56789")),
              (Outcome{{"ping:0123456789ab", kind + "0123456789"}, 0}));
  }
  EXPECT_EQ(receive(pool, frame_header(0x81, true, 11) + "keys"), (Outcome{{}, 1009}));
}

TEST(ReceiverLimits, NothingIsAllowedToo) {
  ProcessorPool pool({0, 1});
  EXPECT_EQ(receive(pool, text_frame("") + ping_frame("a")), (Outcome{{"text:", "ping:a"}, 0}));
  EXPECT_EQ(receive(pool, text_frame("a")), (Outcome{{}, 1009}));
}

TEST(ReceiverLimits, MoreThanThereIsMemoryFor) {
  ProcessorPool pool({std::numeric_limits<std::size_t>::max(), std::numeric_limits<std::size_t>::max()});
  EXPECT_EQ(receive(pool, text_frame("a") + client_frame(0x01, "b") +
                              frame_header(0x80, true, std::numeric_limits<std::uint64_t>::max()) + "keys"),
            (Outcome{{"text:a"}, 1009}));
  // This adds up, but no string is as long.
  const std::uint64_t half = std::uint64_t{1} << (std::numeric_limits<std::size_t>::digits - 1U);
  EXPECT_EQ(receive(pool, client_frame(0x02, "b") + frame_header(0x80, true, half) + "keys"), (Outcome{{}, 1011}));
}

TEST(ReceiverLimits, FramesOfAMessage) {
  ProcessorPool pool({100, 3});
  EXPECT_EQ(receive(pool, fragments(1, {"a", "b", "c"})), (Outcome{{"text:abc"}, 0}));
  EXPECT_EQ(receive(pool, fragments(1, {"a", "b", "c", "d"})), (Outcome{{}, 1009}));
  EXPECT_EQ(receive_bytewise(pool, fragments(1, {"", "", "", ""})), (Outcome{{}, 1009}));
  EXPECT_EQ(receive(pool, fragments(1, {"a", "b", "c"}) + fragments(1, {"a", "b", "c"}) + text_frame("d")),
            (Outcome{{"text:abc", "text:abc", "text:d"}, 0}));
  std::string with_pings = client_frame(0x01, "a");
  for (int i = 0; i < 10; ++i) with_pings += ping_frame("");
  EXPECT_EQ(receive(pool, with_pings + client_frame(0x80, "b")).events.back(), "text:ab");
  ProcessorPool one({100, 1});
  EXPECT_EQ(receive(one, text_frame("a")), (Outcome{{"text:a"}, 0}));
  EXPECT_EQ(receive_bytewise(one, text_frame("a")), (Outcome{{"text:a"}, 0}));
  EXPECT_EQ(receive(one, fragments(1, {"a", "b"})), (Outcome{{}, 1009}));
}

TEST_F(ReceiverTest, TextIsUtf8) {
  for (const std::string& text : {"\xC3\xA9"s, "\xE2\x82\xAC"s, "\xF0\x9F\x98\x80"s, "\xF4\x8F\xBF\xBF"s,
                                  "\xEF\xBF\xBF"s, "0123456\xC3\xA9"s, "\x00"s}) {
    EXPECT_EQ(outcome(text_frame(text)), gives({"text:" + text}));
    EXPECT_EQ(outcome(fragments(1, {text, ""})), gives({"text:" + text}));
  }
  for (const std::string& text :
       {"\x80"s, "\xC3"s, "\xC0\x80"s, "\xE2\x82"s, "\xE0\x80\x80"s, "\xED\xA0\x80"s, "\xF4\x90\x80\x80"s,
        "\xF5\x80\x80\x80"s, "\xFF"s, "\xFE"s, "01234567\xFF"s, "0123456789\xE2\x82"s, "\xC3\x28"s}) {
    EXPECT_EQ(outcome(text_frame(text)), fails(1007));
    EXPECT_EQ(outcome(fragments(1, {text, ""})), fails(1007));
    EXPECT_EQ(outcome(fragments(1, {"", text})), fails(1007));
    EXPECT_EQ(outcome(fragments(1, {"a", text, "b"})), fails(1007));
    EXPECT_EQ(outcome(client_frame(0x82, text)), gives({"binary:" + text}));
  }
}

TEST(ReceiverUtf8, IsTheValidatorsJudgement) {
  std::mt19937 random(3);
  static constexpr std::array<std::string_view, 9> pieces{
      "aaaaaaaa", "a",   "bbb", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "aaaaaaaaaaaaaaaaaaaa",
      "\xE2\x82", "\xA9"};
  std::size_t valid = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string text;
    for (std::size_t n = random() % 8; n > 0; --n) text += pieces[random() % (random() % 4 == 0 ? pieces.size() : 7)];
    if (random() % 8 == 0 && !text.empty()) text[random() % text.size()] = static_cast<char>(random());
    const bool expected = websocketpp::utf8_validator::validate(text);
    ASSERT_EQ(websocket::detail::is_utf8(text), expected) << i;
    valid += expected ? 1 : 0;
  }
  EXPECT_GT(valid, 10'000U);
  EXPECT_LT(valid, 45'000U);
}

TEST_F(ReceiverTest, CharactersMayCrossFragments) {
  const std::string text =
      "a\xC3\xA9"
      "b\xE2\x82\xAC"
      "c\xF0\x9F\x98\x80";
  for (std::size_t first = 0; first <= text.size(); ++first) {
    for (std::size_t second = first; second <= text.size(); ++second) {
      const std::string_view view = text;
      const std::string stream = client_frame(0x01, view.substr(0, first)) +
                                 client_frame(0x00, view.substr(first, second - first)) + ping_frame("") +
                                 client_frame(0x80, view.substr(second));
      EXPECT_EQ(receive(pool_, stream), gives({"ping:", "text:" + text})) << first << ' ' << second;
      EXPECT_EQ(receive_bytewise(pool_, stream), gives({"ping:", "text:" + text})) << first << ' ' << second;
    }
  }
}

TEST_F(ReceiverTest, InvalidTextFailsBeforeItsEnd) {
  const std::string frame = text_frame("\xFF" + std::string(1'000, 'a'));
  EXPECT_EQ(outcome(frame.substr(0, 9)), fails(1007));  // the header and one byte
  EXPECT_EQ(outcome(frame.substr(0, 8)), gives({}));
  EXPECT_EQ(outcome(client_frame(0x01, "\xE2\x82") + client_frame(0x00, "a")), fails(1007));
  EXPECT_EQ(outcome(client_frame(0x01, "\xE2\x82") + client_frame(0x00, "")), gives({}));
}

TEST_F(ReceiverTest, CloseFramesAreJudged) {
  EXPECT_EQ(outcome(client_frame(0x88, "")), gives({"close 1005:"}));
  EXPECT_EQ(outcome(client_frame(0x88, "\x03")), fails(1002));
  for (unsigned code = 0; code <= 0xFFFF; code += code < 5'100 ? 1 : 997) {
    const Outcome expected = websocket::is_close_code(static_cast<std::uint16_t>(code))
                                 ? gives({"close " + std::to_string(code) + ":"})
                                 : fails(1002);
    EXPECT_EQ(receive(pool_, close_frame(code)), expected);
    EXPECT_EQ(receive_bytewise(pool_, close_frame(code)), expected);
  }
  EXPECT_EQ(outcome(close_frame(1000, euro)), gives({"close 1000:" + std::string(euro)}));
  EXPECT_EQ(outcome(close_frame(1000, euro.substr(0, 2))), fails(1007));
  EXPECT_EQ(outcome(close_frame(1000, "\xFF")), fails(1007));
  EXPECT_EQ(outcome(close_frame(1005, "\xFF")), fails(1002));
}

TEST_F(ReceiverTest, NothingCountsBehindAClose) {
  EXPECT_EQ(outcome(close_frame(1000) + text_frame("late") + "rubbish"), gives({"close 1000:"}));
  Receiver receiver;
  EventLog log;
  std::string bytes = text_frame("a");
  EXPECT_FALSE(receiver.closed());
  receiver.feed(pool_, bytes.data(), bytes.size(), log);
  EXPECT_FALSE(receiver.closed());
  bytes = close_frame(1000);
  EXPECT_EQ(receiver.feed(pool_, bytes.data(), bytes.size(), log), (FeedResult{bytes.size(), 0}));
  EXPECT_TRUE(receiver.closed());
  bytes = text_frame("b");
  EXPECT_EQ(receiver.feed(pool_, bytes.data(), bytes.size(), log), (FeedResult{bytes.size(), 0}));
  EXPECT_EQ(log.events, (Events{"text:a", "close 1000:"}));
  EXPECT_EQ(bytes, text_frame("b"));
}

TEST_F(ReceiverTest, AFailureStays) {
  Receiver receiver;
  EventLog log;
  std::string bytes = text_frame("a") + text_frame("\xFF") + text_frame("b");
  EXPECT_EQ(receiver.failure(), 0);
  EXPECT_EQ(receiver.feed(pool_, bytes.data(), bytes.size(), log), (FeedResult{bytes.size(), 1007}));
  EXPECT_EQ(receiver.failure(), 1007);
  EXPECT_FALSE(receiver.incomplete());
  bytes = text_frame("c");
  EXPECT_EQ(receiver.feed(pool_, bytes.data(), bytes.size(), log), (FeedResult{bytes.size(), 1007}));
  EXPECT_EQ(receiver.feed(pool_, bytes.data(), 0, log), (FeedResult{0, 1007}));
  EXPECT_EQ(log.events, (Events{"text:a"}));
}

TEST_F(ReceiverTest, AHandlerMayStop) {
  const std::string stream =
      text_frame("a") + fragments(1, {"b", "c"}) + ping_frame("d") + client_frame(0x8A, "e") + client_frame(0x82, "f");
  const Events all{"text:a", "text:bc", "ping:d", "pong:e", "binary:f"};
  for (const std::size_t piece : {stream.size(), std::size_t{1}, std::size_t{5}}) {
    Receiver receiver;
    EventLog log;
    log.go_on = [](const std::string&) { return false; };
    std::string left = stream;
    Events seen;
    while (!left.empty()) {
      const std::size_t size = std::min(piece, left.size());
      const std::string before = left;
      const FeedResult result = receiver.feed(pool_, left.data(), size, log);
      EXPECT_EQ(result.failure, 0);
      EXPECT_LE(result.used, size);
      EXPECT_LE(log.events.size(), 1U);
      EXPECT_TRUE(!log.events.empty() || result.used == size);
      EXPECT_EQ(left.substr(result.used), before.substr(result.used));  // untouched
      seen.insert(seen.end(), log.events.begin(), log.events.end());
      log.events.clear();
      left.erase(0, result.used);
    }
    EXPECT_EQ(seen, all);
  }
}

TEST_F(ReceiverTest, NothingFedIsNothing) {
  Receiver receiver;
  EventLog log;
  EXPECT_EQ(receiver.feed(pool_, nullptr, 0, log), (FeedResult{0, 0}));
  std::string half = text_frame("ab").substr(0, 3);
  receiver.feed(pool_, half.data(), half.size(), log);
  EXPECT_EQ(receiver.feed(pool_, nullptr, 0, log), (FeedResult{0, 0}));
  EXPECT_TRUE(receiver.incomplete());
}

TEST_F(ReceiverTest, AProcessorIsAttachedWhileInputIsIncomplete) {
  Receiver receiver;
  EventLog log;
  const auto feed = [&](std::string bytes) {
    receiver.feed(pool_, bytes.data(), bytes.size(), log);
    EXPECT_EQ(receiver.incomplete(), pool_.attached() == 1);
    return pool_.attached();
  };
  EXPECT_EQ(feed(text_frame("a") + ping_frame("")), 0U);
  EXPECT_EQ(pool_.kept(), 0U);  // so far, none was needed
  EXPECT_EQ(feed(text_frame("abc").substr(0, 1)), 1U);
  EXPECT_EQ(feed(text_frame("abc").substr(1, 1)), 1U);
  EXPECT_EQ(feed(text_frame("abc").substr(2)), 0U);
  EXPECT_EQ(feed(client_frame(0x01, "a")), 1U);
  EXPECT_EQ(feed(ping_frame("p")), 1U);  // complete, but the text is not
  EXPECT_EQ(feed(client_frame(0x00, "b")), 1U);
  EXPECT_EQ(feed(client_frame(0x80, "c")), 0U);
  EXPECT_EQ(feed(text_frame(std::string(65'536, 'a'))), 0U);
  EXPECT_EQ(feed(text_frame("a") + text_frame("b").substr(0, 6)), 1U);
  EXPECT_EQ(feed(text_frame("b").substr(6) + text_frame("c") + "\x81"), 1U);
  EXPECT_EQ(feed("\x05"), 0U);  // a failure needs none
  EXPECT_EQ(log.events.size(), 9U);
  EXPECT_EQ(receiver.failure(), 1002);
}

TEST_F(ReceiverTest, WhatIsAnnouncedIsNotBelieved) {
  // 64 KiB are announced and one byte comes; what is held is far less.
  std::string begin = client_frame(0x82, std::string(65'536, 'a')).substr(0, 15);
  ProcessorPool pool;
  websocket::detail::MessageMaker<websocket::detail::ProcessorConfig::message_type> maker;
  const auto message = maker.get_message(websocketpp::frame::opcode::binary, 65'536);
  EXPECT_LE(message->get_payload().capacity(), 2'048U);
  Receiver receiver;
  EventLog log;
  EXPECT_EQ(receiver.feed(pool, begin.data(), begin.size(), log).failure, 0);
}

// ---- many random streams

/// Random frames: mostly right, sometimes wrong.
class Streams {
 public:
  explicit Streams(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  bool one_in(std::size_t n) { return below(n) == 0; }

  std::string key() {
    std::string key(4, '\0');
    for (char& c : key) c = static_cast<char>(random_());
    return key;
  }
  std::string text() {
    static constexpr std::array<std::string_view, 8> characters{
        "a", "b", "\"", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "{}", "0123456789"};
    const std::size_t sizes[]{4, 20, 130, 300};
    std::string text;
    const bool ascii = one_in(2);
    for (std::size_t i = below(sizes[below(4)]); i > 0; --i)
      text += characters[ascii ? below(3) : below(characters.size())];
    return text;
  }
  std::string frame(unsigned first, std::string_view payload) { return client_frame(first, payload, key()); }

  /// A message that breaks no rule.
  std::string message(Events& expected) {
    switch (below(6)) {
      case 0: {
        const std::string bytes = text().substr(0, 125);
        expected.push_back("ping:" + bytes);
        return frame(0x89, bytes);
      }
      case 1: {
        const std::string bytes = text();
        const std::size_t cut = below(bytes.size() + 1);
        expected.push_back("binary:" + bytes);
        return frame(0x02, bytes.substr(0, cut)) + frame(0x80, bytes.substr(cut));
      }
      case 2: {
        const std::string bytes = text();
        const std::size_t first = below(bytes.size() + 1);
        const std::size_t second = first + below(bytes.size() - first + 1);
        expected.push_back("pong:x");
        expected.push_back("text:" + bytes);
        return frame(0x01, bytes.substr(0, first)) + frame(0x8A, "x") +
               frame(0x00, bytes.substr(first, second - first)) + frame(0x80, bytes.substr(second));
      }
      default: {
        const std::string bytes = text();
        expected.push_back("text:" + bytes);
        return frame(0x81, bytes);
      }
    }
  }

  /// A frame that may break any rule.
  std::string any_frame() {
    static constexpr std::array<unsigned, 16> firsts{0x81, 0x81, 0x81, 0x81, 0x81, 0x82, 0x01, 0x02,
                                                     0x00, 0x00, 0x80, 0x80, 0x89, 0x8A, 0x88, 0x01};
    unsigned first = firsts[below(firsts.size())];
    if (one_in(60)) first = static_cast<unsigned>(below(256));
    std::string payload = text();
    if (first >= 0x88) payload = payload.substr(0, 125);
    if (first == 0x88 && !one_in(10)) payload = ("\x03\xE8" + payload).substr(0, 125);
    if (one_in(40) && !payload.empty()) payload[below(payload.size())] = static_cast<char>(random_());
    if (one_in(40)) payload = payload.substr(0, below(payload.size() + 1));
    const std::size_t length_bytes = one_in(60) ? std::array<std::size_t, 2>{2, 8}[below(2)] : 0;
    std::string frame = client_frame(first, payload, key(), length_bytes);
    if (one_in(80)) frame[below(frame.size())] = static_cast<char>(random_());
    return frame;
  }

  std::string any_stream() {
    std::string stream;
    Events unused;
    for (std::size_t frames = 1 + below(12); frames > 0; --frames) stream += one_in(3) ? any_frame() : message(unused);
    if (one_in(3)) stream.resize(below(stream.size() + 1));
    return stream;
  }

 private:
  std::mt19937 random_;
};

TEST_F(ReceiverTest, TenThousandRandomMessagesArrive) {
  Streams streams(7);
  Receiver receiver;
  EventLog log;
  Events expected;
  std::string stream;
  for (int i = 0; i < 10'000; ++i) stream += streams.message(expected);
  for (std::size_t at = 0; at < stream.size();) {
    const std::size_t size = std::min(stream.size() - at, 1 + streams.below(streams.one_in(2) ? 10 : 2'000));
    ASSERT_EQ(receiver.feed(pool_, stream.data() + at, size, log), (FeedResult{size, 0}));
    at += size;
  }
  EXPECT_EQ(log.events, expected);
  EXPECT_GE(expected.size(), 10'000U);
}

TEST(ReceiverProperty, AgreesWithThePlainProcessorHoweverItIsCut) {
  Streams streams(11);
  std::size_t failed = 0;
  std::size_t messages = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::size_t limit = streams.one_in(2) ? 100 : 65'536;
    ProcessorPool pool({limit, 1'000}, 1);
    const std::string stream = streams.any_stream();
    const Outcome expected = PlainProcessor(limit).receive(stream);
    ASSERT_EQ(receive(pool, stream), expected) << i;
    ASSERT_EQ(receive_bytewise(pool, stream), expected) << i;
    for (int cut = 0; cut < 3; ++cut) {
      ASSERT_EQ(receive(pool, stream, [&](std::size_t left) { return 1 + streams.below(left); }), expected) << i;
    }
    failed += expected.failure != 0 ? 1 : 0;
    messages += expected.events.size();
  }
  // The streams are worth something.
  EXPECT_GT(failed, 5'000U);
  EXPECT_LT(failed, 18'000U);
  EXPECT_GT(messages, 20'000U);
}

TEST(ReceiverProperty, AgreesWithThePlainProcessorOnRubbish) {
  std::mt19937 random(13);
  for (int i = 0; i < 20'000; ++i) {
    std::string stream(1 + random() % 40, '\0');
    for (char& c : stream) c = static_cast<char>(random());
    stream[0] = static_cast<char>(0x80U | (random() % 11));
    if (stream.size() > 1) stream[1] = static_cast<char>(0x80U | (random() % 30));
    ProcessorPool pool({1'000, 1'000}, 1);
    const Outcome expected = PlainProcessor(1'000).receive(stream);
    ASSERT_EQ(receive(pool, stream), expected) << i;
    ASSERT_EQ(receive_bytewise(pool, stream), expected) << i;
  }
}

}  // namespace
}  // namespace fanfare::test
