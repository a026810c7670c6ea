// Programs about messages and the queues that they travel through.
#pragma once

#include "explore/programs/environment.hpp"
#include <fanfare/core/inbox.hpp>
#include <fanfare/core/mailbox.hpp>
#include <fanfare/core/message.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

namespace fanfare::explore {

/// What is pushed: its number is no atomic, so the queue has to order it.
template <class Env>
struct Parcel {
  typename Env::atomics::template plain<int> number;
  MessageLink link;
};

/// Pushers, and a reader that sleeps whenever there is nothing, until it has got everything.
template <class Env, std::size_t Pushers, std::size_t Each>
class MailboxProgram : public Parts<Env> {
 public:
  static constexpr std::size_t threads = Pushers + 1;

  void run(std::size_t thread) {
    if (thread < Pushers) {
      for (std::size_t i = 0; i < Each; ++i) push(thread, i);
    } else {
      read();
    }
  }
  void end() {
    Env::require(mailbox.take() == nullptr, "the mailbox is not empty");
    Env::require(mailbox.bytes() == 0, "the mailbox has lost count");
  }

 private:
  void push(std::size_t pusher, std::size_t i) {
    Parcel<Env>& parcel = parcels[pusher * Each + i];
    parcel.number.write(static_cast<int>(i));
    parcel.link.tag = pusher * Each + i;
    if (mailbox.push(parcel.link, 1)) bell.fetch_add(1, std::memory_order_release);
  }
  void read() {
    unsigned rung = 0;
    for (std::size_t got = 0; got < Pushers * Each;) {
      MessageLink* link = mailbox.take();
      if (link == nullptr) {
        if (!mailbox.sleep()) continue;
        Parts<Env>::A::await([&] { return bell.load(std::memory_order_acquire) != rung; });
        ++rung;
        mailbox.awake();
        continue;
      }
      for (; link != nullptr; ++got) {
        const auto tag = static_cast<std::size_t>(link->tag);
        const std::size_t pusher = tag / Each;
        Parcel<Env>& parcel = parcels[tag];
        Env::require(&parcel.link == link, "a link that nobody pushed");
        Env::require(parcel.number.read() == next[pusher]++, "one pusher's parcels are out of order");
        link = link->next;
        mailbox.release(1);
      }
    }
  }

  BasicMailbox<typename Parts<Env>::A> mailbox{1U << 20U};
  typename Parts<Env>::template Atomic<unsigned> bell{0};
  std::array<Parcel<Env>, Pushers * Each> parcels;
  std::array<int, Pushers> next{};  // the reader's
};

template <class Env>
class PushSleep : public MailboxProgram<Env, 1, 1> {
 public:
  static constexpr const char* name = "push | sleep";
};

template <class Env>
class PushTwiceSleep : public MailboxProgram<Env, 1, 2> {
 public:
  static constexpr const char* name = "push twice | sleep";
};

template <class Env>
class TwoPushSleep : public MailboxProgram<Env, 2, 1> {
 public:
  static constexpr const char* name = "push | push | sleep";
};

/// A link comes back to the head while another push is between its load and its exchange.
template <class Env>
class PushAgain : public Parts<Env> {
 public:
  static constexpr const char* name = "push | push + take + push the same again";
  static constexpr std::size_t threads = 2;

  void run(std::size_t thread) {
    if (thread == 0) {
      first.number.write(1);
      static_cast<void>(mailbox.push(first.link, 1));
      return;
    }
    second.number.write(2);
    static_cast<void>(mailbox.push(second.link, 1));
    take();
    static_cast<void>(mailbox.push(second.link, 1));
  }
  void end() {
    take();
    Env::require(taken == 5, "a link was lost, or was taken twice");
  }

 private:
  void take() {
    for (MessageLink* link = mailbox.take(); link != nullptr; link = link->next) {
      taken += (link == &first.link ? first : second).number.read();
    }
  }

  BasicMailbox<typename Parts<Env>::A> mailbox{1U << 20U};
  Parcel<Env> first;
  Parcel<Env> second;
  int taken = 0;
};

/// A message that several threads share.
template <class Env>
class SharedMessages : public Parts<Env> {
 public:
  using Block = fanfare::detail::MessageBlock<typename Parts<Env>::A, typename Parts<Env>::M>;

