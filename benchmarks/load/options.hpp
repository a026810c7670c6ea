// The command line.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace fanfare::load {

/// `data` cannot be shorter: it carries the trigger's number.
inline constexpr std::size_t least_bytes = 10;

/// How events get into the server.
enum class Via { http, batch, client };

[[nodiscard]] constexpr std::string_view to_string(Via via) {
  return via == Via::http ? "http" : via == Via::batch ? "batch" : "client";
}

struct Options {
  std::string host;
  std::string port;
  std::string id;
  std::string key;
  std::string secret;
  std::size_t clients = 1000;
  std::size_t channels = 1;
  std::size_t each = 1;
  bool own = false;
  std::string channel_prefix;
  std::size_t bytes = 100;
  Via via = Via::http;
  std::size_t batch = 10;
  std::size_t senders = 100;
  std::size_t connections = 1;
  bool pipeline = false;
  std::size_t burst = 1;
  std::size_t window = 1;
  double rate = 0;
  double seconds = 3;
  std::size_t warmup = 20;
  double timeout = 10;
  double settle = 0.5;
  double keepalive = 20;
  std::string source;
  std::vector<int> pids;
  bool sleep = false;
  bool connect_only = false;
  bool step = false;
  bool json = false;
  bool help = false;

  /// What stands in the field `Host` of requests.
  [[nodiscard]] std::string authority() const {
    return (host.find(':') == host.npos ? host : '[' + host + ']') + ':' + port;
  }
};

/// The command line is wrong.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr std::string_view usage = R"(usage: fanfare-load --url HOST:PORT --app ID:KEY:SECRET [OPTION]...

Connects subscribers to a server of the Pusher protocol, triggers events through its HTTP API or lets members send them,
and checks that every subscriber sees every event of its channels exactly once and in order.

server
  --url HOST:PORT          where it listens; [ADDRESS]:PORT for IPv6
  --app ID:KEY:SECRET      the application
  --pid PID[,PID]...       its processes on this machine: reports their CPU time and memory

subscribers
  --clients N              how many connections (1000)
  --channels C             client i subscribes to channel i mod C (1)
  --each K                 and to the K - 1 channels after it (1)
  --own                    and to a private channel of its own; every other trigger goes to one of these
  --channel-prefix NAME    channels are NAME-0, NAME-1, ... (load- and the process id); private ones private-NAME-...
  --source ADDRESS         first local IPv4 address; the next is taken after each 20,000 connections
  --keepalive S            each client sends a pusher:ping every S seconds; 0: never (20)
  --connect-only           ends after connecting, subscribing and reading the memory

triggers
  --bytes B                size of an event's data before JSON escaping, 10 to 65536 (100)
  --via http|batch|client  one event per request, several through batch_events, or client events of members, which make
                           the channels private (http)
  --batch N                events in a request, with --via batch; hosted Pusher takes 10 (10)
  --senders S              with --via client: so many members of each channel take turns, all if there are fewer (100)
  --connections H          API connections; a channel always uses the same one (1)
  --pipeline               does not wait for an answer before the next request on a connection, if the server keeps
                           connections
  --burst K                triggers are sent K at a time (1)
  --window W               closed loop: so many bursts under way (1)
  --rate R                 open loop: R triggers each second, however slow the server is; latencies count from the time
                           when a trigger is due

measuring
  --seconds S              for how long (3)
  --warmup N               bursts before that (20)
  --timeout S              gives up when nothing arrives for so long (10)
  --settle S               waits so long after subscribing before it reads the memory (0.5)
  --sleep                  sleeps while there is nothing to do; else it spins
  --step                   measures once for each line on the standard input, until its end
  --json                   prints one JSON object per measurement; --step implies it
  --help                   prints this

exit codes
  0  everything arrived exactly once and in order, every request was accepted
  1  something was lost, doubled, out of order, for others, or refused
  2  wrong use
  3  the measurement could not be made or was broken off: no connection, connection closed, protocol error, interrupted
     while connecting

An interrupt (Ctrl-C) ends the current measurement early; its report is printed. A second one ends the program at once.
)";

namespace detail {

/// A whole number of `least` to `most`.
///
/// \throws  `UsageError`.
[[nodiscard]] inline std::size_t whole(std::string_view flag, std::string_view text, std::size_t least,
                                       std::size_t most) {
  std::size_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && rest == end && value >= least && value <= most) return value;
  throw UsageError(std::string(flag) + ": a whole number of " + std::to_string(least) + " to " + std::to_string(most) +
                   " is expected, not \"" + std::string(text) + "\"");
}

/// A decimal number of `least` to `most`.
///
/// \throws  `UsageError`.
[[nodiscard]] inline double decimal(std::string_view flag, std::string_view text, double least, double most) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && rest == end && value >= least && value <= most) return value;
  std::array<char, 64> range{};
  std::snprintf(range.data(), range.size(), "%g to %g", least, most);
  throw UsageError(std::string(flag) + ": a number of " + range.data() + " is expected, not \"" + std::string(text) +
                   "\"");
}

