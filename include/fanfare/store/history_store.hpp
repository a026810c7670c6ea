/// \file
/// Where what channels keep outlives the program: what such a store has to do.
#pragma once

#include <fanfare/core/kept_log.hpp>
#include <fanfare/detail/config.hpp>

#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>

FANFARE_NAMESPACE_BEGIN
namespace store {

/// Why a store does not do what it is asked to.
enum class StoreError : std::uint8_t {
  ok,
  cannot_open,    ///< The file is not there and cannot be made, or may not be written to.
  not_a_store,    ///< The file is something else.
  newer_version,  ///< It was written by a later version of this library.
  in_use,         ///< Another program has it open.
  corrupt,        ///< Its contents are damaged.
  full,           ///< There is no room on the disk.
  io,             ///< The disk cannot be read or written.
  out_of_memory,
  stopped,  ///< The journal has stopped.
};

/// One English sentence without a full stop.
[[nodiscard]] constexpr std::string_view message(StoreError error) noexcept {
  switch (error) {
    case StoreError::ok: return "no error";
    case StoreError::cannot_open: return "the store's file cannot be opened or made";
    case StoreError::not_a_store: return "the file is not a store of kept events";
    case StoreError::newer_version: return "the store was written by a later version";
    case StoreError::in_use: return "another program has the store open";
    case StoreError::corrupt: return "the store is damaged";
    case StoreError::full: return "there is no room on the disk of the store";
    case StoreError::io: return "the store cannot be read or written";
    case StoreError::out_of_memory: return "there is no memory for the store";
    case StoreError::stopped: return "the store has been closed";
  }
  return "unknown error";
}

/// The enumerator's own name.
[[nodiscard]] constexpr std::string_view to_string(StoreError error) noexcept {
  switch (error) {
    case StoreError::ok: return "ok";
    case StoreError::cannot_open: return "cannot_open";
    case StoreError::not_a_store: return "not_a_store";
    case StoreError::newer_version: return "newer_version";
    case StoreError::in_use: return "in_use";
    case StoreError::corrupt: return "corrupt";
    case StoreError::full: return "full";
    case StoreError::io: return "io";
    case StoreError::out_of_memory: return "out_of_memory";
    case StoreError::stopped: return "stopped";
  }
  return "unknown";
}

/// What a committed change survives.
enum class Durability : std::uint8_t {
  process,  ///< The end of the program, however it ends: written, and left to the system to bring to the disk.
  power,    ///< The end of the system: on the disk.
};

using fanfare::KeptChange;
using fanfare::KeptEvent;
using fanfare::KeptVisitor;

/// The numbers that a store has given out: events have them for ever, in all lives of the program.
struct KeptNumbers {
  std::uint64_t epoch = 0;  ///< Of the store: made with it, and never again.
  std::uint64_t last = 0;   ///< Up to here they may have been used.
};

/// A place where what is kept outlives the program. Used by one thread at a time: first by the one that loads, then by a
/// `Journal`'s.
///
/// | expression | meaning |
/// |---|---|
/// | `s.numbers()` | the epoch, and up to where numbers are reserved |
/// | `s.reserve(last)` | reserves them up to `last`; durable when it returns |
/// | `s.load(visitor)` | gives back all that is kept |
/// | `s.commit(changes)` | makes all of these changes or none, in order; durable when it returns |
///
/// What `commit` has refused is tried again, with more behind it: changes that it has made after all are made again.
template <class S>
concept HistoryStore =
    requires(S& store, KeptVisitor& visitor, std::span<const KeptChange> changes, std::uint64_t last) {
      { store.numbers() } noexcept -> std::same_as<KeptNumbers>;
      { store.reserve(last) } noexcept -> std::same_as<StoreError>;
      { store.load(visitor) } -> std::same_as<StoreError>;
      { store.commit(changes) } noexcept -> std::same_as<StoreError>;
    };

}  // namespace store
FANFARE_NAMESPACE_END
