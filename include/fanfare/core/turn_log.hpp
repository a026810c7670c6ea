/// \file
/// Frames ready for the wire, one behind the other: what one turn of a loop sends to the subscribers of a channel.
#pragma once

#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN

/// One frame of a log.
struct LogFrame {
  static constexpr std::uint32_t nobody = 0xffffffffU;
  static constexpr std::uint64_t no_channel = 0xffffffffffffffffU;

  std::size_t end;                     ///< Where it ends; it begins where the one before it ends.
  std::uint64_t sequence = 0;          ///< Its place among all events of the loop.
  std::uint32_t except = nobody;       ///< The number of the connection that must not get it.
  bool gap = false;                    ///< Whether it stands for events of its channel that were dropped.
  bool protocol = false;               ///< Whether it is the protocol's own, and no event of its channel.
  std::uint64_t channel = no_channel;  ///< Whose it is, if it may be dropped from a backlog.
};
static_assert(sizeof(LogFrame) <= 32, "there is one for each event of a turn");

/// Frames in a row, with an index of where each ends. Written during a turn; connections that lag then refer to it.
///
/// Thread safety: that of its loop, its count included.
class TurnLog {
 public:
  TurnLog() = default;
  TurnLog(const TurnLog&) = delete;
  TurnLog& operator=(const TurnLog&) = delete;

  /// Adds a frame. \throws `std::bad_alloc`; nothing is changed then.
  void append(std::string_view frame, std::uint64_t sequence, std::uint32_t except = LogFrame::nobody,
              std::uint64_t channel = LogFrame::no_channel) {
    append(frame, LogFrame{.end = 0, .sequence = sequence, .except = except, .channel = channel});
  }
  /// \param about   of which the end does not count.
  void append(std::string_view frame, LogFrame about) {
    about.end = bytes_.size() + frame.size();
    // The index first: a frame without its entry could never be taken back.
    frames_.push_back(about);
#if FANFARE_EXCEPTIONS
    try {
      bytes_.append(frame);
    } catch (...) {
      frames_.pop_back();
      throw;
    }
#else
    bytes_.append(frame);
#endif
  }

  /// All frames, one after another, as they go to a subscriber that takes every one.
  [[nodiscard]] std::string_view bytes() const noexcept { return bytes_; }
  /// One entry for each frame, in the order of the triggers.
  [[nodiscard]] const std::vector<LogFrame>& frames() const noexcept { return frames_; }
  /// Whether there is no frame.
  [[nodiscard]] bool empty() const noexcept { return frames_.empty(); }
  /// The bytes of one frame. \pre `i` is less than the number of frames.
  [[nodiscard]] std::string_view frame(std::size_t i) const noexcept {
    const std::size_t begin = i == 0 ? 0 : frames_[i - 1].end;
    return std::string_view(bytes_).substr(begin, frames_[i].end - begin);
  }

  /// The index of the frame that the byte at `offset` belongs to; how many there are if the log ends there.
  /// \complexity O(log frames).
  [[nodiscard]] std::size_t frame_at(std::size_t offset) const noexcept {
    const auto found = std::upper_bound(frames_.begin(), frames_.end(), offset,
                                        [](std::size_t at, const LogFrame& frame) { return at < frame.end; });
    return static_cast<std::size_t>(found - frames_.begin());
  }

  /// Where the frame ends that the byte at `offset` is inside of; `offset` itself if a frame begins or the log ends there.
  /// \complexity O(log frames).
  [[nodiscard]] std::size_t rest_of_frame(std::size_t offset) const noexcept {
    if (offset == 0) return 0;
    const auto found = std::lower_bound(frames_.begin(), frames_.end(), offset,
                                        [](const LogFrame& frame, std::size_t at) { return frame.end < at; });
    return found == frames_.end() ? offset : found->end;
  }

