// One iteration is one trigger with 100 bytes of data to the one subscriber of its channel, from the call to the end
// of the delivery.
//
//   trigger/frame/N         by name, one of N channels at random; the subscriber is a sink that wants the event as the
//                           frame that sockets get, and drops it when it has it
//   trigger/mailbox/N       the same, but the sink puts the message into a mailbox, as those of io loops do. It is
//                           emptied after every 64 triggers
//   trigger/callback/N      by name, one of N channels at random; the subscriber is a callback, so nothing is encoded
//   trigger/handle/N        the same through a handle of the channel: no lookup
//   trigger/plain, ordered  a private and a presence channel of an application, each through a handle to a sink that
//                           wants frames: the difference is what the order costs
//   trigger/alone           by name, with a frame, while nobody else triggers
//   trigger/same_channel    while a second thread triggers in the same channel
//   trigger/other_channel   while a second thread triggers in another one. Both want two cores
#include "work.hpp"

#include <fanfare/app.hpp>
#include <fanfare/core/mailbox.hpp>
#include <fanfare/core/wire.hpp>
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr std::string_view event = "message";
constexpr std::string_view data =
    R"({"user":42,"text":"hello there, this is a message of one hundred bytes","sent":1700000000000,"id":1})";
static_assert(data.size() == 100);

/// What a sink has been given.
struct Tally {
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
};

/// Takes the frame and drops it.
class FrameSink {
 public:
  static constexpr bool wire = true;
  explicit FrameSink(Tally& tally) noexcept : tally_(&tally) {}
  bool push(fanfare::MessagePtr message) noexcept {
    tally_->messages += 1;
    tally_->bytes += message->frame().size();
    return true;
  }

 private:
  Tally* tally_;
};

/// Puts the message into a mailbox.
class MailboxSink {
 public:
  static constexpr bool wire = true;
  MailboxSink(fanfare::Mailbox& mailbox, std::uint64_t tag) noexcept : mailbox_(&mailbox), tag_(tag) {}
  bool push(fanfare::MessagePtr message, fanfare::MessageLink& link) noexcept {
    const std::size_t bytes = message->frame().size();
    link.tag = tag_;
    link.message = message.release();
    static_cast<void>(mailbox_->push(link, bytes));
    return true;
  }
  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept { return mailbox_->has_room(2 * bytes); }

 private:
  fanfare::Mailbox* mailbox_;
  std::uint64_t tag_;
};

void empty(fanfare::Mailbox& mailbox, Tally& tally) {
  for (const fanfare::MessageLink* link = mailbox.take(); link != nullptr;) {
    const auto message = fanfare::MessagePtr::adopt(link->message);
    link = link->next;
    const std::size_t bytes = message->frame().size();
    tally.messages += 1;
    tally.bytes += bytes;
    mailbox.release(bytes);
  }
}

/// A registry that makes frames, and a channel for each subscription.
struct Channels {
  explicit Channels(std::size_t count) { subscriptions.reserve(count); }

  fanfare::FrameEncoder encoder{};
  fanfare::ChannelRegistry<> registry{{.encoder = &encoder}};
  std::vector<fanfare::Subscription> subscriptions{};
};

/// \param channel   any of them: all names are equally long.
void check(benchmark::State& state, const Tally& tally, std::string_view channel) {
  const auto triggers = static_cast<std::uint64_t>(state.iterations());
  const std::size_t frame = work::frame_of({channel, event, data}).size();
  if (frame == 0 || tally.messages != triggers || tally.bytes != triggers * frame)
    state.SkipWithError("frames were lost");
}

void by_name_with_frame(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  Tally tally;
  Channels channels{count};
  for (std::size_t i = 0; i < count; ++i) {
    channels.subscriptions.push_back(channels.registry.attach(work::channel_name(i), FrameSink{tally}));
  }
  work::Names names{count};
  for (auto _ : state) benchmark::DoNotOptimize(channels.registry.trigger(names.next(), event, data));
  check(state, tally, work::channel_name(0));
}

void by_name_into_mailbox(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  Tally tally;
  fanfare::Mailbox mailbox{std::size_t{1} << 20U};
  Channels channels{count};
  for (std::size_t i = 0; i < count; ++i) {
    channels.subscriptions.push_back(channels.registry.attach(work::channel_name(i), MailboxSink{mailbox, i}));
  }
  work::Names names{count};
  std::size_t triggers = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(channels.registry.trigger(names.next(), event, data));
    if (++triggers % 64 == 0) empty(mailbox, tally);
  }
  empty(mailbox, tally);
  if (mailbox.bytes() != 0) state.SkipWithError("the mailbox is not empty");
  check(state, tally, work::channel_name(0));
}

