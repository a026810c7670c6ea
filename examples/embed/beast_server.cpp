// A server made with Boost.Beast, on one port: its own pages, and fanfare for the WebSockets and the HTTP API.
//
// usage: beast_server [PORT]     0: any free one
#include <fanfare/server.hpp>

#include <boost/asio.hpp>
#include <boost/beast.hpp>

#include <unistd.h>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

namespace beast = boost::beast;
namespace net = boost::asio;
using net::ip::tcp;

struct Connection : std::enable_shared_from_this<Connection> {
  Connection(tcp::socket socket, fanfare::Server& server, fanfare::App& app)
      : stream_(std::move(socket)), server_(server), app_(app) {}
  void read() {
    stream_.expires_after(std::chrono::seconds(60));
    beast::http::async_read(stream_, buffer_, request_ = {}, [self = shared_from_this()](auto error, auto) {
      if (!error) self->serve();
    });
  }
  void serve() {
    fanfare::http::Request request{request_.method_string(), request_.target(),  {},
                                   request_.body(),          request_.version(), request_.keep_alive()};
    for (const auto& field : request_) request.fields.push_back({field.name_string(), field.value()});
    if (request.path().starts_with("/app/") || request.path().starts_with("/pusher/app/")) return hand_over(request);
    answer_.clear();
    const bool open = append(answer_, answer(request), reply_to(request));
    net::async_write(stream_, net::buffer(answer_), [self = shared_from_this(), open](auto error, auto) {
      if (!error && open) self->read();
    });
  }
  fanfare::http::Response answer(const fanfare::http::Request& request) {
    if (auto answered = server_.handle(request)) return *std::move(answered);
    if (request.target == "/") return fanfare::http::text_response(200, "a page of the host");
    if (request.target != "/say") return fanfare::http::text_response(404, "there is no such page");
    const auto sent = app_.trigger("LOBBY_42", "said", request.body);  // the host is a publisher like any other
    return fanfare::http::text_response(sent ? 200 : 400, std::string(message(sent.error)));
  }
  void hand_over(const fanfare::http::Request& request) {
    const std::string behind = beast::buffers_to_string(buffer_.data());
    const int descriptor = stream_.release_socket().release();  // Asio lets go of it before it is another's
    if (server_.adopt(descriptor, request, behind) != fanfare::AdoptErrc::ok) ::close(descriptor);
  }
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  beast::http::request<beast::http::string_body> request_;
  std::string answer_;
  fanfare::Server& server_;
  fanfare::App& app_;
};

void accept(tcp::acceptor& acceptor, fanfare::Server& server, fanfare::App& app) {
  acceptor.async_accept([&](auto error, tcp::socket socket) {
    if (!error) std::make_shared<Connection>(std::move(socket), server, app)->read();
    accept(acceptor, server, app);
  });
}

int main(int count, char** values) {
  fanfare::Server server{{.listen = {}}};  // no port of its own, and a thread of its own
  fanfare::App& app = server.add_app({.id = "42", .key = "a-key", .secret = "a-secret"});
  if (const auto started = server.start(); !started) return std::cerr << started.text() << '\n', 1;
  net::io_context context(1);
  const auto port = static_cast<net::ip::port_type>(count > 1 ? std::stoi(values[1]) : 8000);
  tcp::acceptor acceptor(context, {net::ip::address_v4::loopback(), port});
  accept(acceptor, server, app);
  net::signal_set signals(context, SIGINT, SIGTERM);
  signals.async_wait([&](auto, auto) { context.stop(); });
  std::cout << "listening on http://" << acceptor.local_endpoint() << std::endl;
  context.run();
  server.stop();  // tells clients to come back
}
