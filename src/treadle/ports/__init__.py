"""Every port: what the services and the runner ask of the outside world. Each docstring is the contract that its
conformance suite (`tests/conformance`) holds every adapter to.

All dates are timezone-aware UTC and passed in by the caller. Every `async` method may be cancelled.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from treadle.domain.credentials import EngineCredential, GitCredentials
from treadle.domain.diff_contents import Wanted
from treadle.domain.errors import EngineError
from treadle.domain.events import Draft, Event
from treadle.domain.identity import ApiKey, Organization, Principal, Role, User
from treadle.domain.run import (
    Artifact,
    Checkpoint,
    EngineName,
    FollowUp,
    Run,
    RunDraft,
    RunSource,
    StoredFile,
    StructuredOutput,
    Usage,
)
from treadle.domain.secret_scan import Finding
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.domain.validation import CommandResult
from treadle.ports.batches import BatchStore
from treadle.ports.chores import ChoreStore
from treadle.ports.directory import Directory
from treadle.ports.fence import Fence as Fence  # part of this module's face
from treadle.ports.keys import Idempotency as Idempotency
from treadle.ports.keys import KeyStore
from treadle.ports.page import PageStore
from treadle.ports.renewals import RenewalStore
from treadle.ports.sandbox import Box as Box
from treadle.ports.sandbox import Enclosed as Enclosed
from treadle.ports.sandbox import Layout as Layout
from treadle.ports.sandbox import Sandbox as Sandbox
from treadle.ports.schedules import ScheduleStore
from treadle.ports.script_runs import ScriptStore
from treadle.ports.trace import TraceStore
from treadle.ports.triggers import TriggerStore
from treadle.ports.trust import AuditEntry, TrustStore
from treadle.ports.webhooks import WebhookStore

# ---- the store -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepUpdate:
    """What changes on a step; None leaves a field as it is, `usage` is added."""

    position: int
    status: StepStatus | None = None
    phase: Phase | None = None
    output: str | None = None
    structured_output: StructuredOutput | None = None
    failure_details: str | None = None
    commit_sha: str | None = None
    usage: Usage | None = None
    validation: tuple[CommandResult, ...] | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list. `user_id` None: the whole organization's."""

    organization_id: int
    user_id: int | None = None
    statuses: frozenset[RunStatus] | None = None
    source: RunSource | None = None


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a worker learns with each ping."""

    is_kill_requested: bool
    secrets_version: int  # grows with each update of the run's credentials


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep changed: run ids, each with the status that it has now."""

    requeued: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    killed: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()  # New and unclaimed: to be announced again


@dataclass(frozen=True, slots=True)
class Statistics:
    """How full the house is. `waiting_seconds`: the age of the oldest run that could begin and has no worker yet."""

    new: int
    running: int
    blocked: int  # of the New ones: those that wait for their work branch
    waiting_seconds: float
    by_worker: Mapping[str, int]  # Running ones
    kill_requested: int


