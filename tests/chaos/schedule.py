"""What goes wrong and when: made from a seed before anything starts, so that it can be repeated."""

import random
from dataclasses import dataclass
from enum import StrEnum


class Trouble(StrEnum):
    """Each value says it as the timeline does."""

    KILL_WORKER = "kill -9 a worker"
    PAUSE_WORKER = "SIGSTOP a worker past its lease"
    STOP_WORKER = "SIGTERM a worker"
    KILL_API = "kill -9 an API process"
    CUT_DATABASE = "cut a process's link to the database"
    HANG_DATABASE = "hang a process's link to the database"
    CUT_BROKER = "cut a process's link to the broker"
    HANG_BROKER = "hang a process's link to the broker"
    KILL_DATABASE = "kill -9 the database"
    RESTART_DATABASE = "restart the database"
    KILL_BROKER = "kill -9 the broker"
    RESTART_BROKER = "restart the broker"


DATABASE, BROKER = "database", "broker"


@dataclass(frozen=True, slots=True)
class Incident:
    """`target` is a node's name, "database" or "broker"; it is mended `seconds` after `at`, both from the start."""

    at: float
    trouble: Trouble
    target: str
    seconds: float


@dataclass(frozen=True, slots=True)
class _Kind:
    """How likely beside the others, and for how long (seconds): at least, at most."""

    weight: int
    least: float
    most: float


#: A lease is 5 s in this test (`scene.py`): a worker is paused for longer than that, a link is broken for less or more.
_KINDS = {
    Trouble.KILL_WORKER: _Kind(10, 0.5, 5),
    Trouble.PAUSE_WORKER: _Kind(6, 6, 10),
    Trouble.STOP_WORKER: _Kind(4, 1, 4),
    Trouble.KILL_API: _Kind(5, 0.5, 4),
    Trouble.CUT_DATABASE: _Kind(4, 0.5, 8),
    Trouble.HANG_DATABASE: _Kind(4, 1, 9),
    Trouble.CUT_BROKER: _Kind(3, 0.5, 8),
    Trouble.HANG_BROKER: _Kind(3, 1, 9),
    Trouble.KILL_DATABASE: _Kind(2, 0.5, 4),
    Trouble.RESTART_DATABASE: _Kind(2, 0.2, 2),
    Trouble.KILL_BROKER: _Kind(2, 1, 6),
    Trouble.RESTART_BROKER: _Kind(1, 0.5, 3),
}

_OF_WORKERS = {Trouble.KILL_WORKER, Trouble.PAUSE_WORKER, Trouble.STOP_WORKER}
_OF_APIS = {Trouble.KILL_API}
_OF_DATABASE = {Trouble.KILL_DATABASE, Trouble.RESTART_DATABASE}
_OF_BROKER = {Trouble.KILL_BROKER, Trouble.RESTART_BROKER}
_NEEDS_BROKER = _OF_BROKER | {Trouble.CUT_BROKER, Trouble.HANG_BROKER}

#: After it is mended a target is left alone for this long, in seconds: else nothing would ever be done.
REST_SECONDS = {DATABASE: 15.0, BROKER: 20.0}
NODE_REST_SECONDS = 3.0


def schedule(
    seed: int, seconds: float, *, workers: list[str], apis: list[str], every: float, has_broker: bool
) -> list[Incident]:
    """Incidents in the order of their times, one in about `every` seconds, none after `seconds`. Each kind comes up
    before one comes up twice, in an order that the seed decides."""
    chance = random.Random(seed)
    kinds = [kind for kind in Trouble if has_broker or kind not in _NEEDS_BROKER]
    due = chance.sample(kinds, len(kinds))
    free: dict[str, float] = {}
    made: list[Incident] = []
    at = 1.0
    while at < seconds:
        drawn = chance.choices(kinds, [_KINDS[kind].weight for kind in kinds])[0]
        for trouble in (*due, drawn):
            targets = [name for name in _targets(trouble, workers, apis) if free.get(name, 0.0) <= at]
            if targets:
                break
        else:
            at += 1.0
            continue
        if trouble in due:
            due.remove(trouble)
        target = chance.choice(targets)
        lasts = round(chance.uniform(_KINDS[trouble].least, _KINDS[trouble].most), 1)
        made.append(Incident(round(at, 1), trouble, target, lasts))
        free[target] = at + lasts + REST_SECONDS.get(target, NODE_REST_SECONDS)
        at += chance.expovariate(1 / every)
    return made


def _targets(trouble: Trouble, workers: list[str], apis: list[str]) -> list[str]:
    if trouble in _OF_DATABASE:
        return [DATABASE]
    if trouble in _OF_BROKER:
        return [BROKER]
    if trouble in _OF_WORKERS:
        return workers
    return apis if trouble in _OF_APIS else [*workers, *apis]
