"""TREADLE_SUBMODULES through `treadle serve`."""

from pathlib import Path

from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.git_server import GitServer
from tests.support.service import Service, step


def test_they_are_read_and_built_but_never_changed(tmp_path: Path, git: GitServer) -> None:
    git.create("acme/lib", {"lib.txt": "lib\n"})
    sha = git.git("acme/lib", "rev-parse", "main").strip()
    modules = '[submodule "lib"]\n\tpath = vendor/lib\n\turl = ../lib.git\n'
    git.commit("acme/demo", {".gitmodules": modules}, submodules={"vendor/lib": sha})
    first = 'dummy: [{"append": ["vendor/lib/lib.txt", "more\\n"]}, {"run": "cat vendor/lib/lib.txt > seen"}]'
    second = 'dummy: [{"run": "cat vendor/lib/lib.txt >> seen"}]'
    with Service(tmp_path / "data", SUBMODULES="1") as service:
        process = service.wait(
            service.start(
                gitUrl=git.url("acme/demo"),
                gitHttpCredentials=HTTP_CREDENTIALS,
                branchSource="main",
                branchWork="work",
                engine="Dummy",
                steps=[step(first), step(second)],
            ),
            "Success",
        )
        undone = [each for each in service.events(process["id"]) if each["type"] == "workspace.changes_undone"]
    assert [(each["step"], each["data"]) for each in undone] == [(1, {"paths": ["vendor/lib/lib.txt"], "count": 1})]
    assert git.show("acme/demo", "work", "seen") == b"lib\nmore\nlib\n"
    assert git.git("acme/demo", "rev-parse", "work:vendor/lib").strip() == sha
