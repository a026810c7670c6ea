#include <demo.hpp>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

namespace http = fanfare::http;
namespace json = boost::json;

struct Sent {
  std::string channel;
  std::string event;
  json::value data;
};

class DemoTest : public testing::Test {
 protected:
  DemoTest() {
    for (const char* channel : {"LOBBY_42", "CHAT_42"}) {
      subscriptions_.push_back(app_.subscribe(channel, [this](fanfare::Subscription& s) {
        s.bind_all([this](const fanfare::Event& event) {
          sent.push_back({std::string(event.channel()), std::string(event.name()),
                          json::parse(json::string_view(event.data().data(), event.data().size()))});
        });
      }));
    }
  }

  http::Response post(std::string path, const json::value& body, std::string type = "application/json") {
    return post_text(std::move(path), json::serialize(body), std::move(type));
  }
  http::Response post_text(std::string path, std::string body, std::string type = "application/json") {
    http::Request request;
    request.method = "POST";
    request.target = std::move(path);
    request.fields = {{"Content-Type", std::move(type)}};
    request.body = std::move(body);
    return demo.handle(request).value_or(http::text_response(404, "not the demo's"));
  }
  http::Response get(std::string path, std::string method = "GET") {
    http::Request request;
    request.method = std::move(method);
    request.target = std::move(path);
    return demo.handle(request).value_or(http::text_response(404, "not the demo's"));
  }
  std::string join(std::string_view username) {
    const auto response = post("/demo/join", {{"username", json::string_view(username.data(), username.size())}});
    EXPECT_EQ(response.status, 200U) << response.body;
    return json::value_to<std::string>(json::parse(response.body).at("player"));
  }
  json::value state() { return json::parse(get("/demo/state").body); }

 private:
  fanfare::App app_{{.id = "42", .key = "the-key", .secret = "secret"}};

 public:
  Demo demo{app_, "/* pusher-js */", "/rt"};
  std::vector<Sent> sent;

 private:
  std::vector<fanfare::Subscription> subscriptions_;
};

TEST_F(DemoTest, ServesThePage) {
  const std::pair<std::string, std::string> pages[] = {{"/", "text/html; charset=utf-8"},
                                                       {"/?again", "text/html; charset=utf-8"},
                                                       {"/demo.css", "text/css; charset=utf-8"},
                                                       {"/demo.js", "text/javascript; charset=utf-8"},
                                                       {"/resume.js", "text/javascript; charset=utf-8"},
                                                       {"/pusher.min.js", "text/javascript; charset=utf-8"}};
  for (const auto& [path, type] : pages) {
    const auto response = get(path);
    EXPECT_EQ(response.status, 200U) << path;
    EXPECT_EQ(response.content_type, type) << path;
    EXPECT_FALSE(response.body.empty()) << path;
  }
  EXPECT_EQ(get("/pusher.min.js").body, "/* pusher-js */");
  EXPECT_EQ(get("/", "HEAD").status, 200U);
}

TEST_F(DemoTest, LeavesOtherPathsAlone) {
  for (const char* path : {"/index.html", "/demo", "/demo/", "/demo/join/x", "/favicon.ico", ""}) {
    http::Request request;
    request.target = path;
    EXPECT_FALSE(demo.handle(request)) << path;
  }
}

TEST_F(DemoTest, SaysWhichMethodItExpects) {
  EXPECT_EQ(get("/", "POST").status, 405U);
  EXPECT_EQ(get("/demo/state", "DELETE").status, 405U);
  EXPECT_EQ(get("/demo/join").status, 405U);
}

TEST_F(DemoTest, TellsTheLobbyWhoIsThere) {
  join("ann");
  const std::string bob = join("  bob ");
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[1].channel, "LOBBY_42");
  EXPECT_EQ(sent[1].event, "PLAYER_JOIN");
  EXPECT_EQ(json::serialize(sent[1].data), R"([{"username":"ann"},{"username":"bob"}])");
  EXPECT_EQ(post("/demo/leave", {{"player", bob}}).status, 200U);
  ASSERT_EQ(sent.size(), 3U);
  EXPECT_EQ(sent[2].event, "PLAYER_LEAVE");
  EXPECT_EQ(json::serialize(sent[2].data), R"([{"username":"ann"}])");
}

TEST_F(DemoTest, SendsMessages) {
  const std::string ann = join("ann");
  EXPECT_EQ(post("/demo/chat", {{"player", ann}, {"message", "<b>\"hi\"</b> é"}}).status, 200U);
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[1].channel, "CHAT_42");
  EXPECT_EQ(sent[1].event, "message");
  EXPECT_EQ(sent[1].data.at("username"), "ann");
  EXPECT_EQ(sent[1].data.at("message"), "<b>\"hi\"</b> é");
  EXPECT_EQ(sent[1].data.at("id"), 1);
  EXPECT_EQ(sent[1].data.at("timestamp").as_string().size(), 20U);
}

