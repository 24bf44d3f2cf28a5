"""Runs that find setup commands out, and runs that look into their log."""

from dataclasses import replace
from uuid import uuid4

import pytest
from tests.support.deployment import Deployment, Member

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import AllowanceUsedUp, Conflict, Forbidden, NotFound
from treadle.domain.identity import Principal, Role
from treadle.domain.repository import Repository, SandboxStatus, SetupSandbox, SetupStatus
from treadle.domain.run import EngineName, RunPurpose, RunSource
from treadle.services.setup import MAX_ANALYSED_BYTES, SetupCommands

pytestmark = pytest.mark.anyio

URL = "https://git.example/acme/shop.git"


def commands(here: Deployment) -> SetupCommands:
    services = here.services
    return SetupCommands(here.store, services.runs, services.organizations, services.repositories, here.blobs)


async def registered(here: Deployment) -> Repository:
    return await here.services.repositories.add(
        here.admin.organization,
        name="acme/shop",
        url=URL,
        default_branch="trunk",
        git=GitCredentials(http="token-word"),
    )


async def status(here: Deployment, repository: Repository) -> SetupStatus:
    return (await here.store.repository(repository.organization_id, repository.id)).setup_status


async def principal(here: Deployment, who: Member) -> Principal:
    found = await here.store.principal_in(who.organization.id, who.user.id)
    assert found is not None
    return found


async def other(here: Deployment, role: Role) -> Principal:
    user = await here.store.add_user(f"{role}@example.org", role, uuid4(), here.clock.now())
    await here.store.set_role(here.admin.organization.id, user.id, role)
    found = await here.store.principal_in(here.admin.organization.id, user.id)
    assert found is not None
    return found


async def ran(here: Deployment, repository: Repository, log: bytes | None) -> SetupSandbox:
    """An execution of its commands in a run of the admin's."""
    await commands(here).generate(await principal(here, here.admin), repository.id)
    run, fence = await here.claim()
    sandbox = await here.store.add_sandbox(fence, repository.id, "0" * 64, here.clock.now())
    blob = None
    if log is not None:
        blob = f"runs/{run.uuid}/artifacts/1-setup.log"
        await here.blobs.put(blob, log)
    now = here.clock.now()
    await here.store.finish_sandbox(fence, sandbox.id, SandboxStatus.FAILED, now, exit_code=1, log_blob=blob)
    return await here.store.sandbox(run.organization_id, sandbox.id)


async def test_a_run_reads_the_repository_for_its_commands(here: Deployment) -> None:
    repository, admin = await registered(here), await principal(here, here.admin)
    run = await commands(here).generate(admin, repository.id, " Use pnpm. ")
    assert (run.purpose, run.source, run.repository_id) == (
        *(RunPurpose.SETUP_COMMANDS, RunSource.SETUP_COMMANDS, repository.id),
    )
    assert (run.git_url, run.branch_source, run.branch_work) == (URL, "trunk", f"treadle/{run.id}-setup-commands")
    assert run.engine is EngineName.CLAUDE
    (step,) = run.steps
    assert not step.is_commitable
    assert "fenced code block" in step.text
    assert step.text.endswith("adds:\n\nUse pnpm.")
    assert set(await here.store.run_secrets(run.id)) == {"git_http"}
    assert await status(here, repository) is SetupStatus.GENERATING
    again = await commands(here).generate(admin, repository.id, "  ")
    assert "adds:" not in again.steps[0].text


async def test_a_script_for_the_dummy_engine_is_the_whole_step(here: Deployment) -> None:
    repository = await registered(here)
    script = 'dummy: [{"say": "```sh\\nmake\\n```", "phase": "analysis"}]'
    run = await commands(here).generate(await principal(here, here.admin), repository.id, script)
    assert run.steps[0].text == script


async def test_one_that_cannot_be_made_leaves_no_mark(here: Deployment) -> None:
    repository, admin = await registered(here), await principal(here, here.admin)
    organization = here.admin.organization
    await here.services.repositories.set_setup(organization.id, repository.name, "make")
    found = await here.services.organizations.get(organization.id)
    await here.services.organizations.save(replace(found, monthly_runs=0))
    with pytest.raises(AllowanceUsedUp):
        await commands(here).generate(admin, repository.id)
    assert await status(here, repository) is SetupStatus.READY


async def test_members_may_not_and_others_learn_nothing(here: Deployment) -> None:
    repository = await registered(here)
    with pytest.raises(Forbidden):
        await commands(here).generate(await other(here, Role.MEMBER), repository.id)
    manager = await other(here, Role.MANAGER)
    await commands(here).generate(manager, repository.id)
    with pytest.raises(NotFound):
        await commands(here).generate(manager, repository.id + 1)
    assert await status(here, repository) is SetupStatus.GENERATING


async def test_a_run_looks_into_a_log(here: Deployment) -> None:
    repository, admin = await registered(here), await principal(here, here.admin)
    sandbox = await ran(here, repository, b"+ make\n```\nno rule\n")
    await here.services.repositories.set_setup(admin.organization_id, repository.name, "make")
    run = await commands(here).analyze(admin, sandbox.id)
    assert (run.purpose, run.repository_id) == (RunPurpose.LOG_ANALYSIS, repository.id)
    assert run.branch_work == f"treadle/{run.id}-log-analysis"
    (step,) = run.steps
    assert not step.is_commitable
    assert "ended with exit code 1" in step.text
    assert "The commands:\n\n```\nmake\n```\n" in step.text
    assert step.text.endswith("The whole of the log:\n\n````\n+ make\n```\nno rule\n````")


async def test_of_a_long_log_the_end_counts(here: Deployment) -> None:
    repository, admin = await registered(here), await principal(here, here.admin)
    sandbox = await ran(here, repository, b"first\n" + b"x\n" * MAX_ANALYSED_BYTES + b"last\n")
    text = (await commands(here).analyze(admin, sandbox.id)).steps[0].text
    assert "first" not in text
    assert text.endswith("x\nlast\n```")
    assert "The end of the log" in text


async def test_without_a_log_there_is_a_conflict(here: Deployment) -> None:
    repository, admin = await registered(here), await principal(here, here.admin)
    none, gone = await ran(here, repository, None), await ran(here, repository, b"x")
    assert gone.log_blob is not None
    await here.blobs.delete(gone.log_blob)
    for sandbox in (none, gone):
        with pytest.raises(Conflict, match="No logs"):
            await commands(here).analyze(admin, sandbox.id)


async def test_a_sandbox_is_seen_by_those_who_see_its_run(here: Deployment) -> None:
    repository, admin = await registered(here), await principal(here, here.admin)
    sandbox = await ran(here, repository, b"x")
    for who, id_ in ((await other(here, Role.MEMBER), sandbox.id), (admin, sandbox.id + 1)):
        with pytest.raises(NotFound, match=r"^Sandbox not found\.$"):
            await commands(here).analyze(who, id_)
    await commands(here).analyze(await other(here, Role.MANAGER), sandbox.id)
    elsewhere = await here.store.add_organization("Elsewhere", uuid4(), here.clock.now())
    await here.store.set_role(elsewhere.id, admin.user_id, Role.ADMIN)
    stranger = await here.store.principal_in(elsewhere.id, admin.user_id)
    assert stranger is not None
    with pytest.raises(NotFound, match=r"^Sandbox not found\.$"):
        await commands(here).analyze(stranger, sandbox.id)
