#include <fanfare/server.hpp>

#include "support/io_uring.hpp"
#include "support/socket_client.hpp"
#include "support/tls_client.hpp"
#include "support/websocket.hpp"

#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/transport/loop.hpp>
#include <fanfare/transport/send_ring.hpp>

#include <gtest/gtest.h>

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

// Servers that send with io_uring, and clients that compare each byte with what they are owed.
namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using fanfare::test::SocketClient;
using fanfare::test::TcpPair;
using fanfare::test::text_frame;
using transport::Loop;
using transport::LoopGroup;
using transport::SendRing;
using transport::SocketIo;

constexpr std::chrono::seconds patience = SocketClient::patience;

bool have_ring() { return SendRing::built && fanfare::test::kernel_has_io_uring(); }

std::string frame_of(std::string_view channel, std::string_view data) {
  std::string text = R"({"event":"e","channel":")";
  text.append(channel).append(R"(","data":")").append(data).append(R"("})");
  std::string frame;
  websocket::append_frame(frame, websocket::Opcode::text, text);
  return frame;
}

// What a client is owed, as it grows.
struct Stream {
  std::string bytes;
  std::vector<std::size_t> begins;  // of the events

  void add(std::string_view frame) {
    begins.push_back(bytes.size());
    bytes.append(frame);
  }
};

struct Shape {
  int receive_buffer = 0;
  int segment = 0;  // the largest; a small one makes the server's buffer small, too
};
constexpr Shape slow_shape{.receive_buffer = 8192, .segment = 1000};

// A client that does not wait once it is in its channels.
class RingClient {
 public:
  explicit RingClient(int descriptor, std::function<void()> idle = {})
      : idle_(std::move(idle)), descriptor_(descriptor) {}
  explicit RingClient(const std::string& endpoint, Shape shape = {}, std::function<void()> idle = {})
      : idle_(std::move(idle)), descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (shape.receive_buffer != 0) set(SOL_SOCKET, SO_RCVBUF, shape.receive_buffer);
    if (shape.segment != 0) set(IPPROTO_TCP, TCP_MAXSEG, shape.segment);
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoul(endpoint.substr(endpoint.rfind(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("connect");
    }
  }
  RingClient(const RingClient&) = delete;
  RingClient& operator=(const RingClient&) = delete;
  ~RingClient() { close(); }

  // Until there is such a text in what has come.
  bool receive(std::string_view text) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (input_.find(text) == std::string::npos) {
      if (!read() || std::chrono::steady_clock::now() > until) return input_.find(text) != std::string::npos;
      if (input_.find(text) == std::string::npos) wait();
    }
    return true;
  }
  // Whether it is let in.
  bool establish() {
    send(SocketClient::upgrade_request("/app/key?protocol=7"));
    if (!receive("\r\n\r\n") || !receive("connection_established")) return false;
    constexpr std::string_view key = R"(socket_id\":\")";
    if (!receive(key)) return false;
    const std::size_t begin = input_.find(key) + key.size();
    receive("}");
    id = input_.substr(begin, input_.find('\\', begin) - begin);
    input_.erase(0, input_.find("}\"}", begin) + 3);
    return true;
  }
  void ask_for(std::string_view channel) {
    send(text_frame(std::string(R"({"event":"pusher:subscribe","data":{"channel":")").append(channel).append("\"}}")));
  }
  // What has come before it is told so, is dropped.
  bool subscribed(std::string_view channel) {
    const std::string told = frame_of_success(channel);
    if (!receive(told)) return false;
    input_.erase(0, input_.find(told) + told.size());
    return true;
  }
  bool subscribe(std::string_view channel) {
    ask_for(channel);
    return subscribed(channel);
  }

  // Reads what there is, at most about so much. False at the end.
  bool read(std::size_t most = std::size_t{1} << 20U) {
    static std::vector<char> part(1U << 18U);
    while (most != 0) {
      const ssize_t count = ::recv(descriptor_, part.data(), std::min(part.size(), most), MSG_DONTWAIT);
      if (count < 0 && (errno == EAGAIN || errno == EINTR)) return true;
      if (count <= 0) return false;
      input_.append(part.data(), static_cast<std::size_t>(count));
      most -= static_cast<std::size_t>(count);
    }
    return true;
  }
  // Takes what it has read, which is to go on where the stream was left. False where it does not.
  bool follows(const Stream& stream) {
    const std::size_t size = input_.size();
    if (size > stream.bytes.size() - at) return false;
    const bool same = stream.bytes.compare(at, size, input_) == 0;
    at += size;
    input_.clear();
    return same;
  }
  // The same for one that came in the middle: the first whole frame tells where.
  bool follows_from(const Stream& stream, std::size_t first) {
    if (!found_) {
      if (input_.size() < 2) return true;
      for (std::size_t i = first; i < stream.begins.size() && !found_; ++i) {
        const std::size_t size = std::min(input_.size(), stream.bytes.size() - stream.begins[i]);
        if (size < 80) return true;  // perhaps not a whole number yet
        if (stream.bytes.compare(stream.begins[i], size, input_, 0, size) != 0) continue;
        found_ = true;
        at = stream.begins[i];
      }
      if (!found_) return input_.size() < 80;
    }
    return follows(stream);
  }

  const std::string& unread() const { return input_; }
  void send(std::string_view bytes) { ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  void close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }
  void shutdown_write() const { ::shutdown(descriptor_, SHUT_WR); }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  // Whether the server ends, after whatever it still sends.
  bool ends() {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (read()) {
      if (std::chrono::steady_clock::now() > until) return false;
      wait();
    }
    return true;
  }

  std::string id;
  std::size_t at = 0;  // so much of its stream has come

 private:
  static std::string frame_of_success(std::string_view channel) {
    std::string text = R"({"event":"pusher_internal:subscription_succeeded","channel":")";
    text.append(channel).append(R"(","data":"{}"})");
    std::string frame;
    websocket::append_frame(frame, websocket::Opcode::text, text);
    return frame;
  }
  void set(int level, int option, int value) { ::setsockopt(descriptor_, level, option, &value, sizeof value); }
  void wait() const {
    if (idle_ != nullptr) return idle_();
    pollfd wanted{descriptor_, POLLIN, 0};
    ::poll(&wanted, 1, 20);
  }
  std::function<void()> idle_;
  int descriptor_ = -1;
  std::string input_;
  bool found_ = false;
};
using Clients = std::vector<std::unique_ptr<RingClient>>;

