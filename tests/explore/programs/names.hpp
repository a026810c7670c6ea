// Programs about the index of names: lookups while entries and tables go.
#pragma once

#include "explore/programs/environment.hpp"
#include <fanfare/core/epoch.hpp>
#include <fanfare/core/name_index.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace fanfare::explore {

/// All names have the same place, so that every lookup passes what is erased.
struct OnePlace {
  [[nodiscard]] static std::uint64_t hash(std::string_view /*name*/, std::uint64_t /*seed*/) noexcept { return 1; }
};
static_assert(NameHash<OnePlace>);

/// A channel, as the index knows it.
template <class Env>
class alignas(name_index_alignment) NamedNode final : public fanfare::detail::Garbage {
 public:
  explicit NamedNode(std::string_view name) : name_(name) {}
  [[nodiscard]] std::string_view name() const { return name_.read(); }
  [[nodiscard]] std::uint64_t hash() const noexcept { return 1; }

  fanfare::detail::Block destroy() noexcept override {
    name_.write("destroyed");
    const fanfare::detail::Block block{this, sizeof(NamedNode), alignof(NamedNode)};
    this->~NamedNode();
    return block;
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return sizeof(NamedNode); }

 private:
  ~NamedNode() = default;
  typename Env::atomics::template plain<std::string_view> name_;
};

/// A stripe of a registry. Two names are there in the beginning, `goes` in the way to `stays`.
template <class Env>
class NamesProgram : public Parts<Env> {
 public:
  using Base = Parts<Env>;
  using Node = NamedNode<Env>;

  NamesProgram() {
    add(*goes);
    add(*stays);
    collect();
  }
  ~NamesProgram() {
    domain.destroy_all(garbage, this->memory);
    for (Node* node : {goes, stays, comes}) {
      if (node != nullptr) this->free(*node);
    }
    index.destroy(this->memory);
  }

 protected:
  /// \returns whether that took a larger table.
  bool add(Node& node) {
    const typename Base::Lock lock(mutex);
    fanfare::detail::Garbage* replaced = nullptr;
    Env::require(index.insert(node, this->memory, replaced), "there is no memory");
    if (replaced != nullptr) domain.retire(garbage, *replaced, domain.advance());
    return replaced != nullptr;
  }
  /// \param node   is null afterwards.
  void erase(Node*& node) {
    const typename Base::Lock lock(mutex);
    index.erase(*node);
    domain.retire(garbage, *node, domain.advance());
    node = nullptr;
  }
  void collect() {
    typename Base::Queue ready;
    {
      const typename Base::Lock lock(mutex);
      domain.collect_each(garbage, ready);
    }
    ready.destroy_all(this->memory);
  }
  /// Looks a name up and, if it is there, stays with what it has found.
  bool visit(std::string_view name) {
    auto guard = domain.pin();
    Env::require(guard.error() == errc::ok, "a lookup was refused");
    const Node* const found = index.find(name, 1);
    if (found == nullptr) return false;
    guard.enter(found->scope());
    Env::require(found->name() == name, "another name was found");
    return true;
  }

  typename Base::Domain domain{this->memory};
  NameIndex<typename Base::A, OnePlace, Node> index;
  typename Base::A::mutex mutex;
  typename Base::Queue garbage;
  Node* goes = this->template make<Node>("goes");
  Node* stays = this->template make<Node>("stays");
  Node* comes = this->template make<Node>("comes");
};

template <class Env>
class LookupErase : public NamesProgram<Env> {
 public:
  static constexpr const char* name = "lookup | erase + free";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      this->visit("goes");
    } else {
      this->erase(this->goes);
      this->collect();
    }
  }
  void end() { Env::require(!this->visit("goes"), "a name that was erased is found"); }
};

template <class Env>
class LookupBehindErase : public NamesProgram<Env> {
 public:
  static constexpr const char* name = "lookup | erase of another name + free";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      Env::require(this->visit("stays"), "a name that is there is not found");
    } else {
      this->erase(this->goes);
      this->collect();
    }
  }
  void end() { Env::require(!this->visit("goes"), "a name that was erased is found"); }
};

