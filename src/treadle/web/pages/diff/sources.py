"""Which diffs a run has: of all of it, and of single steps."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from treadle.domain.diff_contents import contents_name, diff_name
from treadle.domain.run import Run, Step

__all__ = ["StepDiff", "contents_name", "diff_name", "steps_of"]


@dataclass(frozen=True, slots=True)
class StepDiff:
    """A step with a commit. `has_diff`: what it alone changed was kept."""

    step: Step
    has_diff: bool


def steps_of(run: Run, artifacts: Container[str]) -> Sequence[StepDiff]:
    """Of the steps that changed something."""
    return [StepDiff(step, diff_name(step.position) in artifacts) for step in run.steps if step.commit_sha is not None]
