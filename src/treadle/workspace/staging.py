"""What is staged: the answers of `git diff-index --raw --numstat -z`, `git status -z` and `git ls-tree -z`, read.
Pure."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass

GITLINK = "160000"

_META = re.compile(rb":([0-7]{6}) ([0-7]{6}) ([0-9a-f]+) ([0-9a-f]+) ([A-Z])[0-9]*")
_TWO_PATHS = frozenset({b"R", b"C"})


@dataclass(frozen=True, slots=True)
class Change:
    old_mode: str
    new_mode: str
    old_id: str
    old_path: bytes
    path: bytes
    new_id: str

    @property
    def is_new_path(self) -> bool:
        return _exists(self.new_id) and (not _exists(self.old_id) or self.old_path != self.path)

    @property
    def has_new_content(self) -> bool:
        """A file or a link whose content is another than before."""
        return self.new_mode != GITLINK and _exists(self.new_id) and self.new_id != self.old_id

    @property
    def has_old_content(self) -> bool:
        return self.old_mode != GITLINK and _exists(self.old_id)

    @property
    def is_new_repository(self) -> bool:
        """A repository inside the tree where there was none: files, or nothing."""
        return self.new_mode == GITLINK and self.old_mode != GITLINK

    @property
    def is_moved_submodule(self) -> bool:
        """A submodule that points to another commit now."""
        return self.new_mode == GITLINK and self.old_mode == GITLINK and self.old_path == self.path


@dataclass(frozen=True, slots=True)
class Staged:
    changes: tuple[Change, ...]
    additions: int = 0
    deletions: int = 0


def read_staged(output: bytes) -> Staged:
    """From `--raw -z`, with or without `--numstat`; ValueError for anything else."""
    fields = iter(output.split(b"\0")[:-1])
    changes: list[Change] = []
    additions = deletions = 0
    for field in fields:
        if match := _META.fullmatch(field):
            old_path = next(fields)
            path = next(fields) if match[5] in _TWO_PATHS else old_path
            old_mode, new_mode, old_id, new_id = (match[group].decode() for group in range(1, 5))
            changes.append(Change(old_mode, new_mode, old_id, old_path, path, new_id))
        else:
            added, deleted, path = field.split(b"\t", 2)
            if not path:  # a rename: its two paths follow
                next(fields)
                next(fields)
            if added != b"-":  # binary
                additions += int(added)
                deletions += int(deleted)
    return Staged(tuple(changes), additions, deletions)


@dataclass(frozen=True, slots=True)
class Status:
    """One path that differs from the last commit."""

    code: bytes  # the two letters of `git status`: in the index, in the work tree
    path: bytes

    @property
    def is_tracked(self) -> bool:
        return self.code != b"??"

    @property
    def is_added(self) -> bool:
        """Staged, and in no commit."""
        return self.code[:1] == b"A"


def _exists(blob: str) -> bool:
    """Git writes zeros for none."""
    return blob.strip("0") != ""


def read_statuses(output: bytes) -> tuple[Status, ...]:
    """From `git status --porcelain=v1 -z --no-renames`."""
    return tuple(Status(entry[:2], entry[3:]) for entry in split(output))


def read_status(output: bytes) -> tuple[str, ...]:
    """The paths in it."""
    return tuple(status.path.decode(errors="replace") for status in read_statuses(output))


def read_tree(output: bytes, names: Collection[bytes]) -> dict[str, str]:
    """From `git ls-tree -r -z`: the ids of the files that have one of those names, by their paths (as file names are
    decoded, so that two of them never look the same)."""
    found: dict[str, str] = {}
    for entry in split(output):
        meta, _, path = entry.partition(b"\t")
        if path.rpartition(b"/")[2] in names:
            found[os.fsdecode(path)] = meta.split()[2].decode()
    return found


def split(output: bytes) -> list[bytes]:
    """The entries of an output with `-z`."""
    return [entry for entry in output.split(b"\0") if entry]
