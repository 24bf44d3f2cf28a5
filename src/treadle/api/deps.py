"""What the API is given by whoever builds it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from treadle.ports import Clock
from treadle.ports.directory import RateStore
from treadle.ports.page import RunFinder
from treadle.services.agents import Agents
from treadle.services.branches import Branches
from treadle.services.check_suites import CheckSuites
from treadle.services.connections import Connections
from treadle.services.files import Files
from treadle.services.house import House
from treadle.services.identity import Identity
from treadle.services.local_sessions import LocalSessions
from treadle.services.organizations import Organizations
from treadle.services.pull_requests import PullRequests
from treadle.services.repositories import Repositories
from treadle.services.runs import Runs
from treadle.services.sessions import Sessions
from treadle.services.setup import SetupCommands
from treadle.services.sharing import Sharing
from treadle.services.tokens import Tokens
from treadle.services.usage import UsageReports

#: Raises ConfigurationError while a part is not ready.
Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, and the checks of `/readyz` by the name of the part."""

    runs: Runs
    agents: Agents
    files: Files
    identity: Identity
    tokens: Tokens
    organizations: Organizations
    repositories: Repositories
    branches: Branches
    setup: SetupCommands
    pull_requests: PullRequests
    check_suites: CheckSuites
    local_sessions: LocalSessions
    connections: Connections
    sessions: Sessions
    sharing: Sharing
    usage: UsageReports
    house: House
    finder: RunFinder
    rates: RateStore
    clock: Clock
    checks: Mapping[str, Check] = field(default_factory=dict)
