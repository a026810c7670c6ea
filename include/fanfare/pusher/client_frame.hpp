/// \file
/// What a client says in the Pusher protocol: one message, read. Needs Boost.JSON, which is a library to link.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/pusher/json_member.hpp>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/error.hpp>
#include <boost/json/parse_options.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace pusher {

/// Why a message of a client means nothing.
enum class ClientFrameError : std::uint8_t {
  none = 0,
  not_json,       ///< Not one JSON text in UTF-8 (RFC 8259), or a number in it is beyond all bounds.
  too_deep,       ///< Objects and arrays are nested deeper than `ClientFrame::deepest`.
  not_an_object,  ///< JSON, but not an object.
  no_event,       ///< There is no `event`, or it is not a string.
};

/// One English sentence without a full stop, fit to be sent.
[[nodiscard]] constexpr std::string_view message(ClientFrameError error) noexcept {
  switch (error) {
    case ClientFrameError::none: return "no error";
    case ClientFrameError::not_json: return "The message is not valid JSON";
    case ClientFrameError::too_deep: return "The message is nested too deep";
    case ClientFrameError::not_an_object: return "The message is not a JSON object";
    case ClientFrameError::no_event: return "The message has no event, which must be a string";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(ClientFrameError error) noexcept {
  switch (error) {
    case ClientFrameError::none: return "none";
    case ClientFrameError::not_json: return "not_json";
    case ClientFrameError::too_deep: return "too_deep";
    case ClientFrameError::not_an_object: return "not_an_object";
    case ClientFrameError::no_event: return "no_event";
  }
  return "unknown";
}

/// A member of a message, or of its `data`.
struct Parameter {
  /// What there is.
  enum class State : std::uint8_t {
    absent,    ///< There is none, or it is `null`; or there is no `data`.
    text,      ///< It is a string.
    not_text,  ///< It is something else.
    no_data,   ///< `data` is neither an object nor a string that holds one.
  };
  State state = State::absent;
  std::string_view text;  ///< points into the message it is from

  friend bool operator==(const Parameter&, const Parameter&) = default;
};

namespace detail {

/// The strings of one JSON text as they are meant. One that has no escape is a part of the text; of the others there are
/// copies here.
class JsonStrings {
 public:
  explicit JsonStrings(std::string_view text) noexcept : text_(text) {}
  JsonStrings(const JsonStrings&) = delete;
  JsonStrings& operator=(const JsonStrings&) = delete;

  /// Adds a piece of a string that comes in several.
  /// \pre     each string of the text is added at most once: so all of them are no longer than the text.
  /// \throws  `std::bad_alloc`.
  void add(std::string_view piece) {
    if (space_ == nullptr) make_space();
    if (!piece.empty()) std::memcpy(space_ + used_, piece.data(), piece.size());
    used_ += piece.size();
  }
  /// Adds the last piece, or the only one.
  /// \param size  the whole string's.
  [[nodiscard]] std::string_view finish(std::string_view last, std::size_t size) {
    if (last.size() == size && position(last) != npos) return last;
    add(last);
    return {space_ + used_ - size, size};
  }

  static constexpr std::size_t npos = std::string_view::npos;
  /// Where a string begins in the text; `npos` if it is not a part of it.
  [[nodiscard]] std::size_t position(std::string_view string) const noexcept {
    const std::less_equal<const char*> before;
    const char* const end = text_.data() + text_.size();
    if (!before(text_.data(), string.data()) || !before(string.data(), end)) return npos;
    return static_cast<std::size_t>(string.data() - text_.data());
  }

 private:
  void make_space() {
    if (text_.size() <= small_.size()) {
      space_ = small_.data();
    } else {
      large_ = std::make_unique_for_overwrite<char[]>(text_.size());
      space_ = large_.get();
    }
  }

  const std::string_view text_;
  char* space_ = nullptr;
  std::size_t used_ = 0;
  std::array<char, 512> small_;
  std::unique_ptr<char[]> large_;
};

/// The members that mean something in a message.
struct FrameMembers {
  static constexpr std::array<std::string_view, 5> names{"channel", "auth", "channel_data", "user_data", "since"};

  bool is_object = false;  ///< Whether the message is.
  Parameter event;
  Parameter channel;
  Parameter data;
  std::size_t behind_data_name = JsonStrings::npos;  ///< Behind its closing quote; `npos` if that is not known.
  std::size_t behind_data = JsonStrings::npos;       ///< Where the next name begins; `npos` if there is none.
  bool data_is_object = false;
  std::array<Parameter, names.size()> parameters;  ///< Those of `data`, in the order of their names.

  void forget_data() noexcept {
    data_is_object = false;
    parameters = {};
  }
};

/// Takes the members out of what Boost.JSON reads: a handler of its `basic_parser`.
class FrameHandler {
 public:
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

  enum class Reads : bool { message, data };

  FrameHandler(Reads what, FrameMembers& members, JsonStrings& strings) noexcept
      : members_(members), strings_(strings) {
    if (what == Reads::data) {  // as if the message were around it
      depth_ = 1;
      data_ = target_ = &read_data_;
    }
  }

  using Code = boost::json::error_code;
  using Text = boost::json::string_view;

  bool on_document_begin(Code& /*code*/) noexcept { return true; }
  bool on_document_end(Code& /*code*/) noexcept { return true; }

  bool on_object_begin(Code& /*code*/) noexcept {
    if (depth_ == 0) members_.is_object = true;
    if (target_ != nullptr && target_ == data_) members_.data_is_object = in_data_ = true;
    return begin_nested();
  }
  bool on_object_end(std::size_t /*size*/, Code& /*code*/) noexcept { return end_nested(); }
  bool on_array_begin(Code& /*code*/) noexcept { return begin_nested(); }
  bool on_array_end(std::size_t /*size*/, Code& /*code*/) noexcept { return end_nested(); }

  bool on_key_part(Text piece, std::size_t /*size*/, Code& /*code*/) {
    if (at_member()) strings_.add(view(piece));
    return true;
  }
  bool on_key(Text last, std::size_t size, Code& /*code*/) {
    if (at_member()) {
      const std::string_view name = strings_.finish(view(last), size);
      target_ = in_data_ ? parameter(name) : member(name);
    }
    return true;
  }
  bool on_string_part(Text piece, std::size_t /*size*/, Code& /*code*/) {
    if (target_ != nullptr) strings_.add(view(piece));
    return true;
  }
  bool on_string(Text last, std::size_t size, Code& /*code*/) {
    if (target_ != nullptr) set({Parameter::State::text, strings_.finish(view(last), size)});
    return true;
  }
  bool on_number_part(Text /*piece*/, Code& /*code*/) noexcept { return true; }
  bool on_int64(std::int64_t /*value*/, Text /*text*/, Code& /*code*/) noexcept { return other(); }
  bool on_uint64(std::uint64_t /*value*/, Text /*text*/, Code& /*code*/) noexcept { return other(); }
  bool on_double(double /*value*/, Text /*text*/, Code& /*code*/) noexcept { return other(); }
  bool on_bool(bool /*value*/, Code& /*code*/) noexcept { return other(); }
  bool on_null(Code& /*code*/) noexcept {
    set({});
    return true;
  }
  bool on_comment_part(Text /*piece*/, Code& /*code*/) noexcept { return true; }
  bool on_comment(Text /*piece*/, Code& /*code*/) noexcept { return true; }

 private:
  static std::string_view view(Text text) noexcept { return {text.data(), text.size()}; }

  /// Whether a name that comes now is one of the message's, or of its data's.
  [[nodiscard]] bool at_member() const noexcept { return depth_ == 1 || (depth_ == 2 && in_data_); }

  Parameter* member(std::string_view name) noexcept {
    const std::size_t at = strings_.position(name);
    if (std::exchange(after_data_, false)) {
      members_.behind_data = at;
      if (at == JsonStrings::npos) members_.behind_data_name = at;  // this name has escapes, so the end is not known
    }
    if (name == "event") return &members_.event;
    if (name == "channel") return &members_.channel;
    if (name != "data") return nullptr;
    members_.forget_data();  // of two, the last counts
    members_.behind_data_name = at == JsonStrings::npos ? at : at + name.size() + 1;
    members_.behind_data = JsonStrings::npos;
    after_data_ = true;
    return data_;
  }
  Parameter* parameter(std::string_view name) noexcept {
    const auto found = std::find(FrameMembers::names.begin(), FrameMembers::names.end(), name);
    if (found == FrameMembers::names.end()) return nullptr;
    return &members_.parameters[static_cast<std::size_t>(found - FrameMembers::names.begin())];
  }

  void set(const Parameter& value) noexcept {
    if (target_ != nullptr) *target_ = value;
    target_ = nullptr;
  }
  bool other() noexcept {
    set({Parameter::State::not_text, {}});
    return true;
  }
  bool begin_nested() noexcept {
    ++depth_;
    return other();
  }
  bool end_nested() noexcept {
    if (--depth_ == 1) in_data_ = false;
    return true;
  }

  FrameMembers& members_;
  JsonStrings& strings_;
  Parameter read_data_;               // of a text that is the data alone
  Parameter* data_ = &members_.data;  // where the data's own value goes
  Parameter* target_ = nullptr;       // where the next value goes, if it is of use
  std::size_t depth_ = 0;             // of objects and arrays that are open
  bool after_data_ = false;           // the data was the last member that has come
  bool in_data_ = false;              // the object at depth 2 is the data
};

}  // namespace detail

/// One message of a client, read.
///
/// Unknown members are ignored; of one that stands there twice the last counts. Strings are used where they stand, so
/// there is an allocation only where strings with escapes are found in a message of more than 512 bytes, or things are
/// nested deep: then for as many bytes as the message has.
///
/// \ownership  the text must outlive it. What it returns points into either.
/// Thread safety: distinct objects only.
class ClientFrame {
 public:
  /// How deep objects and arrays may be nested, the message itself included; and in a `data` that is a string, again.
  static constexpr std::size_t deepest = 32;

  /// Reads a message.
  /// \complexity  O(size).
  /// \throws      `std::bad_alloc`.
  explicit ClientFrame(std::string_view text) : text_(text), strings_(text) {
    error_ = read(text, detail::FrameHandler::Reads::message, strings_);
    if (error_ != ClientFrameError::none) return;
    if (!members_.is_object) {
      error_ = ClientFrameError::not_an_object;
    } else if (members_.event.state != Parameter::State::text) {
      error_ = ClientFrameError::no_event;
    }
  }
  ClientFrame(const ClientFrame&) = delete;
  ClientFrame& operator=(const ClientFrame&) = delete;

  /// Why the message means nothing; `none`: it means something.
  [[nodiscard]] ClientFrameError error() const noexcept { return error_; }

  /// The event's name; empty where there is an error.
  [[nodiscard]] std::string_view event() const noexcept {
    return error_ == ClientFrameError::none ? members_.event.text : std::string_view{};
  }

  /// A member of `data`, which may be an object or a string that holds one.
  /// \param name  one of those that there are: `channel`, `auth`, `channel_data`, `user_data`, and `since`, which is our own.
  /// \complexity  O(1); O(size of `data`) for the first one of a `data` that is a string.
  /// \throws      `std::bad_alloc`.
  [[nodiscard]] Parameter parameter(std::string_view name) {
    using detail::FrameMembers;
    const auto found = std::find(FrameMembers::names.begin(), FrameMembers::names.end(), name);
    FANFARE_ASSERT(found != FrameMembers::names.end(), "no parameter of the protocol");
    if (error_ != ClientFrameError::none || members_.data.state == Parameter::State::absent) return {};
    if (members_.data.state == Parameter::State::text && !inner_strings_) read_inner();
    if (!members_.data_is_object) return {Parameter::State::no_data, {}};
    return members_.parameters[static_cast<std::size_t>(found - FrameMembers::names.begin())];
  }

  /// The `channel` beside the event, where an event of the client's own has it.
  /// \complexity  O(1).
  [[nodiscard]] Parameter channel() const noexcept {
    return error_ == ClientFrameError::none ? members_.channel : Parameter{};
  }

  /// The `data` of an event of the client's own, as the text that others get: a string as it is, all else as the JSON that
  /// stands in the message, `null` where there is none. Empty where the message has an error.
  /// \complexity  O(1); O(size) where names are written with escapes, or there is no `data`.
  /// \throws      `std::bad_alloc`.
  [[nodiscard]] std::string_view data_text() const {
    if (error_ != ClientFrameError::none) return {};
    if (members_.data.state == Parameter::State::text) return members_.data.text;
    if (members_.behind_data_name == detail::JsonStrings::npos) return json_member(text_, "data").value_or("null");
    const std::size_t begin = detail::value_begin(text_, members_.behind_data_name);
    const bool last = members_.behind_data == detail::JsonStrings::npos;
    const std::size_t end = text_.find_last_of(last ? '}' : ',', members_.behind_data);
    return detail::without_space_behind(text_.substr(begin, end - begin));
  }

 private:
  ClientFrameError read(std::string_view text, detail::FrameHandler::Reads what, detail::JsonStrings& strings) {
    boost::json::parse_options options;
    options.max_depth = deepest;
    boost::json::basic_parser<detail::FrameHandler> parser(options, what, members_, strings);
    boost::json::error_code code;
    const std::size_t size = parser.write_some(false, text.data(), text.size(), code);
    if (code == boost::json::error::too_deep) return ClientFrameError::too_deep;
    return code || size != text.size() ? ClientFrameError::not_json : ClientFrameError::none;
  }

  void read_inner() {
    const std::string_view text = members_.data.text;
    inner_strings_.emplace(text);
    if (read(text, detail::FrameHandler::Reads::data, *inner_strings_) != ClientFrameError::none) {
      members_.forget_data();
    }
  }

  std::string_view text_;
  ClientFrameError error_ = ClientFrameError::none;
  detail::FrameMembers members_;
  detail::JsonStrings strings_;
  std::optional<detail::JsonStrings> inner_strings_;  // of a `data` that is a string, once it has been read
};

}  // namespace pusher
FANFARE_NAMESPACE_END
