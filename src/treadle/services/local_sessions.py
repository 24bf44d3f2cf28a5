"""Sessions of CLIs on people's own machines: they report here what they do, and nothing of it is run here."""

import json
from collections.abc import Mapping, Sequence

from treadle.domain.errors import Forbidden, InvalidInput, NotFound, TooLarge
from treadle.domain.events import JsonObject, JsonValue, clip, is_deeper
from treadle.domain.identity import LocalSession, Principal
from treadle.domain.permissions import Permission, may, require
from treadle.ports import Clock
from treadle.ports.directory import LocalSessionStore, SessionLog

#: What the CLI calls its session.
MAX_SESSION_ID = 200

#: A log entry, in bytes of JSON. The texts of a larger one are cut until it fits: what a tool has read may be any size.
MAX_LOG_BYTES = 64 * 1024

#: How deep it may be nested.
MAX_LOG_DEPTH = 100

#: Entries of one session.
MAX_LOGS = 10_000

#: As the CLI says it. COMPLETE is the end of a turn, and the next one is ACTIVE again: the last word counts.
STATUSES = ("ACTIVE", "COMPLETE", "ERROR", "CANCELLED")

#: To how many characters the texts of an entry that is too large are cut, one after the other.
_CUTS = (16_384, 2_048, 256)

_UNKNOWN = "There is no local session {}."


class LocalSessions:
    """A session is reported by the user that opened it alone, and seen by that one and by whoever sees everybody's."""

    def __init__(self, store: LocalSessionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def open(self, principal: Principal, session_id: str) -> LocalSession:
        """A new one, ACTIVE, or the caller's of that name. Raises InvalidInput, Conflict for another user's,
        Forbidden."""
        require(principal, Permission.RUN)
        if not 0 < len(session_id) <= MAX_SESSION_ID or not session_id.isprintable():
            raise InvalidInput({"session_id": [f"Must be 1 to {MAX_SESSION_ID} printable characters."]})
        return await self._store.open_local_session(
            session_id, principal.organization_id, principal.user_id, self._clock.now()
        )

    async def set_status(self, principal: Principal, session_id: str, status: str) -> None:
        """Raises InvalidInput for a status that the CLI does not have, NotFound, Forbidden."""
        session = await self._own(principal, session_id)
        if status not in STATUSES:
            raise InvalidInput({"status": [f"Must be one of {', '.join(STATUSES)}."]})
        await self._store.set_local_session_status(session.id, status, self._clock.now())

    async def add_log(self, principal: Principal, session_id: str, data: JsonObject) -> int:
        """Its number. Raises InvalidInput for what is no JSON, TooLarge, NotFound, Forbidden."""
        session = await self._own(principal, session_id)
        return await self._store.add_local_session_log(session.id, _fitted(data), self._clock.now(), most=MAX_LOGS)

    async def get(self, principal: Principal, id_: int) -> LocalSession:
        """Raises NotFound, also for what the caller may not see."""
        require(principal, Permission.RUN)
        return _seen(principal, await self._store.local_session(principal.organization_id, id_=id_), id_)

    async def page(
        self, principal: Principal, *, user_id: int | None = None, limit: int, skip: int = 0
    ) -> tuple[Sequence[LocalSession], int]:
        """Newest first, and how many there are in all: `user_id`'s, or all that the caller may see."""
        require(principal, Permission.RUN)
        if not may(principal, Permission.RUNS_OF_OTHERS):
            if user_id not in {None, principal.user_id}:
                return (), 0
            user_id = principal.user_id
        return await self._store.local_sessions(principal.organization_id, user_id, limit=limit, skip=skip)

    async def log(
        self, principal: Principal, id_: int, *, limit: int, skip: int = 0, reverse: bool = False
    ) -> tuple[LocalSession, Sequence[SessionLog], int]:
        """A page, oldest first unless `reverse`, and how many there are in all. Raises NotFound as `get` does."""
        session = await self.get(principal, id_)
        entries, total = await self._store.local_session_logs(session.id, limit=limit, skip=skip, reverse=reverse)
        return session, entries, total

    async def _own(self, principal: Principal, session_id: str) -> LocalSession:
        require(principal, Permission.RUN)
        found = await self._store.local_session(principal.organization_id, session_id=session_id)
        session = _seen(principal, found, session_id)
        if session.user_id != principal.user_id:
            raise Forbidden("A local session is reported by the user that opened it.")
        return session


def _seen(principal: Principal, session: LocalSession, name: str | int) -> LocalSession:
    """Raises NotFound as if there were none."""
    if session.user_id == principal.user_id or may(principal, Permission.RUNS_OF_OTHERS):
        return session
    raise NotFound(_UNKNOWN.format(name))


def _fitted(data: JsonObject) -> JsonObject:
    """`data` in MAX_LOG_BYTES; `clipped` says how many characters were cut off. Raises TooLarge where that is not
    enough, and InvalidInput."""
    if is_deeper(data, MAX_LOG_DEPTH):
        raise _no_json()
    if _size(data) <= MAX_LOG_BYTES:
        return data
    for limit in _CUTS:
        lost: list[int] = []
        cut = {**{name: _cut(value, limit, lost) for name, value in data.items()}, "clipped": sum(lost)}
        if _size(cut) <= MAX_LOG_BYTES:
            return cut
    raise TooLarge(f"A log entry may have {MAX_LOG_BYTES:,} bytes as JSON, and this one has no long texts to cut.")


def _size(data: JsonObject) -> int:
    try:
        return len(json.dumps(data, separators=(",", ":"), allow_nan=False))  # ASCII
    except ValueError:
        raise _no_json() from None


def _no_json() -> InvalidInput:
    said = f"Is no JSON: it has a number that is none, or is nested more than {MAX_LOG_DEPTH} deep."
    return InvalidInput({"log": [said]})


def _cut(value: JsonValue, limit: int, lost: list[int]) -> JsonValue:
    if isinstance(value, str):
        kept, gone = clip(value, limit)
        lost.append(gone)
        return kept
    if isinstance(value, Mapping):
        return {name: _cut(inner, limit, lost) for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [_cut(inner, limit, lost) for inner in value]
    return value
