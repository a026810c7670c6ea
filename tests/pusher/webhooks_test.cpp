#include <fanfare/pusher/webhooks.hpp>

#include <fanfare/app.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/pusher/auth.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fanfare;
using namespace std::chrono_literals;
using pusher::is_public;
using pusher::Milliseconds;
using pusher::WebhookAdd;
using pusher::WebhookDelivery;
using pusher::WebhookErrc;
using pusher::WebhookOptions;
using pusher::WebhookOutcome;
using pusher::Webhooks;
using pusher::WebhookUrl;
using Kind = AppEvent::Kind;

constexpr Milliseconds wall{1327078148132};
constexpr std::string_view beginning = R"({"time_ms":1327078148132,"events":[)";

AppEvent occupied(std::string channel) { return {.kind = Kind::channel_occupied, .channel = std::move(channel)}; }
AppEvent vacated(std::string channel) { return {.kind = Kind::channel_vacated, .channel = std::move(channel)}; }
AppEvent missed(std::string channel) { return {.kind = Kind::cache_miss, .channel = std::move(channel)}; }
AppEvent count(std::string channel, std::size_t count) {
  return {.kind = Kind::subscription_count, .channel = std::move(channel), .count = count};
}
AppEvent member(Kind kind, std::string channel, std::string user) {
  return {.kind = kind, .channel = std::move(channel), .user_id = std::move(user)};
}

/// Options with one target and without the delay for batches.
WebhookOptions one_target() {
  WebhookOptions options;
  options.targets = {{.url = "https://example.com/hook"}};
  options.batch_delay = 0ms;
  return options;
}
WebhookOptions one_event_each() {
  WebhookOptions options = one_target();
  options.batch = false;
  return options;
}

/// A machine and its clock.
struct Outbox {
  explicit Outbox(WebhookOptions options) : webhooks("key", "secret", std::move(options)) {}

  WebhookAdd add(const AppEvent& event) { return webhooks.add(event, now); }
  /// Everything that is to be sent now.
  std::vector<WebhookDelivery> all() {
    std::vector<WebhookDelivery> deliveries;
    while (auto delivery = webhooks.next(now, wall)) deliveries.push_back(std::move(*delivery));
    return deliveries;
  }
  /// The events of everything that is to be sent now, one text for each request. All of it goes well.
  std::vector<std::string> sent() {
    std::vector<std::string> texts;
    while (auto delivery = webhooks.next(now, wall)) {
      texts.push_back(events(*delivery));
      webhooks.done(delivery->id, WebhookOutcome::delivered, now);
    }
    return texts;
  }
  static std::string events(const WebhookDelivery& delivery) {
    const std::string& body = delivery.body;
    EXPECT_TRUE(body.starts_with(beginning) && body.ends_with("]}")) << body;
    return body.substr(beginning.size(), body.size() - beginning.size() - 2);
  }
  bool done(const WebhookDelivery& delivery, WebhookOutcome outcome) {
    return webhooks.done(delivery.id, outcome, now);
  }

  Webhooks webhooks;
  Milliseconds now{5000};
};

using Texts = std::vector<std::string>;

// ---- what is sent

struct Example {
  const char* name;
  AppEvent event;
  const char* json;
};
void PrintTo(const Example& example, std::ostream* out) { *out << example.name; }

class WebhookEvent : public testing::TestWithParam<Example> {};

TEST_P(WebhookEvent, is_written_as_pusher_does) {
  WebhookOptions options = one_target();
  options.debounce = 0ms;
  Outbox outbox(options);
  EXPECT_EQ(outbox.add(GetParam().event), WebhookAdd::taken);
  EXPECT_EQ(outbox.sent(), Texts{GetParam().json});
}

INSTANTIATE_TEST_SUITE_P(
    All, WebhookEvent,
    testing::Values(
        Example{"occupied", occupied("a"), R"({"name":"channel_occupied","channel":"a"})"},
        Example{"vacated", vacated("a"), R"({"name":"channel_vacated","channel":"a"})"},
        Example{"added", member(Kind::member_added, "presence-a", "42"),
                R"({"name":"member_added","channel":"presence-a","user_id":"42"})"},
        Example{"removed", member(Kind::member_removed, "presence-a", "4\"2"),
                R"({"name":"member_removed","channel":"presence-a","user_id":"4\"2"})"},
        Example{"client_event",
                {.kind = Kind::client_event,
                 .channel = "private-a",
                 .event = "client-x",
                 .data = "{\"a\":\"b\\c\"}\n\x01\xc3\xa9",
                 .socket_id = "1.2"},
                "{\"name\":\"client_event\",\"channel\":\"private-a\",\"event\":\"client-x\","
                "\"data\":\"{\\\"a\\\":\\\"b\\\\c\\\"}\\n\\u0001\xc3\xa9\",\"socket_id\":\"1.2\"}"},
        Example{"client_event_of_member",
                {.kind = Kind::client_event,
                 .channel = "presence-a",
                 .user_id = "7",
                 .event = "client-x",
                 .data = "",
                 .socket_id = "1.2"},
                R"({"name":"client_event","channel":"presence-a","event":"client-x","data":"","socket_id":"1.2",)"
                R"("user_id":"7"})"},
        Example{"cache_miss", missed("cache-a"), R"({"name":"cache_miss","channel":"cache-a"})"},
        Example{"count", count("a", 3), R"({"name":"subscription_count","channel":"a","subscription_count":3})"},
        Example{"held",
                {.kind = Kind::event_held, .channel = "a", .event = "\"e\"", .outcome = HoldOutcome::expired},
                R"({"name":"event_held","channel":"a","event":"\"e\"","outcome":"expired"})"}),
    [](const auto& test) { return test.param.name; });

