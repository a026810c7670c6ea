/// \file
/// The allocator policy: where a registry's memory comes from.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/policy.hpp>
#include <fanfare/detail/config.hpp>

#include <concepts>
#include <cstddef>
#include <new>
#include <type_traits>

FANFARE_NAMESPACE_BEGIN

/// A source of memory. Copies share the source: what one handed out, another takes back.
///
/// | expression | type | meaning |
/// |---|---|---|
/// | `m.allocate(bytes, alignment)` | `void*` | memory, or `nullptr` where there is none; never throws |
/// | `m.deallocate(p, bytes, alignment)` | | takes back what `allocate` of any copy handed out with the same numbers |
///
/// Called from every thread that uses the registry, also under its locks, so it may not call the registry. It must outlive every registry, subscription, handle and kept
/// message.
template <class M>
concept Memory = std::is_nothrow_copy_constructible_v<M> &&
                 requires(M& memory, void* address, std::size_t bytes, std::size_t alignment) {
                   { memory.allocate(bytes, alignment) } noexcept -> std::same_as<void*>;
                   { memory.deallocate(address, bytes, alignment) } noexcept;
                 };

/// The global `operator new` and `delete`.
struct NewDelete {
  /// As `Memory` has it; null where there is no memory.
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    if (alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__) return ::operator new(bytes, std::nothrow);
    return ::operator new(bytes, std::align_val_t{alignment}, std::nothrow);
  }
  /// As `Memory` has it.
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    // Sized deletion is optional in clang 14; the unsized form is always there.
    static_cast<void>(bytes);
    if (alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__) return ::operator delete(address);
    ::operator delete(address, std::align_val_t{alignment});
  }
};
static_assert(Memory<NewDelete>);

namespace detail {

/// `M`, with every piece of memory announced to the atomics policy.
template <Atomics A, Memory M>
class TrackedMemory {
 public:
  explicit TrackedMemory(const M& memory) noexcept : memory_(memory) {}
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    void* address = memory_.allocate(bytes, alignment);
    if (address != nullptr) A::allocated(address, bytes);
    return address;
  }
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    A::freed(address, bytes);
    memory_.deallocate(address, bytes, alignment);
  }

 private:
  [[no_unique_address]] M memory_;
};

}  // namespace detail

/// Policy: take all memory from `M`.
template <class M>
struct WithMemory {
  static_assert(Memory<M>, "fanfare: WithMemory<M>: M does not satisfy the concept fanfare::Memory");
  static constexpr PolicyKind policy_kind = PolicyKind::allocator;
  /// Where memory comes from.
  using type = M;
};

FANFARE_NAMESPACE_END
