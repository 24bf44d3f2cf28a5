"""A seed says what happens; and what happens can be mended before it happens again."""

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.scene import Chaos, Size
from tests.chaos.schedule import Incident, Trouble, schedule

WORKERS, APIS = ["worker1", "worker2", "worker3"], ["api1", "api2"]


def made(seed: int, seconds: float = 240, *, has_broker: bool = True) -> list[Incident]:
    return schedule(seed, seconds, workers=WORKERS, apis=APIS, every=3, has_broker=has_broker)


def test_a_seed_repeats_its_incidents() -> None:
    assert made(5) == made(5)
    assert made(5) != made(6)


@pytest.mark.parametrize("seed", range(20))
def test_four_minutes_have_every_kind_of_trouble_and_no_target_has_two_at_once(seed: int) -> None:
    incidents = made(seed)
    assert {incident.trouble for incident in incidents} == set(Trouble)
    assert len(incidents) > 40
    assert all(0 < incident.at <= 240 for incident in incidents)
    for target in {incident.target for incident in incidents}:
        for before, after in pairwise(each for each in incidents if each.target == target):
            assert before.at + before.seconds < after.at


def test_without_a_broker_nothing_is_done_to_it() -> None:
    assert not [each for each in made(3, has_broker=False) if "broker" in each.trouble]


class Slowly(Chaos):
    """Nothing runs: only the order in which its incidents begin and are mended. The first of them takes long."""

    def __init__(self, folder: Path, incidents: list[Incident]) -> None:
        size = Size(runs=1, workers=2, apis=1, repositories=1, seconds=1, every=1, patience=1)
        super().__init__(folder, 1, size, lambda _: None)
        self.incidents = incidents
        self.told: list[str] = []
        self._looks = 0

    def _break(self, incident: Incident, elsewhere: ThreadPoolExecutor, slow: list[Future[None]]) -> None:  # noqa: ARG002 - called as of Chaos
        self.told.append(f"begin {incident.trouble.name} {incident.target}")

    def _mend(self, incident: Incident, elsewhere: ThreadPoolExecutor, slow: list[Future[None]]) -> bool:  # noqa: ARG002 - called as of Chaos
        self._looks += 1
        if self._looks <= 2:
            return False
        self.told.append(f"mend {incident.trouble.name} {incident.target}")
        return True

    def _revive(self) -> None:
        """There is nobody."""


def test_what_is_broken_is_mended_before_it_is_broken_again(tmp_path: Path) -> None:
    stop = Incident(0.0, Trouble.STOP_WORKER, "worker2", 0.1)
    chaos = Slowly(tmp_path, [stop, Incident(0.2, Trouble.KILL_WORKER, "worker2", 0.1)])
    with ThreadPoolExecutor(1) as elsewhere:
        chaos._live_through(elsewhere)
    assert chaos.told == [
        "begin STOP_WORKER worker2",
        "mend STOP_WORKER worker2",
        "begin KILL_WORKER worker2",
        "mend KILL_WORKER worker2",
    ]
