// What subscribers within the program are given of what a channel keeps.
#include <fanfare/core/channel_memory.hpp>

#include "support/heap.hpp"
#include "support/memory.hpp"
#include "support/registries.hpp"
#include "support/sinks.hpp"
#include "support/threads.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using Clock = ChannelMemory::Clock;

std::vector<ChannelRule> rules() {
  return {{.match = "retained*", .retain = true},
          {.match = "history*", .history = HistoryRule{.count = 10}},
          {.match = "long", .history = HistoryRule{.count = 100'000, .bytes = 1U << 30U}},
          {.match = "both*", .retain = true, .history = HistoryRule{.count = 3}},
          {.match = "cache-both", .retain = true, .history = HistoryRule{.count = 2}},
          {.match = "presence-history", .history = HistoryRule{.count = 10}}};
}

/// Sends one of the protocol's own events at its place.
struct Notice final : OrderedStep {
  [[nodiscard]] bool begin(ChannelState* /*state*/) noexcept override { return true; }
  void end() noexcept override {}
};

template <class Registry>
class KeptSubscription : public ::testing::Test {
 protected:
  EventId trigger(std::string_view channel, std::string_view data) { return trigger(channel, "e", data); }
  EventId trigger(std::string_view channel, std::string_view event, std::string_view data,
                  const TriggerOptions& options = {}) {
    const TriggerResult result = channels->trigger(channel, event, data, options);
    EXPECT_EQ(result.error, errc::ok);
    return result.id;
  }
  void trigger_numbers(std::string_view channel, int first, int last) {
    for (int i = first; i <= last; ++i) trigger(channel, std::to_string(i));
  }
  /// Subscribes to all events, and writes `name=data` down.
  Subscription all(std::string_view channel, const Since& since = {}) {
    return channels->subscribe(
        channel,
        [this](Subscription& s) {
          s.bind_all([this](const Event& event) {
            recorder.seen.push_back(text_of(event));
            ids.push_back(event.id());
          });
        },
        since);
  }
  static Strings polled(PolledSubscription& inbox) {
    Strings texts;
    inbox.poll([&](const Event& event) { texts.push_back(text_of(event)); });
    return texts;
  }

  ChannelMemories memories{KeptOptions{.cache_ttl = 1h}, ChannelRules{rules()}};
  std::unique_ptr<Registry> channels = std::make_unique<Registry>(RegistryOptions{.states = &memories});
  Recorder recorder;
  std::vector<EventId> ids;
};
TYPED_TEST_SUITE(KeptSubscription, AllRegistries, RegistryNames);

// ---- who comes for the first time

TYPED_TEST(KeptSubscription, GetsTheLatestOfEachNameAndThenWhatIsLive) {
  this->trigger("retained", "a", "1");
  this->trigger("retained", "b", "2");
  this->trigger("retained", "a", "3");
  this->trigger("retained", "c", "4", {.retain = Retain::no});
  const Subscription one = this->all("retained");
  EXPECT_EQ(one.error(), errc::ok);
  EXPECT_EQ(this->recorder.take(), (Strings{"b=2", "a=3"}));
  EXPECT_EQ(one.reach(), Reach::whole);
  EXPECT_FALSE(one.resumed());
  this->trigger("retained", "a", "5");
  EXPECT_EQ(this->recorder.take(), Strings{"a=5"});
}

TYPED_TEST(KeptSubscription, GetsTheHistoryInOrderWithIdsAndOrigins) {
  this->trigger_numbers("history", 1, 14);
  this->trigger("history", "client-e", "15", {.user_id = "ann", .socket_id = "1.1"});
  Strings origins;
  const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind_all([&](const Event& event) {
      this->ids.push_back(event.id());
      origins.push_back(std::string(event.channel()) + ' ' + std::string(event.data()) + ' ' +
                        std::string(event.user_id()) + ' ' + std::string(event.socket_id()));
      EXPECT_EQ(event.keep()->id(), event.id());
    });
  });
  ASSERT_EQ(origins.size(), 10U);
  EXPECT_EQ(origins.front(), "history 6  ");
  EXPECT_EQ(origins.back(), "history 15 ann 1.1");
  for (std::size_t i = 0; i < this->ids.size(); ++i) EXPECT_EQ(this->ids[i].number, i + 6);
  EXPECT_EQ(this->trigger("history", "16").number, 16U);
  EXPECT_EQ(origins.back(), "history 16  ");
}

