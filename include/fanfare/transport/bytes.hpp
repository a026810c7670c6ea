/// \file
/// A whole server for the Pusher protocol over sockets that are the host's: bytes in, bytes out.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/http/parser.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/pusher/http_api.hpp>
#include <fanfare/transport/address.hpp>
#include <fanfare/transport/answers.hpp>
#include <fanfare/transport/hosted.hpp>
#include <fanfare/websocket/frame.hpp>
#include <fanfare/websocket/handshake.hpp>
#include <fanfare/websocket/processor.hpp>
#include <fanfare/websocket/receiver.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// A stream of bytes that is the host's: a socket, TLS, a stream of QUIC, a serial line. Mostly a small handle, as it
/// is moved in and kept until the connection is over.
///
/// | expression | type | meaning |
/// |---|---|---|
/// | `c.write(bytes)` | `std::size_t` | takes the first so many of them, perhaps none; what it leaves is kept, and offered again when the host calls `writable`. The view ends with the call |
/// | `c.close()` | | the end: closes when what was taken is sent. Called once, and nothing behind it; never, if the host has said that the connection is over |
/// | `c.resume()` | | optional: what was told to wait by `receive` may come now |
///
/// All are called by the thread that calls the transport, inside of such a call. What they throw counts as a broken
/// connection. They may call the transport.
template <class C>
concept ByteConnection = std::move_constructible<C> && requires(C& connection, std::string_view bytes) {
  { connection.write(bytes) } -> std::convertible_to<std::size_t>;
  connection.close();
};

/// What a server without sockets is made of.
struct ByteOptions {
  /// `max_message_bytes` and `max_buffered_bytes` do not count: see `messages`, and what `write` takes.
  HostedOptions hosted{};
  http::ParserLimits http{};
  websocket::MessageLimits messages{};
  std::chrono::seconds request_timeout{30};      ///< A request that has begun must be whole after so long.
  std::chrono::seconds keep_alive_timeout{120};  ///< A connection without a request is closed after so long.
  bool forwarded_for = false;                    ///< Whether proxies say in `X-Forwarded-For` where clients come from.
  OnRequest on_request{};                        ///< Called inside of `receive`.
};

/// Where a stream comes from, as the host knows it.
struct ByteOrigin {
  bool tls = false;            ///< Whether it came through TLS.
  std::uint64_t address = 0;   ///< See `App::admit_from` and `peer_address`.
  bool over_capacity = false;  ///< Whether the host has all connections that it can have.
};

namespace detail {

/// A host's stream, and what it is in the middle of.
template <class C>
class ByteEnd {
 public:
  struct Held {
    http::Response response;
    http::ReplyTo to;
    pusher::ApiWait wait;
    std::chrono::milliseconds until;
  };
  /// While it is no WebSocket.
  struct Http {
    explicit Http(const http::ParserLimits& limits) noexcept : parser(limits) {}
    http::Parser parser;
    bool told_to_continue = false;
    std::unique_ptr<Held> held{};  ///< an answer that may not be sent yet; what is asked behind it waits
  };

  ByteEnd(C connection, const http::ParserLimits& limits, const ByteOrigin& origin_)
      : http(std::make_unique<Http>(limits)), origin(origin_), connection_(std::move(connection)) {}

  std::ptrdiff_t write(std::string_view bytes) noexcept {
    try {
      const std::size_t taken = connection_.write(bytes);
      return static_cast<std::ptrdiff_t>(std::min(taken, bytes.size()));
    } catch (...) {
      return -1;
    }
  }
  void finish(std::uint16_t /*code*/, std::string_view /*reason*/) noexcept {
    try {
      connection_.close();
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

  std::unique_ptr<Http> http;
  websocket::Receiver receiver{};
  std::vector<char> input{};  ///< bytes that wait
  ByteOrigin origin;
  bool told_to_wait = false;

 private:
  C connection_;
};

}  // namespace detail

/// Clients and backends whose streams of bytes belong to the host: HTTP, the HTTP API, WebSockets. What is neither is
/// given to `ByteOptions::on_request`, or answered 404. The HTTP fallbacks of pusher-js are not among it.
///
/// ```
/// transport::ByteTransport<MyStream> server(apps, {.hosted = {.wake = [&] { loop.post([&] { turn(); }); }}});
/// // on accept:   id = server.open(MyStream{socket});
/// // on bytes:    server.receive(id, buffer);
/// // can send:    server.writable(id);
/// // on end:      server.closed(id);
/// // turn:        while (server.run()) {}  then again at server.due(), or when woken
/// ```
///
/// What is asked for is answered inside of `receive`; events go out in `run`, all of a turn in one `write`.
///
/// \ownership  the applications must outlive it, and the host's streams its calls to them. Its destructor calls none of
///             them: `drain` before it lets them go in good order.
/// Thread safety: like an `int`; triggers come from any thread. `slow_consumers` from any thread.
template <class C>
class ByteTransport final : private detail::HostedLoop<detail::ByteEnd<C>> {
  static_assert(ByteConnection<C>,
                "fanfare: ByteTransport: the type does not satisfy the concept fanfare::transport::ByteConnection");
  using End = detail::ByteEnd<C>;
  using Base = detail::HostedLoop<End>;
  using Client = typename Base::Client;
  using State = typename Client::State;
  using Entry = typename Base::Entry;

