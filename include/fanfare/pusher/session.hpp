/// \file
/// The Pusher protocol for one client, as a machine without socket, clock or thread.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/detail/text.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/client_frame.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/pusher/origin.hpp>
#include <fanfare/pusher/socket_id.hpp>
#include <fanfare/pusher/user_data.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// A time, of any clock that never goes back.
using Milliseconds = std::chrono::milliseconds;

/// \name What a session wants done
/// Each call of a session returns exactly one of these. Texts are UTF-8.
/// @{

/// Nothing is to be done.
struct Nothing {
  friend bool operator==(const Nothing&, const Nothing&) = default;
};

/// Send this text as one message.
struct Send {
  std::string text;
  friend bool operator==(const Send&, const Send&) = default;
};

/// Send a WebSocket ping, or what the transport has in its place. What the client answers is told by `Session::heard`.
struct Ping {
  friend bool operator==(const Ping&, const Ping&) = default;
};

/// Enter the client into the channel, then call `Session::subscribed`. The name is valid, and the client may enter.
///
/// Behind the answer, a client that has come to a cache channel is sent the channel's last event or `frames::cache_miss`,
/// and with `AppOptions::subscription_count` one that has come to any but a presence channel is sent
/// `frames::subscription_count`.
struct Subscribe {
  std::string channel;
  MemberPtr member{};  ///< Whom it enters as: of a presence channel, and null for all others.
  /// The last event of the channel that it says it has seen; empty where it says what is no id.
  std::optional<EventId> since{};
  friend bool operator==(const Subscribe& a, const Subscribe& b) {
    if (a.channel != b.channel || a.since != b.since || (a.member == nullptr) != (b.member == nullptr)) return false;
    return a.member == nullptr || *a.member == *b.member;
  }
};

/// Take the client out of the channel, then call `Session::unsubscribed`. The name is valid.
struct Unsubscribe {
  std::string channel;
  friend bool operator==(const Unsubscribe&, const Unsubscribe&) = default;
};

/// If the client is in the channel, ask `AppOptions::on_client_event` and give the event to all others in the channel; then
/// call `Session::relayed`. Names and sizes are within the limits, and the channel is one where clients may do so. On a
/// presence channel the event carries the id of the member that the client has entered as.
struct Relay {
  std::string channel;
  std::string event;
  std::string data;
  friend bool operator==(const Relay&, const Relay&) = default;
};

/// Count the client as a connection of this user, then call `Session::signed_in`. Who is signed in already may sign in
/// again as the same user: what it says then stands.
///
/// Behind the answer, a client whose watchlist was too long is sent `frames::watchlist_cut`, and one that has a watchlist
/// `frames::watchlist_events` with the state of all on it.
struct SignIn {
  std::string user_id;                   ///< Not empty, and of at most `AppOptions::max_user_id_bytes` bytes.
  std::string user_data;                 ///< All that was signed, byte for byte.
  std::string user_info;                 ///< The user's info in it, as JSON; `null` where there is none.
  std::vector<std::string> watchlist{};  ///< At most `AppOptions::max_watchlist` ids, none twice.
  bool watchlist_cut = false;            ///< Whether there were more.
  friend bool operator==(const SignIn&, const SignIn&) = default;
};

/// Send `text` as one message, then close with the code and the reason. The session is over.
struct Close {
  std::uint16_t code = 0;
  std::string reason;  ///< At most `longest_reason` bytes.
  std::string text;    ///< The `pusher:error` with the same code: old clients read nothing else.
  friend bool operator==(const Close&, const Close&) = default;
};

/// What the owner of a session is to do: one of these, as each call says.
using Action = std::variant<Nothing, Send, Ping, Subscribe, Unsubscribe, Relay, SignIn, Close>;

/// @}

