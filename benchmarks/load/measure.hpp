// What is measured: the clock, latencies, the server's CPU time and memory, and the ledger of what has to arrive.
#pragma once

#include "payload.hpp"
#include "plan.hpp"
#include "socket.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace fanfare::load {

/// Monotonic nanoseconds.
[[nodiscard]] inline std::uint64_t now() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
}

[[nodiscard]] inline std::uint64_t nanoseconds(double seconds) { return static_cast<std::uint64_t>(seconds * 1e9); }

/// Latencies, in steps of 1/64 of their power of two: no quantile is off by more than 1.6 %.
class Histogram {
 public:
  void add(std::uint64_t value) {
    ++counts_[index(value)];
    ++total_;
    if (value > greatest_) greatest_ = value;
  }
  [[nodiscard]] std::uint64_t greatest() const { return greatest_; }

  /// The value below which the share `q` of all is; 0 if there are none.
  [[nodiscard]] std::uint64_t quantile(double q) const {
    if (total_ == 0) return 0;
    const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(total_ - 1));
    std::size_t i = 0;
    for (std::uint64_t seen = counts_[0]; seen <= rank; seen += counts_[i]) ++i;
    return least_of(i);
  }

 private:
  static constexpr std::size_t index(std::uint64_t value) {
    if (value < 64) return value;
    const auto shift = static_cast<std::size_t>(std::bit_width(value)) - 7;
    return (shift + 1) * 64 + (value >> shift & 63);
  }
  static constexpr std::uint64_t least_of(std::size_t i) {
    return i < 64 ? i : std::uint64_t{64 + i % 64} << (i / 64 - 1);
  }

  std::array<std::uint64_t, 64 * 59> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t greatest_ = 0;
};

/// CPU time that processes have used, in seconds.
struct CpuTime {
  double total = 0;   ///< of all threads, from schedstat: to the nanosecond
  double user = 0;    ///< in steps of a tick, mostly 10 ms
  double system = 0;  ///< likewise

  friend CpuTime operator-(const CpuTime& a, const CpuTime& b) {
    return {a.total - b.total, a.user - b.user, a.system - b.system};
  }
};

/// The server's processes on this machine, seen through /proc. They may be none.
class Processes {
 public:
  explicit Processes(std::vector<int> pids) : pids_(std::move(pids)) {}
  [[nodiscard]] bool known() const { return !pids_.empty(); }

  /// \throws  `Failure` if one of them is gone.
  [[nodiscard]] CpuTime cpu_time() const {
    CpuTime sum;
    const double tick = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
    for (const int pid : pids_) {
      // The fields are counted after the name, which ends with the last parenthesis and may hold anything.
      const std::string stat = read(pid, "stat");
      std::istringstream fields(stat.substr(stat.rfind(')') + 1));
      std::string skipped;
      for (int i = 0; i < 11; ++i) fields >> skipped;
      double user = 0;
      double system = 0;
      fields >> user >> system;
      sum.user += user * tick;
      sum.system += system * tick;
      double threads = 0;
      std::error_code gone;  // a thread that ends meanwhile is no error
      for (const auto& task : std::filesystem::directory_iterator(directory(pid) + "/task", gone)) {
        double running = 0;
        if (std::ifstream(task.path() / "schedstat") >> running) threads += running * 1e-9;
      }
      sum.total += threads > 0 ? threads : (user + system) * tick;  // some kernels have no schedstat
    }
    return sum;
  }

  /// Memory that these processes alone hold and wrote to, in bytes: resident memory without the files that are mapped.
  /// Nothing where the kernel does not say it.
  [[nodiscard]] std::optional<double> private_memory() const {
    double kilobytes = 0;
    for (const int pid : pids_) {
      std::ifstream file(directory(pid) + "/smaps_rollup");
      const std::string name = "Private_Dirty:";
      std::string word;
      while (file >> word && word != name) {
      }
      double value = 0;
      if (!(file >> value)) return std::nullopt;
      kilobytes += value;
    }
    return kilobytes * 1024;
  }

  /// Resident memory, in bytes. What the kernel keeps for sockets is not in it.
  ///
  /// \throws  `Failure` if one of them is gone.
  [[nodiscard]] double memory() const {
    double pages = 0;
    for (const int pid : pids_) {
      double size = 0;
      double resident = 0;
      std::istringstream(read(pid, "statm")) >> size >> resident;
      pages += resident;
    }
    return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
  }

 private:
  static std::string directory(int pid) { return "/proc/" + std::to_string(pid); }
  static std::string read(int pid, const char* name) {
    std::string text;
    std::ifstream file(directory(pid) + "/" + name);
    if (!std::getline(file, text)) throw Failure("there is no process " + std::to_string(pid));
    return text;
  }

  std::vector<int> pids_;
};

