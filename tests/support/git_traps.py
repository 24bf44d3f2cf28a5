"""Traps for Git: whatever a repository's configuration or its hooks can make it run."""

import subprocess
from pathlib import Path

_CONFIGURATION = """
[core]
    fsmonitor = {script}
    hooksPath = {hooks}
    sshCommand = {script}
    editor = {script}
    pager = {script}
    askPass = {script}
    gitProxy = {script}
    alternateRefsCommand = {script}
    attributesFile = {attributes}
[filter "trap"]
    clean = {script}
    smudge = {script}
    required = true
[filter "process"]
    process = {script}
[diff]
    external = {script}
[diff "trap"]
    textconv = {script}
    command = {script}
[merge "trap"]
    driver = {script}
[credential]
    helper = {script}
[commit]
    gpgSign = true
[push]
    gpgSign = if-asked
[gpg]
    program = {script}
[gpg "ssh"]
    program = {script}
[uploadpack]
    packObjectsHook = {script}
[remote "origin"]
    uploadpack = {script}
    receivepack = {script}
[submodule]
    recurse = true
[url "{elsewhere}"]
    insteadOf = {instead_of}
    pushInsteadOf = {instead_of}
[alias]
    add = !{script}
    diff-index = !{script}
"""

_HOOKS = (
    *("pre-commit", "post-commit", "commit-msg", "pre-push", "post-checkout", "reference-transaction", "post-rewrite"),
    *("pre-rebase", "post-index-change", "fsmonitor-watchman", "post-merge", "applypatch-msg", "pre-auto-gc"),
)


class Trap:
    """A script that leaves a mark when somebody runs it."""

    def __init__(self, folder: Path, *, instead_of: str = "/nowhere") -> None:
        self.folder = folder
        self.mark = folder / "sprung"
        self.elsewhere = folder / "elsewhere.git"
        self.script = _script(folder / "trap", f"echo \"$0 $*\" >> '{self.mark}'; cat")
        for hook in _HOOKS:
            _script(folder / "hooks" / hook, f"exec '{self.script}'")
        (folder / "attributes").write_text("* filter=trap diff=trap merge=trap\n")
        subprocess.run(["git", "init", "-q", "--bare", str(self.elsewhere)], check=True)
        self._instead_of = instead_of

    def take_mark(self) -> bool:
        """Whether it was sprung since it was last asked."""
        found = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        return found

    def configuration(self) -> str:
        return _CONFIGURATION.format(
            script=self.script,
            hooks=self.folder / "hooks",
            attributes=self.folder / "attributes",
            elsewhere=self.elsewhere,
            instead_of=self._instead_of,
        )

    def configure(self, config: Path) -> None:
        """Adds all of it to a repository's configuration, and hooks beside it."""
        config.parent.mkdir(parents=True, exist_ok=True)
        with config.open("a") as file:
            file.write(self.configuration())
        for hook in _HOOKS:
            _script(config.parent / "hooks" / hook, f"exec '{self.script}'")


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
