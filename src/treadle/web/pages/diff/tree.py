"""The changed files as folders, a screenful at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.web.pages.diff.index import FileEntry

#: So many files and folders are listed at once; folders beyond come closed, and are filled when they are opened.
MAX_LISTED = 300

#: Folders are listed so deep, then filled when they are opened.
MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Leaf:
    name: str
    entry: FileEntry


@dataclass(frozen=True, slots=True)
class Folder:
    """`name` may be several (`src/main/java`). Not `is_listed`: what is in it is to be asked for. `left_out`: how many
    of its children are beyond those that are listed."""

    name: str
    path: str  # with a slash at its end
    files: int
    additions: int
    deletions: int
    folders: "tuple[Folder, ...]" = ()
    leaves: tuple[Leaf, ...] = ()
    is_listed: bool = True
    left_out: int = 0


def grow(entries: Sequence[FileEntry], under: str = "", skip: int = 0) -> Folder:
    """The tree of what is below the folder `under` (all of it for ""), from its `skip`th child on."""
    return _Gardener().folder("", under, [entry for entry in entries if entry.path.startswith(under)], skip=skip)


class _Gardener:
    def __init__(self) -> None:
        self._room = MAX_LISTED

    def folder(self, name: str, path: str, entries: Sequence[FileEntry], *, skip: int = 0, depth: int = 0) -> Folder:
        inner: dict[str, list[FileEntry]] = {}
        leaves: list[Leaf] = []
        for entry in entries:
            first, slash, _ = entry.path[len(path) :].partition("/")
            if slash:
                inner.setdefault(first, []).append(entry)
            else:
                leaves.append(Leaf(first, entry))
        children = [*sorted(inner), *leaves]
        shown = children[skip : skip + MAX_LISTED]
        self._room -= len(shown)
        return Folder(
            name=name,
            path=path,
            files=len(entries),
            additions=sum(entry.additions for entry in entries),
            deletions=sum(entry.deletions for entry in entries),
            folders=tuple(
                self._inner(each, f"{path}{each}/", inner[each], depth=depth + 1)
                for each in shown
                if isinstance(each, str)
            ),
            leaves=tuple(each for each in shown if isinstance(each, Leaf)),
            left_out=len(children) - skip - len(shown),
        )

    def _inner(self, name: str, path: str, entries: Sequence[FileEntry], *, depth: int) -> Folder:
        """With the only folder in a folder on one line with it."""
        while True:
            only, slash, _ = entries[0].path[len(path) :].partition("/")
            if not slash or not all(entry.path.startswith(f"{path}{only}/") for entry in entries):
                break
            name, path = f"{name}/{only}", f"{path}{only}/"
        children = {entry.path[len(path) :].partition("/")[0] for entry in entries}
        if len(children) <= self._room and depth < MAX_DEPTH:
            return self.folder(name, path, entries, depth=depth)
        additions, deletions = sum(each.additions for each in entries), sum(each.deletions for each in entries)
        return Folder(name, path, len(entries), additions, deletions, is_listed=False)