TEST(Webhooks, sign_every_byte_of_the_body) {
  Outbox outbox(one_target());
  outbox.add(occupied("a"));
  const auto deliveries = outbox.all();
  ASSERT_EQ(deliveries.size(), 1U);
  const WebhookDelivery& delivery = deliveries.front();
  EXPECT_EQ(delivery.body, R"({"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"a"}]})");
  const std::vector<http::Field> expected{{"X-Pusher-Key", "key"},
                                          {"X-Pusher-Signature", pusher::hmac_sha256_hex("secret", delivery.body)},
                                          {"Content-Type", "application/json"}};
  EXPECT_EQ(delivery.headers, expected);
  EXPECT_EQ(delivery.attempt, 1U);
  EXPECT_EQ(delivery.target, 0U);
}

TEST(Webhooks, a_batch_has_the_events_in_their_order) {
  Outbox outbox(one_target());
  outbox.add(missed("a"));
  outbox.add(missed("b"));
  outbox.add(count("a", 2));
  outbox.add(count("b", 3));
  EXPECT_EQ(outbox.sent(), Texts{R"({"name":"cache_miss","channel":"a"},{"name":"cache_miss","channel":"b"},)"
                                 R"({"name":"subscription_count","channel":"a","subscription_count":2},)"
                                 R"({"name":"subscription_count","channel":"b","subscription_count":3})"});
  EXPECT_EQ(outbox.webhooks.counters(), (pusher::WebhookCounters{.delivered = 4}));
  EXPECT_EQ(outbox.webhooks.size(), 0U);
}

TEST(Webhooks, without_batches_a_request_has_one_event) {
  Outbox outbox(one_event_each());
  outbox.add(missed("a"));
  outbox.add(count("a", 2));
  EXPECT_EQ(outbox.sent(), (Texts{R"({"name":"cache_miss","channel":"a"})",
                                  R"({"name":"subscription_count","channel":"a","subscription_count":2})"}));
}

TEST(Webhooks, an_event_waits_for_others_to_share_its_request) {
  WebhookOptions options = one_target();
  options.batch_delay = 50ms;
  Outbox outbox(options);
  outbox.add(missed("a"));
  EXPECT_EQ(outbox.webhooks.next_time(), 5050ms);
  outbox.now += 49ms;
  outbox.add(missed("b"));
  EXPECT_TRUE(outbox.sent().empty());
  outbox.now += 1ms;
  EXPECT_EQ(outbox.sent().size(), 1U);
  EXPECT_EQ(outbox.webhooks.next_time(), Milliseconds::max());
}

TEST(Webhooks, a_body_is_bounded_but_a_large_event_goes_alone) {
  WebhookOptions options = one_target();
  options.max_body_bytes = 200;
  options.max_in_flight = 64;
  Outbox outbox(options);
  for (int i = 0; i < 6; ++i) outbox.add(missed("channel-" + std::to_string(i)));
  outbox.add(missed(std::string(400, 'x')));
  const auto deliveries = outbox.all();
  ASSERT_EQ(deliveries.size(), 3U);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_LE(deliveries[i].body.size(), 200U);
  EXPECT_GT(deliveries[2].body.size(), 400U);
}

TEST(Webhooks, a_target_gets_the_kinds_it_wants) {
  WebhookOptions options = one_target();
  options.targets = {{.url = "http://a", .events = {Kind::cache_miss}},
                     {.url = "http://b", .events = {Kind::cache_miss, Kind::subscription_count}}};
  Outbox outbox(options);
  EXPECT_EQ(outbox.add(occupied("a")), WebhookAdd::unwanted);
  EXPECT_EQ(outbox.add(vacated("a")), WebhookAdd::unwanted);
  EXPECT_EQ(outbox.add(missed("a")), WebhookAdd::taken);
  EXPECT_EQ(outbox.add(count("a", 1)), WebhookAdd::taken);
  const auto deliveries = outbox.all();
  ASSERT_EQ(deliveries.size(), 2U);
  EXPECT_EQ(deliveries[0].target, 0U);
  EXPECT_EQ(Outbox::events(deliveries[0]), R"({"name":"cache_miss","channel":"a"})");
  EXPECT_EQ(deliveries[1].target, 1U);
  EXPECT_EQ(Outbox::events(deliveries[1]), R"({"name":"cache_miss","channel":"a"},)"
                                           R"({"name":"subscription_count","channel":"a","subscription_count":1})");
}

