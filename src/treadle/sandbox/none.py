"""No walls: the command sees what the worker sees. It still ends with everything that it started."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports import Box, Layout
from treadle.sandbox import supervise
from treadle.sandbox.plain import Plain


@dataclass(frozen=True, slots=True)
class NoSandbox:
    """`grace_seconds`: how long the command has after SIGTERM."""

    grace_seconds: float = 2.0
    name = "none"
    enforces_read_only = False
    confines_network = False

    async def check(self) -> None:
        """Raises ConfigurationError where the descendants of a command cannot be found."""
        pid = os.getpid()
        if not os.access(f"/proc/self/task/{pid}/children", os.R_OK):
            raise ConfigurationError(
                "This kernel does not list a process's children, so that runs could leave processes behind.",
                hint="Install bubblewrap and set TREADLE_SANDBOX=bubblewrap.",
            )

    def layout(self, box: Box) -> Layout:
        return Layout(work_tree=box.work_tree, home=box.home, config=box.config, files=box.files)

    @contextmanager
    def enclose(self, argv: Sequence[str], environment: Mapping[str, str], box: Box) -> Iterator[Plain]:
        """A death by signal n shows as exit code 128 + n. The command starts in the work tree."""
        # Claude refuses to work unattended as root unless it believes itself in a sandbox.
        as_root = {"IS_SANDBOX": "1"} if os.geteuid() == 0 else {}
        options = {
            "--parent": str(os.getpid()),
            "--grace": str(self.grace_seconds),
            "--directory": str(box.work_tree),
        }
        flags = (word for option in options.items() for word in option)
        program = shutil.which(argv[0], path=environment.get("PATH", os.defpath)) or argv[0]
        supervisor = (sys.executable, "-I", "-S", str(command.script_of(supervise)), *flags)
        yield Plain((*supervisor, "--", program, *argv[1:]), {**as_root, **environment})
