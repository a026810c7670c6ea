/// \file
/// The latest event of each name in one ordered channel.
#pragma once

#include <fanfare/core/hash.hpp>
#include <fanfare/core/kept_bytes.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/detail/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// How much is retained in one channel: an event is forgotten as soon as one of the three says so, the oldest first.
struct RetainedRule {
  static constexpr std::size_t max_names = std::size_t{1} << 20U;
  static constexpr std::chrono::seconds max_age = std::chrono::hours{24 * 366};

  std::size_t names = 1000;        ///< Names of events; 1 to `max_names`.
  std::size_t bytes = 1U << 20U;   ///< Of all events together, as `kept_bytes` counts them; at least 1.
  std::chrono::seconds age{1800};  ///< 1 s to `max_age`.

  friend bool operator==(const RetainedRule&, const RetainedRule&) = default;
};

namespace detail {

/// One name. It lies in the list of all, by id, and in that of its bucket.
struct RetainedNode {
  MessagePtr message;
  std::chrono::steady_clock::time_point time;
  std::uint64_t hash = 0;
  RetainedNode* older = nullptr;
  RetainedNode* newer = nullptr;
  RetainedNode* next = nullptr;  // in its bucket
};

}  // namespace detail

/// The latest event of each name in one ordered channel, in the order of their ids.
///
/// Where a bound is exceeded or memory refused, the events with the lowest ids are forgotten, so it holds those that
/// were stored last. An event that alone exceeds the bytes, or finds no memory and nothing to take the place of, is not
/// kept; the one that it replaces is gone all the same, because it is no longer the latest.
///
/// \tparam M   where its memory comes from.
/// Thread safety: like an `int`. It is used under its channel's lock alone, and runs no code but the visitors it is
/// given.
template <Memory M = NewDelete>
class BasicRetained {
 public:
  /// Of the times that it is given.
  using Clock = std::chrono::steady_clock;

  /// \param rule   what is outside of its bounds is taken to be at the nearer one.
  /// \param seed   of the table of names, which clients may choose.
  explicit BasicRetained(const RetainedRule& rule = {}, std::uint64_t seed = 0, M memory = M{}) noexcept
      : memory_(std::move(memory)),
        seed_(seed),
        name_bound_(std::clamp(rule.names, std::size_t{1}, RetainedRule::max_names)),
        byte_bound_(std::max(rule.bytes, std::size_t{1})),
        age_bound_(std::clamp(rule.age, std::chrono::seconds{1}, RetainedRule::max_age)) {}
  BasicRetained(const BasicRetained&) = delete;
  BasicRetained& operator=(const BasicRetained&) = delete;
  ~BasicRetained() { clear(); }

  /// Keeps an event in the place of the one of its name.
  /// \param message   \pre its id is above that of all others, or of another epoch.
  /// \param now       an earlier time than the last one counts as that.
  /// \complexity      amortised O(1); one allocation for a name that is new, and some where the table grows.
  void store(MessagePtr message, Clock::time_point now) noexcept {
    FANFARE_ASSERT(newest_ == nullptr || !(message->id() <= newest_->message->id()),
                   "events come in the order of their ids");
    if (newest_ != nullptr) now = std::max(now, newest_->time);
    expire(now);
    const std::uint64_t hash = SeededHash::hash(message->name(), seed_);
    Node* node = take(message->name(), hash);
    const std::size_t bytes = kept_bytes(*message);
    if (bytes > byte_bound_) return free_node(node);
    while (oldest_ != nullptr && (size_ >= name_bound_ || bytes_ > byte_bound_ - bytes)) reuse(node);
    if (node == nullptr) node = make_node();
    if (node == nullptr && oldest_ != nullptr) reuse(node);
    if (node == nullptr) return;
    if (size_ >= buckets_) grow();
    if (buckets_ == 0) return free_node(node);
    node->message = std::move(message);
    node->time = now;
    node->hash = hash;
    put(*node, bytes);
  }

  /// Forgets the event of a name. \returns whether there was one. \complexity O(1).
  bool clear(std::string_view name) noexcept {
    if (size_ == 0) return false;
    Node* const node = take(name, SeededHash::hash(name, seed_));
    free_node(node);
    if (size_ == 0) free_table();
    return node != nullptr;
  }
  /// Forgets all of them.
  void clear() noexcept { shrink_to(0); }

  /// Forgets what is too old. \complexity O(what is forgotten).
  void expire(Clock::time_point now) noexcept {
    while (oldest_ != nullptr && now - oldest_->time >= age_bound_) free_node(take(*oldest_));
    if (size_ == 0) free_table();
  }

  /// Forgets the oldest events until at most so many bytes are kept; see `KeptAccount`.
  void shrink_to(std::size_t bytes) noexcept {
    while (bytes_ > bytes) free_node(take(*oldest_));
    if (size_ == 0) free_table();
  }

  /// The event of a name; null if there is none. Stays until something is changed. \complexity O(1).
  [[nodiscard]] const Message* find(std::string_view name) const noexcept {
    if (size_ == 0) return nullptr;
    Node* const* const link = find_link(name, SeededHash::hash(name, seed_));
    return *link == nullptr ? nullptr : (*link)->message.get();
  }

