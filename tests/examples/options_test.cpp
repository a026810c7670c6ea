#include <options.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using Arguments = std::vector<std::string>;

ReadOptions read(const Arguments& arguments, std::string file = {}) {
  return read_options(arguments, [&](const std::string& path) -> FileText {
    if (path != "c.json") return {std::nullopt, "No such file or directory"};
    return {file, {}};
  });
}

ReadOptions read_file(std::string file) { return read({"--config", "c.json"}, std::move(file)); }

TEST(ServerOptions, MakesADevelopmentAppWhereNothingIsSaid) {
  const auto result = read({});
  ASSERT_TRUE(result) << result.error;
  EXPECT_EQ(result.options.listen, Arguments{"127.0.0.1:6001"});
  EXPECT_TRUE(result.options.development);
  ASSERT_EQ(result.options.apps.size(), 1U);
  const fanfare::AppOptions& app = result.options.apps[0].app;
  EXPECT_EQ(app.id, "42");
  const fanfare::ChannelRules rules(app.channel_rules);
  EXPECT_FALSE(rules.problem());
  EXPECT_TRUE(rules.find("LOBBY_42")->retain);
  EXPECT_EQ(rules.find("CHAT_42")->history->count, 50U);
}

TEST(ServerOptions, ReadsFlags) {
  const auto result = read({"--listen",
                            "0.0.0.0:80",
                            "--listen=[::1]:0",
                            "--app",
                            "1:key:a:b",
                            "--app=2:k_2:s",
                            "--threads",
                            "3",
                            "--max-outbox-bytes=65536",
                            "--drain-timeout",
                            "0",
                            "--path-prefix",
                            "/rt",
                            "--max-connections",
                            "7",
                            "--max-mailbox-bytes",
                            "1048576",
                            "--pusher-js",
                            "p.js",
                            "--max-message-bytes",
                            "1024",
                            "--max-body-bytes",
                            "1025",
                            "--request-timeout",
                            "1",
                            "--keep-alive-timeout",
                            "2"});
  ASSERT_TRUE(result) << result.error;
  const Options& o = result.options;
  EXPECT_EQ(o.listen, (Arguments{"0.0.0.0:80", "[::1]:0"}));
  EXPECT_FALSE(o.development);
  ASSERT_EQ(o.apps.size(), 2U);
  EXPECT_EQ(o.apps[0].app.key, "key");
  EXPECT_EQ(o.apps[0].app.secret, "a:b");
  EXPECT_EQ(o.apps[1].app.id, "2");
  EXPECT_EQ(o.threads, 3U);
  EXPECT_EQ(o.max_outbox_bytes, 65536U);
  EXPECT_EQ(o.max_mailbox_bytes, 1048576U);
  EXPECT_EQ(o.max_connections, 7U);
  EXPECT_EQ(o.drain_timeout, 0U);
  EXPECT_EQ(o.max_message_bytes, 1024U);
  EXPECT_EQ(o.max_body_bytes, 1025U);
  EXPECT_EQ(o.request_timeout, 1U);
  EXPECT_EQ(o.keep_alive_timeout, 2U);
  EXPECT_EQ(o.path_prefix, "/rt");
  EXPECT_EQ(o.pusher_js, "p.js");
}

TEST(ServerOptions, GivesTheDevelopmentAppEveryFeature) {
  const auto result = read({"--webhook", "https://example.org/", "--authorized-timeout", "5"});
  ASSERT_TRUE(result) << result.error;
  EXPECT_TRUE(result.options.development);
  const OptionsApp& app = result.options.apps[0];
  EXPECT_TRUE(app.app.client_events);
  EXPECT_TRUE(app.app.subscription_count);
  EXPECT_TRUE(app.app.user_authentication);
  EXPECT_TRUE(app.app.watchlist);
  EXPECT_EQ(app.app.authorized_timeout.count(), 5);
  ASSERT_EQ(app.webhooks.targets.size(), 1U);
}

TEST(ServerOptions, LeavesFeaturesOffWhereNobodyAsksForThem) {
  const auto result = read({"--app", "1:k:s"});
  ASSERT_TRUE(result) << result.error;
  const OptionsApp& app = result.options.apps[0];
  EXPECT_FALSE(app.app.client_events);
  EXPECT_FALSE(app.app.subscription_count);
  EXPECT_FALSE(app.app.user_authentication);
  EXPECT_FALSE(app.app.watchlist);
  EXPECT_FALSE(app.app.tls_only);
  EXPECT_FALSE(app.webhooks.allow_private_targets);
  EXPECT_TRUE(app.webhooks.batch);
  EXPECT_EQ(app.app.authorized_timeout.count(), 0);
}

