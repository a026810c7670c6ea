#include <fanfare/pusher/session.hpp>

#include "support/actions.hpp"
#include "support/transcript.hpp"

#include <fanfare/app.hpp>
#include <fanfare/core/wire.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace {

using namespace fanfare::pusher;
using fanfare::App;
using fanfare::AppKey;
using fanfare::AppOptions;
using fanfare::Authorization;
using fanfare::ChannelKind;
using fanfare::ChannelName;
using fanfare::Member;
using fanfare::MemberPtr;
using fanfare::test::FromServer;
using fanfare::test::World;
using namespace std::chrono_literals;

// A session and what a transport does around it.
class SessionPeer {
 public:
  bool open(std::string_view target, const World& world) {
    world_ = world;
    app_ = std::make_unique<App>(fanfare::test::options_of(world));
    session_.emplace(SocketId{7, ++connections_});
    channels_.clear();
    came_.clear();

    Opening opening{.draining = world.draining,
                    .full = world.full,
                    .origin = world.origin,
                    .tls = world.tls,
                    .over_capacity = world.over_capacity};
    const std::size_t mark = std::min(target.find('?'), target.size());
    opening.query = target.substr(std::min(mark + 1, target.size()));
    std::string_view path = target.substr(0, mark);
    opening.path_found = path.starts_with("/app/") && path.find('/', 5) == path.npos;
    if (opening.path_found) opening.key = path.substr(5);
    perform(session_->open(opening.key == World::key ? app_.get() : nullptr, opening, now_));
    return true;
  }
  void send(std::string_view text) { perform(session_->receive(text, now_)); }
  // All the powers; but it is alone with the server, so it hears nothing of others.
  bool can(std::string_view) const { return true; }
  void pong() { session_->heard(now_); }
  bool silent() const { return came_.empty(); }
  std::optional<FromServer> receive() {
    if (came_.empty()) return std::nullopt;
    FromServer first = std::move(came_.front());
    came_.pop_front();
    return first;
  }
  bool advance(std::chrono::milliseconds time) {
    now_ += time;
    perform(session_->tick(now_));
    return true;
  }

 private:
  void perform(const Action& action) {
    if (const auto* send = std::get_if<Send>(&action)) {
      came_.push_back({FromServer::Kind::text, send->text, 0});
    } else if (std::holds_alternative<Ping>(action)) {
      came_.push_back({FromServer::Kind::ping, {}, 0});
    } else if (const auto* close = std::get_if<Close>(&action)) {
      EXPECT_FALSE(session_->is_open());
      EXPECT_LE(close->reason.size(), longest_reason);
      came_.push_back({FromServer::Kind::text, close->text, 0});
      came_.push_back({FromServer::Kind::close, {}, close->code});
    } else if (const auto* subscribe = std::get_if<Subscribe>(&action)) {
      const ChannelKind kind = ChannelName::kind(subscribe->channel);
      EXPECT_EQ(subscribe->member != nullptr, ChannelName::has_members(kind));
      std::vector<MemberPtr> members;
      if (subscribe->member != nullptr) members.push_back(subscribe->member);
      SubscribeOutcome outcome = SubscribeOutcome::subscribed;
      if (world_.no_memory) {
        outcome = SubscribeOutcome::failed;
      } else if (channels_.contains(subscribe->channel)) {
        outcome = SubscribeOutcome::already_subscribed;
      } else if (channels_.size() >= app_->options().max_channels_per_connection) {
        outcome = SubscribeOutcome::over_limit;
      } else if (members.size() > world_.members) {
        outcome = SubscribeOutcome::too_many_members;
      } else {
        channels_.insert(subscribe->channel);
      }
      perform(session_->subscribed(subscribe->channel, outcome, members.empty() ? "{}" : data::presence(members)));
      if (outcome != SubscribeOutcome::subscribed) return;
      if (ChannelName::caches(kind)) perform(Send{frames::cache_miss(subscribe->channel)});
      if (world_.subscription_count && !ChannelName::has_members(kind)) {
        perform(Send{frames::subscription_count(subscribe->channel, 1)});
      }
    } else if (const auto* relay = std::get_if<Relay>(&action)) {
      const bool subscribed = channels_.contains(relay->channel);
      perform(session_->relayed(relay->channel, subscribed ? RelayOutcome::relayed : RelayOutcome::not_subscribed));
    } else if (const auto* sign_in = std::get_if<SignIn>(&action)) {
      perform(session_->signed_in(*sign_in, !world_.no_memory));
      if (world_.no_memory) return;
      std::vector<std::string> online, offline;
      for (const std::string& id : sign_in->watchlist) (id == sign_in->user_id ? online : offline).push_back(id);
      if (sign_in->watchlist_cut) perform(Send{frames::watchlist_cut(world_.watched)});
      if (!sign_in->watchlist.empty()) perform(Send{frames::watchlist_events(online, offline)});
    } else if (const auto* unsubscribe = std::get_if<Unsubscribe>(&action)) {
      perform(session_->unsubscribed(unsubscribe->channel, channels_.erase(unsubscribe->channel) > 0));
    }
  }

  World world_;
  std::unique_ptr<App> app_;
  std::optional<Session> session_;
  std::set<std::string> channels_;
  std::deque<FromServer> came_;
  Milliseconds now_{1'000'000};
  std::uint64_t connections_ = 0;
};

static_assert(fanfare::test::Peer<SessionPeer>);

class Transcripts : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(Transcripts, Hold) {
  SessionPeer peer;
  EXPECT_EQ(fanfare::test::run(fanfare::test::read_transcript(GetParam()), peer), fanfare::test::TranscriptResult{});
}

INSTANTIATE_TEST_SUITE_P(All, Transcripts,
                         testing::ValuesIn(fanfare::test::find_transcripts(std::filesystem::path(FANFARE_TESTS) /
                                                                           "pusher/transcripts")),
                         [](const auto& test) { return test.param.stem().string(); });

