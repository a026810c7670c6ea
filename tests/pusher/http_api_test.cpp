#include <fanfare/pusher/http_api.hpp>

#include "support/sinks.hpp"

#include <fanfare/app.hpp>
#include <fanfare/core/channel_memory.hpp>
#include <fanfare/core/channel_state.hpp>
#include <fanfare/core/event.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/auth.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::string_literals;
using fanfare::test::BoundedQueue;
using fanfare::test::KeptLog;
using fanfare::test::KeptSink;
using fanfare::test::Queue;
using fanfare::test::Recorder;
using fanfare::test::Strings;
using pusher::AppList;
using pusher::HttpApi;
using pusher::HttpApiOptions;

constexpr std::string_view key = "278d425bdf160c739803";
constexpr std::string_view secret = "7ad3773142a6692b25b8";
constexpr std::chrono::seconds now{1353088179};

/// The parameters of a query, sorted by name as they are signed.
using Parameters = std::map<std::string, std::string>;

Parameters authentication(std::string_view body) {
  Parameters parameters{
      {"auth_key", std::string(key)}, {"auth_timestamp", std::to_string(now.count())}, {"auth_version", "1.0"}};
  if (!body.empty()) parameters["body_md5"] = pusher::md5_hex(body);
  return parameters;
}

std::string joined(const Parameters& parameters) {
  std::string text;
  for (const auto& [name, value] : parameters) {
    if (!text.empty()) text += '&';
    text.append(name).append("=").append(value);
  }
  return text;
}

std::string signature_of(std::string_view method, std::string_view path, std::string_view query) {
  std::string text(method);
  text.append("\n").append(path).append("\n").append(query);
  return pusher::hmac_sha256_hex(secret, text);
}

http::Request request_of(std::string method, std::string target, std::string body = {}) {
  http::Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.body = std::move(body);
  return request;
}

/// A request whose parameters need no escapes, signed as SDKs do. \param more  takes the place of those there are.
http::Request signed_request(const std::string& method, const std::string& path, const std::string& body = {},
                             const Parameters& more = {}, const std::string& prefix = {}) {
  Parameters parameters = authentication(body);
  std::string signature;
  for (const auto& [name, value] : more) (name == "auth_signature" ? signature : parameters[name]) = value;
  const std::string query = joined(parameters);
  if (signature.empty()) signature = signature_of(method, path, query);
  return request_of(method, prefix + path + '?' + query + "&auth_signature=" + signature, body);
}

/// Puts a user into a presence channel, as a client's session does.
class Entry final : public OrderedStep {
 public:
  explicit Entry(Member member) : member_(std::make_shared<const Member>(std::move(member))) {}

  [[nodiscard]] bool begin(ChannelState* state) noexcept override {
    static_cast<ChannelMemory*>(state)->roster.enter(member_, 100);
    return false;
  }
  void end() noexcept override {}

 private:
  MemberPtr member_;
};

[[nodiscard]] Subscription enter(App& app, std::string_view channel, std::string user_id, bool numeric = false) {
  Subscription subscription = app.subscribe(channel);
  Entry entry({.user_id = std::move(user_id), .user_info = "null", .numeric_id = numeric});
  EXPECT_EQ(subscription.step(entry, "entry", {}).error, errc::ok);
  return subscription;
}

/// The value of a field; empty where there is none.
std::string field_of(const http::Response& response, std::string_view name) {
  for (const http::Field& field : response.fields) {
    if (field.name == name) return field.value;
  }
  return {};
}

AppOptions options_of_app() { return {.id = "3", .key = std::string(key), .secret = std::string(secret)}; }

class Api : public testing::Test {
 protected:
  http::Response answer(const http::Request& request) const { return api(request, now); }
  http::Response post(const std::string& body, const Parameters& more = {}) const {
    return answer(signed_request("POST", "/apps/3/events", body, more));
  }
  http::Response batch(const std::string& body) const {
    return answer(signed_request("POST", "/apps/3/batch_events", body));
  }
  http::Response get(const std::string& below, const Parameters& more = {}) const {
    return answer(signed_request("GET", "/apps/3/" + below, {}, more));
  }

  AppList apps;
  App& app = *apps.add(options_of_app());
  HttpApi<AppList> api{apps};
};

/// Expects one line of text.
void expect_error(const http::Response& response, unsigned status, std::string_view text) {
  EXPECT_EQ(response.status, status);
  EXPECT_EQ(response.content_type, "text/plain; charset=utf-8");
  EXPECT_EQ(response.body, std::string(text) + '\n');
}

void expect_error_about(const http::Response& response, unsigned status, std::string_view part) {
  EXPECT_EQ(response.status, status);
  EXPECT_EQ(response.content_type, "text/plain; charset=utf-8");
  EXPECT_NE(response.body.find(part), std::string::npos) << response.body << "lacks: " << part;
  EXPECT_EQ(response.body.find('\n'), response.body.size() - 1) << response.body;
  EXPECT_LT(response.body.size(), 20000U);
}

/// With 1800 for every `ttl` that began there less than a minute ago.
std::string as_if_at_once(std::string json) {
  constexpr std::string_view name = R"("ttl":)";
  for (std::size_t at = json.find(name); at != std::string::npos; at = json.find(name, at)) {
    at += name.size();
    const std::size_t digits = json.find_first_not_of("0123456789", at) - at;
    const int ttl = std::stoi(json.substr(at, digits));
    if (ttl > 1740 && ttl < 1800) json.replace(at, digits, "1800");
  }
  return json;
}

void expect_json(const http::Response& response, std::string_view json) {
  EXPECT_EQ(response.status, 200U);
  EXPECT_EQ(response.content_type, "application/json");
  EXPECT_EQ(as_if_at_once(response.body), json);
}

// ---- authentication

constexpr std::string_view documented_body = R"({"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"})";
constexpr std::string_view documented_query =
    "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&"
    "body_md5=ec365a775a4cd0599faeb73354201b6f";
constexpr std::string_view documented_signature = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";

http::Request documented_request() {
  std::string target = "/apps/3/events?";
  target.append(documented_query).append("&auth_signature=").append(documented_signature);
  return request_of("POST", std::move(target), std::string(documented_body));
}

TEST_F(Api, serves_the_documented_request) {
  Recorder seen;
  const auto subscription = app.subscribe("project-3", [&](Subscription& s) { s.bind_all(seen.callback()); });
  expect_json(answer(documented_request()), "{}");
  EXPECT_EQ(seen.take(), Strings{R"(foo={"some":"data"})"});
}

TEST_F(Api, serves_equal_requests_each_time) {
  Recorder seen;
  const auto subscription = app.subscribe("project-3", [&](Subscription& s) { s.bind_all(seen.callback()); });
  expect_json(answer(documented_request()), "{}");
  expect_json(answer(documented_request()), "{}");
  EXPECT_EQ(seen.take().size(), 2U);
}

struct Unauthenticated {
  std::string_view what;
  void (*change)(http::Request& request);
  unsigned status;
  std::string_view text;

  friend std::ostream& operator<<(std::ostream& out, const Unauthenticated& row) { return out << row.what; }
};

void replace(std::string& text, std::string_view part, std::string_view by) {
  const std::size_t at = text.find(part);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, part.size(), by);
}

class Authentication : public Api, public testing::WithParamInterface<Unauthenticated> {};

TEST_P(Authentication, refuses) {
  Recorder seen;
  const auto subscription = app.subscribe("project-3", [&](Subscription& s) { s.bind_all(seen.callback()); });
  http::Request request = documented_request();
  GetParam().change(request);
  const http::Response response = answer(request);
  expect_error_about(response, GetParam().status, GetParam().text);
  EXPECT_TRUE(seen.seen.empty());
  EXPECT_EQ(response.body.find(secret), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Requests, Authentication,
    testing::Values(
        Unauthenticated{"no query", [](auto& r) { r.target = "/apps/3/events"; }, 401,
                        "Missing required parameter: auth_key"},
        Unauthenticated{"no key", [](auto& r) { replace(r.target, "auth_key", "other"); }, 401,
                        "Missing required parameter: auth_key"},
        Unauthenticated{"unknown key", [](auto& r) { replace(r.target, key, "k"); }, 401, R"(Unknown auth_key "k")"},
        Unauthenticated{"no version", [](auto& r) { replace(r.target, "auth_version", "v"); }, 401,
                        "Missing required parameter: auth_version"},
        Unauthenticated{"other version", [](auto& r) { replace(r.target, "=1.0", "=1.1"); }, 401,
                        "Version not supported"},
        Unauthenticated{"no timestamp", [](auto& r) { replace(r.target, "auth_timestamp", "t"); }, 401,
                        "Missing required parameter: auth_timestamp"},
        Unauthenticated{"timestamp in words", [](auto& r) { replace(r.target, "1353088179", "now"); }, 401,
                        "auth_timestamp has to be"},
        Unauthenticated{"empty timestamp", [](auto& r) { replace(r.target, "1353088179", ""); }, 401,
                        "auth_timestamp has to be"},
        Unauthenticated{"timestamp with a tail", [](auto& r) { replace(r.target, "1353088179", "1353088179.0"); }, 401,
                        "auth_timestamp has to be"},
        Unauthenticated{"old", [](auto& r) { replace(r.target, "1353088179", "1353087578"); }, 401,
                        "Timestamp expired: Given timestamp (1353087578) not within 600s of server time (1353088179)"},
        Unauthenticated{"early", [](auto& r) { replace(r.target, "1353088179", "1353088780"); }, 401,
                        "Timestamp expired: Given timestamp (1353088780) not within 600s of server time (1353088179)"},
        Unauthenticated{"oldest", [](auto& r) { replace(r.target, "1353088179", "-9223372036854775808"); }, 401,
                        "Timestamp expired"},
        Unauthenticated{"latest", [](auto& r) { replace(r.target, "1353088179", "9223372036854775807"); }, 401,
                        "Timestamp expired"},
        Unauthenticated{"later than numbers", [](auto& r) { replace(r.target, "1353088179", std::string(99, '9')); },
                        401, "Timestamp expired: Given timestamp (999999999999999999999999…)"},
        Unauthenticated{"no MD5", [](auto& r) { replace(r.target, "body_md5", "m"); }, 401,
                        "Missing required parameter: body_md5"},
        Unauthenticated{"another body", [](auto& r) { r.body += ' '; }, 401, "Invalid body_md5: the body's MD5 is "},
        Unauthenticated{"no body", [](auto& r) { r.body.clear(); }, 401, "Invalid body_md5"},
        Unauthenticated{"no signature", [](auto& r) { replace(r.target, "auth_signature", "s"); }, 401,
                        "Missing required parameter: auth_signature"},
        Unauthenticated{"wrong signature", [](auto& r) { replace(r.target, documented_signature, "da45\"é"); }, 401,
                        R"(Invalid signature: you should have sent HmacSHA256Hex("POST\n/apps/3/events\n)"
                        R"(auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&)"
                        R"(body_md5=ec365a775a4cd0599faeb73354201b6f", your_secret_key), but you sent "da45\"é")"},
        Unauthenticated{"empty signature", [](auto& r) { replace(r.target, documented_signature, ""); }, 401,
                        "Invalid signature"},
        Unauthenticated{"one parameter more", [](auto& r) { r.target += "&info=user_count"; }, 401,
                        "Invalid signature"},
        Unauthenticated{"bytes that are no text", [](auto& r) { r.target += "&a=%ff%00"; }, 401, "a=??&auth_key"},
        Unauthenticated{"a time within the tolerance, but not signed",
                        [](auto& r) { replace(r.target, "1353088179", "1353088178"); }, 401, "Invalid signature"},
        Unauthenticated{"a parameter twice", [](auto& r) { r.target += "&AUTH_key=x"; }, 400,
                        R"(This parameter stands in the query twice: "AUTH_key")"},
        Unauthenticated{"a list and a value", [](auto& r) { r.target += "&auth_key[]=x"; }, 400,
                        R"(This parameter stands in the query twice: "auth_key[]")"},
        Unauthenticated{"too many parameters",
                        [](auto& r) {
                          for (int i = 0; i < 256; ++i) r.target += "&p" + std::to_string(i);
                        },
                        400, "There are too many parameters in the query"},
        Unauthenticated{"another application", [](auto& r) { replace(r.target, "/3/", "/4/"); }, 404,
                        R"(There is no app with the id "4")"}));

