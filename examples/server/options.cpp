#include "options.hpp"

#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <initializer_list>
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

constexpr Number<fanfare::AppOptions> app_numbers[] = {
    {"max_connections", 0, 100'000'000, [](fanfare::AppOptions& a, std::uint64_t n) { a.max_connections = n; }},
    {"max_channels_per_connection", 1, 1'000'000,
     [](fanfare::AppOptions& a, std::uint64_t n) { a.max_channels_per_connection = n; }},
    {"activity_timeout", 1, day,
     [](fanfare::AppOptions& a, std::uint64_t n) { a.activity_timeout = std::chrono::seconds(n); }},
    {"pong_timeout", 1, day, [](fanfare::AppOptions& a, std::uint64_t n) { a.pong_timeout = std::chrono::seconds(n); }},
    {"max_event_bytes", 1, 64 * mib, [](fanfare::AppOptions& a, std::uint64_t n) { a.limits.data = n; }},
    {"max_event_name_bytes", 1, 64 * kib, [](fanfare::AppOptions& a, std::uint64_t n) { a.limits.event_name = n; }},
    {"max_channel_name_bytes", 1, 64 * kib, [](fanfare::AppOptions& a, std::uint64_t n) { a.limits.channel_name = n; }},
    {"max_channels", 1, 100'000'000, [](fanfare::AppOptions& a, std::uint64_t n) { a.limits.channels = n; }},
    {"max_channels_per_trigger", 1, 10'000,
     [](fanfare::AppOptions& a, std::uint64_t n) { a.limits.channels_per_trigger = n; }},
};

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
    std::vector<std::string> known{"listen", "apps", "path_prefix", "pusher_js"};
    for (const auto& n : server_numbers) known.emplace_back(n.key);
    for (const auto& member : object) {
      const std::string key(member.key().data(), member.key().size());
      const auto* const found = std::find_if(std::begin(server_numbers), std::end(server_numbers),
                                             [&](const auto& n) { return n.key == key; });
      Problem p;
      if (found != std::end(server_numbers)) {
        p = set_number(*found, options_, number(member.value()), path_ + ": " + key);
      } else if (key == "listen") {
        p = read_listen(member.value());
      } else if (key == "apps") {
        p = read_apps(member.value());
      } else if (key == "path_prefix") {
        const auto text = string(member.value());
        if (!text || !is_prefix(*text)) return wrong(key, prefix_expected);
        options_.path_prefix = *text;
      } else if (key == "pusher_js") {
        const auto text = string(member.value());
        if (!text || text->empty()) return wrong(key, "expected the name of a file");
        options_.pusher_js = *text;
      } else {
        p = unknown("", key, known);
      }
      if (!p.empty()) return p;
    }
    return {};
  }

  Problem read_listen(const json::value& value) {
    if (!value.is_array()) return wrong("listen", "expected an array of strings, such as [\"127.0.0.1:6001\"]");
    for (const json::value& element : value.get_array()) {
      const auto text = string(element);
      const std::string where = "listen[" + std::to_string(options_.listen.size()) + "]";
      if (!text || !is_listen(*text)) return wrong(where, listen_expected);
      options_.listen.push_back(*text);
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
    std::vector<std::string> known{"id", "key", "secret", "enabled"};
    for (const auto& n : app_numbers) known.emplace_back(n.key);
    fanfare::AppOptions app;
    for (const auto& member : value.get_object()) {
      const std::string key(member.key().data(), member.key().size());
      const std::string inner = where + "." + key;
      const auto* const found =
          std::find_if(std::begin(app_numbers), std::end(app_numbers), [&](const auto& n) { return n.key == key; });
      Problem p;
      if (found != std::end(app_numbers)) {
        p = set_number(*found, app, number(member.value()), path_ + ": " + inner);
      } else if (key == "id") {
        const auto id_number = number(member.value());
        app.id = id_number ? std::to_string(*id_number) : string(member.value()).value_or("");
        if (!is_name(app.id)) return wrong(inner, std::string(name_expected) + ", or a number");
      } else if (key == "key") {
        app.key = string(member.value()).value_or("");
        if (!is_name(app.key)) return wrong(inner, name_expected);
      } else if (key == "secret") {
        app.secret = string(member.value()).value_or("");
        if (app.secret.empty() || app.secret.size() > 128) {
          return wrong(inner, std::string("expected a string of ") + std::string(secret_expected.substr(9)));
        }
      } else if (key == "enabled") {
        if (!member.value().is_bool()) return wrong(inner, "expected true or false");
        app.enabled = member.value().get_bool();
      } else {
        p = unknown(where + ".", key, known);
      }
      if (!p.empty()) return p;
    }
    if (app.id.empty()) return wrong(where + ".id", std::string(name_expected) + ", or a number; it is missing");
    if (app.key.empty()) return wrong(where + ".key", std::string(name_expected) + "; it is missing");
    if (app.secret.empty()) return wrong(where + ".secret", std::string(secret_expected) + "; it is missing");
    for (const fanfare::AppOptions& other : options_.apps) {
      if (other.id == app.id) return wrong(where + ".id", quoted(app.id) + " is another application's id already");
      if (other.key == app.key) return wrong(where + ".key", quoted(app.key) + " is another application's key already");
    }
    options_.apps.push_back(std::move(app));
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
  fanfare::AppOptions app;
  app.id = text.substr(0, first);
  app.key = text.substr(first + 1, second - first - 1);
  app.secret = text.substr(second + 1);
  if (!is_name(app.id)) return problem("--app, the ID of ID:KEY:SECRET", name_expected);
  if (!is_name(app.key)) return problem("--app, the KEY of ID:KEY:SECRET", name_expected);
  if (app.secret.empty() || app.secret.size() > 128) {
    return problem("--app, the SECRET of ID:KEY:SECRET", secret_expected);
  }
  for (const fanfare::AppOptions& other : options.apps) {
    if (other.id == app.id) return problem("--app", quoted(app.id) + " is another application's id already");
    if (other.key == app.key) return problem("--app", quoted(app.key) + " is another application's key already");
  }
  options.apps.push_back(std::move(app));
  return {};
}

struct Flag {
  std::string name;
  std::string value;
};

Problem apply(Options& options, const Flag& flag) {
  if (flag.name == "--listen") {
    if (!is_listen(flag.value)) return problem("--listen " + quoted(flag.value), listen_expected);
    options.listen.push_back(flag.value);
    return {};
  }
  if (flag.name == "--app") return add_app(options, flag.value);
  if (flag.name == "--path-prefix") {
    if (!is_prefix(flag.value)) return problem("--path-prefix " + quoted(flag.value), prefix_expected);
    options.path_prefix = flag.value;
    return {};
  }
  if (flag.name == "--pusher-js") {
    if (flag.value.empty()) return problem(flag.name, "expected the name of a file");
    options.pusher_js = flag.value;
    return {};
  }
  std::string key = flag.name.substr(2);
  std::replace(key.begin(), key.end(), '-', '_');
  for (const auto& number : server_numbers) {
    if (number.key == key) {
      return set_number(number, options, to_number(flag.value), flag.name + " " + quoted(flag.value));
    }
  }
  return {};  // --config, which comes first
}

}  // namespace

