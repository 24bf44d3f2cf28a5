"""What is set for organizations and users, and lists of members."""

from collections.abc import Sequence

from sqlalchemy import Integer, bindparam, func, select, update

from treadle.domain.errors import NotFound
from treadle.domain.identity import Organization, Role, User
from treadle.store.organizations import ORGANIZATION_COLUMNS, USER_COLUMNS, organization_of, user_of
from treadle.store.prepared import Prepared
from treadle.store.session import Executor, Session
from treadle.store.tables import memberships, organizations, users
from treadle.store.values import plain

_SETTABLE = (
    "name", "is_pr_creation_enabled", "is_rules_detection_enabled", "rules", "default_engine", "default_model",
    "default_repository_id", "monthly_runs", "default_max_cost_usd", "monthly_cost_usd",
)  # fmt: skip
_OF_USERS = ("name", "rules", "github_user_id", "github_username", "avatar_url")

_ORGANIZATION = Prepared(select(*ORGANIZATION_COLUMNS).where(organizations.c.id == bindparam("organization")))
_SET_ORGANIZATION = Prepared(
    update(organizations)
    .where(organizations.c.id == bindparam("organization"))
    .values({name: bindparam(name, type_=organizations.c[name].type) for name in _SETTABLE})
)
_SET_USER = Prepared(
    update(users)
    .where(users.c.id == bindparam("user"))
    .values({name: bindparam(name, type_=users.c[name].type) for name in _OF_USERS})
)
ORGANIZATIONS_OF = Prepared(
    select(*ORGANIZATION_COLUMNS, memberships.c.role)
    .join_from(memberships, organizations)
    .where(memberships.c.user_id == bindparam("user"))
    .order_by(memberships.c.organization_id)
)
_members = (
    select(*USER_COLUMNS, memberships.c.role)
    .join_from(memberships, users)
    .where(memberships.c.organization_id == bindparam("organization"))
)
MEMBERS = Prepared(
    _members.order_by(memberships.c.user_id)
    .limit(bindparam("limit", type_=Integer))
    .offset(bindparam("skip", type_=Integer))
)
COUNT = Prepared(
    select(func.count()).select_from(memberships).where(memberships.c.organization_id == bindparam("organization"))
)
MEMBER = Prepared(_members.where(memberships.c.user_id == bindparam("user")))


class Members:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def organization(self, organization_id: int) -> Organization:
        row = await self._executor.glance(lambda session: session.one(_ORGANIZATION, organization=organization_id))
        if row is None:
            raise NotFound(f"There is no organization {organization_id}.")
        return organization_of(row)

    async def update_organization(self, organization: Organization) -> None:
        engine = organization.default_engine

        def work(session: Session) -> None:
            changed = session.run(
                _SET_ORGANIZATION,
                organization=organization.id,
                name=plain(organization.name),
                is_pr_creation_enabled=organization.is_pr_creation_enabled,
                is_rules_detection_enabled=organization.is_rules_detection_enabled,
                rules=plain(organization.rules),
                default_engine=None if engine is None else engine.value,
                default_model=plain(organization.default_model),
                default_repository_id=organization.default_repository_id,
                monthly_runs=organization.monthly_runs,
                default_max_cost_usd=organization.default_max_cost_usd,
                monthly_cost_usd=organization.monthly_cost_usd,
            )
            if not changed:
                raise NotFound(f"There is no organization {organization.id}.")

        await self._executor.write(work, again=work)

    async def organizations_of(self, user_id: int) -> Sequence[tuple[Organization, Role]]:
        rows = await self._executor.read(lambda session: session.all(ORGANIZATIONS_OF, user=user_id))
        return tuple((organization_of(row[:-1]), Role(row[-1])) for row in rows)

    async def members(
        self, organization_id: int, *, limit: int, skip: int = 0
    ) -> tuple[Sequence[tuple[User, Role]], int]:
        def work(session: Session) -> tuple[Sequence[tuple[User, Role]], int]:
            rows = session.all(MEMBERS, organization=organization_id, limit=limit, skip=skip)
            count = session.all(COUNT, organization=organization_id)
            return tuple((user_of(row[:-1]), Role(row[-1])) for row in rows), count[0][0]

        return await self._executor.read(work)

    async def member(self, organization_id: int, user_id: int) -> tuple[User, Role]:
        row = await self._executor.glance(
            lambda session: session.one(MEMBER, organization=organization_id, user=user_id)
        )
        if row is None:
            raise NotFound(f"The organization has no user {user_id}.")
        return user_of(row[:-1]), Role(row[-1])

    async def update_user(self, user: User) -> None:
        def work(session: Session) -> None:
            changed = session.run(
                _SET_USER,
                user=user.id,
                name=plain(user.name),
                rules=plain(user.rules),
                github_user_id=plain(user.github_user_id),
                github_username=plain(user.github_username),
                avatar_url=plain(user.avatar_url),
            )
            if not changed:
                raise NotFound(f"There is no user {user.id}.")

        await self._executor.write(work, again=work)
