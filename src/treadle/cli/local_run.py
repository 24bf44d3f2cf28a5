"""One run with the service inside this process, from the wish to the last line on the screen."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import SecretStr

from treadle import AsyncClient, NotFoundError, Process, TreadleApiError
from treadle.cli import interrupts, output
from treadle.cli.failures import Stopped
from treadle.cli.follow import before_events, exit_code, follow
from treadle.cli.interrupts import Interrupts
from treadle.cli.local import (
    Local,
    TracingView,
    bring_database,
    logging_to,
    run_directory,
    service,
    settings_for_one_run,
)
from treadle.cli.options import Wish
from treadle.cli.patches import print_patch, stat_lines, stat_of
from treadle.cli.progress import RunView
from treadle.cli.remote_head import head_branch
from treadle.cli.start import start
from treadle.cli.views import view_of
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import ConfigurationError
from treadle.domain.run import EngineName
from treadle.settings import Settings

#: Where each engine's own users keep its key.
_USUAL_KEYS: Final = {EngineName.CLAUDE: "ANTHROPIC_API_KEY", EngineName.KIMI: "MOONSHOT_API_KEY"}

#: What to do with a run that has ended, while its service is still there.
Conclude: TypeAlias = Callable[[Local, Process, RunView], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Manner:
    """How to run and what to show. `diff` None: the list of changed files."""

    model: str | None = None
    diff: bool | None = None
    is_json: bool = False
    is_debug: bool = False


def run_locally(wish: Wish, manner: Manner) -> None:
    """Raises Stopped with the run's exit code unless it succeeds."""
    root = Settings.load(os.environ).data_dir / "local"
    with run_directory(root) as directory:
        settings = _settings(wish, manner, root, directory)
        with logging_to(settings, directory, is_debug=manner.is_debug):
            run = interrupts.run(_run(wish, manner, settings, directory))
    if code := exit_code(run):
        raise Stopped(code)


def _settings(wish: Wish, manner: Manner, root: Path, directory: Path) -> Settings:
    overrides: dict[str, object] = {"data_dir": root}
    name = wish.engine.lower()
    if manner.model is not None and wish.engine is not EngineName.DUMMY:
        overrides[f"{name}_model"] = manner.model
    settings = settings_for_one_run(os.environ, directory, **overrides)
    usual = os.environ.get(_USUAL_KEYS.get(wish.engine, ""))
    if usual and getattr(settings, f"{name}_api_key") is None:
        settings = settings.model_copy(update={f"{name}_api_key": SecretStr(usual)})
    if wish.engine is not EngineName.DUMMY and not (wish.engine_key or getattr(settings, f"{name}_api_key")):
        raise ConfigurationError(
            f"There is no API key for {wish.engine}.",
            hint=f"Set {_USUAL_KEYS[wish.engine]}, or give --engine-key-env or -file. --engine Dummy needs none.",
        )
    return settings


async def _run(wish: Wish, manner: Manner, settings: Settings, directory: Path) -> RunView:
    async def conclude(local: Local, process: Process, run: RunView) -> None:
        await _conclude(local, process, run, wish, manner)

    await bring_database(settings, settings.data_dir, directory)
    return await run_here(wish, settings, directory, conclude, is_json=manner.is_json, wants_diff=bool(manner.diff))


async def run_here(
    wish: Wish, settings: Settings, directory: Path, conclude: Conclude, *, is_json: bool, wants_diff: bool
) -> RunView:
    """Runs it to its end, shows it meanwhile, and calls `conclude` while the service is still there."""
    with Interrupts() as interrupted:
        source = wish.source or await head_branch(wish.repo, _git_credentials(wish))
        async with service(settings, directory) as local:
            process = await start(local.client, wish, source=source, wants_diff=is_json and wants_diff)
            shown = view_of(before_events(process), as_json=is_json, hint="Ctrl-C kills the run")
            interrupted.is_polite = True
            async with killing(local.client, process, interrupted):
                run = await follow(local.client, process, TracingView(shown, directory))
            interrupted.is_polite = False
            await conclude(local, await local.client.processes.get(process.id), run)
        return run


@asynccontextmanager
async def killing(client: AsyncClient, process: Process, interrupted: Interrupts) -> AsyncIterator[None]:
    """Kills the run when somebody asks this process to end, while inside."""

    async def kill() -> None:
        await interrupted.asked.wait()
        await client.processes.kill(process.id)

    task = asyncio.create_task(kill(), name="kill")
    try:
        yield
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, TreadleApiError) and outcome.status != 409:  # noqa: PLR2004 - it had ended by itself
            raise outcome


async def _conclude(local: Local, process: Process, run: RunView, wish: Wish, manner: Manner) -> None:
    """What is shown after the run's own ending."""
    if not manner.is_json and manner.diff is not False:
        await _show_diff(local.client, process, whole=bool(manner.diff))
    partial = await local.keep_partial_work(process)
    if manner.is_json:
        print_result(process, local.directory)
        return
    wants_credentials = not (wish.ssh_key or wish.http_credentials or wish.repo.startswith(("/", "file:")))
    if run.status == "Failed" and all(step.started is None for step in run.steps) and wants_credentials:
        output.note("Hint: --ssh-key or --http-credentials-env gives credentials for a repository that is not public.")
    for path in partial:
        output.note(f"The uncommitted work was kept: {path}")
    output.note(f"Trace and log: {local.directory}")


def print_result(process: Process, directory: Path) -> None:
    """The last of the JSON lines: the run as it ended, for whoever has no service to ask any more."""
    output.as_json({"type": "run.result", "run": dict(process.raw), "directory": str(directory)}, indent=False)


async def _show_diff(client: AsyncClient, process: Process, *, whole: bool) -> None:
    try:
        if whole:
            print_patch(await client.processes.patch(process.id))
            return
        changes = stat_of(await client.processes.diff(process.id))
    except NotFoundError:  # no step got as far as a commit
        return
    for line in stat_lines(changes, output.width()) if changes else ():
        output.line(line)


def _git_credentials(wish: Wish) -> GitCredentials:
    key = wish.ssh_key.read_text(encoding="utf-8", errors="replace") if wish.ssh_key is not None else None
    return GitCredentials(http=wish.http_credentials, ssh_key=key)
