/// \file
/// TLS as a machine without I/O: ciphertext in, plaintext out, and the other way round. The server's side. Needs OpenSSL 3
/// (libssl and libcrypto), which are libraries to link.
#pragma once

#include <fanfare/detail/config.hpp>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/tls1.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Why a certificate and its key cannot be used.
enum class TlsErrc : std::uint8_t {
  ok,
  no_certificate_file,  ///< The file does not exist, or may not be read.
  bad_certificate,      ///< It holds no certificate in PEM, or one that OpenSSL does not accept.
  no_key_file,          ///< The file does not exist, or may not be read.
  bad_key,              ///< It holds no private key in PEM, or an encrypted one.
  key_mismatch,         ///< The key is not the certificate's.
  system,               ///< OpenSSL has no memory, or its configuration does not allow what is wanted.
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(TlsErrc error) noexcept {
  switch (error) {
    case TlsErrc::ok: return "ok";
    case TlsErrc::no_certificate_file: return "no_certificate_file";
    case TlsErrc::bad_certificate: return "bad_certificate";
    case TlsErrc::no_key_file: return "no_key_file";
    case TlsErrc::bad_key: return "bad_key";
    case TlsErrc::key_mismatch: return "key_mismatch";
    case TlsErrc::system: return "system";
  }
  return "unknown";
}

/// How it went to load a certificate and its key.
class [[nodiscard]] TlsResult {
 public:
  TlsResult() = default;
  /// What went wrong, and with which file.
  TlsResult(TlsErrc error, std::string text) : error_(error), text_(std::move(text)) {}

