/// \file
/// The HTTP API that backends use, as a function from a request to a response. Needs Boost.JSON and OpenSSL's libcrypto,
/// which are libraries to link.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/core/channel_name.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/event_position.hpp>
#include <fanfare/core/history.hpp>
#include <fanfare/core/kept_log.hpp>
#include <fanfare/core/roster.hpp>
#include <fanfare/core/trigger.hpp>
#include <fanfare/core/wire.hpp>
#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>
#include <fanfare/pusher/app_directory.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/frames.hpp>
#include <fanfare/pusher/plain_event.hpp>
#include <fanfare/pusher/socket_id.hpp>

#include <boost/json/array.hpp>
#include <boost/json/error.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// What an `HttpApi` is told when it is made. The defaults are those of hosted Pusher where it documents one.
struct HttpApiOptions {
  std::string path_prefix{};                      ///< What stands in front of `/apps/…`: `/pusher`. It is not signed.
  std::chrono::seconds timestamp_tolerance{600};  ///< How far a request's time may be from the server's.
  std::size_t batch = 10;                         ///< Events in one `batch_events`.
  std::size_t target_bytes = 8192;                ///< Of path and query as sent.
  std::size_t body_bytes = 1 << 20;  ///< Of the body: a batch of the largest events must find room, with their escapes.
  /// Whether web pages of all origins may call the API and read its answers (the Fetch standard's CORS protocol). Off:
  /// who calls has the secret, which is no thing to give to a page.
  bool cors = false;
};

namespace detail {

/// Why a request is not served, as its answer; nothing where all is well.
using Refusal = std::optional<http::Response>;

/// Text in double quotes, as far as it is fit to be shown; in full, so what is given is bounded.
[[nodiscard]] inline std::string in_quotes(std::string_view text) {
  std::string result;
  append_json_string(result, fanfare::detail::is_utf8(text) ? std::string(text) : excerpt(text, text.size()));
  return result;
}

[[nodiscard]] inline http::Response missing_parameter(std::string_view name) {
  return http::text_response(400, "Missing required parameter: " + std::string(name));
}

// ---- the query

/// In which form the parameters of a query have been signed. SDKs differ where a value is escaped or a list.
enum class SignedForm : std::uint8_t {
  joined,  ///< Decoded; `a[]=1&a[]=2` is `a=1,2`.
  listed,  ///< Decoded; `a[]=1&a[]=2` stays.
  raw,     ///< As it was sent.
};

/// The parameters that every request has, in the order of their names; the last is not signed.
enum class AuthParameter : std::uint8_t { auth_key, auth_timestamp, auth_version, body_md5, auth_signature };
inline constexpr std::array<std::string_view, 5> auth_parameters{"auth_key", "auth_timestamp", "auth_version",
                                                                 "body_md5", "auth_signature"};

/// A query as SDKs send it for an event: the parameters of authentication, each once at most and in the order of their
/// names (the signature may be anywhere), and nothing else; nothing in it has to be decoded.
class PlainQuery {
 public:
  /// \param query  has to outlive this.
  /// \returns      whether it is such a query; nothing else means anything otherwise.
  [[nodiscard]] bool read(std::string_view query) noexcept {
    if (query.find('%') != std::string_view::npos || query.find('+') != std::string_view::npos) return false;
    query_ = query;
    std::size_t at = 0;
    std::size_t next = 0;  // how many of those that are signed cannot come any more
    do {
      const std::size_t end = std::min(query.find('&', at), query.size());
      const std::string_view part = query.substr(at, end - at);
      std::size_t found = 0;
      if (next < 1 && starts(part, "auth_key=")) {
        found = next = 1;
      } else if (next < 2 && starts(part, "auth_timestamp=")) {
        found = next = 2;
      } else if (next < 3 && starts(part, "auth_version=")) {
        found = next = 3;
      } else if (next < 4 && starts(part, "body_md5=")) {
        found = next = 4;
      } else if (values_[signature].data() == nullptr && starts(part, "auth_signature=")) {
        found = signature + 1;
        signature_begin_ = at;
        signature_end_ = end;
      } else {
        return false;
      }
      --found;
      values_[found] = part.substr(auth_parameters[found].size() + 1);
      at = end + 1;
    } while (at <= query.size());
    return true;
  }

  [[nodiscard]] std::optional<std::string_view> find(AuthParameter parameter) const noexcept {
    const std::string_view value = values_[static_cast<std::size_t>(parameter)];
    if (value.data() == nullptr) return std::nullopt;
    return value;
  }

  /// At least the size of the text that is signed.
  [[nodiscard]] std::size_t signed_size(std::string_view method, std::string_view path) const noexcept {
    return method.size() + path.size() + query_.size() + 2;
  }
  /// See `ApiQuery::signed_text`.
  /// \returns  nothing where there is not enough room.
  [[nodiscard]] std::optional<std::string_view> signed_text(std::string_view method, std::string_view path,
                                                            std::span<char> room) const noexcept {
    if (signed_size(method, path) > room.size()) return std::nullopt;
    char* at = room.data();
    const auto add = [&at](std::string_view text) { at = std::copy(text.begin(), text.end(), at); };
    add(method);
    *at++ = '\n';
    add(path);
    *at++ = '\n';
    const bool is_signed = values_[signature].data() != nullptr;
    if (is_signed) {
      // With the `&` in front of it, or behind it where it is the first.
      const std::size_t begin = signature_begin_ == 0 ? 0 : signature_begin_ - 1;
      const std::size_t end = signature_begin_ == 0 ? std::min(signature_end_ + 1, query_.size()) : signature_end_;
      add(query_.substr(0, begin));
      add(query_.substr(end));
    } else {
      add(query_);
    }
    return std::string_view(room.data(), static_cast<std::size_t>(at - room.data()));
  }

 private:
  static constexpr auto signature = static_cast<std::size_t>(AuthParameter::auth_signature);

  template <std::size_t N>
  [[nodiscard]] static bool starts(std::string_view part, const char (&name)[N]) noexcept {
    return part.size() >= N - 1 && std::memcmp(part.data(), name, N - 1) == 0;  // of a fixed size: no call
  }

  std::string_view query_;
  std::array<std::string_view, auth_parameters.size()> values_{};  // without data where there is none
  std::size_t signature_begin_ = 0;
  std::size_t signature_end_ = 0;
};

/// Room for a text that is signed.
struct SignedText {
  SignedText() noexcept {}  // NOLINT(modernize-use-equals-default): the room stays as it is

  std::array<char, 512> small;
  std::string large;
};

/// The parameters of a query, decoded. Names compare without regard to case.
class ApiQuery {
 public:
  ApiQuery() = default;
  ApiQuery(const ApiQuery&) = delete;  // it has views of its own text
  ApiQuery& operator=(const ApiQuery&) = delete;

  /// \param query  has to outlive this.
  [[nodiscard]] Refusal read(std::string_view query) {
    is_plain_query_ = plain_query_.read(query);
    return is_plain_query_ ? std::nullopt : read_any(query);
  }

  /// Whether there may be parameters that have nothing to do with authentication.
  [[nodiscard]] bool has_others() const noexcept { return !is_plain_query_; }

  [[nodiscard]] std::optional<std::string_view> find(AuthParameter parameter) const noexcept {
    return is_plain_query_ ? plain_query_.find(parameter) : find(auth_parameters[static_cast<std::size_t>(parameter)]);
  }

