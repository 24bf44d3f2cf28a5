"""Organizations, their members and rules: parse, call one service, translate."""

from starlette.responses import Response

from treadle.api.codegen import wire
from treadle.api.codegen.answers import answer
from treadle.api.codegen.guard import Call
from treadle.api.codegen.requests import read_page
from treadle.services.organizations import Organizations

NO_USER = "User not found."


class PeopleHandlers:
    """The handlers of organizations, users and rules."""

    def __init__(self, organizations: Organizations) -> None:
        self._organizations = organizations

    async def organizations(self, call: Call) -> Response:
        query = read_page(call.request)
        found = [organization for organization, _ in await self._organizations.of(call.principal)]
        shown = [wire.organization(each) for each in found[query.reach : query.reach + query.limit]]
        return answer(wire.page(shown, len(found), skip=query.reach, limit=query.limit))

    async def me(self, call: Call) -> Response:
        return answer(wire.user(*await self._organizations.member(call.principal, call.principal.user_id)))

    async def users(self, call: Call) -> Response:
        query = read_page(call.request)
        found, total = await self._organizations.members(call.principal, limit=query.limit, skip=query.reach)
        shown = [wire.user(user, role) for user, role in found]
        return answer(wire.page(shown, total, skip=query.reach, limit=query.limit))

    async def user(self, call: Call) -> Response:
        return answer(wire.user(*await self._organizations.member(call.principal, call.id("user_id", NO_USER))))

    async def rules(self, call: Call) -> Response:
        organization, user = await self._organizations.rules(call.principal)
        return answer({"organization_rules": organization, "user_custom_prompt": user})
