// Tests of the explorer itself: what the model allows, and whether the search leaves nothing out.
#pragma once

namespace fanfare::explore {

/// Runs the known litmus tests, and small random programs both with and without reduction.
/// \param count   how many random programs; they are the same ones each time.
/// \returns       how many went wrong, which are printed.
int check_model(unsigned count);

}  // namespace fanfare::explore
