// What docs/reference/protocol.md says and no other test shows. The tests have the names of its rows.
#include <fanfare/pusher/session.hpp>

#include "support/actions.hpp"
#include "support/memory_clients.hpp"

#include <fanfare/app.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/http_api.hpp>
#include <fanfare/pusher/webhooks.hpp>
#include <fanfare/transport/memory.hpp>
#include <fanfare/transport/xhr.hpp>
#include <fanfare/websocket/frame.hpp>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using fanfare::test::MemoryClient;
using fanfare::test::open_app;
using pusher::Action;
using pusher::Close;
using pusher::joined;
using pusher::Relay;
using pusher::Send;
using pusher::Session;
using pusher::Subscribe;
using pusher::SubscribeOutcome;
using transport::MemoryTransport;
using Said = MemoryClient::Said;

AppOptions options_with_key(AppOptions options = {}) {
  options.id = "1";
  options.key = "key";
  options.secret = "secret";
  return options;
}

/// An application and a client of it, without anything between them.
struct Client {
  explicit Client(AppOptions options = {}, std::string_view query = "protocol=7")
      : app(options_with_key(std::move(options))), opened(session.open(&app, {.query = query}, 0ms)) {}

  static std::string quoted(std::string_view text) {
    std::string result;
    pusher::append_json_string(result, text);
    return result;
  }
  static std::string sign(std::string_view what) {
    return "key:" + pusher::hmac_sha256_hex("secret", joined({"1.2:", what}));
  }
  Action say(std::string_view text) { return session.receive(text, 0ms); }
  Action subscribe(std::string_view channel, std::string_view auth,
                   std::optional<std::string_view> data = std::nullopt) {
    std::string text =
        joined({R"({"event":"pusher:subscribe","data":{"auth":)", quoted(auth), R"(,"channel":)", quoted(channel)});
    if (data) text += joined({R"(,"channel_data":)", quoted(*data)});
    return say(text + "}}");
  }
  /// With the signature that the application's backend would make.
  Action enter(std::string_view channel, std::optional<std::string_view> data = std::nullopt) {
    return subscribe(channel, sign(data ? joined({channel, ":", *data}) : std::string(channel)), data);
  }
  Action sign_in(std::string_view user_data) {
    return say(joined({R"({"event":"pusher:signin","data":{"auth":")", sign(joined({":user::", user_data})),
                       R"(","user_data":)", quoted(user_data), "}}"}));
  }

  App app;
  Session session{{1, 2}};
  Action opened;
};

bool enters(const Action& action) { return std::holds_alternative<Subscribe>(action); }

boost::json::object sent(const Action& action) {
  if (const auto* const send = std::get_if<Send>(&action)) return boost::json::parse(send->text).as_object();
  ADD_FAILURE() << "no message: " << testing::PrintToString(action);
  return {};
}

/// A request as the SDKs sign it. \param more  parameters that sort behind `auth_version`, each with its `&`.
http::Request signed_request(std::string method, const std::string& path, std::string body = {},
                             std::string_view more = {}) {
  std::string query = "auth_key=key&auth_timestamp=1353088179&auth_version=1.0";
  if (!body.empty()) query += "&body_md5=" + pusher::md5_hex(body);
  query += more;
  const std::string signature = pusher::hmac_sha256_hex("secret", joined({method, "\n", path, "\n", query}));
  http::Request request;
  request.method = std::move(method);
  request.target = joined({path, "?", query, "&auth_signature=", signature});
  request.body = std::move(body);
  return request;
}

constexpr std::chrono::seconds wall{1353088179};

// ---- the rules that are not the session's alone

