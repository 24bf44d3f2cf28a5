"""What a run gets of its repository's secrets, and what becomes of them in what it says."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import LEAST, Deployment, deployed

from treadle.domain.identity import Principal
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run
from treadle.services.secrets import EngineDefaults, RunRedactor, RunSecrets

pytestmark = pytest.mark.anyio

VALUE = "hunter2-very-secret"
NOTHING = EngineDefaults(api_keys={}, endpoints={}, models={})


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found


@pytest.fixture
async def shop(here: Deployment) -> Repository:
    return await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url=str(LEAST["gitUrl"]), default_branch="main"
    )


@pytest.fixture
async def admin(here: Deployment) -> Principal:
    return await here.services.identity.authenticate(here.admin.key)


async def a_run(here: Deployment, **fields: object) -> Run:
    await here.start(engine=EngineName.DUMMY, **fields)
    run, _ = await here.claim()
    return run


def secrets_of(here: Deployment, run: Run, redactor: RunRedactor | None = None) -> RunSecrets:
    return RunSecrets(
        run, here.store, here.vault, here.clock, {}, NOTHING, RunRedactor() if redactor is None else redactor
    )


async def test_a_run_has_its_repositorys_variables_as_they_are_now(
    here: Deployment, shop: Repository, admin: Principal
) -> None:
    await here.services.environment.set(admin, shop.id, {"TOKEN": VALUE, "LINES": "first line\nsecond line\n"})
    run, redactor = await a_run(here), RunRedactor()
    secrets = secrets_of(here, run, redactor)
    assert redactor.text(VALUE) == VALUE
    assert await secrets.environment() == {"TOKEN": VALUE, "LINES": "first line\nsecond line\n"}
    assert redactor.text(f"TOKEN={VALUE} second line") == "TOKEN=*** ***"
    await here.services.environment.set(admin, shop.id, {"TOKEN": "another-secret"})
    await here.services.environment.remove(admin, shop.id, "LINES")
    assert await secrets.environment() == {"TOKEN": "another-secret"}
    assert redactor.text(f"{VALUE} another-secret") == "*** ***"


async def test_what_was_set_up_with_other_values_is_of_another_version(
    here: Deployment, shop: Repository, admin: Principal
) -> None:
    secrets = secrets_of(here, await a_run(here))
    versions = [await secrets.environment_version()]
    await here.services.environment.set(admin, shop.id, {"A": VALUE})
    versions.append(await secrets.environment_version())
    assert await secrets.environment_version() == versions[-1]
    here.clock.advance(1)
    await here.services.environment.set(admin, shop.id, {"A": VALUE})
    versions.append(await secrets.environment_version())
    await here.services.environment.set(admin, shop.id, {"B": VALUE})
    versions.append(await secrets.environment_version())
    await here.services.environment.remove(admin, shop.id, "A")
    versions.append(await secrets.environment_version())
    assert versions[0] is None
    assert len(set(versions)) == len(versions)
    await here.services.environment.remove(admin, shop.id, "B")
    assert await secrets.environment_version() is None


async def test_a_run_of_no_registered_repository_has_none(here: Deployment, shop: Repository, admin: Principal) -> None:
    await here.services.environment.set(admin, shop.id, {"TOKEN": VALUE})
    secrets = secrets_of(here, await a_run(here, gitUrl="https://git.example/acme/other.git"))
    assert await secrets.environment() == {}
    assert await secrets.environment_version() is None


async def test_a_removed_repository_gives_nothing_any_more(
    here: Deployment, shop: Repository, admin: Principal
) -> None:
    await here.services.environment.set(admin, shop.id, {"TOKEN": VALUE})
    secrets = secrets_of(here, await a_run(here))
    await here.services.repositories.remove(shop.organization_id, shop.name)
    assert await secrets.environment() == {}
    assert await secrets.environment_version() is None


async def test_they_are_no_credentials_of_git(here: Deployment, shop: Repository, admin: Principal) -> None:
    await here.services.environment.set(admin, shop.id, {"forge_token": VALUE})
    assert await here.services.repositories.forge_token(shop, admin.organization_uuid) is None
    assert await here.services.repositories.secret_names(shop) == frozenset()
