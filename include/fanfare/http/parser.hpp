/// \file
/// HTTP/1.1 requests out of bytes, as a machine without I/O. On Boost.Beast's `basic_parser`.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/http/request.hpp>
#include <fanfare/http/response.hpp>

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/verb.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

FANFARE_NAMESPACE_BEGIN

namespace http {

/// How large the parts of a request may be. A part of exactly the limit is accepted.
struct ParserLimits {
  std::uint32_t header_bytes = 8 * 1024;   ///< All lines of the header; chunk extensions; trailers.
  std::uint32_t target_bytes = 4 * 1024;   ///< The request target.
  std::uint32_t fields = 100;              ///< Fields of the header; trailers.
  std::uint32_t body_bytes = 1024 * 1024;  ///< The body, without the chunks it may come in.
  friend bool operator==(const ParserLimits&, const ParserLimits&) = default;
};

/// Why a request is refused. The connection must be closed behind the answer: where the next request begins is not known.
enum class ParserError : std::uint8_t {
  none = 0,
  bad_request_line,         ///< 400: the first line is not `METHOD SP TARGET SP HTTP/1.1`.
  bad_target,               ///< 400: not a path or an `http` URL; `*` too (RFC 9112 §3.2).
  bad_line_ending,          ///< 400: CR without LF, or LF without CR (RFC 9112 §2.2).
  bad_character,            ///< 400: a control character in a line, NUL included (RFC 9110 §5.5).
  bad_field,                ///< 400: no name, a name that is not a token, or space before the colon (RFC 9112 §5.1).
  folded_line,              ///< 400: a line begins with a space or a tab (RFC 9112 §5.2).
  bad_host,                 ///< 400: HTTP/1.1 without Host, more than one, or not a host (RFC 9112 §3.2).
  bad_content_length,       ///< 400: Content-Length is not one number, or there are several (RFC 9112 §6.3).
  bad_transfer_encoding,    ///< 400: several Transfer-Encoding fields, or one in HTTP/1.0 (RFC 9112 §6.1).
  ambiguous_length,         ///< 400: both Content-Length and Transfer-Encoding (RFC 9112 §6.3).
  bad_chunk,                ///< 400: a chunk's size, extension or end is malformed (RFC 9112 §7.1).
  body_too_large,           ///< 413: more than `ParserLimits::body_bytes`.
  target_too_long,          ///< 414: more than `ParserLimits::target_bytes`.
  unsupported_expectation,  ///< 417: Expect is not `100-continue` (RFC 9110 §10.1.1).
  header_too_large,         ///< 431: more than `ParserLimits::header_bytes`.
  too_many_fields,          ///< 431: more than `ParserLimits::fields`.
  unsupported_method,       ///< 501: CONNECT, or a method of more than 32 bytes (RFC 9112 §3).
  unsupported_encoding,     ///< 501: Transfer-Encoding is not exactly `chunked` (RFC 9112 §6.1).
  out_of_memory,            ///< 503: there was no memory for the request.
  unsupported_version,      ///< 505: neither HTTP/1.0 nor HTTP/1.1 (RFC 9110 §15.6.6).
};

/// One English sentence without a full stop.
[[nodiscard]] constexpr std::string_view message(ParserError error) noexcept {
  switch (error) {
    case ParserError::none: return "no error";
    case ParserError::bad_request_line: return "the request line is malformed";
    case ParserError::bad_target: return "the request target is neither a path nor an http URL";
    case ParserError::bad_line_ending: return "a line does not end with CR LF";
    case ParserError::bad_character: return "the header holds a control character";
    case ParserError::bad_field: return "a header field is malformed";
    case ParserError::folded_line: return "a header field is folded over several lines";
    case ParserError::bad_host: return "there must be one Host field with the name of a host";
    case ParserError::bad_content_length: return "there must be at most one Content-Length, a decimal number";
    case ParserError::bad_transfer_encoding: return "there must be at most one Transfer-Encoding, and none in HTTP/1.0";
    case ParserError::ambiguous_length: return "Content-Length and Transfer-Encoding exclude each other";
    case ParserError::bad_chunk: return "the chunked body is malformed";
    case ParserError::body_too_large: return "the body is too large";
    case ParserError::target_too_long: return "the request target is too long";
    case ParserError::unsupported_expectation: return "the only expectation that can be met is 100-continue";
    case ParserError::header_too_large: return "the header is too large";
    case ParserError::too_many_fields: return "the header has too many fields";
    case ParserError::unsupported_method: return "the method is not supported";
    case ParserError::unsupported_encoding: return "the only supported transfer encoding is chunked";
    case ParserError::out_of_memory: return "memory is exhausted";
    case ParserError::unsupported_version: return "the HTTP version is neither 1.0 nor 1.1";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(ParserError error) noexcept {
  switch (error) {
    case ParserError::none: return "none";
    case ParserError::bad_request_line: return "bad_request_line";
    case ParserError::bad_target: return "bad_target";
    case ParserError::bad_line_ending: return "bad_line_ending";
    case ParserError::bad_character: return "bad_character";
    case ParserError::bad_field: return "bad_field";
    case ParserError::folded_line: return "folded_line";
    case ParserError::bad_host: return "bad_host";
    case ParserError::bad_content_length: return "bad_content_length";
    case ParserError::bad_transfer_encoding: return "bad_transfer_encoding";
    case ParserError::ambiguous_length: return "ambiguous_length";
    case ParserError::bad_chunk: return "bad_chunk";
    case ParserError::body_too_large: return "body_too_large";
    case ParserError::target_too_long: return "target_too_long";
    case ParserError::unsupported_expectation: return "unsupported_expectation";
    case ParserError::header_too_large: return "header_too_large";
    case ParserError::too_many_fields: return "too_many_fields";
    case ParserError::unsupported_method: return "unsupported_method";
    case ParserError::unsupported_encoding: return "unsupported_encoding";
    case ParserError::out_of_memory: return "out_of_memory";
    case ParserError::unsupported_version: return "unsupported_version";
  }
  return "unknown";
}

/// The status to answer with; 200 for `none`.
[[nodiscard]] constexpr unsigned http_status(ParserError error) noexcept {
  switch (error) {
    case ParserError::none: return 200;
    case ParserError::body_too_large: return 413;
    case ParserError::target_too_long: return 414;
    case ParserError::unsupported_expectation: return 417;
    case ParserError::header_too_large:
    case ParserError::too_many_fields: return 431;
    case ParserError::unsupported_method:
    case ParserError::unsupported_encoding: return 501;
    case ParserError::out_of_memory: return 503;
    case ParserError::unsupported_version: return 505;
    default: return 400;
  }
}

/// What to answer to a request that was refused: plain text, and the end of the connection.
[[nodiscard]] inline Response error_response(ParserError error) {
  Response response = text_response(http_status(error), std::string(message(error)));
  response.close = true;
  return response;
}

/// How far a parser is.
enum class ParserState : std::uint8_t {
  incomplete,  ///< It wants more bytes.
  complete,    ///< A request can be taken.
  failed,      ///< It refused what it got, and takes nothing more.
};

/// What `Parser::feed` did.
struct FeedResult {
  ParserState state = ParserState::incomplete;
  std::size_t consumed = 0;  ///< How many of the bytes it used; those behind them stay with the caller.

  friend bool operator==(const FeedResult&, const FeedResult&) = default;
};

namespace detail {

/// The characters that may be in the name of a host with a port (RFC 3986 §3.2.2).
inline constexpr std::array<bool, 256> host_characters = characters("-._~%!$&'()*+;=:[]");

/// Whether it is the name of a host, perhaps with a port: nothing in it ends a host or makes a list of it (RFC 3986
/// §3.2.2). It may be empty.
[[nodiscard]] constexpr bool is_host(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return is_among(host_characters, c); });
}

/// Makes room for `needed` bytes: at least doubles, but never above `most` where `needed` is not.
inline void grow(std::string& text, std::size_t needed, std::size_t most) {
  if (needed <= text.capacity()) return;
  // `reserve` of the string itself would double its capacity beyond the limit.
  std::string larger;
  larger.reserve(std::max(needed, std::min(2 * text.capacity(), most)));
  larger.append(text);
  text.swap(larger);
}

/// How many bytes of a text come before its first control character; tabs are none.
[[nodiscard]] inline std::size_t plain_prefix(std::string_view text) noexcept {
  std::size_t at = 0;
  while (true) {
    // As many at a time as can be.
#if defined(__SSE2__)
    using Block = __m128i;
    for (; text.size() - at >= sizeof(Block); at += sizeof(Block)) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
      const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
      const __m128i controls = _mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
      const __m128i tabs = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
      const auto found = static_cast<unsigned>(_mm_movemask_epi8(_mm_andnot_si128(tabs, controls)));
      if (found != 0) return at + static_cast<std::size_t>(std::countr_zero(found));
    }
#else
    using Block = std::uint64_t;
    constexpr Block ones = 0x0101010101010101U;
    for (Block bytes = 0; text.size() - at >= sizeof(Block); at += sizeof(Block)) {
      std::memcpy(&bytes, text.data() + at, sizeof bytes);
      // It may take a tab, or a byte behind a control character, for another one, but misses none.
      const Block without_delete = bytes ^ (ones * 0x7f);
      const Block found = ((bytes - ones * 0x20) & ~bytes) | ((without_delete - ones) & ~without_delete);
      if ((found & (ones * 0x80)) != 0) break;
    }
#endif
    const std::size_t end = std::min(at + sizeof(Block), text.size());
    while (at < end && !is_control(text[at])) ++at;
    if (at < end || at == text.size()) return at;
  }
}

/// Where a `RequestReader` is in its request.
struct ReaderState {
  enum class Phase : std::uint8_t { header, body, size_line, chunk_data, trailers, done };

