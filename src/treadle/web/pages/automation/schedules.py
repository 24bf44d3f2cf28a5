"""/automation/schedules: what starts at which times; made, changed, switched, fired by hand, and what came of it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.batch import DEFAULT_BATCH_CONCURRENCY
from treadle.domain.errors import Conflict, InvalidInput, NotFound
from treadle.domain.permissions import Permission, require
from treadle.domain.schedule import Firing, Missed, Outcome, Overlap, Schedule
from treadle.services.runs import Repeatable
from treadle.services.schedules import ScheduleRequest
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, is_checked, number_of, refused, text_of
from treadle.web.pages.automation.names import GONE, users_of
from treadle.web.pages.automation.plan_fields import offered
from treadle.web.pages.automation.schedule_script import choices
from treadle.web.pages.automation.schedule_wish import KINDS, beside, kind_of, request_of, times_of, values_of
from treadle.web.site import Site

PATH = "/automation/schedules"

#: Schedules of a page, and firings that one shows.
ROWS, SHOWN_FIRINGS = 50, 50

DONE = {
    "added": "The schedule is made: it starts what it starts in your name.",
    "changed": "The schedule is changed.",
    "on": "The schedule is on: times that have passed meanwhile are not made up for.",
    "off": "The schedule is off.",
    "fired": "It fires as soon as what it started before has ended.",
    "removed": "The schedule is removed. What it has started goes on.",
}

_MISSED = (
    (Missed.ONCE, "Make up for the last of them"),
    (Missed.SKIP, "Leave them out"),
    (Missed.ALL, "Make up for each"),
)
_OVERLAP = ((Overlap.SKIP, "Leave the time out"), (Overlap.WAIT, "Start when it has ended"))
_NEW = {
    "time_zone": "UTC",
    "missed": Missed.ONCE.value,
    "overlap": Overlap.SKIP.value,
    "concurrency": str(DEFAULT_BATCH_CONCURRENCY),
}
#: What links to a new one may fill in.
_ASKED = ("kind", "repository", "script")


def routes(site: Site) -> Sequence[Route]:
    pages, page, one = _Pages(site), site.door.page, f"{PATH}/{{id:int}}"
    return [
        Route(PATH, page(pages.list), methods=["GET"]),
        Route(f"{PATH}/new", page(pages.new), methods=["GET"]),
        Route(PATH, page(pages.add), methods=["POST"]),
        Route(one, page(pages.show), methods=["GET"]),
        Route(one, page(pages.change), methods=["POST"]),
        Route(f"{one}/switch", page(pages.switch), methods=["POST"]),
        Route(f"{one}/fire", page(pages.fire), methods=["POST"]),
        Route(f"{one}/remove", page(pages.remove), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """`last`: the latest time that it had."""

    schedule: Schedule
    last: Firing | None


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def list(self, request: Request, visit: Visit) -> Response:
        """`?page=`, from 1."""
        services, query = self.site.services, request.query_params
        found = await services.schedules.list(visit.principal)
        number = max(1, min(number_of(query.get("page", "")) or 1, 1 + len(found) // ROWS))
        shown = found[(number - 1) * ROWS : number * ROWS]
        rows = [Row(each, await self._last(visit, each)) for each in shown]
        return self._page(
            "schedules.html",
            visit,
            done=DONE.get(query.get("done", "")),
            rows=rows,
            number=number,
            is_more=len(found) > number * ROWS,
            users=await users_of(self.site, visit.principal),
        )

    async def new(self, request: Request, visit: Visit) -> Response:
        """`?kind=` plan, batch or script: what it is to start. `?repository=` chooses one, `?plan=` its own plan of
        that name, `?script=` a script."""
        require(visit.principal, Permission.RUN)
        query = request.query_params
        asked = {"plan_name": query.get("plan", ""), **{name: query.get(name, "") for name in _ASKED}}
        values = {**_NEW, **asked}
        return await self._form(visit, Form("schedule", values))

    async def add(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.RUN)
        form = await form_of(request)
        try:
            wanted = await request_of(self.site, form, None)
            made = await self._kept(visit, form, None, wanted)
        except (InvalidInput, NotFound, Conflict) as error:
            return await self._form(visit, _refused(filled("schedule", form), error), status=HTTPStatus.BAD_REQUEST)
        return see_other(f"{PATH}/{made.id}?done=added")

    async def show(self, request: Request, visit: Visit) -> Response:
        return await self._one(request, visit, done=DONE.get(request.query_params.get("done", "")))

    async def change(self, request: Request, visit: Visit) -> Response:
        known, form = await self._known(request, visit), await form_of(request)
        try:
            await self._kept(visit, form, known, await request_of(self.site, form, known))
        except (InvalidInput, NotFound, Conflict) as error:
            shown = _refused(filled("schedule", form), error)
            return await self._one(request, visit, form=shown, status=HTTPStatus.BAD_REQUEST)
        return see_other(f"{PATH}/{known.id}?done=changed")

    async def switch(self, request: Request, visit: Visit) -> Response:
        """On, or off."""
        known, is_on = await self._known(request, visit), is_checked(await form_of(request), "is_on")
        await self.site.services.schedules.update(visit.principal, known.id, ScheduleRequest(is_enabled=is_on))
        return see_other(f"{PATH}/{known.id}?done={'on' if is_on else 'off'}")

    async def fire(self, request: Request, visit: Visit) -> Response:
        known, token = await self._known(request, visit), text_of(await form_of(request), "token")[:64]
        again = Repeatable(f"page:{token}", f"firing {known.id}") if token else None
        await self.site.services.schedules.fire(visit.principal, known.id, repeatable=again)
        return see_other(f"{PATH}/{known.id}?done=fired")

    async def remove(self, request: Request, visit: Visit) -> Response:
        await self.site.services.schedules.remove(visit.principal, request.path_params["id"])
        return see_other(f"{PATH}?done=removed")

    async def _kept(self, visit: Visit, form: FormData, known: Schedule | None, wanted: ScheduleRequest) -> Schedule:
        schedules = self.site.services.schedules
        try:
            if known is None:
                return await schedules.add(visit.principal, wanted)
            return await schedules.update(visit.principal, known.id, wanted)
        except InvalidInput as error:
            raise beside(error, form, kind_of(form, known)) from None

    async def _known(self, request: Request, visit: Visit) -> Schedule:
        return await self.site.services.schedules.get(visit.principal, request.path_params["id"])

    async def _last(self, visit: Visit, schedule: Schedule) -> Firing | None:
        found = await self.site.services.schedules.firings(visit.principal, schedule.id, limit=1)
        return found[0] if found else None

    async def _one(
        self, request: Request, visit: Visit, *, form: Form | None = None, done: str | None = None, status: int = 200
    ) -> Response:
        schedules = self.site.services.schedules
        known = await self._known(request, visit)
        users = await users_of(self.site, visit.principal)
        return await self._form(
            visit,
            form,
            schedule=known,
            firings=await schedules.firings(visit.principal, known.id, limit=SHOWN_FIRINGS),
            coming=schedules.coming(known),
            token=secrets.token_hex(16),
            who=users.get(known.user_id, GONE),
            done=done,
            status=status,
        )

    async def _form(
        self,
        visit: Visit,
        form: Form | None,
        *,
        schedule: Schedule | None = None,
        status: int = HTTPStatus.OK,
        done: str | None = None,
        **values: object,
    ) -> Response:
        """`form` None: as the schedule is."""
        repositories, more = await offered(self.site, visit.principal)
        scripts = await self.site.services.scripts.list(visit.principal)
        known = values_of(schedule, {each.id: each.name for each in scripts}) if schedule is not None else {}
        form = form or Form("schedule", known or (times_of(schedule) if schedule is not None else {}))
        kind = str(schedule.target.get("kind")) if schedule is not None else form.value("kind")
        chosen = [("", "That of the plan, or the address below"), *((str(each.id), each.name) for each in repositories)]
        return self._page(
            "schedule.html" if schedule is not None else "schedule_new.html",
            visit,
            status=status,
            done=done,
            form=form,
            schedule=schedule,
            repositories=chosen,
            more=more,
            missed=[(each.value, words) for each, words in _MISSED],
            overlaps=[(each.value, words) for each, words in _OVERLAP],
            kinds=KINDS,
            kind=None if known is None else kind if kind in KINDS else "plan",
            scripts=choices([each.name for each in scripts], form.value("script")),
            **values,
        )

    def _page(
        self, template: str, visit: Visit, *, done: str | None = None, status: int = HTTPStatus.OK, **values: object
    ) -> Response:
        values = {"outcomes": _OUTCOMES, **values}
        view = replace(visit.view, path=PATH)
        return self.site.renderer.page(template, view, status=status, headers=None, done=done, trouble=None, **values)


#: What became of a time, as a tag and in words.
_OUTCOMES = {
    Outcome.STARTING: ("busy", "starting"),
    Outcome.STARTED: ("good", "started"),
    Outcome.WAITING: ("busy", "waiting"),
    Outcome.SKIPPED: ("warn", "skipped"),
    Outcome.MISSED: ("warn", "missed"),
    Outcome.FAILED: ("bad", "failed"),
}


def _refused(form: Form, error: InvalidInput | NotFound | Conflict) -> Form:
    names = {name: name for name in error.faults} if isinstance(error, InvalidInput) else None
    return refused(form, error, names)