TYPED_TEST(KeptSubscription, WhereBothAreKeptTheOlderOnesComeFirst) {
  this->trigger("both", "a", "1");
  this->trigger("both", "b", "2");
  this->trigger_numbers("both", 3, 5);
  const Subscription one = this->all("both");
  EXPECT_EQ(this->recorder.take(), (Strings{"a=1", "b=2", "e=3", "e=4", "e=5"}));
}

TYPED_TEST(KeptSubscription, BindingsAreCalledInTheOrderOfATrigger) {
  this->trigger("history", "a", "1");
  this->trigger("history", "b", "2");
  const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind_all(this->recorder.callback("all"));
    s.bind("a", this->recorder.callback("first"));
    s.bind("b", this->recorder.callback("other"));
    s.bind("a", this->recorder.callback("second"));
  });
  EXPECT_EQ(this->recorder.take(), (Strings{"first:a=1", "second:a=1", "all:a=1", "other:b=2", "all:b=2"}));
  this->trigger("history", "a", "3");
  EXPECT_EQ(this->recorder.take(), (Strings{"first:a=3", "second:a=3", "all:a=3"}));
}

TYPED_TEST(KeptSubscription, OthersAreGivenNothingTwice) {
  const Subscription first = this->all("history");
  this->trigger_numbers("history", 1, 2);
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1", "e=2"}));
  PolledSubscription inbox = this->channels->subscribe("history", Inbox{});
  EXPECT_TRUE(this->recorder.take().empty());
  EXPECT_EQ(this->polled(inbox), (Strings{"e=1", "e=2"}));
}

TYPED_TEST(KeptSubscription, ALongHistoryComesInPieces) {
  const std::string large(1000, 'x');
  for (int i = 0; i < 1000; ++i) this->trigger("long", large);
  const Subscription one = this->all("long");
  ASSERT_EQ(this->ids.size(), 1000U);
  for (std::size_t i = 0; i < this->ids.size(); ++i) ASSERT_EQ(this->ids[i].number, i + 1);
  PolledSubscription inbox = this->channels->subscribe("long", Inbox{1000});
  EXPECT_EQ(inbox.size(), 1000U);
  EXPECT_EQ(inbox.dropped(), 0U);
}

TYPED_TEST(KeptSubscription, TheLastEventOfACacheChannelComesOnce) {
  {
    const Subscription one = this->all("cache-a");
    EXPECT_TRUE(this->recorder.take().empty());
    this->trigger_numbers("cache-a", 1, 2);
    this->recorder.take();
  }
  const Subscription one = this->all("cache-a");
  EXPECT_EQ(this->recorder.take(), Strings{"e=2"});
  EXPECT_EQ(one.reach(), Reach::whole);
  this->trigger("cache-a", "3");
  EXPECT_EQ(this->recorder.take(), Strings{"e=3"});
  PolledSubscription inbox = this->channels->subscribe("cache-a", Inbox{});
  EXPECT_EQ(this->polled(inbox), Strings{"e=3"});
}

TYPED_TEST(KeptSubscription, OnACacheChannelWithARuleTheLastEventComesAtItsPlace) {
  this->trigger("cache-both", "a", "1", {.retain = Retain::no});
  for (const std::string_view data : {"2", "3"}) this->trigger("cache-both", "client-e", data, {.socket_id = "1.1"});
  Subscription one = this->all("cache-both");
  EXPECT_EQ(this->recorder.take(), (Strings{"a=1", "client-e=2", "client-e=3"}));
  one.reset();
  this->trigger("cache-both", "b", "4");
  one = this->all("cache-both");
  EXPECT_EQ(this->recorder.take(), (Strings{"client-e=3", "b=4"}));
}

TYPED_TEST(KeptSubscription, TheProtocolsOwnEventsComeAsTheyDoLive) {
  Subscription live =
      this->channels->subscribe("presence-history", [&](Subscription& s) { s.bind_all(this->recorder.callback()); });
  Notice notice;
  live.step(notice, "pusher_internal:member_added", "m");
  this->trigger("presence-history", "1");
  const Strings seen = this->recorder.take();
  EXPECT_EQ(seen, (Strings{"pusher_internal:member_added=m", "e=1"}));
  const Subscription late = this->all("presence-history");
  EXPECT_EQ(this->recorder.take(), seen);
}

