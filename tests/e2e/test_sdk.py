"""The Python SDK against the service as a user runs both."""

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.git_server import GitServer
from tests.support.service import Service

import treadle
from treadle import ClaudeAuthentication, Engine, ProcessStatus, Step

PATIENCE_SECONDS = 120


@pytest.fixture
def url(git: GitServer) -> str:
    return git.url("acme/demo")


def test_a_repository_goes_in_and_commits_a_diff_and_a_trace_come_out(service: Service, url: str) -> None:
    with treadle.Client(service.url, service.key) as client:
        spec = client.files.upload(b"# Spec\n", name="spec.md")
        started = client.processes.start(
            git_url=url,
            branch_source="main",
            branch_work="work",
            steps=[Step("Look around", commitable=False), Step("Write it", structured=True)],
            git_http_credentials=HTTP_CREDENTIALS,
            code_guidelines="Be brief.",
            file_ids=[spec.id],
            generate_diff_on_completion=True,
            claude_authentication=ClaudeAuthentication.dummy(),
        )
        events = list(client.processes.events(started.id))
        process = client.processes.wait(started.id, PATIENCE_SECONDS)

        assert process.succeeded, process.failure_details
        assert process.steps[1].structured_output is not None
        assert process.steps[1].structured_output.was_successful
        assert process.steps[1].commit_sha
        assert process.diff is not None
        assert [(file.filename, file.is_new, file.additions) for file in process.diff.files] == [("DUMMY.md", True, 1)]
        assert client.processes.diff(process.id) == process.diff
        assert client.processes.patch(process.id).startswith(b"diff --git a/DUMMY.md")
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert events[-1].is_terminal
        assert list(client.processes.events(process.id, follow=False)) == events
        assert list(client.processes.events(process.id, after=events[-1].number)) == []
        assert [listed.id for listed in client.processes.iterate(status=ProcessStatus.SUCCESS)] == [process.id]
        assert client.processes.alive() == []
        assert client.files.download(spec.id) == b"# Spec\n"
        client.files.delete(spec.id)
        with pytest.raises(treadle.NotFoundError):
            client.files.get(spec.id)
        with treadle.Client(service.url, token=client.auth.token().access_token) as holder:
            assert holder.processes.get(process.id) == process


def test_a_repeated_start_is_one_process(service: Service, url: str) -> None:
    with treadle.Client(service.url, service.key) as client:
        ids = {
            client.processes.start(
                git_url=url,
                branch_source="main",
                branch_work="work",
                steps=["Write it"],
                git_http_credentials=HTTP_CREDENTIALS,
                engine=Engine.DUMMY,
                idempotency_key="the-same",
            ).id
            for _ in range(2)
        }
        assert len(ids) == 1
        client.processes.wait(ids.pop(), PATIENCE_SECONDS)


@pytest.mark.anyio
async def test_a_process_is_followed_updated_and_killed(service: Service, url: str) -> None:
    async with treadle.AsyncClient(service.url, service.key) as client:
        started = await client.processes.start(
            git_url=url,
            branch_source="main",
            branch_work="work",
            steps=['dummy: [{"sleep": 600}]'],
            git_http_credentials=HTTP_CREDENTIALS,
            engine=Engine.DUMMY,
        )
        async for event in client.processes.events(started.id):
            if event.type == "engine.started" and event.phase == "Implementation":
                break
        with pytest.raises(treadle.WaitTimeoutError):
            await client.processes.wait(started.id, 0.2)
        await client.processes.update_credentials(started.id, git_http_credentials=HTTP_CREDENTIALS)
        await client.processes.update_claude_authentication(started.id, ClaudeAuthentication.dummy())
        await client.processes.kill(started.id)
        process = await client.processes.wait(started.id, PATIENCE_SECONDS)
        assert process.status is ProcessStatus.KILLED
        with pytest.raises(treadle.ConflictError):
            await client.processes.kill(started.id)


def test_what_the_service_refuses_comes_as_an_error_that_helps(service: Service, url: str) -> None:
    with treadle.Client(service.url, service.key) as client:
        with pytest.raises(treadle.BadRequestError) as refused:
            client.processes.start(git_url="ftp://x", branch_source="same", branch_work="same", steps=[])
        assert set(refused.value.errors) >= {"gitUrl", "branchWork", "steps"}
        with pytest.raises(treadle.NotFoundError):
            client.processes.get("nonsense")
        process = client.processes.start(
            git_url=url,
            branch_source="main",
            branch_work="work",
            steps=["Write it"],
            git_http_credentials="ada:wrong",
            engine=Engine.DUMMY,
        )
        process = client.processes.wait(process.id, PATIENCE_SECONDS)
        assert process.status is ProcessStatus.FAILED
        assert "credentials" in (process.failure_details or "")
    with treadle.Client(service.url, "trd_wrong") as stranger, pytest.raises(treadle.AuthenticationError):
        stranger.processes.alive()
