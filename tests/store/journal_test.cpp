#include <fanfare/store/journal.hpp>

#include "support/store.hpp"
#include <fanfare/store/sqlite.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using store::Journal;
using store::JournalOptions;
using store::KeptChange;
using store::KeptNumbers;
using store::KeptVisitor;
using store::SqliteStore;
using store::StoreError;

/// A store that fails, or stops for a while, when it is told to.
class FaultyStore {
 public:
  [[nodiscard]] KeptNumbers numbers() const noexcept { return {5, reserved}; }
  [[nodiscard]] StoreError reserve(std::uint64_t last) noexcept {
    const std::lock_guard lock(mutex_);
    if (reserve_error != StoreError::ok) return reserve_error;
    reserved = last;
    return StoreError::ok;
  }
  [[nodiscard]] StoreError load(KeptVisitor& /*visitor*/) { return StoreError::ok; }
  [[nodiscard]] StoreError commit(std::span<const KeptChange> changes) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !held_; });
    ++tries;
    const StoreError error = stays_full ? StoreError::full : std::exchange(commit_error, StoreError::ok);
    if (error != StoreError::ok) return error;
    groups.push_back(changes.size());
    for (const KeptChange& change : changes) {
      if (change.kind == KeptChange::Kind::keep) numbers_written.push_back(change.message->id().number);
    }
    return StoreError::ok;
  }

  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  void fail_reserving(StoreError error) {
    const std::lock_guard lock(mutex_);
    reserve_error = error;
  }
  void stay_full(bool full) {
    const std::lock_guard lock(mutex_);
    stays_full = full;
  }
  [[nodiscard]] std::size_t written() {
    const std::lock_guard lock(mutex_);
    return numbers_written.size();
  }
  void fail_next(StoreError error) {
    const std::lock_guard lock(mutex_);
    commit_error = error;
  }

  StoreError reserve_error = StoreError::ok;
  StoreError commit_error = StoreError::ok;
  bool stays_full = false;
  std::size_t tries = 0;
  std::uint64_t reserved = 100;
  std::vector<std::size_t> groups;
  std::vector<std::uint64_t> numbers_written;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
};

/// Waits until there is room.
template <class S>
[[nodiscard]] std::uint64_t admit(Journal<S>& journal, std::size_t bytes = 10) {
  for (;;) {
    const std::uint64_t number = journal.admit(bytes);
    if (number != 0) return number;
    std::this_thread::yield();
  }
}

template <class S>
std::uint64_t put(Journal<S>& journal, std::uint64_t number, std::string_view data = "d", std::size_t bytes = 10) {
  return journal.put(keep(kept_message({journal.epoch(), number}, "c", "e", data), true, false), bytes);
}

TEST(JournalTest, WritesInOrderWithNumbersThatWereReserved) {
  FaultyStore store;
  std::uint64_t ticket = 0;
  {
    Journal journal(store, {.reservation = 4, .spare = 0});
    EXPECT_EQ(journal.epoch(), 5U);
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t number = admit(journal);
      EXPECT_EQ(number, 101U + static_cast<unsigned>(i));
      EXPECT_EQ(journal.place(), (EventId{5, number}));
      ticket = put(journal, number);
    }
    EXPECT_EQ(journal.wait(ticket), StoreError::ok);
    EXPECT_EQ(journal.settled(), ticket);
  }
  EXPECT_EQ(ticket, 20U);
  ASSERT_EQ(store.numbers_written.size(), 20U);
  EXPECT_TRUE(std::is_sorted(store.numbers_written.begin(), store.numbers_written.end()));
  EXPECT_GE(store.reserved, 120U);
}

TEST(JournalTest, GivesOutNoNumberThatIsNotReserved) {
  FaultyStore store;
  store.reserve_error = StoreError::full;
  Journal journal(store, {.reservation = 4, .spare = 0});
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(journal.admit(1));
    std::this_thread::yield();
  }
}

TEST(JournalTest, WritesTogetherWhatCameMeanwhile) {
  FaultyStore store;
  Journal journal(store);
  store.hold(true);
  put(journal, admit(journal));
  std::uint64_t last = 0;
  for (int i = 0; i < 50; ++i) last = put(journal, admit(journal));
  store.hold(false);
  EXPECT_EQ(journal.wait(last), StoreError::ok);
  journal.stop();  // nobody else looks at the store now
  EXPECT_EQ(store.numbers_written.size(), 51U);
  EXPECT_LE(store.groups.size(), 2U) << "the first, which may have gone alone or with some, and all the rest";
}

