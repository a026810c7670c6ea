/// \file
/// One io loop on Linux: its connections, from their first byte to their last.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/kept_log.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/http/parser.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/pusher/http_api.hpp>
#include <fanfare/pusher/session.hpp>
#include <fanfare/pusher/socket_id.hpp>
#include <fanfare/transport/address.hpp>
#include <fanfare/transport/answers.hpp>
#include <fanfare/transport/fanout.hpp>
#include <fanfare/transport/perform.hpp>
#include <fanfare/transport/random.hpp>
#include <fanfare/transport/send_ring.hpp>
#include <fanfare/transport/tls.hpp>
#include <fanfare/transport/xhr.hpp>
#include <fanfare/websocket/frame.hpp>
#include <fanfare/websocket/handshake.hpp>
#include <fanfare/websocket/processor.hpp>
#include <fanfare/websocket/receiver.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace transport {

/// What the loops of one server have in common. Set before the first loop begins.
struct LoopOptions {
  FanoutLimits fanout{};
  std::size_t mailbox_bytes = std::size_t{64} << 20U;  ///< What may wait for a loop; see `errc::overloaded`.
  std::size_t max_connections = 0;                     ///< WebSockets of all loops at one time; 0: no bound.
  std::size_t max_descriptors = 1024;                  ///< Connections of all loops at one time, of any kind.
  http::ParserLimits http{};
  websocket::MessageLimits messages{};
  bool use_ring = false;                         ///< Whether to send with io_uring where it can be had.
  std::chrono::seconds request_timeout{30};      ///< A request that has begun must be whole after so long.
  std::chrono::seconds keep_alive_timeout{120};  ///< A connection without a request is closed after so long.
  std::chrono::seconds close_timeout{5};         ///< A client that is asked to go must have gone after so long.
  std::string path_prefix{};                     ///< In front of `/app/KEY`.
  bool forwarded_for = false;                    ///< Whether proxies say in `X-Forwarded-For` where clients come from.
  OnRequest on_request{};
};

class Loop;

/// One connection: at first HTTP, then perhaps a WebSocket.
struct Connection final : Peer {
  /// What it is at.
  enum class State : std::uint8_t {
    http,
    websocket,  ///< Or a session of an HTTP fallback, which has no descriptor.
    carrying,   ///< Its request is answered with what a session is sent.
    moving,     ///< To the loop of the session that its request is for, or waits here until it may be served.
    closing,    ///< Its last bytes are on their way; what the client sends is read for the sake of its end alone.
    ended,      ///< Waits to be freed.
  };
  /// While it speaks HTTP.
  struct Http {
    /// Waits for a request.
    explicit Http(const http::ParserLimits& limits) noexcept : parser(limits) {}
    http::Parser parser;
    bool told_to_continue = false;
    std::uint32_t deadline = 0;
  };
  /// A session, and the WebSocket that it speaks through.
  struct WebSocket {
    /// Begins the session.
    explicit WebSocket(pusher::SocketId id) noexcept : session(id) {}
    [[no_unique_address]] websocket::Receiver receiver;  // the next one stands in its last bytes
    std::uint32_t deadline = 0;
    pusher::Session session;
  };

  /// A session of an HTTP fallback.
  struct Xhr {
    std::string name;
    Connection* receiver = nullptr;  ///< whose request is answered with what the session is sent
    std::string before{};            ///< lines that come before all others; what a poll is to be answered with
    std::size_t carried_units = 0;   ///< sent to the receiver, as a client in JavaScript counts
    bool streaming = false;
    bool chunked = false;
    bool poll_due = false;  ///< its poll is answered at the end of the turn
  };
  /// A request that is answered with what a session is sent.
  struct Carried {
    Connection* session;
    http::ReplyTo to;
  };
  /// A request that another loop is going to answer, or this one a little later.
  struct Parked {
    http::Request request;
    std::uint32_t home;
    Connection* next_arrival = nullptr;
  };
  /// Answers that may not be sent yet, and those behind them. They are sent in the order in which they were asked for.
  struct HeldAnswers {
    /// One of them, and what it waits for.
    struct Answer {
      http::Response response;
      http::ReplyTo to;
      pusher::ApiWait wait;
      std::uint32_t until;  // in seconds of the loop's clock: when it is given up
    };
    static constexpr std::size_t most = 64;
    static constexpr std::size_t most_bytes = 64 * 1024;  // of their bodies; one that is larger is the last

