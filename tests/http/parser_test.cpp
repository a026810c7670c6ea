#include <fanfare/http/parser.hpp>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <new>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

// Replaced below, so that the tests see what the parser allocates.
struct Heap {
  std::size_t live = 0;     // allocations not yet freed
  std::size_t largest = 0;  // bytes of the largest one
  std::size_t refuse_above = static_cast<std::size_t>(-1);
};
Heap heap;

void* allocate(std::size_t bytes) {
  void* const memory = bytes > heap.refuse_above ? nullptr : std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  ++heap.live;
  heap.largest = std::max(heap.largest, bytes);
  return memory;
}

void deallocate(void* memory) noexcept {
  if (memory == nullptr) return;
  --heap.live;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void operator delete(void* memory) noexcept { deallocate(memory); }
void operator delete[](void* memory) noexcept { deallocate(memory); }
void operator delete(void* memory, std::size_t) noexcept { deallocate(memory); }
void operator delete[](void* memory, std::size_t) noexcept { deallocate(memory); }

FANFARE_NAMESPACE_BEGIN
namespace http {

void PrintTo(const Request& request, std::ostream* out) {
  *out << request.method << ' ' << request.target << ' ' << request.version
       << (request.keep_alive ? " kept" : " closed");
  for (const Field& field : request.fields) *out << " [" << field.name << ": " << field.value << ']';
  *out << " {" << request.body << '}';
}
void PrintTo(ParserError error, std::ostream* out) { *out << to_string(error); }

}  // namespace http
FANFARE_NAMESPACE_END

namespace {

using fanfare::http::FeedResult;
using fanfare::http::Field;
using fanfare::http::Parser;
using fanfare::http::ParserError;
using fanfare::http::ParserLimits;
using fanfare::http::ParserState;
using fanfare::http::Request;
using namespace std::string_literals;

// -- running a parser ------------------------------------------------------------------------------------------------

struct Outcome {
  std::vector<Request> requests;
  ParserState state = ParserState::incomplete;
  ParserError error = ParserError::none;
  bool idle = true;
  bool expects_continue = false;
  std::size_t consumed = 0;

  friend bool operator==(const Outcome&, const Outcome&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
    out << "state " << static_cast<int>(outcome.state) << ", " << to_string(outcome.error) << ", " << outcome.consumed
        << " bytes, " << (outcome.idle ? "idle, " : "") << (outcome.expects_continue ? "expecting, " : "");
    for (const Request& request : outcome.requests) out << testing::PrintToString(request) << '\n';
    return out;
  }
};

void feed(Parser& parser, std::string_view bytes, Outcome& outcome) {
  while (true) {
    const FeedResult result = parser.feed(bytes);
    EXPECT_LE(result.consumed, bytes.size());
    EXPECT_EQ(result.state, parser.state());
    outcome.consumed += result.consumed;
    bytes.remove_prefix(result.consumed);
    if (result.state != ParserState::complete) break;
    outcome.requests.push_back(parser.take());
    if (bytes.empty()) break;
  }
  EXPECT_TRUE(parser.state() != ParserState::incomplete || bytes.empty());
  outcome.state = parser.state();
  outcome.error = parser.error();
  outcome.idle = parser.idle();
  outcome.expects_continue = parser.expects_continue();
}

Outcome at_once(std::string_view bytes, const ParserLimits& limits = {}) {
  Parser parser{limits};
  Outcome outcome;
  feed(parser, bytes, outcome);
  return outcome;
}

Outcome byte_by_byte(std::string_view bytes, const ParserLimits& limits = {}) {
  Parser parser{limits};
  Outcome outcome;
  for (std::size_t i = 0; i < bytes.size(); ++i) feed(parser, bytes.substr(i, 1), outcome);
  return outcome;
}

// In up to three parts.
Outcome split(std::string_view bytes, std::size_t first, std::size_t second, const ParserLimits& limits = {}) {
  Parser parser{limits};
  Outcome outcome;
  feed(parser, bytes.substr(0, first), outcome);
  feed(parser, bytes.substr(first, second - first), outcome);
  feed(parser, bytes.substr(second), outcome);
  return outcome;
}

Request only(std::string_view bytes, const ParserLimits& limits = {}) {
  const Outcome outcome = at_once(bytes, limits);
  EXPECT_EQ(outcome.error, ParserError::none);
  EXPECT_EQ(outcome.consumed, bytes.size());
  EXPECT_EQ(outcome.requests.size(), 1U);
  return outcome.requests.empty() ? Request{} : outcome.requests.front();
}

// What Beast's own parser makes of it, all bytes at once. It is an answer about Beast, kept here so that a new version of
// it that takes or refuses more is noticed.
enum class Beast { accepts, waits, refuses };

Beast beast_alone(std::string_view bytes) {
  boost::beast::http::request_parser<boost::beast::http::string_body> parser;
  parser.eager(true);
  boost::beast::error_code error;
  parser.put(boost::asio::const_buffer(bytes.data(), bytes.size()), error);
  if (error == boost::beast::http::error::need_more) return Beast::waits;
  if (error) return Beast::refuses;
  return parser.is_done() ? Beast::accepts : Beast::waits;
}

// -- what is accepted ------------------------------------------------------------------------------------------------

struct Accepted {
  const char* name;
  std::string bytes;
  Request request;
};

Request made(std::string method, std::string target, std::vector<Field> fields, std::string body = {},
             unsigned version = 11, bool keep_alive = true) {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.fields = std::move(fields);
  request.body = std::move(body);
  request.version = version;
  request.keep_alive = keep_alive;
  return request;
}

const std::vector<Accepted>& accepted() {
  static const std::vector<Accepted> all{
      {"plain", "GET /apps/42/channels?info=a HTTP/1.1\r\nHost: h:6001\r\n\r\n",
       made("GET", "/apps/42/channels?info=a", {{"Host", "h:6001"}})},
      {"spaces around a value", "GET / HTTP/1.1\r\nHost: \t h \t\r\nX:\r\nY: a \t b\r\n\r\n",
       made("GET", "/", {{"Host", "h"}, {"X", ""}, {"Y", "a \t b"}})},
      {"length", "POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nh\0\r\nx"s,
       made("POST", "/e", {{"Host", "h"}, {"Content-Length", "5"}}, "h\0\r\nx"s)},
      {"length 0", "POST /e HTTP/1.1\r\nHost: h\r\ncontent-LENGTH: 0\r\n\r\n",
       made("POST", "/e", {{"Host", "h"}, {"content-LENGTH", "0"}})},
      {"length with zeros before it", "POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 002\r\n\r\nab",
       made("POST", "/e", {{"Host", "h"}, {"Content-Length", "002"}}, "ab")},
      {"length of many digits", "POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 00000000000002\r\n\r\nab",
       made("POST", "/e", {{"Host", "h"}, {"Content-Length", "00000000000002"}}, "ab")},
      {"kept, and said so", "POST /e HTTP/1.1\r\nConnection: Keep-Alive\r\nhost: h\r\ncontent-length: 2\r\n\r\nab",
       made("POST", "/e", {{"Connection", "Keep-Alive"}, {"host", "h"}, {"content-length", "2"}}, "ab")},
      {"closed and nothing else", "POST /e HTTP/1.1\r\nHost: h\r\nCONNECTION: CLOSE\r\nContent-Length: 1\r\n\r\na",
       made("POST", "/e", {{"Host", "h"}, {"CONNECTION", "CLOSE"}, {"Content-Length", "1"}}, "a", 11, false)},
      {"kept and closed",
       "GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\nConnection: keep-alive\r\nHost: h\r\n\r\n",
       made("GET", "/",
            {{"Connection", "keep-alive"}, {"Connection", "close"}, {"Connection", "keep-alive"}, {"Host", "h"}}, "",
            11, false)},
      {"body of a GET", "GET /e HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
       made("GET", "/e", {{"Host", "h"}, {"Content-Length", "1"}}, "x")},
      {"chunks",
       "POST /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0A\r\n0123456789\r\n0\r\n\r\n",
       made("POST", "/e", {{"Host", "h"}, {"Transfer-Encoding", "Chunked"}}, "a0123456789")},
      {"no chunks", "POST /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n000\r\n\r\n",
       made("POST", "/e", {{"Host", "h"}, {"Transfer-Encoding", "chunked"}})},
      {"chunk extensions and trailers",
       "POST /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
       "2;a;b=c;d=\"e;\\\"\"\r\n\r\n\r\n0;last ; x = y\r\nX-Sum: 1\r\nHost: other\r\n\r\n",
       made("POST", "/e", {{"Host", "h"}, {"Transfer-Encoding", "chunked"}}, "\r\n")},
      {"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", made("GET", "/", {}, "", 10, false)},
      {"HTTP/1.0 kept", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
       made("GET", "/", {{"Connection", "Keep-Alive"}}, "", 10, true)},
      {"HTTP/1.0 kept and closed", "GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n",
       made("GET", "/", {{"Connection", "Keep-Alive, close"}}, "", 10, false)},
      {"HTTP/1.0 with an expectation", "POST / HTTP/1.0\r\nExpect: anything\r\nContent-Length: 1\r\n\r\nx",
       made("POST", "/", {{"Expect", "anything"}, {"Content-Length", "1"}}, "x", 10, false)},
      {"HTTP/1.1 closed", "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n",
       made("GET", "/", {{"Host", "h"}, {"Connection", "x, Close"}}, "", 11, false)},
      {"upgrade",
       "GET /app/key?protocol=7 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
       made("GET", "/app/key?protocol=7",
            {{"Host", "h"}, {"Connection", "keep-alive, Upgrade"}, {"Upgrade", "websocket"}})},
      {"URL", "GET http://a.example:80/p?q HTTP/1.1\r\nHost: b\r\n\r\n",
       made("GET", "/p?q", {{"Host", "a.example:80"}})},
      {"URL without a path", "GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n", made("GET", "/", {{"Host", "a"}})},
      {"URL with a query alone", "GET http://[::1]:6001?q HTTP/1.1\r\nHost: [::1]:6001\r\n\r\n",
       made("GET", "/?q", {{"Host", "[::1]:6001"}})},
      {"no host at all, but said so", "GET / HTTP/1.1\r\nHost:\r\n\r\n", made("GET", "/", {{"Host", ""}})},
      {"empty line before it", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", made("GET", "/", {{"Host", "h"}})},
      {"unknown method", "PURGE / HTTP/1.1\r\nHost: h\r\n\r\n", made("PURGE", "/", {{"Host", "h"}})},
      {"method in another case", "get / HTTP/1.1\r\nHost: h\r\n\r\n", made("get", "/", {{"Host", "h"}})},
      {"OPTIONS", "OPTIONS /app/key/1/a/xhr HTTP/1.1\r\nHost: h\r\nOrigin: http://o\r\n\r\n",
       made("OPTIONS", "/app/key/1/a/xhr", {{"Host", "h"}, {"Origin", "http://o"}})},
      {"bytes above 127", "GET /\xc3\xbc HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n",
       made("GET", "/\xc3\xbc", {{"Host", "h"}, {"X", "\xff"}})},
      {"a field that only looks like one",
       "POST / HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\nContent-Length: 1\r\n\r\nx",
       made("POST", "/", {{"Host", "h"}, {"Transfer_Encoding", "chunked"}, {"Content-Length", "1"}}, "x")},
  };
  return all;
}

TEST(Parser, accepts) {
  for (const Accepted& test : accepted()) {
    SCOPED_TRACE(test.name);
    EXPECT_EQ(only(test.bytes), test.request);
  }
}

// -- what is refused -------------------------------------------------------------------------------------------------

struct Refused {
  const char* name;
  std::string bytes;
  ParserError error;
  Beast beast;  // what Beast's parser does without us
};

std::string with(std::string_view fields, std::string_view body = {}) {
  return "POST / HTTP/1.1\r\nHost: h\r\n" + std::string(fields) + "\r\n" + std::string(body);
}

std::string chunked(std::string_view body) { return with("Transfer-Encoding: chunked\r\n", body); }

const std::vector<Refused>& refused() {
  static const std::vector<Refused> all{
      // The request line.
      {"nothing but line ends", "\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"no method", " / HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"method that is no token", "G(T / HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"long method", std::string(33, 'G') + " / HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::unsupported_method,
       Beast::accepts},
      {"CONNECT", "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::unsupported_method, Beast::accepts},
      {"tab for space", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_target, Beast::refuses},
      {"two spaces later", "GET /  HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"space at the end", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"HTTP/0.9", "GET /\r\n\r\n", ParserError::bad_target, Beast::refuses},
      {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", ParserError::unsupported_version, Beast::refuses},
      {"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ParserError::unsupported_version, Beast::refuses},
      {"http/1.1", "GET / http/1.1\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"HTTP/1.10", "GET / HTTP/1.10\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"HTTP/11", "GET / HTTP/11\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"another protocol", "GET / RTSP/1.0\r\nHost: h\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"a response", "HTTP/1.1 200 OK\r\n\r\n", ParserError::bad_request_line, Beast::refuses},
      {"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"s, ParserError::bad_character, Beast::refuses},
      // The target.
      {"asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_target, Beast::accepts},
      {"relative", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_target, Beast::accepts},
      {"host alone", "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_target, Beast::accepts},
      {"fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_target, Beast::accepts},
      {"other scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_target, Beast::accepts},
      {"URL without host", "GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_target, Beast::accepts},
      {"URL with user", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_target, Beast::accepts},
      {"NUL in the target", "GET /\0a HTTP/1.1\r\nHost: h\r\n\r\n"s, ParserError::bad_character, Beast::refuses},
      {"DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_character, Beast::refuses},
      // Lines.
      {"bare LF behind the request line", "GET / HTTP/1.1\nHost: h\r\n\r\n", ParserError::bad_line_ending,
       Beast::refuses},
      {"bare LF behind a field", with("X: a\nY: b\r\n"), ParserError::bad_line_ending, Beast::refuses},
      {"bare LF for the empty line", "GET / HTTP/1.1\r\nHost: h\r\n\nGET", ParserError::bad_line_ending,
       Beast::refuses},
      {"bare LF everywhere", "GET / HTTP/1.1\nHost: h\n\n", ParserError::bad_line_ending, Beast::refuses},
      {"bare LF before it", "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_line_ending, Beast::refuses},
      {"bare CR in a value", with("X: a\rY: b\r\n"), ParserError::bad_line_ending, Beast::refuses},
      {"bare CR before a field", with("\rX: a\r\n"), ParserError::bad_line_ending, Beast::refuses},
      {"CR CR LF", with("X: a\r\r\n"), ParserError::bad_line_ending, Beast::refuses},
      {"bare CR before it", "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_line_ending, Beast::refuses},
      {"two empty lines before it", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", ParserError::bad_request_line,
       Beast::refuses},
      {"folded", with("X: a\r\n b\r\n"), ParserError::folded_line, Beast::accepts},
      {"folded with a tab", with("X: a\r\n\tb\r\n"), ParserError::folded_line, Beast::accepts},
      {"folded length", with("Content-Length:\r\n 5\r\n", "hello"), ParserError::folded_line, Beast::accepts},
      {"space before the first field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", ParserError::folded_line, Beast::refuses},
      // Fields.
      {"NUL in a value", with("X: a\0b\r\n"s), ParserError::bad_character, Beast::refuses},
      {"control character in a value", with("X: a\x01\r\n"), ParserError::bad_character, Beast::refuses},
      {"vertical tab in a value", with("Transfer-Encoding: \vchunked\r\n"), ParserError::bad_character, Beast::refuses},
      {"DEL in a value", with("X: \x7f\r\n"), ParserError::bad_character, Beast::refuses},
      {"NUL in a name", with("X\0: a\r\n"s), ParserError::bad_character, Beast::refuses},
      {"space before the colon", with("Content-Length : 5\r\n", "hello"), ParserError::bad_field, Beast::refuses},
      {"tab before the colon", with("Transfer-Encoding\t: chunked\r\n"), ParserError::bad_field, Beast::refuses},
      {"space in a name", with("X Y: a\r\n"), ParserError::bad_field, Beast::refuses},
      {"no name", with(": a\r\n"), ParserError::bad_field, Beast::refuses},
      {"no colon", with("Xa\r\n"), ParserError::bad_field, Beast::refuses},
      {"name above 127", with("X\xff: a\r\n"), ParserError::bad_field, Beast::refuses},
      {"Connection that is no list", with("Connection: a b\r\n"), ParserError::bad_field, Beast::refuses},
      // Host.
      {"no Host", "GET / HTTP/1.1\r\n\r\n", ParserError::bad_host, Beast::accepts},
      {"two Hosts", "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", ParserError::bad_host, Beast::accepts},
      {"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n", ParserError::bad_host, Beast::accepts},
      {"list of Hosts", "GET / HTTP/1.1\r\nHost: h, i\r\n\r\n", ParserError::bad_host, Beast::accepts},
      {"Host with a path", "GET / HTTP/1.1\r\nHost: h/i\r\n\r\n", ParserError::bad_host, Beast::accepts},
      {"Host with a user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", ParserError::bad_host, Beast::accepts},
      // Length.
      {"both, length first", with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
       ParserError::ambiguous_length, Beast::refuses},
      {"both, encoding first", with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
       ParserError::ambiguous_length, Beast::refuses},
      {"both, length 0", with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
       ParserError::ambiguous_length, Beast::refuses},
      {"two lengths", with("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), ParserError::bad_content_length,
       Beast::refuses},
      {"the same length twice", with("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
       ParserError::bad_content_length, Beast::accepts},
      {"list of lengths", with("Content-Length: 5, 6\r\n", "hello"), ParserError::bad_content_length, Beast::refuses},
      {"list of the same length", with("Content-Length: 5, 5\r\n", "hello"), ParserError::bad_content_length,
       Beast::accepts},
      {"length and a comma", with("Content-Length: 5,\r\n", "hello"), ParserError::bad_content_length, Beast::refuses},
      {"length with a sign", with("Content-Length: +5\r\n", "hello"), ParserError::bad_content_length, Beast::refuses},
      {"negative length", with("Content-Length: -5\r\n", "hello"), ParserError::bad_content_length, Beast::refuses},
      {"hexadecimal length", with("Content-Length: 0x5\r\n", "hello"), ParserError::bad_content_length, Beast::refuses},
      {"length with a space", with("Content-Length:  5 6\r\n", "hello"), ParserError::bad_content_length,
       Beast::refuses},
      {"length with a point", with("Content-Length: 5.0\r\n", "hello"), ParserError::bad_content_length,
       Beast::refuses},
      {"empty length", with("Content-Length:\r\n"), ParserError::bad_content_length, Beast::refuses},
      {"quoted length", with("Content-Length: \"5\"\r\n", "hello"), ParserError::bad_content_length, Beast::refuses},
      {"length of more than 64 bits", with("Content-Length: 18446744073709551621\r\n", "hello"),
       ParserError::bad_content_length, Beast::refuses},
      {"length above the limit", with("Content-Length: 1048577\r\n", "hello"), ParserError::body_too_large,
       Beast::refuses},
      // Transfer-Encoding. Beast frames what it does not know as if there were no body.
      {"other encoding", with("Transfer-Encoding: gzip\r\n"), ParserError::unsupported_encoding, Beast::accepts},
      {"identity", with("Transfer-Encoding: identity\r\n"), ParserError::unsupported_encoding, Beast::accepts},
      {"chunked last", with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), ParserError::unsupported_encoding,
       Beast::accepts},
      {"chunked first", with("Transfer-Encoding: chunked, gzip\r\n"), ParserError::unsupported_encoding,
       Beast::accepts},
      {"chunked twice in a list", with("Transfer-Encoding: chunked, chunked\r\n"), ParserError::unsupported_encoding,
       Beast::accepts},
      {"chunked and a comma", with("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"), ParserError::unsupported_encoding,
       Beast::accepts},
      {"xchunked", with("Transfer-Encoding: xchunked\r\n"), ParserError::unsupported_encoding, Beast::accepts},
      {"quoted chunked", with("Transfer-Encoding: \"chunked\"\r\n"), ParserError::unsupported_encoding, Beast::accepts},
      {"chunked with a parameter", with("Transfer-Encoding: chunked;a=b\r\n"), ParserError::unsupported_encoding,
       Beast::waits},
      {"empty encoding", with("Transfer-Encoding:\r\n"), ParserError::unsupported_encoding, Beast::accepts},
      {"unknown encoding and length", with("Transfer-Encoding: x\r\nContent-Length: 1\r\n", "x"),
       ParserError::unsupported_encoding, Beast::accepts},
      {"length and unknown encoding", with("Content-Length: 1\r\nTransfer-Encoding: x\r\n", "x"),
       ParserError::ambiguous_length, Beast::refuses},
      {"two encodings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
       ParserError::bad_transfer_encoding, Beast::refuses},
      {"encoding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       ParserError::bad_transfer_encoding, Beast::accepts},
      // Expect.
      {"unknown expectation", with("Expect: 200-ok\r\n"), ParserError::unsupported_expectation, Beast::accepts},
      {"two expectations", with("Expect: 100-continue, x\r\n"), ParserError::unsupported_expectation, Beast::accepts},
      // Chunks.
      {"no size", chunked("\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"size that is no number", chunked("g\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"size with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"negative size", chunked("-5\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"space before the size", chunked(" 5\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"space behind the size", chunked("5 \r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"two sizes", chunked("5 5\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"size of more than 64 bits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk,
       Beast::refuses},
      {"size with many zeros", chunked("00000000000000005\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk,
       Beast::accepts},
      {"size above the limit", chunked("ffffffffffffffff\r\n"), ParserError::body_too_large, Beast::refuses},
      {"sizes above the limit together", chunked("1\r\na\r\n100000\r\n"), ParserError::body_too_large, Beast::refuses},
      {"bare LF behind the size", chunked("5\nhello\r\n0\r\n\r\n"), ParserError::bad_line_ending, Beast::refuses},
      {"bare CR behind the size", chunked("5\rhello\r\n0\r\n\r\n"), ParserError::bad_line_ending, Beast::refuses},
      {"bare LF in an extension", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"), ParserError::bad_line_ending,
       Beast::refuses},
      {"bare LF in a quote", chunked("5;a=\"\nb\"\r\nhello\r\n0\r\n\r\n"), ParserError::bad_line_ending,
       Beast::accepts},
      {"NUL in a quote", chunked("5;a=\"\0\"\r\nhello\r\n0\r\n\r\n"s), ParserError::bad_character, Beast::accepts},
      {"extension that is no token", chunked("5;(\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"quote that does not end", chunked("5;a=\"b\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::waits},
      {"quote that ends in the body", chunked("5;a=\"b\r\nhell\"\r\n0\r\n\r\n"), ParserError::bad_chunk,
       Beast::refuses},
      {"quote that ends in a trailer", chunked("0;a=\"b\r\nX: \"\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"quote that does not end, last chunk", chunked("0;a=\"b\r\n\r\n"), ParserError::bad_chunk, Beast::waits},
      {"last chunk that is none", chunked("0x\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"chunk longer than its size", chunked("4\r\nhello\r\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"chunk that ends with LF", chunked("5\r\nhello\n0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"chunk that ends with CR", chunked("5\r\nhello\r0\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"folded trailer", chunked("0\r\nX: a\r\n b\r\n\r\n"), ParserError::folded_line, Beast::accepts},
      {"malformed trailer", chunked("0\r\nX : a\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"length as a trailer", chunked("0\r\nContent-Length: 5\r\n\r\n"), ParserError::bad_chunk, Beast::refuses},
      {"encoding as a trailer", chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"), ParserError::bad_chunk,
       Beast::refuses},
      {"control character in a trailer", chunked("0\r\nX: \x02\r\n\r\n"), ParserError::bad_character, Beast::refuses},
  };
  return all;
}

TEST(Parser, refuses) {
  for (const Refused& test : refused()) {
    SCOPED_TRACE(test.name);
    const Outcome outcome = at_once(test.bytes);
    EXPECT_EQ(outcome.error, test.error);
    EXPECT_EQ(outcome.state, ParserState::failed);
    EXPECT_TRUE(outcome.requests.empty());
    EXPECT_FALSE(outcome.idle);
  }
}

TEST(Parser, refuses_what_beast_alone_does_not) {
  std::size_t taken_by_beast = 0;
  for (const Refused& test : refused()) {
    EXPECT_EQ(static_cast<int>(beast_alone(test.bytes)), static_cast<int>(test.beast)) << test.name;
    taken_by_beast += test.beast != Beast::refuses;
  }
  EXPECT_GT(taken_by_beast, 30U);
  for (const Accepted& test : accepted()) {
    const bool empty_line = test.bytes.starts_with("\r\n");
    EXPECT_EQ(beast_alone(test.bytes), empty_line ? Beast::refuses : Beast::accepts) << test.name;
  }
}

TEST(Parser, takes_nothing_after_a_failure) {
  Parser parser;
  const std::string_view bytes = "GET / HTTP/1.1\nHost: h\r\n\r\n";
  EXPECT_EQ(parser.feed(bytes), (FeedResult{ParserState::failed, 15})) << "up to what it could not take";
  EXPECT_EQ(parser.feed(bytes), (FeedResult{ParserState::failed, 0}));
  EXPECT_EQ(parser.error(), ParserError::bad_line_ending);
  EXPECT_FALSE(parser.expects_continue());
}

TEST(Parser, refuses_at_the_first_byte_that_shows_it) {
  EXPECT_EQ(at_once("\x16\x03\x01").consumed, 1U);
  EXPECT_EQ(at_once("GET / HTTP/1.1\r\nHost: h\n").consumed, 24U);
  EXPECT_EQ(at_once("GET / HTTP/1.1\r\nHost: h\r\n x").consumed, 26U);
  EXPECT_EQ(at_once(chunked("5\nhello")).consumed, chunked("5\n").size());
}

// -- splits ----------------------------------------------------------------------------------------------------------

std::vector<std::string> streams() {
  std::vector<std::string> all;
  for (const Accepted& test : accepted()) all.push_back(test.bytes);
  for (const Refused& test : refused()) all.push_back(test.bytes);
  std::string pipeline;
  for (const Accepted& test : accepted()) pipeline += test.bytes;
  all.push_back(pipeline);
  all.push_back(with("Expect: 100-continue\r\nContent-Length: 3\r\n", "abcGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGE"));
  return all;
}

TEST(Parser, does_not_depend_on_one_split) {
  for (const std::string& bytes : streams()) {
    const Outcome whole = at_once(bytes);
    ASSERT_EQ(byte_by_byte(bytes), whole) << bytes;
    for (std::size_t at = 0; at <= bytes.size(); ++at) ASSERT_EQ(split(bytes, at, at), whole) << bytes << "\nat " << at;
  }
}

TEST(Parser, does_not_depend_on_two_splits) {
  for (const std::string& bytes : streams()) {
    if (bytes.size() > 80) continue;
    const Outcome whole = at_once(bytes);
    for (std::size_t a = 0; a <= bytes.size(); ++a) {
      for (std::size_t b = a; b <= bytes.size(); ++b)
        ASSERT_EQ(split(bytes, a, b), whole) << bytes << "\nat " << a << ", " << b;
    }
  }
}

TEST(Parser, does_not_depend_on_splits_of_damaged_bytes) {
  std::mt19937 random{20240601};  // NOLINT(cert-msc51-cpp): the same each time
  const std::vector<std::string> all = streams();
  const std::string_view interesting{"\r\n\0 \t:;,\"#0f5x/\x7f\xff", 17};
  const ParserLimits limits{160, 60, 5, 40};
  for (int run = 0; run < 20'000; ++run) {
    std::string bytes = all[random() % all.size()];
    for (unsigned damage = random() % 4; damage > 0 && !bytes.empty(); --damage) {
      const std::size_t at = random() % bytes.size();
      const char c = interesting[random() % interesting.size()];
      switch (random() % 4) {
        case 0: bytes[at] = c; break;
        case 1: bytes.insert(at, 1, c); break;
        case 2: bytes.erase(at, 1 + random() % 3); break;
        default: bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 30)); break;
      }
    }
    const Outcome whole = at_once(bytes, limits);
    ASSERT_EQ(byte_by_byte(bytes, limits), whole) << bytes;
    const std::size_t a = random() % (bytes.size() + 1);
    const std::size_t b = a + random() % (bytes.size() + 1 - a);
    ASSERT_EQ(split(bytes, a, b, limits), whole) << bytes << "\nat " << a << ", " << b;
  }
}

// -- one after another -----------------------------------------------------------------------------------------------

TEST(Parser, leaves_what_is_behind_a_request_to_the_caller) {
  const std::string first = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
  const std::string second = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
  const std::string bytes = first + second;
  Parser parser;
  EXPECT_EQ(parser.feed(bytes), (FeedResult{ParserState::complete, first.size()}));
  EXPECT_EQ(parser.feed(second), (FeedResult{ParserState::complete, 0})) << "one at a time";
  EXPECT_FALSE(parser.idle());
  EXPECT_EQ(parser.take().body, "ab");
  EXPECT_TRUE(parser.idle());
  EXPECT_EQ(parser.state(), ParserState::incomplete);
  EXPECT_EQ(parser.feed(second), (FeedResult{ParserState::complete, second.size()}));
  EXPECT_EQ(parser.take().target, "/2");
}

TEST(Parser, leaves_the_bytes_of_an_upgraded_protocol_to_the_caller) {
  const std::string upgrade = "GET /app/k HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  Parser parser;
  EXPECT_EQ(parser.feed(upgrade + "\x81\x80\x01\x02\x03\x04"), (FeedResult{ParserState::complete, upgrade.size()}));
}

TEST(Parser, reads_many_requests_in_a_row) {
  std::string bytes;
  for (const Accepted& test : accepted()) bytes += test.bytes;
  for (const std::size_t step : {1U, 2U, 7U, 64U, 100'000U}) {
    Parser parser;
    Outcome outcome;
    for (std::size_t at = 0; at < bytes.size(); at += step)
      feed(parser, std::string_view(bytes).substr(at, step), outcome);
    ASSERT_EQ(outcome.requests.size(), accepted().size());
    for (std::size_t i = 0; i < outcome.requests.size(); ++i) EXPECT_EQ(outcome.requests[i], accepted()[i].request);
    EXPECT_TRUE(outcome.idle);
  }
}

TEST(Parser, is_idle_until_a_request_begins) {
  Parser parser;
  EXPECT_TRUE(parser.idle());
  EXPECT_EQ(parser.feed(""), (FeedResult{ParserState::incomplete, 0}));
  EXPECT_TRUE(parser.idle());
  EXPECT_EQ(parser.feed("\r\n"), (FeedResult{ParserState::incomplete, 2}));
  EXPECT_TRUE(parser.idle()) << "an empty line is none";
  EXPECT_EQ(parser.feed("G"), (FeedResult{ParserState::incomplete, 1}));
  EXPECT_FALSE(parser.idle());
}

TEST(Parser, skips_one_empty_line_before_each_request) {
  const std::string request = "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
  EXPECT_EQ(at_once(request + request + request).requests.size(), 3U);
}

// -- Expect ----------------------------------------------------------------------------------------------------------

TEST(Parser, knows_who_waits_for_leave_to_send_the_body) {
  for (const std::string_view framing : {"Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"}) {
    const std::string header = with("Expect: 100-Continue\r\n" + std::string(framing));
    Parser parser;
    EXPECT_FALSE(parser.expects_continue());
    parser.feed(std::string_view(header).substr(0, header.size() - 1));
    EXPECT_FALSE(parser.expects_continue()) << "the header is not there yet";
    parser.feed("\n");
    EXPECT_TRUE(parser.expects_continue());
    EXPECT_EQ(parser.feed(""), (FeedResult{ParserState::incomplete, 0}));
    EXPECT_TRUE(parser.expects_continue());
    parser.feed(framing.starts_with('C') ? "a" : "3");
    EXPECT_FALSE(parser.expects_continue()) << "it did not wait";
    EXPECT_EQ(parser.feed(framing.starts_with('C') ? "bc" : "\r\nabc\r\n0\r\n\r\n").state, ParserState::complete);
    EXPECT_FALSE(parser.expects_continue());
    EXPECT_EQ(parser.take().body, "abc");
  }
}

TEST(Parser, nobody_waits_without_a_body) {
  Parser parser;
  EXPECT_EQ(parser.feed(with("Expect: 100-continue\r\nContent-Length: 0\r\n")).state, ParserState::complete);
  EXPECT_FALSE(parser.expects_continue());
}

TEST(Parser, refuses_a_body_that_is_too_large_before_it_is_sent) {
  Parser parser;
  parser.feed(with("Expect: 100-continue\r\nContent-Length: 9999999\r\n"));
  EXPECT_EQ(parser.error(), ParserError::body_too_large);
  EXPECT_FALSE(parser.expects_continue());
}

// -- limits ----------------------------------------------------------------------------------------------------------

// The error at this size of a part, with the limits given.
template <class Make>
ParserError error_at(std::size_t size, Make make, const ParserLimits& limits) {
  const std::string bytes = make(size);
  const Outcome whole = at_once(bytes, limits);
  EXPECT_EQ(byte_by_byte(bytes, limits), whole);
  return whole.error;
}

TEST(ParserLimits, of_the_header) {
  const auto make = [](std::size_t bytes) {
    const std::string head = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
    return head + std::string(bytes - head.size() - 4, 'x') + "\r\n\r\n";
  };
  EXPECT_EQ(error_at(8192, make, {}), ParserError::none);
  EXPECT_EQ(error_at(8193, make, {}), ParserError::header_too_large);
  EXPECT_EQ(error_at(100, make, {100, 50, 5, 5}), ParserError::none);
  EXPECT_EQ(error_at(101, make, {100, 50, 5, 5}), ParserError::header_too_large);
  EXPECT_EQ(at_once(make(20'000)).consumed, 8193U) << "and not a byte more is looked at";
}

TEST(ParserLimits, may_be_larger_than_the_defaults) {
  const ParserLimits limits{100'000, 50'000, 10, 5'000'000};
  const std::string body(4'000'000, 'x');
  const Request request =
      only("POST /" + std::string(49'999, 'a') +
               " HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n" + body,
           limits);
  EXPECT_EQ(request.target.size(), 50'000U);
  EXPECT_EQ(request.body, body);
}

TEST(ParserLimits, of_the_target) {
  const auto make = [](std::size_t bytes) {
    return "GET /" + std::string(bytes - 1, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n";
  };
  EXPECT_EQ(error_at(4096, make, {}), ParserError::none);
  EXPECT_EQ(error_at(4097, make, {}), ParserError::target_too_long);
  EXPECT_EQ(at_once("GET /" + std::string(5000, 'a')).error, ParserError::target_too_long) << "at once";
  EXPECT_EQ(at_once("GET /aaaaaaaaaaaaaaaa", {16, 100, 5, 5}).error, ParserError::target_too_long)
      << "a line that fills the header";
}

TEST(ParserLimits, of_the_fields) {
  const auto make = [](std::size_t fields) {
    std::string bytes = "GET / HTTP/1.1\r\nHost: h\r\n";
    for (std::size_t i = 1; i < fields; ++i) bytes += "X: y\r\n";
    return bytes + "\r\n";
  };
  EXPECT_EQ(error_at(100, make, {}), ParserError::none);
  EXPECT_EQ(error_at(101, make, {}), ParserError::too_many_fields);
}

TEST(ParserLimits, of_the_method) {
  const auto make = [](std::size_t bytes) { return std::string(bytes, 'M') + " / HTTP/1.1\r\nHost: h\r\n\r\n"; };
  EXPECT_EQ(error_at(32, make, {}), ParserError::none);
  EXPECT_EQ(error_at(33, make, {}), ParserError::unsupported_method);
}

TEST(ParserLimits, of_a_body_of_known_length) {
  const auto make = [](std::size_t bytes) {
    return with("Content-Length: " + std::to_string(bytes) + "\r\n", std::string(bytes, 'x'));
  };
  EXPECT_EQ(error_at(100, make, {500, 500, 5, 100}), ParserError::none);
  EXPECT_EQ(error_at(101, make, {500, 500, 5, 100}), ParserError::body_too_large);
  EXPECT_EQ(error_at(0, make, {500, 500, 5, 0}), ParserError::none);
  EXPECT_EQ(error_at(1, make, {500, 500, 5, 0}), ParserError::body_too_large);
}

TEST(ParserLimits, of_a_body_in_chunks) {
  const auto make = [](std::size_t bytes) {
    std::string body;
    for (std::size_t i = 0; i < bytes; ++i) body += "1\r\nx\r\n";
    return chunked(body + "0\r\n\r\n");
  };
  EXPECT_EQ(error_at(100, make, {500, 500, 5, 100}), ParserError::none);
  EXPECT_EQ(error_at(101, make, {500, 500, 5, 100}), ParserError::body_too_large);
  EXPECT_EQ(error_at(0, make, {500, 500, 5, 0}), ParserError::none);
}

TEST(ParserLimits, of_chunk_extensions) {
  const auto one = [](std::size_t bytes) { return chunked("1;" + std::string(bytes - 1, 'a') + "\r\nx\r\n0\r\n\r\n"); };
  EXPECT_EQ(error_at(200, one, {200, 50, 5, 100}), ParserError::none);
  EXPECT_EQ(error_at(201, one, {200, 50, 5, 100}), ParserError::header_too_large);
  EXPECT_EQ(at_once(chunked("1;" + std::string(300, 'a')), {200, 50, 5, 100}).error, ParserError::header_too_large)
      << "without the end of the line";
  const auto many = [](std::size_t chunks) {
    std::string body;
    for (std::size_t i = 0; i < chunks; ++i) body += "1;ext=value\r\nx\r\n";
    return chunked(body + "0\r\n\r\n");
  };
  EXPECT_EQ(error_at(20, many, {200, 50, 5, 100}), ParserError::none);
  EXPECT_EQ(error_at(21, many, {200, 50, 5, 100}), ParserError::header_too_large) << "together";
}

TEST(ParserLimits, of_trailers) {
  const auto fields = [](std::size_t count) {
    std::string body = "0\r\n";
    for (std::size_t i = 0; i < count; ++i) body += "X: y\r\n";
    return chunked(body + "\r\n");
  };
  EXPECT_EQ(error_at(5, fields, {100, 50, 5, 5}), ParserError::none);
  EXPECT_EQ(error_at(6, fields, {100, 50, 5, 5}), ParserError::too_many_fields);
  const auto bytes = [](std::size_t size) { return chunked("0\r\nX: " + std::string(size, 'x') + "\r\n\r\n"); };
  EXPECT_EQ(error_at(100, bytes, {110, 50, 5, 5}), ParserError::none);
  EXPECT_EQ(error_at(200, bytes, {110, 50, 5, 5}), ParserError::header_too_large);
}

// -- memory ----------------------------------------------------------------------------------------------------------

TEST(ParserMemory, is_none_between_requests) {
  EXPECT_LE(sizeof(Parser), 32U);
  for (const Accepted& test : accepted()) {
    const std::size_t before = heap.live;
    Parser parser;
    EXPECT_EQ(heap.live, before);
    for (const char& c : test.bytes) parser.feed({&c, 1});
    EXPECT_GT(heap.live, before);
    static_cast<void>(parser.take());
    EXPECT_EQ(heap.live, before) << test.name;
  }
  for (const Refused& test : refused()) {
    const std::size_t before = heap.live;
    Parser parser;
    for (const char& c : test.bytes) parser.feed({&c, 1});
    EXPECT_EQ(parser.state(), ParserState::failed);
    EXPECT_EQ(heap.live, before) << test.name;
  }
}

TEST(ParserMemory, has_no_allocation_larger_than_the_limits) {
  std::string many_chunks;
  for (int i = 0; i < 3000; ++i) many_chunks += "5\r\nhello\r\n";
  std::vector<std::string> all = streams();
  all.push_back(with("Content-Length: 15000\r\n", std::string(15'000, 'x')));
  all.push_back(chunked(many_chunks + "0\r\n\r\n"));
  all.push_back("GET /" + std::string(20'000, 'x'));
  all.push_back("GET / HTTP/1.1\r\nHost: " + std::string(20'000, 'x'));
  all.push_back(chunked("0\r\nX: " + std::string(20'000, 'x')));
  const ParserLimits limits{4096, 4096, 20, 15'000};
  for (const std::string& bytes : all) {
    for (const std::size_t step : {1U, 100U, 100'000U}) {
      Parser parser{limits};
      heap.largest = 0;
      for (std::size_t at = 0; at < bytes.size(); at += step) {
        std::string_view part = std::string_view(bytes).substr(at, step);
        while (!part.empty()) {
          const FeedResult result = parser.feed(part);
          part.remove_prefix(result.consumed);
          if (result.state == ParserState::complete) static_cast<void>(parser.take());
          if (result.state == ParserState::failed) break;
        }
      }
      EXPECT_LE(heap.largest, 15'000U + 1) << bytes.substr(0, 100);
      if (bytes.find("\r\n\r\n") == std::string::npos) {
        EXPECT_LE(heap.largest, 4096U + 1);
      }
    }
  }
}

TEST(ParserMemory, is_not_taken_for_a_body_that_is_only_announced) {
  Parser parser;
  heap.largest = 0;
  parser.feed(with("Content-Length: 1048576\r\n", "x"));
  EXPECT_EQ(parser.state(), ParserState::incomplete);
  EXPECT_LT(heap.largest, 1000U);
  Parser chunks;
  chunks.feed(chunked("100000\r\nx"));
  EXPECT_EQ(chunks.state(), ParserState::incomplete);
  EXPECT_LT(heap.largest, 1000U);
}

TEST(ParserMemory, that_is_refused_is_an_error_of_the_request) {
  const std::string bytes = with("Content-Length: 50000\r\n", std::string(50'000, 'x'));
  Parser parser;
  const std::size_t before = heap.live;
  heap.refuse_above = 40'000;
  const FeedResult result = parser.feed(bytes);
  heap.refuse_above = static_cast<std::size_t>(-1);
  EXPECT_EQ(result.state, ParserState::failed);
  EXPECT_EQ(parser.error(), ParserError::out_of_memory);
  EXPECT_EQ(heap.live, before);
}

// -- memory of one request for the next ------------------------------------------------------------------------------

TEST(ParserMemory, changes_nothing_of_a_request) {
  fanfare::http::ParserMemory memory;
  for (const std::size_t step : {1U, 7U, 100'000U}) {
    for (const Accepted& test : accepted()) {
      Parser parser;
      for (std::size_t at = 0; at < test.bytes.size(); at += step) {
        const std::string_view part = std::string_view(test.bytes).substr(at, step);
        EXPECT_EQ(parser.feed(part, memory).consumed, part.size());
      }
      ASSERT_EQ(parser.state(), ParserState::complete) << test.name;
      EXPECT_EQ(*parser.take(memory), test.request) << test.name;
      EXPECT_TRUE(parser.idle());
    }
    for (const Refused& test : refused()) {
      Parser parser;
      for (std::size_t at = 0; at < test.bytes.size(); at += step) {
        parser.feed(std::string_view(test.bytes).substr(at, step), memory);
      }
      EXPECT_EQ(parser.error(), at_once(test.bytes).error) << test.name;
    }
  }
}

TEST(ParserMemory, is_taken_again) {
  const std::string bytes =
      with("X-Some-Long-Name-Of-A-Field: and a long value of it\r\nContent-Length: 500\r\n", std::string(500, 'x'));
  fanfare::http::ParserMemory memory;
  for (int i = 0; i < 3; ++i) {
    Parser parser;
    heap.largest = 0;
    ASSERT_EQ(parser.feed(bytes, memory).state, ParserState::complete);
    EXPECT_EQ(parser.take(memory)->body.size(), 500U);
    if (i == 0) {
      EXPECT_GT(heap.largest, 0U);
    } else {
      EXPECT_EQ(heap.largest, 0U);
    }
  }
}

TEST(ParserMemory, is_there_once_for_any_number_of_parsers) {
  const std::size_t before = heap.live;
  {
    fanfare::http::ParserMemory memory;
    std::vector<Parser> parsers(20);
    const std::string bytes = with("Content-Length: 500\r\n", std::string(500, 'x'));
    const auto serve = [&](Parser& parser) {
      ASSERT_EQ(parser.feed(bytes, memory).state, ParserState::complete);
      EXPECT_EQ(parser.take(memory)->body.size(), 500U);
    };
    serve(parsers[0]);
    const std::size_t with_one = heap.live;
    for (Parser& parser : parsers) serve(parser);
    EXPECT_EQ(heap.live, with_one);

    // Some at a time have memory each, and give it back.
    for (Parser& parser : parsers) parser.feed(std::string_view(bytes).substr(0, 100), memory);
    EXPECT_GT(heap.live, with_one);
    for (Parser& parser : parsers) {
      ASSERT_EQ(parser.feed(std::string_view(bytes).substr(100), memory).state, ParserState::complete);
      EXPECT_EQ(parser.take(memory)->body.size(), 500U);
    }
    EXPECT_EQ(heap.live, with_one);

    // Taken as a value, nothing of it is left here.
    parsers[0].feed(bytes, memory);
    EXPECT_EQ(parsers[0].take().body.size(), 500U);
    EXPECT_LT(heap.live, with_one);
    serve(parsers[0]);
    EXPECT_EQ(heap.live, with_one);
  }
  EXPECT_EQ(heap.live, before);
}

TEST(ParserMemory, does_not_keep_what_is_out_of_the_ordinary) {
  fanfare::http::ParserMemory memory;
  const auto serve = [&](const std::string& bytes) -> const Request& {
    Parser parser;
    EXPECT_EQ(parser.feed(bytes, memory).state, ParserState::complete);
    return *parser.take(memory);
  };
  const std::string long_value(5000, 'v');
  serve(with("A: " + long_value + "\r\nContent-Length: 500000\r\n", std::string(500'000, 'x')));
  const Request& request = serve(with("A: b\r\nContent-Length: 1\r\n", "x"));
  EXPECT_EQ(request.body, "x");
  EXPECT_LT(request.body.capacity(), 20'000U);
  for (const Field& field : request.fields) EXPECT_LT(field.value.capacity(), 1000U);
}

TEST(ParserMemory, outlives_the_parser_that_gave_the_request) {
  fanfare::http::ParserMemory memory;
  const Request* request = nullptr;
  {
    Parser parser;
    parser.feed(with("Content-Length: 3\r\n", "abc"), memory);
    request = parser.take(memory);
  }
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->body, "abc");
}

// -- errors ----------------------------------------------------------------------------------------------------------

TEST(ParserError, has_a_name_a_text_and_a_status) {
  std::vector<std::string_view> names;
  std::vector<std::string_view> texts;
  for (int i = 0; i <= static_cast<int>(ParserError::unsupported_version); ++i) {
    const auto error = static_cast<ParserError>(i);
    names.push_back(to_string(error));
    texts.push_back(message(error));
    const unsigned status = http_status(error);
    EXPECT_NE(fanfare::http::reason_phrase(status), "") << i;
    EXPECT_TRUE(i == 0 ? status == 200 : status >= 400) << i;
  }
  for (auto* list : {&names, &texts}) {
    std::sort(list->begin(), list->end());
    EXPECT_EQ(std::adjacent_find(list->begin(), list->end()), list->end());
  }
  EXPECT_EQ(to_string(static_cast<ParserError>(200)), "unknown");
  EXPECT_EQ(message(static_cast<ParserError>(200)), "unknown error");
}

TEST(ParserError, is_answered_and_ends_the_connection) {
  std::string out;
  EXPECT_FALSE(append(out, fanfare::http::error_response(ParserError::header_too_large), {}));
  EXPECT_EQ(out,
            "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Length: 24\r\nConnection: close\r\n\r\nthe header is too large\n");
}

}  // namespace
