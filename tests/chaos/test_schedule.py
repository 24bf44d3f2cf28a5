"""A seed says what happens; and what happens can be mended before it happens again."""

from itertools import pairwise

import pytest

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