    /// Whether the connection is to be read no further.
    [[nodiscard]] bool full() const noexcept { return answers.size() >= most || bytes > most_bytes || ends; }

    std::deque<Answer> answers{};
    std::size_t bytes = 0;
    bool ends = false;  ///< Behind the last of them the connection is closed.
  };
  /// What few connections have.
  struct Seldom {
    std::unique_ptr<std::vector<char>> input{};  ///< What a turn had no time for.
    std::unique_ptr<TlsStream> tls{};            ///< Null where bytes go as they are.
    std::unique_ptr<Xhr> xhr{};                  ///< Of a session without a descriptor.
    std::unique_ptr<Carried> carried{};          ///< While `carrying`.
    std::unique_ptr<Parked> parked{};            ///< While the loop has it among those that move.
    std::unique_ptr<HeldAnswers> held{};         ///< Null where there are none.
  };

  /// \param descriptor_   of the socket; its owner closes it.
  /// \param tls_          null: bytes go as they are.
  Connection(int descriptor_, const http::ParserLimits& limits, const TlsContext* tls_)
      : Connection(descriptor_, limits) {
    if (tls_ != nullptr) make_seldom().tls = std::make_unique<TlsStream>(*tls_);
  }
  ~Connection() {
    if (is_websocket) {
      std::destroy_at(&protocol.websocket);
    } else {
      std::destroy_at(&protocol.http);
    }
  }

  /// Null once it is a session's.
  [[nodiscard]] Http* http() noexcept { return is_websocket ? nullptr : &protocol.http; }
  /// Null unless it is a session's.
  [[nodiscard]] WebSocket* websocket() noexcept { return is_websocket ? &protocol.websocket : nullptr; }
  /// When its time is up, in seconds of the loop's clock; of everything but open WebSockets.
  [[nodiscard]] std::uint32_t& deadline() noexcept {
    return is_websocket ? protocol.websocket.deadline : protocol.http.deadline;
  }
  /// Begins a session, which takes the place of what the connection was. It has no deadline.
  WebSocket& become_websocket(pusher::SocketId id) noexcept {
    static_assert(std::is_nothrow_constructible_v<WebSocket, pusher::SocketId>);
    if (is_websocket) {
      std::destroy_at(&protocol.websocket);
    } else {
      std::destroy_at(&protocol.http);
    }
    is_websocket = true;
    return *std::construct_at(&protocol.websocket, id);
  }

  /// \name What few connections have
  /// @{

  /// As `Seldom` has it; null where there is none.
  [[nodiscard]] std::vector<char>* input() const noexcept { return seldom == nullptr ? nullptr : seldom->input.get(); }
  [[nodiscard]] TlsStream* tls() const noexcept { return seldom == nullptr ? nullptr : seldom->tls.get(); }
  [[nodiscard]] Xhr* xhr() const noexcept { return seldom == nullptr ? nullptr : seldom->xhr.get(); }
  [[nodiscard]] Carried* carried() const noexcept { return seldom == nullptr ? nullptr : seldom->carried.get(); }
  [[nodiscard]] Parked* parked() const noexcept { return seldom == nullptr ? nullptr : seldom->parked.get(); }
  [[nodiscard]] HeldAnswers* held() const noexcept { return seldom == nullptr ? nullptr : seldom->held.get(); }
  /// @}

  /// The place for these. \throws `std::bad_alloc`.
  Seldom& make_seldom() {
    if (seldom == nullptr) seldom = std::make_unique<Seldom>();
    return *seldom;
  }

