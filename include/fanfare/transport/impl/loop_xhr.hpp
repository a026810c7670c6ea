/// \file
/// The HTTP fallbacks of pusher-js in a loop. Included by transport/loop.hpp.
///
/// A session is a connection without a descriptor. What it is sent waits in its backlog until a request is there that
/// carries it: one that is answered line by line (streaming), or once (polling).
#pragma once

#include <fanfare/transport/loop.hpp>

FANFARE_NAMESPACE_BEGIN
namespace transport {

inline void Loop::xhr_request(Connection& connection, const http::Request& request, const xhr::Address& address) {
  const http::ReplyTo to = http::reply_to(request);
  if (request.method == "OPTIONS") return answer(connection, xhr::preflight_response(), to);
  if (request.method != "POST") {
    http::Response response = xhr::refusal(405, "This is asked with POST");
    response.fields.push_back({"Allow", "POST, OPTIONS"});
    return answer(connection, response, to);
  }
  std::string name(address.key);
  name.append("/").append(std::to_string(address.server)).append("/").append(address.session);
  const bool sends = address.kind == xhr::Kind::send;
  const std::optional<std::uint32_t> home = group_.home_of(name, sends ? std::nullopt : std::optional(number_));
  if (!home) return answer(connection, xhr::refusal(404, "There is no such session"), to);
  if (*home != number_) return move_later(connection, request, *home);

  const auto known = xhr_sessions_.find(name);
  if (sends) {
    if (known == xhr_sessions_.end()) return answer(connection, xhr::refusal(404, "There is no such session"), to);
    return xhr_receive(connection, *known->second, request, to);
  }
  send_answers_of(connection);
  const bool streaming = address.kind == xhr::Kind::streaming;
  if (known == xhr_sessions_.end()) {
    Connection& session = xhr_open(std::move(name));
    try {
      xhr_carry(connection, session, to, streaming);
      open_session(session, address.key, request, connection, true);
    } catch (const std::bad_alloc&) {
      destroy(session);
      throw;
    }
    return;
  }
  Connection& session = *known->second;
  xhr_carry(connection, session, to, streaming);
  session.websocket()->session.heard(now_);
  // What an earlier poll was to be answered with.
  if (!session.xhr()->before.empty()) {
    if (streaming) {
      xhr_send_lines(session, connection, std::exchange(session.xhr()->before, {}), false);
    } else {
      poll_later(session);
    }
  }
  fanout_.writable(session);
}

/// What a client sends.
inline void Loop::xhr_receive(Connection& connection, Connection& session, const http::Request& request,
                              const http::ReplyTo& to) {
  const xhr::Sent sent = xhr::decode(request.body, {.message_bytes = group_.options.messages.bytes});
  if (sent.error != xhr::SendError::none) return answer(connection, xhr::refusal(sent.error), to);
  if (session.websocket()->session.paced(now_)) return hold(connection, request);
  session.websocket()->session.heard(now_);
  for (const std::string& text : sent.texts) {
    if (session.state != Connection::State::websocket) break;
    perform(session, session.websocket()->session.receive(text, now_, signer_));
  }
  send_replies(session);
  Connection* const receiver = session.xhr()->receiver;
  if (sent.texts.empty() && receiver != nullptr && receiver->backlog == nullptr && !sealed_waits(*receiver)) {
    std::string lines = std::exchange(session.xhr()->before, {});
    lines += xhr::activity_line;
    xhr_send_lines(session, *receiver, std::move(lines), false);
  }
  answer(connection, xhr::sent_response(), to);
}

/// \pre this loop is registered as the home of the name.
inline Connection& Loop::xhr_open(std::string name) {
  try {
    auto made = std::make_unique<Connection>(-1, group_.options.http, nullptr);
    made->make_seldom().xhr = std::make_unique<Connection::Xhr>();
    made->xhr()->name = name;
    made->xhr()->before = xhr::open_line;
    reserve_slot();
    xhr_sessions_.emplace(name, made.get());
    return take_slot(made.release());
  } catch (const std::bad_alloc&) {
    group_.forget_home_of(name);
    throw;
  }
}

/// From here on the request is answered with what the session is sent.
inline void Loop::xhr_carry(Connection& connection, Connection& session, const http::ReplyTo& to, bool streaming) {
  // The client has given the older one up.
  if (Connection* const older = session.xhr()->receiver) destroy(*older);
  connection.make_seldom().carried = std::make_unique<Connection::Carried>(Connection::Carried{&session, to});
  connection.state = Connection::State::carrying;
  connection.deadline() = seconds_from_now(xhr_poll_time);
  session.xhr()->receiver = &connection;
  session.xhr()->streaming = streaming;
  session.xhr()->carried_units = 0;
  if (!streaming) return;
  std::string head;
  session.xhr()->chunked = xhr::append_stream_head(head, to.version);
  fanout_.send(connection, head);
}

/// How long a text is for a client in JavaScript.
inline std::size_t Loop::utf16_units(std::string_view text) noexcept {
  std::size_t units = 0;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    units += (byte & 0xc0U) == 0x80U ? 0U : byte >= 0xf0U ? 2U : 1U;
  }
  return units;
}

