// One iteration is one lookup of a name that is there, one of N at random.
//
//   fanfare              the registry's index: open addressing, read without a lock
//   registry             the same through the public API: the read is announced, and answers with a number
//   string               unordered_map<string>, for which a string is made of the name
//   heterogeneous        unordered_map<string> that takes the name as it is
//   heterogeneous_hash   the same with fanfare's hash
//   sharded              64 of those, each under a mutex
#include "work.hpp"

#include <fanfare/core/name_index.hpp>
#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

/// What is looked up.
class alignas(fanfare::name_index_alignment) Node {
 public:
  explicit Node(std::string name) : name_(std::move(name)) {}
  [[nodiscard]] std::string_view name() const { return name_; }
  [[nodiscard]] std::uint64_t hash() const { return fanfare::SeededHash::hash(name_, seed); }

  static constexpr std::uint64_t seed = 42;

 private:
  std::string name_;
};

class Index {
 public:
  Index() = default;
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;
  ~Index() { index_.destroy(memory_); }

  bool add(Node& node) {
    fanfare::detail::Garbage* replaced = nullptr;
    const bool added = index_.insert(node, memory_, replaced);
    fanfare::detail::GarbageQueue garbage;
    if (replaced != nullptr) garbage.push(*replaced, 0);  // nobody reads yet
    garbage.destroy_all(memory_);
    return added;
  }
  [[nodiscard]] const void* find(std::string_view name) const {
    return index_.find(name, fanfare::SeededHash::hash(name, Node::seed));
  }

 private:
  fanfare::NewDelete memory_;
  fanfare::NameIndex<fanfare::StdAtomics, fanfare::SeededHash, Node> index_;
};

class StringMap {
 public:
  bool add(Node& node) { return map_.emplace(node.name(), &node).second; }
  [[nodiscard]] const void* find(std::string_view name) const {
    const auto found = map_.find(std::string(name));
    return found == map_.end() ? nullptr : found->second;
  }

 private:
  std::unordered_map<std::string, Node*> map_;
};

struct StandardHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view name) const noexcept { return std::hash<std::string_view>{}(name); }
};
struct FanfareHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view name) const noexcept { return fanfare::SeededHash::hash(name, Node::seed); }
};

template <class Hash>
class ViewMap {
 public:
  bool add(Node& node) { return map_.emplace(node.name(), &node).second; }
  [[nodiscard]] const void* find(std::string_view name) const {
    const auto found = map_.find(name);
    return found == map_.end() ? nullptr : found->second;
  }

 private:
  std::unordered_map<std::string, Node*, Hash, std::equal_to<>> map_;
};

class ShardedMap {
 public:
  bool add(Node& node) { return shard(node.name()).map.add(node); }
  [[nodiscard]] const void* find(std::string_view name) const {
    const Shard& home = shard(name);
    const std::lock_guard lock(home.mutex);
    return home.map.find(name);
  }

 private:
  struct alignas(64) Shard {
    mutable std::mutex mutex;
    ViewMap<FanfareHash> map;
  };
  [[nodiscard]] const Shard& shard(std::string_view name) const { return shards_[FanfareHash{}(name) >> 58U]; }
  [[nodiscard]] Shard& shard(std::string_view name) { return shards_[FanfareHash{}(name) >> 58U]; }

  std::array<Shard, 64> shards_;
};

template <class Map>
void lookup(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  std::vector<std::unique_ptr<Node>> nodes(count);
  Map map;
  bool added = true;
  for (std::size_t i = 0; i < count; ++i) {
    nodes[i] = std::make_unique<Node>(work::channel_name(i));
    added = map.add(*nodes[i]) && added;
  }
  work::Names names{count};
  std::int64_t found = 0;
  for (auto _ : state) {
    const void* const node = map.find(names.next());
    benchmark::DoNotOptimize(node);
    found += node != nullptr ? 1 : 0;
  }
  if (!added || found != state.iterations()) state.SkipWithError("names were lost");
}

void in_registry(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  fanfare::ChannelRegistry<> channels;
  std::vector<fanfare::Subscription> subscriptions;
  subscriptions.reserve(count);
  for (std::size_t i = 0; i < count; ++i) subscriptions.push_back(channels.subscribe(work::channel_name(i)));
  work::Names names{count};
  std::int64_t found = 0;
  for (auto _ : state) found += static_cast<std::int64_t>(channels.subscribers(names.next()));
  if (found != state.iterations()) state.SkipWithError("channels were lost");
}

void many(benchmark::internal::Benchmark* b) {
  for (const int n : {1, 100, 10000}) b->Arg(n);
}
/// To make them takes longer than to use them, so it is not done several times to find out how long to measure.
void very_many(benchmark::internal::Benchmark* b) { b->Arg(1000000)->Iterations(200000); }

BENCHMARK(lookup<Index>)->Name("lookup/fanfare")->Apply(many);
BENCHMARK(lookup<Index>)->Name("lookup/fanfare")->Apply(very_many);
BENCHMARK(in_registry)->Name("lookup/registry")->Apply(many);
BENCHMARK(in_registry)->Name("lookup/registry")->Apply(very_many);
BENCHMARK(lookup<StringMap>)->Name("lookup/string")->Apply(many);
BENCHMARK(lookup<StringMap>)->Name("lookup/string")->Apply(very_many);
BENCHMARK(lookup<ViewMap<StandardHash>>)->Name("lookup/heterogeneous")->Apply(many);
BENCHMARK(lookup<ViewMap<StandardHash>>)->Name("lookup/heterogeneous")->Apply(very_many);
BENCHMARK(lookup<ViewMap<FanfareHash>>)->Name("lookup/heterogeneous_hash")->Apply(many);
BENCHMARK(lookup<ViewMap<FanfareHash>>)->Name("lookup/heterogeneous_hash")->Apply(very_many);
BENCHMARK(lookup<ShardedMap>)->Name("lookup/sharded")->Apply(many);
BENCHMARK(lookup<ShardedMap>)->Name("lookup/sharded")->Apply(very_many);

}  // namespace