class Ring : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_ring()) GTEST_SKIP() << "there is no io_uring";
    const ServerResult started = server.start();
    ASSERT_TRUE(started) << started.text();
  }
  std::unique_ptr<RingClient> client(std::initializer_list<const char*> channels, Shape shape = {}) {
    auto made = std::make_unique<RingClient>(server.endpoints().front(), shape);
    EXPECT_TRUE(made->establish());
    EXPECT_TRUE(server.uses_io_uring());
    for (const char* const channel : channels) EXPECT_TRUE(made->subscribe(channel));
    return made;
  }
  // Until everybody has all of it.
  static void read_all(const Clients& clients, const Stream& stream) {
    const auto until = std::chrono::steady_clock::now() + patience;
    for (const auto& one : clients) {
      while (one->at < stream.bytes.size()) {
        ASSERT_TRUE(one->read());
        ASSERT_TRUE(one->follows(stream));
        ASSERT_LT(std::chrono::steady_clock::now(), until) << one->at << " of " << stream.bytes.size();
      }
    }
  }

  Server server{{.listen = {"127.0.0.1:0"}, .threads = 1, .drain_timeout = 100ms, .io = SocketIo::uring}};
  App& app = server.add_app({.id = "1", .key = "key", .secret = "secret"});
};

// Two and a half million deliveries.
TEST_F(Ring, QuickAndSlowClientsReceiveEverythingInOrder) {
  constexpr std::size_t events = 9000;
  Clients quick;
  Clients slow;
  for (int i = 0; i < 260; ++i) quick.push_back(client({"x"}));
  for (int i = 0; i < 20; ++i) slow.push_back(client({"x"}, slow_shape));
  std::mt19937 random(1);
  Stream stream;
  std::size_t lag = 0;
  while (stream.begins.size() < events) {
    // Within the bound of what may wait for a client, which is a megabyte.
    std::size_t least = stream.bytes.size();
    for (const auto& one : slow) least = std::min(least, one->at);
    lag = std::max(lag, stream.bytes.size() - least);
    for (std::size_t burst = random() % 200; burst != 0 && stream.bytes.size() - least < 700'000; --burst) {
      const std::string data = std::to_string(stream.begins.size()) + std::string(random() % 100, '.');
      stream.add(frame_of("x", data));
      ASSERT_TRUE(app.trigger("x", "e", data));
    }
    for (const auto& one : quick) {
      ASSERT_TRUE(one->read());
      ASSERT_TRUE(one->follows(stream));
    }
    for (const auto& one : slow) {
      if (random() % 2 == 0) continue;
      ASSERT_TRUE(one->read(random() % 6000));
      ASSERT_TRUE(one->follows(stream));
    }
  }
  EXPECT_GT(lag, 500'000U);  // more than all buffers between hold
  read_all(quick, stream);
  read_all(slow, stream);
  EXPECT_TRUE(server.uses_io_uring());
  for (const auto& one : slow) EXPECT_EQ(one->unread(), "");
}

// So that places, numbers and descriptors are used again and again, while events go out.
TEST_F(Ring, ClientsComeAndGoInTheMiddleOfFloods) {
  constexpr std::size_t many = 80;
  struct Visitor {
    std::unique_ptr<RingClient> client;
    std::size_t first = 0;  // owed to it, at the latest from here on
    std::size_t last = 0;
    bool quick = true;
  };
  Stream stream;
  Clients steady;
  std::vector<Visitor> visitors(many);
  std::mt19937 random(2);
  for (int i = 0; i < 20; ++i) steady.push_back(client({"x"}));
  const auto publish = [&] {
    const std::string data = std::to_string(stream.begins.size()) + std::string(20 + random() % 60, '.');
    stream.add(frame_of("x", data));
    return static_cast<bool>(app.trigger("x", "e", data));
  };
  const auto come = [&](Visitor& visitor) {
    visitor.quick = random() % 4 != 0;
    visitor.client = std::make_unique<RingClient>(server.endpoints().front(), visitor.quick ? Shape{} : slow_shape);
    if (!visitor.client->establish()) return false;
    visitor.first = stream.begins.size();
    visitor.client->ask_for("x");
    for (std::size_t i = random() % 20; i != 0; --i) {
      if (!publish()) return false;
    }
    if (!visitor.client->subscribed("x")) return false;
    visitor.last = stream.begins.size();
    return true;
  };
  std::size_t gone = 0;
  for (int round = 0; round < 300; ++round) {
    for (Visitor& visitor : visitors) {
      if (visitor.client == nullptr) {
        if (random() % 8 != 0) continue;
        ASSERT_TRUE(come(visitor));
        continue;
      }
      if (visitor.quick) {
        ASSERT_TRUE(visitor.client->read());
        ASSERT_TRUE(visitor.client->follows_from(stream, visitor.first));
      }
      if (random() % 20 != 0) continue;
      ++gone;
      if (random() % 2 == 0) visitor.client->reset();
      visitor.client.reset();
    }
    for (std::size_t burst = 1 + random() % 60; burst != 0; --burst) ASSERT_TRUE(publish());
    for (const auto& one : steady) {
      ASSERT_TRUE(one->read());
      ASSERT_TRUE(one->follows(stream));
    }
  }
  EXPECT_GT(gone, 500U);
  read_all(steady, stream);
  ASSERT_TRUE(publish());
  read_all(steady, stream);
  for (const Visitor& visitor : visitors) {
    if (visitor.client == nullptr || !visitor.quick) continue;
    const auto until = std::chrono::steady_clock::now() + patience;
    while (visitor.client->at != stream.bytes.size()) {
      ASSERT_TRUE(visitor.client->read());
      ASSERT_TRUE(visitor.client->follows_from(stream, visitor.first));
      ASSERT_LT(std::chrono::steady_clock::now(), until);
    }
  }
  EXPECT_TRUE(server.uses_io_uring());
}

// Composed sends: each has its own stream.
TEST_F(Ring, ChannelsAreMergedAndSendersLeftOut) {
  constexpr std::size_t events = 6000;
  Clients clients;
  std::vector<Stream> streams(60);
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const Shape shape = i % 10 == 9 ? slow_shape : Shape{};
    clients.push_back(i % 3 == 0   ? client({"x", "y"}, shape)
                      : i % 3 == 1 ? client({"x"}, shape)
                                   : client({"y"}, shape));
  }
  std::mt19937 random(3);
  const auto waits = [&] {
    std::size_t most = 0;
    for (std::size_t i = 0; i < streams.size(); ++i) most = std::max(most, streams[i].bytes.size() - clients[i]->at);
    return most;
  };
  const auto read = [&](bool all) {
    for (std::size_t i = 0; i < streams.size(); ++i) {
      if (!all && i % 10 == 9 && random() % 3 != 0) continue;
      ASSERT_TRUE(clients[i]->read(!all && i % 10 == 9 ? random() % 8000 : 1U << 20U));
      ASSERT_TRUE(clients[i]->follows(streams[i])) << i;
    }
  };
  for (std::size_t event = 0; event < events;) {
    for (std::size_t burst = random() % 150; burst != 0 && waits() < 700'000; --burst, ++event) {
      const bool on_x = random() % 2 == 0;
      const std::size_t except = random() % 4 == 0 ? random() % streams.size() : streams.size();
      const std::string data = std::to_string(event) + std::string(random() % 100, '.');
      const std::string frame = frame_of(on_x ? "x" : "y", data);
      for (std::size_t i = 0; i < streams.size(); ++i) {
        if (i != except && (i % 3 == 0 || (i % 3 == 1) == on_x)) streams[i].add(frame);
      }
      ASSERT_TRUE(app.trigger(on_x ? "x" : "y", "e", data,
                              {.except_socket = except < streams.size() ? clients[except]->id : std::string()}));
    }
    read(false);
    if (HasFatalFailure()) return;
  }
  const auto until = std::chrono::steady_clock::now() + patience;
  while (waits() != 0 && std::chrono::steady_clock::now() < until && !HasFatalFailure()) read(true);
  EXPECT_EQ(waits(), 0U);
}

