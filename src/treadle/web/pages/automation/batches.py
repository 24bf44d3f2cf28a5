"""/automation/batches: one plan on many repositories: all batches, and the form for another one."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.batch import DEFAULT_BATCH_CONCURRENCY, MAX_BATCH_ITEMS, Batch
from treadle.domain.errors import InvalidInput
from treadle.domain.permissions import Permission, require
from treadle.domain.plan import Plan
from treadle.services.runs import Repeatable
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, lines_of, number_of, refused, text_of
from treadle.web.pages.automation.batch_wish import BatchWish, wish_of
from treadle.web.pages.automation.names import users_of
from treadle.web.pages.automation.plan_fields import offered, plan_text, read_plan, repository_plan, variables_text
from treadle.web.site import Site

PATH = "/automation/batches"

#: Batches of a page.
ROWS = 50


def routes(site: Site) -> Sequence[Route]:
    pages, page = _Pages(site), site.door.page
    return [
        Route(PATH, page(pages.list), methods=["GET"]),
        Route(f"{PATH}/new", page(pages.new), methods=["GET"]),
        Route(PATH, page(pages.take), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    # ---- the list, and a new one

    async def list(self, request: Request, visit: Visit) -> Response:
        """`?before=`: a batch's id, for older ones."""
        before = number_of(request.query_params.get("before", ""))
        found = await self.site.services.batches.list(visit.principal, limit=ROWS + 1, before=before)
        return self._page(
            "batches.html",
            visit,
            batches=found[:ROWS],
            older=found[ROWS - 1].id if len(found) > ROWS else None,
            is_first=before is None,
            users=await users_of(self.site, visit.principal),
        )

    async def new(self, request: Request, visit: Visit) -> Response:
        """`?again=`: as that batch; `?repository=` with `?plan=`: that repository's own plan."""
        require(visit.principal, Permission.RUN)
        query, values = request.query_params, {"concurrency": str(DEFAULT_BATCH_CONCURRENCY)}
        if (again := number_of(query.get("again", ""))) is not None:
            batch = await self.site.services.batches.get(visit.principal, again)
            values |= {"name": batch.name, "plan": plan_text(batch.plan), "variables": variables_text(batch.variables)}
        elif query.get("plan"):
            values |= {"plan_name": query["plan"], "plan_repository": query.get("repository", "")}
        return await self._form(visit, Form("batch", {**values, "token": secrets.token_hex(16)}))

    async def take(self, request: Request, visit: Visit) -> Response:
        """Starts it, or only looks at its plan."""
        who = visit.principal
        require(who, Permission.RUN)
        form = await form_of(request)
        shown = filled("batch", form)
        ticked = frozenset(each for each in form.getlist("repositories") if isinstance(each, str))
        try:
            if text_of(form, "action") == "check":
                good = _said_of(await self._checked(lines_of(form, "plan")))
                return await self._form(visit, shown, ticked=ticked, good=good)
            wish = wish_of(form)
            batch = await self._start(visit, wish, _repeatable(form))
        except InvalidInput as error:
            names = {name: name for name in error.faults}
            return await self._form(visit, refused(shown, error, names), ticked=ticked, status=HTTPStatus.BAD_REQUEST)
        return see_other(f"{PATH}/{batch.id}?done=started")

    async def _checked(self, text: str) -> Plan:
        if not text.strip():
            raise InvalidInput({"plan": ["There is nothing to check."]}, "")
        return await read_plan(self.site, text)

    async def _start(self, visit: Visit, wish: BatchWish, repeatable: Repeatable) -> Batch:
        who, batches = visit.principal, self.site.services.batches
        if (earlier := await batches.started_with(who, repeatable)) is not None:
            return earlier
        if wish.plan_name:
            plan = await repository_plan(self.site, who, wish.plan_repository, wish.plan_name)
        else:
            plan = await read_plan(self.site, wish.plan)
        try:
            return await batches.start(who, wish.request(plan), repeatable)
        except InvalidInput as error:
            raise wish.beside(error) from None

    async def _form(
        self,
        visit: Visit,
        form: Form,
        *,
        ticked: frozenset[str] = frozenset(),
        good: str | None = None,
        status: int = HTTPStatus.OK,
    ) -> Response:
        repositories, more = await offered(self.site, visit.principal)
        return self._page(
            "batch_new.html",
            visit,
            status=status,
            done=good,
            form=form,
            repositories=repositories,
            more=more,
            ticked=ticked,
            most=MAX_BATCH_ITEMS,
        )

    def _page(
        self, template: str, visit: Visit, *, done: str | None = None, status: int = HTTPStatus.OK, **values: object
    ) -> Response:
        view = replace(visit.view, path=PATH)
        return self.site.renderer.page(template, view, status=status, headers=None, done=done, trouble=None, **values)


def _said_of(plan: Plan) -> str:
    """What a plan without faults is."""
    steps = f"{len(plan.steps)} step{'s' if len(plan.steps) != 1 else ''}"
    names = ", ".join(each.name for each in plan.variables or ())
    return f"The plan is fine: {steps}{f', with the variables {names}' if names else ''}. Nothing runs yet."


def _repeatable(form: FormData) -> Repeatable:
    """The same form sent twice starts one batch; what is sent again changed is another."""
    asked = sorted((name, value) for name, value in form.multi_items() if isinstance(value, str) and name != "csrf")
    digest = hashlib.sha256(repr(asked).encode(errors="replace")).hexdigest()
    return Repeatable(f"page:{text_of(form, 'token')[:64]}:{digest[:32]}", digest)
