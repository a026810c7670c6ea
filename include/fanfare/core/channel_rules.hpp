/// \file
/// Which channels keep what, and what becomes of their slow subscribers, chosen by name or pattern.
#pragma once

#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// What becomes of a connection that does not take what it is sent, when more waits for it than may.
enum class SlowConsumer : std::uint8_t {
  close,        ///< It is closed with a code that means "come back".
  drop_oldest,  ///< Its oldest unsent events of the channel are dropped.
  drop_newest,  ///< New events of the channel are dropped.
  conflate,     ///< Of its unsent events of the channel the latest of each name stays; beyond that, as `drop_oldest`.
};

/// The enumerator's own name, as it is written in configurations.
[[nodiscard]] constexpr std::string_view to_string(SlowConsumer overflow) noexcept {
  switch (overflow) {
    case SlowConsumer::close: return "close";
    case SlowConsumer::drop_oldest: return "drop_oldest";
    case SlowConsumer::drop_newest: return "drop_newest";
    case SlowConsumer::conflate: return "conflate";
  }
  return "unknown";
}

/// The enumerator of that name; nothing if there is none.
[[nodiscard]] constexpr std::optional<SlowConsumer> slow_consumer_from(std::string_view name) noexcept {
  for (const SlowConsumer overflow :
       {SlowConsumer::close, SlowConsumer::drop_oldest, SlowConsumer::drop_newest, SlowConsumer::conflate}) {
    if (name == to_string(overflow)) return overflow;
  }
  return std::nullopt;
}

/// How much a channel remembers of its events: an event is forgotten as soon as one of the three says so.
struct HistoryRule {
  static constexpr std::size_t max_count = std::size_t{1} << 20U;
  static constexpr std::chrono::seconds max_age = std::chrono::hours{24 * 366};

  std::size_t count = 100;        ///< Events; 1 to `max_count`.
  std::chrono::seconds age{600};  ///< 1 s to `max_age`.
  std::size_t bytes = 1U << 20U;  ///< Of all events together, as `kept_bytes` counts them; at least 1.

  friend bool operator==(const HistoryRule&, const HistoryRule&) = default;
};

/// What holds for the channels that a name or pattern matches. A rule that says nothing is good for exempting channels
/// from the rules behind it.
struct ChannelRule {
  /// A channel's name, or a pattern: `*` stands for any run of characters, the empty one included, `?` for one. Neither
  /// stands for the `#` of the protocol's own channels. As long as a channel's name may be.
  std::string match{};
  bool retain = false;                          ///< Whether the latest event of each name is kept.
  std::optional<HistoryRule> history{};         ///< Whether the last events are kept, and how many.
  SlowConsumer overflow = SlowConsumer::close;  ///< What becomes of who reads too slowly.
  /// Beyond how many subscribers no more clients are let in; those of this program count, but come in all the same. 0: no
  /// bound.
  std::size_t max_subscribers = 0;

  /// Whether events are kept, rather than just what becomes of them and of those who come.
  [[nodiscard]] bool keeps_events() const noexcept { return retain || history.has_value(); }

  friend bool operator==(const ChannelRule&, const ChannelRule&) = default;
};

/// Why rules are refused.
enum class RuleError : std::uint8_t {
  ok,
  too_many_rules,     ///< More than `ChannelRules::max_rules`.
  empty_match,        ///< The match is empty.
  match_too_long,     ///< It is longer than a channel's name may be.
  bad_character,      ///< It holds a character that no channel's name may have.
  reserved_name,      ///< It begins with `#`, but not with `#server-to-user-` and something behind it.
  duplicate_match,    ///< An earlier rule has the same match, so this one would never apply.
  bad_history_count,  ///< 0, or more than `HistoryRule::max_count`.
  bad_history_age,    ///< Less than a second, or more than `HistoryRule::max_age`.
  bad_history_bytes,  ///< 0.
  /// What is conflated has holes by design, and a history is there to have none.
  conflate_with_history,
};

