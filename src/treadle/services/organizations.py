"""Organizations as their members see them, and what an administrator sets for them and their members."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from treadle.domain.errors import Forbidden, InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import Organization, Principal, Role, User
from treadle.domain.permissions import Permission, require
from treadle.ports import Clock
from treadle.ports.directory import MemberStore, RepositoryStore
from treadle.services.audit import Audit, change_of, changed_fields
from treadle.services.audit_actions import Action
from treadle.services.identity import MAX_NAME
from treadle.services.run_rules import cost_fault

#: Of an organization's, a user's or a repository's rules, in bytes of UTF-8: all of it goes into every prompt.
MAX_RULES_BYTES = 64 * 1024

#: The most that a limit of runs a month may be: what the column holds.
MAX_MONTHLY_RUNS = 2**31 - 1

MAX_MODEL = 200
MAX_GITHUB = 200
MAX_AVATAR_URL = 2_000

#: As agent runs take it.
_MODEL = re.compile(r"[A-Za-z0-9][\w.:/@\[\]-]*", re.ASCII)

#: Of an organization, whose old and new values the audit log tells.
_TOLD = frozenset(
    {
        *("name", "is_pr_creation_enabled", "is_rules_detection_enabled", "default_engine", "default_model"),
        *("default_repository_id", "monthly_runs", "default_max_cost_usd", "monthly_cost_usd"),
    }
)

#: The same for an organization that does not exist: an outsider learns nothing.
_NO_ACCESS = "You do not have access to this organization."


class UserStore(Protocol):
    """Of the store of identities, what is needed here."""

    async def find_user(self, email: str) -> User: ...


class OrganizationStore(MemberStore, RepositoryStore, UserStore, Protocol):
    """Of the store, what is needed here."""


class Organizations:
    """The use cases around organizations and their members."""

    def __init__(self, store: OrganizationStore, clock: Clock, *, audit: Audit) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit

    async def get(self, organization_id: int) -> Organization:
        """Raises NotFound."""
        return await self._store.organization(organization_id)

    async def of(self, principal: Principal) -> Sequence[tuple[Organization, Role]]:
        """Those that the caller may act in: its own alone, unless its key reaches all; then the others follow by their
        ids. Clients take the first where none is named."""
        if principal.reaches_all:
            found = await self._store.organizations_of(principal.user_id)
            return sorted(found, key=lambda each: (each[0].id != principal.organization_id, each[0].id))
        if principal.role is None:
            return ()
        return ((await self._store.organization(principal.organization_id), principal.role),)

    async def principal(self, caller: Principal, organization_id: int) -> Principal:
        """The caller in that organization. Raises Forbidden for one that is not the caller's or does not exist."""
        if organization_id == caller.organization_id:
            if caller.role is None:
                raise Forbidden(_NO_ACCESS)
            return caller
        found = await self._store.principal_in(organization_id, caller.user_id) if caller.reaches_all else None
        if found is None or found.role is None:
            raise Forbidden(_NO_ACCESS)
        return replace(found, reaches_all=True)

    async def somewhere(self, caller: Principal) -> Principal:
        """The caller where it has a role: in its own organization or, when that took the role away, by a key that
        reaches all in the first of the others. Raises Forbidden where there is none."""
        if caller.role is not None:
            return caller
        for organization, _ in await self.of(caller):
            return await self.principal(caller, organization.id)
        raise Forbidden(_NO_ACCESS)

    async def members(
        self, principal: Principal, *, limit: int, skip: int = 0
    ) -> tuple[Sequence[tuple[User, Role]], int]:
        """A page of the organization's members, by their ids, and how many there are in all. Raises Forbidden."""
        require(principal, Permission.READ)
        return await self._store.members(principal.organization_id, limit=limit, skip=skip)

    async def member(self, principal: Principal, user_id: int) -> tuple[User, Role]:
        """Raises NotFound, also for a user of other organizations; Forbidden."""
        require(principal, Permission.READ)
        try:
            return await self._store.member(principal.organization_id, user_id)
        except NotFound:
            raise NotFound("User not found.") from None

    async def rules(self, principal: Principal) -> tuple[str | None, str | None]:
        """The organization's and the caller's own. Raises Forbidden."""
        require(principal, Permission.READ)
        organization = await self._store.organization(principal.organization_id)
        user, _ = await self._store.member(principal.organization_id, principal.user_id)
        return organization.rules, user.rules

    async def save(self, organization: Organization) -> Organization:
        """Keeps the name and the settings, as given; how many runs it has at once is set elsewhere. Empty rules and an
        empty model are none. Raises InvalidInput naming every fault, and NotFound."""
        clean = replace(
            organization,
            name=organization.name.strip(),
            rules=_text(organization.rules),
            default_model=_text(organization.default_model),
        )
        faults = _faults(clean)
        if clean.default_repository_id is not None:
            try:
                await self._store.repository(clean.id, clean.default_repository_id)
            except NotFound:
                faults["default_repository"] = ["Is not one of the organization's repositories."]
        if faults:
            raise InvalidInput(faults, "The organization cannot be changed.")
        known = await self._store.organization(clean.id)
        await self._store.update_organization(clean)
        if known != clean:
            detail = change_of(known, clean, told=_TOLD)
            await self._audit.note(
                Action.ORGANIZATION_CHANGED, target=clean.id, detail=detail, organization_id=clean.id
            )
        return clean

    async def save_user(self, user: User) -> User:
        """Keeps the name, the rules and what is known of the user at GitHub, as given; empty texts are none. Raises
        InvalidInput naming every fault, and NotFound."""
        clean = replace(
            user,
            name=user.name.strip(),
            rules=_text(user.rules),
            github_user_id=_text(user.github_user_id),
            github_username=_text(user.github_username),
            avatar_url=_text(user.avatar_url),
        )
        if faults := _user_faults(clean):
            raise InvalidInput(faults, "The user cannot be changed.")
        known = await self._store.find_user(user.email)
        await self._store.update_user(clean)
        if changed := changed_fields(known, clean):
            detail: JsonObject = {"email": user.email, "changed": changed}
            await self._audit.note(Action.USER_CHANGED, target=clean.id, detail=detail)
        return clean


