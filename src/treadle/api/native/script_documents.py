"""The endpoints of scripts, as they are documented."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from treadle.api.native.documents import Endpoint, parameter
from treadle.domain.script_runs import ScriptRunStatus
from treadle.services.scripts import (
    DEFAULT_SCRIPT_PAGE,
    MAX_SCRIPT_DESCRIPTION,
    MAX_SCRIPT_NAME,
    MAX_SCRIPT_PAGE,
    MAX_SCRIPT_RUNS,
)

_TAG = "Scripts"
_SCRIPT = parameter("path", "id", "The script's id, or its name.", {"type": "string"}, is_required=True)
_RUN = parameter("path", "id", "The run's id, or its UUID.", {"type": "string"}, is_required=True)
_KEY = parameter(
    "header",
    "Idempotency-Key",
    "A repeat with the same key, within 24 hours, answers with the same run.",
    {"type": "string", "maxLength": 255},
)
_LIMIT = parameter(
    "query",
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_SCRIPT_PAGE, "default": DEFAULT_SCRIPT_PAGE},
)
_VERSION = parameter("query", "version", "Of which the source is; the newest unless said.", {"type": "integer"})
_BEFORE = parameter("query", "before", "Those with smaller ids: `next` of the page before.", {"type": "integer"})
_OF = parameter("query", "script", "Of this script: its id or its name.", {"type": "string"})
_AFTER = parameter("query", "after", "Lines with greater numbers.", {"type": "integer", "default": 0})


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ScriptShape(_Shape):
    """A stored script. `version`: the newest; `source`: where one script is asked for."""

    id: int
    uuid: UUID
    name: str = Field(examples=["nightly-report"])
    description: str | None
    version: int
    user_id: int
    source: str | None = None
    date_created: datetime
    date_updated: datetime


class ScriptsShape(_Shape):
    """By their names."""

    scripts: list[ScriptShape]


class ScriptVersionShape(_Shape):
    version: int
    source: str
    user_id: int
    date_created: datetime


class ScriptVersionsShape(_Shape):
    """The newest first."""

    versions: list[ScriptVersionShape]


class ScriptFaultShape(_Shape):
    """`fault`: syntax or limit."""

    fault: str = Field(examples=["syntax"])
    message: str
    line: int | None
    column: int | None
    hint: str | None


class ScriptCheckShape(_Shape):
    """`failure` is null where nothing is wrong."""

    failure: ScriptFaultShape | None


class ScriptRunShape(_Shape):
    """A run of a script. `waitsFor`: the call that it waits for the answer of, with the UUID of the `run` that it
    awaits; `calls`: those that are answered; `outputs`: what it gave out, of a Success. `source`, `inputs` and
    `outputs` are null in lists."""

    id: int
    uuid: UUID
    script_id: int | None
    version: int | None
    name: str
    user_id: int
    status: ScriptRunStatus
    failure_details: str | None = Field(examples=["nightly-report:3: no"])
    waits_for: dict[str, Any] | None
    calls: int
    log_lines: int
    inputs: dict[str, Any] | None
    outputs: Any
    source: str | None
    date_created: datetime
    date_started: datetime | None
    date_completed: datetime | None


class ScriptRunsShape(_Shape):
    """Newest first. `next`: what `before` is for the next page; null on the last."""

    runs: list[ScriptRunShape]
    next: int | None


class ScriptLineShape(_Shape):
    number: int
    text: str
    date: datetime


class ScriptLogShape(_Shape):
    """`isOver`: no further line will come."""

    lines: list[ScriptLineShape]
    is_over: bool


class ScriptBody(_Shape):
    """A script to store."""

    name: str = Field(max_length=MAX_SCRIPT_NAME, description="Letters, digits, dots, dashes, underscores.")
    source: str = Field(description="In Starlark.")
    description: str | None = Field(None, max_length=MAX_SCRIPT_DESCRIPTION)
    if_version: int | None = Field(
        None, ge=0, description="Only while this is its newest version, else 409; 0: only where there is none."
    )


class ScriptCheckBody(_Shape):
    source: str
    name: str | None = Field(None, description="What it is called in the answer.")


class ScriptStartBody(_Shape):
    inputs: dict[str, Any] | None = Field(None, description="What the script has as `inputs`.")
    version: int | None = Field(None, description="The newest unless said.")


class ScriptSourceBody(_Shape):
    """A script that is run without being stored."""

    source: str
    inputs: dict[str, Any] | None = None


SHAPES: Sequence[type[BaseModel]] = (
    ScriptShape,
    ScriptsShape,
    ScriptVersionShape,
    ScriptVersionsShape,
    ScriptFaultShape,
    ScriptCheckShape,
    ScriptRunShape,
    ScriptRunsShape,
    ScriptLineShape,
    ScriptLogShape,
    ScriptBody,
    ScriptCheckBody,
    ScriptStartBody,
    ScriptSourceBody,
)

_RUNS_AS = "It runs in your name, with the rights that you have at each of its calls."

SAVE = Endpoint(
    _TAG,
    "Save a script",
    "A new one, or another version of the one of that name, also of one that was removed.",
    answer=ScriptShape,
    body=ScriptBody,
    problems=(400, 409, 413, 415),
)
LIST = Endpoint(_TAG, "List scripts", "Your own; for MANAGERs and ADMINs everybody's.", answer=ScriptsShape)
GET = Endpoint(_TAG, "Get a script", answer=ScriptShape, problems=(400, 404), parameters=(_SCRIPT, _VERSION))
VERSIONS = Endpoint(
    _TAG, "List a script's versions", answer=ScriptVersionsShape, problems=(404,), parameters=(_SCRIPT,)
)
REMOVE = Endpoint(_TAG, "Remove a script", "Its runs go on, and stay.", problems=(404,), parameters=(_SCRIPT,))
CHECK = Endpoint(
    _TAG,
    "Check a script",
    "Its syntax and its names; nothing is run, nothing is kept.",
    answer=ScriptCheckShape,
    body=ScriptCheckBody,
    problems=(400, 413, 415),
)
START = Endpoint(
    _TAG,
    "Run a script",
    f"{_RUNS_AS} An organization has at most {MAX_SCRIPT_RUNS} at once.",
    answer=ScriptRunShape,
    body=ScriptStartBody,
    problems=(400, 404, 409, 413, 415),
    parameters=(_SCRIPT, _KEY),
)
START_SOURCE = Endpoint(
    _TAG,
    "Run a script that is not stored",
    _RUNS_AS,
    answer=ScriptRunShape,
    body=ScriptSourceBody,
    problems=(400, 409, 413, 415),
    parameters=(_KEY,),
)
RUNS = Endpoint(
    _TAG,
    "List runs of scripts",
    "Your own; for MANAGERs and ADMINs everybody's.",
    answer=ScriptRunsShape,
    problems=(400, 404),
    parameters=(_OF, _LIMIT, _BEFORE),
)
RUN = Endpoint(_TAG, "Get a run of a script", answer=ScriptRunShape, problems=(404,), parameters=(_RUN,))
LOG = Endpoint(
    _TAG,
    "Read the log of a script's run",
    "What it printed.",
    answer=ScriptLogShape,
    problems=(400, 404),
    parameters=(_RUN, _AFTER, _LIMIT),
)
KILL = Endpoint(
    _TAG,
    "Kill a run of a script",
    "It is Killed at once. The runs that it started go on.",
    answer=ScriptRunShape,
    problems=(404, 409),
    parameters=(_RUN,),
)
