/// \file
/// Sends webhooks: the Asio driver of `pusher::Webhooks`. HTTP/1.1 and, with OpenSSL's libssl, HTTPS.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/pusher/webhooks.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/connect.hpp>
#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/write.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>

#include <fcntl.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Why an attempt at a webhook failed.
enum class WebhookError : std::uint8_t {
  none = 0,
  status,           ///< The answer is not 2xx. Redirects are not followed.
  resolve,          ///< The host's name has no address.
  private_address,  ///< It has none but such as `pusher::is_public` is false for, and they are not allowed.
  connect,          ///< No connection to any of its addresses.
  tls,              ///< No TLS, or a certificate that is not trusted or is another host's.
  timeout,          ///< No connection, or no answer, in time.
  closed,           ///< The connection ended before the answer.
  bad_response,     ///< The answer is not HTTP/1, or its header is too large.
  out_of_memory,
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(WebhookError error) noexcept {
  switch (error) {
    case WebhookError::none: return "none";
    case WebhookError::status: return "status";
    case WebhookError::resolve: return "resolve";
    case WebhookError::private_address: return "private_address";
    case WebhookError::connect: return "connect";
    case WebhookError::tls: return "tls";
    case WebhookError::timeout: return "timeout";
    case WebhookError::closed: return "closed";
    case WebhookError::bad_response: return "bad_response";
    case WebhookError::out_of_memory: return "out_of_memory";
  }
  return "unknown";
}

/// One English sentence without a full stop.
[[nodiscard]] constexpr std::string_view message(WebhookError error) noexcept {
  switch (error) {
    case WebhookError::none: return "no error";
    case WebhookError::status: return "the target did not answer with 2xx";
    case WebhookError::resolve: return "the target's host has no address";
    case WebhookError::private_address: return "the target's address is not a public one";
    case WebhookError::connect: return "the target cannot be connected to";
    case WebhookError::tls: return "TLS failed, or the target's certificate is not good";
    case WebhookError::timeout: return "the target did not answer in time";
    case WebhookError::closed: return "the target closed the connection before its answer";
    case WebhookError::bad_response: return "the target did not answer with HTTP/1";
    case WebhookError::out_of_memory: return "memory is exhausted";
  }
  return "unknown error";
}

/// An attempt that failed.
struct WebhookFailure {
  std::size_t app = 0;                      ///< What `WebhookSender::add_app` returned.
  std::size_t target = 0;                   ///< Index in `WebhookOptions::targets`.
  std::string_view url;                     ///< Of the target; ends with the call.
  WebhookError error = WebhookError::none;  ///< Why.
  unsigned status = 0;                      ///< Of the answer; 0 where there was none.
  unsigned attempt = 0;                     ///< 1 for the first.
  bool dropped = false;                     ///< Whether it was the last.
};

/// What a sender is made of.
struct WebhookSenderOptions {
  std::chrono::milliseconds connect_timeout{5000};    ///< To resolve, connect and agree on TLS.
  std::chrono::milliseconds response_timeout{10000};  ///< From the first byte of a request to the last of its answer.
  std::chrono::milliseconds idle_timeout{30000};      ///< A connection is kept so long for the next request; 0: not.
  std::size_t max_response_bytes = 64 * 1024;         ///< Of an answer, its header included.
  std::size_t max_inbox_events = 64 * 1024;           ///< That were posted and not looked at yet.
  std::string ca_file{};                              ///< PEM. Empty: the certificates that the system trusts.
  /// Told of every attempt that failed, by the executor. Must not throw.
  std::function<void(const WebhookFailure&)> on_failure{};
};

namespace detail {

/// The status of an answer. The rest is read for the sake of its end alone.
class WebhookResponse final : private boost::beast::http::basic_parser<false> {
 public:
  enum class State : std::uint8_t { incomplete, complete, failed };

