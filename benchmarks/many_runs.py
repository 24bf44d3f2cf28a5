"""(d) 50 runs at once in one worker: memory a run beyond the engine's own, and the time beside one run."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from tests.support.git_server import GitServer
from tests.support.service import Service, step

from benchmarks.measure import Row, scratch

RUNS = 50
ENGINE_SECONDS = 5.0


def rows() -> Iterator[Row]:
    with (
        tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder,
        GitServer() as git,
        Service(Path(folder) / "data", SLOTS=str(RUNS), LEASE_SECONDS="30", POLL_SECONDS="1") as service,
    ):
        git.create("demo", {f"src/{number}.py": f"print({number})\n" for number in range(200)})
        _batch(service, git, "warm", 1)
        idle = _own_memory(service)
        alone, _ = _batch(service, git, "one", 1)
        together, peak = _batch(service, git, "many", RUNS)
        yield Row("one run", alone, "s")
        yield Row(f"{RUNS} runs at once", together, "s")
        yield Row("ratio", together / alone)
        yield Row("memory a run beyond the engine's own", (peak - idle) / RUNS / 1e6, "MB")


def _batch(service: Service, git: GitServer, name: str, runs: int) -> tuple[float, int]:
    """Seconds until all have ended, and the service's own peak memory in bytes meanwhile."""
    began, peak = time.perf_counter(), 0
    waiting = {
        service.start(
            gitUrl=git.url("demo"),
            branchSource="main",
            branchWork=f"{name}-{number}",
            engine="Dummy",
            steps=[step(f'dummy: [{{"append": ["x", "1\\n"]}}, {{"sleep": {ENGINE_SECONDS}}}]')],
        )
        for number in range(runs)
    }
    while waiting:
        peak = max(peak, _own_memory(service))
        alive = service.request("GET", "/code-generation/processes/alive").json()
        waiting &= {process["id"] for process in alive}
        time.sleep(0.05)
    failed = service.request("GET", "/code-generation/processes?status=Failed").json()
    if failed:
        raise RuntimeError(f"{len(failed)} runs failed: {failed[0]['failureDetails']}")
    return time.perf_counter() - began, peak


def _own_memory(service: Service) -> int:
    """What only the service has, its engines' launchers included but not the engines: unique set size, in bytes."""
    assert service.process is not None
    return int(psutil.Process(service.process.pid).memory_full_info().uss)
