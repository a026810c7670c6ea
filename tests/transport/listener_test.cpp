#include <fanfare/transport/listener.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using fanfare::transport::Listener;
using fanfare::transport::ListenError;

TEST(Listener, TakesAFreePortAndSaysWhich) {
  const Listener listener = Listener::open("127.0.0.1:0");
  ASSERT_EQ(listener.error, ListenError::none);
  EXPECT_EQ(listener.system, std::error_code{});
  ASSERT_GE(listener.descriptor, 0);
  EXPECT_TRUE(listener.endpoint.starts_with("127.0.0.1:"));
  EXPECT_NE(listener.endpoint, "127.0.0.1:0");
  EXPECT_NE(::fcntl(listener.descriptor, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(listener.descriptor, F_GETFL) & O_NONBLOCK, 0);

  const Listener second = Listener::open(listener.endpoint);
  EXPECT_EQ(second.error, ListenError::system);
  EXPECT_EQ(second.system, std::errc::address_in_use);
  EXPECT_EQ(second.descriptor, -1);
  EXPECT_EQ(second.endpoint, "");
  ::close(listener.descriptor);
  const Listener third = Listener::open(listener.endpoint);
  EXPECT_EQ(third.error, ListenError::none);
  EXPECT_EQ(third.endpoint, listener.endpoint);
  ::close(third.descriptor);
}

TEST(Listener, LooksNamesUp) {
  const Listener listener = Listener::open("localhost:0");
  ASSERT_EQ(listener.error, ListenError::none);
  ::close(listener.descriptor);
}

TEST(Listener, TakesVersion6InBrackets) {
  const Listener listener = Listener::open("[::1]:0");
  if (listener.error == ListenError::system) GTEST_SKIP() << "this machine has no IPv6: " << listener.system.message();
  ASSERT_EQ(listener.error, ListenError::none);
  EXPECT_TRUE(listener.endpoint.starts_with("[::1]:")) << listener.endpoint;
  ::close(listener.descriptor);
}

class BadAddress : public testing::TestWithParam<std::string_view> {};

TEST_P(BadAddress, IsRefused) {
  const Listener listener = Listener::open(GetParam());
  EXPECT_EQ(listener.error, ListenError::bad_address);
  EXPECT_EQ(listener.descriptor, -1);
  EXPECT_EQ(listener.endpoint, "");
}

INSTANTIATE_TEST_SUITE_P(All, BadAddress,
                         testing::Values("", ":", "6001", ":6001", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
                                         "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:80x", "127.0.0.1: 80", "::1:80",
                                         "[]:80", "[::1]", "[::1]80", "[::1:80", "[:::]:80", "256.1.1.1:80",
                                         "no such host:80"));

TEST(Listener, SaysWhyTheSystemRefuses) {
  // Of a network that is for documentation: no machine has it.
  const Listener listener = Listener::open("192.0.2.1:0");
  EXPECT_EQ(listener.error, ListenError::system);
  EXPECT_EQ(listener.system, std::errc::address_not_available);
}

}  // namespace