TEST_F(Ring, WhoLagsTooMuchIsToldAndNobodyElse) {
  Clients quick;
  for (int i = 0; i < 20; ++i) quick.push_back(client({"x"}));
  const auto stuck = client({"x"}, slow_shape);
  Stream stream;
  for (int i = 0; i < 300; ++i) {
    const std::string data = std::to_string(i) + std::string(9000, '.');
    stream.add(frame_of("x", data));
    ASSERT_TRUE(app.trigger("x", "e", data));
    if (i % 5 == 0) read_all(quick, stream);
  }
  read_all(quick, stream);
  // A beginning, of whole frames, and the close frame.
  std::string close;
  websocket::append_close(close, pusher::close_code::over_capacity, "The client reads too slowly");
  ASSERT_TRUE(stuck->receive(close));
  std::string_view came = stuck->unread();
  ASSERT_TRUE(came.ends_with(close));
  came.remove_suffix(close.size());
  EXPECT_LT(came.size(), stream.bytes.size());
  EXPECT_TRUE(std::string_view(stream.bytes).starts_with(came));
  EXPECT_NE(std::find(stream.begins.begin(), stream.begins.end(), came.size()), stream.begins.end());
}

TEST_F(Ring, ClientsSeeTheEndWhenTheServerStops) {
  Clients clients;
  for (int i = 0; i < 40; ++i) clients.push_back(client({"x"}));
  Stream stream;
  for (int i = 0; i < 2; ++i) {
    stream.add(frame_of("x", "1"));
    ASSERT_TRUE(app.trigger("x", "e", "1"));
    read_all(clients, stream);
  }
  server.stop();
  for (const auto& one : clients) ASSERT_TRUE(one->ends());
}