/// What is known of a connection when it begins.
struct Opening {
  std::string_view query = {};   ///< Behind the `?` of `/app/KEY?…`, not decoded.
  bool draining = false;         ///< Whether the server is about to stop.
  bool full = false;             ///< Whether the application has all connections it may have; see `App::admit`.
  bool path_found = true;        ///< Whether the path was `/app/KEY`.
  std::string_view key = {};     ///< As the client wrote it; for the sentence that says it is unknown.
  std::string_view origin = {};  ///< The `Origin` header; empty where there is none.
  bool tls = false;              ///< Whether the client came through TLS.
  bool over_capacity = false;    ///< Whether the server has all connections it can have, whatever the application.
  bool address_full = false;     ///< Whether the application has all connections it may have from one address.
};

/// How it went to enter a client into a channel.
enum class SubscribeOutcome : std::uint8_t {
  subscribed,            ///< It is in the channel now.
  already_subscribed,    ///< It was in the channel already; nothing has changed.
  over_limit,            ///< It is in `AppOptions::max_channels_per_connection` channels already.
  failed,                ///< There is no memory for it, or the application has too many channels.
  too_many_members,      ///< The presence channel has `AppOptions::max_presence_members` users already.
  too_many_subscribers,  ///< The channel has `ChannelRule::max_subscribers` already.
};

/// What has become of a client's event.
enum class RelayOutcome : std::uint8_t {
  relayed,         ///< It is on its way.
  not_subscribed,  ///< The client is not in the channel.
  refused,         ///< The application does not want it.
  dropped,         ///< The application has dealt with it; the client is told nothing.
  failed,          ///< There is no room for it.
};

/// The protocol's state for one client: versions 4 to 7 of the Pusher Channels protocol.
///
/// A transport calls `open` once, then `receive` for every text message, `heard` for whatever else comes from the client
/// and `tick` about once a second, and does what each of them returns before it calls the next.
///
/// What a client does wrong is answered and costs it nothing else: the connection stays. Only a connection that is not let
/// in, one that does not say in time whose it is, and one that has fallen silent are closed.
///
/// \ownership  the application must outlive the session, or its last call.
/// \throws     all functions that return an action: `std::bad_alloc`, and `receive` what `AppOptions::authorize` throws.
///             The session is then as before, but that `receive` has heard the client, and may have counted its event.
/// Thread safety: distinct sessions, also of one application: safe. One session: no.
class Session {
 public:
  /// \param id  one that no other connection has, and that cannot be guessed: signatures are made for it.
  explicit Session(SocketId id) noexcept : id_(id) {}

  /// Lets the client in or refuses it.
  ///
  /// \param app  the application with the key; null if there is none.
  /// \returns    `Send` with `pusher:connection_established`; or `Close`.
  /// \pre        it is called once, before everything else, and not after `close`.
  [[nodiscard]] Action open(App* app, const Opening& opening, Milliseconds now) {
    FANFARE_ASSERT(state_ == State::fresh, "a session is opened once");
    if (opening.draining) return close(close_code::reconnect, "The server is about to stop: please connect again");
    if (!opening.path_found) {
      return close(close_code::path_not_found, "There is nothing at this path: clients connect to /app/KEY");
    }
    if (app == nullptr) {
      return close(close_code::unknown_key, joined({"Application key '", excerpt(opening.key, 40),
                                                    "' does not exist: check the key and the host"}));
    }
    const AppOptions& options = app->options();
    if (!options.enabled) return close(close_code::app_disabled, "The application is disabled");
    if (options.tls_only && !opening.tls) {
      return close(close_code::tls_only, "The application is open to connections through TLS alone: use wss");
    }

    const Query query = read(opening.query);
    if (!query.protocol) {
      return close(close_code::no_protocol, "No protocol version was given: add protocol=7 to the query");
    }
    const std::optional<std::uint8_t> protocol = supported(*query.protocol);
    if (!protocol) {
      return close(close_code::unsupported_protocol,
                   joined({"Unsupported protocol version '", excerpt(*query.protocol, 40), "': 4 to 7 are supported"}));
    }
    if (!is_version(query.version)) {
      return close(close_code::bad_version,
                   joined({"Malformed version '", excerpt(query.version, 40), "': it must be like 8.4.0"}));
    }
    if (!origin_allowed(opening.origin, options.allowed_origins)) {
      return close(close_code::unauthorized,
                   joined({"Pages from '", excerpt(origin_host(opening.origin), 60), "' may not connect"}));
    }
    if (opening.full) {
      return close(close_code::over_quota, "The application has all the connections that it may have");
    }
    if (opening.address_full) {
      return close(close_code::over_capacity, "There are too many connections from this address: try again later");
    }
    if (opening.over_capacity) {
      return close(close_code::over_capacity, "The server has all the connections that it can have: try again later");
    }
    Action action = Send{frames::connection_established(
        id_, std::chrono::duration_cast<std::chrono::seconds>(bounded(options.activity_timeout)))};
    app_ = app;
    since_ = clock(now);
    opened_ = occupied_ = clock(now);
    protocol_ = *protocol & 7U;
    state_ = State::open;
    return action;
  }

