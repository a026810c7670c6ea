// TLS for the client of a test, and a certificate for its server.
#pragma once

#include "support/socket_client.hpp"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <unistd.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace fanfare::test {

// A new key and a certificate that it has signed itself, in files that go with it.
class CertificateFiles {
 public:
  CertificateFiles() {
    const std::string base = testing::TempDir() + "fanfare_certificate_" + std::to_string(::getpid()) + "_" +
                             std::to_string(reinterpret_cast<std::uintptr_t>(this));
    certificate = base + ".crt";
    key = base + ".key";
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> made(EVP_EC_gen("P-256"), &EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> signed_by_itself(X509_new(), &X509_free);
    X509_set_version(signed_by_itself.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(signed_by_itself.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(signed_by_itself.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(signed_by_itself.get()), 3600);
    X509_set_pubkey(signed_by_itself.get(), made.get());
    X509_sign(signed_by_itself.get(), made.get(), EVP_sha256());
    write(certificate, [&](BIO* file) { return PEM_write_bio_X509(file, signed_by_itself.get()); });
    write(key,
          [&](BIO* file) { return PEM_write_bio_PrivateKey(file, made.get(), nullptr, nullptr, 0, nullptr, nullptr); });
  }
  CertificateFiles(const CertificateFiles&) = delete;
  CertificateFiles& operator=(const CertificateFiles&) = delete;
  ~CertificateFiles() {
    std::remove(certificate.c_str());
    std::remove(key.c_str());
  }

  std::string certificate;
  std::string key;

 private:
  template <class F>
  static void write(const std::string& name, F pem) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> file(BIO_new_file(name.c_str(), "w"), &BIO_free);
    if (file == nullptr || pem(file.get()) != 1) throw std::runtime_error(name + ": cannot be written");
  }
};

// Trusts everybody.
class TlsLayer final : public SocketLayer {
 public:
  TlsLayer() : context_(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free), ssl_(SSL_new(context_.get()), &SSL_free) {
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_.get());
  }

  std::string seal(std::string_view text) override {
    waiting_ += text;
    std::string none;
    return work(none);
  }
  std::string open(std::string_view bytes, std::string& text) override {
    BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
    return work(text);
  }

 private:
  std::string work(std::string& text) {
    std::array<char, 20'000> record;
    ERR_clear_error();
    int size = 0;
    while ((size = SSL_read(ssl_.get(), record.data(), record.size())) > 0) {
      text.append(record.data(), static_cast<std::size_t>(size));
    }
    if (SSL_is_init_finished(ssl_.get()) && !waiting_.empty()) {
      SSL_write(ssl_.get(), waiting_.data(), static_cast<int>(waiting_.size()));
      waiting_.clear();
    }
    std::string bytes(BIO_ctrl_pending(SSL_get_wbio(ssl_.get())), '\0');
    if (!bytes.empty()) BIO_read(SSL_get_wbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }

  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  std::string waiting_;  // until hands are shaken
};

}  // namespace fanfare::test
