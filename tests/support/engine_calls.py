"""Calls an engine's real CLI as the runner would, without the runner: for tests of the engines alone."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from treadle.domain.credentials import EngineCredential
from treadle.domain.events import Draft, EventType
from treadle.domain.states import Phase
from treadle.ports import Box, Engine, EngineCall, Layout, Outcome, Sandbox

_DEADLINE_SECONDS = 150.0


@dataclass(frozen=True)
class Finished:
    """A call that ended; `lines` are those of stdout."""

    outcome: Outcome
    drafts: tuple[Draft, ...]
    lines: tuple[bytes, ...]
    exit_code: int
    stderr: str

    def texts(self, kind: EventType, name: str = "text") -> list[object]:
        """One field of every event of a kind."""
        return [draft.data[name] for draft in self.drafts if draft.type is kind]


def make_layout(root: Path) -> Layout:
    """An empty work tree, home, configuration and files below `root`."""
    layout = Layout(root / "repo", root / "home", root / "config", root / "files")
    for folder in (layout.work_tree, layout.home, layout.config, layout.files):
        folder.mkdir(parents=True, exist_ok=True)
    return layout


def make_call(
    layout: Layout,
    *,
    prompt: str = "Do it",
    credential: EngineCredential | None = None,
    session: str | None = None,
    is_structured: bool = False,
    is_read_only: bool = False,
    endpoint: str | None = None,
    model: str | None = None,
) -> EngineCall:
    return EngineCall(
        prompt=prompt,
        layout=layout,
        credential=credential or EngineCredential(api_key="sk-ant-api03-canary"),
        session=session,
        new_session=uuid4(),
        phase=Phase.ANALYSIS if is_read_only else Phase.IMPLEMENTATION,
        step_text=prompt,
        is_structured=is_structured,
        is_read_only=is_read_only,
        endpoint=endpoint,
        model=model,
    )


def written(root: Path) -> Iterator[tuple[Path, bytes]]:
    """The files below it, and what is in them. A CLI has helpers that may take some away when it has ended."""
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names):
            try:
                found = path.read_bytes() if path.is_file() and not path.is_symlink() else None
            except FileNotFoundError:
                continue
            if found is not None:
                yield path, found


def make_box(layout: Layout, *, is_read_only: bool = False) -> Box:
    """The box whose folders `make_layout` made."""
    return Box(layout.work_tree, layout.home, layout.config, layout.files, is_read_only=is_read_only)


def run_call(engine: Engine, call: EngineCall, *, sandbox: Sandbox | None = None, box: Box | None = None) -> Finished:
    """Write the call's files, run it to its end, and read what it said.

    With a sandbox, the call's layout is the one that the sandbox gives for `box`.
    """
    invocation = engine.command(call)
    box = box or make_box(call.layout)
    for name, content in invocation.files.items():
        path = box.config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
    # Claude refuses to work unattended as root unless it believes itself in a sandbox; the NoSandbox does the same.
    as_root = {"IS_SANDBOX": "1"} if os.geteuid() == 0 else {}
    argv, environment = invocation.argv, invocation.environment
    stack = ExitStack()
    if sandbox is not None:
        box = replace(box, readable=invocation.readable)
        enclosed = stack.enter_context(sandbox.enclose(argv, environment, box))
        argv, environment = enclosed.argv, enclosed.environment
    process = subprocess.Popen(
        argv,
        env={**as_root, **environment},
        cwd=box.work_tree,
        stdin=subprocess.PIPE if invocation.stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with stack, process:
        try:
            stdout, stderr = process.communicate(invocation.stdin or None, timeout=_DEADLINE_SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    lines = tuple(stdout.splitlines())
    reader = engine.reader(call)
    drafts = tuple(draft for line in lines for draft in reader.feed(line))
    text = stderr.decode(errors="replace")
    return Finished(reader.finish(process.returncode, text), drafts, lines, process.returncode, text)
