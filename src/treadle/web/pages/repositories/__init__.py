"""/repositories: what is registered, how it is reached, and what is set for it."""

from collections.abc import Sequence

from starlette.routing import Route

from treadle.reach import ServiceReach, api_of
from treadle.services.repository_desk import RepositoryDesk
from treadle.web.pages.repositories.changes import Changes
from treadle.web.pages.repositories.lists import Lists
from treadle.web.pages.repositories.one import One
from treadle.web.pages.repositories.trust import TrustChanges
from treadle.web.site import Site

#: What errors say to those who call the API, and what it is on the page.
_WORDS = (
    (
        (
            "Send gitHttpCredentials with a run (a resume takes none), or register the repository with its own: "
            "`treadle admin repo add`."
        ),
        "Give user:password or a token.",
    ),
    ("Send gitSshKeyBase64, or the repository's https address.", "Give an SSH key, or the repository's https address."),
    ("Send gitHttpCredentials, or", "Give user:password or a token, or"),
    ("or name the branch with --default-branch", "or name the branch"),
    (", and the run has none.", ", and there are none."),
)


def routes(site: Site) -> Sequence[Route]:
    services, page = site.services, site.door.page
    desk = RepositoryDesk(
        services.repositories,
        services.organizations,
        services.setup,
        ServiceReach(site.settings, services.clock, _WORDS),
        api_of=api_of,
        allow_local=site.settings.allow_local_repositories,
    )
    lists, one = Lists(site, desk), One(site)
    changes, trust = Changes(site, desk, one), TrustChanges(site, one)
    path = "/repositories/{id:int}"
    posts = {
        "address": changes.address,
        "setup": changes.setup,
        "generate": changes.generate,
        "rules": changes.rules,
        "checks": changes.checks,
        "check": changes.check,
        "default": changes.default,
        "remove": changes.remove,
        "network": trust.network,
        "validation": trust.validation,
        "secret-scanning": trust.secret_scanning,
        "secrets": trust.set_secret,
        "secrets/remove": trust.remove_secret,
        "executions/{execution:int}/analyze": changes.analyze,
    }
    return [
        Route("/repositories", page(lists.show), methods=["GET"]),
        Route("/repositories", page(lists.register), methods=["POST"]),
        Route("/repositories/new", page(lists.new), methods=["GET"]),
        Route(path, page(one.show), methods=["GET"]),
        Route(f"{path}/executions/{{execution:int}}", page(one.log), methods=["GET"]),
        *(Route(f"{path}/{name}", page(handler), methods=["POST"]) for name, handler in posts.items()),
    ]
