"""Accounts and tokens elsewhere: parse, call one service, translate."""

from starlette.responses import Response

from treadle.api.codegen import wire
from treadle.api.codegen.answers import answer
from treadle.api.codegen.guard import Call, Guard
from treadle.api.codegen.parsing import read_body, read_query
from treadle.api.codegen.requests import GenerateTokenRequest, OrganizationQuery, RevokeQuery
from treadle.domain.errors import NotFound
from treadle.services.connections import Connections
from treadle.services.organizations import Organizations


class ConnectionHandlers:
    """The handlers of integrations, OAuth and connect tokens."""

    def __init__(
        self, connections: Connections, organizations: Organizations, guard: Guard, *, max_request_bytes: int
    ) -> None:
        """`guard` says who the caller is in an organization that the path does not name."""
        self._connections = connections
        self._organizations = organizations
        self._guard = guard
        self._max_request_bytes = max_request_bytes

    async def integrations(self, call: Call) -> Response:
        found = await self._connections.integrations(call.principal)
        organization = await self._organizations.get(call.principal.organization_id)
        return answer(wire.integrations(organization, found))

    async def mcp_providers(self, _call: Call) -> Response:
        return answer([wire.oauth_provider(each) for each in await self._connections.providers(is_mcp=True)])

    async def status(self, call: Call) -> Response:
        query = read_query(call.request, OrganizationQuery)
        principal = await self._guard.principal(call.principal, query.org_id)
        return answer(await self._connections.connected(principal))

    async def revoke(self, call: Call) -> Response:
        query = read_query(call.request, RevokeQuery)
        principal = await self._guard.principal(call.principal, query.org_id)
        try:
            said = f"Tokens revoked: {await self._connections.revoke(principal, query.provider)}."
        except NotFound as error:  # so there is no token to revoke, which is what was asked for
            said = error.message
        return answer({"message": said, "status_code": 200})

    async def connect_token(self, call: Call) -> Response:
        body = await read_body(call.request, GenerateTokenRequest, self._max_request_bytes)
        principal = await self._guard.principal(call.principal, body.org_id)
        token, minutes = await self._connections.connect_token(principal)
        said = f"From the account to be connected, send the bot a direct message: Connect my account: {token}"
        return answer({"token": token, "message": said, "expires_in_minutes": minutes})
