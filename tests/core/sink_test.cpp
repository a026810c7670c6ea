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

struct LinkedMayThrow {
  bool push(MessagePtr message, MessageLink& link);
};
struct Both {
  bool push(MessagePtr /*message*/) noexcept { return false; }
  bool push(MessagePtr /*message*/, MessageLink& /*link*/) noexcept { return true; }
};
struct BothButOneMayThrow {
  bool push(MessagePtr /*message*/) noexcept { return true; }
  bool push(MessagePtr /*message*/, MessageLink& /*link*/) { throw 1; }
};

TEST(Sink, NeedsAPushThatDoesNotThrowAndSaysWhetherItTook) {
  static_assert(Sink<Queue> && Sink<BoundedQueue> && Sink<WireQueue> && Sink<NotWire>);
  static_assert(Sink<LinkedQueue> && Sink<Both> && Sink<BothButOneMayThrow>);
  static_assert(!Sink<LinkedMayThrow>);
  static_assert(!Sink<MayThrow> && !Sink<ReturnsNothing> && !Sink<int> && !Sink<const Queue>);
}

TEST(Sink, OptionalPartsHaveDefaults) {
  const detail::SinkOperations& operations = detail::OperationsOf<Queue>::value;
  Queue queue;
  EXPECT_TRUE(operations.has_room(&queue, 1'000'000));
  EXPECT_FALSE(operations.wire);
  EXPECT_FALSE(operations.linked);
  EXPECT_TRUE(operations.push(&queue, some_message(), nullptr));
  EXPECT_EQ(queue.texts(), (Strings{"e=d"}));
  queue.refuses = true;
  EXPECT_FALSE(operations.push(&queue, some_message(), nullptr));
}

TEST(Sink, OptionalPartsAreUsed) {
  EXPECT_TRUE(detail::OperationsOf<WireQueue>::value.wire);
  EXPECT_FALSE(detail::OperationsOf<NotWire>::value.wire);
  BoundedQueue bounded;
  bounded.room = 10;
  EXPECT_TRUE(detail::OperationsOf<BoundedQueue>::value.has_room(&bounded, 10));
  EXPECT_FALSE(detail::OperationsOf<BoundedQueue>::value.has_room(&bounded, 11));
}

TEST(Sink, ALinkIsHandedToThoseWhoWantOne) {
  const detail::SinkOperations& operations = detail::OperationsOf<LinkedQueue>::value;
  EXPECT_TRUE(operations.linked);
  MessageLink link;
  LinkedQueue queue;
  EXPECT_TRUE(operations.push(&queue, some_message(), &link));
  EXPECT_EQ(queue.first(), &link);
  EXPECT_EQ(queue.texts(), (Strings{"e=d"}));
  queue.refuses = true;
  EXPECT_FALSE(operations.push(&queue, some_message(), &link));
}

TEST(Sink, OfTwoPushesTheOneWithALinkIsUsedUnlessItMayThrow) {
  MessageLink link;
  Both both;
  EXPECT_TRUE(detail::OperationsOf<Both>::value.linked);
  EXPECT_TRUE(detail::OperationsOf<Both>::value.push(&both, some_message(), &link));
  BothButOneMayThrow other;
  EXPECT_FALSE(detail::OperationsOf<BothButOneMayThrow>::value.linked);
  EXPECT_TRUE(detail::OperationsOf<BothButOneMayThrow>::value.push(&other, some_message(), nullptr));
}

TEST(Sink, ARoomQuestionThatMayThrowIsNotAsked) {
  TakesRoomThatMayThrow sink;
  EXPECT_TRUE(detail::OperationsOf<TakesRoomThatMayThrow>::value.has_room(&sink, 1));
}

}  // namespace
}  // namespace fanfare::test
