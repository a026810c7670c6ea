#include <fanfare/core/resource_memory.hpp>

#include <fanfare/fanfare.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <memory_resource>

namespace fanfare::test {
namespace {

using Registry = ChannelRegistry<WithMemory<ResourceMemory>>;

TEST(ResourceMemory, IsTakenFromAndGivenBack) {
  std::array<std::byte, 256 * 1024> buffer;
  std::pmr::monotonic_buffer_resource piece(buffer.data(), buffer.size(), std::pmr::null_memory_resource());
  std::pmr::synchronized_pool_resource pool(&piece);
  Registry channels{{}, ResourceMemory{&pool}};
  auto inbox = channels.subscribe("LOBBY_42", Inbox{4});
  ASSERT_TRUE(inbox);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(channels.trigger("LOBBY_42", "TICK", "1").delivered, 1U);
    EXPECT_EQ(inbox.poll([](const Event&) {}), 1U);
  }
}

TEST(ResourceMemory, WithoutAnyTheRegistrySaysSo) {
  Registry channels{{}, ResourceMemory{std::pmr::null_memory_resource()}};
  EXPECT_EQ(channels.subscribe("LOBBY_42").error(), errc::out_of_memory);
  EXPECT_EQ(channels.trigger("LOBBY_42", "TICK").error, errc::out_of_memory);
}

TEST(ResourceMemory, IsTheDefaultResourceByDefault) {
  Registry channels;
  EXPECT_TRUE(channels.subscribe("LOBBY_42"));
}

}  // namespace
}  // namespace fanfare::test
