"""Organizations, users and who is a member of what."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import Organization, Role, User
from treadle.domain.run import EngineName
from treadle.store.known import member
from treadle.store.prepared import Prepared, Row, insert_into, put_into
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import memberships, organizations, users
from treadle.store.values import date_of, micros, plain

ORGANIZATION_COLUMNS = (
    organizations.c.id, organizations.c.uuid, organizations.c.name, organizations.c.date_created,
    organizations.c.slots, organizations.c.is_pr_creation_enabled, organizations.c.is_rules_detection_enabled,
    organizations.c.rules, organizations.c.default_engine, organizations.c.default_model,
    organizations.c.default_repository_id, organizations.c.monthly_runs,
    organizations.c.default_max_cost_usd, organizations.c.monthly_cost_usd,
)  # fmt: skip
USER_COLUMNS = (
    users.c.id, users.c.uuid, users.c.email, users.c.name, users.c.date_created, users.c.rules,
    users.c.github_user_id, users.c.github_username, users.c.avatar_url,
)  # fmt: skip

ADD = Prepared(insert_into(organizations, "uuid", "name", "date_created").returning(organizations.c.id))
_ORGANIZATIONS = Prepared(select(*ORGANIZATION_COLUMNS).order_by(organizations.c.id))
_BY_UUID = Prepared(select(*ORGANIZATION_COLUMNS).where(organizations.c.uuid == bindparam("named")))
_SET_SLOTS = Prepared(
    update(organizations)
    .where(organizations.c.id == bindparam("organization"))
    .values(slots=bindparam("slots", type_=organizations.c.slots.type))
)
FIRST = Prepared(select(organizations.c.id, organizations.c.uuid).order_by(organizations.c.id).limit(1))
_OF_NEW_USER = ("uuid", "email", "email_folded", "name", "date_created")
_ADD_USER = Prepared(
    insert_or(users)
    .values({name: bindparam(name, type_=users.c[name].type) for name in _OF_NEW_USER})
    .on_conflict_do_nothing(index_elements=[users.c.email_folded])
)
_USER = Prepared(select(*USER_COLUMNS).where(users.c.email_folded == bindparam("folded")))
_MEMBERS = Prepared(
    select(*USER_COLUMNS, memberships.c.role)
    .join_from(memberships, users)
    .where(memberships.c.organization_id == bindparam("organization"))
    .order_by(users.c.id)
)
PUT_ROLE = put_into(memberships)
_REMOVE_ROLE = Prepared(
    delete(memberships).where(
        memberships.c.organization_id == bindparam("organization"), memberships.c.user_id == bindparam("user")
    )
)
_BOTH = Prepared(
    select(organizations.c.id, users.c.id).where(
        organizations.c.id == bindparam("organization"), users.c.id == bindparam("user")
    )
)


class Organizations:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def is_empty(self) -> bool:
        return await self._executor.glance(lambda session: session.one(FIRST)) is None

    async def add_organization(self, name: str, uuid: UUID, now: datetime) -> Organization:
        def work(session: Session) -> Organization:
            rows = session.all(ADD, uuid=str(uuid), name=plain(name), date_created=micros(now))
            return Organization(rows[0][0], uuid, plain(name), now)

        def again(session: Session) -> Organization:
            row = session.one(_BY_UUID, named=str(uuid))
            return work(session) if row is None else organization_of(row)

        try:
            return await self._executor.write(work, again=again)
        except Taken as error:
            raise Conflict(f"There is an organization {uuid} already.") from error

    async def organizations(self) -> Sequence[Organization]:
        rows = await self._executor.read(lambda session: session.all(_ORGANIZATIONS))
        return tuple(map(organization_of, rows))

    async def set_slots(self, organization_id: int, slots: int | None) -> None:
        def work(session: Session) -> None:
            if not session.run(_SET_SLOTS, organization=organization_id, slots=slots):
                raise NotFound(f"There is no organization {organization_id}.")

        await self._executor.write(work, again=work)

    async def add_user(self, email: str, name: str, uuid: UUID, now: datetime) -> User:
        def work(session: Session) -> User:
            return put_user(session, email, name, uuid, now)

        try:
            return await self._executor.write(work, again=work)
        except Taken as error:
            raise Conflict(f"There is a user {uuid} already.") from error

    async def users(self, organization_id: int) -> Sequence[tuple[User, Role]]:
        rows = await self._executor.read(lambda session: session.all(_MEMBERS, organization=organization_id))
        return tuple((user_of(row[:-1]), Role(row[-1])) for row in rows)

    async def set_role(self, organization_id: int, user_id: int, role: Role | None) -> None:
        def work(session: Session) -> None:
            if session.one(_BOTH, organization=organization_id, user=user_id) is None:
                raise NotFound(f"There is no organization {organization_id} or no user {user_id}.")
            if role is None:
                session.run(_REMOVE_ROLE, organization=organization_id, user=user_id)
            else:
                session.run(PUT_ROLE, organization_id=organization_id, user_id=user_id, role=role.value)

        try:
            await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound(f"There is no organization {organization_id} or no user {user_id}.") from error

    async def find_user(self, email: str) -> User:
        return await self._executor.glance(lambda session: load_user(session, email))


def folded(email: str) -> str:
    """As addresses are compared."""
    return plain(email).strip().casefold()


def put_user(session: Session, email: str, name: str, uuid: UUID, now: datetime) -> User:
    """The user with that e-mail address, made if there is none."""
    session.run(
        _ADD_USER,
        uuid=str(uuid),
        email=plain(email),
        email_folded=folded(email),
        name=plain(name),
        date_created=micros(now),
    )
    return load_user(session, email)


def load_user(session: Session, email: str) -> User:
    """Raises NotFound."""
    row = session.one(_USER, folded=folded(email))
    if row is None:
        raise NotFound(f"There is no user {email}.")
    return user_of(row)


def organization_of(row: Row) -> Organization:
    (
        id_,
        uuid,
        name,
        created,
        slots,
        opens,
        detects,
        rules,
        engine,
        model,
        repository_id,
        monthly_runs,
        max_cost,
        monthly_cost,
    ) = row
    return Organization(
        id=id_,
        uuid=UUID(uuid),
        name=name,
        date_created=date_of(created),
        slots=slots,
        is_pr_creation_enabled=bool(opens),
        is_rules_detection_enabled=bool(detects),
        rules=rules,
        default_engine=member(EngineName, engine),
        default_model=model,
        default_repository_id=repository_id,
        monthly_runs=monthly_runs,
        default_max_cost_usd=max_cost,
        monthly_cost_usd=monthly_cost,
    )


def user_of(row: Row) -> User:
    id_, uuid, email, name, created, rules, github_user_id, github_username, avatar_url = row
    return User(id_, UUID(uuid), email, name, date_of(created), rules, github_user_id, github_username, avatar_url)
