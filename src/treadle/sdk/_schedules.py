"""`client.schedules`: what the server starts by itself at times."""

from collections.abc import Mapping, Sequence
from uuid import uuid4

import httpx2

from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._calls import Call, Request
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._flows import Flow, Retry, send
from treadle.sdk._schedule_models import Firing, Schedule
from treadle.sdk._wire import Fields, JsonValue

PATH = "/schedules"


def listed(again: Retry) -> Flow[Sequence[Schedule]]:
    """All of them, page by page."""
    found = list[Schedule]()
    after: str | None = None
    while True:
        page, after = yield from send(_page(after), again)
        found += page
        if after is None:
            return found


def one(schedule_id: int) -> Call[Schedule]:
    return Call(Request("GET", f"{PATH}/{schedule_id}"), _schedule)


def added(body: Mapping[str, JsonValue]) -> Call[Schedule]:
    return Call(Request("POST", PATH, json=body), _schedule, is_repeatable=False)


def updated(schedule_id: int, body: Mapping[str, JsonValue]) -> Call[Schedule]:
    return Call(Request("PATCH", f"{PATH}/{schedule_id}", json=body), _schedule)


def removed(schedule_id: int) -> Call[None]:
    return Call(Request("DELETE", f"{PATH}/{schedule_id}"), lambda _: None, is_repeatable=False)


def fired(schedule_id: int, idempotency_key: str) -> Call[Firing]:
    request = Request("POST", f"{PATH}/{schedule_id}/fire", headers={"Idempotency-Key": idempotency_key})
    return Call(request, lambda response: Firing.read(Fields(response.json(), "firing")))


def firings(schedule_id: int, limit: int) -> Call[Sequence[Firing]]:
    request = Request("GET", f"{PATH}/{schedule_id}/firings", params=(("limit", str(limit)),))
    return Call(request, _firings)


def settings(
    *,
    name: str | None = None,
    cron: str | None = None,
    time_zone: str | None = None,
    plan: Mapping[str, JsonValue] | None = None,
    batch: Mapping[str, JsonValue] | None = None,
    script: Mapping[str, JsonValue] | None = None,
    missed: str | None = None,
    overlap: str | None = None,
    is_enabled: bool | None = None,
) -> Mapping[str, JsonValue]:
    """The body: what is given of it."""
    given: dict[str, JsonValue] = {
        "name": name,
        "cron": cron,
        "timeZone": time_zone,
        "plan": plan,
        "batch": batch,
        "script": script,
        "missed": missed,
        "overlap": overlap,
        "isEnabled": is_enabled,
    }
    return {key: value for key, value in given.items() if value is not None}


def _page(after: str | None) -> Call[tuple[Sequence[Schedule], str | None]]:
    return Call(Request("GET", PATH, params=(("after", after),) if after is not None else ()), _schedules)


def _schedules(response: httpx2.Response) -> tuple[Sequence[Schedule], str | None]:
    """With where the next page begins."""
    fields = Fields(response.json(), "answer")
    return [Schedule.read(each) for each in fields.objects("schedules")], fields.optional_text("next")


def _schedule(response: httpx2.Response) -> Schedule:
    return Schedule.read(Fields(response.json(), "schedule"))


def _firings(response: httpx2.Response) -> Sequence[Firing]:
    return [Firing.read(each) for each in Fields(response.json(), "answer").objects("firings")]


