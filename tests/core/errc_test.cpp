#include <fanfare/core/errc.hpp>

#include "support/print.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

namespace fanfare::test {
namespace {

constexpr std::array all{errc::ok,
                         errc::empty_name,
                         errc::name_too_long,
                         errc::bad_character,
                         errc::reserved_name,
                         errc::event_too_long,
                         errc::data_too_large,
                         errc::too_many_channels,
                         errc::nested_too_deep,
                         errc::not_utf8,
                         errc::overloaded,
                         errc::closed,
                         errc::out_of_memory};

TEST(Errc, HasASentenceOfItsOwnForEveryValue) {
  std::set<std::string_view> texts;
  for (const errc error : all) {
    const std::string_view text = message(error);
    EXPECT_TRUE(texts.insert(text).second) << text;
    ASSERT_FALSE(text.empty());
    EXPECT_NE(text.back(), '.') << text;
    EXPECT_NE(text, "unknown error");
  }
}

TEST(Errc, HasANameOfItsOwnForEveryValue) {
  std::set<std::string_view> names;
  for (const errc error : all) {
    const std::string_view name = to_string(error);
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_NE(name, "unknown");
    for (const char character : name) EXPECT_TRUE(std::islower(character) != 0 || character == '_' || character == '8');
  }
  static_assert(to_string(errc::not_utf8) == "not_utf8");
  static_assert(message(errc::ok) == "no error");
}

TEST(Errc, PointsIntoTheDocumentation) {
  for (const errc error : all) {
    EXPECT_EQ(docs_anchor(error), "reference/errors.md#" + std::string(to_string(error)));
  }
}

TEST(Errc, ConvertsToAnErrorCode) {
  for (const errc error : all) {
    const std::error_code code = error;
    EXPECT_EQ(code.value(), static_cast<int>(error));
    EXPECT_EQ(&code.category(), &error_category());
    EXPECT_EQ(code.message(), message(error));
    EXPECT_EQ(static_cast<bool>(code), error != errc::ok);
    EXPECT_TRUE(code == error);
    EXPECT_TRUE(error == code);
    EXPECT_EQ(code, make_error_code(error));
  }
  EXPECT_FALSE(std::error_code{errc::closed} == errc::overloaded);
  EXPECT_TRUE(std::error_code{errc::closed} != errc::overloaded);
}

TEST(Errc, CategoryIsNamedFanfare) { EXPECT_STREQ(error_category().name(), "fanfare"); }

TEST(Errc, IsNoErrorOfAnotherCategoryWithTheSameNumber) {
  EXPECT_FALSE((std::error_code{static_cast<int>(errc::empty_name), std::generic_category()} == errc::empty_name));
}

TEST(Errc, ConditionMatchesACodeOfAnotherCopyOfTheCategory) {
  const ErrorCategory copy;
  const std::error_code code{static_cast<int>(errc::closed), copy};
  EXPECT_EQ(code, (std::error_condition{static_cast<int>(errc::closed), error_category()}));
  EXPECT_NE(code, (std::error_condition{static_cast<int>(errc::overloaded), error_category()}));
}

TEST(Errc, UnknownNumberHasATextToo) {
  EXPECT_EQ(message(static_cast<errc>(199)), "unknown error");
  EXPECT_EQ(to_string(static_cast<errc>(199)), "unknown");
  for (const int number : {-1, 199, 256, 256 + static_cast<int>(errc::closed), 999}) {
    EXPECT_EQ(error_category().message(number), "unknown error") << number;
  }
}

}  // namespace
}  // namespace fanfare::test
