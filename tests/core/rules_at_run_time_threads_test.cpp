// Channels get their order, begin to keep events and cease to, while others trigger, come and go.
#include <fanfare/app.hpp>

#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace fanfare::test {
namespace {

constexpr std::size_t publishers = 2;

/// `PUBLISHER:NUMBER`, each publisher's numbers going up by one.
std::string text_of(std::size_t publisher, std::uint64_t number) {
  return std::to_string(publisher) + ':' + std::to_string(number);
}

/// What somebody sees of a channel: each publisher's events in order, with ids that grow.
class Seen {
 public:
  /// \param from_the_first   whether the first event of each publisher has to be its first.
  explicit Seen(bool from_the_first) : from_the_first_(from_the_first) {}

  void add(std::string_view data, const EventId& id) {
    std::uint64_t number = 0;
    std::from_chars(data.data() + 2, data.data() + data.size(), number);
    const auto publisher = static_cast<std::size_t>(data[0] - '0');
    std::optional<std::uint64_t>& last = last_.at(publisher);
    if (last || from_the_first_) {
      ASSERT_EQ(number, last.value_or(0) + 1) << "of publisher " << publisher << ", behind " << count_ << " events";
    }
    last = number;
    if (id) {
      if (id_ && id_->epoch == id.epoch) {
        ASSERT_GT(id.number, id_->number);
      }
      id_ = id;
    }
    ++count_;
  }

  [[nodiscard]] std::uint64_t last_of(std::size_t publisher) const { return last_.at(publisher).value_or(0); }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] const std::optional<EventId>& last_id() const { return id_; }

 private:
  const bool from_the_first_;
  std::array<std::optional<std::uint64_t>, publishers> last_;
  std::optional<EventId> id_;
  std::uint64_t count_ = 0;
};

class Crowd {
 public:
  explicit Crowd(App& app_) : app(app_) {
    for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
      threads_.emplace_back([this, publisher] { publish(publisher); });
    }
    threads_.emplace_back([this] {
      while (!stop) {
        poll();
        std::this_thread::yield();
      }
    });
    threads_.emplace_back([this] {  // come and go, with bindings to other events too, so that the tables change
      for (std::size_t i = 0; !stop; ++i) {
        std::atomic<std::uint64_t> calls{0};
        Subscription guest = app.subscribe("a", [&](Subscription& setup) {
          setup.bind("e" + std::to_string(i % 7), [&](const Event&) { ++calls; });
          if (i % 3 == 0) setup.bind_all([&](const Event&) { ++calls; });
        });
        std::this_thread::yield();
        if (i % 2 == 0) guest.reset();
      }
    });
  }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;
  ~Crowd() {
    stop = true;
    threads_.clear();
    poll();
    for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
      EXPECT_EQ(seen_.last_of(publisher), published_.at(publisher)) << "the last events of " << publisher;
    }
    EXPECT_EQ(inbox_.dropped(), 0U);
    EXPECT_EQ(called_, seen_.count());
  }

  /// Until so many events more have been seen.
  void go_on(std::uint64_t events) {
    const std::uint64_t until = events_ + events;
    while (events_ < until && !::testing::Test::HasFailure()) std::this_thread::yield();
  }

  App& app;
  std::atomic<bool> stop{false};

 private:
  void publish(std::size_t publisher) {
    const ChannelHandle handle = app.channel("a");
    for (std::uint64_t number = 1; !stop; ++number) {
      const std::string data = text_of(publisher, number);
      TriggerResult result;
      switch (number % 4) {
        case 0: result = handle.trigger("e", data); break;
        case 1: result = app.trigger({"a", "b"}, "e", data); break;
        case 2: result = app.trigger("a", "e", data, {.socket_id = "1.1"}); break;
        default: result = app.trigger("a", "e", data); break;
      }
      EXPECT_EQ(result.error, errc::ok);
      published_.at(publisher) = number;
      while (number > taken_.at(publisher) + 2000 && !stop) std::this_thread::yield();
    }
  }
  void poll() {
    inbox_.poll([&](const Event& event) {
      if (event.name() == "e") seen_.add(event.data(), event.id());
    });
    for (std::size_t publisher = 0; publisher < publishers; ++publisher)
      taken_.at(publisher) = seen_.last_of(publisher);
    events_ = seen_.count();
  }

  PolledSubscription inbox_ = app.subscribe("a", Inbox{1U << 14U});
  std::atomic<std::uint64_t> called_{0};
  Subscription callbacks_ = app.subscribe(
      "a", [this](Subscription& setup) { setup.bind("e", [this](const Event& /*event*/) { ++called_; }); });
  Seen seen_{true};
  std::array<std::uint64_t, publishers> published_{};
  std::array<std::atomic<std::uint64_t>, publishers> taken_{};
  std::atomic<std::uint64_t> events_{0};
  std::vector<Thread> threads_;
};

