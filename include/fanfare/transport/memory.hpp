/// \file
/// Clients without sockets, threads or clocks: for tests of programs that embed the protocol.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/session.hpp>
#include <fanfare/pusher/socket_id.hpp>
#include <fanfare/transport/fanout.hpp>
#include <fanfare/transport/perform.hpp>
#include <fanfare/websocket/frame.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// What a client in memory receives.
struct MemoryMessage {
  websocket::Opcode opcode = websocket::Opcode::text;  ///< `text`, `ping` or `close`.
  std::string text;                                    ///< The message, or the reason of a close.
  std::uint16_t code = 0;                              ///< Of a close.

  friend bool operator==(const MemoryMessage&, const MemoryMessage&) = default;
};

/// Where a client in memory seems to come from.
struct MemoryOrigin {
  std::string_view origin = {};  ///< Of the page, as a browser would send it.
  bool tls = false;              ///< Whether through TLS.
  bool over_capacity = false;    ///< Whether the server has all connections it can have.
  std::uint64_t address = 0;     ///< See `App::admit_from`.
};

/// A loop whose clients are objects of the same program. Everything happens in `run`, in an order that is always the same.
///
/// \ownership  the applications must outlive it.
/// Thread safety: like an `int`; triggers come from any thread.
class MemoryTransport final : public Door {
 public:
  class Client;

  /// \param apps            outlive it.
  /// \param mailbox_bytes   what may wait for the next turn.
  explicit MemoryTransport(pusher::AppList& apps, const FanoutLimits& limits = {},
                           std::size_t mailbox_bytes = std::size_t{64} << 20U)
      : Door(mailbox_bytes),
        apps_(apps),
        last_secret_(reinterpret_cast<std::uintptr_t>(this) / alignof(MemoryTransport)),
        fanout_(*this, *this, limits) {}
  ~MemoryTransport() {
    for (const auto& client : clients_) end(*client);
    fanout_.close(true);  // triggers that are under way would push into what is no more
    for (const auto& client : clients_) client->backlog.reset();  // its logs belong to the loop
  }

  /// One end of a connection.
  class Client : public Peer {
   public:
    /// Made by `connect`.
    explicit Client(pusher::SocketId id) : session_(id) {}

    /// Puts a text message on its way; it arrives at the next `run`.
    void send(std::string text) { input_.push_back({websocket::Opcode::text, std::move(text), 0}); }
    /// Answers a ping of WebSocket's; it arrives at the next `run`.
    void pong() { input_.push_back({websocket::Opcode::pong, {}, 0}); }
    /// Hangs up.
    void close() { input_.push_back({websocket::Opcode::close, {}, 0}); }

    /// Takes the next message that has arrived.
    [[nodiscard]] std::optional<MemoryMessage> receive() {
      std::optional<MemoryMessage> message = decode();
      return message;
    }

    /// How many bytes may be under way to the client. What is beyond stays in its outbox: a client that does not read.
    void limit_window(std::size_t bytes) noexcept { window_ = bytes; }
    /// How many bytes wait for the client to read: on the way, and behind that.
    [[nodiscard]] std::size_t unread() const noexcept {
      return on_the_way() + (backlog == nullptr ? 0 : backlog->bytes());
    }
    /// What the server calls it.
    [[nodiscard]] const pusher::SocketId& socket_id() const noexcept { return session_.socket_id(); }
    /// Whether the server has ended the connection. What is on the way can still be read.
    [[nodiscard]] bool closed() const noexcept { return ended_; }

   private:
    friend class MemoryTransport;

    [[nodiscard]] std::optional<MemoryMessage> decode() {
      const websocket::ServerFrame frame = websocket::read_server_frame(std::string_view(wire_).substr(taken_));
      if (frame.size == 0) return std::nullopt;
      MemoryMessage message{frame.opcode, std::string(frame.payload), 0};
      if (frame.code != websocket::close_code::no_status) message.code = frame.code;
      taken_ += frame.size;
      if (taken_ > wire_.size() / 2) {  // seldom enough to cost little
        wire_.erase(0, taken_);
        taken_ = 0;
      }
      return message;
    }
    [[nodiscard]] std::size_t on_the_way() const noexcept { return wire_.size() - taken_; }

    std::deque<MemoryMessage> input_;
    std::string wire_;
    std::size_t taken_ = 0;  // of its bytes
    std::size_t window_ = std::numeric_limits<std::size_t>::max();
    pusher::Session session_;
    std::uint64_t address_ = 0;
    bool ended_ = false;
    bool failed_ = false;
    bool lags_too_much_ = false;
    bool terminated_ = false;
  };

  /// Opens a connection: `/app/KEY?protocol=7`. What the server says of it arrives at once.
  /// \returns the client, which lives as long as the transport.
  Client& connect(std::string_view target, const MemoryOrigin& from = {}) {
    const auto number = static_cast<std::uint32_t>(clients_.size());
    auto made = std::make_unique<Client>(pusher::SocketId{number + 1, ++last_secret_ * 0x9e3779b97fU});
    made->number = number;
    Client& client = *clients_.emplace_back(std::move(made));
    const std::string_view path = target.substr(0, target.find('?'));
    const std::optional<std::string_view> key = key_in(path);
    App* const app = key ? apps_.find_by_key(*key) : nullptr;
    const pusher::Opening opening{.query = target.substr(std::min(path.size() + 1, target.size())),
                                  .draining = draining_,
                                  .path_found = key.has_value(),
                                  .key = key.value_or(std::string_view{}),
                                  .origin = from.origin,
                                  .tls = from.tls,
                                  .over_capacity = from.over_capacity};
    client.address_ = from.address;
    act(client, transport::open(client.session_, app, client.address_, opening, now_));
    return client;
  }

