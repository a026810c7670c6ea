#include <fanfare/core/sink.hpp>

#include "support/memory.hpp"
#include "support/sinks.hpp"

#include <gtest/gtest.h>

namespace fanfare::test {
namespace {

MessagePtr some_message() {
  errc error = errc::ok;
  return MessagePtr::adopt(
      detail::MessageBlock<PlainAtomics, NewDelete>::make({"c", "e", "d"}, false, nullptr, NewDelete{}, error));
}

struct MayThrow {
  bool push(MessagePtr message);
};
struct ReturnsNothing {
  void push(MessagePtr message) noexcept;
};
struct TakesRoomThatMayThrow {
  bool push(MessagePtr /*message*/) noexcept { return true; }
  bool has_room(std::size_t bytes);
};
struct NotWire {
  static constexpr bool wire = false;
  bool push(MessagePtr /*message*/) noexcept { return true; }
};

TEST(Sink, NeedsAPushThatDoesNotThrowAndSaysWhetherItTook) {
  static_assert(Sink<Queue> && Sink<BoundedQueue> && Sink<WireQueue> && Sink<NotWire>);
  static_assert(!Sink<MayThrow> && !Sink<ReturnsNothing> && !Sink<int> && !Sink<const Queue>);
}

TEST(Sink, OptionalPartsHaveDefaults) {
  const detail::SinkOperations& operations = detail::OperationsOf<Queue>::value;
  Queue queue;
  EXPECT_TRUE(operations.has_room(&queue, 1'000'000));
  EXPECT_FALSE(operations.wire);
  EXPECT_TRUE(operations.push(&queue, some_message()));
  EXPECT_EQ(queue.texts(), (Strings{"e=d"}));
  queue.refuses = true;
  EXPECT_FALSE(operations.push(&queue, some_message()));
}

TEST(Sink, OptionalPartsAreUsed) {
  EXPECT_TRUE(detail::OperationsOf<WireQueue>::value.wire);
  EXPECT_FALSE(detail::OperationsOf<NotWire>::value.wire);
  BoundedQueue bounded;
  bounded.room = 10;
  EXPECT_TRUE(detail::OperationsOf<BoundedQueue>::value.has_room(&bounded, 10));
  EXPECT_FALSE(detail::OperationsOf<BoundedQueue>::value.has_room(&bounded, 11));
}

TEST(Sink, ARoomQuestionThatMayThrowIsNotAsked) {
  TakesRoomThatMayThrow sink;
  EXPECT_TRUE(detail::OperationsOf<TakesRoomThatMayThrow>::value.has_room(&sink, 1));
}

}  // namespace
}  // namespace fanfare::test