// The table must not keep open what the server has closed.
TEST_F(Ring, ClientsSeeTheEndWhenTheServerGivesThemUp) {
  Clients clients;
  for (int i = 0; i < 40; ++i) clients.push_back(client({"x"}));
  Stream stream;
  for (int i = 0; i < 2; ++i) {
    stream.add(frame_of("x", "1"));
    ASSERT_TRUE(app.trigger("x", "e", "1"));
    read_all(clients, stream);
  }
  for (std::size_t i = 0; i < 20; ++i) clients[i]->shutdown_write();
  for (std::size_t i = 0; i < 20; ++i) ASSERT_TRUE(clients[i]->ends()) << i;
  clients.erase(clients.begin(), clients.begin() + 20);
  for (int i = 0; i < 20; ++i) {
    clients.push_back(client({"x"}));
    clients.back()->at = stream.bytes.size();
  }
  stream.add(frame_of("x", "2"));
  ASSERT_TRUE(app.trigger("x", "e", "2"));
  read_all(clients, stream);
  EXPECT_TRUE(server.uses_io_uring());
}

// Without a goodbye, and on a thread that has never seen the ring.
TEST(RingServer, ClientsSeeTheEndWhenTheServerIsDestroyed) {
  if (!have_ring()) GTEST_SKIP() << "there is no io_uring";
  for (const unsigned threads : {0U, 1U}) {
    auto server =
        std::make_unique<Server>(ServerOptions{.listen = {"127.0.0.1:0"}, .threads = threads, .io = SocketIo::uring});
    App& app = server->add_app({.id = "1", .key = "key", .secret = "secret"});
    ASSERT_TRUE(server->start());
    Clients clients;
    const std::function<void()> idle = [&] {
      if (server != nullptr) server->poll(1ms);
    };
    for (int i = 0; i < 20; ++i) {
      clients.push_back(std::make_unique<RingClient>(server->endpoints().front(), Shape{},
                                                     threads == 0 ? idle : std::function<void()>{}));
      ASSERT_TRUE(clients.back()->establish());
      ASSERT_TRUE(clients.back()->subscribe("x"));
    }
    ASSERT_TRUE(server->uses_io_uring());
    Stream stream;
    for (int i = 0; i < 2; ++i) {
      stream.add(frame_of("x", "1"));
      ASSERT_TRUE(app.trigger("x", "e", "1"));
      const auto until = std::chrono::steady_clock::now() + patience;
      while (clients.back()->at != stream.bytes.size() && std::chrono::steady_clock::now() < until) {
        server->poll(1ms);
        for (const auto& one : clients) {
          ASSERT_TRUE(one->read());
          ASSERT_TRUE(one->follows(stream));
        }
      }
    }
    std::thread([&] { server.reset(); }).join();
    for (const auto& one : clients) ASSERT_TRUE(one->ends());
  }
}

