"""A container of its own for each command, by podman or docker: an image's system, read-only, and the box under
fixed paths, the same as bubblewrap's.

| inside | is |
| --- | --- |
| `/workspace` | the work tree; read-only if the box says so. The command starts here |
| `/home/agent`, `/config` | the box's home and the CLI's own state |
| `/files` | the attached files, read-only |
| everything else | the image's, read-only; it holds `python3` |
| `/tmp`, `/var/tmp`, `/dev`, `/proc` | private to this one command |

There is no network but a loopback of its own, and the box's doors on it.

Nothing of the command is known to the runtime but its words: its environment goes to the container's first process
through a pipe. A docker container is no child of its client, and podman keeps records of one, which its own clean-up
leaves when it is ended itself: so whichever watcher is left removes it, by name.
"""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports import Box, Layout
from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import supervise
from treadle.sandbox.container_leftovers import Worker, remove_leftovers
from treadle.sandbox.container_options import CONFIG, FILES, HOME, WORK_TREE, Container
from treadle.sandbox.container_pipes import Pipes
from treadle.sandbox.container_runtime import Runtime, guess, last_line
from treadle.sandbox.container_watch import WatchedContainer
from treadle.sandbox.disk_watch import DiskWatch
from treadle.scratch import scratch_directory

#: For trying it out: the first container of an image may have to copy it, for other users.
CHECK_SECONDS = 120.0

#: For the runtime to pass a signal on, and to let go of a container that has ended, besides the command's own grace.
RUNTIME_SECONDS = 3.0

_CHECK_PATH = "/usr/local/bin:/usr/bin:/bin"

_HINT = "See that the image holds python3, and that `podman run` or `docker run` works for the service's user."

#: A runtime's own failure; what it had made may be there still.
_RUNTIME_FAILED = 125


@dataclass(slots=True)
class ContainerSandbox:
    """`image`: of one kept here, never fetched. `runtime`: `podman`, `docker` or a path. `shown`: paths of the host,
    read-only at their own place in every container; `hidden`: the service's own, lest they lie in what is shown.
    `environment`: of the runtime, never of the command."""

    image: str | None
    runtime: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: BoxLimits = field(default_factory=BoxLimits)
    hidden: tuple[Path, ...] = ()
    shown: tuple[Path, ...] = ()
    runtime_options: tuple[str, ...] = ()
    seccomp_profile: Path | None = None  # unset: the runtime's own
    grace_seconds: float = 2.0
    _found: Runtime | None = field(default=None, init=False, repr=False)

    name = "container"
    enforces_read_only = True
    confines_network = True

    async def check(self) -> None:
        """Removes what dead workers left, and runs one container. Raises ConfigurationError with what was said when
        that does not work here."""
        if self.image is None:
            raise ConfigurationError(
                "The sandbox container has no image.",
                hint="Set TREADLE_SANDBOX_IMAGE to one that holds Python, Git and what the agents' tools need.",
            )
        self._found = await self._guess().identified()
        if (await self._found.ask("image", "inspect", self.image)).exit_code != 0:
            raise ConfigurationError(
                f"The sandbox container does not work here: {self._found.name} has no image {self.image}.",
                hint=f"Build it, or fetch it with {self._found.name} pull; the service itself fetches none.",
            )
        await remove_leftovers(self._found)
        with scratch_directory() as root:
            await self._try(root)

    @property
    def has_cgroups(self) -> bool:
        """After `check`: whether the runtime holds memory and processes together."""
        return self._found is not None and self._found.has_cgroups

    def layout(self, box: Box) -> Layout:  # noqa: ARG002 - the same for every box
        return Layout(work_tree=WORK_TREE, home=HOME, config=CONFIG, files=FILES)

    @contextmanager
    def enclose(self, argv: Sequence[str], environment: Mapping[str, str], box: Box) -> Iterator[WatchedContainer]:
        """A death by signal n shows as exit code 128 + n. Raises ConfigurationError without an image."""
        if self.image is None:
            raise ConfigurationError("The sandbox container has no image.", hint="Set TREADLE_SANDBOX_IMAGE.")
        runtime = self._found or self._guess()
        with scratch_directory() as made:
            container = Container(
                runtime=runtime,
                image=self.image,
                name=f"treadle-{uuid4().hex}",
                worker=str(Worker.this()),
                box=box,
                limits=self.limits,
                grace=self.grace_seconds,
                made=made,
                shown=self.shown,
                hidden=self.hidden,
                seccomp_profile=self.seccomp_profile,
            )
            user, group = container.user()
            (made / "passwd").write_text(f"agent:x:{user}:{group}:agent:{HOME}:/bin/sh\n")
            (made / "group").write_text(f"agent:x:{group}:\n")
            # Claude refuses to work unattended as root unless it believes itself in a sandbox.
            as_root = {"IS_SANDBOX": "1"} if user == 0 else {}
            with Pipes(made, {**as_root, **environment}) as pipes:
                supervised = self._supervised(runtime, container, argv)
                yield WatchedContainer(
                    supervised,
                    runtime.environment,
                    limits=self.limits,
                    disk=DiskWatch(self.limits, (box.work_tree, box.home, box.config)),
                    group=None,
                    mark=container.name,
                    pipes=pipes,
                    is_counted=runtime.has_cgroups,
                )

    def _supervised(self, runtime: Runtime, container: Container, argv: Sequence[str]) -> tuple[str, ...]:
        remove = f"{shlex.join(runtime.removal(container.name))} >/dev/null 2>&1"
        if not runtime.is_podman:  # its daemon removes what ends by itself
            remove = f'case "$1" in {_RUNTIME_FAILED} | "") {remove}; esac'
        afterwards = f"{remove}; rm -rf {shlex.quote(str(container.made))}"
        options = {
            "--parent": str(os.getpid()),
            "--grace": str(self.grace_seconds + RUNTIME_SECONDS),
            "--directory": "/",
            "--afterwards": afterwards,
        }
        flags = (word for option in options.items() for word in option)
        supervisor = (sys.executable, "-I", "-S", str(command.script_of(supervise)), *flags)
        return (*supervisor, "--", *runtime.argv(*container.run_words(argv)))

    def _guess(self) -> Runtime:
        return guess(self.runtime, self.runtime_options, self.environment)

    async def _try(self, root: Path) -> None:
        """One container, which makes a file: it must be the worker's."""
        tree, other = root / "tree", root / "other"
        tree.mkdir()
        other.mkdir()
        box = Box(work_tree=tree, home=other, config=other, files=other, is_read_only=False)
        with self.enclose(("touch", "made"), {"PATH": _CHECK_PATH}, box) as tried:
            try:
                done = await command.run(tried.argv, environment=tried.environment, seconds=CHECK_SECONDS)
            except command.CommandError as error:
                raise ConfigurationError(f"The sandbox container does not work here: {error}", hint=_HINT) from error
        if done.exit_code != 0:
            raise ConfigurationError(f"The sandbox container does not work here: {last_line(done)}", hint=_HINT)
        owner = (tree / "made").stat().st_uid
        if owner != os.geteuid():
            raise ConfigurationError(
                f"The sandbox container does not work here: files made in it belong to user {owner}.",
                hint="Run the runtime as the service's own user, and docker without a remapping of users.",
            )
