#include <fanfare/store/history_store.hpp>

#include "support/store.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string_view>

namespace fanfare::test {
namespace {

using store::StoreError;

TEST(StoreErrors, HaveNamesAndSentencesOfTheirOwn) {
  std::set<std::string_view> names;
  std::set<std::string_view> sentences;
  for (int i = 0; i <= static_cast<int>(StoreError::stopped); ++i) {
    names.insert(to_string(static_cast<StoreError>(i)));
    sentences.insert(message(static_cast<StoreError>(i)));
  }
  EXPECT_EQ(names.size(), 10U);
  EXPECT_EQ(sentences.size(), 10U);
  EXPECT_FALSE(names.contains("unknown"));
}

struct NoStore {};
static_assert(!store::HistoryStore<NoStore>);

}  // namespace
}  // namespace fanfare::test
