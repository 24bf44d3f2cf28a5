"""What the forms of a repository's page do."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from treadle.domain.errors import AllowanceUsedUp, Conflict, ForgeError, GitError, InvalidInput
from treadle.domain.permissions import Permission, require
from treadle.services.repository_desk import RepositoryDesk
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import filled, lines_of, refused, text_of
from treadle.web.pages.repositories import address, check_settings
from treadle.web.pages.repositories.one import Forms, One
from treadle.web.site import Site

#: Characters of what somebody adds to the question for setup commands.
MAX_SETUP_PROMPT = 10_000


@dataclass(frozen=True, slots=True)
class Changes:
    site: Site
    desk: RepositoryDesk
    one: One

    async def address(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        shown = filled("address", form, secret=address.SECRET)
        try:
            await self.desk.change(visit.principal, id_, address.wanted_of(form))
        except InvalidInput as error:
            forms = Forms(address=refused(shown, error, address.FIELDS))
            return await self.one.page(visit, id_, forms=forms, status=400)
        except (GitError, ForgeError) as error:
            return await self.one.page(visit, id_, forms=Forms(address=refused(shown, error)), status=400)
        return _back(id_, "address")

    async def setup(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        try:
            await self.desk.set_setup(visit.principal, id_, lines_of(form, "commands"))
        except InvalidInput as error:
            shown = refused(filled("setup", form), error, {"commands": "setup"})
            return await self.one.page(visit, id_, forms=Forms(setup=shown), status=400)
        return _back(id_, "setup")

    async def generate(self, request: Request, visit: Visit) -> Response:
        """A run that finds them out; it is shown."""
        require(visit.principal, Permission.SET_UP)
        form, id_ = await form_of(request), _id(request)
        prompt = lines_of(form, "prompt")
        try:
            if len(prompt) > MAX_SETUP_PROMPT:
                _refuse({"prompt": [f"Must be at most {MAX_SETUP_PROMPT:,} characters."]})
            run = await self.site.services.setup.generate(visit.principal, id_, prompt)
        except (InvalidInput, AllowanceUsedUp) as error:
            shown = refused(filled("generate", form), error, {"prompt": "prompt"})
            return await self.one.page(visit, id_, forms=Forms(generate=shown), status=400)
        return see_other(f"/runs/{run.id}")

    async def rules(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        try:
            await self.desk.set_rules(visit.principal, id_, lines_of(form, "rules"))
        except InvalidInput as error:
            shown = refused(filled("rules", form), error, {"rules": "rules"})
            return await self.one.page(visit, id_, forms=Forms(rules=shown), status=400)
        return _back(id_, "rules")

    async def checks(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.SETTINGS)
        form, id_ = await form_of(request), _id(request)
        found = await self.site.services.repositories.get(visit.principal, id_)
        try:
            change = check_settings.change_of(form, found.check_suite_settings)
            await self.site.services.check_suites.update(visit.principal, id_, change)
        except InvalidInput as error:
            shown = refused(filled("checks", form), error, check_settings.FIELDS)
            return await self.one.page(visit, id_, forms=Forms(checks=shown), status=400)
        return _back(id_, "checks")

    async def check(self, request: Request, visit: Visit) -> Response:
        """Looks whether it can be reached, and says what it found."""
        found = await self.desk.check(visit.principal, _id(request))
        return await self.one.page(visit, _id(request), inspection=found)

    async def default(self, request: Request, visit: Visit) -> Response:
        await self.desk.make_default(visit.principal, _id(request))
        return _back(_id(request), "default")

    async def remove(self, request: Request, visit: Visit) -> Response:
        """When its name is typed, so that it is this one."""
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        found = await self.site.services.repositories.get(visit.principal, id_)
        if text_of(form, "name") != found.name:
            said = f"It was not removed: type its name, {found.name}."
            return await self.one.page(visit, id_, trouble=said, status=400)
        await self.desk.remove(visit.principal, id_)
        return see_other("/repositories?done=removed")

    async def analyze(self, request: Request, visit: Visit) -> Response:
        """A run that says why setup commands failed; it is shown."""
        id_ = _id(request)
        try:
            run = await self.site.services.setup.analyze(visit.principal, request.path_params["execution"])
        except (Conflict, AllowanceUsedUp) as error:
            return await self.one.page(visit, id_, trouble=error.sentence(), status=409)
        return see_other(f"/runs/{run.id}")


def _id(request: Request) -> int:
    found: int = request.path_params["id"]
    return found


def _back(id_: int, done: str) -> Response:
    return see_other(f"/repositories/{id_}?done={done}")


def _refuse(faults: dict[str, list[str]]) -> None:
    raise InvalidInput(faults, "No run was started.")
