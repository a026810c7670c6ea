/// \file
/// Connections that the host has already: it does the framing and tells what comes, we tell it what to send.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/pusher/session.hpp>
#include <fanfare/pusher/socket_id.hpp>
#include <fanfare/transport/door.hpp>
#include <fanfare/transport/fanout.hpp>
#include <fanfare/transport/peer.hpp>
#include <fanfare/transport/perform.hpp>
#include <fanfare/transport/random.hpp>
#include <fanfare/websocket/frame.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// A WebSocket that is the host's: mostly a small handle, as it is moved in and kept until the connection is over.
///
/// | expression | type | meaning |
/// |---|---|---|
/// | `h.send(text)` | | sends one text message; the view ends with the call. If it returns `bool`, false says that the connection is broken |
/// | `h.close(code, reason)` | | sends what was given, then closes so. Called once, and nothing behind it; never, if the host has said that the connection is over |
/// | `h.ping()` | | optional: sends a WebSocket ping. Without it, clients are asked by `pusher:ping` |
/// | `h.buffered()` | `std::size_t` | optional: how many bytes it was given and has not sent. Without it, what is given counts as sent |
/// | `h.resume()` | | optional: what was told to wait by `receive` may come now |
///
/// All are called by the thread that calls the transport, inside of such a call. What they throw counts as a broken
/// connection. They may call the transport.
template <class H>
concept HostConnection =
    std::move_constructible<H> && requires(H& connection, std::string_view text, std::uint16_t code) {
      connection.send(text);
      connection.close(code, text);
    };

/// What a transport is made of that has no sockets of its own.
struct HostedOptions {
  /// Has the host call `run` soon, on the thread that it uses the transport on. Called on any thread, also inside of
  /// triggers and with locks of channels held: it must not call `run`, throw or wait. Empty: the host runs often
  /// enough.
  std::function<void()> wake{};
  FanoutLimits fanout{};
  std::size_t mailbox_bytes = std::size_t{64} << 20U;  ///< What may wait for it; see `errc::overloaded`.
  std::size_t max_connections = 0;                     ///< WebSockets at one time; 0: no bound.
  std::size_t max_message_bytes = 64 * 1024;           ///< Of one message of a client.
  /// What may wait here of a client that has sent more than it may in a second; beyond, it is closed.
  std::size_t max_input_bytes = 256 * 1024;
  /// What a host's connection may have `buffered` before the rest waits here; see `FanoutLimits::outbox_bytes`.
  std::size_t max_buffered_bytes = 64 * 1024;
  std::chrono::seconds close_timeout{5};  ///< How long a connection that is to go may take what it is still owed.
  std::string path_prefix{};              ///< In front of `/app/KEY`.
  /// The time; it must not go back. Empty: that of `std::chrono::steady_clock`.
  std::function<std::chrono::milliseconds()> clock{};
};

/// Where a client comes from, as the host knows it.
struct HostedOrigin {
  std::string_view origin = {};  ///< The `Origin` header; empty where there is none.
  bool tls = false;              ///< Whether it came through TLS.
  std::uint64_t address = 0;     ///< See `App::admit_from` and `peer_address`.
  bool over_capacity = false;    ///< Whether the host has all connections that it can have.
};

/// Names a connection of one transport. That of one which is over names nothing any more.
struct HostedId {
  std::uint32_t number = 0xffffffffU;
  std::uint32_t generation = 0;
  friend bool operator==(const HostedId&, const HostedId&) = default;
};

namespace detail {

/// The end of a connection that bytes are given to, frames of WebSockets among them: what a host has, made to fit.
///
/// | expression | type | meaning |
/// |---|---|---|
/// | `e.write(bytes)` | `std::ptrdiff_t` | as `write` of a `Port` |
/// | `e.finish(code, reason)` | | all is written, or will not be: the connection is to end, with that code if none was sent |
template <class E>
concept HostedEnd = std::move_constructible<E> && requires(E& end, std::string_view bytes, std::uint16_t code) {
  { end.write(bytes) } noexcept -> std::same_as<std::ptrdiff_t>;
  { end.finish(code, bytes) } noexcept;
};

/// A loop whose connections are the host's: sessions, channels, slow readers and time, without a socket, a thread or a
/// frame that it reads. Who derives from it gives it what comes, between an `Entry` and its end.
///
/// What ends in the middle of something, in a callback of the host too, is let go of when nothing refers to it.
template <HostedEnd End>
class HostedLoop : public Door {
 public:
  using Time = std::chrono::milliseconds;
  static constexpr Time never = Time::max();