TYPED_TEST(KeptSubscription, SurvivesTheLastSubscriber) {
  { const Subscription one = this->all("retained"); }
  this->trigger("retained", "1");
  this->channels->expire();
  EXPECT_EQ(this->channels->size(), 0U);
  const Subscription one = this->all("retained");
  EXPECT_EQ(this->recorder.take(), Strings{"e=1"});
}

TYPED_TEST(KeptSubscription, ChannelsWithoutARuleGiveNothing) {
  for (const std::string_view name : {"x", "presence-x"}) {
    const Subscription first = this->all(name);
    this->trigger(name, "1");
    this->recorder.take();
    const Subscription one = this->all(name);
    EXPECT_TRUE(this->recorder.take().empty());
    EXPECT_EQ(one.reach(), Reach::whole);
    PolledSubscription inbox = this->channels->subscribe(name, Inbox{});
    EXPECT_EQ(inbox.size(), 0U);
    EXPECT_EQ(inbox.reach(), Reach::whole);
    EXPECT_FALSE(inbox.resumed());
  }
}

TYPED_TEST(KeptSubscription, WhoWantsNothingOfItGetsLiveEventsAlone) {
  this->trigger("both", "1");
  const Subscription one = this->all("both", Since::now());
  PolledSubscription inbox = this->channels->subscribe("both", Inbox{}, Since::now());
  EXPECT_TRUE(this->recorder.take().empty());
  this->trigger("both", "2");
  EXPECT_EQ(this->recorder.take(), Strings{"e=2"});
  EXPECT_EQ(this->polled(inbox), Strings{"e=2"});
  EXPECT_FALSE(one.resumed());
}

// ---- who comes back

TYPED_TEST(KeptSubscription, WhoComesBackGetsWhatCameBehindTheLastThatItSaw) {
  {
    const Subscription one = this->all("history");
    this->trigger_numbers("history", 1, 3);
  }
  EXPECT_EQ(this->recorder.take().size(), 3U);
  const EventId last = this->ids.back();
  this->trigger_numbers("history", 4, 5);
  {
    const Subscription one = this->all("history", last);
    EXPECT_EQ(this->recorder.take(), (Strings{"e=4", "e=5"}));
    EXPECT_TRUE(one.resumed());
    EXPECT_EQ(one.reach(), Reach::whole);
  }
  const std::string text{to_text(last).view()};
  PolledSubscription inbox = this->channels->subscribe("history", Inbox{}, text);
  EXPECT_EQ(this->polled(inbox), (Strings{"e=4", "e=5"}));
  EXPECT_TRUE(inbox.resumed());
  EXPECT_TRUE(this->all("history", Since{{last.epoch, 0}}).resumed());
  EXPECT_EQ(this->recorder.take().size(), 5U);
}

TYPED_TEST(KeptSubscription, WhoseLastEventIsTheNewestGetsNothing) {
  for (const std::string_view name : {"history", "retained", "both", "cache-a"}) {
    const Subscription live = this->all(name, Since::now());
    this->trigger(name, "1");
    const EventId last = this->trigger(name, "2");
    this->recorder.take();
    const Subscription one = this->all(name, last);
    EXPECT_TRUE(this->recorder.take().empty()) << name;
    EXPECT_TRUE(one.resumed()) << name;
    this->trigger(name, "3");
    EXPECT_EQ(this->recorder.take(), (Strings{"e=3", "e=3"})) << name;
  }
}

TYPED_TEST(KeptSubscription, WhoHasMissedTooMuchGetsEverythingAndIsTold) {
  const EventId first = this->trigger("history", "1");
  this->trigger_numbers("history", 2, 12);
  const Subscription one = this->all("history", first);
  EXPECT_EQ(this->recorder.take().size(), 10U);
  EXPECT_FALSE(one.resumed());
  EXPECT_EQ(one.reach(), Reach::gap);
  // Without a history the events between are not there.
  const EventId a = this->trigger("retained", "a", "1");
  this->trigger("retained", "b", "2");
  PolledSubscription inbox = this->channels->subscribe("retained", Inbox{}, a);
  EXPECT_EQ(inbox.reach(), Reach::gap);
  EXPECT_EQ(this->polled(inbox), (Strings{"a=1", "b=2"}));
}