 public:
  /// \param apps   outlive it.
  explicit ByteTransport(pusher::AppList& apps, ByteOptions options = {})
      : Base(apps, hosted_options(options)),
        options_(std::move(options)),
        api_(apps, {.path_prefix = options_.hosted.path_prefix}),
        processors_(options_.messages) {}
  ~ByteTransport() {
    bells_.silence();
    this->shut();
  }

  /// A stream has been opened.
  /// \throws  `std::bad_alloc`; nothing is changed then, and `connection` is not called.
  HostedId open(C connection, const ByteOrigin& from = {}) {
    const Entry entry(*this);
    Client& client = this->add(End(std::move(connection), options_.http, from));
    client.deadline = this->now() + options_.request_timeout;
    return Base::id_of(client);
  }

  /// Bytes have come. What is asked is answered at once, events are triggered at once.
  /// \param bytes  in pieces of any size; those of WebSockets are unmasked in place.
  /// \returns      false where some have to wait, as the client asks faster than it reads, or sends more than it may:
  ///               read no more of it, if that can be, until `resume` is called. Of a connection that is over too.
  bool receive(HostedId id, std::span<char> bytes) {
    const Entry entry(*this);
    Client* const client = Base::find(id);
    if (client == nullptr || client->state == State::closing) return false;
    if (!this->outermost() || !client->end.input.empty() || must_wait(*client)) {
      this->attempt_plain(*client, [&] { keep(*client, bytes); });
      if (!must_wait(*client)) this->go_on_later(*client);
      return false;
    }
    this->attempt_plain(*client, [&] { process(*client, bytes); });
    return goes_on(*client);
  }

  /// The stream would take more bytes. Without this call it is tried again soon.
  void writable(HostedId id) {
    const Entry entry(*this);
    if (Client* const client = Base::find(id)) this->take_writable(*client);
  }

  /// The stream is over, whoever has ended it. The host's object is not called any more.
  void closed(HostedId id) {
    const Entry entry(*this);
    if (Client* const client = Base::find(id)) this->take_end(*client);
  }

  /// A turn: what waits is acted on, events go out, and what time brings is done.
  /// \returns whether there is more to do at once. If not, the next turn is when the host is woken, or at `due`.
  bool run() {
    if (!holding_.empty()) release_held();
    return this->turn();
  }
  /// When the next turn is at the latest, on the clock of the options. It changes in `run`; where something else makes
  /// it earlier, the host is woken.
  [[nodiscard]] std::chrono::milliseconds due() const noexcept { return this->due_time(); }

  /// From now on, new clients are told to go elsewhere, and those that are there to come back later, some in each turn.
  /// Requests that are under way are answered. What has not gone after `timeout` is closed.
  void drain(std::chrono::milliseconds timeout) { this->begin_drain(timeout); }
  /// Whether they have all gone.
  [[nodiscard]] bool drained() const noexcept { return Base::drained(); }

  /// How many streams there are.
  [[nodiscard]] std::size_t connections() const noexcept { return Base::connections(); }
  /// What became of clients that lagged too much.
  [[nodiscard]] SlowConsumerCounts slow_consumers() const noexcept { return Base::slow_consumers(); }

 private:
  using Http = typename End::Http;
  using Held = typename End::Held;

  /// Takes what a WebSocket client sends.
  class Handler {
   public:
    Handler(ByteTransport& transport, Client& client) noexcept : transport_(transport), client_(client) {}

