// What subscribes in tests: recorders for callbacks, queues of several kinds, and an encoder that counts.
#pragma once

#include "support/print.hpp"
#include <fanfare/core/event.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/core/sink.hpp>

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {

using Strings = std::vector<std::string>;

/// `name=data`
[[nodiscard]] inline std::string text_of(std::string_view name, std::string_view data) {
  std::string text{name};
  text += '=';
  text += data;
  return text;
}
[[nodiscard]] inline std::string text_of(const Event& event) { return text_of(event.name(), event.data()); }
[[nodiscard]] inline std::string text_of(const Message& message) { return text_of(message.name(), message.data()); }

/// Writes down what its callbacks are called with. Must outlive them.
class Recorder {
 public:
  /// `label:name=data`, or without a label `name=data`.
  [[nodiscard]] auto callback(std::string label = {}) {
    return [this, label = std::move(label)](const Event& event) {
      seen.push_back(label.empty() ? text_of(event) : label + ':' + text_of(event));
    };
  }
  /// Writes the label alone.
  [[nodiscard]] auto mark(std::string label) {
    return [this, label = std::move(label)](const Event& /*event*/) { seen.push_back(label); };
  }

  /// What was seen since the last call.
  Strings take() { return std::exchange(seen, {}); }

  Strings seen;
};

/// Keeps all that is pushed.
class Queue {
 public:
  bool push(MessagePtr message) noexcept {
    if (refuses) return false;
    messages.push_back(std::move(message));
    return true;
  }

  [[nodiscard]] Strings texts() const {
    Strings all;
    for (const MessagePtr& message : messages) all.push_back(text_of(*message));
    return all;
  }

  std::vector<MessagePtr> messages;
  bool refuses = false;
};
static_assert(Sink<Queue>);

/// Says beforehand whether there is room.
class BoundedQueue : public Queue {
 public:
  [[nodiscard]] bool has_room(std::size_t bytes) noexcept {
    asked.push_back(bytes);
    return bytes <= room;
  }

  std::size_t room = 1 << 20;
  std::vector<std::size_t> asked;
};

/// Wants frames.
class WireQueue : public Queue {
 public:
  static constexpr bool wire = true;

  [[nodiscard]] Strings frames() const {
    Strings all;
    for (const MessagePtr& message : messages) {
      const std::span<const std::byte> frame = message->frame();
      all.emplace_back(reinterpret_cast<const char*>(frame.data()), frame.size());
    }
    return all;
  }
};

/// Strings its messages together by the links that it is given.
class LinkedQueue {
 public:
  LinkedQueue() = default;
  LinkedQueue(const LinkedQueue&) = delete;
  LinkedQueue& operator=(const LinkedQueue&) = delete;
  ~LinkedQueue() { clear(); }

  bool push(MessagePtr message, MessageLink& link) noexcept {
    if (refuses) return false;
    unused = unused && link.next == nullptr && link.message == nullptr && link.tag == 0;
    link.message = message.release();
    (last_ == nullptr ? first_ : last_->next) = &link;
    last_ = &link;
    return true;
  }

  [[nodiscard]] Strings texts() const {
    Strings all;
    for (const MessageLink* link = first_; link != nullptr; link = link->next) all.push_back(text_of(*link->message));
    return all;
  }
  [[nodiscard]] const MessageLink* first() const noexcept { return first_; }
  void clear() noexcept {
    while (first_ != nullptr) {
      const MessagePtr message = MessagePtr::adopt(first_->message);
      first_ = first_->next;
    }
    last_ = nullptr;
  }

  bool refuses = false;
  bool unused = true;  ///< every link was as new

 private:
  MessageLink* first_ = nullptr;
  MessageLink* last_ = nullptr;
};
static_assert(Sink<LinkedQueue>);

/// What happens to the sinks that a registry keeps.
struct KeptLog {
  Strings pushed;
  int destroyed = 0;  ///< those moved from do not count
};

/// A sink to be attached by value.
class KeptSink {
 public:
  explicit KeptSink(KeptLog& log) noexcept : log_(&log) {}
  bool push(MessagePtr message) noexcept {
    log_->pushed.push_back(text_of(*message));
    return true;
  }
  [[nodiscard]] bool moved_from() const noexcept { return log_ == nullptr; }

 private:
  struct Count {
    void operator()(KeptLog* log) const noexcept { ++log->destroyed; }
  };
  std::unique_ptr<KeptLog, Count> log_;
};
static_assert(Sink<KeptSink>);

/// `<channel|name|data>`; refuses data that hold a byte 0xff. Its bound is deliberately too large.
class LineEncoder final : public Encoder {
 public:
  [[nodiscard]] std::size_t bound(const MessageParts& event) const noexcept override {
    return event.channel.size() + event.name.size() + event.data.size() + 20;
  }
  [[nodiscard]] errc encode(const MessageParts& event, std::span<std::byte> out,
                            std::size_t& written) const noexcept override {
    ++calls;
    if (event.data.find('\xff') != std::string_view::npos) return errc::not_utf8;
    for (const std::string_view part : {std::string_view{"<"}, event.channel, std::string_view{"|"}, event.name,
                                        std::string_view{"|"}, event.data, std::string_view{">"}}) {
      if (!part.empty()) std::memcpy(out.data() + written, part.data(), part.size());
      written += part.size();
    }
    return errc::ok;
  }

  mutable int calls = 0;
};

}  // namespace fanfare::test