  // There are many connections: these are in the order in which they leave no gaps.
  State state = State::http;
  bool in_ready : 1 = false;
  bool in_failed : 1 = false;
  bool in_ring : 1 = false;  ///< Its socket is in the ring's table, at the place of its number.
  bool paced : 1 = false;    ///< It has sent as many messages as it may: what else it sends waits.
  bool lags_too_much : 1 = false;
  bool terminated : 1 = false;    ///< Its user is to go.
  bool at_end : 1 = false;        ///< The client sends no more: what is still in the socket is the last.
  bool upgraded_now : 1 = false;  ///< The bytes behind the request are the WebSocket's.
  bool last_bytes : 1 = false;    ///< When the backlog is sent, there is nothing more to send.
  bool output_closed : 1 = false;
  bool counted : 1 = false;           ///< Among the clients.
  bool is_websocket : 1 = false;      ///< Which of its protocols it has.
  std::uint16_t waiting_answers = 0;  ///< Of this turn, not sent yet.
  const int descriptor;
  /// What it speaks; `is_websocket` says which.
  union Protocol {
    /// HTTP at first.
    explicit Protocol(const http::ParserLimits& limits) noexcept : http(limits) {}
    Protocol(const Protocol&) = delete;
    Protocol& operator=(const Protocol&) = delete;
    ~Protocol() {}        // the connection's
    Http http;            ///< While `is_websocket` is false.
    WebSocket websocket;  ///< While it is true.
  } protocol;
  std::unique_ptr<Seldom> seldom;

 private:
  Connection(int descriptor_, const http::ParserLimits& limits) noexcept : descriptor(descriptor_), protocol(limits) {}
};
static_assert(sizeof(Connection) <= 136, "there are many of them");

/// The state that the loops of one server share. Lives longer than they.
struct LoopGroup {
  /// \param apps_   outlive it.
  LoopGroup(LoopOptions options_, pusher::AppList& apps_)
      : options(std::move(options_)), apps(apps_), api(apps_, {.path_prefix = options.path_prefix}) {
    fill_random(&place_mask, sizeof place_mask);
    place_mask &= (std::uint64_t{1} << 40U) - 1;
  }

  /// The loop where a session of an HTTP fallback lives.
  /// \param otherwise   where it is to live if there is none of that name. \throws `std::bad_alloc`.
  [[nodiscard]] std::optional<std::uint32_t> home_of(const std::string& session,
                                                     std::optional<std::uint32_t> otherwise) {
    const std::lock_guard lock(homes_mutex_);
    const auto known = homes_.find(session);
    if (known != homes_.end()) return known->second;
    if (otherwise) homes_.emplace(session, *otherwise);
    return otherwise;
  }
  /// The session has ended: nobody is sent to its loop any more.
  void forget_home_of(const std::string& session) noexcept {
    const std::lock_guard lock(homes_mutex_);
    homes_.erase(session);
  }

  const LoopOptions options;
  pusher::AppList& apps;
  pusher::HttpApi<pusher::AppList> api;
  std::uint64_t place_mask = 0;
  std::vector<std::shared_ptr<Loop>> loops;
  // Numbers and nothing else: relaxed.
  std::atomic<std::size_t> connections{0};
  std::atomic<std::size_t> clients{0};

 private:
  std::mutex homes_mutex_;
  std::unordered_map<std::string, std::uint32_t> homes_;  // under the mutex
};

/// A loop: everything in it is touched by one thread at a time, which calls `run`, or `turn` again and again.
///
/// What it waits for is in an epoll set of its own, whose descriptor is readable when there is something to do. So the turn
/// is the same on a thread of its own, on a host's event loop (`AsioHost`), and polled.
///
/// A turn: what is readable is read, parsed and acted on, and replies go out; the mailbox is drained; events go out, one
/// write per connection; answers of the HTTP API go out behind the events of a small turn and before those of a large one.
class Loop final : public Door {
 public:
  /// "Never" among the times of its clock.
  static constexpr std::chrono::milliseconds never = std::chrono::milliseconds::max();

  /// \param group    outlives it.
  /// \param number   its place in the group.
  Loop(LoopGroup& group, std::uint32_t number)
      : Door(group.options.mailbox_bytes),
        group_(group),
        number_(number),
        processors_(group.options.messages),
        buffer_(buffer_size),
        fanout_(*this, *this, group.options.fanout) {}
  ~Loop() {
    bells_.silence();
    for (const int descriptor : {set_, eventfd_, timer_}) {
      if (descriptor >= 0) ::close(descriptor);
    }
    for (const Incoming& incoming : incoming_) ::close(incoming.socket.descriptor);
  }

  /// Makes the loop's descriptors. Before anything else; any thread.
  [[nodiscard]] std::error_code open() {
    set_ = ::epoll_create1(EPOLL_CLOEXEC);
    eventfd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (set_ < 0 || eventfd_ < 0) return last_error();
    // Edge-triggered: each write is an event, and nobody has to read it.
    return watch(eventfd_, EPOLLIN | EPOLLET, {door_token, 0});
  }