class Schedules:
    """`client.schedules`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def list(self) -> Sequence[Schedule]:
        """Yours; everybody's for a MANAGER."""
        return self._driver.run(listed(self._driver.retry))

    def get(self, schedule_id: int) -> Schedule:
        """Raises NotFoundError."""
        return self._driver.call(one(schedule_id))

    def add(
        self,
        name: str,
        cron: str,
        *,
        time_zone: str = "UTC",
        plan: Mapping[str, JsonValue] | None = None,
        batch: Mapping[str, JsonValue] | None = None,
        script: Mapping[str, JsonValue] | None = None,
        missed: str | None = None,
        overlap: str | None = None,
        is_enabled: bool = True,
    ) -> Schedule:
        """From now on it starts what `plan`, `batch` or `script` says, in your name: as `POST /plans/start` and
        `POST /batches` take it, or `{"script": name, "inputs": {…}}`. `missed`: once, skip or all; `overlap`: skip or
        wait. Raises BadRequestError naming every fault, ConflictError for a name that is taken."""
        return self._driver.call(
            added(
                settings(
                    name=name,
                    cron=cron,
                    time_zone=time_zone,
                    plan=plan,
                    batch=batch,
                    script=script,
                    missed=missed,
                    overlap=overlap,
                    is_enabled=is_enabled,
                )
            )
        )

    def update(
        self,
        schedule_id: int,
        *,
        name: str | None = None,
        cron: str | None = None,
        time_zone: str | None = None,
        plan: Mapping[str, JsonValue] | None = None,
        batch: Mapping[str, JsonValue] | None = None,
        script: Mapping[str, JsonValue] | None = None,
        missed: str | None = None,
        overlap: str | None = None,
        is_enabled: bool | None = None,
    ) -> Schedule:
        """What is given changes. Raises as `add` does, and NotFoundError."""
        return self._driver.call(
            updated(
                schedule_id,
                settings(
                    name=name,
                    cron=cron,
                    time_zone=time_zone,
                    plan=plan,
                    batch=batch,
                    script=script,
                    missed=missed,
                    overlap=overlap,
                    is_enabled=is_enabled,
                ),
            )
        )

    def remove(self, schedule_id: int) -> None:
        """What it has started goes on. Raises NotFoundError."""
        self._driver.call(removed(schedule_id))

    def fire(self, schedule_id: int, *, idempotency_key: str | None = None) -> Firing:
        """Now, once what it started before has ended. `idempotency_key`: a repeat with it, within 24 hours, answers
        with the same firing; one is made when none is given. Raises NotFoundError, ConflictError."""
        return self._driver.call(fired(schedule_id, idempotency_key or str(uuid4())))

    def firings(self, schedule_id: int, *, limit: int = 50) -> Sequence[Firing]:
        """Its times and what became of them, the latest first. Raises NotFoundError."""
        return self._driver.call(firings(schedule_id, limit))


@documented_as(Schedules)
class AsyncSchedules:
    """`client.schedules`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def list(self) -> Sequence[Schedule]:
        return await self._driver.run(listed(self._driver.retry))

    async def get(self, schedule_id: int) -> Schedule:
        return await self._driver.call(one(schedule_id))

    async def add(
        self,
        name: str,
        cron: str,
        *,
        time_zone: str = "UTC",
        plan: Mapping[str, JsonValue] | None = None,
        batch: Mapping[str, JsonValue] | None = None,
        script: Mapping[str, JsonValue] | None = None,
        missed: str | None = None,
        overlap: str | None = None,
        is_enabled: bool = True,
    ) -> Schedule:
        return await self._driver.call(
            added(
                settings(
                    name=name,
                    cron=cron,
                    time_zone=time_zone,
                    plan=plan,
                    batch=batch,
                    script=script,
                    missed=missed,
                    overlap=overlap,
                    is_enabled=is_enabled,
                )
            )
        )

    async def update(
        self,
        schedule_id: int,
        *,
        name: str | None = None,
        cron: str | None = None,
        time_zone: str | None = None,
        plan: Mapping[str, JsonValue] | None = None,
        batch: Mapping[str, JsonValue] | None = None,
        script: Mapping[str, JsonValue] | None = None,
        missed: str | None = None,
        overlap: str | None = None,
        is_enabled: bool | None = None,
    ) -> Schedule:
        return await self._driver.call(
            updated(
                schedule_id,
                settings(
                    name=name,
                    cron=cron,
                    time_zone=time_zone,
                    plan=plan,
                    batch=batch,
                    script=script,
                    missed=missed,
                    overlap=overlap,
                    is_enabled=is_enabled,
                ),
            )
        )

    async def remove(self, schedule_id: int) -> None:
        await self._driver.call(removed(schedule_id))

    async def fire(self, schedule_id: int, *, idempotency_key: str | None = None) -> Firing:
        return await self._driver.call(fired(schedule_id, idempotency_key or str(uuid4())))

    async def firings(self, schedule_id: int, *, limit: int = 50) -> Sequence[Firing]:
        return await self._driver.call(firings(schedule_id, limit))
