"""Agent runs on the command line: lines, pictures, what is given; and commands against answers without a network."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from rich.console import Console
from tests.support.agent_api import ENDED, GrowingLog, log_json, organizations_json, page_json, run_json
from tests.support.scripted_api import ok

from treadle import AgentLog, AgentRun, AsyncClient
from treadle.cli import remote
from treadle.cli.agent_inputs import check_files, number_of, pairs, prompt_of
from treadle.cli.agent_lines import ending_lines, full_text, log_line, run_lines
from treadle.cli.agent_views import AgentPicture
from treadle.cli.agents import Agents
from treadle.cli.failures import Stopped, report
from treadle.domain.errors import InvalidInput, NotFound
from treadle.sdk._wire import Fields

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def entry(**changes: Any) -> AgentLog:
    return AgentLog.read(Fields(log_json(1, **changes), "log"))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"thought": "Hm,\n so \x1b[2J"}, "03:04:06Z  PLAN_EVALUATION        Hm, so"),
        (
            {"message_type": "USER_MESSAGE", "thought": None, "observation": "Do it"},
            "03:04:06Z  USER_MESSAGE           Do it",
        ),
        (
            {
                "message_type": "ACTION",
                "tool_name": "Bash",
                "tool_input": {"command": "ls"},
                "tool_output": {"is_error": True},
            },
            "03:04:06Z  ACTION                 Bash ls (failed)",
        ),
        (
            {"message_type": "ACTION", "tool_name": "setup_commands", "tool_input": {}, "observation": "They failed."},
            "03:04:06Z  ACTION                 They failed.",
        ),
        (
            {"message_type": "INITIAL_PR_GENERATION", "observation": {"url": "https://x/9", "title": "T", "id": 3}},
            "03:04:06Z  INITIAL_PR_GENERATION  https://x/9 T",
        ),
        ({"observation": {"odd": [1]}}, '03:04:06Z  PLAN_EVALUATION        {"odd": [1]}'),
        ({"message_type": None, "thought": None, "created_at": None}, "--:--:--Z  -"),
    ],
)
def test_an_entry_is_a_line(changes: dict[str, Any], line: str) -> None:
    assert log_line(entry(**changes)) == line


def test_long_texts_can_be_had_whole() -> None:
    assert list(full_text(entry(thought="short"))) == []
    assert list(full_text(entry(thought="one\ntwo \x1b[2J"))) == ["    one", "    two \\x1b[2J"]
    action = {"tool_name": "Bash", "tool_output": {"output": "a\nb", "is_error": False}}
    assert list(full_text(entry(**action))) == ["    a", "    b"]


def test_a_run_is_shown_whole() -> None:
    assert list(run_lines(AgentRun.read(run_json(ENDED)))) == [
        "Agent run  42",
        "Status     COMPLETE",
        "Source     API",
        "Created    2026-01-02T03:04:05Z",
        "Page       http://treadle.test/runs/42",
        'Metadata   {"ticket": "A-1"}',
        "Pull       https://github.test/o/r/pull/9  Log it",
        "",
        "    All done.",
        "    Really.",
    ]
    assert list(
        ending_lines(AgentRun.read(run_json("FAILED", web_url=None, result=None, github_pull_requests=[])))
    ) == ["FAILED: agent run 42"]


def drawn(status: str, *notes: str, width: int = 60, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, markup=False, force_terminal=False)
    run = AgentRun.read(run_json(status))
    console.print(AgentPicture(run, "Log every order", NOON, NOON + timedelta(seconds=13), notes))
    stream.flush()
    stream.seek(0)
    return [line.rstrip() for line in stream.read().splitlines()]


@pytest.mark.parametrize(
    ("status", "sign", "ascii_sign"),
    [("PENDING", "·", "."), ("ACTIVE", "⠋", "\\"), ("COMPLETE", "✓", "+"), ("STOPPED", "■", "#"), ("ERROR", "✗", "x")],
)
def test_a_run_is_drawn(status: str, sign: str, ascii_sign: str) -> None:
    head, *notes = drawn(status, "Bash ls", "")
    assert head.split() == [sign, "42", "Log", "every", "order", status, "13s"]
    assert len(head) <= 60
    assert notes == ["  Bash ls"]
    plain = drawn(status, encoding="ascii")[0]
    assert plain.isascii()
    assert plain[0] in ({ascii_sign} if ascii_sign != "\\" else set("|/-\\"))


@pytest.mark.parametrize("width", [10, 20, 40, 200])
def test_every_line_fits(width: int) -> None:
    assert all(len(line) <= width for line in drawn("RUNNING", "Bash " + "x" * 300, width=width))


def test_what_is_given_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(InvalidInput) as refused:
        pairs(["a", "=b"])
    assert set(refused.value.faults) == {"--metadata a", "--metadata =b"}
    assert number_of("042") == 42
    for text in ("9" * 5_000, "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0001", "-1", "²", ""):
        with pytest.raises(NotFound, match="not the number") as unknown:
            number_of(text)
        assert unknown.value.hint is not None
        assert unknown.value.hint.startswith("`treadle agent list` shows the number of every run")
    assert prompt_of("Do it") == "Do it"
    monkeypatch.setattr("sys.stdin", io.StringIO("From afar\n"))
    assert prompt_of("-") == "From afar\n"
    with pytest.raises(InvalidInput):
        prompt_of(" \n")
    with pytest.raises(InvalidInput, match="not all there"):
        check_files([tmp_path / "none.png"])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[GrowingLog]:
    """What the commands talk to."""
    api = GrowingLog()

    class Scripted(AsyncClient):
        def __init__(self, url: str, key: str | None) -> None:
            super().__init__(url, key, transport=httpx2.MockTransport(api.answer), sleep=api.sleep_async)

    monkeypatch.setattr(remote, "AsyncClient", Scripted)
    yield api
    assert api.answers == []


def agents(*, is_json: bool = False, organization: int | None = 7) -> Agents:
    return Agents("http://treadle.test", "key", organization, is_json=is_json)


def run(**changes: Any) -> None:
    given: dict[str, Any] = {
        "repository": None,
        "images": (),
        "model": None,
        "agent_type": None,
        "metadata": (),
        "max_cost_usd": None,
        "network": None,
        "waits": True,
    }
    is_json = changes.pop("is_json", False)
    agents(is_json=is_json).run("Log every order", **{**given, **changes})


def ended(log: GrowingLog, look: int, status: str = ENDED) -> None:
    """Three entries, one with each look; then the run ends."""
    log.length = min(look, 3)
    if log.length == 3 and log.status != status:
        log.status = status
        log.later.append(ok(run_json(status)))  # what the last look at the run answers


def test_a_run_is_followed_to_its_end(api: GrowingLog, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers.append(ok(run_json("PENDING")))
    api.meanwhile = ended
    run(repository=5, metadata=["ticket=A-1"])
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in said[:3]] == ["1", "2", "3"]
    assert said[3] == "COMPLETE: agent run 42, http://treadle.test/runs/42"
    assert said[-2:] == ["All done.", "Really."]
    assert json.loads(api.requests[0].content) == {
        "prompt": "Log every order",
        "repo_id": 5,
        "metadata": {"ticket": "A-1"},
    }


def test_a_run_that_fails_fails_the_command(api: GrowingLog, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers.append(ok(run_json("PENDING")))
    api.meanwhile = lambda log, look: ended(log, look, "FAILED")
    with pytest.raises(Stopped) as stopped:
        run(is_json=True)
    assert stopped.value.code == 1
    assert json.loads(capsys.readouterr().out)["status"] == "FAILED"


def test_without_waiting_its_number_is_the_answer(api: GrowingLog, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers += [ok(run_json("PENDING")), ok(run_json("PENDING"))]
    run(waits=False)
    said = capsys.readouterr()
    assert said.out == "42\n"
    assert "treadle agent logs 42 --follow" in said.err
    run(waits=False, is_json=True)
    assert json.loads(capsys.readouterr().out)["id"] == 42


def test_a_resumed_run_shows_what_is_new(api: GrowingLog, capsys: pytest.CaptureFixture[str]) -> None:
    def resumed(log: GrowingLog, look: int) -> None:
        log.length = 250 if look == 1 else 252
        if look == 1:
            log.later.append(ok(run_json("PENDING")))
        elif look == 2:
            log.status = ENDED
            log.later.append(ok(run_json(ENDED)))

    api.meanwhile = resumed
    agents().resume("42", "And test it", images=(), max_cost_usd=None, waits=True)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in said[:2]] == ["251", "252"]
    assert said[2].startswith("COMPLETE")


def test_logs_either_way_and_cut(api: GrowingLog, capsys: pytest.CaptureFixture[str]) -> None:
    api.length, api.status = 5, ENDED

    def shown(**options: Any) -> list[str]:
        given = {"follows": False, "is_reverse": False, "limit": None, "is_full": False, **options}
        agents().logs("42", **given)
        return [line.split()[-1] for line in capsys.readouterr().out.splitlines()]

    assert shown() == shown(follows=True) == ["1", "2", "3", "4", "5"]
    assert shown(is_reverse=True, limit=2) == ["5", "4"]
    agents(is_json=True).logs("42", follows=False, is_reverse=False, limit=1, is_full=False)
    assert json.loads(capsys.readouterr().out)["thought"] == "1"


def test_lists_are_tables_or_json(api: GrowingLog, capsys: pytest.CaptureFixture[str]) -> None:
    repository = {"id": 5, "name": "shop", "full_name": "acme/shop", "organization_id": 7, "setup_status": "READY"}
    api.answers += [ok(organizations_json(7)), ok(page_json(run_json())), ok(page_json(run_json()))]
    agents(organization=None).list(4, "api", 20)
    assert capsys.readouterr().out == "42\tRUNNING\tAPI\t2026-01-02T03:04:05Z\tAll done.\n"
    assert dict(api.requests[-1].url.params)["source_type"] == "API"
    agents(is_json=True).list(None, None, 20)
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [42]
    api.answers += [ok(page_json(repository)), ok(page_json(repository))]
    agents().repositories()
    assert capsys.readouterr().out == "5\tacme/shop\tREADY\t-\t-\n"
    agents(is_json=True).repositories()
    assert json.loads(capsys.readouterr().out) == [repository]


def test_ban_waits_for_the_end(api: GrowingLog, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers += [ok({}), ok(run_json()), ok(run_json("STOPPED"))]
    agents().ban("42")
    api.answers += [ok({}), ok(run_json("STOPPED"))]
    agents(is_json=True).unban("42")
    text, _, shown = capsys.readouterr().out.partition("\n")
    assert text == "42 STOPPED"
    assert json.loads(shown)["status"] == "STOPPED"
    assert [request.url.path.rpartition("/")[2] for request in api.requests] == ["ban", "42", "42", "unban", "42"]


def test_faults_are_told_in_the_words_of_the_command_line(
    api: GrowingLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InvalidInput) as refused:
        run(images=[tmp_path / "notes.txt"])
    assert report(refused.value) == 2
    assert "--image: " in capsys.readouterr().err
    detail = [{"loc": ["body", "repo_id"], "msg": "is no number"}, {"loc": ["body", "agent_type"], "msg": "is odd"}]
    api.answers.append(httpx2.Response(422, json={"detail": detail}))
    with pytest.raises(Exception, match="is odd") as faulty:
        run()
    assert report(faulty.value) == 2
    said = capsys.readouterr().err
    assert "  --repo: is no number" in said
    assert "  --agent-type: is odd" in said