TEST_F(Api, takes_times_within_the_tolerance) {
  for (const int apart : {-600, -1, 0, 1, 600}) {
    EXPECT_EQ(api(documented_request(), now + std::chrono::seconds(apart)).status, 200U) << apart;
  }
  for (const int apart : {-601, 601}) {
    EXPECT_EQ(api(documented_request(), now + std::chrono::seconds(apart)).status, 401U) << apart;
  }
  const HttpApi<AppList> strict{apps, {.timestamp_tolerance = std::chrono::seconds(1)}};
  EXPECT_EQ(strict(documented_request(), now + std::chrono::seconds(1)).status, 200U);
  expect_error_about(strict(documented_request(), now + std::chrono::seconds(2)), 401, "not within 1s of");
  const HttpApi<AppList> any_time{apps, {.timestamp_tolerance = (std::chrono::seconds::max)()}};
  EXPECT_EQ(any_time(documented_request(), std::chrono::seconds(0)).status, 200U);
}

TEST_F(Api, never_tells_the_expected_signature) {
  http::Request request = documented_request();
  replace(request.target, documented_signature, std::string(64, '0'));
  EXPECT_EQ(answer(request).body.find(documented_signature), std::string::npos);
}

TEST_F(Api, checks_the_md5_of_an_empty_body_where_it_is_sent) {
  EXPECT_EQ(get("channels", {{"body_md5", "d41d8cd98f00b204e9800998ecf8427e"}}).status, 200U);
  expect_error_about(get("channels", {{"body_md5", "00"}}), 401, "Invalid body_md5");
}

/// How one wrote a request, and what one signed.
struct Spelling {
  std::string_view what;
  std::string_view path;
  std::string_view query;  // as sent, behind the parameters of authentication
  std::string_view signed_path;
  std::string_view signed_before;  // what stands before the parameters of authentication
  std::string_view signed_after;   // and behind them
  bool accepted;

  friend std::ostream& operator<<(std::ostream& out, const Spelling& row) { return out << row.what; }
};

class Signing : public Api, public testing::WithParamInterface<Spelling> {};

TEST_P(Signing, is_recognised) {
  const Spelling& row = GetParam();
  const std::string common = joined(authentication({}));
  std::string text(row.signed_before);
  text.append(common).append(row.signed_after);
  std::string target(row.path);
  target.append("?").append(common).append(row.query).append("&auth_signature=");
  target += signature_of("GET", row.signed_path, text);
  EXPECT_EQ(answer(request_of("GET", target)).status, row.accepted ? 200U : 401U) << target;
}

constexpr std::string_view list = "/apps/3/channels";

INSTANTIATE_TEST_SUITE_P(
    Spellings, Signing,
    testing::Values(
        Spelling{"plain", list, "&info=subscription_count", list, "", "&info=subscription_count", true},
        Spelling{"escaped value, signed decoded", list, "&info=subscription%5fcount%2Csubscription_count", list, "",
                 "&info=subscription_count,subscription_count", true},
        Spelling{"escaped value, signed as sent", list, "&info=subscription%5fcount", list, "",
                 "&info=subscription%5fcount", true},
        Spelling{"escaped value, signed escaped otherwise", list, "&info=subscription%5fcount", list, "",
                 "&info=subscription%5Fcount", false},
        Spelling{"plus, signed as a space", list, "&x=a+b", list, "", "&x=a b", true},
        Spelling{"plus, signed as sent", list, "&x=a+b", list, "", "&x=a+b", true},
        Spelling{"a percent sign that escapes nothing", list, "&x=100%", list, "", "&x=100%", true},
        Spelling{"names in upper case", list, "&ZED=1&Info=subscription_count", list, "",
                 "&info=subscription_count&zed=1", true},
        Spelling{"names in upper case, signed so", list, "&Info=subscription_count", list, "",
                 "&Info=subscription_count", false},
        Spelling{"names that sort first", list, "&aa=1&a=2", list, "a=2&aa=1&", "", true},
        Spelling{"not sorted", list, "&x=1&info=subscription_count", list, "", "&x=1&info=subscription_count", false},
        Spelling{"a value with =", list, "&x=a=b", list, "", "&x=a=b", true},
        Spelling{"no value", list, "&x", list, "", "&x=", true},
        Spelling{"empty parameters", list, "&&&x=1&", list, "", "&x=1", true},
        Spelling{"list, joined", list, "&x[]=b&x[]=a", list, "", "&x=b,a", true},
        Spelling{"list with numbers, joined", list, "&x[0]=b&x[1]=a", list, "", "&x=b,a", true},
        Spelling{"escaped list, joined", list, "&x%5B0%5D=b&x%5B1%5D=a", list, "", "&x=b,a", true},
        Spelling{"list, as a list", list, "&x[]=b&x[]=a", list, "", "&x[]=b&x[]=a", true},
        Spelling{"escaped list, as a list", list, "&x%5B%5D=b&x%5b%5d=a", list, "", "&x[]=b&x[]=a", true},
        Spelling{"escaped list, as sent", list, "&x%5B%5D=b&x%5B%5D=a", list, "", "&x%5b%5d=b&x%5b%5d=a", true},
        Spelling{"list in another order", list, "&x[]=b&x[]=a", list, "", "&x[]=a&x[]=b", false},
        Spelling{"escaped path, signed as sent", "/apps/3/channels/a%40b", "", "/apps/3/channels/a%40b", "", "", true},
        Spelling{"escaped path, signed decoded", "/apps/3/channels/a%40b", "", "/apps/3/channels/a@b", "", "", true},
        Spelling{"plus in a path is a plus", "/apps/3/channels/a%40b", "", "/apps/3/channels/a+b", "", "", false},
        Spelling{"escaped path and value, both decoded", "/apps/3/channels/a%40b", "&info=subscription%5fcount",
                 "/apps/3/channels/a@b", "", "&info=subscription_count", true},
        Spelling{"escaped path and value, the value as sent", "/apps/3/channels/a%40b", "&info=subscription%5fcount",
                 "/apps/3/channels/a@b", "", "&info=subscription%5fcount", true},
        Spelling{"another path", list, "", "/apps/3/channels/a", "", "", false},
        Spelling{"escaped id", "/apps/%33/channels", "", list, "", "", true},
        Spelling{"two attributes of a presence channel", "/apps/3/channels/presence-a",
                 "&info=user_count,subscription_count", "/apps/3/channels/presence-a", "",
                 "&info=user_count,subscription_count", true}));

TEST_F(Api, takes_the_parameters_of_authentication_in_any_order) {
  const std::string body = R"({"name":"n","channel":"c","data":"d"})";
  const std::string sorted = joined(authentication(body));
  const std::string signature = "auth_signature=" + signature_of("POST", "/apps/3/events", sorted);
  std::vector<std::string> parts{signature};
  for (std::size_t begin = 0; begin < sorted.size();) {
    const std::size_t end = std::min(sorted.find('&', begin), sorted.size());
    parts.push_back(sorted.substr(begin, end - begin));
    begin = end + 1;
  }
  ASSERT_EQ(parts.size(), 5U);
  const auto status_of = [&](const std::string& query) {
    return answer(request_of("POST", "/apps/3/events?" + query, body)).status;
  };
  std::sort(parts.begin(), parts.end());
  do {
    std::string query;
    for (const std::string& part : parts) query += (query.empty() ? "" : "&") + part;
    EXPECT_EQ(status_of(query), 200U) << query;
    EXPECT_EQ(status_of("&" + query + "&&"), 200U) << query;
    EXPECT_EQ(status_of(query + "&auth_key=" + std::string(key)), 400U) << query;
    EXPECT_EQ(status_of(query + "&" + signature), 400U) << query;
    EXPECT_EQ(status_of(query + "&auth_signature"), 400U) << query;
    EXPECT_EQ(status_of(query + "&info="), 401U) << query;
    query[query.find("auth_v")] = 'A';
    EXPECT_EQ(status_of(query), 200U) << query;
  } while (std::next_permutation(parts.begin(), parts.end()));
}

TEST_F(Api, signs_targets_of_any_size) {
  for (const std::size_t size : {0U, 100U, 300U, 310U, 320U, 330U, 340U, 350U, 360U, 400U, 1000U}) {
    const std::string path = "/apps/3/channels/" + std::string(size + 1, 'c');
    const unsigned expected = size < 200 ? 200 : 400;  // the name is checked behind the signature
    EXPECT_EQ(answer(signed_request("GET", path)).status, expected) << size;
    EXPECT_EQ(answer(signed_request("GET", path, {}, {{"auth_signature", std::string(64, '0')}})).status, 401U);
  }
}

TEST_F(Api, does_not_let_in_to_an_application_with_the_key_of_another) {
  ASSERT_NE(apps.add({.id = "4", .key = "other", .secret = std::string(secret)}), nullptr);
  expect_error_about(answer(signed_request("GET", "/apps/4/channels")), 401, "Unknown auth_key");
}

TEST_F(Api, lets_nobody_in_where_there_is_no_secret) {
  AppList open;
  open.add({.id = "3", .key = std::string(key), .secret = ""});
  http::Request request = documented_request();
  replace(request.target, documented_signature,
          pusher::hmac_sha256_hex("", "POST\n/apps/3/events\n" + std::string(documented_query)));
  expect_error_about(HttpApi{open}(request, now), 401, "Invalid signature");
}

TEST_F(Api, tells_only_those_who_know_the_secret_that_an_application_is_disabled) {
  AppOptions options = options_of_app();
  options.enabled = false;
  AppList disabled;
  disabled.add(options);
  const HttpApi<AppList> of_disabled{disabled};
  expect_error(of_disabled(documented_request(), now), 403, "The app is disabled");
  http::Request request = documented_request();
  request.body += ' ';
  EXPECT_EQ(of_disabled(request, now).status, 401U);
}

// ---- routes

struct Route {
  std::string_view method;
  std::string_view target;
  unsigned status;
  std::string_view allow;

  friend std::ostream& operator<<(std::ostream& out, const Route& row) {
    return out << row.method << ' ' << row.target;
  }
};

class Routes : public Api, public testing::WithParamInterface<Route> {};

TEST_P(Routes, have_a_status_before_anything_is_signed) {
  const Route& row = GetParam();
  const http::Response response = answer(request_of(std::string(row.method), std::string(row.target)));
  EXPECT_EQ(response.status, row.status);
  EXPECT_EQ(field_of(response, "Allow"), row.allow);
  if (row.status == 404) expect_error_about(response, 404, "This endpoint does not exist");
  EXPECT_EQ(response.body.empty(), row.status == 204);
}

