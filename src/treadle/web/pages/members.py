"""/settings/members: who is in the organization, with which role; an ADMIN changes it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import Conflict, InvalidInput
from treadle.domain.identity import Role, User
from treadle.domain.permissions import Permission, may, require
from treadle.services.administration import FIRST_KEY_DAYS, Administration, NewKey
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, is_checked, refused, text_of
from treadle.web.site import Site

PATH = "/settings/members"

DONE = {
    "added": "The member is added.",
    "role": "The role is changed.",
    "removed": "The member is removed.",
    "signed-out": "The member is signed out everywhere: its sessions and tokens count no more.",
}

_NEW = Form("new", {"role": Role.MEMBER, "with_key": "1"})


def routes(site: Site) -> Sequence[Route]:
    services = site.services
    administration = Administration(services.identity, services.sessions, services.clock)
    pages, page = _Pages(site, administration), site.door.page
    return [
        Route(PATH, page(pages.show), methods=["GET"]),
        Route(PATH, page(pages.add), methods=["POST"]),
        Route(f"{PATH}/{{id:int}}/role", page(pages.set_role), methods=["POST"]),
        Route(f"{PATH}/{{id:int}}/remove", page(pages.remove), methods=["POST"]),
        Route(f"{PATH}/{{id:int}}/sign-out", page(pages.sign_out), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site
    administration: Administration

    async def show(self, request: Request, visit: Visit) -> Response:
        return await self._page(visit, done=DONE.get(request.query_params.get("done", "")))

    async def add(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.ADMINISTER)
        form = await form_of(request)
        try:
            user, key = await self.administration.add_member(
                visit.principal,
                text_of(form, "email"),
                _role(text_of(form, "role")),
                name=text_of(form, "name") or None,
                with_key=is_checked(form, "with_key"),
            )
        except InvalidInput as error:
            names = {"email": "email", "name": "name", "role": "role"}
            return await self._page(visit, new=refused(filled("new", form), error, names), status=400)
        if key is not None:  # shown by this answer alone: there is no address to see it at again
            return await self._page(visit, added=user, key=key)
        return see_other(f"{PATH}?done=added")

    async def set_role(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.ADMINISTER)
        role = _role(text_of(await form_of(request), "role"))
        try:
            await self.administration.set_role(visit.principal, request.path_params["id"], role)
        except Conflict as error:
            return await self._page(visit, trouble=error.sentence(), status=409)
        return see_other(f"{PATH}?done=role")

    async def remove(self, request: Request, visit: Visit) -> Response:
        try:
            await self.administration.remove_member(visit.principal, request.path_params["id"])
        except Conflict as error:
            return await self._page(visit, trouble=error.sentence(), status=409)
        return see_other(f"{PATH}?done=removed")

    async def sign_out(self, request: Request, visit: Visit) -> Response:
        """Everywhere: all sessions, of every organization, and all tokens. API keys stay."""
        require(visit.principal, Permission.ADMINISTER)
        services, user_id = self.site.services, request.path_params["id"]
        await services.tokens.revoke(visit.principal, user_id)
        await services.sessions.revoke_all(visit.principal, user_id)
        return see_other(f"{PATH}?done=signed-out")

    async def _page(
        self,
        visit: Visit,
        *,
        new: Form = _NEW,
        added: User | None = None,
        key: NewKey | None = None,
        trouble: str | None = None,
        done: str | None = None,
        status: int = 200,
    ) -> Response:
        members = await self.administration.members(visit.principal)
        return self.site.renderer.page(
            "members.html",
            replace(visit.view, path=PATH),
            status=status,
            done=done,
            trouble=trouble,
            members=sorted(members, key=lambda member: member[0].email.lower()),
            me=visit.principal.user_id,
            may_change=may(visit.principal, Permission.ADMINISTER),
            roles=[Role.MEMBER, Role.MANAGER, Role.ADMIN],
            new=new,
            added=added,
            added_key=key,
            key_days=FIRST_KEY_DAYS,
        )


def _role(text: str) -> Role:
    """Raises InvalidInput."""
    if text not in set(Role):
        raise InvalidInput({"role": ["Is no role."]}, "Nothing was changed.")
    return Role(text)