TEST(ProtocolRules, R15_OnlyTheFirstAndTheLastConnectionOfAUserAreToldAndNotToItself) {
  pusher::AppList apps;
  apps.add(open_app());
  MemoryTransport one(apps);
  MemoryTransport two(apps);
  const auto run = [&] {
    for (int i = 0; i < 2; ++i) {
      one.run();
      two.run();
    }
  };
  MemoryClient watcher(one);
  watcher.subscribe("presence-a", test::user("watcher"));
  run();
  watcher.take();
  std::deque<MemoryClient> all;
  for (int i = 0; i < 4; ++i) {
    all.emplace_back(i % 2 == 0 ? one : two).subscribe("presence-a", test::user("ada"));
    run();
    // It finds itself in the list; that it has come is not told to it.
    EXPECT_EQ(all.back().take().size(), 1U);
  }
  EXPECT_EQ(watcher.take(), Said{R"(pusher_internal:member_added presence-a {"user_id":"ada","user_info":null})"});
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(watcher.take(), Said{});
    if (i % 2 == 0) {
      all[i].close();
    } else {
      all[i].unsubscribe("presence-a");
    }
    run();
    EXPECT_EQ(all[i].take(), Said{});
  }
  EXPECT_EQ(watcher.take(), Said{R"(pusher_internal:member_removed presence-a {"user_id":"ada"})"});
}

TEST(ProtocolRules, R16_SuccessIsAnEmptyObjectUnlessInfoIsAskedFor) {
  pusher::AppList apps;
  App& app = *apps.add(options_with_key());
  const pusher::HttpApi api{apps};
  const Subscription subscription = app.subscribe("a");
  const auto post = [&](const std::string& path, const std::string& body) {
    return api(signed_request("POST", path, body), wall).body;
  };
  EXPECT_EQ(post("/apps/1/events", R"({"name":"e","channel":"a","data":"1"})"), "{}");
  EXPECT_EQ(post("/apps/1/events", R"({"name":"e","channels":["a","b"],"data":"1"})"), "{}");
  EXPECT_EQ(post("/apps/1/batch_events", R"({"batch":[{"name":"e","channel":"a","data":"1"}]})"), "{}");
  EXPECT_EQ(post("/apps/1/users/ada/terminate_connections", "{}"), "{}");
  EXPECT_EQ(post("/apps/1/events", R"({"name":"e","channel":"a","data":"1","info":"subscription_count"})"),
            R"({"channels":{"a":{"subscription_count":1}}})");
}

TEST(ProtocolRules, R17_WhatNobodyIsInIsNoError) {
  pusher::AppList apps;
  apps.add(options_with_key());
  const pusher::HttpApi api{apps};
  for (const std::string channel : {"a", "private-a", "presence-a", "cache-a"}) {
    const http::Response response = api(signed_request("GET", "/apps/1/channels/" + channel), wall);
    EXPECT_EQ(response.status, 200U) << channel;
    EXPECT_EQ(response.body, R"({"occupied":false})") << channel;
  }
  const http::Response users = api(signed_request("GET", "/apps/1/channels/presence-a/users"), wall);
  EXPECT_EQ(users.status, 200U);
  EXPECT_EQ(users.body, R"({"users":[]})");
}

TEST(ProtocolRules, R18_DecodedValuesAreSignedUnderSortedLowerCaseNamesFor600Seconds) {
  pusher::AppList apps;
  apps.add(options_with_key());
  const pusher::HttpApi api{apps};
  const std::string signature =
      pusher::hmac_sha256_hex("secret",
                              "GET\n/apps/1/channels\nauth_key=key&auth_timestamp=1353088179&auth_version=1.0&"
                              "filter_by_prefix=a,b c@d");
  http::Request request;
  request.method = "GET";
  request.target =
      "/apps/1/channels?Filter_By_Prefix=a%2Cb+c%40d&auth_version=1.0&AUTH_KEY=key&auth_signature=" + signature +
      "&auth_timestamp=1353088179";
  for (const auto& [apart, status] : {std::pair{-601, 401U}, {-600, 200U}, {0, 200U}, {600, 200U}, {601, 401U}}) {
    EXPECT_EQ(api(request, wall + std::chrono::seconds(apart)).status, status) << apart;
  }
}

TEST(ProtocolRules, R19_AWebhookIsExactlyApplicationJson) {
  pusher::WebhookOptions options;
  options.targets = {{.url = "https://example.com/hook"}};
  options.batch_delay = 0ms;
  pusher::Webhooks webhooks("key", "secret", options);
  webhooks.add({.kind = AppEvent::Kind::channel_occupied, .channel = "a"}, 0ms);
  const auto delivery = webhooks.next(0ms, 1327078148132ms);
  ASSERT_TRUE(delivery.has_value());
  std::size_t types = 0;
  for (const http::Field& field : delivery->headers) {
    if (field.name != "Content-Type") continue;
    EXPECT_EQ(field.value, "application/json");
    ++types;
  }
  EXPECT_EQ(types, 1U);
}

