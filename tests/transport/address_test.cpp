#include <fanfare/transport/address.hpp>

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <string>

namespace {

using fanfare::transport::AddressNumber;
using fanfare::transport::forwarded_address;
using fanfare::transport::peer_address;

TEST(Address, IsAnIpv4AddressOrAnIpv6Network) {
  const AddressNumber four = forwarded_address("192.0.2.1");
  EXPECT_NE(four, 0U);
  EXPECT_NE(four, forwarded_address("192.0.2.2"));
  EXPECT_EQ(four, forwarded_address("::ffff:192.0.2.1"));
  EXPECT_NE(forwarded_address("0.0.0.0"), 0U);
  const AddressNumber six = forwarded_address("2001:db8:1:2::1");
  EXPECT_EQ(six, forwarded_address("2001:db8:1:2:ffff::"));
  EXPECT_NE(six, forwarded_address("2001:db8:1:3::1"));
  EXPECT_NE(forwarded_address("::1"), 0U);
  EXPECT_NE(forwarded_address("::1"), forwarded_address("127.0.0.1"));
}

TEST(Address, IsTheLastThatAProxyNames) {
  const AddressNumber address = forwarded_address("192.0.2.1");
  for (const std::string list : {"10.0.0.1, 192.0.2.1", "nonsense,192.0.2.1 ", ",\t192.0.2.1", "192.0.2.1:4711"}) {
    EXPECT_EQ(forwarded_address(list), address) << list;
  }
  EXPECT_EQ(forwarded_address("[2001:db8::1]:4711"), forwarded_address("2001:db8::2"));
  EXPECT_EQ(forwarded_address("[2001:db8::1]"), forwarded_address("2001:db8::2"));
  for (const std::string list : {"", ",", "192.0.2.1,", "unknown", "_hidden", "192.0.2", "192.0.2.256", "[", "[]",
                                 "[:", ":", "[2001:db8::1", "1:2:3:4:5:6:7:8:9"}) {
    EXPECT_EQ(forwarded_address(list), list == "[2001:db8::1" ? forwarded_address("2001:db8::1") : 0U) << list;
  }
  EXPECT_EQ(forwarded_address(std::string(100'000, '1')), 0U);
  EXPECT_EQ(forwarded_address(std::string("192.0.2.1\0", 10)), 0U) << "NUL";
}

TEST(Address, IsThatOfASocketsPeer) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(peer_address(client), 0U) << "not connected";
  ASSERT_EQ(::connect(client, reinterpret_cast<const sockaddr*>(&address), size), 0);
  EXPECT_EQ(peer_address(client), forwarded_address("127.0.0.1"));
  ::close(client);
  ::close(listener);
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  EXPECT_EQ(peer_address(ends[0]), 0U) << "no network";
  for (const int end : ends) ::close(end);
  EXPECT_EQ(peer_address(-1), 0U);
}

}  // namespace
