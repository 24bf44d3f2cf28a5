"""The service inside a command: for one run, here and now, with nothing left of it but a trace."""

import asyncio
import base64
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

import httpx2

from treadle import AsyncClient, Process, TreadleApiError, factory, logs, sandbox, server
from treadle.cli import output
from treadle.cli.failures import Stopped
from treadle.cli.progress import RunView
from treadle.cli.views import Report, View
from treadle.domain.errors import ConfigurationError, TreadleError
from treadle.domain.identity import Organization
from treadle.factory import Parts
from treadle.ports import RunFilter
from treadle.services.files import blob_key
from treadle.settings import PREFIX, Settings
from treadle.store.address import sqlite_url

#: What earlier runs left is kept for this long, in days.
KEPT_DAYS: Final = 30

#: Below the data directory of local runs: one directory a run. (`runs` is the workspaces'.)
HISTORY: Final = "history"

TRACE_FILE: Final = "trace.jsonl"
LOG_FILE: Final = "service.log"
DATABASE_FILE: Final = "run.db"

#: Settings that say where a server keeps things and who may use it: not for a service of one run.
_OF_SERVER: Final = (
    *("DATABASE_URL", "BROKER_URL", "BLOB_URL", "BOOTSTRAP_API_KEY"),
    *("SECRET_KEY", "SECRET_KEY_FILE", "SECRET_KEY_COMMAND"),
    *("ORGANIZATION_SLOTS", "OPERATIONS_PORT", "OTLP_ENDPOINT"),
)

_BASE_FILE: Final = "base.db"
_DRAIN_SECONDS: Final = 3.0

_SERVER_ERRORS: Final = 500

_NO_WALLS: Final = "Warning: the engine runs without a sandbox, and can see and change all that you can."

#: More than one run has of anything.
_MANY: Final = 1000


@dataclass(frozen=True, slots=True)
class Local:
    """A running service. `directory` is this run's own, and stays."""

    client: AsyncClient
    parts: Parts
    organization: Organization
    directory: Path

    async def keep_partial_work(self, process: Process) -> list[Path]:
        """Copies the uncommitted work of a failed step out of the blobs, which are cleared afterwards."""
        store, blobs, kept = self.parts.store, self.parts.blobs, []
        run = await store.get_run(process.id, RunFilter(self.organization.id))
        for artifact in await store.artifacts(run.id):
            if artifact.name.startswith("partial-work"):
                path = self.directory / Path(artifact.name).name
                path.write_bytes(await blobs.get(artifact.blob))
                kept.append(path)
        return kept


def settings_for_one_run(environment: Mapping[str, str], directory: Path, **overrides: object) -> Settings:
    """The environment's settings without those of a server. Any repository is allowed, for nobody else asks."""
    return Settings.load(
        {name: value for name, value in environment.items() if name.removeprefix(PREFIX) not in _OF_SERVER},
        **{
            "database_url": sqlite_url(directory / DATABASE_FILE),
            "bootstrap_api_key": secrets.token_urlsafe(32),
            "secret_key": base64.b64encode(secrets.token_bytes(32)).decode(),
            "allow_local_repositories": True,
            "allow_private_hosts": True,
            "slots": 1,
            "drain_seconds": _DRAIN_SECONDS,
            "rate_limit_code_generation": "0",
            "log_format": "text",
            **overrides,
        },
    )


