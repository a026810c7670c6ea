#include <fanfare/pusher/auth.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace {

using namespace fanfare;
using namespace std::string_view_literals;

constexpr std::string_view secret = "7ad3773142a6692b25b8";

struct Vector {
  std::string_view secret;
  std::string_view text;
  std::string_view hex;
};

class Signature : public testing::TestWithParam<Vector> {};

TEST_P(Signature, IsTheDocumentedOne) {
  const Vector& vector = GetParam();
  EXPECT_EQ(pusher::hmac_sha256_hex(vector.secret, vector.text), vector.hex);
  EXPECT_EQ(pusher::signature_matches(vector.secret, vector.text, vector.hex), !vector.secret.empty())
      << "with an empty secret everybody could sign";
}

TEST_P(Signature, DiffersInEveryDigit) {
  const Vector& vector = GetParam();
  for (std::size_t i = 0; i < vector.hex.size(); ++i) {
    std::string wrong(vector.hex);
    wrong[i] = wrong[i] == '0' ? '1' : '0';
    EXPECT_FALSE(pusher::signature_matches(vector.secret, vector.text, wrong)) << wrong;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Vectors, Signature,
    testing::Values(
        Vector{secret, "1234.1234:private-foobar", "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"},
        Vector{secret, R"(1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Pusher"}})",
               "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c"},
        Vector{secret, R"(1234.1234::user::{"id":"12345"})",
               "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"},
        Vector{secret,
               "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&"
               "body_md5=ec365a775a4cd0599faeb73354201b6f",
               "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"},
        // RFC 4231 test case 2
        Vector{"Jefe", "what do ya want for nothing?",
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        // of nothing with nothing, and with a null pointer for it
        Vector{""sv, ""sv, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"},
        Vector{{}, {}, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"}));

TEST(SignatureMatches, RefusesWhatIsNoSignature) {
  const std::string right = pusher::hmac_sha256_hex(secret, "text");
  EXPECT_FALSE(pusher::signature_matches(secret, "text", ""));
  EXPECT_FALSE(pusher::signature_matches(secret, "text", {}));
  EXPECT_FALSE(pusher::signature_matches(secret, "text", right.substr(1)));
  EXPECT_FALSE(pusher::signature_matches(secret, "text", right + "0"));
  EXPECT_FALSE(pusher::signature_matches(secret, "texT", right));
  EXPECT_FALSE(pusher::signature_matches("other", "text", right));
  std::string upper = right;
  for (char& c : upper) c = static_cast<char>(c >= 'a' && c <= 'f' ? c - 32 : c);
  EXPECT_FALSE(pusher::signature_matches(secret, "text", upper));
}

TEST(Signature, TakesBytesOfAnyKind) {
  const auto text = "a\0b\xff"sv;
  EXPECT_EQ(pusher::hmac_sha256_hex(text, text).size(), 64U);
  EXPECT_NE(pusher::hmac_sha256_hex(text, text), pusher::hmac_sha256_hex("a", "a"));
}

TEST(Md5, IsTheDocumentedOne) {
  EXPECT_EQ(pusher::md5_hex(R"({"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"})"),
            "ec365a775a4cd0599faeb73354201b6f");
  EXPECT_EQ(pusher::md5_hex("{}"), "99914b932bd37a50b983c5e7c90ae93b");
  EXPECT_EQ(pusher::md5_hex(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(pusher::md5_hex({}), "d41d8cd98f00b204e9800998ecf8427e");
}

// Made by one signer, one behind the other, and compared with libcrypto's own.
TEST(Signer, SignsWithSecretsOfAllSizes) {
  pusher::Signer signer;
  for (std::size_t size = 0; size <= 200; ++size) {
    const std::string key(size, static_cast<char>('a' + size % 26));
    const std::string text(3 * size, 'x');
    std::array<unsigned char, 32> expected{};
    unsigned bytes = 0;
    ASSERT_NE(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                   reinterpret_cast<const unsigned char*>(text.data()), text.size(), expected.data(), &bytes),
              nullptr);
    const auto hex = pusher::detail::hex(expected);
    const pusher::HexDigest<32> digest = signer.hmac_sha256(key, text);
    EXPECT_TRUE(digest.ok);
    EXPECT_EQ(digest.view(), std::string_view(hex.data(), hex.size())) << size;
    EXPECT_EQ(signer.signature_matches(key, text, digest.view()), !key.empty());
    EXPECT_FALSE(signer.signature_matches(key + 'a', text, digest.view()));
    EXPECT_EQ(digest.text(), pusher::hmac_sha256_hex(key, text));
  }
}

TEST(Signer, HashesAgainAndAgain) {
  pusher::Signer signer;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(signer.md5("{}").text(), "99914b932bd37a50b983c5e7c90ae93b");
    EXPECT_EQ(signer.md5({}).text(), "d41d8cd98f00b204e9800998ecf8427e");
    EXPECT_TRUE(signer.signature_matches("Jefe", "what do ya want for nothing?",
                                         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
  }
}

TEST(Signer, SignsWithAnyKeyAfterAnyOther) {
  const std::string text = "what is signed";
  std::vector<std::string> secrets{"a", "b", "", "a", "a", "ab", std::string("a\0", 2), "a"};
  for (const std::size_t size : {63U, 64U, 65U, 64U, 200U, 64U, 1U}) secrets.push_back(std::string(size, 's'));
  pusher::Signer signer;
  for (const std::string& one : secrets) {
    for (const std::string& other : secrets) {
      EXPECT_EQ(signer.hmac_sha256(one, text).text(), pusher::hmac_sha256_hex(one, text));
      EXPECT_EQ(signer.hmac_sha256(other, text).text(), pusher::hmac_sha256_hex(other, text));
    }
  }
  pusher::Signer moved = std::move(signer);
  EXPECT_EQ(moved.hmac_sha256("a", text).text(), pusher::hmac_sha256_hex("a", text));
  signer = pusher::Signer();
  EXPECT_EQ(signer.hmac_sha256("a", text).text(), pusher::hmac_sha256_hex("a", text));
}

// The properties of the whole process are changed: put back at the end.
TEST(Md5, IsEmptyWhereLibcryptoHasNone) {
  pusher::Signer before;
  EXPECT_TRUE(before.md5("{}").ok);
  ASSERT_EQ(EVP_set_default_properties(nullptr, "fips=yes"), 1);
  pusher::Signer signer;
  EXPECT_FALSE(signer.md5("{}").ok);
  EXPECT_EQ(signer.md5("{}").text(), "");
  EXPECT_FALSE(signer.hmac_sha256(secret, "text").ok);
  EXPECT_FALSE(signer.hmac_sha256(std::string(100, 's'), "text").ok);
  EXPECT_FALSE(signer.signature_matches(secret, "text", std::string(64, '0')));
  EXPECT_TRUE(before.md5("{}").ok) << "it has been found before";
  EXPECT_EQ(pusher::md5_hex("{}"), "");
  EXPECT_EQ(pusher::hmac_sha256_hex(secret, "text"), "");
  EXPECT_FALSE(pusher::signature_matches(secret, "text", ""));
  EXPECT_FALSE(pusher::signature_matches(secret, "text", std::string(64, '0')));
  ASSERT_EQ(EVP_set_default_properties(nullptr, ""), 1);
  EXPECT_TRUE(signer.md5("{}").ok) << "it is looked for again";
  EXPECT_EQ(pusher::md5_hex("{}"), "99914b932bd37a50b983c5e7c90ae93b");
}

}  // namespace
