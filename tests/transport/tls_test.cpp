#include <fanfare/transport/tls.hpp>

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using fanfare::transport::TlsContext;
using fanfare::transport::TlsErrc;
using fanfare::transport::TlsFailure;
using fanfare::transport::TlsLoaded;
using fanfare::transport::TlsResult;
using fanfare::transport::TlsState;
using fanfare::transport::TlsStream;
using namespace std::string_literals;

// ---- certificates

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Key make_key() { return {EVP_EC_gen("P-256"), &EVP_PKEY_free}; }

std::string drained(BIO* bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  std::string result(text, static_cast<std::size_t>(size));
  BIO_free(bio);
  return result;
}

std::string key_pem(const Key& key, const char* passphrase = nullptr) {
  BIO* const bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key.get(), passphrase != nullptr ? EVP_aes_128_cbc() : nullptr, nullptr, 0, nullptr,
                           const_cast<char*>(passphrase));
  return drained(bio);
}

/// Signed by itself.
std::string certificate_pem(const Key& key, std::string_view name) {
  X509* const certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_NAME* const subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.data()),
                             static_cast<int>(name.size()), -1, 0);
  X509_set_issuer_name(certificate, subject);
  X509_set_pubkey(certificate, key.get());
  X509_sign(certificate, key.get(), EVP_sha256());
  BIO* const bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  X509_free(certificate);
  return drained(bio);
}

/// A certificate and its key in files, which go with it.
class Files {
 public:
  Files() {
    const std::string base = testing::TempDir() + "fanfare_tls_" + std::to_string(::getpid()) + "_" +
                             std::to_string(reinterpret_cast<std::uintptr_t>(this));
    certificate = base + ".crt";
    key = base + ".key";
    renew("one");
  }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  ~Files() {
    std::remove(certificate.c_str());
    std::remove(key.c_str());
  }

  void renew(std::string_view name) const {
    const Key fresh = make_key();
    write(certificate, certificate_pem(fresh, name));
    write(key, key_pem(fresh));
  }
  static void write(const std::string& file, std::string_view text) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
  }

  std::string certificate;
  std::string key;
};

class TlsContextTest : public testing::Test {
 protected:
  [[nodiscard]] TlsResult load() const { return TlsContext::load(files.certificate, files.key).result; }

  Files files;
};

TEST_F(TlsContextTest, loads_a_certificate_and_its_key) {
  const TlsLoaded loaded = TlsContext::load(files.certificate, files.key);
  EXPECT_TRUE(loaded.result);
  EXPECT_EQ(loaded.result.error(), TlsErrc::ok);
  EXPECT_EQ(loaded.result.text(), "");
  EXPECT_NE(loaded.context, nullptr);
}

TEST_F(TlsContextTest, says_which_file_is_missing) {
  TlsLoaded loaded = TlsContext::load("/nowhere/a.crt", files.key);
  EXPECT_EQ(loaded.result.error(), TlsErrc::no_certificate_file);
  EXPECT_EQ(loaded.result.text(), "cannot read the certificate /nowhere/a.crt: No such file or directory");
  EXPECT_EQ(loaded.context, nullptr);
  loaded = TlsContext::load(files.certificate, "/nowhere/a.key");
  EXPECT_EQ(loaded.result.error(), TlsErrc::no_key_file);
  EXPECT_EQ(loaded.result.text(), "cannot read the key /nowhere/a.key: No such file or directory");
  EXPECT_EQ(loaded.context, nullptr);
}