TEST(Webhooks, the_protocols_own_channels_stand_in_none) {
  Outbox outbox(one_target());
  EXPECT_EQ(outbox.add(occupied("#server-to-user-1")), WebhookAdd::unwanted);
  EXPECT_EQ(outbox.webhooks.size(), 0U);
}

TEST(Webhooks, what_is_not_utf8_is_dropped_and_counted) {
  Outbox outbox(one_target());
  EXPECT_EQ(outbox.add(missed("\xff")), WebhookAdd::not_utf8);
  EXPECT_EQ(outbox.add(member(Kind::member_removed, "presence-a", "\xc3")), WebhookAdd::not_utf8);
  EXPECT_TRUE(outbox.sent().empty());
  EXPECT_EQ(outbox.webhooks.counters().dropped, 2U);
}

// ---- waiting for being undone

TEST(WebhookDebounce, leaving_is_told_after_three_seconds) {
  Outbox outbox(one_target());
  outbox.add(member(Kind::member_removed, "presence-a", "1"));
  outbox.add(vacated("presence-a"));
  EXPECT_EQ(outbox.webhooks.next_time(), 8000ms);
  outbox.now += 2999ms;
  EXPECT_TRUE(outbox.sent().empty());
  outbox.now += 1ms;
  EXPECT_EQ(outbox.sent(), Texts{R"({"name":"member_removed","channel":"presence-a","user_id":"1"},)"
                                 R"({"name":"channel_vacated","channel":"presence-a"})"});
}

TEST(WebhookDebounce, who_comes_back_in_time_has_not_been_away) {
  Outbox outbox(one_target());
  outbox.add(member(Kind::member_removed, "presence-a", "1"));
  outbox.add(vacated("presence-a"));
  outbox.now += 2999ms;
  EXPECT_EQ(outbox.add(occupied("presence-a")), WebhookAdd::undone);
  EXPECT_EQ(outbox.add(member(Kind::member_added, "presence-a", "1")), WebhookAdd::undone);
  outbox.now += 10s;
  EXPECT_TRUE(outbox.sent().empty());
  EXPECT_EQ(outbox.webhooks.size(), 0U);
  EXPECT_EQ(outbox.webhooks.next_time(), Milliseconds::max());
}

TEST(WebhookDebounce, who_comes_back_later_has_been_away) {
  Outbox outbox(one_target());
  outbox.add(vacated("a"));
  outbox.now += 3000ms;
  EXPECT_EQ(outbox.add(occupied("a")), WebhookAdd::taken);
  EXPECT_EQ(outbox.sent(),
            Texts{R"({"name":"channel_vacated","channel":"a"},{"name":"channel_occupied","channel":"a"})"});
}

TEST(WebhookDebounce, every_leaving_has_its_own_time) {
  Outbox outbox(one_target());
  outbox.add(vacated("a"));
  outbox.now += 2s;
  outbox.add(occupied("a"));
  outbox.add(vacated("a"));
  outbox.now += 2s;
  EXPECT_TRUE(outbox.sent().empty());
  outbox.now += 1s;
  EXPECT_EQ(outbox.sent(), Texts{R"({"name":"channel_vacated","channel":"a"})"});
}

TEST(WebhookDebounce, is_of_one_member_of_one_channel) {
  Outbox outbox(one_target());
  outbox.add(member(Kind::member_removed, "presence-a", "1"));
  EXPECT_EQ(outbox.add(member(Kind::member_added, "presence-a", "2")), WebhookAdd::taken);
  EXPECT_EQ(outbox.add(member(Kind::member_added, "presence-b", "1")), WebhookAdd::taken);
  EXPECT_EQ(outbox.add(occupied("presence-a")), WebhookAdd::taken);
  outbox.now += 3s;
  EXPECT_EQ(outbox.webhooks.size(), 4U);
}

TEST(WebhookDebounce, other_kinds_go_at_once) {
  Outbox outbox(one_target());
  outbox.add(vacated("cache-a"));
  outbox.add(missed("cache-a"));
  outbox.add(count("cache-a", 0));
  EXPECT_EQ(outbox.sent(), Texts{R"({"name":"cache_miss","channel":"cache-a"},)"
                                 R"({"name":"subscription_count","channel":"cache-a","subscription_count":0})"});
}

class WebhookDebounceOfOneKind : public testing::TestWithParam<Kind> {};

