"""What the API is given by whoever builds it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from treadle.ports import Clock
from treadle.ports.directory import RateStore
from treadle.services.files import Files
from treadle.services.identity import Identity
from treadle.services.organizations import Organizations
from treadle.services.repositories import Repositories
from treadle.services.runs import Runs
from treadle.services.tokens import Tokens

#: Raises ConfigurationError while a part is not ready.
Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, and the checks of `/readyz` by the name of the part."""

    runs: Runs
    files: Files
    identity: Identity
    tokens: Tokens
    organizations: Organizations
    repositories: Repositories
    rates: RateStore
    clock: Clock
    checks: Mapping[str, Check] = field(default_factory=dict)
