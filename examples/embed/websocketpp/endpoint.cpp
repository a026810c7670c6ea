// The endpoint: plain websocketpp, C++17. Nothing of fanfare is in it.
#include "endpoint.hpp"

#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <websocketpp/config/asio_no_tls.hpp>
#include <websocketpp/server.hpp>

#include <utility>

using Server = websocketpp::server<websocketpp::config::asio>;
using Code = websocketpp::lib::error_code;
namespace opcode = websocketpp::frame::opcode;

struct Endpoint::Parts {
  asio::io_context context{1};
  asio::steady_timer timer{context};
  asio::signal_set signals{context, SIGINT, SIGTERM};
  Server server;
  Code ignored;  // it closes, and its handler says so
};

Endpoint::Endpoint() : parts_(std::make_unique<Parts>()) {
  Server& server = parts_->server;
  server.init_asio(&parts_->context);
  server.clear_access_channels(websocketpp::log::alevel::all);
  server.clear_error_channels(websocketpp::log::elevel::all);
  server.set_reuse_addr(true);
  server.set_open_handler([this, &server](const Handle& handle) {
    const auto connection = server.get_con_from_hdl(handle);
    on_open(handle, connection->get_resource(), connection->get_request_header("Origin"));
  });
  server.set_message_handler([this](const Handle& handle, const Server::message_ptr& message) {
    if (message->get_opcode() == opcode::text) on_message(handle, message->get_payload());
  });
  server.set_pong_handler([this](const Handle& handle, const std::string&) { on_pong(handle); });
  server.set_close_handler([this](const Handle& handle) { on_close(handle); });
  server.set_http_handler([this, &server](const Handle& handle) {
    const auto connection = server.get_con_from_hdl(handle);
    const std::string& method = connection->get_request().get_method();
    const Answer answer = on_request(method, connection->get_resource(), connection->get_request_body());
    connection->set_status(static_cast<websocketpp::http::status_code::value>(answer.status));
    if (!answer.type.empty()) connection->append_header("Content-Type", answer.type);
    connection->append_header("Connection", "close");  // as it does, without saying it
    connection->set_body(answer.body);
  });
  parts_->signals.async_wait([this](const Code& error, int) {
    if (!error) on_signal();
  });
}

Endpoint::~Endpoint() = default;
int Endpoint::listen(int port) {
  using namespace asio::ip;
  parts_->server.listen(tcp::endpoint(address_v4::loopback(), static_cast<std::uint16_t>(port)));
  parts_->server.start_accept();
  return parts_->server.get_local_endpoint(parts_->ignored).port();
}
void Endpoint::run() { parts_->context.run(); }
void Endpoint::stop() {
  parts_->server.stop_listening(parts_->ignored);
  set_timer(std::chrono::seconds(1), [this] { parts_->context.stop(); });  // what is on its way may arrive
}
void Endpoint::post(std::function<void()> f) { asio::post(parts_->context, std::move(f)); }
void Endpoint::set_timer(std::chrono::milliseconds wait, std::function<void()> f) {
  parts_->timer.expires_after(wait);
  parts_->timer.async_wait([f = std::move(f)](const Code& error) {
    if (!error) f();
  });
}

bool Endpoint::send(const Handle& handle, std::string_view text) {
  Code error;
  parts_->server.send(handle, text.data(), text.size(), opcode::text, error);
  return !error;
}
void Endpoint::ping(const Handle& handle) { parts_->server.ping(handle, {}, parts_->ignored); }
void Endpoint::close(const Handle& handle, std::uint16_t code, std::string_view reason) {
  parts_->server.close(handle, code, std::string(reason), parts_->ignored);
}
std::size_t Endpoint::buffered(const Handle& handle) {
  const auto connection = parts_->server.get_con_from_hdl(handle, parts_->ignored);
  return connection == nullptr ? 0 : connection->get_buffered_amount();
}
