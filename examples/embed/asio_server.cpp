// An Asio application on one thread: a protocol of lines, a timer, signals and fanfare, all on its own io_context.
//
// usage: asio_server [PORT [LINE_PORT]]     0: any free one
#include <fanfare/server.hpp>

#include <asio.hpp>

#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

using asio::ip::tcp;

// Triggers each line that it is sent, `CHANNEL EVENT DATA`, and answers with what became of it.
class LineClient : public std::enable_shared_from_this<LineClient> {
 public:
  LineClient(tcp::socket socket, fanfare::App& app) : socket_(std::move(socket)), app_(app) {}
  void read() {
    asio::async_read_until(socket_, input_, '\n', [self = shared_from_this()](auto error, auto) {
      if (!error) self->take_line();
    });
  }

 private:
  void take_line() {
    std::string line, channel, event, data;
    std::getline(std::istream(&input_), line);
    std::istringstream words(line);
    std::getline(words >> channel >> event >> std::ws, data);
    const auto sent = app_.trigger(channel, event, data);
    answer_ = std::string(message(sent.error)) + ": " + std::to_string(sent.delivered) + '\n';
    asio::async_write(socket_, asio::buffer(answer_), [self = shared_from_this()](auto error, auto) {
      if (!error) self->read();
    });
  }

  tcp::socket socket_;
  fanfare::App& app_;
  asio::streambuf input_{16 * 1024};  // a longer line ends the connection
  std::string answer_;
};

void accept(tcp::acceptor& acceptor, fanfare::App& app) {
  acceptor.async_accept([&](auto error, tcp::socket socket) {
    if (!error) std::make_shared<LineClient>(std::move(socket), app)->read();
    accept(acceptor, app);
  });
}

// Acts ten times a second.
void tick(asio::steady_timer& timer, std::function<void()> act) {
  timer.expires_after(std::chrono::milliseconds(100));
  timer.async_wait([&timer, act = std::move(act)](auto) { act(), tick(timer, act); });
}

int main(int count, char** values) {
  asio::io_context context(1);
  fanfare::Server server{{.listen = {std::string("127.0.0.1:") + (count > 1 ? values[1] : "6001")}}};
  fanfare::App& app = server.add_app({.id = "42", .key = "a-key", .secret = "a-secret"});
  if (const auto started = server.start(context); !started) return std::cerr << started.text() << '\n', 1;
  const int line_port = count > 2 ? std::stoi(values[2]) : 7001;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), static_cast<asio::ip::port_type>(line_port)});
  accept(acceptor, app);
  asio::signal_set signals(context, SIGINT, SIGTERM);
  signals.async_wait([&](auto, auto) { server.stop(); });  // tells clients to come back, and does not wait here
  asio::steady_timer timer(context);
  tick(timer, [&, number = 0]() mutable {
    app.trigger("CLOCK", "tick", std::to_string(++number));
    if (server.stopped()) context.stop();  // the last client has gone
  });
  std::cout << "listening on http://" << server.endpoints().front() << '\n';
  std::cout << "lines on " << acceptor.local_endpoint() << std::endl;
  context.run();
}
