"""/settings/account: who I am, where I am signed in, my password, and my organizations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import Forbidden, InvalidInput, NotFound, TooManyRequests
from treadle.services.passwords import MIN_PASSWORD
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, number_of, refused, text_of
from treadle.web.site import Site

PATH = "/settings/account"

DONE = {
    "name": "Your name is changed.",
    "password": "Your password is set, and your other sessions have ended.",
    "revoked": "That session has ended.",
}

_NAME, _PASSWORD = Form("name"), Form("password")

#: The first that is found names it: most browsers also call themselves what others are called.
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def routes(site: Site) -> Sequence[Route]:
    pages, page = _Pages(site), site.door.page
    return [
        Route(PATH, page(pages.show), methods=["GET"]),
        Route(f"{PATH}/name", page(pages.set_name), methods=["POST"]),
        Route(f"{PATH}/password", page(pages.set_password), methods=["POST"]),
        Route(f"{PATH}/organization", page(pages.switch), methods=["POST"]),
        Route(f"{PATH}/sign-out-everywhere", page(pages.sign_out_everywhere), methods=["POST"]),
        Route(f"{PATH}/sessions/{{id:int}}/revoke", page(pages.revoke), methods=["POST"]),
    ]


def browser(agent: str) -> str:
    """What somebody recognizes a browser by, such as `Firefox on Linux`."""
    found = next((name for mark, name in _BROWSERS if mark in agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in agent), None)
    if found is None:
        word = re.match(r"[\w.-]{1,40}", agent)
        found = word[0] if word is not None else "Unknown browser"
    return f"{found} on {system}" if system is not None else found


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        return await self._page(visit, done=DONE.get(request.query_params.get("done", "")))

    async def set_name(self, request: Request, visit: Visit) -> Response:
        form = await form_of(request)
        user, _ = await self.site.services.organizations.member(visit.principal, visit.principal.user_id)
        try:
            await self.site.services.organizations.save_user(replace(user, name=text_of(form, "name")))
        except InvalidInput as error:
            return await self._page(visit, name=refused(filled("name", form), error, {"name": "name"}), status=400)
        return see_other(f"{PATH}?done=name")

    async def set_password(self, request: Request, visit: Visit) -> Response:
        """Taken as they are, with the spaces around them."""
        form = await form_of(request)
        old, new, again = (str(form.get(name, "")) for name in ("old", "new", "again"))
        shown = filled("password", form, secret=("old", "new", "again"))
        if new != again:
            shown = replace(shown, faults={"again": ["Is not the same."]})
            return await self._page(visit, password=shown, status=400)
        try:
            await self.site.services.sessions.set_password(visit.session, old or None, new)
        except InvalidInput as error:
            shown = refused(shown, InvalidInput(error.faults, ""), {"old": "old", "new": "new"})
            return await self._page(visit, password=shown, status=400)
        except TooManyRequests as error:
            return await self._page(visit, password=replace(shown, said=f"{error.message} Wait a while."), status=429)
        return see_other(f"{PATH}?done=password")

    async def switch(self, request: Request, visit: Visit) -> Response:
        wanted = number_of(text_of(await form_of(request), "organization"))
        if wanted is None:
            raise NotFound("There is no such organization for you.")
        await self.site.services.sessions.switch(visit.token, wanted)
        return see_other("/runs")

    async def revoke(self, request: Request, visit: Visit) -> Response:
        session_id: int = request.path_params["id"]
        if session_id == visit.session.id:
            raise Forbidden("This is the session that you are in.", hint="Sign out instead.")
        await self.site.services.sessions.revoke(visit.principal, session_id)
        return see_other(f"{PATH}?done=revoked")

    async def sign_out_everywhere(self, _request: Request, visit: Visit) -> Response:
        await self.site.services.sessions.revoke_all(visit.principal)
        return self.site.door.let_out(see_other("/sign-in?said=everywhere"))

    async def _page(
        self,
        visit: Visit,
        *,
        name: Form = _NAME,
        password: Form = _PASSWORD,
        done: str | None = None,
        status: int = 200,
    ) -> Response:
        services, who = self.site.services, visit.principal
        user, _ = await services.organizations.member(who, who.user_id)
        organizations = await services.organizations.of(who)
        return self.site.renderer.page(
            "account.html",
            replace(visit.view, path=PATH),
            status=status,
            done=done,
            user=user,
            session=visit.session,
            sessions=await services.sessions.list(who),
            organization=await services.organizations.get(who.organization_id),
            organizations=organizations,
            names={each.id: each.name for each, _ in organizations},
            has_password=await services.sessions.has_password(who),
            name=name if name.values else replace(name, values={"name": user.name}),
            password=password,
            least=MIN_PASSWORD,
            browser=browser,
        )
