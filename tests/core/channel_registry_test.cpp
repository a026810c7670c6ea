#include <fanfare/core/channel_registry.hpp>

#include "support/memory.hpp"
#include "support/registries.hpp"
#include "support/sinks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

template <class Registry>
class ChannelRegistryTest : public ::testing::Test {
 protected:
  using Counts = std::map<std::string, std::size_t>;

  Counts list(std::string_view prefix = {}) {
    Counts counts;
    EXPECT_EQ(channels.for_each_channel(
                  [&](std::string_view name, std::size_t subscribers) {
                    EXPECT_TRUE(counts.emplace(name, subscribers).second);
                  },
                  prefix),
              errc::ok);
    return counts;
  }

  Recorder recorder;
  Registry channels;
};
TYPED_TEST_SUITE(ChannelRegistryTest, AllRegistries, RegistryNames);

// ---- names and limits

TYPED_TEST(ChannelRegistryTest, EveryDoorChecksTheChannelsName) {
  Queue queue;
  for (const auto& [name, error] : {std::pair<std::string, errc>{"", errc::empty_name},
                                    {std::string(165, 'x'), errc::name_too_long},
                                    {"a b", errc::bad_character},
                                    {"a:b", errc::bad_character},
                                    {"#x", errc::reserved_name}}) {
    EXPECT_EQ(this->channels.subscribe(name).error(), error);
    bool ran = false;
    EXPECT_EQ(this->channels.subscribe(name, [&](Subscription&) { ran = true; }).error(), error);
    EXPECT_FALSE(ran);
    EXPECT_EQ(this->channels.subscribe(name, Inbox{}).error(), error);
    EXPECT_EQ(this->channels.attach(name, queue).error(), error);
    EXPECT_EQ(this->channels.channel(name).error(), error);
    EXPECT_EQ(this->channels.trigger(name, "e", "").error, error);
    EXPECT_EQ(this->channels.trigger(name, "e", "", {}).error, error);
    EXPECT_EQ(this->channels.trigger({"good", name}, "e", "").error, error);
    EXPECT_FALSE(this->channels.occupied(name));
  }
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(ChannelRegistryTest, TriggerChecksTheEvent) {
  for (const auto& [name, error] : {std::pair<std::string, errc>{"", errc::empty_name},
                                    {std::string(201, 'x'), errc::event_too_long},
                                    {"pusher:ping", errc::reserved_name},
                                    {"pusher_internal:x", errc::reserved_name}}) {
    EXPECT_EQ(this->channels.trigger("lobby", name, "").error, error);
    EXPECT_EQ(this->channels.trigger({"lobby"}, name, "").error, error);
  }
  EXPECT_EQ(this->channels.trigger("lobby", "e", "").error, errc::ok);
}

TYPED_TEST(ChannelRegistryTest, LimitsAreTheOwners) {
  TypeParam strict{
      {.limits = {.channel_name = 5, .event_name = 3, .data = 4, .channels = 2, .channels_per_trigger = 2}}};
  EXPECT_EQ(strict.subscribe("123456").error(), errc::name_too_long);
  EXPECT_EQ(strict.trigger("123456", "e", "").error, errc::name_too_long);
  EXPECT_EQ(strict.trigger("a", "1234", "").error, errc::event_too_long);
  EXPECT_EQ(strict.trigger("a", "123", "12345").error, errc::data_too_large);
  EXPECT_EQ(strict.trigger("a", "123", "1234").error, errc::ok);
  Subscription lobby = strict.subscribe("12345");
  EXPECT_EQ(lobby.bind("1234", [](const Event&) {}).error(), errc::event_too_long);
  EXPECT_EQ(strict.trigger({"a", "b", "c"}, "e", "").error, errc::too_many_channels);
  EXPECT_EQ(strict.trigger({"a", "b"}, "e", "").error, errc::ok);
}

TYPED_TEST(ChannelRegistryTest, NoMoreChannelsThanAllowed) {
  TypeParam strict{{.limits = {.channels = 2}}};
  std::optional<Subscription> one{strict.subscribe("one")};
  const ChannelHandle two = strict.channel("two");
  Queue queue;
  EXPECT_EQ(strict.subscribe("three").error(), errc::too_many_channels);
  EXPECT_EQ(strict.subscribe("three", Inbox{}).error(), errc::too_many_channels);
  EXPECT_EQ(strict.channel("three").error(), errc::too_many_channels);
  EXPECT_EQ(strict.attach("three", queue).error(), errc::too_many_channels);
  EXPECT_EQ(strict.subscribe("one").error(), errc::ok);
  EXPECT_EQ(strict.subscribe("two").error(), errc::ok);
  EXPECT_EQ(strict.trigger("three", "e", "").error, errc::ok);
  one.reset();
  EXPECT_EQ(strict.subscribe("three").error(), errc::ok);
}

// ---- trigger

TYPED_TEST(ChannelRegistryTest, TriggerWithoutSubscribersIsNoError) {
  const TriggerResult result = this->channels.trigger("nobody", "e", "data");
  EXPECT_TRUE(result);
  EXPECT_EQ(result.delivered, 0U);
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(ChannelRegistryTest, TakesTextAndBytes) {
  Subscription lobby = this->channels.subscribe("lobby");
  std::vector<std::string> seen;
  lobby.bind("e", [&](const Event& event) { seen.emplace_back(event.data()); });
  const std::string text = "string";
  const std::array bytes{std::byte{0}, std::byte{255}};
  this->channels.trigger("lobby", "e", "literal");
  this->channels.trigger("lobby", "e", text);
  this->channels.trigger("lobby", "e", std::string_view{text}.substr(1));
  this->channels.trigger("lobby", "e", std::span<const std::byte>{bytes});
  this->channels.trigger("lobby", "e", {});
  EXPECT_EQ(seen, (std::vector<std::string>{"literal", "string", "tring", std::string("\0\xff", 2), ""}));
}

TYPED_TEST(ChannelRegistryTest, TriggersManyChannels) {
  Subscription one = this->channels.subscribe("one");
  Subscription two = this->channels.subscribe("presence-two");
  one.bind("e", [&](const Event& event) { this->recorder.seen.emplace_back(event.channel()); });
  two.bind("e", [&](const Event& event) { this->recorder.seen.emplace_back(event.channel()); });
  const TriggerResult result = this->channels.trigger({"presence-two", "nobody", "one"}, "e", "");
  EXPECT_EQ(result.delivered, 2U);
  EXPECT_FALSE(result.id);  // there is none for all of them
  EXPECT_EQ(this->recorder.take(), (Strings{"presence-two", "one"}));

  const std::vector<std::string_view> names{"one", "presence-two"};
  EXPECT_EQ(this->channels.trigger(std::span<const std::string_view>{names}, "e", "").delivered, 2U);
  EXPECT_EQ(this->channels.trigger(names, "e", "", {.except = one}).delivered, 1U);
  EXPECT_EQ(this->channels.trigger(std::span<const std::string_view>{}, "e", "").error, errc::ok);
  // Of one channel the id is that channel's.
  EXPECT_EQ(this->channels.trigger({"presence-two"}, "e", "").id.number, 4U);
}

TYPED_TEST(ChannelRegistryTest, OneBadNameOfManyMeansNobodyGetsIt) {
  Subscription one = this->channels.subscribe("one");
  one.bind("e", this->recorder.callback());
  EXPECT_EQ(this->channels.trigger({"one", "b d"}, "e", "").error, errc::bad_character);
  EXPECT_EQ(this->channels.trigger(std::vector<std::string_view>(101, "one"), "e", "").error, errc::too_many_channels);
  EXPECT_EQ(this->recorder.take(), Strings{});
  EXPECT_EQ(this->channels.trigger(std::vector<std::string_view>(100, "one"), "e", "").error, errc::ok);
}

TYPED_TEST(ChannelRegistryTest, ThrowInOneOfManyChannelsReachesTheOthersAndThenLeaves) {
  Subscription one = this->channels.subscribe("one");
  Subscription two = this->channels.subscribe("two");
  Subscription three = this->channels.subscribe("three");
  one.bind("e", [](const Event&) { throw std::runtime_error("first"); });
  one.bind("e", this->recorder.mark("one"));
  two.bind("e", [](const Event&) { throw std::logic_error("second"); });
  two.bind("e", [](const Event&) { throw std::logic_error("third"); });
  three.bind("e", this->recorder.mark("three"));
  EXPECT_THROW(this->channels.trigger({"one", "two", "three"}, "e", ""), std::runtime_error);
  EXPECT_EQ(this->recorder.take(), (Strings{"one", "three"}));
  EXPECT_EQ(this->channels.stats().suppressed_exceptions, 2U);
}

// ---- coming, going, counting

TYPED_TEST(ChannelRegistryTest, ChannelsComeAndGoWithTheirSubscribers) {
  EXPECT_EQ(this->channels.error(), errc::ok);
  EXPECT_EQ(this->channels.size(), 0U);
  Subscription one = this->channels.subscribe("one");
  std::optional<Subscription> other{this->channels.subscribe("one")};
  PolledSubscription two = this->channels.subscribe("two", Inbox{2});
  EXPECT_EQ(this->channels.size(), 2U);
  EXPECT_EQ(this->channels.subscribers("one"), 2U);
  EXPECT_TRUE(this->channels.occupied("two"));
  EXPECT_FALSE(this->channels.occupied("three"));
  EXPECT_EQ(this->list(), (typename TestFixture::Counts{{"one", 2}, {"two", 1}}));
  other.reset();
  two.reset();
  EXPECT_EQ(this->list(), (typename TestFixture::Counts{{"one", 1}}));
  EXPECT_EQ(this->channels.subscribers("two"), 0U);
  EXPECT_EQ(this->channels.stats().channels, 1U);
  EXPECT_EQ(this->channels.stats().entries, 1U);
}

TYPED_TEST(ChannelRegistryTest, ListsOccupiedChannelsByPrefix) {
  std::vector<Subscription> subscriptions;
  for (const std::string_view name : {"presence-a", "presence-b", "private-a", "presence"}) {
    subscriptions.push_back(this->channels.subscribe(name));
  }
  const ChannelHandle empty = this->channels.channel("presence-empty");
  EXPECT_EQ(this->list("presence-"), (typename TestFixture::Counts{{"presence-a", 1}, {"presence-b", 1}}));
  EXPECT_EQ(this->list("presence-a").size(), 1U);
  EXPECT_EQ(this->list("x").size(), 0U);
  EXPECT_EQ(this->list().size(), 4U);
}

TYPED_TEST(ChannelRegistryTest, ListingMayChangeTheRegistry) {
  std::vector<Subscription> subscriptions;
  std::set<std::string> names;
  for (int i = 0; i < 50; ++i) {
    subscriptions.push_back(this->channels.subscribe("room-" + std::to_string(i)));
    names.insert("room-" + std::to_string(i));
  }
  std::set<std::string> seen;
  EXPECT_EQ(this->channels.for_each_channel([&](std::string_view name, std::size_t) {
    if (name.starts_with("room-")) seen.emplace(name);
    for (int i = 0; i < 5 && subscriptions.size() < 400; ++i) {
      subscriptions.push_back(this->channels.subscribe("new-" + std::to_string(subscriptions.size())));
    }
    this->channels.collect();
    EXPECT_EQ(this->channels.trigger(name, "e", "").error, errc::ok);
  }),
            errc::ok);
  EXPECT_EQ(seen, names);
  EXPECT_EQ(this->channels.for_each_channel([&](std::string_view, std::size_t) { subscriptions.clear(); }), errc::ok);
  EXPECT_EQ(this->channels.size(), 0U);
  this->channels.collect();
  EXPECT_EQ(this->channels.stats().retired_bytes, 0U);
}

TYPED_TEST(ChannelRegistryTest, ExceptionOfAListingLeaves) {
  const Subscription one = this->channels.subscribe("one");
  EXPECT_THROW(this->channels.for_each_channel([](std::string_view, std::size_t) { throw 1; }), int);
  EXPECT_EQ(this->channels.stats().oldest_reader_age, 0U);
}

TYPED_TEST(ChannelRegistryTest, ManyChannelsAreAllFound) {
  std::vector<Subscription> subscriptions;
  for (int i = 0; i < 300; ++i) {
    const std::string name = "room-" + std::to_string(i);
    subscriptions.push_back(this->channels.subscribe(name));
    subscriptions.back().bind("e", this->recorder.callback());
    // A long chain of event names too.
    subscriptions.front().bind("event-" + std::to_string(i), this->recorder.callback());
  }
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(this->channels.trigger("room-" + std::to_string(i), "e", "").delivered, 1U);
    EXPECT_EQ(this->channels.trigger("room-0", "event-" + std::to_string(i), "").delivered, 1U);
  }
  EXPECT_EQ(this->channels.trigger("room-300", "e", "").delivered, 0U);
  EXPECT_EQ(this->channels.trigger("room-0", "event-300", "").delivered, 0U);
  EXPECT_EQ(this->list().size(), 300U);
  for (std::size_t i = 0; i < 300; i += 2) subscriptions[i].reset();
  for (std::size_t i = 0; i < 300; ++i) {
    EXPECT_EQ(this->channels.occupied("room-" + std::to_string(i)), i % 2 == 1);
  }
}

TYPED_TEST(ChannelRegistryTest, NothingStaysRetiredAfterCollect) {
  Subscription lobby = this->channels.subscribe("lobby");
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 30; ++i) lobby.bind(std::to_string(i), [](const Event&) {});
    Subscription other = this->channels.subscribe(std::to_string(round));
    other.bind("e1", [](const Event&) {});
    other.detach();
    lobby.bind("go", [&](const Event&) {
      lobby.unbind("1");
      Subscription inside = this->channels.subscribe("inside");
      inside.bind_all([](const Event&) {});
    });
    this->channels.trigger("lobby", "go", "");
    for (int i = 0; i < 30; ++i) lobby.unbind(std::to_string(i));
    lobby.unbind("go");
  }
  this->channels.collect();
  EXPECT_EQ(this->channels.stats().retired_bytes, 0U);
  lobby.reset();
  this->channels.collect();
  EXPECT_EQ(this->channels.stats().retired_bytes, 0U);
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(ChannelRegistryTest, CollectInACallbackIsHarmless) {
  Subscription lobby = this->channels.subscribe("lobby");
  Subscription other = this->channels.subscribe("lobby");
  lobby.bind("e", [&](const Event&) {
    other.reset();
    this->channels.collect();
    for (int i = 0; i < 10; ++i) lobby.bind("e", [](const Event&) {});
    this->channels.collect();
  });
  other.bind("e", this->recorder.mark("never"));
  EXPECT_EQ(this->channels.trigger("lobby", "e", "").delivered, 1U);
  this->channels.collect();
  EXPECT_EQ(this->channels.stats().retired_bytes, 0U);
  EXPECT_EQ(this->recorder.take(), Strings{});
}

