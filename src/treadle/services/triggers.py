"""Triggers and their hooks, as people see and set them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

from treadle.domain.errors import Conflict, InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.plan import Plan
from treadle.domain.repository import Repository
from treadle.domain.trigger_settings import TriggerSettings
from treadle.domain.triggers import Hook, HookKind, StoredDelivery, Trigger, TriggerKind
from treadle.ports import Clock, Vault
from treadle.ports.triggers import TriggerStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.chores import Bell
from treadle.services.plan_rules import kept_faults
from treadle.services.plan_runs import PlanRuns, PlanTarget
from treadle.services.trigger_secrets import SECRET_BYTES, HookSecrets, secret_of, url_token

#: Of a trigger's name, in characters.
MAX_TRIGGER_TITLE = 200

#: Hooks and triggers of an organization.
MAX_TRIGGERS = 1_000

#: The secret before a rotation counts for so many hours after it.
ROTATION_HOURS = 24

#: Deliveries that one call lists.
MAX_LISTED_DELIVERIES = 200

_NO_URL: Final = "Set TREADLE_PUBLIC_URL to the address under which senders reach this service."


class Store(TriggerStore, Protocol):
    """Of the store, what is needed here."""

    async def repository(self, organization_id: int, repository_id: int) -> Repository: ...


@dataclass(frozen=True, slots=True)
class HookShown:
    """`url`: where its sender delivers to; only its path where the service does not know its own address, which `hint`
    says then. `secret` and `url_token` are told once."""

    hook: Hook
    url: str
    hint: str | None = None
    secret: str | None = field(default=None, repr=False)
    url_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TriggerDraft:
    """`hook` None: the repository's own, or for a trigger URL a new one."""

    name: str
    kind: TriggerKind
    repository_id: int | None = None
    hook: UUID | None = None
    settings: object = None
    plan: Plan | None = None
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class TriggerChange:
    """None leaves a thing as it is; `plan` counts where `sets_plan` says so."""

    name: str | None = None
    settings: Mapping[str, object] | None = None
    plan: Plan | None = None
    sets_plan: bool = False
    is_enabled: bool | None = None


