// A mailbox that many threads push into while its reader takes, sleeps and wakes up.
#include <fanfare/core/mailbox.hpp>

#include "support/memory.hpp"
#include "support/perturbed_atomics.hpp"
#include "support/print.hpp"
#include "support/threads.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

constexpr std::size_t publishers = 4;

/// What a publisher pushes: its number is written without any atomic, so a mailbox that does not order it is found out.
struct Item {
  MessageLink link;
  std::size_t number = 0;
};

template <class A>
class mailbox_threads : public ::testing::Test {
 protected:
  /// Follows a list from `take`. \returns how many links there were.
  std::size_t read(MessageLink* link) {
    std::size_t count = 0;
    for (; link != nullptr; ++count) {
      const auto row = static_cast<std::size_t>(link->tag);
      const Item& item = items[row][next[row]];
      EXPECT_EQ(&item.link, link) << "out of order";
      EXPECT_EQ(item.number, next[row]++);
      mailbox.release(1);
      link = link->next;
    }
    return count;
  }
  void make(std::size_t each) {
    for (auto& row : items) row = std::vector<Item>(each);
  }
  /// \returns whether the reader must be woken.
  bool push(std::size_t publisher, std::size_t number) {
    Item& item = items[publisher][number];
    item.number = number;
    item.link.tag = publisher;
    return mailbox.push(item.link, 1);
  }

  BasicMailbox<A> mailbox{std::size_t{1} << 20U};
  std::array<std::vector<Item>, publishers> items;
  std::array<std::size_t, publishers> next{};
};
using AtomicsKinds = ::testing::Types<StdAtomics, PerturbedAtomics>;
TYPED_TEST_SUITE(mailbox_threads, AtomicsKinds);

TYPED_TEST(mailbox_threads, each_publishers_order_is_kept_and_nothing_is_lost) {
  const std::size_t each = repetitions(8000);
  this->make(each);
  std::vector<Thread> threads;
  for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
    threads.emplace_back([&, publisher] {
      PerturbedAtomics::perturb_from(publisher);
      for (std::size_t i = 0; i < each; ++i) EXPECT_FALSE(this->push(publisher, i));
    });
  }
  for (std::size_t read = 0; read < publishers * each;) {
    read += this->read(this->mailbox.take());
    std::this_thread::yield();
  }
  threads.clear();
  EXPECT_EQ(this->mailbox.take(), nullptr);
  EXPECT_EQ(this->mailbox.bytes(), 0U);
}

/// What wakes a reader.
class Bell {
 public:
  void ring() {
    const std::lock_guard lock(mutex_);
    ++rings_;
    changed_.notify_one();
  }
  /// Waits for one more than the last call saw.
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return rings_ != seen_; });
    ++seen_;
  }
  [[nodiscard]] std::size_t unheard() {
    const std::lock_guard lock(mutex_);
    return rings_ - seen_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t rings_ = 0;
  std::size_t seen_ = 0;
};

TYPED_TEST(mailbox_threads, a_sleeping_reader_is_woken_exactly_once) {
  const std::size_t each = repetitions(2000);
  this->make(each);
  Bell bell;
  EXPECT_TRUE(this->mailbox.sleep());
  std::vector<Thread> threads;
  for (std::size_t publisher = 0; publisher < 2; ++publisher) {
    threads.emplace_back([&, publisher] {
      PerturbedAtomics::perturb_from(publisher);
      for (std::size_t i = 0; i < each; ++i) {
        if (this->push(publisher, i)) bell.ring();
        if (i % 4 == 0) std::this_thread::yield();  // so that the reader gets to sleep now and then
      }
    });
  }
  // Were a wake-up lost, this would never end.
  bell.wait();
  for (std::size_t read = 0; read < 2 * each;) {
    read += this->read(this->mailbox.take());
    if (read != 2 * each && this->mailbox.sleep()) bell.wait();
  }
  threads.clear();
  EXPECT_EQ(bell.unheard(), 0U);
}

