#include <fanfare/core/subscription.hpp>

#include "support/memory.hpp"
#include "support/registries.hpp"
#include "support/sinks.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

template <class Registry>
class SubscriptionTest : public ::testing::Test {
 protected:
  TriggerResult trigger(std::string_view event = "e", std::string_view data = {}) {
    return channels.trigger("lobby", event, data);
  }

  Recorder recorder;
  Registry channels;
};
TYPED_TEST_SUITE(SubscriptionTest, AllRegistries, RegistryNames);

/// Counts itself, to see when a callable is destroyed.
class Token {
 public:
  explicit Token(int& live) : live_(&live) { ++*live_; }
  Token(const Token& other) : live_(other.live_) { ++*live_; }
  Token& operator=(const Token&) = delete;
  ~Token() { --*live_; }

 private:
  int* live_;
};

// ---- binding

TYPED_TEST(SubscriptionTest, IsCalledForTheEventsItIsBoundTo) {
  Subscription lobby = this->channels.subscribe("lobby");
  EXPECT_TRUE(lobby.bind("join", this->recorder.callback()));
  EXPECT_EQ(this->trigger("join", "ann").delivered, 1U);
  EXPECT_EQ(this->trigger("leave", "ann").delivered, 0U);
  EXPECT_EQ(this->channels.trigger("other", "join", "ann").delivered, 0U);
  EXPECT_EQ(this->recorder.take(), (Strings{"join=ann"}));
}

TYPED_TEST(SubscriptionTest, CallsInTheOrderOfBinding) {
  Subscription one = this->channels.subscribe("lobby");
  Subscription two = this->channels.subscribe("lobby");
  one.bind("e", this->recorder.mark("1"));
  two.bind("e", this->recorder.mark("2"));
  one.bind("e", this->recorder.mark("3"));
  two.bind("e", this->recorder.mark("4"));
  EXPECT_EQ(this->trigger().delivered, 4U);
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "2", "3", "4"}));
}

TYPED_TEST(SubscriptionTest, CallsThoseBoundToAllAfterThoseBoundToTheName) {
  Subscription lobby = this->channels.subscribe("lobby");
  lobby.bind_all(this->recorder.callback("all1"));
  lobby.bind("e", this->recorder.callback("named1"));
  lobby.bind_all(this->recorder.callback("all2"));
  lobby.bind("e", this->recorder.callback("named2"));
  EXPECT_EQ(this->trigger("e", "x").delivered, 4U);
  EXPECT_EQ(this->recorder.take(), (Strings{"named1:e=x", "named2:e=x", "all1:e=x", "all2:e=x"}));
  EXPECT_EQ(this->trigger("other", "y").delivered, 2U);
  EXPECT_EQ(this->recorder.take(), (Strings{"all1:other=y", "all2:other=y"}));
}

TYPED_TEST(SubscriptionTest, SameCallableBoundTwiceIsCalledTwice) {
  Subscription lobby = this->channels.subscribe("lobby");
  const auto callback = this->recorder.mark("x");
  const BindingId first = lobby.bind("e", callback);
  const BindingId second = lobby.bind("e", callback);
  EXPECT_FALSE(first == second);
  this->trigger();
  EXPECT_TRUE(lobby.unbind(first));
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"x", "x", "x"}));
}

int free_function_calls = 0;
void free_function(const Event& /*event*/) { ++free_function_calls; }

TYPED_TEST(SubscriptionTest, TakesCallablesOfEveryKind) {
  Subscription lobby = this->channels.subscribe("lobby");
  free_function_calls = 0;
  int copied = 0;
  int mutated = 0;
  auto unique = std::make_unique<int>(3);
  int moved = 0;
  const std::function<void(const Event&)> function = [&](const Event&) { ++copied; };
  const auto lvalue = [&copied](const Event&) { return ++copied; };
  struct Aligned {
    alignas(64) std::uintptr_t number = 1;
    int* wrong;
    void operator()(const Event&) const {
      if (reinterpret_cast<std::uintptr_t>(this) % 64 != 0) ++*wrong;
    }
  };
  int wrong = 0;
  EXPECT_TRUE(lobby.bind("e", free_function));
  EXPECT_TRUE(lobby.bind("e", &free_function));
  EXPECT_TRUE(lobby.bind("e", function));
  EXPECT_TRUE(lobby.bind("e", lvalue));
  EXPECT_TRUE(lobby.bind("e", [count = 0, &mutated](const Event&) mutable { mutated = ++count; }));
  EXPECT_TRUE(lobby.bind("e", [count = 0](const Event&) mutable { ++count; }));
  EXPECT_TRUE(lobby.bind("e", [owned = std::move(unique), &moved](const Event&) { moved += *owned; }));
  EXPECT_TRUE(lobby.bind("e", [](const auto& event) { return event.name().size(); }));
  EXPECT_TRUE(lobby.bind("e", [](auto& event) { return event.name().size(); }));
  EXPECT_TRUE(lobby.bind("e", Aligned{.wrong = &wrong}));
  EXPECT_EQ(this->trigger().delivered, 10U);
  EXPECT_EQ(this->trigger().delivered, 10U);
  EXPECT_EQ(free_function_calls, 4);
  EXPECT_EQ(copied, 4);
  EXPECT_EQ(mutated, 2);
  EXPECT_EQ(moved, 6);
  EXPECT_EQ(wrong, 0);
}

