"""A process that stood still tells what follows a license when another has been refused with it, on each database."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from tests.support.claude_accounts import ClaudeAccounts
from tests.support.directory import another_process
from tests.support.gateway_runs import Ledger, open_gateway, opened
from tests.support.model_script import Fail, ModelRequest, Turn, say
from tests.support.model_server import ModelServer
from tests.support.stores import World

from treadle.clock import SystemClock
from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.errors import ConfigurationError
from treadle.services import renewals
from treadle.services.renewals import Renewals

pytestmark = pytest.mark.anyio

OLD, NEW = OAuthLicense("access-old", "refresh-old"), OAuthLicense("access-new", "refresh-new")
#: The server's clock counts where there is one, so that these tests take place now.
NOW = datetime.now(UTC)


async def test_what_follows_is_kept_for_whoever_has_given_its_claim_up(world: World) -> None:
    async with another_process(world) as other:
        for holder, store in (("late", world.store), ("refused", other)):
            assert (await store.claim_renewal("t", holder, NOW, seconds=-1.0)).is_mine
        await other.drop_renewal("t", "refused")
        await world.store.finish_renewal("t", "late", "sealed", NOW)
        assert await other.renewal("t") == "sealed"
        found = await other.claim_renewal("t", "next", NOW, seconds=60.0)
        assert (found.is_mine, found.follows) == (False, "sealed")


@pytest.fixture
def accounts() -> Iterator[ClaudeAccounts]:
    with ClaudeAccounts() as found:
        yield found


async def test_whoever_was_refused_meanwhile_goes_on_with_it(
    world: World, accounts: ClaudeAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor has said it to a process that stood still for longer than its claim."""
    monkeypatch.setattr(renewals, "CLAIM_SECONDS", -1.0)
    accounts.refusing = True
    has_answered, may_tell = asyncio.Event(), asyncio.Event()

    async def stands_still() -> OAuthLicense | None:
        has_answered.set()
        await may_tell.wait()
        return NEW

    def script(request: ModelRequest) -> Turn:
        return say("ok") if request.credential == "Bearer access-new" else Fail(401, "OAuth token has expired")

    async with another_process(world) as other:
        here, there = (Renewals(store, SystemClock(), new_uuid=uuid4) for store in (world.store, other))
        late = asyncio.create_task(here.once(OLD, stands_still))
        await has_answered.wait()
        with ModelServer(script) as model:
            async with open_gateway(there, claude_base_url=model.url, claude_token_url=accounts.url) as gateway:
                account = Ledger(EngineCredential(ClaudeSource.CLIENT_LICENSE, license=OLD))
                async with opened(gateway, account) as run:
                    assert [(await run.ask()).status_code for _ in range(2)] == [401, 401]
                    may_tell.set()
                    assert await late == NEW
                    assert (await run.ask()).is_success
    assert accounts.refreshes == [OLD.refresh_token]  # a token that was refused is not shown again


async def test_whoever_has_renewed_it_has_it_where_nothing_can_be_written_for_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_given: object) -> None:
        raise ConfigurationError("The database may only be read.")

    async def renew() -> OAuthLicense:
        return NEW

    monkeypatch.setattr(world.store, "finish_renewal", refuse)
    assert await Renewals(world.store, SystemClock(), new_uuid=uuid4).once(OLD, renew) == NEW