TEST(ProtocolRules, R20_AClientsHeartbeatIsAnsweredWithALineThatAsksNothing) {
  namespace xhr = transport::xhr;
  EXPECT_EQ(xhr::decode("[]"), (xhr::Sent{xhr::SendError::none, {}}));
  EXPECT_EQ(xhr::activity_line, "a[]\n");
  // Nor does anything else that answers: only a question of the server's own is `h`.
  std::string answer;
  websocket::append_frame(answer, websocket::Opcode::pong, {});
  websocket::append_frame(answer, websocket::Opcode::text, pusher::frames::pong());
  std::string lines;
  EXPECT_EQ(xhr::convert(answer, lines).used, answer.size());
  EXPECT_EQ(lines, joined({"a[]\n", R"(a["{\"event\":\"pusher:pong\",\"data\":\"{}\"}"])", "\n"}));
}

// ---- V: versions of the protocol

struct Version {
  std::string_view query;
  std::uint16_t code;  // 0: spoken

  friend void PrintTo(const Version& row, std::ostream* out) { *out << '?' << row.query; }
};

class ProtocolVersions : public testing::TestWithParam<Version> {};

TEST_P(ProtocolVersions, AreSpokenOrRefused) {
  const Client client({}, GetParam().query);
  EXPECT_EQ(client.session.is_open(), GetParam().code == 0);
  if (GetParam().code == 0) {
    EXPECT_EQ(sent(client.opened).at("event"), "pusher:connection_established");
    return;
  }
  const auto* const close = std::get_if<Close>(&client.opened);
  ASSERT_NE(close, nullptr);
  EXPECT_EQ(close->code, GetParam().code);
  const boost::json::value said = boost::json::parse(close->text);
  EXPECT_EQ(said.at("event"), "pusher:error");
  EXPECT_EQ(said.at("data").at("code"), GetParam().code);
}

INSTANTIATE_TEST_SUITE_P(All, ProtocolVersions,
                         testing::Values(Version{"protocol=1", 4007}, Version{"protocol=2", 4007},
                                         Version{"protocol=3", 4007}, Version{"protocol=4", 0},
                                         Version{"protocol=5", 0}, Version{"protocol=6", 0}, Version{"protocol=7", 0},
                                         Version{"protocol=8", 4007}, Version{"protocol=seven", 4007},
                                         Version{"protocol=7.0", 4007}, Version{"client=js", 4008},
                                         Version{"version=1.0", 4008}, Version{"protocol=7&version=banana", 4006},
                                         Version{"version=8.4.0&x=1&protocol=7&flash=false&client=js", 0}));

TEST(ProtocolRules, V04_EverySubscriptionIsConfirmed) {
  for (const std::string_view version : {"protocol=4", "protocol=5", "protocol=6", "protocol=7"}) {
    Client client({}, version);
    for (const std::string_view channel : {"a", "cache-a", "private-a", "private-encrypted-a"}) {
      ASSERT_TRUE(enters(client.enter(channel))) << version << ' ' << channel;
      EXPECT_EQ(client.session.subscribed(channel, SubscribeOutcome::subscribed),
                Action(Send{pusher::frames::subscription_succeeded(channel)}))
          << version;
    }
  }
}

TEST(ProtocolRules, V05_ASilentClientIsAskedInItsLanguageAndGivenUp) {
  for (const auto& [version, asked] : {std::pair<std::string_view, Action>{"protocol=5", Send{pusher::frames::ping()}},
                                       {"protocol=4", pusher::Ping{}},
                                       {"protocol=6", pusher::Ping{}},
                                       {"protocol=7", pusher::Ping{}}}) {
    Client client({}, version);
    EXPECT_EQ(client.session.tick(120s), asked) << version;
    EXPECT_EQ(client.session.receive(R"({"event":"pusher:pong","data":{}})", 121s), Action(pusher::Nothing{}));
    EXPECT_EQ(client.session.tick(241s), asked) << version;
    const Action end = client.session.tick(271s);
    ASSERT_TRUE(std::holds_alternative<Close>(end)) << version;
    EXPECT_EQ(std::get<Close>(end).code, 4201);
    EXPECT_EQ(boost::json::parse(std::get<Close>(end).text).at("data").at("code"), 4201);
  }
}

TEST(ProtocolRules, V07_TheActivityTimeoutIsToldToAll) {
  for (const std::string_view version : {"protocol=4", "protocol=5", "protocol=6", "protocol=7"}) {
    const Client client({.activity_timeout = 45s}, version);
    const boost::json::value data = boost::json::parse(sent(client.opened).at("data").as_string());
    EXPECT_EQ(data.at("activity_timeout"), 45) << version;
    EXPECT_EQ(data.at("socket_id"), "1.2") << version;
  }
}

// ---- O: what refuses a connection, H: what refuses a request

TEST(ProtocolRules, O09_OfSeveralReasonsToRefuseTheFirstIsTold) {
  App app(options_with_key({.enabled = false, .tls_only = true, .allowed_origins = {"example.com"}}));
  App enabled(options_with_key({.tls_only = true, .allowed_origins = {"example.com"}}));
  const auto code = [](App* served, const pusher::Opening& opening) {
    Session session({1, 2});
    const Action action = session.open(served, opening, 0ms);
    const auto* const close = std::get_if<Close>(&action);
    return close == nullptr ? 0U : unsigned{close->code};
  };
  // Everything is wrong. One thing after the other is put right.
  pusher::Opening opening{.query = "version=banana",
                          .draining = true,
                          .full = true,
                          .path_found = false,
                          .origin = "https://example.org",
                          .over_capacity = true};
  EXPECT_EQ(code(nullptr, opening), 4200U);
  opening.draining = false;
  EXPECT_EQ(code(nullptr, opening), 4005U);
  opening.path_found = true;
  EXPECT_EQ(code(nullptr, opening), 4001U);
  EXPECT_EQ(code(&app, opening), 4003U);
  EXPECT_EQ(code(&enabled, opening), 4000U);
  opening.tls = true;
  EXPECT_EQ(code(&enabled, opening), 4008U);
  opening.query = "version=banana&protocol=3";
  EXPECT_EQ(code(&enabled, opening), 4007U);
  opening.query = "version=banana&protocol=7";
  EXPECT_EQ(code(&enabled, opening), 4006U);
  opening.query = "version=8.4.0&protocol=7";
  EXPECT_EQ(code(&enabled, opening), 4009U);
  opening.origin = "https://example.com";
  EXPECT_EQ(code(&enabled, opening), 4004U);
  opening.full = false;
  EXPECT_EQ(code(&enabled, opening), 4100U);
  opening.over_capacity = false;
  EXPECT_EQ(code(&enabled, opening), 0U);
}

TEST(ProtocolRules, H01_OfSeveralMistakesInARequestTheFirstIsTold) {
  pusher::AppList apps;
  apps.add(options_with_key());
  const pusher::HttpApi api{apps};
  http::Request request;
  request.method = "POST";
  request.body = R"({"name":"e","channel":"a","data":"1"})";
  // Everything is wrong. One thing after the other is put right.
  std::vector<std::pair<std::string, std::string>> query{{"auth_key", "other"},
                                                         {"auth_version", "2.0"},
                                                         {"auth_timestamp", "1"},
                                                         {"body_md5", "00"},
                                                         {"auth_signature", "00"}};
  const auto answer = [&](std::string_view path) {
    request.target = joined({path, "?"});
    for (const auto& [name, value] : query) request.target += joined({name, "=", value, "&"});
    return api(request, wall);
  };
  const auto expect = [&](std::string_view text) {
    const http::Response response = answer("/apps/1/events");
    EXPECT_EQ(response.status, 401U);
    EXPECT_TRUE(response.body.starts_with(text)) << response.body;
  };
  EXPECT_EQ(answer("/apps/2/events").status, 404U);
  expect("Unknown auth_key");
  query[0].second = "key";
  expect("Version not supported");
  query[1].second = "1.0";
  expect("Timestamp expired");
  query[2].second = std::to_string(wall.count());
  expect("Invalid body_md5");
  query[3].second = pusher::md5_hex(request.body);
  expect("Invalid signature");
  query[4].second =
      pusher::hmac_sha256_hex("secret", joined({"POST\n/apps/1/events\nauth_key=key&auth_timestamp=", query[2].second,
                                                "&auth_version=1.0&body_md5=", query[3].second}));
  EXPECT_EQ(answer("/apps/1/events").status, 200U);
}

// ---- K: kinds of channels

struct Kind {
  std::string_view channel;
  bool auth;
  bool presence;
  bool cached;

  friend void PrintTo(const Kind& row, std::ostream* out) { *out << row.channel; }
};

class ChannelKinds : public testing::TestWithParam<Kind> {};

TEST_P(ChannelKinds, AskForWhatTheirPrefixSays) {
  const auto& [channel, auth, presence, cached] = GetParam();
  const std::string_view ada = R"({"user_id":"ada"})";
  Client client;
  EXPECT_EQ(enters(client.subscribe(channel, "")), !auth);
  EXPECT_EQ(enters(client.enter(channel)), !presence);
  const Action with_data = client.enter(channel, ada);
  ASSERT_TRUE(enters(with_data));
  EXPECT_EQ(std::get<Subscribe>(with_data).member != nullptr, presence);
  // Its prefix counts at the beginning alone.
  EXPECT_TRUE(enters(client.subscribe(joined({"my-", channel}), "")));

  // The last event is kept or not. What is in it is nobody's business here.
  const std::string_view sealed = R"({"nonce":"bm9uY2U=","ciphertext":"Y2lwaGVydGV4dA=="})";
  EXPECT_EQ(client.app.trigger(channel, "e", sealed).error, errc::ok);
  const auto kept = client.app.cached(channel);
  ASSERT_EQ(kept.has_value(), cached);
  if (kept) {
    EXPECT_EQ(kept->message->data(), sealed);
  }
  std::string got;
  const Subscription subscription = client.app.subscribe(
      channel, [&](Subscription& made) { made.bind("f", [&](const Event& event) { got = event.data(); }); });
  EXPECT_EQ(client.app.trigger(channel, "f", sealed).error, errc::ok);
  EXPECT_EQ(got, sealed);
}

INSTANTIATE_TEST_SUITE_P(All, ChannelKinds,
                         testing::Values(Kind{"private-encrypted-cache-a", true, false, true},
                                         Kind{"private-encrypted-a", true, false, false},
                                         Kind{"private-cache-a", true, false, true},
                                         Kind{"private-a", true, false, false},
                                         Kind{"presence-cache-a", true, true, true},
                                         Kind{"presence-a", true, true, false}, Kind{"cache-a", false, false, true},
                                         Kind{"lobby", false, false, false}));

TEST(ProtocolRules, K08_TheChannelOfAUserIsForWhoHasSignedIn) {
  Client client({.user_authentication = true});
  EXPECT_FALSE(enters(client.subscribe("#server-to-user-ada", "")));
  EXPECT_FALSE(enters(client.enter("#server-to-user-ada")));
  const Action action = client.sign_in(R"({"id":"ada"})");
  ASSERT_TRUE(std::holds_alternative<pusher::SignIn>(action));
  EXPECT_EQ(sent(client.session.signed_in(std::get<pusher::SignIn>(action), true)).at("event"),
            "pusher:signin_success");
  EXPECT_EQ(client.subscribe("#server-to-user-ada", ""), Action(Subscribe{"#server-to-user-ada"}));
  EXPECT_FALSE(enters(client.subscribe("#server-to-user-bob", "")));
  EXPECT_EQ(client.app.trigger("#server-to-user-ada", "e", "1").error, errc::ok);
  EXPECT_FALSE(client.app.cached("#server-to-user-ada").has_value());
}

// ---- S: subscriptions that are refused

struct RefusedSubscription {
  std::string_view what;
  std::string channel;
  std::string auth;  // "right": one that fits
  std::optional<std::string> data;
  std::string_view type;
  int status;

  friend void PrintTo(const RefusedSubscription& row, std::ostream* out) { *out << row.what; }
};

class SubscribeErrors : public testing::TestWithParam<RefusedSubscription> {};

TEST_P(SubscribeErrors, NameTheChannelUnlessTheyAreThoseOfHostedPusher) {
  const RefusedSubscription& row = GetParam();
  const auto refused = [&](Client& client) {
    const boost::json::object frame = sent(row.auth == "right" ? client.enter(row.channel, row.data)
                                                               : client.subscribe(row.channel, row.auth, row.data));
    EXPECT_TRUE(client.session.is_open());
    EXPECT_TRUE(enters(client.subscribe("open", "")));
    return frame;
  };
  Client client;
  const boost::json::object error = refused(client);
  EXPECT_EQ(error.at("event"), "pusher:subscription_error");
  EXPECT_EQ(error.at("channel"), boost::json::value(row.channel));
  const boost::json::object data = boost::json::parse(error.at("data").as_string()).as_object();
  EXPECT_EQ(data.size(), 3U);
  EXPECT_EQ(data.at("type"), boost::json::value(row.type));
  EXPECT_EQ(data.at("status"), row.status);

  Client as_hosted({.hosted_subscription_errors = true});
  const boost::json::object bare = refused(as_hosted);
  EXPECT_EQ(bare.at("event"), "pusher:error");
  EXPECT_FALSE(bare.contains("channel"));
  EXPECT_EQ(bare.at("data").at("code"), nullptr);
  EXPECT_EQ(bare.at("data").at("message"), data.at("error"));
}

std::string user_of(std::size_t bytes) {
  constexpr std::string_view begin = R"({"user_id":"1","user_info":")";
  return joined({begin, std::string(bytes - begin.size() - 2, 'x'), "\"}"});
}
std::string user_with_id(std::size_t bytes) { return joined({R"({"user_id":")", std::string(bytes, 'i'), "\"}"}); }