TYPED_TEST(SubscriptionTest, EventNamesAreAnyBytes) {
  Subscription lobby = this->channels.subscribe("lobby");
  const std::string odd{"a\0b\xff", 4};
  lobby.bind(odd, this->recorder.mark("odd"));
  lobby.bind("a", this->recorder.mark("a"));
  this->trigger(odd);
  this->trigger("a");
  EXPECT_EQ(this->recorder.take(), (Strings{"odd", "a"}));
}

TYPED_TEST(SubscriptionTest, BadEventNamesAreRefused) {
  Subscription lobby = this->channels.subscribe("lobby");
  EXPECT_EQ(lobby.bind("", free_function).error(), errc::empty_name);
  EXPECT_EQ(lobby.bind(std::string(201, 'x'), free_function).error(), errc::event_too_long);
  EXPECT_TRUE(lobby.bind(std::string(200, 'x'), free_function));
  // What the protocol sends can be listened to, though not be triggered.
  EXPECT_TRUE(lobby.bind("pusher:subscription_succeeded", free_function));
}

TYPED_TEST(SubscriptionTest, ThrowingCopyOfACallableLeavesNothing) {
  struct ThrowsWhenCopied {
    ThrowsWhenCopied() = default;
    ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::runtime_error("no copy"); }
    void operator()(const Event&) const {}
    std::string larger_than_a_slot;
  };
  Subscription lobby = this->channels.subscribe("lobby");
  const ThrowsWhenCopied callable;
  EXPECT_THROW(lobby.bind("e", callable), std::runtime_error);
  EXPECT_EQ(this->trigger().delivered, 0U);
  EXPECT_TRUE(lobby.bind("e", free_function));
}

TYPED_TEST(SubscriptionTest, SetupRunsBeforeAnythingCanBeMissed) {
  Subscription lobby = this->channels.subscribe("lobby", [&](Subscription& subscription) {
    EXPECT_EQ(subscription.error(), errc::ok);
    EXPECT_EQ(subscription.channel(), "lobby");
    EXPECT_EQ(this->channels.subscribers("lobby"), 0U);
    subscription.bind("e", this->recorder.mark("1"));
    this->trigger();  // not entered yet
    subscription.bind_all(this->recorder.mark("2"));
    const BindingId gone = subscription.bind("e", this->recorder.mark("3"));
    EXPECT_TRUE(subscription.unbind(gone));
  });
  EXPECT_EQ(this->recorder.take(), Strings{});
  EXPECT_EQ(this->channels.subscribers("lobby"), 1U);
  EXPECT_EQ(this->trigger().delivered, 2U);
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "2"}));
}

TYPED_TEST(SubscriptionTest, ThrowingSetupLeavesNothing) {
  int live = 0;
  EXPECT_THROW(static_cast<void>(this->channels.subscribe("lobby",
                                                          [&](Subscription& subscription) {
                                                            subscription.bind("e",
                                                                              [token = Token(live)](const Event&) {});
                                                            throw std::runtime_error("no");
                                                          })),
               std::runtime_error);
  EXPECT_EQ(live, 0);
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(SubscriptionTest, ResetInSetupLeavesNothing) {
  const Subscription lobby =
      this->channels.subscribe("lobby", [](Subscription& subscription) { subscription.reset(); });
  EXPECT_EQ(lobby.error(), errc::closed);
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(SubscriptionTest, SetupMaySubscribeAndTrigger) {
  std::optional<Subscription> other;
  const Subscription lobby = this->channels.subscribe("lobby", [&](Subscription& subscription) {
    subscription.bind("e", this->recorder.mark("lobby"));
    other = this->channels.subscribe("lobby",
                                     [&](Subscription& nested) { nested.bind("e", this->recorder.mark("other")); });
    this->trigger();
  });
  EXPECT_EQ(this->recorder.take(), (Strings{"other"}));
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"other", "lobby"}));
}

// ---- the owner form

struct Game {
  int calls = 0;
};

TYPED_TEST(SubscriptionTest, OwnedCallbackIsGivenItsOwner) {
  Subscription lobby = this->channels.subscribe("lobby");
  const auto game = std::make_shared<Game>();
  int plain = 0;
  lobby.bind("e", std::weak_ptr(game), [](Game& owner, const Event&) { ++owner.calls; });
  lobby.bind("e", std::weak_ptr(game), [&](const Event&) { ++plain; });
  EXPECT_EQ(this->trigger().delivered, 2U);
  EXPECT_EQ(game->calls, 1);
  EXPECT_EQ(plain, 1);
  EXPECT_EQ(game.use_count(), 1);
}

TYPED_TEST(SubscriptionTest, OwnedCallbackIsNotCalledAfterItsOwnersEnd) {
  Subscription lobby = this->channels.subscribe("lobby");
  auto game = std::make_shared<Game>();
  int calls = 0;
  lobby.bind("e", std::weak_ptr(game), [&](const Event&) { ++calls; });
  this->trigger();
  game.reset();
  this->trigger();
  EXPECT_EQ(calls, 1);
}

