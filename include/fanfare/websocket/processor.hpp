/// \file
/// websocketpp's protocol processor, and a pool of them for the connections of one loop.
///
/// Of websocketpp only the processor is used. The headers below need no Asio and no Boost.
#pragma once

#include <fanfare/detail/config.hpp>
#include <fanfare/websocket/frame.hpp>

#include <websocketpp/extensions/permessage_deflate/disabled.hpp>
#include <websocketpp/frame.hpp>
#include <websocketpp/http/request.hpp>
#include <websocketpp/http/response.hpp>
#include <websocketpp/message_buffer/message.hpp>
#include <websocketpp/processors/hybi13.hpp>
#include <websocketpp/random/none.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <utility>

FANFARE_NAMESPACE_BEGIN
namespace websocket {

/// What a client may send as one message.
struct MessageLimits {
  std::size_t bytes = 65'536;  ///< The payloads of all its frames together.
  std::size_t frames = 1'024;  ///< Its frames; control frames between them do not count. At least 1.

  friend bool operator==(const MessageLimits&, const MessageLimits&) = default;
};

class ProcessorPool;

namespace detail {

/// Makes the processor's message buffers.
template <class M>
class MessageMaker {
 public:
  // The processor and its messages keep these as they are; the pool outlives both.
  using ptr = MessageMaker*;
  using weak_ptr = MessageMaker*;

  /// The size is what a client announces; only a little of it is believed before it arrives.
  [[nodiscard]] typename M::ptr get_message(websocketpp::frame::opcode::value opcode, std::size_t announced) {
    return std::make_shared<M>(this, opcode, std::min<std::size_t>(announced, 1'024));
  }
};

struct ProcessorConfig {
  using request_type = websocketpp::http::parser::request;
  using response_type = websocketpp::http::parser::response;
  using message_type = websocketpp::message_buffer::message<MessageMaker>;
  using con_msg_manager_type = MessageMaker<message_type>;
  using rng_type = websocketpp::random::none::int_generator<std::uint32_t>;
  struct DeflateConfig {};
  using permessage_deflate_type = websocketpp::extensions::permessage_deflate::disabled<DeflateConfig>;
  static constexpr std::size_t max_message_size = MessageLimits{}.bytes;
  static constexpr bool enable_extensions = false;
};

/// The processor, fed so that it stops where it has to be watched.
///
/// It leaves a few things open, which are done here: a 64-bit length that overflows when it is added to what the message
/// has already, text whose last fragment ends inside a character, the number of fragments, and exhausted memory.
class Processor final : private websocketpp::processor::hybi13<ProcessorConfig> {
 public:
  Processor(ProcessorPool& pool, ProcessorConfig::con_msg_manager_type& maker, ProcessorConfig::rng_type& random)
      : hybi13(false, true, &maker, random), pool_(&pool) {}

  [[nodiscard]] ProcessorPool& pool() const noexcept { return *pool_; }

  void begin(const MessageLimits& limits) noexcept {
    this->set_max_message_size(limits.bytes);
    max_frames_ = limits.frames;
  }

  /// Forgets everything of the connection that it served.
  void clear() noexcept {
    m_data_msg.msg_ptr.reset();
    m_control_msg.msg_ptr.reset();
    reset_headers();
  }

  /// Whether it is between two frames and no fragmented message is open.
  [[nodiscard]] bool is_idle() const noexcept {
    return m_state == HEADER_BASIC && m_bytes_needed == websocketpp::frame::BASIC_HEADER_LENGTH &&
           m_data_msg.msg_ptr == nullptr;
  }

  struct Step {
    std::size_t used = 0;
    std::uint16_t failure = close_code::none;
    bool complete = false;  ///< `take` has a message.
  };

  /// Takes bytes up to the end of the next message, unmasking them in place.
  [[nodiscard]] Step advance(char* data, std::size_t size) noexcept {
    Step step;
    try {
      while (step.used < size && step.failure == close_code::none && !step.complete) {
        // A header ends with the masking key; by then the processor has acted on the length. So stop before the key.
        const bool before_key = m_state == HEADER_EXTENDED && m_bytes_needed > key_size;
        const std::size_t wanted = before_key ? m_bytes_needed - key_size : m_bytes_needed;
        std::error_code error;
        step.used += hybi13::consume(reinterpret_cast<std::uint8_t*>(data) + step.used,
                                     std::min(wanted, size - step.used), error);
        step.failure = close_code_of(error);
        if (step.failure != close_code::none) break;
        if (m_state == HEADER_EXTENDED && m_bytes_needed == key_size) step.failure = check_header();
        if (ready()) {
          step.complete = true;
          // The processor asks this of messages in one frame only.
          const bool text = m_current_msg->msg_ptr->get_opcode() == websocketpp::frame::opcode::text;
          if (text && !m_current_msg->validator.complete()) step.failure = close_code::invalid_payload;
        }
      }
    } catch (...) {
      step.failure = close_code::internal_error;  // memory is exhausted: nothing else throws in there
    }
    return step;
  }

  /// Moves the complete message out.
  ///
  /// \pre the last `advance` said `complete` and nothing of a failure.
  [[nodiscard]] Opcode take(std::string& payload) noexcept {
    const ProcessorConfig::message_type::ptr message = get_message();
    payload = std::move(message->get_raw_payload());
    return static_cast<Opcode>(message->get_opcode());
  }

 private:
  friend class websocket::ProcessorPool;

  static constexpr std::size_t key_size = 4;

  [[nodiscard]] std::uint16_t check_header() noexcept {
    if (websocketpp::frame::opcode::is_control(websocketpp::frame::get_opcode(m_basic_header))) return close_code::none;
    const bool first = m_data_msg.msg_ptr == nullptr;
    const std::uint64_t before = first ? 0 : m_data_msg.msg_ptr->get_payload().size();
    const std::uint64_t size = websocketpp::frame::get_payload_size(m_basic_header, m_extended_header);
    frames_ = first ? 1 : frames_ + 1;
    return before + size < size || frames_ > max_frames_ ? close_code::too_big : close_code::none;
  }

  [[nodiscard]] static std::uint16_t close_code_of(const std::error_code& error) {
    namespace errors = websocketpp::processor::error;
    if (!error) return close_code::none;
    if (error == errors::make_error_code(errors::invalid_utf8)) return close_code::invalid_payload;
    if (error == errors::make_error_code(errors::message_too_big)) return close_code::too_big;
    if (error == errors::make_error_code(errors::requires_64bit)) return close_code::too_big;
    return close_code::protocol_error;
  }

  ProcessorPool* pool_;
  Processor* next_ = nullptr;  // in the pool
  std::size_t max_frames_ = 0;
  std::size_t frames_ = 0;
};

}  // namespace detail

/// The processors of one loop's connections: a connection has one only while its input is incomplete.
///
/// *Ownership:* it must outlive every `Receiver` that was fed with it.
/// *Thread safety:* distinct objects: safe; shared objects: unsafe, and receivers that use one pool share it.
class ProcessorPool {
 public:
  /// \param limits  what clients may send.
  /// \param keep    so many processors that nobody uses stay for the next one; the others are freed.
  explicit ProcessorPool(const MessageLimits& limits = {}, std::size_t keep = 16) noexcept
      : limits_(limits), keep_(keep) {
    FANFARE_ASSERT(limits.frames > 0, "a message has at least one frame");
  }
  ProcessorPool(const ProcessorPool&) = delete;
  ProcessorPool& operator=(const ProcessorPool&) = delete;
  ~ProcessorPool() {
    FANFARE_ASSERT(attached_ == 0, "a receiver outlives the pool that its processor is from");
    while (free_ != nullptr) delete pop();
  }

