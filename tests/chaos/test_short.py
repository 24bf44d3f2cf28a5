"""The chaos, small enough for every test run: `make chaos` is the whole one."""

import os
from pathlib import Path

import pytest

from tests.chaos.scene import Chaos, Size
from tests.support.postgres import NoPostgres
from tests.support.rabbit import NoRabbit

SMALL = Size(runs=9, workers=2, apis=2, repositories=2, seconds=40, every=3, patience=600, has_broker=True)

SEED = 11


@pytest.mark.postgres
@pytest.mark.timeout(1_800)  # it takes 80 s where nothing else runs, and every wait in it has an end of its own
def test_nothing_is_lost_when_everything_breaks(tmp_path: Path) -> None:
    lines: list[str] = []
    chaos = Chaos(tmp_path, SEED, SMALL, lines.append)
    try:
        complaints = chaos.run()
    except (NoPostgres, NoRabbit) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    assert not complaints, "\n".join([*complaints, "", *lines, *chaos.summary, f"logs in {tmp_path}"])
    assert sum(chaos.counts.values()) >= 10
