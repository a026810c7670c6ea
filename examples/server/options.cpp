#include "options.hpp"

#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <numeric>
#include <system_error>
#include <utility>

namespace json = boost::json;
using std::string_view_literals::operator""sv;

namespace {

/// Something is wrong: where, and what was expected there. Empty: nothing is wrong.
using Problem = std::string;

Problem problem(std::string_view where, std::string_view what) { return std::string(where).append(": ").append(what); }

std::string quoted(std::string_view text) {
  // A secret or a whole document may stand where a short word was expected.
  constexpr std::size_t most = 40;
  std::string out{"\""};
  for (const char c : text.substr(0, most)) out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
  return out.append(text.size() > most ? "…\"" : "\"");
}

// -- numbers: each a flag and a key, or a key of an application ------------------------------------------------------

template <class Target>
struct Number {
  std::string_view key;  ///< In the file; the flag has hyphens for its underscores.
  std::uint64_t least;
  std::uint64_t most;
  void (*set)(Target&, std::uint64_t);
};

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;
constexpr std::uint64_t gib = 1024 * mib;
constexpr std::uint64_t day = 86'400;

constexpr Number<Options> server_numbers[] = {
    {"threads", 1, 64, [](Options& o, std::uint64_t n) { o.threads = static_cast<unsigned>(n); }},
    {"max_outbox_bytes", 64 * kib, gib, [](Options& o, std::uint64_t n) { o.max_outbox_bytes = n; }},
    {"max_mailbox_bytes", mib, 1024 * gib, [](Options& o, std::uint64_t n) { o.max_mailbox_bytes = n; }},
    {"max_connections", 0, 100'000'000, [](Options& o, std::uint64_t n) { o.max_connections = n; }},
    {"max_message_bytes", kib, 64 * mib, [](Options& o, std::uint64_t n) { o.max_message_bytes = n; }},
    {"max_body_bytes", kib, gib, [](Options& o, std::uint64_t n) { o.max_body_bytes = n; }},
    {"request_timeout", 1, day, [](Options& o, std::uint64_t n) { o.request_timeout = static_cast<unsigned>(n); }},
    {"keep_alive_timeout", 1, day,
     [](Options& o, std::uint64_t n) { o.keep_alive_timeout = static_cast<unsigned>(n); }},
    {"drain_timeout", 0, 3600, [](Options& o, std::uint64_t n) { o.drain_timeout = static_cast<unsigned>(n); }},
};

constexpr Number<OptionsApp> app_numbers[] = {
    {"max_connections", 0, 100'000'000, [](OptionsApp& a, std::uint64_t n) { a.app.max_connections = n; }},
    {"max_connections_per_address", 0, 1'000'000,
     [](OptionsApp& a, std::uint64_t n) { a.app.max_connections_per_address = n; }},
    {"max_channels_per_connection", 1, 1'000'000,
     [](OptionsApp& a, std::uint64_t n) { a.app.max_channels_per_connection = n; }},
    {"max_presence_members", 1, 100'000, [](OptionsApp& a, std::uint64_t n) { a.app.max_presence_members = n; }},
    {"max_user_bytes", 1, 64 * kib, [](OptionsApp& a, std::uint64_t n) { a.app.max_user_bytes = n; }},
    {"max_user_id_bytes", 1, kib, [](OptionsApp& a, std::uint64_t n) { a.app.max_user_id_bytes = n; }},
    {"max_watchlist", 1, 10'000, [](OptionsApp& a, std::uint64_t n) { a.app.max_watchlist = n; }},
    {"client_events_per_second", 1, 1'000'000,
     [](OptionsApp& a, std::uint64_t n) { a.app.client_events_per_second = static_cast<unsigned>(n); }},
    {"messages_per_second", 0, 1'000'000,
     [](OptionsApp& a, std::uint64_t n) { a.app.messages_per_second = static_cast<unsigned>(n); }},
    {"kept_bytes", 0, std::uint64_t{1} << 40U,
     [](OptionsApp& a, std::uint64_t n) { a.app.kept_bytes = static_cast<std::size_t>(n); }},
    {"max_held_events", 0, 1'000'000, [](OptionsApp& a, std::uint64_t n) { a.app.held.events = n; }},
    {"max_held_bytes", 0, gib, [](OptionsApp& a, std::uint64_t n) { a.app.held.bytes = n; }},
    {"cache_ttl", 1, day, [](OptionsApp& a, std::uint64_t n) { a.app.cache_ttl = std::chrono::seconds(n); }},
    {"activity_timeout", 1, day,
     [](OptionsApp& a, std::uint64_t n) { a.app.activity_timeout = std::chrono::seconds(n); }},
    {"pong_timeout", 1, day, [](OptionsApp& a, std::uint64_t n) { a.app.pong_timeout = std::chrono::seconds(n); }},
    {"authorized_timeout", 0, day,
     [](OptionsApp& a, std::uint64_t n) { a.app.authorized_timeout = std::chrono::seconds(n); }},
    {"idle_timeout", 0, day, [](OptionsApp& a, std::uint64_t n) { a.app.idle_timeout = std::chrono::seconds(n); }},
    {"max_event_bytes", 1, 64 * mib, [](OptionsApp& a, std::uint64_t n) { a.app.limits.data = n; }},
    {"max_event_name_bytes", 1, 64 * kib, [](OptionsApp& a, std::uint64_t n) { a.app.limits.event_name = n; }},
    {"max_channel_name_bytes", 1, 64 * kib, [](OptionsApp& a, std::uint64_t n) { a.app.limits.channel_name = n; }},
    {"max_channels", 1, 100'000'000, [](OptionsApp& a, std::uint64_t n) { a.app.limits.channels = n; }},
    {"max_channels_per_trigger", 1, 10'000,
     [](OptionsApp& a, std::uint64_t n) { a.app.limits.channels_per_trigger = n; }},
};

constexpr std::string_view io_expected = "expected auto, uring or send";

bool set_io(Options& options, std::string_view text) {
  using fanfare::transport::SocketIo;
  constexpr std::pair<std::string_view, SocketIo> ways[] = {
      {"auto", SocketIo::automatic}, {"uring", SocketIo::uring}, {"send", SocketIo::send}};
  for (const auto& [name, io] : ways) {
    if (name == text) options.io = io;
    if (name == text) return true;
  }
  return false;
}

template <class Target>
Problem set_number(const Number<Target>& number, Target& target, std::optional<std::uint64_t> value,
                   std::string_view where) {
  if (!value || *value < number.least || *value > number.most) {
    return problem(
        where, "expected a whole number from " + std::to_string(number.least) + " to " + std::to_string(number.most));
  }
  number.set(target, *value);
  return {};
}

std::optional<std::uint64_t> to_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// -- switches of an application: each a key, some a flag too ---------------------------------------------------------

struct Switch {
  std::string_view key;
  bool has_flag;
  bool& (*of)(OptionsApp&);
};

constexpr Switch app_switches[] = {
    {"enabled", false, [](OptionsApp& a) -> bool& { return a.app.enabled; }},
    {"tls_only", true, [](OptionsApp& a) -> bool& { return a.app.tls_only; }},
    {"client_events", true, [](OptionsApp& a) -> bool& { return a.app.client_events; }},
    {"subscription_count", true, [](OptionsApp& a) -> bool& { return a.app.subscription_count; }},
    {"user_authentication", true, [](OptionsApp& a) -> bool& { return a.app.user_authentication; }},
    {"watchlist", true, [](OptionsApp& a) -> bool& { return a.app.watchlist; }},
    {"preserve_user_id_type", false, [](OptionsApp& a) -> bool& { return a.app.preserve_user_id_type; }},
    {"hosted_subscription_errors", false, [](OptionsApp& a) -> bool& { return a.app.hosted_subscription_errors; }},
    {"allow_private_webhooks", true, [](OptionsApp& a) -> bool& { return a.webhooks.allow_private_targets; }},
    {"batch_webhooks", false, [](OptionsApp& a) -> bool& { return a.webhooks.batch; }},
};

// -- files that the server needs: each a flag and a key --------------------------------------------------------------

struct FileName {
  std::string_view key;
  std::string& (*of)(Options&);
};

constexpr FileName file_names[] = {
    {"tls_cert", [](Options& o) -> std::string& { return o.tls_cert; }},
    {"tls_key", [](Options& o) -> std::string& { return o.tls_key; }},
    {"webhook_ca_file", [](Options& o) -> std::string& { return o.webhook_ca_file; }},
    {"pusher_js", [](Options& o) -> std::string& { return o.pusher_js; }},
};

constexpr auto file_expected = "expected the name of a file"sv;

std::string flag_name(std::string_view key) {
  std::string name = "--" + std::string(key);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

// -- webhooks --------------------------------------------------------------------------------------------------------

struct EventName {
  std::string_view name;
  fanfare::AppEvent::Kind kind;
};

constexpr EventName webhook_events[] = {
    {"channel_occupied", fanfare::AppEvent::Kind::channel_occupied},
    {"channel_vacated", fanfare::AppEvent::Kind::channel_vacated},
    {"member_added", fanfare::AppEvent::Kind::member_added},
    {"member_removed", fanfare::AppEvent::Kind::member_removed},
    {"client_event", fanfare::AppEvent::Kind::client_event},
    {"cache_miss", fanfare::AppEvent::Kind::cache_miss},
    {"subscription_count", fanfare::AppEvent::Kind::subscription_count},
    {"event_held", fanfare::AppEvent::Kind::event_held},
};

constexpr std::size_t most_webhooks = 16;
constexpr auto url_expected = "expected an http:// or https:// URL without user, password and fragment"sv;
constexpr auto events_expected =
    "expected names of channel_occupied, channel_vacated, member_added, member_removed, client_event, cache_miss, "
    "subscription_count and event_held"sv;

bool add_webhook_event(std::vector<fanfare::AppEvent::Kind>& events, std::string_view name) {
  const auto* const found = std::find_if(std::begin(webhook_events), std::end(webhook_events),
                                         [&](const EventName& e) { return e.name == name; });
  if (found == std::end(webhook_events)) return false;
  if (std::find(events.begin(), events.end(), found->kind) == events.end()) events.push_back(found->kind);
  return true;
}

Problem add_webhook(OptionsApp& app, fanfare::pusher::WebhookTarget target, std::string_view where) {
  if (!fanfare::pusher::WebhookUrl::parse(target.url)) return problem(where, url_expected);
  if (app.webhooks.targets.size() == most_webhooks) {
    return problem(where, "expected at most " + std::to_string(most_webhooks) + " for one application");
  }
  app.webhooks.targets.push_back(std::move(target));
  return {};
}

// -- words -----------------------------------------------------------------------------------------------------------

/// How many letters have to be changed, added or taken away to make one word of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0U : 1U);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

/// ` (did you mean "listen"?)`, or nothing where no known word is near.
std::string suggestion(std::string_view word, std::span<const std::string> known) {
  if (word.size() > 64) return {};
  const std::string* nearest = nullptr;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const std::string& candidate : known) {
    const std::size_t d = distance(word, candidate);
    if (d < least) {
      least = d;
      nearest = &candidate;
    }
  }
  if (nearest == nullptr || least > std::max<std::size_t>(2, nearest->size() / 3)) return {};
  return " (did you mean " + quoted(*nearest) + "?)";
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

constexpr auto name_expected = "expected 1 to 64 letters, digits, '-' and '_'"sv;
constexpr auto secret_expected = "expected 1 to 128 bytes"sv;
constexpr auto listen_expected =
    "expected HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:6001 or [::1]:6001"sv;
constexpr auto prefix_expected =
    "expected a path such as /realtime: at most 128 of A-Z a-z 0-9 - _ . ~ /, no / at its end"sv;

bool is_listen(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view host = text.substr(0, colon);
  const auto port = to_number(text.substr(colon + 1));
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const bool plain = !host.empty() && host.find_first_of(":[]/ ") == std::string_view::npos;
  return port && *port <= 65535 && (bracketed || plain);
}

/// A host, perhaps with `*.` in front; `*` by itself.
bool is_origin(std::string_view text) {
  if (text == "*") return true;
  if (text.substr(0, 2) == "*.") text.remove_prefix(2);
  // An IPv6 address stands in brackets, as in the header.
  return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           "-_.[:]"sv.find(c) != std::string_view::npos;
  }) && (text.front() == '[' ? text.back() == ']' : text.find_first_of("[:]") == std::string_view::npos);
}

/// Keys are unique over all applications, ids too.
Problem is_new(const std::vector<OptionsApp>& apps, const OptionsApp& app, std::string_view where_id,
               std::string_view where_key) {
  const auto has_key = [](const fanfare::AppOptions& a, std::string_view key) {
    return a.key == key || std::any_of(a.more_keys.begin(), a.more_keys.end(),
                                       [&](const fanfare::AppKey& more) { return more.key == key; });
  };
  for (const OptionsApp& other : apps) {
    if (other.app.id == app.app.id) {
      return problem(where_id, quoted(app.app.id) + " is another application's id already");
    }
    if (has_key(other.app, app.app.key)) {
      return problem(where_key, quoted(app.app.key) + " is another application's key already");
    }
    for (const fanfare::AppKey& more : app.app.more_keys) {
      if (has_key(other.app, more.key)) {
        return problem(where_key, quoted(more.key) + " is another application's key already");
      }
    }
  }
  return {};
}

bool is_prefix(std::string_view text) {
  if (text.empty()) return true;
  return text.size() <= 128 && text.front() == '/' && text.back() != '/' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  "-_.~/"sv.find(c) != std::string_view::npos;
         });
}

