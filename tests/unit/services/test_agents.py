"""Agent runs as the service knows them: branches, engines, images, who sees what."""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.deployment import Deployment, Member

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import (
    AllowanceUsedUp,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
)
from treadle.domain.events import JsonObject
from treadle.domain.git_url import check_branch
from treadle.domain.identity import Organization, Principal, Role
from treadle.domain.run import EngineName, FollowUp, RunSource
from treadle.domain.states import RunStatus
from treadle.services.agents import MAX_BRANCH_WORDS, AgentRequest, Agents, AgentType, branch_words, chosen_engine
from treadle.services.organizations import Organizations
from treadle.services.repository_change import RepositoryChange
from treadle.services.runs import Repeatable

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
IMAGE = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
PNG_IMAGE_COUNT = 2


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Add tests for the UserService!", "add-tests-for-the-userservice"),
        ("  Größe ändern:  Überschrift ", "groe-andern-uberschrift"),
        ("日本語", "run"),
        ("", "run"),
        ("x" * 100, "x" * 40),
        ("Do " + "y" * 60, "do"),
        ("../../etc; rm -rf", "etc-rm-rf"),
        ("a" * 20 + " " + "b" * 19 + " c", "a" * 20 + "-" + "b" * 19),
    ],
)
def test_words_of_a_branch(prompt: str, expected: str) -> None:
    assert branch_words(prompt) == expected


def test_a_key_is_no_word_of_a_branch() -> None:
    assert branch_words("Use " + "AK" + "IA" + "QPZRYXGFTVDWSJN3 for it") == "use-for-it"


@given(st.text())
def test_any_prompt_names_a_branch(prompt: str) -> None:
    words = branch_words(prompt)
    assert 0 < len(words) <= MAX_BRANCH_WORDS
    assert check_branch(f"treadle/1-{words}") is None


CLAUDE, KIMI, DUMMY = EngineName.CLAUDE, EngineName.KIMI, EngineName.DUMMY
TYPED = AgentType.CLAUDE_CODE


@pytest.mark.parametrize(
    ("default", "model", "agent_type", "expected"),
    [
        ((None, None), None, None, (CLAUDE, None)),
        ((None, None), None, AgentType.CODEGEN, (CLAUDE, None)),
        ((None, None), "kimi-k2", None, (KIMI, "kimi-k2")),
        ((None, None), "moonshot-v1", TYPED, (KIMI, "moonshot-v1")),
        ((None, None), "Dummy", TYPED, (DUMMY, None)),
        ((None, None), "  ", None, (CLAUDE, None)),
        ((KIMI, "kimi-k2"), None, None, (KIMI, "kimi-k2")),
        ((KIMI, "kimi-k2"), None, TYPED, (CLAUDE, None)),
        ((KIMI, "kimi-k2"), "claude-sonnet-4", None, (CLAUDE, "claude-sonnet-4")),
        ((KIMI, None), "some-model", None, (KIMI, "some-model")),
        ((KIMI, None), "some-model", TYPED, (CLAUDE, "some-model")),
        ((None, "kimi-k2"), None, None, (KIMI, "kimi-k2")),
        ((None, "opus"), None, TYPED, (CLAUDE, "opus")),
        ((None, "in-house"), None, TYPED, (CLAUDE, "in-house")),
        ((DUMMY, None), None, None, (DUMMY, None)),
        ((DUMMY, None), "opus", None, (CLAUDE, "opus")),
    ],
)
def test_which_engine_does_it(
    default: tuple[EngineName | None, str | None],
    model: str | None,
    agent_type: AgentType | None,
    expected: tuple[EngineName, str | None],
) -> None:
    organization = Organization(
        1, UUID(int=1), "A", datetime(2026, 1, 1, tzinfo=UTC), default_engine=default[0], default_model=default[1]
    )
    assert chosen_engine(organization, model, agent_type) == expected


# ---- on a store


def agents_of(here: Deployment) -> Agents:
    services = here.services
    return Agents(
        services.runs,
        services.files,
        services.organizations,
        services.repositories,
        here.store,
        here.clock,
        audit=services.audit,
    )


async def principal_of(here: Deployment, who: Member) -> Principal:
    return await here.services.identity.authenticate(who.key)


