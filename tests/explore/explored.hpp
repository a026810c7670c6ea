// A program as the explorer runs it.
#pragma once

#include "explore/explorer.hpp"
#include "explore/programs/environment.hpp"

#include <array>
#include <cstddef>
#include <new>

namespace fanfare::explore {

/// Where the object of the program that is explored lies: at the same address in every execution.
inline constexpr std::size_t object_bytes = std::size_t{64} << 10U;
void* object_memory() noexcept;

template <template <class> class P>
Program explored() {
  using Subject = P<Explored>;
  static_assert(sizeof(Subject) <= object_bytes && alignof(Subject) <= 64);
  Program program;
  program.name = Subject::name;
  program.threads = Subject::threads;
  if constexpr (requires { Subject::same_hint; }) program.same_hint = Subject::same_hint;
  if constexpr (requires { Subject::reuses_memory; }) program.reuses_memory = Subject::reuses_memory;
  program.begin = [](const void* /*context*/) -> void* { return ::new (object_memory()) Subject; };
  program.run = [](void* object, std::size_t thread) { static_cast<Subject*>(object)->run(thread); };
  program.end = [](void* object) {
    static_cast<Subject*>(object)->end();
    static_cast<Subject*>(object)->~Subject();
  };
  return program;
}

}  // namespace fanfare::explore