  WebhookResponse() {
    header_limit((std::numeric_limits<std::uint32_t>::max)());  // all of it is bounded by who feeds it
    body_limit(boost::none);
    eager(true);
  }
  WebhookResponse(const WebhookResponse&) = delete;
  WebhookResponse& operator=(const WebhookResponse&) = delete;
  ~WebhookResponse() override = default;

  /// Reads on. What it leaves in `bytes` has to stand before the next ones.
  [[nodiscard]] State feed(std::string& bytes) {
    while (!bytes.empty() && !is_done()) {
      boost::beast::error_code error;
      const std::size_t read = put(boost::asio::const_buffer(bytes.data(), bytes.size()), error);
      bytes.erase(0, read);
      if (error == boost::beast::http::error::need_more) return State::incomplete;
      if (error) return State::failed;
    }
    return is_done() ? State::complete : State::incomplete;
  }
  /// Nothing more comes. \returns whether this is where the answer ends.
  [[nodiscard]] bool end() {
    if (is_done()) return true;
    if (!got_some()) return false;
    boost::beast::error_code error;
    put_eof(error);
    return !error;
  }

  /// 0 before the header is there.
  [[nodiscard]] unsigned status() const noexcept { return is_header_done() ? status_ : 0; }
  /// Whether the connection can be used again. \pre it is complete.
  [[nodiscard]] bool keeps_alive() const { return keep_alive() && !need_eof(); }

 private:
  using error_code = boost::beast::error_code;
  using string_view = boost::beast::string_view;

  void on_request_impl(boost::beast::http::verb, string_view, string_view, int, error_code&) override {}
  void on_response_impl(int code, string_view, int, error_code&) override { status_ = static_cast<unsigned>(code); }
  void on_field_impl(boost::beast::http::field, string_view, string_view, error_code&) override {}
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view bytes, error_code&) override { return bytes.size(); }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view bytes, error_code&) override { return bytes.size(); }
  void on_finish_impl(error_code&) override {}

  unsigned status_ = 0;
};

class WebhookConnection;

/// Who has connections. Called on their executor.
class WebhookConnections {
 public:
  /// A request is done; the connection is idle or closed. With `stale` an idle connection has turned out to be closed by
  /// the other side: nothing is known of the target.
  virtual void finished(WebhookConnection& connection, WebhookError error, unsigned status, bool stale) = 0;
  /// An idle connection has closed.
  virtual void gone(WebhookConnection& connection) = 0;

 protected:
  ~WebhookConnections() = default;
};

/// What the connections to one target have in common.
struct WebhookRoute {
  std::size_t app = 0;
  std::size_t target = 0;
  pusher::WebhookUrl url;
  bool private_allowed = false;
  std::shared_ptr<asio::ssl::context> tls;  ///< Null for plain HTTP.
  std::shared_ptr<const WebhookSenderOptions> options;
};

/// A connection to a target: one request after the other.
///
/// From the first request on one read is always pending, so that an idle connection that ends is seen. Whatever happens
/// is reported once: `close` makes all handlers that are still to come do nothing.
class WebhookConnection final : public std::enable_shared_from_this<WebhookConnection> {
 public:
  WebhookConnection(const asio::any_io_executor& executor, std::shared_ptr<const WebhookRoute> route,
                    std::weak_ptr<WebhookConnections> owner)
      : route_(std::move(route)), owner_(std::move(owner)), resolver_(executor), timer_(executor), socket_(executor) {}

  [[nodiscard]] const WebhookRoute& route() const noexcept { return *route_; }
  [[nodiscard]] bool idle() const noexcept { return phase_ == Phase::idle; }
  [[nodiscard]] bool closed() const noexcept { return phase_ == Phase::closed; }
  [[nodiscard]] const pusher::WebhookDelivery& delivery() const noexcept { return delivery_; }