@pytest.fixture
async def agents(here: Deployment) -> Agents:
    organization = here.admin.organization
    await here.services.repositories.add(organization, name="acme/shop", url="https://git.example/acme/shop.git")
    return agents_of(here)


@pytest.mark.anyio
async def test_a_prompt_becomes_a_run(here: Deployment, agents: Agents) -> None:
    admin = await principal_of(here, here.admin)
    metadata: JsonObject = {"ticket": ["A-1", {"deep": None}]}
    run = await agents.create(admin, AgentRequest("Add a shop.", images=[IMAGE] * 2, metadata=metadata, model="dummy"))
    found = await here.services.runs.get(admin, run.uuid)
    assert found == run
    assert (run.branch_source, run.branch_work) == ("main", f"treadle/{run.id}-add-a-shop")
    assert (run.git_url, run.repository_id, run.source) == ("https://git.example/acme/shop.git", 1, RunSource.API)
    assert [(step.text, step.is_commitable, step.is_structured) for step in run.steps] == [("Add a shop.", True, False)]
    assert (run.engine, run.metadata, run.generate_diff, run.opens_pull_request) == (DUMMY, metadata, True, True)
    names = [(await here.services.files.get(admin, id_)).name for id_ in run.file_ids]
    assert names == ["image-1.png", "image-2.png"]
    _, content = await here.services.files.content(admin, run.file_ids[1])
    assert await content.read() == PNG


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (AgentRequest(" \n"), "prompt"),
        (AgentRequest("A", images=[IMAGE, "no"]), "images[1]"),
        (AgentRequest("A", model="--dangerous"), "model"),
        (AgentRequest("A", model="m" * 201), "model"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_kept(
    here: Deployment, agents: Agents, asked: AgentRequest, path: str
) -> None:
    admin = await principal_of(here, here.admin)
    with pytest.raises(InvalidInput) as refused:
        await agents.create(admin, asked)
    assert list(refused.value.faults) == [path]
    assert not await here.services.files.list(admin, limit=10)
    assert await agents.page(admin, limit=10) == ((), 0)


@pytest.mark.anyio
async def test_a_repeated_call_is_one_run_with_its_images_once(here: Deployment, agents: Agents) -> None:
    admin = await principal_of(here, here.admin)
    asked = AgentRequest("A", images=[IMAGE] * PNG_IMAGE_COUNT)
    runs = [await agents.create(admin, asked, Repeatable("key", "digest")) for _ in range(3)]
    assert len({run.id for run in runs}) == 1
    assert len(await here.services.files.list(admin, limit=10)) == PNG_IMAGE_COUNT
    with pytest.raises(IdempotencyMismatch):
        await agents.create(admin, asked, Repeatable("key", "another"))
    assert len(await here.services.files.list(admin, limit=10)) == PNG_IMAGE_COUNT


@pytest.mark.anyio
async def test_the_allowance_of_a_month(here: Deployment, agents: Agents) -> None:
    organizations = here.services.organizations
    await organizations.save(replace(await organizations.get(1), monthly_runs=1))
    admin = await principal_of(here, here.admin)
    await agents.create(admin, AgentRequest("A"))
    with pytest.raises(AllowanceUsedUp):
        await agents.create(admin, AgentRequest("B", images=[IMAGE]))
    assert not await here.services.files.list(admin, limit=10)


@pytest.mark.anyio
async def test_a_member_sees_its_own_and_a_manager_all(here: Deployment, agents: Agents) -> None:
    who = {
        name: await principal_of(here, await here.member(f"{name}@example.com", role))
        for name, role in (("ada", Role.MEMBER), ("bob", Role.MEMBER), ("eve", Role.MANAGER))
    }
    other = await here.services.identity.add_organization("Other")
    stranger = await principal_of(here, await here.member("mal@example.com", Role.ADMIN, organization=other))
    runs = {name: await agents.create(who[name], AgentRequest(name)) for name in who}
    for name in ("ada", "bob"):
        assert [run.id for run in (await agents.page(who[name], limit=10))[0]] == [runs[name].id]
    everything = [runs[name].id for name in ("eve", "bob", "ada")]
    assert [run.id for run in (await agents.page(who["eve"], limit=10))[0]] == everything
    assert await agents.page(stranger, limit=10) == ((), 0)
    assert (await agents.get(who["eve"], runs["ada"].id)).id == runs["ada"].id
    for principal in (who["bob"], stranger):
        for use in (agents.get, agents.stop, agents.allow):
            with pytest.raises(NotFound, match=r"^Agent run not found\.$"):
                await use(principal, runs["ada"].id)
        with pytest.raises(NotFound):
            await agents.resume(principal, runs["ada"].id, "More")
        with pytest.raises(NotFound):
            await agents.log(principal, runs["ada"].id, limit=10)
    assert await agents.page(who["bob"], user_id=who["ada"].user_id, limit=10) == ((), 0)
    assert (await agents.page(who["bob"], user_id=who["bob"].user_id, limit=10))[1] == 1
    found, total = await agents.page(who["eve"], user_id=who["ada"].user_id, limit=10)
    assert ([run.id for run in found], total) == ([runs["ada"].id], 1)
    assert await agents.page(who["eve"], source=RunSource.SETUP_COMMANDS, limit=10) == ((), 0)
    assert (await agents.page(who["eve"], source=RunSource.API, limit=1, skip=1))[1] == len(everything)


@pytest.mark.anyio
async def test_a_ban_stops_what_works_on_the_branch(here: Deployment, agents: Agents) -> None:
    admin = await principal_of(here, here.admin)
    ada = await principal_of(here, await here.member("ada@example.com"))
    run = await agents.create(ada, AgentRequest("A"))
    beside = await here.start(gitUrl=run.git_url, branchWork=run.branch_work)
    await agents.stop(ada, run.id)
    await agents.stop(ada, run.id)
    assert (await agents.get(ada, run.id)).status is RunStatus.KILLED
    assert (await here.get(beside))["status"] == "New", "somebody else's is not a member's to stop"
    assert await here.store.is_banned(1, run.git_url, run.branch_work)
    await agents.allow(ada, run.id)
    assert not await here.store.is_banned(1, run.git_url, run.branch_work)
    await agents.stop(admin, run.id)
    assert (await here.get(beside))["status"] == "Killed"


@pytest.mark.anyio
async def test_a_resume_adds_a_prompt_with_its_images(here: Deployment, agents: Agents) -> None:
    admin = await principal_of(here, here.admin)
    run = await agents.create(admin, AgentRequest("A"))
    resumed = await agents.resume(admin, run.id, "B", [IMAGE])
    assert [(step.text, step.is_follow_up, len(step.file_ids)) for step in resumed.steps] == [
        ("A", False, 0),
        ("B", True, 1),
    ]
    with pytest.raises(InvalidInput):
        await agents.resume(admin, run.id, "C", ["no"])
    with pytest.raises(InvalidInput):
        await agents.resume(admin, run.id, " ")
    assert len((await agents.get(admin, run.id)).steps) == 2


@pytest.mark.anyio
async def test_a_run_that_ends_while_it_is_resumed_gets_its_credentials_again(here: Deployment, agents: Agents) -> None:
    admin, name = await principal_of(here, here.admin), "acme/shop"
    change = RepositoryChange(git=GitCredentials(http="token-word"))
    await here.services.repositories.update(here.admin.organization, name, change)
    await agents.create(admin, AgentRequest("A"))
    seen_alive, fence = await here.claim()
    await here.store.finish(fence, RunStatus.SUCCESS, None, here.clock.now())
    resumed = await here.services.runs.resume(seen_alive, FollowUp("B"))
    assert resumed.status is RunStatus.NEW
    assert set(await here.store.run_secrets(resumed.id)) == {"git_http"}


@pytest.mark.anyio
async def test_without_a_repository_there_is_no_run(here: Deployment) -> None:
    admin = await principal_of(here, here.admin)
    assert isinstance(here.services.organizations, Organizations)
    with pytest.raises(NotFound, match="No repos found"):
        await agents_of(here).create(admin, AgentRequest("A"))
    with pytest.raises(NotFound, match="Repository not found"):
        await agents_of(here).create(admin, AgentRequest("A", repository_id=7))
