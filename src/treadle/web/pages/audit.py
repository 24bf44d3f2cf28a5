"""/settings/audit: who did what, newest first; what is looked for is in the address. For an ADMIN."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from itertools import groupby
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject
from treadle.domain.permissions import Permission, require
from treadle.ports.trust import AuditEntry
from treadle.services.audit import Wanted
from treadle.services.audit_actions import Action
from treadle.web.door import Visit
from treadle.web.forms import Form, number_of
from treadle.web.site import Site

PATH = "/settings/audit"

#: Entries of a page.
ROWS = 100

#: Of an action's name in the address, in characters.
MAX_ACTION = 100

#: Of one detail of an entry, in characters.
MAX_DETAIL = 300

#: Those who run the house see the entries of all.
_HOUSE = 1

_NO_DAY = "A day is written as 2026-11-22."


def routes(site: Site) -> Sequence[Route]:
    return [Route(PATH, site.door.page(_Page(site).show), methods=["GET"])]


@dataclass(frozen=True, slots=True)
class Entry:
    """As it is shown. `means`: what the action is, in a sentence; "" for one of another version."""

    kept: AuditEntry
    means: str
    details: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address asks for; what means nothing in it is left out, but for a day and an action, which are
    said."""

    action: str = ""
    user: int | None = None
    since: str = ""
    is_everywhere: bool = False

    @classmethod
    def of(cls, query: QueryParams) -> "Filters":
        action = query.get("action", "")
        return cls(
            action=action if len(action) <= MAX_ACTION and action.isprintable() else "",
            user=number_of(query.get("user", "")),
            since=query.get("since", "").strip()[:MAX_ACTION],
            is_everywhere=query.get("scope") == "all",
        )

    @property
    def day(self) -> datetime | None:
        """Its beginning, in UTC. Raises ValueError."""
        return datetime.combine(date.fromisoformat(self.since), time(), UTC) if self.since else None

    def query(self, before: int | None = None) -> str:
        given = {
            "action": self.action,
            "user": str(self.user) if self.user is not None else "",
            "since": self.since,
            "scope": "all" if self.is_everywhere else "",
            "before": str(before) if before is not None else "",
        }
        return urlencode({name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True)
class _Page:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?action=` one, or with a dot at its end all that begin so; `?user=`, `?since=`, `?scope=all`, and `?before=`
        an entry's id for older ones."""
        who, services = visit.principal, self.site.services
        require(who, Permission.ADMINISTER)
        filters, faults = Filters.of(request.query_params), dict[str, Sequence[str]]()
        since = None
        try:
            since = filters.day
        except (ValueError, OverflowError):
            faults["since"] = [_NO_DAY]
        before = number_of(request.query_params.get("before", ""))
        wanted = Wanted(ROWS, before, filters.action or None, filters.user, since)
        entries: Sequence[AuditEntry] = ()
        following = None
        if not faults:
            try:
                entries, following = await services.audit.list(who, wanted, everywhere=filters.is_everywhere)
            except InvalidInput as error:
                faults.update(error.faults)
        members = await services.identity.users(who.organization_id)
        return self.site.renderer.page(
            "audit.html",
            replace(visit.view, path=PATH),
            status=400 if faults else 200,
            done=None,
            entries=[_shown(each) for each in entries],
            form=Form("audit", _values(filters), faults),
            filters=filters,
            is_filtered=bool(filters.query()),
            is_older=before is not None,
            older=filters.query(following) if following is not None else None,
            newest=filters.query(),
            users=_users({user.id: user.email for user, _ in members}, filters.user),
            groups=_GROUPS,
            is_known=filters.action in _KNOWN,
            may_see_all=who.organization_id == _HOUSE,
        )


#: Actions by what they are done to, for the menu.
_GROUPS: Sequence[tuple[str, Sequence[Action]]] = tuple(
    (kind, tuple(actions))
    for kind, actions in groupby(sorted(Action, key=lambda each: each.split(".")[0]), lambda each: each.split(".")[0])
)
_MEANINGS: Mapping[str, str] = {action.value: action.means for action in Action}
_KNOWN = frozenset({"", *Action, *(f"{kind}." for kind, _ in _GROUPS)})


def _values(filters: Filters) -> Mapping[str, str]:
    return {"since": filters.since, "user": str(filters.user or ""), "scope": "1" if filters.is_everywhere else ""}


def _users(emails: Mapping[int, str], chosen: int | None) -> Sequence[tuple[str, str]]:
    found = sorted(((str(id_), email) for id_, email in emails.items()), key=lambda each: each[1].lower())
    if chosen is not None and chosen not in emails:
        found.append((str(chosen), f"user {chosen}"))
    return [("", "Anybody"), *found]


def _shown(entry: AuditEntry) -> Entry:
    return Entry(entry, _MEANINGS.get(entry.action, ""), _details(entry.detail))


def _details(detail: JsonObject) -> Sequence[tuple[str, str]]:
    values = detail.get("values")
    changes = values if isinstance(values, Mapping) else {}
    found = [(name, _text(value)) for name, value in detail.items() if value is not changes]
    return found + [(name, _change(value)) for name, value in changes.items()]


def _change(value: object) -> str:
    match value:
        case {"before": before, "after": after}:
            return " → ".join("unset" if each is None else _text(each) for each in (before, after))
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        text = ", ".join(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}…"
