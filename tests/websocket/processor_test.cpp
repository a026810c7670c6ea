#include <fanfare/websocket/processor.hpp>

#include "support/websocket.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using websocket::MessageLimits;
using websocket::ProcessorPool;
using websocket::Receiver;

static_assert(!std::is_copy_constructible_v<ProcessorPool> && !std::is_move_constructible_v<ProcessorPool>);

/// A connection in the middle of a message.
struct Connection {
  Receiver receiver;
  EventLog log;

  explicit Connection(ProcessorPool& pool) { feed(pool, text_frame("half").substr(0, 7)); }
  void feed(ProcessorPool& pool, std::string bytes) { receiver.feed(pool, bytes.data(), bytes.size(), log); }
  void finish(ProcessorPool& pool) { feed(pool, text_frame("half").substr(7)); }
};

TEST(ProcessorPool, HasWhatItWasMadeWith) {
  EXPECT_EQ(ProcessorPool{}.limits(), (MessageLimits{65'536, 1'024}));
  EXPECT_EQ((ProcessorPool{{10, 2}}.limits()), (MessageLimits{10, 2}));
}

TEST(ProcessorPool, MakesProcessorsAsTheyAreNeeded) {
  ProcessorPool pool;
  EXPECT_EQ(pool.attached(), 0U);
  EXPECT_EQ(pool.kept(), 0U);
  Connection one(pool);
  Connection two(pool);
  EXPECT_EQ(pool.attached(), 2U);
  one.finish(pool);
  EXPECT_EQ(pool.attached(), 1U);
  EXPECT_EQ(pool.kept(), 1U);
  const Connection three(pool);  // takes the one that is kept
  EXPECT_EQ(pool.attached(), 2U);
  EXPECT_EQ(pool.kept(), 0U);
}

TEST(ProcessorPool, KeepsSoManyAndNoMore) {
  for (const std::size_t keep : {0U, 1U, 3U}) {
    ProcessorPool pool({}, keep);
    {
      std::vector<Connection> connections;
      for (int i = 0; i < 10; ++i) connections.emplace_back(pool);
      EXPECT_EQ(pool.attached(), 10U);
      connections[4].finish(pool);
      EXPECT_EQ(connections[4].log.events, (Events{"text:half"}));
    }
    EXPECT_EQ(pool.attached(), 0U);
    EXPECT_EQ(pool.kept(), keep);
  }
}

TEST(ProcessorPool, AUsedProcessorIsLikeANewOne) {
  ProcessorPool pool({}, 1);
  // Left behind at every place of a fragmented text with a character across its frames and a ping in between.
  const std::string stream =
      client_frame(0x01, "a\xE2\x82") + ping_frame("p") + client_frame(0x00, "\xAC") + client_frame(0x80, "b");
  for (std::size_t at = 1; at < stream.size(); ++at) {
    {
      Receiver receiver;
      EventLog log;
      std::string begin = stream.substr(0, at);
      EXPECT_EQ(receiver.feed(pool, begin.data(), begin.size(), log).failure, 0);
    }
    EXPECT_EQ(pool.kept(), 1U);
    EXPECT_EQ(receive_bytewise(pool, text_frame("new")), (Outcome{{"text:new"}, 0})) << at;
    EXPECT_EQ(receive_bytewise(pool, stream), (Outcome{{"ping:p",
                                                        "text:a\xE2\x82\xAC"
                                                        "b"},
                                                       0}))
        << at;
    EXPECT_EQ(receive_bytewise(pool, client_frame(0x80, "x")), (Outcome{{}, 1002})) << at;
  }
}

TEST(ProcessorPool, ReceiversTakeTheirProcessorAlong) {
  ProcessorPool pool;
  Connection first(pool);
  EventLog log;
  const auto end = [&](Receiver& receiver) {
    std::string bytes = text_frame("half").substr(7);
    receiver.feed(pool, bytes.data(), bytes.size(), log);
  };
  Receiver moved(std::move(first.receiver));
  EXPECT_TRUE(moved.incomplete());
  EXPECT_EQ(pool.attached(), 1U);
  Connection second(pool);
  EXPECT_EQ(pool.attached(), 2U);
  second.receiver = std::move(moved);  // gives its own back
  EXPECT_EQ(pool.attached(), 1U);
  Receiver& same = second.receiver;
  second.receiver = std::move(same);
  end(second.receiver);
  EXPECT_EQ(log.events, (Events{"text:half"}));
  EXPECT_EQ(pool.attached(), 0U);
}

TEST(ProcessorPool, TenThousandIncompleteConnectionsLeaveNothing) {
  ProcessorPool pool;
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < 10'000; ++i) connections.push_back(std::make_unique<Connection>(pool));
  EXPECT_EQ(pool.attached(), 10'000U);
  for (std::size_t i = 0; i < connections.size(); i += 2) connections[i]->finish(pool);
  EXPECT_EQ(pool.attached(), 5'000U);
  connections.clear();
  EXPECT_EQ(pool.attached(), 0U);
  EXPECT_EQ(pool.kept(), 16U);
}

#if FANFARE_ASSERTS
TEST(ProcessorPoolDeathTest, WrongUsesAreOurMistakes) {
  EXPECT_DEATH((ProcessorPool{{10, 0}}), "at least one frame");
  EXPECT_DEATH(
      {
        auto pool = std::make_unique<ProcessorPool>();
        const Connection connection(*pool);
        pool.reset();
      },
      "outlives the pool");
  EXPECT_DEATH(
      {
        ProcessorPool one;
        ProcessorPool two;
        Connection connection(one);
        connection.finish(two);
      },
      "with one pool");
}
#endif

}  // namespace
}  // namespace fanfare::test
