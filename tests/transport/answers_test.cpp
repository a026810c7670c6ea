#include <fanfare/transport/answers.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>

namespace {

using namespace fanfare;
using transport::OnRequest;

class AnswersTest : public testing::Test {
 protected:
  AnswersTest() { apps.add({.id = "1", .key = "key", .secret = "secret"}); }
  http::Response respond(const OnRequest& on_request, std::string target) {
    pusher::ApiWait wait;
    http::Request request;
    request.method = "GET";
    request.target = std::move(target);
    return transport::respond(api, on_request, request, signer, wait);
  }

  pusher::AppList apps;
  pusher::HttpApi<pusher::AppList> api{apps};
  pusher::Signer signer;
};

TEST_F(AnswersTest, ComeFromTheApiThenFromTheHostOrAreA404) {
  const OnRequest host = [](const http::Request& request) -> std::optional<http::Response> {
    if (request.path() == "/page") return http::text_response(200, "a page");
    if (request.path() == "/throws") throw std::runtime_error("no");
    return std::nullopt;
  };
  EXPECT_EQ(respond(host, "/apps/1/channels").status, 401U);
  EXPECT_EQ(respond(host, "/page").body, "a page\n");
  EXPECT_EQ(respond(host, "/other").status, 404U);
  EXPECT_EQ(respond(host, "/throws").status, 500U);
  EXPECT_EQ(respond({}, "/page").status, 404U);
}

TEST_F(AnswersTest, OneThatComesTooLateIsTheLastOfItsConnection) {
  EXPECT_EQ(transport::timeout_response().status, 408U);
  EXPECT_TRUE(transport::timeout_response().close);
}

}  // namespace
