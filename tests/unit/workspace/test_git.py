"""What every Git process of the service is held to, and what it says when it runs out."""

import os
from pathlib import Path

import pytest

from treadle.domain.errors import GitError, WorkspaceError
from treadle.workspace import git as service_git
from treadle.workspace.git import Access, Git, base_environment, refuse_full_memory

pytestmark = pytest.mark.anyio

#: A Git that says what its children may allocate, in KiB.
_SAY = ("-c", "alias.say=!ulimit -d", "say")


@pytest.fixture
def runner() -> Git:
    return Git(base_environment({"PATH": os.environ["PATH"]}, allow_local=False, follow_redirects=False), 20.0)


@pytest.mark.parametrize(("prefix", "parents"), [(("env",), frozenset()), ((), frozenset({"say"}))])
async def test_memory_of_what_git_starts_is_limited(
    runner: Git, monkeypatch: pytest.MonkeyPatch, prefix: tuple[str, ...], parents: frozenset[str]
) -> None:
    """However soon that begins; also inside of ssh-agent, whose limits nobody else may set."""
    monkeypatch.setattr(service_git, "_PARENTS", parents)
    done = await runner.run(*_SAY, access=Access(prefix=prefix))
    assert int(done.stdout) << 10 == service_git.MAX_MEMORY_BYTES


async def test_without_git_it_is_said_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")
    for verb in ("fetch", "status"):
        with pytest.raises(WorkspaceError, match=r"^git is not installed here\.$"):
            await Git({"PATH": str(tmp_path)}, 20.0).run(verb, accepted=None)


@pytest.mark.parametrize(
    "said",
    [
        "fatal: Out of memory, malloc failed (tried to allocate 64000136 bytes)",
        "warning: one thing\nfatal: Out of memory, realloc failed\nfatal: fetch-pack: invalid index-pack output",
        "fatal: mmap failed: Cannot allocate memory",
        "error: inflateInit: out of memory (out of memory)",
    ],
)
async def test_want_of_memory_is_told(said: str) -> None:
    with pytest.raises(WorkspaceError, match=r"^git diff needs more than 2,048 MiB of memory, its limit\.$"):
        refuse_full_memory(("diff", "--binary"), said)
    with pytest.raises(WorkspaceError, match=r"^git clone needs more than 8,192 MiB of memory, its limit\.$"):
        refuse_full_memory(("-c", "a=b", "clone"), said)


@pytest.mark.parametrize(
    "said",
    ["remote: fatal: Out of memory, malloc failed", 'error: open("Out of memory"): Permission denied', ""],
)
async def test_of_others_it_is_not(said: str) -> None:
    refuse_full_memory(("push",), said)


async def test_any_command_tells_of_it(runner: Git) -> None:
    alias = "alias.fail=!echo 'fatal: Out of memory, malloc failed' >&2; exit 128; :"
    for accepted in (None, (0,)):
        with pytest.raises(WorkspaceError, match="git fail needs more"):
            await runner.run("-c", alias, "fail", accepted=accepted)
    with pytest.raises(GitError, match="git unheard-of failed"):
        await runner.run("unheard-of")
