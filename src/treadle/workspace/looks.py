"""Short looks at a remote by whoever serves the API: the way that workers go, without a workspace."""

from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.git_url import parse
from treadle.settings import Settings
from treadle.workspace.access import AccessRules
from treadle.workspace.git import Git, base_environment
from treadle.workspace.remote import Remote


def look(
    settings: Settings, url: str, organization_uuid: UUID, credentials: GitCredentials, *, seconds: float
) -> tuple[Remote, Git]:
    """The remote, and the Git to reach it with; each command takes `seconds` at most."""

    async def given() -> GitCredentials:
        return credentials

    rules = AccessRules(
        known_hosts=settings.data_dir / "known_hosts",
        memory=None,
        allow_local=settings.allow_local_repositories,
        allow_private_hosts=settings.allow_private_hosts,
        seconds=seconds,
    )
    environment = base_environment(
        {"PATH": settings.engine_path, **settings.git_environment},
        allow_local=settings.allow_local_repositories,
        follow_redirects=settings.allow_private_hosts,
    )
    return Remote(parse(url), organization_uuid, given, rules), Git(environment, seconds)
