// Feeds the same bytes to a receiver at once, byte by byte and in the pieces that the input says, and to websocketpp's
// processor alone. All must see the same messages and end the same way.
#include "../support/websocket.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace fanfare;
  if (size < 2) return 0;
  // The first byte chooses the limit, the second how the stream is cut.
  const std::size_t limits[]{65'536, 1'000, 100, 10};
  const std::size_t limit = limits[data[0] % 4];
  std::size_t cut = data[1];
  const std::string stream(reinterpret_cast<const char*>(data) + 2, size - 2);

  websocket::ProcessorPool pool({limit, 1'000'000}, 1);
  const test::Outcome expected = test::PlainProcessor(limit).receive(stream);
  const bool same = test::receive(pool, stream) == expected && test::receive_bytewise(pool, stream) == expected &&
                    test::receive(pool, stream, [&cut](std::size_t left) {
                      cut = cut * 5 + 3;
                      return 1 + cut % left;
                    }) == expected;
  if (!same || pool.attached() != 0) std::abort();

  // With few frames allowed the outcome is the same, or that refusal.
  websocket::ProcessorPool few({limit, 2}, 0);
  const test::Outcome outcome = test::receive(few, stream);
  if (outcome != expected && outcome.failure != websocket::close_code::too_big) std::abort();
  return 0;
}
