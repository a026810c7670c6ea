// Any request: it gets an answer, errors are one line of text and successes are JSON. What is rightly signed is let in, and
// nothing else. What is delivered is within the limits.
//
// The first byte chooses the method, whether the request is signed, whether the target is given below the application, and
// whether pages are let in; the first line of the rest is the target, what follows is the body.
#include <fanfare/pusher/http_api.hpp>

#include <fanfare/core/channel_memory.hpp>
#include <fanfare/core/channel_state.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/subscription.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/core/wire.hpp>

#include <boost/json/error.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace fanfare;

constexpr std::string_view secret = "7ad3773142a6692b25b8";
constexpr std::chrono::seconds now{1353088179};
constexpr Limits limits{.channel_name = 40, .event_name = 20, .data = 100, .channels_per_trigger = 4};

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "api_fuzz: %s\n", what);
  std::abort();
}

// As io loops are: wants frames, which are made of text alone.
struct Checker {
  static constexpr bool wire = true;

  bool push(MessagePtr message) noexcept {
    ++pushed;
    expect(ChannelName::check(message->channel(), limits.channel_name) == errc::ok, "channel name");
    expect(check_event_name(message->name(), limits.event_name) == errc::ok, "event name");
    expect(fanfare::detail::is_utf8(message->name()) && fanfare::detail::is_utf8(message->data()), "text");
    expect(message->data().size() <= limits.data, "size of the data");
    expect(message->except_socket().empty() || pusher::SocketId::well_formed(message->except_socket()), "socket id");
    return true;
  }

  std::size_t pushed = 0;
};

/// A member of a presence channel, as a client's session puts one in.
struct Entry final : OrderedStep {
  [[nodiscard]] bool begin(ChannelState* state) noexcept override {
    static_cast<ChannelMemory*>(state)->roster.enter(member, 100);
    return false;
  }
  void end() noexcept override {}

  MemberPtr member = std::make_shared<const Member>(Member{.user_id = "a\"é", .user_info = "null"});
};

/// The connection of a user.
struct Connection {
  bool push(MessagePtr message) noexcept {
    expect(message->name() == "pusher_internal:terminate", "what a connection is told");
    ++*terminated;
    return true;
  }

  std::size_t* terminated;
};

/// Appends the parameters of authentication, and the signature, in one of the three forms.
/// \returns  false where the request cannot be right: it is refused for a parameter that it has already.
bool sign(http::Request& request, unsigned choice) {
  request.target += request.target.find('?') == std::string::npos ? '?' : '&';
  request.target += "auth_key=key&auth_timestamp=1353088179&auth_version=1.0";
  if (!request.body.empty()) request.target += "&body_md5=" + pusher::md5_hex(request.body);
  pusher::detail::ApiQuery query;
  if (query.read(request.query())) return false;
  if (request.body.empty() && query.find("body_md5")) return false;
  const std::array forms{pusher::detail::SignedForm::joined, pusher::detail::SignedForm::listed,
                         pusher::detail::SignedForm::raw};
  const std::string text = query.signed_text(request.method, request.path(), forms[choice % forms.size()]);
  request.target += "&auth_signature=" + pusher::hmac_sha256_hex(secret, text);
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const unsigned choice = data[0];
  constexpr std::array<std::string_view, 4> methods{"POST", "GET", "OPTIONS", "HEAD"};
  const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
  const std::size_t line = bytes.find('\n');

  pusher::AppList apps;
  App& app = *apps.add({.id = "3", .key = "key", .secret = std::string(secret), .limits = limits});
  Checker checker;
  const auto plain = app.channels().attach("a", checker);
  auto member = app.channels().attach("presence-b", checker);
  const auto cached = app.channels().attach("cache-c", checker);
  const auto to_user = app.channels().attach("#server-to-user-7", checker);
  std::size_t terminated = 0;
  const std::string own_channel = std::string(App::user_channel) + '7';
  const auto connection = app.channels().attach(ReservedChannel{own_channel}, Connection{&terminated});
  Entry entry;
  expect(member.step(entry, "entry", {}).error == errc::ok, "entry");
  app.trigger("cache-c", "e", "\"é");
  checker.pushed = 0;
  const bool cors = (choice & 0x80U) != 0;
  const pusher::HttpApi api{apps, {.batch = 3, .target_bytes = 1024, .body_bytes = 2048, .cors = cors}};

  http::Request request;
  request.method = methods[choice & 3U];
  if ((choice & 8U) == 0) request.target = "/apps/3/";
  request.target += bytes.substr(0, line);
  if (line != std::string_view::npos) request.body = bytes.substr(line + 1);
  const bool is_signed = (choice & 4U) != 0 && sign(request, choice >> 4U);

  const http::Response response = api(request, now);
  const bool expected = response.status == 200 || response.status == 202 || response.status == 204 ||
                        response.status == 400 || response.status == 401 || response.status == 404 ||
                        response.status == 405 || response.status == 413 || response.status == 414;
  expect(expected, "status");
  if (!api.serves(request)) expect(response.status == 404 || response.status == 414, "what is not served");
  if (response.status == 200 || response.status == 202) {
    expect(is_signed, "let in without a signature");
  } else {
    expect(checker.pushed == 0 && terminated == 0, "done and refused");
    expect(response.status != 401 || !is_signed, "signed and not let in");
  }
  if (response.status == 200) {
    boost::json::error_code error;
    const boost::json::value body = boost::json::parse(response.body, error);
    expect(!error && body.is_object(), "JSON");
  } else if (response.status < 300) {
    expect(response.body.empty(), "nothing to say");
  }
  std::size_t open = 0;
  for (const http::Field& field : response.fields) open += field.name == "Access-Control-Allow-Origin" ? 1 : 0;
  expect(open == (cors ? 1 : 0), "pages are let in or not");
  if (response.status >= 400) {
    expect(response.body.find('\n') == response.body.size() - 1, "one line");
    expect(fanfare::detail::is_utf8(response.body), "the line is text");
    expect(response.body.size() < 16384, "the line has an end");
  }
  if (request.method != "POST") expect(checker.pushed == 0 && terminated == 0, "asking does nothing");
  expect(checker.pushed <= 4, "each channel once for each event");
  expect(terminated <= 1, "each connection once");
  std::string out;
  append(out, response, http::reply_to(request));
  return 0;
}