  /// Empties it for another use, keeping so many bytes of memory at most for the frames, and for the index.
  void clear(std::size_t keep_bytes) noexcept {
    frames_.clear();
    bytes_.clear();
    if (bytes_.capacity() > keep_bytes) std::string().swap(bytes_);
    if (frames_.capacity() * sizeof(LogFrame) > keep_bytes) std::vector<LogFrame>().swap(frames_);
  }

 private:
  friend class LogPool;
  friend class LogPtr;

  std::string bytes_;
  std::vector<LogFrame> frames_;
  std::size_t references_ = 0;
  TurnLog* next_free_ = nullptr;
};

class LogPtr;

/// The logs of one loop: those that nobody refers to wait here for the next use.
///
/// \ownership must outlive every `LogPtr` that it gave out.
class LogPool {
 public:
  /// \param keep         so many unused logs stay.
  /// \param keep_bytes   with so much memory at most; see `TurnLog::clear`.
  explicit LogPool(std::size_t keep = 64, std::size_t keep_bytes = std::size_t{64} * 1024) noexcept
      : keep_(keep), keep_bytes_(keep_bytes) {}
  LogPool(const LogPool&) = delete;
  LogPool& operator=(const LogPool&) = delete;
  ~LogPool() {
    FANFARE_ASSERT(used_ == 0, "a log outlives its pool");
    while (free_ != nullptr) delete pop();
  }

  /// An empty log. \throws `std::bad_alloc`.
  [[nodiscard]] LogPtr take();
  /// An empty log that may be held for long: it has no more memory than for so many bytes. \throws likewise.
  [[nodiscard]] LogPtr take_small(std::size_t bytes);

  /// How many logs somebody refers to.
  [[nodiscard]] std::size_t used() const noexcept { return used_; }

 private:
  friend class LogPtr;

  TurnLog* pop() noexcept {
    TurnLog* const log = free_;
    free_ = log->next_free_;
    --kept_;
    return log;
  }
  void give_back(TurnLog* log) noexcept {
    --used_;
    if (kept_ == keep_) {
      delete log;
      return;
    }
    log->clear(keep_bytes_);
    log->next_free_ = free_;
    free_ = log;
    ++kept_;
  }

  const std::size_t keep_;
  const std::size_t keep_bytes_;
  TurnLog* free_ = nullptr;
  std::size_t kept_ = 0;
  std::size_t used_ = 0;
};

/// Shares a log within its loop.
class LogPtr {
 public:
  LogPtr() = default;
  LogPtr(const LogPtr& other) noexcept : log_(other.log_), pool_(other.pool_) {
    if (log_ != nullptr) ++log_->references_;
  }
  LogPtr(LogPtr&& other) noexcept : log_(other.log_), pool_(other.pool_) { other.log_ = nullptr; }
  /// Copies or moves, as its argument was made.
  LogPtr& operator=(LogPtr other) noexcept {
    std::swap(log_, other.log_);
    std::swap(pool_, other.pool_);
    return *this;
  }
  ~LogPtr() {
    if (log_ != nullptr && --log_->references_ == 0) pool_->give_back(log_);
  }

  /// The log; null if it holds none.
  [[nodiscard]] TurnLog* get() const noexcept { return log_; }
  /// The log. \pre it holds one.
  TurnLog& operator*() const noexcept { return *log_; }
  /// The log. \pre it holds one.
  TurnLog* operator->() const noexcept { return log_; }
  /// Whether it holds a log.
  explicit operator bool() const noexcept { return log_ != nullptr; }

 private:
  friend class LogPool;
  LogPtr(TurnLog& log, LogPool& pool) noexcept : log_(&log), pool_(&pool) { ++log.references_; }

  TurnLog* log_ = nullptr;
  LogPool* pool_ = nullptr;
};

inline LogPtr LogPool::take() {
  TurnLog* const log = free_ != nullptr ? pop() : new TurnLog;
  ++used_;
  return LogPtr{*log, *this};
}

inline LogPtr LogPool::take_small(std::size_t bytes) {
  LogPtr log{*new TurnLog, *this};
  ++used_;
  log->bytes_.reserve(bytes);
  return log;
}

FANFARE_NAMESPACE_END
