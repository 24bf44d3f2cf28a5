"""The audit log: who did what, from where, and when. Entries are only ever added.

A use case notes what it has done once it is done. Who does it, by which door and from which address is ambient: each
door says so for as long as a request or a command lasts, and whoever finds out who it is says that too.

An entry that cannot be written undoes nothing: what was done is done, and a caller that is told otherwise would do it
again. It goes to the log whole, as an error, and is counted in `treadle_audit_lost_total`, which is to be alarmed on.
Only a run's start is kept in one transaction with its entry.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from treadle import telemetry
from treadle.domain.errors import Forbidden, InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.identity import Principal, Role
from treadle.domain.network import NetworkPolicy
from treadle.domain.permissions import Permission, require
from treadle.domain.validation import ValidationRules
from treadle.ports import Clock
from treadle.ports.trust import AuditEntry, AuditStore
from treadle.services.audit_actions import Action, is_asked_for

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: The id of the organization whose admins run the house, and see the entries of all.
_HOUSE = 1

#: Entries that one call lists at most, and unless it says so.
MAX_ENTRIES = 1_000
DEFAULT_ENTRIES = 100

#: Characters that are kept of an entry's target, and of a name that nobody is known by.
MAX_TARGET = 500

#: Characters, as JSON, that are kept of the value that something had or got; of a longer one its beginning.
MAX_CHANGED_VALUE = 4_096

_NOBODY = "nobody"

#: Whoever is at the machine itself.
OPERATOR = "operator"


class Door(StrEnum):
    """By which way somebody came in."""

    API = "api"
    MCP = "mcp"
    PAGE = "page"
    CLI = "cli"
    SERVICE = "service"


@dataclass(slots=True)
class Origin:
    """Who does what is being done. `principal` is None until it is known; `actor` is what is written then."""

    door: Door
    address: str | None = None
    principal: Principal | None = None
    actor: str = _NOBODY


_SERVICE = Origin(Door.SERVICE, actor="service")
_ORIGIN: ContextVar[Origin] = ContextVar("audit_origin", default=_SERVICE)


class origin:  # noqa: N801 - used like a function; written out, because every request comes through here
    """`with origin(…):` whatever is noted in the body came by that door."""

    __slots__ = ("_made", "_token")

    def __init__(self, door: Door, address: str | None = None, *, actor: str = _NOBODY) -> None:
        self._made = Origin(door, address, actor=actor)

    def __enter__(self) -> Origin:
        self._token = _ORIGIN.set(self._made)
        return self._made

    def __exit__(self, *_: object) -> None:
        _ORIGIN.reset(self._token)


def acting(principal: Principal) -> None:
    """From now on it is known who: for the rest of what the door let in."""
    current = _ORIGIN.get()
    if current is not _SERVICE:
        current.principal = principal


def client_address() -> str | None:
    """Where what is being done comes from; None where nobody asked over the network."""
    return _ORIGIN.get().address


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries. `action`: one, or with a dot at its end all that begin so."""

    limit: int = DEFAULT_ENTRIES
    before: int | None = None
    action: str | None = None
    user_id: int | None = None
    since: datetime | None = None


def changed_fields(before: "DataclassInstance", after: "DataclassInstance") -> Sequence[str]:
    """The names of what differs between two of one kind."""
    return [each.name for each in fields(after) if getattr(before, each.name) != getattr(after, each.name)]


def change_of(
    before: "DataclassInstance", after: "DataclassInstance", *, told: Collection[str]
) -> dict[str, JsonValue]:
    """For a `detail`: the names of what differs, and of those in `told`, which are no secrets and no long texts, the
    values of before and after."""
    names = changed_fields(before, after)
    values = {name: from_to(getattr(before, name), getattr(after, name)) for name in names if name in told}
    return {"changed": names, "values": values}


def from_to(before: object, after: object) -> JsonObject:
    return {"before": _value(before), "after": _value(after)}