  struct Client final : Peer {
    enum class State : std::uint8_t {
      fresh,    ///< It has no session yet.
      open,     ///< Its session has begun, though it may have been refused.
      closing,  ///< Is sent what it is still owed, and heard no more.
      ended,
    };

    Client(End end_, pusher::SocketId id) : end(std::move(end_)), session(id) {}

    End end;
    pusher::Session session;
    std::uint64_t address = 0;
    std::string_view close_message{};  ///< see `close_later`
    std::uint16_t close_code = 0;      ///< likewise; 0: none
    Time deadline = never;             ///< of one that is closing; while it is fresh, for those who derive
    State state = State::fresh;
    bool counted = false;
    bool failed = false;  ///< in `failed_`
    bool gone = false;    ///< the host has said so
    bool lags_too_much = false;
    bool lagging = false;  ///< in `lagging_`
    bool waiting = false;  ///< in `waiting_`
  };

  // ---- Driver

  void send_text(Client& client, std::string_view text) { send_message(client, websocket::Opcode::text, text); }
  void send_frame(Client& client, std::string_view frame) { fanout_.send(client, frame); }
  void send_ping(Client& client) { send_message(client, websocket::Opcode::ping, {}); }
  void close(Client& client, std::uint16_t code, std::string_view reason) {
    std::string frame;
    websocket::append_close(frame, code, reason);
    fanout_.send(client, frame);
    finish_when_sent(client);
  }

  // ---- Port and Door

  void wake() noexcept final {
    if (options_.wake != nullptr) options_.wake();
  }
  std::ptrdiff_t write(Client& client, std::string_view bytes) noexcept {
    const std::ptrdiff_t taken = client.end.write(bytes);
    if (taken >= 0 && static_cast<std::size_t>(taken) < bytes.size() && !std::exchange(client.lagging, true)) {
      lagging_.push_back(&client);  // reserved
    }
    return taken;
  }
  void broken(Client& client) noexcept {
    if (!std::exchange(client.failed, true)) failed_.push_back(&client);  // reserved
  }
  void overflowed(Client& client) noexcept {
    client.lags_too_much = true;
    broken(client);
  }
  void terminate(Client& client) noexcept {
    close_later(client, pusher::close_code::unauthorized, "The user's connections have been terminated");
  }
  void entered(Client& client, const Entrance& entrance) noexcept {
    if (client.state != Client::State::open) return;
    try {
      welcome(*this, client, client.session, entrance);
    } catch (const std::bad_alloc&) {
      give_up(client);
    }
  }
  [[nodiscard]] Time now() const noexcept { return now_; }
  [[nodiscard]] static pusher::SocketId::Text socket_id(const Client& client) noexcept {
    return client.session.socket_id().text();
  }
  [[nodiscard]] static std::string_view user_id(const Client& client) noexcept { return client.session.user_id(); }
  [[nodiscard]] Client* find(std::string_view socket_id) noexcept {
    const std::optional<pusher::SocketId> id = pusher::SocketId::parse(socket_id);
    if (!id) return nullptr;
    const std::uint64_t number = id->place ^ place_mask_;
    Client* const client = number < slots_.size() ? slots_[number].client.get() : nullptr;
    return client != nullptr && client->session.socket_id() == *id ? client : nullptr;
  }
  [[nodiscard]] Client* at(std::uint32_t number) noexcept {
    return number < slots_.size() ? slots_[number].client.get() : nullptr;
  }

 protected:
  using State = typename Client::State;