inline void set_url(Options& options, std::string_view text) {
  const std::size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of(":/[]") != host.npos) {
    host = {};
  }
  if (colon == text.npos || host.empty()) {
    throw UsageError("--url: HOST:PORT is expected, not \"" + std::string(text) + "\"");
  }
  options.host = host;
  options.port = std::to_string(whole("--url, the port", text.substr(colon + 1), 1, 65'535));
}

inline void set_app(Options& options, std::string_view text) {
  const std::size_t first = text.find(':');
  const std::size_t second = first == text.npos ? text.npos : text.find(':', first + 1);
  if (second == text.npos || first == 0 || second == first + 1 || second + 1 == text.size()) {
    throw UsageError("--app: ID:KEY:SECRET is expected");
  }
  options.id = text.substr(0, first);
  options.key = text.substr(first + 1, second - first - 1);
  options.secret = text.substr(second + 1);
}

inline void set_channel_prefix(Options& options, std::string_view text) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=,.;";
  if (text.empty() || text.size() > 100 || text.find_first_not_of(allowed) != text.npos ||
      text.starts_with("private-") || text.starts_with("presence-")) {
    throw UsageError("--channel-prefix: at most 100 letters, digits or _-=,.; of a public channel are expected");
  }
  options.channel_prefix = text;
}

inline void add_pids(Options& options, std::string_view text) {
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    options.pids.push_back(static_cast<int>(whole("--pid", text.substr(begin, end - begin), 1, 1 << 30)));
    begin = end + 1;
  }
}

}  // namespace detail

/// Reads the command line.
///
/// \throws  `UsageError`.
[[nodiscard]] inline Options parse_options(const std::vector<std::string_view>& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view flag = arguments[i];
    const auto value = [&] {
      if (i + 1 == arguments.size()) throw UsageError(std::string(flag) + " needs a value");
      return arguments[++i];
    };
    const auto count = [&](std::size_t most) { return detail::whole(flag, value(), 1, most); };
    if (flag == "--url") {
      detail::set_url(options, value());
    } else if (flag == "--app") {
      detail::set_app(options, value());
    } else if (flag == "--pid") {
      detail::add_pids(options, value());
    } else if (flag == "--clients") {
      options.clients = count(1'000'000);
    } else if (flag == "--channels") {
      options.channels = count(1'000'000);
    } else if (flag == "--each") {
      options.each = count(100);
    } else if (flag == "--own") {
      options.own = true;
    } else if (flag == "--channel-prefix") {
      detail::set_channel_prefix(options, value());
    } else if (flag == "--source") {
      options.source = value();
    } else if (flag == "--keepalive") {
      options.keepalive = detail::decimal(flag, value(), 0, 86'400);
    } else if (flag == "--connect-only") {
      options.connect_only = true;
    } else if (flag == "--bytes") {
      options.bytes = detail::whole(flag, value(), least_bytes, 65'536);
    } else if (flag == "--via") {
      const std::string_view via = value();
      if (via != "http" && via != "batch" && via != "client") {
        throw UsageError("--via: http, batch or client is expected");
      }
      options.via = via == "http" ? Via::http : via == "batch" ? Via::batch : Via::client;
    } else if (flag == "--batch") {
      options.batch = count(1'000);
    } else if (flag == "--senders") {
      options.senders = count(100'000);
    } else if (flag == "--connections") {
      options.connections = count(1'000);
    } else if (flag == "--pipeline") {
      options.pipeline = true;
    } else if (flag == "--burst") {
      options.burst = count(10'000);
    } else if (flag == "--window") {
      options.window = count(10'000);
    } else if (flag == "--rate") {
      options.rate = detail::decimal(flag, value(), 0.001, 1e7);
    } else if (flag == "--seconds") {
      options.seconds = detail::decimal(flag, value(), 0.001, 86'400);
    } else if (flag == "--warmup") {
      options.warmup = detail::whole(flag, value(), 0, 1'000'000);
    } else if (flag == "--timeout") {
      options.timeout = detail::decimal(flag, value(), 0.1, 3'600);
    } else if (flag == "--settle") {
      options.settle = detail::decimal(flag, value(), 0, 3'600);
    } else if (flag == "--sleep") {
      options.sleep = true;
    } else if (flag == "--step") {
      options.step = true;
    } else if (flag == "--json") {
      options.json = true;
    } else if (flag == "--help" || flag == "-h") {
      options.help = true;
      return options;
    } else {
      throw UsageError("unknown option " + std::string(flag));
    }
  }
  if (options.host.empty()) throw UsageError("--url is missing");
  if (options.key.empty()) throw UsageError("--app is missing");
  if (options.channels > options.clients) throw UsageError("every channel needs a client: --channels is too much");
  if (options.each > options.channels) throw UsageError("there are not so many --channels for --each client");
  if (options.via == Via::client) {
    if (options.own) throw UsageError("--own and --via client exclude each other: nobody would listen");
    if (options.clients < 2 * options.channels) throw UsageError("--via client: a channel needs two clients");
    // Senders are the same number in each channel.
    options.senders = std::min(options.senders, options.clients / options.channels);
  } else {
    options.senders = 1;  // the API
  }
  if (options.clients * options.each * options.senders > 50'000'000) {
    throw UsageError("--clients times --each times --senders is more than 50,000,000");
  }
  if (options.window * options.burst > 1'000'000) throw UsageError("--window times --burst is more than 1,000,000");
  if (options.step && options.connect_only) throw UsageError("--step and --connect-only exclude each other");
  if (options.channel_prefix.empty()) {
    // Names of one length, whatever the process id, so that two generators side by side send as many bytes.
    std::array<char, 32> name{};
    std::snprintf(name.data(), name.size(), "load-%07d", static_cast<int>(getpid()));
    options.channel_prefix = name.data();
  }
  options.json = options.json || options.step;
  return options;
}

}  // namespace fanfare::load