  /// Makes a request. \pre it is new or idle.
  void start(pusher::WebhookDelivery delivery) {
    delivery_ = std::move(delivery);
    header_ = header_of(route_->url, delivery_);
    received_ = 0;
    reused_ = phase_ == Phase::idle;
    if (reused_) return send();
    phase_ = Phase::connecting;
    began_ = std::chrono::steady_clock::now();
    // Never from in here: what fails at once would call its owner back while that is still calling.
    asio::post(timer_.get_executor(), [self = shared_from_this()] {
      if (!self->closed()) self->resolve();
    });
  }

  void close() noexcept {
    phase_ = Phase::closed;
    std::error_code ignored;
    resolver_.cancel();
    timer_.cancel(ignored);
    socket_.close(ignored);
  }

 private:
  using tcp = asio::ip::tcp;
  enum class Phase : std::uint8_t { fresh, connecting, busy, idle, closed };

  static constexpr std::size_t most_endpoints = 8;

  [[nodiscard]] static std::string header_of(const pusher::WebhookUrl& url, const pusher::WebhookDelivery& delivery) {
    std::string header = "POST " + url.target + " HTTP/1.1\r\nHost: " + url.authority + "\r\nUser-Agent: fanfare\r\n";
    for (const http::Field& field : delivery.headers) {
      header.append(field.name).append(": ").append(field.value).append("\r\n");
    }
    return header + "Content-Length: " + std::to_string(delivery.body.size()) + "\r\n\r\n";
  }

  // A lookup cannot be interrupted, so its time is looked at when it has ended: lookups that take too long are bounded as
  // connections are.
  void resolve() {
    std::error_code error;
    const asio::ip::address literal = asio::ip::make_address(route_->url.host, error);
    if (!error) return connect({tcp::endpoint(literal, route_->url.port)});
    resolver_.async_resolve(
        route_->url.host, std::to_string(route_->url.port), tcp::resolver::numeric_service,
        [self = shared_from_this()](std::error_code failed, const tcp::resolver::results_type& found) {
          if (self->closed()) return;
          if (failed) return self->fail(WebhookError::resolve);
          std::vector<tcp::endpoint> endpoints;
          for (const auto& entry : found) endpoints.push_back(entry.endpoint());
          self->connect(std::move(endpoints));
        });
  }

  [[nodiscard]] static bool is_public(const asio::ip::address& address) {
    return address.is_v4() ? pusher::is_public(address.to_v4().to_bytes())
                           : pusher::is_public(address.to_v6().to_bytes());
  }

  /// What is checked here is what is connected to: names are not looked up again.
  void connect(std::vector<tcp::endpoint> endpoints) {
    if (endpoints.empty()) return fail(WebhookError::resolve);
    if (!route_->private_allowed) {
      std::erase_if(endpoints, [](const tcp::endpoint& endpoint) { return !is_public(endpoint.address()); });
      if (endpoints.empty()) return fail(WebhookError::private_address);
    }
    if (endpoints.size() > most_endpoints) endpoints.resize(most_endpoints);
    const auto deadline = began_ + route_->options->connect_timeout;
    if (deadline <= std::chrono::steady_clock::now()) return fail(WebhookError::timeout);
    expire_at(deadline);
    asio::async_connect(socket_, endpoints, [self = shared_from_this()](std::error_code failed, const tcp::endpoint&) {
      if (self->closed()) return;
      if (failed) return self->fail(WebhookError::connect);
      self->connected();
    });
  }

  void connected() {
    std::error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    ::fcntl(socket_.native_handle(), F_SETFD, FD_CLOEXEC);  // programs that the host starts have no business with it
    if (!route_->url.https) return ready();
    tls_.emplace(socket_, *route_->tls);
    if (!name_peer(tls_->native_handle(), route_->url.host)) return fail(WebhookError::tls);
    tls_->async_handshake(asio::ssl::stream_base::client, [self = shared_from_this()](std::error_code failed) {
      if (self->closed()) return;
      if (failed) return self->fail(WebhookError::tls);
      self->ready();
    });
  }

