/// \file
/// What every header needs first: the ABI namespace and the assertion macro.
///
/// Two macros may be set by a user. `FANFARE_ASSERTS` (0 or 1; by default 0 where `NDEBUG` is defined) checks the library's
/// own invariants and documented preconditions. `FANFARE_SEPARATE_COMPILATION` (defined or not) leaves the bodies of
/// `Server` to one unit that includes `fanfare/src.hpp`. Whether exceptions are enabled is read from the compiler.
///
/// None changes a layout. Assertions and exceptions change the code of inline functions, so both are part of the ABI
/// namespace: translation units that disagree do not link, instead of breaking the one-definition rule silently.
#pragma once

#if !defined(FANFARE_ASSERTS)
#if defined(NDEBUG)
#define FANFARE_ASSERTS 0
#else
#define FANFARE_ASSERTS 1
#endif
#endif

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define FANFARE_EXCEPTIONS 1
#else
#define FANFARE_EXCEPTIONS 0
#endif

// v0: plain; _d: with assertions; _n: no exceptions.
#if FANFARE_ASSERTS && FANFARE_EXCEPTIONS
#define FANFARE_ABI v0_d
#elif FANFARE_ASSERTS
#define FANFARE_ABI v0_d_n
#elif FANFARE_EXCEPTIONS
#define FANFARE_ABI v0
#else
#define FANFARE_ABI v0_n
#endif

// NOLINTNEXTLINE(bugprone-macro-parentheses): the macro is a namespace's name.
#define FANFARE_NAMESPACE_BEGIN namespace fanfare::inline FANFARE_ABI {
#define FANFARE_NAMESPACE_END }

#if defined(__GNUC__)
#define FANFARE_NOINLINE __attribute__((noinline))
#define FANFARE_ALWAYS_INLINE inline __attribute__((always_inline))
#define FANFARE_PUBLIC __attribute__((visibility("default")))
#elif defined(_MSC_VER)
#define FANFARE_NOINLINE __declspec(noinline)
#define FANFARE_ALWAYS_INLINE __forceinline
#define FANFARE_PUBLIC
#else
#define FANFARE_NOINLINE
#define FANFARE_ALWAYS_INLINE inline
#define FANFARE_PUBLIC
#endif

// In front of bodies that separate compilation compiles once.
#if defined(FANFARE_SEPARATE_COMPILATION)
#define FANFARE_DECL
#else
#define FANFARE_DECL inline
#endif

// In front of a loop whose body is a few instructions long: it then lies in as few cache lines as it can. Where it does not,
// the same code takes a fifth more time.
#if defined(__GNUC__) && defined(__x86_64__)
#define FANFARE_ALIGN_LOOP() __asm__ volatile(".p2align 5")
#else
#define FANFARE_ALIGN_LOOP() void(0)
#endif

#if FANFARE_ASSERTS
#include <cstdio>
#include <cstdlib>

FANFARE_NAMESPACE_BEGIN
namespace detail {

[[noreturn]] FANFARE_NOINLINE inline void assertion_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: fanfare: %s\n", file, line, what);
  std::abort();
}

}  // namespace detail
FANFARE_NAMESPACE_END

/// For the library's own invariants and for preconditions; never for what a peer sent.
#define FANFARE_ASSERT(condition, what) \
  ((condition) ? void(0) : ::fanfare::detail::assertion_failed(what, __FILE__, __LINE__))
#else
#define FANFARE_ASSERT(condition, what) void(0)
#endif
