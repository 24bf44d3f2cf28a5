"""What the door refuses before a page sees it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.deployment import deployed
from tests.support.pages import HOST, Pages, looking, text

from treadle.web.door import MAX_FORM_BYTES
from treadle.web.pages import account, diff, repositories, run, shared, sign_in

pytestmark = pytest.mark.anyio

#: More than a BIGINT.
HUGE = 10**30


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, sign_in, account, repositories, run, diff, shared) as pages:
        yield pages


@pytest.mark.parametrize("path", [f"/repositories/{HUGE}", f"/runs/{HUGE}/diff", f"/repositories/1/executions/{HUGE}"])
async def test_an_id_that_no_database_can_hold_is_not_found(there: Pages, path: str) -> None:
    assert (await (await there.signed_in()).get(path)).status_code == 404


@pytest.mark.parametrize("path", [f"/settings/account/sessions/{HUGE}/revoke", f"/repositories/{HUGE}/remove"])
async def test_nor_is_it_in_a_form(there: Pages, path: str) -> None:
    assert (await (await there.signed_in()).post(path, name="x")).status_code == 404


async def test_a_form_that_is_too_large_is_refused_unread_also_of_strangers(there: Pages) -> None:
    read = list[bytes]()

    async def body() -> AsyncIterator[bytes]:
        for chunk in (b"by=key&", b"key=x"):
            read.append(chunk)
            yield chunk

    answer = await there.anybody().http.post(
        "/sign-in", content=body(), headers={"Origin": HOST, "Content-Length": str(MAX_FORM_BYTES + 1)}
    )
    assert answer.status_code == 413
    assert "8 MiB" in text(answer)
    assert not read


async def test_a_form_says_how_large_it_is(there: Pages) -> None:
    async def some() -> AsyncIterator[bytes]:
        yield b"by=key&key=x"

    answer = await there.anybody().http.post("/sign-in", content=some(), headers={"Origin": HOST})
    assert "does not say how large" in text(answer)


async def test_the_log_of_a_fault_tells_no_link_to_a_run(there: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(there.site.services.sharing, "open", broken)
    with capture_logs() as logs:
        assert (await there.anybody().get("/shared/canary/diff")).status_code == 500
    assert [line["path"] for line in logs if line["event"] == "request_failed"] == ["/shared/…/diff"]


async def test_who_is_refused_stays_signed_in(there: Pages) -> None:
    answer = await (await there.signed_in()).get("/runs/999")
    assert answer.status_code == 404
    assert "Sign out" in text(answer)
    assert "Sign in" not in text(answer)
    assert "There is no such run." in text(answer)


@pytest.mark.parametrize(("said", "status"), [("same-origin", 303), ("same-site", 403), ("cross-site", 403)])
async def test_a_browser_behind_a_proxy_says_itself_where_a_form_comes_from(
    there: Pages, said: str, status: int
) -> None:
    """A proxy ends TLS, and nobody told the service its address: what the browser sees is not what it sees."""
    key = {"by": "key", "key": there.here.admin.key}
    answer = await there.anybody().send("/sign-in", key, Origin="https://treadle.example", **{"Sec-Fetch-Site": said})
    assert answer.status_code == status
