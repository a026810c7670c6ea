/// \file
/// One event as it travels through queues: immutable, shared, encoded once.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/detail/config.hpp>

#include <array>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <span>
#include <string_view>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// The place of an event in the one order that an ordered channel has. Empty on all other channels.
///
/// `epoch` tells one life of a channel from the next: numbers of different epochs do not compare.
struct EventId {
  std::uint64_t epoch = 0;
  std::uint64_t number = 0;

  /// Whether it is an event's.
  [[nodiscard]] explicit operator bool() const noexcept { return number != 0; }
  friend bool operator==(const EventId&, const EventId&) = default;
  friend std::partial_ordering operator<=>(const EventId& a, const EventId& b) noexcept {
    if (a.epoch != b.epoch) return std::partial_ordering::unordered;
    return a.number <=> b.number;
  }
};

class Message;

/// Shares a message. Copies may be made, moved and dropped on any thread.
class MessagePtr {
 public:
  MessagePtr() = default;
  MessagePtr(const MessagePtr& other) noexcept;
  MessagePtr(MessagePtr&& other) noexcept : message_(std::exchange(other.message_, nullptr)) {}
  // Two, not one by value: clang 14 forgets to destroy such an argument where it is `{}` in a template.
  MessagePtr& operator=(const MessagePtr& other) noexcept {
    MessagePtr copy{other};
    std::swap(message_, copy.message_);
    return *this;
  }
  MessagePtr& operator=(MessagePtr&& other) noexcept {
    MessagePtr moved{std::move(other)};
    std::swap(message_, moved.message_);
    return *this;
  }
  ~MessagePtr();

  /// Takes over one reference that the caller owns.
  [[nodiscard]] static MessagePtr adopt(const Message* message) noexcept {
    MessagePtr pointer;
    pointer.message_ = message;
    return pointer;
  }
  /// Adds a reference to a message that somebody else keeps alive meanwhile.
  [[nodiscard]] static MessagePtr share(const Message& message) noexcept;
  /// Gives up the reference without dropping it.
  [[nodiscard]] const Message* release() noexcept { return std::exchange(message_, nullptr); }

  /// The message; null if it holds none.
  [[nodiscard]] const Message* get() const noexcept { return message_; }
  /// The message. \pre it holds one.
  const Message& operator*() const noexcept { return *message_; }
  /// The message. \pre it holds one.
  const Message* operator->() const noexcept { return message_; }
  /// Whether it holds a message.
  explicit operator bool() const noexcept { return message_ != nullptr; }

 private:
  const Message* message_ = nullptr;
};

/// Where an event comes from, and where it must not go back to.
struct MessageOrigin {
  std::string_view user_id{};
  std::string_view socket_id{};
  std::string_view except_socket{};
};

/// What a message is made of; everything but the frame is copied into it.
struct MessageParts {
  std::string_view channel;
  std::string_view name;
  std::string_view data;
  const MessageOrigin* origin = nullptr;  ///< null: all empty
  std::uint64_t epoch = 0;                ///< of the id that subscribers are to see; 0: they see none

  /// How many bytes all of them have.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::size_t event = channel.size() + name.size() + data.size();
    return origin == nullptr ? event
                             : event + origin->user_id.size() + origin->socket_id.size() + origin->except_socket.size();
  }

  /// Who sent it, if a client did and is known.
  [[nodiscard]] std::string_view user_id() const noexcept {
    return origin == nullptr ? std::string_view{} : origin->user_id;
  }
  /// The connection that sent it, if a client did.
  [[nodiscard]] std::string_view socket_id() const noexcept {
    return origin == nullptr ? std::string_view{} : origin->socket_id;
  }
  /// The connection that must not receive it.
  [[nodiscard]] std::string_view except_socket() const noexcept {
    return origin == nullptr ? std::string_view{} : origin->except_socket;
  }
};

