"""The composition root: the one place where adapters are chosen and everything is built, from the settings."""

import asyncio
import os
import random
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from fastapi import FastAPI

from treadle import egress, engines, gateway, sandbox
from treadle.api.app import create_app
from treadle.api.deps import Services
from treadle.assembly import Foundation, build_services
from treadle.blobs.places import open_blobs
from treadle.clock import SystemClock
from treadle.domain.errors import ConfigurationError, SealKeyMissing, Unavailable
from treadle.domain.network import NetworkPolicy
from treadle.domain.run import EngineName
from treadle.ids import RandomUuids
from treadle.ports import Blobs, Clock, Queue, Sandbox, Signals, Store, Vault
from treadle.queues.database import DatabaseQueue, ProcessSignals
from treadle.runner.chores import ChoreRunner
from treadle.runner.execute import Ports
from treadle.runner.limits import Limits
from treadle.runner.recovery import Sweeper
from treadle.runner.setup import SetupRules
from treadle.runner.validation import CommandRules
from treadle.runner.worker import Worker
from treadle.services.audit import Audit
from treadle.services.identity import FirstAdmin, Identity
from treadle.services.issuers import fetch_jwks
from treadle.services.renewals import Renewals
from treadle.services.secrets import EngineDefaults
from treadle.settings import Settings
from treadle.store.address import PostgresAddress, parse, sqlite_url
from treadle.store.sql import SqlStore
from treadle.vault import AesGcmVault, key_source
from treadle.web.mount import add_pages
from treadle.workspace import GitWorkspaces

DATABASE_FILE = "treadle.db"

T = TypeVar("T")