TEST(ServerOptions, GivesFlagsForApplicationsToThoseOfFlags) {
  using Kind = fanfare::AppEvent::Kind;
  const auto result = read({"--client-events",
                            "--app",
                            "2:k2:s",
                            "--subscription-count",
                            "--user-authentication",
                            "--watchlist",
                            "--tls-only",
                            "--allow-private-webhooks",
                            "--authorized-timeout=9",
                            "--webhook",
                            "http://127.0.0.1:1/a?b",
                            "--webhook-events",
                            "member_added,cache_miss,member_added",
                            "--webhook=https://example.org",
                            "--app=3:k3:s",
                            "--listen-tls",
                            "a:1",
                            "--tls-cert",
                            "c.pem",
                            "--tls-key",
                            "k.pem",
                            "--config",
                            "c.json"},
                           R"({"apps": [{"id": "1", "key": "k", "secret": "s"}]})");
  ASSERT_TRUE(result) << result.error;
  ASSERT_EQ(result.options.apps.size(), 3U);
  EXPECT_FALSE(result.options.apps[0].app.client_events);
  EXPECT_TRUE(result.options.apps[0].webhooks.targets.empty());
  for (const std::size_t i : {1U, 2U}) {
    const OptionsApp& app = result.options.apps[i];
    EXPECT_TRUE(app.app.client_events);
    EXPECT_TRUE(app.app.subscription_count);
    EXPECT_TRUE(app.app.user_authentication);
    EXPECT_TRUE(app.app.watchlist);
    EXPECT_TRUE(app.app.tls_only);
    EXPECT_EQ(app.app.authorized_timeout.count(), 9);
    EXPECT_TRUE(app.webhooks.allow_private_targets);
    ASSERT_EQ(app.webhooks.targets.size(), 2U);
    EXPECT_EQ(app.webhooks.targets[0].url, "http://127.0.0.1:1/a?b");
    EXPECT_EQ(app.webhooks.targets[1].url, "https://example.org");
    for (const auto& target : app.webhooks.targets) {
      EXPECT_EQ(target.events, (std::vector{Kind::member_added, Kind::cache_miss}));
    }
  }
}

TEST(ServerOptions, ListensForTls) {
  const auto result = read({"--listen-tls", "0.0.0.0:443", "--listen-tls=[::1]:0", "--tls-cert", "c.pem", "--tls-key",
                            "k.pem", "--webhook-ca-file", "ca.pem"});
  ASSERT_TRUE(result) << result.error;
  EXPECT_EQ(result.options.listen, Arguments{});
  EXPECT_EQ(result.options.listen_tls, (Arguments{"0.0.0.0:443", "[::1]:0"}));
  EXPECT_EQ(result.options.tls_cert, "c.pem");
  EXPECT_EQ(result.options.tls_key, "k.pem");
  EXPECT_EQ(result.options.webhook_ca_file, "ca.pem");
}

