"""The runs that the chaos has to let through: three steps each, every step a file of its own."""

import json
import random
from dataclasses import dataclass

STEPS = 3


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """It appends `line` to `path`, once; a step that is done twice shows as two lines, or as two commits."""

    path: str
    line: str
    pauses: tuple[float, float, float]  # seconds in analysis, implementation, validation

    @property
    def text(self) -> str:
        analysis, implementation, validation = self.pauses
        script = [
            {"sleep": analysis, "phase": "analysis"},
            {"append": [self.path, f"{self.line}\n"]},
            {"sleep": implementation},
            {"sleep": validation, "phase": "validation"},
        ]
        return f"dummy: {self.line}\n{json.dumps(script)}"


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """`number` counts from 0, in the order of the POSTs; `after`: the run that has the same work branch and comes
    first."""

    number: int
    repository: str
    branch: str
    steps: tuple[PlannedStep, ...]
    at: float  # seconds from the start
    after: int | None = None


def plan(seed: int, count: int, seconds: float, repositories: list[str]) -> list[PlannedRun]:
    """`count` runs, asked for in `seconds`. Every fifth shares the work branch of the run before it."""
    chance = random.Random(f"{seed} runs")
    times = sorted(round(chance.uniform(0, seconds), 1) for _ in range(count))
    made: list[PlannedRun] = []
    for number, at in enumerate(times):
        shares = made[-1] if number % 5 == 4 else None
        steps = tuple(
            PlannedStep(
                f"run-{number}/step-{position}.txt",
                f"run {number} step {position}",
                (_pause(chance), _pause(chance), _pause(chance)),
            )
            for position in range(1, STEPS + 1)
        )
        if shares is None:
            made.append(PlannedRun(number, chance.choice(repositories), f"work-{number}", steps, at))
        else:
            made.append(PlannedRun(number, shares.repository, shares.branch, steps, at, shares.number))
    return made


def _pause(chance: random.Random) -> float:
    return round(chance.choice((0.0, 0.2, 0.5, 1.0)) * chance.uniform(0.5, 1.5), 2)
