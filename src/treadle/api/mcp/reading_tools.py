"""Tools that show what a run did and changed, and those for files and repositories."""

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Annotated

from mcp.server.mcpserver import Context
from pydantic import Field

from treadle.api.deps import Services
from treadle.api.mcp.calls import Call, find, told
from treadle.api.mcp.diff_pages import MAX_FILES, DiffShape, page_of
from treadle.api.mcp.inputs import RunId
from treadle.api.mcp.shapes import (
    MAX_LOG_PAGE_TEXT,
    FileShape,
    LogEntryShape,
    LogShape,
    RepositoriesShape,
    RepositoryShape,
)
from treadle.domain.errors import InvalidInput
from treadle.domain.permissions import Permission, require
from treadle.services.runs import DiffForm

#: Entries of a page of a log, and unless another number is asked for.
MAX_LOG_ENTRIES = 200
DEFAULT_LOG_ENTRIES = 50

#: Files of a page of a diff, unless another number is asked for.
DEFAULT_DIFF_FILES = 20

#: Repositories of a page.
MAX_REPOSITORIES = 200

#: Pages begin no further on.
_MOST_SKIPPED = 10**9


class ReadingTools:
    def __init__(self, services: Services) -> None:
        self._services = services

    @told
    async def run_logs(
        self,
        context: Context,
        run: RunId,
        limit: Annotated[int, Field(ge=1, le=MAX_LOG_ENTRIES, description="At most that many.")] = DEFAULT_LOG_ENTRIES,
        skip: Annotated[
            int, Field(ge=0, le=_MOST_SKIPPED, description="The `next_skip` of the page before this one.")
        ] = 0,
        is_newest_first: Annotated[bool, Field(description="Begin with what happened last.")] = False,
    ) -> LogShape:
        """Show what happened in a run, page by page: prompts, what the engine said and thought, its tools with
        what went in and came out, answers, and what went wrong."""
        found = await find(self._services, Call.of(context).principal, run)
        events, total = await self._services.runs.log(found, limit=limit, skip=skip, reverse=is_newest_first)
        entries, room = list[LogEntryShape](), MAX_LOG_PAGE_TEXT
        for event in events:
            entry = LogEntryShape.of(event)
            room -= len(entry.model_dump_json())
            if entries and room < 0:
                break
            entries.append(entry)
        after = skip + len(entries)
        return LogShape(entries=entries, total=total, next_skip=after if after < total else None)

    @told
    async def run_diff(
        self,
        context: Context,
        run: RunId,
        path: Annotated[str | None, Field(description="Only this file.")] = None,
        has_patch: Annotated[bool, Field(description="With the changed lines; false: only which files.")] = True,
        limit: Annotated[int, Field(ge=1, le=MAX_FILES, description="At most that many files.")] = DEFAULT_DIFF_FILES,
        skip: Annotated[
            int, Field(ge=0, le=_MOST_SKIPPED, description="The `next_skip` of the page before this one.")
        ] = 0,
    ) -> DiffShape:
        """Show what a run has changed so far, file by file: what became of each, and its patch."""
        found = await find(self._services, Call.of(context).principal, run)
        content = await self._services.runs.diff_of(found, DiffForm.STRUCTURED)
        return await page_of(content, found, path=path, has_patch=has_patch, limit=limit, skip=skip)

    @told
    async def upload_file(
        self,
        context: Context,
        name: Annotated[str, Field(min_length=1, description="What the engine sees it called.")],
        text: Annotated[str | None, Field(description="What it holds, as text.")] = None,
        content_base64: Annotated[str | None, Field(description="Or as base64.")] = None,
        content_type: Annotated[str | None, Field(description="Its media type.")] = None,
    ) -> FileShape:
        """Keep a file that start_run and resume_run can show to the engine by its id."""
        principal = Call.of(context).principal
        kind = content_type or ("text/plain; charset=utf-8" if text is not None else None)
        file = await self._services.files.upload(principal, name, kind, _once(_bytes(text, content_base64)))
        return FileShape.of(file)

    @told
    async def list_repositories(
        self,
        context: Context,
        limit: Annotated[int, Field(ge=1, le=MAX_REPOSITORIES, description="At most that many.")] = MAX_REPOSITORIES,
        skip: Annotated[
            int, Field(ge=0, le=_MOST_SKIPPED, description="The `next_skip` of the page before this one.")
        ] = 0,
    ) -> RepositoriesShape:
        """List the organization's registered repositories, which start_run takes by id or name."""
        principal = Call.of(context).principal
        require(principal, Permission.READ)
        found, total = await self._services.repositories.page(principal, limit=limit, skip=skip)
        after = skip + len(found)
        return RepositoriesShape(
            repositories=[RepositoryShape.of(each) for each in found],
            total=total,
            next_skip=after if found and after < total else None,
        )


def _bytes(text: str | None, content_base64: str | None) -> bytes:
    """Raises InvalidInput."""
    if (text is None) == (content_base64 is None):
        raise InvalidInput({"text": ["Give this or content_base64."]})
    try:
        return text.encode() if text is not None else base64.b64decode(content_base64 or "", validate=True)
    except UnicodeEncodeError:
        raise InvalidInput({"text": ["Must not hold half of a surrogate pair."]}) from None
    except (binascii.Error, ValueError):
        raise InvalidInput({"content_base64": ["Is no base64."]}) from None


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