def rules_fault(rules: str | None) -> str | None:
    """What is wrong with rules, as a sentence; None when nothing is."""
    if rules is None or len(rules.encode(errors="surrogatepass")) <= MAX_RULES_BYTES:
        return None
    return f"Must be at most {MAX_RULES_BYTES:,} bytes."


def _text(text: str | None) -> str | None:
    clean = text.strip() if text is not None else None
    return clean or None


def _faults(organization: Organization) -> dict[str, list[str]]:
    faults = _named(organization.name)
    if fault := rules_fault(organization.rules):
        faults["rules"] = [fault]
    model = organization.default_model
    if model is not None and (len(model) > MAX_MODEL or not _MODEL.fullmatch(model)):
        faults["default_model"] = [f"Must be the name of a model, at most {MAX_MODEL} characters."]
    if organization.monthly_runs is not None and not 0 <= organization.monthly_runs <= MAX_MONTHLY_RUNS:
        faults["monthly_runs"] = [f"Must be from 0 to {MAX_MONTHLY_RUNS:,}."]
    budget, month = organization.default_max_cost_usd, organization.monthly_cost_usd
    if budget is not None and (fault := cost_fault(budget)):
        faults["default_max_cost_usd"] = [fault]
    if month is not None and (fault := cost_fault(month, least=0)):
        faults["monthly_cost_usd"] = [fault]
    return faults


def _user_faults(user: User) -> dict[str, list[str]]:
    faults = _named(user.name)
    if fault := rules_fault(user.rules):
        faults["rules"] = [fault]
    for field, text in (("github_user_id", user.github_user_id), ("github_username", user.github_username)):
        if text is not None and (len(text) > MAX_GITHUB or not text.isprintable() or " " in text):
            faults[field] = [f"Must be 1 to {MAX_GITHUB} printable characters without a space."]
    avatar = user.avatar_url
    if avatar is not None and (
        len(avatar) > MAX_AVATAR_URL or not avatar.isprintable() or not avatar.startswith(("https://", "http://"))
    ):
        faults["avatar_url"] = [f"Must be an http or https URL of at most {MAX_AVATAR_URL:,} characters."]
    return faults


def _named(name: str) -> dict[str, list[str]]:
    if not name or len(name) > MAX_NAME or not name.isprintable():
        return {"name": [f"Must be 1 to {MAX_NAME} printable characters."]}
    return {}
