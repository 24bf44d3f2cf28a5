"""The part of two forms that says where a repository is and how it is reached."""

from collections.abc import Mapping

from starlette.datastructures import FormData

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import InvalidInput
from treadle.domain.repository import ForgeKind, Repository
from treadle.services.repository_desk import Wanted
from treadle.web.forms import Form, lines_of, text_of

#: The form's fields, each with what the services call it.
FIELDS: Mapping[str, str] = {
    "url": "url",
    "name": "name",
    "branch": "default_branch",
    "http": "credentials",
    "ssh_key": "ssh_key",
    "forge": "forge",
    "forge_api_url": "forge_api_url",
    "forge_token": "forge_token",
}

#: Those that are never shown again.
SECRET = ("http", "ssh_key", "forge_token")

FORGES = (
    ("", "None"),
    (ForgeKind.GITHUB.value, "GitHub"),
    (ForgeKind.GITLAB.value, "GitLab"),
    (ForgeKind.GITEA.value, "Gitea or Forgejo"),
)

#: What becomes of the credentials that there are.
KEEP, NONE, HTTP, SSH = "keep", "none", "http", "ssh"


def wanted_of(form: FormData) -> Wanted:
    """Raises InvalidInput for what no menu offers, and for credentials that are not there."""
    forge = text_of(form, "forge")
    if forge and forge not in set(ForgeKind):
        raise InvalidInput({"forge": ["Is none of these."]}, "The repository cannot be kept.")
    return Wanted(
        url=text_of(form, "url"),
        name=text_of(form, "name"),
        default_branch=text_of(form, "branch"),
        git=_git(form),
        forge=ForgeKind(forge) if forge else None,
        forge_api_url=text_of(form, "forge_api_url"),
        forge_token=text_of(form, "forge_token"),
    )


def _git(form: FormData) -> GitCredentials | None:
    kind, http, key = text_of(form, "credentials"), text_of(form, "http"), lines_of(form, "ssh_key").strip()
    if kind == HTTP:
        if not http:
            raise InvalidInput({"credentials": ["Give user:password or a token."]}, "The repository cannot be kept.")
        return GitCredentials(http=http)
    if kind == SSH:
        if not key:
            raise InvalidInput({"ssh_key": ["Give a private key."]}, "The repository cannot be kept.")
        return GitCredentials(ssh_key=f"{key}\n")
    return GitCredentials() if kind == NONE else None


def as_it_is(repository: Repository) -> Form:
    forge = repository.forge
    return Form(
        "address",
        {
            "url": repository.url,
            "branch": repository.default_branch,
            "credentials": KEEP,
            "forge": forge.kind if forge is not None else "",
            "forge_api_url": forge.api_url if forge is not None else "",
        },
    )
