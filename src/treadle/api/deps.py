"""What the API is given by whoever builds it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from treadle.ports import Clock
from treadle.ports.directory import RateStore
from treadle.ports.page import RunFinder
from treadle.services.agents import Agents
from treadle.services.audit import Audit
from treadle.services.batches import Batches
from treadle.services.branches import Branches
from treadle.services.budgets import Budgets
from treadle.services.check_suites import CheckSuites
from treadle.services.chores import Chores
from treadle.services.connections import Connections
from treadle.services.environment import RepositoryEnvironment
from treadle.services.files import Files
from treadle.services.house import House
from treadle.services.identity import Identity
from treadle.services.local_sessions import LocalSessions
from treadle.services.organizations import Organizations
from treadle.services.plan_runs import PlanRuns
from treadle.services.pull_requests import PullRequests
from treadle.services.repositories import Repositories
from treadle.services.repository_plans import RepositoryPlans
from treadle.services.repository_policies import RepositoryPolicies
from treadle.services.runs import Runs
from treadle.services.schedules import Schedules
from treadle.services.scripts import Scripts
from treadle.services.sessions import Sessions
from treadle.services.setup import SetupCommands
from treadle.services.sharing import Sharing
from treadle.services.tokens import Tokens
from treadle.services.trigger_intake import Intake
from treadle.services.triggers import Triggers
from treadle.services.usage import UsageReports
from treadle.services.webhooks import Webhooks

#: Raises ConfigurationError while a part is not ready.
Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, and the checks of `/readyz` by the name of the part."""

    runs: Runs
    agents: Agents
    files: Files
    identity: Identity
    audit: Audit
    tokens: Tokens
    organizations: Organizations
    repositories: Repositories
    plan_runs: PlanRuns
    batches: Batches
    repository_plans: RepositoryPlans
    environment: RepositoryEnvironment
    branches: Branches
    setup: SetupCommands
    pull_requests: PullRequests
    check_suites: CheckSuites
    local_sessions: LocalSessions
    connections: Connections
    sessions: Sessions
    sharing: Sharing
    usage: UsageReports
    budgets: Budgets
    policies: RepositoryPolicies
    house: House
    chores: Chores
    webhooks: Webhooks
    intake: Intake
    triggers: Triggers
    schedules: Schedules
    scripts: Scripts
    finder: RunFinder
    rates: RateStore
    clock: Clock
    checks: Mapping[str, Check] = field(default_factory=dict)
