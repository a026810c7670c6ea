#include <fanfare/core/mailbox.hpp>

#include "support/perturbed_atomics.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace fanfare::test {
namespace {

template <class A>
class MailboxTest : public ::testing::Test {
 protected:
  MailboxTest() {
    for (std::size_t i = 0; i < links.size(); ++i) links[i].tag = i;
  }

  /// Pushes the link with this tag. \returns whether the reader must be woken.
  bool push(std::size_t tag) { return mailbox.push(links[tag], 10); }

  /// Takes everything.
  std::vector<std::uint64_t> take() {
    std::vector<std::uint64_t> tags;
    for (const MessageLink* link = mailbox.take(); link != nullptr; link = link->next) tags.push_back(link->tag);
    return tags;
  }

  std::array<MessageLink, 8> links;
  BasicMailbox<A> mailbox{100};
};
using AtomicsKinds = ::testing::Types<StdAtomics, PlainAtomics, PerturbedAtomics>;
TYPED_TEST_SUITE(MailboxTest, AtomicsKinds);

using Tags = std::vector<std::uint64_t>;

TYPED_TEST(MailboxTest, IsEmptyAtFirst) {
  EXPECT_EQ(this->mailbox.take(), nullptr);
  EXPECT_EQ(this->mailbox.bytes(), 0U);
}

TYPED_TEST(MailboxTest, HandsOverWhatWasPushedOldestFirst) {
  for (std::size_t count = 0; count <= 8; ++count) {
    Tags expected;
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_FALSE(this->push(i));
      expected.push_back(i);
    }
    EXPECT_EQ(this->take(), expected);
    EXPECT_EQ(this->take(), Tags{});
  }
}

TYPED_TEST(MailboxTest, ALinkMayComeAgainOnceItWasTaken) {
  for (int round = 0; round < 3; ++round) {
    this->push(1);
    this->push(0);
    EXPECT_EQ(this->take(), (Tags{1, 0}));
    this->push(0);
    EXPECT_EQ(this->take(), (Tags{0}));
  }
}

// ---- the bound

TYPED_TEST(MailboxTest, CountsBytesUntilTheyAreReleased) {
  this->push(0);
  this->push(1);
  EXPECT_EQ(this->mailbox.bytes(), 20U);
  EXPECT_EQ(this->take().size(), 2U);
  EXPECT_EQ(this->mailbox.bytes(), 20U);  // taken, not dealt with
  this->mailbox.release(10);
  EXPECT_EQ(this->mailbox.bytes(), 10U);
  this->mailbox.release(10);
  EXPECT_EQ(this->mailbox.bytes(), 0U);
}

struct Room {
  std::size_t most;
  std::size_t held;
  std::size_t bytes;
  bool expected;
};
class MailboxRoom : public ::testing::TestWithParam<Room> {};

constexpr std::size_t all = std::numeric_limits<std::size_t>::max();

TEST_P(MailboxRoom, IsThereUpToTheBound) {
  const Room& room = GetParam();
  Mailbox mailbox{room.most};
  MessageLink link;
  ASSERT_FALSE(mailbox.push(link, room.held));  // a push is never refused: who pushes has asked
  EXPECT_EQ(mailbox.has_room(room.bytes), room.expected);
}

INSTANTIATE_TEST_SUITE_P(Table, MailboxRoom,
                         ::testing::Values(Room{100, 0, 0, true}, Room{100, 0, 100, true}, Room{100, 0, 101, false},
                                           Room{100, 60, 40, true}, Room{100, 60, 41, false}, Room{100, 100, 0, true},
                                           Room{100, 100, 1, false}, Room{100, 150, 0, false}, Room{0, 0, 0, true},
                                           Room{0, 0, 1, false}, Room{100, 60, all, false}, Room{all, 60, all, false},
                                           Room{all, 0, all, true}, Room{all, all, 1, false}));

// ---- sleeping

TYPED_TEST(MailboxTest, TheFirstPushAfterSleepSaysThatTheReaderMustBeWoken) {
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(this->mailbox.sleep());
    EXPECT_TRUE(this->push(0));
    EXPECT_FALSE(this->push(1));
    EXPECT_FALSE(this->push(2));
    EXPECT_EQ(this->take(), (Tags{0, 1, 2}));
    EXPECT_FALSE(this->push(3));
    EXPECT_EQ(this->take(), (Tags{3}));
  }
}

TYPED_TEST(MailboxTest, DoesNotSleepOverWhatIsThere) {
  this->push(0);
  EXPECT_FALSE(this->mailbox.sleep());
  EXPECT_FALSE(this->push(1));
  EXPECT_EQ(this->take(), (Tags{0, 1}));
  EXPECT_TRUE(this->mailbox.sleep());
}

TYPED_TEST(MailboxTest, TakingNothingLeavesItAsleep) {
  EXPECT_TRUE(this->mailbox.sleep());
  EXPECT_TRUE(this->mailbox.sleep());
  EXPECT_EQ(this->take(), Tags{});
  EXPECT_TRUE(this->push(0));
}

TYPED_TEST(MailboxTest, APushToAReaderThatIsUpDoesNotWakeIt) {
  EXPECT_TRUE(this->mailbox.sleep());
  this->mailbox.awake();
  EXPECT_FALSE(this->push(0));
  this->mailbox.awake();  // changes nothing
  EXPECT_EQ(this->take(), (Tags{0}));
  this->mailbox.awake();
  EXPECT_EQ(this->take(), Tags{});
}

TYPED_TEST(MailboxTest, AwakeLosesNothingThatWokeIt) {
  EXPECT_TRUE(this->mailbox.sleep());
  EXPECT_TRUE(this->push(0));
  EXPECT_FALSE(this->push(1));
  this->mailbox.awake();
  EXPECT_FALSE(this->mailbox.sleep());
  EXPECT_EQ(this->take(), (Tags{0, 1}));
}

TEST(MailboxType, IsNeitherCopiedNorMoved) {
  static_assert(!std::is_copy_constructible_v<Mailbox> && !std::is_move_constructible_v<Mailbox>);
}

}  // namespace
}  // namespace fanfare::test