  std::uint64_t chunk_left_ = 0;
  std::size_t plain_left_ = 0;  ///< Of a body whose header Beast has not seen.
  std::size_t piece_bytes_ = 0;
  std::size_t extension_bytes_ = 0;  ///< Of all chunks so far.
  std::size_t line_bytes_ = 0;
  std::size_t line_ = 0;  ///< Of the piece.
  std::size_t taken_fields_ = 0;
  std::uint32_t fields_ = 0;
  std::uint32_t target_bytes_ = 0;
  std::uint32_t hosts_ = 0;
  std::uint32_t lengths_ = 0;
  std::uint32_t encodings_ = 0;
  std::uint8_t method_bytes_ = 0;
  std::uint8_t spaces_ = 0;
  std::uint8_t chunk_end_left_ = 0;  ///< Of the CR LF behind a chunk.
  Phase phase_ = Phase::header;
  ParserError error_ = ParserError::none;
  bool after_cr_ = false;
  bool after_chunk_ = false;  ///< Whether size lines begin with the CR LF of the chunk before.
  bool expects_continue_ = false;
  bool beast_began_ = false;  ///< Whether Beast has seen anything of the request.
};

/// Reads one request, and others after it.
///
/// What is not plain (see `read_plain_header`) Beast interprets. It gets whole pieces: the header, a chunk's size line, the
/// last chunk with the trailers, or body bytes. Where a piece ends is found here, together with the limits and what can be
/// refused at once; so the outcome does not depend on how the bytes were split, and Beast scans nothing twice.
class RequestReader final : private boost::beast::http::basic_parser<true>, private ReaderState {
 public:
  /// \param memory  any request; what it says is forgotten.
  explicit RequestReader(const ParserLimits& limits, Request&& memory = {}) noexcept
      : limits_(limits), request_(std::move(memory)) {
    header_limit((std::numeric_limits<std::uint32_t>::max)());  // the pieces are bounded here
    body_limit(limits.body_bytes);
  }
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;
  ~RequestReader() override = default;

