"""`client.triggers`: what forges, CI and trackers wake runs by."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import httpx2

from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._calls import Call, Request
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._trigger_models import Trigger, TriggerDelivery, TriggerHook
from treadle.sdk._wire import Fields, JsonValue

PATH, HOOKS = "/triggers", "/hooks"


def listed() -> Call[Sequence[Trigger]]:
    return Call(Request("GET", PATH), _triggers)


def one(trigger: str) -> Call[Trigger]:
    return Call(Request("GET", _path(trigger)), _trigger)


def added(
    name: str,
    kind: str,
    repository: int | None,
    hook: str | None,
    settings: Mapping[str, JsonValue] | None,
    plan: str | Mapping[str, JsonValue] | None,
) -> Call[Trigger]:
    given: dict[str, JsonValue] = {
        "name": name,
        "kind": kind,
        "repositoryId": repository,
        "hook": hook,
        "settings": settings,
        "plan": plan,
    }
    body = {key: value for key, value in given.items() if value is not None}
    return Call(Request("POST", PATH, json=body), _trigger, is_repeatable=False)


def updated(trigger: str, changes: Mapping[str, JsonValue]) -> Call[Trigger]:
    return Call(Request("PATCH", _path(trigger), json=changes), _trigger)


def removed(trigger: str) -> Call[None]:
    return Call(Request("DELETE", _path(trigger)), lambda _: None, is_repeatable=False)


def deliveries(trigger: str, limit: int) -> Call[Sequence[TriggerDelivery]]:
    return Call(Request("GET", f"{_path(trigger)}/deliveries", params=(("limit", str(limit)),)), _deliveries)


def redelivered(trigger: str, delivery: int) -> Call[TriggerDelivery]:
    request = Request("POST", f"{_path(trigger)}/deliveries/{delivery}/redeliver")
    return Call(request, lambda response: TriggerDelivery.read(Fields(response.json(), "delivery")))


def hooks() -> Call[Sequence[TriggerHook]]:
    return Call(Request("GET", HOOKS), _hooks)


def rotated(hook: str) -> Call[TriggerHook]:
    request = Request("POST", f"{HOOKS}/{quote(hook, safe='')}/rotate")
    return Call(request, lambda response: TriggerHook.read(Fields(response.json(), "hook")), is_repeatable=False)


def hook_removed(hook: str) -> Call[None]:
    return Call(Request("DELETE", f"{HOOKS}/{quote(hook, safe='')}"), lambda _: None, is_repeatable=False)


def _path(trigger: str) -> str:
    return f"{PATH}/{quote(trigger, safe='')}"


def _triggers(response: httpx2.Response) -> Sequence[Trigger]:
    return [Trigger.read(each) for each in Fields(response.json(), "answer").objects("triggers")]


def _trigger(response: httpx2.Response) -> Trigger:
    return Trigger.read(Fields(response.json(), "trigger"))


def _deliveries(response: httpx2.Response) -> Sequence[TriggerDelivery]:
    return [TriggerDelivery.read(each) for each in Fields(response.json(), "answer").objects("deliveries")]


def _hooks(response: httpx2.Response) -> Sequence[TriggerHook]:
    return [TriggerHook.read(each) for each in Fields(response.json(), "answer").objects("hooks")]


class Triggers:
    """`client.triggers`. All of it takes a MANAGER."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def list(self) -> Sequence[Trigger]:
        """The organization's."""
        return self._driver.call(listed())

    def get(self, trigger: str) -> Trigger:
        """Raises NotFoundError."""
        return self._driver.call(one(trigger))

    def add(
        self,
        name: str,
        kind: str,
        *,
        repository: int | None = None,
        hook: str | None = None,
        settings: Mapping[str, JsonValue] | None = None,
        plan: str | Mapping[str, JsonValue] | None = None,
    ) -> Trigger:
        """With its hook, whose secret is told here and never again where the hook is new.

        Args:
            name: For people.
            kind: check, issue, comment, review or url.
            repository: The id of a registered repository.
            hook: The id of one that is there, in the place of the repository's.
            settings: labels, assignees, reviewers, mention, from, heedsTokenOwner, pullRequest.
            plan: YAML, or a mapping of the same keys; a trigger URL needs one.

        Raises:
            BadRequestError: `errors` names every fault.
            PermissionDeniedError: It takes a MANAGER.
        """
        return self._driver.call(added(name, kind, repository, hook, settings, plan))

    def update(self, trigger: str, **changes: JsonValue) -> Trigger:
        """`name`, `settings`, `plan`, `isEnabled`; its runs are yours from then on. Raises BadRequestError,
        NotFoundError."""
        return self._driver.call(updated(trigger, changes))

    def remove(self, trigger: str) -> None:
        """Raises NotFoundError."""
        self._driver.call(removed(trigger))

    def deliveries(self, trigger: str, *, limit: int = 50) -> Sequence[TriggerDelivery]:
        """What its hook took in, newest first. Raises NotFoundError."""
        return self._driver.call(deliveries(trigger, limit))

    def redeliver(self, trigger: str, delivery: int) -> TriggerDelivery:
        """Has it worked off again; what has followed from it already does not follow again. Raises NotFoundError."""
        return self._driver.call(redelivered(trigger, delivery))

    def hooks(self) -> Sequence[TriggerHook]:
        """The organization's."""
        return self._driver.call(hooks())

    def rotate(self, hook: str) -> TriggerHook:
        """Another secret; the one before counts too for a day. Raises NotFoundError."""
        return self._driver.call(rotated(hook))

    def remove_hook(self, hook: str) -> None:
        """With its triggers. Raises NotFoundError."""
        self._driver.call(hook_removed(hook))


@documented_as(Triggers)
class AsyncTriggers:
    """`client.triggers`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def list(self) -> Sequence[Trigger]:
        return await self._driver.call(listed())

    async def get(self, trigger: str) -> Trigger:
        return await self._driver.call(one(trigger))

    async def add(
        self,
        name: str,
        kind: str,
        *,
        repository: int | None = None,
        hook: str | None = None,
        settings: Mapping[str, JsonValue] | None = None,
        plan: str | Mapping[str, JsonValue] | None = None,
    ) -> Trigger:
        return await self._driver.call(added(name, kind, repository, hook, settings, plan))

    async def update(self, trigger: str, **changes: JsonValue) -> Trigger:
        return await self._driver.call(updated(trigger, changes))

    async def remove(self, trigger: str) -> None:
        await self._driver.call(removed(trigger))

    async def deliveries(self, trigger: str, *, limit: int = 50) -> Sequence[TriggerDelivery]:
        return await self._driver.call(deliveries(trigger, limit))

    async def redeliver(self, trigger: str, delivery: int) -> TriggerDelivery:
        return await self._driver.call(redelivered(trigger, delivery))

    async def hooks(self) -> Sequence[TriggerHook]:
        return await self._driver.call(hooks())

    async def rotate(self, hook: str) -> TriggerHook:
        return await self._driver.call(rotated(hook))

    async def remove_hook(self, hook: str) -> None:
        await self._driver.call(hook_removed(hook))