  /// Takes a text message of the client. After the end of the session it does nothing.
  /// \complexity  O(size); for a signature in it as well.
  [[nodiscard]] Action receive(std::string_view text, Milliseconds now) {
    Signer signer;
    return receive(text, now, signer);
  }
  /// The same for those who have many sessions.
  /// \param signer  this thread's.
  [[nodiscard]] Action receive(std::string_view text, Milliseconds now, Signer& signer) {
    if (!is_open()) return Nothing{};
    heard(now);
    renew_second(now);
    ++messages_;
    ClientFrame frame(text);
    if (frame.error() != ClientFrameError::none) return complain(message(frame.error()));
    const std::string_view event = frame.event();
    if (event == "pusher:ping") return Send{frames::pong()};
    if (event == "pusher:pong") return Nothing{};
    if (event == "pusher:subscribe") return subscribe(frame, signer);
    if (event == "pusher:unsubscribe") return unsubscribe(frame);
    if (event == "pusher:signin") return sign_in(frame, signer);
    if (event.starts_with("client-")) return client_event(frame);
    return complain(joined({"Unsupported event received on socket: '", excerpt(event), "'"}));
  }

  /// Tells how a `Subscribe` went.
  /// \param channel  the name that the action had.
  /// \param data     what a client that is in the channel now is told about it, as JSON: `data::presence` on a presence
  ///                 channel.
  /// \param resumed  to a client that has said what it saw last; see `frames::subscription_succeeded`.
  /// \param replays  whether it is sent what was kept; likewise.
  [[nodiscard]] Action subscribed(std::string_view channel, SubscribeOutcome outcome, std::string_view data = "{}",
                                  Resumed resumed = Resumed::not_asked, bool replays = false) {
    if (!is_open()) return Nothing{};
    switch (outcome) {
      case SubscribeOutcome::subscribed: {
        Action action = Send{frames::subscription_succeeded(channel, data, resumed, replays)};
        authorized_ = authorized_ || access(ChannelName::kind(channel)) != Access::free;
        return action;
      }
      case SubscribeOutcome::already_subscribed:
        return complain(joined({"Existing subscription to channel ", excerpt(channel)}));
      case SubscribeOutcome::over_limit:
        return refuse(channel, "LimitReached", 4100,
                      joined({"A connection may have at most ",
                              std::to_string(app_->options().max_channels_per_connection), " channels"}));
      case SubscribeOutcome::too_many_members:
        return refuse(channel, "LimitReached", 4100,
                      joined({"A presence channel may have at most ",
                              std::to_string(app_->options().max_presence_members), " members"}));
      case SubscribeOutcome::too_many_subscribers:
        return refuse(channel, "LimitReached", 4100, "The channel has as many subscribers as it may have");
      case SubscribeOutcome::failed: break;
    }
    return refuse(channel, "ServerError", 503, "The server has no room for the subscription: please try again later");
  }

  /// Tells how an `Unsubscribe` went.
  /// \param channel         the name that the action had.
  /// \param was_subscribed  whether the client was in the channel.
  [[nodiscard]] Action unsubscribed(std::string_view channel, bool was_subscribed) {
    if (!is_open() || was_subscribed) return Nothing{};
    return not_subscribed(channel);
  }

