"""Agent runs through the Python SDK against the service as a user runs both."""

import threading
from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.cli import Cli
from tests.support.git_server import GitServer
from tests.support.service import Service

import treadle
from treadle import AgentLog, AgentLogType, AgentRunSource, AgentRunStatus

PATIENCE_SECONDS = 120
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16


@pytest.fixture
def admin(tmp_path: Path, service: Service) -> Cli:
    """`treadle admin` on the service's database."""
    folder = tmp_path / "admin"
    folder.mkdir()
    cli = Cli(folder, URL=service.url, API_KEY=service.key)
    cli.environment.update(service.environment())
    return cli


@pytest.fixture
def repository(admin: Cli, git: GitServer) -> None:
    """`acme/demo`, registered, the only one; the Dummy engine works on it."""
    common = ("admin", "repo", "add", "--name", "acme/demo", "--url", git.url("acme/demo"))
    admin.run(*common, "--http-credentials-env", "GIT_CREDENTIALS", extra={"GIT_CREDENTIALS": HTTP_CREDENTIALS})
    admin.run("admin", "org", "set", "1", "--engine", "Dummy")


def said(entries: list[AgentLog]) -> list[tuple[str, object]]:
    """What tells a log's entries apart."""
    return [(str(entry.type), entry.thought or entry.observation or entry.tool_name) for entry in entries]


@pytest.mark.usefixtures("repository")
def test_a_prompt_goes_in_and_an_answer_and_a_branch_come_out(service: Service, git: GitServer) -> None:
    with treadle.Client(service.url, service.key) as client:
        agents = client.agents
        [repository] = agents.repositories()
        started = agents.run(
            'dummy: Write a greeting\n[{"write": ["hello.py", "print(1)\\n"]}, {"say": "It greets."}]',
            repository=repository.id,
            images=[PNG],
            metadata={"ticket": "A-1"},
        )
        assert started.status in {AgentRunStatus.PENDING, AgentRunStatus.RUNNING}
        assert not started.is_finished
        followed = list(agents.logs(started.id, follow=True, poll=0.3))
        run = agents.wait(started.id, PATIENCE_SECONDS)
        assert run.succeeded, run.result
        assert run.result is not None
        assert run.summary == run.result.splitlines()[0]
        assert (run.source, run.metadata) == (AgentRunSource.API, {"ticket": "A-1"})
        assert run.web_url == f"{service.url}/runs/{run.id}"
        [branch] = [name for name in git.branches("acme/demo") if name.startswith(f"treadle/{run.id}-")]
        assert git.show("acme/demo", branch, "hello.py") == b"print(1)\n"

        forward, backward = list(agents.logs(run.id)), list(agents.logs(run.id, reverse=True))
        assert followed == forward == backward[::-1]
        assert agents.log_count(run.id) == len(forward)
        types = [entry.type for entry in forward]
        assert types[0] == AgentLogType.USER_MESSAGE
        assert types[-1] == AgentLogType.FINAL_ANSWER
        assert {AgentLogType.ACTION, AgentLogType.PLAN_EVALUATION} <= set(types)
        assert forward[-1].observation == run.result
        assert ("PLAN_EVALUATION", "It greets.") in said(forward)

        resumed = agents.resume(run.id, 'dummy: And part\n[{"append": ["hello.py", "print(2)\\n"]}]', images=[PNG])
        assert resumed.id == run.id
        assert not resumed.is_finished
        more = list(agents.logs(run.id, skip=len(forward), follow=True, poll=0.3))
        assert agents.wait(run.id, PATIENCE_SECONDS).succeeded
        assert list(agents.logs(run.id)) == forward + more
        assert [entry.type for entry in more].count(AgentLogType.USER_MESSAGE) == 1
        assert git.show("acme/demo", branch, "hello.py") == b"print(1)\nprint(2)\n"
        assert [one.id for one in agents.list(source=AgentRunSource.API, user=agents.me().id)] == [run.id]
        # The same run through the other API.
        [process] = client.processes.list()
        assert (process.branch_work, len(process.steps), process.succeeded) == (branch, 2, True)


@pytest.mark.usefixtures("repository")
def test_a_log_is_followed_while_it_grows_and_read_backwards_meanwhile(service: Service) -> None:
    script = ", ".join(f'{{"say": "number {number}"}}, {{"sleep": 0.02}}' for number in range(150))
    with treadle.Client(service.url, service.key) as client:
        run = client.agents.run(f"dummy: Talk\n[{script}]")
        backward = list[list[AgentLog]]()

        def read_backwards() -> None:
            with treadle.Client(service.url, service.key) as reader:
                for _ in range(3):
                    backward.append(list(reader.agents.logs(run.id, reverse=True)))

        reading = threading.Thread(target=read_backwards)
        reading.start()
        followed = list(client.agents.logs(run.id, follow=True, poll=1))
        reading.join(PATIENCE_SECONDS)
        whole = list(client.agents.logs(run.id))
        assert followed == whole
        spoken = [entry.thought for entry in whole if (entry.thought or "").startswith("number ")]
        assert spoken == [f"number {number}" for number in range(150)]
        for read in backward:
            assert read[::-1] == whole[: len(read)]
        assert len(backward) == 3


