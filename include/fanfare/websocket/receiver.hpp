/// \file
/// The receiving half of RFC 6455 as a machine: bytes in, messages out.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/websocket/frame.hpp>
#include <fanfare/websocket/processor.hpp>

#include <websocketpp/utf8_validator.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace websocket {

/// What takes a client's messages.
///
/// | expression | type | meaning |
/// |---|---|---|
/// | `h.on_text(text)` | `bool` | a whole text message; it is UTF-8 |
/// | `h.on_binary(bytes)` | `bool` | a whole binary message |
/// | `h.on_ping(bytes)` | `bool` | a ping; to be answered by a pong with the same bytes |
/// | `h.on_pong(bytes)` | `bool` | a pong |
/// | `h.on_close(code, reason)` | | the last call: the client closes; 1005 where it names no code |
///
/// `false` stops `feed` behind that message. The views end with the call. None may throw, feed the same receiver or
/// destroy it.
template <class H>
concept MessageHandler = requires(H& handler, std::string_view bytes, std::uint16_t code) {
  { handler.on_text(bytes) } noexcept -> std::same_as<bool>;
  { handler.on_binary(bytes) } noexcept -> std::same_as<bool>;
  { handler.on_ping(bytes) } noexcept -> std::same_as<bool>;
  { handler.on_pong(bytes) } noexcept -> std::same_as<bool>;
  { handler.on_close(code, bytes) } noexcept;
};

/// What became of the bytes that were fed.
struct FeedResult {
  /// How many were taken: all, unless the handler stopped. What is left is untouched and can be fed later.
  std::size_t used = 0;
  /// `close_code::none`, or the code to close the connection with: 1002, 1007, 1009, or 1011 without memory.
  std::uint16_t failure = close_code::none;

  friend bool operator==(const FeedResult&, const FeedResult&) = default;
};

namespace detail {

inline constexpr std::uint64_t beyond_ascii = 0x8080'8080'8080'8080U;

/// Unmasks in place.
///
/// \returns whether there is a byte beyond ASCII.
[[nodiscard]] inline bool unmask(char* payload, std::size_t size, const char* key) noexcept {
  std::uint32_t half = 0;
  std::memcpy(&half, key, 4);
  const std::uint64_t mask = std::uint64_t{half} << 32U | half;
  std::uint64_t seen = 0;
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, payload + i, 8);
    word ^= mask;
    seen |= word;
    std::memcpy(payload + i, &word, 8);
  }
  for (; i < size; ++i) {
    payload[i] = static_cast<char>(payload[i] ^ key[i & 3U]);
    seen |= static_cast<unsigned char>(payload[i]);
  }
  return (seen & beyond_ascii) != 0;
}

/// Asks websocketpp's validator, and spares it the stretches of ASCII between two characters.
[[nodiscard]] inline bool is_utf8(std::string_view text) noexcept {
  websocketpp::utf8_validator::validator validator;
  for (std::size_t i = 0; i < text.size();) {
    if (validator.complete() && text.size() - i >= 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, text.data() + i, 8);
      if ((word & beyond_ascii) == 0) {
        i += 8;
        continue;
      }
    }
    if (!validator.consume(static_cast<std::uint8_t>(text[i++]))) return false;
  }
  return validator.complete();
}

}  // namespace detail

/// One connection's input.
///
/// A frame that arrives whole and is a message of its own is decoded where it lies. Everything else goes through a
/// processor, borrowed from the pool and given back when the last byte taken is the last one of a message.
///
/// *Ownership:* gives a borrowed processor back when it is destroyed.
/// *Thread safety:* distinct objects with distinct pools: safe; otherwise unsafe.
class Receiver {
 public:
  Receiver() noexcept = default;
  Receiver(Receiver&& other) noexcept
      : processor_(std::exchange(other.processor_, nullptr)), failure_(other.failure_), closed_(other.closed_) {}
  Receiver& operator=(Receiver&& other) noexcept {
    if (this != &other) {
      detach();
      processor_ = std::exchange(other.processor_, nullptr);
      failure_ = other.failure_;
      closed_ = other.closed_;
    }
    return *this;
  }
  ~Receiver() { detach(); }

  /// Takes bytes and hands over the messages that they complete, in order, those before a failure too.
  ///
  /// After a failure it takes nothing more and answers the same code; after a close frame it ignores what follows.
  ///
  /// \param pool     the same one each time.
  /// \param data     what the client sent next, in pieces of any size; unmasked in place.
  /// \returns        how far it came, and the close code if the client broke a rule.
  /// \complexity     O(size); no allocation for messages that arrive in one piece and one frame.
  /// \throws         nothing.
  template <MessageHandler H>
  FeedResult feed(ProcessorPool& pool, char* data, std::size_t size, H& handler) noexcept {
    std::string kept;  // the payload of a message that came in pieces
    for (std::size_t used = 0; failure_ == close_code::none && !closed_ && used < size;) {
      Message message;
      used += next(pool, data + used, size - used, message, kept);
      if (failure_ == close_code::none && message.complete && !deliver(message, handler)) return {used, failure_};
    }
    return {size, failure_};
  }

