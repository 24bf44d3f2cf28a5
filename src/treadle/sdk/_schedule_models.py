"""Schedules as the server tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from treadle.sdk._wire import Fields, JsonValue, WireError


@dataclass(frozen=True, slots=True)
class Firing:
    """One time of a schedule. `outcome`: started, starting, waiting, skipped, missed or failed; `detail` says why."""

    date_due: datetime
    date_fired: datetime
    outcome: str
    detail: str | None
    run_id: int | None
    batch_id: int | None
    script_run_id: int | None
    raw: Mapping[str, JsonValue]

    @classmethod
    def read(cls, fields: Fields) -> "Firing":
        return cls(
            _date(fields, "dateDue"),
            _date(fields, "dateFired"),
            fields.text("outcome"),
            fields.optional_text("detail"),
            fields.optional_integer("runId"),
            fields.optional_integer("batchId"),
            fields.optional_integer("scriptRunId"),
            fields.raw,
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """`target` says what is started, with its `kind`; `date_next` None: never again, or it is off."""

    id: int
    name: str
    cron: str
    time_zone: str
    missed: str
    overlap: str
    target: Mapping[str, JsonValue]
    is_enabled: bool
    user_id: int
    date_next: datetime | None
    date_created: datetime
    date_updated: datetime
    raw: Mapping[str, JsonValue]

    @classmethod
    def read(cls, fields: Fields) -> "Schedule":
        target = fields.optional_object("target")
        return cls(
            fields.integer("id"),
            fields.text("name"),
            fields.text("cron"),
            fields.text("timeZone"),
            fields.text("missed"),
            fields.text("overlap"),
            target.raw if target is not None else {},
            fields.flag("isEnabled"),
            fields.integer("userId"),
            fields.date("dateNext"),
            _date(fields, "dateCreated"),
            _date(fields, "dateUpdated"),
            fields.raw,
        )


def _date(fields: Fields, name: str) -> datetime:
    found = fields.date(name)
    if found is None:
        raise WireError(f"schedule.{name} is missing.")
    return found