// -- the file --------------------------------------------------------------------------------------------------------

/// The first key that stands twice in one object of a document; Boost.JSON keeps the last and tells nobody.
class RepeatedKey {
 public:
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    keys_.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t, json::error_code&) {
    keys_.pop_back();
    return true;
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(std::size_t, json::error_code&) { return true; }
  bool on_key_part(json::string_view text, std::size_t, json::error_code&) {
    key_.append(text.data(), text.size());
    return true;
  }
  bool on_key(json::string_view text, std::size_t, json::error_code& error) {
    key_.append(text.data(), text.size());
    auto& seen = keys_.back();
    if (std::find(seen.begin(), seen.end(), key_) != seen.end()) {
      error = json::error::syntax;  // any error ends the parse; the key tells which it was
      return false;
    }
    seen.push_back(std::exchange(key_, {}));
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, json::error_code&) { return true; }
  bool on_string(json::string_view, std::size_t, json::error_code&) { return true; }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t, json::string_view, json::error_code&) { return true; }
  bool on_uint64(std::uint64_t, json::string_view, json::error_code&) { return true; }
  bool on_double(double, json::string_view, json::error_code&) { return true; }
  bool on_bool(bool, json::error_code&) { return true; }
  bool on_null(json::error_code&) { return true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  [[nodiscard]] const std::string& key() const noexcept { return key_; }

 private:
  std::string key_;
  std::vector<std::vector<std::string>> keys_;  // of the objects that are open
};

