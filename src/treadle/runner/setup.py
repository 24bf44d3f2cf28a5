"""A repository's setup commands: run in a run's workspace before its first step, or what they left the last time put
back into it."""

import asyncio
import hashlib
import json
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

import anyio
import structlog

from treadle import command, telemetry
from treadle.domain.errors import ConfigurationError, LimitExceeded, NotFound, TreadleError
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.repository import Repository, SandboxStatus, SetupSandbox, SetupStatus
from treadle.domain.run import Artifact, Run, RunPurpose
from treadle.ports import Box, Clock, Sandbox, Vault, Workspace
from treadle.runner.doors import Doors
from treadle.runner.limits import Limits
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.runner.setup_archive import SetupArchive
from treadle.runner.setup_output import SetupOutput
from treadle.runner.watching import within_limits
from treadle.services.progress import Progress
from treadle.services.secrets import RunSecrets
from treadle.settings import Settings

log = structlog.get_logger(__name__)

#: A file of such a name, anywhere in the repository, says what the commands will install.
LOCK_FILES = frozenset(
    {
        *("package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", ".yarnrc.yml", "pnpm-lock.yaml"),
        *("pnpm-workspace.yaml", "bun.lock", "bun.lockb", "deno.json", "deno.lock", ".nvmrc", ".node-version"),
        *("pyproject.toml", "poetry.lock", "uv.lock", "pdm.lock", "pylock.toml", "Pipfile", "Pipfile.lock", "setup.py"),
        *("setup.cfg", "requirements.txt", "requirements-dev.txt", "requirements-test.txt", "dev-requirements.txt"),
        *("requirements.in", "requirements_dev.txt", "test-requirements.txt", "constraints.txt", "environment.yml"),
        *("conda-lock.yml", ".python-version", ".tool-versions", "mise.toml"),
        *("Gemfile", "Gemfile.lock", "gems.rb", "gems.locked", ".ruby-version"),
        *(
            "Cargo.toml",
            "Cargo.lock",
            "rust-toolchain",
            "rust-toolchain.toml",
            "go.mod",
            "go.sum",
            "go.work",
            "go.work.sum",
        ),
        *("composer.json", "composer.lock", "mix.exs", "mix.lock", "rebar.lock", "pubspec.yaml", "pubspec.lock"),
        *("packages.lock.json", "packages.config", "global.json", "Directory.Packages.props", "paket.lock"),
        *("pom.xml", "build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "gradle.lockfile"),
        *(
            "gradle-wrapper.properties",
            "libs.versions.toml",
            "build.sbt",
            "build.properties",
            "deps.edn",
            "project.clj",
        ),
        *("Package.swift", "Package.resolved", "Podfile", "Podfile.lock", "Cartfile.resolved", "cabal.project.freeze"),
        *("stack.yaml", "stack.yaml.lock", "flake.nix", "flake.lock", "conanfile.txt", "conan.lock", "vcpkg.json"),
        *(
            "renv.lock",
            "Manifest.toml",
            "Project.toml",
            "cpanfile",
            "cpanfile.snapshot",
            "apt-packages.txt",
            "Makefile",
        ),
    }
)

LOG = "setup.log"

#: When a run is stopped, its setup's row is closed within so many seconds, or not at all.
CLOSE_SECONDS = 0.5

_SCRIPT = "setup.sh"
#: Every command shows before what it says, and the first that fails is the last. Bash where there is one.
_SHELL = 'command -v bash >/dev/null 2>&1 && exec bash -ex "$1" 2>&1; exec sh -ex "$1" 2>&1'
_LAYOUT = 1  # of what is kept: another number, and nothing that is kept fits

_FAILED = """The repository's setup commands failed before you began ({how}), so what they install may be missing. \
Install what you need yourself. The end of what they said:

{fence}
{end}
{fence}"""


@dataclass(frozen=True, slots=True)
class SetupRules:
    """As the settings give them: seconds, bytes (0: nothing is kept), and the commands' PATH."""

    seconds: float
    cache_bytes: int
    search_path: str

    @classmethod
    def of(cls, settings: Settings) -> "SetupRules":
        return cls(settings.setup_seconds, settings.setup_cache_bytes, settings.engine_path)


@dataclass(frozen=True, slots=True)
class _Done:
    """How the commands ended: with an exit code, or for another reason."""

    code: int | None
    how: str


class SetupRunner:
    """For one claimed run of a registered repository. Its end, however it comes, ends the commands."""

    def __init__(
        self,
        run: Run,
        repository: Repository,
        *,
        store: PatientStore,
        blobs: PatientBlobs,
        progress: Progress,
        sandbox: Sandbox,
        clock: Clock,
        limits: Limits,
        rules: SetupRules,
        vault: Vault,
        secrets: RunSecrets,
        doors: Doors,
    ) -> None:
        self._run = run
        self._repository = repository
        self._store = store
        self._blobs = blobs
        self._progress = progress
        self._sandbox = sandbox
        self._clock = clock
        self._limits = limits
        self._rules = rules
        self._vault = vault
        self._secrets = secrets
        self._doors = doors
        self._own: Mapping[str, str] = {}

    async def run(self, workspace: Workspace) -> str | None:
        """What the agent is to be told when they failed; None when all is well, or there are none. For a workspace in
        which nothing has been done yet. Raises LeaseLost, RunError."""
        commands = (self._repository.setup_commands or "").strip()
        if not commands or self._run.purpose is not RunPurpose.CODE:
            return None
        started = self._clock.now()
        self._own = await self._secrets.environment()
        box = replace(_box(workspace), doors=self._doors.others)
        with telemetry.span("setup") as span:
            digest = await self._digest(workspace, commands)
            archive = SetupArchive(
                self._sandbox,
                self._blobs,
                self._vault,
                organization_uuid=self._run.organization_uuid,
                repository_uuid=self._repository.uuid,
                environment=self._environment(box) | {"LC_ALL": "C.UTF-8"},
                max_bytes=self._rules.cache_bytes,
            )
            is_reused = await archive.restore(workspace, box, digest)
            span.set(reused=is_reused)
            if not is_reused:
                return await self._execute(workspace, box, digest, commands, archive)
            await workspace.set_aside()
            reused: dict[str, str | int] = {"digest": digest, "durationMs": self._since(started)}
            await self._progress.record(Draft(EventType.SETUP_REUSED, reused))
            return None

    async def _digest(self, workspace: Workspace, commands: str) -> str:
        """Of all that the result depends on: tools write absolute paths and machine code into what they install. And of
        the source branch: the commands may call scripts of the repository, and what one branch has them leave is not
        for the runs of another."""
        layout = self._sandbox.layout(workspace.box)
        place = (self._sandbox.name, str(layout.work_tree), str(layout.home))
        locks = sorted((await workspace.lock_files(LOCK_FILES)).items())
        version = await self._secrets.environment_version()
        parts = [_LAYOUT, self._run.branch_source, commands, place, _system(), locks, version]
        text = json.dumps(parts)  # escapes what is no UTF-8
        return hashlib.sha256(text.encode()).hexdigest()

    async def _execute(
        self, workspace: Workspace, box: Box, digest: str, commands: str, archive: SetupArchive
    ) -> str | None:
        fence, started = self._progress.fence, self._clock.now()
        sandbox = await self._store.add_sandbox(fence, self._repository.id, digest, started)
        output = SetupOutput(self._progress)
        try:
            await self._progress.record(Draft(EventType.SETUP_STARTED, {"sandbox": sandbox.id, "digest": digest}))
            async with output.follow():
                done = await self._call(box, commands, output)
            elapsed, is_ready = self._since(started), done.code == 0
            _reopen(box)
            await workspace.set_aside()
            # What a run has committed may have changed the scripts that the commands call: its result is its own.
            is_source = workspace.prepared.work_sha == workspace.prepared.source_sha
            # Without a sandbox paths hold the run's name: nobody else could use it.
            is_shareable = str(self._run.uuid) not in str(self._sandbox.layout(box).work_tree)
            is_kept = is_ready and is_source and is_shareable and await archive.keep(workspace, box, digest)
            await self._close(sandbox, done, await self._keep_log(output))
            await self._set_status(SetupStatus.READY if is_ready else SetupStatus.FAILED)
        except BaseException:
            await self._give_up(sandbox)
            raise
        how: JsonObject = {"exitCode": done.code, "reason": done.how if done.code is None else None}
        finished = {"sandbox": sandbox.id, **how, "durationMs": elapsed, "isKept": is_kept}
        await self._progress.record(Draft(EventType.SETUP_FINISHED, finished))
        log.info("the setup commands ended", exit_code=done.code, kept=is_kept)
        return None if is_ready else _told(done, output.end)

    async def _call(self, box: Box, commands: str, output: SetupOutput) -> _Done:
        script = box.config / _SCRIPT
        script.write_text(commands.replace("\r\n", "\n") + "\n", encoding="utf-8")
        inside = self._sandbox.layout(box).config / _SCRIPT
        argv = ("/bin/sh", "-c", _SHELL, "sh", str(inside))
        try:
            with self._sandbox.enclose(argv, self._environment(box), box) as enclosed:
                async with (
                    asyncio.timeout(self._rules.seconds),
                    command.spawn(
                        enclosed.argv,
                        environment=enclosed.environment,
                        cwd=box.work_tree,
                        grace_seconds=self._limits.grace,
                    ) as process,
                ):
                    code = await within_limits(_heard(process, output), enclosed)
                if (hit := enclosed.hit()) is not None:
                    await self._hit(hit, output)
        except TimeoutError:
            done = _Done(None, f"they took longer than {self._rules.seconds:g} s")
            output.say(f"Treadle: ended, {done.how}. TREADLE_SETUP_SECONDS sets this limit.")
            return done
        except LimitExceeded as error:
            await self._hit(error.message, output)
            return _Done(None, "they used more than they may")
        except command.CommandError as error:
            output.say(f"Treadle: {error.message}")
            return _Done(None, "they could not be started")
        return _Done(code, f"exit code {code}")

    async def _keep_log(self, output: SetupOutput) -> str | None:
        """As an artifact of the run; its key."""
        key = f"runs/{self._run.uuid}/artifacts/{self._progress.fence.lease}-{LOG}"
        data = (await output.log()).encode()
        try:
            size = await self._blobs.put(key, data)
        except ConfigurationError as error:
            log.warning("the log of the setup commands could not be kept", error=error.message)
            return None
        artifact = Artifact(self._run.id, LOG, "text/plain; charset=utf-8", size, key, self._clock.now())
        await self._store.add_artifact(self._progress.fence, artifact)
        return key

    async def _close(self, sandbox: SetupSandbox, done: _Done, log_blob: str | None) -> None:
        status = SandboxStatus.READY if done.code == 0 else SandboxStatus.FAILED
        now = self._clock.now()
        await self._store.finish_sandbox(
            self._progress.fence, sandbox.id, status, now, exit_code=done.code, log_blob=log_blob
        )

    async def _set_status(self, status: SetupStatus) -> None:
        with suppress(NotFound):  # it was removed meanwhile
            await self._store.set_setup(self._repository.id, status, fence=self._progress.fence)

    async def _give_up(self, sandbox: SetupSandbox) -> None:
        """The run is stopped, or fails."""
        with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(TreadleError):
            await self._close(sandbox, _Done(None, "stopped"), None)

    async def _hit(self, said: str, output: SetupOutput) -> None:
        output.say(f"Treadle: {said}")
        await self._progress.record(Draft(EventType.SANDBOX_LIMIT, {"text": said}))

    def _environment(self, box: Box) -> dict[str, str]:
        """The repository's own secrets, and none of Treadle's: no key of any kind, no credentials of Git's."""
        home = self._sandbox.layout(box).home
        base = {"PATH": self._rules.search_path, "HOME": str(home), "LANG": "C.UTF-8", "USER": "treadle"}
        return {**self._own, **self._doors.environment, **base}

    def _since(self, started: datetime) -> int:
        return round((self._clock.now() - started).total_seconds() * 1000)


async def _heard(process: command.Running, output: SetupOutput) -> int:
    """Feeds what the commands say; their exit code."""
    async for chunk in process.chunks():
        output.feed(chunk)
    code = await process.wait()
    output.feed(process.stderr.encode())  # the sandbox's own words
    return code


def _system() -> tuple[str, ...]:
    """What programs that are built here run on."""
    found = {}
    with suppress(OSError):
        found = platform.freedesktop_os_release()
    return (platform.machine(), found.get("ID", ""), found.get("VERSION_ID", ""))


def _box(workspace: Workspace) -> Box:
    """The workspace's, writable, with a place for the script where engines keep their own state: what a repository's
    installers put there no engine sees. It goes with the workspace."""
    scratch = Path(mkdtemp(prefix="setup-", dir=workspace.box.home.parent))
    return replace(workspace.box, config=scratch, is_read_only=False)


def _told(done: _Done, end: str) -> str:
    longest = max(map(len, re.findall("`+", end)), default=0)
    return _FAILED.format(how=done.how, end=end.rstrip("\n"), fence="`" * max(3, longest + 1))


def _reopen(box: Box) -> None:
    """Commands may have shut the very directories that the agent begins in."""
    for directory in (box.work_tree, box.home):
        directory.chmod(directory.stat().st_mode | 0o700)
