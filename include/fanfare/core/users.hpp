/// \file
/// Which users are there, over all of their connections.
#pragma once

#include <fanfare/detail/config.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// The users of an application who have signed in. One whose last connection ends is there for a while yet: a page that
/// reloads is no news.
///
/// Thread safety: any thread, concurrently. \progress locks a mutex, which is a leaf.
class Users {
 public:
  /// Of the times that it is given.
  using Clock = std::chrono::steady_clock;

  /// \param grace   how long a user without connections counts as there.
  explicit Users(Clock::duration grace = std::chrono::seconds(3)) noexcept : grace_(grace) {}

  /// Counts a connection in. \returns whether the user was not there before. \throws `std::bad_alloc`.
  bool sign_in(std::string_view user) {
    const std::lock_guard lock(mutex_);
    const auto known = users_.find(user);
    if (known != users_.end()) {
      ++known->second.connections;
      return false;
    }
    users_.emplace(std::string(user), User{1, 0});
    return true;
  }

  /// Counts one out. \pre it was counted in.
  void sign_out(std::string_view user, Clock::time_point now = Clock::now()) noexcept {
    const std::lock_guard lock(mutex_);
    const auto known = users_.find(user);
    FANFARE_ASSERT(known != users_.end() && known->second.connections != 0, "a user signs out who never came");
    if (--known->second.connections != 0) return;
    known->second.departure = ++departures_;
#if FANFARE_EXCEPTIONS
    try {
      leaving_.push_back({known->first, known->second.departure, now + grace_});
    } catch (...) {
      users_.erase(known);  // without memory to remember it the user is gone at once, and nobody is told
    }
#else
    leaving_.push_back({known->first, known->second.departure, now + grace_});
#endif
  }

  /// Forgets those who have been away for long enough. \returns who they are. \throws `std::bad_alloc`.
  std::vector<std::string> departed(Clock::time_point now = Clock::now()) {
    std::vector<std::string> gone;
    const std::lock_guard lock(mutex_);
    while (!leaving_.empty() && leaving_.front().until <= now) {
      const auto known = users_.find(leaving_.front().user);
      // Not one who has come back, or has come back and left again.
      if (known != users_.end() && known->second.connections == 0 &&
          known->second.departure == leaving_.front().departure) {
        gone.push_back(leaving_.front().user);
        users_.erase(known);
      }
      leaving_.pop_front();
    }
    return gone;
  }

  /// Whether a user is there.
  [[nodiscard]] bool online(std::string_view user) const {
    const std::lock_guard lock(mutex_);
    return users_.find(user) != users_.end();
  }
  /// How many are.
  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return users_.size();
  }

 private:
  struct User {
    std::size_t connections;
    std::size_t departure;  // the last one, if there are no connections
  };
  struct Leaving {
    std::string user;
    std::size_t departure;
    Clock::time_point until;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view user) const noexcept { return std::hash<std::string_view>{}(user); }
  };

  const Clock::duration grace_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, User, Hash, std::equal_to<>> users_;
  std::deque<Leaving> leaving_;  // in the order of their time
  std::size_t departures_ = 0;
};

FANFARE_NAMESPACE_END
