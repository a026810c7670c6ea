// Any bytes, in any pieces: the outcome is that of the bytes at once, and within the limits. What is accepted can be
// written down as a plain request and read again.
//
// The first byte chooses the limits, the next eight how the rest is split.
#include <fanfare/http/parser.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare::http;

constexpr std::size_t seed_bytes = 9;
constexpr ParserLimits small{200, 60, 6, 64};

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "http_fuzz: %s\n", what);
  std::abort();
}

struct Outcome {
  std::vector<Request> requests;
  ParserState state = ParserState::incomplete;
  ParserError error = ParserError::none;
  bool idle = true;
  bool expects_continue = false;
  std::size_t consumed = 0;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// splitmix64
std::uint64_t next(std::uint64_t& state) noexcept {
  state += 0x9e3779b97f4a7c15U;
  std::uint64_t mixed = state;
  mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
  return mixed ^ (mixed >> 31U);
}

/// \param most    the longest part; parts have any length up to it. 0: all bytes at once.
/// \param memory  what requests take their memory from, if they do.
Outcome run(std::string_view bytes, const ParserLimits& limits, std::size_t most, std::uint64_t seed,
            ParserMemory* memory = nullptr) {
  Parser parser{limits};
  Outcome outcome;
  while (!bytes.empty() && parser.state() != ParserState::failed) {
    std::string_view part = bytes.substr(0, most == 0 ? bytes.size() : 1 + next(seed) % most);
    bytes.remove_prefix(part.size());
    while (!part.empty() && parser.state() != ParserState::failed) {
      // A copy, so that a read beyond the part is one beyond an allocation.
      const std::vector<char> copy(part.begin(), part.end());
      const std::string_view given{copy.data(), copy.size()};
      const FeedResult result = memory == nullptr ? parser.feed(given) : parser.feed(given, *memory);
      expect(result.consumed <= part.size(), "consumed more than there was");
      expect(result.state != ParserState::incomplete || result.consumed == part.size(), "left bytes it wanted");
      expect(result.state == ParserState::failed || result.consumed > 0, "made no progress");
      outcome.consumed += result.consumed;
      part.remove_prefix(result.consumed);
      if (result.state == ParserState::complete) {
        outcome.requests.push_back(memory == nullptr ? parser.take() : *parser.take(*memory));
      }
    }
  }
  outcome.state = parser.state();
  outcome.error = parser.error();
  outcome.idle = parser.idle();
  outcome.expects_continue = parser.expects_continue();
  expect((outcome.state == ParserState::failed) == (outcome.error != ParserError::none), "failed without an error");
  expect(outcome.error != ParserError::out_of_memory, "ran out of memory");
  return outcome;
}

void check(const Request& request, const ParserLimits& limits) {
  expect(request.method.size() <= 32 && detail::is_token(request.method), "method");
  expect(request.target.starts_with('/'), "target begins with a slash");
  expect(request.target.size() <= limits.target_bytes + std::size_t{1}, "target within its limit");
  expect(request.target.find_first_of(std::string_view("\0\r\n #", 5)) == std::string::npos, "target is one word");
  expect(request.fields.size() <= limits.fields, "fields within their limit");
  expect(request.body.size() <= limits.body_bytes, "body within its limit");
  expect(request.version == 10 || request.version == 11, "version");
  std::size_t header = 0;
  for (const Field& field : request.fields) {
    header += field.name.size() + field.value.size();
    expect(detail::is_token(field.name), "name of a field");
    for (const char c : field.value) expect(!detail::is_control(c), "value of a field");
    expect(detail::trim(field.value) == field.value, "no space around a value");
  }
  expect(header <= limits.header_bytes, "header within its limit");
  expect(request.find("host") != nullptr || request.version == 10, "Host");
  expect(request.find("content-length") == nullptr || request.find("transfer-encoding") == nullptr, "one length");
  static_cast<void>(percent_decode(request.path(), false));
  static_cast<void>(query_parameters(request.query()));

  // Written with a length and read again it is the same request.
  std::string bytes =
      request.method + ' ' + request.target + (request.version == 10 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  Request expected = request;
  std::erase_if(expected.fields, [](const Field& field) {
    return detail::same_word(field.name, "transfer-encoding") || detail::same_word(field.name, "content-length");
  });
  expected.fields.push_back({"Content-Length", std::to_string(request.body.size())});
  for (const Field& field : expected.fields) bytes += field.name + ": " + field.value + "\r\n";
  bytes += "\r\n" + request.body;
  const ParserLimits wide{1U << 24U, 1U << 24U, 1U << 16U, 1U << 24U};
  const Outcome again = run(bytes, wide, 0, 0);
  expect(again.requests.size() == 1 && again.requests.front() == expected, "read again it is the same");
  expect(again.consumed == bytes.size(), "read again it is whole");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < seed_bytes) return 0;
  const ParserLimits limits = data[0] % 2 == 0 ? ParserLimits{} : small;
  std::uint64_t seed = 0;
  for (std::size_t i = 1; i < seed_bytes; ++i) seed = seed << 8U | data[i];
  const std::string_view bytes{reinterpret_cast<const char*>(data) + seed_bytes, size - seed_bytes};

  const Outcome whole = run(bytes, limits, 0, 0);
  for (const Request& request : whole.requests) check(request, limits);
  expect(run(bytes, limits, 1, 0) == whole, "byte by byte it is something else");
  expect(run(bytes, limits, 1 + data[0] / 2, seed) == whole, "in parts it is something else");
  ParserMemory memory;
  for (int i = 0; i < 2; ++i) {
    expect(run(bytes, limits, 1 + data[0] / 2, seed, &memory) == whole, "in the memory of others it is something else");
  }

  std::string out;
  if (whole.error != ParserError::none) append(out, error_response(whole.error), {});
  return 0;
}
