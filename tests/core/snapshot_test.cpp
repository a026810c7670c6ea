#include <fanfare/core/snapshot.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using detail::SnapshotBudget;
using detail::SnapshotDesk;
using detail::SnapshotTicket;

class SnapshotReplyTest : public ::testing::Test {
 protected:
  SnapshotTicket ask() { return SnapshotTicket::make(desk, budget, "room", ++asked); }
  static Snapshot one(std::string data) { return {.events = {{"e", std::move(data)}}}; }

  int woken = 0;
  std::uint64_t asked = 0;
  const std::shared_ptr<SnapshotDesk> desk =
      std::make_shared<SnapshotDesk>(&woken, [](void* number) noexcept { ++*static_cast<int*>(number); });
  const std::shared_ptr<SnapshotBudget> budget =
      std::make_shared<SnapshotBudget>(SnapshotOptions{.pending = 2, .bytes = 1000, .pending_bytes = 1500}, 10);
};

TEST_F(SnapshotReplyTest, GivesFramesThatAreReadyToBeSent) {
  SnapshotTicket ticket = ask();
  SnapshotReply reply(ticket.request());
  EXPECT_TRUE(reply.wanted());
  EXPECT_EQ(reply.answer({.events = {{"a", "1"}, {"b", "\"2\""}}, .as_of = {5, 6}}), errc::ok);
  EXPECT_EQ(woken, 0) << "nobody has begun to wait";
  EXPECT_FALSE(ticket.wait());
  EventId as_of;
  const std::vector<MessagePtr> events = ticket.take(as_of);
  EXPECT_EQ(as_of, (EventId{5, 6}));
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1]->channel(), "room");
  const auto frame = events[1]->frame();
  const std::string_view text(reinterpret_cast<const char*>(frame.data()), frame.size());
  EXPECT_EQ(text.substr(2), R"({"event":"b","channel":"room","data":"\"2\""})");
}

TEST_F(SnapshotReplyTest, IsBroughtToTheDeskOfALoopThatWaits) {
  SnapshotTicket first = ask();
  SnapshotTicket second = ask();
  EXPECT_TRUE(first.wait());
  EXPECT_TRUE(second.wait());
  EXPECT_EQ(SnapshotReply(first.request()).answer(one("x")), errc::ok);
  EXPECT_EQ(woken, 1);
  { SnapshotReply let_go(second.request()); }
  EXPECT_EQ(woken, 2);
  const auto request = desk->take();
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->number, 2U);
  ASSERT_NE(request->next, nullptr);
  EXPECT_EQ(request->next->number, 1U);
  EXPECT_EQ(desk->take(), nullptr);
}

TEST_F(SnapshotReplyTest, IsGivenOnce) {
  SnapshotTicket ticket = ask();
  SnapshotReply reply(ticket.request());
  SnapshotReply moved = std::move(reply);
  EXPECT_EQ(reply.answer(one("x")), errc::closed);  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_EQ(moved.answer(one("x")), errc::ok);
  EXPECT_EQ(moved.answer(one("y")), errc::closed);
  EXPECT_FALSE(SnapshotReply().wanted());
}

TEST_F(SnapshotReplyTest, IsNotWantedWhenTheTicketOrTheLoopHasGone) {
  SnapshotTicket ticket = ask();
  SnapshotReply first(ticket.request());
  ticket.reset();
  EXPECT_FALSE(first.wanted());
  EXPECT_EQ(first.answer(one("x")), errc::closed);
  ticket = ask();
  EXPECT_TRUE(ticket.wait());
  SnapshotReply second(ticket.request());
  desk->close();
  EXPECT_FALSE(second.wanted());
  EXPECT_EQ(second.answer(one("x")), errc::closed);
  EXPECT_EQ(woken, 0);
  EXPECT_EQ(budget->bytes, 0U);
}

TEST_F(SnapshotReplyTest, HasBounds) {
  SnapshotTicket first = ask();
  SnapshotTicket second = ask();
  EXPECT_FALSE(ask());
  SnapshotReply reply(first.request());
  EXPECT_EQ(reply.answer(one(std::string(1000, 'x'))), errc::data_too_large);
  EXPECT_EQ(reply.answer({.events = {{"", ""}}}), errc::empty_name);
  EXPECT_EQ(reply.answer({.events = {{"eleven char", ""}}}), errc::event_too_long);
  EXPECT_EQ(reply.answer({.events = {{"pusher:x", ""}}}), errc::reserved_name);
  EXPECT_EQ(reply.answer({.events = {{"e", "\xc3"}}}), errc::not_utf8);
  EXPECT_EQ(budget->bytes, 0U);
  EXPECT_EQ(reply.answer(one(std::string(300, 'x'))), errc::ok);
  EXPECT_GT(budget->bytes, 800U);
  EXPECT_EQ(SnapshotReply(second.request()).answer(one(std::string(300, 'x'))), errc::overloaded);
  EventId as_of;
  static_cast<void>(first.take(as_of));
  EXPECT_GT(budget->bytes, 800U) << "it is on its way";
  first.reset();
  EXPECT_EQ(budget->bytes, 0U);
  EXPECT_EQ(budget->pending, 1U);
  EXPECT_TRUE(ask());
}

TEST_F(SnapshotReplyTest, ManyThatAreNotTakenDoNoHarm) {
  const auto wide = std::make_shared<SnapshotBudget>(SnapshotOptions{.pending = 200'000}, 10);
  std::vector<SnapshotTicket> tickets;
  for (std::uint64_t i = 0; i < 200'000; ++i) {
    tickets.push_back(SnapshotTicket::make(desk, wide, "room", i));
    EXPECT_TRUE(tickets.back().wait());
    const SnapshotReply let_go(tickets.back().request());
  }
  tickets.clear();
  desk->close();
  EXPECT_EQ(wide->pending, 0U);
}

TEST(SubscribeHooks, AreFoundByTheFirstPatternThatMatches) {
  SubscribeHooks hooks;
  EXPECT_EQ(hooks.find("a"), nullptr);
  int called = 0;
  const auto hook = [&](int number) {
    return [&called, number](const Subscriber&, const SnapshotReply&) { called = number; };
  };
  EXPECT_EQ(hooks.add("a-*", hook(1)), RuleError::ok);
  EXPECT_EQ(hooks.add("a-b", hook(2)), RuleError::ok);
  EXPECT_EQ(hooks.add("*", hook(3)), RuleError::ok);
  EXPECT_EQ(hooks.add("a-b", hook(4)), RuleError::duplicate_match);
  EXPECT_EQ(hooks.add("", hook(4)), RuleError::empty_match);
  EXPECT_EQ(hooks.add("#x", hook(4)), RuleError::reserved_name);
  for (const auto& [channel, expected] : {std::pair{"a-b", 1}, std::pair{"a-", 1}, std::pair{"b", 3}}) {
    (*hooks.find(channel))({}, {});
    EXPECT_EQ(called, expected) << channel;
  }
  EXPECT_EQ(hooks.find("#server-to-user-x"), nullptr);
}

}  // namespace
}  // namespace fanfare::test