  /// Whether a close frame has come.
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  /// The code that `feed` answered, or `close_code::none`.
  [[nodiscard]] std::uint16_t failure() const noexcept { return failure_; }
  /// Whether a frame or a fragmented message is incomplete.
  [[nodiscard]] bool incomplete() const noexcept { return processor_ != nullptr; }

 private:
  struct Message {
    std::string_view payload;
    Opcode opcode = Opcode::text;
    std::uint16_t code = close_code::no_status;
    bool complete = false;
  };

  template <MessageHandler H>
  static bool deliver(const Message& message, H& handler) noexcept {
    switch (message.opcode) {
      case Opcode::text: return handler.on_text(message.payload);
      case Opcode::binary: return handler.on_binary(message.payload);
      case Opcode::ping: return handler.on_ping(message.payload);
      case Opcode::pong: return handler.on_pong(message.payload);
      case Opcode::close: handler.on_close(message.code, message.payload); return true;
      case Opcode::continuation: break;  // part of a message, never one
    }
    return true;
  }

  /// \returns how many bytes it took. Sets `failure_`, or `message` if one is complete.
  std::size_t next(ProcessorPool& pool, char* data, std::size_t size, Message& message, std::string& kept) noexcept {
    FANFARE_ASSERT(processor_ == nullptr || &processor_->pool() == &pool, "a receiver is fed with one pool");
    std::size_t used = 0;
    if (processor_ == nullptr) {
      used = decode_whole(pool.limits().bytes, data, size, message);
      if (used == 0) {
        processor_ = pool.attach();
        if (processor_ == nullptr) failure_ = close_code::internal_error;
      }
    }
    if (processor_ != nullptr) used = decode_piece(data, size, message, kept);
    if (message.complete && message.opcode == Opcode::close) read_close(message);
    if (failure_ != close_code::none || closed_) detach();
    return used;
  }

  /// Decodes one frame if it is here in full, is a message of its own and breaks no rule that its header shows.
  ///
  /// \returns its size, or 0 if it is one for the processor.
  std::size_t decode_whole(std::size_t limit, char* data, std::size_t size, Message& message) noexcept {
    if (size < 6) return 0;
    const auto byte = [data](std::size_t i) { return unsigned{static_cast<unsigned char>(data[i])}; };
    const unsigned opcode = byte(0) ^ 0x80U;  // the opcode alone, if it is a last fragment and nothing is reserved
    const bool carries_data = opcode == 0x1 || opcode == 0x2;
    if (!carries_data && (opcode < 0x8 || opcode > 0xA)) return 0;
    if (byte(1) < 0x80U) return 0;  // not masked
    std::size_t payload_size = byte(1) & 0x7FU;
    std::size_t header = 6;
    if (payload_size == 126 && carries_data && size >= 8) {
      payload_size = byte(2) << 8U | byte(3);
      header = 8;
      if (payload_size <= max_control_payload) return 0;  // could be shorter
    } else if (payload_size > max_control_payload) {
      return 0;
    }
    if ((carries_data && payload_size > limit) || size - header < payload_size) return 0;

    char* const payload = data + header;
    const bool ascii = !detail::unmask(payload, payload_size, payload - 4);
    message.payload = {payload, payload_size};
    message.opcode = static_cast<Opcode>(opcode);
    message.complete = true;
    if (message.opcode == Opcode::text && !ascii && !detail::is_utf8(message.payload)) {
      failure_ = close_code::invalid_payload;
    }
    return header + payload_size;
  }

  std::size_t decode_piece(char* data, std::size_t size, Message& message, std::string& kept) noexcept {
    const detail::Processor::Step step = processor_->advance(data, size);
    failure_ = step.failure;
    if (failure_ != close_code::none || !step.complete) return step.used;
    message.opcode = processor_->take(kept);
    message.payload = kept;
    message.complete = true;
    if (processor_->is_idle()) detach();
    return step.used;
  }

  /// Splits a close frame's payload into code and reason.
  void read_close(Message& message) noexcept {
    closed_ = true;
    const std::string_view payload = message.payload;
    if (payload.empty()) return;
    if (payload.size() > 1) {
      message.code = static_cast<std::uint16_t>(unsigned{static_cast<unsigned char>(payload[0])} << 8U |
                                                static_cast<unsigned char>(payload[1]));
      message.payload = payload.substr(2);
    }
    if (!is_close_code(message.code)) {  // of one byte too: 1005 is none
      failure_ = close_code::protocol_error;
    } else if (!detail::is_utf8(message.payload)) {
      failure_ = close_code::invalid_payload;
    }
  }

  void detach() noexcept {
    if (processor_ == nullptr) return;
    processor_->pool().detach(processor_);
    processor_ = nullptr;
  }

  detail::Processor* processor_ = nullptr;
  std::uint16_t failure_ = close_code::none;
  bool closed_ = false;
};
static_assert(sizeof(Receiver) <= 16);

}  // namespace websocket
FANFARE_NAMESPACE_END
