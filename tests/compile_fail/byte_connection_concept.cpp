// expect: fanfare: ByteTransport: the type does not satisfy the concept fanfare::transport::ByteConnection
#include <fanfare/transport/bytes.hpp>

struct Forgetful {
  void write(std::string_view bytes);  // does not say how many it has taken
  void close();
};

fanfare::transport::ByteTransport<Forgetful>* server(fanfare::pusher::AppList& apps) {
  return new fanfare::transport::ByteTransport<Forgetful>(apps);
}
