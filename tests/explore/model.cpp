#include "model.hpp"

#include <algorithm>

namespace fanfare::explore {

void join(Counts& clock, const Counts& other) noexcept {
  for (std::size_t i = 0; i < clock.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

void View::join(const View& other) noexcept {
  for (std::size_t i = 0; i < oldest.size(); ++i) oldest[i] = std::max(oldest[i], other.oldest[i]);
  explore::join(clock, other.clock);
  explore::join(ordered, other.ordered);
}

void TotalOrder::include(Set& set, std::size_t operation) const noexcept {
  if (set.contains(operation)) return;  // and so is all that comes before it
  const Set& before = operations_[operation].before;
  for (std::size_t i = 0; i < words(); ++i) set.words[i] |= before.words[i];
  set.insert(operation);
}

bool TotalOrder::intersect(const Set& a, const Set& b) const noexcept {
  for (std::size_t i = 0; i < words(); ++i) {
    if ((a.words[i] & b.words[i]) != 0) return true;
  }
  return false;
}

void TotalOrder::neighbours(const Location& location, const Counts& ordered, std::uint16_t index, bool writes,
                            Set& before, Set& after) const noexcept {
  for (const std::uint16_t last : ordered) {
    if (last != 0) include(before, last);
  }
  for (std::uint16_t i = location.last_ordered; i != 0; i = operations_[i].previous_on_location) {
    const Operation& other = operations_[i];
    if (writes || other.index < index || (other.writes && other.index == index)) {
      include(before, i);
    } else if (other.index > index) {
      after.insert(i);
    }
  }
}

bool TotalOrder::admits(const Location& location, const Counts& ordered, std::uint16_t index) const noexcept {
  Set before;
  Set after;
  neighbours(location, ordered, index, false, before, after);
  return !intersect(before, after);
}

std::uint16_t TotalOrder::add(Location& location, const Counts& ordered, std::uint16_t index, bool writes) noexcept {
  const auto added = static_cast<std::uint16_t>(size_);
  Operation& operation = operations_[added];
  operation.before = {};
  operation.previous_on_location = location.last_ordered;
  operation.index = index;
  operation.writes = writes;
  Set after;
  neighbours(location, ordered, index, writes, operation.before, after);
  ++size_;
  if (std::any_of(after.words.begin(), after.words.end(), [](std::uint64_t word) { return word != 0; })) {
    for (std::size_t i = 1; i < added; ++i) {
      if (after.contains(i) || intersect(operations_[i].before, after)) include(operations_[i].before, added);
    }
  }
  location.last_ordered = added;
  return added;
}

}  // namespace fanfare::explore
