"""Sealed secrets of runs and repositories, by the UUID of their owner."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, not_, select

from treadle.store.prepared import Prepared, insert_into, put_into
from treadle.store.session import Session
from treadle.store.tables import secrets
from treadle.store.values import micros

_INSERT = Prepared(insert_into(secrets))
_PUT = put_into(secrets)
#: Before the names of the variables of a repository's environment.
VARIABLES = "env/"
_is_variable = secrets.c.name.startswith(VARIABLES)
_BY_OWNER = Prepared(
    select(secrets.c.name, secrets.c.sealed).where(secrets.c.owner == bindparam("of"), not_(_is_variable))
)
_REMOVE = Prepared(delete(secrets).where(secrets.c.owner == bindparam("of"), secrets.c.name == bindparam("called")))
_ERASE = Prepared(delete(secrets).where(secrets.c.owner == bindparam("of")))


def add(session: Session, owner: UUID, organization_id: int, sealed: Mapping[str, str], now: datetime) -> None:
    if sealed:
        session.many(_INSERT, _rows(owner, organization_id, sealed, now))


def put(session: Session, owner: UUID, organization_id: int, sealed: Mapping[str, str | None], now: datetime) -> None:
    """Adds, replaces, and removes those that are None."""
    for name in (name for name, text in sealed.items() if text is None):
        session.run(_REMOVE, of=str(owner), called=name)
    kept = {name: text for name, text in sealed.items() if text is not None}
    if kept:
        session.many(_PUT, _rows(owner, organization_id, kept, now))


def by_owner(session: Session, owner: UUID) -> dict[str, str]:
    """Credentials; variables are not among them."""
    return dict(session.all(_BY_OWNER, of=str(owner)))


def erase(session: Session, owner: UUID) -> None:
    session.run(_ERASE, of=str(owner))


def _rows(owner: UUID, organization_id: int, sealed: Mapping[str, str], now: datetime) -> list[dict[str, object]]:
    date = micros(now)
    return [
        {"owner": str(owner), "name": name, "organization_id": organization_id, "sealed": text, "date_updated": date}
        for name, text in sealed.items()
    ]
