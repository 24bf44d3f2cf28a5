"""Sessions that `codegen claude` reports: parse, call one service, translate. It counts only 200 as well received."""

from starlette.responses import Response

from treadle.api.codegen.answers import answer
from treadle.api.codegen.guard import SESSION, Call
from treadle.api.codegen.parsing import read_body
from treadle.api.codegen.requests import LocalSessionInput, LocalSessionLogInput, LocalSessionStatusInput
from treadle.services.local_sessions import LocalSessions


class SessionHandlers:
    """The handlers under `/claude_code/session`."""

    def __init__(self, sessions: LocalSessions, *, max_request_bytes: int) -> None:
        self._sessions = sessions
        self._max_request_bytes = max_request_bytes

    async def open(self, call: Call) -> Response:
        body = await read_body(call.request, LocalSessionInput, self._max_request_bytes)
        session = await self._sessions.open(call.principal, body.session_id)
        return answer({"agent_run_id": session.id, "session_id": session.session_id, "status": session.status})

    async def set_status(self, call: Call) -> Response:
        body = await read_body(call.request, LocalSessionStatusInput, self._max_request_bytes)
        await self._sessions.set_status(call.principal, _session_id(call), body.status)
        return answer({"message": f"The status is {body.status}."})

    async def add_log(self, call: Call) -> Response:
        body = await read_body(call.request, LocalSessionLogInput, self._max_request_bytes)
        await self._sessions.add_log(call.principal, _session_id(call), body.log)
        return answer({"message": "The line is kept."})


def _session_id(call: Call) -> str:
    found: str = call.request.path_params[SESSION]
    return found