  /// Begins another request in the memory of the one before.
  void restart(const ParserLimits& limits) noexcept {
    if (beast_began_) {
      *this = RequestReader(limits, std::move(request_));
    } else {
      limits_ = limits;
      body_limit(limits.body_bytes);
      static_cast<ReaderState&>(*this) = {};
      if (piece_.capacity() != 0) std::string().swap(piece_);
    }
    request_.target.clear();
    request_.body.clear();
    keep_little(request_.target, kept_bytes);
    keep_little(request_.body, kept_bytes);
    for (auto& [name, value] : request_.fields) {
      keep_little(name, kept_field_bytes);
      keep_little(value, kept_field_bytes);
    }
  }

  /// Whether the client waits for leave to send the body.
  [[nodiscard]] bool expects_continue() const noexcept { return expects_continue_; }
  [[nodiscard]] Request& request() noexcept { return request_; }

  /// \returns  why it failed; `none` with fewer bytes consumed than given, or with `done`, means the request is there.
  [[nodiscard]] ParserError feed(std::string_view bytes, std::size_t& consumed, bool& done) {
    std::size_t at = 0;
    ParserError error = ParserError::none;
    while (at < bytes.size() && phase_ != Phase::done && error == ParserError::none) {
      if (phase_ != Phase::header) expects_continue_ = false;
      error = phase_ == Phase::body || phase_ == Phase::chunk_data ? take_body(bytes, at) : take_lines(bytes, at);
    }
    consumed = at;
    done = phase_ == Phase::done;
    return error;
  }

 private:
  using error_code = boost::beast::error_code;
  using string_view = boost::beast::string_view;
  using field = boost::beast::http::field;

  enum class Scan : std::uint8_t { more, piece, failed };

  // What the next request finds is bounded: whoever sends it did not ask for the memory.
  static constexpr std::size_t kept_bytes = 16 * 1024;
  static constexpr std::size_t kept_field_bytes = 256;

  static constexpr std::size_t longest_method = 32;
  static constexpr std::size_t most_size_digits = 16;
  static constexpr std::size_t size_line_bytes = most_size_digits + 4;  // with the line end before and behind

  RequestReader(RequestReader&&) = default;
  RequestReader& operator=(RequestReader&&) = default;

  /// Gives the memory of a text back if that is more.
  static void keep_little(std::string& text, std::size_t most) noexcept {
    if (text.capacity() > most) std::string().swap(text);
  }

  [[nodiscard]] static std::string_view standard(string_view text) noexcept { return {text.data(), text.size()}; }

  // -- pieces made of lines ------------------------------------------------------------------------------------------