  /// Tells what has become of a `Relay`.
  /// \param channel  the name that the action had.
  [[nodiscard]] Action relayed(std::string_view channel, RelayOutcome outcome) {
    if (!is_open()) return Nothing{};
    switch (outcome) {
      case RelayOutcome::relayed:
      case RelayOutcome::dropped: return Nothing{};
      case RelayOutcome::not_subscribed:
        return complain(
            joined({"Cannot broadcast client event (connection not subscribed to channel ", excerpt(channel), ")"}));
      case RelayOutcome::refused:
        return complain(joined({"The application has refused a client event on channel ", excerpt(channel)}));
      case RelayOutcome::failed: break;
    }
    return complain(joined({"The server has no room for a client event on channel ", excerpt(channel)}));
  }

  /// Tells how a `SignIn` went.
  /// \param ok  whether the client counts as one of the user's connections. If not, it is whom it was before.
  [[nodiscard]] Action signed_in(const SignIn& sign_in, bool ok) {
    if (!is_open()) return Nothing{};
    if (!ok) return not_signed_in("The server has no room for the user: please try again later");
    auto user = std::make_unique<const Member>(Member{sign_in.user_id, sign_in.user_info});
    Action action = Send{frames::signin_success(sign_in.user_data)};
    user_ = std::move(user);
    return action;
  }

  /// Tells that something came from the client that `receive` was not given: a ping, a pong, a binary message.
  void heard(Milliseconds now) noexcept {
    since_ = clock(now);
    asked_ = false;
  }

  /// Whether the client has sent all the messages that it may send in one second. What else it sends is to wait: a
  /// transport stops reading, and asks again a little later.
  [[nodiscard]] bool paced(Milliseconds now) noexcept {
    if (!is_open() || app_->options().messages_per_second == 0) return false;
    renew_second(now);
    return messages_ >= app_->options().messages_per_second;
  }

  /// Lets time pass: asks a client that has been silent for `AppOptions::activity_timeout` whether it is there, and gives
  /// it up when it has then been silent for `AppOptions::pong_timeout`. An early call does nothing, a late one does no harm.
  ///
  /// Also ends a connection that has neither signed in nor entered a private or presence channel within
  /// `AppOptions::authorized_timeout`, and one that has been in no channel for `AppOptions::idle_timeout`.
  ///
  /// \param in_channel  whether the client is in a channel now.
  /// \returns  `Nothing`; or a question, which is `Ping`, in version 5 of the protocol `Send` with `pusher:ping`; or
  ///           `Close`.
  [[nodiscard]] Action tick(Milliseconds now, bool in_channel = true) {
    if (!is_open()) return Nothing{};
    const AppOptions& options = app_->options();
    if (options.authorized_timeout > options.authorized_timeout.zero() && !authorized_ && user_ == nullptr &&
        elapsed(opened_, now) >= bounded(options.authorized_timeout)) {
      return close(close_code::unauthorized, "Connection not authorized within timeout.");
    }
    if (in_channel || user_ != nullptr) occupied_ = clock(now);
    if (options.idle_timeout > options.idle_timeout.zero() &&
        elapsed(occupied_, now) >= bounded(options.idle_timeout)) {
      return close(close_code::inactive, "The connection has been in no channel for too long");
    }
    if (elapsed(since_, now) < bounded(asked_ ? options.pong_timeout : options.activity_timeout)) return Nothing{};
    if (asked_) return close(close_code::no_pong, "Pong reply not received in time");
    Action action;
    if (protocol_ == 5) {
      action = Send{frames::ping()};  // 4 need not answer it, 6 and 7 have better
    } else {
      action = Ping{};
    }
    since_ = clock(now);  // so that a late call leaves the client all its time to answer
    asked_ = true;
    return action;
  }

  /// Ends the session for a reason of the transport's own: `close_code::reconnect` where the server stops,
  /// `close_code::over_capacity` for a client that reads too slowly. Instead of `open`, it refuses the client.
  ///
  /// \param code     one of 4000 to 4299.
  /// \param message  for people; UTF-8, cut to `longest_reason` bytes.
  /// \returns        `Close`.
  [[nodiscard]] Action close(std::uint16_t code, std::string_view message) {
    const std::string_view reason = fanfare::detail::text::cut_utf8(message, longest_reason);
    Close action{code, std::string(reason), frames::error(code, reason)};
    state_ = State::closed;
    return action;
  }