  [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const noexcept {
    for (std::size_t i = 0; is_plain_query_ && i < auth_parameters.size(); ++i) {
      if (http::detail::same_word(auth_parameters[i], name)) return plain_query_.find(static_cast<AuthParameter>(i));
    }
    for (const Parameter& parameter : parameters_) {
      if (!parameter.listed() && http::detail::same_word(parameter.key, name)) return parameter.value;
    }
    return std::nullopt;
  }

  /// Calls `f` with each value of the list `name[]`.
  template <class F>
  void each(std::string_view name, F f) const {
    for (const Parameter& parameter : parameters_) {
      if (parameter.listed() && http::detail::same_word(parameter.key, name)) f(parameter.value);
    }
  }

  /// Whether this form of the query is another than those before it.
  [[nodiscard]] bool has(SignedForm form) const noexcept {
    switch (form) {
      case SignedForm::joined: return true;
      case SignedForm::listed: return has_lists_;
      case SignedForm::raw: return !decoded_.empty();
    }
    return false;
  }

  /// What a signature is made of: method, path, and all parameters but the signature, sorted by name.
  /// \param room  where it is put together, if there is enough of it, and is to be without an allocation.
  [[nodiscard]] std::string_view signed_text(std::string_view method, std::string_view path, SignedForm form,
                                             SignedText& room) const {
    if (is_plain_query_) {
      const std::optional<std::string_view> text = plain_query_.signed_text(method, path, room.small);
      if (text) return *text;
    }
    return room.large = signed_text(method, path, form);
  }
  [[nodiscard]] std::string signed_text(std::string_view method, std::string_view path, SignedForm form) const {
    if (is_plain_query_) {
      std::string text(plain_query_.signed_size(method, path), '\0');
      text.resize(plain_query_.signed_text(method, path, text)->size());
      return text;
    }
    std::vector<const Parameter*> order;
    order.reserve(parameters_.size());
    for (const Parameter& parameter : parameters_) {
      if (!http::detail::same_word(parameter.key, "auth_signature")) order.push_back(&parameter);
    }
    const auto comes_before = [form](const Parameter* a, const Parameter* b) {
      const int difference = compare(a->name_in(form), b->name_in(form));
      return difference != 0 ? difference < 0 : a < b;  // within a list the order in which it was sent counts
    };
    // SDKs send them in this order.
    if (!std::is_sorted(order.begin(), order.end(), comes_before)) {
      std::sort(order.begin(), order.end(), comes_before);
    }

    std::string text;
    text.reserve(method.size() + path.size() + size_ + 2 + order.size());
    text.append(method).append("\n").append(path).append("\n");
    const Parameter* last = nullptr;
    for (const Parameter* parameter : order) {
      if (last != nullptr && form == SignedForm::joined && http::detail::same_word(last->key, parameter->key)) {
        text.push_back(',');
      } else {
        if (last != nullptr) text.push_back('&');
        const std::size_t name = text.size();
        text.append(parameter->name_in(form)).push_back('=');
        std::transform(text.begin() + static_cast<std::ptrdiff_t>(name), text.end(),
                       text.begin() + static_cast<std::ptrdiff_t>(name), http::detail::lower);
      }
      text.append(form == SignedForm::raw ? parameter->raw_value : parameter->value);
      last = parameter;
    }
    return text;
  }

 private:
  struct Parameter {
    std::string_view raw_name;
    std::string_view raw_value;
    std::string_view name;
    std::string_view value;
    std::string_view key;  // the name without `[]`

    [[nodiscard]] bool listed() const noexcept { return key.size() != name.size(); }
    [[nodiscard]] std::string_view name_in(SignedForm form) const noexcept {
      return form == SignedForm::joined ? key : form == SignedForm::listed ? name : raw_name;
    }
  };

  [[nodiscard]] Refusal read_any(std::string_view query) {
    size_ = query.size();
    const bool plain = is_plain(query);
    if (!plain) decoded_.reserve(query.size());
    parameters_.reserve(usual);
    for (http::QueryParameter raw; http::take_parameter(query, raw);) {
      if (parameters_.size() == most) return http::text_response(400, "There are too many parameters in the query");
      Parameter parameter{raw.name, raw.value, raw.name, raw.value, {}};
      if (!plain) {
        parameter.name = decode(raw.name);
        parameter.value = decode(raw.value);
      }
      const std::size_t bracket = parameter.name.ends_with(']') ? parameter.name.find('[') : std::string_view::npos;
      parameter.key = parameter.name.substr(0, bracket);
      for (const Parameter& other : parameters_) {
        if (http::detail::same_word(other.key, parameter.key) && !(other.listed() && parameter.listed())) {
          return http::text_response(400, "This parameter stands in the query twice: " + in_quotes(excerpt(raw.name)));
        }
      }
      has_lists_ = has_lists_ || parameter.listed();
      parameters_.push_back(parameter);
    }
    return std::nullopt;
  }

  /// Negative where `a` comes before `b` without regard to case, 0 where they are the same word.
  [[nodiscard]] static int compare(std::string_view a, std::string_view b) noexcept {
    const std::size_t common = std::min(a.size(), b.size());
    for (std::size_t i = 0; i < common; ++i) {
      if (a[i] == b[i]) continue;
      const auto x = static_cast<unsigned char>(http::detail::lower(a[i]));
      const auto y = static_cast<unsigned char>(http::detail::lower(b[i]));
      if (x != y) return x < y ? -1 : 1;
    }
    return a.size() == b.size() ? 0 : a.size() < b.size() ? -1 : 1;
  }

  [[nodiscard]] static bool is_plain(std::string_view text) noexcept {
    return text.find('%') == std::string_view::npos && text.find('+') == std::string_view::npos;
  }

  /// What cannot be decoded means itself.
  [[nodiscard]] std::string_view decode(std::string_view text) {
    if (is_plain(text)) return text;
    const std::optional<std::string> decoded = http::percent_decode(text, true);
    if (!decoded) return text;
    const std::size_t begin = decoded_.size();
    decoded_.append(*decoded);  // never more than the query: what is in there stays where it is
    return std::string_view(decoded_).substr(begin);
  }

  static constexpr std::size_t usual = 8;
  static constexpr std::size_t most = 256;

  PlainQuery plain_query_;
  bool is_plain_query_ = false;
  std::vector<Parameter> parameters_;  // of a query that is not plain, as all that follows
  std::string decoded_;
  std::size_t size_ = 0;
  bool has_lists_ = false;
};

// ---- authentication

/// Whether the request comes from somebody who knows the application's secret. In the order of the protocol's servers:
/// the key, the version, the time, the body's MD5, the signature.
///
/// \param path  what is signed: without the prefix, not decoded.
[[nodiscard]] inline Refusal authenticate(const App& app, const http::Request& request, std::string_view path,
                                          const ApiQuery& query, std::chrono::seconds now,
                                          std::chrono::seconds tolerance, Signer& signer) {
  const auto missing = [](std::string_view name) {
    return http::text_response(401, "Missing required parameter: " + std::string(name) +
                                        " (a request has auth_key, auth_timestamp, auth_version, auth_signature and, "
                                        "where there is a body, body_md5)");
  };
  const auto key = query.find(AuthParameter::auth_key);
  if (!key) return missing("auth_key");
  const std::string* const secret = app.secret_of(*key);
  if (secret == nullptr) return http::text_response(401, "Unknown auth_key " + in_quotes(excerpt(*key)));

  const auto version = query.find(AuthParameter::auth_version);
  if (!version) return missing("auth_version");
  if (*version != "1.0") return http::text_response(401, "Version not supported: auth_version has to be 1.0");

  const auto timestamp = query.find(AuthParameter::auth_timestamp);
  if (!timestamp) return missing("auth_timestamp");
  std::int64_t time = 0;
  const char* const end = timestamp->data() + timestamp->size();
  const auto [at, failure] = std::from_chars(timestamp->data(), end, time);
  if (failure == std::errc::invalid_argument || at != end) {
    return http::text_response(401, "auth_timestamp has to be the seconds since 1970 in UTC, as a number");
  }
  const std::int64_t today = now.count();
  // Unsigned: the difference of any two numbers has room.
  const std::uint64_t apart = time > today ? static_cast<std::uint64_t>(time) - static_cast<std::uint64_t>(today)
                                           : static_cast<std::uint64_t>(today) - static_cast<std::uint64_t>(time);
  if (failure != std::errc{} || apart > static_cast<std::uint64_t>(std::max<std::int64_t>(tolerance.count(), 0))) {
    return http::text_response(401, "Timestamp expired: Given timestamp (" + std::string(excerpt(*timestamp, 24)) +
                                        ") not within " + std::to_string(tolerance.count()) + "s of server time (" +
                                        std::to_string(today) + ")");
  }

  const auto body_md5 = query.find(AuthParameter::body_md5);
  if (!body_md5 && !request.body.empty()) return missing("body_md5");
  if (body_md5) {
    const HexDigest<16> digest = signer.md5(request.body);
    if (!digest.ok) return http::text_response(500, "This server's libcrypto has no MD5, which the protocol needs");
    if (*body_md5 != digest.view()) {
      return http::text_response(401, "Invalid body_md5: the body's MD5 is " + in_quotes(digest.view()) +
                                          ", but you sent " + in_quotes(excerpt(*body_md5)));
    }
  }

  const auto signature = query.find(AuthParameter::auth_signature);
  if (!signature) return missing("auth_signature");
  SignedText text;
  std::string decoded_path;
  if (path.find('%') != std::string_view::npos) decoded_path = http::percent_decode(path, false).value_or(decoded_path);
  for (const SignedForm form : {SignedForm::joined, SignedForm::listed, SignedForm::raw}) {
    if (!query.has(form)) continue;
    for (const std::string_view signed_path : {path, std::string_view(decoded_path)}) {
      if (signed_path.empty()) continue;
      if (signer.signature_matches(*secret, query.signed_text(request.method, signed_path, form, text), *signature)) {
        return std::nullopt;
      }
    }
  }
  return http::text_response(401, "Invalid signature: you should have sent HmacSHA256Hex(" +
                                      in_quotes(query.signed_text(request.method, path, SignedForm::joined)) +
                                      ", your_secret_key), but you sent " + in_quotes(excerpt(*signature)));
}

// ---- info

/// Which attributes of channels a request asks for.
struct ApiInfo {
  bool user_count = false;
  bool subscription_count = false;
  bool cache = false;