    bool on_text(std::string_view text) noexcept {
      transport_.attempt_plain(client_, [&] { transport_.take_text(client_, text); });
      return more();
    }
    bool on_binary(std::string_view /*bytes*/) noexcept {
      transport_.heard(client_);
      return more();
    }
    bool on_ping(std::string_view bytes) noexcept {
      transport_.heard(client_);
      transport_.attempt_plain(client_, [&] {
        if (client_.state != State::open) return;
        std::string frame;
        websocket::append_frame(frame, websocket::Opcode::pong, bytes);
        transport_.send_bytes(client_, frame);
      });
      return more();
    }
    bool on_pong(std::string_view bytes) noexcept { return on_binary(bytes); }
    void on_close(std::uint16_t code, std::string_view /*reason*/) noexcept {
      transport_.attempt_plain(client_, [&] {
        if (client_.state == State::open) transport_.close(client_, code, {});
      });
    }

   private:
    [[nodiscard]] bool more() noexcept { return ++frames_ < frames_at_once && !transport_.paced(client_); }

    ByteTransport& transport_;
    Client& client_;
    unsigned frames_ = 0;
  };

  static constexpr unsigned frames_at_once = 64;
  static constexpr unsigned requests_at_once = 64;

  static HostedOptions hosted_options(const ByteOptions& options) {
    HostedOptions hosted = options.hosted;
    hosted.max_message_bytes = options.messages.bytes;
    return hosted;
  }

  // ---- input

  /// Whether it asks faster than it reads, or sends more than it may.
  [[nodiscard]] bool must_wait(Client& client) noexcept {
    if (client.state == State::open) return this->paced(client);
    return client.state == State::fresh && (client.backlog != nullptr || client.end.http->held != nullptr);
  }

  /// \throws `std::bad_alloc`.
  void keep(Client& client, std::span<const char> bytes) {
    std::vector<char>& input = client.end.input;
    if (bytes.size() > this->options().max_input_bytes - std::min(input.size(), this->options().max_input_bytes)) {
      if (client.state != State::open) return this->give_up(client);
      return this->close_later(client, pusher::close_code::over_capacity, "The client sends more than it may");
    }
    input.insert(input.end(), bytes.begin(), bytes.end());
    client.end.told_to_wait = true;
  }

  /// Acts on bytes; what cannot be acted on yet is kept.
  void process(Client& client, std::span<char> bytes) {
    while (!bytes.empty()) {
      const State before = client.state;
      std::size_t taken = 0;
      switch (before) {
        case State::fresh: taken = process_http(client, {bytes.data(), bytes.size()}); break;
        case State::open: taken = process_websocket(client, bytes); break;
        case State::closing:
        case State::ended: return;  // behind the last answer nothing counts
      }
      bytes = bytes.subspan(taken);
      if (client.state == before) break;  // a request that has become a WebSocket ends in the middle
    }
    if (bytes.empty() || client.deaf) return;
    // What a callback has brought meanwhile stands behind it.
    client.end.input.insert(client.end.input.begin(), bytes.begin(), bytes.end());
    client.end.told_to_wait = true;
  }

  /// \returns whether it may send more.
  bool goes_on(Client& client) noexcept {
    if (client.deaf || client.state == State::closing || client.state == State::ended) return false;
    const bool waits = must_wait(client);
    const bool has_input = !client.end.input.empty();
    if (!waits && !has_input) return true;
    client.end.told_to_wait = true;
    // Who has an answer to read, or to wait for, goes on when it has it.
    if (!waits || client.state == State::open) this->go_on_later(client);
    return false;
  }

  void go_on(Client& client) override {
    if (!must_wait(client)) {
      std::vector<char> input = std::move(client.end.input);
      client.end.input.clear();
      process(client, input);
    }
    if (goes_on(client) && std::exchange(client.end.told_to_wait, false)) client.end.resume();
  }
  void has_written(Client& client) override {
    if (client.state == State::fresh && client.end.told_to_wait) this->go_on_later(client);
  }

  std::size_t process_websocket(Client& client, std::span<char> bytes) noexcept {
    Handler handler{*this, client};
    const websocket::FeedResult result = client.end.receiver.feed(processors_, bytes.data(), bytes.size(), handler);
    if (result.failure == websocket::close_code::none) return result.used;
    this->attempt_plain(client, [&] {
      if (client.state == State::open) this->close(client, result.failure, {});
    });
    return bytes.size();
  }

  // ---- HTTP

