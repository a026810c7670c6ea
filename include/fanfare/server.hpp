/// \file
/// A whole server for the Pusher protocol: WebSockets and the HTTP API, on Asio. Linux.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/fanfare.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/http_api.hpp>
#include <fanfare/pusher/webhooks.hpp>
#include <fanfare/transport/asio_host.hpp>
#include <fanfare/transport/listener.hpp>
#include <fanfare/transport/loop.hpp>
#include <fanfare/transport/random.hpp>
#include <fanfare/transport/tls.hpp>
#include <fanfare/transport/webhook_sender.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <sys/resource.h>
#include <sys/socket.h>
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

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
  explicit Server(ServerOptions options = {}) : options_(std::move(options)) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Stops at once what still runs. A server on a host's `io_context` must be destroyed while nobody runs that.
  ~Server() {
    if (!threads_.empty()) stop_threads(std::chrono::milliseconds(0));
    end_loops();
    close_listeners();
    stop_webhooks();
    apps_ = {};  // the registries wait for triggers that are under way, which may still push into a loop
    if (group_ != nullptr) group_->loops.clear();
  }

  /// Adds an application. One that cannot be served is reported by `start`.
  /// \pre  the server has not started.
  /// \returns the application, which lives as long as the server.
  App& add_app(AppOptions options) {
    FANFARE_ASSERT(group_ == nullptr, "applications are added before the server starts");
    if (options.seed == 0) transport::fill_random(&options.seed, sizeof options.seed);
    ServerResult checked = check(options);
    if (checked) {
      if (App* const added = apps_.add(options)) {
        if (const std::string_view trouble = added->store_trouble(); !trouble.empty() && bad_app_) {
          bad_app_ = {ServerErrc::bad_store,
                      "application '" + options.id.substr(0, 64) + "': its store: " + std::string(trouble)};
        }
        return *added;
      }
      checked = {ServerErrc::duplicate_app,
                 "the id " + options.id + ", or one of the application's keys, is there twice"};
    }
    if (bad_app_) bad_app_ = checked;
    return *unserved_.emplace_back(std::make_unique<App>(std::move(options)));
  }

  /// Adds an application whose events are posted to web servers. They are sent by a thread of their own; with
  /// `ServerOptions::threads` 0, in `poll`.
  App& add_app(AppOptions options, pusher::WebhookOptions webhooks) {
    if (!webhooks.targets.empty()) {
      if (webhooks_ == nullptr) {
        webhook_context_ = std::make_unique<asio::io_context>(1);
        webhooks_ = std::make_unique<transport::WebhookSender>(
            webhook_context_->get_executor(), transport::WebhookSenderOptions{.ca_file = options_.webhook_ca_file});
      }
      const auto added = webhooks_->add_app(options.key, options.secret, std::move(webhooks));
      if (!added && bad_app_) {
        bad_app_ = {ServerErrc::bad_app,
                    "application '" + options.id.substr(0, 64) + "': webhooks: " + std::string(message(added.error))};
      }
      options.on_event = [sender = webhooks_.get(), index = added.index, told = std::move(options.on_event),
                          wanted = static_cast<bool>(added)](const AppEvent& event) {
        if (told != nullptr) told(event);
        if (wanted) sender->post(index, event);
      };
    }
    return add_app(std::move(options));
  }

  /// Listens, and serves on threads of its own; with `ServerOptions::threads` 0, in `poll`.
  ///
  /// The soft limit of the process's descriptors is raised to the hard one.
  ServerResult start() {
    const std::size_t count = std::max(options_.threads, 1U);
    if (ServerResult ready = prepare(options_.threads != 0); !ready) return ready;
    for (std::size_t i = 0; i < count; ++i) {
      if (ServerResult added = add_loop(); !added) return give_up(std::move(added));
    }
    if (ServerResult listening = listen(); !listening) return give_up(std::move(listening));
    if (options_.threads == 0) {
      context_ = std::make_unique<asio::io_context>(1);
      return host(context_->get_executor());
    }
    try {
      start_webhooks();
      for (const auto& loop : group_->loops) threads_.emplace_back([loop] { loop->run(); });
    } catch (const std::system_error& error) {
      stop_threads(std::chrono::milliseconds(0));
      return give_up({ServerErrc::system, std::string("cannot make a thread: ") + error.what()});
    }
    return {};
  }

  /// Listens, and serves on a host's context: one loop, on a strand. `threads` does not count.
  /// \pre  the context outlives the server.
  ServerResult start(asio::io_context& host) {
    if (ServerResult ready = prepare(false); !ready) return ready;
    if (ServerResult added = add_loop(); !added) return give_up(std::move(added));
    if (ServerResult listening = listen(); !listening) return give_up(std::move(listening));
    try {
      start_webhooks();
    } catch (const std::system_error& error) {
      return give_up({ServerErrc::system, std::string("cannot make a thread: ") + error.what()});
    }
    return this->host(asio::make_strand(host));
  }

  /// Does some of what there is to do, on the calling thread, which is always the same one: a few turns at most, so that
  /// it returns however much comes in.
  /// \param wait  how long to wait for the first thing.
  /// \returns     how many things were done; 0 in a server that has threads.
  /// \pre         `threads` is 0.
  std::size_t poll(std::chrono::milliseconds wait = std::chrono::milliseconds(0)) {
    if (context_ == nullptr) return 0;
    asio::io_context& context = *context_;
    std::size_t done = wait.count() > 0 ? context.run_one_for(wait) : 0;
    // Not all that `io_context::poll` finds: clients that never stop sending would keep it for ever.
    while (done < most_per_poll && context.poll_one() != 0) ++done;
    return done + poll_webhooks();
  }

  /// Does what there is to do until the time has come, and waits while there is nothing: what a program with a tick does
  /// between two of them. If the time is past already, it is `poll`, so that clients of a program that is late are served
  /// all the same. Time passes in a server that has stopped, too.
  ///
  /// It wakes when the kernel's timer does, not at the next millisecond, and is late by the one thing that it was just
  /// doing: one turn of the loop, in which each connection that has sent something is read from once.
  /// \returns     as `poll`.
  /// \pre         as `poll`.
  std::size_t poll_until(std::chrono::steady_clock::time_point until) {
    using Clock = std::chrono::steady_clock;
    std::size_t done = poll();
    if (context_ == nullptr) return done;
    context_->restart();  // it has stopped with the server's last client
    asio::steady_timer alarm(*context_);
    for (auto now = Clock::now(); now < until; now = Clock::now()) {
      if (alarm.expiry() <= now) {
        // The webhooks' sockets do not wake this context.
        alarm.expires_at(webhook_context_ == nullptr ? until : std::min<Clock::time_point>(until, now + webhook_pause));
        alarm.async_wait([](std::error_code /*error*/) {});
      }
      done += context_->run_one() + poll_webhooks();
    }
    return done;
  }

  /// Takes no more connections, tells clients to come back later and waits until they have gone, at most
  /// `ServerOptions::drain_timeout`. On a host's context it does not wait: `stopped` tells.
  void stop() {
    if (group_ == nullptr) return;
    if (!threads_.empty()) return stop_threads(options_.drain_timeout);
    for (const auto& loop : loops()) loop->drain(options_.drain_timeout);
    while (context_ != nullptr && !stopped()) poll(std::chrono::milliseconds(50));
  }

  /// Whether every loop has ended.
  [[nodiscard]] bool stopped() const noexcept {
    const auto all = loops();
    return std::all_of(all.begin(), all.end(), [](const auto& loop) { return loop->drained(); });
  }

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
  [[nodiscard]] AdoptErrc adopt(int descriptor, std::string_view already_read = {}) noexcept {
    if (group_ == nullptr || group_->loops.empty()) return AdoptErrc::not_running;
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return AdoptErrc::not_a_socket;
    if (type != SOCK_STREAM) return AdoptErrc::not_a_socket;
    sockaddr_storage peer{};
    size = sizeof peer;
    if (::getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return AdoptErrc::not_connected;
    if (already_read.size() > options_.max_body_bytes + most_read_before_body) return AdoptErrc::too_much_read;
    if (connections() >= group_->options.max_descriptors) return AdoptErrc::too_many_connections;
    try {
      const bool taken = group_->loops.front()->quietest().take_over(descriptor, already_read);
      return taken ? AdoptErrc::ok : AdoptErrc::not_running;
    } catch (const std::bad_alloc&) {
      return AdoptErrc::out_of_memory;
    }
  }

  /// The same for a host that has the request as a value.
  /// \param request    the whole of it, with all its fields, its target as it was sent.
  /// \param rest       what the host has read behind it, as it was sent.
  [[nodiscard]] AdoptErrc adopt(int descriptor, const http::Request& request, std::string_view rest = {}) noexcept {
    try {
      std::string bytes;
      if (!http::append(bytes, request)) return AdoptErrc::bad_request;
      return adopt(descriptor, std::string_view(bytes.append(rest)));
    } catch (const std::bad_alloc&) {
      return AdoptErrc::out_of_memory;
    }
  }

  /// Answers a request of the HTTP API that the host has read. For all applications, before the start and after the end
  /// too, as events reach subscribers of this program anyway.
  ///
  /// \param request    with its target and its body as they were sent: both are signed.
  /// \returns    nothing where the path is not below `ServerOptions::path_prefix` and `/apps/`: that is the host's own.
  /// \threads    any thread, concurrently, but not while applications are added.
  /// \progress   that of `App::trigger`, whose callbacks run inside. Where an application has a store, it waits until what
  ///             it acknowledges is stored: who must not wait, as on a loop or an `io_context` that others need, asks `api`.
  /// \throws     `std::bad_alloc`.
  [[nodiscard]] std::optional<http::Response> handle(const http::Request& request) const {
    if (!api_.serves(request)) return std::nullopt;
    return api_(request,
                std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()));
  }

  /// The HTTP API itself, which also has a form that does not wait. As long as the server.
  [[nodiscard]] const pusher::HttpApi<pusher::AppList>& api() const noexcept { return api_; }

  /// Where it listens, as `HOST:PORT`, with the ports that it really has.
  [[nodiscard]] const std::vector<std::string>& endpoints() const noexcept { return endpoints_; }

  /// Where it listens for clients that speak TLS, likewise.
  [[nodiscard]] const std::vector<std::string>& tls_endpoints() const noexcept { return tls_endpoints_; }

  /// Reads the certificate and its key again, for connections that come from now on. If that fails, the old ones stay.
  /// Any thread, while the server runs.
  ServerResult reload_certificate() {
    if (tls_ == nullptr) return {ServerErrc::bad_certificate, "the server does not listen for TLS"};
    const transport::TlsResult reloaded = tls_->reload();
    if (!reloaded) return {ServerErrc::bad_certificate, reloaded.text()};
    return {};
  }

  /// Whether its loops send with io_uring; known when they have begun.
  [[nodiscard]] bool uses_io_uring() const noexcept {
    const auto all = loops();
    return !all.empty() && std::all_of(all.begin(), all.end(), [](const auto& loop) { return loop->uses_ring(); });
  }

  /// How many connections there are, of all kinds; a moment's view.
  [[nodiscard]] std::size_t connections() const noexcept {
    return group_ == nullptr ? 0 : group_->connections.load(std::memory_order_relaxed);
  }

  /// What became of connections that read too slowly, on all loops, since the server started; any thread, while it lives.
  /// A moment's view, of which each number by itself is right.
  [[nodiscard]] transport::SlowConsumerCounts slow_consumers() const {
    transport::SlowConsumerCounts sum;
    for (const auto& loop : loops()) sum += loop->slow_consumers();
    return sum;
  }

 private:
  static constexpr std::size_t spare_descriptors = 64;  // for the process's other needs
  static constexpr unsigned most_threads = 64;
  static constexpr std::size_t most_per_poll = 16;
  static constexpr std::size_t most_read_before_body = 64 * 1024;
  static constexpr std::chrono::milliseconds webhook_pause{2};

  [[nodiscard]] std::vector<std::shared_ptr<transport::Loop>> loops() const {
    return group_ == nullptr ? std::vector<std::shared_ptr<transport::Loop>>{} : group_->loops;
  }

  std::size_t poll_webhooks() {
    if (webhook_context_ == nullptr) return 0;
    webhook_context_->restart();  // it stops whenever it has nothing to do
    return webhook_context_->poll_one();
  }
  void start_webhooks() {
    if (webhooks_ == nullptr) return;
    webhook_thread_ = std::thread([context = webhook_context_.get()] {
      const auto guard = asio::make_work_guard(*context);
      context->run();
    });
  }
  void stop_webhooks() {
    if (webhooks_ == nullptr) return;
    webhooks_->stop();
    if (!webhook_thread_.joinable()) return;
    asio::post(*webhook_context_, [context = webhook_context_.get()] { context->stop(); });
    webhook_thread_.join();
  }

  [[nodiscard]] static bool is_name(std::string_view name) noexcept {
    return !name.empty() && name.size() <= 64 &&
           name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
               std::string_view::npos;
  }

  [[nodiscard]] ServerResult check(const AppOptions& app) const {
    const auto bad = [&](std::string why) {
      return ServerResult{ServerErrc::bad_app, "application '" + app.id.substr(0, 64) + "': " + std::move(why)};
    };
    if (!is_name(app.id)) return bad("the id must be 1 to 64 letters, digits, '-' and '_'");
    if (!is_name(app.key)) return bad("the key must be 1 to 64 letters, digits, '-' and '_'");
    if (app.secret.empty() || app.secret.size() > 128) return bad("the secret must be 1 to 128 bytes");
    if (app.activity_timeout.count() < 1 || app.pong_timeout.count() < 1)
      return bad("a timeout must be at least 1 second");
    if (app.limits.channel_name < 1 || app.limits.event_name < 1) return bad("names must be allowed to have a byte");
    if (const RuleProblem problem = ChannelRules::check(app.channel_rules, app.limits.channel_name)) {
      return bad("channel_rules[" + std::to_string(problem.rule) + "]: " + std::string(message(problem.error)));
    }
    constexpr std::size_t more = 64 * 1024;
    if (options_.max_outbox_bytes < more || app.limits.data > options_.max_outbox_bytes - more) {
      return bad("max_outbox_bytes must be at least 64 KiB more than the largest event");
    }
    if (app.snapshots.bytes > options_.max_outbox_bytes - more) {
      return bad("max_outbox_bytes must be at least 64 KiB more than SnapshotOptions::bytes");
    }
    return {};
  }

  [[nodiscard]] ServerResult check() const {
    const auto bad = [](std::string why) { return ServerResult{ServerErrc::bad_option, std::move(why)}; };
    if (options_.threads > most_threads) return bad("threads must be at most 64");
    if (options_.max_message_bytes < 1024) return bad("max_message_bytes must be at least 1024");
    if (options_.max_body_bytes < 1024 || options_.max_body_bytes > UINT32_MAX) {
      return bad("max_body_bytes must be 1024 to 4294967295");
    }
    if (options_.request_timeout.count() < 1 || options_.keep_alive_timeout.count() < 1) {
      return bad("a timeout must be at least 1 second");
    }
    if (!options_.path_prefix.empty() && (options_.path_prefix.front() != '/' || options_.path_prefix.back() == '/')) {
      return bad("path_prefix must begin with '/' and not end with it");
    }
    return {};
  }

  /// \param own_threads   whether each loop is run by a thread of the server's own.
  ServerResult prepare(bool own_threads) {
    if (group_ != nullptr) return {ServerErrc::already_started, "a server is started once"};
    if (!bad_app_) return bad_app_;
    if (ServerResult checked = check(); !checked) return checked;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
      limit.rlim_cur = limit.rlim_max;
      ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = 1024;
    const auto descriptors = static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, std::size_t{1} << 30U));

    transport::LoopOptions loop;
    loop.fanout.outbox_bytes = options_.max_outbox_bytes;
    loop.mailbox_bytes = options_.max_mailbox_bytes;
    loop.max_connections = options_.max_connections;
    loop.forwarded_for = options_.forwarded_for;
    loop.use_ring =
        options_.io == transport::SocketIo::uring || (options_.io == transport::SocketIo::automatic && own_threads);
    if (options_.io == transport::SocketIo::uring && !transport::SendRing().open(1)) {
      return {ServerErrc::no_io_uring, transport::SendRing::built ? "the kernel does not let this process use io_uring"
                                                                  : "this program was built without io_uring"};
    }
    loop.max_descriptors = descriptors > 2 * spare_descriptors ? descriptors - spare_descriptors : descriptors / 2;
    loop.http.body_bytes = static_cast<std::uint32_t>(options_.max_body_bytes);
    loop.messages.bytes = options_.max_message_bytes;
    loop.request_timeout = options_.request_timeout;
    loop.keep_alive_timeout = options_.keep_alive_timeout;
    loop.path_prefix = options_.path_prefix;
    loop.on_request = options_.on_request;
    group_ = std::make_unique<transport::LoopGroup>(std::move(loop), apps_);
    return {};
  }

  ServerResult add_loop() {
    auto loop = std::make_shared<transport::Loop>(*group_, static_cast<std::uint32_t>(group_->loops.size()));
    if (const std::error_code error = loop->open()) {
      return {ServerErrc::system, "cannot make an event loop: " + error.message()};
    }
    group_->loops.push_back(std::move(loop));
    return {};
  }

  ServerResult listen() {
    if (!options_.listen_tls.empty()) {
      transport::TlsLoaded loaded = transport::TlsContext::load(options_.tls_certificate, options_.tls_key);
      if (!loaded.result) return {ServerErrc::bad_certificate, loaded.result.text()};
      tls_ = std::move(loaded.context);
    }
    for (const std::string& address : options_.listen) {
      if (ServerResult listening = listen_on(address, nullptr, endpoints_); !listening) return listening;
    }
    for (const std::string& address : options_.listen_tls) {
      if (ServerResult listening = listen_on(address, tls_.get(), tls_endpoints_); !listening) return listening;
    }
    return {};
  }

  ServerResult listen_on(const std::string& address, const transport::TlsContext* tls,
                         std::vector<std::string>& endpoints) {
    transport::Listener listener = transport::Listener::open(address);
    if (listener.error == transport::ListenError::bad_address) {
      return {ServerErrc::bad_address, "'" + address + "' is no address to listen on: HOST:PORT is wanted"};
    }
    if (listener.error != transport::ListenError::none) {
      return {ServerErrc::cannot_listen, "cannot listen on " + address + ": " + listener.system.message()};
    }
    listeners_.push_back(listener.descriptor);
    if (const std::error_code error = group_->loops.front()->listen_on(listener.descriptor, tls)) {
      return {ServerErrc::system, "cannot watch " + address + ": " + error.message()};
    }
    endpoints.push_back(std::move(listener.endpoint));
    return {};
  }

  ServerResult host(asio::any_io_executor executor) {
    host_ = std::make_shared<transport::AsioHost>(std::move(executor), group_->loops.front());
    try {
      host_->begin();
    } catch (const std::system_error& error) {
      return give_up({ServerErrc::system, std::string("cannot wait for the event loop: ") + error.what()});
    }
    return {};
  }

  void end_loops() noexcept {
    if (host_ != nullptr) return host_->end();
    if (group_ == nullptr) return;
    for (const auto& loop : group_->loops) loop->end();
  }

  /// A server that could not be started holds no address, and counts as one that has stopped.
  ServerResult give_up(ServerResult why) {
    end_loops();
    close_listeners();
    endpoints_.clear();
    return why;
  }

  void stop_threads(std::chrono::milliseconds timeout) {
    for (const auto& loop : group_->loops) loop->drain(timeout);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    close_listeners();
  }

  void close_listeners() noexcept {
    for (const int listener : listeners_) ::close(listener);
    listeners_.clear();
  }

  ServerOptions options_;
  std::unique_ptr<asio::io_context> webhook_context_;
  std::unique_ptr<transport::WebhookSender> webhooks_;  // outlives the applications, which tell it of their end
  std::thread webhook_thread_;
  pusher::AppList apps_;
  const pusher::HttpApi<pusher::AppList> api_{apps_, {.path_prefix = options_.path_prefix}};  // the host's way to it
  std::vector<std::unique_ptr<App>> unserved_;  // given to callers, known to nobody else
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