TEST(ServerOptions, ReadsEveryKeyOfAFile) {
  using Kind = fanfare::AppEvent::Kind;
  const auto result = read_file(R"({
    "listen": ["a:1"], "listen_tls": ["b:2"], "tls_cert": "c.pem", "tls_key": "k.pem", "webhook_ca_file": "ca.pem",
    "apps": [
      {"id": 1, "key": "k", "secret": "s", "tls_only": true, "client_events": true, "subscription_count": true,
       "user_authentication": true, "watchlist": true, "preserve_user_id_type": true,
       "hosted_subscription_errors": true, "more_keys": [{"key": "k2", "secret": "s2"}],
       "allowed_origins": ["example.org", "*.example.org", "[::1]"],
       "max_presence_members": 2, "max_user_bytes": 3, "max_user_id_bytes": 4, "max_watchlist": 5,
       "client_events_per_second": 6, "cache_ttl": 7, "authorized_timeout": 8, "kept_bytes": 9,
       "max_held_events": 10, "max_held_bytes": 11,
       "channels": [{"match": "a"}, {"retain": true, "match": "b*", "history": true},
                    {"match": "c", "history": {"count": 1, "seconds": 2, "bytes": 3}},
                    {"match": "d", "history": {}}, {"match": "e", "history": false},
                    {"match": "f", "overflow": "conflate"}, {"match": "g", "overflow": "close"},
                    {"match": "h", "max_subscribers": 4}],
       "store": {"durability": "power", "path": "kept.db"},
       "webhooks": ["https://example.org/all", {"url": "http://10.0.0.1", "events": ["channel_occupied"]}],
       "allow_private_webhooks": true, "batch_webhooks": false}
    ]})");
  ASSERT_TRUE(result) << result.error;
  const Options& o = result.options;
  EXPECT_EQ(o.listen_tls, Arguments{"b:2"});
  EXPECT_EQ(o.tls_cert, "c.pem");
  EXPECT_EQ(o.tls_key, "k.pem");
  EXPECT_EQ(o.webhook_ca_file, "ca.pem");
  const fanfare::AppOptions& app = o.apps[0].app;
  EXPECT_TRUE(app.tls_only);
  EXPECT_TRUE(app.client_events);
  EXPECT_TRUE(app.subscription_count);
  EXPECT_TRUE(app.user_authentication);
  EXPECT_TRUE(app.watchlist);
  EXPECT_TRUE(app.preserve_user_id_type);
  EXPECT_TRUE(app.hosted_subscription_errors);
  EXPECT_EQ(app.more_keys, (std::vector<fanfare::AppKey>{{"k2", "s2"}}));
  EXPECT_EQ(app.allowed_origins, (Arguments{"example.org", "*.example.org", "[::1]"}));
  using fanfare::SlowConsumer;
  const fanfare::HistoryRule usual;
  const fanfare::HistoryRule small{.count = 1, .age = std::chrono::seconds(2), .bytes = 3};
  EXPECT_EQ(app.channel_rules, (std::vector<fanfare::ChannelRule>{{.match = "a"},
                                                                  {.match = "b*", .retain = true, .history = usual},
                                                                  {.match = "c", .history = small},
                                                                  {.match = "d", .history = usual},
                                                                  {.match = "e"},
                                                                  {.match = "f", .overflow = SlowConsumer::conflate},
                                                                  {.match = "g"},
                                                                  {.match = "h", .max_subscribers = 4}}));
  EXPECT_EQ(app.kept_bytes, 9U);
  EXPECT_EQ(app.held.events, 10U);
  EXPECT_EQ(app.held.bytes, 11U);
  EXPECT_EQ(o.apps[0].store_path, "kept.db");
  EXPECT_EQ(o.apps[0].store_durability, fanfare::store::Durability::power);
  EXPECT_EQ(app.max_presence_members, 2U);
  EXPECT_EQ(app.max_user_bytes, 3U);
  EXPECT_EQ(app.max_user_id_bytes, 4U);
  EXPECT_EQ(app.max_watchlist, 5U);
  EXPECT_EQ(app.client_events_per_second, 6U);
  EXPECT_EQ(app.cache_ttl.count(), 7);
  EXPECT_EQ(app.authorized_timeout.count(), 8);
  const fanfare::pusher::WebhookOptions& webhooks = o.apps[0].webhooks;
  EXPECT_TRUE(webhooks.allow_private_targets);
  EXPECT_FALSE(webhooks.batch);
  ASSERT_EQ(webhooks.targets.size(), 2U);
  EXPECT_TRUE(webhooks.targets[0].events.empty());
  EXPECT_EQ(webhooks.targets[1].url, "http://10.0.0.1");
  EXPECT_EQ(webhooks.targets[1].events, std::vector{Kind::channel_occupied});
}

TEST(ServerOptions, HasTheDefaultsOfTheLibrary) {
  const auto result = read({"--app", "1:k:s"});
  ASSERT_TRUE(result) << result.error;
  const fanfare::AppOptions library;
  const fanfare::AppOptions& app = result.options.apps[0].app;
  EXPECT_EQ(app.limits.data, library.limits.data);
  EXPECT_EQ(app.max_presence_members, library.max_presence_members);
  EXPECT_EQ(app.client_events_per_second, library.client_events_per_second);
  EXPECT_EQ(app.cache_ttl, library.cache_ttl);
}

