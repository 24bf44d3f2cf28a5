"""(c) POST and GET by id, beside bare Starlette with sqlite3 in a thread and group commit."""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.ports import ReservedPort
from tests.support.service import Service

from benchmarks.load import Load, get, post, send
from benchmarks.measure import Row, scratch

PATH = "/code-generation/processes"
CONNECTIONS = 32
SECONDS = float(os.environ.get("SECONDS_EACH", "4"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))

BODY = json.dumps(
    {
        "gitUrl": "https://example.com/acme/demo.git",
        "branchSource": "main",
        "branchWork": "feature/work",
        "engine": "Dummy",
        "steps": [
            {"step": f"Step number {number} of the run", "isCommitableStep": True, "isStructuredOutput": False}
            for number in range(3)
        ],
    }
).encode()


def rows() -> Iterator[Row]:
    with (
        tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder,
        _bare(Path(folder) / "bare.db") as bare_port,
        Service(Path(folder) / "data", ("--no-worker",), ALLOW_PRIVATE_HOSTS="0") as service,
    ):
        servers = {"bare": (bare_port, ""), "treadle": (int(service.url.rsplit(":", 1)[1]), service.key)}
        posts: dict[str, list[Load]] = {name: [] for name in servers}
        gets: dict[str, list[Load]] = {name: [] for name in servers}
        for number in range(ROUNDS + 1):
            for name, (port, key) in servers.items():
                seconds = SECONDS if number else 1.0  # the first round warms up
                posted = _load(port, [post(PATH, key, BODY)], seconds)
                ids = [json.loads(body)["id"] for body in posted.bodies]
                got = _load(port, [get(f"{PATH}/by-id/{each}", key) for each in ids], seconds)
                if number:
                    posts[name].append(posted)
                    gets[name].append(got)
        for verb, loads in (("POST", posts), ("GET by id", gets)):
            for name, taken in loads.items():
                yield Row(f"{verb}, {name}", statistics.median(load.per_second for load in taken), "1/s")
                latencies = [each for load in taken for each in load.latencies]
                yield Row(f"  p99, {name}", statistics.quantiles(latencies, n=100)[98] * 1000, "ms")
            ratios = [a.per_second / b.per_second for a, b in zip(loads["treadle"], loads["bare"], strict=True)]
            yield Row(f"{verb}, ratio", statistics.median(ratios), limit=">= 0.5")


def _load(port: int, requests: list[bytes], seconds: float) -> Load:
    return send(port, lambda n: requests[n % len(requests)], connections=CONNECTIONS, seconds=seconds)


@contextmanager
def _bare(database: Path) -> Iterator[int]:
    with ReservedPort() as port:
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_server", str(database), str(port.number)])
        try:
            for _ in range(500):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port.number), timeout=1):
                    break
                time.sleep(0.02)
            yield port.number
        finally:
            server.terminate()
            server.wait(10)