  HostedLoop(pusher::AppList& apps, HostedOptions options)
      : Door(options.mailbox_bytes), options_(std::move(options)), apps_(apps), fanout_(*this, *this, options_.fanout) {
    fill_random(&place_mask_, sizeof place_mask_);
    place_mask_ &= (std::uint64_t{1} << 40U) - 1;
    read_clock();
    static_cast<void>(mailbox.sleep());  // so that the first trigger wakes the host
  }
  /// \pre `shut` was called by who derives from it, whose part is still there then: triggers call `wake`.
  ~HostedLoop() = default;

  /// Takes everybody out of everything. The host's connections are not called any more.
  void shut() noexcept {
    ++busy_;          // for good: from here on nobody is heard
    mailbox.awake();  // and for what is triggered the host is not woken
    for (Slot& slot : slots_) {
      if (slot.client != nullptr) end(*slot.client);
    }
    fanout_.close(true);  // triggers that are under way would push into what is no more
    graveyard_.clear();   // while all is there that they refer to
  }

  /// What happens inside of the outermost one does not happen inside of a callback; at its end those go who are to.
  class Entry {
   public:
    explicit Entry(HostedLoop& loop) : loop_(loop) {
      if (loop_.busy_ == 0) loop_.read_clock();
      ++loop_.busy_;
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry() {
      if (loop_.busy_ == 1) loop_.leave();
      --loop_.busy_;
    }

   private:
    HostedLoop& loop_;
  };
  /// Whether nothing is under way that must not be interrupted. Inside of an `Entry`.
  [[nodiscard]] bool outermost() const noexcept { return busy_ == 1; }

  /// \throws `std::bad_alloc`; nothing is changed then.
  [[nodiscard]] Client& add(End end) {
    if (free_.empty()) {
      const std::size_t room = 2 * slots_.size() + 16;
      if (free_.capacity() <= slots_.size()) {  // giving a place back must not fail
        for (auto* const list : {&failed_, &lagging_, &waiting_, &taken_}) list->reserve(2 * room);
        free_.reserve(room);  // the last, as it tells that the others are there
      }
      slots_.emplace_back();
      free_.push_back(static_cast<std::uint32_t>(slots_.size() - 1));
    }
    const std::size_t graves = graveyard_.size() + slots_.size();
    if (graveyard_.capacity() < graves) graveyard_.reserve(2 * graves);
    const std::uint32_t number = free_.back();
    Slot& slot = slots_[number];
    slot.client =
        std::make_unique<Client>(std::move(end), pusher::SocketId{number ^ place_mask_, random_.next() >> 11U});
    free_.pop_back();
    slot.client->number = number;
    slot.client->generation = slot.generation;
    ++connections_;
    return *slot.client;
  }
  [[nodiscard]] static HostedId id_of(const Client& client) noexcept { return {client.number, client.generation}; }
  /// Null where it is over.
  [[nodiscard]] Client* find(HostedId id) const noexcept {
    Client* const client = id.number < slots_.size() ? slots_[id.number].client.get() : nullptr;
    return client != nullptr && client->generation == id.generation && !client->gone ? client : nullptr;
  }

  /// Begins its session, for a client that wants to `target`.
  void begin(Client& client, std::string_view target, const HostedOrigin& from) {
    client.state = State::open;
    client.deadline = never;
    const bool over_capacity =
        from.over_capacity || (options_.max_connections != 0 && clients_ >= options_.max_connections);
    client.counted = true;
    ++clients_;
    client.address = from.address;
    const std::string_view path = target.substr(0, target.find('?'));
    const std::optional<std::string_view> key = key_in(path, options_.path_prefix);
    App* const app = key ? apps_.find_by_key(*key) : nullptr;
    const pusher::Opening opening{.query = target.substr(std::min(path.size() + 1, target.size())),
                                  .draining = draining_,
                                  .path_found = key.has_value(),
                                  .key = key.value_or(std::string_view{}),
                                  .origin = from.origin,
                                  .tls = from.tls,
                                  .over_capacity = over_capacity};
    attempt(client, [&] { return transport::open(client.session, app, client.address, opening, now_); });
  }

