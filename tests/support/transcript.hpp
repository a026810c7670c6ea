// Conversations between a client and a server, as text, and the machinery to have them with any server.
//
//   # a comment
//   N: members                     what the peer must be able to do beyond plain channels; see Peer
//   W: draining                    what the next connection meets; see World
//   O: /app/key?protocol=7         a connection is opened
//   C: {"event":"pusher:ping"}     the client sends a message
//   S: {"event":"pusher:pong","data":"{}"}     and this comes from the server
//   C pong                         the client answers a WebSocket ping
//   S ping                         the server sends one
//   S close 4201                   the server closes with that code
//   T: 120s                        time passes; s or ms
//
// In a message of the client, $socket_id is the connection's, and $auth(CHANNEL) or $auth(CHANNEL,DATA) a signature for
// it; write DATA as it is before it is put in quotes, without `)`. $auth(:user:,USER_DATA) is the signature of a sign-in.
// A message of the server is compared as JSON, a string that holds an object too. "*" is any value.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/pusher/auth.hpp>

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fanfare::test {

// What a connection meets. Without a `W:` line it is this; `key` and `secret` are what every world has.
struct World {
  static constexpr std::string_view key = "key";
  static constexpr std::string_view secret = "secret";

  bool draining = false;                                // W: draining
  bool full = false;                                    // W: full
  bool disabled = false;                                // W: disabled
  std::size_t channels = 1000;                          // W: channels 2, per connection
  std::size_t name_length = 164;                        // W: name_length 200
  std::chrono::milliseconds activity_timeout{120'000};  // W: activity_timeout 1s
  std::chrono::milliseconds pong_timeout{30'000};       // W: pong_timeout 1s
  bool no_memory = false;                               // W: no_memory, for subscriptions

  // How the connection comes: for peers with the power `openings`, which a line `N: openings` asks for.
  bool over_capacity = false;  // W: over_capacity
  bool tls = false;            // W: tls
  std::string origin{};        // W: origin https://example.com

  // For peers with the power `options`.
  bool tls_only = false;                            // W: tls_only
  std::vector<std::string> origins{};               // W: origins example.com, once for each
  bool client_events = false;                       // W: client_events
  unsigned events_per_second = 10;                  // W: events_per_second 2
  std::size_t data = 10 * 1024;                     // W: data 20, bytes of an event's
  bool subscription_count = false;                  // W: subscription_count
  bool users = false;                               // W: users: they may sign in
  bool watchlist = false;                           // W: watchlist
  std::size_t watched = 100;                        // W: watched 2, users on a watchlist
  std::size_t members = 100;                        // W: members 1, of a presence channel
  std::size_t user_bytes = 1024;                    // W: user_bytes 40
  std::size_t user_id_bytes = 128;                  // W: user_id_bytes 10
  bool numeric_ids = false;                         // W: numeric_ids
  std::chrono::milliseconds authorized_timeout{0};  // W: authorized_timeout 10s
  bool hosted_errors = false;                       // W: hosted_errors
};

// The application of a world.
inline AppOptions options_of(const World& world) {
  using std::chrono::duration_cast;
  using std::chrono::seconds;
  AppOptions options{.id = "1", .key = std::string(World::key), .secret = std::string(World::secret)};
  options.enabled = !world.disabled;
  options.max_channels_per_connection = world.channels;
  options.limits.channel_name = world.name_length;
  options.limits.data = world.data;
  options.activity_timeout = duration_cast<seconds>(world.activity_timeout);
  options.pong_timeout = duration_cast<seconds>(world.pong_timeout);
  options.authorized_timeout = duration_cast<seconds>(world.authorized_timeout);
  options.tls_only = world.tls_only;
  options.allowed_origins = world.origins;
  options.client_events = world.client_events;
  options.client_events_per_second = world.events_per_second;
  options.subscription_count = world.subscription_count;
  options.user_authentication = world.users;
  options.watchlist = world.watchlist;
  options.max_watchlist = world.watched;
  options.max_presence_members = world.members;
  options.max_user_bytes = world.user_bytes;
  options.max_user_id_bytes = world.user_id_bytes;
  options.preserve_user_id_type = world.numeric_ids;
  options.hosted_subscription_errors = world.hosted_errors;
  return options;
}

// What comes from a server.
struct FromServer {
  enum class Kind { text, ping, close };
  Kind kind = Kind::text;
  std::string text;
  unsigned code = 0;  // of a close

  friend bool operator==(const FromServer&, const FromServer&) = default;
};

// A client with a server behind it.
//
//   open      connects, with the target as in a request line; false: this peer has no such world. What was open is left.
//   send      sends a text message
//   pong      answers a ping; a peer whose WebSocket does so by itself does nothing, and gives no pings to `receive`
//   receive   the next that comes from the server; nothing if nothing comes
//   silent    whether nothing has come that was not received; it need not wait for it
//   advance   lets time pass; false: this peer cannot
//
// A peer that can do more has `bool can(std::string_view)`, which is asked about the powers that a transcript needs:
//   options   the last part of World
//   openings  the part of World before it
//   caches    cache channels
//   members   presence channels
//   users     signing in, channels of users, watchlists
//   relays    events that clients send to each other
//   counts    telling how many subscribers a channel has
template <class P>
concept Peer = requires(P& peer, std::string_view text, const World& world, std::chrono::milliseconds time) {
  { peer.open(text, world) } -> std::same_as<bool>;
  peer.send(text);
  peer.pong();
  { peer.receive() } -> std::same_as<std::optional<FromServer>>;
  { peer.silent() } -> std::same_as<bool>;
  { peer.advance(time) } -> std::same_as<bool>;
};

template <Peer P>
bool can(P& peer, std::string_view power) {
  if constexpr (requires { peer.can(power); }) return peer.can(power);
  return false;
}

struct TranscriptLine {
  enum class What { need, world, open, send, receive, client_pong, server_ping, server_close, time };
  std::size_t number = 0;
  What what = What::open;
  std::string text;                   // of need, world, open, send, receive
  unsigned code = 0;                  // of server_close
  std::chrono::milliseconds time{0};  // of time
};

struct Transcript {
  std::string name;
  std::vector<TranscriptLine> lines;
};

inline std::chrono::milliseconds read_time(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error == std::errc{} && unit == "s") return std::chrono::seconds(number);
  if (error == std::errc{} && unit == "ms") return std::chrono::milliseconds(number);
  throw std::invalid_argument("a time is a number with s or ms");
}

inline unsigned long read_number(std::string_view text) {
  unsigned long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) throw std::invalid_argument("expected a number");
  return number;
}

// Adds one `W:` line. Throws std::invalid_argument.
inline void add_to_world(std::string_view text, World& world) {
  const std::size_t space = std::min(text.find(' '), text.size());
  const std::string_view what = text.substr(0, space);
  const std::string_view value = text.substr(std::min(space + 1, text.size()));
  if (what == "draining") {
    world.draining = true;
  } else if (what == "full") {
    world.full = true;
  } else if (what == "disabled") {
    world.disabled = true;
  } else if (what == "no_memory") {
    world.no_memory = true;
  } else if (what == "channels") {
    world.channels = read_number(value);
  } else if (what == "name_length") {
    world.name_length = read_number(value);
  } else if (what == "activity_timeout") {
    world.activity_timeout = read_time(value);
  } else if (what == "pong_timeout") {
    world.pong_timeout = read_time(value);
  } else if (what == "over_capacity") {
    world.over_capacity = true;
  } else if (what == "tls") {
    world.tls = true;
  } else if (what == "tls_only") {
    world.tls_only = true;
  } else if (what == "origin") {
    world.origin = value;
  } else if (what == "origins") {
    world.origins.emplace_back(value);
  } else if (what == "client_events") {
    world.client_events = true;
  } else if (what == "events_per_second") {
    world.events_per_second = static_cast<unsigned>(read_number(value));
  } else if (what == "data") {
    world.data = read_number(value);
  } else if (what == "subscription_count") {
    world.subscription_count = true;
  } else if (what == "users") {
    world.users = true;
  } else if (what == "watchlist") {
    world.watchlist = true;
  } else if (what == "watched") {
    world.watched = read_number(value);
  } else if (what == "members") {
    world.members = read_number(value);
  } else if (what == "user_bytes") {
    world.user_bytes = read_number(value);
  } else if (what == "user_id_bytes") {
    world.user_id_bytes = read_number(value);
  } else if (what == "numeric_ids") {
    world.numeric_ids = true;
  } else if (what == "authorized_timeout") {
    world.authorized_timeout = read_time(value);
  } else if (what == "hosted_errors") {
    world.hosted_errors = true;
  } else {
    throw std::invalid_argument("there is no such world");
  }
}

// Reads one line; nothing for a comment. Throws std::exception.
inline std::optional<TranscriptLine> read_line(std::string_view text) {
  using enum TranscriptLine::What;
  TranscriptLine line;
  const auto begins = [&](std::string_view with) {
    if (!text.starts_with(with)) return false;
    text.remove_prefix(with.size());
    return true;
  };
  if (text.empty() || text.front() == '#') return std::nullopt;
  if (begins("N: ")) {
    line.what = need;
    constexpr std::array<std::string_view, 7> powers{"options", "openings", "caches", "members",
                                                     "users",   "relays",   "counts"};
    if (std::find(powers.begin(), powers.end(), text) == powers.end()) {
      throw std::invalid_argument("there is no such power");
    }
  } else if (begins("W: ")) {
    line.what = world;
    World ignored;
    add_to_world(text, ignored);
  } else if (begins("O: ")) {
    line.what = open;
  } else if (begins("C: ")) {
    line.what = send;
  } else if (begins("S: ")) {
    line.what = receive;
    static_cast<void>(boost::json::parse({text.data(), text.size()}));
  } else if (begins("T: ")) {
    line.what = time;
    line.time = read_time(text);
  } else if (begins("S close ")) {
    line.what = server_close;
    line.code = static_cast<unsigned>(read_number(text));
  } else if (text == "C pong") {
    line.what = client_pong;
  } else if (text == "S ping") {
    line.what = server_ping;
  } else {
    throw std::invalid_argument("a line begins with N: W: O: C: S: or T:, or is S close CODE, S ping or C pong");
  }
  line.text = text;
  return line;
}

// Throws std::runtime_error with the file and the line.
inline Transcript read_transcript(const std::filesystem::path& path) {
  Transcript transcript{path.stem().string(), {}};
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path.string() + ": cannot be read");
  std::string text;
  for (std::size_t number = 1; std::getline(file, text); ++number) {
    try {
      if (std::optional<TranscriptLine> line = read_line(text)) {
        line->number = number;
        transcript.lines.push_back(*std::move(line));
      }
    } catch (const std::exception& error) {
      throw std::runtime_error(path.string() + ':' + std::to_string(number) + ": " + error.what());
    }
  }
  if (transcript.lines.empty()) throw std::runtime_error(path.string() + ": is empty");
  return transcript;
}

