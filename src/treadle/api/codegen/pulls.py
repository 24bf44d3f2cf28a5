"""Pull requests: parse, call one service, translate."""

from starlette.responses import Response

from treadle.api.codegen import wire
from treadle.api.codegen.answers import answer
from treadle.api.codegen.guard import Call
from treadle.api.codegen.parsing import read_body
from treadle.api.codegen.requests import EditPRInput
from treadle.domain.errors import Conflict, ForgeError, NotFound
from treadle.ports.forges import PullRequestChange
from treadle.services.pull_requests import PullRequests

NO_PULL_REQUEST = "Pull request not found."


class PullRequestHandlers:
    """The two addresses of a pull request."""

    def __init__(self, pull_requests: PullRequests, *, max_request_bytes: int) -> None:
        self._pull_requests = pull_requests
        self._max_request_bytes = max_request_bytes

    async def edit(self, call: Call) -> Response:
        """What could not be done is told in the answer, as the specification has it: it knows no other status."""
        body = await read_body(call.request, EditPRInput, self._max_request_bytes)
        change = PullRequestChange(body.state)
        try:
            pull_request_id = call.id("pr_id", NO_PULL_REQUEST)
            repository_id = call.id("repo_id", NO_PULL_REQUEST) if "repo_id" in call.numbers else None
            pull = await self._pull_requests.edit(call.principal, pull_request_id, change, repository_id=repository_id)
        except NotFound:
            return answer(wire.not_edited(NO_PULL_REQUEST))
        except (ForgeError, Conflict) as error:
            return answer(wire.not_edited(error.sentence()))
        return answer(wire.edited(pull))
