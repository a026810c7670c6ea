/// \file
/// Keeps what channels keep in a file. Needs SQLite 3.35 or later, which is a library to link.
#pragma once

#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/store/history_store.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace store {

/// A `HistoryStore` in one SQLite file, with its write-ahead log beside it (`…-wal`). A group of changes is one transaction.
///
/// Only one program has it open at a time; another is told `StoreError::in_use`. With `Durability::process` nothing is
/// forced to the disk: what is committed outlives the program, not a loss of power, which may also damage the file. With
/// `Durability::power` each commit and reservation waits for the disk.
///
/// Thread safety: one thread at a time; it need not be the same.
class SqliteStore {
 public:
  struct Opened;

  /// Opens the file, or makes it. \throws `std::bad_alloc`.
  [[nodiscard]] static Opened open(const std::string& path, Durability durability = Durability::process);

  /// As `HistoryStore` has it.
  [[nodiscard]] KeptNumbers numbers() const noexcept { return numbers_; }

  /// As `HistoryStore` has it.
  [[nodiscard]] StoreError reserve(std::uint64_t last) noexcept {
    if (last <= numbers_.last) return StoreError::ok;
    const StoreError error = run(reserve_, [&](Statement& s) { s.bind(1, last); });
    if (error == StoreError::ok) numbers_.last = last;
    return error;
  }

  /// \throws what the visitor throws.
  [[nodiscard]] StoreError load(KeptVisitor& visitor) {
    Statement all;
    const StoreError error =
        all.prepare(db_.get(),
                    "SELECT number, 1, EXISTS (SELECT 1 FROM retained WHERE retained.number = history.number), "
                    "channel, event, data, "
                    "user_id, socket_id, time FROM history UNION ALL "
                    "SELECT number, 0, 1, channel, event, data, user_id, socket_id, time FROM retained "
                    "WHERE NOT EXISTS (SELECT 1 FROM history WHERE history.number = retained.number) ORDER BY 1");
    if (error != StoreError::ok) return error;
    for (;;) {
      const int result = all.step();
      if (result == SQLITE_DONE) return StoreError::ok;
      if (result != SQLITE_ROW) return error_of(result);
      const KeptEvent event{.channel = all.text(3),
                            .event = all.text(4),
                            .data = all.text(5),
                            .user_id = all.text(6),
                            .socket_id = all.text(7),
                            .number = static_cast<std::uint64_t>(all.integer(0)),
                            .time = KeptChange::Clock::time_point{std::chrono::milliseconds{all.integer(8)}},
                            .history = all.integer(1) != 0,
                            .retained = all.integer(2) != 0};
      if (all.lacks_text()) return StoreError::out_of_memory;
      visitor.visit(event);
    }
  }

  /// As `HistoryStore` has it: one transaction.
  [[nodiscard]] StoreError commit(std::span<const KeptChange> changes) noexcept {
    if (changes.empty()) return StoreError::ok;
    roll_back();  // where that has failed the last time
    if (const StoreError error = run(begin_, [](Statement&) {}); error != StoreError::ok) return error;
    StoreError error = StoreError::ok;
    for (std::size_t i = 0; error == StoreError::ok && i < changes.size(); ++i) error = apply(changes[i]);
    if (error == StoreError::ok) error = forget();
    if (error == StoreError::ok) error = run(commit_, [](Statement&) {});
    floors_.clear();
    if (error != StoreError::ok) roll_back();
    return error;
  }

 private:
  static constexpr int application = 0x46414e46;  // "FANF"
  static constexpr int version = 1;

  struct CloseDatabase {
    void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
  };
  using Database = std::unique_ptr<sqlite3, CloseDatabase>;

  /// A statement that is used again and again.
  class Statement {
   public:
    [[nodiscard]] StoreError prepare(sqlite3* db, std::string_view sql) noexcept {
      sqlite3_stmt* statement = nullptr;
      const int result = sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                            &statement, nullptr);
      statement_.reset(statement);
      return error_of(result);
    }
    /// Views stay as they are until `reset`.
    void bind(int at, std::string_view text) noexcept {
      note(sqlite3_bind_text64(get(), at, text.empty() ? "" : text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8));
    }
    void bind(int at, std::uint64_t number) noexcept {
      note(sqlite3_bind_int64(get(), at, static_cast<sqlite3_int64>(number)));
    }
    [[nodiscard]] int step() noexcept {
      const int bound = std::exchange(bound_, SQLITE_OK);
      return bound != SQLITE_OK ? bound : sqlite3_step(get());
    }
    void reset() noexcept {
      sqlite3_reset(get());
      sqlite3_clear_bindings(get());
    }
    [[nodiscard]] std::int64_t integer(int column) noexcept { return sqlite3_column_int64(get(), column); }
    /// Of a column that is never NULL.
    [[nodiscard]] std::string_view text(int column) noexcept {
      const unsigned char* const text = sqlite3_column_text(get(), column);
      if (text == nullptr) {
        lacks_text_ = true;
        return {};
      }
      return {reinterpret_cast<const char*>(text), static_cast<std::size_t>(sqlite3_column_bytes(get(), column))};
    }
    /// Whether there was no memory for a text.
    [[nodiscard]] bool lacks_text() const noexcept { return lacks_text_; }