#: Awaited when a database or broker does not answer at the start; then it is tried again. It may raise instead.
Wait = Callable[[Unavailable], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Messages:
    """How processes tell each other."""

    queue: Queue
    signals: Signals
    controls: Signals


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything of one process. `first_admin` is set when this start made it."""

    settings: Settings
    store: Store
    blobs: Blobs
    vault: Vault
    queue: Queue
    signals: Signals  # wakes those who follow a run's events
    controls: Signals  # wakes the worker that holds a run
    clock: Clock
    new_uuid: Callable[[], UUID]
    services: Services
    first_admin: FirstAdmin | None


@asynccontextmanager
async def assemble(settings: Settings, *, wait: Wait | None = None, tells_others: bool = True) -> AsyncIterator[Parts]:
    """Opens the store (made and brought up to date if need be) and builds the services; closes all on leaving.
    `tells_others` False: for commands that start and change no run, and so need no broker. Raises ConfigurationError;
    without `wait` also Unavailable."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A key store may take a while to answer.
    vault = await asyncio.to_thread(AesGcmVault.following, key_source(settings))
    async with AsyncExitStack() as stack:
        store = await _store(settings, wait)
        stack.push_async_callback(store.close)
        messages = await _messages(settings, wait, stack) if tells_others else _within_process(stack)
        queue, signals, controls = messages.queue, messages.signals, messages.controls
        blobs, clock = open_blobs(settings.blob_url, settings), SystemClock()
        if tells_others:  # a service: what it would only find out in the middle of a run, it finds out now
            await _once_available(blobs.check, wait)
            _check_key(vault, await _once_available(store.newest_sealed, wait))
        new_uuid = RandomUuids()
        identity = Identity(store, clock, audit=Audit(store, clock), new_uuid=new_uuid)
        key = settings.bootstrap_api_key
        first_key = key.get_secret_value() if key is not None else None
        first_admin = await _once_available(lambda: identity.bootstrap(first_key), wait)
        foundation = Foundation(store, blobs, vault, queue, signals, controls, clock, new_uuid)
        checks = {"store": store.check, "broker": queue.check, "blobs": blobs.check}
        services = build_services(foundation, settings, identity, fetch=fetch_jwks, checks=checks)
        stack.push_async_callback(services.webhooks.close)
        yield Parts(settings, store, blobs, vault, queue, signals, controls, clock, new_uuid, services, first_admin)


@asynccontextmanager
async def storage(settings: Settings) -> AsyncIterator[tuple[Store, Blobs]]:
    """Only what is kept: for commands that look after it, and need no broker, no key and no administrator. Raises
    ConfigurationError, Unavailable."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = await _store(settings, None)
    try:
        yield store, open_blobs(settings.blob_url, settings)
    finally:
        await store.close()


def _check_key(vault: AesGcmVault, sealed: str | None) -> None:
    if sealed is None:
        return
    try:
        vault.check(sealed)
    except SealKeyMissing as error:
        raise ConfigurationError(error.message, hint=error.hint) from None


async def _store(settings: Settings, wait: Wait | None) -> SqlStore:
    return await _once_available(
        lambda: SqlStore.open(database_url(settings), connections=settings.database_connections), wait
    )


async def _messages(settings: Settings, wait: Wait | None, stack: AsyncExitStack) -> Messages:
    """RabbitMQ where there is one; else PostgreSQL's notifications; with SQLite there is one process to wake."""
    url = database_url(settings)
    if settings.broker_url is not None:
        # Only here, as below: the packages are extras.
        from treadle.queues.rabbitmq import open_rabbit  # noqa: PLC0415

        broker = settings.broker_url.get_secret_value()
        rabbit = await _once_available(
            lambda: stack.enter_async_context(open_rabbit(broker, jitter=random.SystemRandom().random)), wait
        )
        return Messages(rabbit.queue, rabbit.signals, rabbit.controls)
    if isinstance(parse(url), PostgresAddress):
        from treadle.queues.postgres import open_notifications  # noqa: PLC0415

        notifications = await _once_available(
            lambda: stack.enter_async_context(open_notifications(url, jitter=random.SystemRandom().random)), wait
        )
        return Messages(notifications.queue, notifications.signals, notifications.controls)
    return _within_process(stack)


def _within_process(stack: AsyncExitStack) -> Messages:
    queue = DatabaseQueue()
    stack.push_async_callback(queue.close)
    return Messages(queue, ProcessSignals(), ProcessSignals())


async def _once_available(open_it: Callable[[], Awaitable[T]], wait: Wait | None) -> T:
    while True:
        try:
            return await open_it()
        except Unavailable as error:
            if wait is None:
                raise
            await wait(error)


def database_url(settings: Settings) -> str:
    """The database's address: the setting's, or SQLite in the data directory."""
    return settings.database_url or sqlite_url(settings.data_dir / DATABASE_FILE)


def app(parts: Parts) -> FastAPI:
    """The HTTP API, and the pages."""
    made = create_app(parts.services, parts.settings)
    add_pages(made, parts.services, parts.settings)
    return made


async def worker(parts: Parts, *, box: Sandbox | None = None) -> Worker:
    """A worker for this machine, in `box` or the best sandbox that works. Raises ConfigurationError."""
    settings = parts.settings
    ports = Ports(
        store=parts.store,
        queue=parts.queue,
        signals=parts.signals,
        controls=parts.controls,
        blobs=parts.blobs,
        vault=parts.vault,
        workspaces=GitWorkspaces(
            settings.data_dir,
            environment={"PATH": settings.engine_path, **settings.git_environment},
            allow_local=settings.allow_local_repositories,
            allow_private_hosts=settings.allow_private_hosts,
            command_seconds=settings.git_seconds,
            submodules=settings.submodules,
            retry_seconds=settings.git_retry_seconds,
        ),
        sandbox=box or await sandbox.choose(settings),
        engines=engines.build(settings),
        defaults=_defaults(settings),
        clock=parts.clock,
        new_uuid=parts.new_uuid,
        author=(settings.git_author_name, settings.git_author_email),
        pull_requests=parts.services.pull_requests,
        setup=SetupRules.of(settings),
        commands=CommandRules.of(settings),
        gateway=gateway.build(settings, parts.clock, Renewals(parts.store, parts.clock, new_uuid=parts.new_uuid)),
        egress=egress.build(settings),
        network=NetworkPolicy.parse(settings.network),
    )
    name = f"{socket.gethostname()}:{os.getpid()}"
    return Worker(
        name,
        ports,
        Limits.of(settings),
        free_bytes=lambda: shutil.disk_usage(settings.data_dir).free,
    )


def chore_runner(parts: Parts) -> ChoreRunner:
    """Does background work; any number may run."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    return ChoreRunner(name, parts.store, parts.services.chores, parts.clock, Limits.of(parts.settings))


def sweeper(parts: Parts) -> Sweeper:
    """Finds what other processes left behind; any number may run."""
    return Sweeper(parts.store, parts.queue, parts.signals, parts.clock, Limits.of(parts.settings))


def _defaults(settings: Settings) -> EngineDefaults:
    claude, kimi = settings.claude_api_key, settings.kimi_api_key
    return EngineDefaults(
        api_keys={
            EngineName.CLAUDE: claude.get_secret_value() if claude is not None else None,
            EngineName.KIMI: kimi.get_secret_value() if kimi is not None else None,
        },
        endpoints={EngineName.CLAUDE: settings.claude_base_url, EngineName.KIMI: settings.kimi_base_url},
        models={EngineName.CLAUDE: settings.claude_model, EngineName.KIMI: settings.kimi_model},
    )
