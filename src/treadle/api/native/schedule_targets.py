"""How schedules' targets are read: each kind as the endpoint that starts it at once reads its body."""

import json
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from treadle.api.native.plan_requests import read_start
from treadle.api.native.reading import read_fields
from treadle.api.native.schedule_batches import kept_batch
from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.services.plan_texts import read_plan_object, read_plan_text

#: Reads what was sent for a kind, as it is kept. Raises InvalidInput naming every fault.
TargetReader: TypeAlias = Callable[[object], JsonObject]

#: Of a plan's start, what belongs to one run alone.
_NOT_KEPT: Final = ("fileIds", "metadata")


def targets_of(*, allow_local: bool) -> Mapping[str, TargetReader]:
    """By their kinds."""
    return {
        "plan": lambda sent: _plan(sent, allow_local=allow_local),
        "batch": lambda sent: kept_batch(sent, allow_local=allow_local),
        "script": _script,
    }


def _plan(sent: object, *, allow_local: bool) -> JsonObject:
    if not isinstance(sent, dict):
        raise InvalidInput({"": ["Must be an object, as POST /plans/start takes it."]})
    if odd := [name for name in _NOT_KEPT if name in sent]:
        raise InvalidInput({name: ["Is of one run, and not of a schedule."] for name in odd})
    read = read_start(json.dumps(sent).encode())
    kept: dict[str, JsonValue] = {name: value for name, value in sent.items() if value is not None}
    if read.plan is not None:
        reading = (
            read_plan_text(read.plan, allow_local=allow_local)
            if isinstance(read.plan, str)
            else read_plan_object(read.plan, allow_local=allow_local)
        )
        kept["plan"] = reading.checked().to_json()
    return kept


def _script(sent: object) -> JsonObject:
    if not isinstance(sent, dict):
        raise InvalidInput({"": ["Must be an object: script, and version and inputs where wanted."]})
    kept = read_fields(json.dumps(sent).encode(), ("script", "version", "inputs"))
    faults: dict[str, list[str]] = {}
    which, version, inputs = (kept.get(name) for name in ("script", "version", "inputs"))
    if isinstance(which, bool) or not isinstance(which, int | str):
        faults["script"] = ["Is required: its id or its name."]
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        faults["version"] = ["Must be the number of a version."]
    if inputs is not None and not isinstance(inputs, dict):
        faults["inputs"] = ["Must be an object."]
    if faults:
        raise InvalidInput(faults)
    return {name: value for name, value in sent.items() if value is not None}