  [[nodiscard]] bool any() const noexcept { return user_count || subscription_count || cache; }
};

/// What may be asked about.
enum class InfoAbout : std::uint8_t {
  some_channels,  ///< The counts.
  one_channel,    ///< Also the cache.
};

[[nodiscard]] inline bool has_members(std::string_view channel) noexcept {
  return ChannelName::has_members(ChannelName::kind(channel));
}

[[nodiscard]] inline Refusal read_info(std::string_view text, InfoAbout about, ApiInfo& info) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view attribute = http::detail::trim(text.substr(0, end));
    if (attribute == "user_count") {
      info.user_count = true;
    } else if (attribute == "subscription_count") {
      info.subscription_count = true;
    } else if (attribute == "cache" && about == InfoAbout::one_channel) {
      info.cache = true;
    } else {
      const std::string_view known = about == InfoAbout::one_channel ? "user_count, subscription_count and cache"
                                                                     : "user_count and subscription_count";
      return http::text_response(400, joined({"info should be a comma separated list of attributes, which are ", known,
                                              "; this is none of them: ", in_quotes(excerpt(attribute))}));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::nullopt;
}

/// Appends `"name":value` to an object that is being written.
inline void append_member(std::string& object, std::string_view name, std::string_view value) {
  if (object.back() != '{') object.push_back(',');
  object.append("\"").append(name).append("\":").append(value);
}

/// Appends the counts that were asked for and that a channel of this kind has.
inline void append_counts(std::string& object, const App& app, const ApiInfo& info, std::string_view channel,
                          std::size_t subscribers) {
  if (info.user_count && has_members(channel)) {
    append_member(object, "user_count", std::to_string(app.user_count(channel)));
  }
  if (info.subscription_count) append_member(object, "subscription_count", std::to_string(subscribers));
}

/// Appends the last event of a cache channel.
inline void append_cache(std::string& object, const App& app, std::string_view channel) {
  const std::optional<App::Cached> cached = app.cached(channel);
  if (!cached) return append_member(object, "cache", "null");
  append_member(object, "cache", R"({"data":)");
  append_json_string(object, cached->message->data());
  append_member(object, "ttl", std::to_string(cached->ttl.count()));
  object += '}';
}

// ---- events

/// One event that is to be triggered. Its views point into the request and what was parsed of it.
struct ApiEvent {
  std::string_view name;
  NameList channels;  // each once
  std::string_view socket_id;
  ApiInfo info;
  Retain retain = Retain::by_rule;
  std::optional<Hold> hold;
  bool held = false;       // it waits for somebody
  std::string_view text;   // the data, if it came as a string
  std::string serialised;  // the data, if it came as another JSON value

  [[nodiscard]] std::string_view data() const noexcept { return serialised.empty() ? text : serialised; }
};

[[nodiscard]] inline std::string_view view(const boost::json::string& text) noexcept {
  return {text.data(), text.size()};
}

/// The parameters of an event: members of a JSON object, and parameters of the query where it has none of that name.
class ApiFields {
 public:
  /// Either may be null.
  ApiFields(const boost::json::object* object, const ApiQuery* query) noexcept : object_(object), query_(query) {}
  ApiFields(const PlainEvent& plain, const ApiQuery& query) noexcept : plain_(&plain), query_(&query) {}

  /// null where there is none, or where it is `null`.
  [[nodiscard]] const boost::json::value* member(std::string_view name) const noexcept {
    if (object_ == nullptr) return nullptr;
    const boost::json::value* const found = object_->if_contains({name.data(), name.size()});
    return found == nullptr || found->is_null() ? nullptr : found;
  }