TEST(ServerOptions, ReadsAFileThatIsEnoughByItself) {
  const auto result = read_file(R"({
    "listen": ["127.0.0.1:7000", "localhost:7001"], "threads": 2, "max_outbox_bytes": 81920, "path_prefix": "/rt",
    "forwarded_for": true, "io": "send",
    "apps": [
      {"id": 42, "key": "k", "secret": "s", "enabled": false, "max_connections": 5, "max_channels_per_connection": 6,
       "activity_timeout": 7, "pong_timeout": 8, "max_event_bytes": 9, "max_event_name_bytes": 10,
       "max_channel_name_bytes": 11, "max_channels": 12, "max_channels_per_trigger": 13,
       "max_connections_per_address": 14, "messages_per_second": 15, "idle_timeout": 16},
      {"id": "b", "key": "k2", "secret": "s"}
    ]})");
  ASSERT_TRUE(result) << result.error;
  const Options& o = result.options;
  EXPECT_EQ(o.listen, (Arguments{"127.0.0.1:7000", "localhost:7001"}));
  EXPECT_EQ(o.threads, 2U);
  EXPECT_EQ(o.max_outbox_bytes, 81920U);
  EXPECT_TRUE(o.forwarded_for);
  EXPECT_EQ(o.io, fanfare::transport::SocketIo::send);
  EXPECT_EQ(o.path_prefix, "/rt");
  ASSERT_EQ(o.apps.size(), 2U);
  const fanfare::AppOptions& app = o.apps[0].app;
  EXPECT_EQ(app.id, "42");
  EXPECT_FALSE(app.enabled);
  EXPECT_EQ(app.max_connections, 5U);
  EXPECT_EQ(app.max_channels_per_connection, 6U);
  EXPECT_EQ(app.activity_timeout.count(), 7);
  EXPECT_EQ(app.pong_timeout.count(), 8);
  EXPECT_EQ(app.limits.data, 9U);
  EXPECT_EQ(app.limits.event_name, 10U);
  EXPECT_EQ(app.limits.channel_name, 11U);
  EXPECT_EQ(app.limits.channels, 12U);
  EXPECT_EQ(app.limits.channels_per_trigger, 13U);
  EXPECT_EQ(app.max_connections_per_address, 14U);
  EXPECT_EQ(app.messages_per_second, 15U);
  EXPECT_EQ(app.idle_timeout.count(), 16);
  EXPECT_TRUE(o.apps[1].app.enabled);
}

TEST(ServerOptions, AddsFlagsToAFile) {
  const auto result =
      read({"--threads", "4", "--listen", "127.0.0.1:2", "--config", "c.json", "--app", "2:k2:s"},
           R"({"listen": ["127.0.0.1:1"], "threads": 2, "apps": [{"id": "1", "key": "k", "secret": "s"}]})");
  ASSERT_TRUE(result) << result.error;
  EXPECT_EQ(result.options.listen, (Arguments{"127.0.0.1:1", "127.0.0.1:2"}));
  EXPECT_EQ(result.options.threads, 4U);
  EXPECT_EQ(result.options.apps.size(), 2U);
  EXPECT_TRUE(result.options.has_file);
  EXPECT_FALSE(read({"--threads", "4"}, "").options.has_file);
}

TEST(ServerOptions, TakesApplicationsFromFlagsAlone) {
  const auto result = read({"--config", "c.json", "--app", "2:k2:s"}, R"({"threads": 2})");
  ASSERT_TRUE(result) << result.error;
  EXPECT_EQ(result.options.listen, Arguments{"127.0.0.1:6001"});
  EXPECT_FALSE(result.options.development);
}

TEST(ServerOptions, PrefersHelpAndVersion) {
  EXPECT_TRUE(read({"--threads", "0", "--help"}).options.help);
  EXPECT_TRUE(read({"-h"}).options.help);
  EXPECT_TRUE(read({"--version"}).options.version);
}

struct WrongFlags {
  Arguments arguments;
  std::string_view error;
};

