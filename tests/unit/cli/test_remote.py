import json
from collections.abc import Sequence

import httpx2
import pytest

from treadle import AsyncClient
from treadle.cli.failures import report
from treadle.cli.follow import as_it_is, show
from treadle.cli.remote import connected, find
from treadle.domain.errors import ConfigurationError, NotFound
from treadle.sdk import BadRequestError, Process

IDS = (
    "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0001",
    "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0002",
    "1b5e0c46-0000-4000-8000-000000000003",
)


def process(process_id: str) -> dict[str, object]:
    return {
        "id": process_id,
        "status": "Failed",
        "failureDetails": "The engine\x1b[2J\nbroke.",
        "gitUrl": "https://git.example.com/a.git",
        "branchSource": "main",
        "branchWork": "work",
        "engine": "Dummy",
        "dateCreated": "2025-01-02T08:15:30Z",
        "dateStarted": "2025-01-02T08:15:31Z",
        "dateCompleted": "2025-01-02T08:16:31Z",
        "steps": [
            {
                "id": IDS[0],
                "step": "Write it\nwell",
                "isCommitableStep": True,
                "status": "Success",
                "phase": "Validation",
                "output": "Done \x1b]0;x\x07.",
                "commitSha": "c0ffee12" + "0" * 32,
                "dateStarted": "2025-01-02T08:15:31Z",
                "dateCompleted": "2025-01-02T08:15:40Z",
                "usage": {"inputTokens": 1500, "outputTokens": 20, "costUsd": 0.5},
            },
            {"id": IDS[1], "step": "Test it", "isCommitableStep": True, "status": "Failed", "failureDetails": "No."},
        ],
    }


def client_of(ids: Sequence[str]) -> AsyncClient:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if "/by-id/" in request.url.path:
            return httpx2.Response(200, json=process(request.url.path.rpartition("/")[2]))
        return httpx2.Response(200, json=[process(process_id) for process_id in ids])

    return AsyncClient("http://treadle.test", "trd_key", transport=httpx2.MockTransport(answer))


@pytest.mark.anyio
async def test_a_run_is_found_by_the_beginning_of_its_id() -> None:
    async with client_of(IDS) as client:
        assert str((await find(client, IDS[1])).id) == IDS[1]
        assert str((await find(client, "1B5E")).id) == IDS[2]
        assert str((await find(client, IDS[0].replace("-", ""))).id) == IDS[0]
        with pytest.raises(NotFound, match=f"2 runs .* {IDS[0]}, {IDS[1]}"):
            await find(client, "0b5e")
        with pytest.raises(NotFound, match="None of your newest"):
            await find(client, "f")
        with pytest.raises(NotFound, match="not the id of a run"):
            await find(client, "../x")


@pytest.mark.anyio
@pytest.mark.parametrize(("url", "key"), [("ftp://x", None), ("http://127.0.0.1:x", None), ("http://x", "a b")])
async def test_an_address_or_key_that_can_never_work(url: str, key: str | None) -> None:
    with pytest.raises(ConfigurationError):
        async with connected(url, key):
            pass


def test_a_run_is_shown_whole_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    show(Process.read(process(IDS[0])))
    assert (
        capsys.readouterr().out
        == f"""\
Run       {IDS[0]}
Status    Failed
Repo      https://git.example.com/a.git
Branch    main -> work
Engine    Dummy
Created   2025-01-02T08:15:30Z
Took      1:00
Usage     1.5k in, 20 out, $0.50
Failure   The engine\\x1b[2J
          broke.

 1  Success     c0ffee12  9.0s
    Write it
    well

    | Done \\x1b]0;x\\x07.

 2  Failed      Failed
    Test it

    | No.
"""
    )


def test_a_step_that_changed_nothing_says_so() -> None:
    raw = json.loads(json.dumps(process(IDS[0])))
    raw["steps"][0]["commitSha"] = None
    assert as_it_is(Process.read(raw)).steps[0].has_nothing_to_commit


def test_faults_of_a_request_name_options(capsys: pytest.CaptureFixture[str]) -> None:
    errors = {"gitUrl": ["Is bad."], "steps[0].step": ["Is empty."]}
    assert report(BadRequestError("Not valid.", status=400, problem={"errors": errors})) == 2
    assert capsys.readouterr().err == "Error: Not valid.\n  --repo: Is bad.\n  steps[0].step: Is empty.\n"


def test_the_sentences_of_a_refusal_name_options_too(capsys: pytest.CaptureFixture[str]) -> None:
    errors = {"branchWork": ["Must differ from branchSource."]}
    report(BadRequestError("Not valid.", status=400, problem={"errors": errors}))
    assert "  --branch: Must differ from --source.\n" in capsys.readouterr().err
