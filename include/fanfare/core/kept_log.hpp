/// \file
/// Where what channels keep outlives the program, as the channels see it.
#pragma once

#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

FANFARE_NAMESPACE_BEGIN

/// A change of what the channels of one application keep.
struct KeptChange {
  /// What changes.
  enum class Kind : std::uint8_t {
    keep,    ///< `message` is kept: in the history, as the latest of its name, as both, or (with `clears`) as neither.
    forget,  ///< Of `channel`: what is up to the floors.
  };
  /// Of its time, which is to mean something to the next program.
  using Clock = std::chrono::system_clock;

  Kind kind = Kind::keep;
  bool history = false;              ///< `keep`: whether it is one of the last events.
  bool retained = false;             ///< `keep`: whether it is the latest of its name.
  bool clears = false;               ///< `keep`: whether nothing is retained under its name any more.
  MessagePtr message{};              ///< `keep`: with an id.
  Clock::time_point time{};          ///< `keep`: when it got its place.
  std::uint64_t floor = 0;           ///< The channel's history up to this number is gone.
  std::uint64_t retained_floor = 0;  ///< What it retains up to this number is gone.
  std::string channel{};             ///< `forget`.
};

/// Something that was kept, as it comes back. The views end with the call that they are given to.
struct KeptEvent {
  std::string_view channel;
  std::string_view event;
  std::string_view data;
  std::string_view user_id;
  std::string_view socket_id;
  std::uint64_t number = 0;
  KeptChange::Clock::time_point time{};
  bool history = false;
  bool retained = false;
};

/// Takes what comes back.
class KeptVisitor {
 public:
  /// Called once for each event, in the order of the numbers. \throws what it likes; that ends the loading.
  virtual void visit(const KeptEvent& event) = 0;

 protected:
  ~KeptVisitor() = default;
};

/// Changes on their way to where they are durable; what a trigger hands out, or some triggers together. Empty: there are
/// none, and nothing to wait for.
struct KeptTicket {
  std::uint64_t first = 0;
  std::uint64_t last = 0;

  /// Whether there is something to wait for.
  [[nodiscard]] explicit operator bool() const noexcept { return last != 0; }
  /// \param ticket   of one change more; 0: of none.
  void add(std::uint64_t ticket) noexcept {
    if (ticket == 0) return;
    first = first == 0 ? ticket : std::min(first, ticket);
    last = std::max(last, ticket);
  }
  friend bool operator==(const KeptTicket&, const KeptTicket&) = default;
};

/// What has become of changes.
enum class KeptOutcome : std::uint8_t {
  pending,  ///< They are on their way.
  durable,  ///< They outlive the program.
  lost,     ///< Some of them do not, or not yet: they may be tried again. What is kept in memory is not touched.
};

/// Where what the channels of one application keep outlives the program. It gives events their numbers, so that none is
/// given twice in all lives of the program.
///
/// `store::Journal` is one. Who writes another: all but `load`, `wait` and `when_settled` are called under a channel's lock,
/// so they must not wait, and lock nothing that is held while a channel is used.
///
/// Thread safety: all members from any thread, concurrently.
class KeptLog {
 public:
  KeptLog() = default;
  KeptLog(const KeptLog&) = delete;
  KeptLog& operator=(const KeptLog&) = delete;
  virtual ~KeptLog() = default;

  /// Gives back all that was kept in earlier lives. Before the first change.
  /// \returns   what is wrong, as an English sentence without a full stop; empty: nothing.
  /// \throws    what the visitor throws.
  [[nodiscard]] virtual std::string_view load(KeptVisitor& visitor) = 0;

  /// The epoch of all numbers, and the highest that was given out, in this life or before.
  [[nodiscard]] virtual EventId place() const noexcept = 0;

  /// Room for one change, and the number of its event: above all that were given out before. Whoever has it calls `put`.
  /// \param bytes   of its names and data.
  /// \returns       0 where there is no room: a later try may succeed.
  [[nodiscard]] virtual std::uint64_t admit(std::size_t bytes) noexcept = 0;
  /// A number for an event that is not kept, or for which there is no room.
  [[nodiscard]] virtual std::uint64_t number() noexcept = 0;

  /// Hands over a change that there is room for. Those of one channel come in the order of their numbers.
  /// \param bytes   as they were admitted.
  /// \returns       its ticket, which is not 0.
  virtual std::uint64_t put(KeptChange change, std::size_t bytes) noexcept = 0;
  /// Hands over that something is forgotten, if there is room. If not, it is forgotten again when the program next starts.
  /// \returns   its ticket; 0 where there is no room.
  virtual std::uint64_t put_forget(KeptChange change) noexcept = 0;

  /// What has become of what has a ticket.
  [[nodiscard]] virtual KeptOutcome outcome(const KeptTicket& ticket) const noexcept = 0;
  /// Waits until it is settled. \returns `durable` or `lost`. Not under a lock, nor in a callback that must not wait.
  virtual KeptOutcome wait(const KeptTicket& ticket) noexcept = 0;
  /// Calls `f` when it is settled: at once if it is already, else on a thread of the log's own, or at its end. `f` must not
  /// throw, wait, or use the log.
  /// \throws `std::bad_alloc`; `f` is not called then.
  virtual void when_settled(const KeptTicket& ticket, std::function<void()> f) = 0;

  /// What is wrong just now, as an English sentence without a full stop; empty: nothing.
  [[nodiscard]] virtual std::string_view trouble() const noexcept = 0;
};

FANFARE_NAMESPACE_END