class Triggers:
    """The use cases. All of it takes a MANAGER: who may say what becomes of repositories."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        plan_runs: PlanRuns,
        clock: Clock,
        bell: Bell,
        *,
        audit: Audit,
        new_uuid: Callable[[], UUID],
        chance: Callable[[int], bytes],
        public_url: str | None,
    ) -> None:
        self._store = store
        self._vault = vault
        self._plan_runs = plan_runs
        self._clock = clock
        self._bell = bell
        self._audit = audit
        self._new_uuid = new_uuid
        self._chance = chance
        self._public_url = public_url.rstrip("/") if public_url else None

    # ---- hooks

    async def hooks(self, principal: Principal) -> Sequence[HookShown]:
        require(principal, Permission.REPOSITORIES)
        return tuple(map(self._shown, await self._store.hooks(principal.organization_id)))

    async def create_hook(self, principal: Principal, kind: HookKind, repository_id: int | None) -> HookShown:
        """A new one, with its secret; or the one that the repository has for this sender, without. Raises InvalidInput,
        NotFound."""
        require(principal, Permission.REPOSITORIES)
        if kind is not HookKind.URL and repository_id is None:
            raise InvalidInput({"repositoryId": ["Must be given: a forge's hook is a repository's."]})
        if repository_id is not None:
            await self._store.repository(principal.organization_id, repository_id)
        if len(await self._store.hooks(principal.organization_id)) >= MAX_TRIGGERS:
            raise Conflict(f"An organization has at most {MAX_TRIGGERS:,} hooks.")
        uuid, secrets = self._new_uuid(), HookSecrets(secret_of(self._chance(SECRET_BYTES)))
        sealed = secrets.seal(self._vault, principal.organization_uuid, uuid)
        made = await self._store.add_hook(
            Hook(
                0,
                uuid,
                principal.organization_id,
                principal.organization_uuid,
                repository_id,
                kind,
                self._clock.now(),
                sealed=sealed,
            )
        )
        if made.uuid != uuid:
            return self._shown(made)
        await self._note(Action.HOOK_CREATED, principal, made.uuid, kind=str(kind))
        return self._shown(made, secrets.secret)

    async def rotate_hook(self, principal: Principal, uuid: UUID) -> HookShown:
        """Another secret; the one before counts too for ROTATION_HOURS. Raises NotFound, Conflict, SealBroken."""
        require(principal, Permission.REPOSITORIES)
        hook = await self._hook(principal, uuid)
        before = HookSecrets.open(self._vault, hook)
        secrets = HookSecrets(secret_of(self._chance(SECRET_BYTES)), before.secret)
        sealed = secrets.seal(self._vault, hook.organization_uuid, hook.uuid)
        ends = self._clock.now() + timedelta(hours=ROTATION_HOURS)
        if not await self._store.rotate_hook(hook.id, sealed, was=hook.sealed, before_ends=ends):
            raise Conflict("Somebody else has just given this hook another secret.")
        await self._note(Action.HOOK_ROTATED, principal, hook.uuid, kind=str(hook.kind))
        return self._shown(replace(hook, date_before_ends=ends), secrets.secret)

    async def remove_hook(self, principal: Principal, uuid: UUID) -> None:
        """With its triggers. Raises NotFound."""
        require(principal, Permission.REPOSITORIES)
        hook = await self._hook(principal, uuid)
        await self._store.remove_hook(hook.id)
        await self._note(Action.HOOK_REMOVED, principal, hook.uuid, kind=str(hook.kind))

    # ---- triggers

    async def list(self, principal: Principal) -> Sequence[tuple[Trigger, HookShown]]:
        require(principal, Permission.REPOSITORIES)
        hooks = {hook.id: self._shown(hook) for hook in await self._store.hooks(principal.organization_id)}
        found = await self._store.triggers(principal.organization_id)
        return tuple((trigger, hooks[trigger.hook_id]) for trigger in found if trigger.hook_id in hooks)

    async def get(self, principal: Principal, uuid: UUID) -> tuple[Trigger, HookShown]:
        """Raises NotFound."""
        require(principal, Permission.REPOSITORIES)
        trigger, hook = await self._both(principal, uuid)
        return trigger, self._shown(hook)

    async def create(self, principal: Principal, draft: TriggerDraft) -> tuple[Trigger, HookShown]:
        """With its hook; a new one's secret is told here and never again. Raises InvalidInput naming every fault,
        NotFound, Conflict."""
        require(principal, Permission.REPOSITORIES)
        require(principal, Permission.RUN)
        settings = TriggerSettings.read(draft.settings)
        _check(draft.name, draft.kind, draft.plan)
        if len(await self._store.triggers(principal.organization_id)) >= MAX_TRIGGERS:
            raise Conflict(f"An organization has at most {MAX_TRIGGERS:,} triggers.")
        hook = None if draft.hook is None else await self._hook(principal, draft.hook)
        repository_id = draft.repository_id if hook is None else hook.repository_id
        kind = await self._sender(principal, draft.kind, repository_id) if hook is None else hook.kind
        if (kind is HookKind.URL) != (draft.kind is TriggerKind.URL):
            raise InvalidInput({"kind": [f"A hook of {kind} cannot have a trigger of this kind."]})
        await self._check_plan(principal, draft.plan, repository_id)
        shown = await self.create_hook(principal, kind, repository_id) if hook is None else self._shown(hook)
        now = self._clock.now()
        made = await self._store.add_trigger(
            Trigger(
                0,
                self._new_uuid(),
                principal.organization_id,
                principal.user_id,
                shown.hook.id,
                draft.name.strip(),
                draft.kind,
                settings,
                draft.plan,
                draft.is_enabled,
                now,
                now,
            )
        )
        await self._note(Action.TRIGGER_CREATED, principal, made.uuid, name=made.name, kind=str(made.kind))
        return made, shown

    async def update(self, principal: Principal, uuid: UUID, change: TriggerChange) -> tuple[Trigger, HookShown]:
        """Its runs are from now on those of whoever changes it: nobody has runs started in another's name. Raises
        InvalidInput, NotFound."""
        require(principal, Permission.REPOSITORIES)
        require(principal, Permission.RUN)
        trigger, hook = await self._both(principal, uuid)
        known = trigger.settings.json()
        changed = replace(
            trigger,
            user_id=principal.user_id,
            name=trigger.name if change.name is None else change.name.strip(),
            settings=TriggerSettings.read({**known, **(change.settings or {})}),
            plan=change.plan if change.sets_plan else trigger.plan,
            is_enabled=trigger.is_enabled if change.is_enabled is None else change.is_enabled,
            date_updated=self._clock.now(),
        )
        _check(changed.name, changed.kind, changed.plan)
        if change.sets_plan:
            await self._check_plan(principal, changed.plan, hook.repository_id)
        await self._store.update_trigger(changed)
        await self._note(Action.TRIGGER_CHANGED, principal, changed.uuid, name=changed.name)
        return changed, self._shown(hook)

    async def remove(self, principal: Principal, uuid: UUID) -> None:
        """A hook that has no trigger any more goes too. Raises NotFound."""
        require(principal, Permission.REPOSITORIES)
        trigger, hook = await self._both(principal, uuid)
        await self._store.remove_trigger(trigger.id)
        if not await self._store.triggers_of_hook(hook.id):
            await self._store.remove_hook(hook.id)
        await self._note(Action.TRIGGER_REMOVED, principal, trigger.uuid, name=trigger.name)

    # ---- deliveries

    async def deliveries(
        self, principal: Principal, uuid: UUID, *, limit: int, before: int | None = None
    ) -> Sequence[StoredDelivery]:
        """What its hook took in, newest first. Raises NotFound, InvalidInput."""
        require(principal, Permission.REPOSITORIES)
        if not 1 <= limit <= MAX_LISTED_DELIVERIES:
            raise InvalidInput({"limit": [f"Must be from 1 to {MAX_LISTED_DELIVERIES}."]})
        _, hook = await self._both(principal, uuid)
        return await self._store.deliveries(hook.id, limit=limit, before=before)

    async def redeliver(self, principal: Principal, uuid: UUID, delivery_id: int) -> StoredDelivery:
        """It is worked off once more: what has followed from it already does not follow again. Raises NotFound."""
        require(principal, Permission.REPOSITORIES)
        _, hook = await self._both(principal, uuid)
        found = await self._store.delivery(delivery_id)
        if found is None or found.hook_id != hook.id:
            raise NotFound("Delivery not found.")
        await self._store.repeat_delivery(found.id, self._clock.now())
        self._bell.ring()
        await self._note(Action.DELIVERY_REPEATED, principal, uuid, delivery=str(found.id))
        return await self._store.delivery(delivery_id) or found

    # ---- what they are made of

    async def _sender(self, principal: Principal, kind: TriggerKind, repository_id: int | None) -> HookKind:
        """Who delivers to a trigger of that kind."""
        if repository_id is None:
            if kind is TriggerKind.URL:
                return HookKind.URL
            raise InvalidInput({"repositoryId": ["Must be given: what forges tell is of a repository."]})
        repository = await self._store.repository(principal.organization_id, repository_id)
        if kind is TriggerKind.URL:
            return HookKind.URL
        if repository.forge is None:
            raise InvalidInput(
                {"repositoryId": ["Has no forge: `treadle admin repo update` gives it one, and a token to it."]}
            )
        return HookKind(repository.forge.kind.value)

    async def _check_plan(self, principal: Principal, plan: Plan | None, repository_id: int | None) -> None:
        if plan is None:
            return
        # The page and the API take no plan that could never start; what comes with the delivery is stood in for.
        target = PlanTarget(repository_id=repository_id)
        if faults := kept_faults(plan) or await self._plan_runs.check(principal, plan, target):
            raise InvalidInput({f"plan.{path}": said for path, said in faults.items()})

    async def _hook(self, principal: Principal, uuid: UUID) -> Hook:
        hook = await self._store.hook(uuid)
        if hook is None or hook.organization_id != principal.organization_id:
            raise NotFound("Hook not found.")
        return hook

    async def _both(self, principal: Principal, uuid: UUID) -> tuple[Trigger, Hook]:
        trigger = await self._store.trigger(principal.organization_id, uuid)
        hook = None if trigger is None else await self._store.hook_by_id(trigger.hook_id)
        if trigger is None or hook is None:
            raise NotFound("Trigger not found.")
        return trigger, hook

    def _shown(self, hook: Hook, secret: str | None = None) -> HookShown:
        path = f"/hooks/{hook.uuid}"
        url = f"{self._public_url}{path}" if self._public_url else path
        token = url_token(secret, hook.uuid) if secret is not None and hook.kind is HookKind.URL else None
        return HookShown(hook, url, None if self._public_url else _NO_URL, secret, token)

    async def _note(self, action: Action, principal: Principal, target: UUID, **detail: str) -> None:
        said: JsonObject = dict(detail)
        await self._audit.note(action, principal=principal, target=target, detail=said)


def _check(name: str, kind: TriggerKind, plan: Plan | None) -> None:
    """Raises InvalidInput."""
    faults = dict[str, list[str]]()
    if not 0 < len(name.strip()) <= MAX_TRIGGER_TITLE or not name.isprintable():
        faults["name"] = [f"Must be 1 to {MAX_TRIGGER_TITLE} printable characters."]
    if kind is TriggerKind.CHECK and plan is not None:
        faults["plan"] = ["A failed check goes on with the run that is there: it has no plan."]
    if kind is TriggerKind.URL and plan is None:
        faults["plan"] = ["Must be given: a call says nothing of what is to be done."]
    if kind is TriggerKind.REVIEW and plan is not None and any(step.is_commitable for step in plan.steps):
        faults["plan"] = ["A review changes nothing: its steps are all `analysis`."]
    if faults:
        raise InvalidInput(faults)
