"""How large a commit is once it is checked out: a few kilobytes of trees can name more paths than there are atoms."""

import asyncio
from collections import Counter

from treadle.command import CommandError
from treadle.domain.errors import GitError, GitTimedOut
from treadle.workspace.git import Git, failure_of, last_line, measured, refuse_full_memory

#: What a repository's work tree may hold: files, and their bytes together.
MAX_PATHS = 1_000_000
MAX_TREE_BYTES = 64 << 30


async def check_extent(git: Git, sha: str) -> None:
    """Raises GitError for a commit that is too large to be checked out. Its trees are read no further than that."""
    blobs = await _blobs(git, sha)
    asked = b"".join(blob + b"\n" for blob in blobs)
    sizes = (await git.out("cat-file", "--batch-check=%(objectsize)", "--buffer", stdin=asked)).splitlines()
    # Of what is not there, such as a submodule's commit, it is said so.
    size = sum(int(each) * times for each, times in zip(sizes, blobs.values(), strict=True) if each.isdigit())
    if size > MAX_TREE_BYTES:
        raise GitError(f"The repository's files have more than {MAX_TREE_BYTES >> 30} GiB, which is too much.")


async def _blobs(git: Git, sha: str) -> Counter[bytes]:
    """How often each is in the work tree. Sizes are asked for afterwards: once each."""
    arguments = ("ls-tree", "-r", "-z", "--format=%(objectname)", sha)
    found, paths, rest = Counter[bytes](), 0, b""
    with measured(arguments):
        try:
            async with (
                asyncio.timeout(git.seconds),
                git.spawn(*arguments) as running,
            ):
                async for chunk in running.chunks():
                    *blobs, rest = (rest + chunk).split(b"\0")
                    found.update(blobs)
                    paths += len(blobs)
                    if paths > MAX_PATHS:
                        raise GitError(f"The repository has more than {MAX_PATHS:,} files, which is too many.")
                if await running.wait() != 0:
                    refuse_full_memory(arguments, running.stderr)
                    raise GitError(f"The repository cannot be read: {last_line(running.stderr)}.")
        except TimeoutError:
            raise GitTimedOut(
                "The repository's files could not be counted in time.",
                hint="TREADLE_GIT_SECONDS sets how long it may take.",
            ) from None
        except CommandError as error:
            raise failure_of(arguments, error) from error
    return found