  /// Takes bytes of a piece that is made of lines; at its end, has Beast read it.
  [[nodiscard]] ParserError take_lines(std::string_view bytes, std::size_t& at) {
    const std::size_t begin = at;
    if (phase_ == Phase::header && piece_bytes_ == 0 && read_plain_header(bytes, at)) return ParserError::none;
    const Scan scan = find_piece(bytes, at);
    if (scan == Scan::failed) return error_;
    if (scan == Scan::more || !piece_.empty() || phase_ == Phase::size_line) {
      grow(piece_, piece_.size() + (at - begin), piece_limit());
      piece_.append(bytes.substr(begin, at - begin));
    }
    if (scan == Scan::more) return ParserError::none;
    return read_piece(piece_.empty() ? bytes.substr(begin, at - begin) : std::string_view(piece_));
  }

  /// How many bytes the lines of the present piece may have.
  [[nodiscard]] std::size_t piece_limit() const noexcept {
    return phase_ == Phase::header ? limits_.header_bytes : limits_.header_bytes - extension_bytes_ + size_line_bytes;
  }

  /// Walks to the end of the piece.
  [[nodiscard]] Scan find_piece(std::string_view bytes, std::size_t& at) noexcept {
    const std::size_t limit = piece_limit();
    while (at < bytes.size()) {
      if (inside_line()) {
        const std::size_t plain = take_plain(bytes.substr(at, limit - piece_bytes_));
        at += plain;
        piece_bytes_ += plain;
        line_bytes_ += plain;
        if (at == bytes.size()) break;
      }
      const char c = bytes[at++];
      if (++piece_bytes_ > limit) {
        return fail(phase_ == Phase::header && line_ == 0 ? ParserError::target_too_long
                                                          : ParserError::header_too_large);
      }
      if (chunk_end_left_ != 0) {
        if (c != (chunk_end_left_-- == 2 ? '\r' : '\n')) return fail(ParserError::bad_chunk);
        continue;
      }
      if (after_cr_) {
        if (c != '\n') return fail(ParserError::bad_line_ending);
        after_cr_ = false;
        const bool empty = line_bytes_ == 0;
        line_bytes_ = 0;
        ++line_;
        if (empty || phase_ == Phase::size_line) return Scan::piece;
      } else if (c == '\r') {
        after_cr_ = true;
      } else if (const ParserError error = check(c); error != ParserError::none) {
        return fail(error);
      }
    }
    return Scan::more;
  }

  /// Whether the next character is neither a line's first nor part of its end.
  [[nodiscard]] bool inside_line() const noexcept {
    return !after_cr_ && chunk_end_left_ == 0 && (line_ == 0 || line_bytes_ != 0);
  }

  /// Takes all at once what `check` would take one by one. Where it would refuse one, or a line ends, comes before it.
  /// \returns how many.
  [[nodiscard]] std::size_t take_plain(std::string_view text) noexcept {
    text = text.substr(0, plain_prefix(text));
    if (line_ != 0 || phase_ != Phase::header) return text.size();
    std::size_t at = 0;
    while (at < text.size() && spaces_ < 2) {
      const std::size_t word = std::min(text.find(' ', at), text.size()) - at;
      const std::size_t room = spaces_ == 0 ? longest_method - method_bytes_ : limits_.target_bytes - target_bytes_;
      const std::size_t taken = std::min(word, room);
      if (spaces_ == 0) {
        method_bytes_ = static_cast<std::uint8_t>(method_bytes_ + taken);
      } else {
        target_bytes_ += static_cast<std::uint32_t>(taken);
      }
      at += taken;
      if (taken < word) return at;
      if (at < text.size()) {
        ++spaces_;
        ++at;
      }
    }
    return text.size();
  }

  /// One character of a line.
  [[nodiscard]] ParserError check(char c) noexcept {
    if (c == '\n') return ParserError::bad_line_ending;
    if (is_control(c)) return ParserError::bad_character;
    if (line_ == 0) {
      if (phase_ == Phase::header) {
        if (c == ' ') {
          if (spaces_ < 2) ++spaces_;
        } else if (spaces_ == 0 && ++method_bytes_ > longest_method) {
          return ParserError::unsupported_method;
        } else if (spaces_ == 1 && ++target_bytes_ > limits_.target_bytes) {
          return ParserError::target_too_long;
        }
      }
    } else if (line_bytes_ == 0) {
      if (c == ' ' || c == '\t') return ParserError::folded_line;
      if (++fields_ > limits_.fields) return ParserError::too_many_fields;
    }
    ++line_bytes_;
    return ParserError::none;
  }

  [[nodiscard]] Scan fail(ParserError error) noexcept {
    error_ = error;
    return Scan::failed;
  }

