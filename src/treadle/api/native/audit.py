"""The audit log: who did what, newest first."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import Query
from treadle.api.json_bytes import date_text, encode
from treadle.api.native.documents import JSON, Endpoint, parameter
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.events import JsonObject
from treadle.ports.trust import AuditEntry
from treadle.services.audit import DEFAULT_ENTRIES, MAX_ENTRIES, Audit, Wanted

PATH = "/audit"

_ALL: Final = "all"
#: No database counts further.
_LAST_ID: Final = 2**63 - 1
#: Longer than the name of any action.
_LONGEST_NAME: Final = 100


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class AuditEntryShape(_Shape):
    """`action`: docs/reference/audit.md lists them. `actor`: the e-mail address of whoever did it, or who it said it
    was. `organizationId` null: it concerns the whole service. `detail`: what changed, by its names."""

    id: int
    date: datetime
    action: str = Field(examples=["key.created"])
    actor: str
    user_id: int | None
    organization_id: int | None
    target: str | None
    detail: dict[str, Any]
    door: str = Field(examples=["api", "mcp", "page", "cli", "service"])
    address: str | None


class AuditShape(_Shape):
    """`next`: the `before` of the next page; null at the end."""

    entries: list[AuditEntryShape]
    next: int | None


SHAPES: Sequence[type[BaseModel]] = (AuditEntryShape, AuditShape)

_LIST = Endpoint(
    "Audit log",
    "List the audit log",
    "Newest first; takes an ADMIN. Entries are only ever added.",
    answer=AuditShape,
    problems=(400,),
    parameters=(
        parameter("query", "action", "One, or with a dot at its end all that begin so: `key.`.", {"type": "string"}),
        parameter("query", "user", "The id of a user: what it did.", {"type": "integer"}),
        parameter("query", "since", "A date, or a date and time.", {"type": "string", "format": "date-time"}),
        parameter(
            "query",
            "limit",
            "How many at most.",
            {"type": "integer", "minimum": 1, "maximum": MAX_ENTRIES, "default": DEFAULT_ENTRIES},
        ),
        parameter("query", "before", "Entries with a smaller id: `next` of the page before.", {"type": "integer"}),
        parameter(
            "query",
            "scope",
            "`all`: of every organization and of the service; for an ADMIN of the first.",
            {"type": "string", "enum": [_ALL]},
        ),
    ),
)


class AuditHandlers:
    """The handler."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def list(self, request: Request, caller: Caller) -> Response:
        query, given = Query(request), request.query_params
        limit = query.number("limit", default=DEFAULT_ENTRIES, least=1, most=MAX_ENTRIES)
        before = query.number("before", default=0, least=1, most=_LAST_ID)
        user = query.number("user", default=0, least=1, most=_LAST_ID)
        since = since_of(given["since"]) if "since" in given else None
        if "since" in given and since is None:
            query.faults["since"] = ["Must be a date, such as 2026-11-01, or a date and time."]
        if given.get("scope", _ALL) != _ALL:
            query.faults["scope"] = [f"Must be {_ALL}."]
        action = given.get("action") or None
        if action is not None and not (len(action) <= _LONGEST_NAME and action.isprintable()):
            query.faults["action"] = ["Is no action."]
        query.check()
        wanted = Wanted(limit, before or None, action, user or None, since)
        found, following = await self._audit.list(caller.principal, wanted, everywhere="scope" in given)
        return Response(encode({"entries": list(map(shown, found)), "next": following}), media_type=JSON)


def audit_routes(guard: Guard, handlers: AuditHandlers) -> Sequence[PlainRoute]:
    return [PlainRoute(PATH, guard.behind(handlers.list), methods=["GET"], **_LIST.options())]


def since_of(text: str) -> datetime | None:
    """A date (its beginning, UTC) or a date and time; None for what is neither."""
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # as a plus sign in a query is read
    except ValueError:
        return None
    try:
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except OverflowError:
        return None


def shown(entry: AuditEntry) -> JsonObject:
    """As JSON has it."""
    return {
        "id": entry.id,
        "date": date_text(entry.date),
        "action": entry.action,
        "actor": entry.actor,
        "userId": entry.user_id,
        "organizationId": entry.organization_id,
        "target": entry.target,
        "detail": entry.detail,
        "door": entry.door,
        "address": entry.address,
    }
