"""What a check of `treadle doctor` says."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a check went."""

    OK = "OK"
    WARNING = "Warning"
    PROBLEM = "Problem"


@dataclass(frozen=True, slots=True)
class Check:
    """What was found, and what to do about it unless it is OK."""

    name: str
    level: Level
    found: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """One part of what a check found."""

    found: str
    level: Level = Level.OK
    hint: str | None = None


def summed_up(name: str, remarks: Sequence[Remark]) -> Check:
    """One check of many remarks: the worst of them decides, and says what to do."""
    ranks = tuple(Level)
    worst = max(remarks, key=lambda remark: ranks.index(remark.level))
    return Check(name, worst.level, "; ".join(remark.found for remark in remarks), worst.hint)
