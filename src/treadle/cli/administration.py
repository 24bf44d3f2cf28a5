"""What `treadle admin` does, through the services."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from treadle import factory, logs
from treadle.cli import output
from treadle.cli.lines import when
from treadle.cli.service import key_lines
from treadle.cli.steps import read_text
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import InvalidInput
from treadle.domain.identity import ApiKey, Organization, Role, User
from treadle.domain.repository import Repository
from treadle.factory import Parts
from treadle.settings import Settings

T = TypeVar("T")
Record = dict[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Administration:
    """One command's work on the database of the settings."""

    is_json: bool

    def add_organization(self, name: str) -> None:
        self._one(_organization(_do(lambda parts: parts.services.identity.add_organization(name))))

    def list_organizations(self) -> None:
        self._many([_organization(found) for found in _do(lambda parts: parts.services.identity.organizations())])

    def limit_organization(self, organization: int, slots: int | None) -> None:
        async def work(parts: Parts) -> Organization:
            await parts.services.runs.set_slots(organization, slots)
            return await parts.services.identity.organization(organization)

        self._one(_organization(_do(work)))

    def add_user(self, email: str, organization: int, role: Role, name: str | None) -> None:
        user = _do(lambda parts: parts.services.identity.add_user(email, organization, role, name=name))
        self._one(_user(user, role))

    def list_users(self, organization: int) -> None:
        found = _do(lambda parts: parts.services.identity.users(organization))
        self._many([_user(user, role) for user, role in found])

    def remove_user(self, email: str, organization: int) -> None:
        async def work(parts: Parts) -> None:
            user = await parts.services.identity.find_user(email)
            await parts.services.identity.set_role(organization, user.id, None)

        _do(work)

    def create_key(self, email: str, organization: int, name: str, expires_days: int | None) -> None:
        async def work(parts: Parts) -> tuple[ApiKey, str]:
            expires = parts.clock.now() + timedelta(days=expires_days) if expires_days is not None else None
            return await parts.services.identity.create_key(email, organization, name=name, expires=expires)

        record, key = _do(work)
        if self.is_json:
            output.as_json({**_key(record, email), "key": key})
            return
        output.line(key)
        output.note(f"This is key {record.id}. It is shown this once.")

    def list_keys(self, organization: int) -> None:
        async def work(parts: Parts) -> list[Record]:
            people = {user.id: user.email for user, _ in await parts.services.identity.users(organization)}
            return [_key(key, people.get(key.user_id)) for key in await parts.services.identity.keys(organization)]

        self._many(_do(work))

    def revoke_key(self, key_id: int) -> None:
        _do(lambda parts: parts.services.identity.revoke_key(key_id))

    def add_repository(
        self, organization: int, name: str, url: str, default_branch: str, http: str | None, ssh_key: Path | None
    ) -> None:
        git = GitCredentials(http=http, ssh_key=read_text(ssh_key.expanduser()) if ssh_key is not None else None)

        async def work(parts: Parts) -> Repository:
            owner = await parts.services.identity.organization(organization)
            return await parts.services.repositories.add(
                owner, name=name, url=url, default_branch=default_branch, git=git
            )

        self._one(_repository(_do(work)))

    def update_repository(self, organization: int, name: str, change: "RepositoryChange") -> None:
        async def work(parts: Parts) -> Repository:
            owner = await parts.services.identity.organization(organization)
            return await parts.services.repositories.update(
                owner, name, url=change.url, default_branch=change.default_branch, git=change.git
            )

        self._one(_repository(_do(work)))

    def remove_repository(self, organization: int, name: str) -> None:
        async def work(parts: Parts) -> None:
            await parts.services.identity.organization(organization)
            await parts.services.repositories.remove(organization, name)

        _do(work)

    def list_repositories(self, organization: int) -> None:
        async def work(parts: Parts) -> Sequence[Repository]:
            await parts.services.identity.organization(organization)
            return await parts.services.repositories.list(organization)

        self._many([_repository(found) for found in _do(work)])

    def _one(self, record: Record) -> None:
        if self.is_json:
            output.as_json(record)
        else:
            output.table(_head([record]), [_row(record)])

    def _many(self, records: Sequence[Record]) -> None:
        if self.is_json:
            output.as_json(list(records))
        elif records:
            output.table(_head(records), [_row(record) for record in records])


@dataclass(frozen=True, slots=True)
class RepositoryChange:
    """None: stays as it is."""

    url: str | None = None
    default_branch: str | None = None
    git: GitCredentials | None = None

    @classmethod
    def of(
        cls, url: str | None, default_branch: str | None, http: str | None, ssh_key: Path | None, *, is_bare: bool
    ) -> "RepositoryChange":
        """`is_bare`: without any credentials. Raises InvalidInput when nothing changes, or the options contradict."""
        is_given = http is not None or ssh_key is not None
        if is_bare and is_given:
            raise InvalidInput({"--no-credentials": ["give it, or credentials, not both"]}, "The options contradict.")
        if not is_bare and not is_given and url is None and default_branch is None:
            raise InvalidInput({"--url": ["is one of the things that can change"]}, "Nothing is to change.")
        key = read_text(ssh_key.expanduser()) if ssh_key is not None else None
        return cls(url, default_branch, GitCredentials(http=http, ssh_key=key) if is_bare or is_given else None)


def _do(work: Callable[[Parts], Awaitable[T]]) -> T:
    settings = Settings.load(os.environ)
    logs.configure(settings)  # beside the result, not in it

    async def assembled() -> T:
        async with factory.assemble(settings, tells_others=False) as parts:
            for line in key_lines(parts, ""):  # an empty database has just got its first admin
                output.note(line)
            return await work(parts)

    return asyncio.run(assembled())


def _head(records: Sequence[Record]) -> list[str]:
    return [name.upper() for name in records[0]]


def _row(record: Record) -> list[str]:
    return ["" if value is None else str(value) for value in record.values()]


def _organization(found: Organization) -> Record:
    return {
        "id": found.id,
        "uuid": str(found.uuid),
        "name": found.name,
        "created": when(found.date_created),
        "slots": found.slots,
    }


def _user(found: User, role: Role) -> Record:
    return {
        "id": found.id,
        "uuid": str(found.uuid),
        "email": found.email,
        "name": found.name,
        "role": role,
        "created": when(found.date_created),
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
    }


def _repository(found: Repository) -> Record:
    return {
        "id": found.id,
        "uuid": str(found.uuid),
        "name": found.name,
        "url": found.url,
        "branch": found.default_branch,
        "created": when(found.date_created),
    }