INSTANTIATE_TEST_SUITE_P(
    Targets, Routes,
    testing::Values(
        Route{"POST", "/apps/3/events", 401, ""}, Route{"POST", "/apps/3/batch_events", 401, ""},
        Route{"GET", "/apps/3/channels", 401, ""}, Route{"HEAD", "/apps/3/channels", 401, ""},
        Route{"GET", "/apps/3/channels/a", 401, ""}, Route{"HEAD", "/apps/3/channels/a", 401, ""},
        Route{"GET", "/apps/3/events", 405, "POST, OPTIONS"}, Route{"HEAD", "/apps/3/events", 405, "POST, OPTIONS"},
        Route{"PUT", "/apps/3/batch_events", 405, "POST, OPTIONS"},
        Route{"post", "/apps/3/events", 405, "POST, OPTIONS"}, Route{"", "/apps/3/events", 405, "POST, OPTIONS"},
        Route{"POST", "/apps/3/channels", 405, "GET, HEAD, OPTIONS"},
        Route{"DELETE", "/apps/3/channels/a?x=y", 405, "GET, HEAD, OPTIONS"},
        Route{"OPTIONS", "/apps/3/events", 204, "POST, OPTIONS"},
        Route{"OPTIONS", "/apps/3/channels/a", 204, "GET, HEAD, OPTIONS"},
        Route{"OPTIONS", "/apps/unknown/channels", 204, "GET, HEAD, OPTIONS"},
        Route{"GET", "/apps/3/channels/presence-a/users", 401, ""},
        Route{"HEAD", "/apps/3/channels/presence-a/users", 401, ""},
        Route{"POST", "/apps/3/users/u/terminate_connections", 401, ""},
        Route{"POST", "/apps/3/channels/a/events", 401, ""}, Route{"GET", "/apps/3/channels/a/stats", 401, ""},
        Route{"HEAD", "/apps/3/channels/a/stats", 401, ""},
        Route{"POST", "/apps/3/channels/presence-a/users", 405, "GET, HEAD, OPTIONS"},
        Route{"POST", "/apps/3/channels/a/stats", 405, "GET, HEAD, OPTIONS"},
        Route{"GET", "/apps/3/channels/a/events", 405, "POST, OPTIONS"},
        Route{"DELETE", "/apps/3/users/u/terminate_connections", 405, "POST, OPTIONS"},
        Route{"OPTIONS", "/apps/3/users/u/terminate_connections", 204, "POST, OPTIONS"},
        Route{"OPTIONS", "/apps/3/channels/a/users", 204, "GET, HEAD, OPTIONS"},
        Route{"POST", "/apps/3/users//terminate_connections", 404, ""}, Route{"GET", "/apps/3/users", 404, ""},
        Route{"GET", "/apps/3/users/u", 404, ""}, Route{"GET", "/apps/3/channels/a/", 404, ""},
        Route{"GET", "/apps/3/channels//users", 404, ""}, Route{"GET", "/apps/3/channels/a/users/", 404, ""},
        Route{"GET", "/apps/3/channels/a/users/u", 404, ""}, Route{"GET", "/apps/3/channels/a/nothing", 404, ""},
        Route{"POST", "/apps/3/users/u/events", 404, ""},
        Route{"POST", "/apps/3/channels/a/terminate_connections", 404, ""}, Route{"GET", "/apps/3/channels/", 404, ""},
        Route{"GET", "/apps/3/", 404, ""}, Route{"GET", "/apps/3", 404, ""}, Route{"GET", "/apps/", 404, ""},
        Route{"GET", "/apps", 404, ""}, Route{"GET", "", 404, ""}, Route{"GET", "/", 404, ""},
        Route{"GET", "?/apps/3/channels", 404, ""}, Route{"POST", "/apps/3/Events", 404, ""},
        Route{"POST", "/apps/3/%65vents", 404, ""}, Route{"POST", "/apps/3//events", 404, ""},
        Route{"POST", "/x/apps/3/events", 404, ""}, Route{"OPTIONS", "/apps/3/nothing", 404, ""},
        Route{"OPTIONS", "*", 404, ""}));

TEST_F(Api, serves_what_is_below_apps) {
  const auto serves = [this](std::string target) { return api.serves(request_of("GET", std::move(target))); };
  EXPECT_TRUE(serves("/apps/3/events"));
  EXPECT_TRUE(serves("/apps/3/events?a=b"));
  EXPECT_TRUE(serves("/apps/")) << "to answer that there is nothing";
  EXPECT_FALSE(serves("/apps"));
  EXPECT_FALSE(serves("/app/key"));
  EXPECT_FALSE(serves("/?/apps/"));
  EXPECT_FALSE(serves(""));
}

TEST_F(Api, may_have_a_prefix_which_is_not_signed) {
  for (const char* prefix : {"/rt/v1", "rt/v1", "/rt/v1/", "rt/v1//"}) {
    const HttpApi<AppList> below{apps, {.path_prefix = prefix}};
    const http::Request request = signed_request("GET", "/apps/3/channels", {}, {}, "/rt/v1");
    EXPECT_TRUE(below.serves(request)) << prefix;
    expect_json(below(request, now), R"({"channels":{}})");
    EXPECT_FALSE(below.serves(signed_request("GET", "/apps/3/channels"))) << prefix;
    EXPECT_EQ(below(signed_request("GET", "/apps/3/channels"), now).status, 404U);
    EXPECT_EQ(below(request_of("GET", "/rt/v1"), now).status, 404U);
  }
  const HttpApi<AppList> at_root{apps, {.path_prefix = "/"}};
  expect_json(at_root(signed_request("GET", "/apps/3/channels"), now), R"({"channels":{}})");
}

TEST_F(Api, bounds_target_and_body) {
  HttpApiOptions options;
  options.target_bytes = 400;
  options.body_bytes = 100;
  const HttpApi<AppList> small{apps, options};
  http::Request request = signed_request("GET", "/apps/3/channels", {}, {{"z", ""}});
  request = signed_request("GET", "/apps/3/channels", {}, {{"z", std::string(400 - request.target.size(), 'z')}});
  ASSERT_EQ(request.target.size(), 400U);
  EXPECT_EQ(small(request, now).status, 200U);
  request.target += 'x';
  expect_error(small(request, now), 414, "The target is too long (at most 400 bytes)");

  const std::string event = R"({"name":"e","channel":"a","data":""})";
  EXPECT_EQ(small(signed_request("POST", "/apps/3/events", event + std::string(100 - event.size(), ' ')), now).status,
            200U);
  expect_error(small(signed_request("POST", "/apps/3/events", event + std::string(101 - event.size(), ' ')), now), 413,
               "The body is too large (at most 100 bytes)");
}

TEST_F(Api, answers_head_as_get) {
  const auto member = enter(app, "presence-p", "1");
  for (const auto* path :
       {"channels", "channels/presence-p", "channels/presence-p/users", "channels/presence-p/stats"}) {
    EXPECT_EQ(answer(signed_request("HEAD", "/apps/3/"s + path)), get(path)) << path;
    EXPECT_EQ(get(path).status, 200U) << path;
  }
}

TEST_F(Api, knows_all_keys_of_an_application) {
  AppOptions options = options_of_app();
  options.key = "new";
  options.secret = "new secret";
  options.more_keys = {{.key = std::string(key), .secret = std::string(secret)}};
  AppList both;
  both.add(options);
  expect_json(HttpApi{both}(documented_request(), now), "{}");
}

// ---- what pages may do

http::Request preflight(std::string target, std::string method) {
  http::Request request = request_of("OPTIONS", std::move(target));
  request.fields = {{"Origin", "https://example.com"},
                    {"Access-Control-Request-Method", std::move(method)},
                    {"Access-Control-Request-Headers", "content-type"}};
  return request;
}

TEST_F(Api, lets_no_page_in_unless_it_is_told_to) {
  const http::Response asked = answer(preflight("/apps/3/events", "POST"));
  EXPECT_EQ(asked.status, 204U);
  EXPECT_EQ(asked.fields, (std::vector<http::Field>{{"Allow", "POST, OPTIONS"}}));
  EXPECT_TRUE(get("channels").fields.empty());
  EXPECT_TRUE(answer(request_of("GET", "/apps/3/channels")).fields.empty());
}

TEST_F(Api, lets_pages_in_if_it_is_told_to) {
  const HttpApi<AppList> open{apps, {.cors = true}};
  const http::Response asked = open(preflight("/apps/3/events", "POST"), now);
  EXPECT_EQ(asked.status, 204U);
  EXPECT_EQ(asked.body, "");
  EXPECT_EQ(asked.fields,
            (std::vector<http::Field>{{"Allow", "POST, OPTIONS"},
                                      {"Access-Control-Allow-Methods", "POST, OPTIONS"},
                                      {"Access-Control-Allow-Headers", "Content-Type, X-Pusher-Library, *"},
                                      {"Access-Control-Max-Age", "86400"},
                                      {"Access-Control-Allow-Origin", "*"}}));
  EXPECT_EQ(field_of(open(preflight("/apps/3/channels", "GET"), now), "Access-Control-Allow-Methods"),
            "GET, HEAD, OPTIONS");

  // Whatever the answer is, the page may read it.
  const auto expect_readable = [&](const http::Request& request, unsigned status) {
    const http::Response response = open(request, now);
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(field_of(response, "Access-Control-Allow-Origin"), "*") << status;
    EXPECT_EQ(field_of(response, "Access-Control-Allow-Methods"), "") << status;
  };
  expect_readable(documented_request(), 200);
  expect_readable(request_of("OPTIONS", "/apps/3/events"), 204);
  expect_readable(signed_request("POST", "/apps/3/events", "{}"), 400);
  expect_readable(request_of("GET", "/apps/3/channels"), 401);
  expect_readable(request_of("GET", "/apps/3/nothing"), 404);
  expect_readable(preflight("/apps/3/nothing", "GET"), 404);
  expect_readable(request_of("PUT", "/apps/3/events"), 405);
  expect_readable(request_of("GET", "/apps/3/" + std::string(9000, 'x')), 414);
}

// ---- events

struct BadEvent {
  std::string_view what;
  std::string body;
  unsigned status;
  std::string_view text;

  friend std::ostream& operator<<(std::ostream& out, const BadEvent& row) { return out << row.what; }
};

std::string nested(std::size_t levels) {
  return R"({"name":"e","channel":"a","data":)" + std::string(levels - 1, '[') + std::string(levels - 1, ']') + '}';
}

std::string channels_of(std::size_t count) {
  std::string text = R"({"name":"e","data":"","channels":[)";
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "\"c" : ",\"c") + std::to_string(i) + '"';
  return text + "]}";
}

std::string event_of(std::string_view name, std::string_view channel, std::string_view data) {
  std::string text = R"({"name":")";
  text.append(name).append(R"(","channel":")").append(channel).append(R"(","data":")").append(data).append("\"}");
  return text;
}

std::string batch_of(std::size_t count, std::string_view event) {
  std::string text = R"({"batch":[)";
  for (std::size_t i = 0; i < count; ++i) {
    if (i != 0) text += ',';
    text += event;
  }
  return text += "]}";
}

class Events : public Api, public testing::WithParamInterface<BadEvent> {};

