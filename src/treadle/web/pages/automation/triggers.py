"""/automation/triggers: what forges, CI and trackers deliver here, and what follows from it. For a MANAGER."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import Conflict, InvalidInput, NotFound
from treadle.domain.permissions import Permission, require
from treadle.domain.plan import Plan
from treadle.domain.repository import Repository
from treadle.domain.triggers import Trigger, TriggerKind
from treadle.services.triggers import ROTATION_HOURS, HookShown, TriggerChange, TriggerDraft
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, is_checked, lines_of, number_of, text_of
from treadle.web.pages.automation.plan_fields import read_plan
from treadle.web.pages.automation.trigger_forms import (
    EVENTS,
    KINDS,
    WHERE,
    WHO,
    as_it_is,
    blank,
    kinds,
    settings_of,
    wakes,
    with_faults,
)
from treadle.web.site import Site

PATH = "/automation/triggers"
HOOKS = "/automation/hooks"

#: Deliveries of a page.
ROWS = 50

DONE = {
    "added": "The trigger is added. Its hook was there already.",
    "changed": "The trigger is changed. Its runs are yours from now on.",
    "on": "The trigger is on. Its runs are yours from now on.",
    "off": "The trigger is off: what arrives is taken in, and nothing follows.",
    "removed": "The trigger is removed.",
    "hook-removed": "The hook is removed, with its triggers.",
    "redelivered": "The delivery is worked off again. What has followed from it already does not follow again.",
}


def routes(site: Site) -> Sequence[Route]:
    pages, page = _Pages(site), site.door.page
    one, hook = f"{PATH}/{{trigger}}", f"{HOOKS}/{{hook}}"
    again = f"{one}/deliveries/{{delivery:int}}/redeliver"
    return [
        Route(PATH, page(pages.show), methods=["GET"]),
        Route(PATH, page(pages.add), methods=["POST"]),
        Route(f"{PATH}/new", page(pages.new), methods=["GET"]),
        Route(one, page(pages.one), methods=["GET"]),
        Route(one, page(pages.change), methods=["POST"]),
        Route(f"{one}/switch", page(pages.switch), methods=["POST"]),
        Route(f"{one}/remove", page(pages.remove), methods=["POST"]),
        Route(again, page(pages.redeliver), methods=["POST"]),
        Route(f"{hook}/rotate", page(pages.rotate), methods=["POST"]),
        Route(f"{hook}/remove", page(pages.remove_hook), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        services, who = self.site.services, visit.principal
        hooks = await services.triggers.hooks(who)
        listed = await services.triggers.list(who)
        return self.site.renderer.page(
            "automation_triggers.html",
            replace(visit.view, path=PATH),
            done=DONE.get(request.query_params.get("done", "")),
            trouble=None,
            hooks=[(each, [found for found, of in listed if of.hook.id == each.hook.id]) for each in hooks],
            repositories=await self._names(visit),
            where=WHERE,
            kinds=KINDS,
            wakes=wakes,
        )

    async def new(self, request: Request, visit: Visit) -> Response:
        """`?kind=`, and `?repository=` an id to choose."""
        require(visit.principal, Permission.REPOSITORIES)
        kind = _kind(request.query_params.get("kind", ""))
        form = None if kind is None else blank(kind, request.query_params.get("repository", ""))
        return await self._new(visit, kind, form)

    async def add(self, request: Request, visit: Visit) -> Response:
        """With a hook's secret, if it is new: it is shown by this answer alone."""
        require(visit.principal, Permission.REPOSITORIES)
        form = await form_of(request)
        kind = _kind(text_of(form, "kind"))
        if kind is None:
            raise InvalidInput({"kind": ["Is none of these."]}, "No trigger was made.")
        try:
            draft = TriggerDraft(
                text_of(form, "name"),
                kind,
                number_of(text_of(form, "repository")),
                settings=settings_of(form, kind),
                plan=await self._plan(form, kind),
            )
            trigger, hook = await self.site.services.triggers.create(visit.principal, draft)
        except (InvalidInput, Conflict) as error:
            return await self._new(visit, kind, with_faults(filled("trigger", form), error), status=_status(error))
        if hook.secret is None:
            return see_other(f"{PATH}/{trigger.uuid}?done=added")
        return self._secret(visit, hook, trigger)

    async def one(self, request: Request, visit: Visit) -> Response:
        """`?before=` a delivery's id for older ones."""
        done = DONE.get(request.query_params.get("done", ""))
        before = number_of(request.query_params.get("before", ""))
        return await self._one(visit, _uuid(request, visit, "trigger"), done=done, before=before)

    async def change(self, request: Request, visit: Visit) -> Response:
        uuid, form = _uuid(request, visit, "trigger"), await form_of(request)
        triggers = self.site.services.triggers
        trigger, _ = await triggers.get(visit.principal, uuid)
        try:
            change = TriggerChange(
                text_of(form, "name"),
                settings_of(form, trigger.kind),
                await self._plan(form, trigger.kind),
                sets_plan=KINDS[trigger.kind].takes_plan,
            )
            await triggers.update(visit.principal, uuid, change)
        except InvalidInput as error:
            return await self._one(visit, uuid, form=with_faults(filled("trigger", form), error), status=400)
        return see_other(f"{PATH}/{uuid}?done=changed")

    async def switch(self, request: Request, visit: Visit) -> Response:
        uuid, form = _uuid(request, visit, "trigger"), await form_of(request)
        is_on = is_checked(form, "on")
        await self.site.services.triggers.update(visit.principal, uuid, TriggerChange(is_enabled=is_on))
        return see_other(f"{PATH}/{uuid}?done={'on' if is_on else 'off'}")

    async def remove(self, request: Request, visit: Visit) -> Response:
        await self.site.services.triggers.remove(visit.principal, _uuid(request, visit, "trigger"))
        return see_other(f"{PATH}?done=removed")

    async def redeliver(self, request: Request, visit: Visit) -> Response:
        uuid = _uuid(request, visit, "trigger")
        await self.site.services.triggers.redeliver(visit.principal, uuid, request.path_params["delivery"])
        return see_other(f"{PATH}/{uuid}?done=redelivered#deliveries")

    async def rotate(self, request: Request, visit: Visit) -> Response:
        """Another secret, shown by this answer alone."""
        hook = await self.site.services.triggers.rotate_hook(visit.principal, _uuid(request, visit, "hook"))
        return self._secret(visit, hook)

    async def remove_hook(self, request: Request, visit: Visit) -> Response:
        await self.site.services.triggers.remove_hook(visit.principal, _uuid(request, visit, "hook"))
        return see_other(f"{PATH}?done=hook-removed")

    async def _plan(self, form: FormData, kind: TriggerKind) -> Plan | None:
        """Raises InvalidInput."""
        text = lines_of(form, "plan") if KINDS[kind].takes_plan else ""
        return await read_plan(self.site, text) if text.strip() else None

    async def _new(self, visit: Visit, kind: TriggerKind | None, form: Form | None, *, status: int = 200) -> Response:
        return self.site.renderer.page(
            "automation_trigger_new.html",
            replace(visit.view, path=f"{PATH}/new"),
            status=status,
            done=None,
            trouble=None,
            kinds=kinds(),
            shown=None if kind is None else KINDS[kind],
            form=form,
            who=WHO,
            repositories=await self._choices(visit, kind),
        )

    async def _one(
        self,
        visit: Visit,
        uuid: UUID,
        *,
        form: Form | None = None,
        done: str | None = None,
        before: int | None = None,
        status: int = 200,
    ) -> Response:
        services, who = self.site.services, visit.principal
        trigger, hook = await services.triggers.get(who, uuid)
        deliveries = await services.triggers.deliveries(who, uuid, limit=ROWS, before=before)
        emails = {user.id: user.email for user, _ in await services.identity.users(who.organization_id)}
        return self.site.renderer.page(
            "automation_trigger.html",
            replace(visit.view, path=f"{PATH}/{uuid}"),
            status=status,
            done=done,
            trouble=None,
            trigger=trigger,
            hook=hook,
            shown=KINDS[trigger.kind],
            owner=emails.get(trigger.user_id, "no member any more"),
            repository=(await self._names(visit)).get(hook.hook.repository_id or 0),
            where=WHERE[hook.hook.kind],
            events=EVENTS[hook.hook.kind].get(trigger.kind),
            form=form or as_it_is(trigger),
            who=WHO,
            deliveries=deliveries,
            is_older=before is not None,
            older=deliveries[-1].id if len(deliveries) == ROWS else None,
        )

    def _secret(self, visit: Visit, hook: HookShown, trigger: Trigger | None = None) -> Response:
        """`trigger`: the new one that the hook was made for."""
        return self.site.renderer.page(
            "automation_hook_secret.html",
            replace(visit.view, path=f"{PATH}/secret"),
            done=None,
            trouble=None,
            hook=hook,
            where=WHERE[hook.hook.kind],
            events=EVENTS[hook.hook.kind].get(trigger.kind) if trigger is not None else None,
            back=PATH if trigger is None else f"{PATH}/{trigger.uuid}",
            is_new=trigger is not None,
            hours=ROTATION_HOURS,
        )

    async def _names(self, visit: Visit) -> Mapping[int, str]:
        return {each.id: each.name for each in await self._repositories(visit)}

    async def _choices(self, visit: Visit, kind: TriggerKind | None) -> Sequence[tuple[str, str]]:
        """For the menu: what forges tell is of a repository that has one."""
        found = sorted(await self._repositories(visit), key=lambda each: each.name.lower())
        if kind is TriggerKind.URL:
            return [("", "None: the plan names one"), *((str(each.id), each.name) for each in found)]
        return [(str(each.id), each.name) for each in found if each.forge is not None]

    async def _repositories(self, visit: Visit) -> Sequence[Repository]:
        return await self.site.services.repositories.list(visit.principal.organization_id)


def _uuid(request: Request, visit: Visit, name: str) -> UUID:
    """The path's. Raises Forbidden, NotFound."""
    require(visit.principal, Permission.REPOSITORIES)
    try:
        return UUID(request.path_params[name])
    except ValueError:
        raise NotFound(f"{name.capitalize()} not found.") from None


def _kind(text: str) -> TriggerKind | None:
    return TriggerKind(text) if text in set(TriggerKind) else None


def _status(error: Exception) -> int:
    return 409 if isinstance(error, Conflict) else 400
