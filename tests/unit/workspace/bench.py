"""Makes workspaces for tests."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID, uuid4

from treadle.domain.credentials import GitCredentials
from treadle.ports import WorkspaceRequest
from treadle.workspace import GitWorkspaces
from treadle.workspace.workspace import GitWorkspace

ORGANIZATION = UUID("11111111-2222-4333-8444-555555555555")

FILES: Mapping[str, bytes | str] = {
    "README.md": "# Demo\n",
    "src/main.py": "print(1)\n",
    "src/data.bin": bytes(range(256)),
    ".gitignore": "build/\n*.log\n",
}


IDENTITY = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")


def git(*arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> str:
    """A git of the agent's, or of anybody's; what it says."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=cwd, env=environment, input=stdin, capture_output=True, check=True)
    return done.stdout.decode()


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def _is_there(path: Path) -> bool:
    return path.exists()


async def until_there(path: Path, task: asyncio.Task[object]) -> None:
    """Waits for another process to make a file; `task` is what makes it do so, and failing that fails here."""
    while not _is_there(path):
        if task.done():
            raise AssertionError(f"ended without making {path.name}: {task.result()}")
        await asyncio.sleep(0.01)


async def permitted() -> None:
    """A lease that holds."""


class Bench:
    """Makes workspaces below one root, and removes those that a test leaves."""

    def __init__(self, root: Path, stack: AsyncExitStack) -> None:
        self.root = root
        self._stack = stack
        self._memories: list[Path] = []
        self.workspaces = self.make()

    def make(self, root: Path | None = None, **settings: object) -> GitWorkspaces:
        given: dict[str, object] = {"allow_local": True, "allow_private_hosts": True, "command_seconds": 60.0}
        made = GitWorkspaces(root or self.root, **{**given, **settings})  # type: ignore[arg-type]  # checked when called
        if made._memory is not None:
            self._memories.append(made._memory.root)
        return made

    def forget(self) -> None:
        """What the service keeps in memory from one run to the next: empty directories."""
        for memory in self._memories:
            shutil.rmtree(memory, ignore_errors=True)

    async def prepare(
        self,
        url: str | Path,
        *,
        source: str = "main",
        work: str = "work",
        credentials: GitCredentials | None = None,
        run: UUID | None = None,
        author: tuple[str, str] = ("Ada", "ada@example.com"),
        workspaces: GitWorkspaces | None = None,
    ) -> GitWorkspace:
        async def open_credentials() -> GitCredentials:
            return credentials or GitCredentials()

        request = WorkspaceRequest(run or uuid4(), ORGANIZATION, str(url), source, work, *author)
        workspace = await (workspaces or self.workspaces).prepare(request, open_credentials)
        self._stack.push_async_callback(workspace.remove)
        return workspace

    def left(self) -> list[Path]:
        """What runs have left behind."""
        runs = self.root / "runs"
        return list(runs.iterdir()) if runs.exists() else []