// ---- sinks that the registry keeps

TYPED_TEST(ChannelRegistryTest, KeepsASinkThatIsAttachedByValueUntilItsSubscriptionEnds) {
  for (int how = 0; how < 4; ++how) {
    SCOPED_TRACE(how);
    KeptLog kept;
    {
      std::optional<Subscription> lobby{this->channels.attach("lobby", KeptSink{kept})};
      ASSERT_TRUE(*lobby);
      EXPECT_EQ(kept.destroyed, 0);
      EXPECT_EQ(this->channels.trigger("lobby", "e", "1").delivered, 1U);
      Subscription moved = std::move(*lobby);
      EXPECT_EQ(this->channels.trigger("lobby", "e", "2").delivered, 1U);
      EXPECT_EQ(kept.destroyed, 0);
      if (how == 0) moved.reset();
      if (how == 1) moved.detach();
      if (how == 2) moved = this->channels.subscribe("lobby");
      if (how == 3) lobby.emplace(std::move(moved));
      EXPECT_EQ(this->channels.trigger("lobby", "e", "3").delivered, how == 3 ? 1U : 0U);
      if (how == 0 || how == 2) {
        EXPECT_EQ(kept.destroyed, 1);
      }
    }
    this->channels.collect();
    EXPECT_EQ(kept.destroyed, 1);
    EXPECT_EQ(kept.pushed.size(), how == 3 ? 3U : 2U);
    EXPECT_FALSE(this->channels.occupied("lobby"));
  }
  EXPECT_EQ(this->channels.stats().retired_bytes, 0U);
  EXPECT_EQ(this->channels.stats().entries, 0U);
}

