// Load for servers of the Pusher protocol: subscribers and triggers in one thread, raw sockets, nothing of fanfare but
// its signatures. `fanfare-load --help` says what it does, docs/benchmarks/sockets.md how to measure with it.
#include "api.hpp"
#include "client.hpp"
#include "measure.hpp"
#include "members.hpp"
#include "options.hpp"
#include "plan.hpp"
#include "socket.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fanfare::load {
namespace {

/// The first SIGINT or SIGTERM is an event; the next ends the program as if there were none of this.
class Interrupt {
 public:
  explicit Interrupt(Poller& poller) {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals_, nullptr);
    descriptor_ = Descriptor(signalfd(-1, &signals_, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!descriptor_.is_open()) fail_with_errno("cannot wait for signals");
    poller.add(descriptor_, Kind::signal, 0, EPOLLIN);
  }
  [[nodiscard]] bool came() const { return came_; }

  void on_event() {
    signalfd_siginfo signal{};
    if (read(descriptor_.get(), &signal, sizeof signal) != sizeof signal) return;
    came_ = true;
    sigprocmask(SIG_UNBLOCK, &signals_, nullptr);
  }

 private:
  sigset_t signals_{};
  Descriptor descriptor_;
  bool came_ = false;
};

/// A report: names and values as JSON has them.
class Report {
 public:
  void add(std::string_view name, bool value) { add_text(name, value ? "true" : "false"); }
  void add(std::string_view name, std::uint64_t value) { add_text(name, std::to_string(value)); }
  /// A number with so many decimals; nothing: `null`.
  void add(std::string_view name, std::optional<double> value, int decimals) {
    std::array<char, 64> text{};
    if (value) std::snprintf(text.data(), text.size(), "%.*f", decimals, *value);
    add_text(name, value ? text.data() : "null");
  }
  void add_text(std::string_view name, std::string value) { fields_.push_back({name, std::move(value)}); }

  void print(bool json) const {
    std::string text;
    for (const Field& field : fields_) {
      if (json) {
        text += text.empty() ? "{\"" : ",\"";
        text.append(field.name).append("\":").append(field.value);
      } else {
        text.append(field.name).append(26 - std::min<std::size_t>(25, field.name.size()), ' ');
        text.append(field.value == "null" ? "-" : field.value).append("\n");
      }
    }
    if (json) text += '}';
    std::puts(text.c_str());
    std::fflush(stdout);
  }

