/// \file
/// What a connection that lags has still to be sent.
#pragma once

#include <fanfare/core/turn_log.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// A queue of parts of logs. Parts that are large in their log refer to it, so that a thousand connections that lag
/// behind one burst share its bytes; smaller ones are copied, so that a few bytes never keep a large log alive: the logs
/// that are kept hold at most twice `bytes()`, summed over all connections of a loop.
///
/// Thread safety: that of its loop.
class Backlog {
 public:
  /// \throws `std::bad_alloc`: an empty queue has memory already.
  explicit Backlog(LogPool& pool) : pool_(&pool) {}
  Backlog(const Backlog&) = delete;
  Backlog& operator=(const Backlog&) = delete;

  /// Adds the part of a log from `begin` on. \pre a frame begins there, unless the backlog is empty.
  /// \throws `std::bad_alloc`; nothing is changed then.
  void append(const LogPtr& log, std::size_t begin) {
    const std::size_t end = log->bytes().size();
    if (begin == end) return;
    const bool started = log->rest_of_frame(begin) != begin;
    FANFARE_ASSERT(!started || parts_.empty(), "only the first part can be sent in part");
    if ((end - begin) * 2 < end) {
      return copy(end - begin, started, [&](TurnLog& to) { add_frames(to, *log, begin, end); });
    }
    parts_.push_back({log, begin, end, false, false});
    bytes_ += end - begin;
  }

  /// Adds frames that are in no log.
  /// \param ends   where each of them ends, in order. \pre the last is that of `frames`.
  /// \param sent   how much of them is on the wire already. \pre 0 unless the backlog is empty.
  /// \throws       `std::bad_alloc`; nothing is changed then.
  void append(std::string_view frames, std::span<const std::size_t> ends, std::size_t sent = 0) {
    if (sent == frames.size()) return;
    FANFARE_ASSERT(!ends.empty() && ends.back() == frames.size(), "frames without an end");
    FANFARE_ASSERT(sent == 0 || parts_.empty(), "only the first part can be sent in part");
    const bool started = sent != 0 && !std::binary_search(ends.begin(), ends.end(), sent);
    copy(frames.size() - sent, started, [&](TurnLog& to) {
      std::size_t begin = sent;
      for (const std::size_t end : ends) {
        if (end <= begin) continue;
        to.append(frames.substr(begin, end - begin), 0);
        begin = end;
      }
    });
  }
  /// Adds one frame likewise.
  void append(std::string_view frame, std::size_t sent = 0) {
    const std::size_t end = frame.size();
    append(frame, {&end, 1}, sent);
  }

  /// What to send next. Empty if there is nothing.
  [[nodiscard]] std::string_view front() const noexcept {
    if (parts_.empty()) return {};
    const Part& part = parts_.front();
    return part.log->bytes().substr(part.begin, part.end - part.begin);
  }

  /// So much of `front()` has been sent. \pre no more than there is.
  void consume(std::size_t bytes) noexcept {
    FANFARE_ASSERT(bytes <= front().size(), "more was sent than there was");
    if (bytes == 0) return;
    Part& part = parts_.front();
    part.begin += bytes;
    bytes_ -= bytes;
    if (part.begin == part.end) {
      parts_.pop_front();
    } else {
      shrink(part);
    }
  }

  /// Drops everything but the rest of a frame of which the beginning is on the wire.
  void keep_started_frame() noexcept {
    if (parts_.empty()) return;
    Part& part = parts_.front();
    part.end = rest_of_frame(part);
    part.own = false;  // there is more in the log than belongs to it
    bytes_ = part.end - part.begin;
    parts_.erase(parts_.begin() + (bytes_ == 0 ? 0 : 1), parts_.end());
    if (bytes_ != 0) shrink(part);
  }

  /// How many bytes wait.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] bool empty() const noexcept { return bytes_ == 0; }

 private:
  /// Never empty.
  struct Part {
    LogPtr log;
    std::size_t begin;
    std::size_t end;
    bool own;      ///< nobody else refers to the log, which may grow
    bool started;  ///< the log begins inside of a frame, whose beginning is on the wire
  };

  [[nodiscard]] static std::size_t rest_of_frame(const Part& part) noexcept {
    if (part.begin == 0 && part.started) return part.log->frames().front().end;
    return part.log->rest_of_frame(part.begin);
  }

  /// Copies what is between two places, and where its frames end.
  static void add_frames(TurnLog& to, const TurnLog& from, std::size_t begin, std::size_t end) {
    for (const LogFrame& frame : from.frames()) {
      if (frame.end <= begin) continue;
      if (begin == end) return;
      to.append(from.bytes().substr(begin, frame.end - begin), 0);
      begin = frame.end;
    }
  }

  /// Lets `f` append to a log of this connection alone at the end of the queue.
  template <class F>
  void copy(std::size_t bytes, bool started, F f) {
    constexpr std::size_t grow_to = 64 * 1024;
    if (parts_.empty() || !parts_.back().own || parts_.back().log->bytes().size() >= grow_to) {
      Part part{pool_->take_small(bytes), 0, bytes, true, started};
      f(*part.log);
      parts_.push_back(std::move(part));
    } else {
      Part& part = parts_.back();
      part.own = false;  // for good if memory ends in the middle: what is behind `end` by then is no frame of ours
      f(*part.log);
      part.own = true;
      part.end += bytes;
    }
    bytes_ += bytes;
  }

  /// Copies what is left of a part that has become small in its log.
  void shrink(Part& part) noexcept {
    const std::size_t bytes = part.end - part.begin;
    if (bytes * 2 >= part.log->bytes().size()) return;
#if FANFARE_EXCEPTIONS
    try {
      replace(part, bytes);
    } catch (...) {
      return;  // without memory for a copy the log is kept
    }
#else
    replace(part, bytes);
#endif
  }

  void replace(Part& part, std::size_t bytes) {
    Part copy{pool_->take_small(bytes), 0, bytes, true, rest_of_frame(part) != part.begin};
    add_frames(*copy.log, *part.log, part.begin, part.end);
    part = std::move(copy);
  }

  LogPool* pool_;
  std::deque<Part> parts_;
  std::size_t bytes_ = 0;
};

FANFARE_NAMESPACE_END