  /// Names the client, from the beginning to the end.
  [[nodiscard]] const SocketId& socket_id() const noexcept { return id_; }

  /// The application that has let the client in; null if none has.
  [[nodiscard]] App* app() const noexcept { return app_; }

  /// Whether the client was let in and no `Close` has been returned.
  [[nodiscard]] bool is_open() const noexcept { return state_ == State::open; }

  /// The user that the client is signed in as; empty if it is not. The view ends with the next call of `signed_in`.
  [[nodiscard]] std::string_view user_id() const noexcept {
    return user_ == nullptr ? std::string_view{} : std::string_view(user_->user_id);
  }

  /// The version that the client speaks, 4 to 7; 0 if it was not let in.
  [[nodiscard]] int protocol() const noexcept { return protocol_; }

 private:
  enum class State : std::uint8_t { fresh, open, closed };

  struct Query {
    std::optional<std::string> protocol;
    std::string version;
  };

  // Of a parameter that stands there twice the first counts.
  static Query read(std::string_view text) {
    Query query;
    std::optional<std::string> version;
    const auto parameters = http::query_parameters(text, text.size());
    if (!parameters) return query;  // never: a text has no more parameters than characters
    for (const http::QueryParameter& parameter : *parameters) {
      std::optional<std::string>* const wanted = parameter.name == "protocol"  ? &query.protocol
                                                 : parameter.name == "version" ? &version
                                                                               : nullptr;
      if (wanted == nullptr || wanted->has_value()) continue;
      // What cannot be decoded is neither a number nor a version, so it is refused for that.
      *wanted = http::percent_decode(parameter.value, true).value_or(std::string(parameter.value));
    }
    query.version = std::move(version).value_or(std::string());
    return query;
  }

  static std::optional<std::uint8_t> supported(std::string_view protocol) noexcept {
    std::uint8_t number = 0;
    const auto [end, error] = std::from_chars(protocol.data(), protocol.data() + protocol.size(), number);
    if (error != std::errc{} || end != protocol.data() + protocol.size() || number < 4 || number > 7) {
      return std::nullopt;
    }
    return number;
  }

  // Clients write numbers with dots, and what build systems add to them: 8.4.0, 2.0-SNAPSHOT, v1.2.3-rc.1+5. Where there
  // is none, nothing is wrong with it.
  static bool is_version(std::string_view version) noexcept {
    if (version.empty()) return true;
    if (version.size() > 64) return false;
    for (const char character : version) {
      if (!http::detail::is_alphanumeric(character) && std::string_view(".-_+~ ").find(character) == version.npos) {
        return false;
      }
    }
    if (version.front() == 'v' || version.front() == 'V') version.remove_prefix(1);
    return !version.empty() && version.front() >= '0' && version.front() <= '9';
  }

  // The lower half of a time, and how much has passed since: exact up to 24 days, and not negative in error.
  static std::uint32_t clock(Milliseconds now) noexcept { return static_cast<std::uint32_t>(now.count()); }
  static Milliseconds elapsed(std::uint32_t since, Milliseconds now) noexcept {
    return Milliseconds{static_cast<std::int32_t>(clock(now) - since)};
  }

  // A client counts milliseconds in 31 bits, and takes 0 seconds for a message without a timeout.
  static Milliseconds bounded(std::chrono::seconds timeout) noexcept {
    return std::clamp<std::chrono::seconds>(timeout, std::chrono::seconds{1}, std::chrono::hours{24 * 24});
  }

