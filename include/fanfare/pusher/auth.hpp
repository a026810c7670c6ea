/// \file
/// Signatures of the Pusher protocol: HMAC-SHA256 over what is said, MD5 over bodies. Needs OpenSSL's libcrypto, 3.0 or
/// later.
#pragma once

#include <fanfare/detail/config.hpp>

#include <array>
#include <climits>
#include <cstddef>
#include <string>
#include <string_view>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

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

/// A SHA-256 or an MD5 in hexadecimal digits. `ok` is false where libcrypto failed; the digits mean nothing then.
template <std::size_t Bytes>
struct HexDigest {
  std::array<char, 2 * Bytes> digits{};
  bool ok = false;

  [[nodiscard]] std::string_view view() const noexcept { return {digits.data(), digits.size()}; }
  [[nodiscard]] std::string text() const { return ok ? std::string(view()) : std::string(); }
};

/// libcrypto takes no null for "nothing".
[[nodiscard]] inline const unsigned char* bytes_of(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.empty() ? "" : text.data());
}

[[nodiscard]] inline HexDigest<32> hmac_sha256(std::string_view secret, std::string_view text) noexcept {
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  HexDigest<32> result;
  if (secret.size() > INT_MAX) return result;  // what libcrypto can be told
  result.ok = HMAC(EVP_sha256(), bytes_of(secret), static_cast<int>(secret.size()), bytes_of(text), text.size(),
                   digest.data(), &size) != nullptr &&
              size == digest.size();
  result.digits = hex(digest);
  return result;
}

[[nodiscard]] inline HexDigest<16> md5(std::string_view text) noexcept {
  std::array<unsigned char, 16> digest{};
  std::size_t size = 0;
  HexDigest<16> result;
  result.ok = EVP_Q_digest(nullptr, "MD5", nullptr, bytes_of(text), text.size(), digest.data(), &size) == 1 &&
              size == digest.size();
  result.digits = hex(digest);
  return result;
}

/// Whether two texts are the same, in a time that tells nothing but whether their sizes are.
[[nodiscard]] inline bool same_secretly(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace detail

/// Signs a text (RFC 2104, FIPS 180-4).
///
/// \returns     64 lower-case hexadecimal digits; empty where libcrypto fails.
/// \threads     any thread, concurrently.
/// \complexity  O(size).
/// \throws      `std::bad_alloc`.
[[nodiscard]] inline std::string hmac_sha256_hex(std::string_view secret, std::string_view text) {
  return detail::hmac_sha256(secret, text).text();
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
  if (secret.empty()) return false;
  const detail::HexDigest<32> expected = detail::hmac_sha256(secret, text);
  return expected.ok && detail::same_secretly(expected.view(), hex);
}

/// The MD5 of a text (RFC 1321), which the Pusher protocol takes over the bodies of requests. It guards nothing by
/// itself: the signature does.
///
/// \returns     32 lower-case hexadecimal digits; empty where libcrypto has no MD5, as where only FIPS algorithms are
///              allowed.
/// \threads     any thread, concurrently.
/// \complexity  O(size).
/// \throws      `std::bad_alloc`.
[[nodiscard]] inline std::string md5_hex(std::string_view text) { return detail::md5(text).text(); }

}  // namespace pusher
FANFARE_NAMESPACE_END