/// A client gives a stream up, and asks again, as soon as it has read more than `xhr_stream_units` of it. What is on the
/// way then is lost, so nothing more is sent until it asks. A poll is answered at the end of the turn, with all that has
/// come by then.
/// \returns how many bytes of whole frames have found a carrier.
inline std::ptrdiff_t Loop::write_xhr(Connection& session, std::string_view frames) noexcept {
  Connection::Xhr& state = *session.xhr();
  std::size_t used = 0;
  try {
    while (used < frames.size()) {
      Connection* const receiver = state.receiver;
      if (receiver == nullptr || receiver->deaf || receiver->backlog != nullptr || sealed_waits(*receiver)) break;
      if ((state.streaming ? state.carried_units : state.before.size()) > xhr_stream_units) break;
      if (!state.streaming) {
        const xhr::Converted converted = xhr::convert(frames.substr(used), state.before);
        if (converted.error != xhr::ConvertError::none) return -1;
        if (converted.used == 0) break;
        used += converted.used;
        poll_later(session);
        if (converted.close_code == websocket::close_code::none) continue;
        broken(session);
        return static_cast<std::ptrdiff_t>(frames.size());
      }
      std::string lines = state.before;
      const xhr::Converted converted = xhr::convert(frames.substr(used), lines);
      if (converted.error != xhr::ConvertError::none) return -1;
      if (converted.used == 0) break;
      used += converted.used;
      state.before.clear();
      const bool last = converted.close_code != websocket::close_code::none;
      xhr_send_lines(session, *receiver, std::move(lines), last);
      if (last) {
        broken(session);
        return static_cast<std::ptrdiff_t>(frames.size());
      }
    }
  } catch (const std::bad_alloc&) {
    return -1;
  }
  return static_cast<std::ptrdiff_t>(used);
}

inline void Loop::xhr_send_lines(Connection& session, Connection& receiver, std::string lines, bool last) {
  std::string bytes;
  session.xhr()->carried_units += utf16_units(lines);
  if (!session.xhr()->streaming) {
    const bool open = http::append(bytes, xhr::poll_response(std::move(lines)), receiver.carried()->to);
    fanout_.send(receiver, bytes);
    return xhr_release(receiver, open && !draining_);
  }
  if (session.xhr()->chunked) {
    xhr::append_chunk(bytes, lines);
    if (last) bytes += xhr::last_chunk;
  } else {
    bytes = std::move(lines);
  }
  fanout_.send(receiver, bytes);
  if (last) xhr_release(receiver, false);
}

/// The request has its whole answer.
/// \param open   whether its connection can be used again.
inline void Loop::xhr_release(Connection& receiver, bool open) {
  Connection& session = *receiver.carried()->session;
  session.xhr()->receiver = nullptr;
  session.deadline() = seconds_from_now(xhr_pause);
  receiver.seldom->carried.reset();
  if (open) {
    receiver.state = Connection::State::http;
    receiver.deadline() = seconds_from_now(group_.options.keep_alive_timeout);
    return read_later(receiver);
  }
  closing(receiver);
  close_output_when_sent(receiver);
}