TYPED_TEST(ChannelRegistryTest, AKeptSinkIsNotDestroyedBeforeTheTriggerIsOverThatRemovesIt) {
  for (const bool detach : {false, true}) {
    KeptLog kept;
    Subscription lobby = this->channels.attach("lobby", KeptSink{kept});
    Subscription other = this->channels.attach("lobby", KeptSink{kept});
    lobby.bind("e", [&](const Event&) {
      detach ? lobby.detach() : lobby.reset();
      detach ? other.detach() : other.reset();
      this->channels.collect();
      EXPECT_EQ(kept.destroyed, 0);
      EXPECT_EQ(this->channels.trigger("lobby", "f", "").delivered, 0U);
    });
    EXPECT_EQ(this->channels.trigger("lobby", "e", "").delivered, 3U);
    this->channels.collect();
    EXPECT_EQ(kept.destroyed, 2);
  }
}

TYPED_TEST(ChannelRegistryTest, AKeptSinkMayOutliveTheRegistry) {
  for (const bool detach : {false, true}) {
    KeptLog kept;
    Subscription lobby;
    {
      TypeParam other;
      lobby = other.attach("lobby", KeptSink{kept});
      Subscription left = other.attach("lobby", KeptSink{kept});
      left.detach();
    }
    EXPECT_EQ(kept.destroyed, 1);  // the one that was left is destroyed with the registry
    EXPECT_EQ(lobby.error(), errc::closed);
    detach ? lobby.detach() : lobby.reset();
    EXPECT_EQ(kept.destroyed, 2);
  }
}

TYPED_TEST(ChannelRegistryTest, ASinkThatIsRefusedStaysWithItsOwner) {
  KeptLog kept;
  TypeParam strict{{.limits = {.channels = 1}}};
  const ChannelHandle one = strict.channel("one");
  {
    KeptSink sink{kept};
    EXPECT_EQ(strict.attach("a b", std::move(sink)).error(), errc::bad_character);
    EXPECT_FALSE(sink.moved_from());  // NOLINT(bugprone-use-after-move): that is the point
    EXPECT_EQ(strict.attach("two", std::move(sink)).error(), errc::too_many_channels);
    EXPECT_FALSE(sink.moved_from());
    EXPECT_EQ(kept.destroyed, 0);
  }
  EXPECT_EQ(kept.destroyed, 1);
}

TYPED_TEST(ChannelRegistryTest, ASinkWithANameIsNotKept) {
  KeptLog kept;
  KeptSink sink{kept};
  {
    const Subscription lobby = this->channels.attach("lobby", sink);
    EXPECT_FALSE(sink.moved_from());
    this->channels.trigger("lobby", "e", "1");
  }
  EXPECT_EQ(kept.destroyed, 0);
  EXPECT_EQ(kept.pushed, (Strings{"e=1"}));
}

/// As strictly aligned as it says, and with all that a sink may have.
struct alignas(64) AlignedSink {
  static constexpr bool wire = true;
  struct Seen {
    int pushed = 0;
    int misplaced = 0;
    std::size_t room = 100;
  };
  bool push(MessagePtr message, MessageLink& link) noexcept {
    if (reinterpret_cast<std::uintptr_t>(this) % 64 != 0) ++seen->misplaced;
    if (message->frame().empty() || link.message != nullptr) ++seen->misplaced;
    ++seen->pushed;
    return true;
  }
  [[nodiscard]] bool has_room(std::size_t bytes) noexcept { return bytes <= seen->room; }
  Seen* seen;
};

TYPED_TEST(ChannelRegistryTest, AKeptSinkHasEverythingThatOthersHave) {
  LineEncoder encoder;
  TypeParam other{{.encoder = &encoder}};
  AlignedSink::Seen seen;
  Subscription lobby = other.attach("lobby", AlignedSink{&seen});
  EXPECT_EQ(other.trigger("lobby", "e", "").delivered, 1U);
  EXPECT_EQ(other.trigger("lobby", "e", "", {.except = lobby}).delivered, 0U);
  lobby.bind("e", this->recorder.callback());
  EXPECT_EQ(other.trigger("lobby", "e", "x").delivered, 2U);
  seen.room = 0;
  EXPECT_EQ(other.trigger("lobby", "e", "").error, errc::overloaded);
  EXPECT_EQ(seen.pushed, 2);
  EXPECT_EQ(seen.misplaced, 0);
  EXPECT_EQ(this->recorder.take(), (Strings{"e=x"}));
}