class File {
 public:
  File(std::string path, Options& options) : path_(std::move(path)), options_(options) {}

  Problem read(const std::string& text) {
    json::stream_parser parser;
    json::error_code error;
    std::size_t end = parser.write_some(text, error);
    if (!error) {
      // Behind the value there may be nothing but space.
      end = std::min(text.find_first_not_of(" \t\r\n", end), text.size());
      if (end != text.size()) error = json::error::extra_data;
    }
    if (!error) parser.finish(error);
    if (error) return problem(at(text, end), "this is not JSON: " + error.message());
    if (const Problem p = repeated(text); !p.empty()) return p;
    const json::value document = parser.release();
    if (!document.is_object()) return problem(path_, "expected one JSON object");
    return read_server(document.get_object());
  }

 private:
  std::string at(const std::string& text, std::size_t offset) const {
    const std::string_view before = std::string_view(text).substr(0, offset);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    return path_ + ":" + std::to_string(line) + ":" + std::to_string(column);
  }

  Problem repeated(const std::string& text) const {
    json::basic_parser<RepeatedKey> parser{json::parse_options{}};
    json::error_code error;
    const std::size_t end = parser.write_some(false, text.data(), text.size(), error);
    if (!error) return {};
    return problem(at(text, end), "the key " + quoted(parser.handler().key()) + " stands there twice");
  }

  Problem wrong(std::string_view key, std::string_view what) const {
    return problem(path_, std::string(key).append(": ").append(what));
  }

  Problem unknown(const std::string& where, std::string_view key, const std::vector<std::string>& known) const {
    return problem(path_, where + std::string(key) + ": there is no such key" + suggestion(key, known));
  }

  static std::optional<std::uint64_t> number(const json::value& value) {
    if (value.is_uint64()) return value.get_uint64();
    if (value.is_int64() && value.get_int64() >= 0) return static_cast<std::uint64_t>(value.get_int64());
    return std::nullopt;
  }

