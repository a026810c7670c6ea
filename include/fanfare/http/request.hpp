/// \file
/// An HTTP request as a plain value, and the tools to read its target.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/detail/text.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

FANFARE_NAMESPACE_BEGIN

namespace http {

namespace detail {

using namespace fanfare::detail::text;

}  // namespace detail

/// One line of a header: `name: value`. The name compares without regard to case, the value has no space around it.
struct Field {
  std::string name;
  std::string value;

  friend bool operator==(const Field&, const Field&) = default;
};

/// What a client asks for. Made by `Parser`, or by hand from the request of another HTTP framework.
///
/// Thread safety: like a `std::string`.
struct Request {
  std::string method;         ///< As sent, in its case: `GET`.
  std::string target;         ///< Path and query as sent, not decoded; begins with `/` when a `Parser` made it.
  std::vector<Field> fields;  ///< In the order in which they came; trailers are not among them.
  std::string body;           ///< Without the chunks it may have come in.
  unsigned version = 11;      ///< 10 for HTTP/1.0, 11 for HTTP/1.1.
  bool keep_alive = true;     ///< Whether the client can send more on this connection (RFC 9112 §9.3).

  /// The target up to the first `?`, not decoded.
  [[nodiscard]] std::string_view path() const noexcept { return std::string_view(target).substr(0, target.find('?')); }

  /// The target behind the first `?`, not decoded; empty where there is none.
  [[nodiscard]] std::string_view query() const noexcept {
    const std::size_t mark = target.find('?');
    return mark == std::string::npos ? std::string_view{} : std::string_view(target).substr(mark + 1);
  }

  /// The value of the first field of that name; null where there is none.
  /// \complexity  O(fields).
  [[nodiscard]] const std::string* find(std::string_view name) const noexcept {
    for (const Field& field : fields) {
      if (detail::same_word(field.name, name)) return &field.value;
    }
    return nullptr;
  }

  /// The value of the first field of that name; empty where there is none.
  /// \complexity  O(fields).
  [[nodiscard]] std::string_view field(std::string_view name) const noexcept {
    const std::string* const value = find(name);
    return value == nullptr ? std::string_view{} : std::string_view(*value);
  }

  /// The value of the last field of that name; empty where there is none.
  /// \complexity  O(fields).
  [[nodiscard]] std::string_view last_field(std::string_view name) const noexcept {
    std::string_view value;
    for (const Field& field : fields) {
      if (detail::same_word(field.name, name)) value = field.value;
    }
    return value;
  }

  /// Whether one of the fields of that name has `token` in its comma list, without regard to case: with
  /// `Connection: keep-alive, Upgrade`, `has_token("connection", "upgrade")` (RFC 9110 §5.6.1). Quotes mean nothing.
  /// \complexity  O(size of the fields).
  [[nodiscard]] bool has_token(std::string_view name, std::string_view token) const noexcept {
    for (const Field& field : fields) {
      if (detail::same_word(field.name, name) && detail::has_token(field.value, token)) return true;
    }
    return false;
  }

  friend bool operator==(const Request&, const Request&) = default;
};

/// Turns `%41` into `A` (RFC 3986 §2.1). Any byte may come out, NUL included.
///
/// \param plus_is_space  whether `+` is a space too, as in the queries that forms make.
/// \returns              nothing where a `%` is not followed by two hexadecimal digits.
/// \complexity           O(size), at most one allocation.
[[nodiscard]] inline std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (text.size() - i < 3) return std::nullopt;
      const int high = detail::hex_value(text[i + 1]);
      const int low = detail::hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    decoded.push_back(c);
  }
  return decoded;
}

/// One `name=value` of a query, as it stands there: not decoded.
struct QueryParameter {
  std::string_view name;
  std::string_view value;  ///< empty where there is no `=`

  friend bool operator==(const QueryParameter&, const QueryParameter&) = default;
};

/// Takes the first part off a query that is not empty. The parameter points into the query.
/// \returns     false where there is none left.
/// \complexity  O(size of the part).
[[nodiscard]] inline bool take_parameter(std::string_view& query, QueryParameter& parameter) noexcept {
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(part.size() + 1, query.size()));
    if (part.empty()) continue;
    const std::size_t equals = std::min(part.find('='), part.size());
    parameter = {part.substr(0, equals), part.substr(std::min(equals + 1, part.size()))};
    return true;
  }
  return false;
}

/// Splits a query at `&`, and each part at its first `=`. Empty parts are skipped, repeated names are kept.
///
/// \param query  what `Request::query` returns; the result points into it.
/// \param most   how many parameters there may be.
/// \returns      nothing where there are more.
/// \complexity   O(size).
[[nodiscard]] inline std::optional<std::vector<QueryParameter>> query_parameters(std::string_view query,
                                                                                 std::size_t most = 256) {
  std::vector<QueryParameter> parameters;
  for (QueryParameter parameter; take_parameter(query, parameter);) {
    if (parameters.size() == most) return std::nullopt;
    parameters.push_back(parameter);
  }
  return parameters;
}

}  // namespace http

FANFARE_NAMESPACE_END
