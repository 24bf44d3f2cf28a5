"""How figures are taken and shown: in turns with their floor, as medians and ratios of one run."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure; `limit` is the issue's, beside it and never asserted."""

    name: str
    value: float
    unit: str = ""
    limit: str = ""

    def __str__(self) -> str:
        limit = f"   (limit {self.limit})" if self.limit else ""
        return f"  {self.name:<58} {self.value:>10.3f} {self.unit:<6}{limit}"


def scratch() -> Path:
    """Memory if there is some: the build machines' disk slows down many times after deletions."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path("/tmp")


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turns(rounds: int, actions: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Times each action once a round, so that a machine that slows down slows all of them."""
    for action in actions.values():
        action()  # warm-up, not counted
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            taken[name].append(seconds(action))
    return taken


def ratio(taken: Sequence[float], floor: Sequence[float]) -> float:
    """The median of the ratios, pair by pair."""
    return statistics.median(a / b for a, b in zip(taken, floor, strict=True))


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[18]
