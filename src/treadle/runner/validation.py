"""The commands that must pass before a step is committed: run in its workspace, and what fails given back to the
engine."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

import structlog

from treadle import command, telemetry
from treadle.domain.errors import LimitExceeded, ValidationFailed
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.repository import Repository
from treadle.domain.run import Run, RunPurpose, Step
from treadle.domain.states import Phase
from treadle.domain.validation import MAX_OUTPUT, MAX_RESULTS, CommandResult, ValidationRules
from treadle.ports import Box, Clock, Sandbox, StepUpdate, Workspace
from treadle.runner.doors import Doors
from treadle.runner.limits import Limits
from treadle.runner.setup_output import SetupOutput, Telling
from treadle.runner.watching import within_limits
from treadle.services.progress import Progress
from treadle.services.secrets import RunSecrets
from treadle.settings import Settings

log = structlog.get_logger(__name__)

#: What events tell of one command's output, in bytes; then once more its end.
MAX_TOLD_BYTES = 64 << 10

#: The reason of a result while its command runs, and for ever if its worker is stopped meanwhile.
NOT_ENDED = "it has not ended"

#: Of a command, in a sentence, in characters.
_NAMED = 100
#: The first command of a line or a pipe that fails counts.
_SHELL = 'command -v bash >/dev/null 2>&1 && exec bash -eo pipefail -c "$1" 2>&1; exec sh -ec "$1" 2>&1'
_MORE = "… The rest is left out; only its end is told.\n"
_NOT_STARTED = "it could not be started"

#: Asks the engine to mend what failed: the result, the end of what was said, and which time it is.
Mend = Callable[[CommandResult, str, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class CommandRules:
    """As the settings give them: seconds for one command, and the commands' PATH."""

    seconds: float
    search_path: str

    @classmethod
    def of(cls, settings: Settings) -> "CommandRules":
        return cls(settings.validate_seconds, settings.engine_path)


def asked(run: Run, repository: Repository | None) -> ValidationRules | None:
    """What counts for the run: its own, else its repository's; None for nothing."""
    found = run.validation if run.validation is not None else repository.validation if repository is not None else None
    return found if found is not None and found.commands and run.purpose is RunPurpose.CODE else None


