// Two loops on two threads, with members who come and go while others trigger.
#include <fanfare/transport/fanout.hpp>

#include "support/memory_clients.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using namespace std::chrono_literals;
using transport::MemoryTransport;
using Texts = std::vector<std::string>;

/// A client that comes and goes, and knows what it must be told.
class Visitor {
 public:
  Visitor(MemoryTransport& transport, std::string channel, std::string user)
      : transport_(&transport), channel_(std::move(channel)), user_(std::move(user)) {}

  /// Does something, whatever that is.
  void act(std::mt19937& random) {
    if (!client_) client_.emplace(*transport_);
    if (!inside_) return enter();
    switch (random() % 4) {
      case 0: return hang_up();
      case 1: leave(); return enter();  // at once
      case 2:
        leave();
        enter();
        return leave();
      default: return leave();
    }
  }
  void enter() {
    client_->subscribe(channel_, user(user_));
    inside_ = true;
  }
  void leave() {
    client_->unsubscribe(channel_);
    forget();
  }
  void hang_up() {
    client_->close();
    client_.reset();
    forget();
  }

  /// Looks at what has come. An event is `PUBLISHER:NUMBER`, and the numbers of each have no gap.
  void look() {
    if (!client_) return;
    const Texts texts = client_->take_raw();
    if (!inside_) {
      EXPECT_TRUE(texts.empty()) << texts.front();
      return;
    }
    for (const std::string& data : view_->apply(texts)) {
      if (data.empty()) continue;  // nothing was cached
      std::size_t& next = next_[static_cast<std::size_t>(data.front() - '0')];
      const std::size_t number = std::stoul(data.substr(2));
      EXPECT_TRUE(next == 0 || number == next) << data << " instead of " << next;
      next = number + 1;
      ++events_;
    }
    EXPECT_FALSE(view_->refused());
  }

  [[nodiscard]] bool inside() const noexcept { return inside_; }
  [[nodiscard]] const std::string& name() const noexcept { return user_; }
  [[nodiscard]] std::set<std::string> members() const { return view_->members(); }
  [[nodiscard]] std::size_t next(std::size_t publisher) const { return next_[publisher]; }
  [[nodiscard]] std::size_t events() const noexcept { return events_; }

 private:
  void forget() {
    inside_ = false;
    view_.emplace(channel_, user_);
    next_ = {};
  }

  MemoryTransport* transport_;
  std::string channel_;
  std::string user_;
  std::optional<MemoryClient> client_;
  std::optional<PresenceView> view_{std::in_place, channel_, user_};
  std::array<std::size_t, 2> next_{};
  std::size_t events_ = 0;
  bool inside_ = false;
};

class PresenceThreads : public testing::TestWithParam<std::string_view> {};

