"""What an empty store begins with."""

from datetime import datetime
from uuid import UUID

from treadle.domain.identity import Organization, Role, User
from treadle.store import keys, organizations
from treadle.store.session import Executor, Session
from treadle.store.values import micros, plain


class FirstAdmin:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_first_admin(
        self,
        organization: tuple[str, UUID],
        admin: tuple[str, str, UUID],
        *,
        prefix: str,
        digest: str,
        now: datetime,
    ) -> tuple[Organization, User] | None:
        name, uuid = organization
        email, user_name, user_uuid = admin

        def work(session: Session) -> tuple[Organization, User] | None:
            session.lock("the first organization", wait=True)
            if session.one(organizations.FIRST) is not None:
                return None
            made = session.all(organizations.ADD, uuid=str(uuid), name=plain(name), date_created=micros(now))
            organization_id: int = made[0][0]
            user = organizations.put_user(session, email, user_name, user_uuid, now)
            session.run(organizations.PUT_ROLE, organization_id=organization_id, user_id=user.id, role=Role.ADMIN.value)
            session.all(
                keys.ADD,
                organization_id=organization_id,
                user_id=user.id,
                name="bootstrap",
                prefix=plain(prefix),
                digest=digest,
                date_created=micros(now),
                date_expires=None,
                reaches_all=False,
            )
            return Organization(organization_id, uuid, plain(name), now), user

        def again(session: Session) -> tuple[Organization, User] | None:
            first = session.one(organizations.FIRST)
            if first is None or first[1] != str(uuid):
                return work(session)
            return Organization(first[0], uuid, plain(name), now), organizations.load_user(session, email)

        return await self._executor.write(work, again=again)