/// One English sentence without a full stop.
[[nodiscard]] constexpr std::string_view message(RuleError error) noexcept {
  switch (error) {
    case RuleError::ok: return "no error";
    case RuleError::too_many_rules: return "there are too many rules";
    case RuleError::empty_match: return "the match is empty";
    case RuleError::match_too_long: return "the match is longer than a channel name may be";
    case RuleError::bad_character: return "the match holds a character that no channel name may have";
    case RuleError::reserved_name: return "the match begins with # but not with #server-to-user- and an id or pattern";
    case RuleError::duplicate_match: return "an earlier rule has the same match";
    case RuleError::bad_history_count: return "the history's count is not between 1 and 1048576";
    case RuleError::bad_history_age: return "the history's age is not between 1 second and 366 days";
    case RuleError::bad_history_bytes: return "the history's bytes are 0";
    case RuleError::conflate_with_history: return "a channel with a history cannot be conflated";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(RuleError error) noexcept {
  switch (error) {
    case RuleError::ok: return "ok";
    case RuleError::too_many_rules: return "too_many_rules";
    case RuleError::empty_match: return "empty_match";
    case RuleError::match_too_long: return "match_too_long";
    case RuleError::bad_character: return "bad_character";
    case RuleError::reserved_name: return "reserved_name";
    case RuleError::duplicate_match: return "duplicate_match";
    case RuleError::bad_history_count: return "bad_history_count";
    case RuleError::bad_history_age: return "bad_history_age";
    case RuleError::bad_history_bytes: return "bad_history_bytes";
    case RuleError::conflate_with_history: return "conflate_with_history";
  }
  return "unknown";
}

/// What is wrong with a list of rules, and with which of them.
struct RuleProblem {
  RuleError error = RuleError::ok;
  std::size_t rule = 0;  ///< Its index. With `too_many_rules`, the first that is too many.

  /// Whether there is a problem.
  [[nodiscard]] explicit operator bool() const noexcept { return error != RuleError::ok; }
  friend bool operator==(const RuleProblem&, const RuleProblem&) = default;
};

namespace detail {

/// Whether a pattern with `*` and `?` matches all of a text. It goes back to the last `*` alone: an earlier one that
/// took more could match nothing that this one cannot.
/// \complexity O(pattern × text) at worst, mostly O(pattern + text); constant memory.
[[nodiscard]] constexpr bool glob_matches(std::string_view pattern, std::string_view text) noexcept {
  constexpr std::size_t none = std::string_view::npos;
  std::size_t at = 0;
  std::size_t star = none;
  std::size_t resume = 0;  // where what follows the star is tried next
  for (std::size_t i = 0; i < text.size();) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      resume = i;
    } else if (at < pattern.size() && (pattern[at] == '?' || pattern[at] == text[i])) {
      ++at;
      ++i;
    } else if (star != none) {
      at = star + 1;
      i = ++resume;
    } else {
      return false;
    }
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

}  // namespace detail

/// The rules of an application, ready to be searched.
///
/// Exact names lie in a hash table. Patterns are grouped by what stands before their first `*` or `?`, and a search
/// looks only at the groups whose prefix the channel's name begins with.
///
/// Thread safety: never changes; `find` from any thread.
class ChannelRules {
 public:
  static constexpr std::size_t max_rules = 1000;

  ChannelRules() = default;
  /// Rules that are refused are left out, all of them: see `problem`.
  /// \param name_limit   bytes that a channel's name may have.
  /// \throws             `std::bad_alloc`. \complexity O(n log n).
  explicit ChannelRules(std::vector<ChannelRule> rules, std::size_t name_limit = Limits{}.channel_name)
      : problem_(check(rules, name_limit)) {
    if (problem_) return;
    rules_ = std::move(rules);
    build();
  }
  ChannelRules(ChannelRules&&) = default;
  ChannelRules& operator=(ChannelRules&&) = default;
  ChannelRules(const ChannelRules&) = delete;  // what is compiled refers to the rules
  ChannelRules& operator=(const ChannelRules&) = delete;
  ~ChannelRules() = default;

  /// What is wrong with a list of rules: of the first that is refused. \throws `std::bad_alloc`.
  [[nodiscard]] static RuleProblem check(std::span<const ChannelRule> rules,
                                         std::size_t name_limit = Limits{}.channel_name) {
    if (rules.size() > max_rules) return {RuleError::too_many_rules, max_rules};
    std::unordered_set<std::string_view> seen;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const RuleError error = check(rules[i], name_limit);
      if (error != RuleError::ok) return {error, i};
      if (!seen.insert(rules[i].match).second) return {RuleError::duplicate_match, i};
    }
    return {};
  }

  /// What was wrong with the rules that this was to be made of; if anything was, there are none.
  [[nodiscard]] RuleProblem problem() const noexcept { return problem_; }

  /// The first rule that matches a channel; null if there is none.
  /// \complexity O(length · log n), and one match for each pattern whose prefix the name begins with. No allocation.
  [[nodiscard]] const ChannelRule* find(std::string_view channel) const noexcept {
    if (rules_.empty()) return nullptr;
    std::uint32_t best = none;
    if (!exact_.empty()) {
      if (const auto known = exact_.find(channel); known != exact_.end()) best = known->second;
    }
    // Every prefix of the name is found from the last group that sorts before it, or from those that are its prefixes.
    const auto behind =
        std::upper_bound(groups_.begin(), groups_.end(), channel,
                         [](std::string_view name, const Group& group) noexcept { return name < group.prefix; });
    std::uint32_t at = behind == groups_.begin() ? none : static_cast<std::uint32_t>(behind - groups_.begin() - 1);
    for (; at != none; at = groups_[at].parent) {
      const Group& group = groups_[at];
      if (channel.starts_with(group.prefix)) best = first_match(group, channel, best);
    }
    return best == none ? nullptr : &rules_[best];
  }

  /// Whether there are none.
  [[nodiscard]] bool empty() const noexcept { return rules_.empty(); }
  /// In the order in which they apply.
  [[nodiscard]] std::span<const ChannelRule> rules() const noexcept { return rules_; }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::string_view magic = "*?";

  struct Pattern {
    std::string_view text;
    std::string_view suffix;  // what stands behind the last `*` or `?`
    std::size_t shortest;     // characters of a name that it can match
    std::uint32_t rule;
  };
  /// Patterns with the same prefix, in the order of their rules.
  struct Group {
    std::string_view prefix;
    std::uint32_t parent;  // the group with the longest prefix of this prefix
    std::uint32_t begin;
    std::uint32_t end;
  };

  [[nodiscard]] static RuleError check(const ChannelRule& rule, std::size_t name_limit) {
    if (rule.match.size() > name_limit) return RuleError::match_too_long;
    std::string name = rule.match;
    std::replace_if(
        name.begin(), name.end(), [](char c) { return magic.find(c) != std::string_view::npos; }, '_');
    switch (ChannelName::check(name, name_limit)) {
      case errc::ok: break;
      case errc::empty_name: return RuleError::empty_match;
      case errc::name_too_long: return RuleError::match_too_long;
      case errc::reserved_name: return RuleError::reserved_name;
      default: return RuleError::bad_character;
    }
    if (rule.history) {
      const HistoryRule& history = *rule.history;
      if (history.count == 0 || history.count > HistoryRule::max_count) return RuleError::bad_history_count;
      if (history.age < std::chrono::seconds{1} || history.age > HistoryRule::max_age)
        return RuleError::bad_history_age;
      if (history.bytes == 0) return RuleError::bad_history_bytes;
      if (rule.overflow == SlowConsumer::conflate) return RuleError::conflate_with_history;
    }
    return RuleError::ok;
  }

  void build() {
    using Prefixed = std::pair<std::string_view, std::uint32_t>;
    std::vector<Prefixed> prefixed;
    for (std::uint32_t i = 0; i < rules_.size(); ++i) {
      const std::string_view match = rules_[i].match;
      const std::size_t first = match.find_first_of(magic);
      if (first == std::string_view::npos) {
        exact_.emplace(match, i);
      } else {
        prefixed.emplace_back(match.substr(0, first), i);
      }
    }
    std::sort(prefixed.begin(), prefixed.end());
    patterns_.reserve(prefixed.size());
    for (const auto& [prefix, rule] : prefixed) {
      if (groups_.empty() || groups_.back().prefix != prefix) {
        // The last group, or one of those that its prefix begins with: whatever else begins like this one sorts there.
        std::uint32_t parent = groups_.empty() ? none : static_cast<std::uint32_t>(groups_.size() - 1);
        while (parent != none && !prefix.starts_with(groups_[parent].prefix)) parent = groups_[parent].parent;
        const auto begin = static_cast<std::uint32_t>(patterns_.size());
        groups_.push_back({prefix, parent, begin, begin});
      }
      const std::string_view match = rules_[rule].match;
      const auto stars = static_cast<std::size_t>(std::count(match.begin(), match.end(), '*'));
      patterns_.push_back({match, match.substr(match.find_last_of(magic) + 1), match.size() - stars, rule});
      ++groups_.back().end;
    }
  }

  /// The first rule of a group that matches, or `best` if that comes before it.
  [[nodiscard]] std::uint32_t first_match(const Group& group, std::string_view channel,
                                          std::uint32_t best) const noexcept {
    // A pattern that begins with `*` or `?` does not reach the protocol's own channels.
    if (group.prefix.empty() && channel.starts_with('#')) return best;
    for (std::uint32_t i = group.begin; i < group.end && patterns_[i].rule < best; ++i) {
      const Pattern& pattern = patterns_[i];
      if (channel.size() >= pattern.shortest && channel.ends_with(pattern.suffix) &&
          detail::glob_matches(pattern.text, channel)) {
        return pattern.rule;
      }
    }
    return best;
  }

  RuleProblem problem_;
  std::vector<ChannelRule> rules_;
  // All of these refer to the rules' own text, which stays where it is when they are moved.
  std::unordered_map<std::string_view, std::uint32_t> exact_;
  std::vector<Pattern> patterns_;
  std::vector<Group> groups_;  // sorted by prefix
};

FANFARE_NAMESPACE_END