TYPED_TEST(mailbox_threads, a_reader_that_gets_up_by_itself_misses_nothing) {
  // As a loop that is busy with its sockets: it sleeps, is woken by something else, and looks into the mailbox.
  const std::size_t each = repetitions(8000);
  this->make(each);
  std::atomic<std::size_t> rings{0};
  std::vector<Thread> threads;
  for (std::size_t publisher = 0; publisher < 2; ++publisher) {
    threads.emplace_back([&, publisher] {
      PerturbedAtomics::perturb_from(publisher);
      for (std::size_t i = 0; i < each; ++i) rings += this->push(publisher, i) ? 1U : 0U;
    });
  }
  std::size_t slept = 0;
  for (std::size_t read = 0; read < 2 * each;) {
    slept += this->mailbox.sleep() ? 1U : 0U;
    this->mailbox.awake();
    read += this->read(this->mailbox.take());
    std::this_thread::yield();
  }
  threads.clear();
  EXPECT_LE(rings, slept);
}

TYPED_TEST(mailbox_threads, the_bound_is_overshot_by_one_message_per_publisher_at_most) {
  constexpr std::size_t most = 8;
  BasicMailbox<TypeParam> small{most};
  const std::size_t each = repetitions(1500);
  this->make(each);
  std::vector<Thread> threads;
  std::atomic<std::size_t> refused{0};
  std::atomic<std::size_t> pushed{0};
  std::atomic<std::size_t> running{publishers};
  for (std::size_t publisher = 0; publisher < publishers; ++publisher) {
    threads.emplace_back([&, publisher] {
      PerturbedAtomics::perturb_from(publisher);
      for (Item& item : this->items[publisher]) {
        if (small.has_room(1)) {
          ++pushed;
          static_cast<void>(small.push(item.link, 1));
        } else {
          ++refused;
          std::this_thread::yield();
        }
      }
      --running;
    });
  }
  std::size_t taken = 0;
  for (bool last = false; !last;) {
    last = running == 0;
    EXPECT_LE(small.bytes(), most + publishers);
    for (MessageLink* link = small.take(); link != nullptr; ++taken) {
      link = link->next;
      small.release(1);
    }
  }
  EXPECT_EQ(taken, pushed);
  EXPECT_EQ(taken + refused, publishers * each);
  EXPECT_EQ(small.bytes(), 0U);
}

// ---- one thread stopped at each of its steps, another runs a whole program meanwhile

template <class Stopped, class Visitor, class Check>
std::size_t at_every_step(Stopped stopped, Visitor visitor, Check check) {
  for (std::size_t step = 0;; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    BasicMailbox<PerturbedAtomics> mailbox{100};
    bool visited = false;
    PerturbedAtomics::at_step(step, [&] {
      visited = true;
      Thread{[&] { visitor(mailbox); }};
    });
    stopped(mailbox);
    if (PerturbedAtomics::not_reached()) return step;
    EXPECT_TRUE(visited);
    check(mailbox);
    if (::testing::Test::HasFailure()) return step;
  }
}

using PerturbedMailbox = BasicMailbox<PerturbedAtomics>;

std::vector<std::uint64_t> tags_of(const MessageLink* link) {
  std::vector<std::uint64_t> tags;
  for (; link != nullptr; link = link->next) tags.push_back(link->tag);
  return tags;
}

TEST(mailbox_step_threads, a_push_while_the_reader_takes_and_falls_asleep) {
  for (const bool asleep_before : {false, true}) {
    MessageLink link;
    bool wakes = false;
    bool taken = false;
    bool slept = false;
    EXPECT_GE(at_every_step(
                  [&](PerturbedMailbox& mailbox) {
                    if (asleep_before) {
                      EXPECT_TRUE(mailbox.sleep());
                    }
                    taken = slept = false;
                    wakes = mailbox.push(link, 1);
                  },
                  [&](PerturbedMailbox& mailbox) {
                    taken = mailbox.take() != nullptr;
                    slept = mailbox.sleep();
                  },
                  [&](PerturbedMailbox& mailbox) {
                    // It was seen, or the one who sleeps is woken, or the one who could not sleep looks again.
                    EXPECT_TRUE(taken || !slept || wakes);
                    EXPECT_EQ(mailbox.take() == nullptr, taken);
                  }),
              3U);
  }
}

