"""Which network policy counts for a run: its own, else its repository's, else the service's. And who may ask for less
validation than the repository does."""

from treadle.domain.errors import Forbidden, InvalidInput
from treadle.domain.identity import Principal
from treadle.domain.network import NetworkMode, NetworkPolicy
from treadle.domain.permissions import Permission, may
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run, RunDraft


def effective(run: Run | RunDraft, repository: Repository | None, default: NetworkPolicy) -> NetworkPolicy:
    """`repository` as it is when the run is claimed: what is changed meanwhile counts from the next claim on."""
    return run.network or inherited(repository, default)


def inherited(repository: Repository | None, default: NetworkPolicy) -> NetworkPolicy:
    """What counts for runs that say nothing."""
    return repository.network if repository is not None and repository.network is not None else default


def check_validation(principal: Principal, draft: RunDraft, repository: Repository | None) -> None:
    """Raises Forbidden for who may not take away what the repository asks for."""
    asked = repository.validation.commands if repository is not None and repository.validation is not None else ()
    if draft.validation is None or may(principal, Permission.REPOSITORIES):
        return
    if missing := [line for line in asked if line not in draft.validation.commands]:
        raise Forbidden(
            f"A run of yours may only add to the repository's validation commands, and `{missing[0]}` is missing: "
            f"it takes MANAGER to {Permission.REPOSITORIES}."
        )


def check_network(
    principal: Principal,
    draft: RunDraft,
    repository: Repository | None,
    default: NetworkPolicy,
    *,
    asks_model: bool,
) -> None:
    """Raises Forbidden for who may not widen what would count otherwise, InvalidInput (path `network`) where the engine
    could not even ask its model."""
    would = inherited(repository, default)
    asked = draft.network
    if asked is not None and not asked.is_within(would) and not may(principal, Permission.REPOSITORIES):
        raise Forbidden(
            f"A run of yours may only narrow the network policy '{would}', and '{asked}' lets more through: "
            f"it takes MANAGER to {Permission.REPOSITORIES}."
        )
    policy = effective(draft, repository, default)
    if policy.mode is NetworkMode.NONE and asks_model and draft.engine is not EngineName.DUMMY:
        whose = "" if asked is not None else "Is `none` where a run says nothing. "
        raise InvalidInput({"network": [f"{whose}{draft.engine} needs its model: `model` is the least."]})
