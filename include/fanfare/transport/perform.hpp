/// \file
/// What a session wants done, done: the few lines between the Pusher protocol and whatever moves its messages.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/pusher/session.hpp>
#include <fanfare/pusher/socket_id.hpp>
#include <fanfare/transport/door.hpp>
#include <fanfare/transport/fanout.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Carries out the actions of the session of a connection of the type `C`.
///
/// | expression | meaning |
/// |---|---|
/// | `d.send_text(connection, text)` | send one message |
/// | `d.send_ping(connection)` | ask whether the client is there |
/// | `d.close(connection, code, reason)` | say so, and end the connection; see `part` |
template <class D, class C>
concept Driver = requires(D& driver, C& connection, std::string_view text, std::uint16_t code) {
  driver.send_text(connection, text);
  driver.send_ping(connection);
  driver.close(connection, code, text);
};

/// What `welcome` asks for: a `Driver` that is given frames too.
///
/// | expression | meaning |
/// |---|---|
/// | `d.send_frame(connection, bytes)` | send one message that is a WebSocket frame already |
template <class D, class C>
concept FrameDriver = Driver<D, C> && requires(D& driver, C& connection, std::string_view frame) {
  driver.send_frame(connection, frame);
};

/// All of a loop that moves the bytes of connections of the type `C`: where triggers come in, what carries out what
/// sessions want, and what the fan-out writes to.
template <class T, class C>
concept Transport = std::derived_from<T, Door> && FrameDriver<T, C> && Port<T, C>;

/// What a session is told of it at once; `pending` and `refused` are failures to it.
[[nodiscard]] inline pusher::SubscribeOutcome outcome_of(JoinResult result) noexcept {
  switch (result) {
    case JoinResult::joined: return pusher::SubscribeOutcome::subscribed;
    case JoinResult::already_joined: return pusher::SubscribeOutcome::already_subscribed;
    case JoinResult::over_limit: return pusher::SubscribeOutcome::over_limit;
    case JoinResult::too_many_members: return pusher::SubscribeOutcome::too_many_members;
    case JoinResult::too_many_subscribers: return pusher::SubscribeOutcome::too_many_subscribers;
    case JoinResult::pending:
    case JoinResult::refused: break;
  }
  return pusher::SubscribeOutcome::failed;
}

namespace detail {

/// Sends a client's event to all others in the channel.
template <class P, class C>
[[nodiscard]] pusher::RelayOutcome relay(Fanout<P, C>& fanout, C& connection, const pusher::SocketId& id, App& app,
                                         const pusher::Relay& event) {
  const auto place = fanout.membership(app, event.channel, connection);
  if (!place) return pusher::RelayOutcome::not_subscribed;
  const std::string_view user_id =
      place->member == nullptr ? std::string_view{} : std::string_view(place->member->user_id);
  const pusher::SocketId::Text socket_id = id.text();
  if (const auto& judge = app.options().on_client_event; judge != nullptr) {
    switch (judge({socket_id.view(), event.channel, event.event, event.data, user_id})) {
      case ClientEventVerdict::relay: break;
      case ClientEventVerdict::drop: return pusher::RelayOutcome::dropped;
      case ClientEventVerdict::refuse: return pusher::RelayOutcome::refused;
    }
  }
  const TriggerResult result =
      app.trigger(event.channel, event.event, event.data,
                  {.except_socket = socket_id.view(), .user_id = user_id, .socket_id = socket_id.view()});
  if (!result) return pusher::RelayOutcome::failed;
  if (app.tells()) {
    app.note({.kind = AppEvent::Kind::client_event,
              .channel = event.channel,
              .user_id = std::string(user_id),
              .event = event.event,
              .data = event.data,
              .socket_id = std::string(socket_id.view())});
    app.tell();
  }
  return pusher::RelayOutcome::relayed;
}

/// Enters a connection among those of its user, and those who watch others.
/// \returns whether there was room for it.
template <class P, class C>
[[nodiscard]] bool sign_in(Fanout<P, C>& fanout, C& connection, App& app, const pusher::SignIn& user) {
  if (!connection.signed_in) {
    std::string channel(App::user_channel);
    channel += user.user_id;
    const JoinResult result = fanout.join(app, ReservedChannel{channel}, connection);
    if (result != JoinResult::joined && result != JoinResult::already_joined) return false;
    app.sign_in(user.user_id);
    connection.signed_in = true;
  }
  fanout.leave_reserved(connection, App::watch_channel);  // what it said before does not stand any more
  for (const std::string& watched : user.watchlist) {
    std::string channel(App::watch_channel);
    channel += watched;
    static_cast<void>(fanout.join(app, ReservedChannel{channel}, connection));
  }
  return true;
}

/// What a client that has signed in is told besides.
template <class D, class C>
void greet(D& driver, C& connection, const App& app, const pusher::SignIn& user) {
  if (user.watchlist_cut) {
    driver.send_text(connection, pusher::frames::watchlist_cut(app.options().max_watchlist));
  }
  if (user.watchlist.empty()) return;
  std::vector<std::string> online;
  std::vector<std::string> offline;
  for (const std::string& watched : user.watchlist) {
    (app.users().online(watched) ? online : offline).push_back(watched);
  }
  driver.send_text(connection, pusher::frames::watchlist_events(online, offline));
}

}  // namespace detail

/// The key that a client names by its path, `PREFIX/app/KEY`; nothing where the path is none of that form.
[[nodiscard]] inline std::optional<std::string_view> key_in(std::string_view path, std::string_view prefix = {}) {
  constexpr std::string_view app_path = "/app/";
  if (!path.starts_with(prefix)) return std::nullopt;
  path.remove_prefix(prefix.size());
  if (!path.starts_with(app_path) || path.find('/', app_path.size()) != path.npos) return std::nullopt;
  return path.substr(app_path.size());
}