class RunStore(KeyStore, Protocol):
    """Runs, steps and events. Every transition is one compare-and-set in the same transaction as its event."""

    async def create_run(
        self,
        draft: RunDraft,
        principal: Principal,
        *,
        uuid: UUID,
        step_ids: Sequence[UUID],
        secrets: Mapping[str, str],
        now: datetime,
        idempotency: Idempotency | None = None,
        traceparent: str | None = None,
        audit: AuditEntry | None = None,
        monthly_runs: int | None = None,
        monthly_cost_usd: float | None = None,
    ) -> tuple[Run, bool]:
        """The run (with its steps, sealed secrets and first event), and whether it is new: False repeats an earlier
        answer. `traceparent`: the W3C trace context that it was asked for in. `audit`: written when it is new, with the
        run's id for its target. Repeating the call with the same `uuid` makes no second run. `monthly_runs`: raises
        AllowanceUsedUp when the organization has made as many under this limit in the month (UTC); None: not counted.
        `monthly_cost_usd`: raises MonthUsedUp when its runs have cost that in it."""

    async def resume_run(
        self,
        run_id: int,
        follow_up: FollowUp,
        *,
        step_id: UUID,
        secrets: Mapping[str, str],
        now: datetime,
        most_steps: int,
        max_cost_usd: float | None = None,
        asked_by: Principal | None = None,
        idempotency: Idempotency | None = None,
    ) -> Run:
        """Adds a step, and gives the run another budget unless that is None. A run that has ended becomes New and
        begins with it, under `secrets` in the place of those that its end erased; one that is New or Running does it
        when the steps before it have ended, and keeps its secrets. Repeating the call with the same `step_id`, or with
        the same `idempotency` of the same `asked_by`, changes nothing. NotFound, also for a file; Conflict for a run
        that has `most_steps` steps, and for one that is being killed; IdempotencyMismatch."""

    async def get_run(self, uuid: UUID, seen_by: RunFilter) -> Run:
        """Raises NotFound for one that is unknown or out of `seen_by`."""

    async def get_run_seen(self, run_id: int, seen_by: RunFilter) -> Run:
        """The same by its other id."""

    async def get_run_by_id(self, run_id: int) -> Run:
        """For the worker and the sweeper; raises NotFound."""

    async def list_runs(
        self, which: RunFilter, *, limit: int, before: int | None = None, skip: int = 0, with_outputs: bool = False
    ) -> Sequence[Run]:
        """Newest first, with steps but, unless asked for, without their outputs. `before` is the last id of the
        previous page (keyset)."""

    async def count_runs(self, which: RunFilter) -> int: ...

    async def claim(
        self, worker: str, now: datetime, *, run_id: int | None = None, organization_slots: int | None = None
    ) -> Run | None:
        """Takes a New run with the next lease number; None when there is none to win.

        Never one whose work branch a living run of the same organization has had for longer: of two runs on one work
        branch of one repository the second waits until the first has ended. Never one of an organization that has as
        many Running ones as it may: its own number (`set_slots`), else `organization_slots`; None: as many as it likes.
        Otherwise the oldest of the organization that has the fewest Running ones, of equals the one that was served
        longest ago; or `run_id`.
        """

    async def ping(self, fence: Fence, now: datetime) -> Pulse:
        """Renews the lease. Raises LeaseLost."""

    async def record(
        self,
        fence: Fence,
        events: Sequence[Draft],
        now: datetime,
        *,
        step: StepUpdate | None = None,
        has_diff: bool = False,
        write: int | None = None,
    ) -> int:
        """Appends events and applies a step's update in one transaction; the newest event's number. Raises
        LeaseLost.

        `write` counts a claim's calls from 1 up. A call that is repeated, because its answer was lost with the
        connection, changes nothing then. None: not counted, and not to be repeated.
        """

    async def finish(
        self,
        fence: Fence,
        status: RunStatus,
        failure_details: str | None,
        now: datetime,
        *,
        output: str | None = None,
        is_after_steps: bool = False,
    ) -> RunStatus:
        """Running -> a terminal status, which is returned. A running step becomes Failed with `failure_details` and
        keeps `output`; secrets are erased; the checkpoint stays, for a resume. Raises LeaseLost.

        But where a follow-up waits that was added meanwhile, a run that succeeded, or whose step failed, or that failed
        `is_after_steps` that it knew were done, goes back to New instead, with its secrets: for the next claim to do
        it.
        """

    async def release(self, fence: Fence, now: datetime) -> None:
        """Running -> New, for the next worker to take at once. Raises LeaseLost."""

    async def request_kill(self, run_id: int, now: datetime) -> RunStatus:
        """New -> Killed; a Running one is marked for its worker. Repeating is harmless. Raises AlreadyFinished."""

    async def sweep(self, now: datetime, *, lease_seconds: float, kill_seconds: float, max_lost_workers: int) -> Sweep:
        """Requeues runs whose lease ran out, fails those that lost `max_lost_workers` since a step was last done, kills
        those whose worker did not answer a kill request in `kill_seconds`. Safe in many processes at once."""

    async def save_checkpoint(self, fence: Fence, checkpoint: Checkpoint) -> None:
        """Replaces the run's checkpoint. Raises LeaseLost."""

    async def checkpoint(self, run_id: int) -> Checkpoint | None: ...

    async def add_artifact(self, fence: Fence, artifact: Artifact) -> None:
        """Adds or, under the same name, replaces. Raises LeaseLost."""

    async def artifacts(self, run_id: int) -> Sequence[Artifact]: ...

    async def events(self, run_id: int, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """In order of their numbers, those greater than `after`."""

    async def log(
        self, run_id: int, *, limit: int, skip: int = 0, reverse: bool = False
    ) -> tuple[Sequence[Event], int]:
        """A page of the events that tell a reader what was asked, said and done (`LOG_TYPES`, and a `run.finished` that
        tells of a failure which was no step's), oldest first unless `reverse`; and how many there are. While a run goes
        new ones come behind the others, so that `skip` counts the same ones. A `tool.finished` has the `tool` and the
        `input` of its `tool.started` in its data."""

    async def put_run_secrets(
        self,
        run_id: int,
        secrets: Mapping[str, str | None],
        event: Draft | None,
        now: datetime,
        *,
        instead_of: Mapping[str, str] | None = None,
    ) -> None:
        """Replaces sealed secrets by name (None removes one), counts `secrets_version` up, writes `event`.
        AlreadyFinished; Conflict where what is there is no more `instead_of`."""

    async def run_secrets(self, run_id: int) -> Mapping[str, str]:
        """Sealed, by name: `git_http`, `git_ssh`, `claude`."""

    async def queue_depth(self) -> int:
        """How many runs are New."""

    async def set_slots(self, organization_id: int, slots: int | None) -> None:
        """How many runs of the organization may be Running at once; None: what the service's setting says. Raises
        NotFound."""

    async def time(self) -> datetime | None:
        """The database's clock; None where it is this machine's."""

    async def statistics(self, now: datetime) -> "Statistics":
        """For the metrics; cheap however many runs have ended."""


class FileStore(Protocol):
    """What is known of uploaded files; their bytes are in the blobs."""

    async def add_file(self, file: StoredFile) -> None: ...
    async def get_file(self, file_id: UUID, organization_id: int, user_id: int | None) -> StoredFile:
        """Raises NotFound. `user_id` None: anybody's in the organization."""

    async def list_files(
        self, organization_id: int, user_id: int | None, *, limit: int, skip: int = 0
    ) -> Sequence[StoredFile]:
        """Newest first."""

    async def known_files(
        self, file_ids: Sequence[UUID], organization_id: int, user_id: int | None
    ) -> frozenset[UUID]: ...
    async def delete_file(self, file_id: UUID, organization_id: int, user_id: int | None) -> StoredFile:
        """Raises NotFound, and Conflict while a living run refers to it."""


class IdentityStore(Protocol):
    """Organizations, users, memberships, keys (as SHA-256 of the key), the keys that sign JWTs."""

    async def is_empty(self) -> bool:
        """Whether there is no organization yet."""

    async def add_first_admin(
        self,
        organization: tuple[str, UUID],
        admin: tuple[str, str, UUID],
        *,
        prefix: str,
        digest: str,
        now: datetime,
    ) -> tuple[Organization, User] | None:
        """In an empty store: an organization (name, UUID), its admin (e-mail address, name, UUID) and the admin's API
        key, called `bootstrap`, all in one transaction. None when there is an organization already: of many processes
        that try at once one succeeds."""

    async def add_organization(self, name: str, uuid: UUID, now: datetime) -> Organization: ...
    async def organizations(self) -> Sequence[Organization]: ...
    async def add_user(self, email: str, name: str, uuid: UUID, now: datetime) -> User:
        """The user with that e-mail address: an existing one is returned as it is."""

    async def users(self, organization_id: int) -> Sequence[tuple[User, Role]]: ...
    async def set_role(self, organization_id: int, user_id: int, role: Role | None) -> None:
        """None takes the membership away. NotFound for an unknown organization or user."""

    async def find_user(self, email: str) -> User:
        """Raises NotFound."""

    async def add_api_key(
        self,
        organization_id: int,
        user_id: int,
        *,
        name: str,
        prefix: str,
        digest: str,
        now: datetime,
        expires: datetime | None,
        reaches_all: bool = False,
    ) -> ApiKey: ...
    async def api_keys(self, organization_id: int) -> Sequence[ApiKey]: ...
    async def revoke_api_key(self, key_id: int, now: datetime) -> None: ...
    async def principal_by_key(self, digest: str, now: datetime) -> Principal | None:
        """None for an unknown, expired or revoked key."""

    async def principal_by_uuids(self, organization: UUID, user: UUID) -> Principal | None:
        """For a JWT's `tenId` and `oid`; None unless the user is a member."""

    async def signing_keys(self) -> Sequence[tuple[str, str]]:
        """(key id, sealed private key), newest first."""

    async def newest_sealed(self) -> str | None:
        """Any secret that was sealed lately, to see by its key whether this process has the right one."""

    async def add_signing_key(self, key_id: str, sealed: str, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Spent:
    """What may be pruned of one run that has ended."""

    run_id: int
    uuid: UUID
    date_completed: datetime
    size: int  # bytes: of its events without the last, or of its artifacts


class RetentionStore(Protocol):
    """What is kept of runs that have ended, and what may go. A run's last event, `run.finished`, always stays: whoever
    follows the run finds its end."""

    async def runs_with_events(self, *, before: datetime, after: int = 0, limit: int = 1000) -> Sequence[Spent]:
        """Ended before then, with more events than the last; by their ids, those greater than `after`."""

    async def runs_with_artifacts(self, *, before: datetime, after: int = 0, limit: int = 1000) -> Sequence[Spent]:
        """Ended before then, with artifacts or a conversation that a resume would go on with; in the same order."""

    async def prune_events(self, run_id: int) -> int:
        """Removes all but the last event; how many. Nothing for a run that lives (again)."""

    async def prune_artifacts(self, run_id: int) -> Sequence[Artifact]:
        """Removes them, the mark that there is a diff, and the checkpoint, whose blobs come with the artifacts; the
        bytes are the caller's to remove. Nothing for a run that lives (again)."""

    async def prune_automation(self, before: datetime, *, received_before: datetime) -> int:
        """Removes what automation left and that was over before then: batches, runs of scripts, firings, threads,
        counts of checks, deliveries that came before `received_before`, share links that open nothing; how many.
        Nothing that is under way, or whose run ended later or lives (again)."""

    async def blobs_of_ended(self, run_uuids: Sequence[UUID]) -> Mapping[UUID, frozenset[str]]:
        """Those of the runs that have ended, each with the keys of the blobs that its artifacts and checkpoint name."""

    async def sizes(self) -> tuple[int, int]:
        """Bytes in all of the events, and of the artifacts and conversations, of runs that have ended."""


class Store(
    RunStore,
    FileStore,
    IdentityStore,
    RetentionStore,
    Directory,
    PageStore,
    TraceStore,
    TrustStore,
    ChoreStore,
    BatchStore,
    ScheduleStore,
    ScriptStore,
    TriggerStore,
    WebhookStore,
    RenewalStore,
    Protocol,
):
    """All of it, in one database."""

    async def check(self) -> None:
        """Raises ConfigurationError unless the database answers and its schema is this version's."""

    async def close(self) -> None: ...


# ---- the queue, the signals, the blobs, the vault --------------------------------------------------------------------


class Announcement(Protocol):
    """A hint that a run may be claimed. `run_id` None: look for any."""

    @property
    def run_id(self) -> int | None: ...
    async def settle(self) -> None:
        """Acknowledges; called right after the claim, won or lost."""


class Queue(Protocol):
    """Hints to workers, of this process and others. The row is the truth: a duplicate, late or lost message changes
    nothing. An adapter whose broker is away connects again by itself."""

    async def announce(self, run_id: int) -> None:
        """Never raises for a broker that is away: the sweeper announces again."""

    async def take(self, seconds: float) -> Announcement | None:
        """The next hint; None after `seconds`, also while the broker is away. Takes one message at a time and only in
        here, so a busy worker swallows nothing."""

    async def check(self) -> None:
        """Raises Unavailable unless hints can be sent and taken now."""

    async def close(self) -> None: ...


class Subscription(Protocol):
    async def wait(self, seconds: float) -> bool:
        """Until the run is notified (also if that happened since the last wait): True; after `seconds`: False."""


class Signals(Protocol):
    """Wakes whoever follows a run, in this process and others: a stream waiting for events, a worker to be told of a
    kill. Hints, like the queue's: those who wait look again after a while by themselves."""

    def notify(self, run_id: int) -> None:
        """Wakes this process's own subscribers at once. Never blocks, never raises."""

    def subscribe(self, run_id: int) -> AbstractAsyncContextManager[Subscription]: ...


@dataclass(frozen=True, slots=True)
class BlobEntry:
    key: str
    size: int  # bytes
    date_modified: datetime


class Blobs(Protocol):
    """Bytes by key; a key is `[a-z0-9-./]+` without `..`. A put is whole or not at all. Raises Unavailable while the
    place does not answer, after tries of its own."""

    async def put(self, key: str, data: bytes | Path | AsyncIterator[bytes]) -> int:
        """Bytes written. Replaces what was there."""

    async def get(self, key: str) -> bytes:
        """Raises NotFound."""

    def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """Raises NotFound on the first step."""

    async def delete(self, key: str) -> None:
        """A missing key is no error."""

    async def delete_prefix(self, prefix: str) -> None: ...

    def entries(self, prefix: str = "") -> AsyncIterator[BlobEntry]:
        """Everything below `prefix` (whole segments), in no order. What comes or goes meanwhile may be in it or not."""

    async def check(self) -> None:
        """Raises ConfigurationError unless it can be written to."""


class Vault(Protocol):
    """Seals text for one row; opened for another row, or with another key, it raises SealBroken."""

    @property
    def key_id(self) -> str:
        """Of the key that seals now."""

    def seal(self, clear: str, *, organization: UUID, table: str, row: str) -> str: ...
    def open(self, sealed: str, *, organization: UUID, table: str, row: str) -> str: ...


# ---- engines -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One phase's call of an engine."""

    prompt: str
    layout: Layout  # as the engine sees it
    credential: EngineCredential
    session: str | None  # to resume; None begins one
    new_session: UUID  # the name to begin one under, where the CLI lets us choose
    phase: Phase
    step_text: str  # the instruction as the user wrote it (the Dummy engine reads its script from it)
    is_structured: bool  # the answer must be a StructuredOutput
    is_read_only: bool
    is_commitable: bool = True  # False: an analysis-only step
    endpoint: str | None = None  # the model API; None: the vendor's
    model: str | None = None
    attempt: int = 1  # within this phase
    repair: int = 0  # which time the engine is asked to mend what validation found; 0: the phase itself
    reads_rule_files: bool = True  # those that the repository carries, by itself


@dataclass(frozen=True, slots=True)
class Invocation:
    """What to run. `environment` is the whole of it; `files` are written under the host's config directory first,
    mode 0600."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    stdin: bytes = field(default=b"", repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    readable: tuple[Path, ...] = ()  # host paths of the program itself, for the box


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. `error` None is success; then `output` is the answer."""

    output: str | None
    structured_output: StructuredOutput | None
    session: str | None
    usage: Usage
    error: EngineError | None


class EngineReader(Protocol):
    """Reads one call's lines. Never raises, whatever the line."""

    def feed(self, line: bytes) -> Sequence[Draft]:
        """The events in this line of stdout (without its line end), step and phase left out."""

    @property
    def is_final(self) -> bool:
        """Whether the answer is complete, so that a process that lingers may be ended."""

    def finish(self, exit_code: int, stderr: str) -> Outcome:
        """`exit_code` is negative for a signal; when `is_final`, a process that had to be ended does not make a
        failure."""


class Engine(Protocol):
    """An AI coding CLI, as pure functions: nothing here opens, spawns, waits or looks at a clock."""

    @property
    def name(self) -> EngineName: ...

    def command(self, call: EngineCall) -> Invocation: ...

    def reader(self, call: EngineCall) -> EngineReader: ...

    def session_files(self, layout: Layout, session: str) -> Sequence[str]:
        """Paths below `layout.config` that hold the conversation (globs allowed): kept so that another machine can
        resume it."""


# ---- the workspace ---------------------------------------------------------------------------------------------------

#: Opens a run's Git credentials at the moment of use, so that an update counts from the next command on.
OpenGitCredentials = Callable[[], Awaitable[GitCredentials]]


@dataclass(frozen=True, slots=True)
class WorkspaceRequest:
    run_uuid: UUID
    organization_uuid: UUID
    git_url: str
    branch_source: str
    branch_work: str
    author_name: str
    author_email: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """`trailers` maps the step UUIDs found on the work branch beyond the source to their commits."""

    source_sha: str
    work_sha: str
    is_new_branch: bool  # the work branch did not exist on the remote
    is_warm: bool  # a mirror was there already
    trailers: Mapping[UUID, str]


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    files: int
    additions: int
    deletions: int


@dataclass(frozen=True, slots=True)
class DiffSummary:
    files: int
    additions: int
    deletions: int
    patch_bytes: int
    wanted: tuple[Wanted, ...] = ()  # blobs that are worth keeping beside it


class Workspace(Protocol):
    """A run's clone. The service's git-dir is out of the agent's reach; credentials exist per command. All raise
    GitError."""

    @property
    def box(self) -> Box:
        """Writable."""

    @property
    def prepared(self) -> Prepared: ...

    async def changed_paths(self) -> Sequence[str]:
        """Paths that differ from the last commit, untracked ones included, ignored ones not."""

    async def find_secrets(self, own: Callable[[str], bool]) -> Sequence[Finding]:
        """Keys and tokens that the uncommitted work adds to the last commit: in contents, names and the targets of
        links. `own`: whether a text holds one of the run's own secrets; called in a thread. A `commit` right after it
        commits exactly what was looked through."""

    async def commit(self, message: str, step: UUID) -> Commit | None:
        """Stages everything and commits with author and trailer; None when nothing changed. Raises WorkspaceError for
        more than a step may commit."""

    async def compare(self) -> tuple[int, int]:
        """Commits (ahead of, behind) the source branch."""

    async def push(self, permit: Callable[[], Awaitable[None]]) -> str:
        """The pushed sha. If the branch moved, rebases once (the sha changes); never forces; a remote that cannot be
        reached is tried again. `permit` is awaited right before each try, and raises LeaseLost to forbid it.
        PushRejected, RebaseConflict."""

    async def undo(self) -> Sequence[str]:
        """Throws uncommitted work away; the paths that had any. The agent's own .git is made anew."""

    async def patch(self, *, since: str | None = None) -> bytes:
        """The uncommitted work as a binary patch on the last commit, or what was committed `since` another one, as
        `apply` takes it; b"" when there is none."""

    async def apply(self, patch: bytes) -> None: ...

    async def lock_files(self, names: frozenset[str]) -> Mapping[str, str]:
        """Git's ids of the committed files, anywhere in the tree, that have one of those names, by their paths."""

    async def set_aside(self) -> Sequence[str]:
        """Makes what is there now no part of any commit: changed files are put back, and untracked ones stay where they
        are, unseen from now on. The paths of either."""

    async def unversioned(self) -> Sequence[bytes]:
        """Paths of everything in the tree that no commit holds, ignored ones too; a directory that holds nothing else
        is one, with a slash at its end."""

    async def write_diff(self, json_path: Path, patch_path: Path, *, of_last_commit: bool = False) -> DiffSummary:
        """Writes the structured diff of source and work branch (or of what the last commit changed), and the patch it
        was made from."""

    async def contents(self, wanted: Sequence[Wanted]) -> Sequence[tuple[Wanted, bytes]]:
        """Of those blobs the ones that are small enough to be kept, in all at most MAX_CONTENTS_BYTES; no binary ones
        but pictures."""

    async def head(self) -> str: ...

    async def nested_repositories(self) -> Sequence[str]:
        """Repositories that the agent made inside the tree, found by the last commit."""

    async def restore_submodules(self) -> Sequence[str]:
        """Throws away what was changed inside submodules, which is not this repository's to commit; the paths that had
        changes. `undo` does it too."""

    async def remove(self) -> None:
        """Everything of it on this disk, whatever modes the agent set. Never raises for what is already gone."""


class Workspaces(Protocol):
    """Makes workspaces: mirror, clone, branch."""

    async def prepare(self, request: WorkspaceRequest, credentials: OpenGitCredentials) -> Workspace:
        """Raises GitError with a sentence that names the cause; leaves nothing behind when it does."""

    async def sweep(self, keep: frozenset[UUID]) -> None:
        """Removes workspaces of this machine that belong to no run in `keep` (left by a killed process)."""


# ---- time and chance -------------------------------------------------------------------------------------------------


class Clock(Protocol):
    def now(self) -> datetime: ...

    async def sleep(self, seconds: float) -> None: ...