  Action subscribe(ClientFrame& frame, Signer& signer) {
    const Parameter parameter = frame.parameter("channel");
    if (parameter.state != Parameter::State::text) return complain(what_is_wrong(parameter, "channel"));
    const std::string_view channel = parameter.text;
    const errc error = ChannelName::check(channel, app_->options().limits.channel_name);
    if (error != errc::ok) return refuse(channel, "InvalidChannel", 400, bad_name(error));
    const ChannelKind kind = ChannelName::kind(channel);
    switch (access(kind)) {
      case Access::free: break;
      case Access::signature: {
        const std::optional<std::string> refusal = not_authorized(channel, frame, signer);
        if (refusal) return refuse(channel, "AuthError", 401, *refusal);
        if (ChannelName::has_members(kind)) return enter_as_member(channel, frame);
        break;
      }
      case Access::user:
        if (user_ == nullptr || channel.substr(std::string_view("#server-to-user-").size()) != user_->user_id) {
          return refuse(channel, "AuthError", close_code::unauthorized,
                        "Only the user whom a channel is named after may subscribe to it, after signing in");
        }
        break;
    }
    return Subscribe{std::string(channel), {}, since(frame)};
  }

  // An id that is none is one that no channel knows.
  static std::optional<EventId> since(ClientFrame& frame) {
    const Parameter parameter = frame.parameter("since");
    if (parameter.state == Parameter::State::absent || parameter.state == Parameter::State::no_data)
      return std::nullopt;
    return event_id_from(parameter.text).value_or(EventId{});
  }

  // The client may enter, and the question is as whom.
  Action enter_as_member(std::string_view channel, ClientFrame& frame) const {
    const AppOptions& options = app_->options();
    const std::string_view data = frame.parameter("channel_data").text;
    if (data.empty()) {
      if (user_ == nullptr) {
        return refuse(channel, "AuthError", close_code::unauthorized,
                      "A presence channel needs channel_data with a user_id, or a user who is signed in");
      }
      if (user_->user_id.size() + user_->user_info.size() > options.max_user_bytes) {
        return bad_member(channel, "user_data", UserDataError::too_large);
      }
      return Subscribe{std::string(channel), std::make_shared<const Member>(*user_), since(frame)};
    }
    ChannelData read = read_channel_data(data, options);
    if (read.error != UserDataError::none) return bad_member(channel, "channel_data", read.error);
    return Subscribe{std::string(channel), std::make_shared<const Member>(std::move(read.member)), since(frame)};
  }

  Action bad_member(std::string_view channel, std::string_view name, UserDataError error) const {
    const std::string text = bad_user_data(name, error);
    if (error == UserDataError::too_large || error == UserDataError::id_too_long) {
      return refuse(channel, "LimitReached", 4301, text);
    }
    return refuse(channel, "InvalidChannelData", 400, text);
  }

  std::string bad_user_data(std::string_view name, UserDataError error) const {
    const AppOptions& options = app_->options();
    switch (error) {
      case UserDataError::too_large:
        return joined({"Invalid ", name, ": it has more than ", std::to_string(options.max_user_bytes), " bytes"});
      case UserDataError::id_too_long:
        return joined(
            {"Invalid ", name, ": the user's id has more than ", std::to_string(options.max_user_id_bytes), " bytes"});
      default: return joined({"Invalid ", name, ": ", message(error)});
    }
  }

  Action unsubscribe(ClientFrame& frame) {
    const Parameter channel = frame.parameter("channel");
    if (channel.state != Parameter::State::text) return complain(what_is_wrong(channel, "channel"));
    // Nobody is in a channel whose name is not valid.
    if (ChannelName::check(channel.text, app_->options().limits.channel_name) != errc::ok) {
      return not_subscribed(channel.text);
    }
    return Unsubscribe{std::string(channel.text)};
  }

  Action client_event(const ClientFrame& frame) {
    const AppOptions& options = app_->options();
    if (!options.client_events) {
      return complain("To send client events, you must enable this feature in the settings of the application");
    }
    const Parameter channel = frame.channel();
    if (channel.state != Parameter::State::text) {
      return complain("Invalid client event: it must have a channel, which must be a string");
    }
    if (check_event_name(frame.event(), options.limits.event_name) != errc::ok) {
      return complain(joined(
          {"Invalid client event: its name is longer than ", std::to_string(options.limits.event_name), " bytes"}));
    }
    // Nobody is in a channel whose name is not valid.
    if (ChannelName::check(channel.text, options.limits.channel_name) != errc::ok) {
      return relayed(channel.text, RelayOutcome::not_subscribed);
    }
    if (access(ChannelName::kind(channel.text)) != Access::signature) {
      return complain("Client events may be sent to private and presence channels alone");
    }
    const std::string_view data = frame.data_text();
    if (data.size() > options.limits.data) {
      return complain(joined({"The data content of this event exceeds the allowed maximum (",
                              std::to_string(options.limits.data), " bytes)"}));
    }
    if (!may_send_event()) return Send{frames::client_event_rate(options.client_events_per_second)};
    return Relay{std::string(channel.text), std::string(frame.event()), std::string(data)};
  }

