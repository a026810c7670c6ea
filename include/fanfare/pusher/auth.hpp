/// \file
/// Signatures of the Pusher protocol: HMAC-SHA256 over what is said, MD5 over bodies. Needs OpenSSL's libcrypto, 3.0 or
/// later.
#pragma once

#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include <openssl/crypto.h>
#include <openssl/evp.h>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// A SHA-256 (32 bytes) or an MD5 (16) in lower-case hexadecimal digits.
template <std::size_t Bytes>
struct HexDigest {
  std::array<char, 2 * Bytes> digits{};
  bool ok = false;  ///< Whether libcrypto made it; the digits mean nothing otherwise.

  [[nodiscard]] std::string_view view() const noexcept { return {digits.data(), digits.size()}; }
  /// Empty where libcrypto failed. \throws `std::bad_alloc`.
  [[nodiscard]] std::string text() const { return ok ? std::string(view()) : std::string(); }
};

namespace detail {

/// Two lower-case hexadecimal digits for each byte.
template <std::size_t Bytes>
[[nodiscard]] constexpr std::array<char, 2 * Bytes> hex(const std::array<unsigned char, Bytes>& bytes) noexcept {
  constexpr std::string_view digits = "0123456789abcdef";
  std::array<char, 2 * Bytes> text{};
  for (std::size_t i = 0; i < Bytes; ++i) {
    text[2 * i] = digits[bytes[i] >> 4];
    text[2 * i + 1] = digits[bytes[i] & 0xf];
  }
  return text;
}

/// Whether two texts are the same, in a time that tells nothing but whether their sizes are.
[[nodiscard]] inline bool same_secretly(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

/// A hash function of libcrypto, which is found once, and room for one computation.
class Hash {
 public:
  /// \param name  a literal.
  explicit Hash(const char* name) noexcept : name_(name) {}

  /// The hash of the parts, one behind the other.
  /// \returns  false where libcrypto has no such hash or fails; the digest means nothing then.
  template <std::size_t Bytes>
  [[nodiscard]] bool operator()(std::array<unsigned char, Bytes>& digest,
                                std::initializer_list<std::string_view> parts) noexcept {
    if (hash_ == nullptr) hash_.reset(EVP_MD_fetch(nullptr, name_, nullptr));
    if (context_ == nullptr) context_.reset(EVP_MD_CTX_new());
    if (hash_ == nullptr || context_ == nullptr) return false;
    bool ok = EVP_DigestInit_ex2(context_.get(), hash_.get(), nullptr) == 1;
    for (const std::string_view part : parts) {
      ok = ok && (part.empty() || EVP_DigestUpdate(context_.get(), part.data(), part.size()) == 1);
    }
    unsigned size = 0;
    static_assert(Bytes <= EVP_MAX_MD_SIZE);
    return ok && EVP_MD_get_size(hash_.get()) == int{Bytes} &&
           EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1;
  }

 private:
  struct Free {
    void operator()(EVP_MD* hash) const noexcept { EVP_MD_free(hash); }
    void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
  };
  const char* name_;
  std::unique_ptr<EVP_MD, Free> hash_;
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}  // namespace detail

/// Signs and checks, again and again: what libcrypto has to look up and to allocate, it does for the first of each kind. A
/// later change of libcrypto's default properties does not reach what was found.
///
/// It knows no secret between two calls, and a key that changes needs nothing.
///
/// Thread safety: like an `int`: one for each thread.
class Signer {
 public:
  /// Signs a text (RFC 2104, FIPS 180-4). \complexity O(size).
  [[nodiscard]] HexDigest<32> hmac_sha256(std::string_view secret, std::string_view text) noexcept {
    constexpr std::size_t block_bytes = 64;
    std::array<unsigned char, 32> digest{};
    std::array<unsigned char, block_bytes> pad{};
    HexDigest<32> result;
    result.ok = secret.size() <= block_bytes || sha256_(digest, {secret});
    if (!result.ok) return result;
    if (secret.size() <= block_bytes) {
      std::copy(secret.begin(), secret.end(), pad.begin());
    } else {
      std::copy(digest.begin(), digest.end(), pad.begin());
    }
    for (unsigned char& byte : pad) byte ^= inner;
    result.ok = sha256_(digest, {view(pad), text});
    for (unsigned char& byte : pad) byte ^= inner ^ outer;
    result.ok = result.ok && sha256_(digest, {view(pad), view(digest)});
    OPENSSL_cleanse(pad.data(), pad.size());
    result.digits = detail::hex(digest);
    return result;
  }

  /// Whether `hex` is the signature of a text; see the function of this name. \complexity O(size of the text).
  [[nodiscard]] bool signature_matches(std::string_view secret, std::string_view text, std::string_view hex) noexcept {
    if (secret.empty()) return false;
    const HexDigest<32> expected = hmac_sha256(secret, text);
    return expected.ok && detail::same_secretly(expected.view(), hex);
  }

  /// The MD5 of a text; see `md5_hex`. \complexity O(size).
  [[nodiscard]] HexDigest<16> md5(std::string_view text) noexcept {
    std::array<unsigned char, 16> digest{};
    HexDigest<16> result;
    result.ok = md5_(digest, {text});
    result.digits = detail::hex(digest);
    return result;
  }

 private:
  static constexpr unsigned char inner = 0x36;  // RFC 2104 §2
  static constexpr unsigned char outer = 0x5c;

  template <std::size_t Bytes>
  [[nodiscard]] static std::string_view view(const std::array<unsigned char, Bytes>& bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), Bytes};
  }

  detail::Hash sha256_{"SHA256"};
  detail::Hash md5_{"MD5"};
};

/// Signs a text (RFC 2104, FIPS 180-4).
///
/// \returns     64 lower-case hexadecimal digits; empty where libcrypto fails.
/// \threads     any thread, concurrently.
/// \complexity  O(size).
/// \throws      `std::bad_alloc`.
[[nodiscard]] inline std::string hmac_sha256_hex(std::string_view secret, std::string_view text) {
  return Signer().hmac_sha256(secret, text).text();
}

/// Whether `hex` is what `hmac_sha256_hex` gives for this secret and text. A failure of libcrypto is no match, and nothing
/// matches an empty secret, with which everybody could sign.
///
/// The time it takes does not depend on the digits; one of the wrong number of them is refused at once. Digits in upper
/// case do not match.
///
/// \threads     any thread, concurrently.
/// \complexity  O(size of the text).
/// \throws      nothing.
[[nodiscard]] inline bool signature_matches(std::string_view secret, std::string_view text,
                                            std::string_view hex) noexcept {
  return Signer().signature_matches(secret, text, hex);
}

/// The MD5 of a text (RFC 1321), which the Pusher protocol takes over the bodies of requests. It guards nothing by
/// itself: the signature does.
///
/// \returns     32 lower-case hexadecimal digits; empty where libcrypto has no MD5, as where only FIPS algorithms are
///              allowed.
/// \threads     any thread, concurrently.
/// \complexity  O(size).
/// \throws      `std::bad_alloc`.
[[nodiscard]] inline std::string md5_hex(std::string_view text) { return Signer().md5(text).text(); }

}  // namespace pusher
FANFARE_NAMESPACE_END
