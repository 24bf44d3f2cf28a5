"""The real Kimi CLI through the service, against a scripted model on loopback."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.clis import require_kimi
from tests.support.git_server import GitServer
from tests.support.model_script import Fail, bash, say
from tests.support.model_server import ModelServer
from tests.support.service import Json, Service, step

pytestmark = pytest.mark.kimi

KEY = "sk-kimi-key-of-a-test"


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def kimi(tmp_path: Path, model: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    cli = require_kimi()
    monkeypatch.setenv("PATH", f"{cli.node.parent}{os.pathsep}{os.environ['PATH']}")
    with Service(
        tmp_path / "data",
        KIMI_CLI=str(cli.script),
        KIMI_BASE_URL=model.openai_url,
        KIMI_API_KEY=KEY,
        RETRY_SECONDS="0.1,0.1,0.1",
    ) as running:
        yield running


def start(kimi: Service, git: GitServer, *steps: Json) -> str:
    return kimi.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork="work",
        engine="Kimi",
        steps=list(steps),
    )


def tokens(usage: Json) -> tuple[int, int]:
    return usage["inputTokens"], usage["outputTokens"]


def test_writes_a_file_commits_and_pushes(kimi: Service, git: GitServer, model: ModelServer) -> None:
    model.play(
        [
            say("I will write hello.txt.", input_tokens=1000, output_tokens=1, cache_read_tokens=900),
            say(bash("echo hello > hello.txt && cat hello.txt"), input_tokens=2000, output_tokens=2),
            say("Wrote hello.txt.", input_tokens=4000, output_tokens=4),
            say("It is fine.", input_tokens=8000, output_tokens=8),
        ]
    )
    process = kimi.wait(start(kimi, git, step("Say hello")), "Success")
    assert git.show("acme/demo", "work", "hello.txt") == b"hello\n"
    assert process["steps"][0]["output"] == "Wrote hello.txt."
    assert {turn.credential for turn in model.turns} == {f"Bearer {KEY}"}
    assert "I will write hello.txt." in model.turns[1].transcript, "the second phase resumes the first one's session"
    assert tokens(process["usage"]) == tokens(process["steps"][0]["usage"]) == (15_000, 15)
    tools = [event["data"] for event in kimi.events(process["id"]) if event["type"] == "tool.finished"]
    assert ["hello" in tool["output"] for tool in tools] == [True]


def test_structured_output_is_asked_for_and_checked(kimi: Service, git: GitServer, model: ModelServer) -> None:
    answer = {
        "output": "Looked around.",
        "thinking": "Hm.",
        "wasSuccessful": True,
        "didGenerateCode": False,
        "isAdditionalWorkRequiredToContinue": False,
    }
    model.play([say(f"Here it is:\n\n```json\n{json.dumps(answer, indent=1)}\n```")])
    process = kimi.wait(start(kimi, git, step("Look", commitable=False, structured=True)), "Success")
    assert process["steps"][0]["structuredOutput"] == answer


def test_a_refused_key_fails_and_says_so(kimi: Service, git: GitServer, model: ModelServer) -> None:
    model.play(lambda _request: Fail(401, "Invalid Authentication"))
    process = kimi.wait(start(kimi, git, step("Look", commitable=False)), "Failed")
    assert "401" in process["failureDetails"]
    assert KEY not in process["failureDetails"]


def test_failed_attempts_are_on_the_bill_too(kimi: Service, git: GitServer, model: ModelServer) -> None:
    """The first ends in the middle of its work, the second before it has any, the third answers; none twice."""
    model.play(
        [
            say(bash("pwd"), input_tokens=100, output_tokens=1),
            Fail(500, "oops"),
            Fail(500, "oops"),
            say("There is nothing to do.", input_tokens=200, output_tokens=2),
            say("Nothing at all.", input_tokens=400, output_tokens=4),
        ]
    )
    steps = (step("Look", commitable=False), step("Look again", commitable=False))
    process = kimi.wait(start(kimi, git, *steps), "Success")
    assert [tokens(each["usage"]) for each in process["steps"]] == [(300, 3), (400, 4)]
    model.play([say(bash("pwd"), input_tokens=100, output_tokens=1), Fail(404, "no such model")])
    process = kimi.wait(start(kimi, git, step("Look", commitable=False)), "Failed")
    assert tokens(process["usage"]) == (100, 1)
