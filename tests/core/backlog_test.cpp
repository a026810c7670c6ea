#include <fanfare/core/backlog.hpp>

#include "support/heap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fanfare::test {
namespace {

LogPtr log_of(LogPool& pool, const std::vector<std::string>& frames) {
  LogPtr log = pool.take();
  for (const std::string& frame : frames) log->append(frame, 0);
  return log;
}

/// Sends everything, in steps.
std::string drain(Backlog& backlog, std::size_t step = static_cast<std::size_t>(-1)) {
  std::string all;
  while (!backlog.empty()) {
    const std::size_t bytes = std::min(step, backlog.front().size());
    EXPECT_GT(bytes, 0U);
    if (bytes == 0) break;
    all += backlog.front().substr(0, bytes);
    backlog.consume(bytes);
  }
  EXPECT_EQ(backlog.bytes(), 0U);
  EXPECT_EQ(backlog.front(), "");
  return all;
}

TEST(Backlog, IsEmptyAtFirst) {
  LogPool pool;
  Backlog backlog{pool};
  EXPECT_TRUE(backlog.empty());
  EXPECT_EQ(backlog.bytes(), 0U);
  EXPECT_EQ(backlog.front(), "");
  backlog.keep_started_frame();
  EXPECT_TRUE(backlog.empty());
  static_assert(!std::is_copy_constructible_v<Backlog> && !std::is_move_constructible_v<Backlog>);
}

TEST(Backlog, WhatIsEmptyAddsNothing) {
  LogPool pool;
  Backlog backlog{pool};
  backlog.append(pool.take(), 0);
  backlog.append(log_of(pool, {"abc"}), 3);
  backlog.append("", std::span<const std::size_t>{}, 0);
  backlog.append("abc", 3);
  EXPECT_TRUE(backlog.empty());
  backlog.append(log_of(pool, {"def"}), 0);
  EXPECT_EQ(backlog.front(), "def");  // nothing empty is in front of it
  backlog.consume(0);
  EXPECT_EQ(drain(backlog), "def");
}

TEST(Backlog, SendsPartsOfLogsAndFramesInTheirOrder) {
  for (const std::size_t step : {1U, 2U, 3U, 5U, 100U}) {
    LogPool pool;
    Backlog backlog{pool};
    const LogPtr log = log_of(pool, {"aaaa", "bb", "c"});
    backlog.append(log, 1);  // the rest of a frame, and the others
    backlog.append(log, 6);  // few of them: a copy
    backlog.append(log, 0);  // all
    backlog.append("ddd");   // behind a shared part
    const std::size_t ends[] = {1, 3};
    backlog.append("eff", ends);  // behind its own
    backlog.append(log, 6);
    EXPECT_EQ(backlog.bytes(), 6U + 1U + 7U + 3U + 3U + 1U);
    EXPECT_EQ(drain(backlog, step), "aaabbccaaaabbcdddeffc");
  }
}

TEST(Backlog, SharesWhatIsAtLeastHalfOfItsLog) {
  LogPool pool{0};
  const LogPtr log = log_of(pool, {"aaaa", "bbbb", "c"});
  Backlog backlog{pool};
  backlog.append(log, 0);
  backlog.append(log, 4);
  EXPECT_EQ(pool.used(), 1U);
  backlog.append(log, 8);
  EXPECT_EQ(pool.used(), 2U);
  EXPECT_EQ(drain(backlog, 1),
            "aaaabbbbc"
            "bbbbc"
            "c");
  EXPECT_EQ(pool.used(), 1U);
}

TEST(Backlog, LeavesALogWhenLittleOfItIsLeft) {
  LogPool pool{0};
  Backlog backlog{pool};
  backlog.append(log_of(pool, {std::string(50, 'a'), std::string(50, 'b')}), 0);
  const char* const shared = backlog.front().data();
  backlog.consume(50);
  EXPECT_EQ(backlog.front().data(), shared + 50);
  backlog.consume(1);
  EXPECT_NE(backlog.front().data(), shared + 51);
  EXPECT_EQ(pool.used(), 1U);
  EXPECT_EQ(drain(backlog), std::string(49, 'b'));
  EXPECT_EQ(pool.used(), 0U);
}

// ---- dropping all but what has begun

struct Started {
  std::vector<std::string> frames;
  std::size_t sent;
  std::string rest;
};
class KeepStartedFrame : public ::testing::TestWithParam<Started> {};

INSTANTIATE_TEST_SUITE_P(Table, KeepStartedFrame,
                         ::testing::Values(Started{{"abc", "de"}, 0, ""}, Started{{"abc", "de"}, 1, "bc"},
                                           Started{{"abc", "de"}, 2, "c"}, Started{{"abc", "de"}, 3, ""},
                                           Started{{"abc", "de"}, 4, "e"}, Started{{"abc", "de", "f"}, 4, "e"},
                                           Started{{"abc", "de", "f"}, 5, ""}, Started{{"abcdefgh", "i"}, 7, "h"},
                                           Started{{"a", "b", "c", "d", "efg", "h"}, 5, "fg"}));

TEST_P(KeepStartedFrame, OfALog) {
  for (const bool more : {false, true}) {
    LogPool pool;
    Backlog backlog{pool};
    backlog.append(log_of(pool, GetParam().frames), GetParam().sent);
    if (more) backlog.append(log_of(pool, GetParam().frames), 0);
    backlog.keep_started_frame();
    EXPECT_EQ(backlog.bytes(), GetParam().rest.size());
    backlog.keep_started_frame();  // the same again
    EXPECT_EQ(backlog.front(), GetParam().rest);
    backlog.append("close");
    EXPECT_EQ(drain(backlog), GetParam().rest + "close");
    EXPECT_EQ(pool.used(), 0U);
  }
}

TEST_P(KeepStartedFrame, OfALogThatWasSentInSteps) {
  LogPool pool;
  Backlog backlog{pool};
  backlog.append(log_of(pool, GetParam().frames), 0);
  for (std::size_t i = 0; i < GetParam().sent; ++i) backlog.consume(1);
  backlog.keep_started_frame();
  EXPECT_EQ(drain(backlog), GetParam().rest);
}

TEST_P(KeepStartedFrame, OfFrames) {
  for (const bool in_steps : {false, true}) {
    LogPool pool;
    Backlog backlog{pool};
    std::string frames;
    std::vector<std::size_t> ends;
    for (const std::string& frame : GetParam().frames) ends.push_back((frames += frame).size());
    backlog.append(frames, ends, in_steps ? 0 : GetParam().sent);
    for (std::size_t i = 0; in_steps && i < GetParam().sent; ++i) backlog.consume(1);
    backlog.append("more");
    backlog.keep_started_frame();
    backlog.append("close");
    EXPECT_EQ(drain(backlog), GetParam().rest + "close");
  }
}

TEST(Backlog, KeepsTheRestOfAFrameThatWasCopiedInPart) {
  // Its beginning is neither in the log nor anywhere else, and still it has begun.
  LogPool pool;
  Backlog backlog{pool};
  backlog.append(log_of(pool, {std::string(90, 'a'), "bb", "c"}), 89);
  EXPECT_EQ(backlog.front(), "abbc");
  backlog.keep_started_frame();
  EXPECT_EQ(drain(backlog), "a");

  Backlog again{pool};
  again.append("abcdef", 5);
  again.append("next");
  again.keep_started_frame();
  again.keep_started_frame();
  EXPECT_EQ(drain(again), "f");

  Backlog none{pool};
  none.append(log_of(pool, {std::string(90, 'a'), "bb", "c"}), 89);
  none.consume(1);
  none.keep_started_frame();
  EXPECT_TRUE(none.empty());
}

// ---- dropping frames of a channel

using Fate = Backlog::Fate;

LogPtr log_of_channels(LogPool& pool, const std::vector<std::pair<std::uint64_t, std::string>>& frames) {
  LogPtr log = pool.take();
  for (const auto& [channel, frame] : frames) log->append(frame, 0, LogFrame::nobody, channel);
  return log;
}

/// Drops the oldest frames of a channel, so many.
void drop_oldest(Backlog& backlog, std::uint64_t channel, std::size_t count, const std::string& gap = {}) {
  backlog.sift(channel, [&](const LogFrame* about, std::string_view /*frame*/, std::string& before) {
    if (about != nullptr && count != 0) return --count, Fate::drop;
    before = gap;
    return Fate::stop;
  });
}

TEST(SiftedBacklog, DropsWholeFramesOfOneChannelAlone) {
  LogPool pool;
  Backlog backlog{pool};
  backlog.append(log_of_channels(pool, {{1, "aaa"}, {2, "bbb"}, {1, "cc"}, {LogFrame::no_channel, "d"}}), 0);
  backlog.append("reply");
  backlog.append(log_of_channels(pool, {{1, "eee"}}), 0);
  backlog.consume(1);  // the first is on the wire in part
  drop_oldest(backlog, 1, 1);
  EXPECT_EQ(backlog.bytes(), 2U + 3 + 1 + 5 + 3);
  drop_oldest(backlog, 3, 9);
  drop_oldest(backlog, LogFrame::no_channel - 1, 9);
  EXPECT_EQ(drain(backlog), "aabbbdreplyeee");
}

TEST(SiftedBacklog, AGapIsWhereItsFramesWere) {
  LogPool pool;
  for (const bool front : {false, true}) {
    Backlog backlog{pool};
    backlog.append(log_of_channels(pool, {{1, "11"}, {1, "22"}, {2, "x"}, {1, "33"}, {2, "y"}}), 0);
    if (front) backlog.append(log_of_channels(pool, {{1, std::string(100, '4')}}), 0);
    drop_oldest(backlog, 1, 2, "gap1");
    EXPECT_EQ(backlog.front().substr(0, 4), front ? "xgap" : "xgap");
    EXPECT_EQ(backlog.take_last_gap(2), "");
    EXPECT_EQ(backlog.take_last_gap(1), "");  // an event is the last
    if (front) continue;
    drop_oldest(backlog, 1, 9, "gap2");  // the first gap too
    EXPECT_EQ(backlog.bytes(), 6U);
    EXPECT_EQ(backlog.take_last_gap(1), "gap2");
    EXPECT_EQ(drain(backlog), "xy");
    EXPECT_EQ(backlog.take_last_gap(1), "");
  }
}

TEST(SiftedBacklog, AGapThatIsOnTheWireStays) {
  LogPool pool;
  Backlog backlog{pool};
  backlog.add_gap(1, "gap");
  backlog.append("x");
  backlog.consume(1);
  EXPECT_EQ(backlog.take_last_gap(1), "");
  drop_oldest(backlog, 1, 9, "more");
  EXPECT_EQ(drain(backlog), "apxmore");
}

TEST(SiftedBacklog, TheOldestOfALargeLogAreDroppedWithoutACopy) {
  LogPool pool{0};
  Backlog backlog{pool};
  const LogPtr log = log_of_channels(pool, std::vector<std::pair<std::uint64_t, std::string>>(100, {1, "0123456789"}));
  backlog.append(log, 0);
  drop_oldest(backlog, 1, 3);
  EXPECT_EQ(backlog.front().data(), log->bytes().data() + 30);
  backlog.consume(5);
  drop_oldest(backlog, 1, 7);
  EXPECT_EQ(backlog.front(), "56789");  // what is on the wire is apart from now on
  backlog.consume(5);
  EXPECT_EQ(backlog.front().data(), log->bytes().data() + 110);
  drop_oldest(backlog, 1, 60);
  EXPECT_EQ(backlog.bytes(), 290U);
  EXPECT_EQ(pool.used(), 2U);  // less than half of the log: a copy
  drop_oldest(backlog, 1, 1000);
  EXPECT_TRUE(backlog.empty());
  EXPECT_EQ(pool.used(), 1U);
}

/// A random life, beside a queue of frames that does the same.
TEST(SiftedBacklog, DoesWhatAPlainQueueOfFramesDoes) {
  struct Frame {
    std::uint64_t channel;
    std::string text;
    bool gap = false;
  };
  for (std::uint32_t seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::size_t bound) { return random() % bound; };
    LogPool pool{4, 256};
    Backlog backlog{pool};
    std::deque<Frame> model;
    std::size_t sent = 0;  // of the first
    for (int step = 0; step < 600; ++step) {
      SCOPED_TRACE(testing::Message() << seed << ' ' << step);
      const std::uint64_t channel = below(3);
      if (const std::size_t what = below(5); what < 2) {
        std::vector<std::pair<std::uint64_t, std::string>> frames(1 + below(6));
        std::string text;
        std::vector<LogFrame> index;
        for (auto& [of, frame] : frames) {
          of = what == 0 ? channel : below(4) == 0 ? LogFrame::no_channel : below(3);
          frame.assign(1 + below(below(4) == 0 ? 200 : 20), static_cast<char>('a' + below(26)));
          model.push_back({of, frame});
          index.push_back({.end = (text += frame).size(), .channel = of});
        }
        if (what == 0) backlog.append(log_of_channels(pool, frames), 0);
        if (what == 1) backlog.append(text, index);
      } else if (what == 2) {
        const std::size_t bytes = below(backlog.front().size() + 1);
        backlog.consume(bytes);
        for (sent += bytes; !model.empty() && sent >= model.front().text.size(); model.pop_front()) {
          sent -= model.front().text.size();
        }
      } else if (what == 3) {
        const std::string gap = backlog.take_last_gap(channel);
        std::string expected;
        for (std::size_t i = model.size(); i-- > (sent != 0 ? 1U : 0U);) {
          if (model[i].channel != channel) continue;
          if (model[i].gap) {
            expected = model[i].text;
            model.erase(model.begin() + static_cast<std::ptrdiff_t>(i));
          }
          break;
        }
        ASSERT_EQ(gap, expected);
      } else {
        std::deque<Frame> after;
        std::size_t at = 0;
        if (sent != 0) after.push_back(model[at++]);
        const auto others = [&] {
          while (at < model.size() && model[at].channel != channel) after.push_back(model[at++]);
        };
        const std::size_t often = 1 + below(4);
        backlog.sift(channel, [&](const LogFrame* about, std::string_view frame, std::string& gap) {
          others();
          if (below(3) == 0) gap = "gap" + std::to_string(step);
          if (!gap.empty()) after.push_back({channel, gap, true});
          if (about == nullptr) {
            EXPECT_EQ(at, model.size());
            return Fate::keep;
          }
          EXPECT_EQ(frame, model.at(at).text);
          EXPECT_EQ(about->gap, model[at].gap);
          const Fate fate = below(20) == 0 ? Fate::stop : below(often) == 0 ? Fate::keep : Fate::drop;
          if (fate != Fate::drop) after.push_back(model[at]);
          ++at;
          return fate;
        });
        for (; at < model.size(); ++at) after.push_back(model[at]);
        model = after;
      }
      std::string rest;
      for (const Frame& frame : model) rest += frame.text;
      rest.erase(0, sent);
      ASSERT_EQ(backlog.bytes(), rest.size());
      ASSERT_EQ(backlog.front(), rest.substr(0, backlog.front().size()));
      ASSERT_EQ(backlog.empty(), rest.empty());
      if (step % 50 != 49) continue;
      ASSERT_EQ(drain(backlog, 1 + below(50)), rest);
      model.clear();
      sent = 0;
    }
  }
}

