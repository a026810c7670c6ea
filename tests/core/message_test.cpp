#include <fanfare/core/message.hpp>

#include "support/memory.hpp"
#include "support/sinks.hpp"

#include <gtest/gtest.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace fanfare::test {
namespace {

template <class A>
class MessageTest : public ::testing::Test {
 protected:
  using Block = detail::MessageBlock<A, CountingMemory>;

  ~MessageTest() override {
    EXPECT_EQ(log_.live_blocks(), 0U);
    EXPECT_EQ(log_.mistakes(), "");
  }
  MessagePtr make(const MessageParts& parts, const Encoder* encoder = nullptr) {
    return MessagePtr::adopt(Block::make(parts, encoder != nullptr, encoder, CountingMemory{log_}, error_));
  }

  MemoryLog log_;
  errc error_ = errc::ok;
};
using AtomicsKinds = ::testing::Types<StdAtomics, PlainAtomics>;
TYPED_TEST_SUITE(MessageTest, AtomicsKinds);

std::string frame_of(const Message& message) {
  return {reinterpret_cast<const char*>(message.frame().data()), message.frame().size()};
}

TYPED_TEST(MessageTest, OwnsCopiesOfAllItsParts) {
  MessagePtr message;
  {
    std::string channel = "lobby";
    std::string name = "join";
    std::string data = "ann";
    std::string user = "7";
    std::string socket = "1.2";
    std::string except = "3.4";
    const MessageOrigin origin{user, socket, except};
    message = this->make({channel, name, data, &origin});
    for (std::string* text : {&channel, &name, &data, &user, &socket, &except}) text->assign(text->size(), '?');
  }
  ASSERT_TRUE(message);
  EXPECT_EQ(message->channel(), "lobby");
  EXPECT_EQ(message->name(), "join");
  EXPECT_EQ(message->data(), "ann");
  EXPECT_EQ(message->user_id(), "7");
  EXPECT_EQ(message->socket_id(), "1.2");
  EXPECT_EQ(message->except_socket(), "3.4");
  EXPECT_TRUE(message->frame().empty());
  EXPECT_FALSE(message->id());
}

TYPED_TEST(MessageTest, PartsMayBeEmptyAndHoldAnyBytes) {
  const std::string bytes{"\0\xff\n", 3};
  const MessagePtr message = this->make({"c", "e", bytes});
  EXPECT_EQ(message->data(), bytes);
  EXPECT_EQ(message->user_id(), "");
  const MessagePtr empty = this->make({"c", "e", {}});
  EXPECT_EQ(empty->data(), "");
  EXPECT_EQ((*empty).name(), "e");
}

TYPED_TEST(MessageTest, IsOneAllocation) {
  const LineEncoder encoder;
  const MessagePtr message = this->make({"c", "e", std::string(10'000, 'x')}, &encoder);
  EXPECT_EQ(this->log_.allocations(), 1U);
}

TYPED_TEST(MessageTest, LivesUntilTheLastPointerIsGone) {
  MessagePtr first = this->make({"c", "e", "d"});
  MessagePtr second = first;
  const MessagePtr third = MessagePtr::share(*first);
  MessagePtr moved = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): moved-from is empty
  second = moved;
  second = std::move(moved);
  second = {};
  EXPECT_EQ(this->log_.live_blocks(), 1U);
  EXPECT_EQ(third->data(), "d");
  MessagePtr self = third;
  self = *&self;
  EXPECT_EQ(self.get(), third.get());
}

TYPED_TEST(MessageTest, ReleasedPointerCanBeAdopted) {
  MessagePtr message = this->make({"c", "e", "d"});
  const Message* raw = message.release();
  EXPECT_FALSE(message);
  EXPECT_EQ(this->log_.live_blocks(), 1U);
  const MessagePtr again = MessagePtr::adopt(raw);
  EXPECT_EQ(again->data(), "d");
}

TYPED_TEST(MessageTest, FrameIsMadeByTheEncoderAndAsLongAsItSays) {
  const LineEncoder encoder;
  const MessageOrigin origin{.user_id = "u"};
  const MessagePtr message = this->make({"c", "e", "d", &origin}, &encoder);
  EXPECT_EQ(encoder.calls, 1);
  EXPECT_EQ(frame_of(*message), "<c|e|d>");
  EXPECT_EQ(message->data(), "d");
  EXPECT_EQ(message->user_id(), "u");
}

TYPED_TEST(MessageTest, EncoderMayRefuse) {
  const LineEncoder encoder;
  EXPECT_FALSE(this->make({"c", "e", "\xff"}, &encoder));
  EXPECT_EQ(this->error_, errc::not_utf8);
  EXPECT_EQ(this->log_.live_blocks(), 0U);
}

TYPED_TEST(MessageTest, EncoderIsAskedOnlyIfAFrameIsWanted) {
  const LineEncoder encoder;
  using SomeBlock = typename TestFixture::Block;
  SomeBlock* const plain =
      SomeBlock::make({"c", "e", "\xff"}, false, &encoder, CountingMemory{this->log_}, this->error_);
  const MessagePtr owner = MessagePtr::adopt(plain);
  EXPECT_EQ(encoder.calls, 0);
  EXPECT_FALSE(plain->encoded());
  SomeBlock* const without = SomeBlock::make({"c", "e", "d"}, true, nullptr, CountingMemory{this->log_}, this->error_);
  const MessagePtr other = MessagePtr::adopt(without);
  EXPECT_TRUE(without->encoded());
  EXPECT_TRUE(without->frame().empty());
}

TYPED_TEST(MessageTest, ExhaustedMemoryIsAnError) {
  this->log_.fail_after(0);
  EXPECT_FALSE(this->make({"c", "e", "d"}));
  EXPECT_EQ(this->error_, errc::out_of_memory);
}

TYPED_TEST(MessageTest, LinksLieInItsAllocation) {
  const LineEncoder encoder;
  using SomeBlock = typename TestFixture::Block;
  for (const std::uint32_t links : {0U, 1U, 2U, 7U}) {
    const std::size_t before = this->log_.allocations();
    const MessageOrigin origin{.user_id = "u", .except_socket = "1.2"};
    SomeBlock* const block = SomeBlock::make({"channel", "e", "data", &origin}, true, &encoder,
                                             CountingMemory{this->log_}, this->error_, links);
    const MessagePtr owner = MessagePtr::adopt(block);
    EXPECT_EQ(this->log_.allocations(), before + 1);
    ASSERT_EQ(block->links(), links);
    for (std::uint32_t i = 0; i < links; ++i) {
      MessageLink& link = block->link(i);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&link) % alignof(MessageLink), 0U);
      EXPECT_EQ(link.next, nullptr);
      EXPECT_EQ(link.message, nullptr);
      EXPECT_EQ(link.tag, 0U);
    }
    // Written to the brim, they touch neither each other nor the message.
    for (std::uint32_t i = 0; i < links; ++i) {
      block->link(i) = {&block->link(links - 1 - i), block, ~std::uint64_t{i}};
    }
    for (std::uint32_t i = 0; i < links; ++i) {
      EXPECT_EQ(block->link(i).next, &block->link(links - 1 - i));
      EXPECT_EQ(block->link(i).message, block);
      EXPECT_EQ(block->link(i).tag, ~std::uint64_t{i});
    }
    EXPECT_EQ(block->channel(), "channel");
    EXPECT_EQ(block->name(), "e");
    EXPECT_EQ(block->data(), "data");
    EXPECT_EQ(block->user_id(), "u");
    EXPECT_EQ(block->except_socket(), "1.2");
    EXPECT_EQ(frame_of(*block), "<channel|e|data>");
  }
}

TYPED_TEST(MessageTest, WithoutALinkItIsNoLarger) {
  const auto size_with = [&](std::uint32_t links) {
    const MessagePtr owner = MessagePtr::adopt(
        TestFixture::Block::make({"c", "e", "d"}, false, nullptr, CountingMemory{this->log_}, this->error_, links));
    return this->log_.live_bytes();
  };
  EXPECT_EQ(size_with(1), size_with(0) + sizeof(MessageLink));
  EXPECT_EQ(size_with(4), size_with(0) + 4 * sizeof(MessageLink));
}

TYPED_TEST(MessageTest, IdIsSetBeforeItIsShared) {
  typename TestFixture::Block* const block =
      TestFixture::Block::make({"c", "e", "d"}, false, nullptr, CountingMemory{this->log_}, this->error_);
  block->set_id({3, 9});
  const MessagePtr message = MessagePtr::adopt(block);
  EXPECT_EQ(message->id(), (EventId{3, 9}));
}

TEST(MessagePtr, IsEmptyAtFirst) {
  const MessagePtr none;
  const MessagePtr copy = none;
  EXPECT_FALSE(copy);
  EXPECT_EQ(copy.get(), nullptr);
  static_assert(std::is_nothrow_move_constructible_v<MessagePtr> && std::is_nothrow_copy_constructible_v<MessagePtr>);
  static_assert(sizeof(MessagePtr) == sizeof(void*));
}

TEST(EventId, ComparesWithinOneEpochOnly) {
  EXPECT_TRUE((EventId{1, 2} < EventId{1, 3}));
  EXPECT_TRUE((EventId{1, 2} == EventId{1, 2}));
  EXPECT_TRUE((EventId{1, 2} <= EventId{1, 2}));
  EXPECT_TRUE((EventId{1, 2} != EventId{2, 2}));
  EXPECT_FALSE((EventId{1, 2} < EventId{2, 3}));
  EXPECT_FALSE((EventId{1, 2} > EventId{2, 3}));
  EXPECT_TRUE((EventId{1, 2} <=> EventId{2, 2}) == std::partial_ordering::unordered);
}

TEST(EventId, IsEmptyWithoutANumber) {
  EXPECT_FALSE(EventId{});
  EXPECT_FALSE((EventId{5, 0}));
  EXPECT_TRUE((EventId{5, 1}));
}

TEST(EventId, Hashes) {
  const std::hash<EventId> hash;
  EXPECT_EQ(hash({1, 2}), hash({1, 2}));
  EXPECT_NE(hash({1, 2}), hash({2, 1}));
  EXPECT_NE(hash({1, 2}), hash({1, 3}));
}

}  // namespace
}  // namespace fanfare::test
