// A server of the Pusher protocol on websocketpp's own server, as its examples are: a set of connections for each
// channel, and a loop over it. One thread, no signatures, no limits, no presence. C++17, as that server is no C++20.
//
// usage: websocketpp-peer PORT [--prepared]
//
//   --prepared  one message is framed once and given to all; otherwise each connection gets the text and frames it
//
// What it reads of JSON is what fanfare-load and the official libraries write: no spaces around colons.
#include <websocketpp/concurrency/none.hpp>
#include <websocketpp/config/asio_no_tls.hpp>
#include <websocketpp/logger/stub.hpp>
#include <websocketpp/server.hpp>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

/// One thread: no locks. No logs.
struct Config : websocketpp::config::asio {
  using concurrency_type = websocketpp::concurrency::none;
  using alog_type = websocketpp::log::stub;
  using elog_type = websocketpp::log::stub;
  static constexpr bool enable_multithreading = false;

  struct transport_config : websocketpp::config::asio::transport_config {
    using concurrency_type = Config::concurrency_type;
    using alog_type = Config::alog_type;
    using elog_type = Config::elog_type;
    static constexpr bool enable_multithreading = false;
  };
  using transport_type = websocketpp::transport::asio::endpoint<transport_config>;
};

using Server = websocketpp::server<Config>;
using Handle = websocketpp::connection_hdl;
using Handles = std::set<Handle, std::owner_less<Handle>>;
namespace frame = websocketpp::frame;

/// A member's text as it stands in the JSON, escapes and all, from `from` on; nothing if there is none.
struct Member {
  std::string_view text;
  std::size_t end = std::string_view::npos;
  explicit operator bool() const { return end != std::string_view::npos; }
};

Member member(std::string_view json, std::string_view before, std::size_t from = 0) {
  std::size_t begin = json.find(before, from);
  if (begin == json.npos) return {};
  begin += before.size();
  std::size_t end = begin;
  while (end < json.size() && json[end] != '"') end += json[end] == '\\' ? 2 : 1;
  if (end >= json.size()) return {};
  return {json.substr(begin, end - begin), end};
}

std::string event(std::string_view name, std::string_view channel, std::string_view data) {
  std::string text = R"({"event":")";
  text.append(name).append(R"(","channel":")").append(channel).append(R"(","data":")").append(data).append(R"("})");
  return text;
}

class Peer {
 public:
  explicit Peer(bool prepared) : prepared_(prepared) {
    server_.init_asio();
    server_.set_reuse_addr(true);
    server_.set_listen_backlog(1024);
    server_.set_open_handler([this](Handle handle) { open(handle); });
    server_.set_close_handler([this](Handle handle) { close(handle); });
    server_.set_fail_handler([this](Handle handle) { close(handle); });
    server_.set_message_handler([this](Handle handle, const Server::message_ptr& message) {
      if (message->get_opcode() == frame::opcode::text) receive(handle, message->get_payload());
    });
    server_.set_http_handler([this](Handle handle) { request(handle); });
  }

  void run(std::uint16_t port) {
    server_.listen(websocketpp::lib::asio::ip::tcp::endpoint(websocketpp::lib::asio::ip::address_v4::loopback(), port));
    server_.start_accept();
    server_.run();
  }

 private:
  void send(const Handle& handle, const std::string& text) {
    websocketpp::lib::error_code gone;  // it closes, and its handler will say so
    server_.send(handle, text, frame::opcode::text, gone);
  }

  void open(const Handle& handle) {
    joined_[handle];
    send(handle, R"({"event":"pusher:connection_established","data":"{\"socket_id\":\"1.)" +
                     std::to_string(++connections_) + R"(\",\"activity_timeout\":120}"})");
  }

  void close(const Handle& handle) {
    const auto found = joined_.find(handle);
    if (found == joined_.end()) return;
    for (const std::string& channel : found->second) {
      const auto it = channels_.find(channel);
      if (it == channels_.end()) continue;
      it->second.erase(handle);
      if (it->second.empty()) channels_.erase(it);
    }
    joined_.erase(found);
  }

  void receive(const Handle& handle, const std::string& message) {
    const Member name = member(message, R"("event":")");
    const Member channel = member(message, R"("channel":")");
    if (name && name.text == "pusher:ping") {
      send(handle, R"({"event":"pusher:pong","data":"{}"})");
    } else if (name && channel && name.text == "pusher:subscribe") {
      channels_[std::string(channel.text)].insert(handle);
      joined_[handle].insert(std::string(channel.text));
      send(handle, event("pusher_internal:subscription_succeeded", channel.text, "{}"));
    } else if (name && channel && name.text.substr(0, 7) == "client-") {
      const Member data = member(message, R"("data":")");
      if (data && joined_[handle].count(std::string(channel.text)) != 0) {
        publish(channel.text, event(name.text, channel.text, data.text), &handle);
      }
    }
  }

  /// `events` and `batch_events`, of which it reads the first channel of each event.
  void request(const Handle& handle) {
    const Server::connection_ptr connection = server_.get_con_from_hdl(handle);
    const std::string& body = connection->get_request_body();
    for (std::size_t at = 0;;) {
      const Member name = member(body, R"("name":")", at);
      const Member data = name ? member(body, R"("data":")", name.end) : Member();
      if (!data) break;
      const std::string_view between = std::string_view(body).substr(name.end, data.end - name.end);
      const Member several = member(between, R"("channels":[")");
      const Member channel = several ? several : member(between, R"("channel":")");
      if (channel) publish(channel.text, event(name.text, channel.text, data.text), nullptr);
      at = data.end;
    }
    connection->set_status(websocketpp::http::status_code::ok);
    connection->append_header("Content-Type", "application/json");
    connection->append_header("Connection", "close");  // as it does, without saying it
    connection->set_body("{}");
  }

  void publish(std::string_view channel, const std::string& text, const Handle* sender) {
    const auto found = channels_.find(std::string(channel));
    if (found == channels_.end()) return;
    const Server::message_ptr message = prepared_ ? prepare(text) : nullptr;
    const std::owner_less<Handle> less;
    for (const Handle& handle : found->second) {
      if (sender != nullptr && !less(handle, *sender) && !less(*sender, handle)) continue;
      if (!prepared_) {
        send(handle, text);
        continue;
      }
      websocketpp::lib::error_code gone;
      server_.send(handle, message, gone);
    }
  }

  /// A message with its frame's header, which `send` then takes as it is.
  static Server::message_ptr prepare(const std::string& text) {
    auto message = std::make_shared<Config::message_type>(nullptr, frame::opcode::text, text.size());
    message->set_payload(text);
    message->set_header(frame::prepare_header(frame::basic_header(frame::opcode::text, text.size(), true, false),
                                              frame::extended_header(text.size())));
    message->set_prepared(true);
    return message;
  }

  Server server_;
  bool prepared_;
  std::uint64_t connections_ = 0;
  std::unordered_map<std::string, Handles> channels_;
  std::map<Handle, std::set<std::string>, std::owner_less<Handle>> joined_;
};

}  // namespace

int main(int argc, char** argv) {
  const bool prepared = argc == 3 && std::string_view(argv[2]) == "--prepared";
  const int port = argc >= 2 ? std::atoi(argv[1]) : 0;
  if (port < 1 || port > 65'535 || argc > (prepared ? 3 : 2)) {
    std::cerr << "usage: websocketpp-peer PORT [--prepared]\n";
    return 2;
  }
  try {
    Peer(prepared).run(static_cast<std::uint16_t>(port));
  } catch (const std::exception& error) {
    std::cerr << "websocketpp-peer: " << error.what() << '\n';
    return 1;
  }
}