TEST(mailbox_step_threads, a_reader_that_falls_asleep_while_two_messages_come) {
  std::array<MessageLink, 2> links;
  links[1].tag = 1;
  std::size_t wakes = 0;
  bool slept = false;
  std::vector<std::uint64_t> taken;
  EXPECT_GE(at_every_step(
                [&](PerturbedMailbox& mailbox) {
                  taken = tags_of(mailbox.take());
                  slept = mailbox.sleep();
                },
                [&](PerturbedMailbox& mailbox) {
                  wakes = 0;
                  for (MessageLink& link : links) wakes += mailbox.push(link, 1) ? 1U : 0U;
                },
                [&](PerturbedMailbox& mailbox) {
                  EXPECT_TRUE(!slept || !taken.empty() || wakes == 1);
                  for (const std::uint64_t tag : tags_of(mailbox.take())) taken.push_back(tag);
                  EXPECT_EQ(taken, (std::vector<std::uint64_t>{0, 1}));
                }),
            2U);
}

TEST(mailbox_step_threads, a_reader_that_gets_up_while_a_message_comes) {
  MessageLink link;
  EXPECT_GE(at_every_step(
                [&](PerturbedMailbox& mailbox) {
                  static_cast<void>(mailbox.sleep());
                  mailbox.awake();
                },
                [&](PerturbedMailbox& mailbox) { static_cast<void>(mailbox.push(link, 1)); },
                [&](PerturbedMailbox& mailbox) { EXPECT_EQ(mailbox.take(), &link); }),
            1U);
}

TEST(mailbox_step_threads, two_pushes_at_the_same_time) {
  std::array<MessageLink, 3> links;
  EXPECT_GE(at_every_step([&](PerturbedMailbox& mailbox) { static_cast<void>(mailbox.push(links[0], 1)); },
                          [&](PerturbedMailbox& mailbox) {
                            static_cast<void>(mailbox.push(links[1], 1));
                            static_cast<void>(mailbox.push(links[2], 1));
                          },
                          [&](PerturbedMailbox& mailbox) {
                            std::vector<const MessageLink*> order;
                            for (const MessageLink* link = mailbox.take(); link != nullptr; link = link->next) {
                              order.push_back(link);
                            }
                            EXPECT_EQ(order.size(), 3U);
                            std::erase(order, &links[0]);
                            EXPECT_EQ(order, (std::vector<const MessageLink*>{&links[1], &links[2]}));
                          }),
            3U);
}

/// A sink that is kept, with a link of its own and memory that is poisoned with it.
class PerturbedSink {
 public:
  PerturbedSink(PerturbedMailbox& mailbox, std::uint64_t tag) noexcept : mailbox_(&mailbox), tag_(tag) {}
  bool push(MessagePtr message, MessageLink& link) noexcept {
    EXPECT_EQ(link.message, nullptr);
    link.tag = tag_;
    link.message = message.release();
    static_cast<void>(mailbox_->push(link, 1));
    return true;
  }

 private:
  PerturbedMailbox* mailbox_;
  std::uint64_t tag_;
};

/// \returns the tags of what was in there.
std::vector<std::uint64_t> drop_all(PerturbedMailbox& mailbox) {
  std::vector<std::uint64_t> tags;
  for (const MessageLink* link = mailbox.take(); link != nullptr;) {
    const MessagePtr message = MessagePtr::adopt(link->message);
    EXPECT_EQ(message->data(), "data");
    tags.push_back(link->tag);
    link = link->next;
  }
  return tags;
}

