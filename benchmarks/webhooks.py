"""(o) Runs with ten webhooks whose receiver is down, or does not answer, beside runs without any."""

import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.support.git_server import GitServer
from tests.support.service import Service, step

from benchmarks.measure import Row, scratch

RUNS = 24
ROUNDS = 3
WEBHOOKS = 10


def rows() -> Iterator[Row]:
    with (
        tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder,
        GitServer() as git,
        socket.create_server(("127.0.0.1", 0)) as silent,
        Service(Path(folder) / "data", SLOTS="4", POLL_SECONDS="0.2", RATE_LIMIT_CREATE="0") as service,
    ):
        git.create("demo", {"README.md": "# Demo\n"})
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        targets = {"none": None, "down": nobody, "silent": f"http://127.0.0.1:{silent.getsockname()[1]}/"}
        _batch(service, git, "warm")
        taken: dict[str, list[float]] = {name: [] for name in targets}
        # In turns, so that whatever else the machine does is shared.
        for turn in range(ROUNDS):
            for name, target in targets.items():
                made = [_add(service, target) for _ in range(WEBHOOKS)] if target else []
                taken[name].append(_batch(service, git, f"{name}-{turn}"))
                for webhook in made:
                    service.request("DELETE", f"/webhooks/{webhook}").raise_for_status()
        plain = median(taken["none"])
        yield Row(f"{RUNS} runs, no webhook", plain, "s")
        yield Row(f"ratio with {WEBHOOKS} webhooks whose receiver is down", median(taken["down"]) / plain)
        yield Row(f"ratio with {WEBHOOKS} webhooks whose receiver does not answer", median(taken["silent"]) / plain)


def _add(service: Service, target: str) -> int:
    answer = service.request("POST", "/webhooks", json={"name": "bench", "target": target})
    answer.raise_for_status()
    return int(answer.json()["id"])


def _batch(service: Service, git: GitServer, name: str) -> float:
    began = time.perf_counter()
    waiting = {
        service.start(
            gitUrl=git.url("demo"), branchSource="main", branchWork=f"{name}-{number}", engine="Dummy",
            steps=[step('dummy: [{"append": ["x", "1\\n"]}]')],
        )
        for number in range(RUNS)
    }  # fmt: skip
    while waiting:
        alive = service.request("GET", "/code-generation/processes/alive").json()
        waiting &= {process["id"] for process in alive}
        time.sleep(0.02)
    return time.perf_counter() - began
