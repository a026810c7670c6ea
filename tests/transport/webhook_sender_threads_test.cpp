#include <fanfare/transport/webhook_sender.hpp>

#include <fanfare/app.hpp>
#include <fanfare/pusher/webhooks.hpp>

#include <asio/buffer.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/strand.hpp>
#include <asio/write.hpp>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using asio::ip::tcp;

/// A target that says yes to everything that ends like a webhook, on a strand of its own.
class Target {
 public:
  explicit Target(asio::io_context& context)
      : acceptor_(asio::make_strand(context), {asio::ip::address_v4::loopback(), 0}),
        url("http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()) + "/") {
    accept();
  }

 private:
  struct Visitor {
    explicit Visitor(tcp::socket socket_) : socket(std::move(socket_)) {}
    tcp::socket socket;
    std::array<char, 4096> buffer{};
    std::string input;
  };

  void accept() {
    acceptor_.async_accept(acceptor_.get_executor(), [this](std::error_code error, tcp::socket socket) {
      if (error) return;
      read(std::make_shared<Visitor>(std::move(socket)));
      accept();
    });
  }
  static void read(const std::shared_ptr<Visitor>& visitor) {
    visitor->socket.async_read_some(asio::buffer(visitor->buffer), [visitor](std::error_code error, std::size_t size) {
      if (error) return;
      visitor->input.append(visitor->buffer.data(), size);
      if (!visitor->input.ends_with("}]}")) return read(visitor);
      visitor->input.clear();
      constexpr std::string_view yes = "HTTP/1.1 204 X\r\n\r\n";
      asio::async_write(visitor->socket, asio::buffer(yes), [visitor](std::error_code failed, std::size_t) {
        if (!failed) read(visitor);
      });
    });
  }

  tcp::acceptor acceptor_;

 public:
  const std::string url;
};

/// Two threads that run a context while it lasts.
class Threads {
 public:
  Threads() : work_(context.get_executor()) {
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { context.run(); });
  }
  ~Threads() { stop(); }
  void stop() {
    work_.reset();
    context.stop();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  asio::io_context context;

 private:
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
};

bool until(const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

pusher::WebhookOptions to(const std::string& url) {
  pusher::WebhookOptions options;
  options.targets = {{.url = url}};
  options.allow_private_targets = true;
  options.batch_delay = 1ms;
  return options;
}

TEST(WebhookSenderThreads, takes_events_and_applications_from_all) {
  Threads threads;
  Target target(threads.context);
  transport::WebhookSender sender(threads.context.get_executor());
  constexpr std::size_t each = 500;
  std::vector<std::thread> posters;
  for (int i = 0; i < 2; ++i) {
    posters.emplace_back([&, i] {
      const App app({.id = "1", .key = "key", .secret = "secret"});
      const auto added = sender.add_app(app, to(target.url));
      ASSERT_TRUE(added);
      for (std::size_t j = 0; j < each; ++j) {
        sender.post(added.index, {.kind = AppEvent::Kind::cache_miss, .channel = std::to_string(10 * i) + "-cache"});
        (void)sender.counters(added.index);
      }
    });
  }
  for (std::thread& poster : posters) poster.join();
  EXPECT_TRUE(until([&] { return sender.counters(0).delivered == each && sender.counters(1).delivered == each; }));
  EXPECT_EQ(sender.counters(0).failed + sender.counters(1).failed, 0U);
  threads.stop();
}

TEST(WebhookSenderThreads, may_end_while_it_sends) {
  for (int round = 0; round < 20; ++round) {
    Threads threads;
    Target target(threads.context);
    std::optional<transport::WebhookSender> sender(threads.context.get_executor());
    const App app({.id = "1", .key = "key", .secret = "secret"});
    ASSERT_TRUE(sender->add_app(app, to(target.url)));
    for (int i = 0; i < 20; ++i) {
      sender->post(0, {.kind = AppEvent::Kind::cache_miss, .channel = "cache-" + std::to_string(i)});
    }
    if (round % 2 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(round / 2));
    sender.reset();
    threads.stop();
  }
}

}  // namespace