TYPED_TEST(SubscriptionTest, OwnedCallbackHoldsItsOwnerDuringTheCall) {
  Subscription lobby = this->channels.subscribe("lobby");
  auto game = std::make_shared<Game>();
  lobby.bind("e", std::weak_ptr(game), [&](Game& owner, const Event&) {
    game.reset();
    ++owner.calls;  // still there
  });
  this->trigger();
  EXPECT_EQ(game, nullptr);
}

// ---- unbinding

TYPED_TEST(SubscriptionTest, UnbindByIdEndsOneBinding) {
  Subscription lobby = this->channels.subscribe("lobby");
  lobby.bind("e", this->recorder.mark("1"));
  const BindingId second = lobby.bind("e", this->recorder.mark("2"));
  lobby.bind("e", this->recorder.mark("3"));
  EXPECT_TRUE(lobby.unbind(second));
  EXPECT_FALSE(lobby.unbind(second));
  EXPECT_FALSE(lobby.unbind(BindingId{}));
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "3"}));
  lobby.bind("e", this->recorder.mark("4"));
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "3", "4"}));
}

TYPED_TEST(SubscriptionTest, UnbindOfTheLastBindingKeepsTheChainWhole) {
  Subscription lobby = this->channels.subscribe("lobby");
  const BindingId only = lobby.bind("e", this->recorder.mark("1"));
  EXPECT_TRUE(lobby.unbind(only));
  lobby.bind("e", this->recorder.mark("2"));
  const BindingId last = lobby.bind("e", this->recorder.mark("3"));
  EXPECT_TRUE(lobby.unbind(last));
  lobby.bind("e", this->recorder.mark("4"));
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"2", "4"}));
}

TYPED_TEST(SubscriptionTest, UnbindByNameEndsAllOfThisSubscriptionAndName) {
  Subscription lobby = this->channels.subscribe("lobby");
  Subscription other = this->channels.subscribe("lobby");
  lobby.bind("e", this->recorder.mark("1"));
  lobby.bind("f", this->recorder.mark("2"));
  lobby.bind("e", this->recorder.mark("3"));
  lobby.bind_all(this->recorder.mark("4"));
  other.bind("e", this->recorder.mark("5"));
  EXPECT_EQ(lobby.unbind("e"), 2U);
  EXPECT_EQ(lobby.unbind("e"), 0U);
  EXPECT_EQ(lobby.unbind("nothing"), 0U);
  EXPECT_EQ(lobby.unbind(""), 0U);
  this->trigger("e");
  EXPECT_EQ(this->recorder.take(), (Strings{"5", "4"}));
  this->trigger("f");
  EXPECT_EQ(this->recorder.take(), (Strings{"2", "4"}));
}

TYPED_TEST(SubscriptionTest, UnbindOfBindAll) {
  Subscription lobby = this->channels.subscribe("lobby");
  const BindingId all = lobby.bind_all(this->recorder.mark("all"));
  lobby.bind("e", this->recorder.mark("e"));
  EXPECT_TRUE(lobby.unbind(all));
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"e"}));
}

TYPED_TEST(SubscriptionTest, IdOfAnotherSubscriptionUnbindsNothing) {
  Subscription one = this->channels.subscribe("lobby");
  Subscription two = this->channels.subscribe("lobby");
  const BindingId of_one = one.bind("e", this->recorder.mark("1"));
  two.bind("e", this->recorder.mark("2"));
  EXPECT_FALSE(two.unbind(of_one));
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "2"}));
}

TYPED_TEST(SubscriptionTest, NameWithoutBindingsCanBeBoundAgain) {
  Subscription lobby = this->channels.subscribe("lobby");
  for (int i = 0; i < 200; ++i) {
    lobby.bind("e", this->recorder.mark("x"));
    this->trigger();
    ASSERT_EQ(lobby.unbind("e"), 1U);
    this->trigger();
  }
  EXPECT_EQ(this->recorder.take().size(), 200U);
}

TYPED_TEST(SubscriptionTest, CallableIsDestroyedWhenUnbindReturns) {
  int live = 0;
  Subscription lobby = this->channels.subscribe("lobby");
  const BindingId id = lobby.bind("e", [token = Token(live)](const Event&) {});
  lobby.bind("e", [token = Token(live)](const Event&) {});
  lobby.bind_all([token = Token(live)](const Event&) {});
  EXPECT_EQ(live, 3);
  lobby.unbind(id);
  EXPECT_EQ(live, 2);
  lobby.unbind("e");
  EXPECT_EQ(live, 1);
  lobby.reset();
  EXPECT_EQ(live, 0);
}

// ---- ending

TYPED_TEST(SubscriptionTest, IsNotCalledAfterItsEnd) {
  for (const int how : {0, 1, 2}) {
    std::optional<Subscription> lobby{this->channels.subscribe("lobby")};
    lobby->bind("e", this->recorder.mark("x"));
    lobby->bind_all(this->recorder.mark("x"));
    if (how == 0) lobby.reset();
    if (how == 1) lobby->reset();
    if (how == 2) lobby->detach();
    EXPECT_EQ(this->trigger().delivered, 0U);
    EXPECT_FALSE(this->channels.occupied("lobby"));
    if (how == 0) continue;
    EXPECT_EQ(lobby->error(), errc::closed);
    EXPECT_EQ(lobby->bind("e", free_function).error(), errc::closed);
    EXPECT_EQ(lobby->bind_all(free_function).error(), errc::closed);
    EXPECT_EQ(lobby->unbind("e"), 0U);
    EXPECT_EQ(lobby->channel(), "");
    EXPECT_FALSE(lobby->id());
    lobby->reset();
    lobby->detach();
  }
  EXPECT_EQ(this->recorder.take(), Strings{});
}