  /// A whole message has come.
  /// \pre outermost.
  void take_text(Client& client, std::string_view text) {
    if (client.state != State::open) return;
    if (text.size() > options_.max_message_bytes) return close(client, websocket::close_code::too_big, {});
    attempt(client, [&] { return client.session.receive(text, now_, signer_); });
  }
  void heard(Client& client) noexcept {
    if (client.state == State::open) client.session.heard(now_);
  }
  [[nodiscard]] bool paced(Client& client) noexcept {
    return client.state == State::open && client.session.paced(now_);
  }
  void close_session(Client& client, std::uint16_t code, std::string_view message) {
    attempt(client, [&] { return client.session.close(code, message); });
  }
  /// The same as soon as nothing is under way. \pre `message` lives as long as the client.
  void close_later(Client& client, std::uint16_t code, std::string_view message) noexcept {
    client.close_code = code;
    client.close_message = message;
    broken(client);
  }

  /// Sends bytes that are not the WebSocket's.
  void send_bytes(Client& client, std::string_view bytes) noexcept { fanout_.send(client, bytes); }
  /// Nothing new is sent. It ends when what it is owed has gone out.
  void finish_when_sent(Client& client) noexcept {
    if (client.state == State::closing || client.state == State::ended) return;
    client.state = State::closing;
    client.deadline = now_ + options_.close_timeout;
    part_with(client);
    if (client.backlog == nullptr && !client.deaf) finish(client);
  }
  /// It ends at once, whatever it is owed.
  void abort(Client& client, std::uint16_t code, std::string_view reason) noexcept {
    if (client.state == State::ended) return;
    end(client);
    if (!client.gone) client.end.finish(code, reason);
  }
  /// The host says that the connection is over.
  void take_end(Client& client) noexcept {
    client.gone = client.deaf = true;
    if (!outermost()) return broken(client);
    abort(client, websocket::close_code::abnormal, {});
  }
  /// The host can send again.
  void take_writable(Client& client) noexcept {
    if (!outermost() || client.backlog == nullptr) return;
    go_on_writing(client);
  }
  /// What it is owed is not known, or it is owed nothing more: it ends as soon as nothing is under way.
  void give_up(Client& client) noexcept {
    client.deaf = true;
    broken(client);
  }
  /// Has `go_on` called in the next turn; or when it may send again, where it has sent too much.
  void go_on_later(Client& client) noexcept {
    at_once_ = at_once_ || !paced(client);
    if (!std::exchange(client.waiting, true)) waiting_.push_back(&client);  // reserved
  }

  /// A turn. \returns whether there is more to do at once.
  bool turn() {
    if (busy_ != 0) {
      told_ = never;  // inside of a callback: what is to be done is done afterwards
      return false;
    }
    const Entry entry(*this);
    mailbox.awake();
    end_failed();
    for (std::size_t i = lagging_.size(); i-- != 0;) {
      if (i < lagging_.size()) go_on_writing(*lagging_[i]);
    }
    at_once_ = false;
    taken_.swap(waiting_);
    for (Client* const client : taken_) {  // who has ended meanwhile is still there
      client->waiting = false;
      if (client->state != State::ended && !client->gone) attempt_plain(*client, [&] { go_on(*client); });
    }
    taken_.clear();
    if (now_ >= next_sweep_) sweep();
    if (draining_ && now_ >= next_drain_) drain_some();
    const bool more = fanout_.drain();
    fanout_.flush();
    end_failed();
    told_ = due_time();
    return !mailbox.sleep() || more || told_ <= now_;
  }
  [[nodiscard]] Time due_time() const noexcept {
    Time due = next_sweep_;
    if (!lagging_.empty()) due = std::min(due, now_ + lagging_time);
    if (!waiting_.empty()) due = std::min(due, at_once_ ? now_ : now_ + pace_time);
    return draining_ ? std::min(due, next_drain_) : due;
  }

