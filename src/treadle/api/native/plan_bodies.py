"""The plan in a body, where the rest of the body is something else's: a batch's, a trigger's."""

from anyio import to_thread

from treadle.domain.errors import InvalidInput
from treadle.domain.plan import Plan
from treadle.services.plan_texts import read_plan_object, read_plan_text


async def plan_within(value: object, *, allow_local: bool) -> Plan:
    """Of YAML as text, or of an object. Raises InvalidInput naming every fault by its key in the body."""
    if isinstance(value, str):  # not on the loop: to read a long one may take seconds
        reading = await to_thread.run_sync(lambda: read_plan_text(value, allow_local=allow_local))
    else:
        reading = await to_thread.run_sync(lambda: read_plan_object(value, allow_local=allow_local))
    try:
        return reading.checked()
    except InvalidInput as error:
        raise InvalidInput(
            {path if path == "plan" else f"plan.{path}": said for path, said in error.faults.items()}
        ) from None