  [[nodiscard]] ParserError read_piece(std::string_view piece) {
    if (phase_ == Phase::size_line) return read_size_line(piece);
    // One that came at once has been tried already.
    if (std::size_t read = 0; phase_ == Phase::header && !piece_.empty() && read_plain_header(piece, read)) {
      std::string().swap(piece_);
      return ParserError::none;
    }
    beast_began_ = true;
    error_code code;
    const std::size_t read = put(buffer(piece), code);
    if (code) return error_of(code, piece);
    if (phase_ == Phase::header) {
      if (read != piece.size()) return ParserError::bad_request_line;
      phase_ = is_done() ? Phase::done : chunked() ? Phase::size_line : Phase::body;
      std::string().swap(piece_);  // the lines of chunks need less
    } else {
      if (read != piece.size() || !is_done()) return ParserError::bad_chunk;
      phase_ = Phase::done;
    }
    begin_piece();
    return ParserError::none;
  }

  /// Reads a header as most are, if all of it is there: HTTP/1.1 with a path, one Host, a length or no body, and nothing else
  /// that changes what the request means. Whatever is different in it, right or wrong, is left to Beast.
  /// \param at  is put behind the header.
  /// \returns   whether it was such a header.
  [[nodiscard]] bool read_plain_header(std::string_view bytes, std::size_t& at) {
    constexpr std::string_view version = " HTTP/1.1";
    std::string_view rest = bytes.substr(at, limits_.header_bytes);
    std::string_view line;
    if (!take_plain_line(rest, line) || !line.ends_with(version)) return false;
    line.remove_suffix(version.size());
    const std::size_t space = token_prefix(line);
    if (space == 0 || space > longest_method || space == line.size() || line[space] != ' ') return false;
    const std::string_view method = line.substr(0, space);
    const std::string_view target = line.substr(space + 1);
    if (target.size() > limits_.target_bytes || !target.starts_with('/') || method == "CONNECT") return false;
    for (const char c : {' ', '\t', '#'}) {
      if (target.find(c) != std::string_view::npos) return false;
    }

    bool host = false;
    bool close = false;
    std::optional<std::size_t> length;
    taken_fields_ = 0;  // there may have been an attempt before
    for (;;) {
      if (!take_plain_line(rest, line)) return false;
      if (line.empty()) break;
      const std::size_t colon = token_prefix(line);
      if (colon == 0 || colon == line.size() || line[colon] != ':' || taken_fields_ == limits_.fields) return false;
      const std::string_view name = line.substr(0, colon);
      const std::string_view value = trim(line.substr(colon + 1));
      switch (name.size()) {
        case 4:  // the sizes of the names below
          if (!is_name(name, "host")) break;
          if (std::exchange(host, true) || !is_host(value)) return false;
          break;
        case 6:
          if (is_name(name, "expect")) return false;
          break;
        case 10:
          if (!is_name(name, "connection")) break;
          if (same_word(value, "close")) {
            close = true;
          } else if (!same_word(value, "keep-alive") && !same_word(value, "upgrade") &&
                     !same_word(value, "keep-alive, upgrade")) {
            return false;
          }
          break;
        case 14:
          if (!is_name(name, "content-length")) break;
          if (length || !is_number(value) || value.size() > 9) return false;
          length = 0;
          for (const char digit : value) length = *length * 10 + static_cast<std::size_t>(digit - '0');
          if (*length > limits_.body_bytes) return false;
          break;
        case 16:
          if (is_name(name, "proxy-connection")) return false;
          break;
        case 17:
          if (is_name(name, "transfer-encoding")) return false;
          break;
        default: break;
      }
      add_field(name, value);
    }
    if (!host) return false;
    request_.method.assign(method);
    request_.target.assign(target);
    request_.version = 11;
    request_.keep_alive = !close;
    request_.fields.resize(taken_fields_);
    plain_left_ = length.value_or(0);
    phase_ = plain_left_ == 0 ? Phase::done : Phase::body;
    at = static_cast<std::size_t>(rest.data() - bytes.data());
    return true;
  }

  /// Whether a token is a name, which has letters of lower case and hyphens alone, without regard to case.
  /// \pre  it has the size of the name.
  template <std::size_t N>
  [[nodiscard]] static bool is_name(std::string_view token, const char (&name)[N]) noexcept {
    // The bit that makes lower case of letters makes nothing in a token a hyphen.
    unsigned difference = 0;
    for (std::size_t i = 0; i < N - 1; ++i)
      difference |= (static_cast<unsigned char>(token[i]) | 0x20U) ^ static_cast<unsigned char>(name[i]);
    return difference == 0;
  }

  /// Takes a line that has no control character and ends with CR LF off what has come of a header.
  [[nodiscard]] static bool take_plain_line(std::string_view& rest, std::string_view& line) noexcept {
    const std::size_t size = plain_prefix(rest);
    if (rest.size() - size < 2 || rest[size] != '\r' || rest[size + 1] != '\n') return false;
    line = rest.substr(0, size);
    rest.remove_prefix(size + 2);
    return true;
  }

