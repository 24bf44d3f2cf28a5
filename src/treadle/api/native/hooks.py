"""Where forges, CI and trackers deliver to: without a key, verified by a signature on the body as it came."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.bodies import read_bytes
from treadle.api.json_bytes import encode
from treadle.api.native.documents import JSON, Endpoint, parameter
from treadle.api.native.trigger_shapes import ReceiptShape
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.services.trigger_intake import MAX_DELIVERY_BYTES, Intake

PATH = "/hooks/{uuid}"

_DELIVER = Endpoint(
    "Triggers",
    "Deliver to a hook",
    "For forges, CI and trackers; takes no key but the hook's secret: as the forge signs, by Standard Webhooks, by "
    "`X-Hub-Signature-256`, as `Authorization: Bearer`, or what a URL may hold of it as `?token=`. Answered before "
    "anything follows from it; the same delivery again is `duplicate`: by the forge's id of it, a call of a trigger "
    "URL by `webhook-id` or `Idempotency-Key`, and a signed one with neither by its body. JSON of a trigger URL's call "
    "is the plan's `trigger.…` variables.",
    answer=ReceiptShape,
    problems=(400, 413),
    parameters=(
        parameter("path", "uuid", "The hook's id.", {"type": "string"}, is_required=True),
        parameter("query", "token", "Of a trigger URL, in the place of a signature.", {"type": "string"}),
    ),
)


class HookHandlers:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def deliver(self, request: Request) -> Response:
        body = await read_bytes(request, MAX_DELIVERY_BYTES)
        headers = {name.lower(): value for name, value in reversed(request.headers.items())}
        token = request.query_params.get("token")
        receipt = await self._intake.receive(request.path_params["uuid"], headers, token, body)
        if not receipt.is_new:
            return Response(encode({"status": "duplicate"}), media_type=JSON)
        return Response(encode({"status": "accepted"}), status_code=202, media_type=JSON)


def hook_routes(handlers: HookHandlers) -> Sequence[PlainRoute]:
    return [PlainRoute(PATH, Guard.open(handlers.deliver), methods=["POST"], **_DELIVER.options())]