  void begin_drain(Time timeout) {
    if (std::exchange(draining_, true)) return;
    const Entry entry(*this);
    drain_until_ = now_ + timeout;
    next_drain_ = now_;
  }
  [[nodiscard]] bool draining() const noexcept { return draining_; }
  [[nodiscard]] bool drained() const noexcept { return draining_ && connections_ == 0; }

  /// How many there are, with a session or without.
  [[nodiscard]] std::size_t connections() const noexcept { return connections_; }
  [[nodiscard]] SlowConsumerCounts slow_consumers() const noexcept { return fanout_.slow_consumers(); }
  [[nodiscard]] const HostedOptions& options() const noexcept { return options_; }
  [[nodiscard]] pusher::AppList& apps() const noexcept { return apps_; }
  [[nodiscard]] pusher::Signer& signer() noexcept { return signer_; }

  /// What a client has sent may be looked at.
  virtual void go_on(Client& client) = 0;
  /// What it was owed has gone out.
  virtual void has_written(Client& /*client*/) {}
  /// A second has passed for one that has no session.
  virtual void tick_fresh(Client& /*client*/) {}
  /// The loop is to end: one that has no session.
  virtual void drain_fresh(Client& client) { abort(client, websocket::close_code::going_away, {}); }

  /// Does for a client what may have no memory for it, or a callback of the host's that throws.
  template <class F>
  void attempt_plain(Client& client, F&& f) noexcept {
    try {
      f();
    } catch (...) {
      give_up(client);  // what this client is owed is not known
    }
  }

 private:
  struct Slot {
    std::unique_ptr<Client> client;
    std::uint32_t generation = 0;  ///< of the next one, where there is none
  };

  static constexpr Time lagging_time{20};  // between two looks at a host's buffers
  static constexpr Time pace_time{100};
  static constexpr Time drain_time{50};

  void read_clock() {
    now_ = options_.clock != nullptr
               ? options_.clock()
               : std::chrono::duration_cast<Time>(std::chrono::steady_clock::now().time_since_epoch());
  }

  void send_message(Client& client, websocket::Opcode opcode, std::string_view payload) {
    std::string frame = std::move(scratch_);  // a callback may come back here while it is sent
    frame.clear();
    websocket::append_frame(frame, opcode, payload);
    fanout_.send(client, frame);
    scratch_ = std::move(frame);
  }

  template <class F>
  void attempt(Client& client, F&& f) noexcept {
    attempt_plain(client, [&] { perform(*this, fanout_, client, client.session, f()); });
  }
  void leave() noexcept {
    end_failed();
    graveyard_.clear();
    const Time due = due_time();
    if (due < std::exchange(told_, due)) wake();
  }

  void part_with(Client& client) noexcept {
    part(fanout_, client, &client.session);
    if (!std::exchange(client.counted, false)) return;
    --clients_;
    if (App* const app = client.session.app()) app->dismiss_from(client.address);
  }
  /// All that it was owed is written.
  void finish(Client& client) noexcept { abort(client, websocket::close_code::going_away, {}); }
  void end(Client& client) noexcept {
    if (client.state == State::ended) return;
    client.state = State::ended;
    client.deaf = true;
    part_with(client);
    client.backlog.reset();
    for (auto* const list : {&failed_, &lagging_, &waiting_}) std::erase(*list, &client);
    Slot& slot = slots_[client.number];
    ++slot.generation;
    free_.push_back(client.number);                // reserved
    graveyard_.push_back(std::move(slot.client));  // reserved
    --connections_;
  }

  void go_on_writing(Client& client) noexcept {
    if (client.deaf || !fanout_.writable(client)) return;
    if (std::exchange(client.lagging, false)) std::erase(lagging_, &client);
    if (client.state == State::closing) return finish(client);
    attempt_plain(client, [&] { has_written(client); });
  }