  [[nodiscard]] ParserError read_size_line(std::string_view line) {
    const std::size_t begin = after_chunk_ ? 2 : 0;
    std::size_t end = begin;
    while (hex_value(line[end]) >= 0) ++end;  // at the CR at the latest
    if (end == begin || end - begin > most_size_digits) return ParserError::bad_chunk;

    error_code code;
    const std::size_t read = put(buffer(line), code);
    if (code == boost::beast::http::error::need_more) {
      // The last chunk, which Beast wants together with the trailers. Otherwise it is a quote that does not end.
      const std::string_view size = line.substr(begin, end - begin);
      if (size.find_first_not_of('0') != std::string_view::npos) return ParserError::bad_chunk;
      phase_ = Phase::trailers;
      return ParserError::none;
    }
    if (code) return error_of(code, line);
    if (read != line.size()) return ParserError::bad_chunk;
    extension_bytes_ += line.size() - 2 - end;
    if (extension_bytes_ > limits_.header_bytes) return ParserError::header_too_large;
    phase_ = Phase::chunk_data;
    begin_piece();
    return ParserError::none;
  }

  void begin_piece() noexcept {
    piece_.clear();
    piece_bytes_ = 0;
    line_ = 0;
    fields_ = 0;
  }

  [[nodiscard]] static boost::asio::const_buffer buffer(std::string_view bytes) noexcept {
    return {bytes.data(), bytes.size()};
  }

  /// What Beast's refusal of a piece means.
  [[nodiscard]] ParserError error_of(error_code code, std::string_view piece) const noexcept {
    namespace beast = boost::beast::http;
    if (error_ != ParserError::none) return error_;  // a refusal of ours, from inside of a callback
    if (code == beast::error::body_limit) return ParserError::body_too_large;
    if (phase_ != Phase::header) return ParserError::bad_chunk;
    if (code == beast::error::bad_version) {
      // Beast says so of anything that is not one of the two versions.
      const std::string_view line = piece.substr(0, piece.find('\r'));
      const std::string_view version = line.substr(std::min(line.rfind(' '), line.size()));
      const auto digit = [](char c) { return c >= '0' && c <= '9'; };
      const bool well_formed = std::count(line.begin(), line.end(), ' ') == 2 && version.size() == 9 &&
                               version.starts_with(" HTTP/") && digit(version[6]) && version[7] == '.' &&
                               digit(version[8]);
      return well_formed ? ParserError::unsupported_version : ParserError::bad_request_line;
    }
    if (code == beast::error::bad_target) return ParserError::bad_target;
    if (code == beast::error::bad_content_length) {
      return encodings_ != 0 ? ParserError::ambiguous_length : ParserError::bad_content_length;
    }
    if (code == beast::error::multiple_content_length) return ParserError::bad_content_length;
    if (code == beast::error::bad_transfer_encoding) {
      return lengths_ != 0 ? ParserError::ambiguous_length : ParserError::bad_transfer_encoding;
    }
    if (code == beast::error::bad_line_ending) return ParserError::bad_line_ending;
    if (code == beast::error::bad_field || code == beast::error::bad_value) return ParserError::bad_field;
    return ParserError::bad_request_line;
  }

  // -- the body ------------------------------------------------------------------------------------------------------

  [[nodiscard]] ParserError take_body(std::string_view bytes, std::size_t& at) {
    if (plain_left_ != 0) {
      const std::string_view part = bytes.substr(at, plain_left_);
      append_body(part);
      at += part.size();
      plain_left_ -= part.size();
      if (plain_left_ == 0) phase_ = Phase::done;
      return ParserError::none;
    }
    error_code code;
    const std::size_t read = put(buffer(bytes.substr(at)), code);
    at += read;
    if (code || read == 0) return error_ != ParserError::none ? error_ : ParserError::bad_chunk;
    if (phase_ == Phase::body) {
      if (is_done()) phase_ = Phase::done;
    } else {
      chunk_left_ -= read;
      if (chunk_left_ == 0) {
        phase_ = Phase::size_line;
        after_chunk_ = true;
        chunk_end_left_ = 2;
      }
    }
    return ParserError::none;
  }

  void append_body(std::string_view bytes) {
    std::string& body = request_.body;
    grow(body, body.size() + bytes.size(), limits_.body_bytes);
    body.append(bytes);
  }

  // -- what Beast found ----------------------------------------------------------------------------------------------

  /// Ends `put` with an error of ours.
  void refuse(ParserError error, error_code& code) noexcept {
    error_ = error;
    code = boost::beast::http::make_error_code(boost::beast::http::error::bad_value);
  }

  void on_request_impl(boost::beast::http::verb method, string_view name, string_view target, int version,
                       error_code& code) override {
    if (method == boost::beast::http::verb::connect) return refuse(ParserError::unsupported_method, code);
    request_.method.assign(name.data(), name.size());
    request_.version = static_cast<unsigned>(version);
    request_.fields.reserve(fields_);
    taken_fields_ = 0;  // there may have been an attempt to do without Beast
    if (!set_target(standard(target))) refuse(ParserError::bad_target, code);
  }

