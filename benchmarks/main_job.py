"""(a) A one-step Dummy run, from POST to Success, beside a shell script of the same git commands."""

import os
import random
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from tests.support.git_server import GitServer
from tests.support.service import Service, step

from benchmarks.measure import Row, in_turns, ratio, scratch

ROUNDS = int(os.environ.get("ROUNDS", "5"))

#: Files, and bytes in each: 300 MB packed is what choices about mirrors were measured on.
SIZES = {"small": (2_000, 2_000), "large": (30_000, 10_000)}

SCRIPT = """set -e
git clone -q -b main "$1" code
cd code
git switch -q -c "$2"
echo line >> DUMMY.md
git add .
git commit -q -F - <<< "A step"
git rev-list --left-right --count origin/main...HEAD > /dev/null
git push -q origin "$2"
git status --porcelain --branch > /dev/null
git diff origin/main > ../patch
"""


def rows() -> Iterator[Row]:
    branches = count(1)
    with (
        tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder,
        GitServer(username="ada", password="password") as git,
        Service(Path(folder) / "data", POLL_SECONDS="1", LEASE_SECONDS="30") as service,
    ):
        for size, (files, length) in SIZES.items():
            _make(git, size, files, length)
            url = git.url(size)

            def shell(url: str = url) -> None:
                with tempfile.TemporaryDirectory(dir=folder) as where:
                    authorized = url.replace("://", "://ada:password@")
                    subprocess.run(
                        ["bash", "-c", SCRIPT, "script", authorized, f"shell-{next(branches)}"],
                        cwd=where,
                        check=True,
                        env={**os.environ, **_IDENTITY},
                        capture_output=True,
                    )

            def cold(warm: Callable[[], None]) -> None:
                shutil.rmtree(service.data / "mirrors")
                warm()

            def warm(url: str = url) -> None:
                process_id = service.start(
                    gitUrl=url,
                    gitHttpCredentials="ada:password",
                    branchSource="main",
                    branchWork=f"treadle-{next(branches)}",
                    engine="Dummy",
                    generateDiffOnCompletion=True,
                    steps=[step("Add a line")],
                )
                _until_success(service, process_id)

            warm()
            taken = in_turns(ROUNDS, {"shell": shell, "cold": partial(cold, warm), "warm": warm})
            for name, times in taken.items():
                yield Row(f"{size}: {name}", statistics.median(times) * 1000, "ms")
            yield Row(f"{size}: cold mirror, ratio", ratio(taken["cold"], taken["shell"]), limit="1.3")
            yield Row(f"{size}: warm mirror, ratio", ratio(taken["warm"], taken["shell"]), limit="0.9")


_IDENTITY = {
    "GIT_AUTHOR_NAME": "Bench",
    "GIT_AUTHOR_EMAIL": "bench@example.com",
    "GIT_COMMITTER_NAME": "Bench",
    "GIT_COMMITTER_EMAIL": "bench@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def _until_success(service: Service, process_id: str) -> None:
    """Follows the stream, as a client that is in a hurry would."""
    with service.http.stream(
        "GET",
        f"{service.url}/code-generation/processes/by-id/{process_id}/events",
        headers={"X-Api-Key": service.key, "Accept": "text/event-stream"},
    ) as stream:
        last = "".join(list(stream.iter_lines())[-5:])
    if '"Success"' not in last:
        raise RuntimeError(f"the run did not succeed: {last}")


def _make(git: GitServer, name: str, files: int, length: int) -> None:
    """A repository whose content does not compress, in a hundred folders, packed."""
    bare = git.create(name)
    source = random.Random(1)
    feeder = subprocess.Popen(["git", "fast-import", "--quiet"], cwd=bare, stdin=subprocess.PIPE)
    assert feeder.stdin is not None
    feeder.stdin.write(b"commit refs/heads/main\ncommitter Bench <bench@example.com> 0 +0000\ndata 5\nfirst\n")
    for number in range(files):
        content = source.randbytes(length // 2).hex().encode()
        lines = b"\n".join(content[at : at + 60] for at in range(0, len(content), 60)) + b"\n"
        feeder.stdin.write(b"M 100644 inline d%d/f%d.txt\ndata %d\n%s\n" % (number % 100, number, len(lines), lines))
    feeder.stdin.close()
    if feeder.wait() != 0:
        raise RuntimeError("git fast-import failed")
