"""What handlers stand behind where errors are problems: credentials, the rate limit."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from treadle.api.auth import Authenticator, Caller
from treadle.api.plain_route import Handler
from treadle.api.problem_errors import problem
from treadle.api.rate_limits import RateLimit
from treadle.domain.errors import TooManyRequests

Guarded = Callable[[Request, Caller], Awaitable[Response]]


class Guard:
    """Wraps handlers."""

    def __init__(self, authenticator: Authenticator, limit: RateLimit | None) -> None:
        self._authenticator = authenticator
        self._limit = limit

    def behind(self, handler: Guarded) -> Handler:
        """A handler for a route; whoever gets to `handler` has a role."""

        async def guarded(request: Request) -> Response:
            extra: Mapping[str, str] = {}
            is_metered = False
            try:
                caller = await self._authenticator.caller(request)
                if self._limit is not None:
                    is_metered = True
                    extra = await self._limit.admit(caller.meter)
                response = await handler(request, caller)
            except ClientDisconnect:
                raise
            except TooManyRequests as error:
                response = problem(error, request).response()
                if is_metered and self._limit is not None:
                    extra = self._limit.refused_headers(error.retry_after)
            except Exception as error:  # noqa: BLE001 - each one becomes a problem, and an unexpected one is logged
                response = problem(error, request).response()
            if extra:
                response.headers.update(extra)
            return response

        return guarded

    @staticmethod
    def open(handler: Handler) -> Handler:
        """The same for what needs no credentials."""

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except ClientDisconnect:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                return problem(error, request).response()

        return guarded