ReadOptions read_options(std::span<const std::string> arguments,
                         const std::function<FileText(const std::string& path)>& read_file) {
  ReadOptions result;
  const auto fail = [&](Problem why) {
    result.error = std::move(why);
    return result;
  };

  std::vector<std::string> known{"--listen",    "--app",  "--config", "--path-prefix",
                                 "--pusher-js", "--help", "--version"};
  const std::size_t without_value = 2;  // the last two
  for (const auto& number : server_numbers) {
    std::string name = "--" + std::string(number.key);
    std::replace(name.begin(), name.end(), '_', '-');
    known.insert(known.begin(), std::move(name));
  }

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
    const bool takes_value = static_cast<std::size_t>(known.end() - found) > without_value;
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
  }
  for (const Flag& flag : flags) {
    if (Problem p = apply(options, flag); !p.empty()) return fail(std::move(p));
  }

  if (options.listen.empty()) options.listen.emplace_back("127.0.0.1:6001");
  if (options.apps.empty()) {
    if (const auto config = named("--config"); config != flags.end()) {
      return fail(problem(config->value, "apps: expected at least one application"));
    }
    options.development = true;
    fanfare::AppOptions app;
    app.id = "42";
    app.key = "development-key";
    app.secret = "development-secret";
    options.apps.push_back(std::move(app));
  }
  return result;
}

std::string_view help_text() {
  return R"(fanfare-server: realtime channels for programs that speak the Pusher protocol

usage: fanfare-server [FLAG VALUE]...

Without --app and --config it serves one application whose credentials everybody knows, and a demo to open in a browser.

  --listen HOST:PORT         where to listen; may be repeated; port 0: any free port (127.0.0.1:6001)
  --app ID:KEY:SECRET        an application; may be repeated
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
  --pusher-js FILE           pusher.min.js for the demo's page
  --help                     print this
  --version                  print the version

The file: {"listen": ["127.0.0.1:6001"], "threads": 2, "apps": [{"id": "42", "key": "...", "secret": "..."}]}
docs/reference/configuration.md lists every key.

SIGINT or SIGTERM stops it, and a second one at once.
Exit codes: 0 stopped by a signal, 1 could not run, 2 wrong use or a bad file.
)";
}