TEST_P(Events, are_refused_where_they_are_wrong) {
  Recorder seen;
  const auto subscription = app.subscribe("a", [&](Subscription& s) { s.bind_all(seen.callback()); });
  expect_error_about(post(GetParam().body), GetParam().status, GetParam().text);
  EXPECT_TRUE(seen.seen.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Bodies, Events,
    testing::Values(
        BadEvent{"nothing", "", 400, "Missing required parameter: name"},
        BadEvent{"no JSON", "name=e&channel=a&data=x", 400, "The body is not valid JSON"},
        BadEvent{"half of it", R"({"name":"e")", 400, "The body is not valid JSON"},
        BadEvent{"two of them", R"({"name":"e","channel":"a","data":""}{})", 400, "The body is not valid JSON"},
        BadEvent{"a comma too many", R"({"name":"e","channel":"a","data":"",})", 400, "The body is not valid JSON"},
        BadEvent{"not UTF-8", event_of("e", "a", "\xff"), 400, "The body is not valid JSON"},
        BadEvent{"half a surrogate pair", event_of("e", "a", R"(\ud800)"), 400, "The body is not valid JSON"},
        BadEvent{"the other half", event_of("e", "a", R"(\udc00)"), 400, "The body is not valid JSON"},
        BadEvent{"a number beyond all bounds", R"({"name":"e","channel":"a","data":1e9999999999})", 400,
                 "The body is not valid JSON"},
        BadEvent{"33 levels", nested(33), 400, "The body is nested too deep"},
        BadEvent{"10000 levels", nested(10000), 400, "The body is nested too deep"},
        BadEvent{"an array", R"([{"name":"e","channel":"a","data":""}])", 400, "The body has to be a JSON object"},
        BadEvent{"null", "null", 400, "The body has to be a JSON object"},
        BadEvent{"no name", R"({"channel":"a","data":""})", 400, "Missing required parameter: name\n"},
        BadEvent{"null for a name", R"({"name":null,"channel":"a","data":""})", 400,
                 "Missing required parameter: name\n"},
        BadEvent{"a number for a name", R"({"name":1,"channel":"a","data":""})", 400, "name has to be a string"},
        BadEvent{"empty name", event_of("", "a", ""), 400, R"(Invalid event name "": the name is empty)"},
        BadEvent{"long name", event_of(std::string(201, 'n'), "a", ""), 400,
                 "the event name is too long (at most 200 bytes)"},
        BadEvent{"a name of the protocol", event_of("pusher:ping", "a", ""), 400,
                 R"(Invalid event name "pusher:ping": the name is reserved)"},
        BadEvent{"a name of the protocol's inside", event_of("pusher_internal:x", "a", ""), 400,
                 "the name is reserved"},
        BadEvent{"no data", R"({"name":"e","channel":"a"})", 400, "Missing required parameter: data\n"},
        BadEvent{"null for data", R"({"name":"e","channel":"a","data":null})", 400,
                 "Missing required parameter: data\n"},
        BadEvent{"large data", event_of("e", "a", std::string(10241, 'd')), 413,
                 "The data content of this event exceeds the allowed maximum (10240 bytes)."},
        BadEvent{"large data in another form",
                 R"({"name":"e","channel":"a","data":[")" + std::string(10240, 'd') + R"("]})", 413,
                 "The data content of this event exceeds the allowed maximum (10240 bytes)."},
        BadEvent{"no channel", R"({"name":"e","data":""})", 400, "Missing required parameter: channels\n"},
        BadEvent{"no channels", R"({"name":"e","data":"","channels":[]})", 400,
                 "Missing required parameter: channels\n"},
        BadEvent{"channels that are none", R"({"name":"e","data":"","channels":"a"})", 400,
                 "channels has to be an array of strings"},
        BadEvent{"numbers for channels", R"({"name":"e","data":"","channels":["a",1]})", 400,
                 "channels has to be an array of strings"},
        BadEvent{"a number for a channel", R"({"name":"e","data":"","channel":1})", 400, "channel has to be a string"},
        BadEvent{"101 channels", channels_of(101), 400, "Too many channels (101 > 100)"},
        BadEvent{"empty channel name", event_of("e", "", ""), 400, R"(Invalid channel name "": the name is empty)"},
        BadEvent{"bad channel name", event_of("e", "a b", ""), 400,
                 R"(Invalid channel name "a b": the channel name holds a character that is not allowed)"},
        BadEvent{"bad name behind a good one", R"({"name":"e","data":"","channels":["a","b:c"]})", 400,
                 R"(Invalid channel name "b:c")"},
        BadEvent{"long channel name", event_of("e", std::string(165, 'c'), ""), 400,
                 "the channel name is too long (at most 164 bytes)"},
        BadEvent{"reserved channel name", event_of("e", "#x", ""), 400, "the name is reserved"},
        BadEvent{"a name that would break the line", event_of("e", R"(a\nb)", ""), 400,
                 R"(Invalid channel name "a?b")"},
        BadEvent{"no socket id", R"({"name":"e","channel":"a","data":"","socket_id":"x"})", 400,
                 R"(Invalid socket_id "x")"},
        BadEvent{"empty socket id", R"({"name":"e","channel":"a","data":"","socket_id":""})", 400,
                 R"(Invalid socket_id "")"},
        BadEvent{"a number for a socket id", R"({"name":"e","channel":"a","data":"","socket_id":1.2})", 400,
                 "socket_id has to be a string"},
        BadEvent{"unknown attribute", R"({"name":"e","channel":"a","data":"","info":"user_count,x"})", 400,
                 "info should be a comma separated list of attributes"},
        BadEvent{"a list for info", R"({"name":"e","channel":"a","data":"","info":["user_count"]})", 400,
                 "info has to be a string"}));

TEST_F(Api, takes_what_is_just_within_the_limits) {
  expect_json(post(event_of(std::string(200, 'n'), std::string(164, 'c'), std::string(10240, 'd'))), "{}");
  expect_json(post(channels_of(100)), "{}");
  expect_json(post(nested(32)), "{}");
  // What counts are the bytes of the data, not those of its JSON.
  std::string escaped;
  for (int i = 0; i < 10240; ++i) escaped += R"(\u0041)";
  expect_json(post(event_of("e", "a", escaped)), "{}");
  expect_error_about(post(event_of("e", "a", escaped + "A")), 413, "(10240 bytes)");
}

TEST_F(Api, takes_the_limits_of_the_application) {
  AppOptions options{.id = "5", .key = std::string(key) + "5", .secret = std::string(secret)};
  options.limits = {.channel_name = 200, .event_name = 3, .data = 4, .channels_per_trigger = 2};
  AppList others;
  others.add({.id = "3", .key = std::string(key), .secret = std::string(secret), .limits = options.limits});
  const HttpApi<AppList> narrow{others};
  const auto answer_to = [&](const std::string& body) {
    return narrow(signed_request("POST", "/apps/3/events", body), now);
  };
  expect_json(answer_to(event_of("eee", std::string(200, 'c'), "dddd")), "{}");
  expect_error_about(answer_to(event_of("eeee", "c", "")), 400, "(at most 3 bytes)");
  expect_error_about(answer_to(event_of("e", "c", "ddddd")), 413, "(4 bytes)");
  expect_error_about(answer_to(channels_of(3)), 400, "Too many channels (3 > 2)");
}

struct SentData {
  std::string_view json;
  std::string_view delivered;

  friend std::ostream& operator<<(std::ostream& out, const SentData& row) { return out << row.json; }
};

class DataForms : public Api, public testing::WithParamInterface<SentData> {};

TEST_P(DataForms, arrive_as_text) {
  Recorder seen;
  const auto subscription = app.subscribe("a", [&](Subscription& s) { s.bind_all(seen.callback()); });
  std::string body = R"({"name":"e","channel":"a","data":)";
  body.append(GetParam().json).append("}");
  expect_json(post(body), "{}");
  EXPECT_EQ(seen.take(), Strings{"e=" + std::string(GetParam().delivered)});
}

INSTANTIATE_TEST_SUITE_P(Values, DataForms,
                         testing::Values(SentData{R"("")", ""}, SentData{R"("plain text")", "plain text"},
                                         SentData{R"("{\"a\": 1.50}")", R"({"a": 1.50})"},
                                         SentData{R"("\u00e9\ud83d\ude00")", "é😀"}, SentData{R"("null")", "null"},
                                         SentData{R"({"a":{"b":[1,true,null,"x"]}})",
                                                  R"({"a":{"b":[1,true,null,"x"]}})"},
                                         SentData{R"([ 1, 2 ])", "[1,2]"}, SentData{"7", "7"}, SentData{"-0", "0"},
                                         SentData{"18446744073709551615", "18446744073709551615"},
                                         SentData{"1.5", "1.5E0"}, SentData{"true", "true"}));

TEST_F(Api, delivers_to_each_channel_once) {
  Recorder seen;
  std::vector<Subscription> subscriptions;
  for (const char* channel : {"a", "b", "c", "d"}) {
    subscriptions.push_back(app.subscribe(channel, [&](Subscription& s) { s.bind_all(seen.callback(channel)); }));
  }
  expect_json(post(R"({"name":"e","data":"1","channels":["b","a","b"]})"), "{}");
  EXPECT_EQ(seen.take(), (Strings{"b:e=1", "a:e=1"}));
  expect_json(post(R"({"name":"e","data":"2","channels":["c","c"]})"), "{}");
  EXPECT_EQ(seen.take(), Strings{"c:e=2"});
  expect_json(post(R"({"name":"e","data":"3","channels":["a","b"],"channel":"c"})"), "{}");
  EXPECT_EQ(seen.take(), (Strings{"a:e=3", "b:e=3", "c:e=3"}));
  expect_json(post(R"({"name":"e","data":"4","channels":["a"],"channel":"a"})"), "{}");
  EXPECT_EQ(seen.take(), Strings{"a:e=4"});
}

TEST_F(Api, delivers_to_channels_of_a_user) {
  Recorder seen;
  const auto subscription = app.subscribe("#server-to-user-7", [&](Subscription& s) { s.bind_all(seen.callback()); });
  expect_json(post(event_of("e", "#server-to-user-7", "1")), "{}");
  EXPECT_EQ(seen.take(), Strings{"e=1"});
}

TEST_F(Api, ignores_members_it_does_not_know_and_takes_the_last_of_two) {
  Recorder seen;
  const auto subscription = app.subscribe("a", [&](Subscription& s) { s.bind_all(seen.callback()); });
  expect_json(post(R"({"x":{},"name":"e","name":"f","channel":"a","channels":null,"data":"1","socket_id":null,)"
                   R"("info":null})"),
              "{}");
  EXPECT_EQ(seen.take(), Strings{"f=1"});
}

TEST_F(Api, leaves_out_the_connection_that_is_named) {
  Queue queue;
  const auto subscription = app.channels().attach("a", queue);
  expect_json(post(R"({"name":"e","channel":"a","data":"1","socket_id":"123.456"})"), "{}");
  expect_json(post(event_of("e", "a", "2")), "{}");
  expect_json(batch(R"({"batch":[{"name":"e","channel":"a","data":"3","socket_id":"7.8"}]})"), "{}");
  ASSERT_EQ(queue.texts(), (Strings{"e=1", "e=2", "e=3"}));
  EXPECT_EQ(queue.messages[0]->except_socket(), "123.456");
  EXPECT_EQ(queue.messages[1]->except_socket(), "");
  EXPECT_EQ(queue.messages[2]->except_socket(), "7.8");
  EXPECT_EQ(queue.messages[0]->socket_id(), "") << "it is not the sender";
}

TEST_F(Api, takes_parameters_of_an_event_from_the_query) {
  Queue queue;
  const auto a = app.channels().attach("a", queue);
  const auto b = app.channels().attach("b", queue);
  const auto unescaped = [this](const std::string& query, const std::string& signed_query, const std::string& body) {
    Parameters parameters = authentication(body);
    const std::string common = joined(parameters);
    return answer(request_of("POST",
                             "/apps/3/events?" + common + query +
                                 "&auth_signature=" + signature_of("POST", "/apps/3/events", common + signed_query),
                             body));
  };
  expect_json(unescaped("&channels[]=a&channels[]=b&data=%7B%7D+x&name=e&socket_id=1.2",
                        "&channels=a,b&data={} x&name=e&socket_id=1.2", ""),
              "{}");
  EXPECT_EQ(queue.texts(), (Strings{"e={} x", "e={} x"}));
  EXPECT_EQ(queue.messages[0]->except_socket(), "1.2");
  queue.messages.clear();

  // The body goes first, member by member.
  expect_json(unescaped("&channel=a&name=e&data=query", "&channel=a&data=query&name=e", R"({"data":"body"})"), "{}");
  EXPECT_EQ(queue.texts(), Strings{"e=body"});

  expect_json(unescaped("&channel=a&data=&info=subscription_count&name=e",
                        "&channel=a&data=&info=subscription_count&name=e", ""),
              R"({"channels":{"a":{"subscription_count":1}}})");
  expect_error(unescaped("&channel=a&data=%ff&name=e", "&channel=a&data=\xff&name=e", ""), 400,
               "data is not valid UTF-8");
  expect_error(unescaped("&channel=a&data=&name=%C0%80", "&channel=a&data=&name=\xC0\x80", ""), 400,
               "name is not valid UTF-8");
}

TEST_F(Api, tells_attributes_of_the_channels_of_an_event) {
  const auto first = app.subscribe("a");
  const auto second = app.subscribe("a");
  const auto member = enter(app, "presence-p", "1");
  const auto info = [this](std::string_view attributes) {
    return post(R"({"name":"e","data":"","channels":["presence-p","a","none","a"],"info":")" + std::string(attributes) +
                "\"}");
  };
  expect_json(info("subscription_count"),
              R"({"channels":{"presence-p":{"subscription_count":1},"a":{"subscription_count":2},)"
              R"("none":{"subscription_count":0}}})");
  expect_json(info("user_count"), R"({"channels":{"presence-p":{"user_count":1},"a":{},"none":{}}})");
  expect_json(info("subscription_count, user_count"),
              R"({"channels":{"presence-p":{"user_count":1,"subscription_count":1},)"
              R"("a":{"subscription_count":2},"none":{"subscription_count":0}}})");
  expect_json(info(""), "{}");
  expect_error_about(info("cache"), 400, "info should be a comma separated list of attributes");
}

// ---- batches

TEST_F(Api, triggers_the_events_of_a_batch_in_their_order) {
  Recorder seen;
  const auto a = app.subscribe("a", [&](Subscription& s) { s.bind_all(seen.callback("a")); });
  const auto b = app.subscribe("b", [&](Subscription& s) { s.bind_all(seen.callback("b")); });
  expect_json(batch(R"({"batch":[{"name":"e","channel":"b","data":"1"},{"name":"f","channel":"a","data":{"x":2}},)"
                    R"({"name":"e","channel":"b","data":"1"}]})"),
              "{}");
  EXPECT_EQ(seen.take(), (Strings{"b:e=1", R"(a:f={"x":2})", "b:e=1"}));
  expect_json(batch(R"({"batch":[]})"), "{}");
}

class Batches : public Api, public testing::WithParamInterface<BadEvent> {};

TEST_P(Batches, deliver_nothing_where_one_event_is_wrong) {
  Recorder seen;
  const auto subscription = app.subscribe("a", [&](Subscription& s) { s.bind_all(seen.callback()); });
  const std::string good = event_of("e", "a", "1");
  expect_error_about(batch(R"({"batch":[)" + good + ',' + GetParam().body + ',' + good + "]}"), GetParam().status,
                     std::string(GetParam().text) + " (batch[1])\n");
  EXPECT_TRUE(seen.seen.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Items, Batches,
    testing::Values(
        BadEvent{"no object", "1", 400, "batch has to be an array of objects"},
        BadEvent{"null", "null", 400, "batch has to be an array of objects"},
        BadEvent{"no channel", R"({"name":"e","data":""})", 400, "Missing required parameter: channel"},
        BadEvent{"channels", R"({"name":"e","data":"","channels":["a"]})", 400, "Missing required parameter: channel"},
        BadEvent{"no name", R"({"channel":"a","data":""})", 400, "Missing required parameter: name"},
        BadEvent{"no data", R"({"channel":"a","name":"e"})", 400, "Missing required parameter: data"},
        BadEvent{"large data", event_of("e", "a", std::string(10241, 'd')), 413,
                 "The data content of this event exceeds the allowed maximum (10240 bytes)."},
        BadEvent{"bad channel name", event_of("e", "a b", ""), 400,
                 R"(Invalid channel name "a b": the channel name holds a character that is not allowed)"},
        BadEvent{"bad event name", event_of("pusher:x", "a", ""), 400,
                 R"(Invalid event name "pusher:x": the name is reserved)"},
        BadEvent{"bad socket id", R"({"name":"e","channel":"a","data":"","socket_id":"1"})", 400,
                 R"(Invalid socket_id "1": it has to be two numbers with a dot between them)"},
        BadEvent{"bad info", R"({"name":"e","channel":"a","data":"","info":"x"})", 400,
                 "info should be a comma separated list of attributes, which are user_count and subscription_count; "
                 R"(this is none of them: "x")"}));

TEST_F(Api, refuses_what_is_no_batch) {
  expect_error(batch(""), 400, "Missing required parameter: batch");
  expect_error(batch("{}"), 400, "Missing required parameter: batch");
  expect_error(batch(R"({"batch":null})"), 400, "Missing required parameter: batch");
  expect_error(batch(R"({"batch":{}})"), 400, "batch has to be an array of objects");
  expect_error(batch("[]"), 400, "The body has to be a JSON object");
  expect_error_about(batch("{"), 400, "The body is not valid JSON");
}

TEST_F(Api, bounds_batches) {
  const auto body = [](std::size_t count) { return batch_of(count, event_of("e", "a", "")); };
  expect_json(batch(body(10)), "{}");
  expect_error(batch(body(11)), 400, "Batch too large (11 > 10)");
  const HttpApi<AppList> larger{apps, {.batch = 11}};
  expect_json(larger(signed_request("POST", "/apps/3/batch_events", body(11)), now), "{}");
}

TEST_F(Api, has_room_for_the_largest_batch) {
  std::string escaped;
  for (int i = 0; i < 10240; ++i) escaped += R"(\u0041)";
  const std::string largest = event_of(std::string(200, 'n'), std::string(164, 'c'), escaped);
  expect_json(batch(batch_of(10, largest)), "{}");
}

TEST_F(Api, tells_attributes_for_each_event_of_a_batch) {
  const auto first = app.subscribe("a");
  const auto one = enter(app, "presence-p", "1");
  const auto again = enter(app, "presence-p", "1");
  const auto other = enter(app, "presence-p", "2");
  expect_json(batch(R"({"batch":[{"name":"e","channel":"a","data":"","info":"subscription_count,user_count"},)"
                    R"({"name":"e","channel":"a","data":""},)"
                    R"({"name":"e","channel":"presence-p","data":"","info":"subscription_count,user_count"}]})"),
              R"({"batch":[{"subscription_count":1},{},{"user_count":2,"subscription_count":3}]})");
}

// ---- what goes wrong while events are delivered

TEST_F(Api, says_that_a_queue_is_full) {
  Recorder seen;
  BoundedQueue full;
  full.room = 0;
  const auto recorded = app.subscribe("a", [&](Subscription& s) { s.bind_all(seen.callback()); });
  const auto a = app.channels().attach("b", full);
  const auto expect_overloaded = [](const http::Response& response, std::string_view text) {
    expect_error(response, 503, text);
    EXPECT_EQ(response.fields, (std::vector<http::Field>{{"Retry-After", "1"}}));
  };
  expect_overloaded(post(event_of("e", "b", "1")), "The event was not delivered: a queue is full");
  expect_overloaded(post(R"({"name":"e","data":"1","channels":["a","b"]})"),
                    "The event was not delivered to all channels: a queue is full");
  EXPECT_TRUE(seen.seen.empty());
  expect_overloaded(batch(R"({"batch":[{"name":"e","channel":"a","data":"1"},{"name":"e","channel":"b","data":"2"},)"
                          R"({"name":"e","channel":"a","data":"3"}]})"),
                    "The event was not delivered: a queue is full (batch[1]; those before it were "
                    "delivered)");
  EXPECT_EQ(seen.take(), Strings{"e=1"});
}

TEST_F(Api, says_that_a_callback_threw) {
  Recorder seen;
  const auto a = app.subscribe("a", [&](Subscription& s) {
    s.bind_all([](const Event&) { throw std::runtime_error("not for strangers"); });
    s.bind_all(seen.callback());
  });
  constexpr std::string_view text = "The event was delivered, but a subscriber within the server threw an exception";
  expect_error(post(event_of("e", "a", "1")), 500, text);
  expect_error(post(R"({"name":"e","data":"2","channels":["a","b"]})"), 500, text);
  expect_error(batch(R"({"batch":[{"name":"e","channel":"a","data":"3"},{"name":"e","channel":"a","data":"4"}]})"), 500,
               text);
  EXPECT_EQ(seen.take(), (Strings{"e=1", "e=2", "e=3", "e=4"}));
}

TEST_F(Api, says_that_triggers_are_nested_too_deep) {
  http::Response innermost;
  const auto a = app.subscribe("a", [&](Subscription& s) {
    s.bind_all([&](const Event&) {
      const http::Response response = post(event_of("e", "a", ""));
      if (response.status != 200) innermost = response;
    });
  });
  expect_json(post(event_of("e", "a", "")), "{}");
  expect_error(innermost, 500, "The event was not delivered: triggers are nested too deep");
}

// ---- queries

TEST_F(Api, lists_occupied_channels) {
  expect_json(get("channels"), R"({"channels":{}})");
  const auto a = app.subscribe("a");
  expect_json(get("channels"), R"({"channels":{"a":{}}})");
  const auto again = app.subscribe("a");
  const auto member = enter(app, "presence-p", "1");
  const auto user = app.subscribe("#server-to-user-7");
  KeptLog log;
  const auto connection = app.channels().attach(ReservedChannel{"#user-7"}, KeptSink{log});
  app.trigger("cache-kept", "e", "1");
  const auto held = app.channel("held");
  { const auto gone = app.subscribe("gone"); }
  expect_json(get("channels", {{"filter_by_prefix", "a"}}), R"({"channels":{"a":{}}})");
  expect_json(get("channels", {{"filter_by_prefix", "b"}}), R"({"channels":{}})");
  expect_json(get("channels", {{"filter_by_prefix", "#"}}), R"({"channels":{}})");
  expect_json(get("channels", {{"filter_by_prefix", "a"}, {"info", "subscription_count"}}),
              R"({"channels":{"a":{"subscription_count":2}}})");
  expect_json(get("channels", {{"filter_by_prefix", "presence-"}, {"info", "user_count"}}),
              R"({"channels":{"presence-p":{"user_count":1}}})");
  expect_json(get("channels", {{"filter_by_prefix", "presence-"}, {"info", "user_count,subscription_count"}}),
              R"({"channels":{"presence-p":{"user_count":1,"subscription_count":1}}})");
  const std::string all = get("channels").body;
  EXPECT_TRUE(all == R"({"channels":{"a":{},"presence-p":{}}})" || all == R"({"channels":{"presence-p":{},"a":{}}})")
      << all;
}

TEST_F(Api, refuses_attributes_that_channels_do_not_have) {
  constexpr std::string_view no_user_count =
      "user_count may only be requested for presence channels - please supply filter_by_prefix begining with presence-";
  expect_error(get("channels", {{"info", "user_count"}}), 400, no_user_count);
  expect_error(get("channels", {{"filter_by_prefix", "presence"}, {"info", "user_count"}}), 400, no_user_count);
  expect_error_about(get("channels", {{"info", "cache"}}), 400, "info should be a comma separated list of attributes");
  expect_error(get("channels/a", {{"info", "cache"}}), 400,
               "Cannot retrieve the cache unless the channel is a cache channel");
  expect_error_about(get("channels", {{"info", ",user_count"}}), 400,
                     "info should be a comma separated list of attributes");
  expect_error(get("channels/a", {{"info", "user_count"}}), 400,
               "Cannot retrieve the user count unless the channel is a presence channel");
  expect_error(
      get("channels/a", {{"info", "occupied"}}), 400,
      "info should be a comma separated list of attributes, which are user_count, subscription_count and cache; "
      R"(this is none of them: "occupied")");
}

TEST_F(Api, tells_whether_a_channel_is_occupied) {
  expect_json(get("channels/a"), R"({"occupied":false})");
  expect_json(get("channels/a", {{"info", "subscription_count"}}), R"({"occupied":false,"subscription_count":0})");
  const auto first = app.subscribe("a");
  const auto second = app.subscribe("a");
  expect_json(get("channels/a"), R"({"occupied":true})");
  expect_json(get("channels/a", {{"info", "subscription_count"}}), R"({"occupied":true,"subscription_count":2})");
  expect_json(get("channels/presence-p", {{"info", "user_count,subscription_count"}}),
              R"({"occupied":false,"user_count":0,"subscription_count":0})");
  const auto program = app.subscribe("presence-p");
  expect_json(get("channels/presence-p", {{"info", "user_count,subscription_count"}}),
              R"({"occupied":true,"user_count":0,"subscription_count":1})");
  const auto member = enter(app, "presence-p", "1");
  const auto again = enter(app, "presence-p", "1");
  expect_json(get("channels/presence-p", {{"info", "user_count,subscription_count"}}),
              R"({"occupied":true,"user_count":1,"subscription_count":3})");
  const auto user = app.subscribe("#server-to-user-7");
  expect_json(get("channels/%23server-to-user-7"), R"({"occupied":true})");
  expect_error(get("channels/%23user-7"), 400, R"(Invalid channel name "#user-7": the name is reserved)");
}

// What clients are told of subscriptions has its option. A backend is told in any case.
TEST_F(Api, tells_subscriptions_whatever_clients_are_told) {
  for (const bool clients : {false, true}) {
    AppOptions options = options_of_app();
    options.subscription_count = clients;
    AppList list_of_one;
    App& one = *list_of_one.add(options);
    const auto subscription = one.subscribe("a");
    expect_json(
        HttpApi{list_of_one}(signed_request("GET", "/apps/3/channels/a", {}, {{"info", "subscription_count"}}), now),
        R"({"occupied":true,"subscription_count":1})");
  }
}

struct Caching {
  std::string_view channel;
  bool caches;

  friend std::ostream& operator<<(std::ostream& out, const Caching& row) { return out << row.channel; }
};

class Caches : public Api, public testing::WithParamInterface<Caching> {};

TEST_P(Caches, are_told_of_cache_channels) {
  const auto cache = [this] { return get("channels/" + std::string(GetParam().channel), {{"info", "cache"}}); };
  if (!GetParam().caches) {
    return expect_error(cache(), 400, "Cannot retrieve the cache unless the channel is a cache channel");
  }
  expect_json(cache(), R"({"occupied":false,"cache":null})");
  expect_json(post(event_of("e", GetParam().channel, R"({\"a\":\"\u00e9\"})")), "{}");
  expect_json(cache(), R"({"occupied":false,"cache":{"data":"{\"a\":\"é\"}","ttl":1800}})");
  expect_json(post(event_of("f", GetParam().channel, "2")), "{}");
  const auto subscription = app.subscribe(GetParam().channel);
  expect_json(cache(), R"({"occupied":true,"cache":{"data":"2","ttl":1800}})");
}

INSTANTIATE_TEST_SUITE_P(Channels, Caches,
                         testing::Values(Caching{"cache-x", true}, Caching{"private-cache-x", true},
                                         Caching{"private-encrypted-cache-x", true}, Caching{"presence-cache-x", true},
                                         Caching{"x", false}, Caching{"private-x", false},
                                         Caching{"private-encrypted-x", false}, Caching{"presence-x", false},
                                         Caching{"cache", false}));

TEST_F(Api, tells_all_attributes_of_a_presence_channel_with_a_cache) {
  const auto member = enter(app, "presence-cache-x", "1");
  expect_json(post(event_of("e", "presence-cache-x", "1")), "{}");
  expect_json(get("channels/presence-cache-x", {{"info", "cache,subscription_count,user_count"}}),
              R"({"occupied":true,"user_count":1,"subscription_count":1,"cache":{"data":"1","ttl":1800}})");
}

TEST_F(Api, finds_no_cached_event_that_is_not_text) {
  EXPECT_EQ(app.trigger("cache-x", "e", "\xff").error, errc::not_utf8);
  expect_json(get("channels/cache-x", {{"info", "cache"}}), R"({"occupied":false,"cache":null})");
}

TEST_F(Api, forgets_a_cached_event_in_time) {
  AppOptions options = options_of_app();
  options.cache_ttl = std::chrono::seconds(0);
  AppList forgetful;
  forgetful.add(options);
  const HttpApi<AppList> of_forgetful{forgetful};
  expect_json(of_forgetful(signed_request("POST", "/apps/3/events", event_of("e", "cache-x", "1")), now), "{}");
  expect_json(of_forgetful(signed_request("GET", "/apps/3/channels/cache-x", {}, {{"info", "cache"}}), now),
              R"({"occupied":false,"cache":null})");
}

// ---- users

TEST_F(Api, lists_the_users_of_a_presence_channel) {
  expect_json(get("channels/presence-p/users"), R"({"users":[]})");
  const auto program = app.subscribe("presence-p");
  expect_json(get("channels/presence-p/users"), R"({"users":[]})");
  const auto first = enter(app, "presence-p", "1");
  expect_json(get("channels/presence-p/users"), R"({"users":[{"id":"1"}]})");
  const auto again = enter(app, "presence-p", "1");
  expect_json(get("channels/presence-p/users"), R"({"users":[{"id":"1"}]})");
  const auto second = enter(app, "presence-p", R"(a"é)");
  const std::string both = get("channels/presence-p/users").body;
  EXPECT_TRUE(both == R"({"users":[{"id":"1"},{"id":"a\"é"}]})" || both == R"({"users":[{"id":"a\"é"},{"id":"1"}]})")
      << both;
  const auto elsewhere = enter(app, "presence-cache-q", "2");
  expect_json(get("channels/presence-cache-q/users"), R"({"users":[{"id":"2"}]})");
  const auto number = enter(app, "presence-r", "3", true);
  expect_json(get("channels/presence-r/users"), R"({"users":[{"id":3}]})");
}

