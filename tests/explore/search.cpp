#include "search.hpp"

#include <bit>
#include <cctype>

namespace fanfare::explore {
namespace {

constexpr Threads only(std::size_t thread) noexcept { return static_cast<Threads>(1U << thread); }
std::size_t lowest(Threads threads) noexcept { return static_cast<std::size_t>(std::countr_zero(threads)); }

/// Whether the order of two operations may matter.
bool dependent(const Operation& a, const Operation& b) noexcept {
  return a.object == b.object && (a.kind != Operation::Kind::load || b.kind != Operation::Kind::load);
}

}  // namespace

void Search::begin_execution() noexcept {
  depth_ = 0;
  last_step_ = {};
}

std::optional<std::size_t> Search::pick(Threads enabled, const std::array<Operation, max_threads>& next,
                                        std::size_t current) {
  if (depth_ == steps_.size()) {
    Step step;
    if (depth_ > 0) inherit(step, steps_[depth_ - 1], next);
    const auto awake = static_cast<Threads>(enabled & ~step.asleep);
    if (awake == 0) return std::nullopt;
    step.thread = static_cast<std::uint8_t>((awake & only(current)) != 0 ? current : lowest(awake));
    step.wanted = reduce_ ? only(step.thread) : enabled;
    steps_.push_back(step);
  }
  Step& step = steps_[depth_];
  step.operation = next[step.thread];
  step.written = 0;
  link(depth_);
  ++depth_;
  return step.thread;
}

std::size_t Search::choose(std::size_t count) noexcept {
  Step& step = steps_[depth_ - 1];
  step.choices = static_cast<std::uint8_t>(count);
  return step.choice < count ? step.choice : count - 1;
}

std::uint16_t Search::no_older_than() const noexcept {
  const Step& step = steps_[depth_ - 1];
  return step.no_older_than[step.thread];
}

Counts Search::steps_before(std::size_t thread) const noexcept {
  return last_step_[thread] == 0 ? Counts{} : steps_[last_step_[thread] - 1].clock;
}

/// A thread that has been tried stays asleep until somebody does what its step depends on, by the same rule as in `link`
/// (a compare-exchange that fails is no load there). If its step is a load and somebody stores, only what it could not
/// return before is new.
void Search::inherit(Step& step, const Step& parent, const std::array<Operation, max_threads>& next) const noexcept {
  if (!reduce_) return;
  step.no_older_than = parent.no_older_than;
  step.no_older_than[parent.thread] = 0;
  for (std::size_t thread = 0; thread < max_threads; ++thread) {
    if (((parent.asleep | parent.explored) & ~only(parent.thread) & only(thread)) == 0) continue;
    const bool reads = next[thread].kind == Operation::Kind::load;
    const bool touched = next[thread].object == parent.operation.object;
    if (touched && parent.written != 0 && reads) {
      step.no_older_than[thread] = parent.written;
    } else if (!touched || (reads && parent.operation.kind == Operation::Kind::load)) {
      step.asleep |= only(thread);
    }
  }
}

/// Enters a step into the orders of its thread and its object, and finds the steps that it might have come before.
void Search::link(std::size_t index) noexcept {
  Step& step = steps_[index];
  const Counts own = steps_before(step.thread);
  Counts clock = own;
  std::array<std::uint32_t, max_threads> races{};
  std::size_t race_count = 0;
  Object& object = *step.operation.object;
  for (std::uint32_t i = object.last_step; i != 0; i = steps_[i - 1].previous_on_object) {
    const Step& other = steps_[i - 1];
    if (!dependent(other.operation, step.operation)) continue;
    if (other.number > clock[other.thread] && race_count < races.size()) races[race_count++] = i - 1;
    join(clock, other.clock);
    if (other.operation.kind != Operation::Kind::load) break;  // all that came before depends on it
  }
  if (step.operation.kind == Operation::Kind::lock) join(clock, static_cast<MutexState&>(object).released_steps);
  step.number = static_cast<std::uint16_t>(own[step.thread] + 1);
  clock[step.thread] = step.number;
  step.clock = clock;
  step.previous_on_object = object.last_step;
  object.last_step = static_cast<std::uint32_t>(index + 1);
  last_step_[step.thread] = static_cast<std::uint32_t>(index + 1);
  if (reduce_ && index >= first_new_) {
    first_new_ = index + 1;
    for (std::size_t i = 0; i < race_count; ++i) reverse(races[i], index);
  }
}

/// Has one of the threads tried before `earlier` that lead to `later` without it.
void Search::reverse(std::size_t earlier, std::size_t later) noexcept {
  Step& first = steps_[earlier];
  Threads seen = 0;
  Threads initial = 0;
  Counts between{};  // for each thread, its first step among those that do not need `earlier`
  for (std::size_t i = earlier + 1; i <= later; ++i) {
    const Step& step = steps_[i];
    if (i != later && step.clock[first.thread] >= first.number) continue;
    if ((seen & only(step.thread)) == 0) {
      bool free = true;
      for (std::size_t thread = 0; thread < max_threads; ++thread) {
        if (thread != step.thread && (seen & only(thread)) != 0 && between[thread] <= step.clock[thread]) free = false;
      }
      if (free) initial |= only(step.thread);
      seen |= only(step.thread);
      between[step.thread] = step.number;
    }
  }
  if ((initial & (first.wanted | first.asleep)) != 0) return;
  const std::size_t mine = steps_[later].thread;
  first.wanted |= (initial & only(mine)) != 0 ? only(mine) : only(lowest(initial));
}

bool Search::advance() noexcept {
  while (!steps_.empty()) {
    Step& step = steps_.back();
    if (step.choice + 1 < step.choices) {
      ++step.choice;
      first_new_ = steps_.size();
      return true;
    }
    step.explored |= only(step.thread);
    if (const auto left = static_cast<Threads>(step.wanted & ~step.explored & ~step.asleep)) {
      step.thread = static_cast<std::uint8_t>(lowest(left));
      step.choice = 0;
      step.choices = 1;
      first_new_ = steps_.size() - 1;
      return true;
    }
    steps_.pop_back();
  }
  return false;
}

std::string Search::path() const {
  std::string text;
  for (std::size_t i = 0; i < depth_;) {
    const Step& step = steps_[i];
    std::size_t count = 1;
    while (step.choice == 0 && i + count < depth_ && steps_[i + count].thread == step.thread &&
           steps_[i + count].choice == 0) {
      ++count;
    }
    if (count > 1) text += std::to_string(count);
    text += static_cast<char>('a' + step.thread);
    if (step.choice != 0) text += '.' + std::to_string(step.choice);
    i += count;
  }
  return text;
}

bool Search::set_path(std::string_view path) {
  const auto digit = [&](std::size_t at) { return at < path.size() && path[at] >= '0' && path[at] <= '9'; };
  const auto number = [&](std::size_t& at) {
    std::size_t value = 0;
    for (; digit(at) && value <= max_steps; ++at) value = 10 * value + static_cast<std::size_t>(path[at] - '0');
    return value;
  };
  steps_.clear();
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t count = digit(at) ? number(at) : 1;
    if (at == path.size() || path[at] < 'a' || path[at] >= static_cast<char>('a' + main_thread)) return false;
    Step step;
    step.thread = static_cast<std::uint8_t>(path[at++] - 'a');
    if (at < path.size() && path[at] == '.') {
      if (!digit(++at)) return false;
      step.choice = static_cast<std::uint8_t>(path[at++] - '0');  // there are never more than ten
    }
    if (count == 0 || count + steps_.size() > max_steps) return false;
    steps_.insert(steps_.end(), count, step);
  }
  first_new_ = steps_.size();
  return true;
}

}  // namespace fanfare::explore