  static std::optional<std::string> string(const json::value& value) {
    if (!value.is_string()) return std::nullopt;
    return std::string(value.get_string().data(), value.get_string().size());
  }

  Problem read_server(const json::object& object) {
    std::vector<std::string> known{"listen", "listen_tls", "apps", "path_prefix", "forwarded_for", "io"};
    for (const auto& n : server_numbers) known.emplace_back(n.key);
    for (const auto& f : file_names) known.emplace_back(f.key);
    for (const auto& member : object) {
      const std::string key(member.key().data(), member.key().size());
      const auto* const found = std::find_if(std::begin(server_numbers), std::end(server_numbers),
                                             [&](const auto& n) { return n.key == key; });
      const auto* const file =
          std::find_if(std::begin(file_names), std::end(file_names), [&](const FileName& f) { return f.key == key; });
      Problem p;
      if (found != std::end(server_numbers)) {
        p = set_number(*found, options_, number(member.value()), path_ + ": " + key);
      } else if (file != std::end(file_names)) {
        const auto text = string(member.value());
        if (!text || text->empty()) return wrong(key, file_expected);
        file->of(options_) = *text;
      } else if (key == "listen") {
        p = read_listen(member.value(), key, options_.listen);
      } else if (key == "listen_tls") {
        p = read_listen(member.value(), key, options_.listen_tls);
      } else if (key == "apps") {
        p = read_apps(member.value());
      } else if (key == "forwarded_for") {
        if (!member.value().is_bool()) return wrong(key, "expected true or false");
        options_.forwarded_for = member.value().get_bool();
      } else if (key == "io") {
        const auto text = string(member.value());
        if (!text || !set_io(options_, *text)) return wrong(key, io_expected);
      } else if (key == "path_prefix") {
        const auto text = string(member.value());
        if (!text || !is_prefix(*text)) return wrong(key, prefix_expected);
        options_.path_prefix = *text;
      } else {
        p = unknown("", key, known);
      }
      if (!p.empty()) return p;
    }
    return {};
  }

  Problem read_listen(const json::value& value, const std::string& key, std::vector<std::string>& listen) const {
    if (!value.is_array()) return wrong(key, "expected an array of strings, such as [\"127.0.0.1:6001\"]");
    for (const json::value& element : value.get_array()) {
      const auto text = string(element);
      if (!text || !is_listen(*text)) return wrong(key + "[" + std::to_string(listen.size()) + "]", listen_expected);
      listen.push_back(*text);
    }
    return {};
  }

  Problem read_apps(const json::value& value) {
    if (!value.is_array()) return wrong("apps", "expected an array of objects");
    for (const json::value& element : value.get_array()) {
      if (const Problem p = read_app(element, "apps[" + std::to_string(options_.apps.size()) + "]"); !p.empty())
        return p;
    }
    return {};
  }

  Problem read_app(const json::value& value, const std::string& where) {
    if (!value.is_object())
      return wrong(where, R"(expected an object, such as {"id": "42", "key": "…", "secret": "…"})");
    std::vector<std::string> known{"id",       "key",      "secret", "more_keys", "allowed_origins",
                                   "webhooks", "channels", "store"};
    for (const auto& n : app_numbers) known.emplace_back(n.key);
    for (const auto& w : app_switches) known.emplace_back(w.key);
    OptionsApp app;
    for (const auto& member : value.get_object()) {
      const std::string key(member.key().data(), member.key().size());
      const std::string inner = where + "." + key;
      const auto* const found =
          std::find_if(std::begin(app_numbers), std::end(app_numbers), [&](const auto& n) { return n.key == key; });
      const auto* const turned =
          std::find_if(std::begin(app_switches), std::end(app_switches), [&](const Switch& w) { return w.key == key; });
      Problem p;
      if (found != std::end(app_numbers)) {
        p = set_number(*found, app, number(member.value()), path_ + ": " + inner);
      } else if (turned != std::end(app_switches)) {
        if (!member.value().is_bool()) return wrong(inner, "expected true or false");
        turned->of(app) = member.value().get_bool();
      } else if (key == "id") {
        const auto id_number = number(member.value());
        app.app.id = id_number ? std::to_string(*id_number) : string(member.value()).value_or("");
        if (!is_name(app.app.id)) return wrong(inner, std::string(name_expected) + ", or a number");
      } else if (key == "key") {
        p = read_key(member.value(), inner, app.app.key);
      } else if (key == "secret") {
        p = read_secret(member.value(), inner, app.app.secret);
      } else if (key == "more_keys") {
        p = read_more_keys(member.value(), inner, app.app.more_keys);
      } else if (key == "allowed_origins") {
        p = read_origins(member.value(), inner, app.app.allowed_origins);
      } else if (key == "webhooks") {
        p = read_webhooks(member.value(), inner, app);
      } else if (key == "channels") {
        p = read_channel_rules(member.value(), inner, app.app.channel_rules);
      } else if (key == "store") {
        p = read_store(member.value(), inner, app);
      } else {
        p = unknown(where + ".", key, known);
      }
      if (!p.empty()) return p;
    }
    // Not before the bound of names is known, which may come behind them.
    if (const auto bad = fanfare::ChannelRules::check(app.app.channel_rules, app.app.limits.channel_name)) {
      return wrong(where + ".channels[" + std::to_string(bad.rule) + "]", message(bad.error));
    }
    if (app.app.id.empty()) return wrong(where + ".id", std::string(name_expected) + ", or a number; it is missing");
    if (app.app.key.empty()) return wrong(where + ".key", std::string(name_expected) + "; it is missing");
    if (app.app.secret.empty()) return wrong(where + ".secret", std::string(secret_expected) + "; it is missing");
    for (std::size_t i = 0; i < app.app.more_keys.size(); ++i) {
      const std::string& key = app.app.more_keys[i].key;
      const auto before = app.app.more_keys.begin() + static_cast<std::ptrdiff_t>(i);
      if (key == app.app.key || std::any_of(app.app.more_keys.begin(), before,
                                            [&](const fanfare::AppKey& other) { return other.key == key; })) {
        return wrong(where + ".more_keys[" + std::to_string(i) + "].key",
                     quoted(key) + " is a key of this application already");
      }
    }
    if (Problem p = is_new(options_.apps, app, path_ + ": " + where + ".id", path_ + ": " + where + ".key"); !p.empty())
      return p;
    options_.apps.push_back(std::move(app));
    return {};
  }