  /// Says who is expected: to the peer (RFC 6066 §3, names only), and to OpenSSL, which compares the certificate.
  [[nodiscard]] static bool name_peer(SSL* ssl, const std::string& host) {
    std::error_code error;
    (void)asio::ip::make_address(host, error);
    if (!error) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host.c_str()) == 1 &&
           SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    const_cast<char*>(host.c_str())) == 1;  // the macro for it casts in a way that warns
  }

  void ready() {
    send();
    read();
  }

  void send() {
    phase_ = Phase::busy;
    sending_ = true;
    response_.emplace();
    expire_at(std::chrono::steady_clock::now() + route_->options->response_timeout);
    const std::array<asio::const_buffer, 2> bytes{asio::buffer(header_), asio::buffer(delivery_.body)};
    auto sent = [self = shared_from_this()](std::error_code, std::size_t) {
      self->sending_ = false;  // a failure is the pending read's to tell: there may be an answer nonetheless
    };
    if (tls_) {
      asio::async_write(*tls_, bytes, std::move(sent));
    } else {
      asio::async_write(socket_, bytes, std::move(sent));
    }
  }

  void read() {
    auto got = [self = shared_from_this()](std::error_code failed, std::size_t size) {
      if (self->closed()) return;
      if (self->phase_ == Phase::idle) return self->leave();
      if (failed) return self->ended(failed == asio::error::eof);
      self->take(size);
      if (!self->closed()) self->read();
    };
    if (tls_) {
      tls_->async_read_some(asio::buffer(buffer_), std::move(got));
    } else {
      socket_.async_read_some(asio::buffer(buffer_), std::move(got));
    }
  }

  void take(std::size_t size) {
    received_ += size;
    if (received_ > route_->options->max_response_bytes) {
      // What the target says of the events is known, or will never be.
      return finish(response_->status() == 0 ? WebhookError::bad_response : WebhookError::none, false);
    }
    input_.append(buffer_.data(), size);
    for (;;) {
      const WebhookResponse::State state = response_->feed(input_);
      if (state == WebhookResponse::State::incomplete) return;
      if (state == WebhookResponse::State::failed) return finish(WebhookError::bad_response, false);
      const unsigned status = response_->status();
      if (status >= 200 || status == 101) break;
      response_.emplace();  // an interim answer (RFC 9110 §15.2)
    }
    finish(WebhookError::none, response_->status() != 101 && response_->keeps_alive() && input_.empty() && !sending_);
  }

  /// Nothing more comes.
  void ended(bool orderly) {
    const bool complete = orderly && response_->end();
    finish(complete || response_->status() >= 200 ? WebhookError::none : WebhookError::closed, false);
  }

  void fail(WebhookError error) { finish(error, false); }

  /// Reports. An answer counts by its status, whatever becomes of its body.
  void finish(WebhookError error, bool reusable) {
    const unsigned status = response_ ? response_->status() : 0;
    if (status >= 200) error = status < 300 ? WebhookError::none : WebhookError::status;
    if (error == WebhookError::none && (status < 200 || status >= 300)) error = WebhookError::status;  // 101
    const bool stale = reused_ && received_ == 0 && error == WebhookError::closed;
    const auto self = shared_from_this();
    if (reusable && route_->options->idle_timeout.count() > 0) {
      phase_ = Phase::idle;
      response_.reset();
      expire_at(std::chrono::steady_clock::now() + route_->options->idle_timeout);
    } else {
      close();
    }
    if (const auto owner = owner_.lock()) owner->finished(*this, error, status, stale);
  }

  /// Ends an idle connection.
  void leave() {
    const auto self = shared_from_this();
    close();
    if (const auto owner = owner_.lock()) owner->gone(*this);
  }

  void expire_at(std::chrono::steady_clock::time_point deadline) {
    timer_.expires_at(deadline);
    timer_.async_wait([self = shared_from_this()](std::error_code failed) {
      // A wait that was over before the deadline moved ends without an error.
      if (failed || self->closed() || self->timer_.expiry() > std::chrono::steady_clock::now()) return;
      if (self->phase_ == Phase::idle) return self->leave();
      self->fail(WebhookError::timeout);
    });
  }

  const std::shared_ptr<const WebhookRoute> route_;
  const std::weak_ptr<WebhookConnections> owner_;
  tcp::resolver resolver_;
  asio::steady_timer timer_;
  tcp::socket socket_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
  pusher::WebhookDelivery delivery_;
  std::string header_;
  std::optional<WebhookResponse> response_;
  std::string input_;  ///< What the response could not be read from yet.
  std::array<char, 4096> buffer_{};
  std::size_t received_ = 0;  ///< Of this response.
  std::chrono::steady_clock::time_point began_;
  Phase phase_ = Phase::fresh;
  bool reused_ = false;
  bool sending_ = false;
};

