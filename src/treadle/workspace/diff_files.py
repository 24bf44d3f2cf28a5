"""The diff of two commits, written while Git is still making it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from treadle.command import CommandError
from treadle.domain.diff import DIFF_ARGUMENTS, NUMSTAT_ARGUMENTS, DiffEncoder, path_batches
from treadle.domain.diff_contents import MAX_CONTENTS_BYTES, Wanted, wanted
from treadle.domain.errors import GitError, GitTimedOut
from treadle.ports import DiffSummary
from treadle.workspace.git import Git, failure_of, last_line, measured, refuse_full_memory

_DIFF_CHUNK_BYTES = 256 << 10

#: How far git looks for a NUL to tell a binary file.
_LOOKED_AT_BYTES = 8000


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
            git.spawn(*arguments) as running,
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
                    refuse_full_memory(arguments, running.stderr)
                    raise GitError(f"git diff failed: {last_line(running.stderr)}.")
                json_file.writelines(encoder.close_pieces())
    except TimeoutError:
        raise GitTimedOut("The diff was not ready in time.", hint="TREADLE_GIT_SECONDS sets its time.") from None
    except CommandError as error:
        raise failure_of(arguments, error) from error
    kept = tuple(wanted(encoder.sections))
    return DiffSummary(encoder.files, encoder.additions, encoder.deletions, patch_bytes, kept)


async def read_contents(git: Git, wanted: Sequence[Wanted]) -> Sequence[tuple[Wanted, bytes]]:
    """Of those blobs the ones that are worth keeping beside the diff, within its bounds. Raises GitError."""
    if not wanted:
        return ()
    sizes = await git.out("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", stdin=_ids(wanted))
    chosen, room = list[Wanted](), MAX_CONTENTS_BYTES
    for each, line in zip(wanted, sizes.decode().splitlines(), strict=True):
        _, kind, *size = line.split(" ")
        if kind == "blob" and int(size[0]) <= min(each.max_bytes, room):
            chosen.append(each)
            room -= int(size[0])
    found = await git.out("cat-file", "--batch", stdin=_ids(chosen)) if chosen else b""
    kept, at = list[tuple[Wanted, bytes]](), 0
    for each in chosen:
        head = found.index(b"\n", at)
        begin, end = head + 1, head + 1 + int(found[at:head].rpartition(b" ")[2])
        at = end + 1
        content = found[begin:end]
        if each.is_picture or b"\0" not in content[:_LOOKED_AT_BYTES]:
            kept.append((each, content))
    return kept


def _ids(wanted: Sequence[Wanted]) -> bytes:
    return "".join(f"{each.blob}\n" for each in wanted).encode()