/// What was triggered and what arrived. Every trigger is an event of a stream (see `Plan`), so every subscriber knows
/// which one of each stream comes next.
///
/// \complexity  memory: 16 bytes for each client, slot and sender, and for each trigger that has not arrived
///              everywhere.
class Ledger {
 public:
  explicit Ledger(const Plan& plan) : plan_(plan), streams_(plan.clients() * plan.slots() * plan.senders()) {}

  /// A trigger is on its way. Returns its number.
  ///
  /// \throws  `Failure` where the numbers end.
  std::uint64_t issue() {
    if (issued_ == Marker::end) throw Failure("there are no more numbers for triggers");
    const std::size_t receivers = plan_.receivers(plan_.target(issued_).channel);
    expected_ += receivers;
    under_way_.push_back({0, receivers});
    return issued_++;
  }

  /// The time from which its latency counts. To be called before it can arrive.
  void sent(std::uint64_t trigger, std::uint64_t time) { under_way_[trigger - first_].sent = time; }

  /// It arrived at a client.
  void arrive(std::size_t client, std::uint64_t trigger, std::uint64_t time) {
    if (trigger >= issued_) {
      ++strays_;
      return;
    }
    const Plan::Target target = plan_.target(trigger);
    const std::optional<std::size_t> slot = plan_.slot(client, target.channel);
    if (!slot || plan_.is_sender(client, target)) {
      ++strays_;
      return;
    }
    // Beside each other stand the clients that get the same trigger.
    Stream& stream = streams_[(*slot * plan_.senders() + target.sender) * plan_.clients() + client];
    if (!is_new(stream, target.event, trigger)) {
      ++duplicates_;
      return;
    }
    ++arrived_;
    if (trigger < first_) return;
    UnderWay& its = under_way_[trigger - first_];
    latencies_.add(time - std::min(time, its.sent));
    if (its.remaining == 0) return;
    if (--its.remaining == 0) ++finished_;
    while (!under_way_.empty() && under_way_.front().remaining == 0) {
      under_way_.pop_front();
      ++first_;
    }
  }

  void forget_latencies() { latencies_ = {}; }

  [[nodiscard]] const Histogram& latencies() const { return latencies_; }
  [[nodiscard]] std::uint64_t issued() const { return issued_; }
  /// Triggers that have not arrived everywhere.
  [[nodiscard]] std::uint64_t under_way() const { return issued_ - finished_; }
  /// Deliveries of all triggers so far.
  [[nodiscard]] std::uint64_t expected() const { return expected_; }
  /// Deliveries that came, each counted once.
  [[nodiscard]] std::uint64_t arrived() const { return arrived_; }
  /// Deliveries that are still to come, or lost.
  [[nodiscard]] std::uint64_t missing() const { return expected_ - std::min(expected_, arrived_); }
  [[nodiscard]] std::uint64_t duplicates() const { return duplicates_; }
  /// Deliveries that came after a later one of their stream.
  [[nodiscard]] std::uint64_t disordered() const { return disordered_; }
  /// Deliveries for another channel, back to their sender, or of what was never sent.
  [[nodiscard]] std::uint64_t strays() const { return strays_; }

 private:
  struct UnderWay {
    std::uint64_t sent = 0;
    std::size_t remaining = 0;  // deliveries to come
  };

  /// Of a stream at a client: the last 64 events before `next`; bit k says whether `next - 1 - k` arrived.
  struct Stream {
    std::uint64_t next = 0;
    std::uint64_t seen = 0;
  };

  bool is_new(Stream& stream, std::uint64_t event, std::uint64_t trigger) {
    if (event >= stream.next) {
      const std::uint64_t step = event - stream.next + 1;
      stream.seen = step < 64 ? stream.seen << step | 1 : 1;
      stream.next = event + 1;
      return true;
    }
    const std::uint64_t age = stream.next - 1 - event;
    // Older than what is remembered: a duplicate if everybody had it, else taken for late. It is an error either way.
    const bool had =
        age < 64 ? (stream.seen >> age & 1) != 0 : trigger < first_ || under_way_[trigger - first_].remaining == 0;
    if (had) return false;
    if (age < 64) stream.seen |= std::uint64_t{1} << age;
    ++disordered_;
    return true;
  }

  const Plan& plan_;
  std::vector<Stream> streams_;
  std::deque<UnderWay> under_way_;  // the triggers from first_ on
  std::uint64_t first_ = 0;
  std::uint64_t issued_ = 0;
  std::uint64_t finished_ = 0;
  std::uint64_t expected_ = 0;
  std::uint64_t arrived_ = 0;
  std::uint64_t duplicates_ = 0;
  std::uint64_t disordered_ = 0;
  std::uint64_t strays_ = 0;
  Histogram latencies_;
};

}  // namespace fanfare::load
