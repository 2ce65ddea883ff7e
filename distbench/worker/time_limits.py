"""How long a run may take, and each part of it: given by the user or derived from the warm-up."""

from __future__ import annotations

from dataclasses import dataclass

STEP_FLOOR_S = 60.0  # a node's hiccup is no hang
STEP_FACTOR = 20.0  # of the slowest step so far
RUN_FLOOR_S = 600.0
RUN_FACTOR = 5.0  # of what the slowest step so far makes of the steps that are left


@dataclass(frozen=True)
class TimeLimits:
    """In seconds, as the settings of the same names; 0 means derived."""

    start_timeout: float
    step_timeout: float
    deadline: float

    def step_s(self, slowest_step_s: float, is_warm: bool) -> float:
        """How long no rank may move between steps; in the warm-up one step may compile for minutes."""
        if self.step_timeout:
            return self.step_timeout
        if not is_warm:
            return self.start_timeout
        return max(STEP_FLOOR_S, STEP_FACTOR * slowest_step_s)

    def run_s(self, elapsed_s: float, steps_left: int, slowest_step_s: float) -> float:
        """When the whole run must have ended, in seconds since its start, derived once it is warm."""
        if self.deadline:
            return self.deadline
        return elapsed_s + max(RUN_FLOOR_S, RUN_FACTOR * steps_left * slowest_step_s)