TEST_F(Api, lists_users_of_presence_channels_alone) {
  for (const char* channel : {"a", "private-a", "cache-a", "private-cache-a", "presence", "%23server-to-user-1"}) {
    const auto subscription = app.subscribe(channel);
    expect_error(get("channels/"s + channel + "/users"), 400, "Users can only be retrieved for presence channels");
  }
  expect_error_about(get("channels/presence-a%20b/users"), 400, R"(Invalid channel name "presence-a b")");
}

TEST_F(Api, terminates_the_connections_of_a_user) {
  const auto terminate = [this](const std::string& user, const std::string& body) {
    return answer(signed_request("POST", "/apps/3/users/" + user + "/terminate_connections", body));
  };
  KeptLog log;
  KeptLog others;
  const auto attach = [this](std::string_view user, KeptLog& to) {
    const std::string channel = std::string(App::user_channel) + std::string(user);
    return app.channels().attach(ReservedChannel{channel}, KeptSink{to});
  };
  const auto first = attach("7", log);
  const auto second = attach("7", log);
  const auto escaped = attach("a/b é", log);
  const auto other = attach("77", others);
  const auto present = enter(app, "presence-p", "7");
  const auto to_user = app.channels().attach("#server-to-user-7", KeptSink{others});

  expect_json(terminate("7", ""), "{}");
  EXPECT_EQ(log.pushed.size(), 2U);
  expect_json(terminate("7", "{}"), "{}");
  EXPECT_EQ(log.pushed.size(), 4U);
  expect_json(terminate("7", R"({"x":1})"), "{}");
  EXPECT_EQ(log.pushed.size(), 6U);
  expect_json(terminate("a%2Fb%20%C3%A9", "{}"), "{}");
  EXPECT_EQ(log.pushed.size(), 7U);
  EXPECT_EQ(app.user_count("presence-p"), 1U) << "who is present has not signed in";

  expect_json(terminate("nobody", "{}"), "{}");
  expect_json(terminate("%ff%00", "{}"), "{}");
  expect_json(terminate("100%", "{}"), "{}");
  expect_json(terminate(std::string(1000, 'u'), ""), "{}");
  expect_error_about(terminate("7", "{"), 400, "The body is not valid JSON");
  expect_error_about(terminate("7", "[]"), 400, "The body has to be a JSON object");
  EXPECT_EQ(log.pushed.size(), 7U);
  EXPECT_EQ(others.pushed, Strings{});
}