// ---- against a model

/// Frames in a queue, of the first of which a part may have been sent.
struct Model {
  std::deque<std::string> frames;
  std::size_t sent = 0;

  void add(std::string frame) { frames.push_back(std::move(frame)); }
  void consume(std::size_t bytes) {
    sent += bytes;
    while (!frames.empty() && sent >= frames.front().size()) {
      sent -= frames.front().size();
      frames.pop_front();
    }
  }
  void keep_started_frame() { frames.resize(std::min<std::size_t>(frames.size(), sent == 0 ? 0 : 1)); }
  [[nodiscard]] std::string rest() const {
    std::string all;
    for (const std::string& frame : frames) all += frame;
    return all.substr(sent);
  }
};

/// One random life of several connections of one loop.
class BacklogLife {
 public:
  BacklogLife(std::uint32_t seed, std::size_t longest_frame) : random_(seed), longest_frame_(longest_frame) {
    for (int i = 0; i < 3; ++i) peers_.push_back({std::make_unique<Backlog>(pool_), {}});
  }

  void step() {
    Peer& peer = peers_[below(peers_.size())];
    Backlog& backlog = *peer.backlog;
    switch (below(6)) {
      case 0: {  // a turn's log goes to all of them, and each has got some of it
        const std::vector<std::string> frames = some_frames(8);
        const LogPtr log = log_of(pool_, frames);
        for (Peer& each : peers_) add(each, frames, [&](std::size_t sent) { each.backlog->append(log, sent); });
        break;
      }
      case 1: {
        const std::vector<std::string> frames = some_frames(4);
        std::string text;
        std::vector<std::size_t> ends;
        for (const std::string& frame : frames) ends.push_back((text += frame).size());
        add(peer, frames, [&](std::size_t sent) { backlog.append(text, ends, sent); });
        break;
      }
      case 2: {
        const std::vector<std::string> frames = some_frames(1);
        add(peer, frames, [&](std::size_t sent) { backlog.append(frames[0], sent); });
        break;
      }
      case 3:
      case 4: {
        const std::size_t bytes = below(backlog.front().size() + 1);
        backlog.consume(bytes);
        peer.model.consume(bytes);
        break;
      }
      default:
        if (below(4) != 0) return;
        backlog.keep_started_frame();
        peer.model.keep_started_frame();
    }
  }

