"""What each role may do in its organization: one table, which the docs and a test of every operation agree with."""

from collections.abc import Mapping
from enum import StrEnum

from treadle.domain.errors import Forbidden
from treadle.domain.identity import Principal, Role


class Permission(StrEnum):
    READ = "see members, repositories, rules and integrations"
    RUN = "start runs, and see, resume and stop its own"
    RUNS_OF_OTHERS = "see, resume and stop everybody's runs"
    SET_UP = "generate setup commands"
    REPOSITORIES = "register and change repositories"
    BUDGETS = "give a run a budget above the organization's default"
    SETTINGS = "change what becomes of failed checks"
    ADMINISTER = "administer members, keys and settings"


_MEMBER = frozenset({Permission.READ, Permission.RUN})
_MANAGER = _MEMBER | {Permission.RUNS_OF_OTHERS, Permission.SET_UP, Permission.REPOSITORIES, Permission.BUDGETS}
_ADMIN = _MANAGER | {Permission.SETTINGS, Permission.ADMINISTER}

PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.MEMBER: _MEMBER,
    Role.MANAGER: _MANAGER,
    Role.ADMIN: _ADMIN,
}


def may(principal: Principal, permission: Permission) -> bool:
    return principal.role is not None and permission in PERMISSIONS[principal.role]


def require(principal: Principal, permission: Permission) -> None:
    """Raises Forbidden."""
    if not may(principal, permission):
        least = next(role for role in (Role.MEMBER, Role.MANAGER, Role.ADMIN) if permission in PERMISSIONS[role])
        role = principal.role or "no role"
        raise Forbidden(f"You do not have permission to {permission}: you have {role}, and it takes {least}.")
