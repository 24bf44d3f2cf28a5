"""(p) The page of a 5,000-file diff beside one of no files: server time, and bytes."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from tests.support.service import Service

from benchmarks.measure import Row, p95, scratch
from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.identity import Principal, Role
from treadle.domain.run import Artifact, RunDraft, StepDraft
from treadle.ports import Fence
from treadle.store.sql import SqlStore

FILES, LINES_A_FILE = 5_000, 60
REQUESTS = 60


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder:
        service = Service(Path(folder) / "data", ("--no-worker",), LEASE_SECONDS="3600", POLL_SECONDS="3600")
        service.launch()
        service.stop()
        sizes = asyncio.run(_fill(service.data))
        with service:
            answer = service.http.post(f"{service.url}/sign-in", data={"by": "key", "key": service.key})
            if answer.status_code >= 400:
                raise RuntimeError(f"the page cannot be signed in to: {answer.text[:500]}")
            empty, full = "/runs/1/diff", "/runs/2/diff"
            yield Row(f"the JSON of {FILES} files", sizes[1] / 1e6, "MB")
            _get(service, empty)
            yield Row("first look, with its index", _get(service, full)[0] * 1000, "ms")
            taken: dict[str, list[float]] = {}
            sent: dict[str, int] = {}
            for number in range(REQUESTS):
                at = number * 83 % FILES
                for name, path in {
                    "an empty diff": empty,
                    "the first files": full,
                    "files from the middle, not seen before": f"{full}?from={at}",
                    "side by side": f"{full}?view=split",
                    "one file": f"{full}/file?at={at}",
                    "a folder": f"{full}/tree?under=src/d7/",
                    "a filter": f"{full}?filter=f4{number:02}",
                    "unified again": f"{full}?view=unified",
                }.items():
                    seconds, size = _get(service, path)
                    taken.setdefault(name, []).append(seconds)
                    sent[name] = size
            del taken["unified again"]
            for name, times in taken.items():
                yield Row(f"{name}: median", statistics.median(times) * 1000, "ms")
                yield Row(f"{name}: p95", p95(times) * 1000, "ms")
                yield Row(f"{name}: sent", sent[name] / 1000, "kB")
            ratio = statistics.median(taken["the first files"]) / statistics.median(taken["an empty diff"])
            yield Row(f"{FILES} files beside none, ratio of medians", ratio)


def _get(service: Service, path: str) -> tuple[float, int]:
    """Seconds and bytes."""
    began = time.perf_counter()
    answer = service.http.get(service.url + path)
    taken = time.perf_counter() - began
    answer.raise_for_status()
    return taken, len(answer.content)


async def _fill(data: Path) -> list[int]:
    """Two runs, one with an empty diff and one with the large one; the bytes of both."""
    store, blobs = await SqlStore.open(f"sqlite:///{data / 'treadle.db'}"), DirectoryBlobs(data / "blobs")
    organization = (await store.organizations())[0]
    user, _ = (await store.users(organization.id))[0]
    principal = Principal(organization.id, organization.uuid, user.id, user.uuid, user.email, user.name, Role.ADMIN)
    sizes = []
    for number, content in enumerate((b'{"files":[]}', b'{"files":[%b]}' % b",".join(_files())), 1):
        now = datetime.now(UTC)
        draft = RunDraft("https://example.com/acme/demo.git", "main", f"work-{number}", (StepDraft("x"),))
        await store.create_run(draft, principal, uuid=uuid4(), step_ids=[uuid4()], secrets={}, now=now)
        run = await store.claim("bench", now)
        if run is None:
            raise RuntimeError("there is no run to claim")
        fence, key = Fence(run.id, run.lease), f"runs/{run.uuid}/artifacts/1-diff.json"
        sizes.append(await blobs.put(key, content))
        await store.add_artifact(fence, Artifact(run.id, "diff.json", "application/json", len(content), key, now))
        await store.record(fence, [], now, has_diff=True)
    await store.close()
    return sizes


def _files() -> Iterator[bytes]:
    """A third of each file's lines changed, in fifty folders."""
    for number in range(FILES):
        path = f"src/d{number % 50}/f{number}.py"
        lines, old, new = [], 1, 1
        for line in range(LINES_A_FILE):
            kind = ("Context", "Removed", "Added")[line % 3]
            text = f"    value_{line} = compute({number}, key='{kind.lower()}')  # a comment"
            numbers = (old if kind != "Added" else "null", new if kind != "Removed" else "null")
            lines.append(
                f'{{"type":"{kind}","content":"{text}","oldLine":{numbers[0]},"newLine":{numbers[1]},"noNewlineAtEnd":false}}'
            )
            old, new = old + (kind != "Added"), new + (kind != "Removed")
        third = LINES_A_FILE // 3
        yield (
            f'{{"filename":"{path}","oldFilename":null,"filenameEncoding":"utf-8","isNew":false,"isDeleted":false,'
            f'"isRenamed":false,"oldMode":"100644","newMode":"100644","isBinary":false,"changes":[{{"header":'
            f'"@@ -1,{old - 1} +1,{new - 1} @@","diff":[{",".join(lines)}]}}],"additions":{third},'
            f'"deletions":{third},"encoding":"utf-8"}}'
        ).encode()
