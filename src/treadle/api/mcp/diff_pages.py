"""A run's diff in pages of files, short enough for a model to read."""

import asyncio
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, Field

from treadle.domain.diff import CodeDiff, DiffFile, LineKind, from_json
from treadle.domain.errors import NotFound, TooLarge
from treadle.domain.run import Run
from treadle.services.content import Content

#: Files of one answer.
MAX_FILES = 500

#: Characters of one file's patch, and of all patches of an answer.
MAX_FILE_PATCH = 50_000
MAX_PAGE_PATCH = 60_000

#: A larger diff, as JSON, is read through the API alone, in bytes: this one is read whole.
MAX_DIFF_BYTES = 32 * 1024 * 1024

_MARKS = {LineKind.CONTEXT: " ", LineKind.ADDED: "+", LineKind.REMOVED: "-"}


class DiffFileShape(BaseModel):
    """What became of one file."""

    filename: str
    old_filename: str | None = Field(description="Of a rename or a copy.")
    is_new: bool
    is_deleted: bool
    is_renamed: bool
    is_binary: bool
    additions: int
    deletions: int
    patch: str | None = Field(description="Its hunks in unified form; null: not asked for, or binary.")
    is_patch_cut: bool = Field(description="Whether it is longer than an answer may be.")

    @classmethod
    def of(cls, file: DiffFile, *, has_patch: bool) -> "DiffFileShape":
        patch = _patch(file) if has_patch and not file.is_binary else None
        return cls(
            filename=file.filename,
            old_filename=file.old_filename,
            is_new=file.is_new,
            is_deleted=file.is_deleted,
            is_renamed=file.is_renamed,
            is_binary=file.is_binary,
            additions=file.additions,
            deletions=file.deletions,
            patch=patch[:MAX_FILE_PATCH] if patch is not None else None,
            is_patch_cut=patch is not None and len(patch) > MAX_FILE_PATCH,
        )


class DiffShape(BaseModel):
    """A page of the files that a run changed, and how much it changed in all."""

    files: list[DiffFileShape]
    total: int = Field(description="How many files there are in all.")
    additions: int
    deletions: int
    next_skip: int | None = Field(description="Give this as `skip` for the next page; null: there are no more.")


async def page_of(
    content: Content | None, run: Run, *, path: str | None, has_patch: bool, limit: int, skip: int
) -> DiffShape:
    """Raises NotFound for a diff that is not there, and for a path that is not in it; TooLarge."""
    if content is None:
        if not any(step.commit_sha for step in run.steps):
            return DiffShape(files=[], total=0, additions=0, deletions=0, next_skip=None)
        if run.is_finished:
            raise NotFound("The run's diff is not kept.", hint=f"Its commits are on the branch '{run.branch_work}'.")
        raise NotFound("The diff of the run's commits is not there yet.", hint="Ask again in a moment.")
    if content.size > MAX_DIFF_BYTES:
        raise TooLarge(
            f"The diff is larger than {MAX_DIFF_BYTES:,} bytes.",
            hint=f"GET /code-generation/processes/by-id/{run.uuid}/diff has it.",
        )
    data = await content.read()
    return await asyncio.to_thread(_page, data, path=path, has_patch=has_patch, limit=limit, skip=skip)


def _page(data: bytes, *, path: str | None, has_patch: bool, limit: int, skip: int) -> DiffShape:
    diff = from_json(data)
    files = _chosen(diff, path)
    shown, room = list[DiffFileShape](), MAX_PAGE_PATCH
    for file in files[skip : skip + limit]:
        shape = DiffFileShape.of(file, has_patch=has_patch)
        room -= len(shape.patch or "")
        if shown and room < 0:
            break
        shown.append(shape)
    after = skip + len(shown)
    return DiffShape(
        files=shown,
        total=len(files),
        additions=diff.additions,
        deletions=diff.deletions,
        next_skip=after if shown and after < len(files) else None,
    )


def _chosen(diff: CodeDiff, path: str | None) -> Sequence[DiffFile]:
    if path is None:
        return diff.files
    found = [file for file in diff.files if path in {file.filename, file.old_filename}]
    if not found:
        raise NotFound("The run changed no file of that path.", hint="run_diff without a path lists them.")
    return found


def _patch(file: DiffFile) -> str:
    """As far as an answer takes it."""
    parts, size = list[str](), 0
    for line in _lines(file):
        parts.append(line)
        size += len(line)
        if size > MAX_FILE_PATCH:
            break
    return "".join(parts)


def _lines(file: DiffFile) -> Iterator[str]:
    for change in file.changes:
        yield f"{change.header}\n"
        for line in change.lines:
            yield f"{_MARKS[line.kind]}{line.content}\n"
            if line.no_newline_at_end:
                yield "\\ No newline at end of file\n"
