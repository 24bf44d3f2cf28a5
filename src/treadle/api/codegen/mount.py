"""The agent-run API, put together."""

from collections.abc import Mapping, Sequence

from treadle.api.auth import Authenticator
from treadle.api.codegen.agents import AgentHandlers
from treadle.api.codegen.answers import Links
from treadle.api.codegen.connections import ConnectionHandlers
from treadle.api.codegen.guard import Group, Guard
from treadle.api.codegen.people import PeopleHandlers
from treadle.api.codegen.pulls import PullRequestHandlers
from treadle.api.codegen.repositories import RepositoryHandlers, SetupHandlers
from treadle.api.codegen.routes import Handlers, routes
from treadle.api.codegen.sessions import SessionHandlers
from treadle.api.deps import Services
from treadle.api.plain_route import PlainRoute
from treadle.api.rate_limits import Rate, RateLimit
from treadle.settings import Settings


def agent_run_routes(services: Services, settings: Settings, authenticator: Authenticator) -> Sequence[PlainRoute]:
    """Its endpoints, in the order in which they are matched."""
    guard = Guard(authenticator, services.organizations, _limits(services, settings))
    links, most = Links(settings.public_url), settings.max_request_bytes
    handlers = Handlers(
        agents=AgentHandlers(
            services.agents, services.local_sessions, services.pull_requests, links, max_request_bytes=most
        ),
        people=PeopleHandlers(services.organizations),
        repositories=RepositoryHandlers(services.repositories, services.check_suites, max_request_bytes=most),
        setup=SetupHandlers(services.setup, links, max_request_bytes=most),
        pulls=PullRequestHandlers(services.pull_requests, max_request_bytes=most),
        connections=ConnectionHandlers(services.connections, services.organizations, guard, max_request_bytes=most),
        sessions=SessionHandlers(services.local_sessions, max_request_bytes=most),
    )
    return routes(guard, handlers)


def _limits(services: Services, settings: Settings) -> Mapping[Group, RateLimit]:
    said = {
        Group.STANDARD: settings.rate_limit_standard,
        Group.CREATE: settings.rate_limit_create,
        Group.SETUP: settings.rate_limit_setup,
        Group.ANALYSIS: settings.rate_limit_analysis,
        Group.LOGS: settings.rate_limit_logs,
        Group.PULLS: settings.rate_limit_pulls,
        Group.RULES: settings.rate_limit_rules,
    }
    rates = {group: Rate.parse(setting) for group, setting in said.items()}
    return {
        group: RateLimit(rate, services.rates, services.clock, name=group)
        for group, rate in rates.items()
        if rate is not None
    }
