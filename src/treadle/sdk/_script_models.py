"""Scripts and their runs as the server tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from treadle.sdk._wire import Fields, JsonValue, OpenEnum, WireError


class ScriptRunStatus(OpenEnum):
    NEW = "New"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    KILLED = "Killed"


@dataclass(frozen=True, slots=True)
class Script:
    """A stored script. `version`: the newest; `source`: None in lists and after a save."""

    id: int
    uuid: UUID
    name: str
    description: str | None
    version: int
    user_id: int
    source: str | None
    date_created: datetime
    date_updated: datetime
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @classmethod
    def read(cls, fields: Fields) -> "Script":
        return cls(
            id=fields.integer("id"),
            uuid=fields.uuid("uuid"),
            name=fields.text("name"),
            description=fields.optional_text("description"),
            version=fields.integer("version"),
            user_id=fields.integer("userId"),
            source=fields.optional_text("source"),
            date_created=_date(fields, "dateCreated"),
            date_updated=_date(fields, "dateUpdated"),
            raw=fields.raw,
        )


@dataclass(frozen=True, slots=True)
class ScriptVersion:
    version: int
    source: str
    user_id: int
    date_created: datetime

    @classmethod
    def read(cls, fields: Fields) -> "ScriptVersion":
        return cls(
            fields.integer("version"), fields.text("source"), fields.integer("userId"), _date(fields, "dateCreated")
        )


@dataclass(frozen=True, slots=True)
class ScriptRun:
    """A run of a script. `waits_for`: the call that it waits for; `inputs` and `outputs` are empty in lists."""

    id: int
    uuid: UUID
    script_id: int | None
    version: int | None
    name: str
    user_id: int
    status: ScriptRunStatus
    failure_details: str | None
    waits_for: Mapping[str, JsonValue] | None
    calls: int
    log_lines: int
    inputs: Mapping[str, JsonValue]
    outputs: JsonValue
    date_created: datetime
    date_started: datetime | None
    date_completed: datetime | None
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @property
    def is_finished(self) -> bool:
        return self.status not in {ScriptRunStatus.NEW, ScriptRunStatus.RUNNING}

    @classmethod
    def read(cls, fields: Fields) -> "ScriptRun":
        waits_for, inputs = fields.optional_object("waitsFor"), fields.optional_object("inputs")
        return cls(
            id=fields.integer("id"),
            uuid=fields.uuid("uuid"),
            script_id=fields.optional_integer("scriptId"),
            version=fields.optional_integer("version"),
            name=fields.text("name"),
            user_id=fields.integer("userId"),
            status=fields.choice("status", ScriptRunStatus),
            failure_details=fields.optional_text("failureDetails"),
            waits_for=waits_for.raw if waits_for is not None else None,
            calls=fields.integer("calls"),
            log_lines=fields.integer("logLines"),
            inputs=inputs.raw if inputs is not None else {},
            outputs=fields.raw.get("outputs"),
            date_created=_date(fields, "dateCreated"),
            date_started=fields.date("dateStarted"),
            date_completed=fields.date("dateCompleted"),
            raw=fields.raw,
        )


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """What one `print` said. `number` counts from 1."""

    number: int
    text: str
    date: datetime

    @classmethod
    def read(cls, fields: Fields) -> "ScriptLine":
        return cls(fields.integer("number"), fields.text("text"), _date(fields, "date"))


def _date(fields: Fields, name: str) -> datetime:
    found = fields.date(name)
    if found is None:
        raise WireError(f"script.{name} is missing.")
    return found
