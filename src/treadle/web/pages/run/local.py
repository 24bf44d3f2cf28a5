"""The page of a session of a CLI on somebody's own machine: what it reports, and nothing to be done."""

from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.bodies import whole_number
from treadle.domain.errors import NotFound
from treadle.services.agent_log import LogEntry, MessageType, entry_of_line
from treadle.web.door import Visit
from treadle.web.site import Site
from treadle.web.tool_input import Block, blocks, pretty, summary

#: Lines of a page, the newest first.
PAGE_LINES = 200

_MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Line:
    """`kind`: user, text, tool or result."""

    kind: str
    date: datetime
    text: str
    tool: str = ""
    blocks: tuple[Block, ...] = ()
    is_error: bool = False


class LocalPage:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, visit: Visit) -> Response:
        id_: int = request.path_params["id"]
        if id_ > _MAX_ID:
            raise NotFound("There is no such run.")
        skip = min(whole_number(request.query_params.get("skip", "")) or 0, 1_000_000)
        session, lines, total = await self._site.services.local_sessions.log(
            visit.principal, id_, limit=PAGE_LINES, skip=skip, reverse=True
        )
        return self._site.renderer.page(
            "run_local.html",
            visit.view,
            session=session,
            lines=[_line(entry_of_line(line)) for line in reversed(lines)],
            total=total,
            older=skip + PAGE_LINES if skip + len(lines) < total else None,
            newer=max(0, skip - PAGE_LINES) if skip else None,
        )


def _line(entry: LogEntry) -> Line:
    if entry.tool_name is not None:
        given = entry.tool_input
        return Line("tool", entry.date, summary(given), entry.tool_name, tuple(blocks(given)))
    if entry.tool_output is not None:
        output = entry.tool_output.get("output")
        text = output if isinstance(output, str) else pretty(output)
        return Line("result", entry.date, text, is_error=entry.tool_output.get("is_error") is True)
    said = entry.thought or entry.observation or ""
    text = said if isinstance(said, str) else pretty(said)
    return Line("user" if entry.message_type == MessageType.USER_MESSAGE else "text", entry.date, text)