TEST_P(WebhookDebounceOfOneKind, looks_at_its_counterpart_too) {
  WebhookOptions options = one_target();
  options.targets.front().events = {GetParam()};
  Outbox outbox(options);
  outbox.add(vacated("a"));
  EXPECT_EQ(outbox.add(occupied("a")), WebhookAdd::undone);
  outbox.add(vacated("b"));
  outbox.now += 3s;
  outbox.add(occupied("b"));
  const char* const name = GetParam() == Kind::channel_vacated ? "channel_vacated" : "channel_occupied";
  EXPECT_EQ(outbox.sent(), Texts{std::string(R"({"name":")") + name + R"(","channel":"b"})"});
}

INSTANTIATE_TEST_SUITE_P(Both, WebhookDebounceOfOneKind,
                         testing::Values(Kind::channel_occupied, Kind::channel_vacated));

// ---- retries

TEST(WebhookRetry, comes_later_each_time_for_five_minutes_and_is_the_same_byte_for_byte) {
  Outbox outbox(one_target());
  outbox.add(missed("a"));
  const Milliseconds start = outbox.now;
  auto delivery = outbox.webhooks.next(outbox.now, wall);
  ASSERT_TRUE(delivery);
  const std::string body = delivery->body;
  unsigned attempt = 1;
  for (const Milliseconds at : {1s, 3s, 7s, 15s, 31s, 63s, 127s, 255s, 300s}) {
    EXPECT_FALSE(outbox.done(*delivery, WebhookOutcome::refused));
    EXPECT_EQ(outbox.webhooks.next_time(), start + at);
    outbox.now = start + at - 1ms;
    EXPECT_TRUE(outbox.all().empty());
    outbox.now = start + at;
    delivery = outbox.webhooks.next(outbox.now, wall + at);
    ASSERT_TRUE(delivery);
    EXPECT_EQ(delivery->attempt, ++attempt);
    EXPECT_EQ(delivery->body, body);
  }
  EXPECT_TRUE(outbox.done(*delivery, WebhookOutcome::unreachable));
  EXPECT_EQ(outbox.webhooks.counters(), (pusher::WebhookCounters{.dropped = 1, .failed = 10}));
  EXPECT_EQ(outbox.webhooks.size(), 0U);
  EXPECT_EQ(outbox.webhooks.next_time(), Milliseconds::max());
}

TEST(WebhookRetry, holds_up_later_events_of_its_channel_and_no_others) {
  Outbox outbox(one_event_each());
  outbox.add(count("a", 1));
  const auto first = outbox.all();
  ASSERT_EQ(first.size(), 1U);
  outbox.add(count("a", 2));
  outbox.add(count("a", 3));
  outbox.add(count("b", 1));
  EXPECT_EQ(outbox.sent(), Texts{R"({"name":"subscription_count","channel":"b","subscription_count":1})"})
      << "while the request is under way";
  outbox.done(first.front(), WebhookOutcome::unreachable);
  outbox.add(count("b", 2));
  EXPECT_EQ(outbox.sent(), Texts{R"({"name":"subscription_count","channel":"b","subscription_count":2})"})
      << "while it waits for its retry";
  outbox.now += 1s;
  EXPECT_EQ(outbox.sent(), (Texts{R"({"name":"subscription_count","channel":"a","subscription_count":1})",
                                  R"({"name":"subscription_count","channel":"a","subscription_count":2})",
                                  R"({"name":"subscription_count","channel":"a","subscription_count":3})"}));
}

TEST(WebhookRetry, holds_up_the_rest_of_a_line_that_did_not_fit) {
  WebhookOptions options = one_target();
  options.max_body_bytes = 160;
  Outbox outbox(options);
  for (std::size_t i = 1; i <= 3; ++i) outbox.add(count("a", i));
  const auto first = outbox.all();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(Outbox::events(first.front()), R"({"name":"subscription_count","channel":"a","subscription_count":1})");
  outbox.done(first.front(), WebhookOutcome::delivered);
  EXPECT_EQ(outbox.sent().size(), 2U);
}

TEST(WebhookRetry, after_dropping_the_channel_goes_on) {
  WebhookOptions options = one_event_each();
  options.retry_for = 0ms;
  Outbox outbox(options);
  outbox.add(count("a", 1));
  outbox.add(count("a", 2));
  EXPECT_TRUE(outbox.done(outbox.all().at(0), WebhookOutcome::refused));
  EXPECT_EQ(outbox.sent(), Texts{R"({"name":"subscription_count","channel":"a","subscription_count":2})"});
  EXPECT_EQ(outbox.webhooks.counters(), (pusher::WebhookCounters{.delivered = 1, .dropped = 1, .failed = 1}));
}

TEST(WebhookRetry, a_refused_batch_is_halved_until_the_bad_channel_is_alone) {
  Outbox outbox(one_target());
  for (const char* channel : {"a", "b", "bad", "c", "a", "bad"}) outbox.add(missed(channel));
  std::vector<std::string> good;
  unsigned refused = 0;
  for (int i = 0; i < 3; ++i) {
    for (const WebhookDelivery& delivery : outbox.all()) {
      const bool bad = Outbox::events(delivery).find("bad") != std::string::npos;
      if (bad) ++refused;
      if (!bad) good.push_back(Outbox::events(delivery));
      outbox.done(delivery, bad ? WebhookOutcome::refused : WebhookOutcome::delivered);
    }
    if (i < 2) outbox.now = outbox.webhooks.next_time();
  }
  EXPECT_EQ(refused, 3U);
  EXPECT_EQ(outbox.webhooks.size(), 2U) << "both events of the bad channel";
  EXPECT_EQ(outbox.webhooks.counters().delivered, 4U);
  outbox.now = outbox.webhooks.next_time();
  EXPECT_EQ(outbox.sent(), Texts{R"({"name":"cache_miss","channel":"bad"},{"name":"cache_miss","channel":"bad"})"});
}

TEST(WebhookRetry, a_batch_without_an_answer_stays_whole) {
  Outbox outbox(one_target());
  outbox.add(missed("a"));
  outbox.add(missed("b"));
  const auto first = outbox.all();
  ASSERT_EQ(first.size(), 1U);
  outbox.done(first.front(), WebhookOutcome::unreachable);
  outbox.now += 1s;
  const auto second = outbox.all();
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second.front().body, first.front().body);
}