TEST(mailbox_step_threads, a_trigger_while_kept_sinks_come_and_go) {
  using Registry = ChannelRegistry<PerturbedAtomics, WithMemory<PoisoningMemory>>;
  for (const bool several : {false, true}) {
    for (std::size_t step = 0;; ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      Quarantine quarantine;
      PerturbedMailbox mailbox{100};
      bool done = false;
      {
        Registry channels{RegistryOptions{.seed = 7}, PoisoningMemory{quarantine}};
        const Subscription stays = channels.attach("room", PerturbedSink{mailbox, 1});
        Subscription leaves = channels.attach("room", PerturbedSink{mailbox, 2});
        const Subscription other = channels.attach("other", PerturbedSink{mailbox, 3});
        std::vector<Subscription> more;
        const auto visitor = [&] {
          leaves.detach();
          channels.collect();
          for (std::uint64_t tag = 4; tag < 10; ++tag) {
            more.push_back(channels.attach("room", PerturbedSink{mailbox, tag}));
          }
          static_cast<void>(drop_all(mailbox));
          channels.collect();
        };
        PerturbedAtomics::at_step(step, [&] { Thread{visitor}; });
        const TriggerResult result =
            several ? channels.trigger({"room", "other"}, "e", "data") : channels.trigger("room", "e", "data");
        done = PerturbedAtomics::not_reached();
        EXPECT_EQ(result.error, errc::ok);
        EXPECT_GE(result.delivered, several ? 2U : 1U);
        static_cast<void>(drop_all(mailbox));
        EXPECT_EQ(channels.trigger("room", "e", "data").delivered, done ? 2U : 7U);
        EXPECT_EQ(drop_all(mailbox).size(), done ? 2U : 7U);
      }
      EXPECT_EQ(quarantine.live(), 0);
      EXPECT_EQ(quarantine.empty(), 0U);
      if (done || ::testing::Test::HasFailure()) {
        EXPECT_GT(step, 10U);
        break;
      }
    }
  }
}

// ---- behind a registry: the place of a loop in its channels

/// A sink that the registry keeps: a handle of the mailbox.
class MailboxSink {
 public:
  MailboxSink(Mailbox& mailbox, Bell& bell, std::uint64_t tag) noexcept : mailbox_(&mailbox), bell_(&bell), tag_(tag) {}
  bool push(MessagePtr message, MessageLink& link) noexcept {
    const std::size_t bytes = message->data().size();
    link.tag = tag_;
    link.message = message.release();
    if (mailbox_->push(link, bytes)) bell_->ring();
    return true;
  }

 private:
  Mailbox* mailbox_;
  Bell* bell_;
  std::uint64_t tag_;
};

TEST(mailbox_sink_threads, one_message_waits_in_several_mailboxes_and_is_freed_by_the_last_reader) {
  MemoryLog log;
  {
    constexpr std::size_t loops = 3;
    std::array<Mailbox, loops> mailboxes{Mailbox{1 << 20}, Mailbox{1 << 20}, Mailbox{1 << 20}};
    std::array<Bell, loops> bells;
    const std::size_t each = repetitions(2000);
    ChannelRegistry<WithMemory<CountingMemory>> channels{{}, CountingMemory{log}};
    std::vector<Subscription> places;
    for (std::size_t loop = 0; loop < loops; ++loop) {
      places.push_back(channels.attach("room", MailboxSink{mailboxes[loop], bells[loop], loop}));
      places.push_back(channels.attach("presence-room", MailboxSink{mailboxes[loop], bells[loop], loop}));
    }
    std::vector<Thread> readers;
    std::vector<std::vector<std::uint64_t>> seen(loops);
    for (std::size_t loop = 0; loop < loops; ++loop) {
      readers.emplace_back([&, loop] {
        for (std::size_t read = 0; read < 4 * each;) {
          for (const MessageLink* link = mailboxes[loop].take(); link != nullptr; ++read) {
            const MessagePtr message = MessagePtr::adopt(link->message);
            EXPECT_EQ(link->tag, loop);
            EXPECT_EQ(message->data(), "data");
            link = link->next;
            mailboxes[loop].release(message->data().size());
            if (message->id()) seen[loop].push_back(message->id().number);
          }
          if (read < 4 * each && mailboxes[loop].sleep()) bells[loop].wait();
        }
      });
    }
    run_together(2, [&](std::size_t) {
      for (std::size_t i = 0; i < each; ++i) {
        EXPECT_EQ(channels.trigger("room", "e", "data").delivered, loops);
        EXPECT_EQ(channels.trigger("presence-room", "e", "data").delivered, loops);
      }
    });
    readers.clear();
    for (std::size_t loop = 0; loop < loops; ++loop) {
      EXPECT_EQ(mailboxes[loop].bytes(), 0U);
      ASSERT_EQ(seen[loop].size(), 2 * each);
      for (std::size_t i = 0; i < 2 * each; ++i) EXPECT_EQ(seen[loop][i], i + 1);  // one order for all
    }
  }
  EXPECT_EQ(log.live_blocks(), 0U);
  EXPECT_EQ(log.mistakes(), "");
}

}  // namespace
}  // namespace fanfare::test