// ---- deprecated

TEST_F(Api, triggers_what_stands_in_the_body) {
  Queue queue;
  const auto a = app.channels().attach("a", queue);
  const auto user = app.channels().attach("#server-to-user-7", queue);
  const auto post_to = [this](const std::string& channel, const std::string& body, const Parameters& more) {
    return answer(signed_request("POST", "/apps/3/channels/" + channel + "/events", body, more));
  };
  const auto expect_accepted = [](const http::Response& response) {
    EXPECT_EQ(response.status, 202U);
    EXPECT_EQ(response.body, "");
  };
  expect_accepted(post_to("a", R"({ "x": 1 })", {{"name", "e"}}));
  expect_accepted(post_to("a", "no JSON, é", {{"name", "e"}, {"socket_id", "123.456"}}));
  expect_accepted(post_to("a", "", {{"name", "f"}}));
  expect_accepted(post_to("%23server-to-user-7", "1", {{"name", "f"}}));
  ASSERT_EQ(queue.texts(), (Strings{R"(e={ "x": 1 })", "e=no JSON, é", "f=", "f=1"}));
  EXPECT_EQ(queue.messages[0]->except_socket(), "");
  EXPECT_EQ(queue.messages[1]->except_socket(), "123.456");
  expect_accepted(post_to("a", std::string(10240, 'd'), {{"name", "e"}}));
  queue.messages.clear();

  expect_error(post_to("a", "1", {}), 400, "Missing required parameter: name");
  expect_error_about(post_to("a", "1", {{"name", "pusher:x"}}), 400, R"(Invalid event name "pusher:x")");
  expect_error_about(post_to("a", "1", {{"name", "e"}, {"socket_id", "x"}}), 400, R"(Invalid socket_id "x")");
  expect_error_about(post_to("a%20b", "1", {{"name", "e"}}), 400, R"(Invalid channel name "a b")");
  expect_error(post_to("a", "\xff", {{"name", "e"}}), 400, "The body is not valid UTF-8");
  expect_error(post_to("a", std::string(10241, 'd'), {{"name", "e"}}), 413,
               "The data content of this event exceeds the allowed maximum (10240 bytes).");
  EXPECT_EQ(queue.texts(), Strings{});
}