  // A second begins with the first message that comes after the last one has ended.
  void renew_second(Milliseconds now) noexcept {
    const Milliseconds age = elapsed(second_, now);
    if (messages_ != 0 && age >= Milliseconds{0} && age < std::chrono::seconds{1}) return;
    second_ = clock(now);
    messages_ = events_ = 0;
  }

  // Counts an event among those of the second that `receive` has begun.
  bool may_send_event() noexcept {
    if (events_ >= app_->options().client_events_per_second) return false;
    ++events_;
    return true;
  }

  Action sign_in(ClientFrame& frame, Signer& signer) const {
    const AppOptions& options = app_->options();
    if (!options.user_authentication) return not_signed_in("This server does not sign users in");
    const Parameter data = frame.parameter("user_data");
    if (data.state != Parameter::State::text) return not_signed_in(what_is_wrong(data, "user_data"));
    std::string signed_text(id_.text().view());
    signed_text += "::user::";
    signed_text += data.text;
    const Signature signature = read_signature(frame, "sign-in");
    if (signature.secret == nullptr) return not_signed_in(signature.refusal);
    // Documentation shows `KEY::user::DIGITS`, backends send `KEY:DIGITS`.
    std::string_view digits = signature.digits;
    if (digits.starts_with(":user::")) digits.remove_prefix(7);
    if (!signer.signature_matches(*signature.secret, signed_text, digits)) {
      return not_signed_in(bad_signature(signed_text, digits));
    }
    UserData read = read_user_data(data.text, options);
    if (read.error != UserDataError::none) return not_signed_in(bad_user_data("user_data", read.error));
    if (user_ != nullptr && user_->user_id != read.id) {
      return not_signed_in("The connection is signed in as another user already");
    }
    return SignIn{std::move(read.id), std::string(data.text), std::move(read.user_info), std::move(read.watchlist),
                  read.watchlist_cut};
  }

  static Action not_signed_in(std::string_view message) {
    return Send{frames::error(close_code::unauthorized, message)};
  }

  enum class Access : std::uint8_t {
    free,       ///< Every client may enter.
    signature,  ///< A client may enter with a signature of the backend, or if the application says so.
    user,       ///< A client may enter that is signed in as the user.
  };

  static Access access(ChannelKind kind) noexcept {
    switch (kind) {
      case ChannelKind::public_:
      case ChannelKind::cache: break;
      case ChannelKind::private_:
      case ChannelKind::private_cache:
      case ChannelKind::private_encrypted:
      case ChannelKind::private_encrypted_cache:
      case ChannelKind::presence:
      case ChannelKind::presence_cache: return Access::signature;
      case ChannelKind::server_to_user: return Access::user;
    }
    return Access::free;
  }

  /// \returns  why the client may not enter; nothing if it may. Never what would let it in.
  std::optional<std::string> not_authorized(std::string_view channel, ClientFrame& frame, Signer& signer) const {
    const Parameter data = frame.parameter("channel_data");
    if (data.state == Parameter::State::not_text) return what_is_wrong(data, "channel_data");
    if (const auto& authorize = app_->options().authorize) {
      const SocketId::Text id = id_.text();
      const bool may = authorize({.socket_id = id.view(),
                                  .channel = channel,
                                  .auth = frame.parameter("auth").text,
                                  .channel_data = data.text});
      return may ? std::nullopt : std::optional<std::string>("The application does not let the client in");
    }
    const Signature signature = read_signature(frame, "subscription");
    if (signature.secret == nullptr) return signature.refusal;
    std::string signed_text(id_.text().view());
    signed_text += ':';
    signed_text += channel;
    // Backends disagree on whether an empty string is data or none.
    const bool may = data.text.empty() && signer.signature_matches(*signature.secret, signed_text, signature.digits);
    if (may) return std::nullopt;
    if (data.state == Parameter::State::text) {
      signed_text += ':';
      signed_text += data.text;
      if (signer.signature_matches(*signature.secret, signed_text, signature.digits)) return std::nullopt;
    }
    return bad_signature(signed_text, signature.digits);
  }

