// Programs about the pool that a registry's memory may come from.
#pragma once

#include "explore/programs/environment.hpp"
#include <fanfare/core/memory_pool.hpp>

#include <array>
#include <cstddef>
#include <span>

namespace fanfare::explore {

/// A pool of few blocks, all of which have been handed out before, and what is written to them.
template <class Env, std::size_t Blocks>
class PoolParts : public Parts<Env> {
  using Pool = BasicMemoryPool<typename Parts<Env>::A>;

 public:
  static constexpr std::size_t threads = 2;

  PoolParts() : pool(std::span<std::byte>(buffer)) {
    std::array<void*, Blocks> all;
    for (void*& block : all) block = pool.allocate(1, 1);
    begin = static_cast<std::byte*>(all[0]);
    for (void* const block : all) give_back(block);
  }
  void end() {
    std::array<bool, Blocks> seen{};
    for (std::size_t i = 0; i < Blocks; ++i) {
      void* const block = pool.allocate(1, 1);
      Env::require(block != nullptr, "a block is lost");
      Env::require(!seen[index(block)], "a block is there twice");
      seen[index(block)] = true;
    }
    Env::require(pool.allocate(1, 1) == nullptr, "a block has come from nowhere");
  }

 protected:
  [[nodiscard]] void* take() {
    void* const block = pool.allocate(1, 1);
    if (block != nullptr) use(block);
    return block;
  }
  void use(void* block) { marks[index(block)].write(marks[index(block)].read() + 1); }
  void give_back(void* block) {
    if (block != nullptr) pool.deallocate(block, 1, 1);
  }

 private:
  [[nodiscard]] std::size_t index(void* block) const {
    return static_cast<std::size_t>(static_cast<std::byte*>(block) - begin) / Pool::granule;
  }

  alignas(64) std::array<std::byte, Pool::buffer_bytes(Blocks* Pool::granule)> buffer;
  std::array<typename Parts<Env>::template Plain<int>, Blocks> marks;
  std::byte* begin = nullptr;
  Pool pool;
};

template <class Env>
class TakeTake : public PoolParts<Env, 1> {
 public:
  static constexpr const char* name = "take + give back | take + give back, of one block";
  void run(std::size_t /*thread*/) { this->give_back(this->take()); }
};

/// The head is the same again, but what was below it is in use.
template <class Env>
class TakeTwo : public PoolParts<Env, 2> {
 public:
  static constexpr const char* name = "take + give back | take two + give back one after the other";
  void run(std::size_t thread) {
    if (thread == 0) return this->give_back(this->take());
    void* const one = this->take();
    void* const other = this->take();
    this->give_back(one);
    if (other != nullptr) this->use(other);
    this->give_back(other);
  }
};

}  // namespace fanfare::explore