TEST(JournalTest, IsBoundedInChangesAndBytes) {
  FaultyStore store;
  store.hold(true);
  {
    Journal journal(store, {.changes = 3, .bytes = 100});
    const std::uint64_t first = admit(journal, 1000);  // larger than the bound, and alone
    EXPECT_EQ(journal.admit(1), 0U);
    put(journal, first, "d", 1000);
    EXPECT_EQ(journal.admit(1), 0U);
    journal.put_forget(forget("c", 3));  // there is no room
    store.hold(false);
    EXPECT_EQ(journal.wait(1), StoreError::ok);
    EXPECT_EQ(store.groups.size(), 1U);
    store.hold(true);
    const std::uint64_t second = admit(journal, 50);
    const std::uint64_t third = admit(journal, 49);
    EXPECT_EQ(journal.admit(2), 0U) << "a hundred bytes";
    EXPECT_NE(journal.number(), 0U) << "what is not written needs no room";
    const std::uint64_t fourth = admit(journal, 1);
    EXPECT_GT(fourth, third + 1);
    EXPECT_EQ(journal.admit(0), 0U) << "three changes";
    put(journal, second, "d", 50);
    put(journal, third, "d", 49);
    put(journal, fourth, "d", 1);
    store.hold(false);
  }
  EXPECT_EQ(store.numbers_written.size(), 4U);
}

TEST(JournalTest, WhatIsNotWrittenGetsNumbersThatNoLaterLifeGivesOut) {
  FaultyStore store;
  {
    Journal journal(store, {.reservation = 4, .spare = 1000});
    store.fail_reserving(StoreError::full);
    for (std::uint64_t i = 1; i <= 900; ++i) EXPECT_EQ(journal.number(), 1100 + i);
    EXPECT_EQ(journal.admit(1), 0U);
  }
  EXPECT_EQ(store.reserved, 1104U);
  store.fail_reserving(StoreError::ok);
  Journal journal(store, {.reservation = 4, .spare = 1000});
  EXPECT_EQ(journal.trouble(), "");
  const std::uint64_t number = admit(journal);
  EXPECT_EQ(number, 2105U);
  put(journal, number);
}

TEST(JournalTest, GivesNothingBackWhereItCannotReserveNumbers) {
  FaultyStore store;
  store.reserve_error = StoreError::full;
  Journal journal(store);
  Collect collect;
  EXPECT_EQ(journal.load(collect), message(StoreError::full));
  EXPECT_EQ(journal.trouble(), message(StoreError::full));
}

TEST(JournalTest, TellsWhatBecameOfSeveralTogether) {
  FaultyStore store;
  Journal journal(store);
  EXPECT_EQ(journal.outcome({}), KeptOutcome::durable);
  KeptTicket all;
  for (int i = 0; i < 3; ++i) {
    if (i == 1) store.fail_next(StoreError::full);
    KeptTicket one;
    one.add(put(journal, admit(journal)));
    all.add(one.last);
    EXPECT_EQ(journal.wait(one), i == 1 ? KeptOutcome::lost : KeptOutcome::durable);
    EXPECT_EQ(journal.trouble(), i == 1 ? message(StoreError::full) : "");
  }
  EXPECT_EQ(all, (KeptTicket{1, 3}));
  EXPECT_EQ(journal.outcome(all), KeptOutcome::lost);
  EXPECT_EQ(journal.outcome({3, 3}), KeptOutcome::durable);
  store.hold(true);
  KeptTicket later;
  later.add(put(journal, admit(journal)));
  EXPECT_EQ(journal.outcome(later), KeptOutcome::pending);
  std::atomic<bool> told{false};
  journal.when_settled(later, [&] { told = true; });
  EXPECT_FALSE(told);
  store.hold(false);
  journal.stop();
  EXPECT_TRUE(told);
}

TEST(JournalTest, TellsThoseWhoWaitWhatBecameOfIt) {
  FaultyStore store;
  Journal journal(store);
  store.fail_next(StoreError::full);
  const std::uint64_t lost = put(journal, admit(journal));
  EXPECT_EQ(journal.wait(lost), StoreError::full);
  EXPECT_EQ(journal.refused(), 1U);
  const std::uint64_t kept = put(journal, admit(journal));
  EXPECT_EQ(journal.wait(kept), StoreError::ok) << "later changes are tried anew";
  EXPECT_EQ(journal.wait(lost), StoreError::full);
  EXPECT_EQ(journal.error(), StoreError::ok);

  std::optional<StoreError> told;
  journal.when_settled(lost, [&](StoreError error) { told = error; });
  EXPECT_EQ(told, StoreError::full);

  store.hold(true);
  const std::uint64_t later = put(journal, admit(journal));
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<StoreError> answer;
  journal.when_settled(later, [&](StoreError error) {
    const std::lock_guard lock(mutex);
    answer = error;
    changed.notify_all();
  });
  store.hold(false);
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return answer.has_value(); });
  EXPECT_EQ(answer, StoreError::ok);
}

TEST(JournalTest, WhatIsRefusedComesBeforeWhatIsLater) {
  FaultyStore store;
  Journal journal(store, {.spare = 0});
  EXPECT_EQ(journal.wait(put(journal, admit(journal))), StoreError::ok);
  store.stay_full(true);
  const std::uint64_t first = put(journal, admit(journal));
  EXPECT_EQ(journal.wait(first), StoreError::full);
  const std::uint64_t second = put(journal, admit(journal));
  EXPECT_EQ(journal.wait(second), StoreError::full);
  store.stay_full(false);
  EXPECT_EQ(journal.wait(put(journal, admit(journal))), StoreError::ok);
  EXPECT_EQ(store.numbers_written, (std::vector<std::uint64_t>{101, 102, 103, 104}));
  EXPECT_EQ(store.groups.back(), 3U) << "all of it or nothing";
  EXPECT_EQ(journal.error(), StoreError::ok);
  EXPECT_EQ(journal.wait(first), StoreError::full) << "who asked was told so, and is told so";
  EXPECT_EQ(journal.refused(), 2U) << "each once";
}

