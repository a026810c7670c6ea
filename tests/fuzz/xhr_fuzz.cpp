// Any path, any body, any frames. What is accepted keeps its bounds and can be written again; frames make the same
// messages however they are spread over calls, and lines that a client can read.
//
// The first byte chooses what the rest is, the second how frames are cut.
#include <fanfare/transport/xhr.hpp>

#include <boost/json/error.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace xhr = fanfare::transport::xhr;
namespace websocket = fanfare::websocket;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "xhr_fuzz: %s\n", what);
  std::abort();
}

void path(std::string_view text, std::string_view prefix) {
  const auto address = xhr::parse_path(text, prefix);
  if (!address) return;
  expect(!address->key.empty() && address->key.size() <= xhr::longest_key, "key");
  expect(address->key.find('/') == std::string_view::npos, "key with a slash");
  expect(address->server < 1000, "server");
  expect(address->session.size() == xhr::session_size, "session");
  const std::string again = std::string(prefix) + "/app/" + std::string(address->key) + '/' +
                            std::to_string(address->server) + '/' + std::string(address->session) +
                            (address->kind == xhr::Kind::send      ? "/xhr_send"
                             : address->kind == xhr::Kind::polling ? "/xhr"
                                                                   : "/xhr_streaming");
  expect(xhr::parse_path(again, prefix) == address, "the same path, written again");
}

void body(std::string_view text) {
  constexpr xhr::SendLimits limits{.body_bytes = 2000, .messages = 5, .message_bytes = 100};
  const xhr::Sent sent = xhr::decode(text, limits);
  expect(sent.error == xhr::SendError::none || sent.texts.empty(), "an error and messages");
  expect(sent.texts.size() <= limits.messages, "number of messages");
  expect(sent.error == xhr::SendError::none ? xhr::http_status(sent.error) == 204 : xhr::http_status(sent.error) >= 400,
         "status");
  if (sent.error != xhr::SendError::none) return;
  std::string frames;
  for (const std::string& message : sent.texts) {
    expect(message.size() <= limits.message_bytes, "size of a message");
    expect(fanfare::detail::is_utf8(message), "text");
    websocket::append_frame(frames, websocket::Opcode::text, message);
  }
  // The line of these messages, but for its first letter, is the body of a client that sends them.
  std::string line;
  expect(xhr::convert(frames, line).used == frames.size(), "converted as a whole");
  if (!frames.empty()) expect(xhr::decode(std::string_view(line).substr(1)).texts == sent.texts, "the same again");
}

/// What a client makes of lines: each message, and each other line as it is. `a` of several is several `a` of one.
std::vector<std::string> read(std::string_view lines) {
  std::vector<std::string> result;
  while (!lines.empty()) {
    const std::size_t end = lines.find('\n');
    expect(end != std::string_view::npos && end != 0, "whole lines, and none empty");
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end + 1);
    expect(line[0] == 'a' || line[0] == 'c' || line == "h", "a line of this protocol");
    if (line == "h" || line == "a[]") {
      result.emplace_back(line);
      continue;
    }
    boost::json::error_code error;
    boost::json::parse_options options;
    options.allow_invalid_utf8 = true;  // frames of a server are text; these may be anything
    const auto value = boost::json::parse({line.data() + 1, line.size() - 1}, error, {}, options);
    expect(!error && value.is_array(), "JSON");
    for (const auto& element : value.get_array()) {
      expect(element.is_string() || line[0] == 'c', "strings");
      result.push_back(line[0] + (element.is_string() ? std::string(element.get_string()) : std::string("#")));
    }
  }
  return result;
}

void frames(std::string_view bytes, std::size_t cut) {
  std::string at_once;
  const xhr::Converted whole = xhr::convert(bytes, at_once, 1'000'000);
  expect(whole.used <= bytes.size(), "no more than there is");
  const std::vector<std::string> expected = read(at_once);

  // In pieces, each with what was left of the one before, and with little room.
  std::string lines;
  std::size_t used = 0;
  xhr::Converted last;
  for (std::size_t end = 0; last.close_code == 0 && last.error == xhr::ConvertError::none;) {
    last = xhr::convert(bytes.substr(used, end - used), lines, 1 + cut % 50);
    used += last.used;
    if (last.used != 0) continue;
    if (end == bytes.size()) break;
    cut = cut * 5 + 3;
    end = std::min(bytes.size(), end + 1 + cut % 40);
  }
  expect(used == whole.used, "as far as at once");
  expect(last.close_code == whole.close_code && last.error == whole.error, "the same end");
  expect(read(lines) == expected, "the same messages");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view rest{reinterpret_cast<const char*>(data) + 2, size - 2};
  switch (data[0] % 3) {
    case 0: path(rest, data[1] % 2 == 0 ? "" : "/x"); break;
    case 1: body(rest); break;
    default: frames(rest, data[1]);
  }
  return 0;
}
