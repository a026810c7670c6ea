/// \file
/// A whole server for the Pusher protocol: WebSockets and the HTTP API, on Asio. Linux.
///
/// With `FANFARE_SEPARATE_COMPILATION` this header has no bodies, and includes neither Asio nor anything else that is large;
/// one unit of the program includes `fanfare/src.hpp`, which has them.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/fanfare.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/webhook_options.hpp>
#include <fanfare/transport/slow_consumer_counts.hpp>
#include <fanfare/transport/socket_io.hpp>

#include <asio/detail/config.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

// What the server is made of, which units that only use it need not see: impl/server.hpp includes it.
namespace asio {
#if defined(ASIO_INLINE_NAMESPACE_BEGIN)
ASIO_INLINE_NAMESPACE_BEGIN
class io_context;
ASIO_INLINE_NAMESPACE_END
#else
class io_context;
#endif
}  // namespace asio

FANFARE_NAMESPACE_BEGIN

namespace pusher {

template <AppDirectory D>
class HttpApi;

}  // namespace pusher

namespace transport {

class AsioHost;
class Loop;
struct LoopGroup;
class TlsContext;
class WebhookSender;

}  // namespace transport

/// What a server is made of.
struct ServerOptions {
  /// Where to listen: `HOST:PORT`, `[::1]:PORT`; port 0: one that is free. Nothing, and nothing in `listen_tls`: nowhere, for
  /// a server whose clients all come by `Server::adopt`.
  std::vector<std::string> listen{"127.0.0.1:6001"};
  std::vector<std::string> listen_tls{};  ///< Likewise, for clients that speak TLS.
  std::string tls_certificate{};          ///< A file in PEM with the chain for them, the server's own first.
  std::string tls_key{};                  ///< A file in PEM with its key, without a passphrase.
  /// Loops, each with a thread of its own; 0: one loop without a thread, run by `poll`. At most 64.
  unsigned threads = 1;
  /// What may wait for one connection; see `SlowConsumer`. At least 64 KiB more than `Limits::data` and
  /// `SnapshotOptions::bytes` of every application.
  std::size_t max_outbox_bytes = std::size_t{1} << 20U;
  std::size_t max_mailbox_bytes = std::size_t{64} << 20U;  ///< What may wait for one loop; see `errc::overloaded`.
  std::size_t max_connections = 0;                ///< WebSockets at one time; 0: as many as there are descriptors.
  std::size_t max_message_bytes = 64 * 1024;      ///< Of one WebSocket message of a client.
  std::size_t max_body_bytes = 1024 * 1024;       ///< Of one HTTP request.
  std::chrono::seconds request_timeout{30};       ///< An HTTP request that has begun must be whole by then.
  std::chrono::seconds keep_alive_timeout{120};   ///< An HTTP connection is closed after so long without a request.
  std::chrono::milliseconds drain_timeout{5000};  ///< How long `stop` waits for clients to go.
  std::string webhook_ca_file{};  ///< Whom to trust for webhooks, in PEM; empty: the system's authorities.
  std::string path_prefix{};      ///< In front of `/app/…` and `/apps/…`.
  /// How to write to sockets. On a host's `io_context` and in `poll`, `uring` is the promise that one thread runs it.
  transport::SocketIo io = transport::SocketIo::automatic;
  bool forwarded_for = false;  ///< Whether a proxy in front says in `X-Forwarded-For` where clients come from.
  /// Answers requests that are neither a WebSocket nor for the HTTP API; with nothing, it is a 404. Called on a loop, on
  /// as many threads as there are loops; what it triggers goes out in the same turn.
  std::function<std::optional<http::Response>(const http::Request&)> on_request{};
};