  /// The id of the oldest event; empty if there is none.
  [[nodiscard]] EventId first() const noexcept { return oldest_ == nullptr ? EventId{} : oldest_->message->id(); }
  /// Whether nothing is kept.
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// How many names there are.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// How many bytes their events count.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

  /// Visits all events in the order of their ids; `expire` first, for those that are too old.
  /// \param f   called with `const MessagePtr&`; must not use this object. What it throws ends the visit.
  template <class F>
  void for_each(F&& f) const noexcept(noexcept(f(std::declval<const MessagePtr&>()))) {
    for (const Node* node = oldest_; node != nullptr; node = node->newer) f(std::as_const(node->message));
  }

  /// Visits those that a reader misses who is given a history from its `floor` on: with an id that is not above the
  /// floor, in the order of their ids. All of them come before what the history holds.
  template <class F>
  void for_each_up_to(const EventId& floor, F&& f) const noexcept(noexcept(f(std::declval<const MessagePtr&>()))) {
    for (const Node* node = oldest_; node != nullptr; node = node->newer) {
      if (!(node->message->id() > floor)) f(std::as_const(node->message));
    }
  }

 private:
  using Node = detail::RetainedNode;
  struct Bucket {
    Node* first = nullptr;
  };
  static constexpr std::size_t first_buckets = 8;

  /// Where the bucket's list refers to the node of a name, or to its end. \pre there are buckets.
  [[nodiscard]] Node** find_link(std::string_view name, std::uint64_t hash) const noexcept {
    Node** link = &table_[hash & (buckets_ - 1)].first;
    while (*link != nullptr && ((*link)->hash != hash || !detail::same_name((*link)->message->name(), name))) {
      link = &(*link)->next;
    }
    return link;
  }

  /// Takes the node of a name out, if there is one, without its event: that is the same as being gone.
  [[nodiscard]] Node* take(std::string_view name, std::uint64_t hash) noexcept {
    if (buckets_ == 0) return nullptr;
    Node** const link = find_link(name, hash);
    Node* const node = *link;
    if (node == nullptr) return nullptr;
    *link = node->next;
    (node->older == nullptr ? oldest_ : node->older->newer) = node->newer;
    (node->newer == nullptr ? newest_ : node->newer->older) = node->older;
    bytes_ -= kept_bytes(*node->message);
    --size_;
    node->message = {};
    return node;
  }
  [[nodiscard]] Node* take(const Node& node) noexcept { return take(node.message->name(), node.hash); }

  /// Forgets the oldest, and has its node in hand where there was none.
  void reuse(Node*& node) noexcept {
    Node* const oldest = take(*oldest_);
    if (node == nullptr) {
      node = oldest;
    } else {
      free_node(oldest);
    }
  }

  void put(Node& node, std::size_t bytes) noexcept {
    Node*& first = table_[node.hash & (buckets_ - 1)].first;
    node.next = first;
    first = &node;
    node.older = newest_;
    node.newer = nullptr;
    (newest_ == nullptr ? oldest_ : newest_->newer) = &node;
    newest_ = &node;
    bytes_ += bytes;
    ++size_;
  }

  [[nodiscard]] Node* make_node() noexcept {
    void* const address = memory_.allocate(sizeof(Node), alignof(Node));
    return address == nullptr ? nullptr : ::new (address) Node;
  }
  void free_node(Node* node) noexcept {
    if (node == nullptr) return;
    std::destroy_at(node);
    memory_.deallocate(node, sizeof(Node), alignof(Node));
  }

  /// Without memory the lists of the buckets get longer.
  void grow() noexcept {
    const std::size_t buckets = buckets_ == 0 ? first_buckets : 2 * buckets_;
    void* const address = memory_.allocate(buckets * sizeof(Bucket), alignof(Bucket));
    if (address == nullptr) return;
    auto* const table = static_cast<Bucket*>(address);
    std::uninitialized_value_construct_n(table, buckets);
    for (Node* node = oldest_; node != nullptr; node = node->newer) {
      Node*& first = table[node->hash & (buckets - 1)].first;
      node->next = first;
      first = node;
    }
    free_table();
    table_ = table;
    buckets_ = buckets;
  }
  void free_table() noexcept {
    if (table_ != nullptr) memory_.deallocate(table_, buckets_ * sizeof(Bucket), alignof(Bucket));
    table_ = nullptr;
    buckets_ = 0;
  }

  [[no_unique_address]] M memory_;
  const std::uint64_t seed_;
  const std::size_t name_bound_;
  const std::size_t byte_bound_;
  const std::chrono::seconds age_bound_;
  Bucket* table_ = nullptr;
  std::size_t buckets_ = 0;  // a power of two, or 0
  Node* oldest_ = nullptr;
  Node* newest_ = nullptr;
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
};

/// With the ordinary heap.
using Retained = BasicRetained<>;

FANFARE_NAMESPACE_END
