"""(n) A batch of 200 local repositories, 5% of them broken, beside one run's time two hundred times over the slots."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.many_repositories import many, start
from tests.support.service import Service

from benchmarks.measure import Row, scratch

REPOSITORIES = 200
EVERY = 20
SLOTS = 2
ALONE = 5


def rows() -> Iterator[Row]:
    with (
        tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder,
        Service(Path(folder) / "data", SLOTS=str(SLOTS), SANDBOX="none", LEASE_SECONDS="30") as service,
    ):
        root = Path(folder)
        _seconds(service, start(service, many(root / "warm", 1, ())))
        alone = sorted(_seconds(service, start(service, many(root / f"one{at}", 1, ()))) for at in range(ALONE))
        one = alone[ALONE // 2]
        repositories = many(root / "many", REPOSITORIES, every=EVERY)
        batch = start(service, repositories, concurrency=SLOTS * 4)
        together = _seconds(service, batch)
        counts = service.request("GET", f"/batches/{batch['id']}").json()["counts"]
        if counts["failed"] != len(repositories.broken):
            raise RuntimeError(f"{counts['failed']} failed, and {len(repositories.broken)} are broken")
        yield Row("one run, as a batch of one (the median)", one, "s")
        yield Row(f"{REPOSITORIES} repositories over {SLOTS} slots", together, "s")
        yield Row("ratio to one run's time over the slots", together / (one * REPOSITORIES / SLOTS))


def _seconds(service: Service, batch: dict[str, Any]) -> float:
    began = time.perf_counter()
    while service.request("GET", f"/batches/{batch['id']}").json()["status"] == "Running":
        time.sleep(0.01)
    return time.perf_counter() - began