/// One event, with all its bytes in its own allocation. Never changes once it is shared.
///
/// Thread safety: any thread may read it while it holds a `MessagePtr`.
class Message {
 public:
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  /// The channel that the event was triggered on.
  [[nodiscard]] std::string_view channel() const noexcept { return part(0); }
  /// What the event is called.
  [[nodiscard]] std::string_view name() const noexcept { return part(1); }
  /// The publisher's bytes, unchanged.
  [[nodiscard]] std::string_view data() const noexcept { return part(2); }
  /// Who sent it, if a client did and is known.
  [[nodiscard]] std::string_view user_id() const noexcept { return part(3); }
  /// The connection that sent it, if a client did.
  [[nodiscard]] std::string_view socket_id() const noexcept { return part(4); }
  /// The connection that must not receive it.
  [[nodiscard]] std::string_view except_socket() const noexcept { return part(5); }
  /// Its place in the channel's order; empty in a channel without one.
  [[nodiscard]] EventId id() const noexcept { return id_; }

  /// What the registry's encoder made of it; empty if no subscriber wanted it encoded.
  [[nodiscard]] std::span<const std::byte> frame() const noexcept {
    return {reinterpret_cast<const std::byte*>(bytes_) + end(part_count - 1), frame_size_};
  }

 protected:
  static constexpr std::size_t part_count = 6;

  /// \param bytes   has room for all parts, one after another, and for the frame behind them.
  Message(const MessageParts& from, char* bytes) noexcept : bytes_(bytes) {
    std::size_t at = 0;
    const auto put = [&](std::size_t i, std::string_view part) {
      if (!part.empty()) std::memcpy(bytes + at, part.data(), part.size());
      ends_[i] = at += part.size();
    };
    put(0, from.channel);
    put(1, from.name);
    put(2, from.data);
    if (from.origin == nullptr) {
      ends_[3] = ends_[4] = ends_[5] = at;
    } else {
      put(3, from.origin->user_id);
      put(4, from.origin->socket_id);
      put(5, from.origin->except_socket);
    }
  }
  virtual ~Message() = default;

  /// Where the frame goes while the message is not shared yet.
  [[nodiscard]] std::byte* frame_space() noexcept { return reinterpret_cast<std::byte*>(bytes_) + end(part_count - 1); }
  /// \pre the message is not shared yet.
  void set_frame_size(std::size_t bytes) noexcept { frame_size_ = bytes; }
  /// \pre the message is not shared yet.
  void set_id(EventId id) noexcept { id_ = id; }

 private:
  friend class MessagePtr;
  virtual void retain() const noexcept = 0;
  virtual void release() const noexcept = 0;

  [[nodiscard]] std::size_t end(std::size_t i) const noexcept { return ends_[i]; }
  [[nodiscard]] std::string_view part(std::size_t i) const noexcept {
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return {bytes_ + begin, ends_[i] - begin};
  }

  char* bytes_;
  std::array<std::size_t, part_count> ends_;
  std::size_t frame_size_ = 0;
  EventId id_;
};

inline MessagePtr::MessagePtr(const MessagePtr& other) noexcept : message_(other.message_) {
  if (message_ != nullptr) message_->retain();
}
inline MessagePtr MessagePtr::share(const Message& message) noexcept {
  message.retain();
  return adopt(&message);
}
inline MessagePtr::~MessagePtr() {
  if (message_ != nullptr) message_->release();
}

/// A message's place in one queue. It lies in the message's own allocation, so that queueing takes no memory; the queue
/// that it is given to uses it as it likes for as long as it holds a reference.
struct MessageLink {
  MessageLink* next = nullptr;
  const Message* message = nullptr;
  std::uint64_t tag = 0;  ///< what the queue wants to know of it
};

/// Turns an event into the bytes that wire subscribers send: given to a registry once, called at most once per
/// trigger and channel, by the triggering thread, without a lock.
class Encoder {
 public:
  /// An upper bound of the frame's size.
  [[nodiscard]] virtual std::size_t bound(const MessageParts& event) const noexcept = 0;
  /// Writes the frame.
  /// \param out       exactly as many bytes as `bound(event)` returned.
  /// \param written   receives how many were used.
  /// \returns         `errc::ok`, or why nobody gets the event (`errc::not_utf8`).
  [[nodiscard]] virtual errc encode(const MessageParts& event, std::span<std::byte> out,
                                    std::size_t& written) const noexcept = 0;
  /// Writes the number of an event with an epoch into its frame, under the channel's lock. Nothing, for encoders that show
  /// no ids.
  virtual void number(std::span<std::byte> /*frame*/, std::uint64_t /*number*/) const noexcept {}

