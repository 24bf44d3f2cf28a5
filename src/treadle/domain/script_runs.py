"""Scripts as a service keeps them, and what came of running them. How one is run is `ports/scripting.py`'s."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from treadle.domain.events import JsonObject, JsonValue


class ScriptRunStatus(StrEnum):
    """Where a run of a script stands. It may wait for hours while Running."""

    NEW = "New"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    KILLED = "Killed"


SCRIPT_RUN_ALIVE = frozenset({ScriptRunStatus.NEW, ScriptRunStatus.RUNNING})


@dataclass(frozen=True, slots=True)
class Script:
    """`version`: the newest, counted from 1. An archived one is not listed nor run; its name brings it back."""

    id: int
    uuid: UUID
    organization_id: int
    user_id: int
    name: str
    description: str | None
    version: int
    is_archived: bool
    date_created: datetime
    date_updated: datetime


@dataclass(frozen=True, slots=True)
class ScriptVersion:
    script_id: int
    version: int
    source: str
    user_id: int
    date_created: datetime


@dataclass(frozen=True, slots=True)
class ScriptRunDraft:
    """One as asked for, checked. `script_id` None: its source was sent with the request."""

    name: str
    source: str
    inputs: JsonObject = field(default_factory=dict)
    script_id: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class ScriptRun:
    """`waits_for`: the call that it waits for the answer of, `{"call", "name", "line", "run"}`; `calls`: those that are
    answered; `outputs`: of a Success."""

    id: int
    uuid: UUID
    organization_id: int
    user_id: int
    script_id: int | None
    version: int | None
    name: str
    source: str
    inputs: JsonObject
    status: ScriptRunStatus
    outputs: JsonValue
    failure_details: str | None
    waits_for: JsonObject | None
    calls: int
    log_lines: int
    date_created: datetime
    date_started: datetime | None
    date_completed: datetime | None

    @property
    def is_finished(self) -> bool:
        return self.status not in SCRIPT_RUN_ALIVE

    def uuid_of(self, call: int) -> UUID:
        """Of what that call makes: asked for in two executions, it is made once."""
        return uuid5(self.uuid, str(call))


@dataclass(frozen=True, slots=True)
class ScriptLogLine:
    """What one `print` said. `number` counts from 1."""

    number: int
    text: str
    date: datetime
