"""(e) A page of the list with 100,000 runs in the store, beside an empty store's."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from tests.support.service import Service

from benchmarks.measure import Row, p95, scratch
from treadle.domain.identity import Principal, Role
from treadle.domain.run import RunDraft, StepDraft
from treadle.store.sql import SqlStore

RUNS = 100_000
PAGE = 50
REQUESTS = 300


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder:
        stores = {
            runs: Service(Path(folder) / f"of-{runs}", ("--no-worker",), LEASE_SECONDS="3600", POLL_SECONDS="3600")
            for runs in (0, PAGE, RUNS)
        }
        for runs, service in stores.items():
            service.launch()
            service.stop()
            asyncio.run(_fill(service.data, runs))
        taken: dict[tuple[int, int], list[float]] = {}
        with stores[0], stores[PAGE], stores[RUNS]:
            for service in stores.values():
                _page(service, 0)
            for _ in range(REQUESTS):
                for runs, skip in ((0, 0), (PAGE, 0), (RUNS, 0), (RUNS, RUNS // 2)):
                    taken.setdefault((runs, skip), []).append(_page(stores[runs], skip))
        for (runs, skip), times in taken.items():
            yield Row(f"{runs} runs in the store, {PAGE} after {skip}: p95", p95(times) * 1000, "ms")
        yield Row("full store beside an empty one, ratio of p95", p95(taken[RUNS, 0]) / p95(taken[0, 0]))
        yield Row("full store beside one of a page, ratio of p95", p95(taken[RUNS, 0]) / p95(taken[PAGE, 0]))


def _page(service: Service, skip: int) -> float:
    began = time.perf_counter()
    answer = service.request("GET", f"/code-generation/processes?limit={PAGE}&skip={skip}")
    answer.raise_for_status()
    return time.perf_counter() - began


async def _fill(data: Path, runs: int) -> None:
    """Through the store, as the service itself would."""
    store = await SqlStore.open(f"sqlite:///{data / 'treadle.db'}")
    organization = (await store.organizations())[0]
    user, _ = (await store.users(organization.id))[0]
    principal = Principal(organization.id, organization.uuid, user.id, user.uuid, user.email, user.name, Role.ADMIN)
    draft = RunDraft("https://example.com/acme/demo.git", "main", "work", (StepDraft("x"),) * 3)
    for done in range(0, runs, 500):
        await asyncio.gather(
            *(
                store.create_run(
                    draft,
                    principal,
                    uuid=uuid4(),
                    step_ids=[uuid4() for _ in draft.steps],
                    secrets={},
                    now=datetime.now(UTC),
                )
                for _ in range(min(500, runs - done))
            )
        )
    await store.close()