INSTANTIATE_TEST_SUITE_P(
    All, SubscribeErrors,
    testing::Values(
        RefusedSubscription{"no signature", "private-a", "", {}, "AuthError", 401},
        RefusedSubscription{"an unknown key", "private-a", "other:00", {}, "AuthError", 401},
        RefusedSubscription{"a wrong signature", "private-a", "key:00", {}, "AuthError", 401},
        RefusedSubscription{"nobody", "presence-a", "right", {}, "AuthError", 4009},
        RefusedSubscription{"the channel of a user", "#server-to-user-ada", "", {}, "AuthError", 4009},
        RefusedSubscription{"a bad name", "a b", "", {}, "InvalidChannel", 400},
        RefusedSubscription{"a reserved name", "#ada", "", {}, "InvalidChannel", 400},
        RefusedSubscription{"a long name", std::string(165, 'c'), "", {}, "InvalidChannel", 400},
        RefusedSubscription{"no user_id", "presence-a", "right", R"({"user_info":{}})", "InvalidChannelData", 400},
        RefusedSubscription{"a long user_id", "presence-a", "right", user_with_id(129), "LimitReached", 4301},
        RefusedSubscription{"a large user", "presence-a", "right", user_of(1025), "LimitReached", 4301}));

// ---- L: limits as they are where nobody says otherwise

