"""Who owns runs and who may do what."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a user may do in an organization. ADMIN sees and administers all of it, the others their own runs."""

    ADMIN = "ADMIN"
    MANAGER = "MANAGER"
    MEMBER = "MEMBER"


@dataclass(frozen=True, slots=True)
class Organization:
    id: int
    uuid: UUID
    name: str
    date_created: datetime
    slots: int | None = None  # runs at once; None: as many as the service's setting says


@dataclass(frozen=True, slots=True)
class User:
    id: int
    uuid: UUID
    email: str
    name: str
    date_created: datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller: a user in one organization. `role` is None where it has none there."""

    organization_id: int
    organization_uuid: UUID
    user_id: int
    user_uuid: UUID
    email: str
    name: str
    role: Role | None

    @property
    def sees_whole_organization(self) -> bool:
        return self.role is Role.ADMIN


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's record; the key itself is shown once and kept only as a hash."""

    id: int
    organization_id: int
    user_id: int
    name: str
    prefix: str  # the first characters, to recognize it by
    date_created: datetime
    date_expires: datetime | None
    date_revoked: datetime | None
