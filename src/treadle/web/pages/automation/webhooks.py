"""/automation/webhooks: who is told of what happens, and what became of it. For a MANAGER; an ADMIN changes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import Conflict, InvalidInput
from treadle.domain.messages import MessageStatus, Webhook, WebhookKind
from treadle.domain.permissions import Permission, may, require
from treadle.ports.webhooks import Reply
from treadle.services.webhooks import OVERLAP_HOURS, WebhookWish
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, is_checked, number_of, refused, text_of
from treadle.web.pages.automation.webhook_forms import (
    BLANK,
    FIELDS,
    KINDS,
    SECRET,
    STATUSES,
    TYPES,
    as_it_is,
    filter_of,
)
from treadle.web.site import Site

PATH = "/automation/webhooks"

#: Messages of a page.
ROWS = 50

DONE = {
    "added": "The webhook is added: it is told of what happens from now on.",
    "changed": "The webhook is changed.",
    "on": "The webhook is on: what waited goes out.",
    "off": "The webhook is off: nothing is put in line for it.",
    "removed": "The webhook is removed, with its messages.",
    "resent": "The message is in line again.",
    "all-resent": "All dead messages are in line again.",
}


def routes(site: Site) -> Sequence[Route]:
    pages, page = _Pages(site), site.door.page
    one = f"{PATH}/{{id:int}}"
    return [
        Route(PATH, page(pages.show), methods=["GET"]),
        Route(PATH, page(pages.add), methods=["POST"]),
        Route(f"{PATH}/new", page(pages.new), methods=["GET"]),
        Route(one, page(pages.one), methods=["GET"]),
        Route(one, page(pages.change), methods=["POST"]),
        Route(f"{one}/switch", page(pages.switch), methods=["POST"]),
        Route(f"{one}/rotate", page(pages.rotate), methods=["POST"]),
        Route(f"{one}/test", page(pages.test), methods=["POST"]),
        Route(f"{one}/remove", page(pages.remove), methods=["POST"]),
        Route(f"{one}/messages/{{message:int}}/resend", page(pages.resend), methods=["POST"]),
        Route(f"{one}/resend-dead", page(pages.resend_dead), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        names, found = await self._names(visit), await self.site.services.webhooks.list(visit.principal)
        return self.site.renderer.page(
            "automation_webhooks.html",
            replace(visit.view, path=PATH),
            done=DONE.get(request.query_params.get("done", "")),
            trouble=None,
            webhooks=[(each, _named(each, names)) for each in found],
            may_change=may(visit.principal, Permission.ADMINISTER),
        )

    async def new(self, _request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.ADMINISTER)
        return self._new(visit, BLANK)

    async def add(self, request: Request, visit: Visit) -> Response:
        """Its secret is shown by this answer alone."""
        require(visit.principal, Permission.ADMINISTER)
        form = await form_of(request)
        try:
            kind = _kind(text_of(form, "kind"))
            wish = WebhookWish(
                text_of(form, "name"), text_of(form, "target"), filter_of(form, await self._names(visit))
            )
            made, secret = await self.site.services.webhooks.add(visit.principal, kind, wish)
        except (InvalidInput, Conflict) as error:
            shown = refused(filled("webhook", form, secret=SECRET), error, FIELDS)
            return self._new(visit, shown, status=409 if isinstance(error, Conflict) else 400)
        if secret is None:
            return see_other(f"{PATH}/{made.id}?done=added")
        return self._secret(visit, made, secret, is_new=True)

    async def one(self, request: Request, visit: Visit) -> Response:
        """`?status=` of its messages, `?before=` one's id for older ones."""
        return await self._one(request, visit, done=DONE.get(request.query_params.get("done", "")))

    async def change(self, request: Request, visit: Visit) -> Response:
        """An empty address keeps the one that there is."""
        require(visit.principal, Permission.ADMINISTER)
        form, webhooks, id_ = await form_of(request), self.site.services.webhooks, _id(request)
        was = await webhooks.get(visit.principal, id_)
        try:
            wanted = filter_of(form, await self._names(visit), was.filter.sources)
            wish = WebhookWish(text_of(form, "name"), text_of(form, "target") or None, wanted)
            await webhooks.update(visit.principal, id_, wish)
        except (InvalidInput, Conflict) as error:
            shown = refused(filled("webhook", form, secret=SECRET), error, FIELDS)
            return await self._one(request, visit, form=shown, status=409 if isinstance(error, Conflict) else 400)
        return _back(id_, "changed")

    async def switch(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.ADMINISTER)
        is_on = is_checked(await form_of(request), "on")
        await self.site.services.webhooks.update(visit.principal, _id(request), WebhookWish(is_enabled=is_on))
        return _back(_id(request), "on" if is_on else "off")

    async def rotate(self, request: Request, visit: Visit) -> Response:
        """Shown by this answer alone."""
        changed, secret = await self.site.services.webhooks.rotate(visit.principal, _id(request))
        return self._secret(visit, changed, secret, is_new=False)

    async def test(self, request: Request, visit: Visit) -> Response:
        """What came back is shown."""
        reply = await self.site.services.webhooks.test(visit.principal, _id(request))
        return await self._one(request, visit, reply=reply)

    async def remove(self, request: Request, visit: Visit) -> Response:
        await self.site.services.webhooks.remove(visit.principal, _id(request))
        return see_other(f"{PATH}?done=removed")

    async def resend(self, request: Request, visit: Visit) -> Response:
        try:
            await self.site.services.webhooks.resend(visit.principal, _id(request), request.path_params["message"])
        except Conflict as error:
            return await self._one(request, visit, trouble=error.sentence(), status=409)
        return _back(_id(request), "resent", "#messages")

    async def resend_dead(self, request: Request, visit: Visit) -> Response:
        await self.site.services.webhooks.resend_dead(visit.principal, _id(request))
        return _back(_id(request), "all-resent", "#messages")

    def _new(self, visit: Visit, form: Form, *, status: int = 200) -> Response:
        return self.site.renderer.page(
            "automation_webhook_new.html",
            replace(visit.view, path=f"{PATH}/new"),
            status=status,
            done=None,
            trouble=None,
            form=form,
            kinds=KINDS,
            types=TYPES,
            statuses=STATUSES,
        )

    async def _one(
        self,
        request: Request,
        visit: Visit,
        *,
        form: Form | None = None,
        reply: Reply | None = None,
        done: str | None = None,
        trouble: str | None = None,
        status: int = 200,
    ) -> Response:
        webhooks, id_, query = self.site.services.webhooks, _id(request), request.query_params
        webhook = await webhooks.get(visit.principal, id_)
        wanted = query.get("status", "")
        only = MessageStatus(wanted) if wanted in set(MessageStatus) else None
        before = number_of(query.get("before", ""))
        messages = await webhooks.messages(visit.principal, id_, only, before=before, limit=ROWS)
        names = await self._names(visit)
        return self.site.renderer.page(
            "automation_webhook.html",
            replace(visit.view, path=f"{PATH}/{id_}"),
            status=status,
            done=done,
            trouble=trouble,
            webhook=webhook,
            repositories=_named(webhook, names),
            form=form or as_it_is(webhook, names),
            types=TYPES,
            statuses=STATUSES,
            reply=reply,
            messages=messages,
            only=only,
            choices=tuple(MessageStatus),
            is_older=before is not None,
            older=_query(only, messages[-1].id) if len(messages) == ROWS else None,
            newest=_query(only),
            may_change=may(visit.principal, Permission.ADMINISTER),
        )

    def _secret(self, visit: Visit, webhook: Webhook, secret: str, *, is_new: bool) -> Response:
        return self.site.renderer.page(
            "automation_webhook_secret.html",
            replace(visit.view, path=f"{PATH}/{webhook.id}"),
            done=None,
            trouble=None,
            webhook=webhook,
            secret=secret,
            is_new=is_new,
            hours=OVERLAP_HOURS,
        )

    async def _names(self, visit: Visit) -> Mapping[int, str]:
        found = await self.site.services.repositories.list(visit.principal.organization_id)
        return {each.id: each.name for each in found}


def _kind(text: str) -> WebhookKind:
    """Raises InvalidInput."""
    if text not in set(WebhookKind):
        raise InvalidInput({"kind": ["Is none of these."]}, "No webhook was made.")
    return WebhookKind(text)


def _named(webhook: Webhook, names: Mapping[int, str]) -> Sequence[str]:
    """The repositories that it is told of."""
    return [names.get(each, f"#{each}") for each in webhook.filter.repositories]


def _id(request: Request) -> int:
    found: int = request.path_params["id"]
    return found


def _query(only: MessageStatus | None, before: int | None = None) -> str:
    given = {"status": only, "before": before}
    return urlencode({name: str(value) for name, value in given.items() if value is not None})


def _back(id_: int, done: str, anchor: str = "") -> Response:
    return see_other(f"{PATH}/{id_}?done={done}{anchor}")