  /// Ends those that could not be served where it was found out.
  void end_failed() noexcept {
    while (!failed_.empty()) {
      Client& client = *failed_.back();
      failed_.pop_back();
      client.failed = false;
      if (client.gone) {
        abort(client, websocket::close_code::abnormal, {});
      } else if (const auto code = std::exchange(client.close_code, std::uint16_t{0}); code != 0 && !client.deaf) {
        if (client.state == State::open) close_session(client, code, client.close_message);
      } else if (client.lags_too_much && client.state == State::open) {
        attempt_plain(client, [&] { overflow(client); });
      } else {
        abort(client, websocket::close_code::internal_error, "The connection could not be served");
      }
    }
  }
  /// It gets the rest of the frame that it is in the middle of, and is told to come back.
  void overflow(Client& client) {
    client.lags_too_much = false;
    std::string frame;
    websocket::append_close(frame, pusher::close_code::over_capacity, "The client reads too slowly");
    client.backlog->keep_started_frame();
    client.backlog->append(frame);
    client.deaf = false;
    client.state = State::closing;
    client.deadline = now_ + options_.close_timeout;
    part_with(client);
    go_on_writing(client);
  }

  void sweep() {
    // At whole seconds: who has several of these wakes once for all.
    next_sweep_ = std::chrono::floor<std::chrono::seconds>(now_) + std::chrono::seconds(1);
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      Client* const client = slots_[i].client.get();
      if (client == nullptr || client->deaf) continue;
      switch (client->state) {
        case State::fresh: attempt_plain(*client, [&] { tick_fresh(*client); }); break;
        case State::open: attempt(*client, [&] { return client->session.tick(now_, in_channel(*client)); }); break;
        case State::closing:
          if (now_ >= client->deadline) {
            abort(*client, pusher::close_code::over_capacity, "The client reads too slowly");
          }
          break;
        case State::ended: break;
      }
    }
    fanout_.tidy();
    apps_.for_each([](App& app) {
      try {
        app.tick();
      } catch (const std::bad_alloc&) {  // the next one does it
      }
    });
  }

  /// Not all at once: they come back as they go.
  void drain_some() {
    next_drain_ = now_ + drain_time;
    const bool all = now_ >= drain_until_;
    std::size_t most = all ? slots_.size() : std::max<std::size_t>(slots_.size() / 20, 64);
    for (std::size_t i = 0; i < slots_.size() && most != 0; ++i) {
      Client* const client = slots_[i].client.get();
      if (client == nullptr || (client->state == State::closing && !all)) continue;
      --most;
      if (all) {
        abort(*client, pusher::close_code::over_capacity, stops);
      } else if (client->state == State::open) {
        close_session(*client, pusher::close_code::over_capacity, stops);
      } else {
        attempt_plain(*client, [&] { drain_fresh(*client); });
      }
    }
  }
  static constexpr std::string_view stops = "The server stops: please connect again";

  const HostedOptions options_;
  pusher::AppList& apps_;
  std::uint64_t place_mask_ = 0;
  RandomNumbers random_;
  pusher::Signer signer_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::vector<Client*> failed_;   // to be ended when nothing is under way
  std::vector<Client*> lagging_;  // have a backlog
  std::vector<Client*> waiting_;  // have sent what was not looked at
  std::vector<Client*> taken_;    // of those, in this turn
  std::vector<std::unique_ptr<Client>> graveyard_;
  std::string scratch_;
  std::size_t connections_ = 0;
  std::size_t clients_ = 0;  // of them, those with a session that are not on their way out
  Time now_{0};
  Time next_sweep_{0};
  Time next_drain_{0};
  Time drain_until_{0};
  Time told_ = never;  // what the host knows of `due_time`
  unsigned busy_ = 0;
  bool at_once_ = false;  // somebody waits for nothing but the next turn
  bool draining_ = false;
  Fanout<HostedLoop, Client> fanout_;
};

/// A host's connection, given frames.
template <class H>
class MessageEnd {
 public:
  MessageEnd(H connection, std::size_t max_buffered) : connection_(std::move(connection)), most_(max_buffered) {}