TYPED_TEST(SubscriptionTest, DefaultIsClosed) {
  Subscription none;
  EXPECT_EQ(none.error(), errc::closed);
  EXPECT_FALSE(none);
  EXPECT_EQ(none.bind("e", free_function).error(), errc::closed);
}

TYPED_TEST(SubscriptionTest, MovesWithItsBindings) {
  Subscription lobby = this->channels.subscribe("lobby");
  lobby.bind("e", this->recorder.mark("1"));
  Subscription moved = std::move(lobby);
  EXPECT_EQ(lobby.error(), errc::closed);  // NOLINT(bugprone-use-after-move): it says so
  this->trigger();
  moved.bind("e", this->recorder.mark("2"));
  Subscription other = this->channels.subscribe("lobby");
  other.bind("e", this->recorder.mark("3"));
  other = std::move(moved);  // ends what `other` was
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "1", "2"}));
  EXPECT_EQ(this->channels.subscribers("lobby"), 1U);
  Subscription& self = other;
  other = std::move(self);
  EXPECT_TRUE(other);
}

TYPED_TEST(SubscriptionTest, ErrorOfSubscribeIsInsideAndMovesAlong) {
  Subscription refused = this->channels.subscribe("");
  EXPECT_EQ(refused.error(), errc::empty_name);
  EXPECT_EQ(refused.bind("e", free_function).error(), errc::empty_name);
  const Subscription moved = std::move(refused);
  EXPECT_EQ(moved.error(), errc::empty_name);
}

TYPED_TEST(SubscriptionTest, OutlivesTheRegistry) {
  Subscription lobby;
  int live = 0;
  {
    TypeParam other;
    lobby = other.subscribe("lobby");
    lobby.bind("e", [token = Token(live)](const Event&) {});
    lobby.bind("f", [token = Token(live)](const Event&) {});
    lobby.bind_all([token = Token(live)](const Event&) {});
  }
  EXPECT_EQ(lobby.error(), errc::closed);
  EXPECT_EQ(lobby.channel(), "lobby");
  EXPECT_EQ(lobby.bind("e", free_function).error(), errc::closed);
  EXPECT_EQ(live, 3);
  EXPECT_EQ(lobby.unbind("f"), 1U);
  EXPECT_EQ(live, 2);
  lobby.reset();
  EXPECT_EQ(live, 0);
}

TYPED_TEST(SubscriptionTest, ManyOutliveTheRegistryAndEndInAnyOrder) {
  std::vector<Subscription> left;
  {
    TypeParam other;
    for (int i = 0; i < 50; ++i) {
      left.push_back(other.subscribe("room-" + std::to_string(i % 7)));
      left.back().bind("e", this->recorder.mark("x"));
    }
  }
  for (std::size_t i = 0; i < left.size(); i += 2) left[i].reset();
  left.clear();
}

// ---- inside callbacks

TYPED_TEST(SubscriptionTest, DestroyedInItsOwnCallbackIsNotCalledAgain) {
  auto lobby = std::make_unique<Subscription>(this->channels.subscribe("lobby"));
  int live = 0;
  lobby->bind("e", [&, token = Token(live)](const Event&) {
    this->recorder.seen.push_back("first");
    lobby.reset();
    EXPECT_EQ(live, 1);  // what runs is not destroyed under its own feet
  });
  lobby->bind("e", this->recorder.mark("second"));
  lobby->bind_all(this->recorder.mark("all"));
  EXPECT_EQ(this->trigger().delivered, 1U);
  EXPECT_EQ(this->trigger().delivered, 0U);
  EXPECT_EQ(this->recorder.take(), (Strings{"first"}));
  this->channels.collect();
  EXPECT_EQ(live, 0);
}

TYPED_TEST(SubscriptionTest, UnbindsItselfInItsCallback) {
  Subscription lobby = this->channels.subscribe("lobby");
  BindingId once;
  once = lobby.bind("e", [&](const Event&) {
    this->recorder.seen.push_back("once");
    EXPECT_TRUE(lobby.unbind(once));
    EXPECT_FALSE(lobby.unbind(once));
  });
  lobby.bind("e", this->recorder.mark("always"));
  this->trigger();
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"once", "always", "always"}));
}

TYPED_TEST(SubscriptionTest, UnboundByNameInACallback) {
  Subscription lobby = this->channels.subscribe("lobby");
  Subscription other = this->channels.subscribe("lobby");
  lobby.bind("e", [&](const Event&) {
    this->recorder.seen.push_back("1");
    EXPECT_EQ(lobby.unbind("e"), 2U);
  });
  lobby.bind("e", this->recorder.mark("2"));
  other.bind("e", this->recorder.mark("3"));
  this->trigger();
  this->trigger();
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "3", "3"}));
}

