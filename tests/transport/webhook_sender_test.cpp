#include <fanfare/transport/webhook_sender.hpp>

#include <fanfare/app.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/http/parser.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/webhooks.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/write.hpp>
#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <unistd.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using asio::ip::tcp;
using pusher::WebhookCounters;
using pusher::WebhookErrc;
using pusher::WebhookOptions;
using transport::WebhookError;
using transport::WebhookFailure;
using transport::WebhookSender;
using transport::WebhookSenderOptions;

AppEvent missed(std::string channel) { return {.kind = AppEvent::Kind::cache_miss, .channel = std::move(channel)}; }

// ---- certificates

/// A key and its certificate, which another or it itself has signed.
class Identity {
 public:
  /// \param names   what OpenSSL takes as subjectAltName; empty: an authority.
  explicit Identity(const std::string& names, const Identity* issuer = nullptr)
      : key_(EVP_EC_gen("P-256"), &EVP_PKEY_free), certificate_(X509_new(), &X509_free) {
    X509* const made = certificate_.get();
    X509_set_version(made, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made), issuer == nullptr ? 1 : 2);
    X509_gmtime_adj(X509_getm_notBefore(made), -60);
    X509_gmtime_adj(X509_getm_notAfter(made), 3600);
    const std::string name = issuer == nullptr ? "authority" : "leaf";
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    const Identity& signer = issuer == nullptr ? *this : *issuer;
    X509_set_issuer_name(made, X509_get_subject_name(signer.certificate_.get()));
    X509_set_pubkey(made, key_.get());
    X509V3_CTX context;
    X509V3_set_ctx(&context, signer.certificate_.get(), made, nullptr, nullptr, 0);
    X509_EXTENSION* const extension =
        issuer == nullptr ? X509V3_EXT_conf_nid(nullptr, &context, NID_basic_constraints, "critical,CA:TRUE")
                          : X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, names.c_str());
    X509_add_ext(made, extension, -1);
    X509_EXTENSION_free(extension);
    X509_sign(made, signer.key_.get(), EVP_sha256());
  }

  void use(asio::ssl::context& context) const {
    SSL_CTX_use_certificate(context.native_handle(), certificate_.get());
    SSL_CTX_use_PrivateKey(context.native_handle(), key_.get());
  }
  [[nodiscard]] std::string pem() const {
    BIO* const bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate_.get());
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio, &text);
    std::string result(text, static_cast<std::size_t>(size));
    BIO_free(bio);
    return result;
  }

 private:
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_;
  std::unique_ptr<X509, decltype(&X509_free)> certificate_;
};

