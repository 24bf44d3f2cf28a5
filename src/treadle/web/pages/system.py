"""/system: workers and what they run, the queue and why it waits, leases, and what of the service can be used. For
admins of the first organization, who run the house."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.api.health import Readiness
from treadle.domain.identity import Principal
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports.page import RunSearch, WorkerReport
from treadle.services.house import HouseState
from treadle.web.door import Visit
from treadle.web.pages.runs.rows import Names, row_of
from treadle.web.site import Site

PATH = "/system"

#: Runs that are alive and shown, of either kind.
SHOWN_LIVING = 50

#: What `/readyz` calls the parts, in words.
_PARTS = {"store": "Database", "broker": "Broker", "blobs": "File store"}


def routes(site: Site) -> Sequence[Route]:
    page = _Page(site, Readiness(site.services.checks))
    return [Route(PATH, site.door.page(page.show), methods=["GET"])]


@dataclass(frozen=True, slots=True)
class Living:
    """A run that is alive. `holder`: its worker; `waits_for`: why it has none; `is_late`: its lease has run out."""

    run: Run
    title: str
    repository: str
    who: str
    holder: str | None
    waits_for: str | None
    is_late: bool


@dataclass(frozen=True, slots=True)
class _Page:
    site: Site
    readiness: Readiness

    async def show(self, _request: Request, visit: Visit) -> Response:
        services, who = self.site.services, visit.principal
        state = await services.house.state(who)
        running, waiting = await self._living(who, state)
        checks = await self.readiness.look()
        return self.site.renderer.page(
            "system.html",
            replace(visit.view, path=PATH),
            state=state,
            workers=state.workers,
            worker_state=lambda worker: _state_of(worker, state),
            free=max(0, state.slots - sum(each.running for each in _at_work(state))),
            running=running,
            waiting=waiting,
            others_running=max(0, state.statistics.running - len(running)),
            others_waiting=max(0, state.statistics.new - len(waiting)),
            checks={_PARTS.get(name, name): can for name, can in checks.items()},
            lease_seconds=self.site.settings.lease_seconds,
            python=platform.python_version(),
        )

    async def _living(self, who: Principal, state: HouseState) -> tuple[Sequence[Living], Sequence[Living]]:
        """Running and New ones of the caller's own organization: those of others are counted and not shown."""
        services = self.site.services
        holders = await services.house.holders(who)
        members = {user.id: user.name for user, _ in await services.identity.users(who.organization_id)}
        repositories = {each.id: each.name for each in await services.repositories.list(who.organization_id)}
        organization = await services.organizations.get(who.organization_id)
        names = Names(members, repositories, len(holders), organization.slots or self.site.settings.organization_slots)
        found = []
        for status in (RunStatus.RUNNING, RunStatus.NEW):
            search = RunSearch(who.organization_id, statuses=frozenset({status}))
            page = await services.finder.search_runs(search, limit=SHOWN_LIVING)
            found.append([self._one(run, names, holders, state.date) for run in page.runs])
        return found[0], found[1]

    def _one(self, run: Run, names: Names, holders: Mapping[int, str], now: datetime) -> Living:
        row = row_of(run, names, now)
        lease = timedelta(seconds=self.site.settings.lease_seconds)
        is_running, ping = run.status is RunStatus.RUNNING, run.date_runner_ping
        return Living(
            run=run,
            title=row.title,
            repository=row.repository,
            who=row.who,
            holder=holders.get(run.id) if is_running else None,
            waits_for=row.waits_for,
            is_late=is_running and ping is not None and now - ping > lease,
        )


def _at_work(state: HouseState) -> Sequence[WorkerReport]:
    return [worker for worker in state.workers if not worker.is_paused and not state.is_late(worker)]


def _state_of(worker: WorkerReport, state: HouseState) -> tuple[str, str]:
    """The kind of a mark, and its words."""
    if state.is_late(worker):
        return "bad", "says nothing"
    if worker.is_paused:
        return "warn", "paused: its disk is full"
    return ("busy", "at work") if worker.running else ("good", "free")