  /// Takes connections from a listening socket, for all loops of the group. Before the first turn.
  /// \param tls   what its clients speak TLS with; null: nothing. Lives longer than the loop.
  [[nodiscard]] std::error_code listen_on(int listener, const TlsContext* tls = nullptr) {
    const int on = 1;
    ::setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // whom it accepts has that from it
    listeners_.push_back({listener, tls});
    return watch(listener, EPOLLIN, {listener_token, static_cast<std::uint32_t>(listeners_.size() - 1)});
  }

  /// Serves on this thread until the loop has ended.
  void run() {
    make_timer();
    for (bool again = true; !ended_;) again = turn(again ? std::chrono::milliseconds(0) : time_to_wait());
  }

  /// Does what there is to do.
  /// \param wait   how long to wait for it, at most; `never`: until there is something. (A loop that is used in several threads in turn must not be given a ring.)
  /// \returns      whether there is more to be done at once. If not, the next turn is when `descriptor` becomes readable,
  ///               or at `due`.
  bool turn(std::chrono::milliseconds wait = std::chrono::milliseconds(0));

  /// Readable when there is something to do.
  [[nodiscard]] int descriptor() const noexcept { return set_; }

  /// When the next turn is at the latest, on the clock of `std::chrono::steady_clock`.
  [[nodiscard]] std::chrono::milliseconds due() const noexcept {
    return std::min({next_sweep_, draining_ ? next_drain_ : never, paced_.empty() ? never : next_pace_});
  }

  /// Whether it serves nobody any more.
  [[nodiscard]] bool ended() const noexcept { return ended_; }

  void wake() noexcept override {
    const std::uint64_t one = 1;
    // It can fail for one reason: the count is full, and then there is an event already.
    [[maybe_unused]] const ssize_t written = ::write(eventfd_, &one, sizeof one);
  }

  /// Hands a connected socket over, which is in non-blocking mode and sends without delay. Any thread.
  /// \param tls   what its client speaks TLS with; null: nothing. Lives longer than the loop.
  void adopt(int descriptor, const TlsContext* tls = nullptr) {
    count();  // at once, so that the next one goes elsewhere
    {
      const std::lock_guard lock(incoming_mutex_);
      if (!incoming_ended_) {
        incoming_.push_back({{descriptor, tls}});
        return wake();
      }
    }
    ::close(descriptor);
    uncount();
  }

  /// Takes over a connected socket that somebody else has accepted, in whatever mode it is. Any thread.
  /// \param already_read   what its client has sent and somebody has read: it counts as if it were read here, first.
  /// \returns   false where the loop takes none any more, because it stops: the socket stays the caller's.
  /// \throws    `std::bad_alloc`; likewise.
  [[nodiscard]] bool take_over(int descriptor, std::string_view already_read) {
    Incoming incoming{{descriptor, nullptr}, true, std::string(already_read)};
    {
      const std::lock_guard lock(incoming_mutex_);
      if (incoming_ended_ || stops_) return false;
      incoming_.push_back(std::move(incoming));
      count();  // at once, so that the next one goes elsewhere
    }
    wake();
    return true;
  }

  /// The loop of the group that has the fewest connections; of several this one, if it is among them. Any thread.
  [[nodiscard]] Loop& quietest() noexcept {
    Loop* found = this;
    for (const std::shared_ptr<Loop>& loop : group_.loops) {
      if (loop->load() < found->load()) found = loop.get();
    }
    return *found;
  }

  /// Stops listening and tells clients to come back later. `drained` becomes true when they have gone, or when
  /// `timeout` is over. Any thread.
  void drain(std::chrono::milliseconds timeout) noexcept {
    {
      const std::lock_guard lock(incoming_mutex_);
      drain_request_ = timeout;
      stops_ = true;
    }
    wake();
  }
  /// Whether all clients have gone, or the time was over. Any thread.
  [[nodiscard]] bool drained() const noexcept { return drained_.load(std::memory_order_acquire); }