/// What a sender has. Handlers keep it alive, connections do not.
class WebhookOffice final : public WebhookConnections, public std::enable_shared_from_this<WebhookOffice> {
 public:
  WebhookOffice(const asio::any_io_executor& executor, WebhookSenderOptions options)
      : options_(std::make_shared<const WebhookSenderOptions>(std::move(options))),
        executor_(asio::make_strand(executor)),
        timer_(executor_) {}

  [[nodiscard]] pusher::WebhookErrc add(std::string key, std::string secret, pusher::WebhookOptions options,
                                        std::size_t& index) {
    using pusher::WebhookErrc;
    using pusher::Webhooks;
    if (const WebhookErrc error = Webhooks::check(options); error != WebhookErrc::ok) return error;
    if (const WebhookErrc error = Webhooks::check(key, secret); error != WebhookErrc::ok) return error;
    const std::lock_guard setup(setup_mutex_);
    auto client = std::make_unique<Client>(std::move(key), std::move(secret), std::move(options));
    index = clients_made_;
    for (std::size_t i = 0; i < client->webhooks.options().targets.size(); ++i) {
      auto route = std::make_shared<WebhookRoute>();
      route->app = index;
      route->target = i;
      route->url = *pusher::WebhookUrl::parse(client->webhooks.options().targets[i].url);
      route->private_allowed = client->webhooks.options().allow_private_targets;
      route->options = options_;
      if (route->url.https) {
        if (tls_ == nullptr) tls_ = make_tls(options_->ca_file);
        if (tls_ == nullptr) return pusher::WebhookErrc::tls;
        route->tls = tls_;
      }
      client->targets.push_back({std::move(route), {}});
    }
    Due due;
    due.emplace(Milliseconds::max(), index);
    client->place = due.extract(due.begin());
    const std::lock_guard lock(mutex_);
    public_.reserve(index + 1);
    added_.push_back(std::move(client));
    public_.emplace_back();
    ++clients_made_;
    return pusher::WebhookErrc::ok;
  }

