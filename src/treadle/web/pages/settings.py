"""/settings: what an organization's runs begin with, and the rules that go into their prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import InvalidInput
from treadle.domain.identity import Organization
from treadle.domain.permissions import Permission, may, require
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName
from treadle.services.budgets import BudgetChange
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, amount_of, amount_text, filled, is_checked, lines_of, number_of, refused, text_of
from treadle.web.site import Site

PATH = "/settings"

DONE = {
    "organization": "The organization is changed.",
    "rules": "The rules are changed, for later runs.",
    "budgets": "The budgets are changed: that of the month for all runs at once, the other for later ones.",
}

#: The form's fields, each with what the service calls it.
_FIELDS = {
    "name": "name",
    "engine": "default_engine",
    "model": "default_model",
    "repository": "default_repository",
}

#: Those of the budgets.
_BUDGETS = {"max_cost": "default_max_cost_usd", "monthly_cost": "monthly_cost_usd"}


def routes(site: Site) -> Sequence[Route]:
    pages, page = _Pages(site), site.door.page
    return [
        Route(PATH, page(pages.show), methods=["GET"]),
        Route(f"{PATH}/organization", page(pages.save), methods=["POST"]),
        Route(f"{PATH}/budgets", page(pages.save_budgets), methods=["POST"]),
        Route(f"{PATH}/rules", page(pages.save_rules), methods=["POST"]),
        Route(f"{PATH}/my-rules", page(pages.save_my_rules), methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Pages:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        return await self._page(visit, done=DONE.get(request.query_params.get("done", "")))

    async def save(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.ADMINISTER)
        form, services = await form_of(request), self.site.services
        found = await services.organizations.get(visit.principal.organization_id)
        try:
            await services.organizations.save(_changed(found, form))
        except InvalidInput as error:
            return await self._page(visit, general=refused(filled("general", form), error, _FIELDS), status=400)
        return see_other(f"{PATH}?done=organization")

    async def save_budgets(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.ADMINISTER)
        form = await form_of(request)
        try:
            await self.site.services.budgets.set(visit.principal, _budgets(form))
        except InvalidInput as error:
            shown = refused(filled("budgets", form), error, _BUDGETS)
            return await self._page(visit, budgets=shown, status=400)
        return see_other(f"{PATH}?done=budgets#budgets")

    async def save_rules(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.ADMINISTER)
        form, services = await form_of(request), self.site.services
        found = await services.organizations.get(visit.principal.organization_id)
        try:
            await services.organizations.save(replace(found, rules=lines_of(form, "rules")))
        except InvalidInput as error:
            shown = refused(filled("org-rules", form), error, {"rules": "rules"})
            return await self._page(visit, rules=shown, status=400)
        return see_other(f"{PATH}?done=rules#org-rules")

    async def save_my_rules(self, request: Request, visit: Visit) -> Response:
        form, services = await form_of(request), self.site.services
        user, _ = await services.organizations.member(visit.principal, visit.principal.user_id)
        try:
            await services.organizations.save_user(replace(user, rules=lines_of(form, "rules")))
        except InvalidInput as error:
            shown = refused(filled("my-rules", form), error, {"rules": "rules"})
            return await self._page(visit, mine=shown, status=400)
        return see_other(f"{PATH}?done=rules#my-rules")

    async def _page(
        self,
        visit: Visit,
        *,
        general: Form | None = None,
        budgets: Form | None = None,
        rules: Form | None = None,
        mine: Form | None = None,
        done: str | None = None,
        status: int = 200,
    ) -> Response:
        services, who = self.site.services, visit.principal
        organization = await services.organizations.get(who.organization_id)
        repositories = await services.repositories.list(who.organization_id)
        user, _ = await services.organizations.member(who, who.user_id)
        names = {each.id: each.name for each in repositories}
        default = organization.default_repository_id
        return self.site.renderer.page(
            "settings.html",
            replace(visit.view, path=PATH),
            status=status,
            done=done,
            may_change=may(who, Permission.ADMINISTER),
            organization=organization,
            default_name=names.get(default) if default is not None else None,
            engines=[("", "As the service is set"), *((engine.value, engine.value) for engine in EngineName)],
            repositories=[("", "None"), *_choices(repositories)],
            general=general or Form("general", _values(organization)),
            budgets=budgets or Form("budgets", _amounts(organization)),
            rules=rules or Form("org-rules", {"rules": organization.rules or ""}),
            mine=mine or Form("my-rules", {"rules": user.rules or ""}),
        )


def _choices(repositories: Sequence[Repository]) -> Sequence[tuple[str, str]]:
    return sorted(((str(each.id), each.name) for each in repositories), key=lambda choice: choice[1].lower())


def _values(organization: Organization) -> Mapping[str, str]:
    return {
        "name": organization.name,
        "engine": organization.default_engine or "",
        "model": organization.default_model or "",
        "repository": str(organization.default_repository_id or ""),
        "pull_requests": "1" if organization.is_pr_creation_enabled else "",
        "rule_files": "1" if organization.is_rules_detection_enabled else "",
    }


def _amounts(organization: Organization) -> Mapping[str, str]:
    return {
        "max_cost": amount_text(organization.default_max_cost_usd),
        "monthly_cost": amount_text(organization.monthly_cost_usd),
    }


def _budgets(form: FormData) -> BudgetChange:
    """Empty is none. Raises InvalidInput."""
    amounts, faults = dict[str, float | None](), dict[str, list[str]]()
    for ours, theirs in _BUDGETS.items():
        try:
            amounts[ours] = amount_of(text_of(form, ours))
        except ValueError as error:
            faults[theirs] = [str(error)]
    if faults:
        raise InvalidInput(faults, "The budgets cannot be changed.")
    return BudgetChange(amounts["max_cost"], amounts["monthly_cost"])


def _changed(found: Organization, form: FormData) -> Organization:
    """Raises InvalidInput for what no menu offers."""
    engine, repository = text_of(form, "engine"), text_of(form, "repository")
    if engine and engine not in set(EngineName):
        raise InvalidInput({"default_engine": ["Is no engine."]}, "The organization cannot be changed.")
    if repository and number_of(repository) is None:
        raise InvalidInput({"default_repository": ["Is no repository."]}, "The organization cannot be changed.")
    return replace(
        found,
        name=text_of(form, "name"),
        default_engine=EngineName(engine) if engine else None,
        default_model=text_of(form, "model") or None,
        default_repository_id=number_of(repository),
        is_pr_creation_enabled=is_checked(form, "pull_requests"),
        is_rules_detection_enabled=is_checked(form, "rule_files"),
    )