TEST(Transcript, MistakesAreSeen) {
  const auto outcome = [](std::initializer_list<std::string_view> lines) {
    fanfare::test::Transcript transcript{"t", {}};
    for (const std::string_view line : lines) transcript.lines.push_back(*fanfare::test::read_line(line));
    SessionPeer peer;
    return fanfare::test::run(transcript, peer);
  };
  using fanfare::test::TranscriptOutcome;
  const std::string_view open = "O: /app/key?protocol=7";
  const std::string_view established =
      R"(S: {"event":"pusher:connection_established","data":"{\"socket_id\":\"*\",\"activity_timeout\":120}"})";
  const std::string_view ping = R"(C: {"event":"pusher:ping"})";
  const std::string_view pong = R"(S: {"event":"pusher:pong","data":"{}"})";
  EXPECT_EQ(outcome({open, established, ping, pong}).outcome, TranscriptOutcome::held);
  for (const auto& broken : {
           outcome({open}),
           outcome({open, ping}),
           outcome({open, "S: {}"}),
           outcome({open, "S: {\"event\":\"*\"}"}),
           outcome({open, "S: {\"event\":\"*\",\"data\":{}}"}),
           outcome({open, "S close 4001"}),
           outcome({open, "S ping"}),
           outcome({open, established, ping, R"(S: {"event":"pusher:pong","data":{}})"}),
           outcome({open, established, ping, R"(S: {"event":"pusher:pong","data":"{\"a\":1}"})"}),
           outcome({open, established, pong}),
           outcome({open, established, ping}),
           outcome({open, established, "T: 120s"}),
       }) {
    EXPECT_EQ(broken.outcome, TranscriptOutcome::broken) << broken.text;
  }
  for (const std::string_view line :
       {"X: y", "S: not JSON", "T: 5", "T: s", "W: strange", "W: channels x", "S close x", "N: strange"}) {
    EXPECT_ANY_THROW(fanfare::test::read_line(line)) << line;
  }
}

// -- what transcripts do not show --------------------------------------------------------------------------------------

class SessionTest : public testing::Test {
 protected:
  Session opened(std::string_view query = "protocol=7") {
    Session session({1234, 1234});
    EXPECT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = query}, 0ms)));
    return session;
  }
  static std::string error(std::string_view message) { return frames::error(std::nullopt, message); }
  static MemberPtr member(std::string id, std::string info = "null", bool numeric = false) {
    return std::make_shared<const Member>(Member{std::move(id), std::move(info), numeric});
  }

  App app{{.id = "3",
           .key = "278d425bdf160c739803",
           .secret = "7ad3773142a6692b25b8",
           .user_authentication = true,
           .max_channels_per_connection = 5}};
};

TEST_F(SessionTest, KnowsWhomItServes) {
  Session session({1, 2});
  EXPECT_EQ(session.socket_id(), (SocketId{1, 2}));
  EXPECT_EQ(session.app(), nullptr);
  EXPECT_EQ(session.protocol(), 0);
  EXPECT_FALSE(session.is_open());
  EXPECT_EQ(session.open(&app, {.query = "protocol=5"}, 0ms),
            Action(Send{frames::connection_established({1, 2}, 120s)}));
  EXPECT_EQ(session.app(), &app);
  EXPECT_EQ(session.protocol(), 5);
  EXPECT_TRUE(session.is_open());
}

TEST_F(SessionTest, IsRefusedWithTheSameReasonThreeTimes) {
  Session session({1, 2});
  const Action action = session.open(nullptr, {.query = "protocol=7", .key = "a%00b"}, 0ms);
  const std::string reason = "Application key 'a%00b' does not exist: check the key and the host";
  EXPECT_EQ(action, Action(Close{4001, reason, frames::error(4001, reason)}));
  EXPECT_FALSE(session.is_open());
  EXPECT_EQ(session.app(), nullptr);
  EXPECT_EQ(session.protocol(), 0);
}

// Whatever stands in the request, the reason fits into a close frame and is UTF-8.
TEST_F(SessionTest, BoundsTheReasons) {
  for (const std::string& noise : {std::string(4000, 'k'), std::string(4000, '\xff'), std::string(1000, '\0'),
                                   std::string(39, 'x') + "€€€€", std::string("\n\x80")}) {
    for (const std::string& query : {"protocol=" + noise, "protocol=7&version=" + noise, noise}) {
      for (App* const known : {static_cast<App*>(nullptr), &app}) {
        Session session({1, 2});
        const Action action = session.open(known, {.query = query, .key = noise}, 0ms);
        const auto* const close = std::get_if<Close>(&action);
        ASSERT_NE(close, nullptr);
        EXPECT_LE(close->reason.size(), longest_reason);
        EXPECT_TRUE(fanfare::detail::is_utf8(close->reason));
        EXPECT_NO_THROW(static_cast<void>(boost::json::parse(close->text)));
      }
    }
  }
}

// The vectors of Pusher's documentation.
TEST_F(SessionTest, TakesDocumentedSignatures) {
  Session session = opened();
  EXPECT_EQ(
      session.receive(
          R"({"event":"pusher:subscribe","data":{"channel":"presence-foobar","channel_data":"{\"user_id\":10,\"user_info\":{\"name\":\"Mr. Pusher\"}}","auth":"278d425bdf160c739803:afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c"}})",
          0ms),
      Action(Subscribe{"presence-foobar", member("10", R"({"name":"Mr. Pusher"})")}));
  EXPECT_EQ(
      session.receive(
          R"({"event":"pusher:signin","data":{"user_data":"{\"id\":\"12345\"}","auth":"278d425bdf160c739803:4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"}})",
          0ms),
      Action(SignIn{"12345", R"({"id":"12345"})", "null"}));
  EXPECT_EQ(
      session.receive(
          R"({"event":"pusher:subscribe","data":{"channel":"private-foobar","auth":"278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"}})",
          0ms),
      Action(Subscribe{"private-foobar"}));
}

TEST_F(SessionTest, TakesSignaturesInLowerCaseOnly) {
  Session session = opened();
  const Action action = session.receive(
      R"({"event":"pusher:subscribe","data":{"channel":"private-foobar","auth":"278d425bdf160c739803:58DF8B0C36D6982B82C3ECF6B4662E34FE8C25BBA48F5369F135BF843651C3A4"}})",
      0ms);
  EXPECT_TRUE(std::holds_alternative<Send>(action)) << testing::PrintToString(action);
}

