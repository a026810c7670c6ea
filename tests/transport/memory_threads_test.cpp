#include <fanfare/transport/memory.hpp>

#include "support/threads.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace fanfare;
using fanfare::test::Thread;
using transport::MemoryTransport;

TEST(MemoryThreads, TakesTriggersFromAnyThreadInTheOrderOfEach) {
  pusher::AppList apps;
  App& app = *apps.add({.id = "1", .key = "key", .secret = "secret"});
  MemoryTransport transport(apps);
  auto& client = transport.connect("/app/key?protocol=7");
  client.send(R"({"event":"pusher:subscribe","data":{"channel":"x"}})");
  transport.run();
  while (client.receive()) {
  }
  constexpr std::size_t each = 2000;
  std::vector<Thread> publishers;
  for (const char* const name : {"a", "b"}) {
    publishers.emplace_back([&app, name] {
      for (std::size_t i = 0; i < each; ++i) app.trigger("x", name, std::to_string(i));
    });
  }
  std::size_t next[2] = {0, 0};
  while (next[0] + next[1] < 2 * each) {
    transport.run();
    while (const auto message = client.receive()) {
      std::size_t& number = next[message->text[10] == 'a' ? 0 : 1];
      ASSERT_NE(message->text.find("\"data\":\"" + std::to_string(number) + '"'), std::string::npos) << message->text;
      ++number;
    }
  }
}

// Triggers that are under way while it ends must not push into what is no more.
TEST(MemoryThreads, EndsWhileOthersTrigger) {
  pusher::AppList apps;
  App& app = *apps.add({.id = "1", .key = "key", .secret = "secret"});
  std::atomic<bool> stop{false};
  std::vector<Thread> publishers;
  for (int i = 0; i < 2; ++i) {
    publishers.emplace_back([&] {
      while (!stop) app.trigger("x", "e", "1");
    });
  }
  for (std::size_t round = 0; round < fanfare::test::repetitions(400); ++round) {
    MemoryTransport transport(apps, {}, std::size_t{1} << 16U);
    auto& client = transport.connect("/app/key?protocol=7");
    client.send(R"({"event":"pusher:subscribe","data":{"channel":"x"}})");
    for (int turns = 0; turns < 2; ++turns) transport.advance({});
  }
  stop = true;
}

}  // namespace
