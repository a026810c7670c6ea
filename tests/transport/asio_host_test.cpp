#include <fanfare/transport/asio_host.hpp>

#include <gtest/gtest.h>

#include <asio/io_context.hpp>

#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <chrono>
#include <memory>
#include <string_view>

// What a host's event loop does for its clients is tested through a server: see server_test.cpp.
namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using transport::AsioHost;
using transport::Loop;
using transport::LoopGroup;

class AsioHostTest : public testing::Test {
 protected:
  AsioHostTest() {
    EXPECT_FALSE(loop->open());
    group.loops.push_back(loop);
    host = std::make_shared<AsioHost>(context.get_executor(), loop);
  }

  asio::io_context context;
  pusher::AppList apps;
  LoopGroup group{{}, apps};
  std::shared_ptr<Loop> loop = std::make_shared<Loop>(group, 0U);
  std::shared_ptr<AsioHost> host;
};

TEST_F(AsioHostTest, RunsTheLoopWhenThereIsSomethingToDo) {
  host->begin();
  context.run_for(20ms);
  EXPECT_EQ(context.poll(), 0U) << "nothing is done while nothing happens";
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
  loop->adopt(ends[0]);
  context.run_for(20ms);
  constexpr std::string_view request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_EQ(::send(ends[1], request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  context.run_for(20ms);
  std::array<char, 12> answer{};
  ASSERT_EQ(::recv(ends[1], answer.data(), answer.size(), MSG_DONTWAIT), 12);
  EXPECT_EQ(std::string_view(answer.data(), answer.size()), "HTTP/1.1 404");
  ::close(ends[1]);
  context.run_for(20ms);
  EXPECT_EQ(loop->load(), 0U);
  host->end();
  context.run();
}

TEST_F(AsioHostTest, RunsItWhenItIsDue) {
  host->begin();
  context.run_for(20ms);
  const auto due = loop->due();
  context.run_for(1100ms);
  EXPECT_GT(loop->due(), due) << "the sweep was";
  host->end();
  context.run();
}

TEST_F(AsioHostTest, LeavesTheContextWithoutWorkWhenTheLoopHasEnded) {
  host->begin();
  context.run_for(20ms);
  loop->drain(0ms);
  context.run();
  EXPECT_TRUE(loop->drained());
  host.reset();
  EXPECT_EQ(loop.use_count(), 2) << "ours and the group's";
}

TEST_F(AsioHostTest, MayEndBeforeItHasBegun) {
  host->end();
  context.run();
  EXPECT_TRUE(loop->drained());
}

}  // namespace
