#include <fanfare/core/channel_rules.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare {

void PrintTo(const RuleProblem& problem, std::ostream* out) {
  *out << to_string(problem.error) << " in rule " << problem.rule;
}

}  // namespace fanfare

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;

std::vector<ChannelRule> rules_of(const std::vector<std::string>& matches) {
  std::vector<ChannelRule> rules;
  for (const std::string& match : matches) rules.push_back({.match = match});
  return rules;
}
/// The match of the rule that is found; empty if there is none.
std::string found(const ChannelRules& rules, std::string_view channel) {
  const ChannelRule* const rule = rules.find(channel);
  return rule == nullptr ? "" : rule->match;
}

TEST(SlowConsumer, HasNamesThatAreReadBack) {
  for (const SlowConsumer overflow :
       {SlowConsumer::close, SlowConsumer::drop_oldest, SlowConsumer::drop_newest, SlowConsumer::conflate}) {
    EXPECT_EQ(slow_consumer_from(to_string(overflow)), overflow);
  }
  EXPECT_EQ(to_string(SlowConsumer::drop_oldest), "drop_oldest");
  EXPECT_EQ(to_string(static_cast<SlowConsumer>(99)), "unknown");
  for (const std::string_view other : {"", "Close", "close ", "drop", "unknown"}) {
    EXPECT_FALSE(slow_consumer_from(other)) << other;
  }
}

TEST(RuleError, HasNamesAndSentences) {
  for (int i = 0; i <= static_cast<int>(RuleError::conflate_with_history); ++i) {
    EXPECT_NE(to_string(static_cast<RuleError>(i)), "unknown") << i;
    EXPECT_NE(message(static_cast<RuleError>(i)), "unknown error") << i;
  }
  EXPECT_EQ(to_string(static_cast<RuleError>(99)), "unknown");
}

struct Match {
  std::string_view pattern;
  std::string_view text;
  bool matches;
};
class Globs : public ::testing::TestWithParam<Match> {};

TEST_P(Globs, MatchAllOfTheText) {
  EXPECT_EQ(detail::glob_matches(GetParam().pattern, GetParam().text), GetParam().matches);
}
INSTANTIATE_TEST_SUITE_P(
    Table, Globs,
    ::testing::Values(Match{"", "", true}, Match{"", "a", false}, Match{"a", "a", true}, Match{"a", "b", false},
                      Match{"a", "aa", false}, Match{"a", "", false}, Match{"*", "", true}, Match{"*", "abc", true},
                      Match{"**", "", true}, Match{"**", "a", true}, Match{"?", "", false}, Match{"?", "a", true},
                      Match{"?", "ab", false}, Match{"a*", "a", true}, Match{"a*", "abc", true},
                      Match{"a*", "ba", false}, Match{"*a", "a", true}, Match{"*a", "bca", true},
                      Match{"*a", "ab", false}, Match{"a*b", "ab", true}, Match{"a*b", "acb", true},
                      Match{"a*b", "abc", false}, Match{"a*b", "a", false}, Match{"a*b*c", "aXbYc", true},
                      Match{"a*b*c", "aXcYb", false}, Match{"a*b*c", "abbbcbc", true}, Match{"*ab*", "aab", true},
                      Match{"*aab", "aaaab", true}, Match{"?*", "", false}, Match{"?*?", "ab", true},
                      Match{"?*?", "a", false}, Match{"a?c", "abc", true}, Match{"a?c", "ac", false},
                      Match{"*?a*", "ba", true}, Match{"*?a*", "a", false}, Match{"[a]", "a", false},
                      Match{"\\*", "*", false}, Match{"a.c", "abc", false}));

