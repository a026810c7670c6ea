// One iteration reads one message of a client: what the event is, and which channel it is for.
//
//   fanfare/…           ClientFrame
//   fanfare_relay/…     with the data as others are sent it
//   boost/…             boost::json::parse, on the heap
//   boost_monotonic/…   boost::json::parse with a monotonic_resource on the stack
//
//   …/event/N           an event of the client's own, with N bytes of data, which is an array of objects
//   …/subscribe         a subscription to a private channel
#include "../work.hpp"

#include <fanfare/pusher/client_frame.hpp>
#include <benchmark/benchmark.h>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace {

constexpr std::string_view channel = "private-LOBBY_42";

/// An array of objects, of exactly so many bytes.
std::string data_of(std::size_t size) {
  std::string text = "[";
  while (text.size() + work::json_object.size() + 3 < size) text += work::json_object;
  text += '"';
  text.resize(size - 2, 'x');
  text += "\"]";
  return text;
}

struct Message {
  std::string text;
  std::string_view event;
  std::string data;  ///< as others are sent it
};

Message client_event(std::size_t size) {
  std::string data = data_of(size);
  std::string text = R"({"event":"client-move","channel":")";
  text += channel;
  text += R"(","data":)";
  text += data;
  text += '}';
  return {std::move(text), "client-move", std::move(data)};
}

Message subscription() {
  std::string data =
      R"({"auth":"278d425bdf160c739803:a99e72e7cd40503d0735de99163f7ad1cdb2ae4dbc5ac1e3f3ee2ee2","channel":")";
  data += channel;
  data += "\"}";
  return {R"({"event":"pusher:subscribe","data":)" + data + "}", "pusher:subscribe", data};
}

enum class Kind : bool { event, subscribe };

Message message_of(benchmark::State& state, Kind kind) {
  return kind == Kind::event ? client_event(static_cast<std::size_t>(state.range(0))) : subscription();
}

/// \tparam Read      a function of (text, kind) that answers with the sizes of what it has read.
/// \param with_data   whether the data is among that.
template <auto Read>
void parse(benchmark::State& state, Kind kind, bool with_data) {
  const Message message = message_of(state, kind);
  std::size_t sizes = 0;
  for (auto _ : state) {
    sizes += Read(message.text, kind);
    benchmark::ClobberMemory();
  }
  const std::size_t expected = message.event.size() + channel.size() + (with_data ? message.data.size() : 0);
  if (sizes != static_cast<std::size_t>(state.iterations()) * expected) state.SkipWithError("something was misread");
}

std::size_t by_fanfare(std::string_view text, Kind kind) {
  fanfare::pusher::ClientFrame frame{text};
  return frame.event().size() +
         (kind == Kind::event ? frame.channel().text.size() : frame.parameter("channel").text.size());
}

std::size_t by_fanfare_with_data(std::string_view text, Kind /*kind*/) {
  const fanfare::pusher::ClientFrame frame{text};
  return frame.event().size() + frame.channel().text.size() + frame.data_text().size();
}

std::size_t read(const boost::json::value& value, Kind kind) {
  const boost::json::value& holder = kind == Kind::event ? value : value.at("data");
  return value.at("event").as_string().size() + holder.at("channel").as_string().size();
}

std::size_t by_boost(std::string_view text, Kind kind) {
  return read(boost::json::parse({text.data(), text.size()}), kind);
}

std::size_t by_boost_monotonic(std::string_view text, Kind kind) {
  std::array<unsigned char, 4096> buffer;
  boost::json::monotonic_resource memory{buffer.data(), buffer.size()};
  return read(boost::json::parse({text.data(), text.size()}, &memory), kind);
}

void add(const std::string& name, void (*run)(benchmark::State&, Kind, bool), bool with_data) {
  benchmark::RegisterBenchmark(("parse/" + name + "/event").c_str(), run, Kind::event, with_data)
      ->Arg(100)
      ->Arg(1024)
      ->Arg(10240);
  if (!with_data) benchmark::RegisterBenchmark(("parse/" + name + "/subscribe").c_str(), run, Kind::subscribe, false);
}

[[maybe_unused]] const bool added = [] {
  add("fanfare", &parse<&by_fanfare>, false);
  add("fanfare_relay", &parse<&by_fanfare_with_data>, true);
  add("boost", &parse<&by_boost>, false);
  add("boost_monotonic", &parse<&by_boost_monotonic>, false);
  return true;
}();

}  // namespace
