// expect: fanfare: HostedTransport: the type does not satisfy the concept fanfare::transport::HostConnection
#include <fanfare/transport/hosted.hpp>

struct Speechless {
  void send(std::string_view text);  // and no close
};

fanfare::transport::HostedTransport<Speechless>* clients(fanfare::pusher::AppList& apps) {
  return new fanfare::transport::HostedTransport<Speechless>(apps);
}