  [[nodiscard]] Refusal text(EventMember which, std::optional<std::string_view>& out) const {
    const std::string_view name = to_string(which);
    if (plain_ != nullptr && plain_->text(which)) {
      out = plain_->text(which);
    } else if (const boost::json::value* const found = member(name)) {
      const boost::json::string* const string = found->if_string();
      if (string == nullptr) return http::text_response(400, std::string(name) + " has to be a string");
      out = view(*string);
    } else if (query_ != nullptr && query_->has_others()) {
      out = query_->find(name);
      if (out && !fanfare::detail::is_utf8(*out)) {
        return http::text_response(400, std::string(name) + " is not valid UTF-8");
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] const PlainEvent* plain() const noexcept { return plain_; }
  [[nodiscard]] const ApiQuery* query() const noexcept { return query_; }

 private:
  const PlainEvent* plain_ = nullptr;
  const boost::json::object* object_ = nullptr;
  const ApiQuery* query_;
};

[[nodiscard]] inline Refusal check_channel(std::string_view channel, const Limits& limits) {
  const errc error = ChannelName::check(channel, limits.channel_name);
  if (error == errc::ok) return std::nullopt;
  std::string text = "Invalid channel name " + in_quotes(excerpt(channel)) + ": " + std::string(message(error));
  if (error == errc::name_too_long) text += " (at most " + std::to_string(limits.channel_name) + " bytes)";
  return http::text_response(400, std::move(text));
}

inline constexpr std::int64_t most_held_for = 1'000'000;

[[nodiscard]] inline Refusal not_a_retain() {
  return http::text_response(400, "retain has to be true, false or \"clear\"");
}

[[nodiscard]] inline Refusal not_an_array_of_strings() {
  return http::text_response(400, "channels has to be an array of strings");
}

[[nodiscard]] inline Refusal add_channel(ApiEvent& event, std::string_view channel, const Limits& limits) {
  Refusal refusal = check_channel(channel, limits);
  const std::span<const std::string_view> known = event.channels.all();
  if (!refusal && std::find(known.begin(), known.end(), channel) == known.end()) event.channels.push_back(channel);
  return refusal;
}

/// The channels of `channels` and `channel`, each once.
[[nodiscard]] inline Refusal read_channels(const ApiFields& fields, const Limits& limits, ApiEvent& event) {
  const boost::json::value* const list = fields.member("channels");
  const boost::json::array* const array = list == nullptr ? nullptr : list->if_array();
  if (list != nullptr && array == nullptr) return not_an_array_of_strings();
  const NameList* const names = fields.plain() == nullptr ? nullptr : fields.plain()->channels();
  std::optional<std::string_view> one;
  if (Refusal refusal = fields.text(EventMember::channel, one)) return refusal;

  // How many are named is refused before any of the names is.
  std::size_t count = one ? 1 : 0;
  if (names != nullptr) {
    count += names->size();
  } else if (array != nullptr) {
    count += array->size();
  } else if (fields.query() != nullptr) {
    fields.query()->each("channels", [&](std::string_view) { ++count; });
  }
  if (count == 0) return missing_parameter("channels");
  if (count > limits.channels_per_trigger) {
    return http::text_response(
        400, "Too many channels (" + std::to_string(count) + " > " + std::to_string(limits.channels_per_trigger) + ")");
  }

  Refusal refusal;
  if (names != nullptr) {
    for (const std::string_view name : names->all()) {
      refusal = add_channel(event, name, limits);
      if (refusal) return refusal;
    }
  } else if (array != nullptr) {
    for (const boost::json::value& name : *array) {
      const boost::json::string* const string = name.if_string();
      refusal = string == nullptr ? not_an_array_of_strings() : add_channel(event, view(*string), limits);
      if (refusal) return refusal;
    }
  } else if (fields.query() != nullptr) {
    fields.query()->each("channels", [&](std::string_view name) {
      if (!refusal) refusal = add_channel(event, name, limits);
    });
  }
  if (!refusal && one) refusal = add_channel(event, *one, limits);
  return refusal;
}

/// Checks an event's name.
[[nodiscard]] inline Refusal set_name(ApiEvent& event, std::optional<std::string_view> name, const Limits& limits) {
  if (!name) return missing_parameter("name");
  if (const errc error = check_event_name(*name, limits.event_name); error != errc::ok) {
    std::string text = "Invalid event name " + in_quotes(excerpt(*name)) + ": " + std::string(message(error));
    if (error == errc::event_too_long) text += " (at most " + std::to_string(limits.event_name) + " bytes)";
    return http::text_response(400, std::move(text));
  }
  event.name = *name;
  return std::nullopt;
}

[[nodiscard]] inline Refusal check_data(const ApiEvent& event, const Limits& limits) {
  if (event.data().size() <= limits.data) return std::nullopt;
  return http::text_response(
      413, "The data content of this event exceeds the allowed maximum (" + std::to_string(limits.data) + " bytes).");
}

/// Checks which connection does not get the event.
[[nodiscard]] inline Refusal set_socket_id(ApiEvent& event, std::optional<std::string_view> socket_id) {
  if (!socket_id) return std::nullopt;
  if (!SocketId::well_formed(*socket_id)) {
    return http::text_response(400, "Invalid socket_id " + in_quotes(excerpt(*socket_id)) +
                                        ": it has to be two numbers with a dot between them");
  }
  event.socket_id = *socket_id;
  return std::nullopt;
}

/// `"retain"`: `true` (also where no rule retains anything), `false` or `"clear"`; in a query as these words.
[[nodiscard]] inline Refusal read_retain(const ApiFields& fields, ApiEvent& event) {
  if (const boost::json::value* const found = fields.member("retain"); found != nullptr && !found->is_string()) {
    if (!found->is_bool()) return not_a_retain();
    event.retain = found->get_bool() ? Retain::yes : Retain::no;
    return std::nullopt;
  }
  std::optional<std::string_view> text;
  if (Refusal refusal = fields.text(EventMember::retain, text)) return refusal;
  if (!text) return std::nullopt;
  if (*text == "clear") {
    event.retain = Retain::clear;
  } else if (*text == "true") {
    event.retain = Retain::yes;
  } else if (*text == "false") {
    event.retain = Retain::no;
  } else {
    return not_a_retain();
  }
  return std::nullopt;
}

/// `"hold"`: `{"subscribers":1,"seconds":5}` or `{"user":"ann"}`; what is not there has its default.
[[nodiscard]] inline Refusal read_hold(const ApiFields& fields, ApiEvent& event) {
  const boost::json::value* const found = fields.member("hold");
  if (found == nullptr) return std::nullopt;
  const boost::json::object* const object = found->if_object();
  if (object == nullptr) return http::text_response(400, "hold has to be an object");
  Hold& hold = event.hold.emplace();
  if (const boost::json::value* const count = object->if_contains("subscribers")) {
    const std::int64_t* const number = count->if_int64();
    if (number == nullptr || *number < 1 || *number > most_held_for) {
      return http::text_response(400, "hold.subscribers has to be a number from 1 to 1000000");
    }
    hold.subscribers = static_cast<std::size_t>(*number);
  }
  if (const boost::json::value* const seconds = object->if_contains("seconds")) {
    const double number = seconds->is_number() ? seconds->to_number<double>() : 0;
    if (!(number > 0 && number <= std::chrono::duration<double>(Hold::longest).count())) {
      return http::text_response(400, "hold.seconds has to be a number above 0 and up to 3600");
    }
    hold.time = std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(number));
  }
  if (const boost::json::value* const user = object->if_contains("user")) {
    const boost::json::string* const id = user->if_string();
    if (id == nullptr || id->empty()) return http::text_response(400, "hold.user has to be a user's id");
    hold.user = view(*id);
  }
  return std::nullopt;
}

/// Whether an event can be held for the channels that it names.
[[nodiscard]] inline Refusal check_hold(const ApiEvent& event) {
  if (!event.hold) return std::nullopt;
  if (event.channels.size() != 1) return http::text_response(400, "An event with hold has to be for one channel");
  if (!event.hold->user.empty() && !has_members(event.channels.all().front())) {
    return http::text_response(400, "hold.user needs a presence channel");
  }
  return std::nullopt;
}

/// Reads and checks everything but the channels.
[[nodiscard]] inline Refusal read_event(const ApiFields& fields, const Limits& limits, ApiEvent& event) {
  std::optional<std::string_view> name;
  if (Refusal refusal = fields.text(EventMember::name, name)) return refusal;
  if (Refusal refusal = set_name(event, name, limits)) return refusal;

  if (const boost::json::value* const data = fields.member("data"); data != nullptr && !data->is_string()) {
    event.serialised = boost::json::serialize(*data);
  } else {
    std::optional<std::string_view> text;
    if (Refusal refusal = fields.text(EventMember::data, text)) return refusal;
    if (!text) return missing_parameter("data");
    event.text = *text;
  }
  if (Refusal refusal = check_data(event, limits)) return refusal;

  std::optional<std::string_view> socket_id;
  if (Refusal refusal = fields.text(EventMember::socket_id, socket_id)) return refusal;
  if (Refusal refusal = set_socket_id(event, socket_id)) return refusal;

  if (Refusal refusal = read_retain(fields, event)) return refusal;
  if (Refusal refusal = read_hold(fields, event)) return refusal;

  std::optional<std::string_view> info;
  if (Refusal refusal = fields.text(EventMember::info, info)) return refusal;
  return read_info(info.value_or(std::string_view{}), InfoAbout::some_channels, event.info);
}

/// The answer to an event that was refused after all names and sizes had been found to be right.
/// \param channels  how many it was for: where there are several, some may have got it.
[[nodiscard]] inline http::Response not_delivered(errc error, std::size_t channels) {
  unsigned status = 503;
  switch (error) {
    case errc::overloaded:
    case errc::out_of_memory:
    case errc::closed: break;
    case errc::ok:
    case errc::nested_too_deep: status = 500; break;
    case errc::data_too_large: status = 413; break;
    case errc::empty_name:
    case errc::name_too_long:
    case errc::bad_character:
    case errc::reserved_name:
    case errc::event_too_long:
    case errc::too_many_channels:
    case errc::not_utf8: status = 400; break;
  }
  http::Response response = http::text_response(
      status, (channels == 1 ? "The event was not delivered: " : "The event was not delivered to all channels: ") +
                  std::string(message(error)));
  if (status == 503) response.fields.push_back({"Retry-After", "1"});
  return response;
}

/// Triggers an event.
/// \param threw  set where a callback of this program threw; all subscribers got the event then.
/// \param kept   what the answer has to wait for, too.
[[nodiscard]] inline Refusal deliver(App& app, ApiEvent& event, [[maybe_unused]] bool& threw, KeptTicket& kept) {
  const TriggerOptions options{.except_socket = event.socket_id, .retain = event.retain, .kept = &kept};
  TriggerResult result;
#if FANFARE_EXCEPTIONS
  try {
#endif
    const std::span<const std::string_view> channels = event.channels.all();
    if (event.hold) {
      const HoldResult held =
          app.trigger_held(channels.front(), event.name, event.data(), *std::move(event.hold), options);
      event.held = held.held;
      result = held.result;
    } else {
      result = channels.size() == 1 ? app.trigger(channels.front(), event.name, event.data(), options)
                                    : app.trigger(channels, event.name, event.data(), options);
    }
#if FANFARE_EXCEPTIONS
  } catch (...) {
    threw = true;
  }
#endif
  if (result.error != errc::ok) return not_delivered(result.error, event.channels.size());
  return std::nullopt;
}

[[nodiscard]] inline http::Response callback_threw() {
  return http::text_response(500, "The event was delivered, but a subscriber within the server threw an exception");
}

/// Reads a body that has to be one JSON object.
/// \param body  null where the request has no body.
[[nodiscard]] inline Refusal read_body(std::string_view text, boost::json::monotonic_resource& memory,
                                       boost::json::value& body) {
  if (text.empty()) return std::nullopt;
  boost::json::parse_options options;
  options.max_depth = 32;
  boost::json::error_code error;
  body = boost::json::parse({text.data(), text.size()}, error, &memory, options);
  if (error == boost::json::error::too_deep) {
    return http::text_response(400, "The body is nested too deep (more than 32 levels)");
  }
  if (error) return http::text_response(400, "The body is not valid JSON in UTF-8");
  if (!body.is_object()) return http::text_response(400, "The body has to be a JSON object");
  return std::nullopt;
}

/// Memory for what a body says: enough for an ordinary event without an allocation.
struct ApiMemory {
  std::array<unsigned char, 4096> buffer;
  boost::json::monotonic_resource resource{buffer.data(), buffer.size()};
};

inline void append_held(std::string& object, const ApiEvent& event) {
  append_member(object, "held", event.held ? "true" : "false");
}

[[nodiscard]] inline http::Response post_event(App& app, const ApiFields& fields, KeptTicket& kept) {
  const Limits& limits = app.options().limits;
  ApiEvent event;
  if (Refusal refusal = read_event(fields, limits, event)) return *std::move(refusal);
  if (Refusal refusal = read_channels(fields, limits, event)) return *std::move(refusal);
  if (Refusal refusal = check_hold(event)) return *std::move(refusal);

  bool threw = false;
  if (Refusal refusal = deliver(app, event, threw, kept)) return *std::move(refusal);
  if (threw) return callback_threw();
  if (!event.hold && !event.info.any()) return http::json_response(200, "{}");
  std::string answer = "{";
  if (event.hold) append_held(answer, event);
  if (event.info.any()) {
    std::string channels = "{";
    for (const std::string_view channel : event.channels.all()) {
      std::string attributes = "{";
      append_counts(attributes, app, event.info, channel, app.subscribers(channel));
      append_member(channels, channel, attributes += '}');  // the characters of a name need no escape
    }
    append_member(answer, "channels", channels += '}');
  }
  return http::json_response(200, answer += '}');
}

/// One whose body is not as most are.
[[nodiscard]] FANFARE_NOINLINE inline http::Response post_any_event(App& app, const http::Request& request,
                                                                    const ApiQuery& query, KeptTicket& kept) {
  ApiMemory memory;
  boost::json::value body(&memory.resource);
  if (Refusal refusal = read_body(request.body, memory.resource, body)) return *std::move(refusal);
  return post_event(app, ApiFields(body.if_object(), &query), kept);
}

/// `POST /apps/ID/events`
[[nodiscard]] inline http::Response post_events(App& app, const http::Request& request, const ApiQuery& query,
                                                KeptTicket& kept) {
  PlainEvent plain;
  return plain.read(request.body) ? post_event(app, ApiFields(plain, query), kept)
                                  : post_any_event(app, request, query, kept);
}

/// `POST /apps/ID/batch_events`: all events are checked before the first is triggered.
[[nodiscard]] inline http::Response post_batch_events(App& app, const http::Request& request, std::size_t most,
                                                      KeptTicket& kept) {
  ApiMemory memory;
  boost::json::value body(&memory.resource);
  if (Refusal refusal = read_body(request.body, memory.resource, body)) return *std::move(refusal);
  const boost::json::value* const batch = ApiFields(body.if_object(), nullptr).member("batch");
  if (batch == nullptr) return missing_parameter("batch");
  const boost::json::array* const items = batch->if_array();
  if (items == nullptr) return http::text_response(400, "batch has to be an array of objects");
  if (items->size() > most) {
    return http::text_response(
        400, "Batch too large (" + std::to_string(items->size()) + " > " + std::to_string(most) + ")");
  }

  const auto at_item = [](http::Response response, std::size_t i, std::string_view what_of_others = {}) {
    response.body.pop_back();  // the line feed
    response.body.append(" (batch[").append(std::to_string(i)).append("]").append(what_of_others).append(")\n");
    return response;
  };
  const Limits& limits = app.options().limits;
  std::vector<ApiEvent> events(items->size());
  bool asked = false;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const boost::json::object* const object = (*items)[i].if_object();
    if (object == nullptr) return at_item(http::text_response(400, "batch has to be an array of objects"), i);
    const ApiFields fields(object, nullptr);
    std::optional<std::string_view> channel;
    Refusal refusal = read_event(fields, limits, events[i]);
    if (!refusal) refusal = fields.text(EventMember::channel, channel);
    if (!refusal) refusal = channel ? add_channel(events[i], *channel, limits) : missing_parameter("channel");
    if (!refusal) refusal = check_hold(events[i]);
    if (refusal) return at_item(*std::move(refusal), i);
    asked = asked || events[i].hold || events[i].info.any();
  }

