"""The Python that runs our own programs inside."""

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from treadle import command


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`readable`: what must be shown for it to work, None where the system's directories are enough. `is_own`: it is
    the one that runs this process, so that it reads the same bytecode."""

    program: str
    readable: Path | None
    is_own: bool

    def script(self, module: ModuleType) -> Path:
        return command.script_of(module) if self.is_own else Path(str(module.__file__))


def find_interpreter(shown: Iterable[str], search_path: str) -> Interpreter:
    """This process's own: without its virtual environment, whose packages nobody needs there. The system's where the
    own one lies apart from its library. `shown`: the directories that are there anyway."""
    program = Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
    library = Path(os.path.realpath(sys.base_prefix))
    if any(program.is_relative_to(path) and library.is_relative_to(path) for path in shown):
        return Interpreter(str(program), None, is_own=True)
    system = shutil.which("python3", path=search_path)
    if system is not None and (library == Path("/") or not program.is_relative_to(library)):
        return Interpreter(system, None, is_own=False)
    return Interpreter(str(program), library, is_own=True)
