"""A claimed run's secrets, opened at the moment of use, and kept out of everything that is written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from treadle.domain.credentials import ClaudeSource, EngineCredential, GitCredentials
from treadle.domain.errors import AlreadyFinished, Conflict, EngineNotInstalled, EngineRefused, NotFound
from treadle.domain.events import Draft, EventType
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run
from treadle.ports import Clock, Engine, Vault
from treadle.ports.trust import SealedVariable
from treadle.redaction import Redactor, secrets_of
from treadle.services import environment
from treadle.services.credentials import CLAUDE, GIT_HTTP, GIT_SSH, SECRETS_TABLE, decode, encode, row

#: How often a renewed license is put in the place of one that others change at the same moment.
MAX_TRIES = 5


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What does a run's next engine call. `endpoint` None: the vendor's; `model` None: the CLI's default."""

    engine: Engine
    credential: EngineCredential
    endpoint: str | None = None
    model: str | None = None


class RunRedactor(Redactor):
    """The redactor of one run: it learns each secret when that is opened, and forgets none while the run goes."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        super().__init__(())
        self._known: frozenset[str] = frozenset()

    def learn(self, secrets: Iterable[str]) -> None:
        """Takes these out too from now on."""
        known = self._known.union(secrets)
        if known != self._known:
            self._known = known
            super().__init__(sorted(known))


@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """The system's own keys, and the addresses of the model APIs (None: the vendor's)."""

    api_keys: Mapping[EngineName, str | None] = field(repr=False)
    endpoints: Mapping[EngineName, str | None]
    models: Mapping[EngineName, str | None]


class SecretStore(Protocol):
    """Of the RunStore port, what is needed here."""

    async def put_run_secrets(
        self,
        run_id: int,
        secrets: Mapping[str, str | None],
        event: Draft | None,
        now: datetime,
        *,
        instead_of: Mapping[str, str] | None = None,
    ) -> None: ...

    async def run_secrets(self, run_id: int) -> Mapping[str, str]: ...
    async def repository(self, organization_id: int, repository_id: int) -> Repository: ...
    async def repository_environment(self, repository_id: int) -> Sequence[SealedVariable]: ...


class RunSecrets:
    """Reads the store each time: an update made while the run goes counts from the next command or call on."""

    def __init__(
        self,
        run: Run,
        store: SecretStore,
        vault: Vault,
        clock: Clock,
        engines: Mapping[EngineName, Engine],
        defaults: EngineDefaults,
        redactor: RunRedactor,
    ) -> None:
        self._run = run
        self._store = store
        self._vault = vault
        self._clock = clock
        self._engines = engines
        self._defaults = defaults
        self._redactor = redactor

    async def git(self) -> GitCredentials:
        """The run's Git credentials as they are now."""
        opened = await self._open()
        credentials = GitCredentials(http=opened.get(GIT_HTTP), ssh_key=opened.get(GIT_SSH))
        self._redactor.learn(secrets_of(git=credentials))
        return credentials

    async def engine(self) -> EngineChoice:
        """The engine, with its credential as it is now. Raises EngineRefused without one, EngineNotInstalled."""
        name = self._run.engine
        credential = await self._credential(name)
        if name is EngineName.DUMMY or credential.is_dummy:
            return EngineChoice(self._engines[EngineName.DUMMY], EngineCredential())
        if credential.api_key is None and credential.license is None:
            raise EngineRefused(
                f"There is no API key for {name}.",
                hint=f"Set TREADLE_{name.upper()}_API_KEY on the server. Processes may bring their own.",
            )
        if name not in self._engines:
            raise EngineNotInstalled(
                f"The {name} CLI is not installed on this worker.",
                hint=f"Install it, or set TREADLE_{name.upper()}_CLI; `treadle doctor` says what it found.",
            )
        return EngineChoice(
            self._engines[name],
            credential,
            self._defaults.endpoints.get(name),
            self._run.model or self._defaults.models.get(name),
        )

    async def credential(self) -> EngineCredential:
        """What the run's engine authenticates with, as it is now."""
        return await self._credential(self._run.engine)

    async def renewed(self, used: EngineCredential, new: EngineCredential) -> None:
        """Keeps tokens that were refreshed in place of those that were used, unless a client sent others
        meanwhile."""
        self._redactor.learn(secrets_of(engine=new))
        event = Draft(EventType.RUN_CREDENTIALS_UPDATED, {"kind": "claude"})
        for _ in range(MAX_TRIES):
            found = (await self._store.run_secrets(self._run.id)).get(CLAUDE)
            if found is None or decode(self._opened(CLAUDE, found)).secrets() != used.secrets():
                return
            sealed = self._vault.seal(
                encode(new),
                organization=self._run.organization_uuid,
                table=SECRETS_TABLE,
                row=row(self._run.uuid, CLAUDE),
            )
            try:
                await self._store.put_run_secrets(
                    self._run.id, {CLAUDE: sealed}, event, self._clock.now(), instead_of={CLAUDE: found}
                )
            except AlreadyFinished:
                return
            except Conflict:  # another one was sent, or the same was sealed with another key
                continue
            return
        raise Conflict("The run's credential is changed all the time.", hint="Its renewed license was not kept.")

    async def _credential(self, name: EngineName) -> EngineCredential:
        opened = await self._open()
        sent = decode(opened[CLAUDE]) if CLAUDE in opened else EngineCredential()
        if sent.source is ClaudeSource.DEFAULT:
            sent = EngineCredential(api_key=self._defaults.api_keys.get(name))
        self._redactor.learn(secrets_of(engine=sent))
        return sent

    async def environment(self) -> Mapping[str, str]:
        """The variables that the run's repository gives to setup commands and steps, as they are now. Ours go over
        them."""
        run = self._run
        found = await self._variables()
        if run.repository_id is None or not found:
            return {}
        try:
            repository = await self._store.repository(run.organization_id, run.repository_id)
        except NotFound:  # removed meanwhile
            return {}
        values = environment.opened(found, self._vault, run.organization_uuid, repository.uuid)
        self._redactor.learn(values.values())
        return values

    async def environment_version(self) -> str | None:
        """Another one when a variable was set or removed; None without any. What was made with other values is not to
        be used again."""
        return environment.version_of(await self._variables())

    async def _variables(self) -> Sequence[SealedVariable]:
        if self._run.repository_id is None:
            return ()
        return await self._store.repository_environment(self._run.repository_id)

    async def _open(self) -> Mapping[str, str]:
        return {
            name: self._opened(name, sealed) for name, sealed in (await self._store.run_secrets(self._run.id)).items()
        }

    def _opened(self, name: str, sealed: str) -> str:
        return self._vault.open(
            sealed, organization=self._run.organization_uuid, table=SECRETS_TABLE, row=row(self._run.uuid, name)
        )
