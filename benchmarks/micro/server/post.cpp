// One iteration is one message made by this thread and handled by a second one, which looks for messages all the
// time. At most 1,024 are on their way, so the slower of the two says how long it takes. Wants two cores.
//
//   fanfare   the mailbox of a loop
//   mutex     a vector under a mutex, swapped with an empty one
//   asio      asio::post
#include "../work.hpp"

#include <fanfare/core/mailbox.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Memory = fanfare::detail::TrackedMemory<fanfare::StdAtomics, fanfare::NewDelete>;
using Block = fanfare::detail::MessageBlock<fanfare::StdAtomics, Memory>;

class Mailbox {
 public:
  void push(Block& message) {
    fanfare::MessageLink& link = message.link(0);
    link.message = &message;
    static_cast<void>(mailbox_.push(link, work::data.size()));
  }
  template <class F>
  std::size_t handle(F f) {
    std::size_t count = 0;
    for (const fanfare::MessageLink* link = mailbox_.take(); link != nullptr; ++count) {
      const auto message = fanfare::MessagePtr::adopt(link->message);
      link = link->next;
      f(*message);
    }
    mailbox_.release(count * work::data.size());
    return count;
  }

 private:
  fanfare::Mailbox mailbox_{std::size_t{1} << 30U};
};

class MutexVector {
 public:
  void push(Block& message) {
    auto pointer = fanfare::MessagePtr::adopt(&message);
    const std::lock_guard lock(mutex_);
    messages_.push_back(std::move(pointer));
  }
  template <class F>
  std::size_t handle(F f) {
    {
      const std::lock_guard lock(mutex_);
      taken_.swap(messages_);
    }
    for (const fanfare::MessagePtr& message : taken_) f(*message);
    const std::size_t count = taken_.size();
    taken_.clear();
    return count;
  }

 private:
  std::mutex mutex_;
  std::vector<fanfare::MessagePtr> messages_;
  std::vector<fanfare::MessagePtr> taken_;
};

class AsioPost {
 public:
  void push(Block& message) {
    asio::post(context_, [this, pointer = fanfare::MessagePtr::adopt(&message)]() mutable {
      handled_.push_back(std::move(pointer));
    });
  }
  template <class F>
  std::size_t handle(F f) {
    context_.poll();
    for (const fanfare::MessagePtr& message : handled_) f(*message);
    const std::size_t count = handled_.size();
    handled_.clear();
    return count;
  }

 private:
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  std::vector<fanfare::MessagePtr> handled_;  // the second thread's
};

template <class Queue>
void post(benchmark::State& state) {
  static constexpr std::uint64_t most_under_way = 1024;
  Queue queue;
  std::uint64_t bytes = 0;  // the second thread's
  std::atomic<std::uint64_t> handled{0};
  work::Companion reader{[&] {
    const std::size_t count = queue.handle([&](const fanfare::Message& message) { bytes += message.data().size(); });
    if (count != 0) handled.fetch_add(count, std::memory_order_relaxed);
  }};
  const fanfare::MessageParts parts{work::channel, work::event, work::data};
  const Memory memory{fanfare::NewDelete{}};
  fanfare::errc error = fanfare::errc::ok;
  std::uint64_t posted = 0;
  std::uint64_t seen = 0;
  for (auto _ : state) {
    while (posted - seen >= most_under_way) {
      seen = handled.load(std::memory_order_relaxed);
      if (posted - seen >= most_under_way) std::this_thread::yield();
    }
    if (Block* const message = Block::make(parts, false, nullptr, memory, error, 1)) queue.push(*message);
    ++posted;
  }
  while (error == fanfare::errc::ok && handled.load(std::memory_order_relaxed) != posted) std::this_thread::yield();
  reader.stop();
  if (bytes != posted * work::data.size()) state.SkipWithError("messages were lost");
}

BENCHMARK(post<Mailbox>)->Name("post/fanfare")->UseRealTime();
BENCHMARK(post<MutexVector>)->Name("post/mutex")->UseRealTime();
BENCHMARK(post<AsioPost>)->Name("post/asio")->UseRealTime();

}  // namespace