TEST_F(DemoTest, TellsANewPageEverything) {
  const std::string ann = join("ann");
  post("/demo/chat", {{"player", ann}, {"message", "hi"}});
  const json::value now = state();
  EXPECT_EQ(now.at("key"), "the-key");
  EXPECT_EQ(now.at("path"), "/rt");
  EXPECT_EQ(json::serialize(now.at("players")), R"([{"username":"ann"}])");
  ASSERT_EQ(now.at("messages").as_array().size(), 1U);
  EXPECT_EQ(now.at("messages").at(0), sent[1].data);
}

TEST_F(DemoTest, RefusesWhatIsNoName) {
  for (const std::string_view name : {"", "   ", "a\nb", "a\x7f", "\xc2\x85", "1234567890123456789012345"}) {
    EXPECT_EQ(post("/demo/join", {{"username", json::string_view(name.data(), name.size())}}).status, 422U) << name;
  }
  for (const json::value& body :
       {json::value{{"username", 5}}, json::value{{"name", "ann"}}, json::value(json::object{})}) {
    EXPECT_EQ(post("/demo/join", body).status, 422U);
  }
  EXPECT_TRUE(sent.empty());
  join("éééééééééééééééééééééééé");  // characters count, not bytes
}

TEST_F(DemoTest, RefusesWhatIsNoRequest) {
  for (const char* body : {"", "[]", "{", "{\"username\": \"\xff\"}", "username=ann"}) {
    EXPECT_EQ(post_text("/demo/join", body).status, 400U) << body;
  }
  for (const char* type : {"", "text/plain", "application/x-www-form-urlencoded"}) {
    EXPECT_EQ(post("/demo/join", {{"username", "ann"}}, type).status, 415U) << type;
  }
  EXPECT_EQ(post("/demo/join", {{"username", "ann"}}, "Application/JSON; charset=utf-8").status, 200U);
}

TEST_F(DemoTest, KeepsNamesApart) {
  const std::string ann = join("ann");
  EXPECT_EQ(post("/demo/join", {{"username", "ann"}}).status, 409U);
  const auto again = post("/demo/join", {{"username", "ann"}, {"player", ann}});
  EXPECT_EQ(again.status, 200U);
  EXPECT_EQ(json::value_to<std::string>(json::parse(again.body).at("player")), ann);
  EXPECT_EQ(post("/demo/join", {{"username", "anna"}, {"player", ann}}).status, 200U);
  EXPECT_EQ(json::serialize(state().at("players")), R"([{"username":"anna"}])");
}

TEST_F(DemoTest, LetsOnlyPlayersWrite) {
  const std::string ann = join("ann");
  EXPECT_EQ(post("/demo/chat", {{"player", "ann"}, {"message", "hi"}}).status, 403U);
  EXPECT_EQ(post("/demo/chat", {{"message", "hi"}}).status, 403U);
  EXPECT_EQ(post("/demo/chat", {{"player", ann}, {"message", ""}}).status, 422U);
  EXPECT_EQ(post("/demo/chat", {{"player", ann}, {"message", std::string(501, 'x')}}).status, 422U);
  EXPECT_EQ(post("/demo/chat", {{"player", ann}, {"message", std::string(500, 'x')}}).status, 200U);
  EXPECT_EQ(post("/demo/leave", {{"player", "nobody"}}).status, 200U);
  EXPECT_EQ(sent.size(), 2U);
}

TEST_F(DemoTest, KeepsABoundedNumber) {
  const std::string first = join("player 0");
  const std::string second = join("player 1");
  for (std::size_t i = 2; i < Demo::max_players; ++i) join("player " + std::to_string(i));
  for (std::size_t i = 0; i < Demo::max_messages + 3; ++i) {
    EXPECT_EQ(post("/demo/chat", {{"player", first}, {"message", std::string(500, '"')}}).status, 200U);
  }
  join("one more");
  const json::value now = state();
  EXPECT_EQ(now.at("players").as_array().size(), Demo::max_players);
  EXPECT_EQ(now.at("messages").as_array().size(), Demo::max_messages);
  EXPECT_EQ(now.at("messages").at(0).at("id"), 4);
  EXPECT_EQ(post("/demo/chat", {{"player", second}, {"message", "hi"}}).status, 403U) << "the one silent longest went";
}

// All players with the longest names still fit into one event.
TEST_F(DemoTest, AnnouncesAFullLobby) {
  for (std::size_t i = 0; i < Demo::max_players; ++i) {
    std::string name = std::to_string(i + 100);
    while (name.size() < 3 + 4 * (Demo::max_username - 3)) name += "\xf0\x9f\x8e\xba";
    join(name);
  }
  EXPECT_EQ(sent.back().data.as_array().size(), Demo::max_players);
}

}  // namespace