TEST(ServerOptions, SaysWhatIsWrongWithFlags) {
  const WrongFlags cases[] = {
      {{"--lisen", "a:1"}, R"("--lisen": there is no such flag (did you mean "--listen"?))"},
      {{"--banana"}, R"("--banana": there is no such flag)"},
      {{"6001"}, R"("6001": every argument belongs to a flag; see --help)"},
      {{"--threads"}, "--threads: expected a value behind it"},
      {{"--help=yes"}, "--help: takes no value"},
      {{"--threads", "0"}, R"(--threads "0": expected a whole number from 1 to 64)"},
      {{"--threads", "2x"}, R"(--threads "2x": expected a whole number from 1 to 64)"},
      {{"--threads="}, R"(--threads "": expected a whole number from 1 to 64)"},
      {{"--max-connections", "99999999999999999999"},
       R"(--max-connections "99999999999999999999": expected a whole number from 0 to 100000000)"},
      {{"--listen", "6001"},
       R"(--listen "6001": expected HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:6001 or [::1]:6001)"},
      {{"--app", "42:key"}, "--app: expected ID:KEY:SECRET"},
      {{"--app", "4 2:key:s"}, "--app, the ID of ID:KEY:SECRET: expected 1 to 64 letters, digits, '-' and '_'"},
      {{"--app", "42::s"}, "--app, the KEY of ID:KEY:SECRET: expected 1 to 64 letters, digits, '-' and '_'"},
      {{"--app", "42:key:"}, "--app, the SECRET of ID:KEY:SECRET: expected 1 to 128 bytes"},
      {{"--app", "1:a:s", "--app", "1:b:s"}, R"(--app: "1" is another application's id already)"},
      {{"--app", "1:a:s", "--app", "2:a:s"}, R"(--app: "a" is another application's key already)"},
      {{"--config", "none.json"}, "none.json: cannot be read: No such file or directory"},
      {{"--config", "c.json", "--config", "c.json"}, "--config: expected once"},
      {{"--client-events=yes"}, "--client-events: takes no value"},
      {{"--client-event"}, R"("--client-event": there is no such flag (did you mean "--client-events"?))"},
      {{"--enabled"}, R"("--enabled": there is no such flag)"},
      {{"--authorized-timeout", "x"}, R"(--authorized-timeout "x": expected a whole number from 0 to 86400)"},
      {{"--webhook", "ftp://example.org"},
       "--webhook: expected an http:// or https:// URL without user, password and fragment"},
      {{"--webhook", "http://user:password@example.org"},
       "--webhook: expected an http:// or https:// URL without user, password and fragment"},
      {{"--webhook", "https://example.org", "--webhook-events", "member_added,"},
       R"(--webhook-events "member_added,": expected names of channel_occupied, channel_vacated, member_added, )"
       "member_removed, client_event, cache_miss, subscription_count and event_held, with commas between them"},
      {{"--webhook-events", "member_added"}, "--webhook-events: expected --webhook too: there is nobody to tell"},
      {{"--webhook", "http://127.0.0.1:80/"},
       R"(application "42": a webhook goes to the private address 127.0.0.1, which --allow-private-webhooks allows)"},
      {{"--webhook", "http://[::1]/"},
       R"(application "42": a webhook goes to the private address ::1, which --allow-private-webhooks allows)"},
      {{"--webhook", "http://LOCALHOST/"},
       R"(application "42": a webhook goes to the private address localhost, which --allow-private-webhooks allows)"},
      {{"--listen-tls", "443", "--tls-cert", "c", "--tls-key", "k"},
       R"(--listen-tls "443": expected HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:6001 or [::1]:6001)"},
      {{"--listen-tls", "a:1", "--tls-cert", "c"},
       "--listen-tls: expected a certificate and its key too: --tls-cert FILE --tls-key FILE"},
      {{"--tls-key", "k"}, "--tls-cert, --tls-key: expected --listen-tls HOST:PORT too: nobody would see them"},
      {{"--tls-cert="}, "--tls-cert: expected the name of a file"},
      {{"--tls-only"},
       R"(application "42": tls_only lets nobody in where nothing listens for TLS: expected --listen-tls HOST:PORT)"},
  };
  for (const WrongFlags& c : cases) EXPECT_EQ(read(c.arguments, R"({})").error, c.error);
}

TEST(ServerOptions, RefusesFlagsForApplicationsWhereThereIsNone) {
  const std::string file = R"({"apps": [{"id": "1", "key": "k", "secret": "s"}]})";
  const std::string why = ": it is for applications that --app names; in a file, an application has its own";
  for (const Arguments& flag : {Arguments{"--client-events"},
                                {"--webhook", "https://a"},
                                {"--authorized-timeout", "1"},
                                {"--webhook-events", "cache_miss"},
                                {"--allow-private-webhooks"}}) {
    Arguments arguments{"--config", "c.json"};
    arguments.insert(arguments.end(), flag.begin(), flag.end());
    EXPECT_EQ(read(arguments, file).error, flag[0] + why);
  }
}

TEST(ServerOptions, TakesSixteenWebhooks) {
  Arguments arguments;
  for (int i = 0; i < 16; ++i) arguments.insert(arguments.end(), {"--webhook", "https://example.org"});
  EXPECT_TRUE(read(arguments));
  arguments.insert(arguments.end(), {"--webhook", "https://example.org"});
  EXPECT_EQ(read(arguments).error, "--webhook: expected at most 16 for one application");
}