TYPED_TEST(KeptSubscription, IdsThatCannotBeAnsweredGetEverything) {
  const EventId last = this->trigger("history", "1");
  const struct {
    Since since;
    Reach reach;
  } cases[] = {{EventId{last.epoch + 1, 1}, Reach::another_epoch},
               {EventId{last.epoch, 2}, Reach::ahead},
               {"no id", Reach::another_epoch},
               {"", Reach::whole},
               {EventId{}, Reach::whole}};
  for (const auto& [since, reach] : cases) {
    const Subscription one = this->all("history", since);
    EXPECT_EQ(this->recorder.take(), Strings{"e=1"});
    EXPECT_EQ(one.reach(), reach);
    EXPECT_FALSE(one.resumed());
  }
}

TYPED_TEST(KeptSubscription, ChannelsThatKeepNothingSayWhetherSomethingIsMissed) {
  const Subscription live = this->all("presence-x");
  const EventId first = this->trigger("presence-x", "1");
  EXPECT_TRUE(this->all("presence-x", first).resumed());
  EXPECT_TRUE(this->channels->subscribe("presence-x", Inbox{}, first).resumed());
  this->trigger("presence-x", "2");
  EXPECT_EQ(this->all("presence-x", first).reach(), Reach::gap);
  EXPECT_EQ(this->all("x", first).reach(), Reach::another_epoch);
  EXPECT_EQ(this->channels->subscribe("x", Inbox{}, first).reach(), Reach::another_epoch);
}

TYPED_TEST(KeptSubscription, AChannelThatWasGoneHasAnotherEpoch) {
  EventId last;
  {
    const Subscription one = this->all("history");
    last = this->trigger("history", "1");
    this->channels->expire(Clock::now() + 2h);
  }
  this->channels->expire(Clock::now() + 2h);
  EXPECT_EQ(this->channels->stats().entries, 0U);
  this->recorder.take();
  this->trigger("history", "2");
  const Subscription one = this->all("history", last);
  EXPECT_EQ(one.reach(), Reach::another_epoch);
  EXPECT_EQ(this->recorder.take(), Strings{"e=2"});
}

TYPED_TEST(KeptSubscription, TheSetupCanAskWhatIsToCome) {
  const EventId first = this->trigger("history", "1");
  this->trigger_numbers("history", 2, 3);
  for (const bool gone : {false, true}) {
    if (gone) this->trigger_numbers("history", 4, 12);
    bool resumed = gone;
    const Subscription one = this->channels->subscribe(
        "history", [&](Subscription& s) { resumed = s.resumed(); }, first);
    EXPECT_EQ(resumed, !gone);
    EXPECT_EQ(one.resumed(), !gone);
  }
}

TYPED_TEST(KeptSubscription, WhatIsForgottenBetweenTheSetupAndItsTurnIsAGap) {
  const EventId first = this->trigger("history", "1");
  this->trigger("history", "2");
  const Subscription one = this->channels->subscribe(
      "history",
      [&](Subscription& s) {
        EXPECT_TRUE(s.resumed());
        this->trigger_numbers("history", 3, 12);
        s.bind_all(this->recorder.callback());
      },
      first);
  EXPECT_EQ(one.reach(), Reach::gap);
  EXPECT_FALSE(one.resumed());
  EXPECT_EQ(this->recorder.take().front(), "e=3");
}

TYPED_TEST(KeptSubscription, WhatIsNotRetainedAndComesMeanwhileIsMissed) {
  for (const bool missed : {false, true}) {
    const EventId last = this->trigger("retained", "a", "1");
    const Subscription one = this->channels->subscribe(
        "retained",
        [&](Subscription& s) {
          s.bind_all(this->recorder.callback());
          if (missed) this->trigger("retained", "b", "2");
          this->trigger("retained", "b", "3");
        },
        last);
    EXPECT_EQ(this->recorder.take(), Strings{"b=3"});
    EXPECT_EQ(one.resumed(), !missed);
    EXPECT_EQ(one.reach(), missed ? Reach::gap : Reach::whole);
  }
}

// ---- what callbacks do meanwhile

TYPED_TEST(KeptSubscription, WhatIsTriggeredMeanwhileComesBehindAndOnce) {
  this->trigger_numbers("history", 1, 2);
  const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind("e", [&](const Event& event) {
      this->recorder.seen.push_back(text_of(event));
      if (event.data() == "1") this->trigger("history", "f", "x");
    });
    s.bind("f", this->recorder.callback());
  });
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1", "e=2", "f=x"}));
  this->trigger("history", "1");
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1", "f=x"}));
}

