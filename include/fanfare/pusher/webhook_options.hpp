/// \file
/// What webhooks an application sends.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/detail/config.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

using Milliseconds = std::chrono::milliseconds;

/// Where webhooks go.
struct WebhookTarget {
  std::string url{};                     ///< `http://` or `https://`; see `WebhookUrl`.
  std::vector<AppEvent::Kind> events{};  ///< What it is told of; empty: of everything.
};

/// What webhooks an application sends. The defaults are those of hosted Pusher where it documents one.
struct WebhookOptions {
  std::vector<WebhookTarget> targets{};  ///< 1 to 16. They are independent: each has a queue and retries of its own.
  bool batch = true;                     ///< Whether a request may hold several events; otherwise each holds one.
  bool allow_private_targets = false;    ///< Whether targets may have addresses for which `is_public` is false.
  Milliseconds debounce{3000};     ///< How long `channel_vacated` and `member_removed` wait for being undone; 0: not.
  Milliseconds batch_delay{50};    ///< How long an event waits for others to share its request; only with `batch`.
  Milliseconds retry_first{1000};  ///< After the first failure; doubles with each further one. At least 1 ms.
  Milliseconds retry_for{300000};  ///< A request that fails so long after its first attempt is dropped.
  std::size_t max_in_flight = 4;   ///< Requests to one target at one time, 1 to 64.
  std::size_t max_queue_events = std::size_t{1} << 17U;  ///< That wait or are under way, for one target; at least 1.
  std::size_t max_queue_bytes = std::size_t{32} << 20U;  ///< Of these events; at least 1.
  /// Of a body. One event that is larger goes alone; `Limits::data` bounds it.
  std::size_t max_body_bytes = std::size_t{64} << 10U;
};

}  // namespace pusher
FANFARE_NAMESPACE_END
