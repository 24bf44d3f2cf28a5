"""One repository: how it is reached, what is set for it, what ran on it."""

from dataclasses import dataclass, field, replace

from starlette.requests import Request
from starlette.responses import Response

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import Principal
from treadle.domain.network import NetworkPolicy
from treadle.domain.permissions import Permission, may
from treadle.domain.repository import Repository
from treadle.domain.validation import MAX_TRIES
from treadle.ports.page import RunSearch
from treadle.services.environment_rules import MAX_VARIABLES
from treadle.services.policies import inherited
from treadle.services.repository_plans import RepositoryPlanList
from treadle.services.repository_reach import Inspection
from treadle.services.setup import MAX_ANALYSED_BYTES
from treadle.web.door import Visit
from treadle.web.forms import Form
from treadle.web.network import CHOICES, values_of, words
from treadle.web.pages.repositories.address import FORGES, as_it_is
from treadle.web.pages.repositories.check_settings import as_they_are
from treadle.web.site import Site
from treadle.web.validation import validation_values

#: The latest runs that are shown.
SHOWN_RUNS = 10

#: Of a log that is shown: its end, in bytes. The whole is a download.
SHOWN_LOG_BYTES = MAX_ANALYSED_BYTES

DONE = {
    "registered": "The repository is registered: it can be reached.",
    "address": "The repository is changed.",
    "setup": "The setup commands are kept, for later runs.",
    "rules": "The rules are changed, for later runs.",
    "checks": "What becomes of failed checks is changed.",
    "network": "The network policy is changed, for runs that a worker takes from now on.",
    "validation": "The validation commands are kept, for runs that a worker takes from now on.",
    "scanning": "The search for secrets in commits is changed, for later steps.",
    "secret": "The secret is kept, for later runs. It is not shown again.",
    "secret-replaced": "The secret is replaced, for later runs.",
    "secret-removed": "The secret is removed.",
    "default": "It is the default repository now.",
}


@dataclass(frozen=True, slots=True)
class Forms:
    """What of the page's forms is being filled in; None: as it is."""

    address: Form | None = None
    setup: Form | None = None
    rules: Form | None = None
    checks: Form | None = None
    network: Form | None = None
    validation: Form | None = None
    secret: Form = field(default_factory=lambda: Form("secret"))
    generate: Form = field(default_factory=lambda: Form("generate"))


@dataclass(frozen=True, slots=True)
class One:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?show=branches`, or `plans`: also those, which the remote is asked for."""
        query = request.query_params
        done, asked = DONE.get(query.get("done", "")), query.get("show")
        return await self.page(
            visit, _id(request), done=done, with_branches=asked == "branches", with_plans=asked == "plans"
        )

    async def page(
        self,
        visit: Visit,
        repository_id: int,
        *,
        forms: Forms | None = None,
        inspection: Inspection | None = None,
        trouble: str | None = None,
        done: str | None = None,
        with_branches: bool = False,
        with_plans: bool = False,
        status: int = 200,
    ) -> Response:
        """Raises NotFound, Forbidden."""
        services, who, forms = self.site.services, visit.principal, forms or Forms()
        repository = await services.repositories.get(who, repository_id)
        organization = await services.organizations.get(who.organization_id)
        policies = await services.policies.get(who, repository.id)
        return self.site.renderer.page(
            "repository.html",
            replace(visit.view, path=f"/repositories/{repository.id}"),
            status=status,
            done=done,
            trouble=trouble,
            repository=repository,
            is_default=organization.default_repository_id == repository.id,
            secrets=await services.repositories.secret_names(repository),
            branches=await services.branches.of(who, repository.id) if with_branches else None,
            plans=await self._plans(who, repository) if with_plans else None,
            may_run=may(who, Permission.RUN),
            inspection=inspection,
            executions=await services.setup.executions(who, repository.id),
            runs=await self._runs(who, repository),
            forges=FORGES,
            may_change=may(who, Permission.REPOSITORIES),
            may_generate=may(who, Permission.SET_UP),
            may_set_checks=may(who, Permission.SETTINGS),
            may_administer=may(who, Permission.ADMINISTER),
            address=forms.address or as_it_is(repository),
            setup=forms.setup or Form("setup", {"commands": repository.setup_commands or ""}),
            rules=forms.rules or Form("rules", {"rules": repository.rules or ""}),
            checks=forms.checks or as_they_are(repository),
            generate=forms.generate,
            policies=policies,
            reach=words(policies.effective_network),
            usual=words(inherited(None, NetworkPolicy.parse(self.site.settings.network))),
            networks=[("", "As the service is set"), *CHOICES],
            network=forms.network or Form("network", values_of(policies.network)),
            validation=forms.validation or Form("validation", validation_values(policies.validation)),
            rules_of_validation=policies.validation,
            most_tries=MAX_TRIES,
            variables=await services.environment.names(who, repository.id),
            most_variables=MAX_VARIABLES,
            secret=forms.secret,
        )

    async def log(self, request: Request, visit: Visit) -> Response:
        """What setup commands said; `?download=1`: all of it, as a file."""
        found = await self.site.services.repositories.get(visit.principal, _id(request))
        execution, log = await self.site.services.setup.log(visit.principal, found.id, request.path_params["execution"])
        if request.query_params.get("download"):
            name = f'attachment; filename="setup-{execution.id}.log"'
            headers = {"Content-Disposition": name, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
            return Response(log, headers=headers, media_type="text/plain; charset=utf-8")
        return self.site.renderer.page(
            "repository_log.html",
            replace(visit.view, path=f"/repositories/{found.id}"),
            repository=found,
            execution=execution,
            log=log[-SHOWN_LOG_BYTES:].decode(errors="replace"),
            size=len(log),
            is_whole=len(log) <= SHOWN_LOG_BYTES,
            may_run=may(visit.principal, Permission.RUN),
        )

    async def _plans(self, who: Principal, repository: Repository) -> RepositoryPlanList | str:
        """Those on its default branch, or why they cannot be told."""
        try:
            return await self.site.services.repository_plans.list(who, repository.id)
        except (NotFound, Conflict) as error:
            return error.sentence()

    async def _runs(self, who: Principal, repository: Repository) -> object:
        whose = None if may(who, Permission.RUNS_OF_OTHERS) else who.user_id
        search = RunSearch(who.organization_id, user_id=whose, repository_id=repository.id)
        return (await self.site.services.finder.search_runs(search, limit=SHOWN_RUNS)).runs


def _id(request: Request) -> int:
    found: int = request.path_params["id"]
    return found