// Who cannot be in a batch gets the same events beside those who are.
TEST(RingServer, ServesTlsAndHttpFallbacksBeside) {
  if (!have_ring()) GTEST_SKIP() << "there is no io_uring";
  const fanfare::test::CertificateFiles files;
  Server server{{.listen = {"127.0.0.1:0"},
                 .listen_tls = {"127.0.0.1:0"},
                 .tls_certificate = files.certificate,
                 .tls_key = files.key,
                 .threads = 1,
                 .drain_timeout = 100ms,
                 .io = SocketIo::uring}};
  App& app = server.add_app({.id = "1", .key = "key", .secret = "secret"});
  ASSERT_TRUE(server.start());
  const std::string& endpoint = server.endpoints().front();
  Clients plain;
  std::vector<std::unique_ptr<SocketClient>> tls;
  for (int i = 0; i < 24; ++i) {
    plain.push_back(std::make_unique<RingClient>(endpoint, i % 6 == 0 ? slow_shape : Shape{}));
    ASSERT_TRUE(plain.back()->establish() && plain.back()->subscribe("x"));
    ASSERT_TRUE(i % 3 != 0 || plain.back()->subscribe("y"));
    if (i % 4 != 0) continue;
    tls.push_back(std::make_unique<SocketClient>(server.tls_endpoints().front()));
    tls.back()->put_on(std::make_unique<fanfare::test::TlsLayer>());
    ASSERT_NE(tls.back()->establish("/app/key?protocol=7"), "");
    ASSERT_TRUE(tls.back()->subscribe("x"));
    ASSERT_TRUE(tls.size() % 2 == 0 || tls.back()->subscribe("y"));
  }
  // HTTP/1.0, so that the lines come without chunks.
  SocketClient stream(endpoint);
  SocketClient backend(endpoint);
  const auto post = [](SocketClient& to, std::string_view what, std::string_view version, std::string_view body) {
    to.send("POST /app/key/1/12345678/" + std::string(what) + "?protocol=7 HTTP/" + std::string(version) +
            "\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
  };
  const auto comes = [&](std::string_view text) {
    while (stream.unread().find(text) == std::string::npos) {
      if (!stream.receive_some()) return false;
    }
    return true;
  };
  post(stream, "xhr_streaming", "1.0", "");
  ASSERT_TRUE(comes("connection_established"));
  for (const std::string channel : {"x", "y"}) {
    post(backend, "xhr_send", "1.1",
         R"(["{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\")" + channel + R"(\"}}"])");
    ASSERT_TRUE(backend.receive_answer());
    ASSERT_TRUE(comes(R"(subscription_succeeded\",\"channel\":\")" + channel));
  }
  ASSERT_TRUE(server.uses_io_uring());

  constexpr std::size_t events = 1200;
  const auto data_of = [](std::size_t i) { return "#" + std::to_string(i) + "#"; };
  const auto on_x = [](std::size_t i) { return i % 5 != 0; };
  std::vector<Stream> owed(2);  // of who is in x, and of who is in both
  for (std::size_t i = 0; i < events; ++i) {
    const char* const channel = on_x(i) ? "x" : "y";
    const std::string frame = frame_of(channel, data_of(i));
    owed[1].add(frame);
    if (on_x(i)) owed[0].add(frame);
    ASSERT_TRUE(app.trigger(channel, "e", data_of(i)));
  }
  const auto until = std::chrono::steady_clock::now() + patience;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const Stream& expected = owed[i % 3 == 0 ? 1 : 0];
    while (plain[i]->at != expected.bytes.size()) {
      ASSERT_TRUE(plain[i]->read());
      ASSERT_TRUE(plain[i]->follows(expected)) << i;
      ASSERT_LT(std::chrono::steady_clock::now(), until);
    }
  }
  for (std::size_t client = 0; client < tls.size(); ++client) {
    for (std::size_t i = 0; i < events; ++i) {
      if (!on_x(i) && client % 2 != 0) continue;
      ASSERT_NE(tls[client]->receive_text().find(data_of(i)), std::string::npos) << client << ' ' << i;
    }
  }
  ASSERT_TRUE(comes(data_of(events - 1)));
  std::size_t at = 0;
  for (std::size_t i = 0; i < events; ++i) {
    const std::size_t found = stream.unread().find('#', at);
    ASSERT_EQ(stream.unread().compare(found, data_of(i).size(), data_of(i)), 0) << i;
    at = found + data_of(i).size();
  }
}