// All transcripts of a directory, by name.
inline std::vector<std::filesystem::path> find_transcripts(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == ".txt") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

inline bool matches(const boost::json::value& expected, const boost::json::value& actual) {
  if (expected.is_string() && expected.get_string() == "*") return true;
  if (expected.is_object() && actual.is_object()) {
    const boost::json::object& actual_members = actual.get_object();
    if (expected.get_object().size() != actual_members.size()) return false;
    for (const auto& [name, value] : expected.get_object()) {
      const boost::json::value* const member = actual_members.if_contains(name);
      if (member == nullptr || !matches(value, *member)) return false;
    }
    return true;
  }
  if (expected.is_array() && actual.is_array()) {
    return std::equal(expected.get_array().begin(), expected.get_array().end(), actual.get_array().begin(),
                      actual.get_array().end(), matches);
  }
  if (expected.is_string() && actual.is_string() && expected != actual) {
    boost::json::error_code failed;
    const boost::json::value inner = boost::json::parse(expected.get_string(), failed);
    if (failed || !inner.is_object()) return false;
    const boost::json::value actual_inner = boost::json::parse(actual.get_string(), failed);
    return !failed && matches(inner, actual_inner);
  }
  return expected == actual;
}

// Whether a server's message is what a transcript says.
inline bool matches(std::string_view expected, std::string_view actual) {
  boost::json::error_code failed;
  const boost::json::value value = boost::json::parse({actual.data(), actual.size()}, failed);
  return !failed && matches(boost::json::parse({expected.data(), expected.size()}), value);
}

