"""Agent runs on the command line, against `treadle serve`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cli import CTRL_C, Cli
from tests.support.repositories import BareRepositories
from tests.support.service import Service

TALK = 'dummy: Say a word\n[{"say": "a word"}, {"write": ["word.txt", "word"]}]'
HANG = 'dummy: Hang about\n[{"say": "hanging now"}, {"hang": true}]'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Without the limits that a person would hardly meet, and with one repository."""
    folder = tmp_path_factory.mktemp("service")
    bare = BareRepositories(folder)
    bare.create("words", {"README.md": "# Words\n"})
    with Service(folder / "data", RETRY_SECONDS="0.05", RATE_LIMIT_CREATE="0", RATE_LIMIT_STANDARD="0") as running:
        admin = Cli(folder / "admin")
        admin.environment.update(running.environment())
        admin.run("admin", "repo", "add", "--name", "acme/words", "--url", f"file://{bare.path('words')}")
        admin.run("admin", "org", "set", "1", "--engine", "Dummy")
        yield running


@pytest.fixture
def cli(tmp_path: Path, service: Service) -> Cli:
    return Cli(tmp_path, URL=service.url, API_KEY=service.key)


def start(cli: Cli, prompt: str = TALK) -> str:
    """The number of a new run."""
    return cli.run("agent", "run", prompt, "--no-wait").stdout.strip()


def test_a_run_from_prompt_to_answer_and_on(cli: Cli) -> None:
    done = cli.run("agent", "run", TALK, "--metadata", "ticket=A-1").stdout.splitlines()
    assert done[0].split()[1:3] == ["USER_MESSAGE", "dummy:"]
    ending = next(line for line in done if line.startswith("COMPLETE: agent run "))
    number = ending.removeprefix("COMPLETE: agent run ").partition(",")[0]
    shown = cli.run("agent", "show", number, "--json").json
    assert (shown["status"], shown["metadata"]) == ("COMPLETE", {"ticket": "A-1"})
    assert f"Agent run  {number}\nStatus     COMPLETE\n" in cli.run("agent", "show", number).stdout

    entries = cli.run("agent", "logs", number, "--json").json_lines
    assert cli.run("agent", "logs", number, "--json", "--reverse").json_lines == entries[::-1]
    assert cli.run("agent", "logs", number, "--json", "--follow").json_lines == entries
    assert cli.run("agent", "logs", number, "--limit", "1").stdout.splitlines() == done[:1]
    assert any("a word" in line for line in done)

    resumed = cli.run("resume", number, TALK.replace("word", "term")).stdout.splitlines()
    assert len([line for line in resumed if " USER_MESSAGE " in line]) == 1
    assert not any("a word" in line for line in resumed)
    assert len(cli.run("agent", "logs", number, "--json").json_lines) > len(entries)
    final = cli.run("agent", "resume", number, TALK, "--json").json
    assert (str(final["id"]), final["status"]) == (number, "COMPLETE")
    assert [number, "COMPLETE"] in [row[:2] for row in cli.run("agent", "list", "--source", "api").rows]


def test_the_prompt_can_come_through_a_pipe_and_images_with_it(cli: Cli) -> None:
    (cli.folder / "shot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 16)
    number = cli.run("agent", "run", TALK, "--image", "shot.png", "--no-wait", "--json").json["id"]
    assert cli.run("agent", "logs", str(number), "--follow").stdout
    assert "is empty" in cli.run("agent", "run", "-", code=2).stderr  # nothing comes through it
    (cli.folder / "notes.txt").write_text("no image")
    assert "--image: " in cli.run("agent", "run", TALK, "--image", "notes.txt", code=2).stderr
    assert "--image none.png: is not a file" in cli.run("agent", "run", TALK, "--image", "none.png", code=2).stderr


def test_a_failed_run_fails_the_command(cli: Cli) -> None:
    failed = cli.run("agent", "run", 'dummy: [{"exit": 3}]', code=1)
    assert "FAILED: agent run " in failed.stdout
    assert cli.run("agent", "run", 'dummy: [{"exit": 3}]', "--json", code=1).json["status"] == "FAILED"


def test_ban_ends_it_and_resume_goes_on(cli: Cli) -> None:
    number = start(cli, HANG)
    assert cli.run("agent", "ban", number).stdout == f"{number} STOPPED\n"
    assert cli.run("agent", "unban", number).stdout == f"{number} STOPPED\n"
    assert "COMPLETE" in cli.run("agent", "resume", number, TALK).stdout


def test_a_run_is_drawn_in_place_and_left_going(cli: Cli) -> None:
    with cli.terminal("agent", "run", HANG) as terminal:
        terminal.read_until("hanging now")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    assert "The run goes on." in terminal.text
    number = cli.run("agent", "list", "--limit", "1").rows[0][0]
    assert cli.run("agent", "show", number, "--json").json["status"] == "RUNNING"
    cli.run("agent", "ban", number)
    with cli.terminal("agent", "run", TALK) as terminal:
        assert terminal.end() == 0
    assert "\x1b[2K" in terminal.raw
    assert terminal.screen[0].startswith("✓ ")
    assert "COMPLETE" in terminal.screen[0]


def test_lists_and_words_of_refusal(cli: Cli) -> None:
    assert cli.run("agent", "repos").rows[0][1] == "acme/words"
    said = cli.run("agent", "show", "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0001", code=1).stderr
    assert "is not the number of an agent run" in said
    assert "Hint: `treadle agent list`" in said
    assert "Agent run not found" in cli.run("agent", "logs", "999999", code=1).stderr
    cli.run("agent", "logs", "1", "--follow", "--reverse", code=2)
    assert "is not KEY=VALUE" in cli.run("agent", "run", "x", "--metadata", "y", code=2).stderr
    assert "--agent-type: " in cli.run("agent", "run", "x", "--agent-type", "robot", code=2).stderr
    assert "do not have access" in cli.run("agent", "list", "--org", "99", code=1).stderr
