// What tests with threads meet through: gates, counts and a common start. No test waits for time to pass.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace fanfare::test {

/// Opens once and stays open.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }
  [[nodiscard]] bool is_open() {
    const std::lock_guard lock(mutex_);
    return open_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

/// Counts those who arrive, and lets others wait for a number of them.
class Arrivals {
 public:
  void arrive() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t count_ = 0;
};

/// Threads that go through it again and again, each time all together.
class Rendezvous {
 public:
  explicit Rendezvous(std::size_t threads) : threads_(threads) {}

  void meet() {
    std::unique_lock lock(mutex_);
    const std::uint64_t round = round_;
    if (++here_ == threads_) {
      here_ = 0;
      ++round_;
      changed_.notify_all();
      return;
    }
    changed_.wait(lock, [&] { return round_ != round; });
  }

 private:
  const std::size_t threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t here_ = 0;
  std::uint64_t round_ = 0;
};

/// A thread that is joined.
class Thread {
 public:
  Thread() = default;
  template <class F>
  explicit Thread(F f) : thread_(std::move(f)) {}
  Thread(Thread&&) = default;
  Thread& operator=(Thread&& other) {
    join();
    thread_ = std::move(other.thread_);
    return *this;
  }
  ~Thread() { join(); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

/// Runs `f(0)` to `f(threads - 1)`, each on a thread of its own, from one moment on. Returns when all have ended.
template <class F>
void run_together(std::size_t threads, F f) {
  Rendezvous start(threads);
  std::vector<Thread> running;
  for (std::size_t i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      start.meet();
      f(i);
    });
  }
}

/// Runs `programs` side by side, all from one moment on, `rounds` times; `before(round)` and `after(round)` run alone.
template <class Before, class After, class... Programs>
void run_rounds(std::size_t rounds, Before before, After after, Programs... programs) {
  Rendezvous meeting(sizeof...(programs) + 1);
  const auto repeat = [&](auto& program) {
    for (std::size_t round = 0; round < rounds; ++round) {
      meeting.meet();
      program(round);
      meeting.meet();
    }
  };
  std::vector<Thread> running;
  (running.emplace_back([&] { repeat(programs); }), ...);
  for (std::size_t round = 0; round < rounds; ++round) {
    before(round);
    meeting.meet();
    meeting.meet();
    after(round);
  }
}

/// How often a test repeats what a race has to be tried many times for: less where every step is watched.
[[nodiscard]] constexpr std::size_t repetitions(std::size_t plain) noexcept {
#if defined(__SANITIZE_THREAD__)
  return plain / 4;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  return plain / 4;
#else
  return plain;
#endif
#else
  return plain;
#endif
}

}  // namespace fanfare::test
