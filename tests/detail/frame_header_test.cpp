#include <fanfare/detail/frame_header.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <string>

namespace {

using namespace fanfare;

std::string header_of(std::size_t payload) {
  std::array<char, detail::longest_frame_header> bytes{};
  const std::size_t size = detail::write_frame_header(bytes.data(), 0x1, payload);
  EXPECT_EQ(size, detail::frame_header_size(payload));
  return {bytes.data(), size};
}

TEST(FrameHeader, TakesTheShortestForm) {
  using namespace std::string_literals;
  EXPECT_EQ(header_of(0), "\x81\x00"s);
  EXPECT_EQ(header_of(125), "\x81\x7D"s);
  EXPECT_EQ(header_of(126), "\x81\x7E\x00\x7E"s);
  EXPECT_EQ(header_of(65535), "\x81\x7E\xFF\xFF"s);
  EXPECT_EQ(header_of(65536), "\x81\x7F\x00\x00\x00\x00\x00\x01\x00\x00"s);
  if constexpr (sizeof(std::size_t) == 8) {
    EXPECT_EQ(header_of(static_cast<std::size_t>(0x0123456789ABCDEFU)), "\x81\x7F\x01\x23\x45\x67\x89\xAB\xCD\xEF"s);
  }
}

}  // namespace
