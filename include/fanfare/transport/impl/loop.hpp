/// \file
/// What a loop does with its connections. Included by transport/loop.hpp.
#pragma once

#include <fanfare/transport/loop.hpp>

FANFARE_NAMESPACE_BEGIN
namespace transport {

static_assert(Transport<Loop, Connection>);

/// Takes what a WebSocket client sends.
class Loop::Handler {
 public:
  Handler(Loop& loop, Connection& connection) noexcept : loop_(loop), connection_(connection) {}

  bool on_text(std::string_view text) noexcept {
    return act([&](Connection::WebSocket& socket) {
      loop_.perform(connection_, socket.session.receive(text, loop_.now_, loop_.signer_));
    });
  }
  bool on_binary(std::string_view /*bytes*/) noexcept {
    return act([&](Connection::WebSocket& socket) { socket.session.heard(loop_.now_); });
  }
  bool on_ping(std::string_view bytes) noexcept {
    return act([&](Connection::WebSocket& socket) {
      socket.session.heard(loop_.now_);
      loop_.reply(websocket::Opcode::pong, bytes);
    });
  }
  bool on_pong(std::string_view bytes) noexcept { return on_binary(bytes); }
  void on_close(std::uint16_t code, std::string_view /*reason*/) noexcept {
    static_cast<void>(act([&](Connection::WebSocket& /*socket*/) { loop_.reply_close(code, {}); }));
    closed_ = true;
  }

  /// Whether the client has sent its close frame.
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  template <class F>
  bool act(F f) noexcept {
    if (connection_.state != Connection::State::websocket) return true;  // on its way out: nothing counts any more
    try {
      f(*connection_.websocket());
    } catch (...) {
      failed_ = true;  // memory is exhausted: what this client is owed is not known
      return false;
    }
    if (connection_.state == Connection::State::websocket && connection_.websocket()->session.paced(loop_.now_)) {
      connection_.paced = true;
    }
    return ++frames_ < frames_per_turn && !connection_.paced;
  }

  static constexpr unsigned frames_per_turn = 64;

