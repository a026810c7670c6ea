// expect: fanfare: Fanout: the type does not satisfy the concept fanfare::transport::Port
#include <fanfare/transport/fanout.hpp>

struct Wire : fanfare::transport::Peer {};
struct Unread final : fanfare::transport::Door {
  Unread() : Door(1024) {}
  void wake() noexcept override {}
  std::ptrdiff_t write(Wire& wire, std::string_view bytes) noexcept;  // and nothing of what else there must be
};

void make(Unread& port) { fanfare::transport::Fanout<Unread, Wire> fanout(port, port, {}); }