  /// Whether all is well.
  [[nodiscard]] explicit operator bool() const noexcept { return error_ == TlsErrc::ok; }
  /// For programs: what went wrong.
  [[nodiscard]] TlsErrc error() const noexcept { return error_; }
  /// For people: what is wrong with which file. Empty if all is well.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  TlsErrc error_ = TlsErrc::ok;
  std::string text_;
};

/// Why a connection failed. It cannot go on; what is `pending` may still be sent, as it tells the client.
enum class TlsFailure : std::uint8_t {
  none = 0,
  not_tls,             ///< The first byte is none of TLS. To plain HTTP, an answer of status 400 is pending.
  no_common_version,   ///< The client speaks nothing from TLS 1.2 on.
  no_common_cipher,    ///< The client has no cipher, group or signature that is accepted here.
  no_common_protocol,  ///< The client wants a protocol (ALPN), and not `http/1.1`.
  bad_record,          ///< Something was changed on its way, or was never TLS.
  refused_by_client,   ///< The client has sent a fatal alert; often it does not trust the certificate.
  too_much_pending,    ///< The client makes the server answer and reads nothing.
  out_of_memory,       ///< There was no memory for this connection.
  protocol_error,      ///< The client broke another rule of TLS.
};

/// One English sentence without a full stop.
[[nodiscard]] constexpr std::string_view message(TlsFailure failure) noexcept {
  switch (failure) {
    case TlsFailure::none: return "no error";
    case TlsFailure::not_tls: return "the client does not speak TLS";
    case TlsFailure::no_common_version: return "the client does not speak TLS 1.2 or later";
    case TlsFailure::no_common_cipher: return "the client has no cipher, group or signature in common with the server";
    case TlsFailure::no_common_protocol: return "the client wants a protocol other than http/1.1";
    case TlsFailure::bad_record: return "a record is damaged";
    case TlsFailure::refused_by_client: return "the client has refused the connection";
    case TlsFailure::too_much_pending: return "the client asks for answers and does not read them";
    case TlsFailure::out_of_memory: return "memory is exhausted";
    case TlsFailure::protocol_error: return "the client broke a rule of TLS";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(TlsFailure failure) noexcept {
  switch (failure) {
    case TlsFailure::none: return "none";
    case TlsFailure::not_tls: return "not_tls";
    case TlsFailure::no_common_version: return "no_common_version";
    case TlsFailure::no_common_cipher: return "no_common_cipher";
    case TlsFailure::no_common_protocol: return "no_common_protocol";
    case TlsFailure::bad_record: return "bad_record";
    case TlsFailure::refused_by_client: return "refused_by_client";
    case TlsFailure::too_much_pending: return "too_much_pending";
    case TlsFailure::out_of_memory: return "out_of_memory";
    case TlsFailure::protocol_error: return "protocol_error";
  }
  return "unknown";
}

/// Where a connection stands.
enum class TlsState : std::uint8_t {
  handshaking,  ///< Nothing can be sealed yet.
  open,
  closed,  ///< The client has said that it sends no more. What it is owed can still be sealed.
  failed,  ///< See `TlsStream::failure`.
};

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(TlsState state) noexcept {
  switch (state) {
    case TlsState::handshaking: return "handshaking";
    case TlsState::open: return "open";
    case TlsState::closed: return "closed";
    case TlsState::failed: return "failed";
  }
  return "unknown";
}

namespace detail {

template <auto Free>
struct TlsFree {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};
using SslContextPtr = std::unique_ptr<SSL_CTX, TlsFree<SSL_CTX_free>>;
using BioMethodPtr = std::unique_ptr<BIO_METHOD, TlsFree<BIO_meth_free>>;
using BioPtr = std::unique_ptr<BIO, TlsFree<BIO_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, TlsFree<EVP_PKEY_free>>;

/// What streams are made of. Never changed, so any number of threads may use it.
struct TlsSetup {
  SslContextPtr context;
  BioMethodPtr method;
};

/// What OpenSSL has to say about its first failure on this thread since its errors were cleared: what came of it follows.
[[nodiscard]] inline std::string tls_reason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_error());
  return reason != nullptr ? reason : "OpenSSL does not say why";
}

/// \returns  empty if the file can be opened for reading, else why it cannot.
[[nodiscard]] inline std::string why_unreadable(const std::string& file) {
  std::FILE* const stream = std::fopen(file.c_str(), "rb");
  if (stream == nullptr) return std::generic_category().message(errno);
  std::fclose(stream);
  return {};
}

/// OpenSSL would ask for a passphrase at the terminal.
inline int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) noexcept {
  *static_cast<bool*>(asked) = true;
  return -1;
}

/// Agrees on `http/1.1`, and on nothing else (RFC 7301 §3.2).
inline int select_http(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                       unsigned in_size, void* /*argument*/) noexcept {
  static constexpr unsigned char known[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  const int found = SSL_select_next_proto(const_cast<unsigned char**>(out), out_size, known, sizeof known, in, in_size);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/// Everything but the certificate.
[[nodiscard]] inline bool configure(SSL_CTX& context) noexcept {
  SSL_CTX_set_options(&context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(&context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
  // Sessions are kept by the clients, in tickets. One is enough for a client that makes one connection.
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(&context, 1);
  SSL_CTX_set_alpn_select_cb(&context, select_http, nullptr);
  return SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION) == 1 &&
         // Of TLS 1.2: forward secrecy and authenticated encryption. Those of TLS 1.3 all have both.
         SSL_CTX_set_cipher_list(&context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1;
}

}  // namespace detail

struct TlsLoaded;

/// A certificate with its key, for the connections of a server.
///
/// Thread safety: `reload` and the making of streams from any thread at any time.
class TlsContext {
 public:
  /// Reads a certificate and its key.
  ///
  /// \param certificate_file  PEM: the server's certificate, and behind it those between it and the root.
  /// \param key_file          PEM: its private key, without a passphrase.
  /// \throws                  `std::bad_alloc`.
  [[nodiscard]] static TlsLoaded load(std::string certificate_file, std::string key_file);

  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  /// Reads the same files again, for connections that come from now on; those that there are go on as they are. Where it
  /// fails, everything stays as it was.
  /// \throws  `std::bad_alloc`; likewise.
  TlsResult reload() {
    std::shared_ptr<const detail::TlsSetup> fresh;
    if (TlsResult done = read(fresh); !done) {
      ERR_clear_error();  // others on this thread may look for their own
      return done;
    }
    const std::lock_guard lock(mutex_);
    setup_.swap(fresh);
    return {};
  }

 private:
  friend class TlsStream;

  TlsContext(std::string certificate_file, std::string key_file)
      : certificate_file_(std::move(certificate_file)), key_file_(std::move(key_file)) {}

  [[nodiscard]] std::shared_ptr<const detail::TlsSetup> setup() const {
    const std::lock_guard lock(mutex_);
    return setup_;
  }

  TlsResult read(std::shared_ptr<const detail::TlsSetup>& result) const {
    ERR_clear_error();
    detail::TlsSetup setup;
    setup.context.reset(SSL_CTX_new(TLS_server_method()));
    if (setup.context == nullptr || !detail::configure(*setup.context)) return failed("cannot set up TLS: ");
    if (TlsResult done = read_certificate(*setup.context); !done) return done;
    if (TlsResult done = read_key(*setup.context); !done) return done;
    if (TlsResult done = make_method(setup.method); !done) return done;
    result = std::make_shared<const detail::TlsSetup>(std::move(setup));
    return {};
  }

  TlsResult read_certificate(SSL_CTX& context) const {
    if (const std::string why = detail::why_unreadable(certificate_file_); !why.empty()) {
      return {TlsErrc::no_certificate_file, "cannot read the certificate " + certificate_file_ + ": " + why};
    }
    if (SSL_CTX_use_certificate_chain_file(&context, certificate_file_.c_str()) != 1) {
      return {TlsErrc::bad_certificate,
              certificate_file_ + " holds no certificate that can be used: " + detail::tls_reason()};
    }
    return {};
  }

  TlsResult read_key(SSL_CTX& context) const {
    if (const std::string why = detail::why_unreadable(key_file_); !why.empty()) {
      return {TlsErrc::no_key_file, "cannot read the key " + key_file_ + ": " + why};
    }
    const detail::BioPtr file(BIO_new_file(key_file_.c_str(), "rb"));
    bool encrypted = false;
    const detail::KeyPtr key(
        file != nullptr ? PEM_read_bio_PrivateKey(file.get(), nullptr, detail::no_passphrase, &encrypted) : nullptr);
    if (encrypted) {
      return {TlsErrc::bad_key, "the key in " + key_file_ + " has a passphrase; it must have none"};
    }
    if (key == nullptr) {
      return {TlsErrc::bad_key, key_file_ + " holds no private key that can be used: " + detail::tls_reason()};
    }
    if (X509_check_private_key(SSL_CTX_get0_certificate(&context), key.get()) != 1) {
      return {TlsErrc::key_mismatch,
              "the key in " + key_file_ + " does not belong to the certificate in " + certificate_file_};
    }
    if (SSL_CTX_use_PrivateKey(&context, key.get()) != 1) {
      return {TlsErrc::bad_key, "the key in " + key_file_ + " cannot be used: " + detail::tls_reason()};
    }
    return {};
  }

  static TlsResult make_method(detail::BioMethodPtr& method);

  static TlsResult failed(std::string what) { return {TlsErrc::system, std::move(what) + detail::tls_reason()}; }

  const std::string certificate_file_;
  const std::string key_file_;
  mutable std::mutex mutex_;
  std::shared_ptr<const detail::TlsSetup> setup_;  // never null once `load` has returned it
};

/// What `TlsContext::load` returns.
struct [[nodiscard]] TlsLoaded {
  TlsResult result;
  std::unique_ptr<TlsContext> context;  ///< null where it failed
};

/// The server's side of one connection.
///
/// Its owner moves bytes: what the socket gives goes into `feed`, and what `pending` shows goes to the socket, in that
/// order and after each call. `seal` takes a record at a time and only when nothing is pending, so what waits is a record
/// and some answers of TLS itself: at most `most_pending` bytes.
///
/// TLS 1.2 and 1.3; no renegotiation, no compression, no early data, no client certificates; of ALPN `http/1.1` alone.
/// Buffers are there only while they hold something.
///
/// Thread safety: distinct objects, also of one context. One that was moved from can only be destroyed.
class TlsStream {
 public:
  /// The most plaintext that one record holds.
  static constexpr std::size_t most_plaintext = SSL3_RT_MAX_PLAIN_LENGTH;
  /// The most ciphertext that may be pending. A certificate's chain must fit as well.
  static constexpr std::size_t most_pending = std::size_t{64} * 1024;

  /// With the certificate that the context has now; the context may go before it. Without memory it has `failed`.
  explicit TlsStream(const TlsContext& context) noexcept : setup_(context.setup()) {
    ERR_clear_error();
    ssl_.reset(SSL_new(setup_->context.get()));
    bio_ = ssl_ != nullptr ? BIO_new(setup_->method.get()) : nullptr;
    if (bio_ == nullptr) {
      fail(TlsFailure::out_of_memory);
      return;
    }
    BIO_set_init(bio_, 1);
    SSL_set_bio(ssl_.get(), bio_, bio_);
    SSL_set_accept_state(ssl_.get());
  }
  TlsStream(TlsStream&&) noexcept = default;
  TlsStream& operator=(TlsStream&&) = delete;

  /// Takes what the client sent. What is behind a failure, or behind the client's end, is dropped.
  ///
  /// \param ciphertext  in pieces of any size.
  /// \param plaintext   what is appended to: at most the size of the ciphertext and one record of what came before it.
  ///                    What came before a failure is appended too.
  /// \returns           as `state`.
  /// \complexity        O(size). It allocates if the plaintext needs to grow, and what OpenSSL allocates for a record.
  TlsState feed(std::span<const char> ciphertext, std::string& plaintext) noexcept {
    if (state_ == TlsState::failed || state_ == TlsState::closed) return state_;
    if (!heard_ && !ciphertext.empty()) {
      heard_ = true;
      first_byte_ = ciphertext.front();
    }
    const Attachment attachment(*this, ciphertext);
    std::array<char, most_plaintext> record;
    for (;;) {
      const std::size_t left = input_.size();
      std::size_t size = 0;
      ERR_clear_error();
      const bool read = SSL_read_ex(ssl_.get(), record.data(), record.size(), &size) == 1;
      if (state_ == TlsState::handshaking && SSL_is_init_finished(ssl_.get()) == 1) state_ = TlsState::open;
      if (read) {
        if (append(plaintext, {record.data(), size})) continue;
        fail(TlsFailure::out_of_memory);
        return state_;
      }
      switch (SSL_get_error(ssl_.get(), 0)) {
        case SSL_ERROR_WANT_READ:
          if (input_.empty()) return state_;
          if (input_.size() < left) continue;
          fail(TlsFailure::protocol_error);  // it would go on like this for ever
          return state_;
        case SSL_ERROR_ZERO_RETURN: return state_ = TlsState::closed;
        default: fail(failure_of_openssl()); return state_;
      }
    }
  }

  /// Encrypts the beginning of a text. Nothing is taken while the handshake lasts, while something is pending, after
  /// `close` and after a failure.
  ///
  /// \returns     how much was taken: all of it, or `most_plaintext`, or nothing.
  /// \complexity  O(what is taken); allocates the room for the record.
  std::size_t seal(std::string_view plaintext) noexcept {
    const bool ready = state_ == TlsState::open || state_ == TlsState::closed;
    if (!ready || output_closed_ || plaintext.empty() || !pending_.empty()) return 0;
    const Attachment attachment(*this, {});
    std::size_t taken = 0;
    ERR_clear_error();
    const std::size_t most = std::min(plaintext.size(), most_plaintext);
    if (SSL_write_ex(ssl_.get(), plaintext.data(), most, &taken) == 1) return taken;
    fail(failure_of_openssl());
    return 0;
  }

  /// Ciphertext for the socket. Valid until the next call that is not const.
  [[nodiscard]] std::string_view pending() const noexcept { return std::string_view(pending_).substr(sent_); }

  /// So much of `pending` has been sent. \pre no more than there is.
  void sent(std::size_t size) noexcept {
    FANFARE_ASSERT(size <= pending_.size() - sent_, "more was sent than was pending");
    sent_ += size;
    if (sent_ < pending_.size()) return;
    sent_ = 0;
    pending_.clear();
    if (pending_.capacity() > keep_pending) std::string().swap(pending_);
  }

  /// Tells the client that nothing follows. Input can still come. During the handshake there is nothing to tell.
  void close() noexcept {
    if (state_ == TlsState::failed || std::exchange(output_closed_, true)) return;
    if (state_ == TlsState::handshaking) return;
    const Attachment attachment(*this, {});
    ERR_clear_error();
    if (SSL_shutdown(ssl_.get()) < 0) fail(failure_of_openssl());
  }

  /// How far the connection has come.
  [[nodiscard]] TlsState state() const noexcept { return state_; }
  /// Whether the two sides are still agreeing on keys.
  [[nodiscard]] bool handshaking() const noexcept { return state_ == TlsState::handshaking; }
  /// Why it failed; `none` where it has not.
  [[nodiscard]] TlsFailure failure() const noexcept { return failure_; }
  /// The same in the words of OpenSSL, for logs; empty where it has none.
  [[nodiscard]] std::string_view failure_detail() const noexcept { return detail_; }

 private:
  friend class TlsContext;

  static constexpr std::size_t keep_pending = 512;
  static constexpr std::string_view answer_to_http =
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 40\r\n"
      "Connection: close\r\n\r\nThis port speaks TLS: https:// or wss://";

  /// Lets OpenSSL read from, and write to, this object, which may have been moved since the last time.
  class Attachment {
   public:
    Attachment(TlsStream& stream, std::span<const char> input) noexcept : stream_(stream) {
      stream.input_ = input;
      BIO_set_data(stream.bio_, &stream);
    }
    Attachment(const Attachment&) = delete;
    Attachment& operator=(const Attachment&) = delete;
    ~Attachment() {
      stream_.input_ = {};
      BIO_set_data(stream_.bio_, nullptr);
    }

   private:
    TlsStream& stream_;
  };

  /// \returns  whether there was memory.
  static bool append(std::string& to, std::string_view bytes) noexcept {
    try {
      to.append(bytes);
      return true;
    } catch (...) {
      return false;
    }
  }

  static int read_input(BIO* bio, char* to, std::size_t size, std::size_t* done) noexcept {
    BIO_clear_retry_flags(bio);
    auto* const stream = static_cast<TlsStream*>(BIO_get_data(bio));
    *done = stream != nullptr ? std::min(size, stream->input_.size()) : 0;
    if (*done == 0) {
      BIO_set_retry_read(bio);
      return 0;
    }
    std::copy_n(stream->input_.data(), *done, to);
    stream->input_ = stream->input_.subspan(*done);
    return 1;
  }

  static int write_output(BIO* bio, const char* bytes, std::size_t size, std::size_t* done) noexcept {
    BIO_clear_retry_flags(bio);
    *done = 0;
    auto* const stream = static_cast<TlsStream*>(BIO_get_data(bio));
    if (stream == nullptr) return 0;
    if (size > most_pending - stream->pending().size()) {
      stream->output_failure_ = TlsFailure::too_much_pending;
      return 0;
    }
    // What was sent must not stay in front for as long as there is always something behind it.
    stream->pending_.erase(0, std::exchange(stream->sent_, 0));
    if (!append(stream->pending_, {bytes, size})) {
      stream->output_failure_ = TlsFailure::out_of_memory;
      return 0;
    }
    *done = size;
    return 1;
  }

  static long control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) noexcept {
    return command == BIO_CTRL_FLUSH ? 1 : 0;  // all else is for other kinds
  }

  void fail(TlsFailure failure) noexcept {
    state_ = TlsState::failed;
    failure_ = failure;
    ERR_clear_error();  // others on this thread may look for their own
    if (failure != TlsFailure::not_tls || first_byte_ < 'A' || first_byte_ > 'Z') return;
    // An alert would mean nothing to it.
    sent_ = 0;
    pending_.clear();
    append(pending_, answer_to_http);
  }

  /// What the last call of OpenSSL on this thread failed for.
  [[nodiscard]] TlsFailure failure_of_openssl() noexcept {
    // The first, but for those of the layers below, which say less.
    unsigned long error = 0;
    while (const unsigned long next = ERR_get_error()) {
      if (error == 0 || (ERR_GET_LIB(error) != ERR_LIB_SSL && ERR_GET_LIB(next) == ERR_LIB_SSL)) error = next;
    }
    if (const char* const reason = ERR_reason_error_string(error); reason != nullptr) detail_ = reason;
    if (output_failure_ != TlsFailure::none) return output_failure_;
    constexpr char handshake_record = SSL3_RT_HANDSHAKE;
    if (state_ == TlsState::handshaking && first_byte_ != handshake_record) return TlsFailure::not_tls;
    const int reason = ERR_GET_REASON(error);
    if (reason == ERR_R_MALLOC_FAILURE) return TlsFailure::out_of_memory;
    if (ERR_GET_LIB(error) != ERR_LIB_SSL) return TlsFailure::protocol_error;
    if (reason >= SSL_AD_REASON_OFFSET) return TlsFailure::refused_by_client;
    switch (reason) {
      case SSL_R_UNSUPPORTED_PROTOCOL:
      case SSL_R_VERSION_TOO_LOW:
      case SSL_R_UNKNOWN_PROTOCOL: return TlsFailure::no_common_version;
      case SSL_R_NO_SHARED_CIPHER:
      case SSL_R_NO_SHARED_GROUPS:
      case SSL_R_NO_SUITABLE_KEY_SHARE:
      case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
      case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM: return TlsFailure::no_common_cipher;
      case SSL_R_NO_APPLICATION_PROTOCOL: return TlsFailure::no_common_protocol;
      case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
      case SSL_R_WRONG_VERSION_NUMBER:
      case SSL_R_BAD_RECORD_TYPE: return TlsFailure::bad_record;
      default: return TlsFailure::protocol_error;
    }
  }

  std::shared_ptr<const detail::TlsSetup> setup_;  // outlives what is made of it
  std::unique_ptr<SSL, detail::TlsFree<SSL_free>> ssl_;
  BIO* bio_ = nullptr;  // the SSL's
  std::string pending_;
  std::size_t sent_ = 0;  // of what is pending
  std::span<const char> input_;
  std::string_view detail_;
  TlsState state_ = TlsState::handshaking;
  TlsFailure failure_ = TlsFailure::none;
  TlsFailure output_failure_ = TlsFailure::none;
  bool output_closed_ = false;
  bool heard_ = false;
  char first_byte_ = 0;
};

inline TlsLoaded TlsContext::load(std::string certificate_file, std::string key_file) {
  TlsLoaded loaded;
  std::unique_ptr<TlsContext> context(new TlsContext(std::move(certificate_file), std::move(key_file)));
  loaded.result = context->reload();
  if (loaded.result) loaded.context = std::move(context);
  return loaded;
}

inline TlsResult TlsContext::make_method(detail::BioMethodPtr& method) {
  method.reset(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "fanfare"));
  if (method == nullptr || BIO_meth_set_read_ex(method.get(), TlsStream::read_input) != 1 ||
      BIO_meth_set_write_ex(method.get(), TlsStream::write_output) != 1 ||
      BIO_meth_set_ctrl(method.get(), TlsStream::control) != 1) {
    return failed("cannot set up TLS: ");
  }
  return {};
}

}  // namespace transport
FANFARE_NAMESPACE_END
