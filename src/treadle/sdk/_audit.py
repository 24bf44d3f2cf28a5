"""`client.audit`: who did what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import httpx2

from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._calls import Call, Request
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._wire import Fields, JsonValue, WireError

AUDIT = "/audit"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody did. `action` is such as `key.created`, `door` api, page, cli or service. `actor` is the
    e-mail address of whoever did it; `organization_id` is None for what concerns the whole service."""

    id: int
    date: datetime
    action: str
    actor: str
    user_id: int | None
    organization_id: int | None
    target: str | None
    detail: Mapping[str, JsonValue]
    door: str
    address: str | None

    @classmethod
    def read(cls, fields: Fields) -> "AuditEntry":
        date, detail = fields.date("date"), fields.optional_object("detail")
        if date is None:
            raise WireError("entry.date is missing.")
        return cls(
            id=fields.integer("id"),
            date=date,
            action=fields.text("action"),
            actor=fields.text("actor"),
            user_id=fields.optional_integer("userId"),
            organization_id=fields.optional_integer("organizationId"),
            target=fields.optional_text("target"),
            detail=detail.raw if detail is not None else {},
            door=fields.text("door"),
            address=fields.optional_text("address"),
        )


def entries(
    action: str | None,
    user: int | None,
    since: datetime | str | None,
    before: int | None,
    limit: int | None,
    *,
    everywhere: bool,
) -> Call[Sequence[AuditEntry]]:
    given = {
        "action": action,
        "user": user,
        "since": since.isoformat() if isinstance(since, datetime) else since,
        "before": before,
        "limit": limit,
        "scope": "all" if everywhere else None,
    }
    params = tuple((name, str(value)) for name, value in given.items() if value is not None)
    return Call(Request("GET", AUDIT, params=params), _read)


def _read(response: httpx2.Response) -> Sequence[AuditEntry]:
    return [AuditEntry.read(each) for each in Fields(response.json(), "audit").objects("entries")]


class AuditLog:
    """`client.audit`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def list(
        self,
        *,
        action: str | None = None,
        user: int | None = None,
        since: datetime | str | None = None,
        before: int | None = None,
        limit: int | None = None,
        everywhere: bool = False,
    ) -> Sequence[AuditEntry]:
        """What was done in the key's organization, newest first; takes an ADMIN.

        Args:
            action: One, or with a dot at its end all that begin so: `key.`.
            user: The id of a user: what it did.
            since: Not before then.
            before: Only entries with a smaller id: that of the last one before.
            limit: At most so many; no more than 1,000.
            everywhere: In every organization, and by the service itself; for an ADMIN of the first organization.
        """
        return self._driver.call(entries(action, user, since, before, limit, everywhere=everywhere))


@documented_as(AuditLog)
class AsyncAuditLog:
    """`client.audit`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def list(
        self,
        *,
        action: str | None = None,
        user: int | None = None,
        since: datetime | str | None = None,
        before: int | None = None,
        limit: int | None = None,
        everywhere: bool = False,
    ) -> Sequence[AuditEntry]:
        return await self._driver.call(entries(action, user, since, before, limit, everywhere=everywhere))