TYPED_TEST(SubscriptionTest, BoundDuringAWalkIsCalledFromTheNextOn) {
  Subscription lobby = this->channels.subscribe("lobby");
  bool bound = false;
  lobby.bind("e", [&](const Event&) {
    this->recorder.seen.push_back("1");
    if (std::exchange(bound, true)) return;
    for (int i = 0; i < 100; ++i) lobby.bind("e", this->recorder.mark("new"));
  });
  EXPECT_EQ(this->trigger().delivered, 1U);
  EXPECT_EQ(this->recorder.take(), (Strings{"1"}));
  EXPECT_EQ(this->trigger().delivered, 101U);
}

TYPED_TEST(SubscriptionTest, UnboundLaterInAWalkWhoseArrayWasReplacedIsNotCalled) {
  Subscription lobby = this->channels.subscribe("lobby");
  BindingId second;
  BindingId third;
  std::optional<Subscription> fourth;
  std::vector<Subscription> more;
  lobby.bind("e", [&](const Event&) {
    this->recorder.seen.push_back("1");
    for (int i = 0; i < 100; ++i) {
      more.push_back(this->channels.subscribe("lobby"));
      more.back().bind("e", this->recorder.mark("new"));
      more.back().bind_all(this->recorder.mark("new all"));
    }
    EXPECT_TRUE(lobby.unbind(second));
    this->channels.collect();
    EXPECT_TRUE(lobby.unbind(third));
    fourth.reset();
    more.clear();
    for (int i = 0; i < 100; ++i) lobby.bind("e", this->recorder.mark("newer"));
  });
  second = lobby.bind("e", this->recorder.mark("2"));
  third = lobby.bind("e", this->recorder.mark("3"));
  fourth = this->channels.subscribe("lobby");
  fourth->bind("e", this->recorder.mark("4"));
  fourth->bind_all(this->recorder.mark("4 all"));
  Subscription fifth = this->channels.subscribe("lobby");
  fifth.bind("e", this->recorder.mark("5"));
  EXPECT_EQ(this->trigger().delivered, 2U);
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "5"}));
}

