// Lines of bytes as a conversation: the first is the query of the connection, those that follow are messages of the
// client. Whatever they hold, each has one answer, which is bounded, valid JSON and UTF-8.
//
// The first byte says in what state the server is and what the application allows. A line that begins with `!` lets as
// many seconds pass as it has bytes. Every line is read as what a backend says of a user, too: signed, it would be believed.
#include <fanfare/pusher/session.hpp>

#include <boost/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <variant>

namespace {

using namespace fanfare;
using namespace fanfare::pusher;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "session_fuzz: %s\n", what);
  std::abort();
}

boost::json::value read_json(std::string_view text, boost::json::error_code& failed) {
  boost::json::parse_options options;
  options.max_depth = 64;  // what is nested as deep as a client may, inside of what a server says
  return boost::json::parse({text.data(), text.size()}, failed, {}, options);
}

// What a client is sent. `echo` is how long a text stands in it that came from the client in full.
void check_text(std::string_view text, std::size_t echo = 0) {
  expect(text.size() <= 8192 + 8 * echo, "an answer is bounded");
  expect(fanfare::detail::is_utf8(text), "an answer is UTF-8");
  boost::json::error_code failed;
  const boost::json::value value = read_json(text, failed);
  expect(!failed && value.is_object(), "an answer is a JSON object");
  const boost::json::value* const event = value.get_object().if_contains("event");
  const boost::json::value* const data = value.get_object().if_contains("data");
  expect(event != nullptr && event->is_string() && data != nullptr, "an answer has an event and data");
  if (event->get_string() == "pusher:error") {
    const boost::json::object* const error = data->if_object();
    expect(error != nullptr && error->size() == 2 && error->at("message").is_string(), "an error is an object");
    expect(error->at("code").is_null() || error->at("code").is_int64(), "an error has a code");
  } else {
    expect(data->is_string(), "data is a string");
    static_cast<void>(read_json(data->get_string(), failed));
    expect(!failed, "data is JSON");
  }
}

void check_member(const Member& member, const AppOptions& options) {
  expect(!member.user_id.empty() && member.user_id.size() <= options.max_user_id_bytes, "a member's id is bounded");
  expect(member.user_info.size() <= options.max_user_bytes, "a member's info is bounded");
  expect(!member.numeric_id || options.preserve_user_id_type, "ids are strings");
  boost::json::error_code failed;
  static_cast<void>(read_json(member.user_info, failed));
  expect(!failed, "a member's info is JSON");
  const auto one = std::make_shared<const Member>(member);
  const boost::json::value presence = read_json(data::presence({&one, 1}), failed);
  expect(!failed && presence.at("presence").at("hash").get_object().contains(member.user_id), "a member is told of");
  expect(read_json(data::member_added(member), failed).is_object() && !failed, "a member is announced");
}

void check_user(const UserData& user, std::size_t size, const AppOptions& options) {
  expect(!user.id.empty() && user.id.size() <= options.max_user_id_bytes, "a user's id is bounded");
  expect(user.watchlist.size() <= options.max_watchlist, "a watchlist is bounded");
  expect(user.user_info.size() <= size, "a user's info is a part of what was said");
  boost::json::error_code failed;
  static_cast<void>(read_json(user.user_info, failed));
  expect(!failed, "a user's info is JSON");
}

class Conversation {
 public:
  Conversation(unsigned char state, std::string_view query) : app_(options(state)) {
    Opening opening{.query = query, .full = state % 64 == 33, .path_found = state % 64 != 34, .key = query};
    opening.draining = state % 64 == 35;
    if (state % 64 == 37) opening.origin = query;
    opening.tls = state % 64 == 38;
    opening.over_capacity = state % 64 == 40;
    perform(session_.open(state % 64 == 36 ? nullptr : &app_, opening, now_));
  }

  void line(std::string_view text) {
    if (text.starts_with('!')) {
      now_ += std::chrono::seconds(text.size());
      perform(session_.tick(now_));
    } else {
      // A copy, so that a read beyond the message is one beyond an allocation.
      const std::string copy(text);
      size_ = copy.size();
      perform(session_.receive(copy, now_));
      const ChannelData data = read_channel_data(copy, app_.options());
      if (data.error == UserDataError::none) check_member(data.member, app_.options());
      const UserData user = read_user_data(copy, app_.options());
      if (user.error == UserDataError::none) check_user(user, copy.size(), app_.options());
      static_cast<void>(json_member(copy, "data"));
    }
  }