  /// Takes whole frames.
  std::ptrdiff_t write(std::string_view frames) noexcept {
    try {
      std::size_t taken = 0;
      while (taken < frames.size() && !is_full()) {
        const websocket::ServerFrame frame = websocket::read_server_frame(frames.substr(taken));
        FANFARE_ASSERT(frame.size != 0, "frames are whole");
        if (!give(frame)) return -1;
        taken += frame.size;
      }
      return static_cast<std::ptrdiff_t>(taken);
    } catch (...) {
      return -1;
    }
  }
  void finish(std::uint16_t code, std::string_view reason) noexcept {
    if (std::exchange(closed_, true)) return;
    try {
      connection_.close(code, reason);
    } catch (...) {  // it is over either way
    }
  }
  void resume() noexcept {
    if constexpr (requires { connection_.resume(); }) {
      try {
        connection_.resume();
      } catch (...) {  // the host will say that it is over
      }
    }
  }

  std::deque<std::string> input{};  ///< messages that wait
  std::size_t input_bytes = 0;
  bool told_to_wait = false;

 private:
  [[nodiscard]] bool is_full() {
    if constexpr (requires {
                    { connection_.buffered() } -> std::convertible_to<std::size_t>;
                  }) {
      return connection_.buffered() >= most_;
    } else {
      return false;
    }
  }
  [[nodiscard]] bool give(const websocket::ServerFrame& frame) {
    switch (frame.opcode) {
      case websocket::Opcode::close: finish(frame.code, frame.payload); return true;
      case websocket::Opcode::ping:
        if constexpr (requires { connection_.ping(); }) {
          connection_.ping();
          return true;
        } else {
          return send(pusher::frames::ping());
        }
      default: return send(frame.payload);
    }
  }
  [[nodiscard]] bool send(std::string_view text) {
    if constexpr (requires {
                    { connection_.send(text) } -> std::same_as<bool>;
                  }) {
      return connection_.send(text);
    } else {
      static_cast<void>(connection_.send(text));
      return true;
    }
  }

  H connection_;
  std::size_t most_;
  bool closed_ = false;
};

}  // namespace detail

/// Clients whose WebSockets belong to the host: any library's, with any framing. The host says what comes, and is told
/// what to send.
///
/// ```
/// transport::HostedTransport<MyConnection> clients(apps, {.wake = [&] { loop.post([&] { turn(); }); }});
/// // on open:     id = clients.open(MyConnection{socket}, request.target, {.origin = request.origin});
/// // on message:  clients.receive(id, text);
/// // on close:    clients.closed(id);
/// // turn:        while (clients.run()) {}  then again at clients.due(), or when woken
/// ```
///
/// What a client asks for is answered inside of `receive`; events go out in `run`.
///
/// \ownership  the applications must outlive it, and the host's connections its calls to them. Its destructor calls
///             none of them: `drain` before it lets them go in good order.
/// Thread safety: like an `int`; triggers come from any thread. `slow_consumers` from any thread.
template <class H>
class HostedTransport final : private detail::HostedLoop<detail::MessageEnd<H>> {
  static_assert(HostConnection<H>,
                "fanfare: HostedTransport: the type does not satisfy the concept fanfare::transport::HostConnection");
  using Base = detail::HostedLoop<detail::MessageEnd<H>>;
  using Client = typename Base::Client;
  using Entry = typename Base::Entry;

 public:
  /// \param apps   outlive it.
  explicit HostedTransport(pusher::AppList& apps, HostedOptions options = {}) : Base(apps, std::move(options)) {}
  ~HostedTransport() { this->shut(); }

  /// A WebSocket has been opened. What the client is told of it is sent at once; it may be that it is refused.
  /// \param target  of the request: `/app/KEY?protocol=7`.
  /// \throws        `std::bad_alloc`; nothing is changed then, and `connection` is not called.
  HostedId open(H connection, std::string_view target, const HostedOrigin& from = {}) {
    const Entry entry(*this);
    Client& client = this->add({std::move(connection), this->options().max_buffered_bytes});
    const HostedId id = Base::id_of(client);
    this->begin(client, target, from);
    return id;
  }