TYPED_TEST(ChannelRegistryTest, ManyKeptSinksComeAndGo) {
  KeptLog kept;
  std::vector<Subscription> subscriptions;
  for (int i = 0; i < 200; ++i) {
    subscriptions.push_back(this->channels.attach(i % 2 == 0 ? "lobby" : "presence-lobby", KeptSink{kept}));
    if (i % 3 == 0) subscriptions[static_cast<std::size_t>(i) / 2].detach();
    if (i % 5 == 0) subscriptions.back().reset();
  }
  const auto living = static_cast<std::size_t>(
      std::count_if(subscriptions.begin(), subscriptions.end(), [](const Subscription& one) { return bool{one}; }));
  this->channels.collect();
  EXPECT_EQ(kept.destroyed, static_cast<int>(200 - living));
  EXPECT_EQ(this->channels.trigger({"lobby", "presence-lobby"}, "e", "").delivered, living);
  subscriptions.clear();
  EXPECT_EQ(kept.destroyed, 200);
}

// ---- hooks

TYPED_TEST(ChannelRegistryTest, HooksTellWhenAChannelIsOccupiedAndVacated) {
  Strings told;
  TypeParam hooked{{.on_occupied = [&](std::string_view name) { told.push_back("+" + std::string(name)); },
                    .on_vacated = [&](std::string_view name) { told.push_back("-" + std::string(name)); }}};
  {
    const Subscription one = hooked.subscribe("a");
    const PolledSubscription two = hooked.subscribe("a", Inbox{2});
    const Subscription three = hooked.subscribe("b");
    EXPECT_EQ(told, (Strings{"+a", "+b"}));
  }
  EXPECT_EQ(told, (Strings{"+a", "+b", "-b", "-a"}));
  told.clear();
  const ChannelHandle handle = hooked.channel("a");
  EXPECT_EQ(told, Strings{});  // a handle is no subscriber
  static_cast<void>(hooked.subscribe("a"));
  static_cast<void>(hooked.subscribe("b d"));
  EXPECT_EQ(told, (Strings{"+a", "-a"}));
}

TYPED_TEST(ChannelRegistryTest, EitherHookMayBeMissing) {
  int told = 0;
  {
    TypeParam hooked{{.on_occupied = [&](std::string_view) { ++told; }}};
    for (int i = 0; i < 3; ++i) static_cast<void>(hooked.subscribe("a"));
  }
  EXPECT_EQ(told, 3);
  {
    TypeParam hooked{{.on_vacated = [&](std::string_view) { ++told; }}};
    for (int i = 0; i < 3; ++i) static_cast<void>(hooked.subscribe("a"));
  }
  EXPECT_EQ(told, 6);
}

TYPED_TEST(ChannelRegistryTest, HooksMaySubscribeAndLeave) {
  Strings told;
  TypeParam* registry = nullptr;
  int visits = 0;
  TypeParam hooked{{.on_occupied =
                        [&](std::string_view name) {
                          told.push_back("+" + std::string(name));
                          registry->trigger(name, "e", "");
                          if (name == "a") static_cast<void>(registry->subscribe("other"));
                        },
                    .on_vacated =
                        [&](std::string_view name) {
                          told.push_back("-" + std::string(name));
                          if (name == "a" && ++visits <= 2) static_cast<void>(registry->subscribe("a"));
                        }}};
  registry = &hooked;
  static_cast<void>(hooked.subscribe("a"));
  EXPECT_EQ(told,
            (Strings{"+a", "+other", "-other", "-a", "+a", "+other", "-other", "-a", "+a", "+other", "-other", "-a"}));
  EXPECT_EQ(hooked.stats().entries, 0U);
}

TYPED_TEST(ChannelRegistryTest, HooksRunInsideCallbacksToo) {
  Strings told;
  TypeParam hooked{{.on_occupied = [&](std::string_view name) { told.push_back("+" + std::string(name)); },
                    .on_vacated = [&](std::string_view name) { told.push_back("-" + std::string(name)); }}};
  std::optional<Subscription> lobby{hooked.subscribe("lobby")};
  lobby->bind("e", [&](const Event&) {
    lobby.reset();
    const Subscription other = hooked.subscribe("other");
    told.push_back("in");
  });
  hooked.trigger("lobby", "e", "");
  EXPECT_EQ(told, (Strings{"+lobby", "-lobby", "+other", "in", "-other"}));
}

TYPED_TEST(ChannelRegistryTest, HookOfAnInboxResetInItsPoll) {
  Strings told;
  TypeParam hooked{{.on_occupied = [&](std::string_view) { told.push_back("+"); },
                    .on_vacated = [&](std::string_view) { told.push_back("-"); }}};
  PolledSubscription inbox = hooked.subscribe("lobby", Inbox{});
  hooked.trigger("lobby", "e", "");
  PolledSubscription next;
  inbox.poll([&](const Event&) {
    inbox.reset();
    next = hooked.subscribe("lobby", Inbox{});
  });
  EXPECT_EQ(told, (Strings{"+", "-", "+"}));
}

TYPED_TEST(ChannelRegistryTest, HooksAreNotCalledAfterTheRegistrysEnd) {
  Strings told;
  Subscription left;
  PolledSubscription inbox;
  {
    TypeParam hooked{{.on_vacated = [&](std::string_view name) { told.emplace_back(name); }}};
    left = hooked.subscribe("lobby");
    inbox = hooked.subscribe("other", Inbox{});
  }
  // What the hook captured may be gone: its owner is who owned the registry.
  told.clear();
  left.reset();
  inbox.reset();
  EXPECT_EQ(told, Strings{});
}

// ---- end

TYPED_TEST(ChannelRegistryTest, MayEndWithEverythingStillThere) {
  Queue queue;
  std::vector<Subscription> subscriptions;
  PolledSubscription inbox;
  ChannelHandle handle;
  MessagePtr kept;
  {
    TypeParam other;
    for (int i = 0; i < 100; ++i) {
      subscriptions.push_back(other.subscribe("room-" + std::to_string(i % 30)));
      subscriptions.back().bind("e", [&](const Event& event) { kept = event.keep(); });
      subscriptions.back().bind_all([](const Event&) {});
    }
    subscriptions.push_back(other.attach("room-1", queue));
    inbox = other.subscribe("room-2", Inbox{});
    handle = other.channel("room-3");
    other.trigger({"room-1", "room-2", "room-3"}, "e", "data");
  }
  EXPECT_EQ(handle.trigger("e", "").error, errc::closed);
  EXPECT_EQ(inbox.error(), errc::closed);
  for (const Subscription& subscription : subscriptions) EXPECT_EQ(subscription.error(), errc::closed);
  EXPECT_EQ(text_of(*kept), "e=data");
  handle = {};
  subscriptions.clear();
  EXPECT_EQ(inbox.poll([](const Event&) {}), 1U);
}

