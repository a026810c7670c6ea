#include <fanfare/detail/text.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace {

namespace text = fanfare::detail::text;

TEST(Text, ComparesWordsWithoutTheirCase) {
  EXPECT_TRUE(text::same_word("Content-Length", "content-lENGTH"));
  EXPECT_FALSE(text::same_word("a", "ab"));
  EXPECT_FALSE(text::same_word("[", "{")) << "32 apart, but no letters";
  EXPECT_FALSE(text::same_word("\xC4", "\xE4")) << "letters, but not of ASCII";
  EXPECT_TRUE(text::same_word("", ""));
}

TEST(Text, KnowsCharacters) {
  for (int i = 0; i < 256; ++i) {
    const char c = static_cast<char>(i);
    const bool digit = i >= '0' && i <= '9';
    const bool letter = (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
    EXPECT_EQ(text::is_alphanumeric(c), digit || letter) << i;
    EXPECT_EQ(text::is_control(c), (i < 32 && i != '\t') || i == 127) << i;
  }
  EXPECT_EQ(text::hex_value('0'), 0);
  EXPECT_EQ(text::hex_value('9'), 9);
  EXPECT_EQ(text::hex_value('a'), 10);
  EXPECT_EQ(text::hex_value('F'), 15);
  EXPECT_EQ(text::hex_value('g'), -1);
  EXPECT_EQ(text::hex_value('/'), -1);
}

TEST(Text, TrimsAndFindsTokens) {
  EXPECT_EQ(text::trim(" \t a b \t"), "a b");
  EXPECT_EQ(text::trim(" \t "), "");
  EXPECT_TRUE(text::has_token("keep-alive,\tUpgrade ", "upgrade"));
  EXPECT_TRUE(text::has_token("upgrade", "UPGRADE"));
  EXPECT_FALSE(text::has_token("upgrades, up grade", "upgrade"));
  EXPECT_FALSE(text::has_token("", "upgrade"));
}

TEST(Text, CutsBetweenCharacters) {
  // é € 😀: two, three and four bytes
  const std::string all = "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
  const std::string_view ends[] = {"", "", "\xC3\xA9", "\xC3\xA9", "\xC3\xA9", "\xC3\xA9\xE2\x82\xAC"};
  for (std::size_t most = 0; most < std::size(ends); ++most) EXPECT_EQ(text::cut_utf8(all, most), ends[most]) << most;
  EXPECT_EQ(text::cut_utf8(all, 8), "\xC3\xA9\xE2\x82\xAC");
  EXPECT_EQ(text::cut_utf8(all, 9), all);
  EXPECT_EQ(text::cut_utf8("\x80\x80", 1), "") << "not UTF-8";
  EXPECT_EQ(text::cut_utf8("", 0), "");
}

}  // namespace