TEST_F(Api, tells_statistics_of_a_channel) {
  expect_json(get("channels/a/stats"), R"({"occupied":false,"connection_count":0})");
  expect_json(get("channels/presence-p/stats"), R"({"occupied":false,"user_count":0,"connection_count":0})");
  const auto a = app.subscribe("a");
  const auto member = enter(app, "presence-p", "1");
  const auto again = enter(app, "presence-p", "1");
  expect_json(get("channels/a/stats"), R"({"occupied":true,"connection_count":1})");
  expect_json(get("channels/presence-p/stats"), R"({"occupied":true,"user_count":1,"connection_count":2})");
  expect_error_about(get("channels/a%20b/stats"), 400, R"(Invalid channel name "a b")");
}

// ---- what clients of hosted Pusher rely on: every endpoint and every error it documents, one row each

struct Exchange {
  std::string_view what;
  std::string_view method;
  std::string_view below;  // `/apps/3/`
  std::string body;
  Parameters more;
  unsigned status;
  std::string_view answer;  // all of it, or how an error begins

  friend std::ostream& operator<<(std::ostream& out, const Exchange& row) { return out << row.what; }
};

class Hosted : public Api, public testing::WithParamInterface<Exchange> {};

TEST_P(Hosted, is_what_clients_find) {
  const auto first = app.subscribe("a");
  const auto second = app.subscribe("a");
  const auto member = enter(app, "presence-p", "1");
  app.trigger("cache-x", "e", "1");
  const Exchange& row = GetParam();
  const http::Response response =
      answer(signed_request(std::string(row.method), "/apps/3/" + std::string(row.below), row.body, row.more));
  EXPECT_EQ(response.status, row.status);
  if (row.status < 300) {
    EXPECT_EQ(as_if_at_once(response.body), row.answer);
    if (!response.body.empty()) {
      EXPECT_EQ(response.content_type, "application/json");
    }
  } else {
    EXPECT_TRUE(response.body.starts_with(row.answer)) << response.body;
    expect_error_about(response, row.status, row.answer);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Endpoints, Hosted,
    testing::Values(
        Exchange{"events", "POST", "events", event_of("e", "a", "1"), {}, 200, "{}"},
        Exchange{"events for a user", "POST", "events", event_of("e", "#server-to-user-7", "1"), {}, 200, "{}"},
        Exchange{
            "events with info",
            "POST",
            "events",
            R"({"name":"e","channels":["a","presence-p","none"],"data":"1","info":"user_count,subscription_count"})",
            {},
            200,
            R"({"channels":{"a":{"subscription_count":2},"presence-p":{"user_count":1,"subscription_count":1},)"
            R"("none":{"subscription_count":0}}})"},
        Exchange{"batch_events", "POST", "batch_events", batch_of(10, event_of("e", "a", "1")), {}, 200, "{}"},
        Exchange{"batch_events with info",
                 "POST",
                 "batch_events",
                 R"({"batch":[{"name":"e","channel":"presence-p","data":"1","info":"user_count"},)"
                 R"({"name":"e","channel":"a","data":"1"},{"name":"e","channel":"a","data":"1","info":"user_count"},)"
                 R"({"name":"e","channel":"a","data":"1","info":"subscription_count"}]})",
                 {},
                 200,
                 R"({"batch":[{"user_count":1},{},{},{"subscription_count":2}]})"},
        Exchange{"channels", "GET", "channels", "", {{"filter_by_prefix", "a"}}, 200, R"({"channels":{"a":{}}})"},
        Exchange{"channels with info",
                 "GET",
                 "channels",
                 "",
                 {{"filter_by_prefix", "presence-"}, {"info", "user_count"}},
                 200,
                 R"({"channels":{"presence-p":{"user_count":1}}})"},
        Exchange{"a channel", "GET", "channels/a", "", {}, 200, R"({"occupied":true})"},
        Exchange{"a channel that is not occupied", "GET", "channels/none", "", {}, 200, R"({"occupied":false})"},
        Exchange{"a channel that is not occupied, with info",
                 "GET",
                 "channels/presence-none",
                 "",
                 {{"info", "user_count,subscription_count"}},
                 200,
                 R"({"occupied":false,"user_count":0,"subscription_count":0})"},
        Exchange{"a channel with info",
                 "GET",
                 "channels/presence-p",
                 "",
                 {{"info", "user_count,subscription_count"}},
                 200,
                 R"({"occupied":true,"user_count":1,"subscription_count":1})"},
        Exchange{"a cache channel with info",
                 "GET",
                 "channels/cache-x",
                 "",
                 {{"info", "cache"}},
                 200,
                 R"({"occupied":false,"cache":{"data":"1","ttl":1800}})"},
        Exchange{"a cache channel that has nothing",
                 "GET",
                 "channels/cache-y",
                 "",
                 {{"info", "cache"}},
                 200,
                 R"({"occupied":false,"cache":null})"},
        Exchange{"users", "GET", "channels/presence-p/users", "", {}, 200, R"({"users":[{"id":"1"}]})"},
        Exchange{"users of a channel that is not occupied",
                 "GET",
                 "channels/presence-none/users",
                 "",
                 {},
                 200,
                 R"({"users":[]})"},
        Exchange{"terminate_connections", "POST", "users/7/terminate_connections", "{}", {}, 200, "{}"},
        Exchange{"terminate_connections without a body", "POST", "users/7/terminate_connections", "", {}, 200, "{}"},
        Exchange{"deprecated events", "POST", "channels/a/events", "1", {{"name", "e"}, {"socket_id", "1.2"}}, 202, ""},
        Exchange{"deprecated stats",
                 "GET",
                 "channels/presence-p/stats",
                 "",
                 {},
                 200,
                 R"({"occupied":true,"user_count":1,"connection_count":1})"}));

INSTANTIATE_TEST_SUITE_P(
    Errors, Hosted,
    testing::Values(
        Exchange{
            "user_count of all channels",
            "GET",
            "channels",
            "",
            {{"info", "user_count"}},
            400,
            "user_count may only be requested for presence channels - please supply filter_by_prefix begining with "
            "presence-\n"},
        Exchange{"user_count of a public channel",
                 "GET",
                 "channels/a",
                 "",
                 {{"info", "user_count"}},
                 400,
                 "Cannot retrieve the user count unless the channel is a presence channel\n"},
        Exchange{"users of a public channel",
                 "GET",
                 "channels/a/users",
                 "",
                 {},
                 400,
                 "Users can only be retrieved for presence channels\n"},
        Exchange{"an attribute that does not exist",
                 "GET",
                 "channels/a",
                 "",
                 {{"info", "does_not_exist"}},
                 400,
                 "info should be a comma separated list of attributes"},
        Exchange{"a large batch",
                 "POST",
                 "batch_events",
                 batch_of(11, event_of("e", "a", "1")),
                 {},
                 400,
                 "Batch too large (11 > 10)\n"},
        Exchange{"no channel in a batch",
                 "POST",
                 "batch_events",
                 R"({"batch":[{"name":"e","data":"1"}]})",
                 {},
                 400,
                 "Missing required parameter: channel"},
        Exchange{"large data",
                 "POST",
                 "events",
                 event_of("e", "a", std::string(10241, 'd')),
                 {},
                 413,
                 "The data content of this event exceeds the allowed maximum (10240 bytes)."},
        Exchange{"no JSON", "POST", "events", "{", {}, 400, "The body is not valid JSON"},
        Exchange{
            "no name", "POST", "events", R"({"channel":"a","data":"1"})", {}, 400, "Missing required parameter: name"},
        Exchange{
            "no data", "POST", "events", R"({"channel":"a","name":"e"})", {}, 400, "Missing required parameter: data"},
        Exchange{"no channels",
                 "POST",
                 "events",
                 R"({"name":"e","data":"1"})",
                 {},
                 400,
                 "Missing required parameter: channels"},
        Exchange{"a channel name", "POST", "events", event_of("e", "a b", "1"), {}, 400, "Invalid channel name"},
        Exchange{"an event name", "POST", "events", event_of("pusher:e", "a", "1"), {}, 400, "Invalid event name"},
        Exchange{"101 channels", "POST", "events", channels_of(101), {}, 400, "Too many channels (101 > 100)\n"},
        Exchange{"a wrong signature",
                 "POST",
                 "events",
                 event_of("e", "a", "1"),
                 {{"auth_signature", std::string(64, '0')}},
                 401,
                 "Invalid signature: you should have sent HmacSHA256Hex("},
        Exchange{"an old request",
                 "GET",
                 "channels",
                 "",
                 {{"auth_timestamp", "1"}},
                 401,
                 "Timestamp expired: Given timestamp (1) not within 600s of server time (1353088179)"}));

TEST_F(Api, says_no_more_than_an_empty_object_unless_it_is_asked) {
  const auto subscription = enter(app, "presence-p", "1");
  const std::string event = event_of("e", "presence-p", "1");
  for (const http::Response& response :
       {post(event), post(R"({"name":"e","channel":"presence-p","data":"1","info":""})"), batch(batch_of(2, event)),
        batch(R"({"batch":[{"name":"e","channel":"presence-p","data":"1","info":""}]})"),
        answer(signed_request("POST", "/apps/3/users/1/terminate_connections", "{}"))}) {
    expect_json(response, "{}");
    EXPECT_TRUE(response.fields.empty());
  }
}

TEST_F(Api, does_not_refuse_to_tell_of_what_is_not_occupied) {
  { const auto left = enter(app, "presence-p", "1"); }
  for (const char* channel : {"presence-p", "presence-never", "a", "cache-a", "private-a"}) {
    expect_json(get("channels/"s + channel), R"({"occupied":false})");
  }
  for (const char* channel : {"presence-p", "presence-never"}) {
    expect_json(get("channels/"s + channel + "/users"), R"({"users":[]})");
  }
}

TEST_F(Api, takes_signatures_over_decoded_values_sorted_by_lower_case_names_for_600_seconds) {
  const std::string sent = "auth_version=1.0&Zed=a%2Cb+c&auth_key=" + std::string(key) + "&auth_timestamp=1353088179";
  const std::string text = "auth_key=" + std::string(key) + "&auth_timestamp=1353088179&auth_version=1.0&zed=a,b c";
  const http::Request request = request_of(
      "GET", "/apps/3/channels?" + sent + "&auth_signature=" + signature_of("GET", "/apps/3/channels", text));
  for (const int apart : {-601, -600, 600, 601}) {
    const unsigned expected = apart > 600 || apart < -600 ? 401 : 200;
    EXPECT_EQ(api(request, now + std::chrono::seconds(apart)).status, expected) << apart;
  }
}

TEST_F(Api, takes_channel_names_with_escapes) {
  const auto channel = app.subscribe("a@b;c");
  expect_json(get("channels/a%40b%3bc"), R"({"occupied":true})");
  expect_json(get("channels/a@b;c"), R"({"occupied":true})");
}

TEST_F(Api, refuses_names_that_no_channel_has) {
  expect_error(get("channels/a%20b"), 400,
               R"(Invalid channel name "a b": the channel name holds a character that is not allowed)");
  expect_error(get("channels/a%2Fb"), 400,
               R"(Invalid channel name "a/b": the channel name holds a character that is not allowed)");
  expect_error(get("channels/100%"), 400,
               R"(Invalid channel name "100%": the channel name holds a character that is not allowed)");
  expect_error(get("channels/%ff%0a"), 400,
               R"(Invalid channel name "??": the channel name holds a character that is not allowed)");
  expect_error_about(get("channels/" + std::string(165, 'c')), 400, "(at most 164 bytes)");
}

// The least that an API can be made of.
struct OneApp {
  App* find_by_id(std::string_view id) { return id == app->id() ? app : nullptr; }
  App* find_by_key(std::string_view name) { return name == app->key() ? app : nullptr; }

  App* app;
};

TEST_F(Api, takes_any_directory) {
  OneApp directory{&app};
  const HttpApi of_one{directory};
  expect_json(of_one(documented_request(), now), "{}");
}

// ---- what channels keep

class KeepingApi : public testing::Test {
 protected:
  static AppOptions options() {
    AppOptions options = options_of_app();
    options.channel_rules = {{.match = "history-*", .history = HistoryRule{.count = 5}},
                             {.match = "retain-*", .retain = true}};
    return options;
  }
  http::Response post(const std::string& body) const {
    return api(signed_request("POST", "/apps/3/events", body), now);
  }
  http::Response get(const std::string& below, const Parameters& more = {}) const {
    return api(signed_request("GET", "/apps/3/" + below, {}, more), now);
  }
  boost::json::object history(const Parameters& more = {}) const {
    const http::Response response = get("channels/history-1/history", more);
    EXPECT_EQ(response.status, 200U) << response.body;
    return boost::json::parse(response.body).as_object();
  }
  static std::string data_of(const boost::json::object& page) {
    std::string all;
    for (const boost::json::value& event : page.at("events").as_array()) all += event.at("data").as_string();
    return all;
  }

  AppList apps;
  App& app = *apps.add(options());
  HttpApi<AppList> api{apps};
};

TEST_F(KeepingApi, ATriggerSaysWhetherItIsRetained) {
  const auto retained = [&] {
    std::string all;
    for (const MessagePtr& message : app.retained("retain-1")) all.append(message->name()).append(message->data());
    return all;
  };
  const auto trigger = [&](std::string_view rest) {
    return post(R"({"name":"e","channel":"retain-1","data":)" + std::string(rest) + '}').status;
  };
  EXPECT_EQ(trigger(R"("1")"), 200U);
  EXPECT_EQ(retained(), "e1");
  EXPECT_EQ(trigger(R"("2","retain":false)"), 200U);
  EXPECT_EQ(trigger(R"("3","retain":"false")"), 200U);
  EXPECT_EQ(retained(), "e1");
  EXPECT_EQ(trigger(R"("4","retain":true)"), 200U);
  EXPECT_EQ(retained(), "e4");
  EXPECT_EQ(trigger(R"("5","retain":null)"), 200U);
  EXPECT_EQ(retained(), "e5");
  EXPECT_EQ(trigger(R"("6","retain":"clear")"), 200U);
  EXPECT_EQ(retained(), "");
  EXPECT_EQ(trigger(R"("\u0037","retain":"true")"), 200U);
  EXPECT_EQ(retained(), "e7");
  for (const char* const bad : {"1", "\"\"", "\"yes\"", "{}", "[true]"}) {
    const http::Response response =
        post(R"({"name":"e","channel":"retain-1","data":"8","retain":)" + std::string(bad) + '}');
    expect_error(response, 400, R"(retain has to be true, false or "clear")");
  }
  EXPECT_EQ(retained(), "e7");
  EXPECT_EQ(api(signed_request("POST", "/apps/3/batch_events",
                               R"({"batch":[{"name":"e","channel":"retain-1","data":"9","retain":"clear"}]})"),
                now)
                .status,
            200U);
  EXPECT_EQ(retained(), "");
}

TEST_F(KeepingApi, ATriggerMayWaitForSubscribers) {
  std::string got;
  const auto come = [&] {
    return app.subscribe("room", [&](Subscription& made) {
      made.bind_all([&](const Event& event) { got.append(event.name()).append(event.data()); });
    });
  };
  const auto trigger = [&](std::string_view rest) {
    return post(R"({"name":"e","channel":"room","data":)" + std::string(rest) + '}');
  };
  EXPECT_EQ(trigger(R"("1","hold":{"subscribers":2,"seconds":0.5})").body, R"({"held":true})");
  EXPECT_EQ(trigger(R"("2","hold":{})").body, R"({"held":true})");
  EXPECT_EQ(trigger(R"("3","hold":null)").body, "{}");
  EXPECT_EQ(got, "");
  const Subscription ann = come();
  EXPECT_EQ(got, "e2");
  EXPECT_EQ(trigger(R"("4","hold":{"seconds":3600},"info":"subscription_count")").body,
            R"({"held":false,"channels":{"room":{"subscription_count":1}}})");
  EXPECT_EQ(got, "e2e4");
  app.tick(std::chrono::steady_clock::now() + std::chrono::seconds(1));
  const Subscription bob = come();
  EXPECT_EQ(got, "e2e4") << "the first one's time was up";

  const auto batch = [&](std::string_view items) {
    return api(signed_request("POST", "/apps/3/batch_events", R"({"batch":[)" + std::string(items) + "]}"), now);
  };
  EXPECT_EQ(batch(R"({"name":"e","channel":"room","data":"5","hold":{"subscribers":3}},)"
                  R"({"name":"e","channel":"room","data":"6","hold":{}},{"name":"e","channel":"room","data":"7"})")
                .body,
            R"({"batch":[{"held":true},{"held":false},{}]})");
  EXPECT_EQ(app.held(), 1U);
}

TEST_F(KeepingApi, WhomATriggerWaitsForHasToBeRight) {
  struct Bad {
    const char* hold;
    const char* text;
  };
  for (const Bad& bad : {Bad{"1", "hold has to be an object"}, Bad{"true", "hold has to be an object"},
                         Bad{R"({"subscribers":0})", "hold.subscribers has to be a number from 1 to 1000000"},
                         Bad{R"({"subscribers":1000001})", "hold.subscribers has to be a number from 1 to 1000000"},
                         Bad{R"({"subscribers":"2"})", "hold.subscribers has to be a number from 1 to 1000000"},
                         Bad{R"({"seconds":0})", "hold.seconds has to be a number above 0 and up to 3600"},
                         Bad{R"({"seconds":-1})", "hold.seconds has to be a number above 0 and up to 3600"},
                         Bad{R"({"seconds":3600.1})", "hold.seconds has to be a number above 0 and up to 3600"},
                         Bad{R"({"seconds":1e300})", "hold.seconds has to be a number above 0 and up to 3600"},
                         Bad{R"({"user":""})", "hold.user has to be a user's id"},
                         Bad{R"({"user":7})", "hold.user has to be a user's id"},
                         Bad{R"({"user":"ann"})", "hold.user needs a presence channel"}}) {
    expect_error(post(R"({"name":"e","channel":"room","data":"","hold":)" + std::string(bad.hold) + '}'), 400,
                 bad.text);
  }
  expect_error(post(R"({"name":"e","channels":["a","b"],"data":"","hold":{}})"), 400,
               "An event with hold has to be for one channel");
  EXPECT_EQ(post(R"({"name":"e","channel":"presence-a","data":"","hold":{"user":"ann"}})").body, R"({"held":true})");
  EXPECT_EQ(app.held(), 1U);
}

TEST_F(KeepingApi, WhatFindsNoRoomToWaitIsRefused) {
  for (std::size_t i = 0; i < app.options().held.events; ++i) {
    ASSERT_TRUE(app.trigger_held("room", "e", {}, {.subscribers = 2}).held);
  }
  const http::Response response = post(R"({"name":"e","channel":"room","data":"","hold":{}})");
  EXPECT_EQ(response.status, 503U);
  const PolledSubscription ann = app.subscribe("room", Inbox{});
  EXPECT_EQ(post(R"({"name":"e","channel":"room","data":"","hold":{}})").body, R"({"held":false})");
}

TEST_F(KeepingApi, ATriggerIsRetainedWhereNoRuleSaysSo) {
  EXPECT_EQ(post(R"({"name":"e","channels":["plain","history-1"],"data":"1","retain":true})").status, 200U);
  EXPECT_EQ(post(R"({"name":"e","channel":"plain","data":"2"})").status, 200U);
  for (const char* const channel : {"plain", "history-1"}) {
    ASSERT_EQ(app.retained(channel).size(), 1U) << channel;
    EXPECT_EQ(app.retained(channel).front()->data(), "1");
  }
  EXPECT_EQ(get("channels/plain/history").status, get("channels/retain-1/history").status);
  EXPECT_EQ(post(R"({"name":"e","channel":"plain","data":"","retain":"clear"})").status, 200U);
  EXPECT_TRUE(app.retained("plain").empty());
}

TEST_F(KeepingApi, AHistoryIsReadInPagesOfBothDirections) {
  for (const char* const data : {"0", "1", "2", "3", "4", "5", "6"}) app.trigger("history-1", "e", data);
  boost::json::object page = history({{"limit", "2"}});
  EXPECT_EQ(data_of(page), "23");
  EXPECT_EQ(page.at("more"), true);
  EXPECT_EQ(page.at("complete"), true);
  page = history({{"from", std::string(page.at("next").as_string())}});
  EXPECT_EQ(data_of(page), "456");
  EXPECT_EQ(page.at("more"), false);
  page = history({{"order", "newest"}, {"limit", "3"}});
  EXPECT_EQ(data_of(page), "654");
  page = history({{"order", "newest"}, {"from", std::string(page.at("next").as_string())}});
  EXPECT_EQ(data_of(page), "32");
  EXPECT_EQ(page.at("more"), false);
}

TEST_F(KeepingApi, WhoReadsOnTooLateIsToldThatSomethingIsGone) {
  for (int i = 0; i < 4; ++i) app.trigger("history-1", "e", std::to_string(i));
  const std::string next(history({{"limit", "1"}}).at("next").as_string());
  for (int i = 4; i < 8; ++i) app.trigger("history-1", "e", std::to_string(i));
  const boost::json::object page = history({{"from", next}});
  EXPECT_EQ(page.at("complete"), false);
  EXPECT_EQ(data_of(page), "34567");
  EXPECT_EQ(history({{"from", "1-00000000001"}}).at("complete"), false) << "of another life of the channel";
}

TEST_F(KeepingApi, AnEventOfAHistoryHasItsIdTimeAndUser) {
  app.trigger("history-1", "e", "x", {.user_id = "ada"});
  const boost::json::object event = history().at("events").as_array().at(0).as_object();
  EXPECT_TRUE(event_id_from(std::string_view(event.at("id").as_string())));
  EXPECT_EQ(event.at("event"), "e");
  EXPECT_EQ(event.at("user_id"), "ada");
  EXPECT_NEAR(static_cast<double>(event.at("time").as_int64()), static_cast<double>(now.count()), 5);
}

TEST_F(KeepingApi, SaysWhatIsWrongWithAQueryForAHistory) {
  app.trigger("history-1", "e", "x");
  for (const char* const limit : {"0", "1001", "-1", "x", ""}) {
    expect_error(get("channels/history-1/history", {{"limit", limit}}), 400, "limit has to be a number from 1 to 1000");
  }
  expect_error(get("channels/history-1/history", {{"order", "x"}}), 400,
               "order has to be oldest or newest: which events come first");
  expect_error(get("channels/history-1/history", {{"from", "x"}}), 400, R"(from has to be the id of an event: "x")");
  expect_error(get("channels/retain-1/history"), 404, R"(There is no history of the channel "retain-1")");
  expect_error(get("channels/history-2/history"), 404, R"(There is no history of the channel "history-2")");
  EXPECT_EQ(get("channels/a%20b/history").status, 400U);
}

}  // namespace
