"""What `treadle schedule …` does."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle import AsyncClient, Firing, Schedule
from treadle.cli import output
from treadle.cli.lines import when
from treadle.cli.plans import repository_id
from treadle.cli.remote import work_with
from treadle.cli.scripts import inputs_of
from treadle.cli.steps import read_text, values_of
from treadle.domain.errors import ConfigurationError
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.json_text import RepeatedName, read_json_text

_HEAD: Final = ("ID", "NAME", "CRON", "TIME ZONE", "STARTS", "NEXT")
_TIMES_HEAD: Final = ("DUE", "OUTCOME", "STARTED", "DETAIL")


@dataclass(frozen=True, slots=True)
class Target:
    """What is started, as the options say it."""

    plan: Path | None
    repository_plan: str | None
    repo: str | None
    variables: Sequence[str]
    batch: Path | None
    script: str | None
    inputs: Sequence[str]

    async def fields(self, client: AsyncClient) -> Mapping[str, JsonObject]:
        """The field of the body that it makes; none where nothing is said. Raises ConfigurationError, NotFound."""
        kinds = [each for each in (self.plan, self.repository_plan, self.batch, self.script) if each is not None]
        if len(kinds) > 1:
            raise ConfigurationError("Give one of --plan, --repository-plan, --batch and --script.")
        if self.batch is not None:
            return {"batch": _object(self.batch)}
        if self.script is not None:
            return {"script": {**_script(self.script), "inputs": inputs_of(self.inputs, None)}}
        if not kinds:
            if self.repo is not None or self.variables:
                raise ConfigurationError("--repo and --var go with --plan or --repository-plan.")
            return {}
        body: dict[str, JsonValue] = {}
        if self.plan is not None:
            body["plan"] = read_text(self.plan)
        if self.repository_plan is not None:
            body["repositoryPlan"] = self.repository_plan
        if self.repo is not None and ":" not in self.repo and not self.repo.startswith("/"):
            body["repositoryId"] = await repository_id(client, self.repo)
        elif self.repo is not None:
            body["url"] = self.repo
        if self.variables:
            body["variables"] = dict(values_of(self.variables))
        return {"plan": body}


class Desk:
    """One command's dealings with a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def add(
        self,
        target: Target,
        *,
        name: str,
        cron: str,
        time_zone: str | None,
        missed: str | None,
        overlap: str | None,
        is_enabled: bool,
    ) -> None:
        async def work(client: AsyncClient) -> None:
            made = await client.schedules.add(
                name,
                cron,
                time_zone=time_zone or "UTC",
                missed=missed,
                overlap=overlap,
                is_enabled=is_enabled,
                **await target.fields(client),
            )
            self._show(made)

        self._do(work)

    def update(
        self,
        schedule_id: int,
        target: Target,
        *,
        name: str | None,
        cron: str | None,
        time_zone: str | None,
        missed: str | None,
        overlap: str | None,
        is_enabled: bool | None,
    ) -> None:
        async def work(client: AsyncClient) -> None:
            changed = await client.schedules.update(
                schedule_id,
                name=name,
                cron=cron,
                time_zone=time_zone,
                missed=missed,
                overlap=overlap,
                is_enabled=is_enabled,
                **await target.fields(client),
            )
            self._show(changed)

        self._do(work)

    def list(self) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.schedules.list()
            if self._is_json:
                output.as_json([dict(each.raw) for each in found])
                return
            output.table(_HEAD, [_row(each) for each in found])

        self._do(work)

    def show(self, schedule_id: int) -> None:
        async def work(client: AsyncClient) -> None:
            self._show(await client.schedules.get(schedule_id))

        self._do(work)

    def remove(self, schedule_id: int) -> None:
        async def work(client: AsyncClient) -> None:
            await client.schedules.remove(schedule_id)
            output.note(f"Schedule {schedule_id} is removed.")

        self._do(work)

    def fire(self, schedule_id: int) -> None:
        async def work(client: AsyncClient) -> None:
            firing = await client.schedules.fire(schedule_id)
            if self._is_json:
                output.as_json(dict(firing.raw))
                return
            output.note(f"It is asked for; `treadle schedule firings {schedule_id}` tells what comes of it.")

        self._do(work)

    def firings(self, schedule_id: int, limit: int) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.schedules.firings(schedule_id, limit=limit)
            if self._is_json:
                output.as_json([dict(each.raw) for each in found])
                return
            output.table(
                _TIMES_HEAD, [(when(each.date_due), each.outcome, _started(each), each.detail or "") for each in found]
            )

        self._do(work)

    def _show(self, schedule: Schedule) -> None:
        if self._is_json:
            output.as_json(dict(schedule.raw))
            return
        coming = schedule.raw.get("coming")
        times = coming if isinstance(coming, list) else []
        rows = [
            ("id", str(schedule.id)),
            ("name", schedule.name),
            ("cron", f"{schedule.cron} ({schedule.time_zone})"),
            ("starts", _starts(schedule)),
            ("missed times", schedule.missed),
            ("overlap", schedule.overlap),
            ("is on", "yes" if schedule.is_enabled else "no"),
            *(("next" if not at else "", str(time)) for at, time in enumerate(times)),
        ]
        output.table(("FIELD", "VALUE"), rows)

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)


def _row(schedule: Schedule) -> tuple[str, ...]:
    following = (
        when(schedule.date_next) if schedule.date_next is not None else "never" if schedule.is_enabled else "off"
    )
    return (
        str(schedule.id),
        schedule.name,
        schedule.cron,
        schedule.time_zone,
        _starts(schedule),
        following,
    )


def _starts(schedule: Schedule) -> str:
    target = schedule.target
    kind = str(target.get("kind"))
    plan = target.get("plan")
    name = target.get("repositoryPlan") or target.get("script") or target.get("name")
    if name is None and isinstance(plan, Mapping):
        name = plan.get("name")
    return f"{kind} {name}" if name else kind


def _started(firing: Firing) -> str:
    for word, found in (("run", firing.run_id), ("batch", firing.batch_id), ("script run", firing.script_run_id)):
        if found is not None:
            return f"{word} {found}"
    return ""


def _script(text: str) -> JsonObject:
    """NAME, or NAME@VERSION. Raises ConfigurationError."""
    name, at, version = text.rpartition("@")
    if not at:
        return {"script": text}
    if not version.isdecimal():
        raise ConfigurationError("--script must be NAME, or NAME@VERSION with the number of a version.")
    return {"script": name, "version": int(version[:9])}


def _object(path: Path) -> JsonObject:
    try:
        found = read_json_text(read_text(path))
    except RepeatedName as error:
        raise ConfigurationError(f"{path} {error}.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} holds no JSON object.")
    return found