/// Why a server does not start.
enum class ServerErrc : std::uint8_t {
  ok,
  already_started,  ///< It runs, or has run.
  bad_option,       ///< An option is out of its range.
  bad_app,          ///< An application has no valid id, key or secret, or a limit that the server's bounds cannot hold.
  duplicate_app,    ///< Two applications have the same id or key, or one has a key twice.
  bad_store,        ///< What an application has kept cannot be read; see `AppOptions::store`.
  bad_certificate,  ///< The certificate or the key cannot be used, or there is none for `listen_tls`.
  bad_address,      ///< `listen` holds something that is not an address.
  no_io_uring,      ///< `ServerOptions::io` asks for it, and the kernel or the build does not have it.
  cannot_listen,    ///< The address is in use, is none of this machine, or may not be used.
  system,           ///< The system gives no descriptor or no thread.
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(ServerErrc error) noexcept {
  switch (error) {
    case ServerErrc::ok: return "ok";
    case ServerErrc::already_started: return "already_started";
    case ServerErrc::bad_option: return "bad_option";
    case ServerErrc::bad_app: return "bad_app";
    case ServerErrc::duplicate_app: return "duplicate_app";
    case ServerErrc::bad_store: return "bad_store";
    case ServerErrc::bad_certificate: return "bad_certificate";
    case ServerErrc::bad_address: return "bad_address";
    case ServerErrc::no_io_uring: return "no_io_uring";
    case ServerErrc::cannot_listen: return "cannot_listen";
    case ServerErrc::system: return "system";
  }
  return "unknown";
}

/// Why a server does not take a socket over.
enum class AdoptErrc : std::uint8_t {
  ok,
  not_running,           ///< It has not started, stops, or has stopped.
  not_a_socket,          ///< The descriptor is none of a stream socket: it is closed, a file, or for datagrams.
  not_connected,         ///< Nobody is at its other end: the client has gone already, or the socket listens.
  bad_request,           ///< What is given as method or target of a request cannot be written as one.
  too_much_read,         ///< What has been read already is more than `max_body_bytes` and 64 KiB.
  too_many_connections,  ///< The server has as many as there are descriptors for.
  out_of_memory,         ///< There is no memory for it.
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(AdoptErrc error) noexcept {
  switch (error) {
    case AdoptErrc::ok: return "ok";
    case AdoptErrc::not_running: return "not_running";
    case AdoptErrc::not_a_socket: return "not_a_socket";
    case AdoptErrc::not_connected: return "not_connected";
    case AdoptErrc::bad_request: return "bad_request";
    case AdoptErrc::too_much_read: return "too_much_read";
    case AdoptErrc::too_many_connections: return "too_many_connections";
    case AdoptErrc::out_of_memory: return "out_of_memory";
  }
  return "unknown";
}

/// How it went to start a server.
class [[nodiscard]] ServerResult {
 public:
  ServerResult() = default;
  /// What went wrong, and with what.
  ServerResult(ServerErrc error, std::string text) : error_(error), text_(std::move(text)) {}

