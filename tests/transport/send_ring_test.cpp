#include <fanfare/transport/send_ring.hpp>

#include "support/heap.hpp"
#include "support/io_uring.hpp"

#include <gtest/gtest.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

namespace {

using fanfare::test::DescriptorLimit;
using fanfare::test::Heap;
using fanfare::test::TcpPair;
using fanfare::transport::SendRing;
using namespace std::chrono_literals;

constexpr unsigned places = 64;

// What a batch came to: all that it told, by tag.
struct Told {
  std::map<std::uint32_t, std::ptrdiff_t> cut_short;
  std::vector<std::uint32_t> not_tried;
  bool twice = false;
};

Told submit(SendRing& ring) {
  Told told;
  ring.submit([&](std::uint32_t tag,
                  std::ptrdiff_t sent) { told.twice = !told.cut_short.emplace(tag, sent).second || told.twice; },
              [&](std::uint32_t tag) { told.not_tried.push_back(tag); });
  EXPECT_FALSE(told.twice);
  return told;
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* const all = ::opendir("/proc/self/fd");
  while (::readdir(all) != nullptr) ++count;
  ::closedir(all);
  return count;
}

// A part of a text without end.
std::string numbered(std::size_t from, std::size_t size) {
  static const std::string text = [] {
    std::mt19937 random(1);
    std::string made(1'000'003, '\0');
    std::generate(made.begin(), made.end(), [&] { return static_cast<char>(random()); });
    return made;
  }();
  std::string bytes;
  bytes.reserve(size);
  while (bytes.size() < size) bytes.append(text, (from + bytes.size()) % text.size(), size - bytes.size());
  return bytes;
}

TEST(SendRing, IsClosedUntilItIsOpened) {
  SendRing ring;
  EXPECT_FALSE(ring.is_open());
  EXPECT_EQ(ring.sockets(), 0U);
  ring.leave(0);
  ring.close();
  EXPECT_FALSE(ring.is_open());
  EXPECT_GE(SendRing::capacity, 1U);
}

// By their places in the table, or by their descriptors.
class SendRingTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!SendRing::built) GTEST_SKIP() << "built without liburing";
    if (!fanfare::test::kernel_has_io_uring()) GTEST_SKIP() << "the kernel refuses io_uring";
    ASSERT_TRUE(ring.open(places));
    EXPECT_EQ(ring.sockets(), places);
  }

  // The socket is in the table at this place, if it is a test of places.
  void enter(std::uint32_t place, const TcpPair& pair) {
    const int descriptor = pair.server();
    if (GetParam()) {
      EXPECT_EQ(ring.enter(place, &descriptor, 1), 1U);
    }
  }
  void add(std::uint32_t place, const TcpPair& pair, std::string_view bytes, std::uint32_t tag) {
    ring.add(GetParam() ? static_cast<int>(place) : pair.server(), GetParam(), bytes, tag);
  }

  SendRing ring;
};

TEST_P(SendRingTest, WholeSendsTellNothing) {
  TcpPair pair;
  enter(3, pair);
  std::string expected;
  for (int round = 0; round < 100; ++round) {
    const std::string bytes = numbered(expected.size(), 1000);
    add(3, pair, bytes, 0);
    const Told told = submit(ring);
    EXPECT_TRUE(told.cut_short.empty());
    EXPECT_TRUE(told.not_tried.empty());
    expected += bytes;
  }
  EXPECT_EQ(pair.receive_all(expected.size()), expected);
  EXPECT_TRUE(ring.is_open());
}

TEST_P(SendRingTest, AnEmptyBatchIsNothing) {
  for (int i = 0; i < 3; ++i) {
    const Told told = submit(ring);
    EXPECT_TRUE(told.cut_short.empty());
    EXPECT_TRUE(told.not_tried.empty());
  }
  EXPECT_TRUE(ring.is_open());
}