TYPED_TEST(KeptSubscription, NewerOnesThatReplaceRetainedOnesComeToo) {
  this->trigger("retained", "a", "1");
  this->trigger("retained", "b", "2");
  bool once = true;
  const Subscription one = this->channels->subscribe("retained", [&](Subscription& s) {
    s.bind_all([&](const Event& event) {
      this->recorder.seen.push_back(text_of(event));
      if (!std::exchange(once, false)) return;
      this->trigger("retained", "b", "3");
      this->trigger("retained", "b", "4");
    });
  });
  EXPECT_EQ(this->recorder.take(), (Strings{"a=1", "b=2", "b=4"}));
  EXPECT_EQ(one.reach(), Reach::whole);
}

TYPED_TEST(KeptSubscription, WhoFallsBehindTheHistoryGetsTheRestAndIsTold) {
  this->trigger_numbers("history", 1, 2);
  Reach seen = Reach::whole;
  const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind_all([&](const Event& event) {
      this->recorder.seen.push_back(text_of(event));
      if (event.data() == "1") this->trigger_numbers("history", 3, 20);
      if (event.data() == "20") seen = s.reach();
    });
  });
  const Strings texts = this->recorder.take();
  ASSERT_EQ(texts.size(), 12U);
  EXPECT_EQ(texts[1], "e=2");
  EXPECT_EQ(texts[2], "e=11");
  EXPECT_EQ(texts.back(), "e=20");
  EXPECT_EQ(one.reach(), Reach::gap);
  EXPECT_EQ(seen, Reach::gap);
}

TYPED_TEST(KeptSubscription, ItCanEndInside) {
  this->trigger_numbers("history", 1, 3);
  for (const bool detaches : {false, true}) {
    const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
      s.bind("e", [&, text = std::string("owned")](const Event& event) {
        this->recorder.seen.push_back(text_of(event) + ' ' + text);
        detaches ? s.detach() : s.reset();
        this->recorder.seen.push_back(text);
      });
      s.bind("e", this->recorder.mark("never"));
      s.bind_all(this->recorder.mark("never"));
    });
    EXPECT_EQ(one.error(), errc::closed);
    EXPECT_EQ(this->recorder.take(), (Strings{"e=1 owned", "owned"}));
    EXPECT_EQ(this->channels->subscribers("history"), 0U);
  }
}

TYPED_TEST(KeptSubscription, ItCanEndInsideWhereTheSetupHasMovedIt) {
  this->trigger("history", "1");
  std::optional<Subscription> moved;
  const Subscription left = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind("e", [&](const Event& event) {
      this->recorder.seen.push_back(text_of(event));
      moved.reset();
    });
    moved.emplace(std::move(s));
  });
  EXPECT_EQ(left.error(), errc::closed);
  EXPECT_EQ(this->recorder.take(), Strings{"e=1"});
  EXPECT_EQ(this->channels->subscribers("history"), 0U);
  const Subscription also_left = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind("e", this->recorder.callback());
    moved.emplace(std::move(s));
  });
  EXPECT_EQ(moved->error(), errc::ok);
  this->trigger("history", "2");
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1", "e=2"}));
}

TYPED_TEST(KeptSubscription, BindingsComeAndGoInside) {
  this->trigger_numbers("history", 1, 3);
  BindingId once;
  BindingId never;
  const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
    once = s.bind("e", [&, text = std::string("once")](const Event& event) {
      s.unbind(once);
      s.unbind(never);
      s.bind("e", this->recorder.callback("later"));
      this->recorder.seen.push_back(text + ':' + text_of(event));
    });
    never = s.bind("e", this->recorder.mark("never"));
    s.bind_all(this->recorder.callback("all"));
  });
  EXPECT_EQ(this->recorder.take(), (Strings{"once:e=1", "all:e=1", "later:e=2", "all:e=2", "later:e=3", "all:e=3"}));
  this->trigger("history", "4");
  EXPECT_EQ(this->recorder.take(), (Strings{"later:e=4", "all:e=4"}));
}

TYPED_TEST(KeptSubscription, ABindingThatIsRefusedInsideEndsNothing) {
  this->trigger("history", "1");
  errc error = errc::ok;
  const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind("e", [&](const Event&) { error = s.bind("", this->recorder.callback()).error(); });
  });
  EXPECT_EQ(error, errc::empty_name);
  EXPECT_EQ(one.error(), errc::ok);
}

