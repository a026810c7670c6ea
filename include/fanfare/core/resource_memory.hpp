/// \file
/// Memory of a `std::pmr::memory_resource`. Optional; nothing else includes it.
#pragma once

#include <fanfare/core/memory.hpp>
#include <fanfare/detail/config.hpp>

#include <cstddef>
#include <memory_resource>
#if FANFARE_EXCEPTIONS
#include <new>
#endif

FANFARE_NAMESPACE_BEGIN

/// The allocator policy that takes all memory from a resource of the standard's: `WithMemory<ResourceMemory>`.
///
/// The resource throws `std::bad_alloc` where it has none, which becomes `errc::out_of_memory`; any other exception ends the
/// program, and without exceptions a resource has to find some.
///
/// \ownership  the resource outlives all that takes memory from it.
/// Thread safety: that of the resource: a registry of several threads wants a synchronised one.
class ResourceMemory {
 public:
  /// By default the resource that is the program's default at this moment.
  explicit ResourceMemory(std::pmr::memory_resource* resource = std::pmr::get_default_resource()) noexcept
      : resource_(resource) {}

  /// As `Memory` has it; null where the resource has none.
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
#if FANFARE_EXCEPTIONS
    try {
      return resource_->allocate(bytes, alignment);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
#else
    return resource_->allocate(bytes, alignment);
#endif
  }
  /// As `Memory` has it.
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    resource_->deallocate(address, bytes, alignment);
  }

 private:
  std::pmr::memory_resource* resource_;
};
static_assert(Memory<ResourceMemory>);

FANFARE_NAMESPACE_END