/// A file that goes with it.
class File {
 public:
  explicit File(const std::string& text)
      : name(testing::TempDir() + "fanfare_webhooks_" + std::to_string(::getpid()) + "_" +
             std::to_string(reinterpret_cast<std::uintptr_t>(this)) + ".pem") {
    std::ofstream(name, std::ios::binary) << text;
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { std::remove(name.c_str()); }

  const std::string name;
};

// ---- a target

/// What a target does with a request.
struct Reply {
  std::string bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  bool close = false;    ///< Behind the bytes.
  bool endless = false;  ///< The bytes again and again.
};

std::string status(unsigned code, const std::string& fields = {}) {
  return "HTTP/1.1 " + std::to_string(code) + " X\r\n" + fields + "Content-Length: 0\r\n\r\n";
}

/// A web server on the loopback interface.
class Target {
 public:
  explicit Target(asio::io_context& context, const Identity* identity = nullptr)
      : acceptor_(context, {asio::ip::address_v4::loopback(), 0}) {
    if (identity != nullptr) identity->use(tls_.emplace(asio::ssl::context::tls_server));
    accept();
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  ~Target() { close(); }

  [[nodiscard]] std::string url(const std::string& path = "/hook", const std::string& host = "127.0.0.1") const {
    return (tls_ ? "https://" : "http://") + host + ':' + std::to_string(port()) + path;
  }
  [[nodiscard]] unsigned short port() const { return acceptor_.local_endpoint().port(); }
  void close() {
    std::error_code ignored;
    acceptor_.close(ignored);
    hang_up();
  }
  /// Ends all connections.
  void hang_up() {
    std::error_code ignored;
    for (const auto& visitor : visitors_) visitor->socket.close(ignored);
  }
  /// How many events have come, by what stands for one in the bodies.
  [[nodiscard]] std::size_t events(std::string_view text = "{\"name\":") const {
    std::size_t count = 0;
    for (const http::Request& request : requests) {
      for (std::size_t at = 0; (at = request.body.find(text, at)) != std::string::npos; at += text.size()) ++count;
    }
    return count;
  }

  std::vector<http::Request> requests;
  std::size_t connections = 0;
  std::vector<std::string> server_names;
  /// Nothing: there is no answer yet.
  std::function<std::optional<Reply>(const http::Request&)> answer = [](const http::Request&) { return Reply{}; };
  /// The answer to those that have none yet.
  void answer_all(const Reply& reply) {
    for (const auto& visitor : visitors_) {
      if (std::exchange(visitor->waits, false)) say(visitor, reply);
    }
  }

 private:
  struct Visitor {
    explicit Visitor(tcp::socket socket_) : socket(std::move(socket_)) {}
    tcp::socket socket;
    std::optional<asio::ssl::stream<tcp::socket&>> tls;
    http::Parser parser;
    std::array<char, 4096> buffer{};
    std::string output;
    bool waits = false;
  };
  using VisitorPtr = std::shared_ptr<Visitor>;

  void accept() {
    acceptor_.async_accept([this](std::error_code error, tcp::socket socket) {
      if (error) return;
      ++connections;
      const auto visitor = visitors_.emplace_back(std::make_shared<Visitor>(std::move(socket)));
      accept();
      if (!tls_) return read(visitor);
      visitor->tls.emplace(visitor->socket, *tls_);
      visitor->tls->async_handshake(asio::ssl::stream_base::server, [this, visitor](std::error_code failed) {
        if (failed) return;
        const char* const name = SSL_get_servername(visitor->tls->native_handle(), TLSEXT_NAMETYPE_host_name);
        server_names.emplace_back(name == nullptr ? "" : name);
        read(visitor);
      });
    });
  }

  void read(const VisitorPtr& visitor) {
    auto got = [this, visitor](std::error_code error, std::size_t size) {
      if (error) return;
      std::string_view bytes(visitor->buffer.data(), size);
      while (!bytes.empty()) {
        const auto [state, consumed] = visitor->parser.feed(bytes);
        bytes.remove_prefix(consumed);
        if (state == http::ParserState::failed) return;  // one who wants TLS, or says too much
        if (state != http::ParserState::complete) continue;
        requests.push_back(visitor->parser.take());
        if (const std::optional<Reply> reply = answer(requests.back())) {
          say(visitor, *reply);
        } else {
          visitor->waits = true;
        }
      }
      read(visitor);
    };
    if (visitor->tls) {
      visitor->tls->async_read_some(asio::buffer(visitor->buffer), got);
    } else {
      visitor->socket.async_read_some(asio::buffer(visitor->buffer), got);
    }
  }

  void say(const VisitorPtr& visitor, const Reply& reply) {
    visitor->output = reply.bytes;
    auto said = [this, visitor, reply](std::error_code error, std::size_t) {
      if (!error && reply.endless) return say(visitor, reply);
      if (reply.close) visitor->socket.close(error);
    };
    if (visitor->tls) {
      asio::async_write(*visitor->tls, asio::buffer(visitor->output), said);
    } else {
      asio::async_write(visitor->socket, asio::buffer(visitor->output), said);
    }
  }

  tcp::acceptor acceptor_;
  std::optional<asio::ssl::context> tls_;
  std::vector<VisitorPtr> visitors_;
};

class WebhookSenderTest : public testing::Test {
 protected:
  /// Runs everything until something is true. \returns whether it became true in time.
  bool until(const std::function<bool()>& done, std::chrono::milliseconds time = 10s) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      context.restart();
      context.run_one_for(10ms);
    }
    return true;
  }
  /// Runs everything for a while.
  void settle(std::chrono::milliseconds time = 100ms) {
    until([] { return false; }, time);
  }