  bool post(std::size_t app, AppEvent event) noexcept {
    const std::lock_guard lock(mutex_);
    if (app >= public_.size() || stopped_) return false;
    try {
      if (inbox_.size() < options_->max_inbox_events) {
        if (!scheduled_) asio::post(executor_, [self = shared_from_this()] { self->look(); });
        scheduled_ = true;
        inbox_.push_back({app, std::move(event)});
        return true;
      }
    } catch (const std::bad_alloc&) {  // as if there were no room
    }
    ++public_[app].lost;
    return false;
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(stopped_, true)) return;
      inbox_.clear();
    }
    asio::post(executor_, [self = shared_from_this()] { self->end(); });
  }

  [[nodiscard]] pusher::WebhookCounters counters(std::size_t app) const {
    const std::lock_guard lock(mutex_);
    if (app >= public_.size()) return {};
    pusher::WebhookCounters counters = public_[app].counters;
    counters.dropped += public_[app].lost;
    return counters;
  }

  void finished(WebhookConnection& connection, WebhookError error, unsigned status, bool stale) override {
    const std::size_t app = connection.route().app;
    const std::size_t target = connection.route().target;
    Client& client = *clients_[app];
    if (connection.closed()) forget(connection);
    // It may be needed by a write that has yet to learn of its end, so it stays there.
    const std::uint64_t id = connection.delivery().id;
    const unsigned attempt = connection.delivery().attempt;
    if (stale) {
      if (launch_again(client, connection.delivery())) return;
      error = WebhookError::out_of_memory;
    }
    const auto outcome = error == WebhookError::none     ? pusher::WebhookOutcome::delivered
                         : error == WebhookError::status ? pusher::WebhookOutcome::refused
                                                         : pusher::WebhookOutcome::unreachable;
    const bool dropped = client.webhooks.done(id, outcome, now());
    if (error != WebhookError::none) report({app, target, {}, error, status, attempt, dropped});
    serve(app);
  }

  void gone(WebhookConnection& connection) override { forget(connection); }

 private:
  using Milliseconds = pusher::Milliseconds;
  using Due = std::set<std::pair<Milliseconds, std::size_t>>;

  struct Target {
    std::shared_ptr<const WebhookRoute> route;
    std::vector<std::shared_ptr<WebhookConnection>> connections;  // `WebhookOptions::max_in_flight` at most
  };
  struct Client {
    Client(std::string key, std::string secret, pusher::WebhookOptions options)
        : webhooks(std::move(key), std::move(secret), std::move(options)) {}
    pusher::Webhooks webhooks;
    std::vector<Target> targets;
    Due::node_type place;  // before it is in `due_`
    Due::iterator due;
    bool touched = false;
  };
  struct Posted {
    std::size_t app;
    AppEvent event;
  };
  struct Public {
    pusher::WebhookCounters counters;
    std::uint64_t lost = 0;
  };

  [[nodiscard]] static std::shared_ptr<asio::ssl::context> make_tls(const std::string& ca_file) {
    try {
      auto tls = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
      SSL_CTX_set_min_proto_version(tls->native_handle(), TLS1_2_VERSION);
      tls->set_verify_mode(asio::ssl::verify_peer);
      if (ca_file.empty()) {
        tls->set_default_verify_paths();
      } else {
        tls->load_verify_file(ca_file);
      }
      return tls;
    } catch (const std::system_error&) {
      return nullptr;
    }
  }

  [[nodiscard]] static Milliseconds now() noexcept {
    return std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now().time_since_epoch());
  }
  [[nodiscard]] static Milliseconds wall() noexcept {
    return std::chrono::duration_cast<Milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  }

  /// Takes what was posted.
  void look() {
    std::vector<Posted> events;
    std::vector<std::size_t> touched;
    {
      const std::lock_guard lock(mutex_);
      scheduled_ = false;
      if (ended_) return;
      try {
        clients_.reserve(clients_.size() + added_.size());
        touched.reserve(inbox_.size());
      } catch (const std::bad_alloc&) {
        return;  // it all stays where it is until the next event
      }
      for (std::unique_ptr<Client>& client : added_) {
        client->due = due_.insert(std::move(client->place)).position;
        clients_.push_back(std::move(client));
      }
      added_.clear();
      events.swap(inbox_);
    }
    const Milliseconds time = now();
    for (const Posted& posted : events) {
      Client& client = *clients_[posted.app];
      client.webhooks.add(posted.event, time);
      if (!std::exchange(client.touched, true)) touched.push_back(posted.app);
    }
    for (const std::size_t app : touched) {
      clients_[app]->touched = false;
      serve(app);
    }
  }

  /// Sends what one application has to send now.
  void serve(std::size_t app) {
    Client& client = *clients_[app];
    Milliseconds next = Milliseconds::max();
    try {
      while (auto delivery = client.webhooks.next(now(), wall())) {
        const std::uint64_t id = delivery->id;
        const unsigned attempt = delivery->attempt;
        const std::size_t target = delivery->target;
        if (launch(client, std::move(*delivery))) continue;
        const bool dropped = client.webhooks.done(id, pusher::WebhookOutcome::unreachable, now());
        report({app, target, {}, WebhookError::out_of_memory, 0, attempt, dropped});
      }
      next = client.webhooks.next_time();
    } catch (const std::bad_alloc&) {
      next = now() + std::chrono::seconds(1);
    }
    auto node = due_.extract(client.due);
    node.value().first = next;
    client.due = due_.insert(std::move(node)).position;
    {
      const std::lock_guard lock(mutex_);
      public_[app].counters = client.webhooks.counters();
    }
    arm();
  }

  /// \returns false where there is no memory.
  [[nodiscard]] bool launch(Client& client, pusher::WebhookDelivery delivery) {
    Target& target = client.targets[delivery.target];
    std::shared_ptr<WebhookConnection> connection;
    try {
      for (const auto& known : target.connections) {
        if (known->idle()) connection = known;
      }
      if (connection == nullptr) {
        target.connections.reserve(target.connections.size() + 1);
        connection = std::make_shared<WebhookConnection>(executor_, target.route, weak_from_this());
        target.connections.push_back(connection);
      }
      connection->start(std::move(delivery));
      return true;
    } catch (const std::bad_alloc&) {
      if (connection != nullptr) {
        connection->close();
        forget(*connection);
      }
      return false;
    }
  }

  [[nodiscard]] bool launch_again(Client& client, const pusher::WebhookDelivery& delivery) {
    try {
      return launch(client, delivery);
    } catch (const std::bad_alloc&) {  // by the copy
      return false;
    }
  }

  void forget(const WebhookConnection& connection) {
    auto& connections = clients_[connection.route().app]->targets[connection.route().target].connections;
    std::erase_if(connections, [&](const auto& known) { return known.get() == &connection; });
  }

  void report(WebhookFailure failure) const {
    if (!options_->on_failure) return;
    failure.url = clients_[failure.app]->webhooks.options().targets[failure.target].url;
    options_->on_failure(failure);
  }

  /// Wakes when the first application has something to do.
  void arm() {
    const Milliseconds next = due_.empty() ? Milliseconds::max() : due_.begin()->first;
    if (next == armed_) return;
    armed_ = next;
    if (next == Milliseconds::max()) {
      timer_.cancel();
      return;
    }
    timer_.expires_at(std::chrono::steady_clock::time_point(next));
    timer_.async_wait([self = shared_from_this()](std::error_code failed) {
      if (failed || self->ended_) return;
      self->armed_ = Milliseconds::max();
      const Milliseconds time = now();  // those that are served are due later
      while (!self->due_.empty() && self->due_.begin()->first <= time) self->serve(self->due_.begin()->second);
      self->arm();
    });
  }

  void end() {
    ended_ = true;
    timer_.cancel();
    for (const auto& client : clients_) {
      for (const Target& target : client->targets) {
        for (const auto& connection : target.connections) connection->close();
      }
      for (Target& target : client->targets) target.connections.clear();
    }
  }

  const std::shared_ptr<const WebhookSenderOptions> options_;
  const asio::any_io_executor executor_;  // a strand
  asio::steady_timer timer_;
  Milliseconds armed_ = Milliseconds::max();
  bool ended_ = false;
  std::vector<std::unique_ptr<Client>> clients_;
  Due due_;

  std::mutex setup_mutex_;  // of the next two; `mutex_` is locked inside it
  std::size_t clients_made_ = 0;
  std::shared_ptr<asio::ssl::context> tls_;

  mutable std::mutex mutex_;  // a leaf; of what follows
  std::vector<Posted> inbox_;
  std::vector<std::unique_ptr<Client>> added_;
  std::vector<Public> public_;
  bool scheduled_ = false;
  bool stopped_ = false;
};

}  // namespace detail

