"""Two gateways of one installation renew a license once, on each database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.support.claude_accounts import ClaudeAccounts
from tests.support.directory import another_process
from tests.support.gateway_runs import PATIENCE_SECONDS, Ledger, Opened, open_gateway, opened
from tests.support.model_script import Fail, ModelRequest, Turn, say
from tests.support.model_server import ModelServer
from tests.support.stores import World

from treadle.clock import SystemClock
from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.errors import SealBroken, Unavailable
from treadle.ports.renewals import Renewal
from treadle.services import renewals
from treadle.services.renewals import Renewals
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio

REFRESH = "refresh-of-the-first"
FIRST, SECOND, THIRD = (
    OAuthLicense(f"access-{name}", f"refresh-of-the-{name}", scopes=("a", "b"), subscription_type="max")
    for name in ("first", "second", "third")
)


class Waiting(SystemClock):
    """Says when somebody waits for another process."""

    def __init__(self) -> None:
        self.waits = asyncio.Event()

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - tests wait no longer than they must
        self.waits.set()
        await super().sleep(0.01)


@dataclass
class Vendor:
    """Answers when it may, and counts."""

    answers: list[OAuthLicense | None]
    shown: int = 0
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> OAuthLicense | None:
        self.shown += 1
        self.is_asked.set()
        await self.may_answer.wait()
        return self.answers.pop(0)


def answering(*answers: OAuthLicense | None) -> Vendor:
    vendor = Vendor(list(answers))
    vendor.may_answer.set()
    return vendor


async def never() -> OAuthLicense | None:
    pytest.fail("the token was shown once too often")


async def soon(awaited: Awaitable[bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await awaited


@pytest.fixture
async def stores(world: World) -> AsyncIterator[Sequence[SqlStore]]:
    async with another_process(world) as other:
        yield world.store, other


@pytest.fixture
def clocks() -> Sequence[Waiting]:
    return Waiting(), Waiting()


@pytest.fixture
def both(stores: Sequence[SqlStore], clocks: Sequence[Waiting]) -> Sequence[Renewals]:
    return [Renewals(store, clock, new_uuid=uuid4) for store, clock in zip(stores, clocks, strict=True)]


async def test_who_comes_second_waits_and_gets_what_the_first_was_given(
    both: Sequence[Renewals], clocks: Sequence[Waiting]
) -> None:
    vendor = Vendor([SECOND])
    first = asyncio.create_task(both[0].once(FIRST, vendor))
    await soon(vendor.is_asked.wait())
    second = asyncio.create_task(both[1].once(FIRST, never))
    await soon(clocks[1].waits.wait())
    vendor.may_answer.set()
    assert {*await asyncio.gather(first, second)} == {SECOND}
    assert vendor.shown == 1


async def test_within_one_process_too(both: Sequence[Renewals], clocks: Sequence[Waiting]) -> None:
    vendor = Vendor([SECOND])
    first = asyncio.create_task(both[0].once(FIRST, vendor))
    await soon(vendor.is_asked.wait())
    second = asyncio.create_task(both[0].once(FIRST, never))
    await soon(clocks[0].waits.wait())
    vendor.may_answer.set()
    assert {*await asyncio.gather(first, second)} == {SECOND}


async def test_an_old_copy_leads_to_the_newest_license(both: Sequence[Renewals]) -> None:
    assert await both[0].once(FIRST, answering(SECOND)) == SECOND
    assert await both[1].once(SECOND, answering(THIRD)) == THIRD
    for each in both:
        assert await each.once(FIRST, never) == THIRD


async def test_a_refresh_token_that_the_vendor_leaves_is_shown_once_each_time(both: Sequence[Renewals]) -> None:
    kept = [OAuthLicense(f"access-{number}", FIRST.refresh_token) for number in range(3)]
    assert await both[0].once(FIRST, answering(kept[0])) == kept[0]
    assert await both[1].once(FIRST, never) == kept[0]
    assert await both[1].once(kept[0], answering(kept[1])) == kept[1]
    assert await both[0].once(kept[0], never) == kept[1]
    assert await both[0].once(FIRST, never) == kept[1]
    assert await both[0].once(kept[1], answering(kept[2])) == kept[2]


async def test_after_a_failure_the_next_one_tries_at_once(both: Sequence[Renewals], clocks: Sequence[Waiting]) -> None:
    assert await both[0].once(FIRST, answering(None)) is None
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await both[1].once(FIRST, answering(SECOND)) == SECOND
    assert not clocks[1].waits.is_set()


async def test_one_that_dies_is_waited_for_until_its_claim_ends(
    both: Sequence[Renewals], clocks: Sequence[Waiting], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Vendor([])
    dying = asyncio.create_task(both[0].once(FIRST, vendor))
    await soon(vendor.is_asked.wait())
    dying.cancel()
    with suppress(asyncio.CancelledError):
        await dying
    next_one = asyncio.create_task(both[1].once(FIRST, never))
    await soon(clocks[1].waits.wait())
    next_one.cancel()
    await asyncio.gather(next_one, return_exceptions=True)
    await world.store.prune_renewals(datetime.now(UTC) + timedelta(days=1))
    monkeypatch.setattr(renewals, "CLAIM_SECONDS", -1.0)
    vendor.is_asked.clear()
    dying = asyncio.create_task(both[0].once(FIRST, vendor))
    await soon(vendor.is_asked.wait())
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert await both[1].once(FIRST, answering(SECOND)) == SECOND


async def test_nobody_waits_for_ever(both: Sequence[Renewals], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "WAIT_SECONDS", 0.0)
    vendor = Vendor([SECOND])
    first = asyncio.create_task(both[0].once(FIRST, vendor))
    await soon(vendor.is_asked.wait())
    assert await both[1].once(FIRST, never) is None
    vendor.may_answer.set()
    assert await first == SECOND


class Away:
    """A store that does not answer for a while, just when something is to be kept."""

    def __init__(self, inner: SqlStore, failures: int) -> None:
        self._inner = inner
        self.failures = failures

    async def finish_renewal(self, token: str, holder: str, follows: str, now: datetime) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("The database does not answer.")
        await self._inner.finish_renewal(token, holder, follows, now)

    async def claim_renewal(
        self, token: str, holder: str, now: datetime, *, seconds: float, instead_of: str | None = None
    ) -> Renewal:
        return await self._inner.claim_renewal(token, holder, now, seconds=seconds, instead_of=instead_of)

    async def renewal(self, token: str) -> str | None:
        return await self._inner.renewal(token)

    async def drop_renewal(self, token: str, holder: str) -> None:
        await self._inner.drop_renewal(token, holder)

    async def prune_renewals(self, before: datetime) -> int:
        return await self._inner.prune_renewals(before)


async def test_what_follows_survives_a_store_that_is_away(stores: Sequence[SqlStore], both: Sequence[Renewals]) -> None:
    away = Away(stores[0], failures=3)
    assert await Renewals(away, Waiting(), new_uuid=uuid4).once(FIRST, answering(SECOND)) == SECOND
    assert not away.failures
    assert await both[1].once(FIRST, never) == SECOND


async def test_whoever_has_it_has_it_even_where_it_cannot_be_kept(
    stores: Sequence[SqlStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewals, "KEEP_SECONDS", 0.0)
    away = Away(stores[0], failures=1)
    assert await Renewals(away, Waiting(), new_uuid=uuid4).once(FIRST, answering(SECOND)) == SECOND
    assert not away.failures


async def test_what_is_kept_opens_with_the_used_up_token_alone(both: Sequence[Renewals], world: World) -> None:
    await both[0].once(FIRST, answering(SECOND))
    mine, other = (renewals._Place.of(token) for token in ("refresh-of-the-first", "refresh-of-nobody"))
    sealed = await world.store.renewal(mine.name)
    assert sealed is not None
    assert mine.open(sealed) == SECOND
    with pytest.raises(SealBroken):
        other.open(sealed)
    for secret in ("access", "refresh"):
        assert secret not in sealed + mine.name + repr(mine)


# ---- with gateways, an API and a vendor on real sockets --------------------------------------------------------------


@pytest.fixture
def accounts() -> Iterator[ClaudeAccounts]:
    with ClaudeAccounts() as found:
        yield found


def newest_alone(accounts: ClaudeAccounts) -> Callable[[ModelRequest], Turn]:
    """An API that knows the newest token alone."""

    def script(request: ModelRequest) -> Turn:
        newest = accounts.issued[-1][0] if accounts.issued else None
        return say("ok") if request.credential == f"Bearer {newest}" else Fail(401, "OAuth token has expired")

    return script


def held(expires_in: float) -> EngineCredential:
    ends = datetime.now(UTC) + timedelta(seconds=expires_in)
    return EngineCredential(ClaudeSource.CLIENT_LICENSE, license=OAuthLicense("access-old", REFRESH, ends))


@asynccontextmanager
async def workers(
    both: Sequence[Renewals], model: ModelServer, accounts: ClaudeAccounts, expires_in: float
) -> AsyncIterator[Sequence[Opened]]:
    """A run in each of two gateways."""
    async with AsyncExitStack() as stack:
        found = []
        for each in both:
            gateway = await stack.enter_async_context(
                open_gateway(each, claude_base_url=model.url, claude_token_url=accounts.url)
            )
            found.append(await stack.enter_async_context(opened(gateway, Ledger(held(expires_in)))))
        yield found


@pytest.mark.parametrize("expires_in", [-60.0, 3600.0])
async def test_two_workers_with_one_license_show_its_refresh_token_once(
    both: Sequence[Renewals], clocks: Sequence[Waiting], accounts: ClaudeAccounts, expires_in: float
) -> None:
    """Before it ends, and when the API refuses it."""
    accounts.may_answer.clear()
    with ModelServer(newest_alone(accounts)) as model:
        async with workers(both, model, accounts, expires_in) as runs:
            asked = [asyncio.create_task(run.ask()) for run in runs for _ in range(5)]
            waiting = [asyncio.create_task(clock.waits.wait()) for clock in clocks]
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            accounts.may_answer.set()
            answers = await asyncio.gather(*asked)
            for each in waiting:
                each.cancel()
            assert {answer.status_code for answer in answers} == {200}
            assert accounts.refreshes == [REFRESH]
            for run in runs:
                [(_, new)] = run.account.renewals
                assert new.license is not None
                assert (new.license.access_token, new.license.refresh_token) == accounts.issued[0]


async def test_a_run_that_comes_later_with_the_used_up_copy_shows_it_to_nobody(
    both: Sequence[Renewals], accounts: ClaudeAccounts
) -> None:
    with ModelServer(newest_alone(accounts)) as model:
        async with workers(both, model, accounts, -60) as (one, _):
            assert (await one.ask()).is_success
        async with workers(both, model, accounts, 3600) as (_, other):
            assert (await other.ask()).is_success
    assert accounts.refreshes == [REFRESH]


async def test_a_license_that_somebody_sends_during_the_renewal_is_the_one_that_counts(
    both: Sequence[Renewals], accounts: ClaudeAccounts
) -> None:
    accounts.may_answer.clear()
    sent = EngineCredential(ClaudeSource.CLIENT_LICENSE, license=OAuthLicense("access-sent", "refresh-sent"))
    with ModelServer(lambda _: say("ok")) as model:
        async with workers(both, model, accounts, -60) as (run, _):

            async def renewed(used: EngineCredential, new: EngineCredential) -> None:
                run.account.renewals.append((used, new))  # and `held` stays as it was sent, as RunSecrets has it

            run.account.renewed = renewed  # type: ignore[method-assign]
            asked = asyncio.create_task(run.ask())
            await asyncio.to_thread(_until, lambda: bool(accounts.asked))
            run.account.held = sent
            accounts.may_answer.set()
            assert (await asked).is_success
            assert [request.credential for request in model.requests] == ["Bearer access-sent"]


def _until(is_so: Callable[[], bool]) -> None:
    import time

    ends = time.monotonic() + PATIENCE_SECONDS
    while not is_so() and time.monotonic() < ends:
        time.sleep(0.005)