TYPED_TEST(KeptSubscription, AnExceptionEndsItAndLeavesNothingBehind) {
  this->trigger_numbers("history", 1, 3);
  const Subscription other = this->channels->subscribe("history");
  EXPECT_THROW(static_cast<void>(this->channels->subscribe("history",
                                                           [&](Subscription& s) {
                                                             s.bind("e", [&](const Event& event) {
                                                               this->recorder.seen.push_back(text_of(event));
                                                               if (event.data() == "2") {
                                                                 throw std::runtime_error("two");
                                                               }
                                                             });
                                                           })),
               std::runtime_error);
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1", "e=2"}));
  EXPECT_EQ(this->channels->subscribers("history"), 1U);
  this->trigger("history", "4");
  EXPECT_TRUE(this->recorder.take().empty());
}

TYPED_TEST(KeptSubscription, InsideItCanSubscribeToo) {
  this->trigger_numbers("history", 1, 2);
  Subscription inner;
  const Subscription outer = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind("e", [&](const Event& event) {
      this->recorder.seen.push_back("outer:" + text_of(event));
      if (inner.error() == errc::closed) {
        inner = this->channels->subscribe("history",
                                          [&](Subscription& i) { i.bind("e", this->recorder.callback("inner")); });
      }
    });
  });
  EXPECT_EQ(this->recorder.take(), (Strings{"outer:e=1", "inner:e=1", "inner:e=2", "outer:e=2"}));
  this->trigger("history", "3");
  EXPECT_EQ(this->recorder.take(), (Strings{"inner:e=3", "outer:e=3"}));
}

TYPED_TEST(KeptSubscription, ACallbackOfATriggerCanSubscribe) {
  Subscription late;
  const Subscription first = this->channels->subscribe(
      "history", [&](Subscription& s) { s.bind("e", [&](const Event&) { late = this->all("history"); }); });
  this->trigger("history", "1");
  EXPECT_EQ(this->recorder.take(), Strings{"e=1"});  // it has its place already, and is kept
}

// ---- binding later

TYPED_TEST(KeptSubscription, WithoutASetupTheFirstBindingGetsWhatIsKeptForIt) {
  this->trigger("history", "a", "1");
  this->trigger("history", "b", "2");
  Subscription one = this->channels->subscribe("history");
  EXPECT_EQ(this->channels->subscribers("history"), 1U);
  this->trigger("history", "a", "3");
  EXPECT_TRUE(one.bind("a", this->recorder.callback("first")));
  EXPECT_EQ(this->recorder.take(), (Strings{"first:a=1", "first:a=3"}));
  EXPECT_TRUE(one.bind("a", this->recorder.callback("second")));
  EXPECT_TRUE(one.bind_all(this->recorder.callback("all")));
  EXPECT_TRUE(this->recorder.take().empty());
  this->trigger("history", "a", "4");
  EXPECT_EQ(this->recorder.take(), (Strings{"first:a=4", "second:a=4", "all:a=4"}));
  EXPECT_EQ(one.reach(), Reach::whole);
}

TYPED_TEST(KeptSubscription, WithoutASetupItGoesOnWhereItStopped) {
  const EventId first = this->trigger("history", "1");
  this->trigger_numbers("history", 2, 3);
  const std::string text{to_text(first).view()};
  for (const Since& since : {Since{first}, Since{text}}) {
    Subscription one = this->channels->subscribe("history", since);
    EXPECT_TRUE(one.resumed());
    EXPECT_TRUE(one.bind_all(this->recorder.callback()));
    EXPECT_EQ(this->recorder.take(), (Strings{"e=2", "e=3"}));
    EXPECT_TRUE(one.resumed());
  }
  Subscription by_id = this->channels->subscribe("history", first);
  EXPECT_TRUE(by_id.resumed());
  Subscription late = this->channels->subscribe("history", first);
  this->trigger_numbers("history", 4, 20);
  EXPECT_TRUE(late.resumed());
  EXPECT_TRUE(late.bind_all(this->recorder.callback()));
  EXPECT_EQ(this->recorder.take().size(), 10U);
  EXPECT_EQ(late.reach(), Reach::gap);
  Subscription live = this->channels->subscribe("history", Since::now());
  EXPECT_TRUE(live.bind_all(this->recorder.callback()));
  EXPECT_TRUE(this->recorder.take().empty());
  Subscription plain = this->channels->subscribe("x", first);
  EXPECT_EQ(plain.reach(), Reach::another_epoch);
  EXPECT_TRUE(plain.bind("e", this->recorder.callback()));
  this->trigger("x", "1");
  EXPECT_EQ(this->recorder.take(), Strings{"e=1"});
}