TYPED_TEST(SubscriptionTest, WalkSurvivesThatItsEventAndChannelAreUnbound) {
  auto lobby = std::make_unique<Subscription>(this->channels.subscribe("lobby"));
  lobby->bind("e", [&](const Event& event) {
    lobby.reset();  // the last of this name, and of the channel
    this->channels.collect();
    this->recorder.seen.push_back(std::string{event.channel()} + text_of(event));
    const Subscription again = this->channels.subscribe("lobby");
    EXPECT_EQ(again.error(), errc::ok);
  });
  this->trigger("e", "data");
  EXPECT_EQ(this->recorder.take(), (Strings{"lobbye=data"}));
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(SubscriptionTest, TwoMayDestroyEachOther) {
  auto one = std::make_unique<Subscription>(this->channels.subscribe("lobby"));
  auto two = std::make_unique<Subscription>(this->channels.subscribe("lobby"));
  one->bind("e", [&](const Event&) {
    this->recorder.seen.push_back("one");
    two.reset();
  });
  two->bind("e", [&](const Event&) {
    this->recorder.seen.push_back("two");
    one.reset();
  });
  EXPECT_EQ(this->trigger().delivered, 1U);
  EXPECT_EQ(this->recorder.take(), (Strings{"one"}));
  EXPECT_NE(one, nullptr);
}

TYPED_TEST(SubscriptionTest, TwoMayDestroyEachOtherInNestedTriggers) {
  auto one = std::make_unique<Subscription>(this->channels.subscribe("lobby"));
  auto two = std::make_unique<Subscription>(this->channels.subscribe("other"));
  one->bind("e", [&](const Event&) {
    this->channels.trigger("other", "e", "");
    this->recorder.seen.push_back("one");
  });
  one->bind("e", this->recorder.mark("never"));
  two->bind("e", [&](const Event&) {
    one.reset();
    this->recorder.seen.push_back("two");
  });
  EXPECT_EQ(this->trigger().delivered, 1U);
  EXPECT_EQ(this->recorder.take(), (Strings{"two", "one"}));
}

TYPED_TEST(SubscriptionTest, SubscribesInACallback) {
  Subscription lobby = this->channels.subscribe("lobby");
  std::vector<Subscription> more;
  lobby.bind("e", [&](const Event&) {
    for (int i = 0; i < 20; ++i) {
      more.push_back(this->channels.subscribe("room-" + std::to_string(i), [&](Subscription& subscription) {
        subscription.bind("e", this->recorder.callback());
      }));
      EXPECT_EQ(this->channels.trigger("room-" + std::to_string(i), "e", "x").delivered, 1U);
    }
  });
  this->trigger();
  EXPECT_EQ(this->recorder.take().size(), 20U);
  EXPECT_EQ(this->channels.size(), 21U);
}

TYPED_TEST(SubscriptionTest, MovesInItsCallback) {
  std::vector<Subscription> all;
  all.push_back(this->channels.subscribe("lobby"));
  all.back().bind("e", [&](const Event&) {
    this->recorder.seen.push_back("x");
    all.reserve(all.capacity() + 10);
  });
  this->trigger();
  this->trigger();
  EXPECT_EQ(this->recorder.take().size(), 2U);
}

TYPED_TEST(SubscriptionTest, ACallablesDestructorMayUseTheRegistry) {
  struct Farewell {
    TypeParam* channels;
    Recorder* recorder;
    ~Farewell() {
      Subscription last = channels->subscribe("farewell");
      last.bind("bye", recorder->callback());
      channels->trigger("farewell", "bye", "");
    }
  };
  const auto make = [&] { return std::shared_ptr<Farewell>(new Farewell{&this->channels, &this->recorder}); };

  Subscription lobby = this->channels.subscribe("lobby");
  const BindingId id = lobby.bind("e", [farewell = make()](const Event&) {});
  lobby.unbind(id);
  EXPECT_EQ(this->recorder.take(), (Strings{"bye="}));

  lobby.bind("e", [farewell = make()](const Event&) {});
  lobby.bind("e", [&](const Event&) { lobby.reset(); });
  this->trigger();
  this->channels.collect();
  EXPECT_EQ(this->recorder.take(), (Strings{"bye="}));
}

TYPED_TEST(SubscriptionTest, ACallableMayOwnOtherSubscriptions) {
  auto inner = std::make_shared<Subscription>(this->channels.subscribe("inner"));
  inner->bind("e", this->recorder.mark("inner"));
  auto outer = std::make_unique<Subscription>(this->channels.subscribe("outer"));
  outer->bind("e", [&, inner](const Event&) { outer.reset(); });
  inner.reset();
  EXPECT_EQ(this->channels.size(), 2U);
  this->channels.trigger("outer", "e", "");
  this->channels.collect();
  EXPECT_EQ(this->channels.size(), 0U);
  this->channels.collect();
  EXPECT_EQ(this->channels.stats().retired_bytes, 0U);
}

TYPED_TEST(SubscriptionTest, MayOwnItself) {
  int live = 0;
  {
    auto self = std::make_shared<Subscription>(this->channels.subscribe("lobby"));
    self->bind("e", [self, token = Token(live)](const Event&) { self->reset(); });
  }
  EXPECT_EQ(this->trigger().delivered, 1U);
  EXPECT_EQ(this->trigger().delivered, 0U);
  this->channels.collect();
  EXPECT_EQ(live, 0);
}

TYPED_TEST(SubscriptionTest, RandomChangesInsideCallbacksMatchAModel) {
  // Ten bindings that toggle one another: whoever is unbound is not called any more, whoever is bound is not yet.
  struct World {
    Subscription subscription;
    std::vector<BindingId> bound = std::vector<BindingId>(10);
    std::vector<bool> may_run = std::vector<bool>(10);
    unsigned state = 1;
    int calls = 0;
    unsigned next() { return (state = state * 1103515245U + 12345U) >> 16U; }
  };
  World world;
  world.subscription = this->channels.subscribe("lobby");
  const std::function<void(std::size_t)> toggle = [&](std::size_t index) {
    if (world.bound[index]) {
      EXPECT_TRUE(world.subscription.unbind(world.bound[index]));
      world.bound[index] = {};
      world.may_run[index] = false;
      return;
    }
    world.bound[index] = world.subscription.bind("e", [&, index](const Event&) {
      EXPECT_TRUE(world.may_run[index]) << index;
      ++world.calls;
      for (int i = 0; i < 3; ++i) toggle(world.next() % 10);
      if (world.next() % 8 == 0) this->channels.collect();
    });
  };
  for (int round = 0; round < 500; ++round) {
    for (std::size_t i = 0; i < 10; ++i) {
      if (!world.bound[i] && world.next() % 2 == 0) toggle(i);
      world.may_run[i] = static_cast<bool>(world.bound[i]);
    }
    this->trigger();
  }
  EXPECT_GT(world.calls, 500);
}

// ---- standing for others

/// A registry that writes down what its hooks say.
template <class Registry>
struct Hooked {
  Strings told;
  Registry channels{{.on_occupied = [this](std::string_view name) { told.push_back("+" + std::string(name)); },
                     .on_vacated = [this](std::string_view name) { told.push_back("-" + std::string(name)); }}};

  Strings take() { return std::exchange(told, {}); }
};

TYPED_TEST(SubscriptionTest, CountsAsManyAsItStandsFor) {
  Hooked<TypeParam> hooked;
  TypeParam& lobbies = hooked.channels;
  Queue queue;
  Subscription loop = lobbies.attach("lobby", queue);
  EXPECT_EQ(lobbies.subscribers("lobby"), 1U);
  loop.add_members(9);
  EXPECT_EQ(lobbies.subscribers("lobby"), 10U);
  const Subscription other = lobbies.subscribe("lobby");
  EXPECT_EQ(lobbies.subscribers("lobby"), 11U);
  loop.add_members(-4);
  EXPECT_EQ(lobbies.subscribers("lobby"), 7U);
  loop.add_members(0);
  EXPECT_EQ(lobbies.subscribers("lobby"), 7U);
  std::size_t listed = 0;
  EXPECT_EQ(lobbies.for_each_channel([&](std::string_view, std::size_t count) { listed = count; }), errc::ok);
  EXPECT_EQ(listed, 7U);
  EXPECT_EQ(lobbies.size(), 1U);
  EXPECT_EQ(lobbies.trigger("lobby", "e", "").delivered, 1U);  // it is one queue all the same
  loop.reset();                                                // takes all its members along
  EXPECT_EQ(lobbies.subscribers("lobby"), 1U);
  EXPECT_EQ(hooked.take(), (Strings{"+lobby"}));
}

TYPED_TEST(SubscriptionTest, WithoutMembersItIsThereButTheChannelIsVacated) {
  for (const bool reset : {false, true}) {
    Hooked<TypeParam> hooked;
    TypeParam& lobbies = hooked.channels;
    Queue queue;
    Subscription loop = lobbies.attach("presence-lobby", queue);
    EXPECT_EQ(hooked.take(), (Strings{"+presence-lobby"}));
    const EventId before = lobbies.trigger("presence-lobby", "e", "1").id;
    loop.add_members(-1);
    EXPECT_EQ(hooked.take(), (Strings{"-presence-lobby"}));
    EXPECT_FALSE(lobbies.occupied("presence-lobby"));
    EXPECT_EQ(lobbies.size(), 0U);
    EXPECT_EQ(lobbies.stats().channels, 0U);
    EXPECT_EQ(lobbies.stats().entries, 1U);
    EXPECT_EQ(loop.error(), errc::ok);
    const EventId after = lobbies.trigger("presence-lobby", "e", "2").id;
    EXPECT_TRUE(before < after);  // the same life of the channel
    EXPECT_EQ(queue.texts(), (Strings{"e=1", "e=2"}));
    loop.add_members(2);
    EXPECT_EQ(hooked.take(), (Strings{"+presence-lobby"}));
    EXPECT_EQ(lobbies.subscribers("presence-lobby"), 2U);
    EXPECT_EQ(lobbies.size(), 1U);
    loop.add_members(-2);
    EXPECT_EQ(hooked.take(), (Strings{"-presence-lobby"}));
    reset ? loop.reset() : loop.detach();
    EXPECT_EQ(hooked.take(), Strings{});  // it was vacated already
    EXPECT_EQ(lobbies.size(), 0U);
    EXPECT_EQ(lobbies.stats().entries, 0U);
  }
}

TYPED_TEST(SubscriptionTest, LeavingWithMembersVacatesOnce) {
  Hooked<TypeParam> hooked;
  Queue queue;
  for (const std::ptrdiff_t by : {std::ptrdiff_t{-1}, std::ptrdiff_t{0}, std::ptrdiff_t{5}}) {
    Subscription one = hooked.channels.attach("lobby", queue);
    Subscription two = hooked.channels.attach("lobby", queue);
    one.add_members(by);
    two.add_members(by);
    one.reset();
    EXPECT_EQ(hooked.channels.subscribers("lobby"), static_cast<std::size_t>(1 + by));
    two.detach();
    EXPECT_EQ(hooked.channels.subscribers("lobby"), 0U);
    EXPECT_EQ(hooked.take(), (Strings{"+lobby", "-lobby"}));
  }
}

TYPED_TEST(SubscriptionTest, MembersOfASetupEnterWithIt) {
  Hooked<TypeParam> hooked;
  {
    const Subscription lobby = hooked.channels.subscribe("lobby", [&](Subscription& subscription) {
      subscription.add_members(2);
      EXPECT_EQ(hooked.channels.subscribers("lobby"), 0U);
      EXPECT_EQ(hooked.take(), Strings{});
    });
    EXPECT_EQ(hooked.channels.subscribers("lobby"), 3U);
    EXPECT_EQ(hooked.take(), (Strings{"+lobby"}));
  }
  EXPECT_EQ(hooked.take(), (Strings{"-lobby"}));
  const Subscription none =
      hooked.channels.subscribe("lobby", [&](Subscription& subscription) { subscription.add_members(-1); });
  EXPECT_TRUE(none);
  EXPECT_FALSE(hooked.channels.occupied("lobby"));
  EXPECT_EQ(hooked.take(), Strings{});
}

TYPED_TEST(SubscriptionTest, MembersMayChangeInsideACallbackAndAHook) {
  Subscription* loop = nullptr;
  int hooks = 0;
  TypeParam hooked{{.on_vacated = [&](std::string_view) {
    if (++hooks < 3) loop->add_members(1);
  }}};
  Subscription lobby = hooked.subscribe("lobby");
  loop = &lobby;
  lobby.bind("e", [&](const Event&) { lobby.add_members(-1); });
  hooked.trigger("lobby", "e", "");
  EXPECT_EQ(hooks, 1);
  EXPECT_EQ(hooked.subscribers("lobby"), 1U);
  lobby.add_members(-1);
  EXPECT_EQ(hooks, 2);
  EXPECT_EQ(hooked.subscribers("lobby"), 1U);
  lobby.add_members(-1);
  EXPECT_EQ(hooks, 3);
  EXPECT_FALSE(hooked.occupied("lobby"));
}

TYPED_TEST(SubscriptionTest, MembersOfWhatHasEndedAreNobody) {
  Subscription none;
  none.add_members(3);
  Subscription refused = this->channels.subscribe("a b");
  refused.add_members(3);
  Subscription ended = this->channels.subscribe("lobby");
  ended.reset();
  ended.add_members(3);
  EXPECT_EQ(this->channels.size(), 0U);
  Subscription outlives;
  Strings told;
  {
    TypeParam other{{.on_vacated = [&](std::string_view name) { told.emplace_back(name); }}};
    outlives = other.subscribe("lobby");
  }
  outlives.add_members(3);
  outlives.add_members(-4);
  EXPECT_EQ(told, Strings{});
}

#if FANFARE_ASSERTS && GTEST_HAS_DEATH_TEST
TEST(SubscriptionDeathTest, FewerMembersThanNoneIsAMistake) {
  ChannelRegistry<> channels;
  Subscription lobby = channels.subscribe("lobby");
  EXPECT_DEATH(lobby.add_members(-2), "fewer than no members");
}
#endif

// ---- exceptions

TYPED_TEST(SubscriptionTest, ThrowInTheMiddleReachesEveryoneElseAndThenLeaves) {
  PolledSubscription inbox = this->channels.subscribe("lobby", Inbox{});
  Subscription lobby = this->channels.subscribe("lobby");
  lobby.bind("e", this->recorder.mark("1"));
  lobby.bind("e", [](const Event&) { throw std::runtime_error("first"); });
  lobby.bind("e", this->recorder.mark("2"));
  lobby.bind("e", [](const Event&) { throw std::logic_error("second"); });
  lobby.bind_all([](const Event&) { throw 3; });
  lobby.bind_all(this->recorder.mark("all"));
  try {
    this->trigger();
    FAIL() << "nothing left";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "first");
  }
  EXPECT_EQ(this->recorder.take(), (Strings{"1", "2", "all"}));
  EXPECT_EQ(inbox.size(), 1U);
  EXPECT_EQ(this->channels.stats().suppressed_exceptions, 2U);
  EXPECT_EQ(this->channels.stats().oldest_reader_age, 0U);
}