TEST(ServerOptions, RefusesWhatIsNoListener) {
  for (const char* text : {"", ":", ":80", "a", "a:", "a:65536", "a:-1", "a:1x", "::1:80", "[]:80", "http://a:80"}) {
    EXPECT_FALSE(read({"--listen", text})) << text;
  }
  for (const char* text : {"a:0", "127.0.0.1:65535", "[::1]:80", "example.org:80"}) {
    EXPECT_TRUE(read({"--listen", text})) << text;
  }
}

TEST(ServerOptions, RefusesWhatIsNoPrefix) {
  for (const char* text : {"a", "/", "/a/", "/a b", "/a?b"}) EXPECT_FALSE(read({"--path-prefix", text})) << text;
  for (const char* text : {"", "/a", "/a/b-c_d.e~f"}) EXPECT_TRUE(read({"--path-prefix", text})) << text;
}

struct WrongFile {
  std::string_view file;
  std::string_view error;
};

TEST(ServerOptions, SaysWhatIsWrongWithAFile) {
  const WrongFile cases[] = {
      {"{\n  \"threads\": 1,\n  oops\n}", "c.json:3:3: this is not JSON: syntax error"},
      {"", "c.json:1:1: this is not JSON: incomplete JSON"},
      {"{}\n}", "c.json:2:1: this is not JSON: extra data"},
      {"[]", "c.json: expected one JSON object"},
      {"{}", "c.json: apps: expected at least one application"},
      {R"({"apps": []})", "c.json: apps: expected at least one application"},
      {R"({"threads": 1, "threads": 2})", R"(c.json:1:24: the key "threads" stands there twice)"},
      {R"({"thread": 1})", R"(c.json: thread: there is no such key (did you mean "threads"?))"},
      {R"({"threads": "2"})", "c.json: threads: expected a whole number from 1 to 64"},
      {R"({"threads": 1.5})", "c.json: threads: expected a whole number from 1 to 64"},
      {R"({"threads": -1})", "c.json: threads: expected a whole number from 1 to 64"},
      {R"({"listen": "127.0.0.1:1"})", R"(c.json: listen: expected an array of strings, such as ["127.0.0.1:6001"])"},
      {R"({"listen": ["127.0.0.1:1", 6001]})",
       "c.json: listen[1]: expected HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:6001 or [::1]:6001"},
      {R"({"path_prefix": "x"})",
       "c.json: path_prefix: expected a path such as /realtime: at most 128 of A-Z a-z 0-9 - _ . ~ /, no / at its end"},
      {R"({"pusher_js": 1})", "c.json: pusher_js: expected the name of a file"},
      {R"({"apps": {}})", "c.json: apps: expected an array of objects"},
      {R"({"apps": [1]})", R"(c.json: apps[0]: expected an object, such as {"id": "42", "key": "…", "secret": "…"})"},
      {R"({"apps": [{"key": "k", "secret": "s"}]})",
       "c.json: apps[0].id: expected 1 to 64 letters, digits, '-' and '_', or a number; it is missing"},
      {R"({"apps": [{"id": -1, "key": "k", "secret": "s"}]})",
       "c.json: apps[0].id: expected 1 to 64 letters, digits, '-' and '_', or a number"},
      {R"({"apps": [{"id": 1, "key": 5, "secret": "s"}]})",
       "c.json: apps[0].key: expected 1 to 64 letters, digits, '-' and '_'"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": 5}]})",
       "c.json: apps[0].secret: expected a string of 1 to 128 bytes"},
      {R"({"apps": [{"id": 1, "key": "k"}]})", "c.json: apps[0].secret: expected 1 to 128 bytes; it is missing"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s"}, {"id": "1", "key": "l", "secret": "s"}]})",
       R"(c.json: apps[1].id: "1" is another application's id already)"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s"}, {"id": "2", "key": "k", "secret": "s"}]})",
       R"(c.json: apps[1].key: "k" is another application's key already)"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s", "enabled": 1}]})",
       "c.json: apps[0].enabled: expected true or false"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s", "max_conections": 1}]})",
       R"(c.json: apps[0].max_conections: there is no such key (did you mean "max_connections"?))"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s", "activity_timeout": 0}]})",
       "c.json: apps[0].activity_timeout: expected a whole number from 1 to 86400"},
      {R"({"listen_tls": ["a:1", ":"]})",
       "c.json: listen_tls[1]: expected HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:6001 or [::1]:6001"},
      {R"({"tls_cert": ""})", "c.json: tls_cert: expected the name of a file"},
      {R"({"tls_certificate": ""})", "c.json: tls_certificate: there is no such key"},
      {R"({"apps": [{"watchlist": "yes"}]})", "c.json: apps[0].watchlist: expected true or false"},
      {R"({"apps": [{"more_keys": {}}]})",
       R"(c.json: apps[0].more_keys: expected an array of objects, such as [{"key": "…", "secret": "…"}])"},
      {R"({"apps": [{"more_keys": ["k"]}]})",
       R"(c.json: apps[0].more_keys: expected an array of objects, such as [{"key": "…", "secret": "…"}])"},
      {R"({"apps": [{"more_keys": [{"key": "k"}]}]})",
       "c.json: apps[0].more_keys[0].secret: expected 1 to 128 bytes; it is missing"},
      {R"({"apps": [{"more_keys": [{"key": "k", "secret": "s", "old": 1}]}]})",
       "c.json: apps[0].more_keys[0].old: there is no such key"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s", "more_keys": [{"key": "k", "secret": "s"}]}]})",
       R"(c.json: apps[0].more_keys[0].key: "k" is a key of this application already)"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s"},
                    {"id": 2, "key": "l", "secret": "s", "more_keys": [{"key": "k", "secret": "s"}]}]})",
       R"(c.json: apps[1].key: "k" is another application's key already)"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s", "more_keys": [{"key": "l", "secret": "s"}]},
                    {"id": 2, "key": "l", "secret": "s"}]})",
       R"(c.json: apps[1].key: "l" is another application's key already)"},
      {R"({"apps": [{"channels": {}}]})",
       R"(c.json: apps[0].channels: expected an array of objects, such as [{"match": "LOBBY_*", "retain": true}])"},
      {R"({"apps": [{"channels": ["a"]}]})",
       R"(c.json: apps[0].channels: expected an array of objects, such as [{"match": "LOBBY_*", "retain": true}])"},
      {R"({"apps": [{"channels": [{"match": "a"}, {"retain": true}]}]})",
       "c.json: apps[0].channels[1].match: a channel's name or a pattern is missing"},
      {R"({"apps": [{"channels": [{"match": 1}]}]})",
       R"(c.json: apps[0].channels[0].match: expected a channel's name or a pattern, such as "LOBBY_*")"},
      {R"({"apps": [{"channels": [{"match": "a", "retain": 1}]}]})",
       "c.json: apps[0].channels[0].retain: expected true or false"},
      {R"({"apps": [{"store": "kept.db"}]})",
       R"(c.json: apps[0].store: expected an object, such as {"path": "kept.db", "durability": "process"})"},
      {R"({"apps": [{"store": {}}]})", "c.json: apps[0].store.path: expected the name of a file; it is missing"},
      {R"({"apps": [{"store": {"path": ""}}]})", "c.json: apps[0].store.path: expected the name of a file"},
      {R"({"apps": [{"store": {"path": "a", "durability": "disk"}}]})",
       "c.json: apps[0].store.durability: expected process or power"},
      {R"({"apps": [{"store": {"file": "a"}}]})", "c.json: apps[0].store.file: there is no such key"},
      {R"({"apps": [{"id": "1", "key": "a", "secret": "s", "store": {"path": "x"}}, {"store": {"path": "x"}}]})",
       R"(c.json: apps[1].store.path: "x" is another application's file already)"},
      {R"({"apps": [{"channels": [{"match": "a", "keep": true}]}]})",
       "c.json: apps[0].channels[0].keep: there is no such key"},
      {R"({"apps": [{"channels": [{"match": "a", "history": 5}]}]})",
       R"(c.json: apps[0].channels[0].history: expected true or an object, such as )"
       R"({"count": 100, "seconds": 600, "bytes": 1048576})"},
      {R"({"apps": [{"channels": [{"match": "a", "history": {"count": 0}}]}]})",
       "c.json: apps[0].channels[0].history.count: expected a number from 1 to 1048576"},
      {R"({"apps": [{"channels": [{"match": "a", "history": {"seconds": 31622401}}]}]})",
       "c.json: apps[0].channels[0].history.seconds: expected a number from 1 to 31622400"},
      {R"({"apps": [{"channels": [{"match": "a", "history": {"bytes": "1"}}]}]})",
       "c.json: apps[0].channels[0].history.bytes: expected a number from 1 to 1073741824"},
      {R"({"apps": [{"channels": [{"match": "a", "history": {"size": 1}}]}]})",
       "c.json: apps[0].channels[0].history.size: there is no such key"},
      {R"({"apps": [{"channels": [{"match": "a", "overflow": "drop"}]}]})",
       "c.json: apps[0].channels[0].overflow: expected close, drop_oldest, drop_newest or conflate"},
      {R"({"apps": [{"channels": [{"match": "a", "max_subscribers": -1}]}]})",
       "c.json: apps[0].channels[0].max_subscribers: expected a number from 0 to 100000000"},
      {R"({"apps": [{"channels": [{"match": "a", "overflow": true}]}]})",
       "c.json: apps[0].channels[0].overflow: expected close, drop_oldest, drop_newest or conflate"},
      {R"({"apps": [{"channels": [{"match": "a", "history": true, "overflow": "conflate"}]}]})",
       "c.json: apps[0].channels[0]: a channel with a history cannot be conflated"},
      {R"({"apps": [{"channels": [{"match": "a"}, {"match": "a"}]}]})",
       "c.json: apps[0].channels[1]: an earlier rule has the same match"},
      {R"({"apps": [{"channels": [{"match": "a b"}]}]})",
       "c.json: apps[0].channels[0]: the match holds a character that no channel name may have"},
      {R"({"apps": [{"allowed_origins": "a"}]})",
       R"(c.json: apps[0].allowed_origins: expected an array of strings, such as ["example.org"])"},
      {R"({"apps": [{"allowed_origins": ["a", "https://a"]}]})",
       R"(c.json: apps[0].allowed_origins[1]: expected a host such as "example.org", "*.example.org" or "*", )"
       "without scheme and port"},
      {R"({"apps": [{"allowed_origins": ["a:80"]}]})",
       R"(c.json: apps[0].allowed_origins[0]: expected a host such as "example.org", "*.example.org" or "*", )"
       "without scheme and port"},
      {R"({"apps": [{"webhooks": "https://a"}]})",
       "c.json: apps[0].webhooks: expected an array of URLs or objects, such as "
       R"([{"url": "https://…", "events": ["member_added"]}])"},
      {R"({"apps": [{"webhooks": ["https://a", "a"]}]})",
       "c.json: apps[0].webhooks[1]: expected an http:// or https:// URL without user, password and fragment"},
      {R"({"apps": [{"webhooks": [{"events": ["cache_miss"]}]}]})",
       "c.json: apps[0].webhooks[0]: expected an http:// or https:// URL without user, password and fragment"},
      {R"({"apps": [{"webhooks": [{"url": "https://a", "events": ["cache_mis"]}]}]})",
       "c.json: apps[0].webhooks[0].events: expected names of channel_occupied, channel_vacated, member_added, "
       "member_removed, client_event, cache_miss, subscription_count and event_held"},
      {R"({"apps": [{"webhooks": [{"uri": "https://a"}]}]})",
       R"(c.json: apps[0].webhooks[0].uri: there is no such key (did you mean "url"?))"},
      {R"({"apps": [{"id": 1, "key": "k", "secret": "s", "tls_only": true}]})",
       R"(application "1": tls_only lets nobody in where nothing listens for TLS: expected --listen-tls HOST:PORT)"},
  };
  for (const WrongFile& c : cases) EXPECT_EQ(read_file(std::string(c.file)).error, c.error) << c.file;
}

