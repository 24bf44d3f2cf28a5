"""The way out to Git hosts and forges for `treadle admin repo`, in the words of its options."""

from dataclasses import dataclass
from typing import Final

from treadle import forges
from treadle.cli import output
from treadle.domain.errors import InvalidInput
from treadle.domain.repository import ForgeAccess, ForgeKind
from treadle.reach import ServiceReach, api_of
from treadle.services.repository_reach import Finding

#: What the errors say to those who call the API, and what it is here.
_WORDS: Final = (
    (
        (
            "Send gitHttpCredentials with a run (a resume takes none), or register the repository with its own: "
            "`treadle admin repo add`."
        ),
        "Give --http-credentials-env or --http-credentials-file.",
    ),
    ("Send gitSshKeyBase64, or the repository's https address.", "Give --ssh-key, or the repository's https address."),
    ("Send gitHttpCredentials, or", "Give --http-credentials-env, or"),
    (", and the run has none.", ", and there are none."),
)


@dataclass(frozen=True, slots=True)
class RepositoryReach(ServiceReach):
    """services.repository_reach.Reach."""

    words: tuple[tuple[str, str], ...] = _WORDS

    def tell(self, finding: Finding) -> None:
        output.note(f"Warning: {finding.part}: {finding.said}")


def forge_of(url: str, kind: ForgeKind | None, api_url: str | None) -> ForgeAccess | None:
    """What `--forge` and `--forge-api-url` say of a repository at `url`; without them the forge of a well-known host.
    Raises InvalidInput for an address without the kind, and where there is no telling the address."""
    if kind is None:
        if api_url is not None:
            raise InvalidInput({"--forge": ["says what is at --forge-api-url"]}, "The options are not complete.")
        return forges.access_for(url)
    if api_url is not None:
        return ForgeAccess(kind, api_url.rstrip("/"))
    try:
        access = api_of(url, kind)
    except ValueError as error:
        raise InvalidInput({"url": [str(error)]}, "The repository cannot be registered.") from None
    if access is None:
        raise InvalidInput({"--forge-api-url": ["says where the forge is"]}, "The options are not complete.")
    return access
