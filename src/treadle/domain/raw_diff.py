"""How git is asked for a diff, and the part of its answer that names files: `--raw -z`, and `--numstat -z`.

The format is in git's own manual, diff-format: `:<mode> <mode> <id> <id> <status>NUL<path>NUL`, with a second path for
renames and copies, and one more NUL before the patch.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from treadle.domain.errors import GitError

#: The arguments of git; two commits or trees (or `--cached` and one) follow them. Whatever a repository's or a user's
#: configuration could change in the output is overruled.
DIFF_ARGUMENTS: tuple[str, ...] = (
    *("-c", "diff.suppressBlankEmpty=false", "-c", "core.quotePath=true"),
    *("diff", "--raw", "-z", "--no-abbrev", "--patch", "--full-index"),
    *("--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty", "--submodule=short"),
    *("--find-renames=50%", "-l1000", "--no-color", "--no-relative", "-O/dev/null"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--unified=3", "--inter-hunk-context=0"),
    *("--diff-algorithm=myers", "--indent-heuristic"),
)

#: For `DiffEncoder.unsettled`: these, the same revisions, `--`, and one of `path_batches`.
NUMSTAT_ARGUMENTS: tuple[str, ...] = (
    *("--literal-pathspecs", "diff", "--numstat", "-z", "--no-renames"),
    *("--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty", "--no-relative"),
)

_BATCH_PATHS = 500
_BATCH_BYTES = 64 * 1024  # well below what one command line may hold

_META = re.compile(rb":([0-7]{6}) ([0-7]{6}) ([0-9a-f]{40,64}) ([0-9a-f]{40,64}) ([ACDMRT])[0-9]*")
_NO_MODE = "000000"
_REGULAR = ("100644", "100755")


class MalformedDiffError(GitError):
    """What was read is not what git writes when asked with `DIFF_ARGUMENTS`."""

    code = "diff_malformed"


@dataclass(frozen=True, slots=True)
class Section:
    """What the raw part tells about one file of the patch. Modes are git's six octal digits; ids name blobs."""

    status: str  # A, C, D, M or R
    path: bytes
    old_path: bytes | None  # of a rename or copy
    old_mode: str
    new_mode: str
    old_id: str
    new_id: str

    @property
    def has_same_blob(self) -> bool:
        """Whether there is no text to show, only another name or mode."""
        return self.old_id == self.new_id

    @property
    def is_unsettled(self) -> bool:
        """Whether the patch cannot tell if the file is binary."""
        return self.has_same_blob and self.new_mode in _REGULAR


class RawPart:
    """Reads the raw part from chunks of any size. A change of type is a deletion and a creation, as in the patch."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self._rest = b""
        self._meta: re.Match[bytes] | None = None
        self._paths: list[bytes] = []

    @property
    def is_between_entries(self) -> bool:
        return not self._rest and self._meta is None

    def feed(self, chunk: bytes) -> bytes | None:
        """Gives what follows the raw part once that is complete, else None."""
        data, start = self._rest + chunk, 0
        while (end := data.find(b"\0", start)) >= 0:
            if end == start and self._meta is None:
                self._rest = b""
                return data[end + 1 :]
            self._token(data[start:end])
            start = end + 1
        self._rest = data[start:]
        return None

    def _token(self, token: bytes) -> None:
        if self._meta is None:
            self._meta = _META.fullmatch(token)
            if self._meta is None:
                raise MalformedDiffError(f"Git's raw diff holds an entry that is none: {token[:120]!r}.")
            return
        self._paths.append(token)
        if len(self._paths) == (2 if self._meta[5] in b"CR" else 1):
            self.sections.extend(_sections(self._meta, self._paths))
            self._meta, self._paths = None, []


def _sections(meta: re.Match[bytes], paths: list[bytes]) -> Iterator[Section]:
    old_mode, new_mode, old_id, new_id, status = (part.decode("ascii") for part in meta.groups())
    no_id = "0" * len(new_id)
    if new_id == no_id and new_mode != _NO_MODE:
        raise MalformedDiffError("The diff is one with a work tree; only commits, trees and the index can be read.")
    if status == "T":
        yield Section("D", paths[0], None, old_mode, _NO_MODE, old_id, no_id)
        yield Section("A", paths[0], None, _NO_MODE, new_mode, no_id, new_id)
    else:
        yield Section(status, paths[-1], paths[0] if len(paths) > 1 else None, old_mode, new_mode, old_id, new_id)


def path_batches(paths: Iterable[bytes]) -> Iterator[tuple[str, ...]]:
    """The paths in groups that each fit a command line, as text for `subprocess`."""
    batch: list[str] = []
    size = 0
    for path in paths:
        if batch and (len(batch) == _BATCH_PATHS or size + len(path) > _BATCH_BYTES):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(os.fsdecode(path))
        size += len(path)
    if batch:
        yield tuple(batch)


def read_numstat(data: bytes) -> dict[bytes, bool]:
    """Maps each path of `git` with `NUMSTAT_ARGUMENTS` to whether it is binary."""
    found: dict[bytes, bool] = {}
    for record in data.split(b"\0")[:-1]:
        match record.split(b"\t", 2):
            case [added, _, path]:
                found[path] = added == b"-"
            case _:
                raise MalformedDiffError(f"Git's numstat holds a record that is none: {record[:120]!r}.")
    if data and not data.endswith(b"\0"):
        raise MalformedDiffError("Git's numstat ends in the middle of a record.")
    return found