TYPED_TEST(ChannelRegistryTest, TwoRegistriesAreStrangers) {
  TypeParam other;
  Subscription here = this->channels.subscribe("lobby");
  here.bind("e", this->recorder.mark("here"));
  EXPECT_EQ(other.trigger("lobby", "e", "").delivered, 0U);
  EXPECT_EQ(other.size(), 0U);
  EXPECT_EQ(this->channels.trigger("lobby", "e", "").delivered, 1U);
}

#if FANFARE_ASSERTS && GTEST_HAS_DEATH_TEST
TEST(ChannelRegistryDeathTest, EndInsideACallbackIsAMistake) {
  EXPECT_DEATH(
      {
        auto channels = std::make_unique<ChannelRegistry<>>();
        Subscription lobby = channels->subscribe("lobby");
        lobby.bind("e", [&](const Event&) { channels.reset(); });
        channels->trigger("lobby", "e", "");
      },
      "destroyed from inside one of its callbacks");
}
#endif

// ---- hash

/// Good names collide until the seed changes.
struct WeakHash {
  static std::uint64_t hash(std::string_view name, std::uint64_t seed) noexcept {
    return seed == 1 ? 42 : SeededHash::hash(name, seed);
  }
};

TEST(ChannelRegistry, CollidingNamesGetANewSeedAndAreStillFound) {
  ChannelRegistry<WithHash<WeakHash>> channels{{.seed = 1}};
  std::vector<Subscription> subscriptions;
  for (int i = 0; i < 2000; ++i) subscriptions.push_back(channels.subscribe("room-" + std::to_string(i)));
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(channels.subscribers("room-" + std::to_string(i)), 1U);
  for (std::size_t i = 0; i < 2000; i += 2) subscriptions[i].reset();
  for (std::size_t i = 0; i < 2000; ++i) ASSERT_EQ(channels.subscribers("room-" + std::to_string(i)), i % 2);
  EXPECT_EQ(channels.size(), 1000U);
}

TEST(ChannelRegistry, SeedIsTheOwners) {
  static std::uint64_t seen;
  struct Spy {
    static std::uint64_t hash(std::string_view name, std::uint64_t seed) noexcept {
      seen = seed;
      return SeededHash::hash(name, seed);
    }
  };
  ChannelRegistry<WithHash<Spy>> channels{{.seed = 77}};
  channels.trigger("lobby", "e", "");
  EXPECT_EQ(seen, 77U);
  ChannelRegistry<WithHash<Spy>> unseeded;
  unseeded.trigger("lobby", "e", "");
  EXPECT_NE(seen, 0U);
}

// ---- policies

struct TestClock {
  using duration = std::chrono::milliseconds;
  static std::chrono::time_point<std::chrono::system_clock, duration> now() noexcept { return {}; }
};

TEST(ChannelRegistry, PoliciesStandInAnyOrder) {
  MemoryLog log;
  {
    ChannelRegistry<WithClock<TestClock>, WithMemory<CountingMemory>, EpochReclaimer, WithHash<OneHash>, MultiThreaded,
                    StdAtomics>
        channels{{}, CountingMemory{log}};
    Subscription lobby = channels.subscribe("presence-x");
    EXPECT_EQ(channels.trigger("presence-x", "e", "").id.number, 1U);
    EXPECT_GT(log.live_blocks(), 0U);
  }
  EXPECT_EQ(log.live_blocks(), 0U);
}

TEST(ChannelRegistry, IsNeitherCopiedNorMoved) {
  static_assert(!std::is_copy_constructible_v<ChannelRegistry<>> && !std::is_move_constructible_v<ChannelRegistry<>>);
  static_assert(!std::is_copy_assignable_v<ChannelRegistry<>> && !std::is_move_assignable_v<ChannelRegistry<>>);
}

TEST(ChannelRegistry, ConceptsOfItsPolicies) {
  static_assert(Clock<std::chrono::steady_clock> && Clock<std::chrono::system_clock> && Clock<TestClock>);
  static_assert(!Clock<int>);
  static_assert(Reclaimer<EpochReclaimer> && Reclaimer<WalkDepthReclaimer> && !Reclaimer<MultiThreaded>);
}

// ---- errors

TEST(ChannelRegistry, EveryErrorCanBeReached) {
  std::set<errc> seen;
  const auto see = [&](errc error) { seen.insert(error); };
  LineEncoder encoder;
  MemoryLog log;
  Subscription left;
  {
    CountingRegistry channels{{.limits = {.channels = 2}, .encoder = &encoder}, CountingMemory{log}};
    see(channels.trigger("lobby", "e", "").error);
    see(channels.trigger("", "e", "").error);
    see(channels.trigger(std::string(200, 'x'), "e", "").error);
    see(channels.trigger("*", "e", "").error);
    see(channels.trigger("lobby", "pusher:x", "").error);
    see(channels.trigger("lobby", std::string(300, 'x'), "").error);
    see(channels.trigger("lobby", "e", std::string(2U << 20U, 'x')).error);
    left = channels.subscribe("lobby");
    const Subscription other = channels.subscribe("other");
    see(channels.subscribe("third").error());
    left.bind("e", [&](const Event&) { see(channels.trigger("lobby", "e", "").error); });
    channels.trigger("lobby", "e", "");
    WireQueue wire;
    const Subscription attached = channels.attach("other", wire);
    see(channels.trigger("other", "e", "\xff").error);
    BoundedQueue full;
    full.room = 0;
    const Subscription bounded = channels.attach("other", full);
    see(channels.trigger("other", "e", "").error);
    log.fail_after(0, true);
    see(channels.subscribe("lobby").error());
    log.succeed();
  }
  see(left.error());
  EXPECT_EQ(seen.size(), 13U);
}

// ---- exhausted memory

template <class Registry>
class ExhaustedMemoryTest : public ::testing::Test {
 protected:
  /// A registry with a bit of everything, and all that can be seen of it.
  struct World {
    explicit World(MemoryLog& log) : channels{{.encoder = &encoder}, CountingMemory{log}} {
      lobby = channels.subscribe("lobby");
      lobby.bind("e", [this](const Event&) { ++calls; });
      lobby.bind_all([this](const Event&) { ++calls; });
      attached = channels.attach("lobby", queue);
      ordered = channels.subscribe("presence-lobby", Inbox{16});
      handle = channels.channel("handle");
    }
    /// What everybody gets for one event in each channel, and what exists.
    std::vector<std::size_t> observe() {
      const auto before = calls;
      std::vector<std::size_t> seen{channels.size(), channels.stats().entries, channels.subscribers("lobby"),
                                    channels.subscribers("presence-lobby"), channels.subscribers("new")};
      for (const char* const name : {"lobby", "presence-lobby", "new", "handle"}) {
        for (const char* const event : {"e", "f"}) seen.push_back(channels.trigger(name, event, "").delivered);
      }
      seen.push_back(calls - before);
      queue.messages.clear();
      ordered.poll([](const Event&) {});
      return seen;
    }