  void check() {
    for (const Peer& peer : peers_) {
      const std::string rest = peer.model.rest();
      ASSERT_EQ(peer.backlog->bytes(), rest.size());
      ASSERT_EQ(peer.backlog->empty(), rest.empty());
      const std::string_view front = peer.backlog->front();
      ASSERT_EQ(front.empty(), rest.empty());
      ASSERT_EQ(front, rest.substr(0, front.size()));
    }
  }
  void drain_all() {
    for (Peer& peer : peers_) {
      const std::string rest = peer.model.rest();
      EXPECT_EQ(drain(*peer.backlog, 1 + below(longest_frame_)), rest);
    }
    EXPECT_EQ(pool_.used(), 0U);
  }
  [[nodiscard]] std::size_t waiting() const {
    std::size_t sum = 0;
    for (const Peer& peer : peers_) sum += peer.backlog->bytes();
    return sum;
  }
  /// What the models hold is no concern of the backlogs.
  [[nodiscard]] std::size_t model_heap() const {
    std::size_t sum = 0;
    for (const Peer& peer : peers_) {
      for (const std::string& frame : peer.model.frames) sum += frame.capacity() + 1 + sizeof(std::string);
    }
    return sum;
  }

 private:
  struct Peer {
    std::unique_ptr<Backlog> backlog;
    Model model;
  };

