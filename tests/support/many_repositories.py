"""Many bare repositories at once, some of them broken in different ways, and a batch of them: for tests and benchmarks
of batches."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.service import Service

#: One commit with one file, for `git fast-import`.
_HISTORY = b"""blob
mark :1
data 7
# Demo

commit refs/heads/main
committer Ada <ada@example.com> 1700000000 +0000
data 7
Initial
M 100644 :1 README.md

"""


@dataclass(frozen=True)
class Breakage:
    """`said`: in the failure details of its item."""

    name: str
    said: str


MISSING = Breakage("missing", "There is no repository at")
NO_BRANCH = Breakage("no-branch", "has no branch 'nowhere' to begin from")
NO_PUSH = Breakage("no-push", "You may not push here.")
ENGINE = Breakage("engine", "400")
SECRET = Breakage("secret", "holds what looks like a secret")
VALIDATION = Breakage("validation", "`false` failed with exit code 1")
VARIABLE = Breakage("variable", "variables.does: is missing")
BREAKAGES = (MISSING, NO_BRANCH, NO_PUSH, ENGINE, SECRET, VALIDATION, VARIABLE)

PLAN: dict[str, Any] = {
    "name": "Everywhere",
    "source": "${{ source }}",
    "branch": "work",
    "engine": "dummy",
    "variables": {
        "source": {"default": "main"},
        "does": {"required": True},
        "check": {"default": "true"},
    },
    "validate": {"commands": ["${{ check }}"], "tries": 0},
    "steps": ["dummy: [${{ does }}]"],
}
WELL = '{"append": ["done.txt", "1\\n"]}'


@dataclass
class ManyRepositories:
    """`targets`: as `POST /batches` takes them. `broken`: by the position of the item, from 1."""

    root: Path
    targets: list[dict[str, Any]]
    broken: dict[int, Breakage]

    def path(self, position: int) -> Path:
        return self.root / f"r{position:04}.git"

    def mend(self) -> None:
        """Those whose breakage lies in the repository itself."""
        for position, breakage in self.broken.items():
            if breakage is MISSING:
                _bare(self.path(position))
            if breakage is NO_PUSH:
                (self.path(position) / "hooks" / "pre-receive").unlink()
            if breakage is NO_BRANCH:
                _git(self.path(position), "branch", "nowhere", "main")

    def commits(self, position: int, branch: str = "work") -> int:
        """On the work branch, beyond the first one."""
        counted = _git(self.path(position), "rev-list", "--count", f"main..{branch}", check=False)
        return int(counted or 0)


def many(root: Path, count: int, breakages: Sequence[Breakage] = BREAKAGES, *, every: int = 20) -> ManyRepositories:
    """Every so manyth is broken, in turns by each of `breakages`."""
    found = ManyRepositories(root, [], {})
    root.mkdir(parents=True, exist_ok=True)
    template = root / "template.git"
    _bare(template)
    for position in range(1, count + 1):
        breakage = None
        if breakages and position % every == 0:
            breakage = breakages[(position // every - 1) % len(breakages)]
            found.broken[position] = breakage
        if breakage is not MISSING:
            _copy(template, found.path(position))
        if breakage is NO_PUSH:
            hook = found.path(position) / "hooks" / "pre-receive"
            hook.parent.mkdir(exist_ok=True)
            hook.write_text("#!/bin/sh\necho 'You may not push here.' >&2\nexit 1\n")
            hook.chmod(0o755)
        found.targets.append({"url": f"file://{found.path(position)}", "variables": _variables(breakage)})
    return found


def _variables(breakage: Breakage | None) -> dict[str, str]:
    if breakage is VARIABLE:
        return {}
    does = WELL
    if breakage is ENGINE:
        does = '{"fail": 400}'
    if breakage is SECRET:
        key = "-----BEGIN " + "RSA PRIVATE " + "KEY-----"
        body = "MIIEowIBAAKCAQEA" + "q7Zk3vT9xW2" * 12
        does = f'{{"write": ["key.pem", "{key}\\n{body}\\n-----END RSA PRIVATE KEY-----\\n"]}}'
    more = {"source": "nowhere"} if breakage is NO_BRANCH else {}
    more |= {"check": "false"} if breakage is VALIDATION else {}
    return {"does": does, **more}


def start(service: Service, repositories: ManyRepositories, **fields: Any) -> dict[str, Any]:
    """POST a batch; what is answered."""
    sent = {"plan": PLAN, "targets": repositories.targets, **fields}
    answer = service.request("POST", "/batches", json=sent)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _bare(path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", "--template=", str(path)], check=True)
    subprocess.run(["git", "-C", str(path), "fast-import", "--quiet"], input=_HISTORY, check=True)


def _copy(source: Path, target: Path) -> None:
    """A hundred times faster than Git makes one."""
    for folder, _, names in os.walk(source):
        there = target / Path(folder).relative_to(source)
        there.mkdir(parents=True)
        for name in names:
            (there / name).write_bytes((Path(folder) / name).read_bytes())


def _git(path: Path, *arguments: str, check: bool = True) -> str:
    done = subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, check=check, text=True)
    return done.stdout.strip()