// Between others that go out whole.
TEST_P(SendRingTest, TellsOfWhatIsCutShort) {
  TcpPair slow(4096);
  TcpPair quick;
  enter(0, slow);
  enter(1, quick);
  const std::string much = numbered(0, std::size_t{1} << 20U);
  const std::string little = numbered(5, 100);
  std::size_t sent = 0;
  std::string expected;
  const auto send = [&] {
    add(1, quick, little, 0);
    add(0, slow, std::string_view(much).substr(sent), 1);
    add(1, quick, little, 2);
    expected += little + little;
    const Told told = submit(ring);
    EXPECT_TRUE(told.not_tried.empty());
    if (told.cut_short.empty()) return much.size() - sent;
    EXPECT_EQ(told.cut_short.size(), 1U);
    EXPECT_TRUE(told.cut_short.contains(1));
    return static_cast<std::size_t>(told.cut_short.begin()->second);
  };
  // The kernel needs a moment to find that it is full.
  std::size_t now = send();
  EXPECT_GT(now, 0U);
  EXPECT_LT(now, much.size());
  for (int i = 0; i < 1000 && now != 0; ++i) {
    sent += now;
    now = send();
  }
  ASSERT_EQ(now, 0U);
  EXPECT_TRUE(quick.receive_all(expected.size()) == expected);

  // Neither more nor less than it said; and from there on it goes on.
  std::string came = slow.receive_all(sent);
  EXPECT_FALSE(slow.readable(20ms));
  while (came.size() == sent && sent < much.size()) {
    sent += send();
    came += slow.receive_all(sent - came.size());
  }
  EXPECT_TRUE(came == much);
  EXPECT_FALSE(slow.readable(0ms));
}