TYPED_TEST(KeptSubscription, TheFirstBindingCanEndItsSubscription) {
  this->trigger_numbers("history", 1, 2);
  auto one = std::make_unique<Subscription>(this->channels->subscribe("history"));
  const BindingId id = one->bind("e", [&, text = std::string("owned")](const Event& event) {
    one.reset();
    this->recorder.seen.push_back(text + ' ' + text_of(event));
  });
  EXPECT_EQ(id.error(), errc::closed);
  EXPECT_EQ(this->recorder.take(), Strings{"owned e=1"});
  EXPECT_EQ(this->channels->subscribers("history"), 0U);
}

TYPED_TEST(KeptSubscription, TheFirstBindingThatFailsLeavesItToTheNext) {
  this->trigger_numbers("history", 1, 2);
  Subscription one = this->channels->subscribe("history");
  EXPECT_EQ(one.bind("", this->recorder.callback()).error(), errc::empty_name);
  EXPECT_THROW(one.bind("e", [text = std::string("owned")](const Event&) { throw std::runtime_error(text); }),
               std::runtime_error);
  EXPECT_TRUE(one.bind("e", this->recorder.callback()));
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1", "e=2"}));
  this->trigger("history", "3");
  EXPECT_EQ(this->recorder.take(), Strings{"e=3"});
}

TYPED_TEST(KeptSubscription, TheFirstBindingCanBindOthers) {
  this->trigger_numbers("history", 1, 2);
  Subscription one = this->channels->subscribe("history");
  one.bind("e", [&](const Event& event) {
    this->recorder.seen.push_back(text_of(event));
    if (event.data() != "1") return;
    one.bind("f", this->recorder.callback("inner"));
    this->trigger("history", "f", "x");
  });
  EXPECT_EQ(this->recorder.take(), (Strings{"e=1", "inner:f=x", "e=2"}));
}

// ---- inboxes

TYPED_TEST(KeptSubscription, AnInboxHoldsItsBound) {
  this->trigger_numbers("history", 1, 6);
  PolledSubscription oldest = this->channels->subscribe("history", Inbox{.messages = 4});
  PolledSubscription newest =
      this->channels->subscribe("history", Inbox{.messages = 4, .overflow = Overflow::drop_oldest});
  EXPECT_EQ(oldest.dropped(), 2U);
  EXPECT_EQ(newest.dropped(), 2U);
  EXPECT_EQ(this->polled(oldest), (Strings{"e=1", "e=2", "e=3", "e=4"}));
  EXPECT_EQ(this->polled(newest), (Strings{"e=3", "e=4", "e=5", "e=6"}));
  this->trigger("history", "7");
  EXPECT_EQ(this->polled(oldest), Strings{"e=7"});
}

// ---- what fails

TYPED_TEST(KeptSubscription, ErrorsAreThoseOfEverySubscription) {
  EXPECT_EQ(this->all("no spaces").error(), errc::bad_character);
  EXPECT_EQ(this->all("no spaces").reach(), Reach::another_epoch);
  this->trigger("history", "1");
  const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
    s.bind_all(this->recorder.callback());
    s.bind("", this->recorder.callback());
  });
  EXPECT_EQ(one.error(), errc::empty_name);
  EXPECT_TRUE(this->recorder.take().empty());
}

TYPED_TEST(KeptSubscription, WhereCallbacksCannotNestTheErrorSaysSo) {
  this->trigger("history", "1");
  std::size_t depth = 0;
  errc deepest = errc::ok;
  const auto dive = [&](auto& self) -> void {
    const Subscription one = this->channels->subscribe("history", [&](Subscription& s) {
      s.bind("e", [&](const Event&) {
        ++depth;
        self(self);
      });
    });
    if (one.error() != errc::ok && deepest == errc::ok) deepest = one.error();
  };
  dive(dive);
  EXPECT_EQ(depth, max_trigger_depth);
  EXPECT_EQ(deepest, errc::nested_too_deep);
}

