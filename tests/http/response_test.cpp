#include <fanfare/http/response.hpp>

#include <fanfare/http/parser.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

namespace {

using fanfare::http::append;
using fanfare::http::json_response;
using fanfare::http::Parser;
using fanfare::http::ParserState;
using fanfare::http::reason_phrase;
using fanfare::http::reply_to;
using fanfare::http::ReplyTo;
using fanfare::http::Request;
using fanfare::http::Response;
using fanfare::http::text_response;
using namespace std::string_literals;

constexpr ReplyTo kept{11, true, false};

std::string bytes(const Response& response, const ReplyTo& to = kept) {
  std::string out;
  append(out, response, to);
  return out;
}

TEST(Response, has_a_length_and_a_type) {
  EXPECT_EQ(bytes(json_response(200, "{}")),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(bytes(text_response(401, "who?")),
            "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nwho?\n");
}

TEST(Response, without_a_body_has_length_0_and_no_type) {
  EXPECT_EQ(bytes(json_response(202, "")), "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
}

TEST(Response, may_lack_a_type) {
  Response response;
  response.body = "x";
  response.content_type.clear();
  EXPECT_EQ(bytes(response), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
}

TEST(Response, of_some_statuses_has_neither_length_nor_body) {
  EXPECT_EQ(bytes(json_response(204, "{}")), "HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(bytes(json_response(304, "{}")), "HTTP/1.1 304 Not Modified\r\n\r\n");
  EXPECT_EQ(bytes(json_response(100, "{}")), fanfare::http::continue_response);
  EXPECT_EQ(bytes(json_response(205, "{}")), "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n");
}

TEST(Response, says_whether_the_connection_stays_open) {
  const Response response = json_response(202, "");
  std::string out;
  EXPECT_TRUE(append(out, response, {11, true, false}));
  EXPECT_EQ(out.find("Connection"), std::string::npos) << "HTTP/1.1 stays open by itself";

  out.clear();
  EXPECT_FALSE(append(out, response, {11, false, false}));
  EXPECT_NE(out.find("\r\nConnection: close\r\n"), std::string::npos);

  out.clear();
  EXPECT_TRUE(append(out, response, {10, true, false}));
  EXPECT_NE(out.find("\r\nConnection: keep-alive\r\n"), std::string::npos);
  EXPECT_TRUE(out.starts_with("HTTP/1.1 "));

  out.clear();
  EXPECT_FALSE(append(out, response, {10, false, false}));
  EXPECT_NE(out.find("\r\nConnection: close\r\n"), std::string::npos);

  out.clear();
  EXPECT_FALSE(append(out, response, ReplyTo{})) << "without a request there is nothing to stay open for";
}

TEST(Response, may_close_by_itself) {
  Response response = json_response(200, "");
  response.close = true;
  std::string out;
  EXPECT_FALSE(append(out, response, kept));
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

TEST(Response, that_is_interim_keeps_the_connection) {
  std::string out;
  EXPECT_TRUE(append(out, json_response(100, ""), ReplyTo{}));
  EXPECT_TRUE(append(out, json_response(100, ""), {10, true, false}));
  EXPECT_EQ(out.find("Connection"), std::string::npos);
}

TEST(Response, to_head_has_the_length_of_the_body_but_no_body) {
  EXPECT_EQ(bytes(json_response(200, "{}"), {11, true, true}),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n");
}

TEST(Response, is_appended) {
  std::string out = "before";
  append(out, json_response(202, ""), kept);
  append(out, json_response(204, ""), kept);
  EXPECT_EQ(out, "beforeHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
}

TEST(Response, has_further_fields) {
  Response response = json_response(200, "");
  response.fields = {{"Retry-After", "1"}, {"X-Tab", "a\tb"}, {"X-Text", "gr\xc3\xbc\xc3\x9f"}, {"X-Empty", ""}};
  EXPECT_EQ(bytes(response),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRetry-After: 1\r\nX-Tab: a\tb\r\nX-Text: gr\xc3\xbc\xc3\x9f\r\n"
            "X-Empty: \r\n\r\n");
}

TEST(Response, cannot_be_extended_by_a_field) {
  const std::string plain = bytes(json_response(200, "{}"));
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    Response response = json_response(200, "{}");
    response.fields = {{"X", std::string("a") + c + "Evil: 1"}};
    const bool control = (byte < 0x20 && c != '\t') || byte == 0x7f;
    EXPECT_EQ(bytes(response) == plain, control) << byte;

    response.fields = {{std::string("X") + c + "Y", "1"}};
    const bool token =
        std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ").find(c) !=
        std::string_view::npos;
    EXPECT_EQ(bytes(response) == plain, !token) << byte;
  }
  Response response = json_response(200, "{}");
  response.fields = {{"", "nameless"}};
  EXPECT_EQ(bytes(response), plain);
  response.fields.clear();
  response.content_type = "text/plain\r\nSet-Cookie: a=b";
  EXPECT_EQ(bytes(response), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
}

TEST(Response, writes_what_frames_it_by_itself) {
  Response response = json_response(200, "{}");
  response.fields = {{"content-length", "99"},
                     {"Transfer-Encoding", "chunked"},
                     {"CONTENT-TYPE", "text/html"},
                     {"Connection", "keep-alive"}};
  EXPECT_EQ(bytes(response), bytes(json_response(200, "{}")));
}

TEST(Response, that_switches_protocols_names_its_connection) {
  Response response = json_response(101, "");
  response.fields = {{"Connection", "Upgrade"}, {"Upgrade", "websocket"}};
  EXPECT_EQ(bytes(response), "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

TEST(Response, of_an_impossible_status_is_500) {
  for (const unsigned status : {0U, 99U, 600U, 1000U, 4294967295U}) {
    EXPECT_TRUE(bytes(json_response(status, "")).starts_with("HTTP/1.1 500 Internal Server Error\r\n")) << status;
  }
  EXPECT_TRUE(bytes(json_response(599, "")).starts_with("HTTP/1.1 599 \r\n")) << "no words, but the space";
}

TEST(Response, body_holds_any_bytes) {
  const std::string body = "\0\r\n\r\nHTTP/1.1"s;
  EXPECT_TRUE(bytes(json_response(200, body)).ends_with("Content-Length: 13\r\n\r\n" + body));
}

TEST(Response, many_of_them_cost_few_allocations) {
  std::string out;
  std::size_t growths = 0;
  std::size_t capacity = out.capacity();
  for (int i = 0; i < 10'000; ++i) {
    append(out, json_response(200, "{}"), kept);
    if (out.capacity() != capacity) ++growths;
    capacity = out.capacity();
  }
  EXPECT_LT(growths, 20U);
}

Request request_with(std::string method, std::string target) {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  return request;
}

TEST(RequestBytes, are_read_as_the_same_request) {
  Request request = request_with("POST", "/a%20b?c=%0d&d");
  request.fields = {{"Host", "x"}, {"Accept", "a, b"}, {"Content-Length", "3"}};
  request.body = "\0\r\n"s;
  std::string out = "before";
  ASSERT_TRUE(append(out, request));
  EXPECT_EQ(out, "beforePOST /a%20b?c=%0d&d HTTP/1.1\r\nHost: x\r\nAccept: a, b\r\nContent-Length: 3\r\n\r\n\0\r\n"s);

  Parser parser;
  ASSERT_EQ(parser.feed(std::string_view(out).substr(6)).state, ParserState::complete);
  EXPECT_EQ(parser.take(), request);
}

TEST(RequestBytes, have_a_length_instead_of_chunks) {
  Request request = request_with("PUT", "/");
  request.version = 10;
  request.fields = {{"transfer-encoding", "chunked"}, {"CONTENT-LENGTH", "99"}};
  std::string out;
  ASSERT_TRUE(append(out, request));
  EXPECT_EQ(out, "PUT / HTTP/1.0\r\n\r\n");
  request.body = "12345";
  out.clear();
  ASSERT_TRUE(append(out, request));
  EXPECT_EQ(out, "PUT / HTTP/1.0\r\nContent-Length: 5\r\n\r\n12345");
}

TEST(RequestBytes, hold_no_second_request) {
  Request request = request_with("GET", "/");
  request.fields = {{"a", "b\r\nc: d"}, {"e f", "g"}, {"", "h"}, {"i", "j\nk"}, {"l", "m"}};
  std::string out;
  ASSERT_TRUE(append(out, request));
  EXPECT_EQ(out, "GET / HTTP/1.1\r\nl: m\r\n\r\n");
  for (const char* target : {"", "/a b", "/a\r\nb: c", "/a\tb", "/\x7f"}) {
    EXPECT_FALSE(append(out, request_with("GET", target))) << target;
  }
  EXPECT_FALSE(append(out, request_with("GET", "/\0"s)));
  for (const char* method : {"", "GET /", "G\r\nT"}) EXPECT_FALSE(append(out, request_with(method, "/"))) << method;
  EXPECT_EQ(out, "GET / HTTP/1.1\r\nl: m\r\n\r\n") << "nothing was appended";
}

TEST(ReplyTo, is_what_a_response_needs_of_a_request) {
  Request request;
  request.method = "HEAD";
  request.version = 10;
  request.keep_alive = false;
  EXPECT_EQ(reply_to(request), (ReplyTo{10, false, true}));
  request.method = "head";
  request.keep_alive = true;
  EXPECT_EQ(reply_to(request), (ReplyTo{10, true, false})) << "methods have a case";
}

TEST(ReasonPhrase, is_there_for_every_status_used_here) {
  for (const unsigned status :
       {200U, 202U, 204U, 400U, 401U, 403U, 404U, 405U, 413U, 414U, 417U, 422U, 429U, 431U, 500U, 501U, 503U, 505U}) {
    EXPECT_NE(reason_phrase(status), "") << status;
  }
  EXPECT_EQ(reason_phrase(299), "");
}

}  // namespace
