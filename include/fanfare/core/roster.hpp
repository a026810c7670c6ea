/// \file
/// Who is present in a channel.
#pragma once

#include <fanfare/detail/config.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// A user who is present. Never changes.
struct Member {
  std::string user_id;
  std::string user_info;    ///< JSON; `null` where the application gave none.
  bool numeric_id = false;  ///< Whether the id goes out as a number; see `AppOptions::preserve_user_id_type`.

  friend bool operator==(const Member&, const Member&) = default;
};
/// A member that a roster shares with whoever reads it; never null in one.
using MemberPtr = std::shared_ptr<const Member>;

/// The members of one channel: a user counts once, whatever the number of its connections. What the first of them said of
/// the user stands until the last has gone.
///
/// Thread safety: like an `int`.
class Roster {
 public:
  /// What came of a wish to enter: the user was not there, was there already, or finds no room.
  enum class Entry { first, again, full };

  /// Counts a connection of a user in.
  /// \param member   replaced by the user's entry if there is one.
  /// \param most     how many users there may be.
  /// \throws         `std::bad_alloc`; nothing is changed then. \complexity O(1).
  Entry enter(MemberPtr& member, std::size_t most) {
    if (const auto known = members_.find(member->user_id); known != members_.end()) {
      ++known->second.connections;
      member = known->second.member;
      return Entry::again;
    }
    if (members_.size() >= most) return Entry::full;
    members_.emplace(member->user_id, Present{member, 1});
    return Entry::first;
  }

  /// Counts one out. \pre it was counted in. \returns whether it was the user's last. \complexity O(1).
  bool leave(std::string_view user_id) noexcept {
    const auto known = members_.find(user_id);
    FANFARE_ASSERT(known != members_.end(), "a member leaves that never came");
    if (--known->second.connections != 0) return false;
    members_.erase(known);
    return true;
  }

  /// How many users are present.
  [[nodiscard]] std::size_t size() const noexcept { return members_.size(); }
  /// Whether the user is present. \complexity O(1).
  [[nodiscard]] bool contains(std::string_view user_id) const noexcept { return members_.contains(user_id); }

  /// All of them, in no order. \throws `std::bad_alloc`. \complexity O(members).
  [[nodiscard]] std::vector<MemberPtr> members() const {
    std::vector<MemberPtr> all;
    all.reserve(members_.size());
    for (const auto& [id, present] : members_) all.push_back(present.member);
    return all;
  }

 private:
  struct Present {
    MemberPtr member;
    std::size_t connections;
  };

  std::unordered_map<std::string_view, Present> members_;  // the names are the members' own
};

FANFARE_NAMESPACE_END
