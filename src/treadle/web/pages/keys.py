"""/settings/keys: the caller's API keys, and for an ADMIN all of the organization: made, shown once, revoked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import InvalidInput
from treadle.domain.identity import ApiKey
from treadle.domain.permissions import Permission, may
from treadle.services.administration import Administration, NewKey
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, is_checked, refused, text_of
from treadle.web.site import Site

PATH = "/settings/keys"

DONE = {"revoked": "The key is revoked."}

#: Of keys that count no more, the newest.
MAX_ENDED_KEYS = 100

_NEW = Form("new", {"days": "90"})
_DAYS = {"30": 30, "90": 90, "365": 365, "": None}


def routes(site: Site) -> Sequence[Route]:
    services = site.services
    administration = Administration(services.identity, services.sessions, services.clock)
    pages, page = _Pages(site, administration), site.door.page
    return [
        Route(PATH, page(pages.show), methods=["GET"]),
        Route(PATH, page(pages.make), methods=["POST"]),
        Route(f"{PATH}/{{id:int}}/revoke", page(pages.revoke), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site
    administration: Administration

    async def show(self, request: Request, visit: Visit) -> Response:
        return await self._page(visit, done=DONE.get(request.query_params.get("done", "")))

    async def make(self, request: Request, visit: Visit) -> Response:
        """Shown by this answer alone: there is no address to see it at again."""
        form = await form_of(request)
        try:
            made = await self.administration.create_key(
                visit.principal,
                text_of(form, "name"),
                _days(text_of(form, "days")),
                reaches_all=is_checked(form, "reaches_all"),
                until=visit.session.key_expires,
            )
        except InvalidInput as error:
            shown = refused(filled("new", form), error, {"name": "name", "days": "days"})
            return await self._page(visit, new=shown, status=400)
        return await self._page(visit, made=made)

    async def revoke(self, request: Request, visit: Visit) -> Response:
        await self.administration.revoke_key(visit.principal, request.path_params["id"])
        return see_other(f"{PATH}?done=revoked")

    async def _page(
        self,
        visit: Visit,
        *,
        new: Form = _NEW,
        made: NewKey | None = None,
        done: str | None = None,
        status: int = 200,
    ) -> Response:
        keys, emails = await self.administration.keys(visit.principal)
        return self.site.renderer.page(
            "keys.html",
            replace(visit.view, path=PATH),
            status=status,
            done=done,
            new=new,
            made=made,
            active=[key for key in keys if self._counts(key)],
            ended=[key for key in keys if not self._counts(key)][:MAX_ENDED_KEYS],
            counts=self._counts,
            emails=emails,
            sees_all=may(visit.principal, Permission.ADMINISTER),
            reaches_all=visit.principal.reaches_all,
        )

    def _counts(self, key: ApiKey) -> bool:
        return key.date_revoked is None and (
            key.date_expires is None or key.date_expires > self.site.services.clock.now()
        )


def _days(text: str) -> int | None:
    """Raises InvalidInput."""
    if text not in _DAYS:
        raise InvalidInput({"days": ["Is none of these."]}, "No key was made.")
    return _DAYS[text]
