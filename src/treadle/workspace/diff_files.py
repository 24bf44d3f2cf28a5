"""The diff of two commits, written while Git is still making it."""

import asyncio
from pathlib import Path

from treadle import command
from treadle.command import CommandError
from treadle.domain.diff import DIFF_ARGUMENTS, NUMSTAT_ARGUMENTS, DiffEncoder, path_batches
from treadle.domain.errors import GitError, GitTimedOut
from treadle.ports import DiffSummary
from treadle.workspace.git import Git, failure_of, last_line, measured

_DIFF_CHUNK_BYTES = 256 << 10


async def write_diff(git: Git, source: str, head: str, json_path: Path, patch_path: Path) -> DiffSummary:
    """Structured, and the patch that it was made from. Raises GitError."""
    with measured(DIFF_ARGUMENTS):
        return await _write_diff(git, (source, head), json_path, patch_path)


async def _write_diff(git: Git, revisions: tuple[str, str], json_path: Path, patch_path: Path) -> DiffSummary:
    arguments = (*DIFF_ARGUMENTS, *revisions)
    encoder, read, patch_bytes = DiffEncoder(), 0, 0
    try:
        async with (
            asyncio.timeout(git.seconds),
            command.spawn(git.argv(*arguments), environment=git.environment, cwd=git.cwd) as running,
        ):
            with json_path.open("wb") as json_file, patch_path.open("wb") as patch_file:
                async for chunk in running.chunks(chunk_bytes=_DIFF_CHUNK_BYTES):
                    json_file.writelines(encoder.feed_pieces(chunk))
                    for paths in path_batches(encoder.unsettled):
                        encoder.settle(await git.out(*NUMSTAT_ARGUMENTS, *revisions, "--", *paths))
                    if encoder.patch_offset is not None:
                        patch_bytes += patch_file.write(chunk[max(0, encoder.patch_offset - read) :])
                    read += len(chunk)
                if await running.wait() != 0:
                    raise GitError(f"git diff failed: {last_line(running.stderr)}.")
                json_file.writelines(encoder.close_pieces())
    except TimeoutError:
        raise GitTimedOut("The diff was not ready in time.", hint="TREADLE_GIT_SECONDS sets its time.") from None
    except CommandError as error:
        raise failure_of(arguments, error) from error
    return DiffSummary(encoder.files, encoder.additions, encoder.deletions, patch_bytes)