 private:
  static AppOptions options(unsigned char state) {
    AppOptions options{.id = "1", .key = "key", .secret = "secret"};
    options.enabled = state % 64 != 32;
    options.max_channels_per_connection = 3;
    if (state >= 128) options.limits.channel_name = 20;
    if (state % 64 == 37) options.allowed_origins = {"example.com", "*.example.com"};
    options.tls_only = state % 64 == 38 || state % 64 == 39;
    if ((state & 64U) == 0) return options;
    options.client_events = options.user_authentication = options.watchlist = true;
    options.limits.data = 100;
    options.client_events_per_second = 3;
    options.max_user_bytes = 200;
    options.max_watchlist = 3;
    if (state % 64 >= 32) return options;
    options.hosted_subscription_errors = (state & 1U) != 0;
    options.preserve_user_id_type = (state & 2U) != 0;
    if ((state & 4U) != 0) options.authorize = [](const Authorization& asked) { return asked.auth != "no"; };
    if ((state & 8U) != 0) options.authorized_timeout = std::chrono::seconds{10};
    return options;
  }

  void perform(const Action& action) {
    const bool was_closed = closed_;
    if (const auto* const send = std::get_if<Send>(&action)) {
      check_text(send->text);
    } else if (const auto* const close = std::get_if<Close>(&action)) {
      check_text(close->text);
      expect(close->code >= 4000 && close->code < 4300, "a close has a code of the protocol");
      expect(close->reason.size() <= longest_reason, "a reason fits into a close frame");
      expect(fanfare::detail::is_utf8(close->reason), "a reason is UTF-8");
      closed_ = true;
    } else if (const auto* const subscribe = std::get_if<Subscribe>(&action)) {
      expect(ChannelName::check(subscribe->channel, app_.options().limits.channel_name) == errc::ok,
             "a channel's name");
      const ChannelKind kind = ChannelName::kind(subscribe->channel);
      expect(ChannelName::has_members(kind) == (subscribe->member != nullptr), "presence channels have members");
      if (subscribe->member != nullptr) check_member(*subscribe->member, app_.options());
      expect(kind != ChannelKind::server_to_user ||
                 (!session_.user_id().empty() && subscribe->channel.ends_with(session_.user_id())),
             "a user's channel is the user's");
      const bool full = channels_.size() >= app_.options().max_channels_per_connection;
      const auto outcome = channels_.contains(subscribe->channel) ? SubscribeOutcome::already_subscribed
                           : full                                 ? SubscribeOutcome::over_limit
                                                                  : SubscribeOutcome::subscribed;
      if (outcome == SubscribeOutcome::subscribed) channels_.insert(subscribe->channel);
      answered(session_.subscribed(subscribe->channel, outcome));
    } else if (const auto* const unsubscribe = std::get_if<Unsubscribe>(&action)) {
      const bool was_subscribed = channels_.erase(unsubscribe->channel) > 0;
      const Action answer = session_.unsubscribed(unsubscribe->channel, was_subscribed);
      if (was_subscribed) {
        expect(answer == Action(Nothing{}), "who leaves is not answered");
      } else {
        answered(answer);
      }
    } else if (const auto* const relay = std::get_if<Relay>(&action)) {
      expect(relay->event.starts_with("client-") && relay->event.size() <= app_.options().limits.event_name,
             "an event's name");
      expect(relay->data.size() <= app_.options().limits.data, "an event's data is bounded");
      expect(fanfare::detail::is_utf8(relay->event) && fanfare::detail::is_utf8(relay->data), "an event is UTF-8");
      expect(app_.options().client_events && ++relayed_[now_] <= app_.options().client_events_per_second,
             "events are allowed, and few");
      const bool subscribed = channels_.contains(relay->channel);
      const Action answer =
          session_.relayed(relay->channel, subscribed ? RelayOutcome::relayed : RelayOutcome::not_subscribed);
      if (!subscribed) answered(answer);
    } else if (const auto* const sign_in = std::get_if<SignIn>(&action)) {
      check_user({.id = sign_in->user_id, .user_info = sign_in->user_info, .watchlist = sign_in->watchlist}, size_,
                 app_.options());
      expect(session_.user_id().empty() || session_.user_id() == sign_in->user_id, "a connection is of one user");
      answered(session_.signed_in(*sign_in, true), size_);
      expect(session_.user_id() == sign_in->user_id, "who signs in is signed in");
    }
    expect(closed_ != session_.is_open(), "open until it is closed");
    expect(!was_closed || action == Action(Nothing{}), "nothing after the end");
  }

  static void answered(const Action& action, std::size_t echo = 0) {
    const auto* const send = std::get_if<Send>(&action);
    expect(send != nullptr, "a request is answered with a message");
    check_text(send->text, echo);
  }

  App app_;
  Session session_{{1234, 1234}};
  std::set<std::string> channels_;
  std::map<Milliseconds, unsigned> relayed_;
  std::size_t size_ = 0;  // of the last message
  Milliseconds now_{0};
  bool closed_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view rest{reinterpret_cast<const char*>(data) + 1, size - 1};
  const auto next = [&rest] {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return line;
  };
  Conversation conversation(data[0], next());
  while (!rest.empty()) conversation.line(next());
  return 0;
}