TEST(Globs, AgreeWithTheDefinition) {
  struct Model {
    static bool matches(std::string_view pattern, std::string_view text) {
      if (pattern.empty()) return text.empty();
      if (pattern.front() == '*') {
        return matches(pattern.substr(1), text) || (!text.empty() && matches(pattern, text.substr(1)));
      }
      if (text.empty() || (pattern.front() != '?' && pattern.front() != text.front())) return false;
      return matches(pattern.substr(1), text.substr(1));
    }
  };
  std::mt19937 random(3);
  const auto any = [&](std::string_view characters, std::size_t longest) {
    std::string text;
    for (std::size_t size = random() % (longest + 1); size != 0; --size)
      text += characters[random() % characters.size()];
    return text;
  };
  int matched = 0;
  for (int i = 0; i < 50'000; ++i) {
    const std::string pattern = any("ab*?*", 7);
    const std::string text = any("ab", 9);
    const bool expected = Model::matches(pattern, text);
    matched += expected ? 1 : 0;
    ASSERT_EQ(detail::glob_matches(pattern, text), expected) << pattern << " on " << text;
  }
  EXPECT_GT(matched, 5'000);
}

TEST(Globs, DoNotExplode) {
  // Exponential for those who try every star again.
  std::string pattern;
  for (int i = 0; i < 80; ++i) pattern += "a*";
  pattern += 'b';
  EXPECT_FALSE(detail::glob_matches(pattern, std::string(200, 'a')));
}

TEST(ChannelRules, WithoutRulesFindNothing) {
  const ChannelRules rules;
  EXPECT_TRUE(rules.empty());
  EXPECT_EQ(rules.find("a"), nullptr);
  EXPECT_FALSE(rules.problem());
  const ChannelRules none{{}};
  EXPECT_EQ(none.find("a"), nullptr);
  EXPECT_FALSE(none.problem());
}

TEST(ChannelRules, AreFoundByNameAndByPattern) {
  const ChannelRules rules{rules_of({"lobby", "ROOM_*", "*-log", "a?c", "presence-*-vip"})};
  EXPECT_FALSE(rules.problem());
  EXPECT_EQ(found(rules, "lobby"), "lobby");
  EXPECT_EQ(found(rules, "lobby2"), "");
  EXPECT_EQ(found(rules, "lobb"), "");
  EXPECT_EQ(found(rules, "Lobby"), "");
  EXPECT_EQ(found(rules, "ROOM_"), "ROOM_*");
  EXPECT_EQ(found(rules, "ROOM_42"), "ROOM_*");
  EXPECT_EQ(found(rules, "ROOM"), "");
  EXPECT_EQ(found(rules, "a-log"), "*-log");
  EXPECT_EQ(found(rules, "-log"), "*-log");
  EXPECT_EQ(found(rules, "abc"), "a?c");
  EXPECT_EQ(found(rules, "abbc"), "");
  EXPECT_EQ(found(rules, "presence-x-vip"), "presence-*-vip");
  EXPECT_EQ(found(rules, ""), "");
}

TEST(ChannelRules, TheFirstThatMatchesWins) {
  EXPECT_EQ(found(ChannelRules{rules_of({"a-1", "a-*", "*"})}, "a-1"), "a-1");
  EXPECT_EQ(found(ChannelRules{rules_of({"a-*", "a-1", "*"})}, "a-1"), "a-*");
  EXPECT_EQ(found(ChannelRules{rules_of({"*", "a-*", "a-1"})}, "a-1"), "*");
  EXPECT_EQ(found(ChannelRules{rules_of({"a-?", "a*", "a-1*"})}, "a-1"), "a-?");
  EXPECT_EQ(found(ChannelRules{rules_of({"a-1*2", "a-*", "a*"})}, "a-1"), "a-*");
}

TEST(ChannelRules, GiveTheWholeRule) {
  std::vector<ChannelRule> list = rules_of({"x"});
  list.push_back({.match = "a*",
                  .retain = true,
                  .history = HistoryRule{.count = 5, .age = 7s, .bytes = 9},
                  .overflow = SlowConsumer::drop_newest});
  const ChannelRules rules{list};
  ASSERT_NE(rules.find("ab"), nullptr);
  EXPECT_EQ(*rules.find("ab"), list[1]);
  EXPECT_EQ(rules.rules().size(), 2U);
}

TEST(ChannelRules, PatternsLeaveTheProtocolsOwnChannelsAlone) {
  const ChannelRules rules{rules_of({"*", "?server-to-user-1", "??*"})};
  EXPECT_EQ(found(rules, "#server-to-user-1"), "");
  EXPECT_EQ(found(rules, "#user-1"), "");
  EXPECT_EQ(found(rules, "xserver-to-user-1"), "*");
  const ChannelRules named{rules_of({"*", "#server-to-user-7", "#server-to-user-a*"})};
  EXPECT_EQ(found(named, "#server-to-user-7"), "#server-to-user-7");
  EXPECT_EQ(found(named, "#server-to-user-abc"), "#server-to-user-a*");
  EXPECT_EQ(found(named, "#server-to-user-b"), "");
}

TEST(ChannelRules, CanBeMoved) {
  ChannelRules first{rules_of({"s", "short*", std::string(100, 'x') + "*"})};
  const ChannelRule* const rule = first.find("s");
  ChannelRules second{std::move(first)};
  EXPECT_EQ(second.find("s"), rule);
  EXPECT_EQ(found(second, "shorter"), "short*");
  EXPECT_EQ(first.find("s"), nullptr);  // NOLINT(bugprone-use-after-move): moved-from is empty
  ChannelRules third{rules_of({"other"})};
  third = std::move(second);
  EXPECT_EQ(found(third, "s"), "s");
  EXPECT_EQ(found(third, "other"), "");
  EXPECT_EQ(found(third, std::string(101, 'x')), std::string(100, 'x') + "*");
  static_assert(!std::is_copy_constructible_v<ChannelRules>);
}

struct Bad {
  ChannelRule rule;
  RuleError error;
};
class BadRules : public ::testing::TestWithParam<Bad> {};

TEST_P(BadRules, AreRefusedAsAWhole) {
  const std::vector<ChannelRule> list{{.match = "good"}, GetParam().rule};
  const ChannelRules rules{list};
  EXPECT_EQ(rules.problem(), (RuleProblem{GetParam().error, 1}));
  EXPECT_EQ(ChannelRules::check(list), rules.problem());
  EXPECT_TRUE(rules.empty());
  EXPECT_EQ(rules.find("good"), nullptr);
}
INSTANTIATE_TEST_SUITE_P(
    Table, BadRules,
    ::testing::Values(
        Bad{{.match = ""}, RuleError::empty_match}, Bad{{.match = std::string(165, 'a')}, RuleError::match_too_long},
        Bad{{.match = std::string(165, '*')}, RuleError::match_too_long},
        Bad{{.match = "a b"}, RuleError::bad_character}, Bad{{.match = "a:b"}, RuleError::bad_character},
        Bad{{.match = "a/*"}, RuleError::bad_character}, Bad{{.match = "[ab]"}, RuleError::bad_character},
        Bad{{.match = "a#"}, RuleError::bad_character}, Bad{{.match = std::string("a\0", 2)}, RuleError::bad_character},
        Bad{{.match = "\xc3\xa9"}, RuleError::bad_character}, Bad{{.match = "#"}, RuleError::reserved_name},
        Bad{{.match = "#*"}, RuleError::reserved_name}, Bad{{.match = "#user-1"}, RuleError::reserved_name},
        Bad{{.match = "#server-to-user-"}, RuleError::reserved_name},
        Bad{{.match = "#server-to-*"}, RuleError::reserved_name}, Bad{{.match = "good"}, RuleError::duplicate_match},
        Bad{{.match = "a", .history = HistoryRule{.count = 0}}, RuleError::bad_history_count},
        Bad{{.match = "a", .history = HistoryRule{.count = HistoryRule::max_count + 1}}, RuleError::bad_history_count},
        Bad{{.match = "a", .history = HistoryRule{.age = 0s}}, RuleError::bad_history_age},
        Bad{{.match = "a", .history = HistoryRule{.age = -1s}}, RuleError::bad_history_age},
        Bad{{.match = "a", .history = HistoryRule{.age = HistoryRule::max_age + 1s}}, RuleError::bad_history_age},
        Bad{{.match = "a", .history = HistoryRule{.bytes = 0}}, RuleError::bad_history_bytes},
        Bad{{.match = "a", .history = HistoryRule{}, .overflow = SlowConsumer::conflate},
            RuleError::conflate_with_history}));

TEST(ChannelRules, TakeWhatIsJustWithinTheBounds) {
  std::vector<ChannelRule> list = rules_of({std::string(164, 'a'), std::string(163, 'b') + "*", "a"});
  list.push_back({.match = "h", .history = HistoryRule{.count = HistoryRule::max_count, .age = HistoryRule::max_age}});
  list.push_back({.match = "i", .history = HistoryRule{.count = 1, .age = 1s, .bytes = 1}});
  list.push_back({.match = "c", .retain = true, .overflow = SlowConsumer::conflate});
  list.push_back({.match = "d", .history = HistoryRule{}, .overflow = SlowConsumer::drop_oldest});
  EXPECT_EQ(ChannelRules::check(list), RuleProblem{});
  EXPECT_EQ(ChannelRules::check(rules_of({std::string(165, 'a')}), 200), RuleProblem{});
  EXPECT_EQ(ChannelRules(rules_of({std::string(165, 'a')}), 200).problem(), RuleProblem{});
}

TEST(ChannelRules, AreAThousandAtMost) {
  std::vector<std::string> matches;
  for (int i = 0; i < 1000; ++i) matches.push_back("PREFIX_" + std::to_string(i) + "_*");
  const ChannelRules rules{rules_of(matches)};
  EXPECT_EQ(rules.problem(), RuleProblem{});
  for (int i = 0; i < 1000; ++i) {
    const std::string prefix = "PREFIX_" + std::to_string(i);
    ASSERT_EQ(found(rules, prefix + "_room"), prefix + "_*");
    ASSERT_EQ(found(rules, prefix), "");
  }
  EXPECT_EQ(found(rules, "PREFIX_1000_room"), "");
  matches.emplace_back("one more");
  EXPECT_EQ(ChannelRules::check(rules_of(matches)), (RuleProblem{RuleError::too_many_rules, 1000}));
}

TEST(ChannelRules, FindAPrefixBehindManyThatBeginWithIt) {
  // What sorts right before the name is none of its prefixes.
  const ChannelRules rules{rules_of({"a*", "ab*", "ab-1*", "ab-2*", "ab-2x*", "b*"})};
  EXPECT_EQ(found(rules, "ab-3"), "a*");
  const ChannelRules other{rules_of({"ab-1*", "ab-2x*", "ab-2*", "ab*", "a*"})};
  EXPECT_EQ(found(other, "ab-3"), "ab*");
  EXPECT_EQ(found(other, "ab-2y"), "ab-2*");
  EXPECT_EQ(found(other, "ab-2x"), "ab-2x*");
  EXPECT_EQ(found(other, "az"), "a*");
  EXPECT_EQ(found(other, "0"), "");
}

TEST(ChannelRules, AgreeWithTryingOneAfterTheOther) {
  std::mt19937 random(5);
  const auto any = [&](std::string_view characters, std::size_t longest) {
    std::string text(1, characters[random() % characters.size()]);
    for (std::size_t size = random() % longest; size != 0; --size) text += characters[random() % characters.size()];
    return text;
  };
  std::size_t hits = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<std::string> matches;
    const std::string_view characters = round % 2 == 0 ? "aab*" : "aabb-?*";
    for (std::size_t i = random() % 40; i != 0; --i) {
      std::string match = any(characters, 6);
      if (random() % 8 == 0) match = "#server-to-user-" + match;
      if (std::find(matches.begin(), matches.end(), match) == matches.end()) matches.push_back(std::move(match));
    }
    const ChannelRules rules{rules_of(matches)};
    ASSERT_EQ(rules.problem(), RuleProblem{});
    for (int i = 0; i < 200; ++i) {
      std::string channel = any("aab-", 7);
      if (random() % 8 == 0) channel = "#server-to-user-" + channel;
      std::string expected;
      for (const std::string& match : matches) {
        if (channel.front() == '#' && match.front() != '#') continue;
        if (!detail::glob_matches(match, channel)) continue;
        expected = match;
        break;
      }
      hits += expected.empty() ? 0 : 1;
      ASSERT_EQ(found(rules, channel), expected) << channel;
    }
  }
  EXPECT_GT(hits, 10'000U);
}

}  // namespace
}  // namespace fanfare::test