AppOptions roomy() { return {.id = "1", .key = "key", .secret = "secret", .kept_bytes = std::size_t{1} << 30U}; }
const std::vector<ChannelRule> keep_all{
    {.match = "a", .history = HistoryRule{.count = HistoryRule::max_count, .bytes = std::size_t{1} << 30U}}};

/// Subscribes behind a switch: what the channel has kept and what comes are each event once, from the switch on.
void join(App& app) {
  PolledSubscription late = app.subscribe("a", Inbox{1U << 14U});
  Seen seen{false};
  std::optional<EventId> floor;
  EXPECT_TRUE(app.channels().look_at_state("a", [&](ChannelState* state) {
    const auto& memory = static_cast<const ChannelMemory&>(*state);
    ASSERT_TRUE(memory.keeps_history());
    floor = memory.history()->floor();
    static_cast<void>(memory.history()->read(
        *floor, ~std::size_t{0}, [&](const HistoryEntry& entry) { seen.add(entry.message->data(), entry.id); }));
  }));
  ASSERT_TRUE(floor);
  ASSERT_TRUE(!seen.last_id() || seen.last_id()->number == floor->number + seen.count());
  std::uint64_t next = floor->number + seen.count() + 1;
  for (int i = 0; i < 20; ++i) {
    std::this_thread::yield();
    late.poll([&](const Event& event) {
      ASSERT_TRUE(event.id());
      if (event.id().number < next) return;  // it was in what was kept
      ASSERT_EQ(event.id().number, next++);
      seen.add(event.data(), event.id());
    });
  }
  EXPECT_EQ(late.dropped(), 0U);
}

TEST(rules_threads, a_channel_gets_its_order_and_nobody_loses_an_event) {
  for (std::size_t round = 0; round < repetitions(30) && !::testing::Test::HasFailure(); ++round) {
    App app{roomy()};
    Crowd crowd{app};
    crowd.go_on(round % 50);
    EXPECT_FALSE(app.set_channel_rules(keep_all));
    join(app);
    crowd.go_on(200);
  }
}

TEST(rules_threads, rules_come_and_go_beside_triggers) {
  App app{roomy()};
  Crowd crowd{app};
  for (std::size_t round = 0; round < repetitions(200) && !::testing::Test::HasFailure(); ++round) {
    EXPECT_FALSE(app.set_channel_rules(keep_all));
    join(app);
    if (round % 4 == 1) {
      EXPECT_FALSE(app.set_channel_rules({{.match = "*", .retain = true, .history = HistoryRule{.count = 10}}}));
    }
    if (round % 8 == 2) app.tick();
    crowd.go_on(20);
    EXPECT_FALSE(app.set_channel_rules({}));
    EXPECT_EQ(app.kept().bytes(), 0U);
    crowd.go_on(20);
  }
}

TEST(rules_threads, set_by_several_the_last_ones_hold_everywhere) {
  App app{roomy()};
  const Subscription present = app.subscribe("presence-c");
  for (std::size_t round = 0; round < repetitions(200) && !::testing::Test::HasFailure(); ++round) {
    run_together(2, [&](std::size_t thread) {
      const std::string name = "a" + std::to_string(round);
      if (thread == 0) {
        EXPECT_FALSE(app.set_channel_rules({{.match = "*", .history = HistoryRule{}}}));
        EXPECT_TRUE(app.trigger("presence-c", "e", "1"));
      } else {
        EXPECT_FALSE(app.set_channel_rules({}));
      }
      const Subscription subscription = app.subscribe(name);
      EXPECT_TRUE(app.trigger(name, "e", "1"));
    });
    const bool keeps = !app.channel_rules()->empty();
    app.channels().look_at_state("presence-c", [&](ChannelState* state) {
      EXPECT_EQ(static_cast<ChannelMemory*>(state)->keeps_history(), keeps);
    });
    EXPECT_FALSE(app.set_channel_rules({}));
    EXPECT_EQ(app.channels().stats().entries, 1U);
  }
}

TEST(rules_threads, the_first_event_to_be_retained_gives_an_order_beside_triggers) {
  for (std::size_t round = 0; round < repetitions(30) && !::testing::Test::HasFailure(); ++round) {
    App app{roomy()};
    Crowd crowd{app};
    crowd.go_on(round % 50);
    const TriggerResult result = app.trigger("a", "state", "kept", {.retain = Retain::yes});
    EXPECT_TRUE(result.id);
    if (round % 2 == 0) app.tick();
    ASSERT_EQ(app.retained("a").size(), 1U);
    EXPECT_EQ(app.retained("a")[0]->data(), "kept");
    crowd.go_on(100);
  }
}

}  // namespace
}  // namespace fanfare::test