    LineEncoder encoder;
    std::size_t calls = 0;
    WireQueue queue;
    Registry channels;
    Subscription lobby;
    Subscription attached;
    PolledSubscription ordered;
    ChannelHandle handle;
  };

  enum class Expect { out_of_memory, success_is_fine_too };

  /// Runs `operation(World&) -> errc` with the failure of allocation 0, 1, 2, … and then without.
  template <class Operation>
  void fail_everywhere(Operation operation, Expect expect = Expect::out_of_memory) {
    for (const bool all : {false, true}) {
      for (std::size_t n = 0;; ++n) {
        SCOPED_TRACE(n);
        ASSERT_LT(n, 100U);
        MemoryLog log;
        bool refused = false;
        {
          World world{log};
          const auto before = world.observe();
          log.fail_after(n, all);
          const errc error = operation(world);
          refused = log.refused() != 0;
          log.succeed();
          if (!refused) {
            EXPECT_EQ(error, errc::ok);
          } else if (expect == Expect::out_of_memory || error != errc::ok) {
            EXPECT_EQ(error, errc::out_of_memory);
            EXPECT_EQ(world.observe(), before);
          }
          world.channels.collect();
          EXPECT_EQ(world.channels.stats().retired_bytes, 0U);
        }
        EXPECT_EQ(log.live_blocks(), 0U);
        EXPECT_EQ(log.mistakes(), "");
        if (!refused) break;
      }
    }
  }
};
TYPED_TEST_SUITE(ExhaustedMemoryTest, WatchedRegistries, RegistryNames);

TYPED_TEST(ExhaustedMemoryTest, RegistryWithoutACoreAnswersOutOfMemory) {
  MemoryLog log;
  log.fail_after(0, true);
  TypeParam channels{{}, CountingMemory{log}};
  log.succeed();
  EXPECT_EQ(channels.error(), errc::out_of_memory);
  Queue queue;
  EXPECT_EQ(channels.subscribe("lobby").error(), errc::out_of_memory);
  EXPECT_EQ(channels.subscribe("lobby", [](Subscription&) {}).error(), errc::out_of_memory);
  EXPECT_EQ(channels.subscribe("lobby", Inbox{}).error(), errc::out_of_memory);
  EXPECT_EQ(channels.attach("lobby", queue).error(), errc::out_of_memory);
  EXPECT_EQ(channels.attach("lobby", Queue{}).error(), errc::out_of_memory);
  EXPECT_EQ(channels.channel("lobby").error(), errc::out_of_memory);
  EXPECT_EQ(channels.channel("lobby").trigger("e", "").error, errc::out_of_memory);
  EXPECT_EQ(channels.trigger("lobby", "e", "").error, errc::out_of_memory);
  EXPECT_EQ(channels.trigger({"lobby"}, "e", "").error, errc::out_of_memory);
  EXPECT_EQ(channels.for_each_channel([](std::string_view, std::size_t) {}), errc::out_of_memory);
  EXPECT_EQ(channels.size(), 0U);
  EXPECT_EQ(channels.subscribers("lobby"), 0U);
  EXPECT_EQ(channels.stats().entries, 0U);
  channels.collect();
  EXPECT_EQ(log.live_blocks(), 0U);
}

TYPED_TEST(ExhaustedMemoryTest, Subscribe) {
  this->fail_everywhere([](auto& world) { return world.channels.subscribe("new").error(); });
  this->fail_everywhere([](auto& world) { return world.channels.subscribe("lobby").error(); });
  this->fail_everywhere([](auto& world) { return world.channels.subscribe("handle").error(); });
}

TYPED_TEST(ExhaustedMemoryTest, SubscribeKeepsWhatSucceeds) {
  std::vector<Subscription> kept;
  this->fail_everywhere([&](auto& world) {
    kept.push_back(world.channels.subscribe("new"));
    const errc error = kept.back().error();
    kept.clear();
    return error;
  });
}

TYPED_TEST(ExhaustedMemoryTest, SubscribeWithSetup) {
  for (const std::string_view name : {"new", "lobby"}) {
    this->fail_everywhere([&](auto& world) {
      errc inside = errc::ok;
      const Subscription made = world.channels.subscribe(name, [&](Subscription& subscription) {
        for (const std::string_view event : {"e", "e", "f", "e"}) {
          const BindingId id = subscription.bind(event, [](const Event&) {});
          if (!id) inside = id.error();
        }
        const BindingId id = subscription.bind_all([](const Event&) {});
        if (!id) inside = id.error();
      });
      return made.error() != errc::ok ? made.error() : inside;
    });
  }
}

TYPED_TEST(ExhaustedMemoryTest, SubscribeWithSetupThatLooksAtNothing) {
  this->fail_everywhere([](auto& world) {
    const auto setup = [](Subscription& subscription) { subscription.bind("e", [](const Event&) {}); };
    return world.channels.subscribe("new", setup).error();
  });
}

TYPED_TEST(ExhaustedMemoryTest, SubscribeInbox) {
  for (const std::string_view name : {"new", "lobby", "presence-lobby"}) {
    this->fail_everywhere([&](auto& world) { return world.channels.subscribe(name, Inbox{8}).error(); });
  }
}

TYPED_TEST(ExhaustedMemoryTest, Attach) {
  for (const std::string_view name : {"new", "lobby", "presence-lobby"}) {
    Queue queue;
    this->fail_everywhere([&](auto& world) { return world.channels.attach(name, queue).error(); });
  }
}

TYPED_TEST(ExhaustedMemoryTest, AttachByValue) {
  for (const std::string_view name : {"new", "lobby", "presence-lobby"}) {
    this->fail_everywhere([&](auto& world) {
      KeptLog kept;
      errc error = errc::ok;
      {
        KeptSink sink{kept};
        const Subscription attached = world.channels.attach(name, std::move(sink));
        error = attached.error();
        // Where there was memory for it, the subscription has it, or had it until it was refused further on.
        if (error == errc::ok) {
          EXPECT_TRUE(sink.moved_from());  // NOLINT(bugprone-use-after-move): that is the point
        }
        EXPECT_EQ(kept.destroyed, error != errc::ok && sink.moved_from() ? 1 : 0);
      }
      EXPECT_EQ(kept.destroyed, 1);
      return error;
    });
  }
}

TYPED_TEST(ExhaustedMemoryTest, Members) {
  this->fail_everywhere([](auto& world) {  // needs no memory
    world.lobby.add_members(3);
    world.lobby.add_members(-3);
    return errc::ok;
  });
}