  WebhookSender& make(WebhookSenderOptions options = {}) {
    options.on_failure = [this](const WebhookFailure& failure) {
      failures.push_back(failure);
      failures.back().url = {};
    };
    return sender.emplace(context.get_executor(), std::move(options));
  }
  /// Options for targets on this machine, fast and without batches.
  static WebhookOptions to(std::vector<std::string> urls) {
    WebhookOptions options;
    for (std::string& url : urls) options.targets.push_back({.url = std::move(url)});
    options.allow_private_targets = true;
    options.batch = false;
    options.retry_first = 20ms;
    options.debounce = 50ms;
    return options;
  }
  std::size_t add(WebhookOptions options) {
    const auto added = sender->add_app(app, std::move(options));
    EXPECT_TRUE(added) << message(added.error);
    return added.index;
  }
  /// Whether the first attempt fails like that.
  void expect_failure(WebhookError error, unsigned code = 0) {
    EXPECT_TRUE(until([&] { return !failures.empty(); }));
    ASSERT_FALSE(failures.empty());
    EXPECT_EQ(failures.front().error, error) << to_string(failures.front().error);
    EXPECT_EQ(failures.front().status, code);
    EXPECT_EQ(failures.front().attempt, 1U);
    EXPECT_FALSE(failures.front().dropped);
  }

  asio::io_context context{1};
  App app{{.id = "1", .key = "key", .secret = "secret"}};
  std::vector<WebhookFailure> failures;
  std::optional<WebhookSender> sender;
};

// ---- what arrives

TEST_F(WebhookSenderTest, posts_what_is_signed) {
  Target target(context);
  make();
  add(to({target.url("/hook?a=%20b")}));
  EXPECT_TRUE(sender->post(0, missed("cache-a")));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 1; }));
  ASSERT_EQ(target.requests.size(), 1U);
  const http::Request& request = target.requests.front();
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/hook?a=%20b");
  EXPECT_EQ(request.field("host"), "127.0.0.1:" + std::to_string(target.port()));
  EXPECT_EQ(request.field("content-type"), "application/json");
  EXPECT_EQ(request.field("x-pusher-key"), "key");
  EXPECT_EQ(request.field("x-pusher-signature"), pusher::hmac_sha256_hex("secret", request.body));
  EXPECT_TRUE(request.body.starts_with(R"({"time_ms":1)")) << request.body;
  EXPECT_TRUE(request.body.ends_with(R"(,"events":[{"name":"cache_miss","channel":"cache-a"}]})")) << request.body;
  EXPECT_EQ(sender->counters(0), (WebhookCounters{.delivered = 1}));
  EXPECT_TRUE(failures.empty());
}

TEST_F(WebhookSenderTest, sends_what_happens_in_an_application) {
  Target target(context);
  make();
  App told({.id = "2", .key = "key2", .secret = "secret2", .on_event = [&](const AppEvent& event) {
              sender->post(0, event);
            }});
  WebhookOptions options = to({target.url()});
  options.batch = true;
  ASSERT_TRUE(sender->add_app("key2", "secret2", options));
  {
    const Subscription subscription = told.subscribe("a");
    ASSERT_TRUE(until([&] { return target.events() == 1; }));
  }
  { const Subscription again = told.subscribe("a"); }  // undone at once
  ASSERT_TRUE(until([&] { return target.events() == 2; }));
  settle();
  EXPECT_EQ(target.events(R"({"name":"channel_occupied","channel":"a"})"), 1U);
  EXPECT_EQ(target.events(R"({"name":"channel_vacated","channel":"a"})"), 1U);
  EXPECT_EQ(target.requests.front().field("x-pusher-key"), "key2");
}

TEST_F(WebhookSenderTest, batches_what_comes_together) {
  Target target(context);
  make();
  WebhookOptions options = to({target.url()});
  options.batch = true;
  add(options);
  for (const char* channel : {"a", "b", "c"}) sender->post(0, missed(channel));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 3; }));
  EXPECT_EQ(target.requests.size(), 1U);
}

TEST_F(WebhookSenderTest, uses_a_connection_again) {
  Target target(context);
  make();
  add(to({target.url()}));
  for (std::uint64_t i = 1; i <= 5; ++i) {
    sender->post(0, missed("a"));
    ASSERT_TRUE(until([&] { return sender->counters(0).delivered == i; }));
  }
  EXPECT_EQ(target.connections, 1U);
}

