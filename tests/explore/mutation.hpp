// What mutate.py puts into its copies of the headers: each order and each step by number, and which of them is weakened.
#pragma once

#include <atomic>

namespace fanfare::explore {

/// The change that is on trial. Set before the first exploration, if at all.
struct Mutation {
  int site = -1;
  std::memory_order order = std::memory_order_seq_cst;
};
inline Mutation mutation;

[[nodiscard]] inline std::memory_order mutated(int site, std::memory_order order) noexcept {
  return site == mutation.site ? mutation.order : order;
}
/// Whether a step is left out.
[[nodiscard]] inline bool skipped(int site) noexcept { return site == mutation.site; }

}  // namespace fanfare::explore
