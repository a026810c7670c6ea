// A client's frames, a handler that writes everything down, and websocketpp's processor alone to compare with.
#pragma once

#include <fanfare/websocket/receiver.hpp>

#include <websocketpp/close.hpp>
#include <websocketpp/extensions/permessage_deflate/disabled.hpp>
#include <websocketpp/http/request.hpp>
#include <websocketpp/http/response.hpp>
#include <websocketpp/message_buffer/alloc.hpp>
#include <websocketpp/message_buffer/message.hpp>
#include <websocketpp/processors/hybi13.hpp>
#include <websocketpp/random/none.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace fanfare::websocket {

inline void PrintTo(const FeedResult& result, std::ostream* out) {
  *out << "{used " << result.used << ", failure " << result.failure << '}';
}

}  // namespace fanfare::websocket

namespace fanfare::test {

inline constexpr std::string_view default_key{"\x37\xfa\x21\x3d", 4};

/// A frame's first two bytes and length, for whatever they are; `length_bytes` 0 takes the shortest form.
inline std::string frame_header(unsigned first, bool masked, std::uint64_t size, std::size_t length_bytes = 0) {
  if (length_bytes == 0) length_bytes = size < 126 ? 1 : size <= 0xFFFF ? 2 : 8;
  const unsigned short_form = length_bytes == 1 ? static_cast<unsigned>(size) : length_bytes == 2 ? 126U : 127U;
  std::string header{static_cast<char>(first), static_cast<char>((masked ? 0x80U : 0U) | short_form)};
  if (length_bytes > 1) {
    for (std::size_t i = length_bytes; i-- > 0;) header += static_cast<char>((size >> (8 * i)) & 0xFFU);
  }
  return header;
}

/// A client's frame: masked, and well-formed as far as `first` is.
inline std::string client_frame(unsigned first, std::string_view payload, std::string_view key = default_key,
                                std::size_t length_bytes = 0) {
  std::string frame = frame_header(first, true, payload.size(), length_bytes).append(key);
  for (std::size_t i = 0; i < payload.size(); ++i) frame += static_cast<char>(payload[i] ^ key[i % 4]);
  return frame;
}

inline std::string text_frame(std::string_view payload) { return client_frame(0x81, payload); }
inline std::string ping_frame(std::string_view payload) { return client_frame(0x89, payload); }
inline std::string close_frame(unsigned code, std::string_view reason = {}) {
  return client_frame(0x88, std::string{static_cast<char>(code >> 8U), static_cast<char>(code)}.append(reason));
}

/// Text, cut into fragments.
inline std::string fragments(unsigned opcode, const std::vector<std::string_view>& parts) {
  std::string frames;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    frames += client_frame((i == 0 ? opcode : 0U) | (i + 1 == parts.size() ? 0x80U : 0U), parts[i]);
  }
  return frames;
}

using Events = std::vector<std::string>;

/// Writes down what it gets; stops when it is told to.
struct EventLog {
  Events events;
  std::function<bool(const std::string&)> go_on = [](const std::string&) { return true; };

  bool add(std::string_view kind, std::string_view payload) noexcept {
    events.emplace_back(std::string(kind).append(":").append(payload));
    return go_on(events.back());
  }
  bool on_text(std::string_view text) noexcept { return add("text", text); }
  bool on_binary(std::string_view bytes) noexcept { return add("binary", bytes); }
  bool on_ping(std::string_view bytes) noexcept { return add("ping", bytes); }
  bool on_pong(std::string_view bytes) noexcept { return add("pong", bytes); }
  void on_close(std::uint16_t code, std::string_view reason) noexcept { add("close " + std::to_string(code), reason); }
};
static_assert(websocket::MessageHandler<EventLog>);

/// What a stream of bytes comes to.
struct Outcome {
  Events events;
  std::uint16_t failure = 0;

  friend bool operator==(const Outcome&, const Outcome&) = default;
  friend void PrintTo(const Outcome& outcome, std::ostream* out) {
    *out << outcome.events.size() << " events";
    for (const std::string& event : outcome.events) *out << ", \"" << event.substr(0, 60) << '"';
    *out << ", failure " << outcome.failure;
  }
};