TEST(KeptSubscriptionMemory, ExhaustedItGivesAnErrorAndLeaksNothing) {
  const std::size_t live = Heap::live();
  {
    ChannelMemories memories{KeptOptions{}, ChannelRules{rules()}};
    ChannelRegistry<> channels{{.states = &memories}};
    for (const std::string_view name : {"retained", "history", "cache-both"}) {
      channels.trigger(name, "a", "1");
      const EventId last = channels.trigger(name, "b", "2").id;
      for (const Since& since : {Since{}, Since{EventId{last.epoch, 0}}}) {
        std::size_t refused = 1;
        for (std::size_t n = 0; refused != 0; ++n) {
          ASSERT_LT(n, 100U);
          std::size_t seen = 0;
          const auto setup = [&](Subscription& s) {
            s.bind("a", [&seen](const Event&) { ++seen; });
            s.bind_all([&seen](const Event&) { ++seen; });
          };
          Heap::fail_after(n);
          const Subscription one = channels.subscribe(name, setup, since);
          refused = Heap::succeed();
          EXPECT_EQ(one.error(), refused == 0 ? errc::ok : errc::out_of_memory) << n;
          EXPECT_TRUE(refused != 0 || seen == 3) << seen;
        }
        refused = 1;
        for (std::size_t n = 0; refused != 0; ++n) {
          ASSERT_LT(n, 100U);
          Heap::fail_after(n);
          const PolledSubscription inbox = channels.subscribe(name, Inbox{.messages = 4}, since);
          refused = Heap::succeed();
          EXPECT_EQ(inbox.error(), refused == 0 ? errc::ok : errc::out_of_memory) << n;
          EXPECT_TRUE(refused != 0 || inbox.size() == 2) << inbox.size();
        }
        refused = 1;
        Subscription later = channels.subscribe(name, since);
        for (std::size_t n = 0; refused != 0; ++n) {
          ASSERT_LT(n, 100U);
          std::size_t seen = 0;
          const BindingId none = [&] {
            Heap::fail_after(n);
            return later.bind_all([&seen](const Event&) { ++seen; });
          }();
          refused = Heap::succeed();
          EXPECT_EQ(none.error(), refused == 0 ? errc::ok : errc::out_of_memory) << n;
          EXPECT_TRUE(refused != 0 || seen == 2) << seen;
        }
        later.reset();
        EXPECT_EQ(channels.subscribers(name), 0U);
      }
    }
  }
  EXPECT_EQ(Heap::live(), live);
}

TEST(KeptSubscriptionMemory, ChannelsWithoutARuleNeedNoMore) {
  ChannelMemories memories{KeptOptions{}, ChannelRules{rules()}};
  MemoryLog with_rules;
  MemoryLog without;
  CountingRegistry ruled{{.states = &memories}, CountingMemory{with_rules}};
  CountingRegistry plain{{}, CountingMemory{without}};
  const std::size_t before = with_rules.live_bytes();
  const std::size_t plain_before = without.live_bytes();
  const Subscription one = ruled.subscribe("x", [](Subscription& s) { s.bind("e", [](const Event&) {}); });
  const Subscription other = plain.subscribe("x", [](Subscription& s) { s.bind("e", [](const Event&) {}); });
  EXPECT_EQ(with_rules.live_bytes() - before, without.live_bytes() - plain_before);
}

TEST(KeptSubscriptionEnd, TheRegistryWaitsForACallbackAndNoneComesBehind) {
  ChannelMemories memories{KeptOptions{}, ChannelRules{rules()}};
  auto channels = std::make_unique<ChannelRegistry<>>(RegistryOptions{.states = &memories});
  const std::string large(1000, 'x');
  for (int i = 0; i < 1000; ++i) channels->trigger("long", "e", large);
  Gate inside;
  std::thread closer;
  std::size_t seen = 0;
  ChannelHandle handle = channels->channel("long");
  const Subscription one = channels->subscribe("long", [&](Subscription& s) {
    s.bind("e", [&](const Event&) {
      if (++seen != 1) return;
      closer = std::thread([&] { channels.reset(); });
      while (handle.error() == errc::ok) std::this_thread::yield();
    });
  });
  closer.join();
  EXPECT_EQ(one.error(), errc::closed);
  EXPECT_GE(seen, 1U);
  EXPECT_LT(seen, 1000U);  // the piece, and no other
}

}  // namespace
}  // namespace fanfare::test