// Puts the connection's id and signatures into a message.
inline std::string fill_in(std::string text, const std::string& socket_id) {
  const auto replace = [&text](std::size_t at, std::size_t size, const std::string& by) { text.replace(at, size, by); };
  constexpr std::string_view auth = "$auth(";
  for (std::size_t at; (at = text.find(auth)) != std::string::npos;) {
    const std::size_t end = text.find(')', at);
    if (end == std::string::npos) throw std::invalid_argument("$auth( has no end");
    std::string what = text.substr(at + auth.size(), end - at - auth.size());
    if (const std::size_t comma = what.find(','); comma != std::string::npos) what[comma] = ':';
    replace(at, end + 1 - at,
            std::string(World::key) + ':' + pusher::hmac_sha256_hex(World::secret, socket_id + ':' + what));
  }
  constexpr std::string_view id = "$socket_id";
  for (std::size_t at; (at = text.find(id)) != std::string::npos;) replace(at, id.size(), socket_id);
  return text;
}

enum class TranscriptOutcome {
  held,    // all went as written
  left,    // the peer cannot do what comes next; so far it went as written
  broken,  // it did not
};

struct TranscriptResult {
  TranscriptOutcome outcome = TranscriptOutcome::held;
  std::string text;  // for people; empty where it held

  friend bool operator==(const TranscriptResult&, const TranscriptResult&) = default;
  friend void PrintTo(const TranscriptResult& result, std::ostream* out) {
    *out << (result.outcome == TranscriptOutcome::held ? "it held" : result.text);
  }
};