TEST_P(PresenceThreads, EveryViewIsRightAtEveryPointAndMissesNoEvent) {
  const std::string channel(GetParam());
  const std::size_t each = repetitions(120'000);
  constexpr std::size_t burst = 100;
  pusher::AppList apps;
  std::atomic<std::size_t> misses{0};
  std::atomic<std::ptrdiff_t> added{0};
  AppOptions options = open_app();
  options.on_event = [&](const AppEvent& event) {
    if (event.kind == AppEvent::Kind::cache_miss) ++misses;
    if (event.kind == AppEvent::Kind::member_added) ++added;
    if (event.kind == AppEvent::Kind::member_removed) --added;
  };
  App& app = *apps.add(options);
  std::array<MemoryTransport, 2> loops{MemoryTransport(apps), MemoryTransport(apps, {.turn_events = 40})};
  std::array<std::atomic<std::size_t>, 2> rounds{};
  std::array<std::vector<Visitor>, 2> visitors;
  for (std::size_t i = 0; i < 14; ++i) {
    visitors[i % 2].emplace_back(loops[i % 2], channel, std::to_string(i % 5));  // users with connections on both
  }
  std::atomic<std::size_t> publishing{2};
  std::vector<Thread> threads;
  for (std::size_t publisher = 0; publisher < 2; ++publisher) {
    threads.emplace_back([&, publisher] {
      const ChannelHandle handle = app.channel(channel);
      for (std::size_t i = 1; i <= each; ++i) {
        const std::string data = std::to_string(publisher) + ':' + std::to_string(i);
        EXPECT_EQ((publisher == 0 ? handle.trigger("e", data) : app.trigger(channel, "e", data)).error, errc::ok);
        if (i % burst != 0) continue;
        for (auto& round : rounds) {  // not faster than they can read
          for (const std::size_t before = round; round == before;) std::this_thread::yield();
        }
      }
      --publishing;
    });
  }
  for (std::size_t l = 0; l < 2; ++l) {
    threads.emplace_back([&, l] {
      std::mt19937 random(static_cast<unsigned>(l));
      std::vector<Visitor>& mine = visitors[l];
      while (publishing != 0) {
        mine[random() % mine.size()].act(random);
        if (random() % 16 == 0) {
          loops[l].advance({});  // tidies
        } else {
          loops[l].run();
        }
        for (Visitor& visitor : mine) visitor.look();
        ++rounds[l];
      }
    });
  }
  threads.clear();

  for (int i = 0; i < 3; ++i) {
    for (MemoryTransport& loop : loops) loop.run();
  }
  std::set<std::string> users;
  std::size_t connections = 0;
  std::size_t events = 0;
  const std::set<std::string> there = present(app, channel);
  for (std::vector<Visitor>& some : visitors) {
    for (Visitor& visitor : some) {
      visitor.look();
      events += visitor.events();
      if (!visitor.inside()) continue;
      ++connections;
      users.insert(visitor.name());
      EXPECT_EQ(visitor.members(), there);
      for (std::size_t publisher = 0; publisher < 2; ++publisher) {
        EXPECT_TRUE(visitor.next(publisher) == 0 || visitor.next(publisher) == each + 1);
      }
    }
  }
  EXPECT_EQ(there, users);
  EXPECT_EQ(app.subscribers(channel), connections);
  EXPECT_EQ(added, static_cast<std::ptrdiff_t>(users.size()));
  EXPECT_EQ(app.events_dropped(), 0U);
  EXPECT_GT(events, each);
  EXPECT_LE(misses, 1U);
}

INSTANTIATE_TEST_SUITE_P(Kinds, PresenceThreads, testing::Values("presence-room", "presence-cache-room"),
                         [](const auto& test) { return test.index == 0 ? "Presence" : "PresenceCache"; });

TEST(CacheThreads, WhoComesFindsTheLastEventAndGoesOnBehindIt) {
  pusher::AppList apps;
  App& app = *apps.add(open_app());
  MemoryTransport loop(apps);
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> round{0};
  Thread publisher([&] {
    for (std::size_t i = 1; !stop; ++i) {
      EXPECT_TRUE(app.trigger("cache-a", "e", std::to_string(i)));
      if (i % 50 != 0) continue;
      for (const std::size_t before = round; round == before && !stop;) std::this_thread::yield();
    }
  });
  while (!app.cached("cache-a")) std::this_thread::yield();
  for (std::size_t i = 0; i < repetitions(2000); ++i) {
    MemoryClient client(loop);
    client.subscribe("cache-a");
    MemoryClient::Said all;
    for (int turns = 0; turns < 3; ++turns) {
      for (std::string& what : client.run()) all.push_back(std::move(what));
      ++round;
    }
    ASSERT_GE(all.size(), 2U);
    EXPECT_EQ(all.front(), "pusher_internal:subscription_succeeded cache-a {}");
    std::size_t next = 0;
    for (std::size_t n = 1; n < all.size(); ++n) {
      constexpr std::size_t before = 10;  // "e cache-a "
      const std::size_t number = std::stoul(all[n].substr(before));
      EXPECT_TRUE(next == 0 || number == next) << all[n];
      next = number + 1;
    }
    client.close();
    loop.run();
    ++round;
  }
  stop = true;
}

TEST(CountThreads, TheLastNumberIsRightOnAllLoops) {
  pusher::AppList apps;
  AppOptions options = open_app();
  options.subscription_count = true;
  App& app = *apps.add(options);
  std::array<MemoryTransport, 2> loops{MemoryTransport(apps), MemoryTransport(apps)};
  constexpr std::array<const char*, 2> channels{"a", "cache-a"};
  std::array<std::vector<MemoryClient>, 2> stay;
  std::array<std::map<std::string, std::string>, 2> last;
  const auto look = [&](std::size_t l) {
    for (const std::string& what : stay[l].front().take()) {
      for (const char* const channel : channels) {
        const std::string begin = std::string("pusher_internal:subscription_count ") + channel + ' ';
        if (what.starts_with(begin)) last[l][channel] = what.substr(begin.size());
      }
    }
  };
  for (std::size_t l = 0; l < 2; ++l) {
    stay[l].emplace_back(loops[l]);
    for (const char* const channel : channels) stay[l].front().subscribe(channel);
  }
  run_together(2, [&](std::size_t l) {
    std::mt19937 random(static_cast<unsigned>(l));
    std::vector<std::pair<MemoryClient, bool>> guests;
    for (int i = 0; i < 8; ++i) guests.emplace_back(MemoryClient(loops[l]), false);
    for (std::size_t i = 0; i < repetitions(4000); ++i) {
      auto& [client, inside] = guests[random() % guests.size()];
      for (const char* const channel : channels) inside ? client.unsubscribe(channel) : client.subscribe(channel);
      inside = !inside;
      loops[l].run();
      for (auto& guest : guests) guest.first.take_raw();
      look(l);
    }
  });
  for (int i = 0; i < 2; ++i) {
    for (std::size_t l = 0; l < 2; ++l) {
      loops[l].run();
      look(l);
    }
  }
  for (const char* const channel : channels) {
    const std::string right = "{\"subscription_count\":" + std::to_string(app.subscribers(channel)) + '}';
    for (std::size_t l = 0; l < 2; ++l) EXPECT_EQ(last[l][channel], right) << channel << ' ' << l;
  }
}

TEST(UsersThreads, WhoWatchesKnowsInTheEndWhoIsThere) {
  pusher::AppList apps;
  App& app = *apps.add(open_app());
  MemoryTransport watching(apps);
  MemoryClient ada(watching);
  ada.sign_in(R"({"id":"ada","watchlist":["bob","eve"]})");
  std::map<std::string, bool> online;
  bool first = true;
  const auto look = [&] {
    for (const std::string& text : ada.run()) {
      constexpr std::string_view event = "pusher_internal:watchlist_events ";
      if (!text.starts_with(event)) continue;
      const boost::json::value data = boost::json::parse(text.substr(event.size()));
      for (const auto& change : data.at("events").as_array()) {
        for (const auto& id : change.at("user_ids").as_array()) {
          const bool now = change.at("name").as_string() == "online";
          const std::string user_id(id.as_string());
          EXPECT_TRUE(first || online[user_id] != now) << text;  // a change it is, each time
          online[user_id] = now;
        }
      }
      first = false;
    }
  };
  look();
  std::atomic<std::size_t> going{2};
  std::atomic<bool> stop{false};
  Thread time([&] {
    while (!stop) app.tick(std::chrono::steady_clock::now() + 1h);
  });
  std::vector<Thread> threads;
  for (std::size_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      MemoryTransport loop(apps);
      const std::string id = i == 0 ? "bob" : "eve";
      for (std::size_t n = 0; n < repetitions(2000); ++n) {
        MemoryClient client(loop);
        client.sign_in(R"({"id":")" + id + "\"}");
        loop.run();
        if (n % 7 == 0) app.terminate(id);
        loop.run();
        client.take();
        client.close();
        loop.run();
      }
      --going;
    });
  }
  while (going != 0) look();
  threads.clear();
  stop = true;
  time.join();
  look();
  EXPECT_EQ(online["bob"], app.users().online("bob"));
  EXPECT_EQ(online["eve"], app.users().online("eve"));
  app.tick(std::chrono::steady_clock::now() + 1h);
  EXPECT_EQ(app.users().size(), 1U);
}

