/// \file
/// A loop on a host's event loop.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/transport/loop.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <memory>
#include <system_error>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// Runs a loop on an executor that runs one thing at a time: a strand, or a context that one thread runs.
///
/// Asio waits for the loop's one descriptor and for the time when it is due; there is no Asio object per connection.
///
/// \ownership  handlers that are under way keep it, and it keeps the loop.
/// Thread safety: everything on the executor, or while nobody runs it.
class AsioHost : public std::enable_shared_from_this<AsioHost> {
 public:
  /// \param executor   what it runs on belongs to one thread at a time.
  AsioHost(asio::any_io_executor executor, std::shared_ptr<Loop> loop)
      : executor_(std::move(executor)), loop_(std::move(loop)), set_(executor_), timer_(executor_) {}
  ~AsioHost() {
    if (set_.is_open()) set_.release();
  }

  /// Lets the loop run from now on. \throws `std::system_error`.
  void begin() {
    set_.assign(loop_->descriptor());
    turn_later();
  }

  /// Ends the loop at once.
  void end() noexcept {
    loop_->end();
    let_go();
  }

 private:
  void turn_later() {
    asio::post(executor_, [self = shared_from_this()] { self->turn(); });
  }

  void turn() {
    const bool again = loop_->turn();
    if (loop_->ended()) return let_go();
    if (again) return turn_later();
    if (!std::exchange(waits_, true)) {
      set_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](std::error_code error) {
        self->waits_ = false;
        if (!error) self->turn();
      });
    }
    const std::chrono::milliseconds due = loop_->due();
    if (std::exchange(due_, due) == due) return;
    timer_.expires_at(std::chrono::steady_clock::time_point(due));  // calls off what waits for another time
    timer_.async_wait([self = shared_from_this()](std::error_code error) {
      if (error) return;
      self->due_ = Loop::never;
      self->turn();
    });
  }

  /// The descriptor is the loop's, and is not closed here.
  void let_go() noexcept {
    if (set_.is_open()) set_.release();
    timer_.cancel();
  }

  asio::any_io_executor executor_;
  std::shared_ptr<Loop> loop_;
  asio::posix::stream_descriptor set_;
  asio::steady_timer timer_;
  std::chrono::milliseconds due_ = Loop::never;  // what the timer waits for
  bool waits_ = false;
};

}  // namespace transport
FANFARE_NAMESPACE_END