  Loop& loop_;
  Connection& connection_;
  unsigned frames_ = 0;
  bool closed_ = false;
  bool failed_ = false;
};

// ---- Port

inline std::ptrdiff_t Loop::write(Connection& connection, std::string_view bytes) noexcept {
  if (connection.output_closed) return static_cast<std::ptrdiff_t>(bytes.size());
  if (connection.seldom == nullptr) return write_socket(connection, bytes);
  if (connection.xhr() != nullptr) return write_xhr(connection, bytes);
  return connection.tls() == nullptr ? write_socket(connection, bytes) : write_tls(connection, bytes);
}

inline std::ptrdiff_t Loop::write_socket(Connection& connection, std::string_view bytes) noexcept {
  const ssize_t sent = ::send(connection.descriptor, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS || errno == ENOMEM ? 0 : -1;
}

// ---- the ring

inline void Loop::open_ring() noexcept {
  if (!group_.options.use_ring) return;
  const std::size_t most = std::min<std::size_t>(group_.options.max_descriptors, ring_sockets);
  if (ring_.open(static_cast<unsigned>(most))) uses_ring_.store(true, std::memory_order_relaxed);
}

inline bool Loop::queue(Connection& connection, std::string_view bytes, std::uint32_t tag) noexcept {
  if (connection.tls() != nullptr || connection.xhr() != nullptr || connection.output_closed) return false;
  if (!ring_.is_open()) return false;
  if (connection.in_ring) {
    ring_.add(static_cast<int>(connection.number), true, bytes, tag);
    return true;
  }
  ring_.add(connection.descriptor, false, bytes, tag);
  // Its first event: there will be more. Those who come once and go cost no place in the table.
  if (connection.number < ring_.sockets()) entering_ring_.push_back(connection.number);  // reserved
  return true;
}

template <class F, class G>
inline void Loop::submit(F&& cut_short, G&& not_tried) noexcept {
  ring_.submit(cut_short, not_tried);
  if (!ring_.is_open()) close_ring();
  if (!entering_ring_.empty()) enter_ring();
}

/// Nobody has been destroyed since they were written down, as a flush destroys nobody.
inline void Loop::enter_ring() noexcept {
  std::sort(entering_ring_.begin(), entering_ring_.end());
  std::size_t begin = 0;
  while (begin < entering_ring_.size() && ring_.is_open()) {
    entering_descriptors_.clear();
    std::size_t end = begin;
    do {
      entering_descriptors_.push_back(at(entering_ring_[end])->descriptor);  // reserved
      ++end;
    } while (end < entering_ring_.size() && entering_ring_[end] == entering_ring_[end - 1] + 1);
    const std::size_t entered =
        ring_.enter(entering_ring_[begin], entering_descriptors_.data(), entering_descriptors_.size());
    for (std::size_t i = begin; i < begin + entered; ++i) at(entering_ring_[i])->in_ring = true;
    begin = end;
  }
  entering_ring_.clear();
}

/// The table would keep the socket open, and its client would see no end.
inline void Loop::leave_ring(Connection& connection) noexcept {
  if (!connection.in_ring) return;
  connection.in_ring = false;
  // Some kernels let go of it a second later.
  if (connection.state == Connection::State::ended) ::shutdown(connection.descriptor, SHUT_RDWR);
  ring_.leave(connection.number);
  if (!ring_.is_open()) close_ring();
}

inline void Loop::close_ring() noexcept {
  ring_.close();
  uses_ring_.store(false, std::memory_order_relaxed);
  for (const Slot& slot : table_) {
    if (Connection* const connection = slot.connection()) connection->in_ring = false;
  }
}

/// What is sealed counts as sent: no byte is sealed before all that was sealed before is on its way.
inline std::ptrdiff_t Loop::write_tls(Connection& connection, std::string_view bytes) noexcept {
  std::size_t taken = 0;
  for (;;) {
    if (!send_sealed(connection)) return -1;
    if (sealed_waits(connection) || taken == bytes.size()) return static_cast<std::ptrdiff_t>(taken);
    const std::size_t sealed = connection.tls()->seal(bytes.substr(taken));
    if (connection.tls()->state() == TlsState::failed) return -1;
    if (sealed == 0) return static_cast<std::ptrdiff_t>(taken);  // the handshake is not over
    taken += sealed;
  }
}

/// \returns false if the connection is broken.
inline bool Loop::send_sealed(Connection& connection) noexcept {
  while (sealed_waits(connection)) {
    const std::ptrdiff_t sent = write_socket(connection, connection.tls()->pending());
    if (sent < 0) return false;
    if (sent == 0) return true;
    connection.tls()->sent(static_cast<std::size_t>(sent));
  }
  return true;
}

inline void Loop::broken(Connection& connection) noexcept {
  if (connection.in_failed) return;
  connection.in_failed = true;
  failed_.push_back(&connection);  // reserved when it came
}

inline void Loop::overflowed(Connection& connection) noexcept {
  connection.lags_too_much = true;
  broken(connection);
}

inline void Loop::entered(Connection& connection, const Entrance& entrance) noexcept {
  if (connection.state != Connection::State::websocket) return;
  try {
    welcome(*this, connection, connection.websocket()->session, entrance);
    send_replies(connection);
  } catch (const std::bad_alloc&) {
    replies_.clear();
    reply_ends_.clear();
    connection.deaf = true;
    broken(connection);
  }
}

inline void Loop::terminate(Connection& connection) noexcept {
  connection.terminated = true;
  broken(connection);
}

inline Connection* Loop::find(std::string_view socket_id) noexcept {
  const std::optional<pusher::SocketId> id = pusher::SocketId::parse(socket_id);
  if (!id) return nullptr;
  const std::uint64_t place = id->place ^ group_.place_mask;
  if ((place & 0xffU) != (number_ & 0xffU)) return nullptr;
  Connection* const connection = place >> 8U < table_.size() ? table_[place >> 8U].connection() : nullptr;
  if (connection == nullptr || connection->websocket() == nullptr) return nullptr;
  return connection->websocket()->session.socket_id() == *id ? connection : nullptr;
}

// ---- the turn

inline bool Loop::turn(std::chrono::milliseconds wait) {
  if (ended_) return false;
  if (!std::exchange(begun_, true)) open_ring();
  const int count = this->wait(wait);
  now_ = clock_now();
  mailbox.awake();
  end_failed();
  continue_reading();
  for (int i = 0; i < count; ++i) dispatch(events_[static_cast<std::size_t>(i)]);
  take_incoming();
  take_arrivals();
  do_what_is_due();
  if (ended_) return false;
  if (!holding_.empty()) release_held();
  const bool more = fanout_.drain();
  if (fanout_.fan() <= small_turn) {
    fanout_.flush();
    send_answers();
  } else {
    send_answers();
    fanout_.flush();
  }
  answer_polls();
  bury();
  move_connections();
  return more || count == events_per_turn || !ready_.empty() || !failed_.empty() || !moving_.empty() ||
         !mailbox.sleep();
}

inline void Loop::do_what_is_due() {
  std::optional<std::chrono::milliseconds> drain;
  {
    const std::lock_guard lock(incoming_mutex_);
    drain.swap(drain_request_);
  }
  if (drain) begin_drain(*drain);
  if (!paced_.empty() && now_ >= next_pace_) resume_paced();
  if (now_ >= next_sweep_) sweep();
  if (draining_ && now_ >= next_drain_) drain_some();
}

// ---- connections come

/// Makes sure that there is a place for one connection more. \throws `std::bad_alloc`.
inline void Loop::reserve_slot() {
  if (!free_.empty()) return;
  // Giving any of them back must not fail.
  if (free_.capacity() <= table_.size()) {
    const std::size_t room = 2 * table_.size() + 16;
    for (auto* const list : {&ready_, &graveyard_, &failed_, &moving_, &still_moving_}) list->reserve(room);
    entering_ring_.reserve(SendRing::capacity);
    entering_descriptors_.reserve(SendRing::capacity);
    free_.reserve(room);  // the last, as it tells that the others are there
  }
  table_.emplace_back();
  free_.push_back(static_cast<std::uint32_t>(table_.size() - 1));
}

inline Connection& Loop::take_slot(Connection* connection) noexcept {
  connection->number = free_.back();
  free_.pop_back();
  table_[connection->number].take(*connection);
  return *connection;
}

inline void Loop::give_slot_back(Connection& connection) noexcept {
  table_[connection.number].give_back(connection);
  free_.push_back(connection.number);  // reserved
}

/// \returns   null where it could not stay.
inline Connection* Loop::add(const Socket& socket) {
  const int descriptor = socket.descriptor;
  Connection* connection = nullptr;
  try {
    reserve_slot();
    connection = new Connection(descriptor, group_.options.http, socket.tls);
  } catch (const std::bad_alloc&) {
    ::close(descriptor);
    uncount();
    return nullptr;
  }
  take_slot(connection);
  connection->deadline() = seconds_from_now(group_.options.request_timeout);
  if (draining_ ||
      watch(descriptor, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {connection->number, connection->generation})) {
    destroy(*connection);
    return nullptr;
  }
  return connection;
}

inline void Loop::add(Incoming& incoming) {
  if (incoming.foreign) {
    const int descriptor = incoming.socket.descriptor;
    // As those are that are accepted here. A socket of another family than TCP's has no delay to turn off.
    const int on = 1;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
  }
  Connection* const connection = add(incoming.socket);
  if (connection == nullptr || incoming.already_read.empty()) return;
  // What its socket holds comes behind this: it is looked at in a later turn.
  process_or_destroy(*connection, incoming.already_read);
}

// ---- input

inline void Loop::read(Connection& connection) {
  if (connection.state == Connection::State::ended || connection.in_failed || connection.input() != nullptr) return;
  if (connection.paced) return;
  const ssize_t count = ::recv(connection.descriptor, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
  if (count < 0) {
    if (errno == EINTR) return read_later(connection);
    if (errno != EAGAIN && errno != EWOULDBLOCK) destroy(connection);
    return;
  }
  if (count == 0) return at_end_of_input(connection);
  const auto size = static_cast<std::size_t>(count);
  // A full buffer, and an end that was announced together with data, are not announced again.
  if (size == buffer_.size() || connection.at_end) read_later(connection);
  if (connection.tls() == nullptr) return process_or_destroy(connection, {buffer_.data(), size});

  plaintext_.clear();
  const bool was_shaking_hands = connection.tls()->handshaking();
  const TlsState state = connection.tls()->feed({buffer_.data(), size}, plaintext_);
  if (!send_sealed(connection)) return destroy(connection);
  if (!plaintext_.empty()) process_or_destroy(connection, plaintext_);
  if (connection.state == Connection::State::ended) return;
  if (state == TlsState::closed) return at_end_of_input(connection);
  if (state == TlsState::failed) {
    // There may be an alert that says why.
    closing(connection);
    connection.backlog.reset();
    return close_output_when_sent(connection);
  }
  if (was_shaking_hands && state == TlsState::open) writable(connection);
}

inline void Loop::read_later(Connection& connection) {
  if (connection.in_ready || connection.state == Connection::State::ended || connection.xhr() != nullptr) return;
  connection.in_ready = true;
  ready_.push_back(&connection);  // reserved
}

/// Reads nothing more of it until its second is over.
inline void Loop::pace(Connection& connection) {
  paced_.push_back({connection.number, connection.generation});
  if (paced_.size() == 1) next_pace_ = now_ + pace_time;
}

inline void Loop::resume_paced() {
  std::vector<Token> still;
  still.swap(paced_);
  for (const Token token : still) {
    Connection* const connection = at(token.number);
    if (connection == nullptr || connection->generation != token.generation) continue;
    if (connection->state == Connection::State::moving) {
      serve_parked(*connection);
      continue;
    }
    const bool waits =
        connection->state == Connection::State::websocket && connection->websocket()->session.paced(now_);
    if (waits) {
      pace(*connection);
    } else {
      connection->paced = false;
      read_later(*connection);  // what was announced meanwhile was not looked at
    }
  }
}

/// Serves a request that has waited, or has come from another loop.
inline void Loop::serve_parked(Connection& connection) {
  const std::unique_ptr<Connection::Parked> parked = std::move(connection.seldom->parked);
  connection.state = Connection::State::http;
  try {
    request(connection, parked->request);
    send_replies(connection);
    if (connection.input() != nullptr) read_later(connection);
  } catch (const std::bad_alloc&) {
    give_up(connection);
  }
}

inline void Loop::continue_reading() {
  // Those that are put in again meanwhile wait for the next turn.
  const std::size_t count = ready_.size();
  for (std::size_t i = 0; i < count; ++i) {
    Connection& connection = *ready_[i];
    connection.in_ready = false;
    if (connection.state == Connection::State::ended || connection.in_failed) continue;
    if (connection.input() != nullptr && is_full(connection)) continue;  // `writable` goes on
    if (connection.input() != nullptr) {
      const std::unique_ptr<std::vector<char>> input = std::move(connection.seldom->input);
      read_later(connection);  // there may be more in the socket, which was not looked at meanwhile
      process_or_destroy(connection, *input);
    } else {
      read(connection);
    }
  }
  ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(count));
}

/// Whether it asks faster than it reads. What it asks then waits, and so does the client at last.
inline bool Loop::is_full(const Connection& connection) noexcept {
  return (connection.state == Connection::State::http &&
          (connection.backlog != nullptr || (connection.held() != nullptr && connection.held()->full()))) ||
         connection.state == Connection::State::carrying || connection.state == Connection::State::moving ||
         connection.paced;
}

inline void Loop::process_or_destroy(Connection& connection, std::span<char> bytes) {
  try {
    process(connection, bytes);
  } catch (const std::bad_alloc&) {
    give_up(connection);
  }
}

inline void Loop::process(Connection& connection, std::span<char> bytes) {
  std::size_t used = 0;
  bool paused = false;
  while (used < bytes.size() && !paused) {
    const std::span<char> rest = bytes.subspan(used);
    std::size_t taken = 0;
    switch (connection.state) {
      case Connection::State::http: taken = process_http(connection, {rest.data(), rest.size()}); break;
      case Connection::State::websocket: taken = process_websocket(connection, rest); break;
      case Connection::State::closing:
        taken = connection.websocket() != nullptr ? process_websocket(connection, rest) : rest.size();
        break;
      case Connection::State::carrying:
      case Connection::State::moving: break;  // its turn comes when the answer is there
      case Connection::State::ended: taken = rest.size(); break;
    }
    used += taken;
    // A request that became a WebSocket ends in the middle; everything else has come as far as it will in this turn.
    const bool upgraded = connection.upgraded_now;
    connection.upgraded_now = false;
    paused = taken < rest.size() && !upgraded;
  }
  if (used == bytes.size() || connection.state == Connection::State::ended) return;
  connection.make_seldom().input =
      std::make_unique<std::vector<char>>(bytes.begin() + static_cast<std::ptrdiff_t>(used), bytes.end());
  read_later(connection);
}

inline std::size_t Loop::process_http(Connection& connection, std::string_view bytes) {
  std::size_t used = 0;
  const std::size_t answers_before = answers_.size();
  for (unsigned requests = 0; used < bytes.size() && requests < requests_per_turn; ++requests) {
    if (answers_.size() - answers_before > answers_per_turn || is_full(connection)) break;
    Connection::Http& http = *connection.http();
    const bool began = http.parser.idle();
    const http::FeedResult result = http.parser.feed(bytes.substr(used), parser_memory_);
    used += result.consumed;
    if (result.state == http::ParserState::failed) {
      answer(connection, http::error_response(http.parser.error()), {});
      return bytes.size();
    }
    if (result.state == http::ParserState::incomplete) {
      if (http.parser.idle()) break;
      if (began) connection.deadline() = seconds_from_now(group_.options.request_timeout);
      // Not before the answers to earlier requests; it is told when they are sent.
      if (connection.held() == nullptr && http.parser.expects_continue() &&
          !std::exchange(http.told_to_continue, true)) {
        send_answers_of(connection);
        fanout_.send(connection, http::continue_response);
      }
      break;
    }
    http.told_to_continue = false;
    connection.deadline() = seconds_from_now(group_.options.keep_alive_timeout);
    request(connection, *http.parser.take(parser_memory_));
    if (connection.state != Connection::State::http) break;
  }
  // Behind the last answer nothing counts.
  return connection.state == Connection::State::closing ? bytes.size() : used;
}

inline std::size_t Loop::process_websocket(Connection& connection, std::span<char> bytes) {
  Handler handler{*this, connection};
  websocket::Receiver& receiver = connection.websocket()->receiver;
  const websocket::FeedResult result = receiver.feed(processors_, bytes.data(), bytes.size(), handler);
  if (handler.failed()) {
    give_up(connection);
    return bytes.size();
  }
  if (result.failure != websocket::close_code::none && connection.state == Connection::State::websocket) {
    reply_close(result.failure, {});
    closing(connection);
  }
  if (connection.paced) pace(connection);
  send_replies(connection);
  if (result.failure != websocket::close_code::none) close_output_when_sent(connection);
  if (handler.closed()) {
    if (connection.state == Connection::State::websocket) closing(connection);
    close_output_when_sent(connection);
  }
  return receiver.closed() || result.failure != websocket::close_code::none ? bytes.size() : result.used;
}

inline void Loop::at_end_of_input(Connection& connection) {
  connection.at_end = true;
  const bool owed = connection.waiting_answers != 0 || connection.backlog != nullptr || connection.held() != nullptr;
  const bool gives_up = connection.websocket() != nullptr || connection.state == Connection::State::carrying;
  if (gives_up || !owed) return destroy(connection);
  // A client may close its half as soon as it has asked.
  closing(connection);
  connection.last_bytes = true;
}

// ---- HTTP

inline void Loop::request(Connection& connection, const http::Request& request) {
  if (const auto address = xhr::parse_path(request.path(), group_.options.path_prefix)) {
    if (connection.held() != nullptr) return hold(connection, request);
    return xhr_request(connection, request, *address);
  }
  if (request.find("upgrade") != nullptr) {
    if (connection.held() != nullptr) return hold(connection, request);
    const websocket::Handshake handshake = websocket::handshake(request);
    if (handshake.upgrade == websocket::Upgrade::accepted) return upgrade(connection, request, handshake);
    if (handshake.upgrade == websocket::Upgrade::refused) {
      answers_.append(websocket::response(handshake));
      return answer_bytes(connection, true);
    }
  }
  pusher::ApiWait wait;
  const http::Response response = transport::respond(group_.api, group_.options.on_request, request, signer_, wait);
  answer(connection, response, http::reply_to(request), wait);
}

/// Sends an answer at the end of the turn; or later, when what it waits for is settled and all before it are sent.
inline void Loop::answer(Connection& connection, const http::Response& response, const http::ReplyTo& to,
                         const pusher::ApiWait& wait) {
  if (connection.held() == nullptr) {
    if (!wait) return answer_now(connection, response, to);
    auto held = std::make_unique<Connection::HeldAnswers>();
    Connection::Seldom& seldom = connection.make_seldom();
    holding_.push_back({connection.number, connection.generation});
    seldom.held = std::move(held);
  }
  Connection::HeldAnswers& held = *connection.held();
  held.answers.push_back({response, to, wait, seconds_from_now(group_.options.request_timeout)});
  held.bytes += response.body.size();
  held.ends = held.ends || response.close || !to.keep_alive;
}

/// Sends what may be sent by now, and has the stores tell of the rest.
inline void Loop::release_held() {
  std::size_t kept = 0;
  for (const Token token : holding_) {
    Connection* const connection = at(token.number);
    if (connection == nullptr || connection->generation != token.generation) continue;
    try {
      release_held(*connection);
    } catch (const std::bad_alloc&) {
      give_up(*connection);
      continue;
    }
    if (connection->held() != nullptr) holding_[kept++] = token;
  }
  holding_.resize(kept);
}

inline void Loop::release_held(Connection& connection) {
  Connection::HeldAnswers& held = *connection.held();
  while (!held.answers.empty()) {
    Connection::HeldAnswers::Answer& front = held.answers.front();
    const KeptOutcome outcome = front.wait.outcome();
    if (outcome == KeptOutcome::pending && seconds_from_now(std::chrono::seconds(0)) <= front.until) {
      if (connection.input() != nullptr && !is_full(connection)) read_later(connection);
      return bells_.ring_when_settled(front.wait);
    }
    held.bytes -= front.response.body.size();
    if (outcome != KeptOutcome::durable) {
      const bool close = front.response.close;
      front.response = group_.api.not_stored(front.wait);
      front.response.close = close;
    }
    answer_now(connection, front.response, front.to, held.answers.size() > 1);
    held.answers.pop_front();
  }
  connection.seldom->held.reset();
  if (connection.state != Connection::State::http) return;
  Connection::Http& http = *connection.http();
  connection.deadline() =
      seconds_from_now(http.parser.idle() ? group_.options.keep_alive_timeout : group_.options.request_timeout);
  if (http.parser.expects_continue() && !std::exchange(http.told_to_continue, true)) {
    send_answers_of(connection);
    fanout_.send(connection, http::continue_response);
  }
  if (connection.input() != nullptr) read_later(connection);
}

inline void Loop::answer_now(Connection& connection, const http::Response& response, const http::ReplyTo& to,
                             bool more) {
  bool open = false;
  if (draining_ && !response.close && !more) {
    http::Response last = response;
    last.close = true;
    open = http::append(answers_, last, to);
  } else {
    open = http::append(answers_, response, to);
  }
  answer_bytes(connection, !open);
}

/// What stands behind the last entry in the arena is an answer to this connection.
inline void Loop::answer_bytes(Connection& connection, bool last) {
  answer_index_.push_back({&connection, answers_.size(), last});
  ++connection.waiting_answers;
  if (last) closing(connection);
}

inline void Loop::send_answer(const Answer& answer, std::string_view bytes) {
  Connection& connection = *answer.connection;
  --connection.waiting_answers;
  if (connection.state == Connection::State::ended) return;
  fanout_.send(connection, bytes);
  if (answer.last || connection.last_bytes) close_output_when_sent(connection);
}

inline void Loop::send_answers() {
  std::size_t begin = 0;
  for (const Answer& answer : answer_index_) {
    if (answer.connection != nullptr) {
      send_answer(answer, std::string_view(answers_).substr(begin, answer.end - begin));
    }
    begin = answer.end;
  }
  answer_index_.clear();
  answers_.clear();
  if (answers_.capacity() > keep_answer_bytes) std::string().swap(answers_);
}

/// Sends what waits for one connection now, because something else comes behind it.
inline void Loop::send_answers_of(Connection& connection) {
  if (connection.waiting_answers == 0) return;
  std::size_t begin = 0;
  for (Answer& answer : answer_index_) {
    if (answer.connection == &connection) {
      send_answer(answer, std::string_view(answers_).substr(begin, answer.end - begin));
      answer.connection = nullptr;
    }
    begin = answer.end;
  }
}

/// Becomes a WebSocket, whatever it is for: a browser shows its page nothing of an HTTP error.
inline void Loop::upgrade(Connection& connection, const http::Request& request, const websocket::Handshake& handshake) {
  send_answers_of(connection);
  const std::optional<std::string_view> key = key_in(request.path(), group_.options.path_prefix);
  replies_.append(websocket::response(handshake));
  reply_ends_.push_back(replies_.size());
  connection.upgraded_now = true;
  open_session(connection, key.value_or(std::string_view{}), request, connection, key.has_value());
}

/// Makes a session with the Pusher protocol of a connection.
/// \param carrier   whose request asks for it; the same, but with a session of an HTTP fallback.
inline void Loop::open_session(Connection& connection, std::string_view key, const http::Request& request,
                               const Connection& carrier, bool path_found) {
  Connection::WebSocket& socket = connection.become_websocket(new_socket_id(connection.number));
  connection.state = Connection::State::websocket;
  const std::size_t clients = group_.clients.fetch_add(1, std::memory_order_relaxed);
  connection.counted = true;
  const bool over_capacity = group_.options.max_connections != 0 && clients >= group_.options.max_connections;
  App* const app = path_found ? group_.apps.find_by_key(key) : nullptr;
  AddressNumber address = 0;
  if (app != nullptr && !over_capacity && app->counts_addresses()) {
    address = group_.options.forwarded_for ? forwarded_address(request.last_field("x-forwarded-for"))
                                           : peer_address(carrier.descriptor);
    if (address != 0) addresses_.reserve(addresses_.size() + 1);
  }
  const pusher::Opening opening{.query = request.query(),
                                .draining = draining_,
                                .path_found = path_found,
                                .key = key,
                                .origin = request.field("origin"),
                                .tls = carrier.tls() != nullptr,
                                .over_capacity = over_capacity};
  pusher::Action action = transport::open(socket.session, app, address, opening, now_);
  if (address != 0 && socket.session.app() != nullptr) {
    addresses_.insert_or_assign(connection.number, address);  // reserved
  }
  perform(connection, std::move(action));
  send_replies(connection);
}

inline pusher::SocketId Loop::new_socket_id(std::uint32_t number) {
  return {(std::uint64_t{number} << 8U | (number_ & 0xffU)) ^ group_.place_mask, random_.next() >> 11U};
}

// ---- WebSocket

inline void Loop::perform(Connection& connection, pusher::Action action) {
  Connection::WebSocket& socket = *connection.websocket();
  transport::perform(*this, fanout_, connection, socket.session, std::move(action));
}

// ---- connections go

inline void Loop::writable(Connection& connection) {
  if (connection.state == Connection::State::ended) return;
  if (sealed_waits(connection)) {
    if (!send_sealed(connection)) return broken(connection), wake();
    if (sealed_waits(connection)) return;
  }
  if (!fanout_.writable(connection)) return;
  if (connection.carried() != nullptr) fanout_.writable(*connection.carried()->session);
  if (connection.last_bytes) close_output_when_sent(connection);
  if (connection.input() != nullptr) read_later(connection);
}

/// From here on nothing new is sent or heard. The last bytes and the client's own end are waited for.
inline void Loop::closing(Connection& connection) {
  if (connection.state == Connection::State::closing) return;
  connection.state = Connection::State::closing;
  connection.deadline() = seconds_from_now(group_.options.close_timeout);
  leave(connection);
  dismiss(connection);
}

/// Counts a client out: those who are told to go take no place from those who come.
inline void Loop::dismiss(Connection& connection) noexcept {
  Connection::WebSocket* const socket = connection.websocket();
  if (socket == nullptr || !connection.counted) return;
  connection.counted = false;
  if (App* const app = socket->session.app()) {
    AddressNumber address = 0;
    if (const auto counted = addresses_.find(connection.number); counted != addresses_.end()) {
      address = counted->second;
      addresses_.erase(counted);
    }
    app->dismiss_from(address);
  }
  group_.clients.fetch_sub(1, std::memory_order_relaxed);
}

inline void Loop::leave(Connection& connection) noexcept {
  const Connection::WebSocket* const socket = connection.websocket();
  part(fanout_, connection, socket == nullptr ? nullptr : &socket->session);
}

inline void Loop::close_output_when_sent(Connection& connection) {
  if (connection.state == Connection::State::ended || connection.xhr() != nullptr) return;
  connection.last_bytes = true;
  if (connection.backlog != nullptr || connection.waiting_answers != 0 || connection.in_failed) return;
  if (connection.held() != nullptr) return;
  if (sealed_waits(connection)) return;
  if (connection.tls() != nullptr) {
    connection.tls()->close();
    if (!send_sealed(connection)) return destroy(connection);
    if (sealed_waits(connection)) return;
  }
  if (connection.at_end) return destroy(connection);
  if (connection.output_closed) return;
  connection.output_closed = true;
  // The client ends its half when it has read everything; to close at once could take the last bytes from it.
  ::shutdown(connection.descriptor, SHUT_WR);
}

inline void Loop::destroy(Connection& connection) noexcept {
  if (connection.state == Connection::State::ended) return;
  connection.state = Connection::State::ended;
  connection.deaf = true;
  leave(connection);
  dismiss(connection);
  if (connection.parked() != nullptr && connection.parked()->home == number_) connection.seldom->parked.reset();
  leave_ring(connection);
  give_slot_back(connection);
  graveyard_.push_back(&connection);  // reserved
  if (connection.carried() != nullptr) {
    Connection& session = *connection.carried()->session;
    session.xhr()->receiver = nullptr;
    session.deadline() = seconds_from_now(xhr_pause);
    connection.seldom->carried.reset();
  }
  if (connection.xhr() != nullptr) {
    group_.forget_home_of(connection.xhr()->name);
    xhr_sessions_.erase(connection.xhr()->name);
    if (connection.xhr()->receiver != nullptr) destroy(*connection.xhr()->receiver);
    return;
  }
  // Out of the epoll set by itself: nobody else has this descriptor.
  ::close(connection.descriptor);
  uncount();
}

/// Memory is exhausted, and what this client is owed is not known. All others are served on.
inline void Loop::give_up(Connection& connection) noexcept {
  // What was composed for it in part must not reach the next one.
  replies_.clear();
  reply_ends_.clear();
  answers_.resize(answer_index_.empty() ? 0 : answer_index_.back().end);
  destroy(connection);
}

/// Frees those that nothing refers to any more.
inline void Loop::bury() noexcept {
  std::size_t kept = 0;
  for (Connection* const connection : graveyard_) {
    const bool named = connection->in_ready || connection->in_failed || connection->waiting_answers != 0;
    if (!ended_ && (named || connection->parked() != nullptr)) {
      graveyard_[kept++] = connection;
    } else {
      delete connection;
    }
  }
  graveyard_.resize(kept);
}

inline void Loop::end_failed() {
  const std::size_t count = failed_.size();
  for (std::size_t i = 0; i < count; ++i) {
    Connection& connection = *failed_[i];
    connection.in_failed = false;
    if (connection.state == Connection::State::ended) continue;
    const bool terminated = connection.terminated;
    connection.terminated = false;
    if (terminated && !connection.deaf) {
      if (connection.state != Connection::State::websocket) continue;
      try {
        perform(connection, connection.websocket()->session.close(pusher::close_code::unauthorized,
                                                                  "The user's connections have been terminated"));
        send_replies(connection);
        read_later(connection);  // what was announced meanwhile was not looked at
      } catch (const std::bad_alloc&) {
        give_up(connection);
      }
    } else if (connection.lags_too_much && connection.state == Connection::State::websocket) {
      overflow(connection);
    } else {
      destroy(connection);
    }
  }
  failed_.erase(failed_.begin(), failed_.begin() + static_cast<std::ptrdiff_t>(count));
}

/// It gets the rest of the frame that it is in the middle of, and is told to come back.
inline void Loop::overflow(Connection& connection) {
  closing(connection);
  connection.backlog->keep_started_frame();
  connection.deaf = false;
  try {
    std::string close;
    websocket::append_close(close, pusher::close_code::over_capacity, "The client reads too slowly");
    connection.backlog->append(close);
  } catch (const std::bad_alloc&) {
    return destroy(connection);
  }
  fanout_.writable(connection);
  read_later(connection);  // what was announced meanwhile was not looked at
}

// ---- time

inline void Loop::sweep() {
  next_sweep_ = now_ + std::chrono::seconds(1);
  for (std::size_t i = 0; i < table_.size(); ++i) {
    if (Connection* const connection = table_[i].connection()) sweep(*connection);
  }
  fanout_.tidy();
  if (number_ == 0) {
    group_.apps.for_each([](App& app) {
      try {
        app.tick();
      } catch (const std::bad_alloc&) {  // the next one does it
      }
    });
  }
  resume_listening();
}

inline void Loop::sweep(Connection& connection) {
  const auto now = seconds_from_now(std::chrono::seconds(0));
  if (connection.state == Connection::State::carrying) return sweep_carrier(connection);
  if (connection.state == Connection::State::moving) return;
  if (connection.xhr() != nullptr && connection.xhr()->receiver == nullptr && now > connection.deadline()) {
    return destroy(connection);
  }
  if (connection.state == Connection::State::websocket) {
    try {
      perform(connection, connection.websocket()->session.tick(now_, in_channel(connection)));
      send_replies(connection);
    } catch (const std::bad_alloc&) {
      give_up(connection);
    }
    return;
  }
  if (connection.held() != nullptr) return;
  if (now <= connection.deadline()) return;  // without its fraction, it may still be to come
  const bool can_answer = connection.tls() == nullptr || !connection.tls()->handshaking();
  if (connection.state != Connection::State::http || connection.http()->parser.idle() || !can_answer) {
    return destroy(connection);
  }
  try {
    answer(connection, timeout_response(), {});
  } catch (const std::bad_alloc&) {
    give_up(connection);
  }
}

inline void Loop::begin_drain(std::chrono::milliseconds timeout) {
  if (ended_ || std::exchange(draining_, true)) return;
  for (const auto [listener, tls] : listeners_) {
    ::epoll_ctl(set_, EPOLL_CTL_DEL, listener, nullptr);
    ::shutdown(listener, SHUT_RD);  // who comes now is refused, instead of waiting for nothing
  }
  drain_until_ = now_ + timeout + std::chrono::milliseconds(1);  // the clock is without its fraction
  next_drain_ = now_;
}

/// Not all at once: they come back as they go.
inline void Loop::drain_some() {
  next_drain_ = now_ + std::chrono::milliseconds(50);
  stop_clients(std::max<std::size_t>(table_.size() / 20, 64));
  bury();
  if (load() == 0 || now_ >= drain_until_) end();
}

inline void Loop::stop_clients(std::size_t most) {
  for (std::size_t stopped = 0; stopped < most && drain_cursor_ < table_.size(); ++drain_cursor_) {
    Connection* const connection = table_[drain_cursor_].connection();
    if (connection == nullptr) continue;
    ++stopped;
    if (connection->state == Connection::State::http) {
      // A request that is under way is answered, and its connection closed behind that.
      const bool idle = connection->http()->parser.idle() && connection->input() == nullptr;
      if (idle && connection->backlog == nullptr && connection->held() == nullptr) destroy(*connection);
    } else if (connection->state == Connection::State::websocket) {
      try {
        // Not 4200: pusher-js would come back at once, to a server that does not listen, and then wait for 15 seconds.
        perform(*connection, connection->websocket()->session.close(pusher::close_code::over_capacity,
                                                                    "The server stops: please connect again"));
        send_replies(*connection);
      } catch (const std::bad_alloc&) {
        give_up(*connection);
      }
    }
  }
}

}  // namespace transport
FANFARE_NAMESPACE_END
