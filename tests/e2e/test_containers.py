"""The whole service with a container around every call: the real Claude CLI, its model and its key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.test_claude_cli import API_KEY, service, start
from tests.support.containers import Containers, docker, podman
from tests.support.git_server import GitServer
from tests.support.model_script import bash, say, write
from tests.support.model_server import ModelServer
from tests.support.service import step

__all__ = ["docker", "podman"]

pytestmark = pytest.mark.claude

#: All there is to read, searched for the key in patterns that do not find themselves. That the model's address is found
#: shows that it looked.
LOOK = (
    "{ env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; cat /run/treadle/*; grep -rs . /config /home /files .; } "
    "> /var/tmp/all 2>&1; echo user $(id -u), key $(grep -ac client-ke[y]-of-a-test /var/tmp/all), "
    "door $(grep -ac ANTHROPIC_BASE_UR[L]= /var/tmp/all), net $(ls /sys/class/net)"
)


@pytest.fixture(params=["podman", "docker"])
def containers(request: pytest.FixtureRequest) -> Iterator[Containers]:
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Containers)
    yield made
    made.until_none_left()


def test_claude_does_its_job_in_a_container_without_a_key(
    tmp_path: Path, git: GitServer, containers: Containers
) -> None:
    sandbox = {name.removeprefix("TREADLE_"): value for name, value in containers.settings.items()}
    script = [
        say("I will write hello.py."),
        say("Writing.", write("/workspace/hello.py", "print('hello from the model')\n")),
        say("Looking.", bash(LOOK)),
        say("Running.", bash("python3 hello.py > out.txt && cat out.txt")),
        say("Wrote and ran hello.py."),
        say("It compiles."),
    ]
    with ModelServer(script) as model, service(tmp_path, model, **sandbox) as claude:
        process = claude.wait(start(claude, git, step("Say hello")), "Success", seconds=120)
        seen = [event["data"] for event in claude.events(process["id"]) if event["type"] == "tool.finished"]
        credentials = {turn.credential for turn in model.turns}
    assert git.show("acme/demo", "work", "out.txt") == b"hello from the model\n"
    assert credentials == {f"x-api-key {API_KEY}"}
    assert [tool["isError"] for tool in seen] == [False, False, False]
    user = "1000" if containers.runtime == "podman" else "0"  # docker's tests are root's
    words = seen[1]["output"].replace(",", "").split()
    assert words[:5] == ["user", user, "key", "0", "door"]
    assert int(words[5]) > 0
    assert words[6:] == ["net", "lo"]