// Has the conversation with a peer.
template <Peer P>
TranscriptResult run(const Transcript& transcript, P& peer) {
  using What = TranscriptLine::What;
  const auto result = [&](TranscriptOutcome outcome, const TranscriptLine& line, const std::string& text) {
    return TranscriptResult{outcome, transcript.name + ".txt:" + std::to_string(line.number) + ": " + text};
  };
  const auto describe = [](const std::optional<FromServer>& came) -> std::string {
    if (!came) return "nothing";
    switch (came->kind) {
      case FromServer::Kind::text: return came->text;
      case FromServer::Kind::ping: return "a ping";
      case FromServer::Kind::close: return "a close with " + std::to_string(came->code);
    }
    return "?";
  };

  World world;
  std::string socket_id;
  for (const TranscriptLine& line : transcript.lines) {
    const bool server_speaks =
        line.what == What::receive || line.what == What::server_ping || line.what == What::server_close;
    if (server_speaks) {
      const std::optional<FromServer> came = peer.receive();
      bool right = came.has_value();
      if (right && line.what == What::receive) {
        right = came->kind == FromServer::Kind::text && matches(std::string_view(line.text), came->text);
      } else if (right && line.what == What::server_ping) {
        right = came->kind == FromServer::Kind::ping;
      } else if (right) {
        right = came->kind == FromServer::Kind::close && came->code == line.code;
      }
      if (!right) return result(TranscriptOutcome::broken, line, "came: " + describe(came));
      if (came->text.find("connection_established") != std::string::npos) {
        const boost::json::value message = boost::json::parse(came->text);
        const boost::json::value data = boost::json::parse(message.at("data").as_string());
        socket_id = std::string(data.at("socket_id").as_string());
      }
      continue;
    }
    if (!peer.silent()) return result(TranscriptOutcome::broken, line, "before this came: " + describe(peer.receive()));
    switch (line.what) {
      case What::need:
        if (!can(peer, line.text)) return result(TranscriptOutcome::left, line, "it cannot do that");
        break;
      case What::world: add_to_world(line.text, world); break;
      case What::open:
        if (!peer.open(line.text, world)) return result(TranscriptOutcome::left, line, "no such world here");
        world = World{};
        break;
      case What::send: peer.send(fill_in(line.text, socket_id)); break;
      case What::client_pong: peer.pong(); break;
      case What::time:
        if (!peer.advance(line.time)) return result(TranscriptOutcome::left, line, "time does not pass here");
        break;
      default: break;
    }
  }
  if (!peer.silent()) {
    return result(TranscriptOutcome::broken, transcript.lines.back(), "behind it came: " + describe(peer.receive()));
  }
  return {};
}

}  // namespace fanfare::test
