"""What setup commands left in a work tree and no commit is to hold: which paths, and how Git is told. Pure.

Git is told by patterns in `info/exclude`, so that it does not even look into a directory of a hundred thousand
dependencies. A `.gitignore` of the repository is stronger than they are, and some names cannot be written in such a
file: what comes through all the same is taken out of the index by name.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

#: A new directory with more things in it than this is set aside whole, with whatever is put there later; of others
#: only the files that are there.
MAX_NAMED = 100

#: Git compares each new path with each pattern: when there were more than this, every new directory goes whole.
MAX_PATTERNS = 2000

_MAX_DEPTH = 50

_SPECIAL = re.compile(rb"[\\*?\[ ]")
_HEADER = b"# What setup commands left.\n"


@dataclass(frozen=True, slots=True)
class Aside:
    """`entries`: paths below the work tree; one with a slash at its end is a directory with all that is in it."""

    entries: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.entries)

    def entry_of(self, path: bytes) -> bytes | None:
        """The entry that `path` is, or lies in."""
        for entry in (path, path + b"/", *_parents(path)):
            if entry in self.entries:
                return entry
        return None

    def holds(self, path: bytes) -> bool:
        return self.entry_of(path) is not None

    def exclude_file(self) -> bytes:
        """The text of an `info/exclude`. A line feed cannot be written there, nor a carriage return at a line's end."""
        sayable = (entry for entry in sorted(self.entries) if b"\n" not in entry and not entry.endswith(b"\r"))
        return _HEADER + b"".join(pattern(entry) + b"\n" for entry in sayable)


def pattern(entry: bytes) -> bytes:
    """What matches that entry and nothing else. From the root on, so that no `#` or `!` comes first."""
    return b"/" + _SPECIAL.sub(rb"\\\g<0>", entry)


def entries_for(files: Sequence[bytes], directories: Iterable[bytes]) -> frozenset[bytes]:
    """Of the untracked `files` (a repository inside the tree is one, with a slash at its end), and the `directories`
    (each with a slash at its end) that hold nothing else."""
    tops = {directory: list[bytes]() for directory in directories}
    loose: list[bytes] = []
    for path in files:
        top = next((parent for parent in _parents(path) if parent in tops), None)
        (loose if top is None else tops[top]).append(path)
    found = [entry for top, below in tops.items() for entry in _named(top, below, 0)]
    if len(found) + len(loose) > MAX_PATTERNS:
        found = [top for top, below in tops.items() if below]
    return frozenset((*loose, *found))


def _named(directory: bytes, files: Sequence[bytes], depth: int) -> Iterator[bytes]:
    if len(files) <= MAX_NAMED:
        yield from files
        return
    children: dict[bytes, list[bytes]] = {}
    for path in files:
        name, slash, _ = path[len(directory) :].partition(b"/")
        children.setdefault(directory + name + slash, []).append(path)
    if len(children) > MAX_NAMED or depth == _MAX_DEPTH:
        yield directory
        return
    for child, below in children.items():
        yield from _named(child, below, depth + 1) if child.endswith(b"/") else below


def _parents(path: bytes) -> Iterator[bytes]:
    """The directories that `path` lies in, the outermost first; itself, if it ends with a slash."""
    at = path.find(b"/")
    while at >= 0:
        yield path[: at + 1]
        at = path.find(b"/", at + 1)
