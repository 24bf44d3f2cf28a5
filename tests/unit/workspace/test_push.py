"""Pushes: to a branch that moved, to a host that refuses, and when the answer is lost."""

import asyncio
from uuid import uuid4

import pytest
from tests.support.git_server import GitServer, Kind
from tests.support.repositories import BareRepositories
from tests.unit.workspace.bench import Bench, git, permitted, script

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitAuthenticationFailed, GitError, LeaseLost, PushRejected, RebaseConflict
from treadle.workspace.workspace import GitWorkspace

pytestmark = pytest.mark.anyio

GOOD = GitCredentials(http="ada:secret-word")


async def _committed(workspace: GitWorkspace, name: str = "ours.txt", text: str = "ours\n") -> str:
    (workspace.box.work_tree / name).write_text(text)
    commit = await workspace.commit(f"Write {name}\n# a comment line", uuid4())
    assert commit is not None
    return commit.sha


async def test_a_branch_that_moved_is_rebased_upon(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    await _committed(workspace)
    await workspace.push(permitted)
    theirs = origin.commit("demo", {"theirs.txt": "theirs\n"}, branch="work")
    ours = await _committed(workspace, "more.txt")
    before = origin.log("demo", "work")
    pushed = await workspace.push(permitted)
    assert pushed != ours
    assert pushed == await workspace.head()
    log = origin.log("demo", "work")
    assert [commit.sha for commit in log] == [pushed, *[commit.sha for commit in before]]
    assert log[1].sha == theirs
    assert "\n\n# a comment line\n\nTreadle-Step: " in log[0].message
    assert (workspace.box.work_tree / "theirs.txt").read_text() == "theirs\n"
    assert await workspace.changed_paths() == ()
    assert git("rev-parse", "HEAD", "origin/work", cwd=workspace.box.work_tree).split() == [pushed, pushed]
    last = await _committed(workspace, "last.txt")
    assert await workspace.push(permitted) == last


async def test_a_new_branch_that_somebody_else_made_meanwhile(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    origin.git("demo", "branch", "work", "main")
    origin.commit("demo", {"theirs.txt": "theirs\n"}, branch="work")
    await _committed(workspace)
    await workspace.push(permitted)
    assert {"ours.txt", "theirs.txt"} <= set(origin.files("demo", "work"))
    assert len(origin.log("demo", "work")) == 3


async def test_a_step_that_somebody_made_too_keeps_its_commit(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    origin.git("demo", "branch", "work", "main")
    origin.commit("demo", {"ours.txt": "ours\n"}, branch="work")
    await _committed(workspace)
    pushed = await workspace.push(permitted)
    last = origin.log("demo", "work")[0]
    assert last.sha == pushed
    assert "Treadle-Step: " in last.message


async def test_a_step_that_its_last_worker_pushed_late_is_not_committed_again(
    bench: Bench, origin: BareRepositories
) -> None:
    """That worker was gone, and this one had cloned, when the remote took the old push."""
    workspace, step = await bench.prepare(origin.path("demo")), uuid4()
    origin.git("demo", "branch", "work", "main")
    late = origin.commit("demo", {"ours.txt": "as it was\n"}, branch="work", message=f"Do it\n\nTreadle-Step: {step}")
    tip = origin.commit("demo", {"theirs.txt": "theirs\n"}, branch="work")
    (workspace.box.work_tree / "ours.txt").write_text("done again\n")
    assert await workspace.commit("Do it", step) is not None
    assert await workspace.push(permitted) == late
    assert origin.log("demo", "work")[0].sha == tip == await workspace.head()
    assert (workspace.box.work_tree / "ours.txt").read_text() == "as it was\n"
    last = await _committed(workspace, "last.txt")
    assert await workspace.push(permitted) == last


async def test_a_conflict_names_the_files_and_keeps_the_work(bench: Bench, origin: BareRepositories) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    await _committed(workspace)
    base = await workspace.push(permitted)
    theirs = origin.commit("demo", {"ours.txt": "theirs\n", "other.txt": "x\n"}, branch="work")
    await _committed(workspace, "ours.txt", "different\n")
    with pytest.raises(RebaseConflict, match=r"conflicts with it in ours\.txt"):
        await workspace.push(permitted)
    assert origin.log("demo", "work")[0].sha == theirs
    assert (workspace.box.work_tree / "ours.txt").read_text() == "different\n"
    assert await workspace.head() == base
    assert await workspace.changed_paths() == ("ours.txt",)
    assert b"+different" in await workspace.patch()


async def test_a_push_that_is_broken_off_leaves_its_work_uncommitted(bench: Bench, origin: BareRepositories) -> None:
    """As a kill does, which keeps what the step did as a patch."""
    workspace = await bench.prepare(origin.path("demo"))
    await _committed(workspace)
    await _broken_off(workspace, at=1)
    assert await workspace.changed_paths() == ("ours.txt",)
    assert b"+ours" in await workspace.patch()
    assert "work" not in origin.branches("demo")


async def test_a_rebased_push_that_is_broken_off_leaves_the_step_as_it_was(
    bench: Bench, origin: BareRepositories
) -> None:
    workspace = await bench.prepare(origin.path("demo"))
    origin.git("demo", "branch", "work", "main")
    origin.commit("demo", {"theirs.txt": "theirs\n"}, branch="work")
    await _committed(workspace)
    await _broken_off(workspace, at=2)
    assert not (workspace.box.work_tree / "theirs.txt").exists()
    assert await workspace.changed_paths() == ("ours.txt",)
    patch = await workspace.patch()
    assert b"+ours" in patch
    assert b"theirs" not in patch


async def _broken_off(workspace: GitWorkspace, *, at: int) -> None:
    """Cancels the push right before its try of that number."""
    asked, reached = 0, asyncio.Event()

    async def permit() -> None:
        nonlocal asked
        asked += 1
        if asked == at:
            reached.set()
            await asyncio.Event().wait()

    pushing = asyncio.create_task(workspace.push(permit))
    async with asyncio.timeout(60):
        await reached.wait()
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing


async def test_what_a_hook_says_is_passed_on(bench: Bench, origin: BareRepositories) -> None:
    script(origin.path("demo") / "hooks/pre-receive", "echo 'Signed commits only, please.' >&2; exit 1")
    workspace = await bench.prepare(origin.path("demo"))
    await _committed(workspace)
    with pytest.raises(PushRejected, match=r"'work': pre-receive hook declined.*Signed commits only, please\."):
        await workspace.push(permitted)
    assert b"+ours" in await workspace.patch()
    assert "work" not in origin.branches("demo")


async def test_never_forces(bench: Bench, origin: BareRepositories) -> None:
    """A branch that was set back stays set back: the new work goes on top of it."""
    workspace = await bench.prepare(origin.path("demo"))
    await _committed(workspace)
    await workspace.push(permitted)
    origin.git("demo", "branch", "-f", "work", "main")
    theirs = origin.commit("demo", {"theirs.txt": "x\n"}, branch="work")
    await _committed(workspace, "second.txt")
    await workspace.push(permitted)
    assert [commit.sha for commit in origin.log("demo", "work")][1] == theirs
    assert "ours.txt" not in origin.files("demo", "work")


# ---- over HTTP -------------------------------------------------------------------------------------------------------


async def test_pushes_with_credentials(bench: Bench, git_server: GitServer) -> None:
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD)
    sha = await _committed(workspace)
    assert await workspace.push(permitted) == sha
    assert git_server.log("demo", "work")[0].sha == sha


async def test_a_push_that_was_taken_without_an_answer_counts(bench: Bench, git_server: GitServer) -> None:
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD)
    sha = await _committed(workspace)
    git_server.drop(Kind.RECEIVE, after=True)
    assert await workspace.push(permitted) == sha
    assert len(git_server.log("demo", "work")) == 2


async def test_a_push_that_was_taken_and_then_built_upon_counts(bench: Bench, git_server: GitServer) -> None:
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD)
    sha = await _committed(workspace)
    git_server.drop(Kind.RECEIVE, after=True)
    git_server.answer(Kind.UPLOAD_REFS, 500)  # and whether it was taken cannot be asked
    with pytest.raises(GitError, match="broke off"):
        await workspace.push(permitted)
    (workspace.box.work_tree / "more.txt").write_text("x\n")
    again = await workspace.commit("Again", uuid4())
    assert again is not None
    assert git_server.log("demo", "work")[0].sha == sha