 protected:
  ~Encoder() = default;
};

namespace detail {

/// A message with the count and the memory of one registry's policies.
template <Atomics A, Memory M>
class MessageBlock final : public Message {
 public:
  /// Makes a message with one reference.
  /// \param wire      whether the frame is wanted; it stays empty where there is no encoder.
  /// \param links     in how many queues it will need a link.
  /// \returns         null, with the reason in `error`.
  [[nodiscard]] static MessageBlock* make(const MessageParts& parts, bool wire, const Encoder* encoder, M memory,
                                          errc& error, std::uint32_t links = 0) noexcept {
    if (!wire) encoder = nullptr;
    const std::size_t frame = encoder == nullptr ? 0 : encoder->bound(parts);
    const std::size_t bytes = sizeof(MessageBlock) + links * sizeof(MessageLink) + parts.size() + frame;
    void* const address = memory.allocate(bytes, alignof(MessageBlock));
    if (address == nullptr) {
      error = errc::out_of_memory;
      return nullptr;
    }
    auto* message = ::new (address) MessageBlock{parts, memory, bytes, wire, links};
    if (encoder != nullptr) {
      std::size_t written = 0;
      error = encoder->encode(parts, {message->frame_space(), frame}, written);
      if (error != errc::ok) {
        message->release();
        return nullptr;
      }
      FANFARE_ASSERT(written <= frame, "an encoder wrote more than its bound");
      message->set_frame_size(written);
    }
    return message;
  }

  /// Gives it its place. \pre nobody else has it yet.
  void set_id(EventId id, const Encoder* encoder = nullptr) noexcept {
    Message::set_id(id);
    if (numbered_ && encoder != nullptr) encoder->number({frame_space(), frame().size()}, id.number);
  }

  /// Whether it went through the encoder, or there was none.
  [[nodiscard]] bool encoded() const noexcept { return encoded_; }
  /// Whether it is to show its id.
  [[nodiscard]] bool numbered() const noexcept { return numbered_; }

  /// How many links it has.
  [[nodiscard]] std::uint32_t links() const noexcept { return links_; }
  /// \pre `i` is below `links()`.
  [[nodiscard]] MessageLink& link(std::uint32_t i) noexcept { return reinterpret_cast<MessageLink*>(this + 1)[i]; }

  void retain() const noexcept override {
    count_.fetch_add(1, std::memory_order_relaxed);  // (14) the caller's own reference keeps it alive
  }
  void release() const noexcept override {
    // (15) acq_rel; pairs with itself: all uses by other threads happen before the last reference frees it.
    if (count_.fetch_sub(1, std::memory_order_acq_rel) == 1) free();
  }

 private:
  MessageBlock(const MessageParts& parts, const M& memory, std::size_t bytes, bool encoded,
               std::uint32_t links) noexcept
      : Message(parts, reinterpret_cast<char*>(this + 1) + links * sizeof(MessageLink)),
        memory_(memory),
        encoded_(encoded),
        numbered_(encoded && parts.epoch != 0),
        links_(links),
        allocated_(bytes) {
    for (std::uint32_t i = 0; i < links; ++i) ::new (static_cast<void*>(&link(i))) MessageLink{};
  }
  ~MessageBlock() override = default;

  void free() const noexcept {
    auto* self = const_cast<MessageBlock*>(this);
    M memory = memory_;
    const std::size_t bytes = allocated_;
    self->~MessageBlock();
    memory.deallocate(self, bytes, alignof(MessageBlock));
  }

  mutable typename A::template atomic<std::uint32_t> count_{1};
  [[no_unique_address]] M memory_;
  const bool encoded_;
  const bool numbered_;  // the frame has a place for the number, if there is one
  const std::uint32_t links_;
  const std::size_t allocated_;
};

}  // namespace detail

FANFARE_NAMESPACE_END

template <>
struct std::hash<fanfare::EventId> {
  std::size_t operator()(const fanfare::EventId& id) const noexcept {
    return std::hash<std::uint64_t>{}(id.epoch * 0x9e3779b97f4a7c15U ^ id.number);
  }
};
