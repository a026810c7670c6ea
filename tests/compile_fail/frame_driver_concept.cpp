// expect: fanfare: welcome: the type does not satisfy the concept fanfare::transport::FrameDriver
#include <fanfare/transport/perform.hpp>

struct Frameless {
  void send_text(fanfare::transport::Peer& peer, std::string_view text);
  void send_ping(fanfare::transport::Peer& peer);
  void close(fanfare::transport::Peer& peer, std::uint16_t code, std::string_view reason);
};

void greet(Frameless& driver, fanfare::transport::Peer& peer, fanfare::pusher::Session& session,
           const fanfare::transport::Entrance& entrance) {
  fanfare::transport::welcome(driver, peer, session, entrance);
}