// Whoever breaks the promise that one thread polls loses the ring, and no message.
TEST(RingServer, GoesOnWithoutTheRingOnAnotherThread) {
  if (!have_ring()) GTEST_SKIP() << "there is no io_uring";
  Server server{{.listen = {"127.0.0.1:0"}, .threads = 0, .io = SocketIo::uring}};
  App& app = server.add_app({.id = "1", .key = "key", .secret = "secret"});
  ASSERT_TRUE(server.start());
  Clients clients;
  std::vector<Stream> streams(30);
  for (std::size_t i = 0; i < streams.size(); ++i) {
    clients.push_back(std::make_unique<RingClient>(server.endpoints().front(), i % 5 == 0 ? slow_shape : Shape{},
                                                   [&] { server.poll(1ms); }));
    ASSERT_TRUE(clients.back()->establish());
    ASSERT_TRUE(clients.back()->subscribe("x"));
    ASSERT_TRUE(i % 2 != 0 || clients.back()->subscribe("y"));
  }
  const auto turn = [&](std::size_t size) {
    for (const char* const channel : {"x", "y"}) {
      const std::string data(size, '.');
      for (std::size_t i = 0; i < streams.size(); ++i) {
        if (*channel == 'x' || i % 2 == 0) streams[i].add(frame_of(channel, data));
      }
      ASSERT_TRUE(app.trigger(channel, "e", data));
    }
    while (server.poll() != 0) {
    }
  };
  for (int i = 0; i < 10; ++i) turn(9000);  // some lag
  EXPECT_TRUE(server.uses_io_uring());
  std::thread([&] { turn(5000); }).join();
  EXPECT_FALSE(server.uses_io_uring());
  turn(100);
  const auto until = std::chrono::steady_clock::now() + patience;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    while (clients[i]->at != streams[i].bytes.size()) {
      ASSERT_TRUE(clients[i]->read());
      ASSERT_TRUE(clients[i]->follows(streams[i])) << i;
      ASSERT_LT(std::chrono::steady_clock::now(), until);
      server.poll();
    }
  }
  // They can go, too.
  clients[3]->close();
  while (server.connections() == streams.size() && std::chrono::steady_clock::now() < until) server.poll(1ms);
  EXPECT_EQ(server.connections(), streams.size() - 1);
}

