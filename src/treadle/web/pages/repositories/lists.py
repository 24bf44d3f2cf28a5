"""The list, and a new one in it."""

from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from treadle import forges
from treadle.domain.errors import Conflict, ForgeError, GitError, InvalidInput
from treadle.domain.permissions import Permission, may, require
from treadle.domain.repository import Repository
from treadle.services.repository_desk import RepositoryDesk
from treadle.web.door import Visit, form_of, see_other
from treadle.web.forms import Form, filled, number_of, refused
from treadle.web.pages.repositories.address import FIELDS, FORGES, NONE, SECRET, wanted_of
from treadle.web.site import Site

PATH = "/repositories"

#: Rows of a page.
ROWS = 50

#: Characters of a search.
MAX_SEARCH = 200

DONE = {"removed": "The repository is removed. Its runs are still there."}

_NEW = Form("new", {"credentials": NONE})


@dataclass(frozen=True, slots=True)
class Lists:
    site: Site
    desk: RepositoryDesk

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?q=`: words that are all in the name, the address or the description; `?page=` from 1."""
        require(visit.principal, Permission.READ)
        services, query = self.site.services, request.query_params
        text = query.get("q", "")[:MAX_SEARCH]
        found = [each for each in await services.repositories.list(visit.principal.organization_id) if _has(each, text)]
        found.sort(key=lambda each: each.name.lower())
        pages = max(1, -(-len(found) // ROWS))
        page = min(max(1, number_of(query.get("page", "")) or 1), pages)
        organization = await services.organizations.get(visit.principal.organization_id)
        return self.site.renderer.page(
            "repositories.html",
            replace(visit.view, path=PATH),
            done=DONE.get(query.get("done", "")),
            text=text,
            total=len(found),
            rows=found[(page - 1) * ROWS : page * ROWS],
            page=page,
            pages=pages,
            default=organization.default_repository_id,
            may_change=may(visit.principal, Permission.REPOSITORIES),
        )

    async def new(self, _request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.REPOSITORIES)
        return self._form(visit, _NEW)

    async def register(self, request: Request, visit: Visit) -> Response:
        require(visit.principal, Permission.REPOSITORIES)
        form = await form_of(request)
        shown = filled("new", form, secret=SECRET)
        try:
            wanted = wanted_of(form)
            if wanted.forge is None and not wanted.forge_api_url and (known := forges.access_for(wanted.url)):
                wanted = replace(wanted, forge=known.kind)  # of a well-known host
            added = await self.desk.register(visit.principal, wanted)
        except InvalidInput as error:
            return self._form(visit, refused(shown, error, FIELDS), status=400)
        except (Conflict, GitError, ForgeError) as error:
            return self._form(visit, refused(shown, error), status=409 if isinstance(error, Conflict) else 400)
        return see_other(f"{PATH}/{added.id}?done=registered")

    def _form(self, visit: Visit, form: Form, *, status: int = 200) -> Response:
        return self.site.renderer.page(
            "repository_new.html",
            replace(visit.view, path=f"{PATH}/new"),
            status=status,
            form=form,
            forges=FORGES,
            allow_local=self.site.settings.allow_local_repositories,
        )


def _has(repository: Repository, text: str) -> bool:
    said = f"{repository.name} {repository.url} {repository.description or ''}".lower()
    return all(word in said for word in text.lower().split())
