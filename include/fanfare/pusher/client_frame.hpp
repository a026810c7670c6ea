/// \file
/// What a client says in the Pusher protocol: one message, read. Needs Boost.JSON, which is a library to link.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/pusher/json_member.hpp>

#include <boost/json/error.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

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

/// One message of a client, read.
///
/// Unknown members are ignored; of one that stands there twice the last counts. A message of the usual size is read
/// without an allocation. One that is made for it takes up to about 40 times its size while this lives, so transports
/// bound the size.
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
  explicit ClientFrame(std::string_view text)
      : text_(text), memory_(buffer_.data(), buffer_.size()), frame_(parse(text, error_)), data_(&memory_) {
    if (error_ != ClientFrameError::none) return;
    const boost::json::object* const object = frame_.if_object();
    if (object == nullptr) {
      error_ = ClientFrameError::not_an_object;
      return;
    }
    const boost::json::value* const event = object->if_contains("event");
    if (event == nullptr || !event->is_string()) {
      error_ = ClientFrameError::no_event;
      return;
    }
    event_ = view(event->get_string());
  }
  ClientFrame(const ClientFrame&) = delete;
  ClientFrame& operator=(const ClientFrame&) = delete;

  [[nodiscard]] ClientFrameError error() const noexcept { return error_; }

  /// The event's name; empty where there is an error.
  [[nodiscard]] std::string_view event() const noexcept { return event_; }

  /// A member of `data`, which may be an object or a string that holds one.
  /// \complexity  O(1); O(size of `data`) for the first one of a `data` that is a string.
  /// \throws      `std::bad_alloc`.
  [[nodiscard]] Parameter parameter(std::string_view name) {
    if (error_ != ClientFrameError::none) return {};
    const boost::json::value* data = frame_.get_object().if_contains("data");
    if (data == nullptr || data->is_null()) return {};
    if (data->is_string()) data = inner(view(data->get_string()));
    const boost::json::object* const object = data->if_object();
    if (object == nullptr) return {Parameter::State::no_data, {}};
    return member(*object, name);
  }

  /// The `channel` beside the event, where an event of the client's own has it.
  /// \complexity  O(1).
  [[nodiscard]] Parameter channel() const noexcept {
    return error_ == ClientFrameError::none ? member(frame_.get_object(), "channel") : Parameter{};
  }

  /// The `data` of an event of the client's own, as the text that others get: a string as it is, all else as the JSON that
  /// stands in the message, `null` where there is none. Empty where the message has an error.
  /// \complexity  O(size).
  /// \throws      `std::bad_alloc`.
  [[nodiscard]] std::string_view data_text() const {
    if (error_ != ClientFrameError::none) return {};
    const boost::json::value* const data = frame_.get_object().if_contains("data");
    if (data != nullptr && data->is_string()) return view(data->get_string());
    return json_member(text_, "data").value_or("null");
  }

 private:
  static Parameter member(const boost::json::object& object, std::string_view name) noexcept {
    const boost::json::value* const found = object.if_contains({name.data(), name.size()});
    if (found == nullptr || found->is_null()) return {};
    if (!found->is_string()) return {Parameter::State::not_text, {}};
    return {Parameter::State::text, view(found->get_string())};
  }

  static std::string_view view(const boost::json::string& text) noexcept { return {text.data(), text.size()}; }

  /// \returns  null, as a value, where there is an error.
  boost::json::value parse(std::string_view text, ClientFrameError& error) {
    boost::json::parse_options options;
    options.max_depth = deepest;
    boost::json::error_code code;
    boost::json::value value = boost::json::parse({text.data(), text.size()}, code, &memory_, options);
    if (code) {
      error = code == boost::json::error::too_deep ? ClientFrameError::too_deep : ClientFrameError::not_json;
    }
    return value;
  }

  const boost::json::value* inner(std::string_view text) {
    if (!inner_is_read_) {
      ClientFrameError ignored = ClientFrameError::none;
      data_ = parse(text, ignored);
      inner_is_read_ = true;
    }
    return &data_;
  }

  // In this order: the values lie in the memory, which begins with the buffer.
  std::string_view text_;
  std::array<unsigned char, 2048> buffer_;
  boost::json::monotonic_resource memory_;
  ClientFrameError error_ = ClientFrameError::none;
  bool inner_is_read_ = false;
  std::string_view event_;
  boost::json::value frame_;
  boost::json::value data_;
};

}  // namespace pusher
FANFARE_NAMESPACE_END