TEST(ProtocolRules, L01_TheDataOfAClientEventHas10240Bytes) {
  Client client({.client_events = true});
  const auto send = [&](std::size_t bytes) {
    return client.say(
        joined({R"({"event":"client-e","channel":"private-a","data":")", std::string(bytes, 'd'), "\"}"}));
  };
  EXPECT_EQ(send(10'240), Action(Relay{"private-a", "client-e", std::string(10'240, 'd')}));
  EXPECT_EQ(sent(send(10'241)).at("data").at("message"),
            "The data content of this event exceeds the allowed maximum (10240 bytes)");
}

TEST(ProtocolRules, L05_TheNameOfAClientEventHas200Bytes) {
  Client client({.client_events = true});
  const auto send = [&](std::size_t bytes) {
    return client.say(
        joined({R"({"event":"client-)", std::string(bytes - 7, 'n'), R"(","channel":"private-a","data":""})"}));
  };
  EXPECT_TRUE(std::holds_alternative<Relay>(send(200)));
  EXPECT_EQ(sent(send(201)).at("event"), "pusher:error");
}

TEST(ProtocolRules, L07_APresenceChannelHas100Members) {
  pusher::AppList apps;
  App& app = *apps.add(open_app());
  MemoryTransport transport(apps);
  std::deque<MemoryClient> all;
  for (int i = 0; i < 100; ++i) all.emplace_back(transport).subscribe("presence-a", test::user(std::to_string(i)));
  MemoryClient again(transport);
  again.subscribe("presence-a", test::user("7"));
  transport.run();
  EXPECT_EQ(app.user_count("presence-a"), 100U);
  ASSERT_EQ(again.take().size(), 1U);
  MemoryClient late(transport);
  late.subscribe("presence-a", test::user("late"));
  EXPECT_EQ(late.run(), Said{R"(pusher:subscription_error presence-a {"type":"LimitReached",)"
                             R"("error":"A presence channel may have at most 100 members","status":4100})"});
  EXPECT_EQ(app.user_count("presence-a"), 100U);
}

TEST(ProtocolRules, L08_AUserHas1024Bytes) {
  Client client;
  EXPECT_TRUE(enters(client.enter("presence-a", user_of(1024))));
  EXPECT_FALSE(enters(client.enter("presence-a", user_of(1025))));
}

TEST(ProtocolRules, L09_TheIdOfAUserHas128Bytes) {
  Client client({.user_authentication = true});
  EXPECT_TRUE(enters(client.enter("presence-a", user_with_id(128))));
  EXPECT_FALSE(enters(client.enter("presence-a", user_with_id(129))));
  const auto user = [](std::size_t bytes) { return joined({R"({"id":")", std::string(bytes, 'i'), "\"}"}); };
  EXPECT_TRUE(std::holds_alternative<pusher::SignIn>(client.sign_in(user(128))));
  EXPECT_EQ(sent(client.sign_in(user(129))).at("data").at("code"), 4009);
}