/// Sends the webhooks of applications.
///
/// ```
/// transport::WebhookSender sender(context.get_executor());
/// const auto added = sender.add_app("key", "secret", {.targets = {{.url = "https://example.com/hook"}}});
/// if (!added) return fail(message(added.error));
/// App app({.id = "42", .key = "key", .secret = "secret",
///          .on_event = [&](const AppEvent& event) { sender.post(added.index, event); }});
/// ```
///
/// It makes POST requests over HTTP/1.1 and keeps connections for the next ones. A redirect is not followed, an answer is
/// bounded in time and size, and a target is connected to only at addresses for which `pusher::is_public` is true, unless
/// `WebhookOptions::allow_private_targets`: a name that means the host's own network leads nowhere. Targets of `https`
/// must have a certificate for their host that a trusted authority has signed; TLS is 1.2 or later.
///
/// \ownership  the executor's context must outlive it. What was begun ends on the executor, after the destructor too:
///             `WebhookSenderOptions::on_failure` is called no more once the executor has done what `stop` gave it.
/// Thread safety: all members from any thread, concurrently; the constructor and the destructor as usual. What it does,
///             it does on a strand of the executor.
class WebhookSender {
 public:
  /// \throws `std::bad_alloc`.
  explicit WebhookSender(const asio::any_io_executor& executor, WebhookSenderOptions options = {})
      : office_(std::make_shared<detail::WebhookOffice>(executor, std::move(options))) {}
  WebhookSender(const WebhookSender&) = delete;
  WebhookSender& operator=(const WebhookSender&) = delete;
  ~WebhookSender() {
    try {
      stop();
    } catch (const std::bad_alloc&) {  // what is under way ends by itself
    }
  }

