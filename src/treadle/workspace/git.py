"""Git as a program: the environment it gets, built from nothing, and its refusals as sentences.

What a repository or a user's configuration could make Git run stays off: no system or user configuration, no hooks, no
file-system monitor, no prompts, no pager or editor, no transport but those named, no content filters (so LFS pointers
stay pointers). What a work tree could configure has no say either, because the git-dir is always given.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from treadle import command, telemetry
from treadle.command import CommandError, CommandNotFound, CommandTimedOut, Completed, OutputTooLarge, Running
from treadle.domain.errors import GitError, GitTimedOut, WorkspaceError

log = structlog.get_logger(__name__)

#: The largest output of one command that is held in memory, such as a patch of uncommitted work.
OUTPUT_BYTES = 128 << 20

#: What each Git process may allocate: it takes a hundred bytes for each line that it compares.
MAX_MEMORY_BYTES = 2 << 30

#: The same, of what takes some for each object of a repository: a clone of the largest ones passes the other.
MAX_WHOLE_MEMORY_BYTES = 8 << 30

#: Larger files are compared as binary ones, and streamed where they would be read into memory.
MAX_TEXT_BYTES = 32 << 20

#: What works in further processes: they could begin before a limit is set from outside.
_PARENTS = frozenset({"clone", "fetch", "ls-remote", "push", "rebase", "repack"})

_WHOLE = frozenset({"clone", "fetch", "repack"})

#: A limit that is lower already stays.
_WITH_LIMIT = 'ulimit -d "$0" 2> /dev/null; exec "$@"'

_NOT_FOUND = 127  # a shell's

_BLOCK = 512  # bytes, of `ulimit -f`

#: What Git says when its disk is full.
FULL_DISK = r"No space left on device|Disk quota exceeded|Out of diskspace"

_FULL_MEMORY = re.compile(
    r"^(?:fatal|error): (?:Out of memory\b|.*(?:Cannot allocate memory|\(out of memory\))$)", re.MULTILINE
)

_CONFIGURATION: Mapping[str, str] = {
    "advice.detachedHead": "false",
    "checkout.workers": "2",
    "core.alternateRefsCommand": ":",
    "core.autocrlf": "false",
    "core.bigFileThreshold": str(MAX_TEXT_BYTES),
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.protectHFS": "true",  # what a Mac or Windows would take for a .git is neither checked out nor committed
    "core.protectNTFS": "true",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "gc.pruneExpire": "never",
    "log.mailmap": "false",
    "index.version": "2",  # what index_file.py reads
    "http.lowSpeedLimit": "1",  # bytes a second: a server that prepares a large answer sends that much to stay alive
    "http.lowSpeedTime": "120",
    "init.defaultBranch": "main",
    "maintenance.auto": "false",
    "pack.threads": "4",  # each has buffers of its own
    "pack.windowMemory": "128m",
    "protocol.ext.allow": "never",
    "protocol.version": "2",
    "submodule.recurse": "false",
}


def base_environment(given: Mapping[str, str], *, allow_local: bool, follow_redirects: bool) -> Mapping[str, str]:
    """The environment of every Git command. `given`: PATH, and what the operator passes on (proxies, certificates).

    HOME names no directory: otherwise libcurl would take the operator's ~/.netrc for a tenant's run.
    """
    protocols = ("http", "https", "ssh", *(("file",) if allow_local else ()))
    configuration = {**_CONFIGURATION, "http.followRedirects": "initial" if follow_redirects else "false"}
    return {
        **given,
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_ASKPASS": "false",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_EDITOR": "false",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "force",
        **configured(configuration),
    }


def configured(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Settings as the environment variables that give them to Git; they beat every file."""
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found


