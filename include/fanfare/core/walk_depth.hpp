/// \file
/// Reclamation for a single thread: a walk depth instead of epochs.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/epoch.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/garbage.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/policy.hpp>
#include <fanfare/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

FANFARE_NAMESPACE_BEGIN

/// Keeps what was unlinked during a walk until the outermost walk ends. The interface is that of `EpochDomain`.
///
/// Thread safety: none.
template <Atomics A, Memory M>
class WalkDepthDomain {
 public:
  /// One walk. Ends with the object.
  class [[nodiscard]] Guard {
   public:
    Guard(Guard&& other) noexcept : domain_(std::exchange(other.domain_, nullptr)), error_(other.error_) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (domain_ != nullptr && --domain_->depth_ == 0 && !domain_->pending_.empty()) domain_->free_pending();
    }

    /// Why there is no walk: `errc::nested_too_deep`.
    [[nodiscard]] errc error() const noexcept { return error_; }
    /// Nobody asks where the walk is.
    void enter(const void* /*scope*/) noexcept {}
    /// Likewise.
    void enter_callbacks() noexcept {}

   private:
    friend class WalkDepthDomain;
    explicit Guard(WalkDepthDomain* domain) noexcept : domain_(domain) { ++domain->depth_; }
    explicit Guard(errc error) noexcept : error_(error) {}

    WalkDepthDomain* domain_ = nullptr;
    errc error_ = errc::ok;
  };

  /// \param memory   where what is reclaimed goes back to.
  explicit WalkDepthDomain(const M& memory) noexcept : memory_(memory) {}
  WalkDepthDomain(const WalkDepthDomain&) = delete;
  WalkDepthDomain& operator=(const WalkDepthDomain&) = delete;
  ~WalkDepthDomain() { free_pending(); }

  /// Begins a walk.
  [[nodiscard]] Guard pin(ReadFor use = ReadFor::trigger) noexcept {
    if (use == ReadFor::trigger && depth_ >= max_trigger_depth) return Guard{errc::nested_too_deep};
    return Guard{this};
  }
  /// There are no times to tell apart.
  [[nodiscard]] std::uint64_t advance() noexcept { return 0; }

  /// All garbage is in one queue: owners need none of their own.
  struct Queue {};

  /// \name As of `EpochDomain`
  /// @{

  /// What waits does so for the end of the outermost walk, whoever owns it.
  void retire(Queue& /*queue*/, detail::Garbage& garbage, std::uint64_t stamp) noexcept {
    pending_.push(garbage, stamp);
  }
  void collect(Queue& /*queue*/, const void* /*scope*/, detail::GarbageQueue& out) noexcept {
    if (depth_ == 0) take_pending(out);
  }
  void collect_each(Queue& /*queue*/, detail::GarbageQueue& out) noexcept {
    if (depth_ == 0) take_pending(out);
  }
  void collect_awaited(Queue& /*queue*/, std::uint64_t /*stamp*/, detail::GarbageQueue& out) noexcept {
    take_pending(out);
  }
  template <Memory AnyMemory>
  void destroy_all(Queue& /*queue*/, AnyMemory& /*memory*/) noexcept {}
  [[nodiscard]] bool empty(const Queue& /*queue*/) const noexcept { return pending_.empty(); }
  [[nodiscard]] std::size_t bytes(const Queue& /*queue*/) const noexcept { return 0; }
  [[nodiscard]] std::size_t unqueued_bytes() const noexcept { return pending_.bytes(); }
  [[nodiscard]] bool due(const Queue& /*queue*/) const noexcept { return depth_ == 0 && !pending_.empty(); }

  [[nodiscard]] bool inside() const noexcept { return depth_ != 0; }
  void await(const void* /*scope*/, std::uint64_t /*stamp*/) const noexcept {}
  [[nodiscard]] bool passed(const void* /*scope*/, std::uint64_t /*stamp*/) const noexcept { return depth_ == 0; }
  void await_all() noexcept {}
  [[nodiscard]] std::uint64_t oldest_reader_age() const noexcept { return 0; }
  /// @}

 private:
  void take_pending(detail::GarbageQueue& out) noexcept {
    pending_.take([](const detail::Garbage& /*garbage*/) { return true; }, out);
  }
  FANFARE_NOINLINE void free_pending() noexcept {
    detail::GarbageQueue ready;
    take_pending(ready);
    ready.destroy_all(memory_);
  }

  std::size_t depth_ = 0;
  detail::GarbageQueue pending_;
  [[no_unique_address]] M memory_;
};

/// Policy: a walk depth. The default of `SingleThreaded`; right only where one thread uses the registry.
struct WalkDepthReclaimer {
  static constexpr PolicyKind policy_kind = PolicyKind::reclaimer;
  /// What a registry keeps of it.
  template <class A, class M>
  using domain = WalkDepthDomain<A, M>;
};

FANFARE_NAMESPACE_END
