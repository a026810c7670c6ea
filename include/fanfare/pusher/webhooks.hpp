/// \file
/// Webhooks of an application as a machine without I/O, clock or thread: events in, signed HTTP requests out, and when to
/// try them again. Needs OpenSSL's libcrypto.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/wire.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/webhook_options.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// Why webhooks cannot be set up.
enum class WebhookErrc : std::uint8_t {
  ok = 0,
  no_target,         ///< `targets` is empty.
  too_many_targets,  ///< There are more than 16.
  bad_url,           ///< A URL is none that webhooks go to; see `WebhookUrl::parse`.
  bad_option,        ///< A number or a time is out of its range; times are at most a day.
  bad_key,           ///< The key is empty or has other characters than visible ASCII, or the secret is empty.
  tls,               ///< The CA certificates cannot be loaded, and a target is `https`.
};

/// One English sentence without a full stop.
[[nodiscard]] constexpr std::string_view message(WebhookErrc error) noexcept {
  switch (error) {
    case WebhookErrc::ok: return "no error";
    case WebhookErrc::no_target: return "there is no target";
    case WebhookErrc::too_many_targets: return "there may be at most 16 targets";
    case WebhookErrc::bad_url: return "a target must be an http or https URL without user, password and fragment";
    case WebhookErrc::bad_option: return "a number or a time is out of its range";
    case WebhookErrc::bad_key: return "the key must be visible ASCII, and neither it nor the secret may be empty";
    case WebhookErrc::tls: return "the CA certificates cannot be loaded";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(WebhookErrc error) noexcept {
  switch (error) {
    case WebhookErrc::ok: return "ok";
    case WebhookErrc::no_target: return "no_target";
    case WebhookErrc::too_many_targets: return "too_many_targets";
    case WebhookErrc::bad_url: return "bad_url";
    case WebhookErrc::bad_option: return "bad_option";
    case WebhookErrc::bad_key: return "bad_key";
    case WebhookErrc::tls: return "tls";
  }
  return "unknown";
}

/// A target's URL in its parts.
struct WebhookUrl {
  bool https = false;
  std::string host;        ///< A name in lower case, or an address; that of IPv6 without brackets.
  std::uint16_t port = 0;  ///< What the URL says, or the scheme's own.
  std::string authority;   ///< For the field Host: the port stands there only where it is not the scheme's own.
  std::string target;      ///< Path and query; begins with `/`.

  friend bool operator==(const WebhookUrl&, const WebhookUrl&) = default;

  /// Reads a URL of at most 2048 bytes (RFC 3986 §3, RFC 9110 §4.2).
  ///
  /// \returns     nothing where it is not `http` or `https`, has user information or a fragment, or holds anything that
  ///              is not visible ASCII. Names of hosts are letters, digits, `-`, `_` and single dots: others have to be
  ///              written as DNS has them (`xn--…`).
  /// \complexity  O(size).
  [[nodiscard]] static std::optional<WebhookUrl> parse(std::string_view text) {
    const auto visible = [](char c) { return c > 0x20 && c < 0x7f; };
    if (text.size() > 2048 || !std::all_of(text.begin(), text.end(), visible)) return std::nullopt;
    if (text.find('#') != std::string_view::npos) return std::nullopt;
    const std::size_t colon = text.find("://");
    if (colon == std::string_view::npos) return std::nullopt;
    WebhookUrl url;
    url.https = http::detail::same_word(text.substr(0, colon), "https");
    if (!url.https && !http::detail::same_word(text.substr(0, colon), "http")) return std::nullopt;
    text.remove_prefix(colon + 3);

    const std::size_t end = std::min(text.find_first_of("/?"), text.size());
    std::string_view authority = text.substr(0, end);
    if (end == text.size() || text[end] == '?') url.target = "/";
    url.target += text.substr(end);

    const bool brackets = authority.starts_with('[');
    const std::size_t host_end =
        brackets ? authority.find(']') + 1 : std::min(authority.find(':'), authority.size());  // npos + 1 is 0
    const std::string_view host =
        brackets ? authority.substr(1, std::max<std::size_t>(host_end, 2) - 2) : authority.substr(0, host_end);
    if (brackets ? host_end == 0 || !is_ipv6(host) : !is_name(host)) return std::nullopt;
    const std::uint16_t own_port = url.https ? 443 : 80;
    url.port = own_port;
    if (host_end != authority.size() && !read_port(authority.substr(host_end), url.port)) return std::nullopt;
    for (const char c : host) url.host += http::detail::lower(c);
    url.authority = brackets ? '[' + url.host + ']' : url.host;
    if (url.port != own_port) url.authority += ':' + std::to_string(url.port);
    return url;
  }

 private:
  [[nodiscard]] static bool is_name(std::string_view host) noexcept {
    if (host.empty() || host.size() > 253 || host.starts_with('.') || host.ends_with('.')) return false;
    if (host.find("..") != std::string_view::npos) return false;
    return std::all_of(host.begin(), host.end(),
                       [](char c) { return http::detail::is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
  }
  /// Only its characters: who connects reads it.
  [[nodiscard]] static bool is_ipv6(std::string_view host) noexcept {
    return host.size() >= 2 && host.size() <= 45 && host.find(':') != std::string_view::npos &&
           std::all_of(host.begin(), host.end(),
                       [](char c) { return http::detail::hex_value(c) >= 0 || c == ':' || c == '.'; });
  }
  [[nodiscard]] static bool read_port(std::string_view text, std::uint16_t& port) noexcept {
    if (text.size() < 2 || text.front() != ':') return false;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + 1, end, port);
    return error == std::errc{} && stop == end && port != 0;
  }
};

/// Whether an IPv4 address is one of the public Internet: not this host's, of a private network, shared, link-local,
/// multicast, reserved, or for documentation and measurements (RFC 6890 and the IANA registry it set up).
[[nodiscard]] constexpr bool is_public(const std::array<unsigned char, 4>& address) noexcept {
  const unsigned a = address[0];
  const unsigned b = address[1];
  const unsigned c = address[2];
  if (a == 0 || a == 10 || a == 127 || a >= 224) return false;
  if (a == 100) return (b & 0xc0U) != 64;
  if (a == 169) return b != 254;
  if (a == 172) return (b & 0xf0U) != 16;
  if (a == 192) return b != 168 && !(b == 0 && (c == 0 || c == 2)) && !(b == 88 && c == 99);
  if (a == 198) return (b & 0xfeU) != 18 && !(b == 51 && c == 100);
  if (a == 203) return !(b == 0 && c == 113);
  return true;
}

/// Whether an IPv6 address is one of the public Internet: global unicast (RFC 4291 §2.4) that is assigned to networks. An
/// address that stands for one of IPv4 (`::ffff:0:0/96`, RFC 4291 §2.5.5.2; `64:ff9b::/96`, RFC 6052) is what that one
/// is; 6to4 and Teredo, which carry one too, are not public.
[[nodiscard]] constexpr bool is_public(const std::array<unsigned char, 16>& address) noexcept {
  const auto begins = [&](const std::array<unsigned char, 12>& prefix) {
    return std::equal(prefix.begin(), prefix.end(), address.begin());
  };
  if (begins({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}) || begins({0, 0x64, 0xff, 0x9b})) {
    return is_public(std::array<unsigned char, 4>{address[12], address[13], address[14], address[15]});
  }
  const unsigned first = static_cast<unsigned>(address[0]) << 8U | address[1];
  const unsigned second = static_cast<unsigned>(address[2]) << 8U | address[3];
  if ((first & 0xe000U) != 0x2000U || first == 0x2002) return false;
  if (first == 0x2001) return second >= 0x200 && second != 0xdb8;  // protocols' own, Teredo; documentation
  return first != 0x3fff || second >= 0x1000;                      // documentation
}

/// What became of an event that was added.
enum class WebhookAdd : std::uint8_t {
  taken,          ///< It waits: to be sent, or to be undone.
  undone,         ///< It has undone one that waited; neither is sent.
  unwanted,       ///< No target wants it, or its channel is one of the protocol's own.
  full,           ///< At least one target's queue was full: dropped there, and counted.
  not_utf8,       ///< JSON could not hold it: dropped and counted.
  out_of_memory,  ///< Dropped and counted.
};

/// How an attempt went.
enum class WebhookOutcome : std::uint8_t {
  delivered,    ///< The target answered with 2xx.
  refused,      ///< It answered with something else, redirects included.
  unreachable,  ///< It did not answer.
};

/// Numbers since the start. An event counts once for each target that wants it.
struct WebhookCounters {
  std::uint64_t delivered = 0;  ///< Events that a target has taken.
  std::uint64_t dropped = 0;    ///< Events that found no room, or whose time for retries was over.
  std::uint64_t failed = 0;     ///< Requests, each attempt, that were refused or got no answer.

  friend bool operator==(const WebhookCounters&, const WebhookCounters&) = default;
};

/// One attempt at a request: `POST` `body` with `headers` to the target.
struct WebhookDelivery {
  std::uint64_t id = 0;              ///< For `Webhooks::done`.
  std::size_t target = 0;            ///< Index in `WebhookOptions::targets`.
  unsigned attempt = 0;              ///< 1 for the first.
  std::string body;                  ///< To be sent byte for byte: it is signed.
  std::vector<http::Field> headers;  ///< X-Pusher-Key, X-Pusher-Signature and Content-Type.
};

namespace detail {

/// The queue of one target.
///
/// Every channel has its events in a line. Of a channel one request is under way at a time, or waits to be tried again,
/// and the line stands still meanwhile. `ready_` merges the lines that move, in the order in which events came. Steps
/// after the push of an event allocate nothing but the request they make, so none of them can lose events half-way.
class WebhookQueue {
 public:
  struct Text {
    std::shared_ptr<const std::string> json;
    std::size_t cost = 0;  ///< Of the memory that an event takes, about.
  };

  WebhookQueue(const WebhookOptions& options, std::uint8_t wanted) : options_(&options), wanted_(wanted) {
    flying_.reserve(options.max_in_flight);
  }

  [[nodiscard]] bool wants(AppEvent::Kind kind) const noexcept { return (wanted_ >> static_cast<unsigned>(kind)) & 1U; }
  [[nodiscard]] std::size_t size() const noexcept { return events_; }

  /// \returns false where there is no room. \throws `std::bad_alloc`, and nothing is changed.
  [[nodiscard]] bool push(const std::string& channel, const Text& text, std::uint64_t number, Milliseconds now) {
    if (events_ >= options_->max_queue_events || text.cost > options_->max_queue_bytes - bytes_) return false;
    std::list<Event> event;
    event.push_back({text, nullptr, number, now});
    auto known = channels_.find(channel);
    if (known == channels_.end()) {
      Ready place;
      place.emplace(number, nullptr);
      known = channels_.try_emplace(channel).first;
      known->second.place = place.extract(place.begin());
      known->second.place.mapped() = &*known;
    }
    Line& line = known->second;
    event.front().channel = &*known;
    line.waiting.splice(line.waiting.end(), event);
    if (line.taken == 0 && line.waiting.size() == 1) make_ready(line);
    ++events_;
    bytes_ += text.cost;
    return true;
  }

  /// When there is something to send; `Milliseconds::max()`: not before a push or `done`.
  [[nodiscard]] Milliseconds next_time() const noexcept {
    if (flying_.size() >= options_->max_in_flight) return Milliseconds::max();
    return std::min(retry_time(), fresh_time());
  }

  /// \throws `std::bad_alloc`; nothing is lost then.
  [[nodiscard]] std::optional<WebhookDelivery> next(Milliseconds now, Milliseconds wall, std::uint64_t& last_id) {
    if (next_time() > now) return std::nullopt;
    const bool fresh = fresh_time() < retry_time();
    const auto place = fresh ? gather(++last_id) : waiting_.begin();
    Request& request = place->second;
    if (request.split) split(place, ++last_id);
    if (request.time_ms == Milliseconds{}) request.time_ms = wall;
    WebhookDelivery delivery;
    delivery.id = place->first.second;
    delivery.attempt = request.attempts + 1;
    delivery.body = body_of(request);
    if (request.attempts++ == 0) request.last_time = now + options_->retry_for;
    flying_.push_back(waiting_.extract(place));  // has room
    return delivery;
  }

  /// What `done` did: nothing where the id is not one of a request under way here.
  struct Done {
    bool known = false;
    std::size_t delivered = 0;
    std::size_t dropped = 0;
  };
  Done done(std::uint64_t id, WebhookOutcome outcome, Milliseconds now) noexcept {
    const auto flight =
        std::find_if(flying_.begin(), flying_.end(), [&](const auto& node) { return node.key().second == id; });
    if (flight == flying_.end()) return {};
    Waiting::node_type node = std::move(*flight);
    flying_.erase(flight);
    Request& request = node.mapped();
    const std::size_t size = request.events.size();
    if (outcome == WebhookOutcome::delivered) {
      forget(request);
      return {true, size, 0};
    }
    if (now >= request.last_time) {
      forget(request);
      return {true, 0, size};
    }
    Milliseconds delay = options_->retry_first;
    for (unsigned i = 1; i < request.attempts && delay < options_->retry_for; ++i) delay *= 2;
    request.split = outcome == WebhookOutcome::refused;
    node.key().first = std::min(now + delay, request.last_time);
    waiting_.insert(std::move(node));
    return {true, 0, 0};
  }

 private:
  struct Line;
  using Channels = std::unordered_map<std::string, Line>;
  using Channel = Channels::value_type;
  struct Event {
    Text text;
    Channel* channel = nullptr;
    std::uint64_t number = 0;  ///< In the order in which events came.
    Milliseconds since{0};
  };
  using Ready = std::map<std::uint64_t, Channel*>;  // by the number of the line's first event
  struct Line {
    std::list<Event> waiting;
    std::size_t taken = 0;   ///< Of its events, those in the request that is under way or waits for a retry.
    Ready::node_type place;  ///< While it is not in `ready_`.
    std::uint64_t mark = 0;  ///< See `split`.
    bool second = false;
  };
  struct Request {
    std::list<Event> events;
    Milliseconds time_ms{0};
    Milliseconds last_time{0};  ///< Of a retry.
    unsigned attempts = 0;
    bool split = false;  ///< Whether the next attempt is to be made in two requests.
  };
  using Waiting = std::map<std::pair<Milliseconds, std::uint64_t>, Request>;  // by the time of the next attempt, and id

  [[nodiscard]] Milliseconds retry_time() const noexcept {
    return waiting_.empty() ? Milliseconds::max() : waiting_.begin()->first.first;
  }
  [[nodiscard]] Milliseconds fresh_time() const noexcept {
    if (ready_.empty()) return Milliseconds::max();
    const Milliseconds since = ready_.begin()->second->second.waiting.front().since;
    return options_->batch ? since + options_->batch_delay : since;
  }

  void make_ready(Line& line) noexcept {
    line.place.key() = line.waiting.front().number;
    ready_.insert(std::move(line.place));
  }

  /// Makes a request out of what is ready.
  [[nodiscard]] Waiting::iterator gather(std::uint64_t id) {
    const auto place = waiting_.try_emplace({fresh_time(), id}).first;
    Request& request = place->second;
    std::size_t bytes = envelope_bytes;
    while (!ready_.empty() && (request.events.empty() || options_->batch)) {
      Line& line = ready_.begin()->second->second;
      bytes += line.waiting.front().text.json->size() + 1;
      if (!request.events.empty() && bytes > options_->max_body_bytes) break;
      request.events.splice(request.events.end(), line.waiting, line.waiting.begin());
      ++line.taken;
      line.place = ready_.extract(ready_.begin());
      if (!line.waiting.empty()) make_ready(line);
    }
    for (const Event& event : request.events) {  // the rest of their lines stands still
      Line& line = event.channel->second;
      if (line.place.empty()) line.place = ready_.extract(line.waiting.front().number);
    }
    return place;
  }

  /// Halves a request of several channels that was refused: one channel that a target cannot bear does not take the others
  /// with it for long.
  void split(Waiting::iterator place, std::uint64_t id) {
    Request& first = place->second;
    std::size_t channels = 0;
    for (const Event& event : first.events) {
      if (std::exchange(event.channel->second.mark, id) != id) event.channel->second.second = channels++ % 2 != 0;
    }
    if (channels > 1) {
      Request& second = waiting_.try_emplace({place->first.first, id}).first->second;
      second.last_time = first.last_time;
      second.attempts = first.attempts;
      for (auto event = first.events.begin(); event != first.events.end();) {
        const auto it = event++;
        if (it->channel->second.second) second.events.splice(second.events.end(), first.events, it);
      }
      first.time_ms = Milliseconds{};  // both are new requests
    }
    first.split = false;
  }

  [[nodiscard]] static std::string body_of(const Request& request) {
    std::size_t size = envelope_bytes;
    for (const Event& event : request.events) size += event.text.json->size() + 1;
    std::string body;
    body.reserve(size);
    body.append(R"({"time_ms":)").append(std::to_string(request.time_ms.count())).append(R"(,"events":[)");
    for (const Event& event : request.events) body.append(*event.text.json).append(1, ',');
    body.back() = ']';
    body.push_back('}');
    return body;
  }

  /// Lets the lines of a request's channels move again.
  void forget(Request& request) noexcept {
    for (const Event& event : request.events) {
      --events_;
      bytes_ -= event.text.cost;
      Line& line = event.channel->second;
      if (--line.taken != 0) continue;
      if (line.waiting.empty()) {
        channels_.erase(channels_.find(event.channel->first));
      } else {
        make_ready(line);
      }
    }
  }

  static constexpr std::size_t envelope_bytes = 48;

  const WebhookOptions* options_;
  std::uint8_t wanted_;
  std::size_t events_ = 0;
  std::size_t bytes_ = 0;
  Channels channels_;
  Ready ready_;
  Waiting waiting_;
  std::vector<Waiting::node_type> flying_;
};

}  // namespace detail

/// What an application tells its targets (Pusher: webhooks).
///
/// ```
/// webhooks.add(event, now);
/// while (auto delivery = webhooks.next(now, wall)) send(std::move(*delivery));  // … webhooks.done(id, outcome, now)
/// wake_me_at(webhooks.next_time());
/// ```
///
/// The events of one channel arrive at a target in the order in which they happened: one that has to be tried again holds
/// up those behind it, and no other channel. A target may get an event twice, where its answer was lost. `now` is any
/// clock that does not go back; `wall` is the time since 1970 in UTC.
///
/// \ownership  owns what it needs. Bounded by the options.
/// Thread safety: like an `int`.
class Webhooks {
 public:
  /// What is wrong with options; `ok` if nothing is.
  [[nodiscard]] static WebhookErrc check(const WebhookOptions& options) {
    if (options.targets.empty()) return WebhookErrc::no_target;
    if (options.targets.size() > most_targets) return WebhookErrc::too_many_targets;
    for (const WebhookTarget& target : options.targets) {
      if (!WebhookUrl::parse(target.url)) return WebhookErrc::bad_url;
    }
    const auto bad_time = [](Milliseconds time) { return time.count() < 0 || time > std::chrono::hours(24); };
    if (bad_time(options.debounce) || bad_time(options.batch_delay) || bad_time(options.retry_first) ||
        bad_time(options.retry_for) || options.retry_first.count() < 1) {
      return WebhookErrc::bad_option;
    }
    if (options.max_in_flight < 1 || options.max_in_flight > 64 || options.max_queue_events < 1 ||
        options.max_queue_bytes < 1) {
      return WebhookErrc::bad_option;
    }
    return WebhookErrc::ok;
  }
  /// What is wrong with what signs; `ok` if nothing is.
  [[nodiscard]] static WebhookErrc check(std::string_view key, std::string_view secret) noexcept {
    const auto visible = [](char c) { return c > 0x20 && c < 0x7f; };
    const bool good = !key.empty() && !secret.empty() && std::all_of(key.begin(), key.end(), visible);
    return good ? WebhookErrc::ok : WebhookErrc::bad_key;
  }

  /// \param key      what X-Pusher-Key says: the oldest of the application's keys.
  /// \param secret   what signs.
  /// \pre            `check` finds nothing wrong.
  Webhooks(std::string key, std::string secret, WebhookOptions options)
      : key_(std::move(key)),
        secret_(std::move(secret)),
        options_(std::make_unique<WebhookOptions>(std::move(options))) {
    FANFARE_ASSERT(check(*options_) == WebhookErrc::ok && check(key_, secret_) == WebhookErrc::ok, "check first");
    targets_.reserve(options_->targets.size());
    for (const WebhookTarget& target : options_->targets) targets_.emplace_back(*options_, mask_of(target.events));
  }

  /// What it was made with.
  [[nodiscard]] const WebhookOptions& options() const noexcept { return *options_; }

  /// Takes an event.
  ///
  /// `channel_vacated` and `member_removed` wait for `WebhookOptions::debounce`. If the channel is occupied again or the
  /// member comes back meanwhile, nothing is sent of either.
  /// \complexity  O(size of the event + targets · log(events)).
  /// \throws      nothing.
  WebhookAdd add(const AppEvent& event, Milliseconds now) noexcept {
    advance(now);
    try {
      return take(event);
    } catch (const std::bad_alloc&) {
      counters_.dropped += wanting(event.kind);
      return WebhookAdd::out_of_memory;
    }
  }

  /// The next request to make, if there is one now. Each that it returns has to be followed by its `done`.
  ///
  /// A request that is tried again is the same, byte for byte, but for one that was refused and holds several channels:
  /// it is tried again in two halves.
  /// \complexity  O(targets + size of the body · log(events)).
  /// \throws      `std::bad_alloc`; nothing is lost then.
  [[nodiscard]] std::optional<WebhookDelivery> next(Milliseconds now, Milliseconds wall) {
    advance(now);
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      while (std::optional<WebhookDelivery> delivery = targets_[i].next(now_, wall, last_id_)) {
        delivery->target = i;
        try {
          std::string signature = hmac_sha256_hex(secret_, delivery->body);
          if (!signature.empty()) {
            delivery->headers = {{"X-Pusher-Key", key_},
                                 {"X-Pusher-Signature", std::move(signature)},
                                 {"Content-Type", "application/json"}};
            return delivery;
          }
        } catch (const std::bad_alloc&) {
          done(delivery->id, WebhookOutcome::unreachable, now_);
          throw;
        }
        done(delivery->id, WebhookOutcome::unreachable, now_);  // libcrypto fails
      }
    }
    return std::nullopt;
  }

  /// What became of a request that `next` has returned. An id that is not under way changes nothing.
  ///
  /// One that failed is tried again after `retry_first`, and after twice as long each further time, the last time
  /// `retry_for` after the first attempt.
  /// \returns     whether its events were dropped.
  /// \complexity  O(targets + events of the request · log(events)).
  bool done(std::uint64_t id, WebhookOutcome outcome, Milliseconds now) noexcept {
    now_ = std::max(now_, now);
    for (detail::WebhookQueue& target : targets_) {
      const auto done = target.done(id, outcome, now_);
      if (!done.known) continue;
      counters_.delivered += done.delivered;
      counters_.dropped += done.dropped;
      if (outcome != WebhookOutcome::delivered) ++counters_.failed;
      return done.dropped != 0;
    }
    return false;
  }

  /// When `next` has something to return; `Milliseconds::max()`: not before `add` or `done` is called.
  /// \complexity  O(targets).
  [[nodiscard]] Milliseconds next_time() const noexcept {
    Milliseconds time = leaving_.empty() ? Milliseconds::max() : leaving_.front().until;
    for (const detail::WebhookQueue& target : targets_) time = std::min(time, target.next_time());
    return time;
  }

  /// What became of the events since the beginning.
  [[nodiscard]] const WebhookCounters& counters() const noexcept { return counters_; }

  /// How many events are there: those that may yet be undone, and for each target those that wait or are under way.
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t size = leaving_.size();
    for (const detail::WebhookQueue& target : targets_) size += target.size();
    return size;
  }

 private:
  using Kind = AppEvent::Kind;
  using Text = detail::WebhookQueue::Text;

  static constexpr std::size_t most_targets = 16;
  static constexpr std::size_t event_cost = 256;  // what the containers take for one, about

  /// An event that waits for being undone.
  struct Leaving {
    std::string name;  ///< In `left_`.
    Kind kind = Kind::channel_vacated;
    std::string channel;
    Text text;
    Milliseconds until{0};
  };

  static std::uint8_t mask_of(const std::vector<Kind>& kinds) noexcept {
    if (kinds.empty()) return 0xff;
    unsigned mask = 0;
    for (const Kind kind : kinds) mask |= 1U << static_cast<unsigned>(kind);
    return static_cast<std::uint8_t>(mask);
  }

  [[nodiscard]] std::size_t wanting(Kind kind) const noexcept {
    return static_cast<std::size_t>(std::count_if(
        targets_.begin(), targets_.end(), [&](const detail::WebhookQueue& target) { return target.wants(kind); }));
  }

  [[nodiscard]] WebhookAdd take(const AppEvent& event) {
    if (event.channel.starts_with('#') || event.kind == Kind::store_trouble) return WebhookAdd::unwanted;
    const bool members = event.kind == Kind::member_added || event.kind == Kind::member_removed;
    const bool leaves = event.kind == Kind::channel_vacated || event.kind == Kind::member_removed;
    const bool comes = event.kind == Kind::channel_occupied || event.kind == Kind::member_added;
    const std::size_t wanted = wanting(event.kind);
    // Who wants to be told of coming alone is not told of coming back, and so with leaving.
    const bool pair_wanted = members ? wanting(Kind::member_added) + wanting(Kind::member_removed) != 0
                                     : wanting(Kind::channel_occupied) + wanting(Kind::channel_vacated) != 0;
    if (wanted == 0 && !((leaves || comes) && pair_wanted)) return WebhookAdd::unwanted;
    for (const std::string* text : {&event.channel, &event.user_id, &event.event, &event.data, &event.socket_id}) {
      if (fanfare::detail::is_utf8(*text)) continue;
      counters_.dropped += wanted;
      return WebhookAdd::not_utf8;
    }
    if (options_->debounce.count() > 0 && (leaves || comes)) {
      std::string name = event.channel;
      if (members) name.append(1, '\0').append(event.user_id);
      const auto left = left_.find(name);
      if (comes && left != left_.end()) {
        forget(left);
        return WebhookAdd::undone;
      }
      if (leaves) return left != left_.end() ? WebhookAdd::taken : leave(std::move(name), event, wanted);
    }
    if (wanted == 0) return WebhookAdd::unwanted;
    return give(event.kind, event.channel, text_of(event)) ? WebhookAdd::taken : WebhookAdd::full;
  }

  [[nodiscard]] WebhookAdd leave(std::string name, const AppEvent& event, std::size_t wanted) {
    Text text = text_of(event);
    if (leaving_.size() >= options_->max_queue_events || text.cost > options_->max_queue_bytes - leaving_bytes_) {
      counters_.dropped += wanted;
      return WebhookAdd::full;
    }
    std::list<Leaving> made;
    made.push_back({name, event.kind, event.channel, std::move(text), now_ + options_->debounce});
    left_.emplace(std::move(name), made.begin());
    leaving_bytes_ += made.front().text.cost;
    leaving_.splice(leaving_.end(), made);
    return WebhookAdd::taken;
  }

  using Left = std::unordered_map<std::string, std::list<Leaving>::iterator>;

  void forget(Left::iterator left) noexcept {
    leaving_bytes_ -= left->second->text.cost;
    leaving_.erase(left->second);
    left_.erase(left);
  }

  /// Sends on what has not been undone.
  void advance(Milliseconds now) noexcept {
    now_ = std::max(now_, now);
    while (!leaving_.empty() && leaving_.front().until <= now_) {
      const Leaving& gone = leaving_.front();
      (void)give(gone.kind, gone.channel, gone.text);
      forget(left_.find(gone.name));
    }
  }

  /// \returns whether there was room in the queue of each target that wants it.
  bool give(Kind kind, const std::string& channel, const Text& text) noexcept {
    ++last_number_;
    bool room = true;
    for (detail::WebhookQueue& target : targets_) {
      if (!target.wants(kind)) continue;
      bool pushed = false;
      try {
        pushed = target.push(channel, text, last_number_, now_);
      } catch (const std::bad_alloc&) {  // as if there were no room
      }
      if (pushed) continue;
      ++counters_.dropped;
      room = false;
    }
    return room;
  }

  [[nodiscard]] static std::string_view name_of(Kind kind) noexcept {
    switch (kind) {
      case Kind::channel_occupied: return "channel_occupied";
      case Kind::channel_vacated: return "channel_vacated";
      case Kind::member_added: return "member_added";
      case Kind::member_removed: return "member_removed";
      case Kind::client_event: return "client_event";
      case Kind::cache_miss: return "cache_miss";
      case Kind::subscription_count: return "subscription_count";
      case Kind::event_held: return "event_held";
      case Kind::store_trouble: break;  // nobody is told
    }
    return "unknown";
  }

  static void append_member(std::string& json, std::string_view name, std::string_view value) {
    using fanfare::detail::JsonString;
    json.append(json.empty() ? "{\"" : ",\"").append(name).append("\":\"");
    const std::size_t begin = json.size();
    const std::size_t size = JsonString::escaped_size(value);
    bool ascii = true;
    json.resize(begin + size + JsonString::slack);
    JsonString::escape(json.data() + begin, value, ascii);
    json.resize(begin + size);
    json.push_back('"');
  }

  [[nodiscard]] static Text text_of(const AppEvent& event) {
    std::string json;
    append_member(json, "name", name_of(event.kind));
    append_member(json, "channel", event.channel);
    switch (event.kind) {
      case Kind::member_added:
      case Kind::member_removed: append_member(json, "user_id", event.user_id); break;
      case Kind::client_event:
        append_member(json, "event", event.event);
        append_member(json, "data", event.data);
        append_member(json, "socket_id", event.socket_id);
        if (!event.user_id.empty()) append_member(json, "user_id", event.user_id);
        break;
      case Kind::subscription_count:
        json.append(R"(,"subscription_count":)").append(std::to_string(event.count));
        break;
      case Kind::event_held:
        append_member(json, "event", event.event);
        append_member(json, "outcome", to_string(event.outcome));
        break;
      case Kind::channel_occupied:
      case Kind::channel_vacated:
      case Kind::cache_miss:
      case Kind::store_trouble: break;
    }
    json.push_back('}');
    json.shrink_to_fit();
    const std::size_t cost = json.size() + event.channel.size() + event_cost;
    return {std::make_shared<const std::string>(std::move(json)), cost};
  }

  std::string key_;
  std::string secret_;
  std::unique_ptr<WebhookOptions> options_;  // stays where it is when this is moved
  std::vector<detail::WebhookQueue> targets_;
  std::list<Leaving> leaving_;  // by time
  Left left_;
  std::size_t leaving_bytes_ = 0;
  std::uint64_t last_number_ = 0;
  std::uint64_t last_id_ = 0;
  Milliseconds now_{0};
  WebhookCounters counters_;
};

}  // namespace pusher
FANFARE_NAMESPACE_END