TEST_F(SessionTest, SaysWhatShouldHaveBeenSignedButNotTheSignature) {
  Session session = opened();
  const Action action = session.receive(
      R"({"event":"pusher:subscribe","data":{"channel":"private-foobar","channel_data":"{\"a\":1}","auth":"278d425bdf160c739803:00"}})",
      0ms);
  EXPECT_EQ(action,
            Action(Send{frames::subscription_error(
                "private-foobar", "AuthError",
                R"(Invalid signature: Expected HMAC SHA256 hex digest of 1234.1234:private-foobar:{"a":1}, but got 00)",
                401)}));
  const std::string& text = std::get<Send>(action).text;
  for (const std::string_view signed_text : {"1234.1234:private-foobar", "1234.1234:private-foobar:{\"a\":1}"}) {
    EXPECT_EQ(text.find(hmac_sha256_hex("7ad3773142a6692b25b8", signed_text)), std::string::npos);
  }
  EXPECT_EQ(text.find("7ad3773142a6692b25b8"), std::string::npos);
}

TEST_F(SessionTest, TellsHowASubscriptionWent) {
  Session session = opened();
  EXPECT_EQ(session.receive(R"({"event":"pusher:subscribe","data":{"channel":"x"}})", 0ms), Action(Subscribe{"x"}));
  EXPECT_EQ(session.subscribed("x", SubscribeOutcome::subscribed), Action(Send{frames::subscription_succeeded("x")}));
  EXPECT_EQ(session.subscribed("x", SubscribeOutcome::already_subscribed),
            Action(Send{error("Existing subscription to channel x")}));
  EXPECT_EQ(
      session.subscribed("x", SubscribeOutcome::over_limit),
      Action(Send{frames::subscription_error("x", "LimitReached", "A connection may have at most 5 channels", 4100)}));
  EXPECT_EQ(session.subscribed("x", SubscribeOutcome::failed),
            Action(Send{frames::subscription_error(
                "x", "ServerError", "The server has no room for the subscription: please try again later", 503)}));
  EXPECT_EQ(session.subscribed("presence-x", SubscribeOutcome::too_many_members),
            Action(Send{frames::subscription_error("presence-x", "LimitReached",
                                                   "A presence channel may have at most 100 members", 4100)}));
  EXPECT_EQ(session.subscribed("x", SubscribeOutcome::too_many_subscribers),
            Action(Send{frames::subscription_error("x", "LimitReached",
                                                   "The channel has as many subscribers as it may have", 4100)}));
  EXPECT_EQ(session.subscribed("presence-x", SubscribeOutcome::subscribed, R"({"presence":{}})"),
            Action(Send{frames::subscription_succeeded("presence-x", R"({"presence":{}})")}));
  EXPECT_EQ(session.receive(R"({"event":"pusher:unsubscribe","data":{"channel":"x"}})", 0ms), Action(Unsubscribe{"x"}));
  EXPECT_EQ(session.unsubscribed("x", true), Action(Nothing{}));
  EXPECT_EQ(session.unsubscribed("x", false),
            Action(Send{error("No current subscription to channel x, or subscription in progress")}));
}

TEST_F(SessionTest, DoesNothingBeforeAndAfter) {
  Session session({1, 2});
  const auto expect_nothing = [&] {
    EXPECT_EQ(session.receive(R"({"event":"pusher:ping"})", 1s), Action(Nothing{}));
    EXPECT_EQ(session.receive("bad", 1s), Action(Nothing{}));
    EXPECT_EQ(session.tick(1'000'000s), Action(Nothing{}));
    EXPECT_EQ(session.subscribed("x", SubscribeOutcome::subscribed), Action(Nothing{}));
    EXPECT_EQ(session.subscribed("x", SubscribeOutcome::over_limit), Action(Nothing{}));
    EXPECT_EQ(session.unsubscribed("x", false), Action(Nothing{}));
    EXPECT_EQ(session.relayed("x", RelayOutcome::refused), Action(Nothing{}));
    EXPECT_EQ(session.signed_in({"1", R"({"id":"1"})", "null"}, true), Action(Nothing{}));
    EXPECT_EQ(session.user_id(), "");
  };
  expect_nothing();
  EXPECT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7"}, 0ms)));
  EXPECT_EQ(session.close(close_code::reconnect, "bye"), Action(Close{4200, "bye", frames::error(4200, "bye")}));
  EXPECT_FALSE(session.is_open());
  expect_nothing();
}

TEST_F(SessionTest, MayBeClosedInsteadOfOpened) {
  Session session({1, 2});
  EXPECT_EQ(session.close(4100, "full"), Action(Close{4100, "full", frames::error(4100, "full")}));
  EXPECT_FALSE(session.is_open());
  EXPECT_EQ(session.receive(R"({"event":"pusher:ping"})", 1s), Action(Nothing{}));
}

TEST_F(SessionTest, CutsAReasonBetweenCharacters) {
  Session session = opened();
  const Action action = session.close(4100, std::string(122, 'x') + "€");
  EXPECT_EQ(std::get<Close>(action).reason, std::string(122, 'x'));
}

