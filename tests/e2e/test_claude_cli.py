"""The real Claude CLI through the service, against a scripted model on loopback."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from pydantic import JsonValue
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.clis import require_claude
from tests.support.git_server import GitServer
from tests.support.model_script import Fail, Hang, ModelRequest, Turn, bash, say, structured, usage_limit, write
from tests.support.model_server import ModelServer
from tests.support.service import Json, Service, is_event, step

pytestmark = pytest.mark.claude

API_KEY = "sk-ant-api03-client-key-of-a-test"


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def claude(tmp_path: Path, model: ModelServer) -> Iterator[Service]:
    with service(tmp_path, model) as running:
        yield running


def service(tmp_path: Path, model: ModelServer, **settings: str) -> Service:
    usual = {
        "CLAUDE_CLI": str(require_claude()),
        "CLAUDE_BASE_URL": model.url,
        "SANDBOX": "bubblewrap",
        "RETRY_SECONDS": "0.1,0.1,0.1",
    }
    return Service(tmp_path / "data", **{**usual, **settings})


def start(claude: Service, git: GitServer, *steps: Json, **fields: object) -> str:
    return claude.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork="work",
        engine="Claude",
        steps=list(steps),
        **{"claudeAuthentication": {"source": "ClientApiKey", "apiKey": API_KEY}, **fields},
    )


def license_of(access: str, refresh: str, *, expires_in: timedelta) -> Json:
    return {
        "source": "ClientLicense",
        "oAuthAccessToken": access,
        "oAuthRefreshToken": refresh,
        "oAuthExpiresAt": (datetime.now(UTC) + expires_in).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "oAuthScopes": ["user:inference", "user:profile"],
        "oAuthSubscriptionType": "max",
    }


def test_writes_a_file_runs_it_commits_and_pushes(claude: Service, git: GitServer, model: ModelServer) -> None:
    model.play(
        [
            say("I will write hello.py."),
            say("Writing.", write("/workspace/hello.py", "print('hello from the model')\n"), input_tokens=1000),
            say(bash("python3 hello.py > out.txt && cat out.txt")),
            say("Wrote and ran hello.py.", output_tokens=50),
            say("It compiles."),
        ]
    )
    process = claude.wait(start(claude, git, step("Say hello"), codeGuidelines="Use single quotes."), "Success")
    assert git.show("acme/demo", "work", "out.txt") == b"hello from the model\n"
    assert process["steps"][0]["output"] == "Wrote and ran hello.py."
    assert process["usage"]["inputTokens"] >= 1400
    assert process["usage"]["outputTokens"] == 20 * 4 + 50
    assert process["usage"]["costUsd"] > 0
    analysis, implementation, *_, validation = model.turns
    assert {turn.credential for turn in model.turns} == {f"x-api-key {API_KEY}"}
    assert "Use single quotes." in analysis.transcript
    assert "Analyse the changes you need to make for: Say hello" in analysis.last
    assert "I will write hello.py." in implementation.transcript, "the second phase resumes the first one's session"
    assert "hello from the model" in validation.transcript
    tools = [event["data"] for event in claude.events(process["id"]) if event["type"] == "tool.finished"]
    assert [tool["isError"] for tool in tools] == [False, False]
    assert "hello from the model" in tools[1]["output"]


def test_analysis_cannot_change_the_repository(claude: Service, git: GitServer, model: ModelServer) -> None:
    model.play([say(bash("echo x > sneaky.txt; touch also.txt")), say("I could not."), say("Nothing."), say("Fine.")])
    process = claude.wait(start(claude, git, step("Look")), "Success")
    assert process["steps"][0]["commitSha"] is None
    assert git.branches("acme/demo") in (["main"], ["main", "work"])


def test_structured_output_is_read_and_checked(claude: Service, git: GitServer, model: ModelServer) -> None:
    answer: dict[str, JsonValue] = {
        "output": "Looked around.",
        "thinking": "First this, then that.",
        "wasSuccessful": True,
        "didGenerateCode": False,
        "isAdditionalWorkRequiredToContinue": True,
    }
    model.play([say(structured(answer)), say("done")])
    process = claude.wait(start(claude, git, step("Look", commitable=False, structured=True)), "Success")
    assert process["steps"][0]["structuredOutput"] == answer
    assert process["steps"][0]["output"] == "Looked around."


def test_an_answer_without_structure_fails_after_retries(claude: Service, git: GitServer, model: ModelServer) -> None:
    model.play(lambda _request: say("just text"))
    process = claude.wait(start(claude, git, step("Look", commitable=False, structured=True)), "Failed", seconds=120)
    assert "structured" in process["failureDetails"].lower()


def test_a_401_is_mended_by_new_credentials(tmp_path: Path, git: GitServer, model: ModelServer) -> None:
    def script(request: ModelRequest) -> Turn:
        return (
            say("All good.") if request.credential == "x-api-key sk-ant-api03-new" else Fail(401, "invalid x-api-key")
        )

    model.play(script)
    with service(tmp_path, model, RETRY_SECONDS=",".join(["3"] * 30)) as claude:
        process_id = start(claude, git, step("Look", commitable=False))
        claude.wait_for(process_id, is_event("engine.retry", by="runner"))
        answer = claude.request(
            "PUT",
            f"/code-generation/processes/by-id/{process_id}/claude-authentication",
            json={"claudeAuthentication": {"source": "ClientApiKey", "apiKey": "sk-ant-api03-new"}},
        )
        assert answer.status_code == httpx2.codes.NO_CONTENT
        process = claude.wait(process_id, "Success")
        events = claude.events(process_id)
    assert process["steps"][0]["output"] == "All good."
    updated = next(event["number"] for event in events if event["type"] == "run.credentials_updated")
    late = [event for event in events if event["number"] > updated and is_event("engine.retry", by="runner")(event)]
    assert len(late) <= 1, "the call after the one that was under way has the new ones"


def test_a_401_that_stays_fails_and_says_so(claude: Service, git: GitServer, model: ModelServer) -> None:
    model.play(lambda _request: Fail(401, "invalid x-api-key"))
    process = claude.wait(start(claude, git, step("Look", commitable=False)), "Failed")
    assert "401" in process["failureDetails"]
    assert API_KEY not in process["failureDetails"]


def test_a_usage_limit_fails_at_once_with_the_reset_time(claude: Service, git: GitServer, model: ModelServer) -> None:
    resets = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    model.play(lambda _request: usage_limit(int(resets.timestamp())))
    license_ = license_of("sk-ant-oat01-access", "sk-ant-ort01-refresh", expires_in=timedelta(hours=1))
    process = claude.wait(start(claude, git, step("Look", commitable=False), claudeAuthentication=license_), "Failed")
    assert resets.strftime("%Y-%m-%d %H:%M") in process["failureDetails"].replace("T", " ")
    assert not any(is_event("engine.retry", by="runner")(event) for event in claude.events(process["id"]))


def test_a_hang_ends_in_a_timeout_three_retries_and_failed(tmp_path: Path, git: GitServer, model: ModelServer) -> None:
    model.play(lambda _request: Hang())
    with service(tmp_path, model, IDLE_SECONDS="2") as claude:
        process_id = start(claude, git, step("Look", commitable=False))
        process = claude.wait(process_id, "Failed")
        assert "silent for 2 s" in process["failureDetails"]
        kinds = [event["type"] for event in claude.events(process_id)]
        retries = [event for event in claude.events(process_id) if is_event("engine.retry", by="runner")(event)]
        assert len(retries) == 3
        assert kinds.count("phase.started") == 4
        claude.wait_until_clean()


def test_the_systems_key_pays_when_the_client_sends_none(tmp_path: Path, git: GitServer, model: ModelServer) -> None:
    model.play([say("Looked.")])
    with service(tmp_path, model, CLAUDE_API_KEY="sk-ant-api03-the-systems-own") as claude:
        claude.wait(start(claude, git, step("Look", commitable=False), claudeAuthentication=None), "Success")
    assert model.turns[0].credential == "x-api-key sk-ant-api03-the-systems-own"


def test_without_any_key_a_run_fails_before_it_clones(claude: Service, git: GitServer, model: ModelServer) -> None:
    process = claude.wait(start(claude, git, step("Look"), claudeAuthentication=None), "Failed")
    assert "TREADLE_CLAUDE_API_KEY" in process["failureDetails"]
    assert model.requests == []
    assert git.requests == []


def test_the_dummy_key_selects_the_dummy_engine(claude: Service, git: GitServer, model: ModelServer) -> None:
    dummy = {"source": "ClientApiKey", "apiKey": "000-dummy"}
    claude.wait(start(claude, git, step("Do it"), claudeAuthentication=dummy), "Success")
    assert b"Do it" in git.show("acme/demo", "work", "DUMMY.md")
    assert model.requests == []
