"""A renewed license takes the place of the one that was used up, and of no other."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path

import pytest
from tests.support.deployment import Deployment, deployed

from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.errors import Conflict
from treadle.domain.events import Draft, EventType
from treadle.domain.run import EngineName, Run
from treadle.ports.trust import SealedKind
from treadle.services.credentials import CLAUDE, SECRETS_TABLE, encode, row
from treadle.services.sealing import place_of
from treadle.services.secrets import MAX_TRIES, EngineDefaults, RunRedactor, RunSecrets

pytestmark = pytest.mark.anyio


def license_of(name: str) -> EngineCredential:
    return EngineCredential(ClaudeSource.CLIENT_LICENSE, license=OAuthLicense(f"access-{name}", f"refresh-{name}"))


OLD, RENEWED, SENT = (license_of(name) for name in ("old", "renewed", "sent"))


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found


@pytest.fixture
async def run(here: Deployment) -> Run:
    await here.start(engine=EngineName.DUMMY)
    found, _ = await here.claim()
    await put(here, found, OLD)
    return found


async def put(here: Deployment, run: Run, credential: EngineCredential) -> None:
    """As a client sends it."""
    organization, place = run.organization_uuid, row(run.uuid, CLAUDE)
    sealed = here.vault.seal(encode(credential), organization=organization, table=SECRETS_TABLE, row=place)
    await here.store.put_run_secrets(run.id, {CLAUDE: sealed}, None, here.clock.now())


class Meanwhile:
    """A store in which something happens before each of the first `times` changes."""

    def __init__(self, here: Deployment, happens: Callable[[], Awaitable[None]], times: int = 1) -> None:
        self._store = here.store
        self._happens = happens
        self.times = times
        self.run_secrets = here.store.run_secrets
        self.repository = here.store.repository
        self.repository_environment = here.store.repository_environment

    async def put_run_secrets(
        self,
        run_id: int,
        secrets: Mapping[str, str | None],
        event: Draft | None,
        now: datetime,
        *,
        instead_of: Mapping[str, str] | None = None,
    ) -> None:
        if self.times:
            self.times -= 1
            await self._happens()
        await self._store.put_run_secrets(run_id, secrets, event, now, instead_of=instead_of)


def secrets_of(here: Deployment, run: Run, store: Meanwhile | None = None) -> RunSecrets:
    defaults = EngineDefaults(api_keys={}, endpoints={}, models={})
    return RunSecrets(run, store or here.store, here.vault, here.clock, {}, defaults, RunRedactor())


async def updates(here: Deployment, run: Run) -> int:
    return [event.type for event in await here.store.events(run.id)].count(EventType.RUN_CREDENTIALS_UPDATED)


async def test_it_is_kept_once(here: Deployment, run: Run) -> None:
    secrets = secrets_of(here, run)
    for _ in range(2):  # by two workers
        await secrets.renewed(OLD, RENEWED)
    assert await secrets.credential() == RENEWED
    assert await updates(here, run) == 1


@pytest.mark.parametrize("is_during", [True, False])
async def test_one_that_somebody_sends_meanwhile_stays(here: Deployment, run: Run, *, is_during: bool) -> None:
    async def send() -> None:
        await put(here, run, SENT)

    store = Meanwhile(here, send, times=int(is_during))
    if not is_during:
        await send()
    await secrets_of(here, run, store).renewed(OLD, RENEWED)
    assert not store.times
    assert await secrets_of(here, run).credential() == SENT
    assert await updates(here, run) == 0


async def test_the_same_one_under_another_key_is_replaced(here: Deployment, run: Run) -> None:
    """The sealing key is changed at the same moment."""

    async def seal_anew() -> None:
        [found] = await here.store.sealed_rows(SealedKind.RUN, not_key="", after=None, limit=9)
        organization, table, place = place_of(found)
        clear = here.vault.open(found.sealed, organization=organization, table=table, row=place)
        assert await here.store.reseal(found, here.vault.seal(clear, organization=organization, table=table, row=place))

    store = Meanwhile(here, seal_anew)
    await secrets_of(here, run, store).renewed(OLD, RENEWED)
    assert not store.times
    assert await secrets_of(here, run).credential() == RENEWED
    store = Meanwhile(here, seal_anew, times=MAX_TRIES)
    with pytest.raises(Conflict):
        await secrets_of(here, run, store).renewed(RENEWED, OLD)