TEST_F(SessionTest, AsksOnceAndIsNotConfusedByAnEarlyTick) {
  Session session = opened();
  EXPECT_EQ(session.tick(-5s), Action(Nothing{}));
  EXPECT_EQ(session.tick(119'999ms), Action(Nothing{}));
  EXPECT_EQ(session.tick(120s), Action(Ping{}));
  EXPECT_EQ(session.tick(120s), Action(Nothing{}));
  EXPECT_EQ(session.tick(100s), Action(Nothing{}));
  EXPECT_EQ(session.tick(149'999ms), Action(Nothing{}));
  session.heard(149'999ms);
  EXPECT_EQ(session.tick(269'998ms), Action(Nothing{}));
  EXPECT_EQ(session.tick(269'999ms), Action(Ping{}));
  EXPECT_TRUE(std::holds_alternative<Close>(session.tick(299'999ms)));
}

TEST(SessionTimeouts, AreSentAndKeptWithinWhatClientsCanCount) {
  for (const auto& [given, sent] : {std::pair{0s, 1s},
                                    {-1s, 1s},
                                    {1s, 1s},
                                    {7200s, 7200s},
                                    {std::chrono::seconds::max(), std::chrono::seconds{24h * 24}}}) {
    App app{{.id = "1", .key = "key", .secret = "secret", .activity_timeout = given, .pong_timeout = given}};
    Session session({1, 2});
    EXPECT_EQ(session.open(&app, {.query = "protocol=7"}, 0ms),
              Action(Send{frames::connection_established({1, 2}, sent)}));
    EXPECT_EQ(session.tick(sent - 1ms), Action(Nothing{}));
    EXPECT_EQ(session.tick(sent), Action(Ping{}));
    EXPECT_EQ(session.tick(sent + sent - 1ms), Action(Nothing{}));
    EXPECT_TRUE(std::holds_alternative<Close>(session.tick(sent + sent)));
  }
}

TEST(SessionVersions, AreTakenAsClientsWriteThem) {
  App app{{.id = "1", .key = "key", .secret = "secret"}};
  const auto accepted = [&](const std::string& version) {
    Session session({1, 2});
    return std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7&version=" + version}, 0ms));
  };
  for (const char* const good : {"", "1", "8.4.0", "2.3.0.0", "10.1.5", "0.0.0-dev", "2.0-SNAPSHOT", "v1.2", "V3",
                                 "1.0.0-rc.1%2B5", "1.0.0-rc.1+5", "4.2_1", "3~beta"}) {
    EXPECT_TRUE(accepted(good)) << good;
  }
  EXPECT_TRUE(accepted(std::string(64, '1')));
  for (const char* const bad :
       {"banana", ".5", "v", "vv1", "-1", "1/2", "1;2", "1%00", "1%", "1\xc3\xa9", "+1", "%221%22"}) {
    EXPECT_FALSE(accepted(bad)) << bad;
  }
  EXPECT_FALSE(accepted(std::string(65, '1')));
}

TEST(SessionEchoes, AreBounded) {
  App app{{.id = "1", .key = "key", .secret = "secret", .client_events = true, .user_authentication = true}};
  Session session({1, 2});
  ASSERT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7"}, 0ms)));
  std::string noise;
  for (int i = 0; i < 50'000; ++i) noise += "\\u0001";
  for (const std::string& text : {
           "{\"event\":\"" + noise + "\"}",
           R"({"event":"pusher:subscribe","data":{"channel":")" + noise + "\"}}",
           R"({"event":"pusher:unsubscribe","data":{"channel":")" + noise + "\"}}",
           R"({"event":"pusher:subscribe","data":{"channel":"private-x","auth":")" + noise + "\"}}",
           R"({"event":"pusher:subscribe","data":{"channel":"private-x","auth":":)" + noise + "\"}}",
           R"({"event":"pusher:subscribe","data":{"channel":"private-x","auth":"key:)" + noise + "\"}}",
           R"({"event":"pusher:subscribe","data":{"channel":"private-x","auth":"key:1","channel_data":")" + noise +
               "\"}}",
           R"({"event":"pusher:signin","data":{"user_data":"{}","auth":")" + noise + "\"}}",
           R"({"event":"pusher:signin","data":{"user_data":")" + noise + R"(","auth":"key:1"}})",
           R"({"event":"client-)" + noise + R"(","channel":"private-x"})",
           R"({"event":"client-x","channel":")" + noise + "\"}",
           R"({"event":"client-x","channel":"private-x","data":")" + noise + "\"}",
       }) {
    const Action action = session.receive(text, 0ms);
    const auto* const send = std::get_if<Send>(&action);
    ASSERT_NE(send, nullptr);
    EXPECT_LT(send->text.size(), 4096U);
    EXPECT_NO_THROW(static_cast<void>(boost::json::parse(send->text)));
  }
}

// -- the rules that clients rely on --------------------------------------------------------------------------------------

// An application and one client of it, with signatures made here.
class Rules : public testing::Test {
 protected:
  explicit Rules(AppOptions options = {.client_events = true, .user_authentication = true, .watchlist = true})
      : app(complete(std::move(options))) {
    open();
  }

  static AppOptions complete(AppOptions options) {
    options.id = "1";
    options.key = "key";
    options.secret = "secret";
    return options;
  }
  Action open(const Opening& opening = {.query = "protocol=7"}) {
    session.emplace(SocketId{1234, 1234});
    return session->open(&app, opening, now);
  }
  static std::string quoted(std::string_view text) {
    std::string result;
    append_json_string(result, text);
    return result;
  }
  static std::string auth(std::string_view what, std::string_view key = "key", std::string_view secret = "secret") {
    return joined({key, ":", hmac_sha256_hex(secret, joined({"1234.1234:", what}))});
  }
  Action say(std::string_view text) { return session->receive(text, now); }
  Action subscribe(std::string_view channel, std::string_view auth, std::optional<std::string> data = std::nullopt) {
    std::string text =
        joined({R"({"event":"pusher:subscribe","data":{"auth":)", quoted(auth), R"(,"channel":)", quoted(channel)});
    if (data) text += joined({R"(,"channel_data":)", quoted(*data)});
    return say(text + "}}");
  }
  Action sign_in(std::string_view user_data, std::string_view auth) {
    return say(joined(
        {R"({"event":"pusher:signin","data":{"auth":)", quoted(auth), R"(,"user_data":)", quoted(user_data), "}}"}));
  }
  Action sign_in(std::string_view user_data) { return sign_in(user_data, auth(joined({":user::", user_data}))); }
  // Signs in, with a driver that agrees.
  void become(std::string_view id) {
    const Action action = sign_in(joined({R"({"id":)", quoted(id), "}"}));
    ASSERT_TRUE(std::holds_alternative<SignIn>(action)) << testing::PrintToString(action);
    EXPECT_TRUE(std::holds_alternative<Send>(session->signed_in(std::get<SignIn>(action), true)));
  }
  static boost::json::object sent(const Action& action) {
    if (const auto* const send = std::get_if<Send>(&action)) return boost::json::parse(send->text).as_object();
    ADD_FAILURE() << "no message: " << testing::PrintToString(action);
    return {};
  }
  static bool subscribes(const Action& action) { return std::holds_alternative<Subscribe>(action); }
  // Every kind of message that a session can be made to say.
  std::vector<Action> answers() {
    std::vector<Action> all{open(),
                            say("?"),
                            say("{}"),
                            say(R"({"event":"pusher:ping"})"),
                            say(R"({"event":"strange"})"),
                            say(R"({"event":"pusher:subscribe"})"),
                            say(R"({"event":"client-a","channel":"open"})"),
                            subscribe("private-a", "key:0"),
                            subscribe("bad name", ""),
                            sign_in("{}"),
                            sign_in("{}", "key:0"),
                            session->subscribed("a", SubscribeOutcome::subscribed),
                            session->subscribed("a", SubscribeOutcome::already_subscribed),
                            session->subscribed("a", SubscribeOutcome::failed),
                            session->subscribed("a", SubscribeOutcome::over_limit),
                            session->subscribed("presence-a", SubscribeOutcome::too_many_members),
                            session->subscribed("presence-a", SubscribeOutcome::subscribed, data::presence({})),
                            session->unsubscribed("a", false),
                            session->relayed("a", RelayOutcome::not_subscribed),
                            session->relayed("a", RelayOutcome::refused),
                            session->relayed("a", RelayOutcome::failed),
                            session->signed_in({"1", R"({"id":"1"})", "null"}, false),
                            session->signed_in({"1", R"({"id":"1"})", "null"}, true)};
    return all;
  }

  App app;
  std::optional<Session> session;
  Milliseconds now{0};
};

TEST_F(Rules, rule_1_the_first_message_is_established_or_an_error) {
  EXPECT_EQ(sent(open()).at("event"), "pusher:connection_established");
  const Action refused = open({.query = "protocol=3"});
  EXPECT_EQ(boost::json::parse(std::get<Close>(refused).text).at("event"), "pusher:error");
  // Nothing can be said before: not by an early message, nor by a tick.
  Session early({1, 2});
  EXPECT_EQ(early.receive(R"({"event":"pusher:ping"})", now), Action(Nothing{}));
  EXPECT_EQ(early.tick(now + 1000s), Action(Nothing{}));
}

TEST_F(Rules, rule_2_activity_timeout_is_a_number_of_at_least_1) {
  const boost::json::value data = boost::json::parse(sent(open()).at("data").as_string());
  EXPECT_EQ(data.at("activity_timeout"), 120);
}

TEST_F(Rules, rule_3_data_is_a_string_but_for_errors) {
  for (const Action& action : answers()) {
    const boost::json::object message = sent(action);
    if (message.at("event") == "pusher:error") {
      EXPECT_TRUE(message.at("data").is_object()) << testing::PrintToString(action);
    } else {
      EXPECT_TRUE(message.at("data").is_string()) << testing::PrintToString(action);
    }
  }
}

TEST_F(Rules, rule_4_subscription_succeeded_has_data_on_public_channels) {
  EXPECT_EQ(sent(session->subscribed("x", SubscribeOutcome::subscribed)).at("data"), "{}");
}

TEST_F(Rules, rule_5_a_refused_connection_gets_an_error_and_a_close) {
  const Action refused = open({.query = "protocol=7", .full = true});
  const auto* const close = std::get_if<Close>(&refused);
  ASSERT_NE(close, nullptr);
  EXPECT_EQ(close->code, 4004);
  EXPECT_EQ(boost::json::parse(close->text).at("data").at("code"), 4004);
}

TEST_F(Rules, rule_6_the_error_goes_ahead_of_the_close_for_all_versions) {
  for (const std::string_view query : {"protocol=4", "protocol=5", "protocol=6", "protocol=7", "protocol=1", ""}) {
    const Action refused = open({.query = query, .draining = true});
    EXPECT_EQ(boost::json::parse(std::get<Close>(refused).text).at("data").at("code"), 4200) << query;
  }
}

TEST_F(Rules, rule_7_4000_means_tls_alone) {
  std::set<unsigned> codes;
  App tls_only(complete({.tls_only = true}));
  App disabled(complete({.enabled = false}));
  App guarded(complete({.allowed_origins = {"example.com"}}));
  const auto code = [&](App* served, const Opening& opening) {
    Session refused({1, 2});
    return std::get<Close>(refused.open(served, opening, now)).code;
  };
  EXPECT_EQ(code(&tls_only, {.query = "protocol=7"}), 4000);
  for (const unsigned other : {
           code(nullptr, {.query = "protocol=7"}),
           code(&disabled, {.query = "protocol=7"}),
           code(&guarded, {.query = "protocol=7", .origin = "https://x.org"}),
           code(&app, {.query = "protocol=7", .draining = true}),
           code(&app, {.query = "protocol=7", .full = true}),
           code(&app, {.query = "protocol=7", .path_found = false}),
           code(&app, {.query = "protocol=7", .over_capacity = true}),
           code(&app, {.query = "protocol=3"}),
           code(&app, {.query = "protocol=7&version=x"}),
           code(&app, {}),
       }) {
    EXPECT_GT(other, 4000U);
    codes.insert(other);
  }
  EXPECT_EQ(codes, (std::set<unsigned>{4001, 4003, 4004, 4005, 4006, 4007, 4008, 4009, 4100, 4200}));
}

TEST_F(Rules, rule_8_4301_closes_nothing) {
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(std::holds_alternative<Relay>(say(R"({"event":"client-a","channel":"private-a"})")));
  }
  EXPECT_EQ(say(R"({"event":"client-a","channel":"private-a"})"), Action(Send{frames::client_event_rate(10)}));
  EXPECT_EQ(boost::json::parse(frames::client_event_rate(10)).at("data").at("code"), 4301);
  EXPECT_EQ(boost::json::parse(frames::watchlist_cut(10)).at("data").at("code"), 4302);
  EXPECT_TRUE(session->is_open());
}

TEST_F(Rules, rule_9_prefixes_are_anchored_and_have_their_dash) {
  for (const std::string_view open_to_all :
       {"my-private-x", "private", "privatex", "presence", "presence_x", "xpresence-x", "cache", "my-cache-x"}) {
    EXPECT_EQ(subscribe(open_to_all, ""), Action(Subscribe{std::string(open_to_all)}));
  }
  for (const std::string_view closed : {"private-x", "private-", "private-cache-x", "private-encrypted-x",
                                        "private-encrypted-cache-x", "presence-x", "presence-cache-x"}) {
    EXPECT_FALSE(subscribes(subscribe(closed, ""))) << closed;
  }
}

TEST_F(Rules, rule_10_channel_data_is_signed_on_private_channels) {
  const std::string data = R"({"user_id":"1"})";
  for (const std::string_view channel : {"private-x", "private-encrypted-x", "private-cache-x"}) {
    EXPECT_EQ(subscribe(channel, auth(joined({channel, ":", data})), data), Action(Subscribe{std::string(channel)}));
    EXPECT_FALSE(subscribes(subscribe(channel, auth(channel), data)));
    EXPECT_FALSE(subscribes(subscribe(channel, auth(joined({channel, ":", data})))));
  }
}

TEST_F(Rules, rule_11_exactly_the_received_bytes_are_signed) {
  const std::string odd = R"( {"user_info":1.50 ,"user_id":"\u0061é" } )";
  EXPECT_EQ(subscribe("presence-x", auth("presence-x:" + odd), odd),
            Action(Subscribe{"presence-x", std::make_shared<const Member>(Member{"aé", "1.50"})}));
  const std::string user = R"({ "id":"\u0061", "user_info": {"n": 1.50} })";
  const Action action = sign_in(user);
  EXPECT_EQ(action, Action(SignIn{"a", user, R"({"n": 1.50})"}));
  const boost::json::object success = sent(session->signed_in(std::get<SignIn>(action), true));
  EXPECT_EQ(success.at("event"), "pusher:signin_success");
  EXPECT_EQ(boost::json::parse(success.at("data").as_string()).at("user_data"), boost::json::value(user));
}

TEST_F(Rules, rule_12_who_is_signed_in_may_leave_out_channel_data) {
  EXPECT_FALSE(subscribes(subscribe("presence-x", auth("presence-x"))));
  become("ada");
  EXPECT_EQ(subscribe("presence-x", auth("presence-x")),
            Action(Subscribe{"presence-x", std::make_shared<const Member>(Member{"ada", "null"})}));
  EXPECT_FALSE(subscribes(subscribe("presence-x", "")));
  // What is given wins.
  const std::string data = R"({"user_id":"bob"})";
  EXPECT_EQ(subscribe("presence-x", auth("presence-x:" + data), data),
            Action(Subscribe{"presence-x", std::make_shared<const Member>(Member{"bob", "null"})}));
}

TEST_F(Rules, rule_13_channels_of_users_are_opened_by_the_sign_in_alone) {
  EXPECT_FALSE(subscribes(subscribe("#server-to-user-ada", "")));
  EXPECT_FALSE(subscribes(subscribe("#server-to-user-ada", auth("#server-to-user-ada"))));
  become("ada");
  EXPECT_EQ(subscribe("#server-to-user-ada", ""), Action(Subscribe{"#server-to-user-ada"}));
  for (const std::string_view other : {"#server-to-user-", "#server-to-user-a", "#server-to-user-adam", "#ada"}) {
    EXPECT_FALSE(subscribes(subscribe(other, ""))) << other;
    EXPECT_FALSE(subscribes(subscribe(other, auth(other)))) << other;
  }
}

TEST_F(Rules, rule_14_ids_of_members_are_strings) {
  const std::string data = R"({"user_id":10})";
  const Action action = subscribe("presence-x", auth("presence-x:" + data), data);
  ASSERT_TRUE(subscribes(action));
  const std::vector<MemberPtr> members{std::get<Subscribe>(action).member};
  EXPECT_EQ(data::presence(members), R"({"presence":{"count":1,"ids":["10"],"hash":{"10":null}}})");
}

// -- keys, decisions of the host ------------------------------------------------------------------------------------------

TEST(SessionKeys, AreAllAsGood) {
  App app{{.id = "1", .key = "new", .secret = "n", .more_keys = {{"old", "o"}, {"empty", ""}}}};
  Session session({1, 2});
  ASSERT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7"}, 0ms)));
  const auto enters = [&](std::string_view key, std::string_view secret) {
    const std::string text = joined({R"({"event":"pusher:subscribe","data":{"channel":"private-a","auth":")", key, ":",
                                     hmac_sha256_hex(secret, "1.2:private-a"), "\"}}"});
    return std::holds_alternative<Subscribe>(session.receive(text, 0ms));
  };
  EXPECT_TRUE(enters("new", "n"));
  EXPECT_TRUE(enters("old", "o"));
  EXPECT_FALSE(enters("new", "o"));
  EXPECT_FALSE(enters("old", "n"));
  EXPECT_FALSE(enters("none", "n"));
  EXPECT_FALSE(enters("empty", ""));
}

class Authorized : public Rules {
 protected:
  struct Question {
    std::string socket_id, channel, auth, channel_data;
    bool operator==(const Question&) const = default;
  };
  Authorized()
      : Rules({.user_authentication = true, .authorize = [this](const Authorization& authorization) {
                 asked.push_back({std::string(authorization.socket_id), std::string(authorization.channel),
                                  std::string(authorization.auth), std::string(authorization.channel_data)});
                 return may;
               }}) {}

  std::vector<Question> asked;
  bool may = true;
};

TEST_F(Authorized, TheHostDecidesInsteadOfTheSignature) {
  EXPECT_EQ(subscribe("private-a", "anything"), Action(Subscribe{"private-a"}));
  EXPECT_EQ(subscribe("private-encrypted-a", ""), Action(Subscribe{"private-encrypted-a"}));
  EXPECT_EQ(say(R"({"event":"pusher:subscribe","data":{"channel":"private-cache-a"}})"),
            Action(Subscribe{"private-cache-a"}));
  EXPECT_EQ(subscribe("presence-a", "x", R"({"user_id":"1"})"),
            Action(Subscribe{"presence-a", std::make_shared<const Member>(Member{"1", "null"})}));
  EXPECT_EQ(asked, (std::vector<Question>{{"1234.1234", "private-a", "anything", ""},
                                          {"1234.1234", "private-encrypted-a", "", ""},
                                          {"1234.1234", "private-cache-a", "", ""},
                                          {"1234.1234", "presence-a", "x", R"({"user_id":"1"})"}}));
  may = false;
  EXPECT_EQ(subscribe("private-a", auth("private-a")),
            Action(Send{frames::subscription_error("private-a", "AuthError",
                                                   "The application does not let the client in", 401)}));
}

TEST_F(Authorized, TheHostIsNotAskedWhereItHasNoSay) {
  EXPECT_TRUE(subscribes(subscribe("open", "")));
  EXPECT_TRUE(subscribes(subscribe("cache-open", "")));
  EXPECT_FALSE(subscribes(subscribe("#server-to-user-1", "")));
  EXPECT_FALSE(subscribes(subscribe("private-bad name", "")));
  EXPECT_FALSE(subscribes(
      say(R"({"event":"pusher:subscribe","data":{"channel":"presence-a","channel_data":{"user_id":"1"}}})")));
  EXPECT_TRUE(std::holds_alternative<Send>(sign_in(R"({"id":"1"})", "key:0")));
  EXPECT_EQ(asked, std::vector<Question>{});
  // It says who may enter; who it is has to be said all the same.
  EXPECT_FALSE(subscribes(subscribe("presence-a", "", "{}")));
  EXPECT_FALSE(subscribes(subscribe("presence-a", "")));
  EXPECT_EQ(asked.size(), 2U);
}

// -- events of clients ----------------------------------------------------------------------------------------------------

struct RelayCase {
  std::string_view data;  // what stands behind "data":, or nothing
  std::string_view relayed;
};

class Relays : public Rules, public testing::WithParamInterface<RelayCase> {};

// A string stays as it is, all else is the JSON that the client wrote.
TEST_P(Relays, DataIsText) {
  const auto& [data, relayed] = GetParam();
  std::string text = R"({"event":"client-a","channel":"private-a")";
  if (!data.empty()) text += joined({R"( , "data" : )", data, " "});
  EXPECT_EQ(say(text + "}"), Action(Relay{"private-a", "client-a", std::string(relayed)})) << text;
}

INSTANTIATE_TEST_SUITE_P(All, Relays,
                         testing::Values(RelayCase{"", "null"}, RelayCase{"null", "null"}, RelayCase{R"("")", ""},
                                         RelayCase{R"("text")", "text"}, RelayCase{R"("{\"a\":1}")", R"({"a":1})"},
                                         RelayCase{R"({"a":1})", R"({"a":1})"},
                                         RelayCase{R"({ "b" : [1.50, 1e2, "}" ] })", R"({ "b" : [1.50, 1e2, "}" ] })"},
                                         RelayCase{"[]", "[]"}, RelayCase{"1.0", "1.0"},
                                         RelayCase{"123456789012345678901234567890", "123456789012345678901234567890"},
                                         RelayCase{"true", "true"}, RelayCase{R"("\u00e9\n")", "é\n"},
                                         RelayCase{R"(1,"data":2)", "2"},
                                         RelayCase{R"({"data":1},"x":{"data":3})", R"({"data":1})"},
                                         RelayCase{R"({"a":1},"d\u0061ta":[2])", "[2]"}));

TEST_F(Rules, EveryChannelWithASignatureTakesEventsOfClients) {
  for (const std::string_view channel : {"private-a", "private-cache-a", "private-encrypted-a",
                                         "private-encrypted-cache-a", "presence-a", "presence-cache-a"}) {
    EXPECT_EQ(say(joined({R"({"event":"client-a","channel":")", channel, "\"}"})),
              Action(Relay{std::string(channel), "client-a", "null"}));
  }
}