  bool threw = false;
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (Refusal refusal = deliver(app, events[i], threw, kept)) {
      return at_item(*std::move(refusal), i, "; those before it were delivered");
    }
  }
  if (threw) return callback_threw();
  if (!asked) return http::json_response(200, "{}");
  std::string answer = R"({"batch":[)";
  for (const ApiEvent& event : events) {
    if (answer.back() != '[') answer += ',';
    answer += '{';
    if (event.hold) append_held(answer, event);
    const std::string_view channel = event.channels.all().front();
    append_counts(answer, app, event.info, channel, app.subscribers(channel));
    answer += '}';
  }
  return http::json_response(200, answer += "]}");
}

/// `POST /apps/ID/channels/NAME/events`, deprecated: the body is the data.
[[nodiscard]] inline http::Response post_channel_event(App& app, const http::Request& request, std::string_view channel,
                                                       const ApiQuery& query, KeptTicket& kept) {
  const Limits& limits = app.options().limits;
  const ApiFields fields(nullptr, &query);
  ApiEvent event;
  std::optional<std::string_view> name;
  std::optional<std::string_view> socket_id;
  Refusal refusal = add_channel(event, channel, limits);
  if (!refusal) refusal = fields.text(EventMember::name, name);
  if (!refusal) refusal = set_name(event, name, limits);
  if (!refusal) refusal = fields.text(EventMember::socket_id, socket_id);
  if (!refusal) refusal = set_socket_id(event, socket_id);
  event.text = request.body;
  if (!refusal) refusal = check_data(event, limits);
  if (!refusal && !fanfare::detail::is_utf8(event.text)) {
    refusal = http::text_response(400, "The body is not valid UTF-8");
  }
  bool threw = false;
  if (!refusal) refusal = deliver(app, event, threw, kept);
  if (refusal) return *std::move(refusal);
  if (threw) return callback_threw();
  http::Response response;
  response.status = 202;
  return response;
}

// ---- users

/// `POST /apps/ID/users/USER/terminate_connections`. A user whom nobody knows has no connections: no error.
[[nodiscard]] inline http::Response terminate_connections(App& app, const http::Request& request,
                                                          std::string_view user_id) {
  ApiMemory memory;
  boost::json::value body(&memory.resource);
  if (Refusal refusal = read_body(request.body, memory.resource, body)) return *std::move(refusal);
  app.terminate(user_id);
  return http::json_response(200, "{}");
}

/// `GET /apps/ID/channels/NAME/users`
[[nodiscard]] inline http::Response get_users(const App& app, std::string_view channel) {
  if (Refusal refusal = check_channel(channel, app.options().limits)) return *std::move(refusal);
  if (!has_members(channel)) return http::text_response(400, "Users can only be retrieved for presence channels");
  std::string answer = R"({"users":[)";
  for (const MemberPtr& member : app.members(channel)) {
    if (answer.back() != '[') answer += ',';
    answer += R"({"id":)";
    data::append_user_id(answer, *member);
    answer += '}';
  }
  return http::json_response(200, answer += "]}");
}

// ---- queries

/// `GET /apps/ID/channels`
[[nodiscard]] inline http::Response get_channels(const App& app, const ApiQuery& query) {
  ApiInfo info;
  if (Refusal refusal = read_info(query.find("info").value_or(std::string_view{}), InfoAbout::some_channels, info)) {
    return *std::move(refusal);
  }
  const std::string_view prefix = query.find("filter_by_prefix").value_or(std::string_view{});
  if (info.user_count && !has_members(prefix)) {
    return http::text_response(400,
                               "user_count may only be requested for presence channels - please supply "
                               "filter_by_prefix begining with presence-");
  }
  std::string answer = R"({"channels":{)";
  const errc error = app.for_each_channel(
      [&](std::string_view channel, std::size_t subscribers) {
        if (channel.starts_with('#')) return;  // those of users and of the protocol itself are nobody's business
        append_member(answer, channel, "{");
        append_counts(answer, app, info, channel, subscribers);
        answer += '}';
      },
      prefix);
  if (error != errc::ok) {
    http::Response response = http::text_response(503, "The channels cannot be listed: " + std::string(message(error)));
    response.fields.push_back({"Retry-After", "1"});
    return response;
  }
  return http::json_response(200, answer += "}}");
}

/// `GET /apps/ID/channels/NAME`
[[nodiscard]] inline http::Response get_channel(const App& app, std::string_view channel, const ApiQuery& query) {
  if (Refusal refusal = check_channel(channel, app.options().limits)) return *std::move(refusal);
  ApiInfo info;
  if (Refusal refusal = read_info(query.find("info").value_or(std::string_view{}), InfoAbout::one_channel, info)) {
    return *std::move(refusal);
  }
  if (info.user_count && !has_members(channel)) {
    return http::text_response(400, "Cannot retrieve the user count unless the channel is a presence channel");
  }
  if (info.cache && !ChannelName::caches(ChannelName::kind(channel))) {
    return http::text_response(400, "Cannot retrieve the cache unless the channel is a cache channel");
  }
  const std::size_t subscribers = app.subscribers(channel);
  std::string answer = "{";
  append_member(answer, "occupied", subscribers != 0 ? "true" : "false");
  append_counts(answer, app, info, channel, subscribers);
  if (info.cache) append_cache(answer, app, channel);
  return http::json_response(200, answer += '}');
}

/// `GET /apps/ID/channels/NAME/stats`, deprecated.
[[nodiscard]] inline http::Response get_stats(const App& app, std::string_view channel) {
  if (Refusal refusal = check_channel(channel, app.options().limits)) return *std::move(refusal);
  const std::size_t subscribers = app.subscribers(channel);
  std::string answer = "{";
  append_member(answer, "occupied", subscribers != 0 ? "true" : "false");
  append_counts(answer, app, {.user_count = true}, channel, subscribers);
  append_member(answer, "connection_count", std::to_string(subscribers));
  return http::json_response(200, answer += '}');
}

// ---- history

/// A positive number of a query. \returns whether it is one, or not there.
[[nodiscard]] inline bool read_number(const ApiQuery& query, std::string_view name, std::size_t& out) noexcept {
  const std::optional<std::string_view> text = query.find(name);
  if (!text) return true;
  const char* const end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, out);
  return error == std::errc{} && at == end && out != 0;
}