  std::size_t below(std::size_t bound) { return random_() % bound; }

  std::vector<std::string> some_frames(std::size_t most) {
    std::vector<std::string> frames(1 + below(most));
    for (std::string& frame : frames) {
      frame.resize(1 + below(below(3) == 0 ? longest_frame_ : 20));
      for (char& letter : frame) letter = static_cast<char>('a' + below(26));
    }
    return frames;
  }

  template <class Append>
  void add(Peer& peer, const std::vector<std::string>& frames, Append append) {
    std::size_t bytes = 0;
    for (const std::string& frame : frames) bytes += frame.size();
    // Where nothing waits, a part has been sent; all of it, now and then.
    const std::size_t sent = peer.backlog->empty() ? below(bytes + 1) : 0;
    append(sent);
    for (const std::string& frame : frames) peer.model.add(frame);
    peer.model.consume(sent);
  }

  std::mt19937 random_;
  const std::size_t longest_frame_;
  LogPool pool_{4, 256};
  std::vector<Peer> peers_;
};

class RandomBacklog : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(RandomBacklog, DoesWhatAPlainQueueOfFramesDoes) {
  for (const std::size_t longest : {40U, 3000U}) {
    BacklogLife life{GetParam(), longest};
    for (int step = 0; step < 1500; ++step) {
      SCOPED_TRACE(step);
      life.step();
      life.check();
      if (HasFatalFailure()) return;
    }
    life.drain_all();
  }
}