TEST(JournalTest, WhatIsRefusedIsTriedAgainByItself) {
  FaultyStore store;
  Journal journal(store);
  store.fail_next(StoreError::io);
  EXPECT_EQ(journal.wait(put(journal, admit(journal))), StoreError::io);
  while (store.written() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  while (journal.error() != StoreError::ok) std::this_thread::yield();
  EXPECT_EQ(journal.trouble(), "");
}

TEST(JournalTest, WhatIsRefusedKeepsItsRoom) {
  FaultyStore store;
  {
    Journal journal(store, {.changes = 2, .spare = 0});
    store.stay_full(true);
    EXPECT_EQ(journal.wait(put(journal, admit(journal))), StoreError::full);
    EXPECT_EQ(journal.wait(put(journal, admit(journal))), StoreError::full);
    EXPECT_EQ(journal.admit(1), 0U) << "rather than a hole";
    EXPECT_NE(journal.number(), 0U) << "for what is not kept";
    store.stay_full(false);
    put(journal, admit(journal));
  }
  EXPECT_EQ(store.numbers_written, (std::vector<std::uint64_t>{101, 102, 104}));
}

TEST(JournalTest, TriesOnceMoreWhenItStops) {
  for (const bool full : {false, true}) {
    FaultyStore store;
    Journal journal(store);
    store.stay_full(true);
    EXPECT_EQ(journal.wait(put(journal, admit(journal))), StoreError::full);
    store.stay_full(full);
    const std::size_t tries = store.tries;
    journal.stop();
    EXPECT_EQ(store.tries, tries + 1);
    EXPECT_EQ(store.numbers_written.size(), full ? 0U : 1U);
  }
}

TEST(JournalTest, StopsWhenAllIsWritten) {
  FaultyStore store;
  store.hold(true);
  Journal journal(store);
  std::uint64_t told = 0;
  for (int i = 0; i < 10; ++i) {
    journal.when_settled(put(journal, admit(journal)), [&](StoreError error) { told += error == StoreError::ok; });
  }
  store.hold(false);
  journal.stop();
  journal.stop();
  EXPECT_EQ(told, 10U);
  EXPECT_EQ(store.numbers_written.size(), 10U);
  EXPECT_FALSE(journal.admit(1));
}

/// A life of a program: it writes until it is killed, and says what it was told to be durable.
[[noreturn]] void live(const std::string& path, int pipe) {
  auto [error, opened] = SqliteStore::open(path);
  if (error != StoreError::ok) _exit(1);
  Journal journal(*opened, {.reservation = 64});
  for (std::uint64_t i = 0;; ++i) {
    const std::uint64_t ticket = put(journal, admit(journal), std::to_string(i));
    if (i % 3 != 0) continue;
    if (journal.wait(ticket) != StoreError::ok) _exit(2);
    const std::uint64_t settled = journal.settled();
    if (write(pipe, &settled, sizeof settled) != sizeof settled) _exit(3);
  }
}

TEST(JournalTest, LosesNothingThatWasAcknowledgedWhenTheProgramIsKilled) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("kept.db");
  std::minstd_rand random(7);
  std::uint64_t highest = 0;
  std::size_t known = 0;
  for (int round = 0; round < 12; ++round) {
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(ends[0]);
      live(path, ends[1]);
    }
    close(ends[1]);
    std::uint64_t acknowledged = 0;
    const auto messages = static_cast<unsigned>(20 + random() % 200);
    for (unsigned i = 0; i < messages; ++i) {
      std::uint64_t settled = 0;
      ASSERT_EQ(read(ends[0], &settled, sizeof settled), static_cast<ssize_t>(sizeof settled));
      acknowledged = settled;
    }
    kill(child, SIGKILL);
    for (std::uint64_t settled = 0; read(ends[0], &settled, sizeof settled) == sizeof settled;) acknowledged = settled;
    close(ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself with " << WEXITSTATUS(status);

    auto [error, opened] = SqliteStore::open(path);
    ASSERT_EQ(error, StoreError::ok);
    Collect collect;
    ASSERT_EQ(opened->load(collect), StoreError::ok);
    ASSERT_GE(collect.all.size(), known + acknowledged) << "something acknowledged is lost";
    // This life's events are numbered above all that an earlier one can have given out, and each is there in its order.
    ASSERT_GT(collect.all[known].number, highest);
    for (std::size_t i = known; i < collect.all.size(); ++i) ASSERT_EQ(collect.all[i].data, std::to_string(i - known));
    known = collect.all.size();
    highest = opened->numbers().last;
    ASSERT_GE(highest, collect.all.back().number);
  }
}

}  // namespace
}  // namespace fanfare::test