TYPED_TEST(SubscriptionTest, ThrowFromTheLastAndTheOnlyOne) {
  Subscription lobby = this->channels.subscribe("lobby");
  lobby.bind("e", [](const Event&) { throw std::runtime_error("only"); });
  EXPECT_THROW(this->trigger(), std::runtime_error);
  EXPECT_THROW(this->trigger(), std::runtime_error);
  EXPECT_EQ(this->channels.stats().suppressed_exceptions, 0U);
  EXPECT_EQ(this->trigger("other").error, errc::ok);
}

TYPED_TEST(SubscriptionTest, ThrowAfterItsOwnReset) {
  auto lobby = std::make_unique<Subscription>(this->channels.subscribe("lobby"));
  lobby->bind("e", [&](const Event&) {
    lobby.reset();
    throw std::runtime_error("bye");
  });
  EXPECT_THROW(this->trigger(), std::runtime_error);
  this->channels.collect();
  EXPECT_EQ(this->channels.stats().entries, 0U);
  EXPECT_EQ(this->channels.stats().retired_bytes, 0U);
}

TYPED_TEST(SubscriptionTest, ThrowOfANestedTriggerIsThatOfTheOuterCallback) {
  Subscription lobby = this->channels.subscribe("lobby");
  Subscription inner = this->channels.subscribe("inner");
  inner.bind("e", [](const Event&) { throw std::runtime_error("inner"); });
  lobby.bind("e", [&](const Event&) {
    this->channels.trigger("inner", "e", "");
    this->recorder.seen.push_back("never");
  });
  lobby.bind("e", this->recorder.mark("still"));
  EXPECT_THROW(this->trigger(), std::runtime_error);
  EXPECT_EQ(this->recorder.take(), (Strings{"still"}));
}