   private:
    struct Finalize {
      void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
    };
    [[nodiscard]] sqlite3_stmt* get() noexcept { return statement_.get(); }
    void note(int result) noexcept {
      if (result != SQLITE_OK) bound_ = result;
    }
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
    int bound_ = SQLITE_OK;
    bool lacks_text_ = false;
  };

  SqliteStore() = default;

  [[nodiscard]] static StoreError error_of(int result) noexcept {
    switch (result & 0xff) {
      case SQLITE_OK:
      case SQLITE_DONE:
      case SQLITE_ROW: return StoreError::ok;
      case SQLITE_CANTOPEN:
      case SQLITE_PERM:
      case SQLITE_READONLY: return StoreError::cannot_open;
      case SQLITE_NOTADB: return StoreError::not_a_store;
      case SQLITE_BUSY:
      case SQLITE_LOCKED: return StoreError::in_use;
      case SQLITE_CORRUPT: return StoreError::corrupt;
      case SQLITE_FULL: return StoreError::full;
      case SQLITE_NOMEM: return StoreError::out_of_memory;
      default: return StoreError::io;
    }
  }

  /// Ends the transaction that is open, if there is one: a failure may have ended it already.
  void roll_back() noexcept {
    if (sqlite3_get_autocommit(db_.get()) == 0) static_cast<void>(run(rollback_, [](Statement&) {}));
  }

  template <class Bind>
  [[nodiscard]] static StoreError run(Statement& statement, Bind bind) noexcept {
    bind(statement);
    const StoreError error = error_of(statement.step());
    statement.reset();
    return error;
  }

  [[nodiscard]] StoreError execute(const char* sql) noexcept {
    return error_of(sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr));
  }

  /// The one number that a query answers.
  [[nodiscard]] StoreError ask(std::string_view sql, std::int64_t& answer) noexcept {
    Statement statement;
    StoreError error = statement.prepare(db_.get(), sql);
    if (error != StoreError::ok) return error;
    error = error_of(statement.step());
    if (error == StoreError::ok) answer = statement.integer(0);
    return error;
  }

  [[nodiscard]] StoreError set_up(const std::string& path, Durability durability) noexcept {
    sqlite3* db = nullptr;
    // Without SQLite's own mutexes: one thread at a time is what is promised here.
    const int result = sqlite3_open_v2(
        path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE,
        nullptr);
    db_.reset(db);
    if (result != SQLITE_OK) return error_of(result);
    sqlite3_extended_result_codes(db, 1);
    // Locked for itself alone, the file needs no memory shared with other programs.
    StoreError error = execute("PRAGMA locking_mode=EXCLUSIVE");
    // Somebody else's file is left as it is.
    bool empty = false;
    if (error == StoreError::ok) error = look_at_file(empty);
    if (error == StoreError::ok) error = execute("PRAGMA journal_mode=WAL");
    if (error == StoreError::ok) {
      error = execute(durability == Durability::power ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF");
    }
    if (error == StoreError::ok) error = execute("BEGIN EXCLUSIVE");
    if (error == StoreError::ok && empty) error = make_tables();
    if (error == StoreError::ok) error = execute("COMMIT");
    if (error == StoreError::ok) error = read_numbers();
    if (error == StoreError::ok) error = prepare();
    return error;
  }

  [[nodiscard]] StoreError look_at_file(bool& empty) noexcept {
    std::int64_t id = 0;
    std::int64_t tables = 0;
    std::int64_t its_version = 0;
    StoreError error = ask("SELECT count(*) FROM sqlite_schema", tables);
    if (error == StoreError::ok) error = ask("PRAGMA application_id", id);
    if (error == StoreError::ok) error = ask("PRAGMA user_version", its_version);
    if (error != StoreError::ok) return error;
    empty = id == 0 && tables == 0;
    if (!empty && id != application) return StoreError::not_a_store;
    return its_version > version ? StoreError::newer_version : StoreError::ok;
  }

  [[nodiscard]] StoreError make_tables() noexcept {
    static_assert(application == 1178684998 && version == 1);
    // The numbers of events are the keys: they are in order, and no other event has them.
    return execute(
        "CREATE TABLE numbers (epoch INTEGER NOT NULL, last INTEGER NOT NULL);"
        "INSERT INTO numbers VALUES (1 + abs(random() / 2), 0);"
        "CREATE TABLE history (number INTEGER PRIMARY KEY, channel TEXT NOT NULL, event TEXT NOT NULL, data TEXT NOT "
        "NULL, user_id TEXT NOT NULL, socket_id TEXT NOT NULL, time INTEGER NOT NULL);"
        "CREATE INDEX history_of_channel ON history (channel, number);"
        "CREATE TABLE retained (number INTEGER PRIMARY KEY, channel TEXT NOT NULL, event TEXT NOT NULL, data TEXT NOT "
        "NULL, user_id TEXT NOT NULL, socket_id TEXT NOT NULL, time INTEGER NOT NULL);"
        "CREATE UNIQUE INDEX retained_of_channel ON retained (channel, event);"
        "PRAGMA application_id=1178684998; PRAGMA user_version=1");
  }

  [[nodiscard]] StoreError read_numbers() noexcept {
    std::int64_t epoch = 0;
    std::int64_t last = 0;
    StoreError error = ask("SELECT epoch FROM numbers", epoch);
    if (error == StoreError::ok) error = ask("SELECT last FROM numbers", last);
    numbers_ = {static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(last)};
    return error == StoreError::ok && epoch == 0 ? StoreError::corrupt : error;
  }

  [[nodiscard]] StoreError prepare() noexcept {
    const std::pair<Statement*, std::string_view> all[] = {
        // A group may be written again, where it is not known that it is there: so nothing of it is an error then.
        {&begin_, "BEGIN"},
        {&commit_, "COMMIT"},
        {&rollback_, "ROLLBACK"},
        {&reserve_, "UPDATE numbers SET last = ?"},
        {&add_, "REPLACE INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"},
        {&retain_, "REPLACE INTO retained VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"},
        {&forget_, "DELETE FROM history WHERE channel = ? AND number <= ?"},
        {&clear_event_, "DELETE FROM retained WHERE channel = ? AND event = ?"},
        {&forget_retained_, "DELETE FROM retained WHERE channel = ? AND number <= ?"},
    };
    for (const auto& [statement, sql] : all) {
      if (const StoreError error = statement->prepare(db_.get(), sql); error != StoreError::ok) return error;
    }
    return StoreError::ok;
  }

  [[nodiscard]] StoreError apply(const KeptChange& change) noexcept {
    switch (change.kind) {
      case KeptChange::Kind::keep: {
        const Message& message = *change.message;
        const auto time = std::chrono::duration_cast<std::chrono::milliseconds>(change.time.time_since_epoch()).count();
        const auto values = [&](Statement& s) {
          s.bind(1, message.id().number);
          s.bind(2, message.channel());
          s.bind(3, message.name());
          s.bind(4, message.data());
          s.bind(5, message.user_id());
          s.bind(6, message.socket_id());
          s.bind(7, static_cast<std::uint64_t>(time));
        };
        StoreError error = StoreError::ok;
        if (change.history) error = run(add_, values);
        if (error == StoreError::ok && change.retained) error = run(retain_, values);
        if (error == StoreError::ok && change.clears) {
          error = run(clear_event_, [&](Statement& s) {
            s.bind(1, message.channel());
            s.bind(2, message.name());
          });
        }
        if (error == StoreError::ok) error = note_floors(message.channel(), change);
        return error;
      }
      case KeptChange::Kind::forget: return note_floors(change.channel, change);
    }
    return StoreError::ok;
  }

  /// What a channel forgets is deleted once in a group, whatever the number of its events.
  [[nodiscard]] StoreError note_floors(std::string_view channel, const KeptChange& change) noexcept {
    if (change.floor == 0 && change.retained_floor == 0) return StoreError::ok;
    try {
      Floors& known = floors_[channel];
      known.history = std::max(known.history, change.floor);
      known.retained = std::max(known.retained, change.retained_floor);
      return StoreError::ok;
    } catch (const std::bad_alloc&) {
      return StoreError::out_of_memory;
    }
  }
  [[nodiscard]] StoreError forget() noexcept {
    const auto up_to = [](Statement& statement, std::string_view channel, std::uint64_t floor) {
      if (floor == 0) return StoreError::ok;
      return run(statement, [&](Statement& s) {
        s.bind(1, channel);
        s.bind(2, floor);
      });
    };
    for (const auto& [channel, floors] : floors_) {
      StoreError error = up_to(forget_, channel, floors.history);
      if (error == StoreError::ok) error = up_to(forget_retained_, channel, floors.retained);
      if (error != StoreError::ok) return error;
    }
    return StoreError::ok;
  }

  struct Floors {
    std::uint64_t history = 0;
    std::uint64_t retained = 0;
  };

  Database db_;  // before the statements, which end first
  KeptNumbers numbers_;
  Statement begin_, commit_, rollback_, reserve_, add_, retain_, forget_, forget_retained_, clear_event_;
  std::unordered_map<std::string_view, Floors> floors_;  // of the group that is being written
};

/// A store, or why there is none.
struct SqliteStore::Opened {
  StoreError error = StoreError::ok;
  std::unique_ptr<SqliteStore> store{};
};

inline SqliteStore::Opened SqliteStore::open(const std::string& path, Durability durability) {
  std::unique_ptr<SqliteStore> store(new SqliteStore);
  const StoreError error = store->set_up(path, durability);
  if (error != StoreError::ok) return {.error = error};
  return {.store = std::move(store)};
}

static_assert(HistoryStore<SqliteStore>);

}  // namespace store
FANFARE_NAMESPACE_END
