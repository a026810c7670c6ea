#include <fanfare/core/event.hpp>

#include "support/memory.hpp"
#include "support/sinks.hpp"

#include <gtest/gtest.h>

#include <type_traits>

namespace fanfare::test {
namespace {

using Block = detail::MessageBlock<PlainAtomics, CountingMemory>;

class Source final : public detail::MessageSource {
 public:
  explicit Source(MemoryLog& log) : log_(&log) {}
  [[nodiscard]] MessagePtr make_message(const MessageParts& parts, EventId id) const noexcept override {
    errc error = errc::ok;
    Block* const message = Block::make(parts, false, nullptr, CountingMemory{*log_}, error);
    if (message != nullptr) message->set_id(id);
    return MessagePtr::adopt(message);
  }

 private:
  MemoryLog* log_;
};

const MessageOrigin origin{"7", "1.2", "3.4"};

TEST(Event, ShowsTheParts) {
  MemoryLog log;
  const Source source{log};
  const Event event{"lobby", "join", "ann", &origin, source};
  EXPECT_EQ(event.channel(), "lobby");
  EXPECT_EQ(event.name(), "join");
  EXPECT_EQ(event.data(), "ann");
  EXPECT_EQ(event.user_id(), "7");
  EXPECT_EQ(event.socket_id(), "1.2");
  EXPECT_FALSE(event.id());
  EXPECT_EQ(log.allocations(), 0U);
}

TEST(Event, WithoutAnOriginComesFromNobody) {
  MemoryLog log;
  const Source source{log};
  const Event event{"lobby", "join", "ann", nullptr, source};
  EXPECT_EQ(event.user_id(), "");
  EXPECT_EQ(event.socket_id(), "");
  EXPECT_EQ(event.keep()->user_id(), "");
}

TEST(Event, KeepMakesOneCopyForAllWhoKeepIt) {
  MemoryLog log;
  const Source source{log};
  MessagePtr first;
  {
    const Event event{"lobby", "join", "ann", &origin, source};
    first = event.keep();
    const MessagePtr second = event.keep();
    EXPECT_EQ(first.get(), second.get());
    EXPECT_EQ(log.allocations(), 1U);
    EXPECT_EQ(event.user_id(), "7");
    EXPECT_EQ(event.socket_id(), "1.2");
  }
  EXPECT_EQ(first->channel(), "lobby");
  EXPECT_EQ(first->data(), "ann");
  EXPECT_EQ(first->user_id(), "7");
  EXPECT_EQ(first->except_socket(), "3.4");
  first = {};
  EXPECT_EQ(log.live_blocks(), 0U);
}

TEST(Event, KeepWithoutMemoryIsNullAndMayBeTriedAgain) {
  MemoryLog log;
  const Source source{log};
  const Event event{"lobby", "join", "ann", nullptr, source};
  log.fail_after(0);
  EXPECT_FALSE(event.keep());
  EXPECT_TRUE(event.keep());
}

TEST(Event, OfAMessageShowsAndKeepsTheMessage) {
  MemoryLog log;
  const Source source{log};
  const MessagePtr queued = source.make_message({"lobby", "join", "ann", &origin}, {1, 1});
  const Event event{*queued};
  EXPECT_EQ(text_of(event), "join=ann");
  EXPECT_EQ(event.channel(), "lobby");
  EXPECT_EQ(event.user_id(), "7");
  EXPECT_EQ(event.socket_id(), "1.2");
  EXPECT_EQ(event.id(), (EventId{1, 1}));
  EXPECT_EQ(event.keep().get(), queued.get());
  EXPECT_EQ(log.allocations(), 1U);
}

TEST(Event, IsNotCopied) { static_assert(!std::is_copy_constructible_v<Event> && !std::is_copy_assignable_v<Event>); }

TEST(EventCallback, IsCallableWithAnEvent) {
  const auto plain = [](const Event&) {};
  const auto returns = [](const Event&) { return 1; };
  const auto generic = [](const auto&) {};
  const auto number = [](int) {};
  const auto changing = [](Event&) {};
  static_assert(EventCallback<decltype(plain)> && EventCallback<decltype(returns)> && EventCallback<decltype(generic)>);
  static_assert(EventCallback<void (*)(const Event&)>);
  static_assert(!EventCallback<decltype(number)> && !EventCallback<decltype(changing)> && !EventCallback<int>);
}

}  // namespace
}  // namespace fanfare::test
