#include <fanfare/store/sqlite.hpp>

#include "support/store.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using store::Durability;
using store::KeptChange;
using store::KeptNumbers;
using store::SqliteStore;
using store::StoreError;

class SqliteStoreTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::unique_ptr<SqliteStore> open(Durability durability = Durability::process) const {
    auto [error, opened] = SqliteStore::open(path, durability);
    EXPECT_EQ(error, StoreError::ok);
    return std::move(opened);
  }
  [[nodiscard]] static std::vector<Loaded> all(SqliteStore& store) {
    Collect collect;
    EXPECT_EQ(store.load(collect), StoreError::ok);
    return collect.all;
  }
  [[nodiscard]] static MessagePtr event(std::uint64_t number, std::string_view channel, std::string_view name = "e",
                                        std::string_view data = "d") {
    return kept_message({1, number}, channel, name, data);
  }

  TemporaryDirectory directory;
  std::string path = directory.file("kept.db");
};

TEST_F(SqliteStoreTest, GivesBackWhatWasCommittedInTheOrderOfTheNumbers) {
  const MessageOrigin origin{.user_id = "u", .socket_id = "1.2"};
  const std::string data("a\0\"\n\xc3\xbc", 6);
  const auto time = std::chrono::time_point_cast<std::chrono::milliseconds>(KeptChange::Clock::now());
  {
    const auto store = open();
    std::vector<KeptChange> changes;
    changes.push_back(keep(event(3, "b"), true, false));
    changes.push_back(keep(kept_message({1, 2}, "a", "x", data, origin), true, true));
    changes.back().time = time;
    ASSERT_EQ(store->commit(changes), StoreError::ok);
    EXPECT_EQ(store->commit({}), StoreError::ok);
  }
  const auto store = open();
  Collect collect;
  ASSERT_EQ(store->load(collect), StoreError::ok);
  EXPECT_EQ(collect.all, (std::vector<Loaded>{{"a", "x", data, 2, true, true, "u", "1.2"}, {"b", "e", "d", 3}}))
      << "each once";
  EXPECT_EQ(collect.times.front(), time);
}

TEST_F(SqliteStoreTest, ForgetsWhatTheChannelForgets) {
  const auto store = open();
  std::vector<KeptChange> changes;
  for (std::uint64_t i = 1; i <= 5; ++i) changes.push_back(keep(event(i, "a"), true, false, i > 3 ? i - 3 : 0));
  changes.push_back(keep(event(6, "b"), true, false));
  ASSERT_EQ(store->commit(changes), StoreError::ok);
  EXPECT_EQ(all(*store),
            (std::vector<Loaded>{{"a", "e", "d", 3}, {"a", "e", "d", 4}, {"a", "e", "d", 5}, {"b", "e", "d", 6}}));
  const KeptChange forgotten = forget("a", 5);
  ASSERT_EQ(store->commit({&forgotten, 1}), StoreError::ok);
  EXPECT_EQ(all(*store), (std::vector<Loaded>{{"b", "e", "d", 6}}));
}

TEST_F(SqliteStoreTest, RetainsTheLatestOfEachNameUntilItIsCleared) {
  const auto store = open();
  std::vector<KeptChange> changes;
  changes.push_back(keep(event(1, "a", "x", "old"), false, true));
  changes.push_back(keep(event(2, "a", "y"), false, true));
  changes.push_back(keep(event(3, "a", "x", "new"), false, true));
  changes.push_back(keep(event(4, "b", "x"), false, true));
  ASSERT_EQ(store->commit(changes), StoreError::ok);
  const Loaded y{"a", "y", "d", 2, false, true};
  const Loaded x{"a", "x", "new", 3, false, true};
  const Loaded of_b{"b", "x", "d", 4, false, true};
  EXPECT_EQ(all(*store), (std::vector<Loaded>{y, x, of_b}));
  changes.clear();
  changes.push_back(keep(event(5, "a", "x"), true, false));
  changes.back().clears = true;
  ASSERT_EQ(store->commit(changes), StoreError::ok);
  EXPECT_EQ(all(*store), (std::vector<Loaded>{y, of_b, {"a", "x", "d", 5}}));
  const KeptChange forgotten = forget("a", 0, 2);
  ASSERT_EQ(store->commit({&forgotten, 1}), StoreError::ok);
  EXPECT_EQ(all(*store), (std::vector<Loaded>{of_b, {"a", "x", "d", 5}}));
}