  Problem read_key(const json::value& value, const std::string& where, std::string& key) const {
    key = string(value).value_or("");
    return is_name(key) ? Problem{} : wrong(where, name_expected);
  }

  Problem read_secret(const json::value& value, const std::string& where, std::string& secret) const {
    secret = string(value).value_or("");
    if (!secret.empty() && secret.size() <= 128) return {};
    return wrong(where, std::string("expected a string of ") + std::string(secret_expected.substr(9)));
  }

  Problem read_more_keys(const json::value& value, const std::string& where, std::vector<fanfare::AppKey>& keys) const {
    constexpr auto expected = R"(expected an array of objects, such as [{"key": "…", "secret": "…"}])"sv;
    constexpr std::size_t most = 16;
    if (!value.is_array()) return wrong(where, expected);
    if (value.get_array().size() > most) return wrong(where, "expected at most " + std::to_string(most));
    for (const json::value& element : value.get_array()) {
      const std::string inner = where + "[" + std::to_string(keys.size()) + "]";
      if (!element.is_object()) return wrong(where, expected);
      fanfare::AppKey key;
      for (const auto& member : element.get_object()) {
        const std::string name(member.key().data(), member.key().size());
        Problem p;
        if (name == "key") {
          p = read_key(member.value(), inner + ".key", key.key);
        } else if (name == "secret") {
          p = read_secret(member.value(), inner + ".secret", key.secret);
        } else {
          p = unknown(inner + ".", name, {"key", "secret"});
        }
        if (!p.empty()) return p;
      }
      if (key.key.empty()) return wrong(inner + ".key", std::string(name_expected) + "; it is missing");
      if (key.secret.empty()) return wrong(inner + ".secret", std::string(secret_expected) + "; it is missing");
      keys.push_back(std::move(key));
    }
    return {};
  }

  Problem read_origins(const json::value& value, const std::string& where, std::vector<std::string>& origins) const {
    if (!value.is_array()) return wrong(where, R"(expected an array of strings, such as ["example.org"])");
    for (const json::value& element : value.get_array()) {
      const auto text = string(element);
      if (!text || !is_origin(*text)) {
        return wrong(where + "[" + std::to_string(origins.size()) + "]",
                     R"(expected a host such as "example.org", "*.example.org" or "*", without scheme and port)");
      }
      origins.push_back(*text);
    }
    return {};
  }

  Problem read_channel_rules(const json::value& value, const std::string& where,
                             std::vector<fanfare::ChannelRule>& rules) const {
    constexpr auto expected = R"(expected an array of objects, such as [{"match": "LOBBY_*", "retain": true}])"sv;
    if (!value.is_array()) return wrong(where, expected);
    for (const json::value& element : value.get_array()) {
      const std::string inner = where + "[" + std::to_string(rules.size()) + "]";
      if (!element.is_object()) return wrong(where, expected);
      fanfare::ChannelRule rule;
      bool matches = false;
      for (const auto& member : element.get_object()) {
        const std::string key(member.key().data(), member.key().size());
        Problem p;
        if (key == "match") {
          const auto text = string(member.value());
          if (!text) return wrong(inner + ".match", R"(expected a channel's name or a pattern, such as "LOBBY_*")");
          rule.match = *text;
          matches = true;
        } else if (key == "retain") {
          if (!member.value().is_bool()) return wrong(inner + ".retain", "expected true or false");
          rule.retain = member.value().get_bool();
        } else if (key == "history") {
          p = read_history(member.value(), inner + ".history", rule.history);
        } else if (key == "max_subscribers") {
          const auto count = number(member.value());
          if (!count || *count > 100'000'000) {
            return wrong(inner + ".max_subscribers", "expected a number from 0 to 100000000");
          }
          rule.max_subscribers = static_cast<std::size_t>(*count);
        } else if (key == "overflow") {
          const auto text = string(member.value());
          const auto overflow = text ? fanfare::slow_consumer_from(*text) : std::nullopt;
          if (!overflow) return wrong(inner + ".overflow", "expected close, drop_oldest, drop_newest or conflate");
          rule.overflow = *overflow;
        } else {
          p = unknown(inner + ".", key, {"match", "retain", "history", "overflow", "max_subscribers"});
        }
        if (!p.empty()) return p;
      }
      if (!matches) return wrong(inner + ".match", "a channel's name or a pattern is missing");
      rules.push_back(std::move(rule));
    }
    return {};
  }

