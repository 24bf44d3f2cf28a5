"""/automation/script-runs/N: how far a run of a script is, what it waits for, its log and its outputs, live."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import AlreadyFinished, NotFound
from treadle.domain.script_runs import ScriptLogLine, ScriptRun
from treadle.web.door import Visit, see_other
from treadle.web.forms import number_of
from treadle.web.live import Change, event_stream
from treadle.web.pages.automation.names import GONE, users_of
from treadle.web.pages.automation.scripts import PATH, RUNS
from treadle.web.site import Site

#: Lines of a log that are shown: the last ones, or those before `?before=`.
LINES = 500

#: Of outputs that are shown, in characters; the API has all of them.
MAX_SHOWN_OUTPUT = 100_000

#: Between two looks at a run that is watched, in seconds.
LOOK_SECONDS = 1.0

#: Above this no line is numbered.
_LAST_LINE = 2**31 - 1

DONE = {"killed": "The run is ended. The runs that it started go on."}


def routes(site: Site) -> Sequence[Route]:
    pages, page, one = _Pages(site), site.door.page, f"{RUNS}/{{id:int}}"
    return [
        Route(one, page(pages.show), methods=["GET"]),
        Route(f"{one}/stream", page(pages.follow), methods=["GET"]),
        Route(f"{one}/kill", page(pages.kill), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class Shown:
    """What changes while one looks. `waits_for`: the id of the run that is awaited, where the viewer sees it;
    `earlier`: the number of the first line that is shown, where there are others before it."""

    run: ScriptRun
    lines: Sequence[ScriptLogLine]
    waits_for: int | None
    outputs: str | None

    @property
    def earlier(self) -> int | None:
        return self.lines[0].number if self.lines and self.lines[0].number > 1 else None


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?before=` a line's number for those before it."""
        return await self._one(request, visit, done=DONE.get(request.query_params.get("done", "")))

    async def follow(self, request: Request, visit: Visit) -> Response:
        await self.site.services.scripts.run(visit.principal, request.path_params["id"])
        return event_stream(self._changes(request, visit))

    async def kill(self, request: Request, visit: Visit) -> Response:
        try:
            run = await self.site.services.scripts.kill(visit.principal, request.path_params["id"])
        except AlreadyFinished as error:
            return await self._one(request, visit, trouble=error.sentence(), status=409)
        return see_other(f"{RUNS}/{run.id}?done=killed")

    async def _one(
        self,
        request: Request,
        visit: Visit,
        *,
        done: str | None = None,
        trouble: str | None = None,
        status: int = 200,
    ) -> Response:
        before = number_of(request.query_params.get("before", ""))
        shown = await self._look(request, visit, min(before, _LAST_LINE) if before else None)
        users = await users_of(self.site, visit.principal)
        return self.site.renderer.page(
            "automation_script_run.html",
            replace(visit.view, path=f"{PATH}/runs"),
            status=status,
            done=done,
            trouble=trouble,
            shown=shown,
            is_live=not shown.run.is_finished and before is None,
            is_earlier=before is not None,
            who=users.get(shown.run.user_id, GONE),
            inputs=json.dumps(shown.run.inputs, indent=2, ensure_ascii=False) if shown.run.inputs else None,
        )

    async def _changes(self, request: Request, visit: Visit) -> AsyncGenerator[Change, None]:
        last = ""
        while True:
            session = await self.site.services.sessions.principal(visit.token)
            if session is None or session.principal != visit.principal:
                return
            shown = await self._look(request, visit, None)
            html = self.site.renderer.fragment("automation_script_run.html", "changes", view=visit.view, shown=shown)
            is_last = shown.run.is_finished
            if html != last or is_last:
                yield Change(html, is_last=is_last)
            if is_last:
                return
            last = html
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, request: Request, visit: Visit, before: int | None) -> Shown:
        scripts, who = self.site.services.scripts, visit.principal
        run = await scripts.run(who, request.path_params["id"])
        last = run.log_lines if before is None else before - 1
        after = max(0, last - LINES)
        limit = LINES if before is None else min(LINES, last)
        lines = (await scripts.log(who, run.id, after=after, limit=limit))[1] if limit > 0 else ()
        return Shown(run, lines, await self._awaited(visit, run), _outputs(run))

    async def _awaited(self, visit: Visit, run: ScriptRun) -> int | None:
        wanted = run.waits_for.get("run") if run.waits_for is not None and not run.is_finished else None
        if not isinstance(wanted, str):
            return None
        try:
            return (await self.site.services.runs.get(visit.principal, UUID(wanted))).id
        except (ValueError, NotFound):
            return None


def _outputs(run: ScriptRun) -> str | None:
    if run.outputs is None:
        return None
    text = json.dumps(run.outputs, indent=2, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_OUTPUT else f"{text[:MAX_SHOWN_OUTPUT]}…"