  /// Takes a path as it is, and a URL's path alone (RFC 9112 §3.2).
  [[nodiscard]] bool set_target(std::string_view target) {
    if (target.find('#') != std::string_view::npos) return false;  // a fragment is never sent
    if (!target.starts_with('/')) {
      const std::size_t scheme_end = target.find("://");
      if (scheme_end == std::string_view::npos) return false;
      const std::string_view scheme = target.substr(0, scheme_end);
      if (!same_word(scheme, "http") && !same_word(scheme, "https")) return false;
      target.remove_prefix(scheme_end + 3);
      const std::string_view host = target.substr(0, target.find_first_of("/?"));
      if (host.empty() || !is_host(host)) return false;
      host_ = host;
      target.remove_prefix(host.size());
      if (!target.starts_with('/')) request_.target = "/";
    }
    request_.target.append(target);
    return true;
  }

  void on_response_impl(int, string_view, int, error_code&) override {}

  void on_field_impl(field id, string_view name, string_view value, error_code& code) override {
    if (phase_ != Phase::header) return;  // trailers are dropped
    switch (id) {
      case field::host:
        if (++hosts_ > 1 || !is_host(standard(value))) return refuse(ParserError::bad_host, code);
        // A URL in the request line overrules it (RFC 9112 §3.2.2).
        if (!host_.empty()) value = {host_.data(), host_.size()};
        break;
      case field::content_length:
        // Beast takes lists and repetitions of one number.
        if (++lengths_ > 1 || !is_number(standard(value))) return refuse(ParserError::bad_content_length, code);
        break;
      case field::transfer_encoding:
        // Beast ignores what it does not know, and frames the body as if the field were not there.
        ++encodings_;
        if (request_.version == 10) return refuse(ParserError::bad_transfer_encoding, code);
        if (!same_word(standard(value), "chunked")) return refuse(ParserError::unsupported_encoding, code);
        break;
      case field::expect:
        if (request_.version == 10) break;
        if (!same_word(standard(value), "100-continue")) return refuse(ParserError::unsupported_expectation, code);
        expects_continue_ = true;
        break;
      default: break;
    }
    add_field(standard(name), standard(value));
  }

  void add_field(std::string_view name, std::string_view value) {
    if (taken_fields_ == request_.fields.size()) {
      if (taken_fields_ == request_.fields.capacity()) {
        request_.fields.reserve(std::min<std::size_t>(std::max<std::size_t>(2 * taken_fields_, 8), limits_.fields));
      }
      request_.fields.emplace_back();
    }
    Field& next = request_.fields[taken_fields_++];  // it may be one of the request before
    next.name.assign(name);
    next.value.assign(value);
  }

  [[nodiscard]] static bool is_number(std::string_view text) noexcept {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  }

  void on_header_impl(error_code& code) override {
    request_.fields.resize(taken_fields_);
    if (request_.version == 11 && hosts_ == 0) return refuse(ParserError::bad_host, code);
    request_.keep_alive = !request_.has_token("connection", "close") &&
                          (request_.version == 11 || request_.has_token("connection", "keep-alive"));
  }

  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}

  std::size_t on_body_impl(string_view bytes, error_code&) override {
    append_body(standard(bytes));
    return bytes.size();
  }

  void on_chunk_header_impl(std::uint64_t size, string_view, error_code&) override { chunk_left_ = size; }

  std::size_t on_chunk_body_impl(std::uint64_t, string_view bytes, error_code&) override {
    append_body(standard(bytes));
    return bytes.size();
  }

  void on_finish_impl(error_code&) override { expects_continue_ = false; }

  ParserLimits limits_;
  Request request_;
  std::string piece_;  ///< What came of a piece that is not whole yet.
  std::string host_;   ///< The host of a URL in the request line.
};

}  // namespace detail

/// The memory of a request that has been served, for the next one. Any number of parsers use it in turn, so that it is there
/// once and not with every connection.
///
/// \ownership  of at most one request's memory: its parts, but none that is out of the ordinary when the next one begins.
/// Thread safety: like an `int`: one for each thread.
class ParserMemory {
 public:
  ParserMemory() = default;

 private:
  friend class Parser;
  std::unique_ptr<detail::RequestReader> reader_;
};

/// Reads requests of one connection, in whatever pieces their bytes come (RFC 9112).
///
/// ```
/// while (!bytes.empty()) {
///   const auto [state, consumed] = parser.feed(bytes);
///   bytes.remove_prefix(consumed);
///   if (state == ParserState::complete) answer(parser.take());
///   if (state == ParserState::failed) return refuse(parser.error());
/// }
/// ```
///
/// \ownership  owns what it needs of the bytes. Between requests that is nothing: memory is taken at the first byte of a
///             request, and given back by `take` or at a refusal. No allocation is larger than `header_bytes`,
///             `body_bytes` and `fields * sizeof(Field)`, whichever is largest, and a body takes no memory before it
///             comes.
/// Thread safety: like an `int`.
class Parser {
 public:
  /// Waits for a request.
  explicit Parser(const ParserLimits& limits = {}) noexcept : limits_(limits) {}