/// `GET /apps/ID/channels/NAME/history?order=oldest|newest&from=ID&limit=N`. Not of Pusher.
[[nodiscard]] inline http::Response get_history(const App& app, std::string_view channel, const ApiQuery& query,
                                                std::chrono::seconds since_1970) {
  if (Refusal refusal = check_channel(channel, app.options().limits)) return *std::move(refusal);
  constexpr std::size_t most = 1000;
  std::size_t limit = 100;
  if (!read_number(query, "limit", limit) || limit > most) {
    return http::text_response(400, "limit has to be a number from 1 to " + std::to_string(most));
  }
  const std::string_view order_name = query.find("order").value_or("oldest");
  if (order_name != "oldest" && order_name != "newest") {
    return http::text_response(400, "order has to be oldest or newest: which events come first");
  }
  const HistoryOrder order = order_name == "oldest" ? HistoryOrder::oldest_first : HistoryOrder::newest_first;
  std::optional<EventId> from;
  if (const std::optional<std::string_view> text = query.find("from")) {
    from = event_id_from(*text);
    if (!from) return http::text_response(400, "from has to be the id of an event: " + in_quotes(excerpt(*text)));
  }

  std::vector<HistoryEntry> entries;
  entries.reserve(limit);
  const std::optional<HistoryPage> page =
      app.history(channel, order, from, limit, [&](const HistoryEntry& entry) { entries.push_back(entry); });
  if (!page) return http::text_response(404, "There is no history of the channel " + in_quotes(excerpt(channel)));
  const auto now = std::chrono::steady_clock::now();
  std::string answer = R"({"events":[)";
  for (const HistoryEntry& entry : entries) {
    if (answer.back() != '[') answer += ',';
    answer.append(R"({"id":")").append(to_text(entry.id).view()).append(R"(","event":)");
    append_json_string(answer, entry.message->name());
    answer += R"(,"data":)";
    append_json_string(answer, entry.message->data());
    if (!entry.message->user_id().empty()) {
      answer += R"(,"user_id":)";
      append_json_string(answer, entry.message->user_id());
    }
    const auto age = std::chrono::floor<std::chrono::seconds>(now - entry.time);
    answer.append(R"(,"time":)").append(std::to_string((since_1970 - age).count())).append("}");
  }
  // Whether all that was said behind `from` is there, or was once: who reads on page by page may come too late.
  answer.append(R"(],"complete":)").append(page->reach == Reach::whole ? "true" : "false");
  answer.append(R"(,"more":)").append(page->more ? "true" : "false");
  if (page->next.epoch != 0) answer.append(R"(,"next":")").append(to_text(page->next).view()).append("\"");
  return http::json_response(200, answer += '}');
}