TEST_F(TlsContextTest, says_which_file_is_no_pem) {
  EXPECT_EQ(TlsContext::load(files.key, files.key).result.error(), TlsErrc::bad_certificate);
  EXPECT_EQ(TlsContext::load(files.certificate, files.certificate).result.error(), TlsErrc::bad_key);
  EXPECT_EQ(TlsContext::load("/", files.key).result.error(), TlsErrc::bad_certificate) << "a directory";
  EXPECT_EQ(TlsContext::load(files.certificate, "/").result.error(), TlsErrc::bad_key) << "a directory";
  Files::write(files.key, "");
  EXPECT_EQ(load().error(), TlsErrc::bad_key);
  EXPECT_EQ(load().text(), files.key + " holds no private key that can be used: unsupported");
  Files::write(files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_EQ(load().error(), TlsErrc::bad_certificate);
  Files::write(files.certificate, "");
  EXPECT_EQ(load().error(), TlsErrc::bad_certificate);
  EXPECT_EQ(load().text(), files.certificate + " holds no certificate that can be used: no start line");
  EXPECT_EQ(ERR_peek_error(), 0U) << "nothing is left for others to find";
}

TEST_F(TlsContextTest, refuses_a_key_that_is_not_the_certificates) {
  Files::write(files.key, key_pem(make_key()));
  EXPECT_EQ(load().error(), TlsErrc::key_mismatch);
  EXPECT_EQ(load().text(), "the key in " + files.key + " does not belong to the certificate in " + files.certificate);
  const Key other_kind(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), &EVP_PKEY_free);
  Files::write(files.key, key_pem(other_kind));
  EXPECT_EQ(load().error(), TlsErrc::key_mismatch);
}

TEST_F(TlsContextTest, asks_nobody_for_a_passphrase) {
  const Key key = make_key();
  Files::write(files.certificate, certificate_pem(key, "one"));
  Files::write(files.key, key_pem(key, "secret"));
  EXPECT_EQ(load().error(), TlsErrc::bad_key);
  EXPECT_EQ(load().text(), "the key in " + files.key + " has a passphrase; it must have none");
}

TEST(TlsNames, are_there_for_every_value) {
  for (unsigned i = 0; i <= static_cast<unsigned>(TlsErrc::system); ++i) {
    EXPECT_NE(to_string(static_cast<TlsErrc>(i)), "unknown");
  }
  for (unsigned i = 0; i <= static_cast<unsigned>(TlsFailure::protocol_error); ++i) {
    EXPECT_NE(to_string(static_cast<TlsFailure>(i)), "unknown");
    EXPECT_NE(message(static_cast<TlsFailure>(i)), "unknown error");
  }
  for (unsigned i = 0; i <= static_cast<unsigned>(TlsState::failed); ++i) {
    EXPECT_NE(to_string(static_cast<TlsState>(i)), "unknown");
  }
}

// ---- connections

/// OpenSSL's client over memory.
class TlsClient {
 public:
  /// \param version  the only one that it speaks; 0: any.
  explicit TlsClient(int version = 0) : context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX_set_security_level(context_, 0);  // for versions that are no longer safe
    if (version != 0) {
      SSL_CTX_set_min_proto_version(context_, version);
      SSL_CTX_set_max_proto_version(context_, version);
    }
    ssl_ = SSL_new(context_);
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }

  [[nodiscard]] SSL* ssl() const { return ssl_; }

  /// What it has to send.
  std::string take() const {
    std::string bytes(BIO_ctrl_pending(SSL_get_wbio(ssl_)), '\0');
    if (!bytes.empty()) BIO_read(SSL_get_wbio(ssl_), bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }
  /// Takes what the server sent.
  void feed(std::string_view bytes) {
    if (!bytes.empty()) BIO_write(SSL_get_rbio(ssl_), bytes.data(), static_cast<int>(bytes.size()));
    work();
  }
  /// Goes as far as it can.
  void work() {
    std::array<char, 20'000> record;
    ERR_clear_error();
    int size = 0;
    while ((size = SSL_read(ssl_, record.data(), record.size())) > 0) {
      received.append(record.data(), static_cast<std::size_t>(size));
    }
    error = SSL_get_error(ssl_, size);
    if (error == SSL_ERROR_SSL) reason = ERR_reason_error_string(ERR_peek_error());
  }
  void send(std::string_view text) const { SSL_write(ssl_, text.data(), static_cast<int>(text.size())); }

  std::string received;
  int error = SSL_ERROR_NONE;
  std::string reason;

 private:
  SSL_CTX* context_;
  SSL* ssl_ = nullptr;
};

