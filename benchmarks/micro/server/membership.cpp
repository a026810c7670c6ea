// One iteration lets 1,023 connections of one loop join C channels each, in which there is one already. What counts
// is not the time but the counter: what malloc has in use more than before for each time that a connection is in a
// channel, and what lies in the connection for it.
//
//   memory/membership/C
#include "../work.hpp"

#include <fanfare/app.hpp>
#include <fanfare/transport/fanout.hpp>
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#if defined(__GLIBC__)
#include <malloc.h>

namespace {

namespace transport = fanfare::transport;

struct Connection : transport::Peer {};

/// A loop that writes nothing.
class Loop final : public transport::Door {
 public:
  explicit Loop(std::size_t connections) : Door(std::size_t{1} << 20U) {
    for (std::size_t i = 0; i < connections; ++i) {
      connections_.push_back(std::make_unique<Connection>());
      connections_.back()->number = static_cast<std::uint32_t>(i);
    }
  }
  ~Loop() {
    for (const auto& connection : connections_) fanout_.leave_all(*connection);
    fanout_.close(true);
  }

  [[nodiscard]] bool join(fanfare::App& app, std::size_t connection, std::string_view channel) {
    return fanout_.join(app, channel, *connections_[connection]) == transport::JoinResult::joined;
  }

  void wake() noexcept override {}
  std::ptrdiff_t write(Connection& /*connection*/, std::string_view bytes) noexcept {
    return static_cast<std::ptrdiff_t>(bytes.size());
  }
  void broken(Connection& /*connection*/) noexcept {}
  void overflowed(Connection& /*connection*/) noexcept {}
  [[nodiscard]] Connection* find(std::string_view /*socket_id*/) noexcept { return nullptr; }
  [[nodiscard]] Connection* at(std::uint32_t number) noexcept {
    return number < connections_.size() ? connections_[number].get() : nullptr;
  }

 private:
  std::vector<std::unique_ptr<Connection>> connections_;
  transport::Fanout<Loop, Connection> fanout_{*this, *this, {}};
};

std::size_t heap() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

void membership(benchmark::State& state) {
  static constexpr std::size_t connections = 1023;  // with the first one a power of two: no array has room to spare
  static constexpr std::size_t in_connection = 2;   // memberships for which a connection has room
  const auto channels = static_cast<std::size_t>(state.range(0));
  std::vector<std::string> names;
  for (std::size_t i = 0; i < channels; ++i) names.push_back(work::channel_name(i));
  double bytes = 0;
  for (auto _ : state) {
    fanfare::App app{{.id = "1", .key = "key", .secret = "secret"}};
    Loop loop{connections + 1};
    bool ok = true;
    for (const std::string& name : names) ok = loop.join(app, connections, name) && ok;  // they exist from now on
    const std::size_t before = heap();
    for (std::size_t i = 0; i < connections; ++i) {
      for (const std::string& name : names) ok = loop.join(app, i, name) && ok;
    }
    const std::size_t within =
        channels <= in_connection ? channels * sizeof(transport::detail::Membership) * connections : 0;
    bytes = static_cast<double>(heap() - before + within) / static_cast<double>(connections * channels);
    for (const std::string& name : names) ok = ok && app.subscribers(name) == connections + 1;
    if (!ok) state.SkipWithError("somebody could not join");
  }
  state.counters["bytes"] = bytes;
}

BENCHMARK(membership)->Name("memory/membership")->Arg(1)->Arg(2)->Arg(10)->Iterations(1);

}  // namespace

#endif