TEST_F(WebhookSenderTest, closes_a_connection_that_is_idle_for_long) {
  Target target(context);
  make({.idle_timeout = 20ms});
  add(to({target.url()}));
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 1; }));
  settle();
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 2; }));
  EXPECT_EQ(target.connections, 2U);
}

TEST_F(WebhookSenderTest, notices_an_idle_connection_that_ends) {
  Target target(context);
  make();
  add(to({target.url()}));
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 1; }));
  target.hang_up();
  settle(20ms);
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 2; }));
  EXPECT_EQ(target.requests.size(), 2U);
  EXPECT_EQ(sender->counters(0).failed, 0U);
}

TEST_F(WebhookSenderTest, a_connection_that_ends_under_a_request_is_no_failure_of_the_target) {
  Target target(context);
  bool first = true;
  target.answer = [&](const http::Request&) {
    if (target.requests.size() == 2 && std::exchange(first, false)) return Reply{.bytes = "", .close = true};
    return Reply{};
  };
  make();
  add(to({target.url()}));
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 1; }));
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 2; }));
  EXPECT_EQ(sender->counters(0).failed, 0U);
  EXPECT_EQ(target.connections, 2U);
}

struct Answer {
  const char* name;
  Reply reply;
  std::size_t connections;  ///< That two requests need.
};
void PrintTo(const Answer& answer, std::ostream* out) { *out << answer.name; }

class WebhookAnswer : public WebhookSenderTest, public testing::WithParamInterface<Answer> {};

TEST_P(WebhookAnswer, is_success) {
  Target target(context);
  target.answer = [](const http::Request&) { return GetParam().reply; };
  make();
  add(to({target.url()}));
  for (std::uint64_t i = 1; i <= 2; ++i) {
    sender->post(0, missed("a"));
    ASSERT_TRUE(until([&] { return sender->counters(0).delivered == i; }));
    settle(5ms);
  }
  EXPECT_TRUE(failures.empty());
  EXPECT_EQ(target.connections, GetParam().connections);
}

INSTANTIATE_TEST_SUITE_P(
    All, WebhookAnswer,
    testing::Values(
        Answer{"length", {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"}, 1},
        Answer{"no_content", {"HTTP/1.1 204 No Content\r\n\r\n"}, 1}, Answer{"accepted", {status(202)}, 1},
        Answer{"chunks", {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n"}, 1},
        Answer{"interim", {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\n" + status(200)}, 1},
        Answer{"close", {status(200, "Connection: close\r\n")}, 2},
        Answer{"old", {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true}, 2},
        Answer{"until_end", {"HTTP/1.1 200 OK\r\n\r\nabc", true}, 2},
        Answer{"cut_off", {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", true}, 2},
        Answer{"too_much", {status(200) + "more"}, 2},
        Answer{"endless_body", {"HTTP/1.1 200 OK\r\n\r\n" + std::string(10000, 'x'), false, true}, 2},
        Answer{"endless_chunks",
               {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(70000, 'x')},
               2}),
    [](const auto& test) { return test.param.name; });

TEST_F(WebhookSenderTest, a_slow_body_does_not_undo_a_success) {
  Target target(context);
  target.answer = [](const http::Request&) { return Reply{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"}; };
  make({.response_timeout = 30ms});
  add(to({target.url()}));
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 1; }));
  settle();
  EXPECT_EQ(target.requests.size(), 1U);
}

// ---- failures

TEST_F(WebhookSenderTest, tries_again_with_the_same_bytes) {
  Target target(context);
  target.answer = [&](const http::Request&) { return Reply{.bytes = status(target.requests.size() < 4 ? 500 : 200)}; };
  make();
  add(to({target.url()}));
  const auto begin = std::chrono::steady_clock::now();
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 1; }));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 20ms + 40ms + 80ms - 3ms);
  ASSERT_EQ(target.requests.size(), 4U);
  for (const http::Request& request : target.requests) {
    EXPECT_EQ(request.body, target.requests.front().body);
    EXPECT_EQ(request.fields, target.requests.front().fields);
  }
  EXPECT_EQ(sender->counters(0), (WebhookCounters{.delivered = 1, .failed = 3}));
  expect_failure(WebhookError::status, 500);
}

TEST_F(WebhookSenderTest, gives_up_in_the_end) {
  Target target(context);
  target.answer = [](const http::Request&) { return Reply{.bytes = status(404)}; };
  make();
  WebhookOptions options = to({target.url()});
  options.retry_for = 100ms;
  add(options);
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(0).dropped == 1; }));
  EXPECT_TRUE(failures.back().dropped);
  const std::size_t requests = target.requests.size();
  settle();
  EXPECT_EQ(target.requests.size(), requests);
}