TEST(UsersThreads, TerminatingFromAnywhereClosesAllThatWereThere) {
  pusher::AppList apps;
  App& app = *apps.add(open_app());
  std::array<MemoryTransport, 2> loops{MemoryTransport(apps), MemoryTransport(apps)};
  std::array<std::optional<MemoryClient>, 2> adas;
  std::array<std::optional<MemoryClient>, 2> bobs;
  for (std::size_t l = 0; l < 2; ++l) {
    bobs[l].emplace(loops[l]);
    bobs[l]->sign_in(R"({"id":"bob"})");
  }
  const auto loop = [&](std::size_t l) {
    return [&, l](std::size_t round) {
      for (std::size_t turns = round % 3; turns != 0; --turns) loops[l].run();
    };
  };
  run_rounds(
      repetitions(1000),
      [&](std::size_t) {
        for (std::size_t l = 0; l < 2; ++l) {
          adas[l].emplace(loops[l]);
          adas[l]->sign_in(R"({"id":"ada"})");
          loops[l].run();
        }
      },
      [&](std::size_t) {
        for (std::size_t l = 0; l < 2; ++l) {
          loops[l].run();
          adas[l]->take();
          EXPECT_EQ(adas[l]->closed_with, 4009U);
          EXPECT_FALSE(bobs[l]->end().closed());
        }
      },
      loop(0), loop(1), [&](std::size_t) { app.terminate("ada"); });
  EXPECT_EQ(app.connections(), 2U);
  app.tick(std::chrono::steady_clock::now() + 1h);
  EXPECT_EQ(app.users().size(), 1U);
}

}  // namespace