// Whatever the size of a send, and whatever room there is.
TEST_P(SendRingTest, IsExactAtEveryLength) {
  TcpPair pair(2048);
  enter(0, pair);
  std::mt19937 random(7);
  std::size_t sent = 0;
  std::size_t came = 0;
  std::size_t cut = 0;
  std::size_t refused = 0;
  for (int round = 0; round < 4000; ++round) {
    const std::size_t size = 1 + random() % (random() % 4 == 0 ? 20'000 : 300);
    const std::string bytes = numbered(sent, size);
    add(0, pair, bytes, 0);
    const Told told = submit(ring);
    const std::size_t now = told.cut_short.empty() ? size : static_cast<std::size_t>(told.cut_short.begin()->second);
    ASSERT_LE(now, size);
    cut += now != size && now != 0 ? 1U : 0U;
    refused += now == 0 ? 1U : 0U;
    sent += now;
    if (random() % 3 != 0) continue;
    const std::string part = pair.receive(random() % 8000);
    ASSERT_TRUE(part == numbered(came, part.size()));
    came += part.size();
  }
  const std::string rest = pair.receive_all(sent - came);
  EXPECT_TRUE(rest == numbered(came, sent - came));
  EXPECT_FALSE(pair.readable(20ms));
  EXPECT_GT(cut, 10U);
  EXPECT_GT(refused, 10U);
}

TEST_P(SendRingTest, TellsOfABrokenConnectionAndServesTheOthers) {
  TcpPair first;
  TcpPair gone;
  TcpPair last;
  enter(0, first);
  enter(1, gone);
  enter(2, last);
  gone.reset();
  add(0, first, "one", 0);
  add(1, gone, "two", 1);
  add(2, last, "three", 2);
  const Told told = submit(ring);
  ASSERT_EQ(told.cut_short.size(), 1U);
  EXPECT_LT(told.cut_short.at(1), 0);
  EXPECT_EQ(first.receive_all(3), "one");
  EXPECT_EQ(last.receive_all(5), "three");
  EXPECT_TRUE(ring.is_open());
}

TEST_P(SendRingTest, WhatIsNoConnectionIsBroken) {
  TcpPair pair;
  enter(0, pair);
  const int closed = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(closed);
  add(0, pair, "a", 0);
  ring.add(9, true, "b", 1);       // an empty place
  ring.add(places, true, "c", 2);  // no place at all
  ring.add(closed, false, "d", 3);
  ring.add(STDIN_FILENO, false, "e", 4);  // no socket
  add(0, pair, "f", 5);
  const Told told = submit(ring);
  EXPECT_EQ(told.cut_short, (std::map<std::uint32_t, std::ptrdiff_t>{{1, -1}, {2, -1}, {3, -1}, {4, -1}}));
  EXPECT_TRUE(told.not_tried.empty());
  EXPECT_EQ(pair.receive_all(2), "af");
}

TEST_P(SendRingTest, TheBytesAreTheCallersAgain) {
  TcpPair quick;
  TcpPair slow(4096);
  enter(0, quick);
  enter(1, slow);
  std::string bytes;
  std::string expected;
  for (int round = 0; round < 200; ++round) {
    bytes = numbered(expected.size(), 2000);
    expected += bytes;
    add(0, quick, bytes, 0);
    add(1, slow, bytes, 1);
    submit(ring);
    std::fill(bytes.begin(), bytes.end(), 'x');
  }
  EXPECT_TRUE(quick.receive_all(expected.size()) == expected);
  const std::string came = slow.receive();
  ASSERT_GE(came.size(), 2000U);
  EXPECT_TRUE(came.compare(0, 2000, expected, 0, 2000) == 0);
  EXPECT_EQ(came.find("xxxxxxxx"), std::string::npos);
}

// Each batch is full, and each socket has several of its sends.
TEST_P(SendRingTest, FullBatchesKeepEachConnectionsOrder) {
  constexpr std::size_t sockets = 64;
  constexpr std::size_t rounds = 500;
  constexpr std::size_t each = SendRing::capacity / sockets;
  std::vector<TcpPair> pairs(sockets);
  std::vector<std::uint32_t> read(sockets);
  for (std::uint32_t i = 0; i < sockets; ++i) enter(i, pairs[i]);
  std::vector<std::string> messages(each, std::string(8, '\0'));
  for (std::uint32_t round = 0; round < rounds; ++round) {
    for (std::uint32_t k = 0; k < each; ++k) {
      const std::uint32_t number = round * static_cast<std::uint32_t>(each) + k;
      std::copy_n(reinterpret_cast<const char*>(&number), sizeof number, messages[k].data());
      for (std::uint32_t i = 0; i < sockets; ++i) {
        add(i, pairs[i], messages[k], k * static_cast<std::uint32_t>(sockets) + i);
      }
    }
    const Told told = submit(ring);
    ASSERT_TRUE(told.cut_short.empty());
    ASSERT_TRUE(told.not_tried.empty());
    if (round % 50 != 49) continue;
    for (std::size_t i = 0; i < sockets; ++i) {
      const std::size_t owed = std::size_t{round + 1} * each;
      const std::string bytes = pairs[i].receive_all((owed - read[i]) * 8);
      ASSERT_EQ(bytes.size(), (owed - read[i]) * 8);
      for (std::size_t at = 0; at < bytes.size(); at += 8) {
        std::uint32_t number = 0;
        std::copy_n(bytes.data() + at, sizeof number, reinterpret_cast<char*>(&number));
        ASSERT_EQ(number, read[i]++);
      }
    }
  }
}

// Sockets that come, go, read slowly and break, at places that are used again and again: each client receives a beginning
// of what it is owed, and those that stay everything.
TEST_P(SendRingTest, EachClientReceivesItsOwnBytes) {
  struct Client {
    TcpPair pair;
    std::size_t seed;
    std::size_t sent = 0;
    std::size_t came = 0;
    bool gone = false;
  };
  constexpr std::uint32_t count = places;
  std::mt19937 random(11);
  std::vector<std::optional<Client>> clients(count);
  std::size_t seeds = 0;
  std::size_t broken = 0;
  std::size_t cut = 0;
  std::vector<std::string> bytes(count);
  std::vector<std::uint32_t> tags;  // by tag, whose it is
  const auto read = [&](Client& client, std::size_t most) {
    const std::string part = client.pair.receive(most);
    EXPECT_TRUE(part == numbered(client.seed + client.came, part.size()));
    client.came += part.size();
  };
  for (int round = 0; round < 500 && !HasFailure(); ++round) {
    for (std::uint32_t i = 0; i < count; ++i) {
      if (!clients[i]) {
        if (random() % 4 != 0) continue;
        clients[i].emplace(Client{TcpPair(random() % 2 == 0 ? 2048 : 0), ++seeds * 1'000'003});
        enter(i, clients[i]->pair);
      } else if (random() % 100 == 0) {
        // All that was said to be sent is there, and behind it the end.
        if (GetParam()) ring.leave(i);
        clients[i]->pair.close_server();
        if (!clients[i]->gone) {
          const std::string rest = clients[i]->pair.receive_all(clients[i]->sent - clients[i]->came);
          EXPECT_TRUE(rest == numbered(clients[i]->seed + clients[i]->came, clients[i]->sent - clients[i]->came));
          EXPECT_TRUE(clients[i]->pair.ends());
        }
        clients[i].reset();
      } else if (!clients[i]->gone && random() % 200 == 0) {
        clients[i]->gone = true;
        clients[i]->pair.reset();
      }
    }
    tags.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
      if (!clients[i] || random() % 4 == 0) continue;
      bytes[i] = numbered(clients[i]->seed + clients[i]->sent, 1 + random() % 3000);
      add(i, clients[i]->pair, bytes[i], static_cast<std::uint32_t>(tags.size()));
      tags.push_back(i);
    }
    const Told told = submit(ring);
    EXPECT_TRUE(told.not_tried.empty());
    for (std::uint32_t tag = 0; tag < tags.size(); ++tag) {
      Client& client = *clients[tags[tag]];
      const auto found = told.cut_short.find(tag);
      if (found == told.cut_short.end()) {
        client.sent += bytes[tags[tag]].size();
      } else if (found->second >= 0) {
        client.sent += static_cast<std::size_t>(found->second);
        ++cut;
      } else {
        EXPECT_TRUE(client.gone);
        ++broken;
      }
    }
    for (std::optional<Client>& client : clients) {
      if (client && !client->gone && random() % 3 == 0) read(*client, random() % 6000);
    }
  }
  EXPECT_GT(broken, 20U);
  EXPECT_GT(cut, 200U);
  EXPECT_TRUE(ring.is_open());
}