TEST(WebhookRetry, targets_do_not_know_of_each_other) {
  WebhookOptions options = one_target();
  options.targets.push_back({.url = "http://b"});
  Outbox outbox(options);
  outbox.add(missed("a"));
  const auto deliveries = outbox.all();
  ASSERT_EQ(deliveries.size(), 2U);
  outbox.done(deliveries[0], WebhookOutcome::unreachable);
  outbox.done(deliveries[1], WebhookOutcome::delivered);
  outbox.add(count("a", 1));
  const auto more = outbox.all();
  ASSERT_EQ(more.size(), 1U);
  EXPECT_EQ(more.front().target, 1U);
}

TEST(WebhookRetry, an_id_that_is_not_under_way_changes_nothing) {
  Outbox outbox(one_target());
  outbox.add(missed("a"));
  const auto deliveries = outbox.all();
  EXPECT_FALSE(outbox.webhooks.done(deliveries.at(0).id + 1, WebhookOutcome::delivered, outbox.now));
  outbox.done(deliveries.at(0), WebhookOutcome::delivered);
  outbox.done(deliveries.at(0), WebhookOutcome::delivered);
  EXPECT_EQ(outbox.webhooks.counters(), (pusher::WebhookCounters{.delivered = 1}));
}

// ---- bounds

TEST(WebhookBounds, requests_under_way) {
  WebhookOptions options = one_event_each();
  options.max_in_flight = 2;
  Outbox outbox(options);
  for (const char* channel : {"a", "b", "c"}) outbox.add(missed(channel));
  const auto deliveries = outbox.all();
  ASSERT_EQ(deliveries.size(), 2U);
  EXPECT_EQ(outbox.webhooks.next_time(), Milliseconds::max());
  outbox.done(deliveries[1], WebhookOutcome::delivered);
  EXPECT_LE(outbox.webhooks.next_time(), outbox.now);
  EXPECT_EQ(outbox.all().size(), 1U);
}

TEST(WebhookBounds, events_of_a_target) {
  WebhookOptions options = one_target();
  options.max_queue_events = 2;
  Outbox outbox(options);
  EXPECT_EQ(outbox.add(missed("a")), WebhookAdd::taken);
  EXPECT_EQ(outbox.add(missed("b")), WebhookAdd::taken);
  EXPECT_EQ(outbox.add(missed("c")), WebhookAdd::full);
  const auto deliveries = outbox.all();
  EXPECT_EQ(outbox.add(missed("d")), WebhookAdd::full) << "one under way needs its room too";
  outbox.done(deliveries.at(0), WebhookOutcome::delivered);
  EXPECT_EQ(outbox.add(missed("e")), WebhookAdd::taken);
  EXPECT_EQ(outbox.webhooks.counters().dropped, 2U);
}

TEST(WebhookBounds, events_that_may_be_undone) {
  WebhookOptions options = one_target();
  options.max_queue_events = 2;
  Outbox outbox(options);
  EXPECT_EQ(outbox.add(vacated("a")), WebhookAdd::taken);
  EXPECT_EQ(outbox.add(vacated("b")), WebhookAdd::taken);
  EXPECT_EQ(outbox.add(vacated("c")), WebhookAdd::full);
  EXPECT_EQ(outbox.webhooks.counters().dropped, 1U);
}

