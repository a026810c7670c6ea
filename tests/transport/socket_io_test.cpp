#include <fanfare/transport/socket_io.hpp>

#include <fanfare/server.hpp>

#include <gtest/gtest.h>

namespace fanfare::test {
namespace {

TEST(SocketIo, AServerChoosesByItself) { EXPECT_EQ(ServerOptions{}.io, transport::SocketIo::automatic); }

}  // namespace
}  // namespace fanfare::test