  /// `true`, or the bounds, of which each may be left out.
  Problem read_history(const json::value& value, const std::string& where,
                       std::optional<fanfare::HistoryRule>& history) const {
    if (value.is_bool()) {
      if (value.get_bool()) history.emplace();
      return {};
    }
    if (!value.is_object()) {
      return wrong(where, R"(expected true or an object, such as {"count": 100, "seconds": 600, "bytes": 1048576})");
    }
    history.emplace();
    for (const auto& member : value.get_object()) {
      const std::string key(member.key().data(), member.key().size());
      const auto count = number(member.value());
      std::uint64_t most = 0;
      if (key == "count") {
        most = fanfare::HistoryRule::max_count;
        history->count = static_cast<std::size_t>(count.value_or(0));
      } else if (key == "seconds") {
        most = static_cast<std::uint64_t>(fanfare::HistoryRule::max_age.count());
        history->age = std::chrono::seconds(static_cast<std::int64_t>(std::min(count.value_or(0), most)));
      } else if (key == "bytes") {
        most = std::uint64_t{1} << 30U;
        history->bytes = static_cast<std::size_t>(count.value_or(0));
      } else {
        return unknown(where + ".", key, {"count", "seconds", "bytes"});
      }
      if (!count || *count == 0 || *count > most) {
        return wrong(where + "." + key, "expected a number from 1 to " + std::to_string(most));
      }
    }
    return {};
  }

  Problem read_store(const json::value& value, const std::string& where, OptionsApp& app) const {
    if (!value.is_object()) {
      return wrong(where, R"(expected an object, such as {"path": "kept.db", "durability": "process"})");
    }
    for (const auto& member : value.get_object()) {
      const std::string key(member.key().data(), member.key().size());
      const auto text = string(member.value());
      if (key == "path") {
        if (!text || text->empty()) return wrong(where + ".path", file_expected);
        app.store_path = *text;
      } else if (key == "durability") {
        if (text != "process" && text != "power") return wrong(where + ".durability", "expected process or power");
        app.store_durability =
            *text == "power" ? fanfare::store::Durability::power : fanfare::store::Durability::process;
      } else {
        return unknown(where + ".", key, {"path", "durability"});
      }
    }
    if (app.store_path.empty()) return wrong(where + ".path", std::string(file_expected) + "; it is missing");
    for (const OptionsApp& other : options_.apps) {
      if (other.store_path == app.store_path) {
        return wrong(where + ".path", quoted(app.store_path) + " is another application's file already");
      }
    }
    return {};
  }

  Problem read_webhooks(const json::value& value, const std::string& where, OptionsApp& app) const {
    constexpr auto expected =
        R"(expected an array of URLs or objects, such as [{"url": "https://…", "events": ["member_added"]}])"sv;
    if (!value.is_array()) return wrong(where, expected);
    for (const json::value& element : value.get_array()) {
      const std::string inner = where + "[" + std::to_string(app.webhooks.targets.size()) + "]";
      fanfare::pusher::WebhookTarget target;
      if (element.is_object()) {
        for (const auto& member : element.get_object()) {
          const std::string key(member.key().data(), member.key().size());
          Problem p;
          if (key == "url") {
            target.url = string(member.value()).value_or("");
          } else if (key == "events") {
            p = read_webhook_events(member.value(), inner + ".events", target.events);
          } else {
            p = unknown(inner + ".", key, {"url", "events"});
          }
          if (!p.empty()) return p;
        }
      } else if (const auto text = string(element)) {
        target.url = *text;
      } else {
        return wrong(where, expected);
      }
      if (Problem p = add_webhook(app, std::move(target), path_ + ": " + inner); !p.empty()) return p;
    }
    return {};
  }

  Problem read_webhook_events(const json::value& value, const std::string& where,
                              std::vector<fanfare::AppEvent::Kind>& events) const {
    if (!value.is_array() || value.get_array().empty()) return wrong(where, events_expected);
    for (const json::value& element : value.get_array()) {
      const auto name = string(element);
      if (!name || !add_webhook_event(events, *name)) return wrong(where, events_expected);
    }
    return {};
  }

  std::string path_;
  Options& options_;
};

// -- flags -----------------------------------------------------------------------------------------------------------

Problem add_app(Options& options, std::string_view text) {
  const std::size_t first = text.find(':');
  const std::size_t second = first == std::string_view::npos ? first : text.find(':', first + 1);
  // The argument is not repeated: it may hold a secret.
  if (second == std::string_view::npos) return problem("--app", "expected ID:KEY:SECRET");
  OptionsApp app;
  app.app.id = text.substr(0, first);
  app.app.key = text.substr(first + 1, second - first - 1);
  app.app.secret = text.substr(second + 1);
  if (!is_name(app.app.id)) return problem("--app, the ID of ID:KEY:SECRET", name_expected);
  if (!is_name(app.app.key)) return problem("--app, the KEY of ID:KEY:SECRET", name_expected);
  if (app.app.secret.empty() || app.app.secret.size() > 128) {
    return problem("--app, the SECRET of ID:KEY:SECRET", secret_expected);
  }
  if (Problem p = is_new(options.apps, app, "--app", "--app"); !p.empty()) return p;
  options.apps.push_back(std::move(app));
  return {};
}

struct Flag {
  std::string name;
  std::string value;
};

Problem apply(Options& options, const Flag& flag) {
  for (std::vector<std::string>* const listen : {&options.listen, &options.listen_tls}) {
    if (flag.name != (listen == &options.listen ? "--listen" : "--listen-tls")) continue;
    if (!is_listen(flag.value)) return problem(flag.name + " " + quoted(flag.value), listen_expected);
    listen->push_back(flag.value);
    return {};
  }
  if (flag.name == "--app") return add_app(options, flag.value);
  if (flag.name == "--forwarded-for") options.forwarded_for = true;
  if (flag.name == "--io")
    return set_io(options, flag.value) ? Problem{} : problem("--io " + quoted(flag.value), io_expected);
  if (flag.name == "--path-prefix") {
    if (!is_prefix(flag.value)) return problem("--path-prefix " + quoted(flag.value), prefix_expected);
    options.path_prefix = flag.value;
    return {};
  }
  for (const FileName& file : file_names) {
    if (flag_name(file.key) != flag.name) continue;
    if (flag.value.empty()) return problem(flag.name, file_expected);
    file.of(options) = flag.value;
    return {};
  }
  for (const auto& number : server_numbers) {
    if (flag_name(number.key) == flag.name) {
      return set_number(number, options, to_number(flag.value), flag.name + " " + quoted(flag.value));
    }
  }
  return {};  // --config, which comes first, and those of applications, which come last
}

