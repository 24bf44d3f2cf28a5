"""The `.git` that the agent sees in its work tree: enough for `git log`, `status`, `diff` and commits of its own, and
nothing that the service's Git ever reads. Made anew after each commit and undo, whatever became of it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from treadle.workspace.refs import HEADS, configuration, packed
from treadle.workspace.removal import remove_small

#: A sandbox shows the files under another owner and device: only size and time can be compared there.
_CONFIGURATION = """\
[core]
	checkStat = minimal
	trustctime = false
[gc]
	auto = 0
[maintenance]
	auto = false
[user]
	name = {name}
	email = {email}
[remote "origin"]
	url = {url}
	fetch = +refs/heads/*:refs/remotes/origin/*
"""


@dataclass(frozen=True, slots=True)
class AgentGit:
    """`objects`: the stores it borrows from. `hash_bytes`: the length of an object id."""

    work_tree: Path
    branch: str
    url: str
    name: str
    email: str
    objects: Sequence[Path]
    hash_bytes: int

    async def make(self, sha: str, refs: Mapping[str, str], index: Path) -> None:
        """`refs`: by full name, the work branch excepted; `index`: the service's, which fits the work tree."""
        await remove_small(self.work_tree / ".git")
        await anyio.to_thread.run_sync(self._write, sha, refs, index)

    def _write(self, sha: str, refs: Mapping[str, str], index: Path) -> None:
        git = self.work_tree / ".git"
        git.mkdir(mode=0o755)
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (git / folder).mkdir(parents=True)
        (git / "objects/info/alternates").write_text("".join(f"{path}\n" for path in self.objects))
        (git / "config").write_text(self._configuration())
        (git / "packed-refs").write_bytes(packed({**refs, HEADS + self.branch: sha}))
        exclude = index.with_name("info") / "exclude"  # what setup commands left is unseen here, too
        if exclude.exists():
            (git / "info").mkdir()
            shutil.copyfile(exclude, git / "info/exclude")
        shutil.copy2(index, git / "index")  # with its time: newer, it would hide changes made since
        # Last: without it this is no repository.
        (git / "HEAD").write_bytes(os.fsencode(f"ref: {HEADS}{self.branch}\n"))

    def _configuration(self) -> str:
        name, email, url = (_quoted(text) for text in (self.name, self.email, self.url))
        return configuration(self.hash_bytes) + _CONFIGURATION.format(name=name, email=email, url=url)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
