/// \file
/// The bodies of `Server`. Included by server.hpp, or compiled once through src.hpp.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/http_api.hpp>
#include <fanfare/pusher/webhooks.hpp>
#include <fanfare/server.hpp>
#include <fanfare/transport/asio_host.hpp>
#include <fanfare/transport/listener.hpp>
#include <fanfare/transport/loop.hpp>
#include <fanfare/transport/random.hpp>
#include <fanfare/transport/send_ring.hpp>
#include <fanfare/transport/tls.hpp>
#include <fanfare/transport/webhook_sender.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
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

FANFARE_DECL Server::Server(ServerOptions options)
    : options_(std::move(options)),
      api_(std::make_unique<pusher::HttpApi<pusher::AppList>>(
          apps_, pusher::HttpApiOptions{.path_prefix = options_.path_prefix})) {}

FANFARE_DECL Server::~Server() {
  if (!threads_.empty()) stop_threads(std::chrono::milliseconds(0));
  end_loops();
  close_listeners();
  stop_webhooks();
  apps_ = {};  // the registries wait for triggers that are under way, which may still push into a loop
  if (group_ != nullptr) group_->loops.clear();
}

FANFARE_DECL App& Server::add_app(AppOptions options) {
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

FANFARE_DECL App& Server::add_app(AppOptions options, pusher::WebhookOptions webhooks) {
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

FANFARE_DECL ServerResult Server::start() {
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

FANFARE_DECL ServerResult Server::start(asio::io_context& host) {
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

FANFARE_DECL std::size_t Server::poll(std::chrono::milliseconds wait) {
  if (context_ == nullptr) return 0;
  asio::io_context& context = *context_;
  std::size_t done = wait.count() > 0 ? context.run_one_for(wait) : 0;
  // Not all that `io_context::poll` finds: clients that never stop sending would keep it for ever.
  while (done < most_per_poll && context.poll_one() != 0) ++done;
  return done + poll_webhooks();
}

FANFARE_DECL std::size_t Server::poll_until(std::chrono::steady_clock::time_point until) {
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

FANFARE_DECL void Server::stop() {
  if (group_ == nullptr) return;
  if (!threads_.empty()) return stop_threads(options_.drain_timeout);
  for (const auto& loop : loops()) loop->drain(options_.drain_timeout);
  while (context_ != nullptr && !stopped()) poll(std::chrono::milliseconds(50));
}

FANFARE_DECL bool Server::stopped() const noexcept {
  const auto all = loops();
  return std::all_of(all.begin(), all.end(), [](const auto& loop) { return loop->drained(); });
}

FANFARE_DECL AdoptErrc Server::adopt(int descriptor, std::string_view already_read) noexcept {
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

FANFARE_DECL AdoptErrc Server::adopt(int descriptor, const http::Request& request, std::string_view rest) noexcept {
  try {
    std::string bytes;
    if (!http::append(bytes, request)) return AdoptErrc::bad_request;
    return adopt(descriptor, std::string_view(bytes.append(rest)));
  } catch (const std::bad_alloc&) {
    return AdoptErrc::out_of_memory;
  }
}

FANFARE_DECL std::optional<http::Response> Server::handle(const http::Request& request) const {
  if (!api_->serves(request)) return std::nullopt;
  return (*api_)(request,
                 std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()));
}

FANFARE_DECL ServerResult Server::reload_certificate() {
  if (tls_ == nullptr) return {ServerErrc::bad_certificate, "the server does not listen for TLS"};
  const transport::TlsResult reloaded = tls_->reload();
  if (!reloaded) return {ServerErrc::bad_certificate, reloaded.text()};
  return {};
}

FANFARE_DECL bool Server::uses_io_uring() const noexcept {
  const auto all = loops();
  return !all.empty() && std::all_of(all.begin(), all.end(), [](const auto& loop) { return loop->uses_ring(); });
}

FANFARE_DECL std::size_t Server::connections() const noexcept {
  return group_ == nullptr ? 0 : group_->connections.load(std::memory_order_relaxed);
}

FANFARE_DECL transport::SlowConsumerCounts Server::slow_consumers() const {
  transport::SlowConsumerCounts sum;
  for (const auto& loop : loops()) sum += loop->slow_consumers();
  return sum;
}

FANFARE_DECL std::vector<std::shared_ptr<transport::Loop>> Server::loops() const {
  return group_ == nullptr ? std::vector<std::shared_ptr<transport::Loop>>{} : group_->loops;
}

FANFARE_DECL std::size_t Server::poll_webhooks() {
  if (webhook_context_ == nullptr) return 0;
  webhook_context_->restart();  // it stops whenever it has nothing to do
  return webhook_context_->poll_one();
}

FANFARE_DECL void Server::start_webhooks() {
  if (webhooks_ == nullptr) return;
  webhook_thread_ = std::thread([context = webhook_context_.get()] {
    const auto guard = asio::make_work_guard(*context);
    context->run();
  });
}

FANFARE_DECL void Server::stop_webhooks() {
  if (webhooks_ == nullptr) return;
  webhooks_->stop();
  if (!webhook_thread_.joinable()) return;
  asio::post(*webhook_context_, [context = webhook_context_.get()] { context->stop(); });
  webhook_thread_.join();
}

FANFARE_DECL bool Server::is_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
             std::string_view::npos;
}

FANFARE_DECL ServerResult Server::check(const AppOptions& app) const {
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

FANFARE_DECL ServerResult Server::check() const {
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

FANFARE_DECL ServerResult Server::prepare(bool own_threads) {
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

FANFARE_DECL ServerResult Server::add_loop() {
  auto loop = std::make_shared<transport::Loop>(*group_, static_cast<std::uint32_t>(group_->loops.size()));
  if (const std::error_code error = loop->open()) {
    return {ServerErrc::system, "cannot make an event loop: " + error.message()};
  }
  group_->loops.push_back(std::move(loop));
  return {};
}

FANFARE_DECL ServerResult Server::listen() {
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

FANFARE_DECL ServerResult Server::listen_on(const std::string& address, const transport::TlsContext* tls,
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

template <class Executor>
ServerResult Server::host(const Executor& executor) {
  host_ = std::make_shared<transport::AsioHost>(std::move(executor), group_->loops.front());
  try {
    host_->begin();
  } catch (const std::system_error& error) {
    return give_up({ServerErrc::system, std::string("cannot wait for the event loop: ") + error.what()});
  }
  return {};
}

FANFARE_DECL void Server::end_loops() noexcept {
  if (host_ != nullptr) return host_->end();
  if (group_ == nullptr) return;
  for (const auto& loop : group_->loops) loop->end();
}

FANFARE_DECL ServerResult Server::give_up(ServerResult why) {
  end_loops();
  close_listeners();
  endpoints_.clear();
  return why;
}

FANFARE_DECL void Server::stop_threads(std::chrono::milliseconds timeout) {
  for (const auto& loop : group_->loops) loop->drain(timeout);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  close_listeners();
}

FANFARE_DECL void Server::close_listeners() noexcept {
  for (const int listener : listeners_) ::close(listener);
  listeners_.clear();
}

FANFARE_NAMESPACE_END