constexpr auto authorized_timeout = "--authorized-timeout"sv;

bool is_app_flag(std::string_view name) {
  return name == "--webhook" || name == "--webhook-events" || name == authorized_timeout ||
         std::any_of(std::begin(app_switches), std::end(app_switches),
                     [&](const Switch& w) { return w.has_flag && flag_name(w.key) == name; });
}

/// Applies the flags that are for one application.
Problem apply_to_app(OptionsApp& app, std::span<const Flag> flags) {
  std::vector<fanfare::AppEvent::Kind> events;
  for (const Flag& flag : flags) {
    const std::string where = flag.name + " " + quoted(flag.value);
    for (const Switch& w : app_switches) {
      if (w.has_flag && flag_name(w.key) == flag.name) w.of(app) = true;
    }
    if (flag.name == authorized_timeout) {
      const auto* const number = std::find_if(std::begin(app_numbers), std::end(app_numbers),
                                              [](const auto& n) { return n.key == "authorized_timeout"; });
      if (Problem p = set_number(*number, app, to_number(flag.value), where); !p.empty()) return p;
    } else if (flag.name == "--webhook") {
      // A URL may hold a secret, so it is not repeated.
      if (Problem p = add_webhook(app, {flag.value, {}}, flag.name); !p.empty()) return p;
    } else if (flag.name == "--webhook-events") {
      events.clear();
      std::string_view rest = flag.value;
      for (bool more = true; more;) {
        const std::size_t comma = rest.find(',');
        more = comma != std::string_view::npos;
        if (!add_webhook_event(events, rest.substr(0, comma))) {
          return problem(where, std::string(events_expected) + ", with commas between them");
        }
        if (more) rest.remove_prefix(comma + 1);
      }
    }
  }
  if (!events.empty() && app.webhooks.targets.empty()) {
    return problem("--webhook-events", "expected --webhook too: there is nobody to tell");
  }
  for (fanfare::pusher::WebhookTarget& target : app.webhooks.targets) target.events = events;
  return {};
}

/// Whether a URL names a private address as such. Names show theirs only when a webhook is sent.
bool is_private(const std::string& host) {
  std::array<unsigned char, 4> v4{};
  std::array<unsigned char, 16> v6{};
  if (inet_pton(AF_INET, host.c_str(), v4.data()) == 1) return !fanfare::pusher::is_public(v4);
  if (inet_pton(AF_INET6, host.c_str(), v6.data()) == 1) return !fanfare::pusher::is_public(v6);
  return host == "localhost";
}

/// What no single option shows.
Problem check(const Options& options) {
  if (!options.listen_tls.empty() && (options.tls_cert.empty() || options.tls_key.empty())) {
    return problem("--listen-tls", "expected a certificate and its key too: --tls-cert FILE --tls-key FILE");
  }
  if (options.listen_tls.empty() && !(options.tls_cert.empty() && options.tls_key.empty())) {
    return problem("--tls-cert, --tls-key", "expected --listen-tls HOST:PORT too: nobody would see them");
  }
  for (const OptionsApp& app : options.apps) {
    if (app.app.tls_only && options.listen_tls.empty()) {
      return problem("application " + quoted(app.app.id),
                     "tls_only lets nobody in where nothing listens for TLS: expected --listen-tls HOST:PORT");
    }
    if (app.webhooks.allow_private_targets) continue;
    for (const fanfare::pusher::WebhookTarget& target : app.webhooks.targets) {
      const auto url = fanfare::pusher::WebhookUrl::parse(target.url);
      if (url && is_private(url->host)) {
        return problem("application " + quoted(app.app.id), "a webhook goes to the private address " + url->host +
                                                                ", which --allow-private-webhooks allows");
      }
    }
  }
  return {};
}

}  // namespace