def _value(value: object) -> JsonValue:
    match value:
        case None | bool() | int() | float():
            return value
        case NetworkPolicy() | ValidationRules():
            found: JsonValue = value.json()
        case tuple():
            found = [str(each) for each in value]
        case Mapping():
            found = {str(name): _value(each) for name, each in value.items()}
        case _:
            found = str(value)
    text = json.dumps(found)
    return found if len(text) <= MAX_CHANGED_VALUE else f"{text[:MAX_CHANGED_VALUE]}…"


class Audit:
    """Writes and reads."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def entry(
        self,
        action: Action,
        *,
        principal: Principal | None = None,
        target: object = None,
        detail: JsonObject | None = None,
        organization_id: int | None = None,
        actor: str | None = None,
    ) -> AuditEntry:
        """What is written. `principal`: who did it, and where; None: whom the door knows. `organization_id`: where it
        was done, if elsewhere than in theirs. `detail`: what changed, never a secret's value."""
        where = _ORIGIN.get()
        who = principal or where.principal
        if organization_id is None and who is not None:
            organization_id = who.organization_id
        if where.door is Door.CLI:  # the operator, in somebody's name
            who = None
        return AuditEntry(
            actor=(actor or (who.email if who is not None else where.actor))[:MAX_TARGET],
            action=action,
            target=None if target is None else str(target)[:MAX_TARGET],
            detail=detail or {},
            door=where.door,
            date=self._clock.now(),
            organization_id=organization_id,
            user_id=who.user_id if who is not None and who.user_id > 0 else None,
            address=where.address,
        )

    async def note(
        self,
        action: Action,
        *,
        principal: Principal | None = None,
        target: object = None,
        detail: JsonObject | None = None,
        organization_id: int | None = None,
        actor: str | None = None,
    ) -> None:
        """Writes an entry of what has just been done; as `entry` has it. Raises nothing."""
        made = self.entry(
            action,
            principal=principal,
            target=target,
            detail=detail,
            organization_id=organization_id,
            actor=actor,
        )
        try:
            await self._store.add_audit(made)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was done is done
            telemetry.count(telemetry.AUDIT_LOST)
            structlog.get_logger(__name__).error(
                "audit_entry_lost",
                reason=str(error) or type(error).__name__,
                action=made.action,
                actor=made.actor,
                target=made.target,
                detail=dict(made.detail),
                door=made.door,
                address=made.address,
                organization=made.organization_id,
            )

    async def list(
        self, principal: Principal, wanted: Wanted, *, everywhere: bool = False
    ) -> tuple[Sequence[AuditEntry], int | None]:
        """Newest first, of the caller's organization; `everywhere`: of all of them, and of the service itself. And the
        `before` of the next page; None at the end. Raises InvalidInput, and Forbidden for all but ADMINs, everywhere
        for all but those of the first organization."""
        require(principal, Permission.ADMINISTER)
        if everywhere and not (principal.organization_id == _HOUSE and principal.role is Role.ADMIN):
            raise Forbidden("The entries of all organizations are for admins of the first organization.")
        return await self.read(None if everywhere else principal.organization_id, wanted)

    async def read(self, organization_id: int | None, wanted: Wanted) -> tuple[Sequence[AuditEntry], int | None]:
        """The same for the operator; None: everywhere. Raises InvalidInput, for what no entry has only if it is no
        action of this version."""
        if not 1 <= wanted.limit <= MAX_ENTRIES:
            raise InvalidInput({"limit": [f"Must be from 1 to {MAX_ENTRIES:,}."]})
        found = await self._store.audit(
            organization_id,
            limit=wanted.limit,
            before=wanted.before,
            action=wanted.action,
            user_id=wanted.user_id,
            since=wanted.since,
        )
        if not found and wanted.action is not None and not is_asked_for(wanted.action):
            raise InvalidInput(
                {
                    "action": [
                        "Is no action, nor with a dot at its end how some begin: docs/reference/audit.md lists them."
                    ]
                }
            )
        return found, found[-1].id if len(found) == wanted.limit else None
