#include <fanfare/websocket/handshake.hpp>

#include <fanfare/http/request.hpp>

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::websocket {

void PrintTo(const Handshake& handshake, std::ostream* out) {
  *out << "{upgrade " << static_cast<int>(handshake.upgrade) << ", " << handshake.status << ", \""
       << handshake.explanation << "\", \"" << handshake.accept << "\"}";
}

}  // namespace fanfare::websocket

namespace fanfare::test {
namespace {

using websocket::handshake;
using websocket::Handshake;
using websocket::Upgrade;

struct Field {
  std::string name;
  std::string value;
};
/// The least that is a request.
struct Request {
  std::string method = "GET";
  unsigned version = 11;
  std::vector<Field> fields;

  Request& set(std::string_view name, std::string value) {
    for (Field& field : fields) {
      if (field.name == name) {
        field.value = std::move(value);
        return *this;
      }
    }
    return add(std::string(name), std::move(value));
  }
  Request& add(std::string name, std::string value) {
    fields.push_back({std::move(name), std::move(value)});
    return *this;
  }
  Request& remove(std::string_view name) {
    std::erase_if(fields, [name](const Field& field) { return field.name == name; });
    return *this;
  }
};
static_assert(websocket::UpgradeRequest<Request> && websocket::UpgradeRequest<http::Request>);
static_assert(!websocket::UpgradeRequest<std::string> && !websocket::UpgradeRequest<int>);

Request example() {  // §1.2 of the RFC
  Request request;
  request.add("Host", "server.example.com")
      .add("Upgrade", "websocket")
      .add("Connection", "Upgrade")
      .add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
      .add("Origin", "http://example.com")
      .add("Sec-WebSocket-Protocol", "chat, superchat")
      .add("Sec-WebSocket-Version", "13");
  return request;
}

unsigned status_of(const Request& request) {
  const Handshake decision = handshake(request);
  EXPECT_EQ(decision.explanation.empty(), decision.upgrade != Upgrade::refused);
  EXPECT_EQ(decision.accept.empty(), decision.upgrade != Upgrade::accepted);
  return decision.status;
}

TEST(Handshake, ExampleOfTheRfc) {  // §1.3
  EXPECT_EQ(websocket::accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  const Handshake decision = handshake(example());
  EXPECT_EQ(decision, (Handshake{Upgrade::accepted, 101, {}, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}));
  EXPECT_EQ(response(decision),
            "HTTP/1.1 101 Switching Protocols\r\n"
            "Upgrade: websocket\r\n"
            "Connection: Upgrade\r\n"
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
            "\r\n");
}

TEST(Handshake, OffersOfExtensionsAreDeclined) {
  Request request = example();
  request.add("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
  EXPECT_EQ(response(handshake(request)).find("xtensions"), std::string::npos);
  EXPECT_EQ(response(handshake(request)), response(handshake(example())));
}

TEST(Handshake, OtherRequestsAreNotUpgrades) {
  EXPECT_EQ(handshake(Request{}), Handshake{});
  EXPECT_EQ(handshake(example().remove("Upgrade")), Handshake{});
  EXPECT_EQ(handshake(example().set("Upgrade", "h2c")), Handshake{});
  EXPECT_EQ(handshake(example().set("Upgrade", "websockets")), Handshake{});
  EXPECT_EQ(handshake(example().set("Upgrade", "")), Handshake{});
  Request post;
  post.method = "POST";
  EXPECT_EQ(handshake(post), Handshake{});
}

TEST(Handshake, NamesAndTokensIgnoreCase) {
  EXPECT_EQ(status_of(example().set("Upgrade", "WebSocket")), 101U);
  EXPECT_EQ(status_of(example().set("Connection", "keep-alive, upgrade")), 101U);
  EXPECT_EQ(status_of(example().set("Connection", "\t UPGRADE ,keep-alive")), 101U);
  EXPECT_EQ(status_of(example().set("Connection", ",,Upgrade,")), 101U);
  EXPECT_EQ(status_of(example().set("Upgrade", "h2c, websocket")), 101U);
  EXPECT_EQ(status_of(example().set("Connection", "keep-alive").add("connection", "Upgrade")), 101U);
  Request request = example();
  for (Field& field : request.fields) {
    for (char& c : field.name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  EXPECT_EQ(status_of(request), 101U);
}

TEST(Handshake, WrongRequestsAreRefused) {
  Request post = example();
  post.method = "POST";
  EXPECT_EQ(status_of(post), 405U);
  post.method = "get";  // methods are case-sensitive
  EXPECT_EQ(status_of(post), 405U);
  Request old = example();
  old.version = 10;
  EXPECT_EQ(status_of(old), 400U);
  EXPECT_EQ(status_of(example().remove("Connection")), 400U);
  EXPECT_EQ(status_of(example().set("Connection", "keep-alive")), 400U);
  EXPECT_EQ(status_of(example().set("Connection", "not-upgrade")), 400U);
  EXPECT_EQ(status_of(example().remove("Host")), 400U);
  EXPECT_EQ(status_of(example().add("host", "b")), 400U);
}

TEST(Handshake, OtherVersionsAreToldTheRightOne) {
  for (const char* version : {"8", "7", "0", "", "013", "13, 8", "x"}) {
    EXPECT_EQ(status_of(example().set("Sec-WebSocket-Version", version)), 426U) << version;
  }
  EXPECT_EQ(status_of(example().remove("Sec-WebSocket-Version")), 426U);
  EXPECT_EQ(status_of(example().add("sec-websocket-version", "13")), 426U);
  EXPECT_EQ(status_of(example().set("Sec-WebSocket-Version", "8").remove("Sec-WebSocket-Key")), 426U);
}

TEST(Handshake, KeysAreSixteenBytes) {
  for (const char* key : {"", "x", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZQ=a",
                          "dGhlIHNhbXBsZSBub25jZWE=", "dGhlIHNhbXBsZSBub25jZWFh", "dGhl IHNhbXBsZSBub25jZQ=",
                          "dGhlIHNhbXBsZSBub25j-_==", "\xFFGhlIHNhbXBsZSBub25jZQ==", "========================"}) {
    EXPECT_EQ(status_of(example().set("Sec-WebSocket-Key", key)), 400U) << key;
  }
  EXPECT_EQ(status_of(example().remove("Sec-WebSocket-Key")), 400U);
  EXPECT_EQ(status_of(example().add("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")), 400U);
  EXPECT_EQ(status_of(example().set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")), 101U);
  EXPECT_EQ(status_of(example().set("Sec-WebSocket-Key", "/+/+/+/+/+/+/+/+/+/+/w==")), 101U);
}

TEST(Handshake, AnswersHaveTheirFields) {
  EXPECT_EQ(response(handshake(example().set("Sec-WebSocket-Version", "8"))),
            "HTTP/1.1 426 Upgrade Required\r\n"
            "Upgrade: websocket\r\n"
            "Connection: Upgrade, close\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Content-Type: text/plain\r\n"
            "Content-Length: 32\r\n"
            "\r\n"
            "Sec-WebSocket-Version must be 13");
  Request put = example();
  put.method = "PUT";
  EXPECT_EQ(response(handshake(put)),
            "HTTP/1.1 405 Method Not Allowed\r\n"
            "Allow: GET\r\n"
            "Connection: close\r\n"
            "Content-Type: text/plain\r\n"
            "Content-Length: 30\r\n"
            "\r\n"
            "a WebSocket is opened with GET");
  const std::string bad = response(handshake(example().remove("Host")));
  EXPECT_TRUE(bad.starts_with("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n")) << bad;
  EXPECT_TRUE(bad.ends_with("Content-Length: 22\r\n\r\nthere must be one Host")) << bad;
}

#if FANFARE_ASSERTS
TEST(HandshakeDeathTest, AnOrdinaryRequestHasNoAnswerHere) {
  EXPECT_DEATH(static_cast<void>(response(Handshake{})), "no upgrade");
}
#endif

}  // namespace
}  // namespace fanfare::test