  /// What it was made with.
  [[nodiscard]] const MessageLimits& limits() const noexcept { return limits_; }
  /// How many connections have incomplete input.
  [[nodiscard]] std::size_t attached() const noexcept { return attached_; }
  /// How many processors wait for a use.
  [[nodiscard]] std::size_t kept() const noexcept { return kept_; }
  /// The bytes of each of them, without the message that it collects.
  static constexpr std::size_t processor_size = sizeof(detail::Processor);

 private:
  friend class Receiver;

  [[nodiscard]] detail::Processor* attach() noexcept {
    detail::Processor* const processor =
        free_ != nullptr ? pop() : new (std::nothrow) detail::Processor(*this, maker_, random_);
    if (processor == nullptr) return nullptr;
    processor->begin(limits_);
    ++attached_;
    return processor;
  }
  void detach(detail::Processor* processor) noexcept {
    --attached_;
    if (kept_ >= keep_) {
      delete processor;
      return;
    }
    processor->clear();
    processor->next_ = free_;
    free_ = processor;
    ++kept_;
  }
  [[nodiscard]] detail::Processor* pop() noexcept {
    detail::Processor* const processor = free_;
    free_ = processor->next_;
    --kept_;
    return processor;
  }

  MessageLimits limits_;
  std::size_t keep_;
  std::size_t kept_ = 0;
  std::size_t attached_ = 0;
  detail::Processor* free_ = nullptr;
  [[no_unique_address]] detail::ProcessorConfig::con_msg_manager_type maker_;
  [[no_unique_address]] detail::ProcessorConfig::rng_type random_;
};

}  // namespace websocket
FANFARE_NAMESPACE_END
