"""Licenses: sent as their vendor wants them, renewed out here, once."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs
from tests.support.claude_accounts import ClaudeAccounts
from tests.support.gateway_runs import Ledger, Opened, open_gateway, opened
from tests.support.model_script import Fail, ModelRequest, Turn, say
from tests.support.model_server import ModelServer

from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.errors import EngineAuthenticationFailed, LeaseLost, SealBroken
from treadle.gateway import licenses
from treadle.gateway.licenses import CLIENT_ID

pytestmark = pytest.mark.anyio

ACCESS, REFRESH = "sk-ant-oat01-old", "sk-ant-ort01-old"


def license_of(expires_in: float | None, refresh_token: str | None = REFRESH) -> EngineCredential:
    ends = datetime.now(UTC) + timedelta(seconds=expires_in) if expires_in is not None else None
    held = OAuthLicense(ACCESS, refresh_token, ends, ("user:inference", "user:profile"), "max")
    return EngineCredential(ClaudeSource.CLIENT_LICENSE, license=held)


@pytest.fixture
def accounts() -> Iterator[ClaudeAccounts]:
    with ClaudeAccounts() as found:
        yield found


@pytest.fixture
async def run(model: ModelServer, accounts: ClaudeAccounts) -> AsyncIterator[Opened]:
    settings = {"claude_base_url": model.url, "claude_token_url": accounts.url}
    async with open_gateway(**settings) as gateway, opened(gateway, Ledger(license_of(3600))) as found:
        yield found


def only(accounts: ClaudeAccounts) -> Callable[[ModelRequest], Turn]:
    """An API that knows the newest token alone."""

    def script(request: ModelRequest) -> Turn:
        newest = accounts.issued[-1][0] if accounts.issued else None
        return say("ok") if request.credential == f"Bearer {newest}" else Fail(401, "OAuth token has expired")

    return script


@pytest.mark.parametrize(
    ("betas", "expected"),
    [
        (None, "oauth-2025-04-20"),
        ("a,b", "a,b,oauth-2025-04-20"),
        ("a, oauth-2025-04-20 ,a", "a,oauth-2025-04-20"),
    ],
)
async def test_a_license_is_a_bearer_and_says_so(
    run: Opened, model: ModelServer, betas: str | None, expected: str
) -> None:
    await run.ask(headers={"anthropic-beta": betas} if betas else {})
    sent = model.requests[0].headers
    assert (sent["authorization"], sent["anthropic-beta"]) == (f"Bearer {ACCESS}", expected)
    assert "x-api-key" not in sent
    run.account.held = EngineCredential(api_key="sk-a-key")
    await run.ask(headers={"anthropic-beta": f"{betas or 'a'},oauth-2025-04-20"})
    sent = model.requests[1].headers
    assert (sent["x-api-key"], "authorization" in sent, "oauth" in sent["anthropic-beta"]) == ("sk-a-key", False, False)


@pytest.mark.parametrize("expires_in", [-3600, 0, 50])
async def test_one_that_ends_is_renewed_before_it_is_used(
    run: Opened, model: ModelServer, accounts: ClaudeAccounts, expires_in: float
) -> None:
    run.account.held = used = license_of(expires_in)
    assert (await run.ask()).is_success
    assert (await run.ask()).is_success
    access, refresh = accounts.issued[0]
    assert [request.credential for request in model.requests] == [f"Bearer {access}"] * 2
    assert accounts.asked == [{"grant_type": "refresh_token", "refresh_token": REFRESH, "client_id": CLIENT_ID}]
    ((before, after),) = run.account.renewals
    assert before == used
    assert after.source is ClaudeSource.CLIENT_LICENSE
    held = after.license
    assert held is not None
    assert (held.access_token, held.refresh_token, held.subscription_type) == (access, refresh, "max")
    assert held.expires_at is not None
    assert held.expires_at > datetime.now(UTC) + timedelta(hours=7)


@pytest.mark.parametrize("expires_in", [3600, None])
async def test_one_that_the_api_refuses_is_renewed_and_the_request_sent_once_more(
    run: Opened, model: ModelServer, accounts: ClaudeAccounts, expires_in: float | None
) -> None:
    run.account.held = license_of(expires_in)
    model.play(only(accounts))
    assert (await run.ask(stream=True)).is_success
    assert [request.credential for request in model.requests] == [f"Bearer {ACCESS}", f"Bearer {accounts.issued[0][0]}"]
    assert model.requests[0].body == model.requests[1].body
    await run.account.until_charged(1)
    assert [answer.status for answer in run.account.charged] == [200]


@pytest.mark.parametrize("expires_in", [-60, 3600])
async def test_many_at_once_renew_it_once(
    run: Opened, model: ModelServer, accounts: ClaudeAccounts, expires_in: float
) -> None:
    run.account.held = license_of(expires_in)
    accounts.delay_seconds = 0.1
    model.play(only(accounts))
    answers = await asyncio.gather(*(run.ask(stream=bool(number % 2)) for number in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert accounts.refreshes == [REFRESH]
    assert len(run.account.renewals) == 1
    await run.account.until_charged(20)


async def test_runs_with_one_license_renew_it_once(model: ModelServer, accounts: ClaudeAccounts) -> None:
    """A token that is used up, shown again, may end the license for good; so whoever comes later takes what follows,
    and keeps it too."""
    accounts.delay_seconds = 0.1
    model.play(only(accounts))
    held = [license_of(-60), license_of(3600), license_of(3600)]
    async with open_gateway(claude_base_url=model.url, claude_token_url=accounts.url) as gateway:
        async with opened(gateway, Ledger(held[0])) as one, opened(gateway, Ledger(held[1])) as other:
            answers = await asyncio.gather(*(run.ask() for run in (one, other) for _ in range(5)))
            assert {answer.status_code for answer in answers} == {200}
            async with opened(gateway, Ledger(held[2])) as later:
                assert (await later.ask()).is_success
            assert accounts.refreshes == [REFRESH]
            for run, before in zip((one, other, later), held, strict=True):
                ((used, new),) = run.account.renewals
                assert used == before
                assert new.license is not None
                assert (new.license.access_token, new.license.refresh_token) == accounts.issued[0]
        del run, one, other, later
        # Of ended runs nothing is kept. What closes their connections may hold them for a turn of the loop.
        async with asyncio.timeout(60):
            while gateway._lineages:
                gc.collect()
                await asyncio.sleep(0)


async def test_a_refused_renewal_leaves_the_apis_own_answer(
    run: Opened, model: ModelServer, accounts: ClaudeAccounts
) -> None:
    run.account.held = license_of(-60)
    accounts.refusing = True
    model.play(lambda _: Fail(401, "OAuth token has expired"))
    for _ in range(3):
        answer = await run.ask()
        assert (answer.status_code, answer.json()["error"]["message"]) == (401, "OAuth token has expired")
    assert accounts.refreshes == [REFRESH]  # asking again cannot help
    assert [answer.status for answer in run.account.charged] == [401] * 3
    assert run.account.spent_usd == 0


async def test_one_that_cannot_be_renewed_is_sent_as_it_is(
    run: Opened, model: ModelServer, accounts: ClaudeAccounts
) -> None:
    run.account.held = license_of(-60, refresh_token=None)
    assert (await run.ask()).is_success
    assert model.requests[0].credential == f"Bearer {ACCESS}"
    assert not accounts.refreshes


async def test_a_renewed_one_that_cannot_be_kept_still_counts_here(
    run: Opened, accounts: ClaudeAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(_used: EngineCredential, _new: EngineCredential) -> None:
        raise LeaseLost("another worker has it")

    run.account.held = license_of(-60)
    monkeypatch.setattr(run.account, "renewed", lost)
    assert (await run.ask()).is_success
    assert (await run.ask()).is_success
    assert accounts.refreshes == [REFRESH]


async def test_who_hangs_up_during_a_renewal_loses_no_token(
    run: Opened, model: ModelServer, accounts: ClaudeAccounts
) -> None:
    run.account.held = license_of(-60)
    accounts.may_answer.clear()
    asked = asyncio.create_task(run.ask())
    await asyncio.to_thread(_until, lambda: bool(accounts.asked))
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert (await run.http.get("/nothing")).status_code == 404, "by now the gateway has seen it leave"
    accounts.may_answer.set()
    assert (await run.ask()).is_success
    assert accounts.refreshes == [REFRESH]
    assert len(run.account.renewals) == 1
    assert len(model.requests) == 1


async def test_closing_waits_for_a_renewal(
    model: ModelServer, accounts: ClaudeAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(licenses, "RENEWAL_SECONDS", 120.0)  # as long as a slow machine takes to answer
    accounts.delay_seconds = 0.2
    async with open_gateway(claude_base_url=model.url, claude_token_url=accounts.url) as gateway:
        async with opened(gateway, Ledger(license_of(-60))) as run:
            asked = asyncio.create_task(run.ask())
            await asyncio.to_thread(_until, lambda: bool(accounts.asked))
        assert len(run.account.renewals) == 1
        await asyncio.gather(asked, return_exceptions=True)


async def test_a_slow_one_holds_up_no_runs_end_and_is_kept(
    model: ModelServer, accounts: ClaudeAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(licenses, "RENEWAL_SECONDS", 0.0)
    accounts.may_answer.clear()
    async with open_gateway(claude_base_url=model.url, claude_token_url=accounts.url) as gateway:
        async with opened(gateway, Ledger(license_of(-60))) as run:
            asked = asyncio.create_task(run.ask())
            await asyncio.to_thread(_until, lambda: bool(accounts.asked))
        assert not run.account.renewals
        accounts.may_answer.set()
        await asyncio.gather(asked, return_exceptions=True)
    assert len(run.account.renewals) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(EngineAuthenticationFailed("x"), 401), (SealBroken("x"), 503), (LeaseLost("x"), 503)]
)
async def test_a_credential_that_cannot_be_had(
    run: Opened, model: ModelServer, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fail() -> EngineCredential:
        raise error

    monkeypatch.setattr(run.account, "credential", fail)
    assert (await run.ask()).status_code == status
    assert not model.requests


@pytest.mark.parametrize("key", [None, "", "two words", "line\nbreak", "ü", "tab\t"])
async def test_what_cannot_be_a_key(run: Opened, model: ModelServer, key: str | None) -> None:
    run.account.held = EngineCredential(api_key=key)
    with capture_logs() as logs:
        answer = await run.ask()
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert not model.requests
    assert not key or key not in str(logs) + answer.text


async def test_no_log_line_holds_a_token(run: Opened, model: ModelServer, accounts: ClaudeAccounts) -> None:
    with capture_logs() as logs:
        run.account.held = license_of(-60)
        await run.ask()
        accounts.refusing = True
        model.play(lambda _: Fail(401, "no"))
        await run.ask()
        await run.http.get("/nothing")
        await run.http.get("/v1/models", headers={"x-api-key": "sk-wrong"})
    said = str(logs)
    assert "refused" in said
    tokens = [ACCESS, REFRESH, run.door.token, "sk-wrong", *(token for pair in accounts.issued for token in pair)]
    assert not [token for token in tokens if token in said]


def _until(is_so: Callable[[], bool]) -> None:
    import time

    ends = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.005)