TEST_F(Rules, TellWhatBecameOfARelay) {
  const auto complaint = [](std::string_view text) { return Action(Send{frames::error(std::nullopt, text)}); };
  EXPECT_EQ(session->relayed("private-a", RelayOutcome::relayed), Action(Nothing{}));
  EXPECT_EQ(session->relayed("private-a", RelayOutcome::dropped), Action(Nothing{}));
  EXPECT_EQ(session->relayed("private-a", RelayOutcome::not_subscribed),
            complaint("Cannot broadcast client event (connection not subscribed to channel private-a)"));
  EXPECT_EQ(session->relayed("private-a", RelayOutcome::refused),
            complaint("The application has refused a client event on channel private-a"));
  EXPECT_EQ(session->relayed("private-a", RelayOutcome::failed),
            complaint("The server has no room for a client event on channel private-a"));
}

TEST(SessionRates, CountWhatWouldBeRelayed) {
  for (const unsigned most : {0U, 1U, 3U}) {
    App app{{.id = "1", .key = "key", .secret = "secret", .client_events = true, .client_events_per_second = most}};
    Session session({1, 2});
    // Clocks may have come far, beyond 32 bits too.
    for (const Milliseconds begin : {Milliseconds{0}, Milliseconds{0xffff'fe00}, Milliseconds{1LL << 40}}) {
      Session fresh({1, 2});
      ASSERT_TRUE(std::holds_alternative<Send>(fresh.open(&app, {.query = "protocol=7"}, begin)));
      const auto relays = [&](Milliseconds at, std::string_view channel = "private-a") {
        const std::string text = joined({R"({"event":"client-a","channel":")", channel, "\"}"});
        return std::holds_alternative<Relay>(fresh.receive(text, begin + at));
      };
      for (const Milliseconds second : {0ms, 1000ms, 5500ms}) {
        for (int i = 0; i < 10; ++i) EXPECT_FALSE(relays(second, "open"));  // these do not count
        for (unsigned i = 0; i < most; ++i) EXPECT_TRUE(relays(second + Milliseconds{i}));
        EXPECT_FALSE(relays(second + 10ms));
        EXPECT_FALSE(relays(second + 999ms));
      }
    }
  }
}

// -- users ----------------------------------------------------------------------------------------------------------------

TEST_F(Rules, SignInAgainAsTheSameUserOnly) {
  EXPECT_EQ(session->user_id(), "");
  become("ada");
  EXPECT_EQ(session->user_id(), "ada");
  become("ada");
  EXPECT_EQ(sign_in(R"({"id":"bob"})"),
            Action(Send{frames::error(4009, "The connection is signed in as another user already")}));
  EXPECT_EQ(session->user_id(), "ada");
}

TEST_F(Rules, SignInFailsWhereTheDriverHasNoRoom) {
  const SignIn bob{"bob", R"({"id":"bob"})", "null"};
  EXPECT_EQ(session->signed_in(bob, false),
            Action(Send{frames::error(4009, "The server has no room for the user: please try again later")}));
  EXPECT_EQ(session->user_id(), "");
  EXPECT_TRUE(session->is_open());
}

TEST_F(Rules, SignInTakesTheOddFormOfASignature) {
  const std::string user = R"({"id":"ada"})";
  const std::string digits = hmac_sha256_hex("secret", "1234.1234::user::" + user);
  EXPECT_TRUE(std::holds_alternative<SignIn>(sign_in(user, "key:" + digits)));
  EXPECT_TRUE(std::holds_alternative<SignIn>(sign_in(user, "key::user::" + digits)));
  for (const std::string& bad : {"key::" + digits, "key:user::" + digits, "key::user:" + digits, "::user::" + digits,
                                 std::string("key::user::"), digits, "key:" + digits + "0", ":" + digits}) {
    EXPECT_TRUE(std::holds_alternative<Send>(sign_in(user, bad))) << bad;
  }
}

TEST_F(Rules, ASignatureOfAChannelSignsNobodyIn) {
  // A backend that signs whatever channel it is asked for would sign `:user:` too, were it a name.
  EXPECT_FALSE(subscribes(subscribe(":user:", auth(":user:"))));
  const std::string user = R"({"id":"ada"})";
  EXPECT_TRUE(std::holds_alternative<Send>(sign_in(user, auth("private-a:" + user))));
}

TEST_F(Rules, SignInGivesTheWatchlist) {
  const std::string user = R"({"id":"ada","watchlist":["b","c","b"]})";
  EXPECT_EQ(sign_in(user), Action(SignIn{"ada", user, "null", {"b", "c"}, false}));
  std::string many = R"({"id":"ada","watchlist":["0")";
  for (int i = 1; i < 150; ++i) many += ",\"" + std::to_string(i) + '"';
  const Action action = sign_in(many + "]}");
  ASSERT_TRUE(std::holds_alternative<SignIn>(action));
  EXPECT_EQ(std::get<SignIn>(action).watchlist.size(), 100U);
  EXPECT_EQ(std::get<SignIn>(action).watchlist.back(), "99");
  EXPECT_TRUE(std::get<SignIn>(action).watchlist_cut);
}

TEST(SessionAuthorized, KeepsTheTimeWhateverTheClockSays) {
  App app{{.id = "1", .key = "key", .secret = "secret", .authorized_timeout = 10s}};
  for (const Milliseconds begin : {Milliseconds{0}, Milliseconds{0xffff'fe00}, Milliseconds{1LL << 40}}) {
    Session session({1, 2});
    ASSERT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7"}, begin)));
    EXPECT_EQ(session.tick(begin - 5s), Action(Nothing{}));
    EXPECT_EQ(session.tick(begin + 9'999ms), Action(Nothing{}));
    constexpr std::string_view reason = "Connection not authorized within timeout.";
    EXPECT_EQ(session.tick(begin + 10s), Action(Close{4009, std::string(reason), frames::error(4009, reason)}));
  }
}

TEST(SessionIdle, IsWhoIsInNoChannelAndNotSignedIn) {
  App app{{.id = "1", .key = "key", .secret = "secret", .user_authentication = true, .idle_timeout = 10s}};
  constexpr std::string_view reason = "The connection has been in no channel for too long";
  const Action closed = Close{4202, std::string(reason), frames::error(4202, reason)};
  {
    Session session({1, 2});
    ASSERT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7"}, 0ms)));
    EXPECT_EQ(session.tick(9'999ms, false), Action(Nothing{}));
    EXPECT_EQ(session.tick(10s, true), Action(Nothing{}));
    EXPECT_EQ(session.tick(19'999ms, false), Action(Nothing{})) << "from when it was last seen in a channel";
    EXPECT_EQ(session.tick(20s, false), closed);
    EXPECT_FALSE(session.is_open());
  }
  {
    Session session({1, 2});
    ASSERT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7"}, 0ms)));
    ASSERT_TRUE(std::holds_alternative<Send>(
        session.signed_in({.user_id = "ada", .user_data = {}, .user_info = "null"}, true)));
    EXPECT_EQ(session.tick(100s, false), Action(Nothing{}));
  }
  App without{{.id = "1", .key = "key", .secret = "secret"}};
  Session session({1, 2});
  ASSERT_TRUE(std::holds_alternative<Send>(session.open(&without, {.query = "protocol=7"}, 0ms)));
  EXPECT_EQ(session.tick(100s, false), Action(Nothing{}));
}

TEST(SessionPace, IsSoManyMessagesInASecond) {
  App app{{.id = "1", .key = "key", .secret = "secret", .messages_per_second = 3}};
  for (const Milliseconds begin : {Milliseconds{0}, Milliseconds{0xffff'fe00}}) {
    Session session({1, 2});
    EXPECT_FALSE(session.paced(begin)) << "before it is open";
    ASSERT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7"}, begin)));
    for (int i = 0; i < 3; ++i) {
      EXPECT_FALSE(session.paced(begin + 500ms)) << i;
      EXPECT_EQ(session.receive(R"({"event":"pusher:ping"})", begin + 500ms), Action(Send{frames::pong()}));
    }
    EXPECT_TRUE(session.paced(begin + 500ms));
    EXPECT_TRUE(session.paced(begin + 1'499ms));
    for (int i = 0; i < 10; ++i) session.heard(begin + 1'499ms);
    EXPECT_FALSE(session.paced(begin + 1'500ms));
    EXPECT_EQ(session.receive("no JSON", begin + 1'500ms).index(), Action(Send{}).index()) << "of any kind";
    EXPECT_FALSE(session.paced(begin + 1'500ms));
  }
  App without{{.id = "1", .key = "key", .secret = "secret"}};
  Session session({1, 2});
  ASSERT_TRUE(std::holds_alternative<Send>(session.open(&without, {.query = "protocol=7"}, 0ms)));
  for (int i = 0; i < 1000; ++i) static_cast<void>(session.receive(R"({"event":"pusher:pong"})", 0ms));
  EXPECT_FALSE(session.paced(0ms));
}

TEST(SessionAuthorized, IsWhoWasLetInOnce) {
  App app{{.id = "1", .key = "key", .secret = "secret", .activity_timeout = 3600s, .authorized_timeout = 10s}};
  const auto stays = [&](std::string_view channel, SubscribeOutcome outcome) {
    Session session({1, 2});
    EXPECT_TRUE(std::holds_alternative<Send>(session.open(&app, {.query = "protocol=7"}, 0ms)));
    EXPECT_TRUE(std::holds_alternative<Send>(session.subscribed(channel, outcome)));
    return session.tick(10s) == Action(Nothing{});
  };
  for (const std::string_view channel : {"private-a", "private-encrypted-a", "private-cache-a", "presence-a"}) {
    EXPECT_TRUE(stays(channel, SubscribeOutcome::subscribed)) << channel;
    EXPECT_FALSE(stays(channel, SubscribeOutcome::over_limit)) << channel;
    EXPECT_FALSE(stays(channel, SubscribeOutcome::failed)) << channel;
    EXPECT_FALSE(stays(channel, SubscribeOutcome::too_many_members)) << channel;
  }
  for (const std::string_view channel : {"open", "cache-open"}) {
    EXPECT_FALSE(stays(channel, SubscribeOutcome::subscribed)) << channel;
  }
}

}  // namespace
