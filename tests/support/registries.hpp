// The registries that typed tests run over.
#pragma once

#include "support/memory.hpp"
#include <fanfare/core/channel_registry.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>

namespace fanfare::test {

/// Every name has the same place.
struct OneHash {
  [[nodiscard]] static std::uint64_t hash(std::string_view /*name*/, std::uint64_t /*seed*/) noexcept { return 42; }
};

using DefaultRegistry = ChannelRegistry<>;
using SingleRegistry = ChannelRegistry<SingleThreaded>;
using CountingRegistry = ChannelRegistry<WithMemory<CountingMemory>>;
using SingleCountingRegistry = ChannelRegistry<SingleThreaded, WithMemory<CountingMemory>>;
using WatchedCollidingRegistry = ChannelRegistry<WithHash<OneHash>, WithMemory<CountingMemory>>;
using WalkDepthRegistry = ChannelRegistry<MultiThreaded, WalkDepthReclaimer>;
using SingleEpochRegistry = ChannelRegistry<SingleThreaded, EpochReclaimer>;

struct RegistryNames {
  template <class Registry>
  static std::string GetName(int index) {
    if (std::is_same_v<Registry, DefaultRegistry>) return "Default";
    if (std::is_same_v<Registry, SingleRegistry>) return "SingleThreaded";
    if (std::is_same_v<Registry, CountingRegistry>) return "CountingMemory";
    if (std::is_same_v<Registry, SingleCountingRegistry>) return "SingleThreadedCountingMemory";
    if (std::is_same_v<Registry, WatchedCollidingRegistry>) return "WatchedColliding";
    if (std::is_same_v<Registry, WalkDepthRegistry>) return "MultiThreadedWalkDepth";
    if (std::is_same_v<Registry, SingleEpochRegistry>) return "SingleThreadedEpoch";
    return std::to_string(index);
  }
};

/// Each costs compile time in every typed test: the two that people use, and one whose memory is watched and whose names
/// all collide.
using AllRegistries = ::testing::Types<DefaultRegistry, SingleRegistry, WatchedCollidingRegistry>;
/// Policies in combinations that nobody has to fear.
using OddRegistries = ::testing::Types<WalkDepthRegistry, SingleEpochRegistry>;
/// One of each threading.
using BothThreadings = ::testing::Types<DefaultRegistry, SingleRegistry>;
/// Those whose memory can be watched.
using WatchedRegistries = ::testing::Types<CountingRegistry, SingleCountingRegistry>;

}  // namespace fanfare::test
