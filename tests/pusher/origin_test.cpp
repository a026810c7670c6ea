#include <fanfare/pusher/origin.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using fanfare::pusher::origin_allowed;
using fanfare::pusher::origin_host;

TEST(Origin, HasAHost) {
  for (const auto& [origin, host] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"https://example.com", "example.com"},
           {"http://example.com:8080", "example.com"},
           {"https://a.b.example.com/path", "a.b.example.com"},
           {"http://[::1]:3000", "[::1]"},
           {"http://[::1]", "[::1]"},
           {"app://localhost", "localhost"},
           {"null", "null"},
           {"example.com", "example.com"},
           {"", ""},
           {"https://", ""},
           {"http://[::1", "[::1"},
           {"://:", ""},
       }) {
    EXPECT_EQ(origin_host(origin), host) << origin;
  }
}

struct OriginCase {
  std::string_view origin;
  std::vector<std::string> allowed;
  bool may;
};

class Origins : public testing::TestWithParam<OriginCase> {};

TEST_P(Origins, AreAllowedByTheirHosts) {
  EXPECT_EQ(origin_allowed(GetParam().origin, GetParam().allowed), GetParam().may) << GetParam().origin;
}

INSTANTIATE_TEST_SUITE_P(
    All, Origins,
    testing::Values(OriginCase{"https://example.com", {}, true}, OriginCase{"", {"example.com"}, true},
                    OriginCase{"https://example.com", {"example.com"}, true},
                    OriginCase{"https://EXAMPLE.com:1", {"example.COM"}, true},
                    OriginCase{"https://evil.com", {"example.com"}, false},
                    OriginCase{"https://evil.com", {"example.com", "evil.com"}, true},
                    OriginCase{"https://example.com.evil.com", {"example.com"}, false},
                    OriginCase{"https://evilexample.com", {"example.com", "*.example.com"}, false},
                    OriginCase{"https://a.example.com", {"example.com"}, false},
                    OriginCase{"https://a.example.com", {"*.example.com"}, true},
                    OriginCase{"https://a.b.Example.com", {"*.example.com"}, true},
                    OriginCase{"https://example.com", {"*.example.com"}, false},
                    OriginCase{"https://.example.com", {"*.example.com"}, false}, OriginCase{"https://x", {"*"}, true},
                    OriginCase{"null", {"example.com"}, false}, OriginCase{"null", {"null"}, true},
                    OriginCase{"https://", {"example.com"}, false}, OriginCase{"https://x", {""}, false},
                    OriginCase{"https://evil.com/example.com", {"example.com"}, false},
                    OriginCase{"https://evil.com#://example.com", {"example.com"}, false}));

}  // namespace
