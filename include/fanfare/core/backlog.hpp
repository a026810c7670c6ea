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
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

  /// Adds frames that are in no log. They are the protocol's own: none of them is ever dropped.
  /// \param ends   where each of them ends, in order. \pre the last is that of `frames`.
  /// \param sent   how much of them is on the wire already. \pre 0 unless the backlog is empty.
  /// \throws       `std::bad_alloc`; nothing is changed then.
  void append(std::string_view frames, std::span<const std::size_t> ends, std::size_t sent = 0) {
    add(frames, ends, sent, [](std::size_t end) { return LogFrame{.end = end}; });
  }
  /// Adds frames that are in no log likewise.
  /// \param index   of each of them: where it ends, and whose it is.
  void append(std::string_view frames, std::span<const LogFrame> index, std::size_t sent = 0) {
    add(frames, index, sent, [](const LogFrame& frame) { return frame; });
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

  /// What becomes of a frame.
  enum class Fate : std::uint8_t { keep, drop, stop };

  /// Drops frames of one channel. Those of which a byte is on the wire, and those of others, stay, and all keep their order.
  /// \param f   called as `f(const LogFrame* about, std::string_view frame, std::string& gap)` with each frame of the
  ///            channel, oldest first; `stop`: this one and all behind it stay. At the end, unless it was stopped, it is
  ///            called with null. Where it sets `gap`, that is put before the frame, or at the end, as one of the
  ///            channel's that stands for others.
  /// \throws    `std::bad_alloc`, and what `f` throws: some are dropped then, and some are not.
  /// \complexity O(frames that wait, up to the one that stops it + bytes of the logs in the middle of which it drops).
  template <class F>
  void sift(std::uint64_t channel, F&& f) {
    std::vector<Change> changes;
    std::string gap;
    for (std::size_t i = 0; i < parts_.size();) {
      const TurnLog& log = *parts_[i].log;
      const std::size_t end = parts_[i].end;
      std::size_t begin = rest_of_frame(parts_[i]);
      bool stopped = false;
      changes.clear();
      for (std::size_t at = log.frame_at(begin); begin != end && !stopped; ++at) {
        const LogFrame& frame = log.frames()[at];
        if (frame.channel == channel) {
          gap.clear();
          const Fate fate = f(&frame, log.frame(at), gap);
          if (fate == Fate::drop || !gap.empty()) changes.push_back({at, fate == Fate::drop, gap});
          stopped = fate == Fate::stop;
        }
        begin = frame.end;
      }
      i = changes.empty() ? i + 1 : change(i, channel, changes);
      if (stopped) return;
    }
    gap.clear();
    f(nullptr, std::string_view{}, gap);
    add_gap(channel, gap);
  }

  /// Takes out the last frame of a channel, if that stands for others and no byte of it is on the wire.
  /// \returns   the frame; empty if it is not so. \throws `std::bad_alloc`; nothing is changed then.
  /// \complexity O(frames behind it + bytes of the log that it is in the middle of).
  [[nodiscard]] std::string take_last_gap(std::uint64_t channel) {
    for (std::size_t i = parts_.size(); i-- != 0;) {
      const TurnLog& log = *parts_[i].log;
      const std::size_t begin = rest_of_frame(parts_[i]);
      std::size_t at = log.frame_at(parts_[i].end);
      for (const std::size_t first = log.frame_at(begin); at-- > first;) {
        if (log.frames()[at].channel != channel) continue;
        if (!log.frames()[at].gap) return {};
        std::string gap(log.frame(at));
        const Change out{at, true, {}};
        change(i, channel, {&out, 1});
        return gap;
      }
    }
    return {};
  }
  /// Adds a frame that stands for others of a channel. \throws `std::bad_alloc`; nothing is changed then.
  void add_gap(std::uint64_t channel, std::string_view gap) {
    const LogFrame about{.end = gap.size(), .gap = true, .channel = channel};
    append(gap, std::span<const LogFrame>{&about, 1});
  }

  /// How many bytes wait.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  /// Whether nothing waits.
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

  /// What `sift` has found to do at one frame of a part.
  struct Change {
    std::size_t frame;  // in the log
    bool drop;
    std::string gap;  // what comes before it
  };

  template <class Ends, class F>
  void add(std::string_view frames, const Ends& ends, std::size_t sent, F about) {
    if (sent == frames.size()) return;
    FANFARE_ASSERT(!ends.empty() && about(ends.back()).end == frames.size(), "frames without an end");
    FANFARE_ASSERT(sent == 0 || parts_.empty(), "only the first part can be sent in part");
    const auto ends_there = [&](const auto& end) { return about(end).end == sent; };
    const bool started = sent != 0 && std::none_of(ends.begin(), ends.end(), ends_there);
    copy(frames.size() - sent, started, [&](TurnLog& to) {
      std::size_t begin = sent;
      for (const auto& each : ends) {
        const LogFrame frame = about(each);
        if (frame.end <= begin) continue;
        to.append(frames.substr(begin, frame.end - begin), frame);
        begin = frame.end;
      }
    });
  }

  /// Carries out the changes of a part. \returns the number of the part behind it.
  /// \throws `std::bad_alloc`; nothing is changed then.
  std::size_t change(std::size_t i, std::uint64_t channel, std::span<const Change> changes) {
    if (const std::size_t rest = rest_of_frame(parts_[i]); rest != parts_[i].begin) {
      split_started(rest);  // it is the first one
      ++i;
    }
    const TurnLog& log = *parts_[i].log;
    // Where all that goes is at the beginning, what stays need not be copied.
    const std::size_t first = log.frame_at(parts_[i].begin);
    const auto is_next = [&](std::size_t n) { return n < changes.size() && changes[n].frame == first + n; };
    std::size_t count = 0;
    while (is_next(count) && changes[count].drop && changes[count].gap.empty()) ++count;
    const bool only_front =
        count == changes.size() || (count + 1 == changes.size() && is_next(count) && !changes[count].drop);
    if (!only_front) {
      rewrite(parts_[i], channel, changes);
      return i + 1;
    }
    if (count != changes.size()) {
      const std::string& gap = changes[count].gap;
      Part before{pool_->take_small(gap.size()), 0, gap.size(), true, false};
      before.log->append(gap, LogFrame{.end = 0, .gap = true, .channel = channel});
      parts_.insert(parts_.begin() + static_cast<std::ptrdiff_t>(i), std::move(before));
      bytes_ += gap.size();
      ++i;
    }
    if (count == 0) return i + 1;
    Part& part = parts_[i];
    const std::size_t begin = part.log->frames()[first + count - 1].end;
    bytes_ -= begin - part.begin;
    part.begin = begin;
    if (part.begin == part.end) {
      parts_.erase(parts_.begin() + static_cast<std::ptrdiff_t>(i));
      return i;
    }
    shrink(part);
    return i + 1;
  }

  /// Gives the rest of the frame that is on the wire in part a part of its own.
  void split_started(std::size_t rest) {
    const Part& from = parts_.front();
    const std::size_t bytes = rest - from.begin;
    Part part{pool_->take_small(bytes), 0, bytes, true, true};
    add_frames(*part.log, *from.log, from.begin, rest);
    parts_.push_front(std::move(part));
    parts_[1].begin = rest;
  }

  void rewrite(Part& part, std::uint64_t channel, std::span<const Change> changes) {
    std::size_t bytes = part.end - part.begin;
    for (const Change& change : changes) {
      bytes += change.gap.size();
      if (change.drop) bytes -= part.log->frame(change.frame).size();
    }
    Part copy{pool_->take_small(bytes), 0, bytes, true, false};
    std::size_t begin = part.begin;
    for (const Change& change : changes) {
      const LogFrame& frame = part.log->frames()[change.frame];
      const std::size_t end = frame.end - part.log->frame(change.frame).size();
      add_frames(*copy.log, *part.log, begin, end);
      begin = change.drop ? frame.end : end;
      if (!change.gap.empty()) copy.log->append(change.gap, LogFrame{.end = 0, .gap = true, .channel = channel});
    }
    add_frames(*copy.log, *part.log, begin, part.end);
    bytes_ -= part.end - part.begin;
    bytes_ += bytes;
    part = std::move(copy);
  }

  [[nodiscard]] static std::size_t rest_of_frame(const Part& part) noexcept {
    if (part.begin == 0 && part.started) return part.log->frames().front().end;
    return part.log->rest_of_frame(part.begin);
  }

  /// Copies what is between two places, and where its frames end.
  static void add_frames(TurnLog& to, const TurnLog& from, std::size_t begin, std::size_t end) {
    for (std::size_t at = from.frame_at(begin); begin < end; ++at) {
      const LogFrame& frame = from.frames()[at];
      to.append(from.bytes().substr(begin, frame.end - begin), frame);
      begin = frame.end;
    }
  }

  /// Lets `f` append to a log of this connection alone at the end of the queue.
  template <class F>
  void copy(std::size_t bytes, bool started, F f) {
    constexpr std::size_t grow_to = std::size_t{64} * 1024;
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