ReadOptions read_options(std::span<const std::string> arguments,
                         const std::function<FileText(const std::string& path)>& read_file) {
  ReadOptions result;
  const auto fail = [&](Problem why) {
    result.error = std::move(why);
    return result;
  };

  std::vector<std::string> without_value{"--help", "--version", "--forwarded-for"};
  for (const Switch& w : app_switches) {
    if (w.has_flag) without_value.push_back(flag_name(w.key));
  }
  std::vector<std::string> known{"--listen",  "--listen-tls",     "--app",
                                 "--config",  "--path-prefix",    "--io",
                                 "--webhook", "--webhook-events", std::string(authorized_timeout)};
  for (const auto& number : server_numbers) known.push_back(flag_name(number.key));
  for (const FileName& file : file_names) known.push_back(flag_name(file.key));
  known.insert(known.end(), without_value.begin(), without_value.end());

  std::vector<Flag> flags;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const std::size_t equals = argument.rfind("--", 0) == 0 ? argument.find('=') : std::string::npos;
    Flag flag{argument.substr(0, equals), {}};
    if (flag.name == "-h") flag.name = "--help";
    const auto found = std::find(known.begin(), known.end(), flag.name);
    if (found == known.end()) {
      if (argument.rfind('-', 0) != 0)
        return fail(problem(quoted(argument), "every argument belongs to a flag; see --help"));
      return fail(problem(quoted(flag.name), "there is no such flag" + suggestion(flag.name, known)));
    }
    const bool takes_value = std::find(without_value.begin(), without_value.end(), flag.name) == without_value.end();
    if (equals != std::string::npos) {
      if (!takes_value) return fail(problem(flag.name, "takes no value"));
      flag.value = argument.substr(equals + 1);
    } else if (takes_value) {
      if (i + 1 == arguments.size()) return fail(problem(flag.name, "expected a value behind it"));
      flag.value = arguments[++i];
    }
    flags.push_back(std::move(flag));
  }

  Options& options = result.options;
  const auto named = [&](std::string_view name) {
    return std::find_if(flags.begin(), flags.end(), [&](const Flag& f) { return f.name == name; });
  };
  options.help = named("--help") != flags.end();
  options.version = !options.help && named("--version") != flags.end();
  if (options.help || options.version) return result;

  if (const auto config = named("--config"); config != flags.end()) {
    if (std::count_if(flags.begin(), flags.end(), [](const Flag& f) { return f.name == "--config"; }) > 1) {
      return fail(problem("--config", "expected once"));
    }
    const FileText file = read_file(config->value);
    if (!file.text) return fail(problem(config->value, "cannot be read: " + file.error));
    if (Problem p = File(config->value, options).read(*file.text); !p.empty()) return fail(std::move(p));
    options.has_file = true;
  }
  const std::size_t in_file = options.apps.size();
  for (const Flag& flag : flags) {
    if (Problem p = apply(options, flag); !p.empty()) return fail(std::move(p));
  }

  if (options.listen.empty() && options.listen_tls.empty()) options.listen.emplace_back("127.0.0.1:6001");
  if (options.apps.empty()) {
    if (const auto config = named("--config"); config != flags.end()) {
      return fail(problem(config->value, "apps: expected at least one application"));
    }
    options.development = true;
    OptionsApp app;
    app.app.id = "42";
    app.app.key = "development-key";
    app.app.secret = "development-secret";
    app.app.client_events = true;
    app.app.subscription_count = true;
    app.app.user_authentication = true;
    app.app.watchlist = true;
    // What the demo's page shows who comes late: the players' list as it was told last, and the last messages.
    app.app.retained.age = std::chrono::hours(24);
    app.app.channel_rules = {
        {.match = "LOBBY_*", .retain = true},
        {.match = "CHAT_*", .history = fanfare::HistoryRule{.count = 50, .age = std::chrono::hours(24)}}};
    options.apps.push_back(std::move(app));
  }
  if (options.apps.size() == in_file) {
    const auto flag = std::find_if(flags.begin(), flags.end(), [](const Flag& f) { return is_app_flag(f.name); });
    if (flag != flags.end()) {
      return fail(
          problem(flag->name, "it is for applications that --app names; in a file, an application has its own"));
    }
  }
  for (std::size_t i = in_file; i < options.apps.size(); ++i) {
    if (Problem p = apply_to_app(options.apps[i], flags); !p.empty()) return fail(std::move(p));
  }
  if (Problem p = check(options); !p.empty()) return fail(std::move(p));
  return result;
}

std::string_view help_text() {
  return R"(fanfare-server: realtime channels for programs that speak the Pusher protocol

usage: fanfare-server [FLAG [VALUE]]...

Without --app and --config it serves one application whose credentials everybody knows, and a demo to open in a browser.

  --listen HOST:PORT         where to listen; may be repeated; port 0: any free port (127.0.0.1:6001)
  --listen-tls HOST:PORT     likewise, for clients that speak TLS
  --tls-cert FILE            the certificate for them, with its chain, in PEM
  --tls-key FILE             its key, in PEM, without a passphrase
  --config FILE              a JSON file with the same and more; flags add to its lists and override its numbers
  --threads N                event loops, with a thread each (1)
  --max-outbox-bytes N       a client that lets more than this pile up is disconnected (1048576)
  --max-mailbox-bytes N      events on their way to one loop; a trigger that does not fit fails (67108864)
  --max-connections N        clients at one time; 0: as many as the system allows (0)
  --max-message-bytes N      one WebSocket message of a client (65536)
  --max-body-bytes N         the body of one HTTP request (1048576)
  --request-timeout SECONDS  an HTTP request that has begun must be whole by then (30)
  --keep-alive-timeout SECONDS
                             an HTTP connection is closed after so long without a request (120)
  --drain-timeout SECONDS    how long a stopping server waits for its clients (5)
  --path-prefix /PATH        serve below this path (none)
  --io auto|uring|send       write to sockets with io_uring where it is there, or else not start; or with send (auto)
  --forwarded-for            a proxy in front says in X-Forwarded-For where clients come from
  --webhook-ca-file FILE     whom to trust for webhooks, in PEM (the system's authorities)
  --pusher-js FILE           pusher.min.js for the demo's page
  --help                     print this
  --version                  print the version

  --app ID:KEY:SECRET        an application; may be repeated

These are for all applications that --app names, and for that of the demo, where the first four are on:

  --client-events            clients may send events to each other
  --subscription-count       clients are told how many subscribers a channel has
  --user-authentication      clients may sign in as users
  --watchlist                users may watch who else is there
  --tls-only                 clients are let in through TLS alone
  --authorized-timeout SECONDS
                             a client must have signed in, or be in a private or presence channel, by then; 0: never (0)
  --webhook URL              where to post what happens; may be repeated
  --webhook-events LIST      what is posted there, with commas: channel_occupied, channel_vacated, member_added,
                             member_removed, client_event, cache_miss, subscription_count, event_held
                             (all of them)
  --allow-private-webhooks   webhooks may go to this machine and private networks

The file: {"listen": ["127.0.0.1:6001"], "threads": 2, "apps": [{"id": "42", "key": "...", "secret": "..."}]}
docs/reference/configuration.md lists every key.

With --listen-tls, SIGHUP reads the certificate and its key again; without, it ends a server that has no --config.
SIGINT or SIGTERM stops it, and a second one at once.
Exit codes: 0 stopped by a signal, 1 could not run, 2 wrong use or a bad file.
)";
}