// ---- routes

enum class Endpoint : std::uint8_t {
  none,
  events,
  batch_events,
  channels,
  channel,
  channel_users,
  channel_stats,
  channel_history,
  channel_events,
  terminate_connections,
};

struct ApiRoute {
  Endpoint endpoint = Endpoint::none;
  std::string app_id;
  std::string name;  // of the channel or the user

  [[nodiscard]] bool reads() const noexcept {
    switch (endpoint) {
      case Endpoint::channels:
      case Endpoint::channel:
      case Endpoint::channel_users:
      case Endpoint::channel_stats:
      case Endpoint::channel_history: return true;
      case Endpoint::none:
      case Endpoint::events:
      case Endpoint::batch_events:
      case Endpoint::channel_events:
      case Endpoint::terminate_connections: return false;
    }
    return false;
  }
  [[nodiscard]] std::string_view allowed() const noexcept { return reads() ? "GET, HEAD, OPTIONS" : "POST, OPTIONS"; }
  [[nodiscard]] bool allows(std::string_view method) const noexcept {
    return reads() ? method == "GET" || method == "HEAD" : method == "POST";
  }
};

/// What lies directly below an application.
[[nodiscard]] inline Endpoint endpoint_of(std::string_view text) noexcept {
  if (text == "events") return Endpoint::events;
  if (text == "batch_events") return Endpoint::batch_events;
  if (text == "channels") return Endpoint::channels;
  return Endpoint::none;
}

/// What is done with one channel or one user. \param action  with the slash in front; empty where the path has none.
[[nodiscard]] inline Endpoint endpoint_of(std::string_view collection, std::string_view action) noexcept {
  if (collection == "channels") {
    if (action.empty()) return Endpoint::channel;
    if (action == "/users") return Endpoint::channel_users;
    if (action == "/stats") return Endpoint::channel_stats;
    if (action == "/history") return Endpoint::channel_history;
    if (action == "/events") return Endpoint::channel_events;
  } else if (collection == "users" && action == "/terminate_connections") {
    return Endpoint::terminate_connections;
  }
  return Endpoint::none;
}

/// \param path  `/apps/…`, not decoded: names may have escaped slashes.
[[nodiscard]] inline ApiRoute route(std::string_view path) {
  const auto decoded = [](std::string_view text) {
    if (text.find('%') == std::string_view::npos) return std::string(text);
    return http::percent_decode(text, false).value_or(std::string(text));
  };
  constexpr std::string_view apps = "/apps/";
  ApiRoute result;
  path.remove_prefix(apps.size());
  const std::size_t slash = path.find('/');
  if (slash == std::string_view::npos) return result;
  result.app_id = decoded(path.substr(0, slash));
  const std::string_view rest = path.substr(slash + 1);
  const std::size_t end = rest.find('/');
  if (end == std::string_view::npos) {
    result.endpoint = endpoint_of(rest);
    return result;
  }
  std::string_view name = rest.substr(end + 1);
  const std::size_t name_end = std::min(name.find('/'), name.size());
  const std::string_view action = name.substr(name_end);
  name = name.substr(0, name_end);
  if (name.empty()) return result;
  result.endpoint = endpoint_of(rest.substr(0, end), action);
  if (result.endpoint != Endpoint::none) result.name = decoded(name);
  return result;
}

[[nodiscard]] inline http::Response no_such_endpoint() {
  return http::text_response(404,
                             "This endpoint does not exist. Below /apps/ID there are POST events, POST batch_events, "
                             "GET channels, GET channels/NAME, GET channels/NAME/users, GET channels/NAME/stats, GET "
                             "channels/NAME/history, POST "
                             "channels/NAME/events and POST users/USER/terminate_connections");
}

/// The answer to a method that does nothing here, OPTIONS among them.
/// \param cors  whether a browser is answered that asks what it may do (Fetch standard, "CORS-preflight request").
[[nodiscard]] inline http::Response other_method(const http::Request& request, const ApiRoute& route, bool cors) {
  http::Response response;
  if (request.method == "OPTIONS") {
    response.status = 204;
  } else {
    response = http::text_response(405, "The method has to be one of " + std::string(route.allowed()));
  }
  response.fields.push_back({"Allow", std::string(route.allowed())});
  if (cors && response.status == 204 && request.find("Access-Control-Request-Method") != nullptr) {
    response.fields.push_back({"Access-Control-Allow-Methods", std::string(route.allowed())});
    // Older browsers know no `*`: the names are those that SDKs send.
    response.fields.push_back({"Access-Control-Allow-Headers", "Content-Type, X-Pusher-Library, *"});
    response.fields.push_back({"Access-Control-Max-Age", "86400"});
  }
  return response;
}

}  // namespace detail