TYPED_TEST(ExhaustedMemoryTest, TriggerToLinkedQueues) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    LinkedQueue one;
    LinkedQueue two;
    this->fail_everywhere([&](auto& world) {
      const Subscription first = world.channels.attach(name, one);
      const Subscription second = world.channels.attach(name, two);
      if (!first || !second) return errc::out_of_memory;
      const errc error = world.channels.trigger(name, "e", "data").error;
      EXPECT_EQ(one.texts(), error == errc::ok ? Strings{"e=data"} : Strings{});
      EXPECT_EQ(two.texts(), one.texts());
      one.clear();
      two.clear();
      world.queue.messages.clear();
      world.ordered.poll([](const Event&) {});
      return error;
    });
  }
}

TYPED_TEST(ExhaustedMemoryTest, Channel) {
  this->fail_everywhere([](auto& world) { return world.channels.channel("new").error(); });
  this->fail_everywhere([](auto& world) { return world.channels.channel("lobby").error(); });
}

TYPED_TEST(ExhaustedMemoryTest, Bind) {
  this->fail_everywhere([](auto& world) { return world.lobby.bind("e", [](const Event&) {}).error(); });
  this->fail_everywhere([](auto& world) { return world.lobby.bind("new", [](const Event&) {}).error(); });
  this->fail_everywhere([](auto& world) { return world.lobby.bind_all([](const Event&) {}).error(); });
  this->fail_everywhere([](auto& world) {
    const std::string captured(100, 'x');
    return world.lobby.bind("e", [captured](const Event&) {}).error();
  });
}

TYPED_TEST(ExhaustedMemoryTest, BindInACallback) {
  this->fail_everywhere([](auto& world) {
    errc error = errc::ok;
    Subscription other = world.channels.subscribe("handle");
    if (other.error() != errc::ok) return other.error();
    if (const BindingId id =
            other.bind("go", [&](const Event&) { error = world.lobby.bind("e", [](const Event&) {}).error(); });
        !id) {
      return id.error();
    }
    const TriggerResult result = world.channels.trigger("handle", "go", "");
    return result.error != errc::ok ? result.error : error;
  });
}

TYPED_TEST(ExhaustedMemoryTest, Trigger) {
  for (const std::string_view name : {"lobby", "presence-lobby"}) {
    this->fail_everywhere([&](auto& world) {
      const std::size_t calls = world.calls;
      const TriggerResult result = world.channels.trigger(name, "e", "data");
      if (result.error != errc::ok) {
        EXPECT_EQ(world.calls, calls);
        EXPECT_EQ(result.delivered, 0U);
        EXPECT_FALSE(result.id);
        EXPECT_TRUE(world.queue.messages.empty());
        EXPECT_EQ(world.ordered.size(), 0U);
      }
      return result.error;
    });
  }
}

TYPED_TEST(ExhaustedMemoryTest, TriggerOfManyChannelsReachesNobody) {
  this->fail_everywhere([](auto& world) {
    const std::size_t calls = world.calls;
    const TriggerResult result = world.channels.trigger({"lobby", "presence-lobby"}, "e", "data");
    if (result.error != errc::ok) {
      EXPECT_EQ(world.calls, calls);
      EXPECT_EQ(result.delivered, 0U);
      EXPECT_TRUE(world.queue.messages.empty());
      EXPECT_EQ(world.ordered.size(), 0U);
    }
    return result.error;
  });
}

TYPED_TEST(ExhaustedMemoryTest, TriggerOfCallbacksNeedsNoMemory) {
  MemoryLog log;
  TypeParam channels{{}, CountingMemory{log}};
  Subscription lobby = channels.subscribe("lobby");
  int calls = 0;
  lobby.bind("e", [&](const Event&) { ++calls; });
  log.fail_after(0, true);
  EXPECT_EQ(channels.trigger("lobby", "e", "data").delivered, 1U);
  EXPECT_EQ(log.refused(), 0U);
  log.succeed();
}

TYPED_TEST(ExhaustedMemoryTest, TriggerToOneQueueIsOneAllocation) {
  MemoryLog log;
  TypeParam channels{{}, CountingMemory{log}};
  const PolledSubscription one = channels.subscribe("lobby", Inbox{});
  const PolledSubscription two = channels.subscribe("lobby", Inbox{});
  LinkedQueue linked;
  const Subscription three = channels.attach("lobby", linked);
  const Subscription four = channels.attach("lobby", linked);
  const std::size_t before = log.allocations();
  channels.trigger("lobby", "e", "data");
  EXPECT_EQ(log.allocations(), before + 1);
  linked.clear();
}

TYPED_TEST(ExhaustedMemoryTest, NestedTriggers) {
  // Deep nesting may need memory; how deep it comes without is not promised, but nothing breaks.
  this->fail_everywhere([](auto& world) {
    Subscription deep = world.channels.subscribe("handle");
    if (deep.error() != errc::ok) return deep.error();
    errc refused = errc::ok;
    int depth = 0;
    const BindingId id = deep.bind("deep", [&](const Event&) {
      if (++depth == 50) return;
      if (const TriggerResult result = world.handle.trigger("deep", ""); !result) refused = result.error;
    });
    if (!id) return id.error();
    static_cast<void>(world.handle.trigger("deep", ""));
    return refused;
  });
}

TYPED_TEST(ExhaustedMemoryTest, KeepReturnsNull) {
  this->fail_everywhere([](auto& world) {
    errc error = errc::ok;
    Subscription subscription = world.channels.subscribe("handle");
    if (subscription.error() != errc::ok) return subscription.error();
    const BindingId id = subscription.bind("e", [&](const Event& event) {
      if (!event.keep()) error = errc::out_of_memory;
    });
    if (!id) return id.error();
    world.handle.trigger("e", "data");
    return error;
  });
}

TYPED_TEST(ExhaustedMemoryTest, LeavingAlwaysSucceeds) {
  for (int how = 0; how < 4; ++how) {
    MemoryLog log;
    {
      TypeParam channels{{}, CountingMemory{log}};
      std::vector<Subscription> subscriptions;
      int calls = 0;
      for (int i = 0; i < 100; ++i) {
        subscriptions.push_back(channels.subscribe("lobby"));
        subscriptions.back().bind("e", [&](const Event&) { ++calls; });
        subscriptions.back().bind_all([&](const Event&) { ++calls; });
      }
      const auto leave = [&] {
        log.fail_after(0, true);
        for (std::size_t i = 0; i < 90; ++i) {
          if (how == 0) subscriptions[i].reset();
          if (how == 1) subscriptions[i].detach();
          if (how == 2) {
            EXPECT_EQ(subscriptions[i].unbind("e"), 1U);
          }
          if (how == 3) subscriptions[i] = Subscription{};
        }
        channels.collect();
        log.succeed();
      };
      leave();
      EXPECT_EQ(channels.trigger("lobby", "e", "").delivered, how == 2 ? 110U : 20U);
      channels.collect();
      EXPECT_EQ(channels.stats().retired_bytes, 0U);
    }
    EXPECT_EQ(log.live_blocks(), 0U);
    EXPECT_EQ(log.mistakes(), "");
  }
}

