// One registry, used by two translation units and a shared library.
#include "library.hpp"

#include <cstdio>

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "failed: %s\n", what);
}

}  // namespace

int main() {
  using fanfare::errc;

  expect(odr::overloaded_in_second() == errc::overloaded, "an error of the other translation unit compares equal");
  expect(odr::overloaded_in_library() == errc::overloaded, "an error of the library compares equal");
  expect(odr::overloaded_in_library() != errc::closed, "and differs from another");
  expect(odr::is_overloaded_in_library(make_error_code(errc::overloaded)), "the library knows an error of ours");
  expect(!odr::is_overloaded_in_library(make_error_code(errc::closed)), "and tells it from another");

  std::string here;
  std::string there;
  fanfare::Subscription left_over;
  {
    fanfare::ChannelRegistry<> channels;
    auto theirs = odr::subscribe_in_library(channels, there);
    auto inbox = channels.subscribe("odr", fanfare::Inbox{8});
    {
      auto ours = channels.subscribe("odr", [&here](fanfare::Subscription& subscription) {
        subscription.bind("letter", [&here](const fanfare::Event& event) { here += event.data(); });
      });
      expect(channels.trigger("odr", "letter", "a").delivered == 3, "a trigger of ours reaches all");
      expect(odr::trigger_in_second(channels, "b") == 3, "a trigger of the other translation unit reaches all");
      expect(odr::trigger_in_library(channels, "c").delivered == 3, "a trigger of the library reaches all");
    }
    expect(odr::trigger_in_library(channels, "d").delivered == 2, "the library sees that we left");
    theirs.reset();
    expect(channels.trigger("odr", "letter", "e").delivered == 1, "we end the library's subscription");

    std::string polled;
    inbox.poll([&polled](const fanfare::Event& event) { polled += event.data(); });
    expect(here == "abc", "our callback got its events in order");
    expect(there == "abcd", "the library's callback got its events in order");
    expect(polled == "abcde", "the inbox got all events in order");
    left_over = odr::subscribe_in_library(channels, there);
  }
  expect(left_over.error() == errc::closed, "a subscription of the library's outlives the registry");
  return failures;
}