@pytest.mark.anyio
@pytest.mark.usefixtures("repository")
async def test_a_run_is_waited_for_and_banned(service: Service) -> None:
    async with treadle.AsyncClient(service.url, service.key) as client:
        run = await client.agents.run('dummy: [{"say": "here"}, {"sleep": 600}]')
        async for entry in client.agents.logs(run.id, follow=True, poll=0.3):
            if entry.thought == "here":
                break
        with pytest.raises(treadle.AgentWaitTimeoutError) as late:
            await client.agents.wait(run.id, 0.5)
        assert late.value.run.status == AgentRunStatus.RUNNING
        await client.agents.ban(run.id)
        stopped = await client.agents.wait(run.id, PATIENCE_SECONDS, poll=0.6)
        assert stopped.status is AgentRunStatus.STOPPED
        await client.agents.unban(run.id)
        await client.agents.resume(run.id, "Write it")
        assert (await client.agents.wait(run.id, PATIENCE_SECONDS)).succeeded


@pytest.mark.usefixtures("repository")
def test_what_surrounds_runs(service: Service, admin: Cli) -> None:
    admin.run("admin", "org", "rules", "1", "--text", "Be brief.")
    with treadle.Client(service.url, service.key) as client:
        agents = client.agents
        [organization], [repository], [user] = agents.organizations(), agents.repositories(), agents.users()
        assert (organization.id, repository.full_name, user) == (1, "acme/demo", agents.me())
        assert user.role == "ADMIN"
        assert (agents.rules().organization, agents.rules().user) == ("Be brief.", None)
        assert isinstance(agents.integrations(), list)
        before = agents.check_suite_settings(repository.id)
        after = agents.update_check_suite_settings(
            repository.id, retry_count=1, custom_prompts={"test": "Run it."}, ignored_checks=["lint"]
        )
        assert (after.retry_count, after.custom_prompts, after.ignored_checks) == (1, {"test": "Run it."}, ("lint",))
        assert after.high_priority_apps == before.high_priority_apps
        setup = agents.setup_commands(repository.id, "dummy: Nothing is needed")
        assert agents.wait(setup.id, PATIENCE_SECONDS).source == AgentRunSource.SETUP_COMMANDS


@pytest.mark.usefixtures("repository")
def test_what_the_service_refuses_comes_as_an_error_that_helps(service: Service) -> None:
    with treadle.Client(service.url, service.key, retries=0) as client:
        with pytest.raises(treadle.BadRequestError) as refused:
            client.agents.run("  ", images=["data:text/plain,x"], model="a b")
        assert refused.value.errors.keys() >= {"prompt", "model"}
        with pytest.raises(treadle.NotFoundError, match="Agent run not found"):
            client.agents.get(10**9)
        with pytest.raises(treadle.NotFoundError):
            client.agents.run("x", repository=99)
        with pytest.raises(treadle.PermissionDeniedError, match="do not have access"):
            client.agents.get(1, organization=99)
        with pytest.raises(treadle.ConflictError, match="Pull request not found"):
            client.agents.edit_pull_request(99, "closed")
        with pytest.raises(treadle.NotFoundError, match="Sandbox"):
            client.agents.analyze_logs(99)
        with pytest.raises(treadle.NotFoundError, match="Repository not found"):
            client.agents.check_suite_settings(99)
    with treadle.Client(service.url, "trd_wrong") as stranger, pytest.raises(treadle.AuthenticationError):
        stranger.agents.me()


@pytest.mark.usefixtures("repository")
def test_a_repeated_run_is_one_and_too_many_are_told_when_to_come_back(service: Service) -> None:
    with treadle.Client(service.url, service.key, retries=0) as client:
        ids = {client.agents.run("Write it", idempotency_key="the-same").id for _ in range(2)}
        assert len(ids) == 1
        with pytest.raises(treadle.ConflictError):
            client.agents.run("Write another", idempotency_key="the-same")
        for _ in range(7):  # and three before
            client.agents.run("Write it", idempotency_key="the-same")
        with pytest.raises(treadle.RateLimitedError) as refused:
            client.agents.run("Write it", idempotency_key="the-same")
        assert refused.value.retry_after
        assert 0 < refused.value.retry_after <= 60
        client.agents.wait(ids.pop(), PATIENCE_SECONDS)
