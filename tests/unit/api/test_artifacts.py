"""What a process leaves: listed and downloaded by whoever may see the process."""

from uuid import uuid4

import pytest
from tests.support.deployment import PROCESSES, Deployment, Member
from tests.unit.api.golden import check_json
from tests.unit.api.test_diff import keep

from treadle.domain.identity import Role

NAME = "partial-work-step-2.patch"


@pytest.mark.anyio
@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_what_was_kept_comes_out(here: Deployment, size: int) -> None:
    process = await here.start()
    path = f"{PROCESSES}/by-id/{process['id']}/artifacts"
    assert (await here.http.get(path, headers=here.admin.headers)).json() == []
    _, fence = await here.claim()
    patch = b"diff --git a/x b/x\n\xff\xfe" + b"p" * size
    await keep(here, fence, NAME, patch)
    await keep(here, fence, "diff.json", b"{}")
    answer = await here.http.get(path, headers=here.admin.headers)
    assert answer.headers["content-type"] == "application/json"
    assert [(each["name"], each["size"]) for each in answer.json()] == [("diff.json", 2), (NAME, len(patch))]
    if size == 10:
        check_json("artifacts", answer.content)
    got = await here.http.get(f"{path}/{NAME}/content", headers=here.admin.headers)
    assert got.content == patch
    assert got.headers["content-type"] == "text/x-diff"
    assert int(got.headers["content-length"]) == len(patch)
    assert got.headers["content-disposition"] == f"attachment; filename=\"{NAME}\"; filename*=UTF-8''{NAME}"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"].startswith("sandbox")
    assert "no-store" in got.headers["cache-control"]


@pytest.mark.anyio
async def test_what_is_not_there(here: Deployment) -> None:
    process = await here.start()
    _, fence = await here.claim()
    await keep(here, fence, NAME, b"x")
    by_id = f"{PROCESSES}/by-id/{process['id']}"
    for path in (
        f"{by_id}/artifacts/other/content",
        f"{by_id}/artifacts/..%2f{NAME}/content",
        f"{by_id}/artifacts/{NAME}",
        f"{PROCESSES}/by-id/{uuid4()}/artifacts",
        f"{PROCESSES}/by-id/none/artifacts/{NAME}/content",
    ):
        answer = await here.http.get(path, headers=here.admin.headers)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
    assert (await here.http.get(f"{by_id}/artifacts")).status_code == 401


@pytest.mark.anyio
async def test_only_whoever_sees_the_process_sees_them(here: Deployment) -> None:
    owner = await here.member("owner@example.com")
    elsewhere = await here.services.identity.add_organization("Elsewhere")
    seen_by: dict[bool, list[Member]] = {
        True: [owner, here.admin],
        False: [
            await here.member("other@example.com"),
            await here.member("foreign@example.com", Role.ADMIN, organization=elsewhere),
        ],
    }
    process = await here.start(owner)
    _, fence = await here.claim()
    await keep(here, fence, NAME, b"x")
    path = f"{PROCESSES}/by-id/{process['id']}/artifacts"
    for is_seen, members in seen_by.items():
        for member in members:
            for each in (path, f"{path}/{NAME}/content"):
                answer = await here.http.get(each, headers=member.headers)
                assert answer.status_code == (200 if is_seen else 404), (member.user.email, each)