TEST_F(WebhookSenderTest, does_not_follow_redirects) {
  Target elsewhere(context);
  Target target(context);
  target.answer = [&](const http::Request&) {
    return Reply{.bytes = status(307, "Location: " + elsewhere.url() + "\r\n")};
  };
  make();
  add(to({target.url()}));
  sender->post(0, missed("a"));
  expect_failure(WebhookError::status, 307);
  settle(50ms);
  EXPECT_EQ(elsewhere.connections, 0U);
}

struct Bad {
  const char* name;
  Reply reply;
  WebhookError error;
  unsigned code = 0;
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }

class BadWebhookAnswer : public WebhookSenderTest, public testing::WithParamInterface<Bad> {};

TEST_P(BadWebhookAnswer, is_a_failure) {
  Target target(context);
  target.answer = [](const http::Request&) { return GetParam().reply; };
  make();
  add(to({target.url()}));
  sender->post(0, missed("a"));
  expect_failure(GetParam().error, GetParam().code);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadWebhookAnswer,
    testing::Values(
        Bad{"nothing", {"", true}, WebhookError::closed},
        Bad{"half_a_header", {"HTTP/1.1 200 OK\r\nA: b", true}, WebhookError::closed},
        Bad{"interim_only", {"HTTP/1.1 100 Continue\r\n\r\n", true}, WebhookError::closed},
        Bad{"no_http", {"SSH-2.0-OpenSSH\r\n\r\n"}, WebhookError::bad_response},
        Bad{"endless_header",
            {"HTTP/1.1 200 OK\r\nA: " + std::string(10000, 'x'), false, true},
            WebhookError::bad_response},
        Bad{"endless_interim", {"HTTP/1.1 100 Continue\r\n\r\n", false, true}, WebhookError::bad_response},
        Bad{"upgrade", {"HTTP/1.1 101 Switching Protocols\r\n\r\n"}, WebhookError::status, 101},
        Bad{"redirect", {status(301, "Location: /\r\n")}, WebhookError::status, 301},
        Bad{"not_modified", {"HTTP/1.1 304 Not Modified\r\n\r\n"}, WebhookError::status, 304},
        Bad{"broken_body", {"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}, WebhookError::status, 500}),
    [](const auto& test) { return test.param.name; });

TEST_F(WebhookSenderTest, waits_for_an_answer_for_some_time_only) {
  Target target(context);
  target.answer = [](const http::Request&) { return std::nullopt; };
  make({.response_timeout = 30ms});
  add(to({target.url()}));
  sender->post(0, missed("a"));
  expect_failure(WebhookError::timeout);
}

TEST_F(WebhookSenderTest, waits_for_tls_for_some_time_only) {
  Target target(context);  // which says nothing before it has a request
  make({.connect_timeout = 30ms});
  add(to({"https" + target.url().substr(4)}));
  sender->post(0, missed("a"));
  expect_failure(WebhookError::timeout);
}

TEST_F(WebhookSenderTest, says_that_nobody_listens) {
  std::string url;
  {
    Target target(context);
    url = target.url();
  }
  make();
  add(to({url}));
  sender->post(0, missed("a"));
  expect_failure(WebhookError::connect);
}

TEST_F(WebhookSenderTest, says_that_there_is_no_such_host) {
  make();
  add(to({"http://no-such-host.invalid/"}));
  sender->post(0, missed("a"));
  expect_failure(WebhookError::resolve);
}

class PrivateWebhookTarget : public WebhookSenderTest, public testing::WithParamInterface<const char*> {};

TEST_P(PrivateWebhookTarget, is_not_connected_to) {
  Target target(context);
  make();
  WebhookOptions options = to({target.url("/", GetParam())});
  options.allow_private_targets = false;
  add(options);
  sender->post(0, missed("a"));
  expect_failure(WebhookError::private_address);
  settle(30ms);
  EXPECT_EQ(target.connections, 0U);
}

INSTANTIATE_TEST_SUITE_P(All, PrivateWebhookTarget,
                         testing::Values("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0.0.0.0",
                                         "[::1]", "[::ffff:127.0.0.1]", "[::]", "10.0.0.1", "169.254.169.254"));

// ---- who waits for whom

TEST_F(WebhookSenderTest, a_channel_that_is_held_up_holds_up_no_other) {
  Target target(context);
  bool works = false;
  target.answer = [&](const http::Request& request) {
    const bool bad = !works && request.body.find("\"bad\"") != std::string::npos;
    return Reply{.bytes = status(bad ? 500 : 200)};
  };
  make();
  add(to({target.url()}));
  sender->post(0, missed("bad"));
  sender->post(0, {.kind = AppEvent::Kind::subscription_count, .channel = "bad", .count = 1});
  ASSERT_TRUE(until([&] { return sender->counters(0).failed == 2; }));
  for (int i = 0; i < 10; ++i) sender->post(0, missed("good-" + std::to_string(i % 3)));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 10; }));
  EXPECT_EQ(target.events("subscription_count"), 0U);
  works = true;
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 12; }));
  EXPECT_NE(target.requests.back().body.find("\"subscription_count\":1"), std::string::npos);
}

