"""/automation/batches/N: how far one is and what came of each of its repositories, live; stopped, tried again, and
downloaded."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from treadle.api.downloads import attachment
from treadle.domain.batch import MAX_BATCH_CONCURRENCY, MAX_BATCH_ITEMS, Batch, BatchItem, ItemStatus
from treadle.domain.errors import AlreadyFinished, Conflict, InvalidInput, NotFound
from treadle.services.batch_report import ReportForm, report
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, number_of, refused, text_of
from treadle.web.live import Change, event_stream
from treadle.web.pages.automation.batches import PATH
from treadle.web.pages.automation.names import GONE, users_of
from treadle.web.pages.automation.plan_fields import plan_text
from treadle.web.render import SECURITY_HEADERS
from treadle.web.site import Site

#: Repositories of a page.
SHOWN_ITEMS = 50

#: Between two looks at a batch that is watched, in seconds.
LOOK_SECONDS = 1.0

DONE = {
    "started": "The batch is started.",
    "retried": "What had not succeeded is tried again.",
    "stopped": "The batch is being stopped: it starts no more, and its runs are ended.",
    "changed": "The number of runs at once is changed.",
}

_MEDIA = {
    ReportForm.CSV: "text/csv; charset=utf-8",
    ReportForm.JSON: "application/json",
    ReportForm.MARKDOWN: "text/markdown; charset=utf-8",
}


def routes(site: Site) -> Sequence[Route]:
    pages, page, one = _Pages(site), site.door.page, f"{PATH}/{{id:int}}"
    return [
        Route(one, page(pages.show), methods=["GET"]),
        Route(f"{one}/stream", page(pages.follow), methods=["GET"]),
        Route(f"{one}/report", page(pages.report), methods=["GET"]),
        Route(f"{one}/retry", page(pages.retry), methods=["POST"]),
        Route(f"{one}/kill", page(pages.kill), methods=["POST"]),
        Route(f"{one}/concurrency", page(pages.concurrency), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class Sight:
    """Which of a batch's repositories are shown, as the address says it."""

    status: ItemStatus | None = None
    after: int = 0

    @classmethod
    def of(cls, query: QueryParams) -> "Sight":
        after = number_of(query.get("after_item", "")) or 0
        return cls(
            next((each for each in ItemStatus if each == query.get("status")), None), min(after, MAX_BATCH_ITEMS)
        )

    @property
    def statuses(self) -> frozenset[ItemStatus] | None:
        if self.status is ItemStatus.RUNNING:
            return frozenset({ItemStatus.STARTING, ItemStatus.RUNNING})
        return frozenset({self.status}) if self.status is not None else None

    def query(self, after: int | None = None) -> str:
        given = {"status": self.status or "", "after_item": str(after or "")}
        return urlencode({name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a batch changes while one looks. `following`: the position after which the next page begins."""

    batch: Batch
    items: Sequence[BatchItem]
    following: int | None
    sight: Sight

    @property
    def chips(self) -> Sequence[tuple[ItemStatus, int]]:
        counts = self.batch.counts
        return [
            (ItemStatus.RUNNING, counts.running),
            (ItemStatus.SUCCESS, counts.succeeded),
            (ItemStatus.FAILED, counts.failed),
            (ItemStatus.KILLED, counts.killed),
            (ItemStatus.SKIPPED, counts.skipped),
            (ItemStatus.NOT_STARTED, counts.not_started),
        ]

    @property
    def left(self) -> int:
        """What a retry would try again."""
        counts = self.batch.counts
        return counts.failed + counts.killed + counts.skipped

    @property
    def is_stopping(self) -> bool:
        return self.batch.date_kill_requested is not None and not self.batch.is_finished


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?status=` of its repositories, `?after_item=` a position for those behind."""
        return await self._one(request, visit, done=DONE.get(request.query_params.get("done", "")))

    async def _one(
        self,
        request: Request,
        visit: Visit,
        *,
        form: Form | None = None,
        done: str | None = None,
        trouble: str | None = None,
        status: int = HTTPStatus.OK,
    ) -> Response:
        shown = await self._look(request, visit, Sight.of(request.query_params))
        batch, users = shown.batch, await users_of(self.site, visit.principal)
        return self.site.renderer.page(
            "batch.html",
            replace(visit.view, path=PATH),
            status=status,
            done=done,
            trouble=trouble,
            shown=shown,
            who=users.get(batch.user_id, GONE),
            plan_text=plan_text(batch.plan),
            form=form or Form("batch", {"concurrency": str(batch.concurrency)}),
            most_at_once=MAX_BATCH_CONCURRENCY,
            forms_of_report=[("csv", "CSV"), ("json", "JSON"), ("md", "Markdown")],
        )

    async def follow(self, request: Request, visit: Visit) -> Response:
        """What changes in the bars, the figures and the shown repositories."""
        sight = Sight.of(request.query_params)
        await self.site.services.batches.get(visit.principal, request.path_params["id"])
        return event_stream(self._changes(request, visit, sight))

    async def _changes(self, request: Request, visit: Visit, sight: Sight) -> AsyncGenerator[Change, None]:
        last = ""
        while True:
            session = await self.site.services.sessions.principal(visit.token)
            if session is None or session.principal != visit.principal:
                return
            shown = await self._look(request, visit, sight)
            html = self.site.renderer.fragment("batch.html", "changes", view=visit.view, shown=shown)
            is_last = shown.batch.is_finished
            if html != last or is_last:
                yield Change(html, is_last=is_last)
            if is_last:
                return
            last = html
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, request: Request, visit: Visit, sight: Sight) -> Shown:
        batches = self.site.services.batches
        batch = await batches.get(visit.principal, request.path_params["id"])
        items = await batches.items(batch, statuses=sight.statuses, limit=SHOWN_ITEMS + 1, after=sight.after)
        following = items[SHOWN_ITEMS - 1].position if len(items) > SHOWN_ITEMS else None
        return Shown(batch, items[:SHOWN_ITEMS], following, sight)

    async def report(self, request: Request, visit: Visit) -> Response:
        """`?format=` csv, json or md: every repository, a download."""
        given = request.query_params.get("format", ReportForm.CSV)
        if given not in set(ReportForm):
            raise NotFound("There is no such report.")
        form = ReportForm(given)
        batch = await self.site.services.batches.get(visit.principal, request.path_params["id"])
        headers = {
            **SECURITY_HEADERS,
            "Content-Type": _MEDIA[form],
            "Content-Disposition": attachment(f"batch-{batch.id}.{form}"),
        }
        return StreamingResponse(report(self.site.services.batches, batch, form), headers=headers)

    async def retry(self, request: Request, visit: Visit) -> Response:
        try:
            batch = await self.site.services.batches.retry(visit.principal, request.path_params["id"])
        except Conflict as error:
            return await self._one(request, visit, trouble=error.sentence(), status=HTTPStatus.CONFLICT)
        return see_other(f"{PATH}/{batch.id}?done=retried")

    async def kill(self, request: Request, visit: Visit) -> Response:
        try:
            batch = await self.site.services.batches.kill(visit.principal, request.path_params["id"])
        except AlreadyFinished as error:
            return await self._one(request, visit, trouble=error.sentence(), status=HTTPStatus.CONFLICT)
        return see_other(f"{PATH}/{batch.id}?done=stopped")

    async def concurrency(self, request: Request, visit: Visit) -> Response:
        form = await form_of(request)
        number = number_of(text_of(form, "concurrency")) or 0
        try:
            batch = await self.site.services.batches.set_concurrency(visit.principal, request.path_params["id"], number)
        except InvalidInput as error:
            shown = refused(filled("batch", form), error, {"concurrency": "concurrency"})
            return await self._one(request, visit, form=shown, status=HTTPStatus.BAD_REQUEST)
        return see_other(f"{PATH}/{batch.id}?done=changed")