 protected:
  MessagePtr make_message(std::string_view data) {
    errc error = errc::ok;
    Block* const block = Block::make({"channel", "event", data}, false, nullptr, this->memory, error, 1);
    Env::require(block != nullptr, "there is no memory");
    return MessagePtr::adopt(block);
  }
};

template <class Env>
class DropMessage : public SharedMessages<Env> {
 public:
  static constexpr const char* name = "drop | drop";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) { const MessagePtr mine = std::move(held[thread]); }
  void end() {}

 private:
  std::array<MessagePtr, 2> held = [this] {
    MessagePtr first = this->make_message("data");
    MessagePtr second = first;
    return std::array{std::move(first), std::move(second)};
  }();
};

template <class Env>
class CopyDropMessage : public SharedMessages<Env> {
 public:
  static constexpr const char* name = "copy + drop both | drop | drop";
  static constexpr std::size_t threads = 3;
  void run(std::size_t thread) {
    const MessagePtr mine = std::move(held[thread]);
    if (thread != 0) return;
    const MessagePtr copy = mine;
    Env::require(copy->data() == "data", "a message has changed");
  }
  void end() {}

 private:
  std::array<MessagePtr, 3> held = [this] {
    MessagePtr first = this->make_message("data");
    MessagePtr second = first;
    MessagePtr third = first;
    return std::array{std::move(first), std::move(second), std::move(third)};
  }();
};

/// A ring with room for two.
template <class Env, Overflow Policy>
class RingProgram : public SharedMessages<Env> {
 protected:
  RingProgram() { Env::require(ring.reserve({.messages = 2, .overflow = Policy}), "there is no memory"); }

  bool push(std::string_view data) { return ring.push(this->make_message(data)); }
  /// \returns whether there was something, which is then behind what was there before.
  bool pop() {
    const MessagePtr message = ring.pop(std::numeric_limits<std::uint64_t>::max());
    if (!message) return false;
    Env::require(message->data() > last, "messages are out of order");
    last = message->data() == "1" ? "1" : message->data() == "2" ? "2" : "3";
    return true;
  }

  fanfare::detail::MessageRing<typename Parts<Env>::A, typename Parts<Env>::M> ring{this->memory};
  std::string_view last;  // the popper's
};

template <class Env>
class PushPop : public RingProgram<Env, Overflow::drop_newest> {
 public:
  static constexpr const char* name = "push a lap | pop";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      pushed =
          static_cast<int>(this->push("1")) + static_cast<int>(this->push("2")) + static_cast<int>(this->push("3"));
    } else {
      popped = static_cast<int>(this->pop()) + static_cast<int>(this->pop());
    }
  }
  void end() {
    while (this->pop()) ++popped;
    Env::require(popped == pushed, "a message was lost, or was popped twice");
    Env::require(pushed + static_cast<int>(this->ring.dropped()) == 3, "a dropped message was not counted");
  }

 private:
  int pushed = 0;
  int popped = 0;
};

template <class Env>
class PushPushPop : public RingProgram<Env, Overflow::drop_newest> {
 public:
  static constexpr const char* name = "push to the ring | push | pop";
  static constexpr std::size_t threads = 3;
  void run(std::size_t thread) {
    if (thread < 2) {
      this->ring.push(this->make_message("1"));
    } else {
      popped = this->ring.pop(std::numeric_limits<std::uint64_t>::max()) ? 1 : 0;
    }
  }
  void end() {
    while (this->ring.pop(std::numeric_limits<std::uint64_t>::max())) ++popped;
    Env::require(popped == 2, "a message was lost, or was popped twice");
  }

 private:
  int popped = 0;
};

template <class Env>
class PushOverPop : public RingProgram<Env, Overflow::drop_oldest> {
 public:
  static constexpr const char* name = "push over the oldest | pop";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      this->push("1");
      this->push("2");
      this->push("3");
    } else {
      this->pop();
      this->pop();
    }
  }
  void end() {
    while (this->pop()) {
    }
  }
};

}  // namespace fanfare::explore
