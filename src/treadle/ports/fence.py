"""A worker's claim."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fence:
    """A worker's numbered claim on a run. A write under a number that is no longer current raises LeaseLost."""

    run_id: int
    lease: int
