// Which thread goes next, and which store a load returns: a depth-first search that leaves out what would only repeat.
//
// It is dynamic partial-order reduction with source sets and sleep sets. After: P. Abdulla, S. Aronis, B. Jonsson,
// K. Sagonas, "Source sets: a foundation for optimal dynamic partial order reduction", J. ACM 64(4), 2017.
#pragma once

#include "model.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fanfare::explore {

/// No execution may have more.
inline constexpr std::size_t max_steps = 4096;

/// What a thread is about to do.
struct Operation {
  enum class Kind : std::uint8_t { load, store, modify, lock };
  Kind kind = Kind::load;
  Object* object = nullptr;
};

/// A set of threads.
using Threads = std::uint8_t;

/// Walks through the executions of one program. In each, `pick` says for each step whose it is, `choose` decides within
/// the step, `done` ends the step.
class Search {
 public:
  /// \param reduce   false: all interleavings, step by step, whether they differ or not. For tests of the search itself.
  explicit Search(bool reduce) noexcept : reduce_(reduce) {}

  void begin_execution() noexcept;

  /// Chooses among the threads in `enabled`. `next` says what each of them is about to do.
  /// \returns nothing if all that could follow has been seen in another order.
  [[nodiscard]] std::optional<std::size_t> pick(Threads enabled, const std::array<Operation, max_threads>& next,
                                                std::size_t current);
  /// Chooses one of `count` ways to do the current step.
  [[nodiscard]] std::size_t choose(std::size_t count) noexcept;
  /// A load in the current step need not return anything older than the store with this index.
  [[nodiscard]] std::uint16_t no_older_than() const noexcept;
  /// \param written   the index of the store that the step made; 0 if it made none.
  void done(std::uint16_t written) noexcept { steps_[depth_ - 1].written = written; }

  /// What a thread leaves with a mutex that it unlocks.
  [[nodiscard]] Counts steps_before(std::size_t thread) const noexcept;

  /// Goes to the next execution. \returns false if there is none.
  [[nodiscard]] bool advance() noexcept;

  /// The current execution as text: `12abb.1` is twelve steps of thread a, one of b, and one of b with its choice 1.
  [[nodiscard]] std::string path() const;
  /// Makes the next execution begin like this.
  /// \returns false if it is no path.
  [[nodiscard]] bool set_path(std::string_view path);
  [[nodiscard]] std::size_t depth() const noexcept { return depth_; }

 private:
  struct Step {
    std::uint8_t thread = 0;
    std::uint8_t choice = 0;
    std::uint8_t choices = 1;
    Threads wanted = 0;    // threads that have to be tried here
    Threads explored = 0;  // those of them that have been
    Threads asleep = 0;    // threads whose next step would lead to what another order has shown already
    Operation operation;
    std::uint16_t written = 0;
    std::uint16_t number = 0;  // among the steps of its thread
    std::uint32_t previous_on_object = 0;
    Counts clock{};  // how many steps of each thread have to come before it or are it
    Counts no_older_than{};
  };

  void inherit(Step& step, const Step& parent, const std::array<Operation, max_threads>& next) const noexcept;
  void link(std::size_t index) noexcept;
  void reverse(std::size_t earlier, std::size_t later) noexcept;

  const bool reduce_;
  std::vector<Step> steps_;
  std::size_t depth_ = 0;      // steps begun in the current execution
  std::size_t first_new_ = 0;  // the first step whose conflicts have not been looked at
  std::array<std::uint32_t, max_threads> last_step_{};
};

}  // namespace fanfare::explore