class Validation:
    """For one claimed run. `rules` None: nothing must pass."""

    def __init__(
        self,
        workspace: Workspace,
        rules: ValidationRules | None,
        *,
        commands: CommandRules,
        sandbox: Sandbox,
        progress: Progress,
        clock: Clock,
        limits: Limits,
        secrets: RunSecrets,
        doors: Doors,
    ) -> None:
        self._workspace = workspace
        self._rules = rules
        self._commands = commands
        self._sandbox = sandbox
        self._progress = progress
        self._clock = clock
        self._limits = limits
        self._secrets = secrets
        self._doors = doors
        self._results: tuple[CommandResult, ...] = ()
        self._scratch: Path | None = None

    @property
    def is_asked(self) -> bool:
        return self._rules is not None

    async def check(self, step: Step, mend: Mend) -> None:
        """Returns once every command has passed, one after another, on the work as it then is. Raises ValidationFailed
        after the set tries, and what `mend` raises."""
        rules = self._rules
        if rules is None:
            return
        self._results, attempt = begun(step)
        with telemetry.span("validation", step=step.position):
            while (found := await self._attempt(rules.commands, step, attempt)) is not None:
                failed, end = found
                if attempt > rules.tries:
                    raise ValidationFailed(_sentence(failed, attempt - 1))
                await mend(failed, end, attempt)
                attempt += 1

    async def _attempt(self, commands: Sequence[str], step: Step, attempt: int) -> tuple[CommandResult, str] | None:
        """The first that fails, and the end of what it said."""
        for line in commands:
            before = self._results
            # Another worker learns from it that the engine has mended what the attempt before this one found.
            open_result = CommandResult(line, None, NOT_ENDED, "", 0, attempt)
            self._results = (*before, open_result)[-MAX_RESULTS:]
            result, end = await self._run(line, step, attempt)
            self._results = (*before, result)[-MAX_RESULTS:]
            await self._progress.record(
                Draft(EventType.VALIDATION_FINISHED, _told(result), step.position, Phase.VALIDATION),
                step=StepUpdate(step.position, validation=self._results),
            )
            log.info("a validation command ended", exit_code=result.exit_code, attempt=attempt)
            if not result.is_passed:
                return result, end
        return None

    async def _run(self, line: str, step: Step, attempt: int) -> tuple[CommandResult, str]:
        began: dict[str, str | int] = {"command": line, "attempt": attempt}
        await self._progress.record(
            Draft(EventType.VALIDATION_STARTED, began, step.position, Phase.VALIDATION),
            step=StepUpdate(step.position, validation=self._results),
        )
        started = self._clock.now()
        telling = Telling(EventType.VALIDATION_OUTPUT, MAX_TOLD_BYTES, _MORE, step.position, Phase.VALIDATION)
        output = SetupOutput(self._progress, telling)
        async with output.follow():
            code, reason = await self._call(line, output, step)
        result = CommandResult(line, code, reason, output.end[-MAX_OUTPUT:], self._since(started), attempt)
        return result, output.end

    async def _call(self, line: str, output: SetupOutput, step: Step) -> tuple[int | None, str | None]:
        """Exit code; or why there is none."""
        own = await self._secrets.environment()
        box = self._box()
        environment = {**own, **self._doors.environment, **self._base(box)}
        argv = ("/bin/sh", "-c", _SHELL, "sh", line)
        try:
            with self._sandbox.enclose(argv, environment, box) as enclosed:
                async with (
                    asyncio.timeout(self._commands.seconds),
                    command.spawn(
                        enclosed.argv,
                        environment=enclosed.environment,
                        cwd=box.work_tree,
                        grace_seconds=self._limits.grace,
                    ) as process,
                ):
                    code = await within_limits(_heard(process, output), enclosed)
                if (hit := enclosed.hit()) is not None:
                    await self._hit(hit, output, step)
        except TimeoutError:
            reason = f"it took longer than {self._commands.seconds:g} s"
            output.say(f"Treadle: ended, {reason}. TREADLE_VALIDATE_SECONDS sets this limit.")
            return None, reason
        except LimitExceeded as error:
            await self._hit(error.message, output, step)
            return None, "it used more than it may"
        except command.CommandError as error:
            output.say(f"Treadle: {error.message}")
            return None, _NOT_STARTED
        finally:
            _reopen(box)
        return code if code >= 0 else 128 - code, None  # as shells count signals

    def _box(self) -> Box:
        """The workspace's, writable, without the engine's own state: what a repository's programs put there no engine
        sees. It goes with the workspace."""
        found = self._workspace.box
        if self._scratch is None:
            self._scratch = Path(mkdtemp(prefix="validation-", dir=found.home.parent))
        return replace(found, config=self._scratch, is_read_only=False, doors=self._doors.others)

    async def _hit(self, said: str, output: SetupOutput, step: Step) -> None:
        output.say(f"Treadle: {said}")
        await self._progress.record(Draft(EventType.SANDBOX_LIMIT, {"text": said}, step.position, Phase.VALIDATION))

    def _base(self, box: Box) -> dict[str, str]:
        """No key of any kind, no credentials of Git's: as setup commands have it."""
        home = self._sandbox.layout(box).home
        return {"PATH": self._commands.search_path, "HOME": str(home), "LANG": "C.UTF-8", "USER": "treadle"}

    def _since(self, started: datetime) -> int:
        return round((self._clock.now() - started).total_seconds() * 1000)


def begun(step: Step) -> tuple[tuple[CommandResult, ...], int]:
    """Where a worker before left off: the results to keep, and the number of the next attempt. Its last one is made
    again."""
    attempt = step.validation[-1].attempt if step.validation else 1
    return tuple(result for result in step.validation if result.attempt < attempt), attempt


async def _heard(process: command.Running, output: SetupOutput) -> int:
    """Feeds what the command says; its exit code."""
    async for chunk in process.chunks():
        output.feed(chunk)
    code = await process.wait()
    output.feed(process.stderr.encode())  # the sandbox's own words
    return code


def _reopen(box: Box) -> None:
    """A command may have shut the very directories that the engine begins in."""
    for directory in (box.work_tree, box.home):
        with suppress(FileNotFoundError):
            directory.chmod(directory.stat().st_mode | 0o700)


def _told(result: CommandResult) -> JsonObject:
    return {
        "command": result.command,
        "exitCode": result.exit_code,
        "reason": result.reason,
        "durationMs": result.duration_ms,
        "attempt": result.attempt,
    }


def _sentence(failed: CommandResult, mended: int) -> str:
    first, *more = failed.command.strip().splitlines()
    name = f"{first[:_NAMED]}…" if more or len(first) > _NAMED else first
    tries = f" after {mended} {'try' if mended == 1 else 'tries'} to mend it" if mended else ""
    comma = "," if tries and failed.exit_code is None else ""
    return (
        f"Nothing was committed: `{name}` {failed.how}{comma}{tries}. The step's validation has the end of its output."
    )
