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
from treadle.store import SqlStore

RUNS = 100_000
PAGE = 50
REQUESTS = 300


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder:
        empty, full = (
            Service(Path(folder) / "empty", ("--no-worker",)),
            Service(Path(folder) / "full", ("--no-worker",)),
        )
        with full:
            full.stop()
        asyncio.run(_fill(full.data))
        with empty, full:
            pages = {"newest": 0, "in the middle": RUNS // 2}
            _page(empty, 0), _page(full, 0)
            floor = [_page(empty, 0) for _ in range(REQUESTS)]
            yield Row("empty store, p95", p95(floor) * 1000, "ms")
            for name, skip in pages.items():
                taken = [_page(full, skip) for _ in range(REQUESTS)]
                yield Row(f"{RUNS} runs, {PAGE} {name}, p95", p95(taken) * 1000, "ms")
                yield Row("  ratio of p95", p95(taken) / p95(floor))


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
    draft = RunDraft(
        "https://example.com/acme/demo.git", "main", "work", (StepDraft("x"),) * 3, engine=EngineName.DUMMY
    )
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