class TlsStreamTest : public testing::Test {
 protected:
  TlsStreamTest() : context(std::move(TlsContext::load(files.certificate, files.key).context)) {}

  /// Sends what the client has, in pieces of so many bytes.
  TlsState to_server(TlsStream& server, std::string_view bytes, std::size_t piece = std::string::npos) {
    TlsState state = server.state();
    while (!bytes.empty()) {
      const std::string_view part = bytes.substr(0, piece);
      state = server.feed(part, received);
      bytes.remove_prefix(part.size());
    }
    return state;
  }
  static void to_client(TlsStream& server, TlsClient& client, std::size_t piece = std::string::npos) {
    while (!server.pending().empty()) {
      const std::string part(server.pending().substr(0, piece));
      server.sent(part.size());
      client.feed(part);
    }
  }
  /// Lets both talk until they have nothing more to say.
  void talk(TlsStream& server, TlsClient& client, std::size_t piece = std::string::npos) {
    client.work();
    for (std::string bytes = client.take(); !bytes.empty() || !server.pending().empty(); bytes = client.take()) {
      to_server(server, bytes, piece);
      to_client(server, client, piece);
    }
  }
  static std::string subject(const TlsClient& client) {
    X509* const certificate = SSL_get1_peer_certificate(client.ssl());
    std::array<char, 100> name{};
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(), name.size());
    X509_free(certificate);
    return name.data();
  }

  Files files;
  std::unique_ptr<TlsContext> context;
  std::string received;  // what servers received
};

/// The version, and the size of the pieces in which both sides get their bytes.
class TlsExchange : public TlsStreamTest, public testing::WithParamInterface<std::tuple<int, std::size_t>> {
 protected:
  const std::size_t piece = std::get<1>(GetParam());
  TlsStream server{*context};
  TlsClient client{std::get<0>(GetParam())};
};