TEST_F(SqliteStoreTest, CommitsAllOfAGroupOrNothing) {
  static_cast<void>(open());
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db,
                         "CREATE TRIGGER no BEFORE INSERT ON history WHEN new.data = 'stop' "
                         "BEGIN SELECT RAISE (ABORT, 'no'); END;"
                         "CREATE TRIGGER never BEFORE INSERT ON history WHEN new.data = 'end' "
                         "BEGIN SELECT RAISE (ROLLBACK, 'no'); END",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  const auto store = open();
  for (const std::string_view data : {"stop", "end"}) {  // the latter ends the transaction by itself
    std::vector<KeptChange> changes;
    changes.push_back(keep(event(1, "a"), true, false));
    changes.push_back(keep(event(2, "a", "x", data), true, false));
    EXPECT_EQ(store->commit(changes), StoreError::io);
    EXPECT_TRUE(all(*store).empty());
  }
  std::vector<KeptChange> changes;
  changes.push_back(keep(event(1, "a"), true, false));
  changes.push_back(keep(event(2, "a"), true, true));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(store->commit(changes), StoreError::ok) << "again, too";
    EXPECT_EQ(all(*store).size(), 2U);
  }
}

TEST_F(SqliteStoreTest, NeverTakesReservedNumbersBack) {
  KeptNumbers numbers;
  {
    const auto store = open();
    EXPECT_NE(store->numbers().epoch, 0U);
    EXPECT_EQ(store->numbers().last, 0U);
    EXPECT_EQ(store->reserve(1000), StoreError::ok);
    EXPECT_EQ(store->reserve(10), StoreError::ok);
    numbers = store->numbers();
    EXPECT_EQ(numbers.last, 1000U);
  }
  const auto store = open(Durability::power);
  EXPECT_EQ(store->numbers().epoch, numbers.epoch);
  EXPECT_EQ(store->numbers().last, 1000U);
}

TEST_F(SqliteStoreTest, TwoStoresHaveDifferentEpochs) {
  const auto first = open();
  path = directory.file("other.db");
  EXPECT_NE(first->numbers().epoch, open()->numbers().epoch);
}

TEST_F(SqliteStoreTest, IsForOneProgramAtATime) {
  const auto store = open();
  EXPECT_EQ(SqliteStore::open(path).error, StoreError::in_use);
}

TEST_F(SqliteStoreTest, LeavesSomebodyElsesFilesAlone) {
  const std::string text =
      "This is a letter, and it is long enough to be taken for the head of a database: "
      "a page has at least 512 bytes, of which the first hundred say what it is.";
  std::ofstream(path) << text;
  EXPECT_EQ(SqliteStore::open(path).error, StoreError::not_a_store);
  std::ifstream file(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);

  const std::string other = directory.file("other.db");
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(other.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "CREATE TABLE theirs (x)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  EXPECT_EQ(SqliteStore::open(other).error, StoreError::not_a_store);
}

TEST_F(SqliteStoreTest, DoesNotReadWhatALaterVersionWrote) {
  open().reset();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "PRAGMA user_version=2", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  EXPECT_EQ(SqliteStore::open(path).error, StoreError::newer_version);
}

TEST_F(SqliteStoreTest, SaysWhenThereIsNoSuchDirectory) {
  EXPECT_EQ(SqliteStore::open(directory.file("no/where.db")).error, StoreError::cannot_open);
}

TEST_F(SqliteStoreTest, SaysWhenTheDiskIsFull) {
  const auto store = open();
  // The bound of a file's size stands for a full disk.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 100'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::vector<KeptChange> changes;
  changes.push_back(keep(event(1, "a", "e", std::string(200'000, 'x')), true, false));
  const StoreError error = store->commit(changes);
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_TRUE(error == StoreError::full || error == StoreError::io) << to_string(error);
  EXPECT_TRUE(all(*store).empty());
  EXPECT_EQ(store->commit(changes), StoreError::ok);
  EXPECT_EQ(all(*store).size(), 1U);
}

}  // namespace
}  // namespace fanfare::test