TEST_F(WebhookSenderTest, a_target_that_hangs_holds_up_no_other) {
  Target hanging(context);
  hanging.answer = [](const http::Request&) { return std::nullopt; };
  Target target(context);
  make();
  add(to({hanging.url(), target.url()}));
  for (int i = 0; i < 20; ++i) sender->post(0, missed("channel-" + std::to_string(i)));
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 20; }));
  EXPECT_EQ(hanging.requests.size(), 4U) << "at one time";
  EXPECT_LE(target.connections, 4U);
  hanging.answer = [](const http::Request&) { return Reply{}; };
  hanging.answer_all({});
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 40; }));
  EXPECT_EQ(hanging.connections, 4U);
}

TEST_F(WebhookSenderTest, applications_do_not_know_of_each_other) {
  Target first(context);
  Target second(context);
  make();
  EXPECT_EQ(add(to({first.url()})), 0U);
  EXPECT_EQ(add(to({second.url()})), 1U);
  sender->post(1, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(1).delivered == 1; }));
  EXPECT_EQ(sender->counters(0), WebhookCounters{});
  EXPECT_EQ(first.connections, 0U);
}

TEST_F(WebhookSenderTest, what_finds_no_room_is_counted) {
  Target target(context);
  make({.max_inbox_events = 2});
  add(to({target.url()}));
  EXPECT_TRUE(sender->post(0, missed("a")));
  EXPECT_TRUE(sender->post(0, missed("b")));
  EXPECT_FALSE(sender->post(0, missed("c")));
  EXPECT_FALSE(sender->post(1, missed("c"))) << "which is none";
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 2; }));
  EXPECT_EQ(sender->counters(0).dropped, 1U);
  EXPECT_TRUE(sender->post(0, missed("c")));
}

TEST_F(WebhookSenderTest, stops_at_once) {
  Target target(context);
  target.answer = [](const http::Request&) { return std::nullopt; };
  make();
  add(to({target.url(), "http://127.0.0.1:1/"}));
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return target.requests.size() == 1 && !failures.empty(); }));
  sender->stop();
  EXPECT_FALSE(sender->post(0, missed("b")));
  target.close();
  context.restart();
  context.run_for(5s);
  EXPECT_TRUE(context.stopped()) << "something is left that wants to run";
  sender.reset();
}

TEST_F(WebhookSenderTest, may_end_in_the_middle) {
  Target target(context);
  target.answer = [](const http::Request&) { return std::nullopt; };
  make();
  add(to({target.url()}));
  sender->post(0, missed("a"));
  ASSERT_TRUE(until([&] { return target.requests.size() == 1; }));
  sender->post(0, missed("b"));
  sender.reset();  // and nothing is run any more
}