  /// How it went to add an application.
  struct Added {
    pusher::WebhookErrc error = pusher::WebhookErrc::ok;
    std::size_t index = 0;  ///< For `post`; without meaning after an error.

    /// Whether it was added.
    [[nodiscard]] explicit operator bool() const noexcept { return error == pusher::WebhookErrc::ok; }
  };

  /// Adds an application: by the key that X-Pusher-Key says and the secret that signs for it, or by an `App`, whose
  /// `AppOptions::key` and `secret` they are.
  /// \complexity  O(targets); the first with `https` loads the CA certificates.
  /// \throws      `std::bad_alloc`.
  [[nodiscard]] Added add_app(std::string key, std::string secret, pusher::WebhookOptions options) {
    Added added;
    added.error = office_->add(std::move(key), std::move(secret), std::move(options), added.index);
    return added;
  }
  /// The same with the key and the secret of an application.
  [[nodiscard]] Added add_app(const App& app, pusher::WebhookOptions options) {
    return add_app(app.options().key, app.options().secret, std::move(options));
  }

  /// Gives it an event. Those of one channel have to come in their order, one at a time.
  /// \returns     false where it is dropped: there is no room or no memory, which is counted, or it has stopped.
  /// \progress    locks a mutex, which is a leaf.
  bool post(std::size_t app, AppEvent event) noexcept { return office_->post(app, std::move(event)); }

  /// Ends: connections are closed, and what has not been sent is dropped.
  /// \throws `std::bad_alloc`.
  void stop() { office_->stop(); }

  /// What became of an application's events; a moment's view. Zeros for an index that `add_app` has not returned.
  [[nodiscard]] pusher::WebhookCounters counters(std::size_t app) const { return office_->counters(app); }

 private:
  const std::shared_ptr<detail::WebhookOffice> office_;
};

}  // namespace transport
FANFARE_NAMESPACE_END