template <class Env>
class LookupRebuild : public NamesProgram<Env> {
 public:
  static constexpr const char* name = "lookup | rebuild + free";
  static constexpr std::size_t threads = 2;
  LookupRebuild() {
    this->add(*this->comes);
    this->add(*fourth);
    this->add(*fifth);
    this->collect();
  }
  ~LookupRebuild() {
    // The table must not be asked for these any more.
    this->free(*fourth);
    this->free(*fifth);
    this->free(*sixth);
  }
  void run(std::size_t thread) {
    if (thread == 0) {
      Env::require(this->visit("stays"), "a name that is there is not found");
    } else {
      Env::require(this->add(*sixth), "the table had room for a name that was to need a larger one");
      this->collect();
    }
  }
  void end() { Env::require(this->visit("sixth"), "a name that was added is not found"); }

 private:
  NamedNode<Env>* fourth = this->template make<NamedNode<Env>>("fourth");
  NamedNode<Env>* fifth = this->template make<NamedNode<Env>>("fifth");
  NamedNode<Env>* sixth = this->template make<NamedNode<Env>>("sixth");
};

template <class Env>
class LookupAdd : public NamesProgram<Env> {
 public:
  static constexpr const char* name = "lookup | add";
  static constexpr std::size_t threads = 2;
  LookupAdd() {
    this->add(*this->comes);
    this->collect();
  }
  ~LookupAdd() { this->free(*fresh); }
  void run(std::size_t thread) {
    if (thread == 0) {
      this->visit("fresh");
    } else {
      fresh = this->template make<NamedNode<Env>>("fresh");
      Env::require(!this->add(*fresh), "the table had no room");
    }
  }
  void end() { Env::require(this->visit("fresh"), "a name that was added is not found"); }

 private:
  NamedNode<Env>* fresh = nullptr;
};

/// A record keeps nothing of its last read: the second lookup is not taken for a reader of what the first one found.
template <class Env>
class LookupTwiceErase : public NamesProgram<Env> {
 public:
  static constexpr const char* name = "two lookups, one after the other | erase + free";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      this->visit("stays");
      this->visit("goes");
    } else {
      this->erase(this->goes);
      this->collect();
    }
  }
  void end() { Env::require(!this->visit("goes"), "a name that was erased is found"); }
};

template <class Env>
class EachErase : public NamesProgram<Env> {
 public:
  static constexpr const char* name = "visit of all | erase + free";
  static constexpr std::size_t threads = 2;
  void run(std::size_t thread) {
    if (thread == 0) {
      auto guard = this->domain.pin(ReadFor::query);
      int met = 0;
      this->index.for_each([&](NamedNode<Env>& node) { met += node.name() == "stays" ? 1 : 0; });
      Env::require(met == 1, "a name that is there is not met");
    } else {
      this->erase(this->goes);
      this->collect();
    }
  }
  void end() {}
};

template <class Env>
class EachRebuild : public LookupRebuild<Env> {
 public:
  static constexpr const char* name = "visit of all | rebuild + free";
  void run(std::size_t thread) {
    if (thread == 0) {
      auto guard = this->domain.pin(ReadFor::query);
      int met = 0;
      this->index.for_each([&](NamedNode<Env>& node) { met += node.name() == "stays" ? 1 : 0; });
      Env::require(met == 1, "a name that is there is not met");
    } else {
      LookupRebuild<Env>::run(thread);
    }
  }
};

template <class Env>
class TwoLookupsRebuild : public LookupRebuild<Env> {
 public:
  static constexpr const char* name = "lookup | lookup | rebuild + free";
  static constexpr std::size_t threads = 3;
  void run(std::size_t thread) { LookupRebuild<Env>::run(thread == 2 ? 1 : 0); }
};

template <class Env>
class LookupsEraseRebuild : public LookupRebuild<Env> {
 public:
  static constexpr const char* name = "lookup | erase + free | rebuild + free";
  static constexpr std::size_t threads = 3;
  void run(std::size_t thread) {
    if (thread == 1) {
      this->erase(this->goes);
      this->collect();
    } else {
      LookupRebuild<Env>::run(thread == 2 ? 1 : 0);
    }
  }
};

}  // namespace fanfare::explore
