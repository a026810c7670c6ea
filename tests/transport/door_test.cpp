#include <fanfare/transport/door.hpp>

#include <fanfare/app.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <string>

namespace {

using namespace fanfare;

class CountingDoor final : public transport::Door {
 public:
  explicit CountingDoor(std::size_t most) : Door(most) {}
  void wake() noexcept override { ++woken; }
  int woken = 0;

  // Reads everything. \returns the names of the events, with the tag of the place that they came to.
  std::string take() {
    std::string all;
    for (MessageLink* link = mailbox.take(); link != nullptr;) {
      MessageLink* const next = link->next;
      const std::uint64_t tag = link->tag;
      const MessagePtr message = MessagePtr::adopt(link->message);
      all += std::string(message->name()) + std::to_string(tag) + " ";
      mailbox.release(transport::detail::mailbox_bytes(*message));
      link = next;
    }
    return all;
  }
};

TEST(LoopSink, PushesIntoTheMailboxAndWakesWhoSleeps) {
  CountingDoor door(1 << 20U);
  App app{{.id = "1", .key = "k", .secret = "s"}};
  const Subscription a = app.channels().attach("a", transport::detail::LoopSink{door, 7});
  const Subscription b = app.channels().attach("b", transport::detail::LoopSink{door, 8});
  EXPECT_TRUE(door.mailbox.sleep());
  EXPECT_EQ(app.trigger("a", "e", "1").delivered, 1U);
  EXPECT_EQ(door.woken, 1);
  EXPECT_EQ(app.trigger("b", "f", "2").delivered, 1U);
  EXPECT_EQ(door.woken, 1) << "it is awake already";
  EXPECT_EQ(door.take(), "e7 f8 ");
  EXPECT_EQ(door.mailbox.bytes(), 0U);
}

TEST(LoopSink, RefusesWhatDoesNotFit) {
  CountingDoor door(5000);
  App app{{.id = "1", .key = "k", .secret = "s"}};
  const Subscription a = app.channels().attach("a", transport::detail::LoopSink{door, 1});
  errc last = errc::ok;
  int taken = 0;
  for (; last == errc::ok && taken < 100; ++taken) last = app.trigger("a", "e", std::string(500, 'x')).error;
  EXPECT_EQ(last, errc::overloaded);
  EXPECT_GT(taken, 1);
  EXPECT_FALSE(door.take().empty());
  EXPECT_EQ(app.trigger("a", "e", "1").error, errc::ok);
  EXPECT_EQ(door.take(), "e1 ");
}

}  // namespace