/// What an answer of the API waits for: that the events which it acknowledges outlive the program. Empty: for nothing.
struct ApiWait {
  App* app = nullptr;
  KeptTicket ticket{};

  /// Whether there is something to wait for.
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(ticket); }
  /// A moment's view.
  [[nodiscard]] KeptOutcome outcome() const noexcept {
    return app == nullptr ? KeptOutcome::durable : app->kept_outcome(ticket);
  }
};

/// The HTTP API of Pusher Channels, for backends: a function from a request to a response, which any HTTP server can
/// mount.
///
/// | endpoint | what it does |
/// |---|---|
/// | `POST PREFIX/apps/ID/events` | triggers one event on some channels |
/// | `POST PREFIX/apps/ID/batch_events` | triggers some events on one channel each |
/// | `GET PREFIX/apps/ID/channels` | lists the occupied channels |
/// | `GET PREFIX/apps/ID/channels/NAME` | tells whether a channel is occupied, and its last event |
/// | `GET PREFIX/apps/ID/channels/NAME/users` | lists the users in a presence channel |
/// | `GET PREFIX/apps/ID/channels/NAME/history` | lists the events that a channel with a history keeps, page by page; not of Pusher |
/// | `POST PREFIX/apps/ID/users/USER/terminate_connections` | closes the connections on which a user has signed in |
/// | `POST PREFIX/apps/ID/channels/NAME/events` | deprecated: triggers one event, whose data is the body |
/// | `GET PREFIX/apps/ID/channels/NAME/stats` | deprecated: tells whether a channel is occupied |
///
/// Every request is signed with the application's secret. Equal requests within the tolerance are served each time:
/// backends do repeat themselves, and only TLS keeps others from it.
///
/// \ownership  of nothing: the directory outlives it.
/// Thread safety: all members from any thread, concurrently.
template <AppDirectory D>
class HttpApi {
 public:
  /// \param apps      outlives this.
  /// \param options   their `path_prefix` may have slashes at its ends, or none.
  explicit HttpApi(D& apps, HttpApiOptions options = {}) : apps_(&apps), options_(std::move(options)) {
    std::string& prefix = options_.path_prefix;
    while (prefix.ends_with('/')) prefix.pop_back();
    if (!prefix.empty() && !prefix.starts_with('/')) prefix.insert(prefix.begin(), '/');
  }

  /// Whether the path is below `PREFIX/apps/`. Answers to all other requests are somebody else's.
  [[nodiscard]] bool serves(const http::Request& request) const noexcept {
    std::string_view path = request.path();
    if (!path.starts_with(options_.path_prefix)) return false;
    path.remove_prefix(options_.path_prefix.size());
    return path.starts_with("/apps/");
  }

  /// Serves a request, whatever it is.
  ///
  /// \param since_1970  the time of day in UTC, to compare with the request's.
  /// \returns     the answer. Errors are one line of plain text, with the status that hosted Pusher gives.
  /// \progress    that of `App::trigger`; callbacks of this program run inside. Waits where events that it acknowledges
  ///              go to `AppOptions::store`.
  /// \complexity  O(request + what the events cost); O(channels) for the list of channels, O(users) for that of users.
  /// \throws      `std::bad_alloc`. What callbacks throw stays inside: the event is delivered, and the answer is 500.
  [[nodiscard]] http::Response operator()(const http::Request& request, std::chrono::seconds since_1970) const {
    Signer signer;
    return (*this)(request, since_1970, signer);
  }
  /// The same for those who serve many.
  /// \param signer  this thread's.
  [[nodiscard]] http::Response operator()(const http::Request& request, std::chrono::seconds since_1970,
                                          Signer& signer) const {
    ApiWait wait;
    http::Response response = (*this)(request, since_1970, signer, wait);
    if (wait && wait.app->wait_kept(wait.ticket) != KeptOutcome::durable) return not_stored(wait);
    return response;
  }
  /// The same for those who must not wait.
  /// \param wait   receives what the answer has to wait for before it is sent: until its outcome is `durable`. If that is
  ///               `lost`, `not_stored` is sent instead.
  [[nodiscard]] http::Response operator()(const http::Request& request, std::chrono::seconds since_1970, Signer& signer,
                                          ApiWait& wait) const {
    http::Response response = answer(request, since_1970, signer, wait);
    // What is refused, in part too, acknowledges nothing.
    if (response.status >= 300) wait = {};
    return finished(std::move(response));
  }

  /// The answer to events that were delivered, and are lost to the store.
  [[nodiscard]] http::Response not_stored(const ApiWait& wait) const {
    const std::string_view trouble = wait.app->store_trouble();
    return finished(http::text_response(500, "The event was delivered, but it could not be stored" +
                                                 (trouble.empty() ? "" : ": " + std::string(trouble))));
  }

 private:
  [[nodiscard]] http::Response finished(http::Response response) const {
    if (options_.cors) response.fields.push_back({"Access-Control-Allow-Origin", "*"});
    return response;
  }

  [[nodiscard]] http::Response answer(const http::Request& request, std::chrono::seconds since_1970, Signer& signer,
                                      ApiWait& wait) const {
    if (request.target.size() > options_.target_bytes) {
      return http::text_response(
          414, "The target is too long (at most " + std::to_string(options_.target_bytes) + " bytes)");
    }
    if (!serves(request)) return detail::no_such_endpoint();
    const std::string_view path = request.path().substr(options_.path_prefix.size());
    const detail::ApiRoute route = detail::route(path);
    if (route.endpoint == detail::Endpoint::none) return detail::no_such_endpoint();
    if (!route.allows(request.method)) return detail::other_method(request, route, options_.cors);
    if (request.body.size() > options_.body_bytes) {
      return http::text_response(413,
                                 "The body is too large (at most " + std::to_string(options_.body_bytes) + " bytes)");
    }
    App* const app = apps_->find_by_id(route.app_id);
    if (app == nullptr) {
      return http::text_response(404, "There is no app with the id " + detail::in_quotes(excerpt(route.app_id)));
    }
    detail::ApiQuery query;
    if (auto refusal = query.read(request.query())) return *std::move(refusal);
    if (auto refusal =
            detail::authenticate(*app, request, path, query, since_1970, options_.timestamp_tolerance, signer)) {
      return *std::move(refusal);
    }
    if (!app->options().enabled) return http::text_response(403, "The app is disabled");

    wait.app = app;
    switch (route.endpoint) {
      case detail::Endpoint::events: return detail::post_events(*app, request, query, wait.ticket);
      case detail::Endpoint::batch_events: return detail::post_batch_events(*app, request, options_.batch, wait.ticket);
      case detail::Endpoint::channels: return detail::get_channels(*app, query);
      case detail::Endpoint::channel: return detail::get_channel(*app, route.name, query);
      case detail::Endpoint::channel_users: return detail::get_users(*app, route.name);
      case detail::Endpoint::channel_stats: return detail::get_stats(*app, route.name);
      case detail::Endpoint::channel_history: return detail::get_history(*app, route.name, query, since_1970);
      case detail::Endpoint::channel_events:
        return detail::post_channel_event(*app, request, route.name, query, wait.ticket);
      case detail::Endpoint::terminate_connections: return detail::terminate_connections(*app, request, route.name);
      case detail::Endpoint::none: break;
    }
    return detail::no_such_endpoint();
  }

  D* apps_;
  HttpApiOptions options_;
};

}  // namespace pusher
FANFARE_NAMESPACE_END