TEST_P(RandomBacklog, HoldsLittleMoreThanWaits) {
  const std::size_t before = Heap::live_bytes();
  BacklogLife life{GetParam(), 20'000};
  for (int step = 0; step < 1500; ++step) {
    SCOPED_TRACE(step);
    life.step();
    const std::size_t held = Heap::live_bytes() - before - life.model_heap();
    // Twice for logs that are half sent, twice for strings that grow; the rest are indexes, queues and this test's own.
    ASSERT_LT(held, 4 * life.waiting() + 64 * 1024);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomBacklog, ::testing::Range(std::uint32_t{1}, std::uint32_t{9}));

// ---- memory

constexpr std::size_t large = std::size_t{1} << 20U;
constexpr std::size_t little = 4096;

TEST(BacklogMemory, AThousandShareTheBytesOfOneBurst) {
  LogPool pool{0};
  std::vector<std::unique_ptr<Backlog>> laggards;
  for (int i = 0; i < 1000; ++i) laggards.push_back(std::make_unique<Backlog>(pool));
  const LogPtr log = log_of(pool, {std::string(large / 2, 'a'), std::string(large / 2, 'b')});
  const std::size_t before = Heap::live_bytes();
  for (const auto& laggard : laggards) laggard->append(log, 1000);
  EXPECT_EQ(Heap::live_bytes(), before);
  EXPECT_EQ(pool.used(), 1U);
}

TEST(BacklogMemory, AFewBytesKeepNoLargeLogAlive) {
  LogPool pool{0};
  std::vector<std::string> frames(64, std::string(large / 64, 'x'));
  for (int how = 0; how < 5; ++how) {
    SCOPED_TRACE(how);
    const std::size_t before = Heap::live_bytes();
    Backlog backlog{pool};
    std::string all;
    std::vector<std::size_t> ends;
    for (const std::string& frame : frames) ends.push_back((all += frame).size());
    if (how == 0) backlog.append(log_of(pool, frames), large - 10);  // a part that is small from the start
    if (how == 1) {                                                  // one that becomes small
      backlog.append(log_of(pool, frames), 0);
      for (std::size_t sent = 0; sent < large - 10; sent += 1000) {
        backlog.consume(std::min<std::size_t>(1000, large - 10 - sent));
      }
    }
    if (how == 2) {  // likewise, of frames that are in no log
      backlog.append(all, ends);
      backlog.consume(large - 10);
    }
    if (how == 3) {  // one large frame, all but sent
      backlog.append(all);
      backlog.consume(large / 2);
      backlog.consume(large / 2 - 10);
    }
    if (how == 4) {  // the rest of a frame
      backlog.append(log_of(pool, frames), large / 64 - 10);
      backlog.keep_started_frame();
    }
    std::string{}.swap(all);
    std::vector<std::size_t>{}.swap(ends);
    EXPECT_EQ(backlog.bytes(), 10U);
    EXPECT_LT(Heap::live_bytes(), before + little);
    EXPECT_EQ(drain(backlog), "xxxxxxxxxx");
  }
}

TEST(BacklogMemory, WhatIsLeftOfALargeFrameIsCopiedAFewTimesNotEachTime) {
  LogPool pool{0};
  Backlog backlog{pool};
  backlog.append(std::string(large, 'x'));
  int moves = 0;
  const char* last = backlog.front().data();
  while (!backlog.empty()) {
    backlog.consume(std::min<std::size_t>(backlog.front().size(), 1024));
    last += 1024;
    if (backlog.front().data() != last && !backlog.empty()) ++moves;
    last = backlog.front().data();
  }
  EXPECT_LE(moves, 12);  // each time half as much
}

TEST(BacklogMemory, SmallCopiesTakeNoLargeLogsFromThePool) {
  LogPool pool;
  std::vector<std::unique_ptr<Backlog>> laggards;
  for (int i = 0; i < 1000; ++i) laggards.push_back(std::make_unique<Backlog>(pool));
  log_of(pool, {std::string(60'000, 'x')});
  const std::size_t before = Heap::live_bytes();
  for (const auto& laggard : laggards) {
    // A turn's log that has grown large comes from the pool and returns to it.
    const LogPtr log = log_of(pool, {std::string(60'000, 'x'), "0123456789"});
    laggard->append(log, 60'000);
  }
  EXPECT_LT(Heap::live_bytes(), before + 1000 * 512 + 2 * 64 * 1024);
}

TEST(BacklogMemory, ThePoolKeepsNoMoreThanAllowed) {
  const std::size_t before = Heap::live_bytes();
  LogPool pool{3, 1000};
  {
    std::vector<LogPtr> logs;
    for (int i = 0; i < 10; ++i) logs.push_back(log_of(pool, std::vector<std::string>(10'000, "x")));
    for (int i = 0; i < 10; ++i) logs.push_back(log_of(pool, {std::string(999, 'x')}));
  }
  EXPECT_LT(Heap::live_bytes(), before + 3 * (2 * 1000 + sizeof(TurnLog)));
}

TEST(BacklogMemory, WhatIsKeptOfALargeLogDoesNotKeepTheLog) {
  LogPool pool{0};
  const std::size_t before = Heap::live_bytes();
  Backlog backlog{pool};
  std::vector<std::pair<std::uint64_t, std::string>> frames;
  for (int i = 0; i < 1024; ++i) frames.push_back({i % 64 == 0 ? 2 : 1, std::string(large / 1024, 'x')});
  backlog.append(log_of_channels(pool, frames), 0);
  std::vector<std::pair<std::uint64_t, std::string>>{}.swap(frames);
  drop_oldest(backlog, 1, 10'000);
  EXPECT_EQ(backlog.bytes(), large / 64);
  EXPECT_LT(Heap::live_bytes(), before + 2 * backlog.bytes() + little);
}

// ---- exhausted memory

/// Runs `operation` with the failure of allocation 0, 1, 2, … and at last without. A failure changes nothing.
template <class Prepare, class Operation>
void fail_everywhere(Prepare prepare, Operation operation, const std::string& added) {
  for (std::size_t n = 0;; ++n) {
    SCOPED_TRACE(n);
    ASSERT_LT(n, 50U);
    LogPool pool;
    {
      Backlog backlog{pool};
      prepare(pool, backlog);
      const std::size_t bytes = backlog.bytes();
      std::string front{backlog.front()};
      bool failed = false;
      Heap::fail_after(n);
      try {
        operation(backlog);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      Heap::succeed();
      if (failed) {
        EXPECT_EQ(backlog.bytes(), bytes);
        EXPECT_EQ(backlog.front(), front);
        operation(backlog);  // now it can be done
      }
      EXPECT_EQ(backlog.bytes(), bytes + added.size());
      backlog.append("last");
      std::string all = drain(backlog, 7);
      ASSERT_GE(all.size(), bytes + added.size() + 4);
      EXPECT_EQ(all.substr(all.size() - added.size() - 4), added + "last");
      if (!failed) return;
    }
    EXPECT_EQ(pool.used(), 0U);
  }
}

TEST(BacklogWithoutMemory, Append) {
  LogPool logs;
  const LogPtr log = log_of(logs, {std::string(50, 'a'), std::string(50, 'b'), std::string(9, 'c'), "d"});
  const std::size_t ends[] = {40, 41, 80};
  const std::string frames = std::string(40, 'e') + "f" + std::string(39, 'g');
  for (int before = 0; before < 4; ++before) {
    SCOPED_TRACE(before);
    const auto prepare = [&](LogPool& /*pool*/, Backlog& backlog) {
      if (before == 1) backlog.append(log, 0);
      if (before == 2) backlog.append("own");
      if (before == 3) {  // full to the next piece of the queue
        for (int i = 0; i < 20; ++i) backlog.append(log, 0);
      }
    };
    fail_everywhere(
        prepare, [&](Backlog& backlog) { backlog.append(log, 0); }, std::string(log->bytes()));
    fail_everywhere(
        prepare, [&](Backlog& backlog) { backlog.append(log, 100); }, std::string(9, 'c') + "d");
    fail_everywhere(
        prepare, [&](Backlog& backlog) { backlog.append(frames, ends); }, frames);
    fail_everywhere(
        prepare, [&](Backlog& backlog) { backlog.append(frames); }, frames);
  }
}

TEST(BacklogWithoutMemory, SendingNeedsNone) {
  LogPool pool;
  const std::vector<std::string> frames(20, "0123456789");
  Backlog backlog{pool};
  backlog.append(log_of(pool, frames), 0);
  backlog.append("more");
  std::string all;
  std::string expected;
  for (const std::string& frame : frames) expected += frame;
  all.reserve(expected.size());
  for (std::size_t sent = 0; sent < 155; sent += 5) {
    all += backlog.front().substr(0, 5);
    Heap::fail_after(0);
    backlog.consume(5);
    Heap::succeed();
  }
  EXPECT_EQ(all, expected.substr(0, 155));
  Heap::fail_after(0);
  backlog.keep_started_frame();
  Heap::succeed();
  EXPECT_EQ(drain(backlog), "56789");
}

TEST(BacklogWithoutMemory, ALogIsUnchangedToo) {
  for (std::size_t n = 0;; ++n) {
    TurnLog log;
    log.append(std::string(15, 'a'), 1);
    Heap::fail_after(n);
    bool failed = false;
    try {
      log.append("0123456789", 2);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    Heap::succeed();
    ASSERT_EQ(log.frames().size(), failed ? 1U : 2U);
    EXPECT_EQ(log.bytes().size(), failed ? 15U : 25U);
    if (!failed) break;
    log.append("x", 3);
    EXPECT_EQ(log.frame(1), "x");
  }
}

#if FANFARE_ASSERTS && GTEST_HAS_DEATH_TEST
TEST(BacklogDeathTest, MisuseIsAMistake) {
  LogPool pool;
  Backlog backlog{pool};
  backlog.append("abc");
  EXPECT_DEATH(backlog.append("def", 1), "only the first part can be sent in part");
  EXPECT_DEATH(backlog.append(log_of(pool, {"def"}), 1), "only the first part can be sent in part");
  EXPECT_DEATH(backlog.append("def", std::span<const std::size_t>{}, 0), "frames without an end");
  EXPECT_DEATH(backlog.consume(4), "more was sent than there was");
}
#endif

}  // namespace
}  // namespace fanfare::test
