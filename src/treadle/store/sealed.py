"""Every sealed text there is, for sealing it anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    Select,
    bindparam,
    func,
    literal_column,
    null,
    select,
    tuple_,
    update,
)

from treadle.ports.trust import SealedKind, SealedRow
from treadle.store.automation_tables import hooks, webhooks
from treadle.store.prepared import Prepared, Row
from treadle.store.session import Executor, Session
from treadle.store.tables import metadata, oauth_tokens, organizations, repositories, runs, secrets, signing_keys

#: A sealed text begins with its format and its key: `v1:<8 hexadecimal digits>:`.
_ID_AT = literal_column("4", Integer)
_ID_LENGTH = literal_column("8", Integer)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where texts of one kind are: `keys` find one, `rows` and `more` several, `put` replaces one."""

    keys: tuple[Column[str], ...]
    rows: Prepared
    more: Prepared
    put: Prepared


def _place(sealed: Column[str], keys: tuple[Column[str], ...], found: Select[Any]) -> _Place:
    """`found` gives owner, name, the organization's UUID and the sealed text."""
    asked = (
        found.where(sealed.is_not(None), key_of(sealed) != bindparam("key"))
        .order_by(*keys)
        .limit(bindparam("limit", type_=Integer))
    )
    named = [bindparam(f"that_{column.name}", type_=column.type) for column in keys]
    of_row = [column == name for column, name in zip(keys, named, strict=True)]
    put = update(sealed.table).values({sealed.name: bindparam("anew", type_=sealed.type)})
    return _Place(
        keys,
        Prepared(asked),
        Prepared(asked.where(tuple_(*keys) > tuple_(*named))),
        Prepared(put.where(*of_row, sealed == bindparam("was", type_=sealed.type))),
    )


def key_of(sealed: Column[str]) -> ColumnElement[str]:
    """The id of the key that it was sealed with."""
    return func.substr(sealed, _ID_AT, _ID_LENGTH)


_NO_NAME: ColumnElement[str] = literal_column("''")
_owned = secrets.join(organizations, organizations.c.id == secrets.c.organization_id)
_secret = select(secrets.c.owner, secrets.c.name, organizations.c.uuid, secrets.c.sealed)
_PLACES: dict[SealedKind, _Place] = {
    SealedKind.RUN: _place(
        secrets.c.sealed,
        (secrets.c.owner, secrets.c.name),
        _secret.select_from(_owned.join(runs, runs.c.uuid == secrets.c.owner)),
    ),
    SealedKind.REPOSITORY: _place(
        secrets.c.sealed,
        (secrets.c.owner, secrets.c.name),
        _secret.select_from(_owned.join(repositories, repositories.c.uuid == secrets.c.owner)),
    ),
    SealedKind.SIGNING_KEY: _place(
        signing_keys.c.sealed,
        (signing_keys.c.key_id,),
        select(signing_keys.c.key_id, _NO_NAME, null(), signing_keys.c.sealed),
    ),
    SealedKind.OAUTH_TOKEN: _place(
        oauth_tokens.c.sealed,
        (oauth_tokens.c.uuid,),
        select(oauth_tokens.c.uuid, _NO_NAME, organizations.c.uuid, oauth_tokens.c.sealed).select_from(
            oauth_tokens.join(organizations, organizations.c.id == oauth_tokens.c.organization_id)
        ),
    ),
}

_PLACES[SealedKind.HOOK] = _place(
    hooks.c.sealed,
    (hooks.c.uuid,),
    select(hooks.c.uuid, _NO_NAME, organizations.c.uuid, hooks.c.sealed).select_from(
        hooks.join(organizations, organizations.c.id == hooks.c.organization_id)
    ),
)
_of_webhook = webhooks.join(organizations, organizations.c.id == webhooks.c.organization_id)
for _kind, _column in (
    (SealedKind.WEBHOOK, webhooks.c.sealed),
    (SealedKind.WEBHOOK_BEFORE, webhooks.c.sealed_before),
    (SealedKind.WEBHOOK_TARGET, webhooks.c.sealed_target),
):
    _found = select(webhooks.c.uuid, _NO_NAME, organizations.c.uuid, _column).select_from(_of_webhook)
    _PLACES[_kind] = _place(_column, (webhooks.c.uuid,), _found)

#: Every column whose name begins so holds sealed texts, and every sealed text is in one.
SEALED_COLUMNS: Sequence[Column[str]] = [
    column for table in metadata.sorted_tables for column in table.columns if column.name.startswith("sealed")
]
_COUNTS = [
    Prepared(select(key_of(column), func.count()).where(column.is_not(None)).group_by(key_of(column)))
    for column in SEALED_COLUMNS
]


class Sealed:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def sealed_rows(
        self, kind: SealedKind, *, not_key: str, after: SealedRow | None, limit: int
    ) -> Sequence[SealedRow]:
        place = _PLACES[kind]
        asked, named = (place.rows, {}) if after is None else (place.more, _named(place, after))
        rows = await self._executor.read(lambda session: session.all(asked, key=not_key, limit=limit, **named))
        return tuple(_row_of(kind, row) for row in rows)

    async def reseal(self, row: SealedRow, sealed: str) -> bool:
        # A transaction of its own: whoever ends a run removes its secrets in an order of its own.
        place = _PLACES[row.kind]

        def work(session: Session) -> bool:
            return bool(session.run(place.put, anew=sealed, was=row.sealed, **_named(place, row)))

        return await self._executor.write(work, again=work)

    async def sealing_keys(self) -> Mapping[str, int]:
        def work(session: Session) -> Mapping[str, int]:
            counts: dict[str, int] = {}
            for statement in _COUNTS:
                for key, count in session.all(statement):
                    counts[key] = counts.get(key, 0) + int(count)
            return counts

        return await self._executor.read(work)


def _named(place: _Place, row: SealedRow) -> dict[str, str]:
    return {f"that_{column.name}": text for column, text in zip(place.keys, (row.owner, row.name), strict=False)}


def _row_of(kind: SealedKind, row: Row) -> SealedRow:
    owner, name, organization, sealed = row
    return SealedRow(kind, owner, name, None if organization is None else UUID(organization), sealed)
