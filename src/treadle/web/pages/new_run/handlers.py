"""The form, what its buttons do, and the branches that it offers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from treadle.api.bodies import whole_number
from treadle.domain.errors import AllowanceUsedUp, Conflict, InvalidInput, NotFound
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run
from treadle.services.plans import MAX_PASTED_PLAN, parse_pasted_plan
from treadle.services.run_rules import MAX_FILES, MAX_STEPS
from treadle.services.runs import Repeatable
from treadle.web.door import MAX_FILES as MAX_AT_ONCE
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, text_of
from treadle.web.pages.new_run import uploads
from treadle.web.pages.new_run.checks import described, faults_of, request_of
from treadle.web.pages.new_run.wish import Wish, again, moved, on, planned, wish_of
from treadle.web.render import SECURITY_HEADERS
from treadle.web.site import Site

#: Repositories that are offered; others by their address.
OFFERED = 500

_SECRETS_GONE = "Keys and passwords are never sent back to the page: give them again."


class NewRun:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._services = site.services

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?again=`: as that run; `?repository=`: on that one."""
        require(visit.principal, Permission.RUN)
        query = request.query_params
        wish = await self._first(visit.principal, query)
        return await self._page(visit, wish)

    async def branches(self, request: Request, visit: Visit) -> Response:
        """JSON: `names`, how many `more` there are, and what is `said` when there are none."""
        repository_id = whole_number(request.query_params.get("repository", ""))
        if repository_id is None:
            raise NotFound("Repository not found.")
        found = await self._services.branches.of(visit.principal, repository_id)
        answer = {"names": found.names, "more": found.more, "said": found.said}
        return JSONResponse(answer, headers=dict(SECURITY_HEADERS))

    async def take(self, request: Request, visit: Visit) -> Response:
        """Starts the run; or does what another button says, and shows the form again."""
        principal = visit.principal
        require(principal, Permission.RUN)
        form = await form_of(request)
        files = await uploads.kept(self._services.files, principal, form)
        added, refused = await uploads.take(self._services.files, principal, form)
        wish = replace(wish_of(form), files=(*files, *added))
        action = text_of(form, "action")
        if action == "plan":
            return await self._plan(visit, wish)
        if action not in {"", "start"}:
            steps, at = moved(wish.steps, action)
            return await self._page(visit, replace(wish, steps=steps), focus=f"step-{at}")
        repository = await self._chosen(principal, wish)
        faults = faults_of(wish, repository, allow_local=self._site.settings.allow_local_repositories)
        if refused:
            faults = {**faults, "files": [*faults.get("files", ()), *refused]}
        if faults:
            return await self._page(visit, wish, faults=faults)
        try:
            run = await self._create(principal, wish, repository)
        except InvalidInput as error:
            return await self._page(visit, wish, faults=_beside(error), said=error.message)
        except (AllowanceUsedUp, Conflict, NotFound) as error:
            return await self._page(visit, wish, said=error.sentence())
        await uploads.drop(self._services.files, principal, [file for file in added if file.id not in run.file_ids])
        return see_other(f"/runs/{run.id}")

    async def _create(self, principal: Principal, wish: Wish, repository: Repository | None) -> Run:
        """One run, however often the same form is sent: what is sent again changed is another."""
        organization = await self._services.organizations.get(principal.organization_id)
        asked = json.dumps(described(wish), sort_keys=True, default=str)
        digest = hashlib.sha256(f"{wish.token}\0{asked}".encode(errors="replace")).hexdigest()
        return await self._services.runs.create(
            principal,
            request_of(wish, repository),
            Repeatable(f"page:{wish.token}:{digest[:32]}", digest),
            monthly_runs=organization.monthly_runs,
        )

    async def _plan(self, visit: Visit, wish: Wish) -> Response:
        try:
            plan = await to_thread.run_sync(parse_pasted_plan, wish.plan)
        except InvalidInput as error:
            said = [*error.faults.get("plan", ())]
            said += [f"{path}: {' '.join(each)}." for path, each in error.faults.items() if path != "plan"]
            return await self._page(visit, wish, faults={"plan": said})
        repository = None
        if plan.repo is not None:
            repository = await self._services.repositories.find(visit.principal.organization_id, plan.repo)
        filled = planned(wish, plan, repository)
        return await self._page(visit, filled, focus="step-0", good="The plan is filled in below. Nothing runs yet.")

    async def _first(self, principal: Principal, query: Mapping[str, str]) -> Wish:
        repositories = self._services.repositories
        organization = await self._services.organizations.get(principal.organization_id)
        if (run_id := whole_number(query.get("again", ""))) is not None:
            run = await self._services.agents.get(principal, run_id)
            registered = await repositories.of_run(run.organization_id, run.repository_id, run.git_url)
            file_ids = dict.fromkeys([*run.file_ids, *(each for step in run.steps for each in step.file_ids)])
            return again(run, registered, await uploads.known(self._services.files, principal, [*file_ids]))
        engine = organization.default_engine or EngineName.CLAUDE
        wish = Wish(engine=engine, model=organization.default_model or "")
        wanted = query.get("repository", "")
        if wanted:
            return on(wish, await repositories.get(principal, whole_number(wanted) or 0))
        with suppress(NotFound):  # none, or several and no default: to be chosen
            return on(wish, await repositories.chosen(principal, None))
        return wish

    async def _chosen(self, principal: Principal, wish: Wish) -> Repository | None:
        repository_id = whole_number(wish.repository)
        if repository_id is None:
            return None
        try:
            return await self._services.repositories.get(principal, repository_id)
        except NotFound:
            return None

    async def _page(
        self,
        visit: Visit,
        wish: Wish,
        *,
        faults: Mapping[str, Sequence[str]] | None = None,
        said: str | None = None,
        good: str | None = None,
        focus: str | None = None,
    ) -> Response:
        found, total = await self._services.repositories.page(visit.principal, limit=OFFERED)
        chosen = await self._chosen(visit.principal, wish)
        if chosen is not None and all(each.id != chosen.id for each in found):
            found = [chosen, *found]
        is_wrong = bool(faults or said)
        if is_wrong and said is None:
            said = "Nothing has started yet: see what is wrong below."
        return self._site.renderer.page(
            "new_run.html",
            visit.view,
            status=HTTPStatus.BAD_REQUEST if is_wrong else HTTPStatus.OK,
            wish=wish,
            form=Form("run", wish.values(), faults or {}, said),
            good=good,
            note=_SECRETS_GONE if wish.had_secrets else None,
            focus=focus,
            repositories=found,
            is_more=total > len(found),
            engines=tuple(EngineName),
            max_steps=MAX_STEPS,
            max_files=MAX_FILES,
            max_at_once=MAX_AT_ONCE,
            max_plan=MAX_PASTED_PLAN,
            max_file_bytes=self._site.settings.max_file_bytes,
            max_bytes=uploads.most_bytes(self._site) - 1,
        )


def _beside(error: InvalidInput) -> dict[str, list[str]]:
    """What a service found, beside the form's fields."""
    found: dict[str, list[str]] = {}
    for path, said in error.faults.items():
        name = "files" if path.startswith("file_ids") else path
        found.setdefault(name, []).extend(each for each in said if each not in found.get(name, ()))
    return found