  /// `auth`, taken apart.
  struct Signature {
    const std::string* secret = nullptr;  ///< Null where there is none.
    std::string_view digits{};
    std::string refusal{};  ///< Why there is none.
  };

  Signature read_signature(ClientFrame& frame, std::string_view of) const {
    const Parameter auth = frame.parameter("auth");
    if (auth.state != Parameter::State::text || auth.text.empty()) return {.refusal = what_is_wrong(auth, "auth")};
    const std::size_t colon = auth.text.find(':');
    if (colon == std::string_view::npos) {
      return {.refusal =
                  joined({"Invalid ", of, " auth data: expected KEY:SIGNATURE, but got '", excerpt(auth.text), "'"})};
    }
    const std::string_view key = auth.text.substr(0, colon);
    const std::string* const secret = app_->secret_of(key);
    if (secret == nullptr) {
      return {.refusal = joined({"Invalid key in ", of, " auth data: '", excerpt(key), "'"})};
    }
    return {.secret = secret, .digits = auth.text.substr(colon + 1)};
  }

  static std::string bad_signature(std::string_view signed_text, std::string_view digits) {
    return joined({"Invalid signature: Expected HMAC SHA256 hex digest of ", excerpt(signed_text, 2 * longest_echo),
                   ", but got ", excerpt(digits, 80)});
  }

  static std::string what_is_wrong(const Parameter& parameter, std::string_view name) {
    switch (parameter.state) {
      case Parameter::State::absent:
      case Parameter::State::text: break;  // an empty one
      case Parameter::State::not_text: return joined({"Invalid parameter: data.", name, " must be a string"});
      case Parameter::State::no_data: return "Invalid parameter: data must be an object, or a string that holds one";
    }
    return joined({"Missing parameter: data.", name});
  }

  std::string bad_name(errc error) const {
    switch (error) {
      case errc::empty_name: return "The channel name is empty";
      case errc::name_too_long:
        return joined(
            {"The channel name is longer than ", std::to_string(app_->options().limits.channel_name), " bytes"});
      case errc::reserved_name: return "Channel names that begin with # are reserved";
      default: return "The channel name has characters other than A-Z a-z 0-9 _ - = @ , . ;";
    }
  }

  // An error that leaves the connection as it is.
  static Action complain(std::string_view message) { return Send{frames::error(std::nullopt, message)}; }

  static Action not_subscribed(std::string_view channel) {
    return complain(joined({"No current subscription to channel ", excerpt(channel), ", or subscription in progress"}));
  }

  // A channel that the client is not let into.
  Action refuse(std::string_view channel, std::string_view type, unsigned status, std::string_view message) const {
    if (app_->options().hosted_subscription_errors) return complain(message);
    return Send{frames::subscription_error(channel, type, message, status)};
  }

  SocketId id_;
  App* app_ = nullptr;
  std::unique_ptr<const Member> user_;  // who is signed in; null: nobody
  std::uint32_t since_ = 0;             // when the client was heard last, or asked
  std::uint32_t opened_ = 0;
  std::uint32_t occupied_ = 0;  // when it was last in a channel, or signed in
  std::uint32_t second_ = 0;    // when the first of the messages came that are counted
  std::uint32_t messages_ = 0;
  std::uint32_t events_ : 24 = 0;  // of clients, among the messages
  std::uint8_t protocol_ : 3 = 0;
  State state_ : 2 = State::fresh;
  bool asked_ : 1 = false;
  bool authorized_ : 1 = false;  // has been in a channel that is not open to all
};

static_assert(sizeof(Session) <= 56, "there are many of them");

}  // namespace pusher
FANFARE_NAMESPACE_END
