"""`treadle demo`: the main job, on a repository of its own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from treadle import NotFoundError, Process, command
from treadle.cli import interrupts, output
from treadle.cli.demo_sample import BRANCH, HISTORY, NAME, STEPS
from treadle.cli.failures import Stopped
from treadle.cli.follow import exit_code
from treadle.cli.local import TRACE_FILE, Local, is_own_fault, logging_to, settings_for_one_run
from treadle.cli.local_run import print_result, run_here
from treadle.cli.options import Wish
from treadle.cli.patches import print_patch
from treadle.cli.progress import RunView
from treadle.domain.errors import ConfigurationError, GitError
from treadle.domain.run import EngineName
from treadle.scratch import scratch_directory
from treadle.settings import CONTAINER_NAMES, Settings

_SECONDS: Final = 30.0
_MAIN: Final = "main"


def demonstrate(keep: Path | None, *, is_json: bool, is_debug: bool) -> None:
    """Raises Stopped unless the run succeeds."""
    with _place(keep) as root, scratch_directory() as directory:
        # Of the user's settings only the sandbox counts: a demonstration works whatever else is set.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in {"PATH", *CONTAINER_NAMES} or name.startswith("TREADLE_SANDBOX")
        }
        settings = settings_for_one_run(environment, directory, data_dir=directory / "service")
        try:
            with logging_to(settings, directory, is_debug=is_debug):
                run = interrupts.run(_run(root, settings, directory, is_json=is_json))
        except Exception as error:
            if is_own_fault(error) and not is_debug:
                error.add_note("`treadle --debug demo` shows the service's log.")
            raise
        if keep is not None:
            shutil.copy(directory / TRACE_FILE, root / TRACE_FILE)
    if code := exit_code(run):
        raise Stopped(code)
    if not is_json:
        _say_what_next(keep)


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with scratch_directory() as scratch:
            yield scratch
        return
    root = keep.expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        is_empty = not any(root.iterdir())
    except OSError as error:
        raise ConfigurationError(f"The directory {keep} cannot be used: {error.strerror}.") from error
    if not is_empty:
        raise ConfigurationError(f"The directory {keep} is not empty.", hint="--keep takes a new or empty one.")
    yield root


async def _run(root: Path, settings: Settings, directory: Path, *, is_json: bool) -> RunView:
    bare = await _make_repository(root, settings.engine_path)

    async def conclude(local: Local, process: Process, _run: RunView) -> None:
        if is_json:
            print_result(process, root)
            return
        output.line()
        output.line(f"$ git log --oneline {BRANCH}")
        output.line(
            await _git(settings.engine_path, "-C", str(bare), "log", "--oneline", "--no-decorate", BRANCH, "--")
        )
        try:
            patch = await local.client.processes.patch(process.id)
        except NotFoundError:  # no step got as far as a commit
            return
        output.line(f"$ git diff {_MAIN} {BRANCH}")
        print_patch(patch)

    wish = Wish(
        repo=str(bare), source=_MAIN, branch=BRANCH, engine=EngineName.DUMMY, guidelines=None, steps=tuple(STEPS)
    )
    return await run_here(wish, settings, directory, conclude, is_json=is_json, wants_diff=True)


async def _make_repository(root: Path, path: str) -> Path:
    """The sample, as a bare repository below `root`."""
    bare, tree = root / f"{NAME}.git", root / NAME
    await _git(path, "init", "--quiet", "--bare", f"--initial-branch={_MAIN}", "--template=", str(bare))
    await _git(path, "init", "--quiet", f"--initial-branch={_MAIN}", "--template=", str(tree))
    for message, files in HISTORY:
        for name, content in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(content, encoding="utf-8")
        await _git(path, "-C", str(tree), "add", "--all")
        await _git(path, "-C", str(tree), "commit", "--quiet", "--no-gpg-sign", f"--message={message}")
    await _git(path, "-C", str(tree), "push", "--quiet", str(bare), _MAIN)
    shutil.rmtree(tree)
    return bare


async def _git(path: str, *arguments: str) -> str:
    """What Git says, without the user's configuration. Raises GitError."""
    environment = {
        "PATH": path,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_NAME": "Sample" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "sample@example.com" for who in ("AUTHOR", "COMMITTER")},
    }
    done = await command.run(("git", *arguments), environment=environment, seconds=_SECONDS)
    if done.exit_code != 0:
        raise GitError(f"The sample repository could not be made: {done.stderr.strip()}")
    return done.stdout.decode(errors="replace").rstrip("\n")


def _say_what_next(keep: Path | None) -> None:
    output.line()
    if keep is not None:
        output.line(f"Kept: {keep / NAME}.git and {keep / TRACE_FILE}.")
    output.line("Next, on a repository of yours: treadle run --repo URL --branch NAME --step 'What to do'")
