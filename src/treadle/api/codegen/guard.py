"""What every handler of this API stands behind: credentials, the rate limit, the organization, errors."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from treadle.api.auth import Authenticator, Caller
from treadle.api.codegen.errors import NO_ACCESS, refusal
from treadle.api.codegen.parsing import path_numbers
from treadle.api.plain_route import Handler
from treadle.api.rate_limits import RateLimit
from treadle.domain.errors import Forbidden, NotFound, TooManyRequests
from treadle.domain.identity import Principal
from treadle.services.audit import acting
from treadle.services.organizations import Organizations

#: The path's parameter that names the organization, and the one that is no number.
ORGANIZATION = "org_id"
SESSION = "session_id"

#: Ids above are nobody's: databases hold no greater ones.
LAST_ID = 2**63 - 1


class Group(StrEnum):
    """What is counted together, for each key or user."""

    STANDARD = "standard"
    CREATE = "create"
    SETUP = "setup"
    ANALYSIS = "analysis"
    LOGS = "logs"
    PULLS = "pulls"
    RULES = "rules"


@dataclass(frozen=True, slots=True)
class Call:
    """A request of somebody who may be here. `principal` is the caller in the path's organization, where there is
    one."""

    request: Request
    principal: Principal
    numbers: Mapping[str, int]

    def id(self, name: str, missing: str) -> int:
        """A path's parameter as an id. Raises NotFound, saying `missing`, for one that nothing can have."""
        return id_of(self.numbers[name], missing)


Guarded = Callable[[Call], Awaitable[Response]]


class Guard:
    """Wraps handlers. `limits`: a group that has none is not limited."""

    def __init__(
        self, authenticator: Authenticator, organizations: Organizations, limits: Mapping[Group, RateLimit]
    ) -> None:
        self._authenticator = authenticator
        self._organizations = organizations
        self._limits = limits

    def behind(self, handler: Guarded, group: Group | None) -> Handler:
        """A handler for a route. One whose path names an organization is only reached by those who are in it."""
        limit = self._limits.get(group) if group is not None else None

        async def guarded(request: Request) -> Response:
            extra: Mapping[str, str] = {}
            is_metered = False
            try:
                caller = await self._caller(request)
                if limit is not None:
                    is_metered = True
                    extra = await limit.admit(caller.meter)
                numbers = path_numbers(request, (SESSION,))
                principal = caller.principal
                if ORGANIZATION in numbers:
                    principal = await self.principal(principal, numbers[ORGANIZATION])
                    acting(principal)
                response = await handler(Call(request, principal, numbers))
            except ClientDisconnect:
                raise
            except TooManyRequests as error:
                response = refusal(error, request)
                if is_metered and limit is not None:
                    extra = limit.refused_headers(error.retry_after)
            except Exception as error:  # noqa: BLE001 - each one becomes an answer, and an unexpected one is logged
                response = refusal(error, request)
            if extra:
                response.headers.update(extra)
            return response

        return guarded

    async def principal(self, caller: Principal, organization_id: int) -> Principal:
        """The caller in that organization. Raises Forbidden, in the same words whether there is one or not."""
        if not 0 < organization_id <= LAST_ID:
            raise Forbidden(NO_ACCESS)
        return await self._organizations.principal(caller, organization_id)

    async def _caller(self, request: Request) -> Caller:
        try:
            caller = await self._authenticator.known(request)
            return replace(caller, principal=await self._organizations.somewhere(caller.principal))
        except Forbidden:  # without a role: told the same as any outsider
            raise Forbidden(NO_ACCESS) from None


def id_of(number: int, missing: str) -> int:
    """Raises NotFound for a number that is no id."""
    if not 0 < number <= LAST_ID:
        raise NotFound(missing)
    return number