  /// A turn: what clients have sent is acted on, then events go out. Repeats until nothing is left to do.
  void run() {
    bool more = true;
    while (more) {
      mailbox.awake();
      for (std::size_t i = 0; i < clients_.size(); ++i) {
        Client& client = *clients_[i];
        settle(client);
        if (client.backlog != nullptr) fanout_.writable(client);
        while (!client.input_.empty() && !client.session_.paced(now_)) take(client);
      }
      more = fanout_.drain();
      fanout_.flush();
      for (const auto& client : clients_) more = more || client->failed_;
      more = more || !mailbox.sleep();
    }
  }

  /// Lets time pass, and gives every session a `tick` at its end. Then runs.
  void advance(std::chrono::milliseconds time) {
    now_ += time;
    for (const auto& client : clients_) {
      if (!client->ended_) act(*client, client->session_.tick(now_, in_channel(*client)));
    }
    fanout_.tidy();
    run();
  }

  /// What became of clients that lagged too much.
  [[nodiscard]] SlowConsumerCounts slow_consumers() const noexcept { return fanout_.slow_consumers(); }

  /// From now on, new connections are told to go elsewhere.
  void drain() noexcept { draining_ = true; }

  /// \name Door, Driver and Port
  /// @{
  void wake() noexcept override {}

  /// What sessions ask for.
  void send_text(Client& client, std::string_view text) {
    frame_.clear();
    websocket::append_frame(frame_, websocket::Opcode::text, text);
    fanout_.send(client, frame_);
  }
  void send_frame(Client& client, std::string_view frame) { fanout_.send(client, frame); }
  void send_ping(Client& client) {
    frame_.clear();
    websocket::append_frame(frame_, websocket::Opcode::ping, {});
    fanout_.send(client, frame_);
  }
  void close(Client& client, std::uint16_t code, std::string_view reason) {
    frame_.clear();
    websocket::append_close(frame_, code, reason);
    fanout_.send(client, frame_);
    end(client);
  }

  /// What the fan-out asks for.
  void entered(Client& client, const Entrance& entrance) noexcept {
    if (client.ended_) return;
    try {
      welcome(*this, client, client.session_, entrance);
    } catch (const std::bad_alloc&) {
      client.deaf = true;
      broken(client);
    }
  }
  [[nodiscard]] std::chrono::milliseconds now() const noexcept { return now_; }
  [[nodiscard]] static pusher::SocketId::Text socket_id(const Client& client) noexcept {
    return client.socket_id().text();
  }
  [[nodiscard]] static std::string_view user_id(const Client& client) noexcept { return client.session_.user_id(); }
  void terminate(Client& client) noexcept { client.failed_ = client.terminated_ = true; }

  std::ptrdiff_t write(Client& client, std::string_view bytes) noexcept {
    const std::size_t under_way = client.on_the_way();
    const std::size_t room = client.window_ > under_way ? client.window_ - under_way : 0;
    const std::size_t taken = std::min(room, bytes.size());
    try {
      client.wire_.append(bytes.substr(0, taken));
    } catch (const std::bad_alloc&) {
      return -1;
    }
    return static_cast<std::ptrdiff_t>(taken);
  }
  void broken(Client& client) noexcept { client.failed_ = true; }
  void overflowed(Client& client) noexcept { client.failed_ = client.lags_too_much_ = true; }
  [[nodiscard]] Client* find(std::string_view socket_id) noexcept {
    const std::optional<pusher::SocketId> id = pusher::SocketId::parse(socket_id);
    if (!id || id->place == 0 || id->place > clients_.size()) return nullptr;
    Client& client = *clients_[id->place - 1];
    return client.socket_id() == *id && !client.ended_ ? &client : nullptr;
  }
  [[nodiscard]] Client* at(std::uint32_t number) noexcept {
    return number < clients_.size() && !clients_[number]->ended_ ? clients_[number].get() : nullptr;
  }
  /// @}

 private:
  void act(Client& client, pusher::Action action) {
    perform(*this, fanout_, client, client.session_, std::move(action));
  }

  void take(Client& client) {
    const MemoryMessage message = std::move(client.input_.front());
    client.input_.pop_front();
    if (client.ended_) return;
    switch (message.opcode) {
      case websocket::Opcode::text: return act(client, client.session_.receive(message.text, now_));
      case websocket::Opcode::close: return end(client);
      default: return client.session_.heard(now_);
    }
  }

  /// Ends those that a flush could not serve.
  void settle(Client& client) {
    if (!std::exchange(client.failed_, false) || client.ended_) return;
    if (std::exchange(client.terminated_, false)) {
      return act(client, client.session_.close(pusher::close_code::unauthorized, "The user is to go"));
    }
    end(client);
    if (!client.lags_too_much_) return client.backlog.reset();
    client.backlog->keep_started_frame();
    client.deaf = false;
    frame_.clear();
    websocket::append_close(frame_, pusher::close_code::over_capacity, "The client reads too slowly");
    client.backlog->append(frame_);
  }

  void end(Client& client) noexcept {
    if (std::exchange(client.ended_, true)) return;
    part(fanout_, client, &client.session_);
    if (App* const app = client.session_.app()) app->dismiss_from(client.address_);
  }

  pusher::AppList& apps_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::string frame_;
  std::uint64_t last_secret_;  // not that of another loop, whose clients may be in the same channels
  std::chrono::milliseconds now_{0};
  bool draining_ = false;
  Fanout<MemoryTransport, Client> fanout_;
};
static_assert(Transport<MemoryTransport, MemoryTransport::Client>);

}  // namespace transport
FANFARE_NAMESPACE_END