TEST(ProtocolRules, L10_AWatchlistHas100Users) {
  pusher::AppList apps;
  apps.add(open_app());
  MemoryTransport transport(apps);
  MemoryClient ada(transport);
  const auto list = [](int count) {
    std::string ids;
    for (int i = 0; i < count; ++i) ids += joined({i == 0 ? "\"" : ",\"", std::to_string(i), "\""});
    return ids;
  };
  for (const int count : {100, 101}) {
    ada.sign_in(joined({R"({"id":"ada","watchlist":[)", list(count), "]}"}));
    Said all = ada.run();
    ASSERT_EQ(all.size(), count == 100 ? 2U : 3U);
    EXPECT_TRUE(all.front().starts_with("pusher:signin_success")) << all.front();
    if (count == 101) {
      EXPECT_NE(all[1].find(R"("code":4302)"), std::string::npos) << all[1];
    }
    EXPECT_EQ(all.back(), joined({R"(pusher_internal:watchlist_events {"events":[{"name":"offline","user_ids":[)",
                                  list(100), "]}]}"}));
  }
  EXPECT_FALSE(ada.end().closed());
}

// ---- F: frames

TEST(ProtocolRules, F13_AnEventHasItsUserOnlyOnPresenceChannels) {
  pusher::AppList apps;
  App& app = *apps.add(open_app());
  MemoryTransport transport(apps);
  MemoryClient ada(transport);
  MemoryClient bob(transport);
  for (const std::string_view channel : {"private-a", "presence-a"}) {
    ada.subscribe(channel, test::user("ada"));
    bob.subscribe(channel, test::user("bob"));
  }
  transport.run();
  bob.take();
  // What a client says of itself there is not believed.
  ada.send(R"({"event":"client-e","channel":"presence-a","data":{"n":1},"user_id":"eve"})");
  ada.send(R"({"event":"client-e","channel":"private-a","data":"1","user_id":"eve"})");
  transport.run();
  app.trigger("presence-a", "e", "2");
  transport.run();
  EXPECT_EQ(bob.take_raw(), (Said{R"({"event":"client-e","channel":"presence-a","data":"{\"n\":1}","user_id":"ada"})",
                                  R"({"event":"client-e","channel":"private-a","data":"1"})",
                                  R"({"event":"e","channel":"presence-a","data":"2"})"}));
}

}  // namespace