// Some have places in the table, and some have none.
TEST(RingLoop, MoreConnectionsThanPlaces) {
  if (!have_ring()) GTEST_SKIP() << "there is no io_uring";
  pusher::AppList apps;
  App& app = *apps.add({.id = "1", .key = "key", .secret = "secret"});
  transport::LoopOptions options;
  options.use_ring = true;
  options.max_descriptors = 16;  // which is what the table is made for; `adopt` takes whatever it is given
  LoopGroup group{options, apps};
  const auto loop = std::make_shared<Loop>(group, 0U);
  ASSERT_FALSE(loop->open());
  group.loops.push_back(loop);
  loop->turn();
  ASSERT_TRUE(loop->uses_ring());
  const auto idle = [&] {
    while (loop->turn()) {
    }
    loop->turn(1ms);
  };

  constexpr std::size_t many = 64;
  Clients clients(many);
  std::vector<Stream> streams(many);
  std::mt19937 random(5);
  const auto come = [&](std::size_t i) {
    TcpPair pair(random() % 4 == 0 ? 4096 : 0);
    loop->adopt(::dup(pair.server()));
    clients[i] = std::make_unique<RingClient>(::dup(pair.client()), idle);
    streams[i] = {};
    return clients[i]->establish() && clients[i]->subscribe("x") && (i % 2 == 0 || clients[i]->subscribe("y"));
  };
  const auto read = [&] {
    for (std::size_t i = 0; i < many; ++i) {
      ASSERT_TRUE(clients[i]->read());
      ASSERT_TRUE(clients[i]->follows(streams[i])) << i;
    }
  };
  const auto read_all = [&] {
    const auto until = std::chrono::steady_clock::now() + patience;
    const auto done = [&] {
      for (std::size_t i = 0; i < many; ++i) {
        if (clients[i]->at != streams[i].bytes.size()) return false;
      }
      return true;
    };
    while (!done() && !testing::Test::HasFatalFailure()) {
      ASSERT_LT(std::chrono::steady_clock::now(), until);
      idle();
      read();
    }
  };
  for (std::size_t i = 0; i < many; ++i) ASSERT_TRUE(come(i));
  std::size_t event = 0;
  for (int round = 0; round < 150; ++round) {
    for (std::size_t burst = 1 + random() % 30; burst != 0; --burst, ++event) {
      const char* const channel = random() % 3 == 0 ? "y" : "x";
      const std::string data = std::to_string(event) + std::string(random() % 200, '.');
      for (std::size_t i = 0; i < many; ++i) {
        if (*channel == 'x' || i % 2 == 1) streams[i].add(frame_of(channel, data));
      }
      ASSERT_TRUE(app.trigger(channel, "e", data));
    }
    loop->turn();
    read();
    if (round % 10 != 0) continue;
    read_all();
    if (testing::Test::HasFatalFailure()) return;
    for (int i = 0; i < 8; ++i) {
      const std::size_t goes = random() % many;
      clients[goes].reset();
      if (random() % 2 == 0) loop->turn();
      ASSERT_TRUE(come(goes));
    }
  }
  read_all();
  EXPECT_TRUE(loop->uses_ring());
  for (auto& one : clients) one.reset();
  const auto until = std::chrono::steady_clock::now() + patience;
  while (loop->load() != 0 && std::chrono::steady_clock::now() < until) idle();
  EXPECT_EQ(loop->load(), 0U);
  loop->end();
}

