/// \file
/// Where the applications are that clients and backends name.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <concepts>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// Finds applications.
///
/// | expression | type | meaning | thread |
/// |---|---|---|---|
/// | `d.find_by_id(text)` | `App*` | the application that the HTTP API names so; null: there is none | any, concurrently |
/// | `d.find_by_key(text)` | `App*` | the one that clients name so by a key; null: there is none | any, concurrently |
///
/// `text` is a `std::string_view` of a stranger's bytes. An application that was found stays until what asked for it is
/// done: the HTTP API's answer is returned, the client's session has ended.
template <class D>
concept AppDirectory = requires(D& directory, std::string_view text) {
  { directory.find_by_id(text) } -> std::same_as<App*>;
  { directory.find_by_key(text) } -> std::same_as<App*>;
};

/// A few applications that are all there before anybody asks for one.
///
/// \ownership  of the applications: they end with the list.
/// Thread safety: finding from any thread, concurrently; `add` alone.
class AppList {
 public:
  /// Makes an application. Of the options only the id and the keys are looked at.
  /// \returns     null where its id or one of its keys is another application's already, or it has a key twice; nothing is
  ///              changed then.
  /// \complexity  O(applications) for each key.
  App* add(AppOptions options) {
    if (find_by_id(options.id) != nullptr || find_by_key(options.key) != nullptr) return nullptr;
    for (auto more = options.more_keys.begin(); more != options.more_keys.end(); ++more) {
      const auto same = [&](const AppKey& other) { return other.key == more->key; };
      const bool twice = more->key == options.key || std::any_of(options.more_keys.begin(), more, same);
      if (twice || find_by_key(more->key) != nullptr) return nullptr;
    }
    return apps_.emplace_back(std::make_unique<App>(std::move(options))).get();
  }

  /// Calls `f(App&)` for each.
  template <std::invocable<App&> F>
  void for_each(F&& f) const {
    for (const auto& app : apps_) f(*app);
  }

  /// \complexity  O(applications).
  [[nodiscard]] App* find_by_id(std::string_view id) const noexcept {
    for (const auto& app : apps_) {
      if (app->id() == id) return app.get();
    }
    return nullptr;
  }
  /// \complexity  O(applications).
  [[nodiscard]] App* find_by_key(std::string_view key) const noexcept {
    for (const auto& app : apps_) {
      if (app->secret_of(key) != nullptr) return app.get();
    }
    return nullptr;
  }

 private:
  std::vector<std::unique_ptr<App>> apps_;
};
static_assert(AppDirectory<AppList>);

}  // namespace pusher
FANFARE_NAMESPACE_END
