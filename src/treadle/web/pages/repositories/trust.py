"""What the forms of a repository's page do that bound its runs: the network, what is committed, and its secrets."""

from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from treadle.domain.errors import InvalidInput
from treadle.domain.permissions import Permission, require
from treadle.services.environment_rules import name_faults
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import filled, is_checked, lines_of, refused, text_of
from treadle.web.network import policy_of
from treadle.web.pages.repositories.one import Forms, One
from treadle.web.site import Site
from treadle.web.validation import rules_of

#: Never shown again.
_SECRET = ("value",)

_FIELDS = {"name": "name", "value": "value"}


@dataclass(frozen=True, slots=True)
class TrustChanges:
    site: Site
    one: One

    async def network(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        try:
            policy = policy_of(text_of(form, "network"), lines_of(form, "hosts"))
            await self.site.services.policies.set_network(visit.principal, id_, policy)
        except InvalidInput as error:
            shown = refused(filled("network", form), error, {"network": "network", "hosts": "hosts"})
            return await self.one.page(visit, id_, forms=Forms(network=shown), status=400)
        return see_other(f"/repositories/{id_}?done=network")

    async def validation(self, request: Request, visit: Visit) -> Response:
        """What must pass before a step is committed."""
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        try:
            rules = rules_of(lines_of(form, "validate"), text_of(form, "tries"))
            await self.site.services.policies.set_validation(visit.principal, id_, rules)
        except InvalidInput as error:
            shown = refused(filled("validation", form), error, {"validate": "validate", "tries": "tries"})
            return await self.one.page(visit, id_, forms=Forms(validation=shown), status=400)
        return see_other(f"/repositories/{id_}?done=validation")

    async def secret_scanning(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        await self.site.services.policies.set_secret_scanning(visit.principal, id_, is_on=is_checked(form, "scan"))
        return see_other(f"/repositories/{id_}?done=scanning")

    async def set_secret(self, request: Request, visit: Visit) -> Response:
        """One; what was typed is not sent back."""
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        name, environment = text_of(form, "name"), self.site.services.environment
        known = {each.name for each in await environment.names(visit.principal, id_)}
        try:
            await environment.set(visit.principal, id_, {name: _value(form)})
        except InvalidInput as error:
            shown = refused(filled("secret", form, secret=_SECRET), _beside(error, name), _FIELDS)
            return await self.one.page(visit, id_, forms=Forms(secret=shown), status=400)
        return see_other(f"/repositories/{id_}?done={'secret-replaced' if name in known else 'secret'}#secrets")

    async def remove_secret(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.REPOSITORIES)
        form, id_ = await form_of(request), _id(request)
        await self.site.services.environment.remove(visit.principal, id_, text_of(form, "name"))
        return see_other(f"/repositories/{id_}?done=secret-removed#secrets")


def _value(form: FormData) -> str:
    """As it was typed; a single line without the line end that comes along when it is pasted."""
    value = lines_of(form, "value")
    return value.removesuffix("\n") if value.count("\n") == 1 else value


def _beside(error: InvalidInput, name: str) -> InvalidInput:
    """What the service says of the variable, beside the field that it is about."""
    of_name = name_faults(name)
    found: dict[str, list[str]] = {}
    for said in (each for faults in error.faults.values() for each in faults):
        found.setdefault("name" if said in of_name else "value", []).append(said)
    return InvalidInput(found, error.message)


def _id(request: Request) -> int:
    found: int = request.path_params["id"]
    return found