INSTANTIATE_TEST_SUITE_P(all, TlsExchange,
                         testing::Combine(testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                                          testing::Values(std::size_t{1}, std::size_t{7}, std::size_t{1'000},
                                                          std::size_t{65'536})));

TEST_P(TlsExchange, shakes_hands_and_carries_text_both_ways) {
  EXPECT_TRUE(server.handshaking());
  EXPECT_EQ(server.seal("too early"), 0U);
  EXPECT_EQ(server.pending(), "");
  talk(server, client, piece);
  EXPECT_EQ(to_string(server.state()), "open");
  EXPECT_FALSE(server.handshaking());
  EXPECT_EQ(server.failure(), TlsFailure::none);
  EXPECT_EQ(SSL_version(client.ssl()), std::get<0>(GetParam()));

  client.send("GET / HTTP/1.1\r\n\r\n");
  talk(server, client, piece);
  EXPECT_EQ(received, "GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(server.seal("HTTP/1.1 200 OK\r\n\r\n"), 19U);
  EXPECT_EQ(server.pending().find("200"), std::string_view::npos) << "it is encrypted";
  talk(server, client, piece);
  EXPECT_EQ(client.received, "HTTP/1.1 200 OK\r\n\r\n");
}

TEST_P(TlsExchange, carries_much_both_ways) {
  talk(server, client, piece);
  std::mt19937 random{7};
  std::string text(100'000, '\0');
  for (char& character : text) character = static_cast<char>(random());

  client.send(text);
  talk(server, client, piece);
  EXPECT_TRUE(received == text);

  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t taken = server.seal(rest);
    ASSERT_EQ(taken, std::min(rest.size(), TlsStream::most_plaintext));
    ASSERT_EQ(server.seal(rest), 0U) << "one record at a time";
    ASSERT_LE(server.pending().size(), TlsStream::most_plaintext + 256);
    rest.remove_prefix(taken);
    to_client(server, client, piece);
  }
  EXPECT_TRUE(client.received == text);
}

TEST_P(TlsExchange, ends_when_the_client_says_so) {
  talk(server, client, piece);
  client.send("last words");
  SSL_shutdown(client.ssl());
  EXPECT_EQ(to_string(to_server(server, client.take(), piece)), "closed");
  EXPECT_EQ(received, "last words");
  EXPECT_EQ(to_string(to_server(server, "more")), "closed") << "and it is dropped";
  EXPECT_EQ(received, "last words");

  EXPECT_EQ(server.seal("the answer"), 10U) << "what is owed can still be sent";
  to_client(server, client, piece);
  server.close();
  EXPECT_NE(server.pending(), "");
  to_client(server, client, piece);
  EXPECT_EQ(client.received, "the answer");
  EXPECT_EQ(client.error, SSL_ERROR_ZERO_RETURN) << "a clean end, and no truncation";
}

TEST_P(TlsExchange, is_ended_by_the_server) {
  talk(server, client, piece);
  server.close();
  server.close();
  EXPECT_EQ(server.seal("too late"), 0U);
  to_client(server, client, piece);
  EXPECT_EQ(client.error, SSL_ERROR_ZERO_RETURN);
  client.send("still here");
  SSL_shutdown(client.ssl());
  EXPECT_EQ(to_string(to_server(server, client.take(), piece)), "closed");
  EXPECT_EQ(received, "still here") << "what was on its way arrives";
  EXPECT_EQ(server.pending(), "");
}

TEST_P(TlsExchange, fails_where_a_byte_was_changed) {
  talk(server, client, piece);
  client.send("good");
  client.send("bad");
  std::string bytes = client.take();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  EXPECT_EQ(to_string(to_server(server, bytes, piece)), "failed");
  EXPECT_EQ(to_string(server.failure()), "bad_record");
  EXPECT_EQ(server.failure_detail(), "decryption failed or bad record mac");
  EXPECT_EQ(received, "good");
  EXPECT_EQ(server.seal("x"), 0U);
  server.close();
  EXPECT_NE(server.pending(), "") << "an alert";
  to_client(server, client, piece);
  EXPECT_EQ(client.error, SSL_ERROR_SSL);
  EXPECT_EQ(to_string(to_server(server, "more")), "failed");
  EXPECT_EQ(server.pending(), "");
}

TEST_F(TlsStreamTest, goes_on_behind_a_part_of_what_was_pending) {
  TlsStream server(*context);
  TlsClient client;
  talk(server, client);
  EXPECT_EQ(server.seal("first"), 5U);
  const std::string sealed(server.pending());
  server.sent(3);
  EXPECT_EQ(server.pending(), std::string_view(sealed).substr(3));
  EXPECT_EQ(server.seal("second"), 0U);
  client.feed(std::string_view(sealed).substr(0, 3));
  to_client(server, client);
  EXPECT_EQ(server.seal("second"), 6U);
  to_client(server, client);
  EXPECT_EQ(client.received, "firstsecond");
  EXPECT_EQ(server.seal(""), 0U);
}

TEST_F(TlsStreamTest, may_move) {
  std::vector<TlsStream> servers;
  servers.emplace_back(*context);
  TlsClient client;
  client.work();
  to_server(servers[0], client.take());
  servers.emplace_back(*context);  // which moves the first
  talk(servers[0], client);
  client.send("hello");
  talk(servers[0], client);
  EXPECT_EQ(received, "hello");
}

TEST_F(TlsStreamTest, outlives_its_context) {
  TlsStream server(*context);
  context.reset();
  TlsClient client;
  talk(server, client);
  EXPECT_EQ(server.state(), TlsState::open);
}

TEST_F(TlsStreamTest, has_the_certificate_of_its_time) {
  TlsStream before(*context);
  files.renew("two");
  ASSERT_TRUE(context->reload());
  TlsStream after(*context);
  TlsClient first;
  TlsClient second;
  talk(before, first);
  talk(after, second);
  EXPECT_EQ(subject(first), "one");
  EXPECT_EQ(subject(second), "two");
  first.send("still");
  talk(before, first);
  EXPECT_EQ(received, "still");
}

TEST_F(TlsStreamTest, keeps_the_certificate_where_there_is_no_better_one) {
  Files::write(files.certificate, certificate_pem(make_key(), "two"));
  EXPECT_EQ(context->reload().error(), TlsErrc::key_mismatch) << "one of two files was replaced";
  std::remove(files.certificate.c_str());
  EXPECT_EQ(context->reload().error(), TlsErrc::no_certificate_file);
  TlsStream server(*context);
  TlsClient client;
  talk(server, client);
  EXPECT_EQ(server.state(), TlsState::open);
  EXPECT_EQ(subject(client), "one");
}

TEST_F(TlsStreamTest, answers_plain_http_in_its_own_language) {
  for (const std::string_view method : {"GET", "POST", "PUT", "OPTIONS"}) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{1'000}}) {
      TlsStream server(*context);
      to_server(server, std::string(method) + " /app/key HTTP/1.1\r\nHost: a\r\n\r\n", piece);
      EXPECT_EQ(to_string(server.state()), "failed");
      EXPECT_EQ(to_string(server.failure()), "not_tls");
      const std::string_view answer = server.pending();
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 Bad Request\r\n")) << answer;
      const std::string_view body = answer.substr(answer.find("\r\n\r\n") + 4);
      EXPECT_NE(answer.find("Content-Length: " + std::to_string(body.size()) + "\r\n"), std::string_view::npos);
    }
  }
  EXPECT_EQ(received, "");
}

TEST_F(TlsStreamTest, fails_for_anything_else_that_is_no_tls) {
  std::mt19937 random{3};
  for (int round = 0; round < 300; ++round) {
    std::string bytes(1'000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2 == 0) bytes.replace(0, 3, "\x16\x03\x01");  // looks like a handshake
    if (round % 4 == 0) bytes.replace(3, 2, "\x00\x20"s);     // of a size that is there
    TlsStream server(*context);
    to_server(server, bytes, 1 + random() % 100);
    EXPECT_NE(server.state(), TlsState::open);
    EXPECT_LE(server.pending().size(), 200U);
  }
  EXPECT_EQ(received, "");

  TlsStream server(*context);
  EXPECT_EQ(to_server(server, "\x01\x02\x03\x04\x05\x06\x07\x08"), TlsState::failed);
  EXPECT_EQ(server.failure(), TlsFailure::not_tls);
}

TEST_F(TlsStreamTest, fails_where_versions_differ) {
  TlsStream server(*context);
  TlsClient client(TLS1_1_VERSION);
  talk(server, client);
  EXPECT_EQ(to_string(server.failure()), "no_common_version");
  EXPECT_EQ(client.reason, "tlsv1 alert protocol version") << "the client is told";
}

TEST_F(TlsStreamTest, fails_where_ciphers_differ) {
  TlsStream server(*context);
  TlsClient client(TLS1_2_VERSION);
  SSL_set_cipher_list(client.ssl(), "AES128-SHA:ECDHE-ECDSA-AES128-SHA");
  talk(server, client);
  EXPECT_EQ(to_string(server.failure()), "no_common_cipher");
  EXPECT_EQ(client.error, SSL_ERROR_SSL);
}

TEST_F(TlsStreamTest, agrees_on_http_1_1_alone) {
  constexpr std::array<unsigned char, 12> both{2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  TlsStream server(*context);
  TlsClient client;
  SSL_set_alpn_protos(client.ssl(), both.data(), both.size());
  talk(server, client);
  const unsigned char* agreed = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(client.ssl(), &agreed, &size);
  EXPECT_EQ(std::string(agreed, agreed + size), "http/1.1");

  TlsStream another(*context);
  TlsClient modern;
  SSL_set_alpn_protos(modern.ssl(), both.data(), 3);
  talk(another, modern);
  EXPECT_EQ(to_string(another.failure()), "no_common_protocol");
  EXPECT_EQ(modern.error, SSL_ERROR_SSL);
}

TEST_F(TlsStreamTest, fails_where_the_client_does_not_trust_it) {
  TlsStream server(*context);
  TlsClient client;
  SSL_set_verify(client.ssl(), SSL_VERIFY_PEER, nullptr);
  talk(server, client);
  EXPECT_EQ(to_string(server.failure()), "refused_by_client");
  EXPECT_EQ(server.failure_detail(), "tlsv1 alert unknown ca");
}

TEST_F(TlsStreamTest, does_not_renegotiate) {
  TlsStream server(*context);
  TlsClient client(TLS1_2_VERSION);
  talk(server, client);
  ASSERT_EQ(SSL_renegotiate(client.ssl()), 1);
  SSL_do_handshake(client.ssl());
  talk(server, client);
  EXPECT_EQ(client.reason, "no renegotiation");
}

TEST_F(TlsStreamTest, bounds_what_a_client_can_make_it_say) {
  TlsStream server(*context);
  TlsClient client(TLS1_3_VERSION);
  talk(server, client);
  const auto ask = [&] {
    SSL_key_update(client.ssl(), SSL_KEY_UPDATE_REQUESTED);
    SSL_do_handshake(client.ssl());
    to_server(server, client.take());
  };
  for (int i = 0; i < 3'000; ++i) {
    ask();
    to_client(server, client);
  }
  client.send("alive");
  talk(server, client);
  EXPECT_EQ(received, "alive") << "a client that reads its answers may ask";

  for (int i = 0; i < 5'000 && server.state() == TlsState::open; ++i) ask();
  EXPECT_LE(server.pending().size(), TlsStream::most_pending);
  EXPECT_EQ(to_string(server.failure()), "too_much_pending");
}

TEST_F(TlsStreamTest, may_always_have_something_pending) {
  TlsStream server(*context);
  TlsClient client(TLS1_3_VERSION);
  talk(server, client);
  std::string on_the_way;
  for (int i = 0; i < 4'000; ++i) {
    SSL_key_update(client.ssl(), SSL_KEY_UPDATE_REQUESTED);
    SSL_do_handshake(client.ssl());
    to_server(server, client.take());
    if (server.pending().empty()) continue;  // OpenSSL answers the first together with the second
    on_the_way += server.pending().substr(0, server.pending().size() - 1);
    server.sent(server.pending().size() - 1);
  }
  EXPECT_GT(on_the_way.size(), TlsStream::most_pending) << "more than may wait at a time";
  EXPECT_EQ(server.state(), TlsState::open);
  client.feed(on_the_way);
  to_client(server, client);
  EXPECT_EQ(server.seal("hello"), 5U);
  to_client(server, client);
  EXPECT_EQ(client.received, "hello");
}

TEST_F(TlsStreamTest, resumes_a_session_that_the_client_kept) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsStream server(*context);
    TlsClient client(version);
    talk(server, client);
    SSL_SESSION* const session = SSL_get1_session(client.ssl());
    TlsStream again(*context);
    TlsClient returning(version);
    SSL_set_session(returning.ssl(), session);
    talk(again, returning);
    EXPECT_EQ(again.state(), TlsState::open);
    EXPECT_EQ(SSL_session_reused(returning.ssl()), 1);
    SSL_SESSION_free(session);
  }
}

TEST_F(TlsStreamTest, says_nothing_when_it_ends_before_it_began) {
  TlsStream server(*context);
  server.close();
  EXPECT_EQ(server.pending(), "");
  EXPECT_EQ(server.state(), TlsState::handshaking);
  EXPECT_EQ(server.feed({}, received), TlsState::handshaking);
}

}  // namespace
