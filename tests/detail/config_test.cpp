#include <fanfare/detail/config.hpp>

#include <fanfare/core/errc.hpp>

#include <gtest/gtest.h>

#include <string_view>
#include <type_traits>

namespace fanfare::test {
namespace {

#define FANFARE_TEST_QUOTE(name) #name
#define FANFARE_TEST_TEXT(name) FANFARE_TEST_QUOTE(name)
constexpr std::string_view abi = FANFARE_TEST_TEXT(FANFARE_ABI);
#undef FANFARE_TEST_TEXT
#undef FANFARE_TEST_QUOTE

TEST(Config, AbiNamespaceNamesAssertsAndExceptions) {
  EXPECT_EQ(abi, FANFARE_ASSERTS ? (FANFARE_EXCEPTIONS ? "v0_d" : "v0_d_n") : (FANFARE_EXCEPTIONS ? "v0" : "v0_n"));
}

TEST(Config, TypesAreInTheAbiNamespace) { static_assert(std::is_same_v<errc, fanfare::FANFARE_ABI::errc>); }

TEST(Config, ExceptionsAreThoseOfTheCompiler) {
#if defined(__cpp_exceptions)
  EXPECT_EQ(FANFARE_EXCEPTIONS, 1);
#else
  EXPECT_EQ(FANFARE_EXCEPTIONS, 0);
#endif
}

TEST(Config, AssertThatHoldsDoesNothing) {
  int evaluated = 0;
  FANFARE_ASSERT(++evaluated == 1, "counts");
  EXPECT_EQ(evaluated, FANFARE_ASSERTS);
  // An expression: it can stand where a statement without braces can.
  if (evaluated > 1)
    FANFARE_ASSERT(false, "not reached");
  else
    SUCCEED();
}

#if FANFARE_ASSERTS && GTEST_HAS_DEATH_TEST
TEST(ConfigDeathTest, AssertThatDoesNotHoldSaysWhereAndWhat) {
  EXPECT_DEATH(FANFARE_ASSERT(1 > 2, "one is not more than two"), "config_test.cpp:[0-9]+: fanfare: one is not more");
}
#endif

}  // namespace
}  // namespace fanfare::test