// ---- memory

template <class Registry>
class RegistryMemoryTest : public ::testing::Test {
 protected:
  ~RegistryMemoryTest() override {
    channels.reset();
    EXPECT_EQ(log.live_blocks(), 0U);
    EXPECT_EQ(log.mistakes(), "");
  }

  MemoryLog log;
  std::optional<Registry> channels{std::in_place, RegistryOptions{}, CountingMemory{log}};
};
TYPED_TEST_SUITE(RegistryMemoryTest, WatchedRegistries, RegistryNames);

TYPED_TEST(RegistryMemoryTest, ComingAndGoingOfSubscriptionsIsBounded) {
  Subscription stays = this->channels->subscribe("lobby");
  stays.bind("e", [](const Event&) {});
  this->log.forget_peak();
  const std::size_t before = this->log.live_bytes();
  for (int i = 0; i < 10'000; ++i) {
    Subscription comes = this->channels->subscribe("lobby");
    comes.bind("e", [&, i](const Event&) { static_cast<void>(i); });
    comes.bind("f", [](const Event&) {});
    if (i % 2 == 0) comes.detach();
  }
  EXPECT_LT(this->log.peak_bytes(), before + 32'768);
  this->channels->collect();
  EXPECT_LT(this->log.live_bytes(), before + 2'048);
}

TYPED_TEST(RegistryMemoryTest, ComingAndGoingInsideACallbackIsBounded) {
  // One walk holds back what its own channel retires, and nothing of others.
  Subscription outer = this->channels->subscribe("outer");
  outer.bind("go", [&](const Event&) {
    for (int i = 0; i < 10'000; ++i) {
      Subscription comes = this->channels->subscribe("other");
      comes.bind("e", [](const Event&) {});
    }
  });
  this->log.forget_peak();
  const std::size_t before = this->log.live_bytes();
  this->channels->trigger("outer", "go", "");
  if (std::is_same_v<TypeParam, CountingRegistry>) {
    EXPECT_LT(this->log.peak_bytes(), before + 131'072);
  }
  this->channels->collect();
  EXPECT_LT(this->log.live_bytes(), before + 16'384);
}

TYPED_TEST(RegistryMemoryTest, ComingAndGoingOfChannelsIsBounded) {
  this->log.forget_peak();
  const std::size_t before = this->log.live_bytes();
  for (int i = 0; i < 10'000; ++i) {
    Subscription comes = this->channels->subscribe("room-" + std::to_string(i));
    comes.bind("e", [](const Event&) {});
    this->channels->trigger("room-" + std::to_string(i), "e", "");
  }
  // 64 stripes, each with a table and up to as many retired channels as it takes to be worth a look.
  EXPECT_LT(this->log.peak_bytes(), before + 2'000'000);
  this->channels->collect();
  EXPECT_LT(this->log.live_bytes(), before + 64'000);
  EXPECT_EQ(this->channels->stats().retired_bytes, 0U);
}

TYPED_TEST(RegistryMemoryTest, ChurnAtFullSizeIsBounded) {
  std::vector<Subscription> crowd;
  for (int i = 0; i < 2000; ++i) {
    crowd.push_back(this->channels->subscribe("lobby"));
    crowd.back().bind("e", [](const Event&) {});
  }
  this->channels->collect();
  this->log.forget_peak();
  const std::size_t before = this->log.live_bytes();
  for (std::size_t i = 0; i < 10'000; ++i) {
    Subscription& place = crowd[(i * 7919) % crowd.size()];
    if (i % 2 == 0) place.detach();
    place = this->channels->subscribe("lobby");
    place.bind("e", [](const Event&) {});
  }
  EXPECT_LT(this->log.peak_bytes(), before * 2);
  EXPECT_EQ(this->channels->trigger("lobby", "e", "").delivered, 2000U);
  crowd.clear();
  this->channels->collect();
  EXPECT_LT(this->log.live_bytes(), before / 10);
}

TYPED_TEST(RegistryMemoryTest, ComingAndGoingOfEventNamesIsBounded) {
  Subscription lobby = this->channels->subscribe("lobby");
  this->log.forget_peak();
  const std::size_t before = this->log.live_bytes();
  for (int i = 0; i < 10'000; ++i) {
    const std::string name = "event-" + std::to_string(i);
    lobby.bind(name, [](const Event&) {});
    this->channels->trigger("lobby", name, "");
    EXPECT_EQ(lobby.unbind(name), 1U);
  }
  EXPECT_LT(this->log.peak_bytes(), before + 65'536);
  this->channels->collect();
  EXPECT_LT(this->log.live_bytes(), before + 4'096);
}

TYPED_TEST(RegistryMemoryTest, TriggersLeaveNothing) {
  PolledSubscription inbox = this->channels->subscribe("presence-lobby", Inbox{16});
  Subscription lobby = this->channels->subscribe("presence-lobby");
  lobby.bind("e", [](const Event& event) { static_cast<void>(event.keep()); });
  const std::size_t before = this->log.live_bytes();
  for (int i = 0; i < 1000; ++i) {
    this->channels->trigger("presence-lobby", "e", std::string(100, 'x'));
    inbox.poll([](const Event&) {});
  }
  EXPECT_EQ(this->log.live_bytes(), before);
}

TYPED_TEST(RegistryMemoryTest, EverythingReturnsWhateverDiesLast) {
  for (int order = 0; order < 3; ++order) {
    MemoryLog own;
    {
      Subscription subscription;
      PolledSubscription inbox;
      ChannelHandle handle;
      MessagePtr kept;
      {
        TypeParam other{{}, CountingMemory{own}};
        subscription = other.subscribe("lobby");
        subscription.bind("e", [&](const Event& event) { kept = event.keep(); });
        inbox = other.subscribe("lobby", Inbox{4});
        handle = other.channel("elsewhere");
        other.trigger("lobby", "e", "data");
        if (order == 1) subscription.reset();
        if (order == 2) handle = {};
      }
      if (order == 0) inbox.reset();
      EXPECT_EQ(text_of(*kept), "e=data");
    }
    EXPECT_EQ(own.live_blocks(), 0U);
    EXPECT_EQ(own.mistakes(), "");
  }
}

TYPED_TEST(RegistryMemoryTest, CollectFreesWhatDetachLeft) {
  Subscription lobby = this->channels->subscribe("lobby");
  Subscription other = this->channels->subscribe("lobby");
  auto token = std::make_shared<int>(1);
  other.bind("e", [token](const Event&) {});
  other.detach();
  this->channels->collect();
  EXPECT_EQ(token.use_count(), 1);
  EXPECT_EQ(this->channels->stats().retired_bytes, 0U);
}

}  // namespace
}  // namespace fanfare::test