@dataclass(frozen=True, slots=True)
class Access:
    """What one command needs to reach a remote: options, variables, and a command to run Git inside of."""

    options: tuple[str, ...] = ()  # `-c` settings; never a secret
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    prefix: tuple[str, ...] = ()
    stdin: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Git:
    """Runs Git on one git-dir, with one work tree or none. `seconds`: the deadline of each command. `file_bytes`: the
    largest file that it may write; one that goes on ends by SIGXFSZ."""

    environment: Mapping[str, str] = field(repr=False)
    seconds: float
    directory: Path | None = None
    work_tree: Path | None = None
    kept_fds: tuple[int, ...] = ()
    file_bytes: int | None = None

    def at(self, directory: Path, work_tree: Path | None = None, *, kept_fds: Sequence[int] = ()) -> "Git":
        return replace(self, directory=directory, work_tree=work_tree, kept_fds=tuple(kept_fds))

    def with_environment(self, more: Mapping[str, str]) -> "Git":
        return replace(self, environment={**self.environment, **more})

    def argv(self, *arguments: str, options: Sequence[str] = ()) -> tuple[str, ...]:
        place: list[str] = []
        if self.directory is not None:
            place.append(f"--git-dir={self.directory}")
        if self.work_tree is not None:
            place.append(f"--work-tree={self.work_tree}")
        return (*self._bound, "git", *place, *options, *arguments)

    @property
    def _bound(self) -> tuple[str, ...]:
        if self.file_bytes is None:
            return ()
        return ("sh", "-c", 'ulimit -c 0; ulimit -f "$0" && exec "$@"', str(self.file_bytes // _BLOCK))

    @property
    def cwd(self) -> Path:
        """Never where the service was started: that may be somebody's repository."""
        return self.work_tree or self.directory or Path("/")

    async def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        access: Access | None = None,
        seconds: float | None = None,
        accepted: Collection[int] | None = (0,),
    ) -> Completed:
        """Runs `git arguments`. Raises GitError for an exit code that is not `accepted` (None accepts any),
        GitTimedOut, WorkspaceError."""
        access = access or Access()
        argv = self.argv(*arguments, options=access.options)
        # The limits of ssh-agent, which is of a group of its own, nobody else may set.
        is_parent = bool(access.prefix) or verb(arguments) in _PARENTS
        if is_parent:
            argv = (*access.prefix, "sh", "-c", _WITH_LIMIT, str(_most_memory(arguments) >> 10), *argv)
        with measured(arguments) as span:
            try:
                done = await command.run(
                    argv,
                    environment={**self.environment, **access.environment},
                    cwd=self.cwd,
                    stdin=access.stdin or stdin,
                    seconds=seconds or self.seconds,
                    output_bytes=OUTPUT_BYTES,
                    kept_fds=self.kept_fds,
                    memory_bytes=None if is_parent else MAX_MEMORY_BYTES,
                )
            except CommandError as error:
                raise failure_of(arguments, error) from error
            log.debug("git", command=verb(arguments), exit_code=done.exit_code)
            if is_parent and done.exit_code == _NOT_FOUND:
                raise failure_of(arguments, CommandNotFound("git is not installed here."))
            if done.exit_code != 0:
                refuse_full_memory(arguments, done.stderr)
            if accepted is not None and done.exit_code not in accepted:
                refuse_full_disk(done.stderr)
                said = last_line(done.stderr) or f"exit code {done.exit_code}"
                raise GitError(f"git {verb(arguments)} failed: {said}.")
            if accepted is None and done.exit_code != 0:  # the caller makes a better error of it
                span.set(outcome="error", exit_code=done.exit_code)
            return done

    def spawn(self, *arguments: str, stdin: bytes = b"") -> AbstractAsyncContextManager[Running]:
        """For an output that is read while Git is still making it. Raises CommandError."""
        return command.spawn(
            self.argv(*arguments),
            environment=self.environment,
            cwd=self.cwd,
            stdin=stdin,
            memory_bytes=MAX_MEMORY_BYTES,
        )

    async def out(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Its output, when it succeeds."""
        return (await self.run(*arguments, stdin=stdin)).stdout


def measured(arguments: Sequence[str]) -> telemetry.Timing:
    """Around one command. Of `arguments` only the verb is said: the rest holds addresses, branches and paths."""
    name = verb(arguments)
    return telemetry.timed(telemetry.GIT_SECONDS, f"git {name}", command=name)


def verb(arguments: Sequence[str]) -> str:
    """The Git command in `arguments`, past options such as `-c name=value`."""
    words = iter(arguments)
    for word in words:
        if word == "-c":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


def failure_of(arguments: Sequence[str], error: CommandError) -> GitError | WorkspaceError:
    """What to raise for a Git command that could not run to its end."""
    name = f"git {verb(arguments)}"
    if isinstance(error, CommandTimedOut):
        return GitTimedOut(f"{name} did not end in time.", hint="TREADLE_GIT_SECONDS sets how long it may take.")
    if isinstance(error, OutputTooLarge):
        return WorkspaceError(f"{name} gave more than {OUTPUT_BYTES >> 20} MiB.")
    if isinstance(error, CommandNotFound):
        return WorkspaceError(error.message, hint="Install Git 2.37 or newer on the machine of the worker.")
    return WorkspaceError(f"{name} could not be run: {error.message}")


def refuse_full_disk(stderr: str) -> None:
    """Raises WorkspaceError if that is why a command failed: its own words name paths of this machine."""
    if re.search(FULL_DISK, stderr):
        raise WorkspaceError("The disk of the worker is full.", hint="Free some space there, or give it a larger one.")


def refuse_full_memory(arguments: Sequence[str], stderr: str) -> None:
    """Raises WorkspaceError if that is why a command failed, here and not on the remote's side."""
    if _FULL_MEMORY.search(stderr):
        raise WorkspaceError(
            f"git {verb(arguments)} needs more than {_most_memory(arguments) >> 20:,} MiB of memory, its limit.",
            hint="The repository has too many objects."
            if verb(arguments) in _WHOLE
            else "Keep files of very many lines, and very large ones, out of the repository.",
        )


def _most_memory(arguments: Sequence[str]) -> int:
    return MAX_WHOLE_MEMORY_BYTES if verb(arguments) in _WHOLE else MAX_MEMORY_BYTES


def last_line(stderr: str) -> str:
    """The last line that says something, without Git's `fatal:` and its full stop."""
    for line in reversed(stderr.splitlines()):
        if text := line.strip():
            for prefix in ("fatal: ", "error: "):
                text = text.removeprefix(prefix)
            return text.rstrip(".")
    return ""


def first_error(stderr: str) -> str:
    """The first complaint, which names what is wrong where the last only says that something was."""
    complaints = [line for line in stderr.splitlines() if line.startswith("error: ")]
    return last_line(complaints[0] if complaints else stderr)
