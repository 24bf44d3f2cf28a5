"""Batches as targets of schedules: read as `POST /batches` reads its body, kept as JSON, and read again."""

import json

from treadle.api.native.batch_requests import read_batch
from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.plan import Plan
from treadle.services.batches import BatchRequest
from treadle.services.plan_texts import read_plan_object, read_plan_text


def kept_batch(sent: object, *, allow_local: bool) -> JsonObject:
    """What is kept. Raises InvalidInput naming every fault."""
    if not isinstance(sent, dict):
        raise InvalidInput({"": ["Must be an object, as POST /batches takes it."]})
    plan = read_batch(json.dumps(sent).encode()).plan
    reading = (
        read_plan_text(plan, allow_local=allow_local)
        if isinstance(plan, str)
        else read_plan_object(plan, allow_local=allow_local)
    )
    try:
        checked = reading.checked()
    except InvalidInput as error:
        raise InvalidInput(
            {path if path == "plan" else f"plan.{path}": said for path, said in error.faults.items()}
        ) from None
    kept: dict[str, JsonValue] = {name: value for name, value in sent.items() if value is not None}
    return {**kept, "plan": checked.to_json()}


def batch_request(target: JsonObject) -> BatchRequest:
    """Of what is kept. Raises InvalidInput where this version reads it otherwise than the one that kept it."""
    body = read_batch(json.dumps({name: value for name, value in target.items() if name != "kind"}).encode())
    return BatchRequest(
        plan=Plan.from_json(body.plan),
        reach=body.reach,
        variables=body.variables,
        name=body.name,
        concurrency=body.concurrency,
        stop_after_failures=body.stop_after_failures,
        max_cost_usd=body.max_cost_usd,
    )