TEST_F(WebhookSenderTest, refuses_options_that_are_wrong) {
  make({.ca_file = "/no/such/file"});
  EXPECT_EQ(sender->add_app(app, {}).error, WebhookErrc::no_target);
  EXPECT_EQ(sender->add_app(app, to({"ftp://a"})).error, WebhookErrc::bad_url);
  EXPECT_EQ(sender->add_app(app, to({"https://a"})).error, WebhookErrc::tls);
  const App nameless(AppOptions{});
  EXPECT_EQ(sender->add_app(nameless, to({"http://a"})).error, WebhookErrc::bad_key);
  EXPECT_FALSE(sender->post(0, missed("a"))) << "none has been added";
  EXPECT_EQ(add(to({"http://a"})), 0U);
}

// ---- TLS

class WebhookTls : public WebhookSenderTest {
 protected:
  Identity authority{""};
  File trusted{authority.pem()};
};

TEST_F(WebhookTls, goes_to_whom_an_authority_vouches_for) {
  const Identity identity("DNS:localhost,IP:127.0.0.1", &authority);
  Target target(context, &identity);
  make({.ca_file = trusted.name});
  add(to({target.url("/a", "localhost")}));
  add(to({target.url("/b", "127.0.0.1")}));
  for (std::uint64_t i = 1; i <= 3; ++i) {
    sender->post(0, missed("a"));
    ASSERT_TRUE(until([&] { return sender->counters(0).delivered == i; }));
  }
  EXPECT_EQ(target.connections, 1U);
  sender->post(1, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(1).delivered == 1; }));
  EXPECT_EQ(target.server_names, (std::vector<std::string>{"localhost", ""})) << "addresses are no server names";
  EXPECT_EQ(target.requests.front().target, "/a");
  EXPECT_TRUE(failures.empty());
}

TEST_F(WebhookTls, a_large_body_goes_through) {
  const Identity identity("DNS:localhost", &authority);
  Target target(context, &identity);
  make({.ca_file = trusted.name});
  add(to({target.url("/", "localhost")}));
  sender->post(0, {.kind = AppEvent::Kind::client_event,
                   .channel = "private-a",
                   .event = "client-a",
                   .data = std::string(500000, 'x')});
  ASSERT_TRUE(until([&] { return sender->counters(0).delivered == 1; }));
  EXPECT_GT(target.requests.front().body.size(), 500000U);
}

TEST_F(WebhookTls, a_body_that_nobody_reads_ends_with_its_time) {
  const Identity identity("DNS:localhost", &authority);
  Target secure(context, &identity);  // neither reads on behind the most that its parser takes
  Target plain(context);
  make({.response_timeout = 100ms, .ca_file = trusted.name});
  add(to({secure.url("/", "localhost"), plain.url()}));
  sender->post(0, {.kind = AppEvent::Kind::client_event,
                   .channel = "private-a",
                   .event = "client-a",
                   .data = std::string(std::size_t{8} << 20U, 'x')});
  ASSERT_TRUE(until([&] { return sender->counters(0).failed == 4; }));
  for (const WebhookFailure& failure : failures) EXPECT_EQ(failure.error, WebhookError::timeout);
}

TEST_F(WebhookTls, does_not_go_to_another_host) {
  const Identity identity("DNS:example.com,IP:127.0.0.2", &authority);
  Target target(context, &identity);
  make({.ca_file = trusted.name});
  add(to({target.url("/", "localhost")}));
  add(to({target.url("/", "127.0.0.1")}));
  sender->post(0, missed("a"));
  expect_failure(WebhookError::tls);
  failures.clear();
  sender->post(1, missed("a"));
  ASSERT_TRUE(until([&] { return sender->counters(1).failed == 1; }));
  EXPECT_TRUE(target.requests.empty());
}

TEST_F(WebhookTls, does_not_go_to_whom_nobody_vouches_for) {
  const Identity identity("DNS:localhost", &authority);
  Target target(context, &identity);
  make();  // trusts what the system does
  add(to({target.url("/", "localhost")}));
  sender->post(0, missed("a"));
  expect_failure(WebhookError::tls);
  EXPECT_TRUE(target.requests.empty());
}

TEST(WebhookError, has_names) {
  for (const auto error :
       {WebhookError::none, WebhookError::status, WebhookError::resolve, WebhookError::private_address,
        WebhookError::connect, WebhookError::tls, WebhookError::timeout, WebhookError::closed,
        WebhookError::bad_response, WebhookError::out_of_memory}) {
    EXPECT_NE(to_string(error), "unknown");
    EXPECT_NE(message(error), "unknown error");
  }
}

}  // namespace
