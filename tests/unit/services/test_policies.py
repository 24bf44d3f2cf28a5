"""Network policies: which one counts, and who may ask for what."""

from dataclasses import replace

import pytest
from tests.support.deployment import Deployment, Member
from tests.support.stores import a_draft

from treadle.domain.credentials import ClaudeSource, EngineCredential
from treadle.domain.errors import Forbidden, InvalidInput
from treadle.domain.identity import Role
from treadle.domain.network import NetworkPolicy
from treadle.domain.run import DUMMY_API_KEY, EngineName, Run
from treadle.domain.validation import ValidationRules
from treadle.services.policies import effective
from treadle.services.repository_change import RepositoryChange
from treadle.services.runs import RunRequest

pytestmark = pytest.mark.anyio

URL = "https://git.example.org/group/project.git"


def policy(text: str | None) -> NetworkPolicy | None:
    return None if text is None else NetworkPolicy.parse(text)


async def register(here: Deployment, network: str | None) -> None:
    repositories = here.services.repositories
    await repositories.add(here.admin.organization, name="group/project", url=URL)
    if network is not None:
        change = RepositoryChange(network=policy(network))
        await repositories.update(here.admin.organization, "group/project", change)


async def create(
    here: Deployment, member: Member, network: str | None, engine: EngineName = EngineName.DUMMY, key: str | None = None
) -> Run:
    claude = EngineCredential(ClaudeSource.CLIENT_API_KEY, api_key=key) if key is not None else None
    draft = replace(a_draft("x"), network=policy(network), engine=engine)
    me = await here.services.identity.authenticate(member.key)
    return await here.services.runs.create(me, RunRequest(draft, claude=claude))


@pytest.mark.parametrize(
    ("of_run", "of_repository", "counts"),
    [
        (None, None, "model"),
        (None, "full", "full"),
        ("none", "full", "none"),
        ("allow:x.a.example", "allow:*.a.example", "allow:x.a.example"),
    ],
)
async def test_which_one_counts(here: Deployment, of_run: str | None, of_repository: str | None, counts: str) -> None:
    await register(here, of_repository)
    run = await create(here, here.admin, of_run)
    repository = await here.services.repositories.of_run(1, run.repository_id, run.git_url)
    assert repository is not None
    assert repository.network == policy(of_repository)
    kept = await here.store.get_run_by_id(run.id)
    assert kept.network == policy(of_run)
    assert str(effective(kept, repository, NetworkPolicy())) == counts
    if of_run is None and of_repository is None:
        assert str(effective(kept, None, NetworkPolicy.parse("full"))) == "full"


@pytest.mark.parametrize(
    ("asked", "of_repository", "is_wider"),
    [
        ("full", None, True),
        ("allow:a.example", None, True),
        ("model", None, False),
        ("none", None, False),
        ("allow:a.example", "full", False),
        ("allow:x.a.example", "allow:*.a.example", False),
        ("allow:b.example", "allow:*.a.example", True),
        ("model", "none", True),
    ],
)
async def test_a_member_may_only_narrow(
    here: Deployment, asked: str, of_repository: str | None, is_wider: bool
) -> None:
    await register(here, of_repository)
    member, manager = await here.member("ada@example.com"), await here.member("bob@example.com", Role.MANAGER)
    if is_wider:
        with pytest.raises(Forbidden, match="may only narrow"):
            await create(here, member, asked)
    else:
        assert (await create(here, member, asked)).network == policy(asked)
    assert (await create(here, manager, asked)).network == policy(asked)


@pytest.mark.parametrize("engine", [EngineName.CLAUDE, EngineName.KIMI])
async def test_an_engine_that_asks_a_model_needs_it(here: Deployment, engine: EngineName) -> None:
    with pytest.raises(InvalidInput) as caught:
        await create(here, here.admin, "none", engine)
    assert caught.value.faults == {"network": (f"{engine} needs its model: `model` is the least.",)}
    await register(here, "none")
    with pytest.raises(InvalidInput) as caught:
        await create(here, here.admin, None, engine)
    assert "Is `none` where a run says nothing." in caught.value.faults["network"][0]
    await create(here, here.admin, "model", engine)
    await create(here, here.admin, None, EngineName.DUMMY)
    await create(here, here.admin, None, engine, key=DUMMY_API_KEY)


@pytest.mark.parametrize(
    ("asked", "is_allowed"),
    [(None, True), (("make test",), True), (("lint", "make test"), True), (("lint",), False), ((), False)],
)
async def test_a_member_may_only_add_to_a_repositorys_commands(
    here: Deployment, asked: tuple[str, ...] | None, is_allowed: bool
) -> None:
    await register(here, None)
    change = RepositoryChange(validation=ValidationRules(("make test",)))
    await here.services.repositories.update(here.admin.organization, "group/project", change)
    request = RunRequest(replace(a_draft("x"), validation=None if asked is None else ValidationRules(asked)))
    manager, member = await here.member("bob@example.com", Role.MANAGER), await here.member("ada@example.com")
    await here.services.runs.create(await here.services.identity.authenticate(manager.key), request)
    me = await here.services.identity.authenticate(member.key)
    if is_allowed:
        assert (await here.services.runs.create(me, request)).validation == request.draft.validation
        return
    with pytest.raises(Forbidden, match="`make test` is missing"):
        await here.services.runs.create(me, request)