TEST(ServerOptions, SurvivesEveryTruncationOfAFile) {
  const std::string whole = R"({"listen": ["a:1"], "apps": [{"id": 1, "key": "k", "secret": "sé\u00e9\n"}]})";
  ASSERT_TRUE(read_file(whole)) << read_file(whole).error;
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(read_file(whole.substr(0, size))) << size;
}

TEST(ServerOptions, HelpNamesEveryFlag) {
  for (const char* flag : {"--listen ",
                           "--listen-tls ",
                           "--tls-cert ",
                           "--tls-key ",
                           "--app ",
                           "--config ",
                           "--threads ",
                           "--max-outbox-bytes ",
                           "--max-mailbox-bytes ",
                           "--max-connections ",
                           "--max-message-bytes ",
                           "--max-body-bytes ",
                           "--request-timeout ",
                           "--keep-alive-timeout ",
                           "--drain-timeout ",
                           "--path-prefix ",
                           "--webhook-ca-file ",
                           "--pusher-js ",
                           "--help ",
                           "--version ",
                           "--client-events ",
                           "--subscription-count ",
                           "--user-authentication ",
                           "--watchlist ",
                           "--tls-only ",
                           "--authorized-timeout ",
                           "--webhook ",
                           "--webhook-events ",
                           "--allow-private-webhooks "}) {
    EXPECT_NE(help_text().find(flag), std::string_view::npos) << flag;
  }
}

}  // namespace
