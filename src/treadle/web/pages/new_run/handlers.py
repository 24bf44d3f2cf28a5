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
from treadle.domain.errors import AllowanceUsedUp, Conflict, Forbidden, InvalidInput, NotFound, TreadleError
from treadle.domain.identity import Principal
from treadle.domain.network import NetworkPolicy
from treadle.domain.permissions import Permission, require
from treadle.domain.plan_parts import Variable
from treadle.domain.plan_variables import filled, name_in
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run
from treadle.domain.validation import MAX_TRIES
from treadle.services.plans import MAX_PASTED_PLAN, parse_pasted_plan
from treadle.services.policies import inherited
from treadle.services.run_rules import MAX_FILES, MAX_STEPS
from treadle.services.runs import Repeatable
from treadle.web.door import MAX_FILES as MAX_AT_ONCE
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, amount_of, text_of
from treadle.web.network import CHOICES, words
from treadle.web.pages.automation.plan_fields import plan_text
from treadle.web.pages.new_run import uploads
from treadle.web.pages.new_run.checks import described, faults_of, request_of
from treadle.web.pages.new_run.wish import Wish, again, moved, on, planned, wish_of
from treadle.web.render import SECURITY_HEADERS
from treadle.web.site import Site

#: Repositories that are offered; others by their address.
OFFERED = 500

#: Fields that the service calls otherwise.
_NAMES = {"max_cost_usd": "max_cost"}

_NOT_STARTED = "Nothing has started yet: see what is wrong below."
_SECRETS_GONE = "Keys and passwords are never sent back to the page: give them again."


class NewRun:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._services = site.services

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?again=`: as that run; `?repository=`: on that one, with `?plan=` as its own plan of that name says."""
        require(visit.principal, Permission.RUN)
        query = request.query_params
        wish = await self._first(visit.principal, query)
        if (name := query.get("plan")) and (repository_id := whole_number(query.get("repository", ""))) is not None:
            plan = await self._services.repository_plans.get(visit.principal, repository_id, name)
            return await self._plan(visit, replace(wish, plan=plan_text(plan.to_json())))
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
        try:
            return await self._services.runs.create(
                principal,
                request_of(wish, repository),
                Repeatable(f"page:{wish.token}:{digest[:32]}", digest),
                monthly_runs=organization.monthly_runs,
            )
        except Forbidden as error:
            raise await self._too_much(principal, wish, error) from None

    async def _too_much(self, principal: Principal, wish: Wish, error: Forbidden) -> TreadleError:
        """A budget or a policy that is not the caller's to ask for, beside its field; all else as it is."""
        try:
            await self._services.budgets.of_new_run(principal, amount_of(wish.max_cost))
        except Forbidden as refusal:
            return InvalidInput({"max_cost": [refusal.sentence()]}, _NOT_STARTED)
        return InvalidInput({"network": [error.sentence()]}, _NOT_STARTED) if wish.network else error

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
        asked = plan.variables or ()
        if any(each.name not in wish.variables for each in asked):
            values = {each.name: wish.variables.get(each.name, each.default or "") for each in asked}
            good = "The plan has variables: give their values under it, then fill in the form."
            return await self._page(visit, replace(wish, variables=values), asked=asked, good=good)
        place = repository if plan.repo is not None else await self._chosen(visit.principal, wish)
        try:
            plan = filled(plan, {**_given(wish, asked), **_built_in(place, plan.repo or wish.url)})
        except InvalidInput as error:
            return await self._page(visit, wish, asked=asked, faults=_of_variables(error))
        good = "The plan is filled in below. Nothing runs yet."
        return await self._page(visit, planned(wish, plan, repository), focus="step-0", good=good)

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

    def _usual(self, repository: Repository | None) -> str:
        """What runs on it may connect to that say nothing."""
        return words(inherited(repository, NetworkPolicy.parse(self._site.settings.network)))

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
        asked: Sequence[Variable] = (),
    ) -> Response:
        """`asked`: variables of a plan whose values are asked for."""
        found, total = await self._services.repositories.page(visit.principal, limit=OFFERED)
        chosen = await self._chosen(visit.principal, wish)
        if chosen is not None and all(each.id != chosen.id for each in found):
            found = [chosen, *found]
        is_wrong = bool(faults or said)
        if is_wrong and said is None:
            said = _NOT_STARTED
        return self._site.renderer.page(
            "new_run.html",
            visit.view,
            status=HTTPStatus.BAD_REQUEST if is_wrong else HTTPStatus.OK,
            wish=wish,
            form=Form("run", wish.values(), faults or {}, said),
            good=good,
            note=_SECRETS_GONE if wish.had_secrets else None,
            focus=focus,
            asked=asked,
            most_tries=MAX_TRIES,
            repositories=found,
            networks=[("", "As is usual there"), *CHOICES],
            usual=self._usual,
            usual_here=self._usual(chosen),
            budget=await self._services.budgets.report(visit.principal),
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
        name = "files" if path.startswith("file_ids") else _NAMES.get(path, path)
        found.setdefault(name, []).extend(each for each in said if each not in found.get(name, ()))
    return found


def _given(wish: Wish, asked: Sequence[Variable]) -> Mapping[str, str]:
    """What is left empty is as the plan has it."""
    return {each.name: wish.variables[each.name] for each in asked if wish.variables[each.name]}


def _built_in(repository: Repository | None, url: str) -> Mapping[str, str]:
    """Of the repository that the plan names, or the form."""
    if repository is not None:
        known = {"name": repository.name, "default_branch": repository.default_branch, "url": repository.url}
    elif url:
        known = {"name": name_in(url), "url": url}
    else:
        return {}
    return {f"repository.{name}": value for name, value in known.items()}


def _of_variables(error: InvalidInput) -> dict[str, list[str]]:
    """Beside the fields of those that are asked for; the rest beside the plan."""
    found: dict[str, list[str]] = {}
    for path, said in error.faults.items():
        is_field = path.startswith("variables.") and "repository" not in path
        name = path.replace("variables.", "variable-", 1) if is_field else "plan"
        found.setdefault(name, []).extend(said if is_field else [f"{path}: {each}." for each in said])
    return found
