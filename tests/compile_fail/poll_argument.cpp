// expect: fanfare: a callback must be callable with \(const fanfare::Event&\)
#include <fanfare/fanfare.hpp>

void poll(fanfare::PolledSubscription& inbox) {
  inbox.poll([] {});
}