TEST_P(SendRingTest, ReopensWithAnEmptyTable) {
  TcpPair pair;
  enter(0, pair);
  add(0, pair, "one", 0);
  submit(ring);
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 20; ++i) {
    ring.close();
    EXPECT_FALSE(ring.is_open());
    EXPECT_EQ(ring.sockets(), 0U);
    ring.leave(0);
    ASSERT_TRUE(ring.open(places));
    ASSERT_TRUE(ring.open(1));  // it is open
    EXPECT_EQ(ring.sockets(), places);
  }
  EXPECT_EQ(open_descriptors(), before);
  ring.add(0, true, "two", 0);
  EXPECT_EQ(submit(ring).cut_short.at(0), -1);
  enter(0, pair);
  add(0, pair, "three", 0);
  EXPECT_TRUE(submit(ring).cut_short.empty());
  EXPECT_EQ(pair.receive_all(8), "onethree");
}

// What is in a batch has to be sent in another way, and must not go out with a batch of the next ring.
TEST_P(SendRingTest, TellsWhatTheRingTookWithIt) {
  TcpPair pair;
  enter(0, pair);
  add(0, pair, "one", 0);
  add(0, pair, "two", 1);
  ring.close();
  const Told told = submit(ring);
  EXPECT_TRUE(told.cut_short.empty());
  EXPECT_EQ(told.not_tried, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_TRUE(submit(ring).not_tried.empty());
  ASSERT_TRUE(ring.open(places));
  enter(0, pair);
  add(0, pair, "lost", 0);
  ring.close();
  ASSERT_TRUE(ring.open(places));
  enter(0, pair);
  add(0, pair, "three", 0);
  const Told next = submit(ring);
  EXPECT_TRUE(next.cut_short.empty());
  EXPECT_TRUE(next.not_tried.empty());
  EXPECT_EQ(pair.receive_all(5), "three");
  EXPECT_FALSE(pair.readable(20ms));
}

// The kernel takes nothing from another thread, so everything has to be sent in another way, and nothing goes out twice.
TEST_P(SendRingTest, EndsOnAnotherThread) {
  TcpPair pair;
  enter(0, pair);
  add(0, pair, "before", 0);
  EXPECT_TRUE(submit(ring).cut_short.empty());
  Told told;
  std::thread([&] {
    for (std::uint32_t tag = 0; tag < 5; ++tag) add(0, pair, "late", tag);
    told = submit(ring);
  }).join();
  EXPECT_EQ(told.not_tried, (std::vector<std::uint32_t>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(told.cut_short.empty());
  EXPECT_FALSE(ring.is_open());
  EXPECT_EQ(pair.receive_all(6), "before");
  EXPECT_FALSE(pair.readable(50ms));
  pair.close_server();
  EXPECT_TRUE(pair.ends());
}

INSTANTIATE_TEST_SUITE_P(Sends, SendRingTest, testing::Bool(),
                         [](const auto& tested) { return std::string(tested.param ? "ByPlace" : "ByDescriptor"); });

class SendRingTable : public SendRingTest {};
INSTANTIATE_TEST_SUITE_P(Sends, SendRingTable, testing::Values(true),
                         [](const auto& /*tested*/) { return std::string("ByPlace"); });

TEST_P(SendRingTable, EntersSeveralAtOnce) {
  std::vector<TcpPair> pairs(5);
  std::vector<int> descriptors;
  for (const TcpPair& pair : pairs) descriptors.push_back(pair.server());
  EXPECT_EQ(ring.enter(places - 5, descriptors.data(), descriptors.size()), 5U);
  constexpr std::string_view digits = "01234";
  for (std::uint32_t i = 0; i < 5; ++i) add(places - 5 + i, pairs[i], digits.substr(i, 1), i);
  EXPECT_TRUE(submit(ring).cut_short.empty());
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(pairs[i].receive_all(1), digits.substr(i, 1));
}

// Up to the first that cannot be.
TEST_P(SendRingTable, TellsHowManyItEntered) {
  TcpPair pair;
  const int closed = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(closed);
  const std::vector<int> descriptors{pair.server(), closed, pair.server()};
  EXPECT_EQ(ring.enter(0, descriptors.data(), 3), 1U);
  EXPECT_EQ(ring.enter(4, &closed, 1), 0U);
  ring.add(0, true, "a", 0);
  ring.add(1, true, "b", 1);
  ring.add(2, true, "c", 2);
  EXPECT_EQ(submit(ring).cut_short, (std::map<std::uint32_t, std::ptrdiff_t>{{1, -1}, {2, -1}}));
  EXPECT_EQ(pair.receive_all(1), "a");
}

TEST_P(SendRingTable, ClientsSeeTheEndOfASocketThatHasLeft) {
  TcpPair pair;
  enter(0, pair);
  add(0, pair, "last", 0);
  submit(ring);
  ring.leave(0);
  pair.close_server();
  EXPECT_EQ(pair.receive_all(4), "last");
  EXPECT_TRUE(pair.ends());
  ring.leave(0);  // it is empty already
  EXPECT_TRUE(ring.is_open());
  ring.leave(places);  // there is none
  EXPECT_TRUE(ring.is_open());
}

TEST_P(SendRingTable, ClientsSeeTheEndWhenTheRingHasEnded) {
  TcpPair pair;
  enter(0, pair);
  ring.close();
  pair.close_server();
  EXPECT_TRUE(pair.ends());
}

// Its place and its descriptor's number, both.
TEST_P(SendRingTable, APlaceIsUsedAgain) {
  for (int round = 0; round < 200 && !HasFailure(); ++round) {
    TcpPair old;
    TcpPair fresh;
    enter(7, old);
    add(7, old, "old", 0);
    EXPECT_TRUE(submit(ring).cut_short.empty());
    ring.leave(7);
    const int number = old.server();
    ASSERT_EQ(::dup2(fresh.server(), number), number);  // which closes the old one
    fresh.close_server();
    ASSERT_EQ(ring.enter(7, &number, 1), 1U);
    add(7, fresh, "new", 0);
    EXPECT_TRUE(submit(ring).cut_short.empty());
    ring.leave(7);
    old.close_server();
    EXPECT_EQ(fresh.receive_all(3), "new");
    EXPECT_TRUE(fresh.ends());
    EXPECT_EQ(old.receive_all(3), "old");
    EXPECT_TRUE(old.ends());
  }
}

TEST_P(SendRingTable, SendsByPlaceAndByDescriptorInOneBatch) {
  std::vector<TcpPair> pairs(200);
  for (std::uint32_t i = 0; i < places; ++i) enter(i, pairs[i]);
  std::vector<std::string> expected(pairs.size());
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> bytes;
    for (std::size_t i = 0; i < pairs.size(); ++i) bytes.push_back(std::to_string(round * 1000 + static_cast<int>(i)));
    for (std::uint32_t i = 0; i < pairs.size(); ++i) {
      const bool in_table = i < places;
      ring.add(in_table ? static_cast<int>(i) : pairs[i].server(), in_table, bytes[i], i);
      expected[i] += bytes[i];
    }
    const Told told = submit(ring);
    EXPECT_TRUE(told.cut_short.empty());
    EXPECT_TRUE(told.not_tried.empty());
  }
  for (std::size_t i = 0; i < pairs.size(); ++i) EXPECT_EQ(pairs[i].receive_all(expected[i].size()), expected[i]);
}

// ---- where it cannot be

TEST(SendRingOpening, HasNoMorePlacesThanTheProcessMayOpen) {
  if (!SendRing::built || !fanfare::test::kernel_has_io_uring()) GTEST_SKIP() << "there is no io_uring";
  const DescriptorLimit limit(100);
  SendRing ring;
  ASSERT_TRUE(ring.open(1000));
  EXPECT_EQ(ring.sockets(), 100U);
}

// However many descriptors are left: it opens or does not, and keeps none that it does not need.
TEST(SendRingOpening, LeavesNothingBehindWhereItFails) {
  if (!SendRing::built || !fanfare::test::kernel_has_io_uring()) GTEST_SKIP() << "there is no io_uring";
  const std::size_t before = open_descriptors();
  const int next = ::dup(0);
  ::close(next);
  unsigned failures = 0;
  bool opened = false;
  for (rlim_t spare = 0; spare < 8 && !opened; ++spare) {
    SendRing ring;
    {
      const DescriptorLimit limit(static_cast<rlim_t>(next) + spare);
      opened = ring.open(places);
    }
    failures += opened ? 0U : 1U;
    EXPECT_EQ(ring.is_open(), opened);
    ring.close();
    EXPECT_EQ(open_descriptors(), before) << spare;
  }
  EXPECT_TRUE(opened);
  EXPECT_GE(failures, 2U);

  Heap::fail_after(0);
  SendRing ring;
  opened = ring.open(places);
  Heap::succeed();
  EXPECT_EQ(ring.is_open(), opened);
  ring.close();
  EXPECT_EQ(open_descriptors(), before);
}

class SendRingRefused : public testing::TestWithParam<int> {};

TEST_P(SendRingRefused, DoesNotOpen) {
  const int code = fanfare::test::without_io_uring(GetParam(), [] {
    SendRing ring;
    if (ring.open(places) || ring.is_open() || ring.sockets() != 0) return 1;
    return 0;
  });
  if (code == 100) GTEST_SKIP() << "the kernel has no filters for system calls";
  EXPECT_EQ(code, 0);
}

// By a container's rules, by an old kernel, and by `kernel.io_uring_disabled`.
INSTANTIATE_TEST_SUITE_P(Errors, SendRingRefused, testing::Values(EPERM, ENOSYS, EINVAL, ENOMEM));

}  // namespace
