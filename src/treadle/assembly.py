"""The use cases of one process, built on its ports. `factory` chooses the adapters; tests bring their own."""

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from treadle import forges
from treadle.api.codegen import wire as agent_wire
from treadle.api.deps import Check, Services
from treadle.api.maitento.process_json import process_bytes, processes_bytes
from treadle.api.maitento.script_starts import read_start
from treadle.api.native.schedule_batches import batch_request
from treadle.domain.network import NetworkPolicy
from treadle.forges.conversations import build_conversations
from treadle.forges.hooks import HOOKS
from treadle.messengers import build as messengers_of
from treadle.ports import Blobs, Clock, Queue, Signals, Store, Vault
from treadle.ports.chores import ChoreKind
from treadle.scripting.host import StarlarkHost
from treadle.services.agents import Agents
from treadle.services.audit import Audit
from treadle.services.batch_chores import BatchChores
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
from treadle.services.issuers import Fetch, IssuerKeys, read_issuers
from treadle.services.local_sessions import LocalSessions
from treadle.services.messages import Deliveries
from treadle.services.organizations import Organizations
from treadle.services.plan_runs import PlanRuns
from treadle.services.pull_requests import PullRequests
from treadle.services.repositories import Repositories
from treadle.services.repository_plans import RepositoryPlans
from treadle.services.repository_policies import RepositoryPolicies
from treadle.services.runs import Runs
from treadle.services.schedule_batches import BatchStarter
from treadle.services.schedule_clock import ScheduleClock
from treadle.services.schedule_targets import PlanStarter, ScriptStarter, Starter
from treadle.services.schedules import Schedules
from treadle.services.script_calls import CallServices, Dialect
from treadle.services.script_chores import ScriptChores
from treadle.services.script_starts import ScriptStarts
from treadle.services.scripts import Scripts
from treadle.services.sessions import Sessions
from treadle.services.setup import SetupCommands
from treadle.services.sharing import Sharing
from treadle.services.signing_keys import SigningKeys
from treadle.services.tokens import Tokens
from treadle.services.trigger_answers import Answers
from treadle.services.trigger_intake import Intake
from treadle.services.trigger_wake import Places, Waking
from treadle.services.trigger_work import DeliveryWork
from treadle.services.triggers import Triggers
from treadle.services.usage import UsageReports
from treadle.services.webhooks import Webhooks
from treadle.settings import Settings
from treadle.workspace.branch_list import GitBranches
from treadle.workspace.remote_files import GitFiles


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
    chores = Chores(store)
    audit = Audit(store, clock)
    organizations = Organizations(store, clock, audit=audit)
    repositories = Repositories(store, on.vault, clock, audit=audit, new_uuid=new_uuid)
    files = Files(store, on.blobs, clock, audit=audit, new_uuid=new_uuid, max_bytes=settings.max_file_bytes)
    budgets = Budgets(store, organizations, clock)
    network = NetworkPolicy.parse(settings.network)
    runs = Runs(
        store,
        on.vault,
        on.queue,
        on.signals,
        on.blobs,
        repositories,
        budgets,
        clock,
        audit=audit,
        network=network,
        controls=on.controls,
        new_uuid=new_uuid,
        poll_seconds=settings.poll_seconds,
    )
    pull_requests = PullRequests(
        store, repositories, forges.build(settings, clock), clock, audit=audit, public_url=settings.public_url
    )
    plan_runs = PlanRuns(
        runs,
        organizations,
        repositories,
        allow_local=settings.allow_local_repositories,
        allow_private_hosts=settings.allow_private_hosts,
    )
    chores.handle(ChoreKind.BATCH, BatchChores(store, runs, plan_runs, chores, clock))
    repository_plans = RepositoryPlans(repositories, GitFiles(settings), allow_local=settings.allow_local_repositories)
    host = StarlarkHost()
    scripts = Scripts(store, host, chores, clock, audit=audit, new_uuid=new_uuid)
    dialect = Dialect(
        process_bytes,
        processes_bytes,
        agent_wire.repository,
        partial(read_start, allow_local=settings.allow_local_repositories),
    )
    script_starts = ScriptStarts(
        runs, plan_runs, repositories, dialect.read_start, allow_local=settings.allow_local_repositories
    )
    on_services = CallServices(runs, script_starts, files, repositories, chores, dialect)
    chores.handle(ChoreKind.SCRIPT, ScriptChores(store, host, on_services, clock))
    batches = Batches(
        store,
        repositories,
        chores,
        clock,
        audit=audit,
        new_uuid=new_uuid,
        allow_local=settings.allow_local_repositories,
        allow_private_hosts=settings.allow_private_hosts,
    )
    starters: dict[str, Starter] = {
        "plan": PlanStarter(plan_runs, repository_plans, runs),
        "batch": BatchStarter(batches, batch_request),
        "script": ScriptStarter(scripts, store),
    }
    schedule_clock = ScheduleClock(store, store, chores, clock, starters)
    chores.handle(ChoreKind.SCHEDULE, schedule_clock.advance)
    messengers = messengers_of(settings)
    deliveries = Deliveries(
        store,
        on.vault,
        clock,
        messengers,
        audit=audit,
        public_url=settings.public_url,
        chance=random.SystemRandom().random,
    )
    chores.handle(ChoreKind.MESSAGES, deliveries.work_off)
    webhooks = Webhooks(
        store,
        on.vault,
        clock,
        deliveries,
        audit=audit,
        new_uuid=new_uuid,
        kinds=tuple(messengers),
        allow_private_hosts=settings.allow_private_hosts,
        told=chores.bell.ring,
    )
    places = Places(store, repositories, build_conversations(settings, clock), clock)
    work = DeliveryWork(Waking(store, runs, plan_runs, chores, clock), places, HOOKS)
    answers = Answers(store, places, pull_requests, chores, clock, public_url=settings.public_url)
    chores.handle(ChoreKind.DELIVERY, work.handle)
    chores.handle(ChoreKind.ANSWER, answers.handle)
    tokens = Tokens(
        store,
        SigningKeys(store, on.vault, clock, new_uuid=new_uuid),
        clock,
        audit=audit,
        issuer=settings.public_url or "treadle",
        others=[IssuerKeys(issuer, fetch, clock) for issuer in read_issuers(settings.jwt_issuers)],
        new_uuid=new_uuid,
    )
    sessions = Sessions(store, identity, clock, audit=audit)
    identity.tell(tokens.forget)
    identity.tell(sessions.forget)
    return Services(
        runs=runs,
        agents=Agents(runs, files, organizations, repositories, store, clock, audit=audit),
        files=files,
        identity=identity,
        audit=audit,
        tokens=tokens,
        organizations=organizations,
        repositories=repositories,
        plan_runs=plan_runs,
        repository_plans=repository_plans,
        batches=batches,
        schedules=Schedules(store, schedule_clock, chores, clock, audit=audit, new_uuid=new_uuid),
        scripts=scripts,
        webhooks=webhooks,
        intake=Intake(store, on.vault, HOOKS, clock, chores.bell, new_uuid=new_uuid),
        triggers=Triggers(
            store,
            on.vault,
            plan_runs,
            clock,
            chores.bell,
            audit=audit,
            new_uuid=new_uuid,
            chance=os.urandom,
            public_url=settings.public_url,
        ),
        environment=RepositoryEnvironment(store, on.vault, clock, audit=audit),
        branches=Branches(repositories, GitBranches(settings), clock),
        setup=SetupCommands(store, runs, organizations, repositories, on.blobs),
        pull_requests=pull_requests,
        check_suites=CheckSuites(store, repositories, pull_requests, clock, audit=audit),
        local_sessions=LocalSessions(store, clock),
        connections=Connections(store, on.vault, clock, audit=audit, new_uuid=new_uuid),
        sessions=sessions,
        sharing=Sharing(store, clock, audit=audit),
        usage=UsageReports(store, clock),
        budgets=budgets,
        policies=RepositoryPolicies(repositories, organizations, network),
        house=House(store, clock),
        chores=chores,
        finder=store,
        rates=store,
        clock=clock,
        checks=checks,
    )
