"""What `treadle admin user`, `key` and `roles` do."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from getpass import getpass

from treadle.cli import output
from treadle.cli.administration import Record, do, show_fields, show_many, show_one, show_text
from treadle.cli.lines import when
from treadle.domain.errors import InvalidInput
from treadle.domain.identity import ApiKey, Role, User
from treadle.domain.permissions import PERMISSIONS, Permission
from treadle.factory import Parts


@dataclass(frozen=True, slots=True)
class UserChange:
    """None: stays as it is. An empty text takes one away."""

    name: str | None = None
    github_user_id: str | None = None
    github_username: str | None = None
    avatar_url: str | None = None


@dataclass(frozen=True, slots=True)
class UserAdministration:
    """One command's work."""

    is_json: bool

    def add(self, email: str, organization: int, role: Role, name: str | None) -> None:
        user = do(lambda parts: parts.services.identity.add_user(email, organization, role, name=name))
        show_one(_user(user, role), is_json=self.is_json)

    def list(self, organization: int) -> None:
        found = do(lambda parts: parts.services.identity.users(organization))
        show_many([_user(user, role) for user, role in found], is_json=self.is_json)

    def set_role(self, email: str, organization: int, role: Role) -> None:
        async def work(parts: Parts) -> User:
            user, _ = await parts.services.identity.member(email, organization)
            await parts.services.identity.set_role(organization, user.id, role)
            return user

        show_one(_user(do(work), role), is_json=self.is_json)

    def remove(self, email: str, organization: int) -> None:
        async def work(parts: Parts) -> None:
            user = await parts.services.identity.find_user(email)
            await parts.services.identity.set_role(organization, user.id, None)

        do(work)

    def change(self, email: str, change: UserChange) -> None:
        async def work(parts: Parts) -> User:
            found = await parts.services.identity.find_user(email)
            return await parts.services.organizations.save_user(
                replace(
                    found,
                    name=found.name if change.name is None else change.name,
                    github_user_id=_or(change.github_user_id, found.github_user_id),
                    github_username=_or(change.github_username, found.github_username),
                    avatar_url=_or(change.avatar_url, found.avatar_url),
                )
            )

        show_fields(_facts(do(work)), is_json=self.is_json)

    def password(self, email: str, new: str | None) -> None:
        """None takes it away."""
        ended = do(lambda parts: parts.services.sessions.reset_password(email, new))
        said = "has a password" if new is not None else "has no password"
        output.note(f"{email} {said} now. Sessions that ended: {ended}.")

    def end_sessions(self, email: str) -> None:
        ended = do(lambda parts: parts.services.sessions.revoke_all_of(email))
        output.note(f"Sessions that ended: {ended}.")

    def rules(self, email: str, text: str | None) -> None:
        """None: shows them; an empty text takes them away."""

        async def work(parts: Parts) -> str | None:
            found = await parts.services.identity.find_user(email)
            if text is not None:
                found = await parts.services.organizations.save_user(replace(found, rules=text))
            return found.rules

        show_text("rules", do(work), is_json=self.is_json)


@dataclass(frozen=True, slots=True)
class KeyAdministration:
    """One command's work."""

    is_json: bool

    def create(self, email: str, organization: int, name: str, expires_days: int | None, *, reaches_all: bool) -> None:
        async def work(parts: Parts) -> tuple[ApiKey, str]:
            expires = parts.clock.now() + timedelta(days=expires_days) if expires_days is not None else None
            return await parts.services.identity.create_key(
                email, organization, name=name, expires=expires, reaches_all=reaches_all
            )

        record, key = do(work)
        if self.is_json:
            output.as_json({**_key(record, email), "key": key})
            return
        output.line(key)
        output.note(f"This is key {record.id}. It is shown this once.")

    def list(self, organization: int) -> None:
        async def work(parts: Parts) -> Sequence[Record]:
            people = {user.id: user.email for user, _ in await parts.services.identity.users(organization)}
            return [_key(key, people.get(key.user_id)) for key in await parts.services.identity.keys(organization)]

        show_many(do(work), is_json=self.is_json)

    def revoke(self, key_id: int) -> None:
        do(lambda parts: parts.services.identity.revoke_key(key_id))

    def revoke_tokens(self, email: str) -> None:
        """All JWTs."""
        do(lambda parts: parts.services.tokens.revoke_of(email))


def asked_password() -> str:
    """Asked for twice on a terminal; else the first line of standard input. Raises InvalidInput."""
    if sys.stdin.isatty():
        first = getpass("Password: ")
        if getpass("Again: ") != first:
            raise InvalidInput({"password": ["Is not the same the second time."]})
        return first
    return sys.stdin.readline().rstrip("\r\n")


def show_roles(*, is_json: bool) -> None:
    """What each role may do. Asks no database."""
    show_many(
        [
            {"permission": permission.value, **{role: permission in PERMISSIONS[role] for role in reversed(Role)}}
            for permission in Permission
        ],
        is_json=is_json,
    )


def _or(given: str | None, known: str | None) -> str | None:
    return known if given is None else given


def _user(found: User, role: Role) -> Record:
    return {
        "id": found.id,
        "uuid": str(found.uuid),
        "email": found.email,
        "name": found.name,
        "role": role,
        "created": when(found.date_created),
        "github": found.github_username,
    }


def _facts(found: User) -> Record:
    return {
        "id": found.id,
        "uuid": str(found.uuid),
        "email": found.email,
        "name": found.name,
        "created": when(found.date_created),
        "githubId": found.github_user_id,
        "githubUsername": found.github_username,
        "avatarUrl": found.avatar_url,
        "rules": found.rules,
    }


def _key(found: ApiKey, email: str | None) -> Record:
    return {
        "id": found.id,
        "prefix": found.prefix,
        "name": found.name,
        "user": email,
        "created": when(found.date_created),
        "expires": when(found.date_expires) if found.date_expires is not None else None,
        "revoked": when(found.date_revoked) if found.date_revoked is not None else None,
        "allOrganizations": found.reaches_all,
    }
