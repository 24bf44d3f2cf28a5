"""The use cases of one process, built on its ports. `factory` chooses the adapters; tests bring their own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from treadle import forges
from treadle.api.deps import Check, Services
from treadle.ports import Blobs, Clock, Queue, Signals, Store, Vault
from treadle.services.agents import Agents
from treadle.services.branches import Branches
from treadle.services.check_suites import CheckSuites
from treadle.services.connections import Connections
from treadle.services.files import Files
from treadle.services.house import House
from treadle.services.identity import Identity
from treadle.services.issuers import Fetch, IssuerKeys, read_issuers
from treadle.services.local_sessions import LocalSessions
from treadle.services.organizations import Organizations
from treadle.services.pull_requests import PullRequests
from treadle.services.repositories import Repositories
from treadle.services.runs import Runs
from treadle.services.sessions import Sessions
from treadle.services.setup import SetupCommands
from treadle.services.sharing import Sharing
from treadle.services.signing_keys import SigningKeys
from treadle.services.tokens import Tokens
from treadle.services.usage import UsageReports
from treadle.settings import Settings
from treadle.workspace.branch_list import GitBranches


@dataclass(frozen=True, slots=True)
class Foundation:
    """What use cases stand on."""

    store: Store
    blobs: Blobs
    vault: Vault
    queue: Queue
    signals: Signals  # wakes those who follow a run's events
    controls: Signals  # wakes the worker that holds a run
    clock: Clock
    new_uuid: Callable[[], UUID]


def build_services(
    on: Foundation, settings: Settings, identity: Identity, *, fetch: Fetch, checks: Mapping[str, Check]
) -> Services:
    """`fetch` gets the keys of other token issuers; `checks` are `/readyz`'s, by the name of the part."""
    store, clock, new_uuid = on.store, on.clock, on.new_uuid
    organizations = Organizations(store, clock)
    repositories = Repositories(store, on.vault, clock, new_uuid=new_uuid)
    files = Files(store, on.blobs, clock, new_uuid=new_uuid, max_bytes=settings.max_file_bytes)
    runs = Runs(
        store,
        on.vault,
        on.queue,
        on.signals,
        on.blobs,
        repositories,
        clock,
        controls=on.controls,
        new_uuid=new_uuid,
        poll_seconds=settings.poll_seconds,
    )
    pull_requests = PullRequests(
        store, repositories, forges.build(settings, clock), clock, public_url=settings.public_url
    )
    return Services(
        runs=runs,
        agents=Agents(runs, files, organizations, repositories, store, clock),
        files=files,
        identity=identity,
        tokens=Tokens(
            store,
            SigningKeys(store, on.vault, clock, new_uuid=new_uuid),
            clock,
            issuer=settings.public_url or "treadle",
            others=[IssuerKeys(issuer, fetch, clock) for issuer in read_issuers(settings.jwt_issuers)],
            new_uuid=new_uuid,
        ),
        organizations=organizations,
        repositories=repositories,
        branches=Branches(repositories, GitBranches(settings), clock),
        setup=SetupCommands(store, runs, organizations, repositories, on.blobs),
        pull_requests=pull_requests,
        check_suites=CheckSuites(store, repositories, pull_requests, clock),
        local_sessions=LocalSessions(store, clock),
        connections=Connections(store, on.vault, clock, new_uuid=new_uuid),
        sessions=Sessions(store, identity, clock),
        sharing=Sharing(store, clock),
        usage=UsageReports(store, clock),
        house=House(store, clock),
        finder=store,
        rates=store,
        clock=clock,
        checks=checks,
    )
