// One iteration makes the bytes that sockets are sent of one event, whose data has N bytes.
//
//   fanfare/…   FrameEncoder, into memory that is there: a whole WebSocket frame
//   boost/…     a boost::json::object and serialize: the JSON alone, without the frame
//   memcpy/…    the floor: a copy of the finished frame
//
//   …/quoted    data is JSON text in which every sixth character is a quote
//   …/plain     data is letters
#include "../work.hpp"

#include <fanfare/core/wire.hpp>
#include <benchmark/benchmark.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace {

enum class Text : bool { quoted, plain };

std::string text_of(Text kind, std::size_t size) {
  const std::string_view part = kind == Text::quoted ? work::json_object : "abcdefghijklmnop";
  std::string text;
  while (text.size() < size) text += part;
  text.resize(size);
  return text;
}

fanfare::MessageParts parts_of(std::string_view data) { return {work::channel, work::event, data}; }

/// What is behind a frame's header (RFC 6455 §5.2).
std::string_view payload_of(std::string_view frame) {
  if (frame.size() < 2) return {};
  const unsigned size = static_cast<unsigned char>(frame[1]) & 0x7fU;
  return frame.substr(size < 126 ? 2 : size == 126 ? 4 : 10);
}

/// Whether a text is JSON that says the event.
bool says(std::string_view json, std::string_view data) {
  boost::json::error_code error;
  const boost::json::value value = boost::json::parse({json.data(), json.size()}, error);
  return !error && value.is_object() && value.as_object().size() == 3 && value.at("event").as_string() == work::event &&
         value.at("channel").as_string() == work::channel && value.at("data").as_string() == data;
}

void fanfare_encode(benchmark::State& state, Text kind) {
  const std::string data = text_of(kind, static_cast<std::size_t>(state.range(0)));
  const fanfare::FrameEncoder encoder;
  const std::string expected = work::frame_of(parts_of(data));
  std::string space(2 * expected.size() + 64, '\0');
  std::size_t written = 0;
  for (auto _ : state) {
    const fanfare::MessageParts parts = parts_of(data);
    const std::span<char> out{space.data(), encoder.bound(parts)};
    benchmark::DoNotOptimize(encoder.encode(parts, std::as_writable_bytes(out), written));
    benchmark::ClobberMemory();
  }
  const std::string_view frame{space.data(), written};
  if (frame != expected || !says(payload_of(frame), data)) state.SkipWithError("the frame is wrong");
}

void boost_encode(benchmark::State& state, Text kind) {
  const std::string data = text_of(kind, static_cast<std::size_t>(state.range(0)));
  std::string json;
  for (auto _ : state) {
    const boost::json::object object{{"event", work::event}, {"channel", work::channel}, {"data", data}};
    json = boost::json::serialize(object);
    benchmark::DoNotOptimize(json.data());
  }
  if (!says(json, data)) state.SkipWithError("the JSON is wrong");
}

void copy(benchmark::State& state, Text kind) {
  const std::string data = text_of(kind, static_cast<std::size_t>(state.range(0)));
  const std::string frame = work::frame_of(parts_of(data));
  std::string space(frame.size(), '\0');
  for (auto _ : state) {
    std::memcpy(space.data(), frame.data(), frame.size());
    benchmark::ClobberMemory();
  }
  if (frame.empty() || space != frame) state.SkipWithError("the copy is wrong");
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int n : {100, 1024, 10240}) b->Arg(n);
}

BENCHMARK_CAPTURE(fanfare_encode, quoted, Text::quoted)->Name("encode/fanfare/quoted")->Apply(sizes);
BENCHMARK_CAPTURE(fanfare_encode, plain, Text::plain)->Name("encode/fanfare/plain")->Apply(sizes);
BENCHMARK_CAPTURE(boost_encode, quoted, Text::quoted)->Name("encode/boost/quoted")->Apply(sizes);
BENCHMARK_CAPTURE(boost_encode, plain, Text::plain)->Name("encode/boost/plain")->Apply(sizes);
BENCHMARK_CAPTURE(copy, quoted, Text::quoted)->Name("encode/memcpy/quoted")->Apply(sizes);
BENCHMARK_CAPTURE(copy, plain, Text::plain)->Name("encode/memcpy/plain")->Apply(sizes);

}  // namespace
