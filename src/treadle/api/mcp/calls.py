"""One call of a tool: who makes it, and how what goes wrong is told."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar
from uuid import UUID

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from starlette.requests import Request

from treadle.api.auth import Caller
from treadle.api.bodies import whole_number
from treadle.api.deps import Services
from treadle.api.mcp.inputs import MOST_NUMBER
from treadle.api.mcp.mount import CALLER
from treadle.api.problem_errors import problem
from treadle.domain.errors import InvalidInput, NotFound, Unauthenticated
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.repository import Repository
from treadle.domain.run import Run

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool knows of the request that called it."""

    request: Request
    caller: Caller

    @classmethod
    def of(cls, context: Context) -> "Call":
        """Raises Unauthenticated where nobody let the request in, which no route leads to."""
        request = context.request_context.request
        caller = request.scope.get(CALLER) if isinstance(request, Request) else None
        if not isinstance(request, Request) or not isinstance(caller, Caller):
            raise Unauthenticated("This needs credentials.")
        return cls(request, caller)

    @property
    def principal(self) -> Principal:
        return self.caller.principal


def told(tool: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """The tool with every error of ours told as a sentence and what to do about it, and a defect as its id in the log;
    never as a traceback."""

    @functools.wraps(tool)
    async def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await tool(*args, **kwargs)
        except Exception as error:
            raise ToolError(_sentence(error, _context(args, kwargs))) from error

    telling.__signature__ = inspect.signature(tool)  # type: ignore[attr-defined]  # what its input schema is made from
    return telling


def _context(args: tuple[object, ...], kwargs: dict[str, object]) -> Context:
    return next(each for each in (*args, *kwargs.values()) if isinstance(each, Context))


def _sentence(error: Exception, context: Context) -> str:
    if isinstance(error, InvalidInput):
        return error.sentence()
    request = context.request_context.request
    if not isinstance(request, Request):
        raise error
    return problem(error, request).detail


async def find(services: Services, principal: Principal, run: int | str) -> Run:
    """By either id. Raises NotFound, also for one that is not the caller's to see."""
    number, uuid = (run, None) if isinstance(run, int) else (whole_number(run.strip()), _uuid(run))
    try:
        if uuid is not None:
            return await services.runs.get(principal, uuid)
        if number is not None and 0 < number < MOST_NUMBER:
            return await services.agents.get(principal, number)
    except NotFound:
        pass
    raise NotFound("There is no such run among those that you may see.", hint="list_runs shows them.")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def repository_named(services: Services, principal: Principal, wanted: int | str) -> Repository:
    """By its id, or its name OWNER/NAME. Raises NotFound, Forbidden, and InvalidInput for an address, which may hold
    credentials."""
    if isinstance(wanted, int) or wanted.isdecimal():
        return await services.repositories.get(principal, int(str(wanted)[:18]))
    if ":" in wanted:
        raise InvalidInput({"repository": ["Is no OWNER/NAME: an address belongs in git_url."]})
    require(principal, Permission.READ)
    return await services.repositories.named(principal.organization_id, wanted)
