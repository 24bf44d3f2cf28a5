"""What is in a work tree and in no commit, as Git lists it."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from treadle.workspace.aside import entries_for
from treadle.workspace.git import Git
from treadle.workspace.staging import split
from treadle.workspace.submodules import Submodule, is_directory

_LIST = ("ls-files", "--others", "-z")


async def not_ignored(git: Git, open_up: Callable[[], Awaitable[None]]) -> frozenset[bytes]:
    """As entries to be set aside. `open_up`: lets the owner into all directories; what is in a closed one would be
    staged later, once it is opened."""
    arguments = (*_LIST, "--exclude-standard")
    files = await git.run(*arguments)
    if files.stderr:
        await open_up()
        files = await git.run(*arguments)
    listed = split(await git.out(*arguments, "--directory", "--no-empty-directory"))
    return entries_for(split(files.stdout), [path for path in listed if path.endswith(b"/")])


async def everything(git: Git, submodules: Sequence[Submodule], tree: Path) -> Sequence[bytes]:
    """Ignored ones and those in submodules too; a directory that holds nothing else is one, with a slash at its end."""
    found = split(await git.out(*_LIST, "--directory"))
    for each in submodules:
        if is_directory(tree, each.path):
            found += (b"%s/%s" % (each.path, name) for name in split(await each.git.out(*_LIST, "--directory")))
    return found