TEST(WebhookBounds, bytes) {
  WebhookOptions options = one_target();
  options.max_queue_bytes = 4000;
  Outbox outbox(options);
  EXPECT_EQ(outbox.add(missed(std::string(1000, 'a'))), WebhookAdd::taken);
  EXPECT_EQ(outbox.add(missed(std::string(2000, 'b'))), WebhookAdd::full);
  EXPECT_EQ(outbox.add(vacated(std::string(2000, 'b'))), WebhookAdd::full);
  EXPECT_EQ(outbox.sent().size(), 1U);
  EXPECT_EQ(outbox.add(missed(std::string(1000, 'b'))), WebhookAdd::taken) << "what was sent gives its room back";
}

TEST(Webhooks, keep_the_order_of_each_channel_whatever_fails) {
  WebhookOptions options = one_target();
  options.max_body_bytes = 300;
  options.retry_for = std::chrono::hours(24);
  Outbox outbox(options);
  std::mt19937 random(1);
  const auto roll = [&](unsigned sides) { return static_cast<unsigned>(random() % sides); };
  std::array<std::size_t, 5> added{};
  std::array<std::size_t, 5> arrived{};
  std::vector<WebhookDelivery> flying;
  for (int step = 0; step < 15000 || outbox.webhooks.size() != 0; ++step) {
    ASSERT_LT(step, 60000);
    const bool calm = step >= 15000;
    outbox.now += calm ? 100s : Milliseconds(roll(200));
    if (!calm && roll(2) == 0) {
      const unsigned channel = roll(5);
      const std::string name(1, static_cast<char>('a' + channel));
      ASSERT_EQ(outbox.add(count(name, added[channel]++)), WebhookAdd::taken);
    }
    for (WebhookDelivery& delivery : outbox.all()) flying.push_back(std::move(delivery));
    if (flying.empty() || roll(3) == 0) continue;
    const std::size_t chosen = roll(static_cast<unsigned>(flying.size()));
    const WebhookDelivery delivery = std::move(flying[chosen]);
    flying.erase(flying.begin() + static_cast<std::ptrdiff_t>(chosen));
    if (!calm && roll(4) == 0) {
      outbox.done(delivery, roll(2) == 0 ? WebhookOutcome::refused : WebhookOutcome::unreachable);
      continue;
    }
    outbox.done(delivery, WebhookOutcome::delivered);
    constexpr std::string_view mark = R"("channel":")";
    for (std::size_t at = 0; (at = delivery.body.find(mark, at)) != std::string::npos;) {
      at += mark.size();
      const auto channel = static_cast<std::size_t>(delivery.body[at] - 'a');
      const std::size_t number = delivery.body.find_first_of("0123456789", at);
      ASSERT_EQ(std::stoul(delivery.body.substr(number)), arrived.at(channel)++);
    }
  }
  EXPECT_EQ(arrived, added);
  EXPECT_EQ(outbox.webhooks.counters().dropped, 0U);
  EXPECT_GT(outbox.webhooks.counters().failed, 100U);
}

// ---- options

struct UrlExample {
  const char* text;
  WebhookUrl url;
};

class WebhookUrls : public testing::TestWithParam<UrlExample> {};

TEST_P(WebhookUrls, are_read) { EXPECT_EQ(WebhookUrl::parse(GetParam().text), GetParam().url) << GetParam().text; }

INSTANTIATE_TEST_SUITE_P(
    All, WebhookUrls,
    testing::Values(
        UrlExample{"http://example.com", WebhookUrl{false, "example.com", 80, "example.com", "/"}},
        UrlExample{"HTTPS://Example.COM/A?b=%20", WebhookUrl{true, "example.com", 443, "example.com", "/A?b=%20"}},
        UrlExample{"https://example.com:8443/", WebhookUrl{true, "example.com", 8443, "example.com:8443", "/"}},
        UrlExample{"https://example.com:443/", WebhookUrl{true, "example.com", 443, "example.com", "/"}},
        UrlExample{"http://example.com:443?a=/", WebhookUrl{false, "example.com", 443, "example.com:443", "/?a=/"}},
        UrlExample{"http://10.0.0.1:65535/x", WebhookUrl{false, "10.0.0.1", 65535, "10.0.0.1:65535", "/x"}},
        UrlExample{"http://[::1]/x", WebhookUrl{false, "::1", 80, "[::1]", "/x"}},
        UrlExample{"http://[2001:DB8::1]:81", WebhookUrl{false, "2001:db8::1", 81, "[2001:db8::1]:81", "/"}}));

class BadWebhookUrls : public testing::TestWithParam<const char*> {};

TEST_P(BadWebhookUrls, are_refused) { EXPECT_FALSE(WebhookUrl::parse(GetParam())); }