/// Opens a client's session, and counts it in where it is let in. See `App::dismiss_from` for its end.
/// \param address   see `App::admit_from`.
/// \param opening   what is known of the client; whether there is room for it is found out here.
/// \throws          `std::bad_alloc`; the client is not counted then.
[[nodiscard]] inline pusher::Action open(pusher::Session& session, App* app, std::uint64_t address,
                                         pusher::Opening opening, std::chrono::milliseconds now) {
  struct Place {
    ~Place() {
      if (app != nullptr && session.app() == nullptr) app->dismiss_from(address);
    }
    const pusher::Session& session;
    std::uint64_t address;
    App* app = nullptr;
  } place{session, address};
  if (app != nullptr && !opening.over_capacity) {
    const Admission admission = app->admit_from(address);
    if (admission == Admission::admitted) place.app = app;
    opening.full = admission == Admission::app_full;
    opening.address_full = admission == Admission::address_full;
  }
  return session.open(app, opening, now);
}

/// Takes a connection out of everything that it is in: at its end, or as soon as the end is certain.
template <class P, class C>
void part(Fanout<P, C>& fanout, C& connection, const pusher::Session* session) noexcept {
  fanout.leave_all(connection);
  if (std::exchange(connection.signed_in, false)) session->app()->sign_out(session->user_id());
}

/// Tells a connection what it finds in a channel that has an order.
/// \throws      what the driver throws.
template <class D, class C>
void welcome(D& driver, C& connection, pusher::Session& session, const Entrance& entrance) {
  static_assert(FrameDriver<D, C>,
                "fanfare: welcome: the type does not satisfy the concept fanfare::transport::FrameDriver");
  if (!entrance.again) {
    const std::string data = entrance.has_members ? pusher::data::presence(entrance.members) : std::string("{}");
    const pusher::Resumed resumed = !entrance.since    ? pusher::Resumed::not_asked
                                    : entrance.resumed ? pusher::Resumed::yes
                                                       : pusher::Resumed::no;
    const pusher::Action action =
        session.subscribed(entrance.channel, pusher::SubscribeOutcome::subscribed, data, resumed, entrance.shows_ids);
    const auto* const send = std::get_if<pusher::Send>(&action);
    if (send == nullptr) return;  // it is on its way out
    driver.send_text(connection, send->text);
  } else if (!session.is_open()) {
    return;
  }
  const auto send_message = [&](const MessagePtr& message) {
    const std::span<const std::byte> frame = message->frame();
    driver.send_frame(connection, {reinterpret_cast<const char*>(frame.data()), frame.size()});
  };
  const pusher::SocketId::Text self = session.socket_id().text();
  for (const MessagePtr& message : entrance.replay.events) {
    if (message->except_socket().empty() || message->except_socket() != self.view()) send_message(message);
  }
  if (entrance.replay.more) return;
  if (entrance.cached) {
    send_message(entrance.cached);
  } else if (entrance.caches) {
    driver.send_text(connection, pusher::frames::cache_miss(entrance.channel));
  }
  if (entrance.shows_ids) {
    driver.send_text(connection, pusher::frames::replayed(entrance.channel, entrance.replay.next,
                                                          entrance.replay.reach == Reach::gap));
  }
}

/// \throws   what the driver throws.
template <class D, class P, class C>
void perform(D& driver, Fanout<P, C>& fanout, C& connection, pusher::Session& session, pusher::Action action) {
  static_assert(Driver<D, C>, "fanfare: perform: the type does not satisfy the concept fanfare::transport::Driver");
  App* const app = session.app();  // null where it has none, and neither joins nor leaves
  // An action that joins or leaves has an answer, which is an action too.
  if (auto* const subscribe = std::get_if<pusher::Subscribe>(&action)) {
    const JoinResult result = fanout.join(*app, subscribe->channel, connection, subscribe->member, subscribe->since);
    if (result == JoinResult::pending) return;
    // A channel without an order keeps nothing.
    const pusher::Resumed resumed = subscribe->since ? pusher::Resumed::no : pusher::Resumed::not_asked;
    action = session.subscribed(subscribe->channel, outcome_of(result), "{}", resumed);
  } else if (auto* const unsubscribe = std::get_if<pusher::Unsubscribe>(&action)) {
    const bool left = fanout.leave(*app, unsubscribe->channel, connection);
    action = session.unsubscribed(unsubscribe->channel, left);
  } else if (auto* const event = std::get_if<pusher::Relay>(&action)) {
    action = session.relayed(event->channel, detail::relay(fanout, connection, session.socket_id(), *app, *event));
  } else if (auto* const user = std::get_if<pusher::SignIn>(&action)) {
    const bool already = connection.signed_in;
    const bool entered = detail::sign_in(fanout, connection, *app, *user);
    pusher::Action answer;
    try {
      answer = session.signed_in(*user, entered);
    } catch (...) {
      // The session does not know of the user, so nobody else would count it out.
      if (!already && std::exchange(connection.signed_in, false)) app->sign_out(user->user_id);
      throw;
    }
    if (const auto* const send = std::get_if<pusher::Send>(&answer)) driver.send_text(connection, send->text);
    if (connection.signed_in) detail::greet(driver, connection, *app, *user);
    return;
  }
  if (auto* const send = std::get_if<pusher::Send>(&action)) {
    driver.send_text(connection, send->text);
  } else if (std::holds_alternative<pusher::Ping>(action)) {
    driver.send_ping(connection);
  } else if (auto* const close = std::get_if<pusher::Close>(&action)) {
    if (!close->text.empty()) driver.send_text(connection, close->text);
    driver.close(connection, close->code, close->reason);
  }
}

}  // namespace transport
FANFARE_NAMESPACE_END