// ---- types

TEST(SubscriptionTypes, MoveButDoNotCopy) {
  static_assert(!std::is_copy_constructible_v<Subscription> && !std::is_copy_assignable_v<Subscription>);
  static_assert(std::is_nothrow_move_constructible_v<Subscription> && std::is_nothrow_move_assignable_v<Subscription>);
  static_assert(!std::is_copy_constructible_v<PolledSubscription>);
  static_assert(std::is_nothrow_move_constructible_v<PolledSubscription>);
}

TEST(BindingIdTest, IsEmptyAndClosedAtFirst) {
  const BindingId none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.error(), errc::closed);
  EXPECT_EQ(BindingId::failed(errc::out_of_memory).error(), errc::out_of_memory);
  EXPECT_FALSE(BindingId::failed(errc::out_of_memory));
  EXPECT_TRUE(BindingId::of(1));
  EXPECT_EQ(BindingId::of(1).error(), errc::ok);
}

TEST(FitsInSlot, SmallTrivialConstCallables) {
  int number = 0;
  const auto nothing = [](const Event&) {};
  const auto reference = [&number](const Event&) { ++number; };
  const auto two = [&number, other = &number](const Event&) { number += *other; };
  auto changing = [count = 0](const Event&) mutable { ++count; };
  auto shared = [p = std::shared_ptr<int>{}](const Event&) {};
  static_assert(detail::fits_in_slot<std::decay_t<decltype(nothing)>>);
  static_assert(detail::fits_in_slot<std::decay_t<decltype(reference)>>);
  static_assert(detail::fits_in_slot<void (*)(const Event&)>);
  static_assert(!detail::fits_in_slot<std::decay_t<decltype(two)>>);
  static_assert(!detail::fits_in_slot<decltype(changing)>);
  static_assert(!detail::fits_in_slot<decltype(shared)>);
}

}  // namespace
}  // namespace fanfare::test