inline void Loop::poll_later(Connection& session) {
  if (session.xhr()->poll_due) return;
  polls_.push_back({session.number, session.generation});
  session.xhr()->poll_due = true;
}

inline void Loop::answer_polls() {
  answered_polls_.swap(polls_);
  for (const Token token : answered_polls_) {
    Connection* const session = at(token.number);
    if (session == nullptr || session->generation != token.generation) continue;
    Connection::Xhr& state = *session->xhr();
    state.poll_due = false;
    if (state.receiver == nullptr || state.streaming || state.before.empty()) continue;
    try {
      xhr_send_lines(*session, *state.receiver, std::exchange(state.before, {}), false);
    } catch (const std::bad_alloc&) {
      give_up(*session);
    }
  }
  answered_polls_.clear();
}

/// A poll is not held for ever: something on the way might give it up.
inline void Loop::sweep_carrier(Connection& receiver) {
  Connection& session = *receiver.carried()->session;
  if (session.xhr()->streaming || seconds_from_now(std::chrono::seconds(0)) <= receiver.deadline()) return;
  std::string lines = std::exchange(session.xhr()->before, {});
  lines += xhr::heartbeat_line;
  xhr_send_lines(session, receiver, std::move(lines), false);
}

// ---- to another loop

/// Until the session may be sent something again.
inline void Loop::hold(Connection& connection, const http::Request& request) {
  connection.make_seldom().parked = std::make_unique<Connection::Parked>(Connection::Parked{request, number_});
  connection.state = Connection::State::moving;
  pace(connection);
}

/// At the end of the turn, when nothing here refers to it any more.
inline void Loop::move_later(Connection& connection, const http::Request& request, std::uint32_t home) {
  send_answers_of(connection);
  if (connection.backlog != nullptr || sealed_waits(connection)) {
    return answer(connection, xhr::refusal(503, "Please try again"), http::reply_to(request));
  }
  connection.make_seldom().parked = std::make_unique<Connection::Parked>(Connection::Parked{request, home});
  moving_.push_back(&connection);
  connection.state = Connection::State::moving;
}

inline void Loop::move_connections() {
  for (Connection* const connection : moving_) {
    if (connection->state != Connection::State::moving) {
      connection->seldom->parked.reset();  // it has ended meanwhile, and can be freed now
      continue;
    }
    // It may still be named by a list of this loop, which the next turn clears.
    if (connection->in_ready || connection->in_failed) {
      still_moving_.push_back(connection);
      continue;
    }
    ::epoll_ctl(set_, EPOLL_CTL_DEL, connection->descriptor, nullptr);
    leave_ring(*connection);
    give_slot_back(*connection);
    uncount();
    group_.loops[connection->parked()->home]->arrive(*connection);
  }
  moving_.swap(still_moving_);
  still_moving_.clear();
}

/// Takes a connection over from another loop. Any thread.
inline void Loop::arrive(Connection& connection) noexcept {
  count();
  {
    const std::lock_guard lock(incoming_mutex_);
    if (!incoming_ended_) {
      connection.parked()->next_arrival = std::exchange(arrivals_, &connection);
      return wake();
    }
  }
  bury_stranger(connection);
}

inline void Loop::take_arrivals() {
  Connection* next = nullptr;
  {
    const std::lock_guard lock(incoming_mutex_);
    next = std::exchange(arrivals_, nullptr);
  }
  while (next != nullptr) {
    Connection& connection = *std::exchange(next, next->parked()->next_arrival);
    try {
      reserve_slot();
    } catch (const std::bad_alloc&) {
      bury_stranger(connection);
      continue;
    }
    take_slot(&connection);
    const Token token{connection.number, connection.generation};
    if (watch(connection.descriptor, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, token)) {
      destroy(connection);
      continue;
    }
    serve_parked(connection);
  }
}

/// Ends a connection that has no place in any loop.
inline void Loop::bury_stranger(Connection& connection) noexcept {
  ::close(connection.descriptor);
  delete &connection;
  uncount();
}

}  // namespace transport
FANFARE_NAMESPACE_END
