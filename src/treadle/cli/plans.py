"""What the commands do with plans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from treadle import AsyncClient, Process
from treadle.cli import output
from treadle.cli.failures import Stopped
from treadle.cli.options import budget, local_path
from treadle.cli.remote import connected
from treadle.cli.steps import load_plan, read_text, values_of
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.services.plan_texts import PlanReading, read_plan_text

_HEAD: Final = ("NAME", "STEPS", "VARIABLES", "DESCRIPTION")


def check(files: Sequence[Path], *, is_json: bool) -> None:
    """Says every fault of every file, as FILE:LINE. Raises Stopped unless there is none, ConfigurationError."""
    readings = {path: read_plan_text(read_text(path), allow_local=True) for path in files}
    if is_json:
        output.as_json([_reading_json(path, reading) for path, reading in readings.items()])
    else:
        for path, reading in readings.items():
            for fault in reading.faults:
                where = f"{path}:{fault.line}" if fault.line is not None else str(path)
                output.line(f"{where}: {fault.path}: {fault.message}")
            if not reading.faults:
                output.line(f"{path}: is valid")
    if any(reading.faults for reading in readings.values()):
        raise Stopped(1)


def _reading_json(path: Path, reading: PlanReading) -> JsonObject:
    return {
        "file": str(path),
        "isValid": not reading.faults,
        "faults": [{"path": each.path, "message": each.message, "line": each.line} for each in reading.faults],
        "plan": reading.plan.to_json() if reading.plan is not None else None,
    }


async def show_of(url: str, key: str | None, repository: str, branch: str | None, *, is_json: bool) -> None:
    """Those that a repository holds itself."""
    async with connected(url, key) as client:
        found = await client.plans.of_repository(await repository_id(client, repository), branch=branch)
    if is_json:
        shown = [
            {
                "name": plan.name,
                "path": plan.path,
                "title": plan.title,
                "description": plan.description,
                "variables": dict(plan.variables),
                "steps": plan.steps,
                "isValid": plan.is_valid,
                "faults": [{"path": each.path, "message": each.message, "line": each.line} for each in plan.faults],
            }
            for plan in found.plans
        ]
        output.as_json({"branch": found.branch, "commit": found.commit, "plans": shown, "more": found.more})
        return
    rows = [
        (plan.name, str(plan.steps), " ".join(plan.variables), plan.description or plan.title or "")
        for plan in found.plans
        if plan.is_valid
    ]
    output.table(_HEAD, rows)
    for plan in found.plans:
        for fault in plan.faults:
            where = f"{plan.path}:{fault.line}" if fault.line is not None else plan.path
            output.note(f"{where}: {fault.path}: {fault.message}")
    if found.more:
        output.note(f"There are {found.more} more, which are not looked at.")
    if not found.plans and output.is_terminal():
        output.note(f"The branch {found.branch} holds none in .treadle/plans.")


@dataclass(frozen=True, slots=True)
class PlanWish:
    """A plan to be started on the service as it is: `plan`, or the name of one of the repository's own."""

    plan: JsonObject | None
    repository_plan: str | None
    repo: str | None  # OWNER/NAME of a registered one, or an address
    source: str | None = None
    branch: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = ()
    max_cost_usd: float | None = None


def plan_wish(
    plan: Path | None,
    repository_plan: str | None,
    given: Sequence[str],
    *,
    repo: str | None,
    source: str | None,
    branch: str | None,
    variables: Sequence[str] | None,
    files: Sequence[Path] | None,
    max_cost: float | None,
    wants_diff: bool,
) -> PlanWish:
    """`given`: options that do not go with `repository_plan`. Raises InvalidInput naming all that is wrong, and
    ConfigurationError."""
    faults: dict[str, list[str]] = {}
    if repository_plan is not None:
        faults |= {name: ["does not go with --repository-plan"] for name in given}
        if repo is None:
            faults["--repo"] = ["is missing: name the registered repository, OWNER/NAME"]
    for path in files or ():
        if not path.is_file():
            faults[f"--file {path}"] = ["is not a file"]
    if faults:
        raise InvalidInput(faults, "The run is not complete.")
    sent = None
    if plan is not None:
        read = load_plan(plan)
        sent = replace(read, wants_diff=True if wants_diff else read.wants_diff).to_json()
    return PlanWish(
        sent,
        repository_plan,
        local_path(repo) if repo is not None else None,
        source,
        branch,
        values_of(variables or ()),
        files or (),
        budget(max_cost) if max_cost is not None else None,
    )


async def start(client: AsyncClient, wish: PlanWish) -> Process:
    """Uploads the files and starts the run. Raises NotFound."""
    registered = None
    if wish.repo is not None and (wish.repository_plan is not None or _is_name(wish.repo)):
        registered = await repository_id(client, wish.repo)
    file_ids = [(await client.files.upload(path)).id for path in wish.files]
    started = await client.plans.start(
        wish.plan,
        repository_plan=wish.repository_plan,
        repository_id=registered,
        url=wish.repo if registered is None else None,
        branch_source=wish.source,
        branch_work=wish.branch,
        variables=wish.variables or None,
        file_ids=file_ids,
        max_cost_usd=wish.max_cost_usd,
    )
    return await client.processes.get(started.id)


async def repository_id(client: AsyncClient, name: str) -> int:
    """Of the registered repository OWNER/NAME. Raises NotFound."""
    async for found in client.agents.repositories():
        if found.full_name == name:
            return found.id
    raise NotFound(f"There is no registered repository {name}.", hint="`treadle agent repos` lists them.")


def _is_name(repo: str) -> bool:
    """Whether it is OWNER/NAME, and no address."""
    return ":" not in repo and not repo.startswith("/") and repo.count("/") == 1