  /// Reads on, up to the end of one request. An empty line before a request is skipped (RFC 9112 §2.2).
  ///
  /// The outcome depends on the bytes alone, not on how they are split over calls; so does the sum of `consumed`. While
  /// a request waits to be taken, and after a failure, nothing is consumed.
  /// \complexity  O(bytes), amortised.
  FeedResult feed(std::string_view bytes) { return feed_with(bytes, nullptr); }
  /// The same, but a request that begins takes the memory of one before; see `take(ParserMemory&)`.
  FeedResult feed(std::string_view bytes, ParserMemory& memory) { return feed_with(bytes, &memory); }

  /// How far the request has come.
  [[nodiscard]] ParserState state() const noexcept { return state_; }

  /// Whether no byte of a request has come: the connection may be closed without loss.
  [[nodiscard]] bool idle() const noexcept { return state_ == ParserState::incomplete && reader_ == nullptr; }

  /// Moves the request out; the next `feed` begins another one.
  /// \pre  `state()` is `complete`. Without that it returns an empty request and changes nothing.
  [[nodiscard]] Request take() noexcept {
    FANFARE_ASSERT(state_ == ParserState::complete, "there is no request to take");
    if (state_ != ParserState::complete) return {};
    Request request = std::move(reader_->request());
    reader_.reset();
    begin();
    return request;
  }

  /// Lends the request out, which is `memory`'s from now on; the next `feed` begins another one.
  /// \pre      `state()` is `complete`. Without that nothing changes.
  /// \returns  the request, until any parser is fed with this memory or gives it a request, or the memory ends; null where
  ///           there is none.
  [[nodiscard]] const Request* take(ParserMemory& memory) noexcept {
    FANFARE_ASSERT(state_ == ParserState::complete, "there is no request to take");
    if (state_ != ParserState::complete) return nullptr;
    memory.reader_ = std::move(reader_);
    begin();
    return &memory.reader_->request();
  }

  /// Whether the client waits for `continue_response` before it sends the body (RFC 9110 §10.1.1): the header is there
  /// and nothing of the body. Stays so until the next byte comes; answer once.
  [[nodiscard]] bool expects_continue() const noexcept {
    return state_ == ParserState::incomplete && reader_ != nullptr && reader_->expects_continue();
  }

  /// Why it failed; `none` while it has not.
  [[nodiscard]] ParserError error() const noexcept { return error_; }

  /// What it was made with.
  [[nodiscard]] const ParserLimits& limits() const noexcept { return limits_; }

 private:
  FeedResult feed_with(std::string_view bytes, ParserMemory* memory) {
    std::size_t consumed = 0;
#if FANFARE_EXCEPTIONS
    try {
      read(bytes, consumed, memory);
    } catch (const std::bad_alloc&) {
      fail(ParserError::out_of_memory);
    }
#else
    read(bytes, consumed, memory);
#endif
    return {state_, consumed};
  }

  void read(std::string_view bytes, std::size_t& consumed, ParserMemory* memory) {
    if (state_ != ParserState::incomplete) return;
    if (reader_ == nullptr) {
      while (consumed < bytes.size() && skipped_ < 2) {
        if (bytes[consumed] != (skipped_ == 0 ? '\r' : '\n')) {
          if (skipped_ == 0) break;
          ++consumed;
          return fail(ParserError::bad_line_ending);
        }
        ++consumed;
        ++skipped_;
      }
      if (consumed == bytes.size()) return;
      if (memory != nullptr && memory->reader_ != nullptr) {
        reader_ = std::move(memory->reader_);
        reader_->restart(limits_);
      } else {
        reader_ = std::make_unique<detail::RequestReader>(limits_);
      }
    }
    std::size_t read = 0;
    bool done = false;
    const ParserError error = reader_->feed(bytes.substr(consumed), read, done);
    consumed += read;
    if (error != ParserError::none) return fail(error);
    if (done) state_ = ParserState::complete;
  }

  void begin() noexcept {
    state_ = ParserState::incomplete;
    skipped_ = 0;
  }

  void fail(ParserError error) noexcept {
    state_ = ParserState::failed;
    error_ = error;
    reader_.reset();
  }

  std::unique_ptr<detail::RequestReader> reader_;
  ParserLimits limits_;
  std::uint8_t skipped_ = 0;  ///< Of one empty line before the request.
  ParserState state_ = ParserState::incomplete;
  ParserError error_ = ParserError::none;
};

static_assert(sizeof(Parser) <= 32, "every idle connection has one");

}  // namespace http

FANFARE_NAMESPACE_END