INSTANTIATE_TEST_SUITE_P(All, BadWebhookUrls,
                         testing::Values("", "example.com", "ftp://example.com", "//example.com", "http:/example.com",
                                         "http://", "http:///x", "http://?x", "http://:80/", "http://a b/",
                                         "http://a/\r\nX: y", "http://a/\x7f", "http://\xc3\xa9.com/", "http://user@a/",
                                         "http://user:pass@a/", "http://a/#b", "http://a:0/", "http://a:/",
                                         "http://a:65536/", "http://a:8x/", "http://a:-1/", "http://.a/", "http://a./",
                                         "http://a..b/", "http://[::1", "http://[]/", "http://[", "http://[::1]x/",
                                         "http://[::1%25eth0]/", "http://[1]/", "http://::1/", "http://a\\b/",
                                         "http://a,b/"));

TEST(WebhookUrl, is_bounded) {
  const std::string longest = "http://a/" + std::string(2048 - 9, 'x');
  EXPECT_TRUE(WebhookUrl::parse(longest));
  EXPECT_FALSE(WebhookUrl::parse(longest + 'x'));
  EXPECT_FALSE(WebhookUrl::parse("http://" + std::string(254, 'x')));
}

struct Change {
  const char* name;
  void (*apply)(WebhookOptions&);
  WebhookErrc error;
};
void PrintTo(const Change& change, std::ostream* out) { *out << change.name; }

class WebhookCheck : public testing::TestWithParam<Change> {};