// One script, step by step: no client can tell how its server writes.
TEST(RingServer, SendsWhatOthersSend) {
  if (!have_ring()) GTEST_SKIP() << "there is no io_uring";
  const auto run = [](SocketIo io) {
    Server server{{.listen = {"127.0.0.1:0"}, .threads = 0, .io = io}};
    App& app = server.add_app({.id = "1", .key = "key", .secret = "secret"});
    EXPECT_TRUE(server.start());
    const auto rest = [&] {
      for (int quiet = 0; quiet < 2;) quiet = server.poll(1ms) == 0 ? quiet + 1 : 0;
    };
    constexpr std::array<const char*, 3> channels{"x", "y", "z"};
    std::mt19937 random(9);
    Clients clients;
    std::vector<std::string> came(24);
    for (std::size_t i = 0; i < came.size(); ++i) {
      clients.push_back(std::make_unique<RingClient>(server.endpoints().front(), i % 6 == 0 ? slow_shape : Shape{},
                                                     [&] { server.poll(1ms); }));
      EXPECT_TRUE(clients.back()->establish());
      clients.back()->ask_for("x");
    }
    rest();
    EXPECT_EQ(server.uses_io_uring(), io == SocketIo::uring);
    for (int step = 0; step < 300; ++step) {
      for (std::size_t burst = random() % 6; burst != 0; --burst) {
        const std::size_t who = random() % came.size();
        const char* const channel = channels.at(random() % channels.size());
        const std::string data = std::to_string(step) + std::string(random() % 4 == 0 ? random() % 9000 : 1, '.');
        const std::string except = random() % 3 == 0 ? clients[who]->id : std::string();
        const bool comes = random() % 2 == 0;
        switch (random() % 8) {
          case 0:
            clients[who]->send(
                text_frame(std::string(comes ? R"({"event":"pusher:subscribe")" : R"({"event":"pusher:unsubscribe")") +
                           R"(,"data":{"channel":")" + channel + "\"}}"));
            rest();
            break;
          case 1:
            clients[who]->send(text_frame(R"({"event":"pusher:ping","data":{}})"));
            rest();
            break;
          default: EXPECT_TRUE(app.trigger(channel, "e", data, {.except_socket = except})); break;
        }
      }
      rest();
      for (std::size_t i = 0; i < came.size(); ++i) {
        if (i % 6 != 0 || random() % 8 == 0) clients[i]->read();
      }
    }
    for (int quiet = 0; quiet < 20;) {
      const std::size_t before = came[0].size() + clients[0]->unread().size();
      for (const auto& one : clients) one->read();
      quiet = server.poll(1ms) == 0 && before == clients[0]->unread().size() ? quiet + 1 : 0;
    }
    for (std::size_t i = 0; i < came.size(); ++i) came[i] = clients[i]->unread();
    return came;
  };
  const std::vector<std::string> expected = run(SocketIo::send);
  const std::vector<std::string> came = run(SocketIo::uring);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_GT(expected[i].size(), 10'000U);
    EXPECT_TRUE(came[i] == expected[i]) << i;
  }
}

// ---- where it cannot be

// \returns 0 if it serves, without io_uring.
int serves(ServerOptions options) {
  options.listen = {"127.0.0.1:0"};
  Server server{std::move(options)};
  App& app = server.add_app({.id = "1", .key = "key", .secret = "secret"});
  if (!server.start()) return 1;
  Clients clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<RingClient>(server.endpoints().front(), Shape{}, [&] {
      if (server.poll(1ms) == 0) std::this_thread::sleep_for(1ms);
    }));
    if (!clients.back()->establish() || !clients.back()->subscribe("x")) return 2;
  }
  if (server.uses_io_uring()) return 3;
  Stream stream;
  for (int i = 0; i < 100; ++i) {
    stream.add(frame_of("x", std::to_string(i)));
    if (!app.trigger("x", "e", std::to_string(i))) return 4;
  }
  const auto until = std::chrono::steady_clock::now() + patience;
  for (const auto& one : clients) {
    while (one->at != stream.bytes.size()) {
      server.poll(1ms);
      if (!one->read() || !one->follows(stream) || std::chrono::steady_clock::now() > until) return 5;
    }
  }
  return 0;
}

TEST(RingRefused, TheServerStartsWithoutItOrSaysWhyNot) {
  const int code = fanfare::test::without_io_uring(EPERM, [] {
    Server server{{.listen = {"127.0.0.1:0"}, .io = SocketIo::uring}};
    const ServerResult started = server.start();
    if (started || started.error() != ServerErrc::no_io_uring || started.text().empty()) return 10;
    if (to_string(started.error()) != "no_io_uring") return 11;
    return serves({.threads = 1, .io = SocketIo::automatic});
  });
  if (code == 100) GTEST_SKIP() << "the kernel has no filters for system calls";
  EXPECT_EQ(code, 0);
}

TEST(RingRefused, NothingIsAskedForThatIsNotWanted) {
  EXPECT_EQ(serves({.threads = 1, .io = SocketIo::send}), 0);
  // Whoever polls may be several threads, one after the other.
  EXPECT_EQ(serves({.threads = 0, .io = SocketIo::automatic}), 0);
}

TEST(RingServer, TakesItByItselfOnThreadsOfItsOwn) {
  if (!have_ring()) GTEST_SKIP() << "there is no io_uring";
  Server server{{.listen = {"127.0.0.1:0"}, .threads = 2}};
  server.add_app({.id = "1", .key = "key", .secret = "secret"});
  ASSERT_TRUE(server.start());
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!server.uses_io_uring() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(1ms);
  EXPECT_TRUE(server.uses_io_uring());
  server.stop();
  EXPECT_FALSE(server.uses_io_uring());
}

}  // namespace