  /// Whether all is well.
  [[nodiscard]] explicit operator bool() const noexcept { return error_ == ServerErrc::ok; }
  /// For programs: what went wrong.
  [[nodiscard]] ServerErrc error() const noexcept { return error_; }
  /// For people: what is wrong with what. Empty if all is well.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  ServerErrc error_ = ServerErrc::ok;
  std::string text_;
};

/// Applications, and the loops that serve their clients and backends.
///
/// ```
/// fanfare::Server server{{.listen = {"0.0.0.0:6001"}, .threads = 2}};
/// auto& app = server.add_app({.id = "42", .key = "key", .secret = "secret"});
/// if (const auto started = server.start(); !started) return fail(started.text());
/// app.trigger("CHAT_42", "message", R"({"username":"ann"})");
/// ```
///
/// \ownership  owns its applications and threads. Subscriptions and handles may outlive it; they answer `errc::closed`.
/// Thread safety: applications, `adopt`, `handle` and `api` from any thread; `stop` from any thread but the loops'; the rest
/// like an `int`.
class Server {
 public:
  /// Nothing is opened before `start`.
  explicit Server(ServerOptions options = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Stops at once what still runs. A server on a host's `io_context` must be destroyed while nobody runs that.
  ~Server();

  /// Adds an application. One that cannot be served is reported by `start`.
  /// \pre  the server has not started.
  /// \returns the application, which lives as long as the server.
  App& add_app(AppOptions options);

  /// Adds an application whose events are posted to web servers. They are sent by a thread of their own; with
  /// `ServerOptions::threads` 0, in `poll`.
  App& add_app(AppOptions options, pusher::WebhookOptions webhooks);

  /// Listens, and serves on threads of its own; with `ServerOptions::threads` 0, in `poll`.
  ///
  /// The soft limit of the process's descriptors is raised to the hard one.
  ServerResult start();

  /// Listens, and serves on a host's context: one loop, on a strand. `threads` does not count.
  /// \pre  the context outlives the server.
  ServerResult start(asio::io_context& host);

  /// Does some of what there is to do, on the calling thread, which is always the same one: a few turns at most, so that
  /// it returns however much comes in.
  /// \param wait  how long to wait for the first thing.
  /// \returns     how many things were done; 0 in a server that has threads.
  /// \pre         `threads` is 0.
  std::size_t poll(std::chrono::milliseconds wait = std::chrono::milliseconds(0));

  /// Does what there is to do until the time has come, and waits while there is nothing: what a program with a tick does
  /// between two of them. If the time is past already, it is `poll`, so that clients of a program that is late are served
  /// all the same. Time passes in a server that has stopped, too.
  ///
  /// It wakes when the kernel's timer does, not at the next millisecond, and is late by the one thing that it was just
  /// doing: one turn of the loop, in which each connection that has sent something is read from once.
  /// \returns     as `poll`.
  /// \pre         as `poll`.
  std::size_t poll_until(std::chrono::steady_clock::time_point until);

  /// Takes no more connections, tells clients to come back later and waits until they have gone, at most
  /// `ServerOptions::drain_timeout`. On a host's context it does not wait: `stopped` tells.
  void stop();

  /// Whether every loop has ended.
  [[nodiscard]] bool stopped() const noexcept;

  /// Takes over a connection that the host has accepted, and serves it from then on as one that it has accepted itself: a
  /// WebSocket, an HTTP fallback, the HTTP API, or whatever else comes on it.
  ///
  /// The socket must be one of TCP (or of a Unix domain), with nothing on its way to it: a host that answers a request
  /// first has sent all of that. It carries plain bytes: where the host speaks TLS on it, only the host has the keys.
  /// Its mode is set here, and what the host has waiting on it must have been called off.
  ///
  /// \param descriptor     the server's to close when this returns `ok`; in all other cases it stays the caller's, as it was.
  /// \param already_read   all that the client has sent and the host has read, as it was sent: the request, or its beginning,
  ///                       and whatever came behind it. Only what the host has answered is left out.
  /// \threads    any thread, the loops' too, concurrently with everything but the start and the destructor.
  /// \progress   locks the door of one loop for a moment; waits for nothing.
  /// \complexity O(loops + size of what was read).
  [[nodiscard]] AdoptErrc adopt(int descriptor, std::string_view already_read = {}) noexcept;

  /// The same for a host that has the request as a value.
  /// \param request    the whole of it, with all its fields, its target as it was sent.
  /// \param rest       what the host has read behind it, as it was sent.
  [[nodiscard]] AdoptErrc adopt(int descriptor, const http::Request& request, std::string_view rest = {}) noexcept;

  /// Answers a request of the HTTP API that the host has read. For all applications, before the start and after the end
  /// too, as events reach subscribers of this program anyway.
  ///
  /// \param request    with its target and its body as they were sent: both are signed.
  /// \returns    nothing where the path is not below `ServerOptions::path_prefix` and `/apps/`: that is the host's own.
  /// \threads    any thread, concurrently, but not while applications are added.
  /// \progress   that of `App::trigger`, whose callbacks run inside. Where an application has a store, it waits until what
  ///             it acknowledges is stored: who must not wait, as on a loop or an `io_context` that others need, asks `api`.
  /// \throws     `std::bad_alloc`.
  [[nodiscard]] std::optional<http::Response> handle(const http::Request& request) const;

  /// The HTTP API itself, which also has a form that does not wait. As long as the server.
  [[nodiscard]] const pusher::HttpApi<pusher::AppList>& api() const noexcept { return *api_; }

  /// Where it listens, as `HOST:PORT`, with the ports that it really has.
  [[nodiscard]] const std::vector<std::string>& endpoints() const noexcept { return endpoints_; }

  /// Where it listens for clients that speak TLS, likewise.
  [[nodiscard]] const std::vector<std::string>& tls_endpoints() const noexcept { return tls_endpoints_; }

  /// Reads the certificate and its key again, for connections that come from now on. If that fails, the old ones stay.
  /// Any thread, while the server runs.
  ServerResult reload_certificate();

  /// Whether its loops send with io_uring; known when they have begun.
  [[nodiscard]] bool uses_io_uring() const noexcept;

  /// How many connections there are, of all kinds; a moment's view.
  [[nodiscard]] std::size_t connections() const noexcept;

  /// What became of connections that read too slowly, on all loops, since the server started; any thread, while it lives.
  /// A moment's view, of which each number by itself is right.
  [[nodiscard]] transport::SlowConsumerCounts slow_consumers() const;

 private:
  static constexpr std::size_t spare_descriptors = 64;  // for the process's other needs
  static constexpr unsigned most_threads = 64;
  static constexpr std::size_t most_per_poll = 16;
  static constexpr std::size_t most_read_before_body = 64 * 1024;
  static constexpr std::chrono::milliseconds webhook_pause{2};

  [[nodiscard]] std::vector<std::shared_ptr<transport::Loop>> loops() const;

  std::size_t poll_webhooks();
  void start_webhooks();
  void stop_webhooks();

  [[nodiscard]] static bool is_name(std::string_view name) noexcept;

  [[nodiscard]] ServerResult check(const AppOptions& app) const;

  [[nodiscard]] ServerResult check() const;

  /// \param own_threads   whether each loop is run by a thread of the server's own.
  ServerResult prepare(bool own_threads);

  ServerResult add_loop();

  ServerResult listen();

  ServerResult listen_on(const std::string& address, const transport::TlsContext* tls,
                         std::vector<std::string>& endpoints);

  template <class Executor>
  ServerResult host(const Executor& executor);

  void end_loops() noexcept;

  /// A server that could not be started holds no address, and counts as one that has stopped.
  ServerResult give_up(ServerResult why);

  void stop_threads(std::chrono::milliseconds timeout);

  void close_listeners() noexcept;

  ServerOptions options_;
  std::unique_ptr<asio::io_context> webhook_context_;
  std::unique_ptr<transport::WebhookSender> webhooks_;  // outlives the applications, which tell it of their end
  std::thread webhook_thread_;
  pusher::AppList apps_;
  const std::unique_ptr<const pusher::HttpApi<pusher::AppList>> api_;  // the host's way to it
  std::vector<std::unique_ptr<App>> unserved_;                         // given to callers, known to nobody else
  ServerResult bad_app_;
  std::unique_ptr<asio::io_context> context_;   // where it is polled
  std::unique_ptr<transport::TlsContext> tls_;  // used by the loops
  std::unique_ptr<transport::LoopGroup> group_;
  std::shared_ptr<transport::AsioHost> host_;  // where it is polled, or on a host's context
  std::vector<int> listeners_;
  std::vector<std::string> endpoints_;
  std::vector<std::string> tls_endpoints_;
  std::vector<std::thread> threads_;
};

FANFARE_NAMESPACE_END

#if !defined(FANFARE_SEPARATE_COMPILATION)
#include <fanfare/impl/server.hpp>
#endif