@contextmanager
def run_directory(root: Path) -> Iterator[Path]:
    """A new directory for one run below `root`. Afterwards its trace and log are in it, if it came to a run."""
    for leavings in (root / HISTORY, root / "blobs" / "runs"):
        _forget_old(leavings)
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    directory = root / HISTORY / name
    try:
        directory.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise ConfigurationError(
            f"The directory {root} cannot be written to: {error.strerror}.", hint="TREADLE_DATA_DIR names another one."
        ) from error
    has_news = False
    try:
        yield directory
    except Exception as error:
        if has_news := is_own_fault(error):
            error.add_note(f"The service's log: {directory / LOG_FILE}")
        raise
    finally:
        if has_news or (directory / TRACE_FILE).exists():
            for path in directory.glob("*.db*"):
                path.unlink(missing_ok=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def is_own_fault(error: Exception) -> bool:
    """Whether neither the user nor a setting is to blame, so that the service's log should be looked at."""
    if isinstance(error, TreadleApiError):
        return error.status is None or error.status >= _SERVER_ERRORS
    return not isinstance(error, TreadleError | Stopped)


@contextmanager
def logging_to(settings: Settings, directory: Path, *, is_debug: bool) -> Iterator[None]:
    """The service's log goes into a file, out of the view's way; with `is_debug` to standard error."""
    if is_debug:
        logs.configure(settings)
        yield
        return
    with (directory / LOG_FILE).open("w", encoding="utf-8") as stream:
        logs.configure(settings, stream=stream)
        yield
        logs.configure(settings)


@asynccontextmanager
async def service(settings: Settings, directory: Path) -> AsyncIterator[Local]:
    """The service on a free port of this machine, and a client with a key of its own. Where no sandbox works it goes
    without, and says so: the repository and the machine are one person's."""
    box, fault = await sandbox.choose_or_none(settings)
    if fault is not None:
        output.note(f"{_NO_WALLS} {fault.message} `treadle doctor` says what to do.")
    async with factory.assemble(settings) as parts:
        identity = parts.services.identity
        (organization, *_), ((user, _), *_) = await identity.organizations(), await identity.users(1)
        _, key = await identity.create_key(user.email, organization.id, name="local")
        # Never by the proxy of the environment.
        direct = httpx2.AsyncHTTPTransport()
        try:
            async with (
                server.running(parts, box=box),
                server.listening(factory.app(parts), "127.0.0.1", 0) as address,
                AsyncClient(address, key, transport=direct) as client,
            ):
                yield Local(client, parts, organization, directory)
        finally:
            await _clear_blobs(parts, organization)


async def bring_database(settings: Settings, root: Path, directory: Path) -> None:
    """A database for one run, with the organization that every local run is of: the mirrors are an organization's, and
    the next run on a repository shall find its mirror."""
    base = root / _BASE_FILE
    if not base.exists():
        made = directory / _BASE_FILE
        async with factory.assemble(settings.model_copy(update={"database_url": sqlite_url(made)})):
            pass
        made.replace(base)  # one that another process made meanwhile is as good
    await asyncio.to_thread(shutil.copyfile, base, directory / DATABASE_FILE)


async def _clear_blobs(parts: Parts, organization: Organization) -> None:
    """What this run kept there: everything that the database knows of."""
    for run in await parts.store.list_runs(RunFilter(organization.id), limit=_MANY):
        await parts.blobs.delete_prefix(f"runs/{run.uuid}/")
    for file in await parts.store.list_files(organization.id, None, limit=_MANY):
        await parts.blobs.delete(blob_key(organization.uuid, file.id))


class TracingView:
    """Writes every event down, as a line of JSON, and passes it on."""

    def __init__(self, view: View, directory: Path) -> None:
        self._view = view
        self._path = directory / TRACE_FILE
        self._file: TextIO | None = None

    @property
    def run(self) -> RunView:
        return self._view.run

    async def __aenter__(self) -> Self:
        self._file = self._path.open("w", encoding="utf-8", buffering=1)  # a line at a time: kept whatever happens
        await self._view.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        await self._view.__aexit__(kind, error, trace)

    def show(self, event: Report) -> None:
        if self._file is not None:
            self._file.write(json.dumps(event.raw, separators=(",", ":")) + "\n")
        self._view.show(event)


def _forget_old(root: Path) -> None:
    if not root.is_dir():
        return
    limit = time.time() - KEPT_DAYS * 86_400
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink() and path.stat().st_mtime < limit:
            shutil.rmtree(path, ignore_errors=True)