  /// A text message has come. What the client is told is sent at once, events are triggered at once.
  /// \param text  UTF-8; what is not is answered as malformed.
  /// \returns     false where it has to wait, as the client has sent as many messages as it may in a second: read no
  ///              more of it, if that can be, until `resume` is called. Of a connection that is over too.
  bool receive(HostedId id, std::string_view text) {
    const Entry entry(*this);
    Client* const client = Base::find(id);
    if (client == nullptr || client->state != Client::State::open) return false;
    if (!client->end.input.empty() || !this->outermost() || this->paced(*client)) return wait(*client, text);
    this->take_text(*client, text);
    if (client->state != Client::State::open || client->deaf) return false;
    client->end.told_to_wait = this->paced(*client);
    if (!client->end.told_to_wait) return true;
    this->go_on_later(*client);
    return false;
  }

  /// Something else has come from the client: a pong, a ping, a binary message. It is there, then.
  void heard(HostedId id) {
    const Entry entry(*this);
    if (Client* const client = Base::find(id)) Base::heard(*client);
  }

  /// `buffered` is smaller than it was. Without this call it is looked at again soon.
  void writable(HostedId id) {
    const Entry entry(*this);
    if (Client* const client = Base::find(id)) this->take_writable(*client);
  }

  /// The connection is over, whoever has ended it. The host's object is not called any more.
  void closed(HostedId id) {
    const Entry entry(*this);
    if (Client* const client = Base::find(id)) this->take_end(*client);
  }

  /// A turn: what waits is acted on, events go out, and what time brings is done.
  /// \returns whether there is more to do at once. If not, the next turn is when the host is woken, or at `due`.
  bool run() { return this->turn(); }
  /// When the next turn is at the latest, on the clock of the options. It changes in `run`; where something else makes
  /// it earlier, the host is woken.
  [[nodiscard]] std::chrono::milliseconds due() const noexcept { return this->due_time(); }

  /// From now on, new connections are told to go elsewhere, and those that are there to come back later, some in each
  /// turn. Those that have not gone after `timeout` are closed.
  void drain(std::chrono::milliseconds timeout) { this->begin_drain(timeout); }
  /// Whether they have all gone.
  [[nodiscard]] bool drained() const noexcept { return Base::drained(); }

  /// How many connections there are.
  [[nodiscard]] std::size_t connections() const noexcept { return Base::connections(); }
  /// What the protocol calls a connection; nothing if it is over.
  [[nodiscard]] std::optional<pusher::SocketId> socket_id(HostedId id) const noexcept {
    const Client* const client = Base::find(id);
    if (client == nullptr) return std::nullopt;
    return client->session.socket_id();
  }
  /// What became of clients that lagged too much.
  [[nodiscard]] SlowConsumerCounts slow_consumers() const noexcept { return Base::slow_consumers(); }

 private:
  [[nodiscard]] bool wait(Client& client, std::string_view text) {
    detail::MessageEnd<H>& end = client.end;
    const std::size_t bytes = text.size() + message_overhead;
    if (bytes > this->options().max_input_bytes - std::min(end.input_bytes, this->options().max_input_bytes)) {
      this->close_later(client, pusher::close_code::over_capacity, "The client sends more than it may");
      return false;
    }
    this->attempt_plain(client, [&] { end.input.emplace_back(text); });
    end.input_bytes += bytes;
    end.told_to_wait = true;
    this->go_on_later(client);
    return false;
  }

  void go_on(Client& client) override {
    std::deque<std::string>& input = client.end.input;
    while (!input.empty() && client.state == Client::State::open && !this->paced(client)) {
      const std::string text = std::move(input.front());
      input.pop_front();
      client.end.input_bytes -= text.size() + message_overhead;
      this->take_text(client, text);
    }
    if (client.state != Client::State::open) return;
    if (!input.empty() || this->paced(client)) return this->go_on_later(client);
    if (std::exchange(client.end.told_to_wait, false)) client.end.resume();
  }

  static constexpr std::size_t message_overhead = 64;  // what a message that waits costs beside its bytes
};

}  // namespace transport
FANFARE_NAMESPACE_END