  std::size_t process_http(Client& client, std::string_view bytes) {
    std::size_t used = 0;
    for (unsigned requests = 0; used < bytes.size() && requests < requests_at_once; ++requests) {
      if (client.state != State::fresh || client.deaf || must_wait(client)) break;
      Http& http = *client.end.http;
      const bool began = http.parser.idle();
      const http::FeedResult result = http.parser.feed(bytes.substr(used), parser_memory_);
      used += result.consumed;
      if (result.state == http::ParserState::failed) {
        answer_now(client, http::error_response(http.parser.error()), {});
        return bytes.size();
      }
      if (result.state == http::ParserState::incomplete) {
        if (began && !http.parser.idle()) client.deadline = this->now() + options_.request_timeout;
        if (http.parser.expects_continue() && !std::exchange(http.told_to_continue, true)) {
          this->send_bytes(client, http::continue_response);
        }
        break;
      }
      http.told_to_continue = false;
      client.deadline = this->now() + options_.keep_alive_timeout;
      request(client, *http.parser.take(parser_memory_));
    }
    return used;
  }

  void request(Client& client, const http::Request& request) {
    if (request.find("upgrade") != nullptr) {
      const websocket::Handshake handshake = websocket::handshake(request);
      if (handshake.upgrade != websocket::Upgrade::none) this->send_bytes(client, websocket::response(handshake));
      if (handshake.upgrade == websocket::Upgrade::refused) return this->finish_when_sent(client);
      if (handshake.upgrade == websocket::Upgrade::accepted) {
        client.end.http.reset();
        const ByteOrigin& from = client.end.origin;
        return this->begin(client, request.target,
                           {.origin = request.field("origin"),
                            .tls = from.tls,
                            .address = options_.forwarded_for ? forwarded_address(request.last_field("x-forwarded-for"))
                                                              : from.address,
                            .over_capacity = from.over_capacity});
      }
    }
    pusher::ApiWait wait;
    http::Response response = respond(api_, options_.on_request, request, this->signer(), wait);
    if (!wait) return answer_now(client, response, http::reply_to(request));
    const auto until = this->now() + options_.request_timeout;
    client.end.http->held = std::make_unique<Held>(Held{std::move(response), http::reply_to(request), wait, until});
    holding_.push_back(Base::id_of(client));
    bells_.ring_when_settled(wait);
  }

  void answer_now(Client& client, const http::Response& response, const http::ReplyTo& to) {
    std::string bytes;
    bool open = http::append(bytes, response, to);
    if (open && this->draining()) {
      http::Response last = response;
      last.close = true;
      bytes.clear();
      open = http::append(bytes, last, to);
    }
    this->send_bytes(client, bytes);
    if (!open) this->finish_when_sent(client);
  }

  /// Sends the answers that may be sent by now.
  void release_held() {
    const Entry entry(*this);
    if (!this->outermost()) return;
    std::vector<HostedId> holding;
    holding.swap(holding_);
    for (const HostedId id : holding) {
      Client* const client = Base::find(id);
      if (client == nullptr || client->state != State::fresh) continue;
      this->attempt_plain(*client, [&] { release(*client); });
    }
  }
  void release(Client& client) {
    Held& held = *client.end.http->held;
    const KeptOutcome outcome = held.wait.outcome();
    if (outcome == KeptOutcome::pending && this->now() <= held.until) {
      holding_.push_back(Base::id_of(client));
      return bells_.ring_when_settled(held.wait);
    }
    if (outcome != KeptOutcome::durable) {
      const bool close = held.response.close;
      held.response = api_.not_stored(held.wait);
      held.response.close = close;
    }
    const std::unique_ptr<Held> done = std::move(client.end.http->held);
    client.deadline = this->now() + options_.keep_alive_timeout;
    answer_now(client, done->response, done->to);
    if (client.state == State::fresh) this->go_on_later(client);
  }

  // ---- time

  [[nodiscard]] static bool is_idle(const Client& client) noexcept {
    return client.end.http->parser.idle() && client.end.http->held == nullptr && client.end.input.empty() &&
           client.backlog == nullptr;
  }
  void tick_fresh(Client& client) override {
    if (client.end.http->held != nullptr || this->now() < client.deadline) return;
    if (client.end.http->parser.idle()) return this->abort(client, websocket::close_code::going_away, {});
    answer_now(client, timeout_response(), {});
  }
  void drain_fresh(Client& client) override {
    if (is_idle(client)) this->abort(client, websocket::close_code::going_away, {});
  }

  const ByteOptions options_;
  pusher::HttpApi<pusher::AppList> api_;
  websocket::ProcessorPool processors_;
  http::ParserMemory parser_memory_;
  Bells bells_{*this};
  std::vector<HostedId> holding_;  // have answers that may not be sent yet
};

}  // namespace transport
FANFARE_NAMESPACE_END
