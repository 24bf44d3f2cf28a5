"""The diff so far: structured or as a patch, whole or in a stream."""

import pytest
from tests.support.deployment import PROCESSES, Deployment, Json

from treadle.domain.run import Artifact
from treadle.domain.states import StepStatus
from treadle.ports import Fence, StepUpdate

SMALL = b'{"files":[]}'


async def keep(here: Deployment, fence: Fence, name: str, content: bytes) -> None:
    key = f"runs/{fence.run_id}/{name}"
    await here.blobs.put(key, content)
    kind = "application/json" if name.endswith("json") else "text/x-diff"
    artifact = Artifact(fence.run_id, name, kind, len(content), key, here.clock.now())
    await here.store.add_artifact(fence, artifact)
    await here.store.record(fence, [], here.clock.now(), has_diff=True)


async def ask(here: Deployment, process: Json, accept: str) -> tuple[int, str, bytes]:
    path = f"{PROCESSES}/by-id/{process['id']}/diff"
    answer = await here.http.get(path, headers={**here.admin.headers, "Accept": accept})
    return answer.status_code, answer.headers["content-type"], answer.content


@pytest.mark.anyio
@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_both_forms(here: Deployment, size: int) -> None:
    process = await here.start()
    _, fence = await here.claim()
    structured = b'{"files":["%b"]}' % (b"s" * size)
    patch = b"diff --git a/x b/x\n\xff\xfe" + b"p" * size
    await keep(here, fence, "diff.json", structured)
    await keep(here, fence, "diff.patch", patch)
    for accept in ("", "*/*", "application/json", "text/html, application/json;q=0.9, text/x-diff;q=0.1"):
        assert await ask(here, process, accept) == (200, "application/json", structured)
    for accept in ("text/x-diff", "text/*", "application/json;q=0.2, text/x-diff"):
        assert await ask(here, process, accept) == (200, "text/x-diff", patch)


@pytest.mark.anyio
async def test_before_the_first_commit_it_is_empty(here: Deployment) -> None:
    process = await here.start()
    assert await ask(here, process, "application/json") == (200, "application/json", SMALL)
    assert await ask(here, process, "text/x-diff") == (200, "text/x-diff", b"")


@pytest.mark.anyio
async def test_a_commit_whose_diff_is_not_there_yet_is_not_called_empty(here: Deployment) -> None:
    process = await here.start()
    _, fence = await here.claim()
    await here.store.record(fence, [], here.clock.now(), step=StepUpdate(1, StepStatus.RUNNING))
    done = StepUpdate(1, StepStatus.SUCCESS, commit_sha="0" * 40)
    await here.store.record(fence, [], here.clock.now(), step=done)
    status, kind, _ = await ask(here, process, "application/json")
    assert (status, kind) == (404, "application/problem+json")