 private:
  struct Field {
    std::string_view name;
    std::string value;
  };
  std::vector<Field> fields_;
};

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options),
        plan_(options),
        endpoint_(options.host, options.port, options.source),
        processes_(options.pids),
        interrupt_(poller_),
        ledger_(plan_),
        clients_(options_, plan_, endpoint_, poller_, ledger_),
        api_(options_, plan_, endpoint_, poller_, ledger_),
        members_(options_, plan_, clients_, ledger_) {}

  /// \returns  the exit code.
  /// \throws   `Failure`.
  int run() {
    connect();
    if (options_.connect_only) return 0;
    bool good = true;
    for (std::size_t warmup = options_.warmup; good && !interrupt_.came(); warmup = std::min<std::size_t>(warmup, 2)) {
      if (options_.step && !wait_for_line()) break;
      good = measure(warmup);
      if (!options_.step) break;
    }
    return good ? 0 : 1;
  }

 private:
  /// No more triggers than these may be under way in the open loop. What is due then waits, and its latency counts.
  static constexpr std::uint64_t most_under_way = 1'000'000;

  /// Connects and subscribes all clients, and reports what that cost.
  void connect() {
    allow_descriptors(options_.clients + options_.connections + 64);
    const double memory = processes_.memory();
    const std::optional<double> private_memory = processes_.private_memory();
    const CpuTime cpu = processes_.cpu_time();
    const std::uint64_t begin = now();
    std::uint64_t progress = begin;
    for (std::size_t subscribed = 0; !clients_.all_subscribed();) {
      clients_.connect_more();
      poll(options_.sleep ? 100 : 0);
      if (interrupt_.came()) throw Failure("interrupted");
      if (clients_.subscribed() != subscribed) {
        subscribed = clients_.subscribed();
        progress = now();
      } else if (now() - progress > nanoseconds(options_.timeout)) {
        throw Failure("only " + std::to_string(subscribed) + " clients are subscribed, and no more follow");
      }
    }
    const double seconds = static_cast<double>(now() - begin) * 1e-9;
    const CpuTime used = processes_.cpu_time() - cpu;
    const std::uint64_t settled = now() + nanoseconds(options_.settle);
    while (now() < settled && !interrupt_.came()) poll(10);

    const auto clients = static_cast<double>(options_.clients);
    const auto if_known = [&](double value) { return processes_.known() ? std::optional(value) : std::nullopt; };
    const double connected_memory = processes_.memory();
    const std::optional<double> connected_private = processes_.private_memory();
    const bool both = private_memory && connected_private;
    Report report;
    report.add("clients", options_.clients);
    report.add("channels_per_client", plan_.slots());
    report.add("connect_s", seconds, 3);
    report.add("connects_per_s", clients / seconds, 0);
    report.add("connect_cpu_us", if_known(used.total * 1e6 / clients), 2);
    report.add("connect_user_us", if_known(used.user * 1e6 / clients), 2);
    report.add("connect_system_us", if_known(used.system * 1e6 / clients), 2);
    report.add("memory_before", if_known(memory), 0);
    report.add("memory_connected", if_known(connected_memory), 0);
    report.add("memory_per_client", if_known((connected_memory - memory) / clients), 0);
    report.add(
        "private_per_client",
        both && processes_.known() ? std::optional((*connected_private - *private_memory) / clients) : std::nullopt, 0);
    report.print(options_.json);
  }

  /// Measures once and prints the report. Returns whether all was as it has to be.
  bool measure(std::size_t warmup) {
    api_.renew();
    bool complete = drive(warmup, std::numeric_limits<double>::infinity(), false);
    ledger_.forget_latencies();
    const std::uint64_t issued = ledger_.issued();
    const std::uint64_t arrived = ledger_.arrived();
    const std::uint64_t expected = ledger_.expected();
    const CpuTime cpu = processes_.cpu_time();
    busy_ = 0;
    const std::uint64_t begin = now();
    complete = complete && drive(std::numeric_limits<std::size_t>::max(), options_.seconds, options_.rate > 0);
    const std::uint64_t end = now();
    const double seconds = static_cast<double>(end - begin) * 1e-9;
    const double busy = static_cast<double>(busy_) * 1e-9 / seconds;
    const CpuTime used = processes_.cpu_time() - cpu;
    const std::uint64_t late = now() + nanoseconds(0.05);  // for duplicates that come after
    while (now() < late) poll(1);

    const auto triggers = static_cast<double>(ledger_.issued() - issued);
    const auto deliveries = static_cast<double>(ledger_.arrived() - arrived);
    const bool good = complete && ledger_.missing() == 0 && ledger_.duplicates() == 0 && ledger_.disordered() == 0 &&
                      ledger_.strays() == 0 && api_.refused() == 0;
    const auto per = [&](double value, double count) {
      return processes_.known() && count > 0 ? std::optional(value * 1e6 / count) : std::nullopt;
    };
    const auto latency = [&](std::uint64_t value) {
      return deliveries > 0 ? std::optional(static_cast<double>(value) * 1e-3) : std::nullopt;
    };
    const Histogram& latencies = ledger_.latencies();
    Report report;
    report.add("ok", good);
    report.add("clients", options_.clients);
    report.add("channels", options_.channels);
    report.add("channels_per_client", plan_.slots());
    report.add("bytes", options_.bytes);
    report.add_text("via", '"' + std::string(to_string(options_.via)) + '"');
    report.add("pipelined", api_.pipelines());
    report.add("burst", options_.burst);
    if (options_.rate > 0) {
      report.add("rate", options_.rate, 3);
    } else {
      report.add("window", options_.window);
    }
    report.add("seconds", seconds, 3);
    report.add("triggers", ledger_.issued() - issued);
    report.add("deliveries", ledger_.arrived() - arrived);
    report.add("deliveries_per_s", deliveries / seconds, 0);
    if (options_.rate > 0) {
      const auto offered = static_cast<double>(offered_ - expected);
      report.add("carried",
                 offered > 0 ? std::optional(static_cast<double>(carried_ - arrived) / offered) : std::nullopt, 4);
      report.add("drain_s", static_cast<double>(end - stopped_) * 1e-9, 4);
      report.add("generator_behind_s", static_cast<double>(behind_) * 1e-9, 4);
    }
    report.add("latency_p50_us", latency(latencies.quantile(0.5)), 1);
    report.add("latency_p90_us", latency(latencies.quantile(0.9)), 1);
    report.add("latency_p99_us", latency(latencies.quantile(0.99)), 1);
    report.add("latency_p999_us", latency(latencies.quantile(0.999)), 1);
    report.add("latency_max_us", latency(latencies.greatest()), 1);
    report.add("cpu_us_per_trigger", per(used.total, triggers), 2);
    report.add("cpu_us_per_delivery", per(used.total, deliveries), 4);
    report.add("user_us_per_delivery", per(used.user, deliveries), 4);
    report.add("system_us_per_delivery", per(used.system, deliveries), 4);
    report.add("cpu_busy", processes_.known() ? std::optional(used.total / seconds) : std::nullopt, 3);
    report.add("memory", processes_.known() ? std::optional(processes_.memory()) : std::nullopt, 0);
    report.add("generator_busy", busy, 3);
    report.add("missing", ledger_.missing());
    report.add("duplicates", ledger_.duplicates());
    report.add("disordered", ledger_.disordered());
    report.add("strays", ledger_.strays());
    report.add("refused", api_.refused());
    report.print(options_.json);
    return good;
  }

  /// Triggers `bursts` bursts, or for so many seconds, and waits until all of it arrived and was answered.
  ///
  /// \param paced  in the open loop.
  /// \returns      whether it did. Otherwise a request was refused or nothing came for `--timeout` seconds.
  bool drive(std::size_t bursts, double seconds, bool paced) {
    const std::uint64_t limit = paced ? most_under_way : options_.window * options_.burst;
    const std::uint64_t interval =
        paced ? nanoseconds(static_cast<double>(options_.burst) / options_.rate) : std::uint64_t{0};
    const std::uint64_t begin = now();
    std::uint64_t due = begin;
    std::uint64_t progress = begin;
    std::uint64_t arrived = ledger_.arrived();
    bool sending = true;
    for (;;) {
      std::uint64_t time = now();
      if (sending && (bursts == 0 || static_cast<double>(time - begin) >= seconds * 1e9 || interrupt_.came())) {
        sending = false;
        stopped_ = time;
        offered_ = ledger_.expected();
        carried_ = ledger_.arrived();
        behind_ = paced ? time - std::min(time, due) : 0;
      }
      if (!sending && ledger_.under_way() == 0 && api_.unanswered() == 0) return true;
      const auto room = [&] { return std::max(ledger_.under_way(), api_.unanswered()) + options_.burst <= limit; };
      // What is due, as reading in between would make it later still; but not for ever, as answers have to be read.
      for (int left = 64; left > 0 && sending && bursts > 0 && room() && (!paced || time >= due); --left, --bursts) {
        trigger(paced ? std::optional(due) : std::nullopt);
        due += interval;
        const std::uint64_t after = now();
        busy_ += after - time;
        time = after;
      }
      // Asleep it wakes up in time for what is due, which takes more than whole milliseconds.
      const std::uint64_t rest = paced && sending && room() ? due - std::min(due, time) : std::uint64_t{100'000'000};
      poll(options_.sleep ? static_cast<int>(std::min<std::uint64_t>(rest / 1'000'000, 100)) : 0);
      clients_.keep_alive();
      if (api_.refused() > 0) return false;
      if (ledger_.arrived() != arrived || (ledger_.under_way() == 0 && api_.unanswered() == 0)) {
        arrived = ledger_.arrived();
        progress = time;
      } else if (time - progress > nanoseconds(options_.timeout)) {
        std::fprintf(stderr, "fanfare-load: nothing came for %g s\n", options_.timeout);
        return false;
      }
    }
  }

  void trigger(std::optional<std::uint64_t> due) {
    if (options_.via == Via::client) {
      members_.trigger(options_.burst, due);
    } else {
      api_.trigger(options_.burst, due);
    }
  }

  void poll(int timeout_ms) {
    std::uint64_t begin = 0;
    const auto handle = [&](Kind kind, std::size_t index, std::uint32_t events) {
      if (begin == 0) begin = now();
      switch (kind) {
        case Kind::client: return clients_.on_event(index, events);
        case Kind::api: return api_.on_event(index, events);
        case Kind::signal: return interrupt_.on_event();
      }
    };
    if (poller_.wait(timeout_ms, handle) > 0) busy_ += now() - begin;
  }

  /// Waits for a line on the standard input; meanwhile the clients stay alive. Returns false at its end.
  bool wait_for_line() {
    while (lines_ == 0 && !interrupt_.came()) {
      std::array<pollfd, 2> ready{pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{poller_.descriptor(), POLLIN, 0}};
      if (::poll(ready.data(), ready.size(), 100) < 0 && errno != EINTR) fail_with_errno("poll");
      if (ready[1].revents != 0) poll(0);
      clients_.keep_alive();
      if (ready[0].revents == 0) continue;
      std::array<char, 256> input{};
      const ssize_t got = read(STDIN_FILENO, input.data(), input.size());
      if (got <= 0) return false;
      lines_ += static_cast<std::size_t>(std::count(input.data(), input.data() + got, '\n'));
    }
    if (interrupt_.came()) return false;
    --lines_;
    return true;
  }

  const Options options_;
  const Plan plan_;
  const Endpoint endpoint_;
  const Processes processes_;
  Poller poller_;
  Interrupt interrupt_;
  Ledger ledger_;
  Clients clients_;
  Api api_;
  Members members_;
  std::size_t lines_ = 0;      // on the standard input, not yet taken
  std::uint64_t busy_ = 0;     // nanoseconds of this program's own work
  std::uint64_t stopped_ = 0;  // when triggering ended; and by then, of the deliveries of all triggers so far,
  std::uint64_t offered_ = 0;  // those that were triggered
  std::uint64_t carried_ = 0;  // and those that had arrived
  std::uint64_t behind_ = 0;   // nanoseconds by which triggering was late then
};

}  // namespace
}  // namespace fanfare::load

int main(int argc, char** argv) {
  using namespace fanfare::load;
  try {
    const Options options = parse_options({argv + 1, argv + argc});
    if (options.help) {
      std::fwrite(usage.data(), 1, usage.size(), stdout);
      return 0;
    }
    Load load(options);
    return load.run();
  } catch (const UsageError& error) {
    std::fprintf(stderr, "fanfare-load: %s (see --help)\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fanfare-load: %s\n", error.what());
    return 3;
  }
}