/// Callbacks of many channels, which all tell one context.
struct Called {
  explicit Called(std::size_t count) : channels(count) {
    for (std::size_t i = 0; i < count; ++i) {
      channels.subscriptions.push_back(channels.registry.subscribe(
          work::channel_name(i), [&](fanfare::Subscription& s) { s.bind(event, work::Callback{&context}); }));
    }
  }
  void check(benchmark::State& state) const {
    if (context.bytes != static_cast<std::uint64_t>(state.iterations()) * data.size()) {
      state.SkipWithError("events were lost");
    }
  }

  work::Context context;
  Channels channels;
};

void by_name(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  Called called{count};
  work::Names names{count};
  for (auto _ : state) benchmark::DoNotOptimize(called.channels.registry.trigger(names.next(), event, data));
  called.check(state);
}

void by_handle(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  Called called{count};
  std::vector<fanfare::ChannelHandle> handles;
  handles.reserve(count);
  for (std::size_t i = 0; i < count; ++i) handles.push_back(called.channels.registry.channel(work::channel_name(i)));
  work::Picks picks{count};
  for (auto _ : state) benchmark::DoNotOptimize(handles[picks.next()].trigger(event, data));
  called.check(state);
}

void in_application(benchmark::State& state, std::string_view channel) {
  Tally tally;
  fanfare::App app{{.id = "1", .key = "key", .secret = "secret"}};
  const fanfare::Subscription subscription = app.channels().attach(channel, FrameSink{tally});
  const fanfare::ChannelHandle handle = app.channel(channel);
  for (auto _ : state) benchmark::DoNotOptimize(handle.trigger(event, data));
  check(state, tally, channel);
}

/// Takes the frame and drops it, on any number of threads.
class SharedFrameSink {
 public:
  static constexpr bool wire = true;
  bool push(fanfare::MessagePtr message) noexcept {
    benchmark::DoNotOptimize(message->frame().size());
    return true;
  }
};

enum class Company : std::uint8_t { none, same_channel, other_channel };

void in_company(benchmark::State& state, Company company) {
  Channels channels{2};
  const std::string mine = work::channel_name(1);
  const std::string other = company == Company::same_channel ? mine : work::channel_name(2);
  channels.subscriptions.push_back(channels.registry.attach(mine, SharedFrameSink{}));
  channels.subscriptions.push_back(channels.registry.attach(work::channel_name(2), SharedFrameSink{}));
  std::uint64_t others_delivered = 0;
  work::Companion companion{[&] {
    if (company != Company::none) others_delivered += channels.registry.trigger(other, event, data).delivered;
  }};
  if (company == Company::none) companion.stop();
  std::uint64_t delivered = 0;
  for (auto _ : state) delivered += channels.registry.trigger(mine, event, data).delivered;
  companion.stop();
  if (delivered != static_cast<std::uint64_t>(state.iterations()) ||
      (company != Company::none && others_delivered != companion.rounds())) {
    state.SkipWithError("events were lost");
  }
}

void many(benchmark::internal::Benchmark* b) {
  for (const int n : {1, 100, 10000}) b->Arg(n);
}
/// To make them takes longer than to use them, so it is not done several times to find out how long to measure.
void very_many(benchmark::internal::Benchmark* b) { b->Arg(1000000)->Iterations(200000); }

BENCHMARK(by_name_with_frame)->Name("trigger/frame")->Apply(many);
BENCHMARK(by_name_with_frame)->Name("trigger/frame")->Apply(very_many);
BENCHMARK(by_name_into_mailbox)->Name("trigger/mailbox")->Apply(many);
BENCHMARK(by_name_into_mailbox)->Name("trigger/mailbox")->Apply(very_many);
BENCHMARK(by_name)->Name("trigger/callback")->Apply(many);
BENCHMARK(by_name)->Name("trigger/callback")->Apply(very_many);
BENCHMARK(by_handle)->Name("trigger/handle")->Apply(many);
BENCHMARK(by_handle)->Name("trigger/handle")->Apply(very_many);
BENCHMARK_CAPTURE(in_application, plain, "private-lobby_42")->Name("trigger/plain");
BENCHMARK_CAPTURE(in_application, ordered, "presence-lobby42")->Name("trigger/ordered");
BENCHMARK_CAPTURE(in_company, alone, Company::none)->Name("trigger/alone")->UseRealTime();
BENCHMARK_CAPTURE(in_company, same, Company::same_channel)->Name("trigger/same_channel")->UseRealTime();
BENCHMARK_CAPTURE(in_company, other, Company::other_channel)->Name("trigger/other_channel")->UseRealTime();

}  // namespace