TEST_P(WebhookCheck, says_what_is_wrong) {
  WebhookOptions options = one_target();
  GetParam().apply(options);
  EXPECT_EQ(Webhooks::check(options), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    All, WebhookCheck,
    testing::Values(
        Change{"defaults", [](WebhookOptions&) {}, WebhookErrc::ok},
        Change{"no_target", [](WebhookOptions& o) { o.targets.clear(); }, WebhookErrc::no_target},
        Change{"most_targets", [](WebhookOptions& o) { o.targets.resize(16, o.targets.front()); }, WebhookErrc::ok},
        Change{"many_targets", [](WebhookOptions& o) { o.targets.resize(17, o.targets.front()); },
               WebhookErrc::too_many_targets},
        Change{"url", [](WebhookOptions& o) { o.targets.push_back({.url = "x"}); }, WebhookErrc::bad_url},
        Change{"debounce", [](WebhookOptions& o) { o.debounce = -1ms; }, WebhookErrc::bad_option},
        Change{"delay", [](WebhookOptions& o) { o.batch_delay = 25h; }, WebhookErrc::bad_option},
        Change{"retry_first", [](WebhookOptions& o) { o.retry_first = 0ms; }, WebhookErrc::bad_option},
        Change{"retry_for", [](WebhookOptions& o) { o.retry_for = Milliseconds::max(); }, WebhookErrc::bad_option},
        Change{"no_flight", [](WebhookOptions& o) { o.max_in_flight = 0; }, WebhookErrc::bad_option},
        Change{"many_flights", [](WebhookOptions& o) { o.max_in_flight = 65; }, WebhookErrc::bad_option},
        Change{"no_events", [](WebhookOptions& o) { o.max_queue_events = 0; }, WebhookErrc::bad_option},
        Change{"no_bytes", [](WebhookOptions& o) { o.max_queue_bytes = 0; }, WebhookErrc::bad_option}),
    [](const auto& test) { return test.param.name; });

TEST(WebhookKey, is_checked) {
  EXPECT_EQ(Webhooks::check("key", "secret"), WebhookErrc::ok);
  EXPECT_EQ(Webhooks::check("", "secret"), WebhookErrc::bad_key);
  EXPECT_EQ(Webhooks::check("key", ""), WebhookErrc::bad_key);
  EXPECT_EQ(Webhooks::check("k\r\ny", "secret"), WebhookErrc::bad_key);
}

TEST(WebhookErrc, has_names) {
  for (const auto error : {WebhookErrc::ok, WebhookErrc::no_target, WebhookErrc::too_many_targets, WebhookErrc::bad_url,
                           WebhookErrc::bad_option, WebhookErrc::bad_key, WebhookErrc::tls}) {
    EXPECT_NE(to_string(error), "unknown");
    EXPECT_NE(message(error), "unknown error");
  }
}

// ---- addresses

using V4 = std::array<unsigned char, 4>;

TEST(WebhookAddress, those_of_ipv4_that_are_public) {
  for (const V4 address : {V4{1, 1, 1, 1}, V4{9, 255, 255, 255}, V4{11, 0, 0, 0}, V4{100, 63, 255, 255},
                           V4{100, 128, 0, 0}, V4{126, 255, 255, 255}, V4{128, 0, 0, 0}, V4{169, 253, 0, 1},
                           V4{172, 15, 0, 1}, V4{172, 32, 0, 1}, V4{192, 0, 1, 1}, V4{192, 167, 0, 1},
                           V4{198, 17, 0, 1}, V4{198, 20, 0, 1}, V4{203, 0, 112, 1}, V4{223, 255, 255, 255}}) {
    EXPECT_TRUE(is_public(address)) << testing::PrintToString(address);
  }
}

TEST(WebhookAddress, those_of_ipv4_that_are_not) {
  for (const V4 address :
       {V4{0, 0, 0, 0},         V4{0, 1, 2, 3},         V4{10, 0, 0, 1},       V4{10, 255, 255, 255},
        V4{100, 64, 0, 1},      V4{100, 127, 255, 255}, V4{127, 0, 0, 1},      V4{127, 255, 255, 255},
        V4{169, 254, 169, 254}, V4{172, 16, 0, 1},      V4{172, 31, 255, 255}, V4{192, 0, 0, 1},
        V4{192, 0, 2, 1},       V4{192, 88, 99, 1},     V4{192, 168, 0, 1},    V4{198, 18, 0, 1},
        V4{198, 19, 255, 255},  V4{198, 51, 100, 1},    V4{203, 0, 113, 1},    V4{224, 0, 0, 1},
        V4{239, 255, 255, 255}, V4{240, 0, 0, 1},       V4{255, 255, 255, 255}}) {
    EXPECT_FALSE(is_public(address)) << testing::PrintToString(address);
  }
}

/// An address out of its first four groups and its last two.
std::array<unsigned char, 16> v6(std::array<unsigned, 4> first, unsigned seventh, unsigned eighth, unsigned sixth = 0) {
  std::array<unsigned char, 16> address{};
  const auto put = [&](std::size_t group, unsigned value) {
    address[2 * group] = static_cast<unsigned char>(value >> 8U);
    address[2 * group + 1] = static_cast<unsigned char>(value & 0xffU);
  };
  for (std::size_t i = 0; i < 4; ++i) put(i, first[i]);
  put(5, sixth);
  put(6, seventh);
  put(7, eighth);
  return address;
}

TEST(WebhookAddress, those_of_ipv6_that_are_public) {
  EXPECT_TRUE(is_public(v6({0x2606, 0x4700, 0x4700, 0}, 0, 0x1111)));
  EXPECT_TRUE(is_public(v6({0x2001, 0x200, 0, 0}, 0, 1)));
  EXPECT_TRUE(is_public(v6({0x2a00, 0, 0, 0}, 0, 1)));
  EXPECT_TRUE(is_public(v6({0, 0, 0, 0}, 0x0101, 0x0101, 0xffff))) << "::ffff:1.1.1.1";
  EXPECT_TRUE(is_public(v6({0x64, 0xff9b, 0, 0}, 0x0101, 0x0101))) << "64:ff9b::1.1.1.1";
}

TEST(WebhookAddress, those_of_ipv6_that_are_not) {
  EXPECT_FALSE(is_public(v6({0, 0, 0, 0}, 0, 0))) << "::";
  EXPECT_FALSE(is_public(v6({0, 0, 0, 0}, 0, 1))) << "::1";
  EXPECT_FALSE(is_public(v6({0, 0, 0, 0}, 0x0101, 0x0101))) << "::1.1.1.1, which nobody has any more";
  EXPECT_FALSE(is_public(v6({0, 0, 0, 0}, 0x7f00, 1, 0xffff))) << "::ffff:127.0.0.1";
  EXPECT_FALSE(is_public(v6({0, 0, 0, 0}, 0x0a00, 1, 0xffff))) << "::ffff:10.0.0.1";
  EXPECT_FALSE(is_public(v6({0x64, 0xff9b, 0, 0}, 0xa9fe, 0xa9fe))) << "64:ff9b::169.254.169.254";
  EXPECT_FALSE(is_public(v6({0x64, 0xff9b, 1, 0}, 0x0101, 0x0101))) << "64:ff9b:1::";
  EXPECT_FALSE(is_public(v6({0xfc00, 0, 0, 0}, 0, 1)));
  EXPECT_FALSE(is_public(v6({0xfdff, 0, 0, 0}, 0, 1)));
  EXPECT_FALSE(is_public(v6({0xfe80, 0, 0, 0}, 0, 1)));
  EXPECT_FALSE(is_public(v6({0xfec0, 0, 0, 0}, 0, 1)));
  EXPECT_FALSE(is_public(v6({0xff02, 0, 0, 0}, 0, 1)));
  EXPECT_FALSE(is_public(v6({0x2001, 0, 0, 0}, 0, 1))) << "Teredo";
  EXPECT_FALSE(is_public(v6({0x2001, 0xdb8, 0, 0}, 0, 1)));
  EXPECT_FALSE(is_public(v6({0x2002, 0x7f00, 1, 0}, 0, 1))) << "6to4";
  EXPECT_FALSE(is_public(v6({0x3fff, 0, 0, 0}, 0, 1)));
  EXPECT_FALSE(is_public(v6({0x100, 0, 0, 0}, 0, 1)));
}

}  // namespace
