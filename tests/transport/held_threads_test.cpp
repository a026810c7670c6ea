#include <fanfare/transport/fanout.hpp>

#include "support/memory_clients.hpp"
#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <string_view>

namespace {

using namespace fanfare;
using namespace fanfare::test;
using Said = MemoryClient::Said;

// Two clients come at the same time, on two loops: when the event goes out both get it, in channels with an order too,
// where they count before they have their places.
TEST(HeldForClientsThreads, ItGoesOutToAllWhoCount) {
  pusher::AppList apps;
  App& app = *apps.add(open_app());
  for (const std::string_view kind : {"presence-hall", "hall"}) {
    const bool presence = kind != "hall";
    for (std::size_t round = 0; round < repetitions(1000); ++round) {
      const std::string channel = std::string(kind) + std::to_string(round);
      std::atomic<bool> sent{false};
      Hold both{.subscribers = 2};
      both.told = [&](HoldOutcome outcome, const TriggerResult&) { sent = outcome == HoldOutcome::sent; };
      ASSERT_TRUE(app.trigger_held(channel, "START", "1", both).held);
      transport::MemoryTransport one{apps};
      transport::MemoryTransport two{apps};
      MemoryClient ann(one);
      MemoryClient bob(two);
      ann.subscribe(channel, presence ? user("ann") : std::string());
      bob.subscribe(channel, presence ? user("bob") : std::string());
      run_together(2, [&](std::size_t i) { (i == 0 ? one : two).run(); });
      for (int i = 0; i < 3; ++i) {
        one.run();
        two.run();
      }
      ASSERT_TRUE(sent);
      for (MemoryClient* const client : {&ann, &bob}) {
        const Said all = client->take();
        ASSERT_EQ(std::count(all.begin(), all.end(), "START " + channel + " 1"), 1) << channel;
      }
    }
  }
}

}  // namespace