async def test_a_push_that_was_not_taken_fails(bench: Bench, git_server: GitServer) -> None:
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD)
    await _committed(workspace)
    git_server.drop(Kind.RECEIVE)
    with pytest.raises(GitError, match="broke off"):
        await workspace.push(permitted)
    assert "work" not in git_server.branches("demo")


async def test_credentials_that_ran_out(bench: Bench, git_server: GitServer) -> None:
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD)
    await _committed(workspace)
    git_server.password = "changed-word"
    with pytest.raises(GitAuthenticationFailed, match="did not accept the credentials"):
        await workspace.push(permitted)


async def test_credentials_that_may_only_read(bench: Bench, git_server: GitServer) -> None:
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD)
    await _committed(workspace)
    git_server.answer(Kind.RECEIVE_REFS, 403, times=5)
    with pytest.raises(GitAuthenticationFailed, match="denied access"):
        await workspace.push(permitted)


async def test_a_branch_that_moves_during_the_push(bench: Bench, git_server: GitServer) -> None:
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD)
    await _committed(workspace)
    await workspace.push(permitted)
    script(
        git_server.path("demo") / "hooks/pre-receive",
        """if mkdir moved 2>/dev/null; then
            unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
            new=$(git -c user.name=a -c user.email=a@b commit-tree -p work -m theirs work^{tree})
            git update-ref refs/heads/work $new
        fi""",
    )
    await _committed(workspace, "second.txt")
    pushed = await workspace.push(permitted)
    assert [commit.subject for commit in git_server.log("demo", "work")][:2] == ["Write second.txt", "theirs"]
    assert git_server.log("demo", "work")[0].sha == pushed


async def test_a_host_that_cannot_answer_is_asked_again(bench: Bench, git_server: GitServer) -> None:
    patient = bench.make(retry_seconds=(0.01, 0.01))
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=patient)
    asked = 0

    async def permit() -> None:
        nonlocal asked
        asked += 1

    sha = await _committed(workspace)
    git_server.answer(Kind.RECEIVE, 503)
    git_server.drop(Kind.RECEIVE)
    assert await workspace.push(permit) == sha
    assert asked == 3, "before each try"
    assert git_server.log("demo", "work")[0].sha == sha


async def test_a_push_that_is_no_longer_permitted_is_not_tried_again(bench: Bench, git_server: GitServer) -> None:
    patient = bench.make(retry_seconds=(0.01, 0.01))
    workspace = await bench.prepare(git_server.url("demo"), credentials=GOOD, workspaces=patient)
    asked = 0

    async def permit() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise LeaseLost("another worker has it")

    await _committed(workspace)
    git_server.answer(Kind.RECEIVE, 503)
    with pytest.raises(LeaseLost):
        await workspace.push(permit)
    assert asked == 2
    assert "work" not in git_server.branches("demo")
