/// \file
/// Answers to HTTP requests: where they come from, and how stores wake a loop that has some which wait for them.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/kept_log.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/http_api.hpp>
#include <fanfare/transport/door.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Answers requests that are neither a WebSocket nor the HTTP API's; with nothing, it is a 404.
using OnRequest = std::function<std::optional<http::Response>(const http::Request&)>;

/// The answer to a request that is no WebSocket: the HTTP API's, the host's, or a 404. What a callback throws is a 500.
/// \param wait   see `pusher::HttpApi`.
[[nodiscard]] inline http::Response respond(const pusher::HttpApi<pusher::AppList>& api, const OnRequest& on_request,
                                            const http::Request& request, pusher::Signer& signer,
                                            pusher::ApiWait& wait) {
  try {
    if (api.serves(request)) {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      return api(request, std::chrono::duration_cast<std::chrono::seconds>(now), signer, wait);
    }
    if (on_request != nullptr) {
      if (std::optional<http::Response> response = on_request(request)) return std::move(*response);
    }
    return http::text_response(404, "There is nothing at this path");
  } catch (...) {
    // A callback of the host, or exhausted memory; the event may have reached others.
    wait = {};
    return http::text_response(500, "The request could not be served");
  }
}

/// The answer to a request that has begun and did not go on; the last one of its connection.
[[nodiscard]] inline http::Response timeout_response() {
  http::Response response = http::text_response(408, "The request did not arrive in time");
  response.close = true;
  return response;
}

/// One bell for each store that answers of a loop wait for.
///
/// Thread safety: that of its loop. Stores ring from any thread, later than the loop's end too.
class Bells {
 public:
  /// \param door   what is woken; lives as long as this.
  explicit Bells(Door& door) noexcept : door_(door) {}
  Bells(const Bells&) = delete;
  Bells& operator=(const Bells&) = delete;
  ~Bells() { silence(); }

  /// Has the store wake the loop when something has become of what an answer waits for. One ring at a time is enough:
  /// all answers are looked at then. Without memory for it none comes.
  /// \throws `std::bad_alloc`.
  void ring_when_settled(const pusher::ApiWait& wait) {
    KeptLog* const log = wait.app->options().store.get();
    auto found = std::find_if(bells_.begin(), bells_.end(), [&](const auto& bell) { return bell->log == log; });
    if (found == bells_.end()) {
      found = bells_.insert(bells_.end(), std::make_shared<Bell>());
      (*found)->log = log;
      (*found)->door = &door_;
    }
    Bell& bell = **found;
    {
      const std::lock_guard lock(bell.mutex);
      if (std::exchange(bell.waits, true)) return;
    }
    try {
      log->when_settled(wait.ticket, [kept = *found] {
        const std::lock_guard lock(kept->mutex);
        kept->waits = false;
        if (kept->door != nullptr) kept->door->wake();
      });
    } catch (const std::bad_alloc&) {  // the next sweep looks again
      const std::lock_guard lock(bell.mutex);
      bell.waits = false;
    }
  }

  /// From here on nobody is woken.
  void silence() noexcept {
    for (const std::shared_ptr<Bell>& bell : bells_) {
      const std::lock_guard lock(bell->mutex);
      bell->door = nullptr;
    }
  }

 private:
  /// It may outlive the loop.
  struct Bell {
    KeptLog* log = nullptr;
    std::mutex mutex{};
    Door* door = nullptr;  // under the mutex; null: it has ended
    bool waits = false;    // under the mutex: it will be rung
  };

  Door& door_;
  std::vector<std::shared_ptr<Bell>> bells_;
};

}  // namespace transport
FANFARE_NAMESPACE_END