/// Feeds a stream to a new receiver in the pieces that `next_size(left)` says.
template <class F>
Outcome receive(websocket::ProcessorPool& pool, std::string stream, F next_size) {
  websocket::Receiver receiver;
  EventLog log;
  std::uint16_t failure = 0;
  for (std::size_t at = 0; at < stream.size();) {
    const std::size_t size = next_size(stream.size() - at);
    // A copy of its own size, so that a read beyond it is seen by AddressSanitizer.
    const auto piece = std::make_unique<char[]>(size);
    stream.copy(piece.get(), size, at);
    failure = receiver.feed(pool, piece.get(), size, log).failure;
    at += size;
  }
  return {log.events, failure};
}
inline Outcome receive(websocket::ProcessorPool& pool, const std::string& stream) {
  return receive(pool, stream, [](std::size_t left) { return left; });
}
inline Outcome receive_bytewise(websocket::ProcessorPool& pool, const std::string& stream) {
  return receive(pool, stream, [](std::size_t) { return std::size_t{1}; });
}

/// websocketpp's processor as it comes, with its own message buffers. Where it is silent, or says something else than
/// the RFC, this says in words what is added; see `Processor` in the library.
class PlainProcessor {
 public:
  explicit PlainProcessor(std::size_t limit) { processor_.set_max_message_size(limit); }

  [[nodiscard]] Outcome receive(std::string stream) {
    Outcome outcome;
    auto* data = reinterpret_cast<std::uint8_t*>(stream.data());
    for (std::size_t used = 0; used < stream.size();) {
      std::error_code error;
      used += processor_.consume(data + used, 1, error);
      // It adds a fragment's length to what it has without looking for an overflow.
      if (!error && processor_.get_bytes_needed() > (std::uint64_t{1} << 32U)) {
        outcome.failure = 1009;
        return outcome;
      }
      if (error) {
        using namespace websocketpp::processor::error;
        outcome.failure = static_cast<std::uint16_t>(to_ws(error));
        // It has no close code for lengths in too many bytes and calls that an internal error.
        if (error == make_error_code(non_minimal_encoding)) outcome.failure = 1002;
        return outcome;
      }
      if (!processor_.ready()) continue;
      const auto message = processor_.get_message();
      const std::string& payload = message->get_payload();
      switch (message->get_opcode()) {
        case websocketpp::frame::opcode::text:
          // It does not look at the end of a message in several frames.
          if (!websocketpp::utf8_validator::validate(payload)) {
            outcome.failure = 1007;
            return outcome;
          }
          outcome.events.push_back("text:" + payload);
          break;
        case websocketpp::frame::opcode::binary: outcome.events.push_back("binary:" + payload); break;
        case websocketpp::frame::opcode::ping: outcome.events.push_back("ping:" + payload); break;
        case websocketpp::frame::opcode::pong: outcome.events.push_back("pong:" + payload); break;
        case websocketpp::frame::opcode::close: {
          const auto code = websocketpp::close::extract_code(payload, error);
          if (error) {
            outcome.failure = 1002;
            return outcome;
          }
          const auto reason = websocketpp::close::extract_reason(payload, error);
          if (error) {
            outcome.failure = 1007;
            return outcome;
          }
          outcome.events.push_back("close " + std::to_string(code) + ":" + reason);
          return outcome;
        }
        default: outcome.events.emplace_back("impossible"); break;
      }
    }
    return outcome;
  }

 private:
  struct Config {
    using request_type = websocketpp::http::parser::request;
    using response_type = websocketpp::http::parser::response;
    using message_type = websocketpp::message_buffer::message<websocketpp::message_buffer::alloc::con_msg_manager>;
    using con_msg_manager_type = websocketpp::message_buffer::alloc::con_msg_manager<message_type>;
    using rng_type = websocketpp::random::none::int_generator<std::uint32_t>;
    struct Deflate {};
    using permessage_deflate_type = websocketpp::extensions::permessage_deflate::disabled<Deflate>;
    static constexpr std::size_t max_message_size = 0;
    static constexpr bool enable_extensions = false;
  };

  Config::rng_type random_;
  websocketpp::processor::hybi13<Config> processor_{false, true, std::make_shared<Config::con_msg_manager_type>(),
                                                    random_};
};

}  // namespace fanfare::test