  /// Ends everything at once. On the thread that runs it, or when none does.
  void end() noexcept {
    if (std::exchange(ended_, true)) return;
    for (std::uint32_t i = 0; i < table_.size(); ++i) {
      if (Connection* const connection = table_[i].connection()) destroy(*connection);
    }
    bury();
    {
      const std::lock_guard lock(incoming_mutex_);
      incoming_ended_ = true;
      while (arrivals_ != nullptr) bury_stranger(*std::exchange(arrivals_, arrivals_->parked()->next_arrival));
      for (const Incoming& incoming : incoming_) {
        ::close(incoming.socket.descriptor);
        uncount();
      }
      incoming_.clear();
    }
    bells_.silence();
    fanout_.close();
    close_ring();
    drained_.store(true, std::memory_order_release);
  }

  /// Whether it sends with io_uring. Any thread.
  [[nodiscard]] bool uses_ring() const noexcept { return uses_ring_.load(std::memory_order_relaxed); }

  /// What became of connections that lagged too much. Any thread.
  [[nodiscard]] SlowConsumerCounts slow_consumers() const noexcept { return fanout_.slow_consumers(); }

  /// How many connections it has; any thread.
  [[nodiscard]] std::size_t load() const noexcept { return load_.load(std::memory_order_relaxed); }

  /// \name As `Driver` has it
  /// @{

  /// What sessions ask for; sent at the end of the connection's input.
  void send_text(Connection& /*connection*/, std::string_view text) { reply(websocket::Opcode::text, text); }
  void send_frame(Connection& /*connection*/, std::string_view frame) {
    replies_.append(frame);
    reply_ends_.push_back(replies_.size());
  }
  void send_ping(Connection& /*connection*/) { reply(websocket::Opcode::ping, {}); }
  void close(Connection& connection, std::uint16_t code, std::string_view reason) {
    reply_close(code, reason);
    closing(connection);
  }

  /// @}
  /// \name As `Port` has it
  /// @{

  /// What the fan-out asks for.
  std::ptrdiff_t write(Connection& connection, std::string_view bytes) noexcept;
  static constexpr std::size_t batch_capacity = SendRing::capacity;
  [[nodiscard]] bool begin_batch(std::size_t sends) noexcept { return sends >= least_batch && ring_.is_open(); }
  [[nodiscard]] bool queue(Connection& connection, std::string_view bytes, std::uint32_t tag) noexcept;
  template <class F, class G>
  void submit(F&& cut_short, G&& not_tried) noexcept;
  void broken(Connection& connection) noexcept;
  void overflowed(Connection& connection) noexcept;
  void entered(Connection& connection, const Entrance& entrance) noexcept;
  void terminate(Connection& connection) noexcept;
  [[nodiscard]] std::chrono::milliseconds now() const noexcept { return now_; }
  /// \pre it is a client.
  [[nodiscard]] static pusher::SocketId::Text socket_id(Connection& connection) noexcept {
    return connection.websocket()->session.socket_id().text();
  }
  [[nodiscard]] static std::string_view user_id(Connection& connection) noexcept {
    return connection.websocket()->session.user_id();
  }
  Connection* find(std::string_view socket_id) noexcept;
  Connection* at(std::uint32_t number) noexcept {
    return number < table_.size() ? table_[number].connection() : nullptr;
  }
  /// @}

 private:
  struct Socket {
    int descriptor;
    const TlsContext* tls;
  };
  /// A connection on its way into the loop.
  struct Incoming {
    Socket socket;
    bool foreign = false;  ///< Somebody else has accepted it.
    std::string already_read{};
  };
  struct Token {
    std::uint32_t number;
    std::uint32_t generation;
  };
  /// A connection; or where there is none, the generation of the next one.
  class Slot {
   public:
    [[nodiscard]] Connection* connection() const noexcept {
      return (bits_ & 1U) != 0 ? nullptr : reinterpret_cast<Connection*>(bits_);
    }
    /// \pre it has none.
    void take(Connection& connection) noexcept {
      connection.generation = static_cast<std::uint32_t>(bits_ >> 1U);
      bits_ = reinterpret_cast<std::uintptr_t>(&connection);
    }
    /// \pre it has this one.
    void give_back(const Connection& connection) noexcept {
      bits_ = std::uintptr_t{connection.generation + 1} << 1U | 1U;
    }

   private:
    std::uintptr_t bits_ = 1;  // of a pointer the last one is 0
  };
  struct Answer {
    Connection* connection;
    std::size_t end;
    bool last;
  };
  class Handler;

