"""What runs containers here: podman, as root or as an ordinary user, or docker. What each of them can do."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from treadle import command
from treadle.domain.errors import ConfigurationError

#: Names looked for where none is set, the best first: podman's containers end with its client.
RUNTIMES = ("podman", "docker")

#: For the runtime to answer a question.
ANSWER_SECONDS = 30.0

#: Whose processes a container is for, so that what a killed worker left can be found: see `Worker`.
LABEL = "treadle.worker"

_LIMITING = frozenset({"memory", "pids"})


@dataclass(frozen=True, slots=True)
class Runtime:
    """How to call it, and what it is. `options` come before every subcommand; it gets `environment` and no other."""

    program: str
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_podman: bool = True
    is_rootless: bool = False
    has_cgroups: bool = True  # may put limits on memory and processes

    @property
    def name(self) -> str:
        return "podman" if self.is_podman else "docker"

    def argv(self, *words: str) -> tuple[str, ...]:
        """Its warnings would come among what the command says on stderr."""
        program = shutil.which(self.program, path=self.environment.get("PATH", os.defpath)) or self.program
        return (program, "--log-level", "error", *self.options, *words)

    def removal(self, container: str) -> tuple[str, ...]:
        """Ends and removes it at once, if it is there."""
        at_once = ("--time", "0", "--ignore") if self.is_podman else ()
        return self.argv("rm", "--force", *at_once, "--volumes", container)

    async def remove(self, container: str) -> None:
        await self._run(self.removal(container))

    async def ask(self, *words: str) -> command.Completed:
        """Raises ConfigurationError when it cannot be run, or does not answer."""
        return await self._run(self.argv(*words))

    async def _run(self, argv: Sequence[str]) -> command.Completed:
        try:
            return await command.run(argv, environment=self.environment, seconds=ANSWER_SECONDS)
        except command.CommandError as error:
            raise ConfigurationError(
                f"The sandbox container does not work here: {error}",
                hint="Install podman, or name the runtime in TREADLE_SANDBOX_RUNTIME.",
            ) from error

    async def identified(self) -> "Runtime":
        """This one with what it says of itself: a program called docker may be podman. Raises ConfigurationError."""
        is_podman = b"podman" in (await self.ask("--version")).stdout.lower()
        done = await self.ask("info", "--format", "{{json .}}")
        if done.exit_code != 0:
            raise ConfigurationError(
                f"The sandbox container does not work here: {last_line(done)}",
                hint="See that the command `podman info` or `docker info` works for the service's user.",
            )
        said = json.loads(done.stdout)
        found = _podman(said) if is_podman else _docker(said)
        return replace(self, is_podman=is_podman, is_rootless=found[0], has_cgroups=found[1])


def guess(
    program: str | None, options: Sequence[str], environment: Mapping[str, str], *, is_root: bool | None = None
) -> Runtime:
    """The runtime of that name, or the first of RUNTIMES that is there, before anybody asked it."""
    search_path = environment.get("PATH", os.defpath)
    name = program or next((name for name in RUNTIMES if shutil.which(name, path=search_path)), RUNTIMES[0])
    is_podman = os.path.basename(name) != "docker"  # noqa: PTH119 - a word, not a path
    is_root = os.geteuid() == 0 if is_root is None else is_root
    return Runtime(name, tuple(options), environment, is_podman=is_podman, is_rootless=is_podman and not is_root)


def last_line(done: command.Completed) -> str:
    """What a failed command said, as a sentence."""
    said = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.exit_code}"]
    return f"{said[0].removeprefix('Error: ').rstrip('.')}."


def _podman(said: dict[str, dict[str, object]]) -> tuple[bool, bool]:
    host = said["host"]
    security, controllers = host["security"], host["cgroupControllers"] or []
    is_rootless = isinstance(security, dict) and bool(security["rootless"])
    is_limiting = isinstance(controllers, list) and set(controllers) >= _LIMITING
    return is_rootless, is_limiting and not (is_rootless and host["cgroupVersion"] == "v1")


def _docker(said: dict[str, object]) -> tuple[bool, bool]:
    security = said.get("SecurityOptions") or []
    is_rootless = isinstance(security, list) and any("name=rootless" in str(option) for option in security)
    return is_rootless, bool(said.get("MemoryLimit")) and bool(said.get("PidsLimit"))