  static constexpr std::uint32_t door_token = 0xffffffffU;
  static constexpr std::uint32_t listener_token = 0xfffffffeU;
  static constexpr std::uint32_t timer_token = 0xfffffffdU;
  static constexpr std::size_t buffer_size = 64 * 1024;
  static constexpr int events_per_turn = 256;
  static constexpr int accepts_per_turn = 64;
  static constexpr unsigned requests_per_turn = 64;
  static constexpr std::size_t answers_per_turn = 64 * 1024;  // bytes, of one connection
  static constexpr std::size_t small_turn = 64;
  static constexpr std::size_t keep_answer_bytes = 1 << 20;
  static constexpr std::size_t least_batch = 8;  // below that, single sends cost no more
  static constexpr unsigned ring_sockets = 65'536;
  static constexpr std::chrono::milliseconds pace_time{100};
  static constexpr std::chrono::seconds xhr_pause{10};  // how long a session lives without a request to carry it
  static constexpr std::size_t xhr_stream_units = 256 * 1024;
  static constexpr std::chrono::seconds xhr_poll_time{25};  // how long a poll is held

  static std::chrono::milliseconds clock_now() noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch());
  }
  static std::error_code last_error() noexcept { return {errno, std::system_category()}; }

  [[nodiscard]] std::error_code watch(int descriptor, std::uint32_t events, Token token) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = std::uint64_t{token.generation} << 32U | token.number;
    if (::epoll_ctl(set_, EPOLL_CTL_ADD, descriptor, &event) == 0) return {};
    return last_error();
  }

  // ---- the turn

  /// To wait for a time of the set's own is cheaper than to give each wait its end.
  void make_timer() noexcept {
    timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer_ >= 0 && watch(timer_, EPOLLIN | EPOLLET, {timer_token, 0})) ::close(std::exchange(timer_, -1));
  }
  [[nodiscard]] std::chrono::milliseconds time_to_wait() noexcept {
    const std::chrono::milliseconds due = this->due();
    if (timer_ < 0) return std::max(due - clock_now(), std::chrono::milliseconds(0));
    if (std::exchange(timer_due_, due) == due) return never;
    itimerspec when{};
    when.it_value.tv_sec = static_cast<time_t>(due.count() / 1000);
    when.it_value.tv_nsec = static_cast<long>(due.count() % 1000) * 1'000'000;
    ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &when, nullptr);
    return never;
  }

  [[nodiscard]] int wait(std::chrono::milliseconds most) noexcept {
    const int timeout =
        most == never ? -1 : static_cast<int>(std::min(most, std::chrono::milliseconds(60'000)).count());
    const int count = ::epoll_wait(set_, events_.data(), events_per_turn, timeout);
    return count < 0 ? 0 : count;
  }

  void dispatch(const epoll_event& event) {
    const Token token{static_cast<std::uint32_t>(event.data.u64), static_cast<std::uint32_t>(event.data.u64 >> 32U)};
    if (token.number == door_token) return;
    if (token.number == timer_token) {
      timer_due_ = never;  // it has run down
      return;
    }
    if (token.number == listener_token) return accept(listeners_[token.generation]);
    Connection* const connection = at(token.number);
    if (connection == nullptr || connection->generation != token.generation) return;
    if ((event.events & EPOLLOUT) != 0) writable(*connection);
    if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) connection->at_end = true;
    if ((event.events & ~std::uint32_t{EPOLLOUT}) != 0) read(*connection);
  }

  // ---- connections come

  void accept(const Socket& listener) {
    for (int i = 0; i < accepts_per_turn; ++i) {
      const int descriptor = ::accept4(listener.descriptor, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (descriptor < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) pause_listening();
        return;
      }
      if (group_.connections.load(std::memory_order_relaxed) >= group_.options.max_descriptors) {
        ::close(descriptor);
        continue;
      }
      Loop& quietest = this->quietest();
      if (&quietest == this) {
        count();
        add({descriptor, listener.tls});
      } else {
        quietest.adopt(descriptor, listener.tls);
      }
    }
  }

  /// Until the next sweep: a level-triggered listener that cannot be served would keep the loop busy.
  void pause_listening() noexcept {
    for (const Socket& listener : listeners_) {
      ::epoll_ctl(set_, EPOLL_CTL_DEL, listener.descriptor, nullptr);
    }
    listening_paused_ = true;
  }
  void resume_listening() noexcept {
    if (!std::exchange(listening_paused_, false) || draining_) return;
    for (std::uint32_t i = 0; i < listeners_.size(); ++i) {
      if (watch(listeners_[i].descriptor, EPOLLIN, {listener_token, i})) listening_paused_ = true;
    }
  }

  void take_incoming() {
    std::vector<Incoming> taken;
    {
      const std::lock_guard lock(incoming_mutex_);
      if (incoming_.empty()) return;
      taken.swap(incoming_);
    }
    for (Incoming& incoming : taken) add(incoming);
  }

  Connection* add(const Socket& socket);
  void add(Incoming& incoming);
  void count() noexcept {
    load_.fetch_add(1, std::memory_order_relaxed);
    group_.connections.fetch_add(1, std::memory_order_relaxed);
  }
  void uncount() noexcept {
    load_.fetch_sub(1, std::memory_order_relaxed);
    group_.connections.fetch_sub(1, std::memory_order_relaxed);
  }

  // ---- input

  void read(Connection& connection);
  void continue_reading();
  void process_or_destroy(Connection& connection, std::span<char> bytes);
  void process(Connection& connection, std::span<char> bytes);
  std::size_t process_http(Connection& connection, std::string_view bytes);
  std::size_t process_websocket(Connection& connection, std::span<char> bytes);
  void at_end_of_input(Connection& connection);
  void read_later(Connection& connection);
  void pace(Connection& connection);
  void serve_parked(Connection& connection);
  void resume_paced();
  std::ptrdiff_t write_socket(Connection& connection, std::string_view bytes) noexcept;
  std::ptrdiff_t write_tls(Connection& connection, std::string_view bytes) noexcept;
  bool send_sealed(Connection& connection) noexcept;
  void open_ring() noexcept;
  void enter_ring() noexcept;
  void leave_ring(Connection& connection) noexcept;
  void close_ring() noexcept;

  // ---- sessions of HTTP fallbacks

  void xhr_request(Connection& connection, const http::Request& request, const xhr::Address& address);
  void xhr_receive(Connection& connection, Connection& session, const http::Request& request, const http::ReplyTo& to);
  [[nodiscard]] Connection& xhr_open(std::string name);
  void xhr_carry(Connection& connection, Connection& session, const http::ReplyTo& to, bool streaming);
  std::ptrdiff_t write_xhr(Connection& session, std::string_view frames) noexcept;
  [[nodiscard]] static std::size_t utf16_units(std::string_view text) noexcept;
  void xhr_send_lines(Connection& session, Connection& receiver, std::string lines, bool last);
  void xhr_release(Connection& receiver, bool open);
  void poll_later(Connection& session);
  void answer_polls();
  void sweep_carrier(Connection& receiver);
  void move_later(Connection& connection, const http::Request& request, std::uint32_t home);
  void hold(Connection& connection, const http::Request& request);
  void move_connections();
  void arrive(Connection& connection) noexcept;
  void take_arrivals();
  void bury_stranger(Connection& connection) noexcept;
  void reserve_slot();
  Connection& take_slot(Connection* connection) noexcept;
  void give_slot_back(Connection& connection) noexcept;
  [[nodiscard]] static bool sealed_waits(const Connection& connection) noexcept {
    return connection.tls() != nullptr && !connection.tls()->pending().empty();
  }
  [[nodiscard]] static bool is_full(const Connection& connection) noexcept;

  // ---- HTTP

  void request(Connection& connection, const http::Request& request);
  void answer(Connection& connection, const http::Response& response, const http::ReplyTo& to,
              const pusher::ApiWait& wait = {});
  void answer_now(Connection& connection, const http::Response& response, const http::ReplyTo& to, bool more = false);
  void release_held();
  void release_held(Connection& connection);
  void answer_bytes(Connection& connection, bool last);
  void send_answer(const Answer& answer, std::string_view bytes);
  void send_answers();
  void send_answers_of(Connection& connection);
  void open_session(Connection& connection, std::string_view key, const http::Request& request,
                    const Connection& carrier, bool path_found);
  void upgrade(Connection& connection, const http::Request& request, const websocket::Handshake& handshake);

  // ---- WebSocket

  void perform(Connection& connection, pusher::Action action);
  void reply(websocket::Opcode opcode, std::string_view payload) {
    websocket::append_frame(replies_, opcode, payload);
    reply_ends_.push_back(replies_.size());
  }
  void reply_close(std::uint16_t code, std::string_view reason) {
    websocket::append_close(replies_, code, reason);
    reply_ends_.push_back(replies_.size());
  }
  void send_replies(Connection& connection) {
    if (!replies_.empty()) fanout_.send(connection, replies_, reply_ends_);
    replies_.clear();
    reply_ends_.clear();
  }
  [[nodiscard]] pusher::SocketId new_socket_id(std::uint32_t number);

  // ---- connections go

  void writable(Connection& connection);
  void close_output_when_sent(Connection& connection);
  void closing(Connection& connection);
  void leave(Connection& connection) noexcept;
  void dismiss(Connection& connection) noexcept;
  void destroy(Connection& connection) noexcept;
  void give_up(Connection& connection) noexcept;
  void bury() noexcept;
  void end_failed();
  void overflow(Connection& connection);

  // ---- time

  void do_what_is_due();
  void sweep();
  void sweep(Connection& connection);

  void begin_drain(std::chrono::milliseconds timeout);
  void drain_some();
  void stop_clients(std::size_t most);
  [[nodiscard]] std::uint32_t seconds_from_now(std::chrono::seconds time) const noexcept {
    return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now_ + time).count());
  }

  LoopGroup& group_;
  const std::uint32_t number_;
  int set_ = -1;
  int timer_ = -1;  // of a loop on a thread of its own
  std::chrono::milliseconds timer_due_ = never;
  int eventfd_ = -1;
  std::vector<Socket> listeners_;
  std::mutex incoming_mutex_;
  std::vector<Incoming> incoming_;                          // under the mutex
  bool incoming_ended_ = false;                             // likewise
  bool stops_ = false;                                      // likewise: it takes over none any more
  Connection* arrivals_ = nullptr;                          // likewise
  std::optional<std::chrono::milliseconds> drain_request_;  // likewise
  std::atomic<std::size_t> load_{0};                        // a number and nothing else: relaxed
  std::atomic<bool> drained_{false};

  SendRing ring_;
  std::atomic<bool> uses_ring_{false};        // a fact and nothing else: relaxed
  std::vector<std::uint32_t> entering_ring_;  // numbers of connections whose sockets are to be in the ring's table
  std::vector<int> entering_descriptors_;

  std::vector<Slot> table_;
  boost::unordered_flat_map<std::uint32_t, AddressNumber> addresses_;  // where connections count, if they do
  std::vector<std::uint32_t> free_;
  std::vector<Connection*> ready_;  // have input that is to be read in the next turn
  std::vector<Token> paced_;        // are read again when their second is over
  std::vector<Token> polls_;        // sessions whose polls are answered at the end of the turn
  std::vector<Token> answered_polls_;
  std::vector<Token> holding_;          // connections with answers that may not be sent yet
  Bells bells_{*this};                  // of the stores that they wait for
  std::vector<Connection*> graveyard_;  // freed at the end of the turn
  std::vector<Connection*> moving_;     // to other loops, at the end of the turn
  std::vector<Connection*> still_moving_;
  std::unordered_map<std::string, Connection*> xhr_sessions_;
  std::vector<Connection*> failed_;  // to be ended at the beginning of the next turn
  std::array<epoll_event, events_per_turn> events_{};
  websocket::ProcessorPool processors_;
  pusher::Signer signer_;
  http::ParserMemory parser_memory_;
  std::vector<char> buffer_;
  std::string plaintext_;
  std::string replies_;
  std::vector<std::size_t> reply_ends_;
  std::string answers_;
  std::vector<Answer> answer_index_;
  RandomNumbers random_;
  std::chrono::milliseconds now_{0};
  std::chrono::milliseconds next_sweep_{0};  // at once, at first
  std::chrono::milliseconds next_pace_{0};
  std::chrono::milliseconds next_drain_{0};
  std::chrono::milliseconds drain_until_{0};
  std::uint32_t drain_cursor_ = 0;
  bool draining_ = false;
  bool listening_paused_ = false;
  bool ended_ = false;
  bool begun_ = false;
  Fanout<Loop, Connection> fanout_;
};

}  // namespace transport
FANFARE_NAMESPACE_END

#include <fanfare/transport/impl/loop.hpp>
#include <fanfare/transport/impl/loop_xhr.hpp>
